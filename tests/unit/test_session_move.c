/* The new slot's profile names another broker: the device moves there, and back, and leaves at the
 * former broker what it would leave by going.  Two addresses may be one broker, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session_world.h"

#define CLEAN_UP "CONNECT 3.1.1 d1 clean ka=60"

static const struct world_args abroad = {.other = "", .other_host = "127.0.0.2"};
static const struct world_args next_door = {.other = ""}; /* the same host, another port */

static const struct mqtt_connect clean_will = {.client_id = {(const uint8_t *)"d1", 2},
                                               .keepalive_s = 60,
                                               .clean = true,
                                               .has_will = true,
                                               .will_topic = {(const uint8_t *)"w", 1}};

static struct session *the_session(struct world *w)
{
    return world_session(w, "d1");
}

/* A leg of the other broker, with the new identity. */
static struct end *there(struct world *w, int version)
{
    struct end *e = broker_next(w);

    assert_true(e->of_other);
    assert_string_equal(e->cn, "new");
    e->version = version;
    return e;
}

static struct end *here(struct world *w, int version)
{
    struct end *e = broker_next(w);

    assert_false(e->of_other);
    assert_string_equal(e->cn, "old");
    e->version = version;
    return e;
}

/* The barrier on the old leg; then CONNECT is awaited on the next. */
static struct end *to_connect(struct world *w, struct pair *p, enum flip_slot slot,
                              const char *connect)
{
    int version = p->brk->version;

    world_use(w, "d1", slot);
    sees(p->brk, "PINGREQ");
    say_ping(p->brk, MQTT_PINGRESP);
    struct end *next = slot == FLIP_NEW ? there(w, version) : here(w, version);
    sees(next, connect);
    return next;
}

/* The leg that is left is alive, says so, and ends as it is told; what it leaves is wiped. */
static void is_left_and_wiped(struct world *w, struct end *left, bool at_other)
{
    sees(left, "PINGREQ");
    sees(left, "DISCONNECT");
    say_ping(left, MQTT_PINGRESP);
    end_finish(left);
    struct end *wipe = at_other ? there(w, MQTT_V311) : here(w, MQTT_V311);
    sees(wipe, CLEAN_UP);
    say_connack(wipe, false, 0, NULL);
    sees(wipe, "DISCONNECT");
    sees_end(wipe);
    assert_true(list_empty(&w->env.cleaners));
}

/* ---- there and back ---- */

static void clean_session_moves_and_leaves_nothing(void **unused)
{
    struct world *w = world_new(&abroad);
    struct pair p = world_open(w, MQTT_V311, &world_clean);
    struct end *was = p.brk;

    (void)unused;
    say_subscribe(p.dev, 1, "c/#", 1);
    sees(p.brk, "SUBSCRIBE #1 c/#:1");
    say_suback(p.brk, MQTT_SUBACK, 1, "\x01", 1);
    sees(p.dev, "SUBACK #1 01");
    p.brk = to_connect(w, &p, FLIP_NEW, "CONNECT 3.1.1 d1 ka=60");
    assert_false(end_has_packet(was)); /* alive until the other one accepts */
    say_publish(was, 0, 0, "c/1", "still here");
    sees(p.dev, "PUBLISH q0 c/1 still here");
    say_connack(p.brk, false, 0, NULL);
    tells(w, "accepted new rehomed replayed=0 restored=1 lost=0");
    sees(p.brk, "SUBSCRIBE #65535 c/#:1");
    say_suback(p.brk, MQTT_SUBACK, 65535, "\x01", 1);
    is_left_and_wiped(w, was, false);
    quiet(&p);
    /* And the way back is the same. */
    was = p.brk;
    p.brk = to_connect(w, &p, FLIP_OLD, "CONNECT 3.1.1 d1 ka=60");
    say_connack(p.brk, false, 0, NULL);
    tells(w, "accepted old rehomed replayed=0 restored=1 lost=0");
    sees(p.brk, "SUBSCRIBE #65535 c/#:1");
    say_suback(p.brk, MQTT_SUBACK, 65535, "\x01", 1);
    is_left_and_wiped(w, was, true);
    quiet(&p);
    /* In the end nothing is left where it is. */
    say_disconnect(p.dev, 0, NULL);
    sees(p.brk, "DISCONNECT");
    end_finish(p.brk);
    struct end *wipe = here(w, MQTT_V311);
    sees(wipe, CLEAN_UP);
}

static void unfinished_publishes_are_new_to_another_broker(void **unused)
{
    struct world *w = world_new(&abroad);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    say_publish(p.dev, 1, 3, "a", "one");
    say_publish(p.dev, 2, 4, "a", "two");
    sees(p.brk, "PUBLISH q1 #3 a one");
    sees(p.brk, "PUBLISH q2 #4 a two");
    world_use(w, "d1", FLIP_NEW);
    world_until(w, the_session(w)->phase == RH_DRAINING);
    world_due(the_session(w));
    sees(p.brk, "PINGREQ");
    say_ping(p.brk, MQTT_PINGRESP);
    p.brk = there(w, MQTT_V311);
    sees(p.brk, "CONNECT 3.1.1 d1 ka=60");
    /* A session of an earlier stay does not know them either. */
    say_connack(p.brk, true, 0, NULL);
    sees(p.brk, "PUBLISH q1 #3 a one");
    sees(p.brk, "PUBLISH q2 #4 a two");
    say_ack(p.brk, MQTT_PUBACK, 3, 0);
    sees(p.dev, "PUBACK #3");
}

/* A device that asked for a lasting session leaves it, as it would by going. */
static void lasting_session_is_left_as_it_is(void **unused)
{
    struct world *w = world_new(&abroad);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    struct end *was = p.brk;

    (void)unused;
    p.brk = to_connect(w, &p, FLIP_NEW, "CONNECT 3.1.1 d1 ka=60");
    say_connack(p.brk, false, 0, NULL);
    tells(w, "accepted new rehomed");
    sees(was, "DISCONNECT");
    sees_end(was);
    quiet(&p);
    assert_true(list_empty(&w->env.cleaners));
    assert_false(broker_has_next(w));
}

static void of_5_0_it_ends_with_the_devices_own_expiry(void **unused)
{
    static const struct {
        uint32_t expiry;
        const char *connect, *disconnect;
    } rows[] = {{0, "CONNECT 5.0 d1 ka=60 session-expiry-interval=600",
                 "DISCONNECT session-expiry-interval=0"},
                {300, "CONNECT 5.0 d1 ka=60 session-expiry-interval=600",
                 "DISCONNECT session-expiry-interval=300"}};

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct world *w = world_new(&abroad);
        struct mqtt_connect c = clean_will;
        struct buf props = {0};

        if (rows[i].expiry > 0)
            mqtt_props_put_num(&props, MQTT_PROP_SESSION_EXPIRY, rows[i].expiry);
        c.has_will = false;
        c.props = (struct mqtt_props){props.p, (uint32_t)props.len};
        struct pair p = world_open(w, MQTT_V5, &c);
        struct end *was = p.brk;
        buf_fini(&props);
        p.brk = to_connect(w, &p, FLIP_NEW, rows[i].connect);
        world_connack(w, p.brk, false);
        tells(w, "accepted new rehomed");
        sees(was, rows[i].disconnect);
        sees_end(was);
        quiet(&p);
        assert_true(list_empty(&w->env.cleaners));
        world_end(NULL);
    }
}

/* ---- with a Will ---- */

/* There is nothing to leave first: DISCONNECT, once the other broker has accepted, keeps it quiet.
 */
static void will_is_kept_quiet_by_disconnect_afterwards(void **unused)
{
    struct world *w = world_new(&abroad);
    struct pair p = world_open(w, MQTT_V311, &clean_will);
    struct end *was = p.brk;

    (void)unused;
    p.brk = to_connect(w, &p, FLIP_NEW, "CONNECT 3.1.1 d1 ka=60 will=w");
    assert_false(end_has_packet(was));
    say_connack(p.brk, false, 0, NULL);
    tells(w, "accepted new rehomed");
    is_left_and_wiped(w, was, false);
    quiet(&p);
}

static void refused_by_the_other_broker_costs_nothing(void **unused)
{
    struct world *w = world_new(&abroad);
    struct pair p = world_open(w, MQTT_V311, &clean_will);
    struct end *next = to_connect(w, &p, FLIP_NEW, "CONNECT 3.1.1 d1 ka=60 will=w");

    (void)unused;
    say_connack(next, false, 5, NULL);
    tells(w, "failed new: identity");
    sees_end(next);
    quiet(&p);
}

/* It dies with CONNECT out: the Will is published where it was accepted, and only there. */
static void will_of_a_device_that_dies_on_the_way(void **unused)
{
    struct world *w = world_new(&abroad);
    struct pair p = world_open(w, MQTT_V5, &clean_will);
    struct end *next =
        to_connect(w, &p, FLIP_NEW, "CONNECT 5.0 d1 ka=60 will=w session-expiry-interval=600");

    (void)unused;
    end_reset(p.dev);
    world_until(w, the_session(w)->died);
    world_connack(w, next, false);
    tells(w, "accepted new rehomed");
    tells(w, "down d1: the device's connection ended without DISCONNECT during a switch");
    sees(p.brk, "DISCONNECT session-expiry-interval=0");
    sees(next, "DISCONNECT 0x04 session-expiry-interval=0");
}

/* A second port of the host may be the same broker: a takeover would publish the Will. */
static void next_door_it_leaves_first(void **unused)
{
    (void)unused;
    for (int present = 0; present < 2; present++) {
        struct world *w = world_new(&next_door);
        struct pair p = world_open(w, MQTT_V311, &clean_will);

        world_use(w, "d1", FLIP_NEW);
        struct end *next = there(w, MQTT_V311), *spare = here(w, MQTT_V311);
        sees(p.brk, "DISCONNECT");
        end_finish(p.brk);
        sees(next, "CONNECT 3.1.1 d1 ka=60 will=w");
        say_connack(next, present, 0, NULL);
        tells(w, "accepted new rehomed"); /* not believed, as it may be of an earlier stay */
        sees_end(spare);
        if (!present) { /* it is not the same: something is left there */
            struct end *wipe = here(w, MQTT_V311);
            sees(wipe, CLEAN_UP);
            say_connack(wipe, false, 0, NULL);
            sees(wipe, "DISCONNECT");
        }
        p.brk = next;
        quiet(&p);
        assert_false(broker_has_next(w));
        world_end(NULL);
    }
}

/* DISCONNECT had to let the session last, for who might return to it. */
static void next_door_of_5_0_it_is_wiped_afterwards(void **unused)
{
    struct world *w = world_new(&next_door);
    struct pair p = world_open(w, MQTT_V5, &clean_will);

    (void)unused;
    world_use(w, "d1", FLIP_NEW);
    struct end *next = there(w, MQTT_V5), *spare = here(w, MQTT_V5);
    sees(p.brk, "DISCONNECT");
    end_finish(p.brk);
    sees(next, "CONNECT 5.0 d1 ka=60 will=w session-expiry-interval=600");
    world_connack(w, next, false);
    tells(w, "accepted new rehomed");
    sees_end(spare);
    struct end *wipe = here(w, MQTT_V5);
    sees(wipe, "CONNECT 5.0 d1 clean ka=60");
    world_connack(w, wipe, false);
    sees(wipe, "DISCONNECT");
    p.brk = next;
    quiet(&p);
}

/* ---- what looks like two brokers is one ---- */

static void session_that_was_taken_over_is_not_wiped(void **unused)
{
    (void)unused;
    for (int early = 0; early < 3; early++) { /* it ends before, with or after CONNACK */
        struct world *w = world_new(early == 1 ? &next_door : &abroad);
        struct pair p = world_open(w, MQTT_V311, &world_clean);
        struct end *was = p.brk;

        p.brk = to_connect(w, &p, FLIP_NEW, "CONNECT 3.1.1 d1 ka=60");
        if (early < 2)
            end_finish(was);
        if (early == 0)
            world_until(w, the_session(w)->up == NULL);
        say_connack(p.brk, true, 0, NULL);
        /* Without that sign it is not believed to be the device's. */
        tells(w, early < 2 ? "accepted new present rehomed" : "accepted new rehomed");
        if (early == 2) {
            sees(was, "PINGREQ");
            sees(was, "DISCONNECT");
            end_finish(was); /* without an answer */
        }
        world_until(w, list_empty(&w->env.cleaners));
        quiet(&p);
        assert_false(broker_has_next(w));
        world_end(NULL);
    }
}

/* ---- what is being wiped, and who comes back ---- */

static void rollback_makes_the_wiping_give_way(void **unused)
{
    struct world *w = world_new(&abroad);
    struct pair p = world_open(w, MQTT_V311, &world_clean);
    struct end *was = p.brk;

    (void)unused;
    p.brk = to_connect(w, &p, FLIP_NEW, "CONNECT 3.1.1 d1 ka=60");
    say_connack(p.brk, false, 0, NULL);
    tells(w, "accepted new rehomed");
    sees(was, "PINGREQ");
    sees(was, "DISCONNECT");
    say_ping(was, MQTT_PINGRESP);
    end_finish(was);
    struct end *wipe = here(w, MQTT_V311);
    world_use(w, "d1", FLIP_OLD);
    assert_true(list_empty(&w->env.cleaners)); /* it would take the session over */
    struct end *back = here(w, MQTT_V311);
    if (end_has_packet(wipe)) /* was it told already?  It comes before the next CONNECT */
        sees(wipe, CLEAN_UP);
    sees_end(wipe);
    sees(p.brk, "PINGREQ");
    say_ping(p.brk, MQTT_PINGRESP);
    sees(back, "CONNECT 3.1.1 d1 ka=60");
}

/* Each of the two brokers may have a session by now. */
static void both_are_wiped_when_the_session_ends_in_between(void **unused)
{
    struct world *w = world_new(&abroad);
    struct pair p = world_open(w, MQTT_V311, &world_clean);
    struct end *next = to_connect(w, &p, FLIP_NEW, "CONNECT 3.1.1 d1 ka=60");
    bool at_other = false, at_main = false;

    (void)unused;
    say_bytes(p.dev, "\x00\x00", 2);
    tells(w, "down d1: the device sent a packet that breaks the standard");
    sees_end(next);
    sees_end(p.brk);
    end_finish(p.brk);
    for (int i = 0; i < 2; i++) {
        struct end *wipe = broker_next(w);
        sees(wipe, CLEAN_UP);
        say_connack(wipe, false, 0, NULL);
        sees(wipe, "DISCONNECT");
        at_other = at_other || wipe->of_other;
        at_main = at_main || !wipe->of_other;
    }
    assert_true(at_other && at_main);
    world_until(w, list_empty(&w->env.cleaners));
    assert_null(world_device(w, "d1")->cleaner);
}

/* Another client id is another session, at the same broker, too. */
static void another_client_id_is_another_session(void **unused)
{
    struct world *w = world_new(&(struct world_args){.other = "client_id = \"{device}-2\";"});
    struct pair p = world_open(w, MQTT_V311, &clean_will);
    struct end *was = p.brk;

    (void)unused;
    p.brk = to_connect(w, &p, FLIP_NEW, "CONNECT 3.1.1 d1-2 ka=60 will=w");
    say_connack(p.brk, false, 0, NULL);
    tells(w, "accepted new rehomed");
    is_left_and_wiped(w, was, false);
    quiet(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        play(clean_session_moves_and_leaves_nothing),
        play(unfinished_publishes_are_new_to_another_broker),
        play(lasting_session_is_left_as_it_is),
        play(of_5_0_it_ends_with_the_devices_own_expiry),
        play(will_is_kept_quiet_by_disconnect_afterwards),
        play(refused_by_the_other_broker_costs_nothing),
        play(will_of_a_device_that_dies_on_the_way),
        play(next_door_it_leaves_first),
        play(next_door_of_5_0_it_is_wiped_afterwards),
        play(session_that_was_taken_over_is_not_wiped),
        play(rollback_makes_the_wiping_give_way),
        play(both_are_wiped_when_the_session_ends_in_between),
        play(another_client_id_is_another_session),
    };

    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
