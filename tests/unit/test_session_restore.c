/* What a new leg is told, and what the device does not notice of it: identifiers that come again,
 * exchanges that begin anew, limits that are others than it was told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session_world.h"

static struct session *the_session(struct world *w)
{
    return world_session(w, "d1");
}

/* The leg breaks, and the next one is there.  Returns it. */
static struct end *lose_and_return(struct world *w, struct pair *p, bool present)
{
    int version = p->brk->version;

    w->news_at = w->news.len;             /* what it told of the former one is of no interest */
    the_session(w)->up_since_ms -= 60000; /* it has stood */
    end_reset(p->brk);
    tells(w, "lost old: network");
    world_due(the_session(w));
    p->brk = world_broker_accepts(w, version, present);
    world_until(w, the_session(w)->phase == RH_IDLE);
    return p->brk;
}

static void say_again(struct end *e, uint8_t qos, uint16_t id, const char *topic,
                      const char *payload)
{
    say_publish_full(e, &(struct mqtt_publish){.qos = qos,
                                               .packet_id = id,
                                               .dup = true,
                                               .topic = slice_of(topic),
                                               .payload = slice_of(payload)});
}

static void subscribed(struct pair *p, uint16_t id, const char *filter, uint8_t options)
{
    say_subscribe(p->dev, id, filter, options);
    (void)end_packet(p->brk, __FILE__, __LINE__);
    say_suback(p->brk, MQTT_SUBACK, id, "\x01", 1);
    (void)end_packet(p->dev, __FILE__, __LINE__);
}

/* ---- identifiers that a broker uses again, having forgotten what they meant ---- */

static void new_message_under_an_id_in_use_gets_another(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    say_publish(p.brk, 1, 1, "c", "old");
    sees(p.dev, "PUBLISH q1 #1 c old");
    lose_and_return(w, &p, false);
    say_publish(p.brk, 1, 1, "c", "new");
    sees(p.dev, "PUBLISH q1 #65535 c new");
    say_ack(p.dev, MQTT_PUBACK, 1, 0); /* of the old one: the broker does not know it */
    quiet(&p);
    say_publish(p.brk, 1, 2, "c", "next");
    sees(p.dev, "PUBLISH q1 #2 c next");
    say_ack(p.dev, MQTT_PUBACK, 65535, 0);
    sees(p.brk, "PUBACK #1");
    say_ack(p.dev, MQTT_PUBACK, 2, 0);
    sees(p.brk, "PUBACK #2");
    say_publish(p.brk, 1, 1, "c", "free again");
    sees(p.dev, "PUBLISH q1 #1 c free again");
    assert_int_equal(the_session(w)->to_device.odd, 0);
}

/* QoS 2 at every stage of the forgotten exchange: a receiver would take the new message for a
 * repetition of the old one, and lose it. */
static void qos_2_under_an_id_in_use_is_a_message_of_its_own(void **unused)
{
    (void)unused;
    for (int version = MQTT_V31; version <= MQTT_V5; version++) {
        for (int stage = 0; stage < 3; stage++) {
            struct world *w = world_new(NULL);
            struct pair p = world_open(w, version, &world_lasting);

            say_publish(p.brk, 2, 7, "c", "old");
            sees(p.dev, "PUBLISH q2 #7 c old");
            if (stage >= 1) {
                say_ack(p.dev, MQTT_PUBREC, 7, 0);
                sees(p.brk, "PUBREC #7");
            }
            if (stage >= 2) {
                say_ack(p.brk, MQTT_PUBREL, 7, 0);
                sees(p.dev, "PUBREL #7");
            }
            lose_and_return(w, &p, false); /* 3.1 does not say so: the new message does */
            if (version == MQTT_V31)
                sees(p.brk, "PINGREQ");
            if (stage == 1 && version != MQTT_V31)
                sees(p.dev, "PUBREL #7");
            say_publish(p.brk, 2, 7, "c", "new");
            if (stage == 1 && version == MQTT_V31)
                sees(p.dev, "PUBREL #7");
            sees(p.dev, "PUBLISH q2 #65535 c new");
            say_ack(p.dev, MQTT_PUBREC, 65535, 0);
            sees(p.brk, "PUBREC #7");
            if (stage == 0) {
                say_ack(p.dev, MQTT_PUBREC, 7, 0);
                sees(p.dev, "PUBREL #7");
            }
            say_ack(p.brk, MQTT_PUBREL, 7, 0);
            sees(p.dev, "PUBREL #65535");
            say_ack(p.dev, MQTT_PUBCOMP, 7, 0);
            say_ack(p.dev, MQTT_PUBCOMP, 65535, 0);
            sees(p.brk, "PUBCOMP #7");
            if (version == MQTT_V31)
                say_ping(p.brk, MQTT_PINGRESP);
            quiet(&p);
            assert_int_equal(the_session(w)->to_device.count, 0);
            world_end(NULL);
        }
    }
}

/* A 3.1 broker does not say whether it has the session.  The device answers meanwhile, at each
 * stage of an exchange; what the broker does not know of it must not hear, since it may use the
 * identifier for something else at that moment. */
enum early { EARLY_PUBACK, EARLY_PUBREC, EARLY_PUBCOMP, EARLY_STAGES };

static struct pair answers_early(struct world *w, enum early stage)
{
    struct pair p = world_open(w, MQTT_V31, &world_lasting);

    say_publish(p.brk, stage == EARLY_PUBACK ? 1 : 2, 7, "c", "old");
    (void)end_packet(p.dev, __FILE__, __LINE__);
    if (stage == EARLY_PUBCOMP) {
        say_ack(p.dev, MQTT_PUBREC, 7, 0);
        sees(p.brk, "PUBREC #7");
        say_ack(p.brk, MQTT_PUBREL, 7, 0);
        sees(p.dev, "PUBREL #7");
    }
    lose_and_return(w, &p, false);
    sees(p.brk, "PINGREQ");
    say_ack(p.dev,
            stage == EARLY_PUBACK   ? MQTT_PUBACK
            : stage == EARLY_PUBREC ? MQTT_PUBREC
                                    : MQTT_PUBCOMP,
            7, 0);
    say_publish(p.dev, 0, 0, "behind", "it"); /* it was read */
    sees(p.brk, "PUBLISH q0 behind it");
    return p;
}

static void early_answer_waits_for_the_repetition(void **unused)
{
    (void)unused;
    for (enum early stage = 0; stage < EARLY_STAGES; stage++) {
        struct world *w = world_new(NULL);
        struct pair p = answers_early(w, stage);

        if (stage == EARLY_PUBACK) {
            say_again(p.brk, 1, 7, "c", "old");
            sees(p.brk, "PUBACK #7");
        } else if (stage == EARLY_PUBREC) {
            say_again(p.brk, 2, 7, "c", "old");
            sees(p.brk, "PUBREC #7");
        } else {
            say_ack(p.brk, MQTT_PUBREL, 7, 0);
            sees(p.brk, "PUBCOMP #7");
        }
        say_ping(p.brk, MQTT_PINGRESP);
        if (stage == EARLY_PUBREC) {
            say_ack(p.brk, MQTT_PUBREL, 7, 0);
            sees(p.dev, "PUBREL #7");
            say_ack(p.dev, MQTT_PUBCOMP, 7, 0);
            sees(p.brk, "PUBCOMP #7");
        }
        quiet(&p);
        assert_int_equal(the_session(w)->to_device.count, 0);
        world_end(NULL);
    }
}

static void early_answer_is_not_told_to_a_broker_that_forgot(void **unused)
{
    (void)unused;
    for (enum early stage = 0; stage < EARLY_STAGES; stage++) {
        struct world *w = world_new(NULL);
        struct pair p = answers_early(w, stage);

        say_publish(p.brk, 1, 7, "c", "new");
        if (stage == EARLY_PUBREC) { /* the old one ends, and its identifier is in use till then */
            sees(p.dev, "PUBREL #7");
            sees(p.dev, "PUBLISH q1 #65535 c new");
            say_ack(p.dev, MQTT_PUBCOMP, 7, 0);
        } else {
            sees(p.dev, "PUBLISH q1 #7 c new");
        }
        say_ack(p.dev, MQTT_PUBACK, stage == EARLY_PUBREC ? 65535 : 7, 0);
        sees(p.brk, "PUBACK #7");
        say_ping(p.brk, MQTT_PINGRESP);
        quiet(&p);
        assert_int_equal(the_session(w)->to_device.count, 0);
        world_end(NULL);
    }
}

/* It has nothing to say about the identifier: a device that waits for PUBREL would do so for ever,
 * and may not show the message to anybody before [MQTT-4.3.3-2, method A]. */
static void early_answer_is_ended_when_nothing_is_repeated(void **unused)
{
    (void)unused;
    for (enum early stage = 0; stage < EARLY_STAGES; stage++) {
        struct world *w = world_new(NULL);
        struct pair p = answers_early(w, stage);

        say_ping(p.brk, MQTT_PINGRESP);
        if (stage == EARLY_PUBREC) {
            sees(p.dev, "PUBREL #7");
            say_ack(p.dev, MQTT_PUBCOMP, 7, 0);
        }
        quiet(&p);
        assert_int_equal(the_session(w)->to_device.count, 0);
        world_end(NULL);
    }
}

/* The next leg is lost as well before the broker has shown what it knows. */
static void early_answer_waits_for_the_leg_after_the_next(void **unused)
{
    (void)unused;
    for (int forgot = 0; forgot < 2; forgot++) {
        struct world *w = world_new(NULL);
        struct pair p = answers_early(w, EARLY_PUBCOMP);

        lose_and_return(w, &p, false);
        sees(p.brk, "PINGREQ");
        if (!forgot) {
            say_ack(p.brk, MQTT_PUBREL, 7, 0);
            sees(p.brk, "PUBCOMP #7");
        }
        say_ping(p.brk, MQTT_PINGRESP);
        quiet(&p);
        assert_int_equal(the_session(w)->to_device.count, 0);
        world_end(NULL);
    }
}

/* The exchange under another id is itself taken up by the next leg. */
static void renamed_exchange_survives_the_next_leg(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    say_publish(p.brk, 2, 1, "c", "old");
    sees(p.dev, "PUBLISH q2 #1 c old");
    lose_and_return(w, &p, false);
    say_publish(p.brk, 2, 1, "c", "new");
    sees(p.dev, "PUBLISH q2 #65535 c new");
    say_ack(p.dev, MQTT_PUBREC, 65535, 0);
    sees(p.brk, "PUBREC #1");
    lose_and_return(w, &p, true);
    say_again(p.brk, 2, 1, "c", "new");
    sees(p.brk, "PUBREC #1");
    say_ack(p.brk, MQTT_PUBREL, 1, 0);
    sees(p.dev, "PUBREL #65535");
    say_ack(p.dev, MQTT_PUBREC, 1, 0); /* the forgotten one, at last */
    sees(p.dev, "PUBREL #1");
    say_ack(p.dev, MQTT_PUBCOMP, 65535, 0);
    sees(p.brk, "PUBCOMP #1");
    say_ack(p.dev, MQTT_PUBCOMP, 1, 0);
    quiet(&p);
    assert_int_equal(the_session(w)->to_device.count, 0);
}

/* A broker that was restored from an older state says that the session is present, and has
 * forgotten the newest exchanges all the same. */
static void broker_of_an_older_state_is_not_believed(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);

    (void)unused;
    say_publish(p.brk, 2, 5, "c", "old");
    sees(p.dev, "PUBLISH q2 #5 c old");
    lose_and_return(w, &p, true);
    say_publish(p.brk, 2, 5, "c", "new");
    sees(p.dev, "PUBLISH q2 #65535 c new");
    say_ack(p.dev, MQTT_PUBREC, 5, 0);
    sees(p.dev, "PUBREL #5");
    say_ack(p.brk, MQTT_PUBREL, 5, 0); /* before PUBREC, but for the device it is clear whose */
    sees(p.dev, "PUBREL #65535");
}

/* PUBREC with a failure ends an exchange: there is nothing to release. */
static void refused_by_the_device_is_not_released(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);

    (void)unused;
    say_publish(p.brk, 2, 1, "c", "x");
    sees(p.dev, "PUBLISH q2 #1 c x");
    lose_and_return(w, &p, false);
    say_ack(p.dev, MQTT_PUBREC, 1, 0x83);
    quiet(&p);
    assert_int_equal(the_session(w)->to_device.count, 0);
}

/* ---- identifiers that we have taken ---- */

static void device_may_use_the_ids_of_our_requests(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    subscribed(&p, 1, "c/1", 1);
    subscribed(&p, 2, "c/2", 1);
    lose_and_return(w, &p, false);
    sees(p.brk, "SUBSCRIBE #65535 c/1:1");
    sees(p.brk, "SUBSCRIBE #65534 c/2:1");
    say_publish(p.dev, 2, 65535, "a", "x");
    sees(p.brk, "PUBLISH q2 #65533 a x");
    say_subscribe(p.dev, 65534, "c/3", 2);
    sees(p.brk, "SUBSCRIBE #65532 c/3:2");
    say_again(p.dev, 2, 65535, "a", "x");
    sees(p.brk, "PUBLISH q2 #65533 dup a x");
    say_suback(p.brk, MQTT_SUBACK, 65535, "\x01", 1);
    say_suback(p.brk, MQTT_SUBACK, 65534, "\x01", 1);
    say_suback(p.brk, MQTT_SUBACK, 65532, "\x02", 1);
    sees(p.dev, "SUBACK #65534 02");
    say_ack(p.brk, MQTT_PUBREC, 65533, 0);
    sees(p.dev, "PUBREC #65535");
    say_publish(p.dev, 1, 65533, "a", "its id is in use by us");
    sees(p.brk, "PUBLISH q1 #65534 a its id is in use by us");
    say_ack(p.dev, MQTT_PUBREL, 65535, 0);
    sees(p.brk, "PUBREL #65533");
    lose_and_return(w, &p, true);
    sees(p.brk, "PUBREL #65533");
    sees(p.brk, "PUBLISH q1 #65534 dup a its id is in use by us");
    say_ack(p.brk, MQTT_PUBACK, 65534, 0);
    sees(p.dev, "PUBACK #65533");
    say_ack(p.brk, MQTT_PUBCOMP, 65533, 0);
    sees(p.dev, "PUBCOMP #65535");
    quiet(&p);
    assert_int_equal(the_session(w)->to_broker.count, 0);
    assert_int_equal(the_session(w)->to_broker.odd, 0);
    assert_int_equal(the_session(w)->subs.count, 3);
}

/* Our requests are lost with the leg that they were made on; the broker has a session since then,
 * and knows nothing of them. */
static void requests_of_ours_are_repeated_like_any_other(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    subscribed(&p, 1, "c/1", 1);
    lose_and_return(w, &p, false);
    sees(p.brk, "SUBSCRIBE #65535 c/1:1");
    lose_and_return(w, &p, true);
    sees(p.brk, "SUBSCRIBE #65535 c/1:1");
    lose_and_return(w, &p, false);
    sees(p.brk, "SUBSCRIBE #65535 c/1:1");
    say_suback(p.brk, MQTT_SUBACK, 65535, "\x01", 1);
    quiet(&p);
    assert_int_equal(the_session(w)->to_broker.count, 0);
}

/* What the device has begun to do to its subscriptions comes after what we restore of them. */
static void unsubscribe_under_way_outlives_the_session(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    subscribed(&p, 1, "c/1", 1);
    say_unsubscribe(p.dev, 2, "c/1");
    sees(p.brk, "UNSUBSCRIBE #2 c/1");
    lose_and_return(w, &p, false);
    sees(p.brk, "SUBSCRIBE #65535 c/1:1");
    sees(p.brk, "UNSUBSCRIBE #2 c/1");
    say_suback(p.brk, MQTT_SUBACK, 65535, "\x01", 1);
    say_suback(p.brk, MQTT_UNSUBACK, 2, "", 0);
    sees(p.dev, "UNSUBACK #2");
    assert_int_equal(the_session(w)->subs.count, 0);
}

static void refused_restoration_is_counted(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    subscribed(&p, 1, "c/1", 1);
    lose_and_return(w, &p, false);
    sees(p.brk, "SUBSCRIBE #65535 c/1:1");
    say_suback(p.brk, MQTT_SUBACK, 65535, "\x80", 1);
    quiet(&p);
    assert_int_equal(w->env.stats.restore_refused, 1);
    lose_and_return(w, &p, false); /* asked for at every occasion: permissions may come back */
    sees(p.brk, "SUBSCRIBE #65535 c/1:1");
}

/* ---- exchanges of the device ---- */

/* A message that began anew on a leg that was lost, too. */
static void qos_2_that_began_anew_is_repeated_on_the_next_leg(void **unused)
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
    lose_and_return(w, &p, true); /* it may not have had the PUBLISH */
    sees(p.brk, "PUBLISH q2 #1 dup a x");
    say_ack(p.brk, MQTT_PUBREC, 1, 0);
    sees(p.brk, "PUBREL #1");
    say_ack(p.brk, MQTT_PUBCOMP, 1, 0);
    sees(p.dev, "PUBCOMP #1");
    quiet(&p);
    assert_int_equal(w->env.stats.rehome_lost, 0);
}

/* The device was told that it is received; the broker that gets it anew does not take it. */
static void message_that_is_refused_anew_is_counted_as_lost(void **unused)
{
    (void)unused;
    for (int released = 0; released < 2; released++) {
        struct world *w = world_new(NULL);
        struct pair p = world_open(w, MQTT_V5, &world_lasting);

        say_publish(p.dev, 2, 1, "a", "x");
        sees(p.brk, "PUBLISH q2 #1 a x");
        say_ack(p.brk, MQTT_PUBREC, 1, 0);
        sees(p.dev, "PUBREC #1");
        lose_and_return(w, &p, false);
        sees(p.brk, "PUBLISH q2 #1 a x");
        if (released) {
            say_ack(p.dev, MQTT_PUBREL, 1, 0);
            quiet(&p);
        }
        say_ack(p.brk, MQTT_PUBREC, 1, 0x87);
        if (!released) {
            quiet(&p);
            say_ack(p.dev, MQTT_PUBREL, 1, 0);
        }
        sees(p.dev, "PUBCOMP #1");
        quiet(&p);
        assert_int_equal(w->env.stats.rehome_lost, 1);
        assert_int_equal(the_session(w)->to_broker.count, 0);
        world_end(NULL);
    }
}

/* PUBREL whose answer was lost: the broker is through, and says that it knows nothing of it. */
static void pubrel_that_was_answered_already_is_no_news(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);

    (void)unused;
    say_publish(p.dev, 2, 1, "a", "x");
    sees(p.brk, "PUBLISH q2 #1 a x");
    say_ack(p.brk, MQTT_PUBREC, 1, 0);
    sees(p.dev, "PUBREC #1");
    say_ack(p.dev, MQTT_PUBREL, 1, 0);
    sees(p.brk, "PUBREL #1");
    lose_and_return(w, &p, true);
    sees(p.brk, "PUBREL #1");
    say_ack(p.brk, MQTT_PUBCOMP, 1, 0x92);
    sees(p.dev, "PUBCOMP #1");
    quiet(&p);
}

/* An exchange that the device has from an earlier connection. */
static void exchange_of_an_earlier_connection_ends(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = {.dev = device_new(w, MQTT_V311)};

    (void)unused;
    say_connect(p.dev, &world_lasting);
    p.brk = world_broker_accepts(w, MQTT_V311, true);
    sees(p.dev, "CONNACK present");
    say_ack(p.dev, MQTT_PUBREL, 9, 0);
    sees(p.brk, "PUBREL #9");
    lose_and_return(w, &p, true);
    sees(p.brk, "PUBREL #9");
    say_ack(p.brk, MQTT_PUBCOMP, 9, 0);
    sees(p.dev, "PUBCOMP #9");
    say_ack(p.brk, MQTT_PUBREL, 4, 0);
    sees(p.dev, "PUBREL #4");
    say_ack(p.dev, MQTT_PUBCOMP, 4, 0);
    sees(p.brk, "PUBCOMP #4");
    quiet(&p);
}

/* It repeats by itself, and does not say so: one exchange. */
static void qos_2_that_the_device_repeats_is_one_exchange(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V31, &world_lasting);

    (void)unused;
    say_publish(p.dev, 2, 1, "a", "x");
    say_publish(p.dev, 2, 1, "a", "x");
    sees(p.brk, "PUBLISH q2 #1 a x");
    sees(p.brk, "PUBLISH q2 #1 a x");
    assert_int_equal(the_session(w)->to_broker.count, 1);
    say_ack(p.brk, MQTT_PUBREC, 1, 0);
    say_ack(p.brk, MQTT_PUBREC, 1, 0);
    sees(p.dev, "PUBREC #1");
    sees(p.dev, "PUBREC #1");
    say_ack(p.dev, MQTT_PUBREL, 1, 0);
    sees(p.brk, "PUBREL #1");
    say_ack(p.brk, MQTT_PUBCOMP, 1, 0);
    sees(p.dev, "PUBCOMP #1");
    assert_int_equal(the_session(w)->to_broker.count, 0);
}

/* Acknowledged on a leg that is lost before the broker repeats: the repetition on the third one is
 * still known. */
static void repetition_is_known_two_legs_later(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    say_publish(p.brk, 1, 1, "c", "x");
    sees(p.dev, "PUBLISH q1 #1 c x");
    lose_and_return(w, &p, true);
    say_ack(p.dev, MQTT_PUBACK, 1, 0);
    sees(p.brk, "PUBACK #1");
    lose_and_return(w, &p, true);
    say_again(p.brk, 1, 1, "c", "x");
    sees(p.brk, "PUBACK #1");
    quiet(&p);
    assert_int_equal(the_session(w)->to_device.count, 0);
}

/* ---- retained messages ---- */

static void say_retained(struct end *e, uint8_t qos, uint16_t id, const char *topic,
                         const char *payload)
{
    say_publish_full(e, &(struct mqtt_publish){.retain = true,
                                               .qos = qos,
                                               .packet_id = id,
                                               .topic = slice_of(topic),
                                               .payload = slice_of(payload)});
}

/* The subscription is there again, and its SUBACK on its way. */
static void restored(struct pair *p, const char *subscribe)
{
    sees(p->brk, subscribe);
    say_suback(p->brk, MQTT_SUBACK, UINT16_MAX, "\x01", 1);
}

static void what_the_device_has_had_does_not_come_again(void **unused)
{
    (void)unused;
    for (int version = MQTT_V31; version <= MQTT_V5; version++) {
        struct world *w = world_new(NULL);
        struct pair p = world_open(w, version, &world_lasting);

        subscribed(&p, 1, "c/#", 1);
        say_retained(p.brk, 0, 0, "c/0", "zero");
        say_retained(p.brk, 1, 1, "c/1", "one");
        say_retained(p.brk, 2, 2, "c/2", "two");
        sees(p.dev, "PUBLISH q0 retain c/0 zero");
        sees(p.dev, "PUBLISH q1 #1 retain c/1 one");
        sees(p.dev, "PUBLISH q2 #2 retain c/2 two");
        say_ack(p.dev, MQTT_PUBACK, 1, 0);
        sees(p.brk, "PUBACK #1");
        say_ack(p.dev, MQTT_PUBREC, 2, 0);
        sees(p.brk, "PUBREC #2");
        say_ack(p.brk, MQTT_PUBREL, 2, 0);
        sees(p.dev, "PUBREL #2");
        say_ack(p.dev, MQTT_PUBCOMP, 2, 0);
        sees(p.brk, "PUBCOMP #2");
        lose_and_return(w, &p, false);
        restored(&p, "SUBSCRIBE #65535 c/#:1");
        say_retained(p.brk, 0, 0, "c/0", "zero");
        say_retained(p.brk, 1, 1, "c/1", "one");
        sees(p.brk, "PUBACK #1");
        say_retained(p.brk, 2, 2, "c/2", "two");
        sees(p.brk, "PUBREC #2");
        say_publish_full(p.brk, &(struct mqtt_publish){.retain = true,
                                                       .dup = true,
                                                       .qos = 2,
                                                       .packet_id = 2,
                                                       .topic = slice_of("c/2"),
                                                       .payload = slice_of("two")});
        say_ack(p.brk, MQTT_PUBREL, 2, 0);
        sees(p.brk, "PUBCOMP #2");
        quiet(&p);
        assert_int_equal(w->env.stats.retained_suppressed, 3);
        assert_int_equal(the_session(w)->to_device.count, 0);
        say_publish(p.brk, 0, 0, "c/0", "zero"); /* published, not retained */
        sees(p.dev, "PUBLISH q0 c/0 zero");
        world_end(NULL);
    }
}

/* A setpoint that was changed while nobody listened has to arrive. */
static void what_has_changed_meanwhile_comes(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    subscribed(&p, 1, "c/#", 1);
    say_retained(p.brk, 0, 0, "c/1", "20");
    sees(p.dev, "PUBLISH q0 retain c/1 20");
    say_publish(p.brk, 0, 0, "c/1", "21"); /* live, and retained for others */
    sees(p.dev, "PUBLISH q0 c/1 21");
    say_publish(p.brk, 0, 0, "c/2", "30");
    sees(p.dev, "PUBLISH q0 c/2 30");
    lose_and_return(w, &p, false);
    restored(&p, "SUBSCRIBE #65535 c/#:1");
    say_retained(p.brk, 0, 0, "c/1", "21");
    say_retained(p.brk, 0, 0, "c/2", "30");
    quiet(&p); /* it has had both, as they were published */
    assert_int_equal(w->env.stats.retained_suppressed, 2);
    lose_and_return(w, &p, false);
    restored(&p, "SUBSCRIBE #65535 c/#:1");
    say_retained(p.brk, 1, 1, "c/1", "20"); /* back to what it was: news all the same */
    sees(p.dev, "PUBLISH q1 #1 retain c/1 20");
    say_ack(p.dev, MQTT_PUBACK, 1, 0);
    sees(p.brk, "PUBACK #1");
    say_retained(p.brk, 0, 0, "c/new", "1");
    sees(p.dev, "PUBLISH q0 retain c/new 1");
    lose_and_return(w, &p, false);
    restored(&p, "SUBSCRIBE #65535 c/#:1");
    say_retained(p.brk, 1, 1, "c/1", "20");
    sees(p.brk, "PUBACK #1");
    say_retained(p.brk, 0, 0, "c/new", "1");
    quiet(&p);
    assert_int_equal(w->env.stats.retained_suppressed, 4);
}

/* Who subscribes gets what is retained, had before or not. */
static void what_the_device_asks_for_comes(void **unused)
{
    (void)unused;
    for (int early = 0; early < 2; early++) {
        for (int renewed = 0; renewed < 2; renewed++) {
            struct world *w = world_new(NULL);
            struct pair p = world_open(w, MQTT_V311, &world_lasting);

            subscribed(&p, 1, "c/#", 1);
            say_retained(p.brk, 0, 0, "c/1", "20");
            sees(p.dev, "PUBLISH q0 retain c/1 20");
            lose_and_return(w, &p, false);
            restored(&p, "SUBSCRIBE #65535 c/#:1");
            say_subscribe(p.dev, 2, renewed ? "c/#" : "c/1", 1);
            sees(p.brk, renewed ? "SUBSCRIBE #2 c/#:1" : "SUBSCRIBE #2 c/1:1");
            if (early)
                say_retained(p.brk, 0, 0, "c/1", "20");
            say_suback(p.brk, MQTT_SUBACK, 2, "\x01", 1);
            if (!early)
                say_retained(p.brk, 0, 0, "c/1", "20");
            if (early)
                sees(p.dev, "PUBLISH q0 retain c/1 20");
            sees(p.dev, "SUBACK #2 01");
            if (!early)
                sees(p.dev, "PUBLISH q0 retain c/1 20");
            assert_int_equal(w->env.stats.retained_suppressed, 0);
            world_end(NULL);
        }
    }
}

/* 5.0: RETAIN stands on what is published, too, where the subscription says so. */
static void what_is_published_as_retained_comes(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);

    (void)unused;
    subscribed(&p, 1, "c/#", 1 | 0x08);
    say_retained(p.brk, 0, 0, "c/1", "20");
    sees(p.dev, "PUBLISH q0 retain c/1 20");
    lose_and_return(w, &p, false);
    restored(&p, "SUBSCRIBE #65535 c/#:9");
    say_retained(p.brk, 0, 0, "c/1", "20");
    quiet(&p);
    say_retained(p.brk, 0, 0, "c/1", "20"); /* the same once more, just now */
    sees(p.dev, "PUBLISH q0 retain c/1 20");
    assert_int_equal(w->env.stats.retained_suppressed, 1);
}

/* 5.0: a device that never wanted what is retained; what comes with RETAIN was published. */
static void retain_handling_of_the_device_stays(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);

    (void)unused;
    subscribed(&p, 1, "c/#", 1 | 0x08 | 0x20);
    say_retained(p.brk, 0, 0, "c/1", "20");
    sees(p.dev, "PUBLISH q0 retain c/1 20");
    lose_and_return(w, &p, false);
    restored(&p, "SUBSCRIBE #65535 c/#:41");
    say_retained(p.brk, 0, 0, "c/1", "20");
    sees(p.dev, "PUBLISH q0 retain c/1 20");
}

/* 5.0: an expiry that runs and another subscription identifier make it no other message; a user
 * property does. */
static void content_is_payload_and_properties(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);
    struct buf props = {0};
    struct mqtt_publish m = {.retain = true, .topic = slice_of("c/1"), .payload = slice_of("20")};

    (void)unused;
    subscribed(&p, 1, "c/#", 1);
    mqtt_props_put_num(&props, MQTT_PROP_MESSAGE_EXPIRY, 100);
    m.props = (struct mqtt_props){props.p, (uint32_t)props.len};
    say_publish_full(p.brk, &m);
    sees(p.dev, "PUBLISH q0 retain c/1 20 message-expiry-interval=100");
    lose_and_return(w, &p, false);
    restored(&p, "SUBSCRIBE #65535 c/#:1");
    props.len = 0;
    mqtt_props_put_num(&props, MQTT_PROP_MESSAGE_EXPIRY, 90);
    mqtt_props_put_num(&props, MQTT_PROP_SUBSCRIPTION_ID, 3);
    m.props = (struct mqtt_props){props.p, (uint32_t)props.len};
    say_publish_full(p.brk, &m);
    quiet(&p);
    props.len = 0;
    mqtt_props_put_pair(&props, slice_of("unit"), slice_of("F"));
    m.props = (struct mqtt_props){props.p, (uint32_t)props.len};
    say_publish_full(p.brk, &m);
    sees(p.dev, "PUBLISH q0 retain c/1 20 user-property=unit:F");
    buf_fini(&props);
}

/* 5.0: a topic alias that the broker sets in a message that the device does not see. */
static void alias_that_was_not_seen_is_spelt_out(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);
    struct buf props = {0};
    struct mqtt_publish m = {.retain = true, .topic = slice_of("c/1"), .payload = slice_of("20")};

    (void)unused;
    subscribed(&p, 1, "c/#", 1);
    mqtt_props_put_num(&props, MQTT_PROP_TOPIC_ALIAS, 1);
    say_publish_full(p.brk, &m);
    sees(p.dev, "PUBLISH q0 retain c/1 20");
    lose_and_return(w, &p, false);
    restored(&p, "SUBSCRIBE #65535 c/#:1");
    m.props = (struct mqtt_props){props.p, (uint32_t)props.len};
    say_publish_full(p.brk, &m);
    m.retain = false;
    m.topic = slice_of("");
    m.payload = slice_of("21");
    say_publish_full(p.brk, &m);
    sees(p.dev, "PUBLISH q0 c/1 21");
    m.topic = slice_of("c/2");
    say_publish_full(p.brk, &m); /* set anew, and seen */
    sees(p.dev, "PUBLISH q0 c/2 21 topic-alias=1");
    m.topic = slice_of("");
    m.payload = slice_of("22");
    say_publish_full(p.brk, &m);
    sees(p.dev, "PUBLISH q0  22 topic-alias=1");
    lose_and_return(w, &p, false); /* the update by alias was followed, too */
    restored(&p, "SUBSCRIBE #65535 c/#:1");
    say_retained(p.brk, 0, 0, "c/2", "22");
    say_retained(p.brk, 0, 0, "c/1", "21");
    quiet(&p);
    assert_int_equal(w->env.stats.retained_suppressed, 3);
    buf_fini(&props);
}

/* The same with a repetition that is known. */
static void alias_of_a_repetition_is_spelt_out(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);
    struct buf props = {0};
    struct mqtt_publish m = {
        .qos = 1, .packet_id = 1, .dup = true, .topic = slice_of("c/1"), .payload = slice_of("x")};

    (void)unused;
    mqtt_props_put_num(&props, MQTT_PROP_TOPIC_ALIAS, 1);
    m.props = (struct mqtt_props){props.p, (uint32_t)props.len};
    say_publish(p.brk, 1, 1, "c/1", "x");
    sees(p.dev, "PUBLISH q1 #1 c/1 x");
    lose_and_return(w, &p, true);
    say_publish_full(p.brk, &m);
    m.topic = slice_of("");
    m.dup = false;
    m.packet_id = 2;
    say_publish_full(p.brk, &m);
    sees(p.dev, "PUBLISH q1 #2 c/1 x");
    say_ack(p.dev, MQTT_PUBACK, 1, 0);
    sees(p.brk, "PUBACK #1");
    buf_fini(&props);
}

/* ---- sessions that a device takes up again ---- */

/* The device connects; its broker has the session, or not. */
static struct pair comes_back(struct world *w, int version, bool present, const char *connack)
{
    struct pair p = {.dev = device_new(w, version)};
    struct mqtt_connect c = world_lasting;
    struct buf props = {0};

    if (version == MQTT_V5)
        mqtt_props_put_num(&props, MQTT_PROP_SESSION_EXPIRY, 3600);
    c.props = (struct mqtt_props){props.p, (uint32_t)props.len};
    say_connect(p.dev, &c);
    buf_fini(&props);
    p.brk = world_broker_accepts(w, version, present);
    sees(p.dev, connack);
    return p;
}

/* It does not subscribe again, since its session is there. */
static void subscriptions_of_an_earlier_connection_are_restored(void **unused)
{
    (void)unused;
    for (int version = MQTT_V311; version <= MQTT_V5; version++) {
        struct world *w = world_new(NULL);
        struct pair p = comes_back(w, version, false, "CONNACK");

        subscribed(&p, 1, "c/1", 1);
        for (int i = 0; i < 2; i++) { /* from one to the next, and on */
            end_finish(p.dev);
            sees_end(p.dev);
            p = comes_back(w, version, true, "CONNACK present");
        }
        subscribed(&p, 2, "c/2", 1);
        lose_and_return(w, &p, false);
        sees(p.brk, "SUBSCRIBE #65535 c/1:1");
        sees(p.brk, "SUBSCRIBE #65534 c/2:1");
        end_finish(p.dev);
        sees_end(p.dev);
        p = comes_back(w, version, false, "CONNACK"); /* begun anew: nothing is left of it */
        lose_and_return(w, &p, false);
        quiet(&p);
        world_end(NULL);
    }
}

/* Nobody here knows what it had subscribed to: it is cut off, and hears that its session is gone.
 */
static void session_that_nobody_knows_is_not_pretended(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = comes_back(w, MQTT_V5, true, "CONNACK present");

    (void)unused;
    w->news_at = w->news.len;
    end_reset(p.brk);
    tells(w, "lost old: network");
    world_due(the_session(w));
    p.brk = world_broker_accepts(w, MQTT_V5, false);
    sees(p.dev, "DISCONNECT 0x8b");
    sees_end(p.dev);
    sees(p.brk, "DISCONNECT session-expiry-interval=3600"); /* the device lives: no Will */
    p = comes_back(w, MQTT_V5, true, "CONNACK");            /* what is there is ours, and empty */
    subscribed(&p, 1, "c/1", 1);
    lose_and_return(w, &p, false);
    sees(p.brk, "SUBSCRIBE #65535 c/1:1");
}

/* Who subscribes on every connection has told all. */
static void device_that_subscribes_by_itself_is_known(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = comes_back(w, MQTT_V311, true, "CONNACK present");

    (void)unused;
    subscribed(&p, 1, "c/1", 1);
    lose_and_return(w, &p, false);
    sees(p.brk, "SUBSCRIBE #65535 c/1:1");
}

/* ---- a broker that allows less than the device was told ---- */

/* The session moves to such a broker, which has it or not; `props` of its CONNACK are taken. */
static struct end *move_to(struct world *w, struct pair *p, bool present, struct buf *props)
{
    int version = p->brk->version;

    w->news_at = w->news.len;
    end_reset(p->brk);
    tells(w, "lost old: network");
    world_due(the_session(w));
    p->brk = broker_next(w);
    p->brk->version = version;
    assert_int_equal(end_packet(p->brk, __FILE__, __LINE__).type, MQTT_CONNECT);
    say_connack(p->brk, present, 0, props);
    buf_fini(props);
    world_until(w, the_session(w)->phase == RH_IDLE);
    return p->brk;
}

static struct buf limit(enum mqtt_prop id, uint32_t num)
{
    struct buf b = {0};

    assert_int_equal(mqtt_props_put_num(&b, id, num), 0);
    return b;
}

static void receive_maximum_is_kept(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);
    struct buf props = limit(MQTT_PROP_RECEIVE_MAXIMUM, 2);

    (void)unused;
    for (uint16_t id = 1; id <= 4; id++) {
        say_publish(p.dev, 1 + id % 2, id, "a", "x");
        (void)end_packet(p.brk, __FILE__, __LINE__);
    }
    move_to(w, &p, true, &props);
    sees(p.brk, "PUBLISH q2 #1 dup a x");
    sees(p.brk, "PUBLISH q1 #2 dup a x");
    say_publish(p.dev, 0, 0, "a", "behind them");
    say_publish(p.dev, 1, 5, "a", "five");
    say_subscribe(p.dev, 6, "c", 1);
    quiet(&p); /* two are unanswered: all else waits, PINGREQ does not */
    say_ack(p.brk, MQTT_PUBACK, 2, 0);
    sees(p.dev, "PUBACK #2");
    sees(p.brk, "PUBLISH q2 #3 dup a x");
    say_ack(p.brk, MQTT_PUBREC, 1, 0);
    say_ack(p.brk, MQTT_PUBREC, 3, 0);
    sees(p.dev, "PUBREC #1");
    sees(p.dev, "PUBREC #3");
    say_ack(p.dev, MQTT_PUBREL, 1, 0); /* overtakes what waits */
    sees(p.brk, "PUBREL #1");
    quiet(&p);
    say_ack(p.brk, MQTT_PUBCOMP, 1, 0);
    sees(p.dev, "PUBCOMP #1");
    sees(p.brk, "PUBLISH q1 #4 dup a x");
    sees(p.brk, "PUBLISH q0 a behind them");
    quiet(&p);
    say_ack(p.brk, MQTT_PUBACK, 4, 0);
    sees(p.dev, "PUBACK #4");
    sees(p.brk, "PUBLISH q1 #5 a five");
    sees(p.brk, "SUBSCRIBE #6 c:1");
    say_suback(p.brk, MQTT_SUBACK, 6, "\x01", 1);
    sees(p.dev, "SUBACK #6 01");
    say_publish(p.dev, 1, 7, "a", "seven");
    quiet(&p);
    say_ack(p.brk, MQTT_PUBACK, 5, 0x87); /* room, whatever it says */
    sees(p.dev, "PUBACK #5 0x87");
    sees(p.brk, "PUBLISH q1 #7 a seven");
    assert_int_equal(w->env.stats.publishes_up, 7);
}

/* A flip in the middle of it: what waits is no exchange that has to be drained. */
static void what_waits_for_room_moves_on(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);
    struct buf props = limit(MQTT_PROP_RECEIVE_MAXIMUM, 1);

    (void)unused;
    say_publish(p.dev, 1, 1, "a", "one");
    say_publish(p.dev, 1, 2, "a", "two");
    sees(p.brk, "PUBLISH q1 #1 a one");
    sees(p.brk, "PUBLISH q1 #2 a two");
    move_to(w, &p, false, &props);
    sees(p.brk, "PUBLISH q1 #1 a one");
    say_publish(p.dev, 1, 3, "a", "three");
    quiet(&p);
    world_use(w, "d1", FLIP_NEW);
    world_until(w, the_session(w)->phase == RH_DRAINING);
    say_ack(p.brk, MQTT_PUBACK, 1, 0);
    sees(p.dev, "PUBACK #1");
    sees(p.brk, "PINGREQ");
    say_ping(p.brk, MQTT_PINGRESP);
    struct end *next = broker_next(w);
    next->version = MQTT_V5;
    (void)end_packet(next, __FILE__, __LINE__);
    say_connack(next, false, 0x87, NULL); /* refused: it goes on as it was */
    sees(p.brk, "PUBLISH q1 #2 a two");
    quiet(&p);
    say_ack(p.brk, MQTT_PUBACK, 2, 0);
    sees(p.dev, "PUBACK #2");
    sees(p.brk, "PUBLISH q1 #3 a three");
    props = (struct buf){0};
    say_publish(p.dev, 1, 4, "a", "four");
    quiet(&p);
    move_to(w, &p, true, &props); /* a broker without a limit */
    sees(p.brk, "PUBLISH q1 #3 dup a three");
    sees(p.brk, "PUBLISH q1 #4 a four");
}

/* What had no turn on a leg was not sent there: it is no repetition on the next one. */
static void what_was_not_sent_is_no_repetition(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);
    struct buf props = limit(MQTT_PROP_RECEIVE_MAXIMUM, 1);

    (void)unused;
    say_publish(p.dev, 1, 1, "a", "one");
    say_publish(p.dev, 1, 2, "a", "two");
    sees(p.brk, "PUBLISH q1 #1 a one");
    sees(p.brk, "PUBLISH q1 #2 a two");
    move_to(w, &p, false, &props);
    sees(p.brk, "PUBLISH q1 #1 a one");
    props = limit(MQTT_PROP_RECEIVE_MAXIMUM, 10);
    move_to(w, &p, true, &props);
    sees(p.brk, "PUBLISH q1 #1 dup a one");
    sees(p.brk, "PUBLISH q1 #2 a two");
    quiet(&p);
}

static void qos_2_goes_with_qos_1(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);
    struct buf props = limit(MQTT_PROP_MAXIMUM_QOS, 1);

    (void)unused;
    say_publish(p.dev, 2, 1, "a", "under way");
    sees(p.brk, "PUBLISH q2 #1 a under way");
    say_publish(p.dev, 2, 2, "a", "received");
    sees(p.brk, "PUBLISH q2 #2 a received");
    say_ack(p.brk, MQTT_PUBREC, 2, 0);
    sees(p.dev, "PUBREC #2");
    move_to(w, &p, false, &props);
    sees(p.brk, "PUBLISH q1 #1 a under way");
    sees(p.brk, "PUBLISH q1 #2 a received");
    say_ack(p.brk, MQTT_PUBACK, 1, 0);
    sees(p.dev, "PUBREC #1");
    say_ack(p.brk, MQTT_PUBACK, 2, 0); /* the device has had its PUBREC */
    say_ack(p.dev, MQTT_PUBREL, 1, 0);
    sees(p.dev, "PUBCOMP #1");
    say_ack(p.dev, MQTT_PUBREL, 2, 0);
    sees(p.dev, "PUBCOMP #2");
    say_publish(p.dev, 2, 3, "a", "denied");
    sees(p.brk, "PUBLISH q1 #3 a denied");
    say_ack(p.brk, MQTT_PUBACK, 3, 0x87);
    sees(p.dev, "PUBREC #3 0x87");
    say_publish(p.dev, 2, 4, "a", "taken");
    sees(p.brk, "PUBLISH q1 #4 a taken");
    say_ack(p.brk, MQTT_PUBACK, 4, 0);
    sees(p.dev, "PUBREC #4");
    say_again(p.dev, 2, 4, "a", "taken"); /* had already, and once is enough */
    sees(p.dev, "PUBREC #4");
    props = (struct buf){0};
    move_to(w, &p, false, &props); /* with the session lost it stays with the former broker */
    say_ack(p.dev, MQTT_PUBREL, 4, 0);
    sees(p.dev, "PUBCOMP #4");
    say_publish(p.dev, 2, 4, "a", "five");
    sees(p.brk, "PUBLISH q2 #4 a five");
    quiet(&p);
    assert_int_equal(w->env.stats.publishes_lowered, 4);
}

/* QoS 0 has no acknowledgement: the answer to a PINGREQ behind it is one. */
static void qos_0_is_acknowledged_by_a_ping(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);
    struct buf props = limit(MQTT_PROP_MAXIMUM_QOS, 0);

    (void)unused;
    say_publish(p.dev, 1, 1, "a", "one");
    sees(p.brk, "PUBLISH q1 #1 a one");
    move_to(w, &p, true, &props);
    sees(p.brk, "PUBLISH q0 a one");
    sees(p.brk, "PINGREQ");
    say_publish(p.dev, 2, 2, "a", "two");
    sees(p.brk, "PUBLISH q0 a two");
    say_ping(p.dev, MQTT_PINGREQ);
    sees(p.brk, "PINGREQ"); /* the device's */
    say_ping(p.brk, MQTT_PINGRESP);
    sees(p.dev, "PUBACK #1");
    sees(p.brk, "PINGREQ"); /* for the second one */
    say_ping(p.brk, MQTT_PINGRESP);
    sees(p.dev, "PINGRESP");
    say_ping(p.brk, MQTT_PINGRESP);
    sees(p.dev, "PUBREC #2");
    say_ack(p.dev, MQTT_PUBREL, 2, 0);
    sees(p.dev, "PUBCOMP #2");
    quiet(&p);
    assert_int_equal(the_session(w)->to_broker.count, 0);
    /* One that was not answered is not lost. */
    say_publish(p.dev, 1, 3, "a", "three");
    sees(p.brk, "PUBLISH q0 a three");
    sees(p.brk, "PINGREQ");
    props = (struct buf){0};
    move_to(w, &p, true, &props);
    sees(p.brk, "PUBLISH q1 #3 dup a three");
}

/* The barrier's answer counts, too. */
static void qos_0_is_drained_by_the_barrier(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);
    struct buf props = limit(MQTT_PROP_MAXIMUM_QOS, 0);

    (void)unused;
    move_to(w, &p, true, &props);
    say_publish(p.dev, 1, 1, "a", "one");
    say_publish(p.dev, 1, 2, "a", "two");
    sees(p.brk, "PUBLISH q0 a one");
    sees(p.brk, "PINGREQ");
    sees(p.brk, "PUBLISH q0 a two");
    world_use(w, "d1", FLIP_NEW);
    world_until(w, the_session(w)->phase == RH_DRAINING);
    world_due(the_session(w)); /* not drained: neither is acknowledged */
    sees(p.brk, "PINGREQ");
    say_ping(p.brk, MQTT_PINGRESP);
    say_ping(p.brk, MQTT_PINGRESP);
    sees(p.dev, "PUBACK #1");
    sees(p.dev, "PUBACK #2");
    struct end *next = broker_next(w);
    next->version = MQTT_V5;
    sees(next, "CONNECT 5.0 d1 ka=60 session-expiry-interval=600");
    assert_int_equal(the_session(w)->to_broker.count, 0);
}

static void retain_goes_without(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);
    struct buf props = limit(MQTT_PROP_RETAIN_AVAILABLE, 0);

    (void)unused;
    move_to(w, &p, true, &props);
    say_retained(p.dev, 0, 0, "a", "x");
    sees(p.brk, "PUBLISH q0 a x");
    say_retained(p.dev, 1, 1, "a", "x");
    sees(p.brk, "PUBLISH q1 #1 a x");
    say_publish(p.dev, 0, 0, "a", "y");
    sees(p.brk, "PUBLISH q0 a y");
    assert_int_equal(w->env.stats.publishes_lowered, 2);
    props = (struct buf){0};
    move_to(w, &p, true, &props);
    sees(p.brk, "PUBLISH q1 #1 dup retain a x"); /* this one may be retained */
}

/* Nothing that a broker would end the connection for is sent. */
static void packet_that_is_too_large_is_answered_here(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);
    struct buf props = limit(MQTT_PROP_MAXIMUM_PACKET_SIZE, 40);
    static const char large[] = "0123456789012345678901234567890123456789";

    (void)unused;
    say_publish(p.dev, 1, 1, "a", large);
    sees(p.brk, "PUBLISH q1 #1 a 0123456789012345678901234567890123456789");
    move_to(w, &p, true, &props);
    sees(p.dev, "PUBACK #1 0x97");
    say_publish(p.dev, 2, 2, "a", large);
    sees(p.dev, "PUBREC #2 0x97");
    say_publish(p.dev, 0, 0, "a", large);
    say_publish(p.dev, 1, 3, "a", large + 10); /* with all around it 39 bytes */
    sees(p.brk, "PUBLISH q1 #3 a 012345678901234567890123456789");
    quiet(&p);
    tells(w, "refused old: policy evidence.publish-refused"); /* in a trial it would count */
    tells(w, "accepted old present rehomed replayed=1 restored=0 lost=0");
    assert_int_equal(w->env.stats.packets_inexpressible, 3);
    assert_int_equal(the_session(w)->to_broker.count, 1);
}

/* A flip to a broker that takes less: the message waits for the rollback, and is not lost. */
static void packet_that_is_too_large_in_a_trial_goes_back(void **unused)
{
    (void)unused;
    for (int back = 0; back < 2; back++) {
        struct world *w = world_new(NULL);
        struct pair p = world_open(w, MQTT_V5, &world_lasting);
        struct buf props = limit(MQTT_PROP_MAXIMUM_PACKET_SIZE, 40);
        static const char large[] = "0123456789012345678901234567890123456789";
        struct end *next;

        world_try(w, "d1", FLIP_PROOF_CONNACK);
        sees(p.brk, "PINGREQ");
        say_ping(p.brk, MQTT_PINGRESP);
        next = broker_next(w);
        next->version = MQTT_V5;
        assert_int_equal(end_packet(next, __FILE__, __LINE__).type, MQTT_CONNECT);
        say_connack(next, true, 0, &props);
        buf_fini(&props);
        end_finish(p.brk);
        p.brk = next;
        sees(p.brk, "PINGREQ"); /* does it answer? */
        say_ping(p.brk, MQTT_PINGRESP);
        tells(w, "accepted new present rehomed");
        say_publish(p.dev, 1, 1, "a", large);
        say_publish(p.dev, 1, 2, "a", "behind it");
        tells(w, "refused new: policy evidence.publish-refused");
        world_until(w, the_session(w)->held.len > 0);
        quiet(&p); /* it is not refused to the device, and nothing overtakes it */
        if (back) {
            world_use(w, "d1", FLIP_OLD);
            sees(p.brk, "PINGREQ");
            say_ping(p.brk, MQTT_PINGRESP);
            next = broker_next(w);
            next->version = MQTT_V5;
            assert_int_equal(end_packet(next, __FILE__, __LINE__).type, MQTT_CONNECT);
            say_connack(next, true, 0, NULL);
            end_finish(p.brk);
            sees(next, "PUBLISH q1 #1 a 0123456789012345678901234567890123456789");
            sees(next, "PUBLISH q1 #2 a behind it");
        } else { /* main did not go back: it cannot wait for ever */
            assert_true(the_session(w)->timer_ms <= the_session(w)->verdict_ms);
            the_session(w)->verdict_ms = 1;
            the_session(w)->timer_ms = 0;
            session_arm(the_session(w));
            sees(p.dev, "PUBACK #1 0x97");
            sees(p.brk, "PUBLISH q1 #2 a behind it");
        }
        world_end(NULL);
    }
}

/* Aliases of the device go on where each PUBLISH is looked at. */
static void aliases_pass_a_limited_leg(void **unused)
{
    struct world *w = world_new(NULL);
    w->alias_most = 10;
    struct pair p = world_open(w, MQTT_V5, &world_lasting);
    struct buf props = limit(MQTT_PROP_RECEIVE_MAXIMUM, 1);
    struct buf alias = {0};
    struct mqtt_publish m = {.topic = slice_of("t"), .payload = slice_of("1")};

    (void)unused;
    mqtt_props_put_num(&props, MQTT_PROP_TOPIC_ALIAS_MAXIMUM, 10);
    mqtt_props_put_num(&alias, MQTT_PROP_TOPIC_ALIAS, 4);
    m.props = (struct mqtt_props){alias.p, (uint32_t)alias.len};
    move_to(w, &p, true, &props);
    say_publish_full(p.dev, &m);
    sees(p.brk, "PUBLISH q0 t 1");
    m.topic = slice_of("");
    say_publish_full(p.dev, &m);
    sees(p.brk, "PUBLISH q0 t 1");
    m.qos = 1;
    m.packet_id = 1;
    say_publish_full(p.dev, &m);
    sees(p.brk, "PUBLISH q1 #1 t 1");
    m.packet_id = 2;
    say_publish_full(p.dev, &m);
    m.topic = slice_of("u"); /* set anew behind the one that waits */
    m.packet_id = 3;
    say_publish_full(p.dev, &m);
    say_ack(p.brk, MQTT_PUBACK, 1, 0);
    sees(p.brk, "PUBLISH q1 #2 t 1");
    say_ack(p.brk, MQTT_PUBACK, 2, 0);
    sees(p.brk, "PUBLISH q1 #3 u 1");
    buf_fini(&alias);
}

/* Many wait, and then the device says goodbye: in its order. */
static void goodbye_waits_for_what_is_before_it(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);
    struct buf props = limit(MQTT_PROP_RECEIVE_MAXIMUM, 1);

    (void)unused;
    move_to(w, &p, true, &props);
    say_publish(p.dev, 1, 1, "a", "one");
    say_publish(p.dev, 1, 2, "a", "two");
    say_disconnect(p.dev, 0, NULL);
    end_finish(p.dev);
    sees(p.brk, "PUBLISH q1 #1 a one");
    world_until(w, the_session(w)->gone);
    say_ack(p.brk, MQTT_PUBACK, 1, 0);
    sees(p.brk, "PUBLISH q1 #2 a two");
    sees(p.brk, "DISCONNECT session-expiry-interval=0");
    sees_end(p.brk);
}

/* A Will that the new broker does not take. */
static void will_is_lowered_to_what_is_taken(void **unused)
{
    struct world *w = world_new(&(struct world_args){.flip = "backoff_network_s = [ 1 ];"});
    static const struct mqtt_connect with_will = {.client_id = {(const uint8_t *)"d1", 2},
                                                  .keepalive_s = 60,
                                                  .has_will = true,
                                                  .will_qos = 2,
                                                  .will_retain = true,
                                                  .will_topic = {(const uint8_t *)"w", 1}};
    struct pair p = world_open(w, MQTT_V5, &with_will);
    static const struct {
        uint8_t qos;
        bool retain;
        uint8_t answer;
    } rows[] = {{2, true, 0x9A}, {2, false, 0x9B}, {1, false, 0x9B}, {0, false, 0}};

    (void)unused;
    end_reset(p.brk);
    tells(w, "lost old: network");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct mqtt_connect c;
        uint8_t reason;
        world_due(the_session(w));
        struct end *next = broker_next(w);
        next->version = MQTT_V5;
        struct mqtt_packet pkt = end_packet(next, __FILE__, __LINE__);
        assert_int_equal(mqtt_connect_read(&pkt, &c, &reason, NULL), 0);
        assert_int_equal(c.will_qos, rows[i].qos);
        assert_int_equal(c.will_retain, rows[i].retain);
        say_connack(next, false, rows[i].answer, NULL);
        if (rows[i].answer != 0)
            tells(w, "failed old: policy");
        else
            tells(w, "accepted old rehomed");
    }
}

/* The old leg was let go of on purpose, and the broker dies before it has answered on the next one.
 * What is back after that may have lost the session, which a 3.1 broker does not say; the other
 * versions do.  The spare is a connection to the broker that was left, which has it. */
enum outage { OUTAGE_OF_BOTH, OUTAGE_OF_NONE, OUTAGE_STORIES };

static void outage_in_the_middle_of_leaving(int version, enum outage outage)
{
    struct mqtt_connect lasting = world_lasting;
    struct world *w = world_new(NULL);

    lasting.has_will = true;
    lasting.will_topic = slice_of("w");
    struct pair p = world_open(w, version, &lasting);

    subscribed(&p, 1, "f", 1);
    world_use(w, "d1", FLIP_NEW);
    struct end *cand = broker_next(w), *spare = broker_next(w);
    sees(p.brk, "DISCONNECT");
    end_finish(p.brk);
    assert_int_equal(end_packet(cand, __FILE__, __LINE__).type, MQTT_CONNECT);
    if (outage == OUTAGE_OF_BOTH) {
        end_reset(spare);
        world_until(w, the_session(w)->spare == NULL);
        end_reset(cand);
        end_reset(broker_next(w)); /* the other identity is no better */
        world_until(w, the_session(w)->phase == RH_WAITING);
        world_due(the_session(w));
        p.brk = world_broker_accepts(w, version, true);
    } else {
        end_reset(cand);
        p.brk = spare;
        p.brk->version = version;
        assert_int_equal(end_packet(p.brk, __FILE__, __LINE__).type, MQTT_CONNECT);
        world_connack(w, p.brk, true);
    }
    world_until(w, the_session(w)->accepted);
    if (version == MQTT_V31 && outage == OUTAGE_OF_BOTH) {
        sees(p.brk, "SUBSCRIBE #65535 f:1");
        say_suback(p.brk, MQTT_SUBACK, 65535, "\x01", 1);
    }
    quiet(&p);
    world_end(NULL);
}

static void subscriptions_are_made_again_after_an_outage_in_a_flip(void **unused)
{
    (void)unused;
    for (int version = MQTT_V31; version <= MQTT_V5; version++)
        for (enum outage outage = 0; outage < OUTAGE_STORIES; outage++)
            outage_in_the_middle_of_leaving(version, outage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        play(new_message_under_an_id_in_use_gets_another),
        play(qos_2_under_an_id_in_use_is_a_message_of_its_own),
        play(early_answer_waits_for_the_repetition),
        play(early_answer_is_not_told_to_a_broker_that_forgot),
        play(early_answer_is_ended_when_nothing_is_repeated),
        play(early_answer_waits_for_the_leg_after_the_next),
        play(renamed_exchange_survives_the_next_leg),
        play(broker_of_an_older_state_is_not_believed),
        play(refused_by_the_device_is_not_released),
        play(device_may_use_the_ids_of_our_requests),
        play(requests_of_ours_are_repeated_like_any_other),
        play(unsubscribe_under_way_outlives_the_session),
        play(refused_restoration_is_counted),
        play(qos_2_that_began_anew_is_repeated_on_the_next_leg),
        play(message_that_is_refused_anew_is_counted_as_lost),
        play(pubrel_that_was_answered_already_is_no_news),
        play(exchange_of_an_earlier_connection_ends),
        play(qos_2_that_the_device_repeats_is_one_exchange),
        play(repetition_is_known_two_legs_later),
        play(what_the_device_has_had_does_not_come_again),
        play(what_has_changed_meanwhile_comes),
        play(what_the_device_asks_for_comes),
        play(what_is_published_as_retained_comes),
        play(retain_handling_of_the_device_stays),
        play(content_is_payload_and_properties),
        play(alias_that_was_not_seen_is_spelt_out),
        play(alias_of_a_repetition_is_spelt_out),
        play(subscriptions_of_an_earlier_connection_are_restored),
        play(session_that_nobody_knows_is_not_pretended),
        play(device_that_subscribes_by_itself_is_known),
        play(receive_maximum_is_kept),
        play(what_waits_for_room_moves_on),
        play(what_was_not_sent_is_no_repetition),
        play(qos_2_goes_with_qos_1),
        play(qos_0_is_acknowledged_by_a_ping),
        play(qos_0_is_drained_by_the_barrier),
        play(retain_goes_without),
        play(packet_that_is_too_large_is_answered_here),
        play(packet_that_is_too_large_in_a_trial_goes_back),
        play(aliases_pass_a_limited_leg),
        play(goodbye_waits_for_what_is_before_it),
        play(will_is_lowered_to_what_is_taken),
        play(subscriptions_are_made_again_after_an_outage_in_a_flip),
    };

    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
