/* tests/fleet/methods.c - commands to a simulated gateway, as control/rpc.h has them.  See sim.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/str.h"
#include "conf/conf.h"
#include "control/jsonrpc.h"
#include "identity/keygen.h"
#include "sim.h"
#include "tls/anchor.h"
#include "tls/bundle.h"
#include "tls/csr.h"
#include "tls/ctx.h"

#define KEPT_REPLY_MAX 16384 /* as control/dispatch_once.c has it */

struct ask {
    struct sim_gateway *g;
    json_t *params;
    char who[160];
    json_t *result; /* owned */
    struct rpc_fault fault;
};

/* -- parameters and targets -- */

static const char *text_of(const struct ask *a, const char *name)
{
    return json_string_value(json_object_get(a->params, name));
}

static json_int_t number_of(const struct ask *a, const char *name, json_int_t otherwise)
{
    const json_t *v = json_object_get(a->params, name);

    return v == NULL ? otherwise : json_integer_value(v);
}

static bool flag_of(const struct ask *a, const char *name)
{
    return json_is_true(json_object_get(a->params, name));
}

/* Is it a parameter of the method, whose help shows all of them?  Those that may be left out stand
 * in brackets. */
static bool is_param(enum rpc_method m, const char *name)
{
    const char *p = rpc_method_params(m);
    size_t n = strlen(name);

    while (*p != '\0') {
        p += strspn(p, " []");
        if (strncmp(p, name, n) == 0 && strchr(" ]", p[n]) != NULL)
            return true;
        p += strcspn(p, " ");
    }
    return false;
}

static int check_params(struct ask *a, enum rpc_method m)
{
    char name[64];
    const char *p, *key;
    json_t *value;

    json_object_foreach(a->params, key, value)
    {
        if (!is_param(m, key))
            return rpc_refuse(&a->fault, RPC_INVALID_PARAMS, NULL, "%.64s: no such parameter", key);
    }
    for (p = rpc_method_params(m); *p != '\0'; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");

        if (*p != '[' && n < sizeof(name)) {
            snprintf(name, sizeof(name), "%.*s", (int)n, p);
            if (json_object_get(a->params, name) == NULL)
                return rpc_refuse(&a->fault, RPC_INVALID_PARAMS, NULL, "%s: is missing", name);
        }
        if (*p == '[') /* "[subsystem level]" is one */
            n = strcspn(p, "]") + 1;
        p += n;
    }
    return 0;
}

static int no_device(struct ask *a, const char *name)
{
    return rpc_refuse(&a->fault, RPC_NO_DEVICE, "see which there are: certflipctl devices",
                      "there is no device %s", name);
}

static bool wants(const json_t *target, const char *name, bool glob)
{
    size_t i;
    json_t *item;

    if (target == NULL)
        return true;
    if (json_is_string(target))
        return glob ? str_glob(json_string_value(target), name)
                    : strcmp(json_string_value(target), name) == 0;
    json_array_foreach(target, i, item)
    {
        if (wants(item, name, glob))
            return true;
    }
    return false;
}

static int check_word(struct ask *a, const char *word)
{
    if (!str_has_glob(word))
        return map_get(a->g->by_name, word) == NULL ? no_device(a, word) : 0;
    for (unsigned i = 0; i < sim.device_count; i++)
        if (str_glob(word, a->g->devices[i].name))
            return 0;
    return no_device(a, word);
}

static int check_target(struct ask *a, const json_t *target)
{
    size_t i;
    json_t *item;

    if (json_is_string(target))
        return check_word(a, json_string_value(target));
    if (!json_is_array(target) || json_array_size(target) == 0)
        return rpc_refuse(&a->fault, RPC_INVALID_PARAMS, NULL, "target: must be a name");
    json_array_foreach(target, i, item)
    {
        if (!json_is_string(item))
            return rpc_refuse(&a->fault, RPC_INVALID_PARAMS, NULL, "target: must be a name");
        if (check_word(a, json_string_value(item)) != 0)
            return -1;
    }
    return 0;
}

/* What a method does with one device; more may be added to its row. */
typedef int on_device_fn(struct ask *a, struct sim_device *d, bool *changed, json_t *row,
                         struct rpc_fault *f);

/* Returned by it: the device is not meant. */
enum { PASSED_OVER = 1 };

static int on_devices(struct ask *a, on_device_fn *each)
{
    const json_t *target = json_object_get(a->params, "target");
    json_t *bad, *good;
    size_t done = 0, refused = 0;

    if (check_target(a, target) != 0)
        return -1;
    bad = json_array();
    good = json_array();
    for (unsigned i = 0; i < sim.device_count; i++) {
        struct sim_device *d = &a->g->devices[i];
        struct rpc_fault f = {0};
        bool changed = false;
        json_t *row;
        int rc;

        if (!wants(target, d->name, true))
            continue;
        row = json_object();
        rc = each(a, d, &changed, row, &f);
        json_object_set_new(row, "device", json_string(d->name));
        json_object_set_new(row, "ok", json_boolean(rc == 0));
        json_object_set_new(row, "phase", json_string(flip_phase_name(d->flip.phase)));
        if (rc == 0)
            json_object_set_new(row, "changed", json_boolean(changed));
        else if (rc < 0)
            json_object_set_new(row, "error", rpc_error_object(&f));
        if (rc < 0 && refused++ == 0) {
            a->fault = f;
            a->fault.list = NULL;
        }
        done += rc == 0;
        if (rc != PASSED_OVER && json_array_size(rc == 0 ? good : bad) < RPC_ROWS_MAX)
            json_array_append(rc == 0 ? good : bad, row);
        json_decref(row);
    }
    for (size_t i = 0; i < json_array_size(good) && json_array_size(bad) < RPC_ROWS_MAX; i++)
        json_array_append(bad, json_array_get(good, i));
    json_decref(good);
    if (done == 0 && refused != 0) {
        a->fault.list = bad;
        a->fault.list_key = "results";
        return -1;
    }
    a->fault = (struct rpc_fault){0};
    a->result = json_pack("{s:I, s:I, s:o}", "done", (json_int_t)done, "refused",
                          (json_int_t)refused, "devices", bad);
    return 0;
}

static struct sim_device *device_of(struct ask *a)
{
    const char *name = text_of(a, "device");
    struct sim_device *d = name == NULL ? NULL : map_get(a->g->by_name, name);

    if (d == NULL)
        no_device(a, name == NULL ? "" : name);
    return d;
}

/* -- flips -- */

static int refuse_step(const struct sim_device *d, enum flip_event ev, int rc, struct rpc_fault *f)
{
    char text[400];
    enum rpc_code code =
        ev == EV_FLIP && d->flip.phase == FLIP_ROLLED_BACK ? RPC_QUARANTINED : RPC_PHASE;

    if (rc == -ERR_TIMEOUT)
        return rpc_refuse(f, RPC_TOO_LATE, "give a later not_after_s, and check the clocks",
                          "device %s: the time after which it shall not begin has passed", d->name);
    if (rc == -ERR_INVALID)
        return rpc_refuse(f, RPC_INVALID_PARAMS, NULL, "device %s: the terms are out of bounds",
                          d->name);
    return rpc_refuse(f, code, NULL, "%s", flip_explain(&d->flip, ev, d->name, text, sizeof(text)));
}

static bool is_done(const struct sim_device *d, enum flip_event ev)
{
    enum flip_phase p = d->flip.phase;

    switch ((int)ev) {
    case EV_FLIP:
        return p == FLIP_TRIAL || p == FLIP_COMMITTED;
    case EV_ROLLBACK:
        return p == FLIP_ROLLED_BACK;
    case EV_CONFIRMED:
        return p == FLIP_COMMITTED ||
               (p == FLIP_TRIAL && (d->flip.proven & FLIP_PROOF_CENTRAL) != 0);
    case EV_COMMIT:
        return p == FLIP_COMMITTED;
    case EV_CLEARED:
        return p == FLIP_STAGED;
    default:
        return false;
    }
}

static int step(struct ask *a, struct sim_device *d, enum flip_event ev, bool *changed,
                struct rpc_fault *f)
{
    int rc;

    if (is_done(d, ev))
        return 0;
    rc = device_apply(d, ev, NULL, a->who);
    *changed = rc == 0;
    return rc == 0 ? 0 : refuse_step(d, ev, rc, f);
}

static int flip_device(struct ask *a, struct sim_device *d, bool *changed, json_t *row,
                       struct rpc_fault *f)
{
    struct flip before = d->flip;
    const char *confirm = text_of(a, "confirm"), *evidence = text_of(a, "evidence");
    int64_t not_after_s = number_of(a, "not_after_s", 0);
    int rc;

    (void)row;
    if (is_done(d, EV_FLIP))
        return 0;
    if (!d->slots[FLIP_NEW].there)
        return rpc_refuse(f, RPC_NO_IDENTITY,
                          "put chain.pem and key.pem there, then: certflipctl reload",
                          "device %s: there is no new identity", d->name);
    d->flip.confirm = FLIP_CONFIRM_AUTO;
    if (confirm != NULL && flip_confirm_parse(confirm, &d->flip.confirm) != 0)
        return rpc_refuse(f, RPC_INVALID_PARAMS, NULL, "confirm: must be \"auto\" or \"central\"");
    d->flip.evidence = 0;
    if (evidence != NULL && strcmp(evidence, "connack") != 0)
        return rpc_refuse(f, RPC_INVALID_PARAMS, NULL, "evidence: there is no echo in here");
    d->flip.probation_ms = number_of(a, "probation_s", 60) * 1000;
    d->flip.confirm_ms = number_of(a, "confirm_s", 600) * 1000;
    d->flip.begin_by_ms = 0;
    if (not_after_s != 0) {
        d->flip.begin_by_ms = clock_boot_ms() + (not_after_s - clock_wall_s()) * 1000;
        if (d->flip.begin_by_ms < 1)
            d->flip.begin_by_ms = 1;
    }
    rc = step(a, d, EV_FLIP, changed, f);
    if (rc != 0)
        d->flip = before;
    return rc;
}

static int rollback_device(struct ask *a, struct sim_device *d, bool *changed, json_t *row,
                           struct rpc_fault *f)
{
    (void)row;
    if ((d->flip.phase == FLIP_STEADY || d->flip.phase == FLIP_STAGED) &&
        !wants(json_object_get(a->params, "target"), d->name, false))
        return PASSED_OVER;
    return step(a, d, EV_ROLLBACK, changed, f);
}

static int confirm_device(struct ask *a, struct sim_device *d, bool *changed, json_t *row,
                          struct rpc_fault *f)
{
    const char *fp = text_of(a, "fingerprint");

    (void)row;
    if (fp == NULL)
        fp =
            json_string_value(json_object_get(json_object_get(a->params, "fingerprints"), d->name));
    if (fp == NULL || (d->slots[FLIP_NEW].there && strcasecmp(fp, d->slots[FLIP_NEW].fp) != 0))
        return rpc_refuse(f, RPC_FINGERPRINT,
                          "the far side still sees another certificate: look at the broker, or "
                          "roll back",
                          "device %s: that is not the certificate under trial", d->name);
    return step(a, d, EV_CONFIRMED, changed, f);
}

static int commit_device(struct ask *a, struct sim_device *d, bool *changed, json_t *row,
                         struct rpc_fault *f)
{
    (void)row;
    return step(a, d, EV_COMMIT, changed, f);
}

static int clear_device(struct ask *a, struct sim_device *d, bool *changed, json_t *row,
                        struct rpc_fault *f)
{
    (void)row;
    return step(a, d, EV_CLEARED, changed, f);
}

static int retire_device(struct ask *a, struct sim_device *d, bool *changed, json_t *row,
                         struct rpc_fault *f)
{
    (void)row;
    if (d->flip.phase == FLIP_STEADY)
        return 0;
    return step(a, d, EV_RETIRED, changed, f);
}

static int discard_device(struct ask *a, struct sim_device *d, bool *changed, json_t *row,
                          struct rpc_fault *f)
{
    (void)row;
    if (d->flip.phase != FLIP_STEADY)
        return step(a, d, EV_DISCARDED, changed, f);
    *changed = d->csr != NULL;
    free(d->csr);
    d->csr = NULL;
    d->csr_since_s = 0;
    gateway_touch(d->gateway, d);
    return 0;
}

/* -- identities -- */

static int refuse_put(const struct sim_device *d, bool replace, struct rpc_fault *f)
{
    enum flip_phase p = d->flip.phase;

    if (p == FLIP_STEADY || (replace && (p == FLIP_STAGED || p == FLIP_ROLLED_BACK)))
        return 0;
    return rpc_refuse(f, RPC_PHASE, "certflipctl discard",
                      "device %s: an identity is in the new slot already: it is %s", d->name,
                      flip_phase_name(p));
}

static int keygen_device(struct ask *a, struct sim_device *d, bool *changed, json_t *row,
                         struct rpc_fault *f)
{
    const json_t *sans = json_object_get(a->params, "sans");
    static char subject[] = "CN={device}";
    struct conf conf = {.gateway = d->gateway->name, .keygen.subject = subject};
    enum key_kind kind = KEY_EC_P256;
    struct keygen_terms terms;
    const char *texts[KEYGEN_SANS_MAX], *whose = d->name, *key = text_of(a, "key");
    struct buf pkcs8 = {0}, csr = {0};
    struct err err = {0};
    int rc = 0;

    if (refuse_put(d, false, f) != 0)
        return -1;
    if (key != NULL && key_kind_parse(key, &kind) != 0)
        return rpc_refuse(f, RPC_INVALID_PARAMS, NULL, "key: there is no such kind");
    if (d->csr == NULL || flag_of(a, "renew")) {
        for (size_t i = 0; i < json_array_size(sans) && i < KEYGEN_SANS_MAX; i++)
            texts[i] = json_string_value(json_array_get(sans, i));
        if (sim.faults.liars != NULL && str_glob(sim.faults.liars, d->gateway->name)) {
            const struct sim_gateway *other =
                &sim.gateways[(d->gateway->number - sim.first + 1) % sim.gateway_count];

            sim.counts.lies++;
            whose = other->devices[0].name;
        }
        if (keygen_terms(&conf, whose, text_of(a, "subject"), sans == NULL ? NULL : texts,
                         json_array_size(sans), &terms, &err) != 0)
            return rpc_refuse(f, RPC_INVALID_PARAMS, "see certflip.conf(5), keygen", "%s", err.msg);
        rc = key_make(kind, &pkcs8, &err);
        if (rc == 0)
            rc = csr_make_pem(&(struct csr_terms){&terms.subject, terms.sans, terms.san_count},
                              pkcs8.p, pkcs8.len, &csr, &err);
        keygen_terms_fini(&terms);
        buf_fini_wipe(&pkcs8);
        if (rc == 0)
            rc = buf_append_u8(&csr, 0);
        if (rc != 0)
            return rpc_refuse(f, RPC_INTERNAL, "try again", "device %s: %s", d->name, err.msg);
        free(d->csr);
        d->csr = (char *)csr.p;
        d->csr_since_s = clock_wall_s();
        if (++d->keygens > sim.counts.most_keygens)
            sim.counts.most_keygens = d->keygens;
        *changed = true;
        gateway_touch(d->gateway, d);
    }
    csr = (struct buf){.p = (uint8_t *)d->csr, .len = strlen(d->csr)};
    json_object_set_new(row, "key", json_string(keygen_csr_kind(&csr)));
    json_object_set_new(row, "csr", json_string(d->csr));
    return 0;
}

static int do_keygen(struct ask *a)
{
    const json_t *target = json_object_get(a->params, "target");
    size_t n = 0;

    if (check_target(a, target) != 0)
        return -1;
    for (unsigned i = 0; i < sim.device_count; i++)
        n += wants(target, a->g->devices[i].name, true);
    if (n > RPC_KEYGEN_MAX)
        return rpc_refuse(&a->fault, RPC_TOO_BIG, "name fewer devices at a time",
                          "%zu devices, at most %d are allowed at a time", n, RPC_KEYGEN_MAX);
    return on_devices(a, keygen_device);
}

static int take_leaf(void *arg, const uint8_t *der, size_t n, struct err *err)
{
    struct cert_info **out = arg;

    if (*out == NULL)
        *out = cert_info_new(der, n, err);
    return *out == NULL ? -err->code : 0;
}

static int do_install(struct ask *a)
{
    struct sim_device *d = device_of(a);
    const char *text = text_of(a, "chain");
    struct slot *s;
    struct buf spki = {0}, chain = {0};
    struct cert_info *leaf = NULL;
    struct err err = {0};
    struct bundle *b;
    char fp[CERT_FP_TEXT];
    int rc;
    bool same;

    if (d == NULL)
        return -1;
    if (refuse_put(d, true, &a->fault) != 0)
        return -1;
    if (d->csr == NULL)
        return rpc_refuse(&a->fault, RPC_NO_IDENTITY, "make one: certflipctl keygen",
                          "device %s: there is no key in the new slot", d->name);
    b = bundle_new();
    rc = text == NULL ? err_set(&err, ERR_SYNTAX, "no text")
                      : bundle_add(b, "chain", (const uint8_t *)text, strlen(text), NULL, &err);
    if (rc == 0)
        rc = csr_public(d->csr, strlen(d->csr), &spki, &err);
    if (rc == 0)
        rc = bundle_chain(b, spki.p, spki.len, &chain, &err);
    if (rc == 0)
        rc = cert_pem_each((const char *)chain.p, chain.len, take_leaf, &leaf, &err);
    bundle_free(b);
    buf_fini(&spki);
    buf_fini(&chain);
    if (rc < 0 || leaf == NULL) {
        cert_info_free(leaf);
        return rpc_refuse(&a->fault, RPC_INVALID_PARAMS,
                          "send the certificate that the CA made of this device's request",
                          "device %s: %s", d->name, err.msg);
    }
    s = &d->slots[FLIP_NEW];
    str_hex(fp, leaf->fp, CERT_FP_BYTES);
    same = d->flip.phase == FLIP_STAGED && strcmp(fp, s->fp) == 0;
    if (!same) {
        slot_fini(s);
        s->there = true;
        memcpy(s->fp, fp, sizeof(fp));
        s->subject = sim_strdup(leaf->subject);
        s->issuer = sim_strdup(leaf->issuer);
        s->not_before_s = leaf->not_before_s;
        s->not_after_s = leaf->not_after_s;
        if (++d->installs > sim.counts.most_installs)
            sim.counts.most_installs = d->installs;
        device_apply(d, EV_INSTALLED, NULL, a->who);
    }
    cert_info_free(leaf);
    a->result = json_pack("{s:s, s:s, s:b, s:o}", "device", d->name, "phase",
                          flip_phase_name(d->flip.phase), "changed", (int)!same, "slot",
                          device_slot(d, FLIP_NEW));
    return 0;
}

static int do_export(struct ask *a)
{
    struct sim_device *d = device_of(a);
    const char *what = text_of(a, "what");

    if (d == NULL)
        return -1;
    if (what == NULL || strcmp(what, "csr") != 0 || d->csr == NULL)
        return rpc_refuse(&a->fault, RPC_NO_IDENTITY, "see what there is: certflipctl device",
                          "device %s: there is no request in the new slot", d->name);
    a->result = json_pack("{s:s, s:s, s:s, s:s}", "device", d->name, "slot", "new", "what", "csr",
                          "pem", d->csr);
    return 0;
}

/* -- devices and the gateway -- */

static int do_list(struct ask *a)
{
    const json_t *target = json_object_get(a->params, "target");
    const char *after = text_of(a, "after"), *last = NULL;
    size_t limit = (size_t)number_of(a, "limit", RPC_ROWS_MAX), total = 0;
    json_t *rows = json_array(), *next = json_null();

    for (unsigned i = 0; i < sim.device_count; i++) {
        const struct sim_device *d = &a->g->devices[i];

        if (!wants(target, d->name, true))
            continue;
        total++;
        if (after != NULL && strcmp(d->name, after) <= 0)
            continue;
        if (json_array_size(rows) < limit) {
            json_array_append_new(rows, device_show(d));
            last = d->name;
        } else if (json_is_null(next)) {
            next = json_string(last);
        }
    }
    a->result =
        json_pack("{s:o, s:I, s:o}", "devices", rows, "total", (json_int_t)total, "next", next);
    return 0;
}

static int do_get(struct ask *a)
{
    struct sim_device *d = device_of(a);

    if (d == NULL)
        return -1;
    a->result = device_show(d);
    json_object_set_new(a->result, "sessions", json_array());
    return 0;
}

static json_t *sum(const struct sim_gateway *g, bool upstream)
{
    int n = 0, removed = 0;
    const struct cert_info *soonest = NULL;
    const char *fp = NULL;

    list_for_each (it, &g->anchors) {
        const struct sim_anchor *x = list_entry(it, struct sim_anchor, link);

        if (x->upstream != upstream)
            continue;
        n += !x->removed;
        removed += x->removed;
        if (!x->removed &&
            (soonest == NULL || x->anchor->info->not_after_s < soonest->not_after_s)) {
            soonest = x->anchor->info;
            fp = x->anchor->fp;
        }
    }
    return json_pack("{s:i, s:i, s:i, s:i, s:o}", "anchors", n, "expired", 0, "removed", removed,
                     "unusable", 0, "soonest",
                     soonest == NULL ? json_null()
                                     : json_pack("{s:s, s:s, s:o}", "fingerprint", fp, "subject",
                                                 soonest->subject, "not_after",
                                                 rpc_time(soonest->not_after_s)));
}

static json_t *policy(void)
{
    const char *rule = sim.operator_count == 0 ? "off" : "required";

    return json_pack("{s:s, s:s, s:s}", "observe", rule, "operate", rule, "trust", rule);
}

static int do_status(struct ask *a)
{
    const struct sim_gateway *g = a->g;
    int64_t now_s = clock_wall_s();

    a->result = json_pack(
        "{s:s, s:s, s:s, s:i, s:o, s:o, s:I, s:s, s:i, s:o, s:{s:i, s:i, s:i, s:b}, s:{s:o, s:o}, "
        "s:{s:b, s:s, s:b, s:o, s:n, s:i, s:{s:i, s:o, s:I, s:{}}}, s:{s:b, s:i, s:o, s:o, s:b, s:b, s:n}, "
        "s:[], s:[], s:{s:i, s:i, s:i, s:n, s:n, s:[]}, s:{s:i, s:i}, s:[], s:{}, s:[]}",
        "gateway", g->name, "version", PACKAGE_VERSION, "tls_library", tls_library(), "pid",
        (int)getpid(), "now", rpc_time(now_s), "started", rpc_time(g->started_s), "uptime_s",
        (json_int_t)(now_s - g->started_s), "config", "/etc/certflip/certflip.conf", "workers", 1,
        "devices", gateway_counts(g), "pace", "waiting", 0, "moving", 0, "window", 100, "paused", 0,
        "trust", "downstream", sum(g, false), "upstream", sum(g, true), "central", "enabled", 1,
        "device", g->name, "connected", (int)g->online, "since", rpc_time(g->started_s),
        "last_error", "events_dropped", 0, "signed", "operators", (int)sim.operator_count, "policy",
        policy(), "good", (json_int_t)0, "refused", "clock", "synchronised", 1, "max_error_ms", 3,
        "since", rpc_time(g->started_s), "seen", rpc_time(now_s), "require_sync", 1, "flips", 1,
        "text", "exceptions", "old_tls", "crls", "lists", 0, "stale", 0, "due", 0, "next_update",
        "issuer", "missing", "counters", "sessions", (int)sim.device_count, "age_ms", 0, "tokens",
        "refused", "messages");
    return a->result == NULL ? rpc_refuse(&a->fault, RPC_INTERNAL, NULL, "no status") : 0;
}

/* -- trust -- */

static int set_of(struct ask *a, bool *upstream)
{
    const char *set = text_of(a, "set");

    if (set == NULL || (strcmp(set, "upstream") != 0 && strcmp(set, "downstream") != 0))
        return rpc_refuse(&a->fault, RPC_INVALID_PARAMS, NULL,
                          "set: must be \"downstream\" or \"upstream\"");
    *upstream = *set == 'u';
    return 0;
}

static json_t *anchor_show(const struct sim_anchor *x)
{
    const struct cert_info *ci = x->anchor->info;

    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:[s], s:[s], s:n, s:s?, s:o, s:s?, "
                     "s:n, s:i, s:i}",
                     "set", x->upstream ? "upstream" : "downstream", "fingerprint", x->anchor->fp,
                     "kind", "anchor", "state", x->removed ? "removed" : "in-force", "subject",
                     ci->subject, "issuer", ci->issuer, "not_before", rpc_time(ci->not_before_s),
                     "not_after", rpc_time(ci->not_after_s), "files", x->anchor->from, "serves",
                     x->upstream ? "broker" : "tls", "only", "by", x->by, "time",
                     rpc_time(x->time_s), "note", x->note, "fault", "devices", 0, "sessions", 0);
}

static int do_trust_list(struct ask *a)
{
    json_t *rows = json_array();
    bool upstream, all = text_of(a, "set") == NULL;

    if (!all && set_of(a, &upstream) != 0) {
        json_decref(rows);
        return -1;
    }
    list_for_each (it, &a->g->anchors) {
        const struct sim_anchor *x = list_entry(it, struct sim_anchor, link);

        if (all || x->upstream == upstream)
            json_array_append_new(rows, anchor_show(x));
    }
    a->result = json_pack("{s:o}", "anchors", rows);
    return 0;
}

struct adding {
    struct ask *a;
    bool upstream;
    json_t *rows;
    int changed;
};

static int add_one(void *arg, struct tls_anchor *anchor, struct err *err)
{
    struct adding *in = arg;
    struct sim_anchor *was = gateway_anchor(in->a->g, in->upstream, anchor->fp);
    bool changed = was == NULL || was->removed;

    (void)err;
    if (was != NULL)
        was->removed = false;
    else
        list_add(&in->a->g->anchors,
                 &anchor_new(in->upstream, anchor, in->a->who, text_of(in->a, "note"))->link);
    in->changed += changed;
    json_array_append_new(in->rows,
                          json_pack("{s:s, s:s, s:o, s:b}", "fingerprint", anchor->fp, "subject",
                                    anchor->info->subject, "not_after",
                                    rpc_time(anchor->info->not_after_s), "changed", (int)changed));
    tls_anchor_unref(anchor);
    return 0;
}

static int do_trust_add(struct ask *a)
{
    struct adding in = {.a = a};
    const char *pem = text_of(a, "pem");
    struct err err = {0};

    if (set_of(a, &in.upstream) != 0)
        return -1;
    if (sim.faults.distrust != NULL && str_glob(sim.faults.distrust, a->g->name))
        return rpc_refuse(&a->fault, RPC_STORE, "mend the state directory, then command again",
                          "nothing was changed: trust: the disk is full");
    in.rows = json_array();
    if (pem == NULL || tls_anchors_of_pem(pem, strlen(pem), "pem", add_one, &in, &err) < 0) {
        json_decref(in.rows);
        return rpc_refuse(&a->fault, RPC_ANCHOR, NULL, "nothing was added: %s", err.msg);
    }
    a->g->trust_added = true;
    gateway_state(a->g);
    a->result = json_pack("{s:s, s:i, s:o}", "set", in.upstream ? "upstream" : "downstream",
                          "changed", in.changed, "anchors", in.rows);
    return 0;
}

static struct sim_anchor *anchor_of(struct ask *a, bool *upstream)
{
    const char *fp = text_of(a, "fingerprint");
    struct sim_anchor *x;

    if (set_of(a, upstream) != 0)
        return NULL;
    x = fp == NULL ? NULL : gateway_anchor(a->g, *upstream, fp);
    if (x == NULL)
        rpc_refuse(&a->fault, RPC_ANCHOR, "see which there are: certflipctl trust list",
                   "there is no anchor %.64s in the set", fp == NULL ? "" : fp);
    return x;
}

static json_t *dependent(const char *what, const char *name, const char *text)
{
    return json_pack("{s:s, s:s, s:n, s:i, s:s}", "what", what, "name", name, "slot", "sessions", 0,
                     "text", text);
}

static json_t *dependents(const struct sim_gateway *g, const struct sim_anchor *x)
{
    json_t *rows = json_array();
    unsigned left = 0;

    if (x->removed)
        return rows;
    list_for_each (it, &g->anchors) {
        const struct sim_anchor *y = list_entry(it, struct sim_anchor, link);

        left += y != x && y->upstream == x->upstream && !y->removed;
    }
    if (left == 0)
        json_array_append_new(rows, dependent("last", x->upstream ? "broker" : "tls",
                                              "it has no other anchor: nobody would be believed"));
    if (x->upstream && strcmp(x->anchor->fp, sim.broker_anchor) == 0)
        for (unsigned i = 0; i < sim.device_count; i++)
            json_array_append_new(
                rows, dependent("broker", g->devices[i].name, "its broker is believed by it"));
    return rows;
}

static int do_trust_check(struct ask *a)
{
    bool upstream;
    struct sim_anchor *x = anchor_of(a, &upstream);
    json_t *rows;

    if (x == NULL)
        return -1;
    rows = dependents(a->g, x);
    a->result = json_pack("{s:s, s:s, s:s, s:I, s:o}", "set", upstream ? "upstream" : "downstream",
                          "fingerprint", x->anchor->fp, "subject", x->anchor->info->subject,
                          "breaks", (json_int_t)json_array_size(rows), "dependents", rows);
    return 0;
}

static int do_trust_remove(struct ask *a)
{
    bool upstream, changed;
    struct sim_anchor *x = anchor_of(a, &upstream);
    json_t *rows;
    size_t n;
    char *path;

    if (x == NULL)
        return -1;
    rows = dependents(a->g, x);
    n = json_array_size(rows);
    if (n != 0 && !flag_of(a, "force")) {
        rpc_refuse(&a->fault, RPC_IN_USE,
                   "see what depends on it: certflipctl trust check; move that first, or force it",
                   "%s is in use: %zu things would not work without it", x->anchor->info->subject,
                   n);
        a->fault.list_key = "dependents";
        a->fault.list = rows;
        return -1;
    }
    json_decref(rows);
    changed = !x->removed;
    x->removed = true;
    gateway_state(a->g);
    path = str_printf("/var/lib/certflip/trust/archive/%s/%s.pem",
                      upstream ? "upstream" : "downstream", x->anchor->fp);
    a->result = json_pack("{s:s, s:s, s:s, s:b, s:s?, s:[], s:I}", "set",
                          upstream ? "upstream" : "downstream", "fingerprint", x->anchor->fp,
                          "subject", x->anchor->info->subject, "changed", (int)changed, "archived",
                          changed ? path : NULL, "files", "broken", (json_int_t)n);
    free(path);
    return 0;
}

/* -- the table -- */

static int do_flip(struct ask *a)
{
    return on_devices(a, flip_device);
}

static int do_rollback(struct ask *a)
{
    return on_devices(a, rollback_device);
}

static int do_confirm(struct ask *a)
{
    return on_devices(a, confirm_device);
}

static int do_commit(struct ask *a)
{
    return on_devices(a, commit_device);
}

static int do_clear(struct ask *a)
{
    return on_devices(a, clear_device);
}

static int do_retire(struct ask *a)
{
    return on_devices(a, retire_device);
}

static int do_discard(struct ask *a)
{
    return on_devices(a, discard_device);
}

/* clang-format off */
static int (*const methods[RPC_METHOD_COUNT])(struct ask *a) = {
    [RPC_STATUS_METHOD]           = do_status,
    [RPC_DEVICE_LIST_METHOD]      = do_list,
    [RPC_DEVICE_GET_METHOD]       = do_get,
    [RPC_FLIP_METHOD]             = do_flip,
    [RPC_ROLLBACK_METHOD]         = do_rollback,
    [RPC_CONFIRM_METHOD]          = do_confirm,
    [RPC_COMMIT_METHOD]           = do_commit,
    [RPC_QUARANTINE_CLEAR_METHOD] = do_clear,
    [RPC_IDENTITY_KEYGEN_METHOD]  = do_keygen,
    [RPC_IDENTITY_INSTALL_METHOD] = do_install,
    [RPC_IDENTITY_DISCARD_METHOD] = do_discard,
    [RPC_IDENTITY_EXPORT_METHOD]  = do_export,
    [RPC_RETIRE_METHOD]           = do_retire,
    [RPC_TRUST_LIST_METHOD]       = do_trust_list,
    [RPC_TRUST_ADD_METHOD]        = do_trust_add,
    [RPC_TRUST_CHECK_METHOD]      = do_trust_check,
    [RPC_TRUST_REMOVE_METHOD]     = do_trust_remove,
};
/* clang-format on */

static json_t *carry_out(struct sim_gateway *g, const struct rpc_request *r, const char *who)
{
    struct ask a = {.g = g, .params = r->params};
    json_t *none = NULL, *reply;
    int m = rpc_method_find(r->method), rc = -1;

    snprintf(a.who, sizeof(a.who), "%s", who);
    if (a.params == NULL)
        a.params = none = json_object();
    if (m < 0 || methods[m] == NULL)
        rpc_refuse(&a.fault, RPC_NO_METHOD, NULL, "there is no method %.64s here", r->method);
    else if (check_params(&a, (enum rpc_method)m) == 0)
        rc = methods[m](&a);
    if (m >= 0)
        sim.counts.methods[m]++;
    if (rc != 0)
        sim.counts.refused_requests++;
    reply = rc == 0 ? rpc_reply_result(r->id, a.result) : rpc_reply_error(r->id, &a.fault);
    rpc_fault_fini(&a.fault);
    json_decref(none);
    return reply;
}

/* -- once for each id -- */

struct kept {
    uint64_t request;
    char reply[];
};

static char *once_key(const struct rpc_request *r, const char *who, const char *jti)
{
    int m = rpc_method_find(r->method);
    char *id, *key = NULL;

    if (m < 0 || rpc_method_access((enum rpc_method)m) == RPC_OBSERVE)
        return NULL;
    if (jti != NULL)
        return str_printf("signed:%s:%s", who, jti);
    if (r->id == NULL || json_is_null(r->id))
        return NULL;
    id = json_dumps(r->id, JSON_COMPACT | JSON_ENCODE_ANY);
    key = str_printf("central:%s", id);
    free(id);
    return key;
}

static uint64_t request_hash(const struct rpc_request *r)
{
    char *text = json_dumps(r->params, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    char *all = str_printf("%s %s", r->method, text == NULL ? "" : text);
    uint64_t hash = map_hash(all, strlen(all));

    free(text);
    free(all);
    return hash;
}

static void keep(struct sim_gateway *g, const char *key, uint64_t request, const json_t *reply)
{
    char *text = json_dumps(reply, JSON_COMPACT);
    struct kept *k;
    json_t *less;

    if (strlen(text) > KEPT_REPLY_MAX) {
        free(text);
        less = json_deep_copy(reply);
        json_object_set_new(json_object_get(less, "result"), "devices", json_array());
        json_object_del(json_object_get(json_object_get(less, "error"), "data"), "results");
        text = json_dumps(less, JSON_COMPACT);
        json_decref(less);
    }
    k = sim_alloc(sizeof(*k) + strlen(text) + 1);
    k->request = request;
    memcpy(k->reply, text, strlen(text) + 1);
    free(text);
    map_put(g->once, key, k);
}

static json_t *reply_fault(const struct rpc_request *r, enum rpc_code code, const char *what)
{
    struct rpc_fault f = {0};
    json_t *reply;

    rpc_refuse(&f, code, NULL, "%s", what);
    reply = rpc_reply_error(r->id, &f);
    rpc_fault_fini(&f);
    return reply;
}

static json_t *once(struct sim_gateway *g, const struct rpc_request *r, const char *who,
                    const char *jti)
{
    char *key = once_key(r, who, jti);
    const struct kept *k = key == NULL ? NULL : map_get(g->once, key);
    uint64_t hash = key == NULL ? 0 : request_hash(r);
    json_t *reply;

    if (k != NULL && k->request == hash) {
        sim.counts.repeated++;
        reply = json_loads(k->reply, 0, NULL);
    } else if (k != NULL) {
        sim.counts.reused++;
        reply = reply_fault(r, RPC_ID_REUSED, "this id was used for another request");
    } else {
        reply = carry_out(g, r, who);
        if (key != NULL)
            keep(g, key, hash, reply);
    }
    free(key);
    return reply;
}

/* -- requests -- */

static json_t *one(struct sim_gateway *g, json_t *value, const char *who, const char *jti)
{
    struct rpc_request r = {0};
    struct rpc_fault f = {0};
    json_t *reply;

    if (rpc_request(value, &r, &f) != 0)
        reply = rpc_reply_error(r.id, &f);
    else
        reply = once(g, &r, who, jti);
    rpc_fault_fini(&f);
    if (r.id == NULL && r.method != NULL) { /* a notification */
        json_decref(reply);
        return NULL;
    }
    return reply;
}

static json_t *serve_signed(struct sim_gateway *g, const char *text, size_t n)
{
    const struct signed_rules rules = {
        .operators = sim.operators,
        .operator_count = sim.operator_count,
        .gateway = g->name,
        .now_s = clock_wall_s(),
        .tolerance_s = 60,
        .max_expiry_s = 3600,
    };
    struct signed_command c = {0};
    struct rpc_fault f = {0};
    json_t *reply;
    char who[160];

    if (signed_open(&rules, text, n, &c, &f) != 0) {
        sim.counts.refused_requests++;
        reply = rpc_reply_error(json_object_get(c.request, "id"), &f);
    } else {
        snprintf(who, sizeof(who), "operator:%s", c.by->name);
        reply = one(g, c.request, who, c.jti);
    }
    signed_command_fini(&c);
    rpc_fault_fini(&f);
    return reply;
}

static json_t *serve_plain(struct sim_gateway *g, const char *text, size_t n)
{
    struct rpc_fault f = {0};
    json_t *value = rpc_parse(text, n, &f), *reply, *item;
    size_t i;

    if (value == NULL) {
        reply = rpc_reply_error(NULL, &f);
    } else if (sim.operator_count != 0) {
        rpc_refuse(&f, RPC_UNSIGNED, "sign it: certflipctl sign",
                   "this gateway takes signed commands only");
        sim.counts.refused_requests++;
        reply = rpc_reply_error(json_object_get(value, "id"), &f);
    } else if (json_is_array(value)) {
        reply = json_array();
        json_array_foreach(value, i, item)
        {
            json_t *r = one(g, item, "central", NULL);

            if (r != NULL)
                json_array_append_new(reply, r);
        }
    } else {
        reply = one(g, value, "central", NULL);
    }
    json_decref(value);
    rpc_fault_fini(&f);
    return reply;
}

char *serve(struct sim_gateway *g, const char *text, size_t n)
{
    json_t *reply = signed_looks(text, n) ? serve_signed(g, text, n) : serve_plain(g, text, n);
    char *out;

    if (reply == NULL)
        return NULL;
    out = json_dumps(reply, JSON_COMPACT);
    if (strlen(out) + 1024 > RPC_CENTRAL_REPLY_MAX) {
        struct rpc_fault f = {0};
        json_t *less;

        rpc_refuse(&f, RPC_TOO_BIG, "ask for less at a time: target, limit",
                   "carried out, but its reply of %zu bytes is more than is sent", strlen(out));
        less = rpc_reply_error(json_object_get(reply, "id"), &f);
        free(out);
        out = json_dumps(less, JSON_COMPACT);
        json_decref(less);
    }
    json_decref(reply);
    return out;
}
