#include "tls/key.h"

#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/hash.h>
#include <wolfssl/wolfcrypt/random.h>
#include <wolfssl/wolfcrypt/rsa.h>

#include "tls/pem.h"
#include "tls/wolf.h"

#define RSA_EXPONENT   65537
#define SIGNATURE_MAX  512  /* bytes: RSA 4096 */
#define PUBLIC_MAX     1024 /* of a SubjectPublicKeyInfo */
#define PKCS8_EC_MAX   512
#define PKCS8_RSA_MAX  4096
#define ENCODED_DIGEST 128

static const struct kind {
    const char *name;
    int ec_bytes, curve; /* 0: RSA */
    int rsa_bits;
} kinds[KEY_KINDS] = {
    [KEY_EC_P256] = {"ec-p256", 32, ECC_SECP256R1, 0},
    [KEY_EC_P384] = {"ec-p384", 48, ECC_SECP384R1, 0},
    [KEY_RSA_2048] = {"rsa-2048", 0, 0, 2048},
    [KEY_RSA_3072] = {"rsa-3072", 0, 0, 3072},
    [KEY_RSA_4096] = {"rsa-4096", 0, 0, 4096},
};

const char *key_kind_name(enum key_kind kind)
{
    return (unsigned)kind < KEY_KINDS ? kinds[kind].name : "unknown";
}

int key_kind_parse(const char *name, enum key_kind *out)
{
    for (unsigned i = 0; i < KEY_KINDS; i++)
        if (strcmp(kinds[i].name, name) == 0) {
            *out = (enum key_kind)i;
            return 0;
        }
    return -ERR_INVALID;
}

static int refused(struct err *err, const char *what, int code)
{
    char text[80];

    wolfSSL_ERR_error_string_n((unsigned long)(unsigned)code, text, sizeof(text));
    return err_set(err, code == MEMORY_E ? ERR_NOMEM : ERR_TLS, "%s: %s", what, text);
}

/* -- making -- */

static int make_ec(const struct kind *k, WC_RNG *rng, struct buf *out)
{
    ecc_key key;
    word32 n = PKCS8_EC_MAX;
    int rc = wc_ecc_init(&key);

    if (rc != 0)
        return rc;
    if (buf_reserve(out, n) != 0)
        rc = MEMORY_E;
    if (rc == 0)
        rc = wc_ecc_make_key_ex(rng, k->ec_bytes, &key, k->curve);
    if (rc == 0)
        rc = wc_EccKeyToPKCS8(&key, out->p + out->len, &n);
    if (rc > 0 || (rc == 0 && n < PKCS8_EC_MAX)) {
        out->len += rc > 0 ? (size_t)rc : n;
        rc = 0;
    }
    wc_ecc_free(&key); /* wipes */
    return rc;
}

static int make_rsa(const struct kind *k, WC_RNG *rng, struct buf *out)
{
    uint8_t pkcs1[PKCS8_RSA_MAX];
    RsaKey key;
    word32 n = PKCS8_RSA_MAX;
    int rc = wc_InitRsaKey(&key, NULL), len = 0;

    if (rc != 0)
        return rc;
    if (buf_reserve(out, n) != 0)
        rc = MEMORY_E;
    if (rc == 0)
        rc = wc_MakeRsaKey(&key, k->rsa_bits, RSA_EXPONENT, rng);
    if (rc == 0 && (len = wc_RsaKeyToDer(&key, pkcs1, sizeof(pkcs1))) < 0)
        rc = len;
    if (rc == 0)
        rc = wc_CreatePKCS8Key(out->p + out->len, &n, pkcs1, (word32)len, RSAk, NULL, 0);
    if (rc > 0) {
        out->len += (size_t)rc;
        rc = 0;
    }
    explicit_bzero(pkcs1, sizeof(pkcs1));
    wc_FreeRsaKey(&key); /* wipes */
    return rc;
}

int key_make(enum key_kind kind, struct buf *pkcs8, struct err *err)
{
    const struct kind *k = &kinds[kind];
    WC_RNG rng;
    int rc = wc_InitRng(&rng);

    if (rc != 0)
        return refused(err, "random numbers", rc);
    rc = k->rsa_bits == 0 ? make_ec(k, &rng, pkcs8) : make_rsa(k, &rng, pkcs8);
    wc_FreeRng(&rng);
    if (rc == 0)
        return 0;
    if (pkcs8->cap > pkcs8->len)
        explicit_bzero(pkcs8->p + pkcs8->len, pkcs8->cap - pkcs8->len);
    return refused(err, "making the key", rc);
}

/* -- reading -- */

/* One of them is set. */
struct parsed {
    bool is_ec, is_rsa;
    ecc_key ec;
    RsaKey rsa;
};

static void parsed_fini(struct parsed *p)
{
    if (p->is_ec)
        wc_ecc_free(&p->ec);
    if (p->is_rsa)
        wc_FreeRsaKey(&p->rsa);
    explicit_bzero(p, sizeof(*p));
}

static int parse(const uint8_t *pkcs8, size_t n, struct parsed *p, struct err *err)
{
    word32 at = 0;

    memset(p, 0, sizeof(*p));
    if (wc_ecc_init(&p->ec) == 0) {
        p->is_ec = true;
        if (wc_EccPrivateKeyDecode(pkcs8, &at, &p->ec, (word32)n) == 0)
            return 0;
    }
    parsed_fini(p);
    at = 0;
    if (wc_InitRsaKey(&p->rsa, NULL) == 0) {
        p->is_rsa = true;
        if (wc_RsaPrivateKeyDecode(pkcs8, &at, &p->rsa, (word32)n) == 0)
            return 0;
    }
    parsed_fini(p);
    return err_set(err, ERR_SYNTAX, "is no private key of EC or RSA");
}

int key_public(const uint8_t *pkcs8, size_t n, struct buf *spki, struct err *err)
{
    struct parsed p;
    int rc = parse(pkcs8, n, &p, err), len = 0;

    if (rc != 0)
        return rc;
    if (buf_reserve(spki, PUBLIC_MAX) != 0) {
        parsed_fini(&p);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    if (p.is_ec && (len = wc_ecc_make_pub(&p.ec, NULL)) == 0)
        len = wc_EccPublicKeyToDer(&p.ec, spki->p + spki->len, PUBLIC_MAX, 1);
    else if (p.is_rsa)
        len = wc_RsaKeyToPublicDer(&p.rsa, spki->p + spki->len, PUBLIC_MAX);
    parsed_fini(&p);
    if (len <= 0)
        return refused(err, "the public key", len);
    spki->len += (size_t)len;
    return 0;
}

/* -- signing -- */

/* AlgorithmIdentifiers: RFC 5758, 3.2 (no parameters), and RFC 4055, 5 (NULL). */
static const uint8_t ecdsa_sha256[] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86,
                                       0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};
static const uint8_t ecdsa_sha384[] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86,
                                       0x48, 0xce, 0x3d, 0x04, 0x03, 0x03};
static const uint8_t rsa_sha256[] = {0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86,
                                     0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00};

static int sign_ec(struct parsed *p, WC_RNG *rng, const void *data, size_t n, struct buf *algorithm,
                   struct buf *signature)
{
    bool wide = wc_ecc_size(&p->ec) > 32;
    byte digest[WC_SHA384_DIGEST_SIZE];
    word32 len = SIGNATURE_MAX;
    int rc = wide ? wc_Sha384Hash(data, (word32)n, digest) : wc_Sha256Hash(data, (word32)n, digest);

    if (rc == 0)
        rc = wc_ecc_sign_hash(digest, wide ? WC_SHA384_DIGEST_SIZE : WC_SHA256_DIGEST_SIZE,
                              signature->p + signature->len, &len, rng, &p->ec);
    if (rc != 0)
        return rc;
    signature->len += len;
    return wide ? buf_append(algorithm, ecdsa_sha384, sizeof(ecdsa_sha384))
                : buf_append(algorithm, ecdsa_sha256, sizeof(ecdsa_sha256));
}

static int sign_rsa(struct parsed *p, WC_RNG *rng, const void *data, size_t n,
                    struct buf *algorithm, struct buf *signature)
{
    byte digest[WC_SHA256_DIGEST_SIZE], encoded[ENCODED_DIGEST];
    word32 len;
    int rc = wc_Sha256Hash(data, (word32)n, digest);

    if (rc != 0)
        return rc;
    len = wc_EncodeSignature(encoded, digest, sizeof(digest), SHA256h);
    rc = wc_RsaSSL_Sign(encoded, len, signature->p + signature->len, SIGNATURE_MAX, &p->rsa, rng);
    if (rc <= 0)
        return rc == 0 ? BAD_FUNC_ARG : rc;
    signature->len += (size_t)rc;
    return buf_append(algorithm, rsa_sha256, sizeof(rsa_sha256));
}

int key_sign(const uint8_t *pkcs8, size_t n, const void *data, size_t len, struct buf *algorithm,
             struct buf *signature, struct err *err)
{
    struct parsed p;
    WC_RNG rng;
    int rc = parse(pkcs8, n, &p, err);

    if (rc != 0)
        return rc;
    rc = wc_InitRng(&rng);
    if (rc != 0) {
        parsed_fini(&p);
        return refused(err, "random numbers", rc);
    }
#ifdef WC_RSA_BLINDING
    if (p.is_rsa)
        wc_RsaSetRNG(&p.rsa, &rng);
#endif
    if (buf_reserve(signature, SIGNATURE_MAX) != 0)
        rc = MEMORY_E;
    else if (p.is_ec)
        rc = sign_ec(&p, &rng, data, len, algorithm, signature);
    else
        rc = sign_rsa(&p, &rng, data, len, algorithm, signature);
    parsed_fini(&p);
    wc_FreeRng(&rng);
    return rc == 0 ? 0 : refused(err, "signing", rc == -ERR_NOMEM ? MEMORY_E : rc);
}

int key_pem(const uint8_t *pkcs8, size_t n, struct buf *pem)
{
    return pem_encode("PRIVATE KEY", pkcs8, n, pem);
}
