#include "tls/ctx.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#include "base/clock.h"
#include "base/str.h"
#include "tls/ocsp.h"
#include "tls/wolf.h"

#define MIN_RSA_BITS 2048
#define MAX_RSA_BITS 16384
#define SUITE_BYTES  64
#define MAX_STEPS    16 /* from a leaf to its anchor */

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

/* The library's own checks of dates; ours use clock_date_s themselves. */
static time_t date_now(time_t *out)
{
    time_t now = (time_t)clock_date_s();

    if (out != NULL)
        *out = now;
    return now;
}

/* A library built with --enable-armasm, as ours is not, has its AES, GCM and SHA-256 for arm64 from
 * instructions that ARMv8 leaves to the maker of the processor, and it does not ask: it would be
 * killed in the first handshake. */
static int processor_serves(struct err *err)
{
#if defined(__aarch64__) && defined(WOLFSSL_ARMASM)
    const unsigned long needed = HWCAP_AES | HWCAP_PMULL | HWCAP_SHA2;

    if ((getauxval(AT_HWCAP) & needed) != needed)
        return err_set(err, ERR_TLS,
                       "this processor has no instructions for AES and SHA-256, which the TLS "
                       "library was built with: build anew with a wolfSSL that does without "
                       "(--with-system-wolfssl)");
#endif
    (void)err;
    return 0;
}

int tls_init(struct err *err)
{
    int rc = processor_serves(err);

    if (rc != 0)
        return rc;
    rc = wolf_heap_init();
    if (rc == 0)
        rc = wolfSSL_Init();
    wc_SetTimeCb(date_now);
    if (rc != WOLFSSL_SUCCESS)
        return err_set(err, ERR_TLS,
                       "the TLS library does not start (code %d): look at its installation", rc);
    return token_keys_init(err);
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

static bool ocsp_seen;

/* Does the library come by the functions in staple.c? */
static void ocsp_probe(void)
{
    WOLFSSL_CERT_MANAGER *cm = wolfSSL_CertManagerNew();
    byte nothing[] = {DER_SEQUENCE, 0};

    if (cm != NULL && wolfSSL_CertManagerEnableOCSP(cm, 0) == WOLFSSL_SUCCESS)
        wolfSSL_CertManagerCheckOCSPResponse(cm, nothing, sizeof(nothing), NULL, NULL, NULL, NULL);
    ocsp_seen = staple_called();
    wolfSSL_CertManagerFree(cm);
}

bool tls_has_ocsp(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, ocsp_probe);
    return ocsp_seen;
}

/* -- trust anchors -------------------------------------------------------------------------------
 */

/* To the library every anchor is a CA.  One that says that it is none may vouch for itself alone,
 * or the holder of its key could issue certificates for everybody. */
static bool is_pinned(const struct tls_anchor *a)
{
    return a->info->is_no_ca;
}

const struct tls_anchor *tls_ctx_anchor_of(const struct tls_ctx *ctx, const uint8_t *der, size_t n)
{
    const struct tls_anchor *found = NULL;
    int64_t now_s = clock_date_s();

    for (size_t i = 0; i < ctx->anchor_count; i++) {
        const struct tls_anchor *a = ctx->anchors[i];

        if (is_pinned(a) || !tls_anchor_issued(a, der, n))
            continue;
        if (now_s >= a->info->not_before_s && now_s <= a->info->not_after_s)
            return a;
        found = a;
    }
    return found;
}

const struct tls_anchor *tls_ctx_aside_of(const struct tls_ctx *ctx, const uint8_t *der, size_t n)
{
    for (size_t i = 0; i < ctx->aside_count; i++)
        if (!is_pinned(ctx->aside[i]) && tls_anchor_issued(ctx->aside[i], der, n))
            return ctx->aside[i];
    return NULL;
}

bool tls_ctx_has_name(const struct tls_ctx *ctx, const uint8_t *der, size_t n)
{
    struct der wanted, name, unused;

    if (!cert_names(der, n, &wanted, &unused))
        return false;
    for (size_t i = 0; i < ctx->anchor_count; i++) {
        const struct tls_anchor *a = ctx->anchors[i];

        if (!is_pinned(a) && cert_names(a->der, a->der_len, &unused, &name) && der_eq(name, wanted))
            return true;
    }
    return false;
}

const struct tls_anchor *tls_ctx_pinned(const struct tls_ctx *ctx, const struct cert_info *ci)
{
    for (size_t i = 0; i < ctx->anchor_count; i++)
        if (is_pinned(ctx->anchors[i]) &&
            memcmp(ctx->anchors[i]->info->fp, ci->fp, CERT_FP_BYTES) == 0)
            return ctx->anchors[i];
    for (size_t i = 0; i < ctx->aside_count; i++)
        if (memcmp(ctx->aside[i]->info->fp, ci->fp, CERT_FP_BYTES) == 0)
            return ctx->aside[i];
    return NULL;
}

const struct tls_anchor *tls_ctx_helper_of(const struct tls_ctx *ctx, const uint8_t *der, size_t n)
{
    for (size_t i = 0; i < ctx->helper_count; i++)
        if (tls_anchor_issued(ctx->helpers[i], der, n))
            return ctx->helpers[i];
    return NULL;
}

/* The certificate of the chain that has issued `cert`; empty when there is none. */
static struct der issuer_in_chain(struct der chain, struct der cert)
{
    struct der one, body;
    uint8_t tag;

    while (der_any(&chain, &tag, &body, &one))
        if (cert_issued(one, cert))
            return one;
    return der_of(NULL, 0);
}

static const struct tls_anchor *anchor_for(const struct tls_trust *trust, struct der cert)
{
    for (size_t i = 0; i < trust->anchor_count; i++) {
        const struct tls_anchor *a = trust->anchors[i];

        if (der_eq(der_of(a->der, a->der_len), cert) ||
            tls_anchor_issued(a, cert.p, der_left(&cert)))
            return a;
    }
    return NULL;
}

const struct tls_anchor *tls_trust_root(const struct tls_trust *trust, const struct cred *c)
{
    struct der chain = cred_chain_der(c), rest = chain, cert, body;
    const struct tls_anchor *found;
    uint8_t tag;

    if (!der_any(&rest, &tag, &body, &cert))
        return NULL;
    for (int steps = 0; steps < MAX_STEPS; steps++) {
        struct der issuer = {0};

        found = anchor_for(trust, cert);
        if (found != NULL)
            return found;
        issuer = issuer_in_chain(chain, cert);
        for (size_t i = 0; issuer.p == NULL && i < trust->helper_count; i++)
            if (tls_anchor_issued(trust->helpers[i], cert.p, der_left(&cert)))
                issuer = der_of(trust->helpers[i]->der, trust->helpers[i]->der_len);
        if (issuer.p == NULL || der_eq(issuer, cert))
            return NULL;
        cert = issuer;
    }
    return NULL;
}

static int anchor_refused(const struct tls_anchor *a, int rc, struct err *err)
{
    char text[80];

    wolfSSL_ERR_error_string_n((unsigned long)rc, text, sizeof(text));
    rc = err_set(err, ERR_TLS,
                 "%s (sha256 %.16s..) cannot be an anchor: %s: take it out of the file",
                 a->info->subject, a->fp, text);
    return err_wrap(err, rc, "%s", a->from);
}

/* One that is not yet valid is taken: this clock may be wrong so soon after the start, and it will
 * be asked again for every certificate that the anchor vouches for. */
static int load_one(WOLFSSL_CTX *wolf, const struct tls_anchor *a)
{
    return wolfSSL_CTX_load_verify_buffer_ex(wolf, a->der, (long)a->der_len, WOLFSSL_FILETYPE_ASN1,
                                             0, WOLFSSL_LOAD_FLAG_DATE_ERR_OKAY);
}

/* What keeps an anchor from vouching for anybody, and an exception that names it can excuse. */
static unsigned needs_of(const struct tls_ctx *ctx, const struct tls_anchor *a)
{
    int64_t now_s = clock_date_s();
    unsigned needs;

    policy_faults(a->info, true, ctx->min_rsa_bits, (struct policy_now){now_s, now_s}, &needs);
    return needs &
           ~(unsigned)(TLS_ACCEPT_SHA1 | TLS_ACCEPT_MD5); /* nobody looks at its signature */
}

static bool is_excused(const struct tls_ctx *ctx, const struct tls_anchor *a)
{
    unsigned needs = needs_of(ctx, a);

    for (size_t i = 0; needs != 0 && i < ctx->exception_count; i++) {
        const struct tls_exception *e = &ctx->exceptions[i];

        if (e->has_anchor && (needs & ~e->accept) == 0 &&
            memcmp(e->anchor, a->info->fp, CERT_FP_BYTES) == 0)
            return true;
    }
    return false;
}

/* The context's anchors: those whose time has not come yet.  One that has expired is no reason to
 * close the whole listener while the others still serve. */
static int trust_take(struct tls_ctx *ctx, const struct tls_trust *trust, struct err *err)
{
    int64_t now_s = clock_date_s();

    ctx->anchors = calloc(trust->anchor_count + 1, sizeof(struct tls_anchor *));
    ctx->helpers = calloc(trust->helper_count + 1, sizeof(struct tls_anchor *));
    ctx->aside = calloc(trust->anchor_count + 1, sizeof(struct tls_anchor *));
    if (ctx->anchors == NULL || ctx->helpers == NULL || ctx->aside == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < trust->anchor_count; i++) {
        struct tls_anchor *a = trust->anchors[i];

        if (a->info->not_after_s < now_s)
            ctx->count.expired++;
        if (is_excused(ctx, a))
            ctx->aside[ctx->aside_count++] = tls_anchor_ref(a);
        else if (a->info->not_after_s >= now_s)
            ctx->anchors[ctx->anchor_count++] = tls_anchor_ref(a);
    }
    ctx->count.loaded = ctx->anchor_count;
    ctx->count.aside = ctx->aside_count;
    if (ctx->anchor_count == 0 && ctx->aside_count == 0 && !trust->nobody)
        return err_set(err, ERR_EXPIRED,
                       "every trust anchor has expired (%s): add the CA's new certificate, and "
                       "check the clock",
                       trust->anchors[0]->from);
    return 0;
}

/* To the library an intermediate that it is given is an anchor.  So it gets only those that an
 * anchor, or one that it has already, vouches for now; what can change later, their dates, is
 * looked at again for each peer. */
static int helpers_load(struct tls_ctx *ctx, WOLFSSL_CTX *wolf, const struct tls_trust *trust,
                        struct err *err)
{
    WOLFSSL_CERT_MANAGER *cm = wolfSSL_CTX_GetCertManager(wolf);
    bool *loaded = calloc(trust->helper_count + 1, sizeof(*loaded));
    bool first = ctx->count.helpers == 0;
    bool more = cm != NULL;

    if (loaded == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    while (more) {
        more = false;
        for (size_t i = 0; i < trust->helper_count; i++) {
            struct tls_anchor *a = trust->helpers[i];

            if (loaded[i] || !a->info->is_ca ||
                wolfSSL_CertManagerVerifyBuffer(cm, a->der, (long)a->der_len,
                                                WOLFSSL_FILETYPE_ASN1) != WOLFSSL_SUCCESS ||
                load_one(wolf, a) != WOLFSSL_SUCCESS)
                continue;
            loaded[i] = more = true;
            if (first)
                ctx->helpers[ctx->helper_count++] = tls_anchor_ref(a);
        }
    }
    ctx->count.helpers = ctx->helper_count;
    free(loaded);
    return 0;
}

/* Give one of the library's contexts what trust_take has chosen. */
static int anchors_load(struct tls_ctx *ctx, WOLFSSL_CTX *wolf, const struct tls_trust *trust,
                        struct err *err)
{
    for (size_t i = 0; i < ctx->anchor_count; i++) {
        int rc = load_one(wolf, ctx->anchors[i]);

        if (rc != WOLFSSL_SUCCESS)
            return anchor_refused(ctx->anchors[i], rc, err);
    }
    return helpers_load(ctx, wolf, trust, err);
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

/* Returns owned, or NULL with err. */
static char *suites_list(const char *ciphers, enum tls_version min, enum tls_version max,
                         struct err *err)
{
    bool names_13 = false;
    char *list;

    if (ciphers == NULL) {
        list = suites_default(min, max);
    } else {
        if (suites_check(ciphers, &names_13, err) != 0)
            return NULL;
        list = max >= TLS_V13 && !names_13 ? str_printf("%s:%s", SUITES_TLS13, ciphers)
                                           : strdup(ciphers);
    }
    if (list == NULL)
        err_set(err, ERR_NOMEM, "out of memory");
    return list;
}

static int suites_set(WOLFSSL_CTX *wolf, const char *ciphers, enum tls_version min,
                      enum tls_version max, struct err *err)
{
    char *list = suites_list(ciphers, min, max, err);
    int rc = 0;

    if (list == NULL)
        return -err->code;
    if (wolfSSL_CTX_set_cipher_list(wolf, list) != WOLFSSL_SUCCESS)
        rc = err_set(err, ERR_INVALID, "ciphers: the TLS library has none of '%s'", list);
    free(list);
    return rc;
}

/* A suite up to TLS 1.2 whose key exchange this program has: ECDHE, or by RSA. */
static bool suite_read(const char *name, struct chain_suite *out)
{
    static const char *const by_rsa[] = {"AES128-", "AES256-", "DES-CBC3-"};
    size_t n = strlen(name);
    byte first, second;
    int flags;

    if (suite_is_13(name) || wolfSSL_get_cipher_suite_from_name(name, &first, &second, &flags) != 0)
        return false;
    out->id = (uint16_t)(first << 8 | second);
    out->ecdsa = strncmp(name, "ECDHE-ECDSA-", 12) == 0;
    out->ecdhe = out->ecdsa || strncmp(name, "ECDHE-RSA-", 10) == 0;
    out->old = n > 4 && strcmp(name + n - 4, "-SHA") == 0;
    for (size_t i = 0; !out->ecdhe && i < sizeof(by_rsa) / sizeof(by_rsa[0]); i++)
        if (strncmp(name, by_rsa[i], strlen(by_rsa[i])) == 0)
            return true;
    return out->ecdhe;
}

/* What the choice of a chain has to know of the listener's suites. */
static int suites_learn(struct tls_ctx *ctx, const struct tls_server_args *args, struct err *err)
{
    char *list = suites_list(args->ciphers, args->min, args->max, err), *rest = list;
    size_t n = 0;

    if (list == NULL)
        return -err->code;
    ctx->suites = calloc(strlen(list) / 2 + 1, sizeof(*ctx->suites));
    for (char *name; ctx->suites != NULL && (name = strsep(&rest, ":")) != NULL;)
        if (suite_read(name, &ctx->suites[n]))
            n++;
    free(list);
    ctx->side = (struct chain_side){args->min, args->max, ctx->suites, n};
    return ctx->suites == NULL ? err_set(err, ERR_NOMEM, "out of memory") : 0;
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

static void crls_take(struct tls_ctx *ctx, struct crl_set *crls, enum crl_policy policy)
{
    ctx->crls = crl_set_ref(crls);
    ctx->crl_policy = policy;
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

uint64_t tls_ctx_near(const struct tls_ctx *ctx, const struct sockaddr *peer)
{
    uint64_t near = 0;

    for (size_t i = 0; i < ctx->chain_count; i++)
        if (chain_from(&ctx->chains[i].is, peer))
            near |= UINT64_C(1) << i;
    return near;
}

size_t tls_ctx_for_hello(const struct tls_ctx *ctx, uint64_t near, const uint8_t *hello, size_t n,
                         enum tls_chain_why *why)
{
    struct hello read;
    const struct hello *h = hello_read(hello, n, &read) ? &read : NULL;

    for (int named = 1; named >= 0; named--) {
        size_t usable = ctx->chain_count;

        for (size_t i = 0; i < ctx->chain_count; i++) {
            const struct chain *c = &ctx->chains[i].is;

            if (!chain_considered(c, h, (near >> i & 1) != 0, named == 1) ||
                (h != NULL && !chain_usable(c, h, &ctx->side)))
                continue;
            if (h != NULL && chain_verifiable(c, h)) {
                *why = TLS_CHAIN_FITS;
                return i;
            }
            if (usable == ctx->chain_count)
                usable = i;
        }
        if (usable < ctx->chain_count) {
            *why = TLS_CHAIN_USABLE;
            return usable;
        }
    }
    *why = TLS_CHAIN_LAST;
    return ctx->last_resort;
}

static int own_chain_set(WOLFSSL_CTX *wolf, const struct cred *cred, struct err *err)
{
    struct der chain = cred_chain_der(cred), key = cred_key_der(cred);
    bool taken;

    if (cred_in_token(cred)) /* every connection of a device would wait for it */
        return err_set(err, ERR_INVALID,
                       "the key of %s is in a token: a listener's key must be in a file",
                       cred_leaf(cred)->subject);
    wolf_secret_begin();
    taken = wolfSSL_CTX_use_certificate_chain_buffer_format(
                wolf, chain.p, (long)der_left(&chain), WOLFSSL_FILETYPE_ASN1) == WOLFSSL_SUCCESS &&
            wolfSSL_CTX_use_PrivateKey_buffer(wolf, key.p, (long)der_left(&key),
                                              WOLFSSL_FILETYPE_ASN1) == WOLFSSL_SUCCESS;
    wolf_secret_end();
    if (!taken)
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

/* The bound that the library gets: what an exception accepts has to come as far as the callback. */
static unsigned excused_rsa_bits(const struct tls_ctx *ctx)
{
    for (size_t i = 0; i < ctx->exception_count; i++)
        if ((ctx->exceptions[i].accept & TLS_ACCEPT_SMALL_KEY) != 0 &&
            ctx->min_rsa_bits > TLS_ACCEPT_RSA_BITS)
            return TLS_ACCEPT_RSA_BITS;
    return ctx->min_rsa_bits;
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
    /* Without it the ticket of another server (a sensor that was behind a broker before) is passed
     * over; with it one of more than 256 bytes ends the handshake. */
    wolfSSL_CTX_set_TicketEncCb(wolf, NULL);
    if (own_chain_set(wolf, cred, err) != 0 || min_rsa_set(wolf, ctx->min_rsa_bits, err) != 0)
        goto refused;
    if (mode != WOLFSSL_VERIFY_NONE) {
        if (anchors_load(ctx, wolf, &args->trust, err) != 0)
            goto refused;
        wolfSSL_CTX_set_verify(wolf, mode, tls_conn_verify_cb);
    } else {
        wolfSSL_CTX_set_verify(wolf, mode, NULL);
    }
    if (min_rsa_set(wolf, cred_min_rsa_bits(cred, excused_rsa_bits(ctx)), err) == 0 &&
        prime(wolf, err) == 0)
        return wolf;
refused:
    wolfSSL_CTX_free(wolf);
    return NULL;
}

static int chain_add(struct tls_ctx *ctx, const struct tls_server_args *args,
                     const struct tls_server_chain *from, struct err *err)
{
    struct tls_chain *to = &ctx->chains[ctx->chain_count++];
    int rc = chain_init(&to->is, from, err);

    if (rc != 0)
        return rc;
    to->wolf = wolf_new_server(ctx, args, from->cred, err);
    return to->wolf == NULL ? -ERR_TLS : 0;
}

static int chains_add(struct tls_ctx *ctx, const struct tls_server_args *args, struct err *err)
{
    int rc = 0;

    if (args->chain_count > TLS_CHAINS)
        return err_set(err, ERR_INVALID, "%zu certificate chains: at most %d", args->chain_count,
                       TLS_CHAINS);
    ctx->chains = calloc(args->chain_count + 1, sizeof(*ctx->chains));
    if (ctx->chains == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; rc == 0 && i < args->chain_count; i++)
        rc = chain_add(ctx, args, &args->chains[i], err);
    for (size_t i = 0; rc == 0 && i < ctx->chain_count; i++)
        if (chain_unconditional(&ctx->chains[i].is)) {
            ctx->last_resort = i;
            return 0;
        }
    return rc != 0 ? rc
                   : err_set(err, ERR_INVALID,
                             "no certificate chain without sni, networks and tls_max: add one for "
                             "clients that none of the others is for");
}

static int exceptions_copy(struct tls_ctx *ctx, const struct tls_server_args *args, struct err *err)
{
    ctx->exceptions = calloc(args->exception_count + 1, sizeof(*ctx->exceptions));
    if (ctx->exceptions == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (; ctx->exception_count < args->exception_count; ctx->exception_count++) {
        const struct tls_exception *from = &args->exceptions[ctx->exception_count];
        char *name = strdup(from->name), *device = strdup(from->device);

        if (name == NULL || device == NULL) {
            free(name);
            free(device);
            return err_set(err, ERR_NOMEM, "out of memory");
        }
        ctx->exceptions[ctx->exception_count] = *from;
        ctx->exceptions[ctx->exception_count].name = name;
        ctx->exceptions[ctx->exception_count].device = device;
    }
    return 0;
}

static void exceptions_free(struct tls_ctx *ctx)
{
    for (size_t i = 0; i < ctx->exception_count; i++) {
        free((char *)(uintptr_t)ctx->exceptions[i].name);
        free((char *)(uintptr_t)ctx->exceptions[i].device);
    }
    free(ctx->exceptions);
}

static int server_fill(struct tls_ctx *ctx, const struct tls_server_args *args, struct err *err)
{
    int rc = 0;

    if (args->client_cert != TLS_CLIENT_CERT_NONE && args->trust.anchor_count == 0 &&
        !args->trust.nobody)
        return err_set(err, ERR_INVALID,
                       "client certificates are asked for, but there is no trust anchor: add the "
                       "CA's file");
    rc = exceptions_copy(ctx, args, err);
    if (rc == 0 && args->client_cert != TLS_CLIENT_CERT_NONE)
        rc = trust_take(ctx, &args->trust, err);
    if (rc != 0)
        return rc;
    ctx->client_cert = args->client_cert;
    rc = chains_add(ctx, args, err);
    return rc != 0 ? rc : suites_learn(ctx, args, err);
}

struct tls_ctx *tls_ctx_new_server(const struct tls_server_args *args, struct err *err)
{
    struct tls_ctx *ctx = ctx_new(true, args->min_rsa_bits, err);

    if (ctx != NULL)
        crls_take(ctx, args->crls, args->crl_policy);
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

/* Each connection asks for itself (conn.c). */
static int ocsp_enable(struct tls_ctx *ctx, enum staple_policy policy, struct err *err)
{
    ctx->ocsp = policy;
    if (policy == STAPLE_OFF)
        return 0;
    if (!tls_has_ocsp())
        return err_set(
            err, ERR_INVALID,
            "ocsp: this build's TLS library (the distribution's) keeps stapled responses "
            "to itself: set it to \"off\", or build with a wolfSSL of its own");
    if (wolfSSL_CTX_EnableOCSPStapling(ctx->wolf) != WOLFSSL_SUCCESS)
        return err_set(err, ERR_TLS, "ocsp: the TLS library does not take it");
    return 0;
}

static int client_fill(struct tls_ctx *ctx, const struct tls_client_args *args, struct err *err)
{
    int rc;

    if (args->trust.anchor_count == 0 && !args->trust.nobody)
        return err_set(err, ERR_INVALID,
                       "there is no trust anchor: add the file with the CA of its servers");
    rc = trust_take(ctx, &args->trust, err);
    if (rc != 0)
        return rc;
    ctx->wolf = wolf_new(false, args->min, args->max, args->ciphers, err);
    if (ctx->wolf == NULL)
        return -ERR_TLS;
    rc = min_rsa_set(ctx->wolf, ctx->min_rsa_bits, err);
    if (rc == 0)
        rc = anchors_load(ctx, ctx->wolf, &args->trust, err);
    if (rc == 0)
        rc = groups_set(ctx->wolf, args->max, err);
    if (rc == 0)
        rc = ocsp_enable(ctx, args->ocsp, err);
    if (rc != 0)
        return rc;
    wolfSSL_CTX_set_verify(ctx->wolf, WOLFSSL_VERIFY_PEER, tls_conn_verify_cb);
    return prime(ctx->wolf, err);
}

struct tls_ctx *tls_ctx_new_client(const struct tls_client_args *args, struct err *err)
{
    struct tls_ctx *ctx = ctx_new(false, 0, err);

    if (ctx != NULL)
        crls_take(ctx, args->crls, args->crl_policy);
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
        chain_fini(&ctx->chains[i].is);
    }
    free(ctx->chains);
    free(ctx->suites);
    for (size_t i = 0; i < ctx->anchor_count; i++)
        tls_anchor_unref(ctx->anchors[i]);
    for (size_t i = 0; i < ctx->helper_count; i++)
        tls_anchor_unref(ctx->helpers[i]);
    for (size_t i = 0; i < ctx->aside_count; i++)
        tls_anchor_unref(ctx->aside[i]);
    exceptions_free(ctx);
    free(ctx->anchors);
    free(ctx->helpers);
    crl_set_unref(ctx->crls);
    free(ctx->aside);
    free(ctx);
}

const struct tls_anchors *tls_ctx_anchors(const struct tls_ctx *ctx)
{
    return &ctx->count;
}

const struct crl_set *tls_ctx_crls(const struct tls_ctx *ctx)
{
    return ctx->crls;
}

enum crl_policy tls_ctx_crl_policy(const struct tls_ctx *ctx)
{
    return ctx->crl_policy;
}

/* A certificate that is pinned is no CA: no list is asked for it. */
const struct cert_info *tls_ctx_without_crl(const struct tls_ctx *ctx, size_t *at)
{
    while (ctx->crl_policy == CRL_STRICT && ctx->crls != NULL &&
           *at < ctx->anchor_count + ctx->aside_count) {
        size_t i = (*at)++;
        const struct tls_anchor *a =
            i < ctx->anchor_count ? ctx->anchors[i] : ctx->aside[i - ctx->anchor_count];

        if (a->info->is_ca && !crl_set_has_of(ctx->crls, a->der, a->der_len))
            return a->info;
    }
    return NULL;
}
