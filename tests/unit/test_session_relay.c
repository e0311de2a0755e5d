/* What passes between a device and its broker, and what must not: packets of all kinds both ways,
 * wherever they are cut and glued, faults on either side, bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session_world.h"

/* ---- CONNECT and CONNACK ---- */

static void connect_3_1_1_passes(void **unused)
{
    struct world *w = world_new(NULL);
    struct end *dev = device_new(w, MQTT_V311);
    struct mqtt_connect c = world_lasting;

    (void)unused;
    c.has_will = true;
    c.will_topic = slice_of("w/d1");
    c.has_username = c.has_password = true;
    c.username = slice_of("u");
    c.password = slice_of("p");
    say_connect(dev, &c);
    struct end *brk = broker_next(w);
    assert_string_equal(brk->cn, "old");
    sees(brk, "CONNECT 3.1.1 d1 ka=60 will=w/d1 user=u password=p");
    tells(w, "up d1");
    assert_false(end_has_packet(dev)); /* the answer is the broker's */
    say_connack(brk, true, 0, NULL);
    sees(dev, "CONNACK present");
    tells(w, "accepted old present");
}

static void connect_3_1_passes(void **unused)
{
    struct world *w = world_new(NULL);
    struct end *dev = device_new(w, MQTT_V31);

    (void)unused;
    say_connect(dev, &world_lasting);
    struct end *brk = broker_next(w);
    brk->version = MQTT_V31;
    sees(brk, "CONNECT 3.1 d1 ka=60");
    say_connack(brk, false, 0, NULL);
    sees(dev, "CONNACK");
}

/* The session upstream outlives its connection; the device need not know. */
static void connect_5_0_passes_and_its_session_expiry_is_its_own(void **unused)
{
    struct world *w = world_new(NULL);
    struct end *dev = device_new(w, MQTT_V5);
    struct mqtt_connect c = world_clean;
    struct buf props = {0}, back = {0};

    (void)unused;
    mqtt_props_put_pair(&props, slice_of("b"), slice_of("1"));
    mqtt_props_put_num(&props, MQTT_PROP_SESSION_EXPIRY, 100);
    mqtt_props_put_num(&props, MQTT_PROP_RECEIVE_MAXIMUM, 9);
    mqtt_props_put_pair(&props, slice_of("a"), slice_of("2"));
    c.props = (struct mqtt_props){props.p, (uint32_t)props.len};
    say_connect(dev, &c);
    buf_fini(&props);
    struct end *brk = broker_next(w);
    brk->version = MQTT_V5;
    sees(brk, "CONNECT 5.0 d1 clean ka=60 user-property=b:1 receive-maximum=9 user-property=a:2"
              " session-expiry-interval=600");
    mqtt_props_put_num(&back, MQTT_PROP_SESSION_EXPIRY, 600);
    mqtt_props_put_num(&back, MQTT_PROP_TOPIC_ALIAS_MAXIMUM, 10);
    mqtt_props_put_pair(&back, slice_of("z"), slice_of("1"));
    mqtt_props_put_pair(&back, slice_of("y"), slice_of("2"));
    say_connack(brk, false, 0, &back);
    sees(dev, "CONNACK topic-alias-maximum=10 user-property=z:1 user-property=y:2");
    buf_fini(&back);
}

/* A broker that keeps it for a shorter time than the device asked for says so. */
static void shorter_session_expiry_is_told(void **unused)
{
    struct world *w = world_new(NULL);
    struct end *dev = device_new(w, MQTT_V5);
    struct mqtt_connect c = world_clean;
    struct buf props = {0}, back = {0};

    (void)unused;
    mqtt_props_put_num(&props, MQTT_PROP_SESSION_EXPIRY, 3600);
    c.props = (struct mqtt_props){props.p, (uint32_t)props.len};
    say_connect(dev, &c);
    struct end *brk = broker_next(w);
    brk->version = MQTT_V5;
    sees(brk, "CONNECT 5.0 d1 clean ka=60 session-expiry-interval=3600");
    mqtt_props_put_num(&back, MQTT_PROP_SESSION_EXPIRY, 1800);
    say_connack(brk, false, 0, &back);
    sees(dev, "CONNACK session-expiry-interval=1800");
    buf_fini(&props);
    buf_fini(&back);
}

static void assigned_client_id_is_used_again(void **unused)
{
    struct world *w = world_new(NULL);
    struct end *dev = device_new(w, MQTT_V5);
    struct mqtt_connect c = {
        .keepalive_s = 60, .clean = true, .has_username = true, .username = slice_of("d9")};
    struct buf back = {0};

    (void)unused;
    world_device(w, "d9");
    say_connect(dev, &c);
    struct end *brk = broker_next(w);
    brk->version = MQTT_V5;
    sees(brk, "CONNECT 5.0  clean ka=60 user=d9 session-expiry-interval=600");
    mqtt_props_put_str(&back, MQTT_PROP_ASSIGNED_CLIENT_ID, slice_of("auto-77"));
    say_connack(brk, false, 0, &back);
    sees(dev, "CONNACK assigned-client-identifier=auto-77");
    world_use(w, "d9", FLIP_NEW);
    sees(brk, "PINGREQ");
    say_ping(brk, MQTT_PINGRESP);
    struct end *next = broker_next(w);
    sees(next, "CONNECT 5.0 auto-77 ka=60 user=d9 session-expiry-interval=600");
    buf_fini(&back);
}

static void refusal_is_the_brokers_own(void **unused)
{
    struct world *w = world_new(NULL);
    struct end *dev = device_new(w, MQTT_V311);

    (void)unused;
    say_connect(dev, &world_lasting);
    struct end *brk = broker_next(w);
    sees(brk, "CONNECT 3.1.1 d1 ka=60");
    say_connack(brk, false, 4, NULL);
    sees(dev, "CONNACK 0x04");
    sees_end(dev);
    tells(w, "up d1");
    tells(w, "refused d1: broker-refused");
    tells(w, "failed old: identity");
    tells(w, "down d1: the broker refused CONNECT");
}

static void refusal_of_5_0_keeps_its_properties(void **unused)
{
    struct world *w = world_new(NULL);
    struct end *dev = device_new(w, MQTT_V5);
    struct buf back = {0};

    (void)unused;
    say_connect(dev, &world_clean);
    struct end *brk = broker_next(w);
    brk->version = MQTT_V5;
    sees(brk, "CONNECT 5.0 d1 clean ka=60 session-expiry-interval=600");
    mqtt_props_put_str(&back, MQTT_PROP_REASON_STRING, slice_of("go away"));
    say_connack(brk, false, 0x8A, &back);
    sees(dev, "CONNACK 0x8a reason-string=go away");
    sees_end(dev);
    buf_fini(&back);
}

static void packets_behind_connect_are_not_lost(void **unused)
{
    struct world *w = world_new(NULL);
    struct end *dev = device_new(w, MQTT_V311);

    (void)unused;
    glue(dev);
    say_connect(dev, &world_lasting);
    say_subscribe(dev, 1, "cmd", 1);
    say_publish(dev, 0, 0, "a", "first");
    say_publish(dev, 1, 2, "a", "second");
    unglue(dev);
    struct end *brk = broker_next(w);
    sees(brk, "CONNECT 3.1.1 d1 ka=60");
    for (int i = 0; i < 3; i++)
        world_turn(w);
    assert_false(end_has_packet(brk)); /* not before CONNACK */
    say_connack(brk, false, 0, NULL);
    sees(dev, "CONNACK");
    sees(brk, "SUBSCRIBE #1 cmd:1");
    sees(brk, "PUBLISH q0 a first");
    sees(brk, "PUBLISH q1 #2 a second");
}

/* The shortest life there is: all in one segment, and gone. */
static void publish_of_a_client_that_waits_for_nothing_arrives(void **unused)
{
    struct world *w = world_new(NULL);
    struct end *dev = device_new(w, MQTT_V311);

    (void)unused;
    glue(dev);
    say_connect(dev, &world_lasting);
    say_publish(dev, 0, 0, "a", "only");
    say_disconnect(dev, 0, NULL);
    unglue(dev);
    end_finish(dev);
    struct end *brk = world_broker_accepts(w, MQTT_V311, false);
    sees(brk, "PUBLISH q0 a only");
    sees(brk, "DISCONNECT");
    sees_end(brk);
}

static void packets_behind_connack_reach_the_device(void **unused)
{
    struct world *w = world_new(NULL);
    struct end *dev = device_new(w, MQTT_V311);

    (void)unused;
    say_connect(dev, &world_lasting);
    struct end *brk = broker_next(w);
    sees(brk, "CONNECT 3.1.1 d1 ka=60");
    glue(brk);
    say_connack(brk, true, 0, NULL);
    say_publish(brk, 1, 1, "cmd", "queued");
    say_publish(brk, 1, 2, "cmd", "queued, too");
    unglue(brk);
    sees(dev, "CONNACK present");
    sees(dev, "PUBLISH q1 #1 cmd queued");
    sees(dev, "PUBLISH q1 #2 cmd queued, too");
    say_ack(dev, MQTT_PUBACK, 1, 0);
    sees(brk, "PUBACK #1");
}

static void authentication_in_rounds_passes(void **unused)
{
    static const uint8_t go_on[] = {0xF0, 0x09, 0x18, 0x07, 0x15, 0x00,
                                    0x01, 'm',  0x16, 0x00, 0x00};
    struct world *w = world_new(NULL);
    struct end *dev = device_new(w, MQTT_V5);
    struct mqtt_connect c = world_clean;
    struct buf props = {0};

    (void)unused;
    mqtt_props_put_str(&props, MQTT_PROP_AUTH_METHOD, slice_of("m"));
    c.props = (struct mqtt_props){props.p, (uint32_t)props.len};
    say_connect(dev, &c);
    struct end *brk = broker_next(w);
    brk->version = MQTT_V5;
    sees(brk, "CONNECT 5.0 d1 clean ka=60 authentication-method=m session-expiry-interval=600");
    for (int round = 0; round < 3; round++) {
        say_bytes(brk, go_on, sizeof go_on);
        sees(dev, "AUTH 0x18 authentication-method=m authentication-data=");
        say_bytes(dev, go_on, sizeof go_on);
        sees(brk, "AUTH 0x18 authentication-method=m authentication-data=");
    }
    say_connack(brk, false, 0, &props);
    sees(dev, "CONNACK authentication-method=m");
    /* And again, while messages flow. */
    say_bytes(dev, go_on, sizeof go_on);
    sees(brk, "AUTH 0x18 authentication-method=m authentication-data=");
    say_bytes(brk, go_on, sizeof go_on);
    sees(dev, "AUTH 0x18 authentication-method=m authentication-data=");
    buf_fini(&props);
}

/* ---- packets ---- */

static void every_quality_of_service_passes_upwards(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    say_publish(p.dev, 0, 0, "a", "zero");
    say_publish(p.dev, 1, 65535, "a", "one");
    say_publish(p.dev, 2, 1, "a", "two");
    sees(p.brk, "PUBLISH q0 a zero");
    sees(p.brk, "PUBLISH q1 #65535 a one");
    sees(p.brk, "PUBLISH q2 #1 a two");
    say_ack(p.brk, MQTT_PUBREC, 1, 0);
    say_ack(p.brk, MQTT_PUBACK, 65535, 0);
    sees(p.dev, "PUBREC #1");
    sees(p.dev, "PUBACK #65535");
    say_ack(p.dev, MQTT_PUBREL, 1, 0);
    sees(p.brk, "PUBREL #1");
    say_ack(p.brk, MQTT_PUBCOMP, 1, 0);
    sees(p.dev, "PUBCOMP #1");
    assert_int_equal(world_session(w, "d1")->to_broker.count, 0);
    quiet(&p);
}

static void every_quality_of_service_passes_downwards(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    say_publish(p.brk, 0, 0, "c", "zero");
    say_publish(p.brk, 1, 65535, "c", "one");
    say_publish(p.brk, 2, 1, "c", "two");
    sees(p.dev, "PUBLISH q0 c zero");
    sees(p.dev, "PUBLISH q1 #65535 c one");
    sees(p.dev, "PUBLISH q2 #1 c two");
    say_ack(p.dev, MQTT_PUBREC, 1, 0);
    say_ack(p.dev, MQTT_PUBACK, 65535, 0);
    sees(p.brk, "PUBREC #1");
    sees(p.brk, "PUBACK #65535");
    say_ack(p.brk, MQTT_PUBREL, 1, 0);
    sees(p.dev, "PUBREL #1");
    say_ack(p.dev, MQTT_PUBCOMP, 1, 0);
    sees(p.brk, "PUBCOMP #1");
    assert_int_equal(world_session(w, "d1")->to_device.count, 0);
    quiet(&p);
}

/* The same id under way in both directions is two exchanges. */
static void ids_of_the_two_directions_do_not_meet(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    say_publish(p.dev, 2, 5, "a", "up");
    sees(p.brk, "PUBLISH q2 #5 a up");
    say_publish(p.brk, 2, 5, "c", "down");
    sees(p.dev, "PUBLISH q2 #5 c down");
    say_ack(p.dev, MQTT_PUBREC, 5, 0);
    sees(p.brk, "PUBREC #5");
    say_ack(p.brk, MQTT_PUBREC, 5, 0);
    sees(p.dev, "PUBREC #5");
    say_ack(p.brk, MQTT_PUBREL, 5, 0);
    sees(p.dev, "PUBREL #5");
    say_ack(p.dev, MQTT_PUBREL, 5, 0);
    sees(p.brk, "PUBREL #5");
    say_ack(p.dev, MQTT_PUBCOMP, 5, 0);
    sees(p.brk, "PUBCOMP #5");
    say_ack(p.brk, MQTT_PUBCOMP, 5, 0);
    sees(p.dev, "PUBCOMP #5");
    assert_true(relay_drained(world_session(w, "d1")));
}

static void refused_publish_of_5_0_ends_its_exchange(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_clean);

    (void)unused;
    say_publish(p.dev, 2, 5, "a", "x");
    sees(p.brk, "PUBLISH q2 #5 a x");
    say_ack(p.brk, MQTT_PUBREC, 5, 0x87);
    sees(p.dev, "PUBREC #5 0x87");
    say_publish(p.brk, 2, 6, "c", "y");
    sees(p.dev, "PUBLISH q2 #6 c y");
    say_ack(p.dev, MQTT_PUBREC, 6, 0x80);
    sees(p.brk, "PUBREC #6 0x80");
    assert_true(relay_drained(world_session(w, "d1")));
}

static void subscriptions_pass_and_are_remembered(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    struct session *s = world_session(w, "d1");

    (void)unused;
    say_subscribe(p.dev, 3, "a/#", 2);
    sees(p.brk, "SUBSCRIBE #3 a/#:2");
    assert_int_equal(s->subs.count, 0); /* not granted yet */
    say_suback(p.brk, MQTT_SUBACK, 3, "\x01", 1);
    sees(p.dev, "SUBACK #3 01");
    assert_int_equal(s->subs.count, 1);
    say_subscribe(p.dev, 4, "secret", 0);
    sees(p.brk, "SUBSCRIBE #4 secret:0");
    say_suback(p.brk, MQTT_SUBACK, 4, "\x80", 1);
    sees(p.dev, "SUBACK #4 80");
    assert_int_equal(s->subs.count, 1);
    say_unsubscribe(p.dev, 5, "a/#");
    sees(p.brk, "UNSUBSCRIBE #5 a/#");
    say_suback(p.brk, MQTT_UNSUBACK, 5, "", 0);
    sees(p.dev, "UNSUBACK #5");
    assert_int_equal(s->subs.count, 0);
    assert_int_equal(s->to_broker.count, 0);
}

static void topic_aliases_pass_as_they_are(void **unused)
{
    struct world *w = world_new(NULL);
    w->alias_most = 10;
    struct pair p = world_open(w, MQTT_V5, &world_clean);
    struct mqtt_publish m = {.topic = slice_of("long/topic"), .payload = slice_of("1")};
    struct buf alias = {0};

    (void)unused;
    mqtt_props_put_num(&alias, MQTT_PROP_TOPIC_ALIAS, 4);
    m.props = (struct mqtt_props){alias.p, (uint32_t)alias.len};
    say_publish_full(p.dev, &m);
    sees(p.brk, "PUBLISH q0 long/topic 1 topic-alias=4");
    m.topic = slice_of("");
    m.qos = 1;
    m.packet_id = 9;
    say_publish_full(p.dev, &m);
    sees(p.brk, "PUBLISH q1 #9  1 topic-alias=4");
    say_publish_full(p.brk, &(struct mqtt_publish){.topic = slice_of("t"), .props = m.props});
    sees(p.dev, "PUBLISH q0 t  topic-alias=4");
    say_publish_full(p.brk, &(struct mqtt_publish){.topic = slice_of(""), .props = m.props});
    sees(p.dev, "PUBLISH q0   topic-alias=4");
    buf_fini(&alias);
}

static void packets_cut_anywhere_arrive_whole(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = {.dev = device_new(w, MQTT_V311)};
    struct buf script = {0};

    (void)unused;
    glue(p.dev);
    say_connect(p.dev, &world_lasting);
    say_publish(p.dev, 1, 1, "a/b", "one");
    say_ping(p.dev, MQTT_PINGREQ);
    say_publish(p.dev, 0, 0, "a/b", "two");
    buf_append(&script, p.dev->out.p, p.dev->out.len);
    p.dev->out.len = 0;
    unglue(p.dev);
    for (size_t i = 0; i < script.len; i++) {
        say_bytes(p.dev, script.p + i, 1);
        world_turn(w);
        if (p.brk == NULL && broker_has_next(w))
            p.brk = world_broker_accepts(w, MQTT_V311, false);
    }
    if (p.brk == NULL)
        p.brk = world_broker_accepts(w, MQTT_V311, false);
    sees(p.brk, "PUBLISH q1 #1 a/b one");
    sees(p.brk, "PINGREQ");
    sees(p.brk, "PUBLISH q0 a/b two");
    buf_fini(&script);
}

static void large_packets_pass_both_ways(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    size_t n = 900000;
    char *payload = malloc(n + 1);

    (void)unused;
    assert_non_null(payload);
    for (size_t i = 0; i < n; i++)
        payload[i] = (char)('a' + i * 7 % 26);
    payload[n] = '\0';
    say_publish(p.dev, 1, 1, "a", payload);
    struct mqtt_packet up = end_packet(p.brk, __FILE__, __LINE__);
    assert_int_equal(up.type, MQTT_PUBLISH);
    assert_memory_equal(up.raw + up.raw_bytes - n, payload, n);
    say_publish(p.brk, 1, 1, "a", payload);
    struct mqtt_packet down = end_packet(p.dev, __FILE__, __LINE__);
    assert_int_equal(down.raw_bytes, up.raw_bytes);
    assert_memory_equal(down.raw + down.raw_bytes - n, payload, n);
    free(payload);
}

/* ---- pings ---- */

static void pings_are_the_brokers_to_answer(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    say_ping(p.dev, MQTT_PINGREQ);
    say_ping(p.dev, MQTT_PINGREQ);
    sees(p.brk, "PINGREQ");
    sees(p.brk, "PINGREQ");
    assert_false(end_has_packet(p.dev));
    say_ping(p.brk, MQTT_PINGRESP);
    sees(p.dev, "PINGRESP");
    say_ping(p.brk, MQTT_PINGRESP);
    sees(p.dev, "PINGRESP");
}

static void more_pings_than_the_broker_answers_are_answered_here(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    glue(p.dev);
    for (int i = 0; i < 20; i++)
        say_ping(p.dev, MQTT_PINGREQ);
    unglue(p.dev);
    for (int i = 0; i < 5; i++)
        sees(p.dev, "PINGRESP");
    for (int i = 0; i < 15; i++) {
        sees(p.brk, "PINGREQ");
        say_ping(p.brk, MQTT_PINGRESP);
        sees(p.dev, "PINGRESP");
    }
    quiet(&p);
}

static void pings_of_ours_stay_ours(void **unused)
{
    struct world *w = world_new(
        &(struct world_args){.upstream = "keepalive_as_device = false; keepalive_s = 20;"});
    struct end *dev = device_new(w, MQTT_V311);

    (void)unused;
    say_connect(dev, &world_lasting);
    struct end *brk = broker_next(w);
    sees(brk, "CONNECT 3.1.1 d1 ka=20");
    say_connack(brk, false, 0, NULL);
    sees(dev, "CONNACK");
    struct session *s = world_session(w, "d1");
    s->last_tx_up_ms -= 15001;
    world_due(s);
    sees(brk, "PINGREQ");
    say_ping(dev, MQTT_PINGREQ);
    sees(brk, "PINGREQ");
    say_ping(brk, MQTT_PINGRESP);
    say_ping(brk, MQTT_PINGRESP);
    sees(dev, "PINGRESP");
    world_turn(w);
    assert_false(end_has_packet(dev)); /* one for one */
}

/* Without a keepalive nothing else makes the session look at the time. */
static void ping_without_keepalive_has_its_deadline(void **unused)
{
    struct world *w = world_new(NULL);
    struct mqtt_connect c = world_lasting;

    (void)unused;
    c.keepalive_s = 0;
    struct pair p = world_open(w, MQTT_V311, &c);
    struct session *s = world_session(w, "d1");
    s->timer_ms = 0;
    say_ping(p.dev, MQTT_PINGREQ);
    sees(p.brk, "PINGREQ");
    assert_true(s->timer_ms != 0);
    assert_int_equal(s->timer_ms, upstream_silent_due(s));
}

/* A candidate that is refused does not leave its own keepalive to the leg that stays. */
static void the_leg_that_stays_keeps_its_keepalive(void **unused)
{
    struct world *w =
        world_new(&(struct world_args){.upstream = "keepalive_as_device = false; keepalive_s = 20;",
                                       .other = "keepalive_as_device = false; keepalive_s = 600;"});
    struct end *dev = device_new(w, MQTT_V311);

    (void)unused;
    say_connect(dev, &world_lasting);
    struct end *brk = broker_next(w);
    sees(brk, "CONNECT 3.1.1 d1 ka=20");
    say_connack(brk, false, 0, NULL);
    sees(dev, "CONNACK");
    world_use(w, "d1", FLIP_NEW);
    sees(brk, "PINGREQ");
    say_ping(brk, MQTT_PINGRESP);
    struct end *next = broker_next(w);
    next->version = MQTT_V311;
    sees(next, "CONNECT 3.1.1 d1 ka=600");
    say_connack(next, false, 5, NULL);
    sees_end(next);
    struct session *s = world_session(w, "d1");
    world_until(w, s->phase == RH_IDLE);
    s->last_tx_up_ms -= 15001;
    s->due_ms = env_now_ms(s->env); /* so that it looks */
    session_arm(s);
    sees(brk, "PINGREQ");
}

/* A device may leave before it is asked: CONNECT, DISCONNECT and close_notify in one segment. */
static void auth_for_a_device_that_has_left(void **unused)
{
    struct world *w = world_new(NULL);
    struct buf props = {0};
    struct mqtt_connect c = world_lasting;
    struct end *dev = device_new(w, MQTT_V5);

    (void)unused;
    mqtt_props_put_str(&props, MQTT_PROP_AUTH_METHOD, slice_of("m"));
    c.props = (struct mqtt_props){props.p, (uint32_t)props.len};
    say_connect(dev, &c);
    buf_fini(&props);
    say_disconnect(dev, 0, NULL);
    struct end *brk = broker_next(w);
    brk->version = MQTT_V5;
    sees(brk, "CONNECT 5.0 d1 ka=60 authentication-method=m session-expiry-interval=600");
    struct session *s = world_session(w, "d1");
    world_until(w, s->leave_ms != 0);
    s->down->ops->end(s->down, &(struct leg_end){.at = LEG_OPEN}); /* as TLS tells it */
    assert_null(s->down);
    say_bytes(brk, "\xf0\x06\x18\x04\x15\x00\x01m", 8);
    say_connack(brk, false, 0, NULL);
    sees(brk, "DISCONNECT session-expiry-interval=0");
}

/* ---- faults ---- */

static void malformed_packet_of_5_0_is_told_why(void **unused)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *answer;
    } faults[] = {
        {"\x36\x05\x00\x01"
         "a\x00\x01",
         7, "DISCONNECT 0x81"},                          /* QoS 3 */
        {"\x00\x00", 2, "DISCONNECT 0x81"},              /* no such type */
        {"\xC0\x01\x00", 3, "DISCONNECT 0x81"},          /* PINGREQ with a body */
        {"\x30\x04\x00\x01#\x00", 6, "DISCONNECT 0x90"}, /* a wildcard in a topic */
        {"\x10\x0D\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00", 15, "DISCONNECT 0x82"}, /* again */
        {"\x20\x03\x00\x00\x00", 5, "DISCONNECT 0x82"}, /* CONNACK from a client */
    };

    (void)unused;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct world *w = world_new(NULL);
        struct pair p = world_open(w, MQTT_V5, &world_clean);
        say_bytes(p.dev, faults[i].bytes, faults[i].n);
        sees(p.dev, faults[i].answer);
        sees_end(p.dev);
        tells(w, "down d1: the device sent a packet that breaks the standard");
        assert_int_equal(w->env.stats.downstream_closed_by_us, 1);
        world_end(NULL);
    }
}

static void malformed_packet_of_3_1_1_ends_the_connection_without_a_word(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    say_bytes(p.dev, "\x00\x00", 2);
    sees_end(p.dev);
    sees_end(p.brk); /* no DISCONNECT: its Will is due */
}

/* What the device said before its fault was said. */
static void packets_before_a_malformed_one_arrive(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    glue(p.dev);
    say_publish(p.dev, 0, 0, "a", "one");
    say_publish(p.dev, 1, 2, "a", "two");
    say_bytes(p.dev, "\x30\x04\x00\x01#\x00", 6);
    unglue(p.dev);
    sees(p.brk, "PUBLISH q0 a one");
    sees(p.brk, "PUBLISH q1 #2 a two");
    sees_end(p.brk);
}

static void packet_beyond_the_limit_is_refused(void **unused)
{
    struct world *w = world_new(&(struct world_args){.limits = "packet_bytes = 2048;"});
    struct pair p = world_open(w, MQTT_V5, &world_clean);
    char payload[3000];

    (void)unused;
    memset(payload, 'x', sizeof payload - 1);
    payload[sizeof payload - 1] = '\0';
    say_publish(p.dev, 0, 0, "a", payload);
    sees(p.dev, "DISCONNECT 0x95");
    sees_end(p.dev);
}

static void unknown_topic_alias_is_a_protocol_error(void **unused)
{
    struct world *w = world_new(NULL);
    w->alias_most = 10;
    struct pair p = world_open(w, MQTT_V5, &world_clean);
    struct buf alias = {0};

    (void)unused;
    mqtt_props_put_num(&alias, MQTT_PROP_TOPIC_ALIAS, 4);
    say_publish_full(p.dev, &(struct mqtt_publish){.topic = slice_of(""),
                                                   .props = {alias.p, (uint32_t)alias.len}});
    sees(p.dev, "DISCONNECT 0x82");
    sees_end(p.dev);
    buf_fini(&alias);
}

static void topic_alias_beyond_the_maximum_is_refused(void **unused)
{
    struct world *w = world_new(NULL);
    w->alias_most = 10;
    struct pair p = world_open(w, MQTT_V5, &world_clean);
    struct buf alias = {0};

    (void)unused;
    mqtt_props_put_num(&alias, MQTT_PROP_TOPIC_ALIAS, 11);
    say_publish_full(p.dev, &(struct mqtt_publish){.topic = slice_of("t"),
                                                   .props = {alias.p, (uint32_t)alias.len}});
    sees(p.dev, "DISCONNECT 0x94");
    sees_end(p.dev);
    buf_fini(&alias);
}

static void more_subscriptions_than_allowed_are_refused(void **unused)
{
    struct world *w = world_new(&(struct world_args){.limits = "subscriptions = 2;"});
    struct pair p = world_open(w, MQTT_V5, &world_clean);

    (void)unused;
    for (uint16_t id = 1; id <= 2; id++) {
        char filter[2] = {(char)('a' + id), '\0'};
        say_subscribe(p.dev, id, filter, 0);
        (void)end_packet(p.brk, __FILE__, __LINE__);
        say_suback(p.brk, MQTT_SUBACK, id, "\x00", 1);
        (void)end_packet(p.dev, __FILE__, __LINE__);
    }
    say_subscribe(p.dev, 3, "one/more", 0);
    sees(p.dev, "DISCONNECT 0x97");
    sees_end(p.dev);
}

/* A broker's nonsense costs the leg, not the device. */
static void malformed_packet_of_the_broker_costs_the_leg_alone(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    glue(p.brk);
    say_publish(p.brk, 0, 0, "c", "before");
    say_bytes(p.brk, "\x20\x02\x00\x00", 4); /* a second CONNACK */
    unglue(p.brk);
    sees(p.dev, "PUBLISH q0 c before");
    sees_end(p.brk);
    tells(w, "lost old: protocol");
    say_ping(p.dev, MQTT_PINGREQ);
    sees(p.dev, "PINGRESP");
}

static void disconnect_of_the_broker_and_what_it_said_before_pass(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_clean);
    struct buf props = {0};

    (void)unused;
    mqtt_props_put_str(&props, MQTT_PROP_REASON_STRING, slice_of("no such topic"));
    glue(p.brk);
    say_publish(p.brk, 0, 0, "c", "last words");
    say_disconnect(p.brk, 0x90, &props);
    unglue(p.brk);
    sees(p.dev, "PUBLISH q0 c last words");
    sees(p.dev, "DISCONNECT 0x90 reason-string=no such topic");
    sees_end(p.dev);
    sees_end(p.brk); /* and no DISCONNECT back [MQTT-3.14.4-2] */
    buf_fini(&props);
}

/* A server that shuts down will be back: the device is held and need not know. */
static void broker_that_shuts_down_is_waited_for(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_clean);

    (void)unused;
    say_disconnect(p.brk, 0x8B, NULL);
    end_finish(p.brk);
    tells(w, "lost old: broker");
    say_ping(p.dev, MQTT_PINGREQ);
    sees(p.dev, "PINGRESP");
}

/* ---- bounds ---- */

static void reader_that_stops_slows_the_broker_down(void **unused)
{
    struct world *w = world_new(&(struct world_args){.limits = "queue_bytes = 65536;"});
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    struct session *s = world_session(w, "d1");
    static char payload[10001];
    const unsigned count = 2000;
    size_t most = 0;

    (void)unused;
    memset(payload, 'x', sizeof payload - 1);
    stream_read(&p.dev->st, false);
    glue(p.brk);
    for (unsigned i = 0; i < count; i++)
        say_publish(p.brk, 0, 0, "c", payload);
    unglue(p.brk);
    for (unsigned i = 0; i < 500; i++) {
        world_turn(w);
        size_t queued = leg_queued(s->down);
        most = queued > most ? queued : most;
    }
    assert_true(stream_queued(&p.brk->st) > 0); /* it had to stop */
    assert_true(most > 65536 && most < 65536 + 2 * 65536);
    stream_read(&p.dev->st, true);
    for (unsigned i = 0; i < count; i++)
        sees(p.dev, "PUBLISH q0 c <10000 bytes>");
    quiet(&p);
}

static void broker_that_stops_reading_slows_the_device_down(void **unused)
{
    struct world *w = world_new(&(struct world_args){.limits = "queue_bytes = 65536;"});
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    struct session *s = world_session(w, "d1");
    static char payload[10001];
    const unsigned count = 2000;
    size_t most = 0;

    (void)unused;
    memset(payload, 'x', sizeof payload - 1);
    stream_read(&p.brk->st, false);
    glue(p.dev);
    for (unsigned i = 0; i < count; i++)
        say_publish(p.dev, 0, 0, "a", payload);
    unglue(p.dev);
    for (unsigned i = 0; i < 500; i++) {
        world_turn(w);
        size_t queued = leg_queued(s->up);
        most = queued > most ? queued : most;
    }
    assert_true(stream_queued(&p.dev->st) > 0);
    assert_true(most > 65536 && most < 65536 + 2 * 65536);
    stream_read(&p.brk->st, true);
    for (unsigned i = 0; i < count; i++)
        sees(p.brk, "PUBLISH q0 a <10000 bytes>");
    quiet(&p);
}

/* PUBREL is what the broker waits for: it has to be read, however full the list is. */
static void full_list_of_exchanges_does_not_lock_up(void **unused)
{
    struct world *w = world_new(&(struct world_args){.limits = "inflight = 1;"});
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    say_publish(p.dev, 2, 1, "a", "x");
    sees(p.brk, "PUBLISH q2 #1 a x");
    say_ack(p.brk, MQTT_PUBREC, 1, 0);
    sees(p.dev, "PUBREC #1");
    say_ack(p.dev, MQTT_PUBREL, 1, 0);
    sees(p.brk, "PUBREL #1");
    say_ack(p.brk, MQTT_PUBCOMP, 1, 0);
    sees(p.dev, "PUBCOMP #1");
    quiet(&p);
}

/* A device that is not listened to has not fallen silent. */
static void device_that_is_held_back_is_not_silent(void **unused)
{
    struct world *w = world_new(&(struct world_args){.limits = "inflight = 1;"});
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    struct session *s = world_session(w, "d1");

    (void)unused;
    say_publish(p.dev, 1, 1, "a", "x");
    sees(p.brk, "PUBLISH q1 #1 a x");
    say_ping(p.dev, MQTT_PINGREQ); /* waits in the socket */
    s->last_rx_ms -= 90001;
    world_due(s);
    for (int i = 0; i < 5; i++)
        world_turn(w);
    assert_ptr_equal(world_session(w, "d1"), s);
    say_ack(p.brk, MQTT_PUBACK, 1, 0);
    sees(p.dev, "PUBACK #1");
    sees(p.brk, "PINGREQ");
    say_ping(p.brk, MQTT_PINGRESP);
    sees(p.dev, "PINGRESP");
    quiet(&p);
}

static void broker_that_answers_no_ping_is_gone(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    struct session *s = world_session(w, "d1");

    (void)unused;
    say_ping(p.dev, MQTT_PINGREQ);
    sees(p.brk, "PINGREQ");
    say_publish(p.brk, 0, 0, "c", "a sign of life");
    sees(p.dev, "PUBLISH q0 c a sign of life");
    /* Half a keepalive of 60 s. */
    s->ping_since_ms -= 29000;
    world_due(s);
    world_turn(w);
    assert_int_equal(s->phase, RH_IDLE);
    s->ping_since_ms -= 1001;
    world_due(s);
    tells(w, "lost old: network");
}

/* Its answer may be behind what the device does not take. */
static void broker_behind_a_slow_reader_is_not_silent(void **unused)
{
    struct world *w = world_new(&(struct world_args){.limits = "queue_bytes = 65536;"});
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    struct session *s = world_session(w, "d1");
    static char payload[10001];

    (void)unused;
    memset(payload, 'x', sizeof payload - 1);
    stream_read(&p.dev->st, false);
    glue(p.brk);
    for (unsigned i = 0; i < 2000; i++)
        say_publish(p.brk, 0, 0, "c", payload);
    unglue(p.brk);
    world_until(w, leg_queued(s->down) > 65536 && !s->up->st.reading);
    say_ping(p.dev, MQTT_PINGREQ);
    sees(p.brk, "PINGREQ");
    say_ping(p.brk, MQTT_PINGRESP);
    s->ping_since_ms -= 5001;
    world_due(s);
    for (int i = 0; i < 5; i++)
        world_turn(w);
    assert_int_equal(s->phase, RH_IDLE);
    stream_read(&p.dev->st, true);
    for (unsigned i = 0; i < 2000; i++)
        sees(p.dev, "PUBLISH q0 c <10000 bytes>");
    sees(p.dev, "PINGRESP");
    quiet(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        play(connect_3_1_1_passes),
        play(connect_3_1_passes),
        play(connect_5_0_passes_and_its_session_expiry_is_its_own),
        play(shorter_session_expiry_is_told),
        play(assigned_client_id_is_used_again),
        play(refusal_is_the_brokers_own),
        play(refusal_of_5_0_keeps_its_properties),
        play(packets_behind_connect_are_not_lost),
        play(publish_of_a_client_that_waits_for_nothing_arrives),
        play(packets_behind_connack_reach_the_device),
        play(authentication_in_rounds_passes),
        play(every_quality_of_service_passes_upwards),
        play(every_quality_of_service_passes_downwards),
        play(ids_of_the_two_directions_do_not_meet),
        play(refused_publish_of_5_0_ends_its_exchange),
        play(subscriptions_pass_and_are_remembered),
        play(topic_aliases_pass_as_they_are),
        play(packets_cut_anywhere_arrive_whole),
        play(large_packets_pass_both_ways),
        play(pings_are_the_brokers_to_answer),
        play(more_pings_than_the_broker_answers_are_answered_here),
        play(pings_of_ours_stay_ours),
        play(ping_without_keepalive_has_its_deadline),
        play(auth_for_a_device_that_has_left),
        play(the_leg_that_stays_keeps_its_keepalive),
        play(malformed_packet_of_5_0_is_told_why),
        play(malformed_packet_of_3_1_1_ends_the_connection_without_a_word),
        play(packets_before_a_malformed_one_arrive),
        play(packet_beyond_the_limit_is_refused),
        play(unknown_topic_alias_is_a_protocol_error),
        play(topic_alias_beyond_the_maximum_is_refused),
        play(more_subscriptions_than_allowed_are_refused),
        play(malformed_packet_of_the_broker_costs_the_leg_alone),
        play(disconnect_of_the_broker_and_what_it_said_before_pass),
        play(broker_that_shuts_down_is_waited_for),
        play(reader_that_stops_slows_the_broker_down),
        play(broker_that_stops_reading_slows_the_device_down),
        play(full_list_of_exchanges_does_not_lock_up),
        play(device_that_is_held_back_is_not_silent),
        play(broker_that_answers_no_ping_is_gone),
        play(broker_behind_a_slow_reader_is_not_silent),
    };

    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
