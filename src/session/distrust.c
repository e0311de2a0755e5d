/* A device's certificate was believed when it came; is it still?  Asked when the snapshot changes,
 * and once more at the end of a handshake that began under an earlier one. */
#include <stdio.h>

#include "base/log.h"
#include "base/str.h"
#include "session/session.h"

#define OCSP_TELL_MS 60000

void session_count_gap(struct env *env, const struct tls_conn *tls)
{
    unsigned gap = tls_conn_crl_gap(tls);

    env->stats.crl_missing += (gap & TLS_CRL_MISSING) != 0;
    env->stats.crl_stale += (gap & TLS_CRL_STALE) != 0;
}

/* A line each minute for each worker: whoever asks every broker sees the same of every connection.
 */
void session_count_ocsp(struct session *s, const struct leg *leg)
{
    enum tls_ocsp_gap gap = tls_conn_ocsp_gap(leg->tls);
    struct env *env = s->env;

    if (gap == TLS_OCSP_FINE)
        return;
    env->stats.ocsp_missing += gap == TLS_OCSP_MISSING;
    env->stats.ocsp_stale += gap == TLS_OCSP_STALE;
    env->stats.ocsp_invalid += gap == TLS_OCSP_UNKNOWN || gap == TLS_OCSP_INVALID;
    env->ocsp_untold++;
    if (env->ocsp_ms != 0 && env_now_ms(env) < env->ocsp_ms + OCSP_TELL_MS)
        return;
    env->ocsp_ms = env_now_ms(env);
    log_event(LOG_CERT, LOG_WARN_, "ocsp-passed-over",
              "upstream=%s device=%s response=%s connections=%u msg=%s",
              upstream_profile(s, leg->slot, NULL)->name, s->dev != NULL ? s->dev->name : "",
              tls_ocsp_gap_word(gap), env->ocsp_untold,
              LOG_Q("the broker was believed without a good OCSP response: look at its stapling"));
    env->ocsp_untold = 0;
}

/* The listener's present context, with *keep set when it cuts nobody off; NULL: the listener is
 * gone, or is none of TLS any more, and what it let in stays. */
static const struct tls_ctx *context_of(const struct session *s, bool *keep)
{
    const struct wk_snapshot *snap = s->env->snap;
    const struct conf_listener *l = conf_listener_find(snap->conf, s->listener);

    if (l == NULL)
        return NULL;
    *keep = l->revoked_sessions == CONF_REVOKED_KEEP;
    return snap->listener_ctx[l - snap->conf->listeners];
}

static const char *const codes[] = {"revoked", "distrusted"};
static const char *const whats[] = {
    "its certificate, or a CA above it, was revoked: give the device another certificate",
    "the CA that its certificate comes from is trusted no longer: give the device another "
    "certificate, or add the CA again",
};

static void cut(struct session *s, bool revoked)
{
    const char *device = s->dev != NULL ? s->dev->name : "", *code = codes[!revoked];
    char fp[CERT_FP_TEXT];
    struct err err;

    str_hex(fp, s->trail->fp, CERT_FP_BYTES);
    log_event(LOG_SESSION, LOG_NOTICE_, "session-cut",
              "device=%s peer=%s listener=%s code=%s fingerprint=%s msg=%s", device, s->peer,
              s->listener, code, fp, LOG_Q(whats[!revoked]));
    if (revoked)
        s->env->stats.cut_revoked++;
    else
        s->env->stats.cut_distrusted++;
    if (s->state == SESSION_RELAYING) {
        s->env->stats.downstream_closed_by_us++;
        session_end(s, 0x87, false, whats[!revoked]);
        return;
    }
    if (s->state == SESSION_CONNECTING) { /* no CONNECT that a CONNACK could answer */
        session_tell_refused(s, code, whats[!revoked]);
        session_end(s, 0, false, whats[!revoked]);
        return;
    }
    err_set(&err, ERR_DENIED, "%s", whats[!revoked]);
    session_refuse(s, 0x87, code, &err);
}

void session_trust_changed(struct session *s)
{
    const struct tls_ctx *ctx;
    enum tls_fault fault;
    bool keep = false;

    if (s->trail == NULL || s->state == SESSION_OVER)
        return;
    ctx = context_of(s, &keep);
    fault = ctx == NULL || keep ? TLS_FAULT_NONE : tls_trail_fault(s->trail, ctx);
    if (fault != TLS_FAULT_NONE)
        cut(s, fault == TLS_FAULT_REVOKED);
}
