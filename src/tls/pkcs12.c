#include "tls/pkcs12.h"

#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/hash.h>
#include <wolfssl/wolfcrypt/hmac.h>

#include "base/buf.h"
#include "base/str.h"
#include "tls/pbe.h"
#include "tls/pkcs8.h"

#define BAGS_MAX  200 /* certificates, keys and what else there may be */
#define DEPTH_MAX 8   /* of bags in bags */

#define OID(s) s, sizeof(s) - 1

static const char oid_data[] = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
static const char oid_enveloped[] = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03";
static const char oid_encrypted[] = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06";
static const char oid_signed[] = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
static const char oid_bags[] = "\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01"; /* and one octet */
static const char oid_x509[] = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x16\x01";
static const char oid_friendly_name[] = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x14";

enum bag { BAG_KEY = 1, BAG_SHROUDED, BAG_CERT, BAG_CRL, BAG_SECRET, BAG_SAFE };

enum { CONTEXT_0 = 0xa0, IMPLICIT_0 = 0x80 };

struct reading {
    const char *password;
    size_t password_n;
    const struct pkcs12_sink *sink; /* NULL: only whether the password opens it */
    unsigned bags, opened;          /* opened: parts that the password decrypted */
};

static int damaged(struct err *err)
{
    return err_set(err, ERR_SYNTAX, "is damaged or cut off: copy the file again");
}

static int no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory");
}

/* The contents of [0] OCTET STRING, or of whatever else [0] holds. */
static bool explicit_0(struct der *d, struct der *inner)
{
    return der_take(d, CONTEXT_0, inner);
}

/* -- bags -------------------------------------------------------------------------------------- */

/* BMPString to one line of UTF-8, cut where it is too long. */
static void name_of(struct der bmp, char *out, size_t room)
{
    size_t at = 0;

    for (; der_left(&bmp) >= 2; bmp.p += 2) {
        uint32_t c = (uint32_t)bmp.p[0] << 8 | bmp.p[1];

        if (c >= 0xd800 && c < 0xe000)
            c = '?'; /* a surrogate: a name is for people, and this one stays readable */
        if (at + 4 > room)
            break;
        if (c < 0x80) {
            out[at++] = (char)c;
        } else if (c < 0x800) {
            out[at++] = (char)(0xc0 | c >> 6);
            out[at++] = (char)(0x80 | (c & 0x3f));
        } else {
            out[at++] = (char)(0xe0 | c >> 12);
            out[at++] = (char)(0x80 | (c >> 6 & 0x3f));
            out[at++] = (char)(0x80 | (c & 0x3f));
        }
        if (c == 0) {
            at--;
            break;
        }
    }
    out[at] = '\0';
    str_tidy(out);
}

static void friendly_name(struct der attributes, char *out, size_t room)
{
    struct der one, oid, values, bmp;

    out[0] = '\0';
    while (der_take(&attributes, DER_SEQUENCE, &one))
        if (der_take(&one, DER_OID, &oid) && der_is(oid, OID(oid_friendly_name)) &&
            der_take(&one, DER_SET, &values) && der_take(&values, DER_BMP_STRING, &bmp))
            name_of(bmp, out, room);
}

static int read_cert(struct reading *r, struct der value, const char *name, struct err *err)
{
    struct der bag, oid, inner, cert;

    if (!der_take(&value, DER_SEQUENCE, &bag) || !der_take(&bag, DER_OID, &oid))
        return damaged(err);
    if (!der_is(oid, OID(oid_x509))) /* an SDSI certificate: nobody has them */
        return 0;
    if (!explicit_0(&bag, &inner) || !der_take(&inner, DER_OCTET_STRING, &cert))
        return damaged(err);
    return r->sink == NULL ? 0 : r->sink->cert(r->sink->arg, cert, name, err);
}

/* `whole` is EncryptedPrivateKeyInfo, header included. */
static int read_shrouded(struct reading *r, struct der whole, const char *name, struct err *err)
{
    struct secret key = {0};
    int rc = pkcs8_open(whole, r->password, r->password_n, &key, err);

    if (rc != 0)
        return rc;
    r->opened++;
    if (r->sink != NULL)
        rc = r->sink->key(r->sink->arg, der_of(key.p, key.len), name, err);
    secret_fini(&key);
    return rc;
}

static int read_key(struct reading *r, struct der whole, const char *name, struct err *err)
{
    if (!pkcs8_is_plausible(whole))
        return damaged(err);
    return r->sink == NULL ? 0 : r->sink->key(r->sink->arg, whole, name, err);
}

static int read_safe(struct reading *r, struct der safe, unsigned depth, struct err *err);

static int read_bag(struct reading *r, struct der bag, unsigned depth, struct err *err)
{
    const size_t n = sizeof(oid_bags) - 1;
    char name[PKCS12_NAME_MAX + 1];
    struct der oid, value, attributes = {0}, inner;

    if (!der_take(&bag, DER_OID, &oid) || !explicit_0(&bag, &value))
        return damaged(err);
    if (der_left(&bag) > 0 && !der_take(&bag, DER_SET, &attributes))
        return damaged(err);
    if (++r->bags > BAGS_MAX)
        return err_set(err, ERR_TOO_BIG,
                       "holds more than %d certificates and keys: export one device", BAGS_MAX);
    if (der_left(&oid) != n + 1 || memcmp(oid.p, oid_bags, n) != 0)
        return 0; /* of somebody's own making */
    friendly_name(attributes, name, sizeof(name));
    switch (oid.p[n]) {
    case BAG_KEY:
        return read_key(r, value, name, err);
    case BAG_SHROUDED:
        return read_shrouded(r, value, name, err);
    case BAG_CERT:
        return read_cert(r, value, name, err);
    case BAG_SAFE:
        return der_take(&value, DER_SEQUENCE, &inner) ? read_safe(r, inner, depth - 1, err)
                                                      : damaged(err);
    default: /* CRLs and secrets are not for us */
        return 0;
    }
}

static int read_safe(struct reading *r, struct der safe, unsigned depth, struct err *err)
{
    struct der bag;
    int rc = depth == 0 ? damaged(err) : 0;

    while (rc == 0 && der_left(&safe) > 0)
        rc = der_take(&safe, DER_SEQUENCE, &bag) ? read_bag(r, bag, depth, err) : damaged(err);
    return rc;
}

/* SafeContents as they stand in a string: perhaps BER. */
static int read_safe_text(struct reading *r, struct der text, struct err *err)
{
    struct buf der = {0};
    struct der at, safe;
    int rc = der_from_ber(&text, &der);

    at = der_of(der.p, der.len);
    if (rc == -ERR_NOMEM)
        rc = no_memory(err);
    else if (rc != 0 || !der_take(&at, DER_SEQUENCE, &safe))
        rc = damaged(err);
    else
        rc = read_safe(r, safe, DEPTH_MAX, err);
    buf_fini_wipe(&der);
    return rc;
}

/* -- the parts --------------------------------------------------------------------------------- */

/* EncryptedContentInfo's contents: a string, or (BER) its pieces. */
static bool encrypted_content(struct der *info, struct buf *joined, struct der *out)
{
    struct der pieces, piece;

    if (der_take(info, IMPLICIT_0, out))
        return true;
    if (!der_take(info, CONTEXT_0, &pieces))
        return false;
    while (der_take(&pieces, DER_OCTET_STRING, &piece))
        if (buf_append(joined, piece.p, der_left(&piece)) != 0)
            return false;
    *out = der_of(joined->p, joined->len);
    return der_left(&pieces) == 0;
}

static int read_encrypted(struct reading *r, struct der content, struct err *err)
{
    uint8_t key[PBE_KEY_MAX];
    struct secret plain = {0};
    struct buf joined = {0};
    struct der body, info, algorithm, data, text, at;
    struct pbe pbe;
    uint8_t tag;
    int rc;

    if (!der_take(&content, DER_SEQUENCE, &body) || !der_skip(&body, DER_INTEGER) ||
        !der_take(&body, DER_SEQUENCE, &info) || !der_skip(&info, DER_OID) ||
        !der_take(&info, DER_SEQUENCE, &algorithm) || !encrypted_content(&info, &joined, &data)) {
        buf_fini(&joined);
        return damaged(err);
    }
    rc = pbe_parse(algorithm, &pbe, err);
    if (rc == 0)
        rc = pbe_derive(&pbe, r->password, r->password_n, key, err);
    if (rc == 0)
        rc = pbe_open(&pbe, key, data, &plain, err);
    explicit_bzero(key, sizeof(key));
    at = der_of(plain.p, plain.len);
    /* One time in 256 a wrong password leaves something that is padded well. */
    if (rc == 0 && (der_left(&at) < 2 || at.p[0] != DER_SEQUENCE))
        rc = err_set(err, ERR_DENIED, "wrong password, or a damaged file");
    text = at;
    if (rc == 0 && text.p[1] != 0x80 && (!der_any(&at, &tag, &body, NULL) || der_left(&at) != 0))
        rc = err_set(err, ERR_DENIED, "wrong password, or a damaged file");
    if (rc == 0) {
        r->opened++;
        rc = read_safe_text(r, text, err);
    }
    secret_fini(&plain);
    buf_fini(&joined);
    return rc;
}

/* One ContentInfo of AuthenticatedSafe. */
static int read_part(struct reading *r, struct der part, struct err *err)
{
    struct der oid, content, text;

    if (!der_take(&part, DER_OID, &oid) || !explicit_0(&part, &content))
        return damaged(err);
    if (der_is(oid, OID(oid_encrypted)))
        return read_encrypted(r, content, err);
    if (der_is(oid, OID(oid_enveloped)))
        return err_set(err, ERR_INVALID,
                       "is encrypted for somebody's certificate: export it under a password");
    if (!der_is(oid, OID(oid_data)) || !der_take(&content, DER_OCTET_STRING, &text))
        return damaged(err);
    return read_safe_text(r, text, err);
}

static int read_parts(struct reading *r, struct der parts, struct err *err)
{
    struct der part;
    int rc = 0;

    r->bags = r->opened = 0;
    while (rc == 0 && der_left(&parts) > 0)
        rc = der_take(&parts, DER_SEQUENCE, &part) ? read_part(r, part, err) : damaged(err);
    return rc;
}

/* -- the whole --------------------------------------------------------------------------------- */

/* PFX, cut into its parts; borrowed. */
struct pfx {
    struct der content; /* what the MAC is over */
    bool has_mac;
    int hash;
    struct der digest, salt;
    uint32_t iterations;
};

static int parse_mac(struct der mac, struct pfx *out, struct err *err)
{
    struct der info, algorithm, oid, number;

    if (!der_take(&mac, DER_SEQUENCE, &info) || !der_take(&info, DER_SEQUENCE, &algorithm) ||
        !der_take(&algorithm, DER_OID, &oid) || !der_take(&info, DER_OCTET_STRING, &out->digest) ||
        !der_take(&mac, DER_OCTET_STRING, &out->salt))
        return damaged(err);
    out->hash = pbe_hash_of(oid);
    if (out->hash < 0)
        return err_set(err, ERR_INVALID,
                       "its MAC is of a kind that is not taken: export it again (openssl pkcs12 "
                       "-export -macalg sha256)");
    out->iterations = 1;
    if (der_take(&mac, DER_INTEGER, &number) && pbe_iterations(number, &out->iterations, err) != 0)
        return err == NULL ? -ERR_SYNTAX : -err->code;
    out->has_mac = true;
    return 0;
}

static int parse_pfx(struct der file, struct pfx *out, struct err *err)
{
    struct pfx pfx = {0};
    struct der body, safe, oid, content, mac;

    if (!der_take(&file, DER_SEQUENCE, &body) || !der_skip(&body, DER_INTEGER) ||
        !der_take(&body, DER_SEQUENCE, &safe) || !der_take(&safe, DER_OID, &oid))
        return damaged(err);
    if (der_is(oid, OID(oid_signed)))
        return err_set(err, ERR_INVALID,
                       "is protected by a signature rather than by a password: export it again "
                       "(openssl pkcs12 -export)");
    if (!der_is(oid, OID(oid_data)) || !explicit_0(&safe, &content) ||
        !der_take(&content, DER_OCTET_STRING, &pfx.content))
        return damaged(err);
    if (der_left(&body) > 0) {
        int rc = der_take(&body, DER_SEQUENCE, &mac) ? parse_mac(mac, &pfx, err) : damaged(err);

        if (rc != 0)
            return rc;
    }
    *out = pfx;
    return 0;
}

bool pkcs12_is(struct der file)
{
    struct der body, number, safe, oid;
    uint8_t tag;

    if (der_left(&file) > 4 && file.p[0] == DER_SEQUENCE && file.p[1] == 0x80) /* BER */
        return file.p[2] == DER_INTEGER && file.p[3] == 1 && file.p[4] == 3;
    return der_any(&file, &tag, &body, NULL) && tag == DER_SEQUENCE &&
           der_take(&body, DER_INTEGER, &number) && der_is(number, "\x03", 1) &&
           der_take(&body, DER_SEQUENCE, &safe) && der_take(&safe, DER_OID, &oid);
}

/* 1: the MAC is right under this password, 0: it is not, negative: no telling. */
static int mac_fits(const struct pfx *pfx, const char *password, size_t n, struct err *err)
{
    enum wc_HashType type = (enum wc_HashType)pfx->hash;
    uint8_t key[WC_MAX_DIGEST_SIZE], mac[WC_MAX_DIGEST_SIZE];
    size_t size = (size_t)wc_HashGetDigestSize(type);
    Hmac *hmac = secret_alloc(sizeof(*hmac));
    int rc = hmac == NULL
                 ? no_memory(err)
                 : pbe_mac_key(pfx->hash, password, n, pfx->salt, pfx->iterations, key, size, err);

    if (rc == 0) {
        if (wc_HmacInit(hmac, NULL, INVALID_DEVID) != 0 ||
            wc_HmacSetKey(hmac, pfx->hash, key, (word32)size) != 0 ||
            wc_HmacUpdate(hmac, pfx->content.p, (word32)der_left(&pfx->content)) != 0 ||
            wc_HmacFinal(hmac, mac) != 0)
            rc = err_set(err, ERR_TLS, "the TLS library cannot compute its MAC");
        else
            rc = der_is(pfx->digest, mac, size) ? 1 : 0;
        wc_HmacFree(hmac);
    }
    secret_free(hmac);
    explicit_bzero(key, sizeof(key));
    return rc;
}

static int wrong_password(bool given, struct err *err)
{
    return given ? err_set(err, ERR_DENIED, "wrong password")
                 : err_set(err, ERR_DENIED, "is under a password: give it");
}

/* Read under one password.  0, -ERR_DENIED for another one, or what is wrong with the file. */
static int read_under(const struct pfx *pfx, struct der parts, const char *password,
                      const struct pkcs12_sink *sink, struct err *err)
{
    struct reading r = {.password = password,
                        .password_n = password == NULL ? 0 : strlen(password)};
    bool mac = true;
    int rc;

    if (pfx->has_mac) {
        rc = mac_fits(pfx, password, r.password_n, err);
        if (rc < 0)
            return rc;
        mac = rc == 1;
    }
    rc = read_parts(&r, parts, err); /* whether all of it can be read, before any of it is told */
    if (!mac) {
        if (r.opened > 0) /* the password fits, so it is the file that does not */
            return err_set(err, ERR_SYNTAX,
                           "the password fits, but the file was changed or damaged since it was "
                           "made (its MAC is wrong): copy or export it again");
        return rc == -ERR_DENIED || rc == 0 ? wrong_password(true, err) : rc;
    }
    if (rc == -ERR_DENIED && pfx->has_mac)
        return err_set(err, ERR_SYNTAX,
                       "what is in it is under another password than the file itself, or damaged: "
                       "export it again under one password");
    if (rc != 0)
        return rc;
    r.sink = sink;
    return read_parts(&r, parts, err);
}

static int read_pfx(const struct pfx *pfx, struct der parts, const char *password,
                    const struct pkcs12_sink *sink, struct err *err)
{
    bool given = password != NULL;
    int rc;

    if (given && password[0] != '\0') {
        rc = read_under(pfx, parts, password, sink, err);
        return rc == -ERR_DENIED ? wrong_password(true, err) : rc;
    }
    rc = read_under(pfx, parts, "", sink, err);
    if (rc == -ERR_DENIED)
        rc = read_under(pfx, parts, NULL, sink, err);
    return rc == -ERR_DENIED ? wrong_password(given, err) : rc;
}

int pkcs12_read(struct der file, const char *password, const struct pkcs12_sink *sink,
                struct err *err)
{
    struct buf whole = {0}, inner = {0};
    struct der text, parts;
    struct pfx pfx;
    int rc = der_from_ber(&file, &whole);

    if (rc != 0)
        return rc == -ERR_NOMEM ? no_memory(err) : damaged(err);
    rc = parse_pfx(der_of(whole.p, whole.len), &pfx, err);
    if (rc == 0) {
        text = pfx.content;
        rc = der_from_ber(&text, &inner);
        rc = rc == -ERR_NOMEM ? no_memory(err) : rc != 0 ? damaged(err) : 0;
    }
    if (rc == 0) {
        text = der_of(inner.p, inner.len);
        rc = der_take(&text, DER_SEQUENCE, &parts) ? read_pfx(&pfx, parts, password, sink, err)
                                                   : damaged(err);
    }
    buf_fini_wipe(&whole);
    buf_fini_wipe(&inner);
    return rc;
}
