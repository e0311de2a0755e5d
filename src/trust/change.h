/* trust/change.h - what was changed at run time about who is believed: anchors that were added, and
 * those that were taken away, wherever they stand.
 *
 * There are two sets of anchors: `downstream` (which sensors are let in) and `upstream` (which
 * brokers are believed).  All changes together are one value: immutable once made, reference
 * counted (atomic).  Any thread.
 */
#ifndef TRUST_CHANGE_H
#define TRUST_CHANGE_H

#include <stdatomic.h>

#include "tls/anchor.h"

enum trust_side { TRUST_DOWNSTREAM, TRUST_UPSTREAM, TRUST_SIDES };

enum trust_kind {
    TRUST_ANCHOR,       /* believed */
    TRUST_INTERMEDIATE, /* completes chains; believed as far as an anchor vouches for it */
    TRUST_REMOVED,      /* not believed, whichever file it stands in */
    TRUST_KINDS
};

#define TRUST_NAMES_MAX 16  /* listeners or upstreams that one anchor is limited to */
#define TRUST_NOTE_MAX  300 /* bytes */

struct trust_change {
    enum trust_side side;
    enum trust_kind kind;
    char fp[CERT_FP_TEXT]; /* SHA-256: its key, together with the side */
    struct tls_anchor
        *anchor;    /* owned reference; NULL: its file cannot be used, or is not needed */
    char *fault;    /* owned: why it cannot, or NULL */
    char *only;     /* owned: names of listeners or upstreams, with blanks between them;
                       "": all */
    char *note;     /* owned; "": none */
    char *who;      /* owned: who commanded it */
    int64_t time_s; /* and when; wall clock */
};

struct trust_changes {
    atomic_uint refs;
    struct trust_change *at; /* owned; in the order in which they came */
    size_t count;
};

/* Returns an empty one, owned (one reference), or NULL when out of memory. */
struct trust_changes *trust_changes_new(void);
struct trust_changes *trust_changes_ref(struct trust_changes *c);
void trust_changes_unref(struct trust_changes *c); /* NULL is fine */

/* `from` (NULL: none) with `n` rows more; a row takes the place of the one with its key.  All is
 * copied.  Returns owned, or NULL when out of memory. */
struct trust_changes *trust_changes_with(const struct trust_changes *from,
                                         const struct trust_change *rows, size_t n);

/* Borrows, or NULL; `c` may be NULL. */
const struct trust_change *trust_changes_find(const struct trust_changes *c, enum trust_side side,
                                              const char *fp);

/* Is this for the listener, or upstream, of that name? */
bool trust_change_serves(const struct trust_change *row, const char *name);

void trust_change_fini(struct trust_change *row); /* frees what it holds */

const char *trust_side_name(enum trust_side side);            /* "downstream" */
const char *trust_kind_name(enum trust_kind kind);            /* "intermediate" */
int trust_side_parse(const char *name, enum trust_side *out); /* 0 or -ERR_NOT_FOUND */
int trust_kind_parse(const char *name, enum trust_kind *out);

#endif
