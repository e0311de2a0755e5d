/* fleet/engine_wave.c - phases, waves, thresholds, halting: see engine_inside.h. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "fleet/engine_inside.h"

#define WHOLE 100000 /* thousandths of a percent */

/* -- counting ------------------------------------------------------------------------------------
 */

size_t engine_total(const struct engine *e, int wave)
{
    size_t n = 0;

    for (int s = 0; s < FLEET_DEVICE_STEP_COUNT; s++)
        if (s != FLEET_DEVICE_SKIPPED)
            n += e->by_wave[wave][s];
    return n;
}

static size_t succeeded(const struct engine *e, int wave)
{
    return e->by_wave[wave][FLEET_DEVICE_MIGRATED] + e->by_wave[wave][FLEET_DEVICE_VALIDATED] +
           e->by_wave[wave][FLEET_DEVICE_RETIRED];
}

bool engine_takes_part(const struct egateway *g)
{
    for (int s = 0; s < FLEET_DEVICE_STEP_COUNT; s++)
        if (s != FLEET_DEVICE_SKIPPED && g->count[s] > 0)
            return true;
    return false;
}

/* Neither success nor failure yet. */
static size_t undecided(const struct engine *e, int wave)
{
    return engine_total(e, wave) - succeeded(e, wave) - e->by_wave[wave][FLEET_DEVICE_FAILED];
}

size_t engine_left(const struct engine *e)
{
    size_t n = 0;

    for (int w = 0; w < e->c.waves; w++)
        n += engine_total(e, w) - e->by_wave[w][FLEET_DEVICE_VALIDATED] -
             e->by_wave[w][FLEET_DEVICE_RETIRED];
    return n;
}

static size_t sum(const struct engine *e, enum fleet_device_step step)
{
    size_t n = 0;

    for (int w = 0; w < e->c.waves; w++)
        n += e->by_wave[w][step];
    return n;
}

/* `good` of `all` are enough.  Whole numbers, so that the bound itself passes. */
static bool meets(const struct engine *e, size_t good, size_t all)
{
    return (uint64_t)good * WHOLE >= (uint64_t)all * e->conf->waves.threshold;
}

/* Those of it that can still succeed are not enough any more. */
static bool is_lost(const struct engine *e, size_t total, size_t failed, size_t failed_counting)
{
    size_t all = total - (failed - failed_counting); /* those that do not count are not there */

    return failed_counting > 0 && !meets(e, all - failed_counting, all);
}

bool engine_in_return(const struct engine *e, const struct edevice *d)
{
    return d->wave >= e->c.back_from && d->wave <= e->c.back_to &&
           (d->step == FLEET_DEVICE_FLIPPING || d->step == FLEET_DEVICE_MIGRATED ||
            d->step == FLEET_DEVICE_VALIDATED);
}

static size_t to_return(const struct engine *e)
{
    size_t n = 0;

    for (int w = e->c.back_from < 0 ? 0 : e->c.back_from; w <= e->c.back_to; w++)
        n += e->by_wave[w][FLEET_DEVICE_FLIPPING] + e->by_wave[w][FLEET_DEVICE_MIGRATED] +
             e->by_wave[w][FLEET_DEVICE_VALIDATED];
    return n;
}

/* -- modes ---------------------------------------------------------------------------------------
 */

static void touch_all(struct engine *e)
{
    for (size_t i = 0; i < e->gateway_count; i++)
        engine_touch_gateway(e, e->gateways[i]);
}

/* What is to be rolled back must not be flipped by a command that is on its way still. */
static void call_back(struct engine *e)
{
    list_for_each_safe (it, &e->requests) {
        struct erequest *r = list_entry(it, struct erequest, all);

        if (r->order == ORDER_FLIP || r->order == ORDER_CONFIRM || r->order == ORDER_CLEAR)
            engine_request_end(e, r);
    }
    for (size_t i = 0; i < e->device_count; i++) {
        struct edevice *d = e->all[i];

        if (!engine_in_return(e, d))
            continue;
        d->answered = false;
        d->wait_s = 0;
        engine_touch_device(e, d);
    }
}

void engine_mode(struct engine *e, enum fleet_mode mode, const char *reason)
{
    e->c.mode = mode;
    e->c.changed_s = e->now_s;
    if (reason != NULL) { /* else it is what it was */
        snprintf(e->c.reason, sizeof(e->c.reason), "%s", reason);
        str_tidy(e->c.reason);
    }
    e->save_campaign = true;
    if (mode == FLEET_RETURNING)
        call_back(e);
    touch_all(e);
}

/* `wave` goes back; -1: none. */
static void halt_wave(struct engine *e, int wave, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));

static void halt_wave(struct engine *e, int wave, const char *fmt, va_list ap)
{
    char text[512];

    vsnprintf(text, sizeof(text), fmt, ap);
    str_tidy(text);
    engine_note(e, "halted", NULL, NULL, "%s", text);
    e->c.back_from = e->c.back_to = wave;
    engine_mode(e, e->c.back_from >= 0 && to_return(e) > 0 ? FLEET_RETURNING : FLEET_HALTED, text);
}

void engine_halt(struct engine *e, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    halt_wave(e, e->c.phase == FLEET_MIGRATE ? e->c.wave : -1, fmt, ap);
    va_end(ap);
}

static void halt_for(struct engine *e, int wave, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void halt_for(struct engine *e, int wave, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    halt_wave(e, wave, fmt, ap);
    va_end(ap);
}

static void phase(struct engine *e, enum fleet_phase next)
{
    e->c.phase = next;
    e->c.changed_s = e->now_s;
    e->save_campaign = true;
    engine_note(e, "phase", NULL, NULL, "%s: %s", fleet_phase_name(next), fleet_phase_words(next));
    touch_all(e);
}

/* -- waves ---------------------------------------------------------------------------------------
 */

static const char *wave_name(const struct engine *e, int wave, char *out, size_t n)
{
    size_t pilot = e->conf->waves.pilot > 0 ? 1 : 0;
    size_t at = (size_t)wave - pilot;

    if (wave == 0 && pilot == 1)
        snprintf(out, n, "the pilot");
    else if (at < e->conf->waves.percent_count)
        snprintf(out, n, "wave %d (%u %%)", wave, e->conf->waves.percent[at]);
    else
        snprintf(out, n, "wave %d", wave);
    return out;
}

/* The next wave that has any devices; after the last one they are validated. */
static void next_wave(struct engine *e)
{
    char name[64];
    int wave = e->c.wave + 1;

    while (wave < e->c.waves && engine_total(e, wave) == 0)
        wave++;
    if (wave >= e->c.waves) {
        phase(e, FLEET_VALIDATE);
        return;
    }
    e->c.wave = wave;
    e->c.changed_s = e->now_s;
    e->c.wave_begun_s = e->c.soak_until_s = 0;
    e->save_campaign = true;
    engine_note(e, "wave-begun", NULL, NULL, "%s: %zu devices", wave_name(e, wave, name, 64),
                engine_total(e, wave));
    touch_all(e);
}

static const char *latest(const struct engine *e)
{
    return e->last_failure[0] == '\0' ? "see certflip-fleet stragglers" : e->last_failure;
}

static void halt_lost(struct engine *e, int wave, const char *what, size_t total, size_t failed)
{
    double best = total == 0 ? 0 : 100.0 * (double)(total - failed) / (double)total;

    halt_for(e, wave,
             "%s: %zu of %zu devices failed: at most %.3f %% can succeed, %.3f %% must; the "
             "latest: %s",
             what, failed, total, best, (double)e->conf->waves.threshold / 1000, latest(e));
}

/* No wave that was begun may have too many failures, not even late ones.  Returns whether it has
 * halted. */
static bool check_thresholds(struct engine *e)
{
    char name[64];

    for (int w = 0; w <= e->c.wave; w++) {
        size_t total = engine_total(e, w), failed = e->by_wave[w][FLEET_DEVICE_FAILED];

        if (is_lost(e, total, failed, e->failed[w])) {
            halt_lost(e, w, wave_name(e, w, name, sizeof(name)), total - failed + e->failed[w],
                      e->failed[w]);
            return true;
        }
    }
    return false;
}

/* Is this device of the wave waited for, and until when at most?  `since_s`: of its gateway being
 * away. */
static bool is_waited_for(const struct engine *e, const struct edevice *d, int64_t wave_s)
{
    const struct view_device *v = engine_seen(e, d);
    const struct view_gateway *g = view_gateway(e->view, d->gw->name);
    int64_t wait_s = (int64_t)e->conf->limits.offline_wait_s, since_s = wave_s;

    if (!d->gw->online) {
        if (g != NULL && g->since_s > since_s)
            since_s = g->since_s;
        return e->now_s < since_s + wait_s;
    }
    if (e->now_s < since_s + wait_s)
        return true;
    if (d->step == FLEET_DEVICE_READY) /* its turn comes: when a window opens, when there is room */
        return v != NULL;
    return d->step == FLEET_DEVICE_FLIPPING && v != NULL && v->online && d->on_trial;
}

/* Does the wave wait for any of its devices? */
static bool wave_waits(struct engine *e)
{
    int64_t wave_s = e->c.wave_begun_s != 0 ? e->c.wave_begun_s : e->c.changed_s;
    uint32_t most_s = e->conf->limits.wave_timeout_s;

    if (undecided(e, e->c.wave) == 0)
        return false;
    if (most_s != 0 && e->now_s >= wave_s + (int64_t)most_s)
        return false;
    if (e->swept_s == e->now_s && e->waits) /* once a second is enough */
        return true;
    e->swept_s = e->now_s;
    e->waits = false;
    for (size_t i = 0; i < e->gateway_count && !e->waits; i++) {
        for (int s = 0; s < FLEET_DEVICE_STEP_COUNT && !e->waits; s++) {
            if (s > FLEET_DEVICE_FLIPPING && s != FLEET_DEVICE_RETURNED)
                continue;
            list_for_each (it, &e->gateways[i]->at[s][e->c.wave]) {
                if (is_waited_for(e, list_entry(it, struct edevice, at), wave_s)) {
                    e->waits = true;
                    break;
                }
            }
        }
    }
    return e->waits;
}

/* Has anybody succeeded so far?  If so, a wave of which nobody could be reached may be passed by:
 * nothing was changed in it. */
static bool is_proven(const struct engine *e)
{
    size_t good = 0;

    for (int w = 0; w <= e->c.wave; w++)
        good += succeeded(e, w);
    return good > 0;
}

static void migrate(struct engine *e)
{
    int w = e->c.wave;
    size_t good, failed;
    char name[64];

    if (check_thresholds(e))
        return;
    if (w < 0) {
        next_wave(e);
        return;
    }
    if (wave_waits(e))
        return;
    good = succeeded(e, w);
    failed = e->failed[w];
    wave_name(e, w, name, sizeof(name));
    if (good == 0 && engine_total(e, w) > 0 && undecided(e, w) == 0 && !is_proven(e)) {
        engine_halt(
            e,
            "%s: all of its %zu devices failed, if only of classes that do not count; the latest: %s",
            name, engine_total(e, w), latest(e));
        return;
    }
    if (good == 0 && undecided(e, w) > 0 && !is_proven(e)) {
        engine_halt(e,
                    "%s: none of its %zu devices could be reached: bring them back, or skip them "
                    "(certflip-fleet skip), then resume",
                    name, engine_total(e, w));
        return;
    }
    if (!meets(e, good, good + failed)) {
        halt_lost(e, w, name, good + failed, failed);
        return;
    }
    if (e->c.soak_until_s == 0) {
        size_t left = undecided(e, w);

        e->c.soak_until_s = e->now_s + (int64_t)e->conf->waves.soak_s;
        e->save_campaign = true;
        engine_note(e, "wave-through", NULL, NULL,
                    "%s: %zu migrated, %zu failed, %zu stragglers; it proves itself for %u s", name,
                    good, e->by_wave[w][FLEET_DEVICE_FAILED], left, e->conf->waves.soak_s);
    }
    if (e->now_s >= e->c.soak_until_s)
        next_wave(e);
}

/* -- the other phases ----------------------------------------------------------------------------
 */

/* Every gateway that can be reached believes the new CAs, and has all of its new identities; those
 * that cannot be are made ready when they come, before their first flip. */
static void prepare(struct engine *e)
{
    size_t total = 0, failed = 0, counting = 0, ready = 0;
    bool all_skipped = true;

    for (int w = 0; w < e->c.waves; w++) {
        total += engine_total(e, w);
        failed += e->by_wave[w][FLEET_DEVICE_FAILED];
        counting += e->failed[w];
        ready += e->by_wave[w][FLEET_DEVICE_READY] + succeeded(e, w);
    }
    all_skipped = total == 0;
    if (is_lost(e, total, failed, counting)) {
        halt_lost(e, -1, "prepare", total - failed + counting, counting);
        return;
    }
    if (ready == 0 && !all_skipped) {
        if (failed == total)
            engine_halt(e,
                        "prepare: all %zu devices failed, if only in classes that do not count; "
                        "the latest: %s",
                        failed, latest(e));
        return;
    }
    for (size_t i = 0; i < e->gateway_count; i++) {
        const struct egateway *g = e->gateways[i];

        if (g->online && engine_takes_part(g) &&
            (!g->in_force || g->count[FLEET_DEVICE_PLANNED] > 0 ||
             g->count[FLEET_DEVICE_KEYED] > 0 || g->count[FLEET_DEVICE_SIGNED] > 0))
            return;
    }
    phase(e, FLEET_MIGRATE);
    next_wave(e);
}

static void validate(struct engine *e)
{
    size_t left = engine_left(e);
    size_t failed = sum(e, FLEET_DEVICE_FAILED) + sum(e, FLEET_DEVICE_RETURNED);

    if (left == 0)
        phase(e, FLEET_RETIRE);
    else if (left == failed)
        engine_halt(e,
                    "%zu devices are left on their old identities: mend the causes "
                    "(certflip-fleet stragglers) and resume, or skip them (certflip-fleet skip) "
                    "and resume; nothing is retired before",
                    left);
}

/* One that was validated is not on its new identity any more: nothing is retired until it is seen
 * there again, and no anchor that it may need is removed by a command that is on its way still. */
static void back_to_validate(struct engine *e)
{
    list_for_each_safe (it, &e->requests) {
        struct erequest *r = list_entry(it, struct erequest, all);

        if (r->order == ORDER_TRUST_REMOVE || r->order == ORDER_RETIRE)
            engine_request_end(e, r);
    }
    phase(e, FLEET_VALIDATE);
}

static void finish(struct engine *e)
{
    size_t refused = 0;
    char reason[200] = "";

    if (engine_left(e) > 0) {
        back_to_validate(e);
        return;
    }
    if (e->conf->retire.identities && sum(e, FLEET_DEVICE_VALIDATED) > 0)
        return;
    for (size_t i = 0; i < e->gateway_count; i++) {
        struct egateway *g = e->gateways[i];

        if (!engine_takes_part(g) || g->anchors_done || g->step == FLEET_GATEWAY_RETIRED) {
            refused += g->anchor_refused > 0 ? 1 : 0;
            continue;
        }
        if (e->conf->retire.anchor_count > 0)
            return;
        g->step = FLEET_GATEWAY_RETIRED; /* it may be gone: nothing is asked of it */
        g->changed_s = e->now_s;
        engine_save_gateway(e, g);
    }
    if (refused > 0)
        snprintf(reason, sizeof(reason),
                 "old anchors are in use still at %zu gateways, and were left there", refused);
    e->c.ended_s = e->now_s;
    phase(e, FLEET_FINISHED);
    engine_mode(e, FLEET_DONE, reason);
}

static void returning(struct engine *e)
{
    if (to_return(e) > 0)
        return;
    e->c.back_from = e->c.back_to = -1;
    engine_note(e, "rolled-back", NULL, NULL, "all of them are on their old identities");
    engine_mode(e, e->c.ended_s != 0 ? FLEET_ABORTED : FLEET_HALTED, NULL);
}

void engine_wave(struct engine *e)
{
    if (e->rc != 0)
        return;
    if (e->c.mode == FLEET_RETURNING) {
        returning(e);
        return;
    }
    if (e->c.mode != FLEET_RUNNING)
        return;
    switch (e->c.phase) {
    case FLEET_PREPARE:
        prepare(e);
        return;
    case FLEET_MIGRATE:
        migrate(e);
        return;
    case FLEET_VALIDATE:
        validate(e);
        return;
    case FLEET_RETIRE:
        finish(e);
        return;
    case FLEET_FINISHED:
    case FLEET_PHASE_COUNT:
        return;
    }
}
