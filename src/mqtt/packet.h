/* mqtt/packet.h - MQTT control packets as bytes: find their bounds, know their kind.
 *
 * MQTT 3.1, 3.1.1 (OASIS 2014) and 5.0 (OASIS 2019).  No sockets, no state but a partial packet.
 * Everything decoded borrows from the packet's bytes and is valid as long as they are.
 */
#ifndef MQTT_PACKET_H
#define MQTT_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum mqtt_type {
    MQTT_CONNECT = 1,
    MQTT_CONNACK,
    MQTT_PUBLISH,
    MQTT_PUBACK,
    MQTT_PUBREC,
    MQTT_PUBREL,
    MQTT_PUBCOMP,
    MQTT_SUBSCRIBE,
    MQTT_SUBACK,
    MQTT_UNSUBSCRIBE,
    MQTT_UNSUBACK,
    MQTT_PINGREQ,
    MQTT_PINGRESP,
    MQTT_DISCONNECT,
    MQTT_AUTH, /* 5.0 only */
};

/* The protocol level byte of CONNECT. */
enum mqtt_version { MQTT_V31 = 3, MQTT_V311 = 4, MQTT_V5 = 5 };

/* Which way a packet travels; each type has the directions in which it is allowed. */
enum mqtt_dir { MQTT_TO_SERVER, MQTT_TO_CLIENT };

#define MQTT_LARGEST_PACKET 268435460u /* 5 bytes of fixed header and 268,435,455 */

struct mqtt_packet {
    enum mqtt_type type;
    uint8_t flags;      /* low nibble of the first byte */
    const uint8_t *raw; /* borrowed: the whole packet, fixed header included */
    uint32_t raw_bytes;
    const uint8_t *body; /* behind the fixed header */
    uint32_t body_bytes;
};

/* Look at the start of p[0..n).  Checks the type nibble, the reserved flags of the type (except
 * PUBLISH, where DUP/QoS/RETAIN are checked: QoS 3, DUP with QoS 0) and the length encoding.  What
 * depends on the version is left to the readers: DUP on SUBSCRIBE, UNSUBSCRIBE and PUBREL (allowed
 * in 3.1), and a length in more bytes than it needs (refused in 5.0).
 * Returns 1 and fills *out when a whole packet is there; 0 when more is needed, and then *need is
 * the packet's whole size if that is known already, else 0; -ERR_MALFORMED; -ERR_TOO_BIG when it is
 * larger than max_bytes (known as soon as its header is). */
int mqtt_packet_peek(const uint8_t *p, size_t n, uint32_t max_bytes, struct mqtt_packet *out,
                     uint32_t *need);

/* Packets out of a stream that is cut anywhere.  A whole packet inside the chunk is not copied;
 * only a partial one is kept, in memory that is there just as long. */
struct mqtt_in {
    uint8_t *part; /* owned; NULL between packets */
    uint32_t part_len;
    uint32_t part_cap;
    bool part_done; /* the packet in `part` was handed out; freed at the next call */
};

/* Take the next packet.  *p and *n move over what was consumed; call until 0 comes.  Returns 1 with
 * a packet (valid until the next call on `in`, and while the chunk is), 0 when the chunk is used
 * up, -ERR_MALFORMED, -ERR_TOO_BIG, -ERR_NOMEM; after an error the stream is of no use. */
int mqtt_in_next(struct mqtt_in *in, const uint8_t **p, size_t *n, uint32_t max_bytes,
                 struct mqtt_packet *out);
void mqtt_in_fini(struct mqtt_in *in);

const char *mqtt_type_name(enum mqtt_type type); /* "PUBLISH" */
const char *mqtt_version_name(int version);      /* "3.1.1" */

/* Is this type allowed in this direction and version (AUTH only in 5.0)? */
bool mqtt_type_allowed(enum mqtt_type type, enum mqtt_dir dir, int version);

/* The packet identifier of any type that has one, without decoding the rest; 0 when there is none.
 */
uint16_t mqtt_packet_id(const struct mqtt_packet *pkt);
/* Append the packet as it is, but for its packet identifier (where it has one).  Returns 0 or
 * -ERR_NOMEM. */
int mqtt_packet_write_as(struct buf *b, const struct mqtt_packet *pkt, uint16_t id);

/* Decode any packet other than CONNECT completely, for its errors alone: every rule of the standard
 * that can be judged from the packet itself.  *reason gets the MQTT 5 reason code that the standard
 * names for the fault (0x81 malformed, 0x82 protocol error, 0x8F topic filter invalid, 0x90 topic
 * name invalid), err the sentence. Returns 0, -ERR_MALFORMED or -ERR_PROTOCOL. */
int mqtt_check(const struct mqtt_packet *pkt, enum mqtt_dir dir, int version, uint8_t *reason,
               struct err *err);

#endif
