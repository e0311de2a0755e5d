/* mqtt/check.c - any packet, decoded for its faults alone. */
#include "mqtt/connect.h"
#include "mqtt/fault.h"
#include "mqtt/packet.h"
#include "mqtt/publish.h"
#include "mqtt/subscribe.h"

static int check_ping(const struct mqtt_packet *pkt, int version, uint8_t *reason, struct err *err)
{
    struct rd r;
    int rc = mqtt_open(pkt, version, &r, reason, err);

    if (rc == 0 && rd_left(&r) != 0)
        rc = mqtt_fault(reason, MQTT_R_MALFORMED, err, "%s: has a body", mqtt_type_name(pkt->type));
    return rc;
}

static int check_auth(const struct mqtt_packet *pkt, enum mqtt_dir dir, uint8_t *reason,
                      struct err *err)
{
    struct mqtt_auth auth;
    int rc = mqtt_auth_read(pkt, &auth, reason, err);

    if (rc == 0 && !mqtt_reason_allowed(auth.reason, MQTT_AUTH, dir))
        rc = mqtt_fault(reason, MQTT_R_PROTOCOL, err,
                        "AUTH: reason 0x%02x from the wrong side (3.15.2.1)", auth.reason);
    return rc;
}

int mqtt_check(const struct mqtt_packet *pkt, enum mqtt_dir dir, int version, uint8_t *reason,
               struct err *err)
{
    union {
        struct mqtt_connack connack;
        struct mqtt_publish publish;
        struct mqtt_ack ack;
        struct mqtt_subscribe subscribe;
        struct mqtt_suback suback;
        struct mqtt_disconnect disconnect;
    } u;

    if (!mqtt_type_allowed(pkt->type, dir, version))
        return mqtt_fault(reason, MQTT_R_PROTOCOL, err, "%s: not to a %s in MQTT %s",
                          mqtt_type_name(pkt->type), dir == MQTT_TO_SERVER ? "server" : "client",
                          mqtt_version_name(version));
    switch (pkt->type) {
    case MQTT_CONNECT:
        return mqtt_fault(reason, MQTT_R_PROTOCOL, err,
                          "CONNECT: a second one on its connection [MQTT-3.1.0-2]");
    case MQTT_CONNACK:
        return mqtt_connack_read(pkt, version, &u.connack, reason, err);
    case MQTT_PUBLISH:
        return mqtt_publish_read(pkt, version, dir, &u.publish, reason, err);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return mqtt_ack_read(pkt, version, &u.ack, reason, err);
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        return mqtt_subscribe_read(pkt, version, &u.subscribe, reason, err);
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        return mqtt_suback_read(pkt, version, &u.suback, reason, err);
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        return check_ping(pkt, version, reason, err);
    case MQTT_DISCONNECT:
        return mqtt_disconnect_read(pkt, version, dir, &u.disconnect, reason, err);
    case MQTT_AUTH:
        return check_auth(pkt, dir, reason, err);
    }
    return mqtt_fault(reason, MQTT_R_MALFORMED, err, "packet type 0 is reserved");
}
