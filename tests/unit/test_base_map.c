/* The map, against a plain array, and without memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/map.h"

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

static int allocations_left = -1; /* negative: no end of them */

static bool runs_out(void)
{
    return allocations_left == 0 || (allocations_left > 0 && allocations_left-- == 0);
}

void *__wrap_malloc(size_t n)
{
    return runs_out() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return runs_out() ? NULL : __real_calloc(n, size);
}

static void put_get_replace_delete(void **unused)
{
    struct map *m = map_new();
    int a = 1;
    int b = 2;

    (void)unused;
    assert_non_null(m);
    assert_int_equal(map_count(m), 0);
    assert_null(map_get(m, "a"));
    assert_null(map_del(m, "a"));
    assert_int_equal(map_put(m, "a", &a), 0);
    assert_int_equal(map_put(m, "", &b), 0);
    assert_ptr_equal(map_get(m, "a"), &a);
    assert_ptr_equal(map_get(m, ""), &b);
    assert_ptr_equal(map_get_n(m, NULL, 0), &b);
    assert_int_equal(map_put(m, "a", &b), 0);
    assert_int_equal(map_count(m), 2);
    assert_ptr_equal(map_get(m, "a"), &b);
    assert_ptr_equal(map_del(m, "a"), &b);
    assert_null(map_get(m, "a"));
    assert_int_equal(map_count(m), 1);
    map_free(m);
    map_free(NULL);
}

static void keys_are_copied_and_may_be_slices(void **unused)
{
    struct map *m = map_new();
    char key[] = "press-12";
    int v = 0;

    (void)unused;
    assert_int_equal(map_put(m, key, &v), 0);
    key[0] = 'X';
    assert_ptr_equal(map_get(m, "press-12"), &v);
    assert_ptr_equal(map_get_n(m, "press-12-and-more", 8), &v);
    assert_null(map_get_n(m, "press-12", 7));
    assert_null(map_get_n(m, "press-12", 9)); /* with its NUL */
    map_free(m);
}

enum { KEYS = 3000 };

static void agrees_with_an_array_whatever_happens(void **unused)
{
    static int there[KEYS];
    struct map *m = map_new();
    uint32_t dice = 12345;
    size_t count = 0;
    char key[32];

    (void)unused;
    for (int round = 0; round < 200000; round++) {
        uint32_t k;

        dice = dice * 1664525 + 1013904223;
        k = dice >> 8 & 0xffff;
        k %= KEYS;
        snprintf(key, sizeof(key), "device-%u", k);
        if ((dice >> 30) == 0) {
            assert_ptr_equal(map_del(m, key), there[k] ? &there[k] : NULL);
            count -= (size_t)there[k];
            there[k] = 0;
        } else if ((dice >> 30) == 1) {
            assert_int_equal(map_put(m, key, &there[k]), 0);
            count += (size_t)!there[k];
            there[k] = 1;
        } else {
            assert_ptr_equal(map_get(m, key), there[k] ? &there[k] : NULL);
        }
        assert_int_equal(map_count(m), count);
    }
    map_free(m);
}

static void walk_meets_each_once_and_may_delete(void **unused)
{
    static int seen[KEYS];
    struct map *m = map_new();
    const char *key;
    void *value;
    size_t it = 0;
    char name[32];

    (void)unused;
    assert_false(map_next(m, &it, &key, &value));
    for (int i = 0; i < KEYS; i++) {
        snprintf(name, sizeof(name), "k%d", i);
        assert_int_equal(map_put(m, name, &seen[i]), 0);
    }
    for (it = 0; map_next(m, &it, &key, &value);) {
        int n = atoi(key + 1);

        assert_ptr_equal(value, &seen[n]);
        seen[n]++;
        if (n % 3 == 0) {
            snprintf(name, sizeof(name), "%s", key);
            assert_ptr_equal(map_del(m, name), value);
        }
    }
    for (int i = 0; i < KEYS; i++)
        assert_int_equal(seen[i], 1);
    assert_int_equal(map_count(m), KEYS - KEYS / 3);
    for (it = 0; map_next(m, &it, &key, NULL);) {
        assert_int_not_equal(atoi(key + 1) % 3, 0);
        snprintf(name, sizeof(name), "%s", key);
        map_del(m, name); /* to the very last */
    }
    assert_int_equal(map_count(m), 0);
    assert_int_equal(map_put(m, "again", &seen[0]), 0);
    assert_ptr_equal(map_get(m, "again"), &seen[0]);
    it = 0;
    assert_true(map_next(m, &it, NULL, NULL));
    assert_false(map_next(m, &it, NULL, NULL));
    map_free(m);
}

static void out_of_memory_changes_nothing(void **unused)
{
    struct map *m;
    int v;
    char key[16];

    (void)unused;
    allocations_left = 0;
    assert_null(map_new());
    allocations_left = -1;
    m = map_new();
    for (int left = 0; left < 2;
         left++) { /* the entry fails; the entry succeeds, the array fails */
        allocations_left = left;
        assert_int_equal(map_put(m, "first", &v), -ERR_NOMEM);
        allocations_left = -1;
        assert_int_equal(map_count(m), 0);
        assert_null(map_get(m, "first"));
    }
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "%d", i);
        allocations_left = 1;
        if (map_put(m, key, &v) != 0) {
            assert_null(map_get(m, key));
            allocations_left = -1;
            assert_int_equal(map_put(m, key, &v), 0);
        }
        allocations_left = -1;
        assert_int_equal(map_count(m), (size_t)i + 1);
    }
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "%d", i);
        assert_ptr_equal(map_get(m, key), &v);
    }
    map_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(put_get_replace_delete),
        cmocka_unit_test(keys_are_copied_and_may_be_slices),
        cmocka_unit_test(agrees_with_an_array_whatever_happens),
        cmocka_unit_test(walk_meets_each_once_and_may_delete),
        cmocka_unit_test(out_of_memory_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
