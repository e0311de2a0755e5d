/* What a new upstream leg has to be told, so that nothing that was under way is lost, and nothing
 * comes twice.
 *
 * With the session present the broker knows: unfinished exchanges are taken up with their
 * identifiers [MQTT-4.4.0-1]. Without it they begin anew, and the subscriptions are made again.
 */
#include "session/dialect.h"
#include "session/relay.h"

/* What the broker has begun need not be over: it repeats that on the next leg, and the device is
 * not shown it again. */
bool relay_drained(const struct session *s)
{
    list_for_each (it, &s->to_broker.items) {
        const struct inflight_item *item = list_entry(it, struct inflight_item, link);
        if (!item->local && !item->unsent)
            return false;
    }
    return true;
}

/* Does the new leg's broker need this PUBLISH (once more)? */
static bool is_resent(const struct inflight_item *item, bool present)
{
    if (item->raw_bytes == 0) /* begun by us, or before we came */
        return false;
    if (item->state == INFLIGHT_RECEIVED) /* else the device's PUBREL is still to come */
        return !item->local && (!present || item->redo);
    return item->state == INFLIGHT_PUBLISH;
}

/* Everything waits for its turn, so that what is sent first is known (see pace.c). */
static void prepare_publishes(struct session *s, bool present)
{
    list_for_each (it, &s->to_broker.items) {
        struct inflight_item *item = list_entry(it, struct inflight_item, link);
        if (!is_resent(item, present))
            continue;
        /* DUP is bit 3 of the first byte [MQTT-3.3.1-1].  What had not had its turn on a leg is as
         * new to that one's broker as it was before. */
        if (!present)
            item->raw[0] &= (uint8_t)~0x08u;
        else if (!item->unsent)
            item->raw[0] |= 0x08u;
        /* A broker that had it never released it, and has forgotten it. */
        item->redo = item->state == INFLIGHT_RECEIVED;
        item->pinged = false;
        item->unsent = true;
    }
}

/* Returns 1 when a PUBLISH is sent again, now or later. */
static uint32_t resume_item(struct session *s, struct inflight_item *item, bool present)
{
    if (item->unsent) {
        if (!pace_full(s) && s->verdict_ms == 0)
            pace_send_item(s, item);
        return 1;
    }
    switch ((enum inflight_state)item->state) {
    case INFLIGHT_RELEASED:
        if (present) {
            item->again = true;
            relay_ack(s, s->up, MQTT_PUBREL, item->up_id);
            return 0;
        }
        /* A broker that does not know it has nothing to say about it. */
        relay_answer(s, MQTT_PUBCOMP, item->packet_id);
        inflight_del(&s->to_broker, item);
        return 0;
    case INFLIGHT_SUBSCRIBE:
    case INFLIGHT_UNSUBSCRIBE:
        if (item->raw_bytes == 0) { /* of unsubscribe_former() */
            inflight_del(&s->to_broker, item);
            return 0;
        }
        dialect_write(s, s->up, item->raw, item->raw_bytes);
        return 0;
    case INFLIGHT_PUBLISH:
    case INFLIGHT_RECEIVED:
    default:
        return 0;
    }
}

/* The session is there, with subscriptions below a prefix that this leg's topics do not have: they
 * are given up, before a new one may happen to have the same name.  What comes because of them
 * meanwhile is understood (dialect_hear). */
static void unsubscribe_former(struct session *s)
{
    uint16_t most = UINT16_MAX;

    for (const struct sub *sub = s->subs.first; sub != NULL; sub = sub->next) {
        struct mqtt_filter f = {{sub->filter, sub->filter_bytes}, 0};
        uint16_t id = inflight_free_id(&s->to_broker, most);
        struct inflight_item *item = NULL;
        struct buf mine = {0}, out = {0};
        struct mqtt_packet pkt;
        uint32_t need;

        most = id > 0 ? (uint16_t)(id - 1) : 0;
        if (id != 0 &&
            mqtt_subscribe_write(&mine, s->version, MQTT_UNSUBSCRIBE, id, (struct mqtt_props){0},
                                 &f, 1) == 0 &&
            mqtt_packet_peek(mine.p, mine.len, MQTT_LARGEST_PACKET, &pkt, &need) == 1 &&
            dialect_formerly(s->up->dialect, &pkt, &out) == 0)
            item = inflight_add(&s->to_broker, id, INFLIGHT_UNSUBSCRIBE, 0, NULL, 0);
        if (item != NULL) {
            item->ours = true;
            inflight_name(&s->to_broker, item, 0, id);
            leg_write(s->up, out.p, out.len);
        }
        buf_fini(&mine);
        buf_fini(&out);
    }
}

/* What asks for one subscription, with an id below all others in `asked`.  Returns false when that
 * cannot be done. */
static bool ask_again(struct session *s, const struct sub *sub, struct inflight *asked,
                      uint16_t *most)
{
    struct mqtt_filter f = {{sub->filter, sub->filter_bytes}, sub->options};
    struct inflight_item *item = NULL;
    struct buf out = {0}, props = {0};
    uint16_t id = inflight_free_id(&s->to_broker, *most);

    *most = id > 0 ? (uint16_t)(id - 1) : 0;
    if (sub->subscription_id != 0)
        (void)mqtt_props_put_num(&props, MQTT_PROP_SUBSCRIPTION_ID, sub->subscription_id);
    if (id != 0 &&
        mqtt_subscribe_write(&out, s->version, MQTT_SUBSCRIBE, id,
                             (struct mqtt_props){props.p, (uint32_t)props.len}, &f, 1) == 0)
        item = inflight_add(asked, id, INFLIGHT_SUBSCRIBE, 0, out.p, (uint32_t)out.len);
    if (item != NULL) {
        item->ours = true;
        inflight_name(asked, item, 0, id);
    }
    buf_fini(&out);
    buf_fini(&props);
    return item != NULL;
}

/* Subscribe again to all that was granted, one SUBSCRIBE for each, since each may have a
 * subscription identifier of its own. */
static uint32_t resubscribe(struct session *s)
{
    uint32_t restored = 0;
    uint16_t most = UINT16_MAX;
    struct inflight asked;

    inflight_init(&asked);
    for (struct sub *sub = s->subs.first; sub != NULL; sub = sub->next) {
        sub->restored = ask_again(s, sub, &asked, &most);
        restored += sub->restored;
    }
    s->restoring = restored > 0;
    retained_restart(&s->retained);
    inflight_prepend(&s->to_broker, &asked);
    list_for_each_safe (it, &s->to_broker.items) {
        const struct inflight_item *item = list_entry(it, struct inflight_item, link);
        if (item->ours && item->raw_bytes > 0)
            dialect_write(s, s->up, item->raw, item->raw_bytes);
    }
    return restored;
}

/* The broker repeats what it has no acknowledgement of [MQTT-4.4.0-1], maybe before it reads those
 * that are on their way. */
static void expect_repetitions(struct session *s)
{
    list_for_each_safe (it, &s->to_device.items) {
        struct inflight_item *item = list_entry(it, struct inflight_item, link);
        if (item->up_id == 0)
            continue; /* forgotten long ago */
        item->again = true;
        item->answered = false;
        if (item->acked && item->qos == 2 && item->state == INFLIGHT_PUBLISH) /* refused */
            inflight_del(&s->to_device, item);
    }
}

void relay_forgotten(struct session *s, struct inflight_item *item)
{
    if (item->acked || item->packet_id == 0) { /* nobody waits for anything */
        inflight_del(&s->to_device, item);
        return;
    }
    s->forgotten = true;
    inflight_name(&s->to_device, item, item->packet_id, 0);
    item->again = item->answered = false;
    if (item->state == INFLIGHT_RECEIVED) {
        item->state = INFLIGHT_RELEASED;
        relay_answer(s, MQTT_PUBREL, item->packet_id);
    }
}

/* A 3.1 broker that may have lost the session repeats what it knows of at once; the answer to this
 * PINGREQ comes behind that. */
static bool ask_what_it_repeats(struct session *s)
{
    list_for_each (it, &s->to_device.items)
        if (list_entry(it, struct inflight_item, link)->again)
            return relay_ping(s);
    return false;
}

void relay_sure(struct session *s)
{
    s->unsure = false;
    list_for_each_safe (it, &s->to_device.items) {
        struct inflight_item *item = list_entry(it, struct inflight_item, link);
        if (item->again)
            relay_forgotten(s, item);
    }
}

/* The broker has forgotten what it has begun: the device's acknowledgements are of no use to
 * anybody, and the identifiers may come again for something else. */
static void end_for_the_device(struct session *s)
{
    s->forgotten = true;
    list_for_each_safe (it, &s->to_device.items)
        relay_forgotten(s, list_entry(it, struct inflight_item, link));
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
    /* A 3.1 broker does not say whether it has the session: after an outage it may not. */
    bool renamed = session_present && s->up->dialect != NULL && s->up->dialect->renamed;
    bool unsure = s->up->version == MQTT_V31 && (s->leg_lost || s->up->alone || s->unsure);
    bool subscribe = !session_present || renamed || unsure;

    *lost = session_present ? 0 : count_uncertain(s);
    aliases_forget(&s->aliases);
    aliases_fini(&s->down_aliases); /* each connection begins without [MQTT-3.3.2-7] */
    s->kept_back = false;
    s->verdict_ms = 0;
    s->verdict_over = false;
    /* The subscriptions first: they were there before all that is sent again, and what the device
     * has begun to do to them comes after them. */
    if (subscribe) {
        forget_ours(s);
        if (renamed)
            unsubscribe_former(s);
        *restored = resubscribe(s);
    }
    prepare_publishes(s, session_present);
    /* What this leg cannot say is over at once. */
    list_for_each_safe (it, &s->to_broker.items) {
        struct inflight_item *item = list_entry(it, struct inflight_item, link);
        if (!subscribe || !item->ours)
            *replayed += resume_item(s, item, session_present);
    }
    if (session_present)
        expect_repetitions(s);
    else
        end_for_the_device(s);
    s->unsure = unsure && ask_what_it_repeats(s);
}
