/* store/audit.c - who commanded what, when, with what outcome.  Triggers keep the table
 * append-only. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store/db.h"

int store_audit_add(struct store *s, const char *who, const char *what, const char *target,
                    const char *outcome, struct err *err)
{
    sqlite3_stmt *st = db_statement(s, DB_AUDIT_ADD);
    int at = 1;

    db_bind_int(st, &at, clock_wall_s());
    db_bind_text(st, &at, who);
    db_bind_text(st, &at, what);
    db_bind_text(st, &at, target);
    db_bind_text(st, &at, outcome);
    return db_write(s, st, err);
}

static char *column_copy(sqlite3_stmt *st, int column)
{
    const char *text = (const char *)sqlite3_column_text(st, column);

    return strdup(text == NULL ? "" : text);
}

/* The row is copied, so that the callback may write to the store. */
static int hand_out(sqlite3_stmt *st, int (*each)(void *arg, const struct store_audit *a),
                    void *arg, struct err *err)
{
    struct store_audit a = {
        .seq = sqlite3_column_int64(st, 0),
        .time_s = sqlite3_column_int64(st, 1),
        .who = column_copy(st, 2),
        .what = column_copy(st, 3),
        .target = column_copy(st, 4),
        .outcome = column_copy(st, 5),
    };
    int rc;

    if (a.who == NULL || a.what == NULL || a.target == NULL || a.outcome == NULL)
        rc = err_set(err, ERR_NOMEM, "audit log: out of memory");
    else
        rc = each(arg, &a);
    free(a.who);
    free(a.what);
    free(a.target);
    free(a.outcome);
    return rc;
}

/* The newest `limit` entries come in the order of time as well, hence the select within. */
#define AUDIT_COLUMNS "seq, time_s, who, what, target, outcome"
static const char audit_after[] =
    "SELECT " AUDIT_COLUMNS " FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2";
static const char audit_newest[] =
    "SELECT " AUDIT_COLUMNS " FROM (SELECT " AUDIT_COLUMNS
    " FROM audit WHERE seq > ?1 ORDER BY seq DESC LIMIT ?2) ORDER BY seq";

int store_audit_each(struct store *s, int64_t after_seq, unsigned limit,
                     int (*each)(void *arg, const struct store_audit *a), void *arg,
                     struct err *err)
{
    const char *sql = after_seq < 0 ? audit_newest : audit_after;
    sqlite3_stmt *st = NULL;
    int at = 1, rc;

    rc = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);
    if (rc != SQLITE_OK)
        return db_fail(s, rc, err);
    db_bind_int(st, &at, after_seq < 0 ? 0 : after_seq);
    db_bind_int(st, &at, (int64_t)limit);
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        rc = hand_out(st, each, arg, err);
        if (rc != 0)
            goto out;
    }
    rc = rc == SQLITE_DONE ? 0 : db_fail(s, rc, err);
out:
    sqlite3_finalize(st);
    return rc;
}
