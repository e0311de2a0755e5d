/* control/local.c - see local.h.
 *
 * A client that sends requests faster than it reads the replies is not read from any more until its
 * replies are gone, so what it can make us hold is one line of input and OUT_HIGH plus one reply of
 * output.  Where all places are taken, the client that has been silent for the longest gives up its
 * own, if that is IDLE_MS or more: nobody can lock the operator out by doing nothing.
 */
#include "control/local.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <jansson.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/crash.h"
#include "base/durable.h"
#include "base/list.h"
#include "base/log.h"
#include "control/jsonrpc.h"

#define CLIENTS_MAX 128
#define IDLE_MS     1000
#define OUT_HIGH    ((size_t)1024 * 1024)
#define READ_CHUNK  65536
#define SOCKET_MODE 0660
#define GROUPS_MAX  256

#define NO_GROUP ((gid_t)-1)

struct local {
    uv_pipe_t listener;
    struct dispatch *dispatch; /* borrowed */
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    gid_t group;         /* whose members may operate; NO_GROUP: none */
    struct list clients; /* who was silent for the longest first */
    unsigned client_count;
    bool stopping;
    bool listener_closed;
    char chunk[READ_CHUNK]; /* what a read gave; empty between callbacks */
};

struct client {
    uv_pipe_t pipe;
    uv_shutdown_t shutdown;
    struct local *local;
    struct list link;
    uint64_t heard_ms; /* of the loop's time */
    struct buf in;
    char who[96];
    bool operate;
    bool paused;  /* not read: its replies have to go first */
    bool ended;   /* sent its last byte, or is not to be heard any more */
    bool waiting; /* for the reply to a request; not read meanwhile */
    bool inside;  /* client_work goes through the lines */
    bool closing; /* uv_close was called */
    bool closed;  /* and it is: to be freed once nothing is waited for */
};

struct reply {
    uv_write_t req;
    char *text; /* owned */
};

static void client_work(struct client *c);
static void client_resume(struct client *c);
static void client_finish(struct client *c);

/* -- the end of things -- */

static void local_free_when_idle(struct local *l)
{
    if (l->stopping && l->listener_closed && l->client_count == 0)
        free(l);
}

static void client_free(struct client *c)
{
    struct local *l = c->local;

    list_del(&c->link);
    l->client_count--;
    buf_fini_wipe(&c->in);
    free(c);
    local_free_when_idle(l);
}

static void on_client_closed(uv_handle_t *handle)
{
    struct client *c = handle->data;

    c->closed = true;
    if (!c->waiting)
        client_free(c);
}

static void client_close(struct client *c)
{
    if (c->closing)
        return;
    c->closing = true;
    uv_close((uv_handle_t *)&c->pipe, on_client_closed);
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct local *l = handle->data;

    l->listener_closed = true;
    local_free_when_idle(l);
}

void local_stop(struct local *l)
{
    if (l == NULL)
        return;
    l->stopping = true;
    unlink(l->path);
    uv_close((uv_handle_t *)&l->listener, on_listener_closed);
    list_for_each_safe (it, &l->clients)
        client_close(list_entry(it, struct client, link));
}

/* -- one client -- */

static void on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *out)
{
    struct client *c = handle->data;

    (void)hint;
    *out = uv_buf_init(c->local->chunk, sizeof(c->local->chunk));
}

static void client_heard(struct client *c)
{
    c->heard_ms = uv_now(c->pipe.loop);
    list_del(&c->link);
    list_add(&c->local->clients, &c->link);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *data)
{
    struct client *c = stream->data;
    int kept;

    if (n == 0)
        return;
    client_heard(c);
    if (n < 0) {
        uv_read_stop(stream);
        c->ended = true;
        if (n != UV_EOF)
            client_close(c);
        else if (!c->paused && !c->waiting)
            client_work(c);
        return;
    }
    kept = buf_append_wipe(&c->in, data->base, (size_t)n);
    explicit_bzero(data->base, (size_t)n); /* there may be a private key in it */
    if (kept != 0) {
        log_event(LOG_CONTROL, LOG_WARN_, "control-client-dropped", "peer=%s cause=no-memory",
                  c->who);
        client_close(c);
        return;
    }
    client_work(c);
}

static void on_written(uv_write_t *req, int status)
{
    struct reply *r = (struct reply *)(void *)req;
    struct client *c = req->handle->data;

    free(r->text);
    free(r);
    if (status < 0) {
        client_close(c);
        return;
    }
    if (c->closing || uv_stream_get_write_queue_size((uv_stream_t *)&c->pipe) != 0)
        return;
    if (c->paused && !c->waiting)
        client_resume(c);
}

/* Takes `text`, which may be NULL. */
static void client_reply(struct client *c, char *text)
{
    uv_buf_t parts[2];
    struct reply *r;
    static char newline[] = "\n";

    if (text == NULL)
        return;
    r = calloc(1, sizeof(*r));
    if (r == NULL) {
        free(text);
        client_close(c);
        return;
    }
    r->text = text;
    parts[0] = uv_buf_init(text, (unsigned)strlen(text));
    parts[1] = uv_buf_init(newline, 1);
    crash_point("reply.send");
    if (uv_write(&r->req, (uv_stream_t *)&c->pipe, parts, 2, on_written) != 0) {
        free(r->text);
        free(r);
        client_close(c);
    }
    crash_point("reply.sent");
}

static void client_pause(struct client *c)
{
    c->paused = true;
    uv_read_stop((uv_stream_t *)&c->pipe);
}

static void client_resume(struct client *c)
{
    c->paused = false;
    if (!c->ended)
        uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read);
    client_work(c);
}

/* Takes text.  The client may be gone meanwhile. */
static void on_reply(void *arg, char *text)
{
    struct client *c = arg;

    c->waiting = false;
    if (c->closed || c->closing) {
        free(text);
        if (c->closed)
            client_free(c);
        return;
    }
    client_reply(c, text);
    if (!c->inside && !c->closing)
        client_resume(c);
}

static void client_ask(struct client *c, const char *line, size_t n)
{
    const struct caller caller = {.who = c->who, .operate = c->operate, .local = true};

    c->waiting = true;
    dispatch_text(c->local->dispatch, &caller, line, n, on_reply, c);
}

/* Serve the lines that are there, in order, until the output is full or a reply has to be waited
 * for. */
static void client_work(struct client *c)
{
    size_t at = 0;

    c->inside = true;
    while (!c->closing) {
        const char *line = (const char *)c->in.p + at;
        size_t left = c->in.len - at;
        const char *end = left == 0 ? NULL : memchr(line, '\n', left);
        size_t n = end == NULL ? left : (size_t)(end - line);

        if (c->waiting || uv_stream_get_write_queue_size((uv_stream_t *)&c->pipe) > OUT_HIGH) {
            client_pause(c);
            break;
        }
        if (n > RPC_LINE_MAX) { /* the dispatcher refuses it; there is no next line to find */
            client_ask(c, line, n);
            c->ended = true;
            at = c->in.len;
            break;
        }
        if (end == NULL && !(c->ended && n > 0))
            break;
        at += n + (end != NULL);
        if (n > 0 && !(n == 1 && *line == '\r'))
            client_ask(c, line, n);
    }
    c->inside = false;
    if (c->closing)
        return;
    buf_drop(&c->in, at);
    if (c->in.len == 0)
        buf_fini_wipe(&c->in);
    if (c->ended && !c->paused && !c->waiting)
        client_finish(c);
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
    (void)status;
    client_close(req->handle->data);
}

/* Close once the replies have gone. */
static void client_finish(struct client *c)
{
    uv_read_stop((uv_stream_t *)&c->pipe);
    if (uv_shutdown(&c->shutdown, (uv_stream_t *)&c->pipe, on_shutdown) != 0)
        client_close(c);
}

/* -- who is it? -- */

static bool peer_in_group(int fd, const struct ucred *peer, gid_t group)
{
    gid_t groups[GROUPS_MAX];
    socklen_t n = sizeof(groups);

    if (group == NO_GROUP)
        return false;
    if (peer->gid == group)
        return true;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &n) != 0)
        return false;
    for (size_t i = 0; i < n / sizeof(groups[0]); i++)
        if (groups[i] == group)
            return true;
    return false;
}

/* Returns 0, or -1 when the kernel does not say who it is. */
static int client_identify(struct client *c)
{
    struct ucred peer;
    socklen_t n = sizeof(peer);
    struct passwd entry, *found = NULL;
    char text[1024];
    int fd;

    if (uv_fileno((uv_handle_t *)&c->pipe, &fd) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) != 0)
        return -1;
    c->operate =
        peer.uid == 0 || peer.uid == geteuid() || peer_in_group(fd, &peer, c->local->group);
    if (getpwuid_r(peer.uid, &entry, text, sizeof(text), &found) == 0 && found != NULL)
        snprintf(c->who, sizeof(c->who), "local:%s", found->pw_name);
    else
        snprintf(c->who, sizeof(c->who), "local:uid-%u", (unsigned)peer.uid);
    return 0;
}

/* Close who has been silent for the longest.  Returns whether there was one. */
static bool make_place(struct local *l)
{
    list_for_each (it, &l->clients) {
        struct client *c = list_entry(it, struct client, link);

        if (c->closing || c->waiting)
            continue;
        if (uv_now(c->pipe.loop) - c->heard_ms < IDLE_MS)
            return false;
        log_event(LOG_CONTROL, LOG_NOTICE_, "control-client-dropped", "peer=%s cause=idle", c->who);
        client_close(c);
        return true;
    }
    return false;
}

static void client_refuse(struct client *c)
{
    struct rpc_fault f = {0};
    json_t *reply;

    log_event(LOG_CONTROL, LOG_WARN_, "control-client-refused", "peer=%s cause=limit most=%d",
              c->who, CLIENTS_MAX);
    rpc_refuse(&f, RPC_BUSY, "try again; see who holds connections: ss -xp",
               "there are %d clients on the control socket already", CLIENTS_MAX);
    reply = rpc_reply_error(NULL, &f);
    rpc_fault_fini(&f);
    client_reply(c, json_dumps(reply, JSON_COMPACT));
    json_decref(reply);
    if (!c->closing)
        client_finish(c);
}

static void on_connection(uv_stream_t *server, int status)
{
    struct local *l = server->data;
    struct client *c;

    if (status < 0) {
        log_event(LOG_CONTROL, LOG_WARN_, "control-accept-failed", "msg=%s", uv_strerror(status));
        return;
    }
    c = calloc(1, sizeof(*c));
    if (c == NULL)
        return;
    c->local = l;
    c->pipe.data = c;
    c->heard_ms = uv_now(server->loop);
    uv_pipe_init(server->loop, &c->pipe, 0);
    list_add(&l->clients, &c->link);
    l->client_count++;
    if (uv_accept(server, (uv_stream_t *)&c->pipe) != 0 || client_identify(c) != 0) {
        client_close(c);
        return;
    }
    if (l->client_count > CLIENTS_MAX && !make_place(l)) {
        client_refuse(c);
        return;
    }
    if (uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read) != 0)
        client_close(c);
}

/* -- the socket -- */

/* A socket that nobody serves is removed; anything else in its place is an error. */
static int make_room(const char *path, const struct sockaddr_un *addr, struct err *err)
{
    struct stat st;
    int fd, rc;

    if (lstat(path, &st) != 0)
        return errno == ENOENT ? 0 : err_errno(err, errno, "control socket %s", path);
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, ERR_EXISTS,
                       "control socket %s: there is a file that is no socket: remove it, or set "
                       "control.socket to another path",
                       path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(err, errno, "control socket %s", path);
    rc = connect(fd, (const struct sockaddr *)addr, sizeof(*addr));
    close(fd);
    if (rc == 0)
        return err_set(err, ERR_EXISTS,
                       "control socket %s: another certflipd serves it: stop that one first", path);
    if (unlink(path) != 0 && errno != ENOENT)
        return err_errno(err, errno, "control socket %s: cannot remove the stale one", path);
    return 0;
}

static int make_folder(const char *path, struct err *err)
{
    char folder[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    char *slash;

    snprintf(folder, sizeof(folder), "%s", path);
    slash = strrchr(folder, '/');
    if (slash == NULL || slash == folder)
        return 0;
    *slash = '\0';
    return durable_mkdirs(folder, 0755, err);
}

/* Returns a bound, listening, non-blocking socket, or a negative code. */
static int open_socket(struct local *l, const char *path, struct err *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    mode_t mask;
    int fd, rc;

    if (strlen(path) >= sizeof(addr.sun_path))
        return err_set(err, ERR_TOO_BIG, "control socket %s: longer than %zu bytes", path,
                       sizeof(addr.sun_path) - 1);
    memcpy(addr.sun_path, path, strlen(path) + 1);
    memcpy(l->path, path, strlen(path) + 1);
    rc = make_folder(path, err);
    if (rc != 0)
        return err_wrap(err, rc, "control socket %s", path);
    rc = make_room(path, &addr, err);
    if (rc != 0)
        return rc;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(err, errno, "control socket %s", path);
    mask = umask((mode_t)~SOCKET_MODE & 0777);
    rc = bind(fd, (const struct sockaddr *)&addr, sizeof(addr));
    umask(mask);
    if (rc != 0) {
        rc = err_errno(err, errno, "control socket %s", path);
        close(fd);
        return rc;
    }
    if (l->group != NO_GROUP && chown(path, (uid_t)-1, l->group) != 0) {
        rc = err_errno(err, errno,
                       "control socket %s: cannot give it to the control group: run as root or as "
                       "a member of the group",
                       path);
        unlink(path);
        close(fd);
        return rc;
    }
    return fd;
}

static int find_group(const char *name, gid_t *out, struct err *err)
{
    struct group entry, *found = NULL;
    char text[8192];
    int rc;

    *out = NO_GROUP;
    if (name == NULL || *name == '\0')
        return 0;
    rc = getgrnam_r(name, &entry, text, sizeof(text), &found);
    if (found == NULL && rc != 0)
        return err_errno(err, rc, "control group %s", name);
    if (found == NULL)
        return err_set(err, ERR_NOT_FOUND,
                       "control group %s: there is no such group: create it with "
                       "addgroup --system %s",
                       name, name);
    *out = entry.gr_gid;
    return 0;
}

struct local *local_start(uv_loop_t *loop, struct dispatch *d, const char *path, const char *group,
                          struct err *err)
{
    struct local *l = calloc(1, sizeof(*l));
    int fd, rc;

    if (l == NULL) {
        err_set(err, ERR_NOMEM, "control socket: out of memory");
        return NULL;
    }
    l->dispatch = d;
    list_init(&l->clients);
    if (find_group(group, &l->group, err) != 0 || (fd = open_socket(l, path, err)) < 0) {
        free(l);
        return NULL;
    }
    uv_pipe_init(loop, &l->listener, 0);
    l->listener.data = l;
    rc = uv_pipe_open(&l->listener, fd);
    if (rc != 0)
        close(fd);
    else
        rc = uv_listen((uv_stream_t *)&l->listener, 64, on_connection);
    if (rc != 0) {
        err_errno(err, -rc, "control socket %s", path);
        local_stop(l);
        return NULL;
    }
    return l;
}
