/* mqtt/publish.c - PUBLISH and its acknowledgements, PING. */
#include "mqtt/publish.h"

#include "mqtt/fault.h"
#include "mqtt/rd.h"
#include "mqtt/topic.h"
#include "mqtt/wr.h"

#define FLAG_RETAIN 0x1u
#define FLAG_QOS    0x6u
#define FLAG_DUP    0x8u

/* What a topic that is not valid is called: by 5.0's codes. */
static int topic_fault(struct slice topic, uint8_t *reason, struct err *err)
{
    if (!str_is_utf8(topic.p, topic.n))
        return mqtt_fault(reason, MQTT_R_MALFORMED, err,
                          "PUBLISH: the topic is not UTF-8 [MQTT-3.3.2-1]");
    if (topic.n == 0)
        return mqtt_fault(reason, MQTT_R_PROTOCOL, err,
                          "PUBLISH: neither a topic nor an alias [MQTT-4.7.3-1]");
    return mqtt_fault(reason, MQTT_R_TOPIC_INVALID, err,
                      "PUBLISH: the topic has wildcards [MQTT-3.3.2-2]");
}

static int publish_props(struct mqtt_publish *m, enum mqtt_dir dir, uint8_t *reason,
                         struct err *err)
{
    struct mqtt_prop_value v;
    uint64_t seen;
    int rc;

    rc = mqtt_props_scan(m->props, MQTT_PUBLISH, &seen, reason, err);
    if (rc != 0)
        return rc;
    if (dir == MQTT_TO_SERVER && (seen & MQTT_PROP_BIT(MQTT_PROP_SUBSCRIPTION_ID)) != 0)
        return mqtt_fault(reason, MQTT_R_PROTOCOL, err,
                          "PUBLISH: a subscription identifier from a client [MQTT-3.3.4-6]");
    if ((seen & MQTT_PROP_BIT(MQTT_PROP_TOPIC_ALIAS)) != 0 &&
        mqtt_props_find(m->props, MQTT_PROP_TOPIC_ALIAS, &v))
        m->topic_alias = (uint16_t)v.num;
    return 0;
}

int mqtt_publish_read(const struct mqtt_packet *pkt, int version, enum mqtt_dir dir,
                      struct mqtt_publish *out, uint8_t *reason, struct err *err)
{
    struct rd r = rd_of(pkt->body, pkt->body_bytes);
    struct mqtt_publish m = {
        .dup = (pkt->flags & FLAG_DUP) != 0,
        .retain = (pkt->flags & FLAG_RETAIN) != 0,
        .qos = (uint8_t)((pkt->flags & FLAG_QOS) >> 1),
    };

    if (!rd_bin(&r, &m.topic) || (m.qos != 0 && !rd_u16(&r, &m.packet_id)))
        return mqtt_fault(reason, MQTT_R_MALFORMED, err, "PUBLISH: cut short in its header");
    if (version == MQTT_V5) {
        if (rd_length_is_overlong(pkt))
            return mqtt_fault(reason, MQTT_R_MALFORMED, err,
                              "PUBLISH: remaining length longer than needed [MQTT-1.5.5-1]");
        if (!rd_props(&r, &m.props))
            return mqtt_fault(reason, MQTT_R_MALFORMED, err,
                              "PUBLISH: cut short in its properties");
        if (m.props.n != 0) {
            int rc = publish_props(&m, dir, reason, err);

            if (rc != 0)
                return rc;
        }
    }
    if (!mqtt_topic_valid(m.topic) && (m.topic.n != 0 || m.topic_alias == 0))
        return topic_fault(m.topic, reason, err);
    if (m.qos != 0 && m.packet_id == 0)
        return mqtt_fault(reason, MQTT_R_PROTOCOL, err,
                          "PUBLISH: packet identifier 0 [MQTT-2.2.1-3]");
    m.payload = rd_rest(&r);
    *out = m;
    return 0;
}

int mqtt_publish_write(struct buf *b, int version, const struct mqtt_publish *p)
{
    uint8_t flags =
        (uint8_t)((p->dup ? FLAG_DUP : 0) | (unsigned)p->qos << 1 | (p->retain ? FLAG_RETAIN : 0));
    size_t n;
    struct wr w;
    int rc;

    if (p->topic.n > UINT16_MAX || p->payload.n > WR_VARINT_MAX)
        return -ERR_TOO_BIG;
    n = wr_bin_bytes(p->topic) + (p->qos != 0 ? 2 : 0) +
        (version == MQTT_V5 ? wr_props_bytes(p->props) : 0) + p->payload.n;
    rc = wr_open(&w, b, MQTT_PUBLISH, flags, n);
    if (rc != 0)
        return rc;
    wr_bin(&w, p->topic);
    if (p->qos != 0)
        wr_u16(&w, p->packet_id);
    if (version == MQTT_V5)
        wr_props(&w, p->props);
    wr_run(&w, p->payload.p, p->payload.n);
    return wr_close(&w, b);
}

/* PUBACK, PUBREC, PUBREL, PUBCOMP */

int mqtt_ack_read(const struct mqtt_packet *pkt, int version, struct mqtt_ack *out, uint8_t *reason,
                  struct err *err)
{
    const char *name = mqtt_type_name(pkt->type);
    struct mqtt_ack a = {.reason = 0};
    struct rd r;
    int rc;

    rc = mqtt_open(pkt, version, &r, reason, err);
    if (rc != 0)
        return rc;
    if (!rd_u16(&r, &a.packet_id))
        return mqtt_fault(reason, MQTT_R_MALFORMED, err, "%s: cut short", name);
    if (version == MQTT_V5 && rd_left(&r) != 0) { /* either may be left out, 3.4.2.1 */
        if (!rd_u8(&r, &a.reason) || (rd_left(&r) != 0 && !rd_props(&r, &a.props)))
            return mqtt_fault(reason, MQTT_R_MALFORMED, err, "%s: cut short in its properties",
                              name);
    }
    if (rd_left(&r) != 0)
        return mqtt_fault(reason, MQTT_R_MALFORMED, err, "%s: longer than its content", name);
    if (a.packet_id == 0)
        return mqtt_fault(reason, MQTT_R_PROTOCOL, err, "%s: packet identifier 0 [MQTT-2.2.1-5]",
                          name);
    /* These have the same codes in both directions. */
    if (a.reason != 0 && !mqtt_reason_allowed(a.reason, pkt->type, MQTT_TO_SERVER))
        return mqtt_fault(reason, MQTT_R_PROTOCOL, err,
                          "%s: reason 0x%02x has no place here [MQTT-3.4.2-1]", name, a.reason);
    rc = mqtt_props_check(a.props, (int)pkt->type, reason, err);
    if (rc != 0)
        return rc;
    *out = a;
    return 0;
}

int mqtt_ack_write(struct buf *b, int version, enum mqtt_type type, const struct mqtt_ack *a)
{
    bool with_props = version == MQTT_V5 && a->props.n != 0;
    bool with_reason = version == MQTT_V5 && (a->reason != 0 || with_props);
    size_t n = 2 + (with_reason ? 1u : 0u) + (with_props ? wr_props_bytes(a->props) : 0);
    struct wr w;
    int rc;

    rc = wr_open(&w, b, type, type == MQTT_PUBREL ? 0x2 : 0, n); /* [MQTT-3.6.1-1] */
    if (rc != 0)
        return rc;
    wr_u16(&w, a->packet_id);
    if (with_reason)
        wr_u8(&w, a->reason);
    if (with_props)
        wr_props(&w, a->props);
    return wr_close(&w, b);
}

int mqtt_ping_write(struct buf *b, enum mqtt_type type)
{
    struct wr w;
    int rc;

    assert(type == MQTT_PINGREQ || type == MQTT_PINGRESP);
    rc = wr_open(&w, b, type, 0, 0);
    return rc != 0 ? rc : wr_close(&w, b);
}
