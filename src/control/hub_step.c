/* control/hub_step.c - events go to the engine, and what it wants done is collected; time makes
 * events, too. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "control/hub_inside.h"

#define TICK_LEAST_MS 20 /* between two looks at what is due */

/* -- notices -- */

void hub_notice_free(struct notice *n)
{
    if (n == NULL)
        return;
    list_del(&n->link);
    free(n->a);
    free(n->b);
    free(n->c);
    free(n->d);
    free(n->proven);
    free(n);
}

struct notice *hub_notice_new(struct hub *h, enum notice_kind kind, const char *a, const char *b,
                              const char *c, const char *d)
{
    struct notice *n = calloc(1, sizeof(*n));

    if (n == NULL)
        return NULL;
    n->kind = kind;
    n->a = strdup(a == NULL ? "" : a);
    n->b = strdup(b == NULL ? "" : b);
    n->c = strdup(c == NULL ? "" : c);
    n->d = strdup(d == NULL ? "" : d);
    list_init(&n->link);
    if (n->a == NULL || n->b == NULL || n->c == NULL || n->d == NULL) {
        hub_notice_free(n);
        return NULL;
    }
    list_add(&h->notices, &n->link);
    return n;
}

int hub_audit(struct hub *h, const char *who, const char *what, const char *target,
              const char *outcome)
{
    return hub_notice_new(h, NOTICE_AUDIT, who, what, target, outcome) == NULL ? -ERR_NOMEM : 0;
}

int hub_tell_progress(struct hub *h, const char *who, const struct hub_progress *p)
{
    struct notice *n = hub_notice_new(h, NOTICE_PROGRESS, p->method, p->id, NULL, who);

    if (n == NULL)
        return -ERR_NOMEM;
    n->done = p->done;
    n->refused = p->refused;
    n->total = p->total;
    return 0;
}

void hub_remember(struct hub *h, char *id, char *reply)
{
    hub_notice_new(h, NOTICE_REMEMBER, id, reply, NULL, NULL);
    free(id);
    free(reply);
}

void hub_notices_drop(struct hub *h)
{
    list_for_each_safe (it, &h->notices)
        hub_notice_free(list_entry(it, struct notice, link));
}

/* -- decisions -- */

void hub_replace(char **text, const char *with)
{
    char *copy = with == NULL || *with == '\0' ? NULL : strdup(with);

    free(*text);
    *text = copy;
}

/* The invariants of a phase, kept where a phase is entered. */
void hub_phase_entered(struct hub *h, struct hub_device *d)
{
    hub_set_due(h, d);
    d->old_failures = 0;
    d->try_old_from_ms = 0;
    d->rejected = d->uncounted = false;
    if (d->flip.phase != FLIP_ROLLED_BACK)
        hub_replace(&d->reason, NULL);
}

/* -- what is proven -- */

void hub_proof_copy(struct store_proof **into, const struct store_proof *p)
{
    if (p == NULL || p->what == 0) {
        free(*into);
        *into = NULL;
        return;
    }
    if (*into == NULL && (*into = malloc(sizeof(**into))) == NULL)
        return;
    if (*into != p)
        **into = *p;
}

const char *hub_proof_text(const struct store_proof *p, char *out, size_t n)
{
    size_t at = 0;
    char date[32];

    out[0] = '\0';
    if (p == NULL)
        return out;
    if ((p->what & FLIP_PROOF_CONNACK) != 0)
        at += (size_t)snprintf(out, n, "connack%s%s at %s, fingerprint %s",
                               *p->tls == '\0' ? "" : " over ", p->tls,
                               clock_iso(p->connack_s, date, sizeof(date)), p->fp);
    if ((p->what & FLIP_PROOF_ECHO) != 0 && at < n)
        at +=
            (size_t)snprintf(out + at, n - at, "%secho in %lld.%02lld ms at %s", at > 0 ? ", " : "",
                             (long long)(p->echo_us / 1000), (long long)(p->echo_us % 1000 / 10),
                             clock_iso(p->echo_s, date, sizeof(date)));
    if ((p->what & FLIP_PROOF_CENTRAL) != 0 && at < n)
        snprintf(out + at, n - at, "%sconfirmed by %s at %s", at > 0 ? ", " : "", p->by,
                 clock_iso(p->central_s, date, sizeof(date)));
    return out;
}

static void proof_connack(const struct hub *h, const struct hub_device *d, struct store_proof *p)
{
    p->what |= FLIP_PROOF_CONNACK;
    p->connack_s = hub_wall_s(h);
    if (d->leg == NULL)
        return;
    p->session_present = d->leg->session_present;
    memcpy(p->tls, d->leg->tls, sizeof(p->tls));
    memcpy(p->fp, d->leg->fp, sizeof(p->fp));
}

void hub_proof_fallen(struct hub_device *d)
{
    struct store_proof left;

    if (d->proof == NULL || d->flip.phase != FLIP_TRIAL || d->flip.accepted)
        return;
    left = *d->proof;
    left.what &= FLIP_PROOF_CENTRAL;
    hub_proof_copy(&d->proof, &left);
}

/* Keep what an event proves, beside what the engine keeps: when, how, by whom. */
static void proof_step(struct hub *h, struct hub_device *d, enum flip_event ev, bool stood,
                       const char *who)
{
    struct store_proof p = {0};

    if (d->proof != NULL && ev != EV_FLIP)
        p = *d->proof;
    if (ev == EV_ACCEPTED && d->flip.accepted && !stood) {
        proof_connack(h, d, &p);
    } else if (ev == EV_ECHOED) {
        p.what |= FLIP_PROOF_ECHO;
        p.echo_s = hub_wall_s(h);
        p.echo_us = d->echo_us;
    } else if (ev == EV_CONFIRMED) {
        p.what |= FLIP_PROOF_CENTRAL;
        p.central_s = hub_wall_s(h);
        snprintf(p.by, sizeof(p.by), "%s", who == NULL ? HUB_SELF : who);
    }
    hub_proof_copy(&d->proof, &p);
    hub_proof_fallen(d);
}

/* A suspicion is settled by the session, which tries the old identity by itself, at once; what that
 * shows comes as news.  Where a committed identity is rejected it is for us to say so, and not more
 * often than the waits between attempts allow: each try makes the session dial without one. */
static bool may_try_old(const struct hub *h, const struct hub_device *d, enum flip_event ev)
{
    return ev != EV_SUSPECT && d->cred[FLIP_OLD] != NULL && !d->trying_old &&
           hub_now(h) >= d->try_old_from_ms;
}

void hub_count_attempt(struct hub *h, struct hub_device *d)
{
    /* A trial that was never tried has no attempt, whatever was undone since it began. */
    if (d->flip.phase != FLIP_TRIAL || (!d->uncounted && d->flip.attempts != 0))
        return;
    d->uncounted = false;
    d->flip.attempts++;
    d->dirty = true;
    hub_touch(h, d);
}

/* A way back that nothing is wrong with, as far as anybody here knows. */
static bool is_unhurried(enum flip_event ev)
{
    return ev == EV_ROLLBACK || ev == EV_DEADLINE;
}

int hub_apply(struct hub *h, struct hub_device *d, enum flip_event ev, const struct hub_why *why)
{
    enum flip_phase from = d->flip.phase;
    bool stood = d->flip.accepted;
    const char *cause = why->cause == NULL ? flip_event_name(ev) : why->cause;
    int actions = flip_step(&d->flip, ev, hub_now(h));
    struct notice *n;

    if (actions < 0)
        return actions;
    if (from == FLIP_TRIAL || d->flip.phase == FLIP_TRIAL)
        proof_step(h, d, ev, stood, why->who);
    d->trial_over |= from == FLIP_TRIAL && d->flip.phase == FLIP_COMMITTED;
    d->fell |= from == FLIP_TRIAL && !d->flip.accepted && d->flip.phase != FLIP_COMMITTED &&
               (stood || d->flip.phase == FLIP_ROLLED_BACK);
    hub_note(h, d);
    hub_set_due(h, d);
    d->touched = true;
    if ((actions & (DO_USE_NEW | DO_USE_OLD)) != 0) {
        d->trying_old = false;
        d->going_back = (actions & DO_USE_OLD) != 0;
        d->unhurried = is_unhurried(ev);
        d->seq++;
        d->tell = true;
    }
    if ((actions & DO_RETIRE) != 0) { /* the decision names another slot, and nothing moves */
        d->retired = true;
        d->going_back = false;
        d->retired_seq = ++d->seq;
        d->tell = true;
    }
    if ((actions & DO_TRY_OLD) != 0 && may_try_old(h, d, ev)) {
        d->trying_old = true;
        d->seq++;
        d->tell = true;
    }
    if (d->flip.phase != from) {
        hub_phase_entered(h, d);
        d->changed_s = clock_wall_s();
    }
    if ((actions & DO_QUARANTINE) != 0)
        hub_replace(&d->reason, why->msg == NULL ? cause : why->msg);
    if ((actions & DO_SAVE) != 0) {
        d->dirty = true;
        d->retry = ev; /* until it is durable */
        hub_replace(&d->retry_cause, cause);
    }
    if (d->flip.phase == from && (actions & DO_TELL) == 0)
        return 0;
    n = hub_notice_new(h, NOTICE_EVENT, cause, why->msg, why->todo,
                       why->who == NULL ? HUB_SELF : why->who);
    if (n == NULL) {
        log_event(LOG_FLIP, LOG_ERROR_, "flip", "device=%s from=%s to=%s cause=%s msg=%s", d->name,
                  flip_phase_name(from), flip_phase_name(d->flip.phase), cause,
                  LOG_Q("no memory to tell it further"));
        return 0;
    }
    n->device = d;
    n->event = ev;
    n->from = from;
    n->to = d->flip.phase;
    if (from == FLIP_TRIAL && n->to != FLIP_TRIAL && d->proof != NULL) {
        char text[400];

        n->proven = strdup(hub_proof_text(d->proof, text, sizeof(text)));
    }
    return 0;
}

/* -- time -- */

void hub_wake_at(struct hub *h, int64_t at_ms)
{
    if (at_ms == 0 || (h->wake_ms != 0 && h->wake_ms <= at_ms))
        return;
    if (at_ms < h->ticked_ms + TICK_LEAST_MS)
        at_ms = h->ticked_ms + TICK_LEAST_MS;
    h->wake_ms = at_ms;
    h->sink.wake(h->sink.arg, at_ms);
}

void hub_set_due(struct hub *h, struct hub_device *d)
{
    int64_t due = flip_due(&d->flip);

    if (due == 0)
        heap_del(&h->due, &d->due);
    else
        heap_put(&h->due, &d->due, due);
}

void hub_look_again(struct hub *h)
{
    const struct heap_item *first = heap_first(&h->due);

    if (first != NULL)
        hub_wake_at(h, first->key);
    if (!list_empty(&h->moving))
        hub_wake_at(h, list_entry(h->moving.next, struct hub_device, queue_link)->moving_until_ms);
    if (h->retrying)
        hub_wake_at(h, h->ticked_ms + HUB_RETRY_MS);
}

static const char *due_todo(enum flip_event ev)
{
    switch ((int)ev) {
    case EV_UNPROVEN:
        return "check at the broker that the new identity may write and read its echo topic, and "
               "give it more probation than upstreams.echo_timeout_ms";
    case EV_DEADLINE:
        return "look at the far side why nobody confirmed; then clear the quarantine and flip again";
    default:
        return NULL;
    }
}

static const char *due_text(enum flip_event ev)
{
    switch ((int)ev) {
    case EV_UNPROVEN:
        return "probation is over, and the echo that was demanded did not come";
    case EV_HEALTHY:
        return "healthy through probation";
    case EV_DEADLINE:
        return "nobody confirmed in time";
    case EV_LATE:
        return "not accepted before the time after which it shall not begin";
    default:
        return NULL;
    }
}

/* Has what could not be saved been overtaken by what came after it, which needed no saving? */
static bool is_past(const struct hub_device *d, enum flip_event ev)
{
    switch ((int)ev) {
    case EV_ACCEPTED: /* an acceptance proves nothing when its connection is gone */
        return !hub_stands_on(d, FLIP_NEW);
    case EV_INSTALLED:
        return d->cred[FLIP_NEW] == NULL;
    case EV_DISCARDED:
        return d->present[FLIP_NEW];
    default:
        return false;
    }
}

const char *hub_reason_todo(const struct hub_device *d)
{
    static const enum flip_event ends[] = {EV_UNPROVEN, EV_DEADLINE};

    for (size_t i = 0; d->reason != NULL && i < sizeof(ends) / sizeof(ends[0]); i++)
        if (strcmp(d->reason, due_text(ends[i])) == 0)
            return due_todo(ends[i]);
    return NULL;
}

static void retry(struct hub *h, struct hub_device *d)
{
    if (d->unsaved || d->fell) {
        d->dirty = true;
        hub_note(h, d);
    }
    if (d->retry == EV_NONE)
        return;
    enum flip_event ev = d->retry;
    char *cause = d->retry_cause;
    struct hub_why why = {.cause = cause};

    d->retry = EV_NONE;
    d->retry_cause = NULL;
    hub_count_attempt(h, d); /* whose count was not saved either */
    /* What came back did so on a connection whose acceptance was not saved either. */
    if (ev == EV_ECHOED && flip_pending(&d->flip) && hub_stands_on(d, FLIP_NEW))
        hub_apply(h, d, EV_ACCEPTED, &(struct hub_why){0});
    if (d->error != NULL && cause != NULL && strcmp(d->error->diag.name, cause) == 0) {
        why.msg = d->error->diag.sentence;
        why.todo = d->error->diag.remedy;
    }
    if (!is_past(d, ev))
        hub_apply(h, d, ev, &why);
    free(cause);
}

/* What time has brought about. */
static void deadlines(struct hub *h, int64_t now)
{
    for (struct heap_item *it; (it = heap_first(&h->due)) != NULL && it->key <= now;) {
        struct hub_device *d = list_entry(it, struct hub_device, due);
        enum flip_event ev = flip_tick(&d->flip, now);

        heap_put(&h->due, it, now + HUB_RETRY_MS); /* unless something comes of it */
        if (ev != EV_NONE)
            hub_apply(h, d, ev, &(struct hub_why){.msg = due_text(ev), .todo = due_todo(ev)});
    }
}

void hub_tick(struct hub *h)
{
    int64_t now = hub_now(h);
    struct err err = {0};

    h->wake_ms = 0;
    h->ticked_ms = now;
    if (h->retrying) { /* before the deadlines, which may be those of what is over */
        h->retrying = store_settle(h->store) != 0;
        for (size_t i = 0; i < h->count; i++)
            retry(h, h->sorted[i]);
    }
    deadlines(h, now);
    while (!list_empty(&h->moving)) {
        struct hub_device *d = list_entry(h->moving.next, struct hub_device, queue_link);

        if (d->moving_until_ms > now)
            break;
        hub_turn_end(h, d, PACE_STRAINED);
    }
    hub_flush(h, &err);
    hub_look_again(h);
}
