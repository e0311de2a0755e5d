/* conf/parse.h - from the text of the files to the members of struct conf, row by row of the
 * schema. */
#ifndef CONF_PARSE_H
#define CONF_PARSE_H

#include <stdbool.h>
#include <stddef.h>

#include "conf/conf.h"
#include "conf/fault.h"
#include "conf/schema.h"
#include "conf/source.h"

/* Where a member was said. */
struct parse_spot {
    const void *base; /* the struct that the row's offset counts from */
    const struct conf_row *row;
    struct conf_place at;
    char *path; /* owned; of a list's element: "listeners[0]", as counted in its file */
    bool bad;   /* was refused; the member has no meaning */
};

struct parse {
    const struct conf_table *table;
    void *into;                 /* borrowed; filled: the struct that the table is about */
    struct conf *conf;          /* the same, where it is one; else NULL */
    struct source_names *names; /* borrowed; must outlive conf */
    struct conf_faults faults;
    bool lookups; /* may look at other files */
    bool broken;  /* some text was not understood: what seems to be missing may be there */
    struct parse_spot *spots; /* owned; sorted once everything was read */
    size_t spot_count, spot_cap;
    bool *seen;            /* owned; by row: those outside of lists */
    const char *main_file; /* borrowed from names */
};

/* Read everything: `path`, or `text` of `n` bytes in its place, and the files of include_dir, where
 * the table has that. Fills in the defaults. */
void parse_all(struct parse *p, const char *path, const char *text, size_t n);

/* A fault of the member `key` ("listeners.port") of `base`, at its place; or, where it was not
 * said, of that of its list element. */
void parse_fault(struct parse *p, const void *base, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Was it said in a file (and is not the default)?  Where?  NULL: no. */
const struct parse_spot *parse_spot(const struct parse *p, const void *base, const char *key);

void parse_fini(struct parse *p);

/* Free what the members of `base` hold that stand directly inside `parent` (NULL: the top). */
void parse_free_members(const struct conf_table *t, const struct conf_row *parent, void *base);

#endif
