/* tls/pbe.h - encryption under a password, as in PKCS#8 and PKCS#12: PBES2 of RFC 8018 and the
 * older schemes of RFC 7292, appendix C.  Any thread; private to this folder.
 *
 * A key is derived from the password first, which is slow on purpose, and then opens the data: who
 * has many files under one salt derives once.
 */
#ifndef TLS_PBE_H
#define TLS_PBE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"
#include "tls/der.h"

#define PBE_ITERATIONS_MAX 10000000u /* some seconds; more is a file that wants to keep us busy */
#define PBE_PASSWORD_MAX   1024      /* bytes */
#define PBE_KEY_MAX        64        /* key and initialisation vector */

enum pbe_cipher {
    PBE_RC2_40,
    PBE_RC2_128,
    PBE_3DES_2,
    PBE_3DES,
    PBE_AES_128,
    PBE_AES_192,
    PBE_AES_256
};

/* What an AlgorithmIdentifier says.  The slices are borrowed from it. */
struct pbe {
    bool pkcs12; /* the derivation of RFC 7292; otherwise PBKDF2 */
    enum pbe_cipher cipher;
    int hash; /* enum wc_HashType */
    uint32_t iterations;
    struct der salt;
    struct der iv; /* PBES2; otherwise it is derived */
};

/* Read an AlgorithmIdentifier (its contents).  Returns 0, -ERR_SYNTAX, or -ERR_INVALID: the scheme
 * is none of ours, and err says which and how to convert. */
int pbe_parse(struct der algorithm, struct pbe *out, struct err *err);

/* The key for these parameters: PBE_KEY_MAX bytes, of which as many count as the cipher needs.
 * `password` is UTF-8, of n bytes; NULL is no password, which PKCS#12 tells from an empty one.
 * Returns 0 or a negative code. */
int pbe_derive(const struct pbe *pbe, const char *password, size_t n, uint8_t key[PBE_KEY_MAX],
               struct err *err);

/* Decrypt into `out` (what it held is wiped).  Returns 0, -ERR_DENIED when what comes out is not
 * padded as it must be (another password, or damage), or another negative code. */
int pbe_open(const struct pbe *pbe, const uint8_t key[PBE_KEY_MAX], struct der data,
             struct secret *out, struct err *err);

/* The MAC key of PKCS#12 (RFC 7292, B.3): as long as the hash. */
int pbe_mac_key(int hash, const char *password, size_t n, struct der salt, uint32_t iterations,
                uint8_t *key, size_t key_n, struct err *err);

/* The enum wc_HashType of a digest's object identifier, or -1. */
int pbe_hash_of(struct der oid);

/* A whole number of at most PBE_ITERATIONS_MAX.  Returns 0, -ERR_SYNTAX or -ERR_TOO_BIG. */
int pbe_iterations(struct der number, uint32_t *out, struct err *err);

/* An AlgorithmIdentifier of PBES2 with PBKDF2, HMAC-SHA256 and AES-256-CBC, appended to `out`. */
int pbe_put_pbes2(struct buf *out, struct der salt, uint32_t iterations, const uint8_t iv[16]);

/* Encrypt with AES-256-CBC and the padding of RFC 8018, 6.1.1: appended to `out`. */
int pbe_seal(const uint8_t key[32], const uint8_t iv[16], struct der plain, struct buf *out,
             struct err *err);

#endif
