/* control/hub.h - all devices: what is known of each, and the carrying out of what flip/engine
 * decides.
 *
 * Commands, time and the workers' news become events of the engine; its actions are collected and
 * carried out by hub_flush: first everything is made durable in one transaction, then the workers
 * are told.  When the store fails, the phases are as before, and nobody is told of anything else.
 *
 * How many live sessions move at once is for flip/pace.h to say; the others wait in a queue, in
 * trial already (or rolled back already), as their intent is durable.  A device without a sensor
 * connected does not wait: there is nothing to move.  Nor does one wait for its way back that has
 * no leg with the new identity any more, or that has not proven itself: it is not whole.
 *
 * Main thread.  The hub knows no loop and no socket: what it needs from outside is in struct
 * hub_sink.
 */
#ifndef CONTROL_HUB_H
#define CONTROL_HUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/heap.h"
#include "base/histogram.h"
#include "base/list.h"
#include "base/str.h"
#include "control/jsonrpc.h"
#include "flip/clock.h"
#include "flip/engine.h"
#include "flip/pace.h"
#include "lint/lint.h"
#include "session/snapshot.h"
#include "store/store.h"
#include "worker/msg.h"

struct hub;

/* How far a command has come that has many devices to do. */
struct hub_progress {
    const char *method; /* "retire" */
    const char *id;     /* of the request, as JSON */
    size_t done, refused, total;
};

/* A transition, or the progress of a command, for those who follow.  Borrowed during the call. */
struct hub_event {
    int64_t seq;    /* counts on over restarts, without gaps */
    int64_t epoch;  /* of the count: another one began it anew */
    int64_t time_s; /* wall clock */
    const struct hub_progress
        *progress; /* NULL: a transition; else only `who` has a meaning below */
    const char *device;
    enum flip_phase from, to;
    const char *cause;  /* stable: an event's name ("flip", "rejected"), or of a diagnosis
                           ("tls.unknown_ca") */
    const char *msg;    /* a sentence, or "" */
    const char *todo;   /* the remedy, or "" */
    const char *proven; /* at the end of a trial: what was proven in it, or "" */
    const char *who;    /* "certflipd" when nobody commanded it */
};

/* Something that a command changes together with what it makes durable.  It is saved in the
 * transaction of the flush, and done or undone after it; each with `arg`, which `undone` or the
 * end of `done` frees. */
struct hub_also {
    int (*save)(void *arg, struct store *store, struct err *err);
    void (*done)(void *arg);
    void (*undone)(void *arg);
    void *arg;
};

/* What the hub needs from the world; each with `arg`. */
struct hub_sink {
    void (*post)(void *arg, unsigned worker, struct msg *m); /* takes m */
    void (*device_changed)(void *arg,
                           const char *device); /* what show_device gives, or it is gone */
    void (*event)(void *arg, const struct hub_event *ev);
    void (*trust_changed)(void *arg);       /* other anchors are in force */
    void (*wake)(void *arg, int64_t at_ms); /* call hub_tick then (CLOCK_BOOTTIME); 0: no need to */
    int64_t (*now_ms)(void *arg);           /* CLOCK_BOOTTIME */
    int64_t (*wall_s)(void *arg);           /* wall clock */
    void (*sync)(void *arg, struct clock_sync *out); /* is it synchronised?  NULL: nobody asks */
    void *arg;
    const char *boot; /* which boot of the machine now_ms belongs to; "": not known.  Borrowed */
    unsigned workers;
};

/* A sensor that is connected. */
struct hub_session {
    struct list link; /* in its device's sessions */
    uint64_t id;
    unsigned worker;
    int64_t since_s;
    uint64_t connected_us; /* CLOCK_MONOTONIC */
    int leg;               /* slot of the upstream leg that was accepted and stands; -1: none */
    int version;
    char listener[65], peer[72], tls[24], fp[65];
    char client_id[129];
    const char *anchor; /* the hub's: fingerprint of the one that vouches for the sensor; "" */
    const char *broker; /* the same for the broker of the leg that stands */
    char *exception;    /* owned: by which its certificate was accepted; NULL: needs none */
};

/* How an exception of the configuration is used. */
struct hub_exception {
    size_t sessions, devices; /* now */
    uint64_t uses;            /* since the start */
    int64_t last_s;           /* wall clock, over restarts; 0: never, as far as is known */
};

/* The latest news of a device's upstream side. */
struct hub_leg {
    enum msg_leg_what what;
    enum flip_slot slot;
    bool session_present; /* ACCEPTED: the broker still had the session */
    uint64_t number;      /* counts the news of this device */
    int64_t since_s;
    char tls[24], fp[65];
};

struct hub_error {
    int64_t time_s;
    enum flip_slot slot;
    struct diag diag;
};

/* What the broker refuses a device on its old identity, too: not unexpected in a trial.  Written
 * with the row, at the latest when a flip begins; what is heard in a trial is written at once. */
struct hub_refusals {
    char fp[65]; /* of that identity */
    unsigned n;
    uint64_t key[STORE_REFUSALS]; /* msg's `refusal`, the rest 0 */
};

/* What a device adds to struct hub_counts. */
struct hub_share {
    bool counted, faulty, stuck;
    enum flip_phase phase;
    unsigned sessions;
};

/* Findings of lint about one identity, a bit for each enum lint_code. */
struct hub_lint {
    uint64_t errors, warnings;
};

/* Read it as you like; only the hub writes. */
struct hub_device {
    char *name;                        /* owned */
    struct cred *cred[FLIP_SLOTS];     /* owned references; NULL: empty or unusable */
    bool present[FLIP_SLOTS];          /* the slot has files */
    char *fault[FLIP_SLOTS];           /* owned; why they are unusable, or NULL */
    struct hub_lint shown[FLIP_SLOTS]; /* what hub_lint_now said when they were last looked at */
    bool looked_at;
    struct hub_lint lint[FLIP_SLOTS]; /* as of when it was read; hub_lint_now for what time did, and
                                         for what other devices have, too */
    struct cred *lint_counted[FLIP_SLOTS]; /* owned references: what hub_lint_count has counted */
    char *lint_text;                 /* owned; what keeps the new identity from being staged */
    int64_t csr_since_s[FLIP_SLOTS]; /* wall clock: a key waits for its certificate; 0: none */
    char new_fp[65];                 /* of the new identity when it was last usable; "": none */
    struct flip flip;                /* as the engine has it now */
    struct flip saved;               /* as it is in the store */
    char *reason, *saved_reason;     /* owned, or NULL: why it was rolled back */
    struct store_proof *proof;       /* owned; NULL: nothing was proven since the latest flip */
    struct store_proof *saved_proof; /* owned: as it is in the store */
    struct hub_refusals *refusals;   /* owned; NULL: none known */
    int64_t changed_s;               /* wall clock; 0: never */
    int64_t saved_changed_s;         /* as it is in the store */
    struct list sessions;            /* struct hub_session, the newest last */
    unsigned session_count;
    struct hub_share share;    /* as it is in the hub's counts */
    struct presence *presence; /* owned reference; the workers count in it */
    struct hub_leg *leg;       /* owned; NULL: no news yet */
    const char *sensor;        /* the hub's: fingerprint of the anchor that vouched for the sensor
                                  when it came in last; "": not known */
    bool sensor_unsaved;
    struct hub_error *error; /* owned; NULL: none */

    uint64_t seq;                    /* number of the latest decision */
    uint64_t told_seq;               /* of the one that the workers have */
    enum flip_slot told_slot;        /* and the slot it named */
    bool rejected;                   /* the committed identity was, and was not accepted since */
    bool trying_old;                 /* therefore the other identity is being tried */
    unsigned old_failures;           /* of such tries in a row */
    int64_t try_old_from_ms;         /* the next one not earlier (CLOCK_BOOTTIME) */
    bool going_back;                 /* to the old identity: EV_ROLLED is awaited */
    bool uncounted;                  /* resumed, and nothing was tried since: not an attempt yet */
    bool must_count;                 /* resumed by a clock that cannot be right: an attempt */
    bool queued;                     /* waits for its turn */
    bool unhurried;                  /* on a way back that may wait for its turn */
    bool moving;                     /* its turn: counts against flip.concurrent */
    uint8_t steps;                   /* of this trial that the audit log has: HUB_STEPS at most */
    uint32_t round;                  /* in which its turn began, for pace_end */
    int64_t moving_until_ms;         /* when its turn ends, whatever happened */
    uint32_t echo_us;                /* how long the latest echo took */
    bool dirty, tell, gone, touched; /* collected for hub_flush */
    bool trial_over;                 /* the workers are to be told so, with it */
    bool unsaved;                    /* its row has to be written, whatever was undone */
    bool another;                    /* the identity on trial is, and the row does not say so yet */
    bool retired; /* the workers are to be told so: what was the new identity is the old one */
    uint64_t retired_seq;      /* the decision that did it: what they tell of earlier ones is of the
                                  slots as they were */
    bool behind;               /* files could not be put back: they are not those that are in use */
    struct hub_change *change; /* owned; what a command has done to the files; NULL: nothing */
    bool commanded;            /* what is collected for hub_flush comes of a command */
    bool tried_old;            /* trying_old, before that command */
    bool fell;              /* the connection on trial has ended, and the row does not say so yet */
    enum flip_event retry;  /* news that could not be made durable */
    char *retry_cause;      /* owned */
    uint64_t looks;         /* what it looked like for whoever watches (hub_look) */
    uint64_t look_rev;      /* and since which number; 0: nobody has looked */
    struct heap_item due;   /* in trial: when somebody has to look at its deadlines */
    struct list queue_link; /* queued or moving */
    struct list dirty_link; /* something is collected for hub_flush */
};

/* The members of struct worker_stats that add up. */
#define HUB_STATS(X)             \
    X(sessions)                  \
    X(legs_up)                   \
    X(accepted)                  \
    X(refused)                   \
    X(exceptions)                \
    X(packets_in)                \
    X(packets_out)               \
    X(bytes_in)                  \
    X(bytes_out)                 \
    X(publishes_up)              \
    X(publishes_down)            \
    X(publishes_denied)          \
    X(packets_inexpressible)     \
    X(rehomes)                   \
    X(rehomes_failed)            \
    X(ways_back)                 \
    X(spareless)                 \
    X(taken_over)                \
    X(replayed)                  \
    X(restored_subscriptions)    \
    X(restore_refused)           \
    X(retained_suppressed)       \
    X(publishes_lowered)         \
    X(rehome_lost)               \
    X(echoes)                    \
    X(evidence_refused)          \
    X(hold_us_sum)               \
    X(downstream_closed_by_peer) \
    X(downstream_closed_by_us)   \
    X(cut_revoked)               \
    X(cut_distrusted)            \
    X(crl_missing)               \
    X(crl_stale)                 \
    X(ocsp_missing)              \
    X(ocsp_stale)                \
    X(ocsp_invalid)              \
    X(publishes_shed)

/* How the queue goes. */
struct hub_pace {
    size_t waiting, moving;
    uint32_t window; /* so many at once, at the moment */
    bool paused;     /* by an outage */
};

struct hub_counts {
    size_t total, online, queued, faulty, phase[FLIP_PHASES], sessions;
    size_t stuck; /* of the faulty: cannot connect, as the active identity is not usable */
};

struct hub_refused {
    char code[48];
    uint64_t count;
};
#define HUB_REFUSED_CODES 32

/* What is counted here since the start. */
struct hub_tally {
    uint64_t transitions[FLIP_PHASES][FLIP_PHASES]; /* from, to */
    uint64_t rollbacks[FLIP_EVENTS];                /* by what brought them about */
    struct histogram answers;                       /* of workers to hub_poll */
};

/* How a worker's loop turns. */
struct hub_worker {
    int64_t age_ms;     /* of its latest answer; -1: none yet */
    uint32_t answer_ms; /* how long that took */
    uint64_t sessions;  /* as it said then */
};

/* The terms of a flip; those that are 0 come from the configuration. */
struct hub_terms {
    enum flip_confirm confirm;
    int64_t probation_ms, confirm_ms;
    unsigned evidence;   /* FLIP_PROOF_CONNACK: that alone; FLIP_PROOF_ECHO */
    int64_t not_after_s; /* wall clock; 0: none */
    bool force;          /* whatever lint says */
};

struct hub_reload {
    size_t changed, added, gone; /* devices */
    bool begun;                  /* the new configuration is in use, whatever failed after that */
};

/* `store` is borrowed, the snapshot gets a reference.  Returns owned or NULL. */
struct hub *hub_new(const struct hub_sink *sink, struct store *store, struct wk_snapshot *snapshot,
                    struct err *err);
void hub_free(struct hub *h); /* NULL is fine */

/* Read identities and phases and settle what a restart means for each.  The hub_flush that follows
 * makes it durable and tells the workers: so what fails in between costs no trial an attempt. */
int hub_start(struct hub *h, struct err *err);

/* Another configuration: to be called with the new snapshot when all of it is known to be good.
 * Tells the workers and reads the identities again.  Until out->begun nothing is changed. */
int hub_reload(struct hub *h, struct wk_snapshot *snapshot, struct hub_reload *out,
               struct err *err);

/* News of a worker.  Takes m.  To be followed by hub_flush, once for several. */
void hub_message(struct hub *h, struct msg *m);

/* Something is due (hub_sink.wake).  Flushes by itself. */
void hub_tick(struct hub *h);

/* A command for one device: one of EV_FLIP (terms needed), EV_ROLLBACK, EV_CONFIRMED (with a
 * fingerprint, which must be that of the new identity), EV_COMMIT, EV_CLEARED.  `text` is its
 * reason, or NULL.  *changed: not there already. Returns 0 or -1 with the fault.  To be followed by
 * hub_flush. */
int hub_command(struct hub *h, struct hub_device *d, enum flip_event ev,
                const struct hub_terms *terms, const char *fingerprint, const char *text,
                const char *who, bool *changed, struct rpc_fault *f);

/* Commands that change the files of the new slot.  What they do to them is undone when it cannot
 * be made durable, and each is refused while a trial or an earlier change is under way.  All return
 * 0 or -1 with the fault, and are to be followed by hub_flush. */

/* Put a key with its request into the new slot (`what` has no chain), or an identity, which is
 * staged then.  Refused where it would take the place of an identity that is staged, in use or in
 * quarantine; `replace`: not where that has the same key. */
struct files_slot;
int hub_put_new(struct hub *h, struct hub_device *d, const struct files_slot *what, bool replace,
                const char *who, struct rpc_fault *f);
/* May it be done? */
int hub_may_put_new(struct hub *h, const struct hub_device *d, bool replace, struct rpc_fault *f);
/* Destroy what is in the new slot, an identity or a key that waits.  *changed: there was one. */
int hub_discard(struct hub *h, struct hub_device *d, const char *who, bool *changed,
                struct rpc_fault *f);
/* Archive the old identity, and let the new one take its place: sessions stay where they are.
 * *changed: false when there is no new one any more. */
int hub_retire(struct hub *h, struct hub_device *d, const char *who, bool *changed,
               struct rpc_fault *f);

/* Judge one identity that is there for `now_s` (wall clock).  Returns 0 or -ERR_NOMEM; the caller
 * ends the report. */
int hub_lint(const struct hub *h, const struct hub_device *d, enum flip_slot slot, int64_t now_s,
             struct lint_report *out);
/* The same of one that is not there yet, as what that slot is to hold. */
int hub_lint_cred(const struct hub *h, const char *device, enum flip_slot slot,
                  const struct cred *cred, int64_t now_s, struct lint_report *out);
/* The gravest error that the clock does not mend, or NULL: it keeps a new identity from being
 * staged. */
const struct lint_finding *hub_lint_lasting(const struct lint_report *r);
/* What is known without judging it anew, for now: constant time. */
struct hub_lint hub_lint_now(const struct hub *h, const struct hub_device *d, enum flip_slot slot);
/* To be called every second or so: who follows a device is told when time, or another device, has
 * changed what lint says of it.  Some thousand devices are looked at each time. */
void hub_lint_watch(struct hub *h);
bool hub_lint_has_anchors(const struct hub *h);

/* The files of this device were changed by ourselves: take them up as a reload would; a device that
 * was not known is from now on.  To be followed by hub_flush.  Returns 0 or a negative code. */
int hub_load_device(struct hub *h, const char *name, struct err *err);

/* Written with the next flush, in the same transaction. */
int hub_audit(struct hub *h, const char *who, const char *what, const char *target,
              const char *outcome);
/* An event with the next flush: `who` has come so far. */
int hub_tell_progress(struct hub *h, const char *who, const struct hub_progress *p);
/* The same; takes `id` and `reply`. */
void hub_remember(struct hub *h, char *id, char *reply);

/* Takes what `also` holds: one for each flush, which is to follow. */
void hub_with_flush(struct hub *h, const struct hub_also *also);

/* Another snapshot of the same configuration: the workers use it for what begins from now on.  For
 * sink.trust_changed. */
void hub_swap(struct hub *h, struct wk_snapshot *snapshot);

/* Make durable, then do.  Returns 0, or a negative code when nothing was changed. */
int hub_flush(struct hub *h, struct err *err);

/* The same for what has come to pass since the last flush, if anything has: to be called before a
 * command decides on it.  What cannot be saved is said by the command. */
void hub_settle(struct hub *h);

/* Look at the clock: to be called every second or so.  What changes is logged; and what is known to
 * have passed is remembered over a restart. */
void hub_clock_look(struct hub *h);
/* What is known of it now.  Returns since when it is, or is not, synchronised (wall clock); 0: it
 * is not known which. */
int64_t hub_clock(const struct hub *h, struct flip_clock *out);
/* Somebody has commanded in spite of it: what seems to have happened later counts no more. */
void hub_clock_vouched(struct hub *h);

/* Of the exception with this name.  Looks at every session: for those who show it. */
void hub_exception(struct hub *h, const char *name, struct hub_exception *out);

/* A list of revoked certificates has come: look whether identities are in it.  To be followed by
 * hub_flush. */
void hub_lint_lists(struct hub *h);

/* Ask the workers for their counters; the answers come as messages. */
void hub_poll(struct hub *h);
/* A worker that has not answered that for longer than `ms`, by CLOCK_BOOTTIME; -1: there is none.
 */
int hub_silent_worker(const struct hub *h, int64_t ms);

/* A device looks like this now, a hash of it.  Returns the number since which it does: what has
 * changed after a look has a greater one than any of that look.  Numbers are good as long as the
 * epoch is the same: it is another one when devices have gone, and in another life. */
uint64_t hub_look(struct hub *h, struct hub_device *d, uint64_t looks);
int64_t hub_look_epoch(const struct hub *h);

struct hub_device *hub_find(const struct hub *h, const char *name); /* borrows, or NULL */
/* All, sorted by name; valid until the next reload. */
struct hub_device *const *hub_devices(const struct hub *h, size_t *count);
int64_t hub_now(const struct hub *h); /* CLOCK_BOOTTIME, of the sink */
/* Number of the latest event that was told, and the epoch of the count. */
int64_t hub_event_seq(const struct hub *h, int64_t *epoch);
/* As of the latest flush; constant time. */
void hub_count(const struct hub *h, struct hub_counts *out);
void hub_pace(const struct hub *h, struct hub_pace *out);
/* What to do about a rollback that no failure of a connection explains; NULL: nothing is known. */
const char *hub_reason_todo(const struct hub_device *d);
/* Why the state could not be written at the latest attempt, and when that was; borrows, or NULL: it
 * was written. */
const char *hub_save_fault(const struct hub *h, int64_t *when_s);
const struct hub_refused *hub_refused(const struct hub *h, size_t *count);
void hub_tally(const struct hub *h, struct hub_tally *out);
void hub_worker(const struct hub *h, unsigned worker, struct hub_worker *out);
/* Sum over the workers; *age_ms of the oldest part, -1: none yet. */
void hub_stats(const struct hub *h, struct worker_stats *out, int64_t *age_ms);
const struct conf *hub_conf(const struct hub *h);
struct wk_snapshot *hub_snapshot(const struct hub *h); /* borrows */
unsigned hub_workers(const struct hub *h);

#endif
