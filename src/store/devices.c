/* store/devices.c - a device's row: each field of struct flip is a column of its own name. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crash.h"
#include "store/db.h"

static void write_proof(sqlite3_stmt *st, int *at, const struct store_proof *p)
{
    db_bind_int(st, at, p->what);
    db_bind_int(st, at, p->connack_s);
    db_bind_int(st, at, p->echo_s);
    db_bind_int(st, at, p->central_s);
    db_bind_int(st, at, p->echo_us);
    db_bind_int(st, at, p->session_present);
    db_bind_text(st, at, p->tls);
    db_bind_text(st, at, p->fp);
    db_bind_text(st, at, p->by);
}

static void read_proof(sqlite3_stmt *st, int *at, struct store_proof *p)
{
    p->what = (unsigned)sqlite3_column_int64(st, (*at)++);
    p->connack_s = sqlite3_column_int64(st, (*at)++);
    p->echo_s = sqlite3_column_int64(st, (*at)++);
    p->central_s = sqlite3_column_int64(st, (*at)++);
    p->echo_us = sqlite3_column_int64(st, (*at)++);
    p->session_present = sqlite3_column_int64(st, (*at)++) != 0;
    db_column_text(st, (*at)++, p->tls, sizeof(p->tls));
    db_column_text(st, (*at)++, p->fp, sizeof(p->fp));
    db_column_text(st, (*at)++, p->by, sizeof(p->by));
}

/* As hexadecimal numbers, with spaces between. */
static void write_refused(sqlite3_stmt *st, int *at, const uint64_t refused[STORE_REFUSALS])
{
    char text[17 * STORE_REFUSALS + 1] = "";
    size_t n = 0;

    for (unsigned i = 0; i < STORE_REFUSALS && refused[i] != 0; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%" PRIx64, n == 0 ? "" : " ",
                              refused[i]);
    sqlite3_bind_text(st, (*at)++, text, -1, SQLITE_TRANSIENT);
}

/* What cannot be read is not known: a trial then has less to excuse a refusal with. */
static void read_refused(sqlite3_stmt *st, int *at, uint64_t refused[STORE_REFUSALS])
{
    char text[17 * STORE_REFUSALS + 1];
    char *p = text, *end;

    db_column_text(st, (*at)++, text, sizeof(text));
    for (unsigned i = 0; i < STORE_REFUSALS && *p != '\0'; i++, p = end) {
        refused[i] = strtoull(p, &end, 16);
        if (refused[i] == 0)
            return;
    }
}

static int write_row(struct store *s, const struct store_device *d, struct err *err)
{
    sqlite3_stmt *st = db_statement(s, DB_DEVICE_PUT);
    const struct flip *f = &d->flip;
    int at = 1, rc;

    db_bind_text(st, &at, d->name);
    db_bind_text(st, &at, flip_phase_name(f->phase));
    db_bind_text(st, &at, flip_confirm_name(f->confirm));
    db_bind_int(st, &at, f->max_attempts);
    db_bind_int(st, &at, f->probation_ms);
    db_bind_int(st, &at, f->confirm_ms);
    db_bind_int(st, &at, f->begin_by_ms);
    db_bind_int(st, &at, f->attempts);
    db_bind_int(st, &at, f->accepted);
    db_bind_int(st, &at, f->due_ms);
    db_bind_int(st, &at, f->dead_ms);
    db_bind_int(st, &at, d->begin_by_s);
    db_bind_text(st, &at, d->fp[FLIP_OLD]);
    db_bind_text(st, &at, d->fp[FLIP_NEW]);
    db_bind_text(st, &at, d->reason);
    db_bind_int(st, &at, d->changed_s);
    db_bind_text(st, &at, f->evidence == 0 ? "" : flip_proof_name((enum flip_proof)f->evidence));
    db_bind_int(st, &at, f->proven);
    db_bind_text(st, &at, d->boot);
    db_bind_int(st, &at, d->saved_s);
    db_bind_int(st, &at, d->dead_left_ms);
    write_proof(st, &at, &d->proof);
    write_refused(st, &at, d->refused);
    crash_point("store.row");
    rc = db_write(s, st, err);
    return rc == 0 ? 0 : err_wrap(err, rc, "device %s", d->name);
}

static int read_row(const struct store *s, sqlite3_stmt *st, struct store_device *out,
                    struct err *err)
{
    struct store_device d = {.name = ""};
    struct flip *f = &d.flip;
    char phase[32], confirm[32], evidence[32];
    enum flip_proof wanted = FLIP_PROOF_ECHO;
    int at = 0;

    db_column_text(st, at++, d.name, sizeof(d.name));
    db_column_text(st, at++, phase, sizeof(phase));
    db_column_text(st, at++, confirm, sizeof(confirm));
    f->max_attempts = (uint32_t)sqlite3_column_int64(st, at++);
    f->probation_ms = sqlite3_column_int64(st, at++);
    f->confirm_ms = sqlite3_column_int64(st, at++);
    f->begin_by_ms = sqlite3_column_int64(st, at++);
    f->attempts = (uint32_t)sqlite3_column_int64(st, at++);
    f->accepted = sqlite3_column_int64(st, at++) != 0;
    f->due_ms = sqlite3_column_int64(st, at++);
    f->dead_ms = sqlite3_column_int64(st, at++);
    d.begin_by_s = sqlite3_column_int64(st, at++);
    db_column_text(st, at++, d.fp[FLIP_OLD], sizeof(d.fp[FLIP_OLD]));
    db_column_text(st, at++, d.fp[FLIP_NEW], sizeof(d.fp[FLIP_NEW]));
    db_column_text(st, at++, d.reason, sizeof(d.reason));
    d.changed_s = sqlite3_column_int64(st, at++);
    db_column_text(st, at++, evidence, sizeof(evidence));
    f->proven = (unsigned)sqlite3_column_int64(st, at++);
    db_column_text(st, at++, d.boot, sizeof(d.boot));
    d.saved_s = sqlite3_column_int64(st, at++);
    d.dead_left_ms = sqlite3_column_int64(st, at++);
    read_proof(st, &at, &d.proof);
    read_refused(st, &at, d.refused);
    if (*evidence != '\0' && flip_proof_parse(evidence, &wanted) != 0)
        return err_set(err, ERR_STORE,
                       "%s: device %s: unknown evidence \"%s\": somebody else wrote to the "
                       "database; delete that row",
                       s->path, d.name, evidence);
    f->evidence = *evidence == '\0' ? 0 : (unsigned)wanted;
    if (flip_phase_parse(phase, &f->phase) != 0 || flip_confirm_parse(confirm, &f->confirm) != 0)
        return err_set(
            err, ERR_STORE,
            "%s: device %s: unknown phase \"%s\" or way to confirm \"%s\": somebody else "
            "wrote to the database; delete that row",
            s->path, d.name, phase, confirm);
    *out = d;
    return 0;
}

int store_device_put(struct store *s, const struct store_device *d, struct err *err)
{
    return write_row(s, d, err);
}

int store_device_put_many(struct store *s, const struct store_device *d, size_t n, struct err *err)
{
    int rc = db_enter(s, err);

    if (rc != 0)
        return rc;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = write_row(s, &d[i], err);
    return db_leave(s, rc, err);
}

int store_device_get(struct store *s, const char *name, struct store_device *out, struct err *err)
{
    sqlite3_stmt *st = db_statement(s, DB_DEVICE_GET);
    int at = 1, rc;

    db_bind_text(st, &at, name);
    rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        rc = read_row(s, st, out, err);
    else if (rc == SQLITE_DONE)
        rc = err_set(err, ERR_NOT_FOUND, "device %s: not in the database", name);
    else
        rc = db_fail(s, rc, err);
    db_done(st);
    return rc;
}

int store_device_each(struct store *s, int (*each)(void *arg, const struct store_device *d),
                      void *arg, struct err *err)
{
    static const char sql[] = "SELECT " DB_DEVICE_COLUMNS " FROM devices ORDER BY name";
    struct store_device d;
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);

    if (rc != SQLITE_OK)
        return db_fail(s, rc, err);
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        rc = read_row(s, st, &d, err);
        if (rc == 0)
            rc = each(arg, &d);
        if (rc != 0)
            goto out;
    }
    rc = rc == SQLITE_DONE ? 0 : db_fail(s, rc, err);
out:
    sqlite3_finalize(st);
    return rc;
}

int store_device_del(struct store *s, const char *name, struct err *err)
{
    sqlite3_stmt *st = db_statement(s, DB_DEVICE_DEL);
    int at = 1;

    db_bind_text(st, &at, name);
    return db_write(s, st, err);
}
