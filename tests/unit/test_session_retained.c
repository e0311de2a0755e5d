/* What a device has had last on its topics: remembered, bounded, wrong in one direction only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "session/retained.h"

static bool no_memory;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
    return no_memory ? NULL : __real_calloc(n, size);
}

static struct mqtt_publish message(const char *payload, bool retain)
{
    return (struct mqtt_publish){.payload = slice_of(payload), .retain = retain};
}

static void note(struct retained *r, const char *topic, const char *payload, bool retain)
{
    struct mqtt_publish p = message(payload, retain);

    retained_note(r, slice_of(topic), &p);
}

static bool had(const struct retained *r, const char *topic, const char *payload)
{
    struct mqtt_publish p = message(payload, true);

    return retained_had(r, slice_of(topic), &p);
}

static void the_last_content_counts(void **unused)
{
    struct retained r = {0};

    (void)unused;
    assert_false(had(&r, "a", "1"));
    note(&r, "a", "1", true);
    assert_true(had(&r, "a", "1"));
    assert_false(had(&r, "a", "2"));
    assert_false(had(&r, "b", "1"));
    note(&r, "a", "2", false);
    assert_false(had(&r, "a", "1"));
    assert_true(had(&r, "a", "2"));
    note(&r, "", "", true); /* as good as any */
    assert_true(had(&r, "", ""));
    retained_forget(&r);
    assert_false(had(&r, "a", "2"));
    note(&r, "a", "2", true);
    assert_true(had(&r, "a", "2"));
    retained_fini(&r);
    assert_false(had(&r, "a", "2"));
    retained_forget(&r);
    retained_restart(&r);
    retained_fini(&r);
}

static void copies_are_counted_from_each_restart(void **unused)
{
    struct retained r = {0};

    (void)unused;
    assert_int_equal(retained_copies(&r, slice_of("a")), 0);
    note(&r, "a", "1", true);
    assert_int_equal(retained_copies(&r, slice_of("a")), 0);
    assert_int_equal(retained_copies(&r, slice_of("a")), 1);
    note(&r, "a", "2", true);
    assert_int_equal(retained_copies(&r, slice_of("a")), 2);
    retained_restart(&r);
    assert_int_equal(retained_copies(&r, slice_of("a")), 0);
    for (int i = 0; i < 1000; i++)
        (void)retained_copies(&r, slice_of("a"));
    assert_int_equal(retained_copies(&r, slice_of("a")), UINT8_MAX);
    retained_fini(&r);
}

/* Many live topics do not push out those that came with RETAIN; and the memory is bounded. */
static void it_is_bounded(void **unused)
{
    struct retained r = {0};
    char topic[32];
    unsigned kept = 0;

    (void)unused;
    for (unsigned i = 0; i < 64; i++) {
        snprintf(topic, sizeof topic, "setpoint/%u", i);
        note(&r, topic, "x", true);
    }
    for (unsigned i = 0; i < 100000; i++) {
        snprintf(topic, sizeof topic, "live/%u", i);
        note(&r, topic, "x", false);
        assert_true(r.cap <= RETAINED_TOPICS_MAX);
    }
    assert_int_equal(r.cap, RETAINED_TOPICS_MAX);
    for (unsigned i = 0; i < 64; i++) {
        snprintf(topic, sizeof topic, "setpoint/%u", i);
        assert_true(had(&r, topic, "x"));
    }
    for (unsigned i = 0; i < 100000; i++) {
        snprintf(topic, sizeof topic, "live/%u", i);
        kept += had(&r, topic, "x");
    }
    assert_true(kept <= RETAINED_TOPICS_MAX - 64 && kept > RETAINED_TOPICS_MAX / 2);
    for (unsigned i = 0; i < 100000; i++) {
        snprintf(topic, sizeof topic, "more/%u", i);
        note(&r, topic, "x", true);
    }
    assert_true(had(&r, "more/99999", "x"));
    assert_int_equal(r.cap, RETAINED_TOPICS_MAX);
    retained_fini(&r);
}

static void a_few_topics_take_little(void **unused)
{
    struct retained r = {0};
    char topic[32];

    (void)unused;
    note(&r, "a", "1", true);
    assert_int_equal(r.cap, 16);
    for (unsigned i = 0; i < 64; i++) {
        snprintf(topic, sizeof topic, "t/%u", i);
        note(&r, topic, "x", true);
    }
    for (unsigned i = 0; i < 64; i++) {
        snprintf(topic, sizeof topic, "t/%u", i);
        assert_true(had(&r, topic, "x"));
    }
    retained_fini(&r);
}

static void out_of_memory_remembers_nothing(void **unused)
{
    struct retained r = {0};

    (void)unused;
    no_memory = true;
    note(&r, "a", "1", true);
    no_memory = false;
    assert_false(had(&r, "a", "1"));
    note(&r, "a", "1", true);
    no_memory = true;
    for (unsigned i = 0; i < 100; i++) {
        char topic[32];
        snprintf(topic, sizeof topic, "t/%u", i);
        note(&r, topic, "x", true);
    }
    no_memory = false;
    assert_int_equal(r.cap, 16);
    assert_true(had(&r, "t/99", "x"));
    retained_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_content_counts),
        cmocka_unit_test(copies_are_counted_from_each_restart),
        cmocka_unit_test(it_is_bounded),
        cmocka_unit_test(a_few_topics_take_little),
        cmocka_unit_test(out_of_memory_remembers_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
