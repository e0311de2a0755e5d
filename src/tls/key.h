/* tls/key.h - private keys that are made here.  Any thread; making and signing take milliseconds
 * (EC) to many seconds (RSA 4096).  No library types.
 *
 * A private key travels as PKCS#8 in DER in a struct buf: whoever holds it ends it by
 * buf_fini_wipe.  Nothing here leaves a copy behind.
 */
#ifndef TLS_KEY_H
#define TLS_KEY_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum key_kind { KEY_EC_P256, KEY_EC_P384, KEY_RSA_2048, KEY_RSA_3072, KEY_RSA_4096, KEY_KINDS };

const char *key_kind_name(enum key_kind kind); /* "ec-p256" */
/* Returns 0, or -ERR_INVALID with *out unchanged. */
int key_kind_parse(const char *name, enum key_kind *out);

/* Make a key: its PKCS#8 is appended to `pkcs8`, in one piece.  Returns 0, -ERR_TLS, -ERR_NOMEM. */
int key_make(enum key_kind kind, struct buf *pkcs8, struct err *err);

/* The SubjectPublicKeyInfo that belongs to a private key (PKCS#8; EC or RSA), appended to `spki`.
 * Returns 0, -ERR_SYNTAX when it cannot be read, -ERR_NOMEM. */
int key_public(const uint8_t *pkcs8, size_t n, struct buf *spki, struct err *err);

/* Sign `data` as certificates and requests are signed: ECDSA with the hash of the curve's size,
 * RSA (PKCS#1 1.5) with SHA-256.  `algorithm` gets the AlgorithmIdentifier, `signature` the
 * signature; both appended.  Returns 0, -ERR_SYNTAX, -ERR_TLS, -ERR_NOMEM. */
int key_sign(const uint8_t *pkcs8, size_t n, const void *data, size_t len, struct buf *algorithm,
             struct buf *signature, struct err *err);

/* "-----BEGIN PRIVATE KEY-----", appended in one piece.  Returns 0 or -ERR_NOMEM. */
int key_pem(const uint8_t *pkcs8, size_t n, struct buf *pem);

#endif
