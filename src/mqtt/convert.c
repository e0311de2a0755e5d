/* mqtt/convert.c - one dialect's packets in another's words. */
#include "mqtt/convert.h"

#include <stdlib.h>
#include <string.h>

#include "mqtt/connect.h"
#include "mqtt/fault.h"
#include "mqtt/publish.h"
#include "mqtt/subscribe.h"
#include "mqtt/topic.h"

#define OPT_QOS      0x03u /* of the subscription options, all that 3.x has (3.8.3.1) */
#define OPT_NO_LOCAL 0x04u

/* ---- topics ---- */

static bool is_system(struct slice topic)
{
    return topic.n > 0 && topic.p[0] == '$';
}

int mqtt_convert_topic(struct buf *out, struct slice topic, struct slice prefix)
{
    if (is_system(topic))
        prefix.n = 0;
    if (prefix.n + topic.n > UINT16_MAX)
        return -ERR_TOO_BIG;
    int rc = buf_append(out, prefix.p, prefix.n);
    return rc != 0 ? rc : buf_append(out, topic.p, topic.n);
}

/* The part of a filter that is not the filter: "$share/{name}/", or nothing. */
static size_t share_bytes(struct slice filter)
{
    const uint8_t *slash;

    if (!mqtt_filter_is_shared(filter))
        return 0;
    slash = memchr(filter.p + 7, '/', filter.n - 7);
    return slash != NULL ? (size_t)(slash + 1 - filter.p) : 0;
}

static int convert_filter(struct buf *out, struct slice filter, struct slice prefix)
{
    size_t n = share_bytes(filter);
    struct slice rest = {filter.p + n, filter.n - n};

    if (is_system(rest))
        prefix.n = 0;
    if (prefix.n + filter.n > UINT16_MAX)
        return -ERR_TOO_BIG;
    int rc = buf_append(out, filter.p, n);
    if (rc == 0)
        rc = buf_append(out, prefix.p, prefix.n);
    return rc != 0 ? rc : buf_append(out, rest.p, rest.n);
}

/* What lies outside of the prefix keeps its name: '$' topics, and the level above the prefix, which
 * "<prefix>#" matches as well (4.7.1.2). */
static struct slice without(struct slice topic, struct slice prefix)
{
    if (topic.n > prefix.n && prefix.n > 0 && memcmp(topic.p, prefix.p, prefix.n) == 0)
        return (struct slice){topic.p + prefix.n, topic.n - prefix.n};
    return topic;
}

static int put_topic(struct buf *out, struct slice topic, enum mqtt_dir dir, struct slice prefix)
{
    if (dir == MQTT_TO_SERVER)
        return mqtt_convert_topic(out, topic, prefix);
    struct slice bare = without(topic, prefix);
    return buf_append(out, bare.p, bare.n);
}

int mqtt_convert_props(struct buf *out, struct mqtt_props in, enum mqtt_dir dir,
                       struct slice prefix)
{
    struct mqtt_prop_value v;
    struct buf topic = {0};
    uint32_t at = 0;
    int rc = 0;

    while (rc == 0 && mqtt_props_next(in, &at, &v)) {
        if (v.id != MQTT_PROP_RESPONSE_TOPIC) {
            rc = buf_append(out, v.raw.p, v.raw.n);
            continue;
        }
        topic.len = 0;
        rc = put_topic(&topic, v.str, dir, prefix);
        if (rc == 0)
            rc = mqtt_props_put_str(out, v.id, (struct slice){topic.p, topic.len});
    }
    buf_fini(&topic);
    return rc;
}

/* ---- packets ---- */

static int cannot(uint8_t *code, uint8_t why, struct err *err, const struct mqtt_packet *pkt,
                  const struct mqtt_convert *how)
{
    *code = why;
    return err_set(err, ERR_INVALID, "%s: cannot be said in MQTT %s", mqtt_type_name(pkt->type),
                   mqtt_version_name(how->to));
}

static int too_long(int rc, uint8_t *code, uint8_t why, struct err *err,
                    const struct mqtt_packet *pkt)
{
    if (rc != -ERR_TOO_BIG)
        return rc;
    *code = why;
    return err_set(err, ERR_TOO_BIG, "%s: too long with the topic prefix",
                   mqtt_type_name(pkt->type));
}

static int convert_publish(struct buf *out, const struct mqtt_packet *pkt,
                           const struct mqtt_convert *how, uint8_t *code, struct err *err)
{
    struct buf topic = {0}, props = {0};
    struct mqtt_prop_value v;
    struct mqtt_publish p;
    int rc = mqtt_publish_read(pkt, how->from, how->dir, &p, code, err);

    if (rc != 0)
        return rc;
    if (how->to != MQTT_V5)
        p.props = (struct mqtt_props){0};
    if (p.topic.n == 0 && how->to != MQTT_V5) /* an alias, which 3.x does not know */
        return cannot(code, MQTT_R_PROTOCOL, err, pkt, how);
    if (p.topic.n > 0 && how->dir == MQTT_TO_SERVER) {
        rc = mqtt_convert_topic(&topic, p.topic, how->prefix);
        p.topic = (struct slice){topic.p, topic.len};
    } else {
        p.topic = without(p.topic, how->prefix);
    }
    if (rc == 0 && mqtt_props_find(p.props, MQTT_PROP_RESPONSE_TOPIC, &v)) {
        rc = mqtt_convert_props(&props, p.props, how->dir, how->prefix);
        p.props = (struct mqtt_props){props.p, (uint32_t)props.len};
    }
    if (rc == 0)
        rc = mqtt_publish_write(out, how->to, &p);
    buf_fini(&topic);
    buf_fini(&props);
    return too_long(rc, code, MQTT_R_TOPIC_INVALID, err, pkt);
}

static int convert_ack(struct buf *out, const struct mqtt_packet *pkt,
                       const struct mqtt_convert *how, uint8_t *code, struct err *err)
{
    struct mqtt_ack a;
    int rc = mqtt_ack_read(pkt, how->from, &a, code, err);

    if (rc != 0)
        return rc;
    *code = a.reason >= 0x80 ? a.reason : 0;
    return mqtt_ack_write(out, how->to, pkt->type, &a);
}

/* No Local on a shared subscription is a protocol error [MQTT-3.8.3-4]. */
static uint8_t extra_options(const struct mqtt_convert *how, struct slice filter)
{
    return mqtt_filter_is_shared(filter) ? (uint8_t)(how->options & ~OPT_NO_LOCAL) : how->options;
}

/* Writes the filters into texts, and their slices and options into filters[s->count]. */
static int convert_filters(const struct mqtt_subscribe *s, enum mqtt_type type,
                           const struct mqtt_convert *how, struct buf *texts,
                           struct mqtt_filter *filters)
{
    uint32_t at = 0;
    /* Whole from the start, so that the slices stay where they are. */
    int rc = buf_reserve(texts, s->filters_bytes + s->count * how->prefix.n);

    for (uint32_t i = 0; rc == 0 && i < s->count; i++) {
        size_t from = texts->len;
        if (!mqtt_subscribe_next(s, type, &at, &filters[i]))
            return -ERR_MALFORMED;
        if (how->to != MQTT_V5)
            filters[i].options &= OPT_QOS;
        else if (type == MQTT_SUBSCRIBE && how->from != MQTT_V5)
            filters[i].options |= extra_options(how, filters[i].filter);
        rc = convert_filter(texts, filters[i].filter, how->prefix);
        filters[i].filter = (struct slice){texts->p + from, texts->len - from};
        if (rc == 0 && !mqtt_filter_valid_in(filters[i].filter, how->to))
            return -ERR_INVALID;
    }
    return rc;
}

static int convert_subscribe(struct buf *out, const struct mqtt_packet *pkt,
                             const struct mqtt_convert *how, uint8_t *code, struct err *err)
{
    struct mqtt_subscribe s;
    struct buf texts = {0};
    int rc = mqtt_subscribe_read(pkt, how->from, &s, code, err);

    if (rc != 0)
        return rc;
    struct mqtt_filter *filters = calloc(s.count, sizeof *filters);
    if (filters == NULL)
        return -ERR_NOMEM;
    rc = convert_filters(&s, pkt->type, how, &texts, filters);
    if (rc == 0)
        rc = mqtt_subscribe_write(out, how->to, pkt->type, s.packet_id, s.props, filters, s.count);
    free(filters);
    buf_fini(&texts);
    if (rc == -ERR_INVALID)
        return cannot(code, MQTT_R_FILTER_INVALID, err, pkt, how);
    return too_long(rc, code, MQTT_R_FILTER_INVALID, err, pkt);
}

/* MQTT 3.1, 3.8: a server that does not authorise a subscription "has no way of informing that
 * client.  It must therefore make a positive acknowledgement". */
static uint8_t granted(uint8_t code, int version)
{
    if (code < 0x80 || version == MQTT_V5)
        return code;
    return version == MQTT_V31 ? 0 : 0x80;
}

static int convert_suback(struct buf *out, const struct mqtt_packet *pkt,
                          const struct mqtt_convert *how, uint8_t *code, struct err *err)
{
    struct mqtt_suback s;
    struct buf codes = {0};
    int rc = mqtt_suback_read(pkt, how->from, &s, code, err);

    if (rc != 0)
        return rc;
    if (pkt->type == MQTT_UNSUBACK && how->to == MQTT_V5 && how->from != MQTT_V5)
        return cannot(code, MQTT_R_PROTOCOL, err, pkt, how); /* how many filters there were? */
    uint8_t worst = 0;
    for (size_t i = 0; rc == 0 && i < s.codes.n; i++) {
        if (s.codes.p[i] >= 0x80 && worst == 0)
            worst = s.codes.p[i];
        rc = buf_append_u8(&codes, granted(s.codes.p[i], how->to));
    }
    s.codes = (struct slice){codes.p, codes.len};
    if (rc == 0)
        rc = mqtt_suback_write(out, how->to, pkt->type, &s);
    if (rc == 0)
        *code = worst;
    buf_fini(&codes);
    return rc;
}

static int convert_disconnect(struct buf *out, const struct mqtt_packet *pkt,
                              const struct mqtt_convert *how, uint8_t *code, struct err *err)
{
    struct mqtt_disconnect d;
    int rc = mqtt_disconnect_read(pkt, how->from, how->dir, &d, code, err);

    if (rc != 0)
        return rc;
    if (how->dir == MQTT_TO_CLIENT && how->to != MQTT_V5)
        return cannot(code, d.reason, err, pkt, how);
    return mqtt_disconnect_write(out, how->to, &d);
}

static int as_it_is(struct buf *out, const struct mqtt_packet *pkt, const struct mqtt_convert *how,
                    uint8_t *code, struct err *err)
{
    int rc = mqtt_check(pkt, how->dir, how->from, code, err);

    if (rc != 0)
        return rc;
    if (!mqtt_type_allowed(pkt->type, how->dir, how->to))
        return cannot(code, MQTT_R_PROTOCOL, err, pkt, how);
    return buf_append(out, pkt->raw, pkt->raw_bytes);
}

/* In 3.x its length may stand in more bytes than it needs, in 5.0 not. */
static int convert_ping(struct buf *out, const struct mqtt_packet *pkt,
                        const struct mqtt_convert *how, uint8_t *code, struct err *err)
{
    int rc = mqtt_check(pkt, how->dir, how->from, code, err);

    return rc == 0 ? mqtt_ping_write(out, pkt->type) : rc;
}

int mqtt_convert(struct buf *out, const struct mqtt_packet *pkt, const struct mqtt_convert *how,
                 uint8_t *code, struct err *err)
{
    *code = 0;
    if (!mqtt_type_allowed(pkt->type, how->dir, how->from))
        return as_it_is(out, pkt, how, code, err); /* which says so */
    switch (pkt->type) {
    case MQTT_PUBLISH:
        return convert_publish(out, pkt, how, code, err);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return convert_ack(out, pkt, how, code, err);
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        return convert_subscribe(out, pkt, how, code, err);
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        return convert_suback(out, pkt, how, code, err);
    case MQTT_DISCONNECT:
        return convert_disconnect(out, pkt, how, code, err);
    case MQTT_CONNECT:
    case MQTT_CONNACK:
        return cannot(code, MQTT_R_PROTOCOL, err, pkt, how);
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        return convert_ping(out, pkt, how, code, err);
    case MQTT_AUTH:
    default:
        return as_it_is(out, pkt, how, code, err);
    }
}
