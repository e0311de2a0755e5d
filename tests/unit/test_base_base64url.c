/* test_base_base64url.c - one text for each run of bytes, and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/base64url.h"
#include "base/err.h"

static void both_ways(const void *bytes, size_t n, const char *text)
{
    struct buf b = {0};

    assert_int_equal(base64url_encode(bytes, n, &b), 0);
    assert_int_equal(b.len, strlen(text));
    assert_memory_equal(b.p, text, b.len);
    b.len = 0;
    assert_int_equal(base64url_decode(text, strlen(text), &b), 0);
    assert_int_equal(b.len, n);
    assert_memory_equal(b.p, bytes, n);
    buf_fini(&b);
}

static void examples(void **unused)
{
    (void)unused;
    both_ways("", 0, "");
    both_ways("f", 1, "Zg"); /* RFC 4648, 10, without padding */
    both_ways("fo", 2, "Zm8");
    both_ways("foo", 3, "Zm9v");
    both_ways("foob", 4, "Zm9vYg");
    both_ways("fooba", 5, "Zm9vYmE");
    both_ways("foobar", 6, "Zm9vYmFy");
    both_ways("\x03\xec\xff\xe0\xc1", 5, "A-z_4ME"); /* RFC 7515, appendix C */
}

/* Of all texts of two and three characters, those that decode are the ones that are encoded so. */
static void a_text_that_is_taken_is_the_only_one(void **unused)
{
    size_t taken = 0;

    (void)unused;
    for (unsigned a = 0; a < 256; a++)
        for (unsigned c = 0; c < 256; c++) {
            const char text[] = {'A', (char)a, (char)c};
            struct buf b = {0}, again = {0};

            if (base64url_decode(text, 3, &b) == 0) {
                assert_int_equal(base64url_encode(b.p, b.len, &again), 0);
                assert_int_equal(again.len, 3);
                assert_memory_equal(again.p, text, 3);
                taken++;
            } else {
                assert_int_equal(b.len, 0);
            }
            buf_fini(&b);
            buf_fini(&again);
        }
    assert_int_equal(taken, 64 * 16);
}

static void everything_else_is_refused(void **unused)
{
    static const char *const bad[] = {
        "A", "AAAAA", "Zh", "Zm9", "Zg==", "Zm8=", "Zm+v", "Zm/v", "Zm9v ", " Zm9v", "Zm\n9v"};
    struct buf b = {0};

    (void)unused;
    buf_append(&b, "x", 1);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(base64url_decode(bad[i], strlen(bad[i]), &b), -ERR_SYNTAX);
        assert_int_equal(b.len, 1);
    }
    assert_int_equal(base64url_decode("Zm\0v", 4, &b), -ERR_SYNTAX);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples),
        cmocka_unit_test(a_text_that_is_taken_is_the_only_one),
        cmocka_unit_test(everything_else_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
