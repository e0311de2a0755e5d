#include "tls/excuse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "tls/wolf.h"

#include <wolfssl/wolfcrypt/asn.h>

struct tls_excuse {
    struct tls_ctx *ctx; /* referenced: it owns the exceptions */
    struct policy_facts facts;
};

struct tls_excuse *tls_excuse_new(struct tls_ctx *ctx, const struct policy_facts *facts)
{
    struct tls_excuse *e = calloc(1, sizeof(*e));

    if (e == NULL)
        return NULL;
    e->ctx = tls_ctx_ref(ctx);
    e->facts = *facts;
    return e;
}

void tls_excuse_free(struct tls_excuse *e)
{
    if (e == NULL)
        return;
    tls_ctx_unref(e->ctx);
    free(e);
}

const struct tls_exception *tls_excuse_for(const struct tls_excuse *e, const char *device)
{
    struct policy_facts now = e->facts;

    now.now_s = clock_date_s();
    for (size_t i = 0; i < e->ctx->exception_count; i++) {
        const struct tls_exception *x = &e->ctx->exceptions[i];

        if (policy_excuses(x, &now) && str_glob(x->device, device))
            return x;
    }
    return NULL;
}

char *tls_excuse_text(const struct tls_excuse *e, char *out, size_t n)
{
    uint32_t of_ca = e->facts.anchor & ~e->facts.leaf;
    size_t len = 0;

    out[0] = '\0';
    for (int fault = 1; fault < TLS_FAULTS && len < n; fault++) {
        if (((e->facts.leaf | of_ca) & FAULT_BIT(fault)) == 0)
            continue;
        len += (size_t)snprintf(out + len, n - len, "%s%s %s", len > 0 ? ", " : "",
                                (of_ca & FAULT_BIT(fault)) != 0 ? "its CA" : "it",
                                tls_fault_words((enum tls_fault)fault)->what);
    }
    return out;
}

/* Signature, name constraints, path length, critical extensions: everything but its dates. */
static bool signed_by(WOLFSSL_CERT_MANAGER *cm, struct der cert)
{
    DecodedCert *d = calloc(1, sizeof(*d));
    bool good;

    if (d == NULL)
        return false;
    wc_InitDecodedCert(d, cert.p, (word32)der_left(&cert), NULL);
    good = wc_ParseCert(d, CERT_TYPE, VERIFY_SKIP_DATE, cm) == 0;
    wc_FreeDecodedCert(d);
    free(d);
    return good;
}

static bool load_ca(WOLFSSL_CERT_MANAGER *cm, struct der cert)
{
    return wolfSSL_CertManagerLoadCABuffer_ex(cm, cert.p, (long)der_left(&cert),
                                              WOLFSSL_FILETYPE_ASN1, 0,
                                              WOLFSSL_LOAD_FLAG_DATE_ERR_OKAY) == WOLFSSL_SUCCESS;
}

bool tls_path_signed(const struct tls_anchor *anchor, const struct tls_path *path)
{
    struct der root = der_of(anchor->der, anchor->der_len);
    WOLFSSL_CERT_MANAGER *cm;
    bool good;

    if (path->n == 0 || path->n > TLS_PATH_MAX)
        return false;
    if (path->n == 1 && der_eq(path->cert[0], root)) /* pinned: it is the anchor */
        return true;
    cm = wolfSSL_CertManagerNew();
    good = cm != NULL && load_ca(cm, root);
    for (size_t i = path->n; good && i-- > 0;)
        good = signed_by(cm, path->cert[i]) && (i == 0 || load_ca(cm, path->cert[i]));
    wolfSSL_CertManagerFree(cm);
    return good;
}
