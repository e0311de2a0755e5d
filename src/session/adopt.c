/* The candidate that was accepted becomes the leg in use: what is restored on it, what is counted,
 * and when main is told of it.
 */
#include "session/upstream_inside.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "session/dialect.h"
#include "session/evidence.h"
#include "session/greet.h"
#include "session/relay.h"

static void count_hold(struct session *s, uint32_t us)
{
    struct worker_stats *st = &s->env->stats;

    st->rehomes++;
    st->hold_us_sum += us;
    histogram_add(&st->holds, us);
    if (us > st->hold_us_max)
        st->hold_us_max = us;
}

/* What is queued at the broker has the topics of this leg's subscriptions. */
static void remember_prefix(struct session *s)
{
    const struct dialect *d = s->up->dialect;

    free(s->topic_prefix);
    s->topic_prefix = NULL;
    if (d != NULL && d->out.prefix.n > 0)
        s->topic_prefix = strndup((const char *)d->out.prefix.p, d->out.prefix.n);
}

void upstream_tell(struct session *s, struct session_leg_news *news)
{
    s->env->news->leg(s->env->news_arg, s, news);
}

void upstream_forget_news(struct session *s)
{
    free(s->accepted_news);
    s->accepted_news = NULL;
}

/* Is the leg in use that of an identity that has to prove itself? */
bool upstream_on_probation(const struct session *s)
{
    return s->dev->evidence != 0 && s->have == s->dev->active;
}

/* A broker may accept and fall silent, and silence is no success: probation begins with the answer
 * to a PINGREQ, behind all that was sent again. */
void upstream_tell_when_it_answers(struct session *s, struct session_leg_news *news)
{
    upstream_forget_news(s);
    s->accepted_news = malloc(sizeof *news);
    if (s->accepted_news == NULL)
        return; /* without proof it is not told: the trial's deadline goes back */
    *s->accepted_news = *news;
    (void)relay_ping(s);
}

void upstream_answers(struct session *s)
{
    if (s->accepted_news == NULL)
        return;
    upstream_tell(s, s->accepted_news);
    upstream_forget_news(s);
}

/* The broker has lost the session, and what the device had subscribed to on an earlier connection
 * is not known: it would wait in vain for what it gets no more.  As without us, it has to connect
 * and hear that its session is gone.  Who subscribes on each connection, as most do, is known. */
static bool is_beyond_restoring(const struct session *s, bool present)
{
    return !present && s->legacy == LEGACY_UNKNOWN && s->inherited && s->subs.count == 0 &&
           s->version != MQTT_V31;
}

static void give_up_restoring(struct session *s, struct session_leg_news *news)
{
    s->legacy = LEGACY_VOID;
    s->env->stats.downstream_closed_by_us++;
    if (!upstream_on_probation(s)) /* it has proven nothing */
        upstream_tell(s, news);
    session_end(s, 0x8B, true,
                "the broker lost the session, and what the device had subscribed to before it "
                "connected here is not known");
}

void upstream_adopt(struct session *s)
{
    struct session_leg_news news = {.what = LEG_NEWS_ACCEPTED};
    bool first = s->state != SESSION_RELAYING;
    bool present = s->cand->session_present;
    bool moved = !first && upstream_has_moved(s);
    /* 5.0's last word on a leg that had to leave first could not yet be that the session ends. */
    bool litter = s->litter || (s->left && s->device_expiry_s == 0 &&
                                upstream_profile(s, s->have, NULL)->keep_session);
    enum flip_slot former = s->have;

    crash_point("rehome.adopt");
    s->failed_times = 0;
    s->up = s->cand;
    s->cand = NULL;
    s->up->watch = false;
    remember_prefix(s);
    s->litter = s->clean && s->up->keep && s->up->version != MQTT_V5;
    assert(
        !tls_conn_resumed(s->up->tls)); /* it would carry the former identity, and prove nothing */
    s->have = s->up->slot;
    s->accepted = true;
    s->env->stats.legs_up++;
    relay_answer_pings(s);
    s->due_ms = 0;
    if (s->have == FLIP_NEW)
        differ_accepted(&s->dev->differ);
    s->spareless = 0;
    s->up_since_ms = env_now_ms(s->env);
    s->will_quiet = false;
    if (moved && litter)
        upstream_clear_former(s, former, present);
    s->left = false;
    s->home = greet_home(s, s->have, GREET_HOST_AND_PORT);
    s->host = greet_home(s, s->have, GREET_HOST);
    news.slot = s->have;
    news.rehomed = !first;
    news.session_present = present;
    news.cred = s->up->cred;
    news.tls = tls_conn_version(s->up->tls);
    if (first) {
        s->state = SESSION_RELAYING;
        s->inherited = !s->clean && (present || s->up->version == MQTT_V31);
        s->last_rx_ms = env_now_ms(s->env);
    } else if (is_beyond_restoring(s, present)) {
        give_up_restoring(s, &news);
        return;
    } else {
        evidence_leg_gone(s);
        relay_restore(s, present, &news.replayed, &news.restored, &news.lost);
        news.hold_us = (uint32_t)((uint64_t)clock_mono_us() - s->hold_since_us);
        count_hold(s, news.hold_us);
        s->env->stats.replayed += news.replayed;
        s->env->stats.restored_subscriptions += news.restored;
        s->env->stats.rehome_lost += news.lost;
        log_event(
            LOG_SESSION, LOG_INFO_, "rehomed",
            "device=%s slot=%s session_present=%d replayed=%u restored=%u lost=%u hold_us=%u drain_us=%u",
            s->dev->name, flip_slot_name(s->have), present, news.replayed, news.restored, news.lost,
            news.hold_us, s->drain_us);
        if (!present && !s->leg_lost && s->up->keep && !moved)
            log_event(LOG_SESSION, LOG_WARN_, "session-lost", "device=%s slot=%s msg=%s todo=%s",
                      s->dev->name, flip_slot_name(s->have),
                      LOG_Q("the broker did not keep the session when the identity changed: "
                            "subscriptions were made again, and what it had queued is gone"),
                      LOG_Q("see whether the broker ties sessions to the certificate or user"));
    }
    s->leg_lost = false;
    if (s->fallback) {
        s->fallback = false;
        log_event(LOG_SESSION, LOG_NOTICE_, "fallback", "device=%s msg=%s", s->dev->name,
                  LOG_Q("the old identity serves until the one on trial is tried again"));
        upstream_retry_later(s, DIAG_NETWORK);
    }
    pace_tell(s);
    leg_read(s->up, true);
    crash_point("rehome.adopted");
    if (upstream_on_probation(s))
        upstream_tell_when_it_answers(s, &news);
    else
        upstream_tell(s, &news);
    evidence_leg(s);
}
