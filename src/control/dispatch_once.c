/* control/dispatch_once.c - once for each request id: see dispatch_inside.h. */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "control/dispatch_inside.h"
#include "control/hub.h"
#include "store/store.h"

#define KEPT_REQUEST_MAX                                                                         \
    4096                     /* bytes of parameters; of longer ones a hash is kept, and of those \
                                that hold a key by mistake */
#define KEPT_REPLY_MAX 16384 /* bytes; a longer reply is kept without its rows */

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
static json_t *kept_request(const struct caller *caller, const struct rpc_request *r)
{
    char *text = json_dumps(r->params, JSON_COMPACT | JSON_SORT_KEYS);
    json_t *kept;

    if (text == NULL || (strlen(text) <= KEPT_REQUEST_MAX && strstr(text, "PRIVATE KEY") == NULL))
        kept = json_pack("{s:s, s:O?}", "method", r->method, "params", r->params);
    else
        kept = json_pack("{s:s, s:I}", "method", r->method, "params_hash",
                         (json_int_t)(hash_of(text) >> 1));
    free(text);
    if (caller->jti != NULL && r->id != NULL)
        json_object_set_new(kept, "id", json_deep_copy(r->id));
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

char *once_key(const struct caller *caller, const struct rpc_request *r)
{
    int m = rpc_method_find(r->method);
    char *id, *key = NULL;

    /* A private key that is sent here by mistake is refused, and not kept for a week. */
    if (caller->remember == NULL || m < 0 || m == RPC_IDENTITY_IMPORT_METHOD ||
        rpc_method_access((enum rpc_method)m) == RPC_OBSERVE)
        return NULL;
    if (caller->jti != NULL) /* store_command_put's mark: kept until it has expired */
        return str_printf(STORE_COMMAND_SIGNED "%s:%s", caller->who, caller->jti);
    if (r->id == NULL || json_is_null(r->id))
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

json_t *once_reused(const struct rpc_request *r)
{
    return reply_fault(r, RPC_ID_REUSED, "give every request an id of its own",
                       "this id was used for another request");
}

/* A signed command is known by its jti: the reply of the first time has the id of the first time.
 */
static bool same_id(const struct caller *caller, const json_t *a, const json_t *b)
{
    return caller->jti == NULL || a == b || json_equal(a, b);
}

bool once_same(const struct caller *caller, const struct rpc_request *a,
               const struct rpc_request *b)
{
    return same_id(caller, a->id, b->id) && strcmp(a->method, b->method) == 0 &&
           (json_equal(a->params, b->params) || a->params == b->params);
}

json_t *once_reply(struct dispatch *d, const char *key, const struct caller *caller,
                   const struct rpc_request *r, bool *reused)
{
    json_t *kept, *request, *reply = NULL;
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
    request = kept_request(caller, r);
    if (json_equal(request, json_object_get(kept, "request")))
        reply = json_incref(json_object_get(kept, "reply"));
    else
        *reused = true;
    json_decref(request);
    json_decref(kept);
    return reply;
}

void once_keep(struct dispatch *d, char *key, const struct caller *caller,
               const struct rpc_request *r, json_t *reply)
{
    json_t *kept =
        json_pack("{s:o, s:o}", "request", kept_request(caller, r), "reply", kept_form(reply));
    char *text = json_dumps(kept, JSON_COMPACT);

    json_decref(kept);
    if (text == NULL) {
        free(key);
        return;
    }
    hub_remember(d->hub, key, text);
}
