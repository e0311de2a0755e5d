/* An attempt failed, or the leg in use was lost: whose fault may it be, who is told, and what is
 * tried next, and when.
 */
#include "session/upstream_inside.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crash.h"
#include "base/log.h"
#include "base/rand.h"
#include "session/suspect.h"

/* A refused first connection waits this long for main to choose the other identity. */
#define VERDICT_MS 5000u
/* A leg that lived so long was a success; the next attempt begins with the first step of the
 * backoff. */
#define STEADY_MS 30000u

#define REASON_SERVER_BUSY 0x89

_Static_assert(sizeof(((struct session *)0)->failed_cause) == sizeof(((struct diag *)0)->name),
               "a name fits");

#define FAILURES_SAID 4 /* each of so many alike in a row; then the 8th, the 16th and so on */

/* Is this failure worth a line?  In an outage that lasts, thousands of devices try again and again,
 * and fail alike. */
static bool count_failure(struct session *s, enum flip_slot slot, const struct diag *d)
{
    bool alike =
        s->failed_times > 0 && s->failed_slot == slot && strcmp(s->failed_cause, d->name) == 0;

    s->failed_slot = slot;
    memcpy(s->failed_cause, d->name, sizeof(s->failed_cause));
    s->failed_times = alike ? s->failed_times + 1 : 1;
    return s->failed_times <= FAILURES_SAID || (s->failed_times & (s->failed_times - 1)) == 0;
}

/* A TLS 1.3 broker refuses a certificate after our end of the handshake; that is part of it, too.
 */
static bool is_of_handshake(const struct diag *d)
{
    return strncmp(d->name, "tls.", 4) == 0 || strncmp(d->name, "trust.", 6) == 0;
}

void upstream_tell_trouble(struct session *s, bool lost, enum flip_slot slot,
                           const struct cred *cred, const struct diag *d)
{
    enum log_level level = lost ? LOG_NOTICE_ : LOG_WARN_;
    bool handshake = !lost && is_of_handshake(d);
    char times[32] = "", msg[400];

    assert(d != NULL);
    crash_point("rehome.trouble");
    if (!lost && !count_failure(s, slot, d))
        level = LOG_DEBUG_;
    if (!lost && s->failed_times > FAILURES_SAID)
        snprintf(times, sizeof(times), " times=%u", s->failed_times);
    snprintf(msg, sizeof(msg), "%s%s", handshake ? "TLS handshake: " : "", d->sentence);
    log_event(handshake ? LOG_TLS_HANDSHAKE : LOG_SESSION, level,
              lost ? "uplink-lost" : "uplink-failed",
              "device=%s slot=%s class=%s cause=%s%s%s%s%s%s msg=%s todo=%s", s->dev->name,
              flip_slot_name(slot), diag_class_name(d->class), d->name, times,
              d->alert != NULL ? " alert=" : "", d->alert != NULL ? d->alert : "",
              d->x509 != NULL ? " x509=" : "", d->x509 != NULL ? d->x509 : "", LOG_Q(msg),
              LOG_Q(d->remedy));
    upstream_tell(s, &(struct session_leg_news){.what = lost ? LEG_NEWS_LOST : LEG_NEWS_FAILED,
                                                .slot = slot,
                                                .cred = cred,
                                                .tls = "",
                                                .diag = d});
}

static struct backoff_conf backoff_conf(const struct conf_flip *f)
{
    struct backoff_conf c = backoff_default;

    if (f->backoff_tls_count > 0) {
        c.identity.n = (uint32_t)f->backoff_tls_count;
        for (size_t i = 0; i < f->backoff_tls_count; i++)
            c.identity.ms[i] = f->backoff_tls_s[i] * INT64_C(1000);
    }
    if (f->backoff_network_count > 0) {
        c.network.n = (uint32_t)f->backoff_network_count;
        for (size_t i = 0; i < f->backoff_network_count; i++)
            c.network.ms[i] = f->backoff_network_s[i] * INT64_C(1000);
    }
    return c;
}

void upstream_retry_later(struct session *s, enum diag_class class)
{
    struct backoff_conf c = backoff_conf(&s->snap->conf->flip);

    s->retry_ms = env_now_ms(s->env) +
                  (uint64_t)backoff_next_ms(&s->backoff, &c, class, (uint32_t)rand_u64());
}

void upstream_refuse_first(struct session *s, const struct diag *why)
{
    struct err err;
    const char *code = why->class == DIAG_IDENTITY ? "identity-refused" : "uplink-down";

    err_set(&err, ERR_CLOSED, "upstream: %s: %s", why->sentence, why->remedy);
    session_refuse(s, s->refusal != 0 ? s->refusal : REASON_SERVER_UNAVAILABLE, code, &err);
}

/* The device has died while its leg was being changed, and that is over. */
void upstream_end_of_the_dead(struct session *s)
{
    session_end(s, 0, false, "the device's connection ended without DISCONNECT during a switch");
}

/* The broker knows of the device's death, by the end of the leg that was lost: a new one would
 * bring its Will once more. */
static bool is_over_for_the_dead(const struct session *s)
{
    return s->died && !s->will_quiet;
}

bool upstream_other_usable(const struct session *s)
{
    return s->dev->cred[flip_other_slot(s->dev->active)] != NULL;
}

/* The identity on trial has failed for a reason that says nothing of it, and there is no leg: may
 * the old one serve the device until it is tried again?  Not where that cannot do better. */
bool upstream_may_fall_back(const struct session *s, enum diag_class class)
{
    const struct conf_upstream *a = upstream_profile(s, FLIP_OLD, NULL),
                               *b = upstream_profile(s, FLIP_NEW, NULL);
    bool same = a->port == b->port && strcmp(a->address, b->address) == 0;

    if (s->dev->evidence == 0 || s->dev->active != FLIP_NEW || !upstream_other_usable(s) ||
        s->fallback || s->probing || s->died)
        return false;
    switch (class) {
    case DIAG_TRUST:
    case DIAG_PROTOCOL:
    case DIAG_POLICY:
        return true;
    case DIAG_NETWORK:
    case DIAG_BROKER:
        return !same;
    case DIAG_OK:
    case DIAG_IDENTITY: /* main decides */
    case DIAG_SUSPECT:  /* is settled */
    case DIAG_CLASSES:
    default:
        return false;
    }
}

/* There is no leg.  Who was told yes is held (or dropped, where its profile says so); who still
 * waits for CONNACK gets an answer, unless the other identity may get in. */
static void no_leg(struct session *s, const struct diag *why)
{
    bool trial = s->dev->active == FLIP_NEW && upstream_other_usable(s);

    s->due_ms = 0;
    if (is_over_for_the_dead(s)) {
        upstream_end_of_the_dead(s);
        return;
    }
    if (s->state == SESSION_OPENING) {
        if (why->class == DIAG_IDENTITY && trial) {
            s->retry_ms = env_now_ms(s->env) + VERDICT_MS;
            return;
        }
        upstream_refuse_first(s, why);
        return;
    }
    if (upstream_profile(s, s->have, NULL)->uplink_lost == CONF_UPLINK_DROP) {
        s->env->stats.downstream_closed_by_us++;
        session_end(s, REASON_SERVER_BUSY, false,
                    "the uplink is lost, and its profile says uplink_lost = \"drop\"");
        return;
    }
    upstream_retry_later(s, diag_pace(why));
}

/* A leg is there, or will be at once, but not the wanted identity's.  Main decides anew about a new
 * identity that was refused; to an old one that is wanted there is no alternative. */
static void try_again(struct session *s, enum flip_slot slot, const struct diag *why)
{
    if (why->class == DIAG_IDENTITY && slot == FLIP_NEW)
        s->refused_seq = s->dev->flip_seq;
    else
        upstream_retry_later(s, diag_pace(why));
}

/* When the other identity fails, too, it is not the identity.  An end without a word has it tried,
 * at once, as far as the new one came. */
static void failed(struct session *s, const struct occasion *o)
{
    enum flip_slot slot = s->cand != NULL ? s->cand->slot : upstream_wanted(s);
    const struct cred *cred = s->cand != NULL ? s->cand->cred : NULL;
    struct diag d = *o->why;
    bool old_alive = s->up != NULL && s->accepted && o->was != RH_LEAVING;
    bool spared = (o->todo & RH_DO_TAKE_SPARE) != 0;

    if (s->state == SESSION_RELAYING)
        s->env->stats.rehomes_failed++;
    upstream_tell_trouble(s, false, slot, cred, &d);
    if (s->probing) {
        suspect_fails(s, &d);
        upstream_tell_trouble(s, false, FLIP_NEW, s->dev->cred[FLIP_NEW], &d);
    } else if (slot == FLIP_NEW && o->ev != RH_EV_SPARE_FAILED &&
               suspect_raise(s, &d, upstream_said_connect(o->was) ? DIFFER_CONNACK : DIFFER_TLS,
                             0)) {
        return;
    }
    if (old_alive || spared)
        try_again(s, slot, &d);
}

void upstream_report_lost(struct session *s, const struct occasion *o)
{
    uint64_t lived_ms = env_now_ms(s->env) - s->up_since_ms;
    struct diag d;

    if (!s->accepted)
        return;
    s->leg_lost = true;
    upstream_forget_news(s);
    /* A leg that is taken away soon after it was accepted is no success: somebody else may have the
     * client id. */
    if (lived_ms >= STEADY_MS)
        (void)backoff_next_ms(&s->backoff, &backoff_default, DIAG_OK, 0);
    upstream_tell_trouble(s, true, s->have, s->up != NULL ? s->up->cred : NULL, o->why);
    if (s->probing && s->have == s->probe && s->suspicion->far == DIFFER_STANDS) {
        /* It does not stand longer than the new one's did. */
        suspect_fails(s, &d);
        upstream_tell_trouble(s, false, FLIP_NEW, s->dev->cred[FLIP_NEW], &d);
    } else if (s->have == FLIP_NEW && o->was == RH_IDLE) {
        (void)suspect_raise(s, o->why, DIFFER_STANDS, lived_ms);
    }
}

void upstream_report_failed(struct session *s, const struct occasion *o)
{
    failed(s, o);
}

void upstream_wait(struct session *s, const struct occasion *o)
{
    bool falls = o->ev == RH_EV_CAND_FAILED && upstream_may_fall_back(s, o->why->class);

    s->fallback = falls;
    if (falls || (s->probing && !is_over_for_the_dead(s)))
        upstream_step(s, RH_EV_RETRY, NULL); /* the other identity, at once */
    else
        no_leg(s, o->why);
}

/* The old identity came as far as the new one had come. */
void upstream_other_works(struct session *s)
{
    struct diag d;

    if (suspect_works(s, &d)) {
        upstream_tell_trouble(s, false, FLIP_NEW, s->dev->cred[FLIP_NEW], &d);
        s->refused_seq = s->dev->flip_seq;
    } else {
        upstream_retry_later(s, diag_pace(&d));
    }
}
