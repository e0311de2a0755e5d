/* tests/unit/scratch.h - folders for what a test writes.
 *
 * They lie below $TMPDIR.  `make check` gives each program one of its own, removes it, and calls it
 * a failure when something was left there by a test that passed (build-aux/scratch.sh).
 */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* Make a folder; its path is written to the `n` bytes at `path`.  Returns false when it cannot be
 * made, or the path is too long. */
static inline bool scratch_make(char *path, size_t n)
{
    const char *tmp = getenv("TMPDIR");
    int len = snprintf(path, n, "%s/test-XXXXXX", tmp == NULL || tmp[0] != '/' ? "/tmp" : tmp);

    return len > 0 && (size_t)len < n && mkdtemp(path) != NULL;
}

#endif
