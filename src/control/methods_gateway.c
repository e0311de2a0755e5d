/* control/methods_gateway.c - methods about the gateway as a whole: see dispatch_inside.h and
 * rpc.h.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "control/chains.h"
#include "control/crls.h"
#include "control/dispatch_inside.h"
#include "control/hub.h"
#include "control/show.h"
#include "control/token_watch.h"
#include "store/store.h"
#include "tls/ctx.h"

#define LIMIT_DEFAULT 100

static void add_message(void *arg, bool stale, const char *text)
{
    (void)stale;
    json_array_append_new(arg, rpc_text(text));
}

/* Some weeks before it ends there is time to do something about it. */
#define EXCEPTION_WARN_S (INT64_C(28) * 86400)

static void exceptions_end(struct hub *h, json_t *list)
{
    const struct conf *conf = hub_conf(h);
    int64_t now_s = clock_date_s();
    char text[600], day[32];

    for (size_t i = 0; i < conf->exception_count && json_array_size(list) < 20; i++) {
        const struct conf_exception *e = &conf->exceptions[i];

        if (now_s < e->until_s - EXCEPTION_WARN_S)
            continue;
        clock_iso(e->until_s - 1, day, sizeof(day));
        snprintf(text, sizeof(text), "exception %s for %s %s %.10s (%s)", e->name, e->device,
                 now_s < e->until_s ? "ends after" : "is over since", day, e->reason);
        json_array_append_new(list, rpc_text(text));
    }
}

static void add_chain(void *arg, const struct chains_one *c, const char *msg, const char *todo)
{
    char text[1600];

    (void)c;
    snprintf(text, sizeof(text), "%s: %s", msg, todo);
    if (json_array_size(arg) < 20)
        json_array_append_new(arg, rpc_text(text));
}

static json_t *messages(const struct call *c)
{
    struct hub_device *const *all;
    struct hub_counts counts;
    int64_t when_s;
    const char *fault = hub_save_fault(c->d->hub, &when_s);
    json_t *list = json_array(), *when;
    struct flip_clock clock;
    char text[900], why[160];
    size_t n;

    if (fault != NULL) {
        when = rpc_time(when_s);
        snprintf(text, sizeof(text),
                 "nothing changes its phase: the state could not be written at %s: %s",
                 json_string_value(when), fault);
        json_array_append_new(list, rpc_text(text));
        json_decref(when);
    }
    hub_clock(c->d->hub, &clock);
    if (flip_clock_refuses(flip_clock_judge(&clock), hub_conf(c->d->hub)->clock_require_sync)) {
        snprintf(text, sizeof(text), "flips are refused: %s",
                 flip_clock_text(&clock, why, sizeof(why)));
        json_array_append_new(list, rpc_text(text));
    }
    chains_worries(hub_snapshot(c->d->hub), clock_date_s(), add_chain, list);
    crls_worries(c->d->hub, add_message, list);
    exceptions_end(c->d->hub, list);
    show_trust_messages(c->d->hub, list);
    hub_count(c->d->hub, &counts);
    all = hub_devices(c->d->hub, &n);
    for (size_t i = 0; counts.stuck != 0 && i < n && json_array_size(list) < 20; i++) {
        const struct hub_device *d = all[i];
        enum flip_slot slot = flip_active_slot(&d->flip);

        if (d->cred[slot] != NULL)
            continue;
        snprintf(text, sizeof(text), "device %s cannot connect: %s identity: %s", d->name,
                 flip_slot_name(slot), d->fault[slot] == NULL ? "no files" : d->fault[slot]);
        json_array_append_new(list, rpc_text(text));
    }
    for (size_t i = 0; i < n && json_array_size(list) < 20; i++) {
        enum flip_slot slot = flip_active_slot(&all[i]->flip);
        uint64_t errors = hub_lint_now(c->d->hub, all[i], slot).errors;
        int code = 0;

        if (errors == 0)
            continue;
        while ((errors >> code & 1) == 0)
            code++;
        snprintf(text, sizeof(text), "device %s: the %s identity is in use, and %s [%s]: %s",
                 all[i]->name, flip_slot_name(slot), lint_kind((enum lint_code)code)->help,
                 lint_kind((enum lint_code)code)->code, lint_kind((enum lint_code)code)->remedy);
        json_array_append_new(list, rpc_text(text));
    }
    return list;
}

int do_status(struct call *c)
{
    const struct conf *conf = hub_conf(c->d->hub);
    int64_t now_s = clock_wall_s();
    json_t *central = c->d->central_status == NULL ? NULL : c->d->central_status(c->d->arg);

    c->result = json_pack(
        "{s:s, s:s, s:s, s:i, s:o, s:o, s:I, s:s, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
        "gateway", conf->gateway, "version", PACKAGE_VERSION, "tls_library", tls_library(), "pid",
        (int)getpid(), "now", rpc_time(now_s), "started", rpc_time(c->d->started_s), "uptime_s",
        (json_int_t)((clock_boot_ms() - c->d->started_ms) / 1000), "config", c->d->config,
        "workers", (int)hub_workers(c->d->hub), "devices", show_counts(c->d->hub), "pace",
        show_pace(c->d->hub), "trust", show_trust(c->d->hub), "central",
        central == NULL ? json_null() : central, "clock", show_clock(c->d->hub), "exceptions",
        show_exceptions(c->d->hub), "old_tls", show_old_tls(c->d->hub), "crls",
        crls_summary(c->d->hub), "counters", show_stats(c->d->hub), "tokens", token_watch_show(),
        "refused", show_refused(c->d->hub), "messages", messages(c));
    return 0;
}

static int audit_row(void *arg, const struct store_audit *a)
{
    return json_array_append_new(
        arg, json_pack("{s:I, s:o, s:o, s:o, s:o, s:o}", "seq", (json_int_t)a->seq, "time",
                       rpc_time(a->time_s), "who", rpc_text(a->who), "what", rpc_text(a->what),
                       "target", rpc_text(a->target), "outcome", rpc_text(a->outcome)));
}

int do_audit_list(struct call *c)
{
    json_int_t limit = call_number(c, "limit", LIMIT_DEFAULT);
    json_t *rows = json_array(), *next = json_null();
    struct err err = {0};
    size_t n;

    if (store_audit_each(c->d->store, call_number(c, "after", -1), (unsigned)limit, audit_row, rows,
                         &err) < 0) {
        json_decref(rows);
        json_decref(next);
        return rpc_refuse(&c->fault, RPC_STORE, NULL, "%s", err.msg);
    }
    n = json_array_size(rows);
    if (n == (size_t)limit)
        next = json_incref(json_object_get(json_array_get(rows, n - 1), "seq"));
    c->result = json_pack("{s:o, s:o}", "entries", rows, "next", next);
    return 0;
}

int do_help(struct call *c)
{
    json_t *rows = json_array();

    for (int m = 0; m < RPC_METHOD_COUNT; m++) {
        json_array_append_new(
            rows, json_pack("{s:s, s:s, s:s, s:s}", "method", rpc_method_name((enum rpc_method)m),
                            "params", rpc_method_params((enum rpc_method)m), "access",
                            rpc_access_name(rpc_method_access((enum rpc_method)m)), "help",
                            rpc_method_help((enum rpc_method)m)));
    }
    c->result = json_pack("{s:o}", "methods", rows);
    return 0;
}

int do_config_reload(struct call *c)
{
    struct err err = {0};
    json_t *faults = NULL;
    int rc;

    if (c->d->reload == NULL)
        return rpc_refuse(&c->fault, RPC_INTERNAL, NULL, "there is nothing to reload");
    rc = c->d->reload(c->d->arg, &c->result, &faults, &err);
    if (rc == 0)
        return 0;
    rpc_refuse(&c->fault, RPC_CONFIG, "mend the cause, then: certflipctl reload", "%s%s",
               rc == -ERR_INVALID ? "nothing was changed: " : "", err.msg);
    c->fault.list = faults;
    c->fault.list_key = "faults";
    return -1;
}
