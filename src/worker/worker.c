/* Runs on the worker's thread: all but worker_start, worker_post, worker_join and
 * worker_check_listeners. */
#include "worker/worker.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "net/listen.h"
#include "session/session.h"

#define TICK_MS 250u
/* How long ending sessions may take at a stop. */
#define STOP_MS 3000u
/* So many sessions gone since the peak, and none coming or going: give their memory back to the
 * system. */
#define TRIM_SESSIONS    200u
#define TRIM_QUIET_TICKS 4u
/* Where it is never quiet. */
#define TRIM_LATEST_TICKS 120u
/* So many wake-ups may come at once before they are spaced. */
#define PACE_BURST        32
#define PACE_SLEEP_US_MAX 500000
#define PACE_SLACK_NS     10000ul

struct wk_listener {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } u;
    struct list link;
    struct worker *w;
    size_t index;         /* in the snapshot's listeners */
    char *name, *address; /* owned */
    uint16_t port;
    enum conf_listener_type type;
};

/* A bucket of wake-ups: full, a worker is woken for each packet; empty, it sleeps for one more. */
struct pace {
    uv_prepare_t prepare;
    int64_t since_us;  /* CLOCK_MONOTONIC when `credit_us` was right */
    int64_t credit_us; /* a wake-up costs 1,000,000 / wakeups_per_second of it */
};

struct worker {
    struct env env;
    struct pace pace;
    uv_loop_t loop;
    pthread_t thread;
    bool has_run; /* there is a thread */
    struct inbox box;
    struct inbox steps; /* of handshakes, from the threads of tokens */
    struct inbox *main_box;
    uv_timer_t tick;
    struct list listeners;
    unsigned index;
    uint64_t stop_by_ms; /* 0: not stopping */
    uint64_t peak_sessions;
    uint64_t last_sessions;
    unsigned quiet_ticks;
    unsigned trim_ticks; /* since there was something to give back */
};

/* ---- news to main ---- */

static void tell(struct worker *w, struct msg *m)
{
    m->worker = w->index;
    inbox_post(w->main_box, &m->link);
}

static struct msg *news_of(struct worker *w, enum msg_kind kind, const struct session *s)
{
    struct msg *m = msg_new(kind);

    if (m == NULL) {
        log_event(LOG_DAEMON, LOG_ERROR_, "out-of-memory", "worker=%u msg=%s", w->index,
                  LOG_Q("news for the main thread was lost"));
        return NULL;
    }
    if (s != NULL) {
        snprintf(m->device, sizeof m->device, "%s", s->dev->name);
        m->session_id = s->id;
    }
    return m;
}

/* The fingerprint of whoever vouches for a leg's peer; "" for nobody. */
static void vouching(const struct leg *leg, char out[CERT_FP_TEXT])
{
    const struct tls_anchor *a = leg == NULL || leg->tls == NULL ? NULL : tls_conn_anchor(leg->tls);

    snprintf(out, CERT_FP_TEXT, "%s", a == NULL ? "" : a->fp);
}

static void on_up(void *arg, const struct session *s)
{
    struct worker *w = arg;
    static const uint8_t none[CERT_FP_BYTES];
    struct mqtt_packet pkt;
    struct mqtt_connect c;
    uint32_t need;
    uint8_t reason;
    struct msg *m = news_of(w, MSG_UP, s);

    if (m == NULL)
        return;
    snprintf(m->u.up.listener, sizeof m->u.up.listener, "%s", s->listener);
    snprintf(m->u.up.peer, sizeof m->u.up.peer, "%s", s->peer);
    snprintf(m->u.up.tls, sizeof m->u.up.tls, "%s", s->tls);
    if (s->exception != NULL)
        snprintf(m->u.up.exception, sizeof m->u.up.exception, "%s", s->exception);
    m->u.up.version = s->version;
    m->u.up.connected_us = s->connected_us;
    if (memcmp(s->fp, none, sizeof none) != 0)
        str_hex(m->u.up.fp, s->fp, sizeof s->fp);
    vouching(s->down, m->u.up.anchor);
    if (mqtt_packet_peek(s->connect, s->connect_bytes, MQTT_LARGEST_PACKET, &pkt, &need) == 1 &&
        mqtt_connect_read(&pkt, &c, &reason, NULL) == 0)
        snprintf(m->u.up.client_id, sizeof m->u.up.client_id, SLICE_FMT, SLICE_ARG(c.client_id));
    tell(w, m);
}

static void on_down(void *arg, const struct session *s, const char *why)
{
    struct msg *m = news_of(arg, MSG_DOWN, s);

    if (m == NULL)
        return;
    snprintf(m->u.down.text, sizeof m->u.down.text, "%s", why);
    tell(arg, m);
}

static void on_leg(void *arg, const struct session *s, const struct session_leg_news *news)
{
    static const enum msg_leg_what what[] = {
        [LEG_NEWS_ACCEPTED] = MSG_LEG_ACCEPTED, [LEG_NEWS_FAILED] = MSG_LEG_FAILED,
        [LEG_NEWS_LOST] = MSG_LEG_LOST,         [LEG_NEWS_PROVEN] = MSG_LEG_PROVEN,
        [LEG_NEWS_REFUSED] = MSG_LEG_REFUSED,
    };
    struct msg *m = news_of(arg, MSG_LEG, s);

    if (m == NULL)
        return;
    m->u.leg.what = what[news->what];
    m->u.leg.slot = news->slot;
    m->u.leg.flip_seq = s->dev->flip_seq;
    m->u.leg.rehomed = news->rehomed;
    m->u.leg.session_present = news->session_present;
    m->u.leg.stood_ms = news->stood_ms;
    m->u.leg.replayed = news->replayed;
    m->u.leg.restored = news->restored;
    m->u.leg.lost = news->lost;
    m->u.leg.hold_us = news->hold_us;
    m->u.leg.echo_us = news->echo_us;
    m->u.leg.refusal = news->refusal;
    snprintf(m->u.leg.tls, sizeof m->u.leg.tls, "%s", news->tls);
    if (news->cred != NULL)
        str_hex(m->u.leg.fp, cred_leaf(news->cred)->fp, CERT_FP_BYTES);
    if (news->what == LEG_NEWS_ACCEPTED)
        vouching(s->up, m->u.leg.anchor);
    if (news->diag != NULL)
        m->u.leg.diag = *news->diag;
    tell(arg, m);
}

static void on_refused(void *arg, const char *listener, const char *peer, const char *device,
                       const char *code, const char *text)
{
    struct msg *m = news_of(arg, MSG_REFUSED, NULL);

    if (m == NULL)
        return;
    snprintf(m->device, sizeof m->device, "%s", device);
    snprintf(m->u.refused.listener, sizeof m->u.refused.listener, "%s", listener);
    snprintf(m->u.refused.peer, sizeof m->u.refused.peer, "%s", peer);
    snprintf(m->u.refused.code, sizeof m->u.refused.code, "%s", code);
    snprintf(m->u.refused.text, sizeof m->u.refused.text, "%s", text);
    tell(arg, m);
}

static const struct session_news news = {
    .up = on_up,
    .down = on_down,
    .leg = on_leg,
    .refused = on_refused,
};

/* ---- listeners ---- */

static void listener_free(uv_handle_t *handle)
{
    struct wk_listener *l = handle->data;

    free(l->name);
    free(l->address);
    free(l);
}

static void listener_close(struct wk_listener *l)
{
    if (l->type == CONF_LISTEN_UNIX)
        (void)unlink(l->address);
    list_del(&l->link);
    uv_close(&l->u.handle, listener_free);
}

static void on_connection(uv_stream_t *stream, int status)
{
    struct wk_listener *l = stream->data;

    if (status != 0) {
        log_event(LOG_LISTEN, LOG_WARN_, "accept-failed", "listener=%s msg=%s", l->name,
                  LOG_Q(uv_strerror(status)));
        return;
    }
    session_accept(&l->w->env, stream, l->index);
}

/* Takes fd.  Returns 0 or a negative uv error. */
static int listener_open(struct worker *w, const struct conf_listener *conf, size_t index, int fd)
{
    struct wk_listener *l = calloc(1, sizeof *l);
    int rc;

    if (l == NULL) {
        close(fd);
        return UV_ENOMEM;
    }
    *l = (struct wk_listener){.w = w, .index = index, .port = conf->port, .type = conf->type};
    l->name = strdup(conf->name);
    l->address = strdup(conf->address);
    if (conf->type == CONF_LISTEN_UNIX) {
        uv_pipe_init(&w->loop, &l->u.pipe, 0);
        rc = uv_pipe_open(&l->u.pipe, fd);
    } else {
        uv_tcp_init(&w->loop, &l->u.tcp);
        rc = uv_tcp_open(&l->u.tcp, fd);
    }
    l->u.handle.data = l;
    list_add(&w->listeners, &l->link);
    if (rc != 0)
        close(fd);
    else
        rc = uv_listen(&l->u.stream, (int)conf->backlog, on_connection);
    if (rc != 0)
        listener_close(l);
    return rc;
}

static bool mine(const struct worker *w, const struct conf_listener *l)
{
    return l->type != CONF_LISTEN_UNIX || w->index == 0;
}

static int listener_bind(const struct conf_listener *l, bool probe, struct err *err)
{
    int fd = l->type == CONF_LISTEN_UNIX ? listen_unix(l->address, err)
                                         : listen_tcp(l->address, l->port, probe, err);

    return fd < 0 ? err_wrap(err, fd, "listener %s", l->name) : fd;
}

static bool same_socket(const struct conf_listener *a, const char *address, uint16_t port,
                        enum conf_listener_type type)
{
    return strcmp(a->address, address) == 0 && a->port == port &&
           (a->type == CONF_LISTEN_UNIX) == (type == CONF_LISTEN_UNIX);
}

static struct wk_listener *listener_of(struct worker *w, const struct conf_listener *conf)
{
    list_for_each (it, &w->listeners) {
        struct wk_listener *l = list_entry(it, struct wk_listener, link);
        if (same_socket(conf, l->address, l->port, l->type))
            return l;
    }
    return NULL;
}

static void listener_add(struct worker *w, const struct conf_listener *conf, size_t index)
{
    struct err err = {0};
    /* worker_check_listeners has looked who has the port; it may be us, on another worker that has
     * not come to the new configuration yet. */
    int fd = listener_bind(conf, false, &err);
    int rc = fd < 0 ? UV_EADDRINUSE : listener_open(w, conf, index, fd);

    if (rc != 0)
        log_event(LOG_LISTEN, LOG_ERROR_, "listen-failed", "worker=%u listener=%s msg=%s", w->index,
                  conf->name, LOG_Q(fd < 0 ? err.msg : uv_strerror(rc)));
}

/* Sockets that stay keep their queue of connections; the others are closed, new ones opened. */
static void listeners_follow(struct worker *w)
{
    const struct conf *c = w->env.snap->conf;

    list_for_each_safe (it, &w->listeners) {
        struct wk_listener *l = list_entry(it, struct wk_listener, link);
        bool keep = false;
        for (size_t i = 0; i < c->listener_count && !keep; i++)
            keep = same_socket(&c->listeners[i], l->address, l->port, l->type);
        if (!keep)
            listener_close(l);
    }
    for (size_t i = 0; i < c->listener_count; i++) {
        struct wk_listener *l = listener_of(w, &c->listeners[i]);
        if (l != NULL) {
            l->index = i;
            free(l->name);
            l->name = strdup(c->listeners[i].name);
        } else if (mine(w, &c->listeners[i])) {
            listener_add(w, &c->listeners[i], i);
        }
    }
}

/* Who is believed no longer does not stay. */
static void trust_follow(struct worker *w)
{
    list_for_each_safe (it, &w->env.sessions)
        session_trust_changed(list_entry(it, struct session, link));
}

static const struct conf_listener *find_socket(const struct conf *c, const struct conf_listener *l)
{
    for (size_t i = 0; i < c->listener_count; i++)
        if (same_socket(l, c->listeners[i].address, c->listeners[i].port, c->listeners[i].type))
            return &c->listeners[i];
    return NULL;
}

/* Is the port that of a socket of ours that is closed by this reload? */
static bool port_moves(const struct conf *now, const struct conf *next, uint16_t port)
{
    for (size_t i = 0; i < now->listener_count; i++) {
        const struct conf_listener *l = &now->listeners[i];
        if (l->type != CONF_LISTEN_UNIX && l->port == port && find_socket(next, l) == NULL)
            return true;
    }
    return false;
}

int worker_check_listeners(const struct conf *now, const struct conf *next, struct err *err)
{
    for (size_t i = 0; i < next->listener_count; i++) {
        const struct conf_listener *l = &next->listeners[i];
        if (l->type == CONF_LISTEN_UNIX || find_socket(now, l) != NULL)
            continue;
        int fd = listener_bind(l, !port_moves(now, next, l->port), err);
        if (fd < 0)
            return fd;
        close(fd);
    }
    return 0;
}

/* ---- messages from main ---- */

static void device_set(struct worker *w, struct msg *m)
{
    struct device *dev = map_get(w->env.devices, m->device);

    if (dev == NULL) {
        dev = calloc(1, sizeof *dev);
        if (dev == NULL || (dev->name = strdup(m->device)) == NULL ||
            map_put(w->env.devices, dev->name, dev) != 0) {
            log_event(LOG_DAEMON, LOG_ERROR_, "out-of-memory", "device=%s", m->device);
            if (dev != NULL)
                free(dev->name);
            free(dev);
            return;
        }
        list_init(&dev->sessions);
    }
    if (m->u.dev.retired)
        list_for_each_safe (it, &dev->sessions)
            session_retired(list_entry(it, struct session, of_device), m->u.dev.cred[FLIP_OLD]);
    for (int slot = 0; slot < FLIP_SLOTS; slot++) {
        cred_unref(dev->cred[slot]);
        dev->cred[slot] = m->u.dev.cred[slot];
        m->u.dev.cred[slot] = NULL;
    }
    if (dev->presence == NULL) {
        dev->presence = m->u.dev.presence;
        m->u.dev.presence = NULL;
    }
    crash_point("worker.device");
    dev->active = m->u.dev.active;
    dev->flip_seq = m->u.dev.flip_seq;
    dev->evidence = m->u.dev.evidence;
    list_for_each_safe (it, &dev->sessions)
        session_device_changed(list_entry(it, struct session, of_device));
}

static void trial_over(struct worker *w, const struct msg *m)
{
    struct device *dev = map_get(w->env.devices, m->device);

    if (dev != NULL)
        dev->evidence = 0;
}

static void device_free(struct device *dev)
{
    cleaner_cancel(dev);
    cred_unref(dev->cred[FLIP_OLD]);
    cred_unref(dev->cred[FLIP_NEW]);
    presence_unref(dev->presence);
    free(dev->name);
    free(dev);
}

static void device_gone(struct worker *w, const struct msg *m)
{
    struct device *dev = map_get(w->env.devices, m->device);

    if (dev == NULL)
        return;
    list_for_each_safe (it, &dev->sessions)
        session_end(list_entry(it, struct session, of_device), 0x87, true,
                    "the device was removed");
    map_del(w->env.devices, m->device);
    device_free(dev);
}

static void kick(struct worker *w, const struct msg *m)
{
    struct device *dev = map_get(w->env.devices, m->device);

    if (dev == NULL)
        return;
    if (m->session_id != 0)
        cleaner_cancel(dev); /* the device is back, elsewhere */
    list_for_each_safe (it, &dev->sessions) {
        struct session *s = list_entry(it, struct session, of_device);
        if (m->session_id != 0 && s->id != m->session_id)
            continue;
        if (m->session_id != 0) {
            session_hear_out(s);
            if (s->state != SESSION_OVER)
                session_taken_over(s, m->u.kick.text);
        } else {
            session_end(s, 0x98, false, m->u.kick.text);
        }
    }
}

static void begin_stop(struct worker *w)
{
    w->env.stopping = true;
    w->stop_by_ms = env_now_ms(&w->env) + STOP_MS;
    list_for_each_safe (it, &w->listeners)
        listener_close(list_entry(it, struct wk_listener, link));
    list_for_each_safe (it, &w->env.sessions)
        session_end(list_entry(it, struct session, link), 0x8B, true, "certflipd stops");
    cleaner_stop(&w->env);
}

static void stats_tell(struct worker *w)
{
    struct msg *m = news_of(w, MSG_STATS, NULL);

    if (m == NULL)
        return;
    m->u.stats = w->env.stats;
    tell(w, m);
}

static void on_mail(struct inbox *box, struct list *item, void *arg)
{
    struct worker *w = arg;
    struct msg *m = list_entry(item, struct msg, link);

    (void)box;
    switch (m->kind) {
    case MSG_CONF:
        snapshot_unref(w->env.snap);
        w->env.snap = m->u.conf;
        m->u.conf = NULL;
        listeners_follow(w);
        trust_follow(w);
        break;
    case MSG_DEVICE:
        device_set(w, m);
        break;
    case MSG_DEVICE_GONE:
        device_gone(w, m);
        break;
    case MSG_KICK:
        kick(w, m);
        break;
    case MSG_TRIAL_OVER:
        trial_over(w, m);
        break;
    case MSG_POLL:
        stats_tell(w);
        break;
    case MSG_STOP:
        begin_stop(w);
        break;
    case MSG_UP:
    case MSG_DOWN:
    case MSG_LEG:
    case MSG_REFUSED:
    case MSG_STATS:
    case MSG_STOPPED:
    default:
        break;
    }
    msg_free(m);
}

/* ---- pace ---- */

/* Waking up costs several times what a packet costs.  When packets come evenly spaced and fast,
 * each wake-up is for one of them; so after a burst of PACE_BURST, wake-ups are spaced, and each
 * one finds several. */
static void on_prepare(uv_prepare_t *prepare)
{
    struct worker *w = prepare->data;
    struct pace *p = &w->pace;
    uint32_t rate = w->env.snap->conf->limits.wakeups_per_second;

    if (rate == 0 || w->stop_by_ms != 0)
        return;
    int64_t cost_us = 1000000 / rate;
    int64_t now_us = clock_mono_us();
    int64_t credit_us = p->credit_us + now_us - p->since_us;
    if (credit_us > PACE_BURST * cost_us)
        credit_us = PACE_BURST * cost_us;
    p->since_us = now_us;
    p->credit_us = credit_us - cost_us;
    if (p->credit_us >= 0)
        return;
    int64_t sleep_us = -p->credit_us < PACE_SLEEP_US_MAX ? -p->credit_us : PACE_SLEEP_US_MAX;
    (void)nanosleep(&(struct timespec){.tv_nsec = (long)(sleep_us * 1000)}, NULL);
}

/* ---- tick ---- */

/* glibc keeps what was freed between what is still in use; after many sessions have gone, give it
 * back. */
static void trim(struct worker *w)
{
    uint64_t now = w->env.stats.sessions;

    bool quiet =
        now == w->last_sessions && list_empty(&w->env.cleaners) && list_empty(&w->env.lingering);
    w->quiet_ticks = quiet ? w->quiet_ticks + 1 : 0;
    w->last_sessions = now;
    if (now > w->peak_sessions)
        w->peak_sessions = now;
    if (w->peak_sessions - now < TRIM_SESSIONS) {
        w->trim_ticks = 0;
        return;
    }
    if (w->quiet_ticks < TRIM_QUIET_TICKS && ++w->trim_ticks < TRIM_LATEST_TICKS)
        return;
    w->trim_ticks = 0;
    w->peak_sessions = now;
    malloc_trim(0);
}

static void finish(struct worker *w)
{
    leg_abandon(&w->env);
    struct msg *m = news_of(w, MSG_STOPPED, NULL);

    if (m != NULL)
        tell(w, m);
    uv_close((uv_handle_t *)&w->tick, NULL);
    uv_close((uv_handle_t *)&w->pace.prepare, NULL);
    inbox_close(&w->box, NULL);
    inbox_drain(&w->steps); /* of legs that are gone: no more will come */
    inbox_close(&w->steps, NULL);
}

static void on_tick(uv_timer_t *timer)
{
    struct worker *w = timer->data;

    cleaner_sweep(&w->env);
    leg_sweep(&w->env);
    trim(w);
    if (w->stop_by_ms != 0 && ((list_empty(&w->env.sessions) && list_empty(&w->env.lingering)) ||
                               env_now_ms(&w->env) >= w->stop_by_ms))
        finish(w);
}

/* ---- life ---- */

static void free_devices(struct worker *w)
{
    const char *name;
    void *dev;
    size_t it = 0;

    while (map_next(w->env.devices, &it, &name, &dev))
        device_free(dev);
    map_free(w->env.devices);
}

static void *run(void *arg)
{
    struct worker *w = arg;
    sigset_t all;

    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    (void)prctl(PR_SET_TIMERSLACK, PACE_SLACK_NS, 0, 0, 0);
    uv_update_time(&w->loop);
    inbox_drain(&w->box); /* the devices are known before the first of them is accepted */
    uv_run(&w->loop, UV_RUN_DEFAULT);
    tls_thread_fini();
    return NULL;
}

static int open_listeners(struct worker *w, struct err *err)
{
    const struct conf *c = w->env.snap->conf;

    for (size_t i = 0; i < c->listener_count; i++) {
        const struct conf_listener *l = &c->listeners[i];
        if (!mine(w, l))
            continue;
        int fd = listener_bind(l, w->index == 0, err);
        if (fd < 0)
            return fd;
        int rc = listener_open(w, l, i, fd);
        if (rc != 0)
            return err_set(err, ERR_IO, "listener %s: %s", l->name, uv_strerror(rc));
    }
    return 0;
}

static void worker_free(struct worker *w)
{
    uv_run(&w->loop, UV_RUN_DEFAULT); /* close callbacks that are still due */
    uv_loop_close(&w->loop);
    net_loop_fini(&w->env.nl);
    free(w->env.plain);
    snapshot_unref(w->env.snap);
    free(w);
}

struct worker *worker_start(unsigned index, struct wk_snapshot *snapshot, struct inbox *main_box,
                            struct err *err)
{
    struct worker *w = calloc(1, sizeof *w);

    if (w == NULL || uv_loop_init(&w->loop) != 0) {
        free(w);
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    w->index = index;
    w->main_box = main_box;
    w->env.snap = snapshot_ref(snapshot);
    w->env.devices = map_new();
    w->env.plain = malloc(ENV_PLAIN_BYTES);
    w->env.news = &news;
    w->env.news_arg = w;
    w->env.next_session_id = ((uint64_t)index << 48) + 1;
    list_init(&w->listeners);
    list_init(&w->env.sessions);
    env_gates_init(&w->env);
    list_init(&w->env.lingering);
    list_init(&w->env.cleaners);
    int rc = net_loop_init(&w->env.nl, &w->loop);
    if (rc == 0 && (w->env.devices == NULL || w->env.plain == NULL))
        rc = -ERR_NOMEM;
    if (rc == 0)
        rc = inbox_init(&w->box, &w->loop, on_mail, w);
    if (rc == 0 && (rc = inbox_init(&w->steps, &w->loop, leg_step_back, NULL)) != 0)
        inbox_close(&w->box, NULL);
    w->env.steps = &w->steps;
    if (rc != 0) {
        err_set(err, ERR_NOMEM, "worker %u: cannot start", index);
        map_free(w->env.devices);
        worker_free(w);
        return NULL;
    }
    uv_timer_init(&w->loop, &w->tick);
    w->tick.data = w;
    uv_timer_start(&w->tick, on_tick, TICK_MS, TICK_MS);
    uv_prepare_init(&w->loop, &w->pace.prepare);
    w->pace.prepare.data = w;
    uv_prepare_start(&w->pace.prepare, on_prepare);
    if (open_listeners(w, err) != 0) {
        worker_join(w);
        return NULL;
    }
    return w;
}

int worker_run(struct worker *w, struct err *err)
{
    if (pthread_create(&w->thread, NULL, run, w) != 0)
        return err_set(err, ERR_IO, "worker %u: no thread", w->index);
    w->has_run = true;
    return 0;
}

/* Close what a thread that runs closes by itself. */
static void close_unrun(struct worker *w)
{
    inbox_drain(&w->box);
    list_for_each_safe (it, &w->listeners)
        listener_close(list_entry(it, struct wk_listener, link));
    uv_close((uv_handle_t *)&w->tick, NULL);
    uv_close((uv_handle_t *)&w->pace.prepare, NULL);
    inbox_close(&w->box, NULL);
    inbox_close(&w->steps, NULL);
}

void worker_post(struct worker *w, struct msg *m)
{
    inbox_post(&w->box, &m->link);
}

void worker_join(struct worker *w)
{
    if (w->has_run)
        pthread_join(w->thread, NULL);
    else
        close_unrun(w);
    free_devices(w);
    worker_free(w);
}
