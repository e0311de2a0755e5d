/* fleet/inventory.h - `inventory`: the gateways and devices that there are, what will expire first.
 */
#ifndef FLEET_INVENTORY_H
#define FLEET_INVENTORY_H

#include "fleet/command.h"

struct campaign;
struct view;

enum fleet_status inventory_command(const struct fleet_command *c, struct err *err);

/* Of what is in the view, for the tests.  Returns how many rows there were, or -ERR_NOMEM; *later:
 * how many devices were left out because they do not expire so soon. */
int64_t inventory_show(const struct fleet_command *c, const struct campaign *campaign,
                       const struct view *v, size_t *later);

#endif
