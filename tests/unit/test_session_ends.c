/* How sessions end, and who is not let in: goodbyes and deaths as the broker sees them, keepalive,
 * take-over, refusals, limits. */
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
                                              .clean = true,
                                              .has_will = true,
                                              .will_topic = {(const uint8_t *)"w", 1}};

/* ---- goodbyes and deaths ---- */

static void disconnect_of_3_1_1_passes(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    glue(p.dev);
    say_publish(p.dev, 0, 0, "a", "last");
    say_disconnect(p.dev, 0, NULL);
    unglue(p.dev);
    end_finish(p.dev); /* at once */
    sees(p.brk, "PUBLISH q0 a last");
    sees(p.brk, "DISCONNECT");
    sees_end(p.brk);
    tells(w, "down d1: the device left");
}

/* The device's own session expiry goes with its last word. */
static void disconnect_of_5_0_carries_the_devices_session_expiry(void **unused)
{
    struct world *w = world_new(NULL);
    struct mqtt_connect c = world_clean;
    struct buf props = {0}, bye = {0};

    (void)unused;
    mqtt_props_put_num(&props, MQTT_PROP_SESSION_EXPIRY, 100);
    c.props = (struct mqtt_props){props.p, (uint32_t)props.len};
    struct pair p = world_open(w, MQTT_V5, &c);
    mqtt_props_put_pair(&bye, slice_of("k"), slice_of("v"));
    say_disconnect(p.dev, 0x04, &bye); /* with its Will */
    sees(p.brk, "DISCONNECT 0x04 user-property=k:v session-expiry-interval=100");
    sees_end(p.brk);
    buf_fini(&props);
    buf_fini(&bye);
}

static void disconnect_of_5_0_may_change_the_session_expiry(void **unused)
{
    struct world *w = world_new(NULL);
    struct mqtt_connect c = world_clean;
    struct buf props = {0};

    (void)unused;
    mqtt_props_put_num(&props, MQTT_PROP_SESSION_EXPIRY, 100);
    c.props = (struct mqtt_props){props.p, (uint32_t)props.len};
    struct pair p = world_open(w, MQTT_V5, &c);
    buf_fini(&props);
    mqtt_props_put_num(&props, MQTT_PROP_SESSION_EXPIRY, 7);
    say_disconnect(p.dev, 0, &props);
    sees(p.brk, "DISCONNECT session-expiry-interval=7");
    buf_fini(&props);
}

/* No DISCONNECT: the broker publishes the Will. */
static void death_of_a_3_1_1_device_is_an_end_without_disconnect(void **unused)
{
    (void)unused;
    for (int reset = 0; reset < 2; reset++) {
        struct world *w = world_new(NULL);
        struct pair p = world_open(w, MQTT_V311, &world_lasting);

        if (reset)
            end_reset(p.dev);
        else
            end_finish(p.dev);
        sees_end(p.brk);
        tells(w, reset ? "down d1: the device's connection broke"
                       : "down d1: the device closed its connection without DISCONNECT");
        world_end(NULL);
    }
}

/* The longer session upstream must not keep the Will: it is asked for, with the device's expiry. */
static void death_of_a_5_0_device_fires_its_will(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &with_will);

    (void)unused;
    end_reset(p.dev);
    sees(p.brk, "DISCONNECT 0x04 session-expiry-interval=0");
    sees_end(p.brk);
}

static void device_that_dies_before_connack_leaves_no_disconnect(void **unused)
{
    struct world *w = world_new(NULL);
    struct end *dev = device_new(w, MQTT_V311);

    (void)unused;
    say_connect(dev, &world_lasting);
    struct end *brk = broker_next(w);
    sees(brk, "CONNECT 3.1.1 d1 ka=60");
    end_reset(dev);
    sees_end(brk);
    tells(w, "up d1");
    tells(w, "down d1: the device's connection broke");
}

/* ---- keepalive ---- */

static void silent_device_is_gone(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_clean);
    struct session *s = world_session(w, "d1");

    (void)unused;
    s->last_rx_ms -= 89000;
    world_due(s);
    world_turn(w);
    assert_ptr_equal(world_session(w, "d1"), s);
    quiet(&p); /* a sign of life starts it anew */
    s->last_rx_ms -= 90001;
    world_due(s);
    sees(p.dev, "DISCONNECT 0x8d");
    sees_end(p.dev);
    tells(w, "down d1: the device was silent for longer than 1.5 times its keepalive");
}

/* In real time, with the shortest keepalive. */
static void keepalive_of_a_second_ends_after_one_and_a_half(void **unused)
{
    struct world *w = world_new(NULL);
    struct mqtt_connect c = world_lasting;

    (void)unused;
    c.keepalive_s = 1;
    uint64_t began = uv_now(&w->loop); /* before the last that is heard of it */
    struct pair p = world_open(w, MQTT_V311, &c);
    sees_end(p.dev);
    uint64_t took = uv_now(&w->loop) - began;
    assert_true(took >= 1400 && took < 5000);
    sees_end(p.brk); /* without DISCONNECT: it died */
}

static void no_keepalive_no_limit(void **unused)
{
    struct world *w = world_new(NULL);
    struct mqtt_connect c = world_lasting;

    (void)unused;
    c.keepalive_s = 0;
    struct pair p = world_open(w, MQTT_V311, &c);
    struct session *s = world_session(w, "d1");
    s->last_rx_ms -= 1000000;
    world_due(s);
    world_turn(w);
    assert_ptr_equal(world_session(w, "d1"), s);
    quiet(&p);
}

/* The server may name another one; the device is told so, and held to it. */
static void servers_keepalive_counts(void **unused)
{
    struct world *w = world_new(NULL);
    struct end *dev = device_new(w, MQTT_V5);
    struct buf back = {0};

    (void)unused;
    say_connect(dev, &world_clean);
    struct end *brk = broker_next(w);
    brk->version = MQTT_V5;
    sees(brk, "CONNECT 5.0 d1 clean ka=60 session-expiry-interval=600");
    mqtt_props_put_num(&back, MQTT_PROP_SERVER_KEEP_ALIVE, 10);
    say_connack(brk, false, 0, &back);
    sees(dev, "CONNACK server-keep-alive=10");
    world_session(w, "d1")->last_rx_ms -= 15001;
    world_due(world_session(w, "d1"));
    sees(dev, "DISCONNECT 0x8d");
    buf_fini(&back);
}

/* ---- take-over ---- */

static void new_connection_of_a_device_takes_over(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_clean);
    struct end *again = device_new(w, MQTT_V5);

    (void)unused;
    say_connect(again, &world_clean);
    sees(p.dev, "DISCONNECT 0x8e");
    sees_end(p.dev);
    tells(w, "down d1: a new connection of the device has taken over");
    tells(w, "up d1");
    struct end *brk = world_broker_accepts(w, MQTT_V5, false);
    sees(again, "CONNACK");
    struct pair q = {again, brk};
    quiet(&q);
    assert_int_equal(w->env.stats.downstream_closed_by_us, 1);
}

/* It does not wait for a former connection that hangs. */
static void take_over_does_not_wait_for_the_old_connection(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    struct end *again = device_new(w, MQTT_V311);

    (void)unused;
    stream_read(&p.dev->st, false);
    stream_read(&p.brk->st, false);
    say_connect(again, &world_lasting);
    (void)world_broker_accepts(w, MQTT_V311, true);
    sees(again, "CONNACK present");
}

static void as_many_connections_as_the_rule_allows(void **unused)
{
    struct world *w = world_new(&(struct world_args){.rule = "max_connections = 2;"});
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    struct end *second = device_new(w, MQTT_V311);

    (void)unused;
    w->keeps_predecessors = true; /* their client ids differ, as a broker would see it */
    say_connect(second, &world_lasting);
    (void)world_broker_accepts(w, MQTT_V311, false);
    sees(second, "CONNACK");
    quiet(&p); /* it lives */
    struct end *third = device_new(w, MQTT_V311);
    say_connect(third, &world_lasting);
    sees_end(p.dev); /* the oldest */
    (void)world_broker_accepts(w, MQTT_V311, false);
    sees(third, "CONNACK");
    assert_false(second->ended);
}

/* ---- who is not let in ---- */

static void refused(struct world *w, struct end *dev, const char *answer, const char *line)
{
    if (answer != NULL)
        sees(dev, answer);
    sees_end(dev);
    tells(w, line);
    assert_int_equal(w->env.stats.refused, 1);
    assert_false(broker_has_next(w));
}

static void device_without_identity_is_refused(void **unused)
{
    struct world *w = world_new(NULL);
    struct end *dev = device_new(w, MQTT_V311);
    struct mqtt_connect c = {.client_id = slice_of("stranger")};

    (void)unused;
    say_connect(dev, &c);
    refused(w, dev, "CONNACK 0x05", "refused ?: no-identity");
}

static void unknown_device_is_refused_in_its_dialect(void **unused)
{
    struct world *w = world_new(NULL);
    struct end *dev = device_new(w, MQTT_V5);
    struct mqtt_connect c = {.clean = true}; /* no rule wants it */

    (void)unused;
    say_connect(dev, &c);
    refused(w, dev, "CONNACK 0x87", "refused ?: unknown-device");
}

static void client_id_of_another_device_is_refused(void **unused)
{
    struct world *w = world_new(NULL);
    struct end *dev = device_new(w, MQTT_V311);
    struct mqtt_connect c = world_lasting; /* client id d1 */

    (void)unused;
    world_device(w, "d9");
    c.has_username = true;
    c.username = slice_of("d9");
    say_connect(dev, &c);
    refused(w, dev, "CONNACK 0x02", "refused d9: client-id-mismatch");
}

static void client_id_has_to_be_the_name_where_the_rule_says_so(void **unused)
{
    struct world *w = world_new(&(struct world_args){.rule = "any_client_id = false;"});
    struct end *dev = device_new(w, MQTT_V5);
    struct mqtt_connect c = {.client_id = slice_of("other"),
                             .clean = true,
                             .has_username = true,
                             .username = slice_of("d9")};

    (void)unused;
    world_device(w, "d9");
    say_connect(dev, &c);
    refused(w, dev, "CONNACK 0x85", "refused ?: client-id-mismatch");
}

static void network_outside_of_the_list_is_refused(void **unused)
{
    struct world *w = world_new(&(struct world_args){.listener = "192.0.2.0/24"});
    struct end *dev = device_new(w, MQTT_V311);

    (void)unused;
    refused(w, dev, NULL, "refused ?: network");
}

static void first_packet_has_to_be_connect(void **unused)
{
    struct world *w = world_new(NULL);
    struct end *dev = device_new(w, MQTT_V311);

    (void)unused;
    say_ping(dev, MQTT_PINGREQ);
    refused(w, dev, NULL, "refused ?: protocol");
}

static void bytes_of_another_protocol_are_refused(void **unused)
{
    static const char http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    static const char huge[] = "\x10\xFF\xFF\xFF\x7F";
    struct world *w = world_new(NULL);
    struct end *dev = device_new(w, MQTT_V311);

    (void)unused;
    say_bytes(dev, http, sizeof http - 1);
    refused(w, dev, NULL, "refused ?: malformed");
    dev = device_new(w, MQTT_V311);
    say_bytes(dev, huge, sizeof huge - 1);
    sees_end(dev);
    tells(w, "refused ?: too-big");
}

static void malformed_connect_is_answered_in_its_dialect(void **unused)
{
    /* A Will of QoS 3. */
    static const uint8_t bad_5[] = {0x10, 0x0F, 0x00, 0x04, 'M', 'Q',  'T', 'T', 0x05,
                                    0x1C, 0x00, 0x00, 0x00, 0,   0x02, 'd', '1'};
    static const uint8_t level_9[] = {0x10, 0x0E, 0x00, 0x04, 'M',  'Q',  'T', 'T',
                                      0x09, 0x02, 0x00, 0x00, 0x00, 0x02, 'd', '1'};
    struct world *w = world_new(NULL);
    struct end *dev = device_new(w, MQTT_V5);

    (void)unused;
    say_bytes(dev, bad_5, sizeof bad_5);
    refused(w, dev, "CONNACK 0x81", "refused ?: malformed");
    dev = device_new(w, MQTT_V311);
    say_bytes(dev, level_9, sizeof level_9);
    sees(dev, "CONNACK 0x01");
    sees_end(dev);
    tells(w, "refused ?: malformed");
}

static void device_that_says_nothing_is_not_waited_for(void **unused)
{
    struct world *w = world_new(&(struct world_args){.limits = "connect_timeout_ms = 100;"});
    struct end *dev = device_new(w, MQTT_V311);

    (void)unused;
    say_bytes(dev, "\x10", 1); /* the beginning of a CONNECT */
    refused(w, dev, NULL, "refused ?: connect-timeout");
}

static void one_source_may_have_so_many_connections(void **unused)
{
    struct world *w = world_new(&(struct world_args){.limits = "connections_per_source = 2;"});
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    struct end *second = device_new(w, MQTT_V311);

    (void)unused;
    world_until(w, w->env.stats.sessions == 2);
    struct end *third = device_new(w, MQTT_V311);
    refused(w, third, NULL, "refused ?: limit-source");
    quiet(&p);
    assert_false(second->ended);
}

static void as_many_connections_as_allowed(void **unused)
{
    struct world *w = world_new(&(struct world_args){.limits = "connections = 1;"});
    struct pair p = world_open(w, MQTT_V311, &world_lasting);
    struct end *second = device_new(w, MQTT_V5);
    struct mqtt_connect c = {.client_id = slice_of("d2"), .clean = true};

    (void)unused;
    say_connect(second, &c);
    refused(w, second, "CONNACK 0x97", "refused d2: limit-connections");
    quiet(&p);
    /* The device that is in may come again: it takes its own place. */
    struct end *again = device_new(w, MQTT_V311);
    say_connect(again, &world_lasting);
    (void)world_broker_accepts(w, MQTT_V311, false);
    sees(again, "CONNACK");
}

/* ---- no uplink at the beginning ---- */

static void no_broker_no_connack_of_zero(void **unused)
{
    (void)unused;
    for (int v5 = 0; v5 < 2; v5++) {
        struct world *w = world_new(NULL);
        struct end *dev = device_new(w, v5 ? MQTT_V5 : MQTT_V311);

        world_stop_broker(w);
        say_connect(dev, &world_clean);
        sees(dev, v5 ? "CONNACK 0x88" : "CONNACK 0x03");
        sees_end(dev);
        tells(w, "up d1");
        tells(w, "failed old: network");
        tells(w, "refused d1: uplink-down");
        world_end(NULL);
    }
}

static void broker_that_answers_no_connect_is_unavailable(void **unused)
{
    struct world *w = world_new(&(struct world_args){.upstream = "connack_timeout_ms = 100;"});
    struct end *dev = device_new(w, MQTT_V311);

    (void)unused;
    say_connect(dev, &world_lasting);
    struct end *brk = broker_next(w);
    sees(brk, "CONNECT 3.1.1 d1 ka=60");
    sees(dev, "CONNACK 0x03");
    sees_end(dev);
}

/* A trial's identity that is refused at the first connection: main may choose the other one. */
static void refused_trial_gets_in_on_the_old_identity(void **unused)
{
    struct world *w = world_new(NULL);
    struct end *dev = device_new(w, MQTT_V311);

    (void)unused;
    world_use(w, "d1", FLIP_NEW);
    say_connect(dev, &world_lasting);
    struct end *brk = broker_next(w);
    assert_string_equal(brk->cn, "new");
    sees(brk, "CONNECT 3.1.1 d1 ka=60");
    say_connack(brk, false, 5, NULL);
    tells(w, "up d1");
    tells(w, "failed new: identity");
    assert_false(end_has_packet(dev) || dev->ended);
    world_use(w, "d1", FLIP_OLD);
    brk = world_broker_accepts(w, MQTT_V311, false);
    assert_string_equal(brk->cn, "old");
    sees(dev, "CONNACK");
    tells(w, "accepted old");
}

static void refused_trial_that_nobody_settles_is_answered(void **unused)
{
    struct world *w = world_new(NULL);
    struct end *dev = device_new(w, MQTT_V5);

    (void)unused;
    world_use(w, "d1", FLIP_NEW);
    say_connect(dev, &world_clean);
    struct end *brk = broker_next(w);
    brk->version = MQTT_V5;
    sees(brk, "CONNECT 5.0 d1 clean ka=60 session-expiry-interval=600");
    say_connack(brk, false, 0x87, NULL);
    tells(w, "up d1");
    tells(w, "failed new: identity");
    world_due(world_session(w, "d1"));
    sees(dev, "CONNACK 0x87");
    sees_end(dev);
    tells(w, "refused d1: identity-refused");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        play(disconnect_of_3_1_1_passes),
        play(disconnect_of_5_0_carries_the_devices_session_expiry),
        play(disconnect_of_5_0_may_change_the_session_expiry),
        play(death_of_a_3_1_1_device_is_an_end_without_disconnect),
        play(death_of_a_5_0_device_fires_its_will),
        play(device_that_dies_before_connack_leaves_no_disconnect),
        play(silent_device_is_gone),
        play(keepalive_of_a_second_ends_after_one_and_a_half),
        play(no_keepalive_no_limit),
        play(servers_keepalive_counts),
        play(new_connection_of_a_device_takes_over),
        play(take_over_does_not_wait_for_the_old_connection),
        play(as_many_connections_as_the_rule_allows),
        play(device_without_identity_is_refused),
        play(unknown_device_is_refused_in_its_dialect),
        play(client_id_of_another_device_is_refused),
        play(client_id_has_to_be_the_name_where_the_rule_says_so),
        play(network_outside_of_the_list_is_refused),
        play(first_packet_has_to_be_connect),
        play(bytes_of_another_protocol_are_refused),
        play(malformed_connect_is_answered_in_its_dialect),
        play(device_that_says_nothing_is_not_waited_for),
        play(one_source_may_have_so_many_connections),
        play(as_many_connections_as_allowed),
        play(no_broker_no_connack_of_zero),
        play(broker_that_answers_no_connect_is_unavailable),
        play(refused_trial_gets_in_on_the_old_identity),
        play(refused_trial_that_nobody_settles_is_answered),
    };

    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
