/* Subscriptions as granted: what a new leg is told when its broker knows nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "session/subs.h"

static bool no_memory;

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);

void *__wrap_malloc(size_t n)
{
    return no_memory ? NULL : __real_malloc(n);
}

/* "a/b:1 c/#:2/7" - filter, options, and the subscription identifier when there is one. */
static const char *told(const struct subs *s)
{
    static char out[400];
    size_t at = 0;
    uint32_t count = 0;

    out[0] = '\0';
    for (const struct sub *sub = s->first; sub != NULL; sub = sub->next, count++) {
        at += (size_t)snprintf(out + at, sizeof out - at, "%s%.*s:%u", count > 0 ? " " : "",
                               sub->filter_bytes, (const char *)sub->filter, sub->options);
        if (sub->subscription_id != 0)
            at += (size_t)snprintf(out + at, sizeof out - at, "/%u", sub->subscription_id);
    }
    assert_int_equal(count, s->count);
    return out;
}

static void put(struct subs *s, const char *filter, uint8_t options, uint32_t id)
{
    assert_int_equal(subs_put(s, slice_of(filter), options, id), 0);
}

static void put_replaces_and_del_forgets(void **unused)
{
    struct subs s = {0};

    (void)unused;
    put(&s, "a/b", 1, 0);
    put(&s, "c/#", 2, 7);
    put(&s, "a", 0, 0); /* a prefix is another filter */
    assert_string_equal(told(&s), "a/b:1 c/#:2/7 a:0");
    put(&s, "a/b", 0x2E, 9);
    assert_string_equal(told(&s), "a/b:46/9 c/#:2/7 a:0");
    subs_del(&s, slice_of("nobody/has/it"));
    subs_del(&s, slice_of("c/#"));
    assert_string_equal(told(&s), "a/b:46/9 a:0");
    subs_del(&s, slice_of("a/b"));
    subs_del(&s, slice_of("a"));
    assert_string_equal(told(&s), "");
    assert_null(s.first);
    put(&s, "again", 1, 0);
    subs_fini(&s);
    assert_string_equal(told(&s), "");
    subs_fini(&s);
}

static struct buf packet(int version, enum mqtt_type type, uint32_t id, const char *const filters[],
                         size_t count)
{
    struct buf b = {0}, props = {0};
    struct mqtt_filter f[8];

    for (size_t i = 0; i < count; i++)
        f[i] = (struct mqtt_filter){slice_of(filters[i]), type == MQTT_SUBSCRIBE ? 1 : 0};
    if (id != 0)
        assert_int_equal(mqtt_props_put_num(&props, MQTT_PROP_SUBSCRIPTION_ID, id), 0);
    assert_int_equal(mqtt_subscribe_write(&b, version, type, 4,
                                          (struct mqtt_props){props.p, (uint32_t)props.len}, f,
                                          count),
                     0);
    buf_fini(&props);
    return b;
}

static const char *const abc[] = {"a", "b", "c"};

static int apply(struct subs *s, int version, enum mqtt_type type, uint32_t id, const char *codes,
                 size_t n)
{
    struct buf b = packet(version, type, id, abc, 3);
    int rc =
        subs_apply(s, version, b.p, (uint32_t)b.len, (struct slice){(const uint8_t *)codes, n});

    buf_fini(&b);
    return rc;
}

static void only_what_was_granted_counts(void **unused)
{
    struct subs s = {0};

    (void)unused;
    assert_int_equal(apply(&s, MQTT_V311, MQTT_SUBSCRIBE, 0, "\x01\x80\x00", 3), 0);
    assert_string_equal(told(&s), "a:1 c:1"); /* as asked for, not as granted: QoS may grow */
    assert_int_equal(apply(&s, MQTT_V5, MQTT_SUBSCRIBE, 300, "\x87\x02\x97", 3), 0);
    assert_string_equal(told(&s), "a:1 c:1 b:1/300");
    subs_fini(&s);
}

static void unsuback_of_3_1_1_has_no_codes_and_grants_all(void **unused)
{
    struct subs s = {0};

    (void)unused;
    put(&s, "a", 1, 0);
    put(&s, "b", 1, 0);
    put(&s, "other", 1, 0);
    assert_int_equal(apply(&s, MQTT_V311, MQTT_UNSUBSCRIBE, 0, NULL, 0), 0);
    assert_string_equal(told(&s), "other:1");
    subs_fini(&s);
}

static void unsuback_of_5_0_has_a_code_for_each(void **unused)
{
    struct subs s = {0};

    (void)unused;
    put(&s, "a", 1, 0);
    put(&s, "b", 1, 0);
    put(&s, "c", 1, 0);
    /* done, not authorised, there was none */
    assert_int_equal(apply(&s, MQTT_V5, MQTT_UNSUBSCRIBE, 0, "\x00\x87\x11", 3), 0);
    assert_string_equal(told(&s), "b:1");
    subs_fini(&s);
}

/* A broker that answers with too few codes has not granted the rest. */
static void missing_codes_grant_nothing(void **unused)
{
    struct subs s = {0};

    (void)unused;
    assert_int_equal(apply(&s, MQTT_V311, MQTT_SUBSCRIBE, 0, "\x01", 1), 0);
    assert_string_equal(told(&s), "a:1");
    assert_int_equal(apply(&s, MQTT_V311, MQTT_SUBSCRIBE, 0, "\x01\x01\x01\x01\x01", 5), 0);
    assert_string_equal(told(&s), "a:1 b:1 c:1");
    subs_fini(&s);
}

static void what_is_no_subscribe_is_refused(void **unused)
{
    struct subs s = {0};
    struct buf b = packet(MQTT_V311, MQTT_SUBSCRIBE, 0, abc, 3);
    struct slice none = {NULL, 0};

    (void)unused;
    for (uint32_t n = 0; n < b.len; n++)
        assert_int_equal(subs_apply(&s, MQTT_V311, b.p, n, none), -ERR_MALFORMED);
    b.p[0] = 0xC0;
    assert_int_equal(subs_apply(&s, MQTT_V311, b.p, (uint32_t)b.len, none), -ERR_MALFORMED);
    assert_string_equal(told(&s), "");
    buf_fini(&b);
}

static void out_of_memory_is_said(void **unused)
{
    struct subs s = {0};
    struct buf b = packet(MQTT_V311, MQTT_SUBSCRIBE, 0, abc, 3);

    (void)unused;
    put(&s, "a", 0, 0);
    no_memory = true;
    int rc = subs_put(&s, slice_of("b"), 1, 0);
    int replaced = subs_put(&s, slice_of("a"), 2, 0); /* needs none */
    int applied = subs_apply(&s, MQTT_V311, b.p, (uint32_t)b.len, (struct slice){NULL, 0});
    no_memory = false;
    assert_int_equal(rc, -ERR_NOMEM);
    assert_int_equal(replaced, 0);
    assert_int_equal(applied, -ERR_NOMEM);
    assert_string_equal(told(&s), "a:1");
    buf_fini(&b);
    subs_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(put_replaces_and_del_forgets),
        cmocka_unit_test(only_what_was_granted_counts),
        cmocka_unit_test(unsuback_of_3_1_1_has_no_codes_and_grants_all),
        cmocka_unit_test(unsuback_of_5_0_has_a_code_for_each),
        cmocka_unit_test(missing_codes_grant_nothing),
        cmocka_unit_test(what_is_no_subscribe_is_refused),
        cmocka_unit_test(out_of_memory_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
