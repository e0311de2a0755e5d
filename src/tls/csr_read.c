/* tls/csr_read.c - requests that somebody else has made: what they say, and whether that is what
 * they may say. */
#include "tls/csr_inside.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls/cert.h"
#include "tls/pem.h"
#include "tls/sig.h"
#include "tls/wolf.h"

#define NAMES_MAX 64 /* alternative names of one request or certificate */

static struct slice slice_from(struct der d)
{
    return (struct slice){d.p, der_left(&d)};
}

static struct der der_from(struct slice s)
{
    return der_of(s.p, s.n);
}

/* The first request of a text.  Returns 0, -ERR_SYNTAX or -ERR_NOMEM. */
static int find_request(const char *pem, size_t n, struct buf *der, struct err *err)
{
    const char *end = pem + n;
    struct pem_block b;
    int rc;

    do
        rc = pem_next(&pem, end, &b, err);
    while (rc > 0 && !pem_ends_with(&b, "CERTIFICATE REQUEST"));
    if (rc <= 0)
        return rc < 0 ? rc : err_set(err, ERR_SYNTAX, "holds no request (CSR)");
    return pem_decode(&b, der, err);
}

int csr_public(const char *pem, size_t n, struct buf *spki, struct err *err)
{
    struct der all, request, info, body, whole = {0};
    struct buf der = {0};
    uint8_t tag;
    int rc = find_request(pem, n, &der, err);

    all = der_of(der.p, der.len);
    if (rc == 0 &&
        (!der_take(&all, DER_SEQUENCE, &request) || !der_take(&request, DER_SEQUENCE, &info) ||
         !der_skip(&info, DER_INTEGER) || !der_skip(&info, DER_SEQUENCE) ||
         !der_any(&info, &tag, &body, &whole) || tag != DER_SEQUENCE))
        rc = err_set(err, ERR_SYNTAX, "is no request (CSR)");
    if (rc == 0 && buf_append(spki, whole.p, der_left(&whole)) != 0)
        rc = err_set(err, ERR_NOMEM, "out of memory");
    buf_fini(&der);
    return rc;
}

/* -- what it asks for -------------------------------------------------------------------------- */

static void name_key(struct csr *c)
{
    static const struct {
        const char *oid;
        uint8_t n;
        const char *name;
    } curves[] = {
        {OID("\x2a\x86\x48\xce\x3d\x03\x01\x07"), "ec-p256"},
        {OID("\x2b\x81\x04\x00\x22"), "ec-p384"},
        {OID("\x2b\x81\x04\x00\x23"), "ec-p521"},
    };
    struct der spki = der_from(c->spki), body, alg, curve, n, e;
    struct sig_key key;

    snprintf(c->key, sizeof(c->key), "%s", "unknown");
    if (!sig_read_key(spki, &key))
        return;
    if (key.family == FAMILY_ED25519)
        snprintf(c->key, sizeof(c->key), "%s", "ed25519");
    if ((key.family == FAMILY_RSA || key.family == FAMILY_PSS) &&
        sig_rsa_numbers(key.key, &n, &e)) {
        c->rsa_bits = (unsigned)der_left(&n) * 8;
        for (uint8_t top = *n.p; (top & 0x80) == 0; top = (uint8_t)(top << 1))
            c->rsa_bits--;
        snprintf(c->key, sizeof(c->key), "rsa-%u", c->rsa_bits);
    }
    if (key.family == FAMILY_ECDSA && der_take(&spki, DER_SEQUENCE, &body) &&
        der_take(&body, DER_SEQUENCE, &alg) && der_skip(&alg, DER_OID) &&
        der_take(&alg, DER_OID, &curve))
        for (size_t i = 0; i < sizeof(curves) / sizeof(curves[0]); i++)
            if (der_is(curve, curves[i].oid, curves[i].n))
                snprintf(c->key, sizeof(c->key), "%s", curves[i].name);
}

static int asks(struct err *err, const char *what)
{
    return err_set(err, ERR_DENIED, "asks %s, which no device gets", what);
}

static int malformed(struct err *err)
{
    return err_set(err, ERR_SYNTAX, "is no request (CSR)");
}

/* A BIT STRING in which the two bits of CAs and their lists are not set. */
static int check_usage(struct der value, struct err *err)
{
    struct der bits;

    if (!der_take(&value, DER_BIT_STRING, &bits) || der_left(&value) != 0 || der_left(&bits) < 1)
        return malformed(err);
    if (der_left(&bits) > 1 && (bits.p[1] & 0x06) != 0)
        return asks(err, "to sign certificates");
    return 0;
}

static int check_purposes(struct der value, struct err *err)
{
    struct der list, oid;

    if (!der_take(&value, DER_SEQUENCE, &list) || der_left(&value) != 0)
        return malformed(err);
    while (der_left(&list) > 0) {
        if (!der_take(&list, DER_OID, &oid))
            return malformed(err);
        if (!der_is(oid, OID_CLIENT_AUTH))
            return asks(err, "for another purpose than that of a client");
    }
    return 0;
}

/* An empty SEQUENCE: no CA. */
static int check_constraints(struct der value, struct err *err)
{
    struct der body;

    if (!der_take(&value, DER_SEQUENCE, &body) || der_left(&value) != 0)
        return malformed(err);
    return der_left(&body) == 0 ? 0 : asks(err, "to be a CA");
}

static int take_sans(struct csr *c, struct der value, struct err *err)
{
    struct der list;

    if (!der_take(&value, DER_SEQUENCE, &list) || der_left(&value) != 0)
        return malformed(err);
    c->sans = slice_from(list);
    return 0;
}

/* What was there once does not come again. */
enum { SEEN_SANS = 1, SEEN_USAGE = 2, SEEN_PURPOSES = 4, SEEN_CONSTRAINTS = 8 };

static int once(unsigned *seen, unsigned bit, struct err *err)
{
    if ((*seen & bit) != 0)
        return malformed(err);
    *seen |= bit;
    return 0;
}

static int take_extension(struct csr *c, struct der ext, unsigned *seen, struct err *err)
{
    struct der oid, value;
    int rc;

    if (!der_take(&ext, DER_OID, &oid))
        return malformed(err);
    (void)der_skip(&ext, DER_BOOLEAN);
    if (!der_take(&ext, DER_OCTET_STRING, &value) || der_left(&ext) != 0)
        return malformed(err);
    if (der_is(oid, OID_SUBJECT_ALT_NAME))
        return (rc = once(seen, SEEN_SANS, err)) != 0 ? rc : take_sans(c, value, err);
    if (der_is(oid, OID_KEY_USAGE))
        return (rc = once(seen, SEEN_USAGE, err)) != 0 ? rc : check_usage(value, err);
    if (der_is(oid, OID_EXT_KEY_USAGE))
        return (rc = once(seen, SEEN_PURPOSES, err)) != 0 ? rc : check_purposes(value, err);
    if (der_is(oid, OID_CONSTRAINTS))
        return (rc = once(seen, SEEN_CONSTRAINTS, err)) != 0 ? rc : check_constraints(value, err);
    return asks(err, "for an extension besides names and usage");
}

/* [0]: a SET of attributes, of which one is known, with one value. */
static int take_attributes(struct csr *c, struct der attributes, struct err *err)
{
    struct der attribute, oid, values, list, ext;
    unsigned seen = 0;
    int rc;

    if (der_left(&attributes) == 0)
        return 0;
    if (!der_take(&attributes, DER_SEQUENCE, &attribute) || !der_take(&attribute, DER_OID, &oid))
        return malformed(err);
    if (!der_is(oid, OID_EXTENSION_REQUEST) || der_left(&attributes) != 0)
        return asks(err, "for an attribute besides its extensions");
    if (!der_take(&attribute, DER_SET, &values) || der_left(&attribute) != 0 ||
        !der_take(&values, DER_SEQUENCE, &list) || der_left(&values) != 0)
        return malformed(err);
    while (der_left(&list) > 0) {
        if (!der_take(&list, DER_SEQUENCE, &ext))
            return malformed(err);
        rc = take_extension(c, ext, &seen, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* CertificationRequest [RFC 2986, 4.2]. */
static int take_request(struct csr *c, struct err *err)
{
    struct der all = der_of(c->der.p, c->der.len), request, at, info, info_whole, alg, sig, version;
    struct der name, name_whole, key, key_whole, attributes;
    uint8_t tag;
    int rc;

    if (!der_take(&all, DER_SEQUENCE, &request) || der_left(&all) != 0)
        return malformed(err);
    at = request;
    if (!der_any(&at, &tag, &info, &info_whole) || tag != DER_SEQUENCE ||
        !der_take(&at, DER_SEQUENCE, &alg) || !der_take(&at, DER_BIT_STRING, &sig) ||
        der_left(&at) != 0)
        return malformed(err);
    if (!der_take(&info, DER_INTEGER, &version) || !der_is(version, "\0", 1) ||
        !der_any(&info, &tag, &name, &name_whole) || tag != DER_SEQUENCE ||
        !der_any(&info, &tag, &key, &key_whole) || tag != DER_SEQUENCE ||
        !der_take(&info, DER_ATTRIBUTES, &attributes) || der_left(&info) != 0)
        return malformed(err);
    c->subject = slice_from(name_whole);
    c->spki = slice_from(key_whole);
    name_key(c);
    rc = sig_verify(alg, info_whole, sig, key_whole, err);
    if (rc == -ERR_DENIED)
        return err_set(err, ERR_DENIED,
                       "its signature is not that of its key: who made it has not got the key");
    return rc != 0 ? rc : take_attributes(c, attributes, err);
}

int csr_read(const char *pem, size_t n, struct csr *out, struct err *err)
{
    struct csr c = {0};
    int rc;

    if (n > CSR_PEM_MAX)
        return err_set(err, ERR_TOO_BIG, "a request (CSR) of %zu bytes, at most %d are read", n,
                       CSR_PEM_MAX);
    rc = find_request(pem, n, &c.der, err);
    if (rc == 0)
        rc = take_request(&c, err);
    if (rc == 0)
        *out = c;
    else
        csr_fini(&c);
    return rc;
}

void csr_fini(struct csr *c)
{
    buf_fini(&c->der);
    memset(c, 0, sizeof(*c));
}

/* -- is it for them? --------------------------------------------------------------------------- */

/* The elements of GeneralNames, whole; in *count how many.  False when it is none, or too many. */
static bool split_names(struct slice names, struct der *out, size_t *count)
{
    struct der at = der_from(names), body;
    uint8_t tag;

    for (*count = 0; der_left(&at) > 0; (*count)++)
        if (*count == NAMES_MAX || !der_any(&at, &tag, &body, &out[*count]))
            return false;
    return true;
}

static bool among(const struct der *all, size_t count, struct der one)
{
    for (size_t i = 0; i < count; i++)
        if (der_eq(all[i], one))
            return true;
    return false;
}

/* "DNS:press-12.example"; cut where it is longer. */
static void name_words(struct der whole, char *out, size_t size)
{
    char ip[INET6_ADDRSTRLEN];
    struct der body = {0};
    const char *kind = "another kind of name";
    uint8_t tag = 0;

    (void)der_any(&whole, &tag, &body, NULL);
    if (tag == CSR_SAN_IP && (der_left(&body) == 4 || der_left(&body) == 16)) {
        snprintf(out, size, "IP:%s",
                 inet_ntop(der_left(&body) == 4 ? AF_INET : AF_INET6, body.p, ip, sizeof(ip)));
        return;
    }
    kind = tag == CSR_SAN_DNS     ? "DNS:"
           : tag == CSR_SAN_EMAIL ? "email:"
           : tag == CSR_SAN_URI   ? "URI:"
                                  : kind;
    if (kind[0] == 'a')
        snprintf(out, size, "%s", kind);
    else
        snprintf(out, size, "%s%.*s", kind, (int)(der_left(&body) > 200 ? 200 : der_left(&body)),
                 (const char *)body.p);
    str_tidy(out);
}

/* The first of `some` that is not among `all`. */
static const struct der *missing(const struct der *some, size_t n, const struct der *all,
                                 size_t count)
{
    for (size_t i = 0; i < n; i++)
        if (!among(all, count, some[i]))
            return &some[i];
    return NULL;
}

static int check_subject(struct slice subject, struct slice must, struct err *err)
{
    char *says, *wants;

    if (slice_eq(subject, must))
        return 0;
    says = cert_name_text(der_from(subject));
    wants = cert_name_text(der_from(must));
    err_set(err, ERR_DENIED, "says the subject is \"%.150s\", and must say \"%.150s\"",
            says == NULL ? "?" : says, wants == NULL ? "?" : wants);
    free(says);
    free(wants);
    return -ERR_DENIED;
}

static int check_sans(struct slice sans, struct slice must, struct err *err)
{
    struct der have[NAMES_MAX], want[NAMES_MAX];
    size_t n, count;
    const struct der *name;
    char words[240];

    if (!split_names(sans, have, &n) || !split_names(must, want, &count))
        return err_set(err, ERR_DENIED, "has alternative names that cannot be read, or too many");
    name = missing(have, n, want, count);
    if (name != NULL) {
        name_words(*name, words, sizeof(words));
        return err_set(err, ERR_DENIED, "asks for the name %s, which is not this device's", words);
    }
    name = missing(want, count, have, n);
    if (name == NULL)
        return 0;
    name_words(*name, words, sizeof(words));
    return err_set(err, ERR_DENIED, "lacks the name %s, which this device must have", words);
}

int csr_check(const struct csr *c, const struct csr_terms *terms, struct err *err)
{
    struct buf subject = {0}, sans = {0};
    int rc = csr_put_name(&subject, terms->subject);

    for (size_t i = 0; rc == 0 && i < terms->san_count; i++)
        rc = csr_put_san(&sans, &terms->sans[i]);
    if (rc != 0)
        rc = err_set(err, ERR_NOMEM, "out of memory");
    if (rc == 0)
        rc = check_subject(c->subject, (struct slice){subject.p, subject.len}, err);
    if (rc == 0)
        rc = check_sans(c->sans, (struct slice){sans.p, sans.len}, err);
    buf_fini(&subject);
    buf_fini(&sans);
    return rc;
}

int csr_check_cert(const struct csr *c, const uint8_t *der, size_t n, struct err *err)
{
    struct der have[NAMES_MAX], want[NAMES_MAX], value, list = {0};
    const struct der *name;
    struct cert_parts parts;
    size_t count = 0, wanted = 0;
    char words[240];

    if (!cert_parts(der, n, &parts))
        return err_set(err, ERR_DENIED, "is no certificate");
    if (!slice_eq(slice_from(parts.spki), c->spki))
        return err_set(err, ERR_DENIED, "is for another key than the request's");
    if (!cert_name_begins(parts.subject, der_from(c->subject), true)) {
        char *says = cert_name_text(parts.subject), *wants = cert_name_text(der_from(c->subject));

        err_set(err, ERR_DENIED, "has the subject \"%.150s\", and \"%.150s\" was asked for",
                says == NULL ? "?" : says, wants == NULL ? "?" : wants);
        free(says);
        free(wants);
        return -ERR_DENIED;
    }
    if (cert_extension(parts.extensions, OID_SUBJECT_ALT_NAME, &value) &&
        !der_take(&value, DER_SEQUENCE, &list))
        return err_set(err, ERR_DENIED, "has alternative names that cannot be read");
    if (!split_names(slice_from(list), have, &count) || !split_names(c->sans, want, &wanted))
        return err_set(err, ERR_DENIED, "has alternative names that cannot be read, or too many");
    name = missing(want, wanted, have, count);
    if (name != NULL) {
        name_words(*name, words, sizeof(words));
        return err_set(err, ERR_DENIED, "lacks the name %s, which was asked for", words);
    }
    name = missing(have, count, want, wanted);
    if (name == NULL)
        return 0;
    name_words(*name, words, sizeof(words));
    (void)err_set(err, ERR_INVALID, "has the name %s besides, which was not asked for", words);
    return 1;
}
