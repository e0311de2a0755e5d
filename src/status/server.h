/* status/server.h - HTTP as far as it is needed here: GET and HEAD, and answers that are whole.
 *
 * The one file that knows libmicrohttpd.  It runs on the main thread's loop, which it hands its
 * epoll descriptor, and has no thread of its own: who serves a request may look at the hub.  What
 * peers may cost is bounded: so many connections, so much memory for each, and so much time for a
 * request and for its answer, however slowly they come.
 */
#ifndef STATUS_SERVER_H
#define STATUS_SERVER_H

#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "base/err.h"

struct server;

/* One request; all borrowed during the call. */
struct server_request {
    const char *path; /* percent-decoded, without what follows '?' */
    const char *host; /* NULL: it does not say */
    void *inside;     /* server_arg's */
};

/* What is between '?' and '#', percent-decoded; borrows, or NULL. */
const char *server_arg(const struct server_request *r, const char *name);

/* All of these; borrows. */
void server_each_arg(const struct server_request *r,
                     void (*each)(void *arg, const char *name, const char *value), void *arg);

struct server_reply {
    unsigned code;
    const char *type;     /* static: "text/plain; charset=utf-8" */
    struct buf body;      /* owned by the server afterwards */
    const char *policy;   /* Content-Security-Policy; borrowed, or NULL: nothing may be loaded */
    const char *location; /* static: of code 308; NULL: none */
    unsigned retry_s;     /* 0: it does not say */
    bool keeps;           /* may be kept by the client, and asked for again by its ETag */
};

typedef void server_serve_fn(void *arg, const struct server_request *r, struct server_reply *out);

/* What was answered since the start, by the first digit of the code (1 to 5), and who is there. */
struct server_counts {
    uint64_t answers[6];
    unsigned connections;
};

/* Listen.  Returns owned, or NULL with err ("127.0.0.1 port 9180: address in use: ..."). */
struct server *server_start(uv_loop_t *loop, const char *address, uint16_t port,
                            server_serve_fn *serve, void *arg, struct err *err);
/* Close all; freed once the loop has run.  NULL is fine. */
void server_stop(struct server *s);
/* Every second or so: end those who take too long. */
void server_sweep(struct server *s);
void server_count(const struct server *s, struct server_counts *out);

#endif
