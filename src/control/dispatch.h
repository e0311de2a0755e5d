/* control/dispatch.h - the command table: text of a request in, text of the reply out.
 *
 * One dispatcher serves both transports.  A method that operates is audited; over the central
 * channel it is done once for each request id, and a request that comes again gets the reply of the
 * first time, also while that one is under way.  When the reply is there, what it promises is
 * durable.
 *
 * A method that takes long gives its work to a thread and answers later; meanwhile other requests
 * are served.  There is one such thread at a time, as the pool that it comes from resolves names
 * for the workers, too.  Main thread.
 */
#ifndef CONTROL_DISPATCH_H
#define CONTROL_DISPATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base/err.h"
#include "base/list.h"
#include "control/rpc.h"

struct hub;
struct json_t;
struct rpc_fault;
struct store;

/* What the dispatcher serves.  All borrowed; the lists are its own: dispatch_init. */
struct dispatch {
    uv_loop_t *loop; /* where the ends of long work are told */
    struct hub *hub;
    struct store *store;
    const char *config; /* path of the configuration */
    int64_t started_s;  /* wall clock */
    int64_t started_ms; /* CLOCK_BOOTTIME */
    /* Adds "central" to `status`: returns owned; NULL function: null. */
    struct json_t *(*central_status)(void *arg);
    /* Read the configuration again.  Fills `result` or `faults` (owned by the caller afterwards).
     */
    int (*reload)(void *arg, struct json_t **result, struct json_t **faults, struct err *err);
    void *arg; /* of both */

    struct list calls; /* that answer later */
    struct list jobs;  /* of those, in order; the first one is being done */
    bool stopped;
};

/* Who asks. */
struct caller {
    const char *who;      /* for the audit log: "local:root", "central" */
    bool operate;         /* may change things */
    bool local;           /* is on this machine: may hand over a private key */
    const char *remember; /* prefix of the ids that are remembered; NULL: none are */

    /* Of the central channel; all NULL or 0 for others. */
    const char *jti; /* of a signed command, which is remembered by it; NULL: nobody has signed */
    unsigned roles;  /* of the operator who has: 1 << enum rpc_access */
    /* May he ask this?  Returns 0, or -1 with the fault. */
    int (*admit)(void *arg, const struct caller *caller, enum rpc_method m, struct rpc_fault *f);
    /* He was refused, by the above or because the id was used for something else; borrows. */
    void (*refused)(void *arg, const struct caller *caller, const char *method, const char *target,
                    const struct rpc_fault *f);
    void *arg; /* of both */
};

/* Ready the lists; all else is set by the caller. */
void dispatch_init(struct dispatch *d);

/* Nobody gets an answer any more: what is under way is told so (NULL) at once, what comes later
 * likewise.  Work that a thread has begun ends by itself, and nothing comes of it; the loop has to
 * run until then. */
void dispatch_stop(struct dispatch *d);

/* Takes the reply: one line without newline, or NULL when there is nothing to say (notifications),
 * or no memory to say it. */
typedef void dispatch_reply_fn(void *arg, char *text);

/* Serve one request or batch of `n` bytes; caller and text are borrowed during the call.  `reply`
 * is called once: before this returns, or later from the loop. */
void dispatch_text(struct dispatch *d, const struct caller *caller, const char *text, size_t n,
                   dispatch_reply_fn *reply, void *arg);

/* The same for a request that was parsed already; borrows it. */
void dispatch_request(struct dispatch *d, const struct caller *caller, struct json_t *request,
                      dispatch_reply_fn *reply, void *arg);

/* Ask a method that only looks (RPC_OBSERVE), and has its answer at once, outside of a request.
 * Borrows params, an object.  Returns owned, or NULL with the fault. */
struct json_t *dispatch_look(struct dispatch *d, enum rpc_method m, struct json_t *params,
                             struct rpc_fault *f);

/* The parameters of a method, one after the other, for help and tests; NULL past the last. */
const char *dispatch_param(enum rpc_method m, size_t i, bool *required);
/* What it may be: "target", "name", "text", "number", "bool", "texts" or "object"; least and most
 * of a number, of a text's length, and of how many texts. */
const char *dispatch_param_kind(enum rpc_method m, size_t i, int64_t *least, int64_t *most);

#endif
