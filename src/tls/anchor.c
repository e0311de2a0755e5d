#include "tls/anchor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/durable.h"
#include "base/str.h"
#include "tls/verify.h"
#include "tls/wolf.h"

#define MAX_FILE_BYTES ((size_t)4 * 1024 * 1024)
#define PEM_LINE       64

static int no_anchor(const struct cert_info *ci, struct err *err)
{
    if (ci->is_ca || strcmp(ci->subject, ci->issuer) == 0)
        return 0;
    return err_set(err, ERR_INVALID,
                   "%s is no CA: put the certificate of %s there, which issued it", ci->subject,
                   ci->issuer);
}

/* The library does not ask how a root is signed.  One that was changed on its way would take the
 * place of the good one, and everybody with it. */
static int damaged(const struct cert_info *ci, const uint8_t *der, size_t n, struct err *err)
{
    struct slice whole = {der, n};
    bool own_key = ci->ski.n > 0 && ci->ski.n == ci->aki.n &&
                   memcmp(ci->ski.p, ci->aki.p, ci->ski.n) == 0; /* whatever became of a name */
    enum verify v;

    if (!ci->is_self_issued && !own_key)
        return 0;
    v = verify_signed(whole, whole);
    /* Digests and sizes that the library has not are those of old roots. */
    if (v == VERIFY_GOOD || (v == VERIFY_UNKNOWN && (ci->weak_digest || ci->key_bits > 4096)))
        return 0;
    return err_set(err, ERR_INVALID,
                   "%s is not signed with its own key: the file was damaged, copy it again",
                   ci->subject);
}

static int fill(struct tls_anchor *a, const uint8_t *der, size_t n, const char *from,
                struct err *err)
{
    a->info = cert_info_new(der, n, err);
    if (a->info == NULL)
        return -ERR_SYNTAX;
    if (no_anchor(a->info, err) != 0 || damaged(a->info, der, n, err) != 0)
        return -ERR_INVALID;
    str_hex(a->fp, a->info->fp, CERT_FP_BYTES);
    a->der = malloc(n);
    a->from = strdup(from);
    if (a->der == NULL || a->from == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    memcpy(a->der, der, n);
    a->der_len = n;
    return 0;
}

struct tls_anchor *tls_anchor_new(const uint8_t *der, size_t n, const char *from, unsigned place,
                                  struct err *err)
{
    struct tls_anchor *a = calloc(1, sizeof(*a));

    if (a == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    atomic_init(&a->refs, 1);
    a->place = place;
    if (fill(a, der, n, from, err) == 0)
        return a;
    tls_anchor_unref(a);
    return NULL;
}

struct tls_anchor *tls_anchor_ref(struct tls_anchor *a)
{
    atomic_fetch_add_explicit(&a->refs, 1, memory_order_relaxed);
    return a;
}

void tls_anchor_unref(struct tls_anchor *a)
{
    if (a == NULL || atomic_fetch_sub_explicit(&a->refs, 1, memory_order_acq_rel) != 1)
        return;
    cert_info_free(a->info);
    free(a->der);
    free(a->from);
    free(a);
}

/* -- PEM ----------------------------------------------------------------------------------------
 */

struct pem_sink {
    int (*each)(void *arg, struct tls_anchor *a, struct err *err);
    void *arg;
    const char *from;
    unsigned place;
};

static int take_one(void *arg, const uint8_t *der, size_t n, struct err *err)
{
    struct pem_sink *sink = arg;
    struct tls_anchor *a = tls_anchor_new(der, n, sink->from, ++sink->place, err);

    return a == NULL ? -err->code : sink->each(sink->arg, a, err);
}

int tls_anchors_of_pem(const char *pem, size_t n, const char *from,
                       int (*each)(void *arg, struct tls_anchor *a, struct err *err), void *arg,
                       struct err *err)
{
    struct pem_sink sink = {each, arg, from, 0};
    struct err why = {0};
    int rc = n == 0 ? 0 : cert_pem_each(pem, n, take_one, &sink, &why);

    if (rc > 0)
        return rc;
    if (rc == 0)
        rc = err_set(&why, ERR_SYNTAX,
                     "holds no certificate: put the CA's certificate there, as PEM");
    if (err != NULL)
        *err = why;
    if (sink.place > 1)
        err_wrap(err, rc, "certificate %u", sink.place);
    return err_wrap(err, rc, "%s", from);
}

int tls_anchors_of_file(const char *path,
                        int (*each)(void *arg, struct tls_anchor *a, struct err *err), void *arg,
                        struct err *err)
{
    struct buf text = {0};
    int rc = durable_read(path, MAX_FILE_BYTES, &text, err);

    if (rc != 0)
        return rc;
    rc = tls_anchors_of_pem((const char *)text.p, text.len, path, each, arg, err);
    buf_fini(&text);
    return rc;
}

int tls_anchor_pem(const struct tls_anchor *a, const char *text, struct buf *out)
{
    word32 n = (word32)a->der_len * 2 + 64;
    char *base64 = malloc(n);
    int rc = base64 == NULL ? -ERR_NOMEM : 0;

    if (rc == 0 && Base64_Encode_NoNl(a->der, (word32)a->der_len, (byte *)base64, &n) != 0)
        rc = -ERR_NOMEM;
    if (rc == 0)
        rc = buf_printf(out, "%s-----BEGIN CERTIFICATE-----\n", text);
    for (word32 at = 0; rc == 0 && at < n; at += PEM_LINE)
        rc = buf_printf(out, "%.*s\n", (int)(n - at < PEM_LINE ? n - at : PEM_LINE), base64 + at);
    if (rc == 0)
        rc = buf_printf(out, "-----END CERTIFICATE-----\n");
    free(base64);
    return rc;
}

/* -- who issued what -----------------------------------------------------------------------------
 */

bool tls_anchor_self_signed(const struct tls_anchor *a)
{
    struct der issuer, subject;

    return cert_names(a->der, a->der_len, &issuer, &subject) && der_eq(issuer, subject);
}

bool tls_anchor_same_ca(const struct tls_anchor *a, const struct tls_anchor *b)
{
    struct der issuer, subject_a, subject_b, key_a, key_b;

    return cert_names(a->der, a->der_len, &issuer, &subject_a) &&
           cert_names(b->der, b->der_len, &issuer, &subject_b) && der_eq(subject_a, subject_b) &&
           cert_public_key(a->der, a->der_len, &key_a) &&
           cert_public_key(b->der, b->der_len, &key_b) && der_eq(key_a, key_b);
}

/* RFC 5280, 4.2.1.2: an OCTET STRING. */
static bool subject_key_id(struct der cert, struct der *id)
{
    struct cert_parts parts;
    struct der ext;

    return cert_parts(cert.p, der_left(&cert), &parts) &&
           cert_extension(parts.extensions, "\x55\x1d\x0e", 3, &ext) &&
           der_take(&ext, DER_OCTET_STRING, id);
}

/* RFC 5280, 4.2.1.1: a SEQUENCE that begins with [0], the identifier. */
static bool authority_key_id(struct der cert, struct der *id)
{
    struct cert_parts parts;
    struct der ext, seq;

    return cert_parts(cert.p, der_left(&cert), &parts) &&
           cert_extension(parts.extensions, "\x55\x1d\x23", 3, &ext) &&
           der_take(&ext, DER_SEQUENCE, &seq) && der_take(&seq, 0x80, id);
}

/* The library looks at dates behind the signature: when it complains of those, that was good. */
static bool signature_is_good(struct der issuer, struct der cert)
{
    WOLFSSL_CERT_MANAGER *cm = wolfSSL_CertManagerNew();
    int rc = cm == NULL ? MEMORY_E
                        : wolfSSL_CertManagerLoadCABuffer_ex(cm, issuer.p, (long)der_left(&issuer),
                                                             WOLFSSL_FILETYPE_ASN1, 0,
                                                             WOLFSSL_LOAD_FLAG_DATE_ERR_OKAY);

    if (rc == WOLFSSL_SUCCESS)
        rc = wolfSSL_CertManagerVerifyBuffer(cm, cert.p, (long)der_left(&cert),
                                             WOLFSSL_FILETYPE_ASN1);
    wolfSSL_CertManagerFree(cm);
    return rc == WOLFSSL_SUCCESS || rc == ASN_AFTER_DATE_E || rc == ASN_BEFORE_DATE_E;
}

bool cert_issued(struct der issuer, struct der cert)
{
    struct der ours, theirs, name, wanted, unused;

    if (!cert_names(cert.p, der_left(&cert), &wanted, &unused) ||
        !cert_names(issuer.p, der_left(&issuer), &unused, &name) || !der_eq(wanted, name))
        return false;
    return (subject_key_id(issuer, &ours) && authority_key_id(cert, &theirs) &&
            der_eq(ours, theirs)) ||
           signature_is_good(issuer, cert);
}

bool tls_anchor_issued(const struct tls_anchor *a, const uint8_t *der, size_t n)
{
    return cert_issued(der_of(a->der, a->der_len), der_of(der, n));
}
