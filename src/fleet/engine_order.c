/* fleet/engine_order.c - what is asked of a gateway next: see engine_inside.h.
 *
 * One command of a kind is open at a gateway (of installations, a few), and each covers as many
 * devices as it may.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "control/rpc.h"
#include "fleet/engine_inside.h"

/* -- picking devices -----------------------------------------------------------------------------
 */

struct pick {
    struct edevice *devices[RPC_ROWS_MAX];
    size_t count, most;
};

static void later(struct egateway *g, int64_t at_s)
{
    if (g->look_s == 0 || g->look_s > at_s)
        g->look_s = at_s;
}

/* Is it its turn?  One that was in a command that was refused as a whole goes by itself. */
static bool may_pick(const struct engine *e, const struct pick *p, struct edevice *d)
{
    if (d->request != NULL || p->count == p->most || (d->alone && p->count > 0) ||
        (p->count == 1 && p->devices[0]->alone))
        return false;
    if (e->now_s < d->wait_s) {
        later(d->gw, d->wait_s);
        return false;
    }
    return true;
}

/* Take devices of a step, of waves up to `wave`, that `wants` approves of. */
static void pick(struct engine *e, struct egateway *g, enum fleet_device_step step, int wave,
                 bool (*wants)(struct engine *e, struct edevice *d), struct pick *p)
{
    for (int w = 0; w <= wave && w < CAMPAIGN_WAVES_MAX; w++) {
        list_for_each (it, &g->at[step][w]) {
            struct edevice *d = list_entry(it, struct edevice, at);

            if (p->count == p->most)
                return;
            if (may_pick(e, p, d) && (wants == NULL || wants(e, d)))
                p->devices[p->count++] = d;
        }
    }
}

static json_t *targets(const struct pick *p)
{
    json_t *all = json_array();

    for (size_t i = 0; i < p->count; i++)
        json_array_append_new(all, json_string(p->devices[i]->name));
    return all;
}

static bool is_free(const struct engine *e, struct egateway *g, enum order order)
{
    unsigned most = order == ORDER_INSTALL ? ENGINE_INSTALLS : 1;

    if (g->open[order] >= most)
        return false;
    if (e->now_s < g->wait_s[order]) {
        later(g, g->wait_s[order]);
        return false;
    }
    return true;
}

static struct erequest *ask(struct engine *e, struct egateway *g, enum order order, json_t *params,
                            const struct pick *p)
{
    return engine_request(e, g, order, params, p == NULL ? NULL : p->devices,
                          p == NULL ? 0 : p->count);
}

/* -- trust ---------------------------------------------------------------------------------------
 */

static void trust_add(struct engine *e, struct egateway *g)
{
    char note[200];

    if (g->in_force || !engine_takes_part(g) || !is_free(e, g, ORDER_TRUST_ADD))
        return;
    snprintf(note, sizeof(note), "campaign %.128s", e->c.name);
    for (size_t i = 0; i < e->conf->trust_count; i++) {
        const struct campaign_anchor *a = &e->conf->trust[i];
        json_t *params;
        char *pem = NULL;
        size_t n = 0;

        for (size_t k = 0; k < a->ca_count; k++) {
            size_t len = strlen(a->cas[k].pem);
            char *grown = realloc(pem, n + len + 1);

            if (grown == NULL) {
                free(pem);
                engine_nomem(e);
                return;
            }
            pem = grown;
            memcpy(pem + n, a->cas[k].pem, len + 1);
            n += len;
        }
        if (pem == NULL)
            continue;
        params = json_pack("{s:s, s:s, s:s}", "set", campaign_set_name(a->set), "pem", pem, "note",
                           a->note != NULL ? a->note : note);
        free(pem);
        ask(e, g, ORDER_TRUST_ADD, params, NULL);
    }
    if (g->trust_asked)
        engine_trouble(e, g,
                       "trust.add was answered, and its state does not show the new CAs in force: "
                       "see certflipctl trust list at the gateway; of more than 100 CAs of a set "
                       "the state does not tell: remove those that are not needed");
    /* The retained state shows what came of it; if not, they are added once more. */
    g->wait_s[ORDER_TRUST_ADD] = e->now_s + (int64_t)e->conf->limits.reply_timeout_s;
    later(g, g->wait_s[ORDER_TRUST_ADD]);
}

/* -- identities ----------------------------------------------------------------------------------
 */

/* Does the new slot hold the identity that shall not be tried any more? */
static bool is_to_discard(struct engine *e, struct edevice *d)
{
    const struct view_device *v = engine_seen(e, d);

    return v != NULL && engine_is_set(d->new_fp) && v->fresh.present &&
           memcmp(v->fresh.fp, d->new_fp, 32) == 0 &&
           (v->phase == VIEW_STAGED || v->phase == VIEW_ROLLED_BACK);
}

/* Another key than the one that may wait at the gateway: a device that is planned anew although a
 * certificate was signed for it, or whose request was refused. */
static bool needs_other_key(struct engine *e, struct edevice *d)
{
    return !is_to_discard(e, d) && (d->renew || engine_is_set(d->new_fp));
}

static bool needs_key(struct engine *e, struct edevice *d)
{
    return !is_to_discard(e, d) && !needs_other_key(e, d);
}

static void discard(struct engine *e, struct egateway *g)
{
    struct pick p = {.most = ENGINE_BATCH};

    if (!is_free(e, g, ORDER_DISCARD))
        return;
    pick(e, g, FLEET_DEVICE_PLANNED, CAMPAIGN_WAVES_MAX, is_to_discard, &p);
    if (p.count > 0)
        ask(e, g, ORDER_DISCARD, json_pack("{s:o}", "target", targets(&p)), &p);
}

static void keygen(struct engine *e, struct egateway *g)
{
    struct pick p = {.most = e->conf->limits.keygen_per_gateway};
    const struct campaign *c = e->conf;
    json_t *params, *sans;
    bool renew;

    if (!is_free(e, g, ORDER_KEYGEN))
        return;
    pick(e, g, FLEET_DEVICE_PLANNED, CAMPAIGN_WAVES_MAX, needs_other_key, &p);
    renew = p.count > 0;
    if (!renew)
        pick(e, g, FLEET_DEVICE_PLANNED, CAMPAIGN_WAVES_MAX, needs_key, &p);
    if (p.count == 0)
        return;
    params = json_pack("{s:o}", "target", targets(&p));
    if (renew)
        json_object_set_new(params, "renew", json_true());
    if (c->identity.key != 0)
        json_object_set_new(params, "key", json_string(campaign_key_name(c->identity.key)));
    if (c->identity.token != NULL)
        json_object_set_new(params, "token", json_string(c->identity.token));
    json_object_set_new(params, "subject", json_string(c->identity.subject));
    sans = json_array();
    for (size_t i = 0; i < c->identity.san_count; i++)
        json_array_append_new(sans, json_string(c->identity.sans[i]));
    json_object_set_new(params, "sans", sans);
    ask(e, g, ORDER_KEYGEN, params, &p);
}

/* One that nobody has seen yet may have it already. */
static bool lacks_it(struct engine *e, struct edevice *d)
{
    const struct view_device *v = engine_seen(e, d);

    return v != NULL && !engine_has_new(d, v);
}

static void install(struct engine *e, struct egateway *g)
{
    while (e->rc == 0 && is_free(e, g, ORDER_INSTALL)) {
        struct pick p = {.most = 1};
        char *csr = NULL, *chain = NULL;

        pick(e, g, FLEET_DEVICE_SIGNED, CAMPAIGN_WAVES_MAX, lacks_it, &p);
        if (p.count == 0)
            return;
        e->rc = e->out->pem_get(e->out->arg, g->name, p.devices[0]->name, &csr, &chain, e->err);
        if (e->rc == 0 && chain == NULL)
            engine_set_step(e, p.devices[0], FLEET_DEVICE_PLANNED); /* the ledger has lost it */
        else if (e->rc == 0)
            ask(e, g, ORDER_INSTALL,
                json_pack("{s:s, s:s}", "device", p.devices[0]->name, "chain", chain), &p);
        free(csr);
        free(chain);
    }
}

/* -- flips ---------------------------------------------------------------------------------------
 */

/* Rolled back, and somebody has said that it shall be tried again. */
static bool is_quarantined(struct engine *e, struct edevice *d)
{
    const struct view_device *v = engine_seen(e, d);

    return v != NULL && v->phase == VIEW_ROLLED_BACK;
}

static void clear(struct engine *e, struct egateway *g)
{
    struct pick p = {.most = ENGINE_BATCH};

    if (!is_free(e, g, ORDER_CLEAR))
        return;
    pick(e, g, FLEET_DEVICE_READY, e->c.wave, is_quarantined, &p);
    if (p.count > 0)
        ask(e, g, ORDER_CLEAR, json_pack("{s:o}", "target", targets(&p)), &p);
}

static bool is_staged_and_online(struct engine *e, struct edevice *d)
{
    const struct view_device *v = engine_seen(e, d);

    return engine_staged(d, v) && v->online;
}

static bool is_staged_and_offline(struct engine *e, struct edevice *d)
{
    const struct view_device *v = engine_seen(e, d);

    return engine_staged(d, v) && !v->online;
}

static json_t *flip_params(const struct engine *e, const struct pick *p)
{
    static const char *const evidence[] = {NULL, "connack", "echo"};
    const struct campaign *c = e->conf;
    int64_t by_s = e->now_s + (int64_t)c->limits.offline_wait_s;
    json_t *params = json_pack("{s:o}", "target", targets(p));

    if (e->until_s < by_s)
        by_s = e->until_s;
    json_object_set_new(params, "not_after_s", json_integer(by_s));
    json_object_set_new(params, "confirm",
                        json_string(c->flip.confirm == CAMPAIGN_CENTRAL ? "central" : "auto"));
    if (c->flip.probation_s != 0)
        json_object_set_new(params, "probation_s", json_integer(c->flip.probation_s));
    if (c->flip.confirm_s != 0)
        json_object_set_new(params, "confirm_s", json_integer(c->flip.confirm_s));
    if (c->flip.evidence != CAMPAIGN_GATEWAYS_OWN)
        json_object_set_new(params, "evidence", json_string(evidence[c->flip.evidence]));
    return params;
}

/* Devices whose sensor is connected flip within the limits; the others wait at the gateway until it
 * connects, and are paced there. */
static void flip(struct engine *e, struct egateway *g)
{
    size_t here = e->conf->limits.per_gateway, all = e->conf->limits.in_flight;
    struct pick p = {0};
    size_t online;

    if (!e->open || !g->in_force || e->c.phase < FLEET_MIGRATE || e->c.phase > FLEET_VALIDATE ||
        !is_free(e, g, ORDER_FLIP))
        return;
    here = g->moving >= here ? 0 : here - g->moving;
    all = e->moving >= all ? 0 : all - e->moving;
    if (all < here) {
        e->starved = true;
        here = all;
    }
    p.most = here;
    pick(e, g, FLEET_DEVICE_READY, e->c.wave, is_staged_and_online, &p);
    online = p.count;
    p.most = p.count + ENGINE_BATCH < RPC_ROWS_MAX ? p.count + ENGINE_BATCH : RPC_ROWS_MAX;
    pick(e, g, FLEET_DEVICE_READY, e->c.wave, is_staged_and_offline, &p);
    if (p.count == 0 || ask(e, g, ORDER_FLIP, flip_params(e, &p), &p) == NULL)
        return;
    for (size_t i = 0; i < p.count; i++) {
        struct edevice *d = p.devices[i];

        d->attempts++;
        d->flip_s = e->now_s;
        engine_set_step(e, d, FLEET_DEVICE_FLIPPING);
        engine_set_moving(e, d, i < online);
    }
    if (e->c.wave_begun_s == 0) {
        e->c.wave_begun_s = e->now_s;
        e->save_campaign = true;
    }
    engine_note(e, "flip", g, NULL, "%zu %s", p.count, p.count == 1 ? "device" : "devices");
}

static bool wants_confirm(struct engine *e, struct edevice *d)
{
    const struct view_device *v = engine_seen(e, d);

    return !d->confirmed && v != NULL && v->phase == VIEW_TRIAL && v->up &&
           memcmp(v->up_fp, d->new_fp, 32) == 0;
}

/* The gateway shows the connection with the certificate that was signed: that is said to it, and it
 * knows that the way to the centre and back still works. */
static void confirm(struct engine *e, struct egateway *g)
{
    struct pick p = {.most = ENGINE_BATCH};
    json_t *fps;

    if (e->conf->flip.confirm != CAMPAIGN_CENTRAL || !is_free(e, g, ORDER_CONFIRM))
        return;
    pick(e, g, FLEET_DEVICE_FLIPPING, e->c.wave, wants_confirm, &p);
    if (p.count == 0)
        return;
    fps = json_object();
    for (size_t i = 0; i < p.count; i++) {
        char fp[65];

        str_hex(fp, p.devices[i]->new_fp, 32);
        json_object_set_new(fps, p.devices[i]->name, json_string(fp));
        p.devices[i]->confirmed = true;
    }
    ask(e, g, ORDER_CONFIRM, json_pack("{s:o, s:o}", "target", targets(&p), "fingerprints", fps),
        &p);
}

/* -- the way back --------------------------------------------------------------------------------
 */

/* Also when that was answered long ago (see wait_s), and nothing has come of it. */
static bool is_to_return(struct engine *e, struct edevice *d)
{
    return engine_in_return(e, d) && !(d->answered && engine_is_back(d, engine_seen(e, d)));
}

static void roll_back(struct engine *e, struct egateway *g)
{
    struct pick p = {.most = ENGINE_BATCH};
    char reason[300];

    if (!is_free(e, g, ORDER_ROLLBACK))
        return;
    pick(e, g, FLEET_DEVICE_FLIPPING, e->c.back_to, is_to_return, &p);
    pick(e, g, FLEET_DEVICE_MIGRATED, e->c.back_to, is_to_return, &p);
    pick(e, g, FLEET_DEVICE_VALIDATED, e->c.back_to, is_to_return, &p);
    if (p.count == 0)
        return;
    snprintf(reason, sizeof(reason), "campaign %.128s rolls its wave back", e->c.name);
    ask(e, g, ORDER_ROLLBACK, json_pack("{s:o, s:s}", "target", targets(&p), "reason", reason), &p);
}

/* -- ends ----------------------------------------------------------------------------------------
 */

/* Its time is over, and it is not seen on the new certificate: what is seen instead. */
static void not_valid(struct engine *e, struct edevice *d, const struct view_device *v)
{
    char reason[700];

    if (!v->up && !v->online)
        engine_held(e, d, "unseen", "its sensor is away: nothing shows that the new identity works",
                    "see why its sensor does not come");
    else if (!v->up) {
        snprintf(reason, sizeof(reason),
                 "its sensor is there, and the broker has not accepted it%s%s",
                 v->message == NULL ? "" : ": ", v->message == NULL ? "" : v->message);
        engine_held(e, d, "unseen", reason,
                    v->remedy != NULL ? v->remedy : "see certflipctl device at the gateway");
    } else
        engine_held(e, d, "unseen",
                    "the broker has accepted it with another certificate than that of the campaign",
                    "see certflipctl device at the gateway: who has changed it?");
}

/* Seen to use the new certificate, long enough after its flip. */
static void validate(struct engine *e, struct egateway *g)
{
    for (int w = 0; w < CAMPAIGN_WAVES_MAX; w++) {
        list_for_each_safe (it, &g->at[FLEET_DEVICE_MIGRATED][w]) {
            struct edevice *d = list_entry(it, struct edevice, at);
            const struct view_device *v = engine_seen(e, d);
            int64_t due_s = d->migrated_s + (int64_t)e->conf->retire.validate_s;

            if (e->now_s < due_s) {
                later(g, due_s);
                continue;
            }
            if (v == NULL)
                continue;
            if (v->up && memcmp(v->up_fp, d->new_fp, 32) == 0 &&
                (v->phase == VIEW_COMMITTED || v->phase == VIEW_STEADY))
                engine_set_step(e, d, FLEET_DEVICE_VALIDATED);
            else if (e->now_s < due_s + ENGINE_RETRY_S)
                later(g, due_s + ENGINE_RETRY_S);
            else
                not_valid(e, d, v);
        }
    }
}

static void retire(struct engine *e, struct egateway *g)
{
    struct pick p = {.most = ENGINE_BATCH};

    if (!e->conf->retire.identities || !is_free(e, g, ORDER_RETIRE))
        return;
    pick(e, g, FLEET_DEVICE_VALIDATED, CAMPAIGN_WAVES_MAX, NULL, &p);
    if (p.count > 0)
        ask(e, g, ORDER_RETIRE, json_pack("{s:o}", "target", targets(&p)), &p);
}

/* The anchor that is the `n`th to be removed; NULL: there are no more. */
static const struct campaign_ca *nth(const struct campaign *c, size_t n, int *set)
{
    for (size_t i = 0; i < c->retire.anchor_count; i++) {
        const struct campaign_anchor *a = &c->retire.anchors[i];

        *set = a->set;
        if (n < a->ca_count)
            return &a->cas[n];
        n -= a->ca_count;
    }
    return NULL;
}

static void distrust(struct engine *e, struct egateway *g)
{
    const struct campaign_ca *ca;
    char note[200];
    int set = 0;

    if (g->anchors_done || !engine_takes_part(g) || !is_free(e, g, ORDER_TRUST_REMOVE) ||
        engine_left(e) > 0 || (e->conf->retire.identities && g->count[FLEET_DEVICE_VALIDATED] > 0))
        return;
    ca = nth(e->conf, g->anchor_next, &set);
    if (ca == NULL) {
        g->anchors_done = true;
        if (g->anchor_refused > 0)
            return; /* its trouble says so */
        g->step = FLEET_GATEWAY_RETIRED;
        g->changed_s = e->now_s;
        engine_save_gateway(e, g);
        return;
    }
    snprintf(note, sizeof(note), "campaign %.128s", e->c.name);
    ask(e, g, ORDER_TRUST_REMOVE,
        json_pack("{s:s, s:s, s:s}", "set", campaign_set_name(set), "fingerprint", ca->fp, "note",
                  note),
        NULL);
}

void engine_order(struct engine *e, struct egateway *g)
{
    if (e->c.mode == FLEET_RETURNING) {
        if (g->online)
            roll_back(e, g);
        return;
    }
    if (!g->online) /* what is retained of its devices proves nothing now */
        return;
    if (e->c.phase == FLEET_VALIDATE)
        validate(e, g);
    trust_add(e, g);
    discard(e, g);
    keygen(e, g);
    install(e, g);
    clear(e, g);
    flip(e, g);
    confirm(e, g);
    if (e->c.phase == FLEET_RETIRE) {
        retire(e, g);
        distrust(e, g);
    }
}
