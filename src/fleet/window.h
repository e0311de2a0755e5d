/* fleet/window.h - maintenance windows: when flips may begin.
 *
 * "Mon-Fri 22:00-05:00", "Sat,Sun 00:00-24:00", "01:00-04:00" (every day): local time of a zone. A
 * window whose end is not later than its beginning goes on over midnight, and belongs to the day on
 * which it began.  An hour that the change to summer time leaves out is no part of any window; one
 * that comes twice is part of it twice.  Pure but for the time zone's file; one thread, as the zone
 * is that of the process while it is looked at.
 */
#ifndef FLEET_WINDOW_H
#define FLEET_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define WINDOWS_MAX 50

struct window {
    uint8_t days;                /* 1 << tm_wday: on which it begins */
    uint16_t begin_min, end_min; /* of the day: 0..1439, 1..1440 */
};

struct windows {
    struct window at[WINDOWS_MAX];
    size_t count; /* 0: always open */
    char zone[64];
};

/* Add one.  Returns 0, or -ERR_INVALID with err: what is wrong, and how it is written. */
int windows_add(struct windows *w, const char *text, struct err *err);
/* Set the zone: "UTC", "Europe/Berlin".  -ERR_NOT_FOUND: this machine does not know it. */
int windows_zone(struct windows *w, const char *zone, struct err *err);

/* Is one open at `now_s` (wall clock)?  *until_s: when that changes, INT64_MAX: not within eight
 * days. */
bool windows_open(const struct windows *w, int64_t now_s, int64_t *until_s);

#endif
