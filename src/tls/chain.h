/* tls/chain.h - which of a listener's chains a client gets, by its hello and its address.
 *
 * Pure once made, any thread; private to this folder.
 */
#ifndef TLS_CHAIN_H
#define TLS_CHAIN_H

#include "base/buf.h"
#include "base/err.h"
#include "tls/ctx.h"
#include "tls/hello.h"

#define CHAIN_CERTS 10
#define CHAIN_SIGS  2 /* numbers that one signature may have in a hello */

enum chain_key { CHAIN_KEY_RSA, CHAIN_KEY_EC, CHAIN_KEY_ED25519, CHAIN_KEY_OTHER };

/* One cipher suite of the listener up to TLS 1.2; from 1.3 on they go with any chain. */
struct chain_suite {
    uint16_t id;
    bool ecdhe; /* else key exchange by RSA */
    bool ecdsa; /* who signs it; else RSA */
    bool old;   /* before TLS 1.2 too */
};

struct chain {
    /* conditions */
    char *glob;              /* owned, lower case; NULL: any name, or none */
    struct subnet *networks; /* owned */
    size_t network_count;    /* 0: any */
    unsigned tls_max;        /* the client offers nothing newer; 0: any */
    /* what a client must know */
    enum chain_key key;
    uint16_t curve;                         /* of supported_groups; CHAIN_KEY_EC */
    uint16_t sigs[CHAIN_CERTS][CHAIN_SIGS]; /* of each certificate that is not self-signed; 0 when
                                               no hello can name it */
    size_t sig_count;
    struct buf names; /* owned: subject and issuer of each certificate, one after the other */
    char *text;       /* owned, for logs */
};

/* What of the listener matters. */
struct chain_side {
    unsigned min, max; /* TLS versions */
    const struct chain_suite *suites;
    size_t suite_count;
};

/* Fill *out, which chain_fini frees in any case.  Returns 0 or a negative code with err. */
int chain_init(struct chain *out, const struct tls_server_chain *from, struct err *err);
void chain_fini(struct chain *c);
bool chain_unconditional(const struct chain *c);
bool chain_from(const struct chain *c, const struct sockaddr *peer);

/* Can the handshake come to an end with this key? */
bool chain_usable(const struct chain *c, const struct hello *h, const struct chain_side *side);
/* Does all that the hello says of certificates allow this chain? */
bool chain_verifiable(const struct chain *c, const struct hello *h);

/* Whether chain `i` is to be considered for this client (`near`: bit i, by its address), and is for
 * the name that it asks for (`named`), or for any.  A hello that could not be read: NULL. */
bool chain_considered(const struct chain *c, const struct hello *h, bool near, bool named);

#endif
