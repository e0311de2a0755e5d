/* tls/policy.h - is a peer's certificate believed?  Facts in, verdict out.
 *
 * Pure: no library, no I/O, no clock, no allocation.  conn.c gathers the facts, from the
 * certificates themselves wherever it can: the library tells only the last thing that it stumbled
 * over, and what it did not get to (revocation behind an expired date) it does not tell at all.
 *
 * Whatever is found counts, and one fault is enough.  The single way around it is a struct
 * tls_exception: it names the client's certificate or its CA, and excuses only what it lists, on
 * the server's side alone, and only when every signature was checked here.  What it cannot list
 * (revoked, not yet valid, another purpose, a broken signature, anything between the certificate
 * and its anchor) is never excused.
 */
#ifndef TLS_POLICY_H
#define TLS_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tls/cert.h"
#include "tls/fail.h"

#define FAULT_BIT(fault) (1u << (fault))

/* What an exception may accept; bits. */
enum tls_accept {
    TLS_ACCEPT_EXPIRED = 1u << 0,
    TLS_ACCEPT_SHA1 = 1u << 1,
    TLS_ACCEPT_MD5 = 1u << 2,       /* MD5, MD4 or MD2 */
    TLS_ACCEPT_SMALL_KEY = 1u << 3, /* RSA below the listener's bound, of at least
                                       TLS_ACCEPT_RSA_BITS */
};

/* Keys below that are factored by anybody: who presents such a certificate has proven nothing. */
#define TLS_ACCEPT_RSA_BITS 1024

struct tls_exception {
    const char *name;              /* borrowed: for logs and status */
    const char *device;            /* borrowed: a glob; who may come in by it */
    uint8_t fp[CERT_FP_BYTES];     /* with has_fp: of the client's certificate */
    uint8_t anchor[CERT_FP_BYTES]; /* with has_anchor: of the anchor that it comes from */
    bool has_fp, has_anchor;       /* at least one; where both are given, both must hold */
    unsigned accept;               /* enum tls_accept, of the certificate and of the named anchor */
    int64_t until_s;               /* wall clock; from then on it excuses nothing */
};

/* What is known about a certificate and its chain.  Faults are FAULT_BIT(enum tls_fault). */
struct policy_facts {
    bool server;      /* we are: the certificate is a client's */
    bool library_ok;  /* the library found nothing */
    uint32_t library; /* what it stopped at; 0: nothing, or something that has no name here */
    uint32_t leaf;    /* seen in the certificate itself */
    uint32_t above;   /* seen between it and its anchor, or in the chain as a whole */
    uint32_t anchor;  /* seen in its anchor */
    unsigned needs;   /* enum tls_accept: what an exception has to accept for `leaf`... */
    unsigned needs_of_anchor; /* ...and for `anchor` */
    bool signed_here;         /* all signatures up to the anchor were checked by us, on our own */
    bool has_anchor;          /* anchor_fp is the anchor that vouches */
    uint8_t fp[CERT_FP_BYTES];
    uint8_t anchor_fp[CERT_FP_BYTES];
    int64_t now_s; /* wall clock */
};

struct policy_verdict {
    bool ok;
    bool excused;    /* ok by exception alone: policy_excuses says by which */
    uint32_t faults; /* all that was seen in the chain; without what the library says */
};

/* The times that dates are compared with; usually the same. */
struct policy_now {
    int64_t not_before_s, not_after_s;
};

/* What dates, digest, key and purpose of one certificate have against it: faults, and in *needs
 * (may be NULL) what an exception would have to accept. */
uint32_t policy_faults(const struct cert_info *ci, bool server, unsigned min_rsa_bits,
                       struct policy_now now, unsigned *needs);

/* Is it believed?  `exceptions` may be NULL with count 0. */
void policy_judge(const struct policy_facts *f, const struct tls_exception *exceptions,
                  size_t count, struct policy_verdict *out);

/* Would this exception alone, for any device, let these facts pass? */
bool policy_excuses(const struct tls_exception *e, const struct policy_facts *f);

#endif
