/* tls/pem.h - the armour of RFC 7468: blocks between BEGIN and END lines.  Any thread; private to
 * this folder. */
#ifndef TLS_PEM_H
#define TLS_PEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* One block, borrowed from the text. */
struct pem_block {
    const char *label; /* behind "-----BEGIN ", not NUL-terminated */
    size_t label_len;
    const char *body; /* what stands between the two lines, headers included */
    size_t body_len;
};

/* The next block from *at, which moves behind it.  Returns 1, 0 when there is none left, or
 * -ERR_SYNTAX when one begins and does not end. */
int pem_next(const char **at, const char *end, struct pem_block *out, struct err *err);

bool pem_is(const struct pem_block *b, const char *label);
bool pem_ends_with(const struct pem_block *b, const char *label_end);
bool pem_is_encrypted(
    const struct pem_block *b); /* PKCS#8's label, or OpenSSL's "Proc-Type: 4,ENCRYPTED" */

/* Append what the block says in base64 to `der`, in one piece (nothing is left behind by growing).
 * Returns 0, -ERR_SYNTAX or -ERR_NOMEM. */
int pem_decode(const struct pem_block *b, struct buf *der, struct err *err);

/* Append a block with this label, in one piece.  Returns 0 or -ERR_NOMEM. */
int pem_encode(const char *label, const uint8_t *der, size_t n, struct buf *out);

#endif
