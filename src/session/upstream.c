/* Carries out what the re-home table decides.  Each thing that happens becomes one event for
 * rehome_step, and the actions that come back are done here, in their order; some of them make the
 * next event at once (an exchange list that is empty already needs no draining), so a step is a
 * loop.  The larger actions have files of their own: see session/upstream_inside.h.
 */
#include "session/upstream_inside.h"

#include <stdlib.h>

#include <assert.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "session/blame.h"
#include "session/evidence.h"
#include "session/greet.h"
#include "session/relay.h"
#include "session/suspect.h"

/* The actions that speak of a failure. */
#define NEEDS_WHY (RH_DO_REPORT_LOST | RH_DO_REPORT_FAILED | RH_DO_WAIT)

static void hold(struct session *s)
{
    if (s->holding)
        return;
    s->holding = true;
    s->hold_since_us = (uint64_t)clock_mono_us();
    s->drain_us = 0;
}

/* What is under way has been acknowledged, or was given time enough to be. */
static void note_drained(struct session *s)
{
    s->drain_us = (uint32_t)((uint64_t)clock_mono_us() - s->hold_since_us);
}

static void do_hold(struct session *s, const struct occasion *o)
{
    (void)o;
    hold(s);
}

static void do_drop_spare(struct session *s, const struct occasion *o)
{
    (void)o;
    leg_close_gentle(&s->spare); /* it has said nothing: nobody takes notice of its end */
}

static void do_drop_cand(struct session *s, const struct occasion *o)
{
    /* A broker that is slow may accept it yet, and would publish the Will of a live device. */
    if (s->cand != NULL && s->cand->state == LEG_OPEN && !s->cand->answered &&
        (o->was == RH_SWITCHING || o->was == RH_SWITCHING_LOST))
        greet_disconnect(s->cand, REASON_NORMAL, false, 0);
    s->proven = false;
    leg_close_gentle(&s->cand);
    if (s->phase != RH_LEAVING) /* the old leg's end is still waited for */
        s->due_ms = 0;
}

static void do_close_old(struct session *s, const struct occasion *o)
{
    upstream_close_old(s, (o->todo & RH_DO_ADOPT) != 0, o->was == RH_LEAVING);
}

static void do_dial(struct session *s, const struct occasion *o)
{
    (void)o;
    upstream_dial(s);
}

static void do_dial_spare(struct session *s, const struct occasion *o)
{
    (void)o;
    upstream_dial_spare(s);
}

static void do_take_spare(struct session *s, const struct occasion *o)
{
    (void)o;
    s->env->stats.ways_back++;
    log_event(LOG_SESSION, LOG_NOTICE_, "way-back", "device=%s slot=%s", s->dev->name,
              flip_slot_name(s->spare->slot));
    s->cand = s->spare;
    s->spare = NULL;
}

void upstream_due_in(struct session *s, uint32_t ms)
{
    s->due_ms = env_now_ms(s->env) + ms;
}

static void do_drain(struct session *s, const struct occasion *o)
{
    (void)o;
    crash_point("rehome.drain");
    upstream_due_in(s, upstream_profile(s, s->have, NULL)->drain_timeout_ms);
    /* Nothing new of the device goes out from here on, so that the barrier can be asked for at
     * once: the answers to what is under way come before PINGRESP.  At the end of the drain it
     * would cost a round trip more, and another one where the broker keeps small packets back until
     * earlier ones are acknowledged (Nagle's algorithm), as it does under load. */
    s->barrier_asked = !upstream_must_leave(s) && relay_ping(s);
    s->barrier_met = false;
    upstream_drained(s);
}

/* An answer that is waited for must not wait for our delayed acknowledgement of what came before
 * it. */
static void do_ping(struct session *s, const struct occasion *o)
{
    (void)o;
    crash_point("rehome.barrier");
    note_drained(s);
    s->up->watch = true;
    upstream_due_in(s, upstream_profile(s, s->have, NULL)->barrier_timeout_ms);
    if (!s->barrier_asked)
        (void)relay_ping(s);
    if (s->barrier_met)
        upstream_barrier_passed(s);
}

static void do_disconnect(struct session *s, const struct occasion *o)
{
    (void)o;
    upstream_due_in(s, upstream_profile(s, s->have, NULL)->barrier_timeout_ms);
    crash_point("rehome.leave");
    note_drained(s);
    s->up->watch = true;
    greet_disconnect(s->up, REASON_NORMAL, false, 0);
    s->will_quiet = s->has_will;
    s->left = true;
}

static void do_connect(struct session *s, const struct occasion *o)
{
    (void)o;
    upstream_send_connect(s);
}

static void do_adopt(struct session *s, const struct occasion *o)
{
    (void)o;
    upstream_adopt(s);
}

static void do_release(struct session *s, const struct occasion *o)
{
    (void)o;
    s->holding = false;
    crash_point("rehome.release");
    s->up->watch = false;
    relay_release(s);
    if (s->died && s->state != SESSION_OVER)
        upstream_end_of_the_dead(s);
}

/* In the order of enum rehome_do. */
static void (*const deeds[])(struct session *s, const struct occasion *o) = {
    upstream_report_lost,
    upstream_report_failed,
    do_hold,
    do_drop_spare,
    do_drop_cand,
    do_close_old,
    do_dial,
    do_dial_spare,
    do_take_spare,
    do_drain,
    do_ping,
    do_disconnect,
    do_connect,
    do_adopt,
    do_release,
    upstream_wait,
};

static void act(struct session *s, const struct occasion *o)
{
    assert(o->why != NULL || (o->todo & NEEDS_WHY) == 0);
    for (unsigned bit = 0; bit < sizeof deeds / sizeof deeds[0]; bit++)
        if ((o->todo & 1u << bit) != 0 && s->state != SESSION_OVER)
            deeds[bit](s, o);
}

/* Is the leg in use that of the identity that shall be in use? */
static bool at_home(const struct session *s)
{
    return s->have == s->dev->active && cred_equal(s->up->cred, s->dev->cred[s->dev->active]);
}

/* The leg in use is not the wanted identity's (any more): go on, unless that one was refused. */
static void settle(struct session *s)
{
    if (s->state != SESSION_OVER && s->phase == RH_DIALING_LOST && s->proven) {
        /* With the old leg gone there is nothing to keep: CONNACK tells what ticket or time would.
         */
        s->proven = false;
        upstream_step(s, RH_EV_CAND_UP, NULL);
        return;
    }
    if (s->state == SESSION_OVER || s->phase != RH_IDLE || s->up == NULL || s->retry_ms != 0)
        return;
    if (s->probing && s->suspicion->far != DIFFER_STANDS)
        upstream_step(s, RH_EV_WANT,
                      NULL); /* the same identity once more, on a connection of its own */
    else if (!at_home(s) && s->refused_seq != s->dev->flip_seq &&
             s->dev->cred[s->dev->active] != NULL)
        upstream_step(s, RH_EV_WANT, NULL);
}

void upstream_step(struct session *s, enum rehome_event ev, const struct diag *why)
{
    enum rehome_phase was = s->phase;
    unsigned todo = rehome_step(&s->phase, ev);

    if (log_on(LOG_SESSION, LOG_DEBUG_))
        log_event(LOG_SESSION, LOG_DEBUG_, "rehome-step", "device=%s from=%s event=%s to=%s",
                  s->dev->name, rehome_phase_name(was), rehome_event_name(ev),
                  rehome_phase_name(s->phase));
    if (todo == 0)
        return;
    s->heard = ev == RH_EV_ACCEPTED || (why != NULL && why->class == DIAG_IDENTITY);
    act(s, &(struct occasion){ev, was, todo, why});
    if (s->counted != NULL && s->counted != s->cand)
        upstream_gate(s);
    settle(s);
}

void upstream_begin(struct session *s)
{
    s->phase = RH_WAITING;
    upstream_step(s, RH_EV_WANT, NULL);
    session_arm(s);
}

void upstream_lost(struct session *s, const struct diag *why)
{
    uint64_t silent_ms = env_now_ms(s->env) - s->last_rx_ms;
    bool waited = upstream_awaits_old_end(s);

    /* The broker ended it because the device is silent: its Will is due, and a new leg would revive
     * a dead device. */
    if (s->keepalive_s != 0 && silent_ms > s->keepalive_s * UINT64_C(1200) && s->phase == RH_IDLE &&
        session_hears(s)) {
        s->env->stats.downstream_closed_by_us++;
        session_end(s, 0x8D, false, "the broker gave up on a silent device");
        return;
    }
    upstream_step(s, RH_EV_OLD_LOST, why);
    if (waited && s->state != SESSION_OVER) /* however it ended: that was waited for */
        upstream_old_has_ended(s);
}

uint64_t upstream_silent_due(const struct session *s)
{
    if (s->ping_since_ms == 0 || s->up == NULL || !s->accepted || s->phase == RH_BARRIER ||
        !s->up->st.reading || leg_queued(s->up) > 0)
        return 0;
    uint64_t patience_ms = upstream_profile(s, s->have, NULL)->barrier_timeout_ms;
    if (s->accepted_news == NULL && patience_ms < s->up->keepalive_s * UINT64_C(500))
        patience_ms = s->up->keepalive_s * UINT64_C(500);
    return s->ping_since_ms + patience_ms;
}

void upstream_silent(struct session *s)
{
    struct diag_in in = DIAG_IN_INIT;

    in.stage = DIAG_AT_ESTABLISHED;
    in.mqtt_version = s->up->version;
    in.timed_out = true;
    struct diag d = diagnose(&in);
    if (s->accepted_news != NULL && s->has_will) {
        /* Given up for a flip: the device lives, and a broker that can still read shall not publish
         * its Will. */
        greet_disconnect(s->up, REASON_NORMAL, false, 0);
        s->will_quiet = true;
    }
    upstream_lost(s, &d);
}

void upstream_barrier_passed(struct session *s)
{
    upstream_step(s, RH_EV_CLEAR, NULL);
}

static void drained(struct session *s)
{
    upstream_step(s, upstream_must_leave(s) ? RH_EV_DRAINED_LEAVE : RH_EV_DRAINED, NULL);
}

void upstream_drained(struct session *s)
{
    if (s->phase == RH_DRAINING && relay_drained(s))
        drained(s);
}

static void step_is_due(struct session *s)
{
    struct diag d;

    switch (s->phase) {
    case RH_DRAINING:
        drained(s);
        return;
    case RH_BARRIER:
        upstream_barrier_passed(s);
        return;
    case RH_LEAVING:
        upstream_step(s, RH_EV_TIMEOUT, NULL);
        return;
    case RH_SPARING:
        d = blame_timeout(s, s->spare);
        if (s->proven)
            upstream_leg_is_up(s, s->spare);
        else
            upstream_cannot_spare(s, &d);
        return;
    case RH_DIALING:
    case RH_DIALING_LOST:
    case RH_SWITCHING:
    case RH_SWITCHING_LOST:
        d = blame_timeout(s, s->cand);
        if ((s->phase == RH_DIALING && s->proven) || s->behind_ms != 0)
            upstream_leg_is_up(s, s->cand);
        else if (upstream_awaits_old_end(s))
            upstream_old_has_ended(s);
        else
            upstream_cand_failed(s, &d);
        return;
    case RH_IDLE:
    case RH_WAITING:
    case RH_PHASES:
    default:
        return;
    }
}

void upstream_due(struct session *s, uint64_t now_ms)
{
    if (s->due_ms != 0 && now_ms >= s->due_ms) {
        s->due_ms = 0;
        step_is_due(s);
    }
    if (s->state == SESSION_OVER || s->retry_ms == 0 || now_ms < s->retry_ms)
        return;
    s->retry_ms = 0;
    if (s->probing && s->phase == RH_IDLE && s->suspicion->far == DIFFER_STANDS)
        upstream_other_works(s);            /* it stood long enough */
    else if (s->state == SESSION_OPENING) { /* nobody chose another identity */
        struct diag d = {.class = DIAG_IDENTITY,
                         .sentence = "the broker refused the identity",
                         .remedy = "see the line about its refusal"};
        upstream_refuse_first(s, &d);
    } else if (s->phase != RH_WAITING) {
        settle(s);
    } else if (!upstream_waits_at_gate(s)) {
        upstream_step(s, RH_EV_RETRY, NULL);
    }
}

static void tell_home(struct session *s)
{
    struct session_leg_news news = {.what = LEG_NEWS_ACCEPTED,
                                    .slot = s->have,
                                    .session_present = s->up->session_present,
                                    .stood_ms = env_now_ms(s->env) - s->up_since_ms,
                                    .cred = s->up->cred,
                                    .tls = tls_conn_version(s->up->tls)};

    if (s->accepted_news != NULL)
        return; /* it is told when the leg answers */
    s->failed_times = 0;
    if (upstream_on_probation(s))
        upstream_tell_when_it_answers(s, &news);
    else
        upstream_tell(s, &news);
}

static void retired_leg(struct leg *leg, const struct cred *cred)
{
    if (leg != NULL && leg->slot == FLIP_NEW && cred_equal(leg->cred, cred))
        leg->slot = FLIP_OLD;
}

void session_retired(struct session *s, const struct cred *cred)
{
    if (s->state == SESSION_OVER)
        return;
    if (s->up != NULL && s->have == FLIP_NEW && cred_equal(s->up->cred, cred))
        s->have = FLIP_OLD;
    else if (s->up == NULL)
        s->have = FLIP_OLD; /* what was lost was of it, or of the one that is gone */
    retired_leg(s->up, cred);
    retired_leg(s->cand, cred);
    retired_leg(s->spare, cred);
    if (s->accepted_news != NULL)
        s->accepted_news->slot = FLIP_OLD;
    if (s->failed_slot == FLIP_NEW)
        s->failed_slot = FLIP_OLD;
    if (s->rule_upstream[FLIP_NEW] != NULL) {
        free(s->rule_upstream[FLIP_OLD]);
        s->rule_upstream[FLIP_OLD] = s->rule_upstream[FLIP_NEW];
        s->rule_upstream[FLIP_NEW] = NULL;
    }
    s->will_qos_off[FLIP_OLD] = s->will_qos_off[FLIP_NEW];
    s->will_unretained[FLIP_OLD] = s->will_unretained[FLIP_NEW];
}

void session_device_changed(struct session *s)
{
    if (s->state == SESSION_OVER)
        return;
    suspect_drop(s);
    s->fallback = false;
    s->dev->differ = (struct differ){0};
    s->refused_seq = 0;
    if (s->phase == RH_IDLE && s->up != NULL) {
        s->retry_ms = 0;
        if (at_home(s))
            tell_home(s);
        else
            settle(s);
    } else if (s->phase == RH_WAITING) {
        s->retry_ms = 0;
        upstream_step(s, RH_EV_WANT, NULL);
    } else if (s->phase == RH_LEAVING) {
        if (s->cand->slot != s->dev->active)
            upstream_step(
                s, s->spare != NULL && s->spare->slot == s->dev->active ? RH_EV_CANCEL : RH_EV_WANT,
                NULL);
    } else if (s->cand != NULL) {
        if (s->up != NULL && s->have == s->dev->active && (s->cand->slot != s->have || at_home(s)))
            upstream_step(s, RH_EV_CANCEL, NULL);
        else if (s->cand->slot != s->dev->active)
            upstream_step(s, RH_EV_WANT, NULL);
        if (s->state != SESSION_OVER && s->phase == RH_IDLE && s->up != NULL && at_home(s))
            tell_home(s);
    }
    if (s->state == SESSION_OVER)
        return;
    evidence_leg(s);
    session_carry_on(s);
}
