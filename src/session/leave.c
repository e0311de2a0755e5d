/* Leaving: the old leg for the candidate, a broker for another one, and the broker because the
 * device is gone.  What stays behind, and whether the Will is to come.
 */
#include "session/upstream_inside.h"

#include "base/crash.h"
#include "base/log.h"
#include "session/evidence.h"
#include "session/greet.h"

#define REASON_WITH_WILL 0x04

/* Will its CONNECT go on with the session (and not begin a clean one)? */
static bool resumes(const struct session *s, const struct leg *leg)
{
    return leg->version == MQTT_V5 || !s->clean ||
           upstream_profile(s, leg->slot, NULL)->keep_session;
}

bool upstream_must_leave(const struct session *s)
{
    switch (upstream_profile(s, s->have, NULL)->switch_mode) {
    case CONF_SWITCH_TAKEOVER:
        return false;
    case CONF_SWITCH_DISCONNECT:
        return true;
    case CONF_SWITCH_AUTO:
    default:
        return s->has_will && !s->will_stays &&
               s->host == greet_home(s, s->cand->slot, GREET_HOST) &&
               !(s->up->will_delayed && resumes(s, s->cand));
    }
}

/* Is the candidate's session another one than that of the leg in use?  Where the host is the same
 * it may be the same broker behind another port. */
bool upstream_has_moved(const struct session *s)
{
    return s->home != greet_home(s, s->cand->slot, GREET_HOST_AND_PORT);
}

/* The old leg, and what the broker said on it last, before the first packet of the new one. */
static void read_old(struct session *s)
{
    s->reading_old = true;
    leg_read_now(s->up);
    s->reading_old = false;
}

/* CONNECT on the candidate has ended the old leg: whatever the addresses say, it is the same
 * broker, and goes on with the same session.  Without that sign, what is present at another address
 * may lie there from an earlier stay, and not know what the device has begun and subscribed to
 * since. */
bool upstream_was_taken_over(struct session *s)
{
    if (s->up != NULL)
        read_old(s);
    return s->state != SESSION_OVER && !s->left && !s->leg_lost && (s->up == NULL || s->up->ended);
}

/* The device is somewhere else now.  At the old broker stays what it would leave by going. */
static void leave_behind(struct session *s)
{
    if (s->up->ended) /* it was taken over: that is the same broker after all */
        return;
    if (s->litter && s->home == greet_home(s, s->have, GREET_HOST_AND_PORT))
        cleaner_take(s, &s->up);
    else
        greet_disconnect(s->up, REASON_NORMAL, s->up->keep, s->device_expiry_s);
}

/* The old leg was told DISCONNECT before it was known whether the candidate leads to another
 * broker: it does where that one has no session.  3.1 does not say, and a lost leg was not asked.
 */
void upstream_clear_former(struct session *s, enum flip_slot former, bool present)
{
    if (s->left && !present && !s->up->foreign && s->up->version != MQTT_V31 &&
        s->home == greet_home(s, former, GREET_HOST_AND_PORT))
        cleaner_start(s, former, &(struct leg *){NULL}, false);
    else if (s->left || s->leg_lost)
        log_event(
            LOG_SESSION, LOG_NOTICE_, "session-left-behind", "device=%s upstream=%s msg=%s",
            s->dev->name, upstream_profile(s, former, NULL)->name,
            LOG_Q("the device moved, and its former broker was not asked what is left there"));
}

/* The broker's last packets on the old leg come before the first one on the new leg (see
 * await_old_end; what has come of them when its time is over is read at least). */
void upstream_close_old(struct session *s, bool accepted, bool left)
{
    if (s->up == NULL)
        return;
    crash_point("rehome.close-old");
    if (accepted || left) {
        read_old(s);
        if (s->state == SESSION_OVER)
            return;
    }
    if (accepted && upstream_has_moved(s))
        leave_behind(s);
    if (s->accepted)
        s->env->stats.legs_up--;
    s->accepted = false;
    upstream_forget_news(s); /* another leg's answer says nothing of this one */
    evidence_leg_gone(s);
    leg_close_gentle(&s->up);
    relay_answer_pings(s);
}

bool upstream_outlives_device(const struct session *s)
{
    if (s->state != SESSION_RELAYING || s->env->stopping)
        return false;
    switch (s->phase) {
    case RH_LEAVING:
    case RH_SWITCHING:
    case RH_SWITCHING_LOST:
        return true;
    case RH_WAITING:
    case RH_DIALING_LOST:
        return s->will_quiet; /* else the broker has published it when it lost the leg */
    case RH_IDLE:
    case RH_DIALING:
    case RH_SPARING:
    case RH_DRAINING:
    case RH_BARRIER:
    case RH_PHASES:
    default:
        return false;
    }
}

/* What the device asked for is what happens at its end: the Will when it died, its session expiry
 * when it left.  An end of the connection without DISCONNECT is what makes the broker publish the
 * Will, so close_notify and FIN go out in any case. */
static void part(struct session *s, struct leg *leg, bool polite)
{
    if (polite)
        greet_disconnect(leg, REASON_NORMAL, leg->keep && !s->env->stopping, s->device_expiry_s);
    else if (leg->version == MQTT_V5 && leg->keep && !s->will_stays)
        greet_disconnect(leg, s->has_will ? REASON_WITH_WILL : REASON_NORMAL, true,
                         s->device_expiry_s);
}

void upstream_goodbye(struct session *s, bool polite)
{
    polite = polite && !s->died; /* whoever ends it, the device did not leave in order */
    bool wipe_any = !s->taken_over && s->state == SESSION_RELAYING && !s->env->stopping;
    bool wipe = wipe_any && s->litter;
    bool leaving = s->phase == RH_LEAVING;
    bool any = s->up != NULL || (s->cand != NULL && upstream_connect_sent(s));
    /* DISCONNECT has kept a Will quiet that is due now.  A candidate that is being asked may be
     * refused: it must not bring the Will, too. */
    bool will_due = s->will_quiet && !polite && !s->taken_over && !s->env->stopping;

    enum flip_slot asked = s->cand != NULL ? s->cand->slot : s->have;
    bool wipe_cand = wipe_any && s->cand != NULL && upstream_connect_sent(s) && s->clean &&
                     s->cand->keep && s->cand->version != MQTT_V5 && upstream_has_moved(s);

    if (s->cand != NULL && upstream_connect_sent(s) && s->cand->state == LEG_OPEN)
        part(s, s->cand, polite || will_due);
    leg_close_gentle(&s->cand);
    leg_close_gentle(&s->spare);
    if (s->accepted) {
        s->env->stats.legs_up--;
        if (!s->said_goodbye && !leaving)
            evidence_leave(s);
        if (!s->said_goodbye && !leaving)
            part(s, s->up, polite);
    }
    s->accepted = false;
    if (s->up != NULL && !s->taken_over) /* whoever takes over does not wait */
        leg_part(s->up, s->dev->presence, s->home);
    if (wipe_cand)
        cleaner_start(s, asked, &(struct leg *){NULL}, false);
    if (will_due || (wipe && any))
        cleaner_start(s, s->have, &s->up, will_due);
    else if (wipe)
        log_event(
            LOG_SESSION, LOG_NOTICE_, "session-left-behind", "device=%s msg=%s", s->dev->name,
            LOG_Q(
                "the device left while there was no uplink; its next clean start clears what is at the broker"));
    leg_close_gentle(&s->up);
}
