/* mqtt/convert.h - a packet of one dialect as a packet of another: MQTT 3.1, 3.1.1 and 5.0, and
 * topics with and without a prefix that the client does not know.  Pure.
 *
 * CONNECT and CONNACK are not converted: whoever opens a connection writes them for it.
 *
 * A topic that begins with '$' has no prefix, and of "$share/{name}/{filter}" the filter has it.
 */
#ifndef MQTT_CONVERT_H
#define MQTT_CONVERT_H

#include "mqtt/packet.h"
#include "mqtt/props.h"

struct mqtt_convert {
    int from,
        to; /* enum mqtt_version: of the packet that is read, and of the one that is written */
    enum mqtt_dir dir;
    struct slice prefix; /* borrowed; put before the topics to a server, taken off to a client;
                            empty: none.  It has to be a valid topic name, and ends with '/'. */
    uint8_t options;     /* 3.x to 5.0: set in each SUBSCRIBE; No Local not on shared filters */
};

/* Append `pkt` as the other side understands it.  Properties that 3.x has no place for are left
 * out; reason codes become what says the same, or nothing: PUBACK and PUBREC with a code from 0x80
 * up become positive ones (3.x has no others), SUBACK's become 0x80, and in 3.1, which has no
 * refusal, a granted QoS 0.  Without a prefix, towards a client, nothing grows.
 *
 * *code gets the worst reason code from 0x80 up that an acknowledgement carried (0: none); when the
 * packet cannot be converted, the code that says why.
 *
 * Returns 0; -ERR_MALFORMED or -ERR_PROTOCOL when `pkt` breaks its own standard; -ERR_INVALID when
 * the other dialect cannot say it (AUTH, a server's DISCONNECT, a filter such as "$share/x" that
 * 5.0 refuses); -ERR_TOO_BIG when a topic or the packet would become too long; -ERR_NOMEM.  `out`
 * is appended to on success only. */
int mqtt_convert(struct buf *out, const struct mqtt_packet *pkt, const struct mqtt_convert *how,
                 uint8_t *code, struct err *err);

/* Append `topic` (a name, not a filter) as the server knows it.  Returns 0, -ERR_NOMEM, or
 * -ERR_TOO_BIG. */
int mqtt_convert_topic(struct buf *out, struct slice topic, struct slice prefix);
/* Append the properties of a PUBLISH or of a Will, its Response Topic converted.  The same. */
int mqtt_convert_props(struct buf *out, struct mqtt_props in, enum mqtt_dir dir,
                       struct slice prefix);

#endif
