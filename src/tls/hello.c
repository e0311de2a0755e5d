#include "tls/hello.h"

#include <string.h>

enum extension {
    EXT_SERVER_NAME = 0,
    EXT_TRUSTED_CA_KEYS = 3,
    EXT_GROUPS = 10,
    EXT_SCHEMES = 13,
    EXT_VERSIONS = 43,
    EXT_AUTHORITIES = 47,
    EXT_CERT_SCHEMES = 50,
};

#define HANDSHAKE    22
#define CLIENT_HELLO 1
#define HOST_NAME    0
#define X509_NAME    2 /* of trusted_ca_keys: RFC 6066, 6 */
#define RANDOM_BYTES 32

/* -- a cursor ---------------------------------------------------------------------------------- */

static bool take(struct slice *s, size_t n, struct slice *out)
{
    if (s->n < n)
        return false;
    *out = (struct slice){.p = s->p, .n = n};
    s->p += n;
    s->n -= n;
    return true;
}

static bool number(struct slice *s, size_t octets, size_t *out)
{
    struct slice raw;

    if (!take(s, octets, &raw))
        return false;
    *out = 0;
    for (size_t i = 0; i < octets; i++)
        *out = *out << 8 | raw.p[i];
    return true;
}

/* A vector: its length in so many octets, and then it. */
static bool vector(struct slice *s, size_t octets, struct slice *out)
{
    size_t n;

    return number(s, octets, &n) && take(s, n, out);
}

/* An extension that is one vector and nothing else. */
static bool sole(struct slice body, size_t octets, struct slice *out)
{
    return vector(&body, octets, out) && body.n == 0;
}

/* -- extensions -------------------------------------------------------------------------------- */

/* RFC 6066, 3: at most one name of a kind; that of a host is the only kind there is. */
static bool read_name(struct slice body, char *out)
{
    struct slice list, name;
    size_t kind;

    if (!sole(body, 2, &list) || !number(&list, 1, &kind) || !vector(&list, 2, &name))
        return false;
    if (kind != HOST_NAME || name.n >= HELLO_NAME_BYTES || memchr(name.p, 0, name.n) != NULL)
        return true;
    for (size_t i = 0; i < name.n; i++)
        out[i] = (char)(name.p[i] >= 'A' && name.p[i] <= 'Z' ? name.p[i] | 0x20 : name.p[i]);
    out[name.n] = '\0';
    return true;
}

static void offer(struct hello *h, size_t version)
{
    if (version >= HELLO_VERSION_OLD && version <= HELLO_VERSION_NEW)
        h->versions |= (uint8_t)(1U << (version - HELLO_VERSION_OLD));
}

/* RFC 8446, 4.2.1: the legacy version says nothing when this is there. */
static bool read_versions(struct slice body, struct hello *h)
{
    struct slice list;
    size_t version;

    if (!sole(body, 1, &list))
        return false;
    h->versions = 0;
    while (number(&list, 2, &version))
        offer(h, version);
    return list.n == 0;
}

/* Only names can be looked up; who says more than names may mean a CA that is not named. */
static bool read_trusted(struct slice body, struct hello *h)
{
    struct slice list, rest, name;
    size_t kind;

    if (!sole(body, 2, &list))
        return false;
    for (rest = list; rest.n > 0;)
        if (!number(&rest, 1, &kind) || kind != X509_NAME || !vector(&rest, 2, &name))
            return true;
    if (h->authorities.n == 0) {
        h->authorities = list;
        h->typed = true;
    }
    return true;
}

static bool read_authorities(struct slice body, struct hello *h)
{
    struct slice list;

    if (!sole(body, 2, &list))
        return false;
    if (list.n > 0) {
        h->authorities = list;
        h->typed = false;
    }
    return true;
}

static bool read_extension(size_t kind, struct slice body, struct hello *h)
{
    switch (kind) {
    case EXT_SERVER_NAME:
        return read_name(body, h->name);
    case EXT_TRUSTED_CA_KEYS:
        return read_trusted(body, h);
    case EXT_GROUPS:
        return sole(body, 2, &h->groups);
    case EXT_SCHEMES:
        return sole(body, 2, &h->schemes);
    case EXT_VERSIONS:
        return read_versions(body, h);
    case EXT_AUTHORITIES:
        return read_authorities(body, h);
    case EXT_CERT_SCHEMES:
        return sole(body, 2, &h->cert_schemes);
    default:
        return true;
    }
}

/* -- the whole --------------------------------------------------------------------------------- */

static bool read_hello(struct slice s, struct hello *h)
{
    struct slice skipped, all, body;
    size_t version, kind;

    if (!number(&s, 2, &version) || !take(&s, RANDOM_BYTES, &skipped) || !vector(&s, 1, &skipped) ||
        !vector(&s, 2, &h->suites) || !vector(&s, 1, &skipped))
        return false;
    /* Up to 1.2 a client that says a version takes every older one, and one that does not know an
     * extension has none. */
    for (size_t v = HELLO_VERSION_OLD; v <= version && v < HELLO_VERSION_NEW; v++)
        offer(h, v);
    if (s.n == 0)
        return true;
    if (!vector(&s, 2, &all) || s.n != 0)
        return false;
    while (all.n > 0)
        if (!number(&all, 2, &kind) || !vector(&all, 2, &body) || !read_extension(kind, body, h))
            return false;
    return true;
}

bool hello_read(const uint8_t *record, size_t n, struct hello *out)
{
    struct slice s = {.p = record, .n = n}, fragment, hello;
    size_t kind, version;

    *out = (struct hello){0};
    if (number(&s, 1, &kind) && kind == HANDSHAKE && number(&s, 2, &version) &&
        vector(&s, 2, &fragment) && number(&fragment, 1, &kind) && kind == CLIENT_HELLO &&
        vector(&fragment, 3, &hello) && read_hello(hello, out))
        return true;
    *out = (struct hello){0};
    return false;
}

bool hello_lists(struct slice run, unsigned wanted)
{
    size_t one;

    while (number(&run, 2, &one))
        if (one == wanted)
            return true;
    return false;
}

unsigned hello_version(const struct hello *h, unsigned most)
{
    for (unsigned v = HELLO_VERSION_NEW; v >= HELLO_VERSION_OLD; v--)
        if (v <= most && (h->versions & 1U << (v - HELLO_VERSION_OLD)) != 0)
            return v;
    return 0;
}

bool hello_authority(const struct hello *h, struct slice *rest, struct der *name)
{
    struct slice one;
    size_t kind;

    if ((h->typed && !number(rest, 1, &kind)) || !vector(rest, 2, &one))
        return false;
    *name = der_of(one.p, one.n);
    return true;
}
