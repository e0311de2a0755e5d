/* control/crls.c - see crls.h. */
#include "control/crls.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/durable.h"
#include "base/log.h"
#include "base/str.h"
#include "control/jsonrpc.h"
#include "tls/crl.h"

#define SOON_S    (24 * 3600) /* before its next update; less for a list that lives shorter */
#define SAY_S     3600
#define BEGIN     "-----BEGIN X509 CRL-----\n"
#define END       "\n-----END X509 CRL-----\n"
#define CANDIDATE ".coming"

/* -- what is in force -- */

/* Call `each` for every context that goes by lists; stops at, and returns, what is not 0. */
typedef int on_ctx_fn(void *arg, const struct tls_ctx *ctx, const char *kind, const char *name);

static int each_ctx(const struct wk_snapshot *s, on_ctx_fn *each, void *arg)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < s->conf->listener_count; i++)
        if (s->listener_ctx[i] != NULL && tls_ctx_crls(s->listener_ctx[i]) != NULL)
            rc = each(arg, s->listener_ctx[i], "listener", s->conf->listeners[i].name);
    for (size_t i = 0; rc == 0 && i < s->conf->upstream_count; i++)
        if (tls_ctx_crls(s->upstream_ctx[i]) != NULL)
            rc = each(arg, s->upstream_ctx[i], "upstream", s->conf->upstreams[i].name);
    return rc;
}

static int64_t soon_from(const struct crl_facts *f)
{
    int64_t life_s = f->next_update_s - f->this_update_s;

    return f->next_update_s - (life_s / 4 < SOON_S ? life_s / 4 : SOON_S);
}

static const char *state_of(const struct crl_facts *f, int64_t now_s)
{
    if (f->next_update_s == 0)
        return "current";
    return now_s > f->next_update_s ? "stale" : now_s >= soon_from(f) ? "due" : "current";
}

static json_t *row_of(const struct crl_facts *f)
{
    char fp[2 * CRL_HASH_BYTES + 1];

    str_hex(fp, f->fp, CRL_HASH_BYTES);
    return json_pack("{s:o, s:o, s:o, s:o, s:I, s:o, s:s, s:s, s:o}", "issuer", rpc_text(f->issuer),
                     "number", *f->number == '\0' ? json_null() : json_string(f->number),
                     "this_update", rpc_time(f->this_update_s), "next_update",
                     f->next_update_s == 0 ? json_null() : rpc_time(f->next_update_s), "entries",
                     (json_int_t)f->entries, "file", rpc_text(f->file), "fingerprint", fp, "state",
                     state_of(f, clock_date_s()), "used_by", json_array());
}

static json_t *row_find(json_t *rows, const struct crl_facts *f)
{
    char fp[2 * CRL_HASH_BYTES + 1];
    json_t *row;
    size_t i;

    str_hex(fp, f->fp, CRL_HASH_BYTES);
    json_array_foreach(rows, i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "fingerprint")), fp) == 0)
            return row;
    }
    row = row_of(f);
    json_array_append_new(rows, row);
    return row;
}

static int rows_add(void *arg, const struct tls_ctx *ctx, const char *kind, const char *name)
{
    const struct crl_set *set = tls_ctx_crls(ctx);

    for (size_t i = 0; i < crl_set_count(set); i++) {
        struct crl_facts f = crl_facts(crl_set_at(set, i));
        json_t *row = row_find(arg, &f);

        json_array_append_new(json_object_get(row, "used_by"),
                              json_pack("{s:s, s:s}", "kind", kind, "name", name));
    }
    return 0;
}

json_t *crls_rows(const struct hub *h)
{
    json_t *rows = json_array();

    if (rows != NULL)
        each_ctx(hub_snapshot(h), rows_add, rows);
    return rows;
}

static int missing_add(void *arg, const struct tls_ctx *ctx, const char *kind, const char *name)
{
    const struct cert_info *ca;
    char fp[CERT_FP_TEXT];

    for (size_t at = 0; (ca = tls_ctx_without_crl(ctx, &at)) != NULL;) {
        str_hex(fp, ca->fp, CERT_FP_BYTES);
        json_array_append_new(arg, json_pack("{s:s, s:s, s:o, s:s}", "kind", kind, "name", name,
                                             "anchor", rpc_text(ca->subject), "fingerprint", fp));
    }
    return 0;
}

static json_t *missing_rows(const struct hub *h)
{
    json_t *rows = json_array();

    if (rows != NULL)
        each_ctx(hub_snapshot(h), missing_add, rows);
    return rows;
}

json_t *crls_summary(const struct hub *h)
{
    json_t *rows = crls_rows(h), *row, *next = NULL;
    json_int_t stale = 0, due = 0;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        const char *state = json_string_value(json_object_get(row, "state"));
        json_t *its = json_object_get(row, "next_update");

        stale += strcmp(state, "stale") == 0;
        due += strcmp(state, "due") == 0;
        /* ISO times in one form are in order as texts. */
        if (json_is_string(its) &&
            (next == NULL || strcmp(json_string_value(its),
                                    json_string_value(json_object_get(next, "next_update"))) < 0))
            next = row;
    }
    row = json_pack("{s:I, s:I, s:I, s:O?, s:O?, s:o}", "lists", (json_int_t)json_array_size(rows),
                    "stale", stale, "due", due, "next_update", json_object_get(next, "next_update"),
                    "issuer", json_object_get(next, "issuer"), "missing", missing_rows(h));
    json_decref(rows);
    return row;
}

static void say_missing(const struct hub *h, void (*say)(void *arg, bool stale, const char *text),
                        void *arg)
{
    json_t *rows = missing_rows(h), *row;
    char text[500];
    size_t i;

    json_array_foreach(rows, i, row)
    {
        snprintf(
            text, sizeof(text),
            "%s %.128s believes nobody of %.160s, as crl_policy is strict and there is no list "
            "of its revoked certificates: certflipctl crl update FILE",
            json_string_value(json_object_get(row, "kind")),
            json_string_value(json_object_get(row, "name")),
            json_string_value(json_object_get(row, "anchor")));
        say(arg, true, text);
    }
    json_decref(rows);
}

void crls_worries(const struct hub *h, void (*say)(void *arg, bool stale, const char *text),
                  void *arg)
{
    json_t *rows = crls_rows(h), *row;
    char text[500];
    size_t i;

    json_array_foreach(rows, i, row)
    {
        const char *state = json_string_value(json_object_get(row, "state"));
        bool stale = strcmp(state, "stale") == 0;

        if (strcmp(state, "current") == 0)
            continue;
        snprintf(text, sizeof(text),
                 "the list of revoked certificates of %.160s %s its next update at %s: get the "
                 "CA's latest one, then: certflipctl crl update FILE",
                 json_string_value(json_object_get(row, "issuer")), stale ? "is past" : "nears",
                 json_string_value(json_object_get(row, "next_update")));
        say(arg, stale, text);
    }
    json_decref(rows);
    say_missing(h, say, arg);
}

static void say_log(void *arg, bool stale, const char *text)
{
    (void)arg;
    log_event(LOG_CERT, stale ? LOG_WARN_ : LOG_NOTICE_, stale ? "crl-stale" : "crl-due", "msg=%s",
              LOG_Q(text));
}

void crls_watch(const struct hub *h, int64_t *said_s)
{
    int64_t now_s = clock_boot_ms() / 1000 + 1;

    if (*said_s != 0 && now_s - *said_s < SAY_S)
        return;
    *said_s = now_s;
    crls_worries(h, say_log, NULL);
}

/* -- a list that comes -- */

/* What comes, on its way. */
struct coming {
    struct hub *h;
    struct crl *crl;              /* owned */
    const struct crl *in_force;   /* borrowed from the snapshot: the newest of its scope */
    char *dir, *candidate, *path; /* owned */
    struct buf text;              /* owned: as it was given, as PEM */
    struct buf file;              /* owned: as it is kept */
    struct buf former;            /* owned: what was kept before */
    bool had_former;
};

static void coming_fini(struct coming *c)
{
    if (c->candidate != NULL)
        unlink(c->candidate);
    crl_unref(c->crl);
    free(c->dir);
    free(c->candidate);
    free(c->path);
    buf_fini(&c->text);
    buf_fini(&c->file);
    buf_fini(&c->former);
}

static int nomem(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory");
}

/* Armour around base64 that came without. */
static int text_take(struct coming *c, const struct crls_update *u, struct err *err)
{
    bool pem = memmem(u->text, u->n, "-----BEGIN ", 11) != NULL;

    if ((!pem && buf_append(&c->text, BEGIN, sizeof(BEGIN) - 1) != 0) ||
        buf_append(&c->text, u->text, u->n) != 0 ||
        (!pem && buf_append(&c->text, END, sizeof(END) - 1) != 0))
        return nomem(err);
    c->crl = crl_of_text(c->text.p, c->text.len, err);
    return c->crl == NULL ? -ERR_INVALID : 0;
}

static int paths_make(struct coming *c, struct err *err)
{
    char name[2 * CRL_HASH_BYTES + 5];

    crl_stored_name(c->crl, name);
    c->dir = snapshot_crl_dir(hub_conf(c->h));
    c->candidate = c->dir == NULL ? NULL : str_printf("%s/" CANDIDATE, c->dir);
    c->path = c->dir == NULL ? NULL : str_printf("%s/%s", c->dir, name);
    if (c->candidate == NULL || c->path == NULL)
        return nomem(err);
    return durable_mkdirs(c->dir, 0700, err);
}

static int newest(void *arg, const struct tls_ctx *ctx, const char *kind, const char *name)
{
    struct coming *c = arg;
    const struct crl *like = crl_set_like(tls_ctx_crls(ctx), c->crl);

    (void)kind;
    (void)name;
    if (like != NULL && (c->in_force == NULL || crl_compare(c->in_force, like) < 0))
        c->in_force = like;
    return 0;
}

static int is_older(const struct coming *c, struct err *err)
{
    struct crl_facts now = crl_facts(c->in_force), then = crl_facts(c->crl);
    char a[32], b[32];

    return err_set(err, ERR_INVALID,
                   "the CRL of %s is older (number %s, of %s) than the one in force (number %s, of "
                   "%s): send the CA's latest one, or force it",
                   then.issuer, *then.number == '\0' ? "none" : then.number,
                   clock_text(then.this_update_s, a, sizeof(a)),
                   *now.number == '\0' ? "none" : now.number,
                   clock_text(now.this_update_s, b, sizeof(b)));
}

/* A line that says where it comes from, or what it was forced over, then all that was sent. */
static int file_make(struct coming *c, const struct crls_update *u, bool older, struct err *err)
{
    struct buf text = {0};
    char when[32];
    int rc;

    rc = buf_printf(&text, "received %s from %s\n", clock_text(clock_wall_s(), when, sizeof(when)),
                    u->who);
    if (rc == 0)
        rc = buf_append(&text, c->text.p, c->text.len);
    if (rc == 0)
        rc = crl_stored_text(older ? c->in_force : NULL, &text, &c->file);
    buf_fini(&text);
    return rc == 0 ? 0 : nomem(err);
}

static void former_restore(const struct coming *c)
{
    struct err err = {0};

    if (!c->had_former ? unlink(c->path) != 0
                       : durable_write(c->path, c->former.p, c->former.len, 0600, &err) != 0)
        log_event(LOG_CERT, LOG_ERROR_, "crl-not-undone", "file=%s msg=%s", LOG_Q(c->path),
                  LOG_Q(c->had_former ? err.msg : "it cannot be removed"));
}

/* Durable first, then in use. */
static int use(struct coming *c, struct err *err)
{
    const struct wk_snapshot *now = hub_snapshot(c->h);
    struct wk_snapshot *next;
    int rc =
        access(c->path, F_OK) == 0 ? durable_read(c->path, CRL_FILE_BYTES, &c->former, err) : 0;

    c->had_former = c->former.len > 0;
    if (rc == 0)
        rc = durable_write(c->path, c->file.p, c->file.len, 0600, err);
    if (rc != 0)
        return rc;
    next = snapshot_with_trust(now, now->changes, err);
    if (next == NULL) {
        former_restore(c);
        return -ERR_INVALID;
    }
    hub_swap(c->h, next);
    snapshot_unref(next);
    hub_lint_lists(c->h);
    return 0;
}

/* Where it lay for a moment helps nobody. */
static void without_path(const char *path, struct err *err)
{
    size_t n = strlen(path);

    if (strncmp(err->msg, path, n) == 0 && strncmp(err->msg + n, ": ", 2) == 0)
        memmove(err->msg, err->msg + n + 2, strlen(err->msg + n + 2) + 1);
}

static int admit(struct coming *c, const struct crls_update *u, bool *changed, struct err *err)
{
    bool older;
    int rc;

    if ((rc = text_take(c, u, err)) != 0 || (rc = paths_make(c, err)) != 0)
        return rc;
    each_ctx(hub_snapshot(c->h), newest, c);
    *changed = c->in_force == NULL ||
               memcmp(crl_facts(c->crl).fp, crl_facts(c->in_force).fp, CRL_HASH_BYTES) != 0;
    if (!*changed)
        return 0;
    older = c->in_force != NULL && crl_compare(c->crl, c->in_force) < 0;
    if (older && !u->force)
        return is_older(c, err);
    if ((rc = durable_write(c->candidate, c->text.p, c->text.len, 0600, err)) != 0)
        return rc;
    if ((rc = snapshot_crl_verify(hub_snapshot(c->h), c->candidate, err)) != 0) {
        without_path(c->candidate, err);
        return rc;
    }
    if ((rc = file_make(c, u, older, err)) != 0)
        return rc;
    return use(c, err);
}

int crls_update(struct hub *h, const struct crls_update *u, json_t **result, struct err *err)
{
    struct coming c = {.h = h};
    bool changed = false;
    struct crl_facts f;
    int rc = admit(&c, u, &changed, err);

    if (rc == 0) {
        json_t *rows = crls_rows(h), *row;

        f = crl_facts(c.crl);
        row = row_find(rows, &f);
        json_object_set_new(row, "changed", json_boolean(changed));
        *result = json_incref(row);
        json_decref(rows);
        log_event(LOG_CERT, LOG_NOTICE_, "crl-update",
                  "issuer=%s number=%s entries=%zu changed=%s forced=%s by=%s", LOG_Q(f.issuer),
                  *f.number == '\0' ? "none" : f.number, f.entries, changed ? "yes" : "no",
                  u->force ? "yes" : "no", LOG_Q(u->who));
    }
    coming_fini(&c);
    return rc;
}
