/* fleet/ledger.c - opening, locking, grouping, and SQLite's errors in an operator's words.
 *
 * Two locks on purpose: SQLite's is held while somebody writes; who runs the campaign has a lock of
 * a file of our own for as long as it lives, which says who is in the way.  That lock belongs to an
 * open file description, so the kernel ends it however the process ends, and a number of a process
 * that is left in the file means nothing.
 */
#include "fleet/ledger_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/durable.h"
#include "base/str.h"

/* "cffl": tells file(1), and us, whose database this is. */
#define APPLICATION_ID 0x6366666c

/* The bytes of FILE.lock that are locked: by who runs the campaign, and by who makes the tables. */
enum { LOCK_OWNER, LOCK_TABLES };

#define LOCK_TEXT 400 /* bytes of what it says, always all of them */

static const char *const statements[LEDGER_STATEMENT_COUNT] = {
#define LEDGER_SQL(id, sql) [id] = (sql),
    LEDGER_STATEMENTS(LEDGER_SQL)
#undef LEDGER_SQL
};

/* What brings a database from one version to the next; the first makes an empty file version 1.  A
 * step that was released is never edited: the next one changes what it made. */
static const char *const steps[] = {
    "CREATE TABLE campaign ("
    " id INTEGER PRIMARY KEY CHECK (id = 1),"
    " name TEXT NOT NULL,"
    " phase TEXT NOT NULL,"
    " mode TEXT NOT NULL,"
    " wave INTEGER NOT NULL,"
    " waves INTEGER NOT NULL,"
    " started_s INTEGER NOT NULL,"
    " changed_s INTEGER NOT NULL,"
    " wave_begun_s INTEGER NOT NULL,"
    " soak_until_s INTEGER NOT NULL,"
    " ended_s INTEGER NOT NULL,"
    " reason TEXT NOT NULL,"
    " \"by\" TEXT NOT NULL,"
    " plan TEXT NOT NULL,"
    " back_from INTEGER NOT NULL,"
    " back_to INTEGER NOT NULL,"
    " requests INTEGER NOT NULL"
    ") STRICT;"
    "CREATE TABLE gateways ("
    " name TEXT PRIMARY KEY NOT NULL,"
    " step TEXT NOT NULL,"
    " changed_s INTEGER NOT NULL,"
    " trouble TEXT NOT NULL"
    ") WITHOUT ROWID, STRICT;"
    "CREATE TABLE devices ("
    " gateway TEXT NOT NULL,"
    " name TEXT NOT NULL,"
    " wave INTEGER NOT NULL,"
    " step TEXT NOT NULL,"
    " attempts INTEGER NOT NULL,"
    " old_fp TEXT NOT NULL,"
    " new_fp TEXT NOT NULL,"
    " new_until_s INTEGER NOT NULL,"
    " old_until_s INTEGER NOT NULL,"
    " flip_s INTEGER NOT NULL,"
    " migrated_s INTEGER NOT NULL,"
    " changed_s INTEGER NOT NULL,"
    " failure TEXT NOT NULL,"
    " reason TEXT NOT NULL,"
    " remedy TEXT NOT NULL,"
    " PRIMARY KEY (gateway, name)"
    ") WITHOUT ROWID, STRICT;"
    /* Beside the devices, whose rows are read all at once: these are ten times as large. */
    "CREATE TABLE pems ("
    " gateway TEXT NOT NULL,"
    " device TEXT NOT NULL,"
    " csr TEXT,"
    " chain TEXT,"
    " PRIMARY KEY (gateway, device)"
    ") STRICT;"
    "CREATE TABLE requests ("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    " id TEXT NOT NULL UNIQUE,"
    " gateway TEXT NOT NULL,"
    " state TEXT NOT NULL,"
    " sent_s INTEGER NOT NULL,"
    " method TEXT NOT NULL,"
    " params TEXT NOT NULL,"
    " reply TEXT"
    ") STRICT;"
    "CREATE TABLE wishes ("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    " time_s INTEGER NOT NULL,"
    " who TEXT NOT NULL,"
    " wish TEXT NOT NULL"
    ") STRICT;"
    "CREATE TABLE notes ("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    " time_s INTEGER NOT NULL,"
    " what TEXT NOT NULL,"
    " gateway TEXT NOT NULL,"
    " device TEXT NOT NULL,"
    " text TEXT NOT NULL"
    ") STRICT;",
    "ALTER TABLE devices ADD COLUMN renew INTEGER NOT NULL DEFAULT 0;",
};
#define SCHEMA_VERSION ((int)(sizeof(steps) / sizeof(steps[0])))

/* -- errors ----------------------------------------------------------------------------------- */

static bool is_disk_full(int errnum)
{
    return errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG;
}

int ledger_fail_corrupt(const struct ledger *l, const char *what, struct err *err)
{
    return err_set(err, ERR_STORE,
                   "%s: no ledger, or a corrupt one: %s: move it away together with its -wal file "
                   "and put back a copy, or begin the campaign anew; the gateways keep every "
                   "device as it is meanwhile",
                   l->path, what);
}

static int fail_full(const struct ledger *l, const char *what, struct err *err)
{
    return err_set(err, ERR_STORE,
                   "%s: disk full: %s: nothing was changed; make room below %s, then resume",
                   l->path, what, l->dir);
}

static int fail_read_only(const struct ledger *l, const char *what, struct err *err)
{
    return err_set(err, ERR_STORE, "%s: %s: it and its folder %s must be writable for you", l->path,
                   what, l->dir);
}

/* SQLite 3.40 forgets the cause of a write that was cut short; errno still has it. */
static int fail_io(const struct ledger *l, const char *what, int last, struct err *err)
{
    int errnum = l->db == NULL ? 0 : sqlite3_system_errno(l->db);

    if (errnum == 0)
        errnum = last;
    if (is_disk_full(errnum))
        return fail_full(l, strerrordesc_np(errnum), err);
    if (errnum == EACCES || errnum == EPERM || errnum == EROFS)
        return fail_read_only(l, strerrordesc_np(errnum), err);
    if (errnum == 0)
        return err_set(err, ERR_STORE, "%s: %s: check the disk and the kernel's log", l->path,
                       what);
    return err_set(err, ERR_STORE, "%s: %s: %s: check the disk and the kernel's log", l->path, what,
                   strerrordesc_np(errnum));
}

int ledger_fail(const struct ledger *l, int rc, struct err *err)
{
    const char *what = sqlite3_errstr(rc);
    int last = errno;

    switch (rc & 0xff) {
    case SQLITE_NOMEM:
        return err_set(err, ERR_NOMEM, "%s: out of memory", l->path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ledger_fail_corrupt(l, what, err);
    case SQLITE_FULL:
        return fail_full(l, what, err);
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        return fail_io(l, what, last, err);
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return fail_read_only(l, "read-only", err);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(err, ERR_STORE,
                       "%s: held by another program: close what has it open (fuser %s)", l->path,
                       l->path);
    default:
        return err_set(
            err, ERR_STORE, "%s: %s", l->path,
            l->db != NULL && sqlite3_errcode(l->db) == (rc & 0xff) ? sqlite3_errmsg(l->db) : what);
    }
}

static int fail_file(const char *path, int errnum, struct err *err)
{
    return err_set(err, ERR_STORE, "%s: %s: %s", path, strerrordesc_np(errnum),
                   is_disk_full(errnum) ? "make room on that disk"
                                        : "it and its folder must be writable for you");
}

/* -- writing ---------------------------------------------------------------------------------- */

void ledger_done(sqlite3_stmt *st)
{
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
}

static int run(struct ledger *l, sqlite3_stmt *st, struct err *err)
{
    int rc;

    errno = 0;
    rc = sqlite3_step(st);
    rc = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : ledger_fail(l, rc, err);
    ledger_done(st);
    return rc;
}

/* Some errors (disk full, input/output) make SQLite end the whole transaction by itself. */
int ledger_write_any(struct ledger *l, sqlite3_stmt *st, struct err *err)
{
    if (l->in_group && sqlite3_get_autocommit(l->db) != 0) {
        ledger_done(st);
        return err_set(err, ERR_STORE,
                       "%s: an earlier write of this group failed, so nothing of it was saved",
                       l->path);
    }
    return run(l, st, err);
}

int ledger_write(struct ledger *l, sqlite3_stmt *st, struct err *err)
{
    if (l->owned)
        return ledger_write_any(l, st, err);
    ledger_done(st);
    return err_set(err, ERR_DENIED, "%s: only who runs the campaign writes to its ledger", l->path);
}

static int begin(struct ledger *l, enum ledger_statement how, struct err *err)
{
    int rc;

    if (l->in_group)
        return err_set(err, ERR_STORE, "%s: a group is open already", l->path);
    rc = run(l, l->statement[how], err);
    if (rc == 0)
        l->in_group = true;
    return rc;
}

int ledger_begin(struct ledger *l, struct err *err)
{
    return begin(l, LEDGER_BEGIN, err);
}

/* In SQLite a read begins at the first row, not at BEGIN. */
int ledger_snapshot(struct ledger *l, struct err *err)
{
    int rc = begin(l, LEDGER_BEGIN_READ, err);

    if (rc == 0)
        rc = run(l, l->statement[LEDGER_CAMPAIGN_GET], err);
    if (rc != 0)
        ledger_rollback(l);
    return rc;
}

/* A commit whose sync failed may be found on the disk after a power cut all the same: whoever goes
 * on from there orders what was intended, as after a kill just behind the commit. */
int ledger_commit(struct ledger *l, struct err *err)
{
    int rc;

    if (!l->in_group)
        return err_set(err, ERR_STORE, "%s: no group is open", l->path);
    rc = ledger_write_any(l, l->statement[LEDGER_COMMIT], err);
    if (rc != 0)
        ledger_rollback(l);
    l->in_group = false;
    return rc;
}

void ledger_rollback(struct ledger *l)
{
    if (l->in_group && sqlite3_get_autocommit(l->db) == 0)
        (void)run(l, l->statement[LEDGER_ROLLBACK], NULL);
    l->in_group = false;
}

int64_t ledger_version(struct ledger *l)
{
    sqlite3_stmt *st = l->statement[LEDGER_VERSION];
    int64_t v = sqlite3_step(st) == SQLITE_ROW ? sqlite3_column_int64(st, 0) : -1;

    ledger_done(st);
    return v + sqlite3_total_changes64(l->db);
}

/* -- who runs it ------------------------------------------------------------------------------ */

static struct flock lock_of(int byte, short type)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
}

/* Not behind a link that somebody has put there. */
static int open_lock(struct ledger *l, struct err *err)
{
    char *path;
    int rc = 0;

    if (l->lock_fd >= 0)
        return 0;
    path = str_printf("%s.lock", l->path);
    if (path == NULL)
        return err_set(err, ERR_NOMEM, "%s: out of memory", l->path);
    l->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0660);
    if (l->lock_fd < 0)
        rc = fail_file(path, errno, err);
    free(path);
    return rc;
}

/* Over the former text and as long as it, so that a full disk does not matter. */
static void name_owner(const struct ledger *l, const char *who)
{
    char since[32], text[LOCK_TEXT + 1];
    int n = snprintf(text, sizeof(text), "%.255s, process %ld, since %s\n", who, (long)getpid(),
                     clock_text(clock_wall_s(), since, sizeof(since)));

    memset(text + n, ' ', (size_t)(LOCK_TEXT - n));
    /* It is for people: without it the lock holds as well. */
    if (pwrite(l->lock_fd, text, LOCK_TEXT, 0) < 0)
        return;
}

static void read_owner(const struct ledger *l, char *out, size_t size)
{
    char text[LOCK_TEXT + 1] = "";
    ssize_t n = pread(l->lock_fd, text, LOCK_TEXT, 0);

    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    str_tidy(text);
    snprintf(out, size, "%s", text[0] == '\0' ? "another process" : text);
}

/* Returns 1 when it has the lock, 0 when another process has it. */
static int take_lock(struct ledger *l, int byte, struct err *err)
{
    struct flock lock = lock_of(byte, F_WRLCK);

    if (fcntl(l->lock_fd, F_OFD_SETLK, &lock) == 0)
        return 1;
    if (errno == EAGAIN || errno == EACCES)
        return 0;
    return err_set(err, ERR_STORE,
                   "%s.lock: %s: the file system cannot lock: keep the ledger on "
                   "another one",
                   l->path, strerrordesc_np(errno));
}

static void give_lock(struct ledger *l, int byte)
{
    struct flock lock = lock_of(byte, F_UNLCK);

    (void)fcntl(l->lock_fd, F_OFD_SETLK, &lock);
}

int ledger_owner(struct ledger *l, char *who, size_t n, struct err *err)
{
    struct flock lock = lock_of(LOCK_OWNER, F_WRLCK);

    if (fcntl(l->lock_fd, F_OFD_GETLK, &lock) != 0)
        return err_set(err, ERR_STORE, "%s.lock: %s", l->path, strerrordesc_np(errno));
    if (lock.l_type == F_UNLCK)
        return 0;
    read_owner(l, who, n);
    return 1;
}

bool ledger_is_ours(const struct ledger *l)
{
    return l->owned;
}

/* Is the answer of a pragma that says one word the expected one? */
static int check_answer(struct ledger *l, const char *sql, const char *expected, struct err *err)
{
    sqlite3_stmt *st = NULL;
    const char *answer;
    int rc = sqlite3_prepare_v2(l->db, sql, -1, &st, NULL);

    if (rc != SQLITE_OK)
        return ledger_fail(l, rc, err);
    errno = 0;
    rc = sqlite3_step(st);
    answer = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : NULL;
    if (rc != SQLITE_ROW)
        rc = ledger_fail(l, rc == SQLITE_DONE ? SQLITE_CORRUPT : rc, err);
    else if (answer == NULL || strcmp(answer, expected) != 0)
        rc = ledger_fail_corrupt(l, answer == NULL ? sql : answer, err);
    else
        rc = 0;
    sqlite3_finalize(st);
    return rc;
}

int ledger_own(struct ledger *l, const char *who, struct err *err)
{
    char holder[LOCK_TEXT];
    int rc;

    if (l->owned)
        return 0;
    rc = take_lock(l, LOCK_OWNER, err);
    if (rc < 0)
        return rc;
    if (rc == 0) {
        read_owner(l, holder, sizeof(holder));
        return err_set(err, ERR_BUSY,
                       "%s: the campaign is run by %s: let it, or stop it there; `certflip-fleet "
                       "pause` and `abort` reach it from here, `watch` follows it",
                       l->path, holder);
    }
    rc = check_answer(l, "PRAGMA quick_check(1)", "ok", err);
    if (rc != 0) {
        give_lock(l, LOCK_OWNER);
        return rc;
    }
    name_owner(l, who);
    l->owned = true;
    return 0;
}

/* -- opening ---------------------------------------------------------------------------------- */

static int fail_none(const char *path, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND,
                   "%s: no ledger: the campaign was not begun yet: `certflip-fleet run` begins it",
                   path);
}

/* Its real name, so that two links to one ledger have one lock; and its folder.  What SQLite makes
 * beside it has the file's mode: not for everybody. */
static int find_file(struct ledger *l, const char *path, bool create, struct err *err)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0660);
    char *slash, *real;
    struct stat st;

    if (fd < 0)
        return errno == ENOENT && !create ? fail_none(path, err) : fail_file(path, errno, err);
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0)
        (void)fchmod(fd, st.st_mode & 0660);
    close(fd);
    real = realpath(path, NULL);
    if (real == NULL)
        return fail_file(path, errno, err);
    free(l->path);
    l->path = real;
    slash = strrchr(real, '/');
    l->dir = strndup(real, slash == real ? 1 : (size_t)(slash - real));
    return l->dir == NULL ? err_set(err, ERR_NOMEM, "%s: out of memory", path) : 0;
}

static int connect_db(struct ledger *l, struct err *err)
{
    int rc;

    errno = 0;
    rc = sqlite3_open_v2(l->path, &l->db,
                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (rc != SQLITE_OK)
        return ledger_fail(l, rc, err);
    sqlite3_busy_timeout(l->db, 10000);
    rc = sqlite3_exec(l->db,
                      "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
                      "PRAGMA synchronous = FULL; PRAGMA cache_size = -16000;",
                      NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : ledger_fail(l, rc, err);
}

/* A number that the database says about itself. */
static int number(struct ledger *l, const char *sql, int64_t *out, struct err *err)
{
    sqlite3_stmt *st = NULL;
    int rc;

    errno = 0;
    rc = sqlite3_prepare_v2(l->db, sql, -1, &st, NULL);
    if (rc != SQLITE_OK)
        return ledger_fail(l, rc, err);
    rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        *out = sqlite3_column_int64(st, 0);
        rc = 0;
    } else {
        rc = ledger_fail(l, rc == SQLITE_DONE ? SQLITE_CORRUPT : rc, err);
    }
    sqlite3_finalize(st);
    return rc;
}

/* Is it ours, and of a version that is known here?  Only reads, and all of it at one moment:
 * another process may be making the tables. */
static int check_kind(struct ledger *l, int64_t *version, struct err *err)
{
    int64_t application = 0, tables = 0;
    int rc = sqlite3_exec(l->db, "BEGIN", NULL, NULL, NULL);

    if (rc != SQLITE_OK)
        return ledger_fail(l, rc, err);
    if ((rc = number(l, "SELECT count(*) FROM sqlite_schema", &tables, err)) == 0 &&
        (rc = number(l, "PRAGMA user_version", version, err)) == 0)
        rc = number(l, "PRAGMA application_id", &application, err);
    (void)sqlite3_exec(l->db, "ROLLBACK", NULL, NULL, NULL);
    if (rc != 0)
        return rc;
    if (tables != 0 && application != APPLICATION_ID)
        return err_set(err, ERR_STORE,
                       "%s: a database of some other program: name another file as \"ledger\"",
                       l->path);
    if (*version > SCHEMA_VERSION)
        return err_set(err, ERR_STORE,
                       "%s: written by a later certflip-fleet (schema %lld, this one knows %d): "
                       "use that version, or name another file as \"ledger\"",
                       l->path, (long long)*version, SCHEMA_VERSION);
    return *version < 0 ? ledger_fail(l, SQLITE_CORRUPT, err) : 0;
}

/* One step and its number, all or nothing. */
static int take_step(struct ledger *l, int version, struct err *err)
{
    char *all = sqlite3_mprintf("BEGIN IMMEDIATE; %s PRAGMA application_id = %d;"
                                " PRAGMA user_version = %d; COMMIT;",
                                steps[version - 1], APPLICATION_ID, version);
    int rc;

    if (all == NULL)
        return err_set(err, ERR_NOMEM, "%s: out of memory", l->path);
    errno = 0;
    rc = sqlite3_exec(l->db, all, NULL, NULL, NULL);
    sqlite3_free(all);
    if (rc == SQLITE_OK)
        return 0;
    rc = ledger_fail(l, rc, err);
    if (sqlite3_get_autocommit(l->db) == 0)
        (void)sqlite3_exec(l->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

/* One process at a time, which may find that another was faster.  What an older program runs is not
 * changed under it. */
static int make_tables(struct ledger *l, struct err *err)
{
    struct flock lock = lock_of(LOCK_TABLES, F_WRLCK);
    char who[LOCK_TEXT];
    int64_t version = 0;
    int rc;

    if (fcntl(l->lock_fd, F_OFD_SETLKW, &lock) != 0)
        return fail_file(l->path, errno, err);
    rc = check_kind(l, &version, err);
    if (rc == 0 && version < SCHEMA_VERSION) {
        rc = ledger_owner(l, who, sizeof(who), err);
        if (rc > 0)
            rc = err_set(err, ERR_BUSY, "%s: the campaign is run by %s, of an earlier version",
                         l->path, who);
        if (rc == 0)
            rc = check_answer(l, "PRAGMA journal_mode = WAL", "wal", err);
    }
    for (int next = (int)version + 1; rc == 0 && next <= SCHEMA_VERSION; next++)
        rc = take_step(l, next, err);
    give_lock(l, LOCK_TABLES);
    return rc;
}

static int prepare_all(struct ledger *l, struct err *err)
{
    for (int i = 0; i < LEDGER_STATEMENT_COUNT; i++) {
        int rc = sqlite3_prepare_v3(l->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
                                    &l->statement[i], NULL);

        if (rc != SQLITE_OK)
            return ledger_fail(l, rc, err);
    }
    return 0;
}

/* Nothing is written to a file before it is known to be a ledger, or empty. */
static int open_all(struct ledger *l, const char *path, bool create, struct err *err)
{
    int64_t version = 0;
    int rc;

    if ((rc = find_file(l, path, create, err)) != 0 || (rc = connect_db(l, err)) != 0 ||
        (rc = check_kind(l, &version, err)) != 0)
        return rc;
    if (version == 0 && !create)
        return fail_none(path, err);
    if ((rc = open_lock(l, err)) != 0)
        return rc;
    if (version < SCHEMA_VERSION &&
        ((rc = make_tables(l, err)) != 0 || (rc = durable_sync_folder(l->dir, err)) != 0))
        return rc;
    return prepare_all(l, err);
}

struct ledger *ledger_open(const char *path, bool create, struct err *err)
{
    struct ledger *l = calloc(1, sizeof(*l));

    if (l != NULL) {
        l->lock_fd = -1;
        l->path = strdup(path);
    }
    if (l == NULL || l->path == NULL)
        (void)err_set(err, ERR_NOMEM, "%s: out of memory", path);
    else if (open_all(l, path, create, err) == 0)
        return l;
    ledger_close(l);
    return NULL;
}

void ledger_close(struct ledger *l)
{
    if (l == NULL)
        return;
    ledger_rollback(l);
    for (int i = 0; i < LEDGER_STATEMENT_COUNT; i++)
        sqlite3_finalize(l->statement[i]);
    sqlite3_close(l->db);
    if (l->lock_fd >= 0)
        close(l->lock_fd);
    free(l->dir);
    free(l->path);
    free(l);
}
