#include "cli/client.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/rand.h"
#include "base/secret.h"
#include "control/rpc.h"

#define AGAIN_STEP_MS 100
#define ANSWER_MAX    ((size_t)256 << 20) /* bytes; beyond any answer that is meant */

struct client {
    int fd;
    int patience_ms;
    char *path;     /* owned */
    struct buf in;  /* what has come and was not used yet */
    size_t scanned; /* bytes of `in` that hold no newline */
};

/* -- connecting ------------------------------------------------------------------------------- */

/* Who may open the socket, as far as this user may know. */
static void allowed_group(const char *path, char *out, size_t n)
{
    struct stat st;
    struct group group, *found = NULL;
    char names[4096];

    if (stat(path, &st) != 0)
        snprintf(out, n, "the group that owns its folder");
    else if (getgrgid_r(st.st_gid, &group, names, sizeof(names), &found) == 0 && found != NULL)
        snprintf(out, n, "group \"%s\"", found->gr_name);
    else
        snprintf(out, n, "group %ld", (long)st.st_gid);
}

static int fail_connect(const char *path, int errnum, struct err *err)
{
    char group[128];

    switch (errnum) {
    case EACCES:
    case EPERM:
        allowed_group(path, group, sizeof(group));
        return err_set(
            err, ERR_DENIED,
            "%s: permission denied: be root, or a member of %s (usermod -aG, then log in "
            "again)",
            path, group);
    case ENOENT:
    case ENOTDIR:
        return err_set(
            err, ERR_IO,
            "%s: no such socket: is certflipd running (systemctl status certflip), and is "
            "this its control.socket?",
            path);
    case ECONNREFUSED:
        return err_set(err, ERR_IO,
                       "%s: nobody listens: certflipd has stopped: see systemctl status certflip",
                       path);
    case EAGAIN:
        return err_set(err, ERR_BUSY, "%s: certflipd does not accept: busy or stuck: try again",
                       path);
    default:
        return err_errno(err, errnum, "%s", path);
    }
}

static int connect_to(const char *path, struct err *err)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t n = strlen(path);
    int fd, rc;

    if (n >= sizeof(to.sun_path))
        return err_set(err, ERR_INVALID,
                       "%s: longer than the %zu bytes that a socket's name may have", path,
                       sizeof(to.sun_path) - 1);
    memcpy(to.sun_path, path, n + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(err, errno, "socket");
    do {
        rc = connect(fd, (const struct sockaddr *)&to, sizeof(to));
    } while (rc != 0 && errno == EINTR);
    if (rc == 0)
        return fd;
    rc = fail_connect(path, errno, err);
    close(fd);
    return rc;
}

struct client *client_open(const char *path, struct err *err)
{
    struct client *c = calloc(1, sizeof(*c));

    if (c == NULL || (c->path = strdup(path)) == NULL) {
        free(c);
        (void)err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    c->patience_ms = CLIENT_PATIENCE_MS;
    c->fd = connect_to(path, err);
    if (c->fd < 0) {
        client_close(c);
        return NULL;
    }
    return c;
}

void client_close(struct client *c)
{
    if (c == NULL)
        return;
    if (c->fd >= 0)
        close(c->fd);
    buf_fini(&c->in);
    free(c->path);
    free(c);
}

int client_again(struct client *c, int64_t end_us, struct err *err)
{
    const struct timespec step = {.tv_nsec = AGAIN_STEP_MS * 1000000L};

    if (c->fd >= 0)
        close(c->fd);
    buf_fini(&c->in);
    c->scanned = 0;
    while ((c->fd = connect_to(c->path, err)) < 0) {
        if (clock_mono_us() >= end_us)
            return -(int)err->code;
        (void)nanosleep(&step, NULL);
    }
    *err = (struct err){0};
    return 0;
}

void client_set_patience(struct client *c, int ms)
{
    c->patience_ms = ms;
}

/* -- bytes ------------------------------------------------------------------------------------ */

static int fail_closed(const struct client *c, struct err *err)
{
    return err_set(
        err, ERR_CLOSED,
        "%s: certflipd closed the connection before it answered: it stopped or restarts; "
        "look with certflipctl status whether the command was carried out",
        c->path);
}

static int await(const struct client *c, short what, struct err *err)
{
    struct pollfd p = {.fd = c->fd, .events = what};
    int rc;

    do {
        rc = poll(&p, 1, c->patience_ms);
    } while (rc < 0 && errno == EINTR);
    if (rc < 0)
        return err_errno(err, errno, "%s", c->path);
    if (rc == 0)
        return err_set(err, ERR_TIMEOUT,
                       "%s: certflipd is silent for %d s: it is busy or stuck: see journalctl -u "
                       "certflip",
                       c->path, c->patience_ms / 1000);
    return 0;
}

static int send_all(struct client *c, const char *p, size_t n, struct err *err)
{
    while (n > 0) {
        ssize_t sent = send(c->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        int rc = 0;

        if (sent > 0) {
            p += sent;
            n -= (size_t)sent;
        } else if (errno == EAGAIN) {
            rc = await(c, POLLOUT, err);
        } else if (errno == EPIPE || errno == ECONNRESET) {
            rc = fail_closed(c, err);
        } else if (errno != EINTR) {
            rc = err_errno(err, errno, "%s", c->path);
        }
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int receive_some(struct client *c, struct err *err)
{
    const size_t room = 65536;
    ssize_t n;
    int rc;

    if (c->in.len > ANSWER_MAX)
        return err_set(err, ERR_TOO_BIG,
                       "%s: an answer without an end: is this certflipd's socket?", c->path);
    if (buf_reserve(&c->in, room) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    rc = await(c, POLLIN, err);
    if (rc != 0)
        return rc;
    n = recv(c->fd, c->in.p + c->in.len, room, MSG_DONTWAIT);
    if (n > 0)
        c->in.len += (size_t)n;
    else if (n == 0 || errno == ECONNRESET)
        return fail_closed(c, err);
    else if (errno != EAGAIN && errno != EINTR)
        return err_errno(err, errno, "%s", c->path);
    return 0;
}

/* Wait for a whole line: `*n` bytes from the start of c->in, newline included. */
static int await_line(struct client *c, size_t *n, struct err *err)
{
    for (;;) {
        const uint8_t *end = c->in.len == c->scanned
                                 ? NULL
                                 : memchr(c->in.p + c->scanned, '\n', c->in.len - c->scanned);
        int rc;

        if (end != NULL) {
            *n = (size_t)(end - c->in.p) + 1;
            c->scanned = 0;
            return 0;
        }
        c->scanned = c->in.len;
        rc = receive_some(c, err);
        if (rc != 0)
            return rc;
    }
}

/* -- questions and answers -------------------------------------------------------------------- */

/* A number that no other call of any other certflipctl has: the daemon does a command once per id.
 */
static void make_id(char id[32])
{
    snprintf(id, 32, "ctl-%016" PRIx64, rand_u64());
}

static json_t *request_of(const char *id, const char *method, json_t *params)
{
    json_t *request = json_pack("{s:s, s:s, s:s}", "jsonrpc", "2.0", "id", id, "method", method);

    if (request != NULL && params != NULL)
        (void)json_object_set(request, "params", params);
    return request;
}

/* Takes the request, or the array of them. */
static int send_request(struct client *c, json_t *request, struct err *err)
{
    char *text = NULL;
    size_t n;
    int rc;

    if (request != NULL)
        text = json_dumps(request, JSON_COMPACT);
    n = text == NULL ? 0 : strlen(text);
    if (text == NULL) {
        rc = err_set(err, ERR_INVALID, "the request cannot be written: a word in it is not UTF-8");
    } else if (n >= (size_t)RPC_LINE_MAX) {
        rc = err_set(
            err, ERR_TOO_BIG,
            "the request has %zu bytes, at most %d are taken: use a glob, or fewer devices at "
            "a time",
            n, RPC_LINE_MAX);
    } else {
        text[n] = '\n'; /* in the place of its NUL */
        rc = send_all(c, text, n + 1, err);
    }
    secret_free_heap(text); /* there may be a private key in it */
    json_decref(request);
    return rc;
}

/* Is `reply` the answer to `id`?  Then take the result or the error out of it. */
static int open_reply(const json_t *reply, const char *id, json_t **answer)
{
    const char *whose = json_string_value(json_object_get(reply, "id"));
    json_t *result = json_object_get(reply, "result");
    json_t *error = json_object_get(reply, "error");

    /* What the daemon could not even parse is answered without an id. */
    if (whose == NULL ? !json_is_object(error) : strcmp(whose, id) != 0)
        return -1;
    if (json_is_object(error)) {
        *answer = json_incref(error);
        return 1;
    }
    if (result == NULL)
        return -1;
    *answer = json_incref(result);
    return 0;
}

static int await_json(struct client *c, json_t **reply, struct err *err)
{
    json_error_t fault;
    size_t n = 0;
    int rc = await_line(c, &n, err);

    if (rc != 0)
        return rc;
    *reply = json_loadb((const char *)c->in.p, n, 0, &fault);
    buf_drop(&c->in, n);
    if (*reply == NULL)
        return err_set(err, ERR_SYNTAX,
                       "%s: the answer is not JSON: %s: is this certflipd's socket?", c->path,
                       fault.text);
    return 0;
}

static int await_reply(struct client *c, const char *id, json_t **answer, struct err *err)
{
    for (;;) {
        json_t *reply;
        int rc = await_json(c, &reply, err);

        if (rc != 0)
            return rc;
        rc = open_reply(reply, id, answer);
        json_decref(reply);
        if (rc >= 0)
            return rc;
    }
}

int client_call(struct client *c, const char *method, json_t *params, json_t **answer,
                struct err *err)
{
    char id[32];
    int rc;

    *answer = NULL;
    make_id(id);
    rc = send_request(c, request_of(id, method, params), err);
    json_decref(params);
    return rc == 0 ? await_reply(c, id, answer, err) : rc;
}

static void forget(struct client_question *all, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        json_decref(all[i].answer);
        all[i].answer = NULL;
    }
}

/* Each reply stands in the order of its question.  Returns false when they are not those. */
static bool open_replies(const json_t *replies, char (*ids)[32], struct client_question *all,
                         size_t n)
{
    if (json_array_size(replies) != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        all[i].rc = open_reply(json_array_get(replies, i), ids[i], &all[i].answer);
        if (all[i].rc < 0) {
            forget(all, i);
            return false;
        }
    }
    return true;
}

int client_ask(struct client *c, struct client_question *all, size_t n, struct err *err)
{
    json_t *batch = json_array(), *replies;
    char ids[RPC_BATCH_MAX][32];
    int rc;

    for (size_t i = 0; i < n; i++) {
        make_id(ids[i]);
        all[i].answer = NULL;
        (void)json_array_append_new(batch, request_of(ids[i], all[i].method, all[i].params));
        json_decref(all[i].params);
        all[i].params = NULL;
    }
    rc = send_request(c, batch, err);
    if (rc != 0 || (rc = await_json(c, &replies, err)) != 0)
        return rc;
    if (!open_replies(replies, ids, all, n))
        rc = err_set(err, ERR_SYNTAX, "%s: the answers are not those: is this certflipd's socket?",
                     c->path);
    json_decref(replies);
    return rc;
}
