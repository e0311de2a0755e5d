/* cli/terminal.h - what the terminal behind a stream can show. */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include <stdio.h>

#include "cli/show.h"

/* How `to` is to be written from now on: in colours and within its width where it is a terminal;
 * without colours when NO_COLOR or TERM=dumb asks for that. */
struct show terminal_show(FILE *to);

#endif
