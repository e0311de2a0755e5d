/* What the upstream legs tell: the one in use, the candidate and the spare.  TLS 1.3 says late
 * whether an identity was taken, so a leg that is up is given time for that; from CONNACK on its
 * packets go to the relay.
 */
#include "session/upstream_inside.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "session/blame.h"
#include "session/presence.h"
#include "session/relay.h"
#include "session/suspect.h"

/* Attempts in a row that are given up because the spare did not come up: then it goes without. */
#define SPARELESS_MAX   2u
#define PARTING_LOOK_MS 5u

/* The candidate failed: is there a way back? */
void upstream_cand_failed(struct session *s, const struct diag *why)
{
    bool let_go = s->phase == RH_LEAVING || s->phase == RH_SWITCHING_LOST;

    upstream_step(s, let_go && s->spare != NULL ? RH_EV_CAND_FAILED_SPARE : RH_EV_CAND_FAILED, why);
}

/* The spare failed, or ended.  Where the broker does not take the identity in use any more there is
 * no way back to be had, and the flip is the way out.  Anything else may pass: the attempt is given
 * up, and made again later, but not for ever. */
void upstream_cannot_spare(struct session *s, const struct diag *why)
{
    bool let_go = s->phase == RH_LEAVING || s->phase == RH_SWITCHING_LOST;
    struct diag d = *why;

    d.class = diag_pace(why);
    d.silent = false; /* it says nothing about the new identity */
    bool refused = d.class == DIAG_IDENTITY || d.class == DIAG_SUSPECT;
    if (!let_go && !refused && s->spareless < SPARELESS_MAX) {
        s->spareless++;
        snprintf(d.sentence, sizeof d.sentence, "no second connection as the way back: %.280s",
                 why->sentence);
        upstream_step(s, RH_EV_SPARE_FAILED, &d);
        return;
    }
    s->env->stats.spareless += !let_go;
    log_event(LOG_SESSION, LOG_NOTICE_, "no-way-back",
              "device=%s slot=%s class=%s cause=%s msg=%s todo=%s", s->dev->name,
              flip_slot_name(s->have), diag_class_name(d.class), d.name, LOG_Q(d.sentence),
              LOG_Q(d.remedy));
    upstream_step(s, RH_EV_SPARE_NONE, NULL);
}

/* Is the leg given time for what TLS 1.3 says late?  With the old leg gone there is nothing to
 * keep, and CONNACK tells the same. */
static bool is_on_trial(const struct session *s, const struct leg *leg)
{
    return (leg == s->cand && s->phase == RH_DIALING) ||
           (leg == s->spare && s->phase == RH_SPARING);
}

/* Is there a leg of the device's former session, or that session itself, which its worker has not
 * ended yet? */
static bool follows_somebody(const struct session *s)
{
    return presence_parting(s->dev->presence, s->dial_home) ||
           (s->follows && presence_count(s->dev->presence) > 1);
}

/* A new session's CONNECT takes the broker's session over from the leg of the device's former one,
 * and what that leg still has on its way would not be read: the device has said it all before it
 * left.  Other workers may have that leg, so it is looked for again and again. */
static bool must_stay_behind(struct session *s)
{
    uint64_t now = env_now_ms(s->env);

    if (s->state != SESSION_OPENING || s->phase != RH_DIALING_LOST || !follows_somebody(s))
        return false;
    if (s->behind_ms == 0)
        s->behind_ms = now + upstream_profile(s, s->cand->slot, NULL)->barrier_timeout_ms;
    s->due_ms = now + PARTING_LOOK_MS;
    return now < s->behind_ms;
}

void upstream_leg_is_up(struct session *s, const struct leg *leg)
{
    s->proven = false;
    if (must_stay_behind(s))
        return;
    s->behind_ms = 0;
    if (leg == s->spare) {
        upstream_step(s, RH_EV_SPARE_UP, NULL);
    } else if (s->phase == RH_DIALING && s->probing && s->suspicion->far == DIFFER_TLS) {
        upstream_other_works(s); /* that was the question */
        upstream_step(s, RH_EV_CANCEL, NULL);
    } else {
        upstream_step(s,
                      s->phase == RH_DIALING && upstream_must_leave(s) ? RH_EV_CAND_UP_LEAVE
                                                                       : RH_EV_CAND_UP,
                      NULL);
    }
}

static void on_up_open(struct leg *leg)
{
    struct session *s = leg->owner;
    bool late = strcmp(tls_conn_version(leg->tls), "TLSv1.3") == 0;

    session_count_gap(s->env, leg->tls);
    session_count_ocsp(s, leg);
    log_event(LOG_TLS_HANDSHAKE, LOG_DEBUG_, "handshake",
              "device=%s slot=%s upstream=%s version=%s cipher=%s", s->dev->name,
              flip_slot_name(leg->slot), upstream_profile(s, leg->slot, NULL)->name,
              tls_conn_version(leg->tls), tls_conn_cipher(leg->tls));

    if (is_on_trial(s, leg) && late && !tls_conn_ticket_seen(leg->tls)) {
        /* TLS 1.3 says late whether the client certificate was taken: a ticket means yes, an alert
         * no (RFC 8446, 4.6.1). */
        s->due_ms = env_now_ms(s->env) + upstream_profile(s, leg->slot, NULL)->accept_wait_ms;
        s->proven = true;
        session_arm(s);
        return;
    }
    upstream_leg_is_up(s, leg);
    session_carry_on(s);
}

static void on_up_progress(struct leg *leg)
{
    struct session *s = leg->owner;

    if (!is_on_trial(s, leg) || !tls_conn_ticket_seen(leg->tls))
        return;
    upstream_leg_is_up(s, leg);
    session_carry_on(s);
}

/* Enhanced authentication is between the device and the broker (MQTT 5.0, 4.12). */
static bool is_for_the_device(const struct session *s, const struct leg *leg,
                              const struct mqtt_packet *pkt)
{
    return leg == s->cand && upstream_connect_sent(s) && pkt->type == MQTT_AUTH &&
           s->state == SESSION_OPENING && s->version == MQTT_V5;
}

static void candidate_data(struct session *s, struct leg *leg, const uint8_t **p, size_t *n)
{
    struct mqtt_packet pkt;
    struct diag d;
    int rc;

    while ((rc = mqtt_in_next(&leg->in, p, n, MQTT_LARGEST_PACKET, &pkt)) == 1 &&
           is_for_the_device(s, leg, &pkt)) {
        if (s->down != NULL) /* it may have left */
            leg_write(s->down, pkt.raw, pkt.raw_bytes);
        s->due_ms = env_now_ms(s->env) + upstream_profile(s, leg->slot, NULL)->connack_timeout_ms;
    }
    if (rc == 0)
        return;
    if (rc == 1 && leg == s->cand && upstream_connect_sent(s)) {
        upstream_take_connack(s, &pkt);
        return;
    }
    d = diag_of(catalogue_by_code(CATALOGUE_END, END_MALFORMED), NULL);
    snprintf(d.sentence, sizeof d.sentence, "the broker sent %s",
             rc == 1 ? "a packet before CONNECT" : "bytes that are no MQTT packet");
    snprintf(d.remedy, sizeof d.remedy, "check that the upstream address is an MQTT broker's");
    if (leg == s->spare)
        upstream_cannot_spare(s, &d);
    else
        upstream_cand_failed(s, &d);
}

static void on_up_data(struct leg *leg, const uint8_t *p, size_t n)
{
    struct session *s = leg->owner;

    if ((leg == s->cand && !upstream_awaits_old_end(s)) || leg == s->spare)
        candidate_data(s, leg, &p, &n);
    if (s->state != SESSION_OVER && leg == s->cand && upstream_awaits_old_end(s)) {
        if (buf_append(&s->early, p, n) != 0)
            upstream_old_has_ended(s); /* order is worth less than the messages */
        else
            n = 0;
    }
    if (s->state != SESSION_OVER && leg == s->up && leg->state == LEG_OPEN && n > 0)
        relay_from_broker(s, leg, p, n);
    session_carry_on(s);
}

static void on_up_end(struct leg *leg, const struct leg_end *end)
{
    struct session *s = leg->owner;

    if (leg == s->up && s->reading_old)
        return; /* expected: the broker let it go for the new one */
    if (leg == s->cand && upstream_awaits_old_end(s)) /* it was accepted, and is lost */
        upstream_old_has_ended(s);
    if (s->state == SESSION_OVER)
        return;
    struct diag d = blame_leg(s, leg, end);
    if (leg == s->up && s->phase != RH_LEAVING && s->phase != RH_SWITCHING)
        d = blame_habit(s, &d, env_now_ms(s->env) - s->up_since_ms);
    if (leg == s->up)
        upstream_lost(s, &d);
    else if (leg == s->spare)
        upstream_cannot_spare(s, &d);
    else
        upstream_cand_failed(s, &d);
    session_carry_on(s);
}

static void on_up_drain(struct leg *leg)
{
    struct session *s = leg->owner;

    if (leg == s->up && s->ping_since_ms != 0)
        s->ping_since_ms = env_now_ms(s->env); /* the question has only now gone out */
    session_arm(s);
    session_reading(s);
}

const struct leg_ops upstream_leg_ops = {
    .open = on_up_open,
    .data = on_up_data,
    .end = on_up_end,
    .drain = on_up_drain,
    .progress = on_up_progress,
};
