/* Private keys under a passphrase: written, read, by openssl too; and what is said when they cannot
 * be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "test_tls_pki.h"
#include "tls/keyring.h"

static void passphrases(const char *lines)
{
    struct err err = {0};

    pki_write("passphrase", lines, strlen(lines), 0600);
    if (keyring_load(pki("passphrase"), true, &err) != 0)
        fail_msg("%s", err.msg);
}

static int openssl(const char *options)
{
    char command[512];

    snprintf(command, sizeof(command), "cd %s && openssl %s >out 2>&1", pki(""), options);
    return system(command); /* NOLINT(concurrency-mt-unsafe): there is one thread */
}

/* The key of `name`, written by the keyring's rule to `file`. */
static void write_key(const char *name, const char *file)
{
    struct cred *c = pki_cred(name);
    struct buf pem = {0};
    struct err err = {0};

    if (cred_put_key(c, &pem, &err) != 0)
        fail_msg("%s", err.msg);
    pki_write(file, pem.p, pem.len, 0600);
    buf_fini_wipe(&pem);
    cred_unref(c);
}

static struct cred *must_load(const char *chain, const char *key)
{
    struct err err = {0};
    struct cred *c = cred_load(pki(chain), pki(key), &err);

    if (c == NULL)
        fail_msg("%s", err.msg);
    return c;
}

static void what_is_written_is_read_by_us_and_by_openssl(void **state)
{
    static const char *const names[] = {"press-07", "press-rsa", "press-p384", "press-ed"};

    (void)state;
    passphrases("correct horse\n");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char chain[64];
        struct cred *before = pki_cred(names[i]), *after;

        snprintf(chain, sizeof(chain), "%s.pem", names[i]);
        write_key(names[i], "at-rest.key");
        assert_int_equal(openssl("pkey -in at-rest.key -passin 'pass:correct horse' -noout"), 0);
        assert_int_not_equal(openssl("pkey -in at-rest.key -passin pass:wrong -noout"), 0);
        after = must_load(chain, "at-rest.key");
        assert_true(cred_equal(before, after)); /* the same identity, however it lies on disk */
        assert_int_equal(cred_rest(before), CRED_PLAIN);
        assert_int_equal(cred_rest(after), CRED_ENCRYPTED);
        cred_unref(before);
        cred_unref(after);
    }
    keyring_clear();
}

static void what_openssl_wrote_is_read(void **state)
{
    static const char *const how[] = {"-v2 aes-256-cbc", "-v2 aes-128-cbc -v2prf hmacWithSHA512",
                                      "-v2 des3", "-v1 PBE-SHA1-3DES"};
    char command[256];

    (void)state;
    passphrases("correct horse\r\n");
    for (size_t i = 0; i < sizeof(how) / sizeof(how[0]); i++) {
        snprintf(command, sizeof(command),
                 "pkcs8 -topk8 %s -in press-07.key -passout 'pass:correct horse' -out theirs.key",
                 how[i]);
        assert_int_equal(openssl(command), 0);
        assert_int_equal(chmod(pki("theirs.key"), 0600), 0);
        cred_unref(must_load("press-07.pem", "theirs.key"));
    }
    keyring_clear();
}

/* The new passphrase before the former one: both are read, the new one is written. */
static void a_passphrase_is_changed_line_by_line(void **state)
{
    struct cred *c;
    struct err err = {0};

    (void)state;
    passphrases("former\n");
    write_key("press-07", "at-rest.key");
    passphrases("new\n\nformer\n");
    c = must_load("press-07.pem", "at-rest.key");
    assert_int_equal(cred_rest(c), CRED_FORMER);
    cred_unref(c);
    write_key("press-07", "at-rest.key");
    passphrases("new");
    c = must_load("press-07.pem", "at-rest.key");
    assert_int_equal(cred_rest(c), CRED_ENCRYPTED);
    cred_unref(c);
    passphrases("former");
    assert_null(cred_load(pki("press-07.pem"), pki("at-rest.key"), &err));
    assert_int_equal(err.code, ERR_DENIED);
    assert_non_null(strstr(err.msg, "at-rest.key: is encrypted under another passphrase"));
    keyring_clear();
    assert_null(cred_load(pki("press-07.pem"), pki("at-rest.key"), &err));
    assert_non_null(strstr(err.msg, "or give the passphrase (keys.passphrase_file)"));
}

static void a_passphrase_that_cannot_be_had_changes_nothing(void **state)
{
    /* clang-format off */
    static const struct { const char *text; unsigned mode; int code; const char *says; } table[] = {
        { "",       0600, ERR_SYNTAX, "is empty" },
        { "\n\r\n", 0600, ERR_SYNTAX, "holds no passphrase" },
        { "word",   0604, ERR_DENIED, "others may read it: chmod 600" },
        { "word",   0620, ERR_DENIED, "others may change it" },
        { "1\n2\n3\n4\n5\n6\n7\n8\n9\n", 0600, ERR_TOO_BIG, "more than 8" },
    };
    /* clang-format on */
    static char longest[1100];
    struct buf pem = {0};
    struct err err = {0};

    (void)state;
    passphrases("correct horse\n");
    write_key("press-07", "at-rest.key");
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        pki_write("bad", table[i].text, strlen(table[i].text), table[i].mode);
        assert_int_equal(keyring_load(pki("bad"), false, &err), -table[i].code);
        if (strstr(err.msg, table[i].says) == NULL || strstr(err.msg, "bad") == NULL)
            fail_msg("%s", err.msg);
    }
    memset(longest, 'x', sizeof(longest));
    pki_write("bad", longest, sizeof(longest), 0600);
    assert_int_equal(keyring_load(pki("bad"), false, &err), -ERR_TOO_BIG);
    assert_int_equal(keyring_load(pki("absent"), false, &err), -ERR_NOT_FOUND);
    assert_int_equal(keyring_load(NULL, true, &err), -ERR_NOT_FOUND);
    assert_true(keyring_encrypts());
    cred_unref(must_load("press-07.pem", "at-rest.key"));

    keyring_without(true); /* nothing is written in the clear because a passphrase is missing */
    assert_int_equal(keyring_put_pem((const uint8_t *)"x", 1, &pem, &err), -ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "there is no passphrase"));
    assert_int_equal(pem.len, 0);
    buf_fini(&pem);
    keyring_clear();
}

/* A key at rest is not signed, so a changed bit may go unnoticed where it does not matter (the
 * public part, which stands beside the private one); otherwise it is refused, and the file named.
 */
static void a_damaged_key_is_refused(void **state)
{
    struct cred *good;
    struct buf pem = {0};
    size_t tried = 0, refused = 0;

    (void)state;
    passphrases("correct horse\n");
    write_key("press-07", "at-rest.key");
    good = must_load("press-07.pem", "at-rest.key");
    pki_read("at-rest.key", &pem);
    for (size_t i = 60; i + 40 < pem.len; i += 7) {
        struct err err = {0};
        struct cred *c;

        pem.p[i] ^= 1;
        pki_write("flipped.key", pem.p, pem.len, 0600);
        pem.p[i] ^= 1;
        c = cred_load(pki("press-07.pem"), pki("flipped.key"), &err);
        tried++;
        refused += c == NULL;
        if (c == NULL && strstr(err.msg, "flipped.key") == NULL)
            fail_msg("%s", err.msg);
        cred_unref(c);
    }
    assert_true(refused * 10 >= tried * 6);
    buf_fini(&pem);
    cred_unref(good);
    keyring_clear();
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A thousand keys that we wrote cost one derivation. */
static void a_gateway_derives_once(void **state)
{
    double start, first, rest;

    (void)state;
    passphrases("correct horse\n");
    start = seconds();
    write_key("press-07", "at-rest.key"); /* derives */
    first = seconds() - start;
    start = seconds();
    for (int i = 0; i < 100; i++)
        cred_unref(must_load("press-07.pem", "at-rest.key"));
    rest = seconds() - start;
    print_message("one derivation: %.0f ms; a key after it: %.2f ms\n", first * 1e3, rest * 10);
    assert_true(rest < first * 20); /* a hundred derivations would be five times that */
    keyring_clear();
}

/* Under the second passphrase is as good as under the first: nobody hears of a fault. */
static void a_former_passphrase_is_no_fault(void **state)
{
    struct err err = {0};
    struct cred *c;

    (void)state;
    passphrases("correct horse\n");
    write_key("press-07", "at-rest.key");
    passphrases("battery staple\ncorrect horse\n");
    c = cred_load(pki("press-07.pem"), pki("at-rest.key"), &err);
    assert_non_null(c);
    assert_int_equal(err.code, 0);
    assert_string_equal(err.msg, "");
    cred_unref(c);
    keyring_clear();
}

/* A reload looks first whether the keys can be read. */
static void what_was_before_comes_back_until_it_is_settled(void **state)
{
    struct err err = {0};

    (void)state;
    passphrases("correct horse\n");
    keyring_settle();
    write_key("press-07", "at-rest.key");

    passphrases("battery staple\n");
    assert_true(keyring_differs());
    assert_null(cred_load(pki("press-07.pem"), pki("at-rest.key"), &err));
    keyring_undo();
    assert_false(keyring_differs());
    cred_unref(must_load("press-07.pem", "at-rest.key"));
    keyring_undo(); /* there is nothing more to go back to */
    cred_unref(must_load("press-07.pem", "at-rest.key"));

    assert_int_equal(keyring_load(NULL, false, &err), 0);
    assert_true(keyring_differs() && !keyring_encrypts());
    keyring_undo();
    assert_true(keyring_encrypts());
    cred_unref(must_load("press-07.pem", "at-rest.key"));

    pki_write("same", "correct horse", strlen("correct horse"), 0600);
    assert_int_equal(keyring_load(pki("same"), false, &err), 0);
    assert_true(!keyring_differs() && !keyring_encrypts());
    keyring_undo();
    assert_true(keyring_encrypts());
    cred_unref(must_load("press-07.pem", "at-rest.key"));

    passphrases("battery staple\n");
    keyring_settle();
    keyring_undo();
    assert_null(cred_load(pki("press-07.pem"), pki("at-rest.key"), &err));
    keyring_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_by_us_and_by_openssl),
        cmocka_unit_test(what_openssl_wrote_is_read),
        cmocka_unit_test(a_former_passphrase_is_no_fault),
        cmocka_unit_test(what_was_before_comes_back_until_it_is_settled),
        cmocka_unit_test(a_passphrase_is_changed_line_by_line),
        cmocka_unit_test(a_passphrase_that_cannot_be_had_changes_nothing),
        cmocka_unit_test(a_damaged_key_is_refused),
        cmocka_unit_test(a_gateway_derives_once),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
