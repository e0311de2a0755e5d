/* control/hub_news.c - what the workers tell: sessions come and go, legs are accepted, fail and are
 * lost. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "control/hub_inside.h"

/* -- news of the workers -- */

/* May a device have several connections at once, by some rule? */
static bool several_allowed(const struct conf *conf)
{
    for (size_t i = 0; i < conf->rule_count; i++)
        if (conf->rules[i].max_connections > 1)
            return true;
    return false;
}

static void take_over(struct hub *h, const struct hub_device *d, const struct hub_session *loser,
                      const struct hub_session *winner)
{
    struct msg *m = hub_device_msg(MSG_KICK, d->name);

    if (m == NULL)
        return;
    m->session_id = loser->id;
    snprintf(m->u.kick.text, sizeof(m->u.kick.text), "taken over by a connection from %s",
             winner->peer);
    h->sink.post(h->sink.arg, loser->worker, m);
}

/* The newest connection wins, though its news may come first: the others of this device (with
 * several allowed: of its client id) are closed.  A worker looks after its own. */
static void newest_wins(struct hub *h, struct hub_device *d, const struct hub_session *news)
{
    bool several = several_allowed(h->snapshot->conf);

    list_for_each (it, &d->sessions) {
        const struct hub_session *s = list_entry(it, struct hub_session, link);

        if (s->worker == news->worker || (several && strcmp(s->client_id, news->client_id) != 0))
            continue;
        if (s->connected_us <= news->connected_us)
            take_over(h, d, s, news);
        else
            take_over(h, d, news, s);
    }
}

/* Who is away must not be forgotten when an anchor is taken away.  It is written with the next
 * poll, for all of them at once. */
static void remember_sensor(struct hub *h, struct hub_device *d, const char *anchor)
{
    if (*anchor == '\0' || anchor == d->sensor)
        return;
    d->sensor = anchor;
    if (!d->sensor_unsaved)
        h->sensors_unsaved++;
    d->sensor_unsaved = true;
}

static void on_up(struct hub *h, struct hub_device *d, const struct msg *m)
{
    struct hub_session *s = calloc(1, sizeof(*s));

    if (s == NULL) {
        log_event(LOG_CONTROL, LOG_ERROR_, "session-not-listed", "device=%s cause=no-memory",
                  d->name);
        return;
    }
    s->id = m->session_id;
    s->worker = m->worker;
    s->since_s = clock_wall_s();
    s->leg = -1;
    s->version = m->u.up.version;
    s->connected_us = m->u.up.connected_us;
    memcpy(s->listener, m->u.up.listener, sizeof(s->listener));
    memcpy(s->peer, m->u.up.peer, sizeof(s->peer));
    memcpy(s->client_id, m->u.up.client_id, sizeof(s->client_id));
    memcpy(s->tls, m->u.up.tls, sizeof(s->tls));
    memcpy(s->fp, m->u.up.fp, sizeof(s->fp));
    if (*m->u.up.exception != '\0') {
        s->exception = strdup(m->u.up.exception);
        hub_exception_used(h, m->u.up.exception);
    }
    s->anchor = hub_anchor_name(h, m->u.up.anchor);
    s->broker = "";
    remember_sensor(h, d, s->anchor);
    list_init(&s->link);
    newest_wins(h, d, s);
    list_add(&d->sessions, &s->link);
    d->session_count++;
    if (d->told_slot == FLIP_NEW)
        hub_count_attempt(h, d);
    hub_hurry_back(h, d); /* it would begin with the new identity */
    hub_touch(h, d);
}

static void on_down(struct hub *h, struct hub_device *d, const struct msg *m)
{
    struct hub_session *s = hub_session_find(d, m->session_id);

    if (s == NULL)
        return;
    hub_session_free(s);
    d->session_count--;
    hub_touch(h, d);
    if (d->flip.phase == FLIP_TRIAL && d->flip.accepted && !hub_stands_on(d, FLIP_NEW))
        hub_apply(h, d, EV_LOST, &(struct hub_why){.msg = m->u.down.text});
    if (!hub_stands_on(d, FLIP_NEW))
        hub_hurry_back(h, d);
    if (d->session_count != 0)
        return;
    hub_turn_end(h, d, PACE_VOID);
    hub_back_on_old(h, d);
    if (d->queued) {
        hub_queue_leave(h, d);
        d->tell = true;
    }
}

static void remember_leg(struct hub_device *d, const struct msg *m)
{
    bool again = m->u.leg.what == MSG_LEG_ACCEPTED && m->u.leg.stood_ms != 0;
    bool known = again && d->leg != NULL && d->leg->what == MSG_LEG_ACCEPTED &&
                 d->leg->slot == m->u.leg.slot && strcmp(d->leg->fp, m->u.leg.fp) == 0;

    if (known || (d->leg == NULL && (d->leg = calloc(1, sizeof(*d->leg))) == NULL))
        return;
    d->leg->what = m->u.leg.what;
    d->leg->slot = m->u.leg.slot;
    d->leg->session_present = m->u.leg.session_present;
    if (!again)
        d->leg->number++;
    d->leg->since_s = clock_wall_s() - (again ? (int64_t)(m->u.leg.stood_ms / 1000) : 0);
    memcpy(d->leg->tls, m->u.leg.tls, sizeof(d->leg->tls));
    memcpy(d->leg->fp, m->u.leg.fp, sizeof(d->leg->fp));
}

static void remember_error(struct hub_device *d, const struct msg *m)
{
    if (d->error == NULL && (d->error = calloc(1, sizeof(*d->error))) == NULL)
        return;
    d->error->time_s = clock_wall_s();
    d->error->slot = m->u.leg.slot;
    d->error->diag = m->u.leg.diag;
}

static struct hub_why why_of(const struct msg *m)
{
    return (struct hub_why){
        .cause = m->u.leg.diag.name, .msg = m->u.leg.diag.sentence, .todo = m->u.leg.diag.remedy};
}

static void accepted_text(const struct msg *m, char *out, size_t n)
{
    snprintf(out, n, "%s%s%s%s%s", *m->u.leg.tls == '\0' ? "accepted" : "accepted over ",
             m->u.leg.tls, *m->u.leg.fp == '\0' ? "" : ", fingerprint ", m->u.leg.fp,
             m->u.leg.rehomed && !m->u.leg.session_present
                 ? "; the broker had not kept the session, and what it had queued is gone"
                 : "");
}

static void on_accepted(struct hub *h, struct hub_device *d, const struct msg *m)
{
    if (m->u.leg.slot == FLIP_NEW) {
        d->old_failures = 0;
        d->rejected = false;
        d->retry = EV_NONE; /* this is later news than what could not be saved */
        char text[300];

        accepted_text(m, text, sizeof(text));
        hub_apply(h, d, EV_ACCEPTED, &(struct hub_why){.msg = text});
    } else if (d->trying_old || d->rejected) {
        struct hub_why why = {.msg = "the new identity failed where the old one is accepted"};

        if (d->error != NULL && d->error->slot == FLIP_NEW)
            why = (struct hub_why){d->error->diag.name, d->error->diag.sentence,
                                   d->error->diag.remedy, NULL};
        hub_apply(h, d, EV_OLD_ACCEPTED, &why);
    } else {
        hub_back_on_old(h, d);
    }
}

/* Both identities fail, so it is not the identity: back to what was being tried. */
static void old_failed(struct hub *h, struct hub_device *d, const struct hub_why *why)
{
    const struct conf_flip *conf = &h->snapshot->conf->flip;
    size_t step = d->old_failures++;

    if (conf->backoff_tls_count == 0)
        step = 0;
    else if (step >= conf->backoff_tls_count)
        step = conf->backoff_tls_count - 1;
    d->try_old_from_ms = hub_now(h) + (int64_t)conf->backoff_tls_s[step] * 1000;
    d->trying_old = false;
    d->seq++;
    d->tell = true;
    hub_note(h, d);
    hub_apply(h, d, EV_LOST, why);
}

static void on_failed(struct hub *h, struct hub_device *d, const struct msg *m)
{
    struct hub_why why = why_of(m);

    if (m->u.leg.slot == FLIP_OLD) {
        if (d->trying_old)
            old_failed(h, d, &why);
        return;
    }
    switch (m->u.leg.diag.class) {
    case DIAG_IDENTITY:
        d->rejected = true; /* a trial ends with it, which clears it again */
        hub_apply(h, d, EV_REJECTED, &why);
        if (d->flip.phase == FLIP_COMMITTED && hub_stands_on(d, FLIP_OLD))
            hub_apply(h, d, EV_OLD_ACCEPTED, &why); /* nothing to try any more */
        break;
    case DIAG_SUSPECT:
        if (!hub_stands_on(d, FLIP_NEW)) /* the session tries the old one, and tells */
            hub_apply(h, d, EV_SUSPECT, &why);
        break;
    case DIAG_OK:
    case DIAG_TRUST:
    case DIAG_NETWORK:
    case DIAG_BROKER:
    case DIAG_PROTOCOL:
    case DIAG_POLICY:
    case DIAG_CLASSES:
        if (!hub_stands_on(d, FLIP_NEW)) /* another session of the device may */
            hub_apply(h, d, EV_LOST, &why);
        break;
    }
}

static bool was_refused_before(const struct hub_device *d, uint64_t key)
{
    for (unsigned i = 0; key != 0 && d->refusals != NULL && i < d->refusals->n; i++)
        if (d->refusals->key[i] == key)
            return true;
    return false;
}

/* The old identity is refused this as well: not a thing of the new one. */
static void remember_refusal(struct hub *h, struct hub_device *d, uint64_t key)
{
    if (key == 0 || d->cred[FLIP_OLD] == NULL || was_refused_before(d, key))
        return;
    if (d->refusals == NULL) {
        if ((d->refusals = calloc(1, sizeof(*d->refusals))) == NULL)
            return;
        str_hex(d->refusals->fp, cred_leaf(d->cred[FLIP_OLD])->fp, CERT_FP_BYTES);
    }
    if (d->refusals->n == STORE_REFUSALS)
        return;
    d->refusals->key[d->refusals->n++] = key;
    if (d->flip.phase != FLIP_TRIAL)
        return;
    d->dirty = d->unsaved = true; /* it may be the new identity's turn next, after a restart */
    hub_note(h, d);
}

/* An unexpected answer on the leg of an identity on trial: whatever its class, it rolls back. */
static void on_refusal(struct hub *h, struct hub_device *d, const struct msg *m)
{
    struct hub_why why = why_of(m);

    if (m->u.leg.slot == FLIP_OLD) {
        remember_refusal(h, d, m->u.leg.refusal);
        return;
    }
    if (m->u.leg.flip_seq != d->told_seq || d->queued || d->flip.phase != FLIP_TRIAL ||
        was_refused_before(d, m->u.leg.refusal))
        return;
    remember_error(d, m);
    hub_touch(h, d);
    hub_apply(h, d, EV_REJECTED, &why);
}

static void on_proven(struct hub *h, struct hub_device *d, const struct msg *m)
{
    if (m->u.leg.slot != FLIP_NEW || m->u.leg.flip_seq != d->told_seq || d->queued)
        return;
    char text[64];

    d->echo_us = m->u.leg.echo_us;
    snprintf(text, sizeof(text), "the echo came back in %u.%02u ms", d->echo_us / 1000,
             d->echo_us % 1000 / 10);
    if (hub_apply(h, d, EV_ECHOED, &(struct hub_why){.msg = text}) == 0 ||
        d->retry != EV_ACCEPTED || !flip_pending(&d->flip))
        return;
    /* The acceptance could not be saved yet: this comes with it. */
    d->retry = EV_ECHOED;
    hub_replace(&d->retry_cause, flip_event_name(EV_ECHOED));
}

/* What the end of a move tells about the broker. */
static enum pace_end pace_end_of(const struct msg *m)
{
    if (m->u.leg.what == MSG_LEG_ACCEPTED)
        return PACE_ANSWERED;
    switch (m->u.leg.diag.class) {
    case DIAG_NETWORK:
    case DIAG_BROKER:
        return PACE_STRAINED;
    case DIAG_POLICY:
        return PACE_VOID;
    case DIAG_OK:
    case DIAG_IDENTITY:
    case DIAG_TRUST:
    case DIAG_PROTOCOL:
    case DIAG_SUSPECT:
    case DIAG_CLASSES:
        break;
    }
    return PACE_ANSWERED;
}

static void on_leg(struct hub *h, struct hub_device *d, const struct msg *m)
{
    struct hub_session *s = hub_session_find(d, m->session_id);
    bool accepted = m->u.leg.what == MSG_LEG_ACCEPTED;

    if (m->u.leg.what == MSG_LEG_PROVEN) {
        on_proven(h, d, m);
        return;
    }
    if (m->u.leg.what == MSG_LEG_REFUSED) {
        on_refusal(h, d, m);
        return;
    }
    if (accepted && s != NULL && s->leg != (int)m->u.leg.slot && !d->moving)
        hub_sign_of_life(h);

    remember_leg(d, m);
    if (!accepted)
        remember_error(d, m);
    if (s != NULL && accepted) {
        s->leg = (int)m->u.leg.slot;
        s->broker = hub_anchor_name(h, m->u.leg.anchor);
    }
    if (s != NULL && m->u.leg.what == MSG_LEG_LOST)
        s->leg = -1; /* perhaps one that had not answered yet, and was not told of */
    hub_touch(h, d);
    if (!hub_stands_on(d, FLIP_NEW))
        hub_hurry_back(h, d);
    if (m->u.leg.flip_seq != d->told_seq || d->queued)
        return;                        /* news of an earlier decision */
    if (m->u.leg.slot == d->told_slot) /* the loss of the other one, meanwhile, is not its end */
        hub_turn_end(h, d, pace_end_of(m));
    if (m->u.leg.slot == FLIP_NEW)
        hub_count_attempt(h, d);
    if (accepted)
        on_accepted(h, d, m);
    else
        on_failed(h, d, m);
}

static void on_refused(struct hub *h, const struct msg *m)
{
    struct hub_refused *r = h->refused;

    for (size_t i = 0; i < h->refused_count; i++, r++)
        if (strcmp(r->code, m->u.refused.code) == 0) {
            r->count++;
            return;
        }
    if (h->refused_count == HUB_REFUSED_CODES)
        return;
    h->refused_count++;
    snprintf(r->code, sizeof(r->code), "%s", m->u.refused.code);
    r->count = 1;
}

static void on_stats(struct hub *h, const struct msg *m)
{
    int64_t now = hub_now(h), *asked = &h->asked_ms[m->worker];

    h->stats[m->worker] = m->u.stats;
    h->stats_ms[m->worker] = now;
    if (*asked == 0)
        return;
    h->answer_ms[m->worker] = (uint32_t)(now - *asked);
    histogram_add(&h->tally.answers, (uint64_t)(now - *asked) * 1000);
    *asked = 0;
}

void hub_message(struct hub *h, struct msg *m)
{
    struct hub_device *d = *m->device == '\0' ? NULL : hub_find(h, m->device);

    if (d != NULL && m->kind == MSG_LEG && m->u.leg.slot == FLIP_NEW &&
        m->u.leg.flip_seq < d->retired_seq)
        m->u.leg.slot = FLIP_OLD; /* it is by now */
    switch (m->kind) {
    case MSG_UP:
        if (d != NULL)
            on_up(h, d, m);
        break;
    case MSG_DOWN:
        if (d != NULL)
            on_down(h, d, m);
        break;
    case MSG_LEG:
        if (d != NULL)
            on_leg(h, d, m);
        break;
    case MSG_REFUSED:
        on_refused(h, m);
        break;
    case MSG_STATS:
        if (m->worker < h->sink.workers)
            on_stats(h, m);
        break;
    case MSG_CONF:
    case MSG_DEVICE:
    case MSG_DEVICE_GONE:
    case MSG_KICK:
    case MSG_TRIAL_OVER:
    case MSG_POLL:
    case MSG_STOP:
    case MSG_STOPPED:
        break;
    }
    msg_free(m);
}
