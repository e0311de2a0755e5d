/* store/trust.c - what was changed at run time about who is believed, and by which anchor each
 * sensor came in last. */
#include <stdio.h>
#include <string.h>

#include "store/db.h"

int store_trust_put(struct store *s, const struct store_trust *t, struct err *err)
{
    sqlite3_stmt *st = db_statement(s, DB_TRUST_PUT);
    int at = 1;

    db_bind_text(st, &at, t->set);
    db_bind_text(st, &at, t->fp);
    db_bind_text(st, &at, t->kind);
    db_bind_text(st, &at, t->only);
    db_bind_text(st, &at, t->note);
    db_bind_text(st, &at, t->who);
    db_bind_int(st, &at, t->time_s);
    return db_write(s, st, err);
}

int store_trust_each(struct store *s, int (*each)(void *arg, const struct store_trust *t),
                     void *arg, struct err *err)
{
    static const char sql[] = "SELECT " DB_TRUST_COLUMNS " FROM trust ORDER BY time_s, fp";
    struct store_trust t;
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);

    if (rc != SQLITE_OK)
        return db_fail(s, rc, err);
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        db_column_text(st, 0, t.set, sizeof(t.set));
        db_column_text(st, 1, t.fp, sizeof(t.fp));
        db_column_text(st, 2, t.kind, sizeof(t.kind));
        db_column_text(st, 3, t.only, sizeof(t.only));
        db_column_text(st, 4, t.note, sizeof(t.note));
        db_column_text(st, 5, t.who, sizeof(t.who));
        t.time_s = sqlite3_column_int64(st, 6);
        rc = each(arg, &t);
        if (rc != 0)
            goto out;
    }
    rc = rc == SQLITE_DONE ? 0 : db_fail(s, rc, err);
out:
    sqlite3_finalize(st);
    return rc;
}

int store_sensor_put(struct store *s, const char *device, const char *anchor, struct err *err)
{
    sqlite3_stmt *st = db_statement(s, DB_SENSOR_PUT);
    int at = 1;

    db_bind_text(st, &at, device);
    db_bind_text(st, &at, anchor);
    return db_write(s, st, err);
}

int store_sensor_each(struct store *s,
                      int (*each)(void *arg, const char *device, const char *anchor), void *arg,
                      struct err *err)
{
    static const char sql[] = "SELECT device, anchor FROM sensors ORDER BY device";
    char device[129], anchor[65];
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);

    if (rc != SQLITE_OK)
        return db_fail(s, rc, err);
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        db_column_text(st, 0, device, sizeof(device));
        db_column_text(st, 1, anchor, sizeof(anchor));
        rc = each(arg, device, anchor);
        if (rc != 0)
            goto out;
    }
    rc = rc == SQLITE_DONE ? 0 : db_fail(s, rc, err);
out:
    sqlite3_finalize(st);
    return rc;
}
