/* CONNECT on the candidate, and the broker's answer: accepted, refused, or a session that the
 * device must not see.  Accepted, it waits until the old leg has been read to its end.
 */
#include "session/upstream_inside.h"

#include "base/crash.h"
#include "base/log.h"
#include "mqtt/fault.h"
#include "session/blame.h"
#include "session/greet.h"
#include "session/relay.h"
#include "session/suspect.h"

/* 3.1 has no session present flag, and of a session that was taken over there is one: what an
 * earlier life may have left is wiped unseen. */
static bool must_wipe_blind(const struct session *s)
{
    return (s->cand->version == MQTT_V31 || (s->took_over && s->cand->version != MQTT_V5)) &&
           s->clean && s->state == SESSION_OPENING && s->clear == CLEAR_NONE &&
           upstream_profile(s, s->cand->slot, NULL)->keep_session;
}

void upstream_send_connect(struct session *s)
{
    struct greet_wish wish = {0};
    struct buf out = {0};

    crash_point("rehome.connect");
    if (must_wipe_blind(s))
        s->clear = CLEAR_WIPE;
    int rc = greet_connect(s, s->cand->slot, s->cand->dialect,
                           s->clear == CLEAR_WIPE ? GREET_WIPE : GREET_GO_ON, &out, &wish);

    if (rc == 0)
        leg_write(s->cand, out.p, out.len);
    buf_fini_wipe(&out);
    s->cand->keep = wish.keep;
    s->cand->will_delayed = wish.will_delayed;
    s->cand->keepalive_s = wish.keepalive_s;
    leg_flush(s->cand);
    crash_point("rehome.connect-sent");
    s->due_ms = env_now_ms(s->env) + upstream_profile(s, s->cand->slot, NULL)->connack_timeout_ms;
    s->last_tx_up_ms = env_now_ms(s->env);
}

bool upstream_said_connect(enum rehome_phase phase)
{
    return phase == RH_SWITCHING || phase == RH_SWITCHING_LOST;
}

bool upstream_connect_sent(const struct session *s)
{
    return upstream_said_connect(s->phase);
}

static void again(struct session *s, enum session_clear clear)
{
    /* What an earlier life left at the broker must not be seen: DISCONNECT, and a new connection.
     */
    greet_disconnect(s->cand, REASON_NORMAL, false, 0);
    leg_close_gentle(&s->cand);
    s->clear = clear;
    s->phase = RH_DIALING_LOST;
    upstream_dial(s);
}

/* A broker that does not speak the version of the profile says nothing of the device's. */
static uint8_t refusal_for_device(const struct session *s, const struct mqtt_connack *ack)
{
    return ack->code == 0x84 && s->cand->version != s->version ? REASON_SERVER_UNAVAILABLE
                                                               : ack->code;
}

/* Word for word, where the device understands it. */
static void tell_refusal(struct session *s, const struct mqtt_packet *pkt,
                         const struct mqtt_connack *ack)
{
    struct mqtt_connack mine = {.code = mqtt_connack_code31(refusal_for_device(s, ack))};
    struct buf out = {0};

    if (s->cand->version == s->version)
        leg_write(s->down, pkt->raw, pkt->raw_bytes);
    else if (mqtt_connack_write(&out, s->version, &mine) == 0)
        leg_write(s->down, out.p, out.len);
    buf_fini(&out);
}

/* A broker that takes no Will such as the device's [MQTT-3.2.2-12, -13], which the device was told
 * nothing of: the next attempt brings what it takes. */
static void lower_will(struct session *s, const struct mqtt_connack *ack)
{
    enum flip_slot slot = s->cand->slot;
    struct mqtt_prop_value v;

    if (s->state != SESSION_RELAYING || !s->has_will || s->cand->version != MQTT_V5)
        return;
    if (ack->code == 0x9B && mqtt_props_find(ack->props, MQTT_PROP_MAXIMUM_QOS, &v))
        s->will_qos_off[slot] = (uint8_t)(2 - v.num);
    else if (ack->code == 0x9B && s->will_qos_off[slot] < 2)
        s->will_qos_off[slot]++;
    else if (ack->code == 0x9A)
        s->will_unretained[slot] = true;
    else
        return;
    log_event(LOG_SESSION, LOG_NOTICE_, "will-lowered", "device=%s slot=%s reason=%s msg=%s",
              s->dev->name, flip_slot_name(slot), mqtt_reason_name(ack->code),
              LOG_Q("the broker does not take the device's Will as it is"));
}

static void refused(struct session *s, const struct mqtt_packet *pkt,
                    const struct mqtt_connack *ack)
{
    struct diag d = blame_connack(s->cand, ack);

    lower_will(s, ack);
    if (s->state == SESSION_OPENING) {
        s->refusal = s->cand->version == MQTT_V5 ? refusal_for_device(s, ack) : 0;
        bool trial = s->dev->active == FLIP_NEW && upstream_other_usable(s) && !s->fallback &&
                     (d.class == DIAG_IDENTITY || d.class == DIAG_SUSPECT ||
                      upstream_may_fall_back(s, d.class));
        if (!trial && s->down != NULL) {
            /* The broker's own answer; then the table's end of it says nothing more. */
            tell_refusal(s, pkt, ack);
            session_tell_refused(s, "broker-refused", d.sentence);
            upstream_tell_trouble(s, false, s->cand->slot, s->cand->cred, &d);
            session_end(s, 0, true, "the broker refused CONNECT");
            return;
        }
    }
    upstream_cand_failed(s, &d);
}

bool upstream_awaits_old_end(const struct session *s)
{
    return s->phase == RH_SWITCHING && s->cand->answered;
}

/* The broker has accepted the candidate and so it ends the old leg [MQTT-3.1.4-2].  The two
 * connections lose their packets and send them again each at its own time: the old one's last
 * messages, QoS 0 that nobody repeats, may come after CONNACK.  So the old leg is read to its end,
 * bounded, before anything of the new one is passed on.  On a good link that end is here already,
 * and nothing waits.  Returns whether it has to be waited for. */
static bool await_old_end(struct session *s)
{
    if (!upstream_awaits_old_end(s) || upstream_has_moved(s))
        return false;
    leg_read_now(s->up); /* its end makes SWITCHING_LOST of it */
    if (s->state == SESSION_OVER)
        return true;
    if (s->phase != RH_SWITCHING)
        return false;
    leg_read(s->cand, false);
    upstream_due_in(s, upstream_profile(s, s->have, NULL)->barrier_timeout_ms);
    return true;
}

/* The old leg has ended, or had time enough to. */
void upstream_old_has_ended(struct session *s)
{
    struct buf early = s->early;

    s->early = (struct buf){0};
    upstream_step(s, RH_EV_ACCEPTED, NULL);
    if (s->state != SESSION_OVER && s->up != NULL && s->up->state == LEG_OPEN && early.len > 0)
        relay_from_broker(s, s->up, early.p, early.len);
    buf_fini(&early);
}

/* A session that the device takes up has subscriptions; one that is begun has none. */
static void take_legacy(struct session *s, struct mqtt_connack *ack)
{
    bool taken_up = !s->clean && (ack->session_present || s->cand->version == MQTT_V31);

    s->legacy = presence_inherit(s->dev->presence, s->client, &s->subs);
    if (taken_up && s->legacy == LEGACY_VOID)
        ack->session_present = taken_up = false; /* what is there is not what it had */
    if (taken_up)
        return;
    subs_fini(&s->subs);
    s->legacy = LEGACY_KNOWN;
}

void upstream_take_connack(struct session *s, const struct mqtt_packet *pkt)
{
    int version = s->cand->version;
    struct mqtt_connack ack = {0};
    struct err err = {0};
    uint8_t reason;

    if (pkt->type != MQTT_CONNACK || mqtt_connack_read(pkt, version, &ack, &reason, &err) != 0) {
        struct diag d = blame_answer(pkt, version, &err);
        upstream_cand_failed(s, &d);
        return;
    }
    crash_point("rehome.connack");
    s->cand->answered = true;
    if (ack.code != 0) {
        refused(s, pkt, &ack);
        return;
    }
    greet_heard(s, s->cand, &ack);
    if (s->clear == CLEAR_WIPE) {
        again(s, CLEAR_AGAIN);
        return;
    }
    if (s->state == SESSION_OPENING && version != MQTT_V5 && s->clean && s->cand->keep &&
        ack.session_present && s->clear == CLEAR_NONE) {
        again(s, CLEAR_WIPE);
        return;
    }
    /* 3.1 does not say; a session that was asked to last is there, as far as one can know. */
    bool is_ours =
        s->state == SESSION_OPENING || !upstream_has_moved(s) || upstream_was_taken_over(s);
    if (s->state == SESSION_OVER)
        return;
    s->cand->foreign = ack.session_present && !is_ours;
    s->cand->session_present =
        is_ours &&
        (version == MQTT_V31 ? s->cand->keep && s->state == SESSION_RELAYING : ack.session_present);
    if (s->state == SESSION_OPENING) {
        take_legacy(s, &ack);
        (void)greet_device(s, &ack);
    }
    if (s->probing && s->suspicion->far == DIFFER_STANDS)
        s->retry_ms = env_now_ms(s->env) + differ_stand_ms(s->suspicion->lived_ms);
    else if (s->probing)
        upstream_other_works(s);
    if (!await_old_end(s))
        upstream_step(s, RH_EV_ACCEPTED, NULL);
}
