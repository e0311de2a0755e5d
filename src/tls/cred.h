/* tls/cred.h - a credential: certificate chain and private key, as used on a connection.
 *
 * Immutable once made and reference counted (atomic): workers and main share it.  The key is wiped
 * when the last reference goes.
 */
#ifndef TLS_CRED_H
#define TLS_CRED_H

#include "base/err.h"
#include "tls/cert.h"

struct cred;

/* Load a PEM chain (leaf first or in any order: sorted by issuer; at most 9) and an unencrypted PEM
 * key (PKCS#1, SEC1, PKCS#8). Checks that the key matches the leaf.  The error names the file, the
 * fault and the remedy (missing, unreadable, empty, no certificate in it, key in the certificate's
 * place, encrypted key, key readable by others, mismatch). Returns owned (one reference) or NULL.
 */
struct cred *cred_load(const char *chain_path, const char *key_path, struct err *err);
struct cred *cred_ref(struct cred *c);
void cred_unref(struct cred *c);                         /* NULL is fine */
const struct cert_info *cred_leaf(const struct cred *c); /* borrows */
bool cred_equal(
    const struct cred *a,
    const struct cred *b); /* same chain bytes and same key; NULLs compare equal to NULL only */

#endif
