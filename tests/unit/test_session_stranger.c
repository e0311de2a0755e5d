/* The broker ends the leg in use: taken over by somebody with the same client id, or for one of its
 * own reasons.  What is about the leg the device does not see; a fight is not fought. */
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

/* When the next attempt is due, in seconds from now; the wait is spread by 20 %. */
static bool is_due_in(struct world *w, unsigned s)
{
    uint64_t in_ms = the_session(w)->retry_ms - env_now_ms(&w->env);

    return in_ms >= s * UINT64_C(800) - 100 && in_ms <= s * UINT64_C(1200) + 100;
}

static void to_new(struct world *w, struct pair *p)
{
    int version = p->brk->version;

    world_use(w, "d1", FLIP_NEW);
    sees(p->brk, "PINGREQ");
    say_ping(p->brk, MQTT_PINGRESP);
    p->brk = world_broker_accepts(w, version, true);
    tells(w, "accepted new present rehomed");
}

/* ---- 5.0 says it ---- */

static void taken_over_by_a_stranger_is_not_told_and_not_fought(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_clean);

    (void)unused;
    for (unsigned i = 0; i < 3; i++) {
        static const unsigned waits_s[] = {30, 60, 120};

        say_publish(p.brk, 0, 0, "c", "before");
        say_disconnect(p.brk, 0x8E, NULL);
        end_finish(p.brk);
        sees(p.dev, "PUBLISH q0 c before");
        tells(w, "lost old: policy");
        say_publish(p.dev, 0, 0, "a", "held");
        say_ping(p.dev, MQTT_PINGREQ);
        sees(p.dev, "PINGRESP"); /* and no DISCONNECT */
        assert_true(is_due_in(w, waits_s[i]));
        world_due(the_session(w));
        p.brk = world_broker_accepts(w, MQTT_V5, true);
        tells(w, "accepted old present rehomed");
        sees(p.brk, "PUBLISH q0 a held");
        quiet(&p);
    }
    assert_int_equal(w->env.stats.taken_over, 3);
}

/* The broker ends the old leg because we have said CONNECT on the candidate. */
static void taken_over_by_ourselves_is_no_news(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_clean);

    (void)unused;
    world_use(w, "d1", FLIP_NEW);
    sees(p.brk, "PINGREQ");
    say_ping(p.brk, MQTT_PINGRESP);
    struct end *next = broker_next(w);
    next->version = MQTT_V5;
    (void)end_packet(next, __FILE__, __LINE__);
    say_disconnect(p.brk, 0x8E, NULL);
    end_finish(p.brk);
    world_until(w, the_session(w)->up == NULL);
    say_connack(next, true, 0, NULL);
    tells(w, "accepted new present rehomed");
    p.brk = next;
    quiet(&p);
}

/* Another worker has let the device in, and main is about to end this session. */
static void taken_over_by_the_devices_newer_session_is_no_stranger(void **unused)
{
    struct world *w = world_new(NULL);
    struct device *dev = world_device(w, "d1");

    (void)unused;
    struct pair p = world_open(w, MQTT_V5, &world_clean);
    (void)presence_enter(dev->presence);
    say_disconnect(p.brk, 0x8E, NULL);
    end_finish(p.brk);
    tells(w, "lost old: network");
    session_taken_over(the_session(w), "taken over");
    sees(p.dev, "DISCONNECT 0x8e");
    tells(w, "down d1: taken over");
    presence_leave(dev->presence);
    assert_int_equal(presence_count(dev->presence), 0);
}

/* Another worker has the device's former session still, and what the device said last on it may not
 * be read yet: a CONNECT would take it over before. */
static void newer_session_waits_for_another_workers(void **unused)
{
    (void)unused;
    for (int ends = 0; ends < 2; ends++) {
        struct world *w = world_new(NULL);
        struct device *dev = world_device(w, "d1");

        (void)presence_enter(dev->presence);
        struct end *device = device_new(w, MQTT_V5);
        say_connect(device, &world_clean);
        struct end *brk = broker_next(w);
        brk->version = MQTT_V5;
        world_until(w, the_session(w)->behind_ms != 0);
        assert_false(end_has_packet(brk));
        if (ends)
            presence_leave(dev->presence);
        else /* not for ever */
            the_session(w)->behind_ms = 1;
        assert_int_equal(end_packet(brk, __FILE__, __LINE__).type, MQTT_CONNECT);
        say_connack(brk, false, 0, NULL);
        sees(device, "CONNACK");
        if (!ends)
            presence_leave(dev->presence);
        world_end(NULL);
    }
}

/* It is about to be ended for a newer one; the device had left in order, after a last message. */
static void what_the_device_said_last_is_passed_on(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    glue(p.dev);
    say_publish(p.dev, 0, 0, "a", "last words");
    say_disconnect(p.dev, 0, NULL);
    unglue(p.dev);
    session_hear_out(the_session(w));
    assert_true(list_empty(&world_device(w, "d1")->sessions)); /* at once */
    tells(w, "down d1: the device left");
    sees(p.brk, "PUBLISH q0 a last words");
    sees(p.brk, "DISCONNECT");
}

static void what_is_about_the_leg_is_not_told(void **unused)
{
    static const struct {
        uint8_t reason;
        const char *news;
        unsigned wait_s;
    } rows[] = {
        {0x89, "lost old: broker", 1},  {0x8B, "lost old: broker", 1},
        {0x8D, "lost old: network", 1}, {0x8E, "lost old: policy", 30},
        {0x97, "lost old: broker", 1},  {0x98, "lost old: policy", 30},
        {0x9C, "lost old: broker", 1},  {0x9D, "lost old: broker", 1},
        {0x9F, "lost old: broker", 1},  {0xA0, "lost old: broker", 1},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct world *w = world_new(NULL);
        struct pair p = world_open(w, MQTT_V5, &world_clean);

        say_disconnect(p.brk, rows[i].reason, NULL);
        tells(w, rows[i].news);
        assert_true(is_due_in(w, rows[i].wait_s));
        say_ping(p.dev, MQTT_PINGREQ);
        sees(p.dev, "PINGRESP");
        world_end(NULL);
    }
}

static void what_the_device_did_wrong_is_told(void **unused)
{
    static const uint8_t reasons[] = {0x81, 0x82, 0x87, 0x90, 0x93, 0x94, 0x95, 0x96, 0x9B, 0xA1};
    char text[32];

    (void)unused;
    for (int trial = 0; trial < 2; trial++)
        for (size_t i = 0; i < sizeof reasons; i++) {
            struct world *w = world_new(NULL);
            struct pair p = world_open(w, MQTT_V5, &world_clean);

            if (trial && reasons[i] != 0x87)
                to_new(w, &p);
            say_disconnect(p.brk, reasons[i], NULL);
            snprintf(text, sizeof text, "DISCONNECT 0x%02x", reasons[i]);
            sees(p.dev, text);
            sees_end(p.dev);
            tells(w, "down d1: the broker sent DISCONNECT");
            world_end(NULL);
        }
}

/* With uplink_lost = "drop" it is cut off in any case, and hears the broker's own reason. */
static void who_is_dropped_hears_why(void **unused)
{
    struct world *w = world_new(&(struct world_args){.upstream = "uplink_lost = \"drop\";"});
    struct pair p = world_open(w, MQTT_V5, &world_clean);

    (void)unused;
    say_disconnect(p.brk, 0x98, NULL);
    sees(p.dev, "DISCONNECT 0x98");
    sees_end(p.dev);
}

/* The new identity was accepted, and loses its right: that is for main to judge, not for the device
 * to hear. */
static void new_identity_that_may_not_is_reported(void **unused)
{
    static const struct {
        uint8_t reason;
        const char *news;
    } rows[] = {
        {0x87, "lost new: identity"}, {0x80, "lost new: suspect"}, {0x83, "lost new: suspect"}};

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct world *w = world_new(NULL);
        struct pair p = world_open(w, MQTT_V5, &world_clean);

        to_new(w, &p);
        say_disconnect(p.brk, rows[i].reason, NULL);
        tells(w, rows[i].news);
        say_publish(p.dev, 1, 7, "a", "held");
        world_use(w, "d1", FLIP_OLD); /* rolled back */
        p.brk = world_broker_accepts(w, MQTT_V5, true);
        assert_string_equal(p.brk->cn, "old");
        tells(w, "accepted old present rehomed");
        sees(p.brk, "PUBLISH q1 #7 a held");
        world_end(NULL);
    }
}

/* ---- before 5.0 there is no word for it ---- */

static void comes_back(struct world *w, struct pair *p)
{
    world_due(the_session(w));
    p->brk = world_broker_accepts(w, p->brk->version, true);
    tells(w, "accepted old present rehomed");
}

static void accepted_and_ended_again_and_again_is_a_fight(void **unused)
{
    (void)unused;
    for (int reset = 0; reset < 2; reset++) { /* with unread data a broker resets */
        struct world *w = world_new(NULL);
        struct pair p = world_open(w, MQTT_V311, &world_lasting);
        void (*const ends)(struct end *) = reset ? end_reset : end_finish;

        for (int i = 0; i < 2; i++) {
            ends(p.brk);
            tells(w, "lost old: network");
            assert_true(is_due_in(w, i == 0 ? 1 : 2));
            comes_back(w, &p);
        }
        ends(p.brk);
        tells(w, "lost old: policy");
        assert_true(is_due_in(w, 30));
        comes_back(w, &p);
        ends(p.brk);
        tells(w, "lost old: policy");
        assert_true(is_due_in(w, 60));
        comes_back(w, &p);
        quiet(&p);
        the_session(w)->up_since_ms -= 60000; /* it stands: the stranger is gone */
        ends(p.brk);
        tells(w, "lost old: network");
        assert_true(is_due_in(w, 1));
        world_end(NULL);
    }
}

/* A broker that falls silent, or that says why, is no stranger. */
static void other_ends_are_no_fight(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V5, &world_clean);

    (void)unused;
    for (int i = 0; i < 5; i++) {
        say_disconnect(p.brk, 0x8B, NULL);
        tells(w, "lost old: broker");
        world_due(the_session(w));
        p.brk = world_broker_accepts(w, MQTT_V5, true);
        tells(w, "accepted old present rehomed");
    }
    assert_int_equal(the_session(w)->brief, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        play(taken_over_by_a_stranger_is_not_told_and_not_fought),
        play(taken_over_by_ourselves_is_no_news),
        play(taken_over_by_the_devices_newer_session_is_no_stranger),
        play(newer_session_waits_for_another_workers),
        play(what_the_device_said_last_is_passed_on),
        play(what_is_about_the_leg_is_not_told),
        play(what_the_device_did_wrong_is_told),
        play(who_is_dropped_hears_why),
        play(new_identity_that_may_not_is_reported),
        play(accepted_and_ended_again_and_again_is_a_fight),
        play(other_ends_are_no_fight),
    };

    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
