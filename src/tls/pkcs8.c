#include "tls/pkcs8.h"

#include <string.h>

static const uint8_t rsa_algorithm[] = {/* SEQUENCE { rsaEncryption, NULL } */
                                        0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86,
                                        0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00};
static const uint8_t ec_oid[] = {/* id-ecPublicKey */
                                 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01};
static const uint8_t version_0[] = {DER_INTEGER, 1, 0};

/* A small number without its sign, or -1. */
static int small(struct der number)
{
    return der_left(&number) == 1 && number.p[0] < 0x80 ? number.p[0] : -1;
}

enum key_form key_form_of(struct der key)
{
    struct der body, number, rest;

    if (!der_take(&key, DER_SEQUENCE, &body))
        return KEY_NONE;
    if (der_take(&body, DER_SEQUENCE, &rest))
        return der_take(&body, DER_OCTET_STRING, &rest) && der_left(&body) == 0 ? KEY_ENCRYPTED
                                                                                : KEY_NONE;
    if (!der_take(&body, DER_INTEGER, &number))
        return KEY_NONE;
    rest = body;
    if (der_skip(&rest, DER_SEQUENCE))
        return (small(number) == 0 || small(number) == 1) && der_skip(&rest, DER_OCTET_STRING)
                   ? KEY_PKCS8
                   : KEY_NONE;
    if (der_skip(&rest, DER_OCTET_STRING))
        return small(number) == 1 ? KEY_SEC1 : KEY_NONE;
    return small(number) == 0 && der_skip(&rest, DER_INTEGER) && der_skip(&rest, DER_INTEGER)
               ? KEY_PKCS1
               : KEY_NONE;
}

bool pkcs8_is_plausible(struct der key)
{
    struct der body = key;

    return der_skip(&body, DER_SEQUENCE) && der_left(&body) == 0 && key_form_of(key) == KEY_PKCS8;
}

/* The curve that an ECPrivateKey names, with its header (RFC 5915: parameters [0]). */
static bool sec1_curve(struct der key, struct der *curve)
{
    struct der body, tagged, oid;
    uint8_t tag;

    if (!der_take(&key, DER_SEQUENCE, &body) || !der_skip(&body, DER_INTEGER) ||
        !der_skip(&body, DER_OCTET_STRING) || !der_take(&body, 0xa0, &tagged))
        return false;
    return der_any(&tagged, &tag, &oid, curve) && tag == DER_OID;
}

static int no_key(struct err *err)
{
    return err_set(err, ERR_SYNTAX, "its private key cannot be read: is it damaged?");
}

int pkcs8_wrap(struct der key, struct secret *out, struct err *err)
{
    enum key_form form = key_form_of(key);
    struct buf algorithm = {0}, body = {0}, whole = {0};
    struct der curve;
    int rc = -ERR_NOMEM;

    if (form == KEY_NONE || form == KEY_ENCRYPTED)
        return no_key(err);
    if (form == KEY_PKCS8) {
        if (secret_set(out, key.p, der_left(&key)) != 0)
            return err_set(err, ERR_NOMEM, "out of memory");
        return 0;
    }
    if (form == KEY_SEC1) {
        if (!sec1_curve(key, &curve))
            return err_set(err, ERR_SYNTAX,
                           "its EC key does not name its curve: convert it (openssl pkcs8 -topk8 "
                           "-nocrypt)");
        if (buf_append(&body, ec_oid, sizeof(ec_oid)) != 0 ||
            buf_append(&body, curve.p, der_left(&curve)) != 0 ||
            der_put(&algorithm, DER_SEQUENCE, body.p, body.len) != 0)
            goto out;
    } else if (buf_append(&algorithm, rsa_algorithm, sizeof(rsa_algorithm)) != 0) {
        goto out;
    }
    body.len = 0;
    if (buf_reserve_wipe(&body, der_left(&key) + algorithm.len + 32) != 0 ||
        buf_reserve_wipe(&whole, der_left(&key) + algorithm.len + 64) != 0 ||
        buf_append(&body, version_0, sizeof(version_0)) != 0 ||
        buf_append(&body, algorithm.p, algorithm.len) != 0 ||
        der_put(&body, DER_OCTET_STRING, key.p, der_left(&key)) != 0 ||
        der_put(&whole, DER_SEQUENCE, body.p, body.len) != 0)
        goto out;
    rc = secret_set(out, whole.p, whole.len);
out:
    buf_fini(&algorithm);
    buf_fini_wipe(&body);
    buf_fini_wipe(&whole);
    return rc == 0 ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

int pkcs8_encrypted_parts(struct der whole, struct pbe *pbe, struct der *data, struct err *err)
{
    struct der body, algorithm;

    if (!der_take(&whole, DER_SEQUENCE, &body) || !der_take(&body, DER_SEQUENCE, &algorithm) ||
        !der_take(&body, DER_OCTET_STRING, data))
        return err_set(err, ERR_SYNTAX,
                       "its encrypted private key cannot be read: copy the file again");
    return pbe_parse(algorithm, pbe, err);
}

int pkcs8_open(struct der whole, const char *password, size_t n, struct secret *out,
               struct err *err)
{
    uint8_t key[PBE_KEY_MAX];
    struct secret plain = {0};
    struct der data;
    struct pbe pbe;
    int rc = pkcs8_encrypted_parts(whole, &pbe, &data, err);

    if (rc != 0)
        return rc;
    rc = pbe_derive(&pbe, password, n, key, err);
    if (rc == 0)
        rc = pbe_open(&pbe, key, data, &plain, err);
    explicit_bzero(key, sizeof(key));
    if (rc == 0 && !pkcs8_is_plausible(der_of(plain.p, plain.len)))
        rc = err_set(err, ERR_DENIED, "wrong password, or a damaged file");
    if (rc != 0) {
        secret_fini(&plain);
        return rc;
    }
    secret_fini(out);
    *out = plain;
    return 0;
}
