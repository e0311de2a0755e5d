/* control/jsonrpc.h - JSON-RPC 2.0 as text and objects: requests in, replies out.  Pure; main
 * thread.
 *
 * What the methods mean is dispatch.h's business; the vocabulary is rpc.h's.
 */
#ifndef CONTROL_JSONRPC_H
#define CONTROL_JSONRPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control/rpc.h"

struct json_t; /* jansson's */

/* Why a request, or one device of it, was refused. */
struct rpc_fault {
    enum rpc_code code; /* RPC_OK while nothing was said */
    char message[700];
    char remedy[300];     /* "" when there is nothing to do about it */
    const char *list_key; /* static: "results", "faults" or NULL */
    struct json_t *list;  /* owned; goes into data under list_key */
};

/* State it.  `remedy` may be NULL.  Returns -1. */
int rpc_refuse(struct rpc_fault *f, enum rpc_code code, const char *remedy, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void rpc_fault_fini(struct rpc_fault *f);

/* One request, taken apart.  Everything is borrowed from the JSON value that was parsed. */
struct rpc_request {
    const struct json_t *id; /* NULL: a notification, which gets no reply */
    const char *method;
    struct json_t *params; /* an object, or NULL */
};

/* Parse text into a JSON value (returns owned), or NULL with the fault parse or too-big. */
struct json_t *rpc_parse(const char *text, size_t n, struct rpc_fault *f);

/* Take one object apart.  Returns 0, or -1 with invalid-request; out->id is right in both cases. */
int rpc_request(struct json_t *value, struct rpc_request *out, struct rpc_fault *f);

/* Replies: return owned, NULL when out of memory.  `id` NULL becomes null.  Takes `result`. */
struct json_t *rpc_reply_result(const struct json_t *id, struct json_t *result);
struct json_t *rpc_reply_error(const struct json_t *id, const struct rpc_fault *f);

/* The flat form, inside of results: {code, name, message, remedy}. */
struct json_t *rpc_error_object(const struct rpc_fault *f);

/* A text that may not be UTF-8 (a peer's client id) as a JSON string; bad bytes become '?'. */
struct json_t *rpc_text(const char *s);
/* The same, null for "" and NULL. */
struct json_t *rpc_text_or_null(const char *s);
/* Wall clock as "2031-05-02T00:00:00Z"; null for 0. */
struct json_t *rpc_time(int64_t wall_s);
/* A date in a certificate: any, also that of 1970-01-01. */
struct json_t *rpc_date(int64_t wall_s);

#endif
