/* tests/scenario/link.c - a bad link between two hosts, on one machine; lib/link.py drives it.
 *
 *   link ADDRESS-A ADDRESS-B [SEED]
 *
 * Makes two network namespaces without a name, each with its loopback and a TUN device, and carries
 * the packets between them: late, in another order, at a rate, or not at all.  Unlike tc netem it
 * needs nothing of the kernel but TUN, it can be cut in one step with what is under way on it, and
 * it can answer with RST.  The namespaces are there as long as this program or somebody inside
 * them: nothing is left behind when all have died.  It ends when its standard input does.
 *
 * First it prints `ready FD-A FD-B`: /proc/PID/fd/FD is the namespace, to be joined with nsenter.
 * Then it obeys one command a line and answers each with one line, `ok ...` or `no ...`:
 *
 *   set WAY KEY=VALUE...    WAY: ab, ba or both.  Keys, which stay until they are set again:
 *       delay_us            how long each packet is under way
 *       jitter_us           and up to so much longer, each by its own lot: so they overtake
 *       loss_ppm            how many of a million are lost
 *       late_ppm, late_us   how many of a million are held back for so long, and overtaken
 *       rate                bytes per second, 0: no limit; half a second's worth waits, then loss
 *       mtu                 larger packets vanish, without ICMP; 0: none do
 *       state               pass, drop (with what is under way) or reset (answered with RST)
 *   count WAY               packets and bytes that came through, and packets that did not
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define PACKET_MAX 2048
#define HELD_MAX   65536
#define BURST      64

enum way { AB, BA, WAYS };
enum state { PASS, DROP, RESET };

struct traits {
    uint64_t delay_us, jitter_us, loss_ppm, late_ppm, late_us, rate, mtu, state;
};

struct held {
    uint64_t due_us, number; /* the number keeps the order of those that are due together */
    enum way way;
    uint32_t bytes;
    uint8_t data[PACKET_MAX];
};

static struct {
    int ns, tun; /* of the end that this way comes from */
    struct traits is;
    uint64_t free_us; /* when the line has sent all that waits for it */
    uint64_t packets, bytes, lost;
} ways[WAYS];

static struct held *heap[HELD_MAX]; /* the one due first on top */
static size_t held;
static uint64_t numbers, lot;

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

/* xorshift64*: the same seed gives the same weather. */
static uint64_t draw(uint64_t below)
{
    lot ^= lot >> 12;
    lot ^= lot << 25;
    lot ^= lot >> 27;
    return below == 0 ? 0 : (lot * UINT64_C(2685821657736338717) >> 16) % below;
}

static void die(const char *what)
{
    fprintf(stderr, "link: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- what is under way ---- */

static bool before(const struct held *a, const struct held *b)
{
    return a->due_us != b->due_us ? a->due_us < b->due_us : a->number < b->number;
}

static void swap(size_t i, size_t j)
{
    struct held *h = heap[i];

    heap[i] = heap[j];
    heap[j] = h;
}

static void push(struct held *h)
{
    size_t i = held++;

    heap[i] = h;
    while (i > 0 && before(heap[i], heap[(i - 1) / 2])) {
        swap(i, (i - 1) / 2);
        i = (i - 1) / 2;
    }
}

static struct held *pop(void)
{
    struct held *top = heap[0];
    size_t i = 0;

    heap[0] = heap[--held];
    for (;;) {
        size_t first = 2 * i + 1;
        if (first + 1 < held && before(heap[first + 1], heap[first]))
            first++;
        if (first >= held || !before(heap[first], heap[i]))
            return top;
        swap(i, first);
        i = first;
    }
}

/* ---- the answer of a host that knows nothing of the connection ---- */

static uint32_t sum16(const uint8_t *p, size_t n, uint32_t sum)
{
    for (; n > 1; p += 2, n -= 2)
        sum += (uint32_t)(p[0] << 8 | p[1]);
    return n == 1 ? sum + (uint32_t)(p[0] << 8) : sum;
}

static uint16_t fold(uint32_t sum)
{
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return htons((uint16_t)~sum);
}

/* RFC 9293, 3.10.7.1. */
static void answer_reset(enum way way, const uint8_t *p, size_t n)
{
    struct {
        struct iphdr ip;
        struct tcphdr tcp;
    } out = {0};
    struct iphdr ip;
    struct tcphdr tcp;

    if (n < sizeof ip)
        return;
    memcpy(&ip, p, sizeof ip);
    size_t head = ip.ihl * 4u;
    if (ip.version != 4 || ip.protocol != IPPROTO_TCP || n < head + sizeof tcp)
        return;
    memcpy(&tcp, p + head, sizeof tcp);
    if (tcp.rst)
        return;
    uint32_t length = (uint32_t)(n - head - tcp.doff * 4u) + tcp.syn + tcp.fin;
    out.ip = (struct iphdr){.version = 4,
                            .ihl = 5,
                            .tot_len = htons(sizeof out),
                            .ttl = 64,
                            .protocol = IPPROTO_TCP,
                            .saddr = ip.daddr,
                            .daddr = ip.saddr};
    out.ip.check = fold(sum16((const uint8_t *)&out.ip, sizeof out.ip, 0));
    out.tcp.source = tcp.dest;
    out.tcp.dest = tcp.source;
    out.tcp.doff = 5;
    out.tcp.rst = 1;
    if (tcp.ack) {
        out.tcp.seq = tcp.ack_seq;
    } else {
        out.tcp.ack = 1;
        out.tcp.ack_seq = htonl(ntohl(tcp.seq) + length);
    }
    uint32_t sum = sum16((const uint8_t *)&out.ip.saddr, 8, IPPROTO_TCP + sizeof out.tcp);
    out.tcp.check = fold(sum16((const uint8_t *)&out.tcp, sizeof out.tcp, sum));
    if (write(ways[way].tun, &out, sizeof out) < 0)
        ways[way].lost++;
}

/* ---- packets in and out ---- */

static void take(enum way way, const uint8_t *p, size_t n)
{
    struct traits *is = &ways[way].is;
    uint64_t now = now_us();

    if (is->state == RESET)
        answer_reset(way, p, n);
    if (is->state != PASS || (is->mtu != 0 && n > is->mtu) || draw(1000000) < is->loss_ppm ||
        held == HELD_MAX || (is->rate != 0 && ways[way].free_us > now + 500000)) {
        ways[way].lost++;
        return;
    }
    struct held *h = malloc(sizeof *h);
    if (h == NULL)
        die("malloc");
    h->way = way;
    h->number = numbers++;
    h->bytes = (uint32_t)n;
    memcpy(h->data, p, n);
    h->due_us = now;
    if (is->rate != 0) {
        if (ways[way].free_us < now)
            ways[way].free_us = now;
        ways[way].free_us += n * 1000000u / is->rate;
        h->due_us = ways[way].free_us;
    }
    h->due_us += is->delay_us + draw(is->jitter_us + 1);
    if (draw(1000000) < is->late_ppm)
        h->due_us += is->late_us;
    push(h);
}

/* Not for ever: what is due and the next command have their turn. */
static void take_some(enum way way)
{
    uint8_t data[PACKET_MAX];

    for (int i = 0; i < BURST; i++) {
        ssize_t n = read(ways[way].tun, data, sizeof data);
        if (n <= 0)
            return;
        take(way, data, (size_t)n);
    }
}

static void deliver(void)
{
    while (held > 0 && heap[0]->due_us <= now_us()) {
        struct held *h = pop();
        enum way way = h->way;
        if (ways[way].is.state != PASS ||
            write(ways[way == AB ? BA : AB].tun, h->data, h->bytes) < 0) {
            ways[way].lost++;
        } else {
            ways[way].packets++;
            ways[way].bytes += h->bytes;
        }
        free(h);
    }
}

/* ---- commands ---- */

static bool set_one(struct traits *t, const char *word)
{
    static const char *const names[] = {"delay_us", "jitter_us", "loss_ppm", "late_ppm",
                                        "late_us",  "rate",      "mtu",      "state"};
    static const char *const states[] = {"pass", "drop", "reset"};
    uint64_t *const fields[] = {&t->delay_us, &t->jitter_us, &t->loss_ppm, &t->late_ppm,
                                &t->late_us,  &t->rate,      &t->mtu,      &t->state};
    const char *value = strchr(word, '=');

    if (value == NULL)
        return false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strncmp(names[i], word, (size_t)(value - word)) != 0 || names[i][value - word] != '\0')
            continue;
        if (fields[i] == &t->state) {
            for (uint64_t st = PASS; st <= RESET; st++)
                if (strcmp(states[st], value + 1) == 0) {
                    t->state = st;
                    return true;
                }
            return false;
        }
        char *end;
        *fields[i] = strtoull(value + 1, &end, 10);
        return end != value + 1 && *end == '\0';
    }
    return false;
}

static void obey(char *line)
{
    char *save = NULL;
    const char *verb = strtok_r(line, " ", &save), *which = strtok_r(NULL, " ", &save);
    bool on[WAYS] = {which != NULL && strcmp(which, "ba") != 0,
                     which != NULL && strcmp(which, "ab") != 0};

    if (which == NULL || (on[AB] && on[BA] && strcmp(which, "both") != 0)) {
        printf("no such way\n");
    } else if (strcmp(verb, "set") == 0) {
        struct traits now[WAYS] = {ways[AB].is, ways[BA].is};
        bool good = true;
        for (char *word; (word = strtok_r(NULL, " ", &save)) != NULL;)
            for (int w = AB; w < WAYS; w++)
                good = good && (!on[w] || set_one(&now[w], word));
        for (int w = AB; good && w < WAYS; w++)
            ways[w].is = now[w];
        printf(good ? "ok\n" : "no such setting\n");
    } else if (strcmp(verb, "count") == 0) {
        uint64_t packets = 0, bytes = 0, lost = 0;
        for (int w = AB; w < WAYS; w++)
            if (on[w]) {
                packets += ways[w].packets;
                bytes += ways[w].bytes;
                lost += ways[w].lost;
            }
        printf("ok %ju %ju %ju\n", (uintmax_t)packets, (uintmax_t)bytes, (uintmax_t)lost);
    } else {
        printf("no such command\n");
    }
    fflush(stdout);
}

/* Returns whether there may be more to come. */
static bool commands(void)
{
    static char line[512];
    static size_t have;
    ssize_t n = read(STDIN_FILENO, line + have, sizeof line - 1 - have);

    if (n <= 0)
        return n < 0 && (errno == EAGAIN || errno == EINTR);
    have += (size_t)n;
    for (char *end; (end = memchr(line, '\n', have)) != NULL;) {
        *end = '\0';
        if (end > line)
            obey(line);
        have -= (size_t)(end + 1 - line);
        memmove(line, end + 1, have);
    }
    return have < sizeof line - 1;
}

/* ---- the hosts ---- */

static void set_address(int sock, const char *name, unsigned long what, const char *address)
{
    struct ifreq r = {0};
    struct sockaddr_in in = {.sin_family = AF_INET};

    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
    if (inet_pton(AF_INET, address, &in.sin_addr) != 1) {
        errno = EINVAL;
        die(address);
    }
    memcpy(&r.ifr_addr, &in, sizeof in);
    if (ioctl(sock, what, &r) != 0)
        die(name);
}

static void set_up(int sock, const char *name)
{
    struct ifreq r = {0};

    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
    r.ifr_flags = IFF_UP | IFF_RUNNING;
    if (ioctl(sock, SIOCSIFFLAGS, &r) != 0)
        die(name);
}

/* A TUN device belongs to the namespace in which /dev/net/tun was opened. */
static void make_host(enum way way, const char *own, const char *other)
{
    struct ifreq r = {.ifr_name = "link0", .ifr_flags = IFF_TUN | IFF_NO_PI};

    if (unshare(CLONE_NEWNET) != 0)
        die("a network namespace");
    ways[way].ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    ways[way].tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (ways[way].ns < 0 || ways[way].tun < 0 || ioctl(ways[way].tun, TUNSETIFF, &r) != 0)
        die("/dev/net/tun");
    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sock < 0)
        die("socket");
    set_up(sock, "lo");
    set_address(sock, "link0", SIOCSIFADDR, own);
    set_address(sock, "link0", SIOCSIFDSTADDR, other);
    r.ifr_qlen = 1000;
    if (ioctl(sock, SIOCSIFTXQLEN, &r) != 0)
        die("link0");
    set_up(sock, "link0");
    close(sock);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "link ADDRESS-A ADDRESS-B [SEED]\n");
        return 2;
    }
    lot = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    if (lot == 0)
        lot = 1;
    signal(SIGINT, SIG_IGN); /* ^C is for the tests, which then close our standard input */
    make_host(AB, argv[1], argv[2]);
    make_host(BA, argv[2], argv[1]);
    fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
    prctl(PR_SET_TIMERSLACK, 1);
    /* Ahead of the programs whose packets it carries; if not allowed, as good as it gets. */
    (void)sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 3});
    printf("ready %d %d\n", ways[AB].ns, ways[BA].ns);
    fflush(stdout);

    struct pollfd fds[] = {
        {STDIN_FILENO, POLLIN, 0}, {ways[AB].tun, POLLIN, 0}, {ways[BA].tun, POLLIN, 0}};
    for (;;) {
        struct timespec wait = {0};
        uint64_t now = now_us();
        if (held > 0 && heap[0]->due_us > now) {
            uint64_t us = heap[0]->due_us - now;
            wait = (struct timespec){(time_t)(us / 1000000), (long)(us % 1000000 * 1000)};
        }
        if (ppoll(fds, 3, held > 0 ? &wait : NULL, NULL) < 0 && errno != EINTR)
            die("poll");
        if (fds[0].revents != 0 && !commands())
            break;
        if (fds[1].revents != 0)
            take_some(AB);
        if (fds[2].revents != 0)
            take_some(BA);
        deliver();
    }
    while (held > 0)
        free(pop());
    return 0;
}
