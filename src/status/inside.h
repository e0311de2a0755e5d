/* status/inside.h - what the files of this folder share.  Main thread. */
#ifndef STATUS_INSIDE_H
#define STATUS_INSIDE_H

#include <stdbool.h>

#include "base/histogram.h"
#include "control/dispatch.h"
#include "control/hub.h"
#include "status/server.h"

/* How long a worker may be silent before that is a fault. */
#define STATUS_SILENT_MS 5000

/* What all answers are made from; borrowed during the call. */
struct status_view {
    struct hub *hub;
    struct dispatch *dispatch;
    struct histogram delays; /* of the main loop's timers */
    struct server_counts http;
    uint64_t refused_busy; /* requests, since the start */
};

/* metrics.c: the text format of Prometheus 0.0.4.  Returns 0 or -ERR_NOMEM. */
int status_metrics(const struct status_view *v, struct buf *out);

/* health.c: is it well, is it of use?  Where not, `out` has a line for each reason. */
bool status_is_healthy(const struct status_view *v, struct buf *out);
bool status_is_ready(const struct status_view *v, struct buf *out);

/* page.c: the page, and the Content-Security-Policy that goes with it.  Returns owned, or NULL. */
int status_page(struct buf *out);
char *status_page_policy(void);

#define STATUS_API "/api/v1/"

/* api.c */
void status_api(const struct status_view *v, const struct server_request *r,
                struct server_reply *out);

struct json_t;
struct rpc_fault;

/* table.c: { "devices": [ DEVICE, ... ], "total": those that were found, "offset" } of `params`,
 * search show sort order offset limit; NULL with the fault. */
struct json_t *status_table(const struct status_view *v, struct json_t *params,
                            struct rpc_fault *f);
/* { "expired", "weeks": [ 52 counts ], "later", "none": without an identity }: devices by the end
 * of their certificate in use.  Returns owned, or NULL. */
struct json_t *status_timeline(const struct status_view *v);

#endif
