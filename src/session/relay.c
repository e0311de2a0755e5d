/* Packets pass through as they are.  Those that are whole in one read and need no change are passed
 * on together, straight from the buffer that they were decrypted into: one run, one TLS record, one
 * write.  What is kept beside them is only what a re-home needs (see session.h).
 */
#include "session/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "mqtt/publish.h"

/* A device that left waits this long for an uplink that takes its last packets. */
#define LEAVE_MS 30000u

/* Adjacent packets on their way to one leg. */
struct run {
    struct leg *to;
    const uint8_t *p;
    size_t n;
    bool sent; /* something was written */
};

static void run_send(struct run *run)
{
    if (run->n > 0 && run->to != NULL) {
        leg_write(run->to, run->p, run->n);
        run->sent = true;
    }
    run->n = 0;
}

static void run_pass(struct run *run, struct leg *to, const struct mqtt_packet *pkt)
{
    if (run->n > 0 && run->to == to && run->p + run->n == pkt->raw) {
        run->n += pkt->raw_bytes;
        return;
    }
    run_send(run);
    run->to = to;
    run->p = pkt->raw;
    run->n = pkt->raw_bytes;
}

/* What came before the fault was in order, and goes on. */
static void end_malformed(struct session *s, struct run *run, uint8_t reason, const struct err *err)
{
    run_send(run);
    log_event(LOG_MQTT, LOG_WARN_, "bad-packet", "device=%s peer=%s reason=%s msg=%s", s->dev->name,
              s->peer, mqtt_reason_name(reason), LOG_Q(err->msg));
    s->env->stats.downstream_closed_by_us++;
    session_end(s, reason, false, "the device sent a packet that breaks the standard");
}

/* ---- from the device ---- */

enum verdict {
    PASS, /* as it is */
    TAKE, /* it was dealt with */
    HOLD, /* keep it until there is a leg */
    OVER, /* the session ended */
};

static struct session_alias *alias_find(const struct session *s, uint16_t alias)
{
    struct session_alias *a = s->aliases;

    while (a != NULL && a->alias != alias)
        a = a->next;
    return a;
}

static int alias_set(struct session *s, uint16_t alias, struct slice topic, bool told)
{
    struct session_alias **at = &s->aliases;
    struct session_alias *a;

    while (*at != NULL && (*at)->alias != alias)
        at = &(*at)->next;
    if (*at != NULL && (*at)->topic_bytes == topic.n &&
        memcmp((*at)->topic, topic.p, topic.n) == 0) {
        (*at)->told = told;
        return 0;
    }
    a = malloc(sizeof *a + topic.n);
    if (a == NULL)
        return -ERR_NOMEM;
    *a = (struct session_alias){.alias = alias, .told = told, .topic_bytes = (uint16_t)topic.n};
    memcpy(a->topic, topic.p, topic.n);
    if (*at != NULL) {
        struct session_alias *old = *at;
        *at = old->next;
        free(old);
    }
    a->next = s->aliases;
    s->aliases = a;
    return 0;
}

/* Properties without the topic alias. */
static int drop_alias(struct buf *out, struct mqtt_props in)
{
    struct mqtt_prop_value v;
    uint32_t at = 0;
    int rc = 0;

    while (rc == 0 && mqtt_props_next(in, &at, &v))
        if (v.id != MQTT_PROP_TOPIC_ALIAS)
            rc = buf_append(out, v.raw.p, v.raw.n);
    return rc;
}

/* Write the PUBLISH with its topic spelt out and without an alias: what can be repeated on any leg.
 */
static int spell_out(struct buf *out, const struct mqtt_publish *p, struct slice topic)
{
    struct buf props = {0};
    struct mqtt_publish full = *p;
    int rc = drop_alias(&props, p->props);

    full.topic = topic;
    full.topic_alias = 0;
    full.props = (struct mqtt_props){props.p, (uint32_t)props.len};
    if (rc == 0)
        rc = mqtt_publish_write(out, MQTT_V5, &full);
    buf_fini(&props);
    return rc;
}

/* A PUBLISH that uses or sets a topic alias. */
static enum verdict publish_alias(struct session *s, struct run *run, const struct mqtt_publish *p)
{
    struct buf full = {0};
    struct slice topic = p->topic;
    struct err err;
    enum verdict verdict = PASS;

    if (p->topic_alias > s->alias_told) {
        err_set(&err, ERR_PROTOCOL, "topic alias %u, and the maximum is %u [MQTT-3.2.2-17]",
                p->topic_alias, s->alias_told);
        end_malformed(s, run, 0x94, &err);
        return OVER;
    }
    if (p->topic.n > 0) {
        bool known = p->topic_alias <= s->alias_most; /* another broker may allow fewer */
        if (alias_set(s, p->topic_alias, p->topic, known) != 0)
            return PASS;
        verdict = known ? PASS : TAKE;
    } else {
        const struct session_alias *a = alias_find(s, p->topic_alias);
        if (a == NULL) {
            err_set(&err, ERR_PROTOCOL, "topic alias %u was never set [MQTT-3.3.4-1]",
                    p->topic_alias);
            end_malformed(s, run, 0x82, &err);
            return OVER;
        }
        topic = (struct slice){a->topic, a->topic_bytes};
        if (!a->told)
            verdict = TAKE; /* this leg does not know the alias: the topic goes instead of it */
    }
    if (verdict == TAKE)
        run_send(run);
    if ((verdict == TAKE || p->qos > 0) && spell_out(&full, p, topic) == 0) {
        if (p->qos > 0 && inflight_find(&s->to_broker, p->packet_id, INFLIGHT_ANY_PUBLISH) == NULL)
            inflight_add(&s->to_broker, p->packet_id, INFLIGHT_PUBLISH, p->qos, full.p,
                         (uint32_t)full.len);
        if (verdict == TAKE)
            leg_write(s->up, full.p, full.len);
    }
    buf_fini(&full);
    return verdict;
}

static enum verdict device_publish(struct session *s, struct run *run,
                                   const struct mqtt_packet *pkt)
{
    struct mqtt_publish p;
    struct err err;
    uint8_t reason;

    if (mqtt_publish_read(pkt, s->version, MQTT_TO_SERVER, &p, &reason, &err) != 0) {
        end_malformed(s, run, reason, &err);
        return OVER;
    }
    s->env->stats.publishes_up++;
    if (p.topic_alias != 0)
        return publish_alias(s, run, &p);
    if (p.qos > 0 &&
        (!p.dup || inflight_find(&s->to_broker, p.packet_id, INFLIGHT_ANY_PUBLISH) == NULL) &&
        inflight_add(&s->to_broker, p.packet_id, INFLIGHT_PUBLISH, p.qos, pkt->raw,
                     pkt->raw_bytes) == NULL) {
        session_end(s, 0x97, false, "out of memory");
        return OVER;
    }
    return PASS;
}

/* PUBACK, PUBREC, PUBCOMP of the device, for a PUBLISH of the broker; and PUBREL for its own. */
static enum verdict device_ack(struct session *s, const struct mqtt_packet *pkt)
{
    struct inflight_item *item;
    struct mqtt_ack a;
    uint8_t reason;

    if (mqtt_ack_read(pkt, s->version, &a, &reason, NULL) != 0)
        return PASS; /* was checked */
    if (pkt->type == MQTT_PUBREL) {
        item = inflight_find(&s->to_broker, a.packet_id, INFLIGHT_ANY_PUBLISH);
        if (item != NULL)
            item->state = INFLIGHT_RELEASED;
        return PASS;
    }
    item = inflight_find(&s->to_device, a.packet_id, INFLIGHT_ANY_PUBLISH);
    if (item == NULL)
        return PASS;
    bool redo = item->redo; /* the broker has forgotten this exchange */
    if (pkt->type == MQTT_PUBREC && a.reason < 0x80) {
        item->state = INFLIGHT_RECEIVED;
        item->answered = true;
    } else if (item->again && item->state == INFLIGHT_PUBLISH) {
        item->acked = true; /* the repetition is on its way, and must not be delivered */
    } else {
        inflight_del(&s->to_device, item);
    }
    if (redo && pkt->type == MQTT_PUBREC && s->down != NULL) {
        /* Nobody else will release it. */
        struct buf out = {0};
        if (mqtt_ack_write(&out, s->version, MQTT_PUBREL,
                           &(struct mqtt_ack){.packet_id = a.packet_id}) == 0)
            leg_write(s->down, out.p, out.len);
        buf_fini(&out);
    }
    return redo ? TAKE : PASS;
}

/* Those that do not merely renew a subscription. */
static uint32_t new_filters(struct session *s, const struct mqtt_subscribe *sub)
{
    struct mqtt_filter f;
    uint32_t at = 0, count = 0;

    while (mqtt_subscribe_next(sub, MQTT_SUBSCRIBE, &at, &f))
        count += !subs_has(&s->subs, f.filter);
    return count;
}

static enum verdict device_subscribe(struct session *s, struct run *run,
                                     const struct mqtt_packet *pkt)
{
    struct mqtt_subscribe sub;
    struct err err;
    uint8_t reason;

    if (mqtt_subscribe_read(pkt, s->version, &sub, &reason, &err) != 0)
        return PASS; /* was checked */
    if (pkt->type == MQTT_SUBSCRIBE &&
        s->subs.count + new_filters(s, &sub) > s->snap->conf->limits.subscriptions) {
        err_set(&err, ERR_TOO_BIG, "more than limits.subscriptions = %u subscriptions",
                s->snap->conf->limits.subscriptions);
        end_malformed(s, run, 0x97, &err);
        return OVER;
    }
    if (inflight_add(&s->to_broker, sub.packet_id,
                     pkt->type == MQTT_SUBSCRIBE ? INFLIGHT_SUBSCRIBE : INFLIGHT_UNSUBSCRIBE, 0,
                     pkt->raw, pkt->raw_bytes) == NULL) {
        session_end(s, 0x97, false, "out of memory");
        return OVER;
    }
    return PASS;
}

static enum verdict device_disconnect(struct session *s, struct run *run,
                                      const struct mqtt_packet *pkt)
{
    struct mqtt_disconnect d = {0};
    struct mqtt_prop_value v;
    struct buf out = {0}, props = {0};
    uint8_t reason;

    run_send(run);
    s->said_goodbye = true;
    if (s->version != MQTT_V5 || !s->keep ||
        mqtt_disconnect_read(pkt, s->version, MQTT_TO_SERVER, &d, &reason, NULL) != 0) {
        leg_write(s->up, pkt->raw, pkt->raw_bytes);
        session_end(s, 0, true, "the device left");
        return OVER;
    }
    /* The broker was told a longer session expiry than the device's: the device's own goes with its
     * last word. */
    uint32_t expiry = s->device_expiry_s;
    uint32_t at = 0;
    while (mqtt_props_next(d.props, &at, &v)) {
        if (v.id == MQTT_PROP_SESSION_EXPIRY)
            expiry = v.num;
        else
            (void)buf_append(&props, v.raw.p, v.raw.n);
    }
    (void)mqtt_props_put_num(&props, MQTT_PROP_SESSION_EXPIRY, expiry);
    d.props = (struct mqtt_props){props.p, (uint32_t)props.len};
    if (mqtt_disconnect_write(&out, s->version, &d) == 0)
        leg_write(s->up, out.p, out.len);
    buf_fini(&out);
    buf_fini(&props);
    session_end(s, 0, true, "the device left");
    return OVER;
}

static void answer_ping(struct session *s)
{
    struct buf out = {0};

    if (s->down != NULL && mqtt_ping_write(&out, MQTT_PINGRESP) == 0)
        leg_write(s->down, out.p, out.len);
    buf_fini(&out);
}

static void ping_asked(struct session *s, bool ours)
{
    if (s->pings == 0)
        s->ping_since_ms = env_now_ms(s->env);
    if (ours)
        s->pings_ours |= (uint16_t)(1u << s->pings);
    s->pings++;
}

static enum verdict device_ping(struct session *s)
{
    if (s->pings >= 15) { /* it pings faster than the broker answers */
        answer_ping(s);
        return TAKE;
    }
    ping_asked(s, false);
    return PASS;
}

/* While a re-home is under way, exchanges that have begun may finish on the old leg; all else
 * waits. */
static enum verdict while_holding(struct session *s, const struct mqtt_packet *pkt)
{
    switch (pkt->type) {
    case MQTT_PINGREQ:
        answer_ping(s);
        return TAKE;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        if (s->phase == RH_DRAINING && s->up != NULL)
            return PASS;
        return HOLD;
    case MQTT_DISCONNECT:
        s->leave_ms = env_now_ms(s->env) + LEAVE_MS;
        return HOLD;
    case MQTT_CONNECT:
    case MQTT_CONNACK:
    case MQTT_PUBLISH:
    case MQTT_SUBSCRIBE:
    case MQTT_SUBACK:
    case MQTT_UNSUBSCRIBE:
    case MQTT_UNSUBACK:
    case MQTT_PINGRESP:
    case MQTT_AUTH:
    default:
        return HOLD;
    }
}

static enum verdict from_device(struct session *s, struct run *run, const struct mqtt_packet *pkt)
{
    struct err err;
    uint8_t reason = 0;

    if (pkt->type == MQTT_PUBLISH && !s->holding && s->state == SESSION_RELAYING)
        return device_publish(s, run, pkt);
    if (pkt->type == MQTT_CONNECT) {
        err_set(&err, ERR_PROTOCOL, "a second CONNECT [MQTT-3.1.0-2]");
        end_malformed(s, run, 0x82, &err);
        return OVER;
    }
    if (mqtt_check(pkt, MQTT_TO_SERVER, s->version, &reason, &err) != 0) {
        end_malformed(s, run, reason, &err);
        return OVER;
    }
    if (s->state == SESSION_OPENING) {
        if (pkt->type == MQTT_DISCONNECT)
            s->leave_ms = env_now_ms(s->env) + LEAVE_MS;
        return pkt->type == MQTT_AUTH ? PASS : HOLD;
    }
    if (s->holding) {
        enum verdict v = while_holding(s, pkt);
        if (v != PASS)
            return v;
    }
    switch (pkt->type) {
    case MQTT_PUBLISH:
        return device_publish(s, run, pkt);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return device_ack(s, pkt);
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        return device_subscribe(s, run, pkt);
    case MQTT_PINGREQ:
        return device_ping(s);
    case MQTT_DISCONNECT:
        return device_disconnect(s, run, pkt);
    case MQTT_AUTH:
    case MQTT_CONNECT:
    case MQTT_CONNACK:
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
    case MQTT_PINGRESP:
    default:
        return PASS;
    }
}

/* Returns false when the session is over. */
static bool device_packet(struct session *s, struct run *run, const struct mqtt_packet *pkt)
{
    s->env->stats.packets_in++;
    switch (from_device(s, run, pkt)) {
    case PASS:
        run_pass(run, s->up != NULL ? s->up : s->cand, pkt);
        return true;
    case HOLD:
        run_send(run);
        if (buf_append(&s->held, pkt->raw, pkt->raw_bytes) == 0)
            return true;
        session_end(s, 0x97, false, "out of memory");
        return false;
    case TAKE:
        return true;
    case OVER:
    default:
        return false;
    }
}

static const char *framing_fault(int rc, uint8_t *reason)
{
    *reason = rc == -ERR_TOO_BIG ? 0x95 : 0x81;
    return rc == -ERR_TOO_BIG ? "a packet larger than limits.packet_bytes"
                              : "bytes that are no MQTT packet";
}

void relay_from_device(struct session *s, const uint8_t *p, size_t n)
{
    uint32_t most = s->snap->conf->limits.packet_bytes;
    struct run run = {0};
    struct mqtt_packet pkt;
    struct err err;
    uint8_t reason;
    int rc;

    while ((rc = mqtt_in_next(&s->down->in, &p, &n, most, &pkt)) == 1) {
        if (!device_packet(s, &run, &pkt))
            return;
        if (s->down->in.part_done)
            run_send(&run); /* the packet lies in memory that goes with the next one */
    }
    run_send(&run);
    if (run.sent)
        s->last_tx_up_ms = s->last_rx_ms;
    if (rc < 0) {
        err_set(&err, ERR_MALFORMED, "%s", framing_fault(rc, &reason));
        end_malformed(s, &run, reason, &err);
    } else if (s->phase != RH_IDLE) {
        upstream_drained(s);
        session_arm(s);
    }
}

void relay_release(struct session *s)
{
    struct buf held = s->held;
    struct run run = {0};
    struct mqtt_packet pkt;
    size_t at = 0;
    uint32_t need;

    s->held = (struct buf){0};
    while (at < held.len &&
           mqtt_packet_peek(held.p + at, held.len - at, MQTT_LARGEST_PACKET, &pkt, &need) == 1) {
        at += pkt.raw_bytes;
        s->env->stats.packets_in--; /* it was counted when it came */
        if (!device_packet(s, &run, &pkt))
            break;
    }
    if (s->state != SESSION_OVER)
        run_send(&run);
    buf_fini(&held);
}

/* ---- from the broker ---- */

static void ack_to(struct session *s, struct leg *leg, enum mqtt_type type, uint16_t packet_id)
{
    struct buf out = {0};

    if (mqtt_ack_write(&out, s->version, type, &(struct mqtt_ack){.packet_id = packet_id}) == 0)
        leg_write(leg, out.p, out.len);
    buf_fini(&out);
}

/* The broker sends again what it has no acknowledgement of; the device has had it. */
static enum verdict delivered_before(struct session *s, struct leg *leg,
                                     const struct mqtt_publish *p)
{
    struct inflight_item *item = inflight_find(&s->to_device, p->packet_id, INFLIGHT_ANY_PUBLISH);

    if (item == NULL)
        return PASS;
    if (!p->dup) { /* a new message under an id that a forgotten exchange still has */
        inflight_del(&s->to_device, item);
        return PASS;
    }
    item->redo = item->again = false;
    if (item->acked) {
        inflight_del(&s->to_device, item);
        return TAKE;
    }
    if (item->state != INFLIGHT_PUBLISH && !item->answered)
        ack_to(s, leg, MQTT_PUBREC, p->packet_id);
    return TAKE;
}

static enum verdict broker_publish(struct session *s, struct leg *leg,
                                   const struct mqtt_packet *pkt, struct err *err)
{
    struct mqtt_publish p;
    uint8_t reason;

    if (mqtt_publish_read(pkt, s->version, MQTT_TO_CLIENT, &p, &reason, err) != 0)
        return OVER;
    s->env->stats.publishes_down++;
    if (p.qos == 0)
        return PASS;
    enum verdict v = delivered_before(s, leg, &p);
    if (v == PASS)
        (void)inflight_add(&s->to_device, p.packet_id, INFLIGHT_PUBLISH, p.qos, NULL, 0);
    return v;
}

/* PUBACK, PUBREC, PUBCOMP for a PUBLISH of the device; and PUBREL for one of the broker. */
static enum verdict broker_ack(struct session *s, struct leg *leg, const struct mqtt_packet *pkt)
{
    struct inflight_item *item;
    struct mqtt_ack a;
    uint8_t reason;

    if (mqtt_ack_read(pkt, s->version, &a, &reason, NULL) != 0)
        return PASS; /* was checked */
    if (pkt->type == MQTT_PUBREL) {
        item = inflight_find(&s->to_device, a.packet_id, INFLIGHT_ANY_PUBLISH);
        if (item != NULL)
            item->state = INFLIGHT_RELEASED;
        return PASS;
    }
    item = inflight_find(&s->to_broker, a.packet_id, INFLIGHT_ANY_PUBLISH);
    if (item == NULL)
        return s->state == SESSION_RELAYING && pkt->type != MQTT_PUBREC ? TAKE : PASS; /* stale */
    if (pkt->type == MQTT_PUBREC && a.reason < 0x80) {
        bool again = item->redo; /* the device has had its PUBREC for this one */
        item->redo = false;
        if (again) {
            item->state = INFLIGHT_RELEASED;
            ack_to(s, leg, MQTT_PUBREL, a.packet_id);
            return TAKE;
        }
        if (item->state == INFLIGHT_PUBLISH)
            item->state = INFLIGHT_RECEIVED;
        return PASS;
    }
    inflight_del(&s->to_broker, item);
    return PASS;
}

static enum verdict broker_suback(struct session *s, const struct mqtt_packet *pkt)
{
    struct mqtt_suback ack;
    uint8_t reason;

    if (mqtt_suback_read(pkt, s->version, &ack, &reason, NULL) != 0)
        return PASS; /* was checked */
    struct inflight_item *item = inflight_find(
        &s->to_broker, ack.packet_id, 1u << INFLIGHT_SUBSCRIBE | 1u << INFLIGHT_UNSUBSCRIBE);
    if (item == NULL)
        return TAKE; /* nobody asked on this leg */
    bool ours = item->ours;
    (void)subs_apply(&s->subs, s->version, item->raw, item->raw_bytes, ack.codes);
    inflight_del(&s->to_broker, item);
    return ours ? TAKE : PASS;
}

/* Returns true when the barrier was passed by it. */
static enum verdict broker_pong(struct session *s, bool *barrier)
{
    if (s->pings == 0)
        return TAKE;
    bool ours = (s->pings_ours & 1u) != 0;
    s->pings--;
    s->pings_ours >>= 1;
    if (s->pings == 0)
        s->ping_since_ms = 0;
    if (!ours)
        return PASS;
    *barrier = s->phase == RH_BARRIER && s->pings_ours == 0;
    return TAKE;
}

/* A server that says goodbye and will be back: the device need not know when it is held. */
static enum verdict broker_disconnect(struct session *s, struct run *run,
                                      const struct mqtt_packet *pkt)
{
    struct mqtt_disconnect d;
    uint8_t reason;

    if (s->phase == RH_SWITCHING || s->phase == RH_LEAVING || s->reading_old)
        return TAKE; /* it was taken over, by us */
    if (mqtt_disconnect_read(pkt, s->version, MQTT_TO_CLIENT, &d, &reason, NULL) != 0)
        return PASS;
    bool back = d.reason == 0x89 || d.reason == 0x8B;
    if (back && upstream_profile(s, s->have, NULL)->uplink_lost == CONF_UPLINK_HOLD)
        return TAKE;
    run_pass(run, s->down, pkt);
    run_send(run);
    s->said_goodbye = true; /* the broker closes: nothing is to be said to it [MQTT-3.14.4-2] */
    session_end(s, 0, true, "the broker sent DISCONNECT");
    return OVER;
}

static enum verdict from_broker(struct session *s, struct leg *leg, struct run *run,
                                const struct mqtt_packet *pkt, bool *barrier, struct err *err)
{
    uint8_t reason;

    if (pkt->type == MQTT_PUBLISH)
        return broker_publish(s, leg, pkt, err);
    if (pkt->type == MQTT_CONNACK) {
        err_set(err, ERR_PROTOCOL, "a second CONNACK");
        return OVER;
    }
    if (mqtt_check(pkt, MQTT_TO_CLIENT, s->version, &reason, err) != 0)
        return OVER;
    switch (pkt->type) {
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return broker_ack(s, leg, pkt);
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        return broker_suback(s, pkt);
    case MQTT_PINGRESP:
        return broker_pong(s, barrier);
    case MQTT_DISCONNECT:
        return broker_disconnect(s, run, pkt);
    case MQTT_AUTH:
    case MQTT_CONNECT:
    case MQTT_CONNACK:
    case MQTT_PUBLISH:
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
    case MQTT_PINGREQ:
    default:
        return PASS;
    }
}

static void broker_at_fault(struct session *s, const char *what)
{
    struct diag d = {.class = DIAG_PROTOCOL, .name = "mqtt.malformed"};

    if (s->reading_old)
        return; /* that leg is being let go of */
    snprintf(d.sentence, sizeof d.sentence, "the broker sent %.280s", what);
    snprintf(d.remedy, sizeof d.remedy, "report it to whoever runs the broker");
    upstream_lost(s, &d);
}

void relay_from_broker(struct session *s, struct leg *leg, const uint8_t *p, size_t n)
{
    /* The broker's packets may be as large as MQTT allows: the device has its own bound, and said
     * so in CONNECT. */
    struct run run = {0};
    struct mqtt_packet pkt;
    struct err err = {0};
    bool barrier = false;
    uint8_t reason;
    int rc = 0;

    if (s->ping_since_ms != 0)
        s->ping_since_ms = env_now_ms(s->env); /* any packet is a sign of life */

    while (s->state != SESSION_OVER && leg->state == LEG_OPEN &&
           (rc = mqtt_in_next(&leg->in, &p, &n, MQTT_LARGEST_PACKET, &pkt)) == 1) {
        enum verdict v = from_broker(s, leg, &run, &pkt, &barrier, &err);
        if (v == PASS) {
            s->env->stats.packets_out++;
            s->env->stats.bytes_out += pkt.raw_bytes;
            run_pass(&run, s->down, &pkt);
        } else if (v == OVER) {
            if (s->state == SESSION_OVER)
                return;
            run_send(&run);
            broker_at_fault(s, err.msg);
            return;
        }
        if (leg->in.part_done)
            run_send(&run);
        if (barrier)
            break;
    }
    if (s->state == SESSION_OVER)
        return;
    run_send(&run);
    if (rc < 0) {
        broker_at_fault(s, framing_fault(rc, &reason));
        return;
    }
    if (s->reading_old)
        return;
    if (barrier) {
        upstream_barrier_passed(s);
        if (n > 0 && leg == s->up && s->state != SESSION_OVER)
            relay_from_broker(s, leg, p, n);
        return;
    }
    if (s->phase == RH_DRAINING)
        upstream_drained(s);
}

/* ---- for a re-home ---- */

void relay_ping(struct session *s)
{
    struct buf out = {0};

    if (s->up == NULL)
        return;
    s->last_tx_up_ms = env_now_ms(s->env); /* tried: the next one is due later, in any case */
    if (s->pings >= 16)
        return;
    ping_asked(s, true);
    if (mqtt_ping_write(&out, MQTT_PINGREQ) == 0)
        leg_write(s->up, out.p, out.len);
    buf_fini(&out);
    leg_flush(s->up);
}

void relay_answer_pings(struct session *s)
{
    for (; s->pings > 0; s->pings--, s->pings_ours >>= 1)
        if ((s->pings_ours & 1u) == 0)
            answer_ping(s);
    s->pings_ours = 0;
    s->ping_since_ms = 0;
}

/* What the broker has begun need not be over: it repeats that on the next leg, and the device is
 * not shown it again. */
bool relay_drained(const struct session *s)
{
    return s->to_broker.count == 0;
}

static void resend_publish(struct session *s, struct inflight_item *item, bool dup)
{
    /* DUP is bit 3 of the first byte [MQTT-3.3.1-1]. */
    item->raw[0] = (uint8_t)(dup ? item->raw[0] | 0x08u : item->raw[0] & ~0x08u);
    leg_write(s->up, item->raw, item->raw_bytes);
}

/* Returns 1 when a PUBLISH was sent again. */
static uint32_t resume_item(struct session *s, struct inflight_item *item, bool present)
{
    switch ((enum inflight_state)item->state) {
    case INFLIGHT_PUBLISH:
        resend_publish(s, item, present);
        return 1;
    case INFLIGHT_RECEIVED:
        if (present)
            return 0; /* the device's PUBREL is still to come */
        /* The broker that had it never released it, and has forgotten it. */
        item->redo = true;
        resend_publish(s, item, false);
        return 1;
    case INFLIGHT_RELEASED:
        ack_to(s, s->up, MQTT_PUBREL, item->packet_id);
        return 0;
    case INFLIGHT_SUBSCRIBE:
    case INFLIGHT_UNSUBSCRIBE:
    default:
        leg_write(s->up, item->raw, item->raw_bytes);
        return 0;
    }
}

/* Subscribe again to all that was granted, one SUBSCRIBE per subscription identifier. */
static uint32_t resubscribe(struct session *s)
{
    uint32_t restored = 0;
    uint16_t most = UINT16_MAX;

    for (const struct sub *sub = s->subs.first; sub != NULL; sub = sub->next) {
        struct mqtt_filter f = {{sub->filter, sub->filter_bytes}, sub->options};
        struct buf out = {0}, props = {0};
        uint16_t id = inflight_free_id(&s->to_broker, most);
        most = id > 0 ? (uint16_t)(id - 1) : 0;
        if (sub->subscription_id != 0)
            (void)mqtt_props_put_num(&props, MQTT_PROP_SUBSCRIPTION_ID, sub->subscription_id);
        if (id != 0 &&
            mqtt_subscribe_write(&out, s->version, MQTT_SUBSCRIBE, id,
                                 (struct mqtt_props){props.p, (uint32_t)props.len}, &f, 1) == 0) {
            struct inflight_item *item =
                inflight_add(&s->to_broker, id, INFLIGHT_SUBSCRIBE, 0, out.p, (uint32_t)out.len);
            if (item != NULL)
                item->ours = true;
            leg_write(s->up, out.p, out.len);
            restored++;
        }
        buf_fini(&out);
        buf_fini(&props);
    }
    return restored;
}

/* The broker repeats what it has no acknowledgement of [MQTT-4.4.0-1], maybe before it reads those
 * that are on their way. */
static void expect_repetitions(struct session *s)
{
    list_for_each_safe (it, &s->to_device.items) {
        struct inflight_item *item = list_entry(it, struct inflight_item, link);
        item->again = true;
        item->answered = false;
        if (item->acked)
            inflight_del(&s->to_device, item);
    }
}

/* What we asked the former leg for is asked for anew by resubscribe(). */
static void forget_ours(struct session *s)
{
    list_for_each_safe (it, &s->to_broker.items) {
        struct inflight_item *item = list_entry(it, struct inflight_item, link);
        if (item->ours)
            inflight_del(&s->to_broker, item);
    }
}

/* QoS 2 messages whose PUBREL the broker may have seen or not, before it forgot them: sent again
 * they might come twice. */
static uint32_t count_uncertain(const struct session *s)
{
    uint32_t count = 0;

    list_for_each (it, &s->to_broker.items)
        count += list_entry(it, struct inflight_item, link)->state == INFLIGHT_RELEASED;
    return count;
}

void relay_restore(struct session *s, bool session_present, uint32_t *replayed, uint32_t *restored,
                   uint32_t *lost)
{
    *lost = session_present ? 0 : count_uncertain(s);
    for (struct session_alias *a = s->aliases; a != NULL; a = a->next)
        a->told = false;
    if (!session_present || s->leg_lost)
        forget_ours(s);
    list_for_each (it, &s->to_broker.items)
        *replayed += resume_item(s, list_entry(it, struct inflight_item, link), session_present);
    if (session_present)
        expect_repetitions(s);
    /* A 3.1 broker does not say whether it has the session: after an outage it may not. */
    if (session_present && s->version == MQTT_V31 && s->leg_lost)
        *restored = resubscribe(s);
    if (session_present)
        return;
    *restored = resubscribe(s);
    list_for_each_safe (it, &s->to_device.items) {
        struct inflight_item *item = list_entry(it, struct inflight_item, link);
        /* The broker has forgotten it: the device's acknowledgement is of no use to anybody. */
        item->redo = true;
        if (item->state == INFLIGHT_RECEIVED && s->down != NULL)
            ack_to(s, s->down, MQTT_PUBREL, item->packet_id);
    }
}
