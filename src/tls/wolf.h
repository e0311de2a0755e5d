/* tls/wolf.h - the library, and what the files of this folder show one another.  Private to this
 * folder.
 *
 * Two builds are served: our own (opensslextra=x509small, where verify callbacks report the
 * library's codes) and a distribution's (full compatibility layer).  What differs between them
 * stands here.
 */
#ifndef TLS_WOLF_H
#define TLS_WOLF_H

#include <wolfssl/options.h>

#include <wolfssl/error-ssl.h>
#include <wolfssl/ssl.h>
#include <wolfssl/version.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/coding.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/sha256.h>

#include <stdatomic.h>

#include "base/buf.h"
#include "tls/anchor.h"
#include "tls/chain.h"
#include "tls/conn.h"
#include "tls/cred.h"
#include "tls/ctx.h"
#include "tls/der.h"
#include "tls/policy.h"

/* The distribution's build leaves TLS 1.0 out. */
#ifdef WOLFSSL_ALLOW_TLSV10
#    define WOLF_OLDEST TLS_V10
#else
#    define WOLF_OLDEST TLS_V11
#endif

/* 5.5 takes any EC key for any EC certificate. */
#if LIBWOLFSSL_VERSION_HEX < 0x05007002
#    define WOLF_EC_UNCHECKED 1
#else
#    define WOLF_EC_UNCHECKED 0
#endif

/* One of a listener's chains.  It has a context of the library of its own: what a context offers
 * follows from the kind of key that it was first given, and that stays. */
#define TLS_CHAINS 64
struct tls_chain {
    WOLFSSL_CTX *wolf; /* owned */
    struct chain is;   /* owned */
};

struct tls_ctx {
    atomic_uint refs;
    bool server;
    enum tls_client_cert client_cert; /* server */
    unsigned min_rsa_bits;
    WOLFSSL_CTX *wolf;          /* owned; client */
    struct tls_chain *chains;   /* owned; server, in the order in which they are looked through */
    size_t chain_count;         /* at most TLS_CHAINS */
    size_t last_resort;         /* of the chains: the first without conditions */
    struct chain_suite *suites; /* owned; server */
    struct chain_side side;     /* server; borrows suites */
    struct tls_anchors count;
    struct tls_anchor **anchors; /* owned references; those that have not expired */
    size_t anchor_count;
    struct tls_anchor **helpers; /* owned references; intermediates that an anchor vouches for */
    size_t helper_count;
    struct crl_set *crls; /* owned reference, or NULL */
    enum crl_policy crl_policy;
    enum staple_policy ocsp;          /* client */
    struct tls_exception *exceptions; /* owned, with their texts; server */
    size_t exception_count;
    struct tls_anchor **aside; /* owned references; those that an exception names and that cannot
                                  vouch for anybody else: the library never gets them */
    size_t aside_count;
};

/* A certificate and those above it, below the anchor; borrowed. */
#define TLS_PATH_MAX 16
struct tls_path {
    struct der cert[TLS_PATH_MAX];
    size_t n; /* beyond TLS_PATH_MAX: too many */
};

/* heap.c: between the two what the library allocates on this thread lies in memory for keys
 * (base/secret.h), for as long as it lives.  They nest. */
void wolf_secret_begin(void);
void wolf_secret_end(void);
int wolf_heap_init(void); /* before anything is allocated; 0, or the library's code */

/* cred.c: what the library is given; both borrowed from `c`. */
struct der cred_chain_der(const struct cred *c); /* leaf first, concatenated */
struct der cred_key_der(const struct cred *c);

/* The library's bound on RSA keys holds for our own key as well; what peers present is checked by
 * conn.c besides.  So this is the bound to give to the library: `min_bits`, or less when our own
 * key has less. */
unsigned cred_min_rsa_bits(const struct cred *c, unsigned min_bits);

struct token_key;
struct token_key *cred_token_key(const struct cred *c); /* borrowed; NULL: its key is a file's */
/* token_key.c, once per process */
int token_keys_init(struct err *err);

/* cred.c: present the credential on this connection.  Returns 0 or the library's code. */
int cred_use(const struct cred *c, WOLFSSL *ssl, unsigned min_rsa_bits);

/* cred.c: do this certificate and this private key (PKCS#8, SEC1 or PKCS#1) belong together? */
bool cred_pair_fits(struct der cert, struct der key);

/* ctx.c: which of the chains are for a peer at this address, as bits; NULL: for one without. */
uint64_t tls_ctx_near(const struct tls_ctx *ctx, const struct sockaddr *peer);
/* ctx.c: which of the context's chains a client gets; `hello` holds its hello whole, or something
 * else. */
size_t tls_ctx_for_hello(const struct tls_ctx *ctx, uint64_t near, const uint8_t *hello, size_t n,
                         enum tls_chain_why *why);
/* False while more of the hello is needed. */
bool tls_ctx_hello_complete(const uint8_t *hello, size_t n);

/* ctx.c: the anchor that has issued this certificate, one that is valid now if there is one;
 * borrows, or NULL. */
const struct tls_anchor *tls_ctx_anchor_of(const struct tls_ctx *ctx, const uint8_t *der, size_t n);
/* ctx.c: the same among those that were set aside. */
const struct tls_anchor *tls_ctx_aside_of(const struct tls_ctx *ctx, const uint8_t *der, size_t n);
/* excuse.c: is each of the path signed by the next one, and the last by the anchor?  All of it is
 * checked but dates, digests and key sizes.  On one's own: nothing of it stays in any context. */
bool tls_path_signed(const struct tls_anchor *anchor, const struct tls_path *path);
/* excuse.c: takes a reference; returns owned or NULL. */
struct tls_excuse *tls_excuse_new(struct tls_ctx *ctx, const struct policy_facts *facts);
/* ctx.c: has one of the anchors the name of the CA that this certificate says has issued it? */
bool tls_ctx_has_name(const struct tls_ctx *ctx, const uint8_t *der, size_t n);
/* ctx.c: the anchor that is this very certificate, self-signed and no CA; borrows, or NULL. */
const struct tls_anchor *tls_ctx_pinned(const struct tls_ctx *ctx, const struct cert_info *ci);
/* ctx.c: the intermediate of ours that has issued this certificate; borrows, or NULL. */
const struct tls_anchor *tls_ctx_helper_of(const struct tls_ctx *ctx, const uint8_t *der, size_t n);

/* conn.c: what every connection of a context calls back. */
int tls_conn_recv_cb(WOLFSSL *ssl, char *buf, int n, void *conn);
int tls_conn_send_cb(WOLFSSL *ssl, char *buf, int n, void *conn);
int tls_conn_verify_cb(int ok, WOLFSSL_X509_STORE_CTX *store);

/* cert.c: subject and issuer as encoded; borrowed from the DER.  False when it is no certificate.
 */
bool cert_names(const uint8_t *der, size_t n, struct der *issuer, struct der *subject);

/* cert.c: does one name, as encoded, begin with all RDNs of the other (`whole`: and have no more)?
 * Compared as RFC 5280, 7.1 has it. */
bool cert_name_begins(struct der name, struct der with, bool whole);

/* cert.c: what there is to verify a certificate by, and to verify others with; all borrowed. */
struct cert_parts {
    struct der tbs;        /* what is signed, whole */
    struct der alg, sig;   /* contents: of the AlgorithmIdentifier, of the BIT STRING */
    struct der alg_inside; /* contents of the one that was signed: RFC 5280, 4.1.1.2: the same */
    struct der serial;     /* contents of the INTEGER */
    struct der issuer;     /* whole */
    struct der subject;    /* whole */
    struct der spki;       /* whole */
    struct der extensions; /* contents of the SEQUENCE; empty: none */
};

bool cert_parts(const uint8_t *der, size_t n, struct cert_parts *out);
/* cert.c: the contents of the OCTET STRING of an extension.  False when it is not there. */
bool cert_extension(struct der extensions, const void *oid, size_t n, struct der *value);
/* cert.c: a name as RFC 4514 writes it.  Returns owned, or NULL. */
char *cert_name_text(struct der name);
/* cert.c: UTCTime or GeneralizedTime as RFC 5280 wants them, in seconds of the wall clock. */
bool cert_time(struct der *d, int64_t *out);
/* anchor.c: has the first certificate issued the second, as tls_anchor_issued has it? */
bool cert_issued(struct der issuer, struct der cert);

/* cert.c: the public key as it stands in the BIT STRING; borrowed.  An EC key: a point of X9.62. */
bool cert_public_key(const uint8_t *der, size_t n, struct der *key);

#endif
