/* cli/commands.h - carry out one command line: ask the daemon, show what it says. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include <stdbool.h>

#include "cli/client.h"
#include "cli/show.h"
#include "cli/words.h"

/* The exit status of certflipctl, as certflipctl(1) has it. */
enum cli_status {
    CLI_DONE = 0,
    CLI_REFUSED = 1,       /* something was refused, or failed */
    CLI_USAGE = 2,         /* the words make no sense */
    CLI_UNREACHABLE = 3,   /* no daemon, no permission, or the connection was lost */
    CLI_ROLLED_BACK = 4,   /* --wait: at least one device came back */
    CLI_LINT_WARNINGS = 5, /* lint: the gravest finding is a warning */
    CLI_LINT_ERRORS = 6,   /* or an error */
};

struct cli {
    const struct words_line *line; /* borrowed, like all of it */
    struct client *client;
    struct show out, err; /* standard output and standard error */
    bool live;            /* standard output is a terminal */
};

/* Any command but help.  Messages have been written when it returns. */
enum cli_status commands_run(const struct cli *cli);

#endif
