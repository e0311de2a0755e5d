/* mqtt/subscribe.c - SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK. */
#include "mqtt/subscribe.h"

#include "mqtt/fault.h"
#include "mqtt/rd.h"
#include "mqtt/topic.h"
#include "mqtt/wr.h"

/* Subscription options, 3.8.3.1 */
#define OPT_QOS             0x03u
#define OPT_NO_LOCAL        0x04u
#define OPT_RETAIN_HANDLING 0x30u
#define OPT_RESERVED_5      0xC0u
#define OPT_RESERVED_3      0xFCu /* before 5.0 the byte is the QoS alone */

static bool take_filter(struct rd *r, enum mqtt_type type, struct mqtt_filter *out)
{
    out->options = 0;
    return rd_bin(r, &out->filter) && (type != MQTT_SUBSCRIBE || rd_u8(r, &out->options));
}

static int check_options(const struct mqtt_filter *f, int version, uint8_t *reason, struct err *err)
{
    uint8_t reserved = version == MQTT_V5 ? OPT_RESERVED_5 : OPT_RESERVED_3;

    if ((f->options & reserved) != 0)
        return mqtt_fault(reason, MQTT_R_MALFORMED, err,
                          "SUBSCRIBE: reserved option bits 0x%02x [MQTT-3.8.3-5]", f->options);
    if ((f->options & OPT_QOS) == OPT_QOS)
        return mqtt_fault(reason, MQTT_R_PROTOCOL, err, "SUBSCRIBE: QoS 3 (3.8.3.1)");
    if ((f->options & OPT_RETAIN_HANDLING) == OPT_RETAIN_HANDLING)
        return mqtt_fault(reason, MQTT_R_PROTOCOL, err, "SUBSCRIBE: retain handling 3 (3.8.3.1)");
    if ((f->options & OPT_NO_LOCAL) != 0 && mqtt_filter_is_shared(f->filter))
        return mqtt_fault(reason, MQTT_R_PROTOCOL, err,
                          "SUBSCRIBE: No Local on a shared subscription [MQTT-3.8.3-4]");
    return 0;
}

static int check_filter(const struct mqtt_filter *f, enum mqtt_type type, int version,
                        uint8_t *reason, struct err *err)
{
    const char *name = mqtt_type_name(type);

    if (!mqtt_filter_valid_in(f->filter, version)) {
        if (!str_is_utf8(f->filter.p, f->filter.n))
            return mqtt_fault(reason, MQTT_R_MALFORMED, err,
                              "%s: a filter is not UTF-8 [MQTT-3.8.3-1]", name);
        return mqtt_fault(reason, MQTT_R_FILTER_INVALID, err,
                          "%s: a filter is empty or has a wildcard in a wrong place [MQTT-4.7.1-2]",
                          name);
    }
    return check_options(f, version, reason, err);
}

int mqtt_subscribe_read(const struct mqtt_packet *pkt, int version, struct mqtt_subscribe *out,
                        uint8_t *reason, struct err *err)
{
    const char *name = mqtt_type_name(pkt->type);
    struct mqtt_subscribe s = {.count = 0};
    struct rd r;
    int rc;

    rc = mqtt_open(pkt, version, &r, reason, err);
    if (rc != 0)
        return rc;
    if (!rd_u16(&r, &s.packet_id) || (version == MQTT_V5 && !rd_props(&r, &s.props)))
        return mqtt_fault(reason, MQTT_R_MALFORMED, err, "%s: cut short in its header", name);
    if (s.packet_id == 0)
        return mqtt_fault(reason, MQTT_R_PROTOCOL, err, "%s: packet identifier 0 [MQTT-2.2.1-3]",
                          name);
    rc = mqtt_props_check(s.props, (int)pkt->type, reason, err);
    if (rc != 0)
        return rc;
    s.filters = r.p;
    s.filters_bytes = (uint32_t)rd_left(&r);
    while (rd_left(&r) != 0) {
        struct mqtt_filter f;

        if (!take_filter(&r, pkt->type, &f))
            return mqtt_fault(reason, MQTT_R_MALFORMED, err, "%s: cut short in a filter", name);
        rc = check_filter(&f, pkt->type, version, reason, err);
        if (rc != 0)
            return rc;
        s.count++;
    }
    if (s.count == 0)
        return mqtt_fault(reason, MQTT_R_PROTOCOL, err, "%s: no filter [MQTT-%s-2]", name,
                          pkt->type == MQTT_SUBSCRIBE ? "3.8.3" : "3.10.3");
    *out = s;
    return 0;
}

bool mqtt_subscribe_next(const struct mqtt_subscribe *s, enum mqtt_type type, uint32_t *at,
                         struct mqtt_filter *out)
{
    struct mqtt_filter f;
    struct rd r;

    if (*at >= s->filters_bytes)
        return false;
    r = rd_of(s->filters + *at, s->filters_bytes - *at);
    if (!take_filter(&r, type, &f))
        return false;
    *at = (uint32_t)(r.p - s->filters);
    *out = f;
    return true;
}

int mqtt_subscribe_write(struct buf *b, int version, enum mqtt_type type, uint16_t packet_id,
                         struct mqtt_props props, const struct mqtt_filter *filters, size_t count)
{
    size_t n = 2 + (version == MQTT_V5 ? wr_props_bytes(props) : 0);
    struct wr w;
    int rc;

    assert(type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE);
    for (size_t i = 0; i < count; i++) {
        if (filters[i].filter.n > UINT16_MAX)
            return -ERR_TOO_BIG;
        n += wr_bin_bytes(filters[i].filter) + (type == MQTT_SUBSCRIBE ? 1 : 0);
    }
    rc = wr_open(&w, b, type, 0x2, n); /* [MQTT-3.8.1-1], [MQTT-3.10.1-1] */
    if (rc != 0)
        return rc;
    wr_u16(&w, packet_id);
    if (version == MQTT_V5)
        wr_props(&w, props);
    for (size_t i = 0; i < count; i++) {
        wr_bin(&w, filters[i].filter);
        if (type == MQTT_SUBSCRIBE)
            wr_u8(&w, filters[i].options);
    }
    return wr_close(&w, b);
}

static bool code_allowed(uint8_t code, enum mqtt_type type, int version)
{
    if (version == MQTT_V5)
        return mqtt_reason_allowed(code, type, MQTT_TO_CLIENT);
    return code <= 2 || code == 0x80; /* 3.1.1 [MQTT-3.9.3-2]; servers say 0x80 to 3.1 as well */
}

int mqtt_suback_read(const struct mqtt_packet *pkt, int version, struct mqtt_suback *out,
                     uint8_t *reason, struct err *err)
{
    const char *name = mqtt_type_name(pkt->type);
    bool with_codes = version == MQTT_V5 || pkt->type == MQTT_SUBACK;
    struct mqtt_suback s = {.packet_id = 0};
    struct rd r;
    int rc;

    rc = mqtt_open(pkt, version, &r, reason, err);
    if (rc != 0)
        return rc;
    if (!rd_u16(&r, &s.packet_id) || (version == MQTT_V5 && !rd_props(&r, &s.props)))
        return mqtt_fault(reason, MQTT_R_MALFORMED, err, "%s: cut short", name);
    if (s.packet_id == 0)
        return mqtt_fault(reason, MQTT_R_PROTOCOL, err, "%s: packet identifier 0 [MQTT-2.2.1-6]",
                          name);
    rc = mqtt_props_check(s.props, (int)pkt->type, reason, err);
    if (rc != 0)
        return rc;
    s.codes = rd_rest(&r);
    if (with_codes != (s.codes.n != 0)) /* one code per filter, of which there was at least one */
        return mqtt_fault(reason, MQTT_R_MALFORMED, err, "%s: %s", name,
                          with_codes ? "no reason code" : "longer than its content");
    for (size_t i = 0; i < s.codes.n; i++) {
        if (!code_allowed(s.codes.p[i], pkt->type, version))
            return mqtt_fault(reason, MQTT_R_PROTOCOL, err,
                              "%s: code 0x%02x has no place here [MQTT-3.9.3-2]", name,
                              s.codes.p[i]);
    }
    *out = s;
    return 0;
}

int mqtt_suback_write(struct buf *b, int version, enum mqtt_type type, const struct mqtt_suback *s)
{
    bool with_codes = version == MQTT_V5 || type == MQTT_SUBACK;
    size_t n =
        2 + (version == MQTT_V5 ? wr_props_bytes(s->props) : 0) + (with_codes ? s->codes.n : 0);
    struct wr w;
    int rc;

    assert(type == MQTT_SUBACK || type == MQTT_UNSUBACK);
    rc = wr_open(&w, b, type, 0, n);
    if (rc != 0)
        return rc;
    wr_u16(&w, s->packet_id);
    if (version == MQTT_V5)
        wr_props(&w, s->props);
    if (with_codes)
        wr_run(&w, s->codes.p, s->codes.n);
    return wr_close(&w, b);
}
