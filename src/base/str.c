#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

struct slice slice_of(const char *s)
{
    return (struct slice){(const uint8_t *)s, s == NULL ? 0 : strlen(s)};
}

bool slice_eq(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool slice_is(struct slice a, const char *s)
{
    return slice_eq(a, slice_of(s));
}

/* The set at `p`, behind its '[', is closed by a ']'; a ']' that comes first is a member. */
static const char *set_end(const char *p)
{
    if (*p == '!' || *p == '^')
        p++;
    if (*p == ']')
        p++;
    for (; *p != '\0' && *p != ']'; p++) {
        if (*p == '\\' && p[1] != '\0')
            p++;
    }
    return *p == ']' ? p : NULL;
}

static bool in_set(const char *p, const char *end, unsigned char c)
{
    bool negated = *p == '!' || *p == '^';
    bool found = false;

    for (p += negated; p < end; p++) {
        unsigned char low;
        unsigned char high;

        if (*p == '\\' && p + 1 < end)
            p++;
        low = high = (unsigned char)*p;
        if (p[1] == '-' && p + 2 < end) {
            p += 2;
            if (*p == '\\' && p + 1 < end)
                p++;
            high = (unsigned char)*p;
        }
        if (low <= c && c <= high)
            found = true;
    }
    return found != negated;
}

/* Does the one-byte element at `p` (not a star, not the end) take `c`?  *next is what follows the
 * element. */
static bool glob_one(const char *p, unsigned char c, const char **next)
{
    const char *end;

    *next = p + 1;
    if (*p == '?')
        return true;
    if (*p == '[' && (end = set_end(p + 1)) != NULL) {
        *next = end + 1;
        return in_set(p + 1, end, c);
    }
    if (*p == '\\' && p[1] != '\0')
        *next = ++p + 1;
    return (unsigned char)*p == c;
}

bool str_glob(const char *pattern, const char *text)
{
    const char *star = NULL; /* the pattern behind the last star */
    const char *mark = NULL; /* the text that it stands for ends here */
    const char *next;

    while (*text != '\0') {
        if (*pattern == '*') {
            star = ++pattern;
            mark = text;
        } else if (*pattern != '\0' && glob_one(pattern, (unsigned char)*text, &next)) {
            pattern = next;
            text++;
        } else if (star != NULL) {
            pattern = star;
            text = ++mark;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

bool str_has_glob(const char *s)
{
    for (; *s != '\0'; s++) {
        if (*s == '*' || *s == '?' || (*s == '[' && set_end(s + 1) != NULL))
            return true;
        if (*s == '\\' && s[1] != '\0')
            s++;
    }
    return false;
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

unsigned str_distance(const char *a, const char *b, unsigned bound)
{
    enum { LONGEST = 255 };
    unsigned row[LONGEST + 1];
    unsigned beyond = bound == (unsigned)-1 ? bound : bound + 1;
    size_t na;
    size_t nb;

    for (; *a != '\0' && *a == *b; a++, b++)
        ;
    na = strlen(a);
    nb = strlen(b);
    for (; na > 0 && nb > 0 && a[na - 1] == b[nb - 1]; na--, nb--)
        ;
    if (na < nb) { /* the shorter one goes along the row */
        const char *s = a;
        size_t n = na;

        a = b;
        na = nb;
        b = s;
        nb = n;
    }
    if (na - nb > bound || nb > LONGEST)
        return beyond;
    for (size_t j = 0; j <= nb; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= na; i++) {
        unsigned diagonal = row[0];
        unsigned best = row[0] = (unsigned)i;

        for (size_t j = 1; j <= nb; j++) {
            unsigned replaced = diagonal + (a[i - 1] != b[j - 1]);

            diagonal = row[j];
            row[j] = least(replaced, least(row[j - 1], diagonal) + 1);
            best = least(best, row[j]);
        }
        if (best > bound)
            return beyond;
    }
    return row[nb] > bound ? beyond : row[nb];
}

char *str_printf(const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vasprintf(&s, fmt, ap);
    va_end(ap);
    return n < 0 ? NULL : s;
}

void str_hex(char *out, const uint8_t *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * n] = '\0';
}

int str_hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int str_unhex(const char *s, uint8_t *out, size_t n)
{
    const char *p = s;

    for (size_t i = 0; i < n; i++) { /* look first: outputs are written on success only */
        if (i > 0 && *p == ':')
            p++;
        if (str_hex_digit(p[0]) < 0 || str_hex_digit(p[1]) < 0)
            return -ERR_SYNTAX;
        p += 2;
    }
    if (*p != '\0')
        return -ERR_SYNTAX;
    for (size_t i = 0; i < n; i++) {
        if (*s == ':')
            s++;
        out[i] = (uint8_t)(str_hex_digit(s[0]) << 4 | str_hex_digit(s[1]));
        s += 2;
    }
    return 0;
}

bool str_is_name(const char *s)
{
    size_t n = 0;

    if (*s == '.' || *s == '-')
        return false;
    for (; s[n] != '\0'; n++) {
        char c = s[n];
        bool ok = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '_' || c == '-';

        if (!ok || n == 128)
            return false;
    }
    return n > 0;
}

static bool tail(uint8_t b)
{
    return (b & 0xc0) == 0x80;
}

/* The table of well-formed byte sequences of RFC 3629, section 4. */
size_t str_utf8_step(const uint8_t *p, size_t n)
{
    if (n == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || n < 2 || !tail(p[1]))
        return 0;
    if (p[0] < 0xe0)
        return 2;
    if (n < 3 || !tail(p[2]))
        return 0;
    if (p[0] < 0xf0) {
        if ((p[0] == 0xe0 && p[1] < 0xa0) ||
            (p[0] == 0xed && p[1] > 0x9f)) /* overlong; surrogate */
            return 0;
        return 3;
    }
    if (n < 4 || !tail(p[3]) || p[0] > 0xf4 || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return 4;
}

bool str_is_utf8(const uint8_t *p, size_t n)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t highs = ones << 7;

    while (n > 0) {
        size_t step;
        uint64_t w;

        /* Eight ASCII bytes, none of them zero, at a time: topics hardly hold anything else. */
        while (n >= sizeof(w)) {
            memcpy(&w, p, sizeof(w));
            if (((w | (w - ones)) & highs) != 0)
                break;
            p += sizeof(w);
            n -= sizeof(w);
        }
        if (n == 0)
            break;
        step = str_utf8_step(p, n);
        if (step == 0 || *p == 0)
            return false;
        p += step;
        n -= step;
    }
    return true;
}

void str_tidy(char *s)
{
    size_t n = strlen(s);

    for (size_t i = 0; i < n;) {
        size_t step = str_utf8_step((const uint8_t *)s + i, n - i);

        if (step == 0)
            s[i] = '?';
        else if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            s[i] = ' ';
        else if ((unsigned char)s[i] == 0xc2 && (unsigned char)s[i + 1] < 0xa0)
            s[i] = s[i + 1] = ' '; /* U+0080 to U+009F: a terminal may take them for escapes */
        i += step == 0 ? 1 : step;
    }
}
