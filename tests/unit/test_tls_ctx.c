/* Contexts: what is refused, with which sentence, and that threads may share them. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/socket.h>

#include <wolfssl/options.h>

#include <cmocka.h>

#include "test_tls_pki.h"
#include "tls/conn.h"
#include "tls/ctx.h"

struct mistake {
    const char *what;
    enum tls_version min, max;
    const char *ciphers;
    unsigned min_rsa_bits;
    enum tls_client_cert client_cert;
    const char *anchor; /* NULL: none */
    bool client;        /* an upstream context instead of a listener */
    int code;
    const char *says;
};

static int make(const struct mistake *m, struct err *err)
{
    struct cred *cred = pki_cred("server-ec");
    struct tls_server_chain chain = {.cred = cred};
    struct tls_trust trust = {0};
    int rc = pki_trust(&m->anchor, m->anchor != NULL, &trust, err);
    struct tls_server_args server = {
        .min = m->min,
        .max = m->max,
        .ciphers = m->ciphers,
        .min_rsa_bits = m->min_rsa_bits,
        .client_cert = m->client_cert,
        .chains = &chain,
        .chain_count = 1,
        .trust = trust,
    };
    struct tls_client_args client = {
        .min = m->min,
        .max = m->max,
        .ciphers = m->ciphers,
        .trust = trust,
    };
    struct tls_ctx *ctx = rc != 0     ? NULL
                          : m->client ? tls_ctx_new_client(&client, err)
                                      : tls_ctx_new_server(&server, err);
    bool made = ctx != NULL;

    tls_ctx_unref(ctx);
    cred_unref(cred);
    return made ? 0 : -err->code;
}

static void every_mistake_names_its_owner_and_the_remedy(void **state)
{
    /* clang-format off */
    static const struct mistake table[] = {
        { .what = "swapped",      .min = TLS_V13, .max = TLS_V12, .anchor = "ca-old.pem", .code = ERR_INVALID, .says = "the oldest TLS version (TLS 1.3) is newer than the newest (TLS 1.2)" },
        { .what = "old range",    .min = TLS_V10, .max = TLS_V11, .anchor = "ca-old.pem", .code = ERR_INVALID, .says = "TLS 1.0" },
        { .what = "cipher",       .min = TLS_V12, .max = TLS_V13, .ciphers = "ECDHE-RSA-AES128-GCM-SHA256:NO-SUCH-SUITE", .anchor = "ca-old.pem", .code = ERR_INVALID, .says = "does not know 'NO-SUCH-SUITE'" },
        { .what = "no anchor",    .min = TLS_V12, .max = TLS_V13, .code = ERR_INVALID, .says = "there is no trust anchor" },
        { .what = "no anchor up", .min = TLS_V12, .max = TLS_V13, .client = true, .code = ERR_INVALID, .says = "there is no trust anchor" },
        { .what = "absent",       .min = TLS_V12, .max = TLS_V13, .anchor = "absent.pem", .code = ERR_NOT_FOUND, .says = "absent.pem: there is no such file" },
        { .what = "key",          .min = TLS_V12, .max = TLS_V13, .anchor = "ca-old.key", .code = ERR_SYNTAX, .says = "ca-old.key: holds no certificate" },
        { .what = "empty",        .min = TLS_V12, .max = TLS_V13, .anchor = "empty.pem", .code = ERR_SYNTAX, .says = "empty.pem: holds no certificate" },
        { .what = "all expired",  .min = TLS_V12, .max = TLS_V13, .anchor = "ca-gone.pem", .code = ERR_EXPIRED, .says = "every trust anchor has expired" },
        { .what = "leaf",         .min = TLS_V12, .max = TLS_V13, .anchor = "press-07.pem", .code = ERR_INVALID, .says = "press-07.pem: O=Plant,CN=press-07 is no CA: put the certificate of CN=ca-old,O=Plant there" },
        { .what = "rsa bits",     .min = TLS_V12, .max = TLS_V13, .min_rsa_bits = 20000, .anchor = "ca-old.pem", .code = ERR_INVALID, .says = "min_rsa_bits: 20000" },
        { .what = "rsa odd bits", .min = TLS_V12, .max = TLS_V13, .min_rsa_bits = 2047, .anchor = "ca-old.pem", .code = ERR_INVALID, .says = "min_rsa_bits: 2047" },
        { .what = "small anchor", .min = TLS_V12, .max = TLS_V13, .min_rsa_bits = 4096, .anchor = "ca-new.pem", .code = ERR_TLS, .says = "CN=ca-new,O=Plant (sha256 " },
        { .what = "fine",         .min = TLS_V12, .max = TLS_V13, .anchor = "ca-old.pem", .code = 0 },
        { .what = "none asked",   .min = TLS_V12, .max = TLS_V13, .client_cert = TLS_CLIENT_CERT_NONE, .code = 0 },
        { .what = "1.3 alone",    .min = TLS_V13, .max = TLS_V13, .ciphers = "ECDHE-RSA-AES128-GCM-SHA256", .anchor = "ca-old.pem", .code = 0 },
    };
    /* clang-format on */

    (void)state;
    pki_write("empty.pem", "", 0, 0644);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct err err = {0};
        int rc = make(&table[i], &err);

        if (rc != -table[i].code || (rc != 0 && strstr(err.msg, table[i].says) == NULL))
            fail_msg("%s: code %d, '%s'", table[i].what, err.code, err.msg);
    }
}

static void chains_need_one_without_conditions(void **state)
{
    struct cred *cred = pki_cred("server-ec");
    struct subnet near = {.family = AF_INET, .addr = {10}, .bits = 8};
    struct tls_server_chain chains[] = {{.cred = cred, .sni_glob = "a"},
                                        {.cred = cred, .networks = &near, .network_count = 1},
                                        {.cred = cred, .tls_max = TLS_V12},
                                        {.cred = cred},
                                        {.cred = cred}};
    struct tls_server_args args = {.min = TLS_V12,
                                   .max = TLS_V13,
                                   .chains = chains,
                                   .chain_count = 1,
                                   .trust = pki_anchors("ca-old.pem")};
    struct err err = {0};
    struct tls_ctx *ctx;

    (void)state;
    for (; args.chain_count <= 3; args.chain_count++) {
        assert_null(tls_ctx_new_server(&args, &err));
        assert_non_null(strstr(err.msg, "no certificate chain without sni, networks and tls_max"));
    }
    args.chain_count = 5; /* any number of those */
    ctx = tls_ctx_new_server(&args, &err);
    assert_non_null(ctx);
    assert_ptr_equal(tls_ctx_ref(ctx), ctx);
    tls_ctx_unref(ctx);
    tls_ctx_unref(ctx);
    tls_ctx_unref(NULL);
    assert_null(tls_ctx_ref(NULL));
    cred_unref(cred);
}

/* -- threads
 * --------------------------------------------------------------------------------------- */

struct shared {
    struct tls_ctx *server, *client;
    struct cred *creds[2];
    bool ok[2];
};

struct job {
    struct shared *shared;
    size_t number;
};

static bool feed(struct tls_conn *c, struct buf *wire)
{
    enum tls_status status;

    tls_conn_input(c, wire->p, wire->len, false);
    status = tls_conn_handshake(c);
    wire->len = 0;
    return status == TLS_AGAIN || status == TLS_OK;
}

static bool connect_once(struct shared *s, struct cred *cred)
{
    struct buf up = {0}, down = {0};
    struct tls_conn_args sargs = {.ctx = s->server, .out = &down};
    struct tls_conn_args cargs = {
        .ctx = s->client, .out = &up, .cred = cred, .server_name = "broker.example"};
    struct tls_conn *server = tls_conn_new(&sargs, NULL), *client = tls_conn_new(&cargs, NULL);
    struct cert_info *peer = NULL;
    uint8_t byte = 0;
    size_t n = 0;
    bool ok = server != NULL && client != NULL && tls_conn_handshake(client) == TLS_AGAIN;

    for (int i = 0; ok && i < 3; i++)
        ok = feed(server, &up) && feed(client, &down);
    ok = ok && tls_conn_established(server) && tls_conn_established(client);
    if (ok) {
        tls_conn_write(client, (const uint8_t *)"x", 1);
        tls_conn_input(server, up.p, up.len, false);
        peer = tls_conn_take_peer(server);
        ok = tls_conn_read(server, &byte, 1, &n) == TLS_OK && byte == 'x' && peer != NULL &&
             strcmp(peer->subject, cred_leaf(cred)->subject) == 0;
    }
    cert_info_free(peer);
    tls_conn_free(server);
    tls_conn_free(client);
    buf_fini(&up);
    buf_fini(&down);
    return ok;
}

static void *connect_often(void *arg)
{
    struct job *job = arg;
    struct shared *s = job->shared;

    s->ok[job->number] = true;
    for (size_t i = 0; i < 40; i++) {
        struct tls_ctx *server = tls_ctx_ref(s->server); /* as a swap of contexts does */

        if (!connect_once(s, s->creds[(i + job->number) % 2]))
            s->ok[job->number] = false;
        tls_ctx_unref(server);
    }
    return NULL;
}

/* One context and one credential on two threads at once; -fsanitize=thread has to agree. */
static void threads_share_contexts_and_credentials(void **state)
{
    struct cred *cert = pki_cred("server-ec"), *other = pki_cred("server-rsa");
    const char *anchors[] = {"ca-old.pem", "ca-new.pem"};
    struct tls_trust trust = {0};
    struct tls_server_chain chains[] = {{.cred = other, .sni_glob = "other.example"},
                                        {.cred = cert}};

    (void)state;
    assert_int_equal(pki_trust(anchors, 2, &trust, NULL), 0);
    for (size_t n = 1; n <= 2; n++) {
        struct tls_server_args sargs = {.min = TLS_V12,
                                        .max = n == 1 ? TLS_V12 : TLS_V13,
                                        .chains = n == 1 ? chains + 1 : chains,
                                        .chain_count = n,
                                        .trust = trust};
        struct tls_client_args cargs = {.min = TLS_V12, .max = TLS_V13, .trust = trust};
        struct err err = {0};
        struct shared s = {.server = tls_ctx_new_server(&sargs, &err),
                           .client = tls_ctx_new_client(&cargs, &err),
                           .creds = {pki_cred("press-07"), pki_cred("press-int")}};
        struct job jobs[2] = {{&s, 0}, {&s, 1}};
        pthread_t threads[2];

        assert_non_null(s.server);
        assert_non_null(s.client);
        for (size_t i = 0; i < 2; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, connect_often, &jobs[i]), 0);
        for (size_t i = 0; i < 2; i++)
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(s.ok[0] && s.ok[1]);
        tls_ctx_unref(s.server);
        tls_ctx_unref(s.client);
        cred_unref(s.creds[0]);
        cred_unref(s.creds[1]);
    }
    cred_unref(cert);
    cred_unref(other);
}

static void the_library_says_its_name(void **state)
{
    (void)state;
    assert_memory_equal(tls_library(), "wolfSSL ", 8);
}

static unsigned long lacking;

unsigned long __real_getauxval(unsigned long type);
unsigned long __wrap_getauxval(unsigned long type);

unsigned long __wrap_getauxval(unsigned long type)
{
    return __real_getauxval(type) & (type == AT_HWCAP ? ~lacking : ~0ul);
}

/* A processor that cannot do what the library was built with is told so, not killed. */
static void a_processor_that_does_not_serve_is_refused(void **state)
{
    struct err err = {0};

    (void)state;
#if defined(__aarch64__) && defined(WOLFSSL_ARMASM)
    static const unsigned long each[] = {HWCAP_AES, HWCAP_PMULL, HWCAP_SHA2};

    for (size_t i = 0; i < sizeof(each) / sizeof(each[0]); i++) {
        lacking = each[i];
        assert_int_equal(tls_init(&err), -ERR_TLS);
        assert_non_null(strstr(err.msg, "this processor has no instructions"));
    }
    lacking = 0;
#else
    (void)err;
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mistake_names_its_owner_and_the_remedy),
        cmocka_unit_test(chains_need_one_without_conditions),
        cmocka_unit_test(threads_share_contexts_and_credentials),
        cmocka_unit_test(the_library_says_its_name),
        cmocka_unit_test(a_processor_that_does_not_serve_is_refused),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
