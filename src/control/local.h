/* control/local.h - the control socket: newline-delimited JSON-RPC for those who are on the
 * machine.
 *
 * The kernel says who a peer is.  root, our own user and members of the control group may operate;
 * whoever else gets through the socket's mode (0660) may only look.  Main thread.
 */
#ifndef CONTROL_LOCAL_H
#define CONTROL_LOCAL_H

#include <uv.h>

#include "base/err.h"
#include "control/dispatch.h"

struct local;

/* Listen on `path` (its folder is made when missing; a socket that nobody serves any more is
 * replaced). `group` may be NULL.  Returns owned or NULL. */
struct local *local_start(uv_loop_t *loop, struct dispatch *d, const char *path, const char *group,
                          struct err *err);

/* Close all, remove the socket, and free once the loop has run; NULL is fine. */
void local_stop(struct local *l);

#endif
