/* What an identity on trial has to show: the echo through the device's own session, which must not
 * notice, and answers of the broker that nobody expects. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mqtt/props.h"
#include "session_world.h"

#define WITH_ECHO (FLIP_PROOF_CONNACK | FLIP_PROOF_ECHO)

/* A broker that is not there is known as such quickly. */
static const struct world_args impatient = {
    .upstream = "echo_timeout_ms = 100; barrier_timeout_ms = 100; keepalive_as_device = false;"
                " keepalive_s = 0;"};

static struct session *the_session(struct world *w)
{
    return world_session(w, "d1");
}

/* The first that a leg on trial is asked. */
static void answers(struct end *brk)
{
    sees(brk, "PINGREQ");
    say_ping(brk, MQTT_PINGRESP);
}

/* Flip the device, on trial; its new leg is accepted and has not said anything else yet. */
static void try_it(struct world *w, struct pair *p, unsigned evidence, const struct buf *props)
{
    int version = p->brk->version;

    world_try(w, "d1", evidence);
    sees(p->brk, "PINGREQ");
    say_ping(p->brk, MQTT_PINGRESP);
    p->brk = broker_next(w);
    p->brk->version = version;
    struct mqtt_packet pkt = end_packet(p->brk, __FILE__, __LINE__);
    assert_int_equal(pkt.type, MQTT_CONNECT);
    say_connack(p->brk, true, 0, props);
    answers(p->brk);
    tells(w, "accepted new present rehomed");
}

/* The message of ours, as it came; its payload into `out`. */
static struct mqtt_publish echo_asked(struct end *brk, char out[64])
{
    struct mqtt_packet pkt = end_packet(brk, __FILE__, __LINE__);
    struct mqtt_publish p;
    struct err err = {0};
    uint8_t reason;

    if (pkt.type != MQTT_PUBLISH)
        fail_msg("%s, and no echo", describe(&pkt, brk->version));
    assert_int_equal(mqtt_publish_read(&pkt, brk->version, MQTT_TO_SERVER, &p, &reason, &err), 0);
    assert_true(p.payload.n < 64 && slice_is(p.topic, "certflip/echo/d1") && !p.retain);
    snprintf(out, 64, SLICE_FMT, SLICE_ARG(p.payload));
    assert_memory_equal(out, "certflip-echo ", 14);
    return p;
}

/* SUBSCRIBE, SUBACK, PUBLISH, PUBACK. */
static void echo_goes_up(struct pair *p, char payload[64])
{
    sees(p->brk, p->brk->version == MQTT_V5 ? "SUBSCRIBE #65535 certflip/echo/d1:33"
                                            : "SUBSCRIBE #65535 certflip/echo/d1:1");
    say_suback(p->brk, MQTT_SUBACK, 65535, "\1", 1);
    assert_int_equal(echo_asked(p->brk, payload).packet_id, 65535);
    say_ack(p->brk, MQTT_PUBACK, 65535, 0);
}

static void unsubscribed(struct pair *p)
{
    sees(p->brk, "UNSUBSCRIBE #65535 certflip/echo/d1");
    if (p->brk->version == MQTT_V5)
        say_suback(p->brk, MQTT_UNSUBACK, 65535, "\0", 1);
    else
        say_suback(p->brk, MQTT_UNSUBACK, 65535, NULL, 0);
}

static void proves(struct world *w, struct pair *p)
{
    char payload[64];

    echo_goes_up(p, payload);
    say_publish(p->brk, 1, 7, "certflip/echo/d1", payload);
    sees(p->brk, "PUBACK #7");
    unsubscribed(p);
    tells(w, "proven new");
}

/* ---- the echo ---- */

static void echo_proves_it_and_the_device_sees_nothing(void **unused)
{
    static const int versions[] = {MQTT_V31, MQTT_V311, MQTT_V5};

    (void)unused;
    for (size_t i = 0; i < 3; i++) {
        struct world *w = world_new(NULL);
        struct pair p = world_open(w, versions[i], &world_lasting);
        try_it(w, &p, WITH_ECHO, NULL);
        proves(w, &p);
        quiet(&p);
        assert_int_equal(the_session(w)->to_broker.count, 0);
        assert_false(world_has_news(w));
        world_end(NULL);
    }
}

static void without_the_demand_nothing_is_asked(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    try_it(w, &p, FLIP_PROOF_CONNACK, NULL);
    quiet(&p);
    assert_null(the_session(w)->evidence);
}

/* The device connects while its trial waits for it. */
static void first_leg_of_a_session_has_to_echo_too(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = {.dev = NULL};

    (void)unused;
    world_try(w, "d1", WITH_ECHO);
    p.dev = device_new(w, MQTT_V311);
    say_connect(p.dev, &world_lasting);
    p.brk = world_broker_accepts(w, MQTT_V311, false);
    sees(p.dev, "CONNACK");
    tells(w, "up d1");
    answers(p.brk);
    tells(w, "accepted new");
    proves(w, &p);
    quiet(&p);
}

static void refused_subscription_is_a_refusal(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    try_it(w, &p, WITH_ECHO, NULL);
    sees(p.brk, "SUBSCRIBE #65535 certflip/echo/d1:1");
    say_suback(p.brk, MQTT_SUBACK, 65535, "\x80", 1);
    tells(w, "refused new: identity evidence.echo-not-subscribed ours");
    assert_non_null(strstr(w->refused, "\"certflip/echo/d1\""));
    quiet(&p);
}

static void refused_message_is_a_refusal(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);
    char payload[64];

    (void)unused;
    try_it(w, &p, WITH_ECHO, NULL);
    sees(p.brk, "SUBSCRIBE #65535 certflip/echo/d1:33");
    say_suback(p.brk, MQTT_SUBACK, 65535, "\1", 1);
    (void)echo_asked(p.brk, payload);
    say_ack(p.brk, MQTT_PUBACK, 65535, 0x87);
    tells(w, "refused new: identity evidence.echo-not-published ours");
    unsubscribed(&p);
    quiet(&p);
}

/* 3.1.1 has no way to say no: it is granted, acknowledged and never delivered. */
static void broker_that_swallows_it_is_a_refusal(void **unused)
{
    struct world *w = world_new(&impatient);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    char payload[64];

    (void)unused;
    try_it(w, &p, WITH_ECHO, NULL);
    echo_goes_up(&p, payload);
    sees(p.brk, "PINGREQ"); /* is it there at all? */
    assert_false(world_has_news(w));
    say_ping(p.brk, MQTT_PINGRESP);
    tells(w, "refused new: identity evidence.no-echo ours");
    unsubscribed(&p);
    quiet(&p);
}

/* What comes between the question and its answer is in time. */
static void echo_before_the_pingresp_counts(void **unused)
{
    struct world *w = world_new(&impatient);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    char payload[64];

    (void)unused;
    try_it(w, &p, WITH_ECHO, NULL);
    echo_goes_up(&p, payload);
    sees(p.brk, "PINGREQ");
    glue(p.brk);
    say_publish(p.brk, 0, 0, "certflip/echo/d1", payload);
    say_ping(p.brk, MQTT_PINGRESP);
    unglue(p.brk);
    tells(w, "proven new");
    unsubscribed(&p);
}

/* Silence of the link is no word of the broker. */
static void silent_link_is_an_outage_and_it_is_asked_again(void **unused)
{
    struct world *w = world_new(&impatient);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    char payload[64];

    (void)unused;
    try_it(w, &p, WITH_ECHO, NULL);
    echo_goes_up(&p, payload);
    sees(p.brk, "PINGREQ");
    tells(w, "lost new: network");
    world_due(the_session(w));
    p.brk = world_broker_accepts(w, MQTT_V311, true);
    answers(p.brk);
    tells(w, "accepted new present rehomed");
    proves(w, &p);
    quiet(&p);
}

static void lost_leg_begins_anew_on_the_next(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    char first[64];

    (void)unused;
    try_it(w, &p, WITH_ECHO, NULL);
    echo_goes_up(&p, first);
    end_reset(p.brk);
    tells(w, "lost new: network");
    world_due(the_session(w));
    p.brk = world_broker_accepts(w, MQTT_V311, true);
    answers(p.brk);
    tells(w, "accepted new present rehomed");
    char second[64];
    echo_goes_up(&p, second);
    assert_string_not_equal(first, second);
    say_publish(p.brk, 1, 3, "certflip/echo/d1", first); /* it had it in its queue still */
    sees(p.brk, "PUBACK #3");
    assert_false(world_has_news(w)); /* and it proves nothing of this leg */
    say_publish(p.brk, 1, 4, "certflip/echo/d1", second);
    sees(p.brk, "PUBACK #4");
    tells(w, "proven new");
    unsubscribed(&p);
    quiet(&p);
}

static void what_was_proven_of_a_leg_is_asked_of_the_next(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    try_it(w, &p, WITH_ECHO, NULL);
    proves(w, &p);
    end_reset(p.brk);
    tells(w, "lost new: network");
    world_due(the_session(w));
    p.brk = world_broker_accepts(w, MQTT_V311, true);
    answers(p.brk);
    tells(w, "accepted new present rehomed");
    proves(w, &p);
}

/* Main forgot what it knew (another decision) while the leg stands. */
static void another_decision_is_another_echo(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    try_it(w, &p, WITH_ECHO, NULL);
    proves(w, &p);
    world_try(w, "d1", WITH_ECHO);
    answers(p.brk); /* that leg, now */
    tells(w, "accepted new present");
    proves(w, &p);
}

/* A rollback in the middle: what is ours in the broker's session goes. */
static void rollback_in_the_middle_leaves_nothing(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    char payload[64];

    (void)unused;
    try_it(w, &p, WITH_ECHO, NULL);
    echo_goes_up(&p, payload);
    world_use(w, "d1", FLIP_OLD);
    unsubscribed(&p);
    sees(p.brk, "PINGREQ");
    say_publish(p.brk, 1, 9, "certflip/echo/d1", payload); /* late, and taken all the same */
    sees(p.brk, "PUBACK #9");
    say_ping(p.brk, MQTT_PINGRESP);
    p.brk = world_broker_accepts(w, MQTT_V311, true);
    tells(w, "accepted old present rehomed");
    quiet(&p);
}

/* The leg is lost before our UNSUBSCRIBE could be said: the next one says it. */
static void next_leg_clears_up_what_the_former_could_not(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    char payload[64];

    (void)unused;
    try_it(w, &p, WITH_ECHO, NULL);
    echo_goes_up(&p, payload);
    end_reset(p.brk);
    tells(w, "lost new: network");
    world_use(w, "d1", FLIP_OLD);
    p.brk = world_broker_accepts(w, MQTT_V311, true);
    tells(w, "accepted old present rehomed");
    unsubscribed(&p);
    quiet(&p);
}

static void device_that_leaves_takes_our_subscription_with_it(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    char payload[64];

    (void)unused;
    try_it(w, &p, WITH_ECHO, NULL);
    echo_goes_up(&p, payload);
    say_disconnect(p.dev, 0, NULL);
    sees(p.brk, "UNSUBSCRIBE #65535 certflip/echo/d1");
    sees(p.brk, "DISCONNECT");
}

/* ---- beside the device's own ---- */

static void overlapping_subscription_of_the_device_is_not_disturbed(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    char payload[64];

    (void)unused;
    say_subscribe(p.dev, 1, "certflip/#", 2);
    sees(p.brk, "SUBSCRIBE #1 certflip/#:2");
    say_suback(p.brk, MQTT_SUBACK, 1, "\2", 1);
    sees(p.dev, "SUBACK #1 02");
    try_it(w, &p, WITH_ECHO, NULL);
    echo_goes_up(&p, payload);
    glue(p.brk); /* once for each subscription [MQTT-3.3.5-1] */
    say_publish(p.brk, 1, 7, "certflip/echo/d1", payload);
    say_publish(p.brk, 1, 8, "certflip/echo/d1", payload);
    say_publish(p.brk, 1, 9, "certflip/echo/d1", "of somebody else");
    say_publish(p.brk, 0, 0, "certflip/x", "y");
    unglue(p.brk);
    sees(p.brk, "PUBACK #7");
    sees(p.brk, "UNSUBSCRIBE #65535 certflip/echo/d1");
    sees(p.brk, "PUBACK #8");
    sees(p.dev, "PUBLISH q1 #9 certflip/echo/d1 of somebody else");
    sees(p.dev, "PUBLISH q0 certflip/x y");
    say_ack(p.dev, MQTT_PUBACK, 9, 0);
    sees(p.brk, "PUBACK #9");
    tells(w, "proven new");
}

/* The very same filter: SUBSCRIBE would replace the device's, UNSUBSCRIBE would end it. */
static void subscription_of_the_device_to_the_same_topic_is_used(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    char payload[64];

    (void)unused;
    say_subscribe(p.dev, 1, "certflip/echo/d1", 0);
    sees(p.brk, "SUBSCRIBE #1 certflip/echo/d1:0");
    say_suback(p.brk, MQTT_SUBACK, 1, "\0", 1);
    sees(p.dev, "SUBACK #1 00");
    try_it(w, &p, WITH_ECHO, NULL);
    (void)echo_asked(p.brk, payload);
    say_ack(p.brk, MQTT_PUBACK, 65535, 0);
    say_publish(p.brk, 0, 0, "certflip/echo/d1", payload);
    tells(w, "proven new");
    quiet(&p);
}

/* It subscribes to the same topic in the middle: from then on it is the device's. */
static void device_that_subscribes_in_the_middle_keeps_it(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    char payload[64];

    (void)unused;
    try_it(w, &p, WITH_ECHO, NULL);
    echo_goes_up(&p, payload);
    say_subscribe(p.dev, 1, "certflip/echo/d1", 1);
    sees(p.brk, "SUBSCRIBE #1 certflip/echo/d1:1");
    say_publish(p.brk, 0, 0, "certflip/echo/d1", payload);
    tells(w, "proven new");
    say_suback(p.brk, MQTT_SUBACK, 1, "\1", 1);
    sees(p.dev, "SUBACK #1 01");
    quiet(&p);
}

/* It unsubscribes from the same topic in the middle, which ends ours: once more, then. */
static void device_that_unsubscribes_in_the_middle_is_no_refusal(void **unused)
{
    struct world *w = world_new(&impatient);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    char payload[64];

    (void)unused;
    try_it(w, &p, WITH_ECHO, NULL);
    echo_goes_up(&p, payload);
    say_unsubscribe(p.dev, 1, "certflip/echo/d1");
    sees(p.brk, "UNSUBSCRIBE #1 certflip/echo/d1");
    say_suback(p.brk, MQTT_UNSUBACK, 1, NULL, 0);
    sees(p.dev, "UNSUBACK #1");
    sees(p.brk, "PINGREQ");
    say_ping(p.brk, MQTT_PINGRESP);
    proves(w, &p);
}

static void what_others_say_there_does_not_reach_the_device(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    char payload[64];

    (void)unused;
    try_it(w, &p, WITH_ECHO, NULL);
    echo_goes_up(&p, payload);
    say_publish(p.brk, 1, 3, "certflip/echo/d1", "retained, say");
    sees(p.brk, "PUBACK #3");
    say_publish(p.brk, 2, 4, "certflip/echo/d1", "at QoS 2, which cannot be");
    sees(p.brk, "PUBREC #4");
    say_ack(p.brk, MQTT_PUBREL, 4, 0);
    sees(p.brk, "PUBCOMP #4");
    quiet(&p);
    assert_false(world_has_news(w));
}

/* ---- 5.0 ---- */

static void put_num(struct buf *props, enum mqtt_prop id, uint32_t v)
{
    assert_int_equal(mqtt_props_put_num(props, id, v), 0);
}

static void echo_waits_for_room_in_the_receive_maximum(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);
    struct buf props = {0};
    char payload[64];

    (void)unused;
    put_num(&props, MQTT_PROP_RECEIVE_MAXIMUM, 2);
    try_it(w, &p, WITH_ECHO, &props);
    buf_fini(&props);
    say_publish(p.dev, 1, 1, "a", "x");
    sees(p.brk, "SUBSCRIBE #65535 certflip/echo/d1:33");
    sees(p.brk, "PUBLISH q1 #1 a x");
    say_suback(p.brk, MQTT_SUBACK, 65535, "\1", 1);
    quiet(&p);
    assert_false(end_has_packet(p.brk));
    say_ack(p.brk, MQTT_PUBACK, 1, 0);
    sees(p.dev, "PUBACK #1");
    assert_int_equal(echo_asked(p.brk, payload).packet_id, 65535);
}

/* It never has room for one more: then it goes at QoS 0; and what may have been dropped is asked
 * for again before it is held against the identity. */
static void device_that_uses_up_the_window_is_no_refusal(void **unused)
{
    struct world *w = world_new(&impatient);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);
    struct buf props = {0};
    char payload[64];

    (void)unused;
    put_num(&props, MQTT_PROP_RECEIVE_MAXIMUM, 2);
    try_it(w, &p, WITH_ECHO, &props);
    buf_fini(&props);
    say_publish(p.dev, 1, 1, "a", "x");
    sees(p.brk, "SUBSCRIBE #65535 certflip/echo/d1:33");
    sees(p.brk, "PUBLISH q1 #1 a x");
    for (int asked = 0; asked < 3; asked++) {
        if (asked > 0)
            sees(p.brk, "SUBSCRIBE #65535 certflip/echo/d1:33");
        say_suback(p.brk, MQTT_SUBACK, 65535, "\1", 1);
        assert_int_equal(echo_asked(p.brk, payload).qos, 0);
        sees(p.brk, "PINGREQ");
        assert_false(world_has_news(w));
        say_ping(p.brk, MQTT_PINGRESP);
    }
    tells(w, "refused new: identity evidence.no-echo ours");
    assert_int_equal(w->env.stats.evidence_refused, 1);
    assert_int_equal(w->env.stats.echoes, 0);
}

static void broker_without_qos_1_is_asked_at_qos_0(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);
    struct buf props = {0};
    char payload[64];

    (void)unused;
    put_num(&props, MQTT_PROP_MAXIMUM_QOS, 0);
    try_it(w, &p, WITH_ECHO, &props);
    buf_fini(&props);
    sees(p.brk, "SUBSCRIBE #65535 certflip/echo/d1:33");
    say_suback(p.brk, MQTT_SUBACK, 65535, "\0", 1);
    assert_int_equal(echo_asked(p.brk, payload).qos, 0);
    say_publish(p.brk, 0, 0, "certflip/echo/d1", payload);
    tells(w, "proven new");
}

/* The broker sets an alias with our message, which the device never sees, and uses it later. */
static void alias_that_came_with_our_message_is_spelt_out_later(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);
    struct mqtt_publish m = {.topic = slice_of("certflip/echo/d1")};
    struct buf props = {0};
    char payload[64];

    (void)unused;
    say_subscribe(p.dev, 1, "#", 0);
    sees(p.brk, "SUBSCRIBE #1 #:0");
    say_suback(p.brk, MQTT_SUBACK, 1, "\0", 1);
    sees(p.dev, "SUBACK #1 00");
    try_it(w, &p, WITH_ECHO, NULL);
    echo_goes_up(&p, payload);
    put_num(&props, MQTT_PROP_TOPIC_ALIAS, 3);
    m.props = (struct mqtt_props){props.p, (uint32_t)props.len};
    m.payload = slice_of(payload);
    say_publish_full(p.brk, &m);
    tells(w, "proven new");
    unsubscribed(&p);
    m.topic = (struct slice){NULL, 0};
    m.payload = slice_of("for the device");
    say_publish_full(p.brk, &m);
    sees(p.dev, "PUBLISH q0 certflip/echo/d1 for the device");
    m.topic = slice_of("other"); /* set anew: from here on the device knows it */
    say_publish_full(p.brk, &m);
    sees(p.dev, "PUBLISH q0 other for the device topic-alias=3");
    m.topic = (struct slice){NULL, 0};
    say_publish_full(p.brk, &m);
    sees(p.dev, "PUBLISH q0  for the device topic-alias=3");
    buf_fini(&props);
}

/* MQTT 5 upstream of a 3.1.1 device, and a prefix: the reasons are heard that the device cannot be
 * told. */
static void dialect_of_the_profile_is_spoken(void **unused)
{
    static const struct world_args args = {.upstream =
                                               "protocol = \"5\"; topic_prefix = \"plant/\";"};
    struct world *w = world_new(&args);
    struct pair p = {.dev = device_new(w, MQTT_V311)};
    struct mqtt_publish echo;
    struct mqtt_packet pkt;
    struct err err = {0};
    char payload[64];
    uint8_t reason;

    (void)unused;
    say_connect(p.dev, &world_lasting);
    p.brk = world_broker_accepts(w, MQTT_V5, false);
    sees(p.dev, "CONNACK");
    tells(w, "up d1");
    tells(w, "accepted old");
    try_it(w, &p, WITH_ECHO, NULL);
    sees(p.brk, "SUBSCRIBE #65535 plant/certflip/echo/d1:1");
    say_suback(p.brk, MQTT_SUBACK, 65535, "\1", 1);
    pkt = end_packet(p.brk, __FILE__, __LINE__);
    assert_int_equal(mqtt_publish_read(&pkt, MQTT_V5, MQTT_TO_SERVER, &echo, &reason, &err), 0);
    assert_true(slice_is(echo.topic, "plant/certflip/echo/d1"));
    snprintf(payload, sizeof payload, SLICE_FMT, SLICE_ARG(echo.payload));
    say_publish(p.brk, 1, 7, "plant/certflip/echo/d1", payload);
    sees(p.brk, "PUBACK #7");
    sees(p.brk, "UNSUBSCRIBE #65535 plant/certflip/echo/d1");
    tells(w, "proven new");
    say_publish(p.dev, 1, 1, "now/no", "x");
    sees(p.brk, "PUBLISH q1 #1 plant/now/no x");
    say_ack(p.brk, MQTT_PUBACK, 1, 0x87);
    tells(w, "refused new: identity evidence.publish-not-authorized");
    sees(p.dev, "PUBACK #1");
}

static void topic_that_becomes_none_is_a_matter_of_settings(void **unused)
{
    static const struct world_args args = {.upstream = "echo_topic = \"echo/{username}\";"};
    static const struct mqtt_connect c = {.client_id = {(const uint8_t *)"d1", 2},
                                          .keepalive_s = 60,
                                          .has_username = true,
                                          .username = {(const uint8_t *)"a+b", 3}};
    struct world *w = world_new(&args);
    struct pair p = world_open(w, MQTT_V311, &c);

    (void)unused;
    try_it(w, &p, WITH_ECHO, NULL);
    tells(w, "refused new: policy evidence.bad-topic ours");
    quiet(&p);
}

/* ---- the watch ---- */

static void refused_subscription_of_the_device_is_told_in_a_trial(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    try_it(w, &p, FLIP_PROOF_CONNACK, NULL);
    say_subscribe(p.dev, 1, "cmd/\"d1\"", 1);
    sees(p.brk, "SUBSCRIBE #1 cmd/\"d1\":1");
    say_suback(p.brk, MQTT_SUBACK, 1, "\x80", 1);
    tells(w, "refused new: identity evidence.suback-refused");
    assert_string_equal(w->refused,
                        "the broker refused a subscription to \"cmd/?d1?\" to the device");
    sees(p.dev, "SUBACK #1 80"); /* the broker's word, as ever */
}

static void what_the_old_identity_was_refused_is_not_told_again(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);

    (void)unused;
    for (uint16_t id = 1; id <= 3; id++) {
        say_publish(p.dev, 1, id, "always/no", "x");
        sees(p.brk, id == 1   ? "PUBLISH q1 #1 always/no x"
                    : id == 2 ? "PUBLISH q1 #2 always/no x"
                              : "PUBLISH q1 #3 always/no x");
        say_ack(p.brk, MQTT_PUBACK, id, 0x87);
        (void)end_packet(p.dev, __FILE__, __LINE__);
    }
    tells(w, "refused old: identity evidence.publish-not-authorized");
    assert_false(world_has_news(w)); /* once */
    try_it(w, &p, FLIP_PROOF_CONNACK, NULL);
    say_publish(p.dev, 1, 4, "always/no", "x");
    sees(p.brk, "PUBLISH q1 #4 always/no x");
    say_ack(p.brk, MQTT_PUBACK, 4, 0x87);
    sees(p.dev, "PUBACK #4 0x87");
    assert_false(world_has_news(w));
    say_publish(p.dev, 2, 5, "now/no", "x");
    sees(p.brk, "PUBLISH q2 #5 now/no x");
    say_ack(p.brk, MQTT_PUBREC, 5, 0x87);
    tells(w, "refused new: identity evidence.publish-not-authorized");
    sees(p.dev, "PUBREC #5 0x87");
}

/* Each trial is one of its own. */
static void next_trial_is_told_of_the_same_refusal(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);

    (void)unused;
    for (int trial = 0; trial < 2; trial++) {
        try_it(w, &p, FLIP_PROOF_CONNACK, NULL);
        say_publish(p.dev, 1, 1, "no", "x");
        sees(p.brk, "PUBLISH q1 #1 no x");
        say_ack(p.brk, MQTT_PUBACK, 1, 0x83);
        tells(w, "refused new: identity evidence.publish-refused");
        sees(p.dev, "PUBACK #1 0x83");
        world_use(w, "d1", FLIP_OLD);
        sees(p.brk, "PINGREQ");
        say_ping(p.brk, MQTT_PINGRESP);
        p.brk = world_broker_accepts(w, MQTT_V5, true);
        tells(w, "accepted old present rehomed");
    }
}

static void codes_that_are_no_refusal_are_none(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);

    (void)unused;
    try_it(w, &p, FLIP_PROOF_CONNACK, NULL);
    say_publish(p.dev, 1, 1, "a", "x");
    sees(p.brk, "PUBLISH q1 #1 a x");
    say_ack(p.brk, MQTT_PUBACK, 1, 0x10); /* no matching subscribers */
    sees(p.dev, "PUBACK #1 0x10");
    say_unsubscribe(p.dev, 2, "a");
    sees(p.brk, "UNSUBSCRIBE #2 a");
    say_suback(p.brk, MQTT_UNSUBACK, 2, "\x11", 1); /* no subscription existed */
    sees(p.dev, "UNSUBACK #2 11");
    say_publish(p.dev, 1, 3, "a", "x");
    sees(p.brk, "PUBLISH q1 #3 a x");
    say_ack(p.brk, MQTT_PUBACK, 3, 0x91); /* packet identifier in use: bookkeeping */
    sees(p.dev, "PUBACK #3 0x91");
    assert_false(world_has_news(w));
    say_unsubscribe(p.dev, 4, "a");
    sees(p.brk, "UNSUBSCRIBE #4 a");
    say_suback(p.brk, MQTT_UNSUBACK, 4, "\x87", 1);
    tells(w, "refused new: identity evidence.unsuback-refused");
}

static void limits_are_a_matter_of_policy(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);

    (void)unused;
    try_it(w, &p, FLIP_PROOF_CONNACK, NULL);
    say_subscribe(p.dev, 1, "a/#", 1);
    sees(p.brk, "SUBSCRIBE #1 a/#:1");
    say_suback(p.brk, MQTT_SUBACK, 1, "\x97", 1);
    tells(w, "refused new: policy evidence.suback-refused");
}

/* A subscription that the old identity had and the new one is refused, as its session was lost. */
static void subscription_that_cannot_be_restored_is_told(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    say_subscribe(p.dev, 1, "cmd", 1);
    sees(p.brk, "SUBSCRIBE #1 cmd:1");
    say_suback(p.brk, MQTT_SUBACK, 1, "\1", 1);
    sees(p.dev, "SUBACK #1 01");
    world_try(w, "d1", FLIP_PROOF_CONNACK);
    sees(p.brk, "PINGREQ");
    say_ping(p.brk, MQTT_PINGRESP);
    p.brk = world_broker_accepts(w, MQTT_V311, false);
    sees(p.brk, "SUBSCRIBE #65535 cmd:1");
    answers(p.brk);
    tells(w, "accepted new rehomed replayed=0 restored=1 lost=0");
    say_suback(p.brk, MQTT_SUBACK, 65535, "\x80", 1);
    tells(w, "refused new: identity evidence.suback-refused");
}

/* Whose identity is committed is not watched, and nothing is kept for it. */
static void committed_identity_is_not_watched(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);

    (void)unused;
    try_it(w, &p, FLIP_PROOF_CONNACK, NULL);
    world_device(w, "d1")->evidence = 0; /* as MSG_TRIAL_OVER does */
    say_publish(p.dev, 1, 1, "no", "x");
    sees(p.brk, "PUBLISH q1 #1 no x");
    say_ack(p.brk, MQTT_PUBACK, 1, 0x87);
    sees(p.dev, "PUBACK #1 0x87");
    assert_false(world_has_news(w));
    assert_null(the_session(w)->refusals);
}

/* So many are remembered of the old identity; in a trial each one more is told. */
static void memory_of_refusals_is_bounded(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_lasting);
    char topic[16];

    (void)unused;
    for (uint16_t id = 1; id <= 20; id++) {
        snprintf(topic, sizeof topic, "no/%u", id);
        say_publish(p.dev, 1, id, topic, "x");
        (void)end_packet(p.brk, __FILE__, __LINE__);
        say_ack(p.brk, MQTT_PUBACK, id, 0x87);
        (void)end_packet(p.dev, __FILE__, __LINE__);
        if (id <= 16)
            tells(w, "refused old: identity evidence.publish-not-authorized");
    }
    assert_false(world_has_news(w));
    try_it(w, &p, FLIP_PROOF_CONNACK, NULL);
    say_publish(p.dev, 1, 1, "no/16", "x");
    (void)end_packet(p.brk, __FILE__, __LINE__);
    say_ack(p.brk, MQTT_PUBACK, 1, 0x87);
    (void)end_packet(p.dev, __FILE__, __LINE__);
    assert_false(world_has_news(w));
    say_publish(p.dev, 1, 2, "no/17", "x");
    (void)end_packet(p.brk, __FILE__, __LINE__);
    say_ack(p.brk, MQTT_PUBACK, 2, 0x87);
    tells(w, "refused new: identity evidence.publish-not-authorized");
}

/* With a Will the leg is left by DISCONNECT; it was accepted, and has not answered yet. */
static struct end *leave_for(struct world *w, struct end *from, const char *cn)
{
    struct end *next = broker_next(w);

    assert_string_equal(next->cn, cn);
    (void)broker_next(w); /* the way back */
    sees(from, "DISCONNECT");
    end_finish(from);
    sees(next, "CONNECT 3.1.1 d1 ka=60 will=w");
    say_connack(next, true, 0, NULL);
    return next;
}

/* What the old leg says is no proof of the new one that was left. */
static void another_legs_answer_is_no_acceptance(void **unused)
{
    struct mqtt_connect with_will = world_lasting;
    struct world *w = world_new(NULL);

    (void)unused;
    with_will.has_will = true;
    with_will.will_topic = (struct slice){(const uint8_t *)"w", 1};
    struct pair p = world_open(w, MQTT_V311, &with_will);
    world_try(w, "d1", FLIP_PROOF_CONNACK);
    p.brk = leave_for(w, p.brk, "new");
    sees(p.brk, "PINGREQ"); /* and no answer */
    world_use(w, "d1", FLIP_OLD);
    p.brk = leave_for(w, p.brk, "old");
    tells(w, "accepted old present rehomed");
    relay_ping(the_session(w));
    answers(p.brk);
    quiet(&p);
    assert_false(world_has_news(w));
}

/* The session cannot be restored, so the device has to come anew; the leg that said so has proven
 * nothing. */
static void leg_that_cannot_restore_the_session_is_no_acceptance(void **unused)
{
    struct world *w = world_new(NULL);
    struct end *dev = device_new(w, MQTT_V311);

    (void)unused;
    say_connect(dev, &world_lasting);
    struct end *brk = world_broker_accepts(w, MQTT_V311, true);
    sees(dev, "CONNACK present");
    tells(w, "up d1");
    tells(w, "accepted old present");
    world_try(w, "d1", FLIP_PROOF_CONNACK);
    sees(brk, "PINGREQ");
    say_ping(brk, MQTT_PINGRESP);
    struct end *next = broker_next(w);
    next->version = MQTT_V311;
    sees(next, "CONNECT 3.1.1 d1 ka=60");
    say_connack(next, false, 0, NULL);
    sees_end(dev);
    tells(w, "down d1: the broker lost the session, and what the device had subscribed to before "
             "it connected here is not known");
}

/* It reads, and does not answer: given up, without the Will of a device that lives. */
static void leg_on_trial_that_is_silent_is_left_in_order(void **unused)
{
    struct mqtt_connect with_will = world_lasting;
    struct world *w = world_new(&impatient);

    (void)unused;
    with_will.has_will = true;
    with_will.will_topic = (struct slice){(const uint8_t *)"w", 1};
    struct pair p = world_open(w, MQTT_V311, &with_will);
    world_try(w, "d1", FLIP_PROOF_CONNACK);
    struct end *next = broker_next(w);
    (void)broker_next(w);
    sees(p.brk, "DISCONNECT");
    end_finish(p.brk);
    sees(next, "CONNECT 3.1.1 d1 ka=0 will=w");
    say_connack(next, true, 0, NULL);
    sees(next, "PINGREQ"); /* and no answer */
    sees(next, "DISCONNECT");
    tells(w, "lost new: network");
    assert_true(the_session(w)->will_quiet);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        play(another_legs_answer_is_no_acceptance),
        play(leg_that_cannot_restore_the_session_is_no_acceptance),
        play(leg_on_trial_that_is_silent_is_left_in_order),
        cmocka_unit_test(echo_proves_it_and_the_device_sees_nothing),
        play(without_the_demand_nothing_is_asked),
        play(first_leg_of_a_session_has_to_echo_too),
        play(refused_subscription_is_a_refusal),
        play(refused_message_is_a_refusal),
        play(broker_that_swallows_it_is_a_refusal),
        play(echo_before_the_pingresp_counts),
        play(silent_link_is_an_outage_and_it_is_asked_again),
        play(lost_leg_begins_anew_on_the_next),
        play(what_was_proven_of_a_leg_is_asked_of_the_next),
        play(another_decision_is_another_echo),
        play(rollback_in_the_middle_leaves_nothing),
        play(next_leg_clears_up_what_the_former_could_not),
        play(device_that_leaves_takes_our_subscription_with_it),
        play(overlapping_subscription_of_the_device_is_not_disturbed),
        play(subscription_of_the_device_to_the_same_topic_is_used),
        play(device_that_subscribes_in_the_middle_keeps_it),
        play(device_that_unsubscribes_in_the_middle_is_no_refusal),
        play(what_others_say_there_does_not_reach_the_device),
        play(echo_waits_for_room_in_the_receive_maximum),
        play(device_that_uses_up_the_window_is_no_refusal),
        play(broker_without_qos_1_is_asked_at_qos_0),
        play(alias_that_came_with_our_message_is_spelt_out_later),
        play(dialect_of_the_profile_is_spoken),
        play(topic_that_becomes_none_is_a_matter_of_settings),
        play(refused_subscription_of_the_device_is_told_in_a_trial),
        play(what_the_old_identity_was_refused_is_not_told_again),
        play(next_trial_is_told_of_the_same_refusal),
        play(codes_that_are_no_refusal_are_none),
        play(limits_are_a_matter_of_policy),
        play(subscription_that_cannot_be_restored_is_told),
        play(committed_identity_is_not_watched),
        play(memory_of_refusals_is_bounded),
    };

    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
