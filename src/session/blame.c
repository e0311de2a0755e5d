/* Turns how a leg ended into the plain facts that flip/diagnose.h judges. */
#include "session/blame.h"

/* A broker that does not take a certificate says so, or closes, within a few round trips. */
#define PATIENCE_MS 3000u

static void facts_of_end(const struct leg_end *end, struct diag_in *in)
{
    const struct tls_fail *f = end->fail;

    if (end->status < 0 && end->status > -1000)
        in->errnum = -end->status;
    else if (end->status < 0)
        in->detail = uv_strerror(end->status); /* the resolver's codes */
    in->eof = end->at != LEG_DIALING;
    if (f == NULL)
        return;
    in->tls_side = (enum diag_tls_side)f->side;
    in->tls_alert = f->alert;
    in->tls_code = f->code;
    in->tls_x509 = f->x509;
    in->tls_after_hello = f->after_hello;
    in->tls_after_cert = f->after_cert;
    in->detail = *f->text != '\0' ? f->text : NULL;
}

static bool connect_sent_on(const struct session *s, const struct leg *leg)
{
    return leg == s->cand && upstream_connect_sent(s);
}

struct diag blame_leg(const struct session *s, const struct leg *leg, const struct leg_end *end)
{
    struct diag_in in = DIAG_IN_INIT;

    in.mqtt_version = leg->version;
    facts_of_end(end, &in);
    if (end->at == LEG_DIALING)
        in.stage = end->dial_stage == DIAL_DNS ? DIAG_AT_DNS : DIAG_AT_TCP;
    else if (end->at == LEG_TLS)
        in.stage = DIAG_AT_TLS;
    else if (leg == s->up)
        in.stage = DIAG_AT_ESTABLISHED;
    else
        in.stage = connect_sent_on(s, leg) ? DIAG_AT_CONNACK : DIAG_AT_CONNECT;
    in.waited = end->at == LEG_OPEN && env_now_ms(s->env) - leg->at_ms >= PATIENCE_MS;
    if (in.stage >= DIAG_AT_TLS && leg->tls != NULL) /* close_notify brings no facts */
        in.tls_after_cert = tls_conn_cert_sent(leg->tls);
    return diagnose(&in);
}

struct diag blame_timeout(const struct session *s, const struct leg *leg)
{
    struct diag_in in = DIAG_IN_INIT;

    in.mqtt_version = leg->version;
    in.timed_out = true;
    if (connect_sent_on(s, leg))
        in.stage = DIAG_AT_CONNACK;
    else if (leg->state == LEG_TLS)
        in.stage = DIAG_AT_TLS;
    else
        in.stage = DIAG_AT_TCP;
    in.tls_after_cert = leg->tls != NULL && tls_conn_cert_sent(leg->tls);
    return diagnose(&in);
}
