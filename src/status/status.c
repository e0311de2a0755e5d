/* status/status.c - see status.h: paths, who may ask, and how much time that may take. */
#include "status/status.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "status/inside.h"

#define TICK_MS   1000
#define RETRY_MS  10000  /* to listen, where that failed */
#define BUDGET_US 333000 /* of the main thread, in each second, for what takes long */

struct status {
    uv_loop_t *loop;
    struct hub *hub; /* borrowed, as is the dispatcher */
    struct status_view view;
    struct server *server; /* owned; NULL: off, or not to be had */
    char *address;         /* owned; where it listens, or tries to; NULL: off */
    uint16_t port;
    bool complained;  /* that it cannot, in the log */
    int64_t retry_ms; /* CLOCK_BOOTTIME */
    char *policy;     /* owned; of the page */
    char host[256];   /* of the machine; "": it has none */
    uv_timer_t tick;
    int64_t tick_us;             /* CLOCK_MONOTONIC: when the next one is due */
    int64_t window_us, spent_us; /* since when, and how much of that */
};

/* -- answers -- */

static void answer_text(struct server_reply *out, unsigned code, const char *text)
{
    out->code = code;
    out->type = "text/plain; charset=utf-8";
    (void)buf_printf(&out->body, "%s\n", text);
}

static void do_metrics(struct status *s, const struct server_request *r, struct server_reply *out)
{
    (void)r;
    if (status_metrics(&s->view, &out->body) != 0)
        return;
    out->code = 200;
    out->type = "text/plain; version=0.0.4; charset=utf-8";
}

static void judge(struct status *s, bool (*good)(const struct status_view *, struct buf *),
                  const char *word, struct server_reply *out)
{
    out->type = "text/plain; charset=utf-8";
    out->code = good(&s->view, &out->body) ? 200 : 503;
    if (out->code == 200)
        (void)buf_printf(&out->body, "%s\n", word);
}

static void do_healthz(struct status *s, const struct server_request *r, struct server_reply *out)
{
    (void)r;
    judge(s, status_is_healthy, "healthy", out);
}

static void do_readyz(struct status *s, const struct server_request *r, struct server_reply *out)
{
    (void)r;
    judge(s, status_is_ready, "ready", out);
}

static void do_api(struct status *s, const struct server_request *r, struct server_reply *out)
{
    status_api(&s->view, r, out);
}

static void do_page(struct status *s, const struct server_request *r, struct server_reply *out)
{
    (void)r;
    if (status_page(&out->body) != 0)
        return;
    out->code = 200;
    out->type = "text/html; charset=utf-8";
    out->policy = s->policy;
    out->keeps = true;
}

/* -- paths -- */

struct route {
    const char *path;
    bool prefix; /* what follows is the route's own affair */
    bool always; /* however much was asked already */
    void (*serve)(struct status *s, const struct server_request *r, struct server_reply *out);
};

/* clang-format off */
static const struct route routes[] = {
    /* path        prefix  always  */
    { "/",         false,  false,  do_page },
    { STATUS_API,  true,   false,  do_api },
    { "/metrics",  false,  false,  do_metrics },
    { "/healthz",  false,  true,   do_healthz },
    { "/readyz",   false,  true,   do_readyz },
};
/* clang-format on */

static const struct route *route_of(const char *path)
{
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        const struct route *r = &routes[i];

        if (r->prefix ? strncmp(path, r->path, strlen(r->path)) == 0 : strcmp(path, r->path) == 0)
            return r;
    }
    return NULL;
}

/* -- who asks -- */

/* The name in a Host field, without the port.  Returns false when it is none. */
static bool host_name(const char *field, char *out, size_t n)
{
    size_t len = *field == '[' ? strcspn(field, "]") : strcspn(field, ":");

    if (*field == '[') {
        field++;
        len--;
    }
    if (len == 0 || len >= n)
        return false;
    memcpy(out, field, len);
    out[len] = '\0';
    if (out[len - 1] == '.') /* of the root */
        out[len - 1] = '\0';
    return true;
}

/* A page that somebody else has put on the web can have its own name lead to this address, and its
 * visitor's browser read what is here (DNS rebinding).  It cannot have the browser say another
 * name. */
static bool is_ours(const struct status *s, const char *field)
{
    const struct conf *conf = hub_conf(s->hub);
    unsigned char raw[16];
    char name[256];

    if (field == NULL || !host_name(field, name, sizeof(name)))
        return field == NULL; /* HTTP/1.0: no browser */
    if (inet_pton(AF_INET, name, raw) == 1 || inet_pton(AF_INET6, name, raw) == 1 ||
        strcasecmp(name, "localhost") == 0 || strcasecmp(name, conf->gateway) == 0 ||
        (*s->host != '\0' && strcasecmp(name, s->host) == 0))
        return true;
    for (size_t i = 0; i < conf->status.host_count; i++)
        if (strcasecmp(name, conf->status.hosts[i]) == 0)
            return true;
    return false;
}

/* May what takes long be begun? */
static bool has_time(struct status *s, int64_t now_us)
{
    if (now_us - s->window_us >= 1000000) {
        s->window_us = now_us;
        s->spent_us = 0;
    }
    return s->spent_us < BUDGET_US;
}

static void serve(void *arg, const struct server_request *r, struct server_reply *out)
{
    struct status *s = arg;
    const struct route *route = route_of(r->path);
    int64_t began_us = clock_mono_us();

    if (!is_ours(s, r->host)) {
        answer_text(out, 421,
                    "this is not asked for by that name: take an address, or add the name to "
                    "status.hosts of certflip.conf");
        return;
    }
    if (route == NULL) {
        answer_text(out, 404, "there is: / /metrics /healthz /readyz /api/v1/status");
        return;
    }
    if (!route->always && !has_time(s, began_us)) {
        s->view.refused_busy++;
        out->retry_s = 1;
        answer_text(out, 503, "too much was asked within this second: try again in the next");
        return;
    }
    server_count(s->server, &s->view.http);
    route->serve(s, r, out);
    s->spent_us += clock_mono_us() - began_us;
}

/* -- listening -- */

static void give_up(struct status *s)
{
    server_stop(s->server);
    s->server = NULL;
    free(s->address);
    s->address = NULL;
    s->complained = false;
}

static void try_to_listen(struct status *s)
{
    struct err err = {0};

    s->retry_ms = clock_boot_ms() + RETRY_MS;
    s->server = server_start(s->loop, s->address, s->port, serve, s, &err);
    if (s->server != NULL) {
        log_event(LOG_CONTROL, LOG_NOTICE_, "status-listens", "address=%s port=%u", s->address,
                  (unsigned)s->port);
        s->complained = false;
    } else if (!s->complained) {
        log_event(LOG_CONTROL, LOG_ERROR_, "status-unavailable", "msg=%s todo=%s", LOG_Q(err.msg),
                  LOG_Q("set status.address and status.port of certflip.conf to what is free, or "
                        "status.enabled to false; it is tried again meanwhile"));
        s->complained = true;
    }
}

void status_conf(struct status *s)
{
    const struct conf_status *conf = &hub_conf(s->hub)->status;

    if (s->address != NULL && conf->enabled && s->port == conf->port &&
        strcmp(s->address, conf->address) == 0)
        return;
    give_up(s);
    if (!conf->enabled)
        return;
    s->address = strdup(conf->address);
    s->port = conf->port;
    if (s->address != NULL)
        try_to_listen(s);
}

static void on_tick(uv_timer_t *timer)
{
    struct status *s = timer->data;
    int64_t now_us = clock_mono_us(), late_us = now_us - s->tick_us;

    histogram_add(&s->view.delays, late_us < 0 ? 0 : (uint64_t)late_us);
    s->tick_us = now_us + TICK_MS * INT64_C(1000);
    uv_update_time(s->loop);
    uv_timer_start(timer, on_tick, TICK_MS, 0);
    server_sweep(s->server);
    if (s->address != NULL && s->server == NULL && clock_boot_ms() >= s->retry_ms)
        try_to_listen(s);
}

/* -- life -- */

struct status *status_start(uv_loop_t *loop, struct hub *hub, struct dispatch *dispatch)
{
    struct status *s = calloc(1, sizeof(*s));

    if (s == NULL || (s->policy = status_page_policy()) == NULL) {
        free(s);
        return NULL;
    }
    s->loop = loop;
    s->hub = hub;
    s->view.hub = hub;
    s->view.dispatch = dispatch;
    if (gethostname(s->host, sizeof(s->host) - 1) != 0)
        s->host[0] = '\0';
    uv_timer_init(loop, &s->tick);
    s->tick.data = s;
    uv_update_time(loop);
    s->tick_us = clock_mono_us() + TICK_MS * INT64_C(1000);
    uv_timer_start(&s->tick, on_tick, TICK_MS, 0);
    status_conf(s);
    return s;
}

static void on_closed(uv_handle_t *handle)
{
    struct status *s = handle->data;

    free(s->policy);
    free(s);
}

void status_stop(struct status *s)
{
    if (s == NULL)
        return;
    give_up(s);
    uv_close((uv_handle_t *)&s->tick, on_closed);
}
