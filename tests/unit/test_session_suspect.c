/* Ends without a word: the other identity is tried as far as the new one came, and only what it
 * gets through again and again, where the new one does not, is held against the identity. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
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

static struct end *next_is(struct world *w, const char *cn)
{
    struct end *e = broker_next(w);

    assert_string_equal(e->cn, cn);
    return e;
}

/* The candidate is at the barrier. */
static struct end *candidate(struct world *w, struct pair *p)
{
    sees(p->brk, "PINGREQ");
    return next_is(w, "new");
}

/* The next attempt is not at once, and then it is. */
static void again(struct world *w)
{
    world_until(w, the_session(w)->retry_ms != 0 && the_session(w)->cand == NULL);
    assert_false(broker_has_next(w));
    world_due(the_session(w));
}

/* It stays until main decides. */
static void stays(struct world *w, const struct pair *p)
{
    world_until(w, the_session(w)->cand == NULL);
    assert_int_equal(the_session(w)->retry_ms, 0);
    assert_int_equal(the_session(w)->have, FLIP_OLD);
    quiet(p);
    assert_false(broker_has_next(w));
    assert_false(world_has_news(w));
}

/* ---- closed before CONNECT ---- */

static void closed_in_tls(struct world *w, struct pair *p)
{
    struct end *next = candidate(w, p);

    end_finish(next);
    tells(w, "failed new: suspect");
    say_ping(p->brk, MQTT_PINGRESP);
    quiet(p);
}

static void closed_before_connect_is_settled_without_connect(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    world_use(w, "d1", FLIP_NEW);
    for (int i = 0; i < 3; i++) {
        closed_in_tls(w, &p);
        struct end *other = next_is(w, "old");
        if (i < 2) {
            sees_end(other); /* TLS was enough, and CONNECT would have ended the leg in use */
            again(w);
        } else {
            tells(w, "failed new: identity");
            sees_end(other);
        }
    }
    stays(w, &p);
    assert_int_equal(w->env.stats.rehomes, 0);
}

/* A firewall that loses each new connection, whatever it carries. */
static void where_both_are_closed_it_is_not_the_identity(void **unused)
{
    struct world *w = world_new(&(struct world_args){.accept_wait_ms = 2000});
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    world_use(w, "d1", FLIP_NEW);
    for (int i = 0; i < 5; i++) {
        end_finish(next_is(w, "new"));
        tells(w, "failed new: suspect");
        end_finish(next_is(w, "old"));
        tells(w, "failed old: suspect");
        tells(w, "failed new: broker");
        quiet(&p);
        again(w);
    }
    assert_int_equal(the_session(w)->have, FLIP_OLD);
}

/* Two of three, and then it is accepted: it was the link. */
static void one_that_is_accepted_at_last_is_forgiven(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    world_use(w, "d1", FLIP_NEW);
    for (int i = 0; i < 2; i++) {
        closed_in_tls(w, &p);
        sees_end(next_is(w, "old"));
        again(w);
    }
    struct end *next = candidate(w, &p);
    say_ping(p.brk, MQTT_PINGRESP);
    sees(next, "CONNECT 3.1.1 d1 ka=60");
    world_connack(w, next, true);
    tells(w, "accepted new present rehomed");
    assert_int_equal(world_device(w, "d1")->differ.rounds, 0);
    p.brk = next;
    quiet(&p);
}

/* ---- after CONNECT ---- */

static struct end *to_connect(struct world *w, struct pair *p, const char *cn)
{
    sees(p->brk, "PINGREQ");
    say_ping(p->brk, MQTT_PINGRESP);
    struct end *next = next_is(w, cn);
    next->version = p->brk->version;
    sees(next, "CONNECT 3.1.1 d1 ka=60");
    return next;
}

/* Only CONNECT distinguishes: the old identity says it, too, and takes its own leg over. */
static void closed_instead_of_connack_is_settled_by_connack(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    world_use(w, "d1", FLIP_NEW);
    for (int i = 0; i < 3; i++) {
        end_finish(to_connect(w, &p, "new"));
        tells(w, "failed new: suspect");
        struct end *other = to_connect(w, &p, "old");
        say_publish(p.dev, 0, 0, "a", "held");
        world_until(w, the_session(w)->held.len > 0);
        world_connack(w, other, true);
        if (i == 2)
            tells(w, "failed new: identity");
        tells(w, "accepted old present rehomed");
        p.brk = other;
        sees(p.brk, "PUBLISH q0 a held");
        quiet(&p);
        if (i < 2)
            again(w);
    }
    stays(w, &p);
}

/* No answer to CONNECT: the same, and it is the broker's fault where the old one gets none. */
static void no_answer_to_connect_is_settled_too(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    world_use(w, "d1", FLIP_NEW);
    (void)to_connect(w, &p, "new");
    world_due(the_session(w));
    tells(w, "failed new: broker");
    (void)to_connect(w, &p, "old");
    world_due(the_session(w));
    tells(w, "failed old: broker");
    tells(w, "failed new: broker");
    assert_int_equal(world_device(w, "d1")->differ.rounds, 0);
    for (int i = 0; i < 3; i++) {
        again(w);
        (void)to_connect(w, &p, "new");
        world_due(the_session(w));
        tells(w, "failed new: broker");
        struct end *other = to_connect(w, &p, "old");
        world_connack(w, other, true);
        if (i == 2)
            tells(w, "failed new: identity");
        tells(w, "accepted old present rehomed");
        p.brk = other;
    }
    stays(w, &p);
}

/* The broker says it in a word that may mean the client id: one round is enough. */
static void a_refused_client_id_takes_one_round(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    world_use(w, "d1", FLIP_NEW);
    struct end *next = to_connect(w, &p, "new");
    say_connack(next, false, 2, NULL);
    tells(w, "failed new: suspect");
    struct end *other = to_connect(w, &p, "old");
    world_connack(w, other, true);
    tells(w, "failed new: identity");
    tells(w, "accepted old present rehomed");
    p.brk = other;
    stays(w, &p);
}

/* With a Will the old leg has been left: the old identity brings the device back, each time. */
static void with_a_will_the_old_identity_is_connected_at_once(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &with_will);

    (void)unused;
    world_use(w, "d1", FLIP_NEW);
    for (int i = 0; i < 3; i++) {
        struct end *next = next_is(w, "new"), *back = next_is(w, "old");
        sees(p.brk, "DISCONNECT");
        end_finish(p.brk);
        sees(next, "CONNECT 3.1.1 d1 ka=60 will=w");
        end_finish(next);
        tells(w, "failed new: suspect");
        sees(back, "CONNECT 3.1.1 d1 ka=60 will=w");
        say_connack(back, true, 0, NULL);
        if (i == 2)
            tells(w, "failed new: identity");
        tells(w, "accepted old present rehomed");
        p.brk = back;
        quiet(&p);
        if (i < 2)
            again(w);
    }
    stays(w, &p);
}

/* The broker restarts in the middle of the switch: one end without a word, and the old identity is
 * accepted right after.  That is no verdict. */
static void a_broker_that_restarts_in_the_switch_rolls_nothing_back(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    world_use(w, "d1", FLIP_NEW);
    struct end *next = to_connect(w, &p, "new");
    end_reset(p.brk);
    world_until(w, the_session(w)->up == NULL);
    end_finish(next);
    tells(w, "failed new: suspect");
    struct end *back = next_is(w, "old");
    sees(back, "CONNECT 3.1.1 d1 ka=60");
    world_connack(w, back, true);
    tells(w, "accepted old present rehomed");
    p.brk = back;
    again(w);
    next = to_connect(w, &p, "new");
    world_connack(w, next, true);
    tells(w, "accepted new present rehomed");
}

/* ---- after CONNACK ---- */

static struct end *accepted(struct world *w, struct pair *p, const char *cn)
{
    struct end *next = to_connect(w, p, cn);

    world_connack(w, next, true);
    return next;
}

static struct end *returns(struct world *w, const char *cn)
{
    struct end *e = next_is(w, cn);

    sees(e, "CONNECT 3.1.1 d1 ka=60");
    world_connack(w, e, true);
    return e;
}

/* Accepted, and ended at once, with the new identity alone. */
static void accepted_and_not_kept(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    world_use(w, "d1", FLIP_NEW);
    p.brk = accepted(w, &p, "new");
    tells(w, "accepted new present rehomed");
    end_finish(p.brk);
    tells(w, "lost new: network"); /* once is nothing */
    again(w);
    for (int i = 0; i < 2; i++) {
        p.brk = i == 0 ? returns(w, "new") : accepted(w, &p, "new");
        tells(w, "accepted new present rehomed");
        end_finish(p.brk);
        tells(w, "lost new: network");
        p.brk = returns(w, "old");
        tells(w, "accepted old present rehomed");
        quiet(&p);
        assert_false(broker_has_next(w));
        world_due(the_session(w)); /* it stood long enough */
        if (i == 0)
            again(w);
    }
    tells(w, "failed new: identity");
    stays(w, &p);
}

/* The old one is not kept either: after the second time somebody else may have the client id. */
static void neither_is_kept(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    world_use(w, "d1", FLIP_NEW);
    p.brk = accepted(w, &p, "new");
    tells(w, "accepted new present rehomed");
    for (int i = 0; i < 6; i++) {
        end_finish(p.brk);
        tells(w, i < 4 ? "lost new: network" : "lost new: policy");
        if (i % 2 == 0) {
            again(w);
            p.brk = returns(w, "new");
            tells(w, "accepted new present rehomed");
        } else {
            p.brk = returns(w, "old");
            tells(w, "accepted old present rehomed");
            end_finish(p.brk);
            tells(w, i < 3 ? "lost old: network" : "lost old: policy");
            tells(w, "failed new: broker");
            again(w);
            p.brk = returns(w, "new");
            tells(w, "accepted new present rehomed");
        }
    }
    assert_int_equal(the_session(w)->have, FLIP_NEW);
    quiet(&p);
}

/* Accepted, and silent from then on: on trial that is no acceptance, however long it lasts. */
static void accepted_is_who_answers(void **unused)
{
    struct world *w = world_new(&(struct world_args){.upstream = "barrier_timeout_ms = 200;"});
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    world_device(w, "d1")->evidence = FLIP_PROOF_CONNACK;
    world_use(w, "d1", FLIP_NEW);
    p.brk = accepted(w, &p, "new");
    sees(p.brk, "PINGREQ");
    say_publish(p.dev, 0, 0, "a", "flows");
    sees(p.brk, "PUBLISH q0 a flows");
    assert_false(world_has_news(w));
    say_ping(p.brk, MQTT_PINGRESP);
    tells(w, "accepted new present rehomed");
    quiet(&p);
    end_reset(p.brk);
    tells(w, "lost new: network");
    again(w);
    p.brk = returns(w, "new");
    sees(p.brk, "PINGREQ");
    tells(w, "lost new: network"); /* nothing came, and nothing was told before */
    p.brk = returns(w, "old");
    tells(w, "accepted old present rehomed"); /* it is not on trial */
    quiet(&p);
}

/* ---- who else ---- */

/* An identity that is alone is compared with nothing, and retried as the network's ends are. */
static void without_another_identity_there_is_nothing_to_compare(void **unused)
{
    struct world *w = world_new(&(struct world_args){.flip = "backoff_network_s = [1]; "
                                                             "backoff_tls_s = [600];"});
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    end_finish(p.brk);
    tells(w, "lost old: network");
    for (int i = 0; i < 4; i++) {
        again(w);
        struct end *e = next_is(w, "old");
        sees(e, "CONNECT 3.1.1 d1 ka=60");
        end_finish(e);
        tells(w, "failed old: suspect");
        assert_true(the_session(w)->retry_ms <= env_now_ms(&w->env) + 1300);
    }
}

/* Main decides otherwise while the other identity is being tried. */
static void a_decision_ends_the_comparison(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    world_use(w, "d1", FLIP_NEW);
    end_finish(to_connect(w, &p, "new"));
    tells(w, "failed new: suspect");
    sees(p.brk, "PINGREQ"); /* the old identity's turn */
    world_use(w, "d1", FLIP_OLD);
    say_ping(p.brk, MQTT_PINGRESP);
    world_until(w, the_session(w)->phase == RH_IDLE);
    assert_false(the_session(w)->probing);
    assert_int_equal(the_session(w)->have, FLIP_OLD);
}

/* The device leaves in the middle of it. */
static void the_device_leaves_in_the_middle(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = world_open(w, MQTT_V311, &world_lasting);

    (void)unused;
    world_use(w, "d1", FLIP_NEW);
    end_finish(to_connect(w, &p, "new"));
    tells(w, "failed new: suspect");
    sees(p.brk, "PINGREQ");
    end_finish(p.dev);
    tells(w, "down d1: the device closed its connection without DISCONNECT");
}

/* ---- what says nothing of the identity ---- */

/* A sensor that comes while the trial's profile is at fault is not turned away: the old identity
 * serves it, and the new one is tried again. */
static void first_connection_falls_back_to_the_old_identity(void **unused)
{
    struct world *w = world_new(NULL);
    struct pair p = {.dev = NULL};

    (void)unused;
    world_try(w, "d1", FLIP_PROOF_CONNACK);
    p.dev = device_new(w, MQTT_V311);
    say_connect(p.dev, &world_lasting);
    struct end *refuses = broker_next(w);
    assert_string_equal(refuses->cn, "new");
    refuses->version = MQTT_V311;
    sees(refuses, "CONNECT 3.1.1 d1 ka=60");
    say_connack(refuses, false, 1, NULL); /* unacceptable protocol version */
    tells(w, "up d1");
    tells(w, "failed new: protocol");
    p.brk = world_broker_accepts(w, MQTT_V311, false);
    assert_string_equal(p.brk->cn, "old");
    sees(p.dev, "CONNACK");
    tells(w, "accepted old");
    quiet(&p);
    assert_true(the_session(w)->retry_ms != 0 && !the_session(w)->fallback);
    /* And when that time is over, the new one again. */
    world_due(the_session(w));
    sees(p.brk, "PINGREQ");
    say_ping(p.brk, MQTT_PINGRESP);
    struct end *next = broker_next(w);
    assert_string_equal(next->cn, "new");
}

/* Where the old one does not get in either, the sensor is told, once. */
static void first_connection_that_no_identity_gets_in_is_refused(void **unused)
{
    struct world *w = world_new(NULL);

    (void)unused;
    world_try(w, "d1", FLIP_PROOF_CONNACK);
    struct end *dev = device_new(w, MQTT_V311);
    say_connect(dev, &world_lasting);
    for (int i = 0; i < 2; i++) {
        struct end *brk = broker_next(w);
        brk->version = MQTT_V311;
        sees(brk, "CONNECT 3.1.1 d1 ka=60");
        say_connack(brk, false, 1, NULL);
    }
    sees(dev, "CONNACK 0x01");
    sees_end(dev);
    assert_false(broker_has_next(w));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        play(first_connection_falls_back_to_the_old_identity),
        play(first_connection_that_no_identity_gets_in_is_refused),
        play(closed_before_connect_is_settled_without_connect),
        play(where_both_are_closed_it_is_not_the_identity),
        play(one_that_is_accepted_at_last_is_forgiven),
        play(closed_instead_of_connack_is_settled_by_connack),
        play(no_answer_to_connect_is_settled_too),
        play(a_refused_client_id_takes_one_round),
        play(with_a_will_the_old_identity_is_connected_at_once),
        play(a_broker_that_restarts_in_the_switch_rolls_nothing_back),
        play(accepted_and_not_kept),
        play(neither_is_kept),
        play(accepted_is_who_answers),
        play(without_another_identity_there_is_nothing_to_compare),
        play(a_decision_ends_the_comparison),
        play(the_device_leaves_in_the_middle),
    };

    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
