/* control/dispatch_target.c - devices of a request, and what became of each: see dispatch_inside.h.
 */
#include "control/dispatch_inside.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "control/hub.h"

bool target_has(const json_t *target, const char *name)
{
    size_t i;
    json_t *item;

    if (json_is_string(target))
        return str_glob(json_string_value(target), name);
    json_array_foreach(target, i, item)
    {
        if (str_glob(json_string_value(item), name))
            return true;
    }
    return false;
}

bool target_names(const json_t *target, const char *name)
{
    size_t i;
    json_t *item;

    if (json_is_string(target))
        return strcmp(json_string_value(target), name) == 0;
    json_array_foreach(target, i, item)
    {
        if (strcmp(json_string_value(item), name) == 0)
            return true;
    }
    return false;
}

bool target_wants(const json_t *target, const char *name)
{
    return target == NULL || target_has(target, name);
}

int call_refuse_device(struct call *c, const char *name)
{
    if (str_has_glob(name))
        return rpc_refuse(&c->fault, RPC_NO_DEVICE, "see which there are: certflipctl devices",
                          "no device matches %s", name);
    return rpc_refuse(&c->fault, RPC_NO_DEVICE, "see which there are: certflipctl devices",
                      "there is no device %s: it has no folder in %s", name,
                      hub_conf(c->d->hub)->identities_dir);
}

static int check_word(struct call *c, const char *word)
{
    struct hub_device *const *all;
    size_t n;

    if (!str_has_glob(word))
        return hub_find(c->d->hub, word) == NULL ? call_refuse_device(c, word) : 0;
    all = hub_devices(c->d->hub, &n);
    for (size_t i = 0; i < n; i++)
        if (str_glob(word, all[i]->name))
            return 0;
    return call_refuse_device(c, word);
}

int target_check(struct call *c, const json_t *target)
{
    size_t i;
    json_t *item;

    if (json_is_string(target))
        return check_word(c, json_string_value(target));
    json_array_foreach(target, i, item)
    {
        if (check_word(c, json_string_value(item)) != 0)
            return -1;
    }
    return 0;
}

void outcome_begin(struct outcome *o)
{
    *o = (struct outcome){.refused = json_array(), .done = json_array()};
}

void outcome_refused(struct outcome *o, const struct hub_device *d, struct rpc_fault *f)
{
    if (o->refused_count++ == 0)
        o->first = *f;
    if (json_array_size(o->refused) < RPC_ROWS_MAX)
        json_array_append_new(o->refused, json_pack("{s:s, s:b, s:s, s:o}", "device", d->name, "ok",
                                                    0, "phase", flip_phase_name(d->flip.phase),
                                                    "error", rpc_error_object(f)));
    rpc_fault_fini(f);
}

json_t *outcome_done(struct outcome *o, const struct hub_device *d, bool changed)
{
    json_t *row;

    o->done_count++;
    if (json_array_size(o->done) >= RPC_ROWS_MAX)
        return NULL;
    row = json_pack("{s:s, s:b, s:s, s:b}", "device", d->name, "ok", 1, "phase",
                    flip_phase_name(d->flip.phase), "changed", changed);
    json_array_append_new(o->done, row);
    return row;
}

void outcome_free(struct outcome *o)
{
    json_decref(o->refused);
    json_decref(o->done);
}

int outcome_end(struct outcome *o, struct call *c)
{
    size_t i;
    json_t *row, *rows = o->refused;

    json_array_foreach(o->done, i, row)
    {
        if (json_array_size(rows) < RPC_ROWS_MAX)
            json_array_append(rows, row);
    }
    json_decref(o->done);
    if (o->done_count != 0) {
        c->result = json_pack("{s:I, s:I, s:o}", "done", (json_int_t)o->done_count, "refused",
                              (json_int_t)o->refused_count, "devices", rows);
        return 0;
    }
    c->fault = o->first;
    if (o->refused_count > 1) {
        size_t n = strlen(c->fault.message);

        snprintf(c->fault.message + n, sizeof(c->fault.message) - n,
                 " (and %zu other devices were refused)", o->refused_count - 1);
    }
    c->fault.list = rows;
    c->fault.list_key = "results";
    return -1;
}

int on_targets(struct call *c, on_device_fn *each, void *arg)
{
    const json_t *target = json_object_get(c->params, "target");
    struct hub_device *const *all;
    struct outcome o;
    size_t n;

    if (target_check(c, target) != 0)
        return -1;
    outcome_begin(&o);
    all = hub_devices(c->d->hub, &n);
    for (size_t i = 0; i < n; i++) {
        struct rpc_fault f = {0};
        bool changed = false;

        if (!target_has(target, all[i]->name))
            continue;
        each(c, all[i], arg, &changed, &f);
        if (f.code != RPC_OK)
            outcome_refused(&o, all[i], &f);
        else
            outcome_done(&o, all[i], changed);
    }
    return outcome_end(&o, c);
}
