/* test_control_outbox.c - what waits to be published: in order, bounded, each name once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "control/outbox.h"

static int make(void **state)
{
    struct outbox *b = calloc(1, sizeof(*b));

    assert_non_null(b);
    assert_int_equal(outbox_init(b), 0);
    *state = b;
    return 0;
}

static int drop(void **state)
{
    outbox_fini(*state); /* with whatever the test has left in it */
    free(*state);
    return 0;
}

static void messages_keep_their_order(void **state)
{
    struct outbox *b = *state;

    assert_null(outbox_first(b));
    assert_int_equal(outbox_put(b, "event", strdup("1"), NULL, 0), 0);
    assert_int_equal(outbox_put(b, "reply", strdup("2"), strdup("id"), 2), 0);
    assert_string_equal(outbox_first(b)->payload, "1");
    outbox_pop(b);
    assert_string_equal(outbox_first(b)->topic, "reply");
    assert_int_equal(outbox_first(b)->correlation_len, 2);
    outbox_pop(b);
    assert_null(outbox_first(b));
    assert_int_equal(outbox_put(b, "event", NULL, strdup("id"), 2), -1); /* no memory for it */
    assert_null(outbox_first(b));
}

static void beyond_the_bound_the_oldest_goes(void **state)
{
    struct outbox *b = *state;
    char text[16];

    for (int i = 0; i < OUTBOX_MAX + 3; i++) {
        snprintf(text, sizeof(text), "%d", i);
        assert_int_equal(outbox_put(b, "event", strdup(text), NULL, 0), 0);
    }
    assert_int_equal(b->count, OUTBOX_MAX);
    assert_int_equal(b->dropped, 3);
    assert_string_equal(outbox_first(b)->payload, "3");
}

static void large_messages_are_bounded_by_their_bytes(void **state)
{
    struct outbox *b = *state;

    for (int i = 0; i < 20; i++) {
        char *large = calloc(1, 1024 * 1024 + 1);

        assert_non_null(large);
        memset(large, 'a' + i, 1024 * 1024);
        assert_int_equal(outbox_put(b, "reply", large, NULL, 0), 0);
        assert_true(b->bytes <= OUTBOX_BYTES_MAX);
    }
    assert_int_equal(b->count, 15);
    assert_int_equal(b->dropped, 5);
    assert_int_equal(outbox_first(b)->payload[0], 'a' + 5);
    while (outbox_first(b) != NULL)
        outbox_pop(b);
    assert_int_equal(b->bytes, 0);
}

static void a_name_is_told_once_however_often_it_changes(void **state)
{
    struct outbox *b = *state;

    assert_int_equal(outbox_touch(b, "a"), 0);
    assert_int_equal(outbox_touch(b, "b"), 0);
    assert_int_equal(outbox_touch(b, "a"), 0);
    assert_null(outbox_ready(b)); /* not before it has settled */
    outbox_settle(b);
    assert_int_equal(outbox_touch(b, "b"), 0);
    assert_string_equal(outbox_ready(b), "a");
    outbox_told(b);
    assert_int_equal(outbox_touch(b, "a"), 0); /* it changed again since it was told */
    assert_string_equal(outbox_ready(b), "b");
    outbox_told(b);
    assert_null(outbox_ready(b));
    outbox_settle(b);
    assert_string_equal(outbox_ready(b), "a");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(messages_keep_their_order),
        TEST(beyond_the_bound_the_oldest_goes),
        TEST(large_messages_are_bounded_by_their_bytes),
        TEST(a_name_is_told_once_however_often_it_changes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
