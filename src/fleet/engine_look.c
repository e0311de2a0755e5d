/* fleet/engine_look.c - what the view shows, and which step of a device that makes: see
 * engine_inside.h. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "fleet/engine_inside.h"

static bool is_new(const struct edevice *d, const uint8_t fp[32])
{
    return engine_is_set(d->new_fp) && memcmp(d->new_fp, fp, 32) == 0;
}

bool engine_staged(const struct edevice *d, const struct view_device *v)
{
    return v != NULL && v->phase == VIEW_STAGED && v->fresh.present && is_new(d, v->fresh.fp);
}

/* The flip is committed; or even the old identity was archived since. */
static bool is_committed(const struct edevice *d, const struct view_device *v)
{
    return (v->phase == VIEW_COMMITTED && v->active_new && is_new(d, v->fresh.fp)) ||
           (v->phase == VIEW_STEADY && is_new(d, v->old.fp));
}

bool engine_has_new(const struct edevice *d, const struct view_device *v)
{
    return v != NULL && ((v->fresh.present && is_new(d, v->fresh.fp)) || is_committed(d, v));
}

bool engine_is_back(const struct edevice *d, const struct view_device *v)
{
    return v != NULL && !v->active_new && !is_new(d, v->old.fp) &&
           (v->phase == VIEW_STEADY || v->phase == VIEW_STAGED || v->phase == VIEW_ROLLED_BACK);
}

/* Rolled back at the edge: why, as far as the gateway says. */
static void fail_rolled_back(struct engine *e, struct edevice *d, const struct view_device *v)
{
    const char *failure = v->failure == NULL ? "rolled-back" : v->failure;

    if (d->step == FLEET_DEVICE_FLIPPING && d->attempts < e->conf->flip.attempts) {
        engine_note(e, "again", d->gw, d, "attempt %u of %u failed: [%s] %s", d->attempts,
                    e->conf->flip.attempts, failure, v->reason == NULL ? "" : v->reason);
        d->wait_s = e->now_s + ENGINE_RETRY_S;
        engine_set_step(e, d, FLEET_DEVICE_READY);
        return;
    }
    engine_fail(e, d, failure, v->reason != NULL ? v->reason : v->message, v->remedy);
}

static void gone(struct engine *e, struct edevice *d, const struct view_device *v)
{
    char reason[160];

    snprintf(reason, sizeof(reason),
             "the identity that the campaign has installed is not in use or staged any more: the "
             "device is %s",
             view_phase_name((enum view_phase)v->phase));
    engine_fail(e, d, "replaced", reason,
                "see who has changed it: audit.list of the gateway; resume tries again");
}

static void look_flipping(struct engine *e, struct edevice *d, const struct view_device *v)
{
    switch (v->phase) {
    case VIEW_TRIAL:
        d->on_trial = true;
        engine_set_moving(e, d, v->online);
        return;
    case VIEW_COMMITTED:
    case VIEW_STEADY:
        if (is_committed(d, v))
            engine_set_step(e, d, FLEET_DEVICE_MIGRATED);
        else if (d->on_trial || v->phase == VIEW_COMMITTED ||
                 (d->request == NULL && d->gw->online && engine_doubt(e, d)))
            gone(e, d, v);
        return;
    case VIEW_ROLLED_BACK:
        fail_rolled_back(e, d, v);
        return;
    case VIEW_STAGED:
        /* It did not begin in time, and waits for another order. */
        if (d->on_trial) {
            d->wait_s = e->now_s + 1;
            engine_unflip(e, d);
        }
        return;
    default:
        return;
    }
}

/* The order was answered long enough ago, and the view shows no trial: it has ended without having
 * begun, or the reply did not say that it was refused. */
static void look_unanswered(struct engine *e, struct edevice *d, const struct view_device *v)
{
    if (d->request == NULL && d->gw->online && v->phase == VIEW_STAGED && engine_doubt(e, d))
        engine_set_step(e, d, FLEET_DEVICE_READY);
}

static void look_ready(struct engine *e, struct edevice *d, const struct view_device *v)
{
    if (is_committed(d, v))
        engine_set_step(e, d, FLEET_DEVICE_MIGRATED); /* by hand, or before the ledger knew */
    else if (v->phase == VIEW_TRIAL && is_new(d, v->fresh.fp))
        engine_set_step(e, d, FLEET_DEVICE_FLIPPING);
    else if (v->phase == VIEW_ROLLED_BACK && d->attempts == 0)
        engine_fail(e, d, v->failure == NULL ? "rolled-back" : v->failure,
                    v->reason != NULL ? v->reason : v->message, v->remedy);
    else if (!is_new(d, v->fresh.fp) && d->request == NULL && engine_doubt(e, d))
        gone(e, d, v);
}

static void look_migrated(struct engine *e, struct edevice *d, const struct view_device *v)
{
    if (is_committed(d, v))
        return;
    if (v->phase == VIEW_ROLLED_BACK)
        fail_rolled_back(e, d, v);
    else if (engine_doubt(e, d))
        gone(e, d, v);
}

/* What is being rolled back is back when the command was answered, and the view shows so. */
static void look_return(struct engine *e, struct edevice *d, const struct view_device *v)
{
    if (d->step == FLEET_DEVICE_FLIPPING && v->phase == VIEW_ROLLED_BACK && !d->answered) {
        fail_rolled_back(e, d, v); /* by itself */
        return;
    }
    if (d->answered && d->request == NULL && engine_is_back(d, v)) {
        engine_set_step(e, d, FLEET_DEVICE_RETURNED);
        engine_note(e, "returned", d->gw, d, "is on its old identity");
    }
}

void engine_look(struct engine *e, struct edevice *d)
{
    const struct view_device *v = engine_seen(e, d);

    if (v == NULL)
        return;
    if (e->c.mode == FLEET_RETURNING) {
        if (engine_in_return(e, d))
            look_return(e, d, v);
        else if (d->step == FLEET_DEVICE_FLIPPING)
            look_flipping(e, d, v);
        return;
    }
    switch ((enum fleet_device_step)d->step) {
    case FLEET_DEVICE_SIGNED:
        if (engine_has_new(d, v) && d->request == NULL) {
            engine_set_step(e, d, FLEET_DEVICE_READY);
            look_ready(e, d, v);
        }
        return;
    case FLEET_DEVICE_READY:
        look_ready(e, d, v);
        return;
    case FLEET_DEVICE_FLIPPING:
        look_flipping(e, d, v);
        if (d->step == FLEET_DEVICE_FLIPPING && !d->on_trial)
            look_unanswered(e, d, v);
        return;
    case FLEET_DEVICE_MIGRATED:
    case FLEET_DEVICE_VALIDATED:
        look_migrated(e, d, v);
        return;
    case FLEET_DEVICE_FAILED:
    case FLEET_DEVICE_RETURNED:
        if (is_committed(d, v)) /* somebody has mended it by hand */
            engine_set_step(e, d, FLEET_DEVICE_MIGRATED);
        return;
    case FLEET_DEVICE_PLANNED:
    case FLEET_DEVICE_KEYED:
    case FLEET_DEVICE_RETIRED:
    case FLEET_DEVICE_SKIPPED:
    case FLEET_DEVICE_STEP_COUNT:
        return;
    }
}

/* -- gateways ------------------------------------------------------------------------------------
 */

static bool believes(const struct view_gateway *v, const struct campaign_anchor *a,
                     const struct campaign_ca *ca)
{
    const json_t *set =
        json_object_get(json_object_get(v->state, "trust"), campaign_set_name(a->set));
    const json_t *row;
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)set, i, row)
    {
        const char *fp = json_string_value(json_object_get(row, "fingerprint"));

        if (fp != NULL && strcmp(fp, ca->fp) == 0)
            return true;
    }
    return false;
}

/* The first CA of `trust` that its state does not show in force; NULL: there is none. */
static const struct campaign_ca *missing(const struct engine *e, const struct view_gateway *v)
{
    for (size_t i = 0; i < e->conf->trust_count; i++)
        for (size_t k = 0; k < e->conf->trust[i].ca_count; k++)
            if (!believes(v, &e->conf->trust[i], &e->conf->trust[i].cas[k]))
                return &e->conf->trust[i].cas[k];
    return NULL;
}

void engine_look_gateway(struct engine *e, struct egateway *g)
{
    const struct view_gateway *v = view_gateway(e->view, g->name);
    bool was = g->online;
    char text[160], when[32];

    g->online = v != NULL && v->known && v->online;
    if (!g->online) {
        if (v == NULL || !v->known)
            snprintf(text, sizeof(text), "the broker knows nothing of it: is it connected?");
        else if (v->since_s != 0)
            snprintf(text, sizeof(text), "offline since %s",
                     clock_text(v->since_s, when, sizeof(when)));
        else
            snprintf(text, sizeof(text), "offline");
        if (was || g->trouble == NULL)
            engine_trouble(e, g, text);
        g->in_force = false;
        return;
    }
    g->in_force = missing(e, v) == NULL;
    if (!was) {
        list_for_each (it, &g->requests)
            list_entry(it, struct erequest, at_gateway)->sent_s = 0;
        engine_trouble(e, g, NULL);
    }
    if (g->in_force && g->step == FLEET_GATEWAY_PLANNED) {
        g->step = FLEET_GATEWAY_TRUSTED;
        g->changed_s = e->now_s;
        engine_trouble(e, g, NULL);
        engine_save_gateway(e, g);
        if (e->conf->trust_count > 0)
            engine_note(e, "trusted", g, NULL, "the new anchors are in force");
    }
}
