/* tests/fleet/device.c - a simulated device: the engine of flips, and in place of connections the
 * time that they take.  See sim.h. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rand.h"
#include "base/str.h"
#include "control/jsonrpc.h"
#include "sim.h"

#define YEAR_S (INT64_C(365) * 24 * 3600)

static const struct fault_kind {
    const char *class;
    enum flip_event ev;
    struct sim_error error;
} fault_kinds[] = {
    {"identity",
     EV_REJECTED,
     {true, 0, "identity", "tls.unknown_ca", "the broker does not know the issuer",
      "add the issuer at the broker", "unknown_ca", 48}},
    {"suspect",
     EV_SUSPECT,
     {true, 0, "suspect", "tls.closed", "the broker closed the connection without a word",
      "look at the log of the broker", NULL, 0}},
    {"network",
     EV_LOST,
     {true, 0, "network", "net.refused", "nobody listens there", "look at the way to the broker",
      NULL, 0}},
};

static const struct fault_kind *refusal(const struct sim_device *d)
{
    char both[300];

    if (sim.faults.refuse <= 0)
        return NULL;
    snprintf(both, sizeof(both), "%s/%s", d->gateway->name, d->name);
    if (sim.faults.refuse_glob != NULL && !str_glob(sim.faults.refuse_glob, both))
        return NULL;
    if (sim_share("refuse", d->gateway->name, d->name) >= sim.faults.refuse)
        return NULL;
    for (size_t i = 0; i < sizeof(fault_kinds) / sizeof(fault_kinds[0]); i++)
        if (strcmp(fault_kinds[i].class, sim.faults.class) == 0)
            return &fault_kinds[i];
    return NULL;
}

/* -- the account -- */

static void count_phase(const struct sim_device *d, enum flip_phase from)
{
    struct sim_counts *c = &sim.counts;

    if (from == d->flip.phase)
        return;
    c->phases[from]--;
    c->phases[d->flip.phase]++;
    if (from == FLIP_TRIAL) {
        c->trials--;
        d->gateway->trials--;
    }
    if (d->flip.phase == FLIP_TRIAL) {
        if (++c->trials > c->most_trials)
            c->most_trials = c->trials;
        if (++d->gateway->trials > c->most_gateway_trials)
            c->most_gateway_trials = d->gateway->trials;
    }
    if (d->flip.phase == FLIP_COMMITTED) {
        c->commits++;
        c->migrated++;
    }
    if (d->flip.phase == FLIP_ROLLED_BACK)
        c->rollbacks++;
    if (from == FLIP_COMMITTED && d->flip.phase != FLIP_STEADY)
        c->migrated--;
}

static void count_flip(struct sim_device *d)
{
    struct sim_counts *c = &sim.counts;

    c->flips++;
    if (++d->flips > c->most_flips)
        c->most_flips = d->flips;
    if (!d->gateway->trust_added)
        c->untrusted_flips++;
}

static void count_retire(struct sim_device *d)
{
    struct sim_counts *c = &sim.counts;

    c->retires++;
    if (c->least_migrated_at_retire < 0 || (int)c->migrated < c->least_migrated_at_retire)
        c->least_migrated_at_retire = (int)c->migrated;
    d->retired = true;
}

/* -- time -- */

static void rearm(struct sim_device *d)
{
    int64_t due = flip_due(&d->flip);

    if (d->move_ms != 0 && (due == 0 || d->move_ms < due))
        due = d->move_ms;
    if (due == 0)
        timer_stop(&d->timer);
    else
        timer_at(&d->timer, due);
}

static void move(struct sim_device *d, bool old)
{
    d->moving_old = old;
    d->move_ms = clock_boot_ms() + 1 + rand_below(2 * sim.connect_ms + 1);
}

static void stand(struct sim_device *d, enum flip_slot slot)
{
    d->leg = slot;
    d->leg_s = clock_wall_s();
    d->leg_failed = false;
}

static void moved(struct sim_device *d)
{
    const struct fault_kind *k;
    enum flip_event ev;

    d->move_ms = 0;
    if (d->moving_old) {
        stand(d, FLIP_OLD);
        ev = d->flip.phase == FLIP_TRIAL || d->flip.phase == FLIP_COMMITTED ? EV_OLD_ACCEPTED
                                                                            : EV_ROLLED;
        device_apply(d, ev, d->error.there ? d->error.name : NULL, "certflipd");
        return;
    }
    k = refusal(d);
    if (k == NULL) {
        stand(d, FLIP_NEW);
        d->proof = true;
        d->proof_s = d->leg_s;
        memcpy(d->proof_fp, d->slots[FLIP_NEW].fp, sizeof(d->proof_fp));
        device_apply(d, EV_ACCEPTED, NULL, "certflipd");
        return;
    }
    d->error = k->error;
    d->error.time_s = clock_wall_s();
    d->leg_failed = true;
    device_apply(d, k->ev, k->error.name, "certflipd");
    if (k->ev == EV_LOST && d->flip.phase == FLIP_TRIAL) { /* it is tried again */
        move(d, false);
        d->move_ms += 1000;
        rearm(d);
    }
}

static void on_timer(struct timer *t)
{
    struct sim_device *d = list_entry(t, struct sim_device, timer);
    int64_t now = clock_boot_ms();
    enum flip_event ev;

    if (d->move_ms != 0 && d->move_ms <= now)
        moved(d);
    else if ((ev = flip_tick(&d->flip, now)) != EV_NONE)
        device_apply(d, ev, NULL, "certflipd");
    rearm(d);
}

/* -- what comes to pass -- */

static void tell(struct sim_device *d, enum flip_phase from, const char *cause, const char *who)
{
    struct sim_gateway *g = d->gateway;
    bool failed = d->error.there && strcmp(cause, d->error.name) == 0;
    json_t *ev = json_pack(
        "{s:I, s:o, s:o, s:s, s:s, s:s, s:s, s:s, s:s?, s:s?, s:s, s:s?}", "seq",
        (json_int_t)++g->seq, "epoch", gateway_epoch(g), "time", rpc_time(clock_wall_s()), "event",
        "flip", "device", d->name, "from", flip_phase_name(from), "to",
        flip_phase_name(d->flip.phase), "cause", cause, "message",
        failed ? d->error.sentence : NULL, "remedy", failed ? d->error.remedy : NULL, "by", who,
        "proven", from == FLIP_TRIAL && d->flip.phase != FLIP_TRIAL && d->proof ? "connack" : NULL);

    gateway_say(g, g->event, json_dumps(ev, JSON_COMPACT), NULL, 0);
    json_decref(ev);
}

static void set_reason(struct sim_device *d, const char *reason)
{
    free(d->reason);
    d->reason = reason == NULL ? NULL : sim_strdup(reason);
}

static void take_old(struct sim_device *d)
{
    slot_fini(&d->slots[FLIP_OLD]);
    d->slots[FLIP_OLD] = d->slots[FLIP_NEW];
    d->slots[FLIP_NEW] = (struct slot){0};
    free(d->csr);
    d->csr = NULL;
    d->csr_since_s = 0;
    stand(d, FLIP_OLD);
}

int device_apply(struct sim_device *d, enum flip_event ev, const char *cause, const char *who)
{
    enum flip_phase from = d->flip.phase;
    int rc = flip_step(&d->flip, ev, clock_boot_ms());

    if (rc < 0)
        return rc;
    count_phase(d, from);
    if (ev == EV_FLIP) {
        count_flip(d);
        d->proof = false;
        d->confirmed_by[0] = '\0';
        set_reason(d, NULL);
    }
    if (ev == EV_CONFIRMED)
        snprintf(d->confirmed_by, sizeof(d->confirmed_by), "%s", who);
    if (cause == NULL)
        cause = flip_event_name(ev);
    if ((rc & DO_QUARANTINE) != 0)
        set_reason(d, d->error.there && strcmp(cause, d->error.name) == 0 ? d->error.sentence
                      : ev == EV_ROLLBACK                                 ? "by command"
                                                                          : cause);
    if ((rc & DO_RETIRE) != 0) {
        count_retire(d);
        take_old(d);
    }
    if ((rc & DO_DISCARD) != 0) {
        slot_fini(&d->slots[FLIP_NEW]);
        free(d->csr);
        d->csr = NULL;
        d->csr_since_s = 0;
    }
    if ((rc & DO_USE_NEW) != 0 && d->online)
        move(d, false);
    if ((rc & (DO_USE_OLD | DO_TRY_OLD)) != 0)
        move(d, true);
    if (d->flip.phase != from)
        d->changed_s = clock_wall_s();
    rearm(d);
    if ((rc & DO_TELL) != 0)
        tell(d, from, cause, who);
    gateway_touch(d->gateway, d);
    return 0;
}

void device_sensor(struct sim_device *d, bool online)
{
    if (d->online == online)
        return;
    d->online = online;
    if (online && d->flip.phase == FLIP_TRIAL && !d->flip.accepted)
        move(d, false);
    if (!online) {
        d->move_ms = d->moving_old ? d->move_ms : 0;
        if (d->flip.phase == FLIP_TRIAL)
            device_apply(d, EV_LOST, NULL, "certflipd");
    }
    rearm(d);
    gateway_touch(d->gateway, d);
}

/* -- life -- */

void slot_fini(struct slot *s)
{
    free(s->subject);
    free(s->issuer);
    *s = (struct slot){0};
}

/* There is no certificate behind the old identity, only its number. */
static void make_old(struct sim_device *d)
{
    struct slot *s = &d->slots[FLIP_OLD];
    char part[40];

    s->there = true;
    for (int i = 0; i < 4; i++) {
        snprintf(part, sizeof(part), "old-%d", i);
        snprintf(s->fp + 16 * i, 17, "%016llx",
                 (unsigned long long)(sim_share(part, d->gateway->name, d->name) * 0x1p53) << 11);
    }
    s->subject = str_printf("CN=%s", d->name);
    s->issuer = sim_strdup("CN=Plant Old CA,O=Plant");
    s->not_before_s = clock_wall_s() - YEAR_S;
    s->not_after_s = clock_wall_s() + YEAR_S / 4;
}

void device_init(struct sim_device *d, struct sim_gateway *g, const char *name)
{
    *d = (struct sim_device){.gateway = g, .name = sim_strdup(name), .online = true};
    list_init(&d->stale);
    flip_init(&d->flip);
    d->timer.fire = on_timer;
    d->changed_s = clock_wall_s();
    make_old(d);
    stand(d, FLIP_OLD);
    sim.counts.phases[FLIP_STEADY]++;
}

void device_fini(struct sim_device *d)
{
    timer_stop(&d->timer);
    list_del(&d->stale);
    slot_fini(&d->slots[FLIP_OLD]);
    slot_fini(&d->slots[FLIP_NEW]);
    free(d->csr);
    free(d->reason);
    free(d->name);
}

/* -- as the contract has it -- */

static json_t *wall_of(int64_t boot_ms)
{
    return rpc_time((clock_wall_ms() + boot_ms - clock_boot_ms() + 500) / 1000);
}

json_t *device_slot(const struct sim_device *d, enum flip_slot slot)
{
    const struct slot *s = &d->slots[slot];

    if (!s->there && slot == FLIP_NEW && d->csr_since_s != 0)
        return json_pack("{s:b, s:n, s:o}", "usable", 0, "fault", "csr_since",
                         rpc_time(d->csr_since_s));
    if (!s->there)
        return json_null();
    return json_pack("{s:b, s:s, s:s, s:s, s:s, s:o, s:o, s:n, s:[]}", "usable", 1, "fingerprint",
                     s->fp, "key", "plain", "subject", s->subject, "issuer", s->issuer,
                     "not_before", rpc_time(s->not_before_s), "not_after", rpc_time(s->not_after_s),
                     "fault", "findings");
}

static const char *waiting(const struct sim_device *d)
{
    if (d->flip.phase != FLIP_TRIAL)
        return NULL;
    if (!d->flip.accepted)
        return d->online ? "upstream" : "device";
    return d->flip.due_ms != 0 ? "probation" : "confirm";
}

static json_t *due(const struct sim_device *d)
{
    if (d->flip.phase != FLIP_TRIAL || !d->flip.accepted)
        return json_null();
    return d->flip.due_ms != 0    ? wall_of(d->flip.due_ms)
           : d->flip.dead_ms != 0 ? wall_of(d->flip.dead_ms)
                                  : json_null();
}

static json_t *bits(unsigned proofs)
{
    json_t *all = json_array();

    for (unsigned i = 0; i < FLIP_PROOFS; i++)
        if ((proofs & 1U << i) != 0)
            json_array_append_new(all, json_string(flip_proof_name((enum flip_proof)(1U << i))));
    return all;
}

static json_t *evidence(const struct sim_device *d)
{
    unsigned wanted = flip_wanted(&d->flip), got = 0;
    json_t *proven;

    if (d->flip.phase == FLIP_STEADY || d->flip.phase == FLIP_STAGED)
        return json_null();
    proven = json_array();
    if (d->proof) {
        got |= FLIP_PROOF_CONNACK;
        json_array_append_new(proven, json_pack("{s:s, s:o, s:s, s:s, s:b}", "what", "connack",
                                                "time", rpc_time(d->proof_s), "tls", "TLSv1.3",
                                                "fingerprint", d->proof_fp, "session_present", 1));
    }
    if (d->confirmed_by[0] != '\0') {
        got |= FLIP_PROOF_CENTRAL;
        json_array_append_new(proven, json_pack("{s:s, s:o, s:s}", "what", "central", "time",
                                                rpc_time(clock_wall_s()), "by", d->confirmed_by));
    }
    return json_pack("{s:o, s:o, s:o, s:s?}", "wanted", bits(wanted), "missing",
                     bits(wanted & ~got), "proven", proven, "text",
                     d->proof ? "connack over TLSv1.3" : NULL);
}

static json_t *leg(const struct sim_device *d)
{
    if (!d->online)
        return json_null();
    return json_pack("{s:s, s:s, s:o, s:s, s:s}", "slot", flip_slot_name(d->leg), "state",
                     d->leg_failed ? "failed" : "accepted", "since", rpc_time(d->leg_s), "tls",
                     "TLSv1.3", "fingerprint", d->slots[d->leg].fp);
}

static json_t *error(const struct sim_device *d)
{
    const struct sim_error *e = &d->error;

    if (!e->there)
        return json_null();
    return json_pack(
        "{s:o, s:s, s:s, s:s, s:s, s:s, s:o, s:n}", "time", rpc_time(e->time_s), "slot", "new",
        "class", e->class, "name", e->name, "message", e->sentence, "remedy", e->remedy, "alert",
        e->alert == NULL ? json_null()
                         : json_pack("{s:i, s:s}", "number", e->number, "name", e->alert),
        "x509");
}

json_t *device_show(const struct sim_device *d)
{
    const struct flip *f = &d->flip;
    bool trial = f->phase == FLIP_TRIAL;

    return json_pack(
        "{s:s, s:s, s:s?, s:s, s:o, s:o, s:o, s:i, s:o, s:b, s:{s:o, s:o}, s:o, s:s?, s:n, s:o, "
        "s:o}",
        "device", d->name, "phase", flip_phase_name(f->phase), "waiting", waiting(d), "active",
        flip_slot_name(flip_active_slot(f)), "due", due(d), "deadline",
        trial && f->dead_ms != 0 ? wall_of(f->dead_ms) : json_null(), "begin_by",
        trial && f->begin_by_ms != 0 ? wall_of(f->begin_by_ms) : json_null(), "attempts",
        (int)f->attempts, "evidence", evidence(d), "online", (int)d->online, "slots", "old",
        device_slot(d, FLIP_OLD), "new", device_slot(d, FLIP_NEW), "upstream", leg(d), "reason",
        d->reason, "reason_remedy", "last_error", error(d), "changed", rpc_time(d->changed_s));
}
