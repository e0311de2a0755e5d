/* A gateway with a queue of devices in front of a broker that is made of plain data: it takes so
 * many handshakes at a time, each for so long, a round trip away; it may refuse beyond a rate,
 * hang, or be gone.  Time is simulated, so that hours of it cost nothing.
 */
#include "flip/pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MOVES_MAX 4096

struct move {
    int64_t end_ms;
    uint32_t round;
    enum pace_end how;
};

struct sim {
    struct pace pace;
    struct pace_terms terms;
    int64_t now_ms;
    /* the broker */
    int64_t rtt_ms;     /* of all that is not handshake */
    int64_t work_us;    /* of one handshake */
    unsigned cores;     /* handshakes at the same time */
    unsigned limit;     /* more in a second are refused; 0: none */
    int64_t timeout_ms; /* of a broker that hangs; 0: it does not */
    bool gone;          /* connections are refused */
    unsigned sick;      /* each so manieth device fails by itself; 0: none does */
    int64_t core_us[8]; /* when each is free */
    int64_t second_ms;  /* and what was taken since then */
    unsigned taken;
    /* the devices */
    unsigned long waiting, done, failed, begun;
    struct move moves[MOVES_MAX];
    size_t count;
    unsigned seed;
    uint32_t widest;
};

static uint32_t chance(struct sim *s)
{
    return (uint32_t)rand_r(&s->seed) << 16 ^ (uint32_t)rand_r(&s->seed);
}

static struct sim sim_of(unsigned cores, int64_t work_us, int64_t rtt_ms)
{
    struct sim s = {.terms = {.most = 1000},
                    .now_ms = 1000000,
                    .rtt_ms = rtt_ms,
                    .work_us = work_us,
                    .cores = cores,
                    .seed = 7};

    pace_init(&s.pace);
    return s;
}

/* The first core that is free takes it. */
static int64_t work_until_us(struct sim *s)
{
    unsigned first = 0;
    int64_t from;

    for (unsigned i = 1; i < s->cores; i++)
        if (s->core_us[i] < s->core_us[first])
            first = i;
    from = s->core_us[first] > s->now_ms * 1000 ? s->core_us[first] : s->now_ms * 1000;
    s->core_us[first] = from + s->work_us / 2 + chance(s) % (uint32_t)s->work_us;
    return s->core_us[first];
}

static bool over_limit(struct sim *s)
{
    if (s->now_ms - s->second_ms >= 1000) {
        s->second_ms = s->now_ms;
        s->taken = 0;
    }
    return s->limit != 0 && ++s->taken > s->limit;
}

static void begin(struct sim *s)
{
    struct move *m = &s->moves[s->count++];

    assert_true(s->count <= MOVES_MAX);
    s->waiting--;
    s->begun++;
    m->round = pace_begin(&s->pace, s->now_ms, chance(s));
    if (s->pace.under_way > s->widest)
        s->widest = s->pace.under_way;
    m->how = PACE_STRAINED;
    if (s->timeout_ms != 0) {
        m->end_ms = s->now_ms + s->timeout_ms;
    } else if (s->gone || over_limit(s) || (s->sick != 0 && s->begun % s->sick == 0)) {
        m->end_ms = s->now_ms + s->rtt_ms + 1;
    } else {
        m->how = PACE_ANSWERED;
        m->end_ms = work_until_us(s) / 1000 + s->rtt_ms + 1;
    }
}

static void end(struct sim *s, size_t i)
{
    struct move m = s->moves[i];

    s->moves[i] = s->moves[--s->count];
    (void)pace_end(&s->pace, &s->terms, m.round, m.how, s->now_ms, chance(s));
    if (m.how == PACE_ANSWERED)
        s->done++;
    else
        s->failed++;
}

static void sim_pass(struct sim *s, int64_t ms)
{
    int64_t at_ms;

    for (int64_t end_ms = s->now_ms + ms; s->now_ms < end_ms; s->now_ms++) {
        for (size_t i = s->count; i-- > 0;)
            if (s->moves[i].end_ms <= s->now_ms)
                end(s, i);
        while (s->waiting > 0 && pace_may_begin(&s->pace, &s->terms, false, s->now_ms, &at_ms))
            begin(s);
        if (s->waiting == 0)
            pace_idle(&s->pace);
    }
}

static void sim_queue(struct sim *s, unsigned long devices)
{
    s->waiting += devices;
    pace_queue(&s->pace, &s->terms, s->waiting > 1, s->now_ms, chance(s));
}

/* -- the limit is what the broker takes -- */

/* Two cores, 1 ms for each handshake: 2,000 in a second. */
static void a_fast_broker_near_by_is_used_fully(void **unused)
{
    struct sim s = sim_of(2, 1000, 0);

    (void)unused;
    sim_queue(&s, 100000);
    sim_pass(&s, 3000);
    s.done = 0;
    sim_pass(&s, 5000);
    assert_true(s.done > 5 * 2000 * 85 / 100);
    assert_true(pace_window(&s.pace, &s.terms) < 100);
    assert_int_equal(s.failed, 0);
}

/* The same at a distance of six round trips of 200 ms: hundreds have to be under way. */
static void a_fast_broker_far_away_is_used_fully(void **unused)
{
    struct sim s = sim_of(2, 2000, 1200);

    (void)unused;
    s.terms.most = 4000;
    sim_queue(&s, 100000);
    sim_pass(&s, 20000);
    s.done = 0;
    sim_pass(&s, 10000);
    assert_true(s.done > 10 * 1000 * 80 / 100);
    assert_true(s.widest <= 3000); /* 1,200 are enough; those that begin together end together */
}

/* 200 in a second, 300 ms away: 60 are enough, and each that is more would wait at the broker. */
static void a_window_is_not_larger_than_it_helps(void **unused)
{
    struct sim s = sim_of(1, 5000, 300);

    (void)unused;
    sim_queue(&s, 100000);
    sim_pass(&s, 20000);
    assert_true(s.widest <= 260);
    s.done = 0;
    sim_pass(&s, 10000);
    assert_true(s.done > 10 * 200 * 80 / 100);
    assert_true(pace_window(&s.pace, &s.terms) <= 130);
}

/* 20 in a second, and no refusals: the window tells. */
static void a_slow_broker_is_not_hammered(void **unused)
{
    struct sim s = sim_of(1, 50000, 5);

    (void)unused;
    sim_queue(&s, 1000);
    sim_pass(&s, 30000);
    assert_true(s.widest <= 20);
    s.done = 0;
    sim_pass(&s, 10000);
    assert_true(s.done >= 180); /* and it does not wait for us, either */
    assert_true(pace_window(&s.pace, &s.terms) <= 8);
}

/* It says no at once beyond 20 in a second ("connection rate exceeded"). */
static void a_broker_that_refuses_by_rate_is_asked_less_often(void **unused)
{
    struct sim s = sim_of(2, 1000, 1);

    (void)unused;
    s.limit = 20;
    sim_queue(&s, 100000);
    sim_pass(&s, 20000);
    s.done = s.failed = 0;
    sim_pass(&s, 60000);
    assert_true(s.done > 60 * 10);
    assert_true(s.failed < s.done / 2);

    s.limit = 0; /* and once it does not any more, all it has is used again */
    sim_pass(&s, 10000);
    s.done = 0;
    sim_pass(&s, 5000);
    assert_true(s.done > 5 * 2000 / 2);
}

static void the_configuration_bounds_it(void **unused)
{
    struct sim s = sim_of(2, 1000, 1000);

    (void)unused;
    s.terms.most = 10;
    sim_queue(&s, 10000);
    sim_pass(&s, 30000);
    assert_int_equal(s.widest, 10);
    s.terms.most = 1; /* a reload */
    sim_pass(&s, 3000);
    assert_int_equal(s.pace.under_way, 1);
}

/* Some devices that cannot reach theirs do not hold up the others. */
static void a_few_sick_devices_slow_nobody_down(void **unused)
{
    struct sim s = sim_of(2, 1000, 0);

    (void)unused;
    s.sick = 20;
    sim_queue(&s, 100000);
    sim_pass(&s, 3000);
    s.done = 0;
    sim_pass(&s, 5000);
    assert_true(s.done > 5 * 2000 * 75 / 100);
}

/* A broker that slows down (others use it, too) is followed. */
static void a_broker_that_slows_down_is_followed(void **unused)
{
    struct sim s = sim_of(2, 1000, 50);

    (void)unused;
    sim_queue(&s, 1000000);
    sim_pass(&s, 20000);
    assert_true(pace_window(&s.pace, &s.terms) >= 64);
    s.work_us = 100000;
    sim_pass(&s, 300000);
    assert_true(pace_window(&s.pace, &s.terms) <= 32);
}

/* -- an outage -- */

static void an_outage_does_not_use_up_the_queue(void **unused)
{
    struct sim s = sim_of(2, 1000, 0);

    (void)unused;
    sim_queue(&s, 10000);
    sim_pass(&s, 1000);
    assert_true(s.done > 1000);
    s.gone = true;
    sim_pass(&s, 60000);
    assert_int_equal(s.pace.mood, PACE_PAUSED);
    assert_true(s.failed < 60); /* those under way, then a probe now and then */
    assert_true(s.failed >= 8);
    s.gone = false;
    sim_pass(&s, 60000);
    assert_int_equal(s.waiting, 0);
    assert_int_not_equal(s.pace.mood, PACE_PAUSED);
}

/* A dead link: nothing comes back but our own deadlines. */
static void a_link_that_is_dead_stops_the_queue_by_itself(void **unused)
{
    struct sim s = sim_of(2, 1000, 0);

    (void)unused;
    sim_queue(&s, 10000);
    sim_pass(&s, 1000);
    s.timeout_ms = 10000;
    sim_pass(&s, 60000);
    assert_int_equal(s.pace.mood, PACE_PAUSED);
    assert_true(s.failed < 200);
    s.timeout_ms = 0;
    sim_pass(&s, 60000);
    assert_int_equal(s.waiting, 0);
}

/* Whoever hears of it first: another connection was accepted. */
static void a_sign_of_life_ends_the_wait(void **unused)
{
    struct sim s = sim_of(2, 1000, 0);

    (void)unused;
    s.gone = true;
    sim_queue(&s, 100);
    sim_pass(&s, 120000);
    assert_true(s.pace.next_ms > s.now_ms + 5000);
    s.gone = false;
    pace_sign_of_life(&s.pace, s.now_ms, chance(&s));
    sim_pass(&s, 1000);
    assert_int_equal(s.waiting, 0);
}

static void a_way_back_does_not_wait_for_the_end_of_an_outage(void **unused)
{
    struct sim s = sim_of(2, 1000, 0);
    int64_t at_ms;

    (void)unused;
    s.gone = true;
    sim_queue(&s, 100);
    sim_pass(&s, 120000);
    assert_int_equal(s.pace.under_way, 0);
    assert_false(pace_may_begin(&s.pace, &s.terms, false, s.now_ms, &at_ms));
    assert_int_equal(at_ms, s.pace.next_ms);
    assert_true(pace_may_begin(&s.pace, &s.terms, true, s.now_ms, &at_ms));
}

/* -- jitter -- */

static void a_crowd_begins_at_a_time_of_its_own(void **unused)
{
    int64_t sum_ms = 0, least_ms = 1000, most_ms = 0;

    (void)unused;
    for (unsigned i = 0; i < 200; i++) {
        struct sim s = sim_of(2, 1000, 0);
        int64_t wait_ms;

        s.terms.jitter_ms = 1000;
        s.seed = i;
        sim_queue(&s, 100);
        wait_ms = s.pace.next_ms - s.now_ms;
        sum_ms += wait_ms;
        least_ms = wait_ms < least_ms ? wait_ms : least_ms;
        most_ms = wait_ms > most_ms ? wait_ms : most_ms;
    }
    assert_in_range(sum_ms / 200, 400, 600);
    assert_true(least_ms < 50 && most_ms > 950 && most_ms <= 1000);
}

static void a_single_device_begins_at_once(void **unused)
{
    struct sim s = sim_of(2, 1000, 0);
    int64_t at_ms;

    (void)unused;
    s.terms.jitter_ms = 1000;
    sim_queue(&s, 1);
    assert_true(pace_may_begin(&s.pace, &s.terms, false, s.now_ms, &at_ms));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fast_broker_near_by_is_used_fully),
        cmocka_unit_test(a_fast_broker_far_away_is_used_fully),
        cmocka_unit_test(a_window_is_not_larger_than_it_helps),
        cmocka_unit_test(a_slow_broker_is_not_hammered),
        cmocka_unit_test(a_broker_that_refuses_by_rate_is_asked_less_often),
        cmocka_unit_test(the_configuration_bounds_it),
        cmocka_unit_test(a_few_sick_devices_slow_nobody_down),
        cmocka_unit_test(a_broker_that_slows_down_is_followed),
        cmocka_unit_test(an_outage_does_not_use_up_the_queue),
        cmocka_unit_test(a_link_that_is_dead_stops_the_queue_by_itself),
        cmocka_unit_test(a_sign_of_life_ends_the_wait),
        cmocka_unit_test(a_way_back_does_not_wait_for_the_end_of_an_outage),
        cmocka_unit_test(a_crowd_begins_at_a_time_of_its_own),
        cmocka_unit_test(a_single_device_begins_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
