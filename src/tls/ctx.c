#include "tls/ctx.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/durable.h"
#include "base/str.h"
#include "tls/wolf.h"

#define MAX_ANCHOR_FILE_BYTES (4 * 1024 * 1024)
#define MIN_RSA_BITS          2048
#define SUITE_BYTES           64

/* An explicit list always: the library's own has suites without authentication or encryption in
 * some builds. AES-128 first: it is the cheapest, and good enough. */
#define SUITES_TLS13 \
    "TLS13-AES128-GCM-SHA256:TLS13-AES256-GCM-SHA384:TLS13-CHACHA20-POLY1305-SHA256"
#define SUITES_TLS12                                             \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:" \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:" \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
/* For sensors that know nothing better: CBC, and key exchange by RSA. */
#define SUITES_LEGACY                                                                          \
    "ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256:"                                       \
    "ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA:" \
    "AES128-GCM-SHA256:AES128-SHA256:AES128-SHA:AES256-SHA:DES-CBC3-SHA"

/* -- the library ------------------------------------------------------------------------------- */

int tls_init(struct err *err)
{
    int rc = wolfSSL_Init();

    if (rc != WOLFSSL_SUCCESS)
        return err_set(err, ERR_TLS,
                       "the TLS library does not start (code %d): look at its installation", rc);
    return 0;
}

void tls_fini(void)
{
    wolfSSL_Cleanup();
}

const char *tls_library(void)
{
    return "wolfSSL " LIBWOLFSSL_VERSION_STRING;
}

/* -- trust anchors -------------------------------------------------------------------------------
 */

static int anchor_refused(const struct cert_info *ci, int rc, struct err *err)
{
    char fp[CERT_FP_TEXT], text[80];

    str_hex(fp, ci->fp, CERT_FP_BYTES);
    wolfSSL_ERR_error_string_n((unsigned long)rc, text, sizeof(text));
    return err_set(err, ERR_TLS,
                   "%s (sha256 %.16s..) cannot be an anchor: %s: take it out of the file",
                   ci->subject, fp, text);
}

static int anchor_add(void *arg, const uint8_t *der, size_t n, struct err *err)
{
    struct tls_ctx *ctx = arg;
    struct cert_info *ci = cert_info_new(der, n, err);
    int rc;

    if (ci == NULL)
        return -ERR_SYNTAX;
    rc = wolfSSL_CTX_load_verify_buffer(ctx->wolf, der, (long)n, WOLFSSL_FILETYPE_ASN1);
    if (rc == WOLFSSL_SUCCESS) {
        ctx->anchors.loaded++;
        rc = 0;
    } else if (rc == ASN_AFTER_DATE_E) {
        /* Its time has come while the others still serve: no reason to close the whole listener. */
        ctx->anchors.expired++;
        rc = 0;
    } else {
        rc = anchor_refused(ci, rc, err);
    }
    cert_info_free(ci);
    return rc;
}

static int anchor_file(struct tls_ctx *ctx, const char *path, struct err *err)
{
    struct buf text = {0};
    int rc = durable_read(path, MAX_ANCHOR_FILE_BYTES, &text, err);

    if (rc != 0)
        return rc;
    rc = text.len == 0 ? 0 : cert_pem_each((const char *)text.p, text.len, anchor_add, ctx, err);
    if (rc == 0)
        rc = err_set(err, ERR_SYNTAX,
                     "holds no certificate: put the CA's certificate there, as PEM");
    buf_fini(&text);
    return rc > 0 ? 0 : err_wrap(err, rc, "%s", path);
}

static int anchors_load(struct tls_ctx *ctx, const char *const *paths, size_t count,
                        struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        int rc = anchor_file(ctx, paths[i], err);

        if (rc != 0)
            return rc;
    }
    if (count > 0 && ctx->anchors.loaded == 0)
        return err_set(
            err, ERR_INVALID,
            "every trust anchor has expired (%s): add the CA's new certificate, and check the "
            "clock",
            paths[0]);
    return 0;
}

/* -- versions and ciphers ---------------------------------------------------------------------- */

/* The library's numbers for SetMinVersion. */
static int wolf_version(enum tls_version v)
{
    switch (v) {
    case TLS_V10:
        return WOLFSSL_TLSV1;
    case TLS_V11:
        return WOLFSSL_TLSV1_1;
    case TLS_V12:
        return WOLFSSL_TLSV1_2;
    case TLS_V13:
        break;
    }
    return WOLFSSL_TLSV1_3;
}

static const char *version_text(enum tls_version v)
{
    switch (v) {
    case TLS_V10:
        return "TLS 1.0";
    case TLS_V11:
        return "TLS 1.1";
    case TLS_V12:
        return "TLS 1.2";
    case TLS_V13:
        break;
    }
    return "TLS 1.3";
}

static WOLFSSL_METHOD *method_for(bool server, enum tls_version min, enum tls_version max)
{
    if (min == TLS_V13)
        return server ? wolfTLSv1_3_server_method() : wolfTLSv1_3_client_method();
    if (max >= TLS_V12)
        return server ? wolfSSLv23_server_method() : wolfSSLv23_client_method();
#ifndef NO_OLD_TLS
    if (max == TLS_V11)
        return server ? wolfTLSv1_1_server_method() : wolfTLSv1_1_client_method();
#endif
#ifdef WOLFSSL_ALLOW_TLSV10
    if (max == TLS_V10)
        return server ? wolfTLSv1_server_method() : wolfTLSv1_client_method();
#endif
    return NULL;
}

static int versions_check(enum tls_version min, enum tls_version max, struct err *err)
{
    if (min > max)
        return err_set(err, ERR_INVALID,
                       "the oldest TLS version (%s) is newer than the newest (%s): swap them",
                       version_text(min), version_text(max));
    if (min < WOLF_OLDEST)
        return err_set(err, ERR_INVALID,
                       "this build's TLS library has no %s: raise the oldest version to %s",
                       version_text(min), version_text(WOLF_OLDEST));
    if (max < TLS_V12 && min < max)
        return err_set(err, ERR_INVALID,
                       "TLS 1.0 to 1.1 is no possible range: set the newest version to 1.2");
    return 0;
}

static bool suite_known(const char *name)
{
    byte first, second;
    int flags;

    return wolfSSL_get_cipher_suite_from_name(name, &first, &second, &flags) == 0;
}

static bool suite_is_13(const char *name)
{
    return strncmp(name, "TLS13-", 6) == 0 || strncmp(name, "TLS_AES_", 8) == 0 ||
           strncmp(name, "TLS_CHACHA20_", 13) == 0;
}

/* Every name of the list must be known: the library passes over those that are not. */
static int suites_check(const char *list, bool *names_13, struct err *err)
{
    *names_13 = false;
    while (*list != '\0') {
        size_t n = strcspn(list, ":");
        char name[SUITE_BYTES];

        snprintf(name, sizeof(name), "%.*s", (int)(n < sizeof(name) ? n : sizeof(name) - 1), list);
        if (n > 0 && !suite_known(name))
            return err_set(err, ERR_INVALID,
                           "ciphers: the TLS library does not know '%s': take it out of the list",
                           name);
        if (suite_is_13(name))
            *names_13 = true;
        list += n + (list[n] == ':');
    }
    return 0;
}

/* The default list, without names that this build of the library lacks.  Returns owned or NULL. */
static char *suites_default(enum tls_version min, enum tls_version max)
{
    const char *parts[] = {max >= TLS_V13 ? SUITES_TLS13 : "",
                           min <= TLS_V12 && max >= TLS_V12 ? SUITES_TLS12 : "",
                           min < TLS_V12 ? SUITES_LEGACY : ""};
    struct buf out = {0};

    for (size_t i = 0; i < 3; i++) {
        for (const char *p = parts[i]; *p != '\0';) {
            size_t n = strcspn(p, ":");
            char name[SUITE_BYTES];

            snprintf(name, sizeof(name), "%.*s", (int)n, p);
            if (suite_known(name) && buf_printf(&out, "%s%s", out.len > 0 ? ":" : "", name) != 0)
                goto nomem;
            p += n + (p[n] == ':');
        }
    }
    if (buf_append_u8(&out, 0) == 0)
        return (char *)out.p;
nomem:
    buf_fini(&out);
    return NULL;
}

static int suites_set(struct tls_ctx *ctx, const char *ciphers, enum tls_version min,
                      enum tls_version max, struct err *err)
{
    bool names_13 = false;
    char *list;
    int rc = 0;

    if (ciphers == NULL) {
        list = suites_default(min, max);
    } else {
        rc = suites_check(ciphers, &names_13, err);
        if (rc != 0)
            return rc;
        list = max >= TLS_V13 && !names_13 ? str_printf("%s:%s", SUITES_TLS13, ciphers)
                                           : strdup(ciphers);
    }
    if (list == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (wolfSSL_CTX_set_cipher_list(ctx->wolf, list) != WOLFSSL_SUCCESS)
        rc = err_set(err, ERR_INVALID, "ciphers: the TLS library has none of '%s'", list);
    free(list);
    return rc;
}

static int versions_set(struct tls_ctx *ctx, enum tls_version min, enum tls_version max,
                        struct err *err)
{
    if (min < TLS_V13 && max >= TLS_V12 &&
        wolfSSL_CTX_SetMinVersion(ctx->wolf, wolf_version(min)) != WOLFSSL_SUCCESS)
        return err_set(err, ERR_TLS, "the TLS library does not take %s as its oldest version",
                       version_text(min));
    if (max == TLS_V12)
        wolfSSL_CTX_set_options(ctx->wolf, WOLFSSL_OP_NO_TLSv1_3);
    return 0;
}

/* -- both sides ----------------------------------------------------------------------------------
 */

static struct tls_ctx *ctx_new(bool server, enum tls_version min, enum tls_version max,
                               const char *ciphers, struct err *err)
{
    struct tls_ctx *ctx = NULL;
    WOLFSSL_METHOD *method;

    if (versions_check(min, max, err) != 0)
        return NULL;
    ctx = calloc(1, sizeof(*ctx));
    method = ctx == NULL ? NULL : method_for(server, min, max);
    if (method != NULL) {
        atomic_init(&ctx->refs, 1);
        ctx->server = server;
        ctx->wolf = wolfSSL_CTX_new(method); /* takes the method */
    }
    if (ctx == NULL || ctx->wolf == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        free(ctx);
        return NULL;
    }
    /* A resumed session would carry the identity of an earlier connection, and skip every check. */
    wolfSSL_CTX_set_session_cache_mode(ctx->wolf, WOLFSSL_SESS_CACHE_OFF);
    wolfSSL_CTX_SetIORecv(ctx->wolf, tls_conn_recv_cb);
    wolfSSL_CTX_SetIOSend(ctx->wolf, tls_conn_send_cb);
    if (versions_set(ctx, min, max, err) == 0 && suites_set(ctx, ciphers, min, max, err) == 0)
        return ctx;
    tls_ctx_unref(ctx);
    return NULL;
}

static int min_rsa_set(struct tls_ctx *ctx, unsigned bits, struct err *err)
{
    ctx->min_rsa_bits = bits == 0 ? MIN_RSA_BITS : bits;
    if (ctx->min_rsa_bits > 16384 ||
        wolfSSL_CTX_SetMinRsaKey_Sz(ctx->wolf, (short)ctx->min_rsa_bits) != WOLFSSL_SUCCESS)
        return err_set(err, ERR_INVALID,
                       "min_rsa_bits: %u is not possible: 1024 to 16384, a multiple of 8", bits);
    return 0;
}

/* The library makes some parts of a context with its first connection, without a lock: have that
 * done. */
static int prime(struct tls_ctx *ctx, struct err *err)
{
    WOLFSSL *first = wolfSSL_new(ctx->wolf);

    if (first == NULL)
        return err_set(err, ERR_TLS,
                       "the TLS library makes no connection of this context: out of memory?");
    wolfSSL_free(first);
    return 0;
}

/* -- server --------------------------------------------------------------------------------------
 */

static int sni_cb(WOLFSSL *ssl, int *alert, void *arg)
{
    const struct tls_ctx *ctx = arg;
    void *asked = NULL;
    word16 n = wolfSSL_SNI_GetRequest(ssl, WOLFSSL_SNI_HOST_NAME, &asked);
    char name[256];

    (void)alert;
    if (n == 0 || asked == NULL || n >= sizeof(name) || memchr(asked, 0, n) != NULL)
        return 0;
    for (size_t i = 0; i < n; i++)
        name[i] = (char)tolower(((unsigned char *)asked)[i]);
    name[n] = '\0';
    for (size_t i = 0; i < ctx->chain_count; i++) {
        if (str_glob(ctx->chains[i].glob, name))
            return cred_use(ctx->chains[i].cred, ssl, ctx->min_rsa_bits) == 0 ? 0 : fatal_return;
    }
    return 0;
}

static int default_chain(struct tls_ctx *ctx, struct cred *cred, struct err *err)
{
    struct der chain = cred_chain_der(cred), key = cred_key_der(cred);

    if (wolfSSL_CTX_use_certificate_chain_buffer_format(ctx->wolf, chain.p, (long)der_left(&chain),
                                                        WOLFSSL_FILETYPE_ASN1) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_use_PrivateKey_buffer(ctx->wolf, key.p, (long)der_left(&key),
                                          WOLFSSL_FILETYPE_ASN1) != WOLFSSL_SUCCESS)
        return err_set(err, ERR_TLS, "the TLS library does not take the chain of %s",
                       cred_leaf(cred)->subject);
    return 0;
}

static int sni_chain(struct tls_ctx *ctx, const struct tls_server_chain *from, struct err *err)
{
    struct tls_sni_chain *to = &ctx->chains[ctx->chain_count];

    to->glob = strdup(from->sni_glob);
    if (to->glob == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (char *p = to->glob; *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    to->cred = cred_ref(from->cred);
    ctx->chain_count++;
    return 0;
}

static int chains_set(struct tls_ctx *ctx, const struct tls_server_args *args, struct err *err)
{
    bool have_default = false;
    int rc = 0;

    ctx->chains = calloc(args->chain_count + 1, sizeof(*ctx->chains));
    if (ctx->chains == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; rc == 0 && i < args->chain_count; i++) {
        if (args->chains[i].sni_glob != NULL) {
            rc = sni_chain(ctx, &args->chains[i], err);
        } else if (!have_default) {
            have_default = true;
            rc = default_chain(ctx, args->chains[i].cred, err);
        }
    }
    if (rc == 0 && !have_default)
        rc = err_set(err, ERR_INVALID,
                     "no certificate chain without an sni pattern: add one for clients "
                     "that ask for no name");
    if (rc == 0 && ctx->chain_count > 0) {
        wolfSSL_CTX_set_servername_callback(ctx->wolf, sni_cb);
        wolfSSL_CTX_set_servername_arg(ctx->wolf, ctx);
    }
    return rc;
}

static int server_fill(struct tls_ctx *ctx, const struct tls_server_args *args, struct err *err)
{
    int mode = WOLFSSL_VERIFY_NONE;
    int rc;

    wolfSSL_CTX_no_ticket_TLSv13(ctx->wolf);
    wolfSSL_CTX_NoTicketTLSv12(ctx->wolf);
    if ((rc = chains_set(ctx, args, err)) != 0 ||
        (rc = min_rsa_set(ctx, args->min_rsa_bits, err)) != 0)
        return rc;
    ctx->client_cert = args->client_cert;
    if (args->client_cert != TLS_CLIENT_CERT_NONE) {
        if (args->anchor_count == 0)
            return err_set(
                err, ERR_INVALID,
                "client certificates are asked for, but there is no trust anchor: add the CA's file");
        mode = WOLFSSL_VERIFY_PEER;
        if (args->client_cert == TLS_CLIENT_CERT_REQUIRE)
            mode |= WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT;
        if ((rc = anchors_load(ctx, args->anchor_paths, args->anchor_count, err)) != 0)
            return rc;
    }
    wolfSSL_CTX_set_verify(ctx->wolf, mode,
                           mode == WOLFSSL_VERIFY_NONE ? NULL : tls_conn_verify_cb);
    return prime(ctx, err);
}

struct tls_ctx *tls_ctx_new_server(const struct tls_server_args *args, struct err *err)
{
    struct tls_ctx *ctx = ctx_new(true, args->min, args->max, args->ciphers, err);

    if (ctx != NULL && server_fill(ctx, args, err) != 0) {
        tls_ctx_unref(ctx);
        ctx = NULL;
    }
    if (ctx == NULL)
        err_wrap(err, 0, "listener %s", args->name);
    return ctx;
}

/* -- client --------------------------------------------------------------------------------------
 */

static int client_fill(struct tls_ctx *ctx, const struct tls_client_args *args, struct err *err)
{
    int rc;

    if (args->anchor_count == 0)
        return err_set(err, ERR_INVALID,
                       "there is no trust anchor: add the file with the CA of its servers");
    if ((rc = min_rsa_set(ctx, 0, err)) != 0 ||
        (rc = anchors_load(ctx, args->anchor_paths, args->anchor_count, err)) != 0)
        return rc;
    wolfSSL_CTX_set_verify(ctx->wolf, WOLFSSL_VERIFY_PEER, tls_conn_verify_cb);
    return prime(ctx, err);
}

struct tls_ctx *tls_ctx_new_client(const struct tls_client_args *args, struct err *err)
{
    struct tls_ctx *ctx = ctx_new(false, args->min, args->max, args->ciphers, err);

    if (ctx != NULL && client_fill(ctx, args, err) != 0) {
        tls_ctx_unref(ctx);
        ctx = NULL;
    }
    if (ctx == NULL)
        err_wrap(err, 0, "upstream %s", args->name);
    return ctx;
}

/* -- sharing -------------------------------------------------------------------------------------
 */

struct tls_ctx *tls_ctx_ref(struct tls_ctx *ctx)
{
    if (ctx != NULL)
        atomic_fetch_add_explicit(&ctx->refs, 1, memory_order_relaxed);
    return ctx;
}

void tls_ctx_unref(struct tls_ctx *ctx)
{
    if (ctx == NULL || atomic_fetch_sub_explicit(&ctx->refs, 1, memory_order_acq_rel) != 1)
        return;
    wolfSSL_CTX_free(ctx->wolf);
    for (size_t i = 0; i < ctx->chain_count; i++) {
        cred_unref(ctx->chains[i].cred);
        free(ctx->chains[i].glob);
    }
    free(ctx->chains);
    free(ctx);
}

const struct tls_anchors *tls_ctx_anchors(const struct tls_ctx *ctx)
{
    return &ctx->anchors;
}
