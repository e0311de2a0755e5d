/* mqtt/rd.h - a cursor over a packet's body that cannot overrun.  Internal to mqtt/.
 *
 * Every rd_ function either takes what it names and moves on, or returns false and leaves the
 * cursor somewhere inside; so a reader chains them with || and has one exit for "cut short".
 */
#ifndef MQTT_RD_H
#define MQTT_RD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "mqtt/packet.h"
#include "mqtt/props.h"

struct rd {
    const uint8_t *p;
    const uint8_t *end;
};

static inline struct rd rd_of(const uint8_t *p, size_t n)
{
    return (struct rd){.p = p, .end = p + n};
}

static inline size_t rd_left(const struct rd *r)
{
    return (size_t)(r->end - r->p);
}

static inline bool rd_u8(struct rd *r, uint8_t *out)
{
    if (rd_left(r) < 1)
        return false;
    *out = *r->p++;
    return true;
}

static inline bool rd_u16(struct rd *r, uint16_t *out)
{
    if (rd_left(r) < 2)
        return false;
    *out = (uint16_t)(r->p[0] << 8 | r->p[1]);
    r->p += 2;
    return true;
}

static inline bool rd_u32(struct rd *r, uint32_t *out)
{
    if (rd_left(r) < 4)
        return false;
    *out = (uint32_t)r->p[0] << 24 | (uint32_t)r->p[1] << 16 | (uint32_t)r->p[2] << 8 | r->p[3];
    r->p += 4;
    return true;
}

/* A variable byte integer: at most four bytes, and no more of them than needed [MQTT-1.5.5-1]. */
static inline bool rd_varint(struct rd *r, uint32_t *out)
{
    uint32_t v = 0;

    for (unsigned shift = 0; shift < 28; shift += 7) {
        uint8_t byte;

        if (!rd_u8(r, &byte))
            return false;
        v |= (uint32_t)(byte & 0x7F) << shift;
        if ((byte & 0x80) == 0) {
            *out = v;
            return byte != 0 || shift == 0;
        }
    }
    return false;
}

static inline bool rd_run(struct rd *r, size_t n, struct slice *out)
{
    if (rd_left(r) < n)
        return false;
    *out = (struct slice){.p = r->p, .n = n};
    r->p += n;
    return true;
}

/* Binary data: two bytes of length, then as many. */
static inline bool rd_bin(struct rd *r, struct slice *out)
{
    uint16_t n;

    return rd_u16(r, &n) && rd_run(r, n, out);
}

/* A string: the same, and well-formed UTF-8 without U+0000 [MQTT-1.5.4-1, -2]. */
static inline bool rd_str(struct rd *r, struct slice *out)
{
    return rd_bin(r, out) && str_is_utf8(out->p, out->n);
}

/* A property list with its length prefix; its content is not looked at. */
static inline bool rd_props(struct rd *r, struct mqtt_props *out)
{
    uint32_t n;
    struct slice s;

    if (!rd_varint(r, &n) || !rd_run(r, n, &s))
        return false;
    *out = (struct mqtt_props){.p = s.p, .n = n};
    return true;
}

static inline struct slice rd_rest(struct rd *r)
{
    struct slice s = {.p = r->p, .n = rd_left(r)};

    r->p = r->end;
    return s;
}

/* Is the remaining length written with more bytes than it needs?  A fault in 5.0 only. */
static inline bool rd_length_is_overlong(const struct mqtt_packet *pkt)
{
    return pkt->raw_bytes - pkt->body_bytes > 2 && pkt->body[-1] == 0;
}

#endif
