/* test_tls_jws.c - the signatures of JWS: the standards' own examples, keys that openssl made, and
 * what is no key of ours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base64url.h"
#include "base/str.h"
#include "test_tls_pki.h"
#include "tls/jws.h"
#include "tls/pem.h"

/* RFC 7515, appendix A.3. */
#define ES256_INPUT                                                                               \
    "eyJhbGciOiJFUzI1NiJ9."                                                                       \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnV" \
    "lfQ"
#define ES256_SIGNATURE \
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
#define ES256_X "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
#define ES256_Y "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"

/* RFC 8037, appendices A.1 and A.4. */
#define EDDSA_INPUT "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
#define EDDSA_SIGNATURE \
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
#define EDDSA_X "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
#define EDDSA_D "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"

static void decode(const char *text, struct buf *out)
{
    assert_int_equal(base64url_decode(text, strlen(text), out), 0);
}

/* A PEM text of this label: `head`, hex, and then what the base64 stands for. */
static void pem_of(const char *label, const char *head, const char *a, const char *b,
                   struct buf *pem)
{
    struct buf der = {0};
    uint8_t bytes[64];
    size_t n = strlen(head) / 2;

    assert_int_equal(str_unhex(head, bytes, n), 0);
    buf_append(&der, bytes, n);
    decode(a, &der);
    decode(b, &der);
    assert_int_equal(pem_encode(label, der.p, der.len, pem), 0);
    buf_fini(&der);
}

static struct jws_key *key_of(const struct buf *pem)
{
    struct err err = {0};
    struct jws_key *k = jws_key_new((const char *)pem->p, pem->len, &err);

    if (k == NULL)
        fail_msg("%s", err.msg);
    return k;
}

static struct jws_key *es256_key(void)
{
    struct buf pem = {0};
    struct jws_key *k;

    pem_of("PUBLIC KEY", "3059301306072a8648ce3d020106082a8648ce3d03010703420004", ES256_X, ES256_Y,
           &pem);
    k = key_of(&pem);
    buf_fini(&pem);
    return k;
}

static struct jws_key *eddsa_key(void)
{
    struct buf pem = {0};
    struct jws_key *k;

    pem_of("PUBLIC KEY", "302a300506032b6570032100", EDDSA_X, "", &pem);
    k = key_of(&pem);
    buf_fini(&pem);
    return k;
}

/* The signature is good, and none with one bit of it, or of what is signed, turned over is. */
static void only_this_is_good(struct jws_key *k, const char *input, const char *signature)
{
    struct buf sig = {0};
    char *text = strdup(input);
    size_t n = strlen(text);

    decode(signature, &sig);
    assert_int_equal(sig.len, JWS_SIGNATURE_BYTES);
    assert_int_equal(jws_verify(k, text, n, sig.p), 0);
    for (size_t bit = 0; bit < 8 * sig.len; bit++) {
        sig.p[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_int_equal(jws_verify(k, text, n, sig.p), -ERR_DENIED);
        sig.p[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    for (size_t i = 0; i < n; i++) {
        text[i] ^= 1;
        assert_int_equal(jws_verify(k, text, n, sig.p), -ERR_DENIED);
        text[i] ^= 1;
    }
    assert_int_equal(jws_verify(k, text, n - 1, sig.p), -ERR_DENIED);
    memset(sig.p, 0, sig.len);
    assert_int_equal(jws_verify(k, text, n, sig.p), -ERR_DENIED);
    memset(sig.p, 0xff, sig.len);
    assert_int_equal(jws_verify(k, text, n, sig.p), -ERR_DENIED);
    free(text);
    buf_fini(&sig);
}

static void the_examples_of_the_standards_verify(void **unused)
{
    struct jws_key *ec = es256_key(), *ed = eddsa_key();
    struct buf sig = {0};

    (void)unused;
    assert_int_equal(jws_key_alg(ec), JWS_ES256);
    assert_int_equal(jws_key_alg(ed), JWS_EDDSA);
    assert_string_equal(jws_alg_name(JWS_ES256), "ES256");
    assert_string_equal(jws_alg_name(JWS_EDDSA), "EdDSA");
    only_this_is_good(ec, ES256_INPUT, ES256_SIGNATURE);
    only_this_is_good(ed, EDDSA_INPUT, EDDSA_SIGNATURE);
    decode(ES256_SIGNATURE, &sig); /* a key judges by its own algorithm alone */
    assert_int_equal(jws_verify(ed, ES256_INPUT, strlen(ES256_INPUT), sig.p), -ERR_DENIED);
    buf_fini(&sig);
    jws_key_free(ec);
    jws_key_free(ed);
}

/* EdDSA has one signature for each text: ours is the standard's. */
static void signs_as_the_standard_does(void **unused)
{
    struct buf pem = {0}, expected = {0};
    uint8_t sig[JWS_SIGNATURE_BYTES];
    struct jws_signer *s;
    struct err err = {0};

    (void)unused;
    pem_of("PRIVATE KEY", "302e020100300506032b657004220420", EDDSA_D, "", &pem);
    s = jws_signer_new((const char *)pem.p, pem.len, &err);
    assert_non_null(s);
    assert_int_equal(jws_signer_alg(s), JWS_EDDSA);
    assert_int_equal(jws_sign(s, EDDSA_INPUT, strlen(EDDSA_INPUT), sig, &err), 0);
    decode(EDDSA_SIGNATURE, &expected);
    assert_memory_equal(sig, expected.p, sizeof(sig));
    jws_signer_free(s);
    buf_fini(&expected);
    buf_fini(&pem);
}

static void run(const char *command)
{
    if (system(command) != 0) /* NOLINT(cert-env33-c): in a folder of our own */
        fail_msg("%s", command);
}

/* What openssl made signs here, and its public half, or its certificate, verifies that. */
static void keys_of_openssl_work(void **unused)
{
    static const struct {
        const char *make;
        enum jws_alg alg;
    } kinds[] = {
        {"genpkey -algorithm ed25519", JWS_EDDSA},
        {"genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-256", JWS_ES256},
        {"ecparam -name prime256v1 -genkey", JWS_ES256},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        static const char *const public[] = {"op.pub", "op.crt"};
        struct buf secret = {0};
        struct err err = {0};
        struct jws_signer *s;
        char command[1000];

        snprintf(command, sizeof(command), "openssl %s -out '%s' 2>/dev/null", kinds[i].make,
                 pki("op.key"));
        run(command);
        snprintf(command, sizeof(command), "openssl pkey -in '%s' -pubout -out '%s'", pki("op.key"),
                 pki("op.pub"));
        run(command);
        snprintf(command, sizeof(command),
                 "openssl req -x509 -new -key '%s' -subj /CN=alice -out '%s'", pki("op.key"),
                 pki("op.crt"));
        run(command);
        pki_read("op.key", &secret);
        s = jws_signer_new((const char *)secret.p, secret.len, &err);
        if (s == NULL)
            fail_msg("%s: %s", kinds[i].make, err.msg);
        assert_int_equal(jws_signer_alg(s), kinds[i].alg);
        for (int turn = 0; turn < 40; turn++) { /* a number begins with zeros now and then */
            struct buf pem = {0};
            uint8_t sig[JWS_SIGNATURE_BYTES];
            struct jws_key *k;

            pki_read(public[turn % 2], &pem);
            k = key_of(&pem);
            assert_int_equal(jws_key_alg(k), kinds[i].alg);
            assert_int_equal(jws_sign(s, &turn, sizeof(turn), sig, &err), 0);
            assert_int_equal(jws_verify(k, &turn, sizeof(turn), sig), 0);
            sig[turn] ^= 4;
            assert_int_equal(jws_verify(k, &turn, sizeof(turn), sig), -ERR_DENIED);
            jws_key_free(k);
            buf_fini(&pem);
        }
        jws_signer_free(s);
        buf_fini(&secret);
    }
}

static void refused(const char *make, const char *file, const char *because)
{
    struct buf pem = {0};
    struct err err = {0};
    char command[1000];

    snprintf(command, sizeof(command), "openssl %s -out '%s' 2>/dev/null", make, pki(file));
    run(command);
    pki_read(file, &pem);
    assert_null(jws_key_new((const char *)pem.p, pem.len, &err));
    if (strstr(err.msg, because) == NULL)
        fail_msg("%s: %s", make, err.msg);
    buf_fini(&pem);
}

/* No other kind, curve or secret: and the sentence says what to make instead. */
static void other_keys_are_refused(void **unused)
{
    struct err err = {0};
    struct buf pem = {0};
    char command[1000];

    (void)unused;
    refused("genpkey -algorithm rsa -pkeyopt rsa_keygen_bits:2048", "rsa.key", "private key");
    refused("genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-384", "p384.key", "private key");
    snprintf(command, sizeof(command), "pkey -in '%s' -pubout", pki("rsa.key"));
    refused(command, "rsa.pub", "P-256 or Ed25519");
    snprintf(command, sizeof(command), "pkey -in '%s' -pubout", pki("p384.key"));
    refused(command, "p384.pub", "P-256");
    assert_null(jws_key_new("", 0, &err));
    assert_non_null(strstr(err.msg, "no public key"));
    assert_null(jws_key_new("-----BEGIN PUBLIC KEY-----\nAAAA\n", 32, &err));
    assert_null(jws_signer_new("", 0, &err));
    pki_read("rsa.key", &pem);
    assert_null(jws_signer_new((const char *)pem.p, pem.len, &err));
    assert_non_null(strstr(err.msg, "P-256 or Ed25519"));
    buf_fini(&pem);
    pki_read("p384.key", &pem);
    assert_null(jws_signer_new((const char *)pem.p, pem.len, &err));
    buf_fini(&pem);
    /* A point that is not on the curve. */
    pem_of("PUBLIC KEY", "3059301306072a8648ce3d020106082a8648ce3d03010703420004", ES256_X, ES256_X,
           &pem);
    assert_null(jws_key_new((const char *)pem.p, pem.len, &err));
    buf_fini(&pem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_examples_of_the_standards_verify),
        cmocka_unit_test(signs_as_the_standard_does),
        cmocka_unit_test(keys_of_openssl_work),
        cmocka_unit_test(other_keys_are_refused),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
