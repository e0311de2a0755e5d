#include "tls/pbe.h"

#include <stdlib.h>
#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/aes.h>
#include <wolfssl/wolfcrypt/des3.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/hash.h>
#include <wolfssl/wolfcrypt/pwdbased.h>
#include <wolfssl/wolfcrypt/rc2.h>

#include "base/str.h"

#define BLOCK_MAX 16
#define SALT_MAX  1024

struct named {
    const char *der; /* contents octets of the object identifier */
    size_t n;
    int value;
    const char *name;
};

#define OID(s) s, sizeof(s) - 1

/* clang-format off */
static const struct named hashes[] = {
    { OID("\x2b\x0e\x03\x02\x1a"), WC_HASH_TYPE_SHA, "SHA-1" },
    { OID("\x60\x86\x48\x01\x65\x03\x04\x02\x01"), WC_HASH_TYPE_SHA256, "SHA-256" },
    { OID("\x60\x86\x48\x01\x65\x03\x04\x02\x02"), WC_HASH_TYPE_SHA384, "SHA-384" },
    { OID("\x60\x86\x48\x01\x65\x03\x04\x02\x03"), WC_HASH_TYPE_SHA512, "SHA-512" },
};

static const struct named prfs[] = { /* RFC 8018, B.1.2 */
    { OID("\x2a\x86\x48\x86\xf7\x0d\x02\x07"), WC_HASH_TYPE_SHA, "hmacWithSHA1" },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x02\x09"), WC_HASH_TYPE_SHA256, "hmacWithSHA256" },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x02\x0a"), WC_HASH_TYPE_SHA384, "hmacWithSHA384" },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x02\x0b"), WC_HASH_TYPE_SHA512, "hmacWithSHA512" },
};

static const struct named schemes[] = { /* RFC 7292, appendix C */
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x03"), PBE_3DES, "pbeWithSHAAnd3-KeyTripleDES-CBC" },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x04"), PBE_3DES_2, "pbeWithSHAAnd2-KeyTripleDES-CBC" },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x05"), PBE_RC2_128, "pbeWithSHAAnd128BitRC2-CBC" },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x06"), PBE_RC2_40, "pbewithSHAAnd40BitRC2-CBC" },
};

static const struct named ciphers[] = { /* inside PBES2 */
    { OID("\x60\x86\x48\x01\x65\x03\x04\x01\x02"), PBE_AES_128, "aes128-CBC" },
    { OID("\x60\x86\x48\x01\x65\x03\x04\x01\x16"), PBE_AES_192, "aes192-CBC" },
    { OID("\x60\x86\x48\x01\x65\x03\x04\x01\x2a"), PBE_AES_256, "aes256-CBC" },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x03\x07"), PBE_3DES, "des-EDE3-CBC" },
};

static const struct named refused[] = { /* met in the field, and not for us */
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x01"), 0, "pbeWithSHAAnd128BitRC4" },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x02"), 0, "pbeWithSHAAnd40BitRC4" },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x05\x03"), 0, "pbeWithMD5AndDES-CBC" },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0a"), 0, "pbeWithSHA1AndDES-CBC" },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x03\x02"), 0, "rc2-CBC" },
    { OID("\x2b\x06\x01\x04\x01\xda\x47\x04\x0b"), 0, "scrypt" },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0e"), 0, "PBMAC1" },
    { OID("\x2a\x86\x48\x86\xf7\x0d\x02\x05"), 0, "MD5" },
};

static const struct cipher {
    uint8_t key, block;
} sizes[] = {
    [PBE_RC2_40]  = { 5, 8 },   [PBE_RC2_128] = { 16, 8 },
    [PBE_3DES_2]  = { 16, 8 },  [PBE_3DES]    = { 24, 8 },
    [PBE_AES_128] = { 16, 16 }, [PBE_AES_192] = { 24, 16 }, [PBE_AES_256] = { 32, 16 },
};
/* clang-format on */

static const char oid_pbes2[] = "\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d";
static const char oid_pbkdf2[] = "\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c";
static const char oid_hmac_sha256[] = "\x2a\x86\x48\x86\xf7\x0d\x02\x09";
static const char oid_aes_256[] = "\x60\x86\x48\x01\x65\x03\x04\x01\x2a";

#define LOOK(table, oid) look(table, sizeof(table) / sizeof((table)[0]), oid)

static const struct named *look(const struct named *table, size_t n, struct der oid)
{
    for (size_t i = 0; i < n; i++)
        if (der_is(oid, table[i].der, table[i].n))
            return &table[i];
    return NULL;
}

int pbe_hash_of(struct der oid)
{
    const struct named *hash = LOOK(hashes, oid);

    return hash == NULL ? -1 : hash->value;
}

/* -- what is written there --------------------------------------------------------------------- */

static int malformed(struct err *err)
{
    return err_set(err, ERR_SYNTAX, "how it is encrypted cannot be read: copy the file again");
}

static int unknown_scheme(struct der oid, struct err *err)
{
    const struct named *name = LOOK(refused, oid);
    char hex[2 * 16 + 1];

    str_hex(hex, oid.p, der_left(&oid) < 16 ? der_left(&oid) : 16);
    return err_set(
        err, ERR_INVALID,
        "is encrypted with %s%s, which is not taken: convert it (openssl pkcs8 -topk8 -v2 "
        "aes-256-cbc; openssl pkcs12, then openssl pkcs12 -export)",
        name == NULL ? "an algorithm of the OID (DER) " : "", name == NULL ? hex : name->name);
}

int pbe_iterations(struct der number, uint32_t *out, struct err *err)
{
    uint64_t n = 0;

    if (der_left(&number) == 0 || (number.p[0] & 0x80) != 0)
        return malformed(err);
    for (; number.p < number.end; number.p++) {
        n = n << 8 | *number.p;
        if (n > PBE_ITERATIONS_MAX)
            return err_set(err, ERR_TOO_BIG,
                           "its password is to be hashed more than %u times: is it damaged?",
                           PBE_ITERATIONS_MAX);
    }
    if (n == 0)
        return malformed(err);
    *out = (uint32_t)n;
    return 0;
}

static int parse_kdf(struct der kdf, struct pbe *p, uint32_t *key_length, struct err *err)
{
    struct der oid, params, number, prf, name;
    const struct named *hash;
    int rc;

    if (!der_take(&kdf, DER_OID, &oid))
        return malformed(err);
    if (!der_is(oid, OID(oid_pbkdf2)))
        return unknown_scheme(oid, err);
    if (!der_take(&kdf, DER_SEQUENCE, &params) || !der_take(&params, DER_OCTET_STRING, &p->salt) ||
        !der_take(&params, DER_INTEGER, &number))
        return malformed(err);
    rc = pbe_iterations(number, &p->iterations, err);
    if (rc != 0)
        return rc;
    *key_length = 0;
    if (der_take(&params, DER_INTEGER, &number) && pbe_iterations(number, key_length, NULL) != 0)
        return malformed(err);
    p->hash = WC_HASH_TYPE_SHA; /* RFC 8018, A.2: the default */
    if (der_take(&params, DER_SEQUENCE, &prf)) {
        if (!der_take(&prf, DER_OID, &name))
            return malformed(err);
        hash = LOOK(prfs, name);
        if (hash == NULL)
            return unknown_scheme(name, err);
        p->hash = hash->value;
    }
    return 0;
}

static int parse_pbes2(struct der params, struct pbe *p, struct err *err)
{
    struct der kdf, enc, oid;
    const struct named *cipher;
    uint32_t key_length = 0;
    int rc;

    if (!der_take(&params, DER_SEQUENCE, &kdf) || !der_take(&params, DER_SEQUENCE, &enc) ||
        !der_take(&enc, DER_OID, &oid))
        return malformed(err);
    rc = parse_kdf(kdf, p, &key_length, err);
    if (rc != 0)
        return rc;
    cipher = LOOK(ciphers, oid);
    if (cipher == NULL)
        return unknown_scheme(oid, err);
    p->cipher = (enum pbe_cipher)cipher->value;
    if (!der_take(&enc, DER_OCTET_STRING, &p->iv) || der_left(&p->iv) != sizes[p->cipher].block ||
        (key_length != 0 && key_length != sizes[p->cipher].key))
        return malformed(err);
    return 0;
}

int pbe_parse(struct der algorithm, struct pbe *out, struct err *err)
{
    struct pbe p = {.pkcs12 = true, .hash = WC_HASH_TYPE_SHA};
    struct der oid, params, number;
    const struct named *scheme;
    int rc;

    if (!der_take(&algorithm, DER_OID, &oid))
        return malformed(err);
    scheme = LOOK(schemes, oid);
    if (scheme == NULL && !der_is(oid, OID(oid_pbes2)))
        return unknown_scheme(oid, err);
    if (!der_take(&algorithm, DER_SEQUENCE, &params))
        return malformed(err);
    if (scheme == NULL) {
        p.pkcs12 = false;
        rc = parse_pbes2(params, &p, err);
    } else {
        p.cipher = (enum pbe_cipher)scheme->value;
        if (!der_take(&params, DER_OCTET_STRING, &p.salt) ||
            !der_take(&params, DER_INTEGER, &number))
            return malformed(err);
        rc = pbe_iterations(number, &p.iterations, err);
    }
    if (rc == 0 && (der_left(&p.salt) == 0 || der_left(&p.salt) > SALT_MAX))
        return malformed(err);
    if (rc == 0)
        *out = p;
    return rc;
}

/* -- from the password to the key -------------------------------------------------------------- */

#define HASH_MAX WC_MAX_DIGEST_SIZE
#define V_MAX    128                                      /* a block of SHA-512 */
#define BMP_MAX  ((size_t)PBE_PASSWORD_MAX * 2 + 2)       /* UTF-16 and its end */
#define FILL_MAX (SALT_MAX + BMP_MAX + (size_t)2 * V_MAX) /* S and P of RFC 7292, B.2 */

/* UTF-16, big end first, with its NUL (RFC 7292, B.1); no password at all is no bytes at all.
 * Returns the number of bytes, or 0 with *bad when it is not UTF-8. */
static size_t to_bmp(const char *password, size_t n, uint8_t *out, bool *bad)
{
    const uint8_t *p = (const uint8_t *)password;
    size_t at = 0;

    *bad = false;
    if (password == NULL)
        return 0;
    while (n > 0) {
        size_t step = str_utf8_step(p, n);
        uint32_t c;

        if (step == 0) {
            *bad = true;
            return 0;
        }
        c = step == 1 ? p[0] : (uint32_t)p[0] & (0x7fu >> step);
        for (size_t i = 1; i < step; i++)
            c = c << 6 | (p[i] & 0x3fu);
        if (c > 0xffff) {
            c -= 0x10000;
            out[at++] = (uint8_t)(0xd8 | c >> 18);
            out[at++] = (uint8_t)(c >> 10);
            c = 0xdc00 | (c & 0x3ff);
        }
        out[at++] = (uint8_t)(c >> 8);
        out[at++] = (uint8_t)c;
        p += step;
        n -= step;
    }
    out[at++] = 0;
    out[at++] = 0;
    return at;
}

struct kdf_work { /* all of it is secret */
    uint8_t bmp[BMP_MAX];
    uint8_t fill[FILL_MAX]; /* I: S, then P */
    uint8_t block[V_MAX + FILL_MAX];
    uint8_t a[HASH_MAX], b[V_MAX];
};

/* n bytes of `from`, over and over, up to a multiple of v. */
static size_t fill_up(uint8_t *out, const uint8_t *from, size_t n, size_t v)
{
    size_t size = (n + v - 1) / v * v;

    for (size_t i = 0; i < size; i++)
        out[i] = from[i % n];
    return size;
}

/* I_j = (I_j + B + 1) mod 2^v */
static void add_to_block(uint8_t *i, const uint8_t *b, size_t v)
{
    unsigned carry = 1;

    for (size_t k = v; k-- > 0;) {
        carry += (unsigned)i[k] + b[k];
        i[k] = (uint8_t)carry;
        carry >>= 8;
    }
}

/* RFC 7292, B.2.  `id` is 1 for a key, 2 for an initialisation vector, 3 for a MAC key. */
static int pkcs12_kdf(struct kdf_work *w, int hash, size_t bmp_n, struct der salt,
                      uint32_t iterations, uint8_t id, uint8_t *out, size_t n)
{
    enum wc_HashType type = (enum wc_HashType)hash;
    size_t u = (size_t)wc_HashGetDigestSize(type), v = (size_t)wc_HashGetBlockSize(type);
    size_t fill_n = fill_up(w->fill, salt.p, der_left(&salt), v);

    if (bmp_n > 0)
        fill_n += fill_up(w->fill + fill_n, w->bmp, bmp_n, v);
    while (n > 0) {
        size_t take = n < u ? n : u;

        memset(w->block, id, v);
        memcpy(w->block + v, w->fill, fill_n);
        if (wc_Hash(type, w->block, (word32)(v + fill_n), w->a, (word32)u) != 0)
            return -ERR_TLS;
        for (uint32_t i = 1; i < iterations; i++)
            if (wc_Hash(type, w->a, (word32)u, w->a, (word32)u) != 0)
                return -ERR_TLS;
        memcpy(out, w->a, take);
        out += take;
        n -= take;
        fill_up(w->b, w->a, u, v);
        for (size_t at = 0; at < fill_n; at += v)
            add_to_block(w->fill + at, w->b, v);
    }
    return 0;
}

static int fail_derive(struct err *err)
{
    return err_set(err, ERR_TLS, "the TLS library cannot derive a key from the password");
}

/* Derive `count` runs of bytes by the way of PKCS#12. */
static int pkcs12_derive(int hash, const char *password, size_t n, struct der salt,
                         uint32_t iterations, uint8_t first_id, uint8_t *key, size_t key_n,
                         size_t iv_n, struct err *err)
{
    struct kdf_work *w;
    size_t bmp_n;
    bool bad;
    int rc;

    if (n > PBE_PASSWORD_MAX)
        return err_set(err, ERR_TOO_BIG, "a password of more than %d bytes", PBE_PASSWORD_MAX);
    w = secret_alloc(sizeof(*w));
    if (w == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    bmp_n = to_bmp(password, n, w->bmp, &bad);
    if (bad)
        rc = err_set(err, ERR_DENIED,
                     "the password is not UTF-8, as PKCS#12 wants it: wrong password?");
    else if (pkcs12_kdf(w, hash, bmp_n, salt, iterations, first_id, key, key_n) != 0 ||
             (iv_n > 0 && pkcs12_kdf(w, hash, bmp_n, salt, iterations, 2, key + key_n, iv_n) != 0))
        rc = fail_derive(err);
    else
        rc = 0;
    secret_free(w);
    return rc;
}

int pbe_mac_key(int hash, const char *password, size_t n, struct der salt, uint32_t iterations,
                uint8_t *key, size_t key_n, struct err *err)
{
    if (der_left(&salt) == 0 || der_left(&salt) > SALT_MAX)
        return malformed(err);
    return pkcs12_derive(hash, password, n, salt, iterations, 3, key, key_n, 0, err);
}

int pbe_derive(const struct pbe *p, const char *password, size_t n, uint8_t key[PBE_KEY_MAX],
               struct err *err)
{
    const struct cipher *size = &sizes[p->cipher];

    memset(key, 0, PBE_KEY_MAX);
    if (p->pkcs12)
        return pkcs12_derive(p->hash, password, n, p->salt, p->iterations, 1, key, size->key,
                             size->block, err);
    if (n > PBE_PASSWORD_MAX)
        return err_set(err, ERR_TOO_BIG, "a password of more than %d bytes", PBE_PASSWORD_MAX);
    if (wc_PBKDF2(key, (const byte *)(password == NULL ? "" : password), (int)n, p->salt.p,
                  (int)der_left(&p->salt), (int)p->iterations, size->key, p->hash) != 0)
        return fail_derive(err);
    memcpy(key + size->key, p->iv.p, size->block);
    return 0;
}

/* -- the data ---------------------------------------------------------------------------------- */

static int aes_open(const uint8_t *key, size_t n, const uint8_t *iv, struct der data, uint8_t *out)
{
    Aes *aes = secret_alloc(sizeof(*aes));
    int rc = aes == NULL ? MEMORY_E : wc_AesInit(aes, NULL, INVALID_DEVID);

    if (rc == 0)
        rc = wc_AesSetKey(aes, key, (word32)n, iv, AES_DECRYPTION);
    if (rc == 0)
        rc = wc_AesCbcDecrypt(aes, out, data.p, (word32)der_left(&data));
    if (aes != NULL)
        wc_AesFree(aes);
    secret_free(aes);
    return rc;
}

static int des3_open(const uint8_t *key, size_t n, const uint8_t *iv, struct der data, uint8_t *out)
{
    uint8_t three[24];
    Des3 *des = secret_alloc(sizeof(*des));
    int rc = des == NULL ? MEMORY_E : wc_Des3Init(des, NULL, INVALID_DEVID);

    memcpy(three, key, n);
    if (n == 16) /* two keys: the first one again */
        memcpy(three + 16, key, 8);
    if (rc == 0)
        rc = wc_Des3_SetKey(des, three, iv, DES_DECRYPTION);
    if (rc == 0)
        rc = wc_Des3_CbcDecrypt(des, out, data.p, (word32)der_left(&data));
    if (des != NULL)
        wc_Des3Free(des);
    secret_free(des);
    explicit_bzero(three, sizeof(three));
    return rc;
}

static int rc2_open(const uint8_t *key, size_t n, const uint8_t *iv, struct der data, uint8_t *out)
{
#ifdef WC_RC2
    Rc2 *rc2 = secret_alloc(sizeof(*rc2));
    int rc = rc2 == NULL ? MEMORY_E : wc_Rc2SetKey(rc2, key, (word32)n, iv, (word32)n * 8);

    if (rc == 0)
        rc = wc_Rc2CbcDecrypt(rc2, out, data.p, (word32)der_left(&data));
    secret_free(rc2);
    return rc;
#else
    (void)key, (void)n, (void)iv, (void)data, (void)out;
    return NOT_COMPILED_IN;
#endif
}

/* How many bytes of `n` are the data (RFC 8018, 6.1.1), or -1. */
static ssize_t without_padding(const uint8_t *p, size_t n, size_t block)
{
    uint8_t last = p[n - 1];

    if (last == 0 || last > block)
        return -1;
    for (size_t i = n - last; i < n; i++)
        if (p[i] != last)
            return -1;
    return (ssize_t)(n - last);
}

int pbe_open(const struct pbe *p, const uint8_t key[PBE_KEY_MAX], struct der data,
             struct secret *out, struct err *err)
{
    const struct cipher *size = &sizes[p->cipher];
    const uint8_t *iv = p->pkcs12 ? key + size->key : p->iv.p;
    size_t n = der_left(&data);
    struct secret plain = {secret_alloc(n), n};
    ssize_t left = 0;
    int rc = 0;

    if (n == 0 || n % size->block != 0) {
        secret_fini(&plain);
        return err_set(err, ERR_SYNTAX, "its encrypted part is cut off: copy the file again");
    }
    if (plain.p == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    switch (p->cipher) {
    case PBE_RC2_40:
    case PBE_RC2_128:
        rc = rc2_open(key, size->key, iv, data, plain.p);
        break;
    case PBE_3DES_2:
    case PBE_3DES:
        rc = des3_open(key, size->key, iv, data, plain.p);
        break;
    case PBE_AES_128:
    case PBE_AES_192:
    case PBE_AES_256:
        rc = aes_open(key, size->key, iv, data, plain.p);
        break;
    }
    if (rc == 0)
        left = without_padding(plain.p, n, size->block);
    if (rc != 0 || left < 0) {
        secret_fini(&plain);
        return rc != 0 ? err_set(err, ERR_TLS,
                                 "the TLS library cannot decrypt it (code %d): convert it (openssl "
                                 "pkcs8 -topk8 -v2 aes-256-cbc)",
                                 rc)
                       : err_set(err, ERR_DENIED, "wrong password, or a damaged file");
    }
    plain.len = (size_t)left;
    secret_fini(out);
    *out = plain;
    return 0;
}

/* -- writing ----------------------------------------------------------------------------------- */

int pbe_put_pbes2(struct buf *out, struct der salt, uint32_t iterations, const uint8_t iv[16])
{
    uint8_t number[5];
    size_t number_n = 0;
    struct buf kdf = {0}, enc = {0}, both = {0}, whole = {0}, prf = {0};
    int rc;

    for (int shift = 24; shift >= 0; shift -= 8) {
        uint8_t octet = (uint8_t)(iterations >> shift);

        if (number_n == 0 && octet == 0 && shift != 0)
            continue;
        if (number_n == 0 && (octet & 0x80) != 0)
            number[number_n++] = 0;
        number[number_n++] = octet;
    }
    rc = der_put(&prf, DER_OID, OID(oid_hmac_sha256));
    if (rc == 0)
        rc = der_put(&prf, DER_NULL, NULL, 0);
    if (rc == 0)
        rc = der_put(&both, DER_OCTET_STRING, salt.p, der_left(&salt));
    if (rc == 0)
        rc = der_put(&both, DER_INTEGER, number, number_n);
    if (rc == 0)
        rc = der_put(&both, DER_SEQUENCE, prf.p, prf.len);
    if (rc == 0)
        rc = der_put(&kdf, DER_OID, OID(oid_pbkdf2));
    if (rc == 0)
        rc = der_put(&kdf, DER_SEQUENCE, both.p, both.len);
    if (rc == 0)
        rc = der_put(&enc, DER_OID, OID(oid_aes_256));
    if (rc == 0)
        rc = der_put(&enc, DER_OCTET_STRING, iv, 16);
    both.len = 0;
    if (rc == 0)
        rc = der_put(&both, DER_SEQUENCE, kdf.p, kdf.len);
    if (rc == 0)
        rc = der_put(&both, DER_SEQUENCE, enc.p, enc.len);
    if (rc == 0)
        rc = der_put(&whole, DER_OID, OID(oid_pbes2));
    if (rc == 0)
        rc = der_put(&whole, DER_SEQUENCE, both.p, both.len);
    if (rc == 0)
        rc = der_put(out, DER_SEQUENCE, whole.p, whole.len);
    buf_fini(&prf);
    buf_fini(&kdf);
    buf_fini(&enc);
    buf_fini(&both);
    buf_fini(&whole);
    return rc;
}

int pbe_seal(const uint8_t key[32], const uint8_t iv[16], struct der plain, struct buf *out,
             struct err *err)
{
    size_t n = der_left(&plain), pad = BLOCK_MAX - n % BLOCK_MAX;
    uint8_t *padded = secret_alloc(n + pad);
    Aes *aes = secret_alloc(sizeof(*aes));
    int rc = -ERR_NOMEM;

    if (padded == NULL || aes == NULL || buf_reserve(out, n + pad) != 0) {
        err_set(err, ERR_NOMEM, "out of memory");
        goto out;
    }
    memcpy(padded, plain.p, n);
    memset(padded + n, (int)pad, pad);
    rc = wc_AesInit(aes, NULL, INVALID_DEVID);
    if (rc == 0)
        rc = wc_AesSetKey(aes, key, 32, iv, AES_ENCRYPTION);
    if (rc == 0)
        rc = wc_AesCbcEncrypt(aes, out->p + out->len, padded, (word32)(n + pad));
    wc_AesFree(aes);
    if (rc != 0)
        rc = err_set(err, ERR_TLS, "the TLS library cannot encrypt (code %d)", rc);
    else
        out->len += n + pad;
out:
    secret_free(padded);
    secret_free(aes);
    return rc;
}
