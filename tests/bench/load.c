/* tests/bench/load.c - plays devices and the broker, as cheaply as one thread can; bench.py drives
 * it.
 *
 *   load pki FOLDER COUNT ec|rsa    make authorities, servers, COUNT devices and their identities
 *   load run [-p] [-b] [-2] FOLDER COUNT
 *
 * `run` listens for the proxy on a port that it prints, then obeys one command a line and answers
 * each with one line of JSON:
 *
 *   target PORT                    where devices connect (the proxy, or the sink itself)
 *   connect FIRST COUNT ABREAST    TLS, CONNECT, CONNACK; ABREAST of them at a time
 *   subscribe COUNT                each connected device, COUNT topics, one SUBSCRIBE for each
 *   publish QOS TOTAL WINDOW       at saturation; records of a backlog share a send()
 *   pace RATE TOTAL QOS            evenly spaced in time, round the devices
 *   fill EACH                      write EACH messages per device; the sink does not read
 *   drain TOTAL                    let the sink read until it has TOTAL messages
 *   leave ABREAST                  DISCONNECT; until the sink has no connection left
 *   stat                           what the sink has seen
 *
 * Both its ends are OpenSSL without sessions and tickets, so that each handshake is a full one.
 * -p: no TLS at all; -b: large socket buffers (for fill); -2: TLS 1.2 only.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "certs.h"

#define PAYLOAD     200
#define BURST_BYTES (16 * 1024) /* what a device at saturation hands to one send() */
#define COMMAND_S   120

/* ---- certificates ---- */

/* Authorities old-ca (devices' own certificates) and new-ca (everything else); the device side
 * shares one key, identities of the EC kind have one each. */
static int make_pki(const char *dir, int count, bool rsa)
{
    EVP_PKEY *old_key = make_key(rsa), *new_key = make_key(rsa), *server_key = make_key(rsa);
    EVP_PKEY *device_key = make_key(rsa), *shared = rsa ? make_key(true) : NULL;
    X509 *old_ca = make_cert("Bench Old CA", old_key, NULL, old_key, NULL, NULL);
    X509 *new_ca = make_cert("Bench New CA", new_key, NULL, new_key, NULL, NULL);
    X509 *server = make_cert("localhost", server_key, new_ca, new_key, "serverAuth",
                             "DNS:localhost,IP:127.0.0.1");
    FILE *devices;
    int i;

    mkdir(dir, 0755);
    mkdir(path("%s/identities", dir), 0755);
    mkdir(path("%s/both", dir), 0755);
    save(path("%s/old-ca.pem", dir), old_ca, NULL);
    save(path("%s/new-ca.pem", dir), new_ca, NULL);
    save(path("%s/server.pem", dir), server, NULL);
    save(path("%s/server.key", dir), NULL, server_key);
    save(path("%s/server-both.pem", dir), server, server_key);
    save(path("%s/device.key", dir), NULL, device_key);
    devices = create(path("%s/devices.pem", dir));
    for (i = 0; i < count; i++) {
        char name[32];
        EVP_PKEY *key = shared != NULL ? shared : make_key(false);
        X509 *cert;

        snprintf(name, sizeof(name), "dev-%05d", i);
        cert = make_cert(name, device_key, old_ca, old_key, "clientAuth", NULL);
        PEM_write_X509(devices, cert);
        X509_free(cert);
        cert = make_cert(name, key, new_ca, new_key, "clientAuth", NULL);
        mkdir(path("%s/identities/%s", dir, name), 0755);
        mkdir(path("%s/identities/%s/old", dir, name), 0755);
        save(path("%s/identities/%s/old/chain.pem", dir, name), cert, NULL);
        save(path("%s/identities/%s/old/key.pem", dir, name), NULL, key);
        save(path("%s/both/%s.pem", dir, name), cert, key);
        X509_free(cert);
        if (key != shared)
            EVP_PKEY_free(key);
    }
    return fclose(devices) == 0 ? 0 : 1;
}

/* ---- connections ---- */

enum state {
    CONNECTING, /* TCP */
    SHAKING,    /* TLS */
    OPEN,       /* device: CONNECT is sent; sink: bytes may come */
    READY,      /* device: CONNACK has come */
    DEAD        /* freed after this round of events */
};

struct conn {
    struct conn *next_dead;
    SSL *ssl; /* owned; NULL without TLS */
    uint8_t *out, *rest;
    size_t out_len, out_at, out_cap, rest_len;
    int fd, number; /* -1 for connections of the sink */
    enum state state;
    bool wants_out;
    unsigned sent, unacked, window, next_id;
};

static struct {
    const char *dir;
    int count;
    bool plain, big, tls12;
    SSL_CTX *device_tls, *sink_tls;
    X509 **certs;
    struct conn **device; /* [count], NULL where not connected */
    struct conn *dead;
    int epoll, listener, target_port;
    /* counts */
    unsigned ready, lost, subacks;
    unsigned long accepted, connects, foreign, sink_open, got, acked;
    const char *suite_device, *suite_sink, *group_device, *group_sink;
    /* a measurement under way */
    unsigned qos, quota, window; /* of publish: messages still to be handed out */
    bool publishing, hold;       /* hold: serve nothing until the next command (after fill) */
    int64_t *latency;
    size_t latencies, latency_cap;
    int abreast;
    uint8_t in[64 * 1024];
} w;

static struct conn the_listener, the_commands;

/* Add to what the next flush() sends. */
static void gather(struct conn *c, const void *data, size_t len)
{
    if (c->out_len + len > c->out_cap) {
        c->out_cap = c->out_len + len + 4096;
        c->out = realloc(c->out, c->out_cap);
        if (c->out == NULL)
            die("out of memory");
    }
    memcpy(c->out + c->out_len, data, len);
    c->out_len += len;
}

static int out_write(BIO *b, const char *data, int len)
{
    gather(BIO_get_data(b), data, (size_t)len);
    return len;
}

static long out_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    (void)b;
    (void)num;
    (void)ptr;
    return cmd == BIO_CTRL_FLUSH;
}

static BIO *out_bio(struct conn *c)
{
    static BIO_METHOD *method;
    BIO *b;

    if (method == NULL) {
        method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "gathered");
        BIO_meth_set_write(method, out_write);
        BIO_meth_set_ctrl(method, out_ctrl);
    }
    b = BIO_new(method);
    BIO_set_data(b, c);
    BIO_set_init(b, 1);
    return b;
}

static void watch(struct conn *c, int op, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};

    if (epoll_ctl(w.epoll, op, c->fd, &ev) != 0)
        die("epoll_ctl: %s", strerror(errno));
    c->wants_out = (events & EPOLLOUT) != 0;
}

static void want_out(struct conn *c, bool yes)
{
    if (c->wants_out != yes)
        watch(c, EPOLL_CTL_MOD, EPOLLIN | (yes ? EPOLLOUT : 0));
}

static void drop(struct conn *c)
{
    if (c->state == DEAD)
        return;
    if (c->number < 0)
        w.sink_open--;
    else {
        if (c->state == READY)
            w.ready--;
        w.device[c->number] = NULL;
    }
    c->state = DEAD;
    close(c->fd);
    c->next_dead = w.dead;
    w.dead = c;
}

/* The other side has ended it, or it broke. */
static void broken(struct conn *c)
{
    if (c->state != DEAD && c->number >= 0)
        w.lost++;
    drop(c);
}

static void bury(void)
{
    while (w.dead != NULL) {
        struct conn *c = w.dead;

        w.dead = c->next_dead;
        SSL_free(c->ssl);
        free(c->out);
        free(c->rest);
        free(c);
    }
    ERR_clear_error();
}

static void put(struct conn *c, const void *data, size_t len)
{
    if (c->ssl == NULL)
        gather(c, data, len);
    else if (SSL_write(c->ssl, data, (int)len) != (int)len)
        broken(c);
}

static void flush(struct conn *c)
{
    while (c->state != DEAD && c->out_at < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_at, c->out_len - c->out_at, MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN) {
            want_out(c, true);
            return;
        }
        if (n < 0) {
            broken(c);
            return;
        }
        c->out_at += (size_t)n;
    }
    c->out_at = c->out_len = 0;
}

static struct conn *adopt(int fd, int number, SSL_CTX *tls)
{
    struct conn *c = calloc(1, sizeof(*c));
    int one = 1;

    if (c == NULL)
        die("out of memory");
    c->fd = fd;
    c->number = number;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (!w.plain) {
        c->ssl = SSL_new(tls);
        SSL_set_bio(c->ssl, BIO_new_socket(fd, BIO_NOCLOSE), out_bio(c));
    }
    return c;
}

static void buffers(int fd, int which, int forced)
{
    int bytes = 8 * 1024 * 1024;

    if (w.big && setsockopt(fd, SOL_SOCKET, forced, &bytes, sizeof(bytes)) != 0)
        setsockopt(fd, SOL_SOCKET, which, &bytes, sizeof(bytes));
}

/* ---- MQTT ---- */

static size_t str(uint8_t *at, const char *text)
{
    size_t n = strlen(text);

    at[0] = (uint8_t)(n >> 8);
    at[1] = (uint8_t)n;
    memcpy(at + 2, text, n);
    return n + 2;
}

/* One header byte, one or two of length, then `len` bytes that the caller wrote at packet + 3. */
static void put_packet(struct conn *c, uint8_t *packet, uint8_t type, size_t len)
{
    uint8_t *at = packet + 1;

    if (len < 128) {
        packet[2] = (uint8_t)len;
    } else {
        at = packet;
        packet[1] = (uint8_t)(len & 127) | 128;
        packet[2] = (uint8_t)(len >> 7);
    }
    at[0] = type;
    put(c, at, len + (size_t)(packet + 3 - at));
}

static void put_connect(struct conn *c)
{
    uint8_t p[128];
    size_t n = str(p + 3, "MQTT");

    p[3 + n++] = 4;    /* 3.1.1 */
    p[3 + n++] = 2;    /* clean session */
    p[3 + n++] = 0x0e; /* keepalive: an hour, so that no PINGREQ falls into a measurement */
    p[3 + n++] = 0x10;
    n += str(p + 3 + n, path("dev-%05d", c->number));
    put_packet(c, p, 0x10, n);
}

static void put_publish(struct conn *c, unsigned qos)
{
    uint8_t p[PAYLOAD + 64];
    size_t n;
    int64_t now = now_ns();
    char topic[32];

    snprintf(topic, sizeof(topic), "plant/dev-%05d/value", c->number);
    n = str(p + 3, topic);
    if (qos > 0) {
        if (++c->next_id > 65535)
            c->next_id = 1;
        p[3 + n++] = (uint8_t)(c->next_id >> 8);
        p[3 + n++] = (uint8_t)c->next_id;
        c->unacked++;
    }
    memset(p + 3 + n, 'x', PAYLOAD);
    memcpy(p + 3 + n, &now, sizeof(now));
    c->sent++;
    put_packet(c, p, (uint8_t)(0x30 | qos << 1), n + PAYLOAD);
}

static void put_ack(struct conn *c, uint8_t type, const uint8_t *id)
{
    const uint8_t p[4] = {type, 2, id[0], id[1]};

    put(c, p, sizeof(p));
}

/* Hand out messages of a publish under way. */
static void pump(struct conn *c)
{
    size_t limit = w.qos == 0 ? BURST_BYTES : SIZE_MAX;

    if (c->out_at < c->out_len)
        return;
    while (w.quota > 0 && c->unacked < c->window && c->out_len < limit) {
        w.quota--;
        put_publish(c, w.qos);
    }
    flush(c);
    if (c->state != DEAD && c->out_len == 0)
        want_out(c, w.publishing && w.qos == 0 && w.quota > 0);
}

/* Does the connection carry the certificate of the device that its CONNECT names? */
static void compare_names(struct conn *c, const uint8_t *p, size_t len)
{
    X509 *cert = c->ssl != NULL ? SSL_get0_peer_certificate(c->ssl) : NULL;
    char cn[64] = "";

    if (cert != NULL)
        X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, cn, sizeof(cn));
    /* Header of CONNECT, without a Will: 10 bytes, then the client identifier. */
    if (len < 12 + strlen(cn) || ((size_t)p[10] << 8 | p[11]) != strlen(cn) ||
        memcmp(p + 12, cn, strlen(cn)) != 0)
        w.foreign++;
}

static void broker_takes(struct conn *c, uint8_t head, const uint8_t *p, size_t len)
{
    static const uint8_t connack[] = {0x20, 2, 0, 0}, pingresp[] = {0xd0, 0};
    size_t topic;

    switch (head >> 4) {
    case 1:
        w.connects++;
        compare_names(c, p, len);
        put(c, connack, sizeof(connack));
        break;
    case 3:
        topic = len >= 2 ? (size_t)p[0] << 8 | p[1] : 0;
        if (len < topic + 2 + 2 + 8)
            die("the sink got a short PUBLISH");
        p += 2 + topic;
        if ((head & 6) == 2) {
            put_ack(c, 0x40, p);
            p += 2;
        }
        w.got++;
        if (w.latencies < w.latency_cap) {
            int64_t then;

            memcpy(&then, p, sizeof(then));
            w.latency[w.latencies++] = now_ns() - then;
        }
        break;
    case 8: {
        uint8_t suback[5] = {0x90, 3, p[0], p[1], p[len - 1]};

        put(c, suback, sizeof(suback));
        break;
    }
    case 10: {
        uint8_t unsuback[4] = {0xb0, 2, p[0], p[1]};

        put(c, unsuback, sizeof(unsuback));
        break;
    }
    case 12:
        put(c, pingresp, sizeof(pingresp));
        break;
    case 14:
        drop(c);
        break;
    default:
        break;
    }
}

static void device_takes(struct conn *c, uint8_t head, const uint8_t *p)
{
    switch (head >> 4) {
    case 2:
        if (p[1] != 0)
            die("dev-%05d was refused: CONNACK %d", c->number, p[1]);
        if (c->state == OPEN) {
            c->state = READY;
            w.ready++;
        }
        break;
    case 4:
        c->unacked--;
        w.acked++;
        break;
    case 9:
        w.subacks++;
        break;
    default:
        break;
    }
}

/* Take whole packets from the front; returns how many bytes they were. */
static size_t packets(struct conn *c, const uint8_t *data, size_t len)
{
    size_t at = 0;

    while (c->state != DEAD && len - at >= 2) {
        size_t head = 2, body = data[at + 1] & 127;

        if (data[at + 1] & 128) {
            if (len - at < 3)
                break;
            if (data[at + 2] & 128)
                die("a packet larger than any of ours");
            body |= (size_t)data[at + 2] << 7;
            head = 3;
        }
        if (len - at < head + body)
            break;
        if (c->number < 0)
            broker_takes(c, data[at], data + at + head, body);
        else
            device_takes(c, data[at], data + at + head);
        at += head + body;
    }
    return at;
}

static void keep(struct conn *c, const uint8_t *data, size_t len)
{
    free(c->rest);
    c->rest = NULL;
    c->rest_len = len;
    if (len > 0) {
        c->rest = malloc(len);
        if (c->rest == NULL)
            die("out of memory");
        memcpy(c->rest, data, len);
    }
}

static void receive(struct conn *c)
{
    while (c->state != DEAD) {
        size_t have = c->rest_len, used;
        int n;

        if (have > 0)
            memcpy(w.in, c->rest, have);
        if (c->ssl != NULL) {
            n = SSL_read(c->ssl, w.in + have, (int)(sizeof(w.in) - have));
            if (n <= 0 && SSL_get_error(c->ssl, n) == SSL_ERROR_WANT_READ)
                break;
        } else {
            n = (int)recv(c->fd, w.in + have, sizeof(w.in) - have, 0);
            if (n < 0 && errno == EAGAIN)
                break;
        }
        if (n <= 0) {
            broken(c);
            return;
        }
        have += (size_t)n;
        used = packets(c, w.in, have);
        if (c->state == DEAD)
            return;
        if (have != used || c->rest_len > 0)
            keep(c, w.in + used, have - used);
    }
    if (c->state == DEAD)
        return;
    if (w.publishing && c->number >= 0 && w.qos > 0)
        pump(c);
    else
        flush(c);
}

/* ---- events ---- */

static void opened(struct conn *c)
{
    c->state = OPEN;
    if (c->number >= 0) {
        put_connect(c);
        flush(c);
    }
    if (c->ssl == NULL)
        return;
    *(c->number >= 0 ? &w.suite_device : &w.suite_sink) = SSL_get_cipher_name(c->ssl);
    *(c->number >= 0 ? &w.group_device : &w.group_sink) =
        OBJ_nid2sn((int)(SSL_get_negotiated_group(c->ssl) & 0xffff));
}

static void shake(struct conn *c)
{
    int rc;

    if (c->ssl == NULL) {
        opened(c);
        return;
    }
    rc = SSL_do_handshake(c->ssl);
    flush(c);
    if (c->state == DEAD)
        return;
    if (rc == 1) {
        opened(c);
    } else if (SSL_get_error(c->ssl, rc) != SSL_ERROR_WANT_READ) {
        if (w.lost < 3)
            ERR_print_errors_fp(stderr);
        broken(c);
    }
}

static void accept_all(void)
{
    int fd;

    while ((fd = accept4(w.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *c = adopt(fd, -1, w.sink_tls);

        w.accepted++;
        w.sink_open++;
        if (c->ssl != NULL)
            SSL_set_accept_state(c->ssl);
        c->state = c->ssl != NULL ? SHAKING : OPEN;
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static void handle(struct conn *c, uint32_t events)
{
    if (c->state == DEAD)
        return;
    if (c->state == CONNECTING) {
        int error = 0;
        socklen_t len = sizeof(error);

        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (error != 0)
            die("devices cannot connect: %s", strerror(error));
        want_out(c, false);
        c->state = SHAKING;
        shake(c);
        return;
    }
    if (events & EPOLLOUT) {
        flush(c);
        if (c->state != DEAD && c->out_at == c->out_len) {
            if (w.publishing && c->state == READY)
                pump(c);
            else
                want_out(c, false);
        }
    }
    if (c->state == SHAKING && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        shake(c);
    if (c->state != DEAD && c->state != SHAKING && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        receive(c);
}

/* One round of events, waiting for them at most so long (-1: for ever); true when a command waits.
 */
static bool serve_ns(int64_t timeout_ns)
{
    struct timespec ts = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    struct epoll_event ev[256];
    bool command = false;
    int n = epoll_pwait2(w.epoll, ev, 256, timeout_ns < 0 ? NULL : &ts, NULL);

    for (int i = 0; i < n; i++) {
        if (ev[i].data.ptr == &the_commands)
            command = true;
        else if (ev[i].data.ptr == &the_listener)
            accept_all();
        else
            handle(ev[i].data.ptr, ev[i].events);
    }
    bury();
    return command;
}

static bool serve(int timeout_ms)
{
    return serve_ns(timeout_ms < 0 ? -1 : (int64_t)timeout_ms * 1000000);
}

static void until(const char *what, bool (*done)(unsigned long), unsigned long arg)
{
    int64_t end = now_ns() + (int64_t)COMMAND_S * 1000000000;

    while (!done(arg)) {
        serve(10);
        if (now_ns() > end)
            die("%s: not done after %d s (ready %u, lost %u, got %lu, acked %lu, at the sink %lu)",
                what, COMMAND_S, w.ready, w.lost, w.got, w.acked, w.sink_open);
    }
}

/* ---- commands ---- */

static void dial(int number)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)w.target_port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct conn *c;

    if (fd < 0)
        die("socket: %s", strerror(errno));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    buffers(fd, SO_SNDBUF, SO_SNDBUFFORCE);
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    c = adopt(fd, number, w.device_tls);
    if (c->ssl != NULL) {
        SSL_use_certificate(c->ssl, w.certs[number]);
        SSL_set_connect_state(c->ssl);
        SSL_set1_host(c->ssl, "localhost");
        SSL_set_tlsext_host_name(c->ssl, "localhost");
    }
    c->state = CONNECTING;
    w.device[number] = c;
    watch(c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

static struct {
    unsigned base, from, to;
} dialling;

static bool all_connected(unsigned long goal)
{
    while (dialling.from < dialling.to &&
           dialling.from - dialling.base < w.ready + w.lost + (unsigned)w.abreast)
        dial((int)dialling.from++);
    return w.ready + w.lost >= goal;
}

static bool all_subacked(unsigned long goal)
{
    return w.subacks + w.lost >= goal;
}

static bool all_got(unsigned long goal)
{
    return w.got >= goal && (w.qos == 0 || w.acked >= goal);
}

static bool all_left(unsigned long unused)
{
    int left = w.abreast;

    (void)unused;
    for (int i = 0; i < w.count && left > 0; i++) {
        static const uint8_t disconnect[] = {0xe0, 0};

        if (w.device[i] == NULL)
            continue;
        put(w.device[i], disconnect, sizeof(disconnect));
        if (w.device[i] != NULL && w.device[i]->ssl != NULL)
            SSL_shutdown(w.device[i]->ssl);
        if (w.device[i] != NULL)
            flush(w.device[i]);
        if (w.device[i] != NULL)
            drop(w.device[i]);
        left--;
    }
    return left == w.abreast && w.sink_open == 0;
}

static unsigned pick_ready(struct conn **out)
{
    unsigned n = 0;

    for (int i = 0; i < w.count; i++) {
        if (w.device[i] != NULL && w.device[i]->state == READY)
            out[n++] = w.device[i];
    }
    if (n == 0)
        die("no device is connected");
    return n;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

static double percentile_us(double p)
{
    size_t i = (size_t)(p * (double)w.latencies);

    if (w.latencies == 0)
        return -1;
    return (double)w.latency[i < w.latencies ? i : w.latencies - 1] / 1000;
}

/* Spins only while a message is under way, so that the sink sees it at once, and sleeps otherwise.
 * Returns how late the generator itself was at worst, in microseconds. */
static double pace(struct conn **who, unsigned n, unsigned rate, unsigned total, unsigned qos)
{
    int64_t t0 = now_ns() + 1000000, worst = 0, end;

    for (unsigned i = 0; i < total; i++) {
        int64_t due = t0 + (int64_t)i * 1000000000 / rate, now;

        while ((now = now_ns()) < due)
            serve_ns(w.got < i ? 0 : due - now);
        if (now - due > worst)
            worst = now - due;
        put_publish(who[i % n], qos);
        flush(who[i % n]);
        if (w.lost > 0)
            die("a device was cut off");
        if (i % 16 == 0)
            serve(0);
    }
    end = now_ns() + 10LL * 1000000000;
    while (w.got < total && now_ns() < end)
        serve(1);
    return (double)worst / 1000;
}

static void report(int64_t wall, int64_t cpu, const char *fmt, ...)
{
    va_list ap;

    printf("{\"wall_s\": %.6f, \"load_cpu_s\": %.6f, \"lost\": %u", (double)wall / 1e9,
           (double)cpu / 1e9, w.lost);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("}\n");
    fflush(stdout);
}

static void obey(const char *line)
{
    struct conn **who = calloc((size_t)w.count, sizeof(struct conn *));
    unsigned a = 0, b = 0, c = 0, n, i;
    int64_t wall = now_ns(), cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    double late = 0;
    unsigned long before = w.connects;
    bool leaving = false;
    size_t left = 0;

    w.hold = false;
    w.got = w.acked = w.subacks = w.lost = w.latencies = 0;
    w.qos = 0;
    if (sscanf(line, "target %u", &a) == 1) {
        w.target_port = (int)a;
    } else if (sscanf(line, "connect %u %u %u", &a, &b, &c) == 3 && a + b <= (unsigned)w.count) {
        dialling.from = a;
        dialling.to = a + b;
        dialling.base = a - w.ready;
        w.abreast = (int)c;
        until("connect", all_connected, w.ready + b);
    } else if (sscanf(line, "subscribe %u", &a) == 1) {
        n = pick_ready(who);
        for (i = 0; i < n; i++) {
            for (unsigned t = 1; t <= a && who[i]->state == READY; t++) {
                uint8_t p[64] = {0};
                size_t len;

                p[4] = (uint8_t)t;
                len = 2 + str(p + 5, path("plant/dev-%05d/command/%u", who[i]->number, t));
                p[3 + len++] = 1;
                put_packet(who[i], p, 0x82, len);
            }
            flush(who[i]);
        }
        until("subscribe", all_subacked, (unsigned long)n * a);
    } else if (sscanf(line, "publish %u %u %u", &a, &b, &c) == 3) {
        n = pick_ready(who);
        w.qos = a;
        w.quota = b;
        w.publishing = true;
        for (i = 0; i < n; i++) {
            who[i]->window = a == 0 ? UINT32_MAX : c;
            who[i]->unacked = 0;
            pump(who[i]);
        }
        until("publish", all_got, b);
        w.publishing = false;
    } else if (sscanf(line, "pace %u %u %u", &a, &b, &c) == 3) {
        n = pick_ready(who);
        w.latency = calloc(b, sizeof(*w.latency));
        w.latency_cap = b;
        late = pace(who, n, a, b, c);
        qsort(w.latency, w.latencies, sizeof(*w.latency), by_value);
    } else if (sscanf(line, "fill %u", &a) == 1) {
        n = pick_ready(who);
        for (i = 0; i < n; i++) {
            for (unsigned m = 0; m < a; m++)
                put_publish(who[i], 0);
            flush(who[i]);
            left += who[i]->out_len - who[i]->out_at;
        }
        w.hold = true;
    } else if (sscanf(line, "drain %u", &a) == 1) {
        until("drain", all_got, a);
    } else if (sscanf(line, "leave %u", &a) == 1) {
        w.abreast = (int)a;
        leaving = true;
        until("leave", all_left, 0);
    } else if (strncmp(line, "stat", 4) != 0) {
        die("unknown command: %s", line);
    }
    wall = now_ns() - wall;
    cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    if (w.latency != NULL)
        report(wall, cpu,
               ", \"got\": %lu, \"late_us\": %.1f, \"p50_us\": %.2f, \"p99_us\": %.2f, "
               "\"max_us\": %.2f",
               w.got, late, percentile_us(0.5), percentile_us(0.99), percentile_us(1));
    else
        report(
            wall, cpu,
            ", \"got\": %lu, \"acked\": %lu, \"left\": %zu, \"ready\": %u, \"accepted\": %lu, "
            "\"connects\": %lu, \"extra_connects\": %lu, \"foreign\": %lu, \"device_suite\": \"%s %s\", "
            "\"sink_suite\": \"%s %s\"",
            w.got, w.acked, left, w.ready, w.accepted, w.connects,
            leaving ? w.connects - before : 0, w.foreign, w.suite_device ? w.suite_device : "-",
            w.group_device ? w.group_device : "-", w.suite_sink ? w.suite_sink : "-",
            w.group_sink ? w.group_sink : "-");
    free(w.latency);
    w.latency = NULL;
    w.latency_cap = 0;
    free(who);
}

/* ---- start ---- */

static SSL_CTX *context(bool server)
{
    SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    const char *ca = path("%s/new-ca.pem", w.dir);

    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_min_proto_version(ctx, w.tls12 ? TLS1_2_VERSION : TLS1_3_VERSION);
    SSL_CTX_set_max_proto_version(ctx, w.tls12 ? TLS1_2_VERSION : TLS1_3_VERSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_default_read_buffer_len(ctx, 32768);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    if (!SSL_CTX_load_verify_locations(ctx, ca, NULL))
        die("%s", ca);
    if (server) {
        /* Measured directly, without a proxy between, devices show their own certificates here. */
        if (!SSL_CTX_load_verify_locations(ctx, path("%s/old-ca.pem", w.dir), NULL) ||
            SSL_CTX_use_certificate_chain_file(ctx, path("%s/server.pem", w.dir)) != 1 ||
            SSL_CTX_use_PrivateKey_file(ctx, path("%s/server.key", w.dir), SSL_FILETYPE_PEM) != 1)
            die("%s: no server certificate", w.dir);
        SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(ca));
    } else if (SSL_CTX_use_PrivateKey_file(ctx, path("%s/device.key", w.dir), SSL_FILETYPE_PEM) !=
               1) {
        die("%s: no device key", w.dir);
    }
    return ctx;
}

static void load_devices(void)
{
    FILE *f = fopen(path("%s/devices.pem", w.dir), "r");

    w.device = calloc((size_t)w.count, sizeof(struct conn *));
    w.certs = calloc((size_t)w.count, sizeof(X509 *));
    for (int i = 0; i < w.count; i++) {
        w.certs[i] = f == NULL ? NULL : PEM_read_X509(f, NULL, NULL, NULL);
        if (w.certs[i] == NULL)
            die("%s: fewer than %d devices", w.dir, w.count);
    }
    fclose(f);
}

static int run(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof(at);
    struct rlimit files;
    char line[256];

    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    if (!w.plain) {
        load_devices();
        w.device_tls = context(false);
        w.sink_tls = context(true);
    } else
        w.device = calloc((size_t)w.count, sizeof(struct conn *));
    w.epoll = epoll_create1(EPOLL_CLOEXEC);
    w.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    buffers(w.listener, SO_RCVBUF, SO_RCVBUFFORCE);
    if (bind(w.listener, (struct sockaddr *)&at, sizeof(at)) != 0 ||
        listen(w.listener, 4096) != 0 || getsockname(w.listener, (struct sockaddr *)&at, &len) != 0)
        die("listen: %s", strerror(errno));
    the_listener.fd = w.listener;
    the_commands.fd = 0;
    watch(&the_listener, EPOLL_CTL_ADD, EPOLLIN);
    watch(&the_commands, EPOLL_CTL_ADD, EPOLLIN);
    printf("{\"port\": %d}\n", ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        if (!w.hold && !serve(-1))
            continue;
        /* One command at a time: bench.py waits for the answer before it sends the next. */
        if (fgets(line, sizeof(line), stdin) == NULL)
            return 0;
        obey(line);
    }
}

int main(int argc, char **argv)
{
    bool usage = argc < 2;
    int opt;

    if (!usage && strcmp(argv[1], "pki") == 0 && argc == 5)
        return make_pki(argv[2], atoi(argv[3]), strcmp(argv[4], "rsa") == 0);
    while (!usage && (opt = getopt(argc - 1, argv + 1, "pb2")) != -1) {
        w.plain |= opt == 'p';
        w.big |= opt == 'b';
        w.tls12 |= opt == '2';
        usage = opt == '?';
    }
    if (usage || argc - 1 - optind != 2 || strcmp(argv[1], "run") != 0) {
        fprintf(stderr, "usage: load pki FOLDER COUNT ec|rsa\n"
                        "       load run [-p] [-b] [-2] FOLDER COUNT\n");
        return 2;
    }
    w.dir = argv[1 + optind];
    w.count = atoi(argv[2 + optind]);
    return run();
}
