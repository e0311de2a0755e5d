/* store/schema.c - the tables.  A step that was released is never edited: the next one changes what
 * it made. */
#include "store/schema.h"

/* "cflp": tells file(1), and us, whose database this is. */
#define APPLICATION_ID 0x63666c70

static const char first_tables[] =
    "CREATE TABLE devices ("
    " name TEXT PRIMARY KEY NOT NULL,"
    " phase TEXT NOT NULL,"
    " confirm TEXT NOT NULL,"
    " max_attempts INTEGER NOT NULL,"
    " probation_ms INTEGER NOT NULL,"
    " confirm_ms INTEGER NOT NULL,"
    " begin_by_ms INTEGER NOT NULL,"
    " attempts INTEGER NOT NULL,"
    " accepted INTEGER NOT NULL,"
    " due_ms INTEGER NOT NULL,"
    " dead_ms INTEGER NOT NULL,"
    " begin_by_s INTEGER NOT NULL,"
    " old_fp TEXT NOT NULL,"
    " new_fp TEXT NOT NULL,"
    " reason TEXT NOT NULL,"
    " changed_s INTEGER NOT NULL"
    ") WITHOUT ROWID, STRICT;"
    "CREATE TABLE commands ("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    " id TEXT NOT NULL UNIQUE,"
    " time_s INTEGER NOT NULL,"
    " reply TEXT NOT NULL"
    ") STRICT;"
    "CREATE TABLE audit ("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    " time_s INTEGER NOT NULL,"
    " who TEXT NOT NULL,"
    " what TEXT NOT NULL,"
    " target TEXT NOT NULL,"
    " outcome TEXT NOT NULL"
    ") STRICT;"
    "CREATE TRIGGER audit_is_not_edited BEFORE UPDATE ON audit"
    " BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;"
    "CREATE TRIGGER audit_is_not_cut BEFORE DELETE ON audit"
    " BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;"
    "CREATE TABLE \"values\" (key TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL)"
    " WITHOUT ROWID, STRICT;";

/* What a flip demands, what was proven, and the deadline of a trial in times that survive a reboot.
 */
static const char evidence[] =
    "ALTER TABLE devices ADD COLUMN evidence TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE devices ADD COLUMN proven INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE devices ADD COLUMN boot TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE devices ADD COLUMN saved_s INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE devices ADD COLUMN dead_left_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE devices ADD COLUMN proof_what INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE devices ADD COLUMN proof_connack_s INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE devices ADD COLUMN proof_echo_s INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE devices ADD COLUMN proof_central_s INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE devices ADD COLUMN proof_echo_us INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE devices ADD COLUMN proof_session_present INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE devices ADD COLUMN proof_tls TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE devices ADD COLUMN proof_fp TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE devices ADD COLUMN proof_by TEXT NOT NULL DEFAULT '';"
    /* Of a trial that waits for a confirmation, the wall clock tells nothing yet: all is left. */
    "UPDATE devices SET dead_left_ms = confirm_ms, saved_s = unixepoch() WHERE dead_ms <> 0;";

/* What the broker refuses a device on its old identity as well. */
static const char refusals[] = "ALTER TABLE devices ADD COLUMN refused TEXT NOT NULL DEFAULT '';";

/* Who is believed, as changed at run time, and which anchor vouched for a device's sensor the last
 * time that it came in. */
static const char trust[] = "CREATE TABLE trust ("
                            " \"set\" TEXT NOT NULL,"
                            " fp TEXT NOT NULL,"
                            " kind TEXT NOT NULL,"
                            " only TEXT NOT NULL,"
                            " note TEXT NOT NULL,"
                            " who TEXT NOT NULL,"
                            " time_s INTEGER NOT NULL,"
                            " PRIMARY KEY (\"set\", fp)"
                            ") WITHOUT ROWID, STRICT;"
                            "CREATE TABLE sensors ("
                            " device TEXT PRIMARY KEY NOT NULL,"
                            " anchor TEXT NOT NULL"
                            ") WITHOUT ROWID, STRICT;";

const struct schema_step schema_steps[] = {
    {first_tables},
    {evidence},
    {refusals},
    {trust},
};
const int schema_version = (int)(sizeof(schema_steps) / sizeof(schema_steps[0]));

/* A number that the database says about itself. */
static int number(struct store *s, const char *sql, int64_t *out, struct err *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);

    if (rc != SQLITE_OK)
        return db_fail(s, rc, err);
    rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        *out = sqlite3_column_int64(st, 0);
        rc = 0;
    } else {
        rc = db_fail(s, rc == SQLITE_DONE ? SQLITE_CORRUPT : rc, err);
    }
    sqlite3_finalize(st);
    return rc;
}

int schema_check(struct store *s, int latest, struct err *err)
{
    int64_t version = 0, application = 0, tables = 0;
    int rc;

    if ((rc = number(s, "PRAGMA user_version", &version, err)) != 0 ||
        (rc = number(s, "PRAGMA application_id", &application, err)) != 0 ||
        (rc = number(s, "SELECT count(*) FROM sqlite_schema", &tables, err)) != 0)
        return rc;
    if (tables != 0 && application != APPLICATION_ID)
        return err_set(
            err, ERR_STORE,
            "%s: a database of some other program: move it away, or set another \"state\" folder",
            s->path);
    if (version > latest)
        return err_set(
            err, ERR_STORE,
            "%s: written by a later certflip (schema %lld, this one knows %d): install that "
            "version again, or move the file away and start anew",
            s->path, (long long)version, latest);
    return 0;
}

/* One step and its number, all or nothing. */
static int take_step(struct store *s, const char *sql, int version, struct err *err)
{
    char *all = sqlite3_mprintf("BEGIN IMMEDIATE; %s PRAGMA application_id = %d;"
                                " PRAGMA user_version = %d; COMMIT;",
                                sql, APPLICATION_ID, version);
    int rc;

    if (all == NULL)
        return err_set(err, ERR_NOMEM, "%s: out of memory", s->path);
    rc = sqlite3_exec(s->db, all, NULL, NULL, NULL);
    sqlite3_free(all);
    if (rc == SQLITE_OK)
        return 0;
    rc = db_fail(s, rc, err);
    if (sqlite3_get_autocommit(s->db) == 0)
        (void)sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return err_wrap(err, rc, "bringing the database to schema %d", version);
}

int schema_migrate(struct store *s, const struct schema_step *steps, int count, struct err *err)
{
    int64_t version = 0;
    int rc = number(s, "PRAGMA user_version", &version, err);

    if (rc == 0 && version < 0)
        rc = db_fail(s, SQLITE_CORRUPT, err);
    for (int next = (int)version; rc == 0 && next < count; next++)
        rc = take_step(s, steps[next].sql, next + 1, err);
    return rc;
}
