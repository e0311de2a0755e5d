/* What a campaign does next: see fleet_world.h for what is held against the truth at every step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fleet_world.h"

#define QUICK                                                           \
    "waves = { pilot = 4; percent = [ 25, 50, 100 ]; soak_s = 10; };\n" \
    "limits = { reply_timeout_s = 5; offline_wait_s = 600; };\n"        \
    "retire = { validate_s = 5; };\n"

#define QUICK_RETIRE                                           \
    "waves = { pilot = 0; percent = [ 100 ]; soak_s = 1; };\n" \
    "limits = { reply_timeout_s = 5; offline_wait_s = 600; };\nretire = { validate_s = 5; "

/* How many different courses of events are tried; CERTFLIP_TEST_SEEDS=1000 for a long time. */
static uint64_t seeds(uint64_t usual)
{
    const char *more = getenv("CERTFLIP_TEST_SEEDS");

    return more == NULL ? usual : strtoull(more, NULL, 10);
}

static void expect_all(struct world *w, enum fleet_device_step step)
{
    for (int i = 0; i < w->device_count; i++)
        if (w->d_rows[i].step != step)
            fail_msg("%s/%s is %s", w->d_rows[i].gateway, w->d_rows[i].name,
                     fleet_device_step_name(w->d_rows[i].step));
}

/* Each device has begun one trial, and its old identity was retired once. */
static void expect_once(struct world *w)
{
    for (int i = 0; i < w->device_count; i++) {
        assert_int_equal(w->devices[i].flips, 1);
        assert_int_equal(w->devices[i].retires, 1);
        assert_int_equal(w->devices[i].rollbacks, 0);
    }
}

static void runs_to_its_end(void **unused)
{
    struct world *w = world_new(4, 10, QUICK);

    (void)unused;
    world_begin(w);
    assert_int_equal(w->c.waves, 4);
    world_until(w, FLEET_DONE);
    assert_int_equal(w->c.phase, FLEET_FINISHED);
    expect_all(w, FLEET_DEVICE_RETIRED);
    expect_once(w);
    assert_true(list_empty(&w->requests));
    assert_true(w->c.ended_s > 0);
    world_free(w);
}

/* Whatever is lost, comes twice or without its rows, and wherever the controller is killed: nothing
 * is done twice, nothing is left out. */
static void nothing_is_repeated_or_skipped(void **unused)
{
    unsigned kills = 0;

    (void)unused;
    for (uint64_t seed = 1; seed <= seeds(12); seed++) {
        struct world *w = world_new(5, 8, QUICK);

        w->seed = seed * UINT64_C(0x9e3779b97f4a7c15);
        w->lose_reply = w->twice_reply = w->lose_command = 150;
        w->lose_rows = 500;
        w->kill = seed % 4 == 0 ? 0 : 40;
        w->flap = seed % 3 == 0 ? 10 : 0;
        w->lose_topic = seed % 2 == 0 ? 0 : 200;
        w->slow = true;
        world_begin(w);
        world_until(w, FLEET_DONE);
        expect_all(w, FLEET_DEVICE_RETIRED);
        expect_once(w);
        kills += w->kills;
        world_free(w);
    }
    assert_true(kills > 50);
}

/* A broker drops what it cannot get rid of: topics that were not heard are asked for again. */
static void what_was_not_heard_is_asked_for_again(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= seeds(4); seed++) {
        struct world *w = world_new(3, 8, QUICK);

        w->seed = seed * UINT64_C(0x9e3779b97f4a7c15);
        w->lose_topic = 400;
        world_begin(w);
        world_until(w, FLEET_DONE);
        expect_all(w, FLEET_DEVICE_RETIRED);
        expect_once(w);
        world_free(w);
    }
}

/* A wave that fails is rolled back, and it alone; mended, it is tried again. */
static void halts_and_rolls_back_this_wave_only(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= seeds(6); seed++) {
        struct world *w = world_new(4, 10, QUICK);
        size_t migrated = 0;

        w->seed = seed * UINT64_C(0x9e3779b97f4a7c15);
        w->kill = seed % 2 == 0 ? 0 : 50;
        w->lose_reply = w->lose_command = seed % 2 == 0 ? 0 : 100;
        world_begin(w);
        for (int i = 0; i < w->device_count; i++)
            w->devices[i].refuses = w->d_rows[i].wave == 2 && i % 3 == 0;
        world_until(w, FLEET_HALTED);
        assert_int_equal(w->c.wave, 2);
        assert_non_null(strstr(w->c.reason, "wave 2 (50 %)"));
        assert_non_null(strstr(w->c.reason, "the broker refused it: add it at the broker"));
        for (int i = 0; i < w->device_count; i++) {
            const struct world_device *d = &w->devices[i];

            if (w->d_rows[i].wave < 2) {
                assert_int_equal(d->phase, VIEW_COMMITTED);
                assert_int_equal(d->rollbacks, 0);
                assert_int_equal(w->d_rows[i].step, FLEET_DEVICE_MIGRATED);
                migrated++;
            } else if (w->d_rows[i].wave == 2) {
                assert_true(d->phase == VIEW_ROLLED_BACK || d->phase == VIEW_STAGED);
                assert_true(w->d_rows[i].step == FLEET_DEVICE_RETURNED ||
                            w->d_rows[i].step == FLEET_DEVICE_FAILED ||
                            w->d_rows[i].step == FLEET_DEVICE_READY);
            } else {
                assert_int_equal(d->flips, 0);
            }
        }
        assert_int_equal(migrated, 10);
        for (int i = 0; i < w->device_count; i++)
            w->devices[i].refuses = false;
        assert_int_equal(world_wish(w, "resume"), 0);
        world_until(w, FLEET_DONE);
        expect_all(w, FLEET_DEVICE_RETIRED);
        world_free(w);
    }
}

/* 99.9 % of 10,000: ten failures pass, eleven halt. */

struct told {
    struct fleet_campaign c;
    bool through;
};

static int take_campaign(void *arg, const struct fleet_campaign *c, struct err *err)
{
    (void)err;
    ((struct told *)arg)->c = *c;
    return 0;
}

static int take_gateway(void *arg, const struct fleet_gateway *g, struct err *err)
{
    (void)arg;
    (void)g;
    (void)err;
    return 0;
}

static int take_device(void *arg, const struct fleet_device *d, struct err *err)
{
    (void)arg;
    (void)d;
    (void)err;
    return 0;
}

static int take_note(void *arg, const char *what, const char *gateway, const char *device,
                     const char *text, struct err *err)
{
    (void)gateway;
    (void)device;
    (void)text;
    (void)err;
    ((struct told *)arg)->through |= strcmp(what, "wave-through") == 0;
    return 0;
}

/* A wave of these, with so many failed of class `failure`, and so many that are offline. */
static struct told judge(const char *more, int total, int failed, const char *failure, int away)
{
    struct world *w = world_new(1, 1, more);
    struct told told = {0};
    struct engine *e = engine_new(w->conf, &w->view);
    const struct engine_out out = {take_campaign, take_gateway, take_device, NULL, NULL,
                                   NULL,          NULL,         take_note,   &told};
    struct fleet_gateway g = {.name = "gw-00"};
    struct err err = {0};

    told.c = (struct fleet_campaign){.name = "test",
                                     .phase = FLEET_MIGRATE,
                                     .wave = 0,
                                     .waves = 4,
                                     .back_from = -1,
                                     .back_to = -1,
                                     .started_s = w->now_s,
                                     .changed_s = w->now_s,
                                     .wave_begun_s = w->now_s};
    assert_int_equal(engine_load_campaign(e, &told.c, &err), 0);
    assert_int_equal(engine_load_gateway(e, &g, &err), 0);
    for (int i = 0; i < total; i++) {
        struct fleet_device d = {.gateway = "gw-00", .step = FLEET_DEVICE_MIGRATED};

        snprintf(d.name, sizeof(d.name), "d-%05d", i);
        if (i < failed) {
            d.step = FLEET_DEVICE_FAILED;
            snprintf(d.failure, sizeof(d.failure), "%s", failure);
        } else if (i < failed + away) {
            d.step = FLEET_DEVICE_READY;
        }
        assert_int_equal(engine_load_device(e, &d, &err), 0);
    }
    assert_int_equal(engine_step(e, w->now_s + 1, &out, &err), 0);
    if (told.c.mode == FLEET_RUNNING && away > 0) {
        assert_false(told.through); /* they are waited for */
        assert_int_equal(engine_step(e, w->now_s + 600, &out, &err), 0);
    }
    engine_free(e);
    world_free(w);
    return told;
}

static void threshold_is_exact_at_its_bounds(void **unused)
{
    struct told t;

    (void)unused;
    t = judge(QUICK, 10000, 10, "identity", 0);
    assert_int_equal(t.c.mode, FLEET_RUNNING);
    assert_true(t.through);
    t = judge(QUICK, 10000, 11, "identity", 0);
    assert_int_equal(t.c.mode, FLEET_RETURNING);
    assert_false(t.through);
    t = judge(QUICK, 1000, 1, "identity", 0);
    assert_int_equal(t.c.mode, FLEET_RUNNING);
    t = judge(QUICK, 999, 1, "identity", 0);
    assert_int_equal(t.c.mode, FLEET_RETURNING);
    t = judge(QUICK, 10, 0, "identity", 0);
    assert_int_equal(t.c.mode, FLEET_RUNNING);
}

static void classes_that_do_not_count_are_left_out(void **unused)
{
    struct told t = judge(QUICK "failures = { ignore = [ \"network\" ]; };", 100, 50, "network", 0);

    (void)unused;
    assert_int_equal(t.c.mode, FLEET_RUNNING);
    assert_true(t.through);
    t = judge(QUICK "failures = { ignore = [ \"network\" ]; };", 100, 1, "identity", 0);
    assert_int_equal(t.c.mode, FLEET_RETURNING);
}

/* A wave in which nobody succeeds proves nothing, whatever it was that failed. */
static void a_wave_of_failures_proves_nothing(void **unused)
{
    struct told t = judge(QUICK "failures = { ignore = [ \"network\" ]; };", 10, 10, "network", 0);

    (void)unused;
    assert_int_equal(t.c.mode, FLEET_HALTED);
    assert_false(t.through);
    assert_non_null(strstr(t.c.reason, "all of its 10 devices failed"));
}

/* Those that are away count neither way: the few that are left have to be good enough. */
static void who_is_away_is_neither_success_nor_failure(void **unused)
{
    struct told t = judge(QUICK, 10000, 10, "identity", 5000);

    (void)unused;
    assert_int_equal(t.c.mode, FLEET_RETURNING);
    t = judge(QUICK, 10000, 0, "identity", 5000);
    assert_int_equal(t.c.mode, FLEET_RUNNING);
    assert_true(t.through);
    t = judge(QUICK, 10, 0, "identity", 10);
    assert_int_equal(t.c.mode, FLEET_HALTED); /* nothing was proven by nobody */
    assert_non_null(strstr(t.c.reason, "none of its 10 devices could be reached"));
}

static void a_gateway_that_is_away_is_waited_for(void **unused)
{
    struct world *w = world_new(4, 10, QUICK);

    (void)unused;
    w->gateways[3].online = false;
    world_begin(w);
    world_run(w, 300);
    assert_int_equal(w->c.phase, FLEET_MIGRATE);
    assert_int_equal(w->c.wave, 1); /* the pilot was chosen from those that are there */
    assert_string_equal(w->g_rows[3].trouble[0] == '\0' ? "" : "said", "said");
    world_run(w, 3000);
    assert_int_equal(w->c.phase, FLEET_VALIDATE);
    assert_int_equal(world_count(w, FLEET_DEVICE_VALIDATED), 30);
    assert_int_equal(world_count(w, FLEET_DEVICE_PLANNED), 10);
    assert_int_equal(w->c.mode, FLEET_RUNNING);
    for (int i = 0; i < w->device_count; i++)
        assert_int_equal(w->devices[i].retires, 0);
    world_online(w, 3, true);
    world_until(w, FLEET_DONE);
    expect_all(w, FLEET_DEVICE_RETIRED);
    expect_once(w);
    world_free(w);
}

static void a_sensor_that_is_away_flips_when_it_comes(void **unused)
{
    struct world *w = world_new(2, 5, QUICK);

    (void)unused;
    world_device(w, 0, 4)->online = false;
    world_begin(w);
    world_run(w, 300);
    assert_int_equal(world_step_of(w, 0, 4), FLEET_DEVICE_FLIPPING);
    assert_int_equal(world_device(w, 0, 4)->phase, VIEW_TRIAL);
    assert_int_equal(w->c.wave, 3);
    world_sensor(w, 0, 4, true);
    world_until(w, FLEET_DONE);
    expect_once(w);
    world_free(w);
}

/* No flip before trust is seen to be in force at all that can be reached. */
static void nobody_flips_before_trust_is_in_force(void **unused)
{
    struct world *w = world_new(3, 5, QUICK);

    (void)unused;
    w->gateways[1].never_trusts = true;
    world_begin(w);
    world_run(w, 1000);
    assert_int_equal(w->c.phase, FLEET_PREPARE);
    assert_int_equal(w->g_rows[0].step, FLEET_GATEWAY_TRUSTED);
    assert_int_equal(w->g_rows[1].step, FLEET_GATEWAY_PLANNED);
    assert_non_null(strstr(w->g_rows[1].trouble, "of more than 100 CAs of a set"));
    w->gateways[1].never_trusts = false;
    world_until(w, FLEET_DONE);
    expect_once(w);
    world_free(w);
}

static void a_gateway_that_refuses_trust_halts_it(void **unused)
{
    struct world *w = world_new(3, 5, QUICK);

    (void)unused;
    w->gateways[1].refuses_trust = true;
    world_begin(w);
    world_until(w, FLEET_HALTED);
    assert_int_equal(w->c.phase, FLEET_PREPARE);
    assert_non_null(strstr(w->c.reason, "gateway gw-01 refuses trust.add: the CA has a weak key"));
    assert_non_null(strstr(w->g_rows[1].trouble, "weak key"));
    for (int i = 0; i < w->device_count; i++)
        assert_int_equal(w->devices[i].flips, 0);
    w->gateways[1].refuses_trust = false;
    assert_int_equal(world_wish(w, "resume"), 0);
    world_until(w, FLEET_DONE);
    expect_once(w);
    world_free(w);
}

/* What a gateway says is shown at a terminal, and kept a line each. */
static void what_a_gateway_says_stays_one_line(void **unused)
{
    struct world *w = world_new(2, 2, QUICK);

    (void)unused;
    w->gateways[1].refuses_trust = true;
    w->weak_key = "no\n2027-01-01T00:00:00Z  done  \x1b[2J\xc2\x9b"
                  "31mall";
    world_begin(w);
    world_until(w, FLEET_HALTED);
    assert_non_null(strstr(w->log, "no 2027-01-01T00:00:00Z  done   [2J  31mall"));
    assert_null(strchr(w->log, '\x1b'));
    assert_null(strstr(w->log, "\xc2\x9b"));
    world_free(w);
}

/* One that loses its authority in the midst keeps its devices back, and is no failure of theirs. */
static void who_is_not_authorised_keeps_its_devices(void **unused)
{
    struct world *w = world_new(3, 6, QUICK);

    (void)unused;
    world_begin(w);
    world_run(w, 20);
    assert_int_equal(w->c.phase, FLEET_MIGRATE);
    w->gateways[2].unauthorised = true;
    world_run(w, 200);
    assert_int_equal(world_count(w, FLEET_DEVICE_FAILED), 0);
    assert_non_null(strstr(w->g_rows[2].trouble, "anna may not do that"));
    w->gateways[2].unauthorised = false;
    world_until(w, FLEET_DONE);
    expect_once(w);
    world_free(w);
}

#define NIGHTS QUICK "windows = [ \"22:00-23:00\" ];\n"

/* Flips begin within the windows (fleet_world.c holds every order against them); a sensor that is
 * away until its window has passed has its turn in another one. */
static void flips_within_the_windows(void **unused)
{
    struct world *w = world_new(2, 5, NIGHTS);

    (void)unused;
    world_device(w, 0, 2)->online = false;
    w->now_s += 13 * 3600 + 1800; /* 21:30 */
    world_begin(w);
    world_run(w, 1700);
    assert_int_equal(w->c.phase, FLEET_MIGRATE);
    assert_int_equal(world_count(w, FLEET_DEVICE_READY), 10);
    world_run(w, 3800);
    assert_int_equal(world_step_of(w, 0, 2), FLEET_DEVICE_READY); /* 23:02: it had its chance */
    assert_int_equal(world_device(w, 0, 2)->phase, VIEW_STAGED);
    world_sensor(w, 0, 2, true);
    world_run(w, 300);
    assert_int_equal(world_device(w, 0, 2)->phase, VIEW_STAGED);
    w->now_s += 22 * 3600; /* 21:07 */
    world_until(w, FLEET_DONE);
    expect_all(w, FLEET_DEVICE_RETIRED);
    world_free(w);
}

static void pauses_and_goes_on(void **unused)
{
    struct world *w = world_new(3, 6, QUICK);

    (void)unused;
    world_begin(w);
    world_run(w, 15);
    assert_int_equal(world_wish(w, "pause"), 0);
    assert_int_equal(w->c.mode, FLEET_PAUSED);
    assert_string_equal(w->c.reason, "anna@plant");
    world_kill(w);
    assert_int_equal(world_wish(w, "resume"), 0);
    world_until(w, FLEET_DONE);
    expect_once(w);
    assert_int_equal(world_wish(w, "pause"), -ERR_PHASE);
    assert_int_equal(world_wish(w, "resume"), -ERR_PHASE);
    assert_int_equal(world_wish(w, "abort"), -ERR_PHASE);
    assert_int_equal(world_wish(w, "rollback:all"), -ERR_PHASE);
    assert_int_equal(world_wish(w, "dance"), -ERR_INVALID);
    world_free(w);
}

static void an_end_by_the_operator_leaves_what_was_migrated(void **unused)
{
    struct world *w = world_new(3, 6, QUICK);
    size_t migrated;

    (void)unused;
    world_begin(w);
    while (w->c.wave < 1)
        world_run(w, 1);
    assert_int_equal(world_wish(w, "abort"), 0);
    assert_int_equal(w->c.mode, FLEET_ABORTED);
    assert_true(list_empty(&w->requests));
    migrated = world_count(w, FLEET_DEVICE_MIGRATED);
    assert_true(migrated >= 4);
    assert_int_equal(world_wish(w, "resume"), -ERR_PHASE);
    /* There is a way back all the same. */
    assert_int_equal(world_wish(w, "rollback:all"), 0);
    world_until(w, FLEET_ABORTED);
    assert_int_equal(world_count(w, FLEET_DEVICE_MIGRATED), 0);
    for (int i = 0; i < w->device_count; i++)
        assert_true(w->devices[i].phase != VIEW_COMMITTED && w->devices[i].phase != VIEW_TRIAL);
    world_free(w);
}

/* What is on its way back is not left half-way. */
static void an_end_while_a_wave_goes_back_waits_for_it(void **unused)
{
    struct world *w = world_new(3, 6, QUICK);

    (void)unused;
    world_begin(w);
    while (w->c.wave < 2)
        world_run(w, 1);
    world_online(w, 1, false);
    world_run(w, 1);
    assert_int_equal(world_wish(w, "rollback:all"), 0);
    world_run(w, 100);
    assert_int_equal(w->c.mode, FLEET_RETURNING); /* those that are away are waited for */
    assert_int_equal(world_wish(w, "abort"), 0);
    assert_int_equal(world_wish(w, "pause"), -ERR_PHASE);
    assert_int_equal(world_wish(w, "resume"), -ERR_PHASE);
    assert_int_equal(w->c.mode, FLEET_RETURNING);
    world_kill(w);
    world_run(w, 10);
    world_online(w, 1, true);
    world_until(w, FLEET_ABORTED);
    for (int i = 0; i < w->device_count; i++)
        assert_true(w->devices[i].phase != VIEW_COMMITTED && w->devices[i].phase != VIEW_TRIAL);
    world_free(w);
}

static void rolls_back_the_wave_that_is_named(void **unused)
{
    struct world *w = world_new(3, 6, QUICK);

    (void)unused;
    world_begin(w);
    while (w->c.wave < 2)
        world_run(w, 1);
    assert_int_equal(world_wish(w, "rollback:7"), -ERR_INVALID);
    assert_int_equal(world_wish(w, "rollback:3"), -ERR_PHASE); /* nothing to be rolled back there */
    assert_int_equal(world_wish(w, "rollback:0"), 0);
    world_until(w, FLEET_HALTED);
    for (int i = 0; i < w->device_count; i++)
        assert_int_equal(w->devices[i].rollbacks, w->d_rows[i].wave == 0 ? 1 : 0);
    assert_int_equal(world_wish(w, "resume"), 0);
    world_until(w, FLEET_DONE);
    expect_all(w, FLEET_DEVICE_RETIRED);
    world_free(w);
}

/* One failure within the threshold is no reason to halt a wave; but nothing is retired. */
static void nothing_is_retired_before_all_are_there(void **unused)
{
    struct world *w =
        world_new(4, 10,
                  "waves = { pilot = 4; percent = [ 100 ]; soak_s = 1; threshold = 90; };\n"
                  "limits = { reply_timeout_s = 5; }; retire = { validate_s = 5; };\n");

    (void)unused;
    world_device(w, 1, 7)->refuses = true;
    world_begin(w);
    world_until(w, FLEET_HALTED);
    assert_int_equal(w->c.phase, FLEET_VALIDATE);
    assert_int_equal(world_step_of(w, 1, 7), FLEET_DEVICE_FAILED);
    assert_string_equal(world_row(w, 1, 7)->failure, "identity");
    assert_non_null(strstr(w->c.reason, "1 devices are left on their old identities"));
    assert_int_equal(world_count(w, FLEET_DEVICE_VALIDATED), 39);
    assert_int_equal(world_wish(w, "skip:gw-01/d-999"), -ERR_NOT_FOUND);
    assert_int_equal(world_wish(w, "skip:gw-01/d-007"), 0);
    assert_int_equal(world_wish(w, "resume"), 0);
    world_until(w, FLEET_DONE);
    assert_int_equal(world_count(w, FLEET_DEVICE_RETIRED), 39);
    assert_int_equal(world_device(w, 1, 7)->retires, 0);
    world_free(w);
}

/* A flip that fails is tried so often; quarantine is cleared in between. */
static void a_flip_is_tried_again_where_that_is_wanted(void **unused)
{
    struct world *w = world_new(2, 4, QUICK "flip = { attempts = 3; };\n");

    (void)unused;
    world_device(w, 0, 0)->refuses = true;
    world_begin(w);
    while (world_row(w, 0, 0)->attempts < 2)
        world_run(w, 1);
    world_device(w, 0, 0)->refuses = false;
    world_until(w, FLEET_DONE);
    assert_true(world_device(w, 0, 0)->flips >= 2 && world_device(w, 0, 0)->flips <= 3);
    expect_all(w, FLEET_DEVICE_RETIRED);
    world_free(w);
}

/* Certificates that no broker accepts are made anew, with keys of their own. */
static void what_has_failed_can_get_another_certificate(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= seeds(4); seed++) {
        struct world *w = world_new(3, 6, QUICK);

        w->seed = seed * UINT64_C(0x9e3779b97f4a7c15);
        w->kill = 30;
        w->lose_reply = w->lose_rows = 200;
        world_begin(w);
        for (int i = 0; i < w->device_count; i++)
            w->devices[i].refuses = w->devices[i].bad_certificate = w->d_rows[i].wave == 1;
        world_until(w, FLEET_HALTED);
        assert_int_equal(w->c.wave, 1);
        assert_int_equal(world_wish(w, "resume"), 0);
        world_until(w, FLEET_HALTED);
        assert_int_equal(world_wish(w, "renew"), 0);
        world_until(w, FLEET_DONE);
        expect_all(w, FLEET_DEVICE_RETIRED);
        world_free(w);
    }
}

/* What is retained of a gateway that is gone validates nobody. */
static void silence_validates_nobody(void **unused)
{
    struct world *w = world_new(2, 5,
                                "waves = { pilot = 0; percent = [ 100 ]; soak_s = 1; };\n"
                                "limits = { reply_timeout_s = 5; };\n"
                                "retire = { validate_s = 100; };\n");

    (void)unused;
    world_begin(w);
    while (w->c.phase != FLEET_VALIDATE)
        world_run(w, 1);
    world_online(w, 1, false);
    world_run(w, 1000);
    assert_int_equal(w->c.mode, FLEET_RUNNING);
    assert_int_equal(w->c.phase, FLEET_VALIDATE);
    assert_int_equal(world_count(w, FLEET_DEVICE_VALIDATED), 5);
    assert_int_equal(world_step_of(w, 1, 0), FLEET_DEVICE_MIGRATED);
    world_online(w, 1, true);
    world_until(w, FLEET_DONE);
    expect_once(w);
    world_free(w);
}

/* Who is not seen on its new certificate says what is seen instead, once, and until that is mended.
 */
static void who_cannot_be_validated_says_why(void **unused)
{
    struct world *w = world_new(2, 5,
                                "waves = { pilot = 0; percent = [ 100 ]; soak_s = 1; };\n"
                                "limits = { reply_timeout_s = 5; };\n"
                                "retire = { validate_s = 100; };\n");
    unsigned notes;

    (void)unused;
    world_begin(w);
    while (w->c.phase != FLEET_VALIDATE)
        world_run(w, 1);
    world_sensor(w, 1, 2, false);
    world_run(w, 90);
    assert_string_equal(world_row(w, 1, 2)->reason, ""); /* it may take its time */
    world_run(w, 60);
    assert_int_equal(world_count(w, FLEET_DEVICE_VALIDATED), 9);
    assert_int_equal(world_step_of(w, 1, 2), FLEET_DEVICE_MIGRATED);
    assert_string_equal(world_row(w, 1, 2)->reason,
                        "its sensor is away: nothing shows that the new identity works");
    assert_string_equal(world_row(w, 1, 2)->remedy, "see why its sensor does not come");
    notes = w->notes;
    world_run(w, 1000);
    assert_int_equal(w->notes, notes);
    assert_int_equal(w->c.phase, FLEET_VALIDATE);
    world_sensor(w, 1, 2, true);
    world_until(w, FLEET_DONE);
    assert_string_equal(world_row(w, 1, 2)->reason, "");
    expect_once(w);
    world_free(w);
}

/* One that is rolled back while the others are retired stops that, and is not "done". */
static void retiring_stops_when_one_falls_back(void **unused)
{
    struct world *w = world_new(2, 5, QUICK_RETIRE "anchors = ( { file = \"old.pem\"; } ); };\n");

    (void)unused;
    world_begin(w);
    while (w->c.phase != FLEET_RETIRE)
        world_run(w, 1);
    world_online(w, 1, false);
    world_run(w, 100);
    assert_int_equal(world_count(w, FLEET_DEVICE_RETIRED), 5);
    world_device(w, 1, 2)->phase = VIEW_ROLLED_BACK;
    world_online(w, 1, true);
    world_until(w, FLEET_HALTED);
    assert_int_equal(w->c.phase, FLEET_VALIDATE);
    assert_int_equal(world_step_of(w, 1, 2), FLEET_DEVICE_FAILED);
    assert_int_equal(world_count(w, FLEET_DEVICE_RETIRED), 5);
    assert_int_equal(world_wish(w, "resume"), 0);
    world_until(w, FLEET_DONE);
    expect_all(w, FLEET_DEVICE_RETIRED);
    assert_int_equal(w->g_rows[1].step, FLEET_GATEWAY_RETIRED);
    world_free(w);
}

/* A certificate that was signed, and refused by the gateway, is installed once that is mended; also
 * by a controller that has seen nothing yet when it is told so. */
static void what_was_not_installed_is_installed_on_resume(void **unused)
{
    (void)unused;
    for (int blind = 0; blind < 2; blind++) {
        struct world *w = world_new(2, 4, QUICK);

        w->gateways[1].no_install = true;
        world_begin(w);
        world_until(w, FLEET_HALTED);
        assert_int_equal(w->c.phase, FLEET_PREPARE);
        assert_string_equal(world_row(w, 1, 0)->failure, "lint");
        w->gateways[1].no_install = false;
        if (blind != 0)
            world_forget(w);
        assert_int_equal(world_wish(w, "resume"), 0);
        if (blind != 0)
            world_kill(w);
        world_until(w, FLEET_DONE);
        expect_all(w, FLEET_DEVICE_RETIRED);
        expect_once(w);
        for (int i = 0; i < w->device_count; i++)
            assert_int_equal(w->devices[i].installs, 1);
        world_free(w);
    }
}

/* A refusal that comes after an operator has taken the device out does not bring it back. */
static void a_late_refusal_does_not_undo_skip(void **unused)
{
    struct world *w = world_new(2, 4, QUICK);

    (void)unused;
    world_begin(w);
    w->gateways[1].no_install = true;
    while (world_step_of(w, 1, 3) != FLEET_DEVICE_SIGNED || list_empty(&w->gateways[1].inbox))
        world_run(w, 1);
    assert_int_equal(world_wish(w, "skip:gw-01/d-003"), 0);
    world_run(w, 10);
    assert_int_equal(world_step_of(w, 1, 2), FLEET_DEVICE_FAILED);
    assert_int_equal(world_step_of(w, 1, 3), FLEET_DEVICE_SKIPPED);
    world_free(w);
}

/* A gateway that is taken out altogether is asked for nothing, and keeps nothing from its end. */
static void a_gateway_without_devices_is_left_alone(void **unused)
{
    struct world *w = world_new(2, 2, QUICK_RETIRE "anchors = ( { file = \"old.pem\"; } ); };\n");

    (void)unused;
    w->gateways[1].refuses_trust = true;
    world_begin(w);
    assert_int_equal(world_wish(w, "skip:gw-01/d-000"), 0);
    assert_int_equal(world_wish(w, "skip:gw-01/d-001"), 0);
    world_until(w, FLEET_DONE);
    assert_int_equal(w->gateways[0].removes, 1);
    assert_int_equal(w->gateways[1].adds, 0);
    assert_int_equal(w->gateways[1].removes, 0);
    world_free(w);
}

/* Where there are no anchors to be removed, a gateway that is gone does not matter any more. */
static void a_gateway_that_is_gone_needs_no_anchors_removed(void **unused)
{
    struct world *w = world_new(2, 3, QUICK_RETIRE "};\n");

    (void)unused;
    world_begin(w);
    while (w->c.phase != FLEET_RETIRE)
        world_run(w, 1);
    world_online(w, 1, false);
    for (int i = 0; i < 3; i++) {
        char wish[40];

        snprintf(wish, sizeof(wish), "skip:gw-01/d-%03d", i);
        assert_int_equal(world_wish(w, wish), 0);
    }
    assert_non_null(strstr(w->log, "left-behind gw-01/d-002 it stays on its new identity"));
    world_until(w, FLEET_DONE);
    assert_int_equal(world_count(w, FLEET_DEVICE_RETIRED), 3);
    assert_int_equal(world_wish(w, "skip:gw-00/d-000"), -ERR_PHASE);
    world_free(w);
}

/* A way back that is refused is said once, and can be left out. */
static void a_way_back_that_is_refused_can_be_skipped(void **unused)
{
    static const enum rpc_code codes[] = {RPC_STORE, RPC_NO_IDENTITY};

    (void)unused;
    for (size_t i = 0; i < 2; i++) {
        struct world *w = world_new(2, 4, QUICK);
        const char *said;

        world_begin(w);
        while (w->c.wave < 2)
            world_run(w, 1);
        world_device(w, 0, 0)->refusal = codes[i];
        assert_int_equal(world_row(w, 0, 0)->wave, 0);
        assert_int_equal(world_wish(w, "rollback:0"), 0);
        world_run(w, 400);
        assert_int_equal(w->c.mode, FLEET_RETURNING);
        assert_int_equal(world_step_of(w, 0, 0), FLEET_DEVICE_MIGRATED);
        assert_string_equal(world_row(w, 0, 0)->reason, "not so");
        said = strstr(w->log, "rollback-refused gw-00/d-000 not so: mend it");
        assert_non_null(said);
        assert_null(strstr(said + 1, "rollback-refused"));
        if (i == 1) { /* asked for again, though the answer was final */
            world_device(w, 0, 0)->refusal = 0;
            world_until(w, FLEET_HALTED);
            assert_int_equal(world_step_of(w, 0, 0), FLEET_DEVICE_RETURNED);
            assert_string_equal(world_row(w, 0, 0)->reason, "");
        } else {
            assert_int_equal(world_wish(w, "skip:gw-00/d-000"), 0);
            world_until(w, FLEET_HALTED);
            assert_int_equal(world_step_of(w, 0, 0), FLEET_DEVICE_SKIPPED);
        }
        world_free(w);
    }
}

/* A flip of a device that is on something else than the campaign knows of comes to an end. */
static void a_flip_that_cannot_be_is_given_up(void **unused)
{
    struct world *w = world_new(2, 4, QUICK);
    struct world_device *d;

    (void)unused;
    world_begin(w);
    d = world_device(w, 0, 0);
    d->stuck = true;
    while (world_step_of(w, 0, 0) != FLEET_DEVICE_FLIPPING || d->phase != VIEW_TRIAL)
        world_run(w, 1);
    w->gateways[0].online = false;
    d->phase = VIEW_STEADY;
    d->new_fp[0] = '\0';
    world_kill(w); /* it has not seen the trial */
    world_online(w, 0, true);
    world_until(w, FLEET_HALTED);
    assert_int_equal(world_step_of(w, 0, 0), FLEET_DEVICE_FAILED);
    assert_string_equal(world_row(w, 0, 0)->failure, "replaced");
    world_free(w);
}

/* Prepare says what it waits for, once; and halts when there is nobody left. */
static void prepare_does_not_hang_in_silence(void **unused)
{
    struct world *w = world_new(1, 2, QUICK "failures = { ignore = [ \"lint\" ]; };\n");
    const char *said;

    (void)unused;
    world_device(w, 0, 1)->refusal = RPC_STORE;
    w->gateways[0].no_install = true;
    world_begin(w);
    world_run(w, 200);
    assert_int_equal(w->c.mode, FLEET_RUNNING);
    assert_string_equal(world_row(w, 0, 1)->reason, "not so");
    said = strstr(w->log, "refused gw-00/d-001 not so: mend it");
    assert_non_null(said);
    assert_null(strstr(said + 1, "refused gw-00/d-001 not so"));
    world_device(w, 0, 1)->refusal = 0;
    world_until(w, FLEET_HALTED);
    assert_int_equal(w->c.phase, FLEET_PREPARE);
    assert_non_null(strstr(w->c.reason, "prepare: all 2 devices failed"));
    assert_non_null(strstr(w->c.reason, "the chain is too long"));
    world_free(w);
}

/* The old slot holds the new identity: the old one was archived, and there is no way back. */
static void what_was_retired_by_hand_has_not_returned(void **unused)
{
    struct world *w = world_new(2, 4, QUICK);
    struct world_device *d;

    (void)unused;
    world_begin(w);
    while (w->c.wave < 2)
        world_run(w, 1);
    d = world_device(w, 0, 0);
    d->phase = VIEW_STEADY;
    memcpy(d->old_fp, d->new_fp, sizeof(d->old_fp));
    d->new_fp[0] = '\0';
    d->retires = 1;
    world_sensor(w, 0, 0, true);
    assert_int_equal(world_wish(w, "rollback:0"), 0);
    world_run(w, 300);
    assert_int_equal(w->c.mode, FLEET_RETURNING);
    assert_int_equal(world_step_of(w, 0, 0), FLEET_DEVICE_MIGRATED);
    assert_string_equal(world_row(w, 0, 0)->reason, "not so");
    world_free(w);
}

/* What was refused in passing is no attempt, and is not said any more once it works. */
static void refusals_use_up_no_attempts(void **unused)
{
    struct world *w = world_new(1, 8, QUICK);
    int n = 0;

    (void)unused;
    world_begin(w);
    while (w->c.soak_until_s == 0)
        world_run(w, 1);
    while (w->d_rows[n].wave == 0) /* it flips later */
        n++;
    w->gateways[0].unauthorised = true;
    world_run(w, 200);
    assert_non_null(strstr(w->g_rows[0].trouble, "flip: anna may not do that"));
    assert_int_equal(world_row(w, 0, n)->attempts, 0);
    world_device(w, 0, n)->refusal = RPC_BUSY;
    w->gateways[0].unauthorised = false;
    world_run(w, 200);
    assert_string_equal(w->g_rows[0].trouble, "");
    assert_int_equal(world_row(w, 0, n)->attempts, 0);
    world_device(w, 0, n)->refusal = 0;
    world_until(w, FLEET_DONE);
    assert_int_equal(world_row(w, 0, n)->attempts, 1);
    expect_once(w);
    world_free(w);
}

/* A late failure of an earlier wave brings that one back, and not the one that goes on. */
static void a_late_failure_brings_its_own_wave_back(void **unused)
{
    struct world *w = world_new(2, 8, QUICK);

    (void)unused;
    world_begin(w);
    while (w->c.wave < 2 || w->c.soak_until_s == 0)
        world_run(w, 1);
    for (int i = 0; i < w->device_count; i++)
        if (w->d_rows[i].wave == 0) {
            w->devices[i].phase = VIEW_ROLLED_BACK;
            world_sensor(w, w->devices[i].gateway, i % 8, true);
            break;
        }
    world_until(w, FLEET_HALTED);
    for (int i = 0; i < w->device_count; i++)
        if (w->d_rows[i].wave == 0)
            assert_true(w->d_rows[i].step == FLEET_DEVICE_FAILED ||
                        w->d_rows[i].step == FLEET_DEVICE_RETURNED);
        else if (w->d_rows[i].wave <= 2)
            assert_int_equal(w->d_rows[i].step, FLEET_DEVICE_MIGRATED);
    assert_int_equal(world_wish(w, "resume"), 0);
    world_until(w, FLEET_DONE);
    expect_all(w, FLEET_DEVICE_RETIRED);
    world_free(w);
}

/* resume --renew makes other keys, also where one waits for a certificate that never came. */
static void renewing_makes_other_keys(void **unused)
{
    struct world *w = world_new(2, 4, QUICK);

    (void)unused;
    w->gateways[1].no_install = true;
    world_begin(w);
    world_until(w, FLEET_HALTED);
    w->gateways[1].no_install = false;
    assert_int_equal(world_wish(w, "renew"), 0);
    world_kill(w);
    world_until(w, FLEET_DONE);
    expect_all(w, FLEET_DEVICE_RETIRED);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(world_device(w, 0, i)->renewals, 0);
        assert_true(world_device(w, 1, i)->renewals <= 1);
    }
    assert_true(world_device(w, 1, 0)->renewals > 0);
    world_free(w);
}

/* Nothing but the wish says so of one that never got a certificate: a kill must not forget it. */
static void a_kill_does_not_forget_to_renew(void **unused)
{
    struct world *w = world_new(2, 4, QUICK);

    (void)unused;
    world_device(w, 1, 2)->odd_request = true;
    world_begin(w);
    world_until(w, FLEET_HALTED);
    assert_int_equal(world_step_of(w, 1, 2), FLEET_DEVICE_FAILED);
    assert_string_equal(world_row(w, 1, 2)->new_fp, "");
    assert_int_equal(world_wish(w, "resume"), 0);
    world_until(w, FLEET_HALTED); /* the same key, the same request */
    assert_int_equal(world_device(w, 1, 2)->renewals, 0);
    assert_int_equal(world_wish(w, "renew"), 0);
    assert_true(world_row(w, 1, 2)->renew);
    world_kill(w);
    world_until(w, FLEET_DONE);
    assert_int_equal(world_device(w, 1, 2)->renewals, 1);
    assert_false(world_row(w, 1, 2)->renew);
    expect_all(w, FLEET_DEVICE_RETIRED);
    world_free(w);
}

/* A confirmation that was refused is sent again while its trial waits. */
static void a_confirmation_is_repeated(void **unused)
{
    struct world *w = world_new(1, 2, QUICK "flip = { confirm = \"central\"; };\n");

    (void)unused;
    world_device(w, 0, 0)->confirm_refusal = RPC_BUSY;
    world_device(w, 0, 0)->stuck = true;
    world_begin(w);
    world_run(w, 60);
    assert_int_equal(world_device(w, 0, 0)->confirms, 1);
    world_device(w, 0, 0)->stuck = false;
    world_until(w, FLEET_DONE);
    world_free(w);
}

static void confirms_what_it_sees_connected(void **unused)
{
    struct world *w = world_new(2, 5, QUICK "flip = { confirm = \"central\"; };\n");

    (void)unused;
    world_begin(w);
    world_until(w, FLEET_DONE);
    for (int i = 0; i < w->device_count; i++)
        assert_int_equal(w->devices[i].confirms, 1);
    expect_once(w);
    world_free(w);
}

/* A command for several that is refused because one of them is gone goes to each by itself. */
static void one_that_is_gone_does_not_hold_the_others(void **unused)
{
    struct world *w = world_new(2, 6,
                                "waves = { pilot = 0; percent = [ 100 ]; soak_s = 1; "
                                "threshold = 50; };\n"
                                "limits = { reply_timeout_s = 5; }; retire = { validate_s = "
                                "1; };\n");

    (void)unused;
    world_begin(w);
    world_device(w, 1, 3)->name[0] = '\0'; /* nobody knows it there */
    world_until(w, FLEET_HALTED);
    assert_int_equal(w->c.phase, FLEET_VALIDATE);
    assert_int_equal(world_step_of(w, 1, 3), FLEET_DEVICE_FAILED);
    assert_string_equal(world_row(w, 1, 3)->failure, "no-such-device");
    assert_int_equal(world_count(w, FLEET_DEVICE_VALIDATED), 11);
    world_free(w);
}

/* What a reply has told is not contradicted by topics that are older, however long they take. */
static void topics_that_lag_contradict_nobody(void **unused)
{
    struct world *w = world_new(4, 10, QUICK);

    (void)unused;
    world_begin(w);
    w->lag_s = 40;
    world_until(w, FLEET_DONE);
    expect_all(w, FLEET_DEVICE_RETIRED);
    expect_once(w);
    world_free(w);
}

static void anchors_in_use_are_left_and_said(void **unused)
{
    struct world *w = world_new(3, 4,
                                "waves = { pilot = 0; percent = [ 100 ]; soak_s = 1; };\n"
                                "limits = { reply_timeout_s = 5; }; retire = { validate_s = 1; "
                                "anchors = ( { file = \"old.pem\"; } ); };\n");

    (void)unused;
    w->gateways[2].in_use = true;
    world_begin(w);
    world_until(w, FLEET_DONE);
    assert_int_equal(w->g_rows[0].step, FLEET_GATEWAY_RETIRED);
    assert_int_equal(w->g_rows[2].step, FLEET_GATEWAY_TRUSTED);
    assert_non_null(strstr(w->g_rows[2].trouble, "it is in use"));
    assert_non_null(strstr(w->c.reason, "in use still at 1 gateways"));
    world_free(w);
}

/* A committed device that is rolled back by somebody during the soak counts. */
static void a_late_failure_halts_as_well(void **unused)
{
    struct world *w = world_new(2, 6, QUICK);

    (void)unused;
    world_begin(w);
    while (w->c.soak_until_s == 0)
        world_run(w, 1);
    for (int i = 0; i < w->device_count; i++)
        if (w->d_rows[i].wave == 0) {
            w->devices[i].phase = VIEW_ROLLED_BACK;
            w->devices[i].refuses = true;
            world_sensor(w, w->devices[i].gateway, i % 6, true);
            break;
        }
    world_until(w, FLEET_HALTED);
    assert_int_equal(w->c.wave, 0);
    assert_int_equal(world_count(w, FLEET_DEVICE_FAILED), 1);
    assert_int_equal(world_count(w, FLEET_DEVICE_RETURNED), 3);
    world_free(w);
}

static void never_more_at_once_than_is_allowed(void **unused)
{
    struct world *w = world_new(4, 20,
                                "waves = { pilot = 0; percent = [ 100 ]; soak_s = 1; };\n"
                                "limits = { per_gateway = 3; in_flight = 5; };\n"
                                "retire = { validate_s = 1; };\n");
    unsigned most = 0, turns = 0;

    (void)unused;
    world_begin(w);
    while (w->c.mode == FLEET_RUNNING && turns++ < 2000) {
        unsigned all = 0;

        world_run(w, 1);
        for (int g = 0; g < 4; g++) {
            unsigned here = 0;

            for (int i = 0; i < 20; i++)
                here += world_device(w, g, i)->phase == VIEW_TRIAL ? 1 : 0;
            assert_true(here <= 3);
            all += here;
        }
        assert_true(all <= 5);
        most = all > most ? all : most;
    }
    assert_int_equal(w->c.mode, FLEET_DONE);
    assert_int_equal(most, 5);
    expect_once(w);
    world_free(w);
}

/* Everything at once, and a wave that fails now and then: whatever happens, what the ledger says is
 * the truth. */
static void storm(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= seeds(6); seed++) {
        struct world *w = world_new(6, 6, QUICK);

        w->seed = seed * UINT64_C(0xd1342543de82ef95);
        w->lose_reply = w->twice_reply = w->lose_command = 100;
        w->lose_rows = 500;
        w->kill = 30;
        w->flap = 5;
        w->lose_topic = 100;
        w->slow = true;
        world_begin(w);
        for (int round = 0; round < 6 && w->c.mode != FLEET_DONE; round++) {
            for (int i = 0; i < w->device_count; i++)
                w->devices[i].refuses = round < 3 && (seed + (uint64_t)i * 7) % 11 == 0;
            for (int t = 0; t < 100 && w->c.mode != FLEET_DONE; t++) {
                world_run(w, 300);
                if (w->c.mode == FLEET_HALTED) {
                    for (int i = 0; i < w->device_count; i++)
                        if (w->d_rows[i].step == FLEET_DEVICE_RETURNED ||
                            w->d_rows[i].step == FLEET_DEVICE_FAILED)
                            assert_true(w->devices[i].phase == VIEW_ROLLED_BACK ||
                                        w->devices[i].phase == VIEW_STAGED ||
                                        w->devices[i].phase == VIEW_STEADY);
                    assert_int_equal(world_wish(w, "resume"), 0);
                    break;
                }
            }
        }
        for (int g = 0; g < w->gateway_count; g++)
            world_online(w, g, true);
        world_until(w, FLEET_DONE);
        expect_all(w, FLEET_DEVICE_RETIRED);
        world_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_to_its_end),
        cmocka_unit_test(nothing_is_repeated_or_skipped),
        cmocka_unit_test(what_was_not_heard_is_asked_for_again),
        cmocka_unit_test(halts_and_rolls_back_this_wave_only),
        cmocka_unit_test(threshold_is_exact_at_its_bounds),
        cmocka_unit_test(classes_that_do_not_count_are_left_out),
        cmocka_unit_test(a_wave_of_failures_proves_nothing),
        cmocka_unit_test(who_is_away_is_neither_success_nor_failure),
        cmocka_unit_test(a_gateway_that_is_away_is_waited_for),
        cmocka_unit_test(a_sensor_that_is_away_flips_when_it_comes),
        cmocka_unit_test(nobody_flips_before_trust_is_in_force),
        cmocka_unit_test(a_gateway_that_refuses_trust_halts_it),
        cmocka_unit_test(what_a_gateway_says_stays_one_line),
        cmocka_unit_test(who_is_not_authorised_keeps_its_devices),
        cmocka_unit_test(flips_within_the_windows),
        cmocka_unit_test(pauses_and_goes_on),
        cmocka_unit_test(an_end_by_the_operator_leaves_what_was_migrated),
        cmocka_unit_test(an_end_while_a_wave_goes_back_waits_for_it),
        cmocka_unit_test(rolls_back_the_wave_that_is_named),
        cmocka_unit_test(nothing_is_retired_before_all_are_there),
        cmocka_unit_test(a_flip_is_tried_again_where_that_is_wanted),
        cmocka_unit_test(what_has_failed_can_get_another_certificate),
        cmocka_unit_test(silence_validates_nobody),
        cmocka_unit_test(who_cannot_be_validated_says_why),
        cmocka_unit_test(retiring_stops_when_one_falls_back),
        cmocka_unit_test(what_was_not_installed_is_installed_on_resume),
        cmocka_unit_test(a_late_refusal_does_not_undo_skip),
        cmocka_unit_test(a_gateway_without_devices_is_left_alone),
        cmocka_unit_test(a_gateway_that_is_gone_needs_no_anchors_removed),
        cmocka_unit_test(a_way_back_that_is_refused_can_be_skipped),
        cmocka_unit_test(a_flip_that_cannot_be_is_given_up),
        cmocka_unit_test(prepare_does_not_hang_in_silence),
        cmocka_unit_test(what_was_retired_by_hand_has_not_returned),
        cmocka_unit_test(refusals_use_up_no_attempts),
        cmocka_unit_test(a_late_failure_brings_its_own_wave_back),
        cmocka_unit_test(renewing_makes_other_keys),
        cmocka_unit_test(a_kill_does_not_forget_to_renew),
        cmocka_unit_test(a_confirmation_is_repeated),
        cmocka_unit_test(confirms_what_it_sees_connected),
        cmocka_unit_test(one_that_is_gone_does_not_hold_the_others),
        cmocka_unit_test(topics_that_lag_contradict_nobody),
        cmocka_unit_test(anchors_in_use_are_left_and_said),
        cmocka_unit_test(a_late_failure_halts_as_well),
        cmocka_unit_test(never_more_at_once_than_is_allowed),
        cmocka_unit_test(storm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
