/* What is read out of a certificate. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test_tls_pki.h"

static int keep_der(void *arg, const uint8_t *der, size_t n, struct err *err)
{
    (void)err;
    return buf_append(arg, der, n);
}

static struct buf der_of_file(const char *file)
{
    struct buf pem = {0}, der = {0};
    struct err err = {0};

    pki_read(file, &pem);
    assert_int_equal(cert_pem_each((const char *)pem.p, pem.len, keep_der, &der, &err), 1);
    buf_fini(&pem);
    return der;
}

static void names_are_those_of_rfc_4514(void **state)
{
    struct cert_info *ci = pki_info("rich.pem");

    (void)state;
    assert_string_equal(
        ci->subject,
        "CN=\\ press-07\\ ,CN=first,OU=one+UID=u7,O=Plant\\, \\\"North\\\",L=Köln,C=DE");
    assert_string_equal(ci->issuer, "CN=ca-old,O=Plant");
    assert_string_equal(ci->cn, " press-07 ");
    cert_info_free(ci);
}

static void all_names_of_the_san_are_read(void **state)
{
    static const struct cert_san want[] = {
        {CERT_SAN_DNS, (char *)(uintptr_t) "press-07.plant.example"},
        {CERT_SAN_URI, (char *)(uintptr_t) "urn:dev:mac:0024befffe804ff1"},
        {CERT_SAN_EMAIL, (char *)(uintptr_t) "op@plant.example"},
        {CERT_SAN_IP, (char *)(uintptr_t) "192.0.2.7"},
        {CERT_SAN_IP, (char *)(uintptr_t) "2001:db8::7"},
        {CERT_SAN_DNS, (char *)(uintptr_t) "second.example"},
    };
    struct cert_info *ci = pki_info("rich.pem");

    (void)state;
    assert_int_equal(ci->san_count, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(ci->sans[i].kind, want[i].kind);
        assert_string_equal(ci->sans[i].text, want[i].text);
    }
    cert_info_free(ci);
}

struct facts {
    const char *file, *key_alg;
    unsigned key_bits;
    const char *sig_alg;
    bool weak, ca, has_eku, client, server;
};

static void keys_digests_and_purposes_are_known(void **state)
{
    /* clang-format off */
    static const struct facts table[] = {
        { "press-07.pem",       "EC P-256", 256,  "ecdsa-with-SHA256",        false, false, true,  true,  false },
        { "press-p384.pem",     "EC P-384", 384,  "ecdsa-with-SHA256",        false, false, true,  true,  false },
        { "press-ed.pem",       "Ed25519",  256,  "ecdsa-with-SHA256",        false, false, true,  true,  false },
        { "press-rsa.pem",      "RSA",      2048, "ecdsa-with-SHA256",        false, false, true,  true,  false },
        { "press-1024.pem",     "RSA",      1024, "ecdsa-with-SHA256",        false, false, true,  true,  false },
        { "press-new.pem",      "EC P-256", 256,  "sha256WithRSAEncryption",  false, false, true,  true,  false },
        { "press-sha1.pem",     "EC P-256", 256,  "ecdsa-with-SHA1",          true,  false, true,  true,  false },
        { "press-rsa-sha1.pem", "RSA",      2048, "sha1WithRSAEncryption",    true,  false, true,  true,  false },
        { "press-any.pem",      "EC P-256", 256,  "ecdsa-with-SHA256",        false, false, true,  true,  true  },
        { "press-plain.pem",    "EC P-256", 256,  "ecdsa-with-SHA256",        false, false, false, false, false },
        { "press-eku.pem",      "EC P-256", 256,  "ecdsa-with-SHA256",        false, false, true,  false, true  },
        { "pss.pem",            "RSA",      2048, "RSASSA-PSS with SHA256",   false, false, false, false, false },
        { "pss-sha1.pem",       "RSA",      2048, "RSASSA-PSS with SHA1",     true,  false, false, false, false },
        { "ca-old.pem",         "EC P-256", 256,  "ecdsa-with-SHA256",        false, true,  false, false, false },
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const struct facts *want = &table[i];
        struct cert_info *ci = pki_info(want->file);

        print_message("%s\n", want->file);
        assert_string_equal(ci->key_alg, want->key_alg);
        assert_int_equal(ci->key_bits, want->key_bits);
        assert_string_equal(ci->sig_alg, want->sig_alg);
        assert_int_equal(ci->weak_digest, want->weak);
        assert_int_equal(ci->is_ca, want->ca);
        assert_int_equal(ci->has_eku, want->has_eku);
        assert_int_equal(ci->eku_client, want->client);
        assert_int_equal(ci->eku_server, want->server);
        cert_info_free(ci);
    }
}

/* What lint and revocation go by. */
static void keys_and_bounds_are_known(void **state)
{
    struct cert_info *leaf = pki_info("press-07.pem"), *ca = pki_info("ca-old.pem"),
                     *bound = pki_info("ca-bound.pem"), *inter = pki_info("ca-int.pem"),
                     *bare = pki_info("press-forged.pem");

    (void)state;
    assert_int_equal(ca->ski.n, 20);
    assert_int_equal(bound->aki.n, 20);
    assert_memory_equal(bound->aki.p, ca->ski.p, 20);
    assert_int_equal(bare->ski.n + bare->aki.n, 0);
    assert_int_equal(bare->version, 1);
    assert_memory_equal(bound->spki_fp, inter->spki_fp, CERT_FP_BYTES); /* one key, two names */
    assert_memory_not_equal(bound->fp, inter->fp, CERT_FP_BYTES);
    assert_memory_not_equal(leaf->spki_fp, ca->spki_fp, CERT_FP_BYTES);

    assert_true(ca->is_self_issued);
    assert_false(leaf->is_self_issued);
    assert_int_equal(leaf->version, 3);
    assert_false(leaf->has_key_usage);
    assert_true(bound->has_key_usage);
    assert_int_equal(bound->key_usage,
                     CERT_DIGITAL_SIGNATURE | CERT_KEY_CERT_SIGN | CERT_DECIPHER_ONLY);
    assert_int_equal(ca->key_usage, CERT_KEY_CERT_SIGN | CERT_CRL_SIGN);
    assert_int_equal(ca->path_len, -1);
    assert_int_equal(bound->path_len, 1);
    assert_true(bound->has_name_constraints);
    assert_false(ca->has_name_constraints);
    assert_string_equal(bound->critical, "1.2.840.113549.3");
    assert_null(ca->critical);
    cert_info_free(leaf);
    cert_info_free(ca);
    cert_info_free(bound);
    cert_info_free(inter);
    cert_info_free(bare);
}

/* RFC 5280, 7.1 */
static void names_are_compared_without_case_and_blanks(void **state)
{
    static const struct {
        const char *issuer;
        bool same;
    } table[] = {{"ca-old.pem", true},
                 {"ca-spelt.pem", true},
                 {"ca-unlike.pem", false},
                 {"ca-longer.pem", false},
                 {"ca-new.pem", false}};
    struct buf leaf = der_of_file("press-07.pem");

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct buf issuer = der_of_file(table[i].issuer);

        print_message("%s\n", table[i].issuer);
        assert_int_equal(cert_is_named(issuer.p, issuer.len, leaf.p, leaf.len), table[i].same);
        buf_fini(&issuer);
    }
    buf_fini(&leaf);
}

/* RFC 5280, 4.2: whoever reads only the first, or the last, would be led astray. */
static void an_extension_that_comes_twice_is_refused(void **state)
{
    struct buf der = der_of_file("press-07.pem");
    struct err err = {0};
    uint8_t *eku = memmem(der.p, der.len, "\x55\x1d\x25", 3);

    (void)state;
    assert_non_null(eku);
    eku[2] = 0x13; /* basicConstraints, which it has already */
    assert_null(cert_info_new(der.p, der.len, &err));
    assert_int_equal(err.code, ERR_SYNTAX);
    buf_fini(&der);
}

static void dates_are_wall_clock_seconds(void **state)
{
    struct cert_info *ci = pki_info("press-expired.pem");

    (void)state;
    assert_int_equal(ci->not_before_s, 1577836800); /* 2020-01-01 00:00:00 UTC */
    assert_int_equal(ci->not_after_s, 1609459200);  /* 2021-01-01 00:00:00 UTC */
    cert_info_free(ci);
    ci = pki_info("press-early.pem");
    assert_int_equal(ci->not_before_s, 2461449600); /* 2048-01-01, still a UTCTime */
    cert_info_free(ci);
}

/* A certificate that is cut off anywhere is refused, and nothing is read behind its end. */
static void every_proper_prefix_is_refused(void **state)
{
    struct buf der = der_of_file("rich.pem");
    struct err err = {0};

    (void)state;
    for (size_t n = 0; n < der.len; n++) {
        uint8_t *copy = malloc(n + 1);

        assert_non_null(copy);
        memcpy(copy, der.p, n);
        copy = realloc(copy, n > 0 ? n : 1);
        assert_null(cert_info_new(copy, n, &err));
        assert_int_equal(err.code, ERR_SYNTAX);
        free(copy);
    }
    buf_fini(&der);
}

/* Whatever one byte becomes, the reader comes back. */
static void every_damaged_byte_is_survived(void **state)
{
    static const uint8_t damage[] = {0x00, 0x01, 0x7f, 0x80, 0x84, 0xff};
    struct buf der = der_of_file("rich.pem");

    (void)state;
    for (size_t i = 0; i < der.len; i++) {
        uint8_t was = der.p[i];

        for (size_t k = 0; k < sizeof(damage); k++) {
            der.p[i] = damage[k];
            cert_info_free(cert_info_new(der.p, der.len, NULL));
        }
        der.p[i] = was;
    }
    buf_fini(&der);
}

/* A NUL in a name must not end it: "press-07\0.evil" is not press-07. */
static void a_name_with_a_nul_names_nobody(void **state)
{
    struct buf der = der_of_file("press-07.pem");
    size_t at = 0;
    struct cert_info *ci;

    (void)state;
    for (size_t i = 0; i + 8 <= der.len; i++)
        if (memcmp(der.p + i, "press-07", 8) == 0)
            at = i;
    assert_int_not_equal(at, 0);
    der.p[at + 5] = 0;
    ci = cert_info_new(der.p, der.len, NULL);
    assert_non_null(ci);
    assert_null(ci->cn);
    assert_string_equal(ci->subject, "O=Plant,CN=press\\0007");
    cert_info_free(ci);
    buf_fini(&der);
}

static int count(void *arg, const uint8_t *der, size_t n, struct err *err)
{
    (void)der;
    (void)err;
    *(size_t *)arg += n;
    return 0;
}

static int refuse(void *arg, const uint8_t *der, size_t n, struct err *err)
{
    (void)arg;
    (void)der;
    (void)n;
    return err_set(err, ERR_BUSY, "not now");
}

static void text_around_pem_blocks_is_ignored(void **state)
{
    struct buf pem = {0};
    struct err err = {0};
    size_t bytes = 0;

    (void)state;
    buf_printf(&pem, "Certificate:\n  Data: something\n");
    pki_read("press-int-chain.pem", &pem);
    buf_printf(&pem, "\r\ntrailing words: no block\n");
    pki_read("press-07.key", &pem);
    assert_int_equal(cert_pem_each((const char *)pem.p, pem.len, count, &bytes, &err), 2);
    assert_true(bytes > 600);
    assert_int_equal(cert_pem_each((const char *)pem.p, pem.len, refuse, NULL, &err), -ERR_BUSY);
    buf_fini(&pem);
    assert_int_equal(cert_pem_each("nothing here\n", 13, count, &bytes, &err), 0);
}

static void broken_pem_is_named(void **state)
{
    static const char *const broken[] = {
        "-----BEGIN CERTIFICATE",
        "-----BEGIN CERTIFICATE-----\nMIIB\n",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END KEY-----\n",
        "-----BEGIN CERTIFICATE-----\nMI!!\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE",
    };
    size_t bytes = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        struct err err = {0};

        assert_int_equal(cert_pem_each(broken[i], strlen(broken[i]), count, &bytes, &err),
                         -ERR_SYNTAX);
        assert_non_null(strstr(err.msg, "copy the file again"));
    }
}

/* Headers before the base64 (as PKCS#12 exports have them) and CRLF line ends are no hindrance. */
static void pem_with_crlf_and_headers_is_read(void **state)
{
    struct buf pem = {0}, crlf = {0};
    struct err err = {0};
    size_t bytes = 0;

    (void)state;
    pki_read("press-07.pem", &pem);
    for (size_t i = 0; i < pem.len; i++) {
        if (pem.p[i] == '\n')
            buf_append_u8(&crlf, '\r');
        buf_append_u8(&crlf, pem.p[i]);
    }
    assert_int_equal(cert_pem_each((const char *)crlf.p, crlf.len, count, &bytes, &err), 1);
    buf_fini(&pem);
    buf_fini(&crlf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_those_of_rfc_4514),
        cmocka_unit_test(all_names_of_the_san_are_read),
        cmocka_unit_test(keys_digests_and_purposes_are_known),
        cmocka_unit_test(keys_and_bounds_are_known),
        cmocka_unit_test(names_are_compared_without_case_and_blanks),
        cmocka_unit_test(an_extension_that_comes_twice_is_refused),
        cmocka_unit_test(dates_are_wall_clock_seconds),
        cmocka_unit_test(every_proper_prefix_is_refused),
        cmocka_unit_test(every_damaged_byte_is_survived),
        cmocka_unit_test(a_name_with_a_nul_names_nobody),
        cmocka_unit_test(text_around_pem_blocks_is_ignored),
        cmocka_unit_test(broken_pem_is_named),
        cmocka_unit_test(pem_with_crlf_and_headers_is_read),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
