/* Our server and our client, in memory: what each promises, and what both say when it fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/str.h"
#include "test_tls_pki.h"
#include "tls/conn.h"
#include "tls/ctx.h"
#include "tls/excuse.h"

#define ALL SIZE_MAX

/* -- a pair of connections and the wire between them
 * ----------------------------------------------- */

struct end {
    struct tls_conn *conn;
    struct buf out; /* what it sends */
    size_t taken;   /* of these, what the other has read */
    struct buf got; /* plaintext received */
    enum tls_status status;
};

struct pair {
    struct tls_ctx *server_ctx, *client_ctx;
    struct end server, client;
};

struct setup {
    const char *server_cred; /* default: server-ec */
    const char *client_cred; /* NULL: none */
    const char *sni_cred, *sni_glob;
    enum tls_version server_min, server_max, client_min, client_max; /* default: 1.2 to 1.3 */
    enum tls_client_cert client_cert;
    unsigned min_rsa_bits;
    const char *server_anchors[4]; /* default: ca-old and ca-new */
    const char *client_anchors[4];
    const char *helpers[4];  /* of both sides */
    bool nobody;             /* the server has no anchor, on purpose */
    const char *server_name; /* default: broker.example */
    const char *sni;
    const char *server_ciphers, *client_ciphers;
    const struct tls_exception *exceptions;
    size_t exception_count;
};

static struct tls_trust trust_of(const char *const names[4])
{
    static const char *const usual[4] = {"ca-old.pem", "ca-new.pem"};
    struct tls_trust trust = {0};
    struct err err = {0};
    size_t n = 0;

    if (names[0] == NULL)
        names = usual;
    while (n < 4 && names[n] != NULL)
        n++;
    if (pki_trust(names, n, &trust, &err) != 0)
        fail_msg("%s", err.msg);
    return trust;
}

static void add_helpers(const struct setup *s, struct tls_trust *trust)
{
    struct tls_trust more = {0};
    struct err err = {0};
    size_t n = 0;

    while (n < 4 && s->helpers[n] != NULL)
        n++;
    if (pki_trust(s->helpers, n, &more, &err) != 0)
        fail_msg("%s", err.msg);
    trust->helpers = more.anchors;
    trust->helper_count = more.anchor_count;
}

static struct tls_ctx *server_ctx(const struct setup *s)
{
    struct cred *cred = pki_cred(s->server_cred != NULL ? s->server_cred : "server-ec");
    struct cred *other = s->sni_cred != NULL ? pki_cred(s->sni_cred) : NULL;
    struct tls_server_chain chains[] = {{.cred = other, .sni_glob = s->sni_glob}, {.cred = cred}};
    struct tls_server_args args = {
        .min = s->server_min != 0 ? s->server_min : TLS_V12,
        .max = s->server_max != 0 ? s->server_max : TLS_V13,
        .ciphers = s->server_ciphers,
        .min_rsa_bits = s->min_rsa_bits,
        .client_cert = s->client_cert,
        .chains = other != NULL ? chains : chains + 1,
        .chain_count = other != NULL ? 2 : 1,
        .trust = trust_of(s->server_anchors),
        .exceptions = s->exceptions,
        .exception_count = s->exception_count,
    };
    struct err err = {0};
    struct tls_ctx *ctx;

    add_helpers(s, &args.trust);
    if (s->nobody)
        args.trust = (struct tls_trust){.nobody = true};
    ctx = tls_ctx_new_server(&args, &err);

    if (ctx == NULL)
        fail_msg("%s", err.msg);
    cred_unref(cred);
    cred_unref(other);
    return ctx;
}

static struct tls_ctx *client_ctx(const struct setup *s)
{
    struct tls_client_args args = {
        .min = s->client_min != 0 ? s->client_min : TLS_V12,
        .max = s->client_max != 0 ? s->client_max : TLS_V13,
        .ciphers = s->client_ciphers,
        .trust = trust_of(s->client_anchors),
    };
    struct err err = {0};
    struct tls_ctx *ctx;

    add_helpers(s, &args.trust);
    ctx = tls_ctx_new_client(&args, &err);

    if (ctx == NULL)
        fail_msg("%s", err.msg);
    return ctx;
}

static void connect_pair(struct pair *p, const struct setup *s)
{
    struct cred *cred = s->client_cred != NULL ? pki_cred(s->client_cred) : NULL;
    struct tls_conn_args server = {.ctx = p->server_ctx, .out = &p->server.out};
    struct tls_conn_args client = {
        .ctx = p->client_ctx,
        .cred = cred,
        .server_name = s->server_name != NULL ? s->server_name : "broker.example",
        .sni = s->sni,
        .out = &p->client.out,
    };
    struct err err = {0};

    p->server.conn = tls_conn_new(&server, &err);
    p->client.conn = tls_conn_new(&client, &err);
    if (p->server.conn == NULL || p->client.conn == NULL)
        fail_msg("%s", err.msg);
    cred_unref(cred);
    p->server.status = tls_conn_handshake(p->server.conn);
    assert_int_equal(p->server.status, TLS_AGAIN);
    p->client.status = tls_conn_handshake(p->client.conn);
    assert_int_equal(p->client.status, TLS_AGAIN);
}

static void pair_init(struct pair *p, const struct setup *s)
{
    *p = (struct pair){.server_ctx = server_ctx(s), .client_ctx = client_ctx(s)};
    connect_pair(p, s);
}

static void end_reset(struct end *e)
{
    tls_conn_free(e->conn);
    buf_fini(&e->out);
    buf_fini(&e->got);
    *e = (struct end){0};
}

static void pair_fini(struct pair *p)
{
    end_reset(&p->server);
    end_reset(&p->client);
    tls_ctx_unref(p->server_ctx);
    tls_ctx_unref(p->client_ctx);
}

/* Let an end work on its input: the handshake, then plaintext, until it wants more. */
static void work(struct end *e)
{
    uint8_t plain[3000];
    size_t n;

    e->status = tls_conn_handshake(e->conn);
    while (e->status == TLS_OK) {
        e->status = tls_conn_read(e->conn, plain, sizeof(plain), &n);
        if (e->status == TLS_OK)
            buf_append(&e->got, plain, n);
    }
    if (e->status == TLS_AGAIN)
        assert_int_equal(tls_conn_input_left(e->conn), 0);
}

/* Carry at most `chunk` bytes over.  False when there was nothing to carry. */
static bool carry(struct end *from, struct end *to, size_t chunk)
{
    size_t n = from->out.len - from->taken;

    if (n == 0 || to->status == TLS_FAILED || to->status == TLS_CLOSED)
        return false;
    n = n < chunk ? n : chunk;
    /* A buffer of its own: reading behind its end shows, and nothing may be kept of it. */
    {
        uint8_t *copy = malloc(n);

        assert_non_null(copy);
        memcpy(copy, from->out.p + from->taken, n);
        from->taken += n;
        tls_conn_input(to->conn, copy, n, false);
        work(to);
        free(copy);
    }
    return true;
}

static void pump(struct pair *p, size_t chunk)
{
    bool moved = true;

    while (moved) {
        moved = carry(&p->client, &p->server, chunk);
        moved = carry(&p->server, &p->client, chunk) || moved;
    }
}

static void both_established(struct pair *p)
{
    if (!tls_conn_established(p->server.conn) || !tls_conn_established(p->client.conn) ||
        p->server.status != TLS_AGAIN || p->client.status != TLS_AGAIN)
        fail_msg("server: %s; client: %s", tls_conn_fail(p->server.conn)->text,
                 tls_conn_fail(p->client.conn)->text);
}

static void says(struct end *from, struct end *to, const char *text, struct pair *p)
{
    size_t before = to->got.len;

    assert_int_equal(tls_conn_write(from->conn, (const uint8_t *)text, strlen(text)), TLS_OK);
    pump(p, ALL);
    assert_int_equal(to->got.len - before, strlen(text));
    assert_memory_equal(to->got.p + before, text, strlen(text));
}

/* -- handshakes that succeed ----------------------------------------------------------------------
 */

static const enum tls_version versions[] = {TLS_V12, TLS_V13};
static const char *const version_names[] = {"TLSv1.2", "TLSv1.3"};

static void every_kind_of_key_is_welcome(void **state)
{
    static const char *const servers[] = {"server-ec", "server-rsa", "server-new", "server-int"};
    static const char *const clients[] = {"press-07",  "press-rsa",   "press-new", "press-p384",
                                          "press-any", "press-plain", "press-int"};

    (void)state;
    for (size_t v = 0; v < 2; v++) {
        for (size_t i = 0; i < 4; i++) {
            for (size_t k = 0; k < 7; k++) {
                struct setup s = {.server_cred = servers[i],
                                  .client_cred = clients[k],
                                  .client_min = versions[v],
                                  .client_max = versions[v]};
                struct pair p;
                struct cert_info *peer;

                pair_init(&p, &s);
                pump(&p, ALL);
                both_established(&p);
                assert_string_equal(tls_conn_version(p.server.conn), version_names[v]);
                assert_string_equal(tls_conn_version(p.client.conn), version_names[v]);
                peer = tls_conn_take_peer(p.server.conn);
                assert_non_null(peer);
                assert_string_equal(peer->cn, clients[k]);
                cert_info_free(peer);
                assert_null(tls_conn_take_peer(p.server.conn));
                assert_null(tls_conn_take_peer(p.client.conn));
                says(&p.client, &p.server, "CONNECT", &p);
                says(&p.server, &p.client, "CONNACK", &p);
                assert_int_equal(tls_conn_fail(p.client.conn)->side, TLS_FAIL_NONE);
                pair_fini(&p);
            }
        }
    }
}

static void every_split_of_the_bytes_is_fine(void **state)
{
    static const size_t chunks[] = {1, 2, 3, 5, 7, 64, 500, 1448};

    (void)state;
    for (size_t v = 0; v < 2; v++) {
        for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
            struct setup s = {
                .client_cred = "press-07", .client_min = versions[v], .client_max = versions[v]};
            struct pair p;

            pair_init(&p, &s);
            pump(&p, chunks[i]);
            both_established(&p);
            assert_int_equal(tls_conn_write(p.client.conn, (const uint8_t *)"early", 5), TLS_OK);
            pump(&p, chunks[i]);
            assert_int_equal(p.server.got.len, 5);
            pair_fini(&p);
        }
    }
}

/* CONNECT may come in the same segment as the end of the handshake. */
static void data_right_behind_the_handshake_is_read(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        struct setup s = {
            .client_cred = "press-07", .client_min = versions[v], .client_max = versions[v]};
        struct pair p;

        pair_init(&p, &s);
        while (!tls_conn_established(p.client.conn)) {
            bool moved = carry(&p.client, &p.server, ALL);

            moved = carry(&p.server, &p.client, ALL) || moved;
            assert_true(moved); /* a handshake that has failed goes on for ever */
        }
        assert_int_equal(tls_conn_write(p.client.conn, (const uint8_t *)"CONNECT", 7), TLS_OK);
        pump(&p, ALL);
        assert_int_equal(p.server.got.len, 7);
        pair_fini(&p);
    }
}

static void certificates_are_required_requested_or_not_asked_for(void **state)
{
    static const struct {
        enum tls_client_cert policy;
        const char *cred;
        bool works, peer;
    } table[] = {
        {TLS_CLIENT_CERT_REQUIRE, "press-07", true, true},
        {TLS_CLIENT_CERT_REQUIRE, NULL, false, false},
        {TLS_CLIENT_CERT_REQUEST, "press-07", true, true},
        {TLS_CLIENT_CERT_REQUEST, NULL, true, false},
        {TLS_CLIENT_CERT_REQUEST, "press-far", false, false},
        {TLS_CLIENT_CERT_NONE, "press-07", true, false},
        {TLS_CLIENT_CERT_NONE, NULL, true, false},
    };

    (void)state;
    for (size_t v = 0; v < 2; v++) {
        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
            struct setup s = {.client_cred = table[i].cred,
                              .client_cert = table[i].policy,
                              .client_min = versions[v],
                              .client_max = versions[v]};
            struct pair p;
            struct cert_info *peer;

            pair_init(&p, &s);
            pump(&p, ALL);
            if (table[i].works)
                both_established(&p);
            else
                assert_false(tls_conn_established(p.server.conn));
            peer = tls_conn_take_peer(p.server.conn);
            assert_int_equal(peer != NULL, table[i].peer);
            cert_info_free(peer);
            pair_fini(&p);
        }
    }
}

static void one_side_decides_the_version(void **state)
{
    static const struct {
        enum tls_version smin, smax, cmin, cmax;
        const char *version; /* NULL: none in common */
    } table[] = {
        {TLS_V12, TLS_V13, TLS_V12, TLS_V13, "TLSv1.3"},
        {TLS_V12, TLS_V12, TLS_V12, TLS_V13, "TLSv1.2"},
        {TLS_V12, TLS_V13, TLS_V12, TLS_V12, "TLSv1.2"},
        {TLS_V13, TLS_V13, TLS_V12, TLS_V13, "TLSv1.3"},
        {TLS_V12, TLS_V13, TLS_V13, TLS_V13, "TLSv1.3"},
        {TLS_V13, TLS_V13, TLS_V12, TLS_V12, NULL},
        {TLS_V12, TLS_V12, TLS_V13, TLS_V13, NULL},
        {TLS_V11, TLS_V13, TLS_V12, TLS_V12, "TLSv1.2"},
        {TLS_V11, TLS_V12, TLS_V11, TLS_V11, "TLSv1.1"},
        {TLS_V11, TLS_V11, TLS_V11, TLS_V12, "TLSv1.1"},
        {TLS_V12, TLS_V13, TLS_V11, TLS_V11, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct setup s = {.client_cred = "press-07",
                          .server_min = table[i].smin,
                          .server_max = table[i].smax,
                          .client_min = table[i].cmin,
                          .client_max = table[i].cmax};
        struct pair p;

        pair_init(&p, &s);
        pump(&p, ALL);
        if (table[i].version == NULL) {
            assert_false(tls_conn_established(p.server.conn));
            assert_false(tls_conn_established(p.client.conn));
        } else {
            both_established(&p);
            assert_string_equal(tls_conn_version(p.server.conn), table[i].version);
            says(&p.client, &p.server, "hello", &p);
        }
        pair_fini(&p);
    }
}

static void the_old_and_the_new_ca_live_side_by_side(void **state)
{
    static const char *const files[][3] = {
        {"both.pem", NULL, NULL},
        {"ca-old.pem", "ca-new.pem", NULL},
    };
    struct buf both = {0};

    (void)state;
    pki_read("ca-old.pem", &both);
    pki_read("ca-new.pem", &both);
    pki_write("both.pem", both.p, both.len, 0644);
    buf_fini(&both);
    for (size_t i = 0; i < 2; i++) {
        static const char *const clients[] = {"press-07", "press-new"};

        for (size_t k = 0; k < 2; k++) {
            struct setup s = {.client_cred = clients[k],
                              .server_anchors = {files[i][0], files[i][1]}};
            struct pair p;

            pair_init(&p, &s);
            assert_int_equal(tls_ctx_anchors(p.server_ctx)->loaded, 2);
            pump(&p, ALL);
            both_established(&p);
            pair_fini(&p);
        }
    }
}

static void an_expired_anchor_is_left_out_and_counted(void **state)
{
    struct setup s = {.client_cred = "press-07", .server_anchors = {"ca-gone.pem", "ca-old.pem"}};
    struct pair p;

    (void)state;
    pair_init(&p, &s);
    assert_int_equal(tls_ctx_anchors(p.server_ctx)->loaded, 1);
    assert_int_equal(tls_ctx_anchors(p.server_ctx)->expired, 1);
    pump(&p, ALL);
    both_established(&p);
    pair_fini(&p);
}

static void the_chain_is_chosen_by_the_name_asked_for(void **state)
{
    static const struct {
        const char *sni;
        bool other;
    } table[] = {
        {"legacy.wild.example", true},
        {"LEGACY.Wild.Example", true},
        {"broker.example", false},
        {"", false}, /* asks for no name */
    };

    (void)state;
    for (size_t v = 0; v < 2; v++) {
        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
            static const char *const kinds[][2] = {{"server-ec", "server-new"},
                                                   {"server-rsa", "server-new"},
                                                   {"server-new", "server-rsa"}};

            for (size_t k = 0; k < 3; k++) {
                /* The client believes one of the two CAs only, and so tells which chain it got. */
                bool new_ca = (strcmp(kinds[k][1], "server-new") == 0) == table[i].other;
                struct setup s = {.client_cred = "press-07",
                                  .server_cred = kinds[k][0],
                                  .sni_cred = kinds[k][1],
                                  .sni_glob = "*.WILD.example",
                                  .sni = table[i].sni,
                                  .client_min = versions[v],
                                  .client_max = versions[v],
                                  .client_anchors = {new_ca ? "ca-new.pem" : "ca-old.pem"}};
                struct pair p;

                pair_init(&p, &s);
                pump(&p, v == 0 ? 1 : ALL);
                both_established(&p);
                says(&p.server, &p.client, "hello", &p);
                pair_fini(&p);
            }
        }
    }
}

static void ip_literals_are_names_too(void **state)
{
    static const char *const names[] = {"127.0.0.1", "::1", "any.wild.example"};

    (void)state;
    for (size_t v = 0; v < 2; v++) {
        for (size_t i = 0; i < 3; i++) {
            struct setup s = {.client_cred = "press-07",
                              .server_name = names[i],
                              .client_min = versions[v],
                              .client_max = versions[v]};
            struct pair p;

            pair_init(&p, &s);
            /* No literal goes out as a server_name (RFC 6066, 3). */
            assert_int_equal(memmem(p.client.out.p, p.client.out.len, names[i], strlen(names[i])) !=
                                 NULL,
                             i == 2);
            pump(&p, ALL);
            both_established(&p);
            pair_fini(&p);
        }
    }
}

static void a_name_in_the_subject_serves_when_there_is_no_other(void **state)
{
    struct setup s = {
        .client_cred = "press-07", .server_cred = "server-plain", .server_name = "plain.example"};
    struct pair p;

    (void)state;
    pair_init(&p, &s);
    pump(&p, ALL);
    both_established(&p);
    pair_fini(&p);
}

/* -- handshakes that must not succeed
 * --------------------------------------------------------------- */

struct refusal {
    const char *client, *server, *name;
    const char *x509;
    int alert12, alert13; /* that the refused side gets */
    const char *text;     /* part of the sentence */
};

static void check_refusal(const struct refusal *r, struct end *judge, struct end *refused,
                          bool tls13)
{
    const struct tls_fail *ours = tls_conn_fail(judge->conn);
    const struct tls_fail *theirs = tls_conn_fail(refused->conn);
    int alert = tls13 ? r->alert13 : r->alert12;

    /* Libraries differ here: unknown_ca or bad_certificate. */
    if (r->x509 != NULL && strstr(r->x509, "SELF_SIGNED") != NULL && ours->alert_sent == 42)
        alert = 42;

    print_message("%s: %s | %s | %s | %s\n", tls13 ? "1.3" : "1.2", ours->text, ours->remedy,
                  theirs->text, theirs->remedy);
    assert_false(tls_conn_established(judge->conn));
    assert_int_equal(ours->side, TLS_FAIL_PEER_CERT);
    if (r->x509 == NULL)
        assert_null(ours->x509);
    else
        assert_string_equal(ours->x509, r->x509);
    assert_non_null(strstr(ours->text, r->text));
    assert_true(ours->remedy[0] != '\0');
    assert_true(ours->code < 0);
    assert_int_equal(ours->alert, -1);
    assert_int_equal(ours->alert_sent, alert);
    assert_int_equal(theirs->side, TLS_FAIL_PEER_ALERT);
    assert_int_equal(theirs->alert, alert);
    assert_non_null(strstr(theirs->text, tls_alert_name(alert)));
    assert_true(theirs->remedy[0] != '\0');
}

static void bad_client_certificates_are_refused_with_their_name(void **state)
{
    /* clang-format off */
    static const struct refusal table[] = {
        { .client = "press-expired", .x509 = "X509_V_ERR_CERT_HAS_EXPIRED",              .alert12 = 45, .alert13 = 45, .text = "has expired (2021-01-01 00:00:00 UTC)" },
        { .client = "press-early",   .x509 = "X509_V_ERR_CERT_NOT_YET_VALID",            .alert12 = 45, .alert13 = 45, .text = "is not yet valid (before 2048-01-01" },
        { .client = "press-far",     .x509 = "X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY", .alert12 = 48, .alert13 = 48, .text = "unknown CA (CN=ca-far,O=Plant)" },
        { .client = "press-self",    .x509 = "X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT",   .alert12 = 48, .alert13 = 48, .text = "CN=press-self (sha256 " },
        { .client = "press-forged",  .x509 = "X509_V_ERR_CERT_SIGNATURE_FAILURE",        .alert12 = 42, .alert13 = 42, .text = "is not signed by the CA whose name it carries" },
        { .client = "press-eku",     .x509 = "X509_V_ERR_INVALID_PURPOSE",               .alert12 = 42, .alert13 = 42, .text = "extended key usage" },
        { .client = "press-sha1",    .x509 = "X509_V_ERR_CA_MD_TOO_WEAK",                .alert12 = 42, .alert13 = 42, .text = "SHA-1" },
        { .client = "press-rsa-sha1", .x509 = "X509_V_ERR_CA_MD_TOO_WEAK",               .alert12 = 42, .alert13 = 42, .text = "SHA-1" },
        { .client = "press-1024",    .x509 = "X509_V_ERR_EE_KEY_TOO_SMALL",              .alert12 = 42, .alert13 = 42, .text = "(RSA, 1024 bits)" },
        { .client = "press-int-sha1", .x509 = "X509_V_ERR_CA_MD_TOO_WEAK",               .alert12 = 42, .alert13 = 42, .text = "SHA-1" },
        { .client = NULL,            .x509 = NULL,                                       .alert12 = 42, .alert13 = 116, .text = "the client's certificate was not sent" },
    };
    /* clang-format on */

    (void)state;
    for (size_t v = 0; v < 2; v++) {
        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
            struct setup s = {.client_cred = table[i].client,
                              .client_min = versions[v],
                              .client_max = versions[v]};
            struct pair p;
            const struct tls_fail *theirs;

            pair_init(&p, &s);
            pump(&p, ALL);
            check_refusal(&table[i], &p.server, &p.client, v == 1);
            theirs = tls_conn_fail(p.client.conn);
            assert_true(theirs->after_hello);
            assert_int_equal(theirs->after_cert, table[i].client != NULL);
            /* TLS 1.3 tells the client when it believes to be connected. */
            assert_int_equal(theirs->established, v == 1);
            assert_int_equal(tls_conn_established(p.client.conn), v == 1);
            assert_false(tls_conn_ticket_seen(p.client.conn));
            assert_null(tls_conn_take_peer(p.server.conn));
            pair_fini(&p);
        }
    }
}

static void bad_server_certificates_are_refused_with_their_name(void **state)
{
    /* clang-format off */
    static const struct refusal table[] = {
        { .server = "server-expired",   .x509 = "X509_V_ERR_CERT_HAS_EXPIRED",   .alert12 = 45, .alert13 = 45, .text = "has expired" },
        { .server = "server-far",        .x509 = "X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY", .alert12 = 48, .alert13 = 48, .text = "unknown CA" },
        { .server = "server-self",       .x509 = "X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT", .alert12 = 48, .alert13 = 48, .text = "self-signed" },
        { .server = "server-wrong-eku", .x509 = "X509_V_ERR_INVALID_PURPOSE",    .alert12 = 42, .alert13 = 42, .text = "extended key usage" },
        { .server = "server-ec", .name = "other.example", .x509 = "X509_V_ERR_HOSTNAME_MISMATCH", .alert12 = 42, .alert13 = 42, .text = "belongs to another name than other.example" },
        { .server = "server-ec", .name = "a.b.wild.example", .x509 = "X509_V_ERR_HOSTNAME_MISMATCH", .alert12 = 42, .alert13 = 42, .text = "another name" },
        { .server = "server-ec", .name = "127.0.0.2",     .x509 = "X509_V_ERR_HOSTNAME_MISMATCH", .alert12 = 42, .alert13 = 42, .text = "another name" },
        { .server = "server-ec", .name = "::2",           .x509 = "X509_V_ERR_HOSTNAME_MISMATCH", .alert12 = 42, .alert13 = 42, .text = "another name" },
        { .server = "server-plain",                       .x509 = "X509_V_ERR_HOSTNAME_MISMATCH", .alert12 = 42, .alert13 = 42, .text = "another name" },
    };
    /* clang-format on */

    (void)state;
    for (size_t v = 0; v < 2; v++) {
        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
            struct setup s = {.client_cred = "press-07",
                              .server_cred = table[i].server,
                              .server_name = table[i].name,
                              .server_min = versions[v],
                              .server_max = versions[v]};
            struct pair p;

            pair_init(&p, &s);
            pump(&p, ALL);
            check_refusal(&table[i], &p.client, &p.server, v == 1);
            assert_true(tls_conn_fail(p.client.conn)->after_hello);
            assert_false(tls_conn_fail(p.client.conn)->after_cert);
            pair_fini(&p);
        }
    }
}

/* Expired, SHA-1, 1024 bits and the wrong purpose at once: the first in use leads, all are said. */
static void several_faults_are_all_told(void **state)
{
    struct setup s = {.client_cred = "press-everything"};
    struct pair p;
    const struct tls_fail *f;

    (void)state;
    pair_init(&p, &s);
    pump(&p, ALL);
    f = tls_conn_fail(p.server.conn);
    print_message("%s\n", f->text);
    assert_string_equal(f->x509, "X509_V_ERR_CERT_HAS_EXPIRED");
    assert_non_null(strstr(f->text, "has expired"));
    assert_non_null(strstr(f->text, ", and has a key that is too small"));
    pair_fini(&p);
}

/* The leaf is blameless: its issuer is what must be renewed. */
static void an_expired_intermediate_is_named_itself(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        struct setup s = {.client_cred = "press-int-expired",
                          .client_min = versions[v],
                          .client_max = versions[v]};
        struct pair p;
        const struct tls_fail *f;

        pair_init(&p, &s);
        pump(&p, ALL);
        f = tls_conn_fail(p.server.conn);
        print_message("%s\n", f->text);
        assert_int_equal(f->side, TLS_FAIL_PEER_CERT);
        assert_string_equal(f->x509, "X509_V_ERR_CERT_HAS_EXPIRED");
        assert_non_null(strstr(f->text, "CA certificate"));
        assert_non_null(strstr(f->text, "CN=ca-int-expired"));
        pair_fini(&p);
    }
}

/* A root's own signature proves nothing, so its digest does not matter. */
static void a_root_signed_with_sha1_is_fine(void **state)
{
    struct setup s = {.client_cred = "press-root-sha1", .server_anchors = {"ca-sha1.pem"}};
    struct pair p;

    (void)state;
    pair_init(&p, &s);
    pump(&p, ALL);
    both_established(&p);
    pair_fini(&p);
}

/* -- old certificates, on purpose -- */

static struct tls_exception for_anchor(const char *anchor, unsigned accept)
{
    struct tls_exception e = {.name = "old-presses",
                              .device = "press-*",
                              .has_anchor = true,
                              .accept = accept,
                              .until_s = clock_wall_s() + 3600};
    struct cert_info *ci = pki_info(anchor);

    memcpy(e.anchor, ci->fp, CERT_FP_BYTES);
    cert_info_free(ci);
    return e;
}

/* An expired leaf comes in by its anchor, in either version, and is not believed otherwise: what
 * excuses it is known, and for whom. */
static void an_expired_leaf_is_excused_by_its_anchor(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        struct tls_exception e = for_anchor("ca-old.pem", TLS_ACCEPT_EXPIRED);
        struct setup s = {.client_cred = "press-expired",
                          .client_min = versions[v],
                          .client_max = versions[v],
                          .exceptions = &e,
                          .exception_count = 1};
        struct tls_excuse *excuse;
        const struct tls_exception *by;
        char text[128];
        struct pair p;

        pair_init(&p, &s);
        pump(&p, ALL);
        both_established(&p);
        says(&p.client, &p.server, "CONNECT", &p);
        excuse = tls_conn_take_excuse(p.server.conn);
        assert_non_null(excuse);
        by = tls_excuse_for(excuse, "press-07");
        assert_non_null(by);
        assert_string_equal(by->name, "old-presses");
        assert_null(tls_excuse_for(excuse, "lathe-07"));
        assert_string_equal(tls_excuse_text(excuse, text, sizeof(text)), "it has expired");
        pair_fini(&p);
        assert_non_null(tls_excuse_for(excuse, "press-07")); /* it outlives the connection */
        tls_excuse_free(excuse);
    }
}

static void refused_with(const struct setup *s, const char *why)
{
    struct pair p;

    pair_init(&p, s);
    pump(&p, ALL);
    assert_false(tls_conn_established(p.server.conn));
    assert_string_equal(tls_conn_fail(p.server.conn)->x509, why);
    assert_null(tls_conn_take_excuse(p.server.conn));
    pair_fini(&p);
}

/* The wrong anchor, the wrong kind of fault, one fault too many, its end in the past: each alone is
 * enough to refuse. */
static void an_exception_excuses_nothing_else(void **state)
{
    static const char expired[] = "X509_V_ERR_CERT_HAS_EXPIRED";
    struct tls_exception e = for_anchor("ca-new.pem", TLS_ACCEPT_EXPIRED);
    struct setup s = {.client_cred = "press-expired", .exceptions = &e, .exception_count = 1};

    (void)state;
    refused_with(&s, expired);
    e = for_anchor("ca-old.pem", TLS_ACCEPT_SHA1 | TLS_ACCEPT_SMALL_KEY);
    refused_with(&s, expired);
    e = for_anchor("ca-old.pem", TLS_ACCEPT_EXPIRED);
    e.until_s = clock_wall_s() - 1;
    refused_with(&s, expired);
    e.until_s = clock_wall_s() + 3600;
    s.client_cred = "press-everything"; /* for servers, too, which cannot be excused */
    e.accept = TLS_ACCEPT_EXPIRED | TLS_ACCEPT_SHA1 | TLS_ACCEPT_SMALL_KEY;
    refused_with(&s, expired);
    s.client_cred = "press-early";
    refused_with(&s, "X509_V_ERR_CERT_NOT_YET_VALID");
    s.client_cred = "press-forged";
    refused_with(&s, "X509_V_ERR_CERT_SIGNATURE_FAILURE");
    s.client_cred = "press-int-expired"; /* what is above the leaf is never overridden */
    refused_with(&s, expired);
}

/* An expired intermediate that is an anchor, and is named, vouches by the exception for its own.
 * Beside the CA that has issued it, it is a link of a chain, and fails as one. */
static void an_expired_anchor_vouches_by_exception(void **state)
{
    struct tls_exception e = for_anchor("ca-int-expired.pem", TLS_ACCEPT_EXPIRED);
    struct setup s = {.client_cred = "press-int-expired",
                      .server_anchors = {"ca-int-expired.pem"},
                      .exceptions = &e,
                      .exception_count = 1};
    struct pair p;

    (void)state;
    pair_init(&p, &s);
    assert_int_equal(tls_ctx_anchors(p.server_ctx)->aside, 1);
    assert_int_equal(tls_ctx_anchors(p.server_ctx)->loaded, 0);
    pump(&p, ALL);
    both_established(&p);
    pair_fini(&p);
    s.server_anchors[1] = "ca-old.pem";
    refused_with(&s, "X509_V_ERR_CERT_HAS_EXPIRED");
}

static void a_listener_may_allow_small_keys(void **state)
{
    struct setup s = {.client_cred = "press-1024", .min_rsa_bits = 1024};
    struct pair p;

    (void)state;
    pair_init(&p, &s);
    pump(&p, ALL);
    both_established(&p);
    pair_fini(&p);
}

/* Refusals must leave nothing behind in the shared context: neither a CA nor a session. */
static void a_refusal_plants_nothing(void **state)
{
    static const char *const order[] = {"press-int-expired", "press-int-sha1", "press-far"};
    struct setup s = {.client_cred = "press-07"};
    struct pair p;

    (void)state;
    pair_init(&p, &s);
    pump(&p, ALL);
    both_established(&p);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < 3; i++) {
            end_reset(&p.server);
            end_reset(&p.client);
            s.client_cred = order[i];
            connect_pair(&p, &s);
            pump(&p, ALL);
            assert_false(tls_conn_established(p.server.conn));
            assert_int_equal(tls_conn_fail(p.server.conn)->side, TLS_FAIL_PEER_CERT);
        }
    }
    pair_fini(&p);
}

/* Whether a chain is believed must not depend on what other clients sent before. */
static void an_issuer_that_others_sent_does_not_count(void **state)
{
    struct setup s = {.client_cred = "press-int"};
    struct pair p;
    static const char *const alone[] = {"press-int", "press-int-sha1"};

    (void)state;
    pair_init(&p, &s);
    pump(&p, ALL);
    both_established(&p);
    for (size_t i = 0; i < 2; i++) {
        char chain[64], key[64];
        struct buf b = {0};

        /* The library has seen the intermediate now; the leaf comes without it. */
        end_reset(&p.server);
        end_reset(&p.client);
        s.client_cred = alone[i];
        connect_pair(&p, &s);
        pump(&p, ALL);
        end_reset(&p.server);
        end_reset(&p.client);
        snprintf(chain, sizeof(chain), "%s.pem", alone[i]);
        snprintf(key, sizeof(key), "%s.key", alone[i]);
        pki_read(chain, &b);
        pki_write("alone.pem", b.p, b.len, 0600);
        b.len = 0;
        pki_read(key, &b);
        pki_write("alone.key", b.p, b.len, 0600);
        buf_fini(&b);
        s.client_cred = "alone";
        connect_pair(&p, &s);
        pump(&p, ALL);
        assert_false(tls_conn_established(p.server.conn));
        assert_string_equal(tls_conn_fail(p.server.conn)->x509,
                            "X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY");
    }
    pair_fini(&p);
}

static const char *vouching(const struct end *e)
{
    const struct tls_anchor *a = tls_conn_anchor(e->conn);

    return a == NULL ? "nobody" : strrchr(a->from, '/') + 1;
}

/* What sensors and brokers do not send of their chains, we may know. */
static void an_intermediate_of_ours_completes_a_chain(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        struct setup s = {.client_cred = "press-bare",
                          .server_cred = "server-bare",
                          .helpers = {"ca-int.pem"},
                          .client_min = versions[v],
                          .client_max = versions[v]};
        struct pair p;

        pair_init(&p, &s);
        assert_int_equal(tls_ctx_anchors(p.server_ctx)->helpers, 1);
        assert_int_equal(tls_ctx_anchors(p.server_ctx)->loaded, 2);
        assert_null(tls_conn_anchor(p.server.conn));
        pump(&p, ALL);
        both_established(&p);
        assert_string_equal(vouching(&p.server), "ca-old.pem");
        assert_string_equal(vouching(&p.client), "ca-old.pem");
        pair_fini(&p);
    }
}

/* To the library everything that it is given is an anchor; to us it is not. */
static void an_intermediate_without_its_anchor_vouches_for_nobody(void **state)
{
    static const char *const useless[] = {"ca-int.pem", "ca-far.pem", "ca-int-expired.pem",
                                          "press-self.pem"};
    static const char *const clients[] = {"press-bare", "press-far", "press-int-expired",
                                          "press-self"};

    (void)state;
    for (size_t i = 0; i < sizeof(useless) / sizeof(useless[0]); i++) {
        struct setup s = {
            .client_cred = clients[i], .server_anchors = {"ca-new.pem"}, .helpers = {useless[i]}};
        struct pair p;

        pair_init(&p, &s);
        assert_int_equal(tls_ctx_anchors(p.server_ctx)->helpers, 0);
        pump(&p, ALL);
        assert_false(tls_conn_established(p.server.conn));
        assert_int_equal(tls_conn_fail(p.server.conn)->side, TLS_FAIL_PEER_CERT);
        assert_null(tls_conn_anchor(p.server.conn));
        pair_fini(&p);
    }
}

/* An anchor that is taken away takes with it what its peers had sent. */
static void another_context_knows_nothing_of_peers(void **state)
{
    struct setup s = {.client_cred = "press-int"};
    struct pair p;
    struct tls_ctx *before;

    (void)state;
    pair_init(&p, &s);
    pump(&p, ALL);
    both_established(&p);
    before = p.server_ctx;
    s.server_anchors[0] = "ca-new.pem";
    p.server_ctx = server_ctx(&s);
    for (int bare = 0; bare < 2; bare++) {
        end_reset(&p.server);
        end_reset(&p.client);
        s.client_cred = bare ? "press-bare" : "press-int";
        connect_pair(&p, &s);
        pump(&p, ALL);
        assert_false(tls_conn_established(p.server.conn));
        assert_int_equal(tls_conn_fail(p.server.conn)->side, TLS_FAIL_PEER_CERT);
    }
    tls_ctx_unref(before);
    pair_fini(&p);
}

static void it_is_known_which_anchor_vouches(void **state)
{
    /* clang-format off */
    static const struct { const char *client, *anchors[4], *vouches; } table[] = {
        { "press-07",   { "ca-new.pem", "ca-old.pem" },                "ca-old.pem" },
        { "press-new",  { "ca-new.pem", "ca-old.pem" },                "ca-new.pem" },
        { "press-int",  { "ca-new.pem", "ca-old.pem" },                "ca-old.pem" },
        { "press-int",  { "ca-int.pem", "ca-old.pem" },                "ca-int.pem" },
        { "press-self", { "ca-new.pem", "press-self.pem" },            "press-self.pem" },
        { "press-07",   { "ca-twin.pem", "ca-old.pem" },               "ca-old.pem" }, /* the name is the same, the key is not */
        { "press-07",   { "ca-renewed.pem", "ca-old.pem" },            "ca-renewed.pem" }, /* both would do */
        { "press-07",   { "ca-old.pem", "ca-renewed.pem" },            "ca-old.pem" },
        { NULL,         { "ca-old.pem" },                              "nobody" },
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct setup s = {.client_cred = table[i].client, .client_cert = TLS_CLIENT_CERT_REQUEST};
        struct pair p;

        memcpy(s.server_anchors, table[i].anchors, sizeof(s.server_anchors));
        pair_init(&p, &s);
        pump(&p, ALL);
        both_established(&p);
        assert_string_equal(vouching(&p.server), table[i].vouches);
        assert_string_equal(vouching(&p.client), "ca-old.pem");
        pair_fini(&p);
    }
}

/* All anchors were taken away by command: nobody comes in, rather than everybody. */
static void without_anchors_nobody_is_believed(void **state)
{
    static const char *const clients[] = {"press-07", "press-self", "press-int", NULL};

    (void)state;
    for (size_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++) {
        for (size_t v = 0; v < 2; v++) {
            struct setup s = {.client_cred = clients[i],
                              .nobody = true,
                              .client_min = versions[v],
                              .client_max = versions[v]};
            struct pair p;

            pair_init(&p, &s);
            pump(&p, ALL);
            assert_false(tls_conn_established(p.server.conn));
            assert_int_equal(tls_conn_fail(p.server.conn)->side, TLS_FAIL_PEER_CERT);
            pair_fini(&p);
        }
    }
}

static void an_anchor_of_the_future_is_taken(void **state)
{
    struct setup s = {.client_cred = "press-07", .server_anchors = {"ca-early.pem", "ca-old.pem"}};
    struct pair p;

    (void)state;
    pair_init(&p, &s);
    assert_int_equal(tls_ctx_anchors(p.server_ctx)->loaded, 2);
    assert_int_equal(tls_ctx_anchors(p.server_ctx)->expired, 0);
    pump(&p, ALL);
    both_established(&p);
    pair_fini(&p);
}

/* An intermediate may be the anchor itself. */
static void an_intermediate_can_be_an_anchor(void **state)
{
    struct setup s = {.client_cred = "press-int", .server_anchors = {"ca-int.pem"}};
    struct pair p;

    (void)state;
    pair_init(&p, &s);
    pump(&p, ALL);
    both_established(&p);
    pair_fini(&p);
}

static void a_pinned_self_signed_certificate_is_believed(void **state)
{
    struct setup s = {.client_cred = "press-self", .server_anchors = {"press-self.pem"}};
    struct pair p;

    (void)state;
    pair_init(&p, &s);
    pump(&p, ALL);
    both_established(&p);
    pair_fini(&p);
}

/* ... and speaks for nobody else. */
static void a_pinned_certificate_is_no_ca(void **state)
{
    struct setup s = {.client_cred = "press-minted", .server_anchors = {"press-self.pem"}};
    struct pair p;

    (void)state;
    pair_init(&p, &s);
    pump(&p, ALL);
    assert_false(tls_conn_established(p.server.conn));
    assert_string_equal(tls_conn_fail(p.server.conn)->x509,
                        "X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY");
    pair_fini(&p);
}

static void a_small_own_key_serves_old_clients(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        struct setup s = {.client_cred = "press-rsa",
                          .server_cred = "server-ec",
                          .sni_cred = "server-1024",
                          .sni_glob = "legacy",
                          .sni = "legacy",
                          .client_min = versions[v],
                          .client_max = versions[v]};
        struct pair p;

        /* Our client refuses it, as it should; the server has done its part. */
        pair_init(&p, &s);
        pump(&p, ALL);
        assert_string_equal(tls_conn_fail(p.client.conn)->x509, "X509_V_ERR_EE_KEY_TOO_SMALL");
        assert_int_equal(tls_conn_fail(p.server.conn)->side, TLS_FAIL_PEER_ALERT);
        pair_fini(&p);
    }
}

static void no_common_cipher_is_told_as_such(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        struct setup s = {
            .client_cred = "press-07",
            .server_ciphers = v == 0 ? "ECDHE-ECDSA-AES128-GCM-SHA256" : "TLS13-AES128-GCM-SHA256",
            .client_ciphers = v == 0 ? "ECDHE-ECDSA-AES256-GCM-SHA384" : "TLS13-AES256-GCM-SHA384",
            .client_min = versions[v],
            .client_max = versions[v]};
        struct pair p;

        pair_init(&p, &s);
        pump(&p, ALL);
        assert_int_equal(tls_conn_fail(p.server.conn)->side, TLS_FAIL_LOCAL);
        assert_non_null(strstr(tls_conn_fail(p.server.conn)->text, "no cipher suite in common"));
        assert_int_equal(tls_conn_fail(p.client.conn)->side, TLS_FAIL_PEER_ALERT);
        assert_int_equal(tls_conn_fail(p.client.conn)->alert, 40);
        assert_false(tls_conn_fail(p.client.conn)->after_hello);
        pair_fini(&p);
    }
}

/* -- ends
 * ------------------------------------------------------------------------------------------- */

static void close_notify_and_a_bare_eof_are_told_apart(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        struct setup s = {
            .client_cred = "press-07", .client_min = versions[v], .client_max = versions[v]};
        struct pair p;
        uint8_t byte;
        size_t n;

        pair_init(&p, &s);
        pump(&p, ALL);
        both_established(&p);
        assert_int_equal(tls_conn_write(p.client.conn, (const uint8_t *)"last words", 10), TLS_OK);
        tls_conn_shutdown(p.client.conn);
        n = p.client.out.len;
        tls_conn_shutdown(p.client.conn);
        assert_int_equal(p.client.out.len, n); /* once */
        pump(&p, ALL);
        assert_int_equal(p.server.got.len, 10);
        assert_int_equal(p.server.status, TLS_CLOSED);
        pair_fini(&p);

        pair_init(&p, &s);
        pump(&p, ALL);
        tls_conn_input(p.server.conn, NULL, 0, true);
        assert_int_equal(tls_conn_read(p.server.conn, &byte, 1, &n), TLS_FAILED);
        assert_int_equal(tls_conn_fail(p.server.conn)->side, TLS_FAIL_EOF);
        assert_true(tls_conn_fail(p.server.conn)->established);
        assert_non_null(strstr(tls_conn_fail(p.server.conn)->text, "without close_notify"));
        assert_int_equal(tls_conn_write(p.server.conn, &byte, 1), TLS_FAILED);
        pair_fini(&p);
    }
}

/* Cut the wire after every byte that the server sends: the client must say how far it had come. */
static void an_eof_in_the_handshake_says_how_far_it_came(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        struct setup s = {
            .client_cred = "press-07", .client_min = versions[v], .client_max = versions[v]};
        struct pair p;
        const struct tls_fail *f;

        pair_init(&p, &s);
        tls_conn_input(p.client.conn, NULL, 0, true);
        assert_int_equal(tls_conn_handshake(p.client.conn), TLS_FAILED);
        f = tls_conn_fail(p.client.conn);
        assert_int_equal(f->side, TLS_FAIL_EOF);
        assert_false(f->after_hello || f->after_cert || f->established);
        assert_int_equal(tls_conn_handshake(p.client.conn), TLS_FAILED); /* and stays so */
        pair_fini(&p);

        pair_init(&p, &s);
        carry(&p.client, &p.server, ALL);
        carry(&p.server, &p.client, v == 0 ? ALL : 300);
        tls_conn_input(p.client.conn, NULL, 0, true);
        assert_int_equal(tls_conn_handshake(p.client.conn), TLS_FAILED);
        f = tls_conn_fail(p.client.conn);
        assert_int_equal(f->side, TLS_FAIL_EOF);
        assert_true(f->after_hello);
        assert_int_equal(f->after_cert, v == 0);
        assert_false(f->established);
        pair_fini(&p);
    }
}

static void close_notify_in_the_handshake_is_an_end(void **state)
{
    static const uint8_t alert[] = {21, 3, 3, 0, 2, 1, 0};
    struct setup s = {.client_cred = "press-07"};
    struct pair p;
    enum tls_status status;

    (void)state;
    pair_init(&p, &s);
    tls_conn_input(p.client.conn, alert, sizeof(alert), true);
    status = tls_conn_handshake(p.client.conn);
    assert_true(status == TLS_CLOSED || status == TLS_FAILED);
    assert_int_equal(tls_conn_fail(p.client.conn)->side, TLS_FAIL_EOF);
    pair_fini(&p);
}

/* What follows close_notify is nobody's, and feeding a connection that has ended does no harm. */
static void bytes_behind_the_end_are_dropped(void **state)
{
    struct setup s = {.client_cred = "press-07"};
    struct pair p;
    uint8_t byte;
    size_t n;

    (void)state;
    pair_init(&p, &s);
    tls_conn_shutdown(p.client.conn); /* too early: nothing to end yet */
    pump(&p, ALL);
    both_established(&p);
    tls_conn_shutdown(p.client.conn);
    buf_append(&p.client.out, "garbage behind the end", 22);
    pump(&p, ALL);
    assert_int_equal(p.server.status, TLS_CLOSED);
    assert_int_equal(tls_conn_input_left(p.server.conn), 0);
    for (int i = 0; i < 2; i++) {
        tls_conn_input(p.server.conn, (const uint8_t *)"more", 4, i == 1);
        assert_int_not_equal(tls_conn_read(p.server.conn, &byte, 1, &n), TLS_OK);
        assert_int_equal(tls_conn_input_left(p.server.conn), 0);
    }
    pair_fini(&p);
}

/* -- hostile or broken input
 * -------------------------------------------------------------------------- */

static void what_is_not_tls_is_told_as_such(void **state)
{
    static const char mqtt[] = "\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04test";
    static const char http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    static const struct {
        const char *p;
        size_t n;
    } inputs[] = {{mqtt, sizeof(mqtt) - 1}, {http, sizeof(http) - 1}};
    struct setup s = {.client_cred = "press-07"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct pair p;

        pair_init(&p, &s);
        tls_conn_input(p.server.conn, (const uint8_t *)inputs[i].p, inputs[i].n, false);
        assert_int_equal(tls_conn_handshake(p.server.conn), TLS_FAILED);
        print_message("%s\n", tls_conn_fail(p.server.conn)->text);
        assert_int_equal(tls_conn_fail(p.server.conn)->side, TLS_FAIL_LOCAL);
        assert_non_null(strstr(tls_conn_fail(p.server.conn)->text, "is not TLS"));
        pair_fini(&p);
        pair_init(&p, &s);
        tls_conn_input(p.client.conn, (const uint8_t *)inputs[i].p, inputs[i].n, false);
        assert_int_equal(tls_conn_handshake(p.client.conn), TLS_FAILED);
        assert_int_equal(tls_conn_fail(p.client.conn)->side, TLS_FAIL_LOCAL);
        assert_false(tls_conn_fail(p.client.conn)->after_hello);
        pair_fini(&p);
    }
}

/* Damage one byte of the client's first flight, each in turn: nothing but this connection suffers.
 */
static void every_damaged_byte_of_a_hello_is_survived(void **state)
{
    struct setup s = {.client_cred = "press-07"};
    struct pair p;
    struct buf hello = {0};
    struct tls_conn_args args = {.ctx = p.server_ctx};

    (void)state;
    pair_init(&p, &s);
    args.ctx = p.server_ctx;
    buf_append(&hello, p.client.out.p, p.client.out.len);
    for (size_t i = 0; i < hello.len; i++) {
        static const uint8_t masks[] = {0xff, 0x01, 0x80};

        for (size_t k = 0; k < 3; k++) {
            struct buf out = {0};
            struct tls_conn *c;

            args.out = &out;
            c = tls_conn_new(&args, NULL);
            assert_non_null(c);
            hello.p[i] ^= masks[k];
            tls_conn_input(c, hello.p, hello.len, true);
            assert_int_not_equal(tls_conn_handshake(c), TLS_OK);
            assert_false(tls_conn_established(c));
            hello.p[i] ^= masks[k];
            tls_conn_free(c);
            buf_fini(&out);
        }
    }
    buf_fini(&hello);
    pump(&p, ALL);
    both_established(&p);
    pair_fini(&p);
}

/* Each side gets its own words back, and the other's at the wrong time. */
static void messages_out_of_order_are_refused(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        struct setup s = {
            .client_cred = "press-07", .client_min = versions[v], .client_max = versions[v]};
        struct pair p;
        struct buf hello = {0}, flight = {0};

        pair_init(&p, &s);
        buf_append(&hello, p.client.out.p, p.client.out.len);
        pump(&p, ALL);
        both_established(&p);
        buf_append(&flight, p.server.out.p, p.server.out.len);
        pair_fini(&p);

        pair_init(&p, &s);
        tls_conn_input(p.client.conn, hello.p, hello.len, false);
        assert_int_equal(tls_conn_handshake(p.client.conn), TLS_FAILED);
        assert_int_equal(tls_conn_fail(p.client.conn)->side, TLS_FAIL_LOCAL);
        tls_conn_input(p.server.conn, flight.p, flight.len, false);
        assert_int_equal(tls_conn_handshake(p.server.conn), TLS_FAILED);
        pair_fini(&p);

        pair_init(&p, &s); /* a flight of another handshake */
        tls_conn_input(p.client.conn, flight.p, flight.len, false);
        assert_int_equal(tls_conn_handshake(p.client.conn), TLS_FAILED);
        assert_false(tls_conn_established(p.client.conn));
        carry(&p.client, &p.server, ALL);
        tls_conn_input(p.server.conn, hello.p, hello.len, false); /* a second hello */
        assert_int_not_equal(tls_conn_handshake(p.server.conn), TLS_OK);
        pair_fini(&p);
        buf_fini(&hello);
        buf_fini(&flight);
    }
}

static void a_damaged_record_ends_the_connection(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        struct setup s = {
            .client_cred = "press-07", .client_min = versions[v], .client_max = versions[v]};
        struct pair p;

        pair_init(&p, &s);
        pump(&p, ALL);
        both_established(&p);
        assert_int_equal(tls_conn_write(p.client.conn, (const uint8_t *)"message", 7), TLS_OK);
        p.client.out.p[p.client.out.len - 1] ^= 1;
        pump(&p, ALL);
        assert_int_equal(p.server.status, TLS_FAILED);
        assert_int_equal(p.server.got.len, 0);
        assert_int_equal(tls_conn_fail(p.server.conn)->side, TLS_FAIL_LOCAL);
        assert_int_equal(tls_conn_fail(p.server.conn)->alert_sent, 20);
        assert_int_equal(p.client.status, TLS_FAILED);
        assert_int_equal(tls_conn_fail(p.client.conn)->alert, 20);
        pair_fini(&p);
    }
}

/* -- volume
 * ------------------------------------------------------------------------------------------ */

static void megabytes_pass_unchanged_both_ways(void **state)
{
    size_t n = 3 * 1024 * 1024 + 17;
    uint8_t *data = malloc(n);

    (void)state;
    assert_non_null(data);
    for (size_t i = 0; i < n; i++)
        data[i] = (uint8_t)(i * 31 + i / 251);
    for (size_t v = 0; v < 2; v++) {
        struct setup s = {
            .client_cred = "press-07", .client_min = versions[v], .client_max = versions[v]};
        struct pair p;

        pair_init(&p, &s);
        pump(&p, ALL);
        both_established(&p);
        assert_int_equal(tls_conn_write(p.client.conn, data, n), TLS_OK);
        assert_int_equal(tls_conn_write(p.server.conn, data, n), TLS_OK);
        pump(&p, 10007);
        assert_int_equal(p.server.got.len, n);
        assert_memory_equal(p.server.got.p, data, n);
        assert_int_equal(p.client.got.len, n);
        assert_memory_equal(p.client.got.p, data, n);
        assert_int_equal(tls_conn_write(p.client.conn, data, 0), TLS_OK);
        pair_fini(&p);
    }
    free(data);
}

/* A reader that stops early: the rest of the input waits with the caller, in order. */
static void what_is_not_read_yet_stays_input(void **state)
{
    struct setup s = {.client_cred = "press-07"};
    struct pair p;
    uint8_t plain[4];
    size_t n = 0;

    (void)state;
    pair_init(&p, &s);
    pump(&p, ALL);
    both_established(&p);
    tls_conn_write(p.client.conn, (const uint8_t *)"abcdef", 6);
    tls_conn_write(p.client.conn, (const uint8_t *)"ghi", 3);
    tls_conn_input(p.server.conn, p.client.out.p + p.client.taken,
                   p.client.out.len - p.client.taken, false);
    assert_int_equal(tls_conn_read(p.server.conn, plain, 4, &n), TLS_OK);
    assert_int_equal(n, 4);
    assert_true(tls_conn_input_left(p.server.conn) > 0);
    assert_int_equal(tls_conn_read(p.server.conn, plain, 4, &n), TLS_OK);
    assert_int_equal(n, 2);
    assert_memory_equal(plain, "ef", 2);
    assert_int_equal(tls_conn_read(p.server.conn, plain, 4, &n), TLS_OK);
    assert_memory_equal(plain, "ghi", 3);
    assert_int_equal(tls_conn_read(p.server.conn, plain, 4, &n), TLS_AGAIN);
    assert_int_equal(tls_conn_input_left(p.server.conn), 0);
    pair_fini(&p);
}

/* A new context for new trust: established connections keep the old one. */
static void a_connection_outlives_the_context_that_it_came_from(void **state)
{
    struct setup s = {.client_cred = "press-07"};
    struct pair p;

    (void)state;
    pair_init(&p, &s);
    tls_ctx_unref(p.server_ctx);
    tls_ctx_unref(p.client_ctx);
    p.server_ctx = NULL;
    p.client_ctx = NULL;
    pump(&p, ALL);
    both_established(&p);
    says(&p.client, &p.server, "still here", &p);
    pair_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_key_is_welcome),
        cmocka_unit_test(every_split_of_the_bytes_is_fine),
        cmocka_unit_test(data_right_behind_the_handshake_is_read),
        cmocka_unit_test(certificates_are_required_requested_or_not_asked_for),
        cmocka_unit_test(one_side_decides_the_version),
        cmocka_unit_test(the_old_and_the_new_ca_live_side_by_side),
        cmocka_unit_test(an_expired_anchor_is_left_out_and_counted),
        cmocka_unit_test(the_chain_is_chosen_by_the_name_asked_for),
        cmocka_unit_test(ip_literals_are_names_too),
        cmocka_unit_test(a_name_in_the_subject_serves_when_there_is_no_other),
        cmocka_unit_test(bad_client_certificates_are_refused_with_their_name),
        cmocka_unit_test(bad_server_certificates_are_refused_with_their_name),
        cmocka_unit_test(several_faults_are_all_told),
        cmocka_unit_test(an_expired_intermediate_is_named_itself),
        cmocka_unit_test(a_root_signed_with_sha1_is_fine),
        cmocka_unit_test(an_expired_leaf_is_excused_by_its_anchor),
        cmocka_unit_test(an_exception_excuses_nothing_else),
        cmocka_unit_test(an_expired_anchor_vouches_by_exception),
        cmocka_unit_test(a_listener_may_allow_small_keys),
        cmocka_unit_test(a_refusal_plants_nothing),
        cmocka_unit_test(an_issuer_that_others_sent_does_not_count),
        cmocka_unit_test(an_intermediate_of_ours_completes_a_chain),
        cmocka_unit_test(an_intermediate_without_its_anchor_vouches_for_nobody),
        cmocka_unit_test(another_context_knows_nothing_of_peers),
        cmocka_unit_test(it_is_known_which_anchor_vouches),
        cmocka_unit_test(without_anchors_nobody_is_believed),
        cmocka_unit_test(an_anchor_of_the_future_is_taken),
        cmocka_unit_test(an_intermediate_can_be_an_anchor),
        cmocka_unit_test(a_pinned_self_signed_certificate_is_believed),
        cmocka_unit_test(a_pinned_certificate_is_no_ca),
        cmocka_unit_test(a_small_own_key_serves_old_clients),
        cmocka_unit_test(no_common_cipher_is_told_as_such),
        cmocka_unit_test(close_notify_and_a_bare_eof_are_told_apart),
        cmocka_unit_test(an_eof_in_the_handshake_says_how_far_it_came),
        cmocka_unit_test(close_notify_in_the_handshake_is_an_end),
        cmocka_unit_test(bytes_behind_the_end_are_dropped),
        cmocka_unit_test(messages_out_of_order_are_refused),
        cmocka_unit_test(what_is_not_tls_is_told_as_such),
        cmocka_unit_test(every_damaged_byte_of_a_hello_is_survived),
        cmocka_unit_test(a_damaged_record_ends_the_connection),
        cmocka_unit_test(megabytes_pass_unchanged_both_ways),
        cmocka_unit_test(what_is_not_read_yet_stays_input),
        cmocka_unit_test(a_connection_outlives_the_context_that_it_came_from),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
