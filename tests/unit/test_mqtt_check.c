/* All packets through all readers: what is good is taken, what is not is refused for the right
 * reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mqtt/connect.h"
#include "mqtt/publish.h"
#include "mqtt/subscribe.h"
#include "mqtt_samples.h"

static const int versions[] = {MQTT_V31, MQTT_V311, MQTT_V5};

#define VERSIONS (sizeof versions / sizeof versions[0])

/* A packet of any type through its reader. */
static int judge(const struct mqtt_packet *pkt, enum mqtt_dir dir, int version, uint8_t *reason,
                 struct err *err)
{
    struct mqtt_connect c;

    return pkt->type == MQTT_CONNECT ? mqtt_connect_read(pkt, &c, reason, err)
                                     : mqtt_check(pkt, dir, version, reason, err);
}

static void takes(const struct sample *s)
{
    for (size_t v = 0; v < VERSIONS; v++) {
        struct mqtt_packet pkt;
        struct err err = {.code = 0};
        uint8_t reason = 0;

        if ((s->versions >> versions[v] & 1) == 0)
            continue;
        pkt = sample_packet(s->text);
        if (judge(&pkt, s->dir, versions[v], &reason, &err) != 0)
            fail_msg("%s in %s: %s", s->text, mqtt_version_name(versions[v]), err.msg);
        sample_free(&pkt);
    }
}

static void good_packets_are_taken(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < samples_count; i++)
        takes(&samples[i]);
    for (size_t i = 0; i < odd_samples_count; i++)
        takes(&odd_samples[i]);
}

/* Read by the reader of its type and written again. */
static int rewrite(const struct mqtt_packet *pkt, enum mqtt_dir dir, int version, struct buf *b)
{
    uint8_t reason;
    union {
        struct mqtt_connect connect;
        struct mqtt_connack connack;
        struct mqtt_publish publish;
        struct mqtt_ack ack;
        struct mqtt_subscribe subscribe;
        struct mqtt_disconnect disconnect;
    } u;
    struct mqtt_filter filters[8];
    uint32_t at = 0;
    size_t n = 0;

    switch (pkt->type) {
    case MQTT_CONNECT:
        assert_int_equal(mqtt_connect_read(pkt, &u.connect, &reason, NULL), 0);
        return mqtt_connect_write(b, &u.connect);
    case MQTT_CONNACK:
        assert_int_equal(mqtt_connack_read(pkt, version, &u.connack, &reason, NULL), 0);
        return mqtt_connack_write(b, version, &u.connack);
    case MQTT_PUBLISH:
        assert_int_equal(mqtt_publish_read(pkt, version, dir, &u.publish, &reason, NULL), 0);
        return mqtt_publish_write(b, version, &u.publish);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        assert_int_equal(mqtt_ack_read(pkt, version, &u.ack, &reason, NULL), 0);
        return mqtt_ack_write(b, version, pkt->type, &u.ack);
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        assert_int_equal(mqtt_subscribe_read(pkt, version, &u.subscribe, &reason, NULL), 0);
        while (n < 8 && mqtt_subscribe_next(&u.subscribe, pkt->type, &at, &filters[n]))
            n++;
        assert_int_equal(n, u.subscribe.count);
        return mqtt_subscribe_write(b, version, pkt->type, u.subscribe.packet_id, u.subscribe.props,
                                    filters, n);
    case MQTT_DISCONNECT:
        assert_int_equal(mqtt_disconnect_read(pkt, version, dir, &u.disconnect, &reason, NULL), 0);
        return mqtt_disconnect_write(b, version, &u.disconnect);
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        return mqtt_ping_write(b, pkt->type);
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
    case MQTT_AUTH:
    default:
        return 1; /* nobody writes these: they pass as they are */
    }
}

static void what_is_read_is_written_again_the_same(void **unused)
{
    struct buf b = {.p = NULL};
    unsigned written = 0;

    (void)unused;
    for (size_t i = 0; i < samples_count; i++) {
        for (size_t v = 0; v < VERSIONS; v++) {
            struct mqtt_packet pkt;
            int rc;

            if ((samples[i].versions >> versions[v] & 1) == 0)
                continue;
            pkt = sample_packet(samples[i].text);
            b.len = 0;
            assert_int_equal(buf_append(&b, "x", 1), 0); /* appended to what is there */
            rc = rewrite(&pkt, samples[i].dir, versions[v], &b);
            if (rc == 0) {
                written |= 1u << pkt.type;
                if (b.len != pkt.raw_bytes + 1 || memcmp(b.p + 1, pkt.raw, pkt.raw_bytes) != 0)
                    fail_msg("%s in %s came out otherwise", samples[i].text,
                             mqtt_version_name(versions[v]));
            } else {
                assert_int_equal(rc, 1);
            }
            sample_free(&pkt);
        }
    }
    assert_int_equal(written,
                     0xFFFE & ~(1u << MQTT_SUBACK | 1u << MQTT_UNSUBACK | 1u << MQTT_AUTH));
    buf_fini(&b);
}

/* Where may this good packet end early and be a good packet still?  Bit k: after k bytes of body.
 */
static void legal_ends(const struct mqtt_packet *pkt, enum mqtt_dir dir, int version, bool *legal)
{
    uint8_t reason;
    struct mqtt_connect c;
    struct mqtt_publish m;
    struct mqtt_subscribe s;
    struct mqtt_suback a;
    struct mqtt_filter f;
    uint32_t at = 0;

    memset(legal, 0, SAMPLE_MAX_BYTES * sizeof *legal);
    switch (pkt->type) {
    case MQTT_CONNECT: /* 3.1: before a user name or password that was announced */
        assert_int_equal(mqtt_connect_read(pkt, &c, &reason, NULL), 0);
        if (c.version == MQTT_V31 && c.has_username)
            legal[c.username.p - 2 - pkt->body] = true;
        if (c.version == MQTT_V31 && c.has_password)
            legal[c.password.p - 2 - pkt->body] = true;
        break;
    case MQTT_PUBLISH: /* anywhere in its payload */
        assert_int_equal(mqtt_publish_read(pkt, version, dir, &m, &reason, NULL), 0);
        for (size_t k = pkt->body_bytes - m.payload.n; k < pkt->body_bytes; k++)
            legal[k] = true;
        break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        legal[2] = legal[3] = version == MQTT_V5;
        break;
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE: /* behind any filter */
        assert_int_equal(mqtt_subscribe_read(pkt, version, &s, &reason, NULL), 0);
        while (mqtt_subscribe_next(&s, pkt->type, &at, &f))
            legal[(size_t)(s.filters - pkt->body) + at] = true;
        break;
    case MQTT_SUBACK:
    case MQTT_UNSUBACK: /* behind any code */
        assert_int_equal(mqtt_suback_read(pkt, version, &a, &reason, NULL), 0);
        for (size_t k = 1; k < a.codes.n; k++)
            legal[pkt->body_bytes - k] = true;
        break;
    case MQTT_DISCONNECT:
        legal[0] = legal[1] = version == MQTT_V5;
        break;
    case MQTT_AUTH:
        legal[0] = dir == MQTT_TO_CLIENT; /* nothing: success, which servers say */
        break;
    case MQTT_CONNACK:
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
    default:
        break;
    }
}

static void every_proper_prefix_is_malformed(const struct sample *s, int version)
{
    struct mqtt_packet pkt = sample_packet(s->text);
    bool legal[SAMPLE_MAX_BYTES];

    legal_ends(&pkt, s->dir, version, legal);
    for (uint32_t k = 0; k < pkt.body_bytes; k++) {
        uint8_t *raw = malloc(5 + k);
        struct mqtt_packet cut = pkt;
        uint8_t reason = 0;
        int rc;

        assert_non_null(raw);
        memcpy(raw, pkt.raw, 1);
        raw[1] = (uint8_t)(k & 0x7F);
        cut.raw_bytes = 2 + k;
        if (k > 127) {
            raw[1] |= 0x80;
            raw[2] = (uint8_t)(k >> 7);
            cut.raw_bytes++;
        }
        raw = realloc(raw, cut.raw_bytes);
        cut.raw = raw;
        cut.body = raw + cut.raw_bytes - k;
        cut.body_bytes = k;
        memcpy(raw + cut.raw_bytes - k, pkt.body, k);
        rc = judge(&cut, s->dir, version, &reason, NULL);
        if (legal[k] ? rc != 0 : rc == 0)
            fail_msg("%s in %s, cut after %u bytes of body: %d", s->text,
                     mqtt_version_name(version), k, rc);
        /* Beyond the encoding: a list that lost all members, a reason that became another. */
        if (rc == -ERR_PROTOCOL)
            assert_true(pkt.type == MQTT_SUBSCRIBE || pkt.type == MQTT_UNSUBSCRIBE ||
                        (pkt.type == MQTT_AUTH && k == 0));
        free(raw);
    }
    sample_free(&pkt);
}

static void every_proper_prefix_of_a_body_is_malformed(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < samples_count; i++) {
        for (size_t v = 0; v < VERSIONS; v++) {
            if ((samples[i].versions >> versions[v] & 1) != 0)
                every_proper_prefix_is_malformed(&samples[i], versions[v]);
        }
    }
}

struct fault {
    unsigned versions;
    enum mqtt_dir dir;
    uint8_t reason;
    const char *text;
};

#define UP   MQTT_TO_SERVER
#define DOWN MQTT_TO_CLIENT

/* clang-format off */
static const struct fault faults[] = {
    /* 1.5.4, 4.7: strings and topics */
    { IN_ALL & ~IN_5, UP, 0x81, "30: <a\xff>" },                        /* not UTF-8 [MQTT-1.5.4-1] */
    { IN_3X,  UP,   0x81, "30: <abcdefgh\xc3>" },                       /* cut short in the last character */
    { IN_3X,  UP,   0x81, "30: 0003 61 00 62" },                        /* U+0000 [MQTT-1.5.4-2] */
    { IN_3X,  UP,   0x81, "30: 0009 61 62 63 64 65 66 67 00 62" },
    { IN_3X,  UP,   0x81, "30: <\xed\xa0\x80>" },                       /* a surrogate */
    { IN_3X,  UP,   0x81, "30: <\xc0\xaf>" },                           /* overlong */
    { IN_3X,  UP,   0x81, "30: <\xf4\x90\x80\x80>" },                   /* above U+10FFFF */
    { IN_3X,  UP,   0x90, "30: <a/+/b>" },                              /* [MQTT-3.3.2-2] */
    { IN_3X,  DOWN, 0x90, "30: <a/b/c/d/e/f/g/#>" },
    { IN_5,   UP,   0x90, "30: <+> {}" },
    { IN_5,   UP,   0x90, "30: <+> {23 0001}" },
    { IN_5,   UP,   0x81, "30: <\xff> {23 0001}" },
    { IN_3X,  UP,   0x82, "30: <>" },                                   /* [MQTT-4.7.3-1] */
    { IN_5,   UP,   0x82, "30: <> {}" },                                /* 3.3.2.1 */
    /* PUBLISH */
    { IN_3X,  UP,   0x82, "32: <t> 0000" },                             /* [MQTT-2.2.1-3] */
    { IN_5,   DOWN, 0x82, "34: <t> 0000 {}" },
    { IN_5,   UP,   0x81, "30: <t>" },                                  /* no property length [MQTT-2.2.2-1] */
    { IN_5,   UP,   0x81, "30: <t> 02 01" },
    { IN_5,   UP,   0x81, "30: <t> 80 00" },                            /* overlong [MQTT-1.5.5-1] */
    { IN_5,   UP,   0x81, "30 84 00 <t> 00" },
    { IN_5,   UP,   0x82, "30: <t> {23 0000}" },                        /* [MQTT-3.3.2-8] */
    { IN_5,   UP,   0x82, "30: <t> {23 0001 23 0001}" },
    { IN_5,   UP,   0x82, "30: <t> {0b 01}" },                          /* [MQTT-3.3.4-6] */
    { IN_5,   DOWN, 0x82, "30: <t> {0b 00}" },                          /* 3.3.2.3.8 */
    { IN_5,   UP,   0x82, "30: <t> {01 02}" },
    { IN_5,   UP,   0x82, "30: <t> {08 <a/#>}" },                       /* [MQTT-3.3.2-14] */
    { IN_5,   UP,   0x82, "30: <t> {08 <>}" },
    { IN_5,   UP,   0x81, "30: <t> {08 <\xff>}" },
    { IN_5,   UP,   0x81, "30: <t> {03 <\xff>}" },
    { IN_5,   UP,   0x81, "30: <t> {26 <\xff> <v>}" },
    { IN_5,   UP,   0x81, "30: <t> {26 <n> <\xff>}" },
    { IN_5,   UP,   0x81, "30: <t> {11 00000000}" },                    /* a property of others, 2.2.2.2 */
    { IN_5,   UP,   0x81, "30: <t> {00 00}" },
    { IN_5,   UP,   0x81, "30: <t> {7f 00}" },
    { IN_5,   UP,   0x81, "30: <t> {81 00}" },                          /* an identifier written overlong */
    { IN_5,   UP,   0x81, "30: <t> {ff ff ff ff 01}" },
    { IN_5,   UP,   0x81, "30: <t> {09 0003 00}" },
    { IN_5,   DOWN, 0x81, "30: <t> {0b 80 80 80 80 01}" },
    /* acknowledgements */
    { IN_ALL, UP,   0x82, "40: 0000" },
    { IN_ALL, DOWN, 0x82, "62: 0000" },
    { IN_3X,  UP,   0x81, "40: 0001 00" },
    { IN_ALL, UP,   0x81, "50: 00" },
    { IN_ALL, UP,   0x81, "70 00" },
    { IN_311 | IN_5, UP, 0x81, "6a: 0001" },                            /* [MQTT-3.6.1-1] */
    { IN_5,   UP,   0x81, "40 82 00 0001" },
    { IN_5,   UP,   0x82, "40: 0001 01" },                              /* [MQTT-3.4.2-1] */
    { IN_5,   UP,   0x82, "40: 0001 92" },
    { IN_5,   UP,   0x82, "50: 0001 ff" },
    { IN_5,   UP,   0x82, "62: 0001 80" },
    { IN_5,   UP,   0x82, "70: 0001 10" },
    { IN_5,   UP,   0x81, "40: 0001 00 {} 00" },
    { IN_5,   UP,   0x82, "40: 0001 00 {1f <a> 1f <b>}" },
    { IN_5,   UP,   0x81, "40: 0001 00 {23 0001}" },
    /* SUBSCRIBE, UNSUBSCRIBE */
    { IN_3X,  UP,   0x82, "82: 0001" },                                 /* [MQTT-3.8.3-2] */
    { IN_5,   UP,   0x82, "82: 0001 {}" },
    { IN_3X,  UP,   0x82, "a2: 0001" },                                 /* [MQTT-3.10.3-2] */
    { IN_3X,  UP,   0x82, "82: 0000 <a> 00" },
    { IN_5,   UP,   0x82, "a2: 0000 {} <a>" },
    { IN_311, UP,   0x81, "8a: 0001 <a> 00" },                          /* [MQTT-3.8.1-1] */
    { IN_5,   UP,   0x81, "aa: 0001 {} <a>" },                          /* [MQTT-3.10.1-1] */
    { IN_3X,  UP,   0x81, "82: 0001 <a>" },
    { IN_3X,  UP,   0x81, "82: 0001 <a> 04" },
    { IN_5,   UP,   0x81, "82: 0001 {} <a> 40" },                       /* [MQTT-3.8.3-5] */
    { IN_5,   UP,   0x81, "82: 0001 {} <a> 80" },
    { IN_ALL & ~IN_5, UP, 0x82, "82: 0001 <a> 03" },
    { IN_5,   UP,   0x82, "82: 0001 {} <a> 00 <b> 03" },
    { IN_5,   UP,   0x82, "82: 0001 {} <a> 30" },
    { IN_5,   UP,   0x82, "82: 0001 {} <$share/g/a> 04" },              /* [MQTT-3.8.3-4] */
    { IN_3X,  UP,   0x8F, "82: 0001 <> 00" },
    { IN_3X,  UP,   0x8F, "82: 0001 <a/b#> 00" },                       /* [MQTT-4.7.1-1] */
    { IN_3X,  UP,   0x8F, "82: 0001 <#/a> 00" },
    { IN_3X,  UP,   0x8F, "82: 0001 <a+> 00" },                         /* [MQTT-4.7.1-2] */
    { IN_3X,  UP,   0x8F, "a2: 0001 <a> <+a>" },
    { IN_5,   UP,   0x8F, "82: 0001 {} <$share/g> 00" },                /* [MQTT-4.8.2-2] */
    { IN_5,   UP,   0x8F, "82: 0001 {} <$share//a> 00" },               /* [MQTT-4.8.2-1] */
    { IN_5,   UP,   0x8F, "82: 0001 {} <$share/+/a> 00" },
    { IN_5,   UP,   0x8F, "82: 0001 {} <$share/g/> 00" },
    { IN_ALL & ~IN_5, UP, 0x81, "82: 0001 <\xff> 00" },                 /* [MQTT-3.8.3-1] */
    { IN_5,   UP,   0x82, "82: 0001 {0b 00} <a> 00" },
    { IN_5,   UP,   0x82, "82: 0001 {0b 01 0b 02} <a> 00" },            /* 3.8.2.1.2 */
    { IN_5,   UP,   0x81, "82: 0001 {1f <why>} <a> 00" },
    { IN_5,   UP,   0x81, "a2: 0001 {0b 01} <a>" },
    /* SUBACK, UNSUBACK */
    { IN_3X,  DOWN, 0x81, "90: 0001" },
    { IN_5,   DOWN, 0x81, "b0: 0001 {}" },
    { IN_3X,  DOWN, 0x81, "b0: 0001 00" },
    { IN_3X,  DOWN, 0x82, "90: 0000 00" },
    { IN_3X,  DOWN, 0x82, "90: 0001 03" },                              /* [MQTT-3.9.3-2] */
    { IN_3X,  DOWN, 0x82, "90: 0001 00 87" },
    { IN_5,   DOWN, 0x82, "90: 0001 {} 11" },
    { IN_5,   DOWN, 0x82, "b0: 0001 {} 01" },
    /* CONNACK */
    { IN_ALL, DOWN, 0x81, "20: 00" },
    { IN_3X,  DOWN, 0x81, "20: 00 00 00" },
    { IN_5,   DOWN, 0x81, "20: 00 00" },
    { IN_311, DOWN, 0x81, "20: 02 00" },                                /* [MQTT-3.2.2-1] */
    { IN_5,   DOWN, 0x81, "20: 80 00 {}" },
    { IN_311, DOWN, 0x82, "20: 01 05" },                                /* 3.1.1 [MQTT-3.2.2-4] */
    { IN_5,   DOWN, 0x82, "20: 01 87 {}" },                             /* [MQTT-3.2.2-6] */
    { IN_3X,  DOWN, 0x82, "20: 00 06" },
    { IN_5,   DOWN, 0x82, "20: 00 05 {}" },                             /* [MQTT-3.2.2-8] */
    { IN_5,   DOWN, 0x82, "20: 00 8e {}" },
    { IN_5,   DOWN, 0x82, "20: 00 00 {24 02}" },
    { IN_5,   DOWN, 0x82, "20: 00 00 {21 0000}" },
    { IN_5,   DOWN, 0x82, "20: 00 00 {27 00000000}" },
    { IN_5,   DOWN, 0x82, "20: 00 00 {16 <data>}" },
    { IN_5,   DOWN, 0x81, "20: 00 00 {17 00}" },
    { IN_5,   DOWN, 0x81, "20: 00 00 {} 00" },
    /* PING, DISCONNECT, AUTH, and what does not belong there */
    { IN_ALL, UP,   0x81, "c0: 00" },
    { IN_ALL, DOWN, 0x81, "d0: 00" },
    { IN_5,   UP,   0x81, "c0 80 00" },
    { IN_3X,  UP,   0x81, "e0: 00" },
    { IN_5,   UP,   0x82, "e0: 8e" },                                   /* a server's reason [MQTT-3.14.2-1] */
    { IN_5,   DOWN, 0x82, "e0: 04" },
    { IN_5,   UP,   0x82, "e0: 03" },
    { IN_5,   DOWN, 0x82, "e0: 00 {11 00000001}" },                     /* [MQTT-3.14.2-2] */
    { IN_5,   UP,   0x81, "e0: 00 {15 <m>}" },
    { IN_5,   UP,   0x81, "e0: 00 {} 00" },
    { IN_5,   UP,   0x81, "e0: 00 01" },
    { IN_5,   UP,   0x81, "f0: 18" },
    { IN_5,   UP,   0x82, "f0: 18 {}" },                                /* 3.15.2.2.2 */
    { IN_5,   UP,   0x82, "f0: 18 {16 <data>}" },
    { IN_5,   UP,   0x82, "f0: 00 {15 <m>}" },                          /* success is said by servers */
    { IN_5,   UP,   0x82, "f0 00" },
    { IN_5,   DOWN, 0x82, "f0: 19 {15 <m>}" },
    { IN_5,   UP,   0x82, "f0: 1a {15 <m>}" },                          /* [MQTT-3.15.2-1] */
    { IN_5,   UP,   0x81, "f0: 18 {15 <m>} 00" },
    { IN_3X,  UP,   0x82, "f0 00" },
    { IN_3X,  DOWN, 0x82, "e0 00" },
    { IN_ALL, UP,   0x82, "d0 00" },
    { IN_ALL, DOWN, 0x82, "c0 00" },
    { IN_ALL, DOWN, 0x82, "82: 0001 <a> 00" },
    { IN_ALL, UP,   0x82, "90: 0001 00" },
};

/* CONNECT says its version itself. */
static const struct {
    int version; /* that the refusal has to speak */
    uint8_t reason;
    const char *text;
} connect_faults[] = {
    { 0,         0x81, "10 00" },
    { 0,         0x81, "10: 0004 'MQT'" },
    { 0,         0x81, "10: <MQTT>" },
    { 0,         0x84, "10: <mqtt> 04 02 003c <c>" },                   /* [MQTT-3.1.2-1] */
    { 0,         0x84, "10: <HTTP/1.1> 04" },
    { MQTT_V311, 0x84, "10: <MQTT> 06 02 003c <c>" },                   /* [MQTT-3.1.2-2] */
    { MQTT_V311, 0x84, "10: <MQTT> 03 02 003c <c>" },
    { MQTT_V311, 0x84, "10: <MQTT> 85 02 003c {} <c>" },
    { MQTT_V31,  0x84, "10: <MQIsdp> 04 02 003c <c>" },
    { MQTT_V311, 0x81, "10: <MQTT> 04 03 003c <c>" },                   /* [MQTT-3.1.2-3] */
    { MQTT_V5,   0x81, "10: <MQTT> 05 03 003c {} <c>" },
    { MQTT_V311, 0x81, "10: <MQTT> 04 1e 003c <c> <w> <m>" },           /* Will QoS 3 [MQTT-3.1.2-12] */
    { MQTT_V31,  0x81, "10: <MQIsdp> 03 1e 003c <c> <w> <m>" },
    { MQTT_V311, 0x82, "10: <MQTT> 04 0a 003c <c>" },                   /* [MQTT-3.1.2-11] */
    { MQTT_V5,   0x82, "10: <MQTT> 05 22 003c {} <c>" },                /* [MQTT-3.1.2-13] */
    { MQTT_V311, 0x82, "10: <MQTT> 04 42 003c <c> <p>" },               /* [MQTT-3.1.2-22] */
    { MQTT_V31,  0x82, "10: <MQIsdp> 03 42 003c <c> <p>" },
    { MQTT_V31,  0x85, "10: <MQIsdp> 03 02 003c <>" },
    { MQTT_V311, 0x85, "10: <MQTT> 04 00 003c <>" },                    /* [MQTT-3.1.3-8] */
    { MQTT_V311, 0x81, "10: <MQTT> 04 02 003c <\xff>" },                /* [MQTT-3.1.3-4] */
    { MQTT_V311, 0x81, "10: <MQTT> 04 02 003c 0003 'a' 00 'b'" },
    { MQTT_V311, 0x81, "10: <MQTT> 04 02 003c <c> 00" },                /* more than its content */
    { MQTT_V31,  0x81, "10: <MQIsdp> 03 02 003c <c> 00" },
    { MQTT_V31,  0x81, "10: <MQIsdp> 03 82 003c <c> 00" },              /* neither there nor missing */
    { MQTT_V311, 0x81, "10: <MQTT> 04 82 003c <c>" },
    { MQTT_V311, 0x81, "10: <MQTT> 04 c2 003c <c> <joe>" },
    { MQTT_V311, 0x81, "10: <MQTT> 04 82 003c <c> <\xff>" },            /* [MQTT-3.1.3-12] */
    { MQTT_V311, 0x81, "10: <MQTT> 04 06 003c <c> <\xff> <m>" },        /* [MQTT-3.1.3-11] */
    { MQTT_V311, 0x90, "10: <MQTT> 04 06 003c <c> <w/#> <m>" },
    { MQTT_V5,   0x90, "10: <MQTT> 05 06 003c {} <c> {} <> <m>" },
    { MQTT_V5,   0x81, "10: <MQTT> 05 02 003c <c>" },                   /* no property length */
    { MQTT_V5,   0x81, "10 91 00 <MQTT> 05 02 003c {} <abcd>" },        /* overlong [MQTT-1.5.5-1] */
    { MQTT_V5,   0x82, "10: <MQTT> 05 02 003c {21 0000} <c>" },
    { MQTT_V5,   0x82, "10: <MQTT> 05 02 003c {27 00000000} <c>" },
    { MQTT_V5,   0x82, "10: <MQTT> 05 02 003c {17 02} <c>" },
    { MQTT_V5,   0x82, "10: <MQTT> 05 02 003c {19 ff} <c>" },
    { MQTT_V5,   0x82, "10: <MQTT> 05 02 003c {11 00000000 11 00000000} <c>" },
    { MQTT_V5,   0x82, "10: <MQTT> 05 02 003c {16 <data>} <c>" },       /* 3.1.2.11.10 */
    { MQTT_V5,   0x81, "10: <MQTT> 05 02 003c {18 00000000} <c>" },     /* the Will's, at the wrong place */
    { MQTT_V5,   0x81, "10: <MQTT> 05 06 003c {} <c> {11 00000000} <w> <m>" },
    { MQTT_V5,   0x82, "10: <MQTT> 05 06 003c {} <c> {01 02} <w> <m>" },
    { MQTT_V5,   0x82, "10: <MQTT> 05 06 003c {} <c> {08 <+>} <w> <m>" },
};
/* clang-format on */

static void refused(const struct fault *f, int version)
{
    struct mqtt_packet pkt = sample_packet(f->text);
    struct err err = {.code = 0};
    uint8_t reason = 0;
    int rc = mqtt_check(&pkt, f->dir, version, &reason, &err);

    if (rc == 0 || reason != f->reason)
        fail_msg("%s in %s: %d with 0x%02x instead of 0x%02x (%s)", f->text,
                 mqtt_version_name(version), rc, reason, f->reason, err.msg);
    assert_int_equal(rc, f->reason == 0x81 ? -ERR_MALFORMED : -ERR_PROTOCOL);
    assert_int_equal(err.code, -rc);
    assert_true(strncmp(err.msg, mqtt_type_name(pkt.type), strlen(mqtt_type_name(pkt.type))) == 0);
    sample_free(&pkt);
}

static void faults_are_refused_for_their_reason(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        for (size_t v = 0; v < VERSIONS; v++) {
            if ((faults[i].versions >> versions[v] & 1) != 0)
                refused(&faults[i], versions[v]);
        }
    }
}

static void faults_of_connect_are_refused_in_the_clients_dialect(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof connect_faults / sizeof connect_faults[0]; i++) {
        struct mqtt_packet pkt = sample_packet(connect_faults[i].text);
        struct mqtt_connect c = {.version = 99, .keepalive_s = 4711};
        struct err err = {.code = 0};
        uint8_t reason = 0;
        int rc = mqtt_connect_read(&pkt, &c, &reason, &err);

        if (rc == 0 || reason != connect_faults[i].reason || c.version != connect_faults[i].version)
            fail_msg("%s: %d with 0x%02x, version %d (%s)", connect_faults[i].text, rc, reason,
                     c.version, err.msg);
        assert_int_equal(rc, reason == 0x81 ? -ERR_MALFORMED : -ERR_PROTOCOL);
        assert_int_equal(c.keepalive_s, 4711); /* nothing else is written */
        sample_free(&pkt);
    }
}

static void second_connect_is_a_protocol_error(void **unused)
{
    struct mqtt_packet pkt = sample_packet("10: <MQTT> 04 02 003c <c>");
    uint8_t reason = 0;

    (void)unused;
    assert_int_equal(mqtt_check(&pkt, MQTT_TO_SERVER, MQTT_V311, &reason, NULL), -ERR_PROTOCOL);
    assert_int_equal(reason, 0x82);
    sample_free(&pkt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_packets_are_taken),
        cmocka_unit_test(what_is_read_is_written_again_the_same),
        cmocka_unit_test(every_proper_prefix_of_a_body_is_malformed),
        cmocka_unit_test(faults_are_refused_for_their_reason),
        cmocka_unit_test(faults_of_connect_are_refused_in_the_clients_dialect),
        cmocka_unit_test(second_connect_is_a_protocol_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
