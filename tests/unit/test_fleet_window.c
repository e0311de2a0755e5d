/* Maintenance windows: over midnight, on days of the week, and where the clocks change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "fleet/window.h"

static struct windows of(const char *zone, const char *a, const char *b)
{
    struct windows w = {0};
    struct err err = {0};

    assert_int_equal(windows_zone(&w, zone, &err), 0);
    assert_int_equal(windows_add(&w, a, &err), 0);
    if (b != NULL)
        assert_int_equal(windows_add(&w, b, &err), 0);
    return w;
}

/* "2027-03-28 00:30" UTC */
static int64_t at(const char *text)
{
    struct tm tm = {0};
    char *end = strptime(text, "%Y-%m-%d %H:%M", &tm);

    assert_non_null(end);
    assert_int_equal(*end, '\0');
    return timegm(&tm);
}

static void expect(const struct windows *w, const char *now, bool open, const char *until)
{
    int64_t until_s = 0;
    bool is = windows_open(w, at(now), &until_s);

    if (is != open)
        fail_msg("%s: %s", now, is ? "is open" : "is closed");
    if (until == NULL)
        assert_true(until_s == INT64_MAX);
    else
        assert_true(until_s == at(until));
}

static void without_windows_it_is_always_open(void **unused)
{
    struct windows w = {0};
    int64_t until_s = 0;

    (void)unused;
    assert_true(windows_open(&w, at("2027-01-01 00:00"), &until_s));
    assert_true(until_s == INT64_MAX);
}

/* 1 March 2027 is a Monday. */
static void goes_over_midnight_and_belongs_to_its_first_day(void **unused)
{
    struct windows w = of("UTC", "Mon-Fri 22:00-05:00", NULL);

    (void)unused;
    expect(&w, "2027-03-01 04:59", false, "2027-03-01 22:00"); /* Sunday's would be it */
    expect(&w, "2027-03-01 21:59", false, "2027-03-01 22:00");
    expect(&w, "2027-03-01 22:00", true, "2027-03-02 05:00");
    expect(&w, "2027-03-02 00:00", true, "2027-03-02 05:00");
    expect(&w, "2027-03-02 04:59", true, "2027-03-02 05:00");
    expect(&w, "2027-03-02 05:00", false, "2027-03-02 22:00");
    expect(&w, "2027-03-06 03:00", true, "2027-03-06 05:00");  /* Saturday: Friday's */
    expect(&w, "2027-03-06 22:30", false, "2027-03-08 22:00"); /* Monday */
}

static void adjoining_windows_are_one(void **unused)
{
    struct windows w = of("UTC", "Sat,Sun 00:00-24:00", "Fri 20:00-24:00");

    (void)unused;
    expect(&w, "2027-03-05 20:00", true, "2027-03-08 00:00");
    expect(&w, "2027-03-08 00:00", false, "2027-03-12 20:00");
}

static void days_go_over_the_end_of_the_week(void **unused)
{
    struct windows w = of("UTC", "Sat-Mon 10:00-11:00", NULL);

    (void)unused;
    expect(&w, "2027-03-06 10:30", true, "2027-03-06 11:00");
    expect(&w, "2027-03-07 10:30", true, "2027-03-07 11:00");
    expect(&w, "2027-03-08 10:30", true, "2027-03-08 11:00");
    expect(&w, "2027-03-09 10:30", false, "2027-03-13 10:00");
}

static void what_never_changes_has_no_end(void **unused)
{
    struct windows w = of("UTC", "00:00-24:00", NULL);

    (void)unused;
    expect(&w, "2027-03-06 10:30", true, NULL);
}

/* Berlin: on 28 March 2027 it is 03:00 when 02:00 has come; on 31 October 2027 the hour from 02:00
 * comes twice. */
static void follows_the_change_of_the_clocks(void **unused)
{
    struct windows night = of("Europe/Berlin", "01:30-04:00", NULL);
    struct windows lost = of("Europe/Berlin", "02:10-02:40", NULL);
    struct windows early = of("Europe/Berlin", "02:00-02:30", NULL);

    (void)unused;
    expect(&night, "2027-03-28 00:29", false, "2027-03-28 00:30");
    expect(&night, "2027-03-28 00:30", true, "2027-03-28 02:00"); /* 90 minutes are left of it */
    expect(&night, "2027-03-27 00:30", true, "2027-03-27 03:00");
    expect(&lost, "2027-03-28 00:00", false, "2027-03-29 00:10"); /* there is none that night */
    expect(&night, "2027-10-31 00:00", true, "2027-10-31 03:00"); /* three hours and a half */
    expect(&early, "2027-10-31 00:10", true, "2027-10-31 00:30"); /* comes twice */
    expect(&early, "2027-10-31 00:30", false, "2027-10-31 01:00");
    expect(&early, "2027-10-31 01:00", true, "2027-10-31 01:30");
}

static void leaves_the_zone_of_the_process(void **unused)
{
    struct windows w = of("Europe/Berlin", "01:30-04:00", NULL);
    int64_t until_s;

    (void)unused;
    setenv("TZ", "America/New_York", 1);
    windows_open(&w, 0, &until_s);
    assert_string_equal(getenv("TZ"), "America/New_York");
    unsetenv("TZ");
    windows_open(&w, 0, &until_s);
    assert_null(getenv("TZ"));
}

static void says_how_a_window_is_written(void **unused)
{
    static const char *const bad[] = {
        "",
        "22:00",
        "22:00-",
        "22:00-25:00",
        "22:60-23:00",
        "24:00-01:00",
        "Mon22:00-23:00",
        "Mon",
        "Mon- 22:00-23:00",
        "Mon, 22:00-23:00",
        "Monday 22:00-23:00",
        "Mon-Fry 22:00-23:00",
        "22:00-23:00 ",
        "22.00-23.00",
        "9:00-10:00",
        "-Fri 09:00-10:00",
    };
    struct windows w = {0};

    (void)unused;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct err err = {0};

        if (windows_add(&w, bad[i], &err) != -ERR_INVALID ||
            strstr(err.msg, "Mon-Fri 22:00-05:00") == NULL)
            fail_msg("\"%s\": %s", bad[i], err.msg);
    }
    assert_int_equal(windows_add(&w, "10:00-10:00", NULL), -ERR_INVALID);
    assert_int_equal(w.count, 0);
    assert_int_equal(windows_zone(&w, "Europe/Atlantis", NULL), -ERR_NOT_FOUND);
    assert_int_equal(windows_zone(&w, "../../../etc/passwd", NULL), -ERR_NOT_FOUND);
    assert_int_equal(windows_add(&w, "sat,SUN 00:00-24:00", NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_windows_it_is_always_open),
        cmocka_unit_test(goes_over_midnight_and_belongs_to_its_first_day),
        cmocka_unit_test(adjoining_windows_are_one),
        cmocka_unit_test(days_go_over_the_end_of_the_week),
        cmocka_unit_test(what_never_changes_has_no_end),
        cmocka_unit_test(follows_the_change_of_the_clocks),
        cmocka_unit_test(leaves_the_zone_of_the_process),
        cmocka_unit_test(says_how_a_window_is_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
