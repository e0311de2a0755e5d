/* tls/ctx.h - what all connections of a listener, or of an upstream profile, have in common.
 *
 * A context is immutable once made and reference counted (atomic); a change of trust or of
 * certificates makes a new one, and established connections keep theirs.  With a context goes what
 * the library remembers of peers: the intermediates that they sent.  Any thread.
 */
#ifndef TLS_CTX_H
#define TLS_CTX_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/subnet.h"
#include "tls/anchor.h"
#include "tls/cred.h"
#include "tls/crl.h"
#include "tls/policy.h"

enum tls_version { TLS_V10 = 0x0301, TLS_V11 = 0x0302, TLS_V12 = 0x0303, TLS_V13 = 0x0304 };

enum tls_client_cert {
    TLS_CLIENT_CERT_REQUIRE, /* no certificate, no connection */
    TLS_CLIENT_CERT_REQUEST, /* asked for; what is sent must verify, nothing is fine too */
    TLS_CLIENT_CERT_NONE,    /* not asked for */
};

/* What a server has to say of its own certificate, in the words of its CA (stapled OCSP). */
enum staple_policy {
    STAPLE_OFF,     /* it is not asked */
    STAPLE_REQUEST, /* asked; one that says revoked refuses the server, one that is missing, late or
                     wrong is counted */
    STAPLE_REQUIRE, /* without one that is good and in date, the server is refused */
};

struct tls_server_chain {
    const struct cred *cred;       /* borrowed; the context keeps what it needs of it */
    const char *sni_glob;          /* borrowed, in any case; NULL: whatever name is asked for */
    const struct subnet *networks; /* borrowed: where its clients are */
    size_t network_count;          /* 0: anywhere */
    unsigned tls_max; /* its clients offer nothing newer, as enum tls_version; 0: whatever */
};

/* Who vouches for peers; borrowed, the context takes references. */
struct tls_trust {
    struct tls_anchor *const *anchors;
    size_t anchor_count;
    struct tls_anchor *const *helpers; /* intermediates: complete the chains of peers that do not
                                          send them, and vouch for nobody of their own */
    size_t helper_count;
    bool nobody; /* there is no anchor, or none that has not expired, on purpose: no peer is
                    believed.  Else that is an error */
};

struct tls_server_args {
    enum tls_version min, max;
    const char
        *ciphers; /* "ECDHE-RSA-AES128-GCM-SHA256:..."; NULL: our default for the version range.
                     TLS 1.3 suites are our own unless the list names some (as in OpenSSL) */
    unsigned min_rsa_bits; /* of client certificates and their CAs; 0: 2048 */
    enum tls_client_cert client_cert;
    /* Of those whose conditions hold, the first that the client can use and verify: among those
     * with a name before those without.  One without conditions, at least: the first such is for
     * whom no other fits. */
    const struct tls_server_chain *chains;
    size_t chain_count;
    struct tls_trust trust; /* none only with TLS_CLIENT_CERT_NONE */
    struct crl_set *crls;   /* borrowed, the context takes a reference; NULL: none */
    enum crl_policy crl_policy;
    const struct tls_exception *exceptions; /* borrowed, texts as well: what is accepted all the
                                               same */
    size_t exception_count;
};

struct tls_client_args {
    enum tls_version min, max; /* 1.2 or 1.3 */
    const char *ciphers;
    struct tls_trust trust;
    struct crl_set *crls; /* as above */
    enum crl_policy crl_policy;
    enum staple_policy ocsp; /* -ERR_INVALID for more than STAPLE_OFF unless tls_has_ocsp */
};

struct tls_ctx;

/* What became of the anchors. */
struct tls_anchors {
    size_t loaded;
    size_t expired; /* left out: nobody that they vouch for is believed any longer */
    size_t aside;   /* of these, those that vouch by exception still; and such with small keys */
    size_t helpers; /* intermediates in use; the others have expired, or no anchor vouches for them
                     */
};

/* Once per process, before anything else of this folder; returns 0 or -ERR_TLS. */
int tls_init(struct err *err);
void tls_fini(void);
/* At the end of every other thread that used this folder: frees what the library keeps for each. */
void tls_thread_fini(void);
const char *tls_library(void);            /* "wolfSSL 5.7.2" */
bool tls_has_version(enum tls_version v); /* distributions leave TLS 1.0 out */
bool tls_has_ocsp(void); /* can stapled responses be seen? Not in a distribution's library */

struct tls_ctx *tls_ctx_new_server(const struct tls_server_args *args,
                                   struct err *err); /* owned or NULL */
struct tls_ctx *tls_ctx_new_client(const struct tls_client_args *args, struct err *err);
/* The anchor that the chain of this credential leads to, by way of what is in the chain and of the
 * helpers; borrows of `trust`, or NULL.  Dates are not looked at. */
const struct tls_anchor *tls_trust_root(const struct tls_trust *trust, const struct cred *c);

struct tls_ctx *tls_ctx_ref(struct tls_ctx *ctx);
void tls_ctx_unref(struct tls_ctx *ctx);                              /* NULL is fine */
const struct tls_anchors *tls_ctx_anchors(const struct tls_ctx *ctx); /* borrows */
const struct crl_set *tls_ctx_crls(const struct tls_ctx *ctx);        /* borrows; NULL: none */
enum crl_policy tls_ctx_crl_policy(const struct tls_ctx *ctx);
/* An anchor for whose certificates crl_policy demands a list while there is none, so that it
 * vouches for nobody; the next one from *at on, which is 0 at first.  Borrows; NULL: no more. */
const struct cert_info *tls_ctx_without_crl(const struct tls_ctx *ctx, size_t *at);

#endif
