/* control/hub_flush.c - what was collected is made durable, then done: workers told, turns given,
 * events published. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/rand.h"
#include "control/hub_inside.h"

#define TURN_SPARE_MS 10000 /* of a turn, beyond the deadlines of the upstream profile */
#define SAVE_CHUNK    256   /* rows written at a time */

/* -- telling the workers -- */

void hub_post_all(struct hub *h, struct msg *m)
{
    for (unsigned w = 0; w < h->sink.workers; w++) {
        struct msg *copy = w + 1 == h->sink.workers ? m : msg_new(m->kind);

        if (w > 0)
            crash_point("tell.next-worker");
        if (copy == NULL) {
            log_event(LOG_CONTROL, LOG_ERROR_, "message-lost", "worker=%u kind=%d cause=no-memory",
                      w, (int)m->kind);
            continue;
        }
        if (copy != m) {
            *copy = *m;
            list_init(&copy->link);
            if (m->kind == MSG_DEVICE) {
                presence_ref(m->u.dev.presence);
                for (int slot = 0; slot < FLIP_SLOTS; slot++)
                    copy->u.dev.cred[slot] =
                        m->u.dev.cred[slot] == NULL ? NULL : cred_ref(m->u.dev.cred[slot]);
            } else if (m->kind == MSG_CONF)
                copy->u.conf = snapshot_ref(m->u.conf);
        }
        h->sink.post(h->sink.arg, w, copy);
    }
}

struct msg *hub_device_msg(enum msg_kind kind, const char *name)
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
    struct msg *m = hub_device_msg(MSG_DEVICE, d->name);

    if (m == NULL)
        return;
    for (int slot = 0; slot < FLIP_SLOTS; slot++)
        m->u.dev.cred[slot] = d->cred[slot] == NULL ? NULL : cred_ref(d->cred[slot]);
    m->u.dev.presence = presence_ref(d->presence);
    m->u.dev.active = d->told_slot;
    m->u.dev.flip_seq = d->told_seq;
    if (d->flip.phase == FLIP_TRIAL && d->told_slot == FLIP_NEW)
        m->u.dev.evidence = flip_wanted(&d->flip);
    m->u.dev.identities_changed = identities_changed;
    m->u.dev.retired = d->retired;
    d->retired = false;
    hub_post_all(h, m);
}

/* The slot that the workers shall use, by the latest decision. */
static enum flip_slot wanted_slot(const struct hub_device *d)
{
    return d->trying_old ? FLIP_OLD : flip_active_slot(&d->flip);
}

static void tell_now(struct hub *h, struct hub_device *d)
{
    crash_point("tell.device");
    d->told_seq = d->seq;
    d->told_slot = wanted_slot(d);
    hub_post_device(h, d, false);
    crash_point("tell.device-told");
}

/* -- turns: how many move at once -- */

static struct pace_terms terms_of(const struct hub *h)
{
    const struct conf_flip *conf = &h->snapshot->conf->flip;

    return (struct pace_terms){.most = conf->concurrent, .jitter_ms = conf->jitter_ms};
}

void hub_pace(const struct hub *h, struct hub_pace *out)
{
    const struct pace_terms terms = terms_of(h);

    *out = (struct hub_pace){
        .waiting = h->queue_count,
        .moving = h->moving_count,
        .window = pace_window(&h->pace, &terms),
        .paused = h->pace.mood == PACE_PAUSED,
    };
}

static void tell_pause(const struct hub *h)
{
    if (h->pace.mood == PACE_PAUSED)
        log_event(LOG_FLIP, LOG_WARN_, "flips-paused", "waiting=%zu msg=%s todo=%s", h->queue_count,
                  LOG_Q("no broker can be reached; one device after the other tries it"),
                  LOG_Q("look at the uplink and the broker: the lines before this one say more"));
    else
        log_event(LOG_FLIP, LOG_NOTICE_, "flips-resumed", "waiting=%zu", h->queue_count);
}

void hub_turn_end(struct hub *h, struct hub_device *d, enum pace_end how)
{
    const struct pace_terms terms = terms_of(h);

    if (!d->moving)
        return;
    d->moving = false;
    h->moving_count--;
    list_del(&d->queue_link);
    if (pace_end(&h->pace, &terms, d->round, how, hub_now(h), (uint32_t)rand_u64()))
        tell_pause(h);
}

void hub_sign_of_life(struct hub *h)
{
    pace_sign_of_life(&h->pace, hub_now(h), (uint32_t)rand_u64());
}

void hub_queue_leave(struct hub *h, struct hub_device *d)
{
    if (!d->queued)
        return;
    d->queued = false;
    h->queue_count--;
    list_del(&d->queue_link);
}

void hub_hurry_back(struct hub *h, struct hub_device *d)
{
    if (!d->queued || wanted_slot(d) != FLIP_OLD)
        return;
    d->unhurried = false;
    d->tell = true;
    hub_note(h, d);
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
    hub_queue_leave(h, d);
    d->moving = true;
    d->moving_until_ms = hub_now(h) + turn_ms(h);
    d->round = pace_begin(&h->pace, hub_now(h), (uint32_t)rand_u64());
    h->moving_count++;
    list_add(&h->moving, &d->queue_link);
    tell_now(h, d);
    hub_touch(h, d);
}

/* Give turns to those who wait. */
static void queue_work(struct hub *h)
{
    const struct pace_terms terms = terms_of(h);
    int64_t now = hub_now(h), at_ms = 0;

    if (h->queue_count != 0 && !h->queueing)
        pace_queue(&h->pace, &terms, h->queue_count > 1, now, (uint32_t)rand_u64());
    h->queueing = h->queue_count != 0;
    while (h->queue_count != 0) {
        bool way_back = !list_empty(&h->back);
        struct list *line = way_back ? &h->back : &h->queue;

        if (!pace_may_begin(&h->pace, &terms, way_back, now, &at_ms)) {
            hub_wake_at(h, at_ms);
            return;
        }
        turn_begin(h, list_entry(line->next, struct hub_device, queue_link));
    }
    pace_idle(&h->pace);
}

/* Is there something to move that may wait?  Who relays on the new leg is whole until its turn for
 * the way back comes. */
static bool may_wait(const struct hub_device *d)
{
    bool on_new = hub_stands_on(d, FLIP_NEW);

    if (d->session_count == 0)
        return false;
    return wanted_slot(d) == FLIP_NEW ? !on_new : on_new && d->unhurried && !d->trying_old;
}

/* Carry out what was decided: at once, or when it is its turn. */
static void tell_workers(struct hub *h, struct hub_device *d)
{
    hub_turn_end(h, d, PACE_VOID);
    hub_queue_leave(h, d);
    if (!may_wait(d)) {
        tell_now(h, d);
        return;
    }
    d->queued = true;
    h->queue_count++;
    list_add(wanted_slot(d) == FLIP_NEW ? &h->queue : &h->back, &d->queue_link);
}

/* -- flush: durable, then done -- */

static void fill_row(const struct hub *h, const struct hub_device *d, struct store_device *row)
{
    memset(row, 0, sizeof(*row));
    snprintf(row->name, sizeof(row->name), "%s", d->name);
    row->flip = d->flip;
    row->saved_s = hub_wall_s(h);
    snprintf(row->boot, sizeof(row->boot), "%s", h->sink.boot == NULL ? "" : h->sink.boot);
    if (d->flip.begin_by_ms != 0) /* CLOCK_BOOTTIME starts anew with the machine */
        row->begin_by_s = row->saved_s + (d->flip.begin_by_ms - hub_now(h)) / 1000;
    if (d->flip.dead_ms != 0)
        row->dead_left_ms = d->flip.dead_ms - hub_now(h);
    if (d->proof != NULL)
        row->proof = *d->proof;
    if (d->refusals != NULL)
        memcpy(row->refused, d->refusals->key, sizeof(row->refused));
    for (int slot = 0; slot < FLIP_SLOTS; slot++)
        if (d->cred[slot] != NULL)
            str_hex(row->fp[slot], cred_leaf(d->cred[slot])->fp, CERT_FP_BYTES);
    if (d->cred[FLIP_NEW] == NULL)
        snprintf(row->fp[FLIP_NEW], sizeof(row->fp[FLIP_NEW]), "%s", d->new_fp);
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

/* The audit log is never cut.  A sensor that comes and goes is accepted again and again, and would
 * fill the disk with that before its trial ends. */
static bool is_within_trial(const struct notice *n)
{
    return n->from == FLIP_TRIAL && n->to == FLIP_TRIAL;
}

static void count_step(const struct notice *n)
{
    if (!is_within_trial(n))
        n->device->steps = 0;
    else if (n->device->steps < HUB_STEPS)
        n->device->steps++;
}

static bool is_for_audit(const struct notice *n)
{
    return !is_within_trial(n) || n->device->steps < HUB_STEPS;
}

static int save_event(struct hub *h, const struct notice *n, struct err *err)
{
    char what[64], outcome[900];

    snprintf(what, sizeof(what), "phase %s", flip_phase_name(n->to));
    snprintf(outcome, sizeof(outcome), "from %s: %s%s%s%s%s", flip_phase_name(n->from), n->a,
             *n->b == '\0' ? "" : ": ", n->b,
             n->proven == NULL ? "" : "; proven: ", n->proven == NULL ? "" : n->proven);
    return store_audit_add(h->store, n->d, what, n->device->name, outcome, err);
}

static int save_notices(struct hub *h, struct err *err)
{
    int64_t events = 0;
    int rc = 0;

    list_for_each (it, &h->notices) {
        const struct notice *n = list_entry(it, struct notice, link);

        crash_point("save.notice");
        switch (n->kind) {
        case NOTICE_EVENT:
            events++;
            rc = is_for_audit(n) ? save_event(h, n, err) : 0;
            break;
        case NOTICE_PROGRESS:
            events++;
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
    if (events != 0 && !h->epoch_saved)
        rc = store_value_put(h->store, HUB_EPOCH, h->epoch, err);
    if (events != 0 && rc == 0)
        rc = store_value_put(h->store, HUB_EVENT_SEQ, h->event_seq + events, err);
    return rc;
}

/* With whatever is saved anyhow, and with each poll. */
static int save_sensors(struct hub *h, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && h->sensors_unsaved != 0 && i < h->count; i++)
        if (h->sorted[i]->sensor_unsaved)
            rc = store_sensor_put(h->store, h->sorted[i]->name, h->sorted[i]->sensor, err);
    return rc;
}

static void sensors_saved(struct hub *h)
{
    for (size_t i = 0; h->sensors_unsaved != 0 && i < h->count; i++)
        h->sorted[i]->sensor_unsaved = false;
    h->sensors_unsaved = 0;
}

static bool anything_to_save(const struct hub *h)
{
    if (!list_empty(&h->notices) || h->also.save != NULL || h->sensors_due)
        return true;
    list_for_each (it, &h->dirty)
        if (list_entry(it, struct hub_device, dirty_link)->dirty)
            return true;
    return false;
}

const char *hub_save_fault(const struct hub *h, int64_t *when_s)
{
    *when_s = h->save_fault_s;
    return h->save_fault;
}

/* It is tried every few seconds: a line when it begins, when the fault is another one, and when it
 * is over. */
static void note_save_fault(struct hub *h, const char *fault)
{
    h->save_fault_s = clock_wall_s();
    if (fault == NULL ? h->save_fault == NULL
                      : h->save_fault != NULL && strcmp(h->save_fault, fault) == 0)
        return;
    if (fault == NULL)
        log_event(LOG_STORE, LOG_NOTICE_, "saves-again", "msg=%s",
                  LOG_Q("the state can be written again"));
    else
        log_event(LOG_STORE, LOG_ERROR_, "save-failed", "msg=%s todo=%s", LOG_Q(fault),
                  LOG_Q("nothing was changed; mend the state directory"));
    hub_replace(&h->save_fault, fault);
}

static int save_all(struct hub *h, struct err *err)
{
    int rc;

    if (!anything_to_save(h))
        return 0;
    crash_point("save.begin");
    rc = store_begin(h->store, err);
    if (rc != 0)
        return rc;
    if ((rc = save_devices(h, err)) != 0 || (rc = save_notices(h, err)) != 0 ||
        (rc = save_sensors(h, err)) != 0 ||
        (h->also.save != NULL && (rc = h->also.save(h->also.arg, h->store, err)) != 0)) {
        store_rollback(h->store);
        return rc;
    }
    crash_point("save.commit");
    rc = store_commit(h->store, err);
    crash_point("save.committed");
    if (rc != 0)
        return rc;
    note_save_fault(h, NULL);
    hub_clock_seen(h);
    sensors_saved(h);
    return 0;
}

/* What a command changes besides: carried out, or as it was. */
static void also_end(struct hub *h, bool saved)
{
    struct hub_also also = h->also;

    h->also = (struct hub_also){0};
    if (also.save == NULL)
        return;
    if (saved)
        also.done(also.arg);
    else
        also.undone(also.arg);
}

/* Does what could not be saved come of news?  A command that is refused changes nothing. */
static bool is_news(const struct hub_device *d)
{
    return d->retry != EV_NONE && !d->commanded;
}

/* Does the old identity serve the sensor, or has it to, as far as news goes?  A command that could
 * not be saved leaves that as it was. */
static bool old_serves(const struct hub_device *d)
{
    if (d->commanded)
        return d->tried_old;
    return is_news(d) && (d->trying_old || d->flip.phase == FLIP_ROLLED_BACK);
}

/* The device is as it was saved.  What was journalled cannot be changed, but a sensor must not be
 * left without service for that: the old identity, once it is being tried or has to be gone back
 * to, serves it until the rollback is durable.  And what has fallen proves nothing any more,
 * whatever was saved: probation must not end well because the disk was full. */
static void undo(struct hub *h, struct hub_device *d)
{
    bool resumed = d->retry == EV_RESTARTED && d->flip.phase == FLIP_TRIAL;
    bool uncounted = d->uncounted || d->saved.attempts == 0 || d->flip.attempts > d->saved.attempts;
    bool old = d->cred[FLIP_OLD] != NULL && old_serves(d);
    int64_t later = hub_now(h) + HUB_RETRY_MS;

    hub_change_undo(h, d);
    d->retired = false;
    d->flip = d->saved;
    if (d->fell)
        (void)flip_step(&d->flip, EV_LOST, hub_now(h));
    if (d->another)
        flip_forget(&d->flip);
    hub_phase_entered(h, d);
    hub_recount(h, d, false);
    if (flip_due(&d->flip) != 0 && flip_due(&d->flip) < later) /* not over and over */
        heap_put(&h->due, &d->due, later);
    d->changed_s = d->saved_changed_s;
    hub_replace(&d->reason, d->saved_reason);
    hub_proof_copy(&d->proof, d->another ? NULL : d->saved_proof);
    if (d->fell)
        hub_proof_fallen(d);
    d->trial_over = d->commanded = false;
    d->dirty = d->tell = false;
    d->going_back = d->going_back && d->flip.phase == FLIP_ROLLED_BACK;
    d->trying_old = old && flip_active_slot(&d->flip) == FLIP_NEW;
    d->touched = false;
    d->uncounted = uncounted && d->flip.phase == FLIP_TRIAL;
    if (resumed) /* which need not be saved before it is tried */
        d->retry = EV_NONE;
    if (d->retry != EV_NONE || d->unsaved || d->fell)
        h->retrying = true;
    if (!d->queued && (d->told_seq == 0 || d->another || d->told_slot != wanted_slot(d))) {
        d->seq++; /* the workers do not know the device yet, or another slot or identity of it */
        d->tell = true;
        hub_note(h, d);
    }
}

/* That the sessions are back changes no row; whoever follows is told when it can be written down.
 */
static void keep_rolled(struct hub *h)
{
    list_for_each (it, &h->notices) {
        const struct notice *n = list_entry(it, struct notice, link);

        if (n->kind != NOTICE_EVENT || n->device->dirty || n->from != n->to)
            continue;
        n->device->retry = EV_ROLLED;
        hub_replace(&n->device->retry_cause, n->a);
        h->retrying = true;
    }
}

/* The store failed: news from the workers is tried again later. */
static void undo_all(struct hub *h, const struct err *err)
{
    note_save_fault(h, err->msg);
    keep_rolled(h);
    hub_notices_drop(h);
    list_for_each_safe (it, &h->dirty) {
        struct hub_device *d = list_entry(it, struct hub_device, dirty_link);

        if (!d->dirty)
            continue;
        list_del(&d->dirty_link);
        undo(h, d);
    }
    if (store_settle(h->store) != 0)
        h->retrying = true;
    h->ticked_ms = hub_now(h);
    hub_look_again(h);
}

static enum log_level event_level(const struct notice *n)
{
    return n->to == FLIP_ROLLED_BACK && n->from != n->to ? LOG_WARN_ : LOG_NOTICE_;
}

static void count_event(struct hub *h, const struct notice *n)
{
    if (n->from == n->to)
        return;
    h->tally.transitions[n->from][n->to]++;
    if (n->to == FLIP_ROLLED_BACK)
        h->tally.rollbacks[n->event]++;
}

static void tell_progress(struct hub *h, const struct notice *n)
{
    const struct hub_progress p = {n->a, n->b, n->done, n->refused, n->total};
    const struct hub_event ev = {
        .seq = ++h->event_seq,
        .epoch = h->epoch,
        .time_s = clock_wall_s(),
        .progress = &p,
        .who = n->d,
    };

    h->epoch_saved = true;
    h->sink.event(h->sink.arg, &ev);
}

static void tell_event(struct hub *h, const struct notice *n)
{
    struct hub_event ev = {
        .seq = ++h->event_seq,
        .epoch = h->epoch,
        .time_s = clock_wall_s(),
        .device = n->device->name,
        .from = n->from,
        .to = n->to,
        .cause = n->a,
        .msg = n->b,
        .todo = n->c,
        .who = n->d,
        .proven = n->proven == NULL ? "" : n->proven,
    };

    h->epoch_saved = true;
    log_fact(LOG_FLIP, event_level(n), "flip", "device=%s from=%s to=%s cause=%s by=%s%s%s%s%s%s%s",
             ev.device, flip_phase_name(ev.from), flip_phase_name(ev.to), LOG_Q(ev.cause),
             LOG_Q(ev.who),
             *ev.proven == '\0' ? "" : " proven=", *ev.proven == '\0' ? "" : LOG_Q(ev.proven),
             *ev.msg == '\0' ? "" : " msg=", *ev.msg == '\0' ? "" : LOG_Q(ev.msg),
             *ev.todo == '\0' ? "" : " todo=", *ev.todo == '\0' ? "" : LOG_Q(ev.todo));
    count_event(h, n);
    h->sink.event(h->sink.arg, &ev);
}

/* The sessions are back on the old identity. */
void hub_back_on_old(struct hub *h, struct hub_device *d)
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
        d->dirty = d->unsaved = d->fell = d->another = false;
        d->saved = d->flip;
        d->saved_changed_s = d->changed_s;
        hub_replace(&d->saved_reason, d->reason);
        hub_proof_copy(&d->saved_proof, d->proof);
        d->retry = EV_NONE;
        hub_replace(&d->retry_cause, NULL);
    }
    d->commanded = false;
    hub_change_done(h, d);
    if (d->tell) {
        d->tell = false;
        tell_workers(h, d);
        if (d->session_count == 0 || hub_stands_on(d, FLIP_OLD)) /* nothing has to move for that */
            hub_back_on_old(h, d);
    }
    if (d->trial_over) {
        struct msg *m = hub_device_msg(MSG_TRIAL_OVER, d->name);

        d->trial_over = false;
        if (m != NULL)
            hub_post_all(h, m);
    }
    hub_wake_at(h, flip_due(&d->flip));
    hub_recount(h, d, false);
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

        if (n->kind == NOTICE_EVENT) {
            count_step(n);
            crash_point("tell.event");
            tell_event(h, n);
            crash_point("tell.event-told");
        } else if (n->kind == NOTICE_PROGRESS) {
            tell_progress(h, n);
        }
        hub_notice_free(n);
    }
}

static bool has_collected(const struct hub *h)
{
    return !list_empty(&h->dirty) || !list_empty(&h->notices);
}

int hub_flush(struct hub *h, struct err *err)
{
    bool done = false;

    /* What is done may bring about one more decision, which is flushed in turn; it ends as no
     * device decides twice without news.  When that one cannot be saved, what was asked for has
     * been done all the same. */
    do {
        struct err why = {0};
        int rc = save_all(h, &why);

        h->sensors_due = false; /* what failed is tried again with the next poll */
        if (rc != 0) {
            also_end(h, false);
            undo_all(h, &why);
            do_all(h); /* what needs no saving, such as who serves the sensors meanwhile */
            queue_work(h);
            if (done)
                return 0;
            if (err != NULL)
                *err = why;
            return rc;
        }
        also_end(h, true);
        do_all(h);
        queue_work(h);
        done = true;
    } while (has_collected(h));
    if (!list_empty(&h->moving))
        hub_wake_at(h, list_entry(h->moving.next, struct hub_device, queue_link)->moving_until_ms);
    return 0;
}

void hub_settle(struct hub *h)
{
    if (has_collected(h))
        (void)hub_flush(h, NULL);
}
