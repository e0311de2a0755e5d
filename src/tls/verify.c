#include "tls/verify.h"

#include <string.h>

#include "tls/sig.h"
#include "tls/wolf.h"

#include <wolfssl/wolfcrypt/ed25519.h>
#include <wolfssl/wolfcrypt/rsa.h>

enum verify verify_signed(struct slice subject, struct slice issuer)
{
    struct cert_parts below, above;
    bool weak;

    /* RFC 5280, 4.1.1.2: what is named outside must be what was signed inside. */
    if (!cert_parts(subject.p, subject.n, &below) || !cert_parts(issuer.p, issuer.n, &above) ||
        !der_eq(below.alg, below.alg_inside))
        return VERIFY_BAD;
    switch (sig_check(below.alg, below.tbs, below.sig, above.spki, &weak)) {
    case SIG_GOOD:
        return VERIFY_GOOD;
    case SIG_BAD:
    case SIG_OTHER_KEY:
        return VERIFY_BAD;
    case SIG_UNKNOWN:
    case SIG_NOMEM:
        break;
    }
    return VERIFY_UNKNOWN;
}

/* -- pairs -- */

static enum verify rsa_pair(const struct sig_key *spki, struct slice der)
{
    uint8_t n[SIG_RSA_BYTES], e[16];
    word32 n_len = sizeof(n), e_len = sizeof(e), at = 0;
    struct der want_n, want_e;
    enum verify v = VERIFY_UNKNOWN;
    RsaKey key;

    if (!sig_rsa_numbers(spki->key, &want_n, &want_e) || wc_InitRsaKey(&key, NULL) != 0)
        return VERIFY_UNKNOWN;
    if (wc_RsaPrivateKeyDecode(der.p, &at, &key, (word32)der.n) == 0 &&
        wc_RsaFlattenPublicKey(&key, e, &e_len, n, &n_len) == 0)
        v = der_is(want_n, n, n_len) && der_is(want_e, e, e_len) ? VERIFY_GOOD : VERIFY_BAD;
    wc_FreeRsaKey(&key);
    return v;
}

static enum verify ec_pair(const struct sig_key *spki, struct slice der)
{
    uint8_t point[MAX_ECC_BYTES * 2 + 1];
    word32 n = sizeof(point), at = 0;
    enum verify v = VERIFY_UNKNOWN;
    ecc_key key;

    if (wc_ecc_init(&key) != 0)
        return VERIFY_UNKNOWN;
    if (wc_EccPrivateKeyDecode(der.p, &at, &key, (word32)der.n) == 0 &&
        wc_ecc_make_pub(&key, NULL) == 0 && wc_ecc_export_x963(&key, point, &n) == 0)
        v = der_is(spki->key, point, n) ? VERIFY_GOOD : VERIFY_BAD;
    wc_ecc_free(&key);
    return v;
}

static enum verify ed25519_pair(const struct sig_key *spki, struct slice der)
{
    uint8_t public[ED25519_PUB_KEY_SIZE];
    enum verify v = VERIFY_UNKNOWN;
    ed25519_key key;
    word32 at = 0;

    if (wc_ed25519_init(&key) != 0)
        return VERIFY_UNKNOWN;
    if (wc_Ed25519PrivateKeyDecode(der.p, &at, &key, (word32)der.n) == 0 &&
        wc_ed25519_make_public(&key, public, sizeof(public)) == 0)
        v = der_is(spki->key, public, sizeof(public)) ? VERIFY_GOOD : VERIFY_BAD;
    wc_ed25519_free(&key);
    return v;
}

/* Can it be read as a key of this kind? */
static bool is_key(enum family family, struct slice der)
{
    word32 at = 0;
    bool yes = false;
    ed25519_key ed;
    ecc_key ec;
    RsaKey rsa;

    if (family == FAMILY_ECDSA && wc_ecc_init(&ec) == 0) {
        yes = wc_EccPrivateKeyDecode(der.p, &at, &ec, (word32)der.n) == 0;
        wc_ecc_free(&ec);
    } else if (family == FAMILY_ED25519 && wc_ed25519_init(&ed) == 0) {
        yes = wc_Ed25519PrivateKeyDecode(der.p, &at, &ed, (word32)der.n) == 0;
        wc_ed25519_free(&ed);
    } else if (family == FAMILY_RSA && wc_InitRsaKey(&rsa, NULL) == 0) {
        yes = wc_RsaPrivateKeyDecode(der.p, &at, &rsa, (word32)der.n) == 0;
        wc_FreeRsaKey(&rsa);
    }
    return yes;
}

enum verify verify_key(struct slice cert, struct slice key)
{
    static enum verify (*const pairs[])(const struct sig_key *spki, struct slice der) = {
        [FAMILY_RSA] = rsa_pair,
        [FAMILY_PSS] = rsa_pair,
        [FAMILY_ECDSA] = ec_pair,
        [FAMILY_ED25519] = ed25519_pair,
    };
    struct cert_parts parts;
    struct sig_key spki;
    enum verify v;

    if (key.n > UINT32_MAX || !cert_parts(cert.p, cert.n, &parts) ||
        !sig_read_key(parts.spki, &spki))
        return VERIFY_UNKNOWN;
    v = pairs[spki.family](&spki, key);
    if (v != VERIFY_UNKNOWN)
        return v;
    /* A key of another kind than the certificate's is readable, and another one. */
    return is_key(FAMILY_RSA, key) || is_key(FAMILY_ECDSA, key) || is_key(FAMILY_ED25519, key)
               ? VERIFY_BAD
               : VERIFY_UNKNOWN;
}
