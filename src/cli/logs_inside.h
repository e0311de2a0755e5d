/* cli/logs_inside.h - between logs.c, which shows lines, and the places where lines are. */
#ifndef CLI_LOGS_INSIDE_H
#define CLI_LOGS_INSIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/log_filter.h"

struct json_t; /* jansson's */

/* A line; borrowed from its place. */
struct logs_line {
    int64_t wall_ms;
    enum log_level level;
    const char *subsystem, *event, *device; /* "": none */
    const char *text;                       /* subsystem, event and pairs */
    struct json_t *fields;                  /* an object of texts */
};

/* Takes a line that passed the filter.  Returns false: no more. */
typedef bool logs_line_fn(void *arg, const struct logs_line *line);

struct logs_wanted {
    struct log_filter filter;
    int64_t limit; /* so many of the newest; < 0: all */
    bool follow;   /* and whatever comes */
};

/* -- the journal: logs_journal.c; without libsystemd there is none -- */

struct logs_journal;

/* Returns owned, or NULL: err says why it cannot be read, or that it knows nothing of certflipd. */
struct logs_journal *logs_journal_open(struct err *err);
/* Returns 0 or a negative code with err. */
int logs_journal_show(struct logs_journal *j, const struct logs_wanted *wanted, logs_line_fn *show,
                      void *arg, struct err *err);
void logs_journal_close(struct logs_journal *j); /* NULL is fine */

#endif
