/* store/commands.c - commands that were carried out, and what was answered: one delivered twice
 * acts once. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store/db.h"

#define CLOCK "commands-clock-s"

/* The age of a command is what the daemon has run since, not what the wall clock says: a gateway
 * without a clock of its own begins in 1970, and what was carried out there would be forgotten, and
 * carried out again, when the time becomes known.  Negative code on failure. */
static int64_t clock_s(struct store *s, struct err *err)
{
    int64_t saved = 0, newest = 0;
    int rc;

    if (s->commands_clock_ms == 0) {
        sqlite3_stmt *st = db_statement(s, DB_COMMAND_NEWEST);

        rc = store_value_get(s, CLOCK, &saved, err);
        if (rc != 0)
            return rc;
        rc = sqlite3_step(st);
        newest = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
        db_done(st);
        if (rc != SQLITE_ROW && rc != SQLITE_DONE)
            return db_fail(s, rc, err);
        s->commands_clock_s = newest > saved ? newest : saved;
        s->commands_clock_ms = clock_boot_ms();
    }
    return s->commands_clock_s + (clock_boot_ms() - s->commands_clock_ms) / 1000;
}

int store_command_get(struct store *s, const char *id, char **reply, struct err *err)
{
    sqlite3_stmt *st = db_statement(s, DB_COMMAND_GET);
    int64_t now_s = clock_s(s, err);
    int at = 1, rc;

    if (now_s < 0)
        return (int)now_s;
    db_bind_text(st, &at, id);
    db_bind_int(st, &at, now_s - STORE_COMMANDS_S);
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

static int forget_oldest(struct store *s, int64_t now_s, struct err *err)
{
    sqlite3_stmt *st = db_statement(s, DB_COMMAND_FORGET);
    int at = 1;

    db_bind_int(st, &at, STORE_COMMANDS_KEPT);
    db_bind_int(st, &at, now_s - STORE_COMMANDS_S);
    db_bind_int(st, &at, now_s - STORE_SIGNED_S);
    return db_write(s, st, err);
}

int store_command_put(struct store *s, const char *id, const char *reply, struct err *err)
{
    sqlite3_stmt *st;
    int64_t now_s = clock_s(s, err);
    int at = 1, rc;

    if (now_s < 0)
        return (int)now_s;
    rc = db_enter(s, err);
    if (rc != 0)
        return rc;
    st = db_statement(s, DB_COMMAND_PUT);
    db_bind_text(st, &at, id);
    db_bind_int(st, &at, now_s);
    db_bind_text(st, &at, reply);
    rc = db_write(s, st, err);
    if (rc == 0)
        rc = forget_oldest(s, now_s, err);
    if (rc == 0)
        rc = store_value_put(s, CLOCK, now_s, err);
    return db_leave(s, rc, err);
}
