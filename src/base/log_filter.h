/* base/log_filter.h - which lines somebody wants to see.  Pure, any thread. */
#ifndef BASE_LOG_FILTER_H
#define BASE_LOG_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"

struct log_filter {
    const char *device;    /* a name or a glob; NULL: any, like all of these */
    const char *event;     /* likewise */
    const char *subsystem; /* likewise */
    const char *grep;      /* this text occurs in the line, whatever the case of letters */
    enum log_level level;  /* this urgent, or more */
    int64_t since_ms;      /* wall clock */
};

#define LOG_FILTER_ALL      \
    {                       \
        .level = LOG_DEBUG_ \
    }

/* `device`: the line's, "" without; `text`: subsystem, event and pairs.  A line that has no device
 * is one of a device that its text names: who is refused in the TLS handshake has shown a
 * certificate, and is nobody yet. */
bool log_filter_takes(const struct log_filter *f, int64_t wall_ms, enum log_level level,
                      const char *subsystem, const char *event, const char *device,
                      const char *text);

#endif
