#include "base/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* A bound belongs to its own bucket, and what is above all of them is counted, too. */
static void each_goes_into_its_bucket(void **unused)
{
    struct histogram h = {0};
    uint64_t sum = 0;

    (void)unused;
    histogram_add(&h, 0);
    for (unsigned i = 0; i < HISTOGRAM_BOUNDS; i++) {
        assert_true(i == 0 || histogram_bounds_us[i] > histogram_bounds_us[i - 1]);
        histogram_add(&h, histogram_bounds_us[i]);
        histogram_add(&h, histogram_bounds_us[i] + 1);
        sum += 2 * histogram_bounds_us[i] + 1;
    }
    assert_int_equal(h.count[0], 2); /* 0 and the first bound */
    for (unsigned i = 1; i < HISTOGRAM_BOUNDS; i++)
        assert_int_equal(h.count[i], 2);
    assert_int_equal(h.count[HISTOGRAM_BOUNDS], 1);
    assert_int_equal(h.sum_us, sum);
    assert_int_equal(histogram_total(&h), 2 * HISTOGRAM_BOUNDS + 1);
}

static void two_become_one(void **unused)
{
    struct histogram a = {0}, b = {0};

    (void)unused;
    histogram_add(&a, 500);
    histogram_add(&b, 700);
    histogram_add(&b, UINT64_C(1) << 40);
    histogram_merge(&a, &b);
    assert_int_equal(a.count[0], 2);
    assert_int_equal(a.count[HISTOGRAM_BOUNDS], 1);
    assert_int_equal(a.sum_us, 1200 + (UINT64_C(1) << 40));
    assert_int_equal(histogram_total(&b), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_goes_into_its_bucket),
        cmocka_unit_test(two_become_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
