/* The device's PUBLISHes on a leg whose broker allows less than the device was told (see
 * session/limits.h).
 *
 * What exceeds Receive Maximum waits, in its order: repetitions in the list of exchanges (unsent),
 * what comes from the device behind them in `held`, and behind that in the device's socket.
 * Acknowledgements never wait: they are what makes room.
 *
 * A message whose QoS is lowered is acknowledged to the device as it expects, when its broker has
 * it: at QoS 1 PUBACK says so, at QoS 0 the answer to a PINGREQ behind it, since a broker handles
 * what comes on a connection in its order.
 */
#include "session/relay.h"

#include "base/log.h"
#include "session/dialect.h"
#include "session/evidence.h"

/* So long a message that is too large for a broker on trial waits for main to go back. */
#define VERDICT_MS     5000u
#define QUOTA_EXCEEDED 0x97 /* PUBACK and PUBREC have no code for size */

static struct inflight_item *item_at(struct list *it)
{
    return list_entry(it, struct inflight_item, link);
}

static bool is_publish(const struct inflight_item *item)
{
    return (1u << item->state & INFLIGHT_ANY_PUBLISH) != 0;
}

bool pace_full(const struct session *s)
{
    uint32_t count = 0;

    if (!s->limited)
        return false;
    list_for_each (it, &s->to_broker.items) {
        const struct inflight_item *item = item_at(it);
        count += is_publish(item) && !item->unsent && !item->local && item->sent_qos > 0;
    }
    return count >= s->limits.receive_most;
}

static bool any_unsent(const struct session *s)
{
    list_for_each (it, &s->to_broker.items)
        if (item_at(it)->unsent)
            return true;
    return false;
}

bool pace_must_queue(const struct session *s, uint8_t qos)
{
    return s->limited && (s->held.len > 0 || any_unsent(s) || (qos > 0 && pace_full(s)));
}

/* Bytes of the packet on the leg. */
static uint64_t bytes_there(const struct leg *leg, const struct mqtt_packet *pkt)
{
    const struct dialect *d = leg->dialect;
    uint64_t body = pkt->body_bytes;

    if (d == NULL)
        return pkt->raw_bytes;
    body += d->out.prefix.n + (d->out.from != MQTT_V5 && d->out.to == MQTT_V5); /* no properties */
    return 1 + (body < 128 ? 1u : body < 16384 ? 2u : body < 2097152 ? 3u : 4u) + body;
}

/* Nothing will be said about it: it went with QoS 0. */
static bool went_unanswerable(const struct inflight_item *item)
{
    return is_publish(item) && !item->unsent && !item->local && item->sent_qos == 0;
}

/* Behind a QoS 0 copy: its answer is the acknowledgement. */
static void ask_behind(struct session *s)
{
    uint16_t before = s->pings;

    list_for_each (it, &s->to_broker.items)
        if (item_at(it)->pinged)
            return; /* when that one is answered, there is another */
    (void)relay_ping(s);
    if (s->pings == before)
        return; /* too many are under way: when one is answered */
    list_for_each (it, &s->to_broker.items)
        item_at(it)->pinged = went_unanswerable(item_at(it));
}

static void lower(struct session *s, const struct mqtt_publish *p, struct inflight_item *item)
{
    struct buf out = {0};

    s->env->stats.publishes_lowered++;
    if (item != NULL && s->limits.qos_most < p->qos)
        item->sent_qos = s->limits.qos_most;
    bool ask = item != NULL && item->sent_qos == 0;
    if (limits_lower(&s->limits, s->version, p, &out) == 0)
        dialect_write(s, s->up, out.p, out.len); /* `item` may be over by it */
    buf_fini(&out);
    if (ask)
        ask_behind(s);
}

/* The former broker took such messages, and will have this one, too: the trial ends by it. */
static bool awaits_verdict(struct session *s, const struct mqtt_publish *p,
                           struct inflight_item *item)
{
    uint64_t now = env_now_ms(s->env);

    if (item == NULL)
        return false;
    if (s->verdict_ms == 0 && evidence_unsendable(s, p->topic, QUOTA_EXCEEDED)) {
        s->verdict_ms = now + VERDICT_MS;
        session_arm(s);
    }
    item->unsent = now < s->verdict_ms;
    return item->unsent;
}

void pace_send(struct session *s, const struct mqtt_packet *pkt, struct inflight_item *item)
{
    struct mqtt_publish p;
    uint8_t reason;

    if (item != NULL) {
        item->unsent = false;
        item->sent_qos = item->qos;
    }
    if (!s->limited || mqtt_publish_read(pkt, s->version, MQTT_TO_SERVER, &p, &reason, NULL) != 0)
        dialect_write(s, s->up, pkt->raw, pkt->raw_bytes);
    else if (bytes_there(s->up, pkt) > s->limits.packet_bytes) {
        if (!awaits_verdict(s, &p, item))
            relay_unspeakable(s, s->up, pkt, QUOTA_EXCEEDED,
                              "a PUBLISH is larger than what the broker takes, by its Maximum "
                              "Packet Size");
    } else if (!limits_allow(&s->limits, &p))
        lower(s, &p, item);
    else
        dialect_write(s, s->up, pkt->raw, pkt->raw_bytes);
}

void pace_send_item(struct session *s, struct inflight_item *item)
{
    struct mqtt_packet pkt;
    uint32_t need;

    if (mqtt_packet_peek(item->raw, item->raw_bytes, MQTT_LARGEST_PACKET, &pkt, &need) == 1)
        pace_send(s, &pkt, item);
}

void pace_unsent(struct session *s)
{
    list_for_each_safe (it, &s->to_broker.items) {
        if (!item_at(it)->unsent)
            continue;
        if (pace_full(s) || env_now_ms(s->env) < s->verdict_ms)
            return;
        pace_send_item(s, item_at(it));
    }
}

void pace_more(struct session *s)
{
    if (s->limited && !s->holding && s->up != NULL && s->state == SESSION_RELAYING)
        relay_release(s);
}

uint64_t pace_due(const struct session *s)
{
    return s->verdict_over ? 0 : s->verdict_ms;
}

void pace_late(struct session *s)
{
    s->verdict_over = true;
    pace_more(s);
}

void pace_received(struct session *s, struct inflight_item *item)
{
    if (!item->redo)
        relay_answer(s, item->qos == 2 ? MQTT_PUBREC : MQTT_PUBACK, item->packet_id);
    if (item->redo && item->released)
        relay_answer(s, MQTT_PUBCOMP, item->packet_id);
    if (item->qos < 2 || item->released) {
        inflight_del(&s->to_broker, item);
        return;
    }
    item->state = INFLIGHT_RECEIVED;
    item->redo = item->pinged = false;
    item->local = true; /* the device's PUBREL is still to come */
}

void pace_ponged(struct session *s)
{
    bool behind_barrier = s->phase == RH_BARRIER || s->barrier_met;
    bool more = false;

    list_for_each_safe (it, &s->to_broker.items) {
        struct inflight_item *item = item_at(it);
        /* Nothing was sent behind the barrier's PINGREQ. */
        if (item->pinged || (behind_barrier && went_unanswerable(item)))
            pace_received(s, item);
        else
            more |= went_unanswerable(item);
    }
    if (more && (!s->holding || s->phase == RH_DRAINING))
        ask_behind(s);
}

void pace_tell(const struct session *s)
{
    if (!s->limited)
        return;
    log_event(LOG_SESSION, LOG_NOTICE_, "broker-allows-less",
              "device=%s slot=%s receive_maximum=%u maximum_qos=%u maximum_packet_size=%u "
              "retain_available=%d msg=%s",
              s->dev->name, flip_slot_name(s->have), s->limits.receive_most, s->limits.qos_most,
              s->limits.packet_bytes, s->limits.retains,
              LOG_Q("than the device was told; the difference is kept from it"));
}
