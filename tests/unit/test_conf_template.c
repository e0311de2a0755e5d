/* Templates: pieces, placeholders, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "conf/template.h"

/* "a|{cn}|b": the pieces as they come. */
static char *pieces(const char *template, struct buf *b)
{
    struct template_piece piece;
    int rc;

    b->len = 0;
    while ((rc = template_next(&template, &piece)) > 0) {
        if (b->len > 0)
            buf_append_u8(b, '|');
        if (piece.field == TEMPLATE_TEXT)
            buf_append(b, piece.text.p, piece.text.n);
        else
            buf_printf(b, "%s", template_field_name(piece.field));
    }
    buf_printf(b, "%s", rc < 0 ? "!" : "");
    buf_append_u8(b, '\0');
    return (char *)b->p;
}

static void templates_come_apart(void **unused)
{
    struct buf b = {0};

    (void)unused;
    assert_string_equal(pieces("", &b), "");
    assert_string_equal(pieces("plain", &b), "plain");
    assert_string_equal(pieces("{cn}", &b), "{cn}");
    assert_string_equal(pieces("a{cn}{san}b}", &b), "a|{cn}|{san}|b}");
    assert_string_equal(pieces("{{{username}{{x", &b), "{|{username}|{|x");
    assert_string_equal(pieces("{client_id}{device}{password}{gateway}", &b),
                        "{client_id}|{device}|{password}|{gateway}");
    assert_string_equal(pieces("a{what}b", &b), "a!");
    assert_string_equal(pieces("a{cn", &b), "a!");
    assert_string_equal(pieces("{", &b), "!");
    buf_fini(&b);
}

static void fields_are_found(void **unused)
{
    (void)unused;
    assert_int_equal(template_fields("x{{cn}"), 0);
    assert_int_equal(template_fields("{cn}-{gateway}-{cn}"),
                     TEMPLATE_BIT(TEMPLATE_CN) | TEMPLATE_BIT(TEMPLATE_GATEWAY));
    assert_string_equal(template_field_name(TEMPLATE_TEXT), "");
}

static void refusals_name_the_culprit(void **unused)
{
    struct err err = {0};

    (void)unused;
    assert_int_equal(template_check("{cn}{{{password}", TEMPLATE_ALL, &err), 0);
    assert_int_equal(template_check("{CN}", TEMPLATE_BIT(TEMPLATE_CN), &err), -ERR_INVALID);
    assert_string_equal(err.msg, "unknown placeholder {CN}: allowed are {cn}, \"{{\" is a brace");
    assert_int_equal(template_check("x{password}", TEMPLATE_BIT(TEMPLATE_CN), &err), -ERR_INVALID);
    assert_string_equal(err.msg, "placeholder {password} has no meaning here: allowed are {cn}");
    assert_int_equal(template_check("x{cn", TEMPLATE_ALL, &err), -ERR_INVALID);
    assert_string_equal(err.msg, "a '{' without its '}': write \"{{\" for a brace");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(templates_come_apart),
        cmocka_unit_test(fields_are_found),
        cmocka_unit_test(refusals_name_the_culprit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
