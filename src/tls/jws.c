#include "tls/jws.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tls/cert.h"
#include "tls/pem.h"
#include "tls/sig.h"
#include "tls/wolf.h"

#include <wolfssl/wolfcrypt/ed25519.h>
#include <wolfssl/wolfcrypt/random.h>

#define HALF (JWS_SIGNATURE_BYTES / 2) /* r, and s */

struct pair {
    enum jws_alg alg;
    bool begun; /* one of the two is to be freed */
    union {
        ecc_key ec;
        ed25519_key ed;
    } u;
};

struct jws_key {
    struct pair pair;
};

struct jws_signer {
    struct pair pair;
};

const char *jws_alg_name(enum jws_alg alg)
{
    return alg == JWS_ES256 ? "ES256" : "EdDSA";
}

static int begin(struct pair *p, enum jws_alg alg)
{
    int rc = alg == JWS_ES256 ? wc_ecc_init(&p->u.ec) : wc_ed25519_init(&p->u.ed);

    p->alg = alg;
    p->begun = rc == 0;
    return rc;
}

static void end(struct pair *p)
{
    if (p->begun && p->alg == JWS_ES256)
        wc_ecc_free(&p->u.ec);
    else if (p->begun)
        wc_ed25519_free(&p->u.ed);
    p->begun = false;
}

static bool is_p256(const ecc_key *k)
{
    return k->dp != NULL && k->dp->id == ECC_SECP256R1;
}

/* -- verifying -- */

static int read_spki(struct pair *p, struct der spki, struct err *err)
{
    struct sig_key key;
    word32 at = 0;

    if (!sig_read_key(spki, &key) || (key.family != FAMILY_ECDSA && key.family != FAMILY_ED25519))
        return err_set(err, ERR_INVALID,
                       "no key that commands are signed with: make one of P-256 "
                       "or Ed25519");
    if (begin(p, key.family == FAMILY_ECDSA ? JWS_ES256 : JWS_EDDSA) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (p->alg == JWS_EDDSA) {
        if (wc_ed25519_import_public(key.key.p, (word32)der_left(&key.key), &p->u.ed) != 0)
            return err_set(err, ERR_SYNTAX, "the Ed25519 key cannot be read");
        return 0;
    }
    if (wc_EccPublicKeyDecode(spki.p, &at, &p->u.ec, (word32)der_left(&spki)) != 0)
        return err_set(err, ERR_SYNTAX, "the EC key cannot be read: make one of P-256");
    if (!is_p256(&p->u.ec))
        return err_set(err, ERR_INVALID, "an EC key of another curve: make one of P-256");
    if (wc_ecc_check_key(&p->u.ec) != 0)
        return err_set(err, ERR_INVALID, "the EC key is no point of its curve");
    return 0;
}

static int read_block(struct pair *p, const struct pem_block *b, struct err *err)
{
    struct cert_parts parts;
    struct buf der = {0};
    int rc = pem_decode(b, &der, err);

    if (rc == 0 && pem_is(b, "PUBLIC KEY"))
        rc = read_spki(p, der_of(der.p, der.len), err);
    else if (rc == 0 && !cert_parts(der.p, der.len, &parts))
        rc = err_set(err, ERR_SYNTAX, "the certificate cannot be read");
    else if (rc == 0)
        rc = read_spki(p, parts.spki, err);
    buf_fini(&der);
    return rc;
}

static int read_public(struct pair *p, const char *pem, size_t n, struct err *err)
{
    const char *at = pem, *const stop = pem + n;
    struct pem_block b;
    int rc;

    while ((rc = pem_next(&at, stop, &b, err)) == 1) {
        if (pem_ends_with(&b, "PRIVATE KEY"))
            return err_set(err, ERR_INVALID,
                           "a private key, which nobody but its owner should have: give the public "
                           "one (openssl pkey -pubout)");
        if (pem_is(&b, "PUBLIC KEY") || pem_is(&b, "CERTIFICATE"))
            return read_block(p, &b, err);
    }
    return rc < 0 ? rc : err_set(err, ERR_SYNTAX, "no public key and no certificate in PEM");
}

struct jws_key *jws_key_new(const char *pem, size_t n, struct err *err)
{
    struct jws_key *k = calloc(1, sizeof(*k));

    if (k == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    if (read_public(&k->pair, pem, n, err) != 0) {
        jws_key_free(k);
        return NULL;
    }
    return k;
}

void jws_key_free(struct jws_key *k)
{
    if (k == NULL)
        return;
    end(&k->pair);
    free(k);
}

enum jws_alg jws_key_alg(const struct jws_key *k)
{
    return k->pair.alg;
}

static bool verify_es256(ecc_key *key, const void *data, size_t n, const uint8_t *signature)
{
    uint8_t digest[WC_SHA256_DIGEST_SIZE], der[2 * HALF + 16];
    word32 len = sizeof(der);
    int good = 0;

    return wc_Sha256Hash(data, (word32)n, digest) == 0 &&
           wc_ecc_rs_raw_to_sig(signature, HALF, signature + HALF, HALF, der, &len) == 0 &&
           wc_ecc_verify_hash(der, len, digest, sizeof(digest), &good, key) == 0 && good == 1;
}

int jws_verify(struct jws_key *k, const void *data, size_t n,
               const uint8_t signature[JWS_SIGNATURE_BYTES])
{
    int good = 0;

    if (n > UINT32_MAX)
        return -ERR_DENIED;
    if (k->pair.alg == JWS_ES256)
        return verify_es256(&k->pair.u.ec, data, n, signature) ? 0 : -ERR_DENIED;
    return wc_ed25519_verify_msg(signature, JWS_SIGNATURE_BYTES, data, (word32)n, &good,
                                 &k->pair.u.ed) == 0 &&
                   good == 1
               ? 0
               : -ERR_DENIED;
}

/* -- signing -- */

/* The library needs the public key to sign. */
static int complete_ed25519(ed25519_key *key)
{
    uint8_t public[ED25519_PUB_KEY_SIZE];
    int rc = wc_ed25519_make_public(key, public, sizeof(public));

    return rc == 0 ? wc_ed25519_import_public(public, sizeof(public), key) : rc;
}

static int read_private(struct pair *p, const uint8_t *der, size_t n, struct err *err)
{
    word32 at = 0;

    if (begin(p, JWS_EDDSA) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (wc_Ed25519PrivateKeyDecode(der, &at, &p->u.ed, (word32)n) == 0)
        return complete_ed25519(&p->u.ed) == 0
                   ? 0
                   : err_set(err, ERR_SYNTAX, "the Ed25519 key cannot be read");
    end(p);
    at = 0;
    if (begin(p, JWS_ES256) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (wc_EccPrivateKeyDecode(der, &at, &p->u.ec, (word32)n) != 0 || !is_p256(&p->u.ec))
        return err_set(
            err, ERR_INVALID,
            "no key that commands are signed with: make one of P-256 or Ed25519 (openssl "
            "genpkey -algorithm ed25519)");
    return 0;
}

struct jws_signer *jws_signer_new(const char *pem, size_t n, struct err *err)
{
    struct jws_signer *s = calloc(1, sizeof(*s));
    struct buf der = {0};
    int rc;

    if (s == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    rc = cert_pem_key(pem, n, &der, err);
    if (rc == 0)
        err_set(err, ERR_SYNTAX, "no private key in PEM");
    else if (rc > 0)
        rc = read_private(&s->pair, der.p, der.len, err) == 0 ? 1 : -ERR_INVALID;
    buf_fini_wipe(&der);
    if (rc == 1)
        return s;
    jws_signer_free(s);
    return NULL;
}

void jws_signer_free(struct jws_signer *s)
{
    if (s == NULL)
        return;
    end(&s->pair);
    explicit_bzero(s, sizeof(*s));
    free(s);
}

enum jws_alg jws_signer_alg(const struct jws_signer *s)
{
    return s->pair.alg;
}

/* A number of the signature, with leading zeros. */
static void put_half(uint8_t *out, const uint8_t *number, word32 n)
{
    memset(out, 0, HALF);
    memcpy(out + HALF - n, number, n);
}

static int sign_es256(ecc_key *key, const void *data, size_t n, uint8_t *out)
{
    uint8_t digest[WC_SHA256_DIGEST_SIZE], der[2 * HALF + 16], r[HALF], s[HALF];
    word32 len = sizeof(der), rn = sizeof(r), sn = sizeof(s);
    WC_RNG rng;
    int rc = wc_InitRng(&rng);

    if (rc != 0)
        return rc;
    rc = wc_Sha256Hash(data, (word32)n, digest);
    if (rc == 0)
        rc = wc_ecc_sign_hash(digest, sizeof(digest), der, &len, &rng, key);
    if (rc == 0)
        rc = wc_ecc_sig_to_rs(der, len, r, &rn, s, &sn);
    if (rc == 0) {
        put_half(out, r, rn);
        put_half(out + HALF, s, sn);
    }
    wc_FreeRng(&rng);
    return rc;
}

int jws_sign(struct jws_signer *s, const void *data, size_t n,
             uint8_t signature[JWS_SIGNATURE_BYTES], struct err *err)
{
    word32 len = JWS_SIGNATURE_BYTES;
    int rc;

    if (n > UINT32_MAX)
        return err_set(err, ERR_TOO_BIG, "too much to sign");
    if (s->pair.alg == JWS_ES256)
        rc = sign_es256(&s->pair.u.ec, data, n, signature);
    else
        rc = wc_ed25519_sign_msg(data, (word32)n, signature, &len, &s->pair.u.ed);
    return rc == 0 ? 0
                   : err_set(err, rc == MEMORY_E ? ERR_NOMEM : ERR_TLS,
                             "cannot sign: the library says %d", rc);
}
