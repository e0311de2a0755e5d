/* tests/bench/fleet.c - plays thousands of devices and the back office behind the broker, with
 * numbered messages both ways, in one thread; bench_flips.py and scenarios drive it.
 *
 *   fleet issue CA.pem CA.key FOLDER SLOT COUNT
 *       identities dev-00000 ... in FOLDER; one key for all, as only the certificates are to differ
 *   fleet run COUNT GATEWAY BROKER [ADDRESS]
 *       ports: of a plaintext listener of the gateway on the loopback, and of one of the broker, at
 * ADDRESS or there, too
 *
 * `run` obeys one command a line and answers each with one line of JSON:
 *
 *   connect ABREAST        all devices: CONNECT, SUBSCRIBE to down/<device>; the back office: up/#
 *   go INTERVAL_MS         from now on, a message each way for each device within so much time
 *   quiet SECONDS          no more of them; until all have arrived, or so long
 *   stat                   the account so far
 *   mark                   forget the times of acknowledgements so far
 *   shake PORT CA.pem CERT.pem KEY.pem SECONDS ABREAST
 *       how many devices a broker takes in a second: TLS 1.3, CONNECT, CONNACK, DISCONNECT
 *
 * A device has at most one message under way, so its longest wait for a PUBACK is the hold that a
 * sensor sees, at the times at which it has something to say.  QoS 1 both ways.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "certs.h"

#define PAYLOAD   32
#define IN_BYTES  65536
#define WINDOW    2000 /* messages of the back office under way */
#define TIMES_MAX 2000000

enum state { AWAY, CONNECTING, OPEN, READY };

/* One direction of one device. */
struct account {
    uint32_t sent, got;      /* numbers: the latest one */
    uint32_t twice, skipped; /* seen again; not seen in its place */
};

struct conn {
    int fd;
    enum state state;
    uint8_t *out, rest[512];
    size_t out_len, out_at, out_cap, rest_len;
    bool wants_out;
};

struct device {
    struct conn c;
    struct account up, down;
    int64_t asked_ns; /* its message waits for PUBACK since then; 0: none does */
    bool subscribed;
};

struct office_message {
    uint32_t device, number; /* number 0: the identifier is free */
};

static struct {
    unsigned count, ready, subscribed;
    int gateway, broker, epoll;
    in_addr_t broker_address;
    struct device *device;
    struct conn office;
    struct office_message *way; /* by identifier */
    uint16_t office_id;
    unsigned under_way, office_lost;
    bool office_been;
    int64_t office_next_ns;
    /* traffic */
    int64_t since_ns, interval_ns; /* interval 0: none */
    uint64_t done_up, done_down;
    /* what is told */
    unsigned ended, refused;
    uint64_t acked, busy; /* busy: the message before it was still under way */
    uint32_t *us;         /* waits for PUBACK */
    size_t times;
    uint8_t in[IN_BYTES + 512];
} w;

static struct conn the_commands;

/* ---- sockets ---- */

static void watch(struct conn *c, int op, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};

    if (epoll_ctl(w.epoll, op, c->fd, &ev) != 0)
        die("epoll_ctl: %s", strerror(errno));
    c->wants_out = (events & EPOLLOUT) != 0;
}

static void dial(struct conn *c, in_addr_t address, int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1;

    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket: %s", strerror(errno));
    to.sin_addr.s_addr = address;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(c->fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    c->state = CONNECTING;
    c->out_len = c->out_at = c->rest_len = 0;
    watch(c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

static void hang_up(struct conn *c)
{
    if (c->state == AWAY)
        return;
    close(c->fd);
    if (c->state == READY && c != &w.office)
        w.ready--;
    c->state = AWAY;
    if (c != &w.office) {
        w.ended++;
    } else {
        w.office_lost++;
        w.office_next_ns = now_ns() + 50000000;
    }
}

static void flush(struct conn *c)
{
    if (c->state == CONNECTING)
        return;
    while (c->state != AWAY && c->out_at < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_at, c->out_len - c->out_at, MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN) {
            if (!c->wants_out)
                watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return;
        }
        if (n < 0) {
            hang_up(c);
            return;
        }
        c->out_at += (size_t)n;
    }
    if (c->state != AWAY && c->wants_out)
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
    c->out_at = c->out_len = 0;
    if (c != &w.office) { /* thousands of them are idle nearly always */
        free(c->out);
        c->out = NULL;
        c->out_cap = 0;
    }
}

static void put(struct conn *c, const void *data, size_t len)
{
    if (c->out_len + len > c->out_cap) {
        c->out_cap = 2 * c->out_cap + len + 128;
        c->out = realloc(c->out, c->out_cap);
        if (c->out == NULL)
            die("out of memory");
    }
    memcpy(c->out + c->out_len, data, len);
    c->out_len += len;
}

/* ---- MQTT 3.1.1 ---- */

static size_t str(uint8_t *at, const char *text)
{
    size_t n = strlen(text);

    at[0] = (uint8_t)(n >> 8);
    at[1] = (uint8_t)n;
    memcpy(at + 2, text, n);
    return n + 2;
}

/* `p` has two bytes of room for the header. */
static void put_packet(struct conn *c, uint8_t *p, uint8_t type, size_t len)
{
    if (len > 127)
        die("a packet of %zu bytes", len);
    p[0] = type;
    p[1] = (uint8_t)len;
    put(c, p, len + 2);
}

static void put_connect(struct conn *c, const char *id, bool clean)
{
    uint8_t p[160];
    size_t n = str(p + 2, "MQTT");

    p[2 + n++] = 4;
    p[2 + n++] = clean ? 2 : 0;
    p[2 + n++] = 0x0e; /* keepalive: an hour */
    p[2 + n++] = 0x10;
    n += str(p + 2 + n, id);
    put_packet(c, p, 0x10, n);
}

static void put_subscribe(struct conn *c, const char *filter)
{
    uint8_t p[160] = {0};
    size_t n = 2;

    p[3] = 1;
    n += str(p + 2 + n, filter);
    p[2 + n++] = 1;
    put_packet(c, p, 0x82, n);
}

static void put_publish(struct conn *c, const char *way, uint32_t device, uint32_t number,
                        uint16_t id, bool dup)
{
    uint8_t p[160];
    char text[PAYLOAD + 1];
    size_t n = str(p + 2, path("%s/dev-%05u", way, device));

    p[2 + n++] = (uint8_t)(id >> 8);
    p[2 + n++] = (uint8_t)id;
    snprintf(text, sizeof(text), "%-*u", PAYLOAD, number);
    memcpy(p + 2 + n, text, PAYLOAD);
    put_packet(c, p, dup ? 0x3a : 0x32, n + PAYLOAD);
}

static void count(struct account *a, uint32_t number)
{
    if (number <= a->got) {
        a->twice++;
        return;
    }
    a->skipped += number - a->got - 1;
    a->got = number;
}

/* ---- what arrives ---- */

static void take_publish(struct conn *c, struct device *d, uint8_t head, const uint8_t *p, size_t n)
{
    size_t topic = (size_t)p[0] << 8 | p[1];
    uint32_t from, number;
    const uint8_t *payload = p + 2 + topic + ((head & 6) != 0 ? 2 : 0);
    char text[PAYLOAD + 1] = "";

    if (n < topic + 4 + PAYLOAD)
        die("a short PUBLISH");
    memcpy(text, payload, PAYLOAD);
    number = (uint32_t)strtoul(text, NULL, 10);
    snprintf(text, sizeof(text), "%.5s", (const char *)p + 2 + topic - 5);
    from = (uint32_t)strtoul(text, NULL, 10);
    if (from >= w.count)
        die("a message of device %u", from);
    if (d != NULL && d != &w.device[from])
        die("a message for device %u came to another one", from);
    count(d != NULL ? &d->down : &w.device[from].up, number);
    if ((head & 6) == 2) {
        uint8_t ack[4] = {0x40, 2, payload[-2], payload[-1]};

        put(c, ack, sizeof(ack));
    }
}

static void device_acked(struct device *d)
{
    if (d->asked_ns == 0)
        return;
    if (w.times < TIMES_MAX)
        w.us[w.times++] = (uint32_t)((now_ns() - d->asked_ns) / 1000);
    d->asked_ns = 0;
    w.acked++;
}

static void office_ready(struct conn *c)
{
    put_subscribe(c, "up/#");
    for (uint32_t id = 1; id < 65536; id++)
        if (w.way[id].number != 0)
            put_publish(c, "down", w.way[id].device, w.way[id].number, (uint16_t)id, true);
    w.office_been = true;
}

static void office_acked(const uint8_t *p)
{
    struct office_message *m = &w.way[p[0] << 8 | p[1]];

    if (m->number == 0)
        return;
    m->number = 0;
    w.under_way--;
}

static void take(struct conn *c, uint8_t head, const uint8_t *p, size_t n)
{
    struct device *d = c == &w.office ? NULL : (struct device *)c;

    switch (head >> 4) {
    case 2:
        if (p[1] != 0) {
            w.refused++;
            hang_up(c);
            return;
        }
        c->state = READY;
        if (d == NULL) {
            office_ready(c);
        } else {
            w.ready++;
            put_subscribe(c, path("down/dev-%05u", (unsigned)(d - w.device)));
        }
        break;
    case 3:
        take_publish(c, d, head, p, n);
        break;
    case 4:
        if (d == NULL)
            office_acked(p);
        else
            device_acked(d);
        break;
    case 9:
        if (d != NULL && !d->subscribed)
            w.subscribed++;
        if (d != NULL)
            d->subscribed = true;
        break;
    default:
        break;
    }
}

static void receive(struct conn *c)
{
    while (c->state != AWAY) {
        ssize_t n;
        size_t have = c->rest_len, at = 0;

        memcpy(w.in, c->rest, have);
        n = recv(c->fd, w.in + have, IN_BYTES, 0);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0) {
            hang_up(c);
            return;
        }
        have += (size_t)n;
        while (c->state != AWAY && have - at >= 2 && have - at >= 2u + w.in[at + 1]) {
            if (w.in[at + 1] > 127)
                die("a packet larger than any of ours");
            take(c, w.in[at], w.in + at + 2, w.in[at + 1]);
            at += 2u + w.in[at + 1];
        }
        c->rest_len = have - at;
        memcpy(c->rest, w.in + at, c->rest_len);
        if (n < IN_BYTES)
            break;
    }
    flush(c);
}

static void opened(struct conn *c)
{
    int error = 0;
    socklen_t len = sizeof(error);

    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error != 0) {
        hang_up(c);
        return;
    }
    c->state = OPEN;
    if (c == &w.office)
        put_connect(c, "office", false);
    else
        put_connect(c, path("dev-%05u", (unsigned)((struct device *)c - w.device)), true);
    flush(c);
}

/* ---- traffic ---- */

static void ask(struct device *d)
{
    if (d->c.state != READY)
        return;
    if (d->asked_ns != 0) {
        w.busy++;
        return;
    }
    d->asked_ns = now_ns();
    d->up.sent++;
    put_publish(&d->c, "up", (uint32_t)(d - w.device), d->up.sent,
                (uint16_t)(1 + d->up.sent % 65535), false);
    flush(&d->c);
}

static void tell(struct device *d)
{
    if (w.office.state != READY || w.under_way >= WINDOW || d->c.state != READY)
        return;
    do
        w.office_id = w.office_id == 65535 ? 1 : w.office_id + 1;
    while (w.way[w.office_id].number != 0);
    d->down.sent++;
    w.under_way++;
    w.way[w.office_id] = (struct office_message){(uint32_t)(d - w.device), d->down.sent};
    put_publish(&w.office, "down", (uint32_t)(d - w.device), d->down.sent, w.office_id, false);
}

/* All whose time has come since the last round, evenly spread over the devices. */
static void traffic(void)
{
    uint64_t due;

    if (w.interval_ns == 0)
        return;
    due = (uint64_t)((double)(now_ns() - w.since_ns) / (double)w.interval_ns * w.count);
    for (; w.done_up < due; w.done_up++)
        ask(&w.device[w.done_up % w.count]);
    for (; w.done_down < due; w.done_down++)
        tell(&w.device[(w.done_down + w.count / 2) % w.count]);
    flush(&w.office);
}

/* One round of events; true when a command waits. */
static bool serve(int timeout_ms)
{
    struct epoll_event ev[256];
    bool command = false;
    int n = epoll_wait(w.epoll, ev, 256, timeout_ms);

    for (int i = 0; i < n; i++) {
        struct conn *c = ev[i].data.ptr;

        if (c == &the_commands) {
            command = true;
            continue;
        }
        if (c->state == CONNECTING)
            opened(c);
        else if (c->state != AWAY && (ev[i].events & EPOLLOUT) != 0)
            flush(c);
        if (c->state != AWAY && (ev[i].events & ~(uint32_t)EPOLLOUT) != 0)
            receive(c);
    }
    if (w.office.state == AWAY && w.office_been && now_ns() >= w.office_next_ns)
        dial(&w.office, w.broker_address, w.broker);
    traffic();
    return command;
}

/* ---- commands ---- */

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static double percentile_ms(double p)
{
    size_t i = (size_t)(p * (double)w.times);

    if (w.times == 0)
        return 0;
    return w.us[i < w.times ? i : w.times - 1] / 1000.0;
}

/* Sent, and not (yet) there. */
static uint64_t missing(void)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < w.count; i++)
        n +=
            w.device[i].up.sent - w.device[i].up.got + w.device[i].down.sent - w.device[i].down.got;
    return n;
}

static void stat_now(void)
{
    uint64_t up = 0, down = 0, twice = 0, skipped = 0;
    int64_t longest = 0, now = now_ns();

    for (unsigned i = 0; i < w.count; i++) {
        const struct device *d = &w.device[i];

        up += d->up.sent;
        down += d->down.sent;
        twice += d->up.twice + d->down.twice;
        skipped += d->up.skipped + d->down.skipped;
        if (d->asked_ns != 0 && now - d->asked_ns > longest)
            longest = now - d->asked_ns;
    }
    qsort(w.us, w.times, sizeof(*w.us), by_value);
    printf("{\"ready\": %u, \"ended\": %u, \"refused\": %u, \"up\": %lu, \"down\": %lu, "
           "\"missing\": %lu, \"skipped\": %lu, \"twice\": %lu, \"acked\": %lu, \"busy\": %lu, "
           "\"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f, \"waiting_ms\": %.3f, "
           "\"office_lost\": %u}\n",
           w.ready, w.ended, w.refused, up, down, missing(), skipped, twice, w.acked, w.busy,
           percentile_ms(0.5), percentile_ms(0.99), percentile_ms(1), (double)longest / 1e6,
           w.office_lost);
}

static void connect_all(unsigned abreast)
{
    unsigned next = 0;
    int64_t end = now_ns() + 300LL * 1000000000;

    dial(&w.office, w.broker_address, w.broker);
    while (w.subscribed < w.count) {
        while (next < w.count && next < w.subscribed + w.ended + abreast)
            dial(&w.device[next++].c, htonl(INADDR_LOOPBACK), w.gateway);
        serve(10);
        if (w.ended > 0 || now_ns() > end)
            die("not all are connected: %u of %u, %u ended, %u refused", w.subscribed, w.count,
                w.ended, w.refused);
    }
}

static void quiet(unsigned seconds)
{
    int64_t end = now_ns() + seconds * INT64_C(1000000000);
    bool waits = true;

    w.interval_ns = 0;
    while (waits && now_ns() < end) {
        serve(10);
        waits = w.under_way > 0 || missing() > 0;
        for (unsigned i = 0; i < w.count && !waits; i++)
            waits = w.device[i].asked_ns != 0;
    }
}

/* ---- how many a broker takes ---- */

struct shaker {
    int fd;
    SSL *ssl;
};

static void shaker_dial(struct shaker *s, SSL_CTX *ctx, int port, int epoll, unsigned number)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u32 = number};
    int one = 1;

    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    to.sin_addr.s_addr = w.broker_address;
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(s->fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    s->ssl = SSL_new(ctx);
    SSL_set_fd(s->ssl, s->fd);
    SSL_set_connect_state(s->ssl);
    epoll_ctl(epoll, EPOLL_CTL_ADD, s->fd, &ev);
}

/* Returns whether it has got its CONNACK. */
static bool shaker_turn(struct shaker *s, unsigned number)
{
    struct conn c = {0};
    uint8_t in[16];
    int one = 1;
    bool was_open = SSL_is_init_finished(s->ssl);
    int rc = was_open ? 1 : SSL_do_handshake(s->ssl);

    if (rc != 1 && SSL_get_error(s->ssl, rc) != SSL_ERROR_WANT_READ &&
        SSL_get_error(s->ssl, rc) != SSL_ERROR_WANT_WRITE)
        die("the broker refused a handshake");
    if (rc == 1 && !was_open) {
        put_connect(&c, path("shaker-%u", number), true);
        SSL_write(s->ssl, c.out, (int)c.out_len);
        free(c.out);
    }
    if (rc == 1)
        rc = SSL_read(s->ssl, in, sizeof(in)) >= 4;
    /* A broker with Nagle's algorithm waits for it. */
    setsockopt(s->fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one));
    if (rc != 1 || !was_open)
        return false;
    if (in[0] != 0x20 || in[3] != 0)
        die("the broker refused CONNECT");
    SSL_write(s->ssl, "\xe0", 2);
    return true;
}

static void shake(int port, const char *ca, const char *cert, const char *key, unsigned seconds,
                  unsigned abreast)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    struct shaker *all = calloc(abreast, sizeof(*all));
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    int64_t start = now_ns(), end = start + seconds * INT64_C(1000000000);
    int64_t cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    unsigned done = 0;

    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    if (!SSL_CTX_load_verify_locations(ctx, ca, NULL) ||
        SSL_CTX_use_certificate_chain_file(ctx, cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        die("%s, %s, %s", ca, cert, key);
    for (unsigned i = 0; i < abreast; i++)
        shaker_dial(&all[i], ctx, port, epoll, i);
    while (now_ns() < end) {
        struct epoll_event ev[64];
        int n = epoll_wait(epoll, ev, 64, 100);

        for (int i = 0; i < n; i++) {
            struct shaker *s = &all[ev[i].data.u32];

            if (!shaker_turn(s, ev[i].data.u32))
                continue;
            SSL_free(s->ssl);
            close(s->fd);
            done++;
            shaker_dial(s, ctx, port, epoll, ev[i].data.u32);
        }
    }
    printf("{\"done\": %u, \"wall_s\": %.3f, \"cpu_s\": %.3f}\n", done,
           (double)(now_ns() - start) / 1e9,
           (double)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu) / 1e9);
    for (unsigned i = 0; i < abreast; i++) {
        SSL_free(all[i].ssl);
        close(all[i].fd);
    }
    free(all);
    close(epoll);
    SSL_CTX_free(ctx);
}

static void obey(const char *line)
{
    char ca[1024], cert[1024], key[1024];
    unsigned a, b;
    int port;

    if (sscanf(line, "connect %u", &a) == 1) {
        connect_all(a);
    } else if (sscanf(line, "go %u", &a) == 1) {
        w.since_ns = now_ns();
        w.interval_ns = a * INT64_C(1000000);
        w.done_up = w.done_down = 0;
    } else if (sscanf(line, "quiet %u", &a) == 1) {
        quiet(a);
    } else if (strncmp(line, "mark", 4) == 0) {
        w.times = 0;
    } else if (sscanf(line, "shake %d %1023s %1023s %1023s %u %u", &port, ca, cert, key, &a, &b) ==
               6) {
        shake(port, ca, cert, key, a, b);
        fflush(stdout);
        return;
    } else if (strncmp(line, "stat", 4) != 0) {
        die("unknown command: %s", line);
    }
    stat_now();
    fflush(stdout);
}

static int run(void)
{
    struct rlimit files;
    char line[4096];

    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    w.epoll = epoll_create1(EPOLL_CLOEXEC);
    w.device = calloc(w.count, sizeof(*w.device));
    w.way = calloc(65536, sizeof(*w.way));
    w.us = calloc(TIMES_MAX, sizeof(*w.us));
    if (w.device == NULL || w.way == NULL || w.us == NULL)
        die("out of memory");
    the_commands.fd = 0;
    the_commands.state = READY;
    watch(&the_commands, EPOLL_CTL_ADD, EPOLLIN);
    for (;;) {
        if (!serve(w.interval_ns != 0 || w.office.state == AWAY ? 2 : -1))
            continue;
        /* One command at a time: the caller waits for the answer before it sends the next. */
        if (fgets(line, sizeof(line), stdin) == NULL)
            return 0;
        obey(line);
    }
}

/* ---- identities ---- */

static int issue(const char *ca_file, const char *key_file, const char *folder, const char *slot,
                 int number)
{
    FILE *f = fopen(ca_file, "r");
    X509 *ca = f == NULL ? NULL : PEM_read_X509(f, NULL, NULL, NULL);
    FILE *g = fopen(key_file, "r");
    EVP_PKEY *ca_key = g == NULL ? NULL : PEM_read_PrivateKey(g, NULL, NULL, NULL);
    EVP_PKEY *key = make_key(false);
    const char *one = path("%s/.%s.key", folder, slot);
    char shared[1024];

    if (ca == NULL || ca_key == NULL)
        die("%s, %s: no authority", ca_file, key_file);
    fclose(f);
    fclose(g);
    snprintf(shared, sizeof(shared), "%s", one);
    save(shared, NULL, key);
    for (int i = 0; i < number; i++) {
        const char *to = path("%s/dev-%05d", folder, i);
        char name[32];
        X509 *cert;

        snprintf(name, sizeof(name), "dev-%05d", i);
        mkdir(to, 0755);
        mkdir(path("%s/%s", to, slot), 0755);
        cert = make_cert(name, key, ca, ca_key, "clientAuth", NULL);
        save(path("%s/dev-%05d/%s/chain.pem", folder, i, slot), cert, NULL);
        (void)unlink(path("%s/dev-%05d/%s/key.pem", folder, i, slot));
        if (link(shared, path("%s/dev-%05d/%s/key.pem", folder, i, slot)) != 0)
            die("key.pem: %s", strerror(errno));
        X509_free(cert);
    }
    (void)unlink(shared);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 7 && strcmp(argv[1], "issue") == 0)
        return issue(argv[2], argv[3], argv[4], argv[5], atoi(argv[6]));
    if ((argc != 5 && argc != 6) || strcmp(argv[1], "run") != 0) {
        fprintf(stderr, "usage: fleet issue CA.pem CA.key FOLDER SLOT COUNT\n"
                        "       fleet run COUNT GATEWAY BROKER [ADDRESS]\n");
        return 2;
    }
    w.count = (unsigned)atoi(argv[2]);
    w.gateway = atoi(argv[3]);
    w.broker = atoi(argv[4]);
    w.broker_address = inet_addr(argc == 6 ? argv[5] : "127.0.0.1");
    return run();
}
