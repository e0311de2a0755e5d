/* base/log_ring.h - the latest lines, in memory: for who looks at a gateway whose journal is
 * volatile, elsewhere, or not there at all.
 *
 * Lines are put down by any thread, without waiting, and kept by the main thread: the oldest go
 * when there are more bytes than allowed.
 */
#ifndef BASE_LOG_RING_H
#define BASE_LOG_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log_line.h"

/* So much is kept, what the lists cost included; 0: nothing, and what there was is given up.  Main
 * thread. */
void log_ring_set_bytes(size_t bytes);

/* Any thread. */
void log_ring_add(const struct log_record *r);

/* All that follows is for the main thread. */

void log_ring_settle(void); /* take up what was put down */

/* Numbers of the oldest line and of the one that comes next; equal: there is none. */
void log_ring_range(uint64_t *first, uint64_t *next);
/* Lines that came while the main thread did not take them up, and are not there. */
uint64_t log_ring_missed(void);

/* From the line `from` on, or with `back` from the one before `from` backwards, until `each`
 * returns false. */
typedef bool log_ring_fn(void *arg, uint64_t seq, const struct log_record *r);
void log_ring_walk(uint64_t from, bool back, log_ring_fn *each, void *arg);

#endif
