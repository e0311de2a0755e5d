#include "cli/terminal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"

static bool wants_colour(int fd)
{
    const char *no = secure_getenv("NO_COLOR"), *term = secure_getenv("TERM");

    return isatty(fd) == 1 && (no == NULL || no[0] == '\0') &&
           (term == NULL || strcmp(term, "dumb") != 0);
}

/* Of the terminal; 0: it is none, or does not know. */
static size_t columns(int fd)
{
    struct winsize size;

    return isatty(fd) == 1 && ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

struct show terminal_show(FILE *to)
{
    int fd = fileno(to);

    return (struct show){to, wants_colour(fd), clock_wall_s(), columns(fd)};
}
