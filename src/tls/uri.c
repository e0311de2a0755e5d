#include "tls/uri.h"

#include <stdbool.h>
#include <string.h>

#include "base/str.h"

#define SCHEME "pkcs11:"

/* RFC 3986, 2.1.  Returns how many bytes, or a negative code. */
static int decode(struct slice s, uint8_t *out, size_t cap)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        int c = s.p[i];

        if (c == '%') {
            int high = i + 2 < s.n ? str_hex_digit((char)s.p[i + 1]) : -1;
            int low = i + 2 < s.n ? str_hex_digit((char)s.p[i + 2]) : -1;

            if (high < 0 || low < 0)
                return -ERR_SYNTAX;
            c = high << 4 | low;
            i += 2;
        }
        if (n == cap)
            return -ERR_TOO_BIG;
        out[n++] = (uint8_t)c;
    }
    return (int)n;
}

static int take_text(struct slice name, struct slice value, char *out, struct err *err)
{
    int n = decode(value, (uint8_t *)out, PKCS11_URI_TEXT - 1);

    if (n < 0 || memchr(out, 0, (size_t)n) != NULL)
        return err_set(err, ERR_SYNTAX, "the attribute %.*s is not to be read: write %%XX as hex",
                       SLICE_ARG(name));
    out[n] = '\0';
    return 0;
}

static int take_id(struct slice value, struct pkcs11_uri *u, struct err *err)
{
    int n = decode(value, u->id, sizeof(u->id));

    if (n < 0)
        return err_set(
            err, ERR_SYNTAX,
            "the attribute id is not to be read: write %%XX for each of at most %d bytes",
            PKCS11_URI_ID);
    u->id_len = (size_t)n;
    return 0;
}

/* RFC 7512, 2.3.  What names the library or the maker narrows the choice of a module, which the
 * configuration has made already. */
static int take(struct slice name, struct slice value, struct pkcs11_uri *u, struct err *err)
{
    static const char *const passed_over[] = {
        "manufacturer",         "model",
        "library-manufacturer", "library-version",
        "library-description",  "slot-description",
        "slot-manufacturer",    "slot-id",
    };

    if (slice_is(name, "token"))
        return take_text(name, value, u->token, err);
    if (slice_is(name, "serial"))
        return take_text(name, value, u->serial, err);
    if (slice_is(name, "object"))
        return take_text(name, value, u->object, err);
    if (slice_is(name, "id"))
        return take_id(value, u, err);
    if (slice_is(name, "type"))
        return slice_is(value, "private")
                   ? 0
                   : err_set(err, ERR_INVALID, "names a %.*s: it must be type=private",
                             SLICE_ARG(value));
    for (size_t i = 0; i < sizeof(passed_over) / sizeof(passed_over[0]); i++)
        if (slice_is(name, passed_over[i]))
            return 0;
    return err_set(err, ERR_INVALID,
                   "the attribute %.*s is not known: token, serial, object, id and type are",
                   (int)(name.n > 40 ? 40 : name.n), (const char *)name.p);
}

static struct slice trimmed(const char *text, size_t n)
{
    struct slice s = {(const uint8_t *)text, n};

    while (s.n > 0 && strchr(" \t\r\n", s.p[0]) != NULL) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && strchr(" \t\r\n", s.p[s.n - 1]) != NULL)
        s.n--;
    return s;
}

/* The next of `sep`-separated parts. */
static struct slice next_part(struct slice *left, uint8_t sep)
{
    const uint8_t *at = left->n == 0 ? NULL : memchr(left->p, sep, left->n);
    struct slice part = {left->p, at == NULL ? left->n : (size_t)(at - left->p)};
    size_t skip = at == NULL ? left->n : part.n + 1;

    left->p += skip;
    left->n -= skip;
    return part;
}

int pkcs11_uri_read(const char *text, size_t n, struct pkcs11_uri *out, struct err *err)
{
    struct slice left = trimmed(text, n);
    struct pkcs11_uri u = {.id_len = 0};
    int rc = 0;

    if (left.n < strlen(SCHEME) || memcmp(left.p, SCHEME, strlen(SCHEME)) != 0)
        return err_set(err, ERR_SYNTAX,
                       "is no PKCS#11 URI: such as pkcs11:token=hsm;object=press-07;type=private");
    left.p += strlen(SCHEME);
    left.n -= strlen(SCHEME);
    if (memchr(left.p, '?', left.n) != NULL)
        return err_set(err, ERR_INVALID,
                       "has a query: no PIN and no module here, the token's entry in the "
                       "configuration has them (pin_file, module)");
    while (rc == 0 && left.n > 0) {
        struct slice value = next_part(&left, ';');
        struct slice name = next_part(&value, '=');

        if (name.n > 0)
            rc = take(name, value, &u, err);
    }
    if (rc == 0 && u.object[0] == '\0' && u.id_len == 0)
        rc = err_set(err, ERR_INVALID, "names no key: add object=LABEL, or id=%%XX");
    if (rc == 0)
        *out = u;
    return rc;
}

static int write_bytes(const char *name, const uint8_t *p, size_t n, bool all, struct buf *out)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
    int rc = n == 0 ? 0 : buf_printf(out, "%s=", name);

    for (size_t i = 0; i < n && rc == 0; i++)
        rc = !all && p[i] != 0 && strchr(plain, p[i]) != NULL ? buf_append_u8(out, p[i])
                                                              : buf_printf(out, "%%%02x", p[i]);
    return rc != 0 || n == 0 ? rc : buf_append_u8(out, ';');
}

static int write_text(const char *name, const char *text, struct buf *out)
{
    return write_bytes(name, (const uint8_t *)text, strlen(text), false, out);
}

int pkcs11_uri_write(const struct pkcs11_uri *uri, struct buf *out)
{
    if (buf_printf(out, SCHEME) != 0 || write_text("token", uri->token, out) != 0 ||
        write_text("serial", uri->serial, out) != 0 ||
        write_text("object", uri->object, out) != 0 ||
        write_bytes("id", uri->id, uri->id_len, true, out) != 0)
        return -ERR_NOMEM;
    return buf_printf(out, "type=private");
}
