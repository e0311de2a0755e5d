/* tls/cred.h - a credential: certificate chain and private key, as used on a connection.
 *
 * Immutable once made and reference counted (atomic): workers and main share it.  The key is wiped
 * when the last reference goes.
 */
#ifndef TLS_CRED_H
#define TLS_CRED_H

#include "base/err.h"
#include "base/str.h"
#include "tls/cert.h"

struct cred;

/* Load a PEM chain (leaf first or in any order: sorted by issuer; at most 9) and a PEM key (PKCS#1,
 * SEC1, PKCS#8; PKCS#8 also encrypted under a passphrase of tls/keyring.h). Checks that the key
 * matches the leaf.  The error names the file, the fault and the remedy (missing, unreadable,
 * empty, no certificate in it, key in the certificate's place, a passphrase that is not known, key
 * readable by others, mismatch). Returns owned (one reference) or NULL.
 *
 * The file of the key may hold a PKCS#11 URI (RFC 7512) in its place: the key is in a token then,
 * and is looked for there (tls/token.h).  That the token is away, or in other trouble, is no fault
 * of the credential: it shows when the credential is used. */
struct cred *cred_load(const char *chain_path, const char *key_path, struct err *err);
bool cred_in_token(const struct cred *c); /* signing takes a token's time */
/* Is it worth a try?  Not while its token is known to be in trouble; then err says with what, and
 * `what` gets the end of a stable name ("absent"; static).  The token is looked after meanwhile.
 * Never blocks; any thread. */
bool cred_is_usable(const struct cred *c, const char **what, struct err *err);
/* The same from text: chain and key as PEM.  The error says which of the two is wrong, and how. */
struct cred *cred_parse(const char *chain, const char *key, struct err *err);
struct cred *cred_ref(struct cred *c);
void cred_unref(struct cred *c);                         /* NULL is fine */
const struct cert_info *cred_leaf(const struct cred *c); /* borrows */

/* How the key lies in its file. */
enum cred_rest {
    CRED_PLAIN,     /* not encrypted */
    CRED_ENCRYPTED, /* under the passphrase that keys are written under */
    CRED_FORMER,    /* under another one of the keyring */
    CRED_TOKEN,     /* it is in a token */
};
enum cred_rest cred_rest(const struct cred *c);
const char *cred_rest_name(enum cred_rest rest); /* "plain", "encrypted", "former",
                                                          "token" */

/* Append the key as it is to be written to disk by the keyring's rule; not one that is in a token.
 * Returns 0 or what keyring_put_pem returns. */
int cred_put_key(const struct cred *c, struct buf *pem, struct err *err);
/* The private key in a text of PEM, which may be encrypted under a passphrase of tls/keyring.h, as
 * PKCS#8 in DER.  Returns 0 or a negative code with the reason. */
struct secret;
int cred_read_key(const char *pem, size_t n, struct secret *pkcs8, struct err *err);

/* The chain as DER, the leaf first; borrows.  Returns how many there are, at most `max`. */
size_t cred_chain(const struct cred *c, struct slice *out, size_t max);
bool cred_equal(
    const struct cred *a,
    const struct cred *b); /* same chain bytes and same key; NULLs compare equal to NULL only */

#endif
