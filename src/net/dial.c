#include "net/dial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESSES_MAX 8
/* How long a server may leave data unacknowledged. */
#define PATIENCE_MS 30000u

struct dial {
    struct net_loop *nl;
    struct stream *stream;
    const struct stream_ops *ops;
    void (*done)(void *arg, int status, enum dial_stage stage);
    void (*dropped)(void *arg);
    void *arg;
    uv_getaddrinfo_t dns;
    uv_connect_t connect;
    struct sockaddr_storage addr[ADDRESSES_MAX];
    unsigned addr_count, addr_next;
    unsigned turn; /* the address to begin with */
    int status;    /* of the latest attempt */
    bool cancelled;
    bool resolving;
};

static void attempt(struct dial *d);

static void finish(struct dial *d, int status, enum dial_stage stage)
{
    void (*done)(void *, int, enum dial_stage) = d->done;
    void (*dropped)(void *) = d->dropped;
    void *arg = d->arg;
    bool cancelled = d->cancelled;

    free(d);
    if (cancelled)
        dropped(arg);
    else
        done(arg, status, stage);
}

/* The handle of a failed attempt is closed: try the next address, or say how the last one failed.
 */
static void on_attempt_closed(uv_handle_t *handle)
{
    struct dial *d = handle->data;

    if (!d->cancelled && d->addr_next < d->addr_count)
        attempt(d);
    else
        finish(d, d->status, DIAL_TCP);
}

static void attempt_failed(struct dial *d, int status)
{
    d->status = status;
    d->nl->dial_turn++;
    d->stream->u.handle.data = d;
    uv_close(&d->stream->u.handle, on_attempt_closed);
}

static void on_connect(uv_connect_t *req, int status)
{
    struct dial *d = req->data;

    if (d->cancelled)
        return; /* the handle is being closed */
    if (status != 0) {
        attempt_failed(d, status);
        return;
    }
    stream_tune(d->stream);
    stream_patience(d->stream, PATIENCE_MS);
    finish(d, 0, DIAL_TCP);
}

static void attempt(struct dial *d)
{
    unsigned at = (d->turn + d->addr_next++) % d->addr_count;
    const struct sockaddr *sa = (const struct sockaddr *)&d->addr[at];

    (void)stream_init_tcp(d->stream, d->nl, d->ops); /* no socket yet: cannot fail */
    d->connect.data = d;
    int rc = uv_tcp_connect(&d->connect, &d->stream->u.tcp, sa, on_connect);
    if (rc != 0)
        attempt_failed(d, rc);
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *res)
{
    struct dial *d = req->data;

    d->resolving = false;
    for (struct addrinfo *ai = res; ai != NULL && d->addr_count < ADDRESSES_MAX; ai = ai->ai_next)
        if (ai->ai_addrlen <= sizeof d->addr[0])
            memcpy(&d->addr[d->addr_count++], ai->ai_addr, ai->ai_addrlen);
    if (res != NULL)
        uv_freeaddrinfo(res);
    if (d->cancelled || d->addr_count == 0)
        finish(d, status != 0 ? status : UV_EAI_NONAME, DIAL_DNS);
    else
        attempt(d);
}

static int resolve(struct dial *d, const char *host, uint16_t port)
{
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    char service[8];

    snprintf(service, sizeof service, "%u", port);
    d->dns.data = d;
    d->resolving = true;
    return uv_getaddrinfo(d->nl->loop, &d->dns, on_resolved, host, service, &hints);
}

struct dial *dial_start(struct net_loop *nl, const char *host, uint16_t port, struct stream *s,
                        const struct stream_ops *ops,
                        void (*done)(void *arg, int status, enum dial_stage stage), void *arg)
{
    struct dial *d = calloc(1, sizeof *d);

    if (d == NULL)
        return NULL;
    d->nl = nl;
    d->stream = s;
    d->ops = ops;
    d->done = done;
    d->arg = arg;
    d->turn = nl->dial_turn;
    if (uv_ip4_addr(host, port, (struct sockaddr_in *)&d->addr[0]) == 0 ||
        uv_ip6_addr(host, port, (struct sockaddr_in6 *)&d->addr[0]) == 0) {
        d->addr_count = 1;
        attempt(d);
        return d;
    }
    if (resolve(d, host, port) != 0) {
        free(d);
        return NULL;
    }
    return d;
}

void dial_cancel(struct dial *d, void (*dropped)(void *arg))
{
    d->cancelled = true;
    d->nl->dial_turn++; /* the one that was tried may be a black hole */
    d->dropped = dropped;
    if (d->resolving) {
        uv_cancel((uv_req_t *)&d->dns); /* on_resolved comes either way */
        return;
    }
    if (!uv_is_closing(&d->stream->u.handle)) {
        d->stream->u.handle.data = d;
        uv_close(&d->stream->u.handle, on_attempt_closed);
    }
}
