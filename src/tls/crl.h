/* tls/crl.h - revocation: what CAs say of the certificates that they want no longer believed.
 *
 * A struct crl is one certificate revocation list (RFC 5280, 5), a struct crl_set all those that a
 * listener or an upstream profile goes by, each verified with a CA that is known there.  Both are
 * immutable once made, reference counted (atomic), and read on any thread; looking a certificate up
 * takes O(log n) and no lock.  Made on the main thread (files are read).
 */
#ifndef TLS_CRL_H
#define TLS_CRL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct tls_anchor;

#define CRL_HASH_BYTES   32
#define CRL_SERIAL_BYTES 21
#define CRL_FILE_BYTES   ((size_t)64 * 1024 * 1024)

enum crl_policy {
    CRL_OFF,    /* nobody is asked */
    CRL_SOFT,   /* who is listed is refused; a list that is missing or out of date is counted */
    CRL_STRICT, /* and without a list that is in date, nobody of that CA is let in */
};

struct crl;
struct crl_set;

/* What there is to say of a list; borrowed from it. */
struct crl_facts {
    const char *issuer; /* "CN=ca,O=Plant" */
    const char *number; /* CRL number in hex; "" without */
    const char *file;   /* where it was read; "" when it was not */
    int64_t this_update_s;
    int64_t next_update_s; /* 0: it does not say */
    size_t entries;
    uint8_t fp[CRL_HASH_BYTES]; /* SHA-256 of the whole DER */
};

/* Read one list.  Nothing is verified.  What is understood in part only (a delta, an indirect list,
 * one for some reasons only, a critical extension that is not known) is refused with the reason.
 * Returns owned, or NULL with err set. */
struct crl *crl_new(const uint8_t *der, size_t n, struct err *err);
struct crl *crl_ref(struct crl *c);
void crl_unref(struct crl *c); /* NULL is fine */
struct crl_facts crl_facts(const struct crl *c);

/* Do both say the same of the same certificates: same issuer, issuer's key and scope?  Then one
 * takes the other's place. */
bool crl_same_scope(const struct crl *a, const struct crl *b);
/* < 0: `a` is older than `b`.  By CRL number where both have one, else by thisUpdate. */
int crl_compare(const struct crl *a, const struct crl *b);

/* The file of a list that came at run time: a line, then `text`, which is PEM.  The line holds a
 * digest, as a file that is damaged must not pass for one without a list; and where the list was
 * forced in the place of `over` (NULL: it was not), which is newer, what lets it stay there.
 * Appends to `out`; returns 0 or -ERR_NOMEM. */
int crl_stored_text(const struct crl *over, const struct buf *text, struct buf *out);
/* The name of its file: that of its scope, so that the next one takes its place. */
void crl_stored_name(const struct crl *c, char out[2 * CRL_HASH_BYTES + 5]);

/* The list in a file's text: PEM, or DER, of exactly one.  What else is in it is passed over.
 * Returns owned or NULL. */
struct crl *crl_of_text(const uint8_t *text, size_t n, struct err *err);

/* Where a set comes from. */
struct crl_args {
    const char *const *paths; /* files, or folders of them, as configured */
    size_t path_count;
    const char *stored_dir; /* folder of those that came at run time; NULL, or not there: none */
    struct tls_anchor *const *anchors; /* borrowed: who may sign lists... */
    size_t anchor_count;
    struct tls_anchor *const *helpers; /* ...and intermediate CAs that may when they lead there */
    size_t helper_count;
};

/* Read all of them.  A file holds lists and the certificates of intermediate CAs that signed some,
 * which must lead to one of the anchors.  In a file that was named itself, every list must be by a
 * known CA; in folders, lists of others are passed over.  Of several lists of one scope the newest
 * counts.  Returns owned, or NULL with err set: file, what is wrong with it, remedy. */
struct crl_set *crl_set_new(const struct crl_args *args, struct err *err);
struct crl_set *crl_set_ref(struct crl_set *s);
void crl_set_unref(struct crl_set *s); /* NULL is fine */

size_t crl_set_count(const struct crl_set *s);
const struct crl *crl_set_at(const struct crl_set *s, size_t i); /* borrows */

/* Was `c` signed by a CA that the set knows?  Returns 0; -ERR_NOT_FOUND when it knows none of that
 * name; another negative code when it does, and `c` is not signed by it. */
int crl_set_verify(const struct crl_set *s, const struct crl *c, struct err *err);

/* Is there a list by this CA?  By its certificate (DER); of a list that was verified the name is
 * enough. */
bool crl_set_has_of(const struct crl_set *s, const uint8_t *ca, size_t n);

/* The list of the same scope that counts in the set, or NULL; borrows. */
const struct crl *crl_set_like(const struct crl_set *s, const struct crl *c);

/* A list that `was` has, while its CA is still known and its file still there, and for which `s`
 * has none: something happened to the file.  The next one from *at on, which is 0 at first; borrows
 * from `was`, or NULL. */
const struct crl *crl_set_lost(const struct crl_set *s, const struct crl_set *was, size_t *at);

/* Which certificate: its issuer (SHA-256 of the name as encoded) and its serial number. */
struct crl_id {
    uint8_t issuer[CRL_HASH_BYTES];
    uint8_t serial[CRL_SERIAL_BYTES]; /* without leading zeros */
    uint8_t serial_len;
};

enum crl_verdict {
    CRL_SAYS_GOOD,
    CRL_SAYS_REVOKED,
    CRL_SAYS_STALE,   /* not listed, but the list is past its nextUpdate */
    CRL_SAYS_NOTHING, /* there is none that covers it */
};

/* What the set says of a certificate at `now_s`, which should be clock_date_s(): by a wall clock
 * that stands in 1970 a list would be in date for ever.  A list whose thisUpdate is still to come
 * is taken: it was signed, so what is wrong is somebody's clock, and who is in it is revoked.  It
 * is no proof of the time either: one CA whose clock is wrong would put the lists of all others out
 * of date.  `why` (may be NULL) gets for CRL_SAYS_REVOKED the reason and the day, in words. */
enum crl_verdict crl_set_judge(const struct crl_set *s, const uint8_t *der, size_t n, int64_t now_s,
                               char *why, size_t why_bytes);
/* Is it listed? */
bool crl_set_lists(const struct crl_set *s, const struct crl_id *id);

/* Fill in from a certificate.  False when it is none. */
bool crl_id_of(const uint8_t *der, size_t n, struct crl_id *out);

#endif
