#include "tls/pem.h"

#include <string.h>

#include "tls/wolf.h"

#define BEGIN  "-----BEGIN "
#define END    "-----END "
#define DASHES "-----"

static const char *find(const char *p, const char *end, const char *what)
{
    return memmem(p, (size_t)(end - p), what, strlen(what));
}

int pem_next(const char **at, const char *end, struct pem_block *out, struct err *err)
{
    struct pem_block b;
    const char *p = find(*at, end, BEGIN);
    const char *stop;

    if (p == NULL)
        return 0;
    b.label = p + strlen(BEGIN);
    p = find(b.label, end, DASHES);
    if (p == NULL || memchr(b.label, '\n', (size_t)(p - b.label)) != NULL)
        return err_set(err, ERR_SYNTAX, "a BEGIN line is cut off: copy the file again");
    b.label_len = (size_t)(p - b.label);
    b.body = p + strlen(DASHES);
    stop = find(b.body, end, END);
    p = stop == NULL ? NULL : stop + strlen(END);
    if (p == NULL || (size_t)(end - p) < b.label_len + strlen(DASHES) ||
        memcmp(p, b.label, b.label_len) != 0)
        return err_set(err, ERR_SYNTAX, "'BEGIN %.*s' has no END line: copy the file again",
                       (int)(b.label_len < 40 ? b.label_len : 40), b.label);
    b.body_len = (size_t)(stop - b.body);
    *at = p + b.label_len + strlen(DASHES);
    *out = b;
    return 1;
}

bool pem_is(const struct pem_block *b, const char *label)
{
    return b->label_len == strlen(label) && memcmp(b->label, label, b->label_len) == 0;
}

bool pem_ends_with(const struct pem_block *b, const char *label_end)
{
    size_t n = strlen(label_end);

    return b->label_len >= n && memcmp(b->label + b->label_len - n, label_end, n) == 0;
}

bool pem_is_encrypted(const struct pem_block *b)
{
    return pem_is(b, "ENCRYPTED PRIVATE KEY") ||
           find(b->body, b->body + b->body_len, "4,ENCRYPTED") != NULL;
}

/* Behind the headers of RFC 1421 (Bag Attributes, Proc-Type), which end in an empty line. */
static struct pem_block without_headers(struct pem_block b)
{
    const char *end = b.body + b.body_len;
    const char *colon = memchr(b.body, ':', b.body_len);
    const char *blank;

    if (colon == NULL)
        return b;
    blank = find(colon, end, "\n\n");
    if (blank == NULL)
        blank = find(colon, end, "\n\r\n");
    if (blank != NULL) {
        b.body = blank;
        b.body_len = (size_t)(end - blank);
    }
    return b;
}

int pem_decode(const struct pem_block *block, struct buf *der, struct err *err)
{
    struct pem_block b = without_headers(*block);
    word32 n;

    while (b.body_len > 0 && strchr(" \t\r\n", b.body[0]) != NULL) {
        b.body++;
        b.body_len--;
    }
    if (b.body_len > UINT32_MAX / 2)
        return err_set(err, ERR_TOO_BIG, "a block of %zu bytes", b.body_len);
    if (buf_reserve(der, b.body_len + 4) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    n = (word32)b.body_len + 4;
    if (Base64_Decode((const byte *)b.body, (word32)b.body_len, der->p + der->len, &n) != 0 ||
        n == 0)
        return err_set(err, ERR_SYNTAX,
                       "'BEGIN %.*s' is followed by something that is not base64: "
                       "copy the file again",
                       (int)(block->label_len < 40 ? block->label_len : 40), block->label);
    der->len += n;
    return 0;
}

int pem_encode(const char *label, const uint8_t *der, size_t n, struct buf *out)
{
    size_t frame = 2 * (strlen(label) + 2 * strlen(DASHES) + 8);
    size_t base64 = (n + 2) / 3 * 4 + n / 48 + 2; /* lines of 64 characters */
    word32 room;

    if (n > UINT32_MAX / 2 || buf_reserve(out, frame + base64) != 0 ||
        buf_printf(out, BEGIN "%s" DASHES "\n", label) != 0)
        return -ERR_NOMEM;
    room = (word32)(out->cap - out->len);
    if (Base64_Encode(der, (word32)n, out->p + out->len, &room) != 0)
        return -ERR_NOMEM;
    out->len += room;
    return buf_printf(out, END "%s" DASHES "\n", label);
}
