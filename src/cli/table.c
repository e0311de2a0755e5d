#include "cli/table.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static const char *const styles[] = {
    [TABLE_PLAIN] = "",        [TABLE_HEAD] = "\033[1m", [TABLE_GOOD] = "\033[32m",
    [TABLE_WARN] = "\033[33m", [TABLE_BAD] = "\033[31m",
};

void table_init(struct table *t, size_t columns)
{
    *t = (struct table){.columns = columns};
}

void table_fini(struct table *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(t->cells[i].text);
    free(t->cells);
    table_init(t, t->columns);
}

/* -- characters ------------------------------------------------------------------------------- */

static uint32_t decode(const uint8_t *p, size_t step)
{
    static const uint8_t first[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t c = p[0] & first[step];

    for (size_t i = 1; i < step; i++)
        c = c << 6 | (p[i] & 0x3f);
    return c;
}

struct range {
    uint32_t first, last;
};

static bool within(const struct range *ranges, size_t n, uint32_t c)
{
    for (size_t i = 0; i < n; i++)
        if (c >= ranges[i].first && c <= ranges[i].last)
            return true;
    return false;
}
#define WITHIN(ranges, c) within(ranges, sizeof(ranges) / sizeof((ranges)[0]), c)

/* What a terminal would obey, or what turns the direction of what follows. */
static bool is_unsafe(uint32_t c)
{
    static const struct range unsafe[] = {
        {0x00, 0x1f}, {0x7f, 0x9f}, {0x200e, 0x200f}, {0x2028, 0x202e}, {0x2066, 0x2069},
    };

    return WITHIN(unsafe, c);
}

/* The coarse blocks of Unicode's East Asian Width and of combining marks: enough to line up names.
 */
static size_t char_width(uint32_t c)
{
    static const struct range none[] = {
        {0x300, 0x36f},   {0x483, 0x489},   {0x591, 0x5bd},   {0x64b, 0x65f},
        {0x200b, 0x200d}, {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f},
    };
    static const struct range two[] = {
        {0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0xa4cf},   {0xac00, 0xd7a3},
        {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},   {0xffe0, 0xffe6},
        {0x1f300, 0x1f64f}, {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd},
    };

    if (WITHIN(none, c))
        return 0;
    return WITHIN(two, c) ? 2 : 1;
}

/* The next character: how many bytes, or 0 for a byte that cannot be shown. */
static size_t next_char(const char *text, size_t left, uint32_t *c)
{
    size_t step = str_utf8_step((const uint8_t *)text, left);

    *c = step == 0 ? '?' : decode((const uint8_t *)text, step);
    return is_unsafe(*c) ? 0 : step;
}

/* Bytes of the character at `text` that has to be stepped over, shown or not. */
static size_t step_over(const char *text, size_t left)
{
    size_t step = str_utf8_step((const uint8_t *)text, left);

    return step == 0 ? 1 : step;
}

size_t table_width(const char *text)
{
    size_t width = 0, left = strlen(text);

    while (left > 0) {
        uint32_t c;
        size_t step = step_over(text, left);

        width += next_char(text, left, &c) == 0 ? 1 : char_width(c);
        text += step;
        left -= step;
    }
    return width;
}

size_t table_fit(char *out, size_t n, const char *text, size_t columns, bool ascii)
{
    size_t left = strlen(text), width = 0, o = 0;

    while (left > 0) {
        uint32_t c;
        size_t step = step_over(text, left), bytes = next_char(text, left, &c);
        bool shown = bytes > 0 && (!ascii || c < 0x80);
        size_t wide = shown ? char_width(c) : 1;

        if (width + wide > columns || o + (shown ? bytes : 1) + 1 > n)
            break;
        if (shown)
            memcpy(out + o, text, bytes);
        else
            out[o] = '?';
        o += shown ? bytes : 1;
        width += wide;
        text += step;
        left -= step;
    }
    out[o] = '\0';
    return width;
}

static void put_safe(FILE *to, const char *text)
{
    size_t left = strlen(text);

    while (left > 0) {
        uint32_t c;
        size_t step = step_over(text, left);

        if (next_char(text, left, &c) == 0)
            fputc('?', to);
        else
            fwrite(text, 1, step, to);
        text += step;
        left -= step;
    }
}

void table_text(FILE *to, bool colour, enum table_style style, const char *text)
{
    bool painted = colour && style != TABLE_PLAIN && text[0] != '\0';

    if (painted)
        fputs(styles[style], to);
    put_safe(to, text);
    if (painted)
        fputs("\033[0m", to);
}

/* -- rows ------------------------------------------------------------------------------------- */

static bool grow(struct table *t)
{
    size_t cap = t->cap == 0 ? 64 : t->cap * 2;
    struct table_cell *cells = reallocarray(t->cells, cap, sizeof(cells[0]));

    if (cells == NULL)
        return false;
    t->cells = cells;
    t->cap = cap;
    return true;
}

void table_add(struct table *t, enum table_style style, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    va_end(ap);
    if (text == NULL || (t->count == t->cap && !grow(t))) {
        free(text);
        t->failed = true;
        return;
    }
    t->cells[t->count++] = (struct table_cell){text, style};
}

void table_head(struct table *t, const char *const *titles)
{
    for (size_t i = 0; i < t->columns; i++)
        table_add(t, TABLE_HEAD, "%s", titles[i]);
}

static size_t column_width(const struct table *t, size_t column)
{
    size_t widest = 0;

    for (size_t i = column; i < t->count; i += t->columns) {
        size_t width = table_width(t->cells[i].text);

        if (width > widest)
            widest = width;
    }
    return widest;
}

#define WRAP_LEAST  24 /* columns that a text needs in order to be readable below its first line */
#define WRAP_INDENT 8  /* where it goes on when the column has not got them */

/* How many bytes of the text go on a line of `room` columns: up to a blank, but at least a word. */
static size_t fitting(const char *text, size_t room)
{
    size_t fits = 0, at = 0, n = strlen(text), width = 0;

    while (at < n) {
        size_t word = strcspn(text + at, " ");
        char *copy = strndup(text + at, word);

        width += copy == NULL ? word : table_width(copy);
        free(copy);
        if (width > room && fits > 0)
            return fits;
        fits = at + word;
        at = fits + strspn(text + fits, " ");
        width += at - fits;
    }
    return n;
}

/* The last cell, which begins at column `at`. */
static void print_wrapped(const struct table_cell *cell, size_t at, FILE *to, bool colour,
                          size_t width)
{
    size_t indent = width < at + WRAP_LEAST ? WRAP_INDENT : at;
    const char *text = cell->text;

    for (;;) {
        size_t n = width <= at ? strlen(text) : fitting(text, width - at);
        char *piece = strndup(text, n);

        table_text(to, colour, cell->style, piece == NULL ? text : piece);
        text += piece == NULL ? strlen(text) : n;
        free(piece);
        text += strspn(text, " ");
        if (*text == '\0')
            return;
        at = indent;
        fprintf(to, "\n%*s", (int)at, "");
    }
}

static void print_row(const struct table *t, const struct table_cell *row, const size_t *widths,
                      FILE *to, bool colour, size_t bound)
{
    size_t last = t->columns, at = 0;

    while (last > 0 && row[last - 1].text[0] == '\0')
        last--;
    for (size_t i = 0; i < last; i++) {
        size_t width = table_width(row[i].text);

        if (i + 1 == last && bound > 0 && at + width > bound) {
            print_wrapped(&row[i], at, to, colour, bound);
            break;
        }
        table_text(to, colour, row[i].style, row[i].text);
        if (i + 1 < last)
            fprintf(to, "%*s", (int)(widths[i] - width + 2), "");
        at += widths[i] + 2;
    }
    fputc('\n', to);
}

void table_print(const struct table *t, FILE *to, bool colour, size_t width)
{
    size_t *widths = calloc(t->columns, sizeof(widths[0]));

    if (t->failed || widths == NULL) {
        fputs("(out of memory)\n", to);
        free(widths);
        return;
    }
    for (size_t i = 0; i < t->columns; i++)
        widths[i] = column_width(t, i);
    for (size_t i = 0; i + t->columns <= t->count; i += t->columns)
        print_row(t, &t->cells[i], widths, to, colour, width);
    free(widths);
}
