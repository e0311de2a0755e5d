/* control/hub.c - see hub.h.
 *
 * How a decision goes: news -> hub_apply -> flip_step -> its actions are noted on the device ->
 * hub_flush: one transaction for all that was noted, then messages to the workers, then events,
 * logs and timers.  A decision has a number (seq); the workers echo the number that their session
 * has seen, so news of an earlier decision is known as such and decides nothing.
 */
#include "control/hub.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "control/hub_inside.h"

#define SELF          "certflipd"
#define RETRY_MS      5000  /* after the store failed */
#define TICK_LEAST_MS 20    /* between two looks at all trials */
#define TURN_SPARE_MS 10000 /* of a turn, beyond the deadlines of the upstream profile */
#define SAVE_CHUNK    256   /* rows written at a time */

enum notice_kind { NOTICE_EVENT, NOTICE_AUDIT, NOTICE_REMEMBER };

/* Something to be written down, or told, when the flush succeeds. */
struct notice {
    struct list link;
    enum notice_kind kind;
    struct hub_device *device; /* NOTICE_EVENT: borrowed */
    enum flip_phase from, to;
    int actions;
    char *a, *b, *c, *d; /* owned: cause msg todo who; who what target outcome; id reply */
};

int64_t hub_now(const struct hub *h)
{
    return h->sink.now_ms(h->sink.arg);
}

/* -- notices -------------------------------------------------------------------------------------
 */

static void notice_free(struct notice *n)
{
    if (n == NULL)
        return;
    list_del(&n->link);
    free(n->a);
    free(n->b);
    free(n->c);
    free(n->d);
    free(n);
}

static struct notice *notice_new(struct hub *h, enum notice_kind kind, const char *a, const char *b,
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
        notice_free(n);
        return NULL;
    }
    list_add(&h->notices, &n->link);
    return n;
}

int hub_audit(struct hub *h, const char *who, const char *what, const char *target,
              const char *outcome)
{
    return notice_new(h, NOTICE_AUDIT, who, what, target, outcome) == NULL ? -ERR_NOMEM : 0;
}

void hub_remember(struct hub *h, char *id, char *reply)
{
    notice_new(h, NOTICE_REMEMBER, id, reply, NULL, NULL);
    free(id);
    free(reply);
}

static void notices_drop(struct hub *h)
{
    list_for_each_safe (it, &h->notices)
        notice_free(list_entry(it, struct notice, link));
}

/* -- devices -------------------------------------------------------------------------------------
 */

static void session_free(struct hub_session *s)
{
    list_del(&s->link);
    free(s);
}

void hub_device_free(struct hub_device *d)
{
    if (d == NULL)
        return;
    list_for_each_safe (it, &d->sessions)
        session_free(list_entry(it, struct hub_session, link));
    list_del(&d->trial_link);
    list_del(&d->queue_link);
    list_del(&d->dirty_link);
    for (int slot = 0; slot < FLIP_SLOTS; slot++) {
        cred_unref(d->cred[slot]);
        free(d->fault[slot]);
    }
    free(d->name);
    free(d->reason);
    free(d->saved_reason);
    free(d->retry_cause);
    free(d->leg);
    free(d->error);
    free(d);
}

struct hub_device *hub_find(const struct hub *h, const char *name)
{
    return map_get(h->by_name, name);
}

struct hub_device *const *hub_devices(const struct hub *h, size_t *count)
{
    *count = h->count;
    return h->sorted;
}

static void note(struct hub *h, struct hub_device *d)
{
    list_del(&d->dirty_link);
    list_add(&h->dirty, &d->dirty_link);
}

void hub_touch(struct hub *h, struct hub_device *d)
{
    d->touched = true;
    note(h, d);
}

static struct hub_session *session_find(struct hub_device *d, uint64_t id)
{
    list_for_each (it, &d->sessions) {
        struct hub_session *s = list_entry(it, struct hub_session, link);

        if (s->id == id)
            return s;
    }
    return NULL;
}

/* Does some live session of the device stand on this slot? */
static bool stands_on(const struct hub_device *d, enum flip_slot slot)
{
    list_for_each (it, &d->sessions)
        if (list_entry(it, struct hub_session, link)->leg == (int)slot)
            return true;
    return false;
}

/* -- telling the workers -------------------------------------------------------------------------
 */

void hub_post_all(struct hub *h, struct msg *m)
{
    for (unsigned w = 0; w < h->sink.workers; w++) {
        struct msg *copy = w + 1 == h->sink.workers ? m : msg_new(m->kind);

        if (copy == NULL) {
            log_event(LOG_CONTROL, LOG_ERROR_, "message-lost", "worker=%u kind=%d cause=no-memory",
                      w, (int)m->kind);
            continue;
        }
        if (copy != m) {
            *copy = *m;
            list_init(&copy->link);
            if (m->kind == MSG_DEVICE)
                for (int slot = 0; slot < FLIP_SLOTS; slot++)
                    copy->u.dev.cred[slot] =
                        m->u.dev.cred[slot] == NULL ? NULL : cred_ref(m->u.dev.cred[slot]);
            else if (m->kind == MSG_CONF)
                copy->u.conf = snapshot_ref(m->u.conf);
        }
        h->sink.post(h->sink.arg, w, copy);
    }
}

static struct msg *device_msg(enum msg_kind kind, const char *name)
{
    struct msg *m = msg_new(kind);

    if (m == NULL)
        log_event(LOG_CONTROL, LOG_ERROR_, "message-lost", "device=%s cause=no-memory", name);
    else
        snprintf(m->device, sizeof(m->device), "%s", name);
    return m;
}

void hub_post_device(struct hub *h, struct hub_device *d, bool identities_changed)
{
    struct msg *m = device_msg(MSG_DEVICE, d->name);

    if (m == NULL)
        return;
    for (int slot = 0; slot < FLIP_SLOTS; slot++)
        m->u.dev.cred[slot] = d->cred[slot] == NULL ? NULL : cred_ref(d->cred[slot]);
    m->u.dev.active = d->told_slot;
    m->u.dev.flip_seq = d->told_seq;
    m->u.dev.identities_changed = identities_changed;
    hub_post_all(h, m);
}

/* The slot that the workers shall use, by the latest decision. */
static enum flip_slot wanted_slot(const struct hub_device *d)
{
    return d->trying_old ? FLIP_OLD : flip_active_slot(&d->flip);
}

static void tell_now(struct hub *h, struct hub_device *d)
{
    d->told_seq = d->seq;
    d->told_slot = wanted_slot(d);
    hub_post_device(h, d, false);
}

/* -- turns: how many move at once ----------------------------------------------------------------
 */

static void turn_end(struct hub *h, struct hub_device *d)
{
    if (!d->moving)
        return;
    d->moving = false;
    h->moving_count--;
    list_del(&d->queue_link);
}

static void queue_leave(struct hub *h, struct hub_device *d)
{
    if (!d->queued)
        return;
    d->queued = false;
    h->queue_count--;
    list_del(&d->queue_link);
}

static int64_t turn_ms(const struct hub *h)
{
    const struct conf *conf = h->snapshot->conf;
    int64_t longest = 0;

    for (size_t i = 0; i < conf->upstream_count; i++) {
        const struct conf_upstream *u = &conf->upstreams[i];
        int64_t ms = (int64_t)u->connect_timeout_ms + u->connack_timeout_ms + u->drain_timeout_ms +
                     u->barrier_timeout_ms + u->accept_wait_ms;

        if (ms > longest)
            longest = ms;
    }
    return longest + TURN_SPARE_MS;
}

static void turn_begin(struct hub *h, struct hub_device *d)
{
    queue_leave(h, d);
    if (d->session_count != 0) {
        d->moving = true;
        d->moving_until_ms = hub_now(h) + turn_ms(h);
        h->moving_count++;
        list_add(&h->moving, &d->queue_link);
    }
    tell_now(h, d);
    hub_touch(h, d);
}

/* Give turns to those who wait. */
static void queue_work(struct hub *h)
{
    while (!list_empty(&h->queue) && h->moving_count < h->snapshot->conf->flip.concurrent)
        turn_begin(h, list_entry(h->queue.next, struct hub_device, queue_link));
}

/* Carry out what was decided: at once, or when it is its turn. */
static void tell_workers(struct hub *h, struct hub_device *d)
{
    bool to_new = wanted_slot(d) == FLIP_NEW;

    turn_end(h, d);
    queue_leave(h, d);
    if (d->session_count == 0 || !to_new || stands_on(d, FLIP_NEW)) {
        tell_now(h, d); /* nothing to move, or a way back, which does not wait */
        return;
    }
    d->queued = true;
    h->queue_count++;
    list_add(&h->queue, &d->queue_link);
}

/* -- time ----------------------------------------------------------------------------------------
 */

static void wake_at(struct hub *h, int64_t at_ms)
{
    if (at_ms == 0 || (h->wake_ms != 0 && h->wake_ms <= at_ms))
        return;
    if (at_ms < h->ticked_ms + TICK_LEAST_MS)
        at_ms = h->ticked_ms + TICK_LEAST_MS;
    h->wake_ms = at_ms;
    h->sink.wake(h->sink.arg, at_ms);
}

static void look_again(struct hub *h)
{
    list_for_each (it, &h->trials)
        wake_at(h, flip_due(&list_entry(it, struct hub_device, trial_link)->flip));
    list_for_each (it, &h->moving)
        wake_at(h, list_entry(it, struct hub_device, queue_link)->moving_until_ms);
    if (h->retrying)
        wake_at(h, h->ticked_ms + RETRY_MS);
}

static const char *due_text(enum flip_event ev)
{
    switch ((int)ev) {
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

static void retry(struct hub *h, struct hub_device *d)
{
    enum flip_event ev = d->retry;
    char *cause = d->retry_cause;

    d->retry = EV_NONE;
    d->retry_cause = NULL;
    hub_apply(h, d, ev, &(struct hub_why){.cause = cause});
    free(cause);
}

void hub_tick(struct hub *h)
{
    int64_t now = hub_now(h);
    struct err err = {0};

    h->wake_ms = 0;
    h->ticked_ms = now;
    list_for_each_safe (it, &h->trials) {
        struct hub_device *d = list_entry(it, struct hub_device, trial_link);
        enum flip_event ev = flip_tick(&d->flip, now);

        if (ev != EV_NONE)
            hub_apply(h, d, ev, &(struct hub_why){.msg = due_text(ev)});
    }
    if (h->retrying) {
        h->retrying = false;
        for (size_t i = 0; i < h->count; i++)
            if (h->sorted[i]->retry != EV_NONE)
                retry(h, h->sorted[i]);
    }
    list_for_each_safe (it, &h->moving) {
        struct hub_device *d = list_entry(it, struct hub_device, queue_link);

        if (d->moving_until_ms <= now)
            turn_end(h, d);
    }
    hub_flush(h, &err);
    look_again(h);
}

/* -- decisions -----------------------------------------------------------------------------------
 */

static void replace(char **text, const char *with)
{
    char *copy = with == NULL || *with == '\0' ? NULL : strdup(with);

    free(*text);
    *text = copy;
}

/* The invariants of a phase, kept where a phase is entered. */
static void phase_entered(struct hub *h, struct hub_device *d)
{
    list_del(&d->trial_link);
    if (d->flip.phase == FLIP_TRIAL)
        list_add(&h->trials, &d->trial_link);
    d->suspects = 0;
    if (d->flip.phase != FLIP_ROLLED_BACK)
        replace(&d->reason, NULL);
}

int hub_apply(struct hub *h, struct hub_device *d, enum flip_event ev, const struct hub_why *why)
{
    enum flip_phase from = d->flip.phase;
    const char *cause = why->cause == NULL ? flip_event_name(ev) : why->cause;
    int actions = flip_step(&d->flip, ev, hub_now(h));
    struct notice *n;

    if (actions < 0)
        return actions;
    note(h, d);
    d->touched = true;
    if ((actions & (DO_USE_NEW | DO_USE_OLD)) != 0) {
        d->trying_old = false;
        d->going_back = (actions & DO_USE_OLD) != 0;
        d->seq++;
        d->tell = true;
    }
    if ((actions & DO_TRY_OLD) != 0 && d->cred[FLIP_OLD] != NULL) {
        d->trying_old = true;
        d->seq++;
        d->tell = true;
    }
    if (d->flip.phase != from) {
        phase_entered(h, d);
        d->changed_s = clock_wall_s();
    }
    if ((actions & DO_QUARANTINE) != 0)
        replace(&d->reason, why->msg == NULL ? cause : why->msg);
    if ((actions & DO_SAVE) != 0) {
        d->dirty = true;
        d->retry = ev; /* until it is durable */
        replace(&d->retry_cause, cause);
    }
    if (d->flip.phase == from && (actions & DO_TELL) == 0)
        return 0;
    n = notice_new(h, NOTICE_EVENT, cause, why->msg, why->todo, why->who == NULL ? SELF : why->who);
    if (n == NULL) {
        log_event(LOG_FLIP, LOG_ERROR_, "flip", "device=%s from=%s to=%s cause=%s msg=%s", d->name,
                  flip_phase_name(from), flip_phase_name(d->flip.phase), cause,
                  LOG_Q("no memory to tell it further"));
        return 0;
    }
    n->device = d;
    n->from = from;
    n->to = d->flip.phase;
    n->actions = actions;
    return 0;
}

/* -- flush: durable, then done -------------------------------------------------------------------
 */

static void fill_row(const struct hub *h, const struct hub_device *d, struct store_device *row)
{
    memset(row, 0, sizeof(*row));
    snprintf(row->name, sizeof(row->name), "%s", d->name);
    row->flip = d->flip;
    if (d->flip.begin_by_ms != 0) /* CLOCK_BOOTTIME starts anew with the machine */
        row->begin_by_s = clock_wall_s() + (d->flip.begin_by_ms - hub_now(h)) / 1000;
    for (int slot = 0; slot < FLIP_SLOTS; slot++)
        if (d->cred[slot] != NULL)
            str_hex(row->fp[slot], cred_leaf(d->cred[slot])->fp, CERT_FP_BYTES);
    snprintf(row->reason, sizeof(row->reason), "%s", d->reason == NULL ? "" : d->reason);
    row->changed_s = d->changed_s;
}

static int save_devices(struct hub *h, struct err *err)
{
    struct store_device *rows = NULL;
    size_t n = 0;
    int rc = 0;

    list_for_each (it, &h->dirty) {
        const struct hub_device *d = list_entry(it, struct hub_device, dirty_link);

        if (!d->dirty)
            continue;
        if (rows == NULL && (rows = malloc(SAVE_CHUNK * sizeof(*rows))) == NULL)
            return err_set(err, ERR_NOMEM, "out of memory");
        fill_row(h, d, &rows[n++]);
        if (n == SAVE_CHUNK) {
            rc = store_device_put_many(h->store, rows, n, err);
            n = 0;
            if (rc != 0)
                break;
        }
    }
    if (rc == 0 && n != 0)
        rc = store_device_put_many(h->store, rows, n, err);
    free(rows);
    return rc;
}

static int save_event(struct hub *h, const struct notice *n, struct err *err)
{
    char what[64], outcome[900];

    snprintf(what, sizeof(what), "phase %s", flip_phase_name(n->to));
    snprintf(outcome, sizeof(outcome), "from %s: %s%s%s", flip_phase_name(n->from), n->a,
             *n->b == '\0' ? "" : ": ", n->b);
    return store_audit_add(h->store, n->d, what, n->device->name, outcome, err);
}

static int save_notices(struct hub *h, struct err *err)
{
    int64_t events = 0;
    int rc = 0;

    list_for_each (it, &h->notices) {
        const struct notice *n = list_entry(it, struct notice, link);

        switch (n->kind) {
        case NOTICE_EVENT:
            events++;
            rc = save_event(h, n, err);
            break;
        case NOTICE_AUDIT:
            rc = store_audit_add(h->store, n->a, n->b, n->c, n->d, err);
            break;
        case NOTICE_REMEMBER:
            rc = store_command_put(h->store, n->a, n->b, err);
            break;
        }
        if (rc != 0)
            return rc;
    }
    return events == 0 ? 0 : store_value_put(h->store, "event-seq", h->event_seq + events, err);
}

static bool anything_to_save(const struct hub *h)
{
    if (!list_empty(&h->notices))
        return true;
    list_for_each (it, &h->dirty)
        if (list_entry(it, struct hub_device, dirty_link)->dirty)
            return true;
    return false;
}

static int save_all(struct hub *h, struct err *err)
{
    int rc;

    if (!anything_to_save(h))
        return 0;
    rc = store_begin(h->store, err);
    if (rc != 0)
        return rc;
    if ((rc = save_devices(h, err)) != 0 || (rc = save_notices(h, err)) != 0) {
        store_rollback(h->store);
        return rc;
    }
    return store_commit(h->store, err);
}

/* The store failed: all devices are as they were, and news from the workers is tried again later.
 */
static void undo_all(struct hub *h, const struct err *err)
{
    log_event(LOG_STORE, LOG_ERROR_, "save-failed", "msg=%s todo=%s", LOG_Q(err->msg),
              LOG_Q("nothing was changed; mend the state directory"));
    notices_drop(h);
    list_for_each_safe (it, &h->dirty) {
        struct hub_device *d = list_entry(it, struct hub_device, dirty_link);

        if (!d->dirty)
            continue;
        list_del(&d->dirty_link);
        d->flip = d->saved;
        phase_entered(h, d);
        replace(&d->reason, d->saved_reason);
        d->dirty = d->tell = d->trying_old = false;
        d->touched = false;
        if (d->retry != EV_NONE)
            h->retrying = true;
    }
    h->ticked_ms = hub_now(h);
    look_again(h);
}

static enum log_level event_level(const struct notice *n)
{
    return n->to == FLIP_ROLLED_BACK ? LOG_WARN_ : LOG_NOTICE_;
}

static void tell_event(struct hub *h, const struct notice *n)
{
    struct hub_event ev = {
        .seq = ++h->event_seq,
        .time_s = clock_wall_s(),
        .device = n->device->name,
        .from = n->from,
        .to = n->to,
        .cause = n->a,
        .msg = n->b,
        .todo = n->c,
        .who = n->d,
    };

    log_event(LOG_FLIP, event_level(n), "flip", "device=%s from=%s to=%s cause=%s by=%s%s%s%s%s",
              ev.device, flip_phase_name(ev.from), flip_phase_name(ev.to), LOG_Q(ev.cause),
              LOG_Q(ev.who), *ev.msg == '\0' ? "" : " msg=", *ev.msg == '\0' ? "" : LOG_Q(ev.msg),
              *ev.todo == '\0' ? "" : " todo=", *ev.todo == '\0' ? "" : LOG_Q(ev.todo));
    h->sink.event(h->sink.arg, &ev);
}

/* The sessions are back on the old identity. */
static void back_on_old(struct hub *h, struct hub_device *d)
{
    if (!d->going_back)
        return;
    d->going_back = false;
    hub_apply(h, d, EV_ROLLED, &(struct hub_why){0});
}

/* Move all of `from` to `to`. */
static void list_take(struct list *to, struct list *from)
{
    list_init(to);
    while (!list_empty(from)) {
        struct list *first = from->next;

        list_del(first);
        list_add(to, first);
    }
}

static void do_device(struct hub *h, struct hub_device *d)
{
    if (d->dirty) {
        d->dirty = false;
        d->saved = d->flip;
        replace(&d->saved_reason, d->reason);
        d->retry = EV_NONE;
        replace(&d->retry_cause, NULL);
    }
    if (d->tell) {
        d->tell = false;
        tell_workers(h, d);
        if (!stands_on(d, FLIP_NEW)) /* nothing has to move for that */
            back_on_old(h, d);
    }
    wake_at(h, flip_due(&d->flip));
    if (d->touched && !d->dirty) {
        d->touched = false;
        h->sink.device_changed(h->sink.arg, d->name);
    }
}

/* Devices that decide anew while this is done are collected for the next round. */
static void do_all(struct hub *h)
{
    struct list devices, notices;

    list_take(&devices, &h->dirty);
    list_take(&notices, &h->notices);
    while (!list_empty(&devices)) {
        struct hub_device *d = list_entry(devices.next, struct hub_device, dirty_link);

        list_del(&d->dirty_link);
        do_device(h, d);
    }
    list_for_each_safe (it, &notices) {
        struct notice *n = list_entry(it, struct notice, link);

        if (n->kind == NOTICE_EVENT)
            tell_event(h, n);
        notice_free(n);
    }
}

int hub_flush(struct hub *h, struct err *err)
{
    /* What is done may bring about one more decision, which is flushed in turn; it ends as no
     * device decides twice without news. */
    do {
        struct err why = {0};
        int rc = save_all(h, &why);

        if (rc != 0) {
            undo_all(h, &why);
            if (err != NULL)
                *err = why;
            return rc;
        }
        do_all(h);
        queue_work(h);
    } while (!list_empty(&h->dirty) || !list_empty(&h->notices));
    list_for_each (it, &h->moving)
        wake_at(h, list_entry(it, struct hub_device, queue_link)->moving_until_ms);
    return 0;
}

/* -- news of the workers -------------------------------------------------------------------------
 */

/* May a device have several connections at once, by some rule? */
static bool several_allowed(const struct conf *conf)
{
    for (size_t i = 0; i < conf->rule_count; i++)
        if (conf->rules[i].max_connections > 1)
            return true;
    return false;
}

/* The newest connection wins: the others of this device (with several allowed: of its client id)
 * are closed.  The worker that has the new one looks after its own. */
static void take_over(struct hub *h, struct hub_device *d, const struct hub_session *newest)
{
    bool several = several_allowed(h->snapshot->conf);

    list_for_each (it, &d->sessions) {
        const struct hub_session *s = list_entry(it, struct hub_session, link);
        struct msg *m;

        if (s->worker == newest->worker ||
            (several && strcmp(s->client_id, newest->client_id) != 0))
            continue;
        m = device_msg(MSG_KICK, d->name);
        if (m == NULL)
            return;
        m->session_id = newest->id;
        snprintf(m->u.kick.text, sizeof(m->u.kick.text), "taken over by a connection from %s",
                 newest->peer);
        h->sink.post(h->sink.arg, s->worker, m);
    }
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
    memcpy(s->listener, m->u.up.listener, sizeof(s->listener));
    memcpy(s->peer, m->u.up.peer, sizeof(s->peer));
    memcpy(s->client_id, m->u.up.client_id, sizeof(s->client_id));
    memcpy(s->tls, m->u.up.tls, sizeof(s->tls));
    memcpy(s->fp, m->u.up.fp, sizeof(s->fp));
    list_init(&s->link);
    take_over(h, d, s);
    list_add(&d->sessions, &s->link);
    d->session_count++;
    hub_touch(h, d);
}

static void on_down(struct hub *h, struct hub_device *d, const struct msg *m)
{
    struct hub_session *s = session_find(d, m->session_id);

    if (s == NULL)
        return;
    session_free(s);
    d->session_count--;
    hub_touch(h, d);
    if (d->session_count != 0)
        return;
    turn_end(h, d);
    if (d->queued) {
        queue_leave(h, d);
        d->tell = true;
    }
    if (d->flip.phase == FLIP_TRIAL && d->flip.accepted)
        hub_apply(h, d, EV_LOST, &(struct hub_why){.msg = m->u.down.text});
}

static void remember_leg(struct hub_device *d, const struct msg *m)
{
    if (d->leg == NULL && (d->leg = calloc(1, sizeof(*d->leg))) == NULL)
        return;
    d->leg->what = m->u.leg.what;
    d->leg->slot = m->u.leg.slot;
    d->leg->since_s = clock_wall_s();
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

static void on_accepted(struct hub *h, struct hub_device *d, const struct msg *m)
{
    if (m->u.leg.slot == FLIP_NEW) {
        d->suspects = 0;
        hub_apply(h, d, EV_ACCEPTED, &(struct hub_why){0});
    } else if (d->trying_old) {
        struct hub_why why = {.msg = "the new identity failed where the old one is accepted"};

        if (d->error != NULL && d->error->slot == FLIP_NEW)
            why = (struct hub_why){d->error->diag.name, d->error->diag.sentence,
                                   d->error->diag.remedy, NULL};
        hub_apply(h, d, EV_OLD_ACCEPTED, &why);
    } else {
        back_on_old(h, d);
    }
}

/* A suspicion is settled by trying the old identity.  Where a connection with the old one stands,
 * there is nothing to try: it takes several failures in a row to believe that the new one is at
 * fault. */
static void on_suspect(struct hub *h, struct hub_device *d, const struct msg *m)
{
    struct hub_why why = why_of(m);

    if (d->flip.phase == FLIP_TRIAL && stands_on(d, FLIP_OLD)) {
        d->suspects++;
        if (d->suspects < h->snapshot->conf->flip.attempts)
            return;
        if (hub_apply(h, d, EV_SUSPECT, &why) == 0)
            hub_apply(h, d, EV_OLD_ACCEPTED, &why);
        return;
    }
    hub_apply(h, d, EV_SUSPECT, &why);
}

static void on_failed(struct hub *h, struct hub_device *d, const struct msg *m)
{
    struct hub_why why = why_of(m);

    if (m->u.leg.slot == FLIP_OLD) {
        if (!d->trying_old)
            return;
        d->trying_old = false; /* both fail: not the identity; back to what was being tried */
        d->seq++;
        d->tell = true;
        note(h, d);
        hub_apply(h, d, EV_LOST, &why);
        return;
    }
    switch (m->u.leg.diag.class) {
    case DIAG_IDENTITY:
        hub_apply(h, d, EV_REJECTED, &why);
        break;
    case DIAG_SUSPECT:
        on_suspect(h, d, m);
        break;
    case DIAG_OK:
    case DIAG_TRUST:
    case DIAG_NETWORK:
    case DIAG_BROKER:
    case DIAG_PROTOCOL:
    case DIAG_POLICY:
    case DIAG_CLASSES:
        hub_apply(h, d, EV_LOST, &why);
        break;
    }
}

static void on_leg(struct hub *h, struct hub_device *d, const struct msg *m)
{
    struct hub_session *s = session_find(d, m->session_id);
    bool accepted = m->u.leg.what == MSG_LEG_ACCEPTED;

    remember_leg(d, m);
    if (!accepted)
        remember_error(d, m);
    if (s != NULL && accepted)
        s->leg = (int)m->u.leg.slot;
    else if (s != NULL && m->u.leg.what == MSG_LEG_LOST && s->leg == (int)m->u.leg.slot)
        s->leg = -1;
    hub_touch(h, d);
    if (m->u.leg.flip_seq != d->told_seq || d->queued)
        return; /* news of an earlier decision */
    turn_end(h, d);
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

void hub_message(struct hub *h, struct msg *m)
{
    struct hub_device *d = *m->device == '\0' ? NULL : hub_find(h, m->device);

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
        if (m->worker < h->sink.workers) {
            h->stats[m->worker] = m->u.stats;
            h->stats_ms[m->worker] = hub_now(h);
        }
        break;
    case MSG_CONF:
    case MSG_DEVICE:
    case MSG_DEVICE_GONE:
    case MSG_KICK:
    case MSG_POLL:
    case MSG_STOP:
    case MSG_STOPPED:
        break;
    }
    msg_free(m);
}

/* -- commands ------------------------------------------------------------------------------------
 */

static int refuse_slot(const struct hub *h, const struct hub_device *d, enum flip_slot slot,
                       struct rpc_fault *f)
{
    if (d->fault[slot] != NULL)
        return rpc_refuse(f, RPC_NO_IDENTITY, "mend the file, then: certflipctl reload",
                          "device %s: the %s identity cannot be used: %s", d->name,
                          flip_slot_name(slot), d->fault[slot]);
    return rpc_refuse(
        f, RPC_NO_IDENTITY, "put chain.pem and key.pem there, then: certflipctl reload",
        "device %s: there is no %s identity in %s/%s/%s", d->name, flip_slot_name(slot),
        h->snapshot->conf->identities_dir, d->name, flip_slot_name(slot));
}

static int refuse_phase(const struct hub_device *d, enum flip_event ev, struct rpc_fault *f)
{
    char text[400];
    enum rpc_code code =
        ev == EV_FLIP && d->flip.phase == FLIP_ROLLED_BACK ? RPC_QUARANTINED : RPC_PHASE;

    return rpc_refuse(f, code, NULL, "%s", flip_explain(&d->flip, ev, d->name, text, sizeof(text)));
}

static void set_terms(struct hub *h, struct hub_device *d, const struct hub_terms *terms)
{
    const struct conf_flip *conf = &h->snapshot->conf->flip;
    int64_t now = hub_now(h);

    d->flip.confirm = terms->confirm;
    d->flip.max_attempts = conf->attempts;
    d->flip.probation_ms =
        terms->probation_ms == 0 ? (int64_t)conf->probation_s * 1000 : terms->probation_ms;
    d->flip.confirm_ms = terms->confirm_ms == 0 ? FLIP_DEFAULT_CONFIRM_MS : terms->confirm_ms;
    d->flip.begin_by_ms = 0;
    if (terms->not_after_s != 0) {
        d->flip.begin_by_ms = now + (terms->not_after_s - clock_wall_s()) * 1000;
        if (d->flip.begin_by_ms < 1)
            d->flip.begin_by_ms = 1; /* before the machine was started */
    }
}

static int check_fingerprint(const struct hub_device *d, const char *given, struct rpc_fault *f)
{
    char have[CERT_FP_TEXT];
    uint8_t fp[CERT_FP_BYTES];

    if (given == NULL)
        return rpc_refuse(f, RPC_INVALID_PARAMS, NULL,
                          "device %s: no fingerprint: name the certificate that the far side saw",
                          d->name);
    if (str_unhex(given, fp, sizeof(fp)) != 0)
        return rpc_refuse(f, RPC_INVALID_PARAMS, NULL,
                          "device %s: the fingerprint is not 64 hexadecimal digits", d->name);
    if (d->cred[FLIP_NEW] == NULL || memcmp(fp, cred_leaf(d->cred[FLIP_NEW])->fp, sizeof(fp)) == 0)
        return 0;
    str_hex(have, cred_leaf(d->cred[FLIP_NEW])->fp, CERT_FP_BYTES);
    return rpc_refuse(
        f, RPC_FINGERPRINT,
        "the far side still sees another certificate: look at the broker, or roll back",
        "device %s: that is not the certificate under trial, which is %s", d->name, have);
}

/* Is the device there already? */
static bool is_done(const struct hub_device *d, enum flip_event ev)
{
    switch ((int)ev) {
    case EV_FLIP:
        return d->flip.phase == FLIP_TRIAL || d->flip.phase == FLIP_COMMITTED;
    case EV_ROLLBACK:
        return d->flip.phase == FLIP_ROLLED_BACK;
    case EV_CONFIRMED:
        return d->flip.phase == FLIP_COMMITTED;
    case EV_CLEARED:
        return d->flip.phase == FLIP_STAGED;
    default:
        return false;
    }
}

int hub_command(struct hub *h, struct hub_device *d, enum flip_event ev,
                const struct hub_terms *terms, const char *fingerprint, const char *text,
                const char *who, bool *changed, struct rpc_fault *f)
{
    struct flip before = d->flip;
    int rc;

    *changed = false;
    if (fingerprint != NULL && check_fingerprint(d, fingerprint, f) != 0)
        return -1;
    if (is_done(d, ev))
        return 0;
    if (ev == EV_FLIP && d->cred[FLIP_NEW] == NULL)
        return refuse_slot(h, d, FLIP_NEW, f);
    if (ev == EV_ROLLBACK && d->cred[FLIP_OLD] == NULL && d->flip.phase != FLIP_STEADY)
        return refuse_slot(h, d, FLIP_OLD, f);
    if (ev == EV_FLIP) {
        set_terms(h, d, terms);
    }
    if (ev == EV_ROLLBACK && text == NULL)
        text = "by command";
    rc = hub_apply(h, d, ev, &(struct hub_why){.msg = text, .who = who});
    if (rc == 0) {
        *changed = true;
        d->retry = EV_NONE; /* whoever commands is told when it fails, and may command again */
        return 0;
    }
    d->flip = before;
    if (rc == -ERR_TIMEOUT)
        return rpc_refuse(f, RPC_TOO_LATE, "give a later not_after_s, and check the clocks",
                          "device %s: the time after which it shall not begin has passed", d->name);
    if (rc == -ERR_INVALID)
        return rpc_refuse(f, RPC_INVALID_PARAMS, NULL, "device %s: the terms are out of bounds",
                          d->name);
    return refuse_phase(d, ev, f);
}

/* -- questions -----------------------------------------------------------------------------------
 */

void hub_count(const struct hub *h, struct hub_counts *out)
{
    *out = (struct hub_counts){.total = h->count, .queued = h->queue_count};
    for (size_t i = 0; i < h->count; i++) {
        const struct hub_device *d = h->sorted[i];

        out->phase[d->flip.phase]++;
        out->sessions += d->session_count;
        out->online += d->session_count != 0;
        out->faulty += d->cred[flip_active_slot(&d->flip)] == NULL;
    }
}

const struct hub_refused *hub_refused(const struct hub *h, size_t *count)
{
    *count = h->refused_count;
    return h->refused;
}

void hub_stats(const struct hub *h, struct worker_stats *out, int64_t *age_ms)
{
    int64_t now = hub_now(h);

    *out = (struct worker_stats){0};
    *age_ms = 0;
    for (unsigned w = 0; w < h->sink.workers; w++) {
        const struct worker_stats *s = &h->stats[w];

        if (h->stats_ms[w] == 0)
            *age_ms = -1;
        else if (*age_ms >= 0 && now - h->stats_ms[w] > *age_ms)
            *age_ms = now - h->stats_ms[w];
#define SUM(name) out->name += s->name;
        HUB_STATS(SUM)
#undef SUM
        out->hold_us_max = s->hold_us_max > out->hold_us_max ? s->hold_us_max : out->hold_us_max;
    }
}

const struct conf *hub_conf(const struct hub *h)
{
    return h->snapshot->conf;
}

struct wk_snapshot *hub_snapshot(const struct hub *h)
{
    return h->snapshot;
}

unsigned hub_workers(const struct hub *h)
{
    return h->sink.workers;
}

void hub_poll(struct hub *h)
{
    struct msg *m = msg_new(MSG_POLL);

    if (m != NULL)
        hub_post_all(h, m);
}

/* -- life ----------------------------------------------------------------------------------------
 */

struct hub *hub_new(const struct hub_sink *sink, struct store *store, struct wk_snapshot *snapshot,
                    struct err *err)
{
    struct hub *h = calloc(1, sizeof(*h));

    if (h == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    h->sink = *sink;
    h->store = store;
    list_init(&h->dirty);
    list_init(&h->notices);
    list_init(&h->trials);
    list_init(&h->queue);
    list_init(&h->moving);
    h->snapshot = snapshot_ref(snapshot);
    h->by_name = map_new();
    h->stats = calloc(sink->workers, sizeof(*h->stats));
    h->stats_ms = calloc(sink->workers, sizeof(*h->stats_ms));
    if (h->by_name == NULL || h->stats == NULL || h->stats_ms == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        hub_free(h);
        return NULL;
    }
    return h;
}

void hub_free(struct hub *h)
{
    if (h == NULL)
        return;
    notices_drop(h);
    for (size_t i = 0; i < h->count; i++)
        hub_device_free(h->sorted[i]);
    free(h->sorted);
    map_free(h->by_name);
    snapshot_unref(h->snapshot);
    free(h->stats);
    free(h->stats_ms);
    free(h);
}

int hub_start(struct hub *h, struct err *err)
{
    struct hub_reload ignored = {0};
    int rc = store_value_get(h->store, "event-seq", &h->event_seq, err);

    if (rc == 0)
        rc = hub_scan(h, true, &ignored, err);
    return rc;
}

int hub_reload(struct hub *h, struct wk_snapshot *snapshot, struct hub_reload *out, struct err *err)
{
    struct msg *m = msg_new(MSG_CONF);
    int rc;

    if (m == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    snapshot_unref(h->snapshot);
    h->snapshot = snapshot_ref(snapshot);
    m->u.conf = snapshot_ref(snapshot);
    hub_post_all(h, m);
    rc = hub_scan(h, false, out, err);
    if (rc == 0)
        rc = hub_flush(h, err);
    return rc;
}
