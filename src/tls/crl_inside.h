/* tls/crl_inside.h - a list's insides, for crl.c and crl_set.c. */
#ifndef TLS_CRL_INSIDE_H
#define TLS_CRL_INSIDE_H

#include <stdatomic.h>

#include "tls/crl.h"
#include "tls/wolf.h"

#define CRL_NUMBER_BYTES 20 /* RFC 5280, 5.2.3 */

struct crl_entry {
    int64_t revoked_s;
    uint8_t serial_len;
    uint8_t serial[CRL_SERIAL_BYTES]; /* without leading zeros */
    uint8_t reason;                   /* RFC 5280, 5.3.1 */
};

/* How new a list is. */
struct crl_rank {
    uint8_t number[CRL_NUMBER_BYTES]; /* to the right, zeros in front */
    bool numbered;
    int64_t this_update_s;
};

struct crl {
    atomic_uint refs;
    struct buf raw; /* the DER; empty once it was verified: it is large, and not asked again */
    struct der tbs, alg, sig;       /* in raw */
    uint8_t issuer[CRL_HASH_BYTES]; /* of the name as encoded */
    uint8_t scope[CRL_HASH_BYTES];  /* of issuer, issuer's key and distribution point */
    uint8_t fp[CRL_HASH_BYTES];
    char *issuer_text; /* owned */
    char *file;        /* owned; NULL */
    char number_text[2 * CRL_NUMBER_BYTES + 1];
    struct crl_rank own, rank; /* rank: own, or what it was forced over */
    bool forced;
    int64_t next_update_s;
    struct crl_entry *entries; /* owned, sorted */
    size_t count;
    struct buf points; /* GeneralNames of its distribution point; empty: it is for all */
    bool only_users, only_cas;
};

/* Where the list says that the serial is revoked, or NULL. */
const struct crl_entry *crl_entry_of(const struct crl *c, const uint8_t *serial, size_t n);

/* "keyCompromise" */
const char *crl_reason_text(unsigned reason);

/* A serial number without leading zeros.  False when it is longer than any may be. */
bool crl_serial_of(struct der integer, uint8_t out[CRL_SERIAL_BYTES], uint8_t *n);

/* Let go of what only verifying needs. */
void crl_trim(struct crl *c);

#endif
