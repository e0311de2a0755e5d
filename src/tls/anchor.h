/* tls/anchor.h - a certificate that vouches for others, as contexts are made from it: a trust
 * anchor, or an intermediate that completes the chains of those who do not send it.
 *
 * Immutable once made and reference counted (atomic).  Any thread.
 */
#ifndef TLS_ANCHOR_H
#define TLS_ANCHOR_H

#include <stdatomic.h>

#include "tls/cert.h"

struct tls_anchor {
    atomic_uint refs;
    uint8_t *der; /* owned, der_len bytes */
    size_t der_len;
    struct cert_info *info; /* owned */
    char fp[CERT_FP_TEXT];
    char *from;     /* owned: the file that it stands in, or where else it came from */
    unsigned place; /* which certificate of that file, from 1 */
};

/* Returns owned (one reference); NULL with err when it cannot be an anchor: it is no certificate,
 * or neither a CA nor self-signed. */
struct tls_anchor *tls_anchor_new(const uint8_t *der, size_t n, const char *from, unsigned place,
                                  struct err *err);
struct tls_anchor *tls_anchor_ref(struct tls_anchor *a);
void tls_anchor_unref(struct tls_anchor *a); /* NULL is fine */

/* Every certificate of a PEM text as an anchor, in order; `each` takes it.  `from` is put before
 * what err says, with the number of the certificate when it is not the first.  Returns how many
 * there were, at least one, or a negative code: that of the text, or what `each` returned. */
int tls_anchors_of_pem(const char *pem, size_t n, const char *from,
                       int (*each)(void *arg, struct tls_anchor *a, struct err *err), void *arg,
                       struct err *err);
/* The same of a file of at most 4 MiB.  Main thread. */
int tls_anchors_of_file(const char *path,
                        int (*each)(void *arg, struct tls_anchor *a, struct err *err), void *arg,
                        struct err *err);

/* As PEM, with `text` before it, which says what it is.  Appends to `out`; 0 or -ERR_NOMEM. */
int tls_anchor_pem(const struct tls_anchor *a, const char *text, struct buf *out);

bool tls_anchor_self_signed(const struct tls_anchor *a); /* by its names */

/* Are these one CA: the same name and the same key, so that what one vouches for the other does? */
bool tls_anchor_same_ca(const struct tls_anchor *a, const struct tls_anchor *b);

/* Has the anchor issued this certificate (DER)?  Names and key identifiers tell; where these do
 * not, its signature is checked.  Dates are not looked at. */
bool tls_anchor_issued(const struct tls_anchor *a, const uint8_t *der, size_t n);

#endif
