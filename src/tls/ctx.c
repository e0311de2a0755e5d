#include "tls/ctx.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/durable.h"
#include "base/str.h"
#include "tls/wolf.h"

#define MAX_ANCHOR_FILE_BYTES ((size_t)4 * 1024 * 1024)
#define MIN_RSA_BITS          2048
#define MAX_RSA_BITS          16384
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

void tls_thread_fini(void)
{
#ifdef FP_ECC
    wc_ecc_fp_free();
#endif
}

const char *tls_library(void)
{
    return "wolfSSL " LIBWOLFSSL_VERSION_STRING;
}

bool tls_has_version(enum tls_version v)
{
    return v >= WOLF_OLDEST && v <= TLS_V13;
}

/* -- trust anchors -------------------------------------------------------------------------------
 */

/* Where the anchors of a file go. */
struct anchor_sink {
    WOLFSSL_CTX *wolf;
    struct tls_anchors *count;
    struct buf *hashes;
};

static bool has_hash(const struct tls_ctx *ctx, const uint8_t hash[WC_SHA256_DIGEST_SIZE])
{
    for (size_t at = 0; at < ctx->anchor_hashes.len; at += WC_SHA256_DIGEST_SIZE)
        if (memcmp(ctx->anchor_hashes.p + at, hash, WC_SHA256_DIGEST_SIZE) == 0)
            return true;
    return false;
}

bool tls_ctx_has_ca(const struct tls_ctx *ctx, struct der name)
{
    uint8_t hash[WC_SHA256_DIGEST_SIZE];

    return wc_Sha256Hash(name.p, (word32)der_left(&name), hash) == 0 && has_hash(ctx, hash);
}

bool tls_ctx_has_pinned(const struct tls_ctx *ctx, const struct cert_info *ci)
{
    return has_hash(ctx, ci->fp);
}

/* To the library every anchor is a CA.  One that says that it is none may vouch for itself alone,
 * or the holder of its key could issue certificates for everybody. */
static int anchor_keep(struct buf *hashes, const struct cert_info *ci, const uint8_t *der, size_t n)
{
    struct der issuer, subject;
    uint8_t hash[WC_SHA256_DIGEST_SIZE];

    if (ci->is_no_ca)
        return buf_append(hashes, ci->fp, sizeof(ci->fp));
    if (!cert_names(der, n, &issuer, &subject) ||
        wc_Sha256Hash(subject.p, (word32)der_left(&subject), hash) != 0)
        return -ERR_NOMEM;
    return buf_append(hashes, hash, sizeof(hash));
}

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
    const struct anchor_sink *sink = arg;
    struct cert_info *ci = cert_info_new(der, n, err);
    int rc;

    if (ci == NULL)
        return -ERR_SYNTAX;
    if (ci->not_after_s < clock_wall_s()) {
        /* Its time has come while the others still serve: no reason to close the whole listener. */
        sink->count->expired++;
        cert_info_free(ci);
        return 0;
    }
    if (!ci->is_ca && strcmp(ci->subject, ci->issuer) != 0) {
        rc = err_set(err, ERR_INVALID,
                     "%s is no CA: put the certificate of %s there, which issued it", ci->subject,
                     ci->issuer);
        cert_info_free(ci);
        return rc;
    }
    /* One that is not yet valid is taken: this clock may be wrong so soon after the start, and it
     * will be asked again for every certificate that the anchor vouches for. */
    rc = wolfSSL_CTX_load_verify_buffer_ex(sink->wolf, der, (long)n, WOLFSSL_FILETYPE_ASN1, 0,
                                           WOLFSSL_LOAD_FLAG_DATE_ERR_OKAY);
    if (rc == WOLFSSL_SUCCESS) {
        sink->count->loaded++;
        rc = anchor_keep(sink->hashes, ci, der, n);
    } else {
        rc = anchor_refused(ci, rc, err);
    }
    cert_info_free(ci);
    return rc;
}

static int anchor_file(struct anchor_sink *sink, const char *path, struct err *err)
{
    struct buf text = {0};
    int rc = durable_read(path, MAX_ANCHOR_FILE_BYTES, &text, err);

    if (rc != 0)
        return rc;
    rc = text.len == 0 ? 0 : cert_pem_each((const char *)text.p, text.len, anchor_add, sink, err);
    if (rc == 0)
        rc = err_set(err, ERR_SYNTAX,
                     "holds no certificate: put the CA's certificate there, as PEM");
    buf_fini(&text);
    return rc > 0 ? 0 : err_wrap(err, rc, "%s", path);
}

static int anchors_load(struct tls_ctx *ctx, WOLFSSL_CTX *wolf, const char *const *paths,
                        size_t count, struct err *err)
{
    struct tls_anchors anchors = {0};
    struct buf hashes = {0};
    struct anchor_sink sink = {wolf, &anchors, &hashes};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = anchor_file(&sink, paths[i], err);
    if (rc == 0 && anchors.loaded == 0)
        rc = err_set(err, ERR_EXPIRED,
                     "every trust anchor has expired (%s): add the CA's new certificate, and check "
                     "the clock",
                     paths[0]);
    if (rc != 0) {
        buf_fini(&hashes);
        return rc;
    }
    ctx->anchors = anchors;
    buf_fini(&ctx->anchor_hashes);
    ctx->anchor_hashes = hashes;
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
    if (!tls_has_version(min))
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

static int suites_set(WOLFSSL_CTX *wolf, const char *ciphers, enum tls_version min,
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
    if (wolfSSL_CTX_set_cipher_list(wolf, list) != WOLFSSL_SUCCESS)
        rc = err_set(err, ERR_INVALID, "ciphers: the TLS library has none of '%s'", list);
    free(list);
    return rc;
}

static int versions_set(WOLFSSL_CTX *wolf, enum tls_version min, enum tls_version max,
                        struct err *err)
{
    if (min < TLS_V13 && max >= TLS_V12 &&
        wolfSSL_CTX_SetMinVersion(wolf, wolf_version(min)) != WOLFSSL_SUCCESS)
        return err_set(err, ERR_TLS, "the TLS library does not take %s as its oldest version",
                       version_text(min));
    if (max == TLS_V12)
        wolfSSL_CTX_set_options(wolf, WOLFSSL_OP_NO_TLSv1_3);
    return 0;
}

/* -- both sides ----------------------------------------------------------------------------------
 */

/* A context of the library with what both sides need.  Returns owned or NULL. */
static WOLFSSL_CTX *wolf_new(bool server, enum tls_version min, enum tls_version max,
                             const char *ciphers, struct err *err)
{
    WOLFSSL_METHOD *method;
    WOLFSSL_CTX *wolf;

    if (versions_check(min, max, err) != 0)
        return NULL;
    method = method_for(server, min, max);
    wolf = method == NULL ? NULL : wolfSSL_CTX_new(method); /* takes the method */
    if (wolf == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    /* A resumed session would carry the identity of an earlier connection, and skip every check. */
    wolfSSL_CTX_set_session_cache_mode(wolf, WOLFSSL_SESS_CACHE_OFF);
    wolfSSL_CTX_SetIORecv(wolf, tls_conn_recv_cb);
    wolfSSL_CTX_SetIOSend(wolf, tls_conn_send_cb);
    if (versions_set(wolf, min, max, err) == 0 && suites_set(wolf, ciphers, min, max, err) == 0)
        return wolf;
    wolfSSL_CTX_free(wolf);
    return NULL;
}

static struct tls_ctx *ctx_new(bool server, unsigned min_rsa_bits, struct err *err)
{
    struct tls_ctx *ctx = calloc(1, sizeof(*ctx));

    if (ctx == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    atomic_init(&ctx->refs, 1);
    ctx->server = server;
    ctx->min_rsa_bits = min_rsa_bits == 0 ? MIN_RSA_BITS : min_rsa_bits;
    return ctx;
}

static int min_rsa_set(WOLFSSL_CTX *wolf, unsigned bits, struct err *err)
{
    if (bits > MAX_RSA_BITS || wolfSSL_CTX_SetMinRsaKey_Sz(wolf, (short)bits) != WOLFSSL_SUCCESS)
        return err_set(err, ERR_INVALID,
                       "min_rsa_bits: %u is not possible: up to %d, and a multiple of 8", bits,
                       MAX_RSA_BITS);
    return 0;
}

/* The library makes some parts of a context with its first connection, without a lock: have that
 * done. */
static int prime(WOLFSSL_CTX *wolf, struct err *err)
{
    WOLFSSL *first = wolfSSL_new(wolf);

    if (first == NULL)
        return err_set(err, ERR_TLS,
                       "the TLS library makes no connection of this context: out of memory?");
    wolfSSL_free(first);
    return 0;
}

/* -- server --------------------------------------------------------------------------------------
 */

bool tls_ctx_hello_complete(const uint8_t *hello, size_t n)
{
    if (n == 0)
        return false;
    if (hello[0] != 22) /* no handshake: the library will say so */
        return true;
    return n >= 5 && n >= 5 + ((size_t)hello[3] << 8 | hello[4]);
}

WOLFSSL_CTX *tls_ctx_for_hello(const struct tls_ctx *ctx, const uint8_t *hello, size_t n)
{
    char name[256];
    word32 len = sizeof(name) - 1;

    if (wolfSSL_SNI_GetFromBuffer(hello, (word32)n, WOLFSSL_SNI_HOST_NAME, (byte *)name, &len) !=
            WOLFSSL_SUCCESS ||
        memchr(name, 0, len) != NULL)
        return ctx->wolf;
    name[len] = '\0';
    for (char *p = name; *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    for (size_t i = 0; i < ctx->chain_count; i++)
        if (str_glob(ctx->chains[i].glob, name))
            return ctx->chains[i].wolf;
    return ctx->wolf;
}

static int own_chain_set(WOLFSSL_CTX *wolf, const struct cred *cred, struct err *err)
{
    struct der chain = cred_chain_der(cred), key = cred_key_der(cred);

    if (wolfSSL_CTX_use_certificate_chain_buffer_format(wolf, chain.p, (long)der_left(&chain),
                                                        WOLFSSL_FILETYPE_ASN1) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_use_PrivateKey_buffer(wolf, key.p, (long)der_left(&key),
                                          WOLFSSL_FILETYPE_ASN1) != WOLFSSL_SUCCESS)
        return err_set(err, ERR_TLS, "the TLS library does not take the chain of %s",
                       cred_leaf(cred)->subject);
    return 0;
}

static int verify_mode(enum tls_client_cert policy)
{
    switch (policy) {
    case TLS_CLIENT_CERT_NONE:
        return WOLFSSL_VERIFY_NONE;
    case TLS_CLIENT_CERT_REQUEST:
        return WOLFSSL_VERIFY_PEER;
    case TLS_CLIENT_CERT_REQUIRE:
        break;
    }
    return WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT;
}

/* The library's context for one chain of the listener.  Returns owned or NULL. */
static WOLFSSL_CTX *wolf_new_server(struct tls_ctx *ctx, const struct tls_server_args *args,
                                    const struct cred *cred, struct err *err)
{
    WOLFSSL_CTX *wolf = wolf_new(true, args->min, args->max, args->ciphers, err);
    int mode = verify_mode(args->client_cert);

    if (wolf == NULL)
        return NULL;
    wolfSSL_CTX_no_ticket_TLSv13(wolf);
    wolfSSL_CTX_NoTicketTLSv12(wolf);
    if (own_chain_set(wolf, cred, err) != 0 || min_rsa_set(wolf, ctx->min_rsa_bits, err) != 0)
        goto refused;
    if (mode != WOLFSSL_VERIFY_NONE) {
        if (anchors_load(ctx, wolf, args->anchor_paths, args->anchor_count, err) != 0)
            goto refused;
        wolfSSL_CTX_set_verify(wolf, mode, tls_conn_verify_cb);
    } else {
        wolfSSL_CTX_set_verify(wolf, mode, NULL);
    }
    if (min_rsa_set(wolf, cred_min_rsa_bits(cred, ctx->min_rsa_bits), err) == 0 &&
        prime(wolf, err) == 0)
        return wolf;
refused:
    wolfSSL_CTX_free(wolf);
    return NULL;
}

static int sni_chain_add(struct tls_ctx *ctx, const struct tls_server_args *args,
                         const struct tls_server_chain *from, struct err *err)
{
    struct tls_sni_chain *to = &ctx->chains[ctx->chain_count];

    to->glob = strdup(from->sni_glob);
    if (to->glob == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    ctx->chain_count++;
    for (char *p = to->glob; *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    to->wolf = wolf_new_server(ctx, args, from->cred, err);
    return to->wolf == NULL ? -ERR_TLS : 0;
}

static int server_fill(struct tls_ctx *ctx, const struct tls_server_args *args, struct err *err)
{
    int rc = 0;

    if (args->client_cert != TLS_CLIENT_CERT_NONE && args->anchor_count == 0)
        return err_set(err, ERR_INVALID,
                       "client certificates are asked for, but there is no trust anchor: add the "
                       "CA's file");
    ctx->client_cert = args->client_cert;
    ctx->chains = calloc(args->chain_count + 1, sizeof(*ctx->chains));
    if (ctx->chains == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; rc == 0 && i < args->chain_count; i++) {
        if (args->chains[i].sni_glob != NULL) {
            rc = sni_chain_add(ctx, args, &args->chains[i], err);
        } else if (ctx->wolf == NULL) {
            ctx->wolf = wolf_new_server(ctx, args, args->chains[i].cred, err);
            rc = ctx->wolf == NULL ? -ERR_TLS : 0;
        } else {
            rc = err_set(
                err, ERR_INVALID,
                "two certificate chains without an sni pattern: give one of them a pattern");
        }
    }
    if (rc == 0 && ctx->wolf == NULL)
        rc = err_set(err, ERR_INVALID,
                     "no certificate chain without an sni pattern: add one for clients that ask "
                     "for no name");
    return rc;
}

struct tls_ctx *tls_ctx_new_server(const struct tls_server_args *args, struct err *err)
{
    struct tls_ctx *ctx = ctx_new(true, args->min_rsa_bits, err);

    if (ctx != NULL && server_fill(ctx, args, err) == 0)
        return ctx;
    tls_ctx_unref(ctx);
    return NULL;
}

/* -- client --------------------------------------------------------------------------------------
 */

/* The key share that the first flight carries: X25519 costs a fraction of P-256.  A server without
 * it asks for another one (RFC 8446, 4.1.4). */
static int groups_set(WOLFSSL_CTX *wolf, enum tls_version max, struct err *err)
{
    int groups[] = {WOLFSSL_ECC_X25519, WOLFSSL_ECC_SECP256R1, WOLFSSL_ECC_SECP384R1,
                    WOLFSSL_ECC_SECP521R1};

    /* Up to 1.2 the library would name the dearest one first, and servers follow. */
    for (size_t i = 0; max < TLS_V13 && i < sizeof groups / sizeof groups[0]; i++)
        if (wolfSSL_CTX_UseSupportedCurve(wolf, (word16)groups[i]) != WOLFSSL_SUCCESS)
            return err_set(err, ERR_TLS, "the library has not the usual groups for key exchange");
    if (max < TLS_V13)
        return 0;
    if (wolfSSL_CTX_set_groups(wolf, groups, sizeof groups / sizeof groups[0]) != WOLFSSL_SUCCESS)
        return err_set(err, ERR_TLS, "the library has not the usual groups for key exchange");
    return 0;
}

static int client_fill(struct tls_ctx *ctx, const struct tls_client_args *args, struct err *err)
{
    int rc;

    if (args->anchor_count == 0)
        return err_set(err, ERR_INVALID,
                       "there is no trust anchor: add the file with the CA of its servers");
    ctx->wolf = wolf_new(false, args->min, args->max, args->ciphers, err);
    if (ctx->wolf == NULL)
        return -ERR_TLS;
    rc = min_rsa_set(ctx->wolf, ctx->min_rsa_bits, err);
    if (rc == 0)
        rc = anchors_load(ctx, ctx->wolf, args->anchor_paths, args->anchor_count, err);
    if (rc == 0)
        rc = groups_set(ctx->wolf, args->max, err);
    if (rc != 0)
        return rc;
    wolfSSL_CTX_set_verify(ctx->wolf, WOLFSSL_VERIFY_PEER, tls_conn_verify_cb);
    return prime(ctx->wolf, err);
}

struct tls_ctx *tls_ctx_new_client(const struct tls_client_args *args, struct err *err)
{
    struct tls_ctx *ctx = ctx_new(false, 0, err);

    if (ctx != NULL && client_fill(ctx, args, err) == 0)
        return ctx;
    tls_ctx_unref(ctx);
    return NULL;
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
        wolfSSL_CTX_free(ctx->chains[i].wolf);
        free(ctx->chains[i].glob);
    }
    free(ctx->chains);
    buf_fini(&ctx->anchor_hashes);
    free(ctx);
}

const struct tls_anchors *tls_ctx_anchors(const struct tls_ctx *ctx)
{
    return &ctx->anchors;
}
