/* status/status.h - what the gateway shows over HTTP: metrics, health, JSON and a page.
 *
 * Only to be looked at: nothing here changes anything, and what is shown holds no secret.  It
 * stands above control, whose hub and dispatcher it asks, on the main thread's loop.  It never
 * takes more of that thread than a third of a second in each; what goes beyond is refused, but for
 * health. Where the address cannot be listened on, that is logged and tried again: sensors need
 * none of it.
 *
 * The paths are in certflipd(8), STATUS OVER HTTP.
 */
#ifndef STATUS_STATUS_H
#define STATUS_STATUS_H

#include <uv.h>

#include "conf/conf.h"
#include "control/dispatch.h"
#include "control/hub.h"

struct status;

/* All borrowed.  Returns owned, or NULL without memory. */
struct status *status_start(uv_loop_t *loop, struct hub *hub, struct dispatch *dispatch);
/* The configuration of the hub is another one. */
void status_conf(struct status *s);
/* Nobody is answered any more; freed once the loop has run.  NULL is fine. */
void status_stop(struct status *s);

#endif
