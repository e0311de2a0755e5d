/* conf/fault.h - what is wrong with a configuration, one line each, all of them in one run. */
#ifndef CONF_FAULT_H
#define CONF_FAULT_H

#include "base/buf.h"

struct conf_faults {
    struct buf *out; /* borrowed; "file:line: key: what is wrong: what is allowed\n" */
    unsigned count;
};

struct conf_place {
    const char *file; /* borrowed; NULL: nowhere in particular */
    unsigned line;    /* 0: the file as a whole */
};

/* Note one fault.  `key` may be NULL.  Control characters become blanks, so a fault stays one line.
 */
void conf_fault(struct conf_faults *f, struct conf_place at, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#endif
