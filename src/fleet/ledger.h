/* fleet/ledger.h - a campaign's durable state: one SQLite database for each campaign.
 *
 * WAL, synchronous=FULL.  Writes go in groups (begin, commit); a group is durable when
 * ledger_commit returns.  At most one process may run a campaign: ledger_own holds a lock of the
 * file that ends with the process, and the ledger names its holder; others may read meanwhile.
 * Blocks.  Everything returns 0 or a negative code with err set; after an error of a write nothing
 * was changed.
 */
#ifndef FLEET_LEDGER_H
#define FLEET_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "fleet/progress.h"

struct ledger;

/* Open, or with `create` make, the database.  One of a later version, of another program, a corrupt
 * one, an unwritable folder: an error that names the file and the remedy.  Returns owned or NULL.
 */
struct ledger *ledger_open(const char *path, bool create, struct err *err);
void ledger_close(struct ledger *l); /* NULL is fine */

/* Take the campaign for this process.  -ERR_BUSY: err says who has it (user@host, pid, since). */
int ledger_own(struct ledger *l, const char *who, struct err *err);

int ledger_begin(struct ledger *l, struct err *err);
int ledger_commit(struct ledger *l, struct err *err);
void ledger_rollback(struct ledger *l);

/* -ERR_NOT_FOUND: no campaign was begun in it. */
int ledger_campaign(struct ledger *l, struct fleet_campaign *out, struct err *err);
int ledger_campaign_put(struct ledger *l, const struct fleet_campaign *c, struct err *err);

int ledger_gateway_put(struct ledger *l, const struct fleet_gateway *g, struct err *err);
int ledger_device_put(struct ledger *l, const struct fleet_device *d, struct err *err);
/* Sorted by name (devices: by wave, then gateway, then name).  Stops when `each` returns other than
 * 0 and returns that. */
int ledger_gateways(struct ledger *l, int (*each)(void *arg, const struct fleet_gateway *g),
                    void *arg, struct err *err);
int ledger_devices(struct ledger *l, int (*each)(void *arg, const struct fleet_device *d),
                   void *arg, struct err *err);

/* A device's request and certificate, PEM; NULL leaves what is there.  Returned owned, or NULL
 * where there is none. */
int ledger_pem_put(struct ledger *l, const char *gateway, const char *device, const char *csr,
                   const char *chain, struct err *err);
int ledger_pem(struct ledger *l, const char *gateway, const char *device, char **csr, char **chain,
               struct err *err);

/* Requests that are open, or answered and not yet acted upon, in the order in which they came. */
int ledger_request_put(struct ledger *l, const struct fleet_request *r, struct err *err);
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
