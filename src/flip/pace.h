/* flip/pace.h - how many sessions may move to another identity at once, and when the next one may
 * begin.
 *
 * A move costs the broker a TLS handshake, and nobody says how many it takes in a second.  So the
 * window of moves under way is found out by trying: it grows while with more at once more end in a
 * second, and where they do not it stays as small as it can be (what is beyond that waits at the
 * broker instead of here).  When many ends speak of load or of the network, it is halved; below one
 * at a time there is a gap between two.  When nothing but such ends come, that is an outage: all
 * wait, and one after the other tries whether it is over.
 *
 * Pure: no clock, no I/O, no allocation; random numbers are handed in.  Times are CLOCK_BOOTTIME in
 * milliseconds.  A struct pace is plain data.  It belongs to the main thread.
 */
#ifndef FLIP_PACE_H
#define FLIP_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* From the configuration; may be others in each call. */
struct pace_terms {
    uint32_t most;      /* under way at once, at least 1 */
    uint32_t jitter_ms; /* a crowd begins within this time, evenly spread over gateways */
};

/* How a move came to its end. */
enum pace_end {
    PACE_ANSWERED, /* the broker said yes, or no to the identity: it can be reached and has time */
    PACE_STRAINED, /* it failed in a way that speaks of the network, or of the broker's load */
    PACE_VOID,     /* it ended for a reason of its own: the sensor left, another command came */
};

enum pace_mood {
    PACE_GROWING, /* the window doubles, so long as that helps */
    PACE_STEADY,  /* now and then a larger and a smaller window are tried */
    PACE_PAUSED,  /* an outage: one at a time, with waits in between */
};

struct pace {
    enum pace_mood mood;
    uint32_t window;  /* at once */
    uint32_t settled; /* the window that was best so far */
    uint32_t ceiling; /* beyond it the window grows slowly: it was too much once */
    uint32_t gap_ms;  /* between two beginnings, on the average; 0: none */
    uint32_t under_way;
    uint32_t round;   /* a move belongs to the one that it began in */
    uint32_t since;   /* the first round under this window */
    uint32_t ended;   /* answered since round_ms */
    int64_t round_ms; /* a move under this window came to its end, and counting began; 0: not yet */
    int64_t best;     /* ends in 1,000 s with the window `settled`; 0: not known */
    int64_t next_ms;  /* nobody begins before */
    int64_t busy_ms;  /* somebody moved, or waited, then */
    uint32_t misses;  /* doublings in a row that did not help */
    uint32_t strained;         /* such ends in a row */
    uint32_t answers, strains; /* of this round's moves, the latest SHARE_OF or so */
    uint32_t good;             /* answered since the gap was changed */
    uint32_t pauses;           /* attempts in a row that found the outage not over */
    bool up;                   /* which way is tried next */
};

void pace_init(struct pace *p);

/* A queue forms.  `crowd`: of more than one; a single device does not wait for the jitter. */
void pace_queue(struct pace *p, const struct pace_terms *t, bool crowd, int64_t now_ms,
                uint32_t random);

/* May another move begin now?  `way_back`: to the old identity, which does not wait for the end of
 * an outage to be tried.  False: not before *at_ms, or before another one has ended (*at_ms 0). */
bool pace_may_begin(const struct pace *p, const struct pace_terms *t, bool way_back, int64_t now_ms,
                    int64_t *at_ms);

/* It begins.  Returns the round, for pace_end. */
uint32_t pace_begin(struct pace *p, int64_t now_ms, uint32_t random);

/* The one that began in `round` has ended.  Returns whether an outage begins or ends with it. */
bool pace_end(struct pace *p, const struct pace_terms *t, uint32_t round, enum pace_end how,
              int64_t now_ms, uint32_t random);

/* There is room, and nobody waits: what ends in a second says nothing now. */
void pace_idle(struct pace *p);

/* A broker has accepted some connection: if there was an outage, it may be over. */
void pace_sign_of_life(struct pace *p, int64_t now_ms, uint32_t random);

/* At once, at the moment. */
uint32_t pace_window(const struct pace *p, const struct pace_terms *t);

#endif
