#include "tls/der.h"

#include <string.h>

#include "base/err.h"

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

int der_put(struct buf *out, uint8_t tag, const void *body, size_t n)
{
    uint8_t head[6] = {tag};
    size_t head_n = 2;
    int rc;

    if (n < 0x80) {
        head[1] = (uint8_t)n;
    } else {
        size_t octets = n <= 0xff ? 1 : n <= 0xffff ? 2 : n <= 0xffffff ? 3 : 4;

        head[1] = (uint8_t)(0x80 | octets);
        for (size_t i = 0; i < octets; i++)
            head[2 + i] = (uint8_t)(n >> 8 * (octets - 1 - i));
        head_n += octets;
    }
    rc = buf_append(out, head, head_n);
    return rc == 0 ? buf_append(out, body, n) : rc;
}

int der_wrap(struct buf *out, uint8_t tag, struct buf *inner)
{
    int rc = der_put(out, tag, inner->p, inner->len);

    buf_fini(inner);
    return rc;
}

int der_put_extension(struct buf *out, const char *oid, size_t oid_len, bool critical,
                      struct buf *value)
{
    static const uint8_t yes = 0xff;
    struct buf ext = {0};
    int rc = der_put(&ext, DER_OID, oid, oid_len);

    if (rc == 0 && critical)
        rc = der_put(&ext, DER_BOOLEAN, &yes, 1);
    if (rc == 0)
        rc = der_wrap(&ext, DER_OCTET_STRING, value);
    buf_fini(value);
    if (rc == 0)
        return der_wrap(out, DER_SEQUENCE, &ext);
    buf_fini(&ext);
    return rc;
}

/* -- BER -----------------------------------------------------------------------------------------
 */

#define DEEPEST     24
#define CONSTRUCTED 0x20

/* The header at the cursor; *n is the length, or SIZE_MAX when an end marker follows. */
static bool ber_head(struct der *d, uint8_t *tag, size_t *n)
{
    if (der_left(d) < 2 || (d->p[0] & 0x1f) == 0x1f)
        return false;
    *tag = *d->p++;
    if (*d->p == 0x80) {
        d->p++;
        *n = SIZE_MAX;
        return (*tag & CONSTRUCTED) != 0;
    }
    return der_length(d, n) && *n <= der_left(d);
}

static bool ber_at_end(const struct der *d)
{
    return der_left(d) >= 2 && d->p[0] == 0 && d->p[1] == 0;
}

static int ber_element(struct der *d, struct buf *out, unsigned depth, bool piece);

/* What is in a constructed element: appended to `out`.  `joined`: of pieces only their contents. */
static int ber_contents(struct der *d, size_t n, struct buf *out, unsigned depth, bool joined)
{
    struct der body = n == SIZE_MAX ? *d : der_of(d->p, n);
    int rc = 0;

    while (rc == 0 && der_left(&body) > 0 && !(n == SIZE_MAX && ber_at_end(&body)))
        rc = ber_element(&body, out, depth, joined);
    if (rc != 0)
        return rc;
    if (n == SIZE_MAX) {
        if (!ber_at_end(&body))
            return -ERR_SYNTAX;
        body.p += 2;
    }
    d->p = body.p;
    return 0;
}

static int ber_element(struct der *d, struct buf *out, unsigned depth, bool piece)
{
    struct buf inner = {0};
    uint8_t tag;
    size_t n;
    int rc;

    if (depth == 0 || !ber_head(d, &tag, &n))
        return -ERR_SYNTAX;
    if (piece && (tag & ~CONSTRUCTED) != DER_OCTET_STRING)
        return -ERR_SYNTAX;
    if ((tag & CONSTRUCTED) == 0) {
        rc = piece                               ? buf_append_wipe(out, d->p, n)
             : buf_reserve_wipe(out, n + 6) != 0 ? -ERR_NOMEM
                                                 : der_put(out, tag, d->p, n);
        d->p += n;
        return rc;
    }
    if (tag == (DER_OCTET_STRING | CONSTRUCTED)) {
        rc = ber_contents(d, n, piece ? out : &inner, depth - 1, true);
        tag = DER_OCTET_STRING;
    } else {
        rc = ber_contents(d, n, &inner, depth - 1, false);
    }
    if (rc == 0 && !piece)
        rc = buf_reserve_wipe(out, inner.len + 6) != 0 ? -ERR_NOMEM
                                                       : der_put(out, tag, inner.p, inner.len);
    buf_fini_wipe(&inner);
    return rc;
}

int der_from_ber(struct der *ber, struct buf *out)
{
    size_t start = out->len;
    struct der at = *ber;
    int rc = ber_element(&at, out, DEEPEST, false);

    if (rc != 0) {
        out->len = start;
        return rc;
    }
    *ber = at;
    return 0;
}
