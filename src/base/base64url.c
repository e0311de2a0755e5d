#include "base/base64url.h"

#include <stdint.h>
#include <string.h>

#include "base/err.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

int base64url_encode(const void *data, size_t n, struct buf *out)
{
    const uint8_t *p = data;
    uint32_t bits = 0;
    unsigned have = 0;

    if (buf_reserve(out, n / 3 * 4 + 4) != 0)
        return -ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        bits = bits << 8 | p[i];
        for (have += 8; have >= 6; have -= 6)
            out->p[out->len++] = (uint8_t)alphabet[bits >> (have - 6) & 63];
    }
    if (have > 0)
        out->p[out->len++] = (uint8_t)alphabet[bits << (6 - have) & 63];
    return 0;
}

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

int base64url_decode(const char *text, size_t n, struct buf *out)
{
    size_t before = out->len;
    uint32_t bits = 0;
    unsigned have = 0;

    if (n % 4 == 1)
        return -ERR_SYNTAX;
    if (buf_reserve(out, n / 4 * 3 + 3) != 0)
        return -ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        int v = value_of(text[i]);

        if (v < 0) {
            out->len = before;
            return -ERR_SYNTAX;
        }
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out->p[out->len++] = (uint8_t)(bits >> have);
        }
    }
    if ((bits & ((1U << have) - 1)) != 0) {
        out->len = before;
        return -ERR_SYNTAX;
    }
    return 0;
}
