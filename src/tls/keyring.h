/* tls/keyring.h - the passphrases that private keys are under on disk.
 *
 * There is one for the process.  A passphrase file holds a passphrase for each line: what is
 * written is put under the first, what is read may be under any of them, so that a passphrase is
 * changed by putting the new one before the former, and the former is taken out when all keys were
 * written anew.
 *
 * Keys are PKCS#8 under PBES2 (RFC 8018): PBKDF2 with HMAC-SHA-256, AES-256-CBC.  All that a
 * gateway writes shares one salt, so thousands of keys cost one derivation, and each has an
 * initialisation vector of its own.  The salt is taken over from the first key that is read.
 *
 * keyring_encrypts and keyring_put_pem on any thread, the others on the main thread.
 */
#ifndef TLS_KEYRING_H
#define TLS_KEYRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define KEYRING_ITERATIONS 600000 /* OWASP 2023; a fraction of a second, once */

/* Take the passphrases of this file in place of those before, or none when it is NULL; `encrypt`
 * says whether keys are to be written under the first.  Returns 0, or a negative code (it cannot be
 * read, others may read it, it is empty; none at all, and keys are to be encrypted) with the ring
 * as it was. */
int keyring_load(const char *path, bool encrypt, struct err *err);
/* The same, with what is wrong left out: there may be no passphrase, and whatever needs one fails.
 */
void keyring_without(bool encrypt);
void keyring_clear(void); /* wipes */

/* What keyring_load took the place of is kept until one of these is called, so that it can be seen
 * first whether the keys on disk can be read with it. */
bool keyring_differs(void); /* other passphrases than those before */
void keyring_settle(void);  /* it stays; wipes what was before */
void keyring_undo(void);    /* what was before is back */

bool keyring_encrypts(void); /* keys are written encrypted */

/* Append the key (PKCS#8 in DER) as PEM, encrypted when keys are.  Returns 0; -ERR_NOT_FOUND when
 * it should be encrypted and there is no passphrase; or another negative code. */
int keyring_put_pem(const uint8_t *pkcs8, size_t n, struct buf *pem, struct err *err);

#endif
