#include "session/leg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session/presence.h"

/* A TLS record holds at most this much plaintext (RFC 8446, 5.1). */
#define RECORD_BYTES 16384u

static const struct stream_ops stream_ops;

static void leg_free(struct leg *leg)
{
    list_del(&leg->link);
    presence_parted(leg->parting, leg->parting_home);
    tls_conn_free(leg->tls);
    mqtt_in_fini(&leg->in);
    cred_unref(leg->cred);
    free(leg->dialect);
    free(leg);
}

static struct leg *leg_new(struct env *env)
{
    struct leg *leg = calloc(1, sizeof *leg);

    if (leg == NULL)
        return NULL;
    leg->env = env;
    list_init(&leg->link);
    return leg;
}

static void tell_end(struct leg *leg, int status, const struct tls_fail *fail)
{
    if (leg->ended || leg->state == LEG_CLOSED)
        return;
    leg->ended = true;
    leg->ops->end(leg, &(struct leg_end){.at = leg->state, .status = status, .fail = fail});
}

/* Deliver what is decrypted.  Returns false when the leg is gone. */
static bool deliver(struct leg *leg, size_t n)
{
    if (n > 0)
        leg->ops->data(leg, leg->env->plain, n);
    return leg->state == LEG_OPEN;
}

/* Decrypt until the input is used up, collecting as much as fits, so that many small records make
 * one delivery. */
static void read_plain(struct leg *leg)
{
    enum tls_status st = TLS_OK;
    size_t have = 0;

    while (st == TLS_OK) {
        size_t n = 0;
        st = tls_conn_read(leg->tls, leg->env->plain + have, ENV_PLAIN_BYTES - have, &n);
        if (st == TLS_OK)
            have += n;
        if (st == TLS_OK && ENV_PLAIN_BYTES - have >= RECORD_BYTES)
            continue;
        if (!deliver(leg, have))
            return;
        have = 0;
    }
    if (st == TLS_CLOSED)
        tell_end(leg, 0, NULL);
    else if (st == TLS_FAILED)
        tell_end(leg, 0, tls_conn_fail(leg->tls));
}

static void count_handshake(struct leg *leg)
{
    struct worker_stats *st = &leg->env->stats;

    histogram_add(leg->downstream ? &st->device_handshakes : &st->broker_handshakes,
                  (env_now_ms(leg->env) - leg->at_ms) * 1000);
}

/* Returns true when plaintext may be read. */
static bool shake_hands(struct leg *leg)
{
    switch (tls_conn_handshake(leg->tls)) {
    case TLS_OK:
        leg->state = LEG_OPEN;
        count_handshake(leg);
        leg->at_ms = env_now_ms(leg->env);
        stream_flush(&leg->st);
        leg->ops->open(leg);
        return leg->state == LEG_OPEN;
    case TLS_AGAIN:
        return false;
    case TLS_AWAY: /* what comes meanwhile stays in the socket */
        leg->away = true;
        leg->away_ms = env_now_ms(leg->env);
        (void)stream_read(&leg->st, false);
        return false;
    case TLS_CLOSED:
    case TLS_FAILED:
    default:
        stream_flush(&leg->st); /* the alert */
        tell_end(leg, 0, tls_conn_fail(leg->tls));
        return false;
    }
}

/* On the token's thread: nothing of the leg may be touched but what never changes. */
static void on_step_done(void *arg, struct list *item)
{
    const struct leg *leg = arg;

    inbox_post(leg->env->steps, item);
}

static void take_tls(struct leg *leg, const uint8_t *p, size_t n, bool eof)
{
    stream_prepare(&leg->st);
    tls_conn_input(leg->tls, p, n, eof);
    if (leg->state == LEG_OPEN || shake_hands(leg))
        read_plain(leg);
    if (leg->watch && leg->state != LEG_CLOSED) {
        stream_quickack(&leg->st);
        if (leg->state == LEG_OPEN)
            leg->ops->progress(leg);
    }
    if (leg->state != LEG_CLOSED)
        stream_flush(&leg->st);
}

void leg_step_back(struct inbox *box, struct list *item, void *env)
{
    struct leg *leg = tls_step_take(item);

    (void)box;
    (void)env;
    if (leg == NULL || leg->state == LEG_CLOSED)
        return;
    leg->away = false;
    leg->token_ms += (uint32_t)(env_now_ms(leg->env) - leg->away_ms);
    leg_read(leg, true);
    take_tls(leg, NULL, 0, false);
}

static void on_stream_read(struct stream *st, const uint8_t *p, size_t n, int status)
{
    struct leg *leg = list_entry(st, struct leg, st);

    if (leg->state == LEG_CLOSED) {
        if (n == 0)
            stream_close(st); /* the peer's end, which a gentle close waits for */
        return;
    }
    if (leg->tls != NULL)
        take_tls(leg, p, n, n == 0);
    else if (n > 0)
        leg->ops->data(leg, p, n);
    if (n == 0)
        tell_end(leg, status, leg->tls != NULL ? tls_conn_fail(leg->tls) : NULL);
}

static void on_stream_drain(struct stream *st)
{
    struct leg *leg = list_entry(st, struct leg, st);

    if (leg->state == LEG_OPEN)
        leg->ops->drain(leg);
}

static void on_stream_closed(struct stream *st)
{
    leg_free(list_entry(st, struct leg, st));
}

static const struct stream_ops stream_ops = {
    .on_read = on_stream_read,
    .on_drain = on_stream_drain,
    .on_closed = on_stream_closed,
};

static void peer_of(struct stream *st, struct sockaddr_storage *ss, char *peer)
{
    int len = sizeof *ss;
    char host[INET6_ADDRSTRLEN] = "?";

    memset(ss, 0, sizeof *ss);
    if (st->u.handle.type != UV_TCP) {
        ss->ss_family = AF_UNIX;
        snprintf(peer, ENV_PEER_BYTES, "unix");
        return;
    }
    uv_tcp_getpeername(&st->u.tcp, (struct sockaddr *)ss, &len);
    if (ss->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;
        uv_ip6_name(in6, host, sizeof host);
        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
            snprintf(peer, ENV_PEER_BYTES, "%s:%u", host + strlen("::ffff:"),
                     ntohs(in6->sin6_port));
        else
            snprintf(peer, ENV_PEER_BYTES, "[%s]:%u", host, ntohs(in6->sin6_port));
        return;
    }
    const struct sockaddr_in *in = (const struct sockaddr_in *)ss;
    uv_ip4_name(in, host, sizeof host);
    snprintf(peer, ENV_PEER_BYTES, "%s:%u", host, ntohs(in->sin_port));
}

struct leg *leg_accept(struct env *env, uv_stream_t *listener, struct tls_ctx *ctx,
                       struct sockaddr_storage *ss, char peer[ENV_PEER_BYTES], struct err *err)
{
    struct leg *leg = leg_new(env);
    int rc;

    if (leg == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    leg->downstream = true;
    leg->state = LEG_CLOSED;
    if (listener->type == UV_TCP)
        rc = stream_init_tcp(&leg->st, &env->nl, &stream_ops);
    else
        rc = stream_init_pipe(&leg->st, &env->nl, &stream_ops);
    if (rc == 0)
        rc = uv_accept(listener, &leg->st.u.stream);
    if (rc != 0) {
        err_set(err, ERR_IO, "accept: %s", uv_strerror(rc));
        stream_close(&leg->st);
        return NULL;
    }
    stream_tune(&leg->st);
    peer_of(&leg->st, ss, peer);
    if (ctx != NULL) {
        leg->tls = tls_conn_new(&(struct tls_conn_args){.ctx = ctx,
                                                        .peer = (const struct sockaddr *)ss,
                                                        .out = &leg->st.out},
                                err);
        if (leg->tls == NULL) {
            stream_close(&leg->st);
            return NULL;
        }
    }
    leg->state = ctx != NULL ? LEG_TLS : LEG_OPEN;
    leg->at_ms = env_now_ms(env);
    return leg;
}

void leg_begin(struct leg *leg, const struct leg_ops *ops, void *owner)
{
    leg->ops = ops;
    leg->owner = owner;
    leg_read(leg, true);
}

static void on_dialled(void *arg, int status, enum dial_stage stage)
{
    struct leg *leg = arg;

    leg->dial = NULL;
    if (status != 0) {
        leg->ended = true;
        leg->ops->end(leg,
                      &(struct leg_end){.at = LEG_DIALING, .dial_stage = stage, .status = status});
        return;
    }
    leg->state = LEG_TLS;
    leg->at_ms = env_now_ms(leg->env);
    leg_read(leg, true);
    take_tls(leg, NULL, 0, false); /* ClientHello */
}

static void on_dial_dropped(void *arg)
{
    leg_free(arg);
}

struct leg *leg_dial(struct env *env, const struct conf_upstream *profile, struct tls_ctx *ctx,
                     struct cred *cred, const struct leg_ops *ops, void *owner, struct err *err)
{
    struct leg *leg = leg_new(env);

    if (leg == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    leg->ops = ops;
    leg->owner = owner;
    leg->cred = cred_ref(cred);
    leg->watch = ops->progress != NULL;
    leg->state = LEG_DIALING;
    leg->tls = tls_conn_new(
        &(struct tls_conn_args){
            .ctx = ctx,
            .cred = cred,
            .server_name = profile->server_name != NULL ? profile->server_name : profile->address,
            .sni = profile->sni,
            .alpn = (const char *const *)profile->alpn,
            .alpn_count = profile->alpn_count,
            .out = &leg->st.out,
            .step_done = env->steps == NULL ? NULL : on_step_done,
            .step_arg = leg,
        },
        err);
    if (leg->tls == NULL) {
        leg_free(leg);
        return NULL;
    }
    leg->dial = dial_start(&env->nl, profile->address, profile->port, &leg->st, &stream_ops,
                           on_dialled, leg);
    if (leg->dial == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        leg_free(leg);
        return NULL;
    }
    return leg;
}

void leg_read(struct leg *leg, bool on)
{
    if ((leg->state == LEG_TLS || leg->state == LEG_OPEN) && !leg->away)
        (void)stream_read(&leg->st, on);
}

static void take_now(struct leg *leg, void (*take)(struct stream *))
{
    struct env *env = leg->env;
    uint8_t *mine = malloc(ENV_PLAIN_BYTES);
    uint8_t *theirs = env->plain;

    if (mine == NULL || leg->state != LEG_OPEN) {
        free(mine);
        return;
    }
    env->plain = mine; /* the caller is in the middle of the other one */
    take(&leg->st);
    env->plain = theirs;
    free(mine);
}

void leg_read_now(struct leg *leg)
{
    take_now(leg, stream_read_now);
}

void leg_hear_out(struct leg *leg)
{
    take_now(leg, stream_hear_out);
}

void leg_write(struct leg *leg, const void *p, size_t n)
{
    if (leg->state != LEG_OPEN || leg->st.write_dead)
        return;
    stream_prepare(&leg->st);
    if (leg->tls != NULL)
        (void)tls_conn_write(leg->tls, p, n); /* a failure shows when reading */
    else if (buf_append(&leg->st.out, p, n) != 0)
        leg->st.write_dead = true;
}

void leg_flush(struct leg *leg)
{
    stream_flush(&leg->st);
}

size_t leg_queued(const struct leg *leg)
{
    return leg->state == LEG_DIALING ? 0 : stream_queued(&leg->st);
}

void leg_finish(struct leg *leg)
{
    if (leg->tls != NULL) {
        stream_prepare(&leg->st);
        tls_conn_shutdown(leg->tls);
    }
    (void)stream_read(&leg->st, true);
    stream_end(&leg->st);
}

void leg_part(struct leg *leg, struct presence *presence, uint32_t home)
{
    if (leg->state != LEG_OPEN || leg->st.ended || leg->parting != NULL)
        return;
    presence_part(presence, home);
    leg->parting = presence;
    leg->parting_home = home;
}

bool leg_goes_out(struct leg *leg)
{
    size_t was = leg->unsent;

    leg->unsent = stream_queued(&leg->st);
    return leg->unsent < was;
}

/* Ends the owner's interest.  Returns false when the socket needs no closing of its own. */
static bool let_go(struct leg *leg)
{
    enum leg_state was = leg->state;

    leg->state = LEG_CLOSED;
    leg->owner = NULL;
    if (leg->away) { /* what comes back, comes to nobody */
        tls_conn_free(leg->tls);
        leg->tls = NULL;
    }
    if (was != LEG_DIALING)
        return true;
    if (leg->dial != NULL)
        dial_cancel(leg->dial, on_dial_dropped);
    else
        leg_free(leg); /* dialling failed: there is no handle any more */
    return false;
}

void leg_close_abrupt(struct leg **legp)
{
    struct leg *leg = *legp;

    *legp = NULL;
    if (leg != NULL && let_go(leg))
        stream_close(&leg->st);
}

void leg_close_gentle(struct leg **legp)
{
    struct leg *leg = *legp;

    *legp = NULL;
    if (leg == NULL || !let_go(leg))
        return;
    if (leg->away) { /* in the middle of its handshake: there is nothing to say */
        stream_close(&leg->st);
        return;
    }
    if (leg->st.ended) {
        /* The peer is through; what is queued still goes out. */
        if (leg->tls != NULL)
            tls_conn_shutdown(leg->tls);
        stream_flush(&leg->st);
        if (leg->st.pending == NULL) {
            stream_close(&leg->st);
            return;
        }
        stream_end(&leg->st);
    } else {
        leg_finish(leg);
    }
    leg->unsent = stream_queued(&leg->st);
    leg->at_ms = env_now_ms(leg->env) + leg->env->snap->conf->limits.idle_close_ms;
    list_add(&leg->env->lingering, &leg->link);
}

void leg_sweep(struct env *env)
{
    uint64_t now = env_now_ms(env);

    list_for_each_safe (it, &env->lingering) {
        struct leg *leg = list_entry(it, struct leg, link);
        bool through = env->stopping && stream_queued(&leg->st) == 0;
        if (leg_goes_out(leg)) /* a slow link is no reason to lose a device's last messages */
            leg->at_ms = now + env->snap->conf->limits.idle_close_ms;
        if (!through && now < leg->at_ms)
            continue;
        list_del(&leg->link);
        stream_close(&leg->st);
    }
}

void leg_abandon(struct env *env)
{
    list_for_each_safe (it, &env->lingering) {
        struct leg *leg = list_entry(it, struct leg, link);
        list_del(&leg->link);
        stream_close(&leg->st);
    }
}
