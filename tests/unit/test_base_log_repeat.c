/* What repeats is counted; what differs is written. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/log_repeat.h"
#include "base/str.h"

#define SECOND INT64_C(1000000)

static int64_t now_us;
static struct log_summary summary;

static bool take(enum log_level level, const char *event, const char *pairs)
{
    struct log_record r = {
        .sub = LOG_SESSION, .level = level, .event = event, .pairs = pairs, .n = strlen(pairs)};

    return log_repeat_take(&r, now_us, &summary);
}

static const char *said(void)
{
    static char text[1200];

    snprintf(text, sizeof(text), "%s %s %.*s", log_level_name(summary.record.level),
             summary.record.event, (int)summary.record.n, summary.record.pairs);
    return text;
}

/* Each test begins with nothing counted. */
static int anew(void **unused)
{
    (void)unused;
    while (log_repeat_due(now_us, true, &summary))
        ;
    now_us += 1000 * SECOND;
    log_repeat_set(3, 60);
    return 0;
}

static void repetition_is_counted_and_told(void **unused)
{
    static const char line[] =
        "device=d peer=192.0.2.7:%u cause=sensor.expired msg=\"TLS handshake: no\" todo=\"mend it\"";
    char pairs[200];

    (void)unused;
    for (unsigned i = 0; i < 20; i++, now_us += SECOND) {
        snprintf(pairs, sizeof(pairs), line, 50000 + i); /* another port each time */
        assert_int_equal(take(LOG_WARN_, "session-refused", pairs), i < 3);
        assert_false(summary.due);
    }
    assert_false(log_repeat_due(now_us, false, &summary));
    now_us += 40 * SECOND;
    assert_true(log_repeat_due(now_us, false, &summary));
    assert_string_equal(
        said(), "warn session-refused device=d peer=192.0.2.7:50019 cause=sensor.expired "
                "repeated=17 seconds=19 msg=\"repeated 17 times in 19 s: TLS handshake: no\"");
    assert_false(log_repeat_due(now_us, true, &summary));
    assert_true(take(LOG_WARN_, "session-refused", pairs)); /* a window anew */
}

static void what_differs_is_written(void **unused)
{
    static const char *const differ[] = {
        "device=d peer=192.0.2.7:1 cause=a",
        "device=e peer=192.0.2.7:1 cause=a",
        "device=d peer=192.0.2.8:1 cause=a",
        "device=d peer=192.0.2.7:1 cause=b",
        "device=d peer=192.0.2.7:1",
        "device=d peer=192.0.2.7:1 cause=a msg=\"x\"",
        "device=d peer=[::1]:1 cause=a",
        "device=d peer=[::2]:1 cause=a",
        "device=d peer=unix cause=a",
        "device=d port=192.0.2.7:1",
        "device=d port=192.0.2.7:2",
        "device=d msg=\"of peer=192.0.2.7:1\"",
        "device=d msg=\"of peer=192.0.2.7:2\"",
    };

    (void)unused;
    log_repeat_set(1, 60);
    for (size_t i = 0; i < sizeof(differ) / sizeof(differ[0]); i++) {
        assert_true(take(LOG_WARN_, "x", differ[i]));
        assert_true(take(LOG_ERROR_, "x", differ[i]));
        assert_true(take(LOG_WARN_, "y", differ[i]));
    }
    for (size_t i = 0; i < sizeof(differ) / sizeof(differ[0]); i++)
        assert_false(take(LOG_WARN_, "x", differ[i]));
}

/* What comes again after its window begins another one, behind the summary of the first. */
static void a_late_one_brings_the_summary(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < 5; i++)
        take(LOG_ERROR_, "x", "device=d");
    now_us += 61 * SECOND;
    assert_true(take(LOG_ERROR_, "x", "device=d"));
    assert_true(summary.due);
    assert_string_equal(said(),
                        "error x device=d repeated=2 seconds=1 msg=\"repeated 2 times in 1 s\"");
    assert_false(log_repeat_due(now_us, true, &summary));
}

static void burst_0_switches_it_off(void **unused)
{
    (void)unused;
    log_repeat_set(0, 60);
    for (unsigned i = 0; i < 50; i++)
        assert_true(take(LOG_ERROR_, "x", "device=d"));
    assert_false(log_repeat_due(now_us, true, &summary));
}

/* More lines than are remembered: nothing is left out without its summary. */
static void memory_is_bounded_and_nothing_is_forgotten(void **unused)
{
    enum { LINES = 20 * REPEAT_SHARDS * REPEAT_ENTRIES };
    char pairs[64];
    unsigned written = 0, told = 0, left;

    (void)unused;
    log_repeat_set(1, 60);
    for (unsigned i = 0; i < LINES; i++) {
        snprintf(pairs, sizeof(pairs), "device=d%u", i);
        for (unsigned again = 0; again < 3; again++) {
            written += take(LOG_WARN_, "x", pairs);
            if (summary.due) {
                assert_non_null(strstr(said(), "repeated=2 "));
                told += 2;
            }
        }
    }
    assert_int_equal(written, LINES);
    for (left = 0; log_repeat_due(now_us, true, &summary); left++)
        told += 2;
    assert_int_equal(told, 2 * LINES);
    assert_true(left <= REPEAT_SHARDS * REPEAT_ENTRIES);
}

static void what_is_long_is_cut_between_pairs(void **unused)
{
    char pairs[2000];

    (void)unused;
    log_repeat_set(1, 60);
    snprintf(pairs, sizeof(pairs), "device=d msg=\"%0600d\" long=\"%0900d\" last=1", 7, 8);
    take(LOG_WARN_, "x", pairs);
    take(LOG_WARN_, "x", pairs);
    assert_true(log_repeat_due(now_us, true, &summary));
    assert_true(str_glob("warn x device=d last=1 repeated=1 seconds=1 msg=\"repeated 1 times in 1 "
                         "s: 000*7\"",
                         said()));
}

/* -- several threads -- */

#define THREADS 4
#define EACH    20000

static atomic_uint written_all, told_all;

static void *storm(void *arg)
{
    struct log_summary mine;
    char pairs[64];

    (void)arg;
    for (unsigned i = 0; i < EACH; i++) {
        struct log_record r = {.sub = LOG_SESSION, .level = LOG_WARN_, .event = "storm"};

        r.n = (size_t)snprintf(pairs, sizeof(pairs), "device=d%u", i % 700);
        r.pairs = pairs;
        if (log_repeat_take(&r, now_us, &mine))
            atomic_fetch_add(&written_all, 1);
        if (mine.due) {
            const char *p = strstr(mine.pairs, "repeated=");
            unsigned n = 0;

            assert_int_equal(sscanf(p, "repeated=%u", &n), 1);
            atomic_fetch_add(&told_all, n);
        }
    }
    return NULL;
}

/* Whoever says it: each line is written, or counted. */
static void threads_lose_nothing(void **unused)
{
    pthread_t threads[THREADS];

    (void)unused;
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, storm, NULL), 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    while (log_repeat_due(now_us, true, &summary)) {
        unsigned n = 0;

        assert_int_equal(sscanf(strstr(summary.pairs, "repeated="), "repeated=%u", &n), 1);
        atomic_fetch_add(&told_all, n);
    }
    assert_int_equal(written_all + told_all, THREADS * EACH);
    assert_true(told_all > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(repetition_is_counted_and_told, anew),
        cmocka_unit_test_setup(what_differs_is_written, anew),
        cmocka_unit_test_setup(a_late_one_brings_the_summary, anew),
        cmocka_unit_test_setup(burst_0_switches_it_off, anew),
        cmocka_unit_test_setup(memory_is_bounded_and_nothing_is_forgotten, anew),
        cmocka_unit_test_setup(what_is_long_is_cut_between_pairs, anew),
        cmocka_unit_test_setup(threads_lose_nothing, anew),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
