/* base/log_sink.h - where lines go, and what becomes of those that cannot go there at once.
 *
 * Nobody waits: the journal's socket and stderr are written without blocking.  What does not fit is
 * kept in its order, up to SINK_LINES and SINK_BYTES, and goes on as soon as there is room
 * (log_sink_drain); what is beyond that is lost, counted, and said when there is room again
 * (log-lost).  A regular file is written as it is.
 */
#ifndef BASE_LOG_SINK_H
#define BASE_LOG_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log_line.h"

#define SINK_LINES 16384
#define SINK_BYTES (8u << 20)

enum log_target {
    LOG_AUTO,    /* the journal when stderr leads to it (JOURNAL_STREAM), or else stderr */
    LOG_JOURNAL, /* the journal, wherever stderr leads; it must be there */
    LOG_STDERR,
};

/* Choose; before the first thread.  `socket`: the journal's, NULL for the usual one.  Until then
 * lines go to stderr, and a write may wait.  Returns 0, or -ERR_IO: there is no journal, and lines
 * go to stderr. */
int log_sink_open(enum log_target target, const char *socket);
/* Is it the journal by its native protocol? */
bool log_sink_is_journal(void);

/* Any thread. */
void log_sink_write(const struct log_record *r, enum log_format format);

/* Write what waits; costs next to nothing when nothing does.  Returns true when something waits
 * still: again in some milliseconds.  Main thread. */
bool log_sink_drain(void);
/* At the end: the same, for as long as it takes, but not longer than so.  What waits still is lost.
 * Main thread. */
void log_sink_flush(int wait_ms);

uint64_t log_sink_lost(void);       /* since the start */
uint64_t log_sink_take_lost(void);  /* that nobody was told of yet */
void log_sink_put_lost(uint64_t n); /* they could not be told */

#endif
