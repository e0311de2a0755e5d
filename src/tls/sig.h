/* tls/sig.h - is this signed by that key?  For what the library verifies only in its own way: CRLs,
 * OCSP responses, single certificates.  Any thread; private to this folder. */
#ifndef TLS_SIG_H
#define TLS_SIG_H

#include "base/err.h"
#include "tls/der.h"

#define SIG_RSA_BYTES 1024 /* 8192 bits; more is no key that anybody answers in time */

enum family { FAMILY_RSA, FAMILY_PSS, FAMILY_ECDSA, FAMILY_ED25519 };

/* A public key; borrowed. */
struct sig_key {
    enum family family; /* FAMILY_PSS: for nothing else */
    struct der whole;   /* SubjectPublicKeyInfo */
    struct der key;     /* what stands in its BIT STRING */
};

/* False when it is none of a kind that is known. */
bool sig_read_key(struct der spki, struct sig_key *out);
/* Modulus and exponent of an RSA key, without leading zeros. */
bool sig_rsa_numbers(struct der key, struct der *n, struct der *e);

enum sig {
    SIG_GOOD,
    SIG_BAD,
    SIG_OTHER_KEY, /* an algorithm that does not go with the key */
    SIG_UNKNOWN,   /* an algorithm, a curve or a size that is not known */
    SIG_NOMEM,
};

/* Does `sig` (the contents of a BIT STRING, the count of unused bits in front) stand for `data`, by
 * the AlgorithmIdentifier `alg` (its contents) and the key `spki` (a whole SubjectPublicKeyInfo)?
 * *weak: by MD5 or SHA-1. */
enum sig sig_check(struct der alg, struct der data, struct der sig, struct der spki, bool *weak);

/* The same where a weak digest is not good enough.
 *
 * Returns 0 if so; -ERR_DENIED if not; -ERR_INVALID for an algorithm that is not known or proves
 * nothing (MD5, SHA-1), or does not go with the key; -ERR_NOMEM. */
int sig_verify(struct der alg, struct der data, struct der sig, struct der spki, struct err *err);

#endif
