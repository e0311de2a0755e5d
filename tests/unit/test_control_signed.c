/* test_control_signed.c - signed commands: what is taken, and each way in which one is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/base64url.h"
#include "control/signed.h"
#include "tls/jws.h"

#define NOW 1900000000

/* Those of RFC 8037, A.1, and of RFC 7515, A.3. */
static const char ed_secret[] = "-----BEGIN PRIVATE KEY-----\n"
                                "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
                                "-----END PRIVATE KEY-----\n";
static const char ed_public[] = "-----BEGIN PUBLIC KEY-----\n"
                                "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
                                "-----END PUBLIC KEY-----\n";
static const char ec_secret[] = "-----BEGIN EC PRIVATE KEY-----\n"
                                "MHcCAQEEII6bEJ5xkJi/mASH3x9dd+nLKWBuvtImO19XwhPfhPSyoAoGCCqGSM49\n"
                                "AwEHoUQDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEXH8UTNG72b\n"
                                "focs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==\n"
                                "-----END EC PRIVATE KEY-----\n";
static const char ec_public[] = "-----BEGIN PUBLIC KEY-----\n"
                                "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV7\n"
                                "6e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==\n"
                                "-----END PUBLIC KEY-----\n";

#define REQUEST "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}"
#define GOOD    "{\"aud\":\"gw-1\",\"exp\":1900000600,\"jti\":\"j-1\",\"request\":" REQUEST "}"
#define HEADER  "{\"alg\":\"EdDSA\",\"kid\":\"alice\"}"

static struct signed_operator operators[2] = {{.name = "alice", .roles = 1},
                                              {.name = "bob", .roles = 2}};
static struct jws_signer *alice, *bob;
static struct signed_rules rules;

static int setup(void **unused)
{
    (void)unused;
    alice = jws_signer_new(ed_secret, strlen(ed_secret), NULL);
    bob = jws_signer_new(ec_secret, strlen(ec_secret), NULL);
    operators[0].key = jws_key_new(ed_public, strlen(ed_public), NULL);
    operators[1].key = jws_key_new(ec_public, strlen(ec_public), NULL);
    return alice == NULL || bob == NULL || operators[0].key == NULL || operators[1].key == NULL;
}

static int teardown(void **unused)
{
    (void)unused;
    jws_signer_free(alice);
    jws_signer_free(bob);
    jws_key_free(operators[0].key);
    jws_key_free(operators[1].key);
    return 0;
}

static int each(void **unused)
{
    (void)unused;
    rules = (struct signed_rules){
        .operators = operators,
        .operator_count = 2,
        .gateway = "gw-1",
        .now_s = NOW,
        .tolerance_s = 60,
        .max_expiry_s = 3600,
    };
    return 0;
}

/* The compact form of these texts, signed by `by`.  Returns owned. */
static char *sign(struct jws_signer *by, const char *header, const char *payload)
{
    uint8_t signature[JWS_SIGNATURE_BYTES];
    struct buf text = {0};

    base64url_encode(header, strlen(header), &text);
    buf_append_u8(&text, '.');
    base64url_encode(payload, strlen(payload), &text);
    assert_int_equal(jws_sign(by, text.p, text.len, signature, NULL), 0);
    buf_append_u8(&text, '.');
    base64url_encode(signature, sizeof(signature), &text);
    buf_append_u8(&text, 0);
    return (char *)text.p;
}

/* The flattened form of a compact one.  Returns owned. */
static char *flatten(const char *compact, const char *more)
{
    const char *first = strchr(compact, '.'), *second = strchr(first + 1, '.');
    struct buf text = {0};

    buf_printf(&text, "{\"protected\":\"%.*s\",\"payload\":\"%.*s\",\"signature\":\"%s\"%s}",
               (int)(first - compact), compact, (int)(second - first - 1), first + 1, second + 1,
               more);
    buf_append_u8(&text, 0);
    return (char *)text.p;
}

static enum rpc_code code_of(const char *text)
{
    struct signed_command c;
    struct rpc_fault f = {0};
    enum rpc_code code;
    int rc = signed_open(&rules, text, strlen(text), &c, &f);

    code = f.code;
    assert_int_equal(rc, code == RPC_OK ? 0 : -1);
    signed_command_fini(&c);
    rpc_fault_fini(&f);
    return code;
}

static void expect(const char *header, const char *payload, enum rpc_code code)
{
    char *compact = sign(alice, header, payload), *flat = flatten(compact, "");

    if (code_of(compact) != code)
        fail_msg("%s %s: %s, not %s", header, payload, rpc_error_name(code_of(compact)),
                 rpc_error_name(code));
    assert_int_equal(code_of(flat), code);
    free(compact);
    free(flat);
}

static void both_forms_and_algorithms_are_taken(void **unused)
{
    struct signed_command c;
    struct rpc_fault f = {0};
    char *text =
        sign(bob, "{\"typ\":\"JWT\",\"alg\":\"ES256\",\"kid\":\"bob\",\"cty\":\"x\"}", GOOD);
    char *flat = flatten(text, "");

    (void)unused;
    expect(HEADER, GOOD, RPC_OK);
    assert_true(signed_looks(text, strlen(text)));
    assert_true(signed_looks(flat, strlen(flat)));
    assert_int_equal(signed_open(&rules, text, strlen(text), &c, &f), 0);
    assert_ptr_equal(c.by, &operators[1]);
    assert_string_equal(c.jti, "j-1");
    assert_string_equal(json_string_value(json_object_get(c.request, "method")), "status");
    signed_command_fini(&c);
    free(text);
    free(flat);
}

static void a_request_as_it_is_is_none(void **unused)
{
    static const char *const plain[] = {
        "",
        " ",
        "7",
        "null",
        "[]",
        REQUEST,
        "[" REQUEST "]",
        "{\"jsonrpc\":\"2.0\",\"params\":{\"payload\":1,\"signature\":2}}",
        "{\"payload\":",
    };

    (void)unused;
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
        assert_false(signed_looks(plain[i], strlen(plain[i])));
}

static void what_signed_make_makes_is_taken(void **unused)
{
    json_t *payload = json_loads(GOOD, 0, NULL);
    struct buf text = {0};

    (void)unused;
    assert_int_equal(signed_make(alice, "alice", payload, &text, NULL), 0);
    buf_append(&text, "\n", 2); /* as it stands in a file */
    assert_int_equal(code_of((const char *)text.p), RPC_OK);
    buf_fini(&text);
    json_decref(payload);
}

/* The key's kind decides, whatever the header says; and no header brings its own key. */
static void no_header_chooses(void **unused)
{
    static const char *const headers[] = {
        "{\"alg\":\"none\",\"kid\":\"alice\"}",
        "{\"alg\":\"HS256\",\"kid\":\"alice\"}",
        "{\"alg\":\"ES256\",\"kid\":\"alice\"}",
        "{\"alg\":\"eddsa\",\"kid\":\"alice\"}",
        "{\"alg\":\"EdDSA\",\"kid\":\"bob\"}",
        "{\"alg\":\"EdDSA\",\"kid\":\"carol\"}",
        "{\"alg\":\"EdDSA\"}",
        "{\"kid\":\"alice\"}",
        "{\"alg\":7,\"kid\":\"alice\"}",
        "{\"alg\":\"EdDSA\",\"kid\":\"alice\",\"kid\":\"alice\"}",
        "{\"alg\":\"EdDSA\",\"kid\":\"alice\",\"crit\":[\"exp\"]}",
        "{\"alg\":\"EdDSA\",\"kid\":\"alice\",\"b64\":false}",
        "{\"alg\":\"EdDSA\",\"kid\":\"alice\",\"jwk\":{\"kty\":\"OKP\"}}",
        "{\"alg\":\"EdDSA\",\"kid\":\"alice\",\"jku\":\"https://example.com\"}",
        "{\"alg\":\"EdDSA\",\"kid\":\"alice\",\"x5u\":\"https://example.com\"}",
        "{\"alg\":\"EdDSA\",\"kid\":\"alice\",\"x5c\":[]}",
        "[]",
        "",
        "{",
    };

    (void)unused;
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
        expect(headers[i], GOOD, RPC_SIGNATURE);
    rules.operator_count = 0;
    expect(HEADER, GOOD, RPC_SIGNATURE);
}

/* Not one character may be another one. */
static void no_character_may_change(void **unused)
{
    char *text = sign(alice, HEADER, GOOD);
    size_t n = strlen(text);

    (void)unused;
    for (size_t i = 0; i < n; i++) {
        char was = text[i];

        text[i] = was == 'A' ? 'B' : 'A';
        if (code_of(text) == RPC_OK)
            fail_msg("character %zu is not looked at", i);
        text[i] = was;
    }
    for (size_t i = 0; i < n; i++) { /* nor be missing at the end */
        char was = text[i];

        text[i] = '\0';
        assert_int_equal(code_of(text), RPC_SIGNATURE);
        text[i] = was;
    }
    assert_int_equal(code_of(text), RPC_OK);
    free(text);
}

static void other_shapes_are_refused(void **unused)
{
    char *text = sign(alice, HEADER, GOOD), *bad = malloc(strlen(text) + 10), *flat;

    (void)unused;
    sprintf(bad, "%s=", text); /* padding */
    assert_int_equal(code_of(bad), RPC_SIGNATURE);
    sprintf(bad, "%s.", text);
    assert_int_equal(code_of(bad), RPC_SIGNATURE);
    sprintf(bad, "%s.e30", text);
    assert_int_equal(code_of(bad), RPC_SIGNATURE);
    flat = flatten(text, ",\"header\":{\"kid\":\"bob\"}");
    assert_int_equal(code_of(flat), RPC_SIGNATURE);
    free(flat);
    flat = flatten(text, ",\"payload\":\"e30\"");
    assert_int_equal(code_of(flat), RPC_SIGNATURE);
    free(flat);
    free(text);
    free(bad);
    text = sign(bob, HEADER, GOOD); /* alice's name, and another's key */
    assert_int_equal(code_of(text), RPC_SIGNATURE);
    free(text);
}

#define CLAIMS(aud, times, jti, request) \
    "{\"aud\":" aud "," times ",\"jti\":" jti ",\"request\":" request "}"
#define IN_TIME "\"exp\":1900000600"

static void claims_are_checked(void **unused)
{
    static const struct {
        const char *payload;
        enum rpc_code code;
    } all[] = {
        {CLAIMS("[\"gw-0\",\"gw-1\"]", IN_TIME, "\"j\"", REQUEST), RPC_OK},
        {CLAIMS("\"gw-2\"", IN_TIME, "\"j\"", REQUEST), RPC_WRONG_GATEWAY},
        {CLAIMS("\"gw-1 \"", IN_TIME, "\"j\"", REQUEST), RPC_WRONG_GATEWAY},
        {CLAIMS("[]", IN_TIME, "\"j\"", REQUEST), RPC_WRONG_GATEWAY},
        {CLAIMS("[[\"gw-1\"]]", IN_TIME, "\"j\"", REQUEST), RPC_WRONG_GATEWAY},
        {CLAIMS("null", IN_TIME, "\"j\"", REQUEST), RPC_WRONG_GATEWAY},
        {CLAIMS("\"gw-1\"", "\"exp\":1899999940", "\"j\"", REQUEST), RPC_OK},
        {CLAIMS("\"gw-1\"", "\"exp\":1899999939", "\"j\"", REQUEST), RPC_EXPIRED},
        {CLAIMS("\"gw-1\"", "\"exp\":1900003660", "\"j\"", REQUEST), RPC_OK},
        {CLAIMS("\"gw-1\"", "\"exp\":1900003661", "\"j\"", REQUEST), RPC_EXPIRY_TOO_FAR},
        {CLAIMS("\"gw-1\"", IN_TIME ",\"nbf\":1900000060", "\"j\"", REQUEST), RPC_OK},
        {CLAIMS("\"gw-1\"", IN_TIME ",\"nbf\":1900000061", "\"j\"", REQUEST), RPC_NOT_YET},
        {CLAIMS("\"gw-1\"", IN_TIME ",\"iat\":1900000061", "\"j\"", REQUEST), RPC_NOT_YET},
        {CLAIMS("\"gw-1\"", "\"exp\":\"1900000600\"", "\"j\"", REQUEST), RPC_INVALID_REQUEST},
        {CLAIMS("\"gw-1\"", "\"exp\":1900000600.5", "\"j\"", REQUEST), RPC_INVALID_REQUEST},
        {CLAIMS("\"gw-1\"", "\"exp\":-1", "\"j\"", REQUEST), RPC_INVALID_REQUEST},
        {CLAIMS("\"gw-1\"", "\"exp\":9223372036854775807", "\"j\"", REQUEST), RPC_INVALID_REQUEST},
        {CLAIMS("\"gw-1\"", "\"iat\":1900000000", "\"j\"", REQUEST), RPC_INVALID_REQUEST},
        {CLAIMS("\"gw-1\"", IN_TIME, "\"\"", REQUEST), RPC_INVALID_REQUEST},
        {CLAIMS("\"gw-1\"", IN_TIME, "\"a:b\"", REQUEST), RPC_INVALID_REQUEST},
        {CLAIMS("\"gw-1\"", IN_TIME, "7", REQUEST), RPC_INVALID_REQUEST},
        {CLAIMS("\"gw-1\"", IN_TIME,
                "\"0123456789012345678901234567890123456789012345678901234567890123\"", REQUEST),
         RPC_OK},
        {CLAIMS("\"gw-1\"", IN_TIME,
                "\"01234567890123456789012345678901234567890123456789012345678901234\"", REQUEST),
         RPC_INVALID_REQUEST},
        {CLAIMS("\"gw-1\"", IN_TIME, "\"j\"", "[" REQUEST "]"), RPC_INVALID_REQUEST},
        {CLAIMS("\"gw-1\"", IN_TIME ",\"iss\":\"alice\"", "\"j\"", REQUEST), RPC_OK},
        {CLAIMS("\"gw-1\"", IN_TIME ",\"iss\":\"bob\"", "\"j\"", REQUEST), RPC_INVALID_REQUEST},
        {CLAIMS("\"gw-1\"", IN_TIME ",\"nfb\":1", "\"j\"", REQUEST), RPC_INVALID_REQUEST},
        {CLAIMS("\"gw-1\"", IN_TIME ",\"exp\":1900000601", "\"j\"", REQUEST), RPC_INVALID_REQUEST},
        {"[]", RPC_INVALID_REQUEST},
        {"{}", RPC_INVALID_REQUEST},
        {"", RPC_INVALID_REQUEST},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        expect(HEADER, all[i].payload, all[i].code);
}

/* What cannot be dated is not carried out; whom it was for is said all the same. */
static void without_a_clock_nothing_is_taken(void **unused)
{
    (void)unused;
    rules.clock_fault = "the clock is not synchronised";
    expect(HEADER, GOOD, RPC_CLOCK);
    expect(HEADER, CLAIMS("\"gw-2\"", IN_TIME, "\"j\"", REQUEST), RPC_WRONG_GATEWAY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(both_forms_and_algorithms_are_taken, each),
        cmocka_unit_test_setup(a_request_as_it_is_is_none, each),
        cmocka_unit_test_setup(what_signed_make_makes_is_taken, each),
        cmocka_unit_test_setup(no_header_chooses, each),
        cmocka_unit_test_setup(no_character_may_change, each),
        cmocka_unit_test_setup(other_shapes_are_refused, each),
        cmocka_unit_test_setup(claims_are_checked, each),
        cmocka_unit_test_setup(without_a_clock_nothing_is_taken, each),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
