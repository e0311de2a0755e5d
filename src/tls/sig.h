/* tls/sig.h - is this signed by that key?  For what the library verifies only in its own way: CRLs
 * and OCSP responses.  Any thread; private to this folder. */
#ifndef TLS_SIG_H
#define TLS_SIG_H

#include "base/err.h"
#include "tls/der.h"

/* Does `sig` (the contents of a BIT STRING, the count of unused bits in front) stand for `data`, by
 * the AlgorithmIdentifier `alg` (its contents) and the key `spki` (a whole SubjectPublicKeyInfo)?
 *
 * Returns 0 if so; -ERR_DENIED if not; -ERR_INVALID for an algorithm that is not known or proves
 * nothing (MD5, SHA-1), or does not go with the key; -ERR_NOMEM. */
int sig_verify(struct der alg, struct der data, struct der sig, struct der spki, struct err *err);

#endif
