/* Loading a credential, and the sentence that each mistake gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "test_tls_pki.h"

static void every_common_key_format_is_taken(void **state)
{
    static const char *const pairs[][2] = {
        {"press-07.pem", "press-07.key"},     {"press-07.pem", "press-07.sec1"},
        {"press-07.pem", "press-07.param"},   {"press-rsa.pem", "press-rsa.key"},
        {"press-rsa.pem", "press-rsa.pkcs1"}, {"press-p384.pem", "press-p384.key"},
        {"press-1024.pem", "press-1024.key"}, {"press-ed.pem", "press-ed.key"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct err err = {0};
        struct cred *c = cred_load(pki(pairs[i][0]), pki(pairs[i][1]), &err);

        if (c == NULL)
            fail_msg("%s", err.msg);
        cred_unref(c);
    }
}

/* One file with everything in it, and a chain in the wrong order. */
static void order_in_the_file_does_not_matter(void **state)
{
    struct buf wrong = {0};
    struct err err = {0};
    struct cred *right = pki_cred("press-int");
    struct cred *c;

    (void)state;
    pki_read("ca-old.pem", &wrong);
    pki_read("press-int.key", &wrong);
    pki_read("ca-int.pem", &wrong);
    pki_read("press-int.pem", &wrong);
    pki_write("wrong-order.pem", wrong.p, wrong.len, 0600);
    c = cred_load(pki("wrong-order.pem"), pki("wrong-order.pem"), &err);
    if (c == NULL)
        fail_msg("%s", err.msg);
    assert_string_equal(cred_leaf(c)->cn, "press-int");
    assert_false(cred_equal(c, right)); /* this one carries the root too */
    cred_unref(c);

    wrong.len = 0;
    pki_read("ca-int.pem", &wrong);
    pki_read("press-int.pem", &wrong);
    pki_write("wrong-order.pem", wrong.p, wrong.len, 0600);
    c = cred_load(pki("wrong-order.pem"), pki("press-int.key"), &err);
    assert_non_null(c);
    assert_true(cred_equal(c, right));
    cred_unref(c);
    cred_unref(right);
    buf_fini(&wrong);
}

static void equality_is_that_of_chain_and_key(void **state)
{
    struct cred *a = pki_cred("press-07"), *b = pki_cred("press-07"),
                *other = pki_cred("press-new");

    (void)state;
    assert_true(cred_equal(a, b));
    assert_false(cred_equal(a, other));
    assert_false(cred_equal(a, NULL));
    assert_false(cred_equal(NULL, a));
    assert_true(cred_equal(NULL, NULL));
    assert_ptr_equal(cred_ref(a), a);
    cred_unref(a);
    cred_unref(a);
    cred_unref(b);
    cred_unref(other);
    cred_unref(NULL);
    assert_null(cred_ref(NULL));
}

struct mistake {
    const char *chain, *key;
    int code;
    const char *file; /* that is named */
    const char *says;
};

static void every_mistake_is_named_with_file_and_remedy(void **state)
{
    /* clang-format off */
    static const struct mistake table[] = {
        { "absent.pem",      "press-07.key",    ERR_NOT_FOUND, "absent.pem",  "no such file" },
        { "press-07.pem",    "absent.key",      ERR_NOT_FOUND, "absent.key",  "no such file" },
        { "empty",           "press-07.key",    ERR_SYNTAX,  "empty",         "is empty: put the certificate there" },
        { "press-07.pem",    "empty",           ERR_SYNTAX,  "empty",         "is empty: put the private key there" },
        { "words",           "press-07.key",    ERR_SYNTAX,  "words",         "holds no certificate" },
        { "press-07.pem",    "words",           ERR_SYNTAX,  "words",         "holds no private key" },
        { "press-07.key",    "press-07.key",    ERR_SYNTAX,  "press-07.key",  "holds a private key and no certificate" },
        { "press-07.pem",    "press-07.pem.600", ERR_SYNTAX, "press-07.pem.600", "holds a certificate and no private key" },
        { "press-07.csr",    "press-07.key",    ERR_SYNTAX,  "press-07.csr",  "holds a request (CSR)" },
        { "press-07.der",    "press-07.key",    ERR_SYNTAX,  "press-07.der",  "is DER, not PEM: convert it" },
        { "press-07.pem",    "press-07.key.der", ERR_SYNTAX, "press-07.key.der", "is DER, not PEM: convert it" },
        { "press-07.trusted", "press-07.key",   ERR_SYNTAX,  "press-07.trusted", "OpenSSL's own kind" },
        { "press-07.pem",    "press-07.pkcs8-encrypted", ERR_INVALID, "press-07.pkcs8-encrypted", "is encrypted: store it without a passphrase" },
        { "press-07.pem",    "press-07.sec1-encrypted", ERR_INVALID, "press-07.sec1-encrypted", "is encrypted" },
        { "press-07.pem",    "press-new.key",   ERR_INVALID, "press-new.key", "key does not match the certificate" },
        { "press-07.pem",    "press-rsa.key",   ERR_INVALID, "press-rsa.key", "put the key that the CSR was made with beside it" },
        { "press-rsa.pem",   "press-07.key",    ERR_INVALID, "press-07.key",  "key does not match" },
        { "press-07.pem",    "damaged.key",     ERR_TLS,     "damaged.key",   "is it damaged?" },
        { "press-07.pem",    "world.key",       ERR_DENIED,  "world.key",     "mode 604: others may read it: chmod 600" },
        { "press-07.pem",    "group-write.key", ERR_DENIED,  "group-write.key", "others may change it" },
        { "two-leaves.pem",  "press-07.key",    ERR_INVALID, "two-leaves.pem", "is no issuer of" },
        { "ten.pem",         "press-07.key",    ERR_TOO_BIG, "ten.pem",       "more than 9 certificates" },
        { "damaged.pem",     "press-07.key",    ERR_SYNTAX,  "damaged.pem",   "certificate 1 cannot be read" },
        { "cut.pem",         "press-07.key",    ERR_SYNTAX,  "cut.pem",       "has no END line" },
        { "folder",          "press-07.key",    ERR_IO,      "folder",        "not a regular file" },
    };
    /* clang-format on */
    static const char damaged_key[] =
        "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----\n";
    static const char damaged_pem[] =
        "-----BEGIN CERTIFICATE-----\nMIIBMIIB\n-----END CERTIFICATE-----\n";
    struct buf b = {0};

    (void)state;
    pki_write("empty", "", 0, 0600);
    pki_write("words", "hello, world\n", 13, 0600);
    pki_write("damaged.key", damaged_key, strlen(damaged_key), 0600);
    pki_write("damaged.pem", damaged_pem, strlen(damaged_pem), 0600);
    pki_read("press-07.pem", &b);
    pki_write("press-07.pem.600", b.p, b.len, 0600);
    pki_write("cut.pem", b.p, b.len / 2, 0600);
    for (int i = 1; i < 10; i++)
        pki_read("press-07.pem", &b);
    pki_write("ten.pem", b.p, b.len, 0600);
    b.len = 0;
    pki_read("press-07.pem", &b);
    pki_read("press-new.pem", &b);
    pki_write("two-leaves.pem", b.p, b.len, 0600);
    b.len = 0;
    pki_read("press-07.key", &b);
    pki_write("world.key", b.p, b.len, 0604);
    pki_write("group-write.key", b.p, b.len, 0660);
    buf_fini(&b);
    assert_int_equal(mkdir(pki("folder"), 0700), 0);

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const struct mistake *m = &table[i];
        struct err err = {0};
        struct cred *c = cred_load(pki(m->chain), pki(m->key), &err);

        if (c != NULL || err.code != m->code || strstr(err.msg, m->says) == NULL ||
            strstr(err.msg, pki(m->file)) != err.msg)
            fail_msg("%s + %s: code %d: '%s'", m->chain, m->key, err.code, err.msg);
    }
}

static void a_key_that_the_group_may_read_is_taken(void **state)
{
    struct buf b = {0};
    struct err err = {0};
    struct cred *c;

    (void)state;
    pki_read("press-07.key", &b);
    pki_write("group.key", b.p, b.len, 0640);
    c = cred_load(pki("press-07.pem"), pki("group.key"), &err);
    assert_non_null(c);
    cred_unref(c);
    buf_fini(&b);
}

static void a_mismatch_names_the_certificate(void **state)
{
    struct err err = {0};
    char want[400];
    struct cert_info *ci = pki_info("press-07.pem");

    (void)state;
    assert_null(cred_load(pki("press-07.pem"), pki("press-new.key"), &err));
    snprintf(want, sizeof(want),
             "%s: key does not match the certificate O=Plant,CN=press-07 (sha256 %02x%02x",
             pki("press-new.key"), ci->fp[0], ci->fp[1]);
    assert_memory_equal(err.msg, want, strlen(want));
    cert_info_free(ci);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_common_key_format_is_taken),
        cmocka_unit_test(order_in_the_file_does_not_matter),
        cmocka_unit_test(equality_is_that_of_chain_and_key),
        cmocka_unit_test(every_mistake_is_named_with_file_and_remedy),
        cmocka_unit_test(a_key_that_the_group_may_read_is_taken),
        cmocka_unit_test(a_mismatch_names_the_certificate),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
