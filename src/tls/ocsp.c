#include "tls/ocsp.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "tls/crl_inside.h"
#include "tls/sig.h"
#include "tls/wolf.h"

#include <wolfssl/wolfcrypt/hash.h>

#define OCSP_BASIC   "\x2b\x06\x01\x05\x05\x07\x30\x01\x01"
#define EKU_OCSP     "\x2b\x06\x01\x05\x05\x07\x03\x09"
#define EXT_EKU      "\x55\x1d\x25"
#define SHA1_BYTES   20
#define DER_ENUM     0x0a
#define MAX_SIGNERS  8 /* certificates in a response that are looked at */
#define STATUS_GOOD  0x80
#define STATUS_BAD   0xa1 /* revoked */
#define STATUS_NEVER 0x82 /* unknown */

/* -- reading -------------------------------------------------------------------------------------
 */

/* A BasicOCSPResponse, in the order of RFC 6960, 4.2.1. */
struct response {
    struct der tbs;            /* whole: what is signed */
    struct der alg, sig;       /* contents */
    struct der by_name;        /* whole Name of the responder; empty: by_key tells */
    struct der by_key;         /* SHA-1 of its key */
    struct der singles, certs; /* contents */
};

/* What it says of one certificate. */
struct single {
    struct der hash_oid, name_hash, key_hash, serial;
    uint8_t status;
    struct der revocation; /* contents; with STATUS_BAD */
    int64_t this_update_s, next_update_s;
    bool has_next;
};

/* A critical extension may change the meaning of all the rest, and none is known here. */
static bool no_critical(struct der exts)
{
    struct der list, ext, flag;

    if (!der_take(&exts, DER_SEQUENCE, &list) || der_left(&exts) != 0)
        return false;
    while (der_left(&list) > 0) {
        if (!der_take(&list, DER_SEQUENCE, &ext) || !der_skip(&ext, DER_OID) ||
            (der_take(&ext, DER_BOOLEAN, &flag) && !der_is(flag, "\x00", 1)))
            return false;
    }
    return true;
}

static bool read_data(struct response *r, struct der data)
{
    struct der body, time, exts;
    uint8_t tag;

    if (der_take(&data, 0xa0, &body) && !der_is(body, "\x02\x01\x00", 3))
        return false; /* version 1 */
    if (!der_any(&data, &tag, &body, NULL))
        return false;
    if (tag == 0xa1)
        r->by_name = body;
    else if (tag != 0xa2 || !der_take(&body, DER_OCTET_STRING, &r->by_key) || der_left(&body) != 0)
        return false;
    if (!der_take(&data, DER_GENERALIZED_TIME, &time) ||
        !der_take(&data, DER_SEQUENCE, &r->singles))
        return false;
    return (!der_take(&data, 0xa1, &exts) || no_critical(exts)) && der_left(&data) == 0;
}

static bool read_basic(struct response *r, struct der basic)
{
    struct der whole, data, certs;
    uint8_t tag;

    if (!der_take(&basic, DER_SEQUENCE, &whole) || der_left(&basic) != 0 ||
        !der_any(&whole, &tag, &data, &r->tbs) || tag != DER_SEQUENCE ||
        !der_take(&whole, DER_SEQUENCE, &r->alg) || !der_take(&whole, DER_BIT_STRING, &r->sig))
        return false;
    if (der_take(&whole, 0xa0, &certs) &&
        (!der_take(&certs, DER_SEQUENCE, &r->certs) || der_left(&certs) != 0))
        return false;
    return der_left(&whole) == 0 && read_data(r, data);
}

/* Returns NULL, or what is wrong with it. */
static const char *read_response(struct response *r, struct der d)
{
    struct der whole, status, bytes, seq, oid, basic;

    memset(r, 0, sizeof(*r));
    if (!der_take(&d, DER_SEQUENCE, &whole) || der_left(&d) != 0 ||
        !der_take(&whole, DER_ENUM, &status) || der_left(&status) != 1)
        return "it cannot be read";
    if (*status.p != 0)
        return "the responder had no answer for it";
    if (!der_take(&whole, 0xa0, &bytes) || der_left(&whole) != 0 ||
        !der_take(&bytes, DER_SEQUENCE, &seq) || der_left(&bytes) != 0 ||
        !der_take(&seq, DER_OID, &oid) || !der_is(oid, OCSP_BASIC, 9) ||
        !der_take(&seq, DER_OCTET_STRING, &basic) || der_left(&seq) != 0 || !read_basic(r, basic))
        return "it cannot be read";
    return NULL;
}

static bool read_single(struct single *s, struct der d)
{
    struct der id, alg, body;

    memset(s, 0, sizeof(*s));
    if (!der_take(&d, DER_SEQUENCE, &id) || !der_take(&id, DER_SEQUENCE, &alg) ||
        !der_take(&alg, DER_OID, &s->hash_oid) || !der_take(&id, DER_OCTET_STRING, &s->name_hash) ||
        !der_take(&id, DER_OCTET_STRING, &s->key_hash) || !der_take(&id, DER_INTEGER, &s->serial) ||
        der_left(&id) != 0)
        return false;
    if (!der_any(&d, &s->status, &s->revocation, NULL) || !cert_time(&d, &s->this_update_s))
        return false;
    if (der_take(&d, 0xa0, &body)) {
        if (!cert_time(&body, &s->next_update_s) || der_left(&body) != 0)
            return false;
        s->has_next = true;
    }
    return (!der_take(&d, 0xa1, &body) || no_critical(body)) && der_left(&d) == 0;
}

/* -- which certificate ---------------------------------------------------------------------------
 */

static bool is_hash(enum wc_HashType hash, struct der data, struct der wanted)
{
    uint8_t digest[WC_MAX_DIGEST_SIZE];
    int n = wc_HashGetDigestSize(hash);

    return n > 0 && wc_Hash(hash, data.p, (word32)der_left(&data), digest, (word32)n) == 0 &&
           der_is(wanted, digest, (size_t)n);
}

static enum wc_HashType hash_of(struct der oid)
{
    static const struct {
        const char *oid;
        size_t n;
        enum wc_HashType hash;
    } rows[] = {
        {"\x2b\x0e\x03\x02\x1a", 5, WC_HASH_TYPE_SHA}, /* names a certificate, and proves nothing */
        {"\x60\x86\x48\x01\x65\x03\x04\x02\x01", 9, WC_HASH_TYPE_SHA256},
        {"\x60\x86\x48\x01\x65\x03\x04\x02\x02", 9, WC_HASH_TYPE_SHA384},
        {"\x60\x86\x48\x01\x65\x03\x04\x02\x03", 9, WC_HASH_TYPE_SHA512},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (der_is(oid, rows[i].oid, rows[i].n))
            return rows[i].hash;
    return WC_HASH_TYPE_NONE;
}

static bool is_about(const struct single *s, const struct cert_parts *leaf,
                     const struct cert_parts *issuer, const struct sig_key *key)
{
    enum wc_HashType hash = hash_of(s->hash_oid);

    return hash != WC_HASH_TYPE_NONE && der_eq(s->serial, leaf->serial) &&
           is_hash(hash, issuer->subject, s->name_hash) && is_hash(hash, key->key, s->key_hash);
}

/* -- who says it ---------------------------------------------------------------------------------
 */

static bool is_responder(const struct response *r, const struct cert_parts *cert)
{
    struct sig_key key;

    if (r->by_name.p != NULL)
        return der_eq(r->by_name, cert->subject);
    return sig_read_key(cert->spki, &key) && is_hash(WC_HASH_TYPE_SHA, key.key, r->by_key);
}

static bool may_sign_ocsp(const struct cert_parts *cert)
{
    struct der value, list, oid;

    if (!cert_extension(cert->extensions, EXT_EKU, 3, &value) ||
        !der_take(&value, DER_SEQUENCE, &list))
        return false;
    while (der_take(&list, DER_OID, &oid))
        if (der_is(oid, EKU_OCSP, 8))
            return true;
    return false;
}

static bool is_in_date(struct der cert, int64_t now_s)
{
    struct cert_info *ci = cert_info_new(cert.p, der_left(&cert), NULL);
    bool yes =
        ci != NULL && ci->critical == NULL && now_s >= ci->not_before_s && now_s <= ci->not_after_s;

    cert_info_free(ci);
    return yes;
}

/* RFC 6960, 4.2.2.2: the issuer itself has made this certificate for its responses. */
static bool is_delegate(struct der cert, const struct cert_parts *parts,
                        const struct cert_parts *issuer, int64_t now_s)
{
    return der_eq(parts->issuer, issuer->subject) && der_eq(parts->alg, parts->alg_inside) &&
           may_sign_ocsp(parts) && is_in_date(cert, now_s) &&
           sig_verify(parts->alg, parts->tbs, parts->sig, issuer->spki, NULL) == 0;
}

/* Returns NULL when it is signed by somebody who may, or what is wrong. */
static const char *check_signer(const struct response *r, const struct cert_parts *issuer,
                                int64_t now_s)
{
    struct der certs = r->certs, cert, body;
    struct cert_parts parts;
    uint8_t tag;

    if (is_responder(r, issuer) && sig_verify(r->alg, r->tbs, r->sig, issuer->spki, NULL) == 0)
        return NULL;
    for (int i = 0; i < MAX_SIGNERS && der_any(&certs, &tag, &body, &cert); i++)
        if (cert_parts(cert.p, der_left(&cert), &parts) && is_responder(r, &parts) &&
            is_delegate(cert, &parts, issuer, now_s) &&
            sig_verify(r->alg, r->tbs, r->sig, parts.spki, NULL) == 0)
            return NULL;
    return "it is not signed by the CA, or by a responder of it";
}

/* -- the verdict ---------------------------------------------------------------------------------
 */

static void revocation_text(const struct single *s, char *why, size_t n)
{
    struct der at = s->revocation, body, reason;
    const char *word = crl_reason_text(0);
    char when[32];
    int64_t at_s;

    if (!cert_time(&at, &at_s))
        return;
    if (der_take(&at, 0xa0, &body) && der_take(&body, DER_ENUM, &reason) && der_left(&reason) == 1)
        word = crl_reason_text(*reason.p);
    snprintf(why, n, "OCSP: %s, %s", word, clock_text(at_s, when, sizeof(when)));
}

static enum ocsp_verdict verdict_of(const struct single *s, int64_t now_s, char *why, size_t n)
{
    int64_t until_s = s->has_next ? s->next_update_s : s->this_update_s + OCSP_DAY_S;
    char when[32];

    if (s->status == STATUS_BAD) {
        revocation_text(s, why, n);
        return OCSP_SAYS_REVOKED;
    }
    if (s->this_update_s > now_s + OCSP_TOLERANCE_S) {
        snprintf(why, n, "before %s", clock_text(s->this_update_s, when, sizeof(when)));
        return OCSP_SAYS_STALE;
    }
    if (until_s < now_s - OCSP_TOLERANCE_S) {
        snprintf(why, n, "since %s", clock_text(until_s, when, sizeof(when)));
        return OCSP_SAYS_STALE;
    }
    if (s->status == STATUS_GOOD && der_left(&s->revocation) == 0)
        return OCSP_SAYS_GOOD;
    if (s->status == STATUS_NEVER)
        return OCSP_SAYS_UNKNOWN;
    snprintf(why, n, "it cannot be read");
    return OCSP_SAYS_NOTHING;
}

static enum ocsp_verdict nothing(const char *reason, char *why, size_t n)
{
    snprintf(why, n, "%s", reason);
    return OCSP_SAYS_NOTHING;
}

enum ocsp_verdict ocsp_judge(struct der response, struct der leaf, struct der issuer, int64_t now_s,
                             char *why, size_t why_bytes)
{
    struct cert_parts below, above;
    struct sig_key key;
    struct response r;
    const char *wrong = read_response(&r, response);
    struct single s;
    struct der one;

    if (why_bytes > 0)
        why[0] = '\0';
    if (wrong != NULL)
        return nothing(wrong, why, why_bytes);
    if (!cert_parts(leaf.p, der_left(&leaf), &below) ||
        !cert_parts(issuer.p, der_left(&issuer), &above) || !sig_read_key(above.spki, &key))
        return nothing("the key of the CA is of no known kind", why, why_bytes);
    wrong = check_signer(&r, &above, now_s);
    if (wrong != NULL)
        return nothing(wrong, why, why_bytes);
    while (der_left(&r.singles) > 0) {
        if (!der_take(&r.singles, DER_SEQUENCE, &one) || !read_single(&s, one))
            return nothing("it cannot be read", why, why_bytes);
        if (is_about(&s, &below, &above, &key))
            return verdict_of(&s, now_s, why, why_bytes);
    }
    return nothing("it is about another certificate", why, why_bytes);
}
