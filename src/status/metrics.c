/* status/metrics.c - /metrics: see inside.h.
 *
 * Labels have few values, whatever is connected: phases, reasons, directions, and names that the
 * configuration gives (tokens).  Never a device, a session or an address.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/chains.h"
#include "control/crls.h"
#include "control/show.h"
#include "control/token_watch.h"
#include "status/inside.h"
#include "tls/ctx.h"

#define DAY_S INT64_C(86400)

/* -- the format -- */

static void family(struct buf *b, const char *name, const char *type, const char *help)
{
    buf_printf(b, "# HELP certflip_%s %s\n# TYPE certflip_%s %s\n", name, help, name, type);
}

static void sample(struct buf *b, const char *name, uint64_t value)
{
    buf_printf(b, "certflip_%s %" PRIu64 "\n", name, value);
}

/* `value` is one of ours, or of the configuration: quoted all the same. */
static void labelled(struct buf *b, const char *name, const char *label, const char *is,
                     uint64_t value)
{
    buf_printf(b, "certflip_%s{%s=\"", name, label);
    for (; *is != '\0'; is++) {
        if (*is == '"' || *is == '\\')
            buf_append_u8(b, '\\');
        buf_append_u8(b, *is == '\n' ? ' ' : (uint8_t)*is);
    }
    buf_printf(b, "\"} %" PRIu64 "\n", value);
}

static void one(struct buf *b, const char *name, const char *type, uint64_t value, const char *help)
{
    family(b, name, type, help);
    sample(b, name, value);
}

static void seconds(struct buf *b, const char *name, const char *type, double value,
                    const char *help)
{
    family(b, name, type, help);
    buf_printf(b, "certflip_%s %.6f\n", name, value);
}

/* `labels`: of each line, "loop=\"main\"", or "". */
static void histogram(struct buf *b, const char *name, const char *labels,
                      const struct histogram *h)
{
    const char *comma = *labels == '\0' ? "" : ",";
    uint64_t n = 0;

    for (unsigned i = 0; i < HISTOGRAM_BOUNDS; i++) {
        n += h->count[i];
        buf_printf(b, "certflip_%s_bucket{%s%sle=\"%g\"} %" PRIu64 "\n", name, labels, comma,
                   (double)histogram_bounds_us[i] / 1e6, n);
    }
    n += h->count[HISTOGRAM_BOUNDS];
    buf_printf(b, "certflip_%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, labels, comma, n);
    if (*labels == '\0')
        buf_printf(b, "certflip_%s_sum %.6f\ncertflip_%s_count %" PRIu64 "\n", name,
                   (double)h->sum_us / 1e6, name, n);
    else
        buf_printf(b, "certflip_%s_sum{%s} %.6f\ncertflip_%s_count{%s} %" PRIu64 "\n", name, labels,
                   (double)h->sum_us / 1e6, name, labels, n);
}

static uint64_t number(const json_t *object, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(object, key));

    return n < 0 ? 0 : (uint64_t)n;
}

/* Wall clock of an ISO-TIME; 0: null, or none. */
static int64_t time_of(const json_t *text)
{
    const char *s = json_string_value(text);
    struct tm tm = {0};

    return s == NULL || strptime(s, "%Y-%m-%dT%H:%M:%SZ", &tm) == NULL ? 0 : (int64_t)timegm(&tm);
}

/* -- the process -- */

static double cpu_s(void)
{
    struct rusage use;

    if (getrusage(RUSAGE_SELF, &use) != 0)
        return 0;
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static uint64_t resident_bytes(void)
{
    unsigned long long all = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (f == NULL)
        return 0;
    if (fscanf(f, "%llu %llu", &all, &resident) != 2) /* NOLINT(cert-err34-c): the kernel's */
        resident = 0;
    fclose(f);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void process(const struct status_view *v, struct buf *b)
{
    struct rlimit files = {0};

    family(b, "build_info", "gauge", "Which version this is, and with which library of TLS.");
    buf_printf(b, "certflip_build_info{version=\"%s\",tls_library=\"%s\"} 1\n", PACKAGE_VERSION,
               tls_library());
    one(b, "start_time_seconds", "gauge", (uint64_t)v->dispatch->started_s,
        "When it was started, seconds since 1970.");
    seconds(b, "cpu_seconds_total", "counter", cpu_s(), "CPU time of all its threads.");
    one(b, "resident_memory_bytes", "gauge", resident_bytes(), "Memory that it has in use.");
    (void)getrlimit(RLIMIT_NOFILE, &files);
    one(b, "open_files_limit", "gauge", (uint64_t)files.rlim_cur,
        "File descriptors that it may have open; a device takes two.");
}

/* -- loops -- */

static void loops(const struct status_view *v, struct buf *b)
{
    struct hub_tally tally;
    struct hub_worker w;
    char name[16];

    hub_tally(v->hub, &tally);
    one(b, "workers", "gauge", hub_workers(v->hub), "Threads that carry connections.");
    family(b, "worker_silent_seconds", "gauge",
           "How long ago a worker has answered; it is asked every second.");
    for (unsigned i = 0; i < hub_workers(v->hub); i++) {
        hub_worker(v->hub, i, &w);
        if (w.age_ms >= 0)
            buf_printf(b, "certflip_worker_silent_seconds{worker=\"%u\"} %.3f\n", i,
                       (double)w.age_ms / 1e3);
    }
    family(b, "worker_sessions", "gauge", "Sensors that are connected, by worker.");
    for (unsigned i = 0; i < hub_workers(v->hub); i++) {
        hub_worker(v->hub, i, &w);
        snprintf(name, sizeof(name), "%u", i);
        labelled(b, "worker_sessions", "worker", name, w.sessions);
    }
    family(b, "loop_delay_seconds", "histogram",
           "How late an event loop comes to what is due: a timer of the main thread, an answer of "
           "the workers.");
    histogram(b, "loop_delay_seconds", "loop=\"main\"", &v->delays);
    histogram(b, "loop_delay_seconds", "loop=\"workers\"", &tally.answers);
}

/* -- devices -- */

/* Whether the certificate that is in use ends in less than so many days. */
static const struct {
    const char *within;
    int64_t days;
} horizons[] = {{"0d", 0}, {"1d", 1}, {"7d", 7}, {"30d", 30}, {"90d", 90}};

#define HORIZONS (sizeof(horizons) / sizeof(horizons[0]))

struct expiry {
    uint64_t within[HORIZONS];
    uint64_t errors, warnings; /* devices with findings about the identity in use */
    int64_t soonest_s;         /* 0: there is none */
};

static void look_at(const struct hub *h, const struct hub_device *d, int64_t now_s,
                    struct expiry *out)
{
    enum flip_slot slot = flip_active_slot(&d->flip);
    struct hub_lint found = hub_lint_now(h, d, slot);
    int64_t end_s;

    out->errors += found.errors != 0;
    out->warnings += found.errors == 0 && found.warnings != 0;
    if (d->cred[slot] == NULL)
        return;
    end_s = cred_leaf(d->cred[slot])->not_after_s;
    for (size_t i = 0; i < HORIZONS; i++)
        out->within[i] += end_s < now_s + horizons[i].days * DAY_S;
    if (out->soonest_s == 0 || end_s < out->soonest_s)
        out->soonest_s = end_s;
}

static void expiries(const struct status_view *v, struct buf *b)
{
    struct expiry e = {0};
    size_t n;
    struct hub_device *const *all = hub_devices(v->hub, &n);

    for (size_t i = 0; i < n; i++)
        look_at(v->hub, all[i], clock_date_s(), &e);
    family(b, "devices_expiring", "gauge",
           "Devices whose certificate in use ends within that time; 0d: it has ended.");
    for (size_t i = 0; i < HORIZONS; i++)
        labelled(b, "devices_expiring", "within", horizons[i].within, e.within[i]);
    family(b, "soonest_expiry_timestamp_seconds", "gauge",
           "When the first certificate in use ends, seconds since 1970.");
    if (e.soonest_s != 0)
        buf_printf(b, "certflip_soonest_expiry_timestamp_seconds %" PRId64 "\n", e.soonest_s);
    family(b, "devices_with_findings", "gauge",
           "Devices whose identity in use has a finding of lint, by the gravest.");
    labelled(b, "devices_with_findings", "severity", "error", e.errors);
    labelled(b, "devices_with_findings", "severity", "warning", e.warnings);
}

static void devices(const struct status_view *v, struct buf *b)
{
    struct hub_counts c;

    hub_count(v->hub, &c);
    family(b, "devices", "gauge", "Devices that are known, by the phase of their flip.");
    for (int p = 0; p < FLIP_PHASES; p++)
        labelled(b, "devices", "phase", flip_phase_name((enum flip_phase)p), c.phase[p]);
    one(b, "devices_online", "gauge", c.online, "Devices with a sensor that is connected.");
    one(b, "devices_faulty", "gauge", c.faulty, "Devices with an identity that cannot be used.");
    one(b, "devices_stuck", "gauge", c.stuck,
        "Devices that cannot connect, as their active identity cannot be used.");
    expiries(v, b);
}

/* -- flips -- */

static uint64_t entered(const struct hub_tally *t, enum flip_phase to, enum flip_phase but)
{
    uint64_t n = 0;

    for (int from = 0; from < FLIP_PHASES; from++)
        n += from == (int)but ? 0 : t->transitions[from][to];
    return n;
}

static void flips(const struct status_view *v, struct buf *b)
{
    struct hub_tally t;
    struct hub_pace p;

    hub_tally(v->hub, &t);
    hub_pace(v->hub, &p);
    one(b, "flips_begun_total", "counter", entered(&t, FLIP_TRIAL, FLIP_TRIAL),
        "Trials of new identities that began.");
    family(b, "flips_total", "counter", "Trials of new identities that ended, by how.");
    labelled(b, "flips_total", "outcome", "committed", t.transitions[FLIP_TRIAL][FLIP_COMMITTED]);
    labelled(b, "flips_total", "outcome", "rolled-back",
             t.transitions[FLIP_TRIAL][FLIP_ROLLED_BACK]);
    labelled(b, "flips_total", "outcome", "late", t.transitions[FLIP_TRIAL][FLIP_STAGED]);
    family(b, "rollbacks_total", "counter",
           "Ways back to the old identity, in a trial or after it, by what brought them about.");
    for (int ev = EV_NONE + 1; ev < FLIP_EVENTS; ev++)
        if (t.rollbacks[ev] != 0)
            labelled(b, "rollbacks_total", "cause", flip_event_name((enum flip_event)ev),
                     t.rollbacks[ev]);
    one(b, "retired_total", "counter", t.transitions[FLIP_COMMITTED][FLIP_STEADY],
        "Old identities that were archived after a flip.");
    one(b, "queue_devices", "gauge", p.waiting, "Devices that wait for their turn to move.");
    one(b, "moving_devices", "gauge", p.moving, "Devices that move to another identity now.");
    one(b, "moves_window", "gauge", p.window, "So many may move at once at the moment.");
    one(b, "moves_paused", "gauge", p.paused, "1: moves wait for the end of an outage.");
}

/* -- traffic: what the workers count -- */

static void refusals(const struct status_view *v, struct buf *b)
{
    size_t n;
    const struct hub_refused *r = hub_refused(v->hub, &n);

    family(b, "connections_refused_total", "counter",
           "Connections of sensors that were refused, by reason.");
    for (size_t i = 0; i < n; i++)
        labelled(b, "connections_refused_total", "reason", r[i].code, r[i].count);
}

static void connections(const struct status_view *v, const struct worker_stats *s, struct buf *b)
{
    one(b, "sessions", "gauge", s->sessions, "Sensors that are connected.");
    one(b, "upstream_connections", "gauge", s->legs_up, "Connections that brokers have accepted.");
    one(b, "connections_accepted_total", "counter", s->accepted,
        "Connections of sensors that were accepted.");
    refusals(v, b);
    one(b, "connections_by_exception_total", "counter", s->exceptions,
        "Connections of sensors that were accepted by an exception.");
    family(b, "connections_ended_total", "counter", "Connections of sensors that ended, by whom.");
    labelled(b, "connections_ended_total", "by", "sensor", s->downstream_closed_by_peer);
    labelled(b, "connections_ended_total", "by", "gateway", s->downstream_closed_by_us);
    family(b, "sessions_cut_total", "counter",
           "Sessions that were ended because the sensor's certificate is believed no longer.");
    labelled(b, "sessions_cut_total", "reason", "revoked", s->cut_revoked);
    labelled(b, "sessions_cut_total", "reason", "distrusted", s->cut_distrusted);
    family(b, "handshake_seconds", "histogram",
           "TLS handshakes that went well, with sensors and with brokers.");
    histogram(b, "handshake_seconds", "with=\"sensor\"", &s->device_handshakes);
    histogram(b, "handshake_seconds", "with=\"broker\"", &s->broker_handshakes);
    family(b, "revocation_unchecked_total", "counter",
           "Handshakes that went well without a fresh word about revocation.");
    buf_printf(b,
               "certflip_revocation_unchecked_total{source=\"crl\",why=\"missing\"} %" PRIu64 "\n"
               "certflip_revocation_unchecked_total{source=\"crl\",why=\"stale\"} %" PRIu64 "\n"
               "certflip_revocation_unchecked_total{source=\"ocsp\",why=\"missing\"} %" PRIu64 "\n"
               "certflip_revocation_unchecked_total{source=\"ocsp\",why=\"stale\"} %" PRIu64 "\n"
               "certflip_revocation_unchecked_total{source=\"ocsp\",why=\"invalid\"} %" PRIu64 "\n",
               s->crl_missing, s->crl_stale, s->ocsp_missing, s->ocsp_stale, s->ocsp_invalid);
}

static void both_ways(struct buf *b, const char *name, uint64_t from, uint64_t to, const char *help)
{
    family(b, name, "counter", help);
    labelled(b, name, "direction", "from-sensor", from);
    labelled(b, name, "direction", "to-sensor", to);
}

static void packets(const struct worker_stats *s, struct buf *b)
{
    both_ways(b, "mqtt_packets_total", s->packets_in, s->packets_out,
              "MQTT packets on the side of the sensors.");
    both_ways(b, "mqtt_bytes_total", s->bytes_in, s->bytes_out,
              "Bytes of MQTT, without TLS, on the side of the sensors.");
    both_ways(b, "messages_total", s->publishes_up, s->publishes_down,
              "Messages (PUBLISH) that were passed on.");
    one(b, "messages_denied_total", "counter", s->publishes_denied,
        "Messages that a broker refused with a reason code of MQTT 5.0.");
    one(b, "messages_lowered_total", "counter", s->publishes_lowered,
        "Messages sent with less QoS, or without RETAIN, as their broker allows no more.");
    one(b, "messages_shed_total", "counter", s->publishes_shed,
        "Messages of QoS 0 that were dropped as the uplink was away and the queue full.");
    one(b, "packets_inexpressible_total", "counter", s->packets_inexpressible,
        "Packets that cannot be said in the protocol of their upstream.");
}

static void rehomes(const struct worker_stats *s, struct buf *b)
{
    family(b, "rehomes_total", "counter",
           "Moves of connected sensors to another upstream connection, by outcome.");
    labelled(b, "rehomes_total", "outcome", "done", s->rehomes);
    labelled(b, "rehomes_total", "outcome", "failed", s->rehomes_failed);
    family(b, "hold_seconds", "histogram", "How long the traffic of a sensor was held by a move.");
    histogram(b, "hold_seconds", "", &s->holds);
    one(b, "messages_replayed_total", "counter", s->replayed,
        "Messages that were sent again by a move.");
    one(b, "messages_lost_total", "counter", s->rehome_lost,
        "Messages that a move could not save.");
    one(b, "subscriptions_restored_total", "counter", s->restored_subscriptions,
        "Subscriptions made again as the broker had lost the session.");
    one(b, "subscriptions_not_restored_total", "counter", s->restore_refused,
        "Of these, not granted again.");
    one(b, "retained_suppressed_total", "counter", s->retained_suppressed,
        "Retained messages that came because of these, and that the sensor had had.");
    one(b, "ways_back_total", "counter", s->ways_back,
        "Moves that failed after DISCONNECT, and were saved by the spare connection.");
    one(b, "moves_without_spare_total", "counter", s->spareless,
        "Moves that left a connection without a spare.");
    one(b, "taken_over_total", "counter", s->taken_over,
        "Upstream connections that another client took over, as far as one can know.");
    one(b, "echoes_total", "counter", s->echoes, "Echoes of identities on trial that came back.");
    one(b, "evidence_refused_total", "counter", s->evidence_refused,
        "Answers that an identity on trial should not have got.");
}

/* -- trust -- */

static void trust_set(struct buf *b, const char *set, const json_t *sum)
{
    static const struct {
        const char *state, *key;
    } states[] = {{"in-force", "anchors"},
                  {"expired", "expired"},
                  {"removed", "removed"},
                  {"unusable", "unusable"}};

    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
        buf_printf(b, "certflip_anchors{set=\"%s\",state=\"%s\"} %" PRIu64 "\n", set,
                   states[i].state, number(sum, states[i].key));
}

static void trust(const struct status_view *v, struct buf *b)
{
    static const char *const sets[] = {"downstream", "upstream"};
    json_t *all = show_trust(v->hub);

    family(b, "anchors", "gauge", "CAs that sensors and brokers are believed by.");
    for (size_t i = 0; i < 2; i++)
        trust_set(b, sets[i], json_object_get(all, sets[i]));
    family(b, "anchor_soonest_expiry_timestamp_seconds", "gauge",
           "When the first of them ends, seconds since 1970.");
    for (size_t i = 0; i < 2; i++) {
        int64_t end_s = time_of(json_object_get(
            json_object_get(json_object_get(all, sets[i]), "soonest"), "not_after"));

        if (end_s > 0)
            labelled(b, "anchor_soonest_expiry_timestamp_seconds", "set", sets[i], (uint64_t)end_s);
    }
    json_decref(all);
}

struct ends {
    struct buf *b;
    const char *listener; /* of the latest row */
    int64_t end_s;
};

static void put_end(const struct ends *e)
{
    if (e->listener != NULL && e->end_s > 0)
        labelled(e->b, "listener_certificate_expiry_timestamp_seconds", "listener", e->listener,
                 (uint64_t)e->end_s);
}

/* The chains of one listener come one after the other. */
static void take_end(void *arg, const struct chains_one *c)
{
    struct ends *e = arg;

    if (c->listener != e->listener) {
        put_end(e);
        e->listener = c->listener;
        e->end_s = c->ci->not_after_s;
    } else if (c->ci->not_after_s < e->end_s) {
        e->end_s = c->ci->not_after_s;
    }
}

static void chains(const struct status_view *v, struct buf *b)
{
    struct ends e = {.b = b};

    family(
        b, "listener_certificate_expiry_timestamp_seconds", "gauge",
        "When sensors begin to refuse the gateway, as the first certificate that a listener shows "
        "ends, seconds since 1970.");
    chains_each(hub_snapshot(v->hub), clock_date_s(), take_end, &e);
    put_end(&e);
}

static void crls(const struct status_view *v, struct buf *b)
{
    json_t *sum = crls_summary(v->hub);
    int64_t next_s = time_of(json_object_get(sum, "next_update"));

    one(b, "crls", "gauge", number(sum, "lists"), "Lists of revoked certificates in force.");
    one(b, "crls_stale", "gauge", number(sum, "stale"), "Of these, past their next update.");
    one(b, "crls_due", "gauge", number(sum, "due"), "Of these, near their next update.");
    one(b, "crls_missing", "gauge", json_array_size(json_object_get(sum, "missing")),
        "Anchors nobody of whom is believed, as crl_policy is strict and there is no list.");
    family(b, "crl_soonest_update_timestamp_seconds", "gauge",
           "When the first list is to be renewed, seconds since 1970.");
    if (next_s > 0)
        sample(b, "crl_soonest_update_timestamp_seconds", (uint64_t)next_s);
    json_decref(sum);
}

static void exceptions(const struct status_view *v, struct buf *b)
{
    json_t *all = show_exceptions(v->hub), *e;
    uint64_t in_force = 0, sessions = 0;
    size_t i;

    json_array_foreach(all, i, e)
    {
        in_force += json_is_true(json_object_get(e, "in_force"));
        sessions += number(e, "sessions");
    }
    one(b, "exceptions", "gauge", in_force, "Exceptions for old certificates that are in force.");
    one(b, "exceptions_over", "gauge", json_array_size(all) - in_force,
        "Exceptions that are over, and stand in the configuration still.");
    one(b, "exception_sessions", "gauge", sessions, "Sessions that need one.");
    json_decref(all);
}

static void tokens(struct buf *b)
{
    json_t *all = token_watch_show(), *t;
    size_t i;

    family(b, "token_ready", "gauge", "1: the PKCS#11 token can be used.");
    json_array_foreach(all, i, t)
    {
        labelled(b, "token_ready", "token", json_string_value(json_object_get(t, "name")),
                 strcmp(json_string_value(json_object_get(t, "state")), "ready") == 0);
    }
    family(b, "token_operations_total", "counter", "What a token was asked to do.");
    json_array_foreach(all, i, t)
    {
        labelled(b, "token_operations_total", "token",
                 json_string_value(json_object_get(t, "name")), number(t, "operations"));
    }
    family(b, "token_failures_total", "counter", "What of that a token did not do.");
    json_array_foreach(all, i, t)
    {
        labelled(b, "token_failures_total", "token", json_string_value(json_object_get(t, "name")),
                 number(t, "failures"));
    }
    json_decref(all);
}

/* -- the gateway -- */

static void clock_of(const struct status_view *v, struct buf *b)
{
    struct flip_clock c;

    hub_clock(v->hub, &c);
    family(b, "clock_synchronised", "gauge",
           "1: the kernel says that the clock is; nothing where it does not say.");
    if (c.known)
        sample(b, "clock_synchronised", c.synchronised);
    family(b, "clock_max_error_seconds", "gauge", "By which the clock may be wrong.");
    if (c.known && c.synchronised)
        buf_printf(b, "certflip_clock_max_error_seconds %.6f\n", (double)c.max_error_us / 1e6);
    one(b, "clock_allows_flips", "gauge",
        !flip_clock_refuses(flip_clock_judge(&c), hub_conf(v->hub)->clock_require_sync),
        "0: flips are refused unless forced, for the clock.");
}

static void centre(const struct status_view *v, struct buf *b)
{
    const struct dispatch *d = v->dispatch;
    json_t *c = d->central_status == NULL ? NULL : d->central_status(d->arg), *refused, *n;
    const char *why;

    one(b, "central_enabled", "gauge", json_is_true(json_object_get(c, "enabled")),
        "1: there is a command channel to the centre.");
    one(b, "central_connected", "gauge", json_is_true(json_object_get(c, "connected")),
        "1: it is connected.");
    one(b, "signed_commands_total", "counter", number(json_object_get(c, "signed"), "good"),
        "Signed commands that were taken.");
    family(b, "signed_commands_refused_total", "counter",
           "Signed commands that were refused, by reason.");
    refused = json_object_get(json_object_get(c, "signed"), "refused");
    json_object_foreach(refused, why, n)
    {
        labelled(b, "signed_commands_refused_total", "reason", why,
                 (uint64_t)json_integer_value(n));
    }
    json_decref(c);
}

static void gateway(const struct status_view *v, struct buf *b)
{
    static const char *const classes[] = {NULL, "1xx", "2xx", "3xx", "4xx", "5xx"};
    int64_t when_s;

    one(b, "state_writable", "gauge", hub_save_fault(v->hub, &when_s) == NULL,
        "0: the state could not be written at the latest attempt; nothing changes its phase.");
    clock_of(v, b);
    centre(v, b);
    family(b, "http_requests_total", "counter", "Answers over HTTP, by the class of their code.");
    for (unsigned i = 2; i < 6; i++)
        labelled(b, "http_requests_total", "code", classes[i], v->http.answers[i]);
    one(b, "http_connections", "gauge", v->http.connections, "Connections over HTTP.");
}

int status_metrics(const struct status_view *v, struct buf *out)
{
    struct worker_stats s;
    int64_t age_ms;

    if (buf_reserve(out, 24576) != 0)
        return -ERR_NOMEM;
    hub_stats(v->hub, &s, &age_ms);
    process(v, out);
    loops(v, out);
    gateway(v, out);
    devices(v, out);
    flips(v, out);
    connections(v, &s, out);
    packets(&s, out);
    rehomes(&s, out);
    trust(v, out);
    chains(v, out);
    crls(v, out);
    exceptions(v, out);
    tokens(out);
    return 0;
}
