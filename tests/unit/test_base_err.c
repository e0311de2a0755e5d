/* Errors: stated once, wrapped on the way out, always one printable line. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/str.h"

static void cause_is_stated_and_wrapped(void **unused)
{
    struct err e = {0};
    int rc;

    (void)unused;
    assert_int_equal(err_set(&e, ERR_NOT_FOUND, "no such file: %s", "a.pem"), -ERR_NOT_FOUND);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_string_equal(e.msg, "no such file: a.pem");
    rc = err_wrap(&e, -ERR_NOT_FOUND, "device %s", "press-12");
    rc = err_wrap(&e, rc, "line %d", 7);
    assert_int_equal(rc, -ERR_NOT_FOUND);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_string_equal(e.msg, "line 7: device press-12: no such file: a.pem");
}

static void setting_again_forgets_the_former(void **unused)
{
    struct err e;

    (void)unused;
    err_set(&e, ERR_IO, "something long that came first");
    err_set(&e, ERR_BUSY, "x");
    assert_int_equal(e.code, ERR_BUSY);
    assert_string_equal(e.msg, "x");
}

static void a_sentence_may_quote_its_predecessor(void **unused)
{
    struct err e;

    (void)unused;
    err_set(&e, ERR_IO, "inner");
    err_set(&e, ERR_TLS, "outer (%s)", e.msg);
    assert_string_equal(e.msg, "outer (inner)");
}

static void nobody_has_to_listen(void **unused)
{
    (void)unused;
    assert_int_equal(err_set(NULL, ERR_TLS, "x"), -ERR_TLS);
    assert_int_equal(err_wrap(NULL, -ERR_BUSY, "x"), -ERR_BUSY);
    assert_int_equal(err_errno(NULL, ENOENT, "x"), -ERR_IO);
}

static void errno_is_put_into_words(void **unused)
{
    struct err e;

    (void)unused;
    assert_int_equal(err_errno(&e, ENOSPC, "write %s", "db"), -ERR_IO);
    assert_int_equal(e.code, ERR_IO);
    assert_string_equal(e.msg, "write db: No space left on device");
}

static void wrapping_nothing_says_at_least_the_code(void **unused)
{
    struct err e = {0};

    (void)unused;
    assert_int_equal(err_wrap(&e, -ERR_TIMEOUT, "dial"), -ERR_TIMEOUT);
    assert_int_equal(e.code, ERR_TIMEOUT);
    assert_string_equal(e.msg, "dial: timeout");
    e = (struct err){0};
    assert_int_equal(err_wrap(&e, 0, "odd"), 0);
    assert_int_equal(e.code, ERR_INVALID);
}

static void long_sentences_are_cut_at_the_end(void **unused)
{
    struct err e;
    char big[2 * sizeof(e.msg)];

    (void)unused;
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    err_set(&e, ERR_IO, "%s", big);
    assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
    err_wrap(&e, -ERR_IO, "where");
    assert_memory_equal(e.msg, "where: xxx", 10);
    assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
    err_errno(&e, ENOENT, "%s", big);
    assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
}

/* Whatever a peer made us quote, the sentence is one line of valid UTF-8. */
static void a_sentence_is_one_line_of_utf8(void **unused)
{
    struct err e;
    char big[sizeof(e.msg) + 1];

    (void)unused;
    err_set(&e, ERR_SYNTAX,
            "a\nb\tc\x7f"
            "d\xff"
            "e \xe2\x82\xac\xc3");
    assert_string_equal(e.msg, "a b c d?e \xe2\x82\xac?");
    for (size_t i = 0; i + 2 < sizeof(big); i += 2)
        memcpy(big + i, "\xc3\xa4", 2); /* the cut falls into a character */
    big[sizeof(big) - 1] = '\0';
    err_set(&e, ERR_IO, "%.*s", (int)(sizeof(big) - 3), big);
    assert_true(str_is_utf8((const uint8_t *)e.msg, strlen(e.msg)));
}

static void every_code_has_its_own_name(void **unused)
{
    (void)unused;
    for (int i = 0; i <= ERR_EXPIRED; i++) {
        assert_non_null(err_name(i));
        assert_string_equal(err_name(i), err_name(-i));
        assert_string_not_equal(err_name(i), "unknown");
        for (int j = 0; j < i; j++)
            assert_string_not_equal(err_name(i), err_name(j));
    }
    assert_string_equal(err_name(-ERR_NOT_FOUND), "not-found");
    assert_string_equal(err_name(ERR_EXPIRED + 1), "unknown");
    assert_string_equal(err_name(INT32_MIN), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cause_is_stated_and_wrapped),
        cmocka_unit_test(setting_again_forgets_the_former),
        cmocka_unit_test(a_sentence_may_quote_its_predecessor),
        cmocka_unit_test(nobody_has_to_listen),
        cmocka_unit_test(errno_is_put_into_words),
        cmocka_unit_test(wrapping_nothing_says_at_least_the_code),
        cmocka_unit_test(long_sentences_are_cut_at_the_end),
        cmocka_unit_test(a_sentence_is_one_line_of_utf8),
        cmocka_unit_test(every_code_has_its_own_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
