/* store/values.c - single numbers that survive, by name. */
#include "store/db.h"

int store_value_get(struct store *s, const char *key, int64_t *out, struct err *err)
{
    sqlite3_stmt *st = db_statement(s, DB_VALUE_GET);
    int at = 1, rc;

    db_bind_text(st, &at, key);
    rc = sqlite3_step(st);
    if (rc == SQLITE_ROW || rc == SQLITE_DONE) {
        *out = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
        rc = 0;
    } else {
        rc = db_fail(s, rc, err);
    }
    db_done(st);
    return rc;
}

int store_value_put(struct store *s, const char *key, int64_t v, struct err *err)
{
    sqlite3_stmt *st = db_statement(s, DB_VALUE_PUT);
    int at = 1;

    db_bind_text(st, &at, key);
    db_bind_int(st, &at, v);
    return db_write(s, st, err);
}
