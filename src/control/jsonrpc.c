/* control/jsonrpc.c - see jsonrpc.h.  The standard is www.jsonrpc.org/specification. */
#include "control/jsonrpc.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"

int rpc_refuse(struct rpc_fault *f, enum rpc_code code, const char *remedy, const char *fmt, ...)
{
    va_list ap;

    rpc_fault_fini(f);
    f->code = code;
    va_start(ap, fmt);
    vsnprintf(f->message, sizeof(f->message), fmt, ap);
    va_end(ap);
    snprintf(f->remedy, sizeof(f->remedy), "%s", remedy == NULL ? "" : remedy);
    return -1;
}

void rpc_fault_fini(struct rpc_fault *f)
{
    json_decref(f->list);
    f->list = NULL;
    f->list_key = NULL;
    f->code = RPC_OK;
}

/* -- requests -- */

struct json_t *rpc_parse(const char *text, size_t n, struct rpc_fault *f)
{
    json_error_t at;
    json_t *value;

    if (n > RPC_LINE_MAX) {
        rpc_refuse(f, RPC_TOO_BIG, "send smaller batches", "%zu bytes, at most %d are allowed", n,
                   RPC_LINE_MAX);
        return NULL;
    }
    value = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &at);
    if (value == NULL)
        rpc_refuse(f, RPC_PARSE, NULL, "not JSON: %s at byte %d", at.text, at.position);
    return value;
}

static bool id_is_valid(const json_t *id)
{
    return json_is_string(id) || json_is_integer(id) || json_is_real(id) || json_is_null(id);
}

int rpc_request(struct json_t *value, struct rpc_request *out, struct rpc_fault *f)
{
    const char *key;
    json_t *member;

    *out = (struct rpc_request){.id = json_object_get(value, "id")};
    if (!json_is_object(value))
        return rpc_refuse(f, RPC_INVALID_REQUEST, NULL, "a request is an object");
    if (out->id != NULL && !id_is_valid(out->id)) {
        out->id = json_null();
        return rpc_refuse(f, RPC_INVALID_REQUEST, NULL, "id: must be a string or a number");
    }
    if (json_string_length(out->id) > RPC_ID_MAX) {
        out->id = json_null();
        return rpc_refuse(f, RPC_INVALID_REQUEST, NULL, "id: is longer than %d bytes", RPC_ID_MAX);
    }
    json_object_foreach(value, key, member)
    {
        if (strcmp(key, "jsonrpc") != 0 && strcmp(key, "id") != 0 && strcmp(key, "method") != 0 &&
            strcmp(key, "params") != 0)
            return rpc_refuse(f, RPC_INVALID_REQUEST, NULL, "unknown member \"%.40s\"", key);
    }
    member = json_object_get(value, "jsonrpc");
    if (!json_is_string(member) || strcmp(json_string_value(member), "2.0") != 0)
        return rpc_refuse(f, RPC_INVALID_REQUEST, NULL, "jsonrpc: must be \"2.0\"");
    member = json_object_get(value, "method");
    if (!json_is_string(member))
        return rpc_refuse(f, RPC_INVALID_REQUEST, NULL, "method: must be a string");
    out->method = json_string_value(member);
    out->params = json_object_get(value, "params");
    if (out->params != NULL && !json_is_object(out->params)) {
        if (json_array_size(out->params) != 0 || !json_is_array(out->params))
            return rpc_refuse(f, RPC_INVALID_PARAMS, NULL, "params: must be an object");
        out->params = NULL;
    }
    return 0;
}

/* -- replies -- */

static json_t *reply_new(const json_t *id)
{
    json_t *reply = json_object();
    json_t *copy = id == NULL ? json_null() : json_deep_copy(id);

    if (reply == NULL || json_object_set_new(reply, "jsonrpc", json_string("2.0")) != 0 ||
        json_object_set_new(reply, "id", copy) != 0) {
        json_decref(reply);
        return NULL;
    }
    return reply;
}

struct json_t *rpc_reply_result(const struct json_t *id, struct json_t *result)
{
    json_t *reply = reply_new(id);

    if (reply == NULL || json_object_set(reply, "result", result) != 0) {
        json_decref(reply);
        reply = NULL;
    }
    json_decref(result);
    return reply;
}

struct json_t *rpc_error_object(const struct rpc_fault *f)
{
    return json_pack("{s:i, s:s, s:o, s:o}", "code", (int)f->code, "name", rpc_error_name(f->code),
                     "message", rpc_text(f->message), "remedy", rpc_text_or_null(f->remedy));
}

struct json_t *rpc_reply_error(const struct json_t *id, const struct rpc_fault *f)
{
    json_t *reply = reply_new(id);
    json_t *data = json_pack("{s:s, s:o}", "name", rpc_error_name(f->code), "remedy",
                             rpc_text_or_null(f->remedy));

    if (f->list != NULL)
        json_object_set(data, f->list_key, f->list);
    json_object_set_new(reply, "error",
                        json_pack("{s:i, s:o, s:o}", "code", (int)f->code, "message",
                                  rpc_text(f->message), "data", data));
    return reply;
}

/* -- values -- */

struct json_t *rpc_text(const char *s)
{
    size_t n = strlen(s);
    json_t *value;
    char *copy;

    if (str_is_utf8((const uint8_t *)s, n))
        return json_string(s);
    copy = strdup(s);
    if (copy == NULL)
        return NULL;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)copy[i] >= 0x80)
            copy[i] = '?';
    value = json_string(copy);
    free(copy);
    return value;
}

struct json_t *rpc_text_or_null(const char *s)
{
    return s == NULL || *s == '\0' ? json_null() : rpc_text(s);
}

struct json_t *rpc_date(int64_t wall_s)
{
    char text[32];

    return json_string(clock_iso(wall_s, text, sizeof(text)));
}

struct json_t *rpc_time(int64_t wall_s)
{
    return wall_s == 0 ? json_null() : rpc_date(wall_s);
}
