/* fleet/link_request.c - requests and their replies: see link.h, link_inside.h. */
#include <jansson.h>
#include <mqtt_protocol.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/map.h"
#include "base/str.h"
#include "control/rpc.h"
#include "control/signed.h"
#include "fleet/link_inside.h"
#include "tls/jws.h"

#define UNACKED_BYTES_MAX (8U << 20)

static char *key_of(const char *gateway, const char *id)
{
    return str_printf("%s\n%s", gateway, id);
}

static void pending_free(struct pending *p)
{
    if (p == NULL)
        return;
    free(p->key);
    free(p->id);
    free(p);
}

/* One of its sends has come to an end. */
static void pending_done(struct link *l, struct pending *p)
{
    if (--p->sends > 0)
        return;
    map_del(l->pending, p->key);
    pending_free(p);
}

void link_request_taken(struct link *l, int mid, int rc)
{
    struct flight f = {.mid = 0};
    struct pending *p;

    for (size_t i = 0; i < l->flight_count; i++) {
        if (l->flights[i].mid != mid)
            continue;
        f = l->flights[i];
        l->flights[i] = l->flights[--l->flight_count];
        break;
    }
    if (f.mid == 0)
        return;
    l->flight_bytes -= f.bytes;
    l->counts.acknowledged++;
    p = map_get(l->pending, f.key);
    if (rc >= 0x80 && p != NULL) {
        char why[200];

        snprintf(why, sizeof(why), "the broker refuses it: %s: allow this client to publish there",
                 mosquitto_reason_string(rc));
        if (l->events.denied != NULL)
            l->events.denied(l->events.arg, f.topic, p->id, why);
        pending_done(l, p);
    }
    free(f.key);
    free(f.topic);
}

/* The id of a reply: its own; else (a command whose signature is not good has none) that of the
 * request, which comes back as correlation.  Returns owned, or NULL. */
static char *id_of(const json_t *value, const mosquitto_property *properties)
{
    const char *id = json_string_value(json_object_get(value, "id"));
    void *data = NULL;
    uint16_t n = 0;
    char *out = id == NULL ? NULL : strdup(id);

    if (out == NULL && json_is_object(value) && properties != NULL &&
        mosquitto_property_read_binary(properties, MQTT_PROP_CORRELATION_DATA, &data, &n, false) !=
            NULL)
        out = strndup(data, n);
    free(data);
    return out;
}

/* Somebody else may have asked without a signature, in our name: what we send is signed, so this
 * cannot be what came of it. */
static bool is_of_a_forgery(const struct link *l, const json_t *value)
{
    const json_t *code = json_object_get(json_object_get(value, "error"), "code");

    return l->signer != NULL && json_integer_value(code) == RPC_UNSIGNED;
}

void link_request_reply(struct link *l, const char *gateway, const struct mosquitto_message *m,
                        const mosquitto_property *properties)
{
    json_t *value = m->payloadlen < 0 || m->payloadlen > RPC_BATCH_REPLIES_MAX
                        ? NULL /* no gateway says so much: it is not worth the memory */
                        : json_loadb(m->payload, (size_t)m->payloadlen, 0, NULL);
    char *id = is_of_a_forgery(l, value) ? NULL : id_of(value, properties);
    char *key = id == NULL ? NULL : key_of(gateway, id);
    struct pending *p = key == NULL ? NULL : map_get(l->pending, key);

    json_decref(value);
    free(key);
    if (p == NULL) { /* of another controller, or one too many */
        free(id);
        return;
    }
    pending_done(l, p);
    if (l->events.reply != NULL)
        l->events.reply(l->events.arg, gateway, id, m->payload, (size_t)m->payloadlen);
    free(id);
}

/* -- sending ---------------------------------------------------------------------------------- */

int link_no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory");
}

/* The same for a request that comes again, whoever has started us: the gateway knows it by that. */
static int make_jti(const char *key, char out[SIGNED_JTI_MAX + 1])
{
    uint8_t digest[EVP_MAX_MD_SIZE];

    if (EVP_Digest(key, strlen(key), digest, NULL, EVP_sha256(), NULL) != 1)
        return -1;
    str_hex(out, digest, 32);
    return 0;
}

/* Takes the request. */
static int sign_request(const struct link *l, const char *gateway, const char *key, json_t *request,
                        struct buf *out, struct err *err)
{
    int64_t now_s = clock_wall_s(), exp_s = now_s + l->conf.expiry_s;
    char jti[SIGNED_JTI_MAX + 1];
    json_t *payload;
    int rc;

    if (make_jti(key, jti) != 0) {
        json_decref(request);
        return link_no_memory(err);
    }
    payload = json_pack("{s:s, s:s, s:I, s:I, s:s, s:o}", "aud", gateway, "iss",
                        l->conf.operator_name, "iat", (json_int_t)now_s, "exp", (json_int_t)exp_s,
                        "jti", jti, "request", request);
    rc = payload == NULL ? link_no_memory(err)
                         : signed_make(l->signer, l->conf.operator_name, payload, out, err);
    json_decref(payload);
    return rc;
}

static int make_text(const struct link *l, const char *gateway, const char *key, const char *id,
                     const char *method, const char *params, struct buf *out, struct err *err)
{
    json_t *request = json_pack("{s:s, s:s, s:s}", "jsonrpc", "2.0", "id", id, "method", method);
    json_t *value = params == NULL || params[0] == '\0'
                        ? json_object()
                        : json_loads(params, JSON_REJECT_DUPLICATES, NULL);
    char *text;
    int rc = 0;

    if (!json_is_object(value) || request == NULL) {
        rc = request == NULL
                 ? link_no_memory(err)
                 : err_set(err, ERR_INVALID, "%s: parameters must be a JSON object", method);
        json_decref(value);
        json_decref(request);
        return rc;
    }
    (void)json_object_set_new(request, "params", value);
    if (l->signer != NULL)
        return sign_request(l, gateway, key, request, out, err);
    text = json_dumps(request, JSON_COMPACT);
    if (text == NULL || buf_append(out, text, strlen(text)) != 0)
        rc = link_no_memory(err);
    free(text);
    json_decref(request);
    return rc;
}

static struct pending *pending_of(struct link *l, const char *key, const char *id)
{
    struct pending *p = map_get(l->pending, key);

    if (p != NULL)
        return p;
    p = calloc(1, sizeof(*p));
    if (p == NULL || (p->key = strdup(key)) == NULL || (p->id = strdup(id)) == NULL ||
        map_put(l->pending, key, p) != 0) {
        pending_free(p);
        return NULL;
    }
    return p;
}

/* Where the reply goes, and how it is known again.  Returns owned; NULL without memory. */
static mosquitto_property *make_properties(const struct link *l, const char *gateway,
                                           const char *id)
{
    mosquitto_property *all = NULL;
    char *topic = str_printf("%s/%s/reply/%s", l->conf.root, gateway, l->tag);

    if (topic == NULL ||
        mosquitto_property_add_string(&all, MQTT_PROP_RESPONSE_TOPIC, topic) != 0 ||
        mosquitto_property_add_binary(&all, MQTT_PROP_CORRELATION_DATA, id, (uint16_t)strlen(id)) !=
            0 ||
        mosquitto_property_add_int32(&all, MQTT_PROP_MESSAGE_EXPIRY_INTERVAL, l->conf.expiry_s) !=
            0)
        mosquitto_property_free_all(&all);
    free(topic);
    return all;
}

static int publish(struct link *l, const char *gateway, const char *id, const char *topic,
                   const struct buf *text, int *mid, struct err *err)
{
    mosquitto_property *properties = l->v5 ? make_properties(l, gateway, id) : NULL;
    int rc = l->v5 && properties == NULL ? MOSQ_ERR_NOMEM
                                         : mosquitto_publish_v5(l->mosq, mid, topic, (int)text->len,
                                                                text->p, 1, false, properties);

    mosquitto_property_free_all(&properties);
    switch (rc) {
    case MOSQ_ERR_SUCCESS:
        return 0;
    case MOSQ_ERR_NOMEM:
        return link_no_memory(err);
    case MOSQ_ERR_OVERSIZE_PACKET:
    case MOSQ_ERR_PAYLOAD_SIZE:
        return err_set(err, ERR_TOO_BIG, "%zu bytes are more than the broker takes", text->len);
    case MOSQ_ERR_INVAL:
    case MOSQ_ERR_MALFORMED_UTF8:
    case MOSQ_ERR_QOS_NOT_SUPPORTED:
    case MOSQ_ERR_NOT_SUPPORTED:
        return err_set(err, ERR_INVALID, "%s: %s", topic, mosquitto_strerror(rc));
    default: /* whoever asks again has another connection by then */
        l->failed = true;
        return err_set(err, ERR_BUSY, "the connection was lost: %s", mosquitto_strerror(rc));
    }
}

/* Takes key and topic. */
static int send_text(struct link *l, const char *gateway, const char *id, const struct buf *text,
                     char *key, char *topic, struct err *err)
{
    struct pending *p = pending_of(l, key, id);
    int mid = 0, rc;

    if (p == NULL) {
        rc = link_no_memory(err);
    } else {
        p->sends++;
        rc = publish(l, gateway, id, topic, text, &mid, err);
        if (rc != 0)
            pending_done(l, p);
    }
    if (rc != 0) {
        free(key);
        free(topic);
        return rc;
    }
    l->counts.sent++;
    l->counts.bytes_sent += text->len + strlen(topic);
    l->flights[l->flight_count++] = (struct flight){mid, text->len, key, topic};
    l->flight_bytes += text->len;
    return 0;
}

int link_request(struct link *l, const char *gateway, const char *id, const char *method,
                 const char *params, struct err *err)
{
    struct buf text = {0};
    char *key, *topic;
    int rc;

    if (!str_is_name(gateway) || id[0] == '\0' || strlen(id) > RPC_ID_MAX)
        return err_set(err, ERR_INVALID, "%.128s: no name of a gateway, or no id", gateway);
    if (!link_is_up(l))
        return err_set(err, ERR_BUSY, "the broker is not connected%s%s",
                       l->trouble[0] != '\0' ? ": " : "", l->trouble);
    if (l->flight_count == UNACKED_MAX || l->flight_bytes > UNACKED_BYTES_MAX)
        return err_set(err, ERR_BUSY, "the broker has not taken %zu requests yet", l->flight_count);
    key = key_of(gateway, id);
    topic = str_printf("%s/%s/cmd", l->conf.root, gateway);
    if (key == NULL || topic == NULL) {
        free(key);
        free(topic);
        return link_no_memory(err);
    }
    rc = make_text(l, gateway, key, id, method, params, &text, err);
    if (rc == 0 && text.len > RPC_LINE_MAX)
        rc = err_set(err, ERR_TOO_BIG, "%zu bytes, and a gateway takes %d: use fewer at a time",
                     text.len, RPC_LINE_MAX);
    if (rc == 0) {
        rc = send_text(l, gateway, id, &text, key, topic, err);
    } else {
        free(key);
        free(topic);
    }
    buf_fini(&text);
    return rc;
}

/* -- life ------------------------------------------------------------------------------------- */

void link_request_reset(struct link *l)
{
    for (size_t i = 0; i < l->flight_count; i++) {
        free(l->flights[i].key);
        free(l->flights[i].topic);
    }
    l->flight_count = l->flight_bytes = 0;
}

void link_request_fini(struct link *l)
{
    const char *key;
    void *value;
    size_t it = 0;

    link_request_reset(l);
    while (l->pending != NULL && map_next(l->pending, &it, &key, &value))
        pending_free(value);
    map_free(l->pending);
}
