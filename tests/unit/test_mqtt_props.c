/* MQTT 5 properties: each one in each place, against a second writing of the standard's table 2-4.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mqtt/packet.h"
#include "mqtt/props.h"

#define PLACES 16 /* the packet types; 0 is the Will */

/* clang-format off */
static const struct {
    uint8_t id;
    char kind;          /* 1 2 4 v(arint) s(tring) b(inary) p(air) */
    const char *places; /* W will, C connect, c connack, P publish, 4567 the acknowledgements, S s subscribe and suback,
                           U u unsubscribe and unsuback, D disconnect, A auth */
    uint32_t least, most;
    const char *name;
} table[] = {
    { 0x01, '1', "PW",             0, 1,           "payload-format-indicator" },
    { 0x02, '4', "PW",             0, 0xFFFFFFFF,  "message-expiry-interval" },
    { 0x03, 's', "PW",             0, 0,           "content-type" },
    { 0x08, 's', "PW",             0, 0,           "response-topic" },
    { 0x09, 'b', "PW",             0, 0,           "correlation-data" },
    { 0x0B, 'v', "PS",             1, 268435455,   "subscription-identifier" },
    { 0x11, '4', "CcD",            0, 0xFFFFFFFF,  "session-expiry-interval" },
    { 0x12, 's', "c",              0, 0,           "assigned-client-identifier" },
    { 0x13, '2', "c",              0, 0xFFFF,      "server-keep-alive" },
    { 0x15, 's', "CcA",            0, 0,           "authentication-method" },
    { 0x16, 'b', "CcA",            0, 0,           "authentication-data" },
    { 0x17, '1', "C",              0, 1,           "request-problem-information" },
    { 0x18, '4', "W",              0, 0xFFFFFFFF,  "will-delay-interval" },
    { 0x19, '1', "C",              0, 1,           "request-response-information" },
    { 0x1A, 's', "c",              0, 0,           "response-information" },
    { 0x1C, 's', "cD",             0, 0,           "server-reference" },
    { 0x1F, 's', "c4567suDA",      0, 0,           "reason-string" },
    { 0x21, '2', "Cc",             1, 0xFFFF,      "receive-maximum" },
    { 0x22, '2', "Cc",             0, 0xFFFF,      "topic-alias-maximum" },
    { 0x23, '2', "P",              1, 0xFFFF,      "topic-alias" },
    { 0x24, '1', "c",              0, 1,           "maximum-qos" },
    { 0x25, '1', "c",              0, 1,           "retain-available" },
    { 0x26, 'p', "WCcP4567SsUuDA", 0, 0,           "user-property" },
    { 0x27, '4', "Cc",             1, 0xFFFFFFFF,  "maximum-packet-size" },
    { 0x28, '1', "c",              0, 1,           "wildcard-subscription-available" },
    { 0x29, '1', "c",              0, 1,           "subscription-identifier-available" },
    { 0x2A, '1', "c",              0, 1,           "shared-subscription-available" },
};
/* clang-format on */

#define ROWS (sizeof table / sizeof table[0])

static const char letters[] = "WCcP4567SsUu??DA"; /* by packet type; the PINGs have no list */

/* One property in the shortest form that its kind has. */
static size_t encode(uint8_t *out, uint8_t id, char kind, uint32_t num)
{
    size_t n = 0;

    out[n++] = id;
    switch (kind) {
    case '4':
    case '2':
    case '1':
        for (unsigned bits = 8 * (unsigned)(kind - '0'); bits != 0; bits -= 8)
            out[n++] = (uint8_t)(num >> (bits - 8));
        break;
    case 'v':
        for (; num > 127; num >>= 7)
            out[n++] = (uint8_t)(num | 0x80);
        out[n++] = (uint8_t)num;
        break;
    case 'p':
        memcpy(out + n, "\0\1k\0\2vv", 7);
        n += 7;
        break;
    default:
        memcpy(out + n, "\0\3abc", 5);
        n += 5;
    }
    return n;
}

/* Checks in memory of exactly that size. */
static int check(const uint8_t *p, size_t n, int where, uint8_t *reason)
{
    uint8_t *copy = malloc(n + (n == 0));
    struct err err = {.code = 0};
    int rc;

    assert_non_null(copy);
    memcpy(copy, p, n);
    *reason = 0;
    rc = mqtt_props_check((struct mqtt_props){.p = copy, .n = (uint32_t)n}, where, reason, &err);
    assert_int_equal(err.code, -rc);
    free(copy);
    return rc;
}

static bool stands_in(size_t row, int where)
{
    return strchr(table[row].places, letters[where]) != NULL;
}

static void properties_stand_where_the_standard_says(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ROWS; i++) {
        for (int where = 0; where < PLACES; where++) {
            uint8_t p[32];
            uint8_t reason;
            size_t n = 0;
            int rc;

            if (table[i].id == 0x16) /* data needs its method */
                n = encode(p, 0x15, 's', 0);
            n += encode(p + n, table[i].id, table[i].kind, table[i].least);
            rc = check(p, n, where, &reason);
            assert_int_equal(rc, stands_in(i, where) ? 0 : -ERR_MALFORMED);
            assert_int_equal(reason, stands_in(i, where) ? 0 : 0x81);
        }
    }
}

static void unknown_identifiers_are_malformed(void **unused)
{
    (void)unused;
    for (unsigned id = 0; id < 128; id++) {
        uint8_t p[8] = {(uint8_t)id, 0, 0, 0, 0, 0, 0, 0};
        const char *name = NULL;
        uint8_t reason;

        for (size_t i = 0; i < ROWS; i++) {
            if (table[i].id == id)
                name = table[i].name;
        }
        if (name == NULL) {
            assert_null(mqtt_prop_name((enum mqtt_prop)id));
            for (int where = 0; where < PLACES; where++) {
                assert_int_equal(check(p, sizeof p, where, &reason), -ERR_MALFORMED);
                assert_int_equal(reason, 0x81);
            }
        } else {
            assert_string_equal(mqtt_prop_name((enum mqtt_prop)id), name);
        }
    }
    assert_null(mqtt_prop_name((enum mqtt_prop)0x10001));
}

static void properties_come_once(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ROWS; i++) {
        for (int where = 0; where < PLACES; where++) {
            bool many = table[i].id == 0x26 || (table[i].id == 0x0B && where == MQTT_PUBLISH);
            uint8_t p[64];
            uint8_t reason;
            size_t n = 0;

            if (!stands_in(i, where))
                continue;
            if (table[i].id == 0x16)
                n = encode(p, 0x15, 's', 0);
            n += encode(p + n, table[i].id, table[i].kind, table[i].least);
            n += encode(p + n, 0x26, 'p', 0);
            n += encode(p + n, table[i].id, table[i].kind, table[i].least);
            assert_int_equal(check(p, n, where, &reason), many ? 0 : -ERR_PROTOCOL);
            assert_int_equal(reason, many ? 0 : 0x82);
        }
    }
}

static void values_stay_in_range(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ROWS; i++) {
        uint32_t widest = table[i].kind == '1' ? 0xFF : table[i].kind == '2' ? 0xFFFF : 0xFFFFFFFF;
        int where = (int)(strchr(letters, table[i].places[0]) - letters);
        uint8_t p[8];
        uint8_t reason;

        if (strchr("124v", table[i].kind) == NULL)
            continue;
        assert_int_equal(
            check(p, encode(p, table[i].id, table[i].kind, table[i].most), where, &reason), 0);
        if (table[i].least > 0) {
            assert_int_equal(check(p, encode(p, table[i].id, table[i].kind, 0), where, &reason),
                             -ERR_PROTOCOL);
            assert_int_equal(reason, 0x82);
        }
        if (table[i].most < widest && table[i].kind != 'v') {
            assert_int_equal(
                check(p, encode(p, table[i].id, table[i].kind, table[i].most + 1), where, &reason),
                -ERR_PROTOCOL);
            assert_int_equal(
                check(p, encode(p, table[i].id, table[i].kind, widest), where, &reason),
                -ERR_PROTOCOL);
            assert_int_equal(reason, 0x82);
        }
    }
}

static void cut_properties_are_malformed(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ROWS; i++) {
        int where = (int)(strchr(letters, table[i].places[0]) - letters);
        uint8_t p[16];
        uint8_t reason;
        size_t n = encode(p, table[i].id, table[i].kind, table[i].most);

        for (size_t cut = 1; cut < n; cut++) {
            assert_int_equal(check(p, cut, where, &reason), -ERR_MALFORMED);
            assert_int_equal(reason, 0x81);
        }
        assert_int_equal(check(p, 0, where, &reason), 0);
    }
}

static void authentication_data_needs_its_method(void **unused)
{
    static const int places[] = {MQTT_CONNECT, MQTT_CONNACK, MQTT_AUTH};
    uint8_t p[32];
    uint8_t reason;
    size_t n = encode(p, 0x16, 'b', 0);

    (void)unused;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(check(p, n, places[i], &reason), -ERR_PROTOCOL);
        assert_int_equal(reason, 0x82);
    }
    n += encode(p + n, 0x15, 's', 0); /* in any order */
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(check(p, n, places[i], &reason), 0);
}

static void what_is_put_is_found_again(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ROWS; i++) {
        enum mqtt_prop id = (enum mqtt_prop)table[i].id;
        uint32_t nums[] = {table[i].least, table[i].most};
        struct mqtt_prop_value v;

        for (size_t k = 0; k < 2; k++) {
            struct buf b = {.p = NULL};
            struct mqtt_props props;
            uint8_t expected[16];
            size_t n = encode(expected, table[i].id, table[i].kind, nums[k]);
            uint32_t at = 0;
            int rc;

            if (table[i].kind == 'p')
                rc = mqtt_props_put_pair(&b, slice_of("k"), slice_of("vv"));
            else if (table[i].kind == 's' || table[i].kind == 'b')
                rc = mqtt_props_put_str(&b, id, slice_of("abc"));
            else
                rc = mqtt_props_put_num(&b, id, nums[k]);
            assert_int_equal(rc, 0);
            assert_int_equal(b.len, n);
            assert_memory_equal(b.p, expected, n);

            props = (struct mqtt_props){.p = b.p, .n = (uint32_t)b.len};
            assert_true(mqtt_props_find(props, id, &v));
            assert_int_equal(v.id, id);
            assert_ptr_equal(v.raw.p, b.p);
            assert_int_equal(v.raw.n, n);
            if (table[i].kind == 'p') {
                assert_true(slice_is(v.str, "k"));
                assert_true(slice_is(v.value, "vv"));
            } else if (table[i].kind == 's' || table[i].kind == 'b') {
                assert_true(slice_is(v.str, "abc"));
            } else {
                assert_int_equal(v.num, nums[k]);
            }
            assert_true(mqtt_props_next(props, &at, &v));
            assert_int_equal(at, n);
            assert_false(mqtt_props_next(props, &at, &v));
            assert_false(mqtt_props_find(props, (enum mqtt_prop)(id ^ 1), &v));
            buf_fini(&b);
        }
    }
}

static void order_and_duplicates_are_kept(void **unused)
{
    struct buf b = {.p = NULL};
    struct mqtt_prop_value v;
    struct mqtt_props props;
    uint64_t seen = 0;
    uint8_t reason;
    uint32_t at = 0;

    (void)unused;
    assert_int_equal(mqtt_props_put_pair(&b, slice_of("a"), slice_of("1")), 0);
    assert_int_equal(mqtt_props_put_num(&b, MQTT_PROP_SUBSCRIPTION_ID, 300), 0);
    assert_int_equal(mqtt_props_put_pair(&b, slice_of("a"), slice_of("2")), 0);
    assert_int_equal(mqtt_props_put_num(&b, MQTT_PROP_SUBSCRIPTION_ID, 7), 0);
    assert_int_equal(mqtt_props_put_num(&b, MQTT_PROP_TOPIC_ALIAS, 9), 0);
    props = (struct mqtt_props){.p = b.p, .n = (uint32_t)b.len};
    assert_int_equal(mqtt_props_scan(props, MQTT_PUBLISH, &seen, &reason, NULL), 0);
    assert_true(seen ==
                (MQTT_PROP_BIT(MQTT_PROP_USER_PROPERTY) | MQTT_PROP_BIT(MQTT_PROP_SUBSCRIPTION_ID) |
                 MQTT_PROP_BIT(MQTT_PROP_TOPIC_ALIAS)));
    assert_true(mqtt_props_next(props, &at, &v) && slice_is(v.value, "1"));
    assert_true(mqtt_props_next(props, &at, &v) && v.num == 300);
    assert_true(mqtt_props_next(props, &at, &v) && slice_is(v.value, "2"));
    assert_true(mqtt_props_next(props, &at, &v) && v.num == 7);
    assert_true(mqtt_props_next(props, &at, &v) && v.num == 9);
    assert_false(mqtt_props_next(props, &at, &v));
    assert_true(mqtt_props_find(props, MQTT_PROP_SUBSCRIPTION_ID, &v) && v.num == 300);
    buf_fini(&b);
}

static void strings_have_two_bytes_of_length(void **unused)
{
    uint8_t *big = malloc(65536);
    struct buf b = {.p = NULL};
    struct mqtt_prop_value v;
    struct mqtt_props props;
    uint8_t reason;

    (void)unused;
    assert_non_null(big);
    memset(big, 'x', 65536);
    assert_int_equal(mqtt_props_put_str(&b, MQTT_PROP_REASON_STRING, (struct slice){big, 65535}),
                     0);
    props = (struct mqtt_props){.p = b.p, .n = (uint32_t)b.len};
    assert_int_equal(mqtt_props_check(props, MQTT_PUBACK, &reason, NULL), 0);
    assert_true(mqtt_props_find(props, MQTT_PROP_REASON_STRING, &v));
    assert_int_equal(v.str.n, 65535);
    assert_int_equal(mqtt_props_put_str(&b, MQTT_PROP_REASON_STRING, (struct slice){big, 65536}),
                     -ERR_TOO_BIG);
    assert_int_equal(mqtt_props_put_pair(&b, (struct slice){big, 65536}, slice_of("")),
                     -ERR_TOO_BIG);
    assert_int_equal(mqtt_props_put_pair(&b, slice_of(""), (struct slice){big, 65536}),
                     -ERR_TOO_BIG);
    assert_int_equal(b.len, props.n);
    b.len = 0;
    assert_int_equal(
        mqtt_props_put_pair(&b, (struct slice){big, 65535}, (struct slice){big, 65535}), 0);
    assert_int_equal(b.len, 1 + 2 * (2 + 65535));
    buf_fini(&b);
    free(big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(properties_stand_where_the_standard_says),
        cmocka_unit_test(unknown_identifiers_are_malformed),
        cmocka_unit_test(properties_come_once),
        cmocka_unit_test(values_stay_in_range),
        cmocka_unit_test(cut_properties_are_malformed),
        cmocka_unit_test(authentication_data_needs_its_method),
        cmocka_unit_test(what_is_put_is_found_again),
        cmocka_unit_test(order_and_duplicates_are_kept),
        cmocka_unit_test(strings_have_two_bytes_of_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
