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
#include <wolfssl/wolfcrypt/coding.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/sha256.h>

#include <stdatomic.h>

#include "tls/cred.h"
#include "tls/ctx.h"
#include "tls/der.h"

/* The distribution's build leaves TLS 1.0 out. */
#ifdef WOLFSSL_ALLOW_TLSV10
#    define WOLF_OLDEST TLS_V10
#else
#    define WOLF_OLDEST TLS_V11
#endif

/* A chain beside the default one, taken when the client asks for a name. */
struct tls_sni_chain {
    struct cred *cred; /* referenced */
    char *glob;        /* owned, lower case */
};

struct tls_ctx {
    atomic_uint refs;
    bool server;
    enum tls_client_cert client_cert; /* server */
    unsigned min_rsa_bits;
    WOLFSSL_CTX *wolf;            /* owned */
    struct tls_sni_chain *chains; /* owned; server, those with a glob */
    size_t chain_count;
    struct tls_anchors anchors;
};

/* cred.c: what the library is given; both borrowed from `c`. */
struct der cred_chain_der(const struct cred *c); /* leaf first, concatenated */
struct der cred_key_der(const struct cred *c);

/* cred.c: present the credential on this connection.  Returns 0 or the library's code. */
int cred_use(const struct cred *c, WOLFSSL *ssl, unsigned min_rsa_bits);

/* conn.c: what every connection of a context calls back. */
int tls_conn_recv_cb(WOLFSSL *ssl, char *buf, int n, void *conn);
int tls_conn_send_cb(WOLFSSL *ssl, char *buf, int n, void *conn);
int tls_conn_verify_cb(int ok, WOLFSSL_X509_STORE_CTX *store);

/* cert.c: subject and issuer as encoded; borrowed from the DER.  False when it is no certificate.
 */
bool cert_names(const uint8_t *der, size_t n, struct der *issuer, struct der *subject);

#endif
