/* control/hub.c - see hub.h: the devices, the questions and commands about them.
 *
 * How a decision goes: news -> hub_apply -> flip_step -> its actions are noted on the device ->
 * hub_flush: one transaction for all that was noted, then messages to the workers, then events,
 * logs and timers.  A decision has a number (seq); the workers echo the number that their session
 * has seen, so news of an earlier decision is known as such and decides nothing.
 */
#include "control/hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/rand.h"
#include "control/hub_inside.h"

int64_t hub_now(const struct hub *h)
{
    return h->sink.now_ms(h->sink.arg);
}

int64_t hub_wall_s(const struct hub *h)
{
    return h->sink.wall_s(h->sink.arg);
}

/* -- devices -- */

void hub_session_free(struct hub_session *s)
{
    list_del(&s->link);
    free(s->exception);
    free(s);
}

void hub_device_free(struct hub_device *d)
{
    if (d == NULL)
        return;
    list_for_each_safe (it, &d->sessions)
        hub_session_free(list_entry(it, struct hub_session, link));
    list_del(&d->queue_link);
    list_del(&d->dirty_link);
    for (int slot = 0; slot < FLIP_SLOTS; slot++) {
        cred_unref(d->cred[slot]);
        cred_unref(d->lint_counted[slot]);
        free(d->fault[slot]);
    }
    free(d->lint_text);
    presence_unref(d->presence);
    free(d->name);
    free(d->reason);
    free(d->saved_reason);
    free(d->proof);
    free(d->saved_proof);
    free(d->refusals);
    free(d->retry_cause);
    hub_change_free(d->change);
    free(d->leg);
    free(d->error);
    free(d);
}

int64_t hub_event_seq(const struct hub *h, int64_t *epoch)
{
    *epoch = h->epoch;
    return h->event_seq;
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

void hub_note(struct hub *h, struct hub_device *d)
{
    list_del(&d->dirty_link);
    list_add(&h->dirty, &d->dirty_link);
}

void hub_touch(struct hub *h, struct hub_device *d)
{
    d->touched = true;
    hub_note(h, d);
}

/* There are as many as there were ever anchors, so none is dropped. */
const char *hub_anchor_name(struct hub *h, const char *fp)
{
    char *kept = *fp == '\0' ? NULL : map_get(h->anchors, fp);

    if (*fp == '\0' || kept != NULL)
        return kept == NULL ? "" : kept;
    kept = strdup(fp);
    if (kept == NULL || map_put(h->anchors, fp, kept) != 0) {
        free(kept);
        return "";
    }
    return kept;
}

struct hub_session *hub_session_find(struct hub_device *d, uint64_t id)
{
    list_for_each (it, &d->sessions) {
        struct hub_session *s = list_entry(it, struct hub_session, link);

        if (s->id == id)
            return s;
    }
    return NULL;
}

/* Does some live session of the device stand on this slot? */
bool hub_stands_on(const struct hub_device *d, enum flip_slot slot)
{
    list_for_each (it, &d->sessions)
        if (list_entry(it, struct hub_session, link)->leg == (int)slot)
            return true;
    return false;
}

/* -- commands -- */

static int refuse_slot(const struct hub *h, const struct hub_device *d, enum flip_slot slot,
                       struct rpc_fault *f)
{
    char todo[300];

    if (d->fault[slot] != NULL)
        return rpc_refuse(f, RPC_NO_IDENTITY, "mend the file, then: certflipctl reload",
                          "device %s: the %s identity cannot be used: %s", d->name,
                          flip_slot_name(slot), d->fault[slot]);
    if (d->csr_since_s[slot] != 0) {
        snprintf(
            todo, sizeof(todo),
            "have its request signed (certflipctl export %s --csr), then: certflipctl install %s FILE",
            d->name, d->name);
        return rpc_refuse(f, RPC_NO_IDENTITY, todo,
                          "device %s: the key in the %s slot waits for its certificate", d->name,
                          flip_slot_name(slot));
    }
    snprintf(
        todo, sizeof(todo),
        "make a key for one: certflipctl keygen %s; or take one in: certflipctl import %s FILE",
        d->name, d->name);
    return rpc_refuse(f, RPC_NO_IDENTITY, todo, "device %s: there is no %s identity in %s/%s/%s",
                      d->name, flip_slot_name(slot), h->snapshot->conf->identities_dir, d->name,
                      flip_slot_name(slot));
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

    unsigned evidence = terms->evidence != 0                   ? terms->evidence
                        : conf->evidence == CONF_EVIDENCE_ECHO ? FLIP_PROOF_ECHO
                                                               : FLIP_PROOF_CONNACK;

    d->flip.confirm = terms->confirm;
    d->flip.evidence = evidence & FLIP_PROOF_ECHO;
    d->flip.max_attempts = conf->attempts;
    d->flip.probation_ms =
        terms->probation_ms == 0 ? (int64_t)conf->probation_s * 1000 : terms->probation_ms;
    d->flip.confirm_ms = terms->confirm_ms == 0 ? FLIP_DEFAULT_CONFIRM_MS : terms->confirm_ms;
    d->flip.begin_by_ms = 0;
    if (terms->not_after_s != 0) {
        d->flip.begin_by_ms = now + (terms->not_after_s - hub_wall_s(h)) * 1000;
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
    case EV_CONFIRMED: /* perhaps what else is to be proven is awaited still */
        return d->flip.phase == FLIP_COMMITTED ||
               (d->flip.phase == FLIP_TRIAL && (d->flip.proven & FLIP_PROOF_CENTRAL) != 0);
    case EV_COMMIT:
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
    if (ev == EV_FLIP && hub_refuse_behind(d, f) != 0)
        return -1;
    if (ev == EV_FLIP && hub_lint_refuse(h, d, terms->force, who, f) != 0)
        return -1;
    if (ev == EV_ROLLBACK && d->cred[FLIP_OLD] == NULL && d->flip.phase != FLIP_STEADY)
        return refuse_slot(h, d, FLIP_OLD, f);
    if (ev == EV_ROLLBACK && text == NULL)
        text = "by command";
    if (ev == EV_COMMIT && text == NULL && (flip_missing(&d->flip) & FLIP_PROOF_ECHO) != 0)
        text = "by command, without the echo that was demanded";
    /* Whoever commands is told when it cannot be saved, and may command again; but news that could
     * not be saved before still waits. */
    enum flip_event retry = d->retry;
    char *retry_cause = d->retry_cause;
    bool fell = d->fell;
    d->retry_cause = NULL;
    d->tried_old = d->trying_old;
    /* An error of lint has kept it from being staged; it is over, or overridden. */
    if (ev == EV_FLIP && d->flip.phase == FLIP_STEADY &&
        hub_apply(h, d, EV_INSTALLED, &(struct hub_why){.who = who}) == 0)
        before = d->flip;
    if (ev == EV_FLIP)
        set_terms(h, d, terms);
    rc = hub_apply(h, d, ev, &(struct hub_why){.msg = text, .who = who});
    free(d->retry_cause);
    d->retry = retry;
    d->retry_cause = retry_cause;
    d->fell = fell;
    if (rc == 0) {
        *changed = d->commanded = true;
        hub_lint_fault(d); /* what is in use is no fault any more */
        if (ev == EV_FLIP && d->session_count == 0) {
            d->flip.attempts = 0; /* until there is a sensor to try it with */
            d->uncounted = true;
        }
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

/* -- questions -- */

static struct hub_share share_of(const struct hub_device *d)
{
    bool stuck = d->cred[flip_active_slot(&d->flip)] == NULL;

    return (struct hub_share){
        .counted = true,
        .stuck = stuck,
        .faulty = stuck || d->fault[FLIP_OLD] != NULL || d->fault[FLIP_NEW] != NULL,
        .phase = d->flip.phase,
        .sessions = d->session_count,
    };
}

void hub_recount(struct hub *h, struct hub_device *d, bool gone)
{
    struct hub_counts *c = &h->counts;
    const struct hub_share was = d->share;

    hub_lint_count(h, d, gone);
    if (was.counted) {
        c->phase[was.phase]--;
        c->sessions -= was.sessions;
        c->online -= was.sessions != 0;
        c->faulty -= was.faulty;
        c->stuck -= was.stuck;
    }
    d->share = gone ? (struct hub_share){0} : share_of(d);
    if (!d->share.counted)
        return;
    c->phase[d->share.phase]++;
    c->sessions += d->share.sessions;
    c->online += d->share.sessions != 0;
    c->faulty += d->share.faulty;
    c->stuck += d->share.stuck;
}

void hub_count(const struct hub *h, struct hub_counts *out)
{
    *out = h->counts;
    out->total = h->count;
    out->queued = h->queue_count;
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
        histogram_merge(&out->holds, &s->holds);
        histogram_merge(&out->device_handshakes, &s->device_handshakes);
        histogram_merge(&out->broker_handshakes, &s->broker_handshakes);
    }
}

void hub_tally(const struct hub *h, struct hub_tally *out)
{
    *out = h->tally;
}

void hub_worker(const struct hub *h, unsigned worker, struct hub_worker *out)
{
    *out = (struct hub_worker){
        .age_ms = h->stats_ms[worker] == 0 ? -1 : hub_now(h) - h->stats_ms[worker],
        .answer_ms = h->answer_ms[worker],
        .sessions = h->stats[worker].sessions,
    };
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

int hub_silent_worker(const struct hub *h, int64_t ms)
{
    int64_t now = hub_now(h);

    for (unsigned w = 0; w < h->sink.workers; w++) {
        int64_t since = h->stats_ms[w] != 0 ? h->stats_ms[w] : h->polled_ms;
        if (since != 0 && now - since > ms)
            return (int)w;
    }
    return -1;
}

void hub_with_flush(struct hub *h, const struct hub_also *also)
{
    if (h->also.save != NULL) /* a command of a batch, which is flushed by itself */
        (void)hub_flush(h, NULL);
    h->also = *also;
}

void hub_swap(struct hub *h, struct wk_snapshot *snapshot)
{
    struct msg *m = msg_new(MSG_CONF);

    snapshot_ref(snapshot);
    snapshot_unref(h->snapshot);
    h->snapshot = snapshot;
    if (m == NULL) {
        log_event(LOG_CONTROL, LOG_ERROR_, "message-lost", "kind=%d cause=no-memory",
                  (int)MSG_CONF);
        return;
    }
    m->u.conf = snapshot_ref(snapshot);
    crash_point("trust.tell");
    hub_post_all(h, m);
    crash_point("trust.told");
    if (h->sink.trust_changed != NULL)
        h->sink.trust_changed(h->sink.arg);
}

void hub_poll(struct hub *h)
{
    if (h->polled_ms == 0)
        h->polled_ms = hub_now(h);
    for (unsigned w = 0; w < h->sink.workers; w++)
        if (h->asked_ms[w] == 0)
            h->asked_ms[w] = hub_now(h);

    struct msg *m = msg_new(MSG_POLL);

    h->sensors_due = h->sensors_unsaved != 0;
    if (m != NULL)
        hub_post_all(h, m);
}

/* -- life -- */

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
    h->look_epoch = clock_wall_ms();
    list_init(&h->dirty);
    list_init(&h->notices);
    list_init(&h->queue);
    list_init(&h->back);
    pace_init(&h->pace);
    list_init(&h->moving);
    h->snapshot = snapshot_ref(snapshot);
    h->by_name = map_new();
    h->anchors = map_new();
    h->stats = calloc(sink->workers, sizeof(*h->stats));
    h->stats_ms = calloc(sink->workers, sizeof(*h->stats_ms));
    h->asked_ms = calloc(sink->workers, sizeof(*h->asked_ms));
    h->answer_ms = calloc(sink->workers, sizeof(*h->answer_ms));
    if (h->by_name == NULL || h->anchors == NULL || h->stats == NULL || h->stats_ms == NULL ||
        h->asked_ms == NULL || h->answer_ms == NULL || hub_lint_init(h) != 0) {
        err_set(err, ERR_NOMEM, "out of memory");
        hub_free(h);
        return NULL;
    }
    return h;
}

static void anchors_free(struct hub *h)
{
    const char *key;
    void *value;
    size_t it = 0;

    while (h->anchors != NULL && map_next(h->anchors, &it, &key, &value))
        free(value);
    map_free(h->anchors);
}

void hub_free(struct hub *h)
{
    if (h == NULL)
        return;
    if (h->also.undone != NULL)
        h->also.undone(h->also.arg);
    hub_notices_drop(h);
    for (size_t i = 0; i < h->count; i++)
        hub_device_free(h->sorted[i]);
    free(h->sorted);
    map_free(h->by_name);
    anchors_free(h);
    snapshot_unref(h->snapshot);
    hub_lint_drop(h->lint_anchors, h->lint_crls);
    hub_lint_fini(h);
    free(h->save_fault);
    hub_exceptions_free(h);
    free(h->stats);
    free(h->stats_ms);
    free(h->asked_ms);
    free(h->answer_ms);
    free(h);
}

static int take_sensor(void *arg, const char *device, const char *anchor)
{
    struct hub_device *d = hub_find(arg, device);

    if (d != NULL)
        d->sensor = hub_anchor_name(arg, anchor);
    return 0;
}

/* Events are counted on over restarts for as long as the database lives: another one counts anew,
 * which those who follow know by its epoch.  A start needs no room on the disk, so that is written
 * with the first event. */
static int read_count(struct hub *h, struct err *err)
{
    int rc = store_value_get(h->store, HUB_EVENT_SEQ, &h->event_seq, err);

    if (rc == 0)
        rc = store_value_get(h->store, HUB_EPOCH, &h->epoch, err);
    h->epoch_saved = h->epoch != 0;
    if (!h->epoch_saved)
        h->epoch = (int64_t)(rand_u64() >> 16 | 1);
    return rc;
}

int hub_start(struct hub *h, struct err *err)
{
    struct hub_reload ignored = {0};
    int rc = read_count(h, err);

    if (rc == 0)
        rc = hub_clock_start(h, err);
    if (rc == 0)
        rc = hub_lint_read(h->snapshot->conf, &h->lint_anchors, &h->lint_crls, err);
    if (rc == 0)
        rc = hub_scan(h, true, &ignored, err);
    if (rc == 0)
        rc = store_sensor_each(h->store, take_sensor, h, err);
    if (rc == 0)
        hub_clock_devices(h);
    return rc;
}

int hub_reload(struct hub *h, struct wk_snapshot *snapshot, struct hub_reload *out, struct err *err)
{
    struct lint_anchors *anchors = NULL;
    struct crl_set *crls = NULL;
    struct msg *m;
    int rc = hub_scan_check(snapshot->conf, err);

    if (rc == 0)
        rc = hub_lint_read(snapshot->conf, &anchors, &crls, err);
    if (rc == 0)
        rc = hub_flush(h, err); /* what is collected speaks of devices that may be gone next */
    m = rc == 0 ? msg_new(MSG_CONF) : NULL;
    if (rc == 0 && m == NULL)
        rc = err_set(err, ERR_NOMEM, "out of memory");
    if (rc != 0) {
        hub_lint_drop(anchors, crls);
        return rc;
    }
    *err = (struct err){0}; /* what it said of folders that are passed over is said again */
    out->begun = true;
    h->lint_anew =
        hub_lint_take(h, anchors, crls) || !hub_lint_same(h->snapshot->conf, snapshot->conf);
    snapshot_unref(h->snapshot);
    h->snapshot = snapshot_ref(snapshot);
    m->u.conf = snapshot_ref(snapshot);
    crash_point("reload.begin");
    hub_post_all(h, m);
    crash_point("reload.begun");
    rc = hub_scan(h, false, out, err);
    h->lint_anew = false;
    if (rc == 0)
        rc = hub_flush(h, err);
    return rc;
}

/* -- who watches -- */

uint64_t hub_look(struct hub *h, struct hub_device *d, uint64_t looks)
{
    if (d->look_rev == 0 || d->looks != looks) {
        d->looks = looks;
        d->look_rev = ++h->look_rev;
    }
    return d->look_rev;
}

int64_t hub_look_epoch(const struct hub *h)
{
    return h->look_epoch;
}
