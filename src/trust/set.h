/* trust/set.h - the anchors in force for one listener or upstream: those of its files, and what was
 * changed at run time.
 *
 * Sets are plain values over shared anchors; nothing here reads the clock, and only
 * trust_list_files reads files (main thread).
 */
#ifndef TRUST_SET_H
#define TRUST_SET_H

#include "tls/cred.h"
#include "tls/ctx.h"
#include "trust/change.h"

/* Anchors, in an order; owned references. */
struct trust_list {
    struct tls_anchor **at;
    size_t count;
};

struct trust_set {
    struct trust_list anchors;
    struct trust_list helpers; /* intermediates */
    size_t removed;            /* of the files' anchors: not believed any more, by command */
    bool commanded;            /* some anchor of this side was taken away by command */
};

/* Takes `a`.  0, or -ERR_NOMEM with the reference gone. */
int trust_list_add(struct trust_list *l, struct tls_anchor *a);
void trust_list_fini(struct trust_list *l);
struct tls_anchor *trust_list_find(const struct trust_list *l,
                                   const char *fp); /* borrows, or NULL */

/* Add what stands in these PEM files.  On failure err names the file, and the list is to be freed
 * all the same. */
int trust_list_files(struct trust_list *l, const char *const *paths, size_t count, struct err *err);

/* What is in force for `name`.  `changes` may be NULL.  Returns 0 or -ERR_NOMEM with *out empty. */
int trust_set_make(struct trust_set *out, const struct trust_list *files,
                   const struct trust_changes *changes, enum trust_side side, const char *name);
void trust_set_fini(struct trust_set *s);

/* For a context; borrows of the set.  That nobody is left is allowed where somebody was taken away
 * by command. */
struct tls_trust trust_set_view(const struct trust_set *s);

/* May it be added to a set?  `force` allows what is weak, and what is no CA and vouches for itself
 * alone.  Returns 0, or a negative code with the reason and what to do. */
int trust_admit(const struct tls_anchor *a, enum trust_kind kind, int64_t now_s, bool force,
                struct err *err);

/* An anchor of the list that does what the one of that fingerprint does: the same CA, valid now.
 * Borrows, or NULL. */
const struct tls_anchor *trust_list_instead(const struct trust_list *l, const char *fp,
                                            int64_t now_s);

/* The anchor of the set that the chain of this identity leads to; borrows, or NULL. */
const struct tls_anchor *trust_set_root(const struct trust_set *s, const struct cred *c);

#endif
