/* flip/diagnose.h - why did an attempt to reach the broker fail, and whose fault is it?
 *
 * Pure: facts in, a class, a stable name, a sentence and a remedy out; the words are those of
 * catalogue/catalogue.h.  Any thread.
 * Only DIAG_IDENTITY rolls a flip back.  DIAG_SUSPECT, and what is silent, is settled by trying the
 * other identity (flip/differ.h).
 */
#ifndef FLIP_DIAGNOSE_H
#define FLIP_DIAGNOSE_H

#include <stdbool.h>
#include <stdint.h>

#include "catalogue/catalogue.h" /* enum diag_class */

/* How far the attempt got. */
enum diag_stage {
    DIAG_AT_DNS,
    DIAG_AT_TCP,
    DIAG_AT_TLS,         /* handshake begun, not complete on our side */
    DIAG_AT_CONNECT,     /* TLS is up (or TCP alone, upstream without TLS), CONNECT not sent */
    DIAG_AT_CONNACK,     /* CONNECT sent, CONNACK awaited or here */
    DIAG_AT_ESTABLISHED, /* CONNACK 0 was here */
};

/* In the order of enum tls_fail_side. */
enum diag_tls_side {
    DIAG_TLS_NONE,
    DIAG_TLS_PEER_ALERT, /* the peer sent a fatal alert */
    DIAG_TLS_PEER_CERT,  /* we did not accept the peer's certificate */
    DIAG_TLS_EOF,        /* the connection ended without a word */
    DIAG_TLS_LOCAL,      /* anything else on our side */
    DIAG_TLS_TOKEN,      /* the token that holds our key did not sign, or was known not to */
};

struct diag_in {
    enum diag_stage stage;
    int errnum;           /* errno, positive; 0: none */
    const char *detail;   /* borrowed, may be NULL: the text of a resolver, of struct tls_fail */
    uint8_t mqtt_version; /* as in CONNECT: 3, 4, 5 */
    int code;             /* of CONNACK, or of DISCONNECT once established; -1: none came */
    bool timed_out;       /* a deadline of ours passed */
    bool eof;             /* the peer ended the connection */
    bool waited;          /* at DIAG_AT_CONNECT: TLS had been up for long; CONNECT was our turn */
    /* Copied from struct tls_fail.  They count at every stage: TLS 1.3 refuses late. */
    enum diag_tls_side tls_side;
    int tls_alert;        /* -1: none */
    int tls_code;         /* the library's */
    const char *tls_x509; /* "X509_V_ERR_CERT_HAS_EXPIRED" or NULL */
    const char *tls_word; /* "expired": its word in the catalogue, or NULL */
    bool token_slow;      /* the broker had to wait for the token that holds our key, and was kept
                             waiting      for longer than some wait */
    bool tls_after_hello; /* the server's hello had been seen */
    bool tls_after_cert;  /* our certificate had been sent */
};

struct diag {
    enum diag_class class;
    bool silent; /* an end or a silence without a word after the broker had seen who we are: perhaps
                    its answer to that, whatever the class.  See flip/differ.h */
    char name[56];      /* stable: "tls.unknown_ca", "connack.not-authorized", "tcp.refused" */
    char sentence[320]; /* what happened; one line */
    char remedy[240];   /* what to do about it */
    const char *alert;  /* "unknown_ca": the TLS alert that the peer sent; NULL: none.  Static */
    int alert_number;   /* its number (RFC 8446, 6); only with `alert` */
    const char *x509; /* "X509_V_ERR_CERT_HAS_EXPIRED": how OpenSSL calls the cause, ours or, by its
                         alert, the peer's; NULL: it has no such name, or nobody said.  Static */
};

/* Nothing happened yet: no alert, no code. */
#define DIAG_IN_INIT                \
    {                               \
        .tls_alert = -1, .code = -1 \
    }

struct diag diagnose(const struct diag_in *in);

/* Differential diagnosis: the other identity was tried, too, right after `d`.
 * Both fail: not the identity.  The other one works: the identity.  What was neither suspect, nor
 * silent, nor an identity refused stays as it is. */
struct diag diag_settle(const struct diag *d, bool other_works);

/* By which class's waits to go on: an end without a word passes by itself, like the network's. */
enum diag_class diag_pace(const struct diag *d);

/* What session/ found out itself: a row of CATALOGUE_END or CATALOGUE_EVIDENCE.  `sentence` NULL:
 * the row's. */
struct diag diag_of(const struct catalogue_row *row, const char *sentence);

const char *diag_stage_name(enum diag_stage s); /* "tls" */

#endif
