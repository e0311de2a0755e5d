/* test_tls_key.c - keys that are made here, and the requests made with them: openssl is the judge.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test_tls_pki.h"
#include "tls/csr.h"
#include "tls/key.h"

/* What a command of openssl says, standard error included; it must succeed. */
static char *openssl(const char *arguments)
{
    static char said[20000];
    char command[2000];
    size_t n;
    FILE *from;

    snprintf(command, sizeof(command), "openssl %s 2>&1", arguments);
    from = popen(command, "r"); /* NOLINT(cert-env33-c): in a folder of our own */
    assert_non_null(from);
    n = fread(said, 1, sizeof(said) - 1, from);
    said[n] = '\0';
    if (pclose(from) != 0)
        fail_msg("openssl %s: %s", arguments, said);
    return said;
}

static void expect(const char *said, const char *part)
{
    if (strstr(said, part) == NULL)
        fail_msg("not there: %s\n%s", part, said);
}

struct terms {
    struct dn subject;
    struct san sans[4];
    struct csr_terms csr;
};

static void terms_make(struct terms *t, const char *subject, const char *const *sans, size_t n)
{
    assert_int_equal(dn_parse(subject, &t->subject, NULL), 0);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(san_parse(sans[i], &t->sans[i], NULL), 0);
    t->csr = (struct csr_terms){&t->subject, t->sans, n};
}

static const char *const four_sans[] = {"DNS:press-12.example.com", "URI:urn:certflip:gw:press-12",
                                        "email:ops@example.com", "IP:192.0.2.7"};

/* The request is signed by the key whose public half it holds, says what it shall, and the key is
 * of that kind. */
static void check_kind(enum key_kind kind, const char *kind_text, const char *signature)
{
    struct buf key = {0}, key_text = {0}, csr = {0}, spki = {0}, in_csr = {0};
    struct err err = {0};
    struct terms t;
    char text[600], *said;

    if (key_make(kind, &key, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(key_pem(key.p, key.len, &key_text), 0);
    pki_write("made.key", key_text.p, key_text.len, 0600);
    terms_make(&t, "CN=press-12,OU=Lu\\C4\\8D,O=Plant\\, North+C=DE", four_sans, 4);
    if (csr_make_pem(&t.csr, key.p, key.len, &csr, &err) != 0)
        fail_msg("%s", err.msg);
    pki_write("made.csr", csr.p, csr.len, 0600);
    snprintf(text, sizeof(text), "req -in %s -verify -noout -text -nameopt RFC2253,utf8,-esc_msb",
             pki("made.csr"));
    said = openssl(text);
    expect(said, "verify OK");
    expect(said, "Version: 1 (0x0)");
    expect(said, "Subject: CN=press-12,OU=Lu\xc4\x8d,O=Plant\\, North+C=DE");
    expect(said, kind_text);
    expect(said, signature);
    expect(said, "DNS:press-12.example.com, URI:urn:certflip:gw:press-12, email:ops@example.com, "
                 "IP Address:192.0.2.7");
    expect(said, "X509v3 Key Usage: critical");
    expect(said, "Digital Signature");
    expect(said, "TLS Web Client Authentication");
    snprintf(text, sizeof(text), "pkey -in %s -check -noout", pki("made.key"));
    expect(openssl(text), "Key is valid");
    snprintf(text, sizeof(text), "asn1parse -in %s", pki("made.key"));
    expect(openssl(text), kind <= KEY_EC_P384 ? "id-ecPublicKey" : "rsaEncryption"); /* PKCS#8 */
    assert_int_equal(key_public(key.p, key.len, &spki, &err), 0);
    assert_int_equal(csr_public((const char *)csr.p, csr.len, &in_csr, &err), 0);
    assert_int_equal(spki.len, in_csr.len);
    assert_memory_equal(spki.p, in_csr.p, spki.len);
    dn_fini(&t.subject);
    buf_fini_wipe(&key);
    buf_fini_wipe(&key_text);
    buf_fini(&csr);
    buf_fini(&spki);
    buf_fini(&in_csr);
}

static void ec_keys_and_their_requests(void **unused)
{
    (void)unused;
    check_kind(KEY_EC_P256, "ASN1 OID: prime256v1", "ecdsa-with-SHA256");
    check_kind(KEY_EC_P384, "ASN1 OID: secp384r1", "ecdsa-with-SHA384");
}

static void rsa_keys_and_their_requests(void **unused)
{
    (void)unused;
    check_kind(KEY_RSA_2048, "Public-Key: (2048 bit)", "sha256WithRSAEncryption");
}

/* A request without subject marks the alternative names as critical. */
static void a_request_may_have_no_subject(void **unused)
{
    struct buf key = {0}, csr = {0};
    struct terms t;
    char text[600];

    (void)unused;
    assert_int_equal(key_make(KEY_EC_P256, &key, NULL), 0);
    terms_make(&t, "", four_sans, 1);
    assert_int_equal(csr_make_pem(&t.csr, key.p, key.len, &csr, NULL), 0);
    pki_write("bare.csr", csr.p, csr.len, 0600);
    snprintf(text, sizeof(text), "req -in %s -verify -noout -text", pki("bare.csr"));
    expect(openssl(text), "X509v3 Subject Alternative Name: critical");
    buf_fini_wipe(&key);
    buf_fini(&csr);
}

static void kinds_have_names(void **unused)
{
    enum key_kind kind = KEY_KINDS;

    (void)unused;
    for (int k = 0; k < KEY_KINDS; k++) {
        assert_int_equal(key_kind_parse(key_kind_name((enum key_kind)k), &kind), 0);
        assert_int_equal(kind, k);
    }
    assert_int_equal(key_kind_parse("dsa-1024", &kind), -ERR_INVALID);
    assert_int_equal(kind, KEY_KINDS - 1);
}

static void what_is_no_key_or_request_is_refused(void **unused)
{
    static const char no_csr[] = "-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n"
                                 "-----END CERTIFICATE REQUEST-----\n";
    struct buf out = {0};
    struct err err = {0};

    (void)unused;
    assert_int_equal(key_public((const uint8_t *)"0", 1, &out, &err), -ERR_SYNTAX);
    assert_int_equal(csr_public("", 0, &out, &err), -ERR_SYNTAX);
    assert_int_equal(csr_public(no_csr, sizeof(no_csr) - 1, &out, &err), -ERR_SYNTAX);
    assert_int_equal(out.len, 0);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ec_keys_and_their_requests),
        cmocka_unit_test(rsa_keys_and_their_requests),
        cmocka_unit_test(a_request_may_have_no_subject),
        cmocka_unit_test(kinds_have_names),
        cmocka_unit_test(what_is_no_key_or_request_is_refused),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
