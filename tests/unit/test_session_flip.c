/* Moving a live session to another leg: flips, refusals, lost uplinks, and what must neither be
 * lost nor seen by the device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session_world.h"

static const struct mqtt_connect with_will = {.client_id = {(const uint8_t *)"d1", 2},
                                              .keepalive_s = 60,
                                              .has_will = true,
                                              .will_topic = {(const uint8_t *)"w", 1}};

static struct session *the_session(struct world *w)
{
    return world_session(w, "d1");
}

/* Up to the barrier: the candidate's TLS is up, PINGREQ is here on the old leg. */
static void flip_to_barrier(struct world *w, struct pair *p, enum flip_slot slot)
{
    world_use(w, "d1", slot);
    sees(p->brk, "PINGREQ");
}

/* The rest of a flip by takeover.  Returns the new leg. */
static struct end *take_over(struct world *w, struct pair *p, const char *connect, bool present)
{
    say_ping(p->brk, MQTT_PINGRESP);
    struct end *next = broker_next(w);
    next->version = p->brk->version;
    sees(next, connect);
    world_connack(w, next, present);
    return next;
}

/* The leg breaks, main wants another one at once.  Returns it. */
static struct end *lose_and_return(struct world *w, struct pair *p, bool present)
{
    int version = p->brk->version;

    end_reset(p->brk);
    tells(w, "lost old: network");
    world_due(the_session(w));
    p->brk = world_broker_accepts(w, version, present);
    return p->brk;
}

/* ---- flips ---- */

static void flip_without_will_takes_over_behind_the_barrier(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    flip_to_barrier(w, &p, FLIP_NEW);
    assert_int_equal(the_session(w)->phase, RH_BARRIER);
    say_publish(p.dev, 0, 0, "a", "held");
    say_ping(p.dev, MQTT_PINGREQ);
    sees(p.dev, "PINGRESP"); /* at once: the device notices nothing */
    say_publish(p.brk, 0, 0, "c", "still on the old leg");
    sees(p.dev, "PUBLISH q0 c still on the old leg");
    struct end *next = take_over(w, &p, "CONNECT 3.1.1 d1 ka=60", true);
    assert_string_equal(next->cn, "new");
    tells(w, "accepted new present rehomed");
    sees(next, "PUBLISH q0 a held");
    sees_end(p.brk); /* nothing of it went to the old leg, and no DISCONNECT */
    p.brk = next;
    quiet(&p);
    assert_int_equal(w->env.stats.rehomes, 1);
}

static void packets_between_the_barriers_answer_and_connack_reach_the_device(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    flip_to_barrier(w, &p, FLIP_NEW);
    glue(p.brk);
    say_publish(p.brk, 0, 0, "c", "1");
    say_ping(p.brk, MQTT_PINGRESP);
    say_publish(p.brk, 0, 0, "c", "2");
    unglue(p.brk);
    struct end *next = broker_next(w);
    sees(next, "CONNECT 3.1.1 d1 ka=60");
    say_publish(p.brk, 0, 0, "c", "3");
    end_finish(p.brk); /* taken over */
    say_connack(next, true, 0, NULL);
    say_publish(next, 0, 0, "c", "4");
    sees(p.dev, "PUBLISH q0 c 1");
    sees(p.dev, "PUBLISH q0 c 2");
    sees(p.dev, "PUBLISH q0 c 3");
    sees(p.dev, "PUBLISH q0 c 4");
    tells(w, "accepted new present rehomed");
}

/* All that the broker queued comes in one go with CONNACK, while the old leg has something, too. */
static void much_behind_connack_survives_the_reading_of_the_old_leg(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    char payload[2001];

    (void)unused;
    memset(payload, 'x', sizeof payload - 1);
    payload[sizeof payload - 1] = '\0';
    w->keeps_predecessors = true;
    flip_to_barrier(w, &p, FLIP_NEW);
    say_ping(p.brk, MQTT_PINGRESP);
    struct end *next = broker_next(w);
    sees(next, "CONNECT 3.1.1 d1 ka=60");
    glue(next);
    say_connack(next, true, 0, NULL);
    for (int i = 0; i < 31; i++) { /* a record for each, one write for all */
        say_publish(next, 0, 0, "n", payload);
        stream_prepare(&next->st);
        tls_conn_write(next->tls, next->out.p, next->out.len);
        next->out.len = 0;
    }
    unglue(next);
    glue(p.brk);
    for (int i = 0; i < 32; i++)
        say_publish(p.brk, 0, 0, "o", payload);
    unglue(p.brk);
    end_finish(p.brk);
    for (int i = 0; i < 32; i++)
        sees(p.dev, "PUBLISH q0 o <2000 bytes>");
    for (int i = 0; i < 31; i++)
        sees(p.dev, "PUBLISH q0 n <2000 bytes>");
    p.brk = next;
    quiet(&p);
}

/* CONNACK is here, and what the broker has sent on the old leg before is late: each connection has
 * its own losses.  `next` has one message behind CONNACK. */
static struct end *accepted_with_the_old_leg_behind(struct world *w, struct pair *p)
{
    w->keeps_predecessors = true;
    flip_to_barrier(w, p, FLIP_NEW);
    say_publish(p->dev, 0, 0, "a", "held");
    say_ping(p->brk, MQTT_PINGRESP);
    struct end *next = broker_next(w);
    sees(next, "CONNECT 3.1.1 d1 ka=60");
    glue(next);
    say_connack(next, true, 0, NULL);
    say_publish(next, 0, 0, "c", "2");
    unglue(next);
    world_until(w, the_session(w)->early.len > 0);
    assert_false(end_has_packet(p->dev));
    assert_false(world_has_news(w));
    return next;
}

static void the_old_leg_is_read_to_its_end_after_connack(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    struct end *next = accepted_with_the_old_leg_behind(w, &p);

    (void)unused;
    say_publish(p.brk, 0, 0, "c", "1");
    sees(p.dev, "PUBLISH q0 c 1");
    assert_false(world_has_news(w));
    end_finish(p.brk);
    sees(p.dev, "PUBLISH q0 c 2");
    tells(w, "accepted new present rehomed");
    sees(next, "PUBLISH q0 a held");
    p.brk = next;
    quiet(&p);
}

/* Nor is one that does not end, and is given up for something else: what the broker has accepted is
 * not thrown away with it. */
static void the_old_leg_is_given_up_after_connack(void **unused, bool silent)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    struct end *next = accepted_with_the_old_leg_behind(w, &p);

    (void)unused;
    if (silent) {
        the_session(w)->ping_since_ms = 1; /* the barrier's PINGREQ was not answered in time */
        session_arm(the_session(w));
    } else {
        say_bytes(p.brk, "\xff\xff", 2);
    }
    sees(p.dev, "PUBLISH q0 c 2");
    tells(w, "accepted new present rehomed");
    sees(next, "PUBLISH q0 a held");
    p.brk = next;
    quiet(&p);
}

static void an_old_leg_that_talks_nonsense_after_connack(void **unused)
{
    the_old_leg_is_given_up_after_connack(unused, false);
}

static void an_old_leg_that_is_silent_after_connack(void **unused)
{
    the_old_leg_is_given_up_after_connack(unused, true);
}

static void an_old_leg_that_never_ends_is_not_waited_for_for_ever(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    struct end *next = accepted_with_the_old_leg_behind(w, &p);

    (void)unused;
    world_due(the_session(w));
    sees(p.dev, "PUBLISH q0 c 2");
    tells(w, "accepted new present rehomed");
    sees(next, "PUBLISH q0 a held");
    sees_end(p.brk);
    p.brk = next;
    quiet(&p);
}

/* It was accepted, and that counts; and what it said is passed on. */
static void an_accepted_leg_that_is_lost_soon(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    struct end *next = accepted_with_the_old_leg_behind(w, &p);

    (void)unused;
    say_publish(p.brk, 0, 0, "c", "1");
    sees(p.dev, "PUBLISH q0 c 1");
    end_reset(p.brk);
    sees(p.dev, "PUBLISH q0 c 2");
    tells(w, "accepted new present rehomed");
    sees(next, "PUBLISH q0 a held");
    end_reset(next);
    tells(w, "lost new: network");
    world_due(the_session(w));
    p.brk = world_broker_accepts(w, MQTT_V311, true);
    assert_string_equal(p.brk->cn, "new");
    tells(w, "accepted new present rehomed");
    quiet(&p);
}

static void an_accepted_leg_that_is_lost_at_once(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    struct end *next = accepted_with_the_old_leg_behind(w, &p);

    (void)unused;
    leg_read(the_session(w)->cand, true); /* as if the read that brought CONNACK had brought it */
    end_reset(next);
    sees(p.dev, "PUBLISH q0 c 2");
    tells(w, "accepted new present rehomed");
    tells(w, "lost new: network");
    world_due(the_session(w));
    p.brk = world_broker_accepts(w, MQTT_V311, true);
    tells(w, "accepted new present rehomed");
    quiet(&p);
}

static void exchanges_under_way_finish_before_the_barrier(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    say_publish(p.dev, 2, 1, "a", "x");
    sees(p.brk, "PUBLISH q2 #1 a x");
    world_use(w, "d1", FLIP_NEW);
    world_until(w, the_session(w)->phase == RH_DRAINING);
    say_publish(p.dev, 0, 0, "a", "held"); /* new things wait */
    say_ack(p.brk, MQTT_PUBREC, 1, 0);
    sees(p.dev, "PUBREC #1");
    say_ack(p.dev, MQTT_PUBREL, 1, 0);
    world_until(w, the_session(w)->held.len > 0);
    /* Behind what waits nothing overtakes, so the bound ends the draining. */
    if (!end_has_packet(p.brk))
        world_due(the_session(w));
    struct mqtt_packet pkt = end_packet(p.brk, __FILE__, __LINE__);
    assert_true(pkt.type == MQTT_PUBREL || pkt.type == MQTT_PINGREQ);
}

static void acknowledgements_pass_while_draining(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    say_publish(p.dev, 2, 1, "a", "x");
    sees(p.brk, "PUBLISH q2 #1 a x");
    world_use(w, "d1", FLIP_NEW);
    sees(p.brk, "PINGREQ"); /* at once: it need not wait for the exchanges */
    assert_int_equal(the_session(w)->phase, RH_DRAINING);
    say_ack(p.brk, MQTT_PUBREC, 1, 0);
    sees(p.dev, "PUBREC #1");
    say_ack(p.dev, MQTT_PUBREL, 1, 0);
    sees(p.brk, "PUBREL #1");
    say_ping(p.brk, MQTT_PINGRESP);
    world_until(w, the_session(w)->barrier_met);
    assert_false(end_has_packet(broker_next(w))); /* an exchange is still under way */
    w->broker_taken--;
    say_ack(p.brk, MQTT_PUBCOMP, 1, 0);
    sees(p.dev, "PUBCOMP #1");
    struct end *next = broker_next(w); /* drained, and the barrier is behind us */
    sees(next, "CONNECT 3.1.1 d1 ka=60");
    world_connack(w, next, true);
    tells(w, "accepted new present rehomed");
}

/* A broker that never acknowledges cannot keep the flip waiting; what is open is repeated. */
/* What the device acknowledges behind the barrier's PINGREQ the broker may not have read when it
 * takes over: its repetition does not reach the device. */
static void acknowledged_behind_the_barrier_is_not_delivered_twice(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    struct mqtt_publish again = {
        .dup = true, .qos = 1, .packet_id = 7, .topic = slice_of("c"), .payload = slice_of("x")};

    (void)unused;
    say_publish(p.brk, 1, 7, "c", "x");
    sees(p.dev, "PUBLISH q1 #7 c x");
    say_publish(p.dev, 1, 1, "a", "y");
    sees(p.brk, "PUBLISH q1 #1 a y");
    world_use(w, "d1", FLIP_NEW);
    sees(p.brk, "PINGREQ");
    say_ack(p.dev, MQTT_PUBACK, 7, 0);
    world_until(w, the_session(w)->held.len > 0);
    say_ping(p.brk, MQTT_PINGRESP);
    say_ack(p.brk, MQTT_PUBACK, 1, 0);
    sees(p.dev, "PUBACK #1");
    struct end *next = broker_next(w);
    sees(next, "CONNECT 3.1.1 d1 ka=60");
    say_connack(next, true, 0, NULL);
    say_publish_full(next, &again);
    sees(next, "PUBACK #7");
    p.brk = next;
    quiet(&p);
    say_publish(next, 1, 7, "c", "another one"); /* the identifier is free again */
    sees(p.dev, "PUBLISH q1 #7 c another one");
    say_ack(p.dev, MQTT_PUBACK, 7, 0);
    sees(next, "PUBACK #7");
}

static void draining_and_barrier_are_bounded(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    say_publish(p.dev, 1, 9, "a", "x");
    sees(p.brk, "PUBLISH q1 #9 a x");
    world_use(w, "d1", FLIP_NEW);
    world_until(w, the_session(w)->phase == RH_DRAINING);
    world_due(the_session(w));
    sees(p.brk, "PINGREQ");
    world_due(the_session(w));
    struct end *next = broker_next(w);
    sees(next, "CONNECT 3.1.1 d1 ka=60");
    say_connack(next, true, 0, NULL);
    sees(next, "PUBLISH q1 #9 dup a x");
    tells(w, "accepted new present rehomed replayed=1 restored=0 lost=0");
    say_ack(next, MQTT_PUBACK, 9, 0);
    sees(p.dev, "PUBACK #9");
    p.brk = next;
    quiet(&p);
}

/* MQTT 5 keeps a Will quiet that has a delay: no need to leave. */
static void delayed_will_needs_no_goodbye(void **unused)
{
    struct world *w = world_new(NULL);
    struct mqtt_connect c = with_will;
    struct buf props = {0}, will = {0};

    (void)unused;
    mqtt_props_put_num(&props, MQTT_PROP_SESSION_EXPIRY, 300);
    mqtt_props_put_num(&will, MQTT_PROP_WILL_DELAY, 30);
    c.props = (struct mqtt_props){props.p, (uint32_t)props.len};
    c.will_props = (struct mqtt_props){will.p, (uint32_t)will.len};
    struct pair p = world_open(w, MQTT_V5, &c);
    buf_fini(&props);
    buf_fini(&will);
    flip_to_barrier(w, &p, FLIP_NEW);
    (void)take_over(w, &p, "CONNECT 5.0 d1 ka=60 will=w session-expiry-interval=300", true);
    tells(w, "accepted new present rehomed");
    sees_end(p.brk);
}

/* What an old leg says that is being replaced cannot harm the new one. */
static void nonsense_on_the_old_leg_is_nothing_to_the_new_one(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    flip_to_barrier(w, &p, FLIP_NEW);
    say_ping(p.brk, MQTT_PINGRESP);
    struct end *next = broker_next(w);
    sees(next, "CONNECT 3.1.1 d1 ka=60");
    say_connack(next, true, 0, NULL);
    say_bytes(p.brk, "\x00\x00", 2);
    tells(w, "accepted new present rehomed");
    assert_int_equal(the_session(w)->phase, RH_IDLE);
    p.brk = next;
    quiet(&p);
}

/* ---- candidates that fail ---- */

static void refused_candidate_costs_nothing(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    flip_to_barrier(w, &p, FLIP_NEW);
    say_publish(p.dev, 1, 1, "a", "held");
    say_subscribe(p.dev, 2, "c", 1);
    say_ping(p.brk, MQTT_PINGRESP);
    struct end *next = broker_next(w);
    sees(next, "CONNECT 3.1.1 d1 ka=60");
    world_until(w, the_session(w)->held.len > 0);
    say_connack(next, false, 5, NULL);
    tells(w, "failed new: identity");
    sees_end(next);
    sees(p.brk, "PUBLISH q1 #1 a held");
    sees(p.brk, "SUBSCRIBE #2 c:1");
    say_ack(p.brk, MQTT_PUBACK, 1, 0);
    sees(p.dev, "PUBACK #1");
    say_suback(p.brk, MQTT_SUBACK, 2, "\x01", 1);
    sees(p.dev, "SUBACK #2 01");
    quiet(&p);
    assert_false(broker_has_next(w)); /* until main decides anew */
    assert_int_equal(the_session(w)->retry_ms, 0);
    assert_int_equal(w->env.stats.rehomes_failed, 1);
    world_use(w, "d1", FLIP_NEW);
    sees(p.brk, "PINGREQ");
}

static void certificate_refused_in_tls(void **unused, const struct world_args *args)
{
    struct world *w = world_new(args);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    w->broker_refuses_new = true;
    world_use(w, "d1", FLIP_NEW);
    tells(w, "failed new: identity");
    assert_int_equal(the_session(w)->phase, RH_IDLE);
    quiet(&p);
}

static void certificate_refused_in_tls_1_2_costs_nothing(void **unused)
{
    certificate_refused_in_tls(unused, &(struct world_args){.upstream = "tls_max = \"1.2\";"});
}

/* TLS 1.3 says it late: the candidate is given a moment before anything is held for it. */
static void certificate_refused_in_tls_1_3_costs_nothing(void **unused)
{
    certificate_refused_in_tls(unused, &(struct world_args){.accept_wait_ms = 3000});
}

static void candidate_that_says_nothing_is_given_up(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    w->broker_deaf = true;
    world_use(w, "d1", FLIP_NEW);
    say_publish(p.dev, 0, 0, "a", "flows");
    sees(p.brk, "PUBLISH q0 a flows");
    assert_int_equal(the_session(w)->phase, RH_DIALING);
    world_due(the_session(w));
    world_until(w, world_has_news(w));
    assert_int_equal(the_session(w)->phase, RH_IDLE);
    assert_true(the_session(w)->retry_ms > 0); /* not the identity's fault: it is tried again */
    quiet(&p);
    w->broker_deaf = false;
    world_due(the_session(w));
    sees(p.brk, "PINGREQ");
}

static void flip_that_is_taken_back_in_time_moves_nothing(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    flip_to_barrier(w, &p, FLIP_NEW);
    say_publish(p.dev, 0, 0, "a", "held");
    world_until(w, the_session(w)->held.len > 0);
    world_use(w, "d1", FLIP_OLD);
    sees(p.brk, "PUBLISH q0 a held");
    assert_int_equal(the_session(w)->phase, RH_IDLE);
    say_ping(p.brk, MQTT_PINGRESP); /* of the barrier that nobody waits for any more */
    quiet(&p);
    assert_int_equal(w->env.stats.rehomes, 0);
}

static void rollback_goes_the_same_way_back(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    flip_to_barrier(w, &p, FLIP_NEW);
    p.brk = take_over(w, &p, "CONNECT 3.1.1 d1 ka=60", true);
    tells(w, "accepted new present rehomed");
    flip_to_barrier(w, &p, FLIP_OLD);
    p.brk = take_over(w, &p, "CONNECT 3.1.1 d1 ka=60", true);
    assert_string_equal(p.brk->cn, "old");
    tells(w, "accepted old present rehomed");
    quiet(&p);
}

static void missing_identity_leaves_the_leg_alone(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    struct device *dev = world_device(w, "d1");

    (void)unused;
    cred_unref(dev->cred[FLIP_NEW]);
    dev->cred[FLIP_NEW] = NULL;
    world_use(w, "d1", FLIP_NEW);
    quiet(&p);
    assert_int_equal(the_session(w)->phase, RH_IDLE);
}

/* ---- an uplink that is lost ---- */

static void device_is_held_while_there_is_no_uplink(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    end_reset(p.brk);
    tells(w, "lost old: network");
    say_ping(p.dev, MQTT_PINGREQ);
    sees(p.dev, "PINGRESP");
    say_publish(p.dev, 0, 0, "a", "one");
    say_publish(p.dev, 1, 1, "a", "two");
    say_ping(p.dev, MQTT_PINGREQ);
    sees(p.dev, "PINGRESP");
    assert_true(the_session(w)->retry_ms > 0);
    world_due(the_session(w));
    p.brk = world_broker_accepts(w, MQTT_V311, true);
    tells(w, "accepted old present rehomed");
    sees(p.brk, "PUBLISH q0 a one");
    sees(p.brk, "PUBLISH q1 #1 a two"); /* never sent before: no DUP */
    quiet(&p);
}

/* Who is let in at the gate and cannot dial leaves its turn to the next one. */
static void gate_goes_on_past_who_cannot_dial(void **unused)
{
    static const char *const names[] = {"d2", "d1", "d3"};
    struct world *w = world_new(NULL);
    struct session *s[3];
    struct end *brk[3];

    (void)unused;
    w->keeps_predecessors = true; /* they are several devices */
    for (unsigned i = 0; i < 3; i++) {
        struct mqtt_connect c = world_lasting;
        c.client_id = slice_of(names[i]);
        world_device(w, names[i]);
        say_connect(device_new(w, MQTT_V311), &c);
        brk[i] = world_broker_accepts(w, MQTT_V311, false);
        s[i] = world_session(w, names[i]);
        world_until(w, s[i]->phase == RH_IDLE);
    }
    w->env.gate[0].gate.window = 1;
    for (unsigned i = 0; i < 3; i++) {
        end_reset(brk[i]);
        world_until(w, s[i]->phase == RH_WAITING);
    }
    world_due(s[0]);
    struct end *next = broker_next(w);
    next->version = MQTT_V311;
    world_due(s[1]);
    world_due(s[2]);
    world_until(w, !list_empty(&s[1]->at_gate) && !list_empty(&s[2]->at_gate));
    cred_unref(world_device(w, "d1")->cred[FLIP_OLD]);
    world_device(w, "d1")->cred[FLIP_OLD] = NULL;
    sees(next, "CONNECT 3.1.1 d2 ka=60");
    w->env.gate[0].gate.window = 0; /* one more by this answer */
    say_connack(next, true, 0, NULL);
    next = broker_next(w);
    next->version = MQTT_V311;
    sees(next, "CONNECT 3.1.1 d3 ka=60");
}

/* The backoff of the network's table, without anybody's help. */
static void uplink_is_retried_by_itself(void **unused)
{
    struct world *w = world_new(&(struct world_args){.flip = "backoff_network_s = [ 1 ];"});
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    uint64_t began = uv_now(&w->loop); /* before it is lost */
    end_reset(p.brk);
    tells(w, "lost old: network");
    p.brk = world_broker_accepts(w, MQTT_V311, true);
    assert_true(uv_now(&w->loop) - began >= 700);
    tells(w, "accepted old present rehomed");
    quiet(&p);
}

static void unfinished_publishes_are_sent_again_in_order(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    say_publish(p.dev, 1, 3, "a", "three");
    say_publish(p.dev, 2, 1, "a", "one");
    say_publish(p.dev, 1, 2, "a", "two");
    sees(p.brk, "PUBLISH q1 #3 a three");
    sees(p.brk, "PUBLISH q2 #1 a one");
    sees(p.brk, "PUBLISH q1 #2 a two");
    say_ack(p.brk, MQTT_PUBACK, 2, 0);
    sees(p.dev, "PUBACK #2");
    lose_and_return(w, &p, true);
    tells(w, "accepted old present rehomed replayed=2 restored=0 lost=0");
    sees(p.brk, "PUBLISH q1 #3 dup a three");
    sees(p.brk, "PUBLISH q2 #1 dup a one");
    say_ack(p.brk, MQTT_PUBACK, 3, 0);
    sees(p.dev, "PUBACK #3");
    quiet(&p);
}

/* To a broker that remembers nothing they are new. */
static void without_a_session_publishes_are_new_and_subscriptions_come_again(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    say_subscribe(p.dev, 1, "c/#", 1);
    sees(p.brk, "SUBSCRIBE #1 c/#:1");
    say_suback(p.brk, MQTT_SUBACK, 1, "\x01", 1);
    sees(p.dev, "SUBACK #1 01");
    say_publish(p.dev, 1, 3, "a", "three");
    sees(p.brk, "PUBLISH q1 #3 a three");
    lose_and_return(w, &p, false);
    tells(w, "accepted old rehomed replayed=1 restored=1 lost=0");
    sees(p.brk, "SUBSCRIBE #65535 c/#:1"); /* before what is published: it was there before */
    sees(p.brk, "PUBLISH q1 #3 a three");
    say_suback(p.brk, MQTT_SUBACK, 65535, "\x01", 1);
    say_ack(p.brk, MQTT_PUBACK, 3, 0);
    sees(p.dev, "PUBACK #3"); /* and nothing of the SUBACK that it did not ask for */
    quiet(&p);
}

/* A thousand of them, and nobody else is kept waiting for it. */
static void many_subscriptions_come_again_at_once(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    char line[64];

    (void)unused;
    for (unsigned i = 1; i <= 1000; i++) {
        snprintf(line, sizeof line, "c/%u", i);
        say_subscribe(p.dev, (uint16_t)i, line, 1);
        (void)end_packet(p.brk, __FILE__, __LINE__);
        say_suback(p.brk, MQTT_SUBACK, (uint16_t)i, "\x01", 1);
        (void)end_packet(p.dev, __FILE__, __LINE__);
    }
    lose_and_return(w, &p, false);
    tells(w, "accepted old rehomed replayed=0 restored=1000 lost=0");
    for (unsigned i = 1; i <= 1000; i++) {
        snprintf(line, sizeof line, "SUBSCRIBE #%u c/%u:1", 65536 - i, i);
        sees(p.brk, line);
        say_suback(p.brk, MQTT_SUBACK, (uint16_t)(65536 - i), "\x01", 1);
    }
    quiet(&p);
    assert_int_equal(the_session(w)->to_broker.count, 0);
}

static void subscription_identifiers_come_again_too(void **unused)
{
    static const uint8_t subscribe[] = {0x82, 0x0A, 0x00, 0x01, 0x02, 0x0B,
                                        0x07, 0x00, 0x02, 'c',  '1',  0x2D};
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_clean);

    (void)unused;
    say_bytes(p.dev, subscribe, sizeof subscribe);
    sees(p.brk, "SUBSCRIBE #1 c1:45 subscription-identifier=7");
    say_suback(p.brk, MQTT_SUBACK, 1, "\x01", 1);
    sees(p.dev, "SUBACK #1 01");
    lose_and_return(w, &p, false);
    tells(w, "accepted old rehomed replayed=0 restored=1 lost=0");
    sees(p.brk, "SUBSCRIBE #65535 c1:45 subscription-identifier=7");
}

/* QoS 2 of the device, lost at each point. */
static void device_qos_2_continues_where_it_was(void **unused)
{
    (void)unused;
    for (int seen = 0; seen < 3; seen++) {
        for (int present = 0; present < 2; present++) {
            struct world *w = world_new(NULL);
            struct pair p = world_open(w, MQTT_V311, &world_lasting);
            const char *again = present ? "PUBLISH q2 #1 dup a x" : "PUBLISH q2 #1 a x";

            say_publish(p.dev, 2, 1, "a", "x");
            sees(p.brk, "PUBLISH q2 #1 a x");
            if (seen >= 1) {
                say_ack(p.brk, MQTT_PUBREC, 1, 0);
                sees(p.dev, "PUBREC #1");
            }
            if (seen >= 2) {
                say_ack(p.dev, MQTT_PUBREL, 1, 0);
                sees(p.brk, "PUBREL #1");
            }
            lose_and_return(w, &p, present);
            if (seen == 0) { /* PUBLISH is unanswered */
                sees(p.brk, again);
                say_ack(p.brk, MQTT_PUBREC, 1, 0);
                sees(p.dev, "PUBREC #1");
                say_ack(p.dev, MQTT_PUBREL, 1, 0);
                sees(p.brk, "PUBREL #1");
            } else if (seen == 1 && present) { /* PUBREL is the device's to send */
                say_ack(p.dev, MQTT_PUBREL, 1, 0);
                sees(p.brk, "PUBREL #1");
            } else if (seen == 1) { /* the broker never had it: once more, without the device */
                sees(p.brk, again);
                say_ack(p.brk, MQTT_PUBREC, 1, 0);
                quiet(&p); /* the device has had its PUBREC */
                say_ack(p.dev, MQTT_PUBREL, 1, 0);
                sees(p.brk, "PUBREL #1");
            } else if (present) {
                sees(p.brk, "PUBREL #1");
            } else { /* it may have been the last one: nothing that could come twice */
                sees(p.dev, "PUBCOMP #1");
            }
            if (seen < 2 || present) {
                say_ack(p.brk, MQTT_PUBCOMP, 1, 0);
                sees(p.dev, "PUBCOMP #1");
            }
            assert_int_equal(the_session(w)->to_broker.count, 0);
            quiet(&p);
            world_end(NULL);
        }
    }
}

/* The device answers the PUBREC of the former leg only after the switch. */
static void pubrel_that_meets_a_repeated_publish_ends_the_exchange_once(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    say_publish(p.dev, 2, 1, "a", "x");
    sees(p.brk, "PUBLISH q2 #1 a x");
    say_ack(p.brk, MQTT_PUBREC, 1, 0);
    sees(p.dev, "PUBREC #1");
    lose_and_return(w, &p, false);
    sees(p.brk, "PUBLISH q2 #1 a x");
    say_ack(p.dev, MQTT_PUBREL, 1, 0);
    quiet(&p); /* PUBREL answers PUBREC [MQTT-4.3.3-1] */
    say_ack(p.brk, MQTT_PUBREC, 1, 0);
    sees(p.brk, "PUBREL #1");
    say_ack(p.brk, MQTT_PUBCOMP, 1, 0);
    sees(p.dev, "PUBCOMP #1");
    quiet(&p); /* once */
}

/* QoS 2 of the broker, lost at each point; with the session it repeats, without it is silent. */
static void broker_qos_2_is_delivered_once(void **unused)
{
    (void)unused;
    for (int seen = 0; seen < 3; seen++) {
        for (int present = 0; present < 2; present++) {
            struct world *w = world_new(NULL);
            struct pair p = world_open(w, MQTT_V311, &world_lasting);
            struct mqtt_publish again = {.qos = 2,
                                         .packet_id = 1,
                                         .dup = true,
                                         .topic = slice_of("c"),
                                         .payload = slice_of("x")};

            say_publish(p.brk, 2, 1, "c", "x");
            sees(p.dev, "PUBLISH q2 #1 c x");
            if (seen >= 1) {
                say_ack(p.dev, MQTT_PUBREC, 1, 0);
                sees(p.brk, "PUBREC #1");
            }
            if (seen >= 2) {
                say_ack(p.brk, MQTT_PUBREL, 1, 0);
                sees(p.dev, "PUBREL #1");
            }
            lose_and_return(w, &p, present);
            if (present && seen < 2) { /* it has had no PUBREC, or says so */
                say_publish_full(p.brk, &again);
                if (seen == 0)
                    say_ack(p.dev, MQTT_PUBREC, 1, 0);
                sees(p.brk, "PUBREC #1");
                say_ack(p.brk, MQTT_PUBREL, 1, 0);
                sees(p.dev, "PUBREL #1");
                say_ack(p.dev, MQTT_PUBCOMP, 1, 0);
                sees(p.brk, "PUBCOMP #1");
            } else if (present) {
                say_ack(p.brk, MQTT_PUBREL, 1, 0);
                quiet(&p); /* the device has it */
                say_ack(p.dev, MQTT_PUBCOMP, 1, 0);
                sees(p.brk, "PUBCOMP #1");
            } else { /* the device's exchange is ended for it */
                if (seen == 0)
                    say_ack(p.dev, MQTT_PUBREC, 1, 0);
                if (seen < 2)
                    sees(p.dev, "PUBREL #1");
                say_ack(p.dev, MQTT_PUBCOMP, 1, 0);
            }
            quiet(&p); /* and no message twice, no acknowledgement that nobody waits for */
            assert_int_equal(the_session(w)->to_device.count, 0);
            world_end(NULL);
        }
    }
}

/* Acknowledged while there was no leg: the repetition is on its way all the same. */
static void acknowledged_while_held_is_not_delivered_twice(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    say_publish(p.brk, 1, 1, "c", "x");
    sees(p.dev, "PUBLISH q1 #1 c x");
    end_reset(p.brk);
    tells(w, "lost old: network");
    say_ack(p.dev, MQTT_PUBACK, 1, 0);
    world_until(w, the_session(w)->held.len > 0);
    world_due(the_session(w));
    p.brk = broker_next(w);
    sees(p.brk, "CONNECT 3.1.1 d1 ka=60");
    glue(p.brk);
    say_connack(p.brk, true, 0, NULL);
    say_publish_full(p.brk, &(struct mqtt_publish){.qos = 1,
                                                   .packet_id = 1,
                                                   .dup = true,
                                                   .topic = slice_of("c"),
                                                   .payload = slice_of("x")});
    unglue(p.brk);
    sees(p.brk, "PUBACK #1");
    quiet(&p);
    say_publish(p.brk, 1, 1, "c", "the next one");
    sees(p.dev, "PUBLISH q1 #1 c the next one");
}

static void subscribe_under_way_is_asked_again(void **unused)
{
    (void)unused;
    for (int present = 0; present < 2; present++) {
        struct world *w = world_new(NULL);
        struct pair p = world_open(w, MQTT_V311, &world_lasting);

        say_subscribe(p.dev, 1, "c/1", 1);
        say_unsubscribe(p.dev, 2, "c/2");
        sees(p.brk, "SUBSCRIBE #1 c/1:1");
        sees(p.brk, "UNSUBSCRIBE #2 c/2");
        lose_and_return(w, &p, present);
        sees(p.brk, "SUBSCRIBE #1 c/1:1");
        sees(p.brk, "UNSUBSCRIBE #2 c/2");
        say_suback(p.brk, MQTT_SUBACK, 1, "\x01", 1);
        say_suback(p.brk, MQTT_UNSUBACK, 2, "", 0);
        sees(p.dev, "SUBACK #1 01");
        sees(p.dev, "UNSUBACK #2");
        assert_int_equal(the_session(w)->subs.count, 1);
        quiet(&p);
        world_end(NULL);
    }
}

/* ---- topic aliases ---- */

static void aliases_are_spelt_out_to_a_leg_that_does_not_know_them(void **unused)
{
    struct world *w = world_new(NULL);
    w->alias_most = 10;
    struct pair p = world_open(w, MQTT_V5, &world_clean);
    struct buf alias = {0};
    struct mqtt_publish m = {.topic = slice_of("long/topic"), .payload = slice_of("1")};

    (void)unused;
    mqtt_props_put_num(&alias, MQTT_PROP_TOPIC_ALIAS, 4);
    mqtt_props_put_pair(&alias, slice_of("k"), slice_of("v"));
    m.props = (struct mqtt_props){alias.p, (uint32_t)alias.len};
    say_publish_full(p.dev, &m);
    sees(p.brk, "PUBLISH q0 long/topic 1 topic-alias=4 user-property=k:v");
    m.topic = slice_of("");
    m.qos = 1;
    m.packet_id = 8;
    say_publish_full(p.dev, &m);
    sees(p.brk, "PUBLISH q1 #8  1 topic-alias=4 user-property=k:v");
    world_use(w, "d1", FLIP_NEW);
    world_until(w, the_session(w)->phase == RH_DRAINING);
    world_due(the_session(w));
    sees(p.brk, "PINGREQ");
    m.packet_id = 9;
    say_publish_full(p.dev, &m); /* held */
    p.brk = take_over(w, &p, "CONNECT 5.0 d1 ka=60 session-expiry-interval=600", true);
    sees(p.brk, "PUBLISH q1 #8 dup long/topic 1 user-property=k:v");
    sees(p.brk, "PUBLISH q1 #9 long/topic 1 user-property=k:v");
    m.topic = slice_of("other");
    m.qos = 0;
    m.packet_id = 0;
    say_publish_full(p.dev, &m); /* set anew: this leg knows it from here on */
    sees(p.brk, "PUBLISH q0 other 1 topic-alias=4 user-property=k:v");
    m.topic = slice_of("");
    say_publish_full(p.dev, &m);
    sees(p.brk, "PUBLISH q0  1 topic-alias=4 user-property=k:v");
    buf_fini(&alias);
}

static void broker_with_fewer_aliases_is_told_the_topics(void **unused)
{
    struct world *w = world_new(NULL);
    w->alias_most = 10;
    struct pair p = world_open(w, MQTT_V5, &world_clean);
    struct buf alias = {0};
    struct mqtt_publish m = {.topic = slice_of("t"), .payload = slice_of("1")};

    (void)unused;
    mqtt_props_put_num(&alias, MQTT_PROP_TOPIC_ALIAS, 4);
    m.props = (struct mqtt_props){alias.p, (uint32_t)alias.len};
    w->alias_most = 3;
    flip_to_barrier(w, &p, FLIP_NEW);
    p.brk = take_over(w, &p, "CONNECT 5.0 d1 ka=60 session-expiry-interval=600", true);
    say_publish_full(p.dev, &m);
    sees(p.brk, "PUBLISH q0 t 1");
    m.topic = slice_of("");
    say_publish_full(p.dev, &m);
    sees(p.brk, "PUBLISH q0 t 1");
    buf_fini(&alias);
}

/* ---- the device leaves ---- */

static void last_packets_of_a_device_that_left_while_held_arrive(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    end_reset(p.brk);
    tells(w, "lost old: network");
    say_publish(p.dev, 0, 0, "a", "last");
    say_disconnect(p.dev, 0, NULL);
    end_finish(p.dev);
    world_until(w, the_session(w)->gone);
    world_due(the_session(w));
    p.brk = world_broker_accepts(w, MQTT_V311, true);
    sees(p.brk, "PUBLISH q0 a last");
    sees(p.brk, "DISCONNECT");
    sees_end(p.brk);
    tells(w, "accepted old present rehomed");
    tells(w, "down d1: the device left");
}

static void device_that_left_is_not_waited_for_for_ever(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    end_reset(p.brk);
    tells(w, "lost old: network");
    say_disconnect(p.dev, 0, NULL);
    world_until(w, the_session(w)->leave_ms != 0);
    the_session(w)->leave_ms = env_now_ms(&w->env);
    the_session(w)->timer_ms = 0;
    session_arm(the_session(w));
    tells(w, "down d1: the device left, and no uplink came for its last packets");
    sees_end(p.dev);
}

static void device_that_dies_while_held_is_gone(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    end_reset(p.brk);
    tells(w, "lost old: network");
    end_finish(p.dev);
    tells(w, "down d1: the device closed its connection without DISCONNECT");
}

/* ---- uplink_lost = "drop" ---- */

static void drop_mode_cuts_the_device_off(void **unused)
{
    struct world *w = world_new(&(struct world_args){.upstream = "uplink_lost = \"drop\";"});
    struct pair p = world_open(w, MQTT_V5, &world_clean);

    (void)unused;
    end_reset(p.brk);
    sees(p.dev, "DISCONNECT 0x89");
    sees_end(p.dev);
    tells(w, "lost old: network");
    tells(w, "down d1: the uplink is lost, and its profile says uplink_lost = \"drop\"");
}

/* ---- clean sessions of 3.1.1 ---- */

static void clean_session_never_sees_an_earlier_life(void **unused)
{
    struct world *w = world_new(NULL);
    struct end *dev = device_new(w, MQTT_V311);

    (void)unused;
    say_connect(dev, &world_clean);
    struct end *brk = broker_next(w);
    sees(brk, "CONNECT 3.1.1 d1 ka=60"); /* asked to last, so that a flip loses nothing */
    glue(brk);
    say_connack(brk, true, 0, NULL); /* something is left there */
    say_publish(brk, 1, 1, "c", "of an earlier life");
    unglue(brk);
    sees(brk, "DISCONNECT");
    sees_end(brk);
    struct end *wipe = broker_next(w);
    sees(wipe, "CONNECT 3.1.1 d1 clean ka=60");
    say_connack(wipe, false, 0, NULL);
    sees(wipe, "DISCONNECT");
    sees_end(wipe);
    struct end *good = broker_next(w);
    sees(good, "CONNECT 3.1.1 d1 ka=60");
    say_connack(good, false, 0, NULL);
    sees(dev, "CONNACK");
    tells(w, "up d1");
    tells(w, "accepted old");
    struct pair p = {dev, good};
    quiet(&p);
}

static void clean_session_leaves_nothing_behind(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_clean);

    (void)unused;
    say_disconnect(p.dev, 0, NULL);
    sees(p.brk, "DISCONNECT");
    end_finish(p.brk);
    struct end *wipe = broker_next(w);
    assert_string_equal(wipe->cn, "old");
    sees(wipe, "CONNECT 3.1.1 d1 clean ka=60");
    say_connack(wipe, false, 0, NULL);
    sees(wipe, "DISCONNECT");
    sees_end(wipe);
    assert_true(list_empty(&w->env.cleaners));
    assert_null(world_device(w, "d1")->cleaner);
}

static void some_turns(struct world *w)
{
    for (int i = 0; i < 30; i++)
        world_turn(w);
}

/* Another worker has the device again: what is to be cleared is the session that it goes on with.
 */
static void what_is_in_use_again_is_not_cleared(void **unused)
{
    struct world *w = world_new(NULL);
    struct presence *all = world_device(w, "d1")->presence;
    struct pair p;
    struct end *wipe;
    uint32_t home;
    unsigned ends;

    (void)unused;
    /* It dials before the leg that is left has ended, ... */
    p = world_open(w, MQTT_V311, &world_clean);
    home = world_session(w, "d1")->home;
    say_disconnect(p.dev, 0, NULL);
    sees(p.brk, "DISCONNECT");
    tells(w, "down d1: the device left");
    presence_dial(all, home);
    end_finish(p.brk);
    world_until(w, list_empty(&w->env.cleaners));
    some_turns(w);
    assert_false(broker_has_next(w));

    /* ... or while the one that clears is on its way. */
    p = world_open(w, MQTT_V311, &world_clean);
    say_disconnect(p.dev, 0, NULL);
    sees(p.brk, "DISCONNECT");
    tells(w, "down d1: the device left");
    ends = w->end_count;
    end_finish(p.brk);
    world_until(w, w->end_count > ends);
    presence_dial(all, home);
    wipe = broker_next(w);
    sees_end(wipe); /* without CONNECT */
    assert_true(list_empty(&w->env.cleaners));

    /* Another client identifier is another session, and who comes later waits for the end of it. */
    p = world_open(w, MQTT_V311, &world_clean);
    say_disconnect(p.dev, 0, NULL);
    sees(p.brk, "DISCONNECT");
    tells(w, "down d1: the device left");
    presence_dial(all, home + 1);
    end_finish(p.brk);
    wipe = broker_next(w);
    sees(wipe, "CONNECT 3.1.1 d1 clean ka=60");
    assert_true(presence_parting(all, home));
    assert_false(presence_parting(all, home + 1)); /* whose newcomers need not wait */
    say_connack(wipe, false, 0, NULL);
    sees(wipe, "DISCONNECT");
    sees_end(wipe);
    end_finish(wipe);
    world_until(w, !presence_parting(all, home));
}

static void dials_are_known_of_many_client_identifiers(void **unused)
{
    struct presence *all = presence_new();
    uint64_t number[100];

    (void)unused;
    for (uint32_t home = 0; home < 100; home++)
        number[home] = presence_dial(all, home);
    for (uint32_t home = 50; home < 100; home++)
        assert_false(presence_dialled_since(all, home, number[home]));
    presence_dial(all, 60);
    assert_true(presence_dialled_since(all, 60, number[60]));
    /* Whose legs part is not forgotten. */
    presence_part(all, 7);
    for (uint32_t home = 200; home < 400; home++)
        presence_dial(all, home);
    assert_true(presence_parting(all, 7));
    assert_false(presence_parting(all, 399));
    presence_parted(all, 7);
    assert_false(presence_parting(all, 7));
    /* What was forgotten was no recent one: where thousands share a device, all is cleared behind
     * each. */
    assert_false(presence_dialled_since(all, 0, number[0]));
    presence_unref(all);
    assert_int_equal(presence_dial(NULL, 1), 0);
    assert_false(presence_dialled_since(NULL, 1, 0));
}

/* Whoever says CONNECT takes the session over, and the broker reads no more of the leg that had it.
 */
static void clearing_waits_until_the_last_packets_are_read(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_clean);

    (void)unused;
    glue(p.dev);
    say_publish(p.dev, 0, 0, "a", "last");
    say_disconnect(p.dev, 0, NULL);
    unglue(p.dev);
    tells(w, "down d1: the device left");
    some_turns(w);
    assert_false(broker_has_next(w));
    sees(p.brk, "PUBLISH q0 a last");
    sees(p.brk, "DISCONNECT");
    sees_end(p.brk);
    assert_false(broker_has_next(w));
    end_finish(p.brk);
    struct end *wipe = broker_next(w);
    sees(wipe, "CONNECT 3.1.1 d1 clean ka=60");
}

/* The same of the device itself, when it is back at once; also on another worker. */
static void new_session_waits_until_the_former_ones_packets_are_read(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);

    (void)unused;
    glue(p.dev);
    say_publish(p.dev, 0, 0, "a", "last");
    say_disconnect(p.dev, 0, NULL);
    unglue(p.dev);
    tells(w, "down d1: the device left");
    struct end *again = device_new(w, MQTT_V5);
    say_connect(again, &world_lasting);
    struct end *brk = broker_next(w);
    brk->version = MQTT_V5;
    tells(w, "up d1");
    some_turns(w);
    assert_false(end_has_packet(brk));
    sees(p.brk, "PUBLISH q0 a last");
    sees(p.brk, "DISCONNECT session-expiry-interval=0");
    sees_end(p.brk);
    assert_false(end_has_packet(brk));
    end_finish(p.brk);
    struct mqtt_packet pkt = end_packet(brk, __FILE__, __LINE__);
    assert_int_equal(pkt.type, MQTT_CONNECT);
    say_connack(brk, true, 0, NULL);
    sees(again, "CONNACK present");
}

/* A broker that does not end the former leg cannot keep the device out. */
static void new_session_does_not_wait_for_ever(void **unused)
{
    struct world *w = world_new(&(struct world_args){.upstream = "barrier_timeout_ms = 100;"});
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    say_disconnect(p.dev, 0, NULL);
    sees(p.brk, "DISCONNECT");
    struct end *again = device_new(w, MQTT_V311);
    say_connect(again, &world_lasting);
    struct end *brk = broker_next(w);
    sees(brk, "CONNECT 3.1.1 d1 ka=60");
    assert_false(p.brk->closing);
}

/* The device is back before its cleaner is through: the new session does the clearing. */
static void cleaner_makes_way_for_the_device(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_clean);

    (void)unused;
    end_finish(p.dev);
    tells(w, "down d1: the device closed its connection without DISCONNECT");
    assert_non_null(world_device(w, "d1")->cleaner);
    struct end *again = device_new(w, MQTT_V311);
    say_connect(again, &world_lasting);
    tells(w, "up d1");
    assert_null(world_device(w, "d1")->cleaner);
}

static void cleaner_is_bounded(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_clean);

    (void)unused;
    w->broker_deaf = true;
    say_disconnect(p.dev, 0, NULL);
    tells(w, "down d1: the device left");
    cleaner_sweep(&w->env);
    assert_false(list_empty(&w->env.cleaners));
    cleaner_cancel(world_device(w, "d1"));
    assert_true(list_empty(&w->env.cleaners));
}

/* Without the proxy's keeping, clean is clean. */
static void keep_session_off_passes_the_devices_wish(void **unused)
{
    struct world *w = world_new(&(struct world_args){.upstream = "keep_session = false;"});
    struct end *dev = device_new(w, MQTT_V311);

    (void)unused;
    say_connect(dev, &world_clean);
    struct end *brk = broker_next(w);
    sees(brk, "CONNECT 3.1.1 d1 clean ka=60");
    say_connack(brk, false, 0, NULL);
    sees(dev, "CONNACK");
    say_disconnect(dev, 0, NULL);
    sees(brk, "DISCONNECT");
    sees_end(brk);
    assert_true(list_empty(&w->env.cleaners));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        play(flip_without_will_takes_over_behind_the_barrier),
        play(packets_between_the_barriers_answer_and_connack_reach_the_device),
        play(much_behind_connack_survives_the_reading_of_the_old_leg),
        play(the_old_leg_is_read_to_its_end_after_connack),
        play(an_old_leg_that_talks_nonsense_after_connack),
        play(an_old_leg_that_is_silent_after_connack),
        play(an_old_leg_that_never_ends_is_not_waited_for_for_ever),
        play(an_accepted_leg_that_is_lost_soon),
        play(an_accepted_leg_that_is_lost_at_once),
        play(exchanges_under_way_finish_before_the_barrier),
        play(acknowledgements_pass_while_draining),
        play(acknowledged_behind_the_barrier_is_not_delivered_twice),
        play(draining_and_barrier_are_bounded),
        play(broker_with_fewer_aliases_is_told_the_topics),
        play(delayed_will_needs_no_goodbye),
        play(nonsense_on_the_old_leg_is_nothing_to_the_new_one),
        play(refused_candidate_costs_nothing),
        play(certificate_refused_in_tls_1_2_costs_nothing),
        play(certificate_refused_in_tls_1_3_costs_nothing),
        play(candidate_that_says_nothing_is_given_up),
        play(flip_that_is_taken_back_in_time_moves_nothing),
        play(rollback_goes_the_same_way_back),
        play(missing_identity_leaves_the_leg_alone),
        play(device_is_held_while_there_is_no_uplink),
        play(gate_goes_on_past_who_cannot_dial),
        play(uplink_is_retried_by_itself),
        play(unfinished_publishes_are_sent_again_in_order),
        play(without_a_session_publishes_are_new_and_subscriptions_come_again),
        play(many_subscriptions_come_again_at_once),
        play(subscription_identifiers_come_again_too),
        play(device_qos_2_continues_where_it_was),
        play(pubrel_that_meets_a_repeated_publish_ends_the_exchange_once),
        play(broker_qos_2_is_delivered_once),
        play(acknowledged_while_held_is_not_delivered_twice),
        play(subscribe_under_way_is_asked_again),
        play(aliases_are_spelt_out_to_a_leg_that_does_not_know_them),
        play(last_packets_of_a_device_that_left_while_held_arrive),
        play(device_that_left_is_not_waited_for_for_ever),
        play(device_that_dies_while_held_is_gone),
        play(drop_mode_cuts_the_device_off),
        play(clean_session_never_sees_an_earlier_life),
        play(clean_session_leaves_nothing_behind),
        play(what_is_in_use_again_is_not_cleared),
        play(dials_are_known_of_many_client_identifiers),
        play(clearing_waits_until_the_last_packets_are_read),
        play(new_session_waits_until_the_former_ones_packets_are_read),
        play(new_session_does_not_wait_for_ever),
        play(cleaner_makes_way_for_the_device),
        play(cleaner_is_bounded),
        play(keep_session_off_passes_the_devices_wish),
    };

    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
