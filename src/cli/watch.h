/* cli/watch.h - certflipctl watch: the gateway on a whole terminal. */
#ifndef CLI_WATCH_H
#define CLI_WATCH_H

#include "cli/commands.h"

/* Returns when the user has enough of it, or a signal says so; the terminal is as it was. */
enum cli_status watch_command(const struct cli *cli);

#endif
