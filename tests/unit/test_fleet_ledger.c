/* The ledger keeps what it acknowledged, whoever is killed and whatever the disk does; one process
 * runs a campaign, and each thing that goes wrong is one sentence with a way out. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/rand.h"
#include "fleet/ledger_inside.h"
#include "scratch.h"

/* -- a folder with a ledger -------------------------------------------------------------------- */

struct folder {
    char dir[64];
    struct ledger *ledger;
};

static int folder_make(void **state)
{
    struct folder *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_true(scratch_make(f->dir, sizeof(f->dir)));
    *state = f;
    return 0;
}

static int folder_remove(void **state)
{
    struct folder *f = *state;
    DIR *d;

    ledger_close(f->ledger);
    assert_int_equal(chmod(f->dir, 0700), 0);
    d = opendir(f->dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        (void)unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

/* Borrowed until the next call. */
static const char *file(const struct folder *f, const char *name)
{
    static char path[128];

    snprintf(path, sizeof(path), "%s/%s", f->dir, name);
    return path;
}

static struct ledger *open_it(const struct folder *f)
{
    struct err err = {0};
    struct ledger *l = ledger_open(file(f, "c.db"), true, &err);

    if (l == NULL)
        fail_msg("%s", err.msg);
    return l;
}

static struct ledger *own_it(struct folder *f)
{
    struct err err = {0};

    if (f->ledger == NULL)
        f->ledger = open_it(f);
    if (ledger_own(f->ledger, "anna@plant", &err) != 0)
        fail_msg("%s", err.msg);
    return f->ledger;
}

static void close_it(struct folder *f)
{
    ledger_close(f->ledger);
    f->ledger = NULL;
}

/* It cannot be opened, and says why. */
static void refused(const struct folder *f, enum err_code code, const char *says)
{
    struct err err = {0};
    struct ledger *l = ledger_open(file(f, "c.db"), false, &err);

    assert_null(l);
    assert_int_equal(err.code, code);
    if (strstr(err.msg, says) == NULL || strstr(err.msg, "c.db") == NULL)
        fail_msg("says: %s", err.msg);
}

static struct fleet_device device(unsigned gateway, unsigned number, int wave)
{
    struct fleet_device d = {.wave = wave, .step = FLEET_DEVICE_PLANNED, .attempts = 1};

    snprintf(d.gateway, sizeof(d.gateway), "gw-%04u", gateway);
    snprintf(d.name, sizeof(d.name), "press-%04u", number);
    memset(d.old_fp, 'a', 64);
    memset(d.new_fp, 'b', 64);
    d.new_until_s = 1900000000 + number;
    d.changed_s = 1800000000;
    strcpy(d.reason, "the broker refused it: unknown CA");
    return d;
}

static void put(struct ledger *l, const struct fleet_device *d)
{
    struct err err = {0};

    if (ledger_device_put(l, d, &err) != 0)
        fail_msg("%s", err.msg);
}

static void run_sql(const struct folder *f, const char *sql)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(file(f, "c.db"), &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s", sqlite3_errmsg(db));
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* -- what is put is there ---------------------------------------------------------------------- */

static void what_is_put_is_there_after_a_restart(void **state)
{
    struct folder *f = *state;
    struct ledger *l = own_it(f);
    struct fleet_campaign c = {.phase = FLEET_MIGRATE,
                               .mode = FLEET_HALTED,
                               .wave = 2,
                               .waves = 6,
                               .started_s = 11,
                               .changed_s = 12,
                               .wave_begun_s = 13,
                               .soak_until_s = 14,
                               .ended_s = 15,
                               .back_from = -1,
                               .back_to = 3,
                               .requests = INT64_C(1) << 40},
                          read = {0};
    struct fleet_device d = device(3, 4, 2), got = {0};
    struct fleet_gateway g = {.step = FLEET_GATEWAY_TRUSTED, .changed_s = 9}, gateway = {0};
    char *csr = NULL, *chain = NULL;

    assert_int_equal(ledger_campaign(l, &read, NULL), -ERR_NOT_FOUND);
    strcpy(c.name, "ca-2027");
    strcpy(c.reason, "wave 2: 97.1 % of 99.9 %");
    strcpy(c.by, "anna@plant");
    memset(c.plan, 'e', 64);
    strcpy(g.name, "gw-0003");
    strcpy(g.trouble, "offline since noon; \xe2\x80\x9cquoted\xe2\x80\x9d 'and' \"so\"");
    d.step = FLEET_DEVICE_FAILED;
    d.flip_s = 21;
    d.migrated_s = 22;
    d.old_until_s = 23;
    strcpy(d.failure, "identity");
    strcpy(d.remedy, "add the CA");
    assert_int_equal(ledger_begin(l, NULL), 0);
    assert_int_equal(ledger_campaign_put(l, &c, NULL), 0);
    assert_int_equal(ledger_gateway_put(l, &g, NULL), 0);
    put(l, &d);
    assert_int_equal(ledger_pem_put(l, d.gateway, d.name, "a request", NULL, NULL), 0);
    assert_int_equal(ledger_pem_put(l, d.gateway, d.name, NULL, "a chain", NULL), 0);
    assert_int_equal(ledger_commit(l, NULL), 0);
    close_it(f);

    l = own_it(f);
    assert_int_equal(ledger_campaign(l, &read, NULL), 0);
    assert_memory_equal(&read, &c, sizeof(c));
    assert_int_equal(ledger_device(l, d.gateway, d.name, &got, NULL), 0);
    assert_memory_equal(&got, &d, sizeof(d));
    /* Who does not know when the old certificate ends says 0. */
    d.old_until_s = 0;
    put(l, &d);
    d.old_until_s = 23;
    assert_int_equal(ledger_device(l, d.gateway, d.name, &got, NULL), 0);
    assert_memory_equal(&got, &d, sizeof(d));
    assert_int_equal(ledger_device(l, d.gateway, "other", &got, NULL), -ERR_NOT_FOUND);
    assert_int_equal(ledger_gateway(l, g.name, &gateway, NULL), 0);
    assert_memory_equal(&gateway, &g, sizeof(g));
    assert_int_equal(ledger_pem(l, d.gateway, d.name, &csr, &chain, NULL), 0);
    assert_string_equal(csr, "a request");
    assert_string_equal(chain, "a chain");
    free(csr);
    free(chain);
    assert_int_equal(ledger_pem(l, d.gateway, "other", &csr, &chain, NULL), 0);
    assert_null(csr);
    assert_null(chain);
}

static void what_is_rolled_back_is_not(void **state)
{
    struct ledger *l = own_it(*state);
    struct fleet_device d = device(1, 1, 0), got;

    assert_int_equal(ledger_begin(l, NULL), 0);
    put(l, &d);
    assert_int_equal(ledger_begin(l, NULL), -ERR_STORE);
    ledger_rollback(l);
    ledger_rollback(l);
    assert_int_equal(ledger_device(l, d.gateway, d.name, &got, NULL), -ERR_NOT_FOUND);
    assert_int_equal(ledger_commit(l, NULL), -ERR_STORE);
}

static int note_name(void *arg, const struct fleet_device *d)
{
    char *text = arg;

    sprintf(text + strlen(text), "%d:%s/%s ", d->wave, d->gateway, d->name);
    return 0;
}

static int stop_at_once(void *arg, const struct fleet_device *d)
{
    (void)arg;
    (void)d;
    return 7;
}

static void devices_come_by_wave_then_gateway_then_name(void **state)
{
    struct ledger *l = own_it(*state);
    char text[400] = "";
    static const int each[][3] = {{2, 1, 1}, {1, 2, 0}, {1, 1, 1}, {2, 2, 0}};

    for (size_t i = 0; i < 4; i++) {
        struct fleet_device d = device((unsigned)each[i][0], (unsigned)each[i][1], each[i][2]);

        put(l, &d);
    }
    assert_int_equal(ledger_devices(l, note_name, text, NULL), 0);
    assert_string_equal(text, "0:gw-0001/press-0002 0:gw-0002/press-0002 "
                              "1:gw-0001/press-0001 1:gw-0002/press-0001 ");
    assert_int_equal(ledger_devices(l, stop_at_once, NULL, NULL), 7);
}

static int add_tally(void *arg, const struct ledger_tally *t)
{
    char *text = arg;

    sprintf(text + strlen(text), "%s:%d:%s=%zu ", t->gateway, t->wave,
            fleet_device_step_name(t->step), t->count);
    return 0;
}

static void tallies_count_by_gateway_wave_and_step(void **state)
{
    struct ledger *l = own_it(*state);
    char text[400] = "";

    for (unsigned i = 0; i < 5; i++) {
        struct fleet_device d = device(i < 3, i, i == 4);

        d.step = i == 1 ? FLEET_DEVICE_FAILED : FLEET_DEVICE_MIGRATED;
        put(l, &d);
    }
    assert_int_equal(ledger_tallies(l, add_tally, text, NULL), 0);
    assert_string_equal(text, "gw-0000:0:migrated=1 gw-0000:1:migrated=1 gw-0001:0:failed=1 "
                              "gw-0001:0:migrated=2 ");
}

static int note_request(void *arg, const struct fleet_request *q)
{
    char *text = arg;

    sprintf(text + strlen(text), "%s %s %s %s %s %lld %s\n", q->id, q->gateway,
            fleet_request_state_name(q->state), q->method, q->params, (long long)q->sent_s,
            q->reply == NULL ? "-" : q->reply);
    return 0;
}

struct requests {
    struct ledger *l;
    char text[800];
};

/* Acts upon each, as who runs a campaign does: it goes, and another one takes its place. */
static int act_upon(void *arg, const struct fleet_request *q)
{
    struct requests *all = arg;
    struct fleet_request next = *q;

    note_request(all->text, q);
    assert_int_equal(ledger_request_del(all->l, q->id, NULL), 0);
    snprintf(next.id, sizeof(next.id), "%.100s-2", q->id);
    return ledger_request_put(all->l, &next, NULL);
}

static void requests_stay_in_order_until_they_are_taken_away(void **state)
{
    struct ledger *l = own_it(*state);
    char method[] = "flip", params[] = "{}", reply[] = "{\"result\":1}";
    struct fleet_request q = {.gateway = "gw-1", .method = method, .params = params};
    struct requests all = {.l = l};

    for (int i = 1; i <= 3; i++) {
        snprintf(q.id, sizeof(q.id), "c:gw-1:%d", i);
        q.sent_s = i;
        assert_int_equal(ledger_request_put(l, &q, NULL), 0);
    }
    snprintf(q.id, sizeof(q.id), "c:gw-1:1");
    q.state = FLEET_REQUEST_DONE;
    q.reply = reply;
    assert_int_equal(ledger_request_put(l, &q, NULL), 0);
    assert_int_equal(ledger_request_del(l, "c:gw-1:2", NULL), 0);
    assert_int_equal(ledger_request_del(l, "c:gw-1:2", NULL), 0);
    assert_int_equal(ledger_requests(l, act_upon, &all, NULL), 0);
    assert_string_equal(all.text, "c:gw-1:1 gw-1 done flip {} 3 {\"result\":1}\n"
                                  "c:gw-1:3 gw-1 open flip {} 3 -\n");
    all.text[0] = '\0';
    assert_int_equal(ledger_requests(l, note_request, all.text, NULL), 0);
    assert_string_equal(all.text, "c:gw-1:1-2 gw-1 done flip {} 3 {\"result\":1}\n"
                                  "c:gw-1:3-2 gw-1 open flip {} 3 -\n");
}

static int note_note(void *arg, const struct ledger_note *n)
{
    char *text = arg;

    assert_true(n->time_s > 1700000000);
    sprintf(text + strlen(text), "%lld %s %s/%s %s\n", (long long)n->seq, n->what, n->gateway,
            n->device, n->text);
    return 0;
}

static void the_diary_is_read_from_where_one_was(void **state)
{
    struct ledger *l = own_it(*state);
    char text[300] = "";

    assert_int_equal(ledger_note_add(l, "wave-begun", "", "", "wave 1", NULL), 0);
    assert_int_equal(ledger_note_add(l, "failed", "gw-1", "press-1", "identity", NULL), 0);
    assert_int_equal(ledger_notes(l, 0, note_note, text, NULL), 0);
    assert_string_equal(text, "1 wave-begun / wave 1\n2 failed gw-1/press-1 identity\n");
    text[0] = '\0';
    assert_int_equal(ledger_notes(l, 1, note_note, text, NULL), 0);
    assert_string_equal(text, "2 failed gw-1/press-1 identity\n");
}

/* -- who runs it ------------------------------------------------------------------------------- */

static int take_wish(void *arg, int64_t seq, const char *who, const char *wish)
{
    char *text = arg;

    sprintf(text + strlen(text), "%lld %s %s\n", (long long)seq, who, wish);
    return 0;
}

static void others_read_and_wish_and_cannot_write(void **state)
{
    struct folder *f = *state;
    struct ledger *l = own_it(f), *other = open_it(f);
    struct fleet_device d = device(1, 1, 0), got;
    struct err err = {0};
    char text[200] = "", who[200] = "";
    int64_t before = ledger_version(other);

    put(l, &d);
    assert_int_not_equal(ledger_version(other), before);
    before = ledger_version(other);
    assert_int_equal(ledger_version(other), before);
    assert_int_equal(ledger_device(other, d.gateway, d.name, &got, NULL), 0);
    assert_int_equal(ledger_device_put(other, &d, &err), -ERR_DENIED);
    assert_int_equal(ledger_own(other, "otto@plant", &err), -ERR_BUSY);
    assert_non_null(strstr(err.msg, "anna@plant, process"));
    assert_int_equal(ledger_owner(other, who, sizeof(who), NULL), 1);
    assert_non_null(strstr(who, "anna@plant, process"));
    assert_int_equal(ledger_owner(l, who, sizeof(who), NULL), 0);

    assert_int_equal(ledger_wish_put(other, "otto@plant", "pause", NULL), 0);
    assert_int_equal(ledger_wish_put(other, "otto@plant", "rollback:3", NULL), 0);
    assert_int_equal(ledger_wishes(l, take_wish, text, NULL), 0);
    assert_string_equal(text, "1 otto@plant pause\n2 otto@plant rollback:3\n");
    assert_int_equal(ledger_wish_del(other, 1, NULL), -ERR_DENIED);
    assert_int_equal(ledger_wish_del(l, 1, NULL), 0);
    text[0] = '\0';
    assert_int_equal(ledger_wishes(l, take_wish, text, NULL), 0);
    assert_string_equal(text, "2 otto@plant rollback:3\n");
    ledger_close(other);
}

static void a_snapshot_is_of_one_moment(void **state)
{
    struct folder *f = *state;
    struct ledger *l = own_it(f), *other = open_it(f);
    struct fleet_device d = device(1, 1, 0), got;

    assert_int_equal(ledger_snapshot(other, NULL), 0);
    put(l, &d);
    assert_int_equal(ledger_device(other, d.gateway, d.name, &got, NULL), -ERR_NOT_FOUND);
    ledger_rollback(other);
    assert_int_equal(ledger_device(other, d.gateway, d.name, &got, NULL), 0);
    ledger_close(other);
}

/* A child ends with the test, whatever becomes of that. */
static pid_t start_child(void)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

/* In a child that owns it and is then killed.  Returns its pid. */
static pid_t other_owner(const struct folder *f)
{
    int ready[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    pid = start_child();
    if (pid == 0) {
        struct ledger *l = ledger_open(file(f, "c.db"), true, NULL);

        if (l == NULL || ledger_own(l, "otto@plant", NULL) != 0 || write(ready[1], "", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static void who_is_killed_does_not_hold_it(void **state)
{
    struct folder *f = *state;
    pid_t pid = other_owner(f);
    struct ledger *l = open_it(f);
    struct err err = {0};
    char says[64], who[200];

    f->ledger = l;
    assert_int_equal(ledger_own(l, "anna@plant", &err), -ERR_BUSY);
    snprintf(says, sizeof(says), "otto@plant, process %ld", (long)pid);
    assert_non_null(strstr(err.msg, says));
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    /* The file still names it; the number may be another process's by now. */
    assert_int_equal(ledger_owner(l, who, sizeof(who), NULL), 0);
    assert_int_equal(ledger_own(l, "anna@plant", &err), 0);
    assert_int_equal(ledger_own(l, "anna@plant", &err), 0);
}

static void two_names_of_a_ledger_have_one_lock(void **state)
{
    struct folder *f = *state;
    char link[128];
    struct ledger *other;

    (void)own_it(f);
    snprintf(link, sizeof(link), "%s", file(f, "link.db"));
    assert_int_equal(symlink("c.db", link), 0);
    other = ledger_open(link, true, NULL);
    assert_non_null(other);
    assert_int_equal(ledger_own(other, "otto@plant", NULL), -ERR_BUSY);
    ledger_close(other);
}

static void those_who_make_it_at_once_find_one_ledger(void **state)
{
    struct folder *f = *state;
    pid_t pids[6];
    int status, owners = 0;

    for (size_t i = 0; i < 6; i++) {
        pids[i] = start_child();
        if (pids[i] == 0) {
            struct err err = {0};
            struct ledger *l = ledger_open(file(f, "c.db"), true, &err);
            int rc = l == NULL ? -ERR_STORE : ledger_own(l, "anna@plant", &err);

            if (rc == 0)
                for (;;)
                    pause();
            if (rc != -ERR_BUSY)
                fprintf(stderr, "%s\n", err.msg);
            _exit(rc == -ERR_BUSY ? 0 : 1);
        }
    }
    for (size_t i = 0; i < 5; i++) {
        assert_true(waitpid(-1, &status, 0) > 0);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    for (size_t i = 0; i < 6; i++)
        owners += kill(pids[i], SIGKILL) == 0 && waitpid(pids[i], &status, 0) == pids[i];
    assert_int_equal(owners, 1);
}

/* -- kills ------------------------------------------------------------------------------------- */

#define GROUP 20

/* Groups of GROUP devices of one number, then that number as a note: all or nothing.  Says each
 * number that was committed. */
static void write_groups(const struct folder *f, int to)
{
    struct ledger *l = ledger_open(file(f, "c.db"), true, NULL);

    if (l == NULL || ledger_own(l, "otto@plant", NULL) != 0)
        _exit(1);
    for (unsigned number = 1;; number++) {
        char text[20];
        int rc = ledger_begin(l, NULL);

        for (unsigned i = 0; rc == 0 && i < GROUP; i++) {
            struct fleet_device d = device(i, 1, 0);

            d.attempts = number;
            rc = ledger_device_put(l, &d, NULL);
        }
        snprintf(text, sizeof(text), "%u", number);
        if (rc == 0)
            rc = ledger_note_add(l, "number", "", "", text, NULL);
        if (rc == 0)
            rc = ledger_commit(l, NULL);
        if (rc != 0 || write(to, &number, sizeof(number)) != sizeof(number))
            _exit(1);
    }
}

static int attempts_are(void *arg, const struct fleet_device *d)
{
    const unsigned *number = arg;

    assert_int_equal(d->attempts, *number);
    return 0;
}

static int last_number(void *arg, const struct ledger_note *n)
{
    unsigned *number = arg;

    *number = (unsigned)strtoul(n->text, NULL, 10);
    return 0;
}

static void a_kill_leaves_whole_groups_and_all_that_was_acknowledged(void **state)
{
    struct folder *f = *state;

    for (int round = 0; round < 6; round++) {
        unsigned acknowledged = 0, found = 0;
        int pipes[2];
        pid_t pid;

        assert_int_equal(unlink(file(f, "c.db")) == 0 || round == 0, true);
        (void)unlink(file(f, "c.db-wal"));
        (void)unlink(file(f, "c.db-shm"));
        assert_int_equal(pipe(pipes), 0);
        pid = start_child();
        if (pid == 0)
            write_groups(f, pipes[1]);
        close(pipes[1]);
        assert_int_equal(read(pipes[0], &acknowledged, sizeof(unsigned)), sizeof(unsigned));
        usleep(rand_below(15000));
        assert_int_equal(kill(pid, SIGKILL), 0);
        while (read(pipes[0], &acknowledged, sizeof(unsigned)) == sizeof(unsigned))
            ;
        close(pipes[0]);
        assert_int_equal(waitpid(pid, NULL, 0), pid);

        own_it(f);
        assert_int_equal(ledger_notes(f->ledger, 0, last_number, &found, NULL), 0);
        assert_true(found == acknowledged || found == acknowledged + 1);
        assert_int_equal(ledger_devices(f->ledger, attempts_are, &found, NULL), 0);
        close_it(f);
    }
}

/* -- disks and files --------------------------------------------------------------------------- */

/* In a child, where cmocka's assertions do not reach. */
static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "in the child: %s\n", what);
        _exit(1);
    }
}

static void in_child(void (*body)(struct folder *f), struct folder *f)
{
    int status = -1;
    pid_t pid = start_child();

    if (pid == 0) {
        body(f);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
}

static void fill_the_disk(struct folder *f)
{
    struct err err = {0};
    struct ledger *l = ledger_open(file(f, "c.db"), true, &err);
    struct fleet_device d;
    unsigned n = 0;
    int rc;

    must(l != NULL && ledger_own(l, "anna@plant", &err) == 0, err.msg);
    limit_files(200000);
    do {
        rc = ledger_begin(l, &err);
        for (unsigned i = 0; rc == 0 && i < GROUP; i++) {
            d = device(n, i, 0);
            rc = ledger_device_put(l, &d, &err);
        }
        if (rc == 0)
            rc = ledger_commit(l, &err);
        else
            ledger_rollback(l);
        n++;
    } while (rc == 0 && n < 100000);
    must(rc == -ERR_STORE && strstr(err.msg, "disk full") != NULL &&
             strstr(err.msg, "make room below") != NULL,
         err.msg);
    must(ledger_device(l, d.gateway, d.name, &d, NULL) == -ERR_NOT_FOUND, "half a group is there");
    d = device(0, 0, 0);
    must(ledger_device(l, d.gateway, d.name, &d, &err) == 0, err.msg);
    limit_files(RLIM_INFINITY);
    rc = ledger_note_add(l, "room", "", "", "again", &err);
    must(rc == 0, err.msg);
    ledger_close(l);
}

static void a_full_disk_changes_nothing_and_goes_on_when_there_is_room(void **state)
{
    struct folder *f = *state;

    in_child(fill_the_disk, f);
    own_it(f);
}

static void read_without_leave(struct folder *f)
{
    struct err err = {0};

    must(chmod(f->dir, 0555) == 0, "chmod");
    must(geteuid() != 0 || setresuid(65534, 65534, 65534) == 0, "setresuid");
    must(ledger_open(file(f, "c.db"), true, &err) == NULL, "it was made");
    must(err.code == ERR_STORE && strstr(err.msg, "writable for you") != NULL &&
             strstr(err.msg, "c.db") != NULL,
         err.msg);
}

static void a_folder_that_is_not_ours_is_said(void **state)
{
    struct folder *f = *state;

    in_child(read_without_leave, f);
    assert_int_equal(chmod(f->dir, 0700), 0);
    own_it(f);
    close_it(f);
    in_child(read_without_leave, f);
}

static void a_missing_ledger_is_not_made_by_who_only_looks(void **state)
{
    struct folder *f = *state;

    refused(f, ERR_NOT_FOUND, "was not begun");
    assert_int_not_equal(access(file(f, "c.db"), F_OK), 0);
    assert_int_not_equal(access(file(f, "c.db.lock"), F_OK), 0);
    close(open(file(f, "c.db"), O_CREAT | O_WRONLY, 0600));
    refused(f, ERR_NOT_FOUND, "was not begun");
    own_it(f);
}

static void the_file_is_not_for_everybody(void **state)
{
    struct folder *f = *state;
    mode_t before = umask(0);
    struct stat st;

    own_it(f);
    umask(before);
    assert_int_equal(ledger_note_add(f->ledger, "x", "", "", "", NULL), 0);
    assert_int_equal(stat(file(f, "c.db"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    assert_int_equal(stat(file(f, "c.db-wal"), &st), 0);
    assert_int_equal(st.st_mode & 07, 0);
}

static void what_is_no_ledger_is_left_alone(void **state)
{
    static const char text[] = "This is a letter, and a rather long one: it has more bytes than "
                               "the header of a database has, which are a hundred, or so we think.";
    struct folder *f = *state;
    char read[200] = "";
    int fd = open(file(f, "c.db"), O_CREAT | O_RDWR, 0600);

    assert_int_equal(write(fd, text, sizeof(text)), sizeof(text));
    refused(f, ERR_STORE, "no ledger, or a corrupt one");
    assert_int_equal(pread(fd, read, sizeof(read), 0), sizeof(text));
    assert_string_equal(read, text);
    close(fd);
    assert_int_not_equal(access(file(f, "c.db.lock"), F_OK), 0);
    assert_int_equal(unlink(file(f, "c.db")), 0);

    run_sql(f, "CREATE TABLE songs (name TEXT); PRAGMA application_id = 7;");
    refused(f, ERR_STORE, "some other program");
}

static void a_later_version_is_left_alone(void **state)
{
    struct folder *f = *state;

    own_it(f);
    close_it(f);
    run_sql(f, "PRAGMA user_version = 99;");
    refused(f, ERR_STORE, "later certflip-fleet (schema 99");
}

/* What a campaign has written that was begun by an earlier version is all there. */
static void an_earlier_version_is_brought_up(void **state)
{
    struct folder *f = *state;
    struct fleet_device d = device(1, 1, 0), got = {0};
    struct err err = {0};
    struct ledger *l;

    d.renew = true;
    put(own_it(f), &d);
    close_it(f);
    run_sql(f, "ALTER TABLE devices DROP COLUMN renew; PRAGMA user_version = 1;");
    l = own_it(f);
    if (ledger_device(l, d.gateway, d.name, &got, &err) != 0)
        fail_msg("%s", err.msg);
    d.renew = false; /* which that version did not know */
    assert_memory_equal(&got, &d, sizeof(d));
    d.renew = true;
    put(l, &d);
    close_it(f);
    l = own_it(f);
    assert_int_equal(ledger_device(l, d.gateway, d.name, &got, NULL), 0);
    assert_true(got.renew);
}

static void a_word_of_a_later_version_is_said(void **state)
{
    struct folder *f = *state;
    struct ledger *l = own_it(f);
    struct fleet_device d = device(1, 1, 0);
    struct err err = {0};

    put(l, &d);
    close_it(f);
    run_sql(f, "UPDATE devices SET step = 'teleported';");
    l = own_it(f);
    assert_int_equal(ledger_device(l, d.gateway, d.name, &d, &err), -ERR_STORE);
    assert_non_null(strstr(err.msg, "not known here"));
}

static void a_corrupt_ledger_is_said_before_anything_is_run(void **state)
{
    struct folder *f = *state;
    struct ledger *l = own_it(f);
    struct err err = {0};
    uint8_t junk[4096];
    struct stat st;
    int fd;

    assert_int_equal(ledger_begin(l, NULL), 0);
    for (unsigned i = 0; i < 500; i++) {
        struct fleet_device d = device(i, i, 0);

        put(l, &d);
    }
    assert_int_equal(ledger_commit(l, NULL), 0);
    close_it(f);
    memset(junk, 0xa5, sizeof(junk));
    fd = open(file(f, "c.db"), O_RDWR);
    assert_int_equal(fstat(fd, &st), 0);
    for (off_t at = 16 * 4096; at < st.st_size; at += 8 * 4096)
        assert_int_equal(pwrite(fd, junk, sizeof(junk), at), sizeof(junk));
    close(fd);
    f->ledger = ledger_open(file(f, "c.db"), false, &err);
    if (f->ledger != NULL)
        assert_int_equal(ledger_own(f->ledger, "anna@plant", &err), -ERR_STORE);
    assert_int_equal(err.code, ERR_STORE);
    assert_non_null(strstr(err.msg, "corrupt"));
    assert_non_null(strstr(err.msg, "put back a copy"));
}

/* -- size -------------------------------------------------------------------------------------- */

static int count_one(void *arg, const struct fleet_device *d)
{
    size_t *n = arg;

    (void)d;
    (*n)++;
    return 0;
}

static int count_tally(void *arg, const struct ledger_tally *t)
{
    size_t *n = arg;

    *n += t->count;
    return 0;
}

/* CERTFLIP_LEDGER_DEVICES=100000 tells how long a large fleet takes. */
static void a_large_fleet_fits(void **state)
{
    struct folder *f = *state;
    const char *many = getenv("CERTFLIP_LEDGER_DEVICES");
    unsigned count = many == NULL ? 3000 : (unsigned)strtoul(many, NULL, 10);
    struct ledger *l = own_it(f);
    size_t n = 0;
    int64_t at = clock_mono_us();
    char pem[2001];

    memset(pem, 'M', 2000);
    pem[2000] = '\0';
    for (unsigned i = 0; i < count;) {
        assert_int_equal(ledger_begin(l, NULL), 0);
        do {
            struct fleet_device d = device(i / 100, i, (int)(i % 6));

            put(l, &d);
            assert_int_equal(ledger_pem_put(l, d.gateway, d.name, pem + 1200, pem, NULL), 0);
        } while (++i % 1000 != 0 && i < count);
        assert_int_equal(ledger_commit(l, NULL), 0);
    }
    print_message("%u devices: %.2f s to put them", count, (double)(clock_mono_us() - at) / 1e6);
    at = clock_mono_us();
    assert_int_equal(ledger_devices(l, count_one, &n, NULL), 0);
    assert_int_equal(n, count);
    print_message(", %.2f s to read them", (double)(clock_mono_us() - at) / 1e6);
    at = clock_mono_us();
    n = 0;
    assert_int_equal(ledger_tallies(l, count_tally, &n, NULL), 0);
    assert_int_equal(n, count);
    print_message(", %.2f s to count them", (double)(clock_mono_us() - at) / 1e6);
    at = clock_mono_us();
    close_it(f);
    own_it(f);
    print_message(", %.2f s to close, open and check\n", (double)(clock_mono_us() - at) / 1e6);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_make, folder_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(what_is_put_is_there_after_a_restart),
        IN_FOLDER(what_is_rolled_back_is_not),
        IN_FOLDER(devices_come_by_wave_then_gateway_then_name),
        IN_FOLDER(tallies_count_by_gateway_wave_and_step),
        IN_FOLDER(requests_stay_in_order_until_they_are_taken_away),
        IN_FOLDER(the_diary_is_read_from_where_one_was),
        IN_FOLDER(others_read_and_wish_and_cannot_write),
        IN_FOLDER(a_snapshot_is_of_one_moment),
        IN_FOLDER(who_is_killed_does_not_hold_it),
        IN_FOLDER(two_names_of_a_ledger_have_one_lock),
        IN_FOLDER(those_who_make_it_at_once_find_one_ledger),
        IN_FOLDER(a_kill_leaves_whole_groups_and_all_that_was_acknowledged),
        IN_FOLDER(a_full_disk_changes_nothing_and_goes_on_when_there_is_room),
        IN_FOLDER(a_folder_that_is_not_ours_is_said),
        IN_FOLDER(a_missing_ledger_is_not_made_by_who_only_looks),
        IN_FOLDER(the_file_is_not_for_everybody),
        IN_FOLDER(what_is_no_ledger_is_left_alone),
        IN_FOLDER(a_later_version_is_left_alone),
        IN_FOLDER(an_earlier_version_is_brought_up),
        IN_FOLDER(a_word_of_a_later_version_is_said),
        IN_FOLDER(a_corrupt_ledger_is_said_before_anything_is_run),
        IN_FOLDER(a_large_fleet_fits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
