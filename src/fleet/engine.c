/* fleet/engine.c - see engine.h and engine_inside.h. */
#include "fleet/engine.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/str.h"
#include "control/rpc.h"
#include "fleet/engine_inside.h"

static const struct {
    const char *method, *word; /* the word stands in ids */
} orders[ORDERS] = {
    [ORDER_TRUST_ADD] = {"trust.add", "trust"},
    [ORDER_DISCARD] = {"identity.discard", "discard"},
    [ORDER_KEYGEN] = {"identity.keygen", "keygen"},
    [ORDER_INSTALL] = {"identity.install", "install"},
    [ORDER_CLEAR] = {"quarantine.clear", "clear"},
    [ORDER_FLIP] = {"flip", "flip"},
    [ORDER_CONFIRM] = {"confirm", "confirm"},
    [ORDER_ROLLBACK] = {"rollback", "rollback"},
    [ORDER_RETIRE] = {"retire", "retire"},
    [ORDER_TRUST_REMOVE] = {"trust.remove", "distrust"},
};

const char *engine_method(enum order order)
{
    return orders[order].method;
}

int engine_order_find(const char *method)
{
    for (int i = 0; i < ORDERS; i++)
        if (strcmp(orders[i].method, method) == 0)
            return i;
    return -1;
}

/* -- life ----------------------------------------------------------------------------------------
 */

struct engine *engine_new(const struct campaign *c, const struct view *v)
{
    struct engine *e = calloc(1, sizeof(*e));

    if (e == NULL)
        return NULL;
    e->conf = c;
    e->view = v;
    e->c.wave = -1;
    e->c.back_from = e->c.back_to = -1;
    list_init(&e->dirty_devices);
    list_init(&e->dirty_gateways);
    list_init(&e->save_devices);
    list_init(&e->save_gateways);
    list_init(&e->requests);
    list_init(&e->unsaved);
    list_init(&e->answered);
    list_init(&e->gone);
    list_init(&e->notes);
    list_init(&e->chains);
    list_init(&e->unsigned_);
    list_init(&e->doubts);
    e->by_name = map_new();
    e->devices = map_new();
    e->by_id = map_new();
    if (e->by_name != NULL && e->devices != NULL && e->by_id != NULL)
        return e;
    engine_free(e);
    return NULL;
}

static void free_request(struct erequest *r)
{
    free(r->id);
    free(r->params);
    free(r->reply);
    free(r->devices);
    free(r);
}

static void free_note(struct enote *n)
{
    list_del(&n->link);
    free(n->what);
    free(n->gateway);
    free(n->device);
    free(n->text);
    free(n);
}

static void free_chain(struct echain *c)
{
    list_del(&c->link);
    free(c->chain);
    free(c);
}

static void free_gone(struct egone *g)
{
    list_del(&g->link);
    free(g->id);
    free(g);
}

void engine_free(struct engine *e)
{
    if (e == NULL)
        return;
    list_for_each_safe (it, &e->requests)
        free_request(list_entry(it, struct erequest, all));
    list_for_each_safe (it, &e->notes)
        free_note(list_entry(it, struct enote, link));
    list_for_each_safe (it, &e->chains)
        free_chain(list_entry(it, struct echain, link));
    list_for_each_safe (it, &e->gone)
        free_gone(list_entry(it, struct egone, link));
    for (size_t i = 0; i < e->device_count; i++) {
        struct edevice *d = e->all[i];

        free(d->name);
        free(d->failure);
        free(d->reason);
        free(d->remedy);
        free(d);
    }
    for (size_t i = 0; i < e->gateway_count; i++) {
        free(e->gateways[i]->name);
        free(e->gateways[i]->trouble);
        free(e->gateways[i]);
    }
    free(e->all);
    free(e->gateways);
    map_free(e->by_name);
    map_free(e->devices);
    map_free(e->by_id);
    free(e);
}

void engine_nomem(struct engine *e)
{
    if (e->rc == 0)
        e->rc = err_set(e->err, ERR_NOMEM, "out of memory");
}

/* -- rows in -------------------------------------------------------------------------------------
 */

static int nomem(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory");
}

static bool grow(void **p, size_t count, size_t *cap, size_t size)
{
    size_t more = *cap == 0 ? 64 : 2 * *cap;
    void *grown;

    if (count < *cap)
        return true;
    grown = realloc(*p, more * size);
    if (grown == NULL)
        return false;
    *p = grown;
    *cap = more;
    return true;
}

int engine_load_campaign(struct engine *e, const struct fleet_campaign *c, struct err *err)
{
    if (c->waves < 0 || c->waves > CAMPAIGN_WAVES_MAX || c->wave < -1 || c->wave >= c->waves)
        return err_set(err, ERR_INVALID, "the ledger has wave %d of %d", c->wave, c->waves);
    e->c = *c;
    e->loaded = true;
    return 0;
}

int engine_load_gateway(struct engine *e, const struct fleet_gateway *row, struct err *err)
{
    struct egateway *g;

    if (map_get(e->by_name, row->name) != NULL)
        return err_set(err, ERR_INVALID, "the ledger has gateway %s twice", row->name);
    if (!grow((void **)&e->gateways, e->gateway_count, &e->gateway_cap, sizeof(struct egateway *)))
        return nomem(err);
    g = calloc(1, sizeof(*g));
    if (g == NULL || (g->name = strdup(row->name)) == NULL ||
        (row->trouble[0] != '\0' && (g->trouble = strdup(row->trouble)) == NULL) ||
        map_put(e->by_name, g->name, g) != 0) {
        if (g != NULL) {
            free(g->trouble);
            free(g->name);
        }
        free(g);
        return nomem(err);
    }
    list_init(&g->dirty);
    list_init(&g->save);
    list_init(&g->requests);
    for (int s = 0; s < FLEET_DEVICE_STEP_COUNT; s++)
        for (int w = 0; w < CAMPAIGN_WAVES_MAX; w++)
            list_init(&g->at[s][w]);
    g->step = (uint8_t)row->step;
    g->changed_s = row->changed_s;
    e->gateways[e->gateway_count++] = g;
    engine_touch_gateway(e, g);
    return 0;
}

static void key_of(const char *gateway, const char *device, char out[2 * FLEET_NAME_MAX + 2])
{
    snprintf(out, 2 * FLEET_NAME_MAX + 2, "%s/%s", gateway, device);
}

static struct edevice *find(const struct engine *e, const char *gateway, const char *device)
{
    char key[2 * FLEET_NAME_MAX + 2];

    key_of(gateway, device, key);
    return map_get(e->devices, key);
}

static char *copy_or_null(const char *s, bool *ok)
{
    char *copy = s[0] == '\0' ? NULL : strdup(s);

    *ok = *ok && (s[0] == '\0' || copy != NULL);
    return copy;
}

/* Put it where its step and wave belong. */
static void place(struct engine *e, struct edevice *d)
{
    list_add(&d->gw->at[d->step][d->wave], &d->at);
    d->gw->count[d->step]++;
    e->by_wave[d->wave][d->step]++;
    if (d->step == FLEET_DEVICE_FAILED && d->counts)
        e->failed[d->wave]++;
    if (d->step == FLEET_DEVICE_KEYED)
        list_add(&e->unsigned_, &d->sign);
}

static void unplace(struct engine *e, struct edevice *d)
{
    list_del(&d->at);
    d->gw->count[d->step]--;
    e->by_wave[d->wave][d->step]--;
    if (d->step == FLEET_DEVICE_FAILED && d->counts)
        e->failed[d->wave]--;
    list_del(&d->sign);
}

int engine_load_device(struct engine *e, const struct fleet_device *row, struct err *err)
{
    struct egateway *g = map_get(e->by_name, row->gateway);
    char key[2 * FLEET_NAME_MAX + 2];
    struct edevice *d;
    bool ok = true;

    key_of(row->gateway, row->name, key);
    if (g == NULL || row->wave < 0 || row->wave >= e->c.waves || map_get(e->devices, key) != NULL)
        return err_set(err, ERR_INVALID, "the ledger has device %s of wave %d, which fits nowhere",
                       key, row->wave);
    if (!grow((void **)&e->all, e->device_count, &e->device_cap, sizeof(struct edevice *)))
        return nomem(err);
    d = calloc(1, sizeof(*d));
    if (d == NULL)
        return nomem(err);
    d->gw = g;
    d->name = copy_or_null(row->name, &ok);
    d->failure = copy_or_null(row->failure, &ok);
    d->reason = copy_or_null(row->reason, &ok);
    d->remedy = copy_or_null(row->remedy, &ok);
    if (!ok || map_put(e->devices, key, d) != 0) {
        free(d->name);
        free(d->failure);
        free(d->reason);
        free(d->remedy);
        free(d);
        return nomem(err);
    }
    e->all[e->device_count++] = d;
    list_init(&d->at);
    list_init(&d->dirty);
    list_init(&d->save);
    list_init(&d->sign);
    list_init(&d->doubt);
    str_unhex(row->old_fp, d->old_fp, 32);
    str_unhex(row->new_fp, d->new_fp, 32);
    d->new_until_s = row->new_until_s;
    d->flip_s = row->flip_s;
    d->migrated_s = row->migrated_s;
    d->changed_s = row->changed_s;
    d->attempts = row->attempts;
    d->renew = row->renew;
    d->wave = (int16_t)row->wave;
    d->step = (uint8_t)row->step;
    d->counts = d->failure == NULL || campaign_counts(e->conf, d->failure);
    place(e, d);
    engine_set_moving(e, d, d->step == FLEET_DEVICE_FLIPPING);
    engine_touch_device(e, d);
    return 0;
}

static struct erequest *request_new(struct egateway *g, enum order order, const char *id,
                                    char *params, size_t n)
{
    struct erequest *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return NULL;
    r->gw = g;
    r->order = order;
    r->id = strdup(id);
    r->params = params;
    r->devices = calloc(n == 0 ? 1 : n, sizeof(struct edevice *));
    list_init(&r->all);
    list_init(&r->at_gateway);
    list_init(&r->unsaved);
    list_init(&r->answered);
    if (r->id != NULL && r->devices != NULL)
        return r;
    r->params = NULL;
    free_request(r);
    return NULL;
}

static int request_put(struct engine *e, struct erequest *r)
{
    if (map_put(e->by_id, r->id, r) != 0)
        return -ERR_NOMEM;
    list_add(&e->requests, &r->all);
    list_add(&r->gw->requests, &r->at_gateway);
    r->gw->open[r->order]++;
    e->request_count++;
    return 0;
}

static void request_join(struct erequest *r, struct edevice *d)
{
    if (d == NULL)
        return;
    d->request = r;
    r->devices[r->count++] = d;
}

int engine_load_request(struct engine *e, const struct fleet_request *row, struct err *err)
{
    struct egateway *g = map_get(e->by_name, row->gateway);
    int order = engine_order_find(row->method);
    json_t *params = json_loads(row->params, 0, NULL);
    const json_t *target = json_object_get(params, "target");
    const char *device = json_string_value(json_object_get(params, "device"));
    char *text = strdup(row->params);
    struct erequest *r;

    if (g == NULL || order < 0 || params == NULL) {
        json_decref(params);
        free(text);
        return err_set(err, ERR_INVALID, "the ledger has a request %s that fits nowhere", row->id);
    }
    r = text == NULL
            ? NULL
            : request_new(g, (enum order)order, row->id, text, json_array_size(target) + 1);
    if (r == NULL || request_put(e, r) != 0) {
        if (r == NULL)
            free(text);
        else
            free_request(r);
        json_decref(params);
        return nomem(err);
    }
    r->first_s = row->sent_s;
    if (device != NULL)
        request_join(r, find(e, row->gateway, device));
    for (size_t i = 0; i < json_array_size(target); i++) {
        const char *name = json_string_value(json_array_get(target, i));

        if (name != NULL)
            request_join(r, find(e, row->gateway, name));
    }
    json_decref(params);
    if (row->reply != NULL && row->state == FLEET_REQUEST_DONE)
        return engine_reply(e, row->gateway, row->id, row->reply, strlen(row->reply), err);
    return 0;
}

/* -- changes -------------------------------------------------------------------------------------
 */

bool engine_is_set(const uint8_t fp[32])
{
    static const uint8_t none[32];

    return memcmp(fp, none, 32) != 0;
}

const struct view_device *engine_seen(const struct engine *e, const struct edevice *d)
{
    return view_device(e->view, d->gw->name, d->name);
}

void engine_touch_gateway(struct engine *e, struct egateway *g)
{
    list_del(&g->dirty);
    list_add(&e->dirty_gateways, &g->dirty);
}

void engine_touch_device(struct engine *e, struct edevice *d)
{
    list_del(&d->dirty);
    list_add(&e->dirty_devices, &d->dirty);
    engine_touch_gateway(e, d->gw);
}

/* How long not to ask for a gateway's topics again, at first. */
static int64_t least_pause_s(const struct engine *e)
{
    int64_t s = (int64_t)e->conf->limits.reply_timeout_s / 2;

    return s < 5 ? 5 : s > 30 ? 30 : s;
}

/* Replies overtake retained topics, where there are many of these: what the view shows counts when
 * it has come since, and is not about to be followed by more; and when what the broker may have
 * dropped was asked for again. */
static int64_t doubt_ends_s(const struct engine *e, const struct edevice *d)
{
    int64_t since_s = d->flip_s > d->changed_s ? d->flip_s : d->changed_s;
    int64_t least_s = since_s + 2 * least_pause_s(e) + ENGINE_GRACE_S;
    int64_t ends_s = d->heard_s > since_s ? d->heard_s + ENGINE_GRACE_S : since_s + ENGINE_SILENT_S;

    return ends_s > least_s ? ends_s : least_s;
}

bool engine_doubt(struct engine *e, struct edevice *d)
{
    list_del(&d->doubt);
    if (e->now_s >= doubt_ends_s(e, d))
        return true;
    list_add(&e->doubts, &d->doubt);
    return false;
}

static void look_at_doubts(struct engine *e)
{
    list_for_each_safe (it, &e->doubts) {
        struct edevice *d = list_entry(it, struct edevice, doubt);

        if (e->now_s < doubt_ends_s(e, d))
            continue;
        list_del(it);
        engine_touch_device(e, d);
    }
}

void engine_save_device(struct engine *e, struct edevice *d)
{
    list_del(&d->save);
    list_add(&e->save_devices, &d->save);
}

void engine_save_gateway(struct engine *e, struct egateway *g)
{
    list_del(&g->save);
    list_add(&e->save_gateways, &g->save);
}

void engine_trouble(struct engine *e, struct egateway *g, const char *text)
{
    if (text == NULL ? g->trouble == NULL : g->trouble != NULL && strcmp(g->trouble, text) == 0)
        return;
    free(g->trouble);
    g->trouble = text == NULL ? NULL : strdup(text);
    engine_save_gateway(e, g);
    if (text != NULL)
        engine_note(e, "trouble", g, NULL, "%s", text);
}

void engine_set_moving(struct engine *e, struct edevice *d, bool moving)
{
    if (d->moving == moving)
        return;
    d->moving = moving;
    d->gw->moving += moving ? 1 : (size_t)-1;
    e->moving += moving ? 1 : (size_t)-1;
}

static void replace(struct engine *e, char **into, const char *text)
{
    char *copy = text == NULL || text[0] == '\0' ? NULL : strdup(text);

    if (copy == NULL && text != NULL && text[0] != '\0')
        engine_nomem(e);
    if (copy != NULL)
        str_tidy(copy); /* it may be a gateway's word */
    free(*into);
    *into = copy;
}

void engine_set_step(struct engine *e, struct edevice *d, enum fleet_device_step step)
{
    unplace(e, d);
    d->step = (uint8_t)step;
    d->changed_s = e->now_s;
    d->on_trial = d->answered = d->confirmed = false;
    d->gw->pause_s = 0;
    if (step != FLEET_DEVICE_FLIPPING)
        engine_set_moving(e, d, false);
    if (step == FLEET_DEVICE_MIGRATED)
        d->migrated_s = e->now_s;
    if (d->failure == NULL && step != FLEET_DEVICE_FAILED) { /* it is not kept back any more */
        replace(e, &d->reason, NULL);
        replace(e, &d->remedy, NULL);
    }
    place(e, d);
    engine_save_device(e, d);
    engine_touch_gateway(e, d->gw);
}

void engine_held(struct engine *e, struct edevice *d, const char *what, const char *reason,
                 const char *remedy)
{
    char *was = d->reason;
    bool same;

    if (d->failure != NULL)
        return;
    d->reason = NULL;
    replace(e, &d->reason, reason);
    same = was != NULL && d->reason != NULL && strcmp(was, d->reason) == 0;
    free(was);
    if (same)
        return;
    replace(e, &d->remedy, remedy);
    engine_save_device(e, d);
    engine_note(e, what, d->gw, d, "%s%s%s", reason, remedy == NULL ? "" : ": ",
                remedy == NULL ? "" : remedy);
}

void engine_unflip(struct engine *e, struct edevice *d)
{
    if (d->attempts > 0)
        d->attempts--;
    engine_set_step(e, d, FLEET_DEVICE_READY);
}

void engine_fail(struct engine *e, struct edevice *d, const char *failure, const char *reason,
                 const char *remedy)
{
    replace(e, &d->failure, failure);
    replace(e, &d->reason, reason);
    replace(e, &d->remedy, remedy);
    unplace(e, d); /* of whatever it counted for */
    d->counts = campaign_counts(e->conf, failure);
    place(e, d);
    engine_set_step(e, d, FLEET_DEVICE_FAILED);
    snprintf(e->last_failure, sizeof(e->last_failure), "%s/%s: %s%s%s", d->gw->name, d->name,
             d->reason == NULL ? failure : d->reason, d->remedy == NULL ? "" : ": ",
             d->remedy == NULL ? "" : d->remedy);
    engine_note(e, "failed", d->gw, d, "[%s] %s%s%s", failure, d->reason == NULL ? "" : d->reason,
                d->remedy == NULL ? "" : ": ", d->remedy == NULL ? "" : d->remedy);
}

void engine_note(struct engine *e, const char *what, const struct egateway *g,
                 const struct edevice *d, const char *fmt, ...)
{
    struct enote *n = calloc(1, sizeof(*n));
    va_list ap;

    if (n == NULL) {
        engine_nomem(e);
        return;
    }
    list_init(&n->link);
    list_add(&e->notes, &n->link);
    va_start(ap, fmt);
    if (vasprintf(&n->text, fmt, ap) < 0)
        n->text = NULL;
    va_end(ap);
    if (n->text != NULL)
        str_tidy(n->text); /* one line, whatever a gateway has put into it */
    n->what = strdup(what);
    n->gateway = strdup(g == NULL ? "" : g->name);
    n->device = strdup(d == NULL ? "" : d->name);
    if (n->what == NULL || n->gateway == NULL || n->device == NULL || n->text == NULL)
        engine_nomem(e);
}

struct erequest *engine_request(struct engine *e, struct egateway *g, enum order order,
                                struct json_t *params, struct edevice *const *devices, size_t n)
{
    char *text = params == NULL ? NULL : json_dumps(params, JSON_COMPACT | JSON_SORT_KEYS);
    struct erequest *r = NULL;
    char id[RPC_ID_MAX + 1];

    json_decref(params);
    snprintf(id, sizeof(id), "%.24s.%s.%" PRIx64 ".%" PRIx64, e->c.name, orders[order].word,
             (uint64_t)e->c.started_s, (uint64_t)++e->c.requests);
    e->save_campaign = true;
    if (text != NULL)
        r = request_new(g, order, id, text, n);
    if (r == NULL || request_put(e, r) != 0) {
        if (r == NULL)
            free(text);
        else
            free_request(r);
        engine_nomem(e);
        return NULL;
    }
    r->first_s = e->now_s;
    for (size_t i = 0; i < n; i++)
        request_join(r, devices[i]);
    list_add(&e->unsaved, &r->unsaved);
    return r;
}

void engine_request_end(struct engine *e, struct erequest *r)
{
    bool saved = list_empty(&r->unsaved);

    for (size_t i = 0; i < r->count; i++) {
        if (r->devices[i]->request == r)
            r->devices[i]->request = NULL;
        engine_touch_device(e, r->devices[i]);
    }
    engine_touch_gateway(e, r->gw);
    map_del(e->by_id, r->id);
    list_del(&r->all);
    list_del(&r->at_gateway);
    list_del(&r->unsaved);
    list_del(&r->answered);
    r->gw->open[r->order]--;
    e->request_count--;
    if (saved) {
        struct egone *gone = calloc(1, sizeof(*gone));

        if (gone == NULL) {
            engine_nomem(e);
        } else {
            gone->id = r->id;
            r->id = NULL;
            list_init(&gone->link);
            list_add(&e->gone, &gone->link);
        }
    }
    free_request(r);
}

/* -- news ----------------------------------------------------------------------------------------
 */

void engine_gateway_news(struct engine *e, const char *gateway)
{
    struct egateway *g = map_get(e->by_name, gateway);

    if (g != NULL)
        engine_touch_gateway(e, g);
}

void engine_device_news(struct engine *e, const char *gateway, const char *device)
{
    struct edevice *d = find(e, gateway, device);

    if (d == NULL)
        return;
    d->heard_s = e->now_s;
    engine_touch_device(e, d);
}

int engine_reply(struct engine *e, const char *gateway, const char *id, const char *reply, size_t n,
                 struct err *err)
{
    struct erequest *r = map_get(e->by_id, id);

    /* One that was acted upon already, or that somebody else has made up. */
    if (r == NULL || strcmp(r->gw->name, gateway) != 0 || r->reply != NULL)
        return 0;
    r->reply = strndup(reply, n);
    if (r->reply == NULL)
        return nomem(err);
    list_add(&e->answered, &r->answered);
    return 0;
}

/* The signer was asked, and does not have it any more. */
static void signed_end(struct engine *e, struct edevice *d)
{
    if (d->signing)
        e->signing--;
    d->signing = false;
}

int engine_signed(struct engine *e, const struct signed_cert *cert, struct err *err)
{
    struct edevice *d = find(e, cert->gateway, cert->device);
    struct echain *c;

    if (d == NULL)
        return 0;
    signed_end(e, d);
    if (d->step != FLEET_DEVICE_KEYED)
        return 0;
    if (cert->rc == -ERR_BUSY) {
        d->wait_s = e->now_s + ENGINE_RETRY_S;
        engine_note(e, "sign-later", d->gw, d, "%s", cert->why == NULL ? "busy" : cert->why);
        return 0;
    }
    if (cert->rc != 0) {
        engine_fail(e, d, cert->rc == -ERR_DENIED ? "csr" : "sign", cert->why, NULL);
        return 0;
    }
    c = calloc(1, sizeof(*c));
    if (c == NULL || (c->chain = strdup(cert->chain)) == NULL) {
        free(c);
        return nomem(err);
    }
    list_init(&c->link);
    c->device = d;
    list_add(&e->chains, &c->link);
    str_unhex(cert->fp, d->new_fp, 32);
    d->new_until_s = cert->not_after_s;
    engine_set_step(e, d, FLEET_DEVICE_SIGNED);
    if (cert->why != NULL && !e->warned)
        engine_note(e, "sign-warning", d->gw, d, "%s; it is not said again of others", cert->why);
    e->warned = e->warned || cert->why != NULL;
    return 0;
}

void engine_link_lost(struct engine *e)
{
    list_for_each (it, &e->requests)
        list_entry(it, struct erequest, all)->sent_s = 0;
}

/* -- rows out ------------------------------------------------------------------------------------
 */

static void text_to(char *out, size_t n, const char *s)
{
    snprintf(out, n, "%s", s == NULL ? "" : s);
}

static void put_device(struct engine *e, const struct edevice *d)
{
    struct fleet_device row = {.wave = d->wave,
                               .step = (enum fleet_device_step)d->step,
                               .attempts = d->attempts,
                               .new_until_s = d->new_until_s,
                               .flip_s = d->flip_s,
                               .migrated_s = d->migrated_s,
                               .changed_s = d->changed_s,
                               .renew = d->renew};

    text_to(row.gateway, sizeof(row.gateway), d->gw->name);
    text_to(row.name, sizeof(row.name), d->name);
    text_to(row.failure, sizeof(row.failure), d->failure);
    text_to(row.reason, sizeof(row.reason), d->reason);
    text_to(row.remedy, sizeof(row.remedy), d->remedy);
    str_tidy(row.reason); /* may have been cut within a character */
    str_tidy(row.remedy);
    if (engine_is_set(d->old_fp))
        str_hex(row.old_fp, d->old_fp, 32);
    if (engine_is_set(d->new_fp))
        str_hex(row.new_fp, d->new_fp, 32);
    e->rc = e->out->device(e->out->arg, &row, e->err);
}

static void put_gateway(struct engine *e, const struct egateway *g)
{
    struct fleet_gateway row = {.step = (enum fleet_gateway_step)g->step,
                                .changed_s = g->changed_s};

    text_to(row.name, sizeof(row.name), g->name);
    text_to(row.trouble, sizeof(row.trouble), g->trouble);
    str_tidy(row.trouble);
    e->rc = e->out->gateway(e->out->arg, &row, e->err);
}

static void request_row(const struct erequest *r, struct fleet_request *out)
{
    *out = (struct fleet_request){.state = FLEET_REQUEST_OPEN,
                                  .sent_s = r->first_s,
                                  .method = (char *)(uintptr_t)engine_method(r->order),
                                  .params = r->params};
    text_to(out->id, sizeof(out->id), r->id);
    text_to(out->gateway, sizeof(out->gateway), r->gw->name);
}

static void flush_chains(struct engine *e)
{
    list_for_each_safe (it, &e->chains) {
        struct echain *c = list_entry(it, struct echain, link);

        if (e->rc != 0)
            return;
        e->rc =
            e->out->pem(e->out->arg, c->device->gw->name, c->device->name, NULL, c->chain, e->err);
        free_chain(c);
    }
}

static void flush(struct engine *e)
{
    list_for_each_safe (it, &e->save_gateways) {
        list_del(it);
        if (e->rc == 0)
            put_gateway(e, list_entry(it, struct egateway, save));
    }
    list_for_each_safe (it, &e->save_devices) {
        list_del(it);
        if (e->rc == 0)
            put_device(e, list_entry(it, struct edevice, save));
    }
    list_for_each_safe (it, &e->gone) {
        struct egone *gone = list_entry(it, struct egone, link);

        if (e->rc == 0)
            e->rc = e->out->request_del(e->out->arg, gone->id, e->err);
        free_gone(gone);
    }
    list_for_each_safe (it, &e->unsaved) {
        struct fleet_request row;

        list_del(it);
        request_row(list_entry(it, struct erequest, unsaved), &row);
        if (e->rc == 0)
            e->rc = e->out->request(e->out->arg, &row, e->err);
    }
    if (e->save_campaign && e->rc == 0)
        e->rc = e->out->campaign(e->out->arg, &e->c, e->err);
    e->save_campaign = false;
    list_for_each_safe (it, &e->notes) {
        struct enote *n = list_entry(it, struct enote, link);

        if (e->rc == 0)
            e->rc = e->out->note(e->out->arg, n->what, n->gateway, n->device, n->text, e->err);
        free_note(n);
    }
}

/* -- steps ---------------------------------------------------------------------------------------
 */

static void look_at_windows(struct engine *e)
{
    bool was = e->open;

    if (e->now_s < e->until_s && e->until_s != 0)
        return;
    e->open = windows_open(&e->conf->hours, e->now_s, &e->until_s);
    if (was == e->open)
        return;
    for (size_t i = 0; e->open && i < e->gateway_count; i++)
        engine_touch_gateway(e, e->gateways[i]);
}

static void look_at_devices(struct engine *e)
{
    list_for_each_safe (it, &e->dirty_devices) {
        list_del(it);
        engine_look(e, list_entry(it, struct edevice, dirty));
    }
}

static bool goes_on(const struct engine *e)
{
    return e->loaded && (e->c.mode == FLEET_RUNNING || e->c.mode == FLEET_RETURNING);
}

/* Before anything is made of it that none is in the way. */
static void see_gateways(struct engine *e)
{
    list_for_each_safe (it, &e->dirty_gateways)
        engine_look_gateway(e, list_entry(it, struct egateway, dirty));
}

/* Each gateway that has news, or whose time has come; a different one first in each step, as they
 * share the limit of all flips. */
static void order_all(struct engine *e)
{
    bool all = e->starved && e->moving < e->conf->limits.in_flight;

    e->starved = e->starved && !all;
    for (size_t i = 0; e->rc == 0 && i < e->gateway_count; i++) {
        struct egateway *g = e->gateways[(e->turn + i) % e->gateway_count];

        if (!all && list_empty(&g->dirty) && (g->look_s == 0 || e->now_s < g->look_s))
            continue;
        list_del(&g->dirty);
        g->look_s = 0;
        if (goes_on(e))
            engine_order(e, g);
    }
    e->turn++;
}

static void begin(struct engine *e, int64_t now_s, const struct engine_out *out, struct err *err)
{
    e->out = out;
    e->err = err;
    e->rc = 0;
    e->now_s = now_s;
    flush_chains(e);
}

static int end(struct engine *e)
{
    flush(e);
    e->out = NULL;
    e->err = NULL;
    return e->rc;
}

int engine_save(struct engine *e, int64_t now_s, const struct engine_out *out, struct err *err)
{
    begin(e, now_s, out, err);
    return end(e);
}

int engine_step(struct engine *e, int64_t now_s, const struct engine_out *out, struct err *err)
{
    begin(e, now_s, out, err);
    list_for_each_safe (it, &e->answered) {
        struct erequest *r = list_entry(it, struct erequest, answered);

        list_del(it);
        if (e->rc == 0)
            engine_take_reply(e, r);
    }
    if (goes_on(e) && e->rc == 0) {
        look_at_windows(e);
        see_gateways(e);
        look_at_doubts(e);
        look_at_devices(e);
        engine_wave(e);
        order_all(e);
        look_at_devices(e); /* those that the gateways' turn has touched */
        engine_wave(e);
    }
    return end(e);
}

int64_t engine_due_s(const struct engine *e)
{
    return e->now_s + 1;
}

/* It comes again, which is nothing to tell anybody. */
static int not_now(struct err *err)
{
    *err = (struct err){0};
    return 0;
}

/* May it go out in this mode? */
static bool may_send(const struct engine *e, const struct erequest *r)
{
    return e->c.mode == FLEET_RUNNING ||
           (e->c.mode == FLEET_RETURNING && r->order == ORDER_ROLLBACK);
}

int engine_send(struct engine *e, int64_t now_s,
                int (*send)(void *arg, const struct fleet_request *r, struct err *err), void *arg,
                struct err *err)
{
    list_for_each (it, &e->requests) {
        struct erequest *r = list_entry(it, struct erequest, all);
        struct fleet_request row;
        int rc;

        if (!may_send(e, r) || !r->gw->online || r->reply != NULL ||
            (r->sent_s != 0 && now_s - r->sent_s < (int64_t)e->conf->limits.reply_timeout_s))
            continue;
        request_row(r, &row);
        rc = send(arg, &row, err);
        if (rc == -ERR_BUSY)
            return not_now(err);
        if (rc != 0)
            return rc;
        r->sent_s = now_s;
    }
    return 0;
}

int engine_sign(struct engine *e, int64_t now_s, size_t most,
                int (*sign)(void *arg, const char *gateway, const char *device, struct err *err),
                void *arg, struct err *err)
{
    size_t left = 0; /* how many have to be looked at, at most */

    for (int w = 0; w < CAMPAIGN_WAVES_MAX; w++)
        left += e->by_wave[w][FLEET_DEVICE_KEYED];
    if (e->c.mode != FLEET_RUNNING)
        return 0;
    while (left-- > 0 && e->signing < most && !list_empty(&e->unsigned_)) {
        struct edevice *d = list_entry(e->unsigned_.next, struct edevice, sign);
        int rc;

        list_del(&d->sign); /* to the end: those that wait are passed by */
        list_add(&e->unsigned_, &d->sign);
        if (d->signing || now_s < d->wait_s)
            continue;
        rc = sign(arg, d->gw->name, d->name, err);
        if (rc == -ERR_DENIED) {
            engine_fail(e, d, "csr", err->msg, NULL);
            continue;
        }
        if (rc != 0)
            return rc;
        d->signing = true;
        e->signing++;
    }
    return 0;
}

enum { REFRESH_MOST_S = 900, REFRESH_MOST = 50 };

/* Is there anything of the gateway that only its topics will tell? */
static bool waits_for_news(const struct engine *e, const struct egateway *g)
{
    return g->online && (!g->in_force || g->count[FLEET_DEVICE_SIGNED] > 0 ||
                         g->count[FLEET_DEVICE_FLIPPING] > 0 || g->count[FLEET_DEVICE_READY] > 0 ||
                         ((e->c.phase == FLEET_VALIDATE || e->c.mode == FLEET_RETURNING) &&
                          g->count[FLEET_DEVICE_MIGRATED] + g->count[FLEET_DEVICE_VALIDATED] > 0));
}

int engine_refresh(struct engine *e, int64_t now_s,
                   int (*ask)(void *arg, const char *gateway, struct err *err), void *arg,
                   struct err *err)
{
    size_t n = 0;

    for (size_t i = 0; i < e->gateway_count && n < REFRESH_MOST; i++) {
        struct egateway *g = e->gateways[i];
        int rc;

        if (!waits_for_news(e, g))
            continue;
        if (g->pause_s == 0) {
            g->pause_s = least_pause_s(e);
            g->asked_s = now_s;
        }
        if (now_s < g->asked_s + g->pause_s)
            continue;
        rc = ask(arg, g->name, err);
        if (rc != 0)
            return rc == -ERR_BUSY ? not_now(err) : rc;
        g->asked_s = now_s;
        g->pause_s = 2 * g->pause_s < REFRESH_MOST_S ? 2 * g->pause_s : REFRESH_MOST_S;
        n++;
    }
    return 0;
}

const struct fleet_campaign *engine_campaign(const struct engine *e)
{
    return &e->c;
}

void engine_counts(const struct engine *e, struct engine_counts *out)
{
    *out = (struct engine_counts){.devices = e->device_count,
                                  .gateways = e->gateway_count,
                                  .moving = e->moving,
                                  .requests = e->request_count};
    for (int w = 0; w < CAMPAIGN_WAVES_MAX; w++)
        for (int s = 0; s < FLEET_DEVICE_STEP_COUNT; s++) {
            out->by_wave[w][s] = e->by_wave[w][s];
            out->by_step[s] += e->by_wave[w][s];
        }
}

/* -- wishes --------------------------------------------------------------------------------------
 */

/* Those that have failed, or were rolled back, are tried again: from where they stand, or with
 * another key and certificate.  The fingerprint tells then what is to be discarded. */
static void revive(struct engine *e, bool renew)
{
    for (size_t i = 0; i < e->device_count; i++) {
        struct edevice *d = e->all[i];

        if (d->step != FLEET_DEVICE_FAILED && d->step != FLEET_DEVICE_RETURNED)
            continue;
        replace(e, &d->failure, NULL);
        replace(e, &d->reason, NULL);
        replace(e, &d->remedy, NULL);
        d->wait_s = 0;
        d->alone = false;
        d->renew = renew;
        if (renew || !engine_is_set(d->new_fp))
            engine_set_step(e, d, FLEET_DEVICE_PLANNED);
        else /* a certificate that was signed may never have been installed */
            engine_set_step(e, d,
                            engine_has_new(d, engine_seen(e, d)) ? FLEET_DEVICE_READY
                                                                 : FLEET_DEVICE_SIGNED);
        engine_touch_device(e, d);
    }
    for (size_t i = 0; i < e->gateway_count; i++) {
        memset(e->gateways[i]->wait_s, 0, sizeof(e->gateways[i]->wait_s));
        engine_touch_gateway(e, e->gateways[i]);
    }
}

static int wish_resume(struct engine *e, bool renew, struct err *err)
{
    switch (e->c.mode) {
    case FLEET_RUNNING:
        return 0;
    case FLEET_PAUSED:
        break;
    case FLEET_HALTED:
        revive(e, renew);
        break;
    case FLEET_RETURNING:
        return err_set(err, ERR_PHASE,
                       "a wave is being rolled back: resume once that is done; certflip-fleet "
                       "status tells");
    case FLEET_ABORTED:
        return err_set(err, ERR_PHASE,
                       "the campaign was aborted: begin another one, under another name");
    case FLEET_DONE:
    case FLEET_MODE_COUNT:
        return err_set(err, ERR_PHASE, "the campaign is done: there is nothing left to do");
    }
    /* What has gone by meanwhile is no time to prove anything, nor to wait for anybody. */
    if (e->c.phase == FLEET_MIGRATE) {
        e->c.soak_until_s = 0;
        e->c.wave_begun_s = 0;
    }
    engine_mode(e, FLEET_RUNNING, "");
    for (size_t i = 0; i < e->device_count; i++) /* there may have been news in between */
        engine_touch_device(e, e->all[i]);
    return 0;
}

static void cancel_all(struct engine *e)
{
    list_for_each_safe (it, &e->requests)
        engine_request_end(e, list_entry(it, struct erequest, all));
}

static int wish_rollback(struct engine *e, const char *which, struct err *err)
{
    bool all = strcmp(which, "all") == 0, current = strcmp(which, "wave") == 0;
    char *end = NULL;
    long wave = all ? 0 : current ? e->c.wave : strtol(which, &end, 10);
    size_t there = 0;
    int to;

    if (current && wave < 0)
        return err_set(err, ERR_PHASE, "no wave was begun yet");
    if (!all && !current && (end == which || *end != '\0' || wave < 0 || wave >= e->c.waves))
        return err_set(err, ERR_INVALID, "there is no wave %s: 0 (the pilot) to %d", which,
                       e->c.waves - 1);
    if (e->c.phase == FLEET_RETIRE || e->c.phase == FLEET_FINISHED)
        return err_set(err, ERR_PHASE,
                       "old identities are being retired, or are: there is no way back; begin a "
                       "campaign for other identities");
    if (e->c.mode == FLEET_RETURNING)
        return err_set(err, ERR_PHASE, "a wave is being rolled back already");
    to = all ? e->c.waves - 1 : (int)wave;
    for (int w = (int)wave; w <= to; w++)
        there += e->by_wave[w][FLEET_DEVICE_FLIPPING] + e->by_wave[w][FLEET_DEVICE_MIGRATED] +
                 e->by_wave[w][FLEET_DEVICE_VALIDATED];
    if (there == 0)
        return err_set(err, ERR_PHASE, "no device %s is on its new identity, or about to be",
                       all ? "of the campaign" : "of that wave");
    e->c.back_from = (int)wave;
    e->c.back_to = to;
    engine_mode(e, FLEET_RETURNING, "rolled back by an operator");
    return 0;
}

static int wish_skip(struct engine *e, const char *which, struct err *err)
{
    struct edevice *d = map_get(e->devices, which);

    if (d == NULL)
        return err_set(err, ERR_NOT_FOUND, "%s is no device of the campaign: GATEWAY/DEVICE",
                       which);
    if (d->step == FLEET_DEVICE_SKIPPED)
        return 0;
    if (d->step == FLEET_DEVICE_RETIRED)
        return err_set(err, ERR_PHASE, "%s is retired: there is nothing left to skip", which);
    if (d->step == FLEET_DEVICE_FLIPPING)
        engine_note(e, "left-behind", d->gw, d,
                    "its flip may be under way still: it ends by itself at the gateway, on either "
                    "identity, and nobody looks after it");
    else if (d->step == FLEET_DEVICE_MIGRATED || d->step == FLEET_DEVICE_VALIDATED)
        engine_note(e, "left-behind", d->gw, d,
                    "it stays on its new identity, as far as is known, and its old one is not "
                    "archived");
    engine_set_step(e, d, FLEET_DEVICE_SKIPPED);
    return 0;
}

int engine_wish(struct engine *e, const char *who, const char *wish, int64_t now_s, struct err *err)
{
    int rc = 0;

    e->now_s = now_s;
    if (strcmp(wish, "pause") == 0) {
        if (e->c.mode == FLEET_RUNNING)
            engine_mode(e, FLEET_PAUSED, who);
        else if (e->c.mode != FLEET_PAUSED)
            rc = err_set(err, ERR_PHASE, "the campaign is %s: only a running one can be paused",
                         fleet_mode_name(e->c.mode));
    } else if (strcmp(wish, "resume") == 0) {
        rc = wish_resume(e, false, err);
    } else if (strcmp(wish, "renew") == 0) {
        rc = wish_resume(e, true, err);
    } else if (strcmp(wish, "abort") == 0) {
        if (e->c.mode == FLEET_DONE)
            return err_set(err, ERR_PHASE, "the campaign is done: there is nothing to abort");
        if (e->c.mode == FLEET_RETURNING) { /* what is on its way back is not left half-way */
            e->c.ended_s = now_s;
            e->save_campaign = true;
        } else if (e->c.mode != FLEET_ABORTED) {
            e->c.ended_s = now_s;
            cancel_all(e);
            engine_mode(e, FLEET_ABORTED, who);
        }
    } else if (strncmp(wish, "rollback:", 9) == 0) {
        rc = wish_rollback(e, wish + 9, err);
    } else if (strncmp(wish, "skip:", 5) == 0) {
        rc = wish_skip(e, wish + 5, err);
    } else {
        return err_set(err, ERR_INVALID, "%s is no wish that is known", wish);
    }
    if (rc == 0)
        engine_note(e, "operator", NULL, NULL, "%s: %s", who, wish);
    return rc;
}
