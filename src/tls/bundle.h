/* tls/bundle.h - an identity out of files as people have them: PEM, DER and PKCS#12, in one file or
 * several, in any order, encrypted or not.
 *
 * Files are added one after the other; then the key is matched to its certificate, and the chain
 * put together.  Keys lie in memory of base/secret.h.  Any one thread.
 */
#ifndef TLS_BUNDLE_H
#define TLS_BUNDLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"

#define BUNDLE_FILE_MAX ((size_t)1024 * 1024) /* bytes of a file */

struct bundle;

struct bundle *bundle_new(void);    /* owned, or NULL when out of memory */
void bundle_free(struct bundle *b); /* wipes the keys; NULL is fine */

/* Take what a file holds.  `file` names it in errors; the bytes and the password (UTF-8; NULL: none
 * was given) are borrowed.  Returns 0; -ERR_DENIED when a password is needed, or the one that was
 * given is wrong; -ERR_SYNTAX when the file is damaged or nothing that belongs to an identity; or
 * another negative code.  The sentence names file, fault and remedy; the bundle is then of no use
 * but to be freed. */
int bundle_add(struct bundle *b, const char *file, const uint8_t *p, size_t n, const char *password,
               struct err *err);

size_t bundle_keys(const struct bundle *b);
size_t bundle_certs(const struct bundle *b);

/* Find the certificate of the key and its issuers.  `chain` gets PEM, the leaf first, without a
 * self-signed root and without certificates that have no part in it; `key` PEM, PKCS#8,
 * unencrypted. Both are owned by the caller and empty before.  Returns 0 or a negative code with
 * the reason. */
int bundle_identity(const struct bundle *b, struct buf *chain, struct secret *key, struct err *err);

/* The same where the key is elsewhere, and only its SubjectPublicKeyInfo is known. */
int bundle_chain(const struct bundle *b, const uint8_t *spki, size_t n, struct buf *chain,
                 struct err *err);

#endif
