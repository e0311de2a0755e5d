/* flip/engine.h - for one device: which phase follows, and what has to be done about it.
 *
 * Pure: no clock, no I/O, no allocation, no log.  The caller hands in one event and the time, then
 * carries out the returned actions in bit order; so what is intended is durable before it is done.
 * The phases and arrows are those of certflipd(8), PHASES OF A FLIP.
 * A struct flip is plain data: copy it freely, keep it in a row.  It belongs to the main thread.
 *
 * Which identity is active follows from the phase alone, so that no second truth can drift.
 * A trial is pending until the broker has accepted the new identity, and again after the connection
 * was lost: only a connection that stands counts towards probation.
 *
 * An accepted connection is not evidence of much: a broker may accept a login, acknowledge what it
 * throws away, and grant what it never serves.  So a flip names what has to be proven (enum
 * flip_proof), and a probation that ends without it ends the trial: silence is no success.
 */
#ifndef FLIP_ENGINE_H
#define FLIP_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flip/slot.h"

enum flip_phase {
    FLIP_STEADY,      /* one identity, in the old slot */
    FLIP_STAGED,      /* a new identity lies ready */
    FLIP_TRIAL,       /* the new identity is in use and has to prove itself */
    FLIP_COMMITTED,   /* it did; the old one is still there for the way back */
    FLIP_ROLLED_BACK, /* it did not: the old one is in use, the new one in quarantine */
    FLIP_PHASES
};

/* News of a connection is news of the new identity; nobody has to report on the old one. */
enum flip_event {
    EV_NONE = 0,     /* what flip_tick says when nothing is due; no event */
    EV_INSTALLED,    /* an identity was put into the new slot, lint passed */
    EV_DISCARDED,    /* command: forget the identity in the new slot */
    EV_FLIP,         /* command: begin; the terms have been set in the struct */
    EV_ACCEPTED,     /* CONNACK 0 on the new identity, on a TLS connection that was not resumed */
    EV_REJECTED,     /* the broker said that it refuses the new identity: DIAG_IDENTITY */
    EV_SUSPECT,      /* it may have been the identity, nobody said so: DIAG_SUSPECT */
    EV_OLD_ACCEPTED, /* where the new identity had failed, the old one was accepted */
    EV_LOST,         /* the connection failed or ended for another reason: the trial goes on */
    EV_ECHOED,       /* a message of ours went to the broker and came back on that connection */
    EV_HEALTHY,      /* probation is over; made by flip_tick */
    EV_UNPROVEN,     /* it is over, and something is not proven; flip_tick, or of EV_HEALTHY */
    EV_CONFIRMED,    /* the centre confirmed, naming the fingerprint of the new identity */
    EV_VOUCHED,      /* the same while other proof is missing; made of EV_CONFIRMED by flip_step */
    EV_COMMIT,       /* command: the new identity is good, whatever is proven */
    EV_DEADLINE,     /* nobody confirmed in time; made by flip_tick */
    EV_LATE,         /* never accepted before the time after which it shall not begin; flip_tick */
    EV_EXHAUSTED,    /* all attempts are used up; made of EV_RESTARTED by flip_step */
    EV_ROLLBACK,     /* command: back to the old identity */
    EV_ROLLED,       /* the sessions are back on the old identity */
    EV_RETIRED,      /* command: the old identity is archived, the new one takes its slot */
    EV_CLEARED,      /* command: the cause of a rollback is acknowledged, quarantine ends */
    EV_RESTARTED,    /* the daemon started and found this row */
    FLIP_EVENTS
};

/* What to do, lowest bit first. */
enum flip_action {
    DO_SAVE = 1 << 0, /* make the struct durable; a failure stops here, and nothing has happened */
    DO_QUARANTINE = 1 << 1, /* with it: keep the reason, and the new identity out of use */
    DO_RETIRE = 1 << 2,  /* with it: archive the old identity, move the new one into the old slot */
    DO_DISCARD = 1 << 3, /* with it: empty the new slot */
    DO_USE_NEW = 1 << 4, /* move the device's session to the new identity */
    DO_USE_OLD = 1 << 5, /* move it to the old one; EV_ROLLED when that is done */
    DO_TRY_OLD = 1 << 6, /* try whether the old identity is accepted: EV_OLD_ACCEPTED, or EV_LOST */
    DO_ARM = 1 << 7,     /* call flip_tick at flip_due; 0: nothing is due */
    DO_DISARM = 1 << 8,  /* nothing is due any more */
    DO_TELL = 1 << 9,    /* publish and log the transition */
};

enum { FLIP_ACTIONS = 10 };

enum flip_confirm {
    FLIP_CONFIRM_AUTO,    /* healthy through probation is enough */
    FLIP_CONFIRM_CENTRAL, /* somebody must confirm within confirm_ms of the first acceptance */
};

/* What can be proven of the new identity: bits. */
enum flip_proof {
    FLIP_PROOF_CONNACK = 1 << 0, /* accepted, by a full handshake; always wanted */
    FLIP_PROOF_ECHO = 1 << 1,    /* it may write and read: a message came back on its connection */
    FLIP_PROOF_CENTRAL = 1 << 2, /* the far side saw it; wanted with FLIP_CONFIRM_CENTRAL */
};

enum { FLIP_PROOFS = 3 };

#define FLIP_DEFAULT_ATTEMPTS     3
#define FLIP_DEFAULT_PROBATION_MS (INT64_C(60) * 1000)
#define FLIP_DEFAULT_CONFIRM_MS   (INT64_C(600) * 1000)
#define FLIP_LONGEST_MS           (INT64_C(366) * 24 * 3600 * 1000) /* of probation and confirmation */

struct flip {
    enum flip_phase phase;

    /* The terms of the flip: set by the command before EV_FLIP, never during a trial. */
    enum flip_confirm confirm;
    unsigned evidence;     /* FLIP_PROOF_ECHO, or 0: what is wanted beside what always is */
    uint32_t max_attempts; /* at least 1 */
    int64_t probation_ms;  /* how long a connection must stand */
    int64_t confirm_ms;    /* FLIP_CONFIRM_CENTRAL: how long to wait for EV_CONFIRMED */
    int64_t begin_by_ms; /* CLOCK_BOOTTIME; not accepted by then: back to staged; 0: whenever. After
                            a reboot the caller works it out anew, from wall time. */

    /* The trial itself: all zero in every other phase. */
    uint32_t attempts; /* of this trial, restarts included; 0: nothing was tried yet */
    bool accepted;     /* a connection with the new identity stands; false: the trial is pending */
    unsigned proven;   /* FLIP_PROOF_ECHO: on the connection that stands; FLIP_PROOF_CENTRAL */
    int64_t due_ms;    /* CLOCK_BOOTTIME: probation is over; 0: nothing runs */
    int64_t dead_ms;   /* CLOCK_BOOTTIME: confirmation comes too late; 0: nothing runs */
};

/* FLIP_STEADY with the default terms. */
void flip_init(struct flip *f);

/* Take one event at `now_ms` (CLOCK_BOOTTIME, milliseconds).
 *
 * Returns the actions to carry out (DO_ bits, possibly none), or -ERR_PHASE when the event has no
 * meaning in this phase (flip_explain says what to do instead; late news of a connection is simply
 * dropped).  EV_FLIP: -ERR_INVALID for terms out of bounds, -ERR_TIMEOUT when begin_by_ms has
 * passed. On error `f` is as it was. */
int flip_step(struct flip *f, enum flip_event ev, int64_t now_ms);

/* The identity on trial was replaced by another one, of which nothing is known: neither a
 * connection nor a word of the centre counts any more, and the time to confirm begins with the
 * acceptance. */
void flip_forget(struct flip *f);

/* When to call flip_tick next (CLOCK_BOOTTIME, milliseconds); 0: never. */
int64_t flip_due(const struct flip *f);

/* The event that time has brought about, for flip_step; EV_NONE when none is due. */
enum flip_event flip_tick(const struct flip *f, int64_t now_ms);

/* What has to be proven for a commit, and what of it is not: FLIP_PROOF_ bits.  Outside of a trial
 * `wanted` are the terms of the latest one, and nothing is missing. */
unsigned flip_wanted(const struct flip *f);
unsigned flip_missing(const struct flip *f);

/* Where the time to confirm ends after a reboot, which made CLOCK_BOOTTIME start anew: `left_ms`
 * were left when the row was written, at `saved_s` by the wall clock.  The time of being off counts
 * as far as the wall clock can be believed: not when it went backwards, or on by more than
 * FLIP_LONGEST_MS.  Then what was left is left still, and *believed is false.  `now_s` is wall
 * clock, `now_ms` CLOCK_BOOTTIME, and so is the result; at least 1. */
int64_t flip_dead_after_reboot(int64_t left_ms, int64_t saved_s, int64_t now_s, int64_t now_ms,
                               bool *believed);

/* The identity that new connections use. */
enum flip_slot flip_active_slot(const struct flip *f);

/* In trial, and no connection with the new identity stands: the device is offline, or the uplink
 * is. */
bool flip_pending(const struct flip *f);

/* What contradicts itself in `f`, which may come from a damaged row; NULL when all is well. */
const char *flip_broken(const struct flip *f);

/* Why `ev` is refused in the state of `f`, and the next command to try, with the device's name in
 * it. Returns `out`. */
const char *flip_explain(const struct flip *f, enum flip_event ev, const char *device, char *out,
                         size_t n);

const char *flip_phase_name(enum flip_phase phase); /* "rolled-back" */
const char *flip_event_name(enum flip_event ev);    /* "old-accepted" */
const char *flip_confirm_name(enum flip_confirm confirm);
const char *flip_proof_name(enum flip_proof proof); /* "echo"; of one bit */
/* Return 0, or -ERR_INVALID with *out unchanged. */
int flip_phase_parse(const char *name, enum flip_phase *out);
int flip_confirm_parse(const char *name, enum flip_confirm *out);
int flip_proof_parse(const char *name, enum flip_proof *out);

/* "save use-new arm", in the order of doing; 128 bytes are enough.  Returns `out`. */
const char *flip_actions_text(int actions, char *out, size_t n);

#endif
