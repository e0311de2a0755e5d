/* Keys in a token (SoftHSM, and a module between that is slow or fails when told to): handshakes
 * with them, what is found out when they are loaded, and what is amiss with a token.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/str.h"
#include "test_tls_pki.h"
#include "tls/conn.h"
#include "tls/csr.h"
#include "tls/ctx.h"
#include "tls/token.h"

#define SOFTHSM    "/usr/lib/softhsm/libsofthsm2.so"
#define TIMEOUT_MS 20000 /* of ordinary answers; nothing waits for it */

static void moment(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

static int run(const char *const argv[])
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* -- the token --------------------------------------------------------------------------------- */

static void configure(const char *label, const char *pin_file, unsigned timeout_ms)
{
    struct token_conf conf = {.name = "hsm",
                              .module = TOKEN_SHIM,
                              .label = label,
                              .pin_file = pki(pin_file),
                              .timeout_ms = timeout_ms};
    struct err err = {0};

    assert_int_equal(tokens_configure(&conf, 1, &err), 0);
}

static int setup(void **state)
{
    if (pki_setup(state) != 0 || setenv("SOFTHSM2_CONF", pki("softhsm2.conf"), 1) != 0 ||
        setenv("TOKEN_SHIM_DIR", pki(""), 1) != 0 || setenv("TOKEN_SHIM_MODULE", SOFTHSM, 1) != 0)
        return -1;
    if (run((const char *const[]){"openssl", "genrsa", "-out", pki("big.key"), "3072", NULL}) != 0)
        return -1;
    return run((const char *const[]){TLS_TOKEN_SH, pki(""), pki("press-07.key"), "press-07", "01",
                                     pki("press-p384.key"), "press-p384", "02",
                                     pki("press-rsa.key"), "press-rsa", "03", pki("press-new.key"),
                                     "other", "04", NULL});
}

static int teardown(void **state)
{
    tokens_fini();
    return pki_teardown(state);
}

/* What the shim is to do; NULL: nothing of it any more. */
static void tell(const char *file, const char *text)
{
    if (text != NULL)
        pki_write(file, text, strlen(text), 0600);
    else
        unlink(pki(file));
}

static size_t counted(const char *file)
{
    struct stat st;

    return stat(pki(file), &st) == 0 ? (size_t)st.st_size : 0;
}

static struct token_status status(void)
{
    struct token_status st;

    assert_true(tokens_status(0, &st));
    return st;
}

static void state_becomes(enum token_state wanted)
{
    int64_t until_ms = clock_boot_ms() + 60000;

    while (status().state != wanted) {
        if (clock_boot_ms() > until_ms)
            fail_msg("the token is %s (%s), not %s", token_state_name(status().state),
                     status().text, token_state_name(wanted));
        moment();
    }
}

/* NULL with the fault in *err. */
static struct cred *try_load(const char *name, const char *uri, struct err *err)
{
    char chain[64];

    snprintf(chain, sizeof(chain), "%s.pem", name);
    pki_write("key.uri", uri, strlen(uri), 0600);
    return cred_load(pki(chain), pki("key.uri"), err);
}

static struct cred *load(const char *name, const char *uri)
{
    struct err err = {0};
    struct cred *c = try_load(name, uri, &err);

    if (c == NULL)
        fail_msg("%s", err.msg);
    return c;
}

static void refuses(const char *name, const char *uri, const char *says)
{
    struct err err = {0};
    struct cred *c = try_load(name, uri, &err);

    cred_unref(c);
    assert_null(c);
    if (strstr(err.msg, says) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.msg, says);
}

/* -- a server and a client in memory ----------------------------------------------------------- */

struct end {
    struct tls_conn *conn;
    struct buf out;
    enum tls_status status;
};

struct pair {
    struct tls_ctx *server_ctx, *client_ctx;
    struct end server, client;
    pthread_mutex_t lock; /* guards `back` */
    struct list *back;
};

static void on_step_done(void *arg, struct list *item)
{
    struct pair *p = arg;

    pthread_mutex_lock(&p->lock);
    p->back = item;
    pthread_mutex_unlock(&p->lock);
}

static struct tls_trust both_cas(void)
{
    static const char *const files[] = {"ca-old.pem", "ca-new.pem"};
    struct tls_trust trust = {0};
    struct err err = {0};

    if (pki_trust(files, 2, &trust, &err) != 0)
        fail_msg("%s", err.msg);
    return trust;
}

static struct tls_ctx *server_ctx(enum tls_version v)
{
    struct cred *cred = pki_cred("server-ec");
    struct tls_server_chain chain = {.cred = cred};
    struct tls_server_args args = {.min = v,
                                   .max = v,
                                   .client_cert = TLS_CLIENT_CERT_REQUIRE,
                                   .chains = &chain,
                                   .chain_count = 1,
                                   .trust = both_cas()};
    struct err err = {0};
    struct tls_ctx *ctx = tls_ctx_new_server(&args, &err);

    if (ctx == NULL)
        fail_msg("%s", err.msg);
    cred_unref(cred);
    return ctx;
}

static struct tls_ctx *client_ctx(void)
{
    struct tls_client_args args = {.min = TLS_V12, .max = TLS_V13, .trust = both_cas()};
    struct err err = {0};
    struct tls_ctx *ctx = tls_ctx_new_client(&args, &err);

    if (ctx == NULL)
        fail_msg("%s", err.msg);
    return ctx;
}

static void pair_init(struct pair *p, struct cred *cred, enum tls_version v, bool waits)
{
    struct tls_conn_args server = {.out = &p->server.out};
    struct tls_conn_args client = {.cred = cred,
                                   .server_name = "broker.example",
                                   .out = &p->client.out,
                                   .step_done = waits ? NULL : on_step_done,
                                   .step_arg = p};
    struct err err = {0};

    *p = (struct pair){.server_ctx = server_ctx(v), .client_ctx = client_ctx()};
    pthread_mutex_init(&p->lock, NULL);
    server.ctx = p->server_ctx;
    client.ctx = p->client_ctx;
    p->server.conn = tls_conn_new(&server, &err);
    p->client.conn = tls_conn_new(&client, &err);
    assert_non_null(p->server.conn);
    assert_non_null(p->client.conn);
    p->client.status = tls_conn_handshake(p->client.conn);
    p->server.status = tls_conn_handshake(p->server.conn);
    assert_int_equal(p->client.status, TLS_AGAIN);
    assert_true(p->client.out.len > 0);
}

static void end_fini(struct end *e)
{
    tls_conn_free(e->conn);
    buf_fini(&e->out);
}

static void pair_fini(struct pair *p)
{
    end_fini(&p->client);
    end_fini(&p->server);
    tls_ctx_unref(p->server_ctx);
    tls_ctx_unref(p->client_ctx);
    pthread_mutex_destroy(&p->lock);
}

static void work(struct end *e)
{
    uint8_t plain[100];
    size_t n;

    e->status = tls_conn_handshake(e->conn);
    while (e->status == TLS_OK)
        e->status = tls_conn_read(e->conn, plain, sizeof(plain), &n);
}

static bool carry(struct end *from, struct end *to)
{
    struct buf taken = from->out;

    if (taken.len == 0 || to->status != TLS_AGAIN)
        return false;
    from->out = (struct buf){0};
    tls_conn_input(to->conn, taken.p, taken.len, false);
    work(to);
    memset(taken.p, 0xee, taken.len); /* nothing may be kept of it */
    buf_fini(&taken);
    return true;
}

/* Until nothing moves, or the client is away. */
static void pump(struct pair *p)
{
    bool moved = true;

    while (moved) {
        moved = carry(&p->client, &p->server);
        moved = carry(&p->server, &p->client) || moved;
    }
}

static bool is_back(struct pair *p)
{
    bool back;

    pthread_mutex_lock(&p->lock);
    back = p->back != NULL;
    pthread_mutex_unlock(&p->lock);
    return back;
}

static void wait_back(struct pair *p)
{
    int64_t until_ms = clock_boot_ms() + 60000;

    while (!is_back(p)) {
        assert_true(clock_boot_ms() < until_ms);
        moment();
    }
}

static void take_back(struct pair *p)
{
    wait_back(p);
    assert_ptr_equal(tls_step_take(p->back), p);
    p->back = NULL;
    work(&p->client);
}

static void pump_all(struct pair *p)
{
    pump(p);
    while (p->client.status == TLS_AWAY) {
        take_back(p);
        pump(p);
    }
}

static void both_established(struct pair *p)
{
    if (!tls_conn_established(p->server.conn) || !tls_conn_established(p->client.conn))
        fail_msg("server: %s; client: %s", tls_conn_fail(p->server.conn)->text,
                 tls_conn_fail(p->client.conn)->text);
}

static void fails_by_token(struct pair *p, const char *what)
{
    const struct tls_fail *f = tls_conn_fail(p->client.conn);

    assert_int_equal(p->client.status, TLS_FAILED);
    if (f->side != TLS_FAIL_TOKEN)
        fail_msg("side %d: %s", f->side, f->text);
    assert_string_equal(f->word, what);
    assert_true(strlen(f->remedy) > 0);
}

static void shake(struct cred *cred, enum tls_version v, bool waits)
{
    struct pair p;

    pair_init(&p, cred, v, waits);
    pump_all(&p);
    both_established(&p);
    pair_fini(&p);
}

/* -- handshakes -------------------------------------------------------------------------------- */

static void every_kind_of_key_signs(void **state)
{
    static const char *const names[] = {"press-07", "press-p384", "press-rsa"};

    (void)state;
    configure("hsm", "pin", TIMEOUT_MS);
    for (size_t i = 0; i < 3; i++) {
        char uri[100];
        struct cred *c;

        snprintf(uri, sizeof(uri), "pkcs11:token=hsm;object=%s;type=private\n", names[i]);
        c = load(names[i], uri);
        assert_true(cred_in_token(c));
        shake(c, TLS_V12, true);
        shake(c, TLS_V13, true);
        shake(c, TLS_V12, false);
        shake(c, TLS_V13, false);
        cred_unref(c);
    }
    assert_int_equal(status().state, TOKEN_READY);
    assert_int_equal(status().operations, 12);
    assert_int_equal(status().failures, 0);
    assert_true(status().us_sum >= status().us_max && status().us_max > 0);
    assert_string_equal(status().label, "hsm");
    assert_string_equal(status().model, "SoftHSM v2");
}

/* RSA of 3072 bits: what the library takes for granted about a key that it does not see is 2048. */
static void a_large_rsa_key_signs(void **state)
{
    struct cred *c;

    (void)state;
    configure("hsm", "pin", TIMEOUT_MS);
    assert_int_equal(
        run((const char *const[]){"openssl", "req", "-x509", "-new", "-key", pki("big.key"),
                                  "-subj", "/CN=big", "-CA", pki("ca-old.pem"), "-CAkey",
                                  pki("ca-old.key"), "-out", pki("big.pem"), NULL}),
        0);
    assert_int_equal(
        run((const char *const[]){TLS_TOKEN_SH, pki(""), pki("big.key"), "big", "09", NULL}), 0);
    c = load("big", "pkcs11:object=big");
    shake(c, TLS_V12, true);
    shake(c, TLS_V13, false);
    cred_unref(c);
}

static void a_key_is_named_by_its_id_alone(void **state)
{
    struct cred *a, *b, *c;

    (void)state;
    configure("hsm", "pin", TIMEOUT_MS);
    a = load("press-07", "pkcs11:id=%01");
    b = load("press-07", "pkcs11:id=%01");
    c = load("press-07", "pkcs11:object=press-07");
    shake(a, TLS_V13, true);
    assert_true(cred_equal(a, b));
    assert_false(cred_equal(a, c));
    cred_unref(a);
    cred_unref(b);
    cred_unref(c);
}

/* -- what is found out when a credential is loaded ----------------------------------------------
 */

static void a_key_that_is_not_the_certificates_is_refused(void **state)
{
    (void)state;
    configure("hsm", "pin", TIMEOUT_MS);
    refuses("press-07", "pkcs11:object=other", "does not belong to the certificate");
    refuses("press-07", "pkcs11:object=press-p384", "does not belong to the certificate");
    refuses("press-07", "pkcs11:object=press-rsa", "does not belong to the certificate");
    refuses("press-rsa", "pkcs11:object=press-07", "does not belong to the certificate");
    refuses("press-07", "pkcs11:object=nobody", "there is no key nobody");
    refuses("press-07", "pkcs11:object=press-07;id=%02", "there is no key press-07 (id 02)");
    refuses("press-07", "pkcs11:object=press-07;token=elsewhere", "\"elsewhere\", which is none");
    refuses("press-ed", "pkcs11:object=press-07", "the certificate is for another");
    assert_int_equal(status().state, TOKEN_READY);
}

/* Where the token does not have the public key, a signature tells. */
static void a_key_without_its_public_half_is_proven(void **state)
{
    struct cred *c;

    (void)state;
    configure("hsm", "pin", TIMEOUT_MS);
    assert_int_equal(run((const char *const[]){TLS_TOKEN_SH, pki(""), pki("press-any.key"),
                                               "lonely", "0b", NULL}),
                     0);
    assert_int_equal(run((const char *const[]){"pkcs11-tool", "--module", SOFTHSM, "--token-label",
                                               "hsm", "--login", "--pin", "1234", "--delete-object",
                                               "--type", "pubkey", "--id", "0b", NULL}),
                     0);
    c = load("press-any", "pkcs11:object=lonely");
    shake(c, TLS_V13, true);
    cred_unref(c);
    refuses("press-07", "pkcs11:object=lonely", "does not belong to the certificate");
}

static void two_keys_of_one_name_are_refused(void **state)
{
    struct cred *c;

    (void)state;
    configure("hsm", "pin", TIMEOUT_MS);
    assert_int_equal(
        run((const char *const[]){TLS_TOKEN_SH, pki(""), pki("press-plain.key"), "twin", "0c",
                                  pki("press-plain.key"), "twin", "0d", NULL}),
        0);
    refuses("press-plain", "pkcs11:object=twin", "more than one key twin");
    c = load("press-plain", "pkcs11:object=twin;id=%0d");
    cred_unref(c);
}

static void a_listener_has_its_key_in_a_file(void **state)
{
    struct cred *c;
    struct tls_server_chain chain;
    struct tls_server_args args = {.min = TLS_V12,
                                   .max = TLS_V13,
                                   .client_cert = TLS_CLIENT_CERT_NONE,
                                   .chains = &chain,
                                   .chain_count = 1};
    struct err err = {0};

    (void)state;
    configure("hsm", "pin", TIMEOUT_MS);
    c = load("press-07", "pkcs11:object=press-07");
    chain = (struct tls_server_chain){.cred = c};
    assert_null(tls_ctx_new_server(&args, &err));
    assert_non_null(strstr(err.msg, "must be in a file"));
    cred_unref(c);
}

/* -- what is amiss with a token ------------------------------------------------------------------
 */

static bool usable(const struct cred *c, const char *what)
{
    struct err err = {0};
    const char *said = NULL;

    if (cred_is_usable(c, &said, &err))
        return true;
    assert_string_equal(said, what);
    assert_true(strlen(err.msg) > 0);
    return false;
}

static void becomes_usable(const struct cred *c, const char *what_until_then)
{
    int64_t until_ms = clock_boot_ms() + 60000;

    while (!usable(c, what_until_then)) {
        assert_true(clock_boot_ms() < until_ms);
        moment();
    }
}

static void a_wrong_pin_is_tried_once(void **state)
{
    struct cred *c;
    size_t before;

    (void)state;
    pki_write("wrong", "9999", 4, 0600);
    configure("hsm", "wrong", TIMEOUT_MS);
    before = counted("logins");
    for (int i = 0; i < 5; i++) {
        c = load("press-07", "pkcs11:object=press-07"); /* no fault of the identity */
        assert_false(usable(c, "login"));
        cred_unref(c);
    }
    assert_int_equal(counted("logins") - before, 1);
    assert_int_equal(status().state, TOKEN_NO_LOGIN);
    assert_non_null(strstr(status().text, "CKR_PIN_INCORRECT"));
    c = load("press-07", "pkcs11:object=press-07");
    pki_write("wrong", "1234\n", 5, 0600);
    becomes_usable(c, "login");
    shake(c, TLS_V13, true);
    cred_unref(c);
}

static void a_pin_that_others_may_read_is_not_read(void **state)
{
    struct cred *c;
    size_t before;

    (void)state;
    pki_write("open", "1234", 4, 0644);
    configure("hsm", "open", TIMEOUT_MS);
    before = counted("logins");
    c = load("press-07", "pkcs11:object=press-07");
    assert_int_equal(status().state, TOKEN_NO_LOGIN);
    assert_non_null(strstr(status().text, "others may"));
    configure("hsm", "nowhere", TIMEOUT_MS);
    cred_unref(c);
    c = load("press-07", "pkcs11:object=press-07");
    assert_non_null(strstr(status().text, "cannot be read"));
    assert_int_equal(counted("logins"), before);
    cred_unref(c);
}

static void a_token_that_is_away_comes_back(void **state)
{
    struct cred *c;
    struct pair p;

    (void)state;
    configure("hsm", "pin", TIMEOUT_MS);
    c = load("press-07", "pkcs11:object=press-07");
    tell("rv", "0xe0");
    pair_init(&p, c, TLS_V13, false);
    pump_all(&p);
    fails_by_token(&p, "absent");
    pair_fini(&p);
    assert_false(usable(c, "absent"));
    assert_int_equal(status().state, TOKEN_ABSENT);
    assert_non_null(strstr(status().text, "CKR_TOKEN_NOT_PRESENT"));
    tell("rv", NULL);
    becomes_usable(c, "absent");
    shake(c, TLS_V13, false);
    cred_unref(c);
}

/* Loaded without it, and compared as soon as it is there. */
static void a_token_may_come_after_its_credential(void **state)
{
    struct cred *c, *wrong;
    struct pair p;

    (void)state;
    pki_write("pin2", "1234", 4, 0600);
    configure("hsm", "pin2", TIMEOUT_MS); /* opened anew */
    tell("rv", "0x30");
    c = load("press-07", "pkcs11:object=press-07");
    wrong = load("press-07", "pkcs11:object=other");
    assert_int_equal(status().state, TOKEN_FAILED);
    assert_non_null(strstr(status().text, "CKR_DEVICE_ERROR"));
    tell("rv", NULL);
    becomes_usable(c, "failed");
    shake(c, TLS_V12, false);
    pair_init(&p, wrong, TLS_V13, false);
    pump_all(&p);
    fails_by_token(&p, "mismatch");
    pair_fini(&p);
    assert_true(usable(c, NULL)); /* the token itself is well */
    cred_unref(c);
    cred_unref(wrong);
}

static void a_session_that_was_lost_is_opened_again(void **state)
{
    struct cred *c;
    uint64_t failures;

    (void)state;
    configure("hsm", "pin", TIMEOUT_MS);
    c = load("press-07", "pkcs11:object=press-07");
    failures = status().failures;
    tell("once", "0xb3");
    shake(c, TLS_V13, true);
    tell("once", "0x101");
    shake(c, TLS_V13, false);
    assert_int_equal(counted("once"), 0);
    assert_int_equal(status().failures, failures);
    cred_unref(c);
}

/* A broker would take it for a wrong identity. */
static void a_wrong_signature_does_not_go_out(void **state)
{
    static const char *const names[] = {"press-07", "press-rsa"};

    (void)state;
    configure("hsm", "pin", TIMEOUT_MS);
    for (size_t i = 0; i < 2; i++) {
        char uri[64];
        struct cred *c;
        struct pair p;

        snprintf(uri, sizeof(uri), "pkcs11:object=%s", names[i]);
        c = load(names[i], uri);
        tell("spoil", "");
        pair_init(&p, c, TLS_V13, false);
        pump_all(&p);
        fails_by_token(&p, "mismatch");
        assert_int_equal(p.server.status, TLS_AGAIN); /* has seen nothing of it */
        pair_fini(&p);
        tell("spoil", NULL);
        cred_unref(c);
    }
}

/* RSA-PSS has to be padded here. */
static void a_token_without_raw_rsa_says_so(void **state)
{
    struct cred *c;
    struct pair p;

    (void)state;
    tell("no-raw", "");
    pki_write("pin3", "1234", 4, 0600);
    configure("hsm", "pin3", TIMEOUT_MS); /* opened anew */
    c = load("press-rsa", "pkcs11:object=press-rsa");
    pair_init(&p, c, TLS_V13, true);
    pump_all(&p);
    fails_by_token(&p, "mechanism");
    pair_fini(&p);
    cred_unref(c);
    c = load("press-07", "pkcs11:object=press-07");
    shake(c, TLS_V13, true);
    cred_unref(c);
    tell("no-raw", NULL);
}

static void a_module_that_is_none_is_said(void **state)
{
    static const char *const modules[][2] = {
        {"/nonexistent/module.so", "cannot open"},
        {"libm.so.6", "is no PKCS#11 module"},
    };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct token_conf conf = {.name = "x",
                                  .module = modules[i][0],
                                  .label = "x",
                                  .pin_file = pki("pin"),
                                  .timeout_ms = TIMEOUT_MS};
        struct err err = {0};
        struct cred *c;

        assert_int_equal(tokens_configure(&conf, 1, &err), 0);
        assert_int_equal(status().state, TOKEN_UNTRIED);
        c = load("press-07", "pkcs11:object=press-07");
        assert_int_equal(status().state, TOKEN_NO_MODULE);
        if (strstr(status().text, modules[i][1]) == NULL)
            fail_msg("%s", status().text);
        cred_unref(c);
    }
}

static void tokens_are_told_apart(void **state)
{
    struct token_conf confs[] = {
        {.name = "a", .module = SOFTHSM, .label = "one", .timeout_ms = 1000},
        {.name = "b", .module = SOFTHSM, .serial = "0123", .timeout_ms = 1000},
    };
    struct err err = {0};
    struct token_status st;

    (void)state;
    assert_int_equal(tokens_configure(confs, 2, &err), 0);
    refuses("press-07", "pkcs11:object=k", "fits 2 of the configured tokens");
    refuses("press-07", "pkcs11:object=k;token=two", "\"two\", which is none");
    refuses("press-07", "pkcs11:object=k;serial=0124;token=b", "\"b\", which is none");
    assert_true(tokens_status(1, &st));
    assert_string_equal(st.name, "b");
    assert_false(tokens_status(2, &st));
    assert_int_equal(tokens_configure(NULL, 0, &err), 0);
    refuses("press-07", "pkcs11:object=k", "no token is configured");
    assert_false(tokens_status(0, &st));
}

/* -- keys that are made in it
 * ---------------------------------------------------------------------- */

/* The CA's part: openssl looks at the request, and signs it. */
static void have_signed(const struct buf *csr)
{
    pki_write("made.csr", csr->p, csr->len, 0600);
    assert_int_equal(run((const char *const[]){"openssl", "req", "-inform", "DER", "-in",
                                               pki("made.csr"), "-verify", "-noout", NULL}),
                     0);
    assert_int_equal(run((const char *const[]){"openssl", "x509", "-req", "-inform", "DER", "-in",
                                               pki("made.csr"), "-CA", pki("ca-new.pem"), "-CAkey",
                                               pki("ca-new.key"), "-CAcreateserial", "-out",
                                               pki("made.pem"), "-copy_extensions", "copy", NULL}),
                     0);
}

static void makes_signs_and_ends(enum key_kind kind)
{
    struct buf uri = {0}, spki = {0}, csr = {0};
    struct token_signer with;
    struct csr_signer signer = {.sign = token_sign, .arg = &with};
    struct csr_terms terms = {0};
    struct dn subject = {0};
    struct err err = {0};
    struct cred *c;
    char text[400];

    assert_int_equal(dn_parse("CN=made,O=Plant", &subject, &err), 0);
    terms.subject = &subject;
    if (token_keygen("hsm", kind, "made", &uri, &spki, &err) != 0)
        fail_msg("%s", err.msg);
    with = (struct token_signer){(const char *)uri.p, uri.len, spki.p, spki.len};
    signer.spki = spki.p;
    signer.spki_len = spki.len;
    if (csr_make(&terms, &signer, &csr, &err) != 0)
        fail_msg("%s", err.msg);
    have_signed(&csr);
    snprintf(text, sizeof(text), "%.*s", (int)uri.len, (const char *)uri.p);
    c = load("made", text);
    shake(c, TLS_V12, true);
    shake(c, TLS_V13, true);
    cred_unref(c);
    if (token_destroy(text, strlen(text), &err) != 0)
        fail_msg("%s", err.msg);
    refuses("made", text, "there is no key made");
    assert_int_equal(token_destroy(text, strlen(text), &err), -ERR_NOT_FOUND);
    dn_fini(&subject);
    buf_fini(&uri);
    buf_fini(&spki);
    buf_fini(&csr);
}

static void a_key_is_made_signs_its_request_and_ends(void **state)
{
    (void)state;
    configure("hsm", "pin", TIMEOUT_MS);
    makes_signs_and_ends(KEY_EC_P256);
    makes_signs_and_ends(KEY_EC_P384);
    makes_signs_and_ends(KEY_RSA_2048);
}

/* It never leaves the token, whoever asks. */
static void a_key_that_was_made_cannot_be_had(void **state)
{
    struct buf uri = {0}, spki = {0};
    struct err err = {0};

    (void)state;
    configure("hsm", "pin", TIMEOUT_MS);
    assert_int_equal(token_keygen("hsm", KEY_EC_P256, "kept", &uri, &spki, &err), 0);
    buf_append_u8(&uri, 0);
    assert_int_equal(strncmp((const char *)uri.p, "pkcs11:token=hsm;object=kept;id=%", 33), 0);
    assert_int_equal(run((const char *const[]){
                         "sh", "-c",
                         "pkcs11-tool --module " SOFTHSM " --token-label hsm --login --pin 1234 "
                         "--list-objects --type privkey | grep -A 4 'label: *kept' | "
                         "grep 'Access: *sensitive, .*never extractable'",
                         NULL}),
                     0);
    assert_int_equal(token_destroy((const char *)uri.p, uri.len - 1, &err), 0);
    buf_fini(&uri);
    buf_fini(&spki);
}

static void a_key_cannot_be_made_in_a_token_in_trouble(void **state)
{
    struct buf uri = {0}, spki = {0};
    struct err err = {0};

    (void)state;
    configure("hsm", "pin", TIMEOUT_MS);
    assert_int_equal(token_keygen("soft", KEY_EC_P256, "x", &uri, &spki, &err), -ERR_NOT_FOUND);
    tell("rv", "0xe0");
    assert_int_equal(token_keygen("hsm", KEY_EC_P256, "x", &uri, &spki, &err), -ERR_CLOSED);
    assert_non_null(strstr(err.msg, "CKR_TOKEN_NOT_PRESENT"));
    assert_int_equal(status().state, TOKEN_ABSENT);
    assert_int_equal(uri.len + spki.len, 0);
    tell("rv", NULL);
    while (token_keygen("hsm", KEY_EC_P256, "back", &uri, &spki, &err) != 0)
        moment();
    assert_int_equal(token_destroy((const char *)uri.p, uri.len, &err), 0);
    buf_fini(&uri);
    buf_fini(&spki);
}

/* -- a slow one holds up nobody else
 * --------------------------------------------------------------- */

static void wait_blocked(void)
{
    int64_t until_ms = clock_boot_ms() + 60000;

    while (counted("blocked") == 0) {
        assert_true(clock_boot_ms() < until_ms);
        moment();
    }
}

static void others_go_on_while_it_signs(void **state)
{
    struct cred *c, *plain = pki_cred("press-new");
    struct pair slow, other;

    (void)state;
    configure("hsm", "pin", TIMEOUT_MS);
    c = load("press-07", "pkcs11:object=press-07");
    tell("block", "");
    pair_init(&slow, c, TLS_V13, false);
    pump(&slow);
    assert_int_equal(slow.client.status, TLS_AWAY);
    wait_blocked();
    for (int i = 0; i < 5; i++) { /* on this very thread */
        pair_init(&other, plain, TLS_V13, false);
        pump(&other);
        both_established(&other);
        pair_fini(&other);
    }
    assert_false(is_back(&slow));
    assert_int_equal(tls_conn_handshake(slow.client.conn), TLS_AWAY);
    assert_false(tls_conn_established(slow.client.conn));
    assert_false(tls_conn_cert_sent(slow.client.conn));
    tell("block", NULL);
    pump_all(&slow);
    both_established(&slow);
    pair_fini(&slow);
    cred_unref(plain);
    cred_unref(c);
}

/* In its token's hands, in its queue, and on its way back. */
static void a_connection_is_freed_at_any_time(void **state)
{
    struct cred *c;
    struct pair first, queued, back;

    (void)state;
    configure("hsm", "pin", TIMEOUT_MS);
    c = load("press-07", "pkcs11:object=press-07");
    pair_init(&back, c, TLS_V12, false);
    pump(&back);
    assert_int_equal(back.client.status, TLS_AWAY);
    wait_back(&back);
    tell("block", "");
    pair_init(&first, c, TLS_V13, false);
    pump(&first);
    wait_blocked();
    pair_init(&queued, c, TLS_V13, false);
    pump(&queued);
    pair_fini(&queued);
    pair_fini(&first);
    cred_unref(c);
    tell("block", NULL);
    pair_fini(&back);
    assert_null(tls_step_take(back.back));
    c = load("press-07", "pkcs11:object=press-07"); /* its thread is well */
    shake(c, TLS_V13, false);
    cred_unref(c);
}

static void one_that_does_not_answer_is_not_waited_for(void **state)
{
    struct cred *c, *d;
    struct pair p;

    (void)state;
    configure("hsm", "pin", TIMEOUT_MS);
    c = load("press-07", "pkcs11:object=press-07");
    configure("hsm", "pin", 50);
    tell("block", "");
    pair_init(&p, c, TLS_V13, false);
    pump(&p);
    state_becomes(TOKEN_SILENT);
    assert_false(usable(c, "silent"));
    d = load("press-p384", "pkcs11:object=press-p384");
    assert_false(usable(d, "silent"));
    tell("block", NULL);
    pump_all(&p);
    both_established(&p);
    becomes_usable(d, "silent");
    configure("hsm", "pin", TIMEOUT_MS);
    shake(d, TLS_V13, false);
    pair_fini(&p);
    cred_unref(c);
    cred_unref(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* a login is the process's: before anybody else has one */
        cmocka_unit_test(a_wrong_pin_is_tried_once),
        cmocka_unit_test(a_pin_that_others_may_read_is_not_read),
        cmocka_unit_test(every_kind_of_key_signs),
        cmocka_unit_test(a_large_rsa_key_signs),
        cmocka_unit_test(a_key_is_named_by_its_id_alone),
        cmocka_unit_test(a_key_that_is_not_the_certificates_is_refused),
        cmocka_unit_test(a_key_without_its_public_half_is_proven),
        cmocka_unit_test(two_keys_of_one_name_are_refused),
        cmocka_unit_test(a_listener_has_its_key_in_a_file),
        cmocka_unit_test(a_token_that_is_away_comes_back),
        cmocka_unit_test(a_token_may_come_after_its_credential),
        cmocka_unit_test(a_session_that_was_lost_is_opened_again),
        cmocka_unit_test(a_wrong_signature_does_not_go_out),
        cmocka_unit_test(a_token_without_raw_rsa_says_so),
        cmocka_unit_test(a_module_that_is_none_is_said),
        cmocka_unit_test(tokens_are_told_apart),
        cmocka_unit_test(a_key_is_made_signs_its_request_and_ends),
        cmocka_unit_test(a_key_that_was_made_cannot_be_had),
        cmocka_unit_test(a_key_cannot_be_made_in_a_token_in_trouble),
        cmocka_unit_test(others_go_on_while_it_signs),
        cmocka_unit_test(a_connection_is_freed_at_any_time),
        cmocka_unit_test(one_that_does_not_answer_is_not_waited_for),
    };

    if (access(SOFTHSM, R_OK) != 0) {
        fputs("no SoftHSM on this machine (apt-get install softhsm2 opensc)\n", stderr);
        return 77;
    }
    return cmocka_run_group_tests(tests, setup, teardown);
}
