/* cli/lint.h - certflipctl lint: files here, devices by the daemon. */
#ifndef CLI_LINT_H
#define CLI_LINT_H

#include "cli/commands.h"

/* Does some word name a device? */
bool lint_needs_daemon(const struct words_line *line);

/* Carry out the command; `cli->client` may be NULL when lint_needs_daemon says so. */
enum cli_status lint_command(const struct cli *cli);

#endif
