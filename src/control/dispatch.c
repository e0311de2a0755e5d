/* control/dispatch.c - see dispatch.h.
 *
 * One row for each method: the function that carries it out and its parameters.  Parameters are
 * checked by the row before the function sees them, so the functions take for granted what the row
 * says.
 */
#include "control/dispatch.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "control/hub.h"
#include "control/jsonrpc.h"
#include "control/show.h"
#include "store/store.h"
#include "tls/ctx.h"

#define LIMIT_DEFAULT 100
#define SECONDS_MAX   (INT64_C(366) * 24 * 3600)
#define TARGETS_MAX   10000

/* One request on its way. */
struct call {
    struct dispatch *d;
    const struct caller *caller;
    enum rpc_method method;
    json_t *params;    /* borrowed; an object */
    json_t *result;    /* owned; set on success */
    char target[256];  /* for the audit log */
    char outcome[900]; /* likewise; "": nothing to write down */
    struct rpc_fault fault;
};

/* -- parameters -- */

enum kind { K_TARGET, K_NAME, K_TEXT, K_NUMBER, K_OBJECT };

struct param {
    const char *name;
    enum kind kind;
    bool required;
    json_int_t least, most; /* K_NUMBER; K_TEXT: of its length */
};

static const char *const kind_texts[] = {
    [K_TARGET] = "a device name, a glob, or an array of these",
    [K_NAME] = "a string",
    [K_TEXT] = "a string",
    [K_NUMBER] = "a whole number",
    [K_OBJECT] = "an object",
};

static bool is_target(const json_t *value)
{
    size_t i;
    json_t *item;

    if (json_is_string(value))
        return json_string_length(value) != 0;
    if (!json_is_array(value) || json_array_size(value) == 0 ||
        json_array_size(value) > TARGETS_MAX)
        return false;
    json_array_foreach(value, i, item)
    {
        if (!json_is_string(item) || json_string_length(item) == 0)
            return false;
    }
    return true;
}

static bool fits(const struct param *p, const json_t *value)
{
    switch (p->kind) {
    case K_TARGET:
        return is_target(value);
    case K_NAME:
        return json_is_string(value) && json_string_length(value) != 0;
    case K_TEXT:
        return json_is_string(value) && (json_int_t)json_string_length(value) >= p->least &&
               (json_int_t)json_string_length(value) <= p->most;
    case K_NUMBER:
        return json_is_integer(value) && json_integer_value(value) >= p->least &&
               json_integer_value(value) <= p->most;
    case K_OBJECT:
        return json_is_object(value);
    }
    return false;
}

static int refuse_param(struct call *c, const struct param *p)
{
    if (p->kind == K_NUMBER)
        return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL,
                          "%s: must be a whole number of %lld to %lld", p->name,
                          (long long)p->least, (long long)p->most);
    return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL, "%s: must be %s", p->name,
                      kind_texts[p->kind]);
}

static const char *text_of(const struct call *c, const char *name)
{
    return json_string_value(json_object_get(c->params, name));
}

static json_int_t number_of(const struct call *c, const char *name, json_int_t otherwise)
{
    const json_t *value = json_object_get(c->params, name);

    return value == NULL ? otherwise : json_integer_value(value);
}

/* -- targets -- */

static bool target_has(const json_t *target, const char *name)
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

/* Is the device named, not only matched? */
static bool target_names(const json_t *target, const char *name)
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

static bool is_wanted(const json_t *target, const char *name)
{
    return target == NULL || target_has(target, name);
}

static int refuse_device(struct call *c, const char *name)
{
    if (str_has_glob(name))
        return rpc_refuse(&c->fault, RPC_NO_DEVICE, "see which there are: certflipctl devices",
                          "no device matches %s", name);
    return rpc_refuse(&c->fault, RPC_NO_DEVICE, "see which there are: certflipctl devices",
                      "there is no device %s: it has no folder in %s", name,
                      hub_conf(c->d->hub)->identities_dir);
}

/* Every word of a target must match something. */
static int check_target_word(struct call *c, const char *word)
{
    struct hub_device *const *all;
    size_t n;

    if (!str_has_glob(word))
        return hub_find(c->d->hub, word) == NULL ? refuse_device(c, word) : 0;
    all = hub_devices(c->d->hub, &n);
    for (size_t i = 0; i < n; i++)
        if (str_glob(word, all[i]->name))
            return 0;
    return refuse_device(c, word);
}

static int check_target(struct call *c, const json_t *target)
{
    size_t i;
    json_t *item;

    if (json_is_string(target))
        return check_target_word(c, json_string_value(target));
    json_array_foreach(target, i, item)
    {
        if (check_target_word(c, json_string_value(item)) != 0)
            return -1;
    }
    return 0;
}

static void note_target(struct call *c)
{
    const json_t *value = json_object_get(c->params, "target");
    char *text;

    if (value == NULL)
        return;
    if (json_is_string(value)) {
        snprintf(c->target, sizeof(c->target), "%s", json_string_value(value));
        return;
    }
    text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text != NULL)
        snprintf(c->target, sizeof(c->target), "%s", text);
    free(text);
}

/* -- methods that look -- */

static json_t *messages(const struct call *c)
{
    struct hub_device *const *all;
    struct hub_counts counts;
    int64_t when_s;
    const char *fault = hub_save_fault(c->d->hub, &when_s);
    json_t *list = json_array(), *when;
    char text[900];
    size_t n;

    if (fault != NULL) {
        when = rpc_time(when_s);
        snprintf(text, sizeof(text),
                 "nothing changes its phase: the state could not be written at %s: %s",
                 json_string_value(when), fault);
        json_array_append_new(list, rpc_text(text));
        json_decref(when);
    }
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
    return list;
}

static int do_status(struct call *c)
{
    const struct conf *conf = hub_conf(c->d->hub);
    int64_t now_s = clock_wall_s();
    json_t *central = c->d->central_status == NULL ? NULL : c->d->central_status(c->d->arg);

    c->result = json_pack(
        "{s:s, s:s, s:s, s:i, s:o, s:o, s:I, s:s, s:i, s:o, s:o, s:o, s:o, s:o, s:o}", "gateway",
        conf->gateway, "version", PACKAGE_VERSION, "tls_library", tls_library(), "pid",
        (int)getpid(), "now", rpc_time(now_s), "started", rpc_time(c->d->started_s), "uptime_s",
        (json_int_t)((clock_boot_ms() - c->d->started_ms) / 1000), "config", c->d->config,
        "workers", (int)hub_workers(c->d->hub), "devices", show_counts(c->d->hub), "pace",
        show_pace(c->d->hub), "central", central == NULL ? json_null() : central, "counters",
        show_stats(c->d->hub), "refused", show_refused(c->d->hub), "messages", messages(c));
    return 0;
}

static int do_device_list(struct call *c)
{
    const json_t *target = json_object_get(c->params, "target");
    const char *after = text_of(c, "after");
    size_t limit = (size_t)number_of(c, "limit", RPC_ROWS_MAX), n, total = 0;
    struct hub_device *const *all = hub_devices(c->d->hub, &n);
    const char *last = NULL;
    json_t *rows = json_array(), *next = json_null();

    for (size_t i = 0; i < n; i++) {
        if (!is_wanted(target, all[i]->name))
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

static int do_device_get(struct call *c)
{
    const char *name = text_of(c, "device");
    const struct hub_device *d = hub_find(c->d->hub, name);

    if (d == NULL)
        return refuse_device(c, name);
    c->result = show_device(c->d->hub, d);
    json_object_set_new(c->result, "sessions", show_sessions(d));
    return 0;
}

static int do_sessions_list(struct call *c)
{
    const json_t *target = json_object_get(c->params, "target");
    size_t limit = (size_t)number_of(c, "limit", RPC_ROWS_MAX), n, total = 0;
    struct hub_device *const *all = hub_devices(c->d->hub, &n);
    json_t *rows = json_array();

    for (size_t i = 0; i < n; i++) {
        if (!is_wanted(target, all[i]->name))
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

static int audit_row(void *arg, const struct store_audit *a)
{
    return json_array_append_new(
        arg, json_pack("{s:I, s:o, s:o, s:o, s:o, s:o}", "seq", (json_int_t)a->seq, "time",
                       rpc_time(a->time_s), "who", rpc_text(a->who), "what", rpc_text(a->what),
                       "target", rpc_text(a->target), "outcome", rpc_text(a->outcome)));
}

static int do_audit_list(struct call *c)
{
    json_int_t limit = number_of(c, "limit", LIMIT_DEFAULT);
    json_t *rows = json_array(), *next = json_null();
    struct err err = {0};
    size_t n;

    if (store_audit_each(c->d->store, number_of(c, "after", -1), (unsigned)limit, audit_row, rows,
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

static int do_help(struct call *c)
{
    json_t *rows = json_array();

    for (int m = 0; m < RPC_METHOD_COUNT; m++) {
        bool operate = rpc_method_access((enum rpc_method)m) == RPC_OPERATE;

        json_array_append_new(rows, json_pack("{s:s, s:s, s:s, s:s}", "method",
                                              rpc_method_name((enum rpc_method)m), "params",
                                              rpc_method_params((enum rpc_method)m), "access",
                                              operate ? "operate" : "observe", "help",
                                              rpc_method_help((enum rpc_method)m)));
    }
    c->result = json_pack("{s:o}", "methods", rows);
    return 0;
}

/* -- methods that flip -- */

/* What became of each device. */
struct outcome {
    json_t *refused, *done; /* owned arrays */
    size_t refused_count, done_count;
    struct rpc_fault first; /* of the refused; its list is not used */
};

static void outcome_refused(struct outcome *o, const struct hub_device *d, struct rpc_fault *f)
{
    if (o->refused_count++ == 0)
        o->first = *f;
    if (json_array_size(o->refused) < RPC_ROWS_MAX)
        json_array_append_new(o->refused, json_pack("{s:s, s:b, s:s, s:o}", "device", d->name, "ok",
                                                    0, "phase", flip_phase_name(d->flip.phase),
                                                    "error", rpc_error_object(f)));
    rpc_fault_fini(f);
}

static void outcome_done(struct outcome *o, const struct hub_device *d, bool changed)
{
    o->done_count++;
    if (json_array_size(o->done) < RPC_ROWS_MAX)
        json_array_append_new(o->done,
                              json_pack("{s:s, s:b, s:s, s:b}", "device", d->name, "ok", 1, "phase",
                                        flip_phase_name(d->flip.phase), "changed", changed));
}

/* Turn it into the call's result, or its fault when all were refused. */
static int outcome_end(struct outcome *o, struct call *c)
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

static const char *fingerprint_for(const struct call *c, const char *device)
{
    const char *one = text_of(c, "fingerprint");

    if (one != NULL)
        return one;
    return json_string_value(json_object_get(json_object_get(c->params, "fingerprints"), device));
}

/* Whoever rolls back all that match means those that are on the new identity; the others are where
 * they shall be. */
static bool was_never_flipped(const struct hub_device *d, enum flip_event ev)
{
    return ev == EV_ROLLBACK && (d->flip.phase == FLIP_STEADY || d->flip.phase == FLIP_STAGED);
}

static int on_targets(struct call *c, enum flip_event ev, const struct hub_terms *terms)
{
    const json_t *target = json_object_get(c->params, "target");
    struct outcome o = {.refused = json_array(), .done = json_array()};
    struct hub_device *const *all;
    size_t n;

    if (check_target(c, target) != 0) {
        json_decref(o.refused);
        json_decref(o.done);
        return -1;
    }
    all = hub_devices(c->d->hub, &n);
    for (size_t i = 0; i < n; i++) {
        struct hub_device *d = all[i];
        struct rpc_fault f = {0};
        const char *fp = NULL;
        bool changed = false;

        if (!target_has(target, d->name))
            continue;
        if (was_never_flipped(d, ev) && !target_names(target, d->name)) {
            outcome_done(&o, d, false);
            continue;
        }
        if (c->method == RPC_CONFIRM_METHOD && (fp = fingerprint_for(c, d->name)) == NULL)
            rpc_refuse(&f, RPC_FINGERPRINT, "name the certificate that the far side saw",
                       "device %s: no fingerprint was given for it", d->name);
        else
            hub_command(c->d->hub, d, ev, terms, fp, text_of(c, "reason"), c->caller->who, &changed,
                        &f);
        if (f.code != RPC_OK)
            outcome_refused(&o, d, &f);
        else
            outcome_done(&o, d, changed);
    }
    return outcome_end(&o, c);
}

static int do_flip(struct call *c)
{
    struct hub_terms terms = {
        .confirm = FLIP_CONFIRM_AUTO,
        .probation_ms = number_of(c, "probation_s", 0) * 1000,
        .confirm_ms = number_of(c, "confirm_s", 0) * 1000,
        .not_after_s = number_of(c, "not_after_s", 0),
    };
    const char *confirm = text_of(c, "confirm"), *evidence = text_of(c, "evidence");
    enum flip_proof proof = FLIP_PROOF_CONNACK;

    if (confirm != NULL && flip_confirm_parse(confirm, &terms.confirm) != 0)
        return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL,
                          "confirm: must be \"auto\" or \"central\"");
    if (evidence != NULL &&
        (flip_proof_parse(evidence, &proof) != 0 || proof == FLIP_PROOF_CENTRAL))
        return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL,
                          "evidence: must be \"connack\" or \"echo\"; that of the centre is asked "
                          "for by confirm");
    terms.evidence = evidence == NULL ? 0 : (unsigned)proof;
    return on_targets(c, EV_FLIP, &terms);
}

static int do_rollback(struct call *c)
{
    return on_targets(c, EV_ROLLBACK, NULL);
}

static int do_confirm(struct call *c)
{
    const char *key;
    json_t *value;

    json_object_foreach(json_object_get(c->params, "fingerprints"), key, value)
    {
        if (!json_is_string(value))
            return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL,
                              "fingerprints: of device %.128s: must be a string", key);
    }
    return on_targets(c, EV_CONFIRMED, NULL);
}

static int do_commit(struct call *c)
{
    return on_targets(c, EV_COMMIT, NULL);
}

static int do_quarantine_clear(struct call *c)
{
    return on_targets(c, EV_CLEARED, NULL);
}

/* -- methods that set -- */

static int do_config_reload(struct call *c)
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

static int do_log_level(struct call *c)
{
    const char *subsystem = text_of(c, "subsystem"), *level = text_of(c, "level");
    json_t *levels = json_object();
    enum log_level parsed;

    if ((subsystem == NULL) != (level == NULL)) {
        json_decref(levels);
        return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL, "subsystem and level go together");
    }
    if (level != NULL && log_level_parse(level, &parsed) != 0) {
        json_decref(levels);
        return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL,
                          "level: must be error, warn, notice, info or debug");
    }
    if (level != NULL && log_set_level(subsystem, parsed) != 0) {
        json_decref(levels);
        return rpc_refuse(&c->fault, RPC_INVALID_PARAMS,
                          "see which there are: log.level without parameters",
                          "subsystem: there is no %.64s", subsystem);
    }
    for (int s = 0; s < LOG_SUBSYSTEM_COUNT; s++)
        json_object_set_new(levels, log_subsystem_name((enum log_subsystem)s),
                            json_string(log_level_name(log_get_level((enum log_subsystem)s))));
    if (subsystem != NULL)
        snprintf(c->target, sizeof(c->target), "%s=%s", subsystem, level);
    c->result = json_pack("{s:o}", "levels", levels);
    return 0;
}

/* -- the table -- */

#define PARAMS_MAX 6

struct command {
    int (*carry_out)(struct call *c); /* sets result, or returns -1 with the fault */
    struct param params[PARAMS_MAX + 1];
};

#define TARGET                         \
    {                                  \
        "target", K_TARGET, true, 0, 0 \
    }
#define MAY_TARGET                      \
    {                                   \
        "target", K_TARGET, false, 0, 0 \
    }
#define LIMIT                                     \
    {                                             \
        "limit", K_NUMBER, false, 1, RPC_ROWS_MAX \
    }

/* clang-format off */
static const struct command commands[RPC_METHOD_COUNT] = {
    [RPC_STATUS_METHOD]           = { do_status,           { { 0 } } },
    [RPC_DEVICE_LIST_METHOD]      = { do_device_list,      { MAY_TARGET, { "after", K_NAME, false, 0, 0 }, LIMIT } },
    [RPC_DEVICE_GET_METHOD]       = { do_device_get,       { { "device", K_NAME, true, 0, 0 } } },
    [RPC_FLIP_METHOD]             = { do_flip,             { TARGET,
                                                             { "probation_s", K_NUMBER, false, 1, SECONDS_MAX },
                                                             { "confirm", K_NAME, false, 0, 0 },
                                                             { "confirm_s", K_NUMBER, false, 1, SECONDS_MAX },
                                                             { "evidence", K_NAME, false, 0, 0 },
                                                             { "not_after_s", K_NUMBER, false, 1, INT64_C(1) << 40 } } },
    [RPC_ROLLBACK_METHOD]         = { do_rollback,         { TARGET, { "reason", K_TEXT, false, 1, 300 } } },
    [RPC_CONFIRM_METHOD]          = { do_confirm,          { TARGET, { "fingerprint", K_NAME, false, 0, 0 },
                                                             { "fingerprints", K_OBJECT, false, 0, 0 } } },
    [RPC_COMMIT_METHOD]           = { do_commit,           { TARGET } },
    [RPC_QUARANTINE_CLEAR_METHOD] = { do_quarantine_clear, { TARGET } },
    [RPC_CONFIG_RELOAD_METHOD]    = { do_config_reload,    { { 0 } } },
    [RPC_LOG_LEVEL_METHOD]        = { do_log_level,        { { "subsystem", K_NAME, false, 0, 0 },
                                                             { "level", K_NAME, false, 0, 0 } } },
    [RPC_AUDIT_LIST_METHOD]       = { do_audit_list,       { { "after", K_NUMBER, false, 0, INT64_C(1) << 53 }, LIMIT } },
    [RPC_SESSIONS_LIST_METHOD]    = { do_sessions_list,    { MAY_TARGET, LIMIT } },
    [RPC_HELP_METHOD]             = { do_help,             { { 0 } } },
};
/* clang-format on */

const char *dispatch_param(enum rpc_method m, size_t i, bool *required)
{
    const struct param *p = i <= PARAMS_MAX ? &commands[m].params[i] : NULL;

    if (p == NULL || p->name == NULL)
        return NULL;
    *required = p->required;
    return p->name;
}

static int check_params(struct call *c)
{
    const struct param *params = commands[c->method].params;
    const char *key;
    json_t *value;

    for (const struct param *p = params; p->name != NULL; p++) {
        value = json_object_get(c->params, p->name);
        if (value == NULL && p->required)
            return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL, "%s: is missing: %s", p->name,
                              kind_texts[p->kind]);
        if (value != NULL && !fits(p, value))
            return refuse_param(c, p);
    }
    json_object_foreach(c->params, key, value)
    {
        const struct param *p = params;

        while (p->name != NULL && strcmp(p->name, key) != 0)
            p++;
        if (p->name == NULL)
            return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL,
                              "%.64s: there is no such parameter; allowed: %s", key,
                              *rpc_method_params(c->method) == '\0' ? "none"
                                                                    : rpc_method_params(c->method));
    }
    return 0;
}

/* -- carrying out -- */

static void outcome_text(const struct call *c, char *outcome, size_t n)
{
    if (c->fault.code != RPC_OK)
        snprintf(outcome, n, "refused: %s: %s", rpc_error_name(c->fault.code), c->fault.message);
    else if (json_object_get(c->result, "done") != NULL)
        snprintf(outcome, n, "done %lld, refused %lld",
                 (long long)json_integer_value(json_object_get(c->result, "done")),
                 (long long)json_integer_value(json_object_get(c->result, "refused")));
    else
        snprintf(outcome, n, "done");
}

/* Write down what was commanded and what came of it; in one transaction with what it changed. */
static void audit(struct call *c)
{
    if (rpc_method_access(c->method) != RPC_OPERATE)
        return;
    outcome_text(c, c->outcome, sizeof(c->outcome));
    hub_audit(c->d->hub, c->caller->who, rpc_method_name(c->method), c->target, c->outcome);
}

/* What the log says came of it: once that is durable, or nothing was done after all. */
static void log_command(struct call *c, bool stored)
{
    if (rpc_method_access(c->method) != RPC_OPERATE || c->outcome[0] == '\0')
        return;
    if (!stored)
        outcome_text(c, c->outcome, sizeof(c->outcome));
    log_event(LOG_CONTROL, LOG_INFO_, "command", "by=%s method=%s target=%s outcome=%s",
              LOG_Q(c->caller->who), rpc_method_name(c->method), LOG_Q(c->target),
              LOG_Q(c->outcome));
}

static void carry_out(struct call *c, const char *method)
{
    int m = rpc_method_find(method);

    if (m < 0) {
        rpc_refuse(&c->fault, RPC_NO_METHOD, "see which there are: method help",
                   "there is no method %.64s", method);
        return;
    }
    c->method = (enum rpc_method)m;
    if (rpc_method_access(c->method) == RPC_OPERATE && !c->caller->operate) {
        rpc_refuse(&c->fault, RPC_DENIED,
                   "ask as root, as the daemon's user, or as a member of the control group",
                   "%s may only look, not %s", c->caller->who, method);
        return;
    }
    note_target(c);
    if (check_params(c) == 0)
        commands[m].carry_out(c);
    audit(c);
}

static struct json_t *reply_of(struct call *c, const json_t *id)
{
    json_t *reply = c->fault.code != RPC_OK
                        ? rpc_reply_error(id, &c->fault)
                        : rpc_reply_result(id, c->result == NULL ? json_null() : c->result);

    c->result = NULL;
    return reply;
}

/* -- once for each id -- */

#define KEPT_REQUEST_MAX 4096  /* bytes of parameters; of longer ones a hash is kept */
#define KEPT_REPLY_MAX   16384 /* bytes; a longer reply is kept without its rows */

/* FNV-1a; nobody gains by two requests of his own that look alike. */
static uint64_t hash_of(const char *text)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (; *text != '\0'; text++)
        h = (h ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return h;
}

/* What is kept is {"request": ..., "reply": ...}, so that an id that is used for something else is
 * noticed. */
static json_t *kept_request(const struct rpc_request *r)
{
    char *text = json_dumps(r->params, JSON_COMPACT | JSON_SORT_KEYS);
    json_t *kept;

    if (text == NULL || strlen(text) <= KEPT_REQUEST_MAX)
        kept = json_pack("{s:s, s:O?}", "method", r->method, "params", r->params);
    else
        kept = json_pack("{s:s, s:I}", "method", r->method, "params_hash",
                         (json_int_t)(hash_of(text) >> 1));
    free(text);
    return kept;
}

/* The reply as it is kept: rows of devices are left out where they take too much.  Returns owned.
 */
static json_t *kept_form(json_t *reply)
{
    char *text = json_dumps(reply, JSON_COMPACT);
    bool fits = text != NULL && strlen(text) <= KEPT_REPLY_MAX;
    json_t *kept;

    free(text);
    if (fits)
        return json_incref(reply);
    kept = json_deep_copy(reply);
    json_object_set_new(json_object_get(kept, "result"), "devices", json_array());
    json_object_del(json_object_get(json_object_get(kept, "error"), "data"), "results");
    return kept;
}

/* The key of a request whose reply is to be kept, or NULL.  Returns owned. */
static char *kept_key(const struct caller *caller, const struct rpc_request *r)
{
    int m = rpc_method_find(r->method);
    char *id, *key = NULL;

    if (caller->remember == NULL || r->id == NULL || json_is_null(r->id) || m < 0 ||
        rpc_method_access((enum rpc_method)m) != RPC_OPERATE)
        return NULL;
    id = json_dumps(r->id, JSON_COMPACT | JSON_ENCODE_ANY);
    if (id != NULL)
        key = str_printf("%s:%s", caller->remember, id);
    free(id);
    return key;
}

/* A reply that is an error.  Returns owned. */
static json_t *reply_fault(const struct rpc_request *r, enum rpc_code code, const char *remedy,
                           const char *what)
{
    struct rpc_fault f = {0};
    json_t *reply;

    rpc_refuse(&f, code, remedy, "%s", what);
    reply = rpc_reply_error(r->id, &f);
    rpc_fault_fini(&f);
    return reply;
}

/* The reply of the first time, or NULL when this is the first time. */
static json_t *kept_reply(struct dispatch *d, const char *key, const struct rpc_request *r)
{
    json_t *kept, *request, *reply;
    struct err err = {0};
    char *text = NULL;
    int rc = store_command_get(d->store, key, &text, &err);

    if (rc == -ERR_NOT_FOUND)
        return NULL;
    kept = rc == 0 ? json_loads(text, 0, NULL) : NULL;
    free(text);
    if (kept == NULL) /* nobody can tell whether it was done */
        return reply_fault(r, RPC_STORE, "mend the state directory, then command again",
                           rc == 0 ? "what was kept of this request cannot be read" : err.msg);
    request = kept_request(r);
    if (json_equal(request, json_object_get(kept, "request")))
        reply = json_incref(json_object_get(kept, "reply"));
    else
        reply = reply_fault(r, RPC_ID_REUSED, "give every request an id of its own",
                            "this id was used for another request");
    json_decref(request);
    json_decref(kept);
    return reply;
}

static void keep(struct dispatch *d, char *key, const struct rpc_request *r, json_t *reply)
{
    json_t *kept = json_pack("{s:o, s:o}", "request", kept_request(r), "reply", kept_form(reply));
    char *text = json_dumps(kept, JSON_COMPACT);

    json_decref(kept);
    if (text == NULL) {
        free(key);
        return;
    }
    hub_remember(d->hub, key, text);
}

/* -- requests -- */

/* Not with the flush: there only its audit row is written. */
static bool is_done_at_once(enum rpc_method m)
{
    return m == RPC_CONFIG_RELOAD_METHOD || m == RPC_LOG_LEVEL_METHOD;
}

static json_t *serve_request(struct dispatch *d, const struct caller *caller,
                             const struct rpc_request *r)
{
    struct call c = {.d = d, .caller = caller, .params = r->params};
    char *key = kept_key(caller, r);
    struct err err = {0};
    json_t *reply = key == NULL ? NULL : kept_reply(d, key, r);
    bool stored;

    if (reply != NULL) {
        free(key);
        return reply;
    }
    carry_out(&c, r->method);
    reply = reply_of(&c, r->id);
    if (key != NULL)
        keep(d, key, r, reply);
    stored = hub_flush(d->hub, &err) == 0;
    if (!stored && rpc_method_access(c.method) == RPC_OPERATE) {
        json_decref(reply);
        if (is_done_at_once(c.method) && c.fault.code == RPC_OK)
            rpc_refuse(&c.fault, RPC_STORE, "mend the state directory",
                       "it was done, but could not be written to the audit log: %s", err.msg);
        else
            rpc_refuse(&c.fault, RPC_STORE, "mend the state directory, then command again",
                       "nothing was done: %s", err.msg);
        reply = rpc_reply_error(r->id, &c.fault);
    }
    log_command(&c, stored);
    rpc_fault_fini(&c.fault);
    return reply;
}

/* Returns the reply, or NULL for a notification. */
static json_t *serve_value(struct dispatch *d, const struct caller *caller, json_t *value)
{
    struct rpc_request r;
    struct rpc_fault f = {0};
    json_t *reply;

    if (rpc_request(value, &r, &f) != 0) {
        /* What is a notification but for its parameters gets no reply either. */
        reply = r.id == NULL && f.code == RPC_INVALID_PARAMS ? NULL : rpc_reply_error(r.id, &f);
        rpc_fault_fini(&f);
        return reply;
    }
    reply = serve_request(d, caller, &r);
    if (r.id != NULL)
        return reply;
    json_decref(reply);
    return NULL;
}

static json_t *refuse_batch(size_t n)
{
    struct rpc_fault f = {0};
    json_t *reply;

    rpc_refuse(&f, n == 0 ? RPC_INVALID_REQUEST : RPC_TOO_BIG, NULL,
               "a batch holds 1 to %d requests", RPC_BATCH_MAX);
    reply = rpc_reply_error(NULL, &f);
    rpc_fault_fini(&f);
    return reply;
}

/* One of a batch, for which there is no room: it is not carried out. */
static json_t *refuse_rest(json_t *value)
{
    struct rpc_request r;
    struct rpc_fault f = {0};
    json_t *reply = NULL;

    if (rpc_request(value, &r, &f) == 0)
        rpc_refuse(&f, RPC_TOO_BIG, "send smaller batches",
                   "not carried out: the replies of this batch are beyond %d bytes",
                   RPC_BATCH_REPLIES_MAX);
    if (r.id != NULL || f.code == RPC_INVALID_REQUEST)
        reply = rpc_reply_error(r.id, &f);
    rpc_fault_fini(&f);
    return reply;
}

/* Takes the reply, which may be NULL.  Returns 0, or -1 without memory. */
static int add_reply(struct buf *out, json_t *reply)
{
    char *text;
    int rc = -1;

    if (reply == NULL)
        return 0;
    text = json_dumps(reply, JSON_COMPACT);
    json_decref(reply);
    if (text != NULL && buf_append_u8(out, out->len == 0 ? '[' : ',') == 0)
        rc = buf_append(out, text, strlen(text));
    free(text);
    return rc == 0 ? 0 : -1;
}

/* Each reply becomes text at once: as values, all of them would take a multiple of its room. */
static char *serve_batch(struct dispatch *d, const struct caller *caller, json_t *batch)
{
    struct buf out = {0};
    json_t *item;
    size_t i;

    json_array_foreach(batch, i, item)
    {
        if (add_reply(&out, out.len < RPC_BATCH_REPLIES_MAX ? serve_value(d, caller, item)
                                                            : refuse_rest(item)) != 0)
            goto fail;
    }
    if (out.len == 0)
        return NULL;
    if (buf_append_u8(&out, ']') != 0 || buf_append_u8(&out, 0) != 0)
        goto fail;
    return (char *)out.p; /* as malloc gave it */
fail:
    buf_fini(&out);
    return NULL;
}

char *dispatch_text(struct dispatch *d, const struct caller *caller, const char *text, size_t n)
{
    struct rpc_fault f = {0};
    json_t *value = rpc_parse(text, n, &f), *reply;
    size_t count = json_array_size(value);
    char *out;

    if (json_is_array(value) && count >= 1 && count <= RPC_BATCH_MAX) {
        out = serve_batch(d, caller, value);
        json_decref(value);
        return out;
    }
    if (value == NULL)
        reply = rpc_reply_error(NULL, &f);
    else if (json_is_array(value))
        reply = refuse_batch(count);
    else
        reply = serve_value(d, caller, value);
    json_decref(value);
    rpc_fault_fini(&f);
    if (reply == NULL)
        return NULL;
    out = json_dumps(reply, JSON_COMPACT);
    json_decref(reply);
    return out;
}
