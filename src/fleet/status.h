/* fleet/status.h - `certflip-fleet status FILE`: where a campaign stands.  Reads the ledger alone.
 */
#ifndef FLEET_STATUS_H
#define FLEET_STATUS_H

#include "fleet/command.h"
#include "fleet/overview.h"

struct json_t;

enum fleet_status status_command(const struct fleet_command *c, struct err *err);

/* As certflip-fleet(1), STATUS IN JSON, has it: for status, watch and report.  Returns owned, or
 * NULL without memory.  `c` may be NULL. */
struct json_t *status_json(const struct overview *o, const struct campaign *c);

/* The same for people. */
void status_show(const struct overview *o, const struct campaign *c, const struct show *out);

#endif
