#include "tls/trail.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tls/wolf.h"

struct tls_trail *tls_trail_new(const struct tls_anchor *anchor, const uint8_t fp[CERT_FP_BYTES],
                                const struct crl_id *ids, size_t count)
{
    struct tls_trail *t = malloc(sizeof(*t) + count * sizeof(*ids));

    if (t == NULL)
        return NULL;
    /* Only its count of references changes. */
    t->anchor = anchor == NULL ? NULL : tls_anchor_ref((struct tls_anchor *)(uintptr_t)anchor);
    memcpy(t->fp, fp, CERT_FP_BYTES);
    t->count = (uint8_t)count;
    memcpy(t->ids, ids, count * sizeof(*ids));
    return t;
}

void tls_trail_free(struct tls_trail *t)
{
    if (t == NULL)
        return;
    tls_anchor_unref(t->anchor);
    free(t);
}

static bool is_believed(const struct tls_anchor *a, const struct tls_ctx *ctx)
{
    for (size_t i = 0; i < ctx->anchor_count; i++)
        if (strcmp(ctx->anchors[i]->fp, a->fp) == 0 || tls_anchor_same_ca(ctx->anchors[i], a))
            return true;
    for (size_t i = 0; i < ctx->aside_count; i++) /* by exception */
        if (strcmp(ctx->aside[i]->fp, a->fp) == 0)
            return true;
    return false;
}

enum tls_fault tls_trail_fault(const struct tls_trail *t, const struct tls_ctx *ctx)
{
    if (ctx->client_cert == TLS_CLIENT_CERT_NONE)
        return TLS_FAULT_NONE;
    for (size_t i = 0; ctx->crls != NULL && ctx->crl_policy != CRL_OFF && i < t->count; i++)
        if (crl_set_lists(ctx->crls, &t->ids[i]))
            return TLS_FAULT_REVOKED;
    if (t->anchor == NULL || t->anchor->info->not_after_s < clock_date_s() ||
        is_believed(t->anchor, ctx))
        return TLS_FAULT_NONE;
    return TLS_FAULT_UNKNOWN_ISSUER;
}
