#include "cli/sign.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base64url.h"
#include "base/durable.h"
#include "base/rand.h"
#include "base/str.h"
#include "control/signed.h"
#include "tls/jws.h"

#define KEY_FILE_MAX 65536
#define EXPIRES_S    600
#define ID_MAX       32 /* characters */

/* -- what is signed -- */

/* As text, or in a file.  Returns owned, or NULL with err. */
static json_t *params_of(const char *word, struct err *err)
{
    struct buf text = {0};
    json_error_t at;
    json_t *value;

    if (word[0] != '{' && durable_read(word, RPC_LINE_MAX, &text, err) != 0)
        return NULL;
    if (word[0] == '{')
        value = json_loads(word, JSON_REJECT_DUPLICATES, &at);
    else
        value = json_loadb((const char *)text.p, text.len, JSON_REJECT_DUPLICATES, &at);
    buf_fini(&text);
    if (value == NULL)
        err_set(err, ERR_SYNTAX, "parameters: not JSON: %s at byte %d", at.text, at.position);
    else if (!json_is_object(value))
        err_set(err, ERR_SYNTAX,
                "parameters: must be an object, such as {\"target\":\"press-12\"}");
    if (json_is_object(value))
        return value;
    json_decref(value);
    return NULL;
}

/* The gateway is called as its host, when its configuration says nothing else. */
static int gateway_of(const struct words_line *line, char *out, size_t n, struct err *err)
{
    if (line->gateway != NULL)
        snprintf(out, n, "%s", line->gateway);
    else if (gethostname(out, n) != 0)
        return err_set(err, ERR_INVALID, "which gateway is it for? --gateway NAME");
    out[n - 1] = '\0';
    return 0;
}

/* The key of alice lies in alice.pem, unless it is said. */
static int operator_of(const struct words_line *line, const char *key, char *out, size_t n,
                       struct err *err)
{
    const char *base = strrchr(key, '/');

    base = base == NULL ? key : base + 1;
    if (line->operator_name != NULL)
        snprintf(out, n, "%s", line->operator_name);
    else
        snprintf(out, n, "%.*s", (int)strcspn(base, "."), base);
    return str_is_name(out) ? 0
                            : err_set(err, ERR_INVALID,
                                      "%s: whose key is it? --operator NAME, as the gateway's "
                                      "configuration calls them",
                                      out);
}

static int new_id(char *out, struct err *err)
{
    uint64_t bytes[2];
    struct buf text = {0};

    bytes[0] = rand_u64();
    bytes[1] = rand_u64();
    if (base64url_encode(bytes, sizeof(bytes), &text) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    memcpy(out, text.p, text.len);
    out[text.len] = '\0';
    buf_fini(&text);
    return 0;
}

static json_t *payload_of(const struct words_line *line, const char *gateway, const char *who,
                          int64_t now_s, struct err *err)
{
    int64_t exp_s = now_s + (line->expires_s < 0 ? EXPIRES_S : line->expires_s);
    char id[ID_MAX];
    json_t *params = NULL, *request;

    if (rpc_method_find(line->args[0]) < 0) {
        err_set(err, ERR_INVALID, "there is no method %s: see certflipd(8), COMMANDS",
                line->args[0]);
        return NULL;
    }
    if ((line->arg_count > 1 && (params = params_of(line->args[1], err)) == NULL) ||
        new_id(id, err) != 0) {
        json_decref(params);
        return NULL;
    }
    request = json_pack("{s:s, s:s, s:s}", "jsonrpc", "2.0", "id", id, "method", line->args[0]);
    if (params != NULL)
        (void)json_object_set_new(request, "params", params);
    return json_pack("{s:s, s:s, s:I, s:I, s:s, s:o}", "aud", gateway, "iss", who, "iat",
                     (json_int_t)now_s, "exp", (json_int_t)exp_s, "jti", id, "request", request);
}

/* -- how it is written -- */

static void put_flattened(FILE *to, const char *compact, size_t n)
{
    const char *dot = memchr(compact, '.', n), *first = dot + 1;
    const char *next = memchr(first, '.', n - (size_t)(first - compact)), *second = next + 1;

    fprintf(to, "{\"protected\":\"%.*s\",\"payload\":\"%.*s\",\"signature\":\"%.*s\"}\n",
            (int)(first - compact - 1), compact, (int)(second - first - 1), first,
            (int)(n - (size_t)(second - compact)), second);
}

static int read_key(const char *path, struct jws_signer **out, struct err *err)
{
    struct buf pem = {0};
    int rc = durable_read(path, KEY_FILE_MAX, &pem, err);

    if (rc == 0) {
        *out = jws_signer_new((const char *)pem.p, pem.len, err);
        if (*out == NULL)
            rc = err_wrap(err, -ERR_INVALID, "%s", path);
    }
    buf_fini_wipe(&pem);
    return rc;
}

int sign_command(const struct words_line *line, const struct show *out, struct err *err)
{
    const char *key = line->key == NULL ? secure_getenv("CERTFLIP_OPERATOR_KEY") : line->key;
    char gateway[256], who[256];
    struct jws_signer *signer = NULL;
    struct buf text = {0};
    json_t *payload = NULL;
    int rc;

    if (key == NULL || key[0] == '\0')
        return err_set(err, ERR_INVALID, "whose key signs? --key FILE, or $CERTFLIP_OPERATOR_KEY");
    if ((rc = gateway_of(line, gateway, sizeof(gateway), err)) != 0 ||
        (rc = operator_of(line, key, who, sizeof(who), err)) != 0 ||
        (rc = read_key(key, &signer, err)) != 0)
        return rc;
    payload = payload_of(line, gateway, who, out->now_s, err);
    rc = payload == NULL ? -ERR_INVALID : signed_make(signer, who, payload, &text, err);
    if (rc == 0 && text.len > RPC_LINE_MAX)
        rc = err_set(err, ERR_TOO_BIG, "%zu bytes, and %d are taken: use fewer at a time", text.len,
                     RPC_LINE_MAX);
    if (rc == 0 && line->json)
        put_flattened(out->to, (const char *)text.p, text.len);
    else if (rc == 0)
        fprintf(out->to, "%.*s\n", (int)text.len, (const char *)text.p);
    json_decref(payload);
    jws_signer_free(signer);
    buf_fini(&text);
    return rc;
}
