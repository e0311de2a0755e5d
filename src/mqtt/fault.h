/* mqtt/fault.h - reason codes of MQTT 5 (2.4) and how a reader says that a packet is at fault.
 * Internal to mqtt/.
 */
#ifndef MQTT_FAULT_H
#define MQTT_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "mqtt/packet.h"
#include "mqtt/rd.h"

#define MQTT_R_MALFORMED           0x81
#define MQTT_R_PROTOCOL            0x82
#define MQTT_R_UNSUPPORTED_VERSION 0x84
#define MQTT_R_CLIENT_ID_INVALID   0x85
#define MQTT_R_FILTER_INVALID      0x8F
#define MQTT_R_TOPIC_INVALID       0x90

/* Set *reason to `code` and the sentence.  Returns -ERR_MALFORMED for 0x81, else -ERR_PROTOCOL. */
int mqtt_fault(uint8_t *reason, uint8_t code, struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5), cold));

/* Start to read a packet's body, having checked what of the fixed header depends on the version:
 * the shortest form of the remaining length, and DUP on SUBSCRIBE, UNSUBSCRIBE and PUBREL. */
int mqtt_open(const struct mqtt_packet *pkt, int version, struct rd *out, uint8_t *reason,
              struct err *err);

/* Has the 5.0 reason code a meaning in this packet type, sent in this direction? */
bool mqtt_reason_allowed(uint8_t code, enum mqtt_type type, enum mqtt_dir dir);

#endif
