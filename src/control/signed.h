/* control/signed.h - a command that an operator has signed: a JSON Web Signature (RFC 7515) around
 * one request.
 *
 * On the wire it is the compact form, or the flattened JSON form without unprotected header.  Its
 * protected header has "alg" (ES256 or EdDSA), "kid", the operator's name, and perhaps "typ" and
 * "cty"; every other member is refused, those that bring a key of their own (jwk, jku, x5c, x5u)
 * and crit among them.  The operator's key decides which algorithm it must be.  The payload:
 *
 *   { "aud": "gw-hall-3" or an array of gateways,
 *     "exp": seconds since 1970; "nbf", "iat": the same, where given,
 *     "jti": an id of its own, 1 to 64 of A-Z a-z 0-9 . _ -,
 *     "iss": the operator's name, where given,
 *     "request": one request of JSON-RPC 2.0, no batch }
 *
 * Nothing of the payload is looked at before the signature is good, and what comes before that is
 * bounded.  Pure: the time and the keys are given; whether the jti was used before is the
 * dispatcher's business.  Main thread.
 */
#ifndef CONTROL_SIGNED_H
#define CONTROL_SIGNED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "control/jsonrpc.h"

struct json_t;
struct jws_key;
struct jws_signer;

#define SIGNED_JTI_MAX       64
#define SIGNED_AUD_MAX       1000 /* gateways */
#define SIGNED_TOLERANCE_MAX 600  /* seconds */
#define SIGNED_EXPIRY_MAX    86400

struct signed_operator {
    const char *name;
    struct jws_key *key;
    unsigned roles; /* 1 << enum rpc_access */
};

/* What a command is judged by; all borrowed. */
struct signed_rules {
    const struct signed_operator *operators;
    size_t operator_count;
    const char *gateway;
    int64_t now_s;           /* wall clock */
    int64_t tolerance_s;     /* by which two clocks may differ */
    int64_t max_expiry_s;    /* how far exp may lie ahead */
    const char *clock_fault; /* why the clock cannot be believed; NULL: it can */
};

struct signed_command {
    const struct signed_operator *by; /* the signature is that operator's; NULL: it is nobody's */
    struct json_t *request;           /* owned; may be there although the command is refused */
    char jti[SIGNED_JTI_MAX + 1];
};

/* Is it meant to be one?  Whatever is not is a request as it is. */
bool signed_looks(const char *text, size_t n);

/* Returns 0, or -1 with the fault; `out` is to be ended in both cases. */
int signed_open(const struct signed_rules *rules, const char *text, size_t n,
                struct signed_command *out, struct rpc_fault *f);
void signed_command_fini(struct signed_command *c);

/* Append the compact form of `payload`.  Returns 0, or a negative code with err. */
int signed_make(struct jws_signer *signer, const char *operator_name, struct json_t *payload,
                struct buf *out, struct err *err);

#endif
