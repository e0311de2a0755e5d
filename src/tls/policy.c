#include "tls/policy.h"

#include <string.h>

/* An exception can list these; the digest and the key come in kinds, see `needs`. */
#define EXCUSABLE                                                    \
    (FAULT_BIT(TLS_FAULT_EXPIRED) | FAULT_BIT(TLS_FAULT_SMALL_KEY) | \
     FAULT_BIT(TLS_FAULT_WEAK_DIGEST))

/* What the library says of a chain whose anchor was kept from it because of its faults. */
#define NO_ANCHOR                                                             \
    (FAULT_BIT(TLS_FAULT_SELF_SIGNED) | FAULT_BIT(TLS_FAULT_UNKNOWN_ISSUER) | \
     FAULT_BIT(TLS_FAULT_BAD_SIGNATURE))

static bool is_rsa(const struct cert_info *ci)
{
    return strncmp(ci->key_alg, "RSA", 3) == 0;
}

uint32_t policy_faults(const struct cert_info *ci, bool server, unsigned min_rsa_bits,
                       struct policy_now now, unsigned *needs)
{
    uint32_t faults = 0;
    unsigned need = 0;

    if (now.not_before_s < ci->not_before_s)
        faults |= FAULT_BIT(TLS_FAULT_NOT_YET_VALID);
    if (now.not_after_s > ci->not_after_s) {
        faults |= FAULT_BIT(TLS_FAULT_EXPIRED);
        need |= TLS_ACCEPT_EXPIRED;
    }
    if (ci->weak_digest) {
        faults |= FAULT_BIT(TLS_FAULT_WEAK_DIGEST);
        need |= strcasestr(ci->sig_alg, "sha1") != NULL ? TLS_ACCEPT_SHA1 : TLS_ACCEPT_MD5;
    }
    if (is_rsa(ci) && ci->key_bits < min_rsa_bits) {
        faults |= FAULT_BIT(TLS_FAULT_SMALL_KEY);
        need |= ci->key_bits >= TLS_ACCEPT_RSA_BITS ? TLS_ACCEPT_SMALL_KEY : ~0u;
    }
    if (ci->has_eku && !(server ? ci->eku_client : ci->eku_server))
        faults |= FAULT_BIT(TLS_FAULT_PURPOSE);
    if (needs != NULL)
        *needs = need;
    return faults;
}

/* Is what stopped the library something that we have seen, too, and know all about? */
static bool library_explained(const struct policy_facts *f)
{
    uint32_t known = f->leaf | f->anchor | (f->anchor != 0 ? NO_ANCHOR : 0);

    return f->library_ok || (f->library != 0 && (f->library & ~known) == 0);
}

bool policy_excuses(const struct tls_exception *e, const struct policy_facts *f)
{
    bool anchor_named =
        e->has_anchor && f->has_anchor && memcmp(e->anchor, f->anchor_fp, CERT_FP_BYTES) == 0;

    if (!f->server || f->now_s >= e->until_s || !f->signed_here)
        return false;
    if (!e->has_fp && !e->has_anchor)
        return false;
    if ((e->has_fp && memcmp(e->fp, f->fp, CERT_FP_BYTES) != 0) || (e->has_anchor && !anchor_named))
        return false;
    if (f->above != 0 || ((f->leaf | f->anchor) & ~EXCUSABLE) != 0)
        return false;
    if (f->anchor != 0 && !anchor_named)
        return false;
    return ((f->needs | f->needs_of_anchor) & ~e->accept) == 0 && library_explained(f);
}

void policy_judge(const struct policy_facts *f, const struct tls_exception *exceptions,
                  size_t count, struct policy_verdict *out)
{
    *out = (struct policy_verdict){.faults = f->leaf | f->above | f->anchor};
    if (f->library_ok && out->faults == 0) {
        out->ok = true;
        return;
    }
    for (size_t i = 0; i < count && !out->ok; i++)
        out->ok = out->excused = policy_excuses(&exceptions[i], f);
}
