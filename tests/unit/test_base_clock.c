/* Clocks and dice.  getrandom is wrapped, so that it can be missing. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/timex.h>
#include <sys/types.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/rand.h"
#include "real_names.h"

ssize_t __real_getrandom(void *p, size_t n, unsigned flags);
ssize_t __wrap_getrandom(void *p, size_t n, unsigned flags);

static int interruptions;
static bool missing;

ssize_t __wrap_getrandom(void *p, size_t n, unsigned flags)
{
    if (interruptions > 0) {
        interruptions--;
        errno = EINTR;
        return -1;
    }
    if (missing) {
        errno = ENOSYS;
        return -1;
    }
    return __real_getrandom(p, n, flags);
}

static void clocks_go_forward_and_agree(void **unused)
{
    int64_t boot = clock_boot_ms();
    int64_t mono = clock_mono_us();
    time_t wall = time(NULL);

    (void)unused;
    assert_true(boot > 0);
    assert_true(mono > 0);
    assert_true(boot + 1 >= mono / 1000); /* boot time also counts suspend */
    assert_true(clock_boot_ms() >= boot);
    assert_true(clock_mono_us() >= mono);
    assert_true(clock_wall_s() >= wall && clock_wall_s() <= wall + 60);
}

static void moments_are_written_in_utc(void **unused)
{
    char out[32];

    (void)unused;
    assert_string_equal(clock_text(0, out, sizeof(out)), "1970-01-01 00:00:00 UTC");
    assert_string_equal(clock_iso(1935532799, out, sizeof(out)), "2031-05-02T23:59:59Z");
    assert_string_equal(clock_text(-1, out, sizeof(out)), "1969-12-31 23:59:59 UTC");
    assert_string_equal(clock_iso(253402300799, out, sizeof(out)), "9999-12-31T23:59:59Z");
}

static void impossible_moments_are_said_to_be(void **unused)
{
    char out[32];
    char tiny[8];

    (void)unused;
    assert_string_equal(clock_text(INT64_MAX, out, sizeof(out)), "out of range");
    assert_string_equal(clock_iso(INT64_MIN, out, sizeof(out)), "out of range");
    assert_string_equal(clock_iso(0, tiny, sizeof(tiny)), "out of ");
}

/* Certificates are never judged by a time that is known to have passed, and else by the clock. */
static void dates_never_fall_behind_what_is_known(void **unused)
{
    int64_t now = clock_wall_s();

    (void)unused;
    clock_known_set(now + 1000);
    assert_in_range(clock_date_s() - now, 1000, 1060);
    assert_true(clock_wall_s() < now + 1000);
    clock_known_set(0);
    assert_int_equal(clock_known_s(), 0);
    clock_known_set(now - 1000);
    assert_in_range(clock_date_s() - now, 0, 60);
    clock_known_set(0);
    assert_in_range(clock_date_s() - now, 0, 60);
}

static int64_t boot_jump_s, wall_jump_s;

int __real_clock_gettime(clockid_t id, struct timespec *ts) NAME_64("__real___clock_gettime64");
int __wrap_clock_gettime(clockid_t id, struct timespec *ts) NAME_64("__wrap___clock_gettime64");

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
    int rc = __real_clock_gettime(id, ts);

    ts->tv_sec += id == CLOCK_BOOTTIME ? boot_jump_s : id == CLOCK_REALTIME ? wall_jump_s : 0;
    return rc;
}

/* A month in 1970 is a month all the same: what has expired meanwhile, a list of revoked
 * certificates above all, does not look fresh for ever. */
static void what_is_known_goes_on_while_the_clock_is_behind(void **unused)
{
    int64_t now = clock_wall_s();

    (void)unused;
    wall_jump_s = -now;
    clock_known_set(now);
    assert_in_range(clock_date_s() - now, 0, 60);
    boot_jump_s = 30 * 86400;
    wall_jump_s += 30 * 86400;
    assert_true(clock_wall_s() < 31 * 86400);
    assert_in_range(clock_date_s() - now - 30 * 86400, 0, 60);
    clock_known_set(now); /* told again, it does not begin anew */
    assert_in_range(clock_date_s() - now - 30 * 86400, 0, 60);
    clock_known_set(now + 60 * 86400); /* and more is learnt */
    assert_in_range(clock_known_s() - now - 60 * 86400, 0, 60);
    wall_jump_s = 0;
    clock_known_set(0); /* synchronised: then the clock alone counts */
    assert_in_range(clock_date_s() - now, 0, 60);
    boot_jump_s = 0;
}

static void built_before_now(void **unused)
{
    (void)unused;
    assert_true(clock_built_s() > 1700000000);
    assert_true(clock_built_s() < clock_wall_s());
    assert_int_equal(clock_built_s() % 86400, 0);
}

static int adjtimex_returns, adjtimex_status;
static long adjtimex_error_us;

int __wrap_adjtimex(struct timex *tx) NAME_64("__wrap____adjtimex64");

int __wrap_adjtimex(struct timex *tx)
{
    assert_int_equal(tx->modes, 0); /* it only asks */
    tx->status = adjtimex_status;
    tx->maxerror = adjtimex_error_us;
    return adjtimex_returns;
}

static void the_kernel_tells_who_keeps_the_clock(void **unused)
{
    struct clock_sync sync;

    (void)unused;
    adjtimex_error_us = 1234;
    clock_sync(&sync);
    assert_true(sync.known && sync.synchronised && sync.max_error_us == 1234);
    adjtimex_returns = TIME_INS; /* a leap second is on its way */
    clock_sync(&sync);
    assert_true(sync.known && sync.synchronised);
    adjtimex_status = STA_UNSYNC;
    clock_sync(&sync);
    assert_true(sync.known && !sync.synchronised);
    adjtimex_returns = TIME_ERROR;
    adjtimex_status = STA_PLL;
    clock_sync(&sync);
    assert_true(sync.known && !sync.synchronised);
    adjtimex_returns = -1;
    clock_sync(&sync);
    assert_true(!sync.known && !sync.synchronised);
}

static void below_stays_below_and_reaches_everything(void **unused)
{
    unsigned seen[7] = {0};

    (void)unused;
    assert_int_equal(rand_below(0), 0);
    assert_int_equal(rand_below(1), 0);
    for (int i = 0; i < 7000; i++) {
        uint32_t v = rand_below(7);

        assert_true(v < 7);
        seen[v]++;
    }
    for (int i = 0; i < 7; i++)
        assert_in_range(seen[i], 700, 1300); /* ten standard deviations */
}

static void dice_survive_interruption_and_absence(void **unused)
{
    uint64_t a;
    uint64_t b;

    (void)unused;
    interruptions = 3;
    a = rand_u64();
    b = rand_u64();
    assert_int_equal(interruptions, 0);
    assert_true(a != b);
    missing = true;
    a = rand_u64();
    do
        b = rand_u64();
    while (b == a); /* moves on with the clock */
    assert_true(rand_below(10) < 10);
    missing = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clocks_go_forward_and_agree),
        cmocka_unit_test(moments_are_written_in_utc),
        cmocka_unit_test(impossible_moments_are_said_to_be),
        cmocka_unit_test(dates_never_fall_behind_what_is_known),
        cmocka_unit_test(what_is_known_goes_on_while_the_clock_is_behind),
        cmocka_unit_test(built_before_now),
        cmocka_unit_test(the_kernel_tells_who_keeps_the_clock),
        cmocka_unit_test(below_stays_below_and_reaches_everything),
        cmocka_unit_test(dice_survive_interruption_and_absence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
