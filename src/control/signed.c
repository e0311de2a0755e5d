#include "control/signed.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64url.h"
#include "tls/jws.h"

#define HEADER_MAX     1024 /* characters */
#define SIGNATURE_TEXT 86   /* characters of JWS_SIGNATURE_BYTES */
#define TIME_MAX       (INT64_C(1) << 40)
#define NEW_ONE        "sign it anew: certflipctl sign"

/* The three parts, as they came; borrowed. */
struct parts {
    const char *header, *payload, *signature;
    size_t header_n, payload_n, signature_n;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool holds(const char *text, size_t n, const char *word)
{
    return memmem(text, n, word, strlen(word)) != NULL;
}

/* -- the two forms -- */

/* The flattened form.  Returns owned, or NULL: it is something else. */
static json_t *flattened(const char *text, size_t n)
{
    json_t *value;

    if (!holds(text, n, "\"payload\"") || !holds(text, n, "\"signature\""))
        return NULL;
    value = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    if (json_object_get(value, "payload") != NULL && json_object_get(value, "signature") != NULL)
        return value;
    json_decref(value);
    return NULL;
}

/* Every header in JSON begins with '{', so every compact form with 'e', and no JSON text does. */
bool signed_looks(const char *text, size_t n)
{
    json_t *value;

    while (n > 0 && is_blank(*text)) {
        text++;
        n--;
    }
    if (n == 0 || n > RPC_LINE_MAX || (*text != 'e' && *text != '{'))
        return false;
    if (*text == 'e')
        return true;
    value = flattened(text, n);
    json_decref(value);
    return value != NULL;
}

static int refuse(struct rpc_fault *f, const char *what)
{
    return rpc_refuse(f, RPC_SIGNATURE, NEW_ONE, "%s", what);
}

static int split_compact(const char *text, size_t n, struct parts *out, struct rpc_fault *f)
{
    const char *end = text + n, *first = memchr(text, '.', n);
    const char *second = first == NULL ? NULL : memchr(first + 1, '.', (size_t)(end - first - 1));

    if (second == NULL)
        return refuse(f, "no signed command: a compact JWS has three parts");
    *out = (struct parts){
        .header = text,
        .header_n = (size_t)(first - text),
        .payload = first + 1,
        .payload_n = (size_t)(second - first - 1),
        .signature = second + 1,
        .signature_n = (size_t)(end - second - 1),
    };
    return 0;
}

static int split_flat(const json_t *value, struct parts *out, struct rpc_fault *f)
{
    const json_t *header = json_object_get(value, "protected");
    const json_t *payload = json_object_get(value, "payload");
    const json_t *signature = json_object_get(value, "signature");

    if (!json_is_string(header) || !json_is_string(payload) || !json_is_string(signature) ||
        json_object_size(value) != 3)
        return refuse(f, "a flattened JWS has protected, payload and signature, and nothing else");
    *out = (struct parts){
        .header = json_string_value(header),
        .header_n = json_string_length(header),
        .payload = json_string_value(payload),
        .payload_n = json_string_length(payload),
        .signature = json_string_value(signature),
        .signature_n = json_string_length(signature),
    };
    return 0;
}

/* -- the header -- */

/* An object that is coded so; returns owned, or NULL. */
static json_t *object_of(const char *text, size_t n)
{
    struct buf bytes = {0};
    json_t *value = NULL;

    if (base64url_decode(text, n, &bytes) == 0)
        value = json_loadb((const char *)bytes.p, bytes.len, JSON_REJECT_DUPLICATES, NULL);
    buf_fini(&bytes);
    if (json_is_object(value))
        return value;
    json_decref(value);
    return NULL;
}

static int check_header(json_t *header, struct rpc_fault *f)
{
    const char *key;
    json_t *value;

    json_object_foreach(header, key, value)
    {
        if (strcmp(key, "alg") != 0 && strcmp(key, "kid") != 0 && strcmp(key, "typ") != 0 &&
            strcmp(key, "cty") != 0)
            return rpc_refuse(f, RPC_SIGNATURE, NEW_ONE,
                              "the header has a member that is not taken: %.40s", key);
        if (!json_is_string(value))
            return rpc_refuse(f, RPC_SIGNATURE, NEW_ONE, "the header's %s is no text", key);
    }
    if (json_object_get(header, "alg") == NULL || json_object_get(header, "kid") == NULL)
        return refuse(f, "the header has to have alg, and kid, the operator's name");
    return 0;
}

static const struct signed_operator *find_operator(const struct signed_rules *rules,
                                                   const char *name)
{
    for (size_t i = 0; i < rules->operator_count; i++)
        if (strcmp(rules->operators[i].name, name) == 0)
            return &rules->operators[i];
    return NULL;
}

/* The operator that the header names, whose key wants this algorithm. */
static const struct signed_operator *choose(const struct signed_rules *rules, const json_t *header,
                                            struct rpc_fault *f)
{
    const char *alg = json_string_value(json_object_get(header, "alg"));
    const char *kid = json_string_value(json_object_get(header, "kid"));
    const struct signed_operator *o = find_operator(rules, kid);

    if (o == NULL)
        rpc_refuse(f, RPC_SIGNATURE, "name the operator and its key in operators, then reload",
                   "no operator of this gateway is called %.64s", kid);
    else if (strcmp(alg, jws_alg_name(jws_key_alg(o->key))) != 0) {
        rpc_refuse(f, RPC_SIGNATURE, NEW_ONE, "the algorithm is %.20s, and the key of %s is for %s",
                   alg, o->name, jws_alg_name(jws_key_alg(o->key)));
        o = NULL;
    }
    return o;
}

/* What is signed: header and payload as they are coded, with a dot between. */
static int check_signature(const struct signed_operator *o, const struct parts *p,
                           struct rpc_fault *f)
{
    struct buf input = {0}, signature = {0};
    int rc = base64url_decode(p->signature, p->signature_n, &signature);

    if (rc == 0 && signature.len == JWS_SIGNATURE_BYTES &&
        buf_append(&input, p->header, p->header_n) == 0 && buf_append_u8(&input, '.') == 0 &&
        buf_append(&input, p->payload, p->payload_n) == 0)
        rc = jws_verify(o->key, input.p, input.len, signature.p);
    else
        rc = -ERR_DENIED;
    buf_fini(&input);
    buf_fini(&signature);
    return rc == 0 ? 0
                   : rpc_refuse(f, RPC_SIGNATURE,
                                "was it changed on its way, or signed with another key?",
                                "the signature is not that of %s", o->name);
}

static int authenticate(const struct signed_rules *rules, const struct parts *p,
                        const struct signed_operator **by, struct rpc_fault *f)
{
    const struct signed_operator *o = NULL;
    json_t *header;
    int rc = -1;

    if (p->header_n > HEADER_MAX || p->signature_n != SIGNATURE_TEXT)
        return refuse(f, p->header_n > HEADER_MAX ? "the header is too long"
                                                  : "the signature is not of 64 bytes");
    header = object_of(p->header, p->header_n);
    if (header == NULL)
        return refuse(f, "the header is no JSON object in base64url, or has a member twice");
    if (check_header(header, f) == 0 && (o = choose(rules, header, f)) != NULL)
        rc = check_signature(o, p, f);
    json_decref(header);
    if (rc == 0)
        *by = o;
    return rc;
}

/* -- the claims: what the operator has said -- */

static int refuse_claim(struct rpc_fault *f, const char *what)
{
    return rpc_refuse(f, RPC_INVALID_REQUEST, NEW_ONE, "%s", what);
}

static bool is_jti(const char *s)
{
    size_t n = s == NULL ? 0 : strlen(s);

    return n >= 1 && n <= SIGNED_JTI_MAX &&
           strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

/* *out: -1 when it is not given. */
static bool read_time(const json_t *claims, const char *key, int64_t *out)
{
    const json_t *value = json_object_get(claims, key);

    *out = value == NULL ? -1 : json_integer_value(value);
    return value == NULL || (json_is_integer(value) && *out >= 0 && *out <= TIME_MAX);
}

static int check_members(json_t *claims, struct rpc_fault *f)
{
    static const char *const known[] = {"aud", "exp", "nbf", "iat", "jti", "iss", "request"};
    const char *key;
    json_t *value;

    json_object_foreach(claims, key, value)
    {
        size_t i = 0;

        while (i < sizeof(known) / sizeof(known[0]) && strcmp(known[i], key) != 0)
            i++;
        if (i == sizeof(known) / sizeof(known[0]))
            return rpc_refuse(f, RPC_INVALID_REQUEST, NEW_ONE,
                              "the payload has a member that is not known: %.40s", key);
    }
    if (!json_is_object(json_object_get(claims, "request")))
        return refuse_claim(f, "request: one request is signed, and no batch");
    return 0;
}

static bool names_gateway(const json_t *aud, const char *gateway)
{
    if (json_is_string(aud))
        return strcmp(json_string_value(aud), gateway) == 0;
    if (!json_is_array(aud) || json_array_size(aud) > SIGNED_AUD_MAX)
        return false;
    for (size_t i = 0; i < json_array_size(aud); i++) {
        const char *one = json_string_value(json_array_get(aud, i));

        if (one != NULL && strcmp(one, gateway) == 0)
            return true;
    }
    return false;
}

/* RFC 7519, 4.1.4 to 4.1.6. */
static int check_times(const struct signed_rules *rules, const json_t *claims, struct rpc_fault *f)
{
    int64_t now_s = rules->now_s, slack_s = rules->tolerance_s, exp_s, nbf_s, iat_s;

    if (!read_time(claims, "exp", &exp_s) || !read_time(claims, "nbf", &nbf_s) ||
        !read_time(claims, "iat", &iat_s) || exp_s < 0)
        return refuse_claim(f,
                            "exp, nbf, iat: must be whole seconds since 1970; exp must be there");
    if (rules->clock_fault != NULL)
        return rpc_refuse(f, RPC_CLOCK,
                          "set the clock of the gateway (see timedatectl and chronyc tracking), or "
                          "command at the gateway itself: certflipctl",
                          "nobody can tell whether it has expired: %s", rules->clock_fault);
    if (now_s > exp_s + slack_s)
        return rpc_refuse(f, RPC_EXPIRED, NEW_ONE "; if it is new, compare the clocks",
                          "it expired %lld s ago by the clock of this gateway",
                          (long long)(now_s - exp_s));
    if (nbf_s > now_s + slack_s || iat_s > now_s + slack_s)
        return rpc_refuse(f, RPC_NOT_YET, "compare the clocks of operator and gateway",
                          "it is for %lld s later, by the clock of this gateway",
                          (long long)((nbf_s > iat_s ? nbf_s : iat_s) - now_s));
    if (exp_s > now_s + rules->max_expiry_s + slack_s)
        return rpc_refuse(f, RPC_EXPIRY_TOO_FAR,
                          "sign it for a shorter time: certflipctl sign --expires",
                          "it expires in %lld s, and %lld s are allowed",
                          (long long)(exp_s - now_s), (long long)rules->max_expiry_s);
    return 0;
}

static int check_claims(const struct signed_rules *rules, json_t *claims,
                        const struct signed_command *c, struct rpc_fault *f)
{
    const json_t *iss = json_object_get(claims, "iss");

    if (check_members(claims, f) != 0)
        return -1;
    if (iss != NULL && (!json_is_string(iss) || strcmp(json_string_value(iss), c->by->name) != 0))
        return refuse_claim(f, "iss: is not the operator who has signed");
    if (c->jti[0] == '\0')
        return refuse_claim(f, "jti: must be 1 to 64 of A-Z a-z 0-9 . _ -");
    if (!names_gateway(json_object_get(claims, "aud"), rules->gateway))
        return rpc_refuse(f, RPC_WRONG_GATEWAY,
                          "sign it for this gateway: certflipctl sign --gateway",
                          "aud: it is not for %s", rules->gateway);
    return check_times(rules, claims, f);
}

static int open_parts(const struct signed_rules *rules, const struct parts *p,
                      struct signed_command *out, struct rpc_fault *f)
{
    const char *jti;
    json_t *claims;
    int rc;

    if (authenticate(rules, p, &out->by, f) != 0)
        return -1;
    claims = object_of(p->payload, p->payload_n);
    if (claims == NULL)
        return refuse_claim(f, "the payload is no JSON object in base64url, or has a member twice");
    out->request = json_incref(json_object_get(claims, "request"));
    jti = json_string_value(json_object_get(claims, "jti"));
    if (is_jti(jti))
        memcpy(out->jti, jti, strlen(jti) + 1);
    rc = check_claims(rules, claims, out, f);
    json_decref(claims);
    return rc;
}

int signed_open(const struct signed_rules *rules, const char *text, size_t n,
                struct signed_command *out, struct rpc_fault *f)
{
    struct parts parts = {.header = NULL};
    json_t *flat = NULL;
    int rc;

    *out = (struct signed_command){.by = NULL};
    while (n > 0 && is_blank(*text)) {
        text++;
        n--;
    }
    while (n > 0 && is_blank(text[n - 1]))
        n--;
    if (n > RPC_LINE_MAX)
        return rpc_refuse(f, RPC_TOO_BIG, NULL, "%zu bytes, at most %d are allowed", n,
                          RPC_LINE_MAX);
    if (n > 0 && *text == '{') {
        flat = flattened(text, n);
        rc = flat == NULL ? refuse(f, "no flattened JWS") : split_flat(flat, &parts, f);
    } else {
        rc = n == 0 ? refuse(f, "nothing") : split_compact(text, n, &parts, f);
    }
    if (rc == 0)
        rc = open_parts(rules, &parts, out, f);
    json_decref(flat);
    return rc;
}

void signed_command_fini(struct signed_command *c)
{
    json_decref(c->request);
    c->request = NULL;
}

/* -- signing -- */

static int put_json(const json_t *value, struct buf *out)
{
    char *text = json_dumps(value, JSON_COMPACT);
    int rc = text == NULL ? -ERR_NOMEM : base64url_encode(text, strlen(text), out);

    free(text);
    return rc;
}

int signed_make(struct jws_signer *signer, const char *operator_name, struct json_t *payload,
                struct buf *out, struct err *err)
{
    uint8_t signature[JWS_SIGNATURE_BYTES];
    json_t *header =
        json_pack("{s:s, s:s}", "alg", jws_alg_name(jws_signer_alg(signer)), "kid", operator_name);
    struct buf input = {0};
    int rc = put_json(header, &input);

    if (rc == 0)
        rc = buf_append_u8(&input, '.');
    if (rc == 0)
        rc = put_json(payload, &input);
    if (rc != 0)
        rc = err_set(err, ERR_NOMEM, "out of memory");
    else
        rc = jws_sign(signer, input.p, input.len, signature, err);
    if (rc == 0 && (buf_append(out, input.p, input.len) != 0 || buf_append_u8(out, '.') != 0 ||
                    base64url_encode(signature, sizeof(signature), out) != 0))
        rc = err_set(err, ERR_NOMEM, "out of memory");
    json_decref(header);
    buf_fini(&input);
    return rc;
}
