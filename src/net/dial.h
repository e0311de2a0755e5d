/* net/dial.h - from a host name and a port to a connected stream.
 *
 * Names are resolved off the loop (uv_getaddrinfo), the addresses tried in turn.  Loop's thread.
 */
#ifndef NET_DIAL_H
#define NET_DIAL_H

#include "net/stream.h"

struct dial;

enum dial_stage { DIAL_DNS, DIAL_TCP };

/* `s` gets initialised here.  `done` comes from the loop, exactly once unless dial_cancel is
 * called: status 0, or a negative uv error with the stage it came from; after a failure the stream
 * is closed already or was never opened (on_closed does not come).  Returns owned (ends itself with
 * `done`), or NULL when out of memory. */
struct dial *dial_start(struct net_loop *nl, const char *host, uint16_t port, struct stream *s,
                        const struct stream_ops *ops,
                        void (*done)(void *arg, int status, enum dial_stage stage), void *arg);

/* Give up: `done` does not come; `dropped(arg)` comes from the loop once the stream's memory may
 * go. */
void dial_cancel(struct dial *d, void (*dropped)(void *arg));

#endif
