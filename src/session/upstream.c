/* Carries out what the re-home table decides.  Each thing that happens becomes one event for
 * rehome_step, and the actions that come back are done here, in their order; some of them make the
 * next event at once (an exchange list that is empty already needs no draining), so a step is a
 * loop.
 */
#include "session/blame.h"
#include "session/dialect.h"
#include "session/evidence.h"
#include "session/greet.h"
#include "session/relay.h"
#include "session/suspect.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/rand.h"

/* A refused first connection waits this long for main to choose the other identity. */
#define VERDICT_MS 5000u
/* Attempts in a row that are given up because the spare did not come up: then it goes without. */
#define SPARELESS_MAX 2u
/* A leg that lived so long was a success; the next attempt begins with the first step of the
 * backoff. */
#define STEADY_MS 30000u

#define REASON_NORMAL             0x00
#define REASON_WITH_WILL          0x04
#define REASON_SERVER_UNAVAILABLE 0x88 /* in CONNACK only */
#define REASON_SERVER_BUSY        0x89

/* The actions that speak of a failure. */
#define NEEDS_WHY (RH_DO_REPORT_LOST | RH_DO_REPORT_FAILED | RH_DO_WAIT)

static const struct leg_ops up_ops;

static void step(struct session *s, enum rehome_event ev, const struct diag *why);
static void retry_later(struct session *s, enum diag_class class);

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

static enum flip_slot wanted(const struct session *s)
{
    if (s->fallback)
        return FLIP_OLD;
    return s->probing ? s->probe : s->dev->active;
}

/* 3.1 has no session present flag, and of a session that was taken over there is one: what an
 * earlier life may have left is wiped unseen. */
static bool must_wipe_blind(const struct session *s)
{
    return (s->cand->version == MQTT_V31 || (s->took_over && s->cand->version != MQTT_V5)) &&
           s->clean && s->state == SESSION_OPENING && s->clear == CLEAR_NONE &&
           upstream_profile(s, s->cand->slot, NULL)->keep_session;
}

static void send_connect(struct session *s)
{
    struct greet_wish wish = {0};
    struct buf out = {0};

    crash_point("rehome.connect");
    if (must_wipe_blind(s))
        s->clear = CLEAR_WIPE;
    int rc = greet_connect(s, s->cand->slot, s->cand->dialect,
                           s->clear == CLEAR_WIPE ? GREET_WIPE : GREET_GO_ON, &out, &wish);

    if (rc == 0)
        leg_write(s->cand, out.p, out.len);
    buf_fini_wipe(&out);
    s->cand->keep = wish.keep;
    s->cand->will_delayed = wish.will_delayed;
    s->cand->keepalive_s = wish.keepalive_s;
    leg_flush(s->cand);
    crash_point("rehome.connect-sent");
    s->due_ms = env_now_ms(s->env) + upstream_profile(s, s->cand->slot, NULL)->connack_timeout_ms;
    s->last_tx_up_ms = env_now_ms(s->env);
}

static bool said_connect(enum rehome_phase phase)
{
    return phase == RH_SWITCHING || phase == RH_SWITCHING_LOST;
}

bool upstream_connect_sent(const struct session *s)
{
    return said_connect(s->phase);
}

static void tell_leg(struct session *s, struct session_leg_news *news)
{
    s->env->news->leg(s->env->news_arg, s, news);
}

static void tell_trouble(struct session *s, bool lost, enum flip_slot slot, const struct cred *cred,
                         const struct diag *d)
{
    assert(d != NULL);
    crash_point("rehome.trouble");
    log_event(LOG_SESSION, lost ? LOG_NOTICE_ : LOG_WARN_, lost ? "uplink-lost" : "uplink-failed",
              "device=%s slot=%s class=%s cause=%s%s%s%s%s msg=%s todo=%s", s->dev->name,
              flip_slot_name(slot), diag_class_name(d->class), d->name,
              d->alert != NULL ? " alert=" : "", d->alert != NULL ? d->alert : "",
              d->x509 != NULL ? " x509=" : "", d->x509 != NULL ? d->x509 : "", LOG_Q(d->sentence),
              LOG_Q(d->remedy));
    tell_leg(s, &(struct session_leg_news){.what = lost ? LEG_NEWS_LOST : LEG_NEWS_FAILED,
                                           .slot = slot,
                                           .cred = cred,
                                           .tls = "",
                                           .diag = d});
}

/* ---- actions ---- */

static void cannot_dial(struct session *s, const struct err *err)
{
    bool prefix = err->code == ERR_INVALID;
    struct diag d = {.class = DIAG_POLICY};

    snprintf(d.name, sizeof d.name, prefix ? "topic-prefix" : "identity.missing");
    snprintf(d.sentence, sizeof d.sentence, "%.300s", err->msg);
    if (prefix)
        snprintf(d.remedy, sizeof d.remedy,
                 "use a placeholder such as {device} in topic_prefix, then: certflipctl reload");
    else
        snprintf(d.remedy, sizeof d.remedy,
                 "certflipctl device %.100s names the fault of each slot", s->dev->name);
    step(s, RH_EV_CAND_FAILED, &d);
}

/* A leg to the slot's profile, in that one's words.  Returns NULL with err. */
static struct leg *dial_leg(struct session *s, enum flip_slot slot, struct cred *cred,
                            struct err *err)
{
    struct dialect *dialect = NULL;
    struct leg *leg = NULL;
    struct tls_ctx *ctx;
    const struct conf_upstream *u = upstream_profile(s, slot, &ctx);

    if (dialect_new(s, u, &dialect, err) == 0)
        leg = leg_dial(s->env, u, ctx, cred, &up_ops, s, err);
    if (leg == NULL) {
        free(dialect);
        return NULL;
    }
    leg->slot = slot;
    leg->version = dialect_version(s, u);
    leg->dialect = dialect;
    /* What is cleared there may be what this leg goes on with. */
    cleaner_yield(s->dev, greet_home(s, slot, GREET_HOST_AND_PORT));
    s->due_ms = env_now_ms(s->env) + u->connect_timeout_ms;
    return leg;
}

/* By its place in the configuration: after a reload it may be another broker's, which is learnt. */
static struct env_gate *gate_of(const struct session *s)
{
    const struct conf_upstream *u = upstream_profile(s, wanted(s), NULL);

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

static void dial(struct session *s)
{
    crash_point("rehome.dial");
    enum flip_slot slot = wanted(s);
    struct cred *cred = s->dev->cred[slot];
    struct err err = {0};

    if (s->env->snap != s->snap) { /* a reload reaches the next leg */
        snapshot_unref(s->snap);
        s->snap = snapshot_ref(s->env->snap);
    }
    s->retry_ms = 0;
    s->proven = false;
    list_del(&s->at_gate);
    if (s->counted != NULL)
        upstream_gate(s);
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

static void cannot_spare(struct session *s, const struct diag *why);

/* The way back is the identity of the leg in use, as it was presented: what lies on disk by now may
 * be another one. */
static void dial_spare(struct session *s)
{
    struct err err = {0};

    s->proven = false;
    s->spare = dial_leg(s, s->have, s->up->cred, &err);
    if (s->spare == NULL) {
        struct diag d = {.class = DIAG_BROKER, .name = "spare.none"};
        snprintf(d.sentence, sizeof d.sentence, "%.300s", err.msg);
        snprintf(d.remedy, sizeof d.remedy, "find what uses the memory");
        cannot_spare(s, &d);
        return;
    }
}

/* Will its CONNECT go on with the session (and not begin a clean one)? */
static bool resumes(const struct session *s, const struct leg *leg)
{
    return leg->version == MQTT_V5 || !s->clean ||
           upstream_profile(s, leg->slot, NULL)->keep_session;
}

static bool must_leave(const struct session *s)
{
    switch (upstream_profile(s, s->have, NULL)->switch_mode) {
    case CONF_SWITCH_TAKEOVER:
        return false;
    case CONF_SWITCH_DISCONNECT:
        return true;
    case CONF_SWITCH_AUTO:
    default:
        return s->has_will && !s->will_stays &&
               s->host == greet_home(s, s->cand->slot, GREET_HOST) &&
               !(s->up->will_delayed && resumes(s, s->cand));
    }
}

static void hold(struct session *s)
{
    if (s->holding)
        return;
    s->holding = true;
    s->hold_since_us = (uint64_t)clock_mono_us();
    s->drain_us = 0;
}

/* What is under way has been acknowledged, or was given time enough to be. */
static void note_drained(struct session *s)
{
    s->drain_us = (uint32_t)((uint64_t)clock_mono_us() - s->hold_since_us);
}

/* Is the candidate's session another one than that of the leg in use?  Where the host is the same
 * it may be the same broker behind another port. */
static bool has_moved(const struct session *s)
{
    return s->home != greet_home(s, s->cand->slot, GREET_HOST_AND_PORT);
}

/* The old leg, and what the broker said on it last, before the first packet of the new one. */
static void read_old(struct session *s)
{
    s->reading_old = true;
    leg_read_now(s->up);
    s->reading_old = false;
}

/* CONNECT on the candidate has ended the old leg: whatever the addresses say, it is the same
 * broker, and goes on with the same session.  Without that sign, what is present at another address
 * may lie there from an earlier stay, and not know what the device has begun and subscribed to
 * since. */
static bool was_taken_over(struct session *s)
{
    if (s->up != NULL)
        read_old(s);
    return s->state != SESSION_OVER && !s->left && !s->leg_lost && (s->up == NULL || s->up->ended);
}

/* The device is somewhere else now.  At the old broker stays what it would leave by going. */
static void leave_behind(struct session *s)
{
    if (s->up->ended) /* it was taken over: that is the same broker after all */
        return;
    if (s->litter && s->home == greet_home(s, s->have, GREET_HOST_AND_PORT))
        cleaner_take(s, &s->up);
    else
        greet_disconnect(s->up, REASON_NORMAL, s->up->keep, s->device_expiry_s);
}

/* The old leg was told DISCONNECT before it was known whether the candidate leads to another
 * broker: it does where that one has no session.  3.1 does not say, and a lost leg was not asked.
 */
static void clear_former(struct session *s, enum flip_slot former, bool present)
{
    if (s->left && !present && !s->up->foreign && s->up->version != MQTT_V31 &&
        s->home == greet_home(s, former, GREET_HOST_AND_PORT))
        cleaner_start(s, former, false);
    else if (s->left || s->leg_lost)
        log_event(
            LOG_SESSION, LOG_NOTICE_, "session-left-behind", "device=%s upstream=%s msg=%s",
            s->dev->name, upstream_profile(s, former, NULL)->name,
            LOG_Q("the device moved, and its former broker was not asked what is left there"));
}

static void forget_news(struct session *s)
{
    free(s->accepted_news);
    s->accepted_news = NULL;
}

/* The broker's last packets on the old leg come before the first one on the new leg (see
 * await_old_end; what has come of them when its time is over is read at least). */
static void close_old(struct session *s, bool accepted, bool left)
{
    if (s->up == NULL)
        return;
    crash_point("rehome.close-old");
    if (accepted || left) {
        read_old(s);
        if (s->state == SESSION_OVER)
            return;
    }
    if (accepted && has_moved(s))
        leave_behind(s);
    if (s->accepted)
        s->env->stats.legs_up--;
    s->accepted = false;
    forget_news(s); /* another leg's answer says nothing of this one */
    evidence_leg_gone(s);
    leg_close_gentle(&s->up);
    relay_answer_pings(s);
}

static void count_hold(struct session *s, uint32_t us)
{
    struct worker_stats *st = &s->env->stats;

    st->rehomes++;
    st->hold_us_sum += us;
    if (us > st->hold_us_max)
        st->hold_us_max = us;
}

/* What is queued at the broker has the topics of this leg's subscriptions. */
static void remember_prefix(struct session *s)
{
    const struct dialect *d = s->up->dialect;

    free(s->topic_prefix);
    s->topic_prefix = NULL;
    if (d != NULL && d->out.prefix.n > 0)
        s->topic_prefix = strndup((const char *)d->out.prefix.p, d->out.prefix.n);
}

/* Is the leg in use that of an identity that has to prove itself? */
static bool is_probation(const struct session *s)
{
    return s->dev->evidence != 0 && s->have == s->dev->active;
}

/* A broker may accept and fall silent, and silence is no success: probation begins with the answer
 * to a PINGREQ, behind all that was sent again. */
static void tell_when_it_answers(struct session *s, struct session_leg_news *news)
{
    forget_news(s);
    s->accepted_news = malloc(sizeof *news);
    if (s->accepted_news == NULL)
        return; /* without proof it is not told: the trial's deadline goes back */
    *s->accepted_news = *news;
    (void)relay_ping(s);
}

void upstream_answers(struct session *s)
{
    if (s->accepted_news == NULL)
        return;
    tell_leg(s, s->accepted_news);
    forget_news(s);
}

/* The broker has lost the session, and what the device had subscribed to on an earlier connection
 * is not known: it would wait in vain for what it gets no more.  As without us, it has to connect
 * and hear that its session is gone.  Who subscribes on each connection, as most do, is known. */
static bool is_beyond_restoring(const struct session *s, bool present)
{
    return !present && s->legacy == LEGACY_UNKNOWN && s->inherited && s->subs.count == 0 &&
           s->version != MQTT_V31;
}

static void give_up_restoring(struct session *s, struct session_leg_news *news)
{
    s->legacy = LEGACY_VOID;
    s->env->stats.downstream_closed_by_us++;
    if (!is_probation(s)) /* it has proven nothing */
        tell_leg(s, news);
    session_end(s, 0x8B, true,
                "the broker lost the session, and what the device had subscribed to before it "
                "connected here is not known");
}

static void adopt(struct session *s)
{
    struct session_leg_news news = {.what = LEG_NEWS_ACCEPTED};
    bool first = s->state != SESSION_RELAYING;
    bool present = s->cand->session_present;
    bool moved = !first && has_moved(s);
    /* 5.0's last word on a leg that had to leave first could not yet be that the session ends. */
    bool litter = s->litter || (s->left && s->device_expiry_s == 0 &&
                                upstream_profile(s, s->have, NULL)->keep_session);
    enum flip_slot former = s->have;

    crash_point("rehome.adopt");
    s->up = s->cand;
    s->cand = NULL;
    s->up->watch = false;
    remember_prefix(s);
    s->litter = s->clean && s->up->keep && s->up->version != MQTT_V5;
    assert(
        !tls_conn_resumed(s->up->tls)); /* it would carry the former identity, and prove nothing */
    s->have = s->up->slot;
    s->accepted = true;
    s->env->stats.legs_up++;
    relay_answer_pings(s);
    s->due_ms = 0;
    if (s->have == FLIP_NEW)
        differ_accepted(&s->dev->differ);
    s->spareless = 0;
    s->up_since_ms = env_now_ms(s->env);
    s->will_quiet = false;
    if (moved && litter)
        clear_former(s, former, present);
    s->left = false;
    s->home = greet_home(s, s->have, GREET_HOST_AND_PORT);
    s->host = greet_home(s, s->have, GREET_HOST);
    news.slot = s->have;
    news.rehomed = !first;
    news.session_present = present;
    news.cred = s->up->cred;
    news.tls = tls_conn_version(s->up->tls);
    if (first) {
        s->state = SESSION_RELAYING;
        s->inherited = !s->clean && (present || s->up->version == MQTT_V31);
        s->last_rx_ms = env_now_ms(s->env);
    } else if (is_beyond_restoring(s, present)) {
        give_up_restoring(s, &news);
        return;
    } else {
        evidence_leg_gone(s);
        relay_restore(s, present, &news.replayed, &news.restored, &news.lost);
        news.hold_us = (uint32_t)((uint64_t)clock_mono_us() - s->hold_since_us);
        count_hold(s, news.hold_us);
        s->env->stats.replayed += news.replayed;
        s->env->stats.restored_subscriptions += news.restored;
        s->env->stats.rehome_lost += news.lost;
        log_event(
            LOG_SESSION, LOG_INFO_, "rehomed",
            "device=%s slot=%s session_present=%d replayed=%u restored=%u lost=%u hold_us=%u drain_us=%u",
            s->dev->name, flip_slot_name(s->have), present, news.replayed, news.restored, news.lost,
            news.hold_us, s->drain_us);
        if (!present && !s->leg_lost && s->up->keep && !moved)
            log_event(LOG_SESSION, LOG_WARN_, "session-lost", "device=%s slot=%s msg=%s todo=%s",
                      s->dev->name, flip_slot_name(s->have),
                      LOG_Q("the broker did not keep the session when the identity changed: "
                            "subscriptions were made again, and what it had queued is gone"),
                      LOG_Q("see whether the broker ties sessions to the certificate or user"));
    }
    s->leg_lost = false;
    if (s->fallback) {
        s->fallback = false;
        log_event(LOG_SESSION, LOG_NOTICE_, "fallback", "device=%s msg=%s", s->dev->name,
                  LOG_Q("the old identity serves until the one on trial is tried again"));
        retry_later(s, DIAG_NETWORK);
    }
    pace_tell(s);
    leg_read(s->up, true);
    crash_point("rehome.adopted");
    if (is_probation(s))
        tell_when_it_answers(s, &news);
    else
        tell_leg(s, &news);
    evidence_leg(s);
}

static struct backoff_conf backoff_conf(const struct conf_flip *f)
{
    struct backoff_conf c = backoff_default;

    if (f->backoff_tls_count > 0) {
        c.identity.n = (uint32_t)f->backoff_tls_count;
        for (size_t i = 0; i < f->backoff_tls_count; i++)
            c.identity.ms[i] = f->backoff_tls_s[i] * INT64_C(1000);
    }
    if (f->backoff_network_count > 0) {
        c.network.n = (uint32_t)f->backoff_network_count;
        for (size_t i = 0; i < f->backoff_network_count; i++)
            c.network.ms[i] = f->backoff_network_s[i] * INT64_C(1000);
    }
    return c;
}

static void retry_later(struct session *s, enum diag_class class)
{
    struct backoff_conf c = backoff_conf(&s->snap->conf->flip);

    s->retry_ms = env_now_ms(s->env) +
                  (uint64_t)backoff_next_ms(&s->backoff, &c, class, (uint32_t)rand_u64());
}

static void refuse_first(struct session *s, const struct diag *why)
{
    struct err err;
    const char *code = why->class == DIAG_IDENTITY ? "identity-refused" : "uplink-down";

    err_set(&err, ERR_CLOSED, "upstream: %s: %s", why->sentence, why->remedy);
    session_refuse(s, s->refusal != 0 ? s->refusal : REASON_SERVER_UNAVAILABLE, code, &err);
}

/* The device has died while its leg was being changed, and that is over. */
static void end_of_the_dead(struct session *s)
{
    session_end(s, 0, false, "the device's connection ended without DISCONNECT during a switch");
}

/* The broker knows of the device's death, by the end of the leg that was lost: a new one would
 * bring its Will once more. */
static bool is_over_for_the_dead(const struct session *s)
{
    return s->died && !s->will_quiet;
}

static bool other_usable(const struct session *s)
{
    return s->dev->cred[flip_other_slot(s->dev->active)] != NULL;
}

/* The identity on trial has failed for a reason that says nothing of it, and there is no leg: may
 * the old one serve the device until it is tried again?  Not where that cannot do better. */
static bool may_fall_back(const struct session *s, enum diag_class class)
{
    const struct conf_upstream *a = upstream_profile(s, FLIP_OLD, NULL),
                               *b = upstream_profile(s, FLIP_NEW, NULL);
    bool same = a->port == b->port && strcmp(a->address, b->address) == 0;

    if (s->dev->evidence == 0 || s->dev->active != FLIP_NEW || !other_usable(s) || s->fallback ||
        s->probing || s->died)
        return false;
    switch (class) {
    case DIAG_TRUST:
    case DIAG_PROTOCOL:
    case DIAG_POLICY:
        return true;
    case DIAG_NETWORK:
    case DIAG_BROKER:
        return !same;
    case DIAG_OK:
    case DIAG_IDENTITY: /* main decides */
    case DIAG_SUSPECT:  /* is settled */
    case DIAG_CLASSES:
    default:
        return false;
    }
}

/* There is no leg.  Who was told yes is held (or dropped, where its profile says so); who still
 * waits for CONNACK gets an answer, unless the other identity may get in. */
static void no_leg(struct session *s, const struct diag *why)
{
    bool trial = s->dev->active == FLIP_NEW && other_usable(s);

    s->due_ms = 0;
    if (is_over_for_the_dead(s)) {
        end_of_the_dead(s);
        return;
    }
    if (s->state == SESSION_OPENING) {
        if (why->class == DIAG_IDENTITY && trial) {
            s->retry_ms = env_now_ms(s->env) + VERDICT_MS;
            return;
        }
        refuse_first(s, why);
        return;
    }
    if (upstream_profile(s, s->have, NULL)->uplink_lost == CONF_UPLINK_DROP) {
        s->env->stats.downstream_closed_by_us++;
        session_end(s, REASON_SERVER_BUSY, false,
                    "the uplink is lost, and its profile says uplink_lost = \"drop\"");
        return;
    }
    retry_later(s, diag_pace(why));
}

/* A leg is there, or will be at once, but not the wanted identity's.  Main decides anew about a new
 * identity that was refused; to an old one that is wanted there is no alternative. */
static void try_again(struct session *s, enum flip_slot slot, const struct diag *why)
{
    if (why->class == DIAG_IDENTITY && slot == FLIP_NEW)
        s->refused_seq = s->dev->flip_seq;
    else
        retry_later(s, diag_pace(why));
}

/* What an action may want to know about the step that it belongs to. */
struct occasion {
    enum rehome_event ev;
    enum rehome_phase was;
    unsigned todo;
    const struct diag *why; /* never NULL where something failed or was lost */
};

/* When the other identity fails, too, it is not the identity.  An end without a word has it tried,
 * at once, as far as the new one came. */
static void failed(struct session *s, const struct occasion *o)
{
    enum flip_slot slot = s->cand != NULL ? s->cand->slot : wanted(s);
    const struct cred *cred = s->cand != NULL ? s->cand->cred : NULL;
    struct diag d = *o->why;
    bool old_alive = s->up != NULL && s->accepted && o->was != RH_LEAVING;
    bool spared = (o->todo & RH_DO_TAKE_SPARE) != 0;

    if (s->state == SESSION_RELAYING)
        s->env->stats.rehomes_failed++;
    tell_trouble(s, false, slot, cred, &d);
    if (s->probing) {
        suspect_fails(s, &d);
        tell_trouble(s, false, FLIP_NEW, s->dev->cred[FLIP_NEW], &d);
    } else if (slot == FLIP_NEW && o->ev != RH_EV_SPARE_FAILED &&
               suspect_raise(s, &d, said_connect(o->was) ? DIFFER_CONNACK : DIFFER_TLS, 0)) {
        return;
    }
    if (old_alive || spared)
        try_again(s, slot, &d);
}

static void do_report_lost(struct session *s, const struct occasion *o)
{
    uint64_t lived_ms = env_now_ms(s->env) - s->up_since_ms;
    struct diag d;

    if (!s->accepted)
        return;
    s->leg_lost = true;
    forget_news(s);
    /* A leg that is taken away soon after it was accepted is no success: somebody else may have the
     * client id. */
    if (lived_ms >= STEADY_MS)
        (void)backoff_next_ms(&s->backoff, &backoff_default, DIAG_OK, 0);
    tell_trouble(s, true, s->have, s->up != NULL ? s->up->cred : NULL, o->why);
    if (s->probing && s->have == s->probe && s->suspicion->far == DIFFER_STANDS) {
        /* It does not stand longer than the new one's did. */
        suspect_fails(s, &d);
        tell_trouble(s, false, FLIP_NEW, s->dev->cred[FLIP_NEW], &d);
    } else if (s->have == FLIP_NEW && o->was == RH_IDLE) {
        (void)suspect_raise(s, o->why, DIFFER_STANDS, lived_ms);
    }
}

static void do_report_failed(struct session *s, const struct occasion *o)
{
    failed(s, o);
}

static void do_hold(struct session *s, const struct occasion *o)
{
    (void)o;
    hold(s);
}

static void do_drop_spare(struct session *s, const struct occasion *o)
{
    (void)o;
    leg_close_gentle(&s->spare); /* it has said nothing: nobody takes notice of its end */
}

static void do_drop_cand(struct session *s, const struct occasion *o)
{
    /* A broker that is slow may accept it yet, and would publish the Will of a live device. */
    if (s->cand != NULL && s->cand->state == LEG_OPEN && !s->cand->answered &&
        (o->was == RH_SWITCHING || o->was == RH_SWITCHING_LOST))
        greet_disconnect(s->cand, REASON_NORMAL, false, 0);
    s->proven = false;
    leg_close_gentle(&s->cand);
    if (s->phase != RH_LEAVING) /* the old leg's end is still waited for */
        s->due_ms = 0;
}

static void do_close_old(struct session *s, const struct occasion *o)
{
    close_old(s, (o->todo & RH_DO_ADOPT) != 0, o->was == RH_LEAVING);
}

static void do_dial(struct session *s, const struct occasion *o)
{
    (void)o;
    dial(s);
}

static void do_dial_spare(struct session *s, const struct occasion *o)
{
    (void)o;
    dial_spare(s);
}

static void do_take_spare(struct session *s, const struct occasion *o)
{
    (void)o;
    s->env->stats.ways_back++;
    log_event(LOG_SESSION, LOG_NOTICE_, "way-back", "device=%s slot=%s", s->dev->name,
              flip_slot_name(s->spare->slot));
    s->cand = s->spare;
    s->spare = NULL;
}

static void due_in(struct session *s, uint32_t ms)
{
    s->due_ms = env_now_ms(s->env) + ms;
}

static void do_drain(struct session *s, const struct occasion *o)
{
    (void)o;
    crash_point("rehome.drain");
    due_in(s, upstream_profile(s, s->have, NULL)->drain_timeout_ms);
    /* Nothing new of the device goes out from here on, so that the barrier can be asked for at
     * once: the answers to what is under way come before PINGRESP.  At the end of the drain it
     * would cost a round trip more, and another one where the broker keeps small packets back until
     * earlier ones are acknowledged (Nagle's algorithm), as it does under load. */
    s->barrier_asked = !must_leave(s) && relay_ping(s);
    s->barrier_met = false;
    upstream_drained(s);
}

/* An answer that is waited for must not wait for our delayed acknowledgement of what came before
 * it. */
static void do_ping(struct session *s, const struct occasion *o)
{
    (void)o;
    crash_point("rehome.barrier");
    note_drained(s);
    s->up->watch = true;
    due_in(s, upstream_profile(s, s->have, NULL)->barrier_timeout_ms);
    if (!s->barrier_asked)
        (void)relay_ping(s);
    if (s->barrier_met)
        upstream_barrier_passed(s);
}

static void do_disconnect(struct session *s, const struct occasion *o)
{
    (void)o;
    due_in(s, upstream_profile(s, s->have, NULL)->barrier_timeout_ms);
    crash_point("rehome.leave");
    note_drained(s);
    s->up->watch = true;
    greet_disconnect(s->up, REASON_NORMAL, false, 0);
    s->will_quiet = s->has_will;
    s->left = true;
}

static void do_connect(struct session *s, const struct occasion *o)
{
    (void)o;
    send_connect(s);
}

static void do_adopt(struct session *s, const struct occasion *o)
{
    (void)o;
    adopt(s);
}

static void do_release(struct session *s, const struct occasion *o)
{
    (void)o;
    s->holding = false;
    crash_point("rehome.release");
    s->up->watch = false;
    relay_release(s);
    if (s->died && s->state != SESSION_OVER)
        end_of_the_dead(s);
}

static void do_wait(struct session *s, const struct occasion *o)
{
    bool falls = o->ev == RH_EV_CAND_FAILED && may_fall_back(s, o->why->class);

    s->fallback = falls;
    if (falls || (s->probing && !is_over_for_the_dead(s)))
        step(s, RH_EV_RETRY, NULL); /* the other identity, at once */
    else
        no_leg(s, o->why);
}

/* In the order of enum rehome_do. */
static void (*const deeds[])(struct session *s, const struct occasion *o) = {
    do_report_lost, do_report_failed, do_hold,       do_drop_spare, do_drop_cand, do_close_old,
    do_dial,        do_dial_spare,    do_take_spare, do_drain,      do_ping,      do_disconnect,
    do_connect,     do_adopt,         do_release,    do_wait,
};

static void act(struct session *s, const struct occasion *o)
{
    assert(o->why != NULL || (o->todo & NEEDS_WHY) == 0);
    for (unsigned bit = 0; bit < sizeof deeds / sizeof deeds[0]; bit++)
        if ((o->todo & 1u << bit) != 0 && s->state != SESSION_OVER)
            deeds[bit](s, o);
}

/* Is the leg in use that of the identity that shall be in use? */
static bool at_home(const struct session *s)
{
    return s->have == s->dev->active && cred_equal(s->up->cred, s->dev->cred[s->dev->active]);
}

/* The leg in use is not the wanted identity's (any more): go on, unless that one was refused. */
static void settle(struct session *s)
{
    if (s->state != SESSION_OVER && s->phase == RH_DIALING_LOST && s->proven) {
        /* With the old leg gone there is nothing to keep: CONNACK tells what ticket or time would.
         */
        s->proven = false;
        step(s, RH_EV_CAND_UP, NULL);
        return;
    }
    if (s->state == SESSION_OVER || s->phase != RH_IDLE || s->up == NULL || s->retry_ms != 0)
        return;
    if (s->probing && s->suspicion->far != DIFFER_STANDS)
        step(s, RH_EV_WANT, NULL); /* the same identity once more, on a connection of its own */
    else if (!at_home(s) && s->refused_seq != s->dev->flip_seq &&
             s->dev->cred[s->dev->active] != NULL)
        step(s, RH_EV_WANT, NULL);
}

static void step(struct session *s, enum rehome_event ev, const struct diag *why)
{
    enum rehome_phase was = s->phase;
    unsigned todo = rehome_step(&s->phase, ev);

    if (log_on(LOG_SESSION, LOG_DEBUG_))
        log_event(LOG_SESSION, LOG_DEBUG_, "rehome-step", "device=%s from=%s event=%s to=%s",
                  s->dev->name, rehome_phase_name(was), rehome_event_name(ev),
                  rehome_phase_name(s->phase));
    if (todo == 0)
        return;
    s->heard = ev == RH_EV_ACCEPTED || (why != NULL && why->class == DIAG_IDENTITY);
    act(s, &(struct occasion){ev, was, todo, why});
    if (s->counted != NULL && s->counted != s->cand)
        upstream_gate(s);
    settle(s);
}

/* ---- events ---- */

/* The old identity came as far as the new one had come. */
static void other_works(struct session *s)
{
    struct diag d;

    if (suspect_works(s, &d)) {
        tell_trouble(s, false, FLIP_NEW, s->dev->cred[FLIP_NEW], &d);
        s->refused_seq = s->dev->flip_seq;
    } else {
        retry_later(s, diag_pace(&d));
    }
}

/* The candidate failed: is there a way back? */
static void cand_failed(struct session *s, const struct diag *why)
{
    bool let_go = s->phase == RH_LEAVING || s->phase == RH_SWITCHING_LOST;

    step(s, let_go && s->spare != NULL ? RH_EV_CAND_FAILED_SPARE : RH_EV_CAND_FAILED, why);
}

/* The spare failed, or ended.  Where the broker does not take the identity in use any more there is
 * no way back to be had, and the flip is the way out.  Anything else may pass: the attempt is given
 * up, and made again later, but not for ever. */
static void cannot_spare(struct session *s, const struct diag *why)
{
    bool let_go = s->phase == RH_LEAVING || s->phase == RH_SWITCHING_LOST;
    struct diag d = *why;

    d.class = diag_pace(why);
    d.silent = false; /* it says nothing about the new identity */
    bool refused = d.class == DIAG_IDENTITY || d.class == DIAG_SUSPECT;
    if (!let_go && !refused && s->spareless < SPARELESS_MAX) {
        s->spareless++;
        snprintf(d.sentence, sizeof d.sentence, "no second connection as the way back: %.280s",
                 why->sentence);
        step(s, RH_EV_SPARE_FAILED, &d);
        return;
    }
    s->env->stats.spareless += !let_go;
    log_event(LOG_SESSION, LOG_NOTICE_, "no-way-back",
              "device=%s slot=%s class=%s cause=%s msg=%s todo=%s", s->dev->name,
              flip_slot_name(s->have), diag_class_name(d.class), d.name, LOG_Q(d.sentence),
              LOG_Q(d.remedy));
    step(s, RH_EV_SPARE_NONE, NULL);
}

static void again(struct session *s, enum session_clear clear)
{
    /* What an earlier life left at the broker must not be seen: DISCONNECT, and a new connection.
     */
    greet_disconnect(s->cand, REASON_NORMAL, false, 0);
    leg_close_gentle(&s->cand);
    s->clear = clear;
    s->phase = RH_DIALING_LOST;
    dial(s);
}

/* A broker that does not speak the version of the profile says nothing of the device's. */
static uint8_t refusal_for_device(const struct session *s, const struct mqtt_connack *ack)
{
    return ack->code == 0x84 && s->cand->version != s->version ? REASON_SERVER_UNAVAILABLE
                                                               : ack->code;
}

/* Word for word, where the device understands it. */
static void tell_refusal(struct session *s, const struct mqtt_packet *pkt,
                         const struct mqtt_connack *ack)
{
    struct mqtt_connack mine = {.code = mqtt_connack_code31(refusal_for_device(s, ack))};
    struct buf out = {0};

    if (s->cand->version == s->version)
        leg_write(s->down, pkt->raw, pkt->raw_bytes);
    else if (mqtt_connack_write(&out, s->version, &mine) == 0)
        leg_write(s->down, out.p, out.len);
    buf_fini(&out);
}

/* A broker that takes no Will such as the device's [MQTT-3.2.2-12, -13], which the device was told
 * nothing of: the next attempt brings what it takes. */
static void lower_will(struct session *s, const struct mqtt_connack *ack)
{
    enum flip_slot slot = s->cand->slot;
    struct mqtt_prop_value v;

    if (s->state != SESSION_RELAYING || !s->has_will || s->cand->version != MQTT_V5)
        return;
    if (ack->code == 0x9B && mqtt_props_find(ack->props, MQTT_PROP_MAXIMUM_QOS, &v))
        s->will_qos_off[slot] = (uint8_t)(2 - v.num);
    else if (ack->code == 0x9B && s->will_qos_off[slot] < 2)
        s->will_qos_off[slot]++;
    else if (ack->code == 0x9A)
        s->will_unretained[slot] = true;
    else
        return;
    log_event(LOG_SESSION, LOG_NOTICE_, "will-lowered", "device=%s slot=%s reason=%s msg=%s",
              s->dev->name, flip_slot_name(slot), mqtt_reason_name(ack->code),
              LOG_Q("the broker does not take the device's Will as it is"));
}

static void refused(struct session *s, const struct mqtt_packet *pkt,
                    const struct mqtt_connack *ack)
{
    struct diag d = blame_connack(s->cand, ack);

    lower_will(s, ack);
    if (s->state == SESSION_OPENING) {
        s->refusal = s->cand->version == MQTT_V5 ? refusal_for_device(s, ack) : 0;
        bool trial =
            s->dev->active == FLIP_NEW && other_usable(s) && !s->fallback &&
            (d.class == DIAG_IDENTITY || d.class == DIAG_SUSPECT || may_fall_back(s, d.class));
        if (!trial && s->down != NULL) {
            /* The broker's own answer; then the table's end of it says nothing more. */
            tell_refusal(s, pkt, ack);
            session_tell_refused(s, "broker-refused", d.sentence);
            tell_trouble(s, false, s->cand->slot, s->cand->cred, &d);
            session_end(s, 0, true, "the broker refused CONNECT");
            return;
        }
    }
    cand_failed(s, &d);
}

static bool waits_for_old_end(const struct session *s)
{
    return s->phase == RH_SWITCHING && s->cand->answered;
}

/* The broker has accepted the candidate and so it ends the old leg [MQTT-3.1.4-2].  The two
 * connections lose their packets and send them again each at its own time: the old one's last
 * messages, QoS 0 that nobody repeats, may come after CONNACK.  So the old leg is read to its end,
 * bounded, before anything of the new one is passed on.  On a good link that end is here already,
 * and nothing waits.  Returns whether it has to be waited for. */
static bool await_old_end(struct session *s)
{
    if (!waits_for_old_end(s) || has_moved(s))
        return false;
    leg_read_now(s->up); /* its end makes SWITCHING_LOST of it */
    if (s->state == SESSION_OVER)
        return true;
    if (s->phase != RH_SWITCHING)
        return false;
    leg_read(s->cand, false);
    due_in(s, upstream_profile(s, s->have, NULL)->barrier_timeout_ms);
    return true;
}

/* The old leg has ended, or had time enough to. */
static void old_has_ended(struct session *s)
{
    struct buf early = s->early;

    s->early = (struct buf){0};
    step(s, RH_EV_ACCEPTED, NULL);
    if (s->state != SESSION_OVER && s->up != NULL && s->up->state == LEG_OPEN && early.len > 0)
        relay_from_broker(s, s->up, early.p, early.len);
    buf_fini(&early);
}

/* A session that the device takes up has subscriptions; one that is begun has none. */
static void take_legacy(struct session *s, struct mqtt_connack *ack)
{
    bool taken_up = !s->clean && (ack->session_present || s->cand->version == MQTT_V31);

    s->legacy = presence_inherit(s->dev->presence, s->client, &s->subs);
    if (taken_up && s->legacy == LEGACY_VOID)
        ack->session_present = taken_up = false; /* what is there is not what it had */
    if (taken_up)
        return;
    subs_fini(&s->subs);
    s->legacy = LEGACY_KNOWN;
}

static void take_connack(struct session *s, const struct mqtt_packet *pkt)
{
    int version = s->cand->version;
    struct mqtt_connack ack = {0};
    struct err err = {0};
    uint8_t reason;

    if (pkt->type != MQTT_CONNACK || mqtt_connack_read(pkt, version, &ack, &reason, &err) != 0) {
        struct diag d = blame_answer(pkt, version, &err);
        cand_failed(s, &d);
        return;
    }
    crash_point("rehome.connack");
    s->cand->answered = true;
    if (ack.code != 0) {
        refused(s, pkt, &ack);
        return;
    }
    greet_heard(s, s->cand, &ack);
    if (s->clear == CLEAR_WIPE) {
        again(s, CLEAR_AGAIN);
        return;
    }
    if (s->state == SESSION_OPENING && version != MQTT_V5 && s->clean && s->cand->keep &&
        ack.session_present && s->clear == CLEAR_NONE) {
        again(s, CLEAR_WIPE);
        return;
    }
    /* 3.1 does not say; a session that was asked to last is there, as far as one can know. */
    bool is_ours = s->state == SESSION_OPENING || !has_moved(s) || was_taken_over(s);
    if (s->state == SESSION_OVER)
        return;
    s->cand->foreign = ack.session_present && !is_ours;
    s->cand->session_present =
        is_ours &&
        (version == MQTT_V31 ? s->cand->keep && s->state == SESSION_RELAYING : ack.session_present);
    if (s->state == SESSION_OPENING) {
        take_legacy(s, &ack);
        (void)greet_device(s, &ack);
    }
    if (s->probing && s->suspicion->far == DIFFER_STANDS)
        s->retry_ms = env_now_ms(s->env) + differ_stand_ms(s->suspicion->lived_ms);
    else if (s->probing)
        other_works(s);
    if (!await_old_end(s))
        step(s, RH_EV_ACCEPTED, NULL);
}

/* Is the leg given time for what TLS 1.3 says late?  With the old leg gone there is nothing to
 * keep, and CONNACK tells the same. */
static bool is_on_trial(const struct session *s, const struct leg *leg)
{
    return (leg == s->cand && s->phase == RH_DIALING) ||
           (leg == s->spare && s->phase == RH_SPARING);
}

static void leg_is_up(struct session *s, const struct leg *leg)
{
    s->proven = false;
    if (leg == s->spare) {
        step(s, RH_EV_SPARE_UP, NULL);
    } else if (s->phase == RH_DIALING && s->probing && s->suspicion->far == DIFFER_TLS) {
        other_works(s); /* that was the question */
        step(s, RH_EV_CANCEL, NULL);
    } else {
        step(s, s->phase == RH_DIALING && must_leave(s) ? RH_EV_CAND_UP_LEAVE : RH_EV_CAND_UP,
             NULL);
    }
}

static void on_up_open(struct leg *leg)
{
    struct session *s = leg->owner;
    bool late = strcmp(tls_conn_version(leg->tls), "TLSv1.3") == 0;

    if (is_on_trial(s, leg) && late && !tls_conn_ticket_seen(leg->tls)) {
        /* TLS 1.3 says late whether the client certificate was taken: a ticket means yes, an alert
         * no (RFC 8446, 4.6.1). */
        s->due_ms = env_now_ms(s->env) + upstream_profile(s, leg->slot, NULL)->accept_wait_ms;
        s->proven = true;
        session_arm(s);
        return;
    }
    leg_is_up(s, leg);
    if (s->state == SESSION_OVER)
        return;
    session_flush(s);
    session_arm(s);
}

static void on_up_progress(struct leg *leg)
{
    struct session *s = leg->owner;

    if (!is_on_trial(s, leg) || !tls_conn_ticket_seen(leg->tls))
        return;
    leg_is_up(s, leg);
    if (s->state == SESSION_OVER)
        return;
    session_flush(s);
    session_arm(s);
}

/* Enhanced authentication is between the device and the broker (MQTT 5.0, 4.12). */
static bool is_for_the_device(const struct session *s, const struct leg *leg,
                              const struct mqtt_packet *pkt)
{
    return leg == s->cand && upstream_connect_sent(s) && pkt->type == MQTT_AUTH &&
           s->state == SESSION_OPENING && s->version == MQTT_V5;
}

static void candidate_data(struct session *s, struct leg *leg, const uint8_t **p, size_t *n)
{
    struct mqtt_packet pkt;
    struct diag d = {.class = DIAG_PROTOCOL, .name = "mqtt.malformed"};
    int rc;

    while ((rc = mqtt_in_next(&leg->in, p, n, MQTT_LARGEST_PACKET, &pkt)) == 1 &&
           is_for_the_device(s, leg, &pkt)) {
        if (s->down != NULL) /* it may have left */
            leg_write(s->down, pkt.raw, pkt.raw_bytes);
        s->due_ms = env_now_ms(s->env) + upstream_profile(s, leg->slot, NULL)->connack_timeout_ms;
    }
    if (rc == 0)
        return;
    if (rc == 1 && leg == s->cand && upstream_connect_sent(s)) {
        take_connack(s, &pkt);
        return;
    }
    snprintf(d.sentence, sizeof d.sentence, "the broker sent %s",
             rc == 1 ? "a packet before CONNECT" : "bytes that are no MQTT packet");
    snprintf(d.remedy, sizeof d.remedy, "check that the upstream address is an MQTT broker's");
    if (leg == s->spare)
        cannot_spare(s, &d);
    else
        cand_failed(s, &d);
}

static void on_up_data(struct leg *leg, const uint8_t *p, size_t n)
{
    struct session *s = leg->owner;

    if ((leg == s->cand && !waits_for_old_end(s)) || leg == s->spare)
        candidate_data(s, leg, &p, &n);
    if (s->state != SESSION_OVER && leg == s->cand && waits_for_old_end(s)) {
        if (buf_append(&s->early, p, n) != 0)
            old_has_ended(s); /* order is worth less than the messages */
        else
            n = 0;
    }
    if (s->state != SESSION_OVER && leg == s->up && leg->state == LEG_OPEN && n > 0)
        relay_from_broker(s, leg, p, n);
    if (s->state == SESSION_OVER)
        return;
    session_flush(s);
    session_arm(s);
}

static void on_up_end(struct leg *leg, const struct leg_end *end)
{
    struct session *s = leg->owner;

    if (leg == s->up && s->reading_old)
        return;                                 /* expected: the broker let it go for the new one */
    if (leg == s->cand && waits_for_old_end(s)) /* it was accepted, and is lost */
        old_has_ended(s);
    if (s->state == SESSION_OVER)
        return;
    struct diag d = blame_leg(s, leg, end);
    if (leg == s->up && s->phase != RH_LEAVING && s->phase != RH_SWITCHING)
        d = blame_habit(s, &d, env_now_ms(s->env) - s->up_since_ms);
    if (leg == s->up)
        upstream_lost(s, &d);
    else if (leg == s->spare)
        cannot_spare(s, &d);
    else
        cand_failed(s, &d);
    if (s->state == SESSION_OVER)
        return;
    session_flush(s);
    session_arm(s);
}

static void on_up_drain(struct leg *leg)
{
    struct session *s = leg->owner;

    if (leg == s->up && s->ping_since_ms != 0)
        s->ping_since_ms = env_now_ms(s->env); /* the question has only now gone out */
    session_arm(s);
    session_reading(s);
}

static const struct leg_ops up_ops = {
    .open = on_up_open,
    .data = on_up_data,
    .end = on_up_end,
    .drain = on_up_drain,
    .progress = on_up_progress,
};

/* ---- from the rest of the session ---- */

void upstream_begin(struct session *s)
{
    s->phase = RH_WAITING;
    step(s, RH_EV_WANT, NULL);
    session_arm(s);
}

void upstream_lost(struct session *s, const struct diag *why)
{
    uint64_t silent_ms = env_now_ms(s->env) - s->last_rx_ms;
    bool waited = waits_for_old_end(s);

    /* The broker ended it because the device is silent: its Will is due, and a new leg would revive
     * a dead device. */
    if (s->keepalive_s != 0 && silent_ms > s->keepalive_s * UINT64_C(1200) && s->phase == RH_IDLE &&
        session_hears(s)) {
        s->env->stats.downstream_closed_by_us++;
        session_end(s, 0x8D, false, "the broker gave up on a silent device");
        return;
    }
    step(s, RH_EV_OLD_LOST, why);
    if (waited && s->state != SESSION_OVER) /* however it ended: that was waited for */
        old_has_ended(s);
}

uint64_t upstream_silent_due(const struct session *s)
{
    if (s->ping_since_ms == 0 || s->up == NULL || !s->accepted || s->phase == RH_BARRIER ||
        !s->up->st.reading || leg_queued(s->up) > 0)
        return 0;
    uint64_t patience_ms = upstream_profile(s, s->have, NULL)->barrier_timeout_ms;
    if (s->accepted_news == NULL && patience_ms < s->up->keepalive_s * UINT64_C(500))
        patience_ms = s->up->keepalive_s * UINT64_C(500);
    return s->ping_since_ms + patience_ms;
}

void upstream_silent(struct session *s)
{
    struct diag_in in = DIAG_IN_INIT;

    in.stage = DIAG_AT_ESTABLISHED;
    in.mqtt_version = s->up->version;
    in.timed_out = true;
    struct diag d = diagnose(&in);
    if (s->accepted_news != NULL && s->has_will) {
        /* Given up for a flip: the device lives, and a broker that can still read shall not publish
         * its Will. */
        greet_disconnect(s->up, REASON_NORMAL, false, 0);
        s->will_quiet = true;
    }
    upstream_lost(s, &d);
}

void upstream_barrier_passed(struct session *s)
{
    step(s, RH_EV_CLEAR, NULL);
}

static void drained(struct session *s)
{
    step(s, must_leave(s) ? RH_EV_DRAINED_LEAVE : RH_EV_DRAINED, NULL);
}

void upstream_drained(struct session *s)
{
    if (s->phase == RH_DRAINING && relay_drained(s))
        drained(s);
}

bool upstream_outlives_device(const struct session *s)
{
    if (s->state != SESSION_RELAYING || s->env->stopping)
        return false;
    switch (s->phase) {
    case RH_LEAVING:
    case RH_SWITCHING:
    case RH_SWITCHING_LOST:
        return true;
    case RH_WAITING:
    case RH_DIALING_LOST:
        return s->will_quiet; /* else the broker has published it when it lost the leg */
    case RH_IDLE:
    case RH_DIALING:
    case RH_SPARING:
    case RH_DRAINING:
    case RH_BARRIER:
    case RH_PHASES:
    default:
        return false;
    }
}

static void step_is_due(struct session *s)
{
    struct diag d;

    switch (s->phase) {
    case RH_DRAINING:
        drained(s);
        return;
    case RH_BARRIER:
        upstream_barrier_passed(s);
        return;
    case RH_LEAVING:
        step(s, RH_EV_TIMEOUT, NULL);
        return;
    case RH_SPARING:
        d = blame_timeout(s, s->spare);
        if (s->proven)
            leg_is_up(s, s->spare);
        else
            cannot_spare(s, &d);
        return;
    case RH_DIALING:
    case RH_DIALING_LOST:
    case RH_SWITCHING:
    case RH_SWITCHING_LOST:
        d = blame_timeout(s, s->cand);
        if (s->phase == RH_DIALING && s->proven)
            leg_is_up(s, s->cand);
        else if (waits_for_old_end(s))
            old_has_ended(s);
        else
            cand_failed(s, &d);
        return;
    case RH_IDLE:
    case RH_WAITING:
    case RH_PHASES:
    default:
        return;
    }
}

void upstream_due(struct session *s, uint64_t now_ms)
{
    if (s->due_ms != 0 && now_ms >= s->due_ms) {
        s->due_ms = 0;
        step_is_due(s);
    }
    if (s->state == SESSION_OVER || s->retry_ms == 0 || now_ms < s->retry_ms)
        return;
    s->retry_ms = 0;
    if (s->probing && s->phase == RH_IDLE && s->suspicion->far == DIFFER_STANDS)
        other_works(s);                     /* it stood long enough */
    else if (s->state == SESSION_OPENING) { /* nobody chose another identity */
        struct diag d = {.class = DIAG_IDENTITY,
                         .sentence = "the broker refused the identity",
                         .remedy = "see the line about its refusal"};
        refuse_first(s, &d);
    } else if (s->phase != RH_WAITING) {
        settle(s);
    } else if (gate_is_open(&gate_of(s)->gate)) {
        step(s, RH_EV_RETRY, NULL);
    } else {
        go_to_gate(s);
        list_del(&s->at_gate);
        list_add(&s->gate->waiting, &s->at_gate);
    }
}

static void tell_home(struct session *s)
{
    struct session_leg_news news = {.what = LEG_NEWS_ACCEPTED,
                                    .slot = s->have,
                                    .session_present = s->up->session_present,
                                    .cred = s->up->cred,
                                    .tls = tls_conn_version(s->up->tls)};

    if (s->accepted_news != NULL)
        return; /* it is told when the leg answers */
    if (is_probation(s))
        tell_when_it_answers(s, &news);
    else
        tell_leg(s, &news);
}

void session_device_changed(struct session *s)
{
    if (s->state == SESSION_OVER)
        return;
    suspect_drop(s);
    s->fallback = false;
    s->dev->differ = (struct differ){0};
    s->refused_seq = 0;
    if (s->phase == RH_IDLE && s->up != NULL) {
        s->retry_ms = 0;
        if (at_home(s))
            tell_home(s);
        else
            settle(s);
    } else if (s->phase == RH_WAITING) {
        s->retry_ms = 0;
        step(s, RH_EV_WANT, NULL);
    } else if (s->phase == RH_LEAVING) {
        if (s->cand->slot != s->dev->active)
            step(s,
                 s->spare != NULL && s->spare->slot == s->dev->active ? RH_EV_CANCEL : RH_EV_WANT,
                 NULL);
    } else if (s->cand != NULL) {
        if (s->up != NULL && s->have == s->dev->active && (s->cand->slot != s->have || at_home(s)))
            step(s, RH_EV_CANCEL, NULL);
        else if (s->cand->slot != s->dev->active)
            step(s, RH_EV_WANT, NULL);
        if (s->state != SESSION_OVER && s->phase == RH_IDLE && s->up != NULL && at_home(s))
            tell_home(s);
    }
    if (s->state == SESSION_OVER)
        return;
    evidence_leg(s);
    session_flush(s);
    session_arm(s);
}

/* What the device asked for is what happens at its end: the Will when it died, its session expiry
 * when it left.  An end of the connection without DISCONNECT is what makes the broker publish the
 * Will, so close_notify and FIN go out in any case. */
static void part(struct session *s, struct leg *leg, bool polite)
{
    if (polite)
        greet_disconnect(leg, REASON_NORMAL, leg->keep && !s->env->stopping, s->device_expiry_s);
    else if (leg->version == MQTT_V5 && leg->keep && !s->will_stays)
        greet_disconnect(leg, s->has_will ? REASON_WITH_WILL : REASON_NORMAL, true,
                         s->device_expiry_s);
}

void upstream_goodbye(struct session *s, bool polite)
{
    polite = polite && !s->died; /* whoever ends it, the device did not leave in order */
    bool wipe_any = !s->taken_over && s->state == SESSION_RELAYING && !s->env->stopping;
    bool wipe = wipe_any && s->litter;
    bool leaving = s->phase == RH_LEAVING;
    bool any = s->up != NULL || (s->cand != NULL && upstream_connect_sent(s));
    /* DISCONNECT has kept a Will quiet that is due now.  A candidate that is being asked may be
     * refused: it must not bring the Will, too. */
    bool will_due = s->will_quiet && !polite && !s->taken_over && !s->env->stopping;

    enum flip_slot asked = s->cand != NULL ? s->cand->slot : s->have;
    bool wipe_cand = wipe_any && s->cand != NULL && upstream_connect_sent(s) && s->clean &&
                     s->cand->keep && s->cand->version != MQTT_V5 && has_moved(s);

    if (s->cand != NULL && upstream_connect_sent(s) && s->cand->state == LEG_OPEN)
        part(s, s->cand, polite || will_due);
    leg_close_gentle(&s->cand);
    leg_close_gentle(&s->spare);
    if (s->accepted) {
        s->env->stats.legs_up--;
        if (!s->said_goodbye && !leaving)
            evidence_leave(s);
        if (!s->said_goodbye && !leaving)
            part(s, s->up, polite);
    }
    s->accepted = false;
    leg_close_gentle(&s->up);
    if (wipe_cand)
        cleaner_start(s, asked, false);
    if (will_due || (wipe && any))
        cleaner_start(s, s->have, will_due);
    else if (wipe)
        log_event(
            LOG_SESSION, LOG_NOTICE_, "session-left-behind", "device=%s msg=%s", s->dev->name,
            LOG_Q(
                "the device left while there was no uplink; its next clean start clears what is at the broker"));
}
