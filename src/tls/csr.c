/* Built from the inside out: each element is made of the finished ones that it holds. */
#include "tls/csr_inside.h"

#include <string.h>

#include "tls/der.h"
#include "tls/key.h"
#include "tls/pem.h"

/* All of these append to `out`, and return 0 or -ERR_NOMEM. */

static int put_attribute(struct buf *out, const struct dn_part *p)
{
    static const uint8_t tags[] = {[DN_UTF8] = DER_UTF8_STRING,
                                   [DN_PRINTABLE] = DER_PRINTABLE_STRING,
                                   [DN_IA5] = DER_IA5_STRING};
    struct buf pair = {0};
    int rc = der_put(&pair, DER_OID, p->oid, p->oid_len);

    if (rc == 0)
        rc = p->string == DN_RAW ? buf_append(&pair, p->value, p->n)
                                 : der_put(&pair, tags[p->string], p->value, p->n);
    if (rc == 0)
        return der_wrap(out, DER_SEQUENCE, &pair);
    buf_fini(&pair);
    return rc;
}

/* In DER a SET OF is in the order of its encoded elements [X.690, 11.6]. */
static bool goes_before(const struct buf *a, const struct buf *b)
{
    size_t n = a->len < b->len ? a->len : b->len;
    int order = n == 0 ? 0 : memcmp(a->p, b->p, n);

    return order != 0 ? order < 0 : a->len < b->len;
}

/* The parts first to last - 1 are one RDN. */
static int put_rdn(struct buf *out, const struct dn *dn, size_t first, size_t last)
{
    struct buf pairs[DN_PARTS_MAX] = {{0}}, set = {0};
    size_t n = last - first;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = put_attribute(&pairs[i], &dn->parts[first + i]);
    for (size_t i = 1; i < n; i++)
        for (size_t j = i; j > 0 && goes_before(&pairs[j], &pairs[j - 1]); j--) {
            struct buf other = pairs[j];

            pairs[j] = pairs[j - 1];
            pairs[j - 1] = other;
        }
    for (size_t i = 0; i < n; i++) {
        if (rc == 0)
            rc = buf_append(&set, pairs[i].p, pairs[i].len);
        buf_fini(&pairs[i]);
    }
    if (rc == 0)
        return der_wrap(out, DER_SET, &set);
    buf_fini(&set);
    return rc;
}

/* The text has the last RDN first [RFC 4514, 2.1]. */
int csr_put_name(struct buf *out, const struct dn *dn)
{
    struct buf name = {0};
    size_t last = dn->count;
    int rc = 0;

    while (rc == 0 && last > 0) {
        size_t first = last - 1;

        while (first > 0 && dn->parts[first].joined)
            first--;
        rc = put_rdn(&name, dn, first, last);
        last = first;
    }
    if (rc == 0)
        return der_wrap(out, DER_SEQUENCE, &name);
    buf_fini(&name);
    return rc;
}

int csr_put_san(struct buf *out, const struct san *s)
{
    static const uint8_t tags[] = {[SAN_EMAIL] = CSR_SAN_EMAIL,
                                   [SAN_DNS] = CSR_SAN_DNS,
                                   [SAN_URI] = CSR_SAN_URI,
                                   [SAN_IP] = CSR_SAN_IP};

    return s->kind == SAN_IP ? der_put(out, tags[s->kind], s->ip, s->ip_len)
                             : der_put(out, tags[s->kind], s->text, strlen(s->text));
}

/* Critical where there is no subject besides [RFC 5280, 4.2.1.6]. */
static int put_sans(struct buf *out, const struct csr_terms *t)
{
    struct buf names = {0}, value = {0};
    int rc = 0;

    if (t->san_count == 0)
        return 0;
    for (size_t i = 0; rc == 0 && i < t->san_count; i++)
        rc = csr_put_san(&names, &t->sans[i]);
    if (rc == 0)
        rc = der_wrap(&value, DER_SEQUENCE, &names);
    if (rc == 0)
        return der_put_extension(out, OID_SUBJECT_ALT_NAME, t->subject->count == 0, &value);
    buf_fini(&names);
    buf_fini(&value);
    return rc;
}

int csr_put_usages(struct buf *out)
{
    static const uint8_t digital_signature[] = {7, 0x80}; /* seven unused bits */
    struct buf value = {0}, purpose = {0};
    int rc = der_put(&value, DER_BIT_STRING, digital_signature, sizeof(digital_signature));

    if (rc == 0)
        rc = der_put_extension(out, OID_KEY_USAGE, true, &value);
    if (rc == 0)
        rc = der_put(&purpose, DER_OID, OID_CLIENT_AUTH);
    if (rc == 0)
        rc = der_wrap(&value, DER_SEQUENCE, &purpose);
    if (rc == 0)
        rc = der_put_extension(out, OID_EXT_KEY_USAGE, false, &value);
    buf_fini(&value);
    buf_fini(&purpose);
    return rc;
}

static int put_attributes(struct buf *out, const struct csr_terms *t)
{
    struct buf list = {0}, all = {0}, attribute = {0}, attributes = {0};
    int rc = csr_put_usages(&list);

    if (rc == 0)
        rc = put_sans(&list, t);
    if (rc == 0)
        rc = der_wrap(&all, DER_SEQUENCE, &list);
    if (rc == 0)
        rc = der_put(&attribute, DER_OID, OID_EXTENSION_REQUEST);
    if (rc == 0)
        rc = der_wrap(&attribute, DER_SET, &all);
    if (rc == 0)
        rc = der_wrap(&attributes, DER_SEQUENCE, &attribute);
    if (rc == 0)
        return der_wrap(out, DER_ATTRIBUTES, &attributes);
    buf_fini(&list);
    buf_fini(&all);
    buf_fini(&attribute);
    buf_fini(&attributes);
    return rc;
}

/* CertificationRequestInfo [RFC 2986, 4.1]. */
static int put_info(struct buf *out, const struct csr_terms *t, const struct csr_signer *signer)
{
    static const uint8_t v1 = 0;
    struct buf info = {0};
    int rc = der_put(&info, DER_INTEGER, &v1, 1);

    if (rc == 0)
        rc = csr_put_name(&info, t->subject);
    if (rc == 0)
        rc = buf_append(&info, signer->spki, signer->spki_len);
    if (rc == 0)
        rc = put_attributes(&info, t);
    if (rc == 0)
        return der_wrap(out, DER_SEQUENCE, &info);
    buf_fini(&info);
    return rc;
}

/* A BIT STRING of whole octets. */
static int put_signature(struct buf *out, const struct buf *signature)
{
    struct buf bits = {0};
    int rc = buf_append_u8(&bits, 0);

    if (rc == 0)
        rc = buf_append(&bits, signature->p, signature->len);
    if (rc == 0)
        return der_wrap(out, DER_BIT_STRING, &bits);
    buf_fini(&bits);
    return rc;
}

int csr_make(const struct csr_terms *terms, const struct csr_signer *signer, struct buf *der,
             struct err *err)
{
    struct buf request = {0}, algorithm = {0}, signature = {0};
    int rc = put_info(&request, terms, signer);

    if (rc != 0) {
        rc = err_set(err, ERR_NOMEM, "out of memory");
        goto out;
    }
    rc = signer->sign(signer->arg, request.p, request.len, &algorithm, &signature, err);
    if (rc != 0)
        goto out;
    rc = buf_append(&request, algorithm.p, algorithm.len);
    if (rc == 0)
        rc = put_signature(&request, &signature);
    if (rc == 0)
        rc = der_wrap(der, DER_SEQUENCE, &request);
    if (rc != 0)
        rc = err_set(err, ERR_NOMEM, "out of memory");
out:
    buf_fini(&request);
    buf_fini(&algorithm);
    buf_fini(&signature);
    return rc;
}

/* -- with a key in memory -- */

static int sign_with(void *arg, const void *data, size_t n, struct buf *algorithm,
                     struct buf *signature, struct err *err)
{
    const struct der *key = arg;

    return key_sign(key->p, der_left(key), data, n, algorithm, signature, err);
}

int csr_make_pem(const struct csr_terms *terms, const uint8_t *pkcs8, size_t n, struct buf *pem,
                 struct err *err)
{
    struct der key = der_of(pkcs8, n);
    struct csr_signer signer = {.sign = sign_with, .arg = &key};
    struct buf spki = {0}, der = {0};
    int rc = key_public(pkcs8, n, &spki, err);

    signer.spki = spki.p;
    signer.spki_len = spki.len;
    if (rc == 0)
        rc = csr_make(terms, &signer, &der, err);
    if (rc == 0 && csr_pem(der.p, der.len, pem) != 0)
        rc = err_set(err, ERR_NOMEM, "out of memory");
    buf_fini(&spki);
    buf_fini(&der);
    return rc;
}

int csr_pem(const uint8_t *der, size_t n, struct buf *pem)
{
    return pem_encode("CERTIFICATE REQUEST", der, n, pem) == 0 ? 0 : -ERR_NOMEM;
}
