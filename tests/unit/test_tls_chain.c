/* ClientHellos as they are read, and the chain that each gets. */
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test_tls_pki.h"
#include "tls/wolf.h"

/* -- hellos that are put together -------------------------------------------------------------- */

struct said {
    unsigned version; /* legacy_version */
    const char *name;
    uint16_t versions[4], suites[6], schemes[6], cert_schemes[6], groups[4]; /* end with 0 */
    const char *authorities[3]; /* files, of whose subjects they are */
    unsigned authorities_as;    /* the extension; 0: certificate_authorities */
};

static void put(struct buf *b, size_t octets, size_t v)
{
    while (octets-- > 0)
        buf_append_u8(b, (uint8_t)(v >> 8 * octets));
}

static void put_run(struct buf *b, size_t octets, const uint16_t *numbers, size_t max)
{
    size_t n = 0;

    while (n < max && numbers[n] != 0)
        n++;
    put(b, octets, 2 * n);
    for (size_t i = 0; i < n; i++)
        put(b, 2, numbers[i]);
}

static void put_extension(struct buf *b, unsigned kind, struct buf *body)
{
    if (body->len > 0) {
        put(b, 2, kind);
        put(b, 2, body->len);
        buf_append(b, body->p, body->len);
    }
    buf_fini(body);
}

static void put_numbers(struct buf *b, unsigned kind, size_t octets, const uint16_t *n, size_t max)
{
    struct buf body = {0};

    if (n[0] != 0)
        put_run(&body, octets, n, max);
    put_extension(b, kind, &body);
}

static void put_name(struct buf *b, const char *name)
{
    struct buf body = {0};

    if (name != NULL) {
        put(&body, 2, strlen(name) + 3);
        put(&body, 1, 0);
        put(&body, 2, strlen(name));
        buf_append(&body, name, strlen(name));
    }
    put_extension(b, 0, &body);
}

static int take_der(void *arg, const uint8_t *der, size_t n, struct err *err)
{
    struct der issuer, subject;

    (void)err;
    assert_true(cert_names(der, n, &issuer, &subject));
    return buf_append(arg, subject.p, der_left(&subject));
}

static void put_authorities(struct buf *b, const struct said *s)
{
    struct buf list = {0}, body = {0};

    for (size_t i = 0; i < 3 && s->authorities[i] != NULL; i++) {
        struct buf pem = {0}, name = {0};

        pki_read(s->authorities[i], &pem);
        assert_int_equal(cert_pem_each((const char *)pem.p, pem.len, take_der, &name, NULL), 1);
        if (s->authorities_as == 3)
            put(&list, 1, 2);
        put(&list, 2, name.len);
        buf_append(&list, name.p, name.len);
        buf_fini(&pem);
        buf_fini(&name);
    }
    if (list.len > 0) {
        put(&body, 2, list.len);
        buf_append(&body, list.p, list.len);
    }
    buf_fini(&list);
    put_extension(b, s->authorities_as == 0 ? 47 : s->authorities_as, &body);
}

static struct buf hello_of(const struct said *s)
{
    struct buf ext = {0}, body = {0}, out = {0};

    put(&body, 2, s->version != 0 ? s->version : 0x0303);
    for (int i = 0; i < 32; i++)
        put(&body, 1, (size_t)i);
    put(&body, 1, 0);
    put_run(&body, 2, s->suites, 6);
    put(&body, 2, 0x0100);
    put_name(&ext, s->name);
    put_numbers(&ext, 43, 1, s->versions, 4);
    put_numbers(&ext, 13, 2, s->schemes, 6);
    put_numbers(&ext, 50, 2, s->cert_schemes, 6);
    put_numbers(&ext, 10, 2, s->groups, 4);
    put_authorities(&ext, s);
    if (ext.len > 0) {
        put(&body, 2, ext.len);
        buf_append(&body, ext.p, ext.len);
    }
    put(&out, 3, 0x160301);
    put(&out, 2, body.len + 4);
    put(&out, 1, 1);
    put(&out, 3, body.len);
    buf_append(&out, body.p, body.len);
    buf_fini(&ext);
    buf_fini(&body);
    return out;
}

/* -- reading ----------------------------------------------------------------------------------- */

static const struct said full = {.name = "A.Old.EXAMPLE",
                                 .versions = {0x3a3a, 0x0304, 0x0303},
                                 .suites = {0x1301, 0xc02b, 0xc02f},
                                 .schemes = {0x0403, 0x0804},
                                 .cert_schemes = {0x0401},
                                 .groups = {29, 23},
                                 .authorities = {"ca-old.pem", "ca-new.pem"}};

static void all_of_a_hello_is_read(void **state)
{
    struct buf raw = hello_of(&full);
    struct slice rest;
    struct der name;
    struct hello h;
    size_t names = 0;

    (void)state;
    assert_true(hello_read(raw.p, raw.len, &h));
    assert_string_equal(h.name, "a.old.example");
    assert_int_equal(h.versions, 0x0c);
    assert_int_equal(hello_version(&h, 0x0304), 0x0304);
    assert_int_equal(hello_version(&h, 0x0303), 0x0303);
    assert_int_equal(hello_version(&h, 0x0302), 0);
    assert_true(hello_lists(h.suites, 0xc02f) && !hello_lists(h.suites, 0xc030));
    assert_true(hello_lists(h.schemes, 0x0804) && !hello_lists(h.schemes, 0x0401));
    assert_true(hello_lists(h.cert_schemes, 0x0401) && h.cert_schemes.n == 2);
    assert_true(hello_lists(h.groups, 23));
    for (rest = h.authorities; hello_authority(&h, &rest, &name);)
        names++;
    assert_int_equal(names, 2);
    buf_fini(&raw);
}

/* Without supported_versions a client takes what is older, too. */
static void an_old_hello_offers_all_up_to_its_version(void **state)
{
    struct said s = {.version = 0x0302, .suites = {0x002f}};
    struct buf raw = hello_of(&s);
    struct hello h;

    (void)state;
    assert_true(hello_read(raw.p, raw.len, &h));
    assert_int_equal(h.versions, 0x03);
    assert_int_equal(h.name[0], '\0');
    buf_fini(&raw);
}

static void what_is_cut_or_bent_is_no_hello(void **state)
{
    struct buf raw = hello_of(&full);
    struct hello h;

    (void)state;
    for (size_t n = 0; n < raw.len; n++) {
        /* Of its own, so that a step beyond the end is noticed. */
        uint8_t *part = malloc(n + 1);

        memcpy(part, raw.p, n);
        assert_false(hello_read(part, n, &h));
        assert_int_equal(h.suites.n, 0);
        free(part);
    }
    for (size_t i = 0; i < raw.len; i++)
        for (unsigned bit = 1; bit < 256; bit <<= 1) {
            raw.p[i] = (uint8_t)(raw.p[i] ^ bit);
            hello_read(raw.p, raw.len, &h);
            raw.p[i] = (uint8_t)(raw.p[i] ^ bit);
        }
    raw.p[5] = 2;
    assert_false(hello_read(raw.p, raw.len, &h));
    buf_fini(&raw);
}

/* -- choosing ---------------------------------------------------------------------------------- */

#define SUITE_RSA         0x002f /* AES128-SHA */
#define SUITE_ECDHE_RSA   0xc02f
#define SUITE_ECDHE_ECDSA 0xc02b

enum which { GETS_NEW, GETS_OLD, GETS_SHA1, GETS_NEAR, GETS_SLOW, GETS_NAMED };

static void each_client_gets_the_chain_for_it(void **state)
{
    static const struct subnet near = {.family = AF_INET, .addr = {192, 0, 2, 0}, .bits = 24};
    /* clang-format off */
    static const struct {
        const char *what;
        struct said says;
        bool near;
        enum which gets;
        enum tls_chain_why why;
    } table[] = {
        { "nothing in particular",  { .suites = {SUITE_ECDHE_ECDSA, SUITE_ECDHE_RSA} }, false, GETS_NEW, TLS_CHAIN_FITS },
        { "no ECDSA suite",         { .suites = {SUITE_ECDHE_RSA} }, false, GETS_OLD, TLS_CHAIN_FITS },
        { "key exchange by RSA",    { .suites = {SUITE_RSA} }, false, GETS_OLD, TLS_CHAIN_FITS },
        { "only key exchange fits",  { .suites = {0x0035, 0x1234} , .schemes = {0x0403} }, false, GETS_OLD, TLS_CHAIN_USABLE },
        { "none at all",            { .suites = {0x1234} }, false, GETS_NEW, TLS_CHAIN_LAST },
        { "RSA over no curve",      { .suites = {SUITE_ECDHE_RSA, SUITE_RSA}, .groups = {0x0100} }, false, GETS_OLD, TLS_CHAIN_FITS },
        { "another curve",          { .suites = {SUITE_ECDHE_ECDSA, SUITE_ECDHE_RSA}, .groups = {24} }, false, GETS_OLD, TLS_CHAIN_FITS },
        { "signatures by RSA",      { .suites = {SUITE_ECDHE_ECDSA, SUITE_ECDHE_RSA}, .schemes = {0x0401} }, false, GETS_OLD, TLS_CHAIN_FITS },
        { "SHA-1 alone",            { .suites = {SUITE_RSA}, .schemes = {0x0201} }, false, GETS_SHA1, TLS_CHAIN_FITS },
        { "both, SHA-1 in certs",   { .suites = {SUITE_ECDHE_ECDSA, SUITE_ECDHE_RSA}, .schemes = {0x0403, 0x0401}, .cert_schemes = {0x0201} }, false, GETS_SHA1, TLS_CHAIN_FITS },
        { "1.3",                    { .versions = {0x0304}, .suites = {0x1301}, .schemes = {0x0403, 0x0804, 0x0401} }, false, GETS_NEW, TLS_CHAIN_FITS },
        { "1.3, RSA",               { .versions = {0x0304}, .suites = {0x1301}, .schemes = {0x0804, 0x0401} }, false, GETS_OLD, TLS_CHAIN_FITS },
        { "1.3, PKCS #1 in certs",  { .versions = {0x0304}, .suites = {0x1301}, .schemes = {0x0401} }, false, GETS_NEW, TLS_CHAIN_LAST },
        { "1.3, another curve",     { .versions = {0x0304}, .suites = {0x1301}, .schemes = {0x0503, 0x0403}, .cert_schemes = {0x0403} }, false, GETS_NEW, TLS_CHAIN_FITS },
        { "the old CA",             { .suites = {SUITE_ECDHE_ECDSA, SUITE_ECDHE_RSA}, .authorities = {"ca-far.pem", "ca-new.pem"} }, false, GETS_OLD, TLS_CHAIN_FITS },
        { "the old CA, as before",  { .suites = {SUITE_ECDHE_ECDSA, SUITE_ECDHE_RSA}, .authorities = {"ca-new.pem"}, .authorities_as = 3 }, false, GETS_OLD, TLS_CHAIN_FITS },
        { "both CAs",               { .suites = {SUITE_ECDHE_ECDSA, SUITE_ECDHE_RSA}, .authorities = {"ca-new.pem", "ca-old.pem"} }, false, GETS_NEW, TLS_CHAIN_FITS },
        { "another CA",             { .suites = {SUITE_ECDHE_ECDSA, SUITE_ECDHE_RSA}, .authorities = {"ca-far.pem"} }, false, GETS_NEW, TLS_CHAIN_USABLE },
        { "from near",              { .suites = {SUITE_ECDHE_ECDSA, SUITE_ECDHE_RSA} }, true, GETS_NEAR, TLS_CHAIN_FITS },
        { "near, but no ECDSA",     { .suites = {SUITE_ECDHE_RSA} }, true, GETS_OLD, TLS_CHAIN_FITS },
        { "1.1",                    { .version = 0x0302, .suites = {0xc013, 0xc009} }, false, GETS_SLOW, TLS_CHAIN_FITS },
        { "the name",               { .name = "X.Old.example", .suites = {SUITE_ECDHE_ECDSA, SUITE_ECDHE_RSA} }, true, GETS_NAMED, TLS_CHAIN_FITS },
        { "the name, another CA",   { .name = "x.old.example", .suites = {SUITE_ECDHE_RSA}, .authorities = {"ca-far.pem"} }, false, GETS_NAMED, TLS_CHAIN_USABLE },
        { "the name, but no RSA",   { .name = "x.old.example", .suites = {SUITE_ECDHE_ECDSA} }, false, GETS_NEW, TLS_CHAIN_FITS },
        { "another name",           { .name = "x.example", .suites = {SUITE_ECDHE_ECDSA} }, false, GETS_NEW, TLS_CHAIN_FITS },
    };
    /* clang-format on */
    struct cred *new = pki_cred("server-ec"), *old = pki_cred("server-rsa-new"),
                *sha1 = pki_cred("server-sha1"), *rsa = pki_cred("server-rsa");
    struct tls_server_chain chains[] = {
        [GETS_NEW] = {.cred = new},
        [GETS_OLD] = {.cred = old},
        [GETS_SHA1] = {.cred = sha1},
        [GETS_NEAR] = {.cred = new, .networks = &near, .network_count = 1},
        [GETS_SLOW] = {.cred = old, .tls_max = TLS_V11},
        [GETS_NAMED] = {.cred = rsa, .sni_glob = "*.OLD.example"},
    };
    /* Those with conditions stand before those without. */
    static const enum which order[] = {GETS_NEAR, GETS_SLOW, GETS_NEW,
                                       GETS_OLD,  GETS_SHA1, GETS_NAMED};
    struct tls_server_chain listed[6];
    struct tls_server_args args = {.min = WOLF_OLDEST,
                                   .max = TLS_V13,
                                   .chains = listed,
                                   .chain_count = 6,
                                   .client_cert = TLS_CLIENT_CERT_NONE};
    struct sockaddr_in peer = {.sin_family = AF_INET};
    struct err err = {0};
    struct tls_ctx *ctx;

    (void)state;
    for (size_t i = 0; i < 6; i++)
        listed[i] = chains[order[i]];
    ctx = tls_ctx_new_server(&args, &err);
    if (ctx == NULL)
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct buf raw = hello_of(&table[i].says);
        enum tls_chain_why why;
        size_t got;

        peer.sin_addr.s_addr = htonl(table[i].near ? 0xc0000217 : 0xc0000317);
        got = tls_ctx_for_hello(ctx, tls_ctx_near(ctx, (const struct sockaddr *)&peer), raw.p,
                                raw.len, &why);
        if (order[got] != table[i].gets || why != table[i].why)
            fail_msg("%s: chain %d, %d", table[i].what, (int)order[got], (int)why);
        buf_fini(&raw);
    }
    tls_ctx_unref(ctx);
    cred_unref(new);
    cred_unref(old);
    cred_unref(sha1);
    cred_unref(rsa);
}

/* What is no hello gets what everybody gets, by its address; the library says what is wrong. */
static void what_cannot_be_read_goes_by_its_address(void **state)
{
    struct subnet near = {.family = AF_INET, .addr = {127}, .bits = 8};
    struct cred *cred = pki_cred("server-ec");
    struct tls_server_chain chains[] = {{.cred = cred, .sni_glob = "*"},
                                        {.cred = cred, .tls_max = TLS_V12},
                                        {.cred = cred, .networks = &near, .network_count = 1},
                                        {.cred = cred}};
    struct tls_server_args args = {.min = TLS_V12,
                                   .max = TLS_V13,
                                   .chains = chains,
                                   .chain_count = 4,
                                   .client_cert = TLS_CLIENT_CERT_NONE};
    struct sockaddr_in here = {.sin_family = AF_INET};
    struct tls_ctx *ctx = tls_ctx_new_server(&args, NULL);
    const uint8_t *text = (const uint8_t *)"GET / HTTP/1.0\r\n\r\n";
    enum tls_chain_why why;

    (void)state;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(
        tls_ctx_for_hello(ctx, tls_ctx_near(ctx, (const struct sockaddr *)&here), text, 18, &why),
        2);
    assert_int_equal(tls_ctx_for_hello(ctx, tls_ctx_near(ctx, NULL), text, 18, &why), 3);
    tls_ctx_unref(ctx);
    cred_unref(cred);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_of_a_hello_is_read),
        cmocka_unit_test(an_old_hello_offers_all_up_to_its_version),
        cmocka_unit_test(what_is_cut_or_bent_is_no_hello),
        cmocka_unit_test(each_client_gets_the_chain_for_it),
        cmocka_unit_test(what_cannot_be_read_goes_by_its_address),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
