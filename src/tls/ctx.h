/* tls/ctx.h - what all connections of a listener, or of an upstream profile, have in common.
 *
 * A context is immutable once made and reference counted (atomic); a change of trust or of
 * certificates makes a new one, and established connections keep theirs.  Made on the main thread
 * (it reads files), used on any.
 */
#ifndef TLS_CTX_H
#define TLS_CTX_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "tls/cred.h"

enum tls_version { TLS_V10 = 0x0301, TLS_V11 = 0x0302, TLS_V12 = 0x0303, TLS_V13 = 0x0304 };

enum tls_client_cert {
    TLS_CLIENT_CERT_REQUIRE, /* no certificate, no connection */
    TLS_CLIENT_CERT_REQUEST, /* asked for; what is sent must verify, nothing is fine too */
    TLS_CLIENT_CERT_NONE,    /* not asked for */
};

struct tls_server_chain {
    const struct cred *cred; /* borrowed; the context keeps what it needs of it */
    const char
        *sni_glob; /* borrowed, in any case; NULL: the default chain.  The first match counts */
};

struct tls_server_args {
    enum tls_version min, max;
    const char
        *ciphers; /* "ECDHE-RSA-AES128-GCM-SHA256:..."; NULL: our default for the version range.
                     TLS 1.3 suites are our own unless the list names some (as in OpenSSL) */
    unsigned min_rsa_bits; /* of client certificates and their CAs; 0: 2048 */
    enum tls_client_cert client_cert;
    const struct tls_server_chain *chains; /* exactly one without sni_glob */
    size_t chain_count;
    const char *const *anchor_paths; /* PEM files, any number of certificates each */
    size_t anchor_count;             /* none only with TLS_CLIENT_CERT_NONE */
};

struct tls_client_args {
    enum tls_version min, max; /* 1.2 or 1.3 */
    const char *ciphers;
    const char *const *anchor_paths;
    size_t anchor_count;
};

struct tls_ctx;

/* What came out of the anchor files. */
struct tls_anchors {
    size_t loaded;
    size_t expired; /* left out: nobody that they vouch for is believed any longer */
};

/* Once per process, before anything else of this folder; returns 0 or -ERR_TLS. */
int tls_init(struct err *err);
void tls_fini(void);
/* At the end of every other thread that used this folder: frees what the library keeps for each. */
void tls_thread_fini(void);
const char *tls_library(void);            /* "wolfSSL 5.7.2" */
bool tls_has_version(enum tls_version v); /* distributions leave TLS 1.0 out */

struct tls_ctx *tls_ctx_new_server(const struct tls_server_args *args,
                                   struct err *err); /* owned or NULL */
struct tls_ctx *tls_ctx_new_client(const struct tls_client_args *args, struct err *err);
struct tls_ctx *tls_ctx_ref(struct tls_ctx *ctx);
void tls_ctx_unref(struct tls_ctx *ctx);                              /* NULL is fine */
const struct tls_anchors *tls_ctx_anchors(const struct tls_ctx *ctx); /* borrows */

#endif
