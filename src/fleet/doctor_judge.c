/* fleet/doctor_judge.c - see doctor.h. */
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/str.h"
#include "cli/show.h"
#include "fleet/doctor.h"

#define DAY_S           86400
#define SOON_DAYS       30 /* a certificate that ends so soon has to be replaced now */
#define LATER_DAYS      90
#define CLOCK_WARN_MS   5000  /* clocks that differ by more */
#define CLOCK_ERROR_MS  60000 /* so much and signed commands, or new certificates, are refused */
#define QUARANTINE_MOST 1000  /* devices of a gateway that are named one by one */

static const char *const sets[] = {"upstream", "downstream"};

const char *doctor_severity_name(enum doctor_severity s)
{
    static const char *const names[] = {
        [DOCTOR_GOOD] = "good", [DOCTOR_WARNING] = "warning", [DOCTOR_ERROR] = "error"};

    return names[s];
}

/* -- findings --------------------------------------------------------------------------------- */

static bool grow(struct doctor *d)
{
    size_t cap = d->cap == 0 ? 32 : d->cap * 2;
    struct doctor_finding *more;

    if (d->count < d->cap)
        return true;
    more = reallocarray(d->all, cap, sizeof(*more));
    if (more == NULL)
        return false;
    d->all = more;
    d->cap = cap;
    return true;
}

__attribute__((format(printf, 6, 7))) static void find(struct doctor *d, struct doctor_patient *p,
                                                       enum doctor_severity severity,
                                                       const char *code, const char *remedy,
                                                       const char *fmt, ...)
{
    struct doctor_finding f = {severity, code, p->seen->name, NULL, strdup(remedy)};
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&f.text, fmt, ap) < 0)
        f.text = NULL;
    va_end(ap);
    if (severity > p->verdict)
        p->verdict = severity;
    if (f.text == NULL || f.remedy == NULL || !grow(d)) {
        free(f.text);
        free(f.remedy);
        d->failed = true;
        return;
    }
    str_tidy(f.text);
    str_tidy(f.remedy);
    d->all[d->count++] = f;
}

void doctor_fini(struct doctor *d)
{
    for (size_t i = 0; i < d->count; i++) {
        free(d->all[i].text);
        free(d->all[i].remedy);
    }
    free(d->all);
    *d = (struct doctor){.all = NULL};
}

static int by_severity(const void *a, const void *b)
{
    const struct doctor_finding *f = a, *g = b;
    int order = (int)g->severity - (int)f->severity;

    if (order == 0)
        order = strcmp(f->code, g->code);
    if (order == 0)
        order = strcmp(f->text, g->text);
    if (order == 0)
        order = strcmp(f->remedy, g->remedy);
    return order != 0 ? order : strcmp(f->gateway, g->gateway);
}

/* -- is it there? ----------------------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text == NULL ? "" : text;
}

static void judge_presence(struct doctor *d, struct doctor_patient *p)
{
    const struct view_gateway *g = p->seen;
    int64_t total = view_device_total(g);

    if (!g->known)
        find(d, p, DOCTOR_ERROR, "gateway.no-state",
             "is it still in use? else clear what it has retained; if it is, look at its log and "
             "at what the broker lets it publish",
             "devices of it are retained, and no state of its own");
    else if (!g->online)
        find(d, p, DOCTOR_ERROR, "gateway.offline",
             "look at its power and its uplink; it goes on by itself meanwhile, and its sensors "
             "keep their identities",
             "it is offline");
    else if (total > (int64_t)g->device_count)
        find(
            d, p, DOCTOR_ERROR, "gateway.devices-missing",
            "raise the broker's limit of queued messages (mosquitto: max_queued_messages), and let "
            "this client read below root",
            "the broker has told of %zu of its %" PRId64 " devices", g->device_count, total);
}

/* What it says instead of an answer. */
static void judge_refusal(struct doctor *d, struct doctor_patient *p, const json_t *error)
{
    const json_t *data = json_object_get(error, "data");
    const char *remedy = text_of(data, "remedy");

    find(d, p, DOCTOR_ERROR, "gateway.refuses",
         remedy[0] != '\0' ? remedy : "see certflipctl audit at the gateway",
         "it refuses our command: %s (%s)", text_of(error, "message"), text_of(data, "name"));
}

static void judge_silence(struct doctor *d, struct doctor_patient *p)
{
    if (p->refused != NULL && p->refused[0] != '\0')
        find(d, p, DOCTOR_ERROR, "gateway.not-asked",
             "allow this client to publish on the gateway's cmd topic", "%s", p->refused);
    else
        find(d, p, DOCTOR_ERROR, "gateway.silent",
             "does its configuration have the same root, may it subscribe to its cmd topic, and "
             "may it publish below <root>/<gateway>/reply? its log says more",
             "it is online, and has not answered");
}

/* -- the clock -------------------------------------------------------------------------------- */

static void judge_offset(struct doctor *d, struct doctor_patient *p, const json_t *status)
{
    int64_t said_s = show_parse_time(text_of(status, "now"));
    int64_t between_ms = p->sent_ms + (p->came_ms - p->sent_ms) / 2;
    int64_t slack_ms = (p->came_ms - p->sent_ms) / 2 + 1000; /* it tells whole seconds */
    int64_t off_ms = said_s * 1000 + 500 - between_ms, most_ms = off_ms < 0 ? -off_ms : off_ms;

    if (said_s < 0 || most_ms <= CLOCK_WARN_MS + slack_ms)
        return;
    find(d, p, most_ms > CLOCK_ERROR_MS + slack_ms ? DOCTOR_ERROR : DOCTOR_WARNING, "clock.differs",
         "compare both with a time server: timedatectl and chronyc tracking, here and there",
         "its clock is %" PRId64 " s %s ours", (most_ms + 500) / 1000,
         off_ms < 0 ? "behind" : "before");
}

static void judge_clock(struct doctor *d, struct doctor_patient *p, const json_t *status)
{
    const json_t *clock = json_object_get(status, "clock");
    const char *text = text_of(clock, "text");

    judge_offset(d, p, status);
    if (json_is_false(json_object_get(clock, "flips")))
        find(d, p, DOCTOR_ERROR, "clock.stops-flips",
             "set its clock: timedatectl and chronyc tracking at the gateway; or set "
             "clock.require_sync = false there",
             "flips are refused: %s", text[0] != '\0' ? text : "its clock cannot be believed");
    else if (json_is_false(json_object_get(clock, "synchronised")))
        find(d, p, DOCTOR_WARNING, "clock.unsynchronised",
             "have a time server keep it: timedatectl and chronyc tracking at the gateway",
             "its clock is not synchronised%s%s", text[0] != '\0' ? ": " : "", text);
    else if (text[0] != '\0')
        find(d, p, DOCTOR_WARNING, "clock.doubtful",
             "timedatectl and chronyc tracking at the gateway", "its clock: %s", text);
}

/* -- what it says of itself ------------------------------------------------------------------- */

static void judge_exceptions(struct doctor *d, struct doctor_patient *p, const json_t *status)
{
    size_t i;
    json_t *e;

    json_array_foreach(json_object_get(status, "exceptions"), i, e)
    {
        json_int_t days = json_integer_value(json_object_get(e, "days_left"));
        json_int_t devices = json_integer_value(json_object_get(e, "devices"));

        if (json_is_true(json_object_get(e, "in_force")))
            find(d, p, DOCTOR_WARNING, "exception.in-force",
                 "replace these sensors' certificates before its last day",
                 "exception %s is in force until %s (%" JSON_INTEGER_FORMAT
                 " days): %" JSON_INTEGER_FORMAT " of its devices use it",
                 text_of(e, "name"), text_of(e, "until"), days, devices);
        else
            find(d, p, DOCTOR_WARNING, "exception.over",
                 "take it out of the configuration; who used it is refused",
                 "exception %s has ended on %s", text_of(e, "name"), text_of(e, "until"));
    }
}

static void judge_messages(struct doctor *d, struct doctor_patient *p, const json_t *status)
{
    size_t i;
    json_t *message;

    json_array_foreach(json_object_get(status, "messages"), i, message)
    {
        if (json_is_string(message))
            find(d, p, DOCTOR_WARNING, "gateway.says", "certflipctl status at the gateway",
                 "it says: %s", json_string_value(message));
    }
}

static bool requires(const json_t *policy, const char *class)
{
    const char *word = text_of(policy, class);

    return strcmp(word, "required") == 0;
}

/* "required": { "observe": "optional", ... } is told by gateways of this version. */
static void judge_signing(struct doctor *d, struct doctor_patient *p,
                          const struct doctor_rules *rules, const json_t *status)
{
    const json_t *by = json_object_get(json_object_get(status, "central"), "signed");
    const json_t *policy = json_object_get(by, "policy");
    bool required = requires(policy, "operate") || requires(policy, "trust");
    json_int_t count = json_integer_value(json_object_get(by, "operators"));

    if (required && !rules->signs)
        find(d, p, DOCTOR_ERROR, "signed.no-key",
             "give the campaign file an operator with a key of that gateway's operators",
             "it takes signed commands only, and the campaign has no operator");
    else if (policy != NULL && !required)
        find(d, p, DOCTOR_WARNING, "signed.not-required",
             "name operators, and set management.signed to required",
             "it takes commands that nobody has signed: whoever may publish on the broker commands "
             "it");
    if (rules->signs && json_is_object(by) && count == 0)
        find(d, p, DOCTOR_WARNING, "signed.no-operators",
             "add the operator's public key to operators, then reload",
             "it knows no operator: what we sign is refused");
}

static void judge_refused(struct doctor *d, struct doctor_patient *p, const json_t *status)
{
    const json_t *central = json_object_get(status, "central");
    json_t *refused = json_object_get(json_object_get(central, "signed"), "refused"), *n;
    json_int_t dropped = json_integer_value(json_object_get(central, "events_dropped"));
    const char *code;

    json_object_foreach(refused, code, n)
    {
        find(
            d, p, DOCTOR_WARNING, "signed.refused",
            "certflipctl audit at the gateway says when and what; if it was none of yours, look at "
            "who may publish",
            "it has refused %" JSON_INTEGER_FORMAT " commands of the centre: %.60s",
            json_integer_value(n), code);
    }
    if (dropped > 0)
        find(d, p, DOCTOR_WARNING, "gateway.events-dropped",
             "nothing is lost of what is true; the audit log at the gateway has the rest",
             "%" JSON_INTEGER_FORMAT " of its events were dropped while the broker was away",
             dropped);
}

static void judge_status(struct doctor *d, struct doctor_patient *p,
                         const struct doctor_rules *rules)
{
    const json_t *error = json_object_get(p->reply, "error");
    const json_t *status = json_object_get(p->reply, "result");

    if (json_is_object(error)) {
        judge_refusal(d, p, error);
        return;
    }
    if (!json_is_object(status)) {
        judge_silence(d, p);
        return;
    }
    judge_clock(d, p, status);
    judge_exceptions(d, p, status);
    judge_messages(d, p, status);
    judge_signing(d, p, rules, status);
    judge_refused(d, p, status);
}

/* -- its devices ------------------------------------------------------------------------------ */

struct tally {
    size_t expired, soon, later, unusable, refused, quarantined;
    const struct view_device *first; /* to expire */
    const struct view_device *one;   /* of `unusable` or `refused` */
};

static void count_expiry(struct tally *t, const struct view_device *d, int64_t now_s)
{
    int64_t until_s = view_active(d)->not_after_s;

    if (until_s == 0)
        return;
    if (t->first == NULL || until_s < view_active(t->first)->not_after_s)
        t->first = d;
    if (until_s <= now_s)
        t->expired++;
    else if (until_s <= now_s + (int64_t)SOON_DAYS * DAY_S)
        t->soon++;
    else if (until_s <= now_s + (int64_t)LATER_DAYS * DAY_S)
        t->later++;
}

static void judge_quarantine(struct doctor *d, struct doctor_patient *p, struct tally *t,
                             const struct view_device *v)
{
    const char *why = v->reason != NULL ? v->reason : v->message != NULL ? v->message : "";

    if (t->quarantined++ >= QUARANTINE_MOST)
        return;
    find(d, p, DOCTOR_ERROR, "device.quarantined",
         v->remedy != NULL ? v->remedy
                           : "mend the cause, then certflipctl quarantine clear; or resume the "
                             "campaign, which does it",
         "device %s was rolled back%s%s%s%s", v->name, v->failure != NULL ? ": " : "",
         v->failure != NULL ? v->failure : "", why[0] != '\0' ? ": " : "", why);
}

static void say_expiries(struct doctor *d, struct doctor_patient *p, const struct tally *t,
                         int64_t now_s)
{
    char day[32];
    int64_t days;

    if (t->first == NULL || t->expired + t->soon + t->later == 0)
        return;
    clock_iso(view_active(t->first)->not_after_s, day, sizeof(day));
    day[10] = '\0';
    days = (view_active(t->first)->not_after_s - now_s) / DAY_S;
    if (t->expired > 0)
        find(d, p, DOCTOR_ERROR, "certificate.expired",
             "issue new ones: a campaign without soak, or certflipctl keygen and install",
             "%zu devices have an expired certificate, the first is %s (%s)", t->expired,
             t->first->name, day);
    if (t->soon > 0)
        find(d, p, DOCTOR_ERROR, "certificate.expires-soon",
             "issue new ones now: certflip-fleet plan",
             "%zu certificates expire within %d days, the first of all is that of %s (%s, %" PRId64
             " days)",
             t->soon, SOON_DAYS, t->first->name, day, days);
    if (t->later > 0)
        find(d, p, DOCTOR_WARNING, "certificate.expires", "plan a campaign: certflip-fleet plan",
             "%zu certificates expire within %d to %d days, the first of all is that of %s (%s)",
             t->later, SOON_DAYS, LATER_DAYS, t->first->name, day);
}

static void judge_devices(struct doctor *d, struct doctor_patient *p,
                          const struct doctor_rules *rules)
{
    struct tally t = {.first = NULL};

    for (size_t i = 0; i < p->seen->device_count; i++) {
        const struct view_device *v = p->seen->sorted[i];

        if (rules->wants_device != NULL && !rules->wants_device(rules->campaign, v->name))
            continue;
        count_expiry(&t, v, rules->now_s);
        if (v->phase == VIEW_ROLLED_BACK)
            judge_quarantine(d, p, &t, v);
        if (!view_active(v)->usable && t.unusable++ == 0)
            t.one = v;
        if (p->seen->online && v->online && !v->up && view_active(v)->usable && t.refused++ == 0 &&
            t.unusable == 0)
            t.one = v;
    }
    say_expiries(d, p, &t, rules->now_s);
    if (t.unusable > 0)
        find(d, p, DOCTOR_ERROR, "device.no-identity",
             "certflipctl devices at the gateway says what is wrong with each",
             "%zu devices have no identity that can be used, such as %s", t.unusable, t.one->name);
    else if (t.refused > 0)
        find(d, p, DOCTOR_ERROR, "device.not-accepted",
             "certflipctl device NAME at the gateway says why",
             "%zu sensors are connected, and the broker has not accepted them, such as %s",
             t.refused, t.one->name);
}

/* -- what is common to the fleet -------------------------------------------------------------- */

/* How many have it.  Counted in maps from text to (void *)(count). */
static size_t count_of(const struct map *m, const char *key)
{
    return (size_t)(uintptr_t)map_get(m, key);
}

static bool count_one(struct map *m, const char *key)
{
    return map_put(m, key, (void *)(uintptr_t)(count_of(m, key) + 1)) == 0; /* NOLINT */
}

static const char *version_of(const struct doctor_patient *p)
{
    return text_of(p->seen->state, "version");
}

static void judge_versions(struct doctor *d, struct doctor_patient *all, size_t n)
{
    struct map *m = map_new();
    const char *most = "";

    if (m == NULL) {
        d->failed = true;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const char *version = version_of(&all[i]);

        if (version[0] == '\0')
            continue;
        d->failed = !count_one(m, version) || d->failed;
        if (count_of(m, version) > count_of(m, most))
            most = version;
    }
    for (size_t i = 0; i < n; i++) {
        const char *version = version_of(&all[i]);

        if (version[0] != '\0' && strcmp(version, most) != 0)
            find(d, &all[i], DOCTOR_WARNING, "version.differs", "bring all gateways to one version",
                 "it runs version %.40s, and most others run %.40s", version, most);
    }
    map_free(m);
}

/* Those of a set, as its state tells: each has fingerprint and subject. */
static const json_t *anchors_of(const struct doctor_patient *p, const char *set)
{
    return json_object_get(json_object_get(p->seen->state, "trust"), set);
}

static bool has_anchor(const json_t *anchors, const char *fp)
{
    size_t i;
    json_t *a;

    json_array_foreach(anchors, i, a)
    {
        if (strcmp(text_of(a, "fingerprint"), fp) == 0)
            return true;
    }
    return false;
}

struct anchors {
    const char *set;
    struct map *count;    /* fingerprint to how many */
    struct map *subjects; /* fingerprint to subject, borrowed */
    size_t gateways;      /* that tell of theirs */
};

static void count_anchors(struct doctor *d, struct anchors *a, const struct doctor_patient *p)
{
    const json_t *anchors = anchors_of(p, a->set);
    size_t i;
    json_t *one;

    if (!json_is_array(anchors))
        return;
    a->gateways++;
    json_array_foreach(anchors, i, one)
    {
        const char *fp = text_of(one, "fingerprint"), *subject = text_of(one, "subject");

        if (fp[0] != '\0' &&
            (!count_one(a->count, fp) || map_put(a->subjects, fp, (void *)(uintptr_t)subject) != 0))
            d->failed = true;
    }
}

/* Against what the larger part has. */
static void compare_anchors(struct doctor *d, const struct anchors *a, struct doctor_patient *p)
{
    const json_t *anchors = anchors_of(p, a->set);
    const char *fp;
    void *value;
    size_t it = 0;

    while (json_is_array(anchors) && map_next(a->count, &it, &fp, &value)) {
        size_t count = (size_t)(uintptr_t)value;
        const char *subject = map_get(a->subjects, fp);
        bool has = has_anchor(anchors, fp), most = 2 * count > a->gateways;

        if (count == a->gateways || has == most)
            continue;
        find(d, p, DOCTOR_WARNING, has ? "anchor.alone" : "anchor.missing",
             has ? "is it meant to be? certflipctl trust check and trust remove take it away"
                 : "push it by the campaign (trust), or certflipctl trust add at the gateway",
             has ? "%s: it believes %.100s (%.16s...), as only %zu of %zu gateways do"
                 : "%s: it does not believe %.100s (%.16s...), as %zu of %zu gateways do",
             a->set, subject, fp, count, a->gateways);
    }
}

/* When they end. */
static void judge_anchor_days(struct doctor *d, struct doctor_patient *p, const char *set,
                              int64_t now_s)
{
    size_t i;
    json_t *a;

    json_array_foreach(anchors_of(p, set), i, a)
    {
        int64_t until_s = show_parse_time(text_of(a, "not_after"));
        int64_t days = (until_s - now_s) / DAY_S;

        if (until_s >= 0 && days < LATER_DAYS)
            find(d, p, days < SOON_DAYS ? DOCTOR_ERROR : DOCTOR_WARNING, "anchor.expires",
                 "whoever depends on it is refused then: bring its successor to the gateways, and "
                 "new certificates to the devices",
                 "%s: the anchor %.100s ends on %.10s", set, text_of(a, "subject"),
                 text_of(a, "not_after"));
    }
}

static void judge_anchors(struct doctor *d, const char *set, struct doctor_patient *all, size_t n,
                          int64_t now_s)
{
    struct anchors a = {.set = set, .count = map_new(), .subjects = map_new()};

    if (a.count == NULL || a.subjects == NULL) {
        d->failed = true;
        map_free(a.count);
        map_free(a.subjects);
        return;
    }
    for (size_t i = 0; i < n; i++)
        count_anchors(d, &a, &all[i]);
    for (size_t i = 0; i < n; i++) {
        compare_anchors(d, &a, &all[i]);
        judge_anchor_days(d, &all[i], set, now_s);
    }
    map_free(a.count);
    map_free(a.subjects);
}

void doctor_judge(struct doctor *d, const struct doctor_rules *rules, struct doctor_patient *all,
                  size_t n)
{
    *d = (struct doctor){.all = NULL};
    for (size_t i = 0; i < n; i++) {
        all[i].verdict = DOCTOR_GOOD;
        judge_presence(d, &all[i]);
        if (all[i].asked && all[i].reply == NULL)
            judge_silence(d, &all[i]);
        else if (all[i].asked)
            judge_status(d, &all[i], rules);
        judge_devices(d, &all[i], rules);
    }
    judge_versions(d, all, n);
    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
        judge_anchors(d, sets[i], all, n, rules->now_s);
    if (d->count > 0)
        qsort(d->all, d->count, sizeof(d->all[0]), by_severity);
}
