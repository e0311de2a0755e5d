/* base/buf.h - a growable run of bytes with a read position.  Owns its memory; any one thread. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *p; /* owned; NULL while cap is 0 */
    size_t len; /* bytes that are valid from p */
    size_t cap; /* bytes allocated */
};

/* Make room for `more` bytes behind len (capacity doubles).  Returns 0 or -ERR_NOMEM. */
int buf_reserve(struct buf *b, size_t more);
int buf_append(struct buf *b, const void *data, size_t n);
int buf_append_u8(struct buf *b, uint8_t v);
/* The same for secrets: what is outgrown is wiped before it is given back. */
int buf_reserve_wipe(struct buf *b, size_t more);
int buf_append_wipe(struct buf *b, const void *data, size_t n);
/* Formatted text, without its NUL.  Returns 0 or -ERR_NOMEM. */
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Drop the first n bytes (n <= len), moving the rest to the front. */
void buf_drop(struct buf *b, size_t n);
void buf_fini(struct buf *b);      /* frees; b is empty and reusable after it */
void buf_fini_wipe(struct buf *b); /* the same, after explicit_bzero of the whole capacity */

#endif
