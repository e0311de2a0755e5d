/* mqtt/wr.h - a cursor that writes one packet of known size and cannot overrun.  Internal to mqtt/.
 *
 * wr_open makes room in the buffer for the whole packet and writes the fixed header, wr_close takes
 * what was written over into the buffer; between the two the buffer is as it was.
 */
#ifndef MQTT_WR_H
#define MQTT_WR_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "mqtt/packet.h"
#include "mqtt/props.h"

#define WR_VARINT_MAX 268435455u /* [MQTT-1.5.5], and of the remaining length */

struct wr {
    uint8_t *p;
    uint8_t *end;
};

static inline unsigned wr_varint_bytes(uint32_t v)
{
    return v < 128 ? 1 : v < 16384 ? 2 : v < 2097152 ? 3 : 4;
}

/* Bytes of a string or binary data with its length. */
static inline size_t wr_bin_bytes(struct slice s)
{
    return 2 + s.n;
}

/* Bytes of a property list with its length. */
static inline size_t wr_props_bytes(struct mqtt_props props)
{
    return wr_varint_bytes(props.n) + (size_t)props.n;
}

static inline void wr_u8(struct wr *w, uint8_t v)
{
    assert(w->p < w->end);
    *w->p++ = v;
}

static inline void wr_u16(struct wr *w, uint16_t v)
{
    wr_u8(w, (uint8_t)(v >> 8));
    wr_u8(w, (uint8_t)v);
}

static inline void wr_u32(struct wr *w, uint32_t v)
{
    wr_u16(w, (uint16_t)(v >> 16));
    wr_u16(w, (uint16_t)v);
}

static inline void wr_varint(struct wr *w, uint32_t v)
{
    for (; v > 0x7F; v >>= 7)
        wr_u8(w, (uint8_t)(v | 0x80));
    wr_u8(w, (uint8_t)v);
}

static inline void wr_run(struct wr *w, const uint8_t *p, size_t n)
{
    assert(n <= (size_t)(w->end - w->p));
    if (n != 0)
        memcpy(w->p, p, n);
    w->p += n;
}

static inline void wr_bin(struct wr *w, struct slice s)
{
    assert(s.n <= UINT16_MAX);
    wr_u16(w, (uint16_t)s.n);
    wr_run(w, s.p, s.n);
}

static inline void wr_props(struct wr *w, struct mqtt_props props)
{
    wr_varint(w, props.n);
    wr_run(w, props.p, props.n);
}

/* Returns 0, -ERR_NOMEM, or -ERR_TOO_BIG when body_bytes is more than a remaining length can say.
 */
static inline int wr_open(struct wr *w, struct buf *b, enum mqtt_type type, uint8_t flags,
                          size_t body_bytes)
{
    size_t total;
    int rc;

    if (body_bytes > WR_VARINT_MAX)
        return -ERR_TOO_BIG;
    total = 1 + wr_varint_bytes((uint32_t)body_bytes) + body_bytes;
    rc = buf_reserve(b, total);
    if (rc != 0)
        return rc;
    w->p = b->p + b->len;
    w->end = w->p + total;
    wr_u8(w, (uint8_t)((unsigned)type << 4 | flags));
    wr_varint(w, (uint32_t)body_bytes);
    return 0;
}

static inline int wr_close(struct wr *w, struct buf *b)
{
    assert(w->p == w->end); /* the size was computed from the same fields */
    b->len = (size_t)(w->end - b->p);
    return 0;
}

#endif
