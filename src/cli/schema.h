/* cli/schema.h - the JSON Schema of a method, or of a message: no daemon is asked.
 *
 * What is shared (conf/schema/common.json) goes with it, as a schema of its own in "$defs": so what
 * is printed stands alone.
 */
#ifndef CLI_SCHEMA_H
#define CLI_SCHEMA_H

#include <stdbool.h>

#include "base/err.h"
#include "cli/show.h"

/* Write the schema of that name, or which there are when it is NULL; `json`: in one line.  Returns
 * 0, -ERR_NOMEM, or -ERR_NOT_FOUND with the nearest name in err. */
int schema(const char *name, bool json, const struct show *to, struct err *err);

/* Call `offer` for each name that begins with `partial`. */
void schema_names(const char *partial, void (*offer)(void *arg, const char *word), void *arg);

#endif
