/* fleet/report.h - `certflip-fleet report FILE [--html OUT] [--json OUT]`: what became of a
 * campaign, to be filed or handed on.  Reads the ledger alone.
 */
#ifndef FLEET_REPORT_H
#define FLEET_REPORT_H

#include <stdio.h>

#include "fleet/command.h"
#include "fleet/overview.h"

struct report;

/* Read all of it, as of one moment each for devices and diary.  `file`: of the campaign, as it is
 * to be named in commands.  Returns owned, or NULL with err. */
struct report *report_new(struct ledger *l, const struct campaign *c, const char *file,
                          int64_t now_s, struct err *err);
void report_free(struct report *r); /* NULL is fine */

/* A page that needs nothing else: no script, no image, no address.  All texts are escaped. */
int report_html(const struct report *r, FILE *to, struct err *err);
/* certflip-fleet(1), REPORT IN JSON.  Returns owned, or NULL without memory. */
struct json_t *report_json(const struct report *r);

enum fleet_status report_command(const struct fleet_command *c, struct err *err);

#endif
