/* base/log_line.h - what is said, and how it is written: as text, as JSON, as fields of the
 * journal.  Pure, any thread.
 */
#ifndef BASE_LOG_LINE_H
#define BASE_LOG_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"

#define LOG_PAIRS_MAX 4096 /* bytes of the pairs of a line */

struct log_record {
    int64_t wall_ms; /* CLOCK_REALTIME */
    enum log_subsystem sub;
    enum log_level level;
    const char *event; /* borrowed */
    const char *pairs; /* borrowed; not NUL-terminated */
    size_t n;
};

/* A line under construction.  What does not fit is left out, at the end. */
struct log_line {
    size_t n;
    char s[8192];
};

/* One of the pairs; all borrowed from them. */
struct log_pair {
    const char *key, *value; /* of a quoted value: between the quotes, escapes as they are */
    size_t key_n, value_n;
    bool quoted;
    bool flag; /* a word without '=': the value is empty */
};

/* The next pair from *p on, which moves behind it.  False at the end. */
bool log_pair_next(const char **p, const char *end, struct log_pair *out);
bool log_pair_is(const struct log_pair *pair, const char *key);
/* The value without its quoting, `true` of a flag.  Returns its bytes, at most n; no NUL. */
size_t log_pair_value(const struct log_pair *pair, char *out, size_t n);

/* "2031-05-02T00:00:00.000Z" */
const char *log_time(int64_t wall_ms, char out[40]);

/* time level subsystem event pairs, and a newline; with `priority` after "<4>", as sd-daemon(3) has
 * it. */
void log_line_text(struct log_line *l, const struct log_record *r, bool priority);
/* One object, and a newline. */
void log_line_json(struct log_line *l, const struct log_record *r, bool priority);

/* The native protocol of the journal: MESSAGE (subsystem event pairs; as JSON the same object as
 * log_line_json), PRIORITY, SYSLOG_IDENTIFIER, CERTFLIP_SUBSYSTEM, CERTFLIP_EVENT, and a field for
 * each pair: device=press-07 is CERTFLIP_DEVICE=press-07.  A value of several lines, or with other
 * control characters, goes by its length.  A field counts only when all of it fits. */
struct log_datagram {
    size_t n;
    char s[20480];
};
void log_line_journal(struct log_datagram *d, const struct log_record *r, enum log_format format);

#endif
