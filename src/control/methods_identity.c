/* control/methods_identity.c - methods of the life of an identity: see dispatch_inside.h and rpc.h.
 *
 * A method that changes files of many devices goes through them a few at a time, and lets the loop
 * have its turn in between; each part is durable before the next one begins.  Keys are made by a
 * thread.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/secret.h"
#include "base/str.h"
#include "control/dispatch_inside.h"
#include "control/hub.h"
#include "control/show.h"
#include "identity/files.h"
#include "identity/keygen.h"
#include "tls/bundle.h"
#include "tls/csr.h"

#define TELL_DEVICES 100  /* after so many, and */
#define TELL_MS      1000 /* as often, who follows is told how far it has come */
#define SLICE        8    /* devices whose files are changed between two turns of the loop */

/* -- many devices, a few at a time -- */

enum { DONE, LATER, NOTED };

/* A walk over the devices of a target. */
struct walk {
    char **names; /* owned */
    size_t count, next;
    struct outcome outcome;
    size_t told; /* as of the latest progress */
    int64_t told_ms;
    /* One device: as on_device_fn, and returns DONE; or LATER, when it goes on by itself; or NOTED,
     * when what became of it is noted already. */
    int (*step)(struct call *c, struct walk *w, struct hub_device *d, bool *changed,
                struct rpc_fault *f);

    /* identity.keygen: what is being made. */
    enum key_kind kind;
    char *token; /* owned: in which the key is made; NULL: in a file */
    bool kind_given, renew;
    struct keygen_terms terms;
    struct buf key, csr; /* owned; the key is a secret */
    struct err err;
    int rc;
};

static void walk_free(struct walk *w)
{
    for (size_t i = 0; i < w->count; i++)
        free(w->names[i]);
    free(w->names);
    keygen_terms_fini(&w->terms);
    buf_fini_wipe(&w->key);
    buf_fini(&w->csr);
    free(w->token);
    free(w);
}

static int walk_fill(struct call *c, struct walk *w)
{
    const json_t *target = json_object_get(c->params, "target");
    struct hub_device *const *all;
    size_t n;

    all = hub_devices(c->d->hub, &n);
    w->names = calloc(n == 0 ? 1 : n, sizeof(*w->names));
    if (w->names == NULL)
        return rpc_refuse(&c->fault, RPC_BUSY, "try again", "out of memory");
    for (size_t i = 0; i < n; i++) {
        if (!target_has(target, all[i]->name))
            continue;
        w->names[w->count] = strdup(all[i]->name);
        if (w->names[w->count++] == NULL)
            return rpc_refuse(&c->fault, RPC_BUSY, "try again", "out of memory");
    }
    return 0;
}

/* Returns owned, or NULL with the call's fault. */
static struct walk *walk_new(struct call *c)
{
    struct walk *w;

    if (target_check(c, json_object_get(c->params, "target")) != 0)
        return NULL;
    w = calloc(1, sizeof(*w));
    if (w != NULL && walk_fill(c, w) == 0)
        return w;
    if (w == NULL)
        rpc_refuse(&c->fault, RPC_BUSY, "try again", "out of memory");
    else
        walk_free(w);
    return NULL;
}

/* What became of the device whose turn it is; what was changed is durable, or was undone.  Returns
 * its row, as outcome_done. */
static json_t *walk_note(struct call *c, struct walk *w, struct hub_device *d, bool changed,
                         struct rpc_fault *f)
{
    struct err err = {0};

    w->next++;
    if (f->code == RPC_OK && changed && hub_flush(c->d->hub, &err) != 0)
        rpc_refuse(f, RPC_STORE, "mend the state directory, then command again",
                   "device %s: nothing was done: %s", d->name, err.msg);
    if (f->code == RPC_OK)
        return outcome_done(&w->outcome, d, changed);
    outcome_refused(&w->outcome, d, f);
    return NULL;
}

static void no_work(void *arg)
{
    (void)arg;
}

/* Whoever commanded many devices hears that something is done, long before the reply.  What cannot
 * be saved is not told: the numbers of events have no gaps. */
static void walk_tell(struct call *c, struct walk *w)
{
    int64_t now_ms = hub_now(c->d->hub);
    struct hub_progress p = {.method = rpc_method_name(c->method),
                             .done = w->outcome.done_count,
                             .refused = w->outcome.refused_count,
                             .total = w->count};
    char *id;

    if (w->next == w->told || (w->next - w->told < TELL_DEVICES && now_ms - w->told_ms < TELL_MS))
        return;
    w->told = w->next;
    w->told_ms = now_ms;
    id = json_dumps(c->request.id, JSON_COMPACT | JSON_ENCODE_ANY);
    p.id = id == NULL ? "null" : id;
    if (hub_tell_progress(c->d->hub, c->caller->who, &p) == 0)
        hub_flush(c->d->hub, NULL);
    free(id);
}

static int walk_on(struct call *c, struct walk *w);

static void on_turn(struct call *c, void *arg)
{
    struct walk *w = arg;

    if (c == NULL) {
        outcome_free(&w->outcome);
        walk_free(w);
        return;
    }
    if (walk_on(c, w) != LATER)
        call_end(c);
}

/* Go on.  Returns LATER when it answers later; else it has ended, w is gone, and the call has its
 * result (0) or fault (-1). */
static int walk_on(struct call *c, struct walk *w)
{
    int rc;

    for (unsigned n = 0; w->next < w->count; n++) {
        struct hub_device *d = hub_find(c->d->hub, w->names[w->next]);
        struct rpc_fault f = {0};
        bool changed = false;

        walk_tell(c, w);
        if (d == NULL) { /* its folder was taken away meanwhile */
            w->next++;
            continue;
        }
        if (n == SLICE) {
            if (call_later(c, no_work, on_turn, w) == 0)
                return LATER;
            rpc_fault_fini(&c->fault); /* then without a turn */
        }
        rc = w->step(c, w, d, &changed, &f);
        if (rc == LATER)
            return LATER;
        if (rc == DONE)
            walk_note(c, w, d, changed, &f);
    }
    rc = outcome_end(&w->outcome, c);
    walk_free(w);
    return rc;
}

/* Takes w. */
static int walk_begin(struct call *c, struct walk *w)
{
    outcome_begin(&w->outcome);
    w->told_ms = hub_now(c->d->hub);
    return walk_on(c, w) < 0 ? -1 : 0;
}

/* -- keys -- */

static void work_keygen(void *arg)
{
    struct walk *w = arg;

    if (w->token != NULL)
        w->rc = keygen_make_in_token(w->kind, w->token, w->names[w->next], &w->terms, &w->key,
                                     &w->csr, &w->err);
    else
        w->rc = keygen_make(w->kind, &w->terms, &w->key, &w->csr, &w->err);
}

static void add_csr(json_t *row, const struct buf *csr)
{
    const char *kind;

    if (row == NULL) /* it was refused, and there is none */
        return;
    kind = keygen_csr_kind(csr);
    json_object_set_new(row, "key", kind == NULL ? json_null() : json_string(kind));
    json_object_set_new(row, "csr", json_stringn((const char *)csr->p, csr->len));
}

static bool waits(const struct walk *w, const struct hub_device *d)
{
    return d->csr_since_s[FLIP_NEW] != 0 && !w->renew;
}

/* A key waits already: the same request again. */
static int tell_waiting(struct call *c, struct walk *w, struct hub_device *d, struct rpc_fault *f)
{
    struct buf csr = {0};
    struct err err = {0};
    const char *kind;

    if (files_get(hub_conf(c->d->hub)->identities_dir, d->name, FLIP_NEW, FILES_CSR, &csr, &err) !=
        0) {
        rpc_refuse(f, RPC_STORE, "mend the file, or make another key with renew", "device %s: %s",
                   d->name, err.msg);
        return DONE;
    }
    kind = keygen_csr_kind(&csr);
    if (w->kind_given && (kind == NULL || strcmp(kind, key_kind_name(w->kind)) != 0)) {
        rpc_refuse(f, RPC_PHASE, "have it signed and install it, or ask for another key: renew",
                   "device %s: a key of another kind waits for its certificate already: %s",
                   d->name, kind == NULL ? "not one of ours" : kind);
        buf_fini(&csr);
        return DONE;
    }
    add_csr(walk_note(c, w, d, false, f), &csr);
    buf_fini(&csr);
    return NOTED;
}

/* The key that was just made is in no slot.  In a file it is gone with that; a token keeps it. */
static void tell_left(const struct walk *w, const char *device)
{
    struct log_quoted uri;

    if (w->rc != 0 || w->token == NULL || w->key.len == 0)
        return;
    log_event(LOG_CONTROL, LOG_WARN_, "key-left-in-token",
              "device=%s token=%s uri=%s msg=%s todo=%s", device, LOG_Q(w->token),
              log_quote(&uri, (const char *)w->key.p, w->key.len - 1), /* without its newline */
              LOG_Q("a key was made in the token, but the new slot does not name it"),
              LOG_Q("make another one when the cause is mended (certflipctl keygen), and destroy "
                    "this one in the token: pkcs11-tool --delete-object, or p11tool --delete"));
}

static void on_key_made(struct call *c, void *arg)
{
    struct walk *w = arg;
    struct rpc_fault f = {0};
    const char *name = w->names[w->next];
    size_t refused = w->outcome.refused_count;
    struct hub_device *d;
    json_t *row;

    if (c == NULL) {
        tell_left(w, name);
        on_turn(NULL, w);
        return;
    }
    d = hub_find(c->d->hub, name);
    if (d == NULL) {
        tell_left(w, name);
        w->next++;
    } else if (w->rc == 0 && waits(w, d)) { /* one that was made meanwhile: there is one answer */
        tell_left(w, name);
        if (tell_waiting(c, w, d, &f) == DONE)
            walk_note(c, w, d, false, &f);
    } else {
        const struct files_slot what = {.key = {w->key.p, w->key.len},
                                        .csr = {w->csr.p, w->csr.len}};

        if (w->rc != 0)
            rpc_refuse(&f, w->rc == -ERR_NOT_FOUND ? RPC_INVALID_PARAMS : RPC_INTERNAL,
                       w->token != NULL ? "certflipctl status tells of the token" : "try again",
                       "device %s: %s", d->name, w->err.msg);
        else
            hub_put_new(c->d->hub, d, &what, false, c->caller->who, &f);
        row = walk_note(c, w, d, f.code == RPC_OK, &f);
        if (w->outcome.refused_count != refused) /* nothing was written, or it was undone */
            tell_left(w, name);
        add_csr(row, &w->csr);
    }
    buf_fini_wipe(&w->key);
    buf_fini(&w->csr);
    keygen_terms_fini(&w->terms);
    on_turn(c, w);
}

static int step_keygen(struct call *c, struct walk *w, struct hub_device *d, bool *changed,
                       struct rpc_fault *f)
{
    const json_t *sans = json_object_get(c->params, "sans");
    const char *texts[KEYGEN_SANS_MAX];
    struct err err = {0};

    (void)changed;
    if (hub_may_put_new(c->d->hub, d, false, f) != 0)
        return DONE;
    if (waits(w, d))
        return tell_waiting(c, w, d, f);
    for (size_t i = 0; i < json_array_size(sans); i++)
        texts[i] = json_string_value(json_array_get(sans, i));
    if (keygen_terms(hub_conf(c->d->hub), d->name, call_text(c, "subject"),
                     sans == NULL ? NULL : texts, json_array_size(sans), &w->terms, &err) != 0) {
        rpc_refuse(f, RPC_INVALID_PARAMS, "see certflip.conf(5), keygen", "%s", err.msg);
        return DONE;
    }
    if (call_later(c, work_keygen, on_key_made, w) == 0)
        return LATER;
    *f = c->fault;
    c->fault = (struct rpc_fault){0};
    return DONE;
}

int do_identity_keygen(struct call *c)
{
    const char *kind = call_text(c, "key"), *token = call_text(c, "token");
    struct walk *w = walk_new(c);

    if (w == NULL)
        return -1;
    w->step = step_keygen;
    w->renew = json_is_true(json_object_get(c->params, "renew"));
    w->kind = keygen_kind(hub_conf(c->d->hub));
    w->kind_given = kind != NULL;
    if (token == NULL)
        token = hub_conf(c->d->hub)->keygen.token;
    if (token != NULL && *token != '\0' && (w->token = strdup(token)) == NULL) {
        walk_free(w);
        return rpc_refuse(&c->fault, RPC_BUSY, "try again", "out of memory");
    }
    if (kind != NULL && key_kind_parse(kind, &w->kind) != 0) {
        walk_free(w);
        return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL,
                          "key: must be ec-p256, ec-p384, rsa-2048, rsa-3072 or rsa-4096");
    }
    if (w->count > RPC_KEYGEN_MAX) {
        size_t count = w->count;

        walk_free(w);
        return rpc_refuse(&c->fault, RPC_TOO_BIG, "name fewer devices at a time",
                          "%zu devices, at most %d are allowed at a time", count, RPC_KEYGEN_MAX);
    }
    return walk_begin(c, w);
}

/* -- certificates -- */

/* The texts of the new slot, and what they become with the chain. */
struct installation {
    struct buf key, csr, former; /* owned, as in the files; the key is a secret */
    struct buf chain;            /* owned: sorted, without the root */
};

static void installation_fini(struct installation *i)
{
    buf_fini_wipe(&i->key);
    buf_fini(&i->csr);
    buf_fini(&i->former);
    buf_fini(&i->chain);
}

static int refuse_chain(struct call *c, const struct hub_device *d, const struct err *err)
{
    return rpc_refuse(&c->fault, RPC_INVALID_PARAMS,
                      "send the certificate that the CA made of this device's request, and its "
                      "intermediates: certflipctl export --csr shows the request",
                      "device %s: %s", d->name, err->msg);
}

/* The key is in a token: the request that was made with it has its public half. */
static int match_token_chain(struct bundle *b, const char *text, struct installation *in,
                             struct err *err)
{
    struct buf spki = {0};
    int rc = bundle_add(b, "chain", (const uint8_t *)text, strlen(text), NULL, err);

    if (rc == 0 && bundle_keys(b) > 0)
        rc = err_set(err, ERR_INVALID,
                     "chain: holds a private key: it must not travel: make another one");
    if (rc == 0 && in->csr.len == 0)
        rc = err_set(err, ERR_NOT_FOUND,
                     "new/csr.pem is missing: without it put chain.pem beside key.uri, and reload");
    if (rc == 0)
        rc = csr_public((const char *)in->csr.p, in->csr.len, &spki, err);
    if (rc == 0)
        rc = bundle_chain(b, spki.p, spki.len, &in->chain, err);
    buf_fini(&spki);
    return rc;
}

/* Match the chain to the key that is there. */
static int match_chain(struct call *c, struct hub_device *d, struct installation *in)
{
    const char *dir = hub_conf(c->d->hub)->identities_dir, *text = call_text(c, "chain");
    struct bundle *b;
    struct secret plain = {0}, key = {0};
    struct err err = {0};
    int rc = files_get(dir, d->name, FLIP_NEW, FILES_KEY, &in->key, &err);

    if (rc == -ERR_NOT_FOUND)
        return rpc_refuse(&c->fault, RPC_NO_IDENTITY, "make one: certflipctl keygen",
                          "device %s: there is no key in the new slot", d->name);
    if (rc != 0)
        return rpc_refuse(&c->fault, RPC_STORE, "mend the cause, then command again",
                          "device %s: %s", d->name, err.msg);
    files_get(dir, d->name, FLIP_NEW, FILES_CSR, &in->csr, NULL);
    files_get(dir, d->name, FLIP_NEW, FILES_CHAIN, &in->former, NULL);
    b = bundle_new();
    if (in->key.len > 7 && memcmp(in->key.p, "pkcs11:", 7) == 0) {
        rc = b == NULL ? err_set(&err, ERR_NOMEM, "out of memory")
                       : match_token_chain(b, text, in, &err);
        bundle_free(b);
        return rc == 0 ? 0 : refuse_chain(c, d, &err);
    }
    rc = cred_read_key((const char *)in->key.p, in->key.len, &plain, &err);
    if (rc != 0)
        err_wrap(&err, rc, "new/key.pem");
    else
        rc = b == NULL ? err_set(&err, ERR_NOMEM, "out of memory")
                       : bundle_add(b, "new/key.pem", plain.p, plain.len, NULL, &err);
    if (rc == 0)
        rc = bundle_add(b, "chain", (const uint8_t *)text, strlen(text), NULL, &err);
    if (rc == 0 && bundle_keys(b) > 1)
        rc = err_set(&err, ERR_INVALID,
                     "chain: holds a private key: it must not travel: make another one");
    if (rc == 0)
        rc = bundle_identity(b, &in->chain, &key, &err);
    bundle_free(b);
    secret_fini(&plain);
    secret_fini(&key);
    if (rc == 0)
        return 0;
    return refuse_chain(c, d, &err);
}

int do_identity_install(struct call *c)
{
    const char *name = call_text(c, "device");
    struct hub_device *d = hub_find(c->d->hub, name);
    struct installation in = {0};
    struct files_slot what;
    bool same;
    int rc;

    if (d == NULL)
        return call_refuse_device(c, name);
    if (hub_may_put_new(c->d->hub, d, true, &c->fault) != 0)
        return -1;
    rc = match_chain(c, d, &in);
    same = rc == 0 && d->flip.phase == FLIP_STAGED && in.former.len == in.chain.len &&
           memcmp(in.former.p, in.chain.p, in.chain.len) == 0;
    if (rc == 0 && !same) {
        what = (struct files_slot){
            {in.key.p, in.key.len}, {in.chain.p, in.chain.len}, {in.csr.p, in.csr.len}};
        rc = hub_put_new(c->d->hub, d, &what, true, c->caller->who, &c->fault);
    }
    installation_fini(&in);
    if (rc != 0)
        return -1;
    c->result = json_pack("{s:s, s:s, s:b, s:o}", "device", d->name, "phase",
                          flip_phase_name(d->flip.phase), "changed", !same, "slot",
                          show_slot(c->d->hub, d, FLIP_NEW));
    return 0;
}

/* The certificates, or the request, alone: a key may stand in the same file.  A block without its
 * own end is passed over: what comes behind it may be the key. */
static json_t *public_pem(const struct buf *text)
{
    static const char begin[] = "-----BEGIN ", end[] = "-----END ", dashes[] = "-----";
    const size_t begin_n = sizeof(begin) - 1, end_n = sizeof(end) - 1, n = sizeof(dashes) - 1;
    const char *at = (const char *)text->p, *stop = at + text->len;
    struct buf out = {0};
    json_t *value;

    while (at < stop && (at = memmem(at, (size_t)(stop - at), begin, begin_n)) != NULL) {
        const char *label = at + begin_n;
        const char *behind = memmem(label, (size_t)(stop - label), dashes, n);
        size_t label_n = behind == NULL ? 0 : (size_t)(behind - label);
        const char *next =
            behind == NULL ? NULL : memmem(behind + n, (size_t)(stop - behind) - n, dashes, n);

        if (next == NULL)
            break;
        if ((size_t)(stop - next) < end_n + label_n + n || memcmp(next, end, end_n) != 0 ||
            memcmp(next + end_n, label, label_n) != 0 ||
            memcmp(next + end_n + label_n, dashes, n) != 0) {
            at = next;
            continue;
        }
        if (strncmp(label, "CERTIFICATE", 11) == 0) {
            buf_append(&out, at, (size_t)(next - at) + end_n + label_n + n);
            buf_append_u8(&out, '\n');
        }
        at = next + end_n + label_n + n;
    }
    value = json_stringn(out.p == NULL ? "" : (const char *)out.p, out.len);
    buf_fini(&out);
    return value;
}

int do_identity_export(struct call *c)
{
    const char *name = call_text(c, "device"), *what = call_text(c, "what");
    const char *slot_name = call_text(c, "slot");
    const struct hub_device *d = hub_find(c->d->hub, name);
    enum flip_slot slot = FLIP_NEW;
    struct buf text = {0};
    struct err err = {0};
    bool csr = strcmp(what, "csr") == 0;

    if (d == NULL)
        return call_refuse_device(c, name);
    if (!csr && strcmp(what, "cert") != 0)
        return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL, "what: must be csr or cert");
    if (slot_name != NULL && flip_slot_parse(slot_name, &slot) != 0)
        return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL, "slot: must be old or new");
    if (files_get(hub_conf(c->d->hub)->identities_dir, d->name, slot, csr ? FILES_CSR : FILES_CHAIN,
                  &text, &err) != 0)
        return rpc_refuse(&c->fault, RPC_NO_IDENTITY, "see what there is: certflipctl device",
                          "device %s: %s", d->name, err.msg);
    c->result = json_pack("{s:s, s:s, s:s, s:o}", "device", d->name, "slot", flip_slot_name(slot),
                          "what", what, "pem", public_pem(&text));
    buf_fini_wipe(&text);
    return 0;
}

/* -- ends -- */

static int step_discard(struct call *c, struct walk *w, struct hub_device *d, bool *changed,
                        struct rpc_fault *f)
{
    (void)w;
    hub_discard(c->d->hub, d, c->caller->who, changed, f);
    return DONE;
}

int do_identity_discard(struct call *c)
{
    struct walk *w = walk_new(c);

    if (w == NULL)
        return -1;
    w->step = step_discard;
    return walk_begin(c, w);
}

static int step_retire(struct call *c, struct walk *w, struct hub_device *d, bool *changed,
                       struct rpc_fault *f)
{
    (void)w;
    if (d->flip.phase != FLIP_STEADY) /* where there is one identity alone, it was done before */
        hub_retire(c->d->hub, d, c->caller->who, changed, f);
    return DONE;
}

int do_retire(struct call *c)
{
    struct walk *w = walk_new(c);

    if (w == NULL)
        return -1;
    w->step = step_retire;
    return walk_begin(c, w);
}
