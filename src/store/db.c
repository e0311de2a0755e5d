/* store/db.c - opening, locking, grouping, and SQLite's errors in an operator's words.
 *
 * Two locks on purpose: our own lock file says which process is in the way; SQLite's would only say
 * "locked", and only once somebody writes.
 */
#include "store/db.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/durable.h"
#include "base/str.h"
#include "store/schema.h"

#define DB_FILE   "certflip.db"
#define LOCK_FILE "certflip.lock"

static const char *const statements[DB_STATEMENT_COUNT] = {
#define DB_SQL(id, sql) [id] = (sql),
    DB_STATEMENTS(DB_SQL)
#undef DB_SQL
};

static bool is_disk_full(int errnum)
{
    return errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG;
}

static int fail_corrupt(const struct store *s, const char *what, struct err *err)
{
    return err_set(
        err, ERR_STORE,
        "%s: corrupt: %s: move it away together with its -wal file and start again; phases "
        "are then rebuilt from the identities on disk, every device on its old one, and "
        "what had been flipped has to be flipped again",
        s->path, what);
}

static int fail_full(const struct store *s, const char *what, struct err *err)
{
    return err_set(err, ERR_STORE, "%s: disk full: %s: nothing was changed; make room below %s",
                   s->path, what, s->dir);
}

/* SQLite 3.40 forgets the cause of a write that was cut short; errno still has it. */
static int fail_io(const struct store *s, const char *what, int last, struct err *err)
{
    int errnum = s->db == NULL ? 0 : sqlite3_system_errno(s->db);

    if (errnum == 0)
        errnum = last;
    if (is_disk_full(errnum))
        return fail_full(s, strerrordesc_np(errnum), err);
    if (errnum == 0)
        return err_set(err, ERR_STORE, "%s: %s: check the disk and the kernel's log", s->path,
                       what);
    if (errnum == EACCES || errnum == EPERM || errnum == EROFS)
        return err_set(err, ERR_STORE,
                       "%s: %s: %s: certflipd's user must be able to write to %s and what is in it",
                       s->path, what, strerrordesc_np(errnum), s->dir);
    return err_set(err, ERR_STORE, "%s: %s: %s: check the disk and the kernel's log", s->path, what,
                   strerrordesc_np(errnum));
}

int db_fail(const struct store *s, int rc, struct err *err)
{
    const char *what = sqlite3_errstr(rc);
    int last = errno;

    switch (rc & 0xff) {
    case SQLITE_NOMEM:
        return err_set(err, ERR_NOMEM, "%s: out of memory", s->path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return fail_corrupt(s, what, err);
    case SQLITE_FULL:
        return fail_full(s, what, err);
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        return fail_io(s, what, last, err);
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return err_set(
            err, ERR_STORE,
            "%s: read-only: certflipd's user must be able to write to %s and what is in it",
            s->path, s->dir);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(err, ERR_STORE,
                       "%s: held by another program: close what has it open (fuser %s)", s->path,
                       s->path);
    default:
        return err_set(
            err, ERR_STORE, "%s: %s", s->path,
            s->db != NULL && sqlite3_errcode(s->db) == (rc & 0xff) ? sqlite3_errmsg(s->db) : what);
    }
}

#ifdef CERTFLIP_CRASH_POINTS

/* -- faults on purpose ------------------------------------------------------------------------ */

/* These stand before the C library's functions of the same names: SQLite would let us replace its
 * write, but not its sync. */

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at)
{
    int error = crash_errno("disk.write");

    if (error == 0)
        return syscall(SYS_pwrite64, fd, data, n, at);
    errno = error;
    return -1;
}

int fdatasync(int fd)
{
    int error = crash_errno("disk.sync");
    int rc;

    if (error != 0) {
        errno = error;
        return -1;
    }
    rc = (int)syscall(SYS_fdatasync, fd);
    crash_point("disk.synced");
    return rc;
}

#endif

/* -- statements ------------------------------------------------------------------------------- */

sqlite3_stmt *db_statement(struct store *s, enum db_statement id)
{
    return s->statement[id];
}

void db_bind_text(sqlite3_stmt *st, int *at, const char *text)
{
    sqlite3_bind_text(st, (*at)++, text, -1, SQLITE_STATIC);
}

void db_bind_int(sqlite3_stmt *st, int *at, int64_t v)
{
    sqlite3_bind_int64(st, (*at)++, v);
}

void db_column_text(sqlite3_stmt *st, int column, char *out, size_t size)
{
    const char *text = (const char *)sqlite3_column_text(st, column);
    size_t n = text == NULL ? 0 : strnlen(text, size - 1);

    if (n > 0)
        memcpy(out, text, n);
    out[n] = '\0';
}

void db_done(sqlite3_stmt *st)
{
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
}

static int run(struct store *s, sqlite3_stmt *st, struct err *err)
{
    int rc;

    errno = 0;
    rc = sqlite3_step(st);
    rc = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : db_fail(s, rc, err);
    db_done(st);
    return rc;
}

/* Some errors (disk full, input/output) make SQLite end the whole transaction by itself. */
static int group_lost(const struct store *s, struct err *err)
{
    return err_set(err, ERR_STORE,
                   "%s: an earlier write of this group failed, so nothing of it was saved",
                   s->path);
}

int db_write(struct store *s, sqlite3_stmt *st, struct err *err)
{
    if (s->in_group && sqlite3_get_autocommit(s->db) != 0) {
        db_done(st);
        return group_lost(s, err);
    }
    return run(s, st, err);
}

/* -- groups ----------------------------------------------------------------------------------- */

/* COMMIT.  In SQLite's log a transaction counts from its last frame on, and it is in the log before
 * it is synced; what this connection does not count is overwritten by its next transaction. */
static int commit(struct store *s, struct err *err)
{
    int rc = db_write(s, db_statement(s, DB_COMMIT), err);

    if (rc != 0)
        s->doubtful = true;
    return rc;
}

static int make_void(struct store *s, struct err *err)
{
    int64_t count = 0;
    int rc;

    s->doubtful = false;
    rc = run(s, db_statement(s, DB_BEGIN), err);
    if (rc == 0 && (rc = store_value_get(s, "commits-void", &count, err)) == 0 &&
        (rc = store_value_put(s, "commits-void", count + 1, err)) == 0)
        rc = commit(s, err);
    if (rc != 0 && sqlite3_get_autocommit(s->db) == 0)
        (void)run(s, db_statement(s, DB_ROLLBACK), NULL);
    s->doubtful = rc != 0;
    return rc;
}

int store_settle(struct store *s)
{
    return s->doubtful && !s->in_group ? make_void(s, NULL) : 0;
}

int store_begin(struct store *s, struct err *err)
{
    int rc;

    if (s->in_group)
        return err_set(err, ERR_STORE, "%s: a group of writes is open already", s->path);
    if (s->doubtful && (rc = make_void(s, err)) != 0)
        return rc;
    rc = run(s, db_statement(s, DB_BEGIN), err);
    if (rc == 0)
        s->in_group = true;
    return rc;
}

int store_commit(struct store *s, struct err *err)
{
    int rc;

    if (!s->in_group)
        return err_set(err, ERR_STORE, "%s: no group of writes is open", s->path);
    rc = commit(s, err);
    if (rc != 0)
        store_rollback(s);
    s->in_group = false;
    (void)store_settle(s);
    return rc;
}

void store_rollback(struct store *s)
{
    if (s->in_group && sqlite3_get_autocommit(s->db) == 0)
        (void)run(s, db_statement(s, DB_ROLLBACK), NULL);
    s->in_group = false;
}

int db_enter(struct store *s, struct err *err)
{
    return db_write(s, db_statement(s, s->in_group ? DB_SAVEPOINT : DB_BEGIN), err);
}

int db_leave(struct store *s, int rc, struct err *err)
{
    if (rc == 0)
        rc = s->in_group ? db_write(s, db_statement(s, DB_RELEASE), err) : commit(s, err);
    if (rc == 0 || sqlite3_get_autocommit(s->db) != 0)
        return rc;
    if (s->in_group) {
        (void)run(s, db_statement(s, DB_ROLLBACK_TO), NULL);
        (void)run(s, db_statement(s, DB_RELEASE), NULL);
    } else {
        (void)run(s, db_statement(s, DB_ROLLBACK), NULL);
    }
    return rc;
}

/* -- opening ---------------------------------------------------------------------------------- */

static int fail_open(const char *path, int errnum, struct err *err)
{
    return err_set(err, ERR_STORE, "%s: %s: %s", path, strerrordesc_np(errnum),
                   is_disk_full(errnum) ? "make room on that disk"
                                        : "certflipd's user must be able to write to its folder");
}

static int fail_locked(const char *path, int fd, struct err *err)
{
    char pid[24] = "";
    ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);
    size_t digits = n > 0 ? strspn(pid, "0123456789") : 0;

    pid[digits] = '\0';
    return err_set(
        err, ERR_STORE,
        "%s: held by process %s: another certflipd uses this state directory; stop it, or "
        "give this one another \"state\" folder",
        path, digits > 0 ? pid : "(unknown)");
}

/* The lock goes with the descriptor, however the process ends; the number in it is for people. */
static int take_lock(struct store *s, struct err *err)
{
    char *path = str_printf("%s/" LOCK_FILE, s->dir);
    char pid[24];
    int fd, n, rc = 0;

    if (path == NULL)
        return err_set(err, ERR_NOMEM, "%s: out of memory", s->dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        rc = fail_open(path, errno, err);
        goto out;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        rc = errno == EWOULDBLOCK ? fail_locked(path, fd, err) : fail_open(path, errno, err);
        close(fd);
        goto out;
    }
    s->lock_fd = fd;
    /* Over the former one and not shorter, so that a full disk does not matter. */
    n = snprintf(pid, sizeof(pid), "%-20ld\n", (long)getpid());
    if (pwrite(fd, pid, (size_t)n, 0) != n && !is_disk_full(errno))
        rc = fail_open(path, errno, err);
out:
    free(path);
    return rc;
}

/* SQLite would create the file by the umask; what is in it is for certflipd alone. */
static int create_private(const struct store *s, struct err *err)
{
    int fd = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc = 0;
    struct stat st;

    if (fd < 0)
        return fail_open(s->path, errno, err);
    if (fstat(fd, &st) != 0 || ((st.st_mode & 077) != 0 && fchmod(fd, 0600) != 0))
        rc = fail_open(s->path, errno, err);
    close(fd);
    return rc;
}

static int connect_db(struct store *s, struct err *err)
{
    int rc = sqlite3_open_v2(
        s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);

    if (rc != SQLITE_OK)
        return db_fail(s, rc, err);
    /* SQLite would remove its log and the index of it at the end, and could not make them again
     * where the disk is full.  store_close empties the log: a copy of the database is whole. */
    (void)sqlite3_file_control(s->db, NULL, SQLITE_FCNTL_PERSIST_WAL, &(int){1});
    sqlite3_busy_timeout(s->db, 1000); /* somebody who looks in with sqlite3(1) */
    rc = sqlite3_exec(s->db,
                      "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
                      "PRAGMA synchronous = FULL;",
                      NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : db_fail(s, rc, err);
}

/* Is the answer of a pragma that says one word the expected one? */
static int check_answer(struct store *s, const char *sql, const char *expected, struct err *err)
{
    sqlite3_stmt *st = NULL;
    const char *answer;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);

    if (rc != SQLITE_OK)
        return db_fail(s, rc, err);
    rc = sqlite3_step(st);
    answer = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : NULL;
    if (rc != SQLITE_ROW)
        rc = rc == SQLITE_DONE ? fail_corrupt(s, sql, err) : db_fail(s, rc, err);
    else if (answer == NULL || strcmp(answer, expected) != 0)
        rc = fail_corrupt(s, answer == NULL ? sql : answer, err);
    else
        rc = 0;
    sqlite3_finalize(st);
    return rc;
}

static int prepare_all(struct store *s, struct err *err)
{
    for (int i = 0; i < DB_STATEMENT_COUNT; i++) {
        int rc = sqlite3_prepare_v3(s->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
                                    &s->statement[i], NULL);

        if (rc != SQLITE_OK)
            return db_fail(s, rc, err);
    }
    return 0;
}

/* A new file's name is durable only when its folder is. */
static int sync_folder(const struct store *s, struct err *err)
{
    int fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = 0;

    if (fd < 0)
        return fail_open(s->dir, errno, err);
    if (fsync(fd) != 0 && errno != EINVAL)
        rc = fail_open(s->dir, errno, err);
    close(fd);
    return rc;
}

/* Nothing is written to the database before it is known to be ours, and whole. */
static int open_all(struct store *s, struct err *err)
{
    int rc;

    if ((rc = durable_mkdirs(s->dir, 0700, err)) != 0 || (rc = take_lock(s, err)) != 0 ||
        (rc = create_private(s, err)) != 0 || (rc = connect_db(s, err)) != 0 ||
        (rc = schema_check(s, schema_version, err)) != 0 ||
        (rc = check_answer(s, "PRAGMA quick_check(1)", "ok", err)) != 0 ||
        (rc = check_answer(s, "PRAGMA journal_mode = WAL", "wal", err)) != 0 ||
        (rc = schema_migrate(s, schema_steps, schema_version, err)) != 0 ||
        (rc = prepare_all(s, err)) != 0)
        return rc;
    return sync_folder(s, err);
}

struct store *store_open(const char *dir, struct err *err)
{
    struct store *s = calloc(1, sizeof(*s));

    if (s != NULL) {
        s->lock_fd = -1;
        s->dir = strdup(dir);
        s->path = str_printf("%s/" DB_FILE, dir);
    }
    if (s == NULL || s->dir == NULL || s->path == NULL)
        (void)err_set(err, ERR_NOMEM, "%s: out of memory", dir);
    else if (open_all(s, err) == 0)
        return s;
    store_close(s);
    return NULL;
}

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    store_rollback(s);
    (void)store_settle(s);
    for (int i = 0; i < DB_STATEMENT_COUNT; i++)
        sqlite3_finalize(s->statement[i]);
    if (s->db != NULL)
        (void)sqlite3_exec(s->db, "PRAGMA journal_size_limit = 0", NULL, NULL, NULL);
    sqlite3_close(s->db);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    free(s->dir);
    free(s->path);
    free(s);
}

const char *store_folder(const struct store *s)
{
    return s->dir;
}
