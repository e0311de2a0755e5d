/* fleet/link.c - the connection: see link.h, link_inside.h.
 *
 * Each attempt to connect has a client of libmosquitto of its own, so nothing of an earlier
 * connection comes along.  The library's waiting for a connection (non-blocking) is done here: it
 * tries one address only, and with TLS it would never notice that the connection stands.
 */
#include "fleet/link.h"

#include <errno.h>
#include <limits.h>
#include <mqtt_protocol.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/durable.h"
#include "base/map.h"
#include "base/rand.h"
#include "base/str.h"
#include "fleet/link_inside.h"
#include "tls/jws.h"

#define CONNECT_MS       10000 /* for an address to answer */
#define GREETING_MS      20000 /* for TLS and CONNACK */
#define BACKOFF_LEAST_MS 1000
#define BACKOFF_MOST_MS  60000
#define STABLE_MS        30000 /* a connection that lasted so long was a good one */
#define MISC_MS          1000  /* keep alive is looked at so often */
#define READS_MAX        256   /* packets of one step */
#define KEY_FILE_MAX     65536
#define EXPIRY_S         300
#define KEEPALIVE_S      30

/* A way to have the library try another kind of address: what it binds to. */
static const char *const binds[] = {NULL, "0.0.0.0", "::"};
#define BIND_COUNT (sizeof(binds) / sizeof(binds[0]))

static void enter(struct link *l, enum phase phase)
{
    l->phase = phase;
    l->since_ms = clock_boot_ms();
}

static void hang_up(struct link *l)
{
    if (l->mosq != NULL)
        mosquitto_destroy(l->mosq);
    l->mosq = NULL;
    link_request_reset(l);
    link_feed_reset(l);
    l->settled = l->failed = false;
    enter(l, LINK_WAITING);
}

static void retry_later(struct link *l)
{
    uint32_t wait_ms = l->backoff_ms - l->backoff_ms / 5 + rand_below(2 * l->backoff_ms / 5 + 1);

    l->retry_ms = clock_boot_ms() + wait_ms;
    l->backoff_ms = l->backoff_ms >= BACKOFF_MOST_MS / 2 ? BACKOFF_MOST_MS : 2 * l->backoff_ms;
}

static void lost(struct link *l, const char *why)
{
    bool stable = l->phase == LINK_UP && clock_boot_ms() - l->since_ms >= STABLE_MS;

    snprintf(l->trouble, sizeof(l->trouble), "%s:%u: %s", l->conf.host, l->conf.port,
             l->said[0] != '\0' ? l->said : why);
    hang_up(l);
    if (stable)
        l->backoff_ms = BACKOFF_LEAST_MS;
    retry_later(l);
    if (l->events.down != NULL)
        l->events.down(l->events.arg, l->trouble);
}

/* No address of the kind that was tried has answered. */
static void unanswered(struct link *l, int errnum)
{
    char why[300];

    snprintf(why, sizeof(why), "%s: is the broker running, and are host and port right?",
             strerrordesc_np(errnum) == NULL ? "no connection" : strerrordesc_np(errnum));
    if (!l->bind_good && l->bind + 1 < BIND_COUNT) {
        if (l->bind == 0)
            snprintf(l->trouble, sizeof(l->trouble), "%s", why);
        l->bind++;
        hang_up(l);
        l->retry_ms = 0;
        return;
    }
    if (!l->bind_good && l->bind > 0)
        snprintf(why, sizeof(why), "%.*s", (int)sizeof(why) - 1, l->trouble);
    l->bind = l->bind_good ? l->bind : 0;
    lost(l, why);
}

/* The broker went away before it had answered CONNECT.  One that does not know MQTT 5 may do so
 * without a word. */
static void unwelcome(struct link *l, const char *why)
{
    if (l->v5 && !l->was_up && (l->next_version || l->said[0] == '\0')) {
        l->v5 = l->next_version = false;
        hang_up(l);
        l->said[0] = '\0';
        l->retry_ms = 0;
        return;
    }
    if (!l->was_up)
        l->v5 = true;
    lost(l, why);
}

/* rc: of libmosquitto; `errnum` is errno, where that has one. */
static void ended(struct link *l, int rc, int errnum)
{
    bool greeted = l->phase >= LINK_GRANTING;
    const char *why = rc == MOSQ_ERR_ERRNO && errnum != 0 ? strerrordesc_np(errnum)
                      : rc == MOSQ_ERR_KEEPALIVE          ? "the broker does not answer any more"
                      : greeted                           ? "the broker ended the connection"
                                                          : NULL;

    if (l->phase == LINK_DIALLING)
        unanswered(l, errnum == 0 ? ECONNREFUSED : errnum);
    else if (greeted)
        lost(l, why == NULL ? "the connection was lost" : why);
    else
        unwelcome(l, l->tls == NULL
                         ? "the broker ended the connection without an answer: does it want TLS "
                           "(ca_file) on this port?"
                         : "the broker ended the connection without an answer: is this port one of "
                           "TLS, and are cert_file and key_file what it wants?");
}

/* -- what comes ------------------------------------------------------------------------------- */

static void on_connect(struct mosquitto *mosq, void *arg, int rc, int flags,
                       const mosquitto_property *properties)
{
    struct link *l = arg;

    (void)mosq;
    (void)flags;
    (void)properties;
    if (l->phase != LINK_GREETING && l->phase != LINK_DIALLING)
        return;
    if (rc == 0) {
        enter(l, LINK_GRANTING);
        l->was_up = l->bind_good = true;
        link_feed_subscribe(l);
        return;
    }
    l->next_version = l->v5 && (rc == MQTT_RC_UNSUPPORTED_PROTOCOL_VERSION || rc == 1);
    snprintf(l->said, sizeof(l->said), "the broker refuses us: %s%s",
             l->v5 ? mosquitto_reason_string(rc) : mosquitto_connack_string(rc),
             rc == MQTT_RC_BAD_USERNAME_OR_PASSWORD || rc == 4 ? " check username and password_file"
             : rc == MQTT_RC_NOT_AUTHORIZED || rc == 5
                 ? " check username and password_file, and what the broker allows this client"
             : rc == MQTT_RC_CLIENTID_NOT_VALID || rc == 2 ? " set another client_id"
                                                           : "");
}

static void on_disconnect(struct mosquitto *mosq, void *arg, int rc,
                          const mosquitto_property *properties)
{
    struct link *l = arg;

    (void)mosq;
    (void)properties;
    if (rc == MQTT_RC_SESSION_TAKEN_OVER)
        snprintf(l->said, sizeof(l->said),
                 "another client came with our client identifier: give each its own client_id");
    else if (rc >= 0x80)
        snprintf(l->said, sizeof(l->said), "the broker ended the connection: %s",
                 mosquitto_reason_string(rc));
}

static void on_subscribe(struct mosquitto *mosq, void *arg, int mid, int n, const int *granted,
                         const mosquitto_property *properties)
{
    struct link *l = arg;

    (void)mosq;
    (void)properties;
    link_feed_granted(l, mid, n, granted);
    if (l->phase == LINK_GRANTING && link_feed_is_ready(l)) {
        enter(l, LINK_UP);
        l->trouble[0] = '\0';
        l->counts.version = l->v5 ? 5 : 4;
        if (l->events.up != NULL)
            l->events.up(l->events.arg);
        link_feed_subscribe(l); /* now, so that what is retained comes behind `up` */
    }
}

static void on_publish(struct mosquitto *mosq, void *arg, int mid, int rc,
                       const mosquitto_property *properties)
{
    (void)mosq;
    (void)properties;
    link_request_taken(arg, mid, rc);
}

/* The gateway of <root>/<gateway>/reply or .../reply/<tag>.  Returns owned, or NULL: it is
 * something else. */
static char *replying(const struct link *l, const char *topic)
{
    const char *at = topic + strlen(l->conf.root) + 1;
    size_t n = strcspn(at, "/");
    const char *rest = at + n;

    if (strncmp(rest, "/reply", 6) != 0)
        return NULL;
    rest += 6;
    if (*rest != '\0' && (*rest != '/' || strcmp(rest + 1, l->tag) != 0))
        return NULL;
    return strndup(at, n);
}

/* Its state tells that there is one. */
static void look_at_gateway(struct link *l, const struct mosquitto_message *m)
{
    const char *name = m->topic + strlen(l->conf.root) + 1;
    size_t n = strcspn(name, "/");
    char *gateway;

    if (m->payloadlen == 0 || strcmp(name + n, "/state") != 0)
        return;
    gateway = strndup(name, n);
    if (gateway != NULL && str_is_name(gateway))
        link_feed_gateway(l, gateway);
    free(gateway);
}

static void on_message(struct mosquitto *mosq, void *arg, const struct mosquitto_message *m,
                       const mosquitto_property *properties)
{
    struct link *l = arg;
    size_t root = strlen(l->conf.root);
    char *gateway;

    (void)mosq;
    l->counts.received++;
    l->counts.bytes_received += (uint64_t)m->payloadlen + strlen(m->topic);
    if (m->retain) {
        l->retained++;
        l->retained_ms = clock_boot_ms();
    }
    if (strncmp(m->topic, l->conf.root, root) != 0 || m->topic[root] != '/')
        return;
    gateway = replying(l, m->topic);
    if (gateway == NULL) {
        look_at_gateway(l, m);
        if (l->events.message != NULL)
            l->events.message(l->events.arg, m->topic, m->payload, (size_t)m->payloadlen,
                              m->retain);
        return;
    }
    if (strcmp(gateway, l->tag) == 0)
        link_feed_marker(l, m);
    else if (!m->retain)
        link_request_reply(l, gateway, m, properties);
    free(gateway);
}

/* -- connecting ------------------------------------------------------------------------------- */

static int client_new(struct link *l)
{
    l->mosq = mosquitto_new(l->conf.client_id, true, l);
    if (l->mosq == NULL)
        return MOSQ_ERR_NOMEM;
    mosquitto_int_option(l->mosq, MOSQ_OPT_PROTOCOL_VERSION,
                         l->v5 ? MQTT_PROTOCOL_V5 : MQTT_PROTOCOL_V311);
    mosquitto_int_option(l->mosq, MOSQ_OPT_TCP_NODELAY, 1);
    mosquitto_int_option(l->mosq, MOSQ_OPT_SEND_MAXIMUM, UNACKED_MAX);
    mosquitto_int_option(l->mosq, MOSQ_OPT_RECEIVE_MAXIMUM, UNACKED_MAX);
    mosquitto_int_option(l->mosq, MOSQ_OPT_SSL_CTX_WITH_DEFAULTS, 0);
    if (l->tls != NULL)
        mosquitto_void_option(l->mosq, MOSQ_OPT_SSL_CTX, l->tls);
    mosquitto_connect_v5_callback_set(l->mosq, on_connect);
    mosquitto_disconnect_v5_callback_set(l->mosq, on_disconnect);
    mosquitto_publish_v5_callback_set(l->mosq, on_publish);
    mosquitto_subscribe_v5_callback_set(l->mosq, on_subscribe);
    mosquitto_message_v5_callback_set(l->mosq, on_message);
    return l->conf.username == NULL
               ? MOSQ_ERR_SUCCESS
               : mosquitto_username_pw_set(l->mosq, l->conf.username, l->conf.password);
}

/* A broker on this machine may be through with the handshake before the call returns: what happens
 * then is no matter of the address. */
static bool is_late(int errnum)
{
    return errnum == EPROTO || errnum == ECONNRESET || errnum == EPIPE;
}

static void dial(struct link *l)
{
    int rc, errnum;

    l->said[0] = '\0';
    l->next_version = false;
    rc = client_new(l);
    if (rc == MOSQ_ERR_SUCCESS) {
        enter(l, LINK_DIALLING);
        errno = 0;
        rc = mosquitto_connect_bind_async(l->mosq, l->conf.host, l->conf.port,
                                          (int)l->conf.keepalive_s, binds[l->bind]);
    }
    errnum = errno;
    if (rc == MOSQ_ERR_SUCCESS)
        return;
    if (rc == MOSQ_ERR_EAI) {
        char why[300];

        snprintf(why, sizeof(why), "%s: is host right, and does the resolver work?",
                 gai_strerror(errnum));
        lost(l, why);
    } else if (rc == MOSQ_ERR_ERRNO && l->said[0] == '\0' && !is_late(errnum)) {
        unanswered(l, errnum);
    } else if (rc == MOSQ_ERR_ERRNO) {
        enter(l, LINK_GREETING);
        ended(l, rc, errnum);
    } else {
        lost(l, l->said[0] != '\0' ? l->said : mosquitto_strerror(rc));
    }
}

/* -- steps ------------------------------------------------------------------------------------ */

static void read_packets(struct link *l)
{
    for (int i = 0; i < READS_MAX && !l->failed; i++) {
        int rc;

        errno = 0;
        rc = mosquitto_loop_read(l->mosq, 1);
        if (rc != MOSQ_ERR_SUCCESS || mosquitto_socket(l->mosq) < 0) {
            ended(l, rc == MOSQ_ERR_SUCCESS ? MOSQ_ERR_CONN_LOST : rc, errno);
            return;
        }
        if (errno == EAGAIN || l->phase < LINK_GRANTING)
            return;
    }
}

/* The library takes an end in the middle of a handshake for something to wait for. */
static bool is_closed(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

static void write_packets(struct link *l)
{
    int rc = mosquitto_loop_write(l->mosq, 1);

    if (rc != MOSQ_ERR_SUCCESS || mosquitto_socket(l->mosq) < 0)
        ended(l, rc == MOSQ_ERR_SUCCESS ? MOSQ_ERR_CONN_LOST : rc, errno);
}

/* An address has answered, or refused. */
static void dialled(struct link *l)
{
    int errnum = 0;
    socklen_t n = sizeof(errnum);

    if (getsockopt(mosquitto_socket(l->mosq), SOL_SOCKET, SO_ERROR, &errnum, &n) != 0)
        errnum = errno;
    if (errnum != 0 && !is_late(errnum)) {
        unanswered(l, errnum);
        return;
    }
    enter(l, LINK_GREETING);
    if (errnum != 0)
        ended(l, MOSQ_ERR_CONN_LOST, errnum);
    else
        read_packets(l); /* begins TLS */
    if (l->mosq != NULL && mosquitto_want_write(l->mosq))
        write_packets(l);
}

static void on_ready(struct link *l, int events)
{
    int fd = mosquitto_socket(l->mosq);

    if (l->phase == LINK_DIALLING) {
        dialled(l);
        return;
    }
    if ((events & (POLLIN | POLLERR | POLLHUP)) != 0 || link_tls_is_greeting(l)) {
        read_packets(l);
        if (l->mosq != NULL && l->phase == LINK_GREETING && is_closed(fd))
            ended(l, MOSQ_ERR_CONN_LOST, 0);
    }
    if (l->mosq != NULL && !l->failed && (events & POLLOUT) != 0)
        write_packets(l);
}

static void look_at_clock(struct link *l)
{
    int64_t now_ms = clock_boot_ms();

    if (l->phase == LINK_DIALLING && now_ms - l->since_ms > CONNECT_MS) {
        unanswered(l, ETIMEDOUT);
        return;
    }
    if ((l->phase == LINK_GREETING || l->phase == LINK_GRANTING) &&
        now_ms - l->since_ms > GREETING_MS) {
        unwelcome(l, "the broker does not answer");
        return;
    }
    if (l->phase >= LINK_GREETING && now_ms - l->misc_ms >= MISC_MS) {
        int rc = mosquitto_loop_misc(l->mosq);

        l->misc_ms = now_ms;
        if (rc != MOSQ_ERR_SUCCESS)
            ended(l, rc, 0);
        else if (l->tls != NULL) /* TLS may hold what poll does not tell of */
            read_packets(l);
    }
    link_feed_look(l);
}

/* How long nothing has to be looked at by the clock. */
static int patience(const struct link *l, int timeout_ms)
{
    int most = l->phase == LINK_UP && !l->settled ? QUIET_MS / 4 : MISC_MS;

    return timeout_ms < 0 || timeout_ms > most ? most : timeout_ms;
}

static int wait_to_dial(const struct link *l, int timeout_ms)
{
    int64_t left_ms = l->retry_ms - clock_boot_ms();

    if (left_ms <= 0)
        return 0;
    if (timeout_ms >= 0 && timeout_ms < left_ms)
        left_ms = timeout_ms;
    poll(NULL, 0, (int)left_ms);
    return 1;
}

/* What to wait for.  In a handshake the library does not know. */
static short awaited(const struct link *l)
{
    if (l->phase == LINK_DIALLING)
        return POLLOUT;
    if (link_tls_is_greeting(l))
        return link_tls_wants_write(l) ? POLLIN | POLLOUT : POLLIN;
    return mosquitto_want_write(l->mosq) ? POLLIN | POLLOUT : POLLIN;
}

int link_step(struct link *l, int timeout_ms, struct err *err)
{
    struct pollfd p;
    int n;

    (void)err;
    if (l->phase == LINK_WAITING) {
        if (wait_to_dial(l, timeout_ms) != 0)
            return 0;
        if (l->was_up)
            l->counts.reconnects++;
        dial(l);
        if (l->mosq == NULL)
            return 0;
    }
    p = (struct pollfd){.fd = mosquitto_socket(l->mosq), .events = awaited(l)};
    n = poll(&p, 1, patience(l, timeout_ms));
    if (n > 0)
        on_ready(l, p.revents);
    if (l->mosq != NULL && l->failed)
        ended(l, MOSQ_ERR_CONN_LOST, 0);
    if (l->mosq != NULL)
        look_at_clock(l);
    return 0;
}

bool link_is_up(const struct link *l)
{
    return l->phase == LINK_UP && !l->failed;
}

bool link_is_settled(const struct link *l)
{
    return link_is_up(l) && l->settled;
}

const char *link_trouble(const struct link *l)
{
    return l->trouble;
}

void link_counts(const struct link *l, struct link_counts *out)
{
    *out = l->counts;
}

/* -- life ------------------------------------------------------------------------------------- */

/* The strings of the configuration, wherever they stand in it. */
/* clang-format off */
#define STRINGS(X)                                                                               \
    X(root) X(host) X(client_id) X(username) X(password) X(ca_file) X(cert_file) X(key_file)     \
    X(tls_name) X(operator_name) X(operator_key_file)
/* clang-format on */

static int copy_conf(struct link *l, const struct link_conf *from, struct err *err)
{
    bool failed = false;

    l->conf = *from;
#define COPY(name)                               \
    if (from->name != NULL) {                    \
        l->conf.name = strdup(from->name);       \
        failed = failed || l->conf.name == NULL; \
    }
    STRINGS(COPY)
#undef COPY
    if (l->conf.expiry_s == 0)
        l->conf.expiry_s = EXPIRY_S;
    if (l->conf.keepalive_s < 5) /* less is not taken by the library */
        l->conf.keepalive_s = l->conf.keepalive_s == 0 ? KEEPALIVE_S : 5;
    return failed ? link_no_memory(err) : 0;
}

static int name_client(struct link *l, struct err *err)
{
    char host[HOST_NAME_MAX + 1] = "";
    char *made;

    if (l->conf.client_id != NULL)
        return 0;
    if (gethostname(host, sizeof(host)) != 0)
        snprintf(host, sizeof(host), "somewhere");
    host[sizeof(host) - 1] = '\0';
    made = str_printf("certflip-fleet-%.40s-%ld-%04x", host, (long)getpid(), rand_below(0x10000));
    l->conf.client_id = made;
    return made == NULL ? link_no_memory(err) : 0;
}

static int read_signer(struct link *l, struct err *err)
{
    struct buf pem = {0};
    int rc;

    if (l->conf.operator_key_file == NULL)
        return 0;
    if (l->conf.operator_name == NULL)
        return err_set(err, ERR_INVALID, "%s: whose key is it? name the operator",
                       l->conf.operator_key_file);
    rc = durable_read(l->conf.operator_key_file, KEY_FILE_MAX, &pem, err);
    if (rc == 0) {
        l->signer = jws_signer_new((const char *)pem.p, pem.len, err);
        if (l->signer == NULL)
            rc = err_wrap(err, -ERR_INVALID, "%s", l->conf.operator_key_file);
    }
    buf_fini_wipe(&pem);
    return rc;
}

static int own_filters(struct link *l, struct err *err)
{
    char mine[64];
    int rc = link_feed_add(l, "+/reply", true, err);

    snprintf(mine, sizeof(mine), "+/reply/%s", l->tag);
    return rc == 0 ? link_feed_add(l, mine, true, err) : rc;
}

struct link *link_new(const struct link_conf *conf, const struct link_events *events,
                      struct err *err)
{
    struct link *l = calloc(1, sizeof(*l));

    if (l == NULL) {
        link_no_memory(err);
        return NULL;
    }
    mosquitto_lib_init();
    l->events = *events;
    l->v5 = true;
    l->backoff_ms = BACKOFF_LEAST_MS;
    snprintf(l->tag, sizeof(l->tag), "fleet-%016llx", (unsigned long long)rand_u64());
    l->pending = map_new();
    if (copy_conf(l, conf, err) != 0 || (l->pending == NULL && link_no_memory(err) != 0) ||
        name_client(l, err) != 0 || link_tls_new(l, err) != 0 || read_signer(l, err) != 0 ||
        own_filters(l, err) != 0) {
        link_free(l);
        return NULL;
    }
    return l;
}

static void free_text(const char *text)
{
    free((void *)(uintptr_t)text); /* ours: copy_conf */
}

void link_free(struct link *l)
{
    if (l == NULL)
        return;
    if (l->mosq != NULL && l->phase >= LINK_GRANTING)
        mosquitto_disconnect(l->mosq);
    hang_up(l);
    link_feed_fini(l);
    link_request_fini(l);
    jws_signer_free(l->signer);
    SSL_CTX_free(l->tls);
    if (l->conf.password != NULL)
        explicit_bzero((void *)(uintptr_t)l->conf.password, strlen(l->conf.password));
#define FREE(name) free_text(l->conf.name);
    STRINGS(FREE)
#undef FREE
    free(l);
    mosquitto_lib_cleanup();
}
