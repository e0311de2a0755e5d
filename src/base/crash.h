/* base/crash.h - places at which a test cuts the power, or makes an operation fail.
 *
 * Only configure --enable-crash-points compiles them in; elsewhere they are nothing.  The
 * environment arms one of them:
 *
 *     CERTFLIP_CRASH=NAME[:COUNT[+]][:ERROR]
 *
 * The COUNTth time (the first, unless it is given) that the process passes the point of that name
 * it kills itself with SIGKILL; with ERROR, one of EIO, ENOSPC and EROFS, the operation there fails
 * with it instead, with a plus from then on; with HANG in its place the thread that passes stays
 * there for ever.  A value that begins with a slash names a file that
 * holds such a line, or is missing or empty while nothing is armed: it is looked at each time, so a
 * process that runs can be armed, and the count begins when the line changes.  A name that there is
 * not ends the process with a sentence, as a test that waits for it would wait for ever.
 *
 * Any thread.
 */
#ifndef BASE_CRASH_H
#define BASE_CRASH_H

#ifdef CERTFLIP_CRASH_POINTS

#    include <stdbool.h>
#    include <stdio.h>

struct crash_site {
    const char *name;
    bool fails; /* an error may be armed here */
};

/* The process passes.  Returns the errno to fail with, or 0. */
int crash_pass(const struct crash_site *site);

/* Print the names of all points that are linked in, sorted, one a line; those that may fail with
 * "fails" behind it. */
void crash_list(FILE *to);

/* The linker gathers all sites, so the list is that of the code. */
#    define CRASH_SITE(text, may_fail)                                                      \
        static const struct crash_site crash_site_here                                      \
            __attribute__((section("crash_sites"), used, aligned(sizeof(void *)))) = {text, \
                                                                                      may_fail}

/* The power may go here. */
#    define crash_point(text)                   \
        do {                                    \
            CRASH_SITE(text, false);            \
            (void)crash_pass(&crash_site_here); \
        } while (0)

/* The errno with which what follows shall fail, or 0.  The power may go here, too. */
#    define crash_errno(text)             \
        __extension__({                   \
            CRASH_SITE(text, true);       \
            crash_pass(&crash_site_here); \
        })

#else
#    define crash_point(text) ((void)0)
#    define crash_errno(text) 0
#endif

#endif
