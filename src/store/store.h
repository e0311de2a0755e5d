/* store/store.h - what must survive: phases, active slots, commands seen, the audit log.
 *
 * One SQLite database (WAL, synchronous=FULL) in the state directory, schema versioned and
 * migrated.  Blocks; main thread only. Everything returns 0 or a negative code with err set; after
 * an error of a write nothing was changed.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdint.h>

#include "base/err.h"
#include "flip/engine.h"

struct store;

/* Open or create `dir`/certflip.db, migrate it, check it (quick_check).  A database of a later
 * version, a corrupt one, a second process holding it: an error that names the file and the way
 * back. Returns owned or NULL. */
struct store *store_open(const char *dir, struct err *err);
void store_close(struct store *s);               /* NULL is fine */
const char *store_folder(const struct store *s); /* borrows: the state directory */

/* What was proven of the new identity in the latest trial, and when. */
struct store_proof {
    unsigned what;                        /* FLIP_PROOF_ bits; 0: nothing */
    int64_t connack_s, echo_s, central_s; /* wall clock; each with its bit */
    int64_t echo_us;                      /* from PUBLISH to its coming back */
    bool session_present;                 /* CONNACK: the broker still had the session */
    char tls[24], fp[65]; /* of the connection that was accepted; fp: the certificate shown there */
    char by[129];         /* who confirmed */
};

#define STORE_REFUSALS 16

/* A device's row. */
struct store_device {
    char name[129];
    struct flip flip;     /* phase and trial, as it was saved: ask flip_broken before use */
    int64_t begin_by_s;   /* flip.begin_by_ms as wall clock, which survives a reboot; 0: whenever */
    char boot[40];        /* which boot of the machine CLOCK_BOOTTIME belongs to; "": not known */
    int64_t saved_s;      /* wall clock when it was saved */
    int64_t dead_left_ms; /* what was left of flip.dead_ms then */
    struct store_proof proof;
    uint64_t
        refused[STORE_REFUSALS]; /* what fp[FLIP_OLD] is refused, too; the first 0 is the end */
    char fp[2][65];              /* fingerprints of old and new when it was saved; "" none */
    char reason[400];            /* why it was rolled back / quarantined; "" */
    int64_t changed_s;           /* wall clock */
};

/* Durable when it returns (fsync). */
int store_device_put(struct store *s, const struct store_device *d, struct err *err);

/* Several in one transaction. */
int store_device_put_many(struct store *s, const struct store_device *d, size_t n, struct err *err);

/* -ERR_NOT_FOUND when there is none. */
int store_device_get(struct store *s, const char *name, struct store_device *out, struct err *err);

/* Sorted by name.  Stops when `each` returns other than 0 and returns that. `each` may write to the
 * store. */
int store_device_each(struct store *s, int (*each)(void *arg, const struct store_device *d),
                      void *arg, struct err *err);

/* Gone, or was never there. */
int store_device_del(struct store *s, const char *name, struct err *err);

/* Commands already carried out, by request id, with their replies; the oldest go beyond
 * `STORE_COMMANDS_KEPT`, and so do those that are older than STORE_COMMANDS_S, the time of running
 * alone counted: as long as a broker keeps a message for a gateway that is away. */
#define STORE_COMMANDS_KEPT 10000
#define STORE_COMMANDS_S    604800 /* 7 days */
/* Ids that begin so are of signed commands: however many others come, they stay until what was
 * signed has expired, so that nobody carries one out again by crowding it out. */
#define STORE_COMMAND_SIGNED "signed:"
#define STORE_SIGNED_S       90000 /* 25 hours */

/* *reply: returned owned.  -ERR_NOT_FOUND for a command that is new. */
int store_command_get(struct store *s, const char *id, char **reply, struct err *err);
int store_command_put(struct store *s, const char *id, const char *reply, struct err *err);

/* A change of a set of anchors: trust/change.h tells what it means; the certificate is in a file.
 */
struct store_trust {
    char set[16], kind[16]; /* "downstream", "anchor": as trust/change.h calls them */
    char fp[65];            /* with the set, its key */
    char only[2100];        /* names, with blanks between them; "": all */
    char note[320], who[129];
    int64_t time_s; /* wall clock */
};

int store_trust_put(struct store *s, const struct store_trust *t, struct err *err);
/* In the order in which they came.  Stops when `each` returns other than 0 and returns that. */
int store_trust_each(struct store *s, int (*each)(void *arg, const struct store_trust *t),
                     void *arg, struct err *err);

/* The anchor that vouched for a device's sensor the last time: its fingerprint. */
int store_sensor_put(struct store *s, const char *device, const char *anchor, struct err *err);
int store_sensor_each(struct store *s,
                      int (*each)(void *arg, const char *device, const char *anchor), void *arg,
                      struct err *err);

/* Append-only. */
struct store_audit {
    int64_t seq, time_s;
    char *who, *what, *target, *outcome; /* owned by the store during the callback */
};

/* The time is now. */
int store_audit_add(struct store *s, const char *who, const char *what, const char *target,
                    const char *outcome, struct err *err);

/* In the order of time: what follows entry `after_seq`, at most `limit`; after_seq < 0: the newest
 * `limit`. */
int store_audit_each(struct store *s, int64_t after_seq, unsigned limit,
                     int (*each)(void *arg, const struct store_audit *a), void *arg,
                     struct err *err);

/* Counters and settings that survive: "event-seq". */
int store_value_get(struct store *s, const char *key, int64_t *out,
                    struct err *err); /* 0 when absent: *out = 0 */
int store_value_put(struct store *s, const char *key, int64_t v, struct err *err);

/* Group several writes: all or nothing, one fsync.  Groups do not nest.  When store_commit fails,
 * or a write of the group failed for want of room, nothing of it was saved; store_rollback without
 * a group is harmless. */
int store_begin(struct store *s, struct err *err);
int store_commit(struct store *s, struct err *err);

/* A commit whose last step failed, the sync, may have reached the disk all the same, and would be
 * found there after a power cut.  It is made void at once by another write, or, where that fails as
 * well, by the next store_begin or store_settle that succeeds.  Returns 0 when there is none, or
 * not any more; until then nothing else is saved. */
int store_settle(struct store *s);
void store_rollback(struct store *s);

#endif
