#include "base/clock.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/timex.h>
#include <time.h>

static struct timespec now(clockid_t id)
{
    struct timespec ts = {0, 0};

    clock_gettime(id, &ts); /* fails only for a clock that the kernel does not have */
    return ts;
}

int64_t clock_boot_ms(void)
{
    struct timespec ts = now(CLOCK_BOOTTIME);

    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t clock_mono_us(void)
{
    struct timespec ts = now(CLOCK_MONOTONIC);

    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t clock_wall_ms(void)
{
    struct timespec ts = now(CLOCK_REALTIME);

    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

char *clock_boot_id(char *out, size_t n)
{
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    int limit = n > INT_MAX ? INT_MAX : (int)n;

    if (f == NULL || fgets(out, limit, f) == NULL)
        out[0] = '\0';
    if (f != NULL)
        (void)fclose(f);
    out[strcspn(out, "\n")] = '\0';
    return out;
}

int64_t clock_wall_s(void)
{
    return (int64_t)now(CLOCK_REALTIME).tv_sec;
}

#define NOTHING_KNOWN INT64_MIN

/* What is known to have passed, at boot: what passed since then comes on top.  INT64_MIN: nothing.
 */
static _Atomic int64_t known_at_boot_ms = NOTHING_KNOWN;

void clock_known_set(int64_t wall_s)
{
    int64_t at_boot = NOTHING_KNOWN, was;

    if (wall_s > 0)
        at_boot = wall_s * 1000 - clock_boot_ms();
    was = atomic_load_explicit(&known_at_boot_ms, memory_order_relaxed);
    if (wall_s <= 0 || at_boot > was)
        atomic_store_explicit(&known_at_boot_ms, at_boot, memory_order_relaxed);
}

int64_t clock_known_s(void)
{
    int64_t at_boot = atomic_load_explicit(&known_at_boot_ms, memory_order_relaxed);

    return at_boot == NOTHING_KNOWN ? 0 : (at_boot + clock_boot_ms()) / 1000;
}

int64_t clock_date_s(void)
{
    int64_t known = clock_known_s();
    int64_t wall = clock_wall_s();

    return wall < known ? known : wall;
}

/* A day earlier: __DATE__ is in the time zone of whoever built it.  SOURCE_DATE_EPOCH takes its
 * place in a reproducible build. */
int64_t clock_built_s(void)
{
    struct tm tm = {0};

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdate-time"
    if (strptime(__DATE__, "%b %d %Y", &tm) == NULL)
        return 0;
#pragma GCC diagnostic pop
    return (int64_t)timegm(&tm) - 86400;
}

void clock_sync(struct clock_sync *out)
{
    struct timex tx = {.modes = 0};
    int state = adjtimex(&tx);

    *out = (struct clock_sync){.known = state >= 0};
    if (state < 0)
        return;
    out->synchronised = state != TIME_ERROR && (tx.status & STA_UNSYNC) == 0;
    out->max_error_us = tx.maxerror;
}

/* Years of more than four digits are no dates of certificates, but may come out of arithmetic. */
static bool broken_down(int64_t wall_s, struct tm *tm)
{
    time_t t = (time_t)wall_s;

    return (int64_t)t == wall_s && gmtime_r(&t, tm) != NULL;
}

char *clock_text(int64_t wall_s, char *out, size_t n)
{
    struct tm tm;

    if (!broken_down(wall_s, &tm) || strftime(out, n, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
        snprintf(out, n, "out of range");
    return out;
}

char *clock_iso(int64_t wall_s, char *out, size_t n)
{
    struct tm tm;

    if (!broken_down(wall_s, &tm) || strftime(out, n, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        snprintf(out, n, "out of range");
    return out;
}
