/* store/commands.c - commands that were carried out, and what was answered: one delivered twice
 * acts once. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store/db.h"

int store_command_get(struct store *s, const char *id, char **reply, struct err *err)
{
    sqlite3_stmt *st = db_statement(s, DB_COMMAND_GET);
    int at = 1, rc;

    db_bind_text(st, &at, id);
    db_bind_int(st, &at, clock_wall_s() - STORE_COMMANDS_S);
    rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(st, 0);
        char *copy = text == NULL ? NULL : strdup(text);

        rc = copy == NULL ? err_set(err, ERR_NOMEM, "command %s: out of memory", id) : 0;
        if (rc == 0)
            *reply = copy;
    } else if (rc == SQLITE_DONE) {
        rc = err_set(err, ERR_NOT_FOUND, "command %s: not seen before", id);
    } else {
        rc = db_fail(s, rc, err);
    }
    db_done(st);
    return rc;
}

static int forget_oldest(struct store *s, struct err *err)
{
    sqlite3_stmt *st = db_statement(s, DB_COMMAND_FORGET);
    int at = 1;

    db_bind_int(st, &at, STORE_COMMANDS_KEPT);
    db_bind_int(st, &at, clock_wall_s() - STORE_COMMANDS_S);
    return db_write(s, st, err);
}

int store_command_put(struct store *s, const char *id, const char *reply, struct err *err)
{
    sqlite3_stmt *st;
    int at = 1, rc;

    rc = db_enter(s, err);
    if (rc != 0)
        return rc;
    st = db_statement(s, DB_COMMAND_PUT);
    db_bind_text(st, &at, id);
    db_bind_int(st, &at, clock_wall_s());
    db_bind_text(st, &at, reply);
    rc = db_write(s, st, err);
    if (rc == 0)
        rc = forget_oldest(s, err);
    return db_leave(s, rc, err);
}
