/* flip/clock.h - may a trial be begun by this clock?
 *
 * A flip is decided by dates: of the new certificate, of the broker's, of the deadline that the
 * centre has set.  By a clock that is wrong a good identity looks expired, and an expired one good.
 * So a flip asks first; a rollback never does.  Pure.
 */
#ifndef FLIP_CLOCK_H
#define FLIP_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A clock that is set right steps back by what it went wrong since; so much is no sign of anything.
 */
#define FLIP_CLOCK_SLACK_S 300

struct flip_clock {
    bool known;           /* the kernel tells whether the clock is synchronised */
    bool synchronised;    /* and it is */
    int64_t max_error_us; /* by how much it may be wrong then */
    int64_t wall_s;       /* what it says */
    int64_t seen_s;       /* the newest thing that has happened before; 0: nothing is known */
};

enum flip_clock_verdict {
    FLIP_CLOCK_GOOD,
    FLIP_CLOCK_WRONG,   /* it says what was before things that have happened */
    FLIP_CLOCK_DRIFTS,  /* nobody keeps it right */
    FLIP_CLOCK_UNKNOWN, /* the kernel does not say */
};

/* What is known of the clock, by itself. */
enum flip_clock_verdict flip_clock_judge(const struct flip_clock *c);

/* Has it to be refused?  `require_sync`: as configured. */
bool flip_clock_refuses(enum flip_clock_verdict v, bool require_sync);

/* "the clock is not synchronised".  Returns out; "" for a good one. */
char *flip_clock_text(const struct flip_clock *c, char *out, size_t n);

#endif
