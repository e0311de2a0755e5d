#include "base/heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define ITEMS 500

static void an_empty_heap_has_no_first(void **unused)
{
    struct heap h = {0};
    struct heap_item it = {0};

    (void)unused;
    assert_null(heap_first(&h));
    heap_del(&h, &it); /* not in: nothing happens */
    heap_put(&h, &it, 7);
    assert_ptr_equal(heap_first(&h), &it);
    heap_put(&h, &it, 9); /* once, whatever its key */
    assert_int_equal(heap_first(&h)->key, 9);
    heap_del(&h, &it);
    heap_del(&h, &it);
    assert_null(heap_first(&h));
    assert_false(it.in);
}

/* Against a plain array: whatever is put, moved and taken out, the first is the least. */
static void the_first_is_the_least(void **unused)
{
    static struct heap_item items[ITEMS];
    struct heap h = {0};
    unsigned seed = 1;

    (void)unused;
    for (int step = 0; step < 20000; step++) {
        struct heap_item *it = &items[(unsigned)rand_r(&seed) % ITEMS], *least = NULL;

        if (rand_r(&seed) % 3 == 0)
            heap_del(&h, it);
        else
            heap_put(&h, it, rand_r(&seed) % 1000 - 500);
        for (size_t i = 0; i < ITEMS; i++)
            if (items[i].in && (least == NULL || items[i].key < least->key))
                least = &items[i];
        if (least == NULL)
            assert_null(heap_first(&h));
        else
            assert_int_equal(heap_first(&h)->key, least->key);
    }
    for (int64_t last = -500; heap_first(&h) != NULL; heap_del(&h, heap_first(&h))) {
        assert_true(heap_first(&h)->key >= last);
        last = heap_first(&h)->key;
    }
    for (size_t i = 0; i < ITEMS; i++)
        assert_false(items[i].in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_heap_has_no_first),
        cmocka_unit_test(the_first_is_the_least),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
