/* cli/follow.h - watch devices from a flip or a rollback to its end. */
#ifndef CLI_FOLLOW_H
#define CLI_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/client.h"
#include "cli/show.h"

/* How it stands with one device. */
enum follow_state {
    FOLLOW_GOING,       /* not decided yet */
    FOLLOW_DONE,        /* as it was wanted */
    FOLLOW_ROLLED_BACK, /* a flip that came back */
    FOLLOW_FAILED,      /* neither: staged again, or no longer there */
};

struct follow {
    const struct show *show; /* borrowed */
    bool rollback;           /* what was commanded: a rollback, else a flip */
    bool live;               /* `show->to` is a terminal: lines are rewritten */
    bool quiet;              /* show nothing */
    int64_t timeout_s;       /* -1: none */
};

/* Judge a DEVICE.  Pure. */
enum follow_state follow_judge(const struct json_t *device, bool rollback);

/* Follow the devices of `target` except those that `outcome` (rows of an OUTCOME) lists as refused;
 * both borrowed. Returns 0 or a negative code: the daemon was lost.  *devices are their last
 * DEVICEs (returned owned).  *end is FOLLOW_ROLLED_BACK or FOLLOW_FAILED when a device is,
 * FOLLOW_GOING when the timeout passed, else FOLLOW_DONE. */
int follow(struct client *c, const struct follow *f, struct json_t *target,
           const struct json_t *outcome, enum follow_state *end, struct json_t **devices,
           struct err *err);

#endif
