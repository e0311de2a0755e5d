/* cli/table.h - rows of text whose columns line up, for people.
 *
 * Widths are those of a terminal: of characters, not bytes.  What could be taken as a command by
 * the terminal (a sensor chooses its own client id) is shown as '?'.
 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum table_style { TABLE_PLAIN, TABLE_HEAD, TABLE_GOOD, TABLE_WARN, TABLE_BAD };

struct table_cell {
    char *text; /* owned */
    enum table_style style;
};

struct table {
    size_t columns;
    struct table_cell *cells; /* owned; row after row */
    size_t count, cap;
    bool failed; /* out of memory: some cell is missing */
};

void table_init(struct table *t, size_t columns);
void table_fini(struct table *t);

/* Add the next cell, from left to right, then the next row. */
void table_add(struct table *t, enum table_style style, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* A row of cells that are all TABLE_HEAD. */
void table_head(struct table *t, const char *const *titles);

/* Write all rows; two blanks between columns, none at the end of a line.  Colours only when asked.
 * `width`: columns of the terminal, within which the last cell of a row is broken between words; 0:
 * a row is a line, however long. */
void table_print(const struct table *t, FILE *to, bool colour, size_t width);

/* Write text in a style, made safe in the same way. */
void table_text(FILE *to, bool colour, enum table_style style, const char *text);

/* As much of a text, made safe in the same way, as takes `columns` of a terminal, into out[n], with
 * a NUL.  `ascii`: the terminal shows nothing else.  Returns how many columns that is. */
size_t table_fit(char *out, size_t n, const char *text, size_t columns, bool ascii);

/* How many columns of a terminal a text takes. */
size_t table_width(const char *text);

#endif
