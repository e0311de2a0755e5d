/* tls/conn.h - one TLS connection as a filter: bytes in, bytes out, no socket.
 *
 * The caller hands in what the socket gave (tls_conn_input), runs the handshake or reads plaintext
 * until TLS_AGAIN, and sends whatever was appended to its `out` buffer.  Nothing is kept of the
 * input: at TLS_AGAIN all of it has been consumed by the library (an incomplete record lives
 * inside), so one read buffer serves a whole loop.  Belongs to one thread.
 */
#ifndef TLS_CONN_H
#define TLS_CONN_H

#include "base/buf.h"
#include "base/list.h"
#include "tls/ctx.h"
#include "tls/excuse.h"
#include "tls/fail.h"
#include "tls/trail.h"

enum tls_status {
    TLS_OK,     /* handshake complete; or the bytes asked for */
    TLS_AGAIN,  /* more input is needed */
    TLS_AWAY,   /* the handshake is on its token's thread: nothing to do until `step_done` */
    TLS_CLOSED, /* close_notify from the peer */
    TLS_FAILED, /* tls_conn_fail says why; `out` may hold an alert to be sent still */
};

struct tls_conn;

/* Why a client got its chain. */
enum tls_chain_why {
    TLS_CHAIN_ONLY,   /* there is no other */
    TLS_CHAIN_FITS,   /* it can use and verify it */
    TLS_CHAIN_USABLE, /* it can use it; one that it says it can verify is not there */
    TLS_CHAIN_LAST,   /* there is none for it: the first without conditions */
};

struct tls_conn_args {
    struct tls_ctx *ctx; /* borrowed; the connection takes a reference */
    struct cred *cred;   /* client side: the identity, borrowed, referenced until the handshake is
                            over; NULL: none */
    const char *server_name; /* client side: the name or IP literal that the server certificate must
                                carry; required */
    const char *sni; /* client side: NULL: server_name unless it is an IP literal; "": none */
    const char *const *alpn;     /* client side: may be NULL */
    const struct sockaddr *peer; /* server side: where the client is, to choose a chain; borrowed
                                    for the call; NULL: somewhere */
    size_t alpn_count;
    struct buf
        *out; /* borrowed for the connection's life: ciphertext to be sent is appended here */
    /* Client side, where the key of `cred` is in a token: its handshake goes on on that token's
     * thread, and this is called there when the connection may be used again: post `item` to the
     * thread that owns the connection, for tls_step_take.  NULL: it waits in tls_conn_handshake. */
    void (*step_done)(void *step_arg, struct list *item);
    void *step_arg;
};

/* Returns owned, or NULL with err set.  Which side it is follows from the context. Never resumes a
 * session. */
struct tls_conn *tls_conn_new(const struct tls_conn_args *args, struct err *err);
void tls_conn_free(struct tls_conn *c); /* NULL is fine; at any time, TLS_AWAY too */

/* Hand in ciphertext, borrowed until the next status other than TLS_OK; it takes the place of what
 * was left.  n = 0 with eof says that the peer closed the socket. */
void tls_conn_input(struct tls_conn *c, const uint8_t *p, size_t n, bool eof);
size_t tls_conn_input_left(const struct tls_conn *c); /* what the library has not taken yet */

/* Until TLS_OK; call once without input on the client side to start.  After TLS_AWAY hand in no
 * input, and call again when tls_step_take has said so. */
enum tls_status tls_conn_handshake(struct tls_conn *c);
/* The thread that owns the connection has received `item` (and must, each of them).  Returns
 * step_arg, or NULL when the connection was freed meanwhile. */
void *tls_step_take(struct list *item);
bool tls_conn_established(const struct tls_conn *c);
bool tls_conn_cert_sent(const struct tls_conn *c); /* client: ours is on its way */

/* Decrypt up to `cap` bytes.  TLS_OK with *n > 0. */
enum tls_status tls_conn_read(struct tls_conn *c, uint8_t *buf, size_t cap, size_t *n);
/* Encrypt all of it to `out`.  TLS_OK or TLS_FAILED. */
enum tls_status tls_conn_write(struct tls_conn *c, const uint8_t *p, size_t n);
void tls_conn_shutdown(
    struct tls_conn *c); /* append close_notify; once, and only when established */

/* Why it failed: valid after TLS_FAILED, and after TLS_CLOSED/EOF before the handshake. */
const struct tls_fail *tls_conn_fail(const struct tls_conn *c);

/* Server side: the client's certificate as parsed while verifying.  Returns owned, once; NULL when
 * it sent none. (On the client side nothing is kept of the server's.) */
struct cert_info *tls_conn_take_peer(struct tls_conn *c);

/* Server side: by what it was let in.  Returns owned, once; NULL when it sent no certificate. */
struct tls_trail *tls_conn_take_trail(struct tls_conn *c);

/* It was believed though a list of revoked certificates that would cover its chain is missing, or
 * out of date (crl_policy soft). */
enum tls_crl_gap { TLS_CRL_MISSING = 1, TLS_CRL_STALE = 2 };
unsigned tls_conn_crl_gap(const struct tls_conn *c); /* bits */

/* Client side: the server was believed though its stapled OCSP response proves nothing (ocsp
 * request).  Valid once the handshake is over. */
enum tls_ocsp_gap {
    TLS_OCSP_FINE,    /* it was not asked, or its response is good */
    TLS_OCSP_MISSING, /* it sent none */
    TLS_OCSP_STALE,
    TLS_OCSP_UNKNOWN, /* its CA does not know it */
    TLS_OCSP_INVALID,
};
enum tls_ocsp_gap tls_conn_ocsp_gap(const struct tls_conn *c);
const char *tls_ocsp_gap_word(enum tls_ocsp_gap gap); /* "missing" */

/* Server side: that certificate was accepted by exception alone.  Returns owned, once; NULL when it
 * was not: it needs none. */
struct tls_excuse *tls_conn_take_excuse(struct tls_conn *c);

/* The anchor that vouches for the peer's certificate; borrowed, as long as the connection is there.
 * NULL before the handshake is over, and when there was no certificate to be verified. */
const struct tls_anchor *tls_conn_anchor(const struct tls_conn *c);

bool tls_conn_resumed(
    const struct tls_conn *c); /* it took an earlier session up: never, as of now */
bool tls_conn_ticket_seen(
    const struct tls_conn *c); /* client, TLS 1.3: a NewSessionTicket came (FACTS: accepted) */
/* Server side, once the hello is there: the chain, in words, and why; borrowed. */
const char *tls_conn_chain(const struct tls_conn *c, const char **why);
const char *tls_conn_version(const struct tls_conn *c); /* "TLSv1.3" */
const char *tls_conn_cipher(const struct tls_conn *c);

#endif
