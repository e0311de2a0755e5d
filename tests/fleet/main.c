/* tests/fleet/main.c - options, the loop, and what standard input asks for.  See sim.h.
 *
 * Each line of standard input is a command and gets one line of JSON:
 *
 *   stats                        what has come to pass in all of them
 *   refuse SHARE CLASS [GLOB]    the broker refuses the new identity of so many devices (of
 * "GATEWAY/DEVICE"): identity, suspect or network replies lost|twice|late SHARE [MS] drop GLOB,
 * back GLOB         gateways lose their connection without a word, and come back flap SHARE MS so
 * many of the gateways do in each second, for so long lie GLOB                     gateways whose
 * requests for certificates name somebody else's device deaf GLOB                    gateways that
 * do not take commands distrust GLOB                gateways that cannot add an anchor sensors
 * on|off GLOB          of "GATEWAY/DEVICE" broker-anchor FINGERPRINT    by which the devices'
 * broker is believed quit
 *
 * A GLOB of "-" ends it.
 */
#include <errno.h>
#include <getopt.h>
#include <mosquitto.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/rand.h"
#include "base/str.h"
#include "sim.h"
#include "tls/anchor.h"
#include "tls/ctx.h"
#include "tls/jws.h"

#define EVENTS_MAX 256
#define MISC_MS    1000

struct sim sim = {
    .host = "127.0.0.1",
    .port = 1883,
    .root = "certflip/v1",
    .gateway_count = 3,
    .device_count = 10,
    .connect_ms = 20,
    .counts.least_migrated_at_retire = -1,
};

static bool ended;

/* -- small things -- */

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "fleet_sim: %s: %s\n", what, why);
    exit(2);
}

void *sim_alloc(size_t n)
{
    void *p = calloc(1, n);

    if (p == NULL)
        fail("memory", "there is none left");
    return p;
}

char *sim_strdup(const char *s)
{
    size_t n = strlen(s) + 1;

    return memcpy(sim_alloc(n), s, n);
}

double sim_share(const char *what, const char *a, const char *b)
{
    const char *parts[] = {what, "/", a, "/", b};
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < 5; i++)
        for (const char *p = parts[i]; *p != '\0'; p++)
            h = (h ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
    h = (h ^ (h >> 30)) * UINT64_C(0xbf58476d1ce4e5b9); /* names that are alike come far apart */
    h = (h ^ (h >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (double)((h ^ (h >> 31)) >> 11) / 0x1p53;
}

bool sim_chance(double share)
{
    return share > 0 && (double)rand_below(1000000) < share * 1000000;
}

void timer_at(struct timer *t, int64_t boot_ms)
{
    heap_put(&sim.timers, &t->item, boot_ms);
}

void timer_stop(struct timer *t)
{
    heap_del(&sim.timers, &t->item);
}

/* -- faults that come and go -- */

struct absence {
    struct timer timer;
    struct sim_gateway *gateway;
};

static void on_absence(struct timer *t)
{
    struct absence *a = list_entry(t, struct absence, timer);

    gateway_back(a->gateway);
    free(a);
}

static void flap(void)
{
    for (unsigned i = 0; i < sim.gateway_count; i++) {
        struct sim_gateway *g = &sim.gateways[i];
        struct absence *a;

        if (!g->online || !sim_chance(sim.faults.flap))
            continue;
        a = sim_alloc(sizeof(*a));
        a->timer.fire = on_absence;
        a->gateway = g;
        gateway_drop(g, true);
        timer_at(&a->timer, clock_boot_ms() + sim.faults.flap_ms);
    }
}

static void on_misc(struct timer *t)
{
    for (unsigned i = 0; i < sim.gateway_count; i++)
        gateway_misc(&sim.gateways[i]);
    flap();
    timer_at(t, clock_boot_ms() + MISC_MS);
}

/* -- standard input -- */

static void say(json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);

    puts(text);
    fflush(stdout);
    free(text);
    json_decref(value);
}

static json_t *stats(void)
{
    const struct sim_counts *c = &sim.counts;
    json_t *methods = json_object(), *phases = json_object(), *all;
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    for (int m = 0; m < RPC_METHOD_COUNT; m++)
        if (c->methods[m] != 0)
            json_object_set_new(methods, rpc_method_name((enum rpc_method)m),
                                json_integer((json_int_t)c->methods[m]));
    for (int p = 0; p < FLIP_PHASES; p++)
        json_object_set_new(phases, flip_phase_name((enum flip_phase)p),
                            json_integer(c->phases[p]));
    all =
        json_pack("{s:i, s:i, s:i, s:i, s:i, s:o, s:o}", "gateways", (int)sim.gateway_count,
                  "online", (int)c->online, "devices", (int)(sim.gateway_count * sim.device_count),
                  "least_migrated_at_retire", c->least_migrated_at_retire, "rss_kib",
                  (int)use.ru_maxrss, "methods", methods, "phases", phases);
    json_object_set_new(all, "cpu_s",
                        json_real((double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                                  (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6));
#define COUNT(name) json_object_set_new(all, #name, json_integer((json_int_t)c->name));
    COUNT(sent)
    COUNT(sent_bytes)
    COUNT(received)
    COUNT(received_bytes)
    COUNT(connects)
    COUNT(repeated)
    COUNT(reused)
    COUNT(refused_requests)
    COUNT(lost)
    COUNT(twice)
    COUNT(late)
    COUNT(lies)
    COUNT(flips)
    COUNT(commits)
    COUNT(rollbacks)
    COUNT(untrusted_flips)
    COUNT(retires)
    COUNT(migrated)
    COUNT(trials)
    COUNT(most_trials)
    COUNT(most_gateway_trials)
    COUNT(most_flips)
    COUNT(most_keygens)
    COUNT(most_installs)
#undef COUNT
    return all;
}

static void set_glob(char **glob, const char *word)
{
    free(*glob);
    *glob = word == NULL || strcmp(word, "-") == 0 ? NULL : sim_strdup(word);
}

static void move_gateways(const char *glob, bool away)
{
    for (unsigned i = 0; i < sim.gateway_count; i++) {
        if (!str_glob(glob, sim.gateways[i].name))
            continue;
        if (away)
            gateway_drop(&sim.gateways[i], true);
        else
            gateway_back(&sim.gateways[i]);
    }
}

static void set_sensors(bool online, const char *glob)
{
    char both[300];

    for (unsigned i = 0; i < sim.gateway_count; i++)
        for (unsigned k = 0; k < sim.device_count; k++) {
            snprintf(both, sizeof(both), "%s/%s", sim.gateways[i].name,
                     sim.gateways[i].devices[k].name);
            if (str_glob(glob, both))
                device_sensor(&sim.gateways[i].devices[k], online);
        }
}

static bool set_replies(char *const *w, int n)
{
    struct sim_faults *f = &sim.faults;

    if (n < 3)
        return false;
    if (strcmp(w[1], "lost") == 0)
        f->lost = atof(w[2]);
    else if (strcmp(w[1], "twice") == 0)
        f->twice = atof(w[2]);
    else if (strcmp(w[1], "late") == 0)
        f->late = atof(w[2]);
    else
        return false;
    if (n > 3)
        f->late_ms = (unsigned)atoi(w[3]);
    return true;
}

static bool obey(char *const *w, int n)
{
    struct sim_faults *f = &sim.faults;

    if (strcmp(w[0], "refuse") == 0 && n > 1) {
        f->refuse = atof(w[1]);
        snprintf(f->class, sizeof(f->class), "%s", n > 2 ? w[2] : "identity");
        set_glob(&f->refuse_glob, n > 3 ? w[3] : NULL);
    } else if (strcmp(w[0], "replies") == 0) {
        return set_replies(w, n);
    } else if (strcmp(w[0], "drop") == 0 && n == 2) {
        move_gateways(w[1], true);
    } else if (strcmp(w[0], "back") == 0 && n == 2) {
        move_gateways(w[1], false);
    } else if (strcmp(w[0], "flap") == 0 && n == 3) {
        f->flap = atof(w[1]);
        f->flap_ms = (unsigned)atoi(w[2]);
    } else if (strcmp(w[0], "lie") == 0 && n == 2) {
        set_glob(&f->liars, w[1]);
    } else if (strcmp(w[0], "deaf") == 0 && n == 2) {
        set_glob(&f->deaf, w[1]);
    } else if (strcmp(w[0], "distrust") == 0 && n == 2) {
        set_glob(&f->distrust, w[1]);
    } else if (strcmp(w[0], "sensors") == 0 && n == 3) {
        set_sensors(strcmp(w[1], "on") == 0, w[2]);
    } else if (strcmp(w[0], "broker-anchor") == 0 && n == 2) {
        snprintf(sim.broker_anchor, sizeof(sim.broker_anchor), "%s", w[1]);
    } else if (strcmp(w[0], "quit") == 0) {
        ended = true;
    } else {
        return false;
    }
    return true;
}

static void take_line(char *line)
{
    char *words[8], *rest = NULL;
    int n = 0;

    for (char *w = strtok_r(line, " \r", &rest); w != NULL && n < 8;
         w = strtok_r(NULL, " \r", &rest))
        words[n++] = w;
    if (n == 0)
        return;
    if (strcmp(words[0], "stats") == 0)
        say(stats());
    else
        say(json_pack("{s:b}", "ok", (int)obey(words, n)));
}

static void take_input(void)
{
    static char text[4096];
    static size_t have;
    ssize_t n = read(STDIN_FILENO, text + have, sizeof(text) - 1 - have);
    char *end;

    if (n <= 0) { /* whoever started it is gone */
        ended = true;
        return;
    }
    have += (size_t)n;
    text[have] = '\0';
    while ((end = strchr(text, '\n')) != NULL) {
        *end = '\0';
        take_line(text);
        have -= (size_t)(end + 1 - text);
        memmove(text, end + 1, have + 1);
    }
}

/* -- the loop -- */

static void fire_timers(void)
{
    struct heap_item *first;

    while ((first = heap_first(&sim.timers)) != NULL && first->key <= clock_boot_ms()) {
        struct timer *t = list_entry(first, struct timer, item);

        heap_del(&sim.timers, first);
        t->fire(t);
    }
}

static void loop(void)
{
    struct epoll_event events[EVENTS_MAX];
    struct timer misc = {.fire = on_misc};

    timer_at(&misc, clock_boot_ms() + MISC_MS);
    while (!ended) {
        struct heap_item *first = heap_first(&sim.timers);
        int64_t wait_ms = first == NULL ? MISC_MS : first->key - clock_boot_ms();
        int n = epoll_wait(sim.epoll, events, EVENTS_MAX, wait_ms < 0 ? 0 : (int)wait_ms);

        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL)
                take_input();
            else if (((struct sim_gateway *)events[i].data.ptr)->fd >= 0)
                gateway_ready(events[i].data.ptr, events[i].events);
        }
        fire_timers();
    }
    timer_stop(&misc);
}

/* -- options -- */

static char *read_text(const char *path)
{
    FILE *f = fopen(path, "re");
    char *text;
    size_t n;

    if (f == NULL)
        fail(path, strerror(errno));
    text = sim_alloc(65536);
    n = fread(text, 1, 65535, f);
    text[n] = '\0';
    fclose(f);
    return text;
}

static int take_anchor(void *arg, struct tls_anchor *a, struct err *err)
{
    (void)err;
    list_add(&sim.anchors, &anchor_new(*(bool *)arg, a, NULL, NULL)->link);
    tls_anchor_unref(a);
    return 0;
}

/* "upstream=FILE" */
static void add_anchors(const char *word)
{
    const char *path = strchr(word, '=');
    bool upstream = *word == 'u';
    struct err err = {0};

    if (path == NULL || tls_anchors_of_file(path + 1, take_anchor, &upstream, &err) < 0)
        fail(word, path == NULL ? "SET=FILE is wanted" : err.msg);
}

/* "NAME=FILE" */
static void add_operator(char *word)
{
    char *path = strchr(word, '='), *pem;
    struct signed_operator *o = &sim.operators[sim.operator_count++];
    struct err err = {0};

    if (path == NULL || sim.operator_count == 8)
        fail(word, "NAME=FILE is wanted, of seven at most");
    *path++ = '\0';
    pem = read_text(path);
    o->name = word;
    o->roles = 1U << RPC_OBSERVE | 1U << RPC_OPERATE | 1U << RPC_TRUST;
    o->key = jws_key_new(pem, strlen(pem), &err);
    free(pem);
    if (o->key == NULL)
        fail(path, err.msg);
}

static void options(int argc, char **argv)
{
    static const struct option known[] = {{"host", 1, NULL, 'h'},       {"port", 1, NULL, 'p'},
                                          {"root", 1, NULL, 'r'},       {"gateways", 1, NULL, 'g'},
                                          {"devices", 1, NULL, 'd'},    {"first", 1, NULL, 'f'},
                                          {"anchor", 1, NULL, 'a'},     {"operator", 1, NULL, 'o'},
                                          {"connect-ms", 1, NULL, 'c'}, {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (c) {
        case 'h':
            sim.host = optarg;
            break;
        case 'p':
            sim.port = atoi(optarg);
            break;
        case 'r':
            sim.root = optarg;
            break;
        case 'g':
            sim.gateway_count = (unsigned)atoi(optarg);
            break;
        case 'd':
            sim.device_count = (unsigned)atoi(optarg);
            break;
        case 'f':
            sim.first = (unsigned)atoi(optarg);
            break;
        case 'a':
            add_anchors(optarg);
            break;
        case 'o':
            add_operator(optarg);
            break;
        case 'c':
            sim.connect_ms = (unsigned)atoi(optarg);
            break;
        default:
            exit(2);
        }
    }
}

static void prepare(void)
{
    struct epoll_event in = {.events = EPOLLIN};
    struct rlimit files;

    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &files); /* three for each gateway */
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    mosquitto_lib_init();
    list_init(&sim.anchors);
    sim.epoll = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(sim.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &in);
}

int main(int argc, char **argv)
{
    struct err err = {0};

    if (tls_init(&err) != 0)
        fail("tls", err.msg);
    prepare();
    options(argc, argv);
    sim.gateways = sim_alloc(sim.gateway_count * sizeof(*sim.gateways));
    for (unsigned i = 0; i < sim.gateway_count; i++)
        gateway_init(&sim.gateways[i], sim.first + i);
    loop();
    for (unsigned i = 0; i < sim.gateway_count; i++)
        gateway_fini(&sim.gateways[i]);
    free(sim.gateways);
    list_for_each_safe (it, &sim.anchors)
        anchor_free(list_entry(it, struct sim_anchor, link));
    for (size_t i = 0; i < sim.operator_count; i++)
        jws_key_free(sim.operators[i].key);
    free(sim.faults.refuse_glob);
    free(sim.faults.liars);
    free(sim.faults.deaf);
    free(sim.faults.distrust);
    close(sim.epoll);
    mosquitto_lib_cleanup();
    tls_fini();
    return 0;
}
