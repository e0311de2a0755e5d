/* control/methods_device.c - methods that look at devices: see dispatch_inside.h and rpc.h. */
#include <string.h>

#include "control/dispatch_inside.h"
#include "control/hub.h"
#include "control/show.h"

int do_device_list(struct call *c)
{
    const json_t *target = json_object_get(c->params, "target");
    const char *after = call_text(c, "after");
    size_t limit = (size_t)call_number(c, "limit", RPC_ROWS_MAX), n, total = 0;
    struct hub_device *const *all = hub_devices(c->d->hub, &n);
    const char *last = NULL;
    json_t *rows = json_array(), *next = json_null();

    for (size_t i = 0; i < n; i++) {
        if (!target_wants(target, all[i]->name))
            continue;
        total++;
        if (after != NULL && strcmp(all[i]->name, after) <= 0)
            continue;
        if (json_array_size(rows) < limit) {
            json_array_append_new(rows, show_device(c->d->hub, all[i]));
            last = all[i]->name;
        } else if (json_is_null(next)) {
            next = json_string(last);
        }
    }
    c->result =
        json_pack("{s:o, s:I, s:o}", "devices", rows, "total", (json_int_t)total, "next", next);
    return 0;
}

int do_device_get(struct call *c)
{
    const char *name = call_text(c, "device");
    const struct hub_device *d = hub_find(c->d->hub, name);

    if (d == NULL)
        return call_refuse_device(c, name);
    c->result = show_device(c->d->hub, d);
    json_object_set_new(c->result, "sessions", show_sessions(d));
    return 0;
}

int do_sessions_list(struct call *c)
{
    const json_t *target = json_object_get(c->params, "target");
    size_t limit = (size_t)call_number(c, "limit", RPC_ROWS_MAX), n, total = 0;
    struct hub_device *const *all = hub_devices(c->d->hub, &n);
    json_t *rows = json_array();

    for (size_t i = 0; i < n; i++) {
        if (!target_wants(target, all[i]->name))
            continue;
        list_for_each (it, &all[i]->sessions) {
            if (json_array_size(rows) < limit)
                json_array_append_new(
                    rows, show_session(all[i], list_entry(it, struct hub_session, link)));
            total++;
        }
    }
    c->result = json_pack("{s:o, s:I}", "sessions", rows, "total", (json_int_t)total);
    return 0;
}
