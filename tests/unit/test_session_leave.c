/* A session that has to say DISCONNECT before the candidate says CONNECT, for a Will is to be kept
 * quiet: the spare as the way back, and the Will that comes when the device dies, and only then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session_world.h"

#define CONNECT_WILL "CONNECT 3.1.1 d1 ka=60 will=w"

static const struct mqtt_connect with_will = {.client_id = {(const uint8_t *)"d1", 2},
                                              .keepalive_s = 60,
                                              .has_will = true,
                                              .will_topic = {(const uint8_t *)"w", 1}};

static struct session *the_session(struct world *w)
{
    return world_session(w, "d1");
}

/* A session with a Will, and the ends of its flip. */
struct scene {
    struct world *w;
    struct end *dev, *old, *cand, *spare;
};

static struct scene begin(const struct world_args *args)
{
    struct scene c = {.w = world_new(args)};
    struct pair p = world_open(c.w, MQTT_V311, &with_will);

    c.dev = p.dev;
    c.old = p.brk;
    return c;
}

/* Up to DISCONNECT, which the old leg has seen; the candidate and the spare are there. */
static void leave_for(struct scene *c, enum flip_slot slot)
{
    world_use(c->w, "d1", slot);
    c->cand = broker_next(c->w);
    assert_string_equal(c->cand->cn, flip_slot_name(slot));
    c->spare = broker_next(c->w);
    assert_string_equal(c->spare->cn, flip_slot_name(flip_other_slot(slot)));
    sees(c->old, "DISCONNECT");
    assert_int_equal(the_session(c->w)->phase, RH_LEAVING);
}

/* CONNECT is out on the candidate. */
static void leave_and_connect(struct scene *c, enum flip_slot slot)
{
    leave_for(c, slot);
    end_finish(c->old);
    sees(c->cand, CONNECT_WILL);
}

/* Device to broker and back, on this leg. */
static void flows(struct scene *c, struct end *leg)
{
    quiet(&((struct pair){c->dev, leg}));
}

static void says_nothing(struct end *e)
{
    sees_end(e); /* and not a packet before it */
}

static struct end *take_over_after_the_barrier(struct world *w, struct pair *p)
{
    sees(p->brk, "PINGREQ");
    say_ping(p->brk, MQTT_PINGRESP);
    struct end *next = broker_next(w);
    sees(next, "CONNECT 3.1.1 d1 ka=60");
    say_connack(next, true, 0, NULL);
    return next;
}

/* ---- two round trips ---- */

static void flip_with_will_leaves_first(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    leave_for(&c, FLIP_NEW);
    say_publish(c.dev, 1, 4, "a", "held");
    say_publish(c.old, 0, 0, "c", "the last of the old leg");
    sees(c.dev, "PUBLISH q0 c the last of the old leg");
    assert_false(end_has_packet(c.cand)); /* not before the old leg's end */
    end_finish(c.old);
    sees(c.cand, CONNECT_WILL);
    assert_null(the_session(c.w)->up);
    assert_non_null(the_session(c.w)->spare);
    say_connack(c.cand, true, 0, NULL);
    tells(c.w, "accepted new present rehomed");
    sees(c.cand, "PUBLISH q1 #4 a held");
    says_nothing(c.spare);
    assert_null(the_session(c.w)->spare);
    flows(&c, c.cand);
    assert_false(broker_has_next(c.w));
}

static void exchanges_under_way_finish_before_disconnect(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    say_publish(c.dev, 1, 3, "a", "x");
    sees(c.old, "PUBLISH q1 #3 a x");
    world_use(c.w, "d1", FLIP_NEW);
    world_until(c.w, the_session(c.w)->phase == RH_DRAINING);
    assert_non_null(the_session(c.w)->spare); /* nothing is held before it is up */
    assert_false(end_has_packet(c.old));
    say_ack(c.old, MQTT_PUBACK, 3, 0);
    sees(c.dev, "PUBACK #3");
    sees(c.old, "DISCONNECT");
}

/* The broker's last packets and its end come at once. */
static void last_packets_before_the_end_reach_the_device(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    leave_for(&c, FLIP_NEW);
    glue(c.old);
    say_publish(c.old, 0, 0, "c", "1");
    say_publish(c.old, 1, 9, "c", "2");
    c.old->glued = false;
    end_finish(c.old);
    sees(c.dev, "PUBLISH q0 c 1");
    sees(c.dev, "PUBLISH q1 #9 c 2");
    say_ack(c.dev, MQTT_PUBACK, 9, 0);
    sees(c.cand, CONNECT_WILL);
    world_until(c.w, the_session(c.w)->held.len > 0);
    glue(c.cand);
    say_connack(c.cand, true, 0, NULL);
    say_publish_full(c.cand, &(struct mqtt_publish){.qos = 1,
                                                    .packet_id = 9,
                                                    .dup = true,
                                                    .topic = slice_of("c"),
                                                    .payload = slice_of("2")});
    unglue(c.cand);
    sees(c.cand, "PUBACK #9");
    flows(&c, c.cand); /* once only */
}

/* A device that does not read stops the reading of its broker, but not of a leg that ends. */
static void slow_device_does_not_keep_the_old_leg_from_ending(void **unused)
{
    struct scene c = begin(&(struct world_args){.limits = "queue_bytes = \"4 KiB\";"});
    static char payload[500001];

    (void)unused;
    memset(payload, 'x', sizeof payload - 1);
    leave_for(&c, FLIP_NEW);
    stream_read(&c.dev->st, false);
    for (int i = 0; i < 20; i++)
        say_publish(c.old, 0, 0, "c", payload);
    end_finish(c.old);
    sees(c.cand, CONNECT_WILL);
    say_connack(c.cand, true, 0, NULL);
    stream_read(&c.dev->st, true);
    for (int i = 0; i < 20; i++)
        sees(c.dev, "PUBLISH q0 c <500000 bytes>");
    tells(c.w, "accepted new present rehomed");
    flows(&c, c.cand);
}

static void old_leg_that_does_not_end_is_not_waited_for_for_ever(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    leave_for(&c, FLIP_NEW);
    world_due(the_session(c.w));
    sees(c.cand, CONNECT_WILL);
    say_connack(c.cand, true, 0, NULL);
    tells(c.w, "accepted new present rehomed");
    says_nothing(c.spare);
}

/* ---- the way back ---- */

/* Without waiting for main, and without a dial. */
static void refused_after_leaving_is_back_at_once(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    leave_and_connect(&c, FLIP_NEW);
    say_publish(c.dev, 1, 1, "a", "held");
    say_connack(c.cand, false, 5, NULL);
    tells(c.w, "failed new: identity");
    sees(c.spare, CONNECT_WILL);
    say_connack(c.spare, true, 0, NULL);
    tells(c.w, "accepted old present rehomed");
    sees(c.spare, "PUBLISH q1 #1 a held");
    sees_end(c.cand);
    flows(&c, c.spare);
    assert_int_equal(the_session(c.w)->retry_ms, 0); /* until main decides */
    world_use(c.w, "d1", FLIP_OLD);
    tells(c.w, "accepted old present"); /* at home already */
    flows(&c, c.spare);
    assert_false(broker_has_next(c.w));
    assert_int_equal(c.w->env.stats.rehomes, 1);
    assert_int_equal(c.w->env.stats.ways_back, 1);
    assert_int_equal(c.w->env.stats.spareless, 0);
}

/* Main rolls back while the way back is being taken. */
static void rollback_in_the_middle_of_the_way_back(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    leave_and_connect(&c, FLIP_NEW);
    say_connack(c.cand, false, 5, NULL);
    tells(c.w, "failed new: identity");
    sees(c.spare, CONNECT_WILL);
    world_use(c.w, "d1", FLIP_OLD);
    say_connack(c.spare, true, 0, NULL);
    tells(c.w, "accepted old present rehomed");
    flows(&c, c.spare);
    assert_false(broker_has_next(c.w));
}

/* A broker may refuse by closing: the spare is the round that is tried with the old identity. */
static void closed_without_a_word_the_spare_is_accepted(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    leave_and_connect(&c, FLIP_NEW);
    end_finish(c.cand);
    tells(c.w, "failed new: suspect");
    sees(c.spare, CONNECT_WILL);
    say_connack(c.spare, true, 0, NULL);
    tells(c.w, "accepted old present rehomed");
    flows(&c, c.spare);
    assert_false(broker_has_next(c.w));
    assert_int_equal(world_device(c.w, "d1")->differ.rounds, 1);
    assert_true(the_session(c.w)->retry_ms > 0);
}

/* Both end without a word: not the identity's fault, and there is no spare for a third attempt. */
static void spare_that_is_refused_too_settles_nothing(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    leave_and_connect(&c, FLIP_NEW);
    end_finish(c.cand);
    tells(c.w, "failed new: suspect");
    sees(c.spare, CONNECT_WILL);
    end_finish(c.spare);
    tells(c.w, "failed old: suspect");
    tells(c.w, "failed new: broker"); /* both fail: not the identity */
    assert_int_equal(the_session(c.w)->phase, RH_WAITING);
    world_due(the_session(c.w));
    struct end *next = broker_next(c.w);
    assert_string_equal(next->cn, "new"); /* what main wants */
    sees(next, CONNECT_WILL);
    say_connack(next, true, 0, NULL);
    tells(c.w, "accepted new present rehomed");
}

/* CONNACK does not come.  A late one must not bring the Will of a live device. */
static void silence_after_leaving_is_bounded_and_leads_back(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    leave_and_connect(&c, FLIP_NEW);
    world_due(the_session(c.w));
    tells(c.w, "failed new: broker");
    sees(c.cand, "DISCONNECT");
    sees(c.spare, CONNECT_WILL);
    say_connack(c.spare, true, 0, NULL);
    tells(c.w, "accepted old present rehomed");
    flows(&c, c.spare);
    assert_true(the_session(c.w)->retry_ms > 0); /* nobody's fault: it is tried again */
    world_due(the_session(c.w));
    c.old = c.spare;
    c.cand = broker_next(c.w);
    c.spare = broker_next(c.w);
    sees(c.old, "DISCONNECT");
}

static void rollback_has_a_way_back_too(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    leave_and_connect(&c, FLIP_NEW);
    say_connack(c.cand, true, 0, NULL);
    tells(c.w, "accepted new present rehomed");
    c.old = c.cand;
    leave_and_connect(&c, FLIP_OLD);
    say_connack(c.cand, false, 5, NULL);
    tells(c.w, "failed old: identity");
    sees(c.spare, CONNECT_WILL);
    say_connack(c.spare, true, 0, NULL);
    tells(c.w, "accepted new present rehomed");
    flows(&c, c.spare);
    /* There is no third identity: the old one is tried again, after a while. */
    assert_true(the_session(c.w)->retry_ms > env_now_ms(&c.w->env) + 20000);
}

/* The candidate ends while the old leg's end is still waited for. */
static void candidate_lost_while_leaving_is_replaced_by_the_spare(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    leave_for(&c, FLIP_NEW);
    end_reset(c.cand);
    tells(c.w, "failed new: suspect");
    assert_int_equal(the_session(c.w)->phase, RH_LEAVING);
    assert_true(the_session(c.w)->due_ms != 0); /* bounded as before */
    assert_false(end_has_packet(c.spare));
    end_finish(c.old);
    sees(c.spare, CONNECT_WILL);
    say_connack(c.spare, true, 0, NULL);
    tells(c.w, "accepted old present rehomed");
    flows(&c, c.spare);
}

/* ---- main changes its mind ---- */

/* The identity that is not wanted any more is not shown to the broker. */
static void rollback_while_leaving_goes_by_the_spare(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    leave_for(&c, FLIP_NEW);
    world_use(c.w, "d1", FLIP_OLD);
    assert_int_equal(the_session(c.w)->phase, RH_LEAVING);
    says_nothing(c.cand);
    end_finish(c.old);
    sees(c.spare, CONNECT_WILL);
    say_connack(c.spare, true, 0, NULL);
    tells(c.w, "accepted old present rehomed");
    flows(&c, c.spare);
    assert_false(broker_has_next(c.w));
}

static void rollback_while_leaving_without_a_spare_dials_anew(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    leave_for(&c, FLIP_NEW);
    end_finish(c.spare);
    world_until(c.w, the_session(c.w)->spare == NULL);
    world_use(c.w, "d1", FLIP_OLD);
    says_nothing(c.cand);
    struct end *next = broker_next(c.w);
    assert_string_equal(next->cn, "old");
    sees(next, CONNECT_WILL);
    say_connack(next, true, 0, NULL);
    tells(c.w, "accepted old present rehomed");
    flows(&c, next);
}

/* ---- a spare that cannot be had ---- */

static void flip_away_from_an_identity_that_is_refused_goes_without(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    leave_and_connect(&c, FLIP_NEW);
    say_connack(c.cand, true, 0, NULL);
    tells(c.w, "accepted new present rehomed");
    c.w->broker_refuses_new = true; /* the leg in use stands, a second one is not had */
    c.old = c.cand;
    world_use(c.w, "d1", FLIP_OLD);
    c.cand = broker_next(c.w);
    assert_string_equal(c.cand->cn, "old");
    sees(c.old, "DISCONNECT");
    end_finish(c.old);
    sees(c.cand, CONNECT_WILL);
    say_connack(c.cand, true, 0, NULL);
    tells(c.w, "accepted old present rehomed");
    flows(&c, c.cand);
}

/* TLS 1.3 tells late of a refused spare, too. */
static void spare_is_given_time_for_its_alert(void **unused)
{
    struct scene c = begin(&(struct world_args){.accept_wait_ms = 300});

    (void)unused;
    leave_and_connect(&c, FLIP_NEW);
    say_connack(c.cand, true, 0, NULL);
    tells(c.w, "accepted new present rehomed");
    c.w->broker_refuses_new = true;
    c.old = c.cand;
    world_use(c.w, "d1", FLIP_OLD);
    sees(c.old, "DISCONNECT");
    assert_null(the_session(c.w)->spare);
}

static void give_up_for_want_of_a_spare(struct scene *c)
{
    world_until(c->w, the_session(c->w)->phase == RH_SPARING);
    c->w->broker_deaf = true;
    c->cand = broker_next(c->w);
    world_turn(c->w);
    say_publish(c->dev, 0, 0, "a", "flows");
    sees(c->old, "PUBLISH q0 a flows"); /* nothing is held for it */
    assert_int_equal(the_session(c->w)->phase, RH_SPARING);
    world_due(the_session(c->w));
    tells(c->w, "failed new: network");
    assert_int_equal(the_session(c->w)->phase, RH_IDLE);
    says_nothing(c->cand);
    flows(c, c->old);
    c->w->broker_deaf = false;
    assert_true(the_session(c->w)->retry_ms > 0);
    world_due(the_session(c->w));
}

static void without_a_spare_the_session_stays_but_not_for_ever(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    world_use(c.w, "d1", FLIP_NEW);
    give_up_for_want_of_a_spare(&c);
    give_up_for_want_of_a_spare(&c);
    world_until(c.w, the_session(c.w)->phase == RH_SPARING);
    c.w->broker_deaf = true;
    c.cand = broker_next(c.w);
    world_due(the_session(c.w));
    sees(c.old, "DISCONNECT"); /* this broker allows no second connection, or so */
    end_finish(c.old);
    sees(c.cand, CONNECT_WILL);
    say_connack(c.cand, true, 0, NULL);
    tells(c.w, "accepted new present rehomed");
    assert_int_equal(the_session(c.w)->spareless, 0);
}

static void spare_that_ends_while_draining(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    say_publish(c.dev, 1, 3, "a", "x");
    sees(c.old, "PUBLISH q1 #3 a x");
    world_use(c.w, "d1", FLIP_NEW);
    c.cand = broker_next(c.w);
    c.spare = broker_next(c.w);
    world_until(c.w, the_session(c.w)->phase == RH_DRAINING);
    say_bytes(c.spare, "\x20\x02\x00\x00", 4); /* what no broker says before CONNECT */
    tells(c.w, "failed new: protocol");
    says_nothing(c.spare);
    says_nothing(c.cand);
    assert_int_equal(the_session(c.w)->phase, RH_IDLE);
    say_ack(c.old, MQTT_PUBACK, 3, 0);
    sees(c.dev, "PUBACK #3");
    flows(&c, c.old);
}

/* DISCONNECT is said: a spare that ends now changes nothing. */
static void spare_that_ends_after_leaving(void **unused)
{
    (void)unused;
    for (int connected = 0; connected < 2; connected++) {
        struct scene c = begin(NULL);

        leave_for(&c, FLIP_NEW);
        if (connected) {
            end_finish(c.old);
            sees(c.cand, CONNECT_WILL);
        }
        end_finish(c.spare);
        world_until(c.w, the_session(c.w)->spare == NULL);
        assert_true(the_session(c.w)->due_ms != 0);
        if (!connected) {
            end_finish(c.old);
            sees(c.cand, CONNECT_WILL);
        }
        say_connack(c.cand, false, 5, NULL);
        tells(c.w, "failed new: identity");
        world_use(c.w, "d1", FLIP_OLD); /* by a cold dial, as main decides */
        struct end *back = broker_next(c.w);
        sees(back, CONNECT_WILL);
        say_connack(back, true, 0, NULL);
        tells(c.w, "accepted old present rehomed");
        flows(&c, back);
        world_end(NULL);
    }
}

/* ---- a candidate that has to wait ---- */

/* While exchanges finish the candidate waits, and no broker waits for CONNECT for ever. */
static void candidate_closed_while_it_waited_is_nobodys_fault(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    say_publish(p.dev, 1, 3, "a", "x");
    sees(p.brk, "PUBLISH q1 #3 a x");
    world_use(w, "d1", FLIP_NEW);
    struct end *cand = broker_next(w);
    world_until(w, the_session(w)->phase == RH_DRAINING);
    the_session(w)->cand->at_ms -= 5000; /* it has waited so long */
    end_finish(cand);
    tells(w, "failed new: broker");
    assert_int_equal(the_session(w)->phase, RH_IDLE);
    assert_false(the_session(w)->probing);
    assert_int_equal(world_device(w, "d1")->differ.rounds, 0);
    say_ack(p.brk, MQTT_PUBACK, 3, 0);
    sees(p.dev, "PUBACK #3");
    sees(p.brk, "PINGREQ");
    say_ping(p.brk, MQTT_PINGRESP);
    quiet(&p);
    world_due(the_session(w)); /* and again, soon */
    (void)take_over_after_the_barrier(w, &p);
    tells(w, "accepted new present rehomed");
}

/* The same of a spare: once more, before anything is let go of. */
static void spare_closed_while_it_waited_is_had_again(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    say_publish(c.dev, 1, 3, "a", "x");
    sees(c.old, "PUBLISH q1 #3 a x");
    world_use(c.w, "d1", FLIP_NEW);
    c.cand = broker_next(c.w);
    c.spare = broker_next(c.w);
    world_until(c.w, the_session(c.w)->phase == RH_DRAINING);
    the_session(c.w)->spare->at_ms -= 5000;
    end_finish(c.spare);
    tells(c.w, "failed new: broker");
    says_nothing(c.cand);
    say_ack(c.old, MQTT_PUBACK, 3, 0);
    sees(c.dev, "PUBACK #3");
    world_due(the_session(c.w));
    c.cand = broker_next(c.w);
    c.spare = broker_next(c.w);
    sees(c.old, "DISCONNECT");
}

/* ---- changes of mind, and an old leg that goes by itself ---- */

static void taken_back_while_the_spare_comes_up_or_waits(void **unused)
{
    (void)unused;
    for (int draining = 0; draining < 2; draining++) {
        struct scene c = begin(NULL);

        if (draining) {
            say_publish(c.dev, 1, 3, "a", "x");
            sees(c.old, "PUBLISH q1 #3 a x");
        }
        world_use(c.w, "d1", FLIP_NEW);
        world_until(c.w, the_session(c.w)->phase == (draining ? RH_DRAINING : RH_SPARING));
        world_use(c.w, "d1", FLIP_OLD);
        assert_int_equal(the_session(c.w)->phase, RH_IDLE);
        assert_null(the_session(c.w)->spare);
        says_nothing(broker_next(c.w));
        if (draining) {
            says_nothing(broker_next(c.w));
            say_ack(c.old, MQTT_PUBACK, 3, 0);
            sees(c.dev, "PUBACK #3");
        }
        flows(&c, c.old);
        world_end(NULL);
    }
}

static void old_leg_lost_while_the_spare_comes_up(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    world_use(c.w, "d1", FLIP_NEW);
    world_until(c.w, the_session(c.w)->phase == RH_SPARING);
    end_reset(c.old);
    tells(c.w, "lost old: network");
    c.cand = broker_next(c.w);
    sees(c.cand, CONNECT_WILL); /* nothing is to be left any more */
    say_connack(c.cand, true, 0, NULL);
    tells(c.w, "accepted new present rehomed");
    flows(&c, c.cand);
}

static void old_leg_lost_while_draining_leaves_the_way_back(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    say_publish(c.dev, 1, 3, "a", "x");
    sees(c.old, "PUBLISH q1 #3 a x");
    world_use(c.w, "d1", FLIP_NEW);
    c.cand = broker_next(c.w);
    c.spare = broker_next(c.w);
    world_until(c.w, the_session(c.w)->phase == RH_DRAINING);
    end_reset(c.old);
    tells(c.w, "lost old: network");
    sees(c.cand, CONNECT_WILL);
    say_connack(c.cand, false, 5, NULL);
    tells(c.w, "failed new: identity");
    sees(c.spare, CONNECT_WILL);
    say_connack(c.spare, true, 0, NULL);
    tells(c.w, "accepted old present rehomed replayed=1 restored=0 lost=0");
    sees(c.spare, "PUBLISH q1 #3 dup a x");
}

/* ---- the device dies, and its Will is published once ---- */

/* The broker publishes the Will of a leg that said CONNECT with it and ends without DISCONNECT. */
static void carries_the_will_off(struct end *leg)
{
    sees_end(leg);
}

static void dies_before_anything_was_said(void **unused)
{
    static const enum rehome_phase phases[] = {RH_DIALING, RH_SPARING, RH_DRAINING};

    (void)unused;
    for (size_t i = 0; i < sizeof phases / sizeof phases[0]; i++) {
        struct scene c = begin(NULL);

        say_publish(c.dev, 1, 3, "a", "x");
        sees(c.old, "PUBLISH q1 #3 a x");
        world_use(c.w, "d1", FLIP_NEW);
        world_until(c.w, the_session(c.w)->phase == phases[i]);
        end_reset(c.dev);
        tells(c.w, "down d1: the device's connection broke");
        carries_the_will_off(c.old);
        while (broker_has_next(c.w))
            says_nothing(broker_next(c.w));
        world_end(NULL);
    }
}

/* Its DISCONNECT has kept the Will quiet, which is due after all; what the device said before it
 * died is there, too. */
static void dies_while_the_old_leg_is_left(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    leave_for(&c, FLIP_NEW);
    say_publish(c.dev, 0, 0, "a", "the last word");
    world_until(c.w, the_session(c.w)->held.len > 0);
    end_reset(c.dev);
    world_until(c.w, the_session(c.w)->died);
    assert_false(end_has_packet(c.cand)); /* two at once would be a takeover */
    end_finish(c.old);
    sees(c.cand, CONNECT_WILL);
    say_connack(c.cand, true, 0, NULL);
    tells(c.w, "accepted new present rehomed");
    tells(c.w, "down d1: the device's connection ended without DISCONNECT during a switch");
    sees(c.cand, "PUBLISH q0 a the last word");
    carries_the_will_off(c.cand);
    says_nothing(c.spare);
    assert_true(list_empty(&c.w->env.cleaners));
}

static void dies_while_the_candidate_is_asked(void **unused)
{
    (void)unused;
    for (int refused = 0; refused < 2; refused++) {
        struct scene c = begin(NULL);

        leave_and_connect(&c, FLIP_NEW);
        end_reset(c.dev);
        world_until(c.w, the_session(c.w)->died);
        say_connack(c.cand, !refused, refused ? 5 : 0, NULL);
        if (refused) {
            tells(c.w, "failed new: identity");
            sees_end(c.cand);
            sees(c.spare, CONNECT_WILL);
            say_connack(c.spare, true, 0, NULL);
            tells(c.w, "accepted old present rehomed");
        } else {
            tells(c.w, "accepted new present rehomed");
        }
        tells(c.w, "down d1: the device's connection ended without DISCONNECT during a switch");
        carries_the_will_off(refused ? c.spare : c.cand);
        assert_false(broker_has_next(c.w));
        assert_true(list_empty(&c.w->env.cleaners));
        world_end(NULL);
    }
}

static void dies_in_the_spares_turn(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    leave_and_connect(&c, FLIP_NEW);
    say_connack(c.cand, false, 5, NULL);
    tells(c.w, "failed new: identity");
    sees(c.spare, CONNECT_WILL);
    end_reset(c.dev);
    world_until(c.w, the_session(c.w)->died);
    say_connack(c.spare, true, 0, NULL);
    tells(c.w, "accepted old present rehomed");
    tells(c.w, "down d1: the device's connection ended without DISCONNECT during a switch");
    carries_the_will_off(c.spare);
}

/* Neither leg is had: the Will waits for one. */
static void dies_while_there_is_no_leg(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    leave_and_connect(&c, FLIP_NEW);
    end_reset(c.cand);
    tells(c.w, "failed new: suspect");
    sees(c.spare, CONNECT_WILL);
    end_reset(c.spare);
    tells(c.w, "failed old: suspect");
    tells(c.w, "failed new: broker"); /* both fail: not the identity */
    assert_int_equal(the_session(c.w)->phase, RH_WAITING);
    end_reset(c.dev);
    world_until(c.w, the_session(c.w)->died);
    world_due(the_session(c.w));
    struct end *next = broker_next(c.w);
    sees(next, CONNECT_WILL);
    say_connack(next, true, 0, NULL);
    tells(c.w, "accepted new present rehomed");
    tells(c.w, "down d1: the device's connection ended without DISCONNECT during a switch");
    carries_the_will_off(next);
}

/* Not for ever: one connection more is tried for it then. */
static void dead_device_is_not_kept_for_ever(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    leave_and_connect(&c, FLIP_NEW);
    end_reset(c.dev);
    world_until(c.w, the_session(c.w)->died);
    the_session(c.w)->leave_ms = env_now_ms(&c.w->env);
    the_session(c.w)->timer_ms = 0;
    session_arm(the_session(c.w));
    tells(c.w, "down d1: the device left, and no uplink came for its last packets");
    sees(c.cand, "DISCONNECT"); /* it may be accepted yet: the Will must not come twice */
    sees_end(c.cand);
    says_nothing(c.spare);
    struct end *last = broker_next(c.w);
    sees(last, CONNECT_WILL); /* its session was to last */
    say_connack(last, false, 0, NULL);
    carries_the_will_off(last);
}

/* A device that says DISCONNECT in the middle leaves no Will. */
static void leaves_in_order_in_the_middle(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    leave_and_connect(&c, FLIP_NEW);
    say_disconnect(c.dev, 0, NULL);
    end_finish(c.dev);
    world_until(c.w, the_session(c.w)->gone);
    say_connack(c.cand, true, 0, NULL);
    sees(c.cand, "DISCONNECT");
    sees_end(c.cand);
    tells(c.w, "accepted new present rehomed");
    tells(c.w, "down d1: the device left");
    assert_true(list_empty(&c.w->env.cleaners));
}

/* And none when nobody takes its last packets in time. */
static void left_in_order_and_no_leg_came(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    leave_and_connect(&c, FLIP_NEW);
    say_disconnect(c.dev, 0, NULL);
    world_until(c.w, the_session(c.w)->leave_ms != 0);
    the_session(c.w)->leave_ms = env_now_ms(&c.w->env);
    the_session(c.w)->timer_ms = 0;
    session_arm(the_session(c.w));
    tells(c.w, "down d1: the device left, and no uplink came for its last packets");
    sees(c.cand, "DISCONNECT");
    sees_end(c.cand);
    says_nothing(c.spare);
    assert_true(list_empty(&c.w->env.cleaners));
}

/* 5.0: in order, and with its Will. */
static void left_with_its_will_and_no_leg_came(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &with_will);

    (void)unused;
    world_use(w, "d1", FLIP_NEW);
    struct end *cand = broker_next(w);
    (void)broker_next(w);
    cand->version = MQTT_V5;
    sees(p.brk, "DISCONNECT");
    end_finish(p.brk);
    sees(cand, "CONNECT 5.0 d1 ka=60 will=w session-expiry-interval=600");
    say_disconnect(p.dev, 0x04, NULL);
    world_until(w, the_session(w)->leave_ms != 0);
    the_session(w)->leave_ms = env_now_ms(&w->env);
    the_session(w)->timer_ms = 0;
    session_arm(the_session(w));
    tells(w, "down d1: the device left, and no uplink came for its last packets");
    sees(cand, "DISCONNECT session-expiry-interval=0");
    struct end *last = broker_next(w);
    last->version = MQTT_V5;
    sees(last, "CONNECT 5.0 d1 clean ka=60 will=w");
    say_connack(last, false, 0, NULL);
    carries_the_will_off(last);
}

/* certflipd stops, or the device is removed: one that died in the switch has its Will all the same.
 */
static void dead_device_whose_session_is_ended_in_order(void **unused)
{
    struct scene c = begin(NULL);

    (void)unused;
    leave_and_connect(&c, FLIP_NEW);
    end_reset(c.dev);
    world_until(c.w, the_session(c.w)->died);
    c.w->env.stopping = true;
    session_end(the_session(c.w), 0x8B, true, "certflipd stops");
    tells(c.w, "down d1: certflipd stops");
    carries_the_will_off(c.cand); /* without DISCONNECT: when it is accepted, the Will is due */
    assert_true(list_empty(&c.w->env.cleaners));
}

/* Without a Will, what a device said before it died in a takeover arrives all the same. */
static void last_packets_of_a_device_that_dies_in_a_takeover(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    world_use(w, "d1", FLIP_NEW);
    sees(p.brk, "PINGREQ");
    say_ping(p.brk, MQTT_PINGRESP);
    struct end *next = broker_next(w);
    sees(next, "CONNECT 3.1.1 d1 ka=60");
    say_publish(p.dev, 0, 0, "a", "the last word");
    world_until(w, the_session(w)->held.len > 0);
    end_reset(p.dev);
    world_until(w, the_session(w)->died);
    say_connack(next, false, 5, NULL);
    tells(w, "failed new: identity");
    sees(p.brk, "PUBLISH q0 a the last word");
    sees_end(p.brk);
    tells(w, "down d1: the device's connection ended without DISCONNECT during a switch");
}

/* Taken over, the old leg has told the broker of its death: a refusal without a word is not settled
 * by a connection that would bring the Will once more. */
static void dies_in_a_takeover_that_is_refused(void **unused)
{
    struct world *w = world_new(&(struct world_args){.upstream = "switch = \"takeover\";"});
    struct pair p = world_open(w, MQTT_V311, &with_will);

    (void)unused;
    world_use(w, "d1", FLIP_NEW);
    sees(p.brk, "PINGREQ");
    say_ping(p.brk, MQTT_PINGRESP);
    struct end *next = broker_next(w);
    sees(next, CONNECT_WILL);
    end_finish(p.brk);
    world_until(w, the_session(w)->phase == RH_SWITCHING_LOST);
    end_reset(p.dev);
    world_until(w, the_session(w)->died);
    end_finish(next);
    tells(w, "failed new: suspect");
    tells(w, "down d1: the device's connection ended without DISCONNECT during a switch");
    assert_false(broker_has_next(w));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        play(flip_with_will_leaves_first),
        play(exchanges_under_way_finish_before_disconnect),
        play(last_packets_before_the_end_reach_the_device),
        play(slow_device_does_not_keep_the_old_leg_from_ending),
        play(old_leg_that_does_not_end_is_not_waited_for_for_ever),
        play(refused_after_leaving_is_back_at_once),
        play(rollback_in_the_middle_of_the_way_back),
        play(closed_without_a_word_the_spare_is_accepted),
        play(spare_that_is_refused_too_settles_nothing),
        play(silence_after_leaving_is_bounded_and_leads_back),
        play(rollback_has_a_way_back_too),
        play(candidate_lost_while_leaving_is_replaced_by_the_spare),
        play(rollback_while_leaving_goes_by_the_spare),
        play(rollback_while_leaving_without_a_spare_dials_anew),
        play(flip_away_from_an_identity_that_is_refused_goes_without),
        play(spare_is_given_time_for_its_alert),
        play(without_a_spare_the_session_stays_but_not_for_ever),
        play(spare_that_ends_while_draining),
        play(spare_that_ends_after_leaving),
        play(candidate_closed_while_it_waited_is_nobodys_fault),
        play(spare_closed_while_it_waited_is_had_again),
        play(taken_back_while_the_spare_comes_up_or_waits),
        play(old_leg_lost_while_the_spare_comes_up),
        play(old_leg_lost_while_draining_leaves_the_way_back),
        play(dies_before_anything_was_said),
        play(dies_while_the_old_leg_is_left),
        play(dies_while_the_candidate_is_asked),
        play(dies_in_the_spares_turn),
        play(dies_in_a_takeover_that_is_refused),
        play(dies_while_there_is_no_leg),
        play(dead_device_is_not_kept_for_ever),
        play(leaves_in_order_in_the_middle),
        play(left_in_order_and_no_leg_came),
        play(left_with_its_will_and_no_leg_came),
        play(dead_device_whose_session_is_ended_in_order),
        play(last_packets_of_a_device_that_dies_in_a_takeover),
    };

    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
