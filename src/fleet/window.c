#include "fleet/window.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

enum { DAY_MIN = 24 * 60, LOOK_MIN = 8 * DAY_MIN };

static const char *const day_names[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};

static int bad(const char *text, struct err *err)
{
    return err_set(err, ERR_INVALID,
                   "%s is no window: it is written \"Mon-Fri 22:00-05:00\", \"Sat,Sun "
                   "00:00-24:00\", or \"01:00-04:00\" for every day",
                   LOG_Q(text));
}

/* "Mon" at *p.  Returns 0..6 and moves on, or -1. */
static int day(const char **p)
{
    for (int i = 0; i < 7; i++) {
        if (strncasecmp(*p, day_names[i], 3) == 0) {
            *p += 3;
            return i;
        }
    }
    return -1;
}

/* "Mon-Fri,Sun" at *p.  Returns the days as bits, or 0. */
static unsigned days(const char **p)
{
    unsigned bits = 0;

    for (;;) {
        int first = day(p), last = first;

        if (first >= 0 && **p == '-') {
            ++*p;
            last = day(p);
        }
        if (first < 0 || last < 0)
            return 0;
        for (int i = first;; i = (i + 1) % 7) { /* Fri-Mon goes over the end of the week */
            bits |= 1U << i;
            if (i == last)
                break;
        }
        if (**p != ',')
            return bits;
        ++*p;
    }
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "22:00" at *p.  Returns minutes, or -1. */
static int minutes(const char **p)
{
    const char *s = *p;
    int h, m;

    if (!is_digit(s[0]) || !is_digit(s[1]) || s[2] != ':' || !is_digit(s[3]) || !is_digit(s[4]))
        return -1;
    h = (s[0] - '0') * 10 + s[1] - '0';
    m = (s[3] - '0') * 10 + s[4] - '0';
    *p += 5;
    return m > 59 || h * 60 + m > DAY_MIN ? -1 : h * 60 + m;
}

int windows_add(struct windows *w, const char *text, struct err *err)
{
    struct window one = {.days = 0x7f};
    const char *p = text;
    int begin, end;

    if (w->count == WINDOWS_MAX)
        return err_set(err, ERR_TOO_BIG, "more than %d windows", WINDOWS_MAX);
    if (!is_digit(*p)) {
        one.days = (uint8_t)days(&p);
        if (one.days == 0 || *p != ' ')
            return bad(text, err);
        p += strspn(p, " ");
    }
    begin = minutes(&p);
    if (begin < 0 || begin == DAY_MIN || *p++ != '-')
        return bad(text, err);
    end = minutes(&p);
    if (end < 0 || *p != '\0')
        return bad(text, err);
    if (begin == end)
        return err_set(err, ERR_INVALID, "%s begins when it ends: for whole days write 00:00-24:00",
                       LOG_Q(text));
    one.begin_min = (uint16_t)begin;
    one.end_min = (uint16_t)end;
    w->at[w->count++] = one;
    return 0;
}

int windows_zone(struct windows *w, const char *zone, struct err *err)
{
    char path[128];

    /* The C library takes a zone that it does not know for UTC, without a word. */
    snprintf(path, sizeof(path), "/usr/share/zoneinfo/%s", zone);
    if (strlen(zone) >= sizeof(w->zone) || zone[0] == '/' || zone[0] == ':' ||
        strstr(zone, "..") != NULL || (strcmp(zone, "UTC") != 0 && access(path, R_OK) != 0))
        return err_set(err, ERR_NOT_FOUND,
                       "%s is no time zone that this machine knows: \"UTC\", or a name such as "
                       "\"Europe/Berlin\", with the package tzdata installed",
                       LOG_Q(zone));
    snprintf(w->zone, sizeof(w->zone), "%s", zone);
    return 0;
}

static bool holds(const struct windows *w, const struct tm *tm)
{
    int now = tm->tm_hour * 60 + tm->tm_min;
    unsigned today = 1U << tm->tm_wday, yesterday = 1U << (tm->tm_wday + 6) % 7;

    for (size_t i = 0; i < w->count; i++) {
        const struct window *one = &w->at[i];
        bool over = one->end_min <= one->begin_min; /* over midnight */

        if ((one->days & today) != 0 && now >= one->begin_min && (over || now < one->end_min))
            return true;
        if (over && (one->days & yesterday) != 0 && now < one->end_min)
            return true;
    }
    return false;
}

static bool open_at(const struct windows *w, int64_t at_s)
{
    time_t t = (time_t)at_s;
    struct tm tm;

    return localtime_r(&t, &tm) != NULL && holds(w, &tm);
}

/* The zone of the process, while times are looked at. */
static char *enter_zone(const char *zone)
{
    const char *was = getenv("TZ"); /* NOLINT(concurrency-mt-unsafe) */
    char *kept = was == NULL ? NULL : strdup(was);

    /* NOLINTNEXTLINE(concurrency-mt-unsafe): this program has one thread */
    setenv("TZ", zone[0] == '\0' ? "UTC" : zone, 1);
    tzset();
    return kept;
}

static void leave_zone(char *was)
{
    if (was != NULL)
        setenv("TZ", was, 1); /* NOLINT(concurrency-mt-unsafe) */
    else
        unsetenv("TZ"); /* NOLINT(concurrency-mt-unsafe) */
    tzset();
    free(was);
}

bool windows_open(const struct windows *w, int64_t now_s, int64_t *until_s)
{
    int64_t at_s = now_s - (now_s % 60 + 60) % 60;
    char *was;
    bool open;

    *until_s = INT64_MAX;
    if (w->count == 0)
        return true;
    was = enter_zone(w->zone);
    open = open_at(w, now_s);
    for (int i = 0; i < LOOK_MIN; i++) {
        at_s += 60;
        if (open_at(w, at_s) != open) {
            *until_s = at_s;
            break;
        }
    }
    leave_zone(was);
    return open;
}
