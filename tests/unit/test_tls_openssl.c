/* Handshakes with another implementation: openssl s_server and s_client over loopback. */
#include <arpa/inet.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "test_tls_pki.h"
#include "tls/conn.h"
#include "tls/ctx.h"

#define PATIENCE_MS 20000

/* -- a child and a socket
 * --------------------------------------------------------------------------- */

struct child {
    pid_t pid;
    int in, out; /* its stdin, its stdout and stderr */
};

static struct child spawn(const char *const argv[])
{
    struct child c;
    int in[2], out[2];

    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    c.pid = fork();
    assert_true(c.pid >= 0);
    if (c.pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        dup2(out[1], 2);
        close(in[1]);
        close(out[0]);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    c.in = in[1];
    c.out = out[0];
    return c;
}

static void reap(struct child *c)
{
    close(c->in);
    close(c->out);
    kill(c->pid, SIGKILL);
    waitpid(c->pid, NULL, 0);
}

static bool readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, PATIENCE_MS) == 1;
}

/* s_server says "ACCEPT 127.0.0.1:40087" when it listens. */
static uint16_t port_of(const struct child *c)
{
    char text[4096];
    size_t n = 0;
    const char *at;
    unsigned port = 0;

    while (n < sizeof(text) - 1 && readable(c->out)) {
        ssize_t got = read(c->out, text + n, sizeof(text) - 1 - n);

        if (got <= 0)
            break;
        n += (size_t)got;
        text[n] = '\0';
        at = strstr(text, "ACCEPT ");
        if (at != NULL && strchr(at, '\n') != NULL && (at = strchr(at, ':')) != NULL &&
            sscanf(at, ":%u", &port) == 1)
            return (uint16_t)port;
    }
    text[n] = '\0';
    fail_msg("no port in: %s", text);
    return 0;
}

static int dial(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static int listen_any(uint16_t *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t n = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

/* -- our end
 * ------------------------------------------------------------------------------------------ */

struct talk {
    struct tls_conn *conn;
    struct buf out;
    int fd;
    enum tls_status status;
    char got[256]; /* plaintext */
    size_t got_len;
    bool eof, write_failed;
};

/* As the data plane does: after a failed write go on reading, for the alert is in there. */
static void flush(struct talk *t)
{
    while (t->out.len > 0 && !t->write_failed) {
        ssize_t put = send(t->fd, t->out.p, t->out.len, MSG_NOSIGNAL);

        if (put < 0)
            t->write_failed = true;
        else
            buf_drop(&t->out, (size_t)put);
    }
}

static void work(struct talk *t)
{
    size_t n;

    t->status = tls_conn_handshake(t->conn);
    while (t->status == TLS_OK) {
        t->status = tls_conn_read(t->conn, (uint8_t *)t->got + t->got_len,
                                  sizeof(t->got) - 1 - t->got_len, &n);
        if (t->status == TLS_OK)
            t->got_len += n;
    }
    t->got[t->got_len] = '\0';
    flush(t);
}

/* One read from the socket.  False when nothing more can come. */
static bool step(struct talk *t)
{
    uint8_t raw[4096];
    ssize_t n;

    if (t->eof || t->status == TLS_FAILED || t->status == TLS_CLOSED || !readable(t->fd))
        return false;
    n = recv(t->fd, raw, sizeof(raw), 0);
    t->eof = n <= 0;
    tls_conn_input(t->conn, raw, n > 0 ? (size_t)n : 0, t->eof);
    work(t);
    return true;
}

static void talk_fini(struct talk *t)
{
    tls_conn_free(t->conn);
    buf_fini(&t->out);
    close(t->fd);
}

static struct tls_ctx *upstream(enum tls_version only)
{
    struct tls_client_args args = {.min = only, .max = only, .trust = pki_anchors("ca-old.pem")};
    struct err err = {0};
    struct tls_ctx *ctx = tls_ctx_new_client(&args, &err);

    if (ctx == NULL)
        fail_msg("%s", err.msg);
    return ctx;
}

static void dial_talk(struct talk *t, uint16_t port, struct tls_ctx *ctx, const char *identity)
{
    static const char *const alpn[] = {"mqtt", "other"};
    struct cred *cred = identity == NULL ? NULL : pki_cred(identity);
    struct tls_conn_args args = {.ctx = ctx,
                                 .cred = cred,
                                 .server_name = "broker.example",
                                 .alpn = alpn,
                                 .alpn_count = 2,
                                 .out = &t->out};
    struct err err = {0};

    *t = (struct talk){.fd = dial(port)};
    t->conn = tls_conn_new(&args, &err);
    if (t->conn == NULL)
        fail_msg("%s", err.msg);
    cred_unref(cred);
    work(t);
}

/* -- the tests
 * ---------------------------------------------------------------------------------------- */

static const enum tls_version versions[] = {TLS_V12, TLS_V13};

static struct child s_server(bool tls13, const char *const extra[])
{
    /* -rev sends every line back reversed. */
    const char *argv[32] = {"openssl", "s_server", "-accept", "127.0.0.1:0", "-rev", "-naccept",
                            "1",       "-Verify",  "2"};
    size_t n = 9;

    argv[n++] = "-verify_return_error";
    argv[n++] = tls13 ? "-tls1_3" : "-tls1_2";
    argv[n++] = "-cert";
    argv[n++] = pki("server-ec.pem");
    argv[n++] = "-key";
    argv[n++] = pki("server-ec.key");
    argv[n++] = "-CAfile";
    argv[n++] = pki("ca-old.pem");
    while (*extra != NULL)
        argv[n++] = *extra++;
    return spawn(argv);
}

static void a_server_that_takes_us_is_talked_to(void **state)
{
    static const char *const identities[] = {"press-07", "press-rsa", "press-int", "press-p384"};
    static const char *const none[] = {NULL};

    (void)state;
    for (size_t v = 0; v < 2; v++) {
        for (size_t i = 0; i < 4; i++) {
            struct child server = s_server(v == 1, none);
            struct tls_ctx *ctx = upstream(versions[v]);
            struct talk t;

            dial_talk(&t, port_of(&server), ctx, identities[i]);
            while (!tls_conn_established(t.conn) && step(&t))
                ;
            if (!tls_conn_established(t.conn))
                fail_msg("%s: %s", identities[i], tls_conn_fail(t.conn)->text);
            tls_conn_write(t.conn, (const uint8_t *)"olleh\n", 6);
            flush(&t);
            while (t.got_len < 6 && step(&t))
                ;
            assert_string_equal(t.got, "hello\n");
            /* The ticket came before the answer: the certificate has been accepted. */
            assert_int_equal(tls_conn_ticket_seen(t.conn), v == 1);
            tls_conn_shutdown(t.conn);
            flush(&t);
            while (step(&t))
                ;
            talk_fini(&t);
            reap(&server);
            tls_ctx_unref(ctx);
        }
    }
}

/* TLS 1.3: the handshake is complete for us, writing works, and then comes the alert. */
static void a_server_that_refuses_us_is_heard(void **state)
{
    static const struct {
        const char *identity;
        int alert12, alert13;
    } table[] = {
        {"press-expired", 45, 45}, {"press-far", 48, 48}, {"press-self", 48, 48},
        {"press-eku", 43, 43},     {NULL, 40, 116},
    };
    static const char *const none[] = {NULL};

    (void)state;
    for (size_t v = 0; v < 2; v++) {
        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
            struct child server = s_server(v == 1, none);
            struct tls_ctx *ctx = upstream(versions[v]);
            const struct tls_fail *f;
            struct talk t;

            dial_talk(&t, port_of(&server), ctx, table[i].identity);
            while (!tls_conn_established(t.conn) && step(&t))
                ;
            if (tls_conn_established(t.conn)) {
                assert_int_equal(v, 1);
                tls_conn_write(t.conn, (const uint8_t *)"CONNECT", 7);
                flush(&t);
            }
            while (step(&t))
                ;
            f = tls_conn_fail(t.conn);
            print_message("%s\n", f->text);
            assert_int_equal(t.status, TLS_FAILED);
            assert_int_equal(f->side, TLS_FAIL_PEER_ALERT);
            assert_int_equal(f->alert, v == 1 ? table[i].alert13 : table[i].alert12);
            assert_int_equal(f->established, v == 1);
            assert_int_equal(f->after_cert, table[i].identity != NULL);
            assert_true(f->after_hello);
            assert_false(tls_conn_ticket_seen(t.conn));
            talk_fini(&t);
            reap(&server);
            tls_ctx_unref(ctx);
        }
    }
}

static struct tls_ctx *listener_with(const char *ciphers, enum tls_version min,
                                     struct crl_set *crls)
{
    struct cred *ec = pki_cred("server-ec"), *rsa = pki_cred("server-rsa");
    struct tls_server_chain chains[] = {{.cred = rsa, .sni_glob = "*.legacy.example"},
                                        {.cred = ec}};
    struct tls_server_args args = {.min = min,
                                   .max = TLS_V13,
                                   .ciphers = ciphers,
                                   .chains = chains,
                                   .chain_count = 2,
                                   .trust = pki_anchors("ca-old.pem"),
                                   .crls = crls,
                                   .crl_policy = crls == NULL ? CRL_OFF : CRL_SOFT};
    struct err err = {0};
    struct tls_ctx *ctx = tls_ctx_new_server(&args, &err);

    if (ctx == NULL)
        fail_msg("%s", err.msg);
    cred_unref(ec);
    cred_unref(rsa);
    return ctx;
}

static struct tls_ctx *listener(const char *ciphers, enum tls_version min)
{
    return listener_with(ciphers, min, NULL);
}

struct visitor {
    const char *identity;
    const char *args[6];
    const char *version, *cipher; /* what comes out; NULL: any, or refused */
    bool works;
};

static void visit(struct tls_ctx *ctx, const struct visitor *who)
{
    uint16_t port;
    int lfd = listen_any(&port);
    char to[32], chain[64], key[64];
    const char *argv[24] = {"openssl", "s_client", "-quiet", "-no_ign_eof", "-connect", to};
    size_t n = 6;
    struct talk t = {0};
    struct tls_conn_args args = {.ctx = ctx, .out = &t.out};
    struct child client;

    snprintf(to, sizeof(to), "127.0.0.1:%u", port);
    snprintf(chain, sizeof(chain), "%s.pem", who->identity);
    snprintf(key, sizeof(key), "%s.key", who->identity);
    argv[n++] = "-cert";
    argv[n++] = pki(chain);
    argv[n++] = "-key";
    argv[n++] = pki(key);
    argv[n++] = "-CAfile";
    argv[n++] = pki("ca-old.pem");
    argv[n++] = "-verify_return_error";
    for (size_t i = 0; i < 6 && who->args[i] != NULL; i++)
        argv[n++] = who->args[i];
    client = spawn(argv);
    assert_true(readable(lfd));
    t.fd = accept(lfd, NULL, NULL);
    close(lfd);
    t.conn = tls_conn_new(&args, NULL);
    assert_non_null(t.conn);
    while (!tls_conn_established(t.conn) && step(&t))
        ;
    if (tls_conn_established(t.conn) != who->works)
        fail_msg("%s %s: %s", who->identity, who->args[0], tls_conn_fail(t.conn)->text);
    if (who->works) {
        struct cert_info *peer = tls_conn_take_peer(t.conn);

        assert_non_null(peer);
        assert_string_equal(peer->cn, who->identity);
        cert_info_free(peer);
        if (who->version != NULL)
            assert_string_equal(tls_conn_version(t.conn), who->version);
        if (who->cipher != NULL)
            assert_non_null(strstr(tls_conn_cipher(t.conn), who->cipher));
        assert_int_equal(write(client.in, "hello\n", 6), 6);
        while (t.got_len < 6 && step(&t))
            ;
        assert_string_equal(t.got, "hello\n");
        close(client.in); /* s_client ends with close_notify */
        client.in = -1;
        while (step(&t))
            ;
        assert_int_equal(t.status, TLS_CLOSED);
    }
    talk_fini(&t);
    reap(&client);
}

static void openssl_clients_are_served(void **state)
{
    static const struct visitor table[] = {
        {"press-07", {"-tls1_2"}, "TLSv1.2", NULL, true},
        {"press-07", {"-tls1_3"}, "TLSv1.3", NULL, true},
        {"press-rsa", {"-tls1_2"}, "TLSv1.2", NULL, true},
        {"press-rsa", {"-tls1_3"}, "TLSv1.3", NULL, true},
        {"press-p384", {"-tls1_3"}, "TLSv1.3", NULL, true},
        {"press-07", {"-tls1_2", "-servername", "a.legacy.example"}, "TLSv1.2", "RSA", true},
        {"press-07", {"-tls1_2", "-servername", "broker.example"}, "TLSv1.2", "ECDSA", true},
        {"press-07", {"-tls1_3", "-servername", "a.legacy.example"}, "TLSv1.3", NULL, true},
        {"press-07",
         {"-tls1_3", "-groups", "P-384:P-256"},
         "TLSv1.3",
         NULL,
         true}, /* HelloRetryRequest */
        {"press-07", {"-tls1_1", "-cipher", "ALL:@SECLEVEL=0"}, NULL, NULL, false},
        {"press-expired", {"-tls1_2"}, NULL, NULL, false},
        {"press-far", {"-tls1_3"}, NULL, NULL, false},
    };
    struct tls_ctx *ctx = listener(NULL, TLS_V12);

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        visit(ctx, &table[i]);
    tls_ctx_unref(ctx);
}

/* The default list of a legacy listener has what old sensors know; certificates are judged as
 * everywhere. */
static void old_clients_are_served_by_a_legacy_listener(void **state)
{
    static const struct visitor table[] = {
        {"press-07", {"-tls1_1", "-cipher", "ALL:@SECLEVEL=0"}, "TLSv1.1", NULL, true},
        {"press-rsa", {"-tls1_1", "-cipher", "ALL:@SECLEVEL=0"}, "TLSv1.1", NULL, true},
        {"press-07",
         {"-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"},
         "TLSv1.2",
         "ECDHE-ECDSA-AES128-SHA",
         true},
        {"press-07", {"-tls1_3"}, "TLSv1.3", NULL, true},
        {"press-sha1", {"-tls1_1", "-cipher", "ALL:@SECLEVEL=0"}, NULL, NULL, false},
        {"press-1024", {"-tls1_1", "-cipher", "ALL:@SECLEVEL=0"}, NULL, NULL, false},
    };
    struct tls_ctx *ctx = listener(NULL, TLS_V11);

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        visit(ctx, &table[i]);
    tls_ctx_unref(ctx);
}

/* TLS 1.0 and key exchange by RSA: in our build of the library, not in every distribution's. */
static void the_oldest_clients_are_served_where_the_library_can(void **state)
{
    static const struct visitor table[] = {
        {"press-rsa", {"-tls1", "-cipher", "ALL:@SECLEVEL=0"}, "TLSv1", NULL, true},
        {"press-rsa",
         {"-tls1", "-cipher", "AES128-SHA:@SECLEVEL=0", "-servername", "a.legacy.example"},
         "TLSv1",
         "AES128-SHA",
         true},
        {"press-rsa",
         {"-tls1_2", "-cipher", "AES256-SHA:@SECLEVEL=0", "-servername", "a.legacy.example"},
         "TLSv1.2",
         "AES256-SHA",
         true},
    };
    struct tls_ctx *ctx;

    (void)state;
    if (!tls_has_version(TLS_V10))
        skip();
    ctx = listener(NULL, TLS_V10);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        visit(ctx, &table[i]);
    tls_ctx_unref(ctx);
}

/* Whoever has the key of a CA that was revoked may send, beside its certificate, one that he made
 * up, as if another CA had issued it: the library goes by the true one, and the other must not be
 * the one that is looked up. */
static void a_made_up_issuer_hides_no_revoked_one(void **state)
{
    struct tls_trust trust = pki_anchors("ca-old.pem");
    const char *list;
    struct crl_args lists = {
        .paths = &list, .path_count = 1, .anchors = trust.anchors, .anchor_count = 1};
    struct err err = {0};

    (void)state;
    for (size_t v = 0; v < 2; v++) {
        const char *version = v == 1 ? "-tls1_3" : "-tls1_2";
        struct tls_ctx *before = listener(NULL, TLS_V12), *ctx;
        struct crl_set *crls;

        list = pki("ca-old.crl");
        crls = crl_set_new(&lists, &err);
        if (crls == NULL)
            fail_msg("%s", err.msg);
        ctx = listener_with(NULL, TLS_V12, crls);
        visit(before,
              &(struct visitor){
                  "press-lost", {version, "-cert_chain", pki("lost-true.pem")}, NULL, NULL, true});
        visit(
            ctx,
            &(struct visitor){
                "press-lost", {version, "-cert_chain", pki("lost-hidden.pem")}, NULL, NULL, false});
        visit(ctx,
              &(struct visitor){
                  "press-lost", {version, "-cert_chain", pki("lost-true.pem")}, NULL, NULL, false});
        tls_ctx_unref(before);
        tls_ctx_unref(ctx);
        crl_set_unref(crls);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_that_takes_us_is_talked_to),
        cmocka_unit_test(a_server_that_refuses_us_is_heard),
        cmocka_unit_test(openssl_clients_are_served),
        cmocka_unit_test(old_clients_are_served_by_a_legacy_listener),
        cmocka_unit_test(the_oldest_clients_are_served_where_the_library_can),
        cmocka_unit_test(a_made_up_issuer_hides_no_revoked_one),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
