/* Packets of the device, on their way to the broker. */
#include "session/evidence.h"
#include "session/relay.h"

#include "base/log.h"
#include "mqtt/publish.h"
#include "session/dialect.h"

/* A device that left waits this long for an uplink that takes its last packets. */
#define LEAVE_MS 30000u

/* What came before the fault was in order, and goes on. */
static void end_malformed(struct session *s, struct run *run, uint8_t reason, const struct err *err)
{
    run_send(run);
    log_event(LOG_MQTT, LOG_WARN_, "bad-packet", "device=%s peer=%s reason=%s msg=%s", s->dev->name,
              s->peer, mqtt_reason_name(reason), LOG_Q(err->msg));
    s->env->stats.downstream_closed_by_us++;
    session_end(s, reason, false, "the device sent a packet that breaks the standard");
}

/* What a PUBLISH with a topic alias means: its topic, and whether the leg has to be told that
 * instead of the alias.  Returns PASS or OVER. */
static enum verdict resolve_alias(struct session *s, struct run *run, const struct mqtt_publish *p,
                                  struct slice *topic, bool *spell_out)
{
    struct err err;

    if (p->topic_alias > s->alias_told) {
        err_set(&err, ERR_PROTOCOL, "topic alias %u, and the maximum is %u [MQTT-3.2.2-17]",
                p->topic_alias, s->alias_told);
        end_malformed(s, run, 0x94, &err);
        return OVER;
    }
    if (p->topic.n > 0) {
        bool known = p->topic_alias <= s->alias_most; /* another broker may allow fewer */
        *spell_out = alias_set(&s->aliases, p->topic_alias, p->topic, known) == 0 && !known;
        return PASS;
    }
    const struct alias *a = alias_find(&s->aliases, p->topic_alias);
    if (a == NULL) {
        err_set(&err, ERR_PROTOCOL, "topic alias %u was never set [MQTT-3.3.4-1]", p->topic_alias);
        end_malformed(s, run, 0x82, &err);
        return OVER;
    }
    *topic = (struct slice){a->topic, a->topic_bytes};
    *spell_out = !a->told; /* this leg does not know the alias: the topic goes instead of it */
    return PASS;
}

/* What the PUBLISH repeats [MQTT-4.4.0-1], or NULL; some forget to say so. */
static struct inflight_item *repeated(const struct session *s, const struct mqtt_publish *p)
{
    if (p->qos == 0 || (p->qos == 1 && !p->dup))
        return NULL;
    return inflight_find(&s->to_broker, p->packet_id,
                         p->dup ? INFLIGHT_ANY_PUBLISH
                                : 1u << INFLIGHT_PUBLISH | 1u << INFLIGHT_RECEIVED);
}

/* A PUBLISH that is more than bytes: it uses or sets a topic alias, its identifier is one that we
 * have taken, or its broker allows less than the device was told. */
static enum verdict publish_apart(struct session *s, struct run *run, const struct mqtt_packet *pkt,
                                  const struct mqtt_publish *p, struct inflight_item *item)
{
    struct mqtt_publish mine = *p;
    struct buf full = {0};
    bool spell_out = false;
    int rc;

    if (pace_must_queue(s, p->qos)) {
        s->env->stats.publishes_up--; /* it comes once more */
        return HOLD;
    }
    if (p->topic_alias != 0 && resolve_alias(s, run, p, &mine.topic, &spell_out) == OVER)
        return OVER;
    if (item != NULL)
        mine.packet_id = item->up_id;
    else if (p->qos > 0 && s->to_broker.odd > 0 &&
             inflight_find_up(&s->to_broker, p->packet_id, INFLIGHT_ANY) != NULL)
        mine.packet_id = inflight_free_id(&s->to_broker, UINT16_MAX);
    rc = p->topic_alias != 0 ? alias_spell_out(&full, &mine, mine.topic)
                             : mqtt_packet_write_as(&full, pkt, mine.packet_id);
    if (rc == 0 && p->qos > 0 && item == NULL) {
        item = inflight_add(&s->to_broker, p->packet_id, INFLIGHT_PUBLISH, p->qos, full.p,
                            (uint32_t)full.len);
        if (item != NULL)
            inflight_name(&s->to_broker, item, p->packet_id, mine.packet_id);
        else
            rc = -ERR_NOMEM;
    }
    bool as_it_is = !spell_out && mine.packet_id == p->packet_id && !s->limited;
    if (rc == 0 && !as_it_is) {
        struct mqtt_packet whole;
        uint32_t need;
        if (p->topic_alias != 0 && p->topic.n > 0)
            alias_untold(&s->aliases, p->topic_alias); /* the topic goes alone */
        run_send(run);
        if (mqtt_packet_peek(full.p, full.len, MQTT_LARGEST_PACKET, &whole, &need) == 1)
            pace_send(s, &whole, item);
        run->sent = true;
    }
    buf_fini(&full);
    if (rc != 0) {
        session_end(s, 0x97, false, "out of memory");
        return OVER;
    }
    return as_it_is ? PASS : TAKE;
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
    struct inflight_item *item = repeated(s, &p);
    if (item != NULL && item->local) { /* the broker has it, under other terms */
        relay_answer(s, MQTT_PUBREC, p.packet_id);
        return TAKE;
    }
    if (p.topic_alias != 0 || s->to_broker.odd > 0 || s->limited)
        return publish_apart(s, run, pkt, &p, item);
    if (p.qos > 0 && item == NULL &&
        inflight_add(&s->to_broker, p.packet_id, INFLIGHT_PUBLISH, p.qos, pkt->raw,
                     pkt->raw_bytes) == NULL) {
        session_end(s, 0x97, false, "out of memory");
        return OVER;
    }
    return PASS;
}

/* PUBREL of the device. */
static enum verdict device_release(struct session *s, struct run *run,
                                   const struct mqtt_packet *pkt, uint16_t packet_id)
{
    struct inflight_item *item = inflight_find(&s->to_broker, packet_id, INFLIGHT_ANY_PUBLISH);

    if (item == NULL) { /* begun on an earlier connection of the device, or ended already */
        (void)inflight_add(&s->to_broker, packet_id, INFLIGHT_RELEASED, 2, NULL, 0);
        return PASS;
    }
    if (item->local) {
        relay_answer(s, MQTT_PUBCOMP, packet_id);
        inflight_del(&s->to_broker, item);
        return TAKE;
    }
    if (item->redo) { /* the broker has it anew, and has not said PUBREC yet */
        item->released = true;
        return TAKE;
    }
    item->state = INFLIGHT_RELEASED;
    if (item->up_id == packet_id)
        return PASS;
    run_pass_as(s, run, s->up, pkt, item->up_id);
    return TAKE;
}

/* PUBACK, PUBREC, PUBCOMP of the device, for a PUBLISH of the broker; and PUBREL for its own. */
static enum verdict device_ack(struct session *s, struct run *run, const struct mqtt_packet *pkt)
{
    struct inflight_item *item;
    struct mqtt_ack a;
    uint8_t reason;

    if (mqtt_ack_read(pkt, s->version, &a, &reason, NULL) != 0)
        return PASS; /* was checked */
    if (pkt->type == MQTT_PUBREL)
        return device_release(s, run, pkt, a.packet_id);
    item = inflight_find(&s->to_device, a.packet_id, INFLIGHT_ANY_PUBLISH);
    bool received = pkt->type == MQTT_PUBREC && a.reason < 0x80;
    uint16_t up_id = item != NULL ? item->up_id : s->forgotten ? 0 : a.packet_id;
    /* A broker that has forgotten the exchange may be about to use its identifier for another one,
     * and would take the answer for that one's. */
    bool early = s->unsure && item != NULL && item->again;
    if (item == NULL) {
        /* begun before we came */
    } else if (received) {
        item->state = up_id != 0 ? INFLIGHT_RECEIVED : INFLIGHT_RELEASED;
        item->answered = !early;
    } else if (item->again && item->state != INFLIGHT_RECEIVED) {
        item->acked = true; /* the repetition must not be delivered */
        item->answered = !early;
    } else {
        inflight_del(&s->to_device, item);
    }
    if (early)
        return TAKE;
    if (up_id == a.packet_id)
        return PASS;
    if (up_id != 0)
        run_pass_as(s, run, s->up, pkt, up_id);
    else if (received) /* the broker has forgotten it: nobody else will release it */
        relay_answer(s, MQTT_PUBREL, a.packet_id);
    return TAKE;
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

/* SUBSCRIBE or UNSUBSCRIBE; under another identifier where we have taken its own. */
static enum verdict pass_request(struct session *s, struct run *run, const struct mqtt_packet *pkt,
                                 uint16_t packet_id)
{
    struct inflight_item *item = NULL;
    uint16_t up_id = packet_id;
    struct buf mine = {0};

    if (s->to_broker.odd > 0 && inflight_find_up(&s->to_broker, packet_id, INFLIGHT_ANY) != NULL)
        up_id = inflight_free_id(&s->to_broker, UINT16_MAX);
    if (mqtt_packet_write_as(&mine, pkt, up_id) == 0)
        item = inflight_add(&s->to_broker, packet_id,
                            pkt->type == MQTT_SUBSCRIBE ? INFLIGHT_SUBSCRIBE : INFLIGHT_UNSUBSCRIBE,
                            0, mine.p, (uint32_t)mine.len);
    buf_fini(&mine);
    if (item == NULL) {
        session_end(s, 0x97, false, "out of memory");
        return OVER;
    }
    inflight_name(&s->to_broker, item, packet_id, up_id);
    if (up_id == packet_id)
        return PASS;
    run_pass_as(s, run, s->up, pkt, up_id);
    return TAKE;
}

static enum verdict device_subscribe(struct session *s, struct run *run,
                                     const struct mqtt_packet *pkt)
{
    struct mqtt_subscribe sub;
    struct err err;
    uint8_t reason;

    if (mqtt_subscribe_read(pkt, s->version, &sub, &reason, &err) != 0)
        return PASS; /* was checked */
    if (s->evidence != NULL)
        evidence_asked(s, &sub, pkt->type);
    if (pkt->type == MQTT_SUBSCRIBE &&
        s->subs.count + new_filters(s, &sub) > s->snap->conf->limits.subscriptions) {
        err_set(&err, ERR_TOO_BIG, "more than limits.subscriptions = %u subscriptions",
                s->snap->conf->limits.subscriptions);
        end_malformed(s, run, 0x97, &err);
        return OVER;
    }
    return pass_request(s, run, pkt, sub.packet_id);
}

static enum verdict device_disconnect(struct session *s, struct run *run,
                                      const struct mqtt_packet *pkt)
{
    struct mqtt_disconnect d = {0};
    struct mqtt_prop_value v;
    struct buf out = {0}, props = {0};
    uint8_t reason;

    run_send(run);
    evidence_leave(s);
    s->said_goodbye = true;
    if (s->up->version != MQTT_V5 || !s->up->keep ||
        mqtt_disconnect_read(pkt, s->version, MQTT_TO_SERVER, &d, &reason, NULL) != 0) {
        dialect_write(s, s->up, pkt->raw, pkt->raw_bytes);
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
    if (mqtt_disconnect_write(&out, s->up->version, &d) == 0)
        leg_write(s->up, out.p, out.len);
    buf_fini(&out);
    buf_fini(&props);
    session_end(s, 0, true, "the device left");
    return OVER;
}

static enum verdict device_ping(struct session *s)
{
    if (s->pings >= 15) { /* it pings faster than the broker answers */
        relay_answer_ping(s);
        return TAKE;
    }
    relay_ping_asked(s, false);
    return PASS;
}

/* While a re-home is under way, exchanges that have begun may finish on the old leg; all else
 * waits. */
static enum verdict while_holding(struct session *s, const struct mqtt_packet *pkt)
{
    struct mqtt_disconnect d = {0};
    uint8_t reason;

    switch (pkt->type) {
    case MQTT_PINGREQ:
        relay_answer_ping(s);
        return TAKE;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        /* Behind the barrier's PINGREQ a broker that is taken over may not read it any more.  So
         * the ends of its exchanges wait, and it repeats them; those of the device's own are waited
         * for. */
        if (s->phase == RH_DRAINING && s->up != NULL &&
            (!s->barrier_asked || pkt->type == MQTT_PUBREL))
            return PASS;
        return HOLD;
    case MQTT_DISCONNECT:
        s->leave_ms = env_now_ms(s->env) + LEAVE_MS;
        s->leaves_will =
            mqtt_disconnect_read(pkt, s->version, MQTT_TO_SERVER, &d, &reason, NULL) == 0 &&
            d.reason == 0x04; /* Disconnect with Will Message */
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

/* While PUBLISHes wait for acknowledgements, these do not overtake them. */
static bool must_queue_behind(struct session *s, const struct mqtt_packet *pkt)
{
    if (!s->limited || s->held.len == 0)
        return false;
    if (pkt->type == MQTT_DISCONNECT)
        s->leave_ms = env_now_ms(s->env) + LEAVE_MS;
    return pkt->type == MQTT_SUBSCRIBE || pkt->type == MQTT_UNSUBSCRIBE ||
           pkt->type == MQTT_DISCONNECT;
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
    } else if (must_queue_behind(s, pkt)) {
        return HOLD;
    }
    switch (pkt->type) {
    case MQTT_PUBLISH:
        return device_publish(s, run, pkt);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return device_ack(s, run, pkt);
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

/* QoS 0 promises nothing, and an uplink that is away for long has to cost something.  A topic alias
 * that is set is needed later. */
static bool may_shed(const struct session *s, const struct mqtt_packet *pkt)
{
    struct mqtt_publish p;
    uint8_t reason;

    return pkt->type == MQTT_PUBLISH && s->held.len > s->snap->conf->limits.queue_bytes &&
           mqtt_publish_read(pkt, s->version, MQTT_TO_SERVER, &p, &reason, NULL) == 0 &&
           p.qos == 0 && (p.topic_alias == 0 || p.topic.n == 0);
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
        if (s->shedding && may_shed(s, pkt)) {
            s->env->stats.publishes_shed++;
            s->shed++;
            return true;
        }
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

void relay_from_device(struct session *s, const uint8_t *p, size_t n)
{
    uint32_t most = s->snap->conf->limits.packet_bytes;
    struct run run = {.s = s};
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
        err_set(&err, ERR_MALFORMED, "%s", relay_framing_fault(rc, &reason));
        end_malformed(s, &run, reason, &err);
    } else if (s->phase != RH_IDLE) {
        upstream_drained(s);
        session_arm(s);
    }
}

void relay_release(struct session *s)
{
    struct buf held = s->held;
    struct run run = {.s = s};
    struct mqtt_packet pkt;
    size_t at = 0;
    uint32_t need;

    if (s->limited)
        pace_unsent(s);
    if (s->shed > 0)
        log_event(LOG_SESSION, LOG_WARN_, "held-dropped", "device=%s count=%llu msg=%s todo=%s",
                  s->dev->name, (unsigned long long)s->shed,
                  LOG_Q("QoS 0 publishes beyond limits.queue_bytes, while there was no uplink"),
                  LOG_Q("raise limits.queue_bytes, or let the sensor publish at QoS 1"));
    s->shedding = false;
    s->shed = 0;
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
