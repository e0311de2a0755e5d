#include "tls/conn.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "catalogue/catalogue.h"
#include "tls/ocsp.h"
#include "tls/policy.h"
#include "tls/token_inside.h"
#include "tls/wolf.h"

#define MAX_PIECE             (1 << 20) /* bytes given to the library in one call */
#define ALERT_BAD_CERTIFICATE 42

/* A handshake that waits for a token, step by step on that token's thread.  While it is away the
 * connection is that thread's, but for `step` itself: what goes in and out is put aside here. */
struct tls_step {
    struct token_task task;
    struct tls_conn *conn; /* NULL: it was freed while this was on its way back */
    struct token *token;   /* borrowed */
    void (*done)(void *arg, struct list *item);
    void *arg;
    struct buf in, out;
    struct buf *true_out; /* the connection's `out` */
    enum tls_status status;
    bool begun; /* the hello went out, which takes no key */
    bool away;  /* from TLS_AWAY to tls_step_take; the owner's */
    bool back;  /* its status is not yet fetched; the owner's */
};

/* What is needed to judge the OCSP response of a server: in TLS 1.2 it comes after the certificate,
 * in TLS 1.3 with it. */
struct staple {
    struct buf response; /* as it was sent */
    struct buf leaf, issuer;
    bool came;
    bool judged;
    char why[80]; /* what is wrong with it, in words */
};

/* A server with several chains: until the hello is there that chooses one. */
struct tls_wait {
    struct buf hello;
    uint64_t near; /* bits of the chains that are for its address */
};

/* Thousands of these are idle: what only the handshake needs is gone when it is over, and what only
 * a failure needs is made when it happens. */
struct tls_conn {
    WOLFSSL *ssl;          /* owned; NULL while the hello is awaited that chooses the chain */
    struct tls_wait *wait; /* owned; server with several chains, until then */
    struct tls_ctx *ctx;   /* referenced */
    struct buf *out;       /* borrowed */
    const uint8_t *in;     /* borrowed from the caller, in_left bytes */
    size_t in_left;
    struct cert_info *peer;          /* owned */
    struct tls_fail *fail;           /* owned; NULL while nothing failed */
    struct cred *cred;               /* handshake, client: referenced */
    char *server_name;               /* handshake, client: owned */
    struct tls_trail *trail;         /* owned; server: until it is taken */
    char *revoked;                   /* handshake: owned; when and why, in words */
    struct staple *staple;           /* handshake, client that asks for OCSP: owned; else NULL */
    struct cert_info *to_blame;      /* handshake: owned; a CA above the leaf that was revoked */
    const struct tls_anchor *anchor; /* borrowed from ctx: who vouches for the peer; NULL: nobody */
    struct tls_step *step;           /* handshake, client with a key in a token: owned; else NULL */
    struct tls_excuse *excuse;       /* owned; NULL: the peer's certificate needs none */
    uint32_t faults;    /* handshake: bits of enum tls_fault, found in the peer's certificates */
    uint8_t in_seen;    /* bytes of the first record header seen, until the hello is known */
    uint8_t sealed_out; /* handshake, client: encrypted records sent */
    bool eof : 1;
    bool established : 1;
    bool shut : 1;
    bool ticket : 1;
    bool hello_seen : 1;
    bool not_tls : 1; /* not even the first byte was */
    bool cert_sent : 1;
    bool issuer_to_blame : 1; /* `peer` is a certificate above the leaf */
    bool peer_ok : 1;         /* handshake: its certificate was accepted */
    bool by_ip : 1; /* handshake, client: server_name is an IP address, as inet_ntop writes it */
    uint8_t crl_gap : 2; /* enum tls_crl_gap */
    enum tls_ocsp_gap ocsp_gap : 3;
    bool nomem : 1;        /* `fail` or `ssl` could not be made */
    uint8_t chain_why : 2; /* server: enum tls_chain_why */
    uint8_t chain;         /* server: of the context's chains, once it is chosen */
};

static const struct tls_fail fail_none = {.side = TLS_FAIL_NONE, .alert = -1, .alert_sent = -1};
static const struct tls_fail fail_nomem = {.side = TLS_FAIL_LOCAL,
                                           .alert = -1,
                                           .alert_sent = -1,
                                           .code = MEMORY_E,
                                           .text = "out of memory",
                                           .remedy = "lower the limit on connections"};

/* -- bytes ------------------------------------------------------------------------------------- */

/* RFC 8446, 5.1 and 4: a handshake record (22) whose first message is a server_hello (2).  The
 * library asks for the five octets of the header first. */
static void watch_hello(struct tls_conn *c, const uint8_t *p, size_t n)
{
    for (; n > 0 && c->in_seen < 6; n--, p++) {
        if (c->in_seen == 0 && *p != 22) {
            c->not_tls = *p != 21; /* an alert */
            c->in_seen = 6;
        }
        if (c->in_seen == 5)
            c->hello_seen = *p == 2;
        if (c->in_seen < 6)
            c->in_seen++;
    }
}

int tls_conn_recv_cb(WOLFSSL *ssl, char *buf, int n, void *conn)
{
    struct tls_conn *c = conn;
    size_t take = (size_t)n < c->in_left ? (size_t)n : c->in_left;

    (void)ssl;
    if (take == 0)
        return c->eof ? WOLFSSL_CBIO_ERR_CONN_CLOSE : WOLFSSL_CBIO_ERR_WANT_READ;
    if (c->in_seen < 6)
        watch_hello(c, c->in, take);
    memcpy(buf, c->in, take);
    c->in += take;
    c->in_left -= take;
    return (int)take;
}

/* Has our certificate gone out?  In TLS 1.2 its message (11) can be seen.  In TLS 1.3 the client's
 * last flight is sealed: Finished alone is one record, with a Certificate and its CertificateVerify
 * there are three. */
static void watch_cert(struct tls_conn *c, const uint8_t *p, size_t n)
{
    while (n >= 5) {
        size_t body = (size_t)p[3] << 8 | p[4];

        if (p[0] == 22 && body > 7 && n > 5 && p[5] == 11)
            c->cert_sent = true;
        if (p[0] == 23 && ++c->sealed_out >= 3)
            c->cert_sent = true;
        if (body > n - 5)
            break;
        p += 5 + body;
        n -= 5 + body;
    }
}

int tls_conn_send_cb(WOLFSSL *ssl, char *buf, int n, void *conn)
{
    struct tls_conn *c = conn;

    (void)ssl;
    if (buf_append(c->out, buf, (size_t)n) != 0)
        return WOLFSSL_CBIO_ERR_GENERAL;
    if (c->cred != NULL && !c->established)
        watch_cert(c, (const uint8_t *)buf, (size_t)n);
    return n;
}

/* The client's way to learn that a TLS 1.3 server took its certificate.  The ticket itself is not
 * wanted. */
static int ticket_cb(WOLFSSL *ssl, const unsigned char *ticket, int n, void *conn)
{
    struct tls_conn *c = conn;

    (void)ssl;
    (void)ticket;
    (void)n;
    c->ticket = true;
    return 0;
}

static void ticket_drop(struct tls_conn *c)
{
    static const byte nothing[1] = {0};

    wolfSSL_set_SessionTicket(c->ssl, nothing, sizeof(nothing)); /* frees the long one */
    wolfSSL_set_SessionTicket(c->ssl, NULL, 0);
}

/* -- the peer's certificate ----------------------------------------------------------------------
 */

/* Those that a CA can have; purposes are not looked at above the leaf. */
#define CA_FAULTS                                                        \
    (FAULT_BIT(TLS_FAULT_NOT_YET_VALID) | FAULT_BIT(TLS_FAULT_EXPIRED) | \
     FAULT_BIT(TLS_FAULT_SMALL_KEY) | FAULT_BIT(TLS_FAULT_WEAK_DIGEST))
/* Those that an anchor can have: nobody looks at its own signature. */
#define ANCHOR_FAULTS                                                    \
    (FAULT_BIT(TLS_FAULT_NOT_YET_VALID) | FAULT_BIT(TLS_FAULT_EXPIRED) | \
     FAULT_BIT(TLS_FAULT_SMALL_KEY))

static uint32_t faults_of(const struct tls_conn *c, const struct cert_info *ci, unsigned *needs)
{
    int64_t now_s = clock_date_s();

    return policy_faults(ci, c->ctx->server, c->ctx->min_rsa_bits,
                         (struct policy_now){now_s, now_s}, needs);
}

/* The library compares addresses as it writes them itself; here they are compared as addresses are.
 */
static bool names_ip(const struct cert_info *ci, const char *ip)
{
    for (size_t i = 0; i < ci->san_count; i++)
        if (ci->sans[i].kind == CERT_SAN_IP && strcmp(ci->sans[i].text, ip) == 0)
            return true;
    return false;
}

static bool has_anchor(const struct tls_conn *c, struct der der)
{
    return tls_ctx_anchor_of(c->ctx, der.p, der_left(&der)) != NULL;
}

/* The certificate that has issued this one: what the peer sent of it, or an intermediate of ours.
 * While a CA moves there are two of one name and key, and one of them leads to an anchor: that is
 * taken first.  Returns owned, or NULL; *der is the issuer then. */
static struct cert_info *issuer_of(const struct tls_conn *c, const WOLFSSL_X509_STORE_CTX *store,
                                   struct der *der)
{
    const struct tls_anchor *helper = tls_ctx_helper_of(c->ctx, der->p, der_left(der));
    struct der ours = helper == NULL ? der_of(NULL, 0) : der_of(helper->der, helper->der_len);
    struct der issuer = der_of(NULL, 0);

    for (int i = 1; i < store->totalCerts; i++) {
        struct der sent = der_of(store->certs[i].buffer, store->certs[i].length);

        if (!cert_issued(sent, *der))
            continue;
        if (issuer.p == NULL)
            issuer = sent;
        if (!has_anchor(c, sent))
            continue;
        issuer = sent;
        break;
    }
    if (ours.p != NULL && (issuer.p == NULL || (!has_anchor(c, issuer) && has_anchor(c, ours))))
        issuer = ours;
    if (issuer.p == NULL)
        return NULL;
    *der = issuer;
    return cert_info_new(issuer.p, der_left(&issuer), NULL);
}

/* What the lists of revoked certificates say of one of the chain. */
static uint32_t revocation(struct tls_conn *c, struct der der)
{
    const struct tls_ctx *ctx = c->ctx;
    char why[96] = "";

    if (ctx->crls == NULL || ctx->crl_policy == CRL_OFF ||
        (ctx->crl_policy == CRL_SOFT && crl_set_count(ctx->crls) == 0))
        return 0;
    switch (crl_set_judge(ctx->crls, der.p, der_left(&der), clock_date_s(), why, sizeof(why))) {
    case CRL_SAYS_REVOKED:
        free(c->revoked);
        c->revoked = strdup(why);
        return FAULT_BIT(TLS_FAULT_REVOKED);
    case CRL_SAYS_STALE:
        c->crl_gap |= TLS_CRL_STALE;
        return ctx->crl_policy == CRL_STRICT ? FAULT_BIT(TLS_FAULT_CRL_EXPIRED) : 0;
    case CRL_SAYS_NOTHING:
        c->crl_gap |= TLS_CRL_MISSING;
        return ctx->crl_policy == CRL_STRICT ? FAULT_BIT(TLS_FAULT_NO_CRL) : 0;
    case CRL_SAYS_GOOD:
        break;
    }
    return 0;
}

/* A CA above the leaf: what of it is wrong counts for all below.  Takes `ci`. */
static uint32_t faults_of_ca(struct tls_conn *c, struct der der, struct cert_info *ci)
{
    uint32_t faults = (faults_of(c, ci, NULL) & CA_FAULTS) | revocation(c, der);

    if ((faults & FAULT_BIT(TLS_FAULT_REVOKED)) != 0 && c->to_blame == NULL)
        c->to_blame = ci;
    else
        cert_info_free(ci);
    return faults;
}

/* The certificates of the chain, to be asked for again later. */
struct steps {
    struct crl_id ids[TLS_TRAIL_MAX];
    size_t count;
};

static uint32_t step_add(struct steps *s, struct der der)
{
    if (s->count == TLS_TRAIL_MAX)
        return FAULT_BIT(TLS_FAULT_CHAIN_LENGTH);
    if (!crl_id_of(der.p, der_left(&der), &s->ids[s->count]))
        return FAULT_BIT(TLS_FAULT_MALFORMED);
    s->count++;
    return 0;
}

/* An anchor that somebody stands above may be revoked, too. */
static uint32_t faults_of_anchor(struct tls_conn *c, struct steps *s)
{
    struct der der = der_of(c->anchor->der, c->anchor->der_len);
    uint32_t faults;

    if (tls_anchor_self_signed(c->anchor))
        return 0;
    faults = step_add(s, der) | (revocation(c, der) & FAULT_BIT(TLS_FAULT_REVOKED));
    if ((faults & FAULT_BIT(TLS_FAULT_REVOKED)) != 0 && c->to_blame == NULL)
        c->to_blame = cert_info_new(der.p, der_left(&der), NULL);
    return faults;
}

static void trail_keep(struct tls_conn *c, const struct cert_info *leaf, const struct steps *s)
{
    if (!c->ctx->server)
        return;
    tls_trail_free(c->trail);
    c->trail = tls_trail_new(c->anchor, leaf->fp, s->ids, s->count);
    if (c->trail == NULL)
        c->nomem = true;
}

/* What is wrong with the certificates between the leaf and its anchor, which is found by that.  All
 * of them must have been sent, or be ours: the library remembers intermediates that other peers
 * sent, and does not ask again how they are signed or whether they have expired since. */
static uint32_t faults_above(struct tls_conn *c, const struct cert_info *leaf,
                             const WOLFSSL_X509_STORE_CTX *store, struct tls_path *path)
{
    struct der der = der_of(store->certs[0].buffer, store->certs[0].length);
    int most = store->totalCerts + (int)c->ctx->helper_count;
    struct steps steps_up = {.count = 0};
    uint32_t faults = step_add(&steps_up, der);

    path->cert[path->n++] = der;
    c->anchor = tls_ctx_pinned(c->ctx, leaf);
    for (int steps = 0; c->anchor == NULL; steps++) {
        struct cert_info *ci;

        c->anchor = tls_ctx_anchor_of(c->ctx, der.p, der_left(&der));
        if (c->anchor == NULL)
            c->anchor = tls_ctx_aside_of(c->ctx, der.p, der_left(&der));
        if (c->anchor != NULL)
            break;
        ci = steps > most ? NULL : issuer_of(c, store, &der);
        if (ci == NULL)
            return faults | FAULT_BIT(tls_ctx_has_name(c->ctx, der.p, der_left(&der))
                                          ? TLS_FAULT_BAD_SIGNATURE
                                          : TLS_FAULT_UNKNOWN_ISSUER);
        faults |= step_add(&steps_up, der) | faults_of_ca(c, der, ci);
        if (path->n < TLS_PATH_MAX)
            path->cert[path->n] = der;
        path->n++;
    }
    faults |= faults_of_anchor(c, &steps_up);
    trail_keep(c, leaf, &steps_up);
    return faults;
}

static void peer_keep(struct tls_conn *c, struct cert_info *ci, uint32_t faults)
{
    cert_info_free(c->peer);
    c->peer = ci;
    c->faults = faults;
}

/* A certificate above the leaf failed: that is what has to be said, if the leaf fails in
 * consequence. */
static void issuer_failed(struct tls_conn *c, const WOLFSSL_X509_STORE_CTX *store)
{
    const WOLFSSL_BUFFER_INFO *b;
    struct cert_info *ci;

    if (store->error_depth >= store->totalCerts)
        return;
    b = &store->certs[store->error_depth];
    ci = cert_info_new(b->buffer, b->length, NULL);
    if (ci == NULL)
        return;
    peer_keep(c, ci, faults_of(c, ci, NULL) & CA_FAULTS);
    c->issuer_to_blame = c->faults != 0;
}

static enum tls_fault fault_of_code(int code)
{
    switch (code) {
    case ASN_NO_SIGNER_E:
    case ASN_SELF_SIGNED_E:
        return TLS_FAULT_UNKNOWN_ISSUER;
    case ASN_SIG_CONFIRM_E:
        return TLS_FAULT_BAD_SIGNATURE;
    case CRL_CERT_REVOKED:
    case OCSP_CERT_REVOKED:
        return TLS_FAULT_REVOKED;
    case ASN_BEFORE_DATE_E:
        return TLS_FAULT_NOT_YET_VALID;
    case ASN_AFTER_DATE_E:
        return TLS_FAULT_EXPIRED;
    case RSA_KEY_SIZE_E:
    case ECC_KEY_SIZE_E:
        return TLS_FAULT_SMALL_KEY;
    case EXTKEYUSE_AUTH_E:
    case KEYUSE_SIGNATURE_E:
    case KEYUSE_ENCIPHER_E:
        return TLS_FAULT_PURPOSE;
    case DOMAIN_NAME_MISMATCH:
    case IPADDR_MISMATCH:
        return TLS_FAULT_NAME;
    case ASN_PATHLEN_SIZE_E:
    case ASN_PATHLEN_INV_E:
        return TLS_FAULT_PATH_LENGTH;
    case MAX_CHAIN_ERROR:
        return TLS_FAULT_CHAIN_LENGTH;
    case CRL_MISSING:
        return TLS_FAULT_NO_CRL;
    case CRL_CERT_DATE_ERR:
        return TLS_FAULT_CRL_EXPIRED;
    case VERIFY_SIGN_ERROR:
    case SIG_VERIFY_E:
    case BAD_PADDING_E:
        return TLS_FAULT_NO_POSSESSION;
    case NO_PEER_CERT:
        return TLS_FAULT_MISSING;
    default:
        return TLS_FAULT_NONE;
    }
}

static uint32_t fault_bit_of(int code)
{
    enum tls_fault fault = fault_of_code(code);

    return fault == TLS_FAULT_NONE ? 0 : FAULT_BIT(fault);
}

/* All that can be known of the leaf `ci` and its chain; `ok` is the library's verdict. */
static struct policy_facts facts_of(struct tls_conn *c, const struct cert_info *ci, bool ok,
                                    const WOLFSSL_X509_STORE_CTX *store, struct tls_path *path)
{
    struct policy_facts f = {
        .server = c->ctx->server,
        .library_ok = ok,
        .library = ok ? 0 : fault_bit_of(store->error),
        .above = faults_above(c, ci, store, path),
        .now_s = clock_date_s(),
    };

    f.leaf = faults_of(c, ci, &f.needs);
    if (c->anchor == NULL || memcmp(c->anchor->info->fp, ci->fp, sizeof(ci->fp)) != 0)
        f.leaf |= revocation(c, der_of(store->certs[0].buffer, store->certs[0].length));
    if (c->by_ip && !names_ip(ci, c->server_name))
        f.leaf |= FAULT_BIT(TLS_FAULT_NAME);
    memcpy(f.fp, ci->fp, sizeof(f.fp));
    if (c->anchor == NULL)
        return f;
    /* It was believed when the context was made; since then its time may have come. */
    f.has_anchor = true;
    memcpy(f.anchor_fp, c->anchor->info->fp, sizeof(f.anchor_fp));
    f.anchor = faults_of(c, c->anchor->info, &f.needs_of_anchor) & ANCHOR_FAULTS;
    f.needs_of_anchor &= ~(unsigned)(TLS_ACCEPT_SHA1 | TLS_ACCEPT_MD5);
    /* The library passes over what it finds no issuer of, and looks for the leaf's among all that
     * it knows: it may have come another way than we, past a certificate that was made up. */
    if (ok && path->n > 1 && (f.leaf | f.above | f.anchor) == 0 &&
        !tls_path_signed(c->anchor, path))
        f.above |= FAULT_BIT(TLS_FAULT_BAD_SIGNATURE);
    return f;
}

/* Nothing else is wrong than the dates of the anchor: that is what has to be said. */
static void anchor_failed(struct tls_conn *c, const struct policy_facts *f)
{
    struct cert_info *ci = cert_info_new(c->anchor->der, c->anchor->der_len, NULL);

    if (ci == NULL)
        return;
    peer_keep(c, ci, f->anchor);
    c->issuer_to_blame = true;
}

/* A CA above the leaf was revoked, and the leaf itself was not: that is what has to be said. */
static void revoked_ca_failed(struct tls_conn *c)
{
    peer_keep(c, c->to_blame, FAULT_BIT(TLS_FAULT_REVOKED));
    c->to_blame = NULL;
    c->issuer_to_blame = true;
}

/* Is there an exception for it?  The signatures are checked anew, and last: it costs most. */
static bool is_excused(struct tls_conn *c, struct policy_facts *f, const struct tls_path *path)
{
    struct policy_verdict verdict;

    if (c->ctx->exception_count == 0 || c->anchor == NULL)
        return false;
    f->signed_here = true;
    policy_judge(f, c->ctx->exceptions, c->ctx->exception_count, &verdict);
    f->signed_here = verdict.excused && tls_path_signed(c->anchor, path);
    return f->signed_here;
}

/* -- what the CA says of the server, by way of the server: stapled OCSP
 * ---------------------------------------------------------------------------------------------- */

static void staple_free(struct staple *s)
{
    if (s == NULL)
        return;
    buf_fini(&s->response);
    buf_fini(&s->leaf);
    buf_fini(&s->issuer);
    free(s);
}

/* The certificate was believed: of which one, and whose, the response has to be. */
static void staple_keep(struct tls_conn *c, const struct tls_path *path)
{
    struct staple *s = c->staple;
    struct der leaf = path->cert[0], issuer;

    issuer = path->n > 1 ? path->cert[1] : der_of(c->anchor->der, c->anchor->der_len);
    s->leaf.len = s->issuer.len = 0;
    if (buf_append(&s->leaf, leaf.p, der_left(&leaf)) != 0 ||
        buf_append(&s->issuer, issuer.p, der_left(&issuer)) != 0)
        c->nomem = true;
}

static uint32_t ocsp_faults(struct tls_conn *c)
{
    static const struct {
        enum tls_fault fault;
        enum tls_ocsp_gap gap;
    } rows[] = {
        [OCSP_SAYS_UNKNOWN] = {TLS_FAULT_OCSP_UNKNOWN, TLS_OCSP_UNKNOWN},
        [OCSP_SAYS_STALE] = {TLS_FAULT_OCSP_EXPIRED, TLS_OCSP_STALE},
        [OCSP_SAYS_NOTHING] = {TLS_FAULT_OCSP_INVALID, TLS_OCSP_INVALID},
    };
    struct staple *s = c->staple;
    bool required = c->ctx->ocsp == STAPLE_REQUIRE;
    enum ocsp_verdict v;

    s->judged = true;
    if (!s->came) {
        c->ocsp_gap = TLS_OCSP_MISSING;
        return required ? FAULT_BIT(TLS_FAULT_OCSP_MISSING) : 0;
    }
    v = ocsp_judge(der_of(s->response.p, s->response.len), der_of(s->leaf.p, s->leaf.len),
                   der_of(s->issuer.p, s->issuer.len), clock_date_s(), s->why, sizeof(s->why));
    if (v == OCSP_SAYS_GOOD)
        return 0;
    if (v == OCSP_SAYS_REVOKED) {
        free(c->revoked);
        c->revoked = strdup(s->why);
        return FAULT_BIT(TLS_FAULT_REVOKED);
    }
    c->ocsp_gap = rows[v].gap;
    return required ? FAULT_BIT(rows[v].fault) : 0;
}

/* False: the server is refused. */
static bool ocsp_lets_pass(struct tls_conn *c)
{
    uint32_t faults = ocsp_faults(c);

    c->faults |= faults;
    if (faults != 0)
        c->peer_ok = false;
    return faults == 0;
}

/* The response is here.  In TLS 1.3 its certificate is verified after it. */
static bool take_staple(void *arg, const uint8_t *response, size_t n)
{
    struct tls_conn *c = arg;

    c->staple->response.len = 0;
    if (buf_append(&c->staple->response, response, n) != 0) {
        c->nomem = true;
        return false;
    }
    c->staple->came = true;
    return wolfSSL_version(c->ssl) >= TLS_V13 || ocsp_lets_pass(c);
}

/* Never lifts an error above the leaf: that would even plant a CA for everybody who connects later.
 * For the leaf tls/policy.h decides. */
int tls_conn_verify_cb(int ok, WOLFSSL_X509_STORE_CTX *store)
{
    struct tls_conn *c = store->userCtx;
    struct policy_verdict verdict;
    struct policy_facts facts;
    struct tls_path path = {.n = 0};
    struct cert_info *ci;

    if (store->totalCerts < 1) { /* TLS 1.2: an empty Certificate message */
        if (c->ctx->client_cert == TLS_CLIENT_CERT_REQUEST)
            return ok;
        c->faults |= FAULT_BIT(TLS_FAULT_MISSING);
        return 0;
    }
    if (store->error_depth > 0) {
        if (!ok)
            issuer_failed(c, store);
        return ok;
    }
    ci = cert_info_new(store->certs[0].buffer, store->certs[0].length, NULL);
    if (ci == NULL) {
        c->faults |= FAULT_BIT(TLS_FAULT_MALFORMED);
        return 0;
    }
    if (!ok && c->issuer_to_blame) {
        cert_info_free(ci);
        return 0;
    }
    c->issuer_to_blame = false;
    facts = facts_of(c, ci, ok, store, &path);
    policy_judge(&facts, NULL, 0, &verdict);
    if (!verdict.ok && is_excused(c, &facts, &path)) {
        tls_excuse_free(c->excuse);
        c->excuse = tls_excuse_new(c->ctx, &facts);
        verdict.ok = c->excuse != NULL;
    }
    peer_keep(c, ci, verdict.faults);
    c->peer_ok = verdict.ok;
    if (!verdict.ok && facts.anchor != 0 && facts.leaf == 0 && facts.above == 0)
        anchor_failed(c, &facts);
    if (!verdict.ok && c->to_blame != NULL && (facts.leaf & FAULT_BIT(TLS_FAULT_REVOKED)) == 0)
        revoked_ca_failed(c);
    if (c->peer_ok && c->staple != NULL) {
        staple_keep(c, &path);
        if (wolfSSL_version(c->ssl) >= TLS_V13)
            return ocsp_lets_pass(c);
    }
    return c->peer_ok;
}

/* All faults together: those seen in the certificate and the one that the library stopped at. */
static uint32_t faults_with(const struct tls_conn *c, int code)
{
    enum tls_fault fault = fault_of_code(code);
    uint32_t all;

    if (c->peer_ok) /* then the library means something else, or the proof of possession */
        return fault == TLS_FAULT_NO_POSSESSION ? FAULT_BIT(fault) : 0;
    if (fault == TLS_FAULT_NO_POSSESSION || fault == TLS_FAULT_MISSING)
        return FAULT_BIT(fault);
    if (c->issuer_to_blame)
        return c->faults;
    all = c->faults | (fault == TLS_FAULT_NONE ? 0 : FAULT_BIT(fault));
    if ((all & FAULT_BIT(TLS_FAULT_UNKNOWN_ISSUER)) != 0 && c->peer != NULL &&
        strcmp(c->peer->subject, c->peer->issuer) == 0)
        all = (all & ~FAULT_BIT(TLS_FAULT_UNKNOWN_ISSUER)) | FAULT_BIT(TLS_FAULT_SELF_SIGNED);
    return all;
}

/* -- why it failed
 * --------------------------------------------------------------------------------- */

static struct tls_fail *fail_new(struct tls_conn *c, int code)
{
    struct tls_fail *f = calloc(1, sizeof(*f));
    WOLFSSL_ALERT_HISTORY h;

    if (f == NULL) {
        c->nomem = true;
        return NULL;
    }
    f->alert = -1;
    f->alert_sent = -1;
    f->code = code;
    if (c->ssl != NULL && wolfSSL_get_alert_history(c->ssl, &h) == WOLFSSL_SUCCESS) {
        if (h.last_rx.code > 0) /* 0: close_notify */
            f->alert = h.last_rx.code;
        if (h.last_tx.code > 0)
            f->alert_sent = h.last_tx.code;
    }
    f->after_hello = c->hello_seen;
    f->after_cert = c->cert_sent;
    f->established = c->established;
    return f;
}

/* What goes behind the words of a fault, in brackets. */
static void fault_detail(const struct tls_conn *c, enum tls_fault fault, char *out, size_t n)
{
    const struct cert_info *ci = c->peer;
    char when[32];

    out[0] = '\0';
    if (fault == TLS_FAULT_EXPIRED)
        snprintf(out, n, " (%s)", clock_text(ci->not_after_s, when, sizeof(when)));
    else if (fault == TLS_FAULT_NOT_YET_VALID)
        snprintf(out, n, " (before %s)", clock_text(ci->not_before_s, when, sizeof(when)));
    else if (fault == TLS_FAULT_REVOKED && c->revoked != NULL)
        snprintf(out, n, " (%s)", c->revoked);
    else if ((fault == TLS_FAULT_OCSP_INVALID || fault == TLS_FAULT_OCSP_EXPIRED) &&
             c->staple != NULL)
        snprintf(out, n, " (%s)", c->staple->why);
    else if (fault == TLS_FAULT_SMALL_KEY)
        snprintf(out, n, " (%s, %u bits)", ci->key_alg, ci->key_bits);
    else if (fault == TLS_FAULT_UNKNOWN_ISSUER)
        snprintf(out, n, " (%.60s)", ci->issuer);
    else if (fault == TLS_FAULT_NAME && c->server_name != NULL)
        snprintf(out, n, " than %.60s", c->server_name);
}

static void fail_cert_text(const struct tls_conn *c, struct tls_fail *f, uint32_t faults)
{
    const char *whose = c->ctx->server ? "client" : "server";
    const char *sep = "";
    char fp[CERT_FP_TEXT] = "", detail[96] = "";
    size_t n;

    if (c->peer == NULL) {
        snprintf(f->text, sizeof(f->text), "the %s's certificate", whose);
    } else {
        str_hex(fp, c->peer->fp, CERT_FP_BYTES);
        snprintf(f->text, sizeof(f->text), "%s certificate %.60s (sha256 %s)",
                 c->issuer_to_blame ? "CA" : whose, c->peer->subject, fp);
    }
    for (int fault = 1; fault < TLS_FAULTS; fault++) {
        if ((faults & FAULT_BIT(fault)) == 0)
            continue;
        if (c->peer != NULL)
            fault_detail(c, (enum tls_fault)fault, detail, sizeof(detail));
        n = strlen(f->text);
        snprintf(f->text + n, sizeof(f->text) - n, "%s %s%s", sep,
                 tls_fault_words((enum tls_fault)fault)->what, detail);
        sep = ", and";
    }
}

static void fail_cert(const struct tls_conn *c, struct tls_fail *f, uint32_t faults)
{
    enum tls_fault worst = (enum tls_fault)__builtin_ctz(faults);
    const struct tls_fault_words *words = tls_fault_words(worst);

    f->side = TLS_FAIL_PEER_CERT;
    f->x509 = words->x509;
    f->word = words->word;
    fail_cert_text(c, f, faults);
    snprintf(f->remedy, sizeof(f->remedy), "%s", tls_fault_remedy(worst, !c->ctx->server));
}

static void fail_alert(const struct tls_conn *c, struct tls_fail *f)
{
    bool from_server = !c->ctx->server;

    f->side = TLS_FAIL_PEER_ALERT;
    f->word = tls_alert_name(f->alert);
    snprintf(f->text, sizeof(f->text), "the %s refused: alert %s (%d)%s",
             from_server ? "server" : "client", tls_alert_name(f->alert), f->alert,
             f->established ? ", after the handshake" : "");
    snprintf(f->remedy, sizeof(f->remedy), "%s", tls_alert_remedy(f->alert, from_server));
}

static void fail_eof(const struct tls_conn *c, struct tls_fail *f)
{
    const char *who = c->ctx->server ? "client" : "server";

    f->side = TLS_FAIL_EOF;
    if (c->established)
        snprintf(f->text, sizeof(f->text), "the %s closed the connection without close_notify",
                 who);
    else
        snprintf(f->text, sizeof(f->text), "the %s closed the connection in the handshake%s", who,
                 c->cert_sent ? ", after our certificate" : "");
    snprintf(f->remedy, sizeof(f->remedy), "%s",
             c->cert_sent && !c->established
                 ? "the server may refuse this identity: look into its log"
                 : "look into the log of the other side");
}

static void fail_local(const struct tls_conn *c, struct tls_fail *f)
{
    int code = c->not_tls ? UNKNOWN_RECORD_TYPE : f->code;
    const struct catalogue_row *row = catalogue_by_code(CATALOGUE_LIBRARY, code);
    char lib[80];

    f->side = TLS_FAIL_LOCAL;
    wolfSSL_ERR_error_string_n((unsigned long)f->code, lib, sizeof(lib));
    if (row == NULL) {
        snprintf(f->text, sizeof(f->text), "%s (%d)", lib, f->code);
        snprintf(f->remedy, sizeof(f->remedy), "look at the peer: a fault of it, or an attack");
        return;
    }
    f->word = row->word;
    snprintf(f->text, sizeof(f->text), "%s (%s, %d)", row->sentence, lib, f->code);
    snprintf(f->remedy, sizeof(f->remedy), "%s", row->remedy);
}

static void fail_token(struct tls_fail *f, const struct token_trouble *trouble)
{
    f->side = TLS_FAIL_TOKEN;
    f->word = trouble->what;
    snprintf(f->text, sizeof(f->text), "%s", trouble->text);
    snprintf(f->remedy, sizeof(f->remedy), "%s", trouble->remedy);
}

/* The handshake is over, well or badly. */
static void handshake_release(struct tls_conn *c)
{
    wolfSSL_UnloadCertsKeys(c->ssl);
    cred_unref(c->cred);
    c->cred = NULL;
    free(c->server_name);
    c->server_name = NULL;
    c->by_ip = false;
    c->faults = 0;
    free(c->revoked);
    c->revoked = NULL;
    staple_free(c->staple);
    c->staple = NULL;
    cert_info_free(c->to_blame);
    c->to_blame = NULL;
    if (!c->ctx->server) {
        cert_info_free(c->peer);
        c->peer = NULL;
    }
}

static void fail_describe(struct tls_conn *c, int code)
{
    struct tls_fail *f = c->fail == NULL ? fail_new(c, code) : NULL;
    uint32_t faults = c->established ? 0 : faults_with(c, code);
    struct token_trouble trouble;

    if (f == NULL)
        return;
    if (faults == 0 && !c->established && !c->peer_ok && f->code == ASN_PARSE_E &&
        f->alert_sent == ALERT_BAD_CERTIFICATE)
        faults = FAULT_BIT(TLS_FAULT_MALFORMED);
    if (c->step != NULL && token_key_trouble(&trouble))
        fail_token(f, &trouble);
    else if (faults != 0)
        fail_cert(c, f, faults);
    else if (f->alert >= 0)
        fail_alert(c, f);
    else if (c->eof && c->in_left == 0)
        fail_eof(c, f);
    else
        fail_local(c, f);
    c->fail = f;
    if (!c->established) {
        handshake_release(c);
        cert_info_free(c->peer); /* refused, or not proven */
        c->peer = NULL;
    }
}

static enum tls_status status_of(struct tls_conn *c, int rc)
{
    int code = wolfSSL_get_error(c->ssl, rc);

    if (code == WOLFSSL_ERROR_WANT_READ || code == WOLFSSL_ERROR_WANT_WRITE)
        return TLS_AGAIN;
    if (code != WOLFSSL_ERROR_ZERO_RETURN) {
        fail_describe(c, code);
        c->in_left = 0; /* nobody will read it any more */
        return TLS_FAILED;
    }
    c->in_left = 0;
    if (!c->established && c->fail == NULL) {
        c->fail = fail_new(c, 0);
        if (c->fail != NULL)
            fail_eof(c, c->fail);
    }
    return TLS_CLOSED;
}

/* -- the server's choice of a chain
 * ---------------------------------------------------------------- */

/* Make the library's half of the connection. */
static int ssl_make(struct tls_conn *c, WOLFSSL_CTX *wolf)
{
    c->ssl = wolfSSL_new(wolf);
    if (c->ssl == NULL)
        return -ERR_NOMEM;
    wolfSSL_SetIOReadCtx(c->ssl, c);
    wolfSSL_SetIOWriteCtx(c->ssl, c);
    wolfSSL_SetCertCbCtx(c->ssl, c);
    return 0;
}

static int wait_new(struct tls_conn *c, const struct sockaddr *peer)
{
    c->wait = calloc(1, sizeof(*c->wait));
    if (c->wait == NULL)
        return -ERR_NOMEM;
    c->wait->near = tls_ctx_near(c->ctx, peer);
    return 0;
}

/* Put the input aside until the hello is there, then let it choose.  What was put aside is the
 * input then. */
static enum tls_status choose_chain(struct tls_conn *c)
{
    struct buf *hello = &c->wait->hello;
    enum tls_chain_why why;

    if (buf_append(hello, c->in, c->in_left) != 0) {
        c->nomem = true;
        return TLS_FAILED;
    }
    c->in_left = 0;
    if (!c->eof && !tls_ctx_hello_complete(hello->p, hello->len))
        return TLS_AGAIN;
    c->chain = (uint8_t)tls_ctx_for_hello(c->ctx, c->wait->near, hello->p, hello->len, &why);
    c->chain_why = (uint8_t)(why & 3);
    if (ssl_make(c, c->ctx->chains[c->chain].wolf) != 0) {
        c->nomem = true;
        return TLS_FAILED;
    }
    c->in = hello->p;
    c->in_left = hello->len;
    return TLS_OK;
}

static void hello_drop(struct tls_conn *c)
{
    if (c->wait != NULL)
        buf_fini(&c->wait->hello);
    free(c->wait);
    c->wait = NULL;
}

/* -- steps that a token takes its time for ------------------------------------------------------
 */

static enum tls_status handshake_now(struct tls_conn *c);

static void step_free(struct tls_step *step)
{
    if (step == NULL)
        return;
    buf_fini(&step->in);
    buf_fini(&step->out);
    free(step);
}

static void step_run(struct token_task *task)
{
    struct tls_step *step = list_entry(task, struct tls_step, task);

    step->status = handshake_now(step->conn);
}

static void step_done(struct token_task *task)
{
    struct tls_step *step = list_entry(task, struct tls_step, task);

    step->done(step->arg, &task->link);
}

static void step_drop(struct token_task *task)
{
    struct tls_step *step = list_entry(task, struct tls_step, task);

    step->away = false;
    tls_conn_free(step->conn);
}

static int step_new(struct tls_conn *c, const struct tls_conn_args *args)
{
    struct token_key *key = cred_token_key(args->cred);

    if (key == NULL)
        return 0;
    c->step = calloc(1, sizeof(*c->step));
    if (c->step == NULL)
        return -ERR_NOMEM;
    c->step->task = (struct token_task){.run = step_run, .done = step_done, .drop = step_drop};
    list_init(&c->step->task.link);
    c->step->conn = c;
    c->step->token = key->token;
    c->step->done = args->step_done;
    c->step->arg = args->step_arg;
    return 0;
}

/* The input is borrowed for this call alone, so it is copied. */
static enum tls_status step_go(struct tls_conn *c)
{
    struct tls_step *step = c->step;

    step->in.len = 0;
    if (buf_append(&step->in, c->in, c->in_left) != 0) {
        c->nomem = true;
        return TLS_FAILED;
    }
    c->in = step->in.p;
    step->true_out = c->out;
    c->out = &step->out;
    step->away = true;
    token_post(step->token, &step->task);
    return TLS_AWAY;
}

/* What the step has to send goes where the connection sends it. */
static enum tls_status step_fetch(struct tls_conn *c)
{
    struct tls_step *step = c->step;

    step->back = false;
    c->out = step->true_out;
    if (buf_append(c->out, step->out.p, step->out.len) != 0) {
        c->nomem = true;
        return TLS_FAILED;
    }
    step->out.len = 0;
    return step->status;
}

void *tls_step_take(struct list *item)
{
    struct tls_step *step = list_entry(item, struct tls_step, task.link);

    if (step->conn == NULL) {
        step_free(step);
        return NULL;
    }
    step->away = false;
    step->back = true;
    return step->arg;
}

/* Before the connection is freed.  False: the token's thread has it, and will free it. */
static bool step_end(struct tls_conn *c)
{
    struct tls_step *step = c->step;

    if (step == NULL)
        return true;
    if (step->away) {
        if (!token_disown(step->token, &step->task))
            return false;
        if (step->task.state == TASK_DONE) { /* tls_step_take frees it */
            step->conn = NULL;
            return true;
        }
    }
    step_free(step);
    return true;
}

/* Whoever looks at a connection that is away sees what it was like before it went. */
static bool is_away(const struct tls_conn *c)
{
    return c->step != NULL && c->step->away;
}

/* -- life ----------------------------------------------------------------------------------------
 */

/* An address as inet_ntop writes it, owned; NULL when `name` is none. */
static char *ip_of(const char *name)
{
    static const int families[] = {AF_INET, AF_INET6};
    char text[INET6_ADDRSTRLEN];
    struct in6_addr addr;

    for (size_t i = 0; i < 2; i++)
        if (inet_pton(families[i], name, &addr) == 1)
            return strdup(inet_ntop(families[i], &addr, text, sizeof(text)));
    return NULL;
}

static int set_alpn(struct tls_conn *c, const struct tls_conn_args *args)
{
    struct buf list = {0};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < args->alpn_count; i++)
        rc = buf_printf(&list, "%s%s", i > 0 ? "," : "", args->alpn[i]);
    if (rc == 0 && list.len > 0 &&
        wolfSSL_UseALPN(c->ssl, (char *)list.p, (unsigned)list.len,
                        WOLFSSL_ALPN_CONTINUE_ON_MISMATCH) != WOLFSSL_SUCCESS)
        rc = -ERR_TLS;
    buf_fini(&list);
    return rc;
}

/* The name that the server must prove: a host name is for the library to check, an address for us.
 */
static int set_name(struct tls_conn *c, const char *name, const char *sni, struct err *err)
{
    c->server_name = ip_of(name);
    c->by_ip = c->server_name != NULL;
    if (sni == NULL)
        sni = c->by_ip ? "" : name; /* RFC 6066, 3: no literals */
    if (!c->by_ip && (c->server_name = strdup(name)) != NULL &&
        wolfSSL_check_domain_name(c->ssl, name) != WOLFSSL_SUCCESS)
        return err_set(err, ERR_TLS, "the TLS library does not take the server name '%s'", name);
    if (c->server_name == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (*sni != '\0' &&
        wolfSSL_UseSNI(c->ssl, WOLFSSL_SNI_HOST_NAME, sni, (word16)strlen(sni)) != WOLFSSL_SUCCESS)
        return err_set(err, ERR_TLS, "sni '%s' is not possible: it must be a host name", sni);
    return 0;
}

static int set_ocsp(struct tls_conn *c, struct err *err)
{
    if (c->ctx->ocsp == STAPLE_OFF)
        return 0;
    c->staple = calloc(1, sizeof(*c->staple));
    if (c->staple == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (wolfSSL_UseOCSPStapling(c->ssl, WOLFSSL_CSR_OCSP, 0) != WOLFSSL_SUCCESS)
        return err_set(err, ERR_TLS, "the TLS library does not ask for OCSP responses");
    return 0;
}

static int client_setup(struct tls_conn *c, const struct tls_conn_args *args, struct err *err)
{
    int rc = set_name(c, args->server_name, args->sni, err);

    if (rc != 0)
        return rc;
    rc = set_ocsp(c, err);
    if (rc != 0)
        return rc;
    wolfSSL_set_SessionTicket_cb(c->ssl, ticket_cb, c);
    if (set_alpn(c, args) != 0)
        return err_set(err, ERR_TLS, "the TLS library does not take the alpn list: shorten it");
    if (args->cred == NULL)
        return 0;
    rc = cred_use(args->cred, c->ssl, c->ctx->min_rsa_bits);
    if (rc != 0)
        return err_set(err, ERR_TLS, "the TLS library does not take the identity %s (code %d)",
                       cred_leaf(args->cred)->subject, rc);
    c->cred = cred_ref(args->cred);
    if (step_new(c, args) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    return 0;
}

struct tls_conn *tls_conn_new(const struct tls_conn_args *args, struct err *err)
{
    struct tls_conn *c = calloc(1, sizeof(*c));
    bool choose = args->ctx->server && args->ctx->chain_count > 1;

    assert(args->out != NULL);
    assert(args->ctx->server || args->server_name != NULL);
    if (c == NULL)
        goto nomem;
    c->ctx = tls_ctx_ref(args->ctx);
    c->out = args->out;
    if (choose ? wait_new(c, args->peer) != 0
               : ssl_make(c, c->ctx->server ? c->ctx->chains[0].wolf : c->ctx->wolf) != 0)
        goto nomem;
    if (c->ctx->server || client_setup(c, args, err) == 0)
        return c;
    tls_conn_free(c);
    return NULL;
nomem:
    tls_conn_free(c);
    err_set(err, ERR_NOMEM, "out of memory");
    return NULL;
}

void tls_conn_free(struct tls_conn *c)
{
    if (c == NULL || !step_end(c))
        return;
    wolfSSL_free(c->ssl);
    tls_ctx_unref(c->ctx);
    cred_unref(c->cred);
    cert_info_free(c->peer);
    cert_info_free(c->to_blame);
    tls_trail_free(c->trail);
    free(c->revoked);
    staple_free(c->staple);
    tls_excuse_free(c->excuse);
    hello_drop(c);
    free(c->server_name);
    free(c->fail);
    free(c);
}

void tls_conn_input(struct tls_conn *c, const uint8_t *p, size_t n, bool eof)
{
    assert(!is_away(c));
    if (n > 0) {
        c->in = p;
        c->in_left = n;
    }
    if (n > 0 && c->established && c->step != NULL) { /* it holds input no longer */
        step_free(c->step);
        c->step = NULL;
    }
    if (eof)
        c->eof = true;
}

size_t tls_conn_input_left(const struct tls_conn *c)
{
    return is_away(c) ? 0 : c->in_left;
}

enum tls_status tls_conn_handshake(struct tls_conn *c)
{
    struct tls_step *step = c->step;

    if (step == NULL || step->done == NULL)
        return handshake_now(c);
    if (step->away)
        return TLS_AWAY;
    if (step->back)
        return step_fetch(c);
    if (step->begun && !c->established && c->fail == NULL && !c->nomem)
        return step_go(c);
    step->begun = true;
    return handshake_now(c);
}

static enum tls_status handshake_now(struct tls_conn *c)
{
    enum tls_status status;
    int rc;

    if (c->established)
        return TLS_OK;
    if (c->fail != NULL || c->nomem)
        return TLS_FAILED;
    if (c->ssl == NULL && (status = choose_chain(c)) != TLS_OK)
        return status;
    staple_for(c->staple != NULL ? take_staple : NULL, c);
    rc = c->ctx->server ? wolfSSL_accept(c->ssl) : wolfSSL_connect(c->ssl);
    staple_for(NULL, NULL);
    if (c->in_left == 0)
        hello_drop(c);
    if (rc != WOLFSSL_SUCCESS)
        return status_of(c, rc);
    if (c->nomem)
        return TLS_FAILED;
    if (c->staple != NULL && !c->staple->judged &&
        !ocsp_lets_pass(c)) { /* TLS 1.2, and none came */
        fail_describe(c, 0);
        c->in_left = 0;
        return TLS_FAILED;
    }
    c->established = true;
    handshake_release(c);
    return TLS_OK;
}

bool tls_conn_established(const struct tls_conn *c)
{
    return !is_away(c) && c->established;
}

bool tls_conn_cert_sent(const struct tls_conn *c)
{
    return !is_away(c) && c->cert_sent;
}

enum tls_status tls_conn_read(struct tls_conn *c, uint8_t *buf, size_t cap, size_t *n)
{
    bool had_ticket = c->ticket;
    int rc;

    assert(c->established);
    if (c->fail != NULL || c->nomem)
        return TLS_FAILED;
    rc = wolfSSL_read(c->ssl, buf, (int)(cap < MAX_PIECE ? cap : MAX_PIECE));
    if (c->ticket && !had_ticket)
        ticket_drop(c);
    if (rc <= 0)
        return status_of(c, rc);
    *n = (size_t)rc;
    return TLS_OK;
}

enum tls_status tls_conn_write(struct tls_conn *c, const uint8_t *p, size_t n)
{
    assert(c->established);
    if (c->fail != NULL || c->nomem)
        return TLS_FAILED;
    while (n > 0) {
        int rc = wolfSSL_write(c->ssl, p, (int)(n < MAX_PIECE ? n : MAX_PIECE));

        if (rc <= 0) { /* `out` never blocks: whatever this is, it is the end */
            fail_describe(c, wolfSSL_get_error(c->ssl, rc));
            return TLS_FAILED;
        }
        p += rc;
        n -= (size_t)rc;
    }
    return TLS_OK;
}

void tls_conn_shutdown(struct tls_conn *c)
{
    if (is_away(c) || c->shut || !c->established || c->fail != NULL || c->nomem)
        return;
    c->shut = true;
    wolfSSL_shutdown(c->ssl);
}

const struct tls_fail *tls_conn_fail(const struct tls_conn *c)
{
    if (is_away(c))
        return &fail_none;
    if (c->fail != NULL)
        return c->fail;
    return c->nomem ? &fail_nomem : &fail_none;
}

struct cert_info *tls_conn_take_peer(struct tls_conn *c)
{
    struct cert_info *peer = c->established ? c->peer : NULL;

    if (peer != NULL)
        c->peer = NULL;
    return peer;
}

struct tls_trail *tls_conn_take_trail(struct tls_conn *c)
{
    struct tls_trail *trail = c->established ? c->trail : NULL;

    if (trail != NULL)
        c->trail = NULL;
    return trail;
}

unsigned tls_conn_crl_gap(const struct tls_conn *c)
{
    return c->crl_gap;
}

enum tls_ocsp_gap tls_conn_ocsp_gap(const struct tls_conn *c)
{
    return (enum tls_ocsp_gap)c->ocsp_gap;
}

const char *tls_ocsp_gap_word(enum tls_ocsp_gap gap)
{
    static const char *const words[] = {
        [TLS_OCSP_FINE] = "fine",       [TLS_OCSP_MISSING] = "missing", [TLS_OCSP_STALE] = "stale",
        [TLS_OCSP_UNKNOWN] = "unknown", [TLS_OCSP_INVALID] = "invalid",
    };

    return words[gap];
}

struct tls_excuse *tls_conn_take_excuse(struct tls_conn *c)
{
    struct tls_excuse *excuse = c->established ? c->excuse : NULL;

    if (excuse != NULL)
        c->excuse = NULL;
    return excuse;
}

const struct tls_anchor *tls_conn_anchor(const struct tls_conn *c)
{
    return c->established ? c->anchor : NULL;
}

bool tls_conn_resumed(const struct tls_conn *c)
{
    return c->ssl != NULL && wolfSSL_session_reused(c->ssl) != 0;
}

bool tls_conn_ticket_seen(const struct tls_conn *c)
{
    return !is_away(c) && c->ticket;
}

const char *tls_conn_chain(const struct tls_conn *c, const char **why)
{
    static const char *const words[] = {
        [TLS_CHAIN_ONLY] = "only",
        [TLS_CHAIN_FITS] = "fits",
        [TLS_CHAIN_USABLE] = "usable",
        [TLS_CHAIN_LAST] = "last-resort",
    };

    *why = words[c->chain_why];
    return c->ctx->chains[c->chain].is.text;
}

const char *tls_conn_version(const struct tls_conn *c)
{
    return c->ssl == NULL ? "none" : wolfSSL_get_version(c->ssl);
}

const char *tls_conn_cipher(const struct tls_conn *c)
{
    return c->ssl == NULL ? "none" : wolfSSL_get_cipher_name(c->ssl);
}
