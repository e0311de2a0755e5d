/* control/hub_change.c - commands that change the files of a device.
 *
 * The files are changed first, whole or not at all, then the row is saved by the flush: so what is
 * durable in the row is true on disk.  When the row cannot be saved the files are put back.  Where
 * the power goes in between, the next start finds files that are a step ahead of the row, each of
 * which says what it was: hub_load.c settles it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "control/hub_inside.h"
#include "identity/files.h"
#include "identity/slots.h"

enum change_kind { CHANGE_PUT, CHANGE_TAKE, CHANGE_RETIRE };

/* What the device was before, and where its files are. */
struct hub_change {
    enum change_kind kind;
    char *aside;                   /* owned; of files.h; NULL: there was nothing */
    struct cred *cred[FLIP_SLOTS]; /* owned references */
    char *fault[FLIP_SLOTS];       /* owned */
    bool present[FLIP_SLOTS];
    int64_t csr_since_s[FLIP_SLOTS];
    struct hub_lint lint[FLIP_SLOTS];
    char *lint_text; /* owned */
    char new_fp[65];
    struct hub_refusals *refusals; /* owned */
    uint64_t retired_seq;
};

static const char *folder(const struct hub *h)
{
    return h->snapshot->conf->identities_dir;
}

/* -- before and after -- */

void hub_change_free(struct hub_change *c)
{
    if (c == NULL)
        return;
    for (int slot = 0; slot < FLIP_SLOTS; slot++) {
        cred_unref(c->cred[slot]);
        free(c->fault[slot]);
    }
    free(c->lint_text);
    free(c->refusals);
    free(c->aside);
    free(c);
}

/* A copy of what may be changed.  NULL when out of memory. */
static struct hub_change *remember(const struct hub_device *d, enum change_kind kind)
{
    struct hub_change *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return NULL;
    c->kind = kind;
    for (int slot = 0; slot < FLIP_SLOTS; slot++) {
        c->cred[slot] = cred_ref(d->cred[slot]);
        c->fault[slot] = d->fault[slot] == NULL ? NULL : strdup(d->fault[slot]);
        c->present[slot] = d->present[slot];
        c->csr_since_s[slot] = d->csr_since_s[slot];
        c->lint[slot] = d->lint[slot];
    }
    hub_replace(&c->lint_text, d->lint_text);
    memcpy(c->new_fp, d->new_fp, sizeof(c->new_fp));
    c->retired_seq = d->retired_seq;
    if (d->refusals != NULL && (c->refusals = malloc(sizeof(*c->refusals))) != NULL)
        *c->refusals = *d->refusals;
    return c;
}

/* The device is as it was remembered; `c` has what was instead. */
static void swap(struct hub_device *d, struct hub_change *c)
{
    for (int slot = 0; slot < FLIP_SLOTS; slot++) {
        struct cred *cred = d->cred[slot];
        char *fault = d->fault[slot];

        d->cred[slot] = c->cred[slot];
        d->fault[slot] = c->fault[slot];
        d->present[slot] = c->present[slot];
        d->csr_since_s[slot] = c->csr_since_s[slot];
        d->lint[slot] = c->lint[slot];
        c->cred[slot] = cred;
        c->fault[slot] = fault;
    }
    hub_replace(&d->lint_text, c->lint_text);
    memcpy(d->new_fp, c->new_fp, sizeof(d->new_fp));
    free(d->refusals);
    d->refusals = c->refusals;
    c->refusals = NULL;
    d->retired_seq = c->retired_seq;
}

/* The row follows with the next flush, and with it what becomes of the change.  Takes c. */
static void changed_by(struct hub *h, struct hub_device *d, struct hub_change *c)
{
    d->change = c;
    d->retry = EV_NONE; /* whoever commands is told when it cannot be saved */
    hub_replace(&d->retry_cause, NULL);
    d->tried_old = d->trying_old;
    d->dirty = d->commanded = true;
    hub_lint_count(h, d, false); /* the answer tells of the key that is there twice */
    hub_touch(h, d);
}

/* Files that could not be put back are found at the next start, or reload. */
static void files_back(struct hub *h, struct hub_device *d, struct hub_change *c)
{
    struct err err = {0};
    char *aside = c->aside;
    int rc = 0;

    c->aside = NULL;
    switch (c->kind) {
    case CHANGE_PUT:
        rc = files_unput_slot(folder(h), d->name, FLIP_NEW, aside, &err);
        break;
    case CHANGE_TAKE:
        rc = files_restore_slot(folder(h), d->name, FLIP_NEW, aside, &err);
        break;
    case CHANGE_RETIRE:
        rc = files_unretire(folder(h), d->name, aside, &err);
        break;
    }
    d->behind |= rc != 0;
    if (rc != 0)
        log_event(LOG_CONTROL, LOG_ERROR_, "files-not-restored", "device=%s msg=%s todo=%s",
                  d->name, LOG_Q(err.msg),
                  LOG_Q("mend the disk, then: certflipctl reload; certflipctl device says what "
                        "there is"));
}

void hub_change_undo(struct hub *h, struct hub_device *d)
{
    struct hub_change *c = d->change;

    if (c == NULL)
        return;
    d->change = NULL;
    d->retired = false;
    files_back(h, d, c);
    swap(d, c);
    hub_change_free(c);
}

/* What stood on the new slot stands on the old one. */
static void relabel(struct hub_device *d)
{
    list_for_each (it, &d->sessions) {
        struct hub_session *s = list_entry(it, struct hub_session, link);

        if (s->leg == FLIP_NEW)
            s->leg = FLIP_OLD;
    }
    if (d->leg != NULL)
        d->leg->slot = FLIP_OLD;
    if (d->error != NULL)
        d->error->slot = FLIP_OLD;
}

void hub_change_done(struct hub *h, struct hub_device *d)
{
    struct hub_change *c = d->change;

    if (d->retired)
        relabel(d);
    if (c == NULL)
        return;
    crash_point("change.done");
    d->change = NULL;
    if (c->kind != CHANGE_RETIRE) { /* that one is kept, in the archive */
        files_destroy(c->aside);
        c->aside = NULL;
        hub_post_device(h, d, true);
    }
    hub_change_free(c);
}

/* -- what is refused -- */

static int refuse_store(const struct hub_device *d, const struct err *err, struct rpc_fault *f)
{
    return rpc_refuse(f, RPC_STORE, "mend the cause, then command again",
                      "device %s: nothing was done: %s", d->name, err->msg);
}

static int refuse_memory(const struct hub_device *d, struct rpc_fault *f)
{
    return rpc_refuse(f, RPC_BUSY, "try again", "device %s: out of memory", d->name);
}

/* News that could not be saved yet may mean another phase. */
static int refuse_unsaved(const struct hub_device *d, struct rpc_fault *f)
{
    if (d->change == NULL && d->retry == EV_NONE)
        return 0;
    return rpc_refuse(f, RPC_BUSY, "mend the state directory, then command again",
                      "device %s: what has come to pass could not be saved yet", d->name);
}

int hub_refuse_behind(const struct hub_device *d, struct rpc_fault *f)
{
    if (!d->behind)
        return 0;
    return rpc_refuse(f, RPC_STORE, "mend the disk, then: certflipctl reload",
                      "device %s: an earlier change of its files could not be undone: they are not "
                      "those of the identities that are in use",
                      d->name);
}

static int refuse_by_engine(const struct hub_device *d, enum flip_event ev, struct rpc_fault *f)
{
    char text[400];

    return rpc_refuse(f, RPC_PHASE, NULL, "%s",
                      flip_explain(&d->flip, ev, d->name, text, sizeof(text)));
}

int hub_may_put_new(struct hub *h, const struct hub_device *d, bool replace, struct rpc_fault *f)
{
    char todo[200];

    if (refuse_unsaved(d, f) != 0)
        return -1;
    snprintf(todo, sizeof(todo), "certflipctl discard %s", d->name);
    switch (d->flip.phase) {
    case FLIP_STEADY:
        break;
    case FLIP_STAGED:
    case FLIP_ROLLED_BACK:
        if (replace)
            return 0;
        return rpc_refuse(f, RPC_PHASE, todo,
                          "device %s: an identity is in the new slot already: it is %s: discard "
                          "it first",
                          d->name, flip_phase_name(d->flip.phase));
    case FLIP_TRIAL:
        snprintf(todo, sizeof(todo), "certflipctl rollback %s, then certflipctl discard %s",
                 d->name, d->name);
        return rpc_refuse(f, RPC_PHASE, todo,
                          "device %s: the new identity is on trial: wait for its end, or roll back",
                          d->name);
    case FLIP_COMMITTED:
        snprintf(todo, sizeof(todo), "certflipctl retire %s", d->name);
        return rpc_refuse(f, RPC_PHASE, todo,
                          "device %s: the new slot is in use: retire the old identity first, then "
                          "it is free",
                          d->name);
    case FLIP_PHASES:
        break;
    }
    if (!replace && d->present[FLIP_NEW])
        return rpc_refuse(f, RPC_PHASE, todo,
                          "device %s: there are files in %s/%s/new that are no usable identity: %s",
                          d->name, folder(h), d->name,
                          d->fault[FLIP_NEW] == NULL ? "discard them first" : d->fault[FLIP_NEW]);
    return 0;
}

/* -- putting -- */

/* What is in the new slot now.  Returns 0, or -1 with the fault when an identity that was put there
 * is not usable. */
static int look_at_new(struct hub *h, struct hub_device *d, bool identity, struct rpc_fault *f)
{
    struct slots on_disk = {0};
    struct err err = {0};
    char fp[CERT_FP_TEXT], date[32];
    int64_t now_s;

    if (slots_load(folder(h), d->name, &on_disk, &err) != 0)
        return refuse_store(d, &err, f);
    cred_unref(d->cred[FLIP_NEW]);
    d->cred[FLIP_NEW] = cred_ref(on_disk.cred[FLIP_NEW]);
    d->present[FLIP_NEW] = on_disk.present[FLIP_NEW];
    d->csr_since_s[FLIP_NEW] = on_disk.csr_since_s[FLIP_NEW];
    hub_replace(&d->fault[FLIP_NEW], NULL);
    if (identity && d->cred[FLIP_NEW] == NULL) {
        rpc_refuse(f, RPC_NO_IDENTITY, "have another certificate issued, then install it", "%s",
                   on_disk.fault[FLIP_NEW].msg);
        slots_fini(&on_disk);
        return -1;
    }
    slots_fini(&on_disk);
    d->new_fp[0] = '\0';
    hub_lint_look(h, d, FLIP_NEW);
    if (d->cred[FLIP_NEW] == NULL)
        return 0;
    str_hex(fp, cred_leaf(d->cred[FLIP_NEW])->fp, CERT_FP_BYTES);
    snprintf(d->new_fp, sizeof(d->new_fp), "%s", fp);
    if (hub_lint_keeps(d))
        return rpc_refuse(f, RPC_LINT, "have another certificate issued, then install it",
                          "device %s: the new identity: %s", d->name,
                          d->lint_text == NULL ? "an error of lint" : d->lint_text);
    now_s = hub_wall_s(h) > clock_known_s() ? hub_wall_s(h) : clock_known_s();
    if (cred_leaf(d->cred[FLIP_NEW])->not_after_s >= now_s)
        return 0;
    return rpc_refuse(f, RPC_NO_IDENTITY,
                      "check the clock, or have another certificate issued, then install it",
                      "device %s: the certificate expired on %s", d->name,
                      clock_iso(cred_leaf(d->cred[FLIP_NEW])->not_after_s, date, sizeof(date)));
}

int hub_put_new(struct hub *h, struct hub_device *d, const struct files_slot *what, bool replace,
                const char *who, struct rpc_fault *f)
{
    bool identity = what->chain.n > 0;
    struct hub_change *c;
    struct err err = {0};

    if (hub_may_put_new(h, d, replace, f) != 0)
        return -1;
    c = remember(d, CHANGE_PUT);
    if (c == NULL)
        return refuse_memory(d, f);
    if (files_put_slot(folder(h), d->name, FLIP_NEW, what, &c->aside, &err) != 0) {
        hub_change_free(c);
        return refuse_store(d, &err, f);
    }
    crash_point("change.put");
    if (look_at_new(h, d, identity, f) != 0) {
        files_back(h, d, c);
        swap(d, c);
        hub_change_free(c);
        return -1;
    }
    if (identity)
        hub_apply(h, d, EV_INSTALLED, &(struct hub_why){.who = who});
    changed_by(h, d, c);
    return 0;
}

/* -- discarding -- */

int hub_discard(struct hub *h, struct hub_device *d, const char *who, bool *changed,
                struct rpc_fault *f)
{
    bool staged = d->flip.phase == FLIP_STAGED || d->flip.phase == FLIP_ROLLED_BACK;
    struct hub_change *c;
    struct err err = {0};

    *changed = false;
    if (refuse_unsaved(d, f) != 0)
        return -1;
    if (!staged && d->flip.phase != FLIP_STEADY)
        return refuse_by_engine(d, EV_DISCARDED, f);
    if (!staged && !d->present[FLIP_NEW] && d->csr_since_s[FLIP_NEW] == 0)
        return 0;
    c = remember(d, CHANGE_TAKE);
    if (c == NULL)
        return refuse_memory(d, f);
    if (files_take_slot(folder(h), d->name, FLIP_NEW, &c->aside, &err) != 0) {
        hub_change_free(c);
        return refuse_store(d, &err, f);
    }
    crash_point("change.taken");
    cred_unref(d->cred[FLIP_NEW]);
    d->cred[FLIP_NEW] = NULL;
    hub_replace(&d->fault[FLIP_NEW], NULL);
    d->present[FLIP_NEW] = false;
    d->csr_since_s[FLIP_NEW] = 0;
    d->lint[FLIP_NEW] = (struct hub_lint){0};
    hub_replace(&d->lint_text, NULL);
    d->new_fp[0] = '\0';
    if (staged)
        hub_apply(h, d, EV_DISCARDED, &(struct hub_why){.who = who});
    changed_by(h, d, c);
    *changed = true;
    return 0;
}

/* -- retiring -- */

/* Does the template of a rule's name cover the device, as far as it can be known without a
 * connection? */
static bool covers(const char *template, const char *device)
{
    char glob[512];
    size_t n = 0;

    for (const char *p = template; *p != '\0' && n + 2 < sizeof(glob); p++) {
        const char *end = *p == '{' ? strchr(p, '}') : NULL;

        if (end != NULL) {
            glob[n++] = '*';
            p = end;
        } else {
            glob[n++] = *p;
        }
    }
    glob[n] = '\0';
    return str_glob(glob, device);
}

/* A rule that leads the device's new slot to another broker than its old one; or NULL. */
static const struct conf_rule *rule_that_parts(const struct conf *conf, const char *device)
{
    const struct conf_rule *own = conf_rule_find(conf, device);

    for (size_t i = 0; i < conf->rule_count; i++) {
        const struct conf_rule *r = &conf->rules[i];

        if (r->upstream_new == NULL ||
            (r->upstream != NULL && strcmp(r->upstream, r->upstream_new) == 0))
            continue;
        if (own != NULL ? r == own : covers(r->name, device))
            return r;
    }
    return NULL;
}

static int refuse_retire(struct hub *h, const struct hub_device *d, struct rpc_fault *f)
{
    const struct conf_rule *r;

    if (refuse_unsaved(d, f) != 0)
        return -1;
    if (d->flip.phase != FLIP_COMMITTED)
        return refuse_by_engine(d, EV_RETIRED, f);
    if (hub_refuse_behind(d, f) != 0)
        return -1;
    if (d->cred[FLIP_NEW] == NULL)
        return rpc_refuse(f, RPC_NO_IDENTITY, "mend the file, then: certflipctl reload",
                          "device %s: the new identity cannot be used: %s", d->name,
                          d->fault[FLIP_NEW] == NULL ? "no files" : d->fault[FLIP_NEW]);
    if (d->rejected || d->trying_old)
        return rpc_refuse(f, RPC_PHASE,
                          "see what the broker says of it: certflipctl device; roll back, or wait "
                          "until it is accepted again",
                          "device %s: the broker does not accept the new identity at present: the "
                          "old one is the way back",
                          d->name);
    if (d->moving || hub_stands_on(d, FLIP_OLD))
        return rpc_refuse(f, RPC_BUSY, "wait until it has moved, then retire it",
                          "device %s: a session of it still stands on the old identity", d->name);
    r = rule_that_parts(h->snapshot->conf, d->name);
    if (r != NULL)
        return rpc_refuse(f, RPC_CONFIG,
                          "set upstream to the profile of upstream_new in that rule, then: "
                          "certflipctl reload, and retire again",
                          "device %s: %s:%u leads its new identity to \"%s\" and its old one to "
                          "\"%s\": retired, it would go back to that broker",
                          d->name, r->file, r->line, r->upstream_new,
                          r->upstream == NULL ? "the only one" : r->upstream);
    return 0;
}

void hub_take_old(struct hub_device *d)
{
    cred_unref(d->cred[FLIP_OLD]);
    d->cred[FLIP_OLD] = d->cred[FLIP_NEW];
    d->cred[FLIP_NEW] = NULL;
    free(d->fault[FLIP_OLD]);
    d->fault[FLIP_OLD] = d->fault[FLIP_NEW];
    d->fault[FLIP_NEW] = NULL;
    d->present[FLIP_OLD] = true;
    d->present[FLIP_NEW] = false;
    d->csr_since_s[FLIP_OLD] = d->csr_since_s[FLIP_NEW] = 0;
    d->lint[FLIP_OLD] = d->lint[FLIP_NEW];
    d->lint[FLIP_NEW] = (struct hub_lint){0};
    hub_replace(&d->lint_text, NULL);
    d->new_fp[0] = '\0';
    free(d->refusals); /* they were of the other one */
    d->refusals = NULL;
}

int hub_retire(struct hub *h, struct hub_device *d, const char *who, bool *changed,
               struct rpc_fault *f)
{
    char old_fp[CERT_FP_TEXT] = "";
    struct hub_change *c;
    struct err err = {0};

    *changed = false;
    if (refuse_retire(h, d, f) != 0)
        return -1;
    c = remember(d, CHANGE_RETIRE);
    if (c == NULL)
        return refuse_memory(d, f);
    if (d->cred[FLIP_OLD] != NULL)
        str_hex(old_fp, cred_leaf(d->cred[FLIP_OLD])->fp, CERT_FP_BYTES);
    if (files_retire(folder(h), d->name, hub_wall_s(h), old_fp, &c->aside, &err) != 0) {
        hub_change_free(c);
        return refuse_store(d, &err, f);
    }
    crash_point("change.retired");
    hub_take_old(d);
    hub_apply(h, d, EV_RETIRED, &(struct hub_why){.who = who});
    changed_by(h, d, c);
    *changed = true;
    return 0;
}
