/* control/hub_inside.h - what hub.c (decisions and their carrying out) and hub_load.c (devices on
 * disk) share.
 *
 * For these two files alone.  Main thread.
 */
#ifndef CONTROL_HUB_INSIDE_H
#define CONTROL_HUB_INSIDE_H

#include "base/map.h"
#include "control/hub.h"

struct crl_set; /* tls/crl.h */

#define HUB_RETRY_MS 5000        /* after the store failed */
#define HUB_SELF     "certflipd" /* who decides when nobody commanded it */
#define HUB_STEPS    10          /* of one trial go to the audit log */

/* Values that the store keeps. */
#define HUB_EVENT_SEQ "event-seq"
#define HUB_EPOCH     "event-epoch"

enum notice_kind { NOTICE_EVENT, NOTICE_PROGRESS, NOTICE_AUDIT, NOTICE_REMEMBER };

/* Something to be written down, or told, when the flush succeeds. */
struct notice {
    struct list link;
    enum notice_kind kind;
    struct hub_device *device; /* NOTICE_EVENT: borrowed */
    enum flip_event event;     /* NOTICE_EVENT: what brought it about */
    enum flip_phase from, to;
    char *a, *b, *c, *d;         /* owned: cause msg todo who; who what target outcome; id reply */
    char *proven;                /* owned, or NULL */
    size_t done, refused, total; /* NOTICE_PROGRESS: of the method a with the id b, by d */
};

/* Why a transition happens. */
struct hub_why {
    const char *cause; /* NULL: the event's name */
    const char *msg;   /* NULL: nothing to add */
    const char *todo;
    const char *who; /* NULL: the daemon itself */
};

struct hub {
    struct hub_sink sink;
    struct store *store;          /* borrowed */
    struct wk_snapshot *snapshot; /* owned reference */
    struct map *by_name;          /* struct hub_device */
    struct hub_device **sorted;   /* owned array; the devices are owned by it */
    size_t count, capacity;
    struct hub_counts counts; /* the devices' shares; what is known otherwise is 0 */

    /* Collected for the next flush. */
    struct list dirty;   /* of devices */
    struct list notices; /* transitions, audit rows, replies to remember */
    int64_t event_seq;   /* of the latest event that is durable */
    int64_t epoch;       /* of that count */
    bool epoch_saved;
    size_t looked;          /* of hub_lint_watch: where it goes on */
    struct hub_also also;   /* of a command; without functions: nothing */
    struct map *anchors;    /* fingerprints of anchors, by themselves: what sessions point to */
    bool sensors_due;       /* and it is time */
    size_t sensors_unsaved; /* devices whose `sensor` is to be written */

    struct heap due;   /* of devices in trial, by their next deadline */
    struct list queue; /* devices that wait for their turn */
    struct list back;  /* the same, for their way back: they come first */
    struct list
        moving; /* and those whose turn it is, in the order of moving_until_ms or nearly so */
    struct pace pace;
    bool queueing; /* somebody waits for a turn, and pace was told so */
    size_t queue_count, moving_count;
    int64_t wake_ms; /* what the sink was asked for; 0: nothing */
    int64_t ticked_ms;
    bool retrying;        /* some device has news that could not be made durable */
    char *save_fault;     /* owned; why the latest flush failed, NULL: it did not */
    int64_t save_fault_s; /* wall clock, of that flush */

    struct {
        struct clock_sync sync; /* at the latest look */
        int64_t since_s;        /* wall clock, of the look at which it became so; 0: none yet */
        int64_t seen_s;         /* wall clock: the newest thing that has happened */
        int64_t known_s;        /* a time that has passed for certain; 0: none is known yet */
        int64_t saved_s;        /* and as it is in the store */
        bool behind;            /* it says what was before known_s */
    } clock;

    struct lint_anchors *lint_anchors; /* owned; NULL: none are configured */
    struct crl_set *lint_crls; /* owned: what those have revoked; NULL where none are configured */
    struct tally *lint_tally;  /* owned: of keys and serial numbers */
    bool lint_anew;            /* by this reload: what is asked of identities has changed */
    struct exception_use *exceptions; /* owned array: those that were used */
    size_t exception_count;

    struct worker_stats *stats; /* by worker */
    int64_t *stats_ms;          /* when it came; 0: not yet */
    int64_t polled_ms;          /* the workers were first asked; 0: not yet */
    int64_t *asked_ms;          /* by worker: when it was, unanswered; 0: nothing is */
    uint32_t *answer_ms;        /* by worker: how long the latest answer took */
    struct hub_tally tally;
    uint64_t look_rev; /* the latest of hub_look */
    int64_t look_epoch;
    struct hub_refused refused[HUB_REFUSED_CODES];
    size_t refused_count;
};

/* hub_exceptions.c: a session began by it. */
void hub_exception_used(struct hub *h, const char *name);
void hub_exceptions_free(struct hub *h);

/* hub_clock.c: what an earlier life knew of the time; before and after the devices are read. */
int hub_clock_start(struct hub *h, struct err *err);
void hub_clock_devices(struct hub *h);
/* Something is written down as having happened now. */
void hub_clock_seen(struct hub *h);

/* Let the engine take an event and collect what it wants done.  Returns 0 or the engine's refusal.
 */
int hub_apply(struct hub *h, struct hub_device *d, enum flip_event ev, const struct hub_why *why);

/* The identity on trial is being tried: that makes it an attempt. */
void hub_count_attempt(struct hub *h, struct hub_device *d);

/* "connack over TLSv1.3 at 2031-05-02T00:00:00Z, ..."; "" for nothing.  Returns out. */
const char *hub_proof_text(const struct store_proof *p, char *out, size_t n);
/* *into becomes a copy of p; NULL, or nothing proven: NULL. */
void hub_proof_copy(struct store_proof **into, const struct store_proof *p);

/* A connection that is lost takes its proof with it, as long as the trial goes on. */
void hub_proof_fallen(struct hub_device *d);

/* What a command did to the files was made durable, or could not be: hub_change.c. */
void hub_change_done(struct hub *h, struct hub_device *d);
void hub_change_undo(struct hub *h, struct hub_device *d);
void hub_change_free(struct hub_change *c); /* NULL is fine */
/* 0, or -1 with the fault: the files are not those of the identities in memory, so what is proven
 * with these says nothing of what the next start finds. */
int hub_refuse_behind(const struct hub_device *d, struct rpc_fault *f);
/* The old slot holds what was the new identity; it is only for memory to follow. */
void hub_take_old(struct hub_device *d);

/* Bring the device's share of the counts up to date; `gone`: it has none any more. */
void hub_recount(struct hub *h, struct hub_device *d, bool gone);

/* Something that show_device shows has changed. */
void hub_touch(struct hub *h, struct hub_device *d);
/* Something is collected on the device for the flush. */
void hub_note(struct hub *h, struct hub_device *d);
/* The invariants of a phase, kept where it is entered. */
void hub_phase_entered(struct hub *h, struct hub_device *d);

/* Added to h->notices; NULL texts become "".  NULL when out of memory. */
struct notice *hub_notice_new(struct hub *h, enum notice_kind kind, const char *a, const char *b,
                              const char *c, const char *d);
void hub_notice_free(struct notice *n);
void hub_notices_drop(struct hub *h);

/* hub_tick is wanted at that time (CLOCK_BOOTTIME); 0: it is not. */
void hub_wake_at(struct hub *h, int64_t at_ms);
/* Ask for whatever is due next. */
void hub_look_again(struct hub *h);

/* Tell every worker about the identities of a device, and the slot of the decision that they have.
 */
void hub_post_device(struct hub *h, struct hub_device *d, bool identities_changed);
/* A copy of `m` for every worker.  Takes m. */
void hub_post_all(struct hub *h, struct msg *m);
struct msg *hub_device_msg(enum msg_kind kind,
                           const char *name); /* owned, or NULL after a log line */

/* Its flip has changed: look at its deadlines when the next one is due. */
void hub_set_due(struct hub *h, struct hub_device *d);

/* The device's turn to move is over; it does not wait for one any more. */
void hub_turn_end(struct hub *h, struct hub_device *d, enum pace_end how);
void hub_queue_leave(struct hub *h, struct hub_device *d);
/* It waits for its way back while it relays on the new leg; that leg is gone, or another session of
 * it begins: it does not wait any longer. */
void hub_hurry_back(struct hub *h, struct hub_device *d);
/* A broker has accepted a connection. */
void hub_sign_of_life(struct hub *h);

/* The device's sessions are back on the old identity, if that is awaited. */
void hub_back_on_old(struct hub *h, struct hub_device *d);

/* Does some live session of the device stand on this slot? */
bool hub_stands_on(const struct hub_device *d, enum flip_slot slot);
/* The hub's own copy of an anchor's fingerprint, "" of what is not there; lives as long as the
 * hub. */
const char *hub_anchor_name(struct hub *h, const char *fp);
struct hub_session *hub_session_find(struct hub_device *d, uint64_t id);
void hub_session_free(struct hub_session *s);

/* hub_lint.c: the anchors that are configured, and what they have revoked; both NULL for none.
 * Returns 0 or a negative code. */
int hub_lint_read(const struct conf *conf, struct lint_anchors **anchors, struct crl_set **crls,
                  struct err *err);
void hub_lint_drop(struct lint_anchors *anchors, struct crl_set *crls); /* takes both */
bool hub_lint_revoked(const struct hub *h, struct slice der);
/* These take the place of what there was.  Returns whether they are others. */
bool hub_lint_take(struct hub *h, struct lint_anchors *anchors, struct crl_set *crls);
/* Is the same asked of identities, but for the anchors? */
bool hub_lint_same(const struct conf *a, const struct conf *b);
/* Judge what is in a slot, and keep what was found. */
void hub_lint_look(struct hub *h, struct hub_device *d, enum flip_slot slot);
/* Is there an error that keeps the new identity from being staged, and that time does not mend? */
bool hub_lint_keeps(const struct hub_device *d);
/* Such an error is the fault of a new identity that is not in use. */
void hub_lint_fault(struct hub_device *d);
/* 0, or -1 with the fault: the new identity is not to be flipped to. */
int hub_lint_refuse(const struct hub *h, const struct hub_device *d, bool force, const char *who,
                    struct rpc_fault *f);
/* For keys and serial numbers that are there twice: whatever its slots hold now is counted; `gone`:
 * nothing of it is there any more. */
void hub_lint_count(struct hub *h, struct hub_device *d, bool gone);
int hub_lint_init(struct hub *h); /* 0 or -ERR_NOMEM */
void hub_lint_fini(struct hub *h);

int64_t hub_wall_s(const struct hub *h);
void hub_replace(char **text, const char *with); /* frees, copies; "" and NULL become NULL */
void hub_device_free(struct hub_device *d);

/* Can the folder of identities be read?  Returns 0 or a negative code with err. */
int hub_scan_check(const struct conf *conf, struct err *err);

/* Find the devices on disk; devices that are there already are compared.  `out` counts. */
int hub_scan(struct hub *h, bool starting, struct hub_reload *out, struct err *err);

#endif
