#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

enum { BUF_LEAST = 64 };

int buf_reserve(struct buf *b, size_t more)
{
    size_t cap = b->cap < BUF_LEAST ? BUF_LEAST : b->cap;
    uint8_t *p;

    if (more <= b->cap - b->len)
        return 0;
    if (more > SIZE_MAX / 2 - b->len)
        return -ERR_NOMEM;
    while (cap < b->len + more)
        cap *= 2;
    p = realloc(b->p, cap);
    if (p == NULL)
        return -ERR_NOMEM;
    b->p = p;
    b->cap = cap;
    return 0;
}

int buf_append(struct buf *b, const void *data, size_t n)
{
    if (n == 0)
        return 0;
    if (__builtin_expect(n > b->cap - b->len, 0) && buf_reserve(b, n) != 0)
        return -ERR_NOMEM;
    memcpy(b->p + b->len, data, n);
    b->len += n;
    return 0;
}

int buf_reserve_wipe(struct buf *b, size_t more)
{
    struct buf grown = {0};

    if (more <= b->cap - b->len)
        return 0;
    if (more > SIZE_MAX / 2 - b->len || buf_reserve(&grown, b->len + more) != 0)
        return -ERR_NOMEM;
    if (b->len > 0)
        memcpy(grown.p, b->p, b->len);
    grown.len = b->len;
    buf_fini_wipe(b);
    *b = grown;
    return 0;
}

int buf_append_wipe(struct buf *b, const void *data, size_t n)
{
    return buf_reserve_wipe(b, n) != 0 ? -ERR_NOMEM : buf_append(b, data, n);
}

int buf_append_u8(struct buf *b, uint8_t v)
{
    if (__builtin_expect(b->len == b->cap, 0) && buf_reserve(b, 1) != 0)
        return -ERR_NOMEM;
    b->p[b->len++] = v;
    return 0;
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
    size_t room = b->cap - b->len;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(room == 0 ? NULL : (char *)b->p + b->len, room, fmt, ap);
    va_end(ap);
    if (n < 0)
        return -ERR_NOMEM;
    if ((size_t)n >= room) {
        if (buf_reserve(b, (size_t)n + 1) != 0)
            return -ERR_NOMEM;
        va_start(ap, fmt);
        n = vsnprintf((char *)b->p + b->len, (size_t)n + 1, fmt, ap);
        va_end(ap);
        if (n < 0)
            return -ERR_NOMEM;
    }
    b->len += (size_t)n;
    return 0;
}

void buf_drop(struct buf *b, size_t n)
{
    if (n >= b->len) {
        b->len = 0;
        return;
    }
    b->len -= n;
    memmove(b->p, b->p + n, b->len);
}

void buf_fini(struct buf *b)
{
    free(b->p);
    *b = (struct buf){0};
}

void buf_fini_wipe(struct buf *b)
{
    if (b->p != NULL)
        explicit_bzero(b->p, b->cap);
    buf_fini(b);
}
