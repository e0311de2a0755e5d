/* cli/explain.h - what a code or a name of a failure means, and what to do about it.
 *
 * From the table that certflip itself speaks by (catalogue/catalogue.h): no daemon is asked.
 */
#ifndef CLI_EXPLAIN_H
#define CLI_EXPLAIN_H

#include <stdbool.h>

#include "base/err.h"
#include "cli/show.h"

/* Write all that `question` may mean, or the whole table when it is NULL, as text or as one line
 * of JSON.  Returns 0, -ERR_NOMEM, or -ERR_NOT_FOUND with the nearest names in err. */
int explain(const char *question, bool json, const struct show *to, struct err *err);

/* Call `offer` for each name that one can ask for and that begins with `partial`. */
void explain_names(const char *partial, void (*offer)(void *arg, const char *word), void *arg);

#endif
