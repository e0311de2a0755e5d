/* Turns how a leg ended into the plain facts that flip/diagnose.h judges. */
#include "session/blame.h"

#include <stdio.h>

/* A broker that does not take a certificate says so, or closes, within a few round trips. */
#define PATIENCE_MS 3000u
/* A client that is taken over, and comes back, and takes over. */
#define BRIEF_MS  15000u
#define BRIEF_MAX 3u
/* Two comparisons of a trial's identities (session/suspect.h) in which neither was kept. */
#define BRIEF_MAX_TRIAL 6u

static void facts_of_end(const struct leg_end *end, struct diag_in *in)
{
    const struct tls_fail *f = end->fail;

    if (end->status < 0 && end->status > -1000)
        in->errnum = -end->status;
    else if (end->status < 0)
        in->detail = uv_strerror(end->status); /* the resolver's codes */
    /* What TLS found faulty here has ended it, whoever closed. */
    in->eof = end->at != LEG_DIALING &&
              (f == NULL || (f->side != TLS_FAIL_LOCAL && f->side != TLS_FAIL_TOKEN));
    if (f == NULL)
        return;
    in->tls_side = (enum diag_tls_side)f->side;
    in->tls_alert = f->alert;
    in->tls_code = f->code;
    in->tls_x509 = f->x509;
    in->tls_word = f->word;
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
    in.token_slow = leg->token_ms >= PATIENCE_MS;
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
    in.token_slow = leg->away;
    in.tls_after_cert = leg->tls != NULL && tls_conn_cert_sent(leg->tls);
    return diagnose(&in);
}

struct diag blame_token(const char *what, const struct err *err)
{
    struct diag_in in = DIAG_IN_INIT;

    in.tls_side = DIAG_TLS_TOKEN;
    in.tls_word = what;
    in.detail = err->msg;
    return diagnose(&in);
}

struct diag blame_answer(const struct mqtt_packet *pkt, int version, const struct err *err)
{
    struct diag_in in = DIAG_IN_INIT;
    struct diag d;

    if (pkt->type != MQTT_CONNACK) {
        d = diag_of(catalogue_by_code(CATALOGUE_END, END_NO_CONNACK), NULL);
        snprintf(d.sentence, sizeof d.sentence, "the broker answered CONNECT with %s",
                 mqtt_type_name(pkt->type));
        return d;
    }
    in.stage = DIAG_AT_CONNACK;
    in.mqtt_version = (uint8_t)version;
    in.code = pkt->body_bytes >= 2 ? pkt->body[1] : -1;
    struct diag by_code = diagnose(&in);
    if (in.code > 0 && by_code.class == DIAG_PROTOCOL)
        return by_code; /* a code that has no meaning, above all */
    d = diag_of(catalogue_by_code(CATALOGUE_END, END_MALFORMED), NULL);
    snprintf(d.sentence, sizeof d.sentence, "the broker's CONNACK breaks the standard: %.240s",
             err->msg);
    return d;
}

/* What the broker says of its reason in words (5.0) is worth more than the code. */
static struct diag by_reason(const struct leg *leg, enum diag_stage stage, uint8_t code,
                             struct mqtt_props props)
{
    struct diag_in in = DIAG_IN_INIT;
    struct mqtt_prop_value v;
    char words[200];

    in.stage = stage;
    in.mqtt_version = leg->version;
    in.code = code;
    if (mqtt_props_find(props, MQTT_PROP_REASON_STRING, &v)) {
        snprintf(words, sizeof words, SLICE_FMT,
                 (int)(v.str.n < sizeof words ? v.str.n : sizeof words - 1), (const char *)v.str.p);
        in.detail = words;
    }
    return diagnose(&in);
}

struct diag blame_connack(const struct leg *leg, const struct mqtt_connack *ack)
{
    return by_reason(leg, DIAG_AT_CONNACK, ack->code, ack->props);
}

struct diag blame_disconnect(const struct leg *leg, const struct mqtt_disconnect *m)
{
    return by_reason(leg, DIAG_AT_ESTABLISHED, m->reason, m->props);
}

struct diag blame_habit(struct session *s, const struct diag *why, uint64_t lived_ms)
{
    bool is_trial = s->dev->active == FLIP_NEW && s->dev->cred[FLIP_OLD] != NULL;
    struct diag d = *why;

    if (lived_ms >= BRIEF_MS || !why->silent)
        s->brief = 0;
    else if (s->brief < UINT8_MAX)
        s->brief++;
    if (s->brief < (is_trial ? BRIEF_MAX_TRIAL : BRIEF_MAX))
        return d;
    s->env->stats.taken_over++;
    d = diag_of(catalogue_by_code(CATALOGUE_END, END_TAKEN_OVER_PERHAPS), NULL);
    d.silent = why->silent;
    d.alert = why->alert;
    d.alert_number = why->alert_number;
    d.x509 = why->x509;
    snprintf(
        d.sentence, sizeof d.sentence,
        "%u times in a row the broker accepted the connection, and ended it without a word within"
        " %u s: probably another client connects with the same client id",
        s->brief, BRIEF_MS / 1000);
    return d;
}
