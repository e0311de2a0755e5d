/* fuzz_mqtt.c - arbitrary bytes as a stream of MQTT packets.
 *
 * The first three bytes choose direction, version and size limit, and how the stream is cut.  What
 * has to hold for all the rest:
 *   - however the stream is cut, the same packets come, with the same verdicts, and the same end;
 *   - a packet that was read, when written, is read again as the same.
 * Sanitizers see each chunk and each packet in memory of exactly its size.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mqtt/connect.h"
#include "mqtt/publish.h"
#include "mqtt/subscribe.h"
#include "mqtt/topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST_FILTERS 64

#define MUST(what)                                                                   \
    do {                                                                             \
        if (!(what)) {                                                               \
            fprintf(stderr, "fuzz_mqtt.c:%d: does not hold: %s\n", __LINE__, #what); \
            abort();                                                                 \
        }                                                                            \
    } while (0)

struct way {
    enum mqtt_dir dir;
    int version;
    uint32_t max_bytes;
};

static void *must_copy(const void *p, size_t n)
{
    void *copy = malloc(n + (n == 0));

    MUST(copy != NULL);
    if (n != 0)
        memcpy(copy, p, n);
    return copy;
}

static int judge(const struct mqtt_packet *pkt, const struct way *way, uint8_t *reason)
{
    struct mqtt_connect c;
    struct err err = {.code = 0};
    int rc;

    *reason = 0;
    rc = pkt->type == MQTT_CONNECT ? mqtt_connect_read(pkt, &c, reason, &err)
                                   : mqtt_check(pkt, way->dir, way->version, reason, &err);
    MUST(rc == 0 || rc == -ERR_MALFORMED || rc == -ERR_PROTOCOL);
    MUST((rc == 0) == (*reason == 0) && err.code == -rc);
    MUST((rc == -ERR_MALFORMED) == (*reason == 0x81));
    MUST(rc == 0 || err.msg[0] != '\0');
    return rc;
}

static bool props_eq(struct mqtt_props a, struct mqtt_props b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* A checked list can be walked to its very end, and each property is found. */
static void walk_props(struct mqtt_props props)
{
    struct mqtt_prop_value v, first;
    uint32_t at = 0;

    while (at < props.n) {
        MUST(mqtt_props_next(props, &at, &v));
        MUST(mqtt_prop_name(v.id) != NULL);
        MUST(mqtt_props_find(props, v.id, &first) && first.raw.p <= v.raw.p);
    }
    MUST(!mqtt_props_next(props, &at, &v));
}

/* Frame what a writer wrote; the caller frees raw. */
static struct mqtt_packet reframe(struct buf *b)
{
    uint8_t *copy = must_copy(b->p, b->len);
    struct mqtt_packet pkt;
    uint32_t need;

    MUST(mqtt_packet_peek(copy, b->len, MQTT_LARGEST_PACKET, &pkt, &need) == 1);
    MUST(pkt.raw_bytes == b->len);
    return pkt;
}

static void connect_again(const struct mqtt_packet *pkt, struct buf *b)
{
    struct mqtt_connect c, d;
    struct mqtt_packet again;
    uint8_t reason;

    MUST(mqtt_connect_read(pkt, &c, &reason, NULL) == 0);
    walk_props(c.props);
    walk_props(c.will_props);
    MUST(mqtt_connect_write(b, &c) == 0);
    again = reframe(b);
    MUST(mqtt_connect_read(&again, &d, &reason, NULL) == 0);
    MUST(c.version == d.version && c.bridge == d.bridge && c.clean == d.clean);
    MUST(c.has_will == d.has_will && c.will_retain == d.will_retain && c.will_qos == d.will_qos);
    MUST(c.has_username == d.has_username && c.has_password == d.has_password);
    MUST(c.keepalive_s == d.keepalive_s && slice_eq(c.client_id, d.client_id));
    MUST(slice_eq(c.will_topic, d.will_topic) && slice_eq(c.will_payload, d.will_payload));
    MUST(slice_eq(c.username, d.username) && slice_eq(c.password, d.password));
    MUST(props_eq(c.props, d.props) && props_eq(c.will_props, d.will_props));
    free((void *)(uintptr_t)again.raw);
}

static void publish_again(const struct mqtt_packet *pkt, const struct way *way, struct buf *b)
{
    struct mqtt_publish m, n;
    struct mqtt_packet again;
    uint8_t reason;

    MUST(mqtt_publish_read(pkt, way->version, way->dir, &m, &reason, NULL) == 0);
    MUST(mqtt_topic_valid(m.topic) || (m.topic.n == 0 && m.topic_alias != 0));
    MUST(m.packet_id == mqtt_packet_id(pkt) && (m.packet_id != 0) == (m.qos != 0));
    walk_props(m.props);
    MUST(mqtt_publish_write(b, way->version, &m) == 0);
    again = reframe(b);
    MUST(mqtt_publish_read(&again, way->version, way->dir, &n, &reason, NULL) == 0);
    MUST(m.dup == n.dup && m.retain == n.retain && m.qos == n.qos && m.packet_id == n.packet_id);
    MUST(slice_eq(m.topic, n.topic) && slice_eq(m.payload, n.payload));
    MUST(m.topic_alias == n.topic_alias && props_eq(m.props, n.props));
    free((void *)(uintptr_t)again.raw);
}

static void subscribe_again(const struct mqtt_packet *pkt, const struct way *way, struct buf *b)
{
    struct mqtt_filter filters[MOST_FILTERS], f;
    struct mqtt_subscribe s, t;
    struct mqtt_packet again;
    uint32_t at = 0;
    uint8_t reason;

    MUST(mqtt_subscribe_read(pkt, way->version, &s, &reason, NULL) == 0);
    MUST(s.packet_id == mqtt_packet_id(pkt) && s.count != 0);
    walk_props(s.props);
    if (s.count > MOST_FILTERS)
        return;
    for (uint32_t i = 0; i < s.count; i++) {
        MUST(mqtt_subscribe_next(&s, pkt->type, &at, &filters[i]));
        MUST(mqtt_filter_valid_in(filters[i].filter, way->version));
        (void)mqtt_filter_matches(filters[i].filter, filters[0].filter);
    }
    MUST(at == s.filters_bytes && !mqtt_subscribe_next(&s, pkt->type, &at, &f));
    MUST(mqtt_subscribe_write(b, way->version, pkt->type, s.packet_id, s.props, filters, s.count) ==
         0);
    again = reframe(b);
    MUST(mqtt_subscribe_read(&again, way->version, &t, &reason, NULL) == 0);
    MUST(t.packet_id == s.packet_id && t.count == s.count && props_eq(t.props, s.props));
    MUST(t.filters_bytes == s.filters_bytes);
    MUST(memcmp(t.filters, s.filters, s.filters_bytes) == 0);
    free((void *)(uintptr_t)again.raw);
}

/* CONNACK, the acknowledgements and DISCONNECT: written twice, they are the same bytes. */
static void answer_again(const struct mqtt_packet *pkt, const struct way *way, struct buf *b)
{
    struct mqtt_connack c;
    struct mqtt_ack a;
    struct mqtt_disconnect d;
    struct mqtt_packet again = *pkt;
    uint8_t *first = NULL;
    size_t first_len = 0;
    uint8_t reason;

    for (int round = 0; round < 2; round++) {
        b->len = 0;
        if (pkt->type == MQTT_CONNACK) {
            MUST(mqtt_connack_read(&again, way->version, &c, &reason, NULL) == 0);
            walk_props(c.props);
            MUST(mqtt_connack_name(way->version, c.code) != NULL);
            MUST(mqtt_connack_write(b, way->version, &c) == 0);
        } else if (pkt->type == MQTT_DISCONNECT) {
            MUST(mqtt_disconnect_read(&again, way->version, way->dir, &d, &reason, NULL) == 0);
            walk_props(d.props);
            MUST(mqtt_disconnect_write(b, way->version, &d) == 0);
        } else {
            MUST(mqtt_ack_read(&again, way->version, &a, &reason, NULL) == 0);
            walk_props(a.props);
            MUST(a.packet_id == mqtt_packet_id(&again));
            MUST(mqtt_ack_write(b, way->version, pkt->type, &a) == 0);
        }
        if (round == 0) {
            again = reframe(b);
            first = must_copy(b->p, b->len);
            first_len = b->len;
        }
    }
    MUST(b->len == first_len && memcmp(b->p, first, first_len) == 0);
    free(first);
    free((void *)(uintptr_t)again.raw);
}

static void again(const struct mqtt_packet *pkt, const struct way *way)
{
    struct buf b = {.p = NULL};
    struct mqtt_suback s;
    uint8_t reason;

    switch (pkt->type) {
    case MQTT_CONNECT:
        connect_again(pkt, &b);
        break;
    case MQTT_PUBLISH:
        publish_again(pkt, way, &b);
        break;
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        subscribe_again(pkt, way, &b);
        break;
    case MQTT_CONNACK:
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
    case MQTT_DISCONNECT:
        answer_again(pkt, way, &b);
        break;
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        MUST(mqtt_suback_read(pkt, way->version, &s, &reason, NULL) == 0);
        MUST(s.packet_id == mqtt_packet_id(pkt));
        walk_props(s.props);
        break;
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
    case MQTT_AUTH:
    default:
        break;
    }
    buf_fini(&b);
}

/* One packet in memory of its own size: readers must not look beyond it. */
static void look_at(const struct mqtt_packet *pkt, const struct way *way, uint8_t *reason)
{
    uint8_t *raw = must_copy(pkt->raw, pkt->raw_bytes);
    struct mqtt_packet own = *pkt;

    own.raw = raw;
    own.body = raw + (pkt->raw_bytes - pkt->body_bytes);
    if (judge(&own, way, reason) == 0)
        again(&own, way);
    free(raw);
}

/* What came out of a stream: a running digest of packets and verdicts. */
struct tale {
    uint64_t digest;
    size_t bytes;
    int end;
};

static void tell(struct tale *t, const struct mqtt_packet *pkt, uint8_t reason)
{
    t->bytes += pkt->raw_bytes;
    t->digest = (t->digest ^ reason) * 0x100000001B3u;
    t->digest = (t->digest ^ (uint64_t)(pkt->raw_bytes - pkt->body_bytes)) * 0x100000001B3u;
    for (uint32_t i = 0; i < pkt->raw_bytes; i++)
        t->digest = (t->digest ^ pkt->raw[i]) * 0x100000001B3u;
}

/* The stream in chunks of 1..most bytes, `most` 0 meaning all at once. */
static struct tale listen_in(const uint8_t *data, size_t size, size_t most, uint32_t seed,
                             const struct way *way)
{
    struct tale t = {.digest = 0xCBF29CE484222325u};
    struct mqtt_in in = {.part = NULL};
    struct mqtt_packet pkt;

    for (size_t at = 0; at < size && t.end == 0;) {
        size_t n = size - at;
        uint8_t *chunk;
        const uint8_t *p;

        seed = seed * 1664525u + 1013904223u;
        if (most != 0 && n > 1 + (seed >> 8) % most)
            n = 1 + (seed >> 8) % most;
        chunk = must_copy(data + at, n);
        at += n;
        p = chunk;
        while ((t.end = mqtt_in_next(&in, &p, &n, way->max_bytes, &pkt)) == 1) {
            uint8_t reason;

            MUST(pkt.raw_bytes <= way->max_bytes);
            if (most == 0) {
                look_at(&pkt, way, &reason);
            } else {
                judge(&pkt, way, &reason);
            }
            tell(&t, &pkt, reason);
        }
        MUST(t.end != 0 || n == 0);
        free(chunk);
    }
    MUST(in.part_cap <= way->max_bytes || in.part_cap <= 5);
    mqtt_in_fini(&in);
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int versions[] = {MQTT_V311, MQTT_V5, MQTT_V31, MQTT_V5};
    struct tale whole, cut;
    struct way way;
    size_t most;

    if (size < 3)
        return 0;
    way.version = versions[data[0] & 3];
    way.dir = (data[0] & 4) != 0 ? MQTT_TO_CLIENT : MQTT_TO_SERVER;
    way.max_bytes = (data[0] & 8) != 0 ? 64 : MQTT_LARGEST_PACKET;
    most = 1 + (size_t)(data[1] & 0x3F);

    whole = listen_in(data + 3, size - 3, 0, 0, &way);
    cut = listen_in(data + 3, size - 3, most, data[2], &way);
    MUST(cut.digest == whole.digest && cut.bytes == whole.bytes && cut.end == whole.end);
    cut = listen_in(data + 3, size - 3, 1, 0, &way); /* byte by byte */
    MUST(cut.digest == whole.digest && cut.bytes == whole.bytes && cut.end == whole.end);
    return 0;
}
