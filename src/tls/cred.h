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

/* Load a PEM chain (leaf first or in any order: sorted by issuer; at most 9) and a PEM key (PKCS#1,
 * SEC1, PKCS#8; PKCS#8 also encrypted under a passphrase of tls/keyring.h). Checks that the key
 * matches the leaf.  The error names the file, the fault and the remedy (missing, unreadable,
 * empty, no certificate in it, key in the certificate's place, a passphrase that is not known, key
 * readable by others, mismatch). Returns owned (one reference) or NULL.
 */
struct cred *cred_load(const char *chain_path, const char *key_path, struct err *err);
struct cred *cred_ref(struct cred *c);
void cred_unref(struct cred *c);                         /* NULL is fine */
const struct cert_info *cred_leaf(const struct cred *c); /* borrows */

/* How the key lies in its file. */
enum cred_rest {
    CRED_PLAIN,     /* not encrypted */
    CRED_ENCRYPTED, /* under the passphrase that keys are written under */
    CRED_FORMER,    /* under another one of the keyring */
};
enum cred_rest cred_rest(const struct cred *c);
const char *cred_rest_name(enum cred_rest rest); /* "plain", "encrypted", "former" */

/* Append the key as it is to be written to disk by the keyring's rule.  Returns 0 or what
 * keyring_put_pem returns. */
int cred_put_key(const struct cred *c, struct buf *pem, struct err *err);
bool cred_equal(
    const struct cred *a,
    const struct cred *b); /* same chain bytes and same key; NULLs compare equal to NULL only */

#endif
