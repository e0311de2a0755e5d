/* conf/value.h - one value of the configuration: from what the file says into its member, and back.
 */
#ifndef CONF_VALUE_H
#define CONF_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "conf/conf.h"
#include "conf/schema.h"

enum conf_value_kind {
    VALUE_INT,
    VALUE_FLOAT,
    VALUE_BOOL,
    VALUE_STRING,
    VALUE_DEFAULT, /* text of the schema: whatever it stands for */
    VALUE_OTHER,   /* a group or list, where none belongs */
};

struct conf_value {
    enum conf_value_kind kind;
    int64_t i; /* VALUE_BOOL too */
    double f;
    const char *s; /* borrowed; VALUE_STRING, VALUE_DEFAULT */
};

/* Put `v` into the member of `base` that `row` describes; `file` is where it was said, for relative
 * paths.  Returns 0, or -ERR_INVALID with "what is wrong: what is allowed" appended to `why`. */
int conf_value_set(const struct conf_row *row, void *base, const struct conf_value *v,
                   const char *file, struct buf *why);

/* The same for a row that takes several values. */
int conf_value_set_all(const struct conf_row *row, void *base, const struct conf_value *v, size_t n,
                       const char *file, struct buf *why);

/* Put the default of `row`, if it has one, there. */
int conf_value_default(const struct conf_row *row, void *base, const char *file, struct buf *why);

bool conf_row_takes_many(const struct conf_row *row);

/* As a person would write it; a secret as stars.  Appends to `out`. */
void conf_value_text(const struct conf_row *row, const void *base, struct buf *out);

/* Free what the member owns. */
void conf_value_free(const struct conf_row *row, void *base);

/* "192.0.2.0/24", "2001:db8::1" -> network.  Returns 0, or -ERR_INVALID with `why`. */
int conf_network_parse(const char *text, struct subnet *out, struct buf *why);

#endif
