/* tls/der.h - a cursor over DER (X.690) that cannot overrun.  Pure, any thread; private to this
 * folder. */
#ifndef TLS_DER_H
#define TLS_DER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum der_tag {
    DER_BOOLEAN = 0x01,
    DER_INTEGER = 0x02,
    DER_BIT_STRING = 0x03,
    DER_OCTET_STRING = 0x04,
    DER_NULL = 0x05,
    DER_OID = 0x06,
    DER_UTF8_STRING = 0x0c,
    DER_PRINTABLE_STRING = 0x13,
    DER_T61_STRING = 0x14,
    DER_IA5_STRING = 0x16,
    DER_UTC_TIME = 0x17,
    DER_GENERALIZED_TIME = 0x18,
    DER_BMP_STRING = 0x1e,
    DER_SEQUENCE = 0x30,
    DER_SET = 0x31,
};

/* A borrowed run of encoded bytes; reading moves p towards end. */
struct der {
    const uint8_t *p, *end;
};

static inline struct der der_of(const uint8_t *p, size_t n)
{
    return (struct der){p, n == 0 ? p : p + n}; /* nothing may be nowhere */
}

static inline size_t der_left(const struct der *d)
{
    return (size_t)(d->end - d->p);
}

/* The next element, whatever it is: its tag, its contents and, unless NULL, the whole of it with
 * its header. False at the end and for what is no DER; the cursor then stays. */
bool der_any(struct der *d, uint8_t *tag, struct der *body, struct der *whole);

/* The next element when it has this tag; false otherwise, and the cursor stays. */
bool der_take(struct der *d, uint8_t tag, struct der *body);
bool der_skip(struct der *d, uint8_t tag); /* the same, contents not wanted */

bool der_eq(struct der a, struct der b);
bool der_is(struct der d, const void *p, size_t n);

/* Append one element; `body` may be NULL when n is 0.  Returns 0 or -ERR_NOMEM. */
int der_put(struct buf *out, uint8_t tag, const void *body, size_t n);

/* Put what `inner` holds into an element of this tag; `inner` is empty then, whatever came of it.
 * The same result. */
int der_wrap(struct buf *out, uint8_t tag, struct buf *inner);
/* Append an Extension (RFC 5280, 4.1); `value` is empty then. */
int der_put_extension(struct buf *out, const char *oid, size_t oid_len, bool critical,
                      struct buf *value);

/* Append one element of BER as DER has it, as far as a cursor needs: lengths are definite (X.690,
 * 8.1.3.6) and a string in pieces is one (8.7.3).  Nothing is left behind when `out` grows. Returns
 * 0, -ERR_SYNTAX when it is no BER or goes deeper than any certificate, or -ERR_NOMEM; `out` is
 * then as it was. */
int der_from_ber(struct der *ber, struct buf *out);

#endif
