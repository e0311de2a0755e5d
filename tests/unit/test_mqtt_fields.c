/* What the readers say of good packets, field by field, and the edges of the writers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mqtt/connect.h"
#include "mqtt/publish.h"
#include "mqtt/subscribe.h"
#include "mqtt_samples.h"

#define TOO_LONG ((struct slice){.p = NULL, .n = 65536}) /* refused before it is looked at */

static void connect_31_says_all(void **unused)
{
    struct mqtt_packet pkt =
        sample_packet("10: <MQIsdp> 83 f6 000a <bridge> <w/t> <gone> <joe> <pw>");
    struct mqtt_connect c;
    uint8_t reason;

    (void)unused;
    assert_int_equal(mqtt_connect_read(&pkt, &c, &reason, NULL), 0);
    assert_int_equal(c.version, MQTT_V31);
    assert_true(c.bridge && c.clean && c.has_will && c.will_retain);
    assert_int_equal(c.will_qos, 2);
    assert_int_equal(c.keepalive_s, 10);
    assert_true(slice_is(c.client_id, "bridge"));
    assert_true(slice_is(c.will_topic, "w/t"));
    assert_true(slice_is(c.will_payload, "gone"));
    assert_true(c.has_username && slice_is(c.username, "joe"));
    assert_true(c.has_password && slice_is(c.password, "pw"));
    assert_int_equal(c.props.n, 0);
    sample_free(&pkt);
}

static void login_that_31_announced_may_be_missing(void **unused)
{
    static const struct {
        const char *text;
        bool username, password;
    } rows[] = {
        {"10: <MQIsdp> 03 c2 000a <c>", false, false},
        {"10: <MQIsdp> 03 c2 000a <c> <joe>", true, false},
        {"10: <MQIsdp> 03 82 000a <c>", false, false},
        {"10: <MQIsdp> 03 c2 000a <c> <joe> <pw>", true, true},
        {"10: <MQIsdp> 03 39 000a <c>", false, false}, /* Will bits without a Will say nothing */
    };

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct mqtt_packet pkt = sample_packet(rows[i].text);
        struct mqtt_connect c;
        uint8_t reason;

        assert_int_equal(mqtt_connect_read(&pkt, &c, &reason, NULL), 0);
        assert_int_equal(c.has_username, rows[i].username);
        assert_int_equal(c.has_password, rows[i].password);
        assert_false(c.has_will || c.will_retain || c.will_qos != 0);
        sample_free(&pkt);
    }
}

static void connect_5_says_all(void **unused)
{
    struct mqtt_packet pkt = sample_packet("10: <MQTT> 05 d4 ffff {21 0014 26 <a> <1>} <c5> "
                                           "{18 0000003c} <w/t> <gone> <joe> 0003 00ff00");
    struct mqtt_connect c;
    struct mqtt_prop_value v;
    uint8_t reason;

    (void)unused;
    assert_int_equal(mqtt_connect_read(&pkt, &c, &reason, NULL), 0);
    assert_int_equal(c.version, MQTT_V5);
    assert_false(c.bridge || c.clean || c.will_retain);
    assert_int_equal(c.will_qos, 2);
    assert_int_equal(c.keepalive_s, 65535);
    assert_true(mqtt_props_find(c.props, MQTT_PROP_RECEIVE_MAXIMUM, &v) && v.num == 20);
    assert_true(mqtt_props_find(c.will_props, MQTT_PROP_WILL_DELAY, &v) && v.num == 60);
    assert_int_equal(c.password.n, 3);
    assert_memory_equal(c.password.p, "\0\xff\0", 3);
    sample_free(&pkt);
}

static void connack_says_all(void **unused)
{
    struct mqtt_connack c;
    struct mqtt_prop_value v;
    struct mqtt_packet pkt = sample_packet("20: 01 00 {12 <auto-1>}");
    uint8_t reason;

    (void)unused;
    assert_int_equal(mqtt_connack_read(&pkt, MQTT_V5, &c, &reason, NULL), 0);
    assert_true(c.session_present && c.code == 0);
    assert_true(mqtt_props_find(c.props, MQTT_PROP_ASSIGNED_CLIENT_ID, &v));
    assert_true(slice_is(v.str, "auto-1"));
    sample_free(&pkt);

    pkt = sample_packet("20: 00 01");
    assert_int_equal(mqtt_connack_read(&pkt, MQTT_V311, &c, &reason, NULL), 0);
    assert_int_equal(c.code, 1);
    assert_int_equal(mqtt_connack_read(&pkt, MQTT_V5, &c, &reason, NULL), 0);
    assert_int_equal(c.code, 0x84); /* a server of 3.x refuses in its own dialect */
    sample_free(&pkt);

    pkt = sample_packet("20: 01 00"); /* 3.1 has no Session Present, whatever the byte holds */
    assert_int_equal(mqtt_connack_read(&pkt, MQTT_V31, &c, &reason, NULL), 0);
    assert_false(c.session_present);
    sample_free(&pkt);
}

static void session_present_is_not_written_in_31(void **unused)
{
    const struct mqtt_connack c = {.session_present = true};
    struct buf b = {.p = NULL};

    (void)unused;
    assert_int_equal(mqtt_connack_write(&b, MQTT_V31, &c), 0);
    assert_int_equal(b.len, 4);
    assert_memory_equal(b.p, "\x20\x02\0\0", 4);
    buf_fini(&b);
}

/* Each code of 5.0 that refuses says something in 3.x as well, and every code there has a name. */
static void codes_have_names_and_translations(void **unused)
{
    static const struct {
        uint8_t code5, code31;
        const char *name;
    } rows[] = {
        {0x00, 0, "success"},
        {0x84, 1, "unsupported-protocol-version"},
        {0x85, 2, "client-identifier-not-valid"},
        {0x86, 4, "bad-username-or-password"},
        {0x87, 5, "not-authorized"},
        {0x8A, 5, "banned"},
        {0x8C, 5, "bad-authentication-method"},
        {0x80, 3, "unspecified-error"},
        {0x81, 3, "malformed-packet"},
        {0x82, 3, "protocol-error"},
        {0x88, 3, "server-unavailable"},
        {0x89, 3, "server-busy"},
        {0x97, 3, "quota-exceeded"},
        {0x9F, 3, "connection-rate-exceeded"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(mqtt_connack_code31(rows[i].code5), rows[i].code31);
        assert_string_equal(mqtt_reason_name(rows[i].code5), rows[i].name);
        assert_string_equal(mqtt_connack_name(MQTT_V5, rows[i].code5), rows[i].name);
    }
    assert_string_equal(mqtt_connack_name(MQTT_V311, 0), "accepted");
    assert_string_equal(mqtt_connack_name(MQTT_V311, 4), "bad-username-or-password");
    assert_string_equal(mqtt_connack_name(MQTT_V31, 5), "not-authorized");
    for (unsigned code = 0; code < 256; code++) {
        assert_non_null(mqtt_reason_name((uint8_t)code));
        assert_non_null(mqtt_connack_name(MQTT_V5, (uint8_t)code));
        assert_non_null(mqtt_connack_name(MQTT_V31, (uint8_t)code));
    }
}

/* Tables 3-1, 3-4 and following of the standard: which reason codes a packet may carry. */
static void reason_codes_are_those_of_the_packet(void **unused)
{
    static const uint8_t connack[] = {0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86,
                                      0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97,
                                      0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F};
    static const uint8_t puback[] = {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99};
    static const uint8_t pubrel[] = {0x00, 0x92};
    static const uint8_t suback[] = {0x00, 0x01, 0x02, 0x80, 0x83, 0x87,
                                     0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2};
    static const uint8_t unsuback[] = {0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91};
    static const uint8_t from_server[] = {
        0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94,
        0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2};
    static const uint8_t from_client[] = {0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90,
                                          0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99};
    static const struct {
        uint8_t first;
        enum mqtt_dir dir;
        const uint8_t *codes;
        size_t n;
        uint8_t body[4]; /* 0xEE stands where the code goes */
        uint32_t body_bytes;
    } rows[] = {
        {0x20, MQTT_TO_CLIENT, connack, sizeof connack, {0, 0xEE, 0}, 3},
        {0x40, MQTT_TO_CLIENT, puback, sizeof puback, {0, 1, 0xEE}, 3},
        {0x40, MQTT_TO_SERVER, puback, sizeof puback, {0, 1, 0xEE}, 3},
        {0x50, MQTT_TO_SERVER, puback, sizeof puback, {0, 1, 0xEE}, 3},
        {0x62, MQTT_TO_CLIENT, pubrel, sizeof pubrel, {0, 1, 0xEE}, 3},
        {0x70, MQTT_TO_SERVER, pubrel, sizeof pubrel, {0, 1, 0xEE}, 3},
        {0x90, MQTT_TO_CLIENT, suback, sizeof suback, {0, 1, 0, 0xEE}, 4},
        {0xB0, MQTT_TO_CLIENT, unsuback, sizeof unsuback, {0, 1, 0, 0xEE}, 4},
        {0xE0, MQTT_TO_CLIENT, from_server, sizeof from_server, {0xEE}, 1},
        {0xE0, MQTT_TO_SERVER, from_client, sizeof from_client, {0xEE}, 1},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (unsigned code = 0; code < 256; code++) {
            bool good = memchr(rows[i].codes, (int)code, rows[i].n) != NULL;
            uint8_t raw[8] = {rows[i].first, (uint8_t)rows[i].body_bytes};
            struct mqtt_packet pkt;
            uint8_t reason = 0;
            uint32_t need;
            int rc;

            for (uint32_t k = 0; k < rows[i].body_bytes; k++)
                raw[2 + k] = rows[i].body[k] == 0xEE ? (uint8_t)code : rows[i].body[k];
            assert_int_equal(mqtt_packet_peek(raw, sizeof raw, 99, &pkt, &need), 1);
            rc = mqtt_check(&pkt, rows[i].dir, MQTT_V5, &reason, NULL);
            if (rc != (good ? 0 : -ERR_PROTOCOL))
                fail_msg("0x%02x with reason 0x%02x: %d", rows[i].first, code, rc);
        }
    }
}

static void publish_says_all(void **unused)
{
    struct mqtt_packet pkt = sample_packet("3d: <a/b> 1234 {26 <k> <v> 23 0102} 'payload'");
    struct mqtt_publish m;
    uint8_t reason;

    (void)unused;
    assert_int_equal(mqtt_publish_read(&pkt, MQTT_V5, MQTT_TO_SERVER, &m, &reason, NULL), 0);
    assert_true(m.dup && m.retain);
    assert_int_equal(m.qos, 2);
    assert_int_equal(m.packet_id, 0x1234);
    assert_int_equal(m.topic_alias, 0x0102);
    assert_true(slice_is(m.topic, "a/b"));
    assert_true(slice_is(m.payload, "payload"));
    assert_int_equal(m.props.n, 10);
    sample_free(&pkt);

    pkt = sample_packet("30: <a/b> 1234"); /* the same bytes are payload at QoS 0 */
    assert_int_equal(mqtt_publish_read(&pkt, MQTT_V311, MQTT_TO_CLIENT, &m, &reason, NULL), 0);
    assert_false(m.dup || m.retain);
    assert_int_equal(m.packet_id, 0);
    assert_int_equal(m.payload.n, 2);
    sample_free(&pkt);
}

static void subscriptions_are_walked_in_order(void **unused)
{
    struct mqtt_packet pkt = sample_packet("82: 0007 {0b 05} <a/#> 2d <$share/g/b> 01 <c> 02");
    static const char *const filters[] = {"a/#", "$share/g/b", "c"};
    static const uint8_t options[] = {0x2D, 0x01, 0x02};
    struct mqtt_subscribe s;
    struct mqtt_filter f;
    uint8_t reason;
    uint32_t at = 0;

    (void)unused;
    assert_int_equal(mqtt_subscribe_read(&pkt, MQTT_V5, &s, &reason, NULL), 0);
    assert_int_equal(s.packet_id, 7);
    assert_int_equal(s.count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(mqtt_subscribe_next(&s, MQTT_SUBSCRIBE, &at, &f));
        assert_true(slice_is(f.filter, filters[i]));
        assert_int_equal(f.options, options[i]);
    }
    assert_false(mqtt_subscribe_next(&s, MQTT_SUBSCRIBE, &at, &f));
    sample_free(&pkt);
}

static void answers_say_all(void **unused)
{
    struct mqtt_packet pkt = sample_packet("90: 0102 {1f <so>} 00 8f");
    struct mqtt_suback s;
    struct mqtt_ack a;
    struct mqtt_auth auth;
    struct mqtt_disconnect d;
    struct mqtt_prop_value v;
    uint8_t reason;

    (void)unused;
    assert_int_equal(mqtt_suback_read(&pkt, MQTT_V5, &s, &reason, NULL), 0);
    assert_int_equal(s.packet_id, 0x0102);
    assert_int_equal(s.codes.n, 2);
    assert_int_equal(s.codes.p[1], 0x8F);
    assert_true(mqtt_props_find(s.props, MQTT_PROP_REASON_STRING, &v) && slice_is(v.str, "so"));
    sample_free(&pkt);

    pkt = sample_packet("b0: 0102");
    assert_int_equal(mqtt_suback_read(&pkt, MQTT_V311, &s, &reason, NULL), 0);
    assert_int_equal(s.codes.n, 0);
    sample_free(&pkt);

    pkt = sample_packet("50: 0102 97 {1f <full>}");
    assert_int_equal(mqtt_ack_read(&pkt, MQTT_V5, &a, &reason, NULL), 0);
    assert_int_equal(a.packet_id, 0x0102);
    assert_int_equal(a.reason, 0x97);
    assert_true(mqtt_props_find(a.props, MQTT_PROP_REASON_STRING, &v) && slice_is(v.str, "full"));
    sample_free(&pkt);

    pkt = sample_packet("f0: 18 {15 <SCRAM> 16 <x>}");
    assert_int_equal(mqtt_auth_read(&pkt, &auth, &reason, NULL), 0);
    assert_int_equal(auth.reason, 0x18);
    assert_true(mqtt_props_find(auth.props, MQTT_PROP_AUTH_METHOD, &v) && slice_is(v.str, "SCRAM"));
    sample_free(&pkt);

    pkt = sample_packet("e0: 04 {11 00000005}");
    assert_int_equal(mqtt_disconnect_read(&pkt, MQTT_V5, MQTT_TO_SERVER, &d, &reason, NULL), 0);
    assert_int_equal(d.reason, 4);
    assert_true(mqtt_props_find(d.props, MQTT_PROP_SESSION_EXPIRY, &v) && v.num == 5);
    sample_free(&pkt);
}

/* The same struct for a device of 3.x: what 3.x cannot say is left out. */
static void writers_leave_out_what_3x_cannot_say(void **unused)
{
    const uint8_t list[] = {0x1F, 0, 1, 'x'};
    const struct mqtt_props props = {.p = list, .n = sizeof list};
    const struct mqtt_ack ack = {.packet_id = 5, .reason = 0x10, .props = props};
    const struct mqtt_disconnect bye = {.reason = 0x8E, .props = props};
    const struct mqtt_publish m = {.topic = slice_of("t"), .payload = slice_of("p")};
    struct buf b = {.p = NULL};

    (void)unused;
    assert_int_equal(mqtt_ack_write(&b, MQTT_V311, MQTT_PUBACK, &ack), 0);
    assert_int_equal(mqtt_disconnect_write(&b, MQTT_V31, &bye), 0);
    assert_int_equal(mqtt_publish_write(&b, MQTT_V311, &m), 0);
    assert_int_equal(mqtt_publish_write(&b, MQTT_V5, &m), 0);
    assert_int_equal(b.len, 4 + 2 + 6 + 7);
    assert_memory_equal(b.p, "\x40\2\0\5\xe0\0\x30\4\0\1tp\x30\5\0\1t\0p", b.len);
    buf_fini(&b);
}

static void writers_refuse_what_does_not_fit(void **unused)
{
    struct mqtt_connect connects[] = {
        {.version = MQTT_V311, .client_id = TOO_LONG},
        {.version = MQTT_V311, .has_will = true, .will_topic = TOO_LONG},
        {.version = MQTT_V5, .has_will = true, .will_payload = TOO_LONG},
        {.version = MQTT_V5, .has_username = true, .username = TOO_LONG},
        {.version = MQTT_V5, .has_password = true, .password = TOO_LONG},
        {.version = MQTT_V5, .props = {.p = NULL, .n = 268435455}},
    };
    struct mqtt_publish big = {.topic = slice_of("t"), .payload = {.p = NULL, .n = 268435453}};
    struct mqtt_publish huge = {.topic = slice_of("t"), .payload = {.p = NULL, .n = SIZE_MAX}};
    struct mqtt_publish topic = {.topic = TOO_LONG};
    struct mqtt_filter filter = {.filter = TOO_LONG};
    struct buf b = {.p = NULL};

    (void)unused;
    for (size_t i = 0; i < sizeof connects / sizeof connects[0]; i++)
        assert_int_equal(mqtt_connect_write(&b, &connects[i]), -ERR_TOO_BIG);
    assert_int_equal(mqtt_publish_write(&b, MQTT_V311, &big), -ERR_TOO_BIG);
    assert_int_equal(mqtt_publish_write(&b, MQTT_V311, &huge), -ERR_TOO_BIG);
    assert_int_equal(mqtt_publish_write(&b, MQTT_V311, &topic), -ERR_TOO_BIG);
    assert_int_equal(mqtt_subscribe_write(&b, MQTT_V311, MQTT_SUBSCRIBE, 1,
                                          (struct mqtt_props){.n = 0}, &filter, 1),
                     -ERR_TOO_BIG);
    assert_null(b.p); /* nothing was begun */
}

/* The longest strings that there are, through writer and reader. */
static void longest_strings_fit(void **unused)
{
    uint8_t *text = malloc(65535);
    struct slice longest = {.p = text, .n = 65535};
    struct mqtt_publish m = {.topic = longest}, n;
    struct mqtt_connect c = {.version = MQTT_V311, .client_id = longest}, d;
    struct mqtt_filter f = {.filter = longest}, g;
    struct mqtt_subscribe s;
    struct buf b = {.p = NULL};
    struct mqtt_packet pkt[3];
    uint32_t at = 0;
    uint32_t need;
    uint8_t reason;

    (void)unused;
    assert_non_null(text);
    memset(text, 't', 65535);
    assert_int_equal(mqtt_publish_write(&b, MQTT_V311, &m), 0);
    assert_int_equal(mqtt_connect_write(&b, &c), 0);
    assert_int_equal(
        mqtt_subscribe_write(&b, MQTT_V311, MQTT_SUBSCRIBE, 1, (struct mqtt_props){.n = 0}, &f, 1),
        0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(mqtt_packet_peek(b.p + at, b.len - at, 100000, &pkt[i], &need), 1);
        at += need;
    }
    assert_int_equal(at, b.len);
    assert_int_equal(mqtt_publish_read(&pkt[0], MQTT_V311, MQTT_TO_CLIENT, &n, &reason, NULL), 0);
    assert_true(slice_eq(n.topic, longest));
    assert_int_equal(mqtt_connect_read(&pkt[1], &d, &reason, NULL), 0);
    assert_true(slice_eq(d.client_id, longest));
    assert_int_equal(mqtt_subscribe_read(&pkt[2], MQTT_V311, &s, &reason, NULL), 0);
    at = 0;
    assert_true(mqtt_subscribe_next(&s, MQTT_SUBSCRIBE, &at, &g));
    assert_true(slice_eq(g.filter, longest));
    buf_fini(&b);
    free(text);
}

static void outputs_are_left_alone_on_a_fault(void **unused)
{
    struct mqtt_packet pkt = sample_packet("32: <t> 0000 {23 0007}");
    struct mqtt_publish m = {.packet_id = 4711};
    uint8_t reason = 0;

    (void)unused;
    assert_int_equal(mqtt_publish_read(&pkt, MQTT_V5, MQTT_TO_SERVER, &m, &reason, NULL),
                     -ERR_PROTOCOL);
    assert_int_equal(m.packet_id, 4711);
    assert_int_equal(m.topic_alias, 0);
    sample_free(&pkt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connect_31_says_all),
        cmocka_unit_test(login_that_31_announced_may_be_missing),
        cmocka_unit_test(connect_5_says_all),
        cmocka_unit_test(connack_says_all),
        cmocka_unit_test(session_present_is_not_written_in_31),
        cmocka_unit_test(codes_have_names_and_translations),
        cmocka_unit_test(reason_codes_are_those_of_the_packet),
        cmocka_unit_test(publish_says_all),
        cmocka_unit_test(subscriptions_are_walked_in_order),
        cmocka_unit_test(answers_say_all),
        cmocka_unit_test(writers_leave_out_what_3x_cannot_say),
        cmocka_unit_test(writers_refuse_what_does_not_fit),
        cmocka_unit_test(longest_strings_fit),
        cmocka_unit_test(outputs_are_left_alone_on_a_fault),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
