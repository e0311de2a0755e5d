/* status/api.c - /api/v1: see inside.h.
 *
 * What a method of the control socket answers is asked of the same dispatcher, so it has the same
 * shape: rpc.h.  Only the view and the timeline, which the page is made from, are its own.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "control/jsonrpc.h"
#include "status/inside.h"

#define ROWS_DEFAULT 100
#define ROWS_MAX     250 /* of a page: a device is some 2 KB */

/* -- answers -- */

/* Takes value. */
static void answer_json(struct server_reply *out, unsigned code, json_t *value)
{
    char *text = value == NULL ? NULL : json_dumps(value, JSON_COMPACT);

    json_decref(value);
    if (text == NULL)
        return;
    out->code = code;
    out->type = "application/json";
    out->keeps = code == 200;
    out->body = (struct buf){.p = (uint8_t *)text, .len = strlen(text), .cap = strlen(text) + 1};
}

static unsigned code_of(enum rpc_code code)
{
    switch ((int)code) {
    case RPC_NO_DEVICE:
        return 404;
    case RPC_INVALID_PARAMS:
        return 400;
    case RPC_BUSY:
    case RPC_STORE:
        return 503;
    default:
        return 500;
    }
}

static void answer_fault(struct server_reply *out, struct rpc_fault *f)
{
    answer_json(out, code_of(f->code), json_pack("{s:o}", "error", rpc_error_object(f)));
    rpc_fault_fini(f);
}

/* -- parameters -- */

struct args {
    json_t *params;
    struct rpc_fault *fault;
};

/* Whole numbers are numbers where the method says so; the dispatcher judges the rest. */
static bool is_number(const char *name)
{
    return strcmp(name, "limit") == 0 || strcmp(name, "offset") == 0;
}

static void add_arg(void *arg, const char *name, const char *value)
{
    struct args *a = arg;
    char *end;
    long long n;

    if (!is_number(name)) {
        json_object_set_new(a->params, name, rpc_text(value));
        return;
    }
    n = strtoll(value, &end, 10);
    if (*value == '\0' || *end != '\0')
        rpc_refuse(a->fault, RPC_INVALID_PARAMS, NULL, "%s: must be a whole number", name);
    else
        json_object_set_new(a->params, name, json_integer((json_int_t)n));
}

static json_t *params_of(const struct server_request *r, struct rpc_fault *f)
{
    struct args a = {.params = json_object(), .fault = f};

    server_each_arg(r, add_arg, &a);
    if (f->code == RPC_OK)
        return a.params;
    json_decref(a.params);
    return NULL;
}

/* How many rows, where it may say so: fewer than over the control socket. */
static int bound_rows(json_t *params, struct rpc_fault *f)
{
    const json_t *limit = json_object_get(params, "limit");

    if (limit == NULL)
        json_object_set_new(params, "limit", json_integer(ROWS_DEFAULT));
    else if (json_integer_value(limit) < 1 || json_integer_value(limit) > ROWS_MAX)
        return rpc_refuse(f, RPC_INVALID_PARAMS, NULL, "limit: must be a whole number of 1 to %d",
                          ROWS_MAX);
    return 0;
}

/* -- what the dispatcher answers -- */

struct look {
    const char *path; /* below /api/v1/ */
    enum rpc_method method;
    bool rows; /* it has a limit */
};

static const struct look looks[] = {
    {"status", RPC_STATUS_METHOD, false},         {"devices", RPC_DEVICE_LIST_METHOD, true},
    {"sessions", RPC_SESSIONS_LIST_METHOD, true}, {"trust", RPC_TRUST_LIST_METHOD, false},
    {"crls", RPC_CRL_LIST_METHOD, false},         {"audit", RPC_AUDIT_LIST_METHOD, true},
};

/* Takes params. */
static void ask(const struct status_view *v, enum rpc_method m, json_t *params,
                struct server_reply *out)
{
    struct rpc_fault f = {0};
    json_t *result = dispatch_look(v->dispatch, m, params, &f);

    json_decref(params);
    if (result != NULL)
        answer_json(out, 200, result);
    else
        answer_fault(out, &f);
}

static void look(const struct status_view *v, const struct look *l, const struct server_request *r,
                 struct server_reply *out)
{
    struct rpc_fault f = {0};
    json_t *params = params_of(r, &f), *after;

    if (params != NULL && l->rows && bound_rows(params, &f) != 0) {
        json_decref(params);
        params = NULL;
    }
    if (params == NULL) {
        answer_fault(out, &f);
        return;
    }
    after = json_object_get(params, "after");
    if (l->method == RPC_AUDIT_LIST_METHOD && json_is_string(after)) { /* there it is a number */
        char *end;
        long long n = strtoll(json_string_value(after), &end, 10);

        if (*json_string_value(after) != '\0' && *end == '\0')
            json_object_set_new(params, "after", json_integer((json_int_t)n));
    }
    ask(v, l->method, params, out);
}

static void no_path(struct server_reply *out)
{
    struct rpc_fault f = {0};

    rpc_refuse(&f, RPC_NO_METHOD, NULL,
               "there is: status devices device/NAME sessions trust crls audit view timeline");
    answer_json(out, 404, json_pack("{s:o}", "error", rpc_error_object(&f)));
}

void status_api(const struct status_view *v, const struct server_request *r,
                struct server_reply *out)
{
    const char *path = r->path + sizeof(STATUS_API) - 1;
    struct rpc_fault f = {0};
    json_t *params, *value;

    for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++)
        if (strcmp(path, looks[i].path) == 0) {
            look(v, &looks[i], r, out);
            return;
        }
    if (strncmp(path, "device/", 7) == 0) {
        ask(v, RPC_DEVICE_GET_METHOD, json_pack("{s:o}", "device", rpc_text(path + 7)), out);
        return;
    }
    if (strcmp(path, "timeline") == 0) {
        answer_json(out, 200, status_timeline(v));
        return;
    }
    if (strcmp(path, "view") != 0) {
        no_path(out);
        return;
    }
    params = params_of(r, &f);
    value = params == NULL || bound_rows(params, &f) != 0 ? NULL : status_table(v, params, &f);
    json_decref(params);
    if (value != NULL)
        answer_json(out, 200, value);
    else
        answer_fault(out, &f);
}
