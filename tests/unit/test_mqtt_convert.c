/* Packets from one dialect into another, as bytes; then, by the fuzz target's rules, every good
 * packet, each of them cut short anywhere, and some ten thousand mutants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mqtt/convert.h"
#include "mqtt_samples.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define V31  MQTT_V31
#define V311 MQTT_V311
#define V5   MQTT_V5
#define UP   MQTT_TO_SERVER
#define DOWN MQTT_TO_CLIENT

struct turn {
    int from, to;
    enum mqtt_dir dir;
    const char *prefix;
    const char *in;
    const char *out; /* NULL: refused */
    uint8_t code;
    int rc;
};

/* clang-format off */
static const struct turn turns[] = {
    /* 3.x to a broker of 5.0 */
    { V311, V5,   UP,   "",   "32: <a/b> 0001 'x'",                 "32: <a/b> 0001 {} 'x'",            0, 0 },
    { V31,  V5,   UP,   "",   "3d: <a> 0007",                       "3d: <a> 0007 {}",                  0, 0 },
    { V311, V5,   UP,   "p/", "30: <a> 'x'",                        "30: <p/a> {} 'x'",                 0, 0 },
    { V311, V5,   UP,   "p/", "30: <$SYS/x> 'x'",                   "30: <$SYS/x> {} 'x'",              0, 0 },
    { V311, V5,   UP,   "p/", "30: </> 'x'",                        "30: <p//> {} 'x'",                 0, 0 },
    { V311, V5,   UP,   "",   "30 84 80 80 00 <ab>",                "30: <ab> {}",                      0, 0 },
    { V311, V5,   UP,   "",   "40: 0001",                           "40: 0001",                         0, 0 },
    { V31,  V5,   UP,   "",   "6a: 0001",                           "62: 0001",                         0, 0 },
    { V311, V5,   UP,   "",   "50: 0001",                           "50: 0001",                         0, 0 },
    { V311, V5,   UP,   "",   "70: 0001",                           "70: 0001",                         0, 0 },
    { V311, V5,   UP,   "",   "82: 0001 <a> 01 <#> 02",             "82: 0001 {} <a> 01 <#> 02",        0, 0 },
    { V31,  V5,   UP,   "",   "8a: 0001 <#> 00",                    "82: 0001 {} <#> 00",               0, 0 },
    { V311, V5,   UP,   "p/", "82: 0001 <a> 01 <#> 02 <+/b> 00",    "82: 0001 {} <p/a> 01 <p/#> 02 <p/+/b> 00", 0, 0 },
    { V311, V5,   UP,   "p/", "82: 0001 <$SYS/#> 00",               "82: 0001 {} <$SYS/#> 00",          0, 0 },
    { V311, V5,   UP,   "p/", "82: 0001 <$share/g/a/#> 00",         "82: 0001 {} <$share/g/p/a/#> 00",  0, 0 },
    { V311, V5,   UP,   "p/", "82: 0001 <$share/g/$SYS/#> 00",      "82: 0001 {} <$share/g/$SYS/#> 00", 0, 0 },
    { V311, V5,   UP,   "",   "82: 0001 <$share/odd> 00",           NULL,                               0x8F, -ERR_INVALID },
    { V311, V5,   UP,   "p/", "82: 0001 <$share/+/a> 00",           NULL,                               0x8F, -ERR_INVALID },
    { V311, V5,   UP,   "p/", "a2: 0001 <a> <$share/g/b>",          "a2: 0001 {} <p/a> <$share/g/p/b>", 0, 0 },
    { V311, V5,   UP,   "",   "c0 00",                              "c0 00",                            0, 0 },
    { V311, V5,   UP,   "",   "c0 80 00",                           "c0 00",                            0, 0 },
    { V311, V5,   UP,   "",   "e0 00",                              "e0 00",                            0, 0 },
    /* and back */
    { V5,   V311, DOWN, "",   "32: <a/b> 0001 {01 01 02 00000009 03 <t> 08 <r> 09 <c> 0b 01 26 <k> <v>} 'x'",
                                                                    "32: <a/b> 0001 'x'",               0, 0 },
    { V5,   V31,  DOWN, "p/", "3d: <p/a> 0001 {} 'x'",              "3d: <a> 0001 'x'",                 0, 0 },
    { V5,   V311, DOWN, "p/", "30: <$SYS/x> {} 'x'",                "30: <$SYS/x> 'x'",                 0, 0 },
    { V5,   V311, DOWN, "p/", "30: <p> {} 'x'",                     "30: <p> 'x'",                      0, 0 },
    { V5,   V311, DOWN, "p/", "30: <p/> {} 'x'",                    "30: <p/> 'x'",                     0, 0 },
    { V5,   V311, DOWN, "p/", "30: <q/a> {} 'x'",                   "30: <q/a> 'x'",                    0, 0 },
    { V5,   V311, DOWN, "",   "30: <> {23 0001} 'x'",               NULL,                               0x82, -ERR_INVALID },
    { V5,   V311, DOWN, "",   "40: 0001 10",                        "40: 0001",                         0, 0 },
    { V5,   V311, DOWN, "",   "40: 0001 87 {1f <no>}",              "40: 0001",                         0x87, 0 },
    { V5,   V311, DOWN, "",   "50: 0001 97",                        "50: 0001",                         0x97, 0 },
    { V5,   V31,  DOWN, "",   "62: 0001 92",                        "62: 0001",                         0x92, 0 },
    { V5,   V311, DOWN, "",   "70: 0001 00 {26 <k> <v>}",           "70: 0001",                         0, 0 },
    { V5,   V311, DOWN, "",   "90: 0001 {1f <so>} 00 01 02 87",     "90: 0001 00 01 02 80",             0x87, 0 },
    { V5,   V31,  DOWN, "",   "90: 0001 {} 02 8f 97",               "90: 0001 02 00 00",                0x8F, 0 },
    { V5,   V311, DOWN, "",   "b0: 0001 {1f <so>} 00 11 87",        "b0: 0001",                         0x87, 0 },
    { V5,   V311, DOWN, "",   "d0 00",                              "d0 00",                            0, 0 },
    { V5,   V311, DOWN, "",   "e0: 8e",                             NULL,                               0x8E, -ERR_INVALID },
    { V5,   V311, DOWN, "",   "f0: 18 {15 <m>}",                    NULL,                               0x82, -ERR_INVALID },
    { V5,   V311, DOWN, "",   "20: 00 00 {}",                       NULL,                               0x82, -ERR_INVALID },
    { V5,   V311, DOWN, "",   "40: 0001 92",                        NULL,                               0x82, -ERR_PROTOCOL },
    { V5,   V311, DOWN, "",   "40: 00",                             NULL,                               0x81, -ERR_MALFORMED },
    /* 5.0 on both sides, and a prefix: properties stay as they are, but for the response topic */
    { V5,   V5,   UP,   "p/", "32: <a> 0001 {01 01 23 0003 26 <k> <v> 08 <r> 26 <k> <v>} 'x'",
                              "32: <p/a> 0001 {01 01 23 0003 26 <k> <v> 08 <p/r> 26 <k> <v>} 'x'",       0, 0 },
    { V5,   V5,   UP,   "p/", "30: <> {23 0003} 'x'",               "30: <> {23 0003} 'x'",             0, 0 },
    { V5,   V5,   UP,   "p/", "30: <a> {08 <$SYS/r>}",              "30: <p/a> {08 <$SYS/r>}",          0, 0 },
    { V5,   V5,   DOWN, "p/", "30: <p/a> {0b 01 08 <p/r> 0b 02} 'x'", "30: <a> {0b 01 08 <r> 0b 02} 'x'", 0, 0 },
    { V5,   V5,   DOWN, "p/", "30: <p/a> {08 <elsewhere>} 'x'",     "30: <a> {08 <elsewhere>} 'x'",     0, 0 },
    { V5,   V5,   DOWN, "p/", "30: <> {23 0001} 'x'",               "30: <> {23 0001} 'x'",             0, 0 },
    { V5,   V5,   UP,   "p/", "82: 0001 {0b 07} <a/#> 2d <$share/g/a> 01",
                              "82: 0001 {0b 07} <p/a/#> 2d <$share/g/p/a> 01",                           0, 0 },
    { V5,   V5,   UP,   "p/", "a2: 0001 {26 <k> <v>} <a>",          "a2: 0001 {26 <k> <v>} <p/a>",      0, 0 },
    { V5,   V5,   DOWN, "p/", "40: 0001 87 {1f <no>}",              "40: 0001 87 {1f <no>}",            0x87, 0 },
    { V5,   V5,   DOWN, "p/", "90: 0001 {1f <so>} 00 8f",           "90: 0001 {1f <so>} 00 8f",         0x8F, 0 },
    { V5,   V5,   DOWN, "p/", "b0: 0001 {1f <so>} 00 11",           "b0: 0001 {1f <so>} 00 11",         0, 0 },
    { V5,   V5,   DOWN, "p/", "e0: 9c {1c <other>}",                "e0: 9c {1c <other>}",              0, 0 },
    { V5,   V5,   UP,   "p/", "e0: 04 {11 00000000}",               "e0: 04 {11 00000000}",             0, 0 },
    { V5,   V5,   UP,   "p/", "f0: 19 {15 <m>}",                    "f0: 19 {15 <m>}",                  0, 0 },
    /* 3.x on both sides, and a prefix */
    { V311, V311, UP,   "p/", "34: <a> 0001 'x'",                   "34: <p/a> 0001 'x'",               0, 0 },
    { V311, V311, DOWN, "p/", "34: <p/a> 0001 'x'",                 "34: <a> 0001 'x'",                 0, 0 },
    { V311, V311, UP,   "p/", "82: 0001 <#> 01",                    "82: 0001 <p/#> 01",                0, 0 },
    { V311, V311, DOWN, "p/", "b0: 0001",                           "b0: 0001",                         0, 0 },
    { V311, V311, DOWN, "p/", "90: 0001 80",                        "90: 0001 80",                      0x80, 0 },
    /* a device of 5.0 and a broker of 3.1.1: nobody asks for it yet, and it has its answer */
    { V5,   V311, UP,   "",   "82: 0001 {0b 01} <a> 2d",            "82: 0001 <a> 01",                  0, 0 },
    { V311, V5,   DOWN, "",   "b0: 0001",                           NULL,                               0x82, -ERR_INVALID },
};
/* clang-format on */

static void each_packet_in_the_others_words(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof turns / sizeof turns[0]; i++) {
        const struct turn *t = &turns[i];
        struct mqtt_packet pkt = sample_packet(t->in);
        struct mqtt_convert how = {
            .from = t->from, .to = t->to, .dir = t->dir, .prefix = slice_of(t->prefix)};
        uint8_t want[SAMPLE_MAX_BYTES], code = 0xFF;
        size_t n = t->out != NULL ? sample_bytes(t->out, want) : 0;
        struct err err = {0};
        struct buf out = {0};
        int rc = mqtt_convert(&out, &pkt, &how, &code, &err);

        if (rc != t->rc || code != t->code || out.len != n ||
            (n > 0 && memcmp(out.p, want, n) != 0))
            fail_msg("%s, from %d to %d: rc %d, code 0x%02x, %zu bytes, %s", t->in, t->from, t->to,
                     rc, code, out.len, err.msg);
        buf_fini(&out);
        sample_free(&pkt);
    }
}

static void options_are_added_for_a_5_0_broker(void **unused)
{
    struct mqtt_convert how = {.from = V311, .to = V5, .dir = UP, .options = 0x0C};
    struct mqtt_packet pkt = sample_packet("82: 0001 <a> 01 <$share/g/b> 02");
    struct mqtt_packet un = sample_packet("a2: 0001 <a>");
    uint8_t want[SAMPLE_MAX_BYTES], code;
    size_t n = sample_bytes("82: 0001 {} <a> 0d <$share/g/b> 0a", want);
    n += sample_bytes("a2: 0001 {} <a>", want + n);
    struct buf out = {0};

    (void)unused;
    assert_int_equal(mqtt_convert(&out, &pkt, &how, &code, NULL), 0);
    assert_int_equal(mqtt_convert(&out, &un, &how, &code, NULL), 0);
    assert_int_equal(out.len, n);
    assert_memory_equal(out.p, want, n);
    buf_fini(&out);
    sample_free(&pkt);
    sample_free(&un);
}

/* A topic of 65,535 bytes is the longest [MQTT-4.7.3-3]. */
static void a_topic_that_becomes_too_long_is_refused(void **unused)
{
    struct mqtt_convert how = {
        .from = V311, .to = V5, .dir = UP, .prefix = {(const uint8_t *)"p/", 2}};

    (void)unused;
    for (size_t n = UINT16_MAX - 3; n <= UINT16_MAX; n++) {
        for (int type = 0; type < 3; type++) {
            static const uint8_t first[] = {0x30, 0x82, 0xA2};
            size_t body = 2 + n + (type > 0 ? 2u : 0u) + (type == 1);
            uint8_t *raw = malloc(4 + body), *p = raw;
            struct mqtt_packet pkt;
            struct buf out = {0};
            struct err err = {0};
            uint32_t need;
            uint8_t code;

            assert_non_null(raw);
            *p++ = first[type];
            *p++ = (uint8_t)(0x80 | (body & 0x7F));
            *p++ = (uint8_t)(0x80 | (body >> 7 & 0x7F));
            *p++ = (uint8_t)(body >> 14);
            if (type > 0) {
                *p++ = 0;
                *p++ = 1;
            }
            *p++ = (uint8_t)(n >> 8);
            *p++ = (uint8_t)n;
            memset(p, 'x', n);
            if (type == 1)
                p[n] = 1;
            assert_int_equal(mqtt_packet_peek(raw, 4 + body, MQTT_LARGEST_PACKET, &pkt, &need), 1);
            int rc = mqtt_convert(&out, &pkt, &how, &code, &err);
            assert_int_equal(rc, n + 2 <= UINT16_MAX ? 0 : -ERR_TOO_BIG);
            if (rc != 0)
                assert_int_equal(code, type == 0 ? 0x90 : 0x8F);
            buf_fini(&out);
            free(raw);
        }
    }
}

static const char *sample_text(size_t i)
{
    return i < samples_count ? samples[i].text : odd_samples[i - samples_count].text;
}

static void good_packets_hold(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < samples_count + odd_samples_count; i++) {
        for (unsigned way = 0; way < 256; way++) {
            uint8_t bytes[SAMPLE_MAX_BYTES + 1] = {(uint8_t)way};
            size_t n = 1 + sample_bytes(sample_text(i), bytes + 1);

            assert_int_equal(LLVMFuzzerTestOneInput(bytes, n), 0);
        }
    }
}

/* With a remaining length that says so, else the framer would wait for the rest. */
static void packets_cut_short_hold(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < samples_count; i++) {
        struct mqtt_packet pkt = sample_packet(samples[i].text);

        for (uint32_t cut = 0; cut < pkt.body_bytes; cut++) {
            for (unsigned way = 0; way < 256; way++) {
                uint8_t bytes[SAMPLE_MAX_BYTES + 4] = {(uint8_t)way, pkt.raw[0]};
                size_t at = 2;

                if (cut > 0x7F)
                    bytes[at++] = (uint8_t)(0x80 | (cut & 0x7F));
                bytes[at++] = (uint8_t)(cut > 0x7F ? cut >> 7 : cut);
                memcpy(bytes + at, pkt.body, cut);
                assert_int_equal(LLVMFuzzerTestOneInput(bytes, at + cut), 0);
            }
        }
        sample_free(&pkt);
    }
}

static uint32_t state;

static uint32_t next_random(uint32_t below)
{
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % below;
}

static void mutants_hold(void **unused)
{
    (void)unused;
    state = 1;
    for (int round = 0; round < 30000; round++) {
        uint8_t bytes[SAMPLE_MAX_BYTES + 1] = {(uint8_t)next_random(256)};
        size_t n = 1 + sample_bytes(
                           sample_text(next_random((uint32_t)(samples_count + odd_samples_count))),
                           bytes + 1);

        for (uint32_t k = next_random(3) + 1; k != 0; k--) {
            static const uint8_t interesting[] = {0, 1, 2, '#', '+', '/', '$', 0x7F, 0x80, 0xFF};
            size_t at = 1 + next_random((uint32_t)(n - 1));
            uint8_t flipped = (uint8_t)(bytes[at] ^ 1u << next_random(8));
            bytes[at] =
                next_random(2) != 0 ? flipped : interesting[next_random(sizeof interesting)];
        }
        assert_int_equal(LLVMFuzzerTestOneInput(bytes, n), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_packet_in_the_others_words),
        cmocka_unit_test(options_are_added_for_a_5_0_broker),
        cmocka_unit_test(a_topic_that_becomes_too_long_is_refused),
        cmocka_unit_test(good_packets_hold),
        cmocka_unit_test(packets_cut_short_hold),
        cmocka_unit_test(mutants_hold),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
