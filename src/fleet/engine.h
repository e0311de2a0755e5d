/* fleet/engine.h - what a campaign does next.
 *
 * Pure: no clock, no network, no files, no log.  It is handed what the ledger has, what the view
 * shows, replies, certificates and wishes; it hands out rows to be saved, and, once these are
 * durable, requests to be sent and certificate requests to be signed.  Level-triggered: it looks at
 * what is, so that a message that was lost, that came twice or before a restart makes no
 * difference.  Everything that it knows beyond the ledger can be found out again.
 *
 * Work per step grows with what has changed and with the number of gateways, not with that of
 * devices.  One thread.
 */
#ifndef FLEET_ENGINE_H
#define FLEET_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "fleet/campaign.h"
#include "fleet/progress.h"
#include "fleet/sign.h"
#include "fleet/view.h"

struct engine;

/* Rows of one step, to be saved as one group; all borrowed during the call.  What a call returns
 * other than 0 ends the step, and the engine is of no use afterwards: make another one of the
 * ledger. */
struct engine_out {
    int (*campaign)(void *arg, const struct fleet_campaign *c, struct err *err);
    int (*gateway)(void *arg, const struct fleet_gateway *g, struct err *err);
    int (*device)(void *arg, const struct fleet_device *d, struct err *err);
    /* As ledger_pem_put and ledger_pem. */
    int (*pem)(void *arg, const char *gateway, const char *device, const char *csr,
               const char *chain, struct err *err);
    int (*pem_get)(void *arg, const char *gateway, const char *device, char **csr, char **chain,
                   struct err *err);
    int (*request)(void *arg, const struct fleet_request *r, struct err *err);
    int (*request_del)(void *arg, const char *id, struct err *err);
    /* Something came to pass: for the diary, and for whoever looks on.  gateway, device: "". */
    int (*note)(void *arg, const char *what, const char *gateway, const char *device,
                const char *text, struct err *err);
    void *arg;
};

/* `c` and `v` are borrowed; they outlive the engine.  Returns owned, or NULL without memory. */
struct engine *engine_new(const struct campaign *c, const struct view *v);
void engine_free(struct engine *e); /* NULL is fine */

/* What the ledger has: the campaign first, then gateways, devices, requests.  0, -ERR_NOMEM, or
 * -ERR_INVALID for a row that fits nowhere. */
int engine_load_campaign(struct engine *e, const struct fleet_campaign *c, struct err *err);
int engine_load_gateway(struct engine *e, const struct fleet_gateway *row, struct err *err);
int engine_load_device(struct engine *e, const struct fleet_device *row, struct err *err);
int engine_load_request(struct engine *e, const struct fleet_request *row, struct err *err);

/* News, in any order; those of things that the campaign is not about are passed over.  What they
 * bring about comes with the next step. */
void engine_gateway_news(struct engine *e, const char *gateway); /* its state in the view */
void engine_device_news(struct engine *e, const char *gateway, const char *device);
int engine_reply(struct engine *e, const char *gateway, const char *id, const char *reply, size_t n,
                 struct err *err);
int engine_signed(struct engine *e, const struct signed_cert *cert, struct err *err);

/* What an operator wants: "pause", "resume", "abort", "rollback:3", "rollback:wave" (the
 * current one), "rollback:all", "skip:G/D", "renew": as resume, and what has
 * failed gets another key and certificate.
 * Takes effect with the next step.  -ERR_INVALID, with err for him: it cannot be done now. */
int engine_wish(struct engine *e, const char *who, const char *wish, int64_t now_s,
                struct err *err);

/* Go on. */
int engine_step(struct engine *e, int64_t now_s, const struct engine_out *out, struct err *err);

/* Hand out what has changed, and do not go on: nobody knows what is true now, as the link is down,
 * or only a wish is to be carried out. */
int engine_save(struct engine *e, int64_t now_s, const struct engine_out *out, struct err *err);

/* After the rows of a step are durable: hand over what is to be sent, new and again.  `send`
 * returns 0, or -ERR_BUSY: no more now, it comes again; other codes end it. */
int engine_send(struct engine *e, int64_t now_s,
                int (*send)(void *arg, const struct fleet_request *r, struct err *err), void *arg,
                struct err *err);
/* The same of certificate requests: `sign` gets a device whose request lies in the ledger, and
 * hands the outcome to engine_signed; at most `most` are out at once. */
int engine_sign(struct engine *e, int64_t now_s, size_t most,
                int (*sign)(void *arg, const char *gateway, const char *device, struct err *err),
                void *arg, struct err *err);

/* A broker may drop what we are too slow to take.  `ask` has it tell once more all that it retains
 * of a gateway whose news the campaign waits for: rarely, and more rarely the longer it takes.
 * Returns as engine_send does. */
int engine_refresh(struct engine *e, int64_t now_s,
                   int (*ask)(void *arg, const char *gateway, struct err *err), void *arg,
                   struct err *err);

/* The connection to the broker was lost: whatever is open is sent again. */
void engine_link_lost(struct engine *e);

/* When to step again although there is no news; wall clock. */
int64_t engine_due_s(const struct engine *e);

const struct fleet_campaign *engine_campaign(const struct engine *e);

struct engine_counts {
    size_t devices, gateways;
    size_t by_step[FLEET_DEVICE_STEP_COUNT]; /* of the whole campaign */
    size_t by_wave[CAMPAIGN_WAVES_MAX][FLEET_DEVICE_STEP_COUNT];
    size_t moving;   /* flips under way, devices that are offline not among them */
    size_t requests; /* open */
};
void engine_counts(const struct engine *e, struct engine_counts *out);

#endif
