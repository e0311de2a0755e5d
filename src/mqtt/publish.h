/* mqtt/publish.h - PUBLISH and its acknowledgements, PING: readers and writers together. */
#ifndef MQTT_PUBLISH_H
#define MQTT_PUBLISH_H

#include "mqtt/packet.h"
#include "mqtt/props.h"

struct mqtt_publish {
    bool dup, retain;
    uint8_t qos;
    struct slice topic;      /* may be empty in 5.0 when an alias is there */
    uint16_t packet_id;      /* 0 for QoS 0 */
    struct mqtt_props props; /* 5.0 */
    uint16_t topic_alias;    /* 5.0; 0: none */
    struct slice payload;
};

/* The hot path: no allocation, no copy.  Topic: UTF-8, no wildcards, not empty (5.0: or an alias);
 * packet id not 0; alias not 0; properties checked.  to-server packets with a subscription
 * identifier are a protocol error. */
int mqtt_publish_read(const struct mqtt_packet *pkt, int version, enum mqtt_dir dir,
                      struct mqtt_publish *out, uint8_t *reason, struct err *err);
/* The alias to be written is the one in `props`; p->topic_alias is not looked at.
 * Returns 0, -ERR_NOMEM or -ERR_TOO_BIG, as the other writers do. */
int mqtt_publish_write(struct buf *b, int version, const struct mqtt_publish *p);

/* PUBACK, PUBREC, PUBREL, PUBCOMP; also SUBACK and UNSUBACK's packet id is found by mqtt_packet_id.
 */
struct mqtt_ack {
    uint16_t packet_id;
    uint8_t reason;          /* 5.0; 0 when absent */
    struct mqtt_props props; /* 5.0 */
};
int mqtt_ack_read(const struct mqtt_packet *pkt, int version, struct mqtt_ack *out, uint8_t *reason,
                  struct err *err);
/* Writes the short form (no reason, no properties) when reason is 0 and props are empty. */
int mqtt_ack_write(struct buf *b, int version, enum mqtt_type type, const struct mqtt_ack *a);

int mqtt_ping_write(struct buf *b, enum mqtt_type type); /* MQTT_PINGREQ or MQTT_PINGRESP */

#endif
