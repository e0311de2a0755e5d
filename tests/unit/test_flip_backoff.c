/* Waiting: the steps, their spread, and what starts them afresh. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "flip/backoff.h"

enum { MIDDLE = INT32_MAX }; /* of the dice: no spread, but for rounding */

static void near_to(int64_t ms, int64_t expected)
{
    assert_true(ms >= expected - 1 && ms <= expected + 1);
}

static void steps_are_those_of_the_tables(void **unused)
{
    static const int64_t slow[] = {30000, 60000, 120000, 300000, 300000};
    static const int64_t fast[] = {1000, 2000, 5000, 10000, 30000, 60000, 60000};

    (void)unused;
    for (uint32_t i = 0; i < 5; i++) {
        near_to(backoff_ms(&backoff_default, DIAG_IDENTITY, i, MIDDLE), slow[i]);
        near_to(backoff_ms(&backoff_default, DIAG_TRUST, i, MIDDLE), slow[i]);
        near_to(backoff_ms(&backoff_default, DIAG_PROTOCOL, i, MIDDLE), slow[i]);
        near_to(backoff_ms(&backoff_default, DIAG_POLICY, i, MIDDLE), slow[i]);
        near_to(backoff_ms(&backoff_default, DIAG_SUSPECT, i, MIDDLE), slow[i]);
    }
    for (uint32_t i = 0; i < 7; i++) {
        near_to(backoff_ms(&backoff_default, DIAG_NETWORK, i, MIDDLE), fast[i]);
        near_to(backoff_ms(&backoff_default, DIAG_BROKER, i, MIDDLE), fast[i]);
    }
    near_to(backoff_ms(&backoff_default, DIAG_NETWORK, UINT32_MAX, MIDDLE), 60000);
    assert_int_equal(backoff_ms(&backoff_default, DIAG_OK, 3, MIDDLE), 0);
}

static void spread_is_a_fifth_either_way(void **unused)
{
    int64_t former = 0;

    (void)unused;
    assert_int_equal(backoff_ms(&backoff_default, DIAG_TRUST, 0, 0), 24000);
    assert_int_equal(backoff_ms(&backoff_default, DIAG_TRUST, 0, UINT32_MAX), 36000);
    for (uint32_t dice = 0; dice < UINT32_MAX - 0x1000000; dice += 0x1000000) {
        int64_t ms = backoff_ms(&backoff_default, DIAG_TRUST, 0, dice);

        assert_true(ms >= 24000 && ms <= 36000 && ms >= former);
        former = ms;
    }
}

static void own_tables(void **unused)
{
    const struct backoff_conf conf = {.identity = {1, {7000}}, .network = {0, {0}}};
    const struct backoff_conf huge = {.identity = {1, {INT64_MAX / 4}}};

    (void)unused;
    near_to(backoff_ms(&conf, DIAG_IDENTITY, 9, MIDDLE), 7000);
    assert_int_equal(backoff_ms(&conf, DIAG_NETWORK, 0, MIDDLE), 0); /* at once */
    assert_true(backoff_ms(&huge, DIAG_IDENTITY, 0, UINT32_MAX) > INT64_MAX / 4);
}

static void failures_in_a_row_are_counted(void **unused)
{
    struct backoff b = {0};

    (void)unused;
    near_to(backoff_next_ms(&b, &backoff_default, DIAG_NETWORK, MIDDLE), 1000);
    near_to(backoff_next_ms(&b, &backoff_default, DIAG_BROKER, MIDDLE), 2000); /* the same kind */
    near_to(backoff_next_ms(&b, &backoff_default, DIAG_IDENTITY, MIDDLE), 30000);
    near_to(backoff_next_ms(&b, &backoff_default, DIAG_TRUST, MIDDLE), 60000);
    near_to(backoff_next_ms(&b, &backoff_default, DIAG_NETWORK, MIDDLE), 1000);
    near_to(backoff_next_ms(&b, &backoff_default, DIAG_NETWORK, MIDDLE), 2000);
    assert_int_equal(backoff_next_ms(&b, &backoff_default, DIAG_OK, MIDDLE), 0);
    near_to(backoff_next_ms(&b, &backoff_default, DIAG_NETWORK, MIDDLE), 1000);
    b.attempt = UINT32_MAX;
    near_to(backoff_next_ms(&b, &backoff_default, DIAG_NETWORK, MIDDLE), 60000);
    assert_int_equal(b.attempt, UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_those_of_the_tables),
        cmocka_unit_test(spread_is_a_fifth_either_way),
        cmocka_unit_test(own_tables),
        cmocka_unit_test(failures_in_a_row_are_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
