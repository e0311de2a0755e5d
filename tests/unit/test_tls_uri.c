/* PKCS#11 URIs (RFC 7512): what names a key, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tls/uri.h"

static struct pkcs11_uri good(const char *text)
{
    struct pkcs11_uri u = {.id_len = 99};
    struct err err = {0};

    if (pkcs11_uri_read(text, strlen(text), &u, &err) != 0)
        fail_msg("%s: %s", text, err.msg);
    return u;
}

static void bad(const char *text, const char *says)
{
    struct pkcs11_uri u = {.id_len = 99};
    struct err err = {0};
    char *exact = strdup(text); /* reading behind its end shows */

    assert_non_null(exact);
    assert_true(pkcs11_uri_read(exact, strlen(exact), &u, &err) < 0);
    free(exact);
    if (strstr(err.msg, says) == NULL)
        fail_msg("%s: \"%s\" does not say \"%s\"", text, err.msg, says);
    assert_int_equal(u.id_len, 99);
}

static void a_key_has_a_label_or_an_id(void **state)
{
    struct pkcs11_uri u = good("pkcs11:token=hsm;object=press-07;type=private");

    (void)state;
    assert_string_equal(u.token, "hsm");
    assert_string_equal(u.object, "press-07");
    assert_int_equal(u.id_len, 0);
    u = good(" \n pkcs11:id=%0a%FFb;serial=00%2F1 \n");
    assert_string_equal(u.token, "");
    assert_string_equal(u.serial, "00/1");
    assert_int_equal(u.id_len, 3);
    assert_memory_equal(u.id,
                        "\x0a\xff"
                        "b",
                        3);
}

static void what_others_write_there_is_passed_over(void **state)
{
    struct pkcs11_uri u =
        good("pkcs11:model=SoftHSM%20v2;manufacturer=SoftHSM%20project;"
             "serial=ab;token=my%20token;slot-id=3;;id=%01;object=k;type=private");

    (void)state;
    assert_string_equal(u.token, "my token");
    assert_string_equal(u.object, "k");
}

static void what_is_wrong_is_said(void **state)
{
    char *text = malloc(2000);

    (void)state;
    assert_non_null(text);
    bad("", "no PKCS#11 URI");
    bad("pkcs11", "no PKCS#11 URI");
    bad("-----BEGIN PRIVATE KEY-----", "no PKCS#11 URI");
    bad("pkcs11:", "names no key");
    bad("pkcs11:token=hsm", "names no key");
    bad("pkcs11:object=k;type=cert", "type=private");
    bad("pkcs11:object=k?pin-value=1234", "no PIN");
    bad("pkcs11:object=k?pin-source=file:/etc/pin", "no PIN");
    bad("pkcs11:object=%2", "object is not to be read");
    bad("pkcs11:object=%zz", "object is not to be read");
    bad("pkcs11:object=a%00b", "object is not to be read");
    bad("pkcs11:id=%", "id is not to be read");
    bad("pkcs11:object=k;colour=red", "colour is not known");
    snprintf(text, 2000, "pkcs11:object=%0*d", 256, 0);
    bad(text, "object is not to be read");
    snprintf(text, 2000, "pkcs11:id=%0*d", 65, 0);
    bad(text, "id is not to be read");
    free(text);
}

static void what_is_written_is_read(void **state)
{
    struct pkcs11_uri u = good("pkcs11:token=a%20b%3b;serial=1;object=press%2f07;id=%00%41");
    struct pkcs11_uri back;
    struct buf text = {0};

    (void)state;
    assert_int_equal(pkcs11_uri_write(&u, &text), 0);
    buf_append_u8(&text, 0);
    assert_string_equal((const char *)text.p,
                        "pkcs11:token=a%20b%3b;serial=1;object=press%2f07;id=%00%41;type=private");
    back = good((const char *)text.p);
    assert_string_equal(back.token, u.token);
    assert_string_equal(back.object, u.object);
    assert_int_equal(back.id_len, 2);
    assert_memory_equal(back.id, u.id, 2);
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_has_a_label_or_an_id),
        cmocka_unit_test(what_others_write_there_is_passed_over),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(what_is_written_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
