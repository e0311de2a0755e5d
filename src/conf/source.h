/* conf/source.h - a configuration file with its @includes, as one text that knows where each line
 * is from.
 *
 * libconfig could include files by itself, but ends the process when one of them is a folder, looks
 * for nested ones in a single place, and loses count of lines beyond 65,535; it also cuts numbers
 * that need more than 32 bits.  So files are put together here, and large numbers get libconfig's
 * 'L'.
 */
#ifndef CONF_SOURCE_H
#define CONF_SOURCE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "conf/fault.h"

/* The names of all files that were read; they live as long as the configuration. */
struct source_names {
    char **name; /* owned, each owned */
    size_t count;
};

struct source {
    struct buf text;           /* NUL-terminated */
    struct source_mark *marks; /* owned: by rising line of the text */
    size_t mark_count;
    unsigned lines; /* so far */
    unsigned files; /* included so far */
    bool partial;   /* something that was to be included is not in it */
};

/* Read `path` and what it includes.  Faults go to `f`.  Returns false when there is no text at all.
 */
bool source_read(struct source *s, const char *path, struct source_names *names,
                 struct conf_faults *f);

/* The same from memory; an @include is a fault, no file is touched. */
bool source_take(struct source *s, const char *name, const char *text, size_t n,
                 struct source_names *names, struct conf_faults *f);

/* Where line `line` (from 1) of the text stands. */
struct conf_place source_at(const struct source *s, unsigned line);

/* That line, without blanks around it, cut at `n` bytes, and before a password.  Returns `out`. */
const char *source_line(const struct source *s, unsigned line, char *out, size_t n);

void source_fini(struct source *s);

/* Keep a copy of `name`.  Returns the one copy, or NULL when out of memory. */
const char *source_name(struct source_names *names, const char *name);
void source_names_fini(struct source_names *names);

/* `path` as seen from the file `from`: absolute stays, else beside it.  Returns owned or NULL. */
char *source_beside(const char *from, const char *path);

#endif
