/* test_control_world.c - see test_control_world.h.
 *
 * It stands in for identity/slots, tls/cred, control/crls and session/snapshot, so that no
 * certificate has to be made, and lets store_commit fail on demand (--wrap).
 */
#include "test_control_world.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/crls.h"
#include "control/hub_inside.h"
#include "identity/files.h"
#include "identity/keygen.h"
#include "identity/slots.h"
#include "lint/files.h"
#include "scratch.h"
#include "tls/bundle.h"
#include "tls/csr.h"
#include "tls/keyring.h"
#include "tls/token.h"

/* What slots_load and the like stand on: there is one world at a time. */
static struct world *here;

/* -- credentials and snapshots -- */

struct cred {
    int refs;
    struct cert_info info;
};

static char twins_issuer[] = "CN=CA";

static struct cred *cred_make(uint8_t fp)
{
    struct cred *c = calloc(1, sizeof(*c));

    assert_non_null(c);
    c->refs = 1;
    memset(c->info.fp, fp, sizeof(c->info.fp));
    memset(c->info.spki_fp, fp, sizeof(c->info.spki_fp));
    c->info.not_before_s = clock_wall_s() + (fp == WORLD_FP_EARLY ? 3600 : -3600);
    c->info.not_after_s = clock_wall_s() + (fp == WORLD_FP_EXPIRED ? -60 : 7200);
    c->info.subject = c->info.issuer = c->info.cn = NULL;
    if (fp == WORLD_FP_TWIN || fp == WORLD_FP_OTHER_TWIN) {
        c->info.issuer = twins_issuer;
        snprintf(c->info.serial_hex, sizeof(c->info.serial_hex), "2a");
    }
    return c;
}

struct cred *cred_ref(struct cred *c)
{
    if (c != NULL)
        c->refs++;
    return c;
}

void cred_unref(struct cred *c)
{
    if (c != NULL && --c->refs == 0)
        free(c);
}

const struct cert_info *cred_leaf(const struct cred *c)
{
    return &c->info;
}

bool cred_equal(const struct cred *a, const struct cred *b)
{
    return a == b || (a != NULL && b != NULL && a->info.fp[0] == b->info.fp[0]);
}

enum cred_rest cred_rest(const struct cred *c)
{
    (void)c;
    return CRED_PLAIN;
}

const char *cred_rest_name(enum cred_rest rest)
{
    return rest == CRED_PLAIN ? "plain" : "?";
}

bool keyring_encrypts(void)
{
    return false;
}

size_t cred_chain(const struct cred *c, struct slice *out, size_t max)
{
    assert_true(max > 0);
    out[0] = (struct slice){c->info.fp, sizeof(c->info.fp)};
    return 1;
}

/* -- lint: what it finds is the fingerprint's first byte -- */

int lint_run(const struct lint_input *in, struct lint_report *out)
{
    static const struct {
        uint8_t fp;
        enum lint_code code;
    } table[] = {
        {WORLD_FP_EXPIRED, LINT_EXPIRED},  {WORLD_FP_EARLY, LINT_NOT_YET_VALID},
        {WORLD_FP_WEAK, LINT_WEAK_KEY},    {WORLD_FP_HOPELESS, LINT_KEY_MISMATCH},
        {WORLD_FP_SOON, LINT_SELF_SIGNED},
    };

    *out = (struct lint_report){0};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (in->chain[0].p[0] != table[i].fp)
            continue;
        out->all = calloc(1, sizeof(*out->all));
        assert_non_null(out->all);
        out->count = 1;
        out->all[0].code = table[i].code;
        out->all[0].severity = table[i].fp == WORLD_FP_SOON ? LINT_WARNING : LINT_ERROR;
        snprintf(out->all[0].text, sizeof(out->all[0].text), "CN=%02x: found by lint", table[i].fp);
    }
    return 0;
}

int hub_lint_read(const struct conf *conf, struct lint_anchors **anchors, struct crl_set **crls,
                  struct err *err)
{
    (void)conf;
    (void)err;
    *anchors = NULL; /* none in this world */
    *crls = NULL;
    return 0;
}

bool hub_lint_take(struct hub *h, struct lint_anchors *anchors, struct crl_set *crls)
{
    (void)h;
    assert_null(anchors);
    assert_null(crls);
    return false;
}

void hub_lint_drop(struct lint_anchors *anchors, struct crl_set *crls)
{
    assert_null(anchors);
    assert_null(crls);
}

bool hub_lint_revoked(const struct hub *h, struct slice der)
{
    (void)h;
    (void)der;
    return false;
}

void hub_lint_lists(struct hub *h)
{
    (void)h;
}

struct wk_snapshot *snapshot_ref(struct wk_snapshot *s)
{
    return s;
}

void snapshot_unref(struct wk_snapshot *s)
{
    (void)s;
}

int crls_update(struct hub *h, const struct crls_update *u, json_t **result, struct err *err)
{
    (void)h;
    (void)u;
    (void)result;
    return err_set(err, ERR_INVALID, "nobody goes by lists here");
}

json_t *crls_rows(const struct hub *h)
{
    (void)h;
    return json_array();
}

json_t *crls_summary(const struct hub *h)
{
    (void)h;
    return json_object();
}

void crls_worries(const struct hub *h, void (*say)(void *arg, bool stale, const char *text),
                  void *arg)
{
    (void)h;
    (void)say;
    (void)arg;
}

struct wk_snapshot *snapshot_with_trust(const struct wk_snapshot *s, struct trust_changes *changes,
                                        struct err *err)
{
    (void)changes;
    (void)err;
    return (struct wk_snapshot *)(uintptr_t)s;
}

const struct tls_anchors *tls_ctx_anchors(const struct tls_ctx *ctx)
{
    static const struct tls_anchors none;

    (void)ctx;
    return &none;
}

/* No identity of this world is of any anchor. */
const struct tls_anchor *tls_trust_root(const struct tls_trust *trust, const struct cred *c)
{
    (void)trust;
    (void)c;
    return NULL;
}

const char *tls_library(void)
{
    return "none";
}

/* -- tokens: there are none -- */

int tokens_configure(const struct token_conf *confs, size_t n, struct err *err)
{
    (void)confs;
    (void)n;
    (void)err;
    return 0;
}

bool tokens_status(size_t index, struct token_status *out)
{
    (void)index;
    (void)out;
    return false;
}

const char *token_state_name(enum token_state state)
{
    (void)state;
    return "ready";
}

/* -- identities on disk -- */

int slots_scan(const char *dir, int (*each)(void *arg, const char *device), void *arg,
               struct err *err)
{
    int n = 0;

    if (here->no_folder)
        return err_set(err, ERR_NOT_FOUND, "%s: there is no such folder", dir);
    for (size_t i = 0; i < here->device_count; i++) {
        int rc = here->device[i].gone ? 0 : each(arg, here->device[i].name);

        if (rc < 0)
            return rc;
        n++;
    }
    return n;
}

int slots_load(const char *dir, const char *device, struct slots *out, struct err *err)
{
    (void)dir;
    *out = (struct slots){0};
    for (size_t i = 0; i < here->device_count; i++) {
        const struct world_device *d = &here->device[i];

        if (strcmp(d->name, device) != 0)
            continue;
        for (int slot = 0; slot < FLIP_SLOTS; slot++) {
            out->present[slot] = d->fp[slot] != 0;
            out->csr_since_s[slot] = slot == FLIP_NEW && d->fp[slot] == 0 && d->waits ? 1000 : 0;
            if (d->fault[slot] != NULL)
                err_set(&out->fault[slot], ERR_IO, "%s", d->fault[slot]);
            else if (d->fp[slot] != 0)
                out->cred[slot] = cred_make(d->fp[slot]);
        }
        return 0;
    }
    return err_set(err, ERR_NOT_FOUND, "no device %s", device);
}

void slots_fini(struct slots *s)
{
    for (int slot = 0; slot < FLIP_SLOTS; slot++)
        cred_unref(s->cred[slot]);
}

/* -- files, which may fail: what is aside is the fingerprint, and whether a key waits -- */

/* Something has become durable.  The hub does not notice when the power goes: whatever it does
 * after that is lost, which is the same. */
static void durable_step(void)
{
    if (here->dark || here->power_steps == 0 || --here->power_steps != 0)
        return;
    here->dark = true;
    memcpy(here->on_disk, here->device, sizeof(here->on_disk));
}

static struct world_device *files_of(const char *device)
{
    for (size_t i = 0; i < here->device_count; i++)
        if (strcmp(here->device[i].name, device) == 0)
            return &here->device[i];
    return world_device(here, device, 0, 0); /* its folder was made just now */
}

static int files_fail(struct err *err)
{
    if (here->fail_files == 0)
        return 0;
    here->fail_files--;
    return err_set(err, ERR_IO, "disk on fire");
}

static int backs_fail(struct err *err)
{
    if (here->fail_backs == 0)
        return 0;
    here->fail_backs--;
    return err_set(err, ERR_IO, "disk on fire");
}

static char *set_aside(struct world_device *d, enum flip_slot slot)
{
    char *aside = d->fp[slot] == 0 && !d->waits ? NULL : malloc(2);

    if (aside != NULL) {
        aside[0] = (char)d->fp[slot];
        aside[1] = (char)d->waits;
    }
    d->fp[slot] = 0;
    d->waits = false;
    return aside;
}

static int put_back(struct world_device *d, enum flip_slot slot, char *aside)
{
    d->fp[slot] = aside == NULL ? 0 : (uint8_t)aside[0];
    d->waits = aside != NULL && aside[1] != 0;
    free(aside);
    durable_step();
    return 0;
}

int files_put_slot(const char *dir, const char *device, enum flip_slot slot,
                   const struct files_slot *what, char **former, struct err *err)
{
    struct world_device *d = files_of(device);

    (void)dir;
    if (files_fail(err) != 0)
        return -ERR_IO;
    *former = set_aside(d, slot);
    d->fp[slot] = what->chain.n == 0 ? 0 : what->chain.p[0];
    d->waits = what->chain.n == 0;
    durable_step();
    return 0;
}

int files_unput_slot(const char *dir, const char *device, enum flip_slot slot, char *former,
                     struct err *err)
{
    (void)dir;
    if (backs_fail(err) != 0) {
        free(former);
        return -ERR_IO;
    }
    return put_back(files_of(device), slot, former);
}

int files_take_slot(const char *dir, const char *device, enum flip_slot slot, char **aside,
                    struct err *err)
{
    (void)dir;
    if (files_fail(err) != 0)
        return -ERR_IO;
    *aside = set_aside(files_of(device), slot);
    durable_step();
    return 0;
}

int files_restore_slot(const char *dir, const char *device, enum flip_slot slot, char *aside,
                       struct err *err)
{
    (void)dir;
    if (backs_fail(err) != 0) {
        free(aside);
        return -ERR_IO;
    }
    return put_back(files_of(device), slot, aside);
}

void files_destroy(char *aside)
{
    free(aside);
}

int files_retire(const char *dir, const char *device, int64_t now_s, const char *old_fp,
                 char **archived, struct err *err)
{
    struct world_device *d = files_of(device);

    (void)dir;
    (void)now_s;
    (void)old_fp;
    if (files_fail(err) != 0)
        return -ERR_IO;
    d->archived = d->fp[FLIP_OLD];
    *archived = set_aside(d, FLIP_OLD);
    durable_step();
    d->fp[FLIP_OLD] = d->fp[FLIP_NEW];
    d->fp[FLIP_NEW] = 0;
    durable_step();
    return 0;
}

int files_unretire(const char *dir, const char *device, char *archived, struct err *err)
{
    struct world_device *d = files_of(device);

    (void)dir;
    if (backs_fail(err) != 0) {
        free(archived);
        return -ERR_IO;
    }
    d->fp[FLIP_NEW] = d->fp[FLIP_OLD];
    d->fp[FLIP_OLD] = 0;
    durable_step();
    d->archived = 0;
    return put_back(d, FLIP_OLD, archived);
}

int files_sweep(const char *dir, const char *device, const char *old_fp, struct err *err)
{
    struct world_device *d = files_of(device);
    uint8_t bytes[CERT_FP_BYTES];
    char archived[CERT_FP_TEXT];

    (void)dir;
    (void)err;
    memset(bytes, d->archived, sizeof(bytes));
    str_hex(archived, bytes, sizeof(bytes));
    if (d->fp[FLIP_OLD] != 0 || d->fp[FLIP_NEW] == 0 || d->archived == 0 ||
        strcmp(old_fp, archived) != 0)
        return 0;
    d->fp[FLIP_OLD] = d->archived;
    d->archived = 0;
    durable_step();
    return 1;
}

int files_get(const char *dir, const char *device, enum flip_slot slot, enum files_name name,
              struct buf *out, struct err *err)
{
    const struct world_device *d = files_of(device);

    (void)dir;
    if (name == FILES_CHAIN ? d->fp[slot] == 0 : !d->waits && d->fp[slot] == 0)
        return err_set(err, ERR_NOT_FOUND, "there is no such file");
    return buf_printf(out, "%d", (int)name);
}

/* -- keys, made of nothing -- */

enum key_kind keygen_kind(const struct conf *conf)
{
    (void)conf;
    return KEY_EC_P256;
}

int keygen_terms(const struct conf *conf, const char *device, const char *subject,
                 const char *const *sans, size_t san_count, struct keygen_terms *out,
                 struct err *err)
{
    (void)conf;
    (void)sans;
    (void)san_count;
    *out = (struct keygen_terms){.san_count = 0};
    return subject == NULL || strcmp(subject, "bad") != 0
               ? 0
               : err_set(err, ERR_INVALID, "device %s: subject: is bad", device);
}

void keygen_terms_fini(struct keygen_terms *t)
{
    (void)t;
}

int keygen_make_in_token(enum key_kind kind, const char *token, const char *device,
                         const struct keygen_terms *terms, struct buf *key, struct buf *csr,
                         struct err *err)
{
    (void)token;
    (void)device;
    return keygen_make(kind, terms, key, csr, err);
}

int keygen_make(enum key_kind kind, const struct keygen_terms *terms, struct buf *key,
                struct buf *csr, struct err *err)
{
    (void)kind;
    (void)terms;
    (void)err;
    here->keys_made++;
    return buf_printf(key, "key") != 0 || buf_printf(csr, "%d", (int)FILES_CSR) != 0 ? -ERR_NOMEM
                                                                                     : 0;
}

const char *keygen_csr_kind(const struct buf *csr)
{
    (void)csr;
    return "ec-p256";
}

const char *key_kind_name(enum key_kind kind)
{
    return kind == KEY_EC_P256 ? "ec-p256" : "another";
}

int key_kind_parse(const char *name, enum key_kind *out)
{
    *out = strcmp(name, "ec-p256") == 0 ? KEY_EC_P256 : KEY_RSA_2048;
    return strcmp(name, "dsa") == 0 ? -ERR_INVALID : 0;
}

const struct conf_rule *conf_rule_find(const struct conf *c, const char *device)
{
    (void)c;
    (void)device;
    return NULL;
}

int cred_read_key(const char *pem, size_t n, struct secret *pkcs8, struct err *err)
{
    (void)pem;
    (void)n;
    (void)pkcs8;
    return err_set(err, ERR_NOMEM, "there are no keys here");
}

struct bundle *bundle_new(void)
{
    return NULL; /* what a chain is, is for the tests of bundles and for scenarios */
}

void bundle_free(struct bundle *b)
{
    (void)b;
}

int bundle_add(struct bundle *b, const char *file, const uint8_t *p, size_t n, const char *password,
               struct err *err)
{
    (void)b;
    (void)file;
    (void)p;
    (void)n;
    (void)password;
    (void)err;
    return -ERR_NOMEM;
}

size_t bundle_keys(const struct bundle *b)
{
    (void)b;
    return 0;
}

int bundle_chain(const struct bundle *b, const uint8_t *spki, size_t n, struct buf *chain,
                 struct err *err)
{
    (void)b;
    (void)spki;
    (void)n;
    (void)chain;
    return err_set(err, ERR_INVALID, "no keys are in tokens here");
}

int csr_public(const char *pem, size_t n, struct buf *spki, struct err *err)
{
    (void)pem;
    (void)n;
    (void)spki;
    return err_set(err, ERR_SYNTAX, "no requests are read here");
}

int bundle_identity(const struct bundle *b, struct buf *chain, struct secret *key, struct err *err)
{
    (void)b;
    (void)chain;
    (void)key;
    (void)err;
    return -ERR_NOMEM;
}

/* -- a store that can fail -- */

int __real_store_commit(struct store *s, struct err *err);
int __wrap_store_commit(struct store *s, struct err *err);

int __wrap_store_commit(struct store *s, struct err *err)
{
    if (here->dark) {
        store_rollback(s);
        return 0;
    }
    if (here->fail_saves == 0 || (here->good_saves != 0 && here->good_saves-- != 0)) {
        int rc = __real_store_commit(s, err);

        durable_step();
        return rc;
    }
    here->fail_saves--;
    store_rollback(s);
    return err_set(err, ERR_STORE, "disk full");
}

int __real_store_command_get(struct store *s, const char *id, char **reply, struct err *err);
int __wrap_store_command_get(struct store *s, const char *id, char **reply, struct err *err);

int __wrap_store_command_get(struct store *s, const char *id, char **reply, struct err *err)
{
    if (here->fail_gets == 0)
        return __real_store_command_get(s, id, reply, err);
    here->fail_gets--;
    return err_set(err, ERR_STORE, "disk on fire");
}

/* -- what the hub sends out -- */

static const char *stored_phase(const struct world *w, const char *device)
{
    static struct store_device row;

    if (store_device_get(w->store, device, &row, NULL) != 0)
        return "nothing";
    return flip_phase_name(row.flip.phase);
}

static void remember_told(struct world *w, const struct msg *m)
{
    for (size_t i = 0; i < w->device_count; i++) {
        struct world_device *d = &w->device[i];

        if (strcmp(d->name, m->device) != 0)
            continue;
        for (int slot = 0; slot < FLIP_SLOTS; slot++)
            d->told_fp[slot] =
                m->u.dev.cred[slot] == NULL ? 0 : cred_leaf(m->u.dev.cred[slot])->fp[0];
        d->told_active = m->u.dev.active;
        d->told_retired += m->u.dev.retired;
    }
}

static void sink_post(void *arg, unsigned worker, struct msg *m)
{
    struct world *w = arg;

    switch ((int)m->kind) {
    case MSG_DEVICE:
        if (worker == 0) /* every worker gets the same */
            remember_told(w, m);
        if (worker == 0)
            buf_printf(&w->trace, "%s: use %s%s%s, stored %s\n", m->device,
                       flip_slot_name(m->u.dev.active),
                       m->u.dev.identities_changed ? ", changed" : "",
                       m->u.dev.retired ? ", retired" : "", stored_phase(w, m->device));
        break;
    case MSG_KICK:
        w->kicks++;
        buf_printf(&w->trace, "%s: worker %u closes session %d\n", m->device, worker,
                   (int)m->session_id);
        break;
    case MSG_TRIAL_OVER:
        w->trials_over += worker == 0;
        break;
    case MSG_DEVICE_GONE:
        if (worker == 0)
            buf_printf(&w->trace, "%s: gone\n", m->device);
        break;
    default:
        buf_printf(&w->trace, "message %d to %u\n", (int)m->kind, worker);
        break;
    }
    msg_free(m);
}

static void sink_device_changed(void *arg, const char *device)
{
    struct world *w = arg;

    assert_non_null(device);
    w->changes++;
    snprintf(w->changed, sizeof(w->changed), "%s", device);
}

static void sink_event(void *arg, const struct hub_event *ev)
{
    struct world *w = arg;

    if (ev->progress != NULL) {
        buf_printf(&w->trace, "%d %s %s: %zu done, %zu refused of %zu by %s\n", (int)ev->seq,
                   ev->progress->method, ev->progress->id, ev->progress->done,
                   ev->progress->refused, ev->progress->total, ev->who);
        return;
    }
    buf_printf(&w->trace, "%d %s: %s -> %s, %s by %s\n", (int)ev->seq, ev->device,
               flip_phase_name(ev->from), flip_phase_name(ev->to), ev->cause, ev->who);
}

static void sink_wake(void *arg, int64_t at_ms)
{
    struct world *w = arg;

    w->wake_ms = at_ms;
}

static int64_t sink_now_ms(void *arg)
{
    return ((struct world *)arg)->now_ms;
}

static int64_t sink_wall_s(void *arg)
{
    const struct world *w = arg;

    return w->wall_s == 0 ? clock_wall_s() : w->wall_s;
}

static void sink_sync(void *arg, struct clock_sync *out)
{
    *out = ((const struct world *)arg)->sync;
}

/* -- life -- */

void world_hub(struct world *w)
{
    const struct hub_sink sink = {
        .post = sink_post,
        .device_changed = sink_device_changed,
        .event = sink_event,
        .wake = sink_wake,
        .now_ms = sink_now_ms,
        .wall_s = sink_wall_s,
        .sync = w->asks_clock ? sink_sync : NULL,
        .boot = w->boot,
        .arg = w,
        .workers = WORLD_WORKERS,
    };
    struct err err = {0};

    w->hub = hub_new(&sink, w->store, &w->snapshot, &err);
    assert_non_null(w->hub);
    w->dispatch = (struct dispatch){.hub = w->hub, .store = w->store, .config = "test.conf"};
    dispatch_init(&w->dispatch);
}

int world_make(void **state)
{
    static char gateway[] = "gw-test", identities[] = "/identities";
    struct world *w = calloc(1, sizeof(*w));
    struct err err = {0};

    assert_non_null(w);
    here = w;
    log_set_level("*", LOG_ERROR_);
    assert_true(scratch_make(w->dir, sizeof(w->dir)));
    w->store = store_open(w->dir, &err);
    assert_non_null(w->store);
    w->conf.gateway = gateway;
    w->conf.identities_dir = identities;
    w->conf.flip.probation_s = 60;
    w->conf.flip.attempts = 3;
    w->conf.flip.concurrent = 2;
    w->conf.flip.backoff_tls_s[0] = 30;
    w->conf.flip.backoff_tls_s[1] = 60;
    w->conf.flip.backoff_tls_count = 2;
    w->snapshot.conf = &w->conf;
    w->snapshot.listener_ctx = w->ctx;
    w->snapshot.upstream_ctx = w->ctx;
    w->snapshot.listener_source = w->source;
    w->snapshot.upstream_source = w->source;
    w->now_ms = 1000000;
    w->boot = "first boot";
    world_hub(w);
    *state = w;
    return 0;
}

int world_remove(void **state)
{
    struct world *w = *state;
    DIR *d;

    hub_free(w->hub);
    store_close(w->store);
    d = opendir(w->dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        (void)unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    assert_int_equal(rmdir(w->dir), 0);
    buf_fini(&w->trace);
    free(w);
    return 0;
}

struct world_device *world_device(struct world *w, const char *name, uint8_t old_fp, uint8_t new_fp)
{
    struct world_device *d = &w->device[w->device_count++];

    assert_true(w->device_count <= WORLD_DEVICES);
    snprintf(d->name, sizeof(d->name), "%s", name);
    d->fp[FLIP_OLD] = old_fp;
    d->fp[FLIP_NEW] = new_fp;
    return d;
}

/* What is counted as it changes must be what a count of all would give. */
static void check_counts(const struct world *w)
{
    struct hub_counts counts, sum = {0};
    size_t n;
    struct hub_device *const *all = hub_devices(w->hub, &n);

    for (size_t i = 0; i < n; i++) {
        const struct hub_device *d = all[i];
        bool stuck = d->cred[flip_active_slot(&d->flip)] == NULL;

        sum.phase[d->flip.phase]++;
        sum.sessions += d->session_count;
        sum.online += d->session_count != 0;
        sum.queued += d->queued;
        sum.stuck += stuck;
        sum.faulty += stuck || d->fault[FLIP_OLD] != NULL || d->fault[FLIP_NEW] != NULL;
    }
    sum.total = n;
    hub_count(w->hub, &counts);
    assert_memory_equal(&counts, &sum, sizeof(counts));
}

void world_start(struct world *w)
{
    struct err err = {0};

    for (size_t i = 0; i < w->device_count; i++) /* the workers are new, too */
        memset(w->device[i].told_fp, 0, sizeof(w->device[i].told_fp));
    if (w->hub == NULL)
        world_hub(w);
    assert_int_equal(hub_start(w->hub, &err), 0);
    assert_int_equal(w->trace.len, 0); /* nobody is told before it is durable */
    assert_int_equal(hub_flush(w->hub, &err), 0);
    check_counts(w);
    world_forget(w);
}

void world_stop(struct world *w)
{
    hub_free(w->hub);
    w->hub = NULL;
    w->power_steps = 0;
    if (w->dark)
        memcpy(w->device, w->on_disk, sizeof(w->device));
    w->dark = false;
    world_forget(w);
}

void world_forget(struct world *w)
{
    buf_fini(&w->trace);
}

void world_expect(struct world *w, const char *text)
{
    assert_int_equal(buf_append_u8(&w->trace, 0), 0);
    assert_string_equal((const char *)w->trace.p, text);
    world_forget(w);
}

void world_pass(struct world *w, int64_t ms)
{
    int64_t end_ms = w->now_ms + ms;

    while (w->wake_ms != 0 && w->wake_ms <= end_ms) {
        if (w->wake_ms > w->now_ms)
            w->now_ms = w->wake_ms;
        w->wake_ms = 0;
        hub_tick(w->hub);
        check_counts(w);
    }
    w->now_ms = end_ms;
}

/* -- news -- */

static struct msg *news(struct world *w, enum msg_kind kind, const char *device, uint64_t session)
{
    struct msg *m = msg_new(kind);

    assert_non_null(m);
    assert_non_null(hub_find(w->hub, device));
    snprintf(m->device, sizeof(m->device), "%s", device);
    m->session_id = session;
    return m;
}

static void take(struct world *w, struct msg *m)
{
    hub_message(w->hub, m);
    hub_flush(w->hub, NULL);
    check_counts(w);
}

uint64_t world_up(struct world *w, unsigned worker, const char *device)
{
    struct msg *m = news(w, MSG_UP, device, ++w->next_session);

    m->worker = worker;
    snprintf(m->u.up.client_id, sizeof(m->u.up.client_id), "%s", device);
    take(w, m);
    return w->next_session;
}

void world_down(struct world *w, const char *device, uint64_t session)
{
    take(w, news(w, MSG_DOWN, device, session));
}

struct msg *world_news_of_leg(struct world *w, const char *device, uint64_t session,
                              enum msg_leg_what what, enum flip_slot slot)
{
    struct msg *m = news(w, MSG_LEG, device, session);

    m->u.leg.what = what;
    m->u.leg.slot = slot;
    m->u.leg.flip_seq = hub_find(w->hub, device)->told_seq;
    return m;
}

static void leg_news(struct world *w, const char *device, uint64_t session, enum msg_leg_what what,
                     enum flip_slot slot, enum diag_class class, uint64_t seq)
{
    struct msg *m = world_news_of_leg(w, device, session, what, slot);

    m->u.leg.flip_seq = seq;
    m->u.leg.diag.class = class;
    snprintf(m->u.leg.diag.name, sizeof(m->u.leg.diag.name), "test.%s", diag_class_name(class));
    snprintf(m->u.leg.diag.sentence, sizeof(m->u.leg.diag.sentence), "it is the %s",
             diag_class_name(class));
    take(w, m);
}

void world_leg_seq(struct world *w, const char *device, uint64_t session, enum flip_slot slot,
                   enum diag_class class, uint64_t seq)
{
    leg_news(w, device, session, class == DIAG_OK ? MSG_LEG_ACCEPTED : MSG_LEG_FAILED, slot, class,
             seq);
}

void world_lost(struct world *w, const char *device, uint64_t session, enum flip_slot slot,
                enum diag_class class)
{
    leg_news(w, device, session, MSG_LEG_LOST, slot, class, hub_find(w->hub, device)->told_seq);
}

void world_leg(struct world *w, const char *device, uint64_t session, enum flip_slot slot,
               enum diag_class class)
{
    world_leg_seq(w, device, session, slot, class, hub_find(w->hub, device)->told_seq);
}

void world_refused(struct world *w, const char *device, uint64_t session, enum flip_slot slot,
                   uint64_t refusal)
{
    struct msg *m = world_news_of_leg(w, device, session, MSG_LEG_REFUSED, slot);

    m->u.leg.refusal = refusal;
    m->u.leg.diag.class = DIAG_IDENTITY;
    snprintf(m->u.leg.diag.name, sizeof(m->u.leg.diag.name), "evidence.test");
    snprintf(m->u.leg.diag.sentence, sizeof(m->u.leg.diag.sentence), "it was refused");
    take(w, m);
}

void world_echoed(struct world *w, const char *device, uint64_t session)
{
    struct msg *m = world_news_of_leg(w, device, session, MSG_LEG_PROVEN, FLIP_NEW);

    m->u.leg.echo_us = 3140;
    take(w, m);
}

const char *world_command(struct world *w, const char *device, enum flip_event ev)
{
    const struct hub_terms terms = {0};

    return world_command_with(w, device, ev, &terms, 0);
}

const char *world_command_with(struct world *w, const char *device, enum flip_event ev,
                               const struct hub_terms *terms, uint8_t fp)
{
    struct rpc_fault f = {0};
    char hex[CERT_FP_TEXT];
    uint8_t bytes[CERT_FP_BYTES];
    bool changed;

    memset(bytes, fp, sizeof(bytes));
    str_hex(hex, bytes, sizeof(bytes));
    if (hub_command(w->hub, hub_find(w->hub, device), ev, terms, fp == 0 ? NULL : hex, NULL,
                    "tester", &changed, &f) != 0)
        return rpc_error_name(f.code);
    if (hub_flush(w->hub, NULL) != 0) {
        check_counts(w);
        return "store";
    }
    check_counts(w);
    return changed ? "ok" : "there";
}

void world_phase(struct world *w, const char *device, enum flip_phase phase)
{
    struct store_device row;

    assert_string_equal(flip_phase_name(hub_find(w->hub, device)->flip.phase),
                        flip_phase_name(phase));
    assert_int_equal(store_device_get(w->store, device, &row, NULL), 0);
    assert_string_equal(flip_phase_name(row.flip.phase), flip_phase_name(phase));
}

/* -- identities that are put there: the chain's first byte is its fingerprint -- */

struct cred *cred_parse(const char *chain, const char *key, struct err *err)
{
    if (strcmp(key, "damaged") != 0)
        return cred_make((uint8_t)chain[0]);
    err_set(err, ERR_SYNTAX, "the key: is damaged");
    return NULL;
}

int cred_put_key(const struct cred *c, struct buf *pem, struct err *err)
{
    (void)c;
    return buf_append(pem, "key", 3) == 0 ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}
