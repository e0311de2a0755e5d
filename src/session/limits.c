#include "session/limits.h"

const struct leg_limits limits_none = {
    .packet_bytes = MQTT_LARGEST_PACKET,
    .receive_most = UINT16_MAX,
    .qos_most = 2,
    .retains = true,
};

struct leg_limits limits_of(struct mqtt_props props)
{
    struct leg_limits l = limits_none;
    struct mqtt_prop_value v;
    uint32_t at = 0;

    while (mqtt_props_next(props, &at, &v)) {
        if (v.id == MQTT_PROP_RECEIVE_MAXIMUM)
            l.receive_most = (uint16_t)v.num;
        else if (v.id == MQTT_PROP_MAXIMUM_QOS)
            l.qos_most = (uint8_t)v.num;
        else if (v.id == MQTT_PROP_RETAIN_AVAILABLE)
            l.retains = v.num != 0;
        else if (v.id == MQTT_PROP_MAXIMUM_PACKET_SIZE && v.num < l.packet_bytes)
            l.packet_bytes = v.num;
    }
    return l;
}

bool limits_are_stricter(const struct leg_limits *l, const struct leg_limits *told)
{
    return l->packet_bytes < told->packet_bytes || l->receive_most < told->receive_most ||
           l->qos_most < told->qos_most || (!l->retains && told->retains);
}

bool limits_allow(const struct leg_limits *l, const struct mqtt_publish *p)
{
    return p->qos <= l->qos_most && (l->retains || !p->retain);
}

int limits_lower(const struct leg_limits *l, int version, const struct mqtt_publish *p,
                 struct buf *out)
{
    struct mqtt_publish less = *p;

    if (less.qos > l->qos_most)
        less.qos = l->qos_most;
    if (less.qos == 0) {
        less.packet_id = 0;
        less.dup = false; /* [MQTT-3.3.1-2] */
    }
    less.retain = less.retain && l->retains;
    return mqtt_publish_write(out, version, &less);
}
