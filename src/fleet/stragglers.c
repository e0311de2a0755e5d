#include "fleet/stragglers.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/map.h"
#include "cli/table.h"

#define LONG_S 600 /* a flip under way so long is worth a look */

/* -- who, and why ------------------------------------------------------------------------------ */

static void why_failed(struct straggler *s, const struct fleet_device *d, const char *file)
{
    char retry[600];

    snprintf(retry, sizeof(retry), "mend that, then: certflip-fleet resume %s", file);
    snprintf(s->why, sizeof(s->why), "%s%s%s%s", d->failure[0] == '\0' ? "" : "[", d->failure,
             d->failure[0] == '\0' ? "" : "] ", d->reason[0] == '\0' ? "it failed" : d->reason);
    snprintf(s->remedy, sizeof(s->remedy), "%s", d->remedy[0] == '\0' ? retry : d->remedy);
}

/* It is its turn, and it has got no further than this. */
static void why_so_far(struct straggler *s, const struct fleet_campaign *c,
                       const struct fleet_device *d, const char *file)
{
    bool soaked = d->step == FLEET_DEVICE_MIGRATED && c->phase == FLEET_VALIDATE;
    const char *so_far = soaked ? "its time is over, and it was not seen on its new certificate yet"
                                : fleet_device_step_words(d->step);

    if (c->mode == FLEET_RUNNING)
        snprintf(s->remedy, sizeof(s->remedy),
                 "%s; to go on without it: certflip-fleet skip %s %s/%s",
                 d->remedy[0] != '\0' ? d->remedy : "wait for it", file, d->gateway, d->name);
    else
        snprintf(s->remedy, sizeof(s->remedy), "certflip-fleet resume %s goes on with it (%s/%s)",
                 file, d->gateway, d->name);
    snprintf(s->why, sizeof(s->why), "%s", d->reason[0] != '\0' ? d->reason : so_far);
}

/* A device that is migrated is not, as long as it keeps the campaign from its end. */
static bool is_through(const struct fleet_campaign *c, const struct fleet_device *d, bool held)
{
    if (d->step == FLEET_DEVICE_MIGRATED && c->phase == FLEET_VALIDATE)
        return false;
    if (held && c->mode == FLEET_RETURNING && d->wave >= c->back_from && d->wave <= c->back_to &&
        (d->step == FLEET_DEVICE_MIGRATED || d->step == FLEET_DEVICE_VALIDATED))
        return false;
    if (held && c->phase == FLEET_RETIRE && d->step == FLEET_DEVICE_VALIDATED)
        return false;
    return overview_part_of(d->step) == OVERVIEW_DONE || d->step == FLEET_DEVICE_SKIPPED;
}

/* It is on its new certificate, for a time that it has to prove itself in. */
static bool is_soaking(const struct fleet_campaign *c, const struct fleet_device *d,
                       int64_t validate_s, int64_t now_s)
{
    return c->phase == FLEET_VALIDATE && d->step == FLEET_DEVICE_MIGRATED &&
           now_s < d->migrated_s + validate_s;
}

/* In the wave that goes on, who has nothing to be said about is simply not ordered yet, or on its
 * way. */
static bool had_its_turn(const struct fleet_campaign *c, const struct fleet_device *d,
                         int64_t validate_s, int64_t now_s)
{
    if (c->phase == FLEET_PREPARE)
        return overview_part_of(d->step) == OVERVIEW_WAITING;
    if (is_soaking(c, d, validate_s, now_s))
        return false;
    if (c->phase > FLEET_MIGRATE || d->wave < c->wave)
        return true;
    return d->wave == c->wave && (c->soak_until_s > 0 || d->reason[0] != '\0' ||
                                  (d->step == FLEET_DEVICE_FLIPPING && now_s > d->flip_s + LONG_S));
}

bool straggler_of(const struct fleet_campaign *c, const struct fleet_gateway *g,
                  const struct fleet_device *d, const struct straggler_terms *terms,
                  struct straggler *out)
{
    bool trouble = g != NULL && g->trouble[0] != '\0';
    const char *file = terms->file;

    out->device = d;
    out->gateway = g;
    out->why[0] = out->remedy[0] = '\0';
    if (is_through(c, d, trouble || d->reason[0] != '\0'))
        return false;
    if (d->step == FLEET_DEVICE_FAILED) {
        why_failed(out, d, file);
        return true;
    }
    if (d->step == FLEET_DEVICE_RETURNED) {
        why_failed(out, d, file);
        if (d->reason[0] == '\0')
            snprintf(out->why, sizeof(out->why), "%s", "rolled back with its wave");
        return true;
    }
    if (trouble) {
        snprintf(out->why, sizeof(out->why), "gateway %s: %s", g->name, g->trouble);
        snprintf(out->remedy, sizeof(out->remedy),
                 "mend the gateway; to go on without: certflip-fleet skip %s %s/%s", file,
                 d->gateway, d->name);
        return true;
    }
    if (!had_its_turn(c, d, terms->validate_s, terms->now_s))
        return false;
    why_so_far(out, c, d, file);
    return true;
}

/* -- all of them ------------------------------------------------------------------------------- */

/* A pass over the gateways, then over the devices. */
struct pass {
    struct fleet_campaign campaign;
    struct map *gateways; /* of struct fleet_gateway, owned */
    const struct straggler_terms *terms;
    size_t soaking;
    int64_t soaked_s; /* when the last of these is through */
    int (*each)(void *arg, const struct straggler *s);
    void *arg;
    struct err *err;
};

static int keep_gateway(void *arg, const struct fleet_gateway *g)
{
    struct pass *p = arg;
    struct fleet_gateway *copy = malloc(sizeof(*copy));

    if (copy == NULL)
        return err_set(p->err, ERR_NOMEM, "out of memory");
    *copy = *g;
    if (map_put(p->gateways, g->name, copy) == 0)
        return 0;
    free(copy);
    return err_set(p->err, ERR_NOMEM, "out of memory");
}

static int look_at(void *arg, const struct fleet_device *d)
{
    struct pass *p = arg;
    struct straggler s;

    if (straggler_of(&p->campaign, map_get(p->gateways, d->gateway), d, p->terms, &s))
        return p->each(p->arg, &s);
    if (is_soaking(&p->campaign, d, p->terms->validate_s, p->terms->now_s)) {
        int64_t until_s = d->migrated_s + p->terms->validate_s;

        p->soaking++;
        p->soaked_s = until_s > p->soaked_s ? until_s : p->soaked_s;
    }
    return 0;
}

/* Go over them; *p has what else was seen. */
static int each_straggler(struct ledger *l, struct pass *p)
{
    const char *key;
    void *value;
    int rc;

    p->gateways = map_new();
    if (p->gateways == NULL)
        return err_set(p->err, ERR_NOMEM, "out of memory");
    rc = ledger_snapshot(l, p->err);
    if (rc == 0)
        rc = ledger_campaign(l, &p->campaign, p->err);
    if (rc == 0)
        rc = ledger_gateways(l, keep_gateway, p, p->err);
    if (rc == 0)
        rc = ledger_devices(l, look_at, p, p->err);
    ledger_rollback(l);
    for (size_t it = 0; map_next(p->gateways, &it, &key, &value);)
        free(value);
    map_free(p->gateways);
    p->gateways = NULL;
    return rc;
}

static int add_json(void *arg, const struct straggler *s)
{
    const struct fleet_device *d = s->device;
    char since[32];
    int rc = json_array_append_new(
        arg,
        json_pack("{s:s, s:s, s:i, s:s, s:s, s:s*, s:s, s:s}", "gateway", d->gateway, "device",
                  d->name, "wave", d->wave, "step", fleet_device_step_name(d->step), "since",
                  clock_iso(d->changed_s, since, sizeof(since)), "class",
                  d->failure[0] == '\0' ? NULL : d->failure, "why", s->why, "remedy", s->remedy));

    return rc == 0 ? 0 : -ERR_NOMEM;
}

int stragglers_json(struct ledger *l, const struct straggler_terms *terms, json_t **out,
                    struct err *err)
{
    json_t *all = json_array();
    struct pass p = {.terms = terms, .each = add_json, .arg = all, .err = err};
    int rc = all == NULL ? err_set(err, ERR_NOMEM, "out of memory") : each_straggler(l, &p);

    if (rc == 0)
        *out = all;
    else
        json_decref(all);
    return rc;
}

/* -- for people -------------------------------------------------------------------------------- */

/* Devices of one gateway for which the same is to be said are one row. */
struct rows {
    struct table table;
    const struct show *out;
    const struct campaign *c;
    char gateway[FLEET_NAME_MAX + 1], device[FLEET_NAME_MAX + 1], why[900], remedy[900];
    int wave;
    enum fleet_device_step step;
    int64_t changed_s;
    size_t same, all;
};

static void flush_row(struct rows *r)
{
    char span[40], name[40];
    int64_t ago_s = r->out->now_s - r->changed_s;

    if (r->same == 0)
        return;
    if (r->same == 1)
        table_add(&r->table, TABLE_PLAIN, "%s/%s", r->gateway, r->device);
    else
        table_add(&r->table, TABLE_PLAIN, "%s/%s and %zu more", r->gateway, r->device, r->same - 1);
    table_add(&r->table, TABLE_PLAIN, "%s", overview_wave(r->c, r->wave, name, sizeof(name)));
    table_add(&r->table,
              r->step == FLEET_DEVICE_FAILED || r->step == FLEET_DEVICE_RETURNED ? TABLE_BAD
                                                                                 : TABLE_WARN,
              "%s", fleet_device_step_name(r->step));
    table_add(&r->table, TABLE_PLAIN, "%s", show_span(ago_s < 0 ? 0 : ago_s, span, sizeof(span)));
    table_add(&r->table, TABLE_PLAIN, "%s; %s", r->why, r->remedy);
    r->same = 0;
}

/* The remedy of another device of the gateway differs by its name only. */
static bool is_same(const struct rows *r, const struct straggler *s)
{
    return r->same > 0 && r->wave == s->device->wave && r->step == s->device->step &&
           strcmp(r->gateway, s->device->gateway) == 0 && strcmp(r->why, s->why) == 0;
}

static int add_row(void *arg, const struct straggler *s)
{
    struct rows *r = arg;

    r->all++;
    if (is_same(r, s)) {
        r->same++;
        return 0;
    }
    flush_row(r);
    snprintf(r->gateway, sizeof(r->gateway), "%s", s->device->gateway);
    snprintf(r->device, sizeof(r->device), "%s", s->device->name);
    snprintf(r->why, sizeof(r->why), "%s", s->why);
    snprintf(r->remedy, sizeof(r->remedy), "%s", s->remedy);
    r->wave = s->device->wave;
    r->step = s->device->step;
    r->changed_s = s->device->changed_s;
    r->same = 1;
    return 0;
}

/* Nothing is to be done about these. */
static void show_soaking(const struct pass *p, FILE *to)
{
    char when[32];

    if (p->soaking == 0)
        return;
    fprintf(to,
            "%zu more %s on the new certificate, and %s to be for retire.validate_s: until %s\n",
            p->soaking, p->soaking == 1 ? "is" : "are", p->soaking == 1 ? "has" : "have",
            clock_text(p->soaked_s, when, sizeof(when)));
}

static int show_all(struct ledger *l, const struct fleet_command *c,
                    const struct campaign *campaign, const struct straggler_terms *terms,
                    struct err *err)
{
    static const char *const titles[] = {"DEVICE", "WAVE", "STEP", "SINCE", "WHY, AND WHAT TO DO"};
    struct rows r = {.out = &c->out, .c = campaign};
    struct pass p = {.terms = terms, .each = add_row, .arg = &r, .err = err};
    int rc;

    table_init(&r.table, 5);
    table_head(&r.table, titles);
    rc = each_straggler(l, &p);
    flush_row(&r);
    if (rc == 0 && r.all > 0) {
        table_print(&r.table, c->out.to, c->out.colour, c->out.width);
        fprintf(c->out.to, "\n%zu %s not through; --json names each\n", r.all,
                r.all == 1 ? "device is" : "devices are");
    } else if (rc == 0) {
        fprintf(c->out.to, "none: %s\n",
                p.campaign.mode == FLEET_DONE ? "all devices are through"
                                              : "everybody whose turn it was is through");
    }
    if (rc == 0)
        show_soaking(&p, c->out.to);
    table_fini(&r.table);
    return rc;
}

enum fleet_status stragglers_command(const struct fleet_command *c, struct err *err)
{
    struct campaign *campaign;
    struct ledger *ledger;
    json_t *json = NULL;
    struct straggler_terms terms = {.file = c->line->args[0], .now_s = c->out.now_s};
    int rc = overview_open(c->line->args[0], c->err.to, &campaign, &ledger, err);

    if (rc != 0)
        return overview_status(rc);
    terms.validate_s = campaign->retire.validate_s;
    if (c->line->json) {
        rc = stragglers_json(ledger, &terms, &json, err);
        if (rc == 0 && json_dumpf(json, c->out.to, JSON_INDENT(2)) == 0)
            fputc('\n', c->out.to);
        json_decref(json);
    } else {
        rc = show_all(ledger, c, campaign, &terms, err);
    }
    ledger_close(ledger);
    campaign_free(campaign);
    return overview_status(rc);
}
