/* control/methods_lint.c - identity.lint: see dispatch_inside.h and rpc.h. */
#include <string.h>

#include "base/clock.h"
#include "control/dispatch_inside.h"
#include "control/hub.h"
#include "control/lint_json.h"
#include "flip/slot.h"

/* One REPORT, or NULL without memory. */
static json_t *report(const struct hub *h, const struct hub_device *d, enum flip_slot slot,
                      int64_t now_s)
{
    struct lint_report r;
    json_t *row;

    if (d->cred[slot] == NULL) {
        row = json_pack("{s:s, s:n, s:[], s:o}", "worst", "error", "trusted", "findings", "fault",
                        rpc_text_or_null(d->fault[slot]));
    } else {
        if (hub_lint(h, d, slot, now_s, &r) != 0)
            return NULL;
        row = lint_json(&r, hub_lint_has_anchors(h));
        lint_report_fini(&r);
    }
    json_object_set_new(row, "device", json_string(d->name));
    json_object_set_new(row, "slot", json_string(flip_slot_name(slot)));
    return row;
}

int do_identity_lint(struct call *c)
{
    const json_t *target = json_object_get(c->params, "target");
    const char *after = call_text(c, "after"), *only = call_text(c, "slot");
    size_t limit = (size_t)call_number(c, "limit", RPC_ROWS_MAX / FLIP_SLOTS), n, done = 0;
    int64_t now_s = call_number(c, "at_s", clock_date_s());
    struct hub_device *const *all = hub_devices(c->d->hub, &n);
    const char *last = NULL;
    json_t *rows, *next = json_null();

    if (only != NULL && strcmp(only, "old") != 0 && strcmp(only, "new") != 0)
        return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL, "slot: must be \"old\" or \"new\"");
    if (target_check(c, target) != 0)
        return -1;
    rows = json_array();
    for (size_t i = 0; i < n && json_is_null(next); i++) {
        if (!target_has(target, all[i]->name) ||
            (after != NULL && strcmp(all[i]->name, after) <= 0))
            continue;
        if (done++ == limit) {
            next = json_string(last);
            break;
        }
        last = all[i]->name;
        for (int slot = 0; slot < FLIP_SLOTS; slot++) {
            json_t *row;

            if (!all[i]->present[slot] ||
                (only != NULL && strcmp(only, flip_slot_name((enum flip_slot)slot)) != 0))
                continue;
            row = report(c->d->hub, all[i], (enum flip_slot)slot, now_s);
            if (row == NULL) {
                json_decref(rows);
                json_decref(next);
                return rpc_refuse(&c->fault, RPC_BUSY, NULL, "out of memory");
            }
            json_array_append_new(rows, row);
        }
    }
    c->result = json_pack("{s:o, s:o}", "reports", rows, "next", next);
    return 0;
}
