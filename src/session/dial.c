/* Dials the candidate, and the spare: with whose identity, to which profile, and when.  Who has no
 * leg and retries does so through its broker's gate (see session/gate.h).
 */
#include "session/upstream_inside.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/crash.h"
#include "session/blame.h"
#include "session/dialect.h"
#include "session/greet.h"

const struct conf_upstream *upstream_profile(const struct session *s, enum flip_slot slot,
                                             struct tls_ctx **ctx)
{
    const struct conf *c = s->snap->conf;
    const char *name =
        s->rule_upstream[slot] != NULL ? s->rule_upstream[slot] : s->rule_upstream[FLIP_OLD];
    const struct conf_upstream *u = name != NULL ? conf_upstream_find(c, name) : &c->upstreams[0];

    if (u == NULL) /* a reload took it away: what there is must do */
        u = &c->upstreams[0];
    if (ctx != NULL)
        *ctx = s->snap->upstream_ctx[u - c->upstreams];
    return u;
}

enum flip_slot upstream_wanted(const struct session *s)
{
    if (s->fallback)
        return FLIP_OLD;
    return s->probing ? s->probe : s->dev->active;
}

static void cannot_dial(struct session *s, const struct err *err)
{
    bool prefix = err->code == ERR_INVALID;
    struct diag d = diag_of(
        catalogue_by_code(CATALOGUE_END, prefix ? END_TOPIC_PREFIX : END_NO_IDENTITY), err->msg);

    if (!prefix)
        snprintf(d.remedy, sizeof d.remedy,
                 "certflipctl device %.100s names the fault of each slot", s->dev->name);
    upstream_step(s, RH_EV_CAND_FAILED, &d);
}

/* Is the token that holds the key, if one does, in trouble?  Then nobody is dialled. */
static bool token_in_trouble(struct session *s, const struct cred *cred)
{
    struct err err = {0};
    const char *what;

    if (cred == NULL || cred_is_usable(cred, &what, &err))
        return false;
    struct diag d = blame_token(what, &err);

    upstream_step(s, RH_EV_CAND_FAILED, &d);
    return true;
}

/* A leg to the slot's profile, in that one's words.  Returns NULL with err. */
static struct leg *dial_leg(struct session *s, enum flip_slot slot, struct cred *cred,
                            struct err *err)
{
    struct dialect *dialect = NULL;
    struct leg *leg = NULL;
    struct tls_ctx *ctx;
    const struct conf_upstream *u = upstream_profile(s, slot, &ctx);
    uint32_t home;

    if (dialect_new(s, u, &dialect, err) == 0)
        leg = leg_dial(s->env, u, ctx, cred, &upstream_leg_ops, s, err);
    if (leg == NULL) {
        free(dialect);
        return NULL;
    }
    leg->slot = slot;
    leg->version = dialect_version(s, u);
    leg->dialect = dialect;
    /* What is cleared there may be what this leg goes on with. */
    home = greet_home(s, slot, GREET_HOST_AND_PORT);
    cleaner_yield(s->dev, home);
    s->dialled = presence_dial(s->dev->presence, home);
    s->dial_home = home;
    s->due_ms = env_now_ms(s->env) + u->connect_timeout_ms;
    return leg;
}

/* By its place in the configuration: after a reload it may be another broker's, which is learnt. */
static struct env_gate *gate_of(const struct session *s)
{
    const struct conf_upstream *u = upstream_profile(s, upstream_wanted(s), NULL);

    return &s->env->gate[(size_t)(u - s->snap->conf->upstreams) % ENV_GATES];
}

/* So many as there is room for; each looks once more whether the gate is open. */
static void let_in(struct env_gate *g)
{
    for (uint32_t n = g->gate.under_way; n < g->gate.window && !list_empty(&g->waiting); n++) {
        struct session *next = list_entry(g->waiting.next, struct session, at_gate);

        list_del(&next->at_gate);
        next->retry_ms = env_now_ms(next->env);
        session_arm(next);
    }
}

/* The one that has let it in, perhaps, goes on with the next. */
static void go_to_gate(struct session *s)
{
    struct env_gate *was = s->gate;

    s->gate = gate_of(s);
    if (was != NULL && was != s->gate)
        let_in(was);
}

bool upstream_waits_at_gate(struct session *s)
{
    if (gate_is_open(&gate_of(s)->gate))
        return false;
    go_to_gate(s);
    list_del(&s->at_gate);
    list_add(&s->gate->waiting, &s->at_gate);
    return true;
}

void upstream_dial(struct session *s)
{
    crash_point("rehome.dial");
    enum flip_slot slot = upstream_wanted(s);
    struct cred *cred = s->dev->cred[slot];
    struct err err = {0};

    if (s->env->snap != s->snap) { /* a reload reaches the next leg */
        snapshot_unref(s->snap);
        s->snap = snapshot_ref(s->env->snap);
    }
    s->retry_ms = 0;
    s->proven = false;
    s->behind_ms = 0;
    list_del(&s->at_gate);
    if (s->counted != NULL)
        upstream_gate(s);
    if (token_in_trouble(s, cred)) {
        upstream_gate(s);
        return;
    }
    if (cred == NULL)
        err_set(&err, ERR_NOT_FOUND, "device %s has no usable identity in slot %s", s->dev->name,
                flip_slot_name(slot));
    else
        s->cand = dial_leg(s, slot, cred, &err);
    if (s->cand == NULL) {
        cannot_dial(s, &err);
        upstream_gate(s); /* the gate may have let it in, and not another one */
        return;
    }
    if (s->up == NULL && s->state == SESSION_RELAYING) {
        s->cand->alone = true;
        s->counted = s->cand;
        s->dialled_ms = env_now_ms(s->env);
        go_to_gate(s);
        gate_in(&s->gate->gate);
    }
}

void upstream_gate(struct session *s)
{
    uint64_t now_ms = env_now_ms(s->env);

    if (s->gate == NULL)
        return;
    if (s->state == SESSION_OVER)
        list_del(&s->at_gate);
    if (s->counted != NULL && (s->cand != s->counted || s->state == SESSION_OVER)) {
        s->counted = NULL;
        gate_out(&s->gate->gate, s->heard, now_ms - s->dialled_ms, now_ms);
    }
    let_in(s->gate);
}

/* The way back is the identity of the leg in use, as it was presented: what lies on disk by now may
 * be another one. */
void upstream_dial_spare(struct session *s)
{
    struct err err = {0};

    s->proven = false;
    s->spare = dial_leg(s, s->have, s->up->cred, &err);
    if (s->spare == NULL) {
        struct diag d = diag_of(catalogue_by_code(CATALOGUE_END, END_NO_SPARE), err.msg);
        upstream_cannot_spare(s, &d);
        return;
    }
}
