/* catalogue/catalogue.h - one table of everything that can go wrong, with what to do about it.
 *
 * TLS alerts, OpenSSL's and wolfSSL's codes, MQTT's codes, how connections end, why a sensor or a
 * command is refused: each has a stable name, a class, a sentence and a remedy here, and nowhere
 * else.  Logs and replies take their words from it (tls/fail.h, flip/diagnose.h, mqtt/fault.h),
 * certflipctl explain searches it, certflip-errors(7) is written from it.  Pure tables over
 * nothing but libc: the manual's writer is compiled for the machine that builds.
 *
 * To add a code: a row in rows.c.  To add a kind of codes: a section there.
 */
#ifndef CATALOGUE_CATALOGUE_H
#define CATALOGUE_CATALOGUE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

/* Whose fault is it?  Only DIAG_IDENTITY rolls a flip back. */
enum diag_class {
    DIAG_OK,       /* accepted */
    DIAG_IDENTITY, /* the broker refused this certificate or login */
    DIAG_TRUST,    /* we refused the certificate of a server, or of a sensor */
    DIAG_NETWORK,  /* the way there */
    DIAG_BROKER,   /* there, but busy, unavailable, out of quota */
    DIAG_PROTOCOL, /* one of the two breaks a standard, or they have no version in common */
    DIAG_POLICY,   /* settings that do not fit together, or something amiss on this machine */
    DIAG_SUSPECT,  /* perhaps the identity: refused or closed without saying why */
    DIAG_CLASSES
};

const char *diag_class_name(enum diag_class c);  /* "identity" */
const char *diag_class_about(enum diag_class c); /* a sentence */

enum catalogue_id {
    CATALOGUE_ALERT,        /* a TLS alert that the broker sent */
    CATALOGUE_TRUST,        /* why we refused the broker's certificate */
    CATALOGUE_CONNACK,      /* a return code of MQTT 3.1 and 3.1.1 */
    CATALOGUE_REASON,       /* a reason code of MQTT 5.0 */
    CATALOGUE_WAY,          /* how a connection failed, by errno */
    CATALOGUE_END,          /* how an attempt ended otherwise; codes are enum catalogue_end */
    CATALOGUE_TOKEN,        /* what is amiss with the token that holds our key */
    CATALOGUE_EVIDENCE,     /* what a trial did not prove */
    CATALOGUE_SENSOR_ALERT, /* a TLS alert that a sensor sent */
    CATALOGUE_CLIENT,       /* why we refused a sensor's certificate */
    CATALOGUE_REFUSED,      /* why a sensor was refused */
    CATALOGUE_SENT,         /* a TLS alert that we sent */
    CATALOGUE_LIBRARY,      /* a code of wolfSSL */
    CATALOGUE_FINDING,      /* what lint finds */
    CATALOGUE_COMMAND,      /* why a command was refused: codes of JSON-RPC */
    CATALOGUE_SECTIONS
};

/* Rows of CATALOGUE_END. */
enum catalogue_end {
    END_DNS_FAILED = 1,
    END_DNS_TIMEOUT,
    END_TCP_TIMEOUT,
    END_HANDSHAKE_TIMEOUT,
    END_CONNACK_TIMEOUT,
    END_ESTABLISHED_TIMEOUT,
    END_CLOSED_AFTER_CERTIFICATE,
    END_CLOSED_FOR_CONNACK,
    END_CLOSED,
    END_IMPATIENT,
    END_NO_SERVER,
    END_NOT_TLS,
    END_LOCAL,
    END_FAILED,
    END_IN_ORDER,
    END_REFUSED_EARLY,
    END_ALERT_WITHOUT_NAME,
    END_CODE_WITHOUT_MEANING,
    END_ERRNO,
    END_NO_CONNACK,
    END_MALFORMED,
    END_TAKEN_OVER_PERHAPS,
    END_NO_IDENTITY,
    END_TOPIC_PREFIX,
    END_NO_SPARE,
};

#define CATALOGUE_NO_CODE INT_MIN

struct catalogue_row {
    const char
        *scopes;      /* first part of its stable names, several apart by blanks; "": it has none */
    const char *word; /* last part; one that ends in '*' stands for any number there */
    int code;         /* its number in the section, or CATALOGUE_NO_CODE */
    const char *also; /* how others call it: "X509_V_ERR_CERT_HAS_EXPIRED"; NULL: they do not */
    enum diag_class class;
    const char *sentence; /* no capital, no full stop */
    const char *remedy;   /* "" where there is nothing to do */
};

struct catalogue_section {
    const char *title; /* of the manual */
    const char *about; /* whole sentences */
    const char
        *kind; /* how a number of it is called: "TLS alert"; NULL: it has no numbers to show */
    const char *key; /* the word before a number in a question: "alert" */
    bool hex;        /* numbers are shown so */
    const struct catalogue_row *rows;
    size_t count;
};

const struct catalogue_section *catalogue_section(enum catalogue_id id);

/* NULL: there is none. */
const struct catalogue_row *catalogue_by_code(enum catalogue_id id, int code);
const struct catalogue_row *catalogue_by_word(enum catalogue_id id, const char *word);
const struct catalogue_row *catalogue_by_also(enum catalogue_id id, const char *also);

/* Is `scope` one of the row's? */
bool catalogue_has_scope(const struct catalogue_row *row, const char *scope);

/* The n-th stable name of a row, "tls.unknown_ca"; false past the last one. */
bool catalogue_name(const struct catalogue_row *row, size_t n, char *out, size_t bytes);

/* Every row that `question` may mean: a stable name, its last part, what others call it, a number,
 * or one of them behind the section's key ("alert 48").  The case does not matter, nor the prefix
 * X509_V_ERR_.  Calls `hit` for each and returns how many there were. */
size_t catalogue_find(const char *question,
                      void (*hit)(void *arg, enum catalogue_id id, const struct catalogue_row *row),
                      void *arg);

#endif
