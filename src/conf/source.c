#include "conf/source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/durable.h"
#include "base/str.h"

enum {
    FILE_BYTES = 16 << 20, /* one file */
    TEXT_BYTES =
        128 << 20, /* all of them, so that files that include each other twice come to an end */
    DEPTH = 16,    /* of files in files */
    FILES = 10000,
};

struct source_mark {
    unsigned line; /* of the text; from here on ... */
    const char *file;
    unsigned file_line; /* ... this file, from this line */
};

/* One file while it is read, and those that include it. */
struct reading {
    const struct reading *above;
    const char *file;
    unsigned line;
    bool lookups; /* may include */
    bool refused; /* gave a fault that makes its text useless */
    struct source *s;
    struct source_names *names;
    struct conf_faults *f;
};

const char *source_name(struct source_names *names, const char *name)
{
    char **grown;

    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->name[i], name) == 0)
            return names->name[i];
    }
    grown = realloc(names->name, (names->count + 1) * sizeof(*grown));
    if (grown == NULL)
        return NULL;
    names->name = grown;
    grown[names->count] = strdup(name);
    return grown[names->count] == NULL ? NULL : grown[names->count++];
}

void source_names_fini(struct source_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->name[i]);
    free(names->name);
    *names = (struct source_names){0};
}

char *source_beside(const char *from, const char *path)
{
    const char *slash = strrchr(from, '/');

    if (path[0] == '/' || slash == NULL)
        return strdup(path);
    return str_printf("%.*s/%s", (int)(slash - from), from, path);
}

static struct conf_place here(const struct reading *r)
{
    return (struct conf_place){r->file, r->line};
}

/* From the next line of the text on it is line `r->line` of that file. */
static void mark(struct reading *r)
{
    struct source *s = r->s;
    struct source_mark *grown = realloc(s->marks, (s->mark_count + 1) * sizeof(*grown));

    if (grown == NULL) {
        conf_fault(r->f, here(r), NULL, "out of memory");
        r->refused = true;
        return;
    }
    s->marks = grown;
    grown[s->mark_count++] = (struct source_mark){s->lines + 1, r->file, r->line};
}

static void copy(struct reading *r, const char *p, size_t n)
{
    if (r->s->text.len + n > TEXT_BYTES || buf_append(&r->s->text, p, n) != 0) {
        conf_fault(r->f, here(r), NULL, "the configuration is too large: at most %d MiB",
                   TEXT_BYTES >> 20);
        r->refused = true;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\n') {
            r->s->lines++;
            r->line++;
        }
    }
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The end of the comment or string that starts at `p`; `p` itself when none does; NULL when it has
 * no end. */
static const char *opaque(const char *p, const char *end)
{
    const char *q;

    if (*p == '#' || (*p == '/' && p + 1 < end && p[1] == '/')) {
        q = memchr(p, '\n', (size_t)(end - p));
        return q == NULL ? end : q;
    }
    if (*p == '/' && p + 1 < end && p[1] == '*') {
        q = memmem(p + 2, (size_t)(end - p - 2), "*/", 2);
        return q == NULL ? NULL : q + 2;
    }
    if (*p != '"')
        return p;
    for (q = p + 1; q < end && *q != '"'; q++) {
        if (*q == '\\' && q + 1 < end)
            q++;
    }
    return q == end ? NULL : q + 1;
}

static bool is_hex(char c)
{
    return is_digit(c) || (is_letter(c) && (c | 0x20) <= 'f');
}

/* The end of the number at `p`, by kind: 'x' hexadecimal, 'f' with a fraction or exponent, 'd'. */
static const char *number_end(const char *p, const char *end, char *kind)
{
    const char *q = p;

    *kind = end - p > 2 && p[0] == '0' && (p[1] | 0x20) == 'x' ? 'x' : 'd';
    q += *kind == 'x' ? 2 : 0;
    while (q < end && (*kind == 'x' ? is_hex(*q) : is_digit(*q)))
        q++;
    if (*kind == 'x' || q == end || strchr(".eE", *q) == NULL)
        return q;
    *kind = 'f';
    while (q < end && (is_digit(*q) || strchr(".eE", *q) != NULL ||
                       (strchr("+-", *q) != NULL && (q[-1] | 0x20) == 'e')))
        q++;
    return q;
}

/* A number: copied, with an 'L' behind it when it needs 64 bits.  Returns its end. */
static const char *number(struct reading *r, const char *p, const char *end)
{
    char kind;
    const char *q = number_end(p, end, &kind);
    size_t n = (size_t)(q - p);
    char digits[32];
    uint64_t value;

    if (kind == 'f') {
        copy(r, p, n);
        return q;
    }
    snprintf(digits, sizeof(digits), "%.*s", (int)(n < 31 ? n : 31), p);
    errno = 0;
    value = strtoull(digits, NULL, kind == 'x' ? 16 : 10);
    if (errno != 0 || value > INT64_MAX || n >= 31) { /* out of range for every key */
        snprintf(digits, sizeof(digits), "%" PRId64 "L", INT64_MAX);
        copy(r, digits, strlen(digits));
        while (q < end && *q == 'L')
            q++;
        return q;
    }
    copy(r, p, n);
    if (value > INT32_MAX && (q == end || *q != 'L'))
        copy(r, "L", 1);
    return q;
}

static void one_text(struct reading *r, const char *p, size_t n);

static void include(struct reading *r, const char *name)
{
    struct reading in = {r, NULL, 1, true, false, r->s, r->names, r->f};
    char *path = source_beside(r->file, name);
    struct buf text = {0};
    struct err err = {0};
    unsigned depth = 0;

    in.file = path == NULL ? NULL : source_name(r->names, path);
    free(path);
    if (in.file == NULL || durable_read(in.file, FILE_BYTES, &text, &err) != 0) {
        conf_fault(r->f, here(r), "@include", "%s", in.file == NULL ? "out of memory" : err.msg);
        goto skip;
    }
    for (const struct reading *up = r; up != NULL; up = up->above, depth++) {
        if (strcmp(up->file, in.file) == 0) {
            conf_fault(r->f, here(r), "@include", "%s: includes itself: take this line out",
                       in.file);
            goto skip;
        }
    }
    if (depth > DEPTH || ++r->s->files > FILES) {
        conf_fault(r->f, here(r), "@include", "%s: %s", in.file,
                   depth > DEPTH ? "included too deeply: at most 16 levels"
                                 : "included after too many others: at most 10000");
        r->refused = true;
        goto skip;
    }
    mark(&in);
    one_text(&in, (const char *)text.p, text.len);
    r->refused |= in.refused;
    buf_fini_wipe(&text);
    return;
skip:
    r->s->partial = true;
    buf_fini_wipe(&text);
}

/* The line at `p` begins with @include: carry it out.  Returns the end of the line, its '\n'
 * excluded. */
static const char *include_line(struct reading *r, const char *p, const char *end)
{
    const char *eol = memchr(p, '\n', (size_t)(end - p));
    char name[4096];
    size_t n = 0;

    if (eol == NULL)
        eol = end;
    p += strlen("@include");
    while (p < eol && (*p == ' ' || *p == '\t'))
        p++;
    if (p < eol && *p == '"') {
        for (p++; p < eol && *p != '"' && n < sizeof(name) - 1; p++) {
            if (*p == '\\' && p + 1 < eol)
                p++;
            name[n++] = *p;
        }
    }
    name[n] = '\0';
    if (n == 0 || p == eol || *p != '"' || strlen(name) != n) {
        conf_fault(r->f, here(r), "@include", "has no file name: write @include \"FILE\"");
        r->s->partial = true;
    } else if (!r->lookups) {
        conf_fault(r->f, here(r), "@include", "no file can be included here");
        r->s->partial = true;
    } else {
        include(r, name);
    }
    mark(r); /* the rest of this line is an empty line of the text */
    return eol;
}

static bool starts(const char *p, const char *end, const char *word)
{
    size_t n = strlen(word);

    return (size_t)(end - p) >= n && memcmp(p, word, n) == 0;
}

/* What follows a byte that begins neither string nor comment: copied.  Returns its end.  *fresh:
 * nothing but blanks on this line so far. */
static const char *token(struct reading *r, const char *p, const char *end, bool *fresh)
{
    const char *q = p + 1;

    if (*fresh && starts(p, end, "@include"))
        return include_line(r, p, end);
    *fresh = *p == '\n' || (*fresh && (*p == ' ' || *p == '\t'));
    if (is_digit(*p))
        return number(r, p, end);
    if (is_letter(*p) || *p == '*') { /* a name, whose digits are no number */
        while (q < end && (is_letter(*q) || is_digit(*q) || strchr("*_-", *q) != NULL))
            q++;
    }
    copy(r, p, (size_t)(q - p));
    return q;
}

static void one_text(struct reading *r, const char *p, size_t n)
{
    const char *end = p + n;
    bool fresh = true;

    if (memchr(p, '\0', n) != NULL) {
        conf_fault(r->f, (struct conf_place){r->file, 0}, NULL,
                   "holds a NUL byte: it must be a text file");
        r->refused = true;
        return;
    }
    if (starts(p, end, "\xef\xbb\xbf")) /* a byte order mark of some editors */
        p += 3;
    while (p < end && !r->refused) {
        const char *q = opaque(p, end);

        if (q == NULL) {
            conf_fault(r->f, here(r), NULL, "a %s begins here and has no end",
                       *p == '"' ? "string" : "comment");
            r->refused = true;
        } else if (q > p) {
            copy(r, p, (size_t)(q - p));
            fresh = false;
            p = q;
        } else {
            p = token(r, p, end, &fresh);
        }
    }
    if (n > 0 && end[-1] != '\n' && !r->refused)
        copy(r, "\n", 1);
}

bool source_take(struct source *s, const char *name, const char *text, size_t n,
                 struct source_names *names, struct conf_faults *f)
{
    struct reading r = {NULL, source_name(names, name), 1, false, false, s, names, f};

    if (r.file == NULL) {
        conf_fault(f, (struct conf_place){name, 0}, NULL, "out of memory");
        return false;
    }
    mark(&r);
    one_text(&r, text, n);
    return !r.refused && buf_append_u8(&s->text, '\0') == 0;
}

bool source_read(struct source *s, const char *path, struct source_names *names,
                 struct conf_faults *f)
{
    struct reading r = {NULL, source_name(names, path), 1, true, false, s, names, f};
    struct buf text = {0};
    struct err err = {0};

    if (r.file == NULL || durable_read(path, FILE_BYTES, &text, &err) != 0) {
        conf_fault(f, (struct conf_place){0}, NULL, "%s",
                   r.file == NULL ? "out of memory" : err.msg);
        return false;
    }
    mark(&r);
    if (text.len > 0)
        one_text(&r, (const char *)text.p, text.len);
    buf_fini_wipe(&text);
    return !r.refused && buf_append_u8(&s->text, '\0') == 0;
}

struct conf_place source_at(const struct source *s, unsigned line)
{
    size_t low = 0;
    size_t high = s->mark_count;

    while (high - low > 1) { /* the last mark at or before the line */
        size_t middle = low + (high - low) / 2;

        if (s->marks[middle].line <= line)
            low = middle;
        else
            high = middle;
    }
    if (s->mark_count == 0)
        return (struct conf_place){NULL, 0};
    return (struct conf_place){s->marks[low].file,
                               s->marks[low].file_line +
                                   (line > s->marks[low].line ? line - s->marks[low].line : 0)};
}

/* What follows the word on the line may be a secret, which has no place in a log: its length up to
 * there. */
static size_t before_secret(const char *p, size_t len)
{
    static const char word[] = "password";
    const size_t n = sizeof(word) - 1;

    for (size_t i = 0; i + n < len; i++)
        if (strncasecmp(p + i, word, n) == 0)
            return i + n;
    return len;
}

const char *source_line(const struct source *s, unsigned line, char *out, size_t n)
{
    const char *p = (const char *)s->text.p;
    size_t len, shown;

    for (unsigned i = 1; i < line && p != NULL; i++) {
        p = strchr(p, '\n');
        p = p == NULL ? NULL : p + 1;
    }
    out[0] = '\0';
    if (p == NULL)
        return out;
    p += strspn(p, " \t");
    len = strcspn(p, "\n");
    while (len > 0 && (p[len - 1] == ' ' || p[len - 1] == '\t' || p[len - 1] == '\r'))
        len--;
    shown = before_secret(p, len);
    if (shown > n - 4)
        shown = n - 4;
    snprintf(out, n, "%.*s%s", (int)shown, p, shown == len ? "" : "...");
    return out;
}

void source_fini(struct source *s)
{
    buf_fini_wipe(&s->text);
    free(s->marks);
    *s = (struct source){0};
}
