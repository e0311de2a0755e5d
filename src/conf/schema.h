/* conf/schema.h - every key of the configuration, one row each.
 *
 * The rows drive parsing, defaults, unknown-key hints, freeing and the comparison for a reload, and
 * the tests hold certflip.conf(5) and the example file against them.  Other files of this form
 * bring a table of their own (fleet/campaign.h).  Static data, any thread.
 */
#ifndef CONF_SCHEMA_H
#define CONF_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum conf_kind {
    /* containers; their keys follow in the table as "name.key" */
    CONF_GROUP, /* { ... }: `at` is where its members start */
    CONF_LIST,  /* ( {...}, ... ): an array of structs of `size` bytes, owned, and its count */
    /* owned text; bounds count bytes */
    CONF_STRING,
    CONF_SECRET,      /* never shown, wiped when freed */
    CONF_NAME,        /* str_is_name */
    CONF_GLOB,        /* for str_glob */
    CONF_TEMPLATE,    /* TEMPLATE_BITs in `most` */
    CONF_PATH,        /* made absolute: relative to the folder of the file that says it */
    CONF_FINGERPRINT, /* SHA-256 in hex, kept as 64 lower-case digits */
    CONF_TOPIC,       /* an MQTT topic without wildcards */
    /* numbers; bounds count units */
    CONF_BOOL,
    CONF_UINT,    /* uint32_t */
    CONF_INT,     /* int */
    CONF_PORT,    /* uint16_t */
    CONF_MILLIS,  /* uint32_t */
    CONF_SECONDS, /* uint32_t */
    CONF_BYTES,   /* uint32_t */
    CONF_PERCENT, /* uint32_t, thousandths of a percent: 99.9 is 99900 */
    CONF_DATE,    /* int64_t, "2027-06-30": wall clock, where that day has ended; UTC */
    CONF_ENUM,    /* int or an enum, by `words` */
    /* [ "...", ... ], or one value by itself; bounds count elements */
    CONF_STRINGS,
    CONF_PATHS,
    CONF_NETWORKS,
    CONF_BACKOFF, /* uint32_t[8] and a count, seconds; bounds are those of each */
    CONF_NUMBERS, /* the same, of plain numbers */
    CONF_WORDS,   /* unsigned, the values of `words` as bits */
};

/* What a reload reaches. */
enum conf_reload {
    RELOAD_NOW,     /* what is running follows at once */
    RELOAD_NEXT,    /* connections made from now on */
    RELOAD_RESTART, /* nothing: the daemon has to be restarted */
};

struct conf_word {
    const char *word; /* NULL ends the list */
    int value;
};

struct conf_row {
    const char *key; /* "listeners.port" */
    enum conf_kind kind;
    size_t at; /* offset in the struct of the nearest CONF_LIST around it, else in struct conf */
    size_t count_at; /* the same, of the count; only for arrays */
    int64_t least, most;
    const char
        *def; /* as it would be written, without quotes; NULL: none; conf_required: must be given */
    const char *unit;
    enum conf_reload reload;
    const struct conf_word *words; /* CONF_ENUM, CONF_WORDS */
    size_t size;                   /* CONF_LIST: of an element */
    const char *help;
};

extern const char conf_required[];
extern const struct conf_row conf_rows[];
extern const size_t conf_row_count;

/* The rows of one kind of file. */
struct conf_table {
    const struct conf_row *rows;
    size_t count;
};

/* The row of a full key ("limits.connections"), or NULL. */
const struct conf_row *conf_table_find(const struct conf_table *t, const char *key);
/* The row of `name` directly inside `parent` (NULL: the top), or NULL. */
const struct conf_row *conf_table_member(const struct conf_table *t, const struct conf_row *parent,
                                         const char *name);
/* The member of `parent` whose name is nearest to `name`, when it is near enough to be a slip; or
 * NULL. */
const struct conf_row *conf_table_nearest(const struct conf_table *t, const struct conf_row *parent,
                                          const char *name);

/* The same of conf_rows, which are those of certflip.conf. */
extern const struct conf_table conf_table;
const struct conf_row *conf_row_find(const char *key);
const struct conf_row *conf_row_member(const struct conf_row *parent, const char *name);
const struct conf_row *conf_row_nearest(const struct conf_row *parent, const char *name);

/* Is `row` directly inside `parent` (NULL: the top)? */
bool conf_row_inside(const struct conf_row *row, const struct conf_row *parent);

/* The last part of the key: "port". */
const char *conf_row_name(const struct conf_row *row);

/* What is allowed there, for messages: "a number from 1 to 65535".  Appends to `out`. */
void conf_row_allowed(const struct conf_row *row, struct buf *out);

/* All rows, tab-separated: key, kind, default, least, most, unit, what a reload reaches, help. */
void conf_schema_dump(struct buf *out);

#endif
