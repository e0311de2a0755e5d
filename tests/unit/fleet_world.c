/* fleet_world.c - see fleet_world.h. */
#include "fleet_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/str.h"
#include "control/rpc.h"
#include "fleet/plan.h"

#define ROOT "certflip/v1"
#define DAY  86400

/* -- small things --------------------------------------------------------------------------------
 */

static uint64_t next(struct world *w)
{
    w->seed ^= w->seed << 13;
    w->seed ^= w->seed >> 7;
    w->seed ^= w->seed << 17;
    return w->seed;
}

static bool chance(struct world *w, unsigned thousandths)
{
    return thousandths > 0 && next(w) % 1000 < thousandths;
}

static void *alloc(size_t n)
{
    void *p = calloc(1, n);

    assert_non_null(p);
    return p;
}

static char *copy(const char *s)
{
    char *p = strdup(s);

    assert_non_null(p);
    return p;
}

static struct world_gateway *gateway_of(struct world *w, const char *name)
{
    for (int i = 0; i < w->gateway_count; i++)
        if (strcmp(w->gateways[i].name, name) == 0)
            return &w->gateways[i];
    fail_msg("there is no gateway %s", name);
    return NULL;
}

static struct world_device *device_of(struct world *w, const struct world_gateway *g,
                                      const char *name)
{
    for (int i = 0; i < w->device_count; i++)
        if (&w->gateways[w->devices[i].gateway] == g && strcmp(w->devices[i].name, name) == 0)
            return &w->devices[i];
    return NULL;
}

/* -- what is on its way --------------------------------------------------------------------------
 */

struct message {
    struct list link;
    char *topic, *payload; /* topic NULL: a reply */
    char *gateway, *id;
    int64_t due_s;
};

struct command {
    struct list link;
    char *id, *method, *params;
};

struct done {
    struct list link;
    char *id, *method, *params, *reply;
    bool rows; /* are in it */
};

/* Takes both. */
static void send_topic(struct world *w, char *topic, char *payload)
{
    struct message *m;

    if (!w->surely && chance(w, w->lose_topic)) {
        free(topic);
        free(payload);
        return;
    }
    m = alloc(sizeof(*m));

    m->topic = topic;
    m->payload = payload;
    m->due_s = strstr(topic, "/device/") == NULL ? 0 : w->now_s + w->lag_s;
    list_init(&m->link);
    list_add(&w->wire, &m->link);
}

static json_t *slot(const char *fp)
{
    return fp[0] == '\0' ? json_null() : json_pack("{s:b, s:s}", "usable", 1, "fingerprint", fp);
}

static bool is_active_new(const struct world_device *d)
{
    return d->phase == VIEW_TRIAL || d->phase == VIEW_COMMITTED;
}

static void tell_device(struct world *w, const struct world_device *d)
{
    const struct world_gateway *g = &w->gateways[d->gateway];
    bool new = is_active_new(d);
    bool up = d->online && (d->phase != VIEW_TRIAL || !d->refuses);
    json_t *all;

    if (!g->online)
        return;
    all = json_pack(
        "{s:s, s:s, s:s, s:b, s:{s:o, s:o}, s:o, s:s?, s:o}", "device", d->name, "phase",
        view_phase_name(d->phase), "active", new ? "new" : "old", "online", (int)d->online, "slots",
        "old", slot(d->old_fp), "new", slot(d->new_fp), "upstream",
        up ? json_pack("{s:s, s:s, s:s}", "slot", new ? "new" : "old", "state", "accepted",
                       "fingerprint", new ? d->new_fp : d->old_fp)
           : json_null(),
        "reason", d->phase == VIEW_ROLLED_BACK ? "the broker refused it" : NULL, "last_error",
        d->refuses && d->phase == VIEW_ROLLED_BACK
            ? json_pack("{s:s, s:s, s:s}", "class", "identity", "message", "unknown CA", "remedy",
                        "add it at the broker")
            : json_null());
    assert_non_null(all);
    send_topic(w, str_printf(ROOT "/%s/device/%s", g->name, d->name), json_dumps(all, 0));
    json_decref(all);
}

static void tell_state(struct world *w, const struct world_gateway *g)
{
    json_t *upstream = json_array(), *all;
    char fp[65];

    if (g->in_force) {
        memset(fp, 'c', 64);
        fp[64] = '\0';
        json_array_append_new(upstream, json_pack("{s:s}", "fingerprint", fp));
    }
    all = json_pack("{s:b, s:s, s:{s:[], s:o}}", "online", (int)g->online, "gateway", g->name,
                    "trust", "downstream", "upstream", upstream);
    assert_non_null(all);
    send_topic(w, str_printf(ROOT "/%s/state", g->name), json_dumps(all, 0));
    json_decref(all);
}

/* -- gateways ------------------------------------------------------------------------------------
 */

static json_t *error_of(enum rpc_code code, const char *message)
{
    return json_pack("{s:i, s:s, s:s, s:s}", "code", code, "name", rpc_error_name(code), "message",
                     message, "remedy", "mend it");
}

static json_t *row_ok(const struct world_device *d)
{
    return json_pack("{s:s, s:b, s:s, s:b}", "device", d->name, "ok", 1, "phase",
                     view_phase_name(d->phase), "changed", 1);
}

static json_t *row_bad(const struct world_device *d, enum rpc_code code)
{
    return json_pack("{s:s, s:b, s:s, s:o}", "device", d->name, "ok", 0, "phase",
                     view_phase_name(d->phase), "error", error_of(code, "not so"));
}

static json_t *do_keygen(struct world *w, struct world_device *d, const json_t *params)
{
    json_t *row;
    char *csr;

    if (d->phase != VIEW_STEADY)
        return row_bad(d, RPC_PHASE);
    d->key = true;
    if (json_is_true(json_object_get(params, "renew"))) {
        d->renewals++;
        d->odd_request = false;
    }
    tell_device(w, d);
    row = row_ok(d);
    csr = str_printf("CSR of %d/%s", d->gateway, d->name);
    json_object_set_new(row, "csr", json_string(csr));
    free(csr);
    return row;
}

static json_t *do_flip(struct world *w, struct world_device *d, const json_t *params)
{
    int64_t by_s = json_integer_value(json_object_get(params, "not_after_s"));

    if (d->phase == VIEW_TRIAL || d->phase == VIEW_COMMITTED)
        return row_ok(d);
    if (d->phase != VIEW_STAGED)
        return row_bad(d, d->phase == VIEW_ROLLED_BACK ? RPC_QUARANTINED : RPC_NO_IDENTITY);
    if (by_s < w->now_s)
        return row_bad(d, RPC_TOO_LATE);
    d->phase = VIEW_TRIAL;
    d->flips++;
    d->begin_by_s = by_s;
    d->due_s = d->online ? w->now_s + 2 : 0;
    tell_device(w, d);
    return row_ok(d);
}

/* What it must not do before its time is looked at here, against the truth. */
static json_t *do_rollback(struct world *w, struct world_device *d)
{
    if (d->phase != VIEW_TRIAL && d->phase != VIEW_COMMITTED)
        return d->phase == VIEW_ROLLED_BACK ? row_ok(d) : row_bad(d, RPC_PHASE);
    d->phase = VIEW_ROLLED_BACK;
    d->due_s = 0;
    d->rollbacks++;
    d->touched = true;
    tell_device(w, d);
    return row_ok(d);
}

static json_t *do_retire(struct world *w, struct world_device *d)
{
    if (d->phase == VIEW_STEADY)
        return row_ok(d);
    if (d->phase != VIEW_COMMITTED)
        return row_bad(d, RPC_PHASE);
    for (int i = 0; i < w->device_count; i++) { /* only at 100 % */
        const struct world_device *o = &w->devices[i];

        if (w->d_rows[i].step == FLEET_DEVICE_SKIPPED)
            continue;
        if (o->phase != VIEW_COMMITTED && o->retires == 0)
            fail_msg("%s is retired while %s is %s", d->name, o->name, view_phase_name(o->phase));
    }
    d->phase = VIEW_STEADY;
    memcpy(d->old_fp, d->new_fp, sizeof(d->old_fp));
    d->new_fp[0] = '\0';
    d->retires++;
    tell_device(w, d);
    return row_ok(d);
}

static json_t *do_clear(struct world *w, struct world_device *d)
{
    if (d->phase != VIEW_ROLLED_BACK)
        return row_bad(d, RPC_PHASE);
    d->phase = VIEW_STAGED;
    tell_device(w, d);
    return row_ok(d);
}

static json_t *do_discard(struct world *w, struct world_device *d)
{
    if (d->phase != VIEW_STAGED && d->phase != VIEW_ROLLED_BACK && d->phase != VIEW_STEADY)
        return row_bad(d, RPC_PHASE);
    d->phase = VIEW_STEADY;
    d->new_fp[0] = '\0';
    d->key = false;
    d->refuses = d->refuses && !d->bad_certificate;
    tell_device(w, d);
    return row_ok(d);
}

static json_t *do_one(struct world *w, struct world_device *d, const char *method,
                      const json_t *params)
{
    if (d->refusal != 0)
        return row_bad(d, d->refusal);
    if (d->confirm_refusal != 0 && strcmp(method, "confirm") == 0) {
        enum rpc_code code = d->confirm_refusal;

        d->confirm_refusal = 0;
        return row_bad(d, code);
    }
    if (strcmp(method, "identity.keygen") == 0)
        return do_keygen(w, d, params);
    if (strcmp(method, "flip") == 0)
        return do_flip(w, d, params);
    if (strcmp(method, "rollback") == 0)
        return do_rollback(w, d);
    if (strcmp(method, "retire") == 0)
        return do_retire(w, d);
    if (strcmp(method, "quarantine.clear") == 0)
        return do_clear(w, d);
    if (strcmp(method, "identity.discard") == 0)
        return do_discard(w, d);
    if (strcmp(method, "confirm") == 0) {
        d->confirms++;
        return row_ok(d);
    }
    fail_msg("%s is not known", method);
    return NULL;
}

static json_t *result_of_all(struct world *w, struct world_gateway *g, const char *method,
                             const json_t *params, json_t **error)
{
    const json_t *target = json_object_get(params, "target");
    json_t *good = json_array(), *bad = json_array();
    size_t done, refused;

    assert_true(json_array_size(target) > 0);
    for (size_t i = 0; i < json_array_size(target); i++) {
        const char *name = json_string_value(json_array_get(target, i));
        struct world_device *d = device_of(w, g, name);

        if (d != NULL && d->name[0] != '\0')
            continue;
        json_decref(good);
        json_decref(bad);
        *error = error_of(RPC_NO_DEVICE, "there is no device of that name");
        return NULL;
    }
    for (size_t i = 0; i < json_array_size(target); i++) {
        struct world_device *d = device_of(w, g, json_string_value(json_array_get(target, i)));
        json_t *row;

        if (d == NULL)
            continue;
        row = do_one(w, d, method, params);
        json_array_append_new(json_is_true(json_object_get(row, "ok")) ? good : bad, row);
    }
    done = json_array_size(good);
    refused = json_array_size(bad);
    json_array_extend(bad, good);
    json_decref(good);
    if (done == 0) {
        *error = error_of(RPC_PHASE, "all were refused");
        json_object_set_new(
            *error, "data",
            json_pack("{s:s, s:s, s:o}", "name", "phase", "remedy", "mend it", "results", bad));
        return NULL;
    }
    return json_pack("{s:i, s:i, s:o}", "done", (int)done, "refused", (int)refused, "devices", bad);
}

static json_t *result_of(struct world *w, struct world_gateway *g, const char *method,
                         const json_t *params, json_t **error)
{
    if (g->unauthorised) {
        *error = error_of(RPC_NOT_AUTHORISED, "anna may not do that");
        return NULL;
    }
    if (strcmp(method, "trust.add") == 0) {
        g->adds++;
        if (g->refuses_trust) {
            *error =
                error_of(RPC_ANCHOR, w->weak_key == NULL ? "the CA has a weak key" : w->weak_key);
            return NULL;
        }
        if (!g->never_trusts) {
            g->in_force = true;
            tell_state(w, g);
        }
        return json_pack("{s:s, s:i, s:[]}", "set", "upstream", "changed", 1, "anchors");
    }
    if (strcmp(method, "trust.remove") == 0) {
        g->removes++;
        for (int i = 0; i < w->device_count; i++)
            assert_true(w->devices[i].retires > 0 || w->d_rows[i].step == FLEET_DEVICE_SKIPPED ||
                        &w->gateways[w->devices[i].gateway] != g);
        if (g->in_use) {
            *error = error_of(RPC_IN_USE, "it is in use");
            return NULL;
        }
        return json_pack("{s:s, s:b}", "set", "upstream", "changed", 1);
    }
    if (strcmp(method, "identity.install") == 0) {
        const char *chain = json_string_value(json_object_get(params, "chain"));
        struct world_device *d =
            device_of(w, g, json_string_value(json_object_get(params, "device")));

        if (d == NULL || chain == NULL) {
            fail_msg("there is nothing to install");
            return NULL;
        }
        if (!d->key) {
            *error = error_of(RPC_NO_IDENTITY, "there is no key");
            return NULL;
        }
        if (g->no_install) {
            *error = error_of(RPC_LINT, "the chain is too long");
            return NULL;
        }
        d->installs++;
        assert_true(d->phase == VIEW_STEADY || d->phase == VIEW_STAGED);
        d->phase = VIEW_STAGED;
        memcpy(d->new_fp, chain, 64);
        d->new_fp[64] = '\0';
        tell_device(w, d);
        return json_pack("{s:s, s:s, s:b, s:o}", "device", d->name, "phase", "staged", "changed", 1,
                         "slot", slot(d->new_fp));
    }
    return result_of_all(w, g, method, params, error);
}

static void send_reply(struct world *w, const struct world_gateway *g, const char *id,
                       const char *reply)
{
    int times = chance(w, w->lose_reply) ? 0 : chance(w, w->twice_reply) ? 2 : 1;

    for (int i = 0; i < times; i++) {
        struct message *m = alloc(sizeof(*m));

        m->gateway = copy(g->name);
        m->id = copy(id);
        m->payload = copy(reply);
        list_init(&m->link);
        list_add(&w->wire, &m->link);
    }
}

/* As a gateway keeps a reply that is long: without its rows. */
static char *without_rows(const char *reply)
{
    json_t *all = json_loads(reply, 0, NULL);
    char *text;

    if (json_object_get(json_object_get(all, "result"), "devices") != NULL)
        json_object_set_new(json_object_get(all, "result"), "devices", json_array());
    json_object_del(json_object_get(json_object_get(all, "error"), "data"), "results");
    text = json_dumps(all, 0);
    json_decref(all);
    return text;
}

static void serve(struct world *w, struct world_gateway *g, struct command *c)
{
    json_t *params, *result, *error = NULL, *reply;
    struct done *d;

    list_for_each (it, &g->done) {
        d = list_entry(it, struct done, link);
        if (strcmp(d->id, c->id) != 0)
            continue;
        assert_string_equal(d->method, c->method); /* an id is of one request */
        assert_string_equal(d->params, c->params);
        send_reply(w, g, c->id, d->reply);
        return;
    }
    params = json_loads(c->params, 0, NULL);
    assert_non_null(params);
    result = result_of(w, g, c->method, params, &error);
    reply = error != NULL ? json_pack("{s:s, s:o}", "id", c->id, "error", error)
                          : json_pack("{s:s, s:o}", "id", c->id, "result", result);
    assert_non_null(reply);
    d = alloc(sizeof(*d));
    d->id = copy(c->id);
    d->method = copy(c->method);
    d->params = copy(c->params);
    d->reply = json_dumps(reply, 0);
    json_decref(reply);
    json_decref(params);
    send_reply(w, g, c->id, d->reply);
    if (chance(w, w->lose_rows)) {
        char *cut = without_rows(d->reply);

        free(d->reply);
        d->reply = cut;
    }
    list_init(&d->link);
    list_add(&g->done, &d->link);
}

static void free_command(struct command *c)
{
    list_del(&c->link);
    free(c->id);
    free(c->method);
    free(c->params);
    free(c);
}

static void tick_gateway(struct world *w, struct world_gateway *g)
{
    list_for_each_safe (it, &g->inbox) {
        struct command *c = list_entry(it, struct command, link);

        if (!g->online)
            break;
        serve(w, g, c);
        free_command(c);
    }
    for (int i = 0; i < w->device_count; i++) {
        struct world_device *d = &w->devices[i];

        if (&w->gateways[d->gateway] != g || d->phase != VIEW_TRIAL)
            continue;
        if (d->due_s == 0 && d->online)
            d->due_s = w->now_s + 2;
        if (d->due_s == 0 && w->now_s > d->begin_by_s) {
            d->phase = VIEW_STAGED;
            tell_device(w, d);
        } else if (d->due_s != 0 && w->now_s >= d->due_s && !d->stuck) {
            d->phase = d->refuses ? VIEW_ROLLED_BACK : VIEW_COMMITTED;
            d->commits += d->refuses ? 0 : 1;
            d->due_s = 0;
            tell_device(w, d);
        }
    }
}

static void tell_all(struct world *w, const struct world_gateway *g)
{
    tell_state(w, g);
    for (int i = 0; i < w->device_count; i++)
        if (&w->gateways[w->devices[i].gateway] == g)
            tell_device(w, &w->devices[i]);
}

void world_online(struct world *w, int gateway, bool online)
{
    struct world_gateway *g = &w->gateways[gateway];

    g->online = online;
    tell_state(w, g);
    if (online)
        tell_all(w, g);
}

void world_sensor(struct world *w, int gateway, int n, bool online)
{
    world_device(w, gateway, n)->online = online;
    tell_device(w, world_device(w, gateway, n));
}

/* -- the ledger ----------------------------------------------------------------------------------
 */

struct saved {
    struct list link;
    enum what { SAVE_CAMPAIGN, SAVE_GATEWAY, SAVE_DEVICE, SAVE_PEM, SAVE_REQUEST, SAVE_DEL } what;
    struct fleet_campaign c;
    struct fleet_gateway g;
    struct fleet_device d;
    char *a, *b, *csr, *chain;
    struct fleet_request r;
};

struct stored {
    struct list link;
    struct fleet_request r;
};

static struct saved *save(struct world *w, enum what what)
{
    struct saved *s = alloc(sizeof(*s));

    s->what = what;
    list_init(&s->link);
    list_add(&w->group, &s->link);
    return s;
}

static bool takes_part(const struct world *w, int gateway)
{
    for (int i = 0; i < w->device_count; i++)
        if (w->devices[i].gateway == gateway && w->d_rows[i].step != FLEET_DEVICE_SKIPPED)
            return true;
    return false;
}

static int on_campaign(void *arg, const struct fleet_campaign *c, struct err *err)
{
    struct world *w = arg;

    (void)err;
    save(w, SAVE_CAMPAIGN)->c = *c;
    /* Nobody flips before all that can be reached believe the new CA. */
    if (c->phase == FLEET_MIGRATE && w->c.phase == FLEET_PREPARE)
        for (int i = 0; i < w->gateway_count; i++) {
            const struct view_gateway *g = view_gateway(&w->view, w->gateways[i].name);

            if (g != NULL && g->online && w->gateways[i].online && takes_part(w, i))
                assert_true(w->gateways[i].in_force);
        }
    return 0;
}

static int on_gateway(void *arg, const struct fleet_gateway *g, struct err *err)
{
    (void)err;
    save(arg, SAVE_GATEWAY)->g = *g;
    return 0;
}

static int index_of(struct world *w, const char *gateway, const char *device)
{
    for (int i = 0; i < w->device_count; i++)
        if (strcmp(w->d_rows[i].gateway, gateway) == 0 && strcmp(w->d_rows[i].name, device) == 0)
            return i;
    fail_msg("there is no device %s/%s", gateway, device);
    return -1;
}

static int on_device(void *arg, const struct fleet_device *d, struct err *err)
{
    struct world *w = arg;
    const struct world_device *truth = &w->devices[index_of(w, d->gateway, d->name)];

    (void)err;
    save(w, SAVE_DEVICE)->d = *d;
    if (d->step == FLEET_DEVICE_MIGRATED || d->step == FLEET_DEVICE_VALIDATED) {
        assert_true(truth->commits > 0); /* success is what was seen */
        assert_true(strcmp(truth->new_fp, d->new_fp) == 0 || truth->retires > 0);
    }
    if (d->step == FLEET_DEVICE_RETIRED)
        assert_true(truth->retires == 1);
    return 0;
}

static int on_pem(void *arg, const char *gateway, const char *device, const char *csr,
                  const char *chain, struct err *err)
{
    struct saved *s = save(arg, SAVE_PEM);

    (void)err;
    s->a = copy(gateway);
    s->b = copy(device);
    s->csr = csr == NULL ? NULL : copy(csr);
    s->chain = chain == NULL ? NULL : copy(chain);
    return 0;
}

/* What this group has put counts as well. */
static int on_pem_get(void *arg, const char *gateway, const char *device, char **csr, char **chain,
                      struct err *err)
{
    struct world *w = arg;
    int i = index_of(w, gateway, device);
    const char *a = w->csr[i], *b = w->chain[i];

    (void)err;
    list_for_each (it, &w->group) {
        const struct saved *s = list_entry(it, struct saved, link);

        if (s->what != SAVE_PEM || strcmp(s->a, gateway) != 0 || strcmp(s->b, device) != 0)
            continue;
        a = s->csr != NULL ? s->csr : a;
        b = s->chain != NULL ? s->chain : b;
    }
    *csr = a == NULL ? NULL : copy(a);
    *chain = b == NULL ? NULL : copy(b);
    return 0;
}

/* The order of things, as it is made durable. */
static void check_order(struct world *w, const struct fleet_request *r)
{
    struct world_gateway *g = gateway_of(w, r->gateway);
    json_t *params = json_loads(r->params, 0, NULL);
    const json_t *target = json_object_get(params, "target");
    int64_t until_s;

    for (size_t i = 0; i < json_array_size(target); i++) {
        int n = index_of(w, r->gateway, json_string_value(json_array_get(target, i)));
        int wave = w->d_rows[n].wave;

        if (strcmp(r->method, "flip") == 0) {
            assert_true(g->in_force);
            assert_true(engine_campaign(w->engine)->phase >= FLEET_MIGRATE);
            assert_true(wave <= engine_campaign(w->engine)->wave);
            assert_true(windows_open(&w->conf->hours, w->now_s, &until_s));
            assert_true(json_integer_value(json_object_get(params, "not_after_s")) <= until_s);
            assert_true(w->devices[n].new_fp[0] != '\0');
        }
        if (strcmp(r->method, "rollback") == 0) {
            assert_true(wave >= engine_campaign(w->engine)->back_from);
            assert_true(wave <= engine_campaign(w->engine)->back_to);
        }
        if (strcmp(r->method, "retire") == 0)
            assert_int_equal(engine_campaign(w->engine)->phase, FLEET_RETIRE);
    }
    json_decref(params);
}

static int on_request(void *arg, const struct fleet_request *r, struct err *err)
{
    struct world *w = arg;
    struct saved *s = save(w, SAVE_REQUEST);

    (void)err;
    check_order(w, r);
    s->r = *r;
    s->r.method = copy(r->method);
    s->r.params = copy(r->params);
    s->r.reply = NULL;
    return 0;
}

static int on_request_del(void *arg, const char *id, struct err *err)
{
    (void)err;
    save(arg, SAVE_DEL)->a = copy(id);
    return 0;
}

static int on_note(void *arg, const char *what, const char *gateway, const char *device,
                   const char *text, struct err *err)
{
    struct world *w = arg;

    (void)err;
    w->notes++;
    if (w->log_len + 1000 < sizeof(w->log))
        w->log_len += (size_t)snprintf(w->log + w->log_len, sizeof(w->log) - w->log_len,
                                       "[%lld] %s %s/%s %s\n", (long long)(w->now_s % 1000000),
                                       what, gateway, device, text);
    return 0;
}

static void free_saved(struct saved *s)
{
    list_del(&s->link);
    free(s->a);
    free(s->b);
    free(s->csr);
    free(s->chain);
    free(s->r.method);
    free(s->r.params);
    free(s);
}

static void apply(struct world *w, struct saved *s)
{
    struct stored *st;
    int i;

    switch (s->what) {
    case SAVE_CAMPAIGN:
        w->c = s->c;
        return;
    case SAVE_GATEWAY:
        for (i = 0; i < w->gateway_count; i++)
            if (strcmp(w->g_rows[i].name, s->g.name) == 0)
                w->g_rows[i] = s->g;
        return;
    case SAVE_DEVICE:
        w->d_rows[index_of(w, s->d.gateway, s->d.name)] = s->d;
        return;
    case SAVE_PEM:
        i = index_of(w, s->a, s->b);
        if (s->csr != NULL) {
            free(w->csr[i]);
            w->csr[i] = s->csr;
            s->csr = NULL;
        }
        if (s->chain != NULL) {
            free(w->chain[i]);
            w->chain[i] = s->chain;
            s->chain = NULL;
        }
        return;
    case SAVE_REQUEST:
        st = alloc(sizeof(*st));
        st->r = s->r;
        s->r.method = s->r.params = NULL;
        list_init(&st->link);
        list_add(&w->requests, &st->link);
        return;
    case SAVE_DEL:
        list_for_each_safe (it, &w->requests) {
            st = list_entry(it, struct stored, link);
            if (strcmp(st->r.id, s->a) != 0)
                continue;
            list_del(it);
            free(st->r.method);
            free(st->r.params);
            free(st);
        }
        return;
    }
}

static void end_group(struct world *w, bool commit)
{
    list_for_each_safe (it, &w->group) {
        struct saved *s = list_entry(it, struct saved, link);

        if (commit)
            apply(w, s);
        free_saved(s);
    }
}

/* -- the controller ------------------------------------------------------------------------------
 */

struct to_sign {
    struct list link;
    char *gateway, *device;
};

static void load(struct world *w)
{
    struct err err = {0};

    w->engine = engine_new(w->conf, &w->view);
    assert_non_null(w->engine);
    assert_int_equal(engine_load_campaign(w->engine, &w->c, &err), 0);
    for (int i = 0; i < w->gateway_count; i++)
        assert_int_equal(engine_load_gateway(w->engine, &w->g_rows[i], &err), 0);
    for (int i = 0; i < w->device_count; i++)
        assert_int_equal(engine_load_device(w->engine, &w->d_rows[i], &err), 0);
    list_for_each (it, &w->requests)
        assert_int_equal(
            engine_load_request(w->engine, &list_entry(it, struct stored, link)->r, &err), 0);
}

static void forget_wire(struct world *w)
{
    list_for_each_safe (it, &w->wire) {
        struct message *m = list_entry(it, struct message, link);

        list_del(it);
        free(m->topic);
        free(m->payload);
        free(m->gateway);
        free(m->id);
        free(m);
    }
}

static void forget_signing(struct world *w)
{
    list_for_each_safe (it, &w->signing) {
        struct to_sign *s = list_entry(it, struct to_sign, link);

        list_del(it);
        free(s->gateway);
        free(s->device);
        free(s);
    }
}

static void take_wire(struct world *w);

static void end_controller(struct world *w)
{
    end_group(w, false);
    engine_free(w->engine);
    w->engine = NULL;
    forget_wire(w);
    forget_signing(w);
    view_fini(&w->view);
    assert_int_equal(view_init(&w->view), 0);
}

void world_forget(struct world *w)
{
    end_controller(w);
    load(w);
}

void world_kill(struct world *w)
{
    end_controller(w);
    w->surely = true;
    for (int i = 0; i < w->gateway_count; i++) {
        tell_state(w, &w->gateways[i]);
        if (w->gateways[i].online)
            tell_all(w, &w->gateways[i]);
    }
    w->surely = false;
    load(w);
    take_wire(w);
    w->kills++;
}

static void take_wire(struct world *w)
{
    struct err err = {0};

    list_for_each_safe (it, &w->wire) {
        struct message *m = list_entry(it, struct message, link);

        if (m->due_s > w->now_s)
            continue;
        list_del(it);
        if (m->topic == NULL) {
            assert_int_equal(
                engine_reply(w->engine, m->gateway, m->id, m->payload, strlen(m->payload), &err),
                0);
        } else {
            char *name = copy(m->topic + strlen(ROOT) + 1), *slash = strchr(name, '/');

            if (view_take(&w->view, ROOT, m->topic, m->payload, strlen(m->payload), w->now_s,
                          &err) != 0)
                fail_msg("%s: %s", m->topic, err.msg);
            *slash = '\0';
            if (strncmp(slash + 1, "device/", 7) == 0)
                engine_device_news(w->engine, name, slash + 8);
            else
                engine_gateway_news(w->engine, name);
            free(name);
        }
        free(m->topic);
        free(m->payload);
        free(m->gateway);
        free(m->id);
        free(m);
    }
}

static int on_send(void *arg, const struct fleet_request *r, struct err *err)
{
    struct world *w = arg;
    struct world_gateway *g = gateway_of(w, r->gateway);
    struct command *c;
    bool durable = false;

    (void)err;
    list_for_each (it, &w->requests)
        durable = durable || strcmp(list_entry(it, struct stored, link)->r.id, r->id) == 0;
    assert_true(durable); /* never before it is in the ledger */
    if (chance(w, w->lose_command))
        return 0;
    c = alloc(sizeof(*c));
    c->id = copy(r->id);
    c->method = copy(r->method);
    c->params = copy(r->params);
    list_init(&c->link);
    list_add(&g->inbox, &c->link);
    return 0;
}

static int on_sign(void *arg, const char *gateway, const char *device, struct err *err)
{
    struct world *w = arg;
    struct to_sign *s = alloc(sizeof(*s));

    (void)err;
    assert_non_null(w->csr[index_of(w, gateway, device)]);
    s->gateway = copy(gateway);
    s->device = copy(device);
    list_init(&s->link);
    list_add(&w->signing, &s->link);
    return 0;
}

static void finish_signing(struct world *w)
{
    static unsigned serial;

    list_for_each_safe (it, &w->signing) {
        struct to_sign *s = list_entry(it, struct to_sign, link);
        char chain[80];
        struct signed_cert cert = {.gateway = s->gateway, .device = s->device, .chain = chain};
        struct err err = {0};

        if (w->slow && chance(w, 500))
            continue;
        snprintf(cert.fp, sizeof(cert.fp), "%060x%04x", ++serial, 0xabcd);
        snprintf(chain, sizeof(chain), "%s", cert.fp);
        cert.not_after_s = w->now_s + 365 * DAY;
        if (w->devices[index_of(w, s->gateway, s->device)].odd_request) {
            cert.rc = -ERR_DENIED;
            cert.why = "its request is not signed by its own key";
        }
        assert_int_equal(engine_signed(w->engine, &cert, &err), 0);
        list_del(it);
        free(s->gateway);
        free(s->device);
        free(s);
    }
}

static const struct engine_out *out_of(struct world *w)
{
    static struct engine_out out;

    out = (struct engine_out){on_campaign, on_gateway,     on_device, on_pem, on_pem_get,
                              on_request,  on_request_del, on_note,   w};
    return &out;
}

/* The broker tells again what it retains. */
static int on_refresh(void *arg, const char *gateway, struct err *err)
{
    struct world *w = arg;

    (void)err;
    w->surely = true;
    tell_all(w, gateway_of(w, gateway));
    w->surely = false;
    return 0;
}

static void second(struct world *w)
{
    struct err err = {0};

    w->now_s++;
    for (int i = 0; i < w->gateway_count; i++) {
        if (chance(w, w->flap))
            world_online(w, i, !w->gateways[i].online);
        tick_gateway(w, &w->gateways[i]);
    }
    take_wire(w);
    finish_signing(w);
    if (chance(w, w->kill)) {
        world_kill(w);
        return;
    }
    if (engine_step(w->engine, w->now_s, out_of(w), &err) != 0)
        fail_msg("%s", err.msg);
    if (chance(w, w->kill)) { /* before it was durable */
        world_kill(w);
        return;
    }
    end_group(w, true);
    if (chance(w, w->kill)) { /* after it, and before anything was sent */
        world_kill(w);
        return;
    }
    assert_int_equal(engine_send(w->engine, w->now_s, on_send, w, &err), 0);
    if (chance(w, w->kill)) {
        world_kill(w);
        return;
    }
    assert_int_equal(engine_refresh(w->engine, w->now_s, on_refresh, w, &err), 0);
    assert_int_equal(engine_sign(w->engine, w->now_s, 16, on_sign, w, &err), 0);
}

static bool goes_on(const struct world *w)
{
    return w->c.mode == FLEET_RUNNING || w->c.mode == FLEET_RETURNING;
}

void world_run(struct world *w, int64_t seconds)
{
    for (int64_t i = 0; i < seconds && goes_on(w); i++)
        second(w);
}

void world_until(struct world *w, enum fleet_mode mode)
{
    for (int i = 0; i < DAY && w->c.mode != mode; i++) {
        if (!goes_on(w))
            break;
        second(w);
    }
    if (w->c.mode != mode)
        fail_msg("is %s in phase %s, wave %d: %s\n%s", fleet_mode_name(w->c.mode),
                 fleet_phase_name(w->c.phase), w->c.wave, w->c.reason,
                 w->log_len > 900 ? w->log + w->log_len - 900 : w->log);
}

int world_wish(struct world *w, const char *wish)
{
    struct err err = {0};
    int rc = engine_wish(w->engine, "anna@plant", wish, w->now_s, &err);

    if (rc != 0)
        return rc;
    assert_int_equal(engine_save(w->engine, w->now_s, out_of(w), &err), 0);
    end_group(w, true);
    return 0;
}

/* -- life ----------------------------------------------------------------------------------------
 */

struct world *world_new(int gateways, int devices_each, const char *more)
{
    struct world *w = alloc(sizeof(*w));
    struct buf faults = {0};
    unsigned count = 0;
    char *text = str_printf("name = \"test\"; broker = { host = \"b\"; }; gateways = [ \"*\" ];\n"
                            "identity = { subject = \"CN={device},OU={gateway}\"; };\n"
                            "sign = { command = \"x\"; }; trust = ( { file = \"new.pem\"; } );\n"
                            "%s\n",
                            more);

    assert_true(gateways <= WORLD_GATEWAYS && gateways * devices_each <= WORLD_DEVICES);
    w->conf = campaign_load_text("test.conf", text, strlen(text), &faults, &count);
    if (w->conf == NULL)
        fail_msg("%.*s", (int)faults.len, (const char *)faults.p);
    free(text);
    buf_fini(&faults);
    for (size_t i = 0; i < w->conf->trust_count; i++) {
        struct campaign_anchor *a = &w->conf->trust[i];

        a->cas = alloc(sizeof(*a->cas));
        a->ca_count = 1;
        memset(a->cas[0].fp, 'c', 64);
        a->cas[0].subject = copy("CN=New");
        a->cas[0].pem = copy("PEM");
    }
    for (size_t i = 0; i < w->conf->retire.anchor_count; i++) {
        struct campaign_anchor *a = &w->conf->retire.anchors[i];

        a->cas = alloc(sizeof(*a->cas));
        a->ca_count = 1;
        memset(a->cas[0].fp, 'd', 64);
        a->cas[0].subject = copy("CN=Old");
        a->cas[0].pem = copy("PEM");
    }
    assert_int_equal(view_init(&w->view), 0);
    list_init(&w->requests);
    list_init(&w->group);
    list_init(&w->wire);
    list_init(&w->signing);
    w->now_s = 1800000000; /* Friday, 15 January 2027, 08:00 UTC */
    w->seed = 88172645463325252;
    w->gateway_count = gateways;
    w->device_count = gateways * devices_each;
    for (int g = 0; g < gateways; g++) {
        snprintf(w->gateways[g].name, 32, "gw-%02d", g);
        w->gateways[g].online = true;
        list_init(&w->gateways[g].inbox);
        list_init(&w->gateways[g].done);
        for (int i = 0; i < devices_each; i++) {
            struct world_device *d = &w->devices[g * devices_each + i];

            snprintf(d->name, 32, "d-%03d", i);
            d->gateway = g;
            d->online = true;
            snprintf(d->old_fp, sizeof(d->old_fp), "%060x%04x", g * 1000 + i + 1, 0xffff);
        }
    }
    return w;
}

static void take_silently(struct world *w)
{
    list_for_each_safe (it, &w->wire) {
        struct message *m = list_entry(it, struct message, link);
        struct err err = {0};

        if (m->topic != NULL)
            assert_int_equal(
                view_take(&w->view, ROOT, m->topic, m->payload, strlen(m->payload), w->now_s, &err),
                0);
    }
    forget_wire(w);
}

void world_begin(struct world *w)
{
    struct plan p;
    struct err err = {0};
    int n = 0;

    w->surely = true;
    for (int i = 0; i < w->gateway_count; i++) {
        bool online = w->gateways[i].online;

        w->gateways[i].online = true; /* what is retained of the devices is there anyhow */
        tell_all(w, &w->gateways[i]);
        w->gateways[i].online = online;
        tell_state(w, &w->gateways[i]);
    }
    w->surely = false;
    take_silently(w);
    if (plan_make(w->conf, &w->view, &p, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(p.device_count, w->device_count);
    w->c = (struct fleet_campaign){.name = "test",
                                   .wave = -1,
                                   .waves = p.waves,
                                   .back_from = -1,
                                   .back_to = -1,
                                   .started_s = w->now_s,
                                   .changed_s = w->now_s};
    w->g_rows = alloc((size_t)w->gateway_count * sizeof(*w->g_rows));
    w->d_rows = alloc((size_t)w->device_count * sizeof(*w->d_rows));
    for (size_t g = 0; g < p.gateway_count; g++) {
        plan_gateway_row(&p.gateways[g], w->now_s, &w->g_rows[g]);
        for (size_t i = 0; i < p.gateways[g].count; i++)
            plan_device_row(&p.gateways[g], &p.gateways[g].devices[i], w->now_s, &w->d_rows[n++]);
    }
    plan_fini(&p);
    load(w);
}

void world_free(struct world *w)
{
    end_group(w, false);
    engine_free(w->engine);
    forget_wire(w);
    forget_signing(w);
    view_fini(&w->view);
    campaign_free(w->conf);
    list_for_each_safe (it, &w->requests) {
        struct stored *s = list_entry(it, struct stored, link);

        free(s->r.method);
        free(s->r.params);
        free(s);
    }
    for (int i = 0; i < w->gateway_count; i++) {
        list_for_each_safe (it, &w->gateways[i].inbox)
            free_command(list_entry(it, struct command, link));
        list_for_each_safe (it, &w->gateways[i].done) {
            struct done *d = list_entry(it, struct done, link);

            free(d->id);
            free(d->method);
            free(d->params);
            free(d->reply);
            free(d);
        }
    }
    for (int i = 0; i < w->device_count; i++) {
        free(w->csr[i]);
        free(w->chain[i]);
    }
    free(w->g_rows);
    free(w->d_rows);
    free(w);
}

struct world_device *world_device(struct world *w, int gateway, int n)
{
    return &w->devices[gateway * (w->device_count / w->gateway_count) + n];
}

const struct fleet_device *world_row(struct world *w, int gateway, int n)
{
    return &w->d_rows[gateway * (w->device_count / w->gateway_count) + n];
}

enum fleet_device_step world_step_of(struct world *w, int gateway, int n)
{
    return world_row(w, gateway, n)->step;
}

size_t world_count(struct world *w, enum fleet_device_step step)
{
    size_t n = 0;

    for (int i = 0; i < w->device_count; i++)
        n += w->d_rows[i].step == step ? 1 : 0;
    return n;
}
