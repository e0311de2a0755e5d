#include "session/snapshot.h"

#include <stdlib.h>

static int load_chains(const struct conf_listener *l, struct tls_server_chain *chains,
                       struct cred **creds, struct err *err)
{
    for (size_t i = 0; i < l->chain_count; i++) {
        creds[i] = cred_load(l->chains[i].chain, l->chains[i].key, err);
        if (creds[i] == NULL)
            return -err->code;
        chains[i] = (struct tls_server_chain){.cred = creds[i], .sni_glob = l->chains[i].sni};
    }
    return 0;
}

static struct tls_ctx *listener_ctx(const struct conf_listener *l, struct err *err)
{
    static const enum tls_client_cert policy[] = {
        [CONF_CERT_REQUIRE] = TLS_CLIENT_CERT_REQUIRE,
        [CONF_CERT_REQUEST] = TLS_CLIENT_CERT_REQUEST,
        [CONF_CERT_NONE] = TLS_CLIENT_CERT_NONE,
    };
    struct tls_ctx *ctx = NULL;
    struct tls_server_chain *chains = calloc(l->chain_count + 1, sizeof *chains);
    struct cred **creds = calloc(l->chain_count + 1, sizeof(struct cred *));

    if (chains == NULL || creds == NULL)
        err_set(err, ERR_NOMEM, "out of memory");
    else if (load_chains(l, chains, creds, err) == 0)
        ctx = tls_ctx_new_server(
            &(struct tls_server_args){
                .min = (enum tls_version)l->tls_min,
                .max = (enum tls_version)l->tls_max,
                .ciphers = l->ciphers,
                .min_rsa_bits = l->min_rsa_bits,
                .client_cert = policy[l->client_cert],
                .chains = chains,
                .chain_count = l->chain_count,
                .anchor_paths = (const char *const *)l->anchors,
                .anchor_count = l->anchor_count,
            },
            err);
    for (size_t i = 0; creds != NULL && i < l->chain_count; i++)
        cred_unref(creds[i]);
    free(creds);
    free(chains);
    return ctx;
}

static struct tls_ctx *upstream_ctx(const struct conf_upstream *u, struct err *err)
{
    return tls_ctx_new_client(
        &(struct tls_client_args){
            .min = (enum tls_version)u->tls_min,
            .max = (enum tls_version)u->tls_max,
            .ciphers = u->ciphers,
            .anchor_paths = (const char *const *)u->anchors,
            .anchor_count = u->anchor_count,
        },
        err);
}

static int load(struct wk_snapshot *s, struct err *err)
{
    const struct conf *c = s->conf;

    for (size_t i = 0; i < c->listener_count; i++) {
        if (c->listeners[i].type != CONF_LISTEN_TLS)
            continue;
        s->listener_ctx[i] = listener_ctx(&c->listeners[i], err);
        if (s->listener_ctx[i] == NULL)
            return err_wrap(err, -1, "listener %s", c->listeners[i].name);
    }
    for (size_t i = 0; i < c->upstream_count; i++) {
        s->upstream_ctx[i] = upstream_ctx(&c->upstreams[i], err);
        if (s->upstream_ctx[i] == NULL)
            return err_wrap(err, -1, "upstream %s", c->upstreams[i].name);
    }
    return 0;
}

struct wk_snapshot *snapshot_new(struct conf *conf, struct err *err)
{
    struct wk_snapshot *s = calloc(1, sizeof *s);

    if (s == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    atomic_init(&s->refs, 1);
    s->conf = conf_ref(conf);
    s->listener_ctx = calloc(conf->listener_count + 1, sizeof(struct tls_ctx *));
    s->upstream_ctx = calloc(conf->upstream_count + 1, sizeof(struct tls_ctx *));
    if (s->listener_ctx == NULL || s->upstream_ctx == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        snapshot_unref(s);
        return NULL;
    }
    if (load(s, err) != 0) {
        snapshot_unref(s);
        return NULL;
    }
    return s;
}

static unsigned fault_of(struct tls_ctx *ctx, const char *what, const char *name,
                         const struct err *err, struct buf *out)
{
    if (ctx != NULL) {
        tls_ctx_unref(ctx);
        return 0;
    }
    buf_printf(out, "%s %s: %s\n", what, name, err->msg);
    return 1;
}

unsigned snapshot_faults(const struct conf *conf, struct buf *out)
{
    unsigned count = 0;

    for (size_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *l = &conf->listeners[i];
        struct err err = {0};
        if (l->type == CONF_LISTEN_TLS)
            count += fault_of(listener_ctx(l, &err), "listener", l->name, &err, out);
    }
    for (size_t i = 0; i < conf->upstream_count; i++) {
        const struct conf_upstream *u = &conf->upstreams[i];
        struct err err = {0};
        count += fault_of(upstream_ctx(u, &err), "upstream", u->name, &err, out);
    }
    return count;
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
    for (size_t i = 0; s->listener_ctx != NULL && i < s->conf->listener_count; i++)
        tls_ctx_unref(s->listener_ctx[i]);
    for (size_t i = 0; s->upstream_ctx != NULL && i < s->conf->upstream_count; i++)
        tls_ctx_unref(s->upstream_ctx[i]);
    free(s->listener_ctx);
    free(s->upstream_ctx);
    conf_unref(s->conf);
    free(s);
}
