/* What a CONNACK allows, and a PUBLISH that has to do with less. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "session/limits.h"

static struct leg_limits of(enum mqtt_prop id, uint32_t num)
{
    struct buf b = {0};

    assert_int_equal(mqtt_props_put_num(&b, MQTT_PROP_TOPIC_ALIAS_MAXIMUM, 3), 0);
    assert_int_equal(mqtt_props_put_num(&b, id, num), 0);
    struct leg_limits l = limits_of((struct mqtt_props){b.p, (uint32_t)b.len});
    buf_fini(&b);
    return l;
}

static void silence_allows_everything(void **unused)
{
    struct leg_limits l = limits_of((struct mqtt_props){0});

    (void)unused;
    assert_false(limits_are_stricter(&l, &limits_none));
    assert_int_equal(l.receive_most, 65535);
    assert_int_equal(l.qos_most, 2);
    assert_int_equal(l.packet_bytes, MQTT_LARGEST_PACKET);
    assert_true(l.retains);
}

static void each_limit_counts(void **unused)
{
    static const struct {
        enum mqtt_prop id;
        uint32_t less, more;
    } rows[] = {
        {MQTT_PROP_RECEIVE_MAXIMUM, 10, 20},
        {MQTT_PROP_MAXIMUM_PACKET_SIZE, 1000, 1001},
        {MQTT_PROP_MAXIMUM_QOS, 0, 1},
        {MQTT_PROP_RETAIN_AVAILABLE, 0, 1},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct leg_limits less = of(rows[i].id, rows[i].less), more = of(rows[i].id, rows[i].more);
        assert_true(limits_are_stricter(&less, &limits_none));
        assert_true(limits_are_stricter(&less, &more));
        assert_false(limits_are_stricter(&more, &less));
        assert_false(limits_are_stricter(&less, &less));
    }
    assert_int_equal(of(MQTT_PROP_MAXIMUM_PACKET_SIZE, UINT32_MAX).packet_bytes,
                     MQTT_LARGEST_PACKET); /* as good as none */
}

static void publish_does_with_less(void **unused)
{
    struct leg_limits l = {.qos_most = 1, .retains = true};
    struct mqtt_publish p = {.qos = 2,
                             .packet_id = 7,
                             .dup = true,
                             .retain = true,
                             .topic = slice_of("t"),
                             .payload = slice_of("x")};
    struct buf out = {0};

    (void)unused;
    assert_false(limits_allow(&l, &p));
    assert_int_equal(limits_lower(&l, MQTT_V311, &p, &out), 0);
    assert_int_equal(out.len, 8);
    assert_memory_equal(out.p, "\x3B\x06\x00\x01t\x00\x07x", 8);
    out.len = 0;
    l = (struct leg_limits){.qos_most = 0, .retains = false};
    assert_int_equal(limits_lower(&l, MQTT_V5, &p, &out), 0);
    assert_int_equal(out.len, 7);
    assert_memory_equal(out.p, "\x30\x05\x00\x01t\x00x", 7);
    p.qos = 0;
    p.packet_id = 0;
    p.dup = false;
    assert_false(limits_allow(&l, &p));
    p.retain = false;
    assert_true(limits_allow(&l, &p));
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silence_allows_everything),
        cmocka_unit_test(each_limit_counts),
        cmocka_unit_test(publish_does_with_less),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
