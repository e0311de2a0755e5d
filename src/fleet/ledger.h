/* fleet/ledger.h - a campaign's durable state: one SQLite database for each campaign.
 *
 * WAL, synchronous=FULL.  Writes go in groups (begin, commit); a group is durable when
 * ledger_commit returns, and a write by itself when it returns.  At most one process may run a
 * campaign: ledger_own holds a lock of FILE.lock that ends with the process, and that file names
 * its holder; others may read meanwhile, and put wishes.  All other writes are refused
 * (-ERR_DENIED) to who does not own it.
 * Blocks, for others' commits 10 seconds at most.  One thread.  Everything returns 0 or a negative
 * code with err set; after an error of a write nothing was changed.
 */
#ifndef FLEET_LEDGER_H
#define FLEET_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "fleet/progress.h"

struct ledger;

/* Open, or with `create` make, the database.  One of a later version, of another program, a corrupt
 * one, an unwritable folder: an error that names the file and the remedy; ERR_NOT_FOUND where there
 * is none.  Returns owned or NULL.
 */
struct ledger *ledger_open(const char *path, bool create, struct err *err);
void ledger_close(struct ledger *l); /* NULL is fine */

/* Take the campaign for this process; `who` is user@host.  -ERR_BUSY: err says who has it (who,
 * process, since).  The whole file is checked then.  Twice is fine. */
int ledger_own(struct ledger *l, const char *who, struct err *err);
/* Does another process run it?  Returns 1, with "anna@plant, process 4711, since ..." in `who`; 0
 * for nobody, or this one; or a negative code. */
int ledger_owner(struct ledger *l, char *who, size_t n, struct err *err);
bool ledger_is_ours(const struct ledger *l); /* ledger_own was asked, and succeeded */

/* Groups do not nest.  When a write of the group failed, or its commit, nothing of it was saved;
 * ledger_rollback without a group is harmless. */
int ledger_begin(struct ledger *l, struct err *err);
int ledger_commit(struct ledger *l, struct err *err);
void ledger_rollback(struct ledger *l);

/* Until ledger_rollback all that is read is of one moment, whatever the owner writes meanwhile.
 * Nothing can be written between. */
int ledger_snapshot(struct ledger *l, struct err *err);
/* Another number than before when somebody has written since, here or elsewhere; cheap. */
int64_t ledger_version(struct ledger *l);

/* -ERR_NOT_FOUND: no campaign was begun in it. */
int ledger_campaign(struct ledger *l, struct fleet_campaign *out, struct err *err);
int ledger_campaign_put(struct ledger *l, const struct fleet_campaign *c, struct err *err);

int ledger_gateway_put(struct ledger *l, const struct fleet_gateway *g, struct err *err);
int ledger_device_put(struct ledger *l, const struct fleet_device *d, struct err *err);
/* Sorted by name (devices: by wave, then gateway, then name).  Stops when `each` returns other than
 * 0 and returns that.  Everywhere here `each` may write, but not walk over the same rows again. */
int ledger_gateways(struct ledger *l, int (*each)(void *arg, const struct fleet_gateway *g),
                    void *arg, struct err *err);
int ledger_devices(struct ledger *l, int (*each)(void *arg, const struct fleet_device *d),
                   void *arg, struct err *err);

int ledger_gateway(struct ledger *l, const char *name, struct fleet_gateway *out, struct err *err);
int ledger_device(struct ledger *l, const char *gateway, const char *name, struct fleet_device *out,
                  struct err *err); /* both: -ERR_NOT_FOUND */

/* How many devices there are of each kind, by gateway, wave and step: for who shows progress. */
struct ledger_tally {
    const char *gateway;
    int wave;
    enum fleet_device_step step;
    size_t count;
};
int ledger_tallies(struct ledger *l, int (*each)(void *arg, const struct ledger_tally *t),
                   void *arg, struct err *err);

/* A device's request and certificate, PEM; NULL leaves what is there.  Returned owned, or NULL
 * where there is none. */
int ledger_pem_put(struct ledger *l, const char *gateway, const char *device, const char *csr,
                   const char *chain, struct err *err);
int ledger_pem(struct ledger *l, const char *gateway, const char *device, char **csr, char **chain,
               struct err *err);

/* Requests that are open, or answered and not yet acted upon, in the order in which they came.  A
 * put of an id that is there changes it in its place. */
int ledger_request_put(struct ledger *l, const struct fleet_request *q, struct err *err);
int ledger_requests(struct ledger *l, int (*each)(void *arg, const struct fleet_request *r),
                    void *arg, struct err *err);
int ledger_request_del(struct ledger *l, const char *id, struct err *err);

/* What an operator wants of the campaign that another process runs: "pause", "resume", "abort",
 * "rollback:3" (a wave), "skip:GATEWAY/DEVICE".  Written without owning it, taken by its owner in
 * order. */
int ledger_wish_put(struct ledger *l, const char *who, const char *wish, struct err *err);
int ledger_wishes(struct ledger *l,
                  int (*each)(void *arg, int64_t seq, const char *who, const char *wish), void *arg,
                  struct err *err);
int ledger_wish_del(struct ledger *l, int64_t seq, struct err *err);

/* The diary: what came to pass, for the report.  gateway, device: "" for none. */
struct ledger_note {
    int64_t seq, time_s;
    const char *what; /* "wave-begun", "flip", "failed", "halted", "operator", ... */
    const char *gateway, *device, *text;
};
int ledger_note_add(struct ledger *l, const char *what, const char *gateway, const char *device,
                    const char *text, struct err *err);
/* What follows `after`, in order. */
int ledger_notes(struct ledger *l, int64_t after,
                 int (*each)(void *arg, const struct ledger_note *n), void *arg, struct err *err);

#endif
