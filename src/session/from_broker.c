/* Packets of the broker, on their way to the device. */
#include "session/blame.h"
#include "session/relay.h"

#include <stdio.h>

#include "base/log.h"
#include "mqtt/publish.h"
#include "mqtt/topic.h"
#include "session/dialect.h"
#include "session/evidence.h"

/* A read's worth of packets, so that they go on in one write. */
#define ROOM_BYTES 16384u

#define RETAIN_AS_PUBLISHED 0x08u /* subscription options (MQTT 5.0, 3.8.3.1) */
#define RETAIN_HANDLING     0x30u
#define RETAIN_NEVER        0x20u

/* The broker sends again what it has no acknowledgement of; the device has had it. */
static void repeated(struct session *s, struct leg *leg, struct inflight_item *item)
{
    item->again = false;
    if (item->acked) {
        if (!item->answered)
            relay_ack(s, leg, MQTT_PUBACK, item->up_id);
        inflight_del(&s->to_device, item);
    } else if (item->state != INFLIGHT_PUBLISH && !item->answered) {
        item->answered = true;
        relay_ack(s, leg, MQTT_PUBREC, item->up_id);
    }
}

/* The device is not shown a PUBLISH that sets a topic alias. */
static void hide_alias(struct session *s, const struct mqtt_publish *p)
{
    if (p->topic_alias != 0 && p->topic.n > 0)
        (void)alias_set(&s->down_aliases, p->topic_alias, p->topic, false);
}

/* The topic of a PUBLISH, and whether its alias means nothing to the device.  Empty: the alias was
 * set before anybody cared. */
static struct slice topic_of(struct session *s, const struct mqtt_publish *p, bool *spell_out)
{
    if (p->topic_alias == 0)
        return p->topic;
    if (p->topic.n > 0) {
        if (s->retained.cap > 0 || alias_find(&s->down_aliases, p->topic_alias) != NULL)
            (void)alias_set(&s->down_aliases, p->topic_alias, p->topic, true);
        return p->topic;
    }
    const struct alias *a = alias_find(&s->down_aliases, p->topic_alias);
    if (a == NULL)
        return p->topic;
    *spell_out = !a->told;
    return (struct slice){a->topic, a->topic_bytes};
}

static bool asks_for(const struct session *s, const struct inflight_item *item, struct slice topic)
{
    struct mqtt_packet pkt;
    struct mqtt_subscribe sub;
    struct mqtt_filter f;
    uint32_t need, at = 0;
    uint8_t reason;

    if (item->state != INFLIGHT_SUBSCRIBE || item->ours ||
        mqtt_packet_peek(item->raw, item->raw_bytes, MQTT_LARGEST_PACKET, &pkt, &need) != 1 ||
        mqtt_subscribe_read(&pkt, s->version, &sub, &reason, NULL) != 0)
        return false;
    while (mqtt_subscribe_next(&sub, MQTT_SUBSCRIBE, &at, &f))
        if (!mqtt_filter_is_shared(f.filter) && mqtt_filter_matches(f.filter, topic))
            return true;
    return false;
}

/* Does a message with RETAIN come because of subscriptions that we have restored, and of none that
 * the device has asked for since?  Its own count from the SUBSCRIBE on, since the messages may
 * precede SUBACK (MQTT 3.1.1, 3.8.4). */
static bool due_to_us(struct session *s, struct slice topic)
{
    unsigned ours = 0;
    bool live = false;

    for (const struct sub *sub = s->subs.first; sub != NULL; sub = sub->next) {
        struct slice filter = {sub->filter, sub->filter_bytes};
        if (mqtt_filter_is_shared(filter) || !mqtt_filter_matches(filter, topic))
            continue; /* nothing retained is sent to shared ones [MQTT 5.0, 4.8.2] */
        if (!sub->restored)
            return false;
        ours += (sub->options & RETAIN_HANDLING) != RETAIN_NEVER;
        live |= (sub->options & RETAIN_AS_PUBLISHED) != 0;
    }
    list_for_each (it, &s->to_broker.items)
        if (asks_for(s, list_entry(it, struct inflight_item, link), topic))
            return false;
    /* With Retain As Published it may just have been published: one for each subscription is due
     * to us. */
    return ours > 0 && (!live || retained_copies(&s->retained, topic) < ours);
}

/* Must the device not see it, since it has had it and did not subscribe anew?  Else it is what the
 * device has had last. */
static bool keep_back(struct session *s, struct slice topic, const struct mqtt_publish *p)
{
    if (topic.n == 0) {
        retained_forget(&s->retained);
        return false;
    }
    if (!p->retain || !s->restoring || !due_to_us(s, topic) ||
        !retained_had(&s->retained, topic, p)) {
        retained_note(&s->retained, topic, p);
        return false;
    }
    s->env->stats.retained_suppressed++;
    if (!s->kept_back)
        log_event(LOG_SESSION, LOG_INFO_, "retained-kept-back",
                  "device=%s topic=" SLICE_FMT " msg=%s", s->dev->name, SLICE_ARG(topic),
                  LOG_Q("the broker had lost the session, and sends what is retained because the "
                        "subscriptions were restored; the device has had it (and so for others)"));
    s->kept_back = true;
    return true;
}

/* What the device does not see is acknowledged for it. */
static void answer_for_the_device(struct session *s, struct leg *leg, const struct mqtt_publish *p)
{
    struct inflight_item *item;

    if (p->qos == 1)
        relay_ack(s, leg, MQTT_PUBACK, p->packet_id);
    if (p->qos < 2)
        return;
    item = inflight_add(&s->to_device, p->packet_id, INFLIGHT_RECEIVED, 2, NULL, 0);
    if (item == NULL)
        return; /* the broker repeats it on the next leg */
    inflight_name(&s->to_device, item, 0, p->packet_id);
    item->answered = true;
    relay_ack(s, leg, MQTT_PUBREC, p->packet_id);
}

/* It goes to the device, under the id given, and with its topic if the device does not know the
 * alias. */
static enum verdict deliver(struct session *s, struct run *run, const struct mqtt_packet *pkt,
                            const struct mqtt_publish *p, uint16_t id, const struct slice *topic)
{
    struct mqtt_publish mine = *p;
    struct mqtt_packet spelt;
    struct buf out = {0};
    uint32_t need;

    if (topic == NULL && id == p->packet_id)
        return PASS;
    mine.packet_id = id;
    if (topic == NULL)
        run_pass_as(s, run, s->down, pkt, id);
    else if (alias_spell_out(&out, &mine, *topic) == 0 &&
             mqtt_packet_peek(out.p, out.len, MQTT_LARGEST_PACKET, &spelt, &need) == 1)
        run_pass_as(s, run, s->down, &spelt, id);
    buf_fini(&out);
    return TAKE;
}

static enum verdict broker_publish(struct session *s, struct leg *leg, struct run *run,
                                   const struct mqtt_packet *pkt, struct err *err)
{
    struct inflight_item *item = NULL;
    struct mqtt_publish p;
    bool spell_out = false;
    uint8_t reason;

    if (mqtt_publish_read(pkt, s->version, MQTT_TO_CLIENT, &p, &reason, err) != 0)
        return OVER;
    s->env->stats.publishes_down++;
    if (p.qos > 0)
        item = inflight_find_up(&s->to_device, p.packet_id, INFLIGHT_ANY_PUBLISH);
    if (item != NULL && p.dup) {
        hide_alias(s, &p);
        repeated(s, leg, item);
        return TAKE;
    }
    if (item != NULL) { /* a new message under its id */
        run_send(run);
        relay_forgotten(s, item);
    }
    if (s->evidence != NULL && evidence_hears(s, &p, topic_of(s, &p, &spell_out))) {
        hide_alias(s, &p);
        answer_for_the_device(s, leg, &p);
        evidence_heard(s, leg, &p);
        return TAKE;
    }
    if ((p.retain || s->retained.cap > 0) && keep_back(s, topic_of(s, &p, &spell_out), &p)) {
        hide_alias(s, &p);
        answer_for_the_device(s, leg, &p);
        return TAKE;
    }
    struct slice topic = topic_of(s, &p, &spell_out);
    /* Does the device still use the id for an exchange that its broker has forgotten? */
    uint16_t id = p.packet_id;
    if (p.qos > 0 && s->to_device.odd > 0 &&
        inflight_find(&s->to_device, id, INFLIGHT_ANY_PUBLISH) != NULL) {
        id = inflight_free_id(&s->to_device, UINT16_MAX);
        if (id == 0) {
            err_set(err, ERR_PROTOCOL, "a PUBLISH while every packet identifier is in use");
            return OVER;
        }
    }
    if (p.qos > 0)
        item = inflight_add(&s->to_device, p.packet_id, INFLIGHT_PUBLISH, p.qos, NULL, 0);
    if (p.qos > 0 && item != NULL)
        inflight_name(&s->to_device, item, id, p.packet_id);
    return deliver(s, run, pkt, &p, id, spell_out ? &topic : NULL);
}

/* PUBREL of the broker. */
static enum verdict broker_release(struct session *s, struct leg *leg, struct run *run,
                                   const struct mqtt_packet *pkt, uint16_t up_id)
{
    struct inflight_item *item = inflight_find_up(&s->to_device, up_id, INFLIGHT_ANY_PUBLISH);

    if (item == NULL) {
        if (s->inherited && (s->to_device.odd == 0 ||
                             inflight_find(&s->to_device, up_id, INFLIGHT_ANY_PUBLISH) == NULL))
            return PASS; /* begun before we came */
        /* The device is through, and its PUBCOMP was lost with a leg. */
        relay_ack(s, leg, MQTT_PUBCOMP, up_id);
        return TAKE;
    }
    if (item->packet_id == 0) { /* kept back */
        relay_ack(s, leg, MQTT_PUBCOMP, up_id);
        inflight_del(&s->to_device, item);
        return TAKE;
    }
    if (item->acked) {
        if (!item->answered)
            relay_ack(s, leg, MQTT_PUBCOMP, up_id);
        inflight_del(&s->to_device, item);
        return TAKE;
    }
    bool again = item->again && item->state == INFLIGHT_RELEASED;
    item->again = false;
    if (again)
        return TAKE; /* the device has had it, and will answer */
    item->state = INFLIGHT_RELEASED;
    if (item->packet_id == up_id)
        return PASS;
    run_pass_as(s, run, s->down, pkt, item->packet_id);
    return TAKE;
}

/* A message that its device was told is received, and the broker that now gets it refuses it. */
static void refused_anew(struct session *s, struct inflight_item *item, uint8_t reason)
{
    s->env->stats.rehome_lost++;
    log_event(LOG_SESSION, LOG_WARN_, "message-lost", "device=%s qos=2 reason=%s msg=%s",
              s->dev->name, mqtt_reason_name(reason),
              LOG_Q("the former broker had received it, lost the session, and the message is "
                    "refused now: check the identity's permissions"));
    if (item->released) {
        relay_answer(s, MQTT_PUBCOMP, item->packet_id);
        inflight_del(&s->to_broker, item);
        return;
    }
    item->redo = false;
    item->local = true; /* the device's PUBREL is still to come */
}

/* The broker refused a PUBLISH, and says so in 5.0's words.  The first one on a leg is worth a
 * line. */
static void note_denied(struct session *s, struct leg *leg, const struct mqtt_packet *pkt,
                        uint8_t denied)
{
    uint8_t code = denied == 0 && pkt->body_bytes > 2 ? pkt->body[2] : denied;

    if (code < 0x80 || (pkt->type != MQTT_PUBACK && pkt->type != MQTT_PUBREC))
        return;
    s->env->stats.publishes_denied++;
    log_event(LOG_MQTT, leg->denied++ == 0 ? LOG_WARN_ : LOG_DEBUG_, "publish-denied",
              "device=%s slot=%s packet=%s reason=%s todo=%s", s->dev->name,
              flip_slot_name(leg->slot), mqtt_type_name(pkt->type), mqtt_reason_name(code),
              LOG_Q("check at the broker what this identity may publish"));
}

/* PUBREC of the broker.  `denied`: see broker_ack. */
static enum verdict broker_received(struct session *s, struct leg *leg, struct inflight_item *item,
                                    const struct mqtt_ack *a, uint8_t denied)
{
    if (item->redo && denied != 0) {
        refused_anew(s, item, denied);
        return TAKE;
    }
    if (denied != 0) { /* a 3.x device knows no refusal: it is led through the exchange */
        item->local = true;
        item->state = INFLIGHT_RECEIVED;
        return PASS;
    }
    if (item->redo && a->reason >= 0x80) {
        refused_anew(s, item, a->reason);
        return TAKE;
    }
    if (a->reason >= 0x80) {
        return PASS;
    }
    if (item->redo) { /* the device has had its PUBREC for this one */
        item->redo = false;
        if (item->released) {
            item->state = INFLIGHT_RELEASED;
            relay_ack(s, leg, MQTT_PUBREL, item->up_id);
        }
        return TAKE;
    }
    if (item->state == INFLIGHT_PUBLISH)
        item->state = INFLIGHT_RECEIVED;
    return PASS;
}

/* PUBACK for a PUBLISH that went with less QoS than its device's. */
static enum verdict broker_took(struct session *s, struct run *run, struct inflight_item *item,
                                const struct mqtt_ack *a, uint8_t denied)
{
    uint8_t code = denied != 0 ? denied : a->reason;
    struct buf out = {0};

    run_send(run);
    if (code >= 0x80 && item->redo) {
        refused_anew(s, item, code);
    } else if (code >= 0x80 && denied == 0) {
        if (mqtt_ack_write(&out, s->version, MQTT_PUBREC,
                           &(struct mqtt_ack){.packet_id = item->packet_id, .reason = code}) == 0 &&
            s->down != NULL)
            leg_write(s->down, out.p, out.len);
        inflight_del(&s->to_broker, item);
    } else {
        pace_received(s, item);
    }
    buf_fini(&out);
    return TAKE;
}

/* PUBACK, PUBREC, PUBCOMP for a PUBLISH of the device; and PUBREL for one of the broker.  `denied`:
 * the reason code that the packet lost on its way into the device's dialect; 0: none. */
static enum verdict broker_ack(struct session *s, struct leg *leg, struct run *run,
                               const struct mqtt_packet *pkt, uint8_t denied)
{
    struct inflight_item *item;
    struct mqtt_ack a;
    uint8_t reason;

    if (mqtt_ack_read(pkt, s->version, &a, &reason, NULL) != 0)
        return PASS; /* was checked */
    if (pkt->type == MQTT_PUBREL)
        return broker_release(s, leg, run, pkt, a.packet_id);
    item = inflight_find_up(&s->to_broker, a.packet_id, INFLIGHT_ANY_PUBLISH);
    if (item == NULL)
        return s->state == SESSION_RELAYING && pkt->type != MQTT_PUBREC ? TAKE : PASS; /* stale */
    uint16_t packet_id = item->packet_id;
    if (pkt->type == MQTT_PUBACK && item->qos == 2)
        return broker_took(s, run, item, &a, denied);
    if (pkt->type == MQTT_PUBREC && broker_received(s, leg, item, &a, denied) == TAKE)
        return TAKE;
    if (pkt->type != MQTT_PUBREC || a.reason >= 0x80) {
        /* A PUBREL that was repeated after its answer was lost: no news for the device. */
        bool known = pkt->type == MQTT_PUBCOMP && a.reason == 0x92 && item->again;
        inflight_del(&s->to_broker, item);
        if (known) {
            run_send(run);
            relay_answer(s, MQTT_PUBCOMP, packet_id);
            return TAKE;
        }
    }
    if (packet_id == a.packet_id)
        return PASS;
    run_pass_as(s, run, s->down, pkt, packet_id);
    return TAKE;
}

/* The broker has not taken one of the subscriptions that it had granted before. */
static void restore_refused(struct session *s, const struct inflight_item *item, uint8_t code)
{
    struct mqtt_packet pkt;
    struct mqtt_subscribe sub;
    struct mqtt_filter f = {0};
    uint32_t need, at = 0;
    uint8_t reason;

    if (mqtt_packet_peek(item->raw, item->raw_bytes, MQTT_LARGEST_PACKET, &pkt, &need) == 1 &&
        mqtt_subscribe_read(&pkt, s->version, &sub, &reason, NULL) == 0)
        (void)mqtt_subscribe_next(&sub, MQTT_SUBSCRIBE, &at, &f);
    s->env->stats.restore_refused++;
    log_event(LOG_SESSION, LOG_WARN_, "restore-refused",
              "device=%s filter=" SLICE_FMT " code=0x%02x msg=%s", s->dev->name,
              SLICE_ARG(f.filter), code,
              LOG_Q("the broker refused a subscription that was granted before its session was "
                    "lost: check the identity's permissions"));
}

static enum verdict broker_suback(struct session *s, struct run *run, const struct mqtt_packet *pkt)
{
    struct mqtt_suback ack;
    uint8_t reason;

    if (mqtt_suback_read(pkt, s->version, &ack, &reason, NULL) != 0)
        return PASS; /* was checked */
    struct inflight_item *item = inflight_find_up(
        &s->to_broker, ack.packet_id, 1u << INFLIGHT_SUBSCRIBE | 1u << INFLIGHT_UNSUBSCRIBE);
    if (item == NULL)
        return TAKE; /* nobody asked on this leg */
    bool ours = item->ours;
    uint16_t packet_id = item->packet_id;
    if (!ours)
        (void)subs_apply(&s->subs, s->version, item->raw, item->raw_bytes, ack.codes);
    else if (ack.codes.n > 0 && ack.codes.p[0] >= 0x80)
        restore_refused(s, item, ack.codes.p[0]);
    inflight_del(&s->to_broker, item);
    if (ours)
        return TAKE;
    if (packet_id == ack.packet_id)
        return PASS;
    run_pass_as(s, run, s->down, pkt, packet_id);
    return TAKE;
}

/* Returns true when the barrier was passed by it. */
static enum verdict broker_pong(struct session *s, struct run *run, bool *barrier)
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
    if (s->unsure && s->pings_ours == 0) {
        run_send(run);
        relay_sure(s);
    }
    s->barrier_met = s->barrier_asked && s->phase == RH_DRAINING && s->pings_ours == 0;
    if (s->limited && s->pings_ours == 0)
        pace_ponged(s);
    upstream_answers(s);
    *barrier = s->phase == RH_BARRIER && s->pings_ours == 0;
    if (s->evidence != NULL)
        evidence_ponged(s);
    return TAKE;
}

/* Taken over by us: the candidate has said CONNECT; or another worker has let the device in, and
 * main is about to end this session. */
static bool is_our_doing(const struct session *s, uint8_t reason)
{
    return s->phase == RH_SWITCHING || s->phase == RH_LEAVING || s->reading_old ||
           (reason == 0x8E && presence_count(s->dev->presence) > 1);
}

static struct diag said_reason(struct session *s, const struct leg *leg,
                               const struct mqtt_disconnect *m)
{
    s->env->stats.taken_over += m->reason == 0x8E;
    return blame_disconnect(leg, m);
}

/* A 5.0 server ended it with a reason, which a 3.x device cannot be told: for it the uplink is
 * lost. */
static enum verdict broker_ended(struct session *s, struct leg *leg, struct run *run,
                                 const struct mqtt_packet *pkt, struct err *err)
{
    struct mqtt_disconnect d;
    uint8_t reason;

    if (mqtt_disconnect_read(pkt, leg->version, MQTT_TO_CLIENT, &d, &reason, err) != 0)
        return OVER;
    if (is_our_doing(s, d.reason))
        return TAKE;
    run_send(run);
    struct diag diag = said_reason(s, leg, &d);
    upstream_lost(s, &diag);
    return TAKE;
}

/* Is a DISCONNECT about this leg alone (5.0, 3.14.2.1)?  The device hears what it did wrong itself,
 * and what the broker does not support; where the leg can be had again it need not know. */
static bool is_about_leg(const struct session *s, uint8_t reason, const struct diag *d)
{
    bool trial =
        s->have == FLIP_NEW && s->dev->active == FLIP_NEW && s->dev->cred[FLIP_OLD] != NULL;

    switch (reason) {
    case 0x89: /* Server busy */
    case 0x8B: /* Server shutting down */
    case 0x8D: /* Keep Alive timeout: ours, unless the device is silent */
    case 0x8E: /* Session taken over: by a stranger, or by the device through another gateway */
    case 0x97: /* Quota exceeded */
    case 0x98: /* Administrative action */
    case 0x9C: /* Use another server: the device's server is this gateway */
    case 0x9D: /* Server moved */
    case 0x9F: /* Connection rate exceeded */
    case 0xA0: /* Maximum connect time */
        return true;
    default: /* Not authorized, say: by the old identity it is the device that may not */
        return trial && (d->class == DIAG_IDENTITY || d->class == DIAG_SUSPECT);
    }
}

static enum verdict broker_disconnect(struct session *s, struct leg *leg, struct run *run,
                                      const struct mqtt_packet *pkt)
{
    struct mqtt_disconnect m;
    uint8_t reason;

    if (mqtt_disconnect_read(pkt, s->version, MQTT_TO_CLIENT, &m, &reason, NULL) != 0)
        return PASS; /* was checked */
    if (is_our_doing(s, m.reason))
        return TAKE;
    bool held = upstream_profile(s, s->have, NULL)->uplink_lost == CONF_UPLINK_HOLD;
    struct diag d = said_reason(s, leg, &m);
    if (is_about_leg(s, m.reason, &d) && (held || d.class == DIAG_IDENTITY)) {
        run_send(run);
        upstream_lost(s, &d);
        return s->state == SESSION_OVER ? OVER : TAKE;
    }
    run_pass(run, s->down, pkt);
    run_send(run);
    s->said_goodbye = true; /* the broker closes: nothing is to be said to it [MQTT-3.14.4-2] */
    session_end(s, 0, true, "the broker sent DISCONNECT");
    return OVER;
}

static enum verdict from_broker(struct session *s, struct leg *leg, struct run *run,
                                const struct mqtt_packet *pkt, uint8_t denied, bool *barrier,
                                struct err *err)
{
    uint8_t reason;

    if (pkt->type == MQTT_PUBLISH)
        return broker_publish(s, leg, run, pkt, err);
    if (pkt->type == MQTT_CONNACK) {
        err_set(err, ERR_PROTOCOL, "a second CONNACK");
        return OVER;
    }
    if (mqtt_check(pkt, MQTT_TO_CLIENT, s->version, &reason, err) != 0)
        return OVER;
    if (s->evidence != NULL && evidence_takes(s, leg, pkt, denied))
        return TAKE;
    evidence_watch(s, leg, pkt, denied);
    switch (pkt->type) {
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        note_denied(s, leg, pkt, denied);
        return broker_ack(s, leg, run, pkt, denied);
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        return broker_suback(s, run, pkt);
    case MQTT_PINGRESP:
        return broker_pong(s, run, barrier);
    case MQTT_DISCONNECT:
        return broker_disconnect(s, leg, run, pkt);
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
    struct diag d = diag_of(catalogue_by_code(CATALOGUE_END, END_MALFORMED), NULL);

    if (s->reading_old)
        return; /* that leg is being let go of */
    snprintf(d.sentence, sizeof d.sentence, "the broker sent %.280s", what);
    upstream_lost(s, &d);
}

/* *pkt in the device's words.  Packets that were passed on lie side by side in `room` until they
 * are sent: when it has to move they go first. */
static enum verdict translate(struct session *s, struct leg *leg, struct run *run, struct buf *room,
                              struct mqtt_packet *pkt, uint8_t *denied, struct err *err)
{
    if (pkt->type == MQTT_DISCONNECT && s->version != MQTT_V5 && leg->version == MQTT_V5)
        return broker_ended(s, leg, run, pkt, err);
    if (room->cap - room->len < pkt->raw_bytes) {
        run_send(run);
        room->len = 0;
        if (buf_reserve(room, pkt->raw_bytes < ROOM_BYTES ? ROOM_BYTES : pkt->raw_bytes) != 0) {
            err_set(err, ERR_NOMEM, "a packet for which there is no memory");
            return OVER;
        }
    }
    return dialect_hear(leg->dialect, room, pkt, pkt, denied, err) == 0 ? PASS : OVER;
}

void relay_from_broker(struct session *s, struct leg *leg, const uint8_t *p, size_t n)
{
    /* The broker's packets may be as large as MQTT allows: the device has its own bound, and said
     * so in CONNECT. */
    struct run run = {.s = s};
    struct mqtt_packet pkt;
    struct err err = {0};
    struct buf room = {0}; /* what the leg's dialect needs */
    bool barrier = false;
    uint8_t reason;
    int rc = 0;

    if (s->ping_since_ms != 0)
        s->ping_since_ms = env_now_ms(s->env); /* any packet is a sign of life */

    while (s->state != SESSION_OVER && leg->state == LEG_OPEN &&
           (rc = mqtt_in_next(&leg->in, &p, &n, MQTT_LARGEST_PACKET, &pkt)) == 1) {
        uint8_t denied = 0;
        enum verdict v =
            leg->dialect == NULL ? PASS : translate(s, leg, &run, &room, &pkt, &denied, &err);
        if (v == PASS)
            v = from_broker(s, leg, &run, &pkt, denied, &barrier, &err);
        if (v == PASS) {
            s->env->stats.packets_out++;
            s->env->stats.bytes_out += pkt.raw_bytes;
            run_pass(&run, s->down, &pkt);
        } else if (v == OVER) {
            if (s->state != SESSION_OVER) {
                run_send(&run);
                broker_at_fault(s, err.msg);
            }
            buf_fini(&room);
            return;
        }
        if (leg->in.part_done)
            run_send(&run);
        if (barrier)
            break;
    }
    if (s->state != SESSION_OVER)
        run_send(&run);
    buf_fini(&room);
    if (s->state == SESSION_OVER)
        return;
    if (rc < 0) {
        broker_at_fault(s, relay_framing_fault(rc, &reason));
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
    if (s->limited)
        pace_more(s);
    if (s->state != SESSION_OVER && s->phase == RH_DRAINING)
        upstream_drained(s);
}

/* ---- what cannot be said ---- */

static void put_codes(struct buf *out, uint8_t code, uint32_t count)
{
    while (count-- > 0)
        (void)buf_append_u8(out, code);
}

/* The answer of a broker that refuses the packet, in the device's version.  Nothing: none is due.
 */
static void refusal(const struct session *s, const struct mqtt_packet *pkt, uint8_t code,
                    struct buf *out)
{
    struct mqtt_publish p;
    struct mqtt_subscribe sub;
    struct mqtt_suback ack = {.packet_id = mqtt_packet_id(pkt)};
    struct buf codes = {0};
    uint8_t reason;

    if (pkt->type == MQTT_PUBLISH &&
        mqtt_publish_read(pkt, s->version, MQTT_TO_SERVER, &p, &reason, NULL) == 0 && p.qos > 0) {
        (void)mqtt_ack_write(out, s->version, p.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC,
                             &(struct mqtt_ack){.packet_id = p.packet_id, .reason = code});
    } else if ((pkt->type == MQTT_SUBSCRIBE || pkt->type == MQTT_UNSUBSCRIBE) &&
               mqtt_subscribe_read(pkt, s->version, &sub, &reason, NULL) == 0) {
        /* 3.1 has no refusal: see mqtt/convert.h. */
        put_codes(&codes,
                  s->version == MQTT_V5    ? code
                  : s->version == MQTT_V31 ? 0
                                           : 0x80,
                  sub.count);
        ack.codes = (struct slice){codes.p, codes.len};
        (void)mqtt_suback_write(out, s->version,
                                pkt->type == MQTT_SUBSCRIBE ? MQTT_SUBACK : MQTT_UNSUBACK, &ack);
    }
    buf_fini(&codes);
}

void relay_unspeakable(struct session *s, struct leg *leg, const struct mqtt_packet *pkt,
                       uint8_t code, const char *why)
{
    struct run run = {.s = s};
    struct mqtt_packet answer;
    struct mqtt_publish p;
    struct buf out = {0};
    uint32_t need;
    uint8_t reason;

    s->env->stats.packets_inexpressible++;
    log_event(LOG_MQTT, LOG_WARN_, "packet-inexpressible", "device=%s slot=%s msg=%s", s->dev->name,
              flip_slot_name(leg->slot), LOG_Q(why));
    if (pkt->type == MQTT_PUBLISH &&
        mqtt_publish_read(pkt, s->version, MQTT_TO_SERVER, &p, &reason, NULL) == 0 &&
        p.topic_alias != 0)
        alias_untold(&s->aliases, p.topic_alias); /* the broker has not heard of it */
    refusal(s, pkt, code, &out);
    if (out.len > 0 && mqtt_packet_peek(out.p, out.len, MQTT_LARGEST_PACKET, &answer, &need) == 1) {
        evidence_watch(s, leg, &answer, s->version != MQTT_V5 ? code : 0);
        enum verdict v = answer.type == MQTT_SUBACK || answer.type == MQTT_UNSUBACK
                             ? broker_suback(s, &run, &answer)
                             : broker_ack(s, leg, &run, &answer, s->version != MQTT_V5 ? code : 0);
        if (v == PASS)
            run_pass(&run, s->down, &answer);
        run_send(&run);
    }
    buf_fini(&out);
}
