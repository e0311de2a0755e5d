/* fuzz_convert.c - arbitrary bytes as packets that go from one dialect into another.
 *
 * The first byte chooses direction, versions and prefix; the rest is a stream of packets.  What has
 * to hold for each of them:
 *   - what breaks its own standard is refused with the reader's own verdict, and nothing else is;
 *   - what is converted is one packet that the other side's reader accepts, of the same type and
 *     identifier, and towards a client it did not grow;
 *   - a refusal says why, and leaves the output as it was;
 *   - a topic that got a prefix loses it again on the way back.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mqtt/convert.h"
#include "mqtt/publish.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(what)                                                                      \
    do {                                                                                \
        if (!(what)) {                                                                  \
            fprintf(stderr, "fuzz_convert.c:%d: does not hold: %s\n", __LINE__, #what); \
            abort();                                                                    \
        }                                                                               \
    } while (0)

/* Before what is converted: appending has to leave it. */
static const uint8_t before[] = {0xC0, 0x00};

static void there_and_back(const struct mqtt_packet *pkt, const struct mqtt_packet *there,
                           const struct mqtt_convert *how)
{
    struct mqtt_convert back = {
        .from = how->to, .to = how->from, .dir = MQTT_TO_CLIENT, .prefix = how->prefix};
    struct buf out = {0};
    struct mqtt_packet again;
    struct mqtt_publish a, b;
    uint32_t need;
    uint8_t code;

    MUST(mqtt_publish_read(pkt, how->from, how->dir, &a, &code, NULL) == 0);
    MUST(mqtt_convert(&out, there, &back, &code, NULL) == 0);
    MUST(mqtt_packet_peek(out.p, out.len, MQTT_LARGEST_PACKET, &again, &need) == 1);
    MUST(mqtt_publish_read(&again, how->from, MQTT_TO_CLIENT, &b, &code, NULL) == 0);
    MUST(slice_eq(a.topic, b.topic) && slice_eq(a.payload, b.payload));
    MUST(a.qos == b.qos && a.dup == b.dup && a.retain == b.retain && a.packet_id == b.packet_id);
    if (how->from == MQTT_V5 && how->to == MQTT_V5)
        MUST(a.props.n == b.props.n &&
             (a.props.n == 0 || memcmp(a.props.p, b.props.p, a.props.n) == 0));
    buf_fini(&out);
}

static void look_at(const struct mqtt_packet *pkt, const struct mqtt_convert *how)
{
    struct buf out = {0};
    struct mqtt_packet there;
    struct err err = {0};
    uint8_t code = 0xFF, reason = 0;
    uint32_t need;
    bool opening = pkt->type == MQTT_CONNECT || pkt->type == MQTT_CONNACK;
    int own = opening ? 0 : mqtt_check(pkt, how->dir, how->from, &reason, NULL);

    MUST(buf_append(&out, before, sizeof before) == 0);
    int rc = mqtt_convert(&out, pkt, how, &code, &err);
    MUST(memcmp(out.p, before, sizeof before) == 0);
    if (rc != 0) {
        MUST(out.len == sizeof before);
        MUST(err.code == -rc && err.msg[0] != '\0');
        if (!opening) {
            MUST(own == 0 ? rc == -ERR_INVALID || rc == -ERR_TOO_BIG : rc == own && code == reason);
            MUST(code != 0 || pkt->type == MQTT_DISCONNECT);
        }
        buf_fini(&out);
        return;
    }
    MUST(own == 0 && !opening);
    size_t n = out.len - sizeof before;
    MUST(mqtt_packet_peek(out.p + sizeof before, n, MQTT_LARGEST_PACKET, &there, &need) == 1);
    MUST(there.raw_bytes == n && there.type == pkt->type);
    MUST(mqtt_check(&there, how->dir, how->to, &reason, &err) == 0);
    MUST(mqtt_packet_id(&there) == mqtt_packet_id(pkt));
    MUST(code == 0 || code >= 0x80);
    if (how->dir == MQTT_TO_CLIENT && how->from >= how->to)
        MUST(n <= pkt->raw_bytes);
    if (pkt->type == MQTT_PUBLISH && how->dir == MQTT_TO_SERVER && how->from <= how->to)
        there_and_back(pkt, &there, how);
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int versions[] = {MQTT_V311, MQTT_V5, MQTT_V31, MQTT_V5};
    static const char *const prefixes[] = {"", "p/", "plant-7/\xc3\xa9/line/", "a/"};
    static char longest[65001];
    struct mqtt_packet pkt;
    uint32_t need;

    if (size < 2)
        return 0;
    struct mqtt_convert how = {
        .from = versions[data[0] & 3],
        .to = versions[data[0] >> 2 & 3],
        .dir = (data[0] & 16) != 0 ? MQTT_TO_CLIENT : MQTT_TO_SERVER,
        .prefix = slice_of(prefixes[data[0] >> 5 & 3]),
    };
    if ((data[0] & 128) != 0) { /* nearly all that a topic may have */
        memset(longest, 'x', sizeof longest - 2);
        longest[sizeof longest - 2] = '/';
        how.prefix = slice_of(longest);
    }
    data++;
    size--;
    while (size > 0 && mqtt_packet_peek(data, size, MQTT_LARGEST_PACKET, &pkt, &need) == 1) {
        uint8_t *own = malloc(pkt.raw_bytes); /* sanitizers see each byte too many */
        struct mqtt_packet mine = pkt;
        MUST(own != NULL);
        memcpy(own, pkt.raw, pkt.raw_bytes);
        mine.raw = own;
        mine.body = own + (pkt.raw_bytes - pkt.body_bytes);
        look_at(&mine, &how);
        free(own);
        data += pkt.raw_bytes;
        size -= pkt.raw_bytes;
    }
    return 0;
}
