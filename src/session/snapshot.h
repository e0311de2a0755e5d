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
#include "conf/conf.h"
#include "tls/ctx.h"

struct wk_snapshot {
    struct conf *conf;             /* owned reference */
    struct tls_ctx **listener_ctx; /* owned, by index in conf->listeners; NULL for plaintext */
    struct tls_ctx **upstream_ctx; /* owned, by index in conf->upstreams */
    atomic_uint refs;
};

/* Takes a reference on conf.  Returns owned or NULL; err names file and remedy. */
struct wk_snapshot *snapshot_new(struct conf *conf, struct err *err);
/* What is wrong with the files that the configuration names: a line for each listener and upstream
 * that cannot be had, as snapshot_new says it of the first one.  Returns how many. */
unsigned snapshot_faults(const struct conf *conf, struct buf *out);
struct wk_snapshot *snapshot_ref(struct wk_snapshot *s);
void snapshot_unref(struct wk_snapshot *s); /* NULL is fine; any thread */

#endif
