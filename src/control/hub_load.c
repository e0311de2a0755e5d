/* control/hub_load.c - which devices there are, by their folders, and what a start or a change on
 * disk means for each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "control/hub_inside.h"
#include "identity/files.h"
#include "identity/slots.h"
#include "tls/keyring.h"

struct scan {
    struct hub *hub;
    bool starting;
    struct hub_reload *out;
    struct map *seen; /* values are the devices themselves */
    struct err *err;
};

/* -- devices -- */

static struct hub_device *device_new(struct hub *h, const char *name)
{
    struct hub_device *d = calloc(1, sizeof(*d));

    if (d == NULL)
        return NULL;
    list_init(&d->sessions);
    list_init(&d->queue_link);
    list_init(&d->dirty_link);
    flip_init(&d->flip);
    d->saved = d->flip;
    d->seq = 1;
    d->presence = presence_new();
    d->sensor = "";
    d->name = strdup(name);
    if (h->count == h->capacity) {
        size_t capacity = h->capacity == 0 ? 64 : 2 * h->capacity;
        struct hub_device **more = realloc(h->sorted, capacity * sizeof(struct hub_device *));

        if (more == NULL) {
            hub_device_free(d);
            return NULL;
        }
        h->sorted = more;
        h->capacity = capacity;
    }
    if (d->name == NULL || map_put(h->by_name, name, d) != 0) {
        hub_device_free(d);
        return NULL;
    }
    h->sorted[h->count++] = d;
    return d;
}

static void tell_gone(struct hub *h, struct hub_device *d)
{
    struct msg *m = hub_device_msg(MSG_DEVICE_GONE, d->name);

    log_event(LOG_CONTROL, LOG_NOTICE_, "device-gone", "device=%s msg=%s", d->name,
              LOG_Q("its folder is not there any more"));
    if (m != NULL)
        hub_post_all(h, m);
}

/* Forget the devices that have no folder any more; their rows stay in the store. */
static void forget_gone(struct hub *h, struct map *seen, struct hub_reload *out)
{
    size_t kept = 0;

    for (size_t i = 0; i < h->count; i++) {
        struct hub_device *d = h->sorted[i];

        if (map_get(seen, d->name) != NULL) {
            h->sorted[kept++] = d;
            continue;
        }
        out->gone++;
        h->look_epoch++;
        tell_gone(h, d);
        map_del(h->by_name, d->name);
        hub_turn_end(h, d, PACE_VOID);
        hub_queue_leave(h, d);
        heap_del(&h->due, &d->due);
        hub_recount(h, d, true);
        h->sensors_unsaved -= d->sensor_unsaved;
        h->sink.device_changed(h->sink.arg, d->name);
        hub_device_free(d);
    }
    h->count = kept;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct hub_device *const *)a)->name, (*(struct hub_device *const *)b)->name);
}

/* -- what is on disk -- */

static void take_fault(struct hub_device *d, enum flip_slot slot, const struct err *fault)
{
    const char *text = fault->code == 0 ? NULL : fault->msg;
    char where[200];
    size_t n = (size_t)snprintf(where, sizeof(where), "device %s: %s identity: ", d->name,
                                flip_slot_name(slot));

    if (text != NULL && strncmp(text, where, n) == 0)
        text += n; /* those who show it say so themselves */

    if (text != NULL && (d->fault[slot] == NULL || strcmp(d->fault[slot], text) != 0))
        log_event(LOG_CERT, LOG_WARN_, "identity-unusable", "device=%s slot=%s msg=%s", d->name,
                  flip_slot_name(slot), LOG_Q(text));
    free(d->fault[slot]);
    d->fault[slot] = text == NULL ? NULL : strdup(text);
}

/* What the former old identity was refused says nothing of this one. */
static void forget_refusals(struct hub_device *d)
{
    free(d->refusals);
    d->refusals = NULL;
}

/* Returns a bit for each slot whose identity changed, or a negative code.  *is_another: the new
 * identity is not the one that was last usable: files that cannot be read for a while change
 * nothing. */
static int load(struct hub *h, struct hub_device *d, bool *is_another, struct err *err)
{
    char fp[CERT_FP_TEXT];
    struct slots on_disk = {0};
    int rc = slots_load(h->snapshot->conf->identities_dir, d->name, &on_disk, err);
    int changed = 0;

    if (rc != 0)
        return rc;
    d->behind = false;
    for (int slot = 0; slot < FLIP_SLOTS; slot++) {
        struct cred *cred = on_disk.cred[slot];

        take_fault(d, (enum flip_slot)slot, &on_disk.fault[slot]);
        d->present[slot] = on_disk.present[slot];
        if (d->csr_since_s[slot] != on_disk.csr_since_s[slot])
            hub_touch(h, d);
        d->csr_since_s[slot] = on_disk.csr_since_s[slot];
        if (!cred_equal(cred, d->cred[slot]))
            changed |= 1 << slot;
        else if (!h->lint_anew && (cred == NULL || cred_rest(cred) == cred_rest(d->cred[slot])))
            continue; /* the same key under another passphrase is the same identity */
        cred_unref(d->cred[slot]);
        d->cred[slot] = cred == NULL ? NULL : cred_ref(cred);
        hub_lint_look(h, d, (enum flip_slot)slot);
    }
    slots_fini(&on_disk);
    if (d->refusals != NULL && d->cred[FLIP_OLD] != NULL) {
        str_hex(fp, cred_leaf(d->cred[FLIP_OLD])->fp, CERT_FP_BYTES);
        if (strcmp(fp, d->refusals->fp) != 0)
            forget_refusals(d);
    }
    if (!d->present[FLIP_NEW]) {
        d->new_fp[0] = '\0';
    } else if (d->cred[FLIP_NEW] != NULL) {
        str_hex(fp, cred_leaf(d->cred[FLIP_NEW])->fp, CERT_FP_BYTES);
        *is_another = strcmp(fp, d->new_fp) != 0;
        snprintf(d->new_fp, sizeof(d->new_fp), "%s", fp);
    }
    return changed;
}

/* -- what was saved -- */

/* CLOCK_BOOTTIME of a wall time; 0 stays 0. */
static int64_t to_boot_ms(const struct hub *h, int64_t wall_s)
{
    int64_t boot_ms;

    if (wall_s == 0)
        return 0;
    boot_ms = (wall_s - hub_wall_s(h)) * 1000 + hub_now(h);
    return boot_ms < 1 ? 1 : boot_ms;
}

static bool same_boot(const struct hub *h, const struct store_device *row)
{
    return *row->boot != '\0' && h->sink.boot != NULL && strcmp(row->boot, h->sink.boot) == 0;
}

/* By when it has to begin: as CLOCK_BOOTTIME has it, or the wall clock after a reboot.  When that
 * one cannot be right, what was left is left still. */
static void take_begin_by(struct hub *h, struct hub_device *d, const struct store_device *row)
{
    bool believed;

    if (row->begin_by_s == 0 || same_boot(h, row))
        return;
    if (row->saved_s == 0) { /* of an earlier version */
        d->flip.begin_by_ms = to_boot_ms(h, row->begin_by_s);
        return;
    }
    d->flip.begin_by_ms =
        flip_dead_after_reboot((row->begin_by_s - row->saved_s) * 1000, row->saved_s, hub_wall_s(h),
                               hub_now(h), &believed);
}

/* The deadline of a row that was written before the machine was booted.  Where the wall clock
 * cannot be believed nobody knows how long it was off: nothing is taken from the wait, but the
 * attempt counts, whether the sensor is there or not, so that this cannot go on for ever. */
static void take_deadline(struct hub *h, struct hub_device *d, const struct store_device *row)
{
    bool believed;

    if (d->flip.dead_ms == 0 || same_boot(h, row))
        return;
    d->flip.dead_ms = flip_dead_after_reboot(row->dead_left_ms, row->saved_s, hub_wall_s(h),
                                             hub_now(h), &believed);
    d->must_count = !believed;
    if (!believed)
        log_event(LOG_FLIP, LOG_WARN_, "clock-not-believed", "device=%s msg=%s todo=%s", d->name,
                  LOG_Q("the wall clock cannot be right, so what was left of the time to confirm "
                        "is left still"),
                  LOG_Q("set the clock of this gateway: see timedatectl"));
}

/* What the old identity was refused, if it is that one still. */
static void take_refusals(struct hub_device *d, const struct store_device *row)
{
    char fp[CERT_FP_TEXT];

    if (row->refused[0] == 0 || d->cred[FLIP_OLD] == NULL)
        return;
    str_hex(fp, cred_leaf(d->cred[FLIP_OLD])->fp, CERT_FP_BYTES);
    if (strcmp(fp, row->fp[FLIP_OLD]) != 0 ||
        (d->refusals = calloc(1, sizeof(*d->refusals))) == NULL)
        return;
    memcpy(d->refusals->fp, fp, sizeof(fp));
    while (d->refusals->n < STORE_REFUSALS && row->refused[d->refusals->n] != 0) {
        d->refusals->key[d->refusals->n] = row->refused[d->refusals->n];
        d->refusals->n++;
    }
}

#define TIME_MAX_S (INT64_C(1) << 41)

static bool is_time(int64_t s)
{
    return s >= 0 && s <= TIME_MAX_S;
}

/* What contradicts itself in a row, before anything is reckoned with it; or NULL. */
static const char *row_broken(const struct store_device *row)
{
    if (!is_time(row->saved_s) || !is_time(row->begin_by_s) ||
        row->dead_left_ms < -TIME_MAX_S * 1000 || row->dead_left_ms > TIME_MAX_S * 1000)
        return "times that cannot be";
    return NULL;
}

static void take_row(struct hub *h, struct hub_device *d, const struct store_device *row)
{
    const char *broken;

    d->flip = row->flip;
    broken = row_broken(row);
    if (broken == NULL) {
        take_begin_by(h, d, row);
        take_deadline(h, d, row);
        broken = flip_broken(&d->flip);
    }
    if (broken != NULL) {
        log_event(LOG_STORE, LOG_ERROR_, "row-damaged", "device=%s msg=%s todo=%s", d->name,
                  LOG_Q(broken), LOG_Q("it starts with its old identity"));
        flip_init(&d->flip);
    }
    d->changed_s = d->saved_changed_s = row->changed_s;
    take_refusals(d, row);
    d->saved = d->flip;
    if (d->flip.phase != FLIP_STEADY && d->flip.phase != FLIP_STAGED) {
        hub_proof_copy(&d->proof, &row->proof);
        hub_proof_copy(&d->saved_proof, &row->proof);
    }
    if (*row->reason != '\0' && d->flip.phase == FLIP_ROLLED_BACK) {
        d->reason = strdup(row->reason);
        d->saved_reason = strdup(row->reason);
    }
    hub_set_due(h, d);
}

/* -- what it means
 * --------------------------------------------------------------------------------- */

static void back_without_new(struct hub *h, struct hub_device *d)
{
    char text[700];

    snprintf(text, sizeof(text), "the new identity cannot be used any more: %s",
             d->fault[FLIP_NEW] == NULL ? "its files are gone" : d->fault[FLIP_NEW]);
    hub_apply(
        h, d, EV_ROLLBACK,
        &(struct hub_why){.cause = "identity-lost",
                          .msg = text,
                          .todo = "install the new identity again, then: certflipctl reload"});
}

/* Another identity than the one that has begun to prove itself: it has all of that before it.  Who
 * confirmed that one named its fingerprint. */
static void forget_proof(struct hub *h, struct hub_device *d)
{
    flip_forget(&d->flip);
    hub_proof_copy(&d->proof, NULL);
    hub_set_due(h, d);
    d->another = d->unsaved = d->dirty = true; /* its fingerprint is part of the row */
    hub_note(h, d);
}

/* Go on with a trial after a restart.  What uses up its attempts is that it was tried and did not
 * come to an end, not that the gateway was started while the sensor was away. */
static void resume(struct hub *h, struct hub_device *d, bool new_changed)
{
    bool used_up = d->flip.attempts >= d->flip.max_attempts;

    if (new_changed)
        forget_proof(h, d);
    hub_apply(
        h, d, EV_RESTARTED,
        &(struct hub_why){
            .cause = used_up ? "exhausted" : NULL,
            .msg = used_up ? "started anew so often during the trial that its attempts are used up"
                           : NULL});
    if (used_up || d->must_count)
        return;
    d->flip.attempts--;
    d->uncounted = true;
}

static void begin_anew(struct hub *h, struct hub_device *d)
{
    d->retry = EV_NONE; /* news of the other one decides nothing any more */
    d->rejected = d->trying_old = false;
    hub_apply(h, d, EV_LOST,
              &(struct hub_why){.cause = "identity-changed",
                                .msg = "the new identity was replaced during its trial"});
    forget_proof(h, d);
    d->seq++;
    d->tell = true;
}

/* `new_changed`: since the phase was decided. */
static void settle(struct hub *h, struct hub_device *d, bool starting, bool new_changed)
{
    const struct hub_why why = {0};

    switch (d->flip.phase) {
    case FLIP_STEADY:
        if (d->cred[FLIP_NEW] != NULL && !hub_lint_keeps(d))
            hub_apply(h, d, EV_INSTALLED, &why);
        break;
    case FLIP_STAGED:
    case FLIP_ROLLED_BACK:
        if (!d->present[FLIP_NEW])
            hub_apply(h, d, EV_DISCARDED, &why);
        else if (hub_lint_keeps(d) && d->flip.phase == FLIP_STAGED)
            hub_apply(h, d, EV_DISCARDED,
                      &(struct hub_why){.cause = "lint",
                                        .msg = d->lint_text,
                                        .todo = "install another one, then: certflipctl reload"});
        else if (new_changed && d->cred[FLIP_NEW] != NULL && !hub_lint_keeps(d))
            hub_apply(h, d, EV_INSTALLED, &why);
        break;
    case FLIP_TRIAL:
        if (d->cred[FLIP_NEW] == NULL)
            back_without_new(h, d);
        else if (starting)
            resume(h, d, new_changed);
        else if (new_changed)
            begin_anew(h, d);
        break;
    case FLIP_COMMITTED:
        if (d->cred[FLIP_NEW] == NULL && d->cred[FLIP_OLD] != NULL)
            back_without_new(h, d);
        break;
    case FLIP_PHASES:
        break;
    }
}

/* The files of a retirement have been moved, and the power went before its row was written. */
static bool is_retired(const struct hub_device *d, const struct store_device *row)
{
    char fp[CERT_FP_TEXT];

    if (d->flip.phase != FLIP_COMMITTED || d->present[FLIP_NEW] || d->cred[FLIP_OLD] == NULL ||
        *row->fp[FLIP_NEW] == '\0')
        return false;
    str_hex(fp, cred_leaf(d->cred[FLIP_OLD])->fp, CERT_FP_BYTES);
    return strcmp(fp, row->fp[FLIP_NEW]) == 0;
}

/* What a power cut has left of a change of the files. */
static void sweep(struct scan *s, const char *name)
{
    struct store_device *row = calloc(1, sizeof(*row));
    struct err err = {0};
    int rc;

    if (row == NULL)
        return;
    if (store_device_get(s->hub->store, name, row, NULL) != 0)
        row->fp[FLIP_OLD][0] = '\0';
    rc = files_sweep(s->hub->snapshot->conf->identities_dir, name, row->fp[FLIP_OLD], &err);
    free(row);
    if (rc > 0)
        log_event(LOG_CONTROL, LOG_NOTICE_, "retire-undone", "device=%s msg=%s todo=%s", name,
                  LOG_Q("the power went while its old identity was being archived; it is back"),
                  LOG_Q("retire it again"));
    else if (rc < 0)
        log_event(LOG_CONTROL, LOG_WARN_, "sweep-failed", "device=%s msg=%s", name, LOG_Q(err.msg));
}

static int start_device(struct scan *s, struct hub_device *d)
{
    struct store_device *row = calloc(1, sizeof(*row));
    bool new_changed = false, retired = false;
    int rc;

    if (row == NULL)
        return err_set(s->err, ERR_NOMEM, "out of memory");
    rc = store_device_get(s->hub->store, d->name, row, NULL);
    if (rc == 0) {
        take_row(s->hub, d, row);
        if (d->present[FLIP_NEW] && d->cred[FLIP_NEW] == NULL)
            snprintf(d->new_fp, sizeof(d->new_fp), "%s", row->fp[FLIP_NEW]);
        new_changed = strcmp(d->new_fp, row->fp[FLIP_NEW]) != 0;
        retired = is_retired(d, row);
    } else if (rc != -ERR_NOT_FOUND) {
        rc = store_device_get(s->hub->store, d->name, row, s->err); /* now for the sentence */
        free(row);
        return rc;
    } else {
        d->dirty = d->unsaved = true; /* it is known from now on, also when its folder is gone */
    }
    free(row);
    hub_lint_fault(d);
    if (retired)
        hub_apply(s->hub, d, EV_RETIRED,
                  &(struct hub_why){.msg = "its files had been moved when the power went"});
    else
        settle(s->hub, d, true, new_changed);
    d->tell = true; /* every device, whatever came out */
    hub_touch(s->hub, d);
    return 0;
}

static int each(void *arg, const char *name)
{
    struct scan *s = arg;
    struct hub_device *d = hub_find(s->hub, name);
    bool kept = d != NULL && hub_lint_keeps(d);
    bool is_new = d == NULL, is_another = false;
    int changed;

    if (is_new && (d = device_new(s->hub, name)) == NULL)
        return err_set(s->err, ERR_NOMEM, "device %s: out of memory", name);
    if (map_put(s->seen, name, d) != 0)
        return err_set(s->err, ERR_NOMEM, "device %s: out of memory", name);
    if (s->starting)
        sweep(s, name);
    changed = load(s->hub, d, &is_another, s->err);
    hub_recount(s->hub, d, false); /* a fault alone is nothing for a flush */
    if (changed < 0)
        return changed == -ERR_NOT_FOUND ? 0 : changed;
    if (is_new) {
        s->out->added++;
        return start_device(s, d);
    }
    hub_lint_fault(d);
    hub_recount(s->hub, d, false);
    if (changed == 0 && kept != hub_lint_keeps(d)) {
        settle(s->hub, d, s->starting, false);
        hub_touch(s->hub, d);
    }
    if (changed == 0)
        return 0;
    s->out->changed++;
    log_event(LOG_CONTROL, LOG_NOTICE_, "identity-changed", "device=%s slots=%s%s%s", name,
              (changed & 1) != 0 ? "old" : "", changed == 3 ? "," : "",
              (changed & 2) != 0 ? "new" : "");
    settle(s->hub, d, s->starting, is_another);
    crash_point("reload.identity");
    hub_post_device(s->hub, d, true);
    crash_point("reload.identity-told");
    hub_touch(s->hub, d);
    return 0;
}

static int look_only(void *arg, const char *name)
{
    (void)arg;
    (void)name;
    return 0;
}

int hub_scan_check(const struct conf *conf, struct err *err)
{
    int rc = slots_scan(conf->identities_dir, look_only, NULL, err);

    return rc < 0 ? rc : 0;
}

/* Keys that lie on disk otherwise than they would be written now. */
static void tell_keys_at_rest(const struct hub *h)
{
    const char *first = NULL;
    unsigned plain = 0, former = 0;

    if (!keyring_encrypts())
        return;
    for (size_t i = 0; i < h->count; i++)
        for (int slot = 0; slot < FLIP_SLOTS; slot++) {
            const struct cred *cred = h->sorted[i]->cred[slot];

            if (cred == NULL || cred_rest(cred) == CRED_ENCRYPTED || cred_rest(cred) == CRED_TOKEN)
                continue;
            plain += cred_rest(cred) == CRED_PLAIN;
            former += cred_rest(cred) == CRED_FORMER;
            if (first == NULL)
                first = h->sorted[i]->name;
        }
    if (first != NULL)
        log_event(LOG_CONTROL, LOG_WARN_, "keys-at-rest",
                  "plain=%u former=%u first=%s msg=%s todo=%s", plain, former, first,
                  LOG_Q("there are private keys that are not encrypted, or under a former "
                        "passphrase"),
                  LOG_Q("write them anew: certflipctl rekey"));
}

int hub_scan(struct hub *h, bool starting, struct hub_reload *out, struct err *err)
{
    struct scan s = {.hub = h, .starting = starting, .out = out, .seen = map_new(), .err = err};
    int rc;

    if (s.seen == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    rc = slots_scan(h->snapshot->conf->identities_dir, each, &s, err);
    if (rc >= 0) {
        if (err->code != 0)
            log_event(LOG_CONTROL, LOG_WARN_, "folders-passed-over", "msg=%s", LOG_Q(err->msg));
        *err = (struct err){0};
        forget_gone(h, s.seen, out);
        rc = 0;
    }
    if (h->count > 1)
        qsort(h->sorted, h->count, sizeof(struct hub_device *), by_name);
    if (rc == 0)
        tell_keys_at_rest(h);
    map_free(s.seen);
    return rc;
}

/* The last one of the list goes to where its name belongs. */
static void sort_in(struct hub *h)
{
    struct hub_device *d = h->sorted[h->count - 1];
    size_t at = h->count - 1;

    for (; at > 0 && strcmp(h->sorted[at - 1]->name, d->name) > 0; at--)
        h->sorted[at] = h->sorted[at - 1];
    h->sorted[at] = d;
}

int hub_load_device(struct hub *h, const char *name, struct err *err)
{
    struct hub_reload out = {0};
    struct scan s = {.hub = h, .out = &out, .seen = map_new(), .err = err};
    size_t count = h->count;
    int rc;

    if (s.seen == NULL)
        return err_set(err, ERR_NOMEM, "device %s: out of memory", name);
    rc = each(&s, name);
    if (h->count > count)
        sort_in(h);
    if (rc == 0 && out.added > 0)
        hub_post_device(h, hub_find(h, name), true);
    map_free(s.seen);
    return rc;
}
