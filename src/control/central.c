/* control/central.c - see central.h.
 *
 * libmosquitto is driven from our loop: its socket is polled through a duplicate, since it closes
 * its own descriptor before it says that the connection is gone.  What waits to be published is
 * kept here and handed over a few at a time, as acknowledgements come in: first replies and events,
 * in order, then the retained topics of what has changed, each with what is true at that moment.
 */
#include "control/central.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/rand.h"
#include "base/str.h"
#include "control/operators.h"
#include "control/outbox.h"
#include "control/show.h"
#include "identity/match.h"
#include "tls/ctx.h"

#define UNACKED_MAX 16
#define REPLY_MAX   ((size_t)RPC_CENTRAL_REPLY_MAX)
#define SETTLE_MS   100 /* changes within it are published once */
#define MISC_MS     1000
#define CONNACK_MS                                                                \
    60000 /* the way to the broker has deadlines of its own; this one is the last \
           */
#define BACKOFF_LEAST 1000
#define BACKOFF_MOST  60000
#define STABLE_MS     30000 /* a connection that lasted so long was a good one */
#define GOODBYE_MS    1000
#define SESSION_EXPIRY \
    (7 * 24 * 3600) /* seconds; commands wait so long for a gateway that is away */
#define QOS 1

/* Our duplicate of libmosquitto's socket; lives until its handle is closed. */
struct watch {
    uv_poll_t poll;
    int fd;
};

enum phase {
    CENTRAL_WAITING,    /* for an identity, or for the next attempt */
    CENTRAL_CONNECTING, /* CONNECT is on its way */
    CENTRAL_ONLINE,
    CENTRAL_LEAVING, /* the last words are on their way */
    CENTRAL_GONE,    /* handles are being closed */
};

struct central {
    uv_loop_t *loop; /* borrowed, as are dispatch and hub */
    struct dispatch *dispatch;
    struct hub *hub;
    struct conf *conf;      /* owned reference */
    struct mosquitto *mosq; /* owned; NULL: not enabled */
    char *offline;          /* owned; its last words */
    struct watch *watch;    /* owned; NULL: no connection */
    uv_timer_t misc, retry, settle;
    unsigned handles; /* open timers */
    enum phase phase;
    bool tried;        /* connect once, reconnect from then on */
    bool renew;        /* the configuration wants another client */
    uint64_t leg_seen; /* number of the latest news of the way to the broker */
    bool told_all;     /* every device was published, by this process */
    uint32_t backoff_ms;
    int64_t since_ms; /* of this phase */
    int64_t since_s;  /* of the connection; 0: none */
    int64_t lost_s;   /* when the latest one was lost; 0: there was none */
    char last_error[256];
    char refused[256]; /* what CONNACK said of the attempt that is about to end; "": nothing */
    uint64_t denied;   /* publications that the broker refused on this connection */
    char *cmd, *reply, *state, *event, *device; /* topics, owned; `device` without the name */
    struct operators *operators;                /* owned */
    struct operators_account account;
    struct outbox outbox;
    bool state_stale, state_ready;
    unsigned clock_told; /* what was last seen of the clock: see on_misc */
    unsigned unacked;
    unsigned former; /* the first of `unacked`, which are told anew: a refusal is no news */
    int goodbye;     /* mid of the last words */
    void (*done)(void *arg);
    void *done_arg;
};

static void on_retry(uv_timer_t *timer);
static void on_settled(uv_timer_t *timer);
static void on_goodbye(uv_timer_t *timer);
static void pump(struct central *c);
static void lost(struct central *c, const char *why);

/* -- the socket -- */

static void on_watch_closed(uv_handle_t *handle)
{
    struct watch *w = (struct watch *)(void *)handle;

    close(w->fd);
    free(w);
}

static void watch_close(struct central *c)
{
    if (c->watch == NULL)
        return;
    uv_poll_stop(&c->watch->poll);
    uv_close((uv_handle_t *)&c->watch->poll, on_watch_closed);
    c->watch = NULL;
}

static void on_ready(uv_poll_t *poll, int status, int events);

/* To be called after whatever may have written, or closed. */
static void watch_update(struct central *c)
{
    int events = UV_READABLE;

    if (c->watch == NULL)
        return;
    if (mosquitto_want_write(c->mosq))
        events |= UV_WRITABLE;
    uv_poll_start(&c->watch->poll, events, on_ready);
}

/* libmosquitto acknowledges a command before it hands it to us, and writes that at once: a power
 * cut in between, and nobody has the command any more.  Told that there are threads, it leaves what
 * it writes to whoever calls mosquitto_loop_write next, and by then the command is durable. */
static int read_commands(struct central *c)
{
    int rc;

    mosquitto_threaded_set(c->mosq, true);
    rc = mosquitto_loop_read(c->mosq, 1);
    mosquitto_threaded_set(c->mosq, false);
    return rc;
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct central *c = poll->data;
    int rc = MOSQ_ERR_SUCCESS;

    if (status < 0) {
        lost(c, uv_strerror(status));
        return;
    }
    if ((events & UV_READABLE) != 0)
        rc = read_commands(c);
    if (rc == MOSQ_ERR_SUCCESS && (events & UV_WRITABLE) != 0)
        rc = mosquitto_loop_write(c->mosq, 1);
    if (rc != MOSQ_ERR_SUCCESS)
        lost(c, mosquitto_strerror(rc));
    else if (mosquitto_socket(c->mosq) < 0)
        lost(c, "the connection ended");
    else
        pump(c);
}

static int watch_open(struct central *c)
{
    struct watch *w = calloc(1, sizeof(*w));
    int rc;

    if (w == NULL)
        return UV_ENOMEM;
    w->fd = fcntl(mosquitto_socket(c->mosq), F_DUPFD_CLOEXEC, 3);
    if (w->fd < 0) {
        rc = uv_translate_sys_error(errno);
        free(w);
        return rc;
    }
    rc = uv_poll_init(c->loop, &w->poll, w->fd);
    if (rc != 0) {
        close(w->fd);
        free(w);
        return rc;
    }
    w->poll.data = c;
    c->watch = w;
    watch_update(c);
    return 0;
}

/* -- connecting -- */

static void enter(struct central *c, enum phase phase)
{
    c->phase = phase;
    c->since_ms = clock_boot_ms();
}

static void retry_later(struct central *c)
{
    uint32_t wait_ms = c->backoff_ms - c->backoff_ms / 5 + rand_below(2 * c->backoff_ms / 5 + 1);

    uv_timer_start(&c->retry, on_retry, wait_ms, 0);
    c->backoff_ms = c->backoff_ms >= BACKOFF_MOST / 2 ? BACKOFF_MOST : 2 * c->backoff_ms;
}

static void fail(struct central *c, const char *why)
{
    if (strcmp(c->last_error, why) != 0)
        log_event(LOG_CENTRAL, LOG_WARN_, "central-offline", "msg=%s retry_ms=%u", LOG_Q(why),
                  c->backoff_ms);
    snprintf(c->last_error, sizeof(c->last_error), "%s", why);
    retry_later(c);
}

static void lost(struct central *c, const char *why)
{
    bool online = c->phase == CENTRAL_ONLINE;

    watch_close(c);
    c->since_s = 0;
    if (online)
        c->lost_s = clock_wall_s();
    if (c->phase != CENTRAL_ONLINE && c->phase != CENTRAL_CONNECTING)
        return;
    if (online && clock_boot_ms() - c->since_ms >= STABLE_MS)
        c->backoff_ms = BACKOFF_LEAST;
    if (online)
        c->last_error[0] = '\0'; /* it is news */
    enter(c, CENTRAL_WAITING);
    fail(c, c->refused[0] != '\0' ? c->refused : why);
    c->refused[0] = '\0';
}

/* The unix listener that carries the management device; NULL: there is none. */
static const struct conf_listener *own_listener(const struct conf *conf)
{
    for (size_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *l = &conf->listeners[i];

        if (l->type == CONF_LISTEN_UNIX && l->device != NULL &&
            strcmp(l->device, conf->management.device) == 0)
            return l;
    }
    return NULL;
}

static bool has_identity(const struct central *c)
{
    const struct hub_device *d = hub_find(c->hub, c->conf->management.device);

    return d != NULL && d->cred[flip_active_slot(&d->flip)] != NULL;
}

static int connect_now(struct central *c, const char *path)
{
    mosquitto_property *properties = NULL;
    int rc;

    if (c->tried)
        return mosquitto_reconnect(c->mosq);
    if (c->conf->management.version == 5)
        mosquitto_property_add_int32(&properties, MQTT_PROP_SESSION_EXPIRY_INTERVAL,
                                     SESSION_EXPIRY);
    rc = mosquitto_connect_bind_v5(c->mosq, path, 0, (int)c->conf->management.keepalive_s, NULL,
                                   properties);
    mosquitto_property_free_all(&properties);
    c->tried = rc == MOSQ_ERR_SUCCESS;
    return rc;
}

static void attempt(struct central *c)
{
    const struct conf_listener *l;
    char why[256];
    int rc;

    if (c->mosq == NULL || c->phase != CENTRAL_WAITING)
        return;
    uv_timer_stop(&c->retry);
    if (!has_identity(c)) {
        snprintf(why, sizeof(why), "the management device %s has no usable identity yet",
                 c->conf->management.device);
        if (strcmp(c->last_error, why) != 0)
            log_event(LOG_CENTRAL, LOG_NOTICE_, "central-waits", "msg=%s", LOG_Q(why));
        snprintf(c->last_error, sizeof(c->last_error), "%s", why);
        return; /* central_device comes when it has */
    }
    l = own_listener(c->conf);
    if (l == NULL) {
        fail(c, "there is no unix listener for the management device");
        return;
    }
    rc = connect_now(c, l->address);
    if (rc != MOSQ_ERR_SUCCESS) {
        snprintf(why, sizeof(why), "%s: %s", l->address,
                 rc == MOSQ_ERR_ERRNO ? uv_strerror(uv_translate_sys_error(errno))
                                      : mosquitto_strerror(rc));
        fail(c, why);
        return;
    }
    enter(c, CENTRAL_CONNECTING);
    if ((rc = watch_open(c)) != 0)
        lost(c, uv_strerror(rc));
}

/* -- what is published -- */

/* Takes the payload and the correlation. */
static void put(struct central *c, const char *topic, char *payload, void *correlation, size_t len)
{
    uint64_t dropped = c->outbox.dropped;

    if (outbox_put(&c->outbox, topic, payload, correlation, len) != 0)
        log_event(LOG_CENTRAL, LOG_WARN_, "central-not-told", "topic=%s cause=no-memory",
                  LOG_Q(topic));
    else if (dropped == 0 && c->outbox.dropped != 0)
        log_event(LOG_CENTRAL, LOG_WARN_, "central-queue-full", "most=%d msg=%s", OUTBOX_MAX,
                  LOG_Q("the oldest messages are dropped until the broker is back"));
    pump(c);
}

static int publish(struct central *c, const char *topic, const char *payload, bool retain,
                   const mosquitto_property *properties, int *mid)
{
    int rc = mosquitto_publish_v5(c->mosq, mid, topic, (int)strlen(payload), payload, QOS, retain,
                                  c->conf->management.version == 5 ? properties : NULL);

    if (rc == MOSQ_ERR_SUCCESS)
        c->unacked++;
    else
        log_event(LOG_CENTRAL, LOG_DEBUG_, "central-publish-failed", "topic=%s msg=%s",
                  LOG_Q(topic), LOG_Q(mosquitto_strerror(rc)));
    return rc;
}

static char *state_text(const struct central *c, bool online)
{
    json_t *state = json_pack("{s:b, s:s, s:s, s:s}", "online", online, "gateway", c->conf->gateway,
                              "version", PACKAGE_VERSION, "tls_library", tls_library());
    int64_t epoch, seq = hub_event_seq(c->hub, &epoch);
    char *text;

    if (online) {
        json_object_set_new(state, "time", rpc_time(clock_wall_s()));
        json_object_set_new(state, "started", rpc_time(c->dispatch->started_s));
        json_object_set_new(state, "devices", show_counts(c->hub));
        json_object_set_new(state, "trust", show_in_force(c->hub));
        json_object_set_new(state, "clock", show_clock_state(c->hub));
        json_object_set_new(state, "event_seq", json_integer((json_int_t)seq));
        json_object_set_new(state, "epoch", show_epoch(epoch));
        json_object_set_new(state, "events_dropped", json_integer((json_int_t)c->outbox.dropped));
    }
    text = json_dumps(state, JSON_COMPACT);
    json_decref(state);
    return text;
}

static int publish_state(struct central *c)
{
    char *text = state_text(c, true);
    int rc = text == NULL ? MOSQ_ERR_NOMEM : publish(c, c->state, text, true, NULL, NULL);

    free(text);
    return rc;
}

/* A device that is gone gets an empty message, which clears what was retained. */
static int publish_device(struct central *c, const char *name)
{
    const struct hub_device *d = hub_find(c->hub, name);
    json_t *shown = d == NULL ? NULL : show_device(c->hub, d);
    char *text = d == NULL ? strdup("") : json_dumps(shown, JSON_COMPACT);
    char *topic = str_printf("%s%s", c->device, name);
    int rc = MOSQ_ERR_NOMEM;

    if (text != NULL && topic != NULL)
        rc = publish(c, topic, text, true, NULL, NULL);
    json_decref(shown);
    free(text);
    free(topic);
    return rc;
}

static int publish_message(struct central *c, const struct outgoing *o)
{
    mosquitto_property *properties = NULL;
    int rc;

    if (o->correlation != NULL)
        mosquitto_property_add_binary(&properties, MQTT_PROP_CORRELATION_DATA, o->correlation,
                                      (uint16_t)o->correlation_len);
    rc = publish(c, o->topic, o->payload, false, properties, NULL);
    mosquitto_property_free_all(&properties);
    return rc;
}

/* May it work on the next connection? */
static bool is_away(int rc)
{
    return rc == MOSQ_ERR_NO_CONN || rc == MOSQ_ERR_CONN_LOST;
}

/* Publish the next thing that waits.  Returns whether there was one that could be published. */
static bool pump_one(struct central *c)
{
    const struct outgoing *first = outbox_first(&c->outbox);
    const char *name;
    int rc;

    if (first != NULL) {
        if (is_away(publish_message(c, first)))
            return false;
        outbox_pop(&c->outbox); /* what cannot be sent at all would only be in the way */
        return true;
    }
    if (c->state_ready) {
        c->state_ready = is_away(publish_state(c));
        return !c->state_ready;
    }
    name = outbox_ready(&c->outbox);
    if (name == NULL)
        return false;
    rc = publish_device(c, name);
    if (is_away(rc))
        return false;
    if (rc != MOSQ_ERR_SUCCESS)
        log_event(LOG_CENTRAL, LOG_WARN_, "central-not-told", "device=%s msg=%s", name,
                  LOG_Q(mosquitto_strerror(rc)));
    outbox_told(&c->outbox); /* those behind it have their turn, whatever came of it */
    return true;
}

static void pump(struct central *c)
{
    if (c->phase == CENTRAL_ONLINE)
        while (c->unacked < UNACKED_MAX && pump_one(c))
            continue;
    watch_update(c);
}

static void settle_later(struct central *c)
{
    if (!uv_is_active((uv_handle_t *)&c->settle))
        uv_timer_start(&c->settle, on_settled, SETTLE_MS, 0);
}

static void on_settled(uv_timer_t *timer)
{
    struct central *c = timer->data;

    outbox_settle(&c->outbox);
    c->state_ready = c->state_ready || c->state_stale;
    c->state_stale = false;
    pump(c);
}

static void tell_all(struct central *c)
{
    size_t n;
    struct hub_device *const *all = hub_devices(c->hub, &n);

    for (size_t i = 0; i < n; i++)
        outbox_touch(&c->outbox, all[i]->name);
    settle_later(c);
}

/* The way to the broker may have been lost and found while our connection to the gateway stood: a
 * broker that has forgotten the session may have forgotten what was retained, too. */
static void look_at_leg(struct central *c, const char *device)
{
    const struct hub_device *d;

    if (strcmp(device, c->conf->management.device) != 0)
        return;
    d = hub_find(c->hub, device);
    if (d == NULL || d->leg == NULL || d->leg->number == c->leg_seen)
        return;
    c->leg_seen = d->leg->number;
    if (c->phase == CENTRAL_ONLINE && d->leg->what == MSG_LEG_ACCEPTED && !d->leg->session_present)
        tell_all(c);
}

void central_device(struct central *c, const char *device)
{
    if (c == NULL || c->mosq == NULL || c->phase >= CENTRAL_LEAVING)
        return;
    look_at_leg(c, device);
    c->state_stale = true;
    if (outbox_touch(&c->outbox, device) != 0)
        log_event(LOG_CENTRAL, LOG_WARN_, "central-not-told", "device=%s cause=no-memory", device);
    settle_later(c);
    if (c->phase == CENTRAL_WAITING && strcmp(device, c->conf->management.device) == 0 &&
        !uv_is_active((uv_handle_t *)&c->retry))
        uv_timer_start(&c->retry, on_retry, SETTLE_MS, 0);
}

void central_state(struct central *c)
{
    if (c == NULL || c->mosq == NULL || c->phase >= CENTRAL_LEAVING)
        return;
    c->state_stale = true;
    settle_later(c);
}

void central_event(struct central *c, const struct hub_event *ev)
{
    json_t *shown;

    if (c == NULL || c->mosq == NULL || c->phase >= CENTRAL_LEAVING)
        return;
    shown = show_event(ev);
    put(c, c->event, json_dumps(shown, JSON_COMPACT), NULL, 0);
    json_decref(shown);
}

/* -- what libmosquitto says -- */

static void on_connect(struct mosquitto *mosq, void *arg, int rc, int flags,
                       const mosquitto_property *properties)
{
    struct central *c = arg;

    (void)properties;
    if (c->phase != CENTRAL_CONNECTING)
        return;
    if (rc != 0) { /* the connection is closed next, and tried again */
        snprintf(c->refused, sizeof(c->refused),
                 "the management client was refused: %s: certflipctl device %s says why",
                 c->conf->management.version == 5 ? mosquitto_reason_string(rc)
                                                  : mosquitto_connack_string(rc),
                 c->conf->management.device);
        return;
    }
    enter(c, CENTRAL_ONLINE);
    c->since_s = clock_wall_s();
    c->last_error[0] = '\0';
    log_event(LOG_CENTRAL, LOG_NOTICE_, "central-online", "device=%s session_present=%d",
              c->conf->management.device, flags & 1);
    mosquitto_subscribe_v5(mosq, NULL, c->cmd, QOS, 0, NULL);
    c->state_ready = true;
    if (!c->told_all || (flags & 1) == 0 || c->denied > 0)
        tell_all(c);
    c->told_all = true;
    c->denied = 0;
}

static void on_disconnect(struct mosquitto *mosq, void *arg, int rc,
                          const mosquitto_property *properties)
{
    struct central *c = arg;

    (void)mosq;
    (void)properties;
    log_event(LOG_CENTRAL, LOG_DEBUG_, "central-disconnected", "rc=%d phase=%d", rc, (int)c->phase);
}

static void on_publish(struct mosquitto *mosq, void *arg, int mid, int rc,
                       const mosquitto_property *properties)
{
    struct central *c = arg;

    (void)mosq;
    (void)properties;
    bool former = c->former > 0; /* brokers answer in order, as clients must [MQTT-4.6.0-2] */

    if (former)
        c->former--;
    if (c->unacked > 0)
        c->unacked--;
    if (rc >= 0x80 && !former && c->denied++ == 0) { /* there is one for each device */
        snprintf(c->last_error, sizeof(c->last_error),
                 "the broker refuses what is published to it: %s", mosquitto_reason_string(rc));
        log_event(LOG_CENTRAL, LOG_WARN_, "central-publish-refused", "msg=%s todo=%s",
                  LOG_Q(mosquitto_reason_string(rc)),
                  LOG_Q("allow the gateway to publish below its root topic; what was refused is "
                        "told again after a reload, or on the next connection"));
    }
    if (c->phase == CENTRAL_LEAVING && mid == c->goodbye)
        uv_timer_start(&c->retry, on_goodbye, 0, 0);
}

static void on_subscribe(struct mosquitto *mosq, void *arg, int mid, int n, const int *granted,
                         const mosquitto_property *properties)
{
    struct central *c = arg;

    (void)mosq;
    (void)mid;
    (void)properties;
    if (n > 0 && granted[0] >= 0x80)
        log_event(LOG_CENTRAL, LOG_ERROR_, "central-no-commands", "topic=%s todo=%s", LOG_Q(c->cmd),
                  LOG_Q("allow the gateway to subscribe to its cmd topic"));
}

/* A request that was taken up, and where its reply goes: what it says (MQTT 5), else the gateway's
 * own topic. */
struct asked {
    struct central *central; /* borrowed */
    char *topic;             /* owned, or NULL */
    void *correlation;       /* owned, or NULL */
    uint16_t n;              /* bytes of it */
};

static struct asked *asked_new(struct central *c, const mosquitto_property *properties)
{
    struct asked *a = calloc(1, sizeof(*a));

    if (a == NULL)
        return NULL;
    a->central = c;
    if (c->conf->management.version == 5) {
        mosquitto_property_read_string(properties, MQTT_PROP_RESPONSE_TOPIC, &a->topic, false);
        mosquitto_property_read_binary(properties, MQTT_PROP_CORRELATION_DATA, &a->correlation,
                                       &a->n, false);
    }
    return a;
}

/* A reply that does not fit through would end the connection: ours to the gateway, or the gateway's
 * to the broker, and again on the next one.  What a broker takes an MQTT 3.1.1 client does not
 * know.  Takes text, returns owned. */
static char *fit_reply(const struct central *c, char *text)
{
    size_t most =
        c->conf->limits.packet_bytes < REPLY_MAX ? c->conf->limits.packet_bytes : REPLY_MAX;
    struct rpc_fault f = {0};
    json_t *whole, *reply;

    if (strlen(text) + 1024 <= most)
        return text;
    whole = json_loads(text, 0, NULL);
    rpc_refuse(&f, RPC_TOO_BIG, "ask for less at a time: target, limit",
               "carried out, but its reply of %zu bytes is more than the %zu that are sent",
               strlen(text), most);
    reply = rpc_reply_error(json_object_get(whole, "id"), &f);
    free(text);
    text = json_dumps(reply, JSON_COMPACT);
    json_decref(reply);
    json_decref(whole);
    return text;
}

/* Takes text and the request.  The client may be gone, or be another one, meanwhile. */
static void on_reply(void *arg, char *text)
{
    struct asked *a = arg;
    struct central *c = a->central;
    const char *topic = a->topic == NULL ? c->reply : a->topic;

    crash_point("central.reply");
    if (text != NULL && topic != NULL && (text = fit_reply(c, text)) != NULL) {
        put(c, topic, text, a->correlation, a->n);
        a->correlation = NULL;
        text = NULL;
    }
    free(text);
    free(a->topic);
    free(a->correlation);
    free(a);
}

/* -- who commands -- */

static int on_admit(void *arg, const struct caller *caller, enum rpc_method m, struct rpc_fault *f)
{
    const struct central *c = arg;

    return operators_admit(c->operators, caller->who, caller->jti != NULL, caller->roles, m, f);
}

static void on_refused(void *arg, const struct caller *caller, const char *method,
                       const char *target, const struct rpc_fault *f)
{
    struct central *c = arg;

    operators_refused(&c->account, c->hub, caller->who, method, target, f);
}

/* A signed command that is not taken.  Its id is known where the signature is good. */
static void refuse_signed(struct central *c, const char *who, const struct signed_command *command,
                          const struct rpc_fault *f, struct asked *asked)
{
    const json_t *method = json_object_get(command->request, "method");
    const char *target =
        json_string_value(json_object_get(json_object_get(command->request, "params"), "target"));
    json_t *id = json_object_get(command->request, "id");
    json_t *reply;

    operators_refused(&c->account, c->hub, who,
                      json_is_string(method) ? json_string_value(method) : "",
                      target == NULL ? "" : target, f);
    if (json_is_object(id) || json_is_array(id) || json_string_length(id) > RPC_ID_MAX)
        id = NULL;
    reply = rpc_reply_error(id, f);
    on_reply(asked, json_dumps(reply, JSON_COMPACT));
    json_decref(reply);
}

static void serve_signed(struct central *c, const char *text, size_t n, struct asked *asked)
{
    struct signed_command command;
    struct rpc_fault f = {0};
    int rc = operators_open(c->operators, c->hub, text, n, &command, &f);
    char who[160];

    snprintf(who, sizeof(who), "%s%s", command.by == NULL ? "central" : "operator:",
             command.by == NULL ? "" : command.by->name);
    if (rc != 0) {
        refuse_signed(c, who, &command, &f, asked);
    } else {
        const struct caller caller = {
            .who = who,
            .operate = true,
            .remember = "central",
            .jti = command.jti,
            .roles = command.by->roles,
            .admit = on_admit,
            .refused = on_refused,
            .arg = c,
        };

        c->account.good++;
        dispatch_request(c->dispatch, &caller, command.request, on_reply, asked);
    }
    signed_command_fini(&command);
    rpc_fault_fini(&f);
}

static void on_message(struct mosquitto *mosq, void *arg, const struct mosquitto_message *m,
                       const mosquitto_property *properties)
{
    struct central *c = arg;
    const struct caller caller = {.who = "central",
                                  .operate = true,
                                  .remember = "central",
                                  .admit = on_admit,
                                  .refused = on_refused,
                                  .arg = c};
    size_t n = (size_t)m->payloadlen;
    struct asked *asked;

    (void)mosq;
    if (m->retain) { /* a command is for now, not for whoever subscribes later */
        log_event(LOG_CENTRAL, LOG_WARN_, "central-retained-command", "topic=%s todo=%s",
                  LOG_Q(m->topic), LOG_Q("clear the retained message; publish without retain"));
        return;
    }
    crash_point("central.command");
    asked = asked_new(c, properties);
    if (asked == NULL)
        log_event(LOG_CENTRAL, LOG_ERROR_, "central-not-asked", "cause=no-memory");
    else if (signed_looks(m->payload, n))
        serve_signed(c, m->payload, n, asked);
    else
        dispatch_text(c->dispatch, &caller, m->payload, n, on_reply, asked);
}

/* A clock that is set, or lost, is no news of a device: it is looked for. */
static void look_at_clock(struct central *c)
{
    struct flip_clock clock;
    unsigned seen;

    hub_clock(c->hub, &clock);
    seen = 1U | (clock.known ? 2U : 0) | (clock.synchronised ? 4U : 0) |
           (flip_clock_refuses(flip_clock_judge(&clock), c->conf->clock_require_sync) ? 8U : 0);
    if (c->clock_told != 0 && c->clock_told != seen)
        central_state(c);
    c->clock_told = seen;
}

static void on_misc(uv_timer_t *timer)
{
    struct central *c = timer->data;
    int rc;

    look_at_clock(c);
    if (c->watch == NULL)
        return;
    rc = mosquitto_loop_misc(c->mosq);
    if (rc != MOSQ_ERR_SUCCESS)
        lost(c, mosquitto_strerror(rc));
    else if (mosquitto_socket(c->mosq) < 0)
        lost(c, "the connection ended");
    else if (c->phase == CENTRAL_CONNECTING && clock_boot_ms() - c->since_ms > CONNACK_MS)
        lost(c, "no answer from the broker");
    else
        pump(c);
}

/* -- life -- */

static void topics_free(struct central *c)
{
    free(c->cmd);
    free(c->reply);
    free(c->state);
    free(c->event);
    free(c->device);
    c->cmd = c->reply = c->state = c->event = c->device = NULL;
}

static int make_topics(struct central *c)
{
    const char *root = c->conf->management.root, *gateway = c->conf->gateway;

    c->cmd = str_printf("%s/%s/cmd", root, gateway);
    c->reply = str_printf("%s/%s/reply", root, gateway);
    c->state = str_printf("%s/%s/state", root, gateway);
    c->event = str_printf("%s/%s/event", root, gateway);
    c->device = str_printf("%s/%s/device/", root, gateway);
    return c->cmd == NULL || c->reply == NULL || c->state == NULL || c->event == NULL ||
                   c->device == NULL
               ? -ERR_NOMEM
               : 0;
}

static int set_will(struct central *c)
{
    c->offline = state_text(c, false);
    if (c->offline == NULL)
        return MOSQ_ERR_NOMEM;
    return mosquitto_will_set(c->mosq, c->state, (int)strlen(c->offline), c->offline, QOS, true);
}

/* Its client identifier is a template, which may name the gateway. */
static struct mosquitto *client_new(struct central *c)
{
    const struct conf_management *m = &c->conf->management;
    struct buf id = {0};
    struct mosquitto *mosq = NULL;

    if (match_template(m->client_id, &(struct match_facts){0}, m->device, c->conf->gateway, &id) ==
            0 &&
        buf_append_u8(&id, 0) == 0)
        mosq = mosquitto_new((const char *)id.p, false, c);
    buf_fini(&id);
    return mosq;
}

/* Make the client as the configuration wants it. */
static int client_open(struct central *c, struct err *err)
{
    const struct conf_management *m = &c->conf->management;
    int rc;

    if (!m->enabled)
        return 0;
    if (make_topics(c) != 0 || (c->mosq = client_new(c)) == NULL)
        return err_set(err, ERR_NOMEM, "management client: out of memory");
    mosquitto_int_option(c->mosq, MOSQ_OPT_PROTOCOL_VERSION,
                         m->version == 5 ? MQTT_PROTOCOL_V5 : MQTT_PROTOCOL_V311);
    mosquitto_connect_v5_callback_set(c->mosq, on_connect);
    mosquitto_disconnect_v5_callback_set(c->mosq, on_disconnect);
    mosquitto_publish_v5_callback_set(c->mosq, on_publish);
    mosquitto_subscribe_v5_callback_set(c->mosq, on_subscribe);
    mosquitto_message_v5_callback_set(c->mosq, on_message);
    rc = set_will(c);
    if (rc != MOSQ_ERR_SUCCESS)
        return err_set(err, ERR_INVALID, "management client: topic %s: %s", c->state,
                       mosquitto_strerror(rc));
    c->tried = c->told_all = false;
    c->unacked = c->former = 0;
    c->backoff_ms = BACKOFF_LEAST;
    return 0;
}

static void client_close(struct central *c)
{
    watch_close(c);
    if (c->mosq != NULL)
        mosquitto_destroy(c->mosq);
    c->mosq = NULL;
    c->since_s = 0;
    free(c->offline);
    c->offline = NULL;
    topics_free(c);
}

static bool same(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool needs_another(const struct conf *a, const struct conf *b)
{
    const struct conf_management *m = &a->management, *n = &b->management;
    const struct conf_listener *l = m->enabled ? own_listener(a) : NULL;
    const struct conf_listener *k = n->enabled ? own_listener(b) : NULL;

    return m->enabled != n->enabled || m->version != n->version ||
           m->keepalive_s != n->keepalive_s || !same(m->device, n->device) ||
           !same(m->client_id, n->client_id) || !same(m->root, n->root) ||
           !same(a->gateway, b->gateway) ||
           !same(l == NULL ? NULL : l->address, k == NULL ? NULL : k->address);
}

static void renew(struct central *c)
{
    struct err err = {0};

    c->renew = false;
    if (c->phase == CENTRAL_ONLINE) { /* who says goodbye has no Will: what it says is said here */
        publish(c, c->state, c->offline, true, NULL, NULL);
        mosquitto_disconnect(c->mosq);
    }
    client_close(c);
    enter(c, CENTRAL_WAITING);
    if (client_open(c, &err) != 0)
        log_event(LOG_CENTRAL, LOG_ERROR_, "central-off", "msg=%s", LOG_Q(err.msg));
}

static void on_retry(uv_timer_t *timer)
{
    struct central *c = timer->data;

    if (c->renew)
        renew(c);
    attempt(c);
}

void central_conf(struct central *c, struct conf *conf, struct operators *operators)
{
    bool another;

    if (c == NULL || c->phase >= CENTRAL_LEAVING) {
        operators_free(operators);
        return;
    }
    operators_free(c->operators);
    c->operators = operators;
    another = needs_another(c->conf, conf);
    conf_ref(conf);
    conf_unref(c->conf);
    c->conf = conf;
    if (another) { /* not here: the command may have come through the client that is to go */
        c->renew = true;
        uv_timer_start(&c->retry, on_retry, 0, 0);
    } else if (c->denied > 0 && c->phase == CENTRAL_ONLINE) { /* it may be allowed by now */
        c->denied = 0;
        c->former = c->unacked;
        c->last_error[0] = '\0';
        c->state_stale = true; /* it may have been refused, too */
        tell_all(c);
    }
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct central *c = handle->data;

    if (--c->handles > 0)
        return;
    outbox_fini(&c->outbox);
    operators_free(c->operators);
    conf_unref(c->conf);
    mosquitto_lib_cleanup();
    if (c->done != NULL)
        c->done(c->done_arg);
    free(c);
}

static void leave(struct central *c)
{
    if (c->phase == CENTRAL_GONE)
        return;
    enter(c, CENTRAL_GONE);
    if (c->watch != NULL)
        mosquitto_disconnect(c->mosq);
    client_close(c);
    uv_close((uv_handle_t *)&c->misc, on_handle_closed);
    uv_close((uv_handle_t *)&c->retry, on_handle_closed);
    uv_close((uv_handle_t *)&c->settle, on_handle_closed);
}

struct central *central_start(uv_loop_t *loop, struct conf *conf, struct dispatch *d,
                              struct hub *hub, struct err *err)
{
    struct operators *operators = operators_new(conf, err);
    struct central *c;

    if (operators == NULL)
        return NULL;
    c = calloc(1, sizeof(*c));
    if (c == NULL || outbox_init(&c->outbox) != 0) {
        free(c);
        operators_free(operators);
        err_set(err, ERR_NOMEM, "management client: out of memory");
        return NULL;
    }
    c->operators = operators;
    mosquitto_lib_init();
    c->loop = loop;
    c->dispatch = d;
    c->hub = hub;
    c->conf = conf_ref(conf);
    uv_timer_init(loop, &c->misc);
    uv_timer_init(loop, &c->retry);
    uv_timer_init(loop, &c->settle);
    c->handles = 3;
    c->misc.data = c->retry.data = c->settle.data = c;
    enter(c, CENTRAL_WAITING);
    if (client_open(c, err) != 0) {
        leave(c);
        return NULL;
    }
    uv_timer_start(&c->misc, on_misc, MISC_MS, MISC_MS);
    uv_timer_start(&c->retry, on_retry, 0, 0);
    return c;
}

static void on_goodbye(uv_timer_t *timer)
{
    leave(timer->data);
}

void central_stop(struct central *c, void (*done)(void *arg), void *arg)
{
    if (c == NULL)
        return;
    c->done = done;
    c->done_arg = arg;
    uv_timer_stop(&c->retry);
    uv_timer_stop(&c->settle);
    if (c->phase != CENTRAL_ONLINE) {
        leave(c);
        return;
    }
    while (outbox_first(&c->outbox) != NULL && pump_one(c))
        continue; /* replies and events go before the last words, as far as there is time */
    enter(c, CENTRAL_LEAVING);
    if (publish(c, c->state, c->offline, true, NULL, &c->goodbye) != MOSQ_ERR_SUCCESS)
        leave(c);
    else
        uv_timer_start(&c->retry, on_goodbye, GOODBYE_MS, 0);
    watch_update(c);
}

/* Our connection to the gateway stands, and the gateway's to the broker. */
static bool is_connected(const struct central *c)
{
    const struct hub_device *d = hub_find(c->hub, c->conf->management.device);

    return c->phase == CENTRAL_ONLINE && d != NULL && d->leg != NULL &&
           (d->leg->what == MSG_LEG_ACCEPTED || d->leg->slot != flip_active_slot(&d->flip));
}

/* Since when it is, or is not, connected; 0: it never was. */
static int64_t connected_since_s(const struct central *c)
{
    const struct hub_device *d = hub_find(c->hub, c->conf->management.device);
    int64_t leg_s = d == NULL || d->leg == NULL ? 0 : d->leg->since_s;

    if (c->phase != CENTRAL_ONLINE)
        return c->lost_s;
    if (!is_connected(c))
        return leg_s;
    return leg_s > c->since_s ? leg_s : c->since_s;
}

struct json_t *central_status(const struct central *c)
{
    if (c == NULL || c->mosq == NULL)
        return json_pack("{s:b}", "enabled", 0);
    return json_pack("{s:b, s:s, s:b, s:o, s:o, s:I, s:o}", "enabled", 1, "device",
                     c->conf->management.device, "connected", is_connected(c), "since",
                     rpc_time(connected_since_s(c)), "last_error", rpc_text_or_null(c->last_error),
                     "events_dropped", (json_int_t)c->outbox.dropped, "signed",
                     operators_json(c->operators, &c->account));
}
