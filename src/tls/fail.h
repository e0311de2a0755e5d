/* tls/fail.h - why a TLS connection failed, in the words that operators know; what to do about it
 * stands in the catalogue.  Pure tables. */
#ifndef TLS_FAIL_H
#define TLS_FAIL_H

#include <stdbool.h>
#include <stdint.h>

enum tls_fail_side {
    TLS_FAIL_NONE,
    TLS_FAIL_PEER_ALERT, /* the peer sent a fatal alert: `alert` */
    TLS_FAIL_PEER_CERT,  /* we did not accept the peer's certificate, or it sent none: `x509` */
    TLS_FAIL_EOF,        /* the connection ended without a word */
    TLS_FAIL_LOCAL,      /* anything else on our side: `code` */
    TLS_FAIL_TOKEN,      /* the token that holds our key did not sign: `word` */
};

struct tls_fail {
    enum tls_fail_side side;
    int alert;        /* alert received, -1: none (RFC 8446, 6) */
    int alert_sent;   /* fatal alert that we sent, -1: none */
    int code;         /* the library's, negative; 0 when it has nothing to do with the library */
    const char *x509; /* "X509_V_ERR_CERT_HAS_EXPIRED" or NULL; static */
    const char
        *word; /* "expired", "unknown_ca", "absent": its word in the catalogue, or NULL; static */
    bool after_hello; /* the server's hello had been seen: it is a TLS server */
    bool after_cert;  /* our certificate had been sent */
    bool established; /* the handshake had completed on our side (TLS 1.3: the peer may still refuse
                         us) */
    char
        text[320]; /* a sentence: names the subject and fingerprint of a refused peer certificate */
    char remedy[200]; /* what to do */
};

const char *tls_alert_name(int alert); /* "unknown_ca"; "none" for -1 */

/* What can be wrong with a peer's certificate.  In the order of use to whoever has to mend it: of
 * several faults the first one leads. */
enum tls_fault {
    TLS_FAULT_NONE,
    TLS_FAULT_SELF_SIGNED,
    TLS_FAULT_UNKNOWN_ISSUER,
    TLS_FAULT_BAD_SIGNATURE,
    TLS_FAULT_REVOKED,
    TLS_FAULT_NOT_YET_VALID,
    TLS_FAULT_EXPIRED,
    TLS_FAULT_SMALL_KEY,
    TLS_FAULT_WEAK_DIGEST,
    TLS_FAULT_PURPOSE,
    TLS_FAULT_NAME,
    TLS_FAULT_PATH_LENGTH,
    TLS_FAULT_CHAIN_LENGTH,
    TLS_FAULT_NO_CRL,
    TLS_FAULT_CRL_EXPIRED,
    TLS_FAULT_OCSP_UNKNOWN, /* these four: of servers alone */
    TLS_FAULT_OCSP_EXPIRED,
    TLS_FAULT_OCSP_INVALID,
    TLS_FAULT_OCSP_MISSING,
    TLS_FAULT_NO_POSSESSION, /* the peer does not hold the key of its certificate */
    TLS_FAULT_MALFORMED,
    TLS_FAULT_MISSING, /* there is no certificate */
    TLS_FAULTS
};

struct tls_fault_words {
    const char *x509; /* OpenSSL's name, or NULL where it has none */
    const char *word; /* its row in CATALOGUE_TRUST and CATALOGUE_CLIENT: "expired" */
    const char *what; /* "has expired" */
};

const struct tls_fault_words *tls_fault_words(enum tls_fault fault);

/* What to do about such a certificate of a server, or of a client; "" where such a one has none. */
const char *tls_fault_remedy(enum tls_fault fault, bool of_server);

/* What to do about an alert that a server (or a client) sent us. */
const char *tls_alert_remedy(int alert, bool from_server);

#endif
