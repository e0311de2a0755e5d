/* tls/pkcs8.h - private keys as PKCS#8 (RFC 5958), plain and encrypted.  Any thread; private to
 * this folder. */
#ifndef TLS_PKCS8_H
#define TLS_PKCS8_H

#include "base/secret.h"
#include "tls/der.h"
#include "tls/pbe.h"

enum key_form {
    KEY_NONE,      /* no private key */
    KEY_PKCS1,     /* RSAPrivateKey, RFC 8017 */
    KEY_SEC1,      /* ECPrivateKey, RFC 5915 */
    KEY_PKCS8,     /* PrivateKeyInfo */
    KEY_ENCRYPTED, /* EncryptedPrivateKeyInfo */
};

/* By its outline only. */
enum key_form key_form_of(struct der key);

/* Make PrivateKeyInfo of a key in any of the plain forms; `out` takes the place of what it held.
 * Returns 0, -ERR_SYNTAX (an EC key that does not name its curve, or no key) or -ERR_NOMEM. */
int pkcs8_wrap(struct der key, struct secret *out, struct err *err);

/* The parts of EncryptedPrivateKeyInfo, borrowed.  Returns 0 or what pbe_parse returns. */
int pkcs8_encrypted_parts(struct der whole, struct pbe *pbe, struct der *data, struct err *err);

/* Decrypt with a password of n bytes.  Returns 0, -ERR_DENIED (wrong password, or damage) or
 * another negative code. */
int pkcs8_open(struct der whole, const char *password, size_t n, struct secret *out,
               struct err *err);

/* Is what came out of a decryption a key at all?  One time in 256 a wrong password leaves something
 * that is padded well. */
bool pkcs8_is_plausible(struct der key);

#endif
