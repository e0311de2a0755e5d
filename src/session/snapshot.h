/* session/snapshot.h - configuration together with what was loaded for it: TLS contexts.
 *
 * Immutable, reference counted (atomic).  Built aside on the main thread; when anything in it is
 * wrong, nothing changes.
 */
#ifndef SESSION_SNAPSHOT_H
#define SESSION_SNAPSHOT_H

#include <stdatomic.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "conf/conf.h"
#include "tls/ctx.h"
#include "trust/set.h"

/* What a context was made from: with it another one can be made when only the trust changes. */
struct snapshot_source {
    struct cred **creds; /* owned references; of a listener, by index in its chains */
    size_t cred_count;
    struct trust_list files; /* what its anchor files held */
    struct trust_set set;    /* what is in force */
};

struct wk_snapshot {
    struct conf *conf;             /* owned reference */
    struct tls_ctx **listener_ctx; /* owned, by index in conf->listeners; NULL for plaintext */
    struct tls_ctx **upstream_ctx; /* owned, by index in conf->upstreams */
    struct snapshot_source *listener_source; /* owned, by the same index; empty for plaintext */
    struct snapshot_source *upstream_source;
    struct trust_changes *changes; /* owned reference, or NULL: none */
    atomic_uint refs;
};

/* Read the files that the configuration names.  Takes references on conf and changes (NULL: none).
 * Returns owned or NULL; err names file and remedy. */
struct wk_snapshot *snapshot_new(struct conf *conf, struct trust_changes *changes, struct err *err);
/* The same configuration and files, as they were read for `s`, with other changes.  No file is
 * read but lists of revoked certificates, which depend on who is trusted.  Returns owned or NULL.
 */
struct wk_snapshot *snapshot_with_trust(const struct wk_snapshot *s, struct trust_changes *changes,
                                        struct err *err);
/* What is wrong with the files that the configuration names: a line for each listener and upstream
 * that cannot be had, as snapshot_new says it of the first one.  Returns how many. */
unsigned snapshot_faults(const struct conf *conf, const struct trust_changes *changes,
                         struct buf *out);
/* The folder of the lists of revoked certificates that came at run time.  Returns owned, or NULL
 * when out of memory. */
static inline char *snapshot_crl_dir(const struct conf *conf)
{
    return str_printf("%s/crls", conf->state_dir);
}
/* Has a file that `s` reads ceased to hold the list that it held for `was`, of a CA that is still
 * trusted?  In a folder it would be passed over, and who was revoked let in.  Returns 0, or
 * -ERR_INVALID with err. */
int snapshot_crls_lost(const struct wk_snapshot *s, const struct wk_snapshot *was, struct err *err);
/* Is the list in this file by a CA that somebody here trusts who goes by lists?  Returns 0, or a
 * negative code with err. */
int snapshot_crl_verify(const struct wk_snapshot *s, const char *path, struct err *err);
struct wk_snapshot *snapshot_ref(struct wk_snapshot *s);
void snapshot_unref(struct wk_snapshot *s); /* NULL is fine; any thread */

#endif
