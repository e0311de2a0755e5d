/* control/operators.h - who may command over the centre: the operators' keys, which classes of
 * methods have to be signed, and the account of what was refused.
 *
 * What is refused is counted; so that nobody fills log and audit log with forgeries, only some of
 * it is written down there, and how many were left out.  Main thread.
 */
#ifndef CONTROL_OPERATORS_H
#define CONTROL_OPERATORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "conf/conf.h"
#include "control/jsonrpc.h"
#include "control/signed.h"

struct hub;
struct json_t;
struct operators;

/* Read the keys that the configuration names; references it.  Returns owned, or NULL with err. */
struct operators *operators_new(struct conf *conf, struct err *err);
void operators_free(struct operators *o); /* NULL is fine */

#define OPERATORS_ERRORS 10 /* kinds of refusal that are counted apart */

/* What has come, since the start. */
struct operators_account {
    uint64_t good; /* signed, and taken */
    uint64_t refused[OPERATORS_ERRORS];
    double room; /* lines that may be written now */
    int64_t room_ms;
    bool begun;
    uint64_t unwritten; /* refusals since the latest line */
};

/* Open a signed command: signed_open with the operators' keys, and the hub's clock. */
int operators_open(const struct operators *o, const struct hub *hub, const char *text, size_t n,
                   struct signed_command *out, struct rpc_fault *f);

/* May `who` ask for this method, having signed it or not, with these roles (1 << enum rpc_access)?
 * Returns 0, or -1 with the fault. */
int operators_admit(const struct operators *o, const char *who, bool is_signed, unsigned roles,
                    enum rpc_method method, struct rpc_fault *f);

/* Count a refusal; log it and write it to the audit log when there is room.  `who` is the operator
 * when the signature is good; method and target may be "". */
void operators_refused(struct operators_account *a, struct hub *hub, const char *who,
                       const char *method, const char *target, const struct rpc_fault *f);

/* For `status`: returns owned. */
struct json_t *operators_json(const struct operators *o, const struct operators_account *a);

#endif
