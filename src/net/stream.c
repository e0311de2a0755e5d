#include "net/stream.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"

/* A buffer larger than this is given back to the allocator, not kept as the spare. */
#define SPARE_BYTES_MAX 262144u
#define OUT_BYTES_FIRST 4096u

struct stream_write {
    uv_write_t req;
    struct buf data;       /* owned */
    struct stream *stream; /* NULL when the stream was closed first */
};

struct stream_shutdown {
    uv_shutdown_t req;
};

static struct net_loop *loop_of(const struct stream *s)
{
    return s->u.handle.loop->data;
}

int net_loop_init(struct net_loop *nl, uv_loop_t *loop)
{
    *nl = (struct net_loop){.loop = loop, .read_buf = malloc(NET_READ_BYTES)};
    if (nl->read_buf == NULL)
        return -ERR_NOMEM;
    loop->data = nl;
    return 0;
}

void net_loop_fini(struct net_loop *nl)
{
    free(nl->read_buf);
    nl->read_buf = NULL;
    buf_fini_wipe(&nl->spare);
}

static void stream_init(struct stream *s, const struct stream_ops *ops)
{
    s->ops = ops;
    s->out = (struct buf){0};
    s->pending = NULL;
    s->reading = s->ended = s->write_dead = s->ending = s->closing = false;
    s->u.handle.data = s;
}

int stream_init_tcp(struct stream *s, struct net_loop *nl, const struct stream_ops *ops)
{
    int rc = uv_tcp_init(nl->loop, &s->u.tcp);

    stream_init(s, ops);
    return rc;
}

int stream_init_pipe(struct stream *s, struct net_loop *nl, const struct stream_ops *ops)
{
    int rc = uv_pipe_init(nl->loop, &s->u.pipe, 0);

    stream_init(s, ops);
    return rc;
}

void stream_tune(struct stream *s)
{
    if (s->u.handle.type != UV_TCP)
        return;
    uv_tcp_nodelay(&s->u.tcp, 1);
    uv_tcp_keepalive(&s->u.tcp, 1, 60);
}

void stream_quickack(struct stream *s)
{
    const int on = 1;
    uv_os_fd_t fd;

    if (s->u.handle.type == UV_TCP && uv_fileno(&s->u.handle, &fd) == 0)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

void stream_patience(struct stream *s, unsigned ms)
{
    uv_os_fd_t fd;

    if (s->u.handle.type == UV_TCP && uv_fileno(&s->u.handle, &fd) == 0)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct net_loop *nl = handle->loop->data;

    (void)suggested;
    buf->base = (char *)nl->read_buf;
    buf->len = NET_READ_BYTES;
}

static void on_uv_read(uv_stream_t *us, ssize_t n, const uv_buf_t *buf)
{
    struct stream *s = us->data;

    if (n == 0 || s->closing)
        return;
    if (n < 0) {
        s->ended = true;
        stream_read(s, false);
        s->ops->on_read(s, NULL, 0, n == UV_EOF ? 0 : (int)n);
        return;
    }
    s->ops->on_read(s, (const uint8_t *)buf->base, (size_t)n, 0);
}

int stream_read(struct stream *s, bool on)
{
    int rc = 0;

    if (on == s->reading || s->closing || (on && s->ended))
        return 0;
    if (on)
        rc = uv_read_start(&s->u.stream, on_alloc, on_uv_read);
    else
        uv_read_stop(&s->u.stream);
    if (rc == 0)
        s->reading = on;
    return rc;
}

static void read_now(struct stream *s, bool all)
{
    uint8_t *mine = malloc(NET_READ_BYTES); /* the shared one may hold what another read brought */
    uv_os_fd_t fd;

    while (mine != NULL && !s->closing && !s->ended && (all || s->reading) &&
           uv_fileno(&s->u.handle, &fd) == 0) {
        ssize_t n = read(fd, mine, NET_READ_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0) {
            int status = n == 0 ? 0 : -errno;
            s->ended = true;
            stream_read(s, false);
            s->ops->on_read(s, NULL, 0, status);
            break;
        }
        s->ops->on_read(s, mine, (size_t)n, 0);
    }
    free(mine);
}

void stream_read_now(struct stream *s)
{
    read_now(s, true);
}

void stream_hear_out(struct stream *s)
{
    read_now(s, false);
}

void stream_prepare(struct stream *s)
{
    struct net_loop *nl = loop_of(s);

    if (s->out.p != NULL)
        return;
    s->out = nl->spare;
    s->out.len = 0;
    nl->spare = (struct buf){0};
    if (s->out.p == NULL)
        (void)buf_reserve(&s->out, OUT_BYTES_FIRST); /* a failure shows at the append */
}

static void give_back(struct net_loop *nl, struct buf *b)
{
    b->len = 0;
    if (nl->spare.p != NULL || b->cap > SPARE_BYTES_MAX) {
        buf_fini(b);
        return;
    }
    nl->spare = *b;
    *b = (struct buf){0};
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
    (void)status;
    free(req);
}

/* FIN; that the peer is gone already is no news, its end is seen by the reader. */
static void send_fin(struct stream *s)
{
    uv_shutdown_t *req;

    s->ending = false;
    if (s->closing || s->write_dead || (req = malloc(sizeof *req)) == NULL)
        return;
    if (uv_shutdown(req, &s->u.stream, on_shutdown) != 0)
        free(req);
}

static void kill_output(struct stream *s)
{
    s->write_dead = true;
    buf_fini(&s->out);
}

static void on_write(uv_write_t *req, int status)
{
    struct stream_write *w = req->data;
    struct stream *s = w->stream;

    buf_fini(&w->data);
    free(w);
    if (s == NULL)
        return;
    s->pending = NULL;
    if (s->closing)
        return;
    if (status < 0)
        kill_output(s);
    if (s->out.len > 0) {
        stream_flush(s);
        if (s->pending != NULL)
            return;
    }
    if (s->ending)
        send_fin(s);
    if (!s->closing)
        s->ops->on_drain(s);
}

/* Hand what the kernel did not take to libuv, together with the buffer that it lies in. */
static int write_rest(struct stream *s, size_t taken)
{
    struct stream_write *w = calloc(1, sizeof *w);

    if (w == NULL)
        return UV_ENOMEM;
    uv_buf_t rest = uv_buf_init((char *)s->out.p + taken, (unsigned)(s->out.len - taken));
    w->data = s->out;
    w->stream = s;
    w->req.data = w;
    int rc = uv_write(&w->req, &s->u.stream, &rest, 1, on_write);
    if (rc != 0) {
        free(w);
        return rc;
    }
    s->out = (struct buf){0};
    s->pending = w;
    return 0;
}

void stream_flush(struct stream *s)
{
    if (s->pending != NULL || s->closing)
        return; /* goes on when the write ends */
    if (s->write_dead) {
        buf_fini(&s->out);
        return;
    }
    if (s->out.len == 0) {
        if (s->out.p != NULL)
            give_back(loop_of(s), &s->out);
        return;
    }
    uv_buf_t all = uv_buf_init((char *)s->out.p, (unsigned)s->out.len);
    int n = uv_try_write(&s->u.stream, &all, 1);
    if (n < 0 && n != UV_EAGAIN) {
        kill_output(s);
        return;
    }
    size_t taken = n < 0 ? 0 : (size_t)n;
    if (taken == s->out.len)
        give_back(loop_of(s), &s->out);
    else if (write_rest(s, taken) != 0)
        kill_output(s);
}

size_t stream_queued(const struct stream *s)
{
    return s->out.len + (s->pending != NULL ? s->u.stream.write_queue_size : 0);
}

void stream_end(struct stream *s)
{
    s->ending = true;
    stream_flush(s);
    if (s->pending == NULL)
        send_fin(s);
}

static void on_uv_closed(uv_handle_t *handle)
{
    struct stream *s = handle->data;

    s->ops->on_closed(s);
}

void stream_close(struct stream *s)
{
    if (s->closing)
        return;
    s->closing = true;
    s->reading = false;
    if (s->pending != NULL)
        s->pending->stream = NULL;
    buf_fini(&s->out);
    uv_close(&s->u.handle, on_uv_closed);
}
