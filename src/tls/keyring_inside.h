/* tls/keyring_inside.h - reading under the passphrases of the keyring, for cred.c. */
#ifndef TLS_KEYRING_INSIDE_H
#define TLS_KEYRING_INSIDE_H

#include "base/secret.h"
#include "tls/der.h"

/* Decrypt EncryptedPrivateKeyInfo; *is_first: under the passphrase that keys are written under.
 * Returns 0; -ERR_INVALID (no passphrase), -ERR_DENIED (none of them fits) or another negative
 * code. */
int keyring_open(struct der whole, struct secret *out, bool *is_first, struct err *err);

#endif
