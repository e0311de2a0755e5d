#include "tls/sig.h"

#include <string.h>

#include "tls/wolf.h"

#include <wolfssl/wolfcrypt/ed25519.h>
#include <wolfssl/wolfcrypt/hash.h>
#include <wolfssl/wolfcrypt/rsa.h>

#define MAX_RSA_BYTES SIG_RSA_BYTES
#define MAX_SIG_BYTES 4096

struct algorithm {
    enum family family;
    enum wc_HashType hash;
    enum wc_HashType mgf; /* PSS */
    int salt;             /* PSS, bytes */
};

struct row {
    const char *der; /* of the OID, contents octets */
    size_t n;
    enum family family;
    enum wc_HashType hash;
};

#define OID(s) s, sizeof(s) - 1

/* clang-format off */
static const struct row algorithms[] = {
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04"), FAMILY_RSA,     WC_HASH_TYPE_MD5 },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05"), FAMILY_RSA,     WC_HASH_TYPE_SHA },
    { OID("\x2b\x0e\x03\x02\x1d"),                 FAMILY_RSA,     WC_HASH_TYPE_SHA },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0e"), FAMILY_RSA,     WC_HASH_TYPE_SHA224 },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"), FAMILY_RSA,     WC_HASH_TYPE_SHA256 },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c"), FAMILY_RSA,     WC_HASH_TYPE_SHA384 },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d"), FAMILY_RSA,     WC_HASH_TYPE_SHA512 },
    { OID("\x2a\x86\x48\xce\x3d\x04\x01"),         FAMILY_ECDSA,   WC_HASH_TYPE_SHA },
    { OID("\x2a\x86\x48\xce\x3d\x04\x03\x01"),     FAMILY_ECDSA,   WC_HASH_TYPE_SHA224 },
    { OID("\x2a\x86\x48\xce\x3d\x04\x03\x02"),     FAMILY_ECDSA,   WC_HASH_TYPE_SHA256 },
    { OID("\x2a\x86\x48\xce\x3d\x04\x03\x03"),     FAMILY_ECDSA,   WC_HASH_TYPE_SHA384 },
    { OID("\x2a\x86\x48\xce\x3d\x04\x03\x04"),     FAMILY_ECDSA,   WC_HASH_TYPE_SHA512 },
    { OID("\x2b\x65\x70"),                         FAMILY_ED25519, WC_HASH_TYPE_NONE },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a"), FAMILY_PSS,     WC_HASH_TYPE_SHA },
};

static const struct row hashes[] = { /* in the parameters of PSS */
    { OID("\x2b\x0e\x03\x02\x1a"),                 FAMILY_PSS, WC_HASH_TYPE_SHA },
    { OID("\x60\x86\x48\x01\x65\x03\x04\x02\x04"), FAMILY_PSS, WC_HASH_TYPE_SHA224 },
    { OID("\x60\x86\x48\x01\x65\x03\x04\x02\x01"), FAMILY_PSS, WC_HASH_TYPE_SHA256 },
    { OID("\x60\x86\x48\x01\x65\x03\x04\x02\x02"), FAMILY_PSS, WC_HASH_TYPE_SHA384 },
    { OID("\x60\x86\x48\x01\x65\x03\x04\x02\x03"), FAMILY_PSS, WC_HASH_TYPE_SHA512 },
};

static const struct row keys[] = {
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"), FAMILY_RSA,     WC_HASH_TYPE_NONE },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a"), FAMILY_PSS,     WC_HASH_TYPE_NONE },
    { OID("\x2a\x86\x48\xce\x3d\x02\x01"),         FAMILY_ECDSA,   WC_HASH_TYPE_NONE },
    { OID("\x2b\x65\x70"),                         FAMILY_ED25519, WC_HASH_TYPE_NONE },
};
/* clang-format on */

#define FIND(table, d) find(table, sizeof(table) / sizeof((table)[0]), d)

static const struct row *find(const struct row *table, size_t count, struct der d)
{
    for (size_t i = 0; i < count; i++)
        if (der_is(d, table[i].der, table[i].n))
            return &table[i];
    return NULL;
}

/* MD5 and SHA-1 prove nothing: what they are a digest of can be made to measure. */
static bool is_weak(enum wc_HashType hash)
{
    return hash == WC_HASH_TYPE_MD5 || hash == WC_HASH_TYPE_SHA;
}

static bool hash_of(struct der algorithm, enum wc_HashType *out)
{
    struct der seq, oid;
    const struct row *row;

    if (!der_take(&algorithm, DER_SEQUENCE, &seq) || !der_take(&seq, DER_OID, &oid) ||
        (row = FIND(hashes, oid)) == NULL)
        return false;
    *out = row->hash;
    return true;
}

/* RFC 4055, 3.1; what is left out is SHA-1 and its length. */
static bool pss_params(struct der params, struct algorithm *out)
{
    struct der seq, field, mgf, oid, len;

    out->mgf = WC_HASH_TYPE_SHA;
    out->salt = 20;
    if (!der_take(&params, DER_SEQUENCE, &seq))
        return true;
    if (der_take(&seq, 0xa0, &field) && !hash_of(field, &out->hash))
        return false;
    if (der_take(&seq, 0xa1, &field)) {
        if (!der_take(&field, DER_SEQUENCE, &mgf) || !der_take(&mgf, DER_OID, &oid) ||
            !der_is(oid, "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08", 9) || !hash_of(mgf, &out->mgf))
            return false;
    }
    if (der_take(&seq, 0xa2, &field)) {
        if (!der_take(&field, DER_INTEGER, &len) || der_left(&len) < 1 || der_left(&len) > 2)
            return false;
        out->salt = 0;
        for (; der_left(&len) > 0; len.p++)
            out->salt = out->salt << 8 | *len.p;
    }
    return true;
}

static bool read_algorithm(struct der d, struct algorithm *out)
{
    const struct row *row;
    struct der oid;

    if (!der_take(&d, DER_OID, &oid) || (row = FIND(algorithms, oid)) == NULL)
        return false;
    *out = (struct algorithm){.family = row->family, .hash = row->hash};
    return row->family != FAMILY_PSS || pss_params(d, out);
}

static struct der without_zeros(struct der integer)
{
    while (der_left(&integer) > 0 && *integer.p == 0)
        integer.p++;
    return integer;
}

bool sig_rsa_numbers(struct der key, struct der *n, struct der *e)
{
    struct der seq;

    if (!der_take(&key, DER_SEQUENCE, &seq) || !der_take(&seq, DER_INTEGER, n) ||
        !der_take(&seq, DER_INTEGER, e))
        return false;
    *n = without_zeros(*n);
    *e = without_zeros(*e);
    return der_left(n) > 0 && der_left(e) > 0 && der_left(n) <= MAX_RSA_BYTES;
}

/* PKCS#1 v1.5: what comes out must be the one encoding of the digest. */
static enum sig rsa_pkcs1(RsaKey *key, struct der sig, const uint8_t *digest, word32 n,
                          enum wc_HashType hash)
{
    uint8_t found[MAX_RSA_BYTES], wanted[WC_MAX_DIGEST_SIZE + 32];
    word32 want = wc_EncodeSignature(wanted, digest, n, wc_HashGetOID(hash));
    int have = wc_RsaSSL_Verify(sig.p, (word32)der_left(&sig), found, sizeof(found), key);

    return have > 0 && (word32)have == want && memcmp(found, wanted, want) == 0 ? SIG_GOOD
                                                                                : SIG_BAD;
}

static int mgf_of(enum wc_HashType hash)
{
    switch ((int)hash) {
    case WC_HASH_TYPE_SHA:
        return WC_MGF1SHA1;
    case WC_HASH_TYPE_SHA224:
        return WC_MGF1SHA224;
    case WC_HASH_TYPE_SHA256:
        return WC_MGF1SHA256;
    case WC_HASH_TYPE_SHA384:
        return WC_MGF1SHA384;
    case WC_HASH_TYPE_SHA512:
        return WC_MGF1SHA512;
    default:
        return WC_MGF1NONE;
    }
}

static enum sig rsa_pss(RsaKey *key, struct der sig, const uint8_t *digest, word32 n,
                        const struct algorithm *a)
{
    uint8_t in[MAX_RSA_BYTES], found[MAX_RSA_BYTES];
    int have;

    if ((word32)a->salt > n) /* the library takes no more; OpenSSL makes them as long as can be */
        return SIG_UNKNOWN;
    memcpy(in, sig.p, der_left(&sig));
    have = wc_RsaPSS_Verify_ex(in, (word32)der_left(&sig), found, sizeof(found), a->hash,
                               mgf_of(a->mgf), a->salt, key);
    if (have <= 0 || wc_RsaPSS_CheckPadding_ex(digest, n, found, (word32)have, a->hash, a->salt,
                                               wc_RsaEncryptSize(key) * 8) != 0)
        return SIG_BAD;
    return SIG_GOOD;
}

static enum sig by_rsa(const struct sig_key *spki, const struct algorithm *a, struct der sig,
                       const uint8_t *digest, word32 digest_n)
{
    struct der n, e;
    RsaKey key;
    enum sig v = SIG_UNKNOWN;

    if (!sig_rsa_numbers(spki->key, &n, &e))
        return SIG_UNKNOWN;
    if (der_left(&sig) != der_left(&n))
        return SIG_BAD;
    if (wc_InitRsaKey(&key, NULL) != 0)
        return SIG_NOMEM;
    if (wc_RsaPublicKeyDecodeRaw(n.p, (word32)der_left(&n), e.p, (word32)der_left(&e), &key) == 0)
        v = a->family == FAMILY_PSS ? rsa_pss(&key, sig, digest, digest_n, a)
                                    : rsa_pkcs1(&key, sig, digest, digest_n, a->hash);
    wc_FreeRsaKey(&key);
    return v;
}

static enum sig by_ecdsa(const struct sig_key *spki, struct der sig, const uint8_t *digest,
                         word32 n)
{
    enum sig v = SIG_UNKNOWN;
    word32 at = 0;
    ecc_key key;
    int good = 0;

    if (wc_ecc_init(&key) != 0)
        return SIG_NOMEM;
    if (wc_EccPublicKeyDecode(spki->whole.p, &at, &key, (word32)der_left(&spki->whole)) == 0)
        v = wc_ecc_verify_hash(sig.p, (word32)der_left(&sig), digest, n, &good, &key) == 0 &&
                    good == 1
                ? SIG_GOOD
                : SIG_BAD;
    wc_ecc_free(&key);
    return v;
}

static enum sig by_ed25519(const struct sig_key *spki, struct der sig, struct der text)
{
    enum sig v = SIG_UNKNOWN;
    ed25519_key key;
    int good = 0;

    if (wc_ed25519_init(&key) != 0)
        return SIG_NOMEM;
    if (wc_ed25519_import_public(spki->key.p, (word32)der_left(&spki->key), &key) == 0)
        v = wc_ed25519_verify_msg(sig.p, (word32)der_left(&sig), text.p, (word32)der_left(&text),
                                  &good, &key) == 0 &&
                    good == 1
                ? SIG_GOOD
                : SIG_BAD;
    wc_ed25519_free(&key);
    return v;
}

bool sig_read_key(struct der whole, struct sig_key *out)
{
    struct der spki, alg, oid;
    const struct row *row;

    out->whole = whole;
    if (!der_take(&whole, DER_SEQUENCE, &spki) || !der_take(&spki, DER_SEQUENCE, &alg) ||
        !der_take(&alg, DER_OID, &oid) || !der_take(&spki, DER_BIT_STRING, &out->key) ||
        der_left(&out->key) < 1 || *out->key.p != 0 || (row = FIND(keys, oid)) == NULL)
        return false;
    out->key.p++; /* the number of unused bits */
    out->family = row->family;
    return true;
}

enum sig sig_check(struct der alg, struct der data, struct der sig, struct der spki, bool *weak)
{
    uint8_t digest[WC_MAX_DIGEST_SIZE];
    struct sig_key key;
    struct algorithm a;
    int n;

    *weak = false;
    if (der_left(&sig) < 2 || *sig.p != 0 || der_left(&sig) > MAX_SIG_BYTES ||
        der_left(&data) > UINT32_MAX || der_left(&spki) > UINT32_MAX)
        return SIG_BAD;
    sig.p++; /* the number of unused bits: 0 */
    if (!read_algorithm(alg, &a) || !sig_read_key(spki, &key))
        return SIG_UNKNOWN;
    *weak = is_weak(a.hash);
    if (a.family != key.family && !(a.family == FAMILY_PSS && key.family == FAMILY_RSA))
        return SIG_OTHER_KEY;
    if (a.family == FAMILY_ED25519)
        return by_ed25519(&key, sig, data);
    n = wc_HashGetDigestSize(a.hash);
    if (n <= 0 || wc_Hash(a.hash, data.p, (word32)der_left(&data), digest, (word32)n) != 0)
        return SIG_UNKNOWN;
    if (a.family == FAMILY_ECDSA)
        return by_ecdsa(&key, sig, digest, (word32)n);
    return by_rsa(&key, &a, sig, digest, (word32)n);
}

int sig_verify(struct der alg, struct der data, struct der sig, struct der spki, struct err *err)
{
    bool weak;
    enum sig is = sig_check(alg, data, sig, spki, &weak);

    if (weak)
        return err_set(err, ERR_INVALID,
                       "is signed with a digest that proves nothing (MD5, SHA-1): have it signed "
                       "with SHA-256");
    switch (is) {
    case SIG_GOOD:
        return 0;
    case SIG_BAD:
        return err_set(err, ERR_DENIED, "the signature is not that of its issuer");
    case SIG_OTHER_KEY:
        return err_set(err, ERR_INVALID,
                       "is signed with another kind of key than its issuer has: it comes from "
                       "somebody else");
    case SIG_UNKNOWN:
        return err_set(err, ERR_INVALID,
                       "is signed in a way that is not known here: have it signed by ECDSA or RSA "
                       "with SHA-256");
    case SIG_NOMEM:
        break;
    }
    return err_set(err, ERR_NOMEM, "out of memory");
}
