/* control/dispatch.h - the command table: text of a request in, text of the reply out.
 *
 * One dispatcher serves both transports.  A method that operates is audited; over the central
 * channel it is done once for each request id, and a request that comes again gets the reply of the
 * first time.  When the reply is there, what it promises is durable.  Main thread.
 */
#ifndef CONTROL_DISPATCH_H
#define CONTROL_DISPATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "control/rpc.h"

struct hub;
struct json_t;
struct store;

/* What the dispatcher serves.  All borrowed. */
struct dispatch {
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
};

/* Who asks. */
struct caller {
    const char *who;      /* for the audit log: "local:root", "central" */
    bool operate;         /* may change things */
    const char *remember; /* prefix of the ids that are remembered; NULL: none are */
};

/* Serve one request or batch of `n` bytes.  Returns the reply (owned, one line without newline), or
 * NULL when there is nothing to say (notifications) or no memory to say it. */
char *dispatch_text(struct dispatch *d, const struct caller *caller, const char *text, size_t n);

/* The parameters of a method, one after the other, for help and tests; NULL past the last. */
const char *dispatch_param(enum rpc_method m, size_t i, bool *required);

#endif
