/* control/methods_device.c - methods that look at devices: see dispatch_inside.h and rpc.h. */
#include <stdlib.h>
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

struct changed {
    const struct hub_device *d;
    uint64_t rev;
};

static int by_rev(const void *a, const void *b)
{
    uint64_t x = ((const struct changed *)a)->rev, y = ((const struct changed *)b)->rev;

    return (x > y) - (x < y);
}

/* Every device is looked at: some microseconds for each, and nothing that changes a device has to
 * know of those who watch. */
static size_t changed_after(struct hub *h, uint64_t after, struct changed *out)
{
    size_t n, count = 0;
    struct hub_device *const *all = hub_devices(h, &n);

    for (size_t i = 0; i < n; i++) {
        uint64_t rev = hub_look(h, all[i], show_brief_hash(h, all[i]));

        if (rev > after)
            out[count++] = (struct changed){all[i], rev};
    }
    qsort(out, count, sizeof(*out), by_rev);
    return count;
}

int do_device_changes(struct call *c)
{
    json_int_t epoch = call_number(c, "epoch", -1), now = hub_look_epoch(c->d->hub);
    uint64_t after = epoch == now ? (uint64_t)call_number(c, "after", 0) : 0;
    size_t limit = (size_t)call_number(c, "limit", RPC_ROWS_MAX), n, count;
    struct changed *all;
    json_t *rows;

    (void)hub_devices(c->d->hub, &n);
    all = calloc(n + 1, sizeof(*all));
    if (all == NULL)
        return rpc_refuse(&c->fault, RPC_BUSY, NULL, "out of memory");
    count = changed_after(c->d->hub, after, all);
    rows = json_array();
    for (size_t i = 0; i < count && i < limit; i++) {
        json_array_append_new(rows, show_brief(c->d->hub, all[i].d));
        after = all[i].rev;
    }
    free(all);
    c->result = json_pack("{s:I, s:I, s:b, s:b, s:o, s:I}", "epoch", now, "after",
                          (json_int_t)after, "anew", epoch != now, "more", count > limit, "devices",
                          rows, "total", (json_int_t)n);
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
