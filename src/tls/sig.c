#include "tls/sig.h"

#include <stdlib.h>

#include "tls/wolf.h"

#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/ed25519.h>
#include <wolfssl/wolfcrypt/hash.h>
#include <wolfssl/wolfcrypt/rsa.h>

enum family { SIG_RSA, SIG_PSS, SIG_ECDSA, SIG_ED25519 };

struct algorithm {
    const char *oid; /* contents octets */
    size_t n;
    enum family family;
    enum wc_HashType hash;
    int hash_oid; /* the library's, for DigestInfo */
};

#define OID(s) s, sizeof(s) - 1

/* clang-format off */
static const struct algorithm algorithms[] = {
    { OID("\x2a\x86\x48\xce\x3d\x04\x03\x02"),     SIG_ECDSA,   WC_HASH_TYPE_SHA256, SHA256h },
    { OID("\x2a\x86\x48\xce\x3d\x04\x03\x03"),     SIG_ECDSA,   WC_HASH_TYPE_SHA384, SHA384h },
    { OID("\x2a\x86\x48\xce\x3d\x04\x03\x04"),     SIG_ECDSA,   WC_HASH_TYPE_SHA512, SHA512h },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"), SIG_RSA,     WC_HASH_TYPE_SHA256, SHA256h },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c"), SIG_RSA,     WC_HASH_TYPE_SHA384, SHA384h },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d"), SIG_RSA,     WC_HASH_TYPE_SHA512, SHA512h },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a"), SIG_PSS,     WC_HASH_TYPE_NONE,   0 },
    { OID("\x2b\x65\x70"),                         SIG_ED25519, WC_HASH_TYPE_NONE,   0 },
};
static const struct algorithm pss_hashes[] = {
    { OID("\x60\x86\x48\x01\x65\x03\x04\x02\x01"), SIG_PSS, WC_HASH_TYPE_SHA256, SHA256h },
    { OID("\x60\x86\x48\x01\x65\x03\x04\x02\x02"), SIG_PSS, WC_HASH_TYPE_SHA384, SHA384h },
    { OID("\x60\x86\x48\x01\x65\x03\x04\x02\x03"), SIG_PSS, WC_HASH_TYPE_SHA512, SHA512h },
};
static const struct { const char *oid; size_t n; const char *name; } weak[] = {
    { OID("\x2a\x86\x48\xce\x3d\x04\x01"),         "ecdsa-with-SHA1" },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05"), "sha1WithRSAEncryption" },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04"), "md5WithRSAEncryption" },
};
/* clang-format on */

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct algorithm *find(const struct algorithm *table, size_t count, struct der oid)
{
    for (size_t i = 0; i < count; i++)
        if (der_is(oid, table[i].oid, table[i].n))
            return &table[i];
    return NULL;
}

static int refuse_algorithm(struct der oid, struct err *err)
{
    for (size_t i = 0; i < COUNT(weak); i++)
        if (der_is(oid, weak[i].oid, weak[i].n))
            return err_set(err, ERR_INVALID,
                           "is signed with a digest that proves nothing (%s): have it signed with "
                           "SHA-256",
                           weak[i].name);
    return err_set(err, ERR_INVALID,
                   "is signed in a way that is not known here: have it signed by ECDSA or RSA with "
                   "SHA-256");
}

static int mismatch(struct err *err)
{
    return err_set(err, ERR_INVALID,
                   "is signed with another kind of key than its issuer has: it comes from "
                   "somebody else");
}

static int denied(struct err *err)
{
    return err_set(err, ERR_DENIED, "the signature is not that of its issuer");
}

/* RFC 4055, 3.1: the hash is the first of the parameters, the length of the salt the third; what is
 * left out means SHA-1, and 20. */
static const struct algorithm *pss_parameters(struct der params, int *salt)
{
    struct der seq, tagged, alg, oid, number;

    *salt = 20;
    if (!der_take(&params, DER_SEQUENCE, &seq) || !der_take(&seq, 0xa0, &tagged) ||
        !der_take(&tagged, DER_SEQUENCE, &alg) || !der_take(&alg, DER_OID, &oid))
        return NULL;
    der_skip(&seq, 0xa1);
    if (der_take(&seq, 0xa2, &tagged)) {
        if (!der_take(&tagged, DER_INTEGER, &number) || der_left(&number) < 1 ||
            der_left(&number) > 2)
            return NULL;
        for (*salt = 0; number.p < number.end; number.p++)
            *salt = *salt << 8 | *number.p;
    }
    return find(pss_hashes, COUNT(pss_hashes), oid);
}

static int by_ecdsa(const uint8_t *hash, word32 n, struct der sig, struct der spki, struct err *err)
{
    ecc_key *key = malloc(sizeof(*key));
    word32 at = 0;
    int good = 0, rc;

    if (key == NULL || wc_ecc_init(key) != 0) {
        free(key);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    if (wc_EccPublicKeyDecode(spki.p, &at, key, (word32)der_left(&spki)) != 0)
        rc = mismatch(err);
    else if (wc_ecc_verify_hash(sig.p, (word32)der_left(&sig), hash, n, &good, key) != 0 || !good)
        rc = denied(err);
    else
        rc = 0;
    wc_ecc_free(key);
    free(key);
    return rc;
}

static int mgf_of(enum wc_HashType hash)
{
    return hash == WC_HASH_TYPE_SHA256   ? WC_MGF1SHA256
           : hash == WC_HASH_TYPE_SHA384 ? WC_MGF1SHA384
                                         : WC_MGF1SHA512;
}

static int rsa_check(RsaKey *key, const struct algorithm *a, int salt, const uint8_t *hash,
                     word32 n, struct der sig, byte *out, word32 room)
{
    byte want[WC_MAX_DIGEST_SIZE + 32];
    word32 wanted;
    int got;

    if (a->family == SIG_PSS) {
        got = wc_RsaPSS_Verify_ex((byte *)(uintptr_t)sig.p, (word32)der_left(&sig), out, room,
                                  a->hash, mgf_of(a->hash), salt, key);
        if (got <= 0)
            return -ERR_DENIED;
        return wc_RsaPSS_CheckPadding_ex(hash, n, out, (word32)got, a->hash, salt, 0) == 0
                   ? 0
                   : -ERR_DENIED;
    }
    got = wc_RsaSSL_Verify(sig.p, (word32)der_left(&sig), out, room, key);
    wanted = wc_EncodeSignature(want, hash, n, a->hash_oid);
    return got > 0 && (word32)got == wanted && memcmp(out, want, wanted) == 0 ? 0 : -ERR_DENIED;
}

static int by_rsa(const struct algorithm *a, int salt, const uint8_t *hash, word32 n,
                  struct der sig, struct der spki, struct err *err)
{
    RsaKey *key = malloc(sizeof(*key));
    byte *out = malloc(der_left(&sig) + 1);
    word32 at = 0;
    int rc;

    if (key == NULL || out == NULL || wc_InitRsaKey(key, NULL) != 0) {
        free(key);
        free(out);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    if (wc_RsaPublicKeyDecode(spki.p, &at, key, (word32)der_left(&spki)) != 0)
        rc = mismatch(err);
    else if (rsa_check(key, a, salt, hash, n, sig, out, (word32)der_left(&sig)) != 0)
        rc = denied(err);
    else
        rc = 0;
    wc_FreeRsaKey(key);
    free(key);
    free(out);
    return rc;
}

static int by_ed25519(struct der data, struct der sig, struct der spki, struct err *err)
{
    ed25519_key key;
    word32 at = 0;
    int good = 0, rc;

    if (wc_ed25519_init(&key) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (wc_Ed25519PublicKeyDecode(spki.p, &at, &key, (word32)der_left(&spki)) != 0)
        rc = mismatch(err);
    else if (wc_ed25519_verify_msg(sig.p, (word32)der_left(&sig), data.p, (word32)der_left(&data),
                                   &good, &key) != 0 ||
             !good)
        rc = denied(err);
    else
        rc = 0;
    wc_ed25519_free(&key);
    return rc;
}

int sig_verify(struct der alg, struct der data, struct der sig, struct der spki, struct err *err)
{
    const struct algorithm *a;
    byte hash[WC_MAX_DIGEST_SIZE];
    struct der oid;
    int n, salt = 0;

    if (!der_take(&alg, DER_OID, &oid) || der_left(&sig) < 2 || *sig.p != 0 ||
        der_left(&data) > UINT32_MAX || der_left(&sig) > 4096 || der_left(&spki) > UINT32_MAX)
        return err_set(err, ERR_INVALID, "has a signature that cannot be read");
    sig.p++; /* the number of unused bits: 0 */
    a = find(algorithms, COUNT(algorithms), oid);
    if (a == NULL)
        return refuse_algorithm(oid, err);
    if (a->family == SIG_ED25519)
        return by_ed25519(data, sig, spki, err);
    if (a->family == SIG_PSS && (a = pss_parameters(alg, &salt)) == NULL)
        return refuse_algorithm(oid, err);
    n = wc_HashGetDigestSize(a->hash);
    if (n <= 0 || wc_Hash(a->hash, data.p, (word32)der_left(&data), hash, (word32)n) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    return a->family == SIG_ECDSA ? by_ecdsa(hash, (word32)n, sig, spki, err)
                                  : by_rsa(a, salt, hash, (word32)n, sig, spki, err);
}
