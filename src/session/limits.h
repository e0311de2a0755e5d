/* session/limits.h - what a 5.0 broker allows, by its CONNACK (MQTT 5.0, 3.2.2.3), and what becomes
 * of a PUBLISH that exceeds it.
 *
 * A device knows what the broker of its first leg allows, and keeps to it.  A later leg's broker
 * may allow less, and a 3.x device was told nothing at all: then the session is `limited`, and each
 * PUBLISH is looked at.  Pure, but for memory.
 */
#ifndef SESSION_LIMITS_H
#define SESSION_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "mqtt/publish.h"

struct leg_limits {
    uint32_t packet_bytes; /* Maximum Packet Size */
    uint16_t receive_most; /* Receive Maximum: PUBLISHes with QoS 1 and 2 that are unacknowledged */
    uint8_t qos_most;      /* Maximum QoS */
    bool retains;          /* Retain Available */
};

/* What holds where CONNACK says nothing, and for 3.x. */
extern const struct leg_limits limits_none;

/* By the properties of a CONNACK, which were checked. */
struct leg_limits limits_of(struct mqtt_props props);
/* Does `l` allow less than `told` in any respect? */
bool limits_are_stricter(const struct leg_limits *l, const struct leg_limits *told);
/* May the PUBLISH go as it is, its size apart? */
bool limits_allow(const struct leg_limits *l, const struct mqtt_publish *p);
/* Append the PUBLISH with the QoS and RETAIN that are allowed.  Returns 0, -ERR_NOMEM or
 * -ERR_TOO_BIG. */
int limits_lower(const struct leg_limits *l, int version, const struct mqtt_publish *p,
                 struct buf *out);

#endif
