/* cli/devices.h - all devices that a target means, however many answers it takes. */
#ifndef CLI_DEVICES_H
#define CLI_DEVICES_H

#include "cli/client.h"

/* `target` (a string, an array, or NULL for all) is borrowed.  Returns as client_call: 0 with
 * *answer { "devices": [ DEVICE, ... ], "total": n }, 1 with the daemon's error, or a negative
 * code. */
int devices_fetch(struct client *c, struct json_t *target, struct json_t **answer, struct err *err);

#endif
