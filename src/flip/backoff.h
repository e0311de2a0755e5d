/* flip/backoff.h - how long to wait before the next attempt.  Pure; any thread. */
#ifndef FLIP_BACKOFF_H
#define FLIP_BACKOFF_H

#include <stdbool.h>
#include <stdint.h>

#include "flip/diagnose.h"

enum { BACKOFF_STEPS = 8 };

/* The waits after the first, second, ... failure in a row; the last one repeats. */
struct backoff_table {
    uint32_t n; /* 1..BACKOFF_STEPS */
    int64_t ms[BACKOFF_STEPS];
};

struct backoff_conf {
    struct backoff_table identity; /* what somebody has to mend: identity, trust, protocol, policy,
                                      suspect (but for an end without a word, see diag_pace) */
    struct backoff_table network;  /* what passes by itself: network, broker */
};

/* 30, 60, 120, 300 s; and 1, 2, 5, 10, 30, 60 s. */
extern const struct backoff_conf backoff_default;

/* The wait after failure number `attempt` (0: the first) of this class, spread by 20 % either way:
 * `jitter` is a random number, all 32 bits of it.  DIAG_OK: 0. */
int64_t backoff_ms(const struct backoff_conf *conf, enum diag_class c, uint32_t attempt,
                   uint32_t jitter);

/* Counts failures in a row.  A failure of the other kind starts at its first step. */
struct backoff {
    uint32_t attempt; /* failures of this kind so far */
    bool slow;        /* the kind: by the table `identity` */
};

/* Count a failure and return the wait; DIAG_OK starts afresh and returns 0. */
int64_t backoff_next_ms(struct backoff *b, const struct backoff_conf *conf, enum diag_class c,
                        uint32_t jitter);

#endif
