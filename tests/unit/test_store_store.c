/* What was put is what comes back, also after the store was closed and opened again. */
#include "test_store.h"

#include "base/clock.h"

static void device_comes_back_whole(void **state)
{
    struct store *s = folder_open(*state);
    struct store_device got, want;

    for (unsigned n = 0; n < FLIP_PHASES; n++) {
        want = device_make(n);
        want.flip.phase = (enum flip_phase)n;
        assert_int_equal(store_device_put(s, &want, NULL), 0);
    }
    s = folder_open(*state);
    for (unsigned n = 0; n < FLIP_PHASES; n++) {
        want = device_make(n);
        want.flip.phase = (enum flip_phase)n;
        assert_int_equal(store_device_get(s, want.name, &got, NULL), 0);
        device_is(&got, &want);
    }
}

static void longest_texts_fit(void **state)
{
    struct store *s = folder_open(*state);
    struct store_device got, want = device_make(STORE_REFUSALS);

    memset(want.name, 'n', sizeof(want.name) - 1);
    memset(want.reason, 'r', sizeof(want.reason) - 1);
    want.flip.due_ms = INT64_MAX;
    want.flip.max_attempts = UINT32_MAX;
    assert_int_equal(store_device_put(s, &want, NULL), 0);
    assert_int_equal(store_device_get(s, want.name, &got, NULL), 0);
    device_is(&got, &want);
}

static void later_put_replaces_earlier_one(void **state)
{
    struct store *s = folder_open(*state);
    struct store_device got, want = device_make(1);

    assert_int_equal(store_device_put(s, &want, NULL), 0);
    want = device_make(2);
    strcpy(want.name, "press-1");
    assert_int_equal(store_device_put(s, &want, NULL), 0);
    assert_int_equal(store_device_get(s, "press-1", &got, NULL), 0);
    device_is(&got, &want);
    assert_int_equal(device_count(s), 1);
}

static void unknown_device_is_not_found(void **state)
{
    struct store *s = folder_open(*state);
    struct store_device got = {.name = "untouched"};
    struct err err = {0};

    assert_int_equal(store_device_get(s, "press-1", &got, &err), -ERR_NOT_FOUND);
    assert_string_equal(err.msg, "device press-1: not in the database");
    assert_string_equal(got.name, "untouched");
}

static void deleted_device_is_gone(void **state)
{
    struct store *s = folder_open(*state);
    struct store_device d = device_make(1);

    assert_int_equal(store_device_put(s, &d, NULL), 0);
    assert_int_equal(store_device_del(s, d.name, NULL), 0);
    assert_int_equal(store_device_get(s, d.name, &d, NULL), -ERR_NOT_FOUND);
    assert_int_equal(store_device_del(s, d.name, NULL), 0);
}

struct names {
    struct store *store;
    char text[64];
    int stop_after;
};

static int list_name(void *arg, const struct store_device *d)
{
    struct names *n = arg;

    strcat(n->text, d->name);
    strcat(n->text, " ");
    return --n->stop_after == 0 ? 42 : 0;
}

static void devices_are_walked_sorted(void **state)
{
    struct names n = {.store = folder_open(*state)};
    struct store_device d = device_make(0);

    for (const char *const *name = (const char *const[]){"c", "a", "d", "b", NULL}; *name != NULL;
         name++) {
        strcpy(d.name, *name);
        assert_int_equal(store_device_put(n.store, &d, NULL), 0);
    }
    assert_int_equal(store_device_each(n.store, list_name, &n, NULL), 0);
    assert_string_equal(n.text, "a b c d ");
}

static void walk_stops_when_told(void **state)
{
    struct names n = {.store = folder_open(*state), .stop_after = 2};
    struct store_device d[4] = {device_make(1), device_make(2), device_make(3), device_make(4)};

    assert_int_equal(store_device_put_many(n.store, d, 4, NULL), 0);
    assert_int_equal(store_device_each(n.store, list_name, &n, NULL), 42);
    assert_string_equal(n.text, "press-1 press-2 ");
}

static int bump(void *arg, const struct store_device *d)
{
    struct store_device changed = *d;

    changed.flip.attempts++;
    return store_device_put(arg, &changed, NULL);
}

static void walk_may_write(void **state)
{
    struct store *s = folder_open(*state);
    struct store_device got, d[3] = {device_make(1), device_make(2), device_make(3)};

    assert_int_equal(store_device_put_many(s, d, 3, NULL), 0);
    assert_int_equal(store_device_each(s, bump, s, NULL), 0);
    for (int i = 0; i < 3; i++) {
        d[i].flip.attempts++;
        assert_int_equal(store_device_get(s, d[i].name, &got, NULL), 0);
        device_is(&got, &d[i]);
    }
}

/* -- commands --------------------------------------------------------------------------------- */

static void command_is_answered_as_before(void **state)
{
    struct store *s = folder_open(*state);
    char *reply = NULL;

    assert_int_equal(store_command_get(s, "id-1", &reply, NULL), -ERR_NOT_FOUND);
    assert_null(reply);
    assert_int_equal(store_command_put(s, "id-1", "{\"result\":1}", NULL), 0);
    s = folder_open(*state);
    assert_int_equal(store_command_get(s, "id-1", &reply, NULL), 0);
    assert_string_equal(reply, "{\"result\":1}");
    free(reply);
    assert_int_equal(store_command_put(s, "id-1", "{\"result\":2}", NULL), 0);
    assert_int_equal(store_command_get(s, "id-1", &reply, NULL), 0);
    assert_string_equal(reply, "{\"result\":2}");
    free(reply);
}

static void large_reply_comes_back(void **state)
{
    struct store *s = folder_open(*state);
    size_t n = 3 * 1024 * 1024;
    char *large = malloc(n + 1), *reply = NULL;

    assert_non_null(large);
    memset(large, 'x', n);
    large[n] = '\0';
    assert_int_equal(store_command_put(s, "large", large, NULL), 0);
    assert_int_equal(store_command_get(s, "large", &reply, NULL), 0);
    assert_string_equal(reply, large);
    free(reply);
    free(large);
}

static bool has_command(struct store *s, unsigned n)
{
    char id[32], *reply = NULL;
    int rc;

    snprintf(id, sizeof(id), "id-%u", n);
    rc = store_command_get(s, id, &reply, NULL);
    free(reply);
    return rc == 0;
}

static void oldest_commands_are_forgotten(void **state)
{
    struct store *s = folder_open(*state);
    char id[32];

    assert_int_equal(store_begin(s, NULL), 0);
    for (unsigned n = 0; n < STORE_COMMANDS_KEPT + 3; n++) {
        snprintf(id, sizeof(id), "id-%u", n);
        assert_int_equal(store_command_put(s, id, "{}", NULL), 0);
    }
    assert_int_equal(store_commit(s, NULL), 0);
    assert_false(has_command(s, 0));
    assert_false(has_command(s, 2));
    assert_true(has_command(s, 3));
    assert_true(has_command(s, STORE_COMMANDS_KEPT + 2));
}

/* Whoever sends many commands crowds out no signed one that could be sent again. */
static void signed_commands_are_not_crowded_out(void **state)
{
    struct store *s = folder_open(*state);
    char id[32], *reply = NULL;

    assert_int_equal(store_begin(s, NULL), 0);
    assert_int_equal(store_command_put(s, "id-0", "{}", NULL), 0);
    assert_int_equal(store_command_put(s, STORE_COMMAND_SIGNED "operator:a:j", "{}", NULL), 0);
    for (unsigned n = 1; n < STORE_COMMANDS_KEPT + 3; n++) {
        snprintf(id, sizeof(id), "id-%u", n);
        assert_int_equal(store_command_put(s, id, "{}", NULL), 0);
    }
    assert_int_equal(store_commit(s, NULL), 0);
    assert_false(has_command(s, 0));
    assert_int_equal(store_command_get(s, STORE_COMMAND_SIGNED "operator:a:j", &reply, NULL), 0);
    free(reply);
}

/* -- audit ------------------------------------------------------------------------------------ */

struct story {
    char text[512];
    int64_t last_s;
};

static int tell(void *arg, const struct store_audit *a)
{
    struct story *st = arg;
    size_t n = strlen(st->text);

    snprintf(st->text + n, sizeof(st->text) - n, "%d %s %s %s %s\n", (int)a->seq, a->who, a->what,
             a->target, a->outcome);
    st->last_s = a->time_s;
    return 0;
}

static void audit_is_told_in_order(void **state)
{
    struct store *s = folder_open(*state);
    struct story all = {.text = ""}, after = {.text = ""}, newest = {.text = ""};
    int64_t before_s = clock_wall_s();

    assert_int_equal(store_audit_add(s, "uid=0", "flip", "press-1", "done", NULL), 0);
    assert_int_equal(store_audit_add(s, "central", "flip", "press-*", "refused: phase", NULL), 0);
    s = folder_open(*state);
    assert_int_equal(store_audit_add(s, "uid=0", "rollback", "press-1", "done", NULL), 0);
    assert_int_equal(store_audit_add(s, "uid=0", "config.reload", "", "done", NULL), 0);

    assert_int_equal(store_audit_each(s, 0, 100, tell, &all, NULL), 0);
    assert_string_equal(all.text, "1 uid=0 flip press-1 done\n"
                                  "2 central flip press-* refused: phase\n"
                                  "3 uid=0 rollback press-1 done\n"
                                  "4 uid=0 config.reload  done\n");
    assert_in_range(all.last_s, before_s, clock_wall_s());
    assert_int_equal(store_audit_each(s, 1, 2, tell, &after, NULL), 0);
    assert_string_equal(after.text, "2 central flip press-* refused: phase\n"
                                    "3 uid=0 rollback press-1 done\n");
    assert_int_equal(store_audit_each(s, -1, 2, tell, &newest, NULL), 0);
    assert_string_equal(newest.text, "3 uid=0 rollback press-1 done\n"
                                     "4 uid=0 config.reload  done\n");
}

/* -- values and groups ------------------------------------------------------------------------- */

static void value_survives(void **state)
{
    struct store *s = folder_open(*state);
    int64_t v = 7;

    assert_int_equal(store_value_get(s, "event-seq", &v, NULL), 0);
    assert_int_equal(v, 0);
    assert_int_equal(store_value_put(s, "event-seq", INT64_MAX, NULL), 0);
    assert_int_equal(store_value_put(s, "other", -1, NULL), 0);
    s = folder_open(*state);
    assert_int_equal(store_value_get(s, "event-seq", &v, NULL), 0);
    assert_true(v == INT64_MAX);
}

static void group_is_all_or_nothing(void **state)
{
    struct store *s = folder_open(*state);
    struct store_device d = device_make(1);
    int64_t v = 0;

    assert_int_equal(store_begin(s, NULL), 0);
    assert_int_equal(store_device_put(s, &d, NULL), 0);
    assert_int_equal(store_command_put(s, "id", "{}", NULL), 0);
    assert_int_equal(store_value_put(s, "event-seq", 5, NULL), 0);
    store_rollback(s);
    assert_int_equal(device_count(s), 0);
    assert_int_equal(store_value_get(s, "event-seq", &v, NULL), 0);
    assert_int_equal(v, 0);

    assert_int_equal(store_begin(s, NULL), 0);
    assert_int_equal(store_device_put(s, &d, NULL), 0);
    assert_int_equal(store_value_put(s, "event-seq", 5, NULL), 0);
    assert_int_equal(store_commit(s, NULL), 0);
    s = folder_open(*state);
    assert_int_equal(device_count(s), 1);
    assert_int_equal(store_value_get(s, "event-seq", &v, NULL), 0);
    assert_int_equal(v, 5);
}

static void open_group_ends_with_the_store(void **state)
{
    struct store *s = folder_open(*state);
    struct store_device d = device_make(1);

    assert_int_equal(store_begin(s, NULL), 0);
    assert_int_equal(store_device_put(s, &d, NULL), 0);
    s = folder_open(*state);
    assert_int_equal(device_count(s), 0);
}

static void groups_do_not_nest(void **state)
{
    struct store *s = folder_open(*state);

    assert_int_equal(store_commit(s, NULL), -ERR_STORE);
    store_rollback(s);
    assert_int_equal(store_begin(s, NULL), 0);
    assert_int_equal(store_begin(s, NULL), -ERR_STORE);
    assert_int_equal(store_commit(s, NULL), 0);
}

static void many_devices_in_one_go(void **state)
{
    enum { MANY = 10000 };
    struct store *s = folder_open(*state);
    struct store_device *d = calloc(MANY, sizeof(*d)), got;

    assert_non_null(d);
    for (unsigned n = 0; n < MANY; n++)
        d[n] = device_make(n);
    assert_int_equal(store_device_put_many(s, d, MANY, NULL), 0);
    assert_int_equal(store_device_put_many(s, d, 0, NULL), 0);
    s = folder_open(*state);
    assert_int_equal(device_count(s), MANY);
    assert_int_equal(store_device_get(s, d[MANY - 1].name, &got, NULL), 0);
    device_is(&got, &d[MANY - 1]);
    free(d);
}

static void many_within_a_group_belong_to_it(void **state)
{
    struct store *s = folder_open(*state);
    struct store_device d[2] = {device_make(1), device_make(2)};

    assert_int_equal(store_begin(s, NULL), 0);
    assert_int_equal(store_device_put_many(s, d, 2, NULL), 0);
    assert_int_equal(device_count(s), 2);
    store_rollback(s);
    assert_int_equal(device_count(s), 0);
}

static void files_are_private(void **state)
{
    struct folder *f = *state;
    struct store_device d = device_make(1);
    struct stat st;
    mode_t before = umask(0);

    folder_open(f);
    assert_int_equal(store_device_put(f->store, &d, NULL), 0);
    umask(before);
    for (const char *const *name =
             (const char *const[]){"certflip.db", "certflip.db-wal", "certflip.lock", NULL};
         *name != NULL; name++) {
        assert_int_equal(stat(folder_path(f, *name), &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    assert_int_equal(chmod(folder_path(f, "certflip.db"), 0644), 0);
    folder_open(f);
    assert_int_equal(stat(folder_path(f, "certflip.db"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void missing_folder_is_made(void **state)
{
    struct folder *f = *state;
    struct err err = {0};
    char deep[96];
    struct store *s;
    struct stat st;

    snprintf(deep, sizeof(deep), "%s/a", f->dir);
    s = store_open(deep, &err);
    assert_non_null(s);
    store_close(s);
    /* The log stays, so that a start needs no room, and is empty: the database is whole alone. */
    assert_int_equal(stat(folder_path(f, "a/certflip.db-wal"), &st), 0);
    assert_int_equal(st.st_size, 0);
    assert_int_equal(unlink(folder_path(f, "a/certflip.db-wal")), 0);
    assert_int_equal(unlink(folder_path(f, "a/certflip.db-shm")), 0);
    assert_int_equal(unlink(folder_path(f, "a/certflip.db")), 0);
    assert_int_equal(unlink(folder_path(f, "a/certflip.lock")), 0);
    assert_int_equal(rmdir(deep), 0);
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, folder_make, folder_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(device_comes_back_whole),
        ROW(longest_texts_fit),
        ROW(later_put_replaces_earlier_one),
        ROW(unknown_device_is_not_found),
        ROW(deleted_device_is_gone),
        ROW(devices_are_walked_sorted),
        ROW(walk_stops_when_told),
        ROW(walk_may_write),
        ROW(command_is_answered_as_before),
        ROW(large_reply_comes_back),
        ROW(oldest_commands_are_forgotten),
        ROW(signed_commands_are_not_crowded_out),
        ROW(audit_is_told_in_order),
        ROW(value_survives),
        ROW(group_is_all_or_nothing),
        ROW(open_group_ends_with_the_store),
        ROW(groups_do_not_nest),
        ROW(many_devices_in_one_go),
        ROW(many_within_a_group_belong_to_it),
        ROW(files_are_private),
        ROW(missing_folder_is_made),
    };

    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
