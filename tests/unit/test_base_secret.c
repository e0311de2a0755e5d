/* Memory for keys: zeroed, wiped, left out of core dumps. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/secret.h"

static bool is_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != 0)
            return false;
    return true;
}

static void blocks_are_wiped_and_used_again(void **state)
{
    (void)state;
    for (size_t n = 0; n < 70000; n = n * 2 + 1) {
        uint8_t *p = secret_alloc(n), *again;

        assert_non_null(p);
        assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
        assert_true(secret_owns(p));
        assert_true(secret_room(p) >= n);
        assert_true(is_zero(p, secret_room(p)));
        memset(p, 0xa5, secret_room(p));
        secret_free(p);
        again = secret_alloc(n);
        assert_ptr_equal(again, p);
        assert_true(is_zero(p, secret_room(p)));
        secret_free(again);
    }
    secret_free(NULL);
}

static void what_is_elsewhere_is_not_ours(void **state)
{
    uint8_t *heap = malloc(10), *ours = secret_alloc(10);
    int here;

    (void)state;
    assert_false(secret_owns(heap));
    assert_false(secret_owns(&here));
    assert_false(secret_owns(NULL));
    assert_true(secret_owns(ours));
    secret_free_heap(heap);
    secret_free_heap(NULL);
    secret_free(ours);
}

static void what_is_too_large_is_refused(void **state)
{
    struct secret s = {0};

    (void)state;
    assert_null(secret_alloc(SIZE_MAX));
    assert_null(secret_alloc((size_t)1 << 24));
    assert_int_equal(secret_set(&s, "abc", 3), 0);
    assert_memory_equal(s.p, "abc", 3);
    assert_int_equal(secret_set(&s, "wxyz", 4), 0);
    assert_int_equal(s.len, 4);
    assert_int_equal(secret_set(&s, s.p + 1, 2), 0); /* a part of itself */
    assert_memory_equal(s.p, "xy", 2);
    secret_fini(&s);
    assert_null(s.p);
    secret_fini(&s);
}

/* VmFlags of the mapping that holds `p`, from /proc/self/smaps. */
static bool has_flag(const void *p, const char *flag)
{
    FILE *maps = fopen("/proc/self/smaps", "r");
    char line[512];
    bool in = false, has = false;

    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps) != NULL) {
        unsigned long from, to;

        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            in = (uintptr_t)p >= from && (uintptr_t)p < to;
        if (in && strncmp(line, "VmFlags:", 8) == 0)
            has = strstr(line, flag) != NULL;
    }
    fclose(maps);
    return has;
}

static void it_is_left_out_of_core_dumps(void **state)
{
    uint8_t *p = secret_alloc(100);
    const char *emulator = getenv("CERTFLIP_EMULATOR");
    struct secret_use use;

    (void)state;
    secret_use(&use);
    assert_true(use.bytes >= 100);
    if (emulator == NULL || emulator[0] == '\0') /* qemu-user keeps such advice to itself */
        assert_true(has_flag(p, " dd"));         /* MADV_DONTDUMP */
    secret_free(p);
}

static void *storm(void *arg)
{
    uint8_t *held[32] = {NULL};
    unsigned seed = *(unsigned *)arg;

    for (unsigned i = 0; i < 20000; i++) {
        unsigned at = (seed = seed * 1103515245u + 12345u) >> 16 & 31;
        size_t n = (seed >> 8 & 1023) + 1;

        if (held[at] != NULL) {
            secret_free(held[at]);
            held[at] = NULL;
        } else {
            held[at] = secret_alloc(n);
            if (held[at] == NULL || !is_zero(held[at], n))
                return arg;
            memset(held[at], (int)at + 1, n);
        }
    }
    for (unsigned i = 0; i < 32; i++)
        secret_free(held[i]);
    return NULL;
}

static void threads_share_it(void **state)
{
    pthread_t threads[4];
    unsigned seeds[4] = {1, 2, 3, 4};
    void *bad;

    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, storm, &seeds[i]), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], &bad), 0);
        assert_null(bad);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_wiped_and_used_again),
        cmocka_unit_test(what_is_elsewhere_is_not_ours),
        cmocka_unit_test(what_is_too_large_is_refused),
        cmocka_unit_test(it_is_left_out_of_core_dumps),
        cmocka_unit_test(threads_share_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
