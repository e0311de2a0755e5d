#include "fleet/overview.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/map.h"
#include "cli/show.h"

/* -- counting ---------------------------------------------------------------------------------- */

/* clang-format off */
static const enum overview_part parts[FLEET_DEVICE_STEP_COUNT] = {
    [FLEET_DEVICE_PLANNED]   = OVERVIEW_WAITING,
    [FLEET_DEVICE_KEYED]     = OVERVIEW_WAITING,
    [FLEET_DEVICE_SIGNED]    = OVERVIEW_WAITING,
    [FLEET_DEVICE_READY]     = OVERVIEW_READY,
    [FLEET_DEVICE_FLIPPING]  = OVERVIEW_FLIPPING,
    [FLEET_DEVICE_MIGRATED]  = OVERVIEW_DONE,
    [FLEET_DEVICE_VALIDATED] = OVERVIEW_DONE,
    [FLEET_DEVICE_RETIRED]   = OVERVIEW_DONE,
    [FLEET_DEVICE_FAILED]    = OVERVIEW_FAILED,
    [FLEET_DEVICE_RETURNED]  = OVERVIEW_RETURNED,
    [FLEET_DEVICE_SKIPPED]   = OVERVIEW_SKIPPED,
};

static const char *const part_names[OVERVIEW_PARTS] = {
    [OVERVIEW_DONE]     = "done",
    [OVERVIEW_FLIPPING] = "flipping",
    [OVERVIEW_FAILED]   = "failed",
    [OVERVIEW_RETURNED] = "returned",
    [OVERVIEW_READY]    = "ready",
    [OVERVIEW_WAITING]  = "waiting",
    [OVERVIEW_SKIPPED]  = "skipped",
};
/* clang-format on */

enum overview_part overview_part_of(enum fleet_device_step step)
{
    return parts[step];
}

const char *overview_part_name(enum overview_part part)
{
    return part_names[part];
}

size_t overview_part(const struct overview_count *c, enum overview_part part)
{
    size_t n = 0;

    for (int i = 0; i < FLEET_DEVICE_STEP_COUNT; i++)
        if (parts[i] == part)
            n += c->step[i];
    return n;
}

unsigned overview_done(const struct overview_count *c)
{
    size_t all = c->devices - overview_part(c, OVERVIEW_SKIPPED);

    return all == 0 ? 1000 : (unsigned)(overview_part(c, OVERVIEW_DONE) * 1000 / all);
}

void overview_cells(const struct overview_count *c, size_t cells, size_t out[OVERVIEW_PARTS])
{
    size_t n[OVERVIEW_PARTS], given = 0, most = 0;

    for (int i = 0; i < OVERVIEW_PARTS; i++) {
        n[i] = overview_part(c, (enum overview_part)i);
        out[i] = c->devices == 0 ? 0 : n[i] * cells / c->devices;
        if (n[i] > 0 && out[i] == 0 && cells >= OVERVIEW_PARTS)
            out[i] = 1;
        given += out[i];
        if (out[i] > out[most])
            most = (size_t)i;
    }
    /* What is left over, or was given too much, is the largest part's. */
    if (c->devices > 0)
        out[most] = out[most] + cells - given;
}

static void count(struct overview_count *c, enum fleet_device_step step, size_t n)
{
    c->devices += n;
    c->step[step] += n;
}

/* -- reading ----------------------------------------------------------------------------------- */

struct reading {
    struct overview *o;
    struct map *gateways; /* struct overview_gateway, by name, once all are there */
    size_t cap;
    int (*each)(void *arg, const struct fleet_device *d);
    void *arg;
    struct err *err;
};

static int no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory");
}

static int take_gateway(void *arg, const struct fleet_gateway *g)
{
    struct reading *r = arg;
    struct overview *o = r->o;

    if (o->gateway_count == r->cap) {
        size_t cap = r->cap == 0 ? 64 : r->cap * 2;
        struct overview_gateway *grown = reallocarray(o->gateways, cap, sizeof(*grown));

        if (grown == NULL)
            return no_memory(r->err);
        o->gateways = grown;
        r->cap = cap;
    }
    o->gateways[o->gateway_count++] = (struct overview_gateway){.row = *g};
    o->trusted += g->step >= FLEET_GATEWAY_TRUSTED;
    o->retired += g->step == FLEET_GATEWAY_RETIRED;
    o->troubled += g->trouble[0] != '\0';
    return 0;
}

static int index_gateways(struct reading *r)
{
    r->gateways = map_new();
    if (r->gateways == NULL)
        return no_memory(r->err);
    for (size_t i = 0; i < r->o->gateway_count; i++)
        if (map_put(r->gateways, r->o->gateways[i].row.name, &r->o->gateways[i]) != 0)
            return no_memory(r->err);
    return 0;
}

static void add(struct reading *r, const char *gateway, int wave, enum fleet_device_step step,
                size_t n)
{
    struct overview_gateway *g = map_get(r->gateways, gateway);

    count(&r->o->all, step, n);
    if (g != NULL)
        count(&g->count, step, n);
    if (wave >= 0 && wave < CAMPAIGN_WAVES_MAX) {
        count(&r->o->wave[wave], step, n);
        if (wave >= r->o->waves)
            r->o->waves = wave + 1;
    }
}

static int take_tally(void *arg, const struct ledger_tally *t)
{
    add(arg, t->gateway, t->wave, t->step, t->count);
    return 0;
}

static int take_failure(struct reading *r, const struct fleet_device *d)
{
    struct overview *o = r->o;
    const char *name = d->failure[0] == '\0' ? "unknown" : d->failure;
    struct overview_failure *f = NULL, *grown;

    for (size_t i = 0; f == NULL && i < o->failure_count; i++)
        if (strcmp(o->failures[i].name, name) == 0)
            f = &o->failures[i];
    if (f == NULL) {
        grown = reallocarray(o->failures, o->failure_count + 1, sizeof(*grown));
        if (grown == NULL)
            return no_memory(r->err);
        o->failures = grown;
        f = &o->failures[o->failure_count++];
        memset(f, 0, sizeof(*f));
        snprintf(f->name, sizeof(f->name), "%s", name);
        snprintf(f->device, sizeof(f->device), "%s/%s", d->gateway, d->name);
        snprintf(f->reason, sizeof(f->reason), "%s", d->reason);
        snprintf(f->remedy, sizeof(f->remedy), "%s", d->remedy);
    }
    f->count++;
    return 0;
}

static int take_device(void *arg, const struct fleet_device *d)
{
    struct reading *r = arg;

    add(r, d->gateway, d->wave, d->step, 1);
    if (d->step == FLEET_DEVICE_FAILED && take_failure(r, d) != 0)
        return -ERR_NOMEM;
    return r->each(r->arg, d);
}

static int more_first(const void *a, const void *b)
{
    const struct overview_failure *x = a, *y = b;

    return x->count < y->count ? 1 : x->count > y->count ? -1 : strcmp(x->name, y->name);
}

int overview_read(struct ledger *l, int64_t now_s,
                  int (*each)(void *arg, const struct fleet_device *d), void *arg,
                  struct overview *out, struct err *err)
{
    struct reading r = {.o = out, .each = each, .arg = arg, .err = err};
    int rc;

    memset(out, 0, sizeof(*out));
    out->now_s = now_s;
    rc = ledger_snapshot(l, err);
    if (rc == 0)
        rc = ledger_campaign(l, &out->campaign, err);
    if (rc == 0)
        rc = ledger_gateways(l, take_gateway, &r, err);
    if (rc == 0)
        rc = index_gateways(&r);
    out->waves = out->campaign.waves;
    if (rc == 0)
        rc = each == NULL ? ledger_tallies(l, take_tally, &r, err)
                          : ledger_devices(l, take_device, &r, err);
    ledger_rollback(l);
    if (rc == 0 && ledger_is_ours(l))
        snprintf(out->owner, sizeof(out->owner), "%s", OVERVIEW_US);
    else if (rc == 0 && (rc = ledger_owner(l, out->owner, sizeof(out->owner), err)) > 0)
        rc = 0;
    map_free(r.gateways);
    if (rc != 0)
        overview_fini(out);
    else if (out->failure_count > 1)
        qsort(out->failures, out->failure_count, sizeof(out->failures[0]), more_first);
    return rc;
}

void overview_fini(struct overview *o)
{
    free(o->gateways);
    free(o->failures);
    memset(o, 0, sizeof(*o));
}

/* -- words ------------------------------------------------------------------------------------- */

const char *overview_wave(const struct campaign *c, int wave, char *out, size_t n)
{
    if (c != NULL && wave >= 1 && (size_t)wave <= c->waves.percent_count && c->waves.pilot > 0)
        snprintf(out, n, "%u %%", c->waves.percent[wave - 1]);
    else if (c != NULL && c->waves.pilot == 0 && wave >= 0 && (size_t)wave < c->waves.percent_count)
        snprintf(out, n, "%u %%", c->waves.percent[wave]);
    else if (wave == 0)
        snprintf(out, n, "pilot");
    else
        snprintf(out, n, "wave %d", wave);
    return out;
}

struct saying {
    void (*say)(void *arg, const char *text);
    void *arg;
    unsigned said;
};

static void say(struct saying *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(struct saying *s, const char *fmt, ...)
{
    char text[900];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    s->say(s->arg, text);
    s->said++;
}

/* Devices of the waves that are rolled back that are not back yet. */
static size_t to_return(const struct overview *o)
{
    size_t n = 0;

    for (int w = o->campaign.back_from < 0 ? 0 : o->campaign.back_from;
         w <= o->campaign.back_to && w < o->waves; w++)
        n += o->wave[w].step[FLEET_DEVICE_FLIPPING] + o->wave[w].step[FLEET_DEVICE_MIGRATED] +
             o->wave[w].step[FLEET_DEVICE_VALIDATED];
    return n;
}

/* A mode in which it goes nowhere by itself.  True when that is all there is to say. */
static bool say_mode(const struct overview *o, struct saying *s)
{
    const struct fleet_campaign *c = &o->campaign;
    const char *colon = c->reason[0] == '\0' ? "" : ": ";

    switch (c->mode) {
    case FLEET_PAUSED:
        say(s, "it is paused%s%s; `certflip-fleet resume` goes on", colon, c->reason);
        return true;
    case FLEET_HALTED:
        say(s,
            "it halted by itself%s%s; mend the cause (`stragglers` lists who failed and why), "
            "then `certflip-fleet resume`",
            colon, c->reason);
        return true;
    case FLEET_ABORTED:
        say(s,
            "it was ended by an operator%s%s; what was migrated stays so, `rollback` brings it "
            "back",
            colon, c->reason);
        return true;
    case FLEET_DONE:
        say(s, "nothing: all of it is done");
        return true;
    case FLEET_RUNNING:
    case FLEET_RETURNING:
    case FLEET_MODE_COUNT:
        break;
    }
    if (o->owner[0] == '\0')
        say(s, "nobody runs it: `certflip-fleet resume` goes on from here");
    if (c->mode == FLEET_RETURNING)
        say(s, "a wave is being rolled back%s%s: %zu devices are not on their old identity yet",
            colon, c->reason, to_return(o));
    return c->mode == FLEET_RETURNING;
}

static void say_prepare(const struct overview *o, struct saying *s)
{
    const size_t *step = o->all.step;

    if (o->trusted < o->gateway_count)
        say(s, "the new anchors are not seen to be in force yet: %zu of %zu gateways",
            o->gateway_count - o->trusted, o->gateway_count);
    if (step[FLEET_DEVICE_PLANNED] > 0)
        say(s, "keys and requests, made at the gateways: %zu of %zu devices",
            step[FLEET_DEVICE_PLANNED], o->all.devices);
    if (step[FLEET_DEVICE_KEYED] > 0)
        say(s, "requests to be signed: %zu", step[FLEET_DEVICE_KEYED]);
    if (step[FLEET_DEVICE_SIGNED] > 0)
        say(s, "certificates to be installed at the gateways: %zu", step[FLEET_DEVICE_SIGNED]);
}

static void say_wave(const struct overview *o, const struct campaign *c, struct saying *s)
{
    const struct fleet_campaign *now = &o->campaign;
    char span[40], when[32], name[40];
    int64_t until_s = INT64_MAX;

    (void)overview_wave(c, now->wave, name, sizeof(name));
    if (now->soak_until_s > o->now_s) {
        say(s, "wave %s is through and has to prove itself until %s, %s still", name,
            clock_text(now->soak_until_s, when, sizeof(when)),
            show_span(now->soak_until_s - o->now_s, span, sizeof(span)));
    } else if (now->wave >= 0 && now->wave < o->waves) {
        const struct overview_count *w = &o->wave[now->wave];
        size_t moving = overview_part(w, OVERVIEW_FLIPPING);
        size_t left = overview_part(w, OVERVIEW_READY) + overview_part(w, OVERVIEW_WAITING);

        if (moving + left > 0)
            say(s, "wave %s: %zu flipping or on trial, %zu have not had their turn", name, moving,
                left);
    }
    if (c != NULL && !windows_open(&c->hours, o->now_s, &until_s) && until_s != INT64_MAX)
        say(s, "the maintenance window is closed: flips go on at %s, in %s",
            clock_text(until_s, when, sizeof(when)),
            show_span(until_s - o->now_s, span, sizeof(span)));
}

static void say_rest(const struct overview *o, struct saying *s)
{
    if (o->campaign.phase == FLEET_VALIDATE)
        say(s,
            "devices to be seen on their new certificate: %zu; failed, returned and offline "
            "ones keep the old identities from being retired",
            o->all.devices - overview_part(&o->all, OVERVIEW_SKIPPED) -
                o->all.step[FLEET_DEVICE_VALIDATED] - o->all.step[FLEET_DEVICE_RETIRED]);
    else if (o->campaign.phase == FLEET_RETIRE)
        say(s, "to be archived: old identities of %zu devices, anchors of %zu gateways",
            overview_part(&o->all, OVERVIEW_DONE) - o->all.step[FLEET_DEVICE_RETIRED],
            o->gateway_count - o->retired);
}

static void say_trouble(const struct overview *o, struct saying *s)
{
    for (size_t i = 0; i < o->gateway_count; i++) {
        const struct fleet_gateway *g = &o->gateways[i].row;

        if (g->trouble[0] == '\0')
            continue;
        if (o->troubled == 1)
            say(s, "gateway %s: %s", g->name, g->trouble);
        else
            say(s, "%zu gateways in trouble, such as %s: %s", o->troubled, g->name, g->trouble);
        return;
    }
}

void overview_waits(const struct overview *o, const struct campaign *c,
                    void (*take)(void *arg, const char *text), void *arg)
{
    struct saying s = {take, arg, 0};

    if (say_mode(o, &s))
        return;
    if (o->campaign.phase == FLEET_PREPARE)
        say_prepare(o, &s);
    else if (o->campaign.phase == FLEET_MIGRATE)
        say_wave(o, c, &s);
    else
        say_rest(o, &s);
    say_trouble(o, &s);
    if (s.said == 0)
        say(&s, "the next step");
}

/* -- opening ----------------------------------------------------------------------------------- */

int overview_open(const char *file, FILE *to, struct campaign **campaign, struct ledger **ledger,
                  struct err *err)
{
    struct buf faults = {0};
    unsigned n = 0;
    struct campaign *c = campaign_load(file, CAMPAIGN_ALONE, &faults, &n);

    *campaign = NULL;
    *ledger = NULL;
    if (c == NULL) {
        if (faults.len > 0)
            (void)fwrite(faults.p, 1, faults.len, to);
        buf_fini(&faults);
        return err_set(err, ERR_SYNTAX, "%s: %u fault%s, listed above: mend first", file, n,
                       n == 1 ? "" : "s");
    }
    buf_fini(&faults);
    *ledger = ledger_open(c->ledger, false, err);
    if (*ledger == NULL) {
        campaign_free(c);
        return err == NULL || err->code == 0 ? -ERR_STORE : -err->code;
    }
    *campaign = c;
    return 0;
}

enum fleet_status overview_status(int rc)
{
    switch (-rc) {
    case 0:
        return FLEET_STATUS_DONE;
    case ERR_SYNTAX:
        return FLEET_STATUS_USAGE;
    case ERR_STORE:
        return FLEET_STATUS_UNREACHABLE;
    default:
        return FLEET_STATUS_REFUSED;
    }
}
