/* A crowd of sessions in front of a broker that takes one handshake after the other. */
#include "session/gate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define CROWD 20000

/* Returns the longest time that one of them has waited at the broker; *all_ms gets how long it took
 * for all. */
static uint64_t rush(struct gate *g, unsigned crowd, double work_ms, uint64_t rtt_ms,
                     uint64_t *all_ms)
{
    static uint64_t began[CROWD];
    unsigned next = 0, done = 0;
    uint64_t longest = 0, now = 1000000;
    double free_at = (double)now;

    while (done < crowd) {
        now++;
        while (next < crowd && gate_is_open(g)) {
            gate_in(g);
            began[next++] = now;
        }
        while (done < next) {
            double from = free_at > (double)(began[done] + rtt_ms / 2)
                              ? free_at
                              : (double)(began[done] + rtt_ms / 2);
            double end = from + work_ms;

            if (end + (double)rtt_ms / 2 > (double)now)
                break;
            free_at = end;
            if (now - began[done] - rtt_ms > longest)
                longest = now - began[done] - rtt_ms;
            gate_out(g, true, now - began[done], now);
            done++;
        }
    }
    *all_ms = now - 1000000;
    return longest;
}

static void nobody_waits_long_at_the_broker(void **unused)
{
    struct gate g;
    uint64_t all_ms;

    (void)unused;
    gate_init(&g);
    assert_true(rush(&g, CROWD, 2, 1, &all_ms) < 900);
    assert_true(all_ms < CROWD * 2 * 11 / 10); /* and the broker is never idle */
}

static void a_broker_far_away_is_not_asked_one_by_one(void **unused)
{
    struct gate g;
    uint64_t all_ms;

    (void)unused;
    gate_init(&g);
    assert_true(rush(&g, CROWD, 2, 200, &all_ms) < 1000);
    assert_true(all_ms < CROWD * 2 * 13 / 10);
}

static void a_slow_broker_gets_few(void **unused)
{
    struct gate g;
    uint64_t all_ms;

    (void)unused;
    gate_init(&g);
    (void)rush(&g, 500, 50, 1, &all_ms); /* the first 32 do not know yet */
    assert_true(rush(&g, 500, 50, 1, &all_ms) < 1000);
    assert_true(g.window <= 16);
}

/* What never came to an answer says nothing about the broker's time. */
static void failures_do_not_count(void **unused)
{
    struct gate g;
    uint32_t before;

    (void)unused;
    gate_init(&g);
    before = g.window;
    for (unsigned i = 0; i < 100; i++) {
        gate_in(&g);
        gate_out(&g, false, 10000, 1000 + i);
    }
    assert_int_equal(g.window, before);
    assert_int_equal(g.under_way, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_waits_long_at_the_broker),
        cmocka_unit_test(a_broker_far_away_is_not_asked_one_by_one),
        cmocka_unit_test(a_slow_broker_gets_few),
        cmocka_unit_test(failures_do_not_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
