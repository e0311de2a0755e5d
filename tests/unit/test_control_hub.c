/* test_control_hub.c - the hub carries out what the engine decides: durable first, told afterwards.
 */
#include "test_control_world.h"

#include "control/hub_inside.h"
#include "control/show.h"
#include "identity/files.h"

/* -- a flip -- */

static void what_is_intended_is_durable_before_workers_hear_of_it(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    world_phase(w, "press", FLIP_STAGED);
    s = world_up(w, 0, "press");
    world_leg(w, "press", s, FLIP_OLD, DIAG_OK);
    world_expect(w, "");

    assert_string_equal(world_command(w, "press", EV_FLIP), "ok");
    world_expect(w, "2 press: staged -> trial, flip by tester\n"
                    "press: use new, stored trial\n");
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_expect(w, "3 press: trial -> trial, accepted by certflipd\n");
    world_pass(w, 59999);
    world_expect(w, "");
    world_pass(w, 1);
    world_expect(w, "4 press: trial -> committed, healthy by certflipd\n");
    world_phase(w, "press", FLIP_COMMITTED);
    assert_string_equal(world_command(w, "press", EV_FLIP), "there");
}

static void a_rejected_identity_is_rolled_back(void **state)
{
    struct world *w = *state;
    struct store_device row;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_leg(w, "press", s, FLIP_OLD, DIAG_OK);
    world_command(w, "press", EV_FLIP);
    world_forget(w);

    world_leg(w, "press", s, FLIP_NEW, DIAG_IDENTITY);
    world_expect(w, "press: use old, stored rolled-back\n"
                    "3 press: trial -> rolled-back, test.identity by certflipd\n"
                    "4 press: rolled-back -> rolled-back, rolled by certflipd\n");
    assert_int_equal(store_device_get(w->store, "press", &row, NULL), 0);
    assert_string_equal(row.reason, "it is the identity");
    assert_string_equal(world_command(w, "press", EV_FLIP), "quarantined");
    assert_string_equal(world_command(w, "press", EV_CLEARED), "ok");
    world_phase(w, "press", FLIP_STAGED);
    assert_null(hub_find(w->hub, "press")->reason);
}

static void what_is_not_the_identitys_fault_keeps_the_trial(void **state)
{
    static const enum diag_class classes[] = {DIAG_TRUST, DIAG_NETWORK, DIAG_BROKER, DIAG_PROTOCOL,
                                              DIAG_POLICY};
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_command(w, "press", EV_FLIP);
    world_forget(w);
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
        world_leg(w, "press", s, FLIP_NEW, classes[i]);
    world_expect(w, "");
    world_phase(w, "press", FLIP_TRIAL);
}

static void a_command_goes_back_and_says_when_the_session_is_there(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_command(w, "press", EV_FLIP);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_forget(w);

    assert_string_equal(world_command(w, "press", EV_ROLLBACK), "ok");
    world_expect(w, "4 press: trial -> rolled-back, rollback by tester\n"
                    "press: use old, stored rolled-back\n");
    world_leg(w, "press", s, FLIP_OLD, DIAG_OK);
    world_expect(w, "5 press: rolled-back -> rolled-back, rolled by certflipd\n");
    world_leg(w, "press", s, FLIP_OLD, DIAG_OK);
    world_expect(w, "");
    assert_string_equal(world_command(w, "press", EV_ROLLBACK), "there");
}

static void late_news_of_an_earlier_decision_decides_nothing(void **state)
{
    struct world *w = *state;
    uint64_t s, seq;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_command(w, "press", EV_FLIP);
    seq = hub_find(w->hub, "press")->told_seq;
    world_command(w, "press", EV_ROLLBACK);
    world_command(w, "press", EV_CLEARED);
    world_command(w, "press", EV_FLIP);
    world_forget(w);

    world_leg_seq(w, "press", s, FLIP_NEW, DIAG_OK, seq);
    assert_false(hub_find(w->hub, "press")->flip.accepted);
    world_leg_seq(w, "press", s, FLIP_NEW, DIAG_IDENTITY, seq);
    world_phase(w, "press", FLIP_TRIAL);
    world_expect(w, "");
}

static void a_trial_pauses_while_the_sensor_is_away(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    assert_string_equal(world_command(w, "press", EV_FLIP), "ok");
    assert_string_equal(show_waiting(hub_find(w->hub, "press")), "device");
    s = world_up(w, 0, "press");
    assert_string_equal(show_waiting(hub_find(w->hub, "press")), "upstream");
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    assert_string_equal(show_waiting(hub_find(w->hub, "press")), "probation");
    world_down(w, "press", s);
    assert_string_equal(show_waiting(hub_find(w->hub, "press")), "device");
    world_pass(w, 3600 * 1000);
    world_phase(w, "press", FLIP_TRIAL);
    s = world_up(w, 1, "press");
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_pass(w, 60000);
    world_phase(w, "press", FLIP_COMMITTED);
}

/* -- suspicion -- */

/* The session tries the old identity by itself, and says what that has shown. */
static void a_suspicion_is_left_to_the_session(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    world_command(w, "press", EV_FLIP);
    s = world_up(w, 0, "press");
    world_forget(w);

    for (int i = 0; i < 100; i++) {
        world_leg(w, "press", s, FLIP_NEW, DIAG_SUSPECT);
        world_leg(w, "press", s, FLIP_OLD, DIAG_SUSPECT); /* both fail: not the identity */
    }
    world_expect(w, ""); /* nobody is made to dial at once */
    world_leg(w, "press", s, FLIP_NEW, DIAG_SUSPECT);
    world_leg(w, "press", s, FLIP_NEW, DIAG_IDENTITY); /* the old one was taken right after */
    world_leg(w, "press", s, FLIP_OLD, DIAG_OK);
    world_expect(w, "press: use old, stored rolled-back\n"
                    "3 press: trial -> rolled-back, test.identity by certflipd\n"
                    "4 press: rolled-back -> rolled-back, rolled by certflipd\n");
}

/* Nor does it count here: a link that loses every new connection leaves the old one standing. */
static void where_the_old_connection_stands_suspicion_decides_nothing(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_leg(w, "press", s, FLIP_OLD, DIAG_OK);
    world_command(w, "press", EV_FLIP);
    for (int i = 0; i < 100; i++)
        world_leg(w, "press", s, FLIP_NEW, DIAG_SUSPECT);
    world_phase(w, "press", FLIP_TRIAL);
    world_leg(w, "press", s, FLIP_NEW, DIAG_IDENTITY);
    world_phase(w, "press", FLIP_ROLLED_BACK);
}

static void a_committed_identity_that_is_rejected_goes_back_only_if_the_old_one_works(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_command(w, "press", EV_FLIP);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_pass(w, 60000);
    world_phase(w, "press", FLIP_COMMITTED);
    world_forget(w);

    world_leg(w, "press", s, FLIP_NEW, DIAG_IDENTITY);
    world_expect(w, "press: use old, stored committed\n");
    world_leg(w, "press", s, FLIP_OLD, DIAG_IDENTITY);
    world_expect(w, "press: use new, stored committed\n");
    world_pass(w, 30000);
    world_leg(w, "press", s, FLIP_NEW, DIAG_IDENTITY);
    world_leg(w, "press", s, FLIP_OLD, DIAG_OK);
    world_phase(w, "press", FLIP_ROLLED_BACK);
}

/* The old one was accepted while main had decided for the new one again: that news is late, but the
 * session stands on it. */
static void a_committed_identity_that_is_rejected_where_the_old_one_stands_goes_back(void **state)
{
    struct world *w = *state;
    uint64_t s, seq;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_command(w, "press", EV_FLIP);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_pass(w, 60000);
    world_phase(w, "press", FLIP_COMMITTED);
    world_leg(w, "press", s, FLIP_NEW, DIAG_IDENTITY);
    seq = hub_find(w->hub, "press")->told_seq;
    world_leg(w, "press", s, FLIP_OLD, DIAG_NETWORK);
    world_leg_seq(w, "press", s, FLIP_OLD, DIAG_OK, seq);
    world_phase(w, "press", FLIP_COMMITTED);

    world_leg(w, "press", s, FLIP_NEW, DIAG_IDENTITY);
    world_phase(w, "press", FLIP_ROLLED_BACK);
}

/* Each try makes the session dial without a wait. */
static void the_old_identity_is_tried_as_often_as_the_waits_allow(void **state)
{
    struct world *w = *state;
    struct hub_device *d;
    unsigned tries = 0;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_command(w, "press", EV_FLIP);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_pass(w, 60000);
    world_phase(w, "press", FLIP_COMMITTED);
    d = hub_find(w->hub, "press");
    for (int second = 0; second < 300; second++) {
        world_leg(w, "press", s, FLIP_NEW, DIAG_IDENTITY);
        if (d->trying_old) {
            tries++;
            world_leg(w, "press", s, FLIP_OLD, DIAG_IDENTITY);
        }
        world_pass(w, 1000);
    }
    assert_int_equal(tries, 6); /* at 0, 30, 90, 150, 210, 270 s */
    /* The session's own try of it counts as well. */
    world_leg(w, "press", s, FLIP_NEW, DIAG_IDENTITY);
    assert_false(d->trying_old);
    world_leg(w, "press", s, FLIP_OLD, DIAG_OK);
    world_phase(w, "press", FLIP_ROLLED_BACK);
}

/* -- confirmation -- */

static const char *command_with(struct world *w, enum flip_event ev, const struct hub_terms *terms,
                                const char *fp)
{
    struct rpc_fault f = {0};
    bool changed;

    if (hub_command(w->hub, hub_find(w->hub, "press"), ev, terms, fp, NULL, "tester", &changed,
                    &f) != 0)
        return rpc_error_name(f.code);
    assert_int_equal(hub_flush(w->hub, NULL), 0);
    return "ok";
}

static void confirmation_names_the_certificate(void **state)
{
    static const struct hub_terms terms = {.confirm = FLIP_CONFIRM_CENTRAL, .confirm_ms = 90000};
    char fp[65];
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 0x11, 0x22);
    world_start(w);
    s = world_up(w, 0, "press");
    assert_string_equal(command_with(w, EV_FLIP, &terms, NULL), "ok");
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_pass(w, 60000);
    world_phase(w, "press", FLIP_TRIAL);
    assert_string_equal(show_waiting(hub_find(w->hub, "press")), "confirm");
    memset(fp, '1', 64);
    fp[64] = '\0';
    assert_string_equal(command_with(w, EV_CONFIRMED, NULL, fp), "fingerprint");
    assert_string_equal(command_with(w, EV_CONFIRMED, NULL, "22"), "invalid-params");
    memset(fp, '2', 64);
    assert_string_equal(command_with(w, EV_CONFIRMED, NULL, fp), "ok");
    world_phase(w, "press", FLIP_COMMITTED);
}

static void without_confirmation_in_time_it_goes_back(void **state)
{
    static const struct hub_terms terms = {.confirm = FLIP_CONFIRM_CENTRAL, .confirm_ms = 90000};
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    command_with(w, EV_FLIP, &terms, NULL);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_pass(w, 89999);
    world_phase(w, "press", FLIP_TRIAL);
    world_pass(w, 1);
    world_phase(w, "press", FLIP_ROLLED_BACK);
    assert_string_equal(hub_find(w->hub, "press")->reason, "nobody confirmed in time");
    assert_non_null(strstr(hub_reason_todo(hub_find(w->hub, "press")), "why nobody confirmed"));
}

/* -- many at once -- */

static void only_so_many_live_sessions_move_at_a_time(void **state)
{
    struct world *w = *state;
    uint64_t s[5];
    char name[16];

    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof(name), "d%d", i);
        world_device(w, name, 1, 2);
    }
    world_device(w, "offline", 1, 2);
    world_start(w);
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof(name), "d%d", i);
        s[i] = world_up(w, (unsigned)i % WORLD_WORKERS, name);
        world_leg(w, name, s[i], FLIP_OLD, DIAG_OK);
    }
    for (int i = 0; i < 5; i++) {
        struct rpc_fault f = {0};
        bool changed;

        snprintf(name, sizeof(name), "d%d", i);
        hub_command(w->hub, hub_find(w->hub, name), EV_FLIP, &(struct hub_terms){0}, NULL, NULL,
                    "tester", &changed, &f);
    }
    world_command(w, "offline", EV_FLIP);
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof(name), "d%d", i);
        world_phase(w, name, FLIP_TRIAL); /* all of them, durable */
    }
    assert_non_null(strstr((const char *)w->trace.p, "offline: use new"));
    assert_non_null(strstr((const char *)w->trace.p, "d0: use new"));
    assert_non_null(strstr((const char *)w->trace.p, "d1: use new"));
    assert_null(strstr((const char *)w->trace.p, "d2: use new"));
    assert_string_equal(show_waiting(hub_find(w->hub, "d2")), "queue");
    world_forget(w);

    world_leg(w, "d1", s[1], FLIP_NEW, DIAG_OK);
    world_expect(w, "13 d1: trial -> trial, accepted by certflipd\n"
                    "d2: use new, stored trial\n");
    world_leg(w, "d0", s[0], FLIP_NEW, DIAG_IDENTITY);
    world_expect(w, "d0: use old, stored rolled-back\n"
                    "14 d0: trial -> rolled-back, test.identity by certflipd\n"
                    "d3: use new, stored trial\n"
                    "15 d0: rolled-back -> rolled-back, rolled by certflipd\n");
    world_down(w, "d2", s[2]);
    world_expect(w, "d4: use new, stored trial\n");
}

static void a_device_that_leaves_the_queue_does_not_wait_on(void **state)
{
    struct world *w = *state;
    uint64_t a, b;

    w->conf.flip.concurrent = 1;
    world_device(w, "a", 1, 2);
    world_device(w, "b", 1, 2);
    world_device(w, "c", 1, 2);
    world_start(w);
    a = world_up(w, 0, "a");
    b = world_up(w, 0, "b");
    world_leg(w, "c", world_up(w, 0, "c"), FLIP_OLD, DIAG_OK);
    world_command(w, "a", EV_FLIP);
    world_command(w, "b", EV_FLIP);
    world_command(w, "c", EV_FLIP);
    assert_string_equal(show_waiting(hub_find(w->hub, "b")), "queue");
    world_forget(w);

    world_down(w, "b", b); /* there is nothing to move any more */
    world_expect(w, "b: use new, stored trial\n");
    assert_string_equal(world_command(w, "c", EV_ROLLBACK), "ok");
    world_expect(w, "c: use old, stored rolled-back\n"
                    "7 c: trial -> rolled-back, rollback by tester\n"
                    "8 c: rolled-back -> rolled-back, rolled by certflipd\n");
    world_leg(w, "a", a, FLIP_NEW, DIAG_OK);
    world_expect(w, "9 a: trial -> trial, accepted by certflipd\n");
}

static void a_turn_ends_by_itself_when_nothing_is_heard(void **state)
{
    struct world *w = *state;

    w->conf.flip.concurrent = 1;
    world_device(w, "a", 1, 2);
    world_device(w, "b", 1, 2);
    world_start(w);
    world_up(w, 0, "a");
    world_up(w, 0, "b");
    world_command(w, "a", EV_FLIP);
    world_command(w, "b", EV_FLIP);
    world_forget(w);
    world_pass(w, 60000);
    world_expect(w, "b: use new, stored trial\n");
}

/* -- the way back, for many -- */

static const char *const crowd[] = {"d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7"};
#define CROWD (sizeof(crowd) / sizeof(crowd[0]))

/* All of them on the new identity, in trial. */
static void crowd_on_new(struct world *w, uint64_t s[CROWD])
{
    for (size_t i = 0; i < CROWD; i++)
        world_device(w, crowd[i], 1, 2);
    world_start(w);
    for (size_t i = 0; i < CROWD; i++) {
        s[i] = world_up(w, 0, crowd[i]);
        world_leg(w, crowd[i], s[i], FLIP_OLD, DIAG_OK);
        world_command(w, crowd[i], EV_FLIP);
        world_leg(w, crowd[i], s[i], FLIP_NEW, DIAG_OK);
        assert_true(hub_find(w->hub, crowd[i])->flip.accepted);
    }
    world_forget(w);
}

/* What relays is whole, so its way back takes turns. */
static void a_way_back_by_command_takes_turns(void **state)
{
    struct world *w = *state;
    uint64_t s[CROWD];

    crowd_on_new(w, s);
    for (size_t i = 0; i < 5; i++)
        world_command(w, crowd[i], EV_ROLLBACK);
    assert_string_equal(show_waiting(hub_find(w->hub, "d2")), "queue");
    world_phase(w, "d4", FLIP_ROLLED_BACK); /* what is intended is durable all the same */
    world_forget(w);
    world_leg(w, "d0", s[0], FLIP_OLD, DIAG_OK);
    world_expect(w, "30 d0: rolled-back -> rolled-back, rolled by certflipd\n"
                    "d2: use old, stored rolled-back\n");

    /* Whoever is not whole any more does not wait. */
    world_lost(w, "d4", s[4], FLIP_NEW, DIAG_NETWORK);
    world_expect(w, "d4: use old, stored rolled-back\n");
    /* Nor who would begin with the new identity. */
    world_up(w, 0, "d3");
    world_expect(w, "d3: use old, stored rolled-back\n");
    assert_null(show_waiting(hub_find(w->hub, "d3")));
}

/* The identity was refused, or does not work: that is no matter of turns. */
static void a_way_back_of_a_refused_identity_does_not_wait(void **state)
{
    struct world *w = *state;
    uint64_t s[CROWD];

    crowd_on_new(w, s);
    for (size_t i = 0; i < 4; i++)
        world_command(w, crowd[i], EV_ROLLBACK);
    world_forget(w);
    world_lost(w, "d6", s[6], FLIP_NEW, DIAG_IDENTITY);
    world_expect(w, "d6: use old, stored rolled-back\n"
                    "29 d6: trial -> rolled-back, test.identity by certflipd\n");
}

static void ways_back_come_before_flips(void **state)
{
    struct world *w = *state;
    uint64_t s[CROWD], x;

    world_device(w, "x", 1, 2);
    crowd_on_new(w, s);
    x = world_up(w, 0, "x");
    world_leg(w, "x", x, FLIP_OLD, DIAG_OK);
    world_command(w, "d0", EV_ROLLBACK);
    world_command(w, "d1", EV_ROLLBACK);
    world_command(w, "x", EV_FLIP);
    world_command(w, "d2", EV_ROLLBACK);
    world_forget(w);
    world_leg(w, "d0", s[0], FLIP_OLD, DIAG_OK);
    world_expect(w, "30 d0: rolled-back -> rolled-back, rolled by certflipd\n"
                    "d2: use old, stored rolled-back\n");
    /* A flip that waits is taken back without a turn: nothing has moved yet. */
    world_command(w, "x", EV_ROLLBACK);
    world_expect(w, "x: use old, stored rolled-back\n"
                    "31 x: trial -> rolled-back, rollback by tester\n"
                    "32 x: rolled-back -> rolled-back, rolled by certflipd\n");
}

/* -- an outage -- */

/* The queue is not used up by it, and the trials under way go on. */
static void an_outage_stops_the_queue(void **state)
{
    struct world *w = *state;
    struct hub_pace pace;
    uint64_t s[CROWD];

    for (size_t i = 0; i < CROWD; i++)
        world_device(w, crowd[i], 1, 2);
    world_start(w);
    for (size_t i = 0; i < CROWD; i++) {
        s[i] = world_up(w, 0, crowd[i]);
        world_leg(w, crowd[i], s[i], FLIP_OLD, DIAG_OK);
    }
    for (size_t i = 0; i < CROWD; i++)
        world_command(w, crowd[i], EV_FLIP);
    for (size_t i = 0; i < 5; i++)
        world_leg(w, crowd[i], s[i], FLIP_NEW, DIAG_NETWORK);
    hub_pace(w->hub, &pace);
    assert_true(pace.paused);
    assert_true(pace.waiting >= 2);
    world_forget(w);
    for (size_t i = 0; i < CROWD; i++) {
        world_leg(w, crowd[i], s[i], FLIP_NEW, DIAG_NETWORK); /* they try by themselves */
        world_phase(w, crowd[i], FLIP_TRIAL);
    }
    world_expect(w, "");
    world_pass(w, 1600); /* a probe */
    world_expect(w, "d5: use new, stored trial\n");
    world_leg(w, "d5", s[5], FLIP_NEW, DIAG_OK);
    hub_pace(w->hub, &pace);
    assert_false(pace.paused);
}

/* The old leg may go first, by the broker's hand or with the outage; the turn goes on. */
static void the_loss_of_the_old_leg_is_not_the_end_of_a_turn(void **state)
{
    struct world *w = *state;
    struct hub_pace pace;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_leg(w, "press", s, FLIP_OLD, DIAG_OK);
    world_command(w, "press", EV_FLIP);
    world_lost(w, "press", s, FLIP_OLD, DIAG_NETWORK);
    hub_pace(w->hub, &pace);
    assert_int_equal(pace.moving, 1);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    hub_pace(w->hub, &pace);
    assert_int_equal(pace.moving, 0);
}

static void the_newest_connection_of_a_device_wins(void **state)
{
    struct world *w = *state;

    world_device(w, "press", 1, 0);
    world_start(w);
    world_up(w, 0, "press");
    world_up(w, 0, "press"); /* the worker sees to it */
    world_expect(w, "");
    world_up(w, 1, "press");
    world_expect(w, "press: worker 0 closes session 1\n"
                    "press: worker 0 closes session 2\n");
}

static void one_of_several_sessions_on_the_new_identity_carries_a_trial(void **state)
{
    struct world *w = *state;
    uint64_t a, b;

    world_device(w, "press", 1, 2);
    world_start(w);
    a = world_up(w, 0, "press");
    b = world_up(w, 0, "press");
    world_leg(w, "press", a, FLIP_OLD, DIAG_OK);
    world_leg(w, "press", b, FLIP_OLD, DIAG_OK);
    world_command(w, "press", EV_FLIP);
    world_leg(w, "press", a, FLIP_NEW, DIAG_OK);
    assert_string_equal(show_waiting(hub_find(w->hub, "press")), "probation");
    world_leg(w, "press", b, FLIP_NEW, DIAG_NETWORK); /* it stays on the old one for now */
    assert_string_equal(show_waiting(hub_find(w->hub, "press")), "probation");
    world_down(w, "press", a);
    assert_string_equal(show_waiting(hub_find(w->hub, "press")), "upstream");
    world_pass(w, 3600 * 1000);
    world_phase(w, "press", FLIP_TRIAL);
    world_leg(w, "press", b, FLIP_NEW, DIAG_OK);
    world_pass(w, 60000);
    world_phase(w, "press", FLIP_COMMITTED);
}

static void a_device_is_back_when_a_session_stands_on_the_old_identity(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_command(w, "press", EV_FLIP);
    world_command(w, "press", EV_ROLLBACK);
    world_expect(w, "2 press: staged -> trial, flip by tester\n"
                    "press: use new, stored trial\n"
                    "press: use old, stored rolled-back\n"
                    "3 press: trial -> rolled-back, rollback by tester\n");
    world_leg(w, "press", s, FLIP_OLD, DIAG_NETWORK);
    world_expect(w, "");
    world_down(w, "press", s); /* nothing has to move any more */
    world_expect(w, "4 press: rolled-back -> rolled-back, rolled by certflipd\n");
}

/* -- the store fails -- */

static void a_command_that_cannot_be_saved_does_nothing(void **state)
{
    struct world *w = *state;

    world_device(w, "press", 1, 2);
    world_start(w);
    w->fail_saves = 1;
    assert_string_equal(world_command(w, "press", EV_FLIP), "store");
    world_expect(w, "");
    world_phase(w, "press", FLIP_STAGED);
    world_pass(w, 60000);
    world_expect(w, ""); /* not later either */
    assert_string_equal(world_command(w, "press", EV_FLIP), "ok");
    world_expect(w, "press: use new, stored trial\n"
                    "2 press: staged -> trial, flip by tester\n");
}

static void news_that_cannot_be_saved_is_taken_again(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_command(w, "press", EV_FLIP);
    world_forget(w);
    w->fail_saves = 2;
    world_leg(w, "press", s, FLIP_NEW, DIAG_IDENTITY);
    world_phase(w, "press", FLIP_TRIAL);
    world_expect(w, "press: use old, stored trial\n"); /* until it is durable */
    world_pass(w, 15000);
    world_phase(w, "press", FLIP_ROLLED_BACK);
}

static void a_command_in_vain_does_not_forget_the_news_that_waits_to_be_saved(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_command(w, "press", EV_FLIP);
    w->fail_saves = 2;
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    assert_string_equal(world_command(w, "press", EV_ROLLBACK), "store");
    world_pass(w, 10000);
    assert_true(hub_find(w->hub, "press")->flip.accepted);
    world_pass(w, 60000);
    world_phase(w, "press", FLIP_COMMITTED);
}

static void a_command_in_vain_does_not_forget_that_nothing_was_tried_yet(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    world_command(w, "press", EV_FLIP); /* nobody is there */
    w->fail_saves = 1;
    assert_string_equal(world_command(w, "press", EV_ROLLBACK), "store");
    s = world_up(w, 0, "press");
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    assert_int_equal(hub_find(w->hub, "press")->flip.attempts, 1);
    world_pass(w, 60000);
    world_phase(w, "press", FLIP_COMMITTED);
}

static void a_command_in_vain_costs_no_probation_that_waits_to_be_saved(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_command(w, "press", EV_FLIP);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_forget(w);
    w->fail_saves = 2;
    world_pass(w, 60000); /* healthy, and not saved */
    assert_string_equal(world_command(w, "press", EV_ROLLBACK), "store");
    world_expect(w, ""); /* it stays on the new one */
    assert_true(hub_find(w->hub, "press")->flip.accepted);
    world_pass(w, 10000);
    world_phase(w, "press", FLIP_COMMITTED);
}

static void an_acceptance_that_is_saved_late_is_an_attempt(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    world_command(w, "press", EV_FLIP); /* nobody is there */
    w->fail_saves = 2;
    s = world_up(w, 0, "press");
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    assert_false(hub_find(w->hub, "press")->flip.accepted);
    world_pass(w, 10000);
    assert_true(hub_find(w->hub, "press")->flip.accepted);
    assert_int_equal(hub_find(w->hub, "press")->flip.attempts, 1);
}

/* Whatever waits to be saved, an acceptance is no proof when its connection is gone. */
static void an_acceptance_is_not_saved_late_when_its_connection_is_gone(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_command(w, "press", EV_FLIP);
    w->fail_saves = 1;
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_lost(w, "press", s, FLIP_NEW, DIAG_NETWORK);
    world_pass(w, 3600 * 1000);
    world_phase(w, "press", FLIP_TRIAL);
    assert_false(hub_find(w->hub, "press")->flip.accepted);
    w->fail_saves = 1;
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_down(w, "press", s);
    world_pass(w, 3600 * 1000);
    world_phase(w, "press", FLIP_TRIAL);
    s = world_up(w, 0, "press");
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_pass(w, 60000);
    world_phase(w, "press", FLIP_COMMITTED);
}

/* The loss itself is saved later, and no command in vain brings the connection back. */
static void a_connection_that_is_lost_stays_so_whatever_cannot_be_saved(void **state)
{
    struct world *w = *state;
    struct store_device row;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_command(w, "press", EV_FLIP);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    w->fail_saves = 2;
    world_lost(w, "press", s, FLIP_NEW, DIAG_NETWORK);
    assert_string_equal(world_command(w, "press", EV_ROLLBACK), "store");
    assert_false(hub_find(w->hub, "press")->flip.accepted);
    world_pass(w, 10000);
    assert_int_equal(store_device_get(w->store, "press", &row, NULL), 0);
    assert_false(row.flip.accepted);
    w->fail_saves = 1;
    assert_string_equal(world_command(w, "press", EV_ROLLBACK), "store");
    world_pass(w, 3600 * 1000);
    world_phase(w, "press", FLIP_TRIAL);
}

/* It went and came back between two saves, the first of which failed: probation begins anew. */
static void a_connection_that_came_back_is_another_one(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_command(w, "press", EV_FLIP);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_pass(w, 50000);
    w->fail_saves = 2;
    world_lost(w, "press", s, FLIP_NEW, DIAG_NETWORK);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_pass(w, 20000);
    world_phase(w, "press", FLIP_TRIAL);
    world_pass(w, 60000);
    world_phase(w, "press", FLIP_COMMITTED);
}

/* What was refused is not tried again because somebody commands while nothing can be saved. */
static void a_command_in_vain_takes_no_service_away(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_command(w, "press", EV_FLIP);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_forget(w);
    w->fail_saves = 3;
    world_leg(w, "press", s, FLIP_NEW, DIAG_IDENTITY);
    hub_flush(w->hub, NULL);
    world_expect(w, "press: use old, stored trial\n");
    world_leg(w, "press", s, FLIP_OLD, DIAG_NETWORK); /* not yet */
    world_forget(w);
    w->fail_saves = 2;
    world_leg(w, "press", s, FLIP_NEW, DIAG_IDENTITY);
    hub_flush(w->hub, NULL);
    world_forget(w);
    assert_string_equal(world_command(w, "press", EV_ROLLBACK), "store");
    hub_flush(w->hub, NULL);
    world_expect(w, "");
    assert_int_equal(hub_find(w->hub, "press")->told_slot, FLIP_OLD);
    world_pass(w, 15000);
    world_phase(w, "press", FLIP_ROLLED_BACK);
}

/* The rollback is durable and done; what follows from it is not, yet. */
static void what_was_done_is_not_called_undone_for_what_follows(void **state)
{
    struct world *w = *state;

    world_device(w, "press", 1, 2);
    world_start(w);
    world_command(w, "press", EV_FLIP); /* nobody is there */
    world_forget(w);
    w->good_saves = 1;
    w->fail_saves = 1;
    assert_string_equal(world_command(w, "press", EV_ROLLBACK), "ok");
    world_expect(w, "press: use old, stored rolled-back\n"
                    "3 press: trial -> rolled-back, rollback by tester\n");
    world_phase(w, "press", FLIP_ROLLED_BACK);
    world_pass(w, 10000);
    world_expect(w, "4 press: rolled-back -> rolled-back, rolled by certflipd\n");
    world_pass(w, 60000);
    world_expect(w, "");
}

static void a_command_in_vain_leaves_the_time_of_the_latest_change(void **state)
{
    struct world *w = *state;

    world_device(w, "press", 1, 2);
    world_start(w);
    hub_find(w->hub, "press")->changed_s = hub_find(w->hub, "press")->saved_changed_s = 1234;
    w->fail_saves = 1;
    assert_string_equal(world_command(w, "press", EV_FLIP), "store");
    assert_int_equal(hub_find(w->hub, "press")->changed_s, 1234);
}

/* A committed identity is refused, the old one is accepted, and the disk is full: the old one goes
 * on serving. */
static void the_old_identity_serves_while_its_rollback_cannot_be_saved(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_command(w, "press", EV_FLIP);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_pass(w, 60000);
    world_leg(w, "press", s, FLIP_NEW, DIAG_IDENTITY);
    assert_int_equal(hub_find(w->hub, "press")->told_slot, FLIP_OLD);
    world_forget(w);
    w->fail_saves = 1;
    world_leg(w, "press", s, FLIP_OLD, DIAG_OK);
    world_phase(w, "press", FLIP_COMMITTED);
    hub_flush(w->hub, NULL);
    world_expect(w, "");
    world_pass(w, 15000);
    world_phase(w, "press", FLIP_ROLLED_BACK);
    world_expect(w, "press: use old, stored rolled-back\n"
                    "5 press: committed -> rolled-back, test.identity by certflipd\n"
                    "6 press: rolled-back -> rolled-back, rolled by certflipd\n");
}

/* The same in the middle of a trial: nothing is changed in the store, and no sensor is stranded. */
static void a_trial_whose_rollback_cannot_be_saved_is_served_by_the_old_identity(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_command(w, "press", EV_FLIP);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_forget(w);
    w->fail_saves = 1000;
    world_lost(w, "press", s, FLIP_NEW, DIAG_IDENTITY);
    hub_flush(w->hub, NULL);
    world_expect(w, "press: use old, stored trial\n");
    world_leg(w, "press", s, FLIP_OLD, DIAG_OK);
    world_pass(w, 100000); /* beyond probation, which it does not pass */
    world_expect(w, "");
    world_phase(w, "press", FLIP_TRIAL);
    assert_false(hub_find(w->hub, "press")->flip.accepted);
    assert_in_range(w->fail_saves, 1000 - 2 - 21, 1000 - 2 - 18); /* every five seconds */
    w->fail_saves = 0;
    world_pass(w, 5000);
    world_phase(w, "press", FLIP_ROLLED_BACK);
    assert_string_equal(hub_find(w->hub, "press")->reason, "it is the identity");
    world_expect(w, "press: use old, stored rolled-back\n"
                    "4 press: trial -> rolled-back, test.identity by certflipd\n"
                    "5 press: rolled-back -> rolled-back, rolled by certflipd\n");
}

static void a_loss_that_cannot_be_saved_stops_probation_all_the_same(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_command(w, "press", EV_FLIP);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    w->fail_saves = 1000;
    world_lost(w, "press", s, FLIP_NEW, DIAG_NETWORK);
    world_pass(w, 59000);
    w->fail_saves = 0;
    world_pass(w, 1000);
    world_phase(w, "press", FLIP_TRIAL);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_pass(w, 59000);
    world_phase(w, "press", FLIP_TRIAL);
    world_pass(w, 1000);
    world_phase(w, "press", FLIP_COMMITTED);
}

/* The first attempt of a trial is counted with news that cannot be saved. */
static void an_attempt_that_cannot_be_saved_is_counted_later(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    world_command(w, "press", EV_FLIP);
    assert_int_equal(hub_find(w->hub, "press")->flip.attempts, 0);
    w->fail_saves = 5;
    s = world_up(w, 0, "press");
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    assert_int_equal(hub_find(w->hub, "press")->flip.attempts, 0);
    w->fail_saves = 0;
    world_pass(w, 5000); /* the news is taken again, and with it the attempt */
    assert_int_equal(hub_find(w->hub, "press")->flip.attempts, 1);
    assert_true(hub_find(w->hub, "press")->flip.accepted);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    assert_int_equal(hub_find(w->hub, "press")->flip.attempts, 1);
    world_pass(w, 60000);
    world_phase(w, "press", FLIP_COMMITTED);
}

/* A start that can save nothing serves all devices as they were journalled, new ones included. */
static void a_start_on_a_full_disk_serves_as_journalled(void **state)
{
    struct world *w = *state;
    struct store_device row;
    struct err err = {0};

    world_device(w, "press", 1, 2);
    world_start(w);
    world_up(w, 0, "press");
    world_command(w, "press", EV_FLIP);
    world_stop(w);
    world_device(w, "saw", 1, 2);
    world_hub(w);
    assert_int_equal(hub_start(w->hub, &err), 0);
    w->fail_saves = 3;
    assert_int_equal(hub_flush(w->hub, &err), -ERR_STORE);
    assert_int_equal(hub_flush(w->hub, &err), 0);
    assert_int_equal(hub_find(w->hub, "press")->told_slot, FLIP_NEW);
    assert_int_equal(hub_find(w->hub, "press")->flip.attempts, 1);
    assert_int_equal(hub_find(w->hub, "saw")->told_slot, FLIP_OLD);
    assert_int_not_equal(hub_find(w->hub, "saw")->told_seq, 0);
    assert_int_equal(store_device_get(w->store, "saw", &row, NULL), -ERR_NOT_FOUND);
    world_pass(w, 5000 + 5000 + 5000);
    assert_int_equal(store_device_get(w->store, "saw", &row, NULL), 0);
    world_phase(w, "saw", FLIP_STAGED);
    assert_int_equal(hub_find(w->hub, "press")->flip.attempts, 1);
    world_leg(w, "press", world_up(w, 0, "press"), FLIP_NEW, DIAG_OK);
    assert_int_equal(hub_find(w->hub, "press")->flip.attempts, 2);
}

static void a_deadline_that_cannot_be_saved_is_not_tried_over_and_over(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_command(w, "press", EV_FLIP);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    w->fail_saves = 1000;
    world_pass(w, 60000 + 50000);
    assert_in_range(w->fail_saves, 1000 - 12, 1000 - 9);
    world_phase(w, "press", FLIP_TRIAL);
    w->fail_saves = 0;
    world_pass(w, 5000);
    world_phase(w, "press", FLIP_COMMITTED);
}

static void later_news_replaces_what_could_not_be_saved(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_command(w, "press", EV_FLIP);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    w->fail_saves = 1;
    world_down(w, "press", s);
    s = world_up(w, 0, "press");
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_pass(w, 15000);
    assert_string_equal(show_waiting(hub_find(w->hub, "press")), "probation");
}

/* -- restarts -- */

static void a_trial_is_resumed_until_its_attempts_are_used_up(void **state)
{
    struct world *w = *state;

    world_device(w, "press", 1, 2);
    world_start(w);
    world_up(w, 0, "press");
    world_command(w, "press", EV_FLIP);
    for (uint32_t attempt = 2; attempt <= 3; attempt++) {
        world_stop(w);
        world_start(w);
        world_phase(w, "press", FLIP_TRIAL);
        assert_int_equal(hub_find(w->hub, "press")->told_slot, FLIP_NEW);
        world_up(w, 0, "press");
        assert_int_equal(hub_find(w->hub, "press")->flip.attempts, attempt);
    }
    world_stop(w);
    world_start(w);
    world_phase(w, "press", FLIP_ROLLED_BACK);
    assert_int_equal(hub_find(w->hub, "press")->told_slot, FLIP_OLD);
}

static void a_start_that_fails_costs_no_attempt(void **state)
{
    struct world *w = *state;
    struct err err = {0};

    world_device(w, "press", 1, 2);
    world_start(w);
    world_up(w, 0, "press");
    world_command(w, "press", EV_FLIP);
    for (int i = 0; i < 5; i++) {
        world_stop(w);
        world_hub(w);
        assert_int_equal(hub_start(w->hub, &err), 0); /* and then, say, a port is in use */
    }
    world_stop(w);
    world_start(w);
    world_up(w, 0, "press");
    assert_int_equal(hub_find(w->hub, "press")->flip.attempts, 2);
}

static void a_restart_while_the_sensor_is_away_is_no_attempt(void **state)
{
    struct world *w = *state;

    world_device(w, "press", 1, 2);
    world_start(w);
    world_command(w, "press", EV_FLIP);
    assert_int_equal(hub_find(w->hub, "press")->flip.attempts, 0); /* nothing was tried yet */
    for (int i = 0; i < 9; i++) {
        world_stop(w);
        world_start(w);
        world_phase(w, "press", FLIP_TRIAL);
    }
    world_leg(w, "press", world_up(w, 0, "press"), FLIP_NEW, DIAG_OK);
    assert_int_equal(hub_find(w->hub, "press")->flip.attempts, 1);
    world_pass(w, 60000);
    world_phase(w, "press", FLIP_COMMITTED);
}

/* -- evidence -- */

static const struct hub_terms demand_echo = {.evidence = FLIP_PROOF_ECHO};

/* A device on trial that has to echo; its session, whose leg is accepted. */
static uint64_t echo_trial(struct world *w, const struct hub_terms *terms)
{
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_leg(w, "press", s, FLIP_OLD, DIAG_OK);
    assert_string_equal(world_command_with(w, "press", EV_FLIP, terms, 0), "ok");
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_forget(w);
    return s;
}

static const char *stored_proof(struct world *w, char text[400])
{
    struct store_device row;

    assert_int_equal(store_device_get(w->store, "press", &row, NULL), 0);
    return hub_proof_text(&row.proof, text, 400);
}

static void without_the_echo_that_was_demanded_it_goes_back(void **state)
{
    struct world *w = *state;

    echo_trial(w, &demand_echo);
    world_pass(w, 59999);
    world_phase(w, "press", FLIP_TRIAL);
    world_pass(w, 1);
    world_phase(w, "press", FLIP_ROLLED_BACK);
    world_expect(w, "press: use old, stored rolled-back\n"
                    "4 press: trial -> rolled-back, unproven by certflipd\n");
    assert_string_equal(hub_find(w->hub, "press")->reason,
                        "probation is over, and the echo that was demanded did not come");
    assert_non_null(strstr(hub_reason_todo(hub_find(w->hub, "press")), "its echo topic"));
}

static void what_was_proven_is_kept_through_the_commit_and_a_restart(void **state)
{
    static const struct hub_terms both = {.evidence = FLIP_PROOF_ECHO,
                                          .confirm = FLIP_CONFIRM_CENTRAL};
    static const char proven[] =
        "connack at 2033-05-18T03:33:20Z, fingerprint , echo in 3.14 ms at 2033-05-18T03:33:20Z, "
        "confirmed by tester at 2033-05-18T03:33:20Z";
    struct world *w = *state;
    char text[400];
    uint64_t s;

    w->wall_s = 2000000000;
    s = echo_trial(w, &both);
    assert_string_equal(stored_proof(w, text), "connack at 2033-05-18T03:33:20Z, fingerprint ");
    assert_string_equal(world_command_with(w, "press", EV_CONFIRMED, NULL, 2), "ok");
    world_phase(w, "press", FLIP_TRIAL); /* the word of the centre is kept, the echo awaited */
    assert_string_equal(world_command_with(w, "press", EV_CONFIRMED, NULL, 2), "there");
    assert_int_equal(w->trials_over, 0);
    world_echoed(w, "press", s);
    world_phase(w, "press", FLIP_COMMITTED);
    assert_int_equal(w->trials_over, 1); /* the workers need not look out for evidence any more */
    assert_string_equal(stored_proof(w, text), proven);
    world_stop(w);
    world_start(w);
    assert_string_equal(hub_proof_text(hub_find(w->hub, "press")->proof, text, sizeof(text)),
                        proven);
    assert_string_equal(world_command(w, "press", EV_ROLLBACK), "ok");
    assert_string_equal(stored_proof(w, text), proven);
}

/* The old identity serves while the rollback of the one that was refused cannot be saved; that says
 * nothing of the one that comes after it. */
static void an_identity_that_replaces_a_refused_one_is_tried(void **state)
{
    struct world *w = *state;
    struct hub_reload out = {0};
    struct err err = {0};
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_command(w, "press", EV_FLIP);
    w->fail_saves = 1;
    world_leg(w, "press", s, FLIP_NEW, DIAG_IDENTITY);
    assert_int_equal(hub_find(w->hub, "press")->told_slot, FLIP_OLD);
    w->device[0].fp[FLIP_NEW] = 3;
    assert_int_equal(hub_reload(w->hub, &w->snapshot, &out, &err), 0);
    assert_int_equal(hub_find(w->hub, "press")->told_slot, FLIP_NEW);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_pass(w, 60000);
    world_phase(w, "press", FLIP_COMMITTED);
}

/* A word for a fingerprint is none for another one, whenever it came to be there. */
static void a_confirmation_does_not_pass_on_to_another_identity(void **state)
{
    static const struct hub_terms both = {.evidence = FLIP_PROOF_ECHO,
                                          .confirm = FLIP_CONFIRM_CENTRAL};
    struct world *w = *state;
    struct hub_reload out = {0};
    struct err err = {0};
    char text[400];
    uint64_t s = echo_trial(w, &both);

    for (int i = 0; i < 3; i++) { /* at a reload; while it cannot be saved; while it is off */
        const struct hub_device *d = hub_find(w->hub, "press");

        assert_string_equal(
            world_command_with(w, "press", EV_CONFIRMED, NULL, w->device[0].fp[FLIP_NEW]), "ok");
        w->device[0].fp[FLIP_NEW]++;
        if (i < 2) {
            w->fail_saves = i;
            assert_int_equal(hub_reload(w->hub, &w->snapshot, &out, &err) != 0, i);
            assert_int_equal(w->fail_saves, 0);
            world_pass(w, 10000);
        } else {
            world_stop(w);
            world_start(w);
            d = hub_find(w->hub, "press");
            s = world_up(w, 0, "press");
        }
        assert_int_equal(flip_missing(&d->flip),
                         FLIP_PROOF_CONNACK | FLIP_PROOF_ECHO | FLIP_PROOF_CENTRAL);
        assert_string_equal(stored_proof(w, text), "");
        world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
        world_echoed(w, "press", s);
        world_phase(w, "press", FLIP_TRIAL);
        assert_int_equal(d->flip.dead_ms, w->now_ms + FLIP_DEFAULT_CONFIRM_MS);
        world_down(w, "press", s);
        s = world_up(w, 0, "press");
        world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    }
    world_echoed(w, "press", s);
    assert_string_equal(world_command_with(w, "press", EV_CONFIRMED, NULL, 2), "fingerprint");
    assert_string_equal(
        world_command_with(w, "press", EV_CONFIRMED, NULL, w->device[0].fp[FLIP_NEW]), "ok");
    world_phase(w, "press", FLIP_COMMITTED);
}

static void a_lost_leg_takes_its_proof_with_it(void **state)
{
    struct world *w = *state;
    char text[400];
    uint64_t s = echo_trial(w, &demand_echo);

    world_echoed(w, "press", s);
    world_leg(w, "press", s, FLIP_NEW, DIAG_NETWORK);
    assert_int_equal(flip_missing(&hub_find(w->hub, "press")->flip), 0); /* it stands still */
    world_down(w, "press", s);
    assert_string_equal(stored_proof(w, text), "");
    s = world_up(w, 1, "press");
    world_pass(w, 3600000); /* time without a leg is no time of the trial */
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_pass(w, 59000);
    world_echoed(w, "press", s);
    world_pass(w, 1000);
    world_phase(w, "press", FLIP_COMMITTED);
}

static void proof_that_could_not_be_saved_is_no_proof(void **state)
{
    struct world *w = *state;
    char text[400];
    uint64_t s = echo_trial(w, &demand_echo);

    w->fail_saves = 1;
    world_echoed(w, "press", s);
    assert_int_equal(flip_missing(&hub_find(w->hub, "press")->flip), FLIP_PROOF_ECHO);
    assert_null(
        strstr(hub_proof_text(hub_find(w->hub, "press")->proof, text, sizeof(text)), "echo"));
    world_pass(w, 5000); /* and is tried again */
    assert_int_equal(flip_missing(&hub_find(w->hub, "press")->flip), 0);
    assert_non_null(strstr(stored_proof(w, text), "echo in 3.14 ms"));
}

/* The disk is full when the leg is accepted, and the echo does not wait for it. */
static void proof_of_an_acceptance_that_could_not_be_saved_is_kept(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_leg(w, "press", s, FLIP_OLD, DIAG_OK);
    world_command_with(w, "press", EV_FLIP, &demand_echo, 0);
    w->fail_saves = 1;
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_echoed(w, "press", s);
    assert_true(flip_pending(&hub_find(w->hub, "press")->flip));
    world_pass(w, 6000);
    assert_int_equal(flip_missing(&hub_find(w->hub, "press")->flip), 0);

    /* Both in one flush, on the next connection. */
    world_leg(w, "press", s, FLIP_OLD, DIAG_OK);
    world_down(w, "press", s);
    s = world_up(w, 0, "press");
    assert_true(flip_pending(&hub_find(w->hub, "press")->flip));
    w->fail_saves = 2;
    hub_message(w->hub, world_news_of_leg(w, "press", s, MSG_LEG_ACCEPTED, FLIP_NEW));
    world_echoed(w, "press", s);
    assert_true(flip_pending(&hub_find(w->hub, "press")->flip));
    world_pass(w, 12000);
    assert_int_equal(flip_missing(&hub_find(w->hub, "press")->flip), 0);
    world_pass(w, 60000);
    world_phase(w, "press", FLIP_COMMITTED);
}

/* After keygen, say, the worker answers what it is told with the leg that has stood all the time.
 */
static void an_acceptance_that_is_told_again_is_no_newer(void **state)
{
    struct world *w = *state;
    const struct hub_device *d;
    struct msg *m;
    uint64_t s, number;
    int64_t now_s;

    world_device(w, "press", 1, 0);
    world_start(w);
    d = hub_find(w->hub, "press");
    s = world_up(w, 0, "press");
    world_leg(w, "press", s, FLIP_OLD, DIAG_OK);
    now_s = d->leg->since_s;
    number = d->leg->number;
    m = world_news_of_leg(w, "press", s, MSG_LEG_ACCEPTED, FLIP_OLD);
    m->u.leg.stood_ms = 3600000;
    hub_message(w->hub, m);
    assert_int_equal(d->leg->since_s, now_s);
    assert_int_equal(d->leg->number, number);

    /* What came of the other identity meanwhile does not make it younger, either. */
    world_leg(w, "press", s, FLIP_NEW, DIAG_NETWORK);
    number = d->leg->number;
    m = world_news_of_leg(w, "press", s, MSG_LEG_ACCEPTED, FLIP_OLD);
    m->u.leg.stood_ms = 3600000;
    hub_message(w->hub, m);
    assert_int_equal(d->leg->what, MSG_LEG_ACCEPTED);
    assert_true(d->leg->since_s >= now_s - 3600 && d->leg->since_s < now_s - 3000);
    assert_int_equal(d->leg->number, number);
}

static int count_row(void *arg, const struct store_audit *a)
{
    unsigned *n = arg;

    n[0]++;
    n[1] += strcmp(a->what, "phase trial") == 0 && strstr(a->outcome, "from trial") != NULL;
    n[2] += strcmp(a->what, "phase committed") == 0;
    return 0;
}

/* The audit log is not cut, ever. */
static void a_sensor_that_comes_and_goes_does_not_fill_the_audit_log(void **state)
{
    struct world *w = *state;
    unsigned rows[3] = {0};
    uint64_t s = 0;
    struct err err;

    world_device(w, "press", 1, 2);
    world_start(w);
    world_command(w, "press", EV_FLIP);
    for (int i = 0; i < 60; i++) {
        s = world_up(w, 0, "press");
        world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
        world_pass(w, 1000);
        if (i < 59)
            world_down(w, "press", s);
    }
    world_pass(w, 60000);
    world_phase(w, "press", FLIP_COMMITTED);
    assert_int_equal(store_audit_each(w->store, 0, 1000, count_row, rows, &err), 0);
    assert_int_equal(rows[1], 10);
    assert_int_equal(rows[2], 1);
}

static void late_or_foreign_echoes_prove_nothing(void **state)
{
    struct world *w = *state;
    uint64_t s = echo_trial(w, &demand_echo);

    world_command(w, "press", EV_ROLLBACK);
    world_echoed(w, "press", s);
    world_phase(w, "press", FLIP_ROLLED_BACK);
    world_command(w, "press", EV_CLEARED);
    world_echoed(w, "press", s);
    world_phase(w, "press", FLIP_STAGED);
}

static void an_unexpected_answer_rolls_back(void **state)
{
    struct world *w = *state;
    uint64_t s = echo_trial(w, &(struct hub_terms){0});

    world_refused(w, "press", s, FLIP_NEW, 0x1234);
    world_phase(w, "press", FLIP_ROLLED_BACK);
    world_expect(w, "press: use old, stored rolled-back\n"
                    "4 press: trial -> rolled-back, evidence.test by certflipd\n");
    assert_string_equal(hub_find(w->hub, "press")->error->diag.name, "evidence.test");
}

/* What the old identity may not do either is no news of the new one. */
static void what_was_refused_before_is_not_unexpected(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_leg(w, "press", s, FLIP_OLD, DIAG_OK);
    for (uint64_t key = 1; key <= STORE_REFUSALS + 4; key++)
        world_refused(w, "press", s, FLIP_OLD, key);
    world_command(w, "press", EV_FLIP);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    for (uint64_t key = 1; key <= STORE_REFUSALS; key++)
        world_refused(w, "press", s, FLIP_NEW, key);
    world_phase(w, "press", FLIP_TRIAL);
    world_refused(w, "press", s, FLIP_NEW, STORE_REFUSALS + 1); /* so many are remembered */
    world_phase(w, "press", FLIP_ROLLED_BACK);
}

/* Our own requests have no counterpart on the old leg. */
/* The habits of a device are known after a restart in the middle of its trial, as long as the old
 * identity is the one that they were seen with. */
static void what_was_refused_before_is_known_after_a_restart(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_leg(w, "press", s, FLIP_OLD, DIAG_OK);
    for (uint64_t key = 1; key < STORE_REFUSALS; key++)
        world_refused(w, "press", s, FLIP_OLD, UINT64_MAX - key);
    world_command(w, "press", EV_FLIP);
    w->fail_saves = 1;
    world_refused(w, "press", s, FLIP_OLD, 0x1234); /* heard while the new one is dialled */
    world_pass(w, 10000);
    world_stop(w);
    world_start(w);
    s = world_up(w, 0, "press");
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    for (uint64_t key = 1; key < STORE_REFUSALS; key++)
        world_refused(w, "press", s, FLIP_NEW, UINT64_MAX - key);
    world_refused(w, "press", s, FLIP_NEW, 0x1234);
    world_phase(w, "press", FLIP_TRIAL);
    world_stop(w);
    w->device[0].fp[FLIP_OLD] = 7;
    world_start(w);
    s = world_up(w, 0, "press");
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_refused(w, "press", s, FLIP_NEW, 0x1234);
    world_phase(w, "press", FLIP_ROLLED_BACK);
}

/* Files that cannot be read for a while change nothing, another identity does. */
static void what_was_refused_belongs_to_an_identity(void **state)
{
    struct world *w = *state;
    struct hub_reload out = {0};
    struct err err = {0};
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_leg(w, "press", s, FLIP_OLD, DIAG_OK);
    world_refused(w, "press", s, FLIP_OLD, 0x1234);
    w->device[0].fault[FLIP_OLD] = "chain.pem: permission denied";
    assert_int_equal(hub_reload(w->hub, &w->snapshot, &out, &err), 0);
    w->device[0].fault[FLIP_OLD] = NULL;
    assert_int_equal(hub_reload(w->hub, &w->snapshot, &out, &err), 0);
    assert_non_null(hub_find(w->hub, "press")->refusals);
    w->device[0].fp[FLIP_OLD] = 7;
    assert_int_equal(hub_reload(w->hub, &w->snapshot, &out, &err), 0);
    assert_null(hub_find(w->hub, "press")->refusals);
}

static void a_refusal_of_ours_is_always_unexpected(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_leg(w, "press", s, FLIP_OLD, DIAG_OK);
    world_refused(w, "press", s, FLIP_OLD, 0);
    world_command(w, "press", EV_FLIP);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_refused(w, "press", s, FLIP_NEW, 0);
    world_phase(w, "press", FLIP_ROLLED_BACK);
}

/* -- reboots -- */

/* A trial that awaits its confirmation for 600 s, 100 s of which have passed; then the power goes.
 */
static void await_then_power_cut(struct world *w)
{
    static const struct hub_terms terms = {.confirm = FLIP_CONFIRM_CENTRAL, .confirm_ms = 600000};
    uint64_t s;

    w->wall_s = 2000000000;
    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_command_with(w, "press", EV_FLIP, &terms, 0);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_pass(w, 100000); /* probation ends within, which writes the row at 60 s */
    w->wall_s += 100;
    world_stop(w);
}

static int64_t left_ms(const struct world *w)
{
    return hub_find(w->hub, "press")->flip.dead_ms - w->now_ms;
}

static void a_restart_of_the_daemon_keeps_the_deadline(void **state)
{
    struct world *w = *state;

    await_then_power_cut(w);
    w->now_ms += 7000;
    w->wall_s = 60; /* of no importance: CLOCK_BOOTTIME is the same one */
    world_start(w);
    assert_int_equal(left_ms(w), 493000);
}

static void a_reboot_counts_the_time_of_being_off(void **state)
{
    struct world *w = *state;

    await_then_power_cut(w);
    w->boot = "second boot";
    w->now_ms = 20000;
    w->wall_s += 200; /* off, and 20 s up */
    world_start(w);
    /* The row was written when probation ended, at 60 s; the world's wall clock stood still. */
    assert_int_equal(left_ms(w), 540000 - 300000);
    world_pass(w, 239999);
    world_phase(w, "press", FLIP_TRIAL);
    world_pass(w, 1);
    world_phase(w, "press", FLIP_ROLLED_BACK);
}

static void a_reboot_after_the_deadline_goes_back_at_once(void **state)
{
    struct world *w = *state;

    await_then_power_cut(w);
    w->boot = "second boot";
    w->now_ms = 20000;
    w->wall_s += 86400;
    world_start(w);
    world_pass(w, 1000);
    world_phase(w, "press", FLIP_ROLLED_BACK);
}

/* The same for the time by which a flip has to begin. */
/* Somebody else wrote to the database: one device begins anew, and nothing else comes of it. */
static void a_row_with_times_that_cannot_be_is_damaged(void **state)
{
    static const int64_t bad[][3] = {
        /* saved_s, begin_by_s, dead_left_ms */
        {INT64_MIN, 0, 0},          {INT64_MAX, 0, 0},          {0, INT64_MAX, 0},
        {2000000000, INT64_MIN, 0}, {2000000000, 0, INT64_MAX}, {2000000000, 0, INT64_MIN},
    };
    struct world *w = *state;
    struct store_device row;

    await_then_power_cut(w);
    w->boot = "second boot";
    assert_int_equal(store_device_get(w->store, "press", &row, NULL), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        row.saved_s = bad[i][0];
        row.begin_by_s = bad[i][1];
        row.dead_left_ms = bad[i][2];
        assert_int_equal(store_device_put(w->store, &row, NULL), 0);
        world_start(w);
        world_phase(w, "press", FLIP_STAGED); /* its new identity lies there still */
        world_stop(w);
    }
}

static void a_flip_that_has_to_begin_survives_clocks_and_reboots(void **state)
{
    static const struct {
        const char *boot;
        int64_t wall_s, left_ms;
    } starts[] = {
        {"first boot", 60, 600000},                                 /* BOOTTIME goes on */
        {"second boot", 2000000000 + 100, 500000},                  /* off for 100 s */
        {"third boot", 2000000000 + INT64_C(3652) * 86400, 500000}, /* not credible */
        {"fourth boot", 60, 500000},                                /* nor this */
    };
    struct world *w = *state;

    w->wall_s = 2000000000;
    world_device(w, "press", 1, 2);
    world_start(w);
    world_command_with(w, "press", EV_FLIP, &(struct hub_terms){.not_after_s = 2000000600}, 0);
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        world_stop(w);
        w->boot = starts[i].boot;
        w->now_ms = i == 0 ? w->now_ms : 20000;
        w->wall_s = starts[i].wall_s;
        world_start(w);
        assert_int_equal(hub_find(w->hub, "press")->flip.begin_by_ms - w->now_ms,
                         starts[i].left_ms);
        if (i == 0)
            w->wall_s = 2000000000; /* set right, and the row is written with it */
        if (i == 0) {
            world_up(w, 0, "press");
            world_stop(w);
            world_start(w);
        }
    }
    world_pass(w, 500000);
    world_phase(w, "press", FLIP_STAGED);
}

/* The battery of the clock is empty, or somebody set it: neither ends the wait, nor does it go on
 * for ever, as each such start counts. */
static void a_clock_that_cannot_be_right_neither_ends_nor_prolongs_the_wait(void **state)
{
    static const int64_t clocks[] = {60, 2000000000 + INT64_C(3652) * 86400};
    struct world *w = *state;

    await_then_power_cut(w);
    for (size_t i = 0; i < 2; i++) {
        w->boot = i == 0 ? "second boot" : "third boot";
        w->now_ms = 20000;
        w->wall_s = clocks[i];
        world_start(w);
        world_phase(w, "press", FLIP_TRIAL);
        assert_int_equal(left_ms(w), 540000);
        assert_int_equal(hub_find(w->hub, "press")->flip.attempts, i + 2);
        world_stop(w);
    }
    w->boot = "fourth boot";
    w->wall_s = 60;
    world_start(w);
    world_phase(w, "press", FLIP_ROLLED_BACK);
}

static void every_phase_survives_a_restart(void **state)
{
    struct world *w = *state;
    uint64_t s;

    world_device(w, "back", 1, 2);
    world_device(w, "committed", 1, 2);
    world_device(w, "staged", 1, 2);
    world_device(w, "steady", 1, 0);
    world_start(w);
    s = world_up(w, 0, "committed");
    world_command(w, "committed", EV_FLIP);
    world_leg(w, "committed", s, FLIP_NEW, DIAG_OK);
    world_command(w, "back", EV_FLIP);
    world_command(w, "back", EV_ROLLBACK);
    world_pass(w, 60000);
    world_stop(w);

    world_start(w);
    world_phase(w, "back", FLIP_ROLLED_BACK);
    assert_string_equal(hub_find(w->hub, "back")->reason, "by command");
    world_phase(w, "committed", FLIP_COMMITTED);
    assert_int_equal(hub_find(w->hub, "committed")->told_slot, FLIP_NEW);
    world_phase(w, "staged", FLIP_STAGED);
    world_phase(w, "steady", FLIP_STEADY);
}

static void an_identity_that_is_gone_after_a_restart_is_not_used(void **state)
{
    struct world *w = *state;
    struct world_device *committed, *trial;
    uint64_t s;

    committed = world_device(w, "committed", 1, 2);
    trial = world_device(w, "trial", 1, 2);
    world_start(w);
    s = world_up(w, 0, "committed");
    world_command(w, "committed", EV_FLIP);
    world_leg(w, "committed", s, FLIP_NEW, DIAG_OK);
    world_pass(w, 60000);
    world_command(w, "trial", EV_FLIP);
    world_stop(w);
    committed->fp[FLIP_NEW] = 0;
    trial->fault[FLIP_NEW] = "key.pem: permission denied";

    world_start(w);
    world_phase(w, "committed", FLIP_ROLLED_BACK);
    world_phase(w, "trial", FLIP_ROLLED_BACK);
    assert_non_null(strstr(hub_find(w->hub, "trial")->reason, "key.pem: permission denied"));
}

static void another_new_identity_ends_the_quarantine(void **state)
{
    struct world *w = *state;
    struct world_device *d = world_device(w, "press", 1, 2);

    world_start(w);
    world_command(w, "press", EV_FLIP);
    world_command(w, "press", EV_ROLLBACK);
    world_stop(w);
    world_start(w);
    world_phase(w, "press", FLIP_ROLLED_BACK);
    world_stop(w);
    d->fp[FLIP_NEW] = 3;
    world_start(w);
    world_phase(w, "press", FLIP_STAGED);
}

static void events_are_numbered_on_over_restarts(void **state)
{
    struct world *w = *state;
    int64_t epoch, again;

    world_device(w, "press", 1, 2);
    world_start(w);
    world_command(w, "press", EV_FLIP);
    assert_int_equal(hub_event_seq(w->hub, &epoch), 2);
    assert_true(epoch > 0);
    world_stop(w);
    world_start(w);
    assert_int_equal(hub_event_seq(w->hub, &again), 2);
    assert_int_equal(again, epoch);
    world_command(w, "press", EV_ROLLBACK);
    world_expect(w, "press: use old, stored rolled-back\n"
                    "3 press: trial -> rolled-back, rollback by tester\n"
                    "4 press: rolled-back -> rolled-back, rolled by certflipd\n");
}

/* Numbers that begin anew have another epoch; it takes no room on a disk that is full. */
static void another_count_has_another_epoch(void **state)
{
    struct world *w = *state;
    struct err err = {0};
    int64_t epoch, again;

    world_start(w);
    assert_int_equal(hub_event_seq(w->hub, &epoch), 0);
    world_stop(w);
    world_start(w); /* nothing was told by that count */
    assert_int_equal(hub_event_seq(w->hub, &again), 0);
    assert_int_not_equal(again, epoch);
    world_stop(w);
    world_device(w, "press", 1, 2);
    world_hub(w);
    assert_int_equal(hub_start(w->hub, &err), 0);
    w->fail_saves = 1;
    assert_int_equal(hub_flush(w->hub, &err),
                     -ERR_STORE); /* and what could not be saved counts not */
    assert_int_equal(hub_event_seq(w->hub, &epoch), 0);
    world_pass(w, HUB_RETRY_MS);
    assert_int_equal(hub_event_seq(w->hub, &again), 1);
    assert_int_equal(again, epoch);
    world_stop(w);
    world_start(w);
    hub_event_seq(w->hub, &again);
    assert_int_equal(again, epoch);
}

/* -- reload -- */

static void reload(struct world *w, size_t changed, size_t added, size_t gone)
{
    struct hub_reload what = {0};
    struct err err = {0};

    world_forget(w);
    assert_int_equal(hub_reload(w->hub, &w->snapshot, &what, &err), 0);
    assert_int_equal(what.changed, changed);
    assert_int_equal(what.added, added);
    assert_int_equal(what.gone, gone);
}

#define CONF_TOLD "message 0 to 0\nmessage 0 to 1\n"

static void a_reload_finds_what_changed_on_disk(void **state)
{
    struct world *w = *state;
    struct world_device *press = world_device(w, "press", 1, 0);

    world_device(w, "other", 1, 0);
    world_start(w);
    reload(w, 0, 0, 0);
    world_expect(w, CONF_TOLD);

    press->fp[FLIP_NEW] = 2;
    reload(w, 1, 0, 0);
    world_expect(w, CONF_TOLD "press: use old, changed, stored steady\n"
                              "1 press: steady -> staged, installed by certflipd\n");
    press->fp[FLIP_NEW] = 0;
    world_device(w, "third", 1, 0);
    reload(w, 1, 1, 0);
    world_phase(w, "press", FLIP_STEADY);
    press->gone = true;
    reload(w, 0, 0, 1);
    world_expect(w, CONF_TOLD "press: gone\n");
    assert_null(hub_find(w->hub, "press"));
}

static void what_was_decided_about_a_device_that_goes_is_told_first(void **state)
{
    struct world *w = *state;
    struct world_device *press = world_device(w, "press", 1, 2);
    struct rpc_fault f = {0};
    bool changed;

    world_start(w);
    assert_int_equal(hub_command(w->hub, hub_find(w->hub, "press"), EV_FLIP, &(struct hub_terms){0},
                                 NULL, NULL, "tester", &changed, &f),
                     0);
    press->gone = true;
    reload(w, 0, 0, 1);
    world_expect(w, "press: use new, stored trial\n"
                    "2 press: staged -> trial, flip by tester\n" CONF_TOLD "press: gone\n");
}

static void without_a_folder_of_identities_a_reload_changes_nothing(void **state)
{
    struct world *w = *state;
    struct wk_snapshot another = w->snapshot;
    struct hub_reload what = {0};
    struct err err = {0};

    world_device(w, "press", 1, 2);
    world_start(w);
    w->no_folder = true;
    assert_int_equal(hub_reload(w->hub, &another, &what, &err), -ERR_NOT_FOUND);
    assert_false(what.begun);
    world_expect(w, "");
    assert_ptr_equal(hub_snapshot(w->hub), &w->snapshot);
    assert_non_null(hub_find(w->hub, "press"));
    w->no_folder = false;
    world_command(w, "press", EV_FLIP);
    w->fail_saves = 9;
    world_device(w, "other", 1, 2);
    assert_int_equal(hub_reload(w->hub, &w->snapshot, &what, &err), -ERR_STORE);
    assert_true(what.begun);
    w->fail_saves = 0;
}

static void an_identity_that_replaces_the_one_on_trial_has_to_prove_itself(void **state)
{
    struct world *w = *state;
    struct world_device *press = world_device(w, "press", 1, 2);
    struct store_device row;
    uint64_t s, seq;

    world_start(w);
    s = world_up(w, 0, "press");
    world_command(w, "press", EV_FLIP);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_pass(w, 59000);
    seq = hub_find(w->hub, "press")->told_seq;
    press->fp[FLIP_NEW] = 3;
    reload(w, 1, 0, 0);
    world_expect(w, CONF_TOLD "press: use new, changed, stored trial\n"
                              "press: use new, stored trial\n");
    assert_string_equal(show_waiting(hub_find(w->hub, "press")), "upstream");
    assert_int_equal(store_device_get(w->store, "press", &row, NULL), 0);
    assert_memory_equal(row.fp[FLIP_NEW], "0303", 4);
    world_leg_seq(w, "press", s, FLIP_NEW, DIAG_OK, seq); /* the one before */
    world_pass(w, 60000);
    world_phase(w, "press", FLIP_TRIAL);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_pass(w, 59999);
    world_phase(w, "press", FLIP_TRIAL);
    world_pass(w, 1);
    world_phase(w, "press", FLIP_COMMITTED);
}

static void the_quarantine_stays_when_the_same_files_were_unreadable_for_a_while(void **state)
{
    struct world *w = *state;
    struct world_device *press = world_device(w, "press", 1, 2);

    world_start(w);
    world_command(w, "press", EV_FLIP);
    world_command(w, "press", EV_ROLLBACK);
    press->fault[FLIP_NEW] = "key.pem: permission denied";
    reload(w, 1, 0, 0);
    press->fault[FLIP_NEW] = NULL;
    reload(w, 1, 0, 0);
    world_phase(w, "press", FLIP_ROLLED_BACK);
    press->fault[FLIP_NEW] = "key.pem: permission denied";
    world_stop(w);
    world_start(w);
    press->fault[FLIP_NEW] = NULL;
    reload(w, 1, 0, 0);
    world_phase(w, "press", FLIP_ROLLED_BACK);
    press->fp[FLIP_NEW] = 3;
    reload(w, 1, 0, 0);
    world_phase(w, "press", FLIP_STAGED);
}

static void a_fault_begins_with_the_file(void **state)
{
    struct world *w = *state;
    struct hub_counts counts;

    world_device(w, "press", 1, 2)->fault[FLIP_NEW] =
        "device press: new identity: chain.pem: no certificate in it";
    world_device(w, "saw", 1, 2)->fault[FLIP_OLD] = "key.pem: permission denied";
    world_device(w, "fine", 1, 2);
    world_start(w);
    assert_string_equal(hub_find(w->hub, "press")->fault[FLIP_NEW],
                        "chain.pem: no certificate in it");
    assert_string_equal(hub_find(w->hub, "saw")->fault[FLIP_OLD], "key.pem: permission denied");
    hub_count(w->hub, &counts);
    assert_int_equal(counts.faulty, 2);
}

static void a_flip_needs_a_usable_new_identity(void **state)
{
    struct world *w = *state;

    world_device(w, "none", 1, 0);
    world_device(w, "faulty", 1, 2)->fault[FLIP_NEW] = "chain.pem: no certificate in it";
    world_start(w);
    assert_string_equal(world_command(w, "none", EV_FLIP), "no-identity");
    assert_string_equal(world_command(w, "faulty", EV_FLIP), "no-identity");
    world_device(w, "expired", 1, WORLD_FP_EXPIRED);
    world_device(w, "early", 1, WORLD_FP_EARLY);
    reload(w, 0, 2, 0);
    assert_string_equal(world_command(w, "expired", EV_FLIP), "lint");
    assert_string_equal(world_command(w, "early", EV_FLIP), "lint");
    world_phase(w, "expired", FLIP_STAGED);
    assert_string_equal(world_command(w, "none", EV_ROLLBACK), "phase");
    assert_string_equal(world_command(w, "none", EV_CLEARED), "phase");
}

static const struct hub_terms forced = {.force = true};

/* Time may mend a date, and a clock may be wrong: so only what nothing but another certificate
 * mends keeps one from being staged. */
static void an_error_of_lint_keeps_the_new_identity_from_being_staged(void **state)
{
    struct world *w = *state;
    struct world_device *weak = world_device(w, "weak", 1, WORLD_FP_WEAK);
    struct hub_counts counts;

    world_device(w, "soon", 1, WORLD_FP_SOON);
    world_start(w);
    world_phase(w, "weak", FLIP_STEADY);
    world_phase(w, "soon", FLIP_STAGED);
    assert_non_null(strstr(hub_find(w->hub, "weak")->fault[FLIP_NEW], "[lint.weak-key]"));
    assert_null(hub_find(w->hub, "soon")->fault[FLIP_NEW]);
    hub_count(w->hub, &counts);
    assert_int_equal(counts.faulty, 1);
    assert_string_equal(world_command(w, "weak", EV_FLIP), "lint");
    world_phase(w, "weak", FLIP_STEADY);
    weak->fp[FLIP_NEW] = 2;
    reload(w, 1, 0, 0);
    world_phase(w, "weak", FLIP_STAGED);
    assert_null(hub_find(w->hub, "weak")->fault[FLIP_NEW]);
    weak->fp[FLIP_NEW] = WORLD_FP_WEAK;
    reload(w, 1, 0, 0);
    world_phase(w, "weak", FLIP_STEADY);
    assert_string_equal(world_command(w, "soon", EV_FLIP), "ok");
}

static void force_overrides_lint_but_not_a_key_that_does_not_match(void **state)
{
    struct world *w = *state;

    world_device(w, "weak", 1, WORLD_FP_WEAK);
    world_device(w, "expired", 1, WORLD_FP_EXPIRED);
    world_device(w, "hopeless", 1, WORLD_FP_HOPELESS);
    world_start(w);
    assert_string_equal(world_command_with(w, "weak", EV_FLIP, &forced, 0), "ok");
    world_phase(w, "weak", FLIP_TRIAL);
    assert_null(hub_find(w->hub, "weak")->fault[FLIP_NEW]);
    assert_string_equal(world_command_with(w, "expired", EV_FLIP, &forced, 0), "ok");
    world_phase(w, "expired", FLIP_TRIAL);
    assert_string_equal(world_command_with(w, "hopeless", EV_FLIP, &forced, 0), "lint");
    world_phase(w, "hopeless", FLIP_STEADY);
}

/* Also over a restart, and a disk that is full for a while takes nothing away. */
static void an_identity_in_use_goes_on_whatever_lint_says(void **state)
{
    struct world *w = *state;

    world_device(w, "weak", WORLD_FP_EXPIRED, WORLD_FP_WEAK);
    world_start(w);
    assert_non_null(hub_find(w->hub, "weak")->cred[FLIP_OLD]);
    assert_null(hub_find(w->hub, "weak")->fault[FLIP_OLD]);
    assert_true(hub_lint_now(w->hub, hub_find(w->hub, "weak"), FLIP_OLD).errors >> LINT_EXPIRED &
                1);
    w->fail_saves = 1;
    assert_string_equal(world_command_with(w, "weak", EV_FLIP, &forced, 0), "store");
    world_phase(w, "weak", FLIP_STEADY);
    assert_string_equal(world_command_with(w, "weak", EV_FLIP, &forced, 0), "ok");
    world_stop(w);
    world_hub(w);
    world_start(w);
    world_phase(w, "weak", FLIP_TRIAL);
    reload(w, 0, 0, 0);
    world_phase(w, "weak", FLIP_TRIAL);
    assert_non_null(hub_find(w->hub, "weak")->cred[FLIP_NEW]);
    assert_null(hub_find(w->hub, "weak")->fault[FLIP_NEW]);
}

static bool finds(struct world *w, const char *device, enum flip_slot slot, enum lint_code code)
{
    return (hub_lint_now(w->hub, hub_find(w->hub, device), slot).warnings >> code & 1) != 0;
}

static bool is_reused(struct world *w, const char *device, enum flip_slot slot)
{
    return finds(w, device, slot, LINT_KEY_REUSED);
}

static void keys_that_are_there_twice_are_found(void **state)
{
    struct world *w = *state;
    struct world_device *one = world_device(w, "one", 1, 9);

    world_device(w, "two", 9, 2);
    world_start(w);
    assert_true(is_reused(w, "one", FLIP_NEW));
    assert_true(is_reused(w, "two", FLIP_OLD));
    assert_false(is_reused(w, "one", FLIP_OLD));
    one->fp[FLIP_NEW] = 3;
    reload(w, 1, 0, 0);
    assert_false(is_reused(w, "two", FLIP_OLD));
}

/* What is published of a device is true though nothing has happened to itself. */
static void who_follows_is_told_what_another_device_has_changed(void **state)
{
    struct world *w = *state;
    struct world_device *one = world_device(w, "one", 1, 9);

    world_device(w, "two", 9, 2);
    world_start(w);
    w->changes = 0;
    hub_lint_watch(w->hub); /* as it was told at the start */
    hub_lint_watch(w->hub);
    assert_int_equal(w->changes, 0);
    one->fp[FLIP_NEW] = 3;
    reload(w, 1, 0, 0);
    assert_string_equal(w->changed, "one");
    hub_lint_watch(w->hub);
    assert_string_equal(w->changed, "two");
    w->changes = 0;
    hub_lint_watch(w->hub);
    assert_int_equal(w->changes, 0);
}

/* -- the end of an identity -- */

static const char *retire(struct world *w, const char *device)
{
    static char name[32];
    struct rpc_fault f = {0};
    struct err err = {0};
    bool changed = false;

    hub_retire(w->hub, hub_find(w->hub, device), "tester", &changed, &f);
    snprintf(name, sizeof(name), "%s",
             f.code != RPC_OK ? rpc_error_name(f.code)
             : changed        ? "ok"
                              : "there");
    rpc_fault_fini(&f);
    return hub_flush(w->hub, &err) != 0 ? "not saved" : name;
}

static const char *discard(struct world *w, const char *device)
{
    static char name[32];
    struct rpc_fault f = {0};
    struct err err = {0};
    bool changed = false;

    hub_discard(w->hub, hub_find(w->hub, device), "tester", &changed, &f);
    snprintf(name, sizeof(name), "%s",
             f.code != RPC_OK ? rpc_error_name(f.code)
             : changed        ? "ok"
                              : "there");
    rpc_fault_fini(&f);
    return hub_flush(w->hub, &err) != 0 ? "not saved" : name;
}

static const char *put(struct world *w, const char *device, const char *chain)
{
    const struct files_slot what = {.key = slice_of("k"), .chain = slice_of(chain)};
    static char name[32];
    struct rpc_fault f = {0};
    struct err err = {0};

    hub_put_new(w->hub, hub_find(w->hub, device), &what, true, "tester", &f);
    snprintf(name, sizeof(name), "%s", f.code != RPC_OK ? rpc_error_name(f.code) : "ok");
    rpc_fault_fini(&f);
    return hub_flush(w->hub, &err) != 0 ? "not saved" : name;
}

static void what_is_there_twice_is_told_after_an_install_too(void **state)
{
    struct world *w = *state;
    struct rpc_fault f = {0};
    const struct files_slot seven = {.key = slice_of("k"), .chain = slice_of("\7")};
    struct err err = {0};

    world_device(w, "one", 7, 0);
    world_device(w, "two", 2, 0);
    world_device(w, "three", 3, 0);
    world_start(w);
    assert_false(is_reused(w, "one", FLIP_OLD));

    /* The answer, before anything is saved, says so already. */
    assert_int_equal(hub_put_new(w->hub, hub_find(w->hub, "two"), &seven, true, "tester", &f), 0);
    assert_true(is_reused(w, "two", FLIP_NEW));
    assert_int_equal(hub_flush(w->hub, NULL), 0);
    assert_true(is_reused(w, "two", FLIP_NEW));
    assert_true(is_reused(w, "one", FLIP_OLD));
    assert_false(is_reused(w, "two", FLIP_OLD));

    /* Between the slots of one device, and of more than two. */
    assert_string_equal(put(w, "one", "\7"), "ok");
    assert_string_equal(discard(w, "two"), "ok");
    assert_true(is_reused(w, "one", FLIP_OLD));
    assert_true(is_reused(w, "one", FLIP_NEW));
    assert_string_equal(discard(w, "one"), "ok");
    assert_false(is_reused(w, "one", FLIP_OLD));

    /* What could not be saved is not there. */
    w->fail_saves = 1;
    assert_string_equal(put(w, "two", "\7"), "not saved");
    assert_false(is_reused(w, "one", FLIP_OLD));

    /* A device that is imported, and goes again. */
    world_device(w, "four", 3, 0);
    assert_int_equal(hub_load_device(w->hub, "four", &err), 0);
    assert_int_equal(hub_flush(w->hub, NULL), 0);
    assert_true(is_reused(w, "three", FLIP_OLD));
    w->device[3].gone = true;
    reload(w, 0, 0, 1);
    assert_false(is_reused(w, "three", FLIP_OLD));
}

static void a_serial_number_that_is_there_twice_is_told_after_an_install_too(void **state)
{
    struct world *w = *state;

    world_device(w, "one", WORLD_FP_TWIN, 0);
    world_device(w, "two", WORLD_FP_TWIN, 0);
    world_device(w, "three", 3, 0);
    world_start(w);
    assert_false(finds(w, "one", FLIP_OLD, LINT_SERIAL_REUSED)); /* it is the same certificate */
    assert_true(is_reused(w, "one", FLIP_OLD));
    assert_string_equal(put(w, "three", "\xe6"), "ok"); /* WORLD_FP_OTHER_TWIN */
    assert_true(finds(w, "one", FLIP_OLD, LINT_SERIAL_REUSED));
    assert_true(finds(w, "three", FLIP_NEW, LINT_SERIAL_REUSED));
    assert_false(finds(w, "three", FLIP_OLD, LINT_SERIAL_REUSED));
    assert_string_equal(discard(w, "three"), "ok");
    assert_false(finds(w, "one", FLIP_OLD, LINT_SERIAL_REUSED));
}

static void files_that_could_not_be_put_back_are_not_flipped_to(void **state)
{
    struct world *w = *state;

    world_device(w, "press", 1, 2);
    world_start(w);
    w->fail_saves = w->fail_backs = 1;
    assert_string_equal(put(w, "press", "\3"), "not saved");
    assert_int_equal(w->device[0].fp[FLIP_NEW], 3); /* and the hub has the former one */
    assert_string_equal(world_command(w, "press", EV_FLIP), "store");
    world_phase(w, "press", FLIP_STAGED);
    reload(w, 1, 0, 0);
    assert_string_equal(world_command(w, "press", EV_FLIP), "ok");
}

/* Committed, with a session on the new identity; returns it. */
static uint64_t committed(struct world *w, struct world_device **on_disk)
{
    uint64_t s;

    *on_disk = world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    world_leg(w, "press", s, FLIP_OLD, DIAG_OK);
    world_command(w, "press", EV_FLIP);
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_command(w, "press", EV_COMMIT);
    world_phase(w, "press", FLIP_COMMITTED);
    world_forget(w);
    return s;
}

static void a_retired_identity_leaves_sessions_where_they_are(void **state)
{
    struct world *w = *state;
    struct world_device *disk;
    struct store_device row;
    uint64_t s = committed(w, &disk), before = hub_find(w->hub, "press")->told_seq;
    const struct hub_device *d = hub_find(w->hub, "press");
    char fp[CERT_FP_TEXT];

    assert_string_equal(retire(w, "press"), "ok");
    world_expect(w, "press: use old, retired, stored steady\n"
                    "5 press: committed -> steady, retired by tester\n");
    world_phase(w, "press", FLIP_STEADY);
    assert_int_equal(disk->fp[FLIP_OLD], 2);
    assert_int_equal(disk->fp[FLIP_NEW], 0);
    assert_true(hub_stands_on(d, FLIP_OLD) && !hub_stands_on(d, FLIP_NEW));
    assert_int_equal(d->leg->slot, FLIP_OLD);
    assert_null(d->cred[FLIP_NEW]);
    assert_int_equal(store_device_get(w->store, "press", &row, NULL), 0);
    str_hex(fp, cred_leaf(d->cred[FLIP_OLD])->fp, CERT_FP_BYTES);
    assert_string_equal(row.fp[FLIP_OLD], fp);
    assert_string_equal(row.fp[FLIP_NEW], "");
    /* What a worker told before it heard of it is of the slots as they were. */
    world_lost(w, "press", s, FLIP_NEW, DIAG_NETWORK);
    world_leg_seq(w, "press", s, FLIP_NEW, DIAG_OK, before);
    assert_true(hub_stands_on(d, FLIP_OLD) && !hub_stands_on(d, FLIP_NEW));
    world_leg(w, "press", s, FLIP_OLD, DIAG_OK);
    world_expect(w, "");
    /* The next one is staged and flipped as the first. */
    assert_string_equal(put(w, "press", "\3"), "ok");
    world_phase(w, "press", FLIP_STAGED);
    assert_string_equal(world_command(w, "press", EV_FLIP), "ok");
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_phase(w, "press", FLIP_TRIAL);
    assert_true(d->flip.accepted);
}

static void what_cannot_be_saved_is_put_back(void **state)
{
    struct world *w = *state;
    struct world_device *disk;
    uint64_t s = committed(w, &disk);
    const struct hub_device *d = hub_find(w->hub, "press");

    w->fail_saves = 1;
    assert_string_equal(retire(w, "press"), "not saved");
    w->fail_files = 1;
    assert_string_equal(retire(w, "press"), "store");
    world_phase(w, "press", FLIP_COMMITTED);
    assert_int_equal(disk->fp[FLIP_OLD], 1);
    assert_int_equal(disk->fp[FLIP_NEW], 2);
    assert_true(hub_stands_on(d, FLIP_NEW));
    assert_int_equal(cred_leaf(d->cred[FLIP_OLD])->fp[0], 1);
    assert_int_equal(cred_leaf(d->cred[FLIP_NEW])->fp[0], 2);
    assert_int_equal(d->retired_seq, 0);
    world_expect(w, "");
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    world_phase(w, "press", FLIP_COMMITTED);

    world_command(w, "press", EV_ROLLBACK);
    world_leg(w, "press", s, FLIP_OLD, DIAG_OK);
    w->fail_saves = 1;
    assert_string_equal(discard(w, "press"), "not saved");
    assert_int_equal(disk->fp[FLIP_NEW], 2);
    assert_non_null(d->cred[FLIP_NEW]);
    w->fail_saves = 1;
    assert_string_equal(put(w, "press", "\3"), "not saved");
    assert_int_equal(disk->fp[FLIP_NEW], 2);
    assert_int_equal(cred_leaf(d->cred[FLIP_NEW])->fp[0], 2);
    world_phase(w, "press", FLIP_ROLLED_BACK);
    assert_non_null(d->reason);
    assert_string_equal(put(w, "press", "\xe0"), "no-identity"); /* it has expired */
    assert_int_equal(disk->fp[FLIP_NEW], 2);
    assert_string_equal(discard(w, "press"), "ok");
    assert_int_equal(disk->fp[FLIP_NEW], 0);
    world_phase(w, "press", FLIP_STEADY);
    assert_string_equal(discard(w, "press"), "there");
}

static void the_way_back_is_kept_as_long_as_it_may_be_needed(void **state)
{
    struct world *w = *state;
    struct world_device *disk;
    uint64_t s = committed(w, &disk);

    world_leg(w, "press", s, FLIP_NEW, DIAG_IDENTITY); /* the old one is tried */
    assert_string_equal(retire(w, "press"), "phase");
    world_leg(w, "press", s, FLIP_OLD, DIAG_NETWORK); /* neither is taken */
    assert_string_equal(retire(w, "press"), "phase");
    world_leg(w, "press", s, FLIP_NEW, DIAG_OK);
    assert_string_equal(retire(w, "press"), "ok");
    assert_string_equal(retire(w, "press"), "phase");
    assert_int_equal(disk->fp[FLIP_OLD], 2);
}

/* The power goes between the files and the row. */
static void a_retirement_is_finished_by_the_next_start(void **state)
{
    struct world *w = *state;
    struct world_device *disk;

    committed(w, &disk);
    world_stop(w);
    disk->fp[FLIP_OLD] = 2;
    disk->fp[FLIP_NEW] = 0;
    world_start(w);
    world_phase(w, "press", FLIP_STEADY);
    assert_int_equal(cred_leaf(hub_find(w->hub, "press")->cred[FLIP_OLD])->fp[0], 2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_make, world_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_retired_identity_leaves_sessions_where_they_are),
        TEST(what_cannot_be_saved_is_put_back),
        TEST(the_way_back_is_kept_as_long_as_it_may_be_needed),
        TEST(a_retirement_is_finished_by_the_next_start),
        TEST(what_is_intended_is_durable_before_workers_hear_of_it),
        TEST(a_rejected_identity_is_rolled_back),
        TEST(what_is_not_the_identitys_fault_keeps_the_trial),
        TEST(a_command_goes_back_and_says_when_the_session_is_there),
        TEST(late_news_of_an_earlier_decision_decides_nothing),
        TEST(a_trial_pauses_while_the_sensor_is_away),
        TEST(a_suspicion_is_left_to_the_session),
        TEST(where_the_old_connection_stands_suspicion_decides_nothing),
        TEST(a_committed_identity_that_is_rejected_goes_back_only_if_the_old_one_works),
        TEST(a_committed_identity_that_is_rejected_where_the_old_one_stands_goes_back),
        TEST(the_old_identity_is_tried_as_often_as_the_waits_allow),
        TEST(confirmation_names_the_certificate),
        TEST(without_confirmation_in_time_it_goes_back),
        TEST(only_so_many_live_sessions_move_at_a_time),
        TEST(a_device_that_leaves_the_queue_does_not_wait_on),
        TEST(a_turn_ends_by_itself_when_nothing_is_heard),
        TEST(a_way_back_by_command_takes_turns),
        TEST(a_way_back_of_a_refused_identity_does_not_wait),
        TEST(ways_back_come_before_flips),
        TEST(an_outage_stops_the_queue),
        TEST(the_loss_of_the_old_leg_is_not_the_end_of_a_turn),
        TEST(the_newest_connection_of_a_device_wins),
        TEST(one_of_several_sessions_on_the_new_identity_carries_a_trial),
        TEST(a_device_is_back_when_a_session_stands_on_the_old_identity),
        TEST(a_command_that_cannot_be_saved_does_nothing),
        TEST(news_that_cannot_be_saved_is_taken_again),
        TEST(a_command_in_vain_does_not_forget_the_news_that_waits_to_be_saved),
        TEST(a_command_in_vain_does_not_forget_that_nothing_was_tried_yet),
        TEST(a_command_in_vain_costs_no_probation_that_waits_to_be_saved),
        TEST(an_acceptance_that_is_saved_late_is_an_attempt),
        TEST(an_acceptance_is_not_saved_late_when_its_connection_is_gone),
        TEST(a_connection_that_is_lost_stays_so_whatever_cannot_be_saved),
        TEST(a_connection_that_came_back_is_another_one),
        TEST(a_command_in_vain_takes_no_service_away),
        TEST(what_was_done_is_not_called_undone_for_what_follows),
        TEST(a_command_in_vain_leaves_the_time_of_the_latest_change),
        TEST(the_old_identity_serves_while_its_rollback_cannot_be_saved),
        TEST(a_trial_whose_rollback_cannot_be_saved_is_served_by_the_old_identity),
        TEST(a_loss_that_cannot_be_saved_stops_probation_all_the_same),
        TEST(an_attempt_that_cannot_be_saved_is_counted_later),
        TEST(a_start_on_a_full_disk_serves_as_journalled),
        TEST(a_deadline_that_cannot_be_saved_is_not_tried_over_and_over),
        TEST(later_news_replaces_what_could_not_be_saved),
        TEST(a_trial_is_resumed_until_its_attempts_are_used_up),
        TEST(a_start_that_fails_costs_no_attempt),
        TEST(a_restart_while_the_sensor_is_away_is_no_attempt),
        TEST(without_the_echo_that_was_demanded_it_goes_back),
        TEST(what_was_proven_is_kept_through_the_commit_and_a_restart),
        TEST(an_identity_that_replaces_a_refused_one_is_tried),
        TEST(a_confirmation_does_not_pass_on_to_another_identity),
        TEST(a_lost_leg_takes_its_proof_with_it),
        TEST(proof_that_could_not_be_saved_is_no_proof),
        TEST(proof_of_an_acceptance_that_could_not_be_saved_is_kept),
        TEST(an_acceptance_that_is_told_again_is_no_newer),
        TEST(a_sensor_that_comes_and_goes_does_not_fill_the_audit_log),
        TEST(late_or_foreign_echoes_prove_nothing),
        TEST(an_unexpected_answer_rolls_back),
        TEST(what_was_refused_before_is_not_unexpected),
        TEST(what_was_refused_before_is_known_after_a_restart),
        TEST(what_was_refused_belongs_to_an_identity),
        TEST(a_refusal_of_ours_is_always_unexpected),
        TEST(a_restart_of_the_daemon_keeps_the_deadline),
        TEST(a_reboot_counts_the_time_of_being_off),
        TEST(a_reboot_after_the_deadline_goes_back_at_once),
        TEST(a_row_with_times_that_cannot_be_is_damaged),
        TEST(a_flip_that_has_to_begin_survives_clocks_and_reboots),
        TEST(a_clock_that_cannot_be_right_neither_ends_nor_prolongs_the_wait),
        TEST(every_phase_survives_a_restart),
        TEST(an_identity_that_is_gone_after_a_restart_is_not_used),
        TEST(another_new_identity_ends_the_quarantine),
        TEST(events_are_numbered_on_over_restarts),
        TEST(another_count_has_another_epoch),
        TEST(a_reload_finds_what_changed_on_disk),
        TEST(what_was_decided_about_a_device_that_goes_is_told_first),
        TEST(without_a_folder_of_identities_a_reload_changes_nothing),
        TEST(an_identity_that_replaces_the_one_on_trial_has_to_prove_itself),
        TEST(the_quarantine_stays_when_the_same_files_were_unreadable_for_a_while),
        TEST(a_fault_begins_with_the_file),
        TEST(a_flip_needs_a_usable_new_identity),
        TEST(an_error_of_lint_keeps_the_new_identity_from_being_staged),
        TEST(force_overrides_lint_but_not_a_key_that_does_not_match),
        TEST(an_identity_in_use_goes_on_whatever_lint_says),
        TEST(keys_that_are_there_twice_are_found),
        TEST(who_follows_is_told_what_another_device_has_changed),
        TEST(what_is_there_twice_is_told_after_an_install_too),
        TEST(files_that_could_not_be_put_back_are_not_flipped_to),
        TEST(a_serial_number_that_is_there_twice_is_told_after_an_install_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
