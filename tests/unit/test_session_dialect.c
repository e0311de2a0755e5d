/* Upstream legs that speak otherwise than their device: another version of MQTT, a prefix before
 * its topics; and flips between legs that differ. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/blame.h"
#include "session_world.h"

static const struct world_args in_5 = {.upstream = "protocol = \"5\";"};
static const struct world_args prefixed = {.upstream = "topic_prefix = \"{gateway}/{device}/\";"};

static const struct mqtt_connect with_will = {.client_id = {(const uint8_t *)"d1", 2},
                                              .keepalive_s = 60,
                                              .has_will = true,
                                              .will_topic = {(const uint8_t *)"w", 1}};

/* Opens a session, and compares CONNECT. */
static struct pair opens(struct world *w, int version, int upstream, const struct mqtt_connect *c,
                         const char *connect)
{
    struct pair p = {.dev = device_new(w, version)};

    say_connect(p.dev, c);
    p.brk = broker_next(w);
    p.brk->version = upstream;
    sees(p.brk, connect);
    say_connack(p.brk, false, 0, NULL);
    sees(p.dev, "CONNACK");
    tells(w, "up d1");
    tells(w, "accepted old");
    return p;
}

/* ---- MQTT 5.0 for a 3.x device ---- */

static void a_clean_session_is_a_clean_start_with_an_expiry(void **unused)
{
    struct world *w = world_new(&in_5);
    struct pair p =
        opens(w, MQTT_V311, MQTT_V5, &world_clean,
              "CONNECT 5.0 d1 clean ka=60 receive-maximum=1024 session-expiry-interval=600");

    (void)unused;
    say_disconnect(p.dev, 0, NULL);
    sees(p.brk, "DISCONNECT session-expiry-interval=0"); /* it leaves nothing behind */
    sees_end(p.brk);
    tells(w, "down d1: the device left");
    assert_false(broker_has_next(w)); /* so nothing has to be cleared */
}

static void a_lasting_session_does_not_expire(void **unused)
{
    struct world *w = world_new(&in_5);
    struct pair p =
        opens(w, MQTT_V31, MQTT_V5, &world_lasting,
              "CONNECT 5.0 d1 ka=60 receive-maximum=1024 session-expiry-interval=4294967295");

    (void)unused;
    say_disconnect(p.dev, 0, NULL);
    sees(p.brk, "DISCONNECT session-expiry-interval=4294967295");
    sees_end(p.brk);
}

static void keep_session_off_passes_the_wish_on(void **unused)
{
    struct world *w = world_new(&(struct world_args){
        .upstream = "protocol = \"5\"; keep_session = false;", .limits = "inflight = 65535;"});
    struct pair p = opens(w, MQTT_V311, MQTT_V5, &world_clean, "CONNECT 5.0 d1 clean ka=60");

    (void)unused;
    say_disconnect(p.dev, 0, NULL);
    sees(p.brk, "DISCONNECT");
    sees_end(p.brk);
}

static void a_5_0_device_speaks_for_itself(void **unused)
{
    struct world *w = world_new(&in_5);

    (void)unused;
    opens(w, MQTT_V5, MQTT_V5, &world_lasting, "CONNECT 5.0 d1 ka=60 session-expiry-interval=600");
    assert_null(world_session(w, "d1")->up->dialect);
}

static void an_assigned_name_is_kept(void **unused)
{
    struct world *w = world_new(&(struct world_args){
        .upstream = "protocol = \"5\"; client_id = \"{client_id}\";", .rule = ""});
    struct mqtt_connect c = {.clean = true,
                             .keepalive_s = 60,
                             .has_username = true,
                             .username = {(const uint8_t *)"d9", 2}};
    struct end *dev = device_new(w, MQTT_V311);
    struct buf props = {0};

    (void)unused;
    world_device(w, "d9");
    say_connect(dev, &c);
    struct end *brk = broker_next(w);
    brk->version = MQTT_V5;
    sees(brk, "CONNECT 5.0  clean ka=60 user=d9 receive-maximum=1024 session-expiry-interval=600");
    mqtt_props_put_str(&props, MQTT_PROP_ASSIGNED_CLIENT_ID, slice_of("auto-7"));
    mqtt_props_put_num(&props, MQTT_PROP_SERVER_KEEP_ALIVE, 30);
    say_connack(brk, false, 0, &props);
    buf_fini(&props);
    sees(dev, "CONNACK");
    assert_int_equal(world_session(w, "d9")->keepalive_s, 60); /* it cannot be told another */
    assert_int_equal(world_session(w, "d9")->up->keepalive_s, 30);
    world_use(w, "d9", FLIP_NEW);
    sees(brk, "PINGREQ");
    say_ping(brk, MQTT_PINGRESP);
    brk = broker_next(w);
    sees(brk, "CONNECT 5.0 auto-7 ka=60 user=d9 receive-maximum=1024 session-expiry-interval=600");
    say_connack(brk, true, 0, NULL);
}

static void a_refusal_is_told_in_the_devices_words(void **unused)
{
    static const struct {
        uint8_t code5, code3;
    } codes[] = {{0x84, 3}, {0x85, 2}, {0x86, 4}, {0x87, 5}, {0x88, 3}, {0x9C, 3}};
    struct world *w = world_new(&in_5);

    (void)unused;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        struct end *dev = device_new(w, MQTT_V311);
        char text[32];
        say_connect(dev, &world_clean);
        struct end *brk = broker_next(w);
        brk->version = MQTT_V5;
        end_packet(brk, __FILE__, __LINE__);
        say_connack(brk, false, codes[i].code5, NULL);
        snprintf(text, sizeof text, "CONNACK 0x%02x", codes[i].code3);
        sees(dev, text);
        sees_end(dev);
    }
}

static void every_packet_goes_up_and_down(void **unused)
{
    struct world *w = world_new(&in_5);
    struct pair p = world_open_as(w, MQTT_V311, MQTT_V5, &world_lasting);
    struct buf props = {0};

    (void)unused;
    say_publish(p.dev, 0, 0, "a", "zero");
    sees(p.brk, "PUBLISH q0 a zero");
    say_publish(p.dev, 1, 1, "a", "one");
    sees(p.brk, "PUBLISH q1 #1 a one");
    say_ack(p.brk, MQTT_PUBACK, 1, 0x10);
    sees(p.dev, "PUBACK #1");
    say_publish(p.dev, 2, 2, "a", "two");
    sees(p.brk, "PUBLISH q2 #2 a two");
    say_ack(p.brk, MQTT_PUBREC, 2, 0);
    sees(p.dev, "PUBREC #2");
    say_ack(p.dev, MQTT_PUBREL, 2, 0);
    sees(p.brk, "PUBREL #2");
    say_ack(p.brk, MQTT_PUBCOMP, 2, 0);
    sees(p.dev, "PUBCOMP #2");

    say_subscribe(p.dev, 3, "c/#", 2);
    sees(p.brk, "SUBSCRIBE #3 c/#:2");
    say_suback(p.brk, MQTT_SUBACK, 3, "\x01", 1);
    sees(p.dev, "SUBACK #3 01");
    say_subscribe(p.dev, 4, "forbidden", 1);
    sees(p.brk, "SUBSCRIBE #4 forbidden:1");
    say_suback(p.brk, MQTT_SUBACK, 4, "\x87", 1);
    sees(p.dev, "SUBACK #4 80");
    assert_int_equal(world_session(w, "d1")->subs.count, 1);
    say_unsubscribe(p.dev, 5, "c/#");
    sees(p.brk, "UNSUBSCRIBE #5 c/#");
    say_suback(p.brk, MQTT_UNSUBACK, 5, "\x00", 1);
    sees(p.dev, "UNSUBACK #5");
    assert_int_equal(world_session(w, "d1")->subs.count, 0);

    mqtt_props_put_num(&props, MQTT_PROP_MESSAGE_EXPIRY, 60);
    mqtt_props_put_pair(&props, slice_of("k"), slice_of("v"));
    say_publish_full(p.brk, &(struct mqtt_publish){.qos = 2,
                                                   .packet_id = 9,
                                                   .topic = slice_of("c/x"),
                                                   .payload = slice_of("down"),
                                                   .props = {props.p, (uint32_t)props.len}});
    buf_fini(&props);
    sees(p.dev, "PUBLISH q2 #9 c/x down");
    say_ack(p.dev, MQTT_PUBREC, 9, 0);
    sees(p.brk, "PUBREC #9");
    say_ack(p.brk, MQTT_PUBREL, 9, 0);
    sees(p.dev, "PUBREL #9");
    say_ack(p.dev, MQTT_PUBCOMP, 9, 0);
    sees(p.brk, "PUBCOMP #9");
    quiet(&p);
}

/* A read's worth of packets, with some that are cut by it: in order, and none twice. */
static void many_packets_in_one_read_keep_their_order(void **unused)
{
    struct world *w = world_new(&in_5);
    struct pair p = world_open_as(w, MQTT_V311, MQTT_V5, &world_lasting);
    char payload[3001], text[64];

    (void)unused;
    memset(payload, 'x', sizeof payload - 1);
    payload[sizeof payload - 1] = '\0';
    for (int way = 0; way < 2; way++) {
        struct end *from = way == 0 ? p.dev : p.brk, *to = way == 0 ? p.brk : p.dev;
        glue(from);
        for (int i = 0; i < 60; i++) {
            char topic[8];
            snprintf(topic, sizeof topic, "t/%d", i);
            say_publish(from, 0, 0, topic, payload);
        }
        unglue(from);
        for (int i = 0; i < 60; i++) {
            snprintf(text, sizeof text, "PUBLISH q0 t/%d <3000 bytes>", i);
            sees(to, text);
        }
    }
    quiet(&p);
}

/* In 3.x a bridge is marked in CONNECT; in 5.0 by what it subscribes with. */
static void a_bridge_is_not_sent_its_own_messages(void **unused)
{
    struct world *w = world_new(&in_5);
    struct mqtt_connect c = world_lasting;

    (void)unused;
    c.bridge = true;
    struct pair p = world_open_as(w, MQTT_V311, MQTT_V5, &c);
    say_subscribe(p.dev, 1, "#", 1);
    sees(p.brk, "SUBSCRIBE #1 #:13"); /* No Local, Retain As Published */
    say_subscribe(p.dev, 2, "$share/g/a", 1);
    sees(p.brk, "SUBSCRIBE #2 $share/g/a:9");
}

/* 3.x has no negative acknowledgement: the device would repeat for ever what gets none. */
static void a_denied_publish_is_acknowledged_and_counted(void **unused)
{
    struct world *w = world_new(&in_5);
    struct pair p = world_open_as(w, MQTT_V311, MQTT_V5, &world_lasting);

    (void)unused;
    say_publish(p.dev, 1, 1, "forbidden", "x");
    sees(p.brk, "PUBLISH q1 #1 forbidden x");
    say_ack(p.brk, MQTT_PUBACK, 1, 0x87);
    sees(p.dev, "PUBACK #1");
    assert_int_equal(w->env.stats.publishes_denied, 1);
    say_publish(p.dev, 2, 2, "forbidden", "y");
    sees(p.brk, "PUBLISH q2 #2 forbidden y");
    say_ack(p.brk, MQTT_PUBREC, 2, 0x97); /* the exchange is over for the broker [MQTT-4.3.3-5] */
    sees(p.dev, "PUBREC #2");
    say_ack(p.dev, MQTT_PUBREL, 2, 0);
    sees(p.dev, "PUBCOMP #2");
    assert_int_equal(w->env.stats.publishes_denied, 2);
    assert_int_equal(world_session(w, "d1")->to_broker.count, 0);
    say_publish(p.dev, 2, 2, "allowed", "z"); /* the identifier is free on both sides */
    sees(p.brk, "PUBLISH q2 #2 allowed z");
    quiet(&p);
}

/* The same while a flip drains: the device is led through it, and nothing is sent again. */
static void a_denied_exchange_ends_in_the_middle_of_a_flip(void **unused)
{
    struct world *w = world_new(&in_5);
    struct pair p = world_open_as(w, MQTT_V311, MQTT_V5, &world_lasting);

    (void)unused;
    say_publish(p.dev, 2, 2, "forbidden", "y");
    sees(p.brk, "PUBLISH q2 #2 forbidden y");
    say_ack(p.brk, MQTT_PUBREC, 2, 0x87);
    sees(p.dev, "PUBREC #2");
    tells(w, "refused old: identity evidence.publish-not-authorized"); /* seen before conversion */
    end_reset(p.brk);
    tells(w, "lost old: network");
    world_due(world_session(w, "d1"));
    p.brk = world_broker_accepts(w, MQTT_V5, false); /* no session: all begins anew, but not this */
    tells(w, "accepted old rehomed");
    say_ack(p.dev, MQTT_PUBREL, 2, 0);
    sees(p.dev, "PUBCOMP #2");
    quiet(&p);
}

static void a_server_that_disconnects_is_an_uplink_lost(void **unused)
{
    static const struct {
        uint8_t reason;
        const char *news;
    } ends[] = {
        {0x8B, "lost old: broker"}, {0x8E, "lost old: policy"}, {0x82, "lost old: protocol"}};
    struct world *w = world_new(&in_5);
    struct pair p = world_open_as(w, MQTT_V311, MQTT_V5, &world_lasting);

    (void)unused;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        glue(p.brk);
        say_publish(p.brk, 0, 0, "c", "last words");
        say_disconnect(p.brk, ends[i].reason, NULL);
        unglue(p.brk);
        sees(p.dev, "PUBLISH q0 c last words");
        tells(w, ends[i].news);
        end_finish(p.brk);
        say_publish(p.dev, 0, 0, "a", "held");
        world_due(world_session(w, "d1"));
        p.brk = world_broker_accepts(w, MQTT_V5, true);
        tells(w, "accepted old present rehomed");
        sees(p.brk, "PUBLISH q0 a held");
    }
    quiet(&p);
}

/* What the broker says in words goes into the diagnosis. */
static void a_reason_string_is_part_of_the_diagnosis(void **unused)
{
    struct world *w = world_new(&in_5);
    struct pair p = world_open_as(w, MQTT_V311, MQTT_V5, &world_lasting);
    struct mqtt_connack ack = {.code = 0x87};
    struct mqtt_disconnect m = {.reason = 0x98};
    struct buf props = {0};

    (void)unused;
    (void)p;
    mqtt_props_put_str(&props, MQTT_PROP_REASON_STRING, slice_of("tenant\n'Plant 7' moved"));
    ack.props = m.props = (struct mqtt_props){props.p, (uint32_t)props.len};
    const struct leg *leg = world_session(w, "d1")->up;
    struct diag d = blame_connack(leg, &ack);
    assert_int_equal(d.class, DIAG_IDENTITY);
    assert_non_null(strstr(d.sentence, ": tenant 'Plant 7' moved"));
    d = blame_disconnect(leg, &m);
    assert_non_null(strstr(d.sentence, ": tenant 'Plant 7' moved"));
    buf_fini(&props);
}

static void auth_is_nothing_for_a_3_x_device(void **unused)
{
    struct world *w = world_new(&in_5);
    struct pair p = world_open_as(w, MQTT_V311, MQTT_V5, &world_lasting);

    (void)unused;
    say_bytes(p.brk, "\xF0\x00", 2);
    tells(w, "lost old: protocol");
    assert_false(p.dev->ended);
}

/* A device that died: its Will is due, and its session ends when it was a clean one. */
static void the_will_of_a_dead_device_fires(void **unused)
{
    struct world *w = world_new(&in_5);
    struct pair p = world_open_as(w, MQTT_V311, MQTT_V5, &with_will);

    (void)unused;
    end_reset(p.dev);
    sees(p.brk, "DISCONNECT 0x04 session-expiry-interval=4294967295");
    sees_end(p.brk);
}

/* The Will Delay Interval in CONNECT; -1: none. */
static int will_delay(const struct mqtt_packet *pkt)
{
    struct mqtt_prop_value v;
    struct mqtt_connect c;
    uint8_t reason;

    assert_int_equal(pkt->type, MQTT_CONNECT);
    assert_int_equal(mqtt_connect_read(pkt, &c, &reason, NULL), 0);
    assert_true(c.has_will);
    return mqtt_props_find(c.will_props, MQTT_PROP_WILL_DELAY, &v) ? (int)v.num : -1;
}

/* A connection that goes on with the session keeps the Will quiet: no DISCONNECT, no spare. */
static void a_delayed_will_lets_a_flip_take_over(void **unused)
{
    static const struct {
        int version;
        const char *settings;
    } ways[] = {{MQTT_V311, "protocol = \"5\"; will_delay_s = 5;"}, {MQTT_V5, "will_delay_s = 5;"}};

    (void)unused;
    for (size_t i = 0; i < 2; i++) {
        struct world *w = world_new(&(struct world_args){.upstream = ways[i].settings});
        struct mqtt_connect c = with_will;
        c.clean = true;
        struct pair p = {.dev = device_new(w, ways[i].version)};
        say_connect(p.dev, &c);
        p.brk = broker_next(w);
        p.brk->version = MQTT_V5;
        struct mqtt_packet pkt = end_packet(p.brk, __FILE__, __LINE__);
        assert_int_equal(will_delay(&pkt), 5);
        say_connack(p.brk, false, 0, NULL);
        sees(p.dev, "CONNACK");
        tells(w, "up d1");
        tells(w, "accepted old");
        world_use(w, "d1", FLIP_NEW);
        sees(p.brk, "PINGREQ");
        say_ping(p.brk, MQTT_PINGRESP);
        struct end *next = broker_next(w);
        assert_string_equal(next->cn, "new");
        next->version = MQTT_V5;
        pkt = end_packet(next, __FILE__, __LINE__);
        assert_int_equal(will_delay(&pkt), 5);
        say_connack(next, true, 0, NULL);
        tells(w, "accepted new present rehomed");
        sees_end(p.brk); /* taken over, without a word of ours */
        end_reset(p.dev);
        sees(next, "DISCONNECT 0x04 session-expiry-interval=0"); /* which makes it due at once */
        sees_end(next);
        world_end(NULL);
    }
}

/* Its own delay is the device's affair; and no delay where nothing keeps the session. */
static void a_delay_is_given_to_none_that_has_one(void **unused)
{
    struct world *w = world_new(&(struct world_args){.upstream = "will_delay_s = 5;"});
    struct mqtt_connect c = with_will;
    struct end *dev = device_new(w, MQTT_V5);
    struct buf props = {0}, will_props = {0};

    (void)unused;
    mqtt_props_put_num(&props, MQTT_PROP_SESSION_EXPIRY, 60);
    mqtt_props_put_num(&will_props, MQTT_PROP_WILL_DELAY, 30);
    c.props = (struct mqtt_props){props.p, (uint32_t)props.len};
    c.will_props = (struct mqtt_props){will_props.p, (uint32_t)will_props.len};
    say_connect(dev, &c);
    struct mqtt_packet pkt = end_packet(broker_next(w), __FILE__, __LINE__);
    assert_int_equal(will_delay(&pkt), 30);
    buf_fini(&props);
    buf_fini(&will_props);
}

/* Into a session that would be a clean one nobody can take the Will along. */
static void a_delayed_will_leaves_where_the_session_ends(void **unused)
{
    struct world *w =
        world_new(&(struct world_args){.upstream = "protocol = \"5\"; will_delay_s = 5;"});
    struct mqtt_connect c = with_will;

    (void)unused;
    c.clean = true;
    struct pair p = world_open_as(w, MQTT_V311, MQTT_V5, &c);
    snapshot_unref(w->env.snap); /* a reload: 3.1.1 from now on, and clean */
    w->env.snap = world_configure(w, &(struct world_args){.upstream = "keep_session = false;"});
    world_use(w, "d1", FLIP_NEW);
    broker_next(w); /* the candidate */
    struct end *spare = broker_next(w);
    assert_string_equal(spare->cn, "old");
    sees(p.brk, "DISCONNECT");
}

/* ---- a prefix ---- */

static void topics_have_a_prefix_at_the_broker(void **unused)
{
    struct world *w = world_new(&prefixed);
    struct pair p =
        opens(w, MQTT_V311, MQTT_V311, &with_will, "CONNECT 3.1.1 d1 ka=60 will=gw/d1/w");

    (void)unused;
    say_publish(p.dev, 1, 1, "a/b", "x");
    sees(p.brk, "PUBLISH q1 #1 gw/d1/a/b x");
    say_ack(p.brk, MQTT_PUBACK, 1, 0);
    sees(p.dev, "PUBACK #1");
    say_subscribe(p.dev, 2, "#", 1);
    sees(p.brk, "SUBSCRIBE #2 gw/d1/#:1");
    say_suback(p.brk, MQTT_SUBACK, 2, "\x01", 1);
    sees(p.dev, "SUBACK #2 01");
    say_subscribe(p.dev, 3, "$share/g/x", 1);
    sees(p.brk, "SUBSCRIBE #3 $share/g/gw/d1/x:1");
    say_suback(p.brk, MQTT_SUBACK, 3, "\x01", 1);
    sees(p.dev, "SUBACK #3 01");
    say_subscribe(p.dev, 4, "$SYS/uptime", 0);
    sees(p.brk, "SUBSCRIBE #4 $SYS/uptime:0");
    say_publish(p.brk, 0, 0, "gw/d1/c", "mine");
    sees(p.dev, "PUBLISH q0 c mine");
    say_publish(p.brk, 0, 0, "$SYS/uptime", "1 s");
    sees(p.dev, "PUBLISH q0 $SYS/uptime 1 s");
    say_publish(p.brk, 0, 0, "gw/d2/c", "elsewhere"); /* cannot be; costs nothing */
    sees(p.dev, "PUBLISH q0 gw/d2/c elsewhere");
    say_unsubscribe(p.dev, 5, "#");
    sees(p.brk, "UNSUBSCRIBE #5 gw/d1/#");
    quiet(&p);
}

static void too_long_a_topic_is_refused_alone(void **unused)
{
    static char topic[65533];
    struct world *w = world_new(&prefixed);

    (void)unused;
    memset(topic, 't', sizeof topic - 1);
    for (int version = MQTT_V311; version <= MQTT_V5; version++) {
        struct pair p = world_open(w, version, &world_lasting);
        bool v5 = version == MQTT_V5;
        uint64_t before = w->env.stats.packets_inexpressible;

        say_publish(p.dev, 0, 0, topic, "");
        say_publish(p.dev, 1, 1, topic, "");
        sees(p.dev, v5 ? "PUBACK #1 0x90" : "PUBACK #1");
        say_publish(p.dev, 2, 2, topic, "");
        if (v5) {
            sees(p.dev, "PUBREC #2 0x90");
        } else {
            sees(p.dev, "PUBREC #2");
            say_ack(p.dev, MQTT_PUBREL, 2, 0);
            sees(p.dev, "PUBCOMP #2");
        }
        say_subscribe(p.dev, 3, topic, 0);
        sees(p.dev, v5 ? "SUBACK #3 8f" : "SUBACK #3 80");
        say_unsubscribe(p.dev, 4, topic);
        sees(p.dev, v5 ? "UNSUBACK #4 8f" : "UNSUBACK #4");
        assert_int_equal(w->env.stats.packets_inexpressible, before + 5);
        assert_int_equal(world_session(w, "d1")->to_broker.count, 0);
        assert_int_equal(world_session(w, "d1")->subs.count, 0);
        say_publish(p.dev, 0, 0, "short", "goes on");
        sees(p.brk, "PUBLISH q0 gw/d1/short goes on");
        quiet(&p);
        tells(w, "refused old: policy evidence.publish-refused"); /* as by a broker */
        tells(w, v5 ? "refused old: policy evidence.suback-refused"
                    : "refused old: identity evidence.suback-refused");
        if (v5)
            tells(w, "refused old: policy evidence.unsuback-refused");
        say_disconnect(p.dev, 0, NULL);
        tells(w, "down d1: the device left");
        sees_end(p.dev);
    }
}

/* The alias stands for the prefixed topic; of one that never got there the broker knows nothing. */
static void topic_aliases_carry_the_prefix(void **unused)
{
    static char topic[65533];
    struct world *w = world_new(&prefixed);
    w->alias_most = 10;
    struct pair p = world_open(w, MQTT_V5, &world_lasting);
    struct buf props = {0};

    (void)unused;
    memset(topic, 't', sizeof topic - 1);
    mqtt_props_put_num(&props, MQTT_PROP_TOPIC_ALIAS, 1);
    mqtt_props_put_str(&props, MQTT_PROP_RESPONSE_TOPIC, slice_of("re"));
    struct mqtt_publish pub = {
        .topic = slice_of("a"), .payload = slice_of("x"), .props = {props.p, (uint32_t)props.len}};
    say_publish_full(p.dev, &pub);
    sees(p.brk, "PUBLISH q0 gw/d1/a x topic-alias=1 response-topic=gw/d1/re");
    pub.topic.n = 0;
    say_publish_full(p.dev, &pub);
    sees(p.brk, "PUBLISH q0  x topic-alias=1 response-topic=gw/d1/re");
    pub.topic = slice_of(topic);
    glue(p.dev);
    say_publish_full(p.dev, &pub); /* set anew, to one that is too long, and used at once */
    pub.topic.n = 0;
    say_publish_full(p.dev, &pub);
    unglue(p.dev);
    quiet(&p);
    assert_int_equal(w->env.stats.packets_inexpressible, 2);
    pub.topic = slice_of("b");
    say_publish_full(p.dev, &pub);
    sees(p.brk, "PUBLISH q0 gw/d1/b x topic-alias=1 response-topic=gw/d1/re");
    buf_fini(&props);
}

/* A device whose client identifier would make a prefix that is none. */
static void a_prefix_that_is_none_is_a_clear_fault(void **unused)
{
    struct world *w =
        world_new(&(struct world_args){.upstream = "topic_prefix = \"{username}/\";"});
    struct mqtt_connect c = world_lasting;
    struct end *dev = device_new(w, MQTT_V311);

    (void)unused;
    c.has_username = true;
    c.username = slice_of("a/#");
    say_connect(dev, &c);
    sees(dev, "CONNACK 0x03");
    tells(w, "up d1");
    tells(w, "failed old: policy");
    assert_false(broker_has_next(w));
}

/* ---- flips between legs that differ ---- */

/* Old: as the device.  New: 5.0, and a prefix, at another broker. */
static const struct world_args differ = {.upstream = "topic_prefix = \"old/\";",
                                         .other = "protocol = \"5\"; topic_prefix = \"new/\";"};

static void flip_to_barrier(struct world *w, struct pair *p, enum flip_slot slot)
{
    world_use(w, "d1", slot);
    sees(p->brk, "PINGREQ");
    say_ping(p->brk, MQTT_PINGRESP);
}

/* What was under way goes on in the other leg's words, there and back. */
static void a_flip_to_another_dialect_and_back(void **unused)
{
    struct world *w = world_new(&differ);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    say_subscribe(p.dev, 1, "c/#", 1);
    sees(p.brk, "SUBSCRIBE #1 old/c/#:1");
    say_suback(p.brk, MQTT_SUBACK, 1, "\x01", 1);
    sees(p.dev, "SUBACK #1 01");

    flip_to_barrier(w, &p, FLIP_NEW);
    struct end *next = broker_next(w);
    assert_true(next->of_other);
    next->version = MQTT_V5;
    sees(next, "CONNECT 5.0 d1 ka=60 receive-maximum=1024 session-expiry-interval=4294967295");
    say_publish(p.dev, 1, 7, "a", "held");
    say_publish(p.brk, 0, 0, "old/c/1", "last of the old one");
    sees(p.dev, "PUBLISH q0 c/1 last of the old one");
    say_connack(next, false, 0, NULL);
    sees(next, "SUBSCRIBE #65535 new/c/#:1");
    sees(next, "PUBLISH q1 #7 new/a held");
    tells(w, "accepted new rehomed replayed=0 restored=1 lost=0");
    sees(p.brk, "DISCONNECT");
    sees_end(p.brk);
    say_suback(next, MQTT_SUBACK, 65535, "\x01", 1);
    say_publish(next, 1, 4, "new/c/2", "first of the new one");
    sees(p.dev, "PUBLISH q1 #4 c/2 first of the new one");
    say_ack(p.dev, MQTT_PUBACK, 4, 0);
    sees(next, "PUBACK #4");
    say_ack(next, MQTT_PUBACK, 7, 0x10);
    sees(p.dev, "PUBACK #7");
    p.brk = next;
    quiet(&p);

    /* And back, with an exchange that the drain cannot wait for. */
    say_publish(p.dev, 2, 8, "a", "unfinished");
    sees(p.brk, "PUBLISH q2 #8 new/a unfinished");
    world_use(w, "d1", FLIP_OLD);
    world_until(w, world_session(w, "d1")->phase == RH_DRAINING);
    world_due(world_session(w, "d1"));
    sees(p.brk, "PINGREQ");
    say_ping(p.brk, MQTT_PINGRESP);
    next = broker_next(w);
    assert_false(next->of_other);
    sees(next, "CONNECT 3.1.1 d1 ka=60");
    say_connack(next, false, 0, NULL);
    sees(next, "SUBSCRIBE #65535 old/c/#:1");
    sees(next, "PUBLISH q2 #8 old/a unfinished");
    tells(w, "accepted old rehomed replayed=1 restored=1 lost=0");
    sees(p.brk, "DISCONNECT session-expiry-interval=4294967295");
    p.brk = next;
    say_ack(p.brk, MQTT_PUBREC, 8, 0);
    sees(p.dev, "PUBREC #8");
    say_ack(p.dev, MQTT_PUBREL, 8, 0);
    sees(p.brk, "PUBREL #8");
    say_ack(p.brk, MQTT_PUBCOMP, 8, 0);
    sees(p.dev, "PUBCOMP #8");
    quiet(&p);
}

/* Moved to another broker for good: a clean session leaves nothing at the former one.  On the way
 * back, what lies there from the earlier stay is not taken for what the session is now. */
static void a_clean_session_is_cleared_where_it_was(void **unused)
{
    struct world *w = world_new(&(struct world_args){.other = "protocol = \"5\";"});
    struct pair p = world_open(w, MQTT_V311, &world_clean);

    (void)unused;
    flip_to_barrier(w, &p, FLIP_NEW);
    struct end *next = broker_next(w);
    next->version = MQTT_V5;
    sees(next, "CONNECT 5.0 d1 ka=60 receive-maximum=1024 session-expiry-interval=600");
    say_connack(next, false, 0, NULL);
    tells(w, "accepted new rehomed");
    sees(p.brk, "PINGREQ");
    sees(p.brk, "DISCONNECT");
    say_ping(p.brk, MQTT_PINGRESP); /* it was not taken over: there is something to be cleared */
    end_finish(p.brk);
    struct end *clears = broker_next(w);
    assert_false(clears->of_other);
    sees(clears, "CONNECT 3.1.1 d1 clean ka=60");
    say_connack(clears, false, 0, NULL);
    sees(clears, "DISCONNECT");
    p.brk = next;
    say_subscribe(p.dev, 1, "c", 0);
    sees(p.brk, "SUBSCRIBE #1 c:0");
    say_suback(p.brk, MQTT_SUBACK, 1, "\x00", 1);
    sees(p.dev, "SUBACK #1 00");

    flip_to_barrier(w, &p, FLIP_OLD);
    next = broker_next(w);
    sees(next, "CONNECT 3.1.1 d1 ka=60");
    say_connack(next, true, 0, NULL); /* of an earlier stay */
    sees(next, "SUBSCRIBE #65535 c:0");
    tells(w, "accepted old rehomed replayed=0 restored=1 lost=0");
    sees(p.brk, "DISCONNECT session-expiry-interval=0"); /* which clears it in 5.0 */
    sees_end(p.brk);
    p.brk = next;
    say_suback(p.brk, MQTT_SUBACK, 65535, "\x00", 1);
    quiet(&p);
    assert_true(list_empty(&w->env.cleaners));
}

/* One broker, one session, another prefix: the session is there, with subscriptions below the old
 * prefix and messages that were queued for them. */
static void another_prefix_at_the_same_broker_moves_the_subscriptions(void **unused)
{
    struct world *w = world_new(&(struct world_args){.upstream = "topic_prefix = \"old/\";"});
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    say_subscribe(p.dev, 1, "c/#", 1);
    sees(p.brk, "SUBSCRIBE #1 old/c/#:1");
    say_suback(p.brk, MQTT_SUBACK, 1, "\x01", 1);
    sees(p.dev, "SUBACK #1 01");
    static const struct {
        const char *prefix, *unsubscribe, *subscribe, *publish;
    } moves[] = {
        {"topic_prefix = \"new/\";", "UNSUBSCRIBE #65535 old/c/#", "SUBSCRIBE #65534 new/c/#:1",
         "PUBLISH q1 #2 new/a x"},
        {NULL, "UNSUBSCRIBE #65535 new/c/#", "SUBSCRIBE #65534 c/#:1", "PUBLISH q1 #2 a x"},
    };
    const char *topics[] = {"old/c/1", "new/c/1"};
    for (size_t i = 0; i < 2; i++) {
        snapshot_unref(w->env.snap); /* a reload reaches the next leg */
        w->env.snap = world_configure(w, &(struct world_args){.upstream = moves[i].prefix});
        flip_to_barrier(w, &p, i == 0 ? FLIP_NEW : FLIP_OLD);
        p.brk = broker_next(w);
        sees(p.brk, "CONNECT 3.1.1 d1 ka=60");
        say_connack(p.brk, true, 0, NULL);
        sees(p.brk, moves[i].unsubscribe);
        sees(p.brk, moves[i].subscribe);
        tells(w, i == 0 ? "accepted new present rehomed replayed=0 restored=1 lost=0"
                        : "accepted old present rehomed replayed=0 restored=1 lost=0");
        say_publish(p.brk, 1, 5, topics[i], "was queued");
        sees(p.dev, "PUBLISH q1 #5 c/1 was queued");
        say_ack(p.dev, MQTT_PUBACK, 5, 0);
        sees(p.brk, "PUBACK #5");
        say_suback(p.brk, MQTT_UNSUBACK, 65535, "", 0);
        say_suback(p.brk, MQTT_SUBACK, 65534, "\x01", 1);
        say_publish(p.dev, 1, 2, "a", "x");
        sees(p.brk, moves[i].publish);
        say_ack(p.brk, MQTT_PUBACK, 2, 0);
        sees(p.dev, "PUBACK #2");
        quiet(&p);
        assert_int_equal(world_session(w, "d1")->to_broker.count, 0);
    }
}

/* On trial, what cannot be said there is held against the new identity's profile. */
static void what_the_trials_profile_cannot_say_is_told(void **unused)
{
    static char topic[65531];
    struct world *w = world_new(&(struct world_args){.other = "topic_prefix = \"a-longer-one/\";"});
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    memset(topic, 't', sizeof topic - 1);
    flip_to_barrier(w, &p, FLIP_NEW);
    p.brk = world_broker_accepts(w, MQTT_V311, false);
    tells(w, "accepted new rehomed");
    world_device(w, "d1")->evidence = 1;
    say_publish(p.dev, 1, 1, topic, "");
    sees(p.dev, "PUBACK #1");
    tells(w, "refused new: policy evidence.publish-refused");
}

/* What the old leg could say, and the new one cannot: answered when it is to be sent again. */
static void a_replay_that_the_new_leg_cannot_say_is_answered(void **unused)
{
    static char topic[65531];
    struct world *w = world_new(&(struct world_args){.other = "topic_prefix = \"a-longer-one/\";"});
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    memset(topic, 't', sizeof topic - 1);
    say_publish(p.dev, 1, 1, topic, "");
    end_packet(p.brk, __FILE__, __LINE__);
    say_publish(p.dev, 2, 2, topic, "");
    end_packet(p.brk, __FILE__, __LINE__);
    say_publish(p.dev, 1, 3, "short", "x");
    sees(p.brk, "PUBLISH q1 #3 short x");
    world_use(w, "d1", FLIP_NEW);
    world_until(w, world_session(w, "d1")->phase == RH_DRAINING);
    world_due(world_session(w, "d1"));
    sees(p.brk, "PINGREQ");
    say_ping(p.brk, MQTT_PINGRESP);
    p.brk = world_broker_accepts(w, MQTT_V311, false);
    sees(p.dev, "PUBACK #1");
    sees(p.dev, "PUBREC #2");
    sees(p.brk, "PUBLISH q1 #3 a-longer-one/short x");
    say_ack(p.dev, MQTT_PUBREL, 2, 0);
    sees(p.dev, "PUBCOMP #2");
    say_ack(p.brk, MQTT_PUBACK, 3, 0);
    sees(p.dev, "PUBACK #3");
    quiet(&p);
    assert_int_equal(world_session(w, "d1")->to_broker.count, 0);
}

/* The broker refuses the new identity in 5.0's words, and the old leg stays as it was. */
static void a_refused_candidate_of_another_dialect_changes_nothing(void **unused)
{
    struct world *w = world_new(&differ);
    struct pair p = world_open(w, MQTT_V311, &world_clean);

    (void)unused;
    flip_to_barrier(w, &p, FLIP_NEW);
    struct end *next = broker_next(w);
    next->version = MQTT_V5;
    sees(next, "CONNECT 5.0 d1 ka=60 receive-maximum=1024 session-expiry-interval=600");
    say_connack(next, false, 0x87, NULL);
    tells(w, "failed new: identity");
    say_publish(p.dev, 0, 0, "a", "x");
    sees(p.brk, "PUBLISH q0 old/a x");
    quiet(&p);
}

/* ---- from any leg to any other ---- */

static const struct side {
    const char *settings, *prefix;
    bool in_5;
} sides[] = {
    {"", "", false},
    {"protocol = \"5\";", "", true},
    {"topic_prefix = \"p/\";", "p/", false},
    {"protocol = \"5\"; topic_prefix = \"quite/another/\";", "quite/another/", true},
};

struct move {
    int version;                  /* of the device */
    const struct side *from, *to; /* the profiles */
    bool away, present;           /* to another broker; which says that it has the session */
};

static const char *at(const char *before, const struct side *side, const char *after)
{
    static char text[4][128];
    static unsigned next;
    char *out = text[next++ % 4];

    snprintf(out, sizeof text[0], "%s%s%s", before, side->prefix, after);
    return out;
}

static int spoken(const struct move *m, const struct side *side)
{
    return side->in_5 ? MQTT_V5 : m->version;
}

/* One exchange in each state there is, both ways. */
static void begin_everything(const struct move *m, struct pair *p)
{
    say_subscribe(p->dev, 1, "c/#", 2);
    sees(p->brk, at("SUBSCRIBE #1 ", m->from, "c/#:2"));
    say_suback(p->brk, MQTT_SUBACK, 1, "\x02", 1);
    sees(p->dev, "SUBACK #1 02");
    say_publish(p->dev, 1, 11, "a", "sent");
    sees(p->brk, at("PUBLISH q1 #11 ", m->from, "a sent"));
    say_publish(p->dev, 2, 12, "a", "sent");
    sees(p->brk, at("PUBLISH q2 #12 ", m->from, "a sent"));
    say_publish(p->dev, 2, 13, "a", "received");
    sees(p->brk, at("PUBLISH q2 #13 ", m->from, "a received"));
    say_ack(p->brk, MQTT_PUBREC, 13, 0);
    sees(p->dev, "PUBREC #13");
    say_publish(p->dev, 2, 14, "a", "released");
    sees(p->brk, at("PUBLISH q2 #14 ", m->from, "a released"));
    say_ack(p->brk, MQTT_PUBREC, 14, 0);
    sees(p->dev, "PUBREC #14");
    say_ack(p->dev, MQTT_PUBREL, 14, 0);
    sees(p->brk, "PUBREL #14");
    say_publish(p->brk, 2, 21, at("", m->from, "c/x"), "to the device");
    sees(p->dev, "PUBLISH q2 #21 c/x to the device");
    say_ack(p->dev, MQTT_PUBREC, 21, 0);
    sees(p->brk, "PUBREC #21");
}

static struct end *flips_over(struct world *w, const struct move *m, struct pair *p)
{
    if (!m->away) {
        snapshot_unref(w->env.snap);
        w->env.snap = world_configure(w, &(struct world_args){.upstream = m->to->settings});
    }
    world_use(w, "d1", FLIP_NEW);
    world_until(w, world_session(w, "d1")->phase == RH_DRAINING);
    world_due(world_session(w, "d1")); /* it waits no longer */
    sees(p->brk, "PINGREQ");
    say_ping(p->brk, MQTT_PINGRESP);
    struct end *next = broker_next(w);
    assert_int_equal(next->of_other, m->away);
    struct mqtt_packet pkt = end_packet(next, __FILE__, __LINE__);
    struct mqtt_connect c;
    uint8_t reason;
    assert_int_equal(mqtt_connect_read(&pkt, &c, &reason, NULL), 0);
    next->version = spoken(m, m->to);
    assert_int_equal(c.version, next->version);
    say_connack(next, m->present, 0, NULL);
    return next;
}

static void goes_on_with_the_session(const struct move *m, struct pair *p, bool renamed)
{
    if (renamed) {
        sees(p->brk, at("UNSUBSCRIBE #65535 ", m->from, "c/#"));
        sees(p->brk, at("SUBSCRIBE #65534 ", m->to, "c/#:2"));
        say_suback(p->brk, MQTT_UNSUBACK, 65535, "", p->brk->version == MQTT_V5);
        say_suback(p->brk, MQTT_SUBACK, 65534, "\x02", 1);
    }
    sees(p->brk, at("PUBLISH q1 #11 dup ", m->to, "a sent"));
    sees(p->brk, at("PUBLISH q2 #12 dup ", m->to, "a sent"));
    sees(p->brk, "PUBREL #14");
    say_ack(p->brk, MQTT_PUBCOMP, 14, 0);
    sees(p->dev, "PUBCOMP #14");
    /* Queued below the former prefix; the device has had it. */
    say_publish_full(p->brk, &(struct mqtt_publish){.dup = true,
                                                    .qos = 2,
                                                    .packet_id = 21,
                                                    .topic = slice_of(at("", m->from, "c/x")),
                                                    .payload = slice_of("to the device")});
    sees(p->brk, "PUBREC #21");
    say_ack(p->brk, MQTT_PUBREL, 21, 0);
    sees(p->dev, "PUBREL #21");
    say_ack(p->dev, MQTT_PUBCOMP, 21, 0);
    sees(p->brk, "PUBCOMP #21");
}

static void begins_anew(const struct move *m, struct pair *p)
{
    sees(p->brk, at("SUBSCRIBE #65535 ", m->to, "c/#:2"));
    say_suback(p->brk, MQTT_SUBACK, 65535, "\x02", 1);
    sees(p->brk, at("PUBLISH q1 #11 ", m->to, "a sent"));
    sees(p->brk, at("PUBLISH q2 #12 ", m->to, "a sent"));
    sees(p->brk, at("PUBLISH q2 #13 ", m->to, "a received"));
    say_ack(p->brk, MQTT_PUBREC, 13, 0);
    sees(p->dev, "PUBCOMP #14");
    sees(p->dev, "PUBREL #21");
    say_ack(p->dev, MQTT_PUBCOMP, 21, 0);
}

static void finish_everything(const struct move *m, struct pair *p)
{
    say_ack(p->brk, MQTT_PUBACK, 11, 0);
    sees(p->dev, "PUBACK #11");
    say_ack(p->brk, MQTT_PUBREC, 12, 0);
    sees(p->dev, "PUBREC #12");
    for (uint16_t id = 12; id <= 13; id++) {
        char text[16];
        say_ack(p->dev, MQTT_PUBREL, id, 0);
        snprintf(text, sizeof text, "PUBREL #%u", id);
        sees(p->brk, text);
        say_ack(p->brk, MQTT_PUBCOMP, id, 0);
        snprintf(text, sizeof text, "PUBCOMP #%u", id);
        sees(p->dev, text);
    }
    say_publish(p->brk, 0, 0, at("", m->to, "c/y"), "after it");
    sees(p->dev, "PUBLISH q0 c/y after it");
    say_publish(p->dev, 0, 0, "b", "after it");
    sees(p->brk, at("PUBLISH q0 ", m->to, "b after it"));
    quiet(p);
}

static void one_move(const struct move *m)
{
    struct world *w = world_new(&(struct world_args){.upstream = m->from->settings,
                                                     .other = m->away ? m->to->settings : NULL});
    struct pair p = world_open_as(w, m->version, spoken(m, m->from), &world_lasting);

    begin_everything(m, &p);
    p.brk = flips_over(w, m, &p);
    /* 3.1 does not say; it is taken for granted while nothing was lost. */
    bool present = !m->away && (m->present || p.brk->version == MQTT_V31);
    bool renamed = present && strcmp(m->from->prefix, m->to->prefix) != 0;
    if (present)
        goes_on_with_the_session(m, &p, renamed);
    else
        begins_anew(m, &p);
    if (!present)
        tells(w, "accepted new rehomed replayed=3 restored=1 lost=1");
    else if (renamed)
        tells(w, "accepted new present rehomed replayed=2 restored=1 lost=0");
    else
        tells(w, "accepted new present rehomed replayed=2 restored=0 lost=0");
    finish_everything(m, &p);
    assert_int_equal(world_session(w, "d1")->to_broker.count, 0);
    assert_int_equal(world_session(w, "d1")->to_device.count, 0);
    world_end(NULL);
}

static void from_any_leg_to_any_other(void **unused)
{
    (void)unused;
    for (int version = MQTT_V31; version <= MQTT_V5; version++)
        for (unsigned pair = 0; pair < 16; pair++)
            for (unsigned way = 0; way < 4; way++)
                one_move(&(struct move){.version = version,
                                        .from = &sides[pair % 4],
                                        .to = &sides[pair / 4],
                                        .away = (way & 1) != 0,
                                        .present = (way & 2) != 0});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        play(a_clean_session_is_a_clean_start_with_an_expiry),
        play(a_lasting_session_does_not_expire),
        play(keep_session_off_passes_the_wish_on),
        play(a_5_0_device_speaks_for_itself),
        play(an_assigned_name_is_kept),
        play(a_refusal_is_told_in_the_devices_words),
        play(every_packet_goes_up_and_down),
        play(many_packets_in_one_read_keep_their_order),
        play(a_bridge_is_not_sent_its_own_messages),
        play(a_denied_publish_is_acknowledged_and_counted),
        play(a_denied_exchange_ends_in_the_middle_of_a_flip),
        play(a_server_that_disconnects_is_an_uplink_lost),
        play(a_reason_string_is_part_of_the_diagnosis),
        play(auth_is_nothing_for_a_3_x_device),
        play(the_will_of_a_dead_device_fires),
        play(a_delayed_will_lets_a_flip_take_over),
        play(a_delay_is_given_to_none_that_has_one),
        play(a_delayed_will_leaves_where_the_session_ends),
        play(topics_have_a_prefix_at_the_broker),
        play(too_long_a_topic_is_refused_alone),
        play(topic_aliases_carry_the_prefix),
        play(a_prefix_that_is_none_is_a_clear_fault),
        play(a_flip_to_another_dialect_and_back),
        play(a_clean_session_is_cleared_where_it_was),
        play(another_prefix_at_the_same_broker_moves_the_subscriptions),
        play(what_the_trials_profile_cannot_say_is_told),
        play(a_replay_that_the_new_leg_cannot_say_is_answered),
        play(a_refused_candidate_of_another_dialect_changes_nothing),
        play(from_any_leg_to_any_other),
    };

    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
