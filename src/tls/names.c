#include "tls/names.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "tls/wolf.h"

/* GeneralName by its tag, RFC 5280, 4.2.1.6. */
enum general_name {
    GN_EMAIL = 0x81,
    GN_DNS = 0x82,
    GN_DIRECTORY = 0xa4,
    GN_URI = 0x86,
    GN_IP = 0x87,
};

#define OID_NAME_CONSTRAINTS "\x55\x1d\x1e"
#define OID_SAN              "\x55\x1d\x11"
#define OID_CN               "\x55\x04\x03"
#define OID_EMAIL            "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01"

enum match { NO_MATCH, MATCH, NOBODY_KNOWS };

struct name {
    uint8_t tag;
    struct der v; /* GN_DIRECTORY: the whole Name, a SEQUENCE */
};

/* -- one name against one subtree -- */

static bool same(struct der a, struct der b)
{
    return der_left(&a) == der_left(&b) &&
           (der_left(&a) == 0 ||
            strncasecmp((const char *)a.p, (const char *)b.p, der_left(&a)) == 0);
}

static bool ends_with(struct der a, struct der end)
{
    if (der_left(&a) < der_left(&end))
        return false;
    return same(der_of(a.end - der_left(&end), der_left(&end)), end);
}

/* Labels may be added on the left; a subtree with a dot in front wants at least one. */
static enum match match_dns(struct der name, struct der base)
{
    if (der_left(&base) == 0)
        return MATCH;
    if (!ends_with(name, base))
        return NO_MATCH;
    if (der_left(&name) == der_left(&base) || *base.p == '.')
        return der_left(&name) == der_left(&base) && *base.p == '.' ? NO_MATCH : MATCH;
    return name.p[der_left(&name) - der_left(&base) - 1] == '.' ? MATCH : NO_MATCH;
}

static const uint8_t *at_sign(struct der d)
{
    return der_left(&d) == 0 ? NULL : memrchr(d.p, '@', der_left(&d));
}

/* A mailbox, a host, or with a dot in front the hosts below a domain. */
static enum match match_email(struct der name, struct der base)
{
    const uint8_t *at = at_sign(name), *base_at = at_sign(base);
    struct der host;

    if (der_left(&base) == 0)
        return MATCH;
    if (at == NULL)
        return NOBODY_KNOWS;
    host = (struct der){at + 1, name.end};
    if (base_at != NULL && base_at != base.p) {
        struct der mine = {name.p, at}, wanted = {base.p, base_at};

        return der_eq(mine, wanted) && same(host, (struct der){base_at + 1, base.end}) ? MATCH
                                                                                       : NO_MATCH;
    }
    if (base_at != NULL)
        base.p++;
    else if (*base.p == '.')
        return der_left(&host) > der_left(&base) && ends_with(host, base) ? MATCH : NO_MATCH;
    return same(host, base) ? MATCH : NO_MATCH;
}

/* The host of "scheme://user@host:port/path". */
static bool uri_host(struct der uri, struct der *host)
{
    const uint8_t *p = der_left(&uri) == 0 ? NULL : memmem(uri.p, der_left(&uri), "://", 3);
    const uint8_t *at;

    if (p == NULL)
        return false;
    *host = (struct der){p + 3, p + 3};
    while (host->end < uri.end && memchr("/?#", *host->end, 3) == NULL)
        host->end++;
    at = at_sign(*host);
    if (at != NULL)
        host->p = at + 1;
    if (der_left(host) > 0 && *host->p == '[') /* an address is no host name */
        return false;
    for (const uint8_t *q = host->p; q < host->end; q++)
        if (*q == ':')
            host->end = q;
    return der_left(host) > 0;
}

static enum match match_uri(struct der name, struct der base)
{
    struct der host;

    if (der_left(&base) == 0)
        return MATCH;
    if (!uri_host(name, &host))
        return NOBODY_KNOWS;
    if (*base.p == '.')
        return der_left(&host) > der_left(&base) && ends_with(host, base) ? MATCH : NO_MATCH;
    return same(host, base) ? MATCH : NO_MATCH;
}

/* Address and mask. */
static enum match match_ip(struct der name, struct der base)
{
    size_t n = der_left(&name);

    if ((n != 4 && n != 16) || (der_left(&base) != 8 && der_left(&base) != 32))
        return NOBODY_KNOWS;
    if (der_left(&base) != 2 * n)
        return NO_MATCH;
    for (size_t i = 0; i < n; i++)
        if (((name.p[i] ^ base.p[i]) & base.p[n + i]) != 0)
            return NO_MATCH;
    return MATCH;
}

static enum match match(const struct name *name, struct der base)
{
    switch ((enum general_name)name->tag) {
    case GN_EMAIL:
        return match_email(name->v, base);
    case GN_DNS:
        return match_dns(name->v, base);
    case GN_URI:
        return match_uri(name->v, base);
    case GN_IP:
        return match_ip(name->v, base);
    case GN_DIRECTORY: /* explicitly tagged: the Name is inside */
        return cert_name_begins(name->v, base, false) ? MATCH : NO_MATCH;
    }
    return NOBODY_KNOWS;
}

/* -- one name against all of a CA's -- */

struct constraints {
    struct der permitted, excluded; /* contents of GeneralSubtrees */
};

static bool read_constraints(struct slice ca, struct constraints *out)
{
    struct cert_parts parts;
    struct der value, seq;

    if (!cert_parts(ca.p, ca.n, &parts) ||
        !cert_extension(parts.extensions, OID_NAME_CONSTRAINTS, 3, &value) ||
        !der_take(&value, DER_SEQUENCE, &seq))
        return false;
    if (!der_take(&seq, 0xa0, &out->permitted)) /* left out: none */
        out->permitted = der_of(ca.p, 0);
    if (!der_take(&seq, 0xa1, &out->excluded))
        out->excluded = der_of(ca.p, 0);
    return true;
}

/* Does one of the subtrees hold the name?  *of_kind: some subtree is of its kind. */
static enum match match_any(struct der subtrees, const struct name *name, bool *of_kind)
{
    struct der subtree, base;
    uint8_t tag;

    *of_kind = false;
    while (der_left(&subtrees) > 0) {
        enum match m;

        if (!der_take(&subtrees, DER_SEQUENCE, &subtree) || !der_any(&subtree, &tag, &base, NULL))
            return NOBODY_KNOWS;
        if (tag != name->tag)
            continue;
        *of_kind = true;
        /* minimum is 0 and left out in DER, maximum is never there: RFC 5280, 4.2.1.10 */
        m = der_left(&subtree) > 0 ? NOBODY_KNOWS : match(name, base);
        if (m != NO_MATCH)
            return m;
    }
    return NO_MATCH;
}

static enum names check_one(const struct constraints *c, const struct name *name)
{
    bool of_kind;
    enum match m = match_any(c->permitted, name, &of_kind);

    if (m == NOBODY_KNOWS)
        return NAMES_UNKNOWN;
    if (of_kind && m == NO_MATCH)
        return NAMES_NOT_PERMITTED;
    m = match_any(c->excluded, name, &of_kind);
    return m == NOBODY_KNOWS ? NAMES_UNKNOWN : m == MATCH ? NAMES_EXCLUDED : NAMES_PERMITTED;
}

/* -- all names of a certificate -- */

static void show(const struct name *name, char *out, size_t n)
{
    size_t len = der_left(&name->v);

    if (name->tag == GN_DIRECTORY)
        snprintf(out, n, "its subject");
    else if (name->tag == GN_IP)
        snprintf(out, n, "its IP address");
    else
        snprintf(out, n, "%.*s", (int)(len < 200 ? len : 200), (const char *)name->v.p);
    str_tidy(out);
}

/* What OpenSSL takes for a host name in a CN: letters, digits, '-' and '_' between dots, at least
 * one of these. */
static bool is_host(struct der d)
{
    bool dot = false;

    for (const uint8_t *p = d.p; p < d.end; p++) {
        bool first = p == d.p || p[-1] == '.', last = p + 1 == d.end || p[1] == '.';

        if (*p == '.') {
            if (first || p + 1 == d.end || p[-1] == '-' || p[1] == '-')
                return false;
            dot = true;
        } else if (*p == '-' ? first || last
                             : !((*p | 0x20) >= 'a' && (*p | 0x20) <= 'z') &&
                                   !(*p >= '0' && *p <= '9') && *p != '_') {
            return false;
        }
    }
    return dot;
}

/* Names that stand in the subject, as older certificates have them. */
static enum names check_subject(const struct constraints *c, struct der subject, bool hosts,
                                struct name *name)
{
    struct der seq, set, pair, type;
    uint8_t tag;
    enum names v = NAMES_PERMITTED;

    if (!der_take(&subject, DER_SEQUENCE, &seq))
        return NAMES_UNKNOWN;
    while (v == NAMES_PERMITTED && der_take(&seq, DER_SET, &set)) {
        while (v == NAMES_PERMITTED && der_take(&set, DER_SEQUENCE, &pair)) {
            if (!der_take(&pair, DER_OID, &type) || !der_any(&pair, &tag, &name->v, NULL))
                return NAMES_UNKNOWN;
            if (der_is(type, OID_EMAIL, 9))
                name->tag = GN_EMAIL;
            else if (hosts && der_is(type, OID_CN, 3) && is_host(name->v))
                name->tag = GN_DNS;
            else
                continue;
            v = check_one(c, name);
        }
    }
    return v;
}

static enum names check_sans(const struct constraints *c, struct der sans, bool *dns,
                             struct name *name)
{
    struct der seq;
    enum names v = NAMES_PERMITTED;

    if (!der_take(&sans, DER_SEQUENCE, &seq))
        return NAMES_UNKNOWN;
    while (v == NAMES_PERMITTED && der_left(&seq) > 0) {
        if (!der_any(&seq, &name->tag, &name->v, NULL))
            return NAMES_UNKNOWN;
        *dns |= name->tag == GN_DNS;
        v = check_one(c, name);
    }
    return v;
}

enum names names_check(struct slice ca, struct slice cert, bool leaf, char *which, size_t n)
{
    struct cert_parts parts;
    struct der sans, subject, rdns;
    struct constraints c;
    struct name name = {.tag = GN_DIRECTORY};
    enum names v = NAMES_PERMITTED;
    bool dns = false;

    if (!read_constraints(ca, &c))
        return NAMES_PERMITTED;
    if (!cert_parts(cert.p, cert.n, &parts))
        return NAMES_UNKNOWN;
    subject = name.v = parts.subject;
    if (der_take(&subject, DER_SEQUENCE, &rdns) && der_left(&rdns) > 0) /* an empty one is none */
        v = check_one(&c, &name);
    if (v == NAMES_PERMITTED && cert_extension(parts.extensions, OID_SAN, 3, &sans))
        v = check_sans(&c, sans, &dns, &name);
    if (v == NAMES_PERMITTED)
        v = check_subject(&c, parts.subject, leaf && !dns, &name);
    if (v != NAMES_PERMITTED)
        show(&name, which, n);
    return v;
}
