/* control/show.c - see show.h and rpc.h. */
#include "control/show.h"

#include <jansson.h>
#include <stdio.h>

#include "base/clock.h"
#include "control/hub_inside.h"

const char *show_waiting(const struct hub_device *d)
{
    if (d->retry != EV_NONE && !d->dirty)
        return "store";
    if (d->queued)
        return "queue";
    if (d->flip.phase != FLIP_TRIAL)
        return NULL;
    if (!d->flip.accepted)
        return d->session_count == 0 ? "device" : "upstream";
    return d->flip.due_ms != 0 ? "probation" : "confirm";
}

static json_t *show_due(const struct hub *h, const struct hub_device *d)
{
    int64_t due = d->flip.phase != FLIP_TRIAL || !d->flip.accepted ? 0
                  : d->flip.due_ms != 0                            ? d->flip.due_ms
                                                                   : d->flip.dead_ms;

    /* Rounded: cut, it would be one second earlier or later by the moment in which one asks. */
    return due == 0 ? json_null() : rpc_time((clock_wall_ms() + due - hub_now(h) + 500) / 1000);
}

static json_t *show_begin_by(const struct hub *h, const struct hub_device *d)
{
    if (d->flip.phase != FLIP_TRIAL || d->flip.begin_by_ms == 0)
        return json_null();
    return rpc_time(hub_wall_s(h) + (d->flip.begin_by_ms - hub_now(h) + 500) / 1000);
}

static json_t *show_deadline(const struct hub *h, const struct hub_device *d)
{
    if (d->flip.phase != FLIP_TRIAL || d->flip.dead_ms == 0)
        return json_null();
    return rpc_time(hub_wall_s(h) + (d->flip.dead_ms - hub_now(h) + 500) / 1000);
}

static json_t *show_bits(unsigned proofs)
{
    json_t *names = json_array();

    for (unsigned i = 0; i < FLIP_PROOFS; i++)
        if ((proofs & 1U << i) != 0)
            json_array_append_new(names, json_string(flip_proof_name((enum flip_proof)(1U << i))));
    return names;
}

static json_t *show_proofs(const struct store_proof *p)
{
    json_t *all = json_array();

    if (p == NULL)
        return all;
    if ((p->what & FLIP_PROOF_CONNACK) != 0)
        json_array_append_new(
            all, json_pack("{s:s, s:o, s:o, s:o, s:b}", "what", "connack", "time",
                           rpc_time(p->connack_s), "tls", rpc_text_or_null(p->tls), "fingerprint",
                           rpc_text_or_null(p->fp), "session_present", (int)p->session_present));
    if ((p->what & FLIP_PROOF_ECHO) != 0)
        json_array_append_new(all, json_pack("{s:s, s:o, s:f}", "what", "echo", "time",
                                             rpc_time(p->echo_s), "ms",
                                             (double)(p->echo_us / 10) / 100.0));
    if ((p->what & FLIP_PROOF_CENTRAL) != 0)
        json_array_append_new(all, json_pack("{s:s, s:o, s:o}", "what", "central", "time",
                                             rpc_time(p->central_s), "by", rpc_text(p->by)));
    return all;
}

static json_t *show_evidence(const struct hub_device *d)
{
    unsigned wanted = flip_wanted(&d->flip);
    char text[400];

    if (d->flip.phase == FLIP_STEADY || d->flip.phase == FLIP_STAGED)
        return json_null();
    return json_pack("{s:o, s:o, s:o, s:o}", "wanted", show_bits(wanted), "missing",
                     show_bits(wanted & ~(d->proof == NULL ? 0 : d->proof->what)), "proven",
                     show_proofs(d->proof), "text",
                     rpc_text_or_null(hub_proof_text(d->proof, text, sizeof(text))));
}

static void add_findings(json_t *list, uint64_t bits, enum lint_severity severity)
{
    for (int code = 0; code < LINT_CODES; code++) {
        const struct lint_kind *kind = lint_kind((enum lint_code)code);

        if ((bits >> code & 1) != 0)
            json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "code", kind->code,
                                                  "severity", lint_severity_name(severity),
                                                  "message", kind->help, "remedy", kind->remedy));
    }
}

static json_t *show_findings(const struct hub *h, const struct hub_device *d, enum flip_slot slot)
{
    struct hub_lint bits = hub_lint_now(h, d, slot);
    json_t *list = json_array();

    add_findings(list, bits.errors, LINT_ERROR);
    add_findings(list, bits.warnings, LINT_WARNING);
    return list;
}

struct json_t *show_slot(const struct hub *h, const struct hub_device *d, enum flip_slot slot)
{
    const struct cert_info *leaf;
    char fp[CERT_FP_TEXT];

    if (d->cred[slot] == NULL) {
        if (d->csr_since_s[slot] != 0)
            return json_pack("{s:b, s:n, s:o}", "usable", 0, "fault", "csr_since",
                             rpc_time(d->csr_since_s[slot]));
        if (!d->present[slot])
            return json_null();
        return json_pack("{s:b, s:o}", "usable", 0, "fault", rpc_text_or_null(d->fault[slot]));
    }
    leaf = cred_leaf(d->cred[slot]);
    str_hex(fp, leaf->fp, CERT_FP_BYTES);
    return json_pack("{s:b, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "usable", 1, "fingerprint",
                     fp, "key", cred_rest_name(cred_rest(d->cred[slot])), "subject",
                     rpc_text_or_null(leaf->subject), "issuer", rpc_text_or_null(leaf->issuer),
                     "not_before", rpc_date(leaf->not_before_s), "not_after",
                     rpc_date(leaf->not_after_s), "fault", rpc_text_or_null(d->fault[slot]),
                     "findings", show_findings(h, d, slot));
}

static json_t *show_leg(const struct hub_device *d)
{
    static const char *const states[] = {
        [MSG_LEG_ACCEPTED] = "accepted", [MSG_LEG_FAILED] = "failed", [MSG_LEG_LOST] = "lost"};
    const struct hub_leg *leg = d->leg;

    if (leg == NULL)
        return json_null();
    return json_pack("{s:s, s:s, s:o, s:o, s:o}", "slot", flip_slot_name(leg->slot), "state",
                     states[leg->what], "since", rpc_time(leg->since_s), "tls",
                     rpc_text_or_null(leg->tls), "fingerprint", rpc_text_or_null(leg->fp));
}

static json_t *show_alert(const struct diag *d)
{
    if (d->alert == NULL)
        return json_null();
    return json_pack("{s:i, s:s}", "number", d->alert_number, "name", d->alert);
}

static json_t *show_error(const struct hub_device *d)
{
    const struct hub_error *e = d->error;

    if (e == NULL)
        return json_null();
    return json_pack("{s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:s?}", "time", rpc_time(e->time_s),
                     "slot", flip_slot_name(e->slot), "class", diag_class_name(e->diag.class),
                     "name", rpc_text(e->diag.name), "message", rpc_text(e->diag.sentence),
                     "remedy", rpc_text_or_null(e->diag.remedy), "alert", show_alert(&e->diag),
                     "x509", e->diag.x509);
}

struct json_t *show_device(const struct hub *h, const struct hub_device *d)
{
    return json_pack(
        "{s:s, s:s, s:s?, s:s, s:o, s:o, s:o, s:i, s:o, s:b, s:{s:o, s:o}, s:o, s:o, s:s?, s:o, "
        "s:o}",
        "device", d->name, "phase", flip_phase_name(d->flip.phase), "waiting", show_waiting(d),
        "active", flip_slot_name(flip_active_slot(&d->flip)), "due", show_due(h, d), "deadline",
        show_deadline(h, d), "begin_by", show_begin_by(h, d), "attempts", (int)d->flip.attempts,
        "evidence", show_evidence(d), "online", d->session_count != 0, "slots", "old",
        show_slot(h, d, FLIP_OLD), "new", show_slot(h, d, FLIP_NEW), "upstream", show_leg(d),
        "reason", rpc_text_or_null(d->reason), "reason_remedy", hub_reason_todo(d), "last_error",
        show_error(d), "changed", rpc_time(d->changed_s));
}

/* -- in brief -- */

static json_t *until(const struct hub_device *d, enum flip_slot slot)
{
    return d->cred[slot] == NULL ? json_null() : rpc_date(cred_leaf(d->cred[slot])->not_after_s);
}

/* Why the identity in use does not serve, or will not for long. */
static const char *brief_fault(const struct hub *h, const struct hub_device *d)
{
    enum flip_slot slot = flip_active_slot(&d->flip);
    uint64_t errors;
    int code = 0;

    if (d->cred[slot] == NULL)
        return d->fault[slot] != NULL ? d->fault[slot] : "no files of the identity in use";
    errors = hub_lint_now(h, d, slot).errors;
    while (errors != 0 && (errors >> code & 1) == 0)
        code++;
    return errors == 0 ? NULL : lint_kind((enum lint_code)code)->help;
}

static const char *leg_state(const struct hub_device *d)
{
    return d->leg == NULL                     ? NULL
           : d->leg->what == MSG_LEG_ACCEPTED ? "accepted"
           : d->leg->what == MSG_LEG_FAILED   ? "failed"
                                              : "lost";
}

static json_t *brief_error(const struct hub_device *d)
{
    const struct hub_error *e = d->error;

    if (e == NULL)
        return json_null();
    return json_pack("{s:o, s:s, s:o, s:o, s:o}", "time", rpc_time(e->time_s), "slot",
                     flip_slot_name(e->slot), "name", rpc_text(e->diag.name), "message",
                     rpc_text(e->diag.sentence), "remedy", rpc_text_or_null(e->diag.remedy));
}

struct json_t *show_brief(const struct hub *h, const struct hub_device *d)
{
    unsigned missing = flip_wanted(&d->flip) & ~(d->proof == NULL ? 0 : d->proof->what);
    json_t *evidence = d->flip.phase != FLIP_TRIAL
                           ? json_null()
                           : json_pack("{s:o}", "missing", show_bits(missing));

    return json_pack(
        "{s:s, s:s, s:s?, s:s, s:b, s:s?, s:o, s:o, s:o, s:o, s:{s:o, s:o}, s:o, s:o, s:o, "
        "s:s?}",
        "device", d->name, "phase", flip_phase_name(d->flip.phase), "waiting", show_waiting(d),
        "active", flip_slot_name(flip_active_slot(&d->flip)), "online", d->session_count != 0,
        "upstream", leg_state(d), "due", show_due(h, d), "deadline", show_deadline(h, d),
        "begin_by", show_begin_by(h, d), "evidence", evidence, "until", "old", until(d, FLIP_OLD),
        "new", until(d, FLIP_NEW), "fault", rpc_text_or_null(brief_fault(h, d)), "last_error",
        brief_error(d), "reason", rpc_text_or_null(d->reason), "reason_remedy", hub_reason_todo(d));
}

/* Of what the JSON is made of, deadlines as they are kept: written as a time of day they move by a
 * second now and then. */
uint64_t show_brief_hash(const struct hub *h, const struct hub_device *d)
{
    const char *waiting = show_waiting(d), *fault = brief_fault(h, d), *leg = leg_state(d);
    char text[2400];
    int n = snprintf(
        text, sizeof(text),
        "%d %s %d %d %s %lld %lld %lld %u %u %lld %lld %lld %.600s|%.400s|%.300s",
        (int)d->flip.phase, waiting == NULL ? "" : waiting, (int)flip_active_slot(&d->flip),
        d->session_count != 0, leg == NULL ? "" : leg, (long long)d->flip.due_ms,
        (long long)d->flip.dead_ms, (long long)d->flip.begin_by_ms, flip_wanted(&d->flip),
        d->proof == NULL ? 0 : d->proof->what,
        d->cred[FLIP_OLD] == NULL ? 0LL : (long long)cred_leaf(d->cred[FLIP_OLD])->not_after_s,
        d->cred[FLIP_NEW] == NULL ? 0LL : (long long)cred_leaf(d->cred[FLIP_NEW])->not_after_s,
        d->error == NULL ? 0LL : (long long)d->error->time_s, fault == NULL ? "" : fault,
        d->reason == NULL ? "" : d->reason, d->error == NULL ? "" : d->error->diag.sentence);

    return map_hash(text, n < (int)sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

struct json_t *show_session(const struct hub_device *d, const struct hub_session *s)
{
    const char *mqtt = s->version == 3 ? "3.1" : s->version == 4 ? "3.1.1" : "5.0";

    return json_pack("{s:s, s:I, s:i, s:o, s:o, s:o, s:s, s:o, s:o, s:s?, s:o}", "device", d->name,
                     "session", (json_int_t)s->id, "worker", (int)s->worker, "listener",
                     rpc_text(s->listener), "peer", rpc_text(s->peer), "client_id",
                     rpc_text(s->client_id), "mqtt", mqtt, "tls", rpc_text_or_null(s->tls),
                     "fingerprint", rpc_text_or_null(s->fp), "exception", s->exception, "since",
                     rpc_time(s->since_s));
}

struct json_t *show_sessions(const struct hub_device *d)
{
    json_t *all = json_array();

    list_for_each (it, &d->sessions)
        json_array_append_new(all, show_session(d, list_entry(it, struct hub_session, link)));
    return all;
}

struct json_t *show_counts(const struct hub *h)
{
    struct hub_counts c;

    hub_count(h, &c);
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "total", (json_int_t)c.total, "online",
        (json_int_t)c.online, "steady", (json_int_t)c.phase[FLIP_STEADY], "staged",
        (json_int_t)c.phase[FLIP_STAGED], "trial", (json_int_t)c.phase[FLIP_TRIAL], "committed",
        (json_int_t)c.phase[FLIP_COMMITTED], "rolled_back", (json_int_t)c.phase[FLIP_ROLLED_BACK],
        "queued", (json_int_t)c.queued, "faulty", (json_int_t)c.faulty);
}

static json_t *show_accept(unsigned accept)
{
    static const char *const words[] = {"expired", "sha1", "md5", "small-key"};
    json_t *all = json_array();

    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if ((accept & 1U << i) != 0)
            json_array_append_new(all, json_string(words[i]));
    return all;
}

static json_t *show_names(char *const *names, size_t n)
{
    json_t *all = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(all, json_string(names[i]));
    return all;
}

struct json_t *show_exceptions(struct hub *h)
{
    const struct conf *c = hub_conf(h);
    int64_t now_s = clock_date_s();
    json_t *all = json_array();

    for (size_t i = 0; i < c->exception_count; i++) {
        const struct conf_exception *e = &c->exceptions[i];
        struct hub_exception use;
        char day[32];

        hub_exception(h, e->name, &use);
        clock_iso(e->until_s - 1, day, sizeof(day));
        day[10] = '\0';
        json_array_append_new(
            all,
            json_pack("{s:s, s:s, s:s?, s:s?, s:o, s:s, s:I, s:b, s:s, s:o, s:I, s:I, s:I, s:o}",
                      "name", e->name, "device", e->device, "fingerprint", e->fingerprint, "anchor",
                      e->anchor, "accept", show_accept(e->accept), "until", day, "days_left",
                      (json_int_t)((e->until_s - now_s) / 86400), "in_force",
                      (int)(now_s < e->until_s), "reason", e->reason, "listeners",
                      show_names(e->listeners, e->listener_count), "sessions",
                      (json_int_t)use.sessions, "devices", (json_int_t)use.devices, "uses",
                      (json_int_t)use.uses, "last_used", rpc_time(use.last_s)));
    }
    return all;
}

struct json_t *show_old_tls(const struct hub *h)
{
    const struct conf *c = hub_conf(h);
    json_t *all = json_array();

    for (size_t i = 0; i < c->listener_count; i++) {
        const struct conf_listener *l = &c->listeners[i];

        if (l->type == CONF_LISTEN_TLS && l->tls_min < 0x0303)
            json_array_append_new(all, json_pack("{s:s, s:s}", "listener", l->name, "tls_min",
                                                 l->tls_min == 0x0301 ? "1.0" : "1.1"));
    }
    return all;
}

struct json_t *show_clock(const struct hub *h)
{
    bool require_sync = hub_conf(h)->clock_require_sync;
    struct flip_clock c;
    int64_t since_s = hub_clock(h, &c);
    enum flip_clock_verdict v = flip_clock_judge(&c);
    char text[160];

    flip_clock_text(&c, text, sizeof(text));
    return json_pack("{s:o, s:o, s:o, s:o, s:b, s:b, s:o}", "synchronised",
                     c.known ? json_boolean(c.synchronised) : json_null(), "max_error_ms",
                     c.synchronised ? json_integer(c.max_error_us / 1000) : json_null(), "since",
                     rpc_time(since_s), "seen", rpc_time(c.seen_s), "require_sync",
                     (int)require_sync, "flips", (int)!flip_clock_refuses(v, require_sync), "text",
                     rpc_text_or_null(text));
}

struct json_t *show_clock_state(const struct hub *h)
{
    struct flip_clock c;
    int64_t since_s = hub_clock(h, &c);

    return json_pack(
        "{s:o, s:o, s:b}", "synchronised", c.known ? json_boolean(c.synchronised) : json_null(),
        "since", rpc_time(since_s), "flips",
        (int)!flip_clock_refuses(flip_clock_judge(&c), hub_conf(h)->clock_require_sync));
}

struct json_t *show_pace(const struct hub *h)
{
    struct hub_pace p;

    hub_pace(h, &p);
    return json_pack("{s:I, s:I, s:I, s:b}", "waiting", (json_int_t)p.waiting, "moving",
                     (json_int_t)p.moving, "window", (json_int_t)p.window, "paused", p.paused);
}

struct json_t *show_stats(const struct hub *h)
{
    struct worker_stats s;
    int64_t age_ms;
    json_t *all = json_object();

    hub_stats(h, &s, &age_ms);
#define SHOW(name) json_object_set_new(all, #name, json_integer((json_int_t)s.name));
    HUB_STATS(SHOW)
#undef SHOW
    json_object_set_new(all, "hold_us_max", json_integer((json_int_t)s.hold_us_max));
    json_object_set_new(all, "age_ms", json_integer(age_ms));
    return all;
}

struct json_t *show_refused(const struct hub *h)
{
    size_t n;
    const struct hub_refused *r = hub_refused(h, &n);
    json_t *all = json_object();

    for (size_t i = 0; i < n; i++)
        json_object_set_new(all, r[i].code, json_integer((json_int_t)r[i].count));
    return all;
}

struct json_t *show_epoch(int64_t epoch)
{
    char text[20];

    snprintf(text, sizeof(text), "%012llx", (unsigned long long)epoch);
    return json_string(text);
}

static json_t *show_progress(const struct hub_event *ev)
{
    const struct hub_progress *p = ev->progress;
    json_t *id = json_loads(p->id, JSON_DECODE_ANY, NULL);

    return json_pack(
        "{s:I, s:o, s:o, s:s, s:s, s:o, s:o, s:I, s:I, s:I}", "seq", (json_int_t)ev->seq, "epoch",
        show_epoch(ev->epoch), "time", rpc_time(ev->time_s), "event", "progress", "method",
        p->method, "id", id == NULL ? json_null() : id, "by", rpc_text(ev->who), "done",
        (json_int_t)p->done, "refused", (json_int_t)p->refused, "total", (json_int_t)p->total);
}

struct json_t *show_event(const struct hub_event *ev)
{
    if (ev->progress != NULL)
        return show_progress(ev);
    return json_pack("{s:I, s:o, s:o, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o}", "seq",
                     (json_int_t)ev->seq, "epoch", show_epoch(ev->epoch), "time",
                     rpc_time(ev->time_s), "event", "flip", "device", ev->device, "from",
                     flip_phase_name(ev->from), "to", flip_phase_name(ev->to), "cause", ev->cause,
                     "message", rpc_text_or_null(ev->msg), "remedy", rpc_text_or_null(ev->todo),
                     "by", rpc_text(ev->who), "proven", rpc_text_or_null(ev->proven));
}
