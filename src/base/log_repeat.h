/* base/log_repeat.h - lines that say the same again and again are counted rather than written.
 *
 * Two lines are the same when their subsystem, level, event and pairs are, but for the port in
 * `peer`, which is another one with each connection; so a failure that differs in its device, its
 * cause or its sentence is never left out.  Within a window that begins with the first of them so
 * many are written as the burst allows, the others counted.  When the window is over, the latest is
 * said once more, with repeated=57 seconds=60.
 *
 * Memory is bounded: REPEAT_SHARDS * REPEAT_ENTRIES lines are remembered; one that has to go for
 * another has its summary first.  Any thread; none waits: where another one is at it, a line is
 * written.
 */
#ifndef BASE_LOG_REPEAT_H
#define BASE_LOG_REPEAT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log_line.h"

#define REPEAT_BURST    5
#define REPEAT_WINDOW_S 60
#define REPEAT_SHARDS   16
#define REPEAT_ENTRIES  32

/* burst 0: everything is written. */
void log_repeat_set(uint32_t burst, uint32_t window_s);

/* A line that was made here; its record borrows from it. */
struct log_summary {
    struct log_record record;
    bool due; /* there is one */
    char event[64];
    char pairs[1024];
};

/* Is the line to be written?  `summary` is what has to be written before it. */
bool log_repeat_take(const struct log_record *r, int64_t now_us, struct log_summary *summary);

/* The next summary whose window is over, or with `all` the next one; its record's time is the
 * caller's.  False when there is none.  Main thread. */
bool log_repeat_due(int64_t now_us, bool all, struct log_summary *summary);

#endif
