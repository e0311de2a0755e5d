/* tests/fleet/gateway.c - a simulated gateway: its connection to the broker and what it publishes,
 * at the pace of control/central.c.  See sim.h. */
#include <errno.h>
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/rand.h"
#include "base/str.h"
#include "control/jsonrpc.h"
#include "sim.h"
#include "tls/anchor.h"
#include "tls/ctx.h"

#define UNACKED_MAX    16
#define SETTLE_MS      100
#define SESSION_EXPIRY (7 * 24 * 3600)
#define RETRY_MS       1000

struct message {
    struct list link;
    char *topic, *payload; /* owned */
    void *correlation;     /* owned, or NULL */
    size_t n;
};

/* A reply that is on its way for a while. */
struct later {
    struct timer timer;
    struct sim_gateway *gateway;
    struct message *message; /* owned */
};

static void pump(struct sim_gateway *g);

static void watch(struct sim_gateway *g)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = g};
    int fd = mosquitto_socket(g->mosq);

    if (fd < 0) {
        g->fd = -1;
        return;
    }
    if (mosquitto_want_write(g->mosq))
        ev.events |= EPOLLOUT;
    if (epoll_ctl(sim.epoll, g->fd == fd ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev) != 0)
        epoll_ctl(sim.epoll, EPOLL_CTL_ADD, fd, &ev); /* the number was another connection's */
    g->fd = fd;
}

static void lost(struct sim_gateway *g)
{
    if (g->online)
        sim.counts.online--;
    g->online = false;
    g->fd = -1;
    if (!g->away)
        timer_at(&g->retry, clock_boot_ms() + RETRY_MS / 2 + rand_below(RETRY_MS));
}

static void on_retry(struct timer *t)
{
    struct sim_gateway *g = list_entry(t, struct sim_gateway, retry);
    mosquitto_property *properties = NULL;
    int rc;

    if (g->away || g->fd >= 0)
        return;
    if (g->tried) {
        rc = mosquitto_reconnect(g->mosq);
    } else {
        mosquitto_property_add_int32(&properties, MQTT_PROP_SESSION_EXPIRY_INTERVAL,
                                     SESSION_EXPIRY);
        rc = mosquitto_connect_bind_v5(g->mosq, sim.host, sim.port, 60, NULL, properties);
        mosquitto_property_free_all(&properties);
        g->tried = rc == MOSQ_ERR_SUCCESS;
    }
    if (rc != MOSQ_ERR_SUCCESS)
        lost(g);
    else
        watch(g);
}

void gateway_ready(struct sim_gateway *g, unsigned events)
{
    int rc = MOSQ_ERR_SUCCESS;

    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        rc = mosquitto_loop_read(g->mosq, 1);
    if (rc == MOSQ_ERR_SUCCESS && (events & EPOLLOUT) != 0)
        rc = mosquitto_loop_write(g->mosq, 1);
    if (rc != MOSQ_ERR_SUCCESS || mosquitto_socket(g->mosq) < 0)
        lost(g);
    else
        pump(g);
}

void gateway_misc(struct sim_gateway *g)
{
    if (g->fd < 0)
        return;
    if (mosquitto_loop_misc(g->mosq) != MOSQ_ERR_SUCCESS || mosquitto_socket(g->mosq) < 0)
        lost(g);
    else
        watch(g);
}

void gateway_drop(struct sim_gateway *g, bool away)
{
    g->away = g->away || away;
    if (g->fd >= 0) /* nothing is said: the broker publishes the Will */
        shutdown(g->fd, SHUT_RDWR);
}

void gateway_back(struct sim_gateway *g)
{
    g->away = false;
    if (g->fd < 0)
        timer_at(&g->retry, clock_boot_ms() + rand_below(50));
}

/* -- what is published -- */

static int publish(struct sim_gateway *g, const char *topic, const char *payload, bool retain,
                   const mosquitto_property *properties)
{
    size_t n = strlen(payload);
    int rc = mosquitto_publish_v5(g->mosq, NULL, topic, (int)n, payload, 1, retain, properties);

    if (rc == MOSQ_ERR_SUCCESS) {
        g->unacked++;
        sim.counts.sent++;
        sim.counts.sent_bytes += n + strlen(topic);
    }
    return rc;
}

static json_t *in_force(const struct sim_gateway *g, bool upstream)
{
    json_t *all = json_array();

    list_for_each (it, &g->anchors) {
        const struct sim_anchor *a = list_entry(it, struct sim_anchor, link);

        if (a->upstream == upstream && !a->removed)
            json_array_append_new(all, json_pack("{s:s, s:s, s:o}", "fingerprint", a->anchor->fp,
                                                 "subject", a->anchor->info->subject, "not_after",
                                                 rpc_time(a->anchor->info->not_after_s)));
    }
    return all;
}

json_t *gateway_counts(const struct sim_gateway *g)
{
    unsigned phases[FLIP_PHASES] = {0}, online = 0;

    for (unsigned i = 0; i < sim.device_count; i++) {
        phases[g->devices[i].flip.phase]++;
        online += g->devices[i].online;
    }
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "total",
                     (int)sim.device_count, "online", (int)online, "steady",
                     (int)phases[FLIP_STEADY], "staged", (int)phases[FLIP_STAGED], "trial",
                     (int)phases[FLIP_TRIAL], "committed", (int)phases[FLIP_COMMITTED],
                     "rolled_back", (int)phases[FLIP_ROLLED_BACK], "queued", 0, "faulty", 0);
}

json_t *gateway_epoch(const struct sim_gateway *g)
{
    char text[20];

    snprintf(text, sizeof(text), "%012llx", (unsigned long long)g->epoch);
    return json_string(text);
}

static char *state_text(const struct sim_gateway *g, bool online)
{
    json_t *state = json_pack("{s:b, s:s, s:s, s:s}", "online", (int)online, "gateway", g->name,
                              "version", PACKAGE_VERSION, "tls_library", tls_library());
    char *text;

    if (online) {
        json_object_set_new(state, "time", rpc_time(clock_wall_s()));
        json_object_set_new(state, "started", rpc_time(g->started_s));
        json_object_set_new(state, "devices", gateway_counts(g));
        json_object_set_new(state, "trust",
                            json_pack("{s:o, s:o}", "downstream", in_force(g, false), "upstream",
                                      in_force(g, true)));
        json_object_set_new(state, "clock",
                            json_pack("{s:b, s:o, s:b}", "synchronised", 1, "since",
                                      rpc_time(g->started_s), "flips", 1));
        json_object_set_new(state, "event_seq", json_integer((json_int_t)g->seq));
        json_object_set_new(state, "epoch", gateway_epoch(g));
        json_object_set_new(state, "events_dropped", json_integer(0));
    }
    text = json_dumps(state, JSON_COMPACT);
    json_decref(state);
    return text;
}

static void message_free(struct message *m)
{
    list_del(&m->link);
    free(m->topic);
    free(m->payload);
    free(m->correlation);
    free(m);
}

static int publish_message(struct sim_gateway *g, const struct message *m)
{
    mosquitto_property *properties = NULL;
    int rc;

    if (m->correlation != NULL)
        mosquitto_property_add_binary(&properties, MQTT_PROP_CORRELATION_DATA, m->correlation,
                                      (uint16_t)m->n);
    rc = publish(g, m->topic, m->payload, false, properties);
    mosquitto_property_free_all(&properties);
    return rc;
}

static int publish_device(struct sim_gateway *g, struct sim_device *d)
{
    json_t *shown = device_show(d);
    char *text = json_dumps(shown, JSON_COMPACT), *topic = str_printf("%s%s", g->device, d->name);
    int rc = publish(g, topic, text, true, NULL);

    json_decref(shown);
    free(text);
    free(topic);
    return rc;
}

static bool pump_one(struct sim_gateway *g)
{
    if (!list_empty(&g->outbox)) {
        struct message *m = list_entry(g->outbox.next, struct message, link);

        if (publish_message(g, m) != MOSQ_ERR_SUCCESS)
            return false;
        message_free(m);
        return true;
    }
    if (g->state_ready) {
        char *text = state_text(g, true);

        g->state_ready = publish(g, g->state, text, true, NULL) != MOSQ_ERR_SUCCESS;
        free(text);
        return !g->state_ready;
    }
    if (!list_empty(&g->ready)) {
        struct sim_device *d = list_entry(g->ready.next, struct sim_device, stale);

        if (publish_device(g, d) != MOSQ_ERR_SUCCESS)
            return false;
        list_del(&d->stale);
        return true;
    }
    return false;
}

static void pump(struct sim_gateway *g)
{
    while (g->online && g->unacked < UNACKED_MAX && pump_one(g))
        continue;
    if (g->fd >= 0)
        watch(g);
}

static void settle_later(struct sim_gateway *g)
{
    if (!g->settle.item.in)
        timer_at(&g->settle, clock_boot_ms() + SETTLE_MS);
}

static void on_settled(struct timer *t)
{
    struct sim_gateway *g = list_entry(t, struct sim_gateway, settle);

    list_for_each_safe (it, &g->stale) {
        list_del(it);
        list_add(&g->ready, it);
    }
    g->state_ready = g->state_ready || g->state_stale;
    g->state_stale = false;
    pump(g);
}

void gateway_touch(struct sim_gateway *g, struct sim_device *d)
{
    if (list_empty(&d->stale))
        list_add(&g->stale, &d->stale);
    g->state_stale = true;
    settle_later(g);
}

void gateway_state(struct sim_gateway *g)
{
    g->state_stale = true;
    settle_later(g);
}

static struct message *message_new(const char *topic, char *payload, const void *correlation,
                                   size_t n)
{
    struct message *m = sim_alloc(sizeof(*m));

    list_init(&m->link);
    m->topic = sim_strdup(topic);
    m->payload = payload;
    m->n = n;
    if (n != 0)
        m->correlation = memcpy(sim_alloc(n), correlation, n);
    return m;
}

void gateway_say(struct sim_gateway *g, const char *topic, char *payload, const void *correlation,
                 size_t n)
{
    list_add(&g->outbox, &message_new(topic, payload, correlation, n)->link);
    pump(g);
}

/* -- commands -- */

static void on_late(struct timer *t)
{
    struct later *l = list_entry(t, struct later, timer);

    list_add(&l->gateway->outbox, &l->message->link);
    pump(l->gateway);
    free(l);
}

/* Takes text. */
static void answer(struct sim_gateway *g, const char *topic, char *text, const void *correlation,
                   size_t n)
{
    const struct sim_faults *f = &sim.faults;
    struct later *l;

    if (sim_chance(f->lost)) {
        sim.counts.lost++;
        free(text);
        return;
    }
    if (sim_chance(f->twice)) {
        sim.counts.twice++;
        gateway_say(g, topic, sim_strdup(text), correlation, n);
    }
    if (!sim_chance(f->late)) {
        gateway_say(g, topic, text, correlation, n);
        return;
    }
    sim.counts.late++;
    l = sim_alloc(sizeof(*l));
    l->timer.fire = on_late;
    l->gateway = g;
    l->message = message_new(topic, text, correlation, n);
    timer_at(&l->timer, clock_boot_ms() + rand_below(2 * f->late_ms + 1));
}

static void on_message(struct mosquitto *mosq, void *arg, const struct mosquitto_message *m,
                       const mosquitto_property *properties)
{
    struct sim_gateway *g = arg;
    char *topic = NULL, *text;
    void *correlation = NULL;
    uint16_t n = 0;

    (void)mosq;
    sim.counts.received++;
    sim.counts.received_bytes += (size_t)m->payloadlen + strlen(m->topic);
    if (m->retain || (sim.faults.deaf != NULL && str_glob(sim.faults.deaf, g->name)))
        return;
    mosquitto_property_read_string(properties, MQTT_PROP_RESPONSE_TOPIC, &topic, false);
    mosquitto_property_read_binary(properties, MQTT_PROP_CORRELATION_DATA, &correlation, &n, false);
    text = serve(g, m->payload, (size_t)m->payloadlen);
    if (text != NULL)
        answer(g, topic == NULL ? g->reply : topic, text, correlation, n);
    free(topic);
    free(correlation);
}

static void on_connect(struct mosquitto *mosq, void *arg, int rc, int flags,
                       const mosquitto_property *properties)
{
    struct sim_gateway *g = arg;

    (void)properties;
    if (rc != 0)
        return;
    g->online = true;
    sim.counts.online++;
    sim.counts.connects++;
    mosquitto_subscribe_v5(mosq, NULL, g->cmd, 1, 0, NULL);
    g->state_ready = true;
    if (!g->told_all || (flags & 1) == 0)
        for (unsigned i = 0; i < sim.device_count; i++)
            gateway_touch(g, &g->devices[i]);
    g->told_all = true;
}

static void on_publish(struct mosquitto *mosq, void *arg, int mid, int rc,
                       const mosquitto_property *properties)
{
    struct sim_gateway *g = arg;

    (void)mosq;
    (void)mid;
    (void)properties;
    if (rc >= 0x80) {
        fprintf(stderr, "gateway %s: refused by the broker: %s\n", g->name,
                mosquitto_reason_string(rc));
        exit(1);
    }
    if (g->unacked > 0)
        g->unacked--;
}

/* -- who is believed -- */

struct sim_anchor *anchor_new(bool upstream, struct tls_anchor *anchor, const char *by,
                              const char *note)
{
    struct sim_anchor *a = sim_alloc(sizeof(*a));

    list_init(&a->link);
    a->upstream = upstream;
    a->anchor = tls_anchor_ref(anchor);
    a->by = by == NULL ? NULL : sim_strdup(by);
    a->note = note == NULL ? NULL : sim_strdup(note);
    a->time_s = by == NULL ? 0 : clock_wall_s();
    return a;
}

void anchor_free(struct sim_anchor *a)
{
    list_del(&a->link);
    tls_anchor_unref(a->anchor);
    free(a->by);
    free(a->note);
    free(a);
}

struct sim_anchor *gateway_anchor(struct sim_gateway *g, bool upstream, const char *fp)
{
    list_for_each (it, &g->anchors) {
        struct sim_anchor *a = list_entry(it, struct sim_anchor, link);

        if (a->upstream == upstream && strcmp(a->anchor->fp, fp) == 0)
            return a;
    }
    return NULL;
}

/* -- life -- */

static void make_devices(struct sim_gateway *g)
{
    char name[32];

    g->devices = sim_alloc(sim.device_count * sizeof(*g->devices));
    g->by_name = map_new();
    for (unsigned i = 0; i < sim.device_count; i++) {
        snprintf(name, sizeof(name), "d-%04u-%03u", g->number, i);
        device_init(&g->devices[i], g, name);
        map_put(g->by_name, name, &g->devices[i]);
    }
}

void gateway_init(struct sim_gateway *g, unsigned number)
{
    char *id;

    *g = (struct sim_gateway){.number = number, .fd = -1, .started_s = clock_wall_s()};
    g->epoch = rand_u64() >> 16;
    list_init(&g->outbox);
    list_init(&g->stale);
    list_init(&g->ready);
    list_init(&g->anchors);
    g->retry.fire = on_retry;
    g->settle.fire = on_settled;
    g->once = map_new();
    g->name = str_printf("gw-%04u", number);
    g->cmd = str_printf("%s/%s/cmd", sim.root, g->name);
    g->reply = str_printf("%s/%s/reply", sim.root, g->name);
    g->state = str_printf("%s/%s/state", sim.root, g->name);
    g->event = str_printf("%s/%s/event", sim.root, g->name);
    g->device = str_printf("%s/%s/device/", sim.root, g->name);
    make_devices(g);
    list_for_each (it, &sim.anchors) {
        struct sim_anchor *a = list_entry(it, struct sim_anchor, link);

        list_add(&g->anchors, &anchor_new(a->upstream, a->anchor, NULL, NULL)->link);
    }
    id = str_printf("certflip-%s", g->name);
    g->mosq = mosquitto_new(id, false, g);
    free(id);
    g->offline = state_text(g, false);
    mosquitto_int_option(g->mosq, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);
    mosquitto_connect_v5_callback_set(g->mosq, on_connect);
    mosquitto_publish_v5_callback_set(g->mosq, on_publish);
    mosquitto_message_v5_callback_set(g->mosq, on_message);
    mosquitto_will_set(g->mosq, g->state, (int)strlen(g->offline), g->offline, 1, true);
    timer_at(&g->retry, clock_boot_ms() + number); /* not all of them at once */
}

void gateway_fini(struct sim_gateway *g)
{
    const char *key;
    size_t it = 0;
    void *kept;

    timer_stop(&g->retry);
    timer_stop(&g->settle);
    mosquitto_destroy(g->mosq);
    for (unsigned i = 0; i < sim.device_count; i++)
        device_fini(&g->devices[i]);
    free(g->devices);
    list_for_each_safe (i, &g->outbox)
        message_free(list_entry(i, struct message, link));
    list_for_each_safe (i, &g->anchors)
        anchor_free(list_entry(i, struct sim_anchor, link));
    while (map_next(g->once, &it, &key, &kept))
        free(kept);
    map_free(g->once);
    map_free(g->by_name);
    free(g->name);
    free(g->cmd);
    free(g->reply);
    free(g->state);
    free(g->event);
    free(g->device);
    free(g->offline);
}
