/* control/dispatch.c - see dispatch.h and dispatch_inside.h.
 *
 * One row for each method: the function that carries it out and its parameters.
 */
#include "control/dispatch.h"

#include <assert.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "control/dispatch_inside.h"
#include "control/hub.h"
#include "identity/files.h"
#include "identity/keygen.h"
#include "trust/change.h"

#define SECONDS_MAX (INT64_C(366) * 24 * 3600)
#define TARGETS_MAX 10000

/* -- parameters -- */

enum kind { K_TARGET, K_NAME, K_TEXT, K_NUMBER, K_BOOL, K_TEXTS, K_OBJECT };

struct param {
    const char *name;
    enum kind kind;
    bool required;
    json_int_t least, most; /* K_NUMBER; K_TEXT: of its length; K_TEXTS: of them */
};

static const char *const kind_texts[] = {
    [K_TARGET] = "a device name, a glob, or an array of these",
    [K_NAME] = "a string",
    [K_TEXT] = "a string",
    [K_NUMBER] = "a whole number",
    [K_BOOL] = "true or false",
    [K_TEXTS] = "an array of strings",
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

static bool is_texts(const struct param *p, const json_t *value)
{
    size_t i;
    json_t *item;

    if (!json_is_array(value) || (json_int_t)json_array_size(value) < p->least ||
        (json_int_t)json_array_size(value) > p->most)
        return false;
    json_array_foreach(value, i, item)
    {
        if (!json_is_string(item))
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
    case K_BOOL:
        return json_is_boolean(value);
    case K_TEXTS:
        return is_texts(p, value);
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

const char *call_text(const struct call *c, const char *name)
{
    return json_string_value(json_object_get(c->params, name));
}

json_int_t call_number(const struct call *c, const char *name, json_int_t otherwise)
{
    const json_t *value = json_object_get(c->params, name);

    return value == NULL ? otherwise : json_integer_value(value);
}

bool call_flag(const struct call *c, const char *name)
{
    return json_is_true(json_object_get(c->params, name));
}

void call_note(struct call *c, const char *what)
{
    size_t n = strlen(what) + 1, most = sizeof(c->target) - 1 - n, at = strlen(c->target);

    if (at > most) /* whole characters: the audit log is UTF-8 */
        for (at = most; at > 0 && ((unsigned char)c->target[at] & 0xc0) == 0x80;)
            at--;
    snprintf(c->target + at, sizeof(c->target) - at, " %s", what);
}

/* For people: whom or what a request is about. */
static void target_text(const json_t *params, char *out, size_t n)
{
    const json_t *value = json_object_get(params, "target");
    char *text;

    if (value == NULL)
        value = json_object_get(params, "device");
    if (value == NULL)
        return;
    if (json_is_string(value)) {
        snprintf(out, n, "%s", json_string_value(value));
        return;
    }
    text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text != NULL)
        snprintf(out, n, "%s", text);
    free(text);
}

/* -- the table -- */

#define PARAMS_MAX 8

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
    [RPC_DEVICE_CHANGES_METHOD]   = { do_device_changes,   { { "epoch", K_NUMBER, false, 0, INT64_C(1) << 53 },
                                                             { "after", K_NUMBER, false, 0, INT64_C(1) << 53 }, LIMIT } },
    [RPC_DEVICE_GET_METHOD]       = { do_device_get,       { { "device", K_NAME, true, 0, 0 } } },
    [RPC_FLIP_METHOD]             = { do_flip,             { TARGET,
                                                             { "probation_s", K_NUMBER, false, 1, SECONDS_MAX },
                                                             { "confirm", K_NAME, false, 0, 0 },
                                                             { "confirm_s", K_NUMBER, false, 1, SECONDS_MAX },
                                                             { "evidence", K_NAME, false, 0, 0 },
                                                             { "not_after_s", K_NUMBER, false, 1, INT64_C(1) << 40 },
                                                             { "force", K_BOOL, false, 0, 0 } } },
    [RPC_IDENTITY_LINT_METHOD]    = { do_identity_lint,    { TARGET, { "slot", K_NAME, false, 0, 0 },
                                                             { "at_s", K_NUMBER, false, 0, INT64_C(1) << 40 },
                                                             { "after", K_NAME, false, 0, 0 },
                                                             { "limit", K_NUMBER, false, 1, RPC_ROWS_MAX / 2 } } },
    [RPC_ROLLBACK_METHOD]         = { do_rollback,         { TARGET, { "reason", K_TEXT, false, 1, 300 } } },
    [RPC_CONFIRM_METHOD]          = { do_confirm,          { TARGET, { "fingerprint", K_NAME, false, 0, 0 },
                                                             { "fingerprints", K_OBJECT, false, 0, 0 } } },
    [RPC_COMMIT_METHOD]           = { do_commit,           { TARGET } },
    [RPC_QUARANTINE_CLEAR_METHOD] = { do_quarantine_clear, { TARGET } },
    [RPC_IDENTITY_KEYGEN_METHOD]  = { do_identity_keygen,  { TARGET, { "key", K_NAME, false, 0, 0 },
                                                             { "token", K_TEXT, false, 0, 128 },
                                                             { "subject", K_TEXT, false, 0, NAME_TEXT_MAX },
                                                             { "sans", K_TEXTS, false, 0, KEYGEN_SANS_MAX },
                                                             { "renew", K_BOOL, false, 0, 0 } } },
    [RPC_IDENTITY_INSTALL_METHOD] = { do_identity_install, { { "device", K_NAME, true, 0, 0 },
                                                             { "chain", K_TEXT, true, 1, (json_int_t)FILES_MAX_BYTES } } },
    [RPC_IDENTITY_DISCARD_METHOD] = { do_identity_discard, { TARGET } },
    [RPC_RETIRE_METHOD]           = { do_retire,           { TARGET } },
    [RPC_IDENTITY_EXPORT_METHOD]  = { do_identity_export,  { { "device", K_NAME, true, 0, 0 },
                                                             { "what", K_NAME, true, 0, 0 },
                                                             { "slot", K_NAME, false, 0, 0 } } },
    [RPC_IDENTITY_IMPORT_METHOD]  = { do_identity_import,  { { "device", K_NAME, true, 0, 0 },
                                                             { "chain", K_TEXT, true, 1, 262144 }, { "key", K_TEXT, true, 1, 65536 },
                                                             { "slot", K_NAME, false, 0, 0 }, { "replace", K_BOOL, false, 0, 0 },
                                                             { "dry_run", K_BOOL, false, 0, 0 } } },
    [RPC_KEYS_REKEY_METHOD]       = { do_rekey,            { TARGET } },
    [RPC_CONFIG_RELOAD_METHOD]    = { do_config_reload,    { { 0 } } },
    [RPC_CRL_UPDATE_METHOD]       = { do_crl_update,       { { "crl", K_TEXT, false, 1, RPC_LINE_MAX },
                                                             { "file", K_TEXT, false, 1, 4000 },
                                                             { "force", K_BOOL, false, 0, 0 } } },
    [RPC_CRL_LIST_METHOD]         = { do_crl_list,         { { 0 } } },
    [RPC_LOG_LEVEL_METHOD]        = { do_log_level,        { { "subsystem", K_NAME, false, 0, 0 },
                                                             { "level", K_NAME, false, 0, 0 } } },
    [RPC_LOG_RECENT_METHOD]       = { do_log_recent,       { { "after", K_NUMBER, false, 0, INT64_C(1) << 53 }, LIMIT,
                                                             { "device", K_NAME, false, 0, 0 }, { "event", K_NAME, false, 0, 0 },
                                                             { "subsystem", K_NAME, false, 0, 0 }, { "level", K_NAME, false, 0, 0 },
                                                             { "grep", K_NAME, false, 0, 0 },
                                                             { "since_s", K_NUMBER, false, 0, INT64_C(1) << 40 } } },
    [RPC_TRUST_LIST_METHOD]       = { do_trust_list,       { { "set", K_NAME, false, 0, 0 } } },
    [RPC_TRUST_ADD_METHOD]        = { do_trust_add,        { { "set", K_NAME, true, 0, 0 },
                                                             { "pem", K_TEXT, true, 1, RPC_PEM_MAX },
                                                             { "note", K_TEXT, false, 0, TRUST_NOTE_MAX },
                                                             { "intermediate", K_BOOL, false, 0, 0 },
                                                             { "only", K_TARGET, false, 0, 0 },
                                                             { "force", K_BOOL, false, 0, 0 } } },
    [RPC_TRUST_CHECK_METHOD]      = { do_trust_check,      { { "set", K_NAME, true, 0, 0 }, { "fingerprint", K_NAME, true, 0, 0 } } },
    [RPC_TRUST_REMOVE_METHOD]     = { do_trust_remove,     { { "set", K_NAME, true, 0, 0 }, { "fingerprint", K_NAME, true, 0, 0 },
                                                             { "force", K_BOOL, false, 0, 0 },
                                                             { "note", K_TEXT, false, 0, TRUST_NOTE_MAX } } },
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

const char *dispatch_param_kind(enum rpc_method m, size_t i, int64_t *least, int64_t *most)
{
    static const char *const names[] = {
        [K_TARGET] = "target", [K_NAME] = "name",   [K_TEXT] = "text",     [K_NUMBER] = "number",
        [K_BOOL] = "bool",     [K_TEXTS] = "texts", [K_OBJECT] = "object",
    };
    const struct param *p = &commands[m].params[i];

    *least = p->least;
    *most = p->most;
    return names[p->kind];
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
    if (!c->admitted || rpc_method_access(c->method) == RPC_OBSERVE)
        return;
    outcome_text(c, c->outcome, sizeof(c->outcome));
    hub_audit(c->d->hub, c->caller->who, rpc_method_name(c->method), c->target, c->outcome);
}

/* What the log says came of it: once that is durable, or nothing was done after all. */
static void log_command(struct call *c, bool stored)
{
    if (rpc_method_access(c->method) == RPC_OBSERVE || c->outcome[0] == '\0')
        return;
    if (!stored)
        outcome_text(c, c->outcome, sizeof(c->outcome));
    log_fact(LOG_CONTROL, LOG_INFO_, "command", "by=%s method=%s target=%s outcome=%s",
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
    if (rpc_method_access(c->method) != RPC_OBSERVE && !c->caller->operate) {
        rpc_refuse(&c->fault, RPC_DENIED,
                   "ask as root, as the daemon's user, or as a member of the control group",
                   "%s may only look, not %s", c->caller->who, method);
        log_event(LOG_CONTROL, LOG_WARN_, "command-refused", "by=%s method=%s cause=denied msg=%s",
                  LOG_Q(c->caller->who), rpc_method_name(c->method), LOG_Q(c->fault.message));
        return;
    }
    c->admitted = true;
    target_text(c->params, c->target, sizeof(c->target));
    if (check_params(c) != 0)
        return;
    if (rpc_method_access(c->method) != RPC_OBSERVE)
        hub_settle(c->d->hub); /* news may have come in the same turn of the loop */
    commands[m].carry_out(c);
}

struct json_t *dispatch_look(struct dispatch *d, enum rpc_method m, struct json_t *params,
                             struct rpc_fault *f)
{
    const struct caller caller = {.who = "http"};
    struct call c = {.d = d, .caller = &caller, .params = params};

    assert(rpc_method_access(m) == RPC_OBSERVE && m != RPC_IDENTITY_LINT_METHOD);
    list_init(&c.link);
    list_init(&c.waiting);
    carry_out(&c, rpc_method_name(m));
    assert(!c.later);
    if (c.fault.code == RPC_OK)
        return c.result;
    json_decref(c.result);
    *f = c.fault; /* with what it owns */
    return NULL;
}

static struct json_t *reply_of(struct call *c, const json_t *id)
{
    json_t *reply = c->fault.code != RPC_OK
                        ? rpc_reply_error(id, &c->fault)
                        : rpc_reply_result(id, c->result == NULL ? json_null() : c->result);

    c->result = NULL;
    return reply;
}

/* -- requests -- */

/* Not with the flush: there only its audit row is written. */
static bool is_done_at_once(enum rpc_method m)
{
    return m == RPC_CONFIG_RELOAD_METHOD || m == RPC_CRL_UPDATE_METHOD ||
           m == RPC_LOG_LEVEL_METHOD || m == RPC_IDENTITY_KEYGEN_METHOD ||
           m == RPC_IDENTITY_DISCARD_METHOD || m == RPC_RETIRE_METHOD || m == RPC_KEYS_REKEY_METHOD;
}

/* Who waits for the end of a call. */
struct waiter {
    struct list link;
    call_end_fn *end;
    void *arg;
};

static int wait_for(struct call *c, call_end_fn *end, void *arg)
{
    struct waiter *w = malloc(sizeof(*w));

    if (w == NULL)
        return -1;
    w->end = end;
    w->arg = arg;
    list_init(&w->link);
    list_add(&c->waiting, &w->link);
    return 0;
}

static void call_free(struct call *c)
{
    list_del(&c->link);
    rpc_fault_fini(&c->fault);
    json_decref(c->result);
    json_decref(c->whole);
    free(c->key);
    free(c);
}

/* Takes c and the reply, which may be NULL.  Whoever is told may ask for something else. */
static void tell_and_free(struct call *c, json_t *reply)
{
    list_del(&c->link);
    list_for_each_safe (it, &c->waiting) {
        struct waiter *w = list_entry(it, struct waiter, link);

        list_del(&w->link);
        w->end(w->arg, json_incref(reply));
        free(w);
    }
    json_decref(reply);
    call_free(c);
}

void call_end(struct call *c)
{
    const struct rpc_request *r = &c->request;
    struct err err = {0};
    json_t *reply;
    bool stored;

    audit(c);
    reply = reply_of(c, r->id);
    if (c->key != NULL)
        once_keep(c->d, c->key, c->caller, r, reply);
    c->key = NULL;
    stored = hub_flush(c->d->hub, &err) == 0;
    if (!stored && rpc_method_access(c->method) != RPC_OBSERVE) {
        json_decref(reply);
        if ((c->done || is_done_at_once(c->method)) && c->fault.code == RPC_OK)
            rpc_refuse(&c->fault, RPC_STORE, "mend the state directory",
                       "it was done, but could not be written to the audit log: %s", err.msg);
        else
            rpc_refuse(&c->fault, RPC_STORE, "mend the state directory, then command again",
                       "nothing was done: %s", err.msg);
        reply = rpc_reply_error(r->id, &c->fault);
    }
    log_command(c, stored);
    tell_and_free(c, reply);
}

static struct call *under_way(struct dispatch *d, const char *key)
{
    list_for_each (it, &d->calls) {
        struct call *c = list_entry(it, struct call, link);

        if (c->key != NULL && strcmp(c->key, key) == 0)
            return c;
    }
    return NULL;
}

/* Takes key. */
static void serve_first(struct dispatch *d, const struct caller *caller, json_t *whole,
                        const struct rpc_request *r, char *key, call_end_fn *end, void *arg)
{
    struct call *c = calloc(1, sizeof(*c));

    if (c == NULL) {
        free(key);
        end(arg, NULL);
        return;
    }
    c->d = d;
    c->caller = caller;
    c->params = r->params;
    c->whole = json_incref(whole);
    c->request = *r;
    c->key = key;
    list_init(&c->link);
    list_init(&c->waiting);
    if (wait_for(c, end, arg) != 0) {
        call_free(c);
        end(arg, NULL);
        return;
    }
    carry_out(c, r->method);
    if (c->later)
        list_add(&d->calls, &c->link);
    else
        call_end(c);
}

/* Whoever asks tells those who keep the account that it was refused. */
static void tell_refused(const struct caller *caller, const struct rpc_request *r,
                         const struct rpc_fault *f)
{
    char target[256] = "";

    if (caller->refused == NULL)
        return;
    target_text(r->params, target, sizeof(target));
    caller->refused(caller->arg, caller, r->method, target, f);
}

/* A reply when the caller may not ask this, signed or not as it is; NULL: he may.  What there is
 * not is told apart later. */
static json_t *refuse_caller(const struct caller *caller, const struct rpc_request *r)
{
    struct rpc_fault f = {0};
    int m = rpc_method_find(r->method);
    json_t *reply;

    if (caller->admit == NULL || m < 0 ||
        caller->admit(caller->arg, caller, (enum rpc_method)m, &f) == 0)
        return NULL;
    tell_refused(caller, r, &f);
    reply = rpc_reply_error(r->id, &f);
    rpc_fault_fini(&f);
    return reply;
}

/* The id was used for something else: of a signed command, that is a replay. */
static json_t *refuse_reused(const struct caller *caller, const struct rpc_request *r)
{
    struct rpc_fault f = {0};

    rpc_refuse(&f, RPC_ID_REUSED, NULL, "its id was used for another request");
    tell_refused(caller, r, &f);
    rpc_fault_fini(&f);
    return once_reused(r);
}

static void serve_request(struct dispatch *d, const struct caller *caller, json_t *whole,
                          const struct rpc_request *r, call_end_fn *end, void *arg)
{
    json_t *reply = refuse_caller(caller, r);
    char *key = reply == NULL ? once_key(caller, r) : NULL;
    struct call *first = NULL;
    bool reused = false;

    if (key != NULL)
        reply = once_reply(d, key, caller, r, &reused);
    if (key != NULL && reply == NULL && !reused)
        first = under_way(d, key);
    if (first == NULL && reply == NULL && !reused) {
        serve_first(d, caller, whole, r, key, end, arg);
        return;
    }
    free(key);
    if (reused || (reply == NULL && !once_same(caller, &first->request, r)))
        reply = refuse_reused(caller, r);
    if (reply != NULL || wait_for(first, end, arg) != 0)
        end(arg, reply);
}

/* -- exchanges -- */

/* One text that came in, and what is said to it.  The requests of a batch are served one after the
 * other. */
struct exchange {
    struct dispatch *d; /* borrowed */
    struct caller caller;
    char *who;     /* owned; the caller's */
    char *jti;     /* owned, or NULL; likewise */
    json_t *value; /* owned */
    bool batch;
    size_t next, count;
    bool inside;       /* somebody goes through the requests */
    bool waiting;      /* for the end of one */
    bool notification; /* which gets no reply */
    bool failed;       /* no memory */
    struct buf out;
    dispatch_reply_fn *reply;
    void *arg;
};

static void exchange_go(struct exchange *x);

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

/* Takes the reply.  Returns 0, or -1 without memory. */
static int add_reply(struct exchange *x, json_t *reply)
{
    char *text = json_dumps(reply, JSON_COMPACT);
    int rc = text == NULL ? -1 : 0;

    json_decref(reply);
    if (rc == 0 && x->batch)
        rc = buf_append_u8(&x->out, x->out.len == 0 ? '[' : ',');
    if (rc == 0)
        rc = buf_append(&x->out, text, strlen(text));
    free(text);
    return rc;
}

/* Each reply becomes text at once: as values, all of a batch would take a multiple of its room. */
static void on_end(void *arg, json_t *reply)
{
    struct exchange *x = arg;

    x->waiting = false;
    if (x->notification)
        json_decref(reply);
    else if (reply != NULL && add_reply(x, reply) != 0)
        x->failed = true;
    if (!x->inside)
        exchange_go(x);
}

static void serve_value(struct exchange *x, json_t *value)
{
    struct rpc_request r;
    struct rpc_fault f = {0};
    json_t *reply;

    if (rpc_request(value, &r, &f) != 0) {
        /* What is a notification but for its parameters gets no reply either. */
        x->notification = r.id == NULL && f.code == RPC_INVALID_PARAMS;
        reply = rpc_reply_error(r.id, &f);
        rpc_fault_fini(&f);
        on_end(x, reply);
        return;
    }
    x->notification = r.id == NULL;
    serve_request(x->d, &x->caller, value, &r, on_end, x);
}

/* Takes x. */
static void exchange_end(struct exchange *x)
{
    char *text = NULL;

    if (x->batch && x->out.len != 0 && buf_append_u8(&x->out, ']') != 0)
        x->failed = true;
    if (x->out.len != 0 && !x->failed && !x->d->stopped && buf_append_u8(&x->out, 0) == 0)
        text = (char *)x->out.p; /* as malloc gave it */
    else
        buf_fini(&x->out);
    x->reply(x->arg, text);
    json_decref(x->value);
    free(x->who);
    free(x->jti);
    free(x);
}

static void exchange_go(struct exchange *x)
{
    x->inside = true;
    while (x->next < x->count && !x->failed && !x->d->stopped) {
        json_t *item = x->batch ? json_array_get(x->value, x->next) : x->value;

        x->next++;
        x->waiting = true;
        x->notification = false;
        if (x->out.len >= RPC_BATCH_REPLIES_MAX)
            on_end(x, refuse_rest(item));
        else
            serve_value(x, item);
        if (x->waiting) {
            x->inside = false;
            return;
        }
    }
    exchange_end(x);
}

/* A reply that needs no request.  Takes it. */
static char *text_of(json_t *reply)
{
    char *text = json_dumps(reply, JSON_COMPACT);

    json_decref(reply);
    return text;
}

/* Takes value.  Returns NULL without memory. */
static struct exchange *exchange_new(struct dispatch *d, const struct caller *caller, json_t *value,
                                     dispatch_reply_fn *reply, void *arg)
{
    struct exchange *x = calloc(1, sizeof(*x));

    if (x == NULL || (x->who = strdup(caller->who)) == NULL ||
        (caller->jti != NULL && (x->jti = strdup(caller->jti)) == NULL)) {
        if (x != NULL)
            free(x->who);
        free(x);
        json_decref(value);
        return NULL;
    }
    x->d = d;
    x->caller = *caller;
    x->caller.who = x->who;
    x->caller.jti = x->jti;
    x->value = value;
    x->batch = json_is_array(value);
    x->count = x->batch ? json_array_size(value) : 1;
    x->reply = reply;
    x->arg = arg;
    return x;
}

void dispatch_text(struct dispatch *d, const struct caller *caller, const char *text, size_t n,
                   dispatch_reply_fn *reply, void *arg)
{
    struct rpc_fault f = {0};
    json_t *value = d->stopped ? NULL : rpc_parse(text, n, &f);
    size_t count = json_array_size(value);
    struct exchange *x;

    if (value == NULL) {
        reply(arg, d->stopped ? NULL : text_of(rpc_reply_error(NULL, &f)));
        rpc_fault_fini(&f);
        return;
    }
    if (json_is_array(value) && (count < 1 || count > RPC_BATCH_MAX)) {
        json_decref(value);
        reply(arg, text_of(refuse_batch(count)));
        return;
    }
    x = exchange_new(d, caller, value, reply, arg);
    if (x == NULL)
        reply(arg, NULL);
    else
        exchange_go(x);
}

void dispatch_request(struct dispatch *d, const struct caller *caller, struct json_t *request,
                      dispatch_reply_fn *reply, void *arg)
{
    struct exchange *x =
        d->stopped ? NULL : exchange_new(d, caller, json_incref(request), reply, arg);

    if (x == NULL)
        reply(arg, NULL);
    else
        exchange_go(x);
}

/* -- life -- */

void dispatch_init(struct dispatch *d)
{
    list_init(&d->calls);
    list_init(&d->jobs);
    d->stopped = false;
}

void dispatch_stop(struct dispatch *d)
{
    d->stopped = true;
    jobs_stop(d);
    while (!list_empty(&d->calls))
        tell_and_free(list_entry(d->calls.next, struct call, link), NULL);
}
