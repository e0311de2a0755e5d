/* Identities out of PKCS#12, PEM and DER as openssl makes them, and the sentence that each mistake
 * gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "test_tls_pki.h"
#include "tls/bundle.h"

static int setup(void **state)
{
    char command[512];

    if (pki_setup(state) != 0)
        return -1;
    snprintf(command, sizeof(command), "%s %s", TLS_CONTAINERS_SH, pki(""));
    return system(command); /* NOLINT(concurrency-mt-unsafe): there is one thread */
}

static int add(struct bundle *b, const char *file, const char *password, struct err *err)
{
    struct buf text = {0};
    int rc;

    pki_read(file, &text);
    rc = bundle_add(b, file, text.p, text.len, password, err);
    buf_fini(&text);
    return rc;
}

static size_t times(const struct buf *text, const char *what)
{
    const char *at = (const char *)text->p, *end = at + text->len;
    size_t n = 0;

    while ((at = memmem(at, (size_t)(end - at), what, strlen(what))) != NULL) {
        at += strlen(what);
        n++;
    }
    return n;
}

/* The files make the identity `name`, with so many certificates. */
static void gives(const char *const files[], const char *password, const char *name, size_t certs)
{
    struct bundle *b = bundle_new();
    struct buf chain = {0};
    struct secret key = {0};
    struct err err = {0};
    struct cred *c;

    for (; *files != NULL; files++)
        if (add(b, *files, password, &err) != 0)
            fail_msg("%s", err.msg);
    if (bundle_identity(b, &chain, &key, &err) != 0)
        fail_msg("%s", err.msg);
    pki_write("out.pem", chain.p, chain.len, 0600);
    pki_write("out.key", key.p, key.len, 0600);
    c = cred_load(pki("out.pem"), pki("out.key"), &err);
    if (c == NULL)
        fail_msg("%s", err.msg);
    assert_string_equal(cred_leaf(c)->cn, name);
    assert_int_equal(times(&chain, "BEGIN CERTIFICATE"), certs);
    cred_unref(c);
    buf_fini(&chain);
    secret_fini(&key);
    bundle_free(b);
}

#define FILES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void every_kind_of_pkcs12_is_read(void **state)
{
    static const char *const chained[] = {"modern.p12", "legacy.p12", "legacy-rc2.p12"};
    static const char *const alone[] = {"plain-mac.p12", "nomac.p12",   "sha512.p12", "triple.p12",
                                        "triple2.p12",   "rc2-128.p12", "aes128.p12", "iter1.p12"};

    (void)state;
    for (size_t i = 0; i < sizeof(chained) / sizeof(chained[0]); i++)
        gives(FILES(chained[i]), "secret", "press-int", 2);
    for (size_t i = 0; i < sizeof(alone) / sizeof(alone[0]); i++)
        gives(FILES(alone[i]), "secret", "press-int", 1);
    gives(FILES("unicode.p12"), "Schl\xc3\xbcssel-\xe2\x84\x96\xf0\x9f\x98\x80", "press-int", 1);
    gives(FILES("rsa.p12"), "secret", "press-rsa", 1); /* a CA of somebody else is left out */
    gives(FILES("ed.p12"), "secret", "press-ed", 1);
}

static void no_password_is_empty_or_none(void **state)
{
    (void)state;
    gives(FILES("empty.p12"), "", "press-int", 1);
    gives(FILES("empty.p12"), NULL, "press-int", 1);
    gives(FILES("none.p12"), NULL, "press-int", 1);
    gives(FILES("none.p12"), "", "press-int", 1);
    gives(FILES("none.p12"), "unneeded", "press-int", 1);
}

static void every_form_of_key_and_certificate_is_read(void **state)
{
    static const char *const encrypted[] = {
        "press-07.aes-256-cbc.p8", "press-07.aes-128-cbc.p8",  "press-07.aes-192-cbc.p8",
        "press-07.des3.p8",        "press-07.hmacWithSHA1.p8", "press-07.hmacWithSHA384.p8",
        "press-07.v1.p8",          "press-07.p8.der",          "press-07.hmacWithSHA512.p8",
        "press-07.sec1-encrypted",
    };
    static const char *const plain[] = {"press-07.key", "press-07.sec1", "press-07.param",
                                        "press-07.key.der", "press-07.sec1.der"};

    (void)state;
    for (size_t i = 0; i < sizeof(encrypted) / sizeof(encrypted[0]); i++)
        gives(FILES("press-07.pem", encrypted[i]), "x", "press-07", 1);
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        gives(FILES("press-07.der", plain[i]), NULL, "press-07", 1);
        gives(FILES(plain[i], "press-07.pem"), "unneeded", "press-07", 1);
    }
    gives(FILES("press-rsa.pem", "press-rsa.pkcs1.der"), NULL, "press-rsa", 1);
    gives(FILES("press-rsa.pem", "press-rsa.enc"), "x", "press-rsa", 1);
    gives(FILES("press-rsa.pem", "press-rsa.des3"), "x", "press-rsa", 1);
}

static void chains_come_in_any_order_and_lose_their_root(void **state)
{
    (void)state;
    gives(FILES("ca-old.pem", "press-int.key", "ca-int.pem", "press-int.pem"), NULL, "press-int",
          2);
    gives(FILES("press-int-chain.pem", "ca-new.pem", "press-int.key"), NULL, "press-int", 2);
    gives(FILES("press-self.pem", "press-self.key"), NULL, "press-self", 1);
    /* A CA of the same name with another key has no part in it; the same file twice is once. */
    gives(FILES("ca-twin.pem", "press-07.pem", "press-07.pem", "press-07.key", "press-07.key"),
          NULL, "press-07", 1);
}

struct mistake {
    const char *files[4];
    const char *password;
    int code;
    const char *says;
};

static void every_mistake_is_told_apart(void **state)
{
    /* clang-format off */
    static const struct mistake table[] = {
        { { "modern.p12" },      "wrong",  ERR_DENIED,  "modern.p12: wrong password" },
        { { "modern.p12" },      NULL,     ERR_DENIED,  "modern.p12: is under a password: give it" },
        { { "modern.p12" },      "",       ERR_DENIED,  "modern.p12: wrong password" },
        { { "legacy-rc2.p12" },  "Secret", ERR_DENIED,  "wrong password" },
        { { "nomac.p12" },       "wrong",  ERR_DENIED,  "wrong password" },
        { { "plain-mac.p12" },   "wrong",  ERR_DENIED,  "wrong password" },
        { { "changed.p12" },     "secret", ERR_SYNTAX,  "the password fits, but the file was changed" },
        { { "changed.p12" },     "wrong",  ERR_DENIED,  "wrong password" },
        { { "cut.p12" },         "secret", ERR_SYNTAX,  "cut off: copy the file again" },
        { { "rc4.p12" },         "secret", ERR_INVALID, "pbeWithSHAAnd128BitRC4, which is not taken: convert it" },
        { { "nokey.p12" },       "secret", ERR_NOT_FOUND, "no private key: name the key's file too" },
        { { "press-07.aes-256-cbc.p8", "press-07.pem" }, "wrong", ERR_DENIED, "wrong password, or a damaged key" },
        { { "press-07.aes-256-cbc.p8", "press-07.pem" }, NULL, ERR_DENIED, "under a password: give it" },
        { { "press-07.sec1-encrypted" }, NULL, ERR_DENIED, "under a password: give it" },
        { { "press-07.sec1-encrypted" }, "y",  ERR_DENIED, "wrong password" },
        { { "press-07.md5des.p8" }, "x",   ERR_INVALID, "pbeWithMD5AndDES-CBC, which is not taken" },
        { { "press-07.scrypt.p8" }, "x",   ERR_INVALID, "scrypt, which is not taken: convert it" },
        { { "press-07.pem" },    NULL,     ERR_NOT_FOUND, "name the key's file too (--key FILE)" },
        { { "press-07.key" },    NULL,     ERR_NOT_FOUND, "no certificate: name the certificate's file too" },
        { { "press-07.pem", "press-new.key" }, NULL, ERR_INVALID, "press-new.key does not match the certificate" },
        { { "press-07.pem", "ca-old.pem", "press-rsa.key" }, NULL, ERR_INVALID, "matches none of the 2 certificates" },
        { { "two.pem" },         NULL,     ERR_INVALID, "two identities" },
        { { "press-07.csr" },    NULL,     ERR_SYNTAX,  "holds a request (CSR)" },
        { { "press-07.trusted" }, NULL,    ERR_SYNTAX,  "OpenSSL's own kind" },
        { { "words" },           NULL,     ERR_SYNTAX,  "neither PEM, nor DER, nor PKCS#12" },
        { { "empty" },           NULL,     ERR_SYNTAX,  "empty: is empty" },
        { { "cut.pem" },         NULL,     ERR_SYNTAX,  "has no END line: copy the file again" },
        { { "params.pem" },      NULL,     ERR_SYNTAX,  "neither a certificate nor a private key" },
    };
    /* clang-format on */
    static const char params[] =
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    struct buf b = {0};

    (void)state;
    pki_read("modern.p12", &b);
    pki_write("cut.p12", b.p, b.len / 2, 0600);
    b.p[b.len - 30] ^= 1; /* in the digest of its MAC */
    pki_write("changed.p12", b.p, b.len, 0600);
    pki_write("words", "hello, world\n", 13, 0600);
    pki_write("empty", "", 0, 0600);
    pki_write("params.pem", params, strlen(params), 0600);
    b.len = 0;
    pki_read("press-07.pem", &b);
    pki_write("cut.pem", b.p, b.len / 2, 0600);
    buf_fini(&b);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const struct mistake *m = &table[i];
        struct bundle *bundle = bundle_new();
        struct buf chain = {0};
        struct secret key = {0};
        struct err err = {0};
        int rc = 0;

        for (size_t f = 0; rc == 0 && m->files[f] != NULL; f++)
            rc = add(bundle, m->files[f], m->password, &err);
        if (rc == 0)
            rc = bundle_identity(bundle, &chain, &key, &err);
        if (rc != -m->code || err.code != m->code || strstr(err.msg, m->says) == NULL)
            fail_msg("row %zu: %d, %s; expected %d, %s", i, rc, err.msg, -m->code, m->says);
        assert_null(key.p);
        buf_fini(&chain);
        bundle_free(bundle);
    }
}

/* Every proper prefix of every container is refused, with no more than a sentence. */
static void every_prefix_is_refused(void **state)
{
    static const char *const files[] = {"modern.p12",      "legacy-rc2.p12",   "none.p12",
                                        "press-07.p8.der", "press-07.key.der", "press-07.der"};

    (void)state;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct buf text = {0};

        pki_read(files[i], &text);
        for (size_t n = 0; n < text.len; n++) {
            struct bundle *b = bundle_new();
            uint8_t *exact = malloc(n + (n == 0)); /* for AddressSanitizer to see its end */
            struct err err = {0};

            memcpy(exact, text.p, n);
            assert_true(bundle_add(b, "prefix", exact, n, "secret", &err) < 0);
            assert_int_equal(err.code, ERR_SYNTAX);
            free(exact);
            bundle_free(b);
        }
        buf_fini(&text);
    }
}

/* -- BER -----------------------------------------------------------------------------------------
 */

static void put_octets(struct buf *out, uint8_t tag, const uint8_t *p, size_t n)
{
    buf_append_u8(out, tag | 0x20);
    buf_append_u8(out, 0x80);
    while (n > 0) {
        size_t take = n < 100 ? n : 100;

        buf_append_u8(out, 4);
        buf_append_u8(out, (uint8_t)take);
        buf_append(out, p, take);
        p += take;
        n -= take;
    }
    buf_append(out, "\0\0", 2);
}

/* The same in BER, as old browsers wrote it: no length that could be left to an end marker, no long
 * string in one piece.  `deep`: the first string holds DER itself. */
static void to_ber(struct buf *out, const uint8_t *p, size_t n, bool *deep)
{
    for (const uint8_t *end = p + n; p < end;) {
        uint8_t tag = *p++;
        size_t len = *p++;
        struct buf inner = {0};

        if (len > 0x80) {
            size_t octets = len & 0x7f;

            for (len = 0; octets > 0; octets--)
                len = len << 8 | *p++;
        }
        if ((tag & 0x20) != 0) {
            buf_append_u8(out, tag);
            buf_append_u8(out, 0x80);
            to_ber(out, p, len, deep);
            buf_append(out, "\0\0", 2);
        } else if (tag == 4 && *deep) {
            *deep = false;
            to_ber(&inner, p, len, deep);
            put_octets(out, tag, inner.p, inner.len);
        } else if ((tag == 4 || tag == 0x80) && len > 60) {
            put_octets(out, tag, p, len);
        } else {
            buf_append_u8(out, tag);
            buf_append_u8(out, (uint8_t)len);
            buf_append(out, p, len);
        }
        buf_fini(&inner);
        p += len;
    }
}

static void containers_of_old_browsers_are_read(void **state)
{
    struct buf der = {0}, ber = {0};
    bool deep = false;

    (void)state;
    pki_read("modern.p12", &der); /* its inside is under the MAC, and stays as it is */
    to_ber(&ber, der.p, der.len, &deep);
    pki_write("ber.p12", ber.p, ber.len, 0600);
    gives(FILES("ber.p12"), "secret", "press-int", 2);

    der.len = ber.len = 0;
    deep = true;
    pki_read("nomac.p12", &der);
    to_ber(&ber, der.p, der.len, &deep);
    pki_write("ber.p12", ber.p, ber.len, 0600);
    gives(FILES("ber.p12"), "secret", "press-int", 1);
    for (size_t n = 2; n < ber.len; n++) { /* without its end it is damaged, and no more */
        struct bundle *b = bundle_new();
        struct err err = {0};

        assert_true(bundle_add(b, "prefix", ber.p, n, "secret", &err) < 0);
        assert_int_equal(err.code, ERR_SYNTAX);
        bundle_free(b);
    }
    buf_fini(&der);
    buf_fini(&ber);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_pkcs12_is_read),
        cmocka_unit_test(no_password_is_empty_or_none),
        cmocka_unit_test(every_form_of_key_and_certificate_is_read),
        cmocka_unit_test(chains_come_in_any_order_and_lose_their_root),
        cmocka_unit_test(every_mistake_is_told_apart),
        cmocka_unit_test(every_prefix_is_refused),
        cmocka_unit_test(containers_of_old_browsers_are_read),
    };

    return cmocka_run_group_tests(tests, setup, pki_teardown);
}
