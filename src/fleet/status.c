#include "fleet/status.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/table.h"

#define GATEWAYS_SHOWN 40

/* -- as JSON ----------------------------------------------------------------------------------- */

static void put_time(json_t *to, const char *key, int64_t at_s)
{
    char text[32];

    (void)json_object_set_new(
        to, key, at_s == 0 ? json_null() : json_string(clock_iso(at_s, text, sizeof(text))));
}

static json_t *steps_json(const struct overview_count *c)
{
    json_t *steps = json_object();

    for (int i = 0; i < FLEET_DEVICE_STEP_COUNT; i++)
        (void)json_object_set_new(steps, fleet_device_step_name((enum fleet_device_step)i),
                                  json_integer((json_int_t)c->step[i]));
    return steps;
}

static json_t *campaign_json(const struct overview *o)
{
    const struct fleet_campaign *c = &o->campaign;
    json_t *out =
        json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:s, s:s}", "name", c->name, "phase",
                  fleet_phase_name(c->phase), "mode", fleet_mode_name(c->mode), "reason", c->reason,
                  "wave", c->wave, "waves", c->waves, "by", c->by, "plan", c->plan);

    if (out == NULL)
        return NULL;
    put_time(out, "started", c->started_s);
    put_time(out, "changed", c->changed_s);
    put_time(out, "wave_begun", c->wave_begun_s);
    put_time(out, "soak_until", c->soak_until_s);
    put_time(out, "ended", c->ended_s);
    (void)json_object_set_new(out, "run_by",
                              o->owner[0] == '\0' ? json_null() : json_string(o->owner));
    return out;
}

static json_t *waves_json(const struct overview *o, const struct campaign *c)
{
    json_t *all = json_array();
    char name[40];

    for (int i = 0; i < o->waves && i < CAMPAIGN_WAVES_MAX; i++)
        (void)json_array_append_new(all, json_pack("{s:i, s:s, s:I, s:o}", "wave", i, "name",
                                                   overview_wave(c, i, name, sizeof(name)),
                                                   "devices", (json_int_t)o->wave[i].devices,
                                                   "steps", steps_json(&o->wave[i])));
    return all;
}

static json_t *gateways_json(const struct overview *o)
{
    json_t *all = json_array();

    for (size_t i = 0; i < o->gateway_count; i++) {
        const struct overview_gateway *g = &o->gateways[i];
        json_t *one = json_pack("{s:s, s:s, s:I, s:o, s:s*}", "gateway", g->row.name, "step",
                                fleet_gateway_step_name(g->row.step), "devices",
                                (json_int_t)g->count.devices, "steps", steps_json(&g->count),
                                "trouble", g->row.trouble[0] == '\0' ? NULL : g->row.trouble);

        put_time(one, "changed", g->row.changed_s);
        (void)json_array_append_new(all, one);
    }
    return all;
}

static json_t *failures_json(const struct overview *o)
{
    json_t *all = json_array();

    for (size_t i = 0; i < o->failure_count; i++) {
        const struct overview_failure *f = &o->failures[i];

        (void)json_array_append_new(all,
                                    json_pack("{s:s, s:I, s:s, s:s, s:s}", "class", f->name,
                                              "devices", (json_int_t)f->count, "example", f->device,
                                              "reason", f->reason, "remedy", f->remedy));
    }
    return all;
}

static void append_text(void *arg, const char *text)
{
    (void)json_array_append_new(arg, json_string(text));
}

json_t *status_json(const struct overview *o, const struct campaign *c)
{
    json_t *waits = json_array(), *out, *campaign = campaign_json(o);

    overview_waits(o, c, append_text, waits);
    out = json_pack("{s:o, s:I, s:o, s:o, s:o, s:o, s:o}", "campaign", campaign, "devices",
                    (json_int_t)o->all.devices, "steps", steps_json(&o->all), "waits_for", waits,
                    "waves", waves_json(o, c), "gateways", gateways_json(o), "failures",
                    failures_json(o));
    if (out != NULL)
        put_time(out, "time", o->now_s);
    return out;
}

/* -- for people -------------------------------------------------------------------------------- */

/* A number that is 0 is not worth a glance. */
static void add_number(struct table *t, enum table_style style, size_t n)
{
    if (n == 0)
        table_add(t, TABLE_PLAIN, "-");
    else
        table_add(t, style, "%zu", n);
}

static void add_counts(struct table *t, const struct overview_count *c)
{
    unsigned done = overview_done(c);

    table_add(t, TABLE_PLAIN, "%zu", c->devices);
    table_add(t, done == 1000 && c->devices > 0 ? TABLE_GOOD : TABLE_PLAIN, "%zu (%u.%u %%)",
              overview_part(c, OVERVIEW_DONE), done / 10, done % 10);
    add_number(t, TABLE_WARN, overview_part(c, OVERVIEW_FLIPPING));
    add_number(t, TABLE_BAD, overview_part(c, OVERVIEW_FAILED));
    add_number(t, TABLE_BAD, overview_part(c, OVERVIEW_RETURNED));
    add_number(t, TABLE_PLAIN, overview_part(c, OVERVIEW_READY));
    add_number(t, TABLE_PLAIN, overview_part(c, OVERVIEW_WAITING));
    add_number(t, TABLE_PLAIN, overview_part(c, OVERVIEW_SKIPPED));
}

static void show_waves(const struct overview *o, const struct campaign *c, const struct show *out)
{
    static const char *const titles[] = {"WAVE",     "DEVICES", "DONE",    "FLIPPING", "FAILED",
                                         "RETURNED", "READY",   "WAITING", "SKIPPED"};
    struct table t;
    char name[40];

    table_init(&t, 9);
    table_head(&t, titles);
    for (int i = 0; i < o->waves && i < CAMPAIGN_WAVES_MAX; i++) {
        table_add(&t, i == o->campaign.wave ? TABLE_HEAD : TABLE_PLAIN, "%s",
                  overview_wave(c, i, name, sizeof(name)));
        add_counts(&t, &o->wave[i]);
    }
    table_add(&t, TABLE_PLAIN, "all");
    add_counts(&t, &o->all);
    table_print(&t, out->to, out->colour, out->width);
    table_fini(&t);
}

static bool is_plain(const struct overview_gateway *g)
{
    return g->row.trouble[0] == '\0' && overview_part(&g->count, OVERVIEW_FAILED) == 0 &&
           overview_part(&g->count, OVERVIEW_RETURNED) == 0 &&
           overview_part(&g->count, OVERVIEW_FLIPPING) == 0;
}

/* All of a small fleet; of a large one those that are worth a look. */
static void show_gateways(const struct overview *o, const struct show *out)
{
    static const char *const titles[] = {"GATEWAY",  "STEP",    "DEVICES",  "DONE",
                                         "FLIPPING", "FAILED",  "RETURNED", "READY",
                                         "WAITING",  "SKIPPED", "TROUBLE"};
    bool all = o->gateway_count <= GATEWAYS_SHOWN;
    size_t shown = 0;
    struct table t;

    table_init(&t, 11);
    table_head(&t, titles);
    for (size_t i = 0; i < o->gateway_count && shown < GATEWAYS_SHOWN; i++) {
        const struct overview_gateway *g = &o->gateways[i];

        if (!all && is_plain(g))
            continue;
        shown++;
        table_add(&t, TABLE_PLAIN, "%s", g->row.name);
        table_add(&t, TABLE_PLAIN, "%s", fleet_gateway_step_name(g->row.step));
        add_counts(&t, &g->count);
        table_add(&t, TABLE_WARN, "%s", g->row.trouble);
    }
    if (shown > 0) {
        fputc('\n', out->to);
        table_print(&t, out->to, out->colour, out->width);
    }
    if (shown < o->gateway_count)
        fprintf(out->to, "%s%zu %sgateways%s\n", shown == 0 ? "\n" : "", o->gateway_count - shown,
                shown == 0 ? "" : "more ",
                shown == GATEWAYS_SHOWN ? "; --json has all of them"
                                        : ": none failed, none is in trouble");
    table_fini(&t);
}

static void show_failures(const struct overview *o, const struct show *out)
{
    static const char *const titles[] = {"FAILURE", "DEVICES", "ONE OF THEM", "WHY"};
    struct table t;

    if (o->failure_count == 0)
        return;
    table_init(&t, 4);
    table_head(&t, titles);
    for (size_t i = 0; i < o->failure_count; i++) {
        const struct overview_failure *f = &o->failures[i];

        table_add(&t, TABLE_BAD, "%s", f->name);
        table_add(&t, TABLE_PLAIN, "%zu", f->count);
        table_add(&t, TABLE_PLAIN, "%s", f->device);
        table_add(&t, TABLE_PLAIN, "%s%s%s", f->reason, f->remedy[0] == '\0' ? "" : ": ",
                  f->remedy);
    }
    fputc('\n', out->to);
    table_print(&t, out->to, out->colour, out->width);
    table_fini(&t);
}

static void show_wait(void *arg, const char *text)
{
    const struct show *out = arg;
    struct table t;

    table_init(&t, 2);
    table_add(&t, TABLE_HEAD, "waits for");
    table_add(&t, TABLE_PLAIN, "%s", text);
    table_print(&t, out->to, out->colour, out->width);
    table_fini(&t);
}

static void show_head(const struct overview *o, const struct campaign *c, const struct show *out)
{
    const struct fleet_campaign *now = &o->campaign;
    char started[32], ended[32], name[40], span[40];

    table_text(out->to, out->colour, TABLE_HEAD, now->name);
    fprintf(out->to, ": %s", fleet_phase_name(now->phase));
    if (now->phase == FLEET_MIGRATE && now->wave >= 0)
        fprintf(out->to, ", wave %s (%d of %d)", overview_wave(c, now->wave, name, sizeof(name)),
                now->wave + 1, o->waves);
    fputs(", ", out->to);
    table_text(out->to, out->colour,
               now->mode == FLEET_RUNNING || now->mode == FLEET_DONE ? TABLE_GOOD
               : now->mode == FLEET_PAUSED                           ? TABLE_WARN
                                                                     : TABLE_BAD,
               fleet_mode_name(now->mode));
    fprintf(out->to, "\nbegun %s by ", clock_text(now->started_s, started, sizeof(started)));
    table_text(out->to, false, TABLE_PLAIN, now->by);
    if (now->ended_s != 0)
        fprintf(out->to, ", ended %s, after %s", clock_text(now->ended_s, ended, sizeof(ended)),
                show_span(now->ended_s - now->started_s, span, sizeof(span)));
    if (o->owner[0] != '\0') {
        fputs("\nrun by ", out->to);
        table_text(out->to, false, TABLE_PLAIN, o->owner);
    }
    fputs("\n\n", out->to);
}

void status_show(const struct overview *o, const struct campaign *c, const struct show *out)
{
    show_head(o, c, out);
    show_waves(o, c, out);
    show_gateways(o, out);
    show_failures(o, out);
    fputc('\n', out->to);
    overview_waits(o, c, show_wait, (void *)(uintptr_t)out);
}

static int pass_by(void *arg, const struct fleet_device *d)
{
    (void)arg;
    (void)d;
    return 0;
}

enum fleet_status status_command(const struct fleet_command *c, struct err *err)
{
    struct campaign *campaign;
    struct ledger *ledger;
    struct overview o = {0};
    json_t *json;
    int rc = overview_open(c->line->args[0], c->err.to, &campaign, &ledger, err);

    if (rc != 0)
        return overview_status(rc);
    rc = overview_read(ledger, clock_wall_s(), pass_by, NULL, &o, err);
    if (rc == 0 && c->line->json) {
        json = status_json(&o, campaign);
        if (json == NULL || json_dumpf(json, c->out.to, JSON_INDENT(2)) != 0)
            rc = err_set(err, ERR_NOMEM, "out of memory");
        fputc('\n', c->out.to);
        json_decref(json);
    } else if (rc == 0) {
        status_show(&o, campaign, &c->out);
    }
    overview_fini(&o);
    ledger_close(ledger);
    campaign_free(campaign);
    return overview_status(rc);
}
