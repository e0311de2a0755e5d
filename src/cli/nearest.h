/* cli/nearest.h - what somebody may have meant who mistyped a word.  Pure. */
#ifndef CLI_NEAREST_H
#define CLI_NEAREST_H

#include "base/err.h"

#define NEAREST_WORD_MAX 32 /* bytes, NUL included; what is longer is cut */

/* The candidate that is so far the nearest to what was typed. */
struct nearest {
    const char *typed;           /* borrowed */
    char word[NEAREST_WORD_MAX]; /* "": none is near */
    unsigned distance;
};

struct nearest nearest_to(const char *typed);
void nearest_try(struct nearest *near, const char *word);

/* Refuse what was typed, an unknown `what`; `list` is the command that lists those that there are.
 * Returns -ERR_INVALID. */
int nearest_fail(const struct nearest *near, const char *what, const char *list, struct err *err);

#endif
