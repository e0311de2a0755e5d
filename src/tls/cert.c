/* A certificate is read here, not by the library: its decoder keeps a name of several CNs, the
 * order of a subject and the hash of a PSS signature to itself, and its struct differs between
 * builds.  Whether the certificate is to be believed is never decided on this reading alone. */
#include "tls/cert.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "tls/pem.h"
#include "tls/wolf.h"

#define MAX_RDNS 32
#define MAX_SANS 256

/* The fields of a certificate in the order of RFC 5280, 4.1; borrowed. */
struct fields {
    uint8_t version;
    struct der serial, sig, issuer, validity, subject, spki;
    struct der spki_whole;
    struct der extensions; /* empty when there are none */
};

static bool read_fields(const uint8_t *der, size_t n, struct fields *f)
{
    struct der all = der_of(der, n), cert, tbs, skipped, version;
    uint8_t tag;

    *f = (struct fields){.version = 1, .extensions = der_of(der, 0)};
    if (!der_take(&all, DER_SEQUENCE, &cert) || der_left(&all) != 0 ||
        !der_take(&cert, DER_SEQUENCE, &tbs))
        return false;
    if (der_take(&tbs, 0xa0, &skipped)) {
        if (!der_take(&skipped, DER_INTEGER, &version) || der_left(&version) != 1 || *version.p > 2)
            return false;
        f->version = (uint8_t)(*version.p + 1);
    }
    if (!der_take(&tbs, DER_INTEGER, &f->serial) || !der_take(&tbs, DER_SEQUENCE, &f->sig) ||
        !der_any(&tbs, &tag, &skipped, &f->issuer) || tag != DER_SEQUENCE ||
        !der_take(&tbs, DER_SEQUENCE, &f->validity) ||
        !der_any(&tbs, &tag, &skipped, &f->subject) || tag != DER_SEQUENCE ||
        !der_any(&tbs, &tag, &f->spki, &f->spki_whole) || tag != DER_SEQUENCE)
        return false;
    while (der_left(&tbs) > 0) { /* [1] and [2] are unique identifiers that nobody uses */
        if (!der_any(&tbs, &tag, &skipped, NULL))
            return false;
        if (tag == 0xa3 && !der_take(&skipped, DER_SEQUENCE, &f->extensions))
            return false;
    }
    return der_skip(&cert, DER_SEQUENCE) && der_skip(&cert, DER_BIT_STRING);
}

bool cert_names(const uint8_t *der, size_t n, struct der *issuer, struct der *subject)
{
    struct fields f;

    if (!read_fields(der, n, &f))
        return false;
    *issuer = f.issuer;
    *subject = f.subject;
    return true;
}

bool cert_parts(const uint8_t *der, size_t n, struct cert_parts *out)
{
    struct der all = der_of(der, n), cert, tbs;
    struct cert_parts p;
    struct fields f;
    uint8_t tag;

    if (!read_fields(der, n, &f) || !der_take(&all, DER_SEQUENCE, &cert) ||
        !der_any(&cert, &tag, &tbs, &p.tbs) || !der_take(&cert, DER_SEQUENCE, &p.alg) ||
        !der_take(&cert, DER_BIT_STRING, &p.sig))
        return false;
    p.alg_inside = f.sig;
    p.serial = f.serial;
    p.issuer = f.issuer;
    p.subject = f.subject;
    p.extensions = f.extensions;
    p.spki = f.spki_whole;
    *out = p;
    return true;
}

bool cert_extension(struct der extensions, const void *want, size_t n, struct der *value)
{
    struct der ext, oid;

    while (der_take(&extensions, DER_SEQUENCE, &ext)) {
        if (!der_take(&ext, DER_OID, &oid) || !der_is(oid, want, n))
            continue;
        der_skip(&ext, DER_BOOLEAN);
        return der_take(&ext, DER_OCTET_STRING, value);
    }
    return false;
}

bool cert_public_key(const uint8_t *der, size_t n, struct der *key)
{
    struct fields f;

    if (!read_fields(der, n, &f) || !der_skip(&f.spki, DER_SEQUENCE) ||
        !der_take(&f.spki, DER_BIT_STRING, key) || der_left(key) < 1)
        return false;
    key->p++; /* the number of unused bits */
    return true;
}

/* -- object identifiers ------------------------------------------------------------------------ */

struct oid {
    const char *der; /* contents octets */
    size_t n;
    const char *name;
    unsigned value; /* bits of a curve; 1 for a digest that is too weak */
};

#define OID(s) s, sizeof(s) - 1

/* clang-format off */
static const struct oid attributes[] = { /* RFC 4514, 3, and what certificates carry besides */
    { OID("\x55\x04\x03"), "CN", 0 },
    { OID("\x55\x04\x04"), "SN", 0 },
    { OID("\x55\x04\x05"), "serialNumber", 0 },
    { OID("\x55\x04\x06"), "C", 0 },
    { OID("\x55\x04\x07"), "L", 0 },
    { OID("\x55\x04\x08"), "ST", 0 },
    { OID("\x55\x04\x09"), "STREET", 0 },
    { OID("\x55\x04\x0a"), "O", 0 },
    { OID("\x55\x04\x0b"), "OU", 0 },
    { OID("\x55\x04\x0c"), "title", 0 },
    { OID("\x55\x04\x11"), "postalCode", 0 },
    { OID("\x55\x04\x2a"), "GN", 0 },
    { OID("\x55\x04\x2e"), "dnQualifier", 0 },
    { OID("\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01"), "UID", 0 },
    { OID("\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19"), "DC", 0 },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01"), "emailAddress", 0 },
};

static const struct oid signatures[] = { /* 1: a digest that no longer proves anything */
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x02"), "md2WithRSAEncryption", 1 },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x03"), "md4WithRSAEncryption", 1 },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04"), "md5WithRSAEncryption", 1 },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05"), "sha1WithRSAEncryption", 1 },
    { OID("\x2b\x0e\x03\x02\x1d"), "sha1WithRSA", 1 },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0e"), "sha224WithRSAEncryption", 0 },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"), "sha256WithRSAEncryption", 0 },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c"), "sha384WithRSAEncryption", 0 },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d"), "sha512WithRSAEncryption", 0 },
    { OID("\x2a\x86\x48\xce\x3d\x04\x01"), "ecdsa-with-SHA1", 1 },
    { OID("\x2a\x86\x48\xce\x3d\x04\x03\x01"), "ecdsa-with-SHA224", 0 },
    { OID("\x2a\x86\x48\xce\x3d\x04\x03\x02"), "ecdsa-with-SHA256", 0 },
    { OID("\x2a\x86\x48\xce\x3d\x04\x03\x03"), "ecdsa-with-SHA384", 0 },
    { OID("\x2a\x86\x48\xce\x3d\x04\x03\x04"), "ecdsa-with-SHA512", 0 },
    { OID("\x2a\x86\x48\xce\x38\x04\x03"), "dsaWithSHA1", 1 },
    { OID("\x2b\x65\x70"), "ED25519", 0 },
    { OID("\x2b\x65\x71"), "ED448", 0 },
};

static const struct oid hashes[] = { /* inside the parameters of RSASSA-PSS */
    { OID("\x2a\x86\x48\x86\xf7\x0d\x02\x05"), "RSASSA-PSS with MD5", 1 },
    { OID("\x2b\x0e\x03\x02\x1a"), "RSASSA-PSS with SHA1", 1 },
    { OID("\x60\x86\x48\x01\x65\x03\x04\x02\x01"), "RSASSA-PSS with SHA256", 0 },
    { OID("\x60\x86\x48\x01\x65\x03\x04\x02\x02"), "RSASSA-PSS with SHA384", 0 },
    { OID("\x60\x86\x48\x01\x65\x03\x04\x02\x03"), "RSASSA-PSS with SHA512", 0 },
};

static const struct oid curves[] = {
    { OID("\x2a\x86\x48\xce\x3d\x03\x01\x01"), "EC P-192", 192 },
    { OID("\x2b\x81\x04\x00\x21"), "EC P-224", 224 },
    { OID("\x2a\x86\x48\xce\x3d\x03\x01\x07"), "EC P-256", 256 },
    { OID("\x2b\x81\x04\x00\x22"), "EC P-384", 384 },
    { OID("\x2b\x81\x04\x00\x23"), "EC P-521", 521 },
    { OID("\x2b\x81\x04\x00\x0a"), "EC secp256k1", 256 },
    { OID("\x2b\x24\x03\x03\x02\x08\x01\x01\x07"), "EC brainpoolP256r1", 256 },
    { OID("\x2b\x24\x03\x03\x02\x08\x01\x01\x0b"), "EC brainpoolP384r1", 384 },
    { OID("\x2b\x24\x03\x03\x02\x08\x01\x01\x0d"), "EC brainpoolP512r1", 512 },
};

static const struct oid keys[] = {
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"), "RSA", 0 },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a"), "RSA-PSS", 0 },
    { OID("\x2a\x86\x48\xce\x3d\x02\x01"), "EC", 0 },
    { OID("\x2a\x86\x48\xce\x38\x04\x01"), "DSA", 0 },
    { OID("\x2b\x65\x70"), "Ed25519", 256 },
    { OID("\x2b\x65\x71"), "Ed448", 456 },
};
/* clang-format on */

#define COUNT(a)           (sizeof(a) / sizeof((a)[0]))
#define OID_FIND(table, d) oid_find(table, COUNT(table), d)

static const struct oid *oid_find(const struct oid *table, size_t count, struct der d)
{
    for (size_t i = 0; i < count; i++)
        if (der_is(d, table[i].der, table[i].n))
            return &table[i];
    return NULL;
}

static int oid_print(struct buf *out, struct der d)
{
    const char *dot = "";
    uint64_t arc = 0;
    bool first = true;
    int rc = 0;

    for (; rc == 0 && d.p < d.end; d.p++) {
        arc = arc << 7 | (*d.p & 0x7f);
        if (*d.p & 0x80)
            continue;
        if (first) {
            unsigned root = arc < 80 ? (unsigned)(arc / 40) : 2;

            rc = buf_printf(out, "%u.", root);
            arc -= (uint64_t)root * 40;
            first = false;
        }
        if (rc == 0)
            rc = buf_printf(out, "%s%llu", dot, (unsigned long long)arc);
        dot = ".";
        arc = 0;
    }
    return rc;
}

/* -- names ------------------------------------------------------------------------------------- */

/* A directory string as UTF-8: BMPString is UCS-2, all others are taken as they are. */
static int string_utf8(struct buf *out, uint8_t tag, struct der v)
{
    if (tag != DER_BMP_STRING)
        return buf_append(out, v.p, der_left(&v));
    for (; der_left(&v) >= 2; v.p += 2) {
        unsigned c = (unsigned)v.p[0] << 8 | v.p[1];
        uint8_t enc[3] = {(uint8_t)(0xe0 | c >> 12), (uint8_t)(0x80 | (c >> 6 & 0x3f)),
                          (uint8_t)(0x80 | (c & 0x3f))};
        size_t from = 0;

        if (c < 0x80) {
            from = 2;
            enc[2] = (uint8_t)c;
        } else if (c < 0x800) {
            from = 1;
            enc[1] = (uint8_t)(0xc0 | c >> 6);
        }
        if (buf_append(out, enc + from, 3 - from) != 0)
            return -ERR_NOMEM;
    }
    return 0;
}

/* One value with the escapes of RFC 4514, 2.4.  What is no UTF-8 comes out as \XX, byte by byte. */
static int value_print(struct buf *out, const uint8_t *p, size_t n)
{
    bool utf8 = str_is_utf8(p, n);
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < n; i++) {
        bool edge = (i == 0 && (p[i] == ' ' || p[i] == '#')) || (i == n - 1 && p[i] == ' ');

        if (p[i] < 0x20 || p[i] == 0x7f || (p[i] >= 0x80 && !utf8))
            rc = buf_printf(out, "\\%02X", p[i]);
        else if (edge || strchr(",+\"\\<>;=", p[i]) != NULL)
            rc = buf_printf(out, "\\%c", p[i]);
        else
            rc = buf_append_u8(out, p[i]);
    }
    return rc;
}

static int attribute_print(struct buf *out, struct der set)
{
    const char *plus = "";
    struct der pair, type, value;
    uint8_t tag;

    while (der_left(&set) > 0) {
        struct buf text = {0};
        const struct oid *known;
        int rc;

        if (!der_take(&set, DER_SEQUENCE, &pair) || !der_take(&pair, DER_OID, &type) ||
            !der_any(&pair, &tag, &value, NULL))
            return -ERR_SYNTAX;
        known = OID_FIND(attributes, type);
        rc = known != NULL ? buf_printf(out, "%s%s=", plus, known->name)
                           : buf_printf(out, "%s", plus);
        if (rc == 0 && known == NULL && (rc = oid_print(out, type)) == 0)
            rc = buf_append_u8(out, '=');
        if (rc == 0 && (rc = string_utf8(&text, tag, value)) == 0)
            rc = value_print(out, text.p, text.len);
        buf_fini(&text);
        if (rc != 0)
            return rc;
        plus = "+";
    }
    return 0;
}

/* Take a buffer's text as an owned string; NULL when out of memory.  The buffer is empty
 * afterwards. */
static char *buf_string(struct buf *b)
{
    char *s = NULL;

    if (buf_append_u8(b, 0) == 0) {
        s = realloc(b->p, b->len);
        if (s == NULL)
            s = (char *)b->p;
        *b = (struct buf){0};
    }
    buf_fini(b);
    return s;
}

/* RFC 4514, 2.1: the last RDN comes first. */
static int name_text(struct der name, char **out)
{
    struct der rdns[MAX_RDNS], seq;
    struct buf text = {0};
    size_t n = 0;
    int rc = 0;

    if (!der_take(&name, DER_SEQUENCE, &seq))
        return -ERR_SYNTAX;
    while (der_left(&seq) > 0)
        if (n == MAX_RDNS || !der_take(&seq, DER_SET, &rdns[n++]))
            return -ERR_SYNTAX;
    while (rc == 0 && n > 0) {
        rc = attribute_print(&text, rdns[--n]);
        if (rc == 0 && n > 0)
            rc = buf_append_u8(&text, ',');
    }
    if (rc != 0) {
        buf_fini(&text);
        return rc;
    }
    *out = buf_string(&text);
    return *out == NULL ? -ERR_NOMEM : 0;
}

/* The common name of the last RDN that has one.  One that is no clean text does not name anybody:
 * NULL. */
static int name_cn(struct der name, char **out)
{
    struct der seq, set, pair, type, value, cn = {NULL, NULL};
    struct buf text = {0};
    uint8_t tag, cn_tag = 0;

    *out = NULL;
    if (!der_take(&name, DER_SEQUENCE, &seq))
        return -ERR_SYNTAX;
    while (der_take(&seq, DER_SET, &set)) {
        while (der_take(&set, DER_SEQUENCE, &pair)) {
            if (der_take(&pair, DER_OID, &type) && der_is(type, "\x55\x04\x03", 3) &&
                der_any(&pair, &tag, &value, NULL)) {
                cn = value;
                cn_tag = tag;
            }
        }
    }
    if (der_left(&cn) == 0)
        return 0;
    if (string_utf8(&text, cn_tag, cn) != 0) {
        buf_fini(&text);
        return -ERR_NOMEM;
    }
    if (!str_is_utf8(text.p, text.len)) {
        buf_fini(&text);
        return 0;
    }
    *out = buf_string(&text);
    return *out == NULL ? -ERR_NOMEM : 0;
}

/* -- the same name?
 * -------------------------------------------------------------------------------- */

/* A directory string as RFC 5280, 7.1 compares it, byte by byte: UTF-8, ASCII in lower case, blanks
 * at the ends left out, runs of them as one. */
struct folded {
    struct der v;
    uint8_t tag;
    uint8_t ahead[3]; /* bytes that come next, the last one first */
    unsigned ahead_n;
    bool begun;
};

static int folded_raw(struct folded *f)
{
    unsigned c;

    if (f->ahead_n > 0)
        return f->ahead[--f->ahead_n];
    if (f->tag != DER_BMP_STRING)
        return der_left(&f->v) > 0 ? *f->v.p++ : -1;
    if (der_left(&f->v) < 2)
        return -1;
    c = (unsigned)f->v.p[0] << 8 | f->v.p[1];
    f->v.p += 2;
    if (c < 0x80)
        return (int)c;
    f->ahead[f->ahead_n++] = (uint8_t)(0x80 | (c & 0x3f));
    if (c < 0x800)
        return (int)(0xc0 | c >> 6);
    f->ahead[f->ahead_n++] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
    return (int)(0xe0 | c >> 12);
}

static bool is_blank(int c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int folded_next(struct folded *f)
{
    int c = folded_raw(f);
    bool blank = false;

    for (; is_blank(c); c = folded_raw(f))
        blank = true;
    if (blank && f->begun && c >= 0) {
        f->ahead[f->ahead_n++] = (uint8_t)c; /* a blank is one byte, so there is room */
        return ' ';
    }
    f->begun = true;
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

static bool is_text(uint8_t tag)
{
    return tag == DER_UTF8_STRING || tag == DER_PRINTABLE_STRING || tag == DER_T61_STRING ||
           tag == DER_IA5_STRING || tag == DER_BMP_STRING;
}

static bool value_eq(uint8_t a_tag, struct der a, uint8_t b_tag, struct der b)
{
    struct folded x = {.v = a, .tag = a_tag}, y = {.v = b, .tag = b_tag};
    int c;

    if (!is_text(a_tag) || !is_text(b_tag))
        return a_tag == b_tag && der_eq(a, b);
    do {
        c = folded_next(&x);
        if (folded_next(&y) != c)
            return false;
    } while (c >= 0);
    return true;
}

static bool rdn_eq(struct der a, struct der b)
{
    struct der pair_a, pair_b, type_a, type_b, value_a, value_b;
    uint8_t tag_a, tag_b;

    while (der_left(&a) > 0 && der_left(&b) > 0) {
        if (!der_take(&a, DER_SEQUENCE, &pair_a) || !der_take(&b, DER_SEQUENCE, &pair_b) ||
            !der_take(&pair_a, DER_OID, &type_a) || !der_take(&pair_b, DER_OID, &type_b) ||
            !der_any(&pair_a, &tag_a, &value_a, NULL) ||
            !der_any(&pair_b, &tag_b, &value_b, NULL) || !der_eq(type_a, type_b) ||
            !value_eq(tag_a, value_a, tag_b, value_b))
            return false;
    }
    return der_left(&a) == 0 && der_left(&b) == 0;
}

bool cert_name_begins(struct der name, struct der with, bool whole)
{
    struct der a, b, rdn_a, rdn_b;

    if (whole && der_eq(name, with))
        return true;
    if (!der_take(&name, DER_SEQUENCE, &a) || !der_take(&with, DER_SEQUENCE, &b))
        return false;
    while (der_left(&b) > 0)
        if (!der_take(&a, DER_SET, &rdn_a) || !der_take(&b, DER_SET, &rdn_b) ||
            !rdn_eq(rdn_a, rdn_b))
            return false;
    return !whole || der_left(&a) == 0;
}

bool cert_is_named(const uint8_t *issuer, size_t issuer_n, const uint8_t *subject, size_t subject_n)
{
    struct fields above, below;

    return read_fields(issuer, issuer_n, &above) && read_fields(subject, subject_n, &below) &&
           cert_name_begins(below.issuer, above.subject, true);
}

/* -- the rest ------------------------------------------------------------------------------------
 */

static bool digits(const uint8_t *p, size_t n, int *out)
{
    int v = 0;

    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        v = v * 10 + (p[i] - '0');
    }
    *out = v;
    return true;
}

/* RFC 5280, 4.1.2.5: YYMMDDHHMMSSZ up to 2049, YYYYMMDDHHMMSSZ from then on. */
static bool read_time(struct der *d, int64_t *out)
{
    struct der t;
    struct tm tm = {0};
    uint8_t tag;
    size_t year;

    if (!der_any(d, &tag, &t, NULL) || (tag != DER_UTC_TIME && tag != DER_GENERALIZED_TIME))
        return false;
    year = tag == DER_UTC_TIME ? 2 : 4;
    if (der_left(&t) != year + 11 || t.p[year + 10] != 'Z' || !digits(t.p, year, &tm.tm_year) ||
        !digits(t.p + year, 2, &tm.tm_mon) || !digits(t.p + year + 2, 2, &tm.tm_mday) ||
        !digits(t.p + year + 4, 2, &tm.tm_hour) || !digits(t.p + year + 6, 2, &tm.tm_min) ||
        !digits(t.p + year + 8, 2, &tm.tm_sec))
        return false;
    if (tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 ||
        tm.tm_min > 59 || tm.tm_sec > 59)
        return false;
    if (year == 4)
        tm.tm_year -= 1900;
    else if (tm.tm_year < 50)
        tm.tm_year += 100;
    tm.tm_mon -= 1;
    *out = timegm(&tm);
    return true;
}

static unsigned bits_of(struct der integer)
{
    unsigned bits;

    while (der_left(&integer) > 0 && *integer.p == 0)
        integer.p++;
    if (der_left(&integer) == 0)
        return 0;
    bits = (unsigned)der_left(&integer) * 8;
    for (uint8_t top = *integer.p; (top & 0x80) == 0; top = (uint8_t)(top << 1))
        bits--;
    return bits;
}

static bool read_key(struct der spki, struct cert_info *ci)
{
    struct der alg, oid, params, key, rsa, modulus;
    const struct oid *known;

    if (!der_take(&spki, DER_SEQUENCE, &alg) || !der_take(&alg, DER_OID, &oid) ||
        !der_take(&spki, DER_BIT_STRING, &key) || der_left(&key) < 1)
        return false;
    known = OID_FIND(keys, oid);
    ci->key_alg = known == NULL ? "unknown" : known->name;
    ci->key_bits = known == NULL ? 0 : known->value;
    if (der_take(&alg, DER_OID, &params) && (known = OID_FIND(curves, params)) != NULL) {
        ci->key_alg = known->name;
        ci->key_bits = known->value;
    }
    key.p++; /* the number of unused bits */
    if (strncmp(ci->key_alg, "RSA", 3) == 0) {
        if (!der_take(&key, DER_SEQUENCE, &rsa) || !der_take(&rsa, DER_INTEGER, &modulus))
            return false;
        ci->key_bits = bits_of(modulus);
    }
    return true;
}

/* RFC 4055, 3.1: parameters left out mean SHA-1. */
static const struct oid *pss_hash(struct der params)
{
    struct der seq, tagged, alg, oid;

    if (der_take(&params, DER_SEQUENCE, &seq) && der_take(&seq, 0xa0, &tagged) &&
        der_take(&tagged, DER_SEQUENCE, &alg) && der_take(&alg, DER_OID, &oid))
        return OID_FIND(hashes, oid);
    return &hashes[1];
}

static bool read_signature(struct der sig, struct cert_info *ci)
{
    struct der oid;
    const struct oid *known;

    if (!der_take(&sig, DER_OID, &oid))
        return false;
    if (der_is(oid, "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a", 9))
        known = pss_hash(sig);
    else
        known = OID_FIND(signatures, oid);
    ci->sig_alg = known == NULL ? "unknown" : known->name;
    ci->weak_digest = known != NULL && known->value != 0;
    return true;
}

static char *ip_text(struct der ip)
{
    char text[INET6_ADDRSTRLEN];
    size_t n = der_left(&ip);

    if ((n != 4 && n != 16) ||
        inet_ntop(n == 4 ? AF_INET : AF_INET6, ip.p, text, sizeof(text)) == NULL)
        return NULL;
    return strdup(text);
}

/* A name that is no clean text identifies nobody and is left out; out of memory is the only
 * failure. */
static int add_san(struct cert_info *ci, uint8_t tag, struct der v)
{
    enum cert_san_kind kind;
    struct cert_san *grown;
    char *text = NULL;

    switch (tag) {
    case 0x81:
        kind = CERT_SAN_EMAIL;
        break;
    case 0x82:
        kind = CERT_SAN_DNS;
        break;
    case 0x86:
        kind = CERT_SAN_URI;
        break;
    case 0x87:
        kind = CERT_SAN_IP;
        break;
    default:
        return 0;
    }
    if (kind == CERT_SAN_IP && der_left(&v) != 4 && der_left(&v) != 16)
        return 0;
    if (kind != CERT_SAN_IP && (der_left(&v) == 0 || !str_is_utf8(v.p, der_left(&v))))
        return 0;
    text = kind == CERT_SAN_IP ? ip_text(v) : strndup((const char *)v.p, der_left(&v));
    grown = text == NULL ? NULL : realloc(ci->sans, (ci->san_count + 1) * sizeof(*grown));
    if (grown == NULL) {
        free(text);
        return -ERR_NOMEM;
    }
    ci->sans = grown;
    ci->sans[ci->san_count++] = (struct cert_san){kind, text};
    return 0;
}

static int read_sans(struct der v, struct cert_info *ci)
{
    struct der seq, name;
    uint8_t tag;

    if (!der_take(&v, DER_SEQUENCE, &seq))
        return -ERR_SYNTAX;
    while (der_left(&seq) > 0) {
        if (!der_any(&seq, &tag, &name, NULL) || ci->san_count == MAX_SANS)
            return -ERR_SYNTAX;
        if (add_san(ci, tag, name) != 0)
            return -ERR_NOMEM;
    }
    return 0;
}

static int read_eku(struct der v, struct cert_info *ci)
{
    struct der seq, oid;

    if (!der_take(&v, DER_SEQUENCE, &seq))
        return -ERR_SYNTAX;
    ci->has_eku = true;
    while (der_left(&seq) > 0) {
        bool any;

        if (!der_take(&seq, DER_OID, &oid))
            return -ERR_SYNTAX;
        any = der_is(oid, "\x55\x1d\x25\x00", 4);
        ci->eku_any |= any;
        ci->eku_server |= any || der_is(oid, "\x2b\x06\x01\x05\x05\x07\x03\x01", 8);
        ci->eku_client |= any || der_is(oid, "\x2b\x06\x01\x05\x05\x07\x03\x02", 8);
    }
    return 0;
}

static int read_constraints(struct der v, struct cert_info *ci)
{
    struct der seq, flag, len;

    if (!der_take(&v, DER_SEQUENCE, &seq))
        return -ERR_SYNTAX;
    ci->is_ca = der_take(&seq, DER_BOOLEAN, &flag) && der_left(&flag) == 1 && *flag.p != 0;
    ci->is_no_ca = !ci->is_ca;
    if (!der_take(&seq, DER_INTEGER, &len))
        return 0;
    if (der_left(&len) < 1 || (*len.p & 0x80) != 0)
        return -ERR_SYNTAX;
    ci->path_len = der_left(&len) == 1 ? *len.p : 0x7f; /* more than any path has */
    return 0;
}

/* A BIT STRING whose first bit is the first usage. */
static int read_key_usage(struct der v, struct cert_info *ci)
{
    struct der bits;

    if (!der_take(&v, DER_BIT_STRING, &bits) || der_left(&bits) < 1)
        return -ERR_SYNTAX;
    ci->has_key_usage = true;
    for (unsigned i = 0; i < 9 && i / 8 + 1 < der_left(&bits); i++)
        if ((bits.p[i / 8 + 1] & 0x80 >> i % 8) != 0)
            ci->key_usage |= (uint16_t)(1 << i);
    return 0;
}

static void take_key_id(struct der v, struct cert_key_id *id)
{
    if (der_left(&v) > CERT_KEY_ID_BYTES)
        return;
    id->n = (uint8_t)der_left(&v);
    if (id->n > 0)
        memcpy(id->p, v.p, id->n);
}

static int read_ski(struct der v, struct cert_info *ci)
{
    struct der id;

    if (!der_take(&v, DER_OCTET_STRING, &id))
        return -ERR_SYNTAX;
    take_key_id(id, &ci->ski);
    return 0;
}

static int read_aki(struct der v, struct cert_info *ci)
{
    struct der seq, id;

    if (!der_take(&v, DER_SEQUENCE, &seq))
        return -ERR_SYNTAX;
    if (der_take(&seq, 0x80, &id))
        take_key_id(id, &ci->aki);
    return 0;
}

static int read_name_constraints(struct der v, struct cert_info *ci)
{
    ci->has_name_constraints = true;
    return der_skip(&v, DER_SEQUENCE) ? 0 : -ERR_SYNTAX;
}

/* clang-format off */
static const struct extension {
    const char *oid;
    size_t n;
    int (*read)(struct der value, struct cert_info *ci); /* NULL: known, and not read here */
    bool may_be_critical;
} known_extensions[] = {
    { OID("\x55\x1d\x0e"), read_ski,              false },
    { OID("\x55\x1d\x0f"), read_key_usage,        true },
    { OID("\x55\x1d\x11"), read_sans,             true },
    { OID("\x55\x1d\x13"), read_constraints,      true },
    { OID("\x55\x1d\x1e"), read_name_constraints, true },
    { OID("\x55\x1d\x1f"), NULL,                  true }, /* cRLDistributionPoints */
    { OID("\x55\x1d\x20"), NULL,                  true }, /* certificatePolicies */
    { OID("\x55\x1d\x21"), NULL,                  true }, /* policyMappings */
    { OID("\x55\x1d\x23"), read_aki,              false },
    { OID("\x55\x1d\x24"), NULL,                  true }, /* policyConstraints */
    { OID("\x55\x1d\x25"), read_eku,              true },
    { OID("\x55\x1d\x36"), NULL,                  true }, /* inhibitAnyPolicy */
    { OID("\x60\x86\x48\x01\x86\xf8\x42\x01\x01"), NULL, true }, /* netscape-cert-type */
};
/* clang-format on */

static const struct extension *extension_find(struct der oid)
{
    for (size_t i = 0; i < COUNT(known_extensions); i++)
        if (der_is(oid, known_extensions[i].oid, known_extensions[i].n))
            return &known_extensions[i];
    return NULL;
}

/* The first one is told; one is enough to refuse the certificate. */
static int note_critical(struct der oid, struct cert_info *ci)
{
    struct buf text = {0};

    if (ci->critical != NULL)
        return 0;
    if (oid_print(&text, oid) != 0) {
        buf_fini(&text);
        return -ERR_NOMEM;
    }
    ci->critical = buf_string(&text);
    return ci->critical == NULL ? -ERR_NOMEM : 0;
}

static int read_extensions(struct der exts, struct cert_info *ci)
{
    struct der ext, oid, value, flag;
    uint32_t seen = 0;
    int rc = 0;

    while (rc == 0 && der_left(&exts) > 0) {
        const struct extension *known;
        bool critical;

        if (!der_take(&exts, DER_SEQUENCE, &ext) || !der_take(&ext, DER_OID, &oid))
            return -ERR_SYNTAX;
        critical = der_take(&ext, DER_BOOLEAN, &flag) && der_left(&flag) == 1 && *flag.p != 0;
        if (!der_take(&ext, DER_OCTET_STRING, &value))
            return -ERR_SYNTAX;
        known = extension_find(oid);
        if (known != NULL) {
            uint32_t bit = UINT32_C(1) << (known - known_extensions);

            if ((seen & bit) != 0) /* RFC 5280, 4.2: not more than one instance */
                return -ERR_SYNTAX;
            seen |= bit;
            if (known->read != NULL)
                rc = known->read(value, ci);
        }
        if (rc == 0 && critical && (known == NULL || !known->may_be_critical))
            rc = note_critical(oid, ci);
    }
    return rc;
}

static bool read_serial(struct der serial, struct cert_info *ci)
{
    while (der_left(&serial) > 1 && *serial.p == 0)
        serial.p++;
    if (der_left(&serial) == 0 || der_left(&serial) * 2 >= sizeof(ci->serial_hex))
        return false;
    str_hex(ci->serial_hex, serial.p, der_left(&serial));
    return true;
}

int cert_sha256(const void *data, size_t n, uint8_t out[CERT_FP_BYTES])
{
    return n <= UINT32_MAX && wc_Sha256Hash(data, (word32)n, out) == 0 ? 0 : -ERR_NOMEM;
}

static int fill(struct cert_info *ci, const uint8_t *der, size_t n)
{
    struct fields f;
    int rc;

    if (n > UINT32_MAX || !read_fields(der, n, &f))
        return -ERR_SYNTAX;
    if (wc_Sha256Hash(der, (word32)n, ci->fp) != 0 ||
        wc_Sha256Hash(f.spki_whole.p, (word32)der_left(&f.spki_whole), ci->spki_fp) != 0)
        return -ERR_NOMEM;
    ci->version = f.version;
    ci->path_len = -1;
    ci->is_self_issued = cert_name_begins(f.issuer, f.subject, true);
    if (!read_serial(f.serial, ci) || !read_signature(f.sig, ci) ||
        !read_time(&f.validity, &ci->not_before_s) || !read_time(&f.validity, &ci->not_after_s) ||
        !read_key(f.spki, ci))
        return -ERR_SYNTAX;
    if ((rc = name_text(f.subject, &ci->subject)) != 0 ||
        (rc = name_text(f.issuer, &ci->issuer)) != 0 || (rc = name_cn(f.subject, &ci->cn)) != 0)
        return rc;
    return read_extensions(f.extensions, ci);
}

char *cert_name_text(struct der name)
{
    char *text = NULL;

    return name_text(name, &text) == 0 ? text : NULL;
}

bool cert_time(struct der *d, int64_t *out)
{
    return read_time(d, out);
}

struct cert_info *cert_info_new(const uint8_t *der, size_t n, struct err *err)
{
    struct cert_info *ci = calloc(1, sizeof(*ci));
    int rc = ci == NULL ? -ERR_NOMEM : fill(ci, der, n);

    if (rc == 0)
        return ci;
    if (rc == -ERR_NOMEM)
        err_set(err, ERR_NOMEM, "out of memory");
    else
        err_set(err, ERR_SYNTAX,
                "is not an X.509 certificate: have it issued again, or copy it again");
    cert_info_free(ci);
    return NULL;
}

void cert_info_free(struct cert_info *ci)
{
    if (ci == NULL)
        return;
    for (size_t i = 0; i < ci->san_count; i++)
        free(ci->sans[i].text);
    free(ci->sans);
    free(ci->subject);
    free(ci->issuer);
    free(ci->cn);
    free(ci->critical);
    free(ci);
}

size_t cert_der_length(const uint8_t *der, size_t n)
{
    struct der all = der_of(der, n), body;

    return der_take(&all, DER_SEQUENCE, &body) ? n - der_left(&all) : n;
}

int cert_pem(const uint8_t *der, size_t n, struct buf *out)
{
    return pem_encode("CERTIFICATE", der, n, out);
}

int cert_pem_each(const char *pem, size_t n,
                  int (*each)(void *arg, const uint8_t *der, size_t n, struct err *err), void *arg,
                  struct err *err)
{
    const char *at = pem;
    struct pem_block b;
    struct buf der = {0};
    int count = 0;
    int rc;

    while ((rc = pem_next(&at, pem + n, &b, err)) > 0) {
        if (!pem_is(&b, "CERTIFICATE") && !pem_is(&b, "X509 CERTIFICATE"))
            continue;
        der.len = 0;
        rc = pem_decode(&b, &der, err);
        if (rc == 0)
            rc = each(arg, der.p, der.len, err);
        if (rc < 0)
            break;
        count++;
    }
    buf_fini(&der);
    return rc < 0 ? rc : count;
}

int cert_pem_key(const char *pem, size_t n, struct buf *key, struct err *err)
{
    const char *at = pem;
    struct pem_block b;
    int rc;

    while ((rc = pem_next(&at, pem + n, &b, err)) > 0) {
        if (!pem_ends_with(&b, "PRIVATE KEY"))
            continue;
        if (pem_is_encrypted(&b))
            return err_set(err, ERR_INVALID, "the private key is encrypted");
        rc = pem_decode(&b, key, err);
        return rc == 0 ? 1 : rc;
    }
    return rc;
}
