/* tls/trail.h - by what a client was let in: the certificates of its chain, and the anchor at the
 * end.  Kept as long as its session lives, so that it can be asked again when trust has changed. */
#ifndef TLS_TRAIL_H
#define TLS_TRAIL_H

#include "tls/crl.h"
#include "tls/ctx.h"
#include "tls/fail.h"

#define TLS_TRAIL_MAX 16

struct tls_trail {
    struct tls_anchor *anchor; /* owned reference; NULL: the chain was not followed */
    uint8_t fp[CERT_FP_BYTES]; /* of the leaf */
    uint8_t count;
    struct crl_id ids[]; /* leaf first; the anchor, too, where somebody stands above it */
};

/* Returns owned, or NULL when out of memory. */
struct tls_trail *tls_trail_new(const struct tls_anchor *anchor, const uint8_t fp[CERT_FP_BYTES],
                                const struct crl_id *ids, size_t count);
void tls_trail_free(struct tls_trail *t); /* NULL is fine */

/* What this context has against it: TLS_FAULT_REVOKED, TLS_FAULT_UNKNOWN_ISSUER when its anchor was
 * taken away, or TLS_FAULT_NONE.  An anchor that has merely expired takes nobody down who is in. */
enum tls_fault tls_trail_fault(const struct tls_trail *t, const struct tls_ctx *ctx);

#endif
