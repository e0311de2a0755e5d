/* How a session lives:
 *
 *   accept -> TLS handshake -> CONNECT -> who is it? -> upstream leg -> CONNACK -> relay ... -> end
 *
 * Everything up to CONNECT costs the peer its own connection at most; every refusal is counted,
 * logged once and answered with the code that the standard has for it.
 */
#include "session/session.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "session/evidence.h"
#include "session/relay.h"
#include "session/sources.h"
#include "session/suspect.h"

/* Beyond the sessions that limits.connections allows, so many more may be on their way to be
 * refused with a CONNACK; what comes then is closed at once. */
#define EXCEPTION_TELL_MS 10000u
#define CONNECTIONS_SPARE 256u
/* Who has not said who it is gets no more memory than this. */
#define CONNECT_BYTES_MAX (512u * 1024u)

/* The Will of a device that died in a switch waits so long for an uplink. */
#define DIED_MS 300000u

/* Of the whole process: a bound that each worker kept for itself would depend on how the kernel
 * spreads connections. */
static atomic_uint connections; /* sockets */
static atomic_uint admitted;    /* those whose CONNECT was accepted */

static const struct leg_ops down_ops;

static void opening_drop(struct session *s)
{
    if (s->opening == NULL)
        return;
    cert_info_free(s->opening->cert);
    tls_excuse_free(s->opening->excuse);
    free(s->opening);
    s->opening = NULL;
}

static void session_free(uv_handle_t *handle)
{
    struct session *s = handle->data;

    list_del(&s->link);
    list_del(&s->of_device);
    opening_drop(s);
    free(s->exception);
    inflight_fini(&s->to_broker);
    inflight_fini(&s->to_device);
    subs_fini(&s->subs);
    aliases_fini(&s->aliases);
    free(s->topic_prefix);
    aliases_fini(&s->down_aliases);
    retained_fini(&s->retained);
    buf_fini(&s->held);
    buf_fini(&s->early);
    suspect_drop(s);
    evidence_free(s);
    free(s->refusals);
    free(s->accepted_news);
    tls_trail_free(s->trail);
    if (s->connect != NULL)
        explicit_bzero(s->connect, s->connect_bytes); /* it may hold a password */
    free(s->connect);
    free(s->assigned_id);
    free(s->listener);
    free(s->rule_upstream[FLIP_OLD]);
    free(s->rule_upstream[FLIP_NEW]);
    free(s->cn);
    free(s->san);
    snapshot_unref(s->snap);
    s->env->stats.sessions--;
    if (*s->peer != '\0')
        sources_leave(s->peer);
    atomic_fetch_sub_explicit(&connections, 1, memory_order_relaxed);
    free(s);
}

static void handshake_over(struct session *s)
{
    if (s->handshaking)
        s->env->handshakes--;
    s->handshaking = false;
}

/* May the device take its session up again? */
static bool lasts(const struct session *s)
{
    return s->version == MQTT_V5 ? s->device_expiry_s > 0 : !s->clean;
}

static void over(struct session *s)
{
    if (s->state == SESSION_RELAYING && lasts(s))
        presence_bequeath(s->dev->presence, s->client, s->legacy, &s->subs);
    if (s->state == SESSION_OPENING || s->state == SESSION_RELAYING) {
        atomic_fetch_sub_explicit(&admitted, 1, memory_order_relaxed);
        presence_leave(s->dev->presence);
    }
    s->state = SESSION_OVER;
    handshake_over(s);
    s->timer_ms = 0;
    upstream_gate(s);
    list_del(&s->of_device);
    uv_timer_stop(&s->timer);
    uv_close((uv_handle_t *)&s->timer, session_free);
}

/* `cause`: a stable name of the catalogue that says more than the code; NULL: none. */
static void tell_refused(struct session *s, enum log_subsystem sub, const char *code,
                         const char *cause, const char *text)
{
    struct env *env = s->env;
    const char *device = s->dev != NULL ? s->dev->name : "";

    env->stats.refused++;
    log_event(sub, LOG_WARN_, "session-refused", "listener=%s peer=%s%s%s code=%s%s%s msg=%s",
              s->listener, s->peer, *device != '\0' ? " device=" : "", device, code,
              cause != NULL ? " cause=" : "", cause != NULL ? cause : "", LOG_Q(text));
    env->news->refused(env->news_arg, s->listener, s->peer, device, code, text);
}

void session_tell_refused(struct session *s, const char *code, const char *text)
{
    tell_refused(s, LOG_SESSION, code, NULL, text);
}

/* Answer CONNECT with the refusal of its dialect, and close. */
void session_refuse(struct session *s, uint8_t reason5, const char *code, const struct err *err)
{
    struct buf out = {0};
    int version = s->version != 0 ? s->version : MQTT_V311;
    struct mqtt_connack ack = {
        .code = version == MQTT_V5 ? reason5 : mqtt_connack_code31(reason5),
    };

    if (s->state == SESSION_OVER)
        return;
    session_tell_refused(s, code, err->msg);
    if (s->state != SESSION_CONNECTING) /* its beginning was told, so is its end */
        s->env->news->down(s->env->news_arg, s, err->msg);
    if (s->down != NULL && mqtt_connack_write(&out, version, &ack) == 0) {
        leg_write(s->down, out.p, out.len);
        leg_flush(s->down);
    }
    buf_fini(&out);
    upstream_goodbye(s, true);
    leg_close_gentle(&s->down);
    over(s);
}

void session_end(struct session *s, uint8_t reason, bool polite, const char *why)
{
    struct env *env = s->env;

    if (s->state == SESSION_OVER)
        return;
    if (reason != 0 && s->down != NULL && s->version == MQTT_V5 && s->state == SESSION_RELAYING) {
        struct buf out = {0};
        if (mqtt_disconnect_write(&out, MQTT_V5, &(struct mqtt_disconnect){.reason = reason}) == 0)
            leg_write(s->down, out.p, out.len);
        buf_fini(&out);
    }
    if (s->dev != NULL) {
        env->news->down(env->news_arg, s, why);
        log_event(LOG_SESSION, LOG_INFO_, "session-ended", "device=%s peer=%s msg=%s", s->dev->name,
                  s->peer, LOG_Q(why));
    }
    upstream_goodbye(s, polite);
    leg_close_gentle(&s->down);
    over(s);
}

void session_hear_out(struct session *s)
{
    if (s->state == SESSION_RELAYING && s->accepted && !s->holding && session_hears(s))
        leg_hear_out(s->down);
}

void session_taken_over(struct session *s, const char *why)
{
    s->taken_over = true;
    s->env->stats.downstream_closed_by_us++;
    session_end(s, 0x8E, false, why);
}

/* ---- deadlines ---- */

static uint64_t sooner(uint64_t a, uint64_t b)
{
    if (a == 0 || b == 0)
        return a + b;
    return a < b ? a : b;
}

bool session_hears(const struct session *s)
{
    return s->down != NULL && s->down->st.reading;
}

/* A device that says nothing for one and a half times its keepalive is gone [MQTT-3.1.2-24]; not
 * one that is not listened to, or that has said goodbye. */
static uint64_t silence_ends(const struct session *s)
{
    if (s->state != SESSION_RELAYING || s->keepalive_s == 0 || s->leave_ms != 0 ||
        !session_hears(s))
        return 0;
    return s->last_rx_ms + s->keepalive_s * UINT64_C(1500);
}

/* A device that is not read because enough waits for an uplink gets no PINGRESP either, and gives
 * up in the end.  Half of its keepalive it is held back; then it is heard again. */
static uint64_t shedding_begins(const struct session *s)
{
    if (!s->holding || s->up != NULL || s->state != SESSION_RELAYING || s->shedding ||
        s->keepalive_s == 0 || s->down == NULL || s->down->state != LEG_OPEN || session_hears(s))
        return 0;
    return s->last_rx_ms + s->keepalive_s * UINT64_C(500);
}

/* When the broker was promised more signs of life than the device gives, or than are read from it,
 * we give them. */
static uint64_t ping_due(const struct session *s)
{
    if (s->up == NULL || !s->accepted || s->up->keepalive_s == 0 ||
        (s->keepalive_s != 0 && s->keepalive_s <= s->up->keepalive_s && session_hears(s)))
        return 0;
    return s->last_tx_up_ms + s->up->keepalive_s * UINT64_C(750);
}

static void on_timer(uv_timer_t *timer)
{
    struct session *s = timer->data;
    uint64_t now = env_now_ms(s->env);
    uint64_t due;

    s->timer_ms = 0;
    if (s->state == SESSION_CONNECTING && s->due_ms != 0 && now >= s->due_ms) {
        struct err err;
        if (s->down->state == LEG_TLS) {
            session_tell_refused(
                s, "handshake-timeout",
                "the TLS handshake took too long: check the network, or raise limits.handshake_timeout_ms");
            leg_close_abrupt(&s->down);
            over(s);
            return;
        }
        err_set(&err, ERR_TIMEOUT, "no CONNECT came in time: is this an MQTT client?");
        session_tell_refused(s, "connect-timeout", err.msg);
        leg_close_gentle(&s->down);
        over(s);
        return;
    }
    if ((due = silence_ends(s)) != 0 && now >= due) {
        s->env->stats.downstream_closed_by_us++;
        session_end(s, 0x8D, false,
                    "the device was silent for longer than 1.5 times its keepalive");
        return;
    }
    if (s->leave_ms != 0 && now >= s->leave_ms) {
        session_end(s, 0, !s->died && !s->leaves_will,
                    "the device left, and no uplink came for its last packets");
        return;
    }
    if ((due = shedding_begins(s)) != 0 && now >= due)
        s->shedding = true; /* session_flush reads on */
    if ((due = ping_due(s)) != 0 && now >= due)
        (void)relay_ping(s);
    if ((due = upstream_silent_due(s)) != 0 && now >= due)
        upstream_silent(s);
    if (s->state == SESSION_OVER)
        return;
    if ((due = evidence_due(s)) != 0 && now >= due)
        evidence_late(s);
    if ((due = pace_due(s)) != 0 && now >= due)
        pace_late(s);
    if (s->state == SESSION_OVER)
        return;
    upstream_due(s, now);
    session_carry_on(s);
}

void session_carry_on(struct session *s)
{
    if (s->state == SESSION_OVER)
        return;
    session_flush(s);
    session_arm(s);
}

void session_arm(struct session *s)
{
    if (s->state == SESSION_OVER)
        return;
    uint64_t due = sooner(sooner(s->due_ms, s->retry_ms), sooner(silence_ends(s), ping_due(s)));
    due = sooner(due, sooner(s->leave_ms, upstream_silent_due(s)));
    due = sooner(due, sooner(evidence_due(s), shedding_begins(s)));
    due = sooner(due, pace_due(s));
    if (due == 0 || (s->timer_ms != 0 && s->timer_ms <= due))
        return; /* it rings early enough, and looks again then */
    uint64_t now = env_now_ms(s->env);
    s->timer_ms = due;
    /* Not 0: a timer of 0 ms rings again in the same turn of the loop. */
    uv_timer_start(&s->timer, on_timer, due > now ? due - now : 1, 0);
}

/* ---- flow control ---- */

/* The broker waits for the device's PUBREL. */
static bool release_is_due(const struct session *s)
{
    list_for_each (it, &s->to_broker.items)
        if (list_entry(it, struct inflight_item, link)->state == INFLIGHT_RECEIVED)
            return true;
    return false;
}

static bool must_wait(const struct session *s)
{
    const struct conf_limits *lim = &s->snap->conf->limits;
    const struct inflight *f = &s->to_broker;

    /* Where the held wait for acknowledgements, the device's PUBREL may be behind them. */
    bool paced = s->limited && !s->holding && s->state == SESSION_RELAYING &&
                 s->held.len <= UINT64_C(16) * lim->queue_bytes && release_is_due(s);
    bool shed = s->shedding && s->held.len <= UINT64_C(16) * lim->queue_bytes;
    if ((s->held.len > lim->queue_bytes && !paced && !shed) ||
        (s->state == SESSION_OPENING && s->held.len > 0) ||
        (s->up != NULL && leg_queued(s->up) > lim->queue_bytes))
        return true;
    if (f->count < lim->inflight && f->bytes <= UINT64_C(4) * lim->queue_bytes)
        return false;
    /* What would make room may be behind what it has sent already: it is heard, within reason. */
    return f->count >= UINT16_MAX ||
           f->bytes > lim->packet_bytes + UINT64_C(16) * lim->queue_bytes || !release_is_due(s);
}

static void hear(struct session *s, bool on)
{
    if (on == session_hears(s))
        return;
    if (on)
        s->last_rx_ms = env_now_ms(s->env);
    leg_read(s->down, on);
    session_arm(s);
}

/* What is not read may hold the sign of life that is waited for. */
static void hear_broker(struct session *s, bool on)
{
    if (on == s->up->st.reading)
        return;
    if (on && s->ping_since_ms != 0)
        s->ping_since_ms = env_now_ms(s->env);
    leg_read(s->up, on);
    session_arm(s);
}

void session_reading(struct session *s)
{
    const struct conf_limits *lim = &s->snap->conf->limits;

    if (s->state == SESSION_OVER)
        return;
    if (s->down != NULL && s->down->state == LEG_OPEN)
        hear(s, !must_wait(s));
    /* A broker that was told DISCONNECT sends nothing new: its last packets, and its end. */
    if (s->up != NULL && s->accepted)
        hear_broker(s, s->down == NULL || s->phase == RH_LEAVING ||
                           leg_queued(s->down) <= lim->queue_bytes);
}

void session_flush(struct session *s)
{
    if (s->up != NULL)
        leg_flush(s->up);
    if (s->cand != NULL)
        leg_flush(s->cand);
    if (s->down != NULL)
        leg_flush(s->down);
    session_reading(s);
}

/* ---- who is it? ---- */

/* Its certificate was accepted by exception alone: is there one for this device? */
static bool excused(struct session *s, const char *device, struct err *err)
{
    const struct tls_exception *e = tls_excuse_for(s->opening->excuse, device);
    char text[200];

    if (e == NULL) {
        err_set(err, ERR_DENIED,
                "the certificate of device %s (%s) is accepted by exception, but by none that is "
                "for this device: widen exceptions.device, or issue a new certificate",
                device, tls_excuse_text(s->opening->excuse, text, sizeof text));
        return false;
    }
    s->exception = strdup(e->name);
    return s->exception != NULL;
}

/* Each use is a session's; of many in a row a line each ten seconds says so. */
static void tell_exception(struct session *s)
{
    const struct tls_exception *e = tls_excuse_for(s->opening->excuse, s->dev->name);
    char text[200], until[32];

    s->env->stats.exceptions++;
    s->env->exceptions_untold++;
    if (s->env->exception_ms != 0 && env_now_ms(s->env) < s->env->exception_ms + EXCEPTION_TELL_MS)
        return;
    s->env->exception_ms = env_now_ms(s->env);
    log_event(LOG_CERT, LOG_NOTICE_, "exception-used",
              "device=%s exception=%s listener=%s peer=%s uses=%u until=%s msg=%s", s->dev->name,
              s->exception, s->listener, s->peer, s->env->exceptions_untold,
              e == NULL ? "-" : clock_iso(e->until_s, until, sizeof until),
              LOG_Q(tls_excuse_text(s->opening->excuse, text, sizeof text)));
    s->env->exceptions_untold = 0;
}

static struct device *judge(struct session *s, const struct mqtt_connect *c,
                            struct match_result *match, const char **code, uint8_t *reason,
                            struct err *err)
{
    const struct cert_info *ci = s->opening->cert;
    struct env *env = s->env;
    const struct conf *conf = s->snap->conf;
    const char *sans[16];
    size_t san_count = 0;
    char fp[CERT_FP_TEXT];

    for (size_t i = 0; ci != NULL && i < ci->san_count && san_count < 16; i++)
        sans[san_count++] = ci->sans[i].text;
    if (ci != NULL)
        str_hex(fp, ci->fp, sizeof ci->fp);
    struct match_facts facts = {
        .listener = s->listener,
        .peer = (const struct sockaddr *)&s->opening->ss,
        .cn = ci != NULL ? ci->cn : NULL,
        .sans = sans,
        .san_count = san_count,
        .issuer = ci != NULL ? ci->issuer : NULL,
        .fingerprint = ci != NULL ? fp : NULL,
        .client_id = c->client_id,
        .has_username = c->has_username,
        .username = c->username,
        .has_password = c->has_password,
        .password = c->password,
    };
    const struct conf_listener *l = conf_listener_find(conf, s->listener);
    *reason = 0x87;
    if (l != NULL && l->device != NULL) {
        /* The management client: its socket says who it is. */
        snprintf(match->device, sizeof match->device, "%s", l->device);
        match->rule = conf_rule_find(conf, l->device);
    } else {
        int rc = match_device(conf, &facts, match, err);
        if (rc != 0) {
            *code = rc == -ERR_DENIED ? "client-id-mismatch" : "unknown-device";
            *reason = rc == -ERR_DENIED ? 0x85 : 0x87;
            return NULL;
        }
    }
    if (s->opening->excuse != NULL && !excused(s, match->device, err)) {
        *code = "exception";
        return NULL;
    }
    struct device *dev = map_get(env->devices, match->device);
    if (dev == NULL) {
        *code = "no-identity";
        err_set(
            err, ERR_NOT_FOUND,
            "device %s has no identity here: put chain.pem and key.pem into %s/%s/old, then: certflipctl reload",
            match->device, conf->identities_dir, match->device);
        return NULL;
    }
    s->dev = dev;
    if (c->client_id.n > 0 && !slice_is(c->client_id, dev->name)) {
        const struct device *other = map_get_n(env->devices, c->client_id.p, c->client_id.n);
        if (other != NULL && other != dev) {
            *code = "client-id-mismatch";
            *reason = 0x85;
            err_set(err, ERR_DENIED,
                    "device %s came with the client id of device %s: check the sensor's settings",
                    dev->name, other->name);
            return NULL;
        }
    }
    return dev;
}

static char *copy_of(const char *s)
{
    return s != NULL ? strdup(s) : NULL;
}

/* A device has as many sessions as its rule allows; the newest ones count [MQTT-3.1.4-2]. */
static void make_room(struct session *s, const struct conf_rule *rule)
{
    uint32_t most = rule != NULL && rule->max_connections > 0 ? rule->max_connections : 1;
    uint32_t count = 0;

    list_for_each (it, &s->dev->sessions)
        count++;
    list_for_each_safe (it, &s->dev->sessions) {
        struct session *old = list_entry(it, struct session, of_device);
        if (count < most)
            return;
        count--;
        s->took_over = true;
        session_taken_over(old, "a new connection of the device has taken over");
    }
}

static int remember(struct session *s, const struct mqtt_packet *pkt, const struct mqtt_connect *c,
                    const struct conf_rule *rule)
{
    const struct cert_info *ci = s->opening->cert;
    struct mqtt_prop_value v;

    s->connect = malloc(pkt->raw_bytes);
    if (s->connect == NULL)
        return -ERR_NOMEM;
    memcpy(s->connect, pkt->raw, pkt->raw_bytes);
    s->connect_bytes = pkt->raw_bytes;
    s->clean = c->clean;
    s->client = map_hash(c->client_id.p, c->client_id.n);
    s->keepalive_s = c->keepalive_s;
    s->has_will = c->has_will;
    if (c->version != MQTT_V5 && !c->clean)
        s->device_expiry_s = UINT32_MAX;
    if (rule != NULL) {
        s->rule_upstream[FLIP_OLD] = copy_of(rule->upstream);
        s->rule_upstream[FLIP_NEW] = copy_of(rule->upstream_new);
    }
    if (ci != NULL) {
        s->cn = copy_of(ci->cn);
        s->san = ci->san_count > 0 ? copy_of(ci->sans[0].text) : NULL;
        memcpy(s->fp, ci->fp, sizeof s->fp);
    }
    if (c->version == MQTT_V5) {
        if (mqtt_props_find(c->props, MQTT_PROP_SESSION_EXPIRY, &v))
            s->device_expiry_s = v.num;
        s->will_stays = c->has_will && s->device_expiry_s > 0 &&
                        mqtt_props_find(c->will_props, MQTT_PROP_WILL_DELAY, &v) && v.num > 0;
    }
    return 0;
}

static const char *admit_text(const char *code)
{
    if (strcmp(code, "network") == 0)
        return "the source address is not in the listener's allow list";
    if (strcmp(code, "limit-connections") == 0)
        return "as many connections as limits.connections allows";
    if (strcmp(code, "limit-source") == 0)
        return "as many connections from this address as limits.connections_per_source allows";
    if (strcmp(code, "limit-handshakes") == 0)
        return "as many handshakes at once as limits.handshakes allows";
    return "the daemon is stopping";
}

static void take_connect(struct session *s, const struct mqtt_packet *pkt)
{
    struct mqtt_connect c = {0};
    struct match_result match = {0};
    struct err err = {0};
    const char *code = "malformed";
    uint8_t reason = 0x82;

    if (pkt->type != MQTT_CONNECT) {
        err_set(&err, ERR_PROTOCOL,
                "the first packet is %s, not CONNECT [MQTT-3.1.0-1]: is this an MQTT client?",
                mqtt_type_name(pkt->type));
        session_tell_refused(s, "protocol", err.msg);
        leg_close_gentle(&s->down);
        over(s);
        return;
    }
    int rc = mqtt_connect_read(pkt, &c, &reason, &err);
    s->version = (uint8_t)c.version;
    if (rc != 0) {
        if (c.version == 0) { /* not a dialect that we could answer in */
            session_tell_refused(s, "malformed", err.msg);
            leg_close_gentle(&s->down);
            over(s);
            return;
        }
        session_refuse(s, reason, "malformed", &err);
        return;
    }
    struct device *dev = judge(s, &c, &match, &code, &reason, &err);
    if (dev == NULL) {
        session_refuse(s, reason, code, &err);
        return;
    }
    if (remember(s, pkt, &c, match.rule) != 0) {
        err_set(&err, ERR_NOMEM, "out of memory");
        session_refuse(s, 0x97, "limit", &err);
        return;
    }
    make_room(s, match.rule);
    if (atomic_fetch_add_explicit(&admitted, 1, memory_order_relaxed) >=
        s->snap->conf->limits.connections) {
        atomic_fetch_sub_explicit(&admitted, 1, memory_order_relaxed);
        err_set(&err, ERR_BUSY, "%s", admit_text("limit-connections"));
        session_refuse(s, 0x97, "limit-connections", &err);
        return;
    }
    list_add(&dev->sessions, &s->of_device);
    if (s->opening->excuse != NULL)
        tell_exception(s);
    opening_drop(s);
    s->state = SESSION_OPENING;
    s->connected_us = (uint64_t)clock_mono_us();
    if (presence_enter(dev->presence) > 0 && match.rule != NULL && match.rule->max_connections <= 1)
        s->took_over = s->follows = true; /* another worker is told by main */
    s->due_ms = 0;
    s->env->stats.accepted++;
    s->env->news->up(s->env->news_arg, s);
    log_event(LOG_SESSION, LOG_INFO_, "session-begun",
              "device=%s peer=%s listener=%s version=%s tls=%s", dev->name, s->peer, s->listener,
              mqtt_version_name(s->version), *s->tls != '\0' ? s->tls : "none");
    upstream_begin(s);
}

/* ---- the downstream leg ---- */

static void on_down_open(struct leg *leg)
{
    struct session *s = leg->owner;
    const char *chain, *why;

    handshake_over(s);
    s->opening->cert = tls_conn_take_peer(leg->tls);
    s->opening->excuse = tls_conn_take_excuse(leg->tls);
    s->trail = tls_conn_take_trail(leg->tls);
    session_count_gap(s->env, leg->tls);
    if (s->env->snap != s->snap) { /* it was judged by what was in force when it began */
        session_trust_changed(s);
        if (s->state == SESSION_OVER)
            return;
    }
    snprintf(s->tls, sizeof s->tls, "%s", tls_conn_version(leg->tls));
    s->due_ms = env_now_ms(s->env) + s->snap->conf->limits.connect_timeout_ms;
    session_arm(s);
    chain = tls_conn_chain(leg->tls, &why);
    log_event(LOG_TLS_HANDSHAKE, LOG_DEBUG_, "handshake",
              "peer=%s version=%s cipher=%s chain=%s chosen=%s", s->peer,
              tls_conn_version(leg->tls), tls_conn_cipher(leg->tls), LOG_Q(chain), why);
}

/* Until CONNECT has been judged, packets are looked at one by one. */
static void before_connect(struct session *s, const uint8_t **p, size_t *n)
{
    struct mqtt_packet pkt;
    struct mqtt_in *in = &s->down->in;
    uint32_t most = s->snap->conf->limits.packet_bytes;
    int rc = mqtt_in_next(in, p, n, most < CONNECT_BYTES_MAX ? most : CONNECT_BYTES_MAX, &pkt);

    if (rc == 1) {
        bool apart = in->part_done;
        take_connect(s, &pkt);
        if (apart && s->down != NULL)
            explicit_bzero(in->part, in->part_len); /* it may hold a password */
    } else if (rc < 0) {
        session_tell_refused(s, rc == -ERR_TOO_BIG ? "too-big" : "malformed",
                             rc == -ERR_TOO_BIG
                                 ? "the first packet is larger than limits.packet_bytes"
                                 : "the first bytes are no MQTT packet: is this an MQTT client?");
        leg_close_gentle(&s->down);
        over(s);
    }
}

static void on_down_data(struct leg *leg, const uint8_t *p, size_t n)
{
    struct session *s = leg->owner;

    s->last_rx_ms = env_now_ms(s->env);
    s->env->stats.bytes_in += n;
    if (s->state == SESSION_CONNECTING)
        before_connect(s, &p, &n);
    if (s->state == SESSION_OVER || s->state == SESSION_CONNECTING)
        return;
    relay_from_device(s, p, n);
    if (s->state == SESSION_OVER)
        return;
    session_flush(s);
    if (s->ping_since_ms != 0 || s->leave_ms != 0) /* since now, perhaps */
        session_arm(s);
}

static void handshake_failed(struct session *s, const struct tls_fail *fail)
{
    const char *scope = fail->side == TLS_FAIL_PEER_CERT    ? "client"
                        : fail->side == TLS_FAIL_PEER_ALERT ? "sensor"
                                                            : "wolfssl";
    bool told = fail->alert_sent > 0; /* by it the sensor's own log may be found */
    char text[512], cause[96];

    snprintf(text, sizeof text, "TLS handshake: %.239s%s%.199s", fail->text,
             *fail->remedy != '\0' ? ": " : "", fail->remedy);
    snprintf(cause, sizeof cause, "%s.%s%s%s", scope, fail->word != NULL ? fail->word : "",
             told ? " alert_sent=" : "", told ? tls_alert_name(fail->alert_sent) : "");
    tell_refused(s, LOG_TLS_HANDSHAKE, fail->side == TLS_FAIL_PEER_CERT ? "certificate" : "tls",
                 fail->word != NULL ? cause : NULL, text);
}

static void on_down_end(struct leg *leg, const struct leg_end *end)
{
    struct session *s = leg->owner;

    s->env->stats.downstream_closed_by_peer++;
    if (s->state == SESSION_CONNECTING) {
        if (end->at == LEG_TLS && end->fail != NULL) {
            handshake_failed(s, end->fail);
        } else {
            session_tell_refused(s, "closed", "closed before CONNECT");
        }
        leg_close_gentle(&s->down);
        over(s);
        return;
    }
    if (s->leave_ms != 0) {
        /* It said DISCONNECT, which waits with its last packets for a leg. */
        s->gone = true;
        leg_close_gentle(&s->down);
        session_arm(s);
        return;
    }
    if (s->holding && s->up != NULL && s->accepted &&
        (s->phase == RH_DRAINING || s->phase == RH_BARRIER)) {
        /* What it sent before it went is not lost: the old leg is there. */
        s->holding = false;
        relay_release(s);
        if (s->state == SESSION_OVER)
            return;
    }
    if (upstream_outlives_device(s)) {
        s->gone = s->died = true;
        s->leave_ms = env_now_ms(s->env) + DIED_MS;
        leg_close_gentle(&s->down);
        session_arm(s);
        return;
    }
    session_end(s, 0, false,
                end->status == 0 ? "the device closed its connection without DISCONNECT"
                                 : "the device's connection broke");
}

static void on_down_drain(struct leg *leg)
{
    struct session *s = leg->owner;

    if (s->state == SESSION_RELAYING)
        session_reading(s);
}

static const struct leg_ops down_ops = {
    .open = on_down_open,
    .data = on_down_data,
    .end = on_down_end,
    .drain = on_down_drain,
};

/* ---- accept ---- */

static const char *admit(const struct env *env, const struct conf_listener *l,
                         const struct sockaddr_storage *ss, uint32_t from_source)
{
    const struct conf_limits *lim = &env->snap->conf->limits;

    if (env->stopping)
        return "stopping";
    if (l->type != CONF_LISTEN_UNIX && l->allow_count > 0 &&
        !subnet_has(l->allow, l->allow_count, (const struct sockaddr *)ss))
        return "network";
    if (atomic_load_explicit(&connections, memory_order_relaxed) >
        lim->connections + CONNECTIONS_SPARE)
        return "limit-connections";
    if (l->type != CONF_LISTEN_UNIX && lim->connections_per_source > 0 &&
        from_source > lim->connections_per_source)
        return "limit-source";
    if (l->type == CONF_LISTEN_TLS && env->handshakes >= lim->handshakes)
        return "limit-handshakes";
    return NULL;
}

static struct session *session_new(struct env *env, const struct conf_listener *l)
{
    struct session *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    s->opening = calloc(1, sizeof *s->opening);
    s->listener = strdup(l->name);
    if (s->opening == NULL || s->listener == NULL) {
        free(s->opening);
        free(s->listener);
        free(s);
        return NULL;
    }
    s->env = env;
    s->snap = snapshot_ref(env->snap);
    s->id = env->next_session_id++;
    s->told = s->limits = limits_none;
    s->began_ms = s->last_rx_ms = env_now_ms(env);
    list_init(&s->of_device);
    list_init(&s->at_gate);
    list_add(&env->sessions, &s->link);
    inflight_init(&s->to_broker);
    inflight_init(&s->to_device);
    uv_timer_init(env->nl.loop, &s->timer);
    s->timer.data = s;
    env->stats.sessions++;
    atomic_fetch_add_explicit(&connections, 1, memory_order_relaxed);
    return s;
}

void session_accept(struct env *env, uv_stream_t *listening, size_t listener_index)
{
    const struct conf_listener *l = &env->snap->conf->listeners[listener_index];
    struct err err = {0};
    struct session *s = session_new(env, l);
    struct sockaddr_storage ss;
    char peer[ENV_PEER_BYTES];
    struct leg *leg =
        leg_accept(env, listening, env->snap->listener_ctx[listener_index], &ss, peer, &err);

    if (leg == NULL || s == NULL) {
        log_event(LOG_LISTEN, LOG_WARN_, "accept-failed", "listener=%s msg=%s", l->name,
                  LOG_Q(s == NULL ? "out of memory" : err.msg));
        leg_close_abrupt(&leg);
        if (s != NULL)
            over(s);
        return;
    }
    s->down = leg;
    s->opening->ss = ss;
    memcpy(s->peer, peer, sizeof s->peer);
    const char *code = admit(env, l, &ss, sources_enter(s->peer));
    if (code != NULL) {
        session_tell_refused(s, code, admit_text(code));
        leg_close_abrupt(&s->down);
        over(s);
        return;
    }
    bool tls = leg->state == LEG_TLS;
    s->handshaking = tls;
    env->handshakes += tls;
    s->due_ms = s->began_ms + (tls ? env->snap->conf->limits.handshake_timeout_ms
                                   : env->snap->conf->limits.connect_timeout_ms);
    leg_begin(leg, &down_ops, s);
    session_arm(s);
}
