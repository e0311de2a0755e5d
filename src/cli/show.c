#include "cli/show.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "cli/table.h"

#define SOON_S (INT64_C(30) * 24 * 3600) /* a certificate that ends so soon gets a colour */

/* -- getting at JSON -------------------------------------------------------------------------- */

/* The text of a member, "" when it is none. */
static const char *text(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));

    return s == NULL ? "" : s;
}

static const char *item(const json_t *array, size_t i)
{
    const char *s = json_string_value(json_array_get(array, i));

    return s == NULL ? "" : s;
}

static int64_t number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static bool is_true(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

static const json_t *slot_of(const json_t *device, const char *name)
{
    const json_t *slot = json_object_get(json_object_get(device, "slots"), name);

    return json_is_object(slot) ? slot : NULL;
}

/* -- time ------------------------------------------------------------------------------------- */

int64_t show_parse_time(const char *iso)
{
    struct tm tm = {.tm_isdst = 0};
    const char *end = strptime(iso, "%Y-%m-%dT%H:%M:%SZ", &tm);

    return end == NULL || *end != '\0' ? -1 : (int64_t)timegm(&tm);
}

const char *show_span(int64_t s, char *out, size_t n)
{
    const int64_t minute = 60, hour = 3600, day = 86400;

    if (s < 2 * minute)
        snprintf(out, n, "%" PRId64 " s", s < 0 ? 0 : s);
    else if (s < 2 * hour)
        snprintf(out, n, "%" PRId64 " min", s / minute);
    else if (s < 2 * day)
        snprintf(out, n, "%" PRId64 " h %" PRId64 " min", s / hour, s % hour / minute);
    else if (s < 100 * day)
        snprintf(out, n, "%" PRId64 " d %" PRId64 " h", s / day, s % day / hour);
    else
        snprintf(out, n, "%" PRId64 " d", s / day);
    return out;
}

/* "in 3 d", "5 min ago"; "" for a time that is none. */
static const char *from_now(const struct show *s, const char *iso, char *out, size_t n)
{
    int64_t at = show_parse_time(iso);
    char span[40];

    if (at < 0)
        out[0] = '\0';
    else if (at >= s->now_s)
        snprintf(out, n, "in %s", show_span(at - s->now_s, span, sizeof(span)));
    else
        snprintf(out, n, "%s ago", show_span(s->now_s - at, span, sizeof(span)));
    return out;
}

static enum table_style expiry_style(const struct show *s, const char *iso)
{
    int64_t at = show_parse_time(iso);

    if (at < 0)
        return TABLE_PLAIN;
    if (at <= s->now_s)
        return TABLE_BAD;
    return at - s->now_s < SOON_S ? TABLE_WARN : TABLE_PLAIN;
}

/* -- words ------------------------------------------------------------------------------------ */

static enum table_style phase_style(const char *phase)
{
    if (strcmp(phase, "trial") == 0)
        return TABLE_WARN;
    if (strcmp(phase, "committed") == 0)
        return TABLE_GOOD;
    return strcmp(phase, "rolled-back") == 0 ? TABLE_BAD : TABLE_PLAIN;
}

/* clang-format off */
static const struct waiting {
    const char *word, *text;
    bool until_due;
} waitings[] = {
    { "queue",     "waits for its turn",          false },
    { "device",    "waits for the sensor",        false },
    { "upstream",  "connects upstream",           false },
    { "probation", "in probation",                true },
    { "confirm",   "waits for confirmation",      true },
    { "store",     "what came of it cannot be saved, see certflipctl status", false },
};
/* clang-format on */

/* What a device waits for, "" when for nothing. */
static void waiting_text(const json_t *device, char *out, size_t n)
{
    const char *word = text(device, "waiting");
    const char *due = text(device, "due");

    snprintf(out, n, "%s", word);
    for (size_t i = 0; i < sizeof(waitings) / sizeof(waitings[0]); i++)
        if (strcmp(waitings[i].word, word) == 0)
            snprintf(out, n, "%s%s%s", waitings[i].text,
                     waitings[i].until_due && due[0] != '\0' ? " until " : "",
                     waitings[i].until_due ? due : "");
}

static const char *proof_text(const char *word)
{
    return strcmp(word, "connack") == 0   ? "acceptance by the broker"
           : strcmp(word, "echo") == 0    ? "the echo"
           : strcmp(word, "central") == 0 ? "confirmation"
                                          : word;
}

/* The words of a list of proofs, but for one ("": none). */
static void proofs_text(const json_t *list, const char *but, char *out, size_t n)
{
    size_t at = 0;

    out[0] = '\0';
    for (size_t i = 0; i < json_array_size(list) && at < n; i++)
        if (strcmp(item(list, i), but) != 0)
            at += (size_t)snprintf(out + at, n - at, "%s%s", at > 0 ? ", " : "",
                                   proof_text(item(list, i)));
}

void show_missing(const json_t *device, char *out, size_t n)
{
    const char *waiting = text(device, "waiting");
    const json_t *missing = json_object_get(json_object_get(device, "evidence"), "missing");

    out[0] = '\0';
    if (strcmp(waiting, "probation") == 0)
        proofs_text(missing, "connack", out, n);
    else if (strcmp(waiting, "confirm") == 0)
        proofs_text(missing, "central", out, n);
}

/* "3 min left", of whatever ends next; "" for a device that waits for nothing that ends. */
static void left_text(const json_t *device, int64_t now_s, char *out, size_t n)
{
    int64_t due = show_parse_time(text(device, "due"));
    char span[40];

    if (due < 0)
        due = show_parse_time(text(device, "begin_by"));
    out[0] = '\0';
    if (due >= 0)
        snprintf(out, n, "%s left", show_span(due - now_s, span, sizeof(span)));
}

void show_progress(const json_t *device, int64_t now_s, char *out, size_t n)
{
    const char *word = text(device, "waiting"), *waiting = word;
    char missing[96], left[64];

    for (size_t i = 0; i < sizeof(waitings) / sizeof(waitings[0]); i++)
        if (strcmp(waitings[i].word, word) == 0)
            waiting = waitings[i].text;
    show_missing(device, missing, sizeof(missing));
    left_text(device, now_s, left, sizeof(left));
    snprintf(out, n, "%s%s%s%s%s%s%s", text(device, "phase"), *waiting == '\0' ? "" : ", ", waiting,
             *left == '\0' ? "" : ", ", left, *missing == '\0' ? "" : ", missing: ", missing);
}

void show_phase(const json_t *device, char *out, size_t n)
{
    char waiting[96];

    waiting_text(device, waiting, sizeof(waiting));
    snprintf(out, n, "%s%s%s", text(device, "phase"), waiting[0] != '\0' ? ", " : "", waiting);
}

/* -- two columns: a title, and what there is to say ------------------------------------------- */

static void line(struct table *t, const char *title, enum table_style style, const char *value)
{
    if (value[0] == '\0')
        return;
    table_add(t, TABLE_HEAD, "%s", title);
    table_add(t, style, "%s", value);
}

static void print_and_free(struct table *t, const struct show *s)
{
    table_print(t, s->to, s->colour, s->width);
    table_fini(t);
}

/* Text that is put together piece by piece, with a separator between them. */
struct pieces {
    char text[1024];
    size_t n;
};

static void __attribute__((format(printf, 3, 4)))
piece(struct pieces *p, const char *separator, const char *fmt, ...)
{
    va_list ap;
    int n = 0;

    if (p->n > 0)
        n = snprintf(p->text + p->n, sizeof(p->text) - p->n, "%s", separator);
    p->n += n > 0 ? (size_t)n : 0;
    if (p->n >= sizeof(p->text) - 1)
        return;
    va_start(ap, fmt);
    n = vsnprintf(p->text + p->n, sizeof(p->text) - p->n, fmt, ap);
    va_end(ap);
    p->n += n > 0 ? (size_t)n : 0;
    if (p->n > sizeof(p->text) - 1)
        p->n = sizeof(p->text) - 1;
}

/* -- status ----------------------------------------------------------------------------------- */

/* Older daemons say only how many wait. */
static void status_pace(struct table *t, const json_t *pace, int64_t queued)
{
    struct pieces p = {.n = 0};

    if (queued == 0 && number(pace, "moving") == 0)
        return;
    if (queued > 0)
        piece(&p, ", ", "%" PRId64 " wait for their turn", queued);
    if (number(pace, "moving") > 0)
        piece(&p, ", ", "%" PRId64 " move now", number(pace, "moving"));
    if (json_is_true(json_object_get(pace, "paused")))
        piece(&p, ", ", "paused: no broker can be reached");
    line(t, "", TABLE_WARN, p.text);
}

static void status_devices(struct table *t, const json_t *devices, const json_t *pace)
{
    /* clang-format off */
    static const struct { const char *key, *text; } counts[] = {
        { "steady", "steady" }, { "staged", "staged" }, { "trial", "in trial" },
        { "committed", "committed" }, { "rolled_back", "rolled back" },
    };
    /* clang-format on */
    struct pieces p = {.n = 0};
    char first[80];

    if (!json_is_object(devices))
        return;
    snprintf(first, sizeof(first), "%" PRId64 ", %" PRId64 " online", number(devices, "total"),
             number(devices, "online"));
    line(t, "devices", TABLE_PLAIN, first);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        if (number(devices, counts[i].key) > 0)
            piece(&p, ", ", "%" PRId64 " %s", number(devices, counts[i].key), counts[i].text);
    line(t, "", TABLE_PLAIN, p.text);
    status_pace(t, pace, number(devices, "queued"));
    if (number(devices, "faulty") > 0) {
        snprintf(first, sizeof(first), "%" PRId64 " with an identity that cannot be used",
                 number(devices, "faulty"));
        line(t, "", TABLE_BAD, first);
    }
}

/* What was refused of commands, most of which nobody should ever see. */
static void status_signed(struct table *t, const json_t *account)
{
    json_t *refused = json_object_get(account, "refused"), *value;
    struct pieces p = {.n = 0};
    const char *name;

    if (number(account, "operators") == 0 && json_object_size(refused) == 0)
        return;
    piece(&p, "", "%" PRId64 " operator%s, %" PRId64 " taken", number(account, "operators"),
          number(account, "operators") == 1 ? "" : "s", number(account, "good"));
    json_object_foreach(refused, name, value)
    {
        piece(&p, ", ", "%" JSON_INTEGER_FORMAT " refused: %s", json_integer_value(value), name);
    }
    line(t, "signed", json_object_size(refused) == 0 ? TABLE_PLAIN : TABLE_WARN, p.text);
}

static void status_central(struct table *t, const json_t *central)
{
    bool connected = is_true(central, "connected");
    struct pieces p = {.n = 0};

    if (!json_is_object(central) || !is_true(central, "enabled")) {
        line(t, "central", TABLE_PLAIN, "not configured");
        return;
    }
    piece(&p, "", "%s", connected ? "connected" : "not connected");
    if (text(central, "since")[0] != '\0')
        piece(&p, " ", "since %s", text(central, "since"));
    if (text(central, "device")[0] != '\0')
        piece(&p, ", ", "as device %s", text(central, "device"));
    if (text(central, "last_error")[0] != '\0') {
        piece(&p, ": ", "%s", text(central, "last_error"));
        connected = false;
    }
    line(t, "central", connected ? TABLE_GOOD : TABLE_WARN, p.text);
    status_signed(t, json_object_get(central, "signed"));
}

static void status_exceptions(struct table *t, const json_t *all)
{
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *e = json_array_get(all, i), *accept = json_object_get(e, "accept");
        bool in_force = is_true(e, "in_force");
        struct pieces p = {.n = 0};

        piece(&p, "", "%s: %s may be ", text(e, "name"), text(e, "device"));
        for (size_t k = 0; k < json_array_size(accept); k++)
            piece(&p, k == 0 ? "" : ", ", "%s", item(accept, k));
        piece(&p, " ", in_force ? "until %s" : "until %s, which is over", text(e, "until"));
        piece(&p, " ", "(%s); %" PRId64 " device%s", text(e, "reason"), number(e, "devices"),
              number(e, "devices") == 1 ? " now" : "s now");
        if (text(e, "last_used")[0] != '\0')
            piece(&p, ", ", "last used %s", text(e, "last_used"));
        else
            piece(&p, ", ", "never used");
        line(t, i == 0 ? "exceptions" : "", in_force ? TABLE_WARN : TABLE_BAD, p.text);
    }
}

static void status_old_tls(struct table *t, const json_t *all)
{
    struct pieces p = {.n = 0};

    for (size_t i = 0; i < json_array_size(all); i++)
        piece(&p, ", ", "listener %s takes TLS %s", text(json_array_get(all, i), "listener"),
              text(json_array_get(all, i), "tls_min"));
    line(t, "old TLS", TABLE_WARN, p.text);
}

static void status_clock(struct table *t, const json_t *clock)
{
    const json_t *synced = json_object_get(clock, "synchronised");
    struct pieces p = {.n = 0};

    if (!json_is_object(clock))
        return;
    piece(&p, "", "%s",
          json_is_true(synced)    ? "synchronised"
          : json_is_false(synced) ? "not synchronised"
                                  : "the kernel does not say whether it is synchronised");
    if (json_is_integer(json_object_get(clock, "max_error_ms")))
        piece(&p, ", ", "within %" PRId64 " ms", number(clock, "max_error_ms"));
    if (text(clock, "since")[0] != '\0')
        piece(&p, ", ", "since %s", text(clock, "since"));
    if (!is_true(clock, "flips"))
        piece(&p, ": ", "flips are refused");
    line(t, "clock",
         !is_true(clock, "flips") ? TABLE_BAD
         : json_is_true(synced)   ? TABLE_GOOD
                                  : TABLE_PLAIN,
         p.text);
}

static void status_counters(struct table *t, const json_t *c)
{
    char out[200];

    if (!json_is_object(c))
        return;
    snprintf(out, sizeof(out),
             "%" PRId64 " with sensors, %" PRId64 " upstream; %" PRId64 " accepted, %" PRId64
             " refused since the start",
             number(c, "sessions"), number(c, "legs_up"), number(c, "accepted"),
             number(c, "refused"));
    line(t, "connections", TABLE_PLAIN, out);
    snprintf(out, sizeof(out), "%" PRId64 " to the broker, %" PRId64 " to sensors",
             number(c, "publishes_up"), number(c, "publishes_down"));
    line(t, "messages", TABLE_PLAIN, out);
    if (number(c, "publishes_denied") + number(c, "packets_inexpressible") > 0) {
        snprintf(out, sizeof(out),
                 "%" PRId64 " refused by a broker, %" PRId64 " that it could not be told",
                 number(c, "publishes_denied"), number(c, "packets_inexpressible"));
        line(t, "", TABLE_WARN, out);
    }
    if (number(c, "publishes_shed") > 0) {
        snprintf(out, sizeof(out), "%" PRId64 " dropped without an uplink (QoS 0)",
                 number(c, "publishes_shed"));
        line(t, "", TABLE_WARN, out);
    }
    snprintf(out, sizeof(out),
             "%" PRId64 ", %" PRId64 " failed, %" PRId64 " messages lost, longest hold %.1f ms",
             number(c, "rehomes"), number(c, "rehomes_failed"), number(c, "rehome_lost"),
             (double)number(c, "hold_us_max") / 1000.0);
    line(t, "re-homes", number(c, "rehome_lost") > 0 ? TABLE_BAD : TABLE_PLAIN, out);
    if (number(c, "ways_back") + number(c, "spareless") + number(c, "taken_over") > 0) {
        snprintf(out, sizeof(out),
                 "%" PRId64 " went back by the spare connection, %" PRId64
                 " left without one; %" PRId64 " times taken over by another client",
                 number(c, "ways_back"), number(c, "spareless"), number(c, "taken_over"));
        line(t, "", number(c, "taken_over") > 0 ? TABLE_WARN : TABLE_PLAIN, out);
    }
    if (number(c, "restored_subscriptions") == 0)
        return;
    snprintf(out, sizeof(out),
             "%" PRId64 " subscription%s restored where the broker had lost the session, %" PRId64
             " refused; %" PRId64 " retained messages not repeated",
             number(c, "restored_subscriptions"),
             number(c, "restored_subscriptions") == 1 ? "" : "s", number(c, "restore_refused"),
             number(c, "retained_suppressed"));
    line(t, "", number(c, "restore_refused") > 0 ? TABLE_BAD : TABLE_PLAIN, out);
}

static void status_tokens(struct table *t, const json_t *tokens)
{
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        const json_t *one = json_array_get(tokens, i);
        const char *state = text(one, "state");
        struct pieces p = {.n = 0};

        piece(&p, "", "%s %s", text(one, "name"), state);
        if (number(one, "operations") > 0)
            piece(&p, ", ",
                  "%" PRId64 " operations, %" PRId64 " failed, %.1f ms each, longest %.1f ms",
                  number(one, "operations"), number(one, "failures"),
                  (double)number(one, "us_sum") / (double)number(one, "operations") / 1000.0,
                  (double)number(one, "us_max") / 1000.0);
        if (text(one, "message")[0] != '\0')
            piece(&p, ": ", "%s", text(one, "message"));
        line(t, i == 0 ? "tokens" : "",
             text(one, "message")[0] != '\0' ? TABLE_BAD
             : strcmp(state, "ready") == 0   ? TABLE_GOOD
                                             : TABLE_PLAIN,
             p.text);
    }
}

/* Those whose CA has no list where there must be one. */
static void status_without_crl(struct table *t, const json_t *missing)
{
    struct pieces p = {.n = 0};

    for (size_t i = 0; i < json_array_size(missing); i++) {
        const json_t *one = json_array_get(missing, i);

        piece(&p, i == 0 ? "" : ", ", "%s%s (%s %s)",
              i == 0 ? "no list, which must be there, of " : "", text(one, "anchor"),
              text(one, "kind"), text(one, "name"));
    }
    line(t, "", TABLE_BAD, p.text);
}

static void status_crls(struct table *t, const json_t *crls)
{
    const json_t *missing = json_object_get(crls, "missing");
    int64_t lists = number(crls, "lists"), stale = number(crls, "stale");
    struct pieces p = {.n = 0};

    if (lists == 0 && json_array_size(missing) == 0)
        return;
    piece(&p, "", "%" PRId64 " list%s", lists, lists == 1 ? "" : "s");
    if (stale > 0)
        piece(&p, ", ", "%" PRId64 " out of date", stale);
    if (text(crls, "next_update")[0] != '\0')
        piece(&p, ", ", "next update %s (%s)", text(crls, "next_update"), text(crls, "issuer"));
    line(t, "revocation", stale > 0 ? TABLE_BAD : TABLE_PLAIN, p.text);
    status_without_crl(t, missing);
}

static void status_refused(struct table *t, json_t *refused)
{
    struct pieces p = {.n = 0};

    for (void *it = json_object_iter(refused); it != NULL; it = json_object_iter_next(refused, it))
        piece(&p, ", ", "%s %" JSON_INTEGER_FORMAT, json_object_iter_key(it),
              json_integer_value(json_object_iter_value(it)));
    line(t, "refused", TABLE_PLAIN, p.text);
}

static void status_process(struct table *t, const json_t *status)
{
    struct pieces p = {.n = 0};
    char out[200], span[40];

    line(t, "gateway", TABLE_PLAIN, text(status, "gateway"));
    piece(&p, "", "certflip %s", text(status, "version"));
    if (text(status, "tls_library")[0] != '\0')
        piece(&p, ", ", "%s", text(status, "tls_library"));
    if (number(status, "pid") > 0)
        piece(&p, ", ", "process %" PRId64, number(status, "pid"));
    if (number(status, "workers") > 0)
        piece(&p, ", ", "%" PRId64 " worker%s", number(status, "workers"),
              number(status, "workers") == 1 ? "" : "s");
    line(t, "version", TABLE_PLAIN, p.text);
    snprintf(out, sizeof(out), "%s, since %s",
             show_span(number(status, "uptime_s"), span, sizeof(span)), text(status, "started"));
    line(t, "up", TABLE_PLAIN, out);
    line(t, "config", TABLE_PLAIN, text(status, "config"));
}

void show_status(const struct show *s, const json_t *status)
{
    const json_t *messages = json_object_get(status, "messages");
    struct table t;

    table_init(&t, 2);
    status_process(&t, status);
    status_devices(&t, json_object_get(status, "devices"), json_object_get(status, "pace"));
    status_central(&t, json_object_get(status, "central"));
    status_clock(&t, json_object_get(status, "clock"));
    status_exceptions(&t, json_object_get(status, "exceptions"));
    status_old_tls(&t, json_object_get(status, "old_tls"));
    status_crls(&t, json_object_get(status, "crls"));
    status_counters(&t, json_object_get(status, "counters"));
    status_tokens(&t, json_object_get(status, "tokens"));
    status_refused(&t, json_object_get(status, "refused"));
    for (size_t i = 0; i < json_array_size(messages); i++)
        line(&t, i == 0 ? "attention" : "", TABLE_BAD, item(messages, i));
    print_and_free(&t, s);
}

/* Why a slot cannot be used, without the device and the slot, which are known where it is shown. */
static const char *fault_of(const json_t *device, const char *slot_name)
{
    const char *fault = text(slot_of(device, slot_name), "fault");
    char known[200];
    size_t n;

    snprintf(known, sizeof(known), "device %s: %s identity: ", text(device, "device"), slot_name);
    n = strlen(known);
    return strncmp(fault, known, n) == 0 ? fault + n : fault;
}

/* "expired", "not valid yet"; "" for a certificate that is good now. */
static const char *validity(const struct show *s, const json_t *slot)
{
    int64_t from = show_parse_time(text(slot, "not_before"));
    int64_t to = show_parse_time(text(slot, "not_after"));

    if (to >= 0 && to <= s->now_s)
        return "expired";
    return from > s->now_s ? "not valid yet" : "";
}

/* -- devices ---------------------------------------------------------------------------------- */

/* What is worth knowing of a device beyond the columns: the most urgent thing only. */
static enum table_style note(const struct show *s, const json_t *device, char *out, size_t n)
{
    const char *phase = text(device, "phase");
    const json_t *active = slot_of(device, text(device, "active"));
    const json_t *fresh = slot_of(device, "new");
    const json_t *error = json_object_get(device, "last_error");
    const char *upstream = text(json_object_get(device, "upstream"), "state");
    char missing[96];

    waiting_text(device, out, n);
    show_missing(device, missing, sizeof(missing));
    if (missing[0] != '\0')
        snprintf(out + strlen(out), n - strlen(out), ", missing: %s", missing);
    if (out[0] != '\0')
        return TABLE_WARN;
    if (active == NULL || !is_true(active, "usable")) {
        snprintf(out, n, "%s",
                 active == NULL ? "no identity in this slot"
                                : fault_of(device, text(device, "active")));
        return TABLE_BAD;
    }
    /* A device that is cut off comes before one that was rolled back and is well. */
    if (strcmp(phase, "rolled-back") == 0 && text(device, "reason")[0] != '\0' &&
        (strcmp(upstream, "failed") != 0 || !is_true(device, "online") ||
         strcmp(text(json_object_get(device, "upstream"), "slot"), text(device, "active")) != 0)) {
        snprintf(out, n, "%s", text(device, "reason"));
        return TABLE_BAD;
    }
    /* A sensor whose CONNECT is refused, as there is no uplink, is not online. */
    if (strcmp(upstream, "failed") == 0 ||
        (is_true(device, "online") && upstream[0] != '\0' && strcmp(upstream, "accepted") != 0)) {
        snprintf(out, n, "upstream %s: %s", upstream, text(error, "message"));
        return TABLE_BAD;
    }
    if (fresh != NULL && fault_of(device, "new")[0] != '\0')
        snprintf(out, n, "new: %s", fault_of(device, "new"));
    else if (fresh != NULL && validity(s, fresh)[0] != '\0')
        snprintf(out, n, "new: %s", validity(s, fresh));
    return TABLE_WARN;
}

static void device_row(const struct show *s, struct table *t, const json_t *device)
{
    const char *phase = text(device, "phase");
    const char *expires = text(slot_of(device, text(device, "active")), "not_after");
    char why[512];
    enum table_style style = note(s, device, why, sizeof(why));

    table_add(t, TABLE_PLAIN, "%s", text(device, "device"));
    table_add(t, phase_style(phase), "%s", phase);
    table_add(t, TABLE_PLAIN, "%s", text(device, "active"));
    table_add(t, TABLE_PLAIN, "%s", is_true(device, "online") ? "online" : "offline");
    table_add(t, expiry_style(s, expires), "%.10s", expires[0] == '\0' ? "-" : expires);
    table_add(t, style, "%s", why);
}

void show_devices(const struct show *s, const json_t *devices)
{
    static const char *const titles[] = {"DEVICE", "PHASE", "ACTIVE", "SENSOR", "EXPIRES", "NOTE"};
    size_t n = json_array_size(devices);
    struct table t;

    if (n == 0) {
        fputs("no device\n", s->to);
        return;
    }
    table_init(&t, sizeof(titles) / sizeof(titles[0]));
    table_head(&t, titles);
    for (size_t i = 0; i < n; i++)
        device_row(s, &t, json_array_get(devices, i));
    print_and_free(&t, s);
    fprintf(s->to, "%zu device%s\n", n, n == 1 ? "" : "s");
}

/* What lint says of it; the fault is the sentence of what keeps a new one from being staged. */
static void slot_findings(struct table *t, const json_t *slot)
{
    const json_t *findings = json_object_get(slot, "findings");
    char out[600];

    if (text(slot, "fault")[0] != '\0')
        line(t, "", TABLE_BAD, text(slot, "fault"));
    for (size_t i = 0; i < json_array_size(findings); i++) {
        const json_t *f = json_array_get(findings, i);
        bool error = strcmp(text(f, "severity"), "error") == 0;

        snprintf(out, sizeof(out), "%s %s: %s", text(f, "severity"), text(f, "code"),
                 text(f, "message"));
        line(t, "", error ? TABLE_BAD : TABLE_WARN, out);
    }
}

static void device_slot(const struct show *s, struct table *t, const json_t *device,
                        const char *name)
{
    const json_t *slot = slot_of(device, name);
    char out[600], span[48];

    if (slot == NULL) {
        line(t, name, TABLE_PLAIN, "empty");
        return;
    }
    if (text(slot, "csr_since")[0] != '\0') {
        snprintf(out, sizeof(out), "a key, whose certificate is awaited since %s",
                 text(slot, "csr_since"));
        line(t, name, TABLE_PLAIN, out);
        return;
    }
    if (!is_true(slot, "usable")) {
        snprintf(out, sizeof(out), "unusable: %s", fault_of(device, name));
        line(t, name, TABLE_BAD, out);
        return;
    }
    snprintf(out, sizeof(out), "%s, issued by %s", text(slot, "subject"), text(slot, "issuer"));
    line(t, name, TABLE_PLAIN, out);
    snprintf(out, sizeof(out), "valid %s to %s (%s)", text(slot, "not_before"),
             text(slot, "not_after"), from_now(s, text(slot, "not_after"), span, sizeof(span)));
    line(t, "", expiry_style(s, text(slot, "not_after")), out);
    line(t, "", TABLE_BAD, validity(s, slot));
    snprintf(out, sizeof(out), "sha256 %s", text(slot, "fingerprint"));
    line(t, "", TABLE_PLAIN, out);
    slot_findings(t, slot);
}

static void device_upstream(struct table *t, const json_t *upstream)
{
    bool good = strcmp(text(upstream, "state"), "accepted") == 0;
    struct pieces p = {.n = 0};

    if (!json_is_object(upstream)) {
        line(t, "upstream", TABLE_PLAIN, "not connected");
        return;
    }
    piece(&p, "", "%s on %s since %s", text(upstream, "state"), text(upstream, "slot"),
          text(upstream, "since"));
    if (text(upstream, "tls")[0] != '\0')
        piece(&p, ", ", "%s", text(upstream, "tls"));
    line(t, "upstream", good ? TABLE_GOOD : TABLE_BAD, p.text);
}

/* Was the same slot accepted after its error?  Then there is nothing to mend any more. */
static bool error_is_over(const json_t *device, const json_t *error)
{
    const json_t *upstream = json_object_get(device, "upstream");
    const json_t *proven = json_object_get(json_object_get(device, "evidence"), "proven");
    const char *slot = text(error, "slot"), *time = text(error, "time");

    if (strcmp(text(upstream, "state"), "accepted") == 0 &&
        strcmp(text(upstream, "slot"), slot) == 0 && strcmp(text(upstream, "since"), time) >= 0)
        return true;
    for (size_t i = 0; strcmp(slot, "new") == 0 && i < json_array_size(proven); i++)
        if (strcmp(text(json_array_get(proven, i), "what"), "connack") == 0 &&
            strcmp(text(json_array_get(proven, i), "time"), time) > 0)
            return true;
    return false;
}

static void device_error(struct table *t, const json_t *device)
{
    const json_t *error = json_object_get(device, "last_error");
    const json_t *alert = json_object_get(error, "alert");
    struct pieces p = {.n = 0}, names = {.n = 0};
    bool over = error_is_over(device, error);

    if (!json_is_object(error))
        return;
    piece(&p, "", "%s, on %s: %s (%s)%s", text(error, "time"), text(error, "slot"),
          text(error, "name"), text(error, "class"), over ? ", accepted since" : "");
    line(t, "last error", over ? TABLE_PLAIN : TABLE_BAD, p.text);
    if (json_is_object(alert))
        piece(&names, "", "TLS alert %" PRId64 " %s", number(alert, "number"), text(alert, "name"));
    if (text(error, "x509")[0] != '\0')
        piece(&names, ", ", "%s", text(error, "x509"));
    line(t, "", TABLE_PLAIN, names.text);
    line(t, "", TABLE_PLAIN, text(error, "message"));
    if (!over)
        line(t, "remedy", TABLE_PLAIN, text(error, "remedy"));
}

/* What it waits for, and when that ends. */
static void device_waits(const struct show *s, struct table *t, const json_t *device)
{
    const char *due = text(device, "due"), *deadline = text(device, "deadline");
    char out[300], span[48];

    waiting_text(device, out, sizeof(out));
    if (out[0] != '\0' && due[0] != '\0')
        snprintf(out + strlen(out), sizeof(out) - strlen(out), " (%s)",
                 from_now(s, due, span, sizeof(span)));
    line(t, "now", TABLE_WARN, out);
    if (deadline[0] != '\0' && strcmp(deadline, due) != 0) {
        snprintf(out, sizeof(out), "confirmed by %s (%s), else rolled back", deadline,
                 from_now(s, deadline, span, sizeof(span)));
        line(t, "", TABLE_WARN, out);
    }
    if (text(device, "begin_by")[0] != '\0') {
        snprintf(out, sizeof(out), "begun by %s (%s), else given up", text(device, "begin_by"),
                 from_now(s, text(device, "begin_by"), span, sizeof(span)));
        line(t, "", TABLE_WARN, out);
    }
}

static void device_proof(struct table *t, const char *title, const json_t *proof)
{
    const char *what = text(proof, "what"), *tls = text(proof, "tls");
    char out[300];

    if (strcmp(what, "connack") == 0)
        snprintf(out, sizeof(out), "%s: accepted%s%s with sha256 %s", text(proof, "time"),
                 *tls == '\0' ? "" : " over ", tls, text(proof, "fingerprint"));
    else if (strcmp(what, "echo") == 0)
        snprintf(out, sizeof(out), "%s: the echo came back in %.2f ms", text(proof, "time"),
                 json_number_value(json_object_get(proof, "ms")));
    else
        snprintf(out, sizeof(out), "%s: confirmed by %s", text(proof, "time"), text(proof, "by"));
    line(t, title, TABLE_GOOD, out);
}

static void device_evidence(struct table *t, const json_t *evidence)
{
    const json_t *proven = json_object_get(evidence, "proven");
    char out[200];

    for (size_t i = 0; i < json_array_size(proven); i++)
        device_proof(t, i == 0 ? "proven" : "", json_array_get(proven, i));
    proofs_text(json_object_get(evidence, "missing"), "", out, sizeof(out));
    line(t, "missing", TABLE_WARN, out);
}

static void device_session(struct table *t, const json_t *session)
{
    struct pieces p = {.n = 0};

    piece(&p, "", "%s on %s, client id \"%s\", MQTT %s", text(session, "peer"),
          text(session, "listener"), text(session, "client_id"), text(session, "mqtt"));
    piece(&p, ", ", "%s", text(session, "tls")[0] == '\0' ? "without TLS" : text(session, "tls"));
    piece(&p, ", ", "since %s", text(session, "since"));
    line(t, "sensor", TABLE_PLAIN, p.text);
    if (text(session, "fingerprint")[0] != '\0') {
        struct pieces fp = {.n = 0};

        piece(&fp, "", "sha256 %s", text(session, "fingerprint"));
        line(t, "", TABLE_PLAIN, fp.text);
    }
    if (text(session, "exception")[0] != '\0') {
        struct pieces by = {.n = 0};

        piece(&by, "", "its certificate is accepted by exception %s", text(session, "exception"));
        line(t, "", TABLE_WARN, by.text);
    }
}

/* What leads on from here, where one has to know it. */
static void device_next(const struct show *s, struct table *t, const json_t *device)
{
    const json_t *fresh = slot_of(device, "new");
    struct pieces p = {.n = 0};

    if (strcmp(text(device, "phase"), "rolled-back") != 0)
        return;
    if (fresh != NULL && is_true(fresh, "usable") && validity(s, fresh)[0] == '\0')
        piece(&p, "", "when the cause is mended: certflipctl quarantine clear %s",
              text(device, "device"));
    else
        piece(&p, "", "put a good identity into the new slot, then: certflipctl reload");
    line(t, "next", TABLE_PLAIN, p.text);
}

void show_device(const struct show *s, const json_t *device)
{
    const json_t *sessions = json_object_get(device, "sessions");
    const char *phase = text(device, "phase");
    struct pieces p = {.n = 0};
    struct table t;

    table_init(&t, 2);
    line(&t, "device", TABLE_PLAIN, text(device, "device"));
    piece(&p, "", "%s", phase);
    if (text(device, "changed")[0] != '\0')
        piece(&p, " ", "since %s", text(device, "changed"));
    if (number(device, "attempts") > 0)
        piece(&p, ", ", "attempt %" PRId64, number(device, "attempts"));
    else if (strcmp(phase, "trial") == 0)
        piece(&p, ", ", "not tried yet");
    line(&t, "phase", phase_style(phase), p.text);
    device_waits(s, &t, device);
    line(&t, "reason", TABLE_BAD, text(device, "reason"));
    line(&t, "remedy", TABLE_PLAIN, text(device, "reason_remedy"));
    device_evidence(&t, json_object_get(device, "evidence"));
    line(&t, "active", TABLE_PLAIN, text(device, "active"));
    device_slot(s, &t, device, "old");
    device_slot(s, &t, device, "new");
    device_upstream(&t, json_object_get(device, "upstream"));
    device_error(&t, device);
    device_next(s, &t, device);
    for (size_t i = 0; i < json_array_size(sessions); i++)
        device_session(&t, json_array_get(sessions, i));
    if (json_array_size(sessions) == 0)
        line(&t, "sensor", TABLE_PLAIN, is_true(device, "online") ? "online" : "offline");
    print_and_free(&t, s);
}

/* -- sessions, levels, audit, reload ------------------------------------------------------------
 */

void show_sessions(const struct show *s, const json_t *sessions, int64_t total)
{
    static const char *const titles[] = {"DEVICE", "PEER",      "LISTENER", "MQTT",
                                         "TLS",    "CLIENT ID", "SINCE"};
    static const char *const keys[] = {"device", "peer",      "listener", "mqtt",
                                       "tls",    "client_id", "since"};
    size_t columns = sizeof(titles) / sizeof(titles[0]), n = json_array_size(sessions);
    struct table t;

    if (n == 0) {
        fputs("no sensor is connected\n", s->to);
        return;
    }
    table_init(&t, columns);
    table_head(&t, titles);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < columns; k++) {
            const char *value = text(json_array_get(sessions, i), keys[k]);

            table_add(&t, TABLE_PLAIN, "%s", value[0] == '\0' ? "-" : value);
        }
    print_and_free(&t, s);
    if (total > (int64_t)n)
        fprintf(s->to, "%zu of %" PRId64 " sensors\n", n, total);
    else
        fprintf(s->to, "%zu sensor%s\n", n, n == 1 ? "" : "s");
}

void show_levels(const struct show *s, json_t *levels)
{
    struct table t;

    table_init(&t, 2);
    for (void *it = json_object_iter(levels); it != NULL; it = json_object_iter_next(levels, it))
        line(&t, json_object_iter_key(it), TABLE_PLAIN,
             json_is_string(json_object_iter_value(it))
                 ? json_string_value(json_object_iter_value(it))
                 : "");
    print_and_free(&t, s);
}

static void indented(const struct show *s, enum table_style style, const char *value)
{
    if (value[0] == '\0')
        return;
    fputs("  ", s->to);
    table_text(s->to, s->colour, style, value);
    fputc('\n', s->to);
}

/* -- anchors ---------------------------------------------------------------------------------- */

static enum table_style anchor_style(const char *state)
{
    if (strcmp(state, "in-force") == 0)
        return TABLE_GOOD;
    return strcmp(state, "removed") == 0 || strcmp(state, "idle") == 0 ? TABLE_PLAIN : TABLE_BAD;
}

/* Where it stands, or who has added it. */
static const char *anchor_from(const json_t *anchor)
{
    const json_t *files = json_object_get(anchor, "files");

    return json_array_size(files) > 0 ? item(files, 0) : text(anchor, "by");
}

static void anchor_rows(const struct show *s, const json_t *anchors)
{
    static const char *const titles[] = {"SET",     "SUBJECT",  "STATE", "VALID UNTIL",
                                         "DEVICES", "SESSIONS", "FROM",  "SHA256"};
    struct table t;

    table_init(&t, sizeof(titles) / sizeof(titles[0]));
    table_head(&t, titles);
    for (size_t i = 0; i < json_array_size(anchors); i++) {
        const json_t *a = json_array_get(anchors, i);
        bool helper = strcmp(text(a, "kind"), "intermediate") == 0;
        const char *until = text(a, "not_after");

        table_add(&t, TABLE_PLAIN, "%s", text(a, "set"));
        table_add(&t, TABLE_PLAIN, "%s%s", text(a, "subject")[0] == '\0' ? "-" : text(a, "subject"),
                  helper ? " (intermediate)" : "");
        table_add(&t, anchor_style(text(a, "state")), "%s", text(a, "state"));
        table_add(&t, expiry_style(s, until), "%.10s", until[0] == '\0' ? "-" : until);
        table_add(&t, TABLE_PLAIN, "%" PRId64, number(a, "devices"));
        table_add(&t, TABLE_PLAIN, "%" PRId64, number(a, "sessions"));
        table_add(&t, TABLE_PLAIN, "%s", anchor_from(a)[0] == '\0' ? "-" : anchor_from(a));
        table_add(&t, TABLE_PLAIN, "%s", text(a, "fingerprint"));
    }
    print_and_free(&t, s);
}

void show_anchors(const struct show *s, const json_t *anchors)
{
    if (json_array_size(anchors) == 0) {
        fputs("no anchor\n", s->to);
        return;
    }
    anchor_rows(s, anchors);
    for (size_t i = 0; i < json_array_size(anchors); i++) {
        const json_t *a = json_array_get(anchors, i);

        if (text(a, "fault")[0] == '\0')
            continue;
        fprintf(s->to, "%.16s..: ", text(a, "fingerprint"));
        table_text(s->to, s->colour, TABLE_BAD, text(a, "fault"));
        fputc('\n', s->to);
    }
}

void show_anchors_added(const struct show *s, const json_t *result)
{
    const json_t *anchors = json_object_get(result, "anchors");

    for (size_t i = 0; i < json_array_size(anchors); i++) {
        const json_t *a = json_array_get(anchors, i);
        bool changed = json_is_true(json_object_get(a, "changed"));

        table_text(s->to, s->colour, changed ? TABLE_GOOD : TABLE_PLAIN, text(a, "subject"));
        fprintf(s->to, " %s the set %s\n", changed ? "is now in" : "was already in",
                text(result, "set"));
        indented(s, TABLE_PLAIN, text(a, "fingerprint"));
    }
}

void show_dependents(const struct show *s, const json_t *result)
{
    const json_t *rows = json_object_get(result, "dependents");
    int64_t breaks = number(result, "breaks");

    table_text(s->to, s->colour, TABLE_PLAIN, text(result, "subject"));
    if (breaks == 0) {
        fputs(": nothing that is known depends on it\n", s->to);
        return;
    }
    fprintf(s->to, ": %" PRId64 " %s not work without it\n", breaks,
            breaks == 1 ? "thing would" : "things would");
    for (size_t i = 0; i < json_array_size(rows); i++)
        indented(s, TABLE_PLAIN, text(json_array_get(rows, i), "text"));
}

void show_anchor_removed(const struct show *s, const json_t *result)
{
    const json_t *files = json_object_get(result, "files");

    table_text(s->to, s->colour, TABLE_PLAIN, text(result, "subject"));
    fprintf(s->to, " %s the set %s\n",
            json_is_true(json_object_get(result, "changed")) ? "is believed no more in"
                                                             : "was not believed in",
            text(result, "set"));
    if (text(result, "archived")[0] != '\0') {
        fputs("  archived as ", s->to);
        table_text(s->to, s->colour, TABLE_PLAIN, text(result, "archived"));
        fputc('\n', s->to);
    }
    for (size_t i = 0; i < json_array_size(files); i++) {
        fputs("  it stands still in ", s->to);
        table_text(s->to, s->colour, TABLE_WARN, item(files, i));
        fputc('\n', s->to);
    }
}

void show_audit(const struct show *s, const json_t *entries)
{
    static const char *const titles[] = {"NUMBER", "TIME", "WHO", "WHAT", "TARGET", "OUTCOME"};
    static const char *const keys[] = {"time", "who", "what", "target", "outcome"};
    size_t n = json_array_size(entries);
    struct table t;

    if (n == 0) {
        fputs("no entry\n", s->to);
        return;
    }
    table_init(&t, sizeof(titles) / sizeof(titles[0]));
    table_head(&t, titles);
    for (size_t i = 0; i < n; i++) {
        const json_t *entry = json_array_get(entries, i);

        table_add(&t, TABLE_PLAIN, "%" PRId64, number(entry, "seq"));
        for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
            table_add(&t, TABLE_PLAIN, "%s",
                      text(entry, keys[k])[0] == '\0' ? "-" : text(entry, keys[k]));
    }
    print_and_free(&t, s);
}

/* "listener tls, upstream broker" */
static void used_by(const json_t *row, char *out, size_t n)
{
    const json_t *list = json_object_get(row, "used_by");
    size_t at = 0;

    snprintf(out, n, "-");
    for (size_t i = 0; i < json_array_size(list) && at < n; i++)
        at += (size_t)snprintf(out + at, n - at, "%s%s %s", i == 0 ? "" : ", ",
                               text(json_array_get(list, i), "kind"),
                               text(json_array_get(list, i), "name"));
}

void show_crls(const struct show *s, const json_t *crls)
{
    static const char *const titles[] = {"ISSUER", "NUMBER",  "ENTRIES", "NEXT UPDATE",
                                         "STATE",  "USED BY", "FILE"};
    struct table t;
    char users[300];

    if (json_array_size(crls) == 0) {
        fputs("no list: see crls in certflip.conf(5), or certflipctl crl update FILE\n", s->to);
        return;
    }
    table_init(&t, sizeof(titles) / sizeof(titles[0]));
    table_head(&t, titles);
    for (size_t i = 0; i < json_array_size(crls); i++) {
        const json_t *row = json_array_get(crls, i);
        const char *state = text(row, "state");

        used_by(row, users, sizeof(users));
        table_add(&t, TABLE_PLAIN, "%s", text(row, "issuer"));
        table_add(&t, TABLE_PLAIN, "%s",
                  text(row, "number")[0] == '\0' ? "-" : text(row, "number"));
        table_add(&t, TABLE_PLAIN, "%" PRId64, number(row, "entries"));
        table_add(&t, TABLE_PLAIN, "%s",
                  text(row, "next_update")[0] == '\0' ? "-" : text(row, "next_update"));
        table_add(&t,
                  strcmp(state, "stale") == 0 ? TABLE_BAD
                  : strcmp(state, "due") == 0 ? TABLE_WARN
                                              : TABLE_PLAIN,
                  "%s", state);
        table_add(&t, TABLE_PLAIN, "%s", users);
        table_add(&t, TABLE_PLAIN, "%s", text(row, "file"));
    }
    print_and_free(&t, s);
}

void show_crl_update(const struct show *s, const json_t *row)
{
    char users[300];

    used_by(row, users, sizeof(users));
    table_text(s->to, false, TABLE_PLAIN, text(row, "issuer"));
    fprintf(s->to, ": %s, %" PRId64 " revoked, next update %s, for %s\n",
            json_is_true(json_object_get(row, "changed")) ? "taken" : "the same as before",
            number(row, "entries"),
            text(row, "next_update")[0] == '\0' ? "not said" : text(row, "next_update"), users);
}

void show_reload(const struct show *s, const json_t *result)
{
    const json_t *restart = json_object_get(result, "restart_needed");

    fprintf(s->to, "read again: %" PRId64 " device%s changed, %" PRId64 " new, %" PRId64 " gone\n",
            number(result, "changed_devices"), number(result, "changed_devices") == 1 ? "" : "s",
            number(result, "new_devices"), number(result, "gone_devices"));
    if (number(result, "faulty_devices") > 0)
        fprintf(s->to,
                "%" PRId64 " device%s an identity that cannot be used: certflipctl devices\n",
                number(result, "faulty_devices"),
                number(result, "faulty_devices") == 1 ? " has" : "s have");
    for (size_t i = 0; i < json_array_size(restart); i++) {
        fputs("takes effect after a restart: ", s->to);
        table_text(s->to, s->colour, TABLE_WARN, item(restart, i));
        fputc('\n', s->to);
    }
}

/* -- outcomes and errors ------------------------------------------------------------------------
 */

static void outcome_row(struct table *t, const json_t *row)
{
    const json_t *error = json_object_get(row, "error");
    bool ok = is_true(row, "ok");

    table_add(t, TABLE_PLAIN, "%s", text(row, "device"));
    if (ok) {
        table_add(t, phase_style(text(row, "phase")), "%s", text(row, "phase"));
        table_add(t, TABLE_PLAIN, "%s",
                  !json_is_false(json_object_get(row, "changed")) ? ""
                  : strcmp(text(row, "phase"), "trial") == 0
                      ? "was so already, and keeps the terms it began with"
                      : "was so already");
        return;
    }
    table_add(t, TABLE_BAD, "refused");
    table_add(t, TABLE_BAD, "%s", text(error, "message"));
    if (text(error, "remedy")[0] != '\0') {
        table_add(t, TABLE_PLAIN, "%s", "");
        table_add(t, TABLE_PLAIN, "%s", "");
        table_add(t, TABLE_PLAIN, "%s", text(error, "remedy"));
    }
}

void show_outcome(const struct show *s, const json_t *rows)
{
    struct table t;

    table_init(&t, 3);
    for (size_t i = 0; i < json_array_size(rows); i++)
        outcome_row(&t, json_array_get(rows, i));
    print_and_free(&t, s);
}

void show_error(const struct show *s, const char *what, const json_t *error)
{
    const json_t *data = json_object_get(error, "data");
    const json_t *faults = json_object_get(data, "faults");
    const json_t *dependents = json_object_get(data, "dependents");
    const char *message = text(error, "message");

    fprintf(s->to, "certflipctl: %s: ", what);
    table_text(s->to, s->colour, TABLE_BAD, message[0] == '\0' ? "refused" : message);
    fputc('\n', s->to);
    for (size_t i = 0; i < json_array_size(faults); i++)
        indented(s, TABLE_PLAIN, item(faults, i));
    for (size_t i = 0; i < json_array_size(dependents); i++)
        indented(s, TABLE_PLAIN, text(json_array_get(dependents, i), "text"));
    indented(s, TABLE_PLAIN, text(data, "remedy"));
}

void show_installed(const struct show *s, const json_t *answer)
{
    const json_t *slot = json_object_get(answer, "slot");
    struct table t;

    table_init(&t, 2);
    line(&t, text(answer, "device"), TABLE_GOOD, text(answer, "phase"));
    line(&t, "subject", TABLE_PLAIN, text(slot, "subject"));
    line(&t, "valid to", expiry_style(s, text(slot, "not_after")), text(slot, "not_after"));
    line(&t, "sha256", TABLE_PLAIN, text(slot, "fingerprint"));
    print_and_free(&t, s);
}
