/* control/lint_json.h - what lint found, as the REPORT of rpc.h; for daemon and tools.  Pure. */
#ifndef CONTROL_LINT_JSON_H
#define CONTROL_LINT_JSON_H

#include "lint/lint.h"

struct json_t; /* jansson's */

/* Returns owned: an object with "worst", "trusted" (null where no `anchors` were given) and
 * "findings". */
struct json_t *lint_json(const struct lint_report *r, bool anchors);

#endif
