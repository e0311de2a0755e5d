/* Exchanges under way: kept in order, found by id and state, counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "session/inflight.h"

#define BIT(state) (1u << (state))

static bool no_memory;

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);

void *__wrap_malloc(size_t n)
{
    return no_memory ? NULL : __real_malloc(n);
}

static struct inflight_item *at(const struct inflight *f, unsigned i)
{
    struct list *it = f->items.next;

    while (i-- > 0)
        it = it->next;
    return it != &f->items ? list_entry(it, struct inflight_item, link) : NULL;
}

static void items_keep_their_order_and_bytes(void **unused)
{
    struct inflight f;
    uint8_t raw[3] = {1, 2, 3};

    (void)unused;
    inflight_init(&f);
    assert_int_equal(f.count, 0);
    assert_null(at(&f, 0));

    struct inflight_item *a = inflight_add(&f, 7, INFLIGHT_PUBLISH, 1, raw, sizeof raw);
    struct inflight_item *b = inflight_add(&f, 3, INFLIGHT_SUBSCRIBE, 0, raw, 2);
    struct inflight_item *c = inflight_add(&f, 9, INFLIGHT_PUBLISH, 2, NULL, 0);
    raw[0] = 99; /* the bytes were copied */

    assert_int_equal(f.count, 3);
    assert_int_equal(f.bytes, 5);
    assert_ptr_equal(at(&f, 0), a);
    assert_ptr_equal(at(&f, 1), b);
    assert_ptr_equal(at(&f, 2), c);
    assert_int_equal(a->packet_id, 7);
    assert_int_equal(a->state, INFLIGHT_PUBLISH);
    assert_int_equal(a->qos, 1);
    assert_int_equal(a->raw_bytes, 3);
    assert_memory_equal(a->raw, ((uint8_t[]){1, 2, 3}), 3);
    assert_false(a->ours || a->redo);
    assert_int_equal(c->raw_bytes, 0);

    inflight_del(&f, b);
    assert_int_equal(f.count, 2);
    assert_int_equal(f.bytes, 3);
    assert_ptr_equal(at(&f, 0), a);
    assert_ptr_equal(at(&f, 1), c);
    inflight_fini(&f);
    assert_int_equal(f.count, 0);
    assert_int_equal(f.bytes, 0);
    assert_true(list_empty(&f.items));
    inflight_fini(&f); /* twice is harmless */
}

/* Ids of the two directions and kinds may meet; each search names what it looks for. */
static void find_looks_at_id_and_state(void **unused)
{
    struct inflight f;

    (void)unused;
    inflight_init(&f);
    struct inflight_item *sub = inflight_add(&f, 5, INFLIGHT_SUBSCRIBE, 0, NULL, 0);
    struct inflight_item *first = inflight_add(&f, 5, INFLIGHT_PUBLISH, 1, NULL, 0);
    struct inflight_item *second = inflight_add(&f, 5, INFLIGHT_PUBLISH, 1, NULL, 0);

    assert_ptr_equal(inflight_find(&f, 5, ~0u), sub);
    assert_ptr_equal(inflight_find(&f, 5, BIT(INFLIGHT_SUBSCRIBE)), sub);
    assert_ptr_equal(inflight_find(&f, 5, INFLIGHT_ANY_PUBLISH), first);
    assert_null(inflight_find(&f, 5, BIT(INFLIGHT_RECEIVED) | BIT(INFLIGHT_RELEASED)));
    assert_null(inflight_find(&f, 6, ~0u));
    assert_null(inflight_find(&f, 5, 0));

    first->state = INFLIGHT_RECEIVED;
    assert_ptr_equal(inflight_find(&f, 5, BIT(INFLIGHT_PUBLISH)), second);
    assert_ptr_equal(inflight_find(&f, 5, INFLIGHT_ANY_PUBLISH), first);
    first->state = INFLIGHT_RELEASED;
    assert_ptr_equal(inflight_find(&f, 5, INFLIGHT_ANY_PUBLISH), first);
    first->state = INFLIGHT_UNSUBSCRIBE;
    assert_ptr_equal(inflight_find(&f, 5, INFLIGHT_ANY_PUBLISH), second);
    inflight_fini(&f);
}

static void free_id_counts_down_from_the_upper_end(void **unused)
{
    struct inflight f;

    (void)unused;
    inflight_init(&f);
    assert_int_equal(inflight_free_id(&f, 65535), 65535);
    inflight_add(&f, 65535, INFLIGHT_PUBLISH, 1, NULL, 0);
    inflight_add(&f, 65533, INFLIGHT_SUBSCRIBE, 0, NULL, 0);
    assert_int_equal(inflight_free_id(&f, 65535), 65534);
    inflight_add(&f, 65534, INFLIGHT_UNSUBSCRIBE, 0, NULL, 0);
    assert_int_equal(inflight_free_id(&f, 65535), 65532);
    inflight_del(&f, at(&f, 0));
    assert_int_equal(inflight_free_id(&f, 65535), 65535);
    assert_int_equal(inflight_free_id(&f, 65534), 65532);
    assert_int_equal(inflight_free_id(&f, 7), 7);
    inflight_fini(&f);
}

/* An exchange may have another id on each side, or none on one of them. */
static void each_side_has_its_ids(void **unused)
{
    struct inflight f;

    (void)unused;
    inflight_init(&f);
    struct inflight_item *a = inflight_add(&f, 7, INFLIGHT_PUBLISH, 1, NULL, 0);
    struct inflight_item *b = inflight_add(&f, 8, INFLIGHT_PUBLISH, 1, NULL, 0);
    assert_int_equal(f.odd, 0);
    assert_ptr_equal(inflight_find_up(&f, 7, INFLIGHT_ANY), a);
    inflight_name(&f, a, 7, 0); /* the broker has forgotten it */
    inflight_name(&f, b, 65535, 7);
    assert_int_equal(f.odd, 2);
    assert_ptr_equal(inflight_find(&f, 7, INFLIGHT_ANY), a);
    assert_ptr_equal(inflight_find_up(&f, 7, INFLIGHT_ANY), b);
    assert_null(inflight_find(&f, 8, INFLIGHT_ANY));
    assert_null(inflight_find_up(&f, 65535, INFLIGHT_ANY));
    assert_int_equal(inflight_free_id(&f, 65535), 65534);
    assert_int_equal(inflight_free_id(&f, 7), 6);
    inflight_name(&f, b, 7, 7);
    assert_int_equal(f.odd, 1);
    inflight_del(&f, a);
    assert_int_equal(f.odd, 0);
    inflight_fini(&f);
}

static void what_is_prepended_comes_first_in_its_order(void **unused)
{
    struct inflight f, more;

    (void)unused;
    inflight_init(&f);
    inflight_init(&more);
    struct inflight_item *last = inflight_add(&f, 1, INFLIGHT_PUBLISH, 1, (uint8_t[]){1}, 1);
    struct inflight_item *first = inflight_add(&more, 9, INFLIGHT_SUBSCRIBE, 0, NULL, 0);
    struct inflight_item *second = inflight_add(&more, 8, INFLIGHT_SUBSCRIBE, 0, NULL, 0);
    inflight_name(&more, first, 0, 9);
    inflight_prepend(&f, &more);
    assert_ptr_equal(at(&f, 0), first);
    assert_ptr_equal(at(&f, 1), second);
    assert_ptr_equal(at(&f, 2), last);
    assert_int_equal(f.count, 3);
    assert_int_equal(f.odd, 1);
    assert_true(list_empty(&more.items));
    assert_int_equal(more.count, 0);
    inflight_prepend(&f, &more); /* nothing */
    assert_int_equal(f.count, 3);
    inflight_fini(&f);
}

static void no_id_is_free_when_all_are_used(void **unused)
{
    struct inflight f;

    (void)unused;
    inflight_init(&f);
    for (uint16_t id = 1; id <= 9; id++)
        assert_non_null(inflight_add(&f, id, INFLIGHT_PUBLISH, 1, NULL, 0));
    assert_int_equal(inflight_free_id(&f, 9), 0);
    assert_int_equal(inflight_free_id(&f, 0), 0);
    assert_int_equal(inflight_free_id(&f, 10), 10);
    inflight_fini(&f);
}

static void out_of_memory_adds_nothing(void **unused)
{
    struct inflight f;

    (void)unused;
    inflight_init(&f);
    no_memory = true;
    struct inflight_item *item = inflight_add(&f, 1, INFLIGHT_PUBLISH, 1, NULL, 0);
    no_memory = false;
    assert_null(item);
    assert_int_equal(f.count, 0);
    assert_true(list_empty(&f.items));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_keep_their_order_and_bytes),
        cmocka_unit_test(find_looks_at_id_and_state),
        cmocka_unit_test(free_id_counts_down_from_the_upper_end),
        cmocka_unit_test(each_side_has_its_ids),
        cmocka_unit_test(what_is_prepended_comes_first_in_its_order),
        cmocka_unit_test(no_id_is_free_when_all_are_used),
        cmocka_unit_test(out_of_memory_adds_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
