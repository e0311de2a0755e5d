/* mqtt/packet.c - the framer: bounds and kind of packets, out of a stream that is cut anywhere.
 *
 * A chunk's whole packets are handed out where they lie.  Only a packet that the chunk's end cuts
 * is copied aside, and grows there no faster than its bytes come: what a peer announces costs
 * nothing.
 */
#include "mqtt/packet.h"

#include <stdlib.h>
#include <string.h>

#define PART_FIRST_BYTES 4096u /* first allocation for a partial packet, if it is not smaller */

/* The three rows where 3.1 lets DUP stand are narrowed for 3.1.1 and 5.0 by mqtt_open. */
#define FLAGS_NONE    0x0001u /* 0 */
#define FLAGS_QOS1    0x0404u /* 0x2 [MQTT-2.2.2-2], and with DUP 0xA */
#define FLAGS_PUBLISH 0x3C3Fu /* QoS 0 without DUP [MQTT-3.3.1-2], QoS 1 and 2 with and without */
#define DIR_SERVER    (1u << MQTT_TO_SERVER)
#define DIR_CLIENT    (1u << MQTT_TO_CLIENT)
#define DIR_BOTH      (DIR_SERVER | DIR_CLIENT)

struct kind {
    const char *name;
    uint16_t flags; /* bit f: the low nibble f of the first byte is allowed */
    uint8_t dirs_3; /* directions in 3.1 and 3.1.1 */
    uint8_t dirs_5;
};

/* clang-format off */
static const struct kind kinds[16] = {
    [MQTT_CONNECT]     = { "CONNECT",     FLAGS_NONE,    DIR_SERVER, DIR_SERVER },
    [MQTT_CONNACK]     = { "CONNACK",     FLAGS_NONE,    DIR_CLIENT, DIR_CLIENT },
    [MQTT_PUBLISH]     = { "PUBLISH",     FLAGS_PUBLISH, DIR_BOTH,   DIR_BOTH   },
    [MQTT_PUBACK]      = { "PUBACK",      FLAGS_NONE,    DIR_BOTH,   DIR_BOTH   },
    [MQTT_PUBREC]      = { "PUBREC",      FLAGS_NONE,    DIR_BOTH,   DIR_BOTH   },
    [MQTT_PUBREL]      = { "PUBREL",      FLAGS_QOS1,    DIR_BOTH,   DIR_BOTH   },
    [MQTT_PUBCOMP]     = { "PUBCOMP",     FLAGS_NONE,    DIR_BOTH,   DIR_BOTH   },
    [MQTT_SUBSCRIBE]   = { "SUBSCRIBE",   FLAGS_QOS1,    DIR_SERVER, DIR_SERVER },
    [MQTT_SUBACK]      = { "SUBACK",      FLAGS_NONE,    DIR_CLIENT, DIR_CLIENT },
    [MQTT_UNSUBSCRIBE] = { "UNSUBSCRIBE", FLAGS_QOS1,    DIR_SERVER, DIR_SERVER },
    [MQTT_UNSUBACK]    = { "UNSUBACK",    FLAGS_NONE,    DIR_CLIENT, DIR_CLIENT },
    [MQTT_PINGREQ]     = { "PINGREQ",     FLAGS_NONE,    DIR_SERVER, DIR_SERVER },
    [MQTT_PINGRESP]    = { "PINGRESP",    FLAGS_NONE,    DIR_CLIENT, DIR_CLIENT },
    [MQTT_DISCONNECT]  = { "DISCONNECT",  FLAGS_NONE,    DIR_SERVER, DIR_BOTH   },
    [MQTT_AUTH]        = { "AUTH",        FLAGS_NONE,    0,          DIR_BOTH   },
};
/* clang-format on */

const char *mqtt_type_name(enum mqtt_type type)
{
    const char *name = kinds[(unsigned)type & 0xF].name;

    return name != NULL ? name : "RESERVED";
}

const char *mqtt_version_name(int version)
{
    switch (version) {
    case MQTT_V31:
        return "3.1";
    case MQTT_V311:
        return "3.1.1";
    case MQTT_V5:
        return "5.0";
    default:
        return "unknown";
    }
}

bool mqtt_type_allowed(enum mqtt_type type, enum mqtt_dir dir, int version)
{
    const struct kind *k = &kinds[(unsigned)type & 0xF];

    return ((version == MQTT_V5 ? k->dirs_5 : k->dirs_3) >> dir & 1) != 0;
}

int mqtt_packet_peek(const uint8_t *p, size_t n, uint32_t max_bytes, struct mqtt_packet *out,
                     uint32_t *need)
{
    uint32_t len;
    uint32_t header = 2;
    uint32_t total;

    *need = 0;
    if (n == 0)
        return 0;
    if ((kinds[p[0] >> 4].flags >> (p[0] & 0xF) & 1) == 0) /* [MQTT-2.1.3-1], [MQTT-3.3.1-4] */
        return -ERR_MALFORMED;
    if (n == 1)
        return 0;
    len = p[1] & 0x7F;
    while ((p[header - 1] & 0x80) != 0) {
        if (header == 5) /* a fifth byte of length */
            return -ERR_MALFORMED;
        if (n == header)
            return 0;
        len |= (uint32_t)(p[header] & 0x7F) << (7 * (header - 1));
        header++;
    }
    total = header + len;
    *need = total;
    if (total > max_bytes)
        return -ERR_TOO_BIG;
    if (n < total)
        return 0;
    *out = (struct mqtt_packet){
        .type = (enum mqtt_type)(p[0] >> 4),
        .flags = p[0] & 0xF,
        .raw = p,
        .raw_bytes = total,
        .body = p + header,
        .body_bytes = len,
    };
    return 1;
}

/* Move up to `want` bytes of the chunk behind the partial packet, whose whole size is at most
 * `limit`. */
static int part_take(struct mqtt_in *in, const uint8_t **p, size_t *n, uint32_t want,
                     uint32_t limit)
{
    uint32_t take = *n < want ? (uint32_t)*n : want;
    uint32_t len = in->part_len + take;

    if (in->part == NULL || len > in->part_cap) {
        uint64_t cap = 2 * (uint64_t)in->part_cap;
        uint8_t *grown;

        if (cap < PART_FIRST_BYTES)
            cap = PART_FIRST_BYTES;
        if (cap < len)
            cap = len;
        if (cap > limit)
            cap = limit;
        grown = realloc(in->part, (size_t)cap);
        if (grown == NULL)
            return -ERR_NOMEM;
        in->part = grown;
        in->part_cap = (uint32_t)cap;
    }
    memcpy(in->part + in->part_len, *p, take);
    in->part_len = len;
    *p += take;
    *n -= take;
    return 0;
}

int mqtt_in_next(struct mqtt_in *in, const uint8_t **p, size_t *n, uint32_t max_bytes,
                 struct mqtt_packet *out)
{
    uint32_t need;
    int rc;

    if (in->part_done)
        mqtt_in_fini(in);
    if (in->part == NULL) {
        rc = mqtt_packet_peek(*p, *n, max_bytes, out, &need);
        if (rc < 0)
            return rc;
        if (rc == 1) {
            *p += out->raw_bytes;
            *n -= out->raw_bytes;
            return 1;
        }
        if (*n == 0)
            return 0;
        /* Everything that is there belongs to this packet, be its header whole or not. */
        return part_take(in, p, n, need != 0 ? need : 5, need != 0 ? need : 5);
    }
    for (;;) {
        rc = mqtt_packet_peek(in->part, in->part_len, max_bytes, out, &need);
        if (rc < 0)
            return rc;
        if (rc == 1) {
            in->part_done = true;
            return 1;
        }
        if (*n == 0)
            return 0;
        rc = need != 0 ? part_take(in, p, n, need - in->part_len, need)
                       : part_take(in, p, n, 1, 5); /* the header, byte by byte */
        if (rc != 0)
            return rc;
    }
}

void mqtt_in_fini(struct mqtt_in *in)
{
    free(in->part);
    *in = (struct mqtt_in){.part = NULL};
}

/* Where in the body the packet identifier is; false: there is none. */
static bool id_at(const struct mqtt_packet *pkt, uint32_t *at)
{
    *at = 0;
    switch (pkt->type) {
    case MQTT_PUBLISH:
        if ((pkt->flags & 0x6) == 0 || pkt->body_bytes < 2)
            return false;
        *at = 2 + (uint32_t)(pkt->body[0] << 8 | pkt->body[1]);
        break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
    case MQTT_SUBSCRIBE:
    case MQTT_SUBACK:
    case MQTT_UNSUBSCRIBE:
    case MQTT_UNSUBACK:
        break;
    case MQTT_CONNECT:
    case MQTT_CONNACK:
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
    case MQTT_DISCONNECT:
    case MQTT_AUTH:
    default:
        return false;
    }
    return pkt->body_bytes >= *at + 2;
}

uint16_t mqtt_packet_id(const struct mqtt_packet *pkt)
{
    uint32_t at;

    if (!id_at(pkt, &at))
        return 0;
    return (uint16_t)(pkt->body[at] << 8 | pkt->body[at + 1]);
}

int mqtt_packet_write_as(struct buf *b, const struct mqtt_packet *pkt, uint16_t id)
{
    size_t before = b->len;
    uint32_t at;
    int rc = buf_append(b, pkt->raw, pkt->raw_bytes);

    if (rc != 0 || !id_at(pkt, &at))
        return rc;
    uint8_t *p = b->p + before + (pkt->body - pkt->raw) + at;
    p[0] = (uint8_t)(id >> 8);
    p[1] = (uint8_t)id;
    return 0;
}
