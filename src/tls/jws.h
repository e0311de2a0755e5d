/* tls/jws.h - the two signatures of JSON Web Signatures that are taken here: ES256 (RFC 7518, 3.4)
 * and EdDSA with Ed25519 (RFC 8037, 3.1).
 *
 * A key has one algorithm, that of its kind: nobody else chooses it.  What is signed, and what it
 * means, is others' business (control/signed.h).  One thread at a time for each key; verifying
 * takes some 100 microseconds.  No library types.
 */
#ifndef TLS_JWS_H
#define TLS_JWS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define JWS_SIGNATURE_BYTES 64 /* of both */

enum jws_alg { JWS_ES256, JWS_EDDSA };

const char *jws_alg_name(enum jws_alg alg); /* as "alg" has it: "ES256" */

struct jws_key; /* public */

/* Of a PEM text: a SubjectPublicKeyInfo ("PUBLIC KEY") or a certificate, the first one; P-256 or
 * Ed25519.  A certificate's dates and issuer are not looked at: whoever names the file believes it.
 * Returns owned, or NULL with err. */
struct jws_key *jws_key_new(const char *pem, size_t n, struct err *err);
void jws_key_free(struct jws_key *k); /* NULL is fine */
enum jws_alg jws_key_alg(const struct jws_key *k);

/* Returns 0 when `signature` is the key's over `data`, else -ERR_DENIED. */
int jws_verify(struct jws_key *k, const void *data, size_t n,
               const uint8_t signature[JWS_SIGNATURE_BYTES]);

struct jws_signer; /* a private key; wiped when it is freed */

/* Of a PEM text: PKCS#8, or SEC1 as openssl ecparam writes it; not encrypted.  Returns owned, or
 * NULL with err. */
struct jws_signer *jws_signer_new(const char *pem, size_t n, struct err *err);
void jws_signer_free(struct jws_signer *s); /* NULL is fine */
enum jws_alg jws_signer_alg(const struct jws_signer *s);

/* Returns 0, -ERR_TLS or -ERR_NOMEM. */
int jws_sign(struct jws_signer *s, const void *data, size_t n,
             uint8_t signature[JWS_SIGNATURE_BYTES], struct err *err);

#endif
