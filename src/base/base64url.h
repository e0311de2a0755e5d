/* base/base64url.h - base64 for URLs, RFC 4648, 5, without padding, as JOSE has it (RFC 7515, 2).
 * Pure, any thread. */
#ifndef BASE_BASE64URL_H
#define BASE_BASE64URL_H

#include <stddef.h>

#include "base/buf.h"

/* Append what n bytes look like.  Returns 0 or -ERR_NOMEM. */
int base64url_encode(const void *data, size_t n, struct buf *out);

/* Append what n characters stand for.  There is one text for each run of bytes: padding, blanks,
 * other characters and bits that are left over are refused.  Returns 0, -ERR_SYNTAX or -ERR_NOMEM;
 * `out` is then as it was. */
int base64url_decode(const char *text, size_t n, struct buf *out);

#endif
