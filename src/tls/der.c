#include "tls/der.h"

#include <string.h>

/* The length octets of X.690, 8.1.3, in the definite form that DER demands. */
static bool der_length(struct der *d, size_t *out)
{
    size_t n, octets;

    if (d->p == d->end)
        return false;
    n = *d->p++;
    if (n < 0x80) {
        *out = n;
        return true;
    }
    octets = n & 0x7f;
    if (octets == 0 || octets > 4 || octets > der_left(d))
        return false;
    for (n = 0; octets > 0; octets--)
        n = n << 8 | *d->p++;
    *out = n;
    return true;
}

bool der_any(struct der *d, uint8_t *tag, struct der *body, struct der *whole)
{
    struct der at = *d;
    size_t n;

    if (at.p == at.end ||
        (at.p[0] & 0x1f) == 0x1f) /* tags of several octets: none in certificates */
        return false;
    *tag = *at.p++;
    if (!der_length(&at, &n) || n > der_left(&at))
        return false;
    *body = der_of(at.p, n);
    if (whole != NULL)
        *whole = (struct der){d->p, at.p + n};
    d->p = at.p + n;
    return true;
}

bool der_take(struct der *d, uint8_t tag, struct der *body)
{
    struct der at = *d;
    uint8_t found;

    if (!der_any(&at, &found, body, NULL) || found != tag)
        return false;
    *d = at;
    return true;
}

bool der_skip(struct der *d, uint8_t tag)
{
    struct der body;

    return der_take(d, tag, &body);
}

bool der_eq(struct der a, struct der b)
{
    return der_is(a, b.p, der_left(&b));
}

bool der_is(struct der d, const void *p, size_t n)
{
    return der_left(&d) == n && (n == 0 || memcmp(d.p, p, n) == 0);
}
