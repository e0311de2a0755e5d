/* Buffers and lists.  realloc is wrapped, so that memory can run out on purpose; malloc too, which
 * newer compilers call for a realloc of nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void __real_free(void *p);
void __wrap_free(void *p);

static bool no_memory;
static const uint8_t *watched; /* freeing it counts what is left of a secret in it */
static size_t watched_bytes;
static size_t leftovers;

void *__wrap_malloc(size_t n)
{
    return no_memory ? NULL : __real_malloc(n);
}

void *__wrap_realloc(void *p, size_t n)
{
    return no_memory ? NULL : __real_realloc(p, n);
}

void __wrap_free(void *p)
{
    if (p != NULL && p == watched) {
        for (size_t i = 0; i < watched_bytes; i++)
            leftovers += watched[i] != 0;
        watched = NULL;
    }
    __real_free(p);
}

static void append_keeps_what_was_there(void **unused)
{
    struct buf b = {0};

    (void)unused;
    for (unsigned i = 0; i < 100000; i++) {
        uint8_t pair[2] = {(uint8_t)i, (uint8_t)(i >> 8)};

        assert_int_equal(buf_append(&b, pair, 2), 0);
        assert_int_equal(buf_append_u8(&b, (uint8_t)(i * 7)), 0);
        assert_true(b.len <= b.cap);
    }
    assert_int_equal(b.len, 300000);
    for (unsigned i = 0; i < 100000; i++) {
        assert_int_equal(b.p[3 * i], (uint8_t)i);
        assert_int_equal(b.p[3 * i + 1], (uint8_t)(i >> 8));
        assert_int_equal(b.p[3 * i + 2], (uint8_t)(i * 7));
    }
    buf_fini(&b);
    assert_null(b.p);
    assert_int_equal(b.len + b.cap, 0);
    assert_int_equal(buf_append(&b, "again", 5), 0);
    assert_memory_equal(b.p, "again", 5);
    buf_fini(&b);
}

static void appending_nothing_needs_nothing(void **unused)
{
    struct buf b = {0};

    (void)unused;
    assert_int_equal(buf_append(&b, NULL, 0), 0);
    assert_int_equal(buf_reserve(&b, 0), 0);
    assert_null(b.p);
    buf_fini(&b);
}

static void reserve_makes_room_without_length(void **unused)
{
    struct buf b = {0};

    (void)unused;
    assert_int_equal(buf_reserve(&b, 1000), 0);
    assert_true(b.cap >= 1000);
    assert_int_equal(b.len, 0);
    memset(b.p, 'x', 1000);
    b.len = 1000;
    assert_int_equal(buf_reserve(&b, b.cap - b.len), 0);
    buf_fini(&b);
}

static void out_of_memory_changes_nothing(void **unused)
{
    struct buf b = {0};
    struct buf before;

    (void)unused;
    assert_int_equal(buf_append(&b, "abc", 3), 0);
    before = b;
    no_memory = true;
    assert_int_equal(buf_reserve(&b, 100000), -ERR_NOMEM);
    assert_int_equal(buf_printf(&b, "%*d", 1000, 1), -ERR_NOMEM);
    while (b.len < b.cap)
        assert_int_equal(buf_append_u8(&b, '.'), 0);
    assert_int_equal(buf_append_u8(&b, '.'), -ERR_NOMEM);
    assert_int_equal(buf_append(&b, "x", 1), -ERR_NOMEM);
    no_memory = false;
    assert_ptr_equal(b.p, before.p);
    assert_int_equal(b.cap, before.cap);
    assert_int_equal(b.len, b.cap);
    assert_memory_equal(b.p, "abc", 3);
    assert_int_equal(buf_reserve(&b, SIZE_MAX), -ERR_NOMEM);
    assert_int_equal(buf_reserve(&b, SIZE_MAX / 2), -ERR_NOMEM);
    buf_fini(&b);
}

static void printf_appends_text_without_its_nul(void **unused)
{
    struct buf b = {0};

    (void)unused;
    assert_int_equal(buf_printf(&b, "%s=%d", "n", 42), 0);
    assert_int_equal(b.len, 4);
    for (int i = 0; i < 100; i++)
        assert_int_equal(buf_printf(&b, " %03d", i), 0);
    assert_int_equal(b.len, 404);
    assert_memory_equal(b.p, "n=42 000 001", 12);
    assert_memory_equal(b.p + 400, " 099", 4);
    buf_fini(&b);
}

static void drop_moves_the_rest_to_the_front(void **unused)
{
    struct buf b = {0};

    (void)unused;
    assert_int_equal(buf_append(&b, "abcdef", 6), 0);
    buf_drop(&b, 0);
    assert_int_equal(b.len, 6);
    buf_drop(&b, 4);
    assert_int_equal(b.len, 2);
    assert_memory_equal(b.p, "ef", 2);
    buf_drop(&b, 2);
    assert_int_equal(b.len, 0);
    buf_fini(&b);
}

static void wiping_covers_the_whole_capacity(void **unused)
{
    struct buf b = {0};

    (void)unused;
    assert_int_equal(buf_reserve(&b, 100), 0);
    memset(b.p, 's', b.cap);
    b.len = b.cap;
    buf_drop(&b, b.len - 3); /* the bytes are still there, behind len */
    watched = b.p;
    watched_bytes = b.cap;
    leftovers = 0;
    buf_fini_wipe(&b);
    assert_null(watched); /* it was freed */
    assert_int_equal(leftovers, 0);
    assert_null(b.p);
    assert_int_equal(b.len + b.cap, 0);
    buf_fini_wipe(&b); /* empty: harmless */
}

struct item {
    int n;
    struct list link;
};

static void growing_leaves_no_secret_behind(void **unused)
{
    struct buf b = {0};

    (void)unused;
    leftovers = 0;
    assert_int_equal(buf_append_wipe(&b, "secret", 6), 0);
    watched = b.p;
    watched_bytes = b.cap;
    assert_int_equal(buf_reserve_wipe(&b, b.cap - b.len), 0); /* there is room: nothing moves */
    assert_ptr_equal(b.p, watched);
    for (int i = 0; i < 100; i++)
        assert_int_equal(buf_append_wipe(&b, "secret", 6), 0);
    assert_null(watched);
    assert_int_equal(leftovers, 0);
    assert_int_equal(b.len, 606);
    assert_memory_equal(b.p + 600, "secret", 6);
    no_memory = true;
    assert_int_equal(buf_append_wipe(&b, b.p, 600), -ERR_NOMEM);
    no_memory = false;
    assert_int_equal(b.len, 606);
    assert_int_equal(buf_reserve_wipe(&b, SIZE_MAX), -ERR_NOMEM);
    buf_fini_wipe(&b);
}

static void list_keeps_order_and_lets_go(void **unused)
{
    struct list head;
    struct item items[5];
    int expected = 0;

    (void)unused;
    list_init(&head);
    assert_true(list_empty(&head));
    for (int i = 0; i < 5; i++) {
        items[i].n = i;
        list_add(&head, &items[i].link);
    }
    list_for_each (it, &head)
        assert_int_equal(list_entry(it, struct item, link)->n, expected++);
    assert_int_equal(expected, 5);
    list_for_each_safe (it, &head) {
        if (list_entry(it, struct item, link)->n % 2 == 0)
            list_del(it);
    }
    list_del(&items[0].link); /* twice is harmless */
    assert_ptr_equal(head.next, &items[1].link);
    assert_ptr_equal(head.prev, &items[3].link);
    list_del(&items[1].link);
    list_del(&items[3].link);
    assert_true(list_empty(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(append_keeps_what_was_there),
        cmocka_unit_test(appending_nothing_needs_nothing),
        cmocka_unit_test(reserve_makes_room_without_length),
        cmocka_unit_test(out_of_memory_changes_nothing),
        cmocka_unit_test(printf_appends_text_without_its_nul),
        cmocka_unit_test(drop_moves_the_rest_to_the_front),
        cmocka_unit_test(wiping_covers_the_whole_capacity),
        cmocka_unit_test(growing_leaves_no_secret_behind),
        cmocka_unit_test(list_keeps_order_and_lets_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
