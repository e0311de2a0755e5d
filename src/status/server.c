#include "status/server.h"

#include <errno.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/str.h"

#define VISITORS_MAX 64
#define VISITORS_FEW 48    /* beyond, who has not asked anything yet gets less time */
#define MEMORY_BYTES 32768 /* of a connection: the request's head, and the answer's */
#define IDLE_S       15    /* nothing comes, nothing goes */
#define ASK_MS       20000 /* from the connection, or the latest answer, to a whole request */
#define HURRY_MS     2000  /* the same, where there are many */
#define ANSWER_MS    60000 /* until an answer is taken */
#define BACKLOG      64

/* A connection. */
struct visitor {
    struct list link;
    int fd;           /* borrowed */
    bool answered;    /* and that is on its way */
    int64_t since_ms; /* CLOCK_BOOTTIME: of the connection, or the latest answer's begin or end */
};

struct server {
    struct MHD_Daemon *mhd; /* owned */
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned open_handles;
    server_serve_fn *serve;
    void *arg;
    struct list visitors;
    struct server_counts counts;
};

/* -- requests -- */

const char *server_arg(const struct server_request *r, const char *name)
{
    return MHD_lookup_connection_value(r->inside, MHD_GET_ARGUMENT_KIND, name);
}

struct each_arg {
    void (*each)(void *arg, const char *name, const char *value);
    void *arg;
};

static enum MHD_Result on_arg(void *arg, enum MHD_ValueKind kind, const char *name,
                              const char *value)
{
    const struct each_arg *e = arg;

    (void)kind;
    e->each(e->arg, name, value == NULL ? "" : value);
    return MHD_YES;
}

void server_each_arg(const struct server_request *r,
                     void (*each)(void *arg, const char *name, const char *value), void *arg)
{
    struct each_arg e = {each, arg};

    MHD_get_connection_values(r->inside, MHD_GET_ARGUMENT_KIND, on_arg, &e);
}

static const char *header_of(struct MHD_Connection *c, const char *name)
{
    return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
}

static void reply_text(struct server_reply *reply, unsigned code, const char *text)
{
    reply->code = code;
    reply->type = "text/plain; charset=utf-8";
    (void)buf_printf(&reply->body, "%s\n", text);
}

/* FNV-1a: of what was sent, to tell whether it is the same. */
static void etag_of(const struct buf *body, char out[24])
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < body->len; i++)
        hash = (hash ^ body->p[i]) * UINT64_C(0x100000001b3);
    snprintf(out, 24, "\"%016" PRIx64 "\"", hash);
}

/* If-None-Match is one tag, a list of them, or "*" (RFC 9110, 13.1.2). */
static bool has_tag(const char *header, const char *tag)
{
    return header != NULL && (strcmp(header, "*") == 0 || strstr(header, tag) != NULL);
}

static void add_headers(struct MHD_Response *response, const struct server_reply *reply,
                        const char *tag)
{
    char text[16];

    MHD_add_response_header(response, "Content-Type", reply->type);
    MHD_add_response_header(response, "Cache-Control", reply->keeps ? "no-cache" : "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
    MHD_add_response_header(response, "Cross-Origin-Resource-Policy", "same-origin");
    MHD_add_response_header(response, "Content-Security-Policy",
                            reply->policy != NULL ? reply->policy
                                                  : "default-src 'none'; frame-ancestors 'none'");
    if (tag != NULL)
        MHD_add_response_header(response, "ETag", tag);
    if (reply->location != NULL)
        MHD_add_response_header(response, "Location", reply->location);
    if (reply->code == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, "Allow", "GET, HEAD");
    if (reply->retry_s != 0) {
        snprintf(text, sizeof(text), "%u", reply->retry_s);
        MHD_add_response_header(response, "Retry-After", text);
    }
    if (reply->code >= 400 && reply->code < 500) /* what it may send besides is not read */
        MHD_add_response_header(response, "Connection", "close");
}

/* Takes the reply's body. */
static enum MHD_Result answer(struct server *s, struct MHD_Connection *c,
                              struct server_reply *reply)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct visitor *v = info == NULL ? NULL : info->socket_context;
    struct MHD_Response *response;
    enum MHD_Result rc;
    bool kept = reply->keeps && reply->code == MHD_HTTP_OK;
    char tag[24];

    if (kept) {
        etag_of(&reply->body, tag);
        if (has_tag(header_of(c, "If-None-Match"), tag)) {
            reply->code = MHD_HTTP_NOT_MODIFIED;
            buf_fini(&reply->body);
        }
    }
    response =
        MHD_create_response_from_buffer(reply->body.len, reply->body.p, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        buf_fini(&reply->body);
        return MHD_NO;
    }
    add_headers(response, reply, kept ? tag : NULL);
    if (v != NULL) {
        v->answered = true;
        v->since_ms = clock_boot_ms();
    }
    s->counts.answers[reply->code / 100 % 6]++;
    rc = MHD_queue_response(c, reply->code, response);
    MHD_destroy_response(response);
    return rc;
}

/* A body would have to be read, and there is nothing here to say with one. */
static bool has_body(struct MHD_Connection *c)
{
    const char *length = header_of(c, "Content-Length");

    return header_of(c, "Transfer-Encoding") != NULL ||
           (length != NULL && strcmp(length, "0") != 0);
}

/* NOLINTBEGIN(readability-non-const-parameter): the library's signature */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **request_arg)
/* NOLINTEND(readability-non-const-parameter) */
{
    struct server *s = arg;
    struct server_request r = {.path = url, .host = header_of(c, "Host"), .inside = c};
    struct server_reply reply = {0};

    (void)version;
    (void)upload;
    (void)upload_size;
    (void)request_arg;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        reply_text(&reply, MHD_HTTP_METHOD_NOT_ALLOWED,
                   "here one can only look: GET and HEAD; to command there is certflipctl");
    else if (has_body(c))
        reply_text(&reply, MHD_HTTP_BAD_REQUEST, "a request has no body here");
    else
        s->serve(s->arg, &r, &reply);
    if (reply.code == 0)
        return MHD_NO; /* no memory: the connection ends */
    return answer(s, c, &reply);
}

/* -- connections -- */

static void on_connection(void *arg, struct MHD_Connection *c, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    const union MHD_ConnectionInfo *fd =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct server *s = arg;
    struct visitor *v = *context;

    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        s->counts.connections++;
        v = calloc(1, sizeof(*v));
        if (v == NULL || fd == NULL) {
            free(v);
            return;
        }
        v->fd = fd->connect_fd;
        v->since_ms = clock_boot_ms();
        list_init(&v->link);
        list_add(&s->visitors, &v->link);
        *context = v;
        return;
    }
    s->counts.connections--;
    if (v != NULL)
        list_del(&v->link);
    free(v);
    *context = NULL;
}

static void on_completed(void *arg, struct MHD_Connection *c, void **request_arg,
                         enum MHD_RequestTerminationCode how)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct visitor *v = info == NULL ? NULL : info->socket_context;

    (void)arg;
    (void)request_arg;
    (void)how;
    if (v == NULL)
        return;
    v->answered = false;
    v->since_ms = clock_boot_ms();
}

void server_sweep(struct server *s)
{
    int64_t now = clock_boot_ms();

    if (s == NULL)
        return;
    list_for_each (it, &s->visitors) {
        struct visitor *v = list_entry(it, struct visitor, link);
        int64_t most = v->answered                            ? ANSWER_MS
                       : s->counts.connections > VISITORS_FEW ? HURRY_MS
                                                              : ASK_MS;

        if (now - v->since_ms > most)
            shutdown(v->fd, SHUT_RDWR); /* the library closes it when it sees that */
    }
}

void server_count(const struct server *s, struct server_counts *out)
{
    *out = s->counts;
}

/* -- the loop -- */

static void go_on(struct server *s);

static void on_timer(uv_timer_t *timer)
{
    go_on(timer->data);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    go_on(poll->data);
}

static void go_on(struct server *s)
{
    MHD_UNSIGNED_LONG_LONG ms;

    (void)MHD_run(s->mhd);
    if (MHD_get_timeout(s->mhd, &ms) == MHD_YES)
        uv_timer_start(&s->timer, on_timer, (uint64_t)ms, 0);
    else
        uv_timer_stop(&s->timer);
}

static void on_closed(uv_handle_t *handle)
{
    struct server *s = handle->data;

    if (--s->open_handles == 0)
        free(s);
}

void server_stop(struct server *s)
{
    if (s == NULL)
        return;
    if (s->open_handles != 0)
        uv_poll_stop(&s->poll);
    if (s->mhd != NULL)
        MHD_stop_daemon(s->mhd);
    if (s->open_handles == 0) {
        free(s);
        return;
    }
    uv_close((uv_handle_t *)&s->poll, on_closed);
    uv_close((uv_handle_t *)&s->timer, on_closed);
}

/* -- the start -- */

__attribute__((format(printf, 2, 0))) static void on_log(void *arg, const char *fmt, va_list ap)
{
    char text[400];

    (void)arg;
    vsnprintf(text, sizeof(text), fmt, ap);
    str_tidy(text);
    log_event(LOG_CONTROL, LOG_DEBUG_, "http", "msg=%s", LOG_Q(text));
}

/* Returns a listening socket, or a negative code. */
static int open_socket(const char *address, uint16_t port, struct err *err)
{
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_PASSIVE,
                                   .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char service[8];
    int fd, on = 1, rc;

    snprintf(service, sizeof(service), "%u", (unsigned)port);
    rc = getaddrinfo(address, service, &hints, &found);
    if (rc != 0)
        return err_set(err, ERR_INVALID, "%s: %s", address, gai_strerror(rc));
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (fd >= 0 && found->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        rc = err_errno(err, errno, "%s port %u", address, (unsigned)port);
        if (fd >= 0)
            close(fd);
        fd = rc;
    }
    freeaddrinfo(found);
    return fd;
}

/* Takes fd. */
static int start_mhd(struct server *s, int fd, struct err *err)
{
    s->mhd = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER,
        on_log, s, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)VISITORS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_BYTES, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_END);
    if (s->mhd != NULL)
        return 0;
    close(fd);
    return err_set(err, ERR_NOMEM, "the HTTP server does not start");
}

struct server *server_start(uv_loop_t *loop, const char *address, uint16_t port,
                            server_serve_fn *serve, void *arg, struct err *err)
{
    struct server *s = calloc(1, sizeof(*s));
    const union MHD_DaemonInfo *info;
    int fd, rc;

    if (s == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    s->serve = serve;
    s->arg = arg;
    list_init(&s->visitors);
    fd = open_socket(address, port, err);
    if (fd < 0 || start_mhd(s, fd, err) != 0) {
        server_stop(s);
        return NULL;
    }
    info = MHD_get_daemon_info(s->mhd, MHD_DAEMON_INFO_EPOLL_FD);
    rc = uv_poll_init(loop, &s->poll, info->epoll_fd);
    if (rc != 0) {
        err_errno(err, -rc, "%s port %u", address, (unsigned)port);
        server_stop(s);
        return NULL;
    }
    uv_timer_init(loop, &s->timer);
    s->poll.data = s->timer.data = s;
    s->open_handles = 2;
    uv_poll_start(&s->poll, UV_READABLE, on_poll);
    go_on(s);
    return s;
}
