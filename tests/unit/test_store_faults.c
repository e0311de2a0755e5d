/* What goes wrong with disks, files and processes: nothing that was acknowledged is lost, and the
 * sentence names the file and the way back. */
#include "test_store.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "store/schema.h"

/* -- helpers ---------------------------------------------------------------------------------- */

static void write_file(const char *path, const char *text, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, n), n);
    close(fd);
}

/* A database of `n` devices, closed. */
static void folder_fill(struct folder *f, unsigned n)
{
    struct store *s = folder_open(f);

    assert_int_equal(store_begin(s, NULL), 0);
    for (unsigned i = 0; i < n; i++) {
        struct store_device d = device_make(i);

        assert_int_equal(store_device_put(s, &d, NULL), 0);
    }
    assert_int_equal(store_commit(s, NULL), 0);
    folder_close(f);
}

static void run_sql(const struct folder *f, const char *sql)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(folder_path(f, "certflip.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static int64_t ask_sql(struct store *s, const char *sql)
{
    sqlite3_stmt *st = NULL;
    int64_t v;

    assert_int_equal(sqlite3_prepare_v2(s->db, sql, -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    v = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return v;
}

/* Run `body` in a child; its exit status must be 0. */
static void in_child(void (*body)(struct folder *f), struct folder *f)
{
    int status = -1;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        body(f);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* In a child, where cmocka's assertions do not reach: say what was wrong and fail. */
static void must(bool ok, const char *what, const char *said)
{
    if (!ok) {
        fprintf(stderr, "in the child: %s: %s\n", what, said);
        _exit(1);
    }
}

/* -- what is in the file ------------------------------------------------------------------------
 */

static void garbage_is_refused(void **state)
{
    struct folder *f = *state;
    char garbage[8192];
    int fd;

    memset(garbage, 'x', sizeof(garbage));
    write_file(folder_path(f, "certflip.db"), garbage, sizeof(garbage));
    folder_refuses(f, "corrupt");
    folder_refuses(f, "move it away");
    fd = open(folder_path(f, "certflip.db"), O_RDONLY | O_CLOEXEC); /* and nothing touched it */
    assert_int_equal(read(fd, garbage, sizeof(garbage)), sizeof(garbage));
    close(fd);
    assert_int_equal(garbage[0], 'x');
}

static void truncated_file_is_refused(void **state)
{
    struct folder *f = *state;
    struct stat st;

    folder_fill(f, 500);
    assert_int_equal(stat(folder_path(f, "certflip.db"), &st), 0);
    for (int part = 1; part < 8; part++) {
        assert_int_equal(truncate(folder_path(f, "certflip.db"), st.st_size * (8 - part) / 8), 0);
        folder_refuses(f, "corrupt");
    }
}

static void damaged_page_is_refused(void **state)
{
    struct folder *f = *state;
    char zeros[4096] = {0};
    struct stat st;
    int fd;

    folder_fill(f, 500);
    fd = open(folder_path(f, "certflip.db"), O_WRONLY | O_CLOEXEC);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(pwrite(fd, zeros, sizeof(zeros), st.st_size / 2 / 4096 * 4096), sizeof(zeros));
    close(fd);
    folder_refuses(f, "corrupt");
}

struct bytes {
    char p[256 * 1024];
    size_t n;
};

static void read_file(const char *path, struct bytes *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, out->p, sizeof(out->p));

    assert_true(n >= 0 && (size_t)n < sizeof(out->p));
    out->n = (size_t)n;
    close(fd);
}

static int is_next(void *arg, const struct store_device *d)
{
    struct store_device want = device_make((*(unsigned *)arg)++);

    device_is(d, &want);
    return 0;
}

/* A power cut may leave any beginning of the log: what it still holds is whole, and in order. */
static void torn_log_loses_only_its_end(void **state)
{
    static struct bytes db, wal;
    struct folder *f = *state;
    unsigned before = 0;

    folder_open(f);
    for (unsigned i = 0; i < 5; i++) {
        struct store_device d = device_make(i);

        assert_int_equal(store_device_put(f->store, &d, NULL), 0);
    }
    read_file(folder_path(f, "certflip.db"), &db);
    read_file(folder_path(f, "certflip.db-wal"), &wal);
    for (size_t n = 0; n <= wal.n; n += n + 700 > wal.n && n < wal.n ? wal.n - n : 700) {
        unsigned now = 0;

        folder_close(f);
        write_file(folder_path(f, "certflip.db"), db.p, db.n);
        write_file(folder_path(f, "certflip.db-wal"), wal.p, n);
        folder_open(f);
        assert_int_equal(store_device_each(f->store, is_next, &now, NULL), 0);
        assert_in_range(now, before, 5);
        before = now;
    }
    assert_int_equal(before, 5);
}

static void file_moved_away_starts_anew(void **state)
{
    struct folder *f = *state;

    folder_fill(f, 10);
    assert_int_equal(unlink(folder_path(f, "certflip.db")), 0);
    folder_open(f);
    assert_int_equal(device_count(f->store), 0);
}

static void database_of_another_program_is_refused(void **state)
{
    run_sql(*state, "CREATE TABLE recipes (name)");
    folder_refuses(*state, "some other program");
}

static void directory_in_its_place_is_refused(void **state)
{
    struct folder *f = *state;

    assert_int_equal(mkdir(folder_path(f, "certflip.db"), 0700), 0);
    folder_refuses(f, "Is a directory");
    assert_int_equal(rmdir(folder_path(f, "certflip.db")), 0);
}

static void row_of_somebody_else_is_refused(void **state)
{
    struct folder *f = *state;
    struct store_device d;
    struct err err = {0};
    unsigned n = 0;

    folder_fill(f, 1);
    run_sql(f, "UPDATE devices SET phase = 'sideways'");
    folder_open(f);
    assert_int_equal(store_device_get(f->store, "press-0", &d, &err), -ERR_STORE);
    assert_non_null(strstr(err.msg, "device press-0: unknown phase \"sideways\""));
    assert_int_equal(store_device_each(f->store, count_device, &n, NULL), -ERR_STORE);
}

static void audit_log_cannot_be_edited(void **state)
{
    struct store *s = folder_open(*state);

    assert_int_equal(store_audit_add(s, "uid=0", "flip", "press-1", "done", NULL), 0);
    assert_int_equal(sqlite3_exec(s->db, "UPDATE audit SET who = 'me'", NULL, NULL, NULL),
                     SQLITE_CONSTRAINT_TRIGGER);
    assert_int_equal(sqlite3_exec(s->db, "DELETE FROM audit", NULL, NULL, NULL),
                     SQLITE_CONSTRAINT_TRIGGER);
}

/* -- commands -- */

static bool has_command(struct store *s, const char *id)
{
    char *reply = NULL;
    int rc = store_command_get(s, id, &reply, NULL);

    free(reply);
    return rc == 0;
}

static void old_commands_are_forgotten(void **state)
{
    struct folder *f = *state;
    struct store *s = folder_open(f);
    char sql[200];

    assert_int_equal(store_command_put(s, "old", "{}", NULL), 0);
    assert_int_equal(store_command_put(s, "young", "{}", NULL), 0);
    snprintf(sql, sizeof(sql),
             "UPDATE commands SET time_s = time_s - %d WHERE id = 'old';"
             "UPDATE commands SET time_s = time_s - %d WHERE id = 'young'",
             STORE_COMMANDS_S + 60, STORE_COMMANDS_S - 60);
    assert_int_equal(sqlite3_exec(s->db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_false(has_command(s, "old"));
    assert_true(has_command(s, "young"));
    assert_int_equal(store_command_put(s, "new", "{}", NULL), 0);
    assert_int_equal(ask_sql(s, "SELECT count(*) FROM commands"), 2);
    assert_true(has_command(s, "young"));
}

static int64_t wall_s; /* 0: the machine's */
int64_t __real_clock_wall_s(void);
int64_t __wrap_clock_wall_s(void);

int64_t __wrap_clock_wall_s(void)
{
    return wall_s == 0 ? __real_clock_wall_s() : wall_s;
}

/* A gateway that begins in 1970, learns the time, and then a wrong one. */
static void commands_are_kept_through_jumps_of_the_wall_clock(void **state)
{
    static const int64_t walls[] = {100, 1800000000, 2200000000, 100, 1800000000};
    struct folder *f = *state;
    struct store *s = folder_open(f);
    char id[8];

    for (size_t i = 0; i < sizeof(walls) / sizeof(walls[0]); i++) {
        wall_s = walls[i];
        snprintf(id, sizeof(id), "c-%zu", i);
        assert_int_equal(store_command_put(s, id, "{}", NULL), 0);
        s = folder_open(f);
        for (size_t k = 0; k <= i; k++) {
            snprintf(id, sizeof(id), "c-%zu", k);
            assert_true(has_command(s, id));
        }
    }
    wall_s = 0;
}

/* -- versions -----------------------------------------------------------------------------------
 */

#define STEPS_MOST 32

/* Those of the tables as they are must not be run again; behind them is a later version's. */
static const struct schema_step *steps_with(const char *next)
{
    static struct schema_step steps[STEPS_MOST + 1];

    assert_in_range(schema_version, 1, STEPS_MOST);
    for (int i = 0; i < schema_version; i++)
        steps[i].sql = "must not be run again;";
    steps[schema_version].sql = next;
    return steps;
}

static void earlier_schema_is_brought_up(void **state)
{
    struct folder *f = *state;
    const struct schema_step *steps;
    struct store *s;

    folder_fill(f, 3);
    s = folder_open(f);
    steps = steps_with("ALTER TABLE devices ADD COLUMN site TEXT NOT NULL DEFAULT 'here';"
                       "UPDATE devices SET attempts = attempts + 1;");
    assert_int_equal(schema_migrate(s, steps, schema_version + 1, NULL), 0);
    assert_int_equal(ask_sql(s, "PRAGMA user_version"), schema_version + 1);
    assert_int_equal(ask_sql(s, "SELECT count(*) FROM devices WHERE site = 'here'"), 3);
    assert_int_equal(ask_sql(s, "SELECT attempts FROM devices WHERE name = 'press-2'"), 4);
    assert_int_equal(schema_migrate(s, steps, schema_version + 1, NULL), 0); /* once is enough */
    assert_int_equal(ask_sql(s, "SELECT attempts FROM devices WHERE name = 'press-2'"), 4);
}

static void failing_step_changes_nothing(void **state)
{
    const struct schema_step *steps =
        steps_with("ALTER TABLE devices ADD COLUMN site TEXT; DROP TABLE no_such_table;");
    struct folder *f = *state;
    struct err err = {0};
    struct store *s;
    char text[64];

    folder_fill(f, 3);
    s = folder_open(f);
    assert_int_equal(schema_migrate(s, steps, schema_version + 1, &err), -ERR_STORE);
    snprintf(text, sizeof(text), "bringing the database to schema %d", schema_version + 1);
    assert_non_null(strstr(err.msg, text));
    assert_non_null(strstr(err.msg, "no_such_table"));
    assert_int_equal(ask_sql(s, "PRAGMA user_version"), schema_version);
    assert_int_equal(
        ask_sql(s, "SELECT count(*) FROM pragma_table_info('devices') WHERE name = 'site'"), 0);
    folder_open(f);
    assert_int_equal(device_count(f->store), 3);
}

/* Version 1 as it was released, by hand: what a later schema.c has to start from. */
static void database_of_version_1_opens(void **state)
{
    struct folder *f = *state;
    struct store_device got;

    run_sql(f, "CREATE TABLE devices (name TEXT PRIMARY KEY NOT NULL, phase TEXT NOT NULL,"
               " confirm TEXT NOT NULL, max_attempts INTEGER NOT NULL,"
               " probation_ms INTEGER NOT NULL, confirm_ms INTEGER NOT NULL,"
               " begin_by_ms INTEGER NOT NULL, attempts INTEGER NOT NULL,"
               " accepted INTEGER NOT NULL, due_ms INTEGER NOT NULL, dead_ms INTEGER NOT NULL,"
               " begin_by_s INTEGER NOT NULL, old_fp TEXT NOT NULL, new_fp TEXT NOT NULL,"
               " reason TEXT NOT NULL, changed_s INTEGER NOT NULL) WITHOUT ROWID, STRICT;"
               "CREATE TABLE commands (seq INTEGER PRIMARY KEY AUTOINCREMENT,"
               " id TEXT NOT NULL UNIQUE, time_s INTEGER NOT NULL, reply TEXT NOT NULL) STRICT;"
               "CREATE TABLE audit (seq INTEGER PRIMARY KEY AUTOINCREMENT,"
               " time_s INTEGER NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL,"
               " target TEXT NOT NULL, outcome TEXT NOT NULL) STRICT;"
               "CREATE TABLE \"values\" (key TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL)"
               " WITHOUT ROWID, STRICT;"
               "INSERT INTO devices VALUES ('press-9', 'rolled-back', 'central', 3, 60000, 600000,"
               " 0, 0, 0, 0, 0, 0, 'aa', 'bb', 'refused', 1234),"
               " ('press-8', 'trial', 'central', 3, 60000, 600000,"
               " 0, 1, 1, 0, 700000, 0, 'aa', 'bb', '', 1234);"
               "PRAGMA application_id = 0x63666c70; PRAGMA user_version = 1;");
    folder_open(f);
    assert_int_equal(store_device_get(f->store, "press-9", &got, NULL), 0);
    assert_int_equal(got.flip.phase, FLIP_ROLLED_BACK);
    assert_int_equal(got.flip.confirm, FLIP_CONFIRM_CENTRAL);
    assert_int_equal(got.flip.confirm_ms, 600000);
    assert_string_equal(got.fp[FLIP_NEW], "bb");
    assert_string_equal(got.reason, "refused");
    assert_int_equal(got.changed_s, 1234);
    assert_int_equal(got.flip.evidence, 0);
    assert_int_equal(got.proof.what, 0);
    assert_int_equal(got.refused[0], 0);
    assert_int_equal(store_device_put(f->store, &got, NULL), 0);
    assert_int_equal(store_device_get(f->store, "press-8", &got, NULL), 0);
    assert_int_equal(got.dead_left_ms, 600000); /* nobody knows which boot it was written in */
    assert_true(got.saved_s > 1000000000);
    assert_null(flip_broken(&got.flip));
    assert_int_equal(store_audit_add(f->store, "a", "b", "c", "d", NULL), 0);
    assert_int_equal(store_command_put(f->store, "id", "{}", NULL), 0);
}

static void later_version_is_refused(void **state)
{
    struct folder *f = *state;
    struct stat before, after;
    char text[80];

    folder_fill(f, 3);
    run_sql(f, "PRAGMA user_version = 99");
    assert_int_equal(stat(folder_path(f, "certflip.db"), &before), 0);
    snprintf(text, sizeof(text), "later certflip (schema 99, this one knows %d)", schema_version);
    folder_refuses(f, text);
    assert_int_equal(stat(folder_path(f, "certflip.db"), &after), 0);
    assert_int_equal(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
    snprintf(text, sizeof(text), "PRAGMA user_version = %d", schema_version);
    run_sql(f, text);
    folder_open(f);
    assert_int_equal(device_count(f->store), 3);
}

/* -- two processes ------------------------------------------------------------------------------
 */

static void child_is_refused(struct folder *f)
{
    struct err err = {0};
    struct store *second = store_open(f->dir, &err);
    char pid[32];

    snprintf(pid, sizeof(pid), "process %ld:", (long)getppid());
    must(second == NULL && err.code == ERR_STORE, "second open", err.msg);
    must(strstr(err.msg, pid) != NULL, "names the holder", err.msg);
    must(strstr(err.msg, "another certflipd") != NULL, "says what to do", err.msg);
}

static void second_process_is_refused(void **state)
{
    struct folder *f = *state;
    struct store_device d = device_make(1);
    struct err err = {0};

    folder_open(f);
    in_child(child_is_refused, f);
    assert_null(store_open(f->dir, &err)); /* nor twice in one process */
    assert_int_equal(err.code, ERR_STORE);
    assert_int_equal(store_device_put(f->store, &d, NULL), 0); /* the first one works on */
    folder_open(f);                                            /* and lets go when closed */
    assert_int_equal(device_count(f->store), 1);
}

/* -- no room, no permission ---------------------------------------------------------------------
 */

/* Put devices until one is refused; returns how many were acknowledged. */
static unsigned fill_up(struct store *s, struct err *err)
{
    for (unsigned n = 0; n < 100000; n++) {
        struct store_device d = device_make(n);

        if (store_device_put(s, &d, err) != 0)
            return n;
    }
    return 100000;
}

static void full_disk_refuses_and_keeps_the_rest(void **state)
{
    struct folder *f = *state;
    struct store_device d = device_make(1);
    struct err err = {0};
    unsigned kept;

    folder_open(f);
    ask_sql(f->store, "PRAGMA max_page_count = 30");
    kept = fill_up(f->store, &err);
    assert_in_range(kept, 10, 1000);
    assert_int_equal(err.code, ERR_STORE);
    assert_non_null(strstr(err.msg, "disk full"));
    assert_non_null(strstr(err.msg, "device press-"));
    assert_non_null(strstr(err.msg, f->dir));
    assert_int_equal(device_count(f->store), kept);
    ask_sql(f->store, "PRAGMA max_page_count = 3000"); /* room was made */
    strcpy(d.name, "afterwards");
    assert_int_equal(store_device_put(f->store, &d, NULL), 0);
    folder_open(f);
    assert_int_equal(device_count(f->store), kept + 1);
}

/* A limit on the size of files is how a child of ours sees a real write(2) fail. */
static void child_hits_the_limit(struct folder *f)
{
    struct rlimit limit = {.rlim_cur = 200 * 1024, .rlim_max = 200 * 1024};
    struct store *s = store_open(f->dir, NULL);
    struct err err = {0};
    unsigned kept = 0;

    signal(SIGXFSZ, SIG_IGN);
    must(s != NULL && setrlimit(RLIMIT_FSIZE, &limit) == 0, "open", f->dir);
    kept = fill_up(s, &err);
    must(kept > 10 && kept < 100000, "some fit", err.msg);
    must(err.code == ERR_STORE && strstr(err.msg, "disk full") != NULL, "says so", err.msg);
    must(device_count(s) == kept, "the acknowledged are there", err.msg);
    store_close(s);
    s = store_open(f->dir, &err);
    must(s != NULL && device_count(s) == kept, "after reopening", err.msg);
    store_close(s);
}

static void child_groups_beyond_the_limit(struct folder *f)
{
    struct rlimit limit = {.rlim_cur = 200 * 1024, .rlim_max = RLIM_INFINITY};
    struct store *s = store_open(f->dir, NULL);
    struct store_device d = device_make(1);
    struct err err = {0};

    signal(SIGXFSZ, SIG_IGN);
    must(s != NULL && setrlimit(RLIMIT_FSIZE, &limit) == 0, "open", f->dir);
    must(store_begin(s, &err) == 0, "begin", err.msg);
    must(fill_up(s, &err) < 100000 && strstr(err.msg, "disk full") != NULL, "fill", err.msg);
    must(store_device_put(s, &d, &err) == -ERR_STORE, "a put after that", "acknowledged");
    must(strstr(err.msg, "an earlier write of this group failed") != NULL, "says why", err.msg);
    must(store_device_put_many(s, &d, 1, &err) == -ERR_STORE, "many after that", "acknowledged");
    must(store_commit(s, &err) == -ERR_STORE, "commit", "acknowledged");
    must(device_count(s) == 0, "nothing of it is there", "something is");
    limit.rlim_cur = RLIM_INFINITY;
    must(setrlimit(RLIMIT_FSIZE, &limit) == 0, "make room", "");
    must(store_begin(s, &err) == 0 && store_device_put(s, &d, &err) == 0 &&
             store_commit(s, &err) == 0 && device_count(s) == 1,
         "the next group", err.msg);
    store_close(s);
}

static void group_that_does_not_fit_leaves_nothing(void **state)
{
    in_child(child_groups_beyond_the_limit, *state);
}

static void failing_write_refuses_and_keeps_the_rest(void **state)
{
    in_child(child_hits_the_limit, *state);
}

static void child_may_not_write(struct folder *f)
{
    struct err err = {0};

    must(getuid() != 0 || setresuid(65534, 65534, 65534) == 0, "become nobody", f->dir);
    must(store_open(f->dir, &err) == NULL, "open", "it did");
    must(err.code == ERR_STORE && strstr(err.msg, f->dir) != NULL, "names the folder", err.msg);
    must(strstr(err.msg, "must be able to write") != NULL, "says what to do", err.msg);
}

static void read_only_folder_is_refused(void **state)
{
    struct folder *f = *state;

    assert_int_equal(chmod(f->dir, 0555), 0);
    in_child(child_may_not_write, f);
    assert_int_equal(chmod(f->dir, 0755), 0);
    folder_fill(f, 1);
    assert_int_equal(chmod(folder_path(f, "certflip.lock"), 0666), 0);
    assert_int_equal(chmod(folder_path(f, "certflip.db"), 0444), 0);
    if (getuid() == 0)
        in_child(child_may_not_write, f);
}

/* -- killed in the middle
 * -------------------------------------------------------------------------- */

/* Put devices for ever, round after round, and say the number of each one that was acknowledged. */
static void put_until_killed(const struct folder *f, int to)
{
    struct store *s = store_open(f->dir, NULL);

    must(s != NULL, "open", f->dir);
    for (unsigned n = 0;; n++) {
        struct store_device d = device_make(n);

        snprintf(d.name, sizeof(d.name), "press-%u", n % 50);
        must(store_device_put(s, &d, NULL) == 0, "put", d.name);
        must(write(to, &n, sizeof(n)) == (ssize_t)sizeof(n), "tell", d.name);
    }
}

/* Read acknowledgements until there are `enough`, kill the child, and read the rest: the last one.
 */
static unsigned kill_after(const struct folder *f, unsigned enough)
{
    int pipes[2], status;
    unsigned n = 0, last = 0;
    pid_t pid;

    assert_int_equal(pipe(pipes), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(pipes[0]);
        put_until_killed(f, pipes[1]);
        _exit(1);
    }
    close(pipes[1]);
    while (read(pipes[0], &n, sizeof(n)) == (ssize_t)sizeof(n)) {
        last = n;
        if (n == enough)
            kill(pid, SIGKILL);
    }
    close(pipes[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_true(last >= enough);
    return last;
}

/* A row is of one round altogether: each of its columns says the same number. */
static int row_is_whole(void *arg, const struct store_device *d)
{
    unsigned n = d->flip.attempts - 1;
    struct store_device want = device_make(n);
    unsigned *newest = arg;

    snprintf(want.name, sizeof(want.name), "press-%u", n % 50);
    device_is(d, &want);
    if (n > *newest)
        *newest = n;
    return 0;
}

static void killed_process_loses_nothing_acknowledged(void **state)
{
    struct folder *f = *state;

    for (unsigned round = 0; round < 12; round++) {
        unsigned last = kill_after(f, 60 + round * 37), newest = 0;

        folder_open(f);
        assert_int_equal(store_device_each(f->store, row_is_whole, &newest, NULL), 0);
        assert_in_range(newest, last, last + 1);
        assert_int_equal(device_count(f->store), 50);
        assert_int_equal(sqlite3_exec(f->store->db, "DELETE FROM devices", NULL, NULL, NULL), 0);
        folder_close(f);
    }
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, folder_make, folder_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(old_commands_are_forgotten),
        ROW(commands_are_kept_through_jumps_of_the_wall_clock),
        ROW(garbage_is_refused),
        ROW(truncated_file_is_refused),
        ROW(damaged_page_is_refused),
        ROW(torn_log_loses_only_its_end),
        ROW(file_moved_away_starts_anew),
        ROW(database_of_another_program_is_refused),
        ROW(directory_in_its_place_is_refused),
        ROW(row_of_somebody_else_is_refused),
        ROW(audit_log_cannot_be_edited),
        ROW(earlier_schema_is_brought_up),
        ROW(failing_step_changes_nothing),
        ROW(database_of_version_1_opens),
        ROW(later_version_is_refused),
        ROW(second_process_is_refused),
        ROW(full_disk_refuses_and_keeps_the_rest),
        ROW(group_that_does_not_fit_leaves_nothing),
        ROW(failing_write_refuses_and_keeps_the_rest),
        ROW(read_only_folder_is_refused),
        ROW(killed_process_loses_nothing_acknowledged),
    };

    return cmocka_run_group_tests_name("store: faults", tests, NULL, NULL);
}
