/* fleet/command.h - what every command of certflip-fleet is given, and how it may end.
 *
 * A command is a row in words.c, a row in main.c, and a function of this form.  It writes what it
 * has to say to `out`; when it fails, err has the one sentence that main writes to standard error.
 * An interrupt (SIGINT, SIGTERM) sets `stop`: whoever waits looks at it.
 */
#ifndef FLEET_COMMAND_H
#define FLEET_COMMAND_H

#include <signal.h>
#include <stdbool.h>

#include "base/err.h"
#include "cli/show.h"
#include "fleet/campaign.h"
#include "fleet/words.h"

/* The exit status. */
enum fleet_status {
    FLEET_STATUS_DONE = 0,
    FLEET_STATUS_REFUSED = 1, /* or halted; doctor: something is wrong */
    FLEET_STATUS_USAGE = 2,
    FLEET_STATUS_UNREACHABLE = 3, /* the broker or the ledger */
    FLEET_STATUS_STOPPED = 4      /* paused or ended by an operator */
};

struct fleet_command {
    const struct fleet_line *line;
    struct show out; /* standard output */
    struct show err; /* standard error: for more than the one sentence */
    bool live;       /* somebody sits before a terminal */
    const volatile sig_atomic_t *stop;
};

/* Read the campaign file that the command names.  Its faults go to standard error, one a line.
 * Returns owned, or NULL with err: FLEET_STATUS_USAGE. */
struct campaign *fleet_command_campaign(const struct fleet_command *c, struct err *err);

/* How a command ends with such a return code. */
enum fleet_status fleet_status_of(int rc);

typedef enum fleet_status fleet_command_fn(const struct fleet_command *c, struct err *err);

#endif
