/* A device without an uplink: how much of it is kept, that it is answered, and how long the
 * attempts wait for each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "session_world.h"

#define QUEUE 4096u

static const struct world_args small = {.limits = "queue_bytes = 4096; inflight = 8;"};
static const struct mqtt_connect brisk = {.client_id = {(const uint8_t *)"d1", 2},
                                          .keepalive_s = 2};
static const struct mqtt_connect endless = {.client_id = {(const uint8_t *)"d1", 2}};

static struct session *the_session(struct world *w)
{
    return world_session(w, "d1");
}

/* A device that has lost its uplink, which does not come back by itself. */
static struct pair held(struct world *w, int version, const struct mqtt_connect *c)
{
    struct pair p = world_open(w, version, c);

    world_stop_broker(w);
    end_reset(p.brk);
    tells(w, "lost old: network");
    return p;
}

/* One PUBLISH of 1,000 bytes or so. */
static void say_much(struct end *dev, uint8_t qos, uint16_t id)
{
    static char payload[1001];

    memset(payload, 'x', sizeof payload - 1);
    say_publish(dev, qos, id, "t", payload);
}

static void flood(struct world *w, struct pair *p, uint8_t qos, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        say_much(p->dev, qos, (uint16_t)(i + 1));
    for (int i = 0; i < 20; i++)
        world_turn(w);
}

/* ---- how much is kept ---- */

static void what_waits_is_bounded(uint8_t qos)
{
    struct world *w = world_new(&small);
    struct pair p = held(w, MQTT_V311, &endless);

    flood(w, &p, qos, 600); /* more than the sockets take, too */
    assert_false(session_hears(the_session(w)));
    assert_true(the_session(w)->held.len <= QUEUE + ENV_PLAIN_BYTES);
    assert_int_equal(w->env.stats.publishes_shed, 0); /* it waits, however long */
}

static void what_waits_at_qos_0_is_bounded(void **unused)
{
    (void)unused;
    what_waits_is_bounded(0);
}

static void what_waits_at_qos_1_is_bounded(void **unused)
{
    (void)unused;
    what_waits_is_bounded(1);
}

static void what_waits_at_qos_2_is_bounded(void **unused)
{
    (void)unused;
    what_waits_is_bounded(2);
}

/* Held back for half a keepalive, and then read on: PINGREQ is found and answered. */
static void pingreq_behind_a_backlog_is_answered(void **unused)
{
    struct world *w = world_new(&small);
    struct pair p = held(w, MQTT_V311, &brisk);
    uint64_t began = uv_now(&w->loop); /* before the last that is heard of it for now */

    (void)unused;
    flood(w, &p, 0, 100); /* more than is kept after the largest read */
    say_ping(p.dev, MQTT_PINGREQ);
    for (int i = 0; i < 20; i++)
        world_turn(w);
    assert_false(session_hears(the_session(w)));
    assert_false(end_has_packet(p.dev));
    sees(p.dev, "PINGRESP");
    assert_true(uv_now(&w->loop) - began >= 300);
    assert_true(w->env.stats.publishes_shed > 0);
    assert_int_equal(the_session(w)->shed, w->env.stats.publishes_shed);
    assert_true(the_session(w)->held.len <= QUEUE + ENV_PLAIN_BYTES);
    for (int i = 0; i < 3; i++) { /* and from then on at once */
        flood(w, &p, 0, 50);
        say_ping(p.dev, MQTT_PINGREQ);
        sees(p.dev, "PINGRESP");
    }
}

/* What promises more is kept. */
static void only_qos_0_is_dropped(void **unused)
{
    struct world *w = world_new(&small);
    struct pair p = held(w, MQTT_V311, &brisk);

    (void)unused;
    flood(w, &p, 0, 10);
    flood(w, &p, 1, 5);
    say_subscribe(p.dev, 9, "s", 0);
    say_ping(p.dev, MQTT_PINGREQ);
    sees(p.dev, "PINGRESP");
    size_t kept = the_session(w)->held.len;
    flood(w, &p, 1, 3);
    assert_true(the_session(w)->held.len > kept + 3000);
    assert_true(w->env.stats.publishes_shed <= 10);
}

/* But for 16 times the bound at most. */
static void what_is_kept_while_shedding_is_bounded_too(void **unused)
{
    struct world *w = world_new(&small);
    struct pair p = held(w, MQTT_V311, &brisk);

    (void)unused;
    flood(w, &p, 1, 10);
    say_ping(p.dev, MQTT_PINGREQ);
    sees(p.dev, "PINGRESP");
    flood(w, &p, 1, 300);
    assert_false(session_hears(the_session(w)));
    assert_true(the_session(w)->held.len <= 16 * QUEUE + ENV_PLAIN_BYTES);
}

/* A topic alias that was set is needed by those that follow. */
static void setting_a_topic_alias_is_not_dropped(void **unused)
{
    struct world *w = world_new(&small);
    w->alias_most = 10;
    struct pair p = held(w, MQTT_V5, &brisk);
    struct mqtt_publish pub = {.topic = {(const uint8_t *)"a", 1}, .topic_alias = 3};

    (void)unused;
    flood(w, &p, 0, 50);
    say_ping(p.dev, MQTT_PINGREQ);
    sees(p.dev, "PINGRESP");
    uint64_t shed = w->env.stats.publishes_shed;
    size_t kept = the_session(w)->held.len;
    struct buf props = {0};
    assert_int_equal(mqtt_props_put_num(&props, MQTT_PROP_TOPIC_ALIAS, 3), 0);
    pub.props = (struct mqtt_props){props.p, (uint32_t)props.len};
    say_publish_full(p.dev, &pub);
    pub.topic.n = 0;
    say_publish_full(p.dev, &pub);
    say_ping(p.dev, MQTT_PINGREQ);
    sees(p.dev, "PINGRESP");
    assert_true(the_session(w)->held.len > kept);
    assert_int_equal(w->env.stats.publishes_shed, shed + 1);
    buf_fini(&props);
}

/* ---- how long attempts wait ---- */

/* The wait that is under way, in ms. */
static uint64_t wait_of(struct world *w)
{
    uint64_t now = env_now_ms(&w->env);

    world_until(w, the_session(w)->retry_ms != 0);
    return the_session(w)->retry_ms - now;
}

static void about(uint64_t ms, uint64_t expected_s)
{
    uint64_t expected = expected_s * 1000;

    /* 20 % of jitter, and the time that a turn takes. */
    if (ms < expected * 79 / 100 || ms > expected * 121 / 100 + 20)
        fail_msg("%llu ms, not %llu s", (unsigned long long)ms, (unsigned long long)expected_s);
}

/* Nobody listens: the first steps are fast. */
static void network_errors_are_retried_soon(void **unused)
{
    static const uint64_t steps[] = {1, 2, 5, 10, 30, 60, 120, 120};
    struct world *w = world_new(NULL);

    (void)unused;
    (void)held(w, MQTT_V311, &endless);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        about(wait_of(w), steps[i]);
        world_due(the_session(w));
        if (i + 1 < sizeof steps / sizeof steps[0])
            tells(w, "failed old: network");
    }
}

/* The only identity is refused in TLS: somebody has to mend that. */
static void refused_identities_are_retried_slowly(void **unused)
{
    static const uint64_t steps[] = {30, 60, 120, 300, 300};
    struct world *w = world_new(&(struct world_args){.upstream = "tls_max = \"1.2\";"});
    struct device *dev = world_device(w, "d1");
    struct pair p = world_open(w, MQTT_V311, &endless);

    (void)unused;
    cred_unref(dev->cred[FLIP_OLD]); /* the broker refuses what is new */
    dev->cred[FLIP_OLD] = cred_ref(dev->cred[FLIP_NEW]);
    w->broker_refuses_new = true;
    end_reset(p.brk);
    tells(w, "lost old: network");
    about(wait_of(w), 1);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        world_due(the_session(w));
        tells(w, "failed old: identity");
        about(wait_of(w), steps[i]);
    }
}

/* A connection that has stood for a while starts it afresh; one that is ended at once does not. */
static void a_connection_that_stood_starts_afresh(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &endless);
    static const uint64_t steps[] = {1, 2};

    (void)unused;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        end_reset(p.brk);
        tells(w, "lost old: network");
        about(wait_of(w), steps[i]);
        world_due(the_session(w));
        p.brk = world_broker_accepts(w, MQTT_V311, true);
        tells(w, "accepted old present rehomed");
    }
    the_session(w)->up_since_ms -= 31000;
    end_reset(p.brk);
    tells(w, "lost old: network");
    about(wait_of(w), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        play(what_waits_at_qos_0_is_bounded),
        play(what_waits_at_qos_1_is_bounded),
        play(what_waits_at_qos_2_is_bounded),
        play(pingreq_behind_a_backlog_is_answered),
        play(only_qos_0_is_dropped),
        play(what_is_kept_while_shedding_is_bounded_too),
        play(setting_a_topic_alias_is_not_dropped),
        play(network_errors_are_retried_soon),
        play(refused_identities_are_retried_slowly),
        play(a_connection_that_stood_starts_afresh),
    };

    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
