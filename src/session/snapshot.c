#include "session/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

/* -- what a context is made from ---------------------------------------------------------------
 */

static void source_fini(struct snapshot_source *s)
{
    for (size_t i = 0; i < s->cred_count; i++)
        cred_unref(s->creds[i]);
    free(s->creds);
    trust_list_fini(&s->files);
    trust_set_fini(&s->set);
    *s = (struct snapshot_source){0};
}

static int nomem(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory");
}

/* Files are read in the order in which they stand there. */
static int listener_read(struct snapshot_source *s, const struct conf_listener *l, struct err *err)
{
    s->creds = calloc(l->chain_count + 1, sizeof(struct cred *));
    if (s->creds == NULL)
        return nomem(err);
    for (size_t i = 0; i < l->chain_count; i++) {
        s->creds[i] = cred_load(l->chains[i].chain, l->chains[i].key, err);
        if (s->creds[i] == NULL)
            return -err->code;
        s->cred_count++;
    }
    if (l->client_cert == CONF_CERT_NONE)
        return 0;
    return trust_list_files(&s->files, (const char *const *)l->anchors, l->anchor_count, err);
}

static int upstream_read(struct snapshot_source *s, const struct conf_upstream *u, struct err *err)
{
    return trust_list_files(&s->files, (const char *const *)u->anchors, u->anchor_count, err);
}

static int source_copy(struct snapshot_source *to, const struct snapshot_source *from,
                       struct err *err)
{
    to->creds = calloc(from->cred_count + 1, sizeof(struct cred *));
    if (to->creds == NULL)
        return nomem(err);
    for (; to->cred_count < from->cred_count; to->cred_count++)
        to->creds[to->cred_count] = cred_ref(from->creds[to->cred_count]);
    for (size_t i = 0; i < from->files.count; i++)
        if (trust_list_add(&to->files, tls_anchor_ref(from->files.at[i])) != 0)
            return nomem(err);
    return 0;
}

/* -- contexts -----------------------------------------------------------------------------------
 */

static const enum crl_policy crl_policy[] = {
    [CONF_CRL_OFF] = CRL_OFF,
    [CONF_CRL_SOFT] = CRL_SOFT,
    [CONF_CRL_STRICT] = CRL_STRICT,
};

static const enum staple_policy staple_policy[] = {
    [CONF_OCSP_OFF] = STAPLE_OFF,
    [CONF_OCSP_REQUEST] = STAPLE_REQUEST,
    [CONF_OCSP_REQUIRE] = STAPLE_REQUIRE,
};

/* The lists of a listener or an upstream.  Returns owned in *out, or NULL there for policy off. */
static int crls_read(const struct conf *conf, char *const *paths, size_t count,
                     enum conf_crl_policy policy, const struct trust_set *set, struct crl_set **out,
                     struct err *err)
{
    char *stored = snapshot_crl_dir(conf);

    *out = NULL;
    if (policy == CONF_CRL_OFF) {
        free(stored);
        return 0;
    }
    if (stored == NULL)
        return nomem(err);
    *out = crl_set_new(
        &(struct crl_args){
            .paths = (const char *const *)paths,
            .path_count = count,
            .stored_dir = stored,
            .anchors = set->anchors.at,
            .anchor_count = set->anchors.count,
            .helpers = set->helpers.at,
            .helper_count = set->helpers.count,
        },
        err);
    free(stored);
    return *out == NULL ? -err->code : 0;
}

/* Those of the configuration that hold on this listener; texts are borrowed.  Returns owned, or
 * NULL without memory. */
static struct tls_exception *listener_exceptions(const struct conf *c,
                                                 const struct conf_listener *l, size_t *count)
{
    struct tls_exception *all = calloc(c->exception_count + 1, sizeof(*all));

    *count = 0;
    for (size_t i = 0; all != NULL && i < c->exception_count; i++) {
        const struct conf_exception *from = &c->exceptions[i];
        struct tls_exception *to = &all[*count];

        if (!conf_exception_on(from, l))
            continue;
        *to = (struct tls_exception){.name = from->name,
                                     .device = from->device,
                                     .has_fp = from->fingerprint != NULL,
                                     .has_anchor = from->anchor != NULL,
                                     .accept = from->accept,
                                     .until_s = from->until_s};
        if ((to->has_fp && str_unhex(from->fingerprint, to->fp, sizeof(to->fp)) != 0) ||
            (to->has_anchor && str_unhex(from->anchor, to->anchor, sizeof(to->anchor)) != 0))
            continue; /* conf_load has checked them */
        ++*count;
    }
    return all;
}

static struct tls_ctx *listener_ctx(const struct conf *conf, const struct conf_listener *l,
                                    struct snapshot_source *s, const struct trust_changes *changes,
                                    struct err *err)
{
    static const enum tls_client_cert policy[] = {
        [CONF_CERT_REQUIRE] = TLS_CLIENT_CERT_REQUIRE,
        [CONF_CERT_REQUEST] = TLS_CLIENT_CERT_REQUEST,
        [CONF_CERT_NONE] = TLS_CLIENT_CERT_NONE,
    };
    struct tls_ctx *ctx = NULL;
    struct crl_set *crls = NULL;
    struct tls_server_chain *chains = calloc(l->chain_count + 1, sizeof *chains);
    size_t exception_count;
    struct tls_exception *exceptions = listener_exceptions(conf, l, &exception_count);

    if (chains == NULL || exceptions == NULL ||
        trust_set_make(&s->set, &s->files, changes, TRUST_DOWNSTREAM, l->name) != 0) {
        free(exceptions);
        free(chains);
        nomem(err);
        return NULL;
    }
    if (l->client_cert != CONF_CERT_NONE &&
        crls_read(conf, l->crls, l->crl_count, l->crl_policy, &s->set, &crls, err) != 0) {
        free(exceptions);
        free(chains);
        return NULL;
    }
    for (size_t i = 0; i < l->chain_count; i++)
        chains[i] = (struct tls_server_chain){.cred = s->creds[i],
                                              .sni_glob = l->chains[i].sni,
                                              .networks = l->chains[i].networks,
                                              .network_count = l->chains[i].network_count,
                                              .tls_max = (unsigned)l->chains[i].tls_max};
    ctx = tls_ctx_new_server(
        &(struct tls_server_args){
            .min = (enum tls_version)l->tls_min,
            .max = (enum tls_version)l->tls_max,
            .ciphers = l->ciphers,
            .min_rsa_bits = l->min_rsa_bits,
            .client_cert = policy[l->client_cert],
            .chains = chains,
            .chain_count = l->chain_count,
            .trust = trust_set_view(&s->set),
            .exceptions = exceptions,
            .exception_count = exception_count,
            .crls = crls,
            .crl_policy = crl_policy[l->crl_policy],
        },
        err);
    crl_set_unref(crls);
    free(exceptions);
    free(chains);
    return ctx;
}

static struct tls_ctx *upstream_ctx(const struct conf *conf, const struct conf_upstream *u,
                                    struct snapshot_source *s, const struct trust_changes *changes,
                                    struct err *err)
{
    struct crl_set *crls;
    struct tls_ctx *ctx;

    if (trust_set_make(&s->set, &s->files, changes, TRUST_UPSTREAM, u->name) != 0) {
        nomem(err);
        return NULL;
    }
    if (crls_read(conf, u->crls, u->crl_count, u->crl_policy, &s->set, &crls, err) != 0)
        return NULL;
    ctx = tls_ctx_new_client(
        &(struct tls_client_args){
            .min = (enum tls_version)u->tls_min,
            .max = (enum tls_version)u->tls_max,
            .ciphers = u->ciphers,
            .trust = trust_set_view(&s->set),
            .crls = crls,
            .crl_policy = crl_policy[u->crl_policy],
            .ocsp = staple_policy[u->ocsp],
        },
        err);
    crl_set_unref(crls);
    return ctx;
}

/* -- snapshots ----------------------------------------------------------------------------------
 */

/* Takes references; without contexts yet.  Returns owned or NULL. */
static struct wk_snapshot *blank(struct conf *conf, struct trust_changes *changes, struct err *err)
{
    struct wk_snapshot *s = calloc(1, sizeof *s);

    if (s == NULL) {
        nomem(err);
        return NULL;
    }
    atomic_init(&s->refs, 1);
    s->conf = conf_ref(conf);
    s->changes = changes == NULL ? NULL : trust_changes_ref(changes);
    s->listener_ctx = calloc(conf->listener_count + 1, sizeof(struct tls_ctx *));
    s->upstream_ctx = calloc(conf->upstream_count + 1, sizeof(struct tls_ctx *));
    s->listener_source = calloc(conf->listener_count + 1, sizeof(struct snapshot_source));
    s->upstream_source = calloc(conf->upstream_count + 1, sizeof(struct snapshot_source));
    if (s->listener_ctx != NULL && s->upstream_ctx != NULL && s->listener_source != NULL &&
        s->upstream_source != NULL)
        return s;
    nomem(err);
    snapshot_unref(s);
    return NULL;
}

/* `from`: whose files are used; NULL: they are read. */
static int load(struct wk_snapshot *s, const struct wk_snapshot *from, struct err *err)
{
    const struct conf *c = s->conf;

    for (size_t i = 0; i < c->listener_count; i++) {
        const struct conf_listener *l = &c->listeners[i];
        struct snapshot_source *source = &s->listener_source[i];

        if (l->type != CONF_LISTEN_TLS)
            continue;
        if ((from != NULL ? source_copy(source, &from->listener_source[i], err)
                          : listener_read(source, l, err)) == 0)
            s->listener_ctx[i] = listener_ctx(c, l, source, s->changes, err);
        if (s->listener_ctx[i] == NULL)
            return err_wrap(err, -1, "listener %s", l->name);
    }
    for (size_t i = 0; i < c->upstream_count; i++) {
        const struct conf_upstream *u = &c->upstreams[i];
        struct snapshot_source *source = &s->upstream_source[i];

        if ((from != NULL ? source_copy(source, &from->upstream_source[i], err)
                          : upstream_read(source, u, err)) == 0)
            s->upstream_ctx[i] = upstream_ctx(c, u, source, s->changes, err);
        if (s->upstream_ctx[i] == NULL)
            return err_wrap(err, -1, "upstream %s", u->name);
    }
    return 0;
}

static struct wk_snapshot *make(struct conf *conf, struct trust_changes *changes,
                                const struct wk_snapshot *from, struct err *err)
{
    struct wk_snapshot *s = blank(conf, changes, err);

    if (s != NULL && load(s, from, err) != 0) {
        snapshot_unref(s);
        return NULL;
    }
    return s;
}

struct wk_snapshot *snapshot_new(struct conf *conf, struct trust_changes *changes, struct err *err)
{
    return make(conf, changes, NULL, err);
}

struct wk_snapshot *snapshot_with_trust(const struct wk_snapshot *s, struct trust_changes *changes,
                                        struct err *err)
{
    return make(s->conf, changes, s, err);
}

static unsigned fault_of(struct tls_ctx *ctx, struct snapshot_source *source, const char *what,
                         const char *name, const struct err *err, struct buf *out)
{
    bool made = ctx != NULL;

    tls_ctx_unref(ctx);
    source_fini(source);
    if (!made)
        buf_printf(out, "%s %s: %s\n", what, name, err->msg);
    return !made;
}

unsigned snapshot_faults(const struct conf *conf, const struct trust_changes *changes,
                         struct buf *out)
{
    unsigned count = 0;

    for (size_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *l = &conf->listeners[i];
        struct snapshot_source source = {0};
        struct tls_ctx *ctx = NULL;
        struct err err = {0};

        if (l->type != CONF_LISTEN_TLS)
            continue;
        if (listener_read(&source, l, &err) == 0)
            ctx = listener_ctx(conf, l, &source, changes, &err);
        count += fault_of(ctx, &source, "listener", l->name, &err, out);
    }
    for (size_t i = 0; i < conf->upstream_count; i++) {
        const struct conf_upstream *u = &conf->upstreams[i];
        struct snapshot_source source = {0};
        struct tls_ctx *ctx = NULL;
        struct err err = {0};

        if (upstream_read(&source, u, &err) == 0)
            ctx = upstream_ctx(conf, u, &source, changes, &err);
        count += fault_of(ctx, &source, "upstream", u->name, &err, out);
    }
    return count;
}

/* Is the file one of these, or in one of these folders? */
static bool is_named(char *const *paths, size_t count, const char *file)
{
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(paths[i]);

        while (n > 1 && paths[i][n - 1] == '/')
            n--;
        if (strncmp(paths[i], file, n) == 0 && (file[n] == '\0' || file[n] == '/'))
            return true;
    }
    return false;
}

static int crl_lost(const struct tls_ctx *is, const struct tls_ctx *was, char *const *paths,
                    size_t count, struct err *err)
{
    const struct crl *lost;
    size_t at = 0;

    if (is == NULL || was == NULL || tls_ctx_crls(is) == NULL || tls_ctx_crls(was) == NULL)
        return 0;
    while ((lost = crl_set_lost(tls_ctx_crls(is), tls_ctx_crls(was), &at)) != NULL) {
        struct crl_facts f = crl_facts(lost);

        if (is_named(paths, count, f.file))
            return err_set(err, ERR_INVALID,
                           "%s: no longer holds the CRL of %s: copy the CA's latest list there "
                           "again, or take the file away",
                           f.file, f.issuer);
    }
    return 0;
}

int snapshot_crls_lost(const struct wk_snapshot *s, const struct wk_snapshot *was, struct err *err)
{
    const struct conf *c = s->conf;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < c->listener_count; i++) {
        const struct conf_listener *l = conf_listener_find(was->conf, c->listeners[i].name);

        if (l != NULL)
            rc = crl_lost(s->listener_ctx[i], was->listener_ctx[l - was->conf->listeners],
                          c->listeners[i].crls, c->listeners[i].crl_count, err);
    }
    for (size_t i = 0; rc == 0 && i < c->upstream_count; i++) {
        const struct conf_upstream *u = conf_upstream_find(was->conf, c->upstreams[i].name);

        if (u != NULL)
            rc = crl_lost(s->upstream_ctx[i], was->upstream_ctx[u - was->conf->upstreams],
                          c->upstreams[i].crls, c->upstreams[i].crl_count, err);
    }
    return rc;
}

static int crl_try(const struct snapshot_source *source, const char *path, struct err *err)
{
    struct crl_set *set = crl_set_new(
        &(struct crl_args){
            .paths = &path,
            .path_count = 1,
            .anchors = source->set.anchors.at,
            .anchor_count = source->set.anchors.count,
            .helpers = source->set.helpers.at,
            .helper_count = source->set.helpers.count,
        },
        err);

    if (set == NULL)
        return -err->code;
    crl_set_unref(set);
    return 0;
}

int snapshot_crl_verify(const struct wk_snapshot *s, const char *path, struct err *err)
{
    const struct conf *c = s->conf;
    int rc = err_set(err, ERR_NOT_FOUND, "no listener or upstream goes by lists (crl_policy off)");
    struct err why = {0};

    for (size_t i = 0; i < c->listener_count + c->upstream_count; i++) {
        bool down = i < c->listener_count;
        size_t u = i - c->listener_count;
        const struct tls_ctx *ctx = down ? s->listener_ctx[i] : s->upstream_ctx[u];
        int one;

        if (ctx == NULL || tls_ctx_crls(ctx) == NULL)
            continue;
        one = crl_try(down ? &s->listener_source[i] : &s->upstream_source[u], path, &why);
        if (one == 0)
            return 0;
        if (rc == -ERR_NOT_FOUND) { /* that a CA is not known says least */
            rc = one;
            *err = why;
        }
    }
    return rc;
}

struct wk_snapshot *snapshot_ref(struct wk_snapshot *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void snapshot_unref(struct wk_snapshot *s)
{
    if (s == NULL || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < s->conf->listener_count; i++) {
        if (s->listener_ctx != NULL)
            tls_ctx_unref(s->listener_ctx[i]);
        if (s->listener_source != NULL)
            source_fini(&s->listener_source[i]);
    }
    for (size_t i = 0; i < s->conf->upstream_count; i++) {
        if (s->upstream_ctx != NULL)
            tls_ctx_unref(s->upstream_ctx[i]);
        if (s->upstream_source != NULL)
            source_fini(&s->upstream_source[i]);
    }
    free(s->listener_ctx);
    free(s->upstream_ctx);
    free(s->listener_source);
    free(s->upstream_source);
    trust_changes_unref(s->changes);
    conf_unref(s->conf);
    free(s);
}
