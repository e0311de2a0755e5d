/* identity/keygen.h - a key that is made here, and the request for its certificate. */
#ifndef IDENTITY_KEYGEN_H
#define IDENTITY_KEYGEN_H

#include "base/buf.h"
#include "base/err.h"
#include "base/names.h"
#include "conf/conf.h"
#include "tls/key.h"

#define KEYGEN_SANS_MAX 32

/* What is asked of the CA for one device.  Owns what it holds. */
struct keygen_terms {
    struct dn subject;
    struct san sans[KEYGEN_SANS_MAX];
    size_t san_count;
};

/* Fill the templates for the device: `subject` and `sans` where they are given, else those of the
 * configuration.  Returns 0, -ERR_INVALID, -ERR_SYNTAX, -ERR_TOO_BIG or -ERR_NOMEM; err says which
 * of them is wrong for this device.  `out` is written on success only. */
int keygen_terms(const struct conf *conf, const char *device, const char *subject,
                 const char *const *sans, size_t san_count, struct keygen_terms *out,
                 struct err *err);
void keygen_terms_fini(struct keygen_terms *t);

enum key_kind keygen_kind(const struct conf *conf); /* as configured */

/* Make a key of this kind, and the request: both PEM, appended; the key as it is to lie on disk
 * (tls/keyring.h), for buf_fini_wipe all the same.  Any
 * thread; takes seconds for the larger ones.  Returns 0 or a negative code. */
int keygen_make(enum key_kind kind, const struct keygen_terms *terms, struct buf *key,
                struct buf *csr, struct err *err);

/* The same in the token of this name (tls/token.h): `key` is the text of key.uri.  When it fails no
 * key is left there, unless the token has left us. */
int keygen_make_in_token(enum key_kind kind, const char *token, const char *device,
                         const struct keygen_terms *terms, struct buf *key, struct buf *csr,
                         struct err *err);

/* The kind of key that a request was made with, by its public key; NULL when it is none of ours. */
const char *keygen_csr_kind(const struct buf *csr);

#endif
