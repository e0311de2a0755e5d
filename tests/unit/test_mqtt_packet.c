/* The framer: packets out of a stream that is cut anywhere, and nothing kept longer than needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mqtt/publish.h"
#include "mqtt_samples.h"

#define ALL MQTT_LARGEST_PACKET

/* The linker puts these before libc's: allocation number `fail_at`, counted from 1, fails. */
void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);

static unsigned allocations, fail_at;

void *__wrap_realloc(void *p, size_t n)
{
    return ++allocations == fail_at ? NULL : __real_realloc(p, n);
}

/* A stream that is known to be whole packets, and how far a reader of it has come. */
struct stream {
    uint8_t bytes[64 * SAMPLE_MAX_BYTES];
    size_t n;
    size_t seen; /* bytes of the packets that came out */
    struct mqtt_in in;
};

static void stream_add(struct stream *s, const char *text)
{
    s->n += sample_bytes(text, s->bytes + s->n);
}

/* Feed bytes [from, to) in memory of exactly that size; each packet that comes has to be the next
 * one. */
static void feed(struct stream *s, size_t from, size_t to)
{
    size_t n = to - from;
    uint8_t *chunk = malloc(n + (n == 0));
    const uint8_t *p = chunk;
    struct mqtt_packet pkt;
    int rc;

    assert_non_null(chunk);
    memcpy(chunk, s->bytes + from, n);
    while ((rc = mqtt_in_next(&s->in, &p, &n, ALL, &pkt)) == 1) {
        assert_true(s->seen + pkt.raw_bytes <= to);
        assert_memory_equal(pkt.raw, s->bytes + s->seen, pkt.raw_bytes);
        assert_ptr_equal(pkt.body + pkt.body_bytes, pkt.raw + pkt.raw_bytes);
        assert_int_equal(pkt.type, s->bytes[s->seen] >> 4);
        assert_int_equal(pkt.flags, s->bytes[s->seen] & 0xF);
        s->seen += pkt.raw_bytes;
    }
    assert_int_equal(rc, 0);
    assert_int_equal(n, 0);
    free(chunk);
}

static void finish(struct stream *s)
{
    assert_int_equal(s->seen, s->n);
    assert_null(s->in.part); /* nothing of a whole packet is kept */
    s->seen = 0;
}

static void stream_of_all(struct stream *s)
{
    s->n = s->seen = 0;
    memset(&s->in, 0, sizeof s->in);
    for (size_t i = 0; i < samples_count; i++)
        stream_add(s, samples[i].text);
}

static void packets_come_out_of_one_chunk(void **unused)
{
    static struct stream s;

    (void)unused;
    stream_of_all(&s);
    feed(&s, 0, s.n);
    finish(&s);
}

static void packets_come_out_of_every_two_chunks(void **unused)
{
    static struct stream s;

    (void)unused;
    stream_of_all(&s);
    for (size_t cut = 0; cut <= s.n; cut++) {
        feed(&s, 0, cut);
        feed(&s, cut, s.n);
        finish(&s);
    }
}

static void packets_come_out_of_every_three_chunks(void **unused)
{
    static struct stream s;

    (void)unused;
    stream_add(&s, "10: <MQTT> 04 02 003c <c>");
    stream_add(&s, "c0 00");
    stream_add(&s, "30 8d 80 80 00 <abcdefghijk>"); /* a length in four bytes */
    stream_add(&s, "32: <a/b> 0001 'payload'");
    stream_add(&s, "82: 0001 <#> 00 <a/b> 01");
    stream_add(&s, "40: 0001");
    stream_add(&s, "e0 00");
    for (size_t one = 0; one <= s.n; one++) {
        for (size_t two = one; two <= s.n; two++) {
            feed(&s, 0, one);
            feed(&s, one, two);
            feed(&s, two, s.n);
            finish(&s);
        }
    }
}

static void packets_come_out_byte_by_byte(void **unused)
{
    static struct stream s;

    (void)unused;
    stream_of_all(&s);
    for (size_t at = 0; at < s.n; at++)
        feed(&s, at, at + 1);
    finish(&s);
}

static void every_proper_prefix_needs_more(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < samples_count; i++) {
        struct mqtt_packet whole = sample_packet(samples[i].text);
        uint32_t header = whole.raw_bytes - whole.body_bytes;

        for (uint32_t n = 0; n < whole.raw_bytes; n++) {
            uint8_t *cut = malloc(n + (n == 0));
            struct mqtt_packet pkt;
            uint32_t need;

            assert_non_null(cut);
            memcpy(cut, whole.raw, n);
            assert_int_equal(mqtt_packet_peek(cut, n, ALL, &pkt, &need), 0);
            assert_int_equal(need, n < header ? 0 : whole.raw_bytes);
            free(cut);
        }
        sample_free(&whole);
    }
}

/* The first byte decides, before anything else is there: MQTT 5.0, 2.1.3 and 3.3.1. */
static void first_byte_is_judged_at_once(void **unused)
{
    (void)unused;
    for (unsigned b = 0; b < 256; b++) {
        uint8_t bytes[2] = {(uint8_t)b, 0};
        unsigned flags = b & 0xF;
        unsigned qos = flags >> 1 & 3;
        struct mqtt_packet pkt;
        bool good = false;
        uint32_t need;

        switch (b >> 4) {
        case 0:
            break;
        case MQTT_PUBLISH:
            good = qos != 3 && (qos != 0 || (flags & 8) == 0);
            break;
        case MQTT_PUBREL:
        case MQTT_SUBSCRIBE:
        case MQTT_UNSUBSCRIBE:
            good = flags == 2 || flags == 0xA;
            break;
        default:
            good = flags == 0;
        }
        assert_int_equal(mqtt_packet_peek(bytes, 1, ALL, &pkt, &need), good ? 0 : -ERR_MALFORMED);
        assert_int_equal(mqtt_packet_peek(bytes, 2, ALL, &pkt, &need), good ? 1 : -ERR_MALFORMED);
    }
}

static void fifth_length_byte_is_malformed(void **unused)
{
    const uint8_t five[] = {0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01};
    const uint8_t most[] = {0x30, 0xFF, 0xFF, 0xFF, 0x7F};
    struct mqtt_packet pkt;
    uint32_t need;

    (void)unused;
    assert_int_equal(mqtt_packet_peek(five, 4, ALL, &pkt, &need), 0);
    assert_int_equal(mqtt_packet_peek(five, 5, ALL, &pkt, &need), -ERR_MALFORMED);
    assert_int_equal(mqtt_packet_peek(five, 6, ALL, &pkt, &need), -ERR_MALFORMED);
    assert_int_equal(mqtt_packet_peek(most, 5, ALL, &pkt, &need), 0);
    assert_int_equal(need, MQTT_LARGEST_PACKET);
    assert_int_equal(mqtt_packet_peek(most, 5, ALL - 1, &pkt, &need), -ERR_TOO_BIG);
}

/* A PUBLISH whose remaining length is exactly `body` (at least 3), in b. */
static void publish_of(struct buf *b, uint32_t body)
{
    uint8_t *payload = calloc(1, body);
    struct mqtt_publish p = {.topic = slice_of("t"), .payload = {payload, body - 3}};

    assert_non_null(payload);
    b->len = 0;
    assert_int_equal(mqtt_publish_write(b, MQTT_V311, &p), 0);
    free(payload);
}

static void lengths_change_size_where_the_standard_says(void **unused)
{
    static const struct {
        uint32_t body;
        uint32_t header;
        uint8_t enc[4];
    } rows[] = {
        {127, 2, {0x7F}},
        {128, 3, {0x80, 0x01}},
        {16383, 3, {0xFF, 0x7F}},
        {16384, 4, {0x80, 0x80, 0x01}},
        {2097151, 4, {0xFF, 0xFF, 0x7F}},
        {2097152, 5, {0x80, 0x80, 0x80, 0x01}},
    };
    struct buf b = {.p = NULL};

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct mqtt_packet pkt;
        struct mqtt_in in = {.part = NULL};
        const uint8_t *p;
        uint32_t need;
        size_t n;

        publish_of(&b, rows[i].body);
        assert_int_equal(b.len, rows[i].header + rows[i].body);
        assert_memory_equal(b.p + 1, rows[i].enc, rows[i].header - 1);
        assert_int_equal(mqtt_packet_peek(b.p, b.len - 1, ALL, &pkt, &need), 0);
        assert_int_equal(need, b.len);
        assert_int_equal(mqtt_packet_peek(b.p, b.len, ALL, &pkt, &need), 1);
        assert_int_equal(pkt.body_bytes, rows[i].body);
        assert_ptr_equal(pkt.body, b.p + rows[i].header);

        /* The same in chunks of 1,000: whole again, in memory of just its size. */
        for (size_t at = 0; at < b.len; at += 1000) {
            p = b.p + at;
            n = b.len - at < 1000 ? b.len - at : 1000;
            while (mqtt_in_next(&in, &p, &n, ALL, &pkt) == 1) {
                assert_int_equal(at + 1000 >= b.len, 1);
                assert_int_equal(pkt.raw_bytes, b.len);
                assert_memory_equal(pkt.raw, b.p, b.len);
            }
            assert_true(in.part_cap <= b.len);
        }
        mqtt_in_fini(&in);
    }
    buf_fini(&b);
}

static void too_big_is_refused_as_soon_as_it_is_announced(void **unused)
{
    struct buf b = {.p = NULL};
    struct mqtt_in in = {.part = NULL};
    struct mqtt_packet pkt;
    const uint8_t *p;
    uint32_t need;
    size_t n;

    (void)unused;
    publish_of(&b, 300);
    assert_int_equal(mqtt_packet_peek(b.p, b.len, 303, &pkt, &need), 1);
    assert_int_equal(mqtt_packet_peek(b.p, b.len, 302, &pkt, &need), -ERR_TOO_BIG);
    assert_int_equal(mqtt_packet_peek(b.p, 3, 302, &pkt, &need), -ERR_TOO_BIG);
    assert_int_equal(mqtt_packet_peek(b.p, 2, 302, &pkt, &need), 0);

    p = b.p;
    n = 2;
    assert_int_equal(mqtt_in_next(&in, &p, &n, 302, &pkt), 0);
    n = 1;
    assert_int_equal(mqtt_in_next(&in, &p, &n, 302, &pkt), -ERR_TOO_BIG);
    mqtt_in_fini(&in);
    buf_fini(&b);
}

static void announced_size_costs_nothing_until_it_comes(void **unused)
{
    const uint8_t most[] = {0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0x00, 0x01};
    struct mqtt_in in = {.part = NULL};
    struct mqtt_packet pkt;
    const uint8_t *p = most;
    size_t n = sizeof most;

    (void)unused;
    assert_int_equal(mqtt_in_next(&in, &p, &n, ALL, &pkt), 0);
    assert_int_equal(in.part_len, sizeof most);
    assert_true(in.part_cap <= 4096);
    mqtt_in_fini(&in);
    assert_null(in.part);
    mqtt_in_fini(&in); /* twice is fine */
}

static void partial_packet_is_freed_after_use(void **unused)
{
    const uint8_t two[] = {0x30, 0x03, 0x00, 0x01, 't', 0xC0, 0x00};
    struct mqtt_in in = {.part = NULL};
    struct mqtt_packet pkt;
    const uint8_t *p = two;
    size_t n = 4;

    (void)unused;
    assert_int_equal(mqtt_in_next(&in, &p, &n, ALL, &pkt), 0);
    assert_int_equal(in.part_cap, 5);
    n = 3;
    assert_int_equal(mqtt_in_next(&in, &p, &n, ALL, &pkt), 1);
    assert_int_equal(pkt.type, MQTT_PUBLISH);
    assert_ptr_equal(pkt.raw, in.part);
    assert_int_equal(n, 2);
    assert_int_equal(mqtt_in_next(&in, &p, &n, ALL, &pkt), 1);
    assert_int_equal(pkt.type, MQTT_PINGREQ);
    assert_ptr_equal(pkt.raw, two + 5); /* a whole packet is not copied */
    assert_null(in.part);
    assert_int_equal(mqtt_in_next(&in, &p, &n, ALL, &pkt), 0);
}

static void malformed_header_is_seen_in_any_chunk(void **unused)
{
    const uint8_t bad[] = {0x30, 0x80, 0x80, 0x80, 0x80};
    struct mqtt_packet pkt;

    (void)unused;
    for (size_t cut = 0; cut < sizeof bad; cut++) {
        struct mqtt_in in = {.part = NULL};
        const uint8_t *p = bad;
        size_t n = cut;

        assert_int_equal(mqtt_in_next(&in, &p, &n, ALL, &pkt), 0);
        n = sizeof bad - cut;
        assert_int_equal(mqtt_in_next(&in, &p, &n, ALL, &pkt), -ERR_MALFORMED);
        mqtt_in_fini(&in);
    }
}

/* Each allocation fails once: an error each time, and nothing leaks. */
static void out_of_memory_is_said(void **unused)
{
    struct buf b = {.p = NULL};
    unsigned failures = 0;
    bool done = false;

    (void)unused;
    publish_of(&b, 100000);
    for (unsigned nth = 1; !done; nth++) {
        struct mqtt_in in = {.part = NULL};
        struct mqtt_packet pkt;
        int rc = 0;

        allocations = 0;
        fail_at = nth;
        for (size_t at = 0; at < b.len && rc == 0; at += 1000) {
            const uint8_t *p = b.p + at;
            size_t n = b.len - at < 1000 ? b.len - at : 1000;

            rc = mqtt_in_next(&in, &p, &n, ALL, &pkt);
        }
        fail_at = 0;
        done = rc == 1;
        failures += rc == -ERR_NOMEM;
        assert_true(done || rc == -ERR_NOMEM);
        mqtt_in_fini(&in);
    }
    assert_int_equal(failures, 6); /* 4, 8, 16, 32, 64 KiB, and the packet's size */
    buf_fini(&b);
}

static void writers_out_of_memory_leave_the_buffer(void **unused)
{
    const struct mqtt_publish p = {.topic = slice_of("t")};
    struct buf b = {.p = NULL};

    (void)unused;
    allocations = 0;
    fail_at = 1;
    assert_int_equal(mqtt_publish_write(&b, MQTT_V311, &p), -ERR_NOMEM);
    fail_at = 0;
    assert_null(b.p);
    assert_int_equal(b.len, 0);
    assert_int_equal(mqtt_publish_write(&b, MQTT_V311, &p), 0);
    buf_fini(&b);
}

static void types_travel_where_the_standard_says(void **unused)
{
    static const struct {
        enum mqtt_type type;
        bool server_3, client_3, server_5, client_5;
    } rows[] = {
        {MQTT_CONNECT, true, false, true, false},  {MQTT_CONNACK, false, true, false, true},
        {MQTT_PUBLISH, true, true, true, true},    {MQTT_PUBACK, true, true, true, true},
        {MQTT_PUBREC, true, true, true, true},     {MQTT_PUBREL, true, true, true, true},
        {MQTT_PUBCOMP, true, true, true, true},    {MQTT_SUBSCRIBE, true, false, true, false},
        {MQTT_SUBACK, false, true, false, true},   {MQTT_UNSUBSCRIBE, true, false, true, false},
        {MQTT_UNSUBACK, false, true, false, true}, {MQTT_PINGREQ, true, false, true, false},
        {MQTT_PINGRESP, false, true, false, true}, {MQTT_DISCONNECT, true, false, true, true},
        {MQTT_AUTH, false, false, true, true},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        enum mqtt_type t = rows[i].type;

        assert_int_equal(mqtt_type_allowed(t, MQTT_TO_SERVER, MQTT_V31), rows[i].server_3);
        assert_int_equal(mqtt_type_allowed(t, MQTT_TO_CLIENT, MQTT_V31), rows[i].client_3);
        assert_int_equal(mqtt_type_allowed(t, MQTT_TO_SERVER, MQTT_V311), rows[i].server_3);
        assert_int_equal(mqtt_type_allowed(t, MQTT_TO_CLIENT, MQTT_V311), rows[i].client_3);
        assert_int_equal(mqtt_type_allowed(t, MQTT_TO_SERVER, MQTT_V5), rows[i].server_5);
        assert_int_equal(mqtt_type_allowed(t, MQTT_TO_CLIENT, MQTT_V5), rows[i].client_5);
    }
    assert_false(mqtt_type_allowed((enum mqtt_type)0, MQTT_TO_SERVER, MQTT_V5));
    assert_string_equal(mqtt_type_name(MQTT_PUBLISH), "PUBLISH");
    assert_string_equal(mqtt_type_name(MQTT_AUTH), "AUTH");
    assert_string_equal(mqtt_version_name(MQTT_V31), "3.1");
    assert_string_equal(mqtt_version_name(MQTT_V311), "3.1.1");
    assert_string_equal(mqtt_version_name(MQTT_V5), "5.0");
    assert_string_equal(mqtt_version_name(6), "unknown");
}

/* The same bytes but for the identifier, behind what the buffer holds already. */
static void is_written_under_another_id(const struct mqtt_packet *pkt)
{
    struct mqtt_packet is;
    struct buf b = {0};
    uint32_t need;

    assert_int_equal(buf_append_u8(&b, 0xAA), 0);
    assert_int_equal(mqtt_packet_write_as(&b, pkt, 0xBEEF), 0);
    assert_int_equal(b.len, 1 + pkt->raw_bytes);
    assert_int_equal(mqtt_packet_peek(b.p + 1, b.len - 1, MQTT_LARGEST_PACKET, &is, &need), 1);
    if (mqtt_packet_id(pkt) != 0) {
        assert_int_equal(mqtt_packet_id(&is), 0xBEEF);
        buf_drop(&b, 1);
        struct buf back = {0};
        assert_int_equal(mqtt_packet_peek(b.p, b.len, MQTT_LARGEST_PACKET, &is, &need), 1);
        assert_int_equal(mqtt_packet_write_as(&back, &is, mqtt_packet_id(pkt)), 0);
        assert_memory_equal(back.p, pkt->raw, pkt->raw_bytes);
        buf_fini(&back);
    } else {
        assert_memory_equal(b.p + 1, pkt->raw, pkt->raw_bytes);
    }
    buf_fini(&b);
}

static void packet_ids_are_found_without_decoding(void **unused)
{
    static const struct {
        const char *text;
        uint16_t id;
    } rows[] = {
        {"30: <t> 1234", 0},
        {"32: <topic> 1234 'x'", 0x1234},
        {"34: <> 0001", 1},
        {"32: <t> 12", 0},
        {"32: 00", 0},
        {"32: 00ff 1234", 0},
        {"40: 0102", 0x0102},
        {"50: ffff", 0xFFFF},
        {"62: 0003", 3},
        {"70: 0004", 4},
        {"82: 0005 <a> 00", 5},
        {"90: 0006 00", 6},
        {"a2: 0007 <a>", 7},
        {"b0: 0008", 8},
        {"40: 01", 0},
        {"c0 00", 0},
        {"d0 00", 0},
        {"e0: 0102", 0},
        {"10: <MQTT> 04 02 0000 <>", 0},
        {"20: 0102", 0},
        {"f0: 0102", 0},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct mqtt_packet pkt = sample_packet(rows[i].text);

        assert_int_equal(mqtt_packet_id(&pkt), rows[i].id);
        is_written_under_another_id(&pkt);
        sample_free(&pkt);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packets_come_out_of_one_chunk),
        cmocka_unit_test(packets_come_out_of_every_two_chunks),
        cmocka_unit_test(packets_come_out_of_every_three_chunks),
        cmocka_unit_test(packets_come_out_byte_by_byte),
        cmocka_unit_test(every_proper_prefix_needs_more),
        cmocka_unit_test(first_byte_is_judged_at_once),
        cmocka_unit_test(fifth_length_byte_is_malformed),
        cmocka_unit_test(lengths_change_size_where_the_standard_says),
        cmocka_unit_test(too_big_is_refused_as_soon_as_it_is_announced),
        cmocka_unit_test(announced_size_costs_nothing_until_it_comes),
        cmocka_unit_test(partial_packet_is_freed_after_use),
        cmocka_unit_test(malformed_header_is_seen_in_any_chunk),
        cmocka_unit_test(out_of_memory_is_said),
        cmocka_unit_test(writers_out_of_memory_leave_the_buffer),
        cmocka_unit_test(types_travel_where_the_standard_says),
        cmocka_unit_test(packet_ids_are_found_without_decoding),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
