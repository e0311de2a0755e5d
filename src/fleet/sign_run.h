/* fleet/sign_run.h - one run of the command that signs: begun, looked after, ended.
 *
 * The command is somebody's script: it may write without end, hang, leave children behind, or be
 * killed.  What it writes is bounded, its time is, and its process group ends with the run. Private
 * to sign.c.  One thread; never blocks.
 */
#ifndef FLEET_SIGN_RUN_H
#define FLEET_SIGN_RUN_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct sign_run;

/* Borrowed for the call. */
struct sign_order {
    const char *command; /* for /bin/sh -c */
    const char *gateway, *device;
    const struct buf *csr; /* PEM */
    int64_t not_before_s, not_after_s;
    unsigned timeout_s;
};

/* Returns owned, or NULL with err: it may work later. */
struct sign_run *sign_run_new(const struct sign_order *order, struct err *err);
/* Kills what still runs; NULL is fine. */
void sign_run_free(struct sign_run *r);

/* Look after it.  Returns 1 while it runs; 0 when it is done, with what it wrote appended to `pem`;
 * -ERR_BUSY when it may work later; -ERR_DENIED when it refused.  `why` has the reason then. */
int sign_run_step(struct sign_run *r, struct buf *pem, struct err *why);

/* Remove the folders that processes have left which were killed in the middle of a run. */
void sign_run_sweep(void);

#endif
