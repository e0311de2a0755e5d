/* mqtt/subscribe.h - SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK: readers and writers together. */
#ifndef MQTT_SUBSCRIBE_H
#define MQTT_SUBSCRIBE_H

#include "mqtt/packet.h"
#include "mqtt/props.h"

/* A checked SUBSCRIBE or UNSUBSCRIBE; its filters are walked. */
struct mqtt_subscribe {
    uint16_t packet_id;
    struct mqtt_props props; /* 5.0 */
    const uint8_t *filters;  /* borrowed: the rest of the packet, checked */
    uint32_t filters_bytes;
    uint32_t count; /* at least 1 */
};

struct mqtt_filter {
    struct slice filter;
    uint8_t options; /* the byte behind it: QoS, and in 5.0 no-local, retain-as-published, retain
                        handling; 0 in UNSUBSCRIBE */
};

/* For either type.  Filters: UTF-8, not empty, wildcards in legal places, $share/{name}/{filter}
 * well formed, No Local on a shared subscription refused; options' reserved bits. */
int mqtt_subscribe_read(const struct mqtt_packet *pkt, int version, struct mqtt_subscribe *out,
                        uint8_t *reason, struct err *err);
/* uint32_t at = 0; while (mqtt_subscribe_next(&s, type, &at, &f)) ... */
bool mqtt_subscribe_next(const struct mqtt_subscribe *s, enum mqtt_type type, uint32_t *at,
                         struct mqtt_filter *out);
int mqtt_subscribe_write(struct buf *b, int version, enum mqtt_type type, uint16_t packet_id,
                         struct mqtt_props props, const struct mqtt_filter *filters, size_t count);

struct mqtt_suback {
    uint16_t packet_id;
    struct mqtt_props props;
    struct slice codes; /* one byte per filter; empty for UNSUBACK in 3.x */
};
/* For SUBACK and UNSUBACK. */
int mqtt_suback_read(const struct mqtt_packet *pkt, int version, struct mqtt_suback *out,
                     uint8_t *reason, struct err *err);
/* In 3.x an UNSUBACK has no codes: those of `s` are left out then, and so are properties.  Returns
 * 0, -ERR_NOMEM or -ERR_TOO_BIG. */
int mqtt_suback_write(struct buf *b, int version, enum mqtt_type type, const struct mqtt_suback *s);

#endif
