/* mqtt/props.h - MQTT 5 properties (OASIS MQTT 5.0, 2.2.2): one table says what each is and where
 * it may stand. */
#ifndef MQTT_PROPS_H
#define MQTT_PROPS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum mqtt_prop {
    MQTT_PROP_PAYLOAD_FORMAT = 0x01,
    MQTT_PROP_MESSAGE_EXPIRY = 0x02,
    MQTT_PROP_CONTENT_TYPE = 0x03,
    MQTT_PROP_RESPONSE_TOPIC = 0x08,
    MQTT_PROP_CORRELATION_DATA = 0x09,
    MQTT_PROP_SUBSCRIPTION_ID = 0x0B,
    MQTT_PROP_SESSION_EXPIRY = 0x11,
    MQTT_PROP_ASSIGNED_CLIENT_ID = 0x12,
    MQTT_PROP_SERVER_KEEP_ALIVE = 0x13,
    MQTT_PROP_AUTH_METHOD = 0x15,
    MQTT_PROP_AUTH_DATA = 0x16,
    MQTT_PROP_REQUEST_PROBLEM_INFO = 0x17,
    MQTT_PROP_WILL_DELAY = 0x18,
    MQTT_PROP_REQUEST_RESPONSE_INFO = 0x19,
    MQTT_PROP_RESPONSE_INFO = 0x1A,
    MQTT_PROP_SERVER_REFERENCE = 0x1C,
    MQTT_PROP_REASON_STRING = 0x1F,
    MQTT_PROP_RECEIVE_MAXIMUM = 0x21,
    MQTT_PROP_TOPIC_ALIAS_MAXIMUM = 0x22,
    MQTT_PROP_TOPIC_ALIAS = 0x23,
    MQTT_PROP_MAXIMUM_QOS = 0x24,
    MQTT_PROP_RETAIN_AVAILABLE = 0x25,
    MQTT_PROP_USER_PROPERTY = 0x26,
    MQTT_PROP_MAXIMUM_PACKET_SIZE = 0x27,
    MQTT_PROP_WILDCARD_AVAILABLE = 0x28,
    MQTT_PROP_SUBSCRIPTION_ID_AVAILABLE = 0x29,
    MQTT_PROP_SHARED_AVAILABLE = 0x2A,
};

/* Where a property list stands: bit 1 << packet type; the Will's own list is bit 0. */
#define MQTT_PROPS_WILL 0

/* One decoded property; only the members of its type are set. */
struct mqtt_prop_value {
    enum mqtt_prop id;
    uint32_t num;       /* byte, two byte, four byte and variable byte integers */
    struct slice str;   /* strings and binary data; the name of a user property */
    struct slice value; /* the value of a user property */
    struct slice raw;   /* the whole property with its identifier, as on the wire */
};

/* A validated list without its length prefix; borrows. */
struct mqtt_props {
    const uint8_t *p;
    uint32_t n;
};

/* Check a whole list (without the length prefix) for the place `where` (an enum mqtt_type, or
 * MQTT_PROPS_WILL): known identifiers, allowed here, once only (user properties and PUBLISH's
 * subscription identifiers excepted), values in range, UTF-8.  *reason: 0x81 or 0x82.  Returns 0,
 * -ERR_MALFORMED or -ERR_PROTOCOL. */
int mqtt_props_check(struct mqtt_props props, int where, uint8_t *reason, struct err *err);

/* The same, and *seen tells which properties are there, by MQTT_PROP_BIT. */
#define MQTT_PROP_BIT(id) (UINT64_C(1) << (id))
int mqtt_props_scan(struct mqtt_props props, int where, uint64_t *seen, uint8_t *reason,
                    struct err *err);

/* Walk a list that was checked: uint32_t at = 0; while (mqtt_props_next(props, &at, &v)) ... */
bool mqtt_props_next(struct mqtt_props props, uint32_t *at, struct mqtt_prop_value *out);

/* The first property `id` of a checked list.  Returns false when it is not there. */
bool mqtt_props_find(struct mqtt_props props, enum mqtt_prop id, struct mqtt_prop_value *out);

/* Append one property to a list under construction (without length prefix).  Returns 0, -ERR_NOMEM,
 * or -ERR_TOO_BIG for a string beyond 65,535 bytes.  `num` has to be in the property's range. */
int mqtt_props_put_num(struct buf *b, enum mqtt_prop id, uint32_t num);
int mqtt_props_put_str(struct buf *b, enum mqtt_prop id, struct slice s);
int mqtt_props_put_pair(struct buf *b, struct slice name, struct slice value); /* user property */

const char *mqtt_prop_name(enum mqtt_prop id); /* "session-expiry-interval"; NULL when unknown */

#endif
