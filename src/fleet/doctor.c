/* fleet/doctor.c - see doctor.h: asks the gateways, and shows what was found. */
#include "fleet/doctor.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "cli/table.h"
#include "fleet/campaign.h"
#include "fleet/gather.h"

#define NAMED_MOST 4 /* gateways that are named of a finding that many have in common */

static const enum table_style styles[] = {
    [DOCTOR_GOOD] = TABLE_GOOD, [DOCTOR_WARNING] = TABLE_WARN, [DOCTOR_ERROR] = TABLE_BAD};

/* -- who is looked at ------------------------------------------------------------------------- */

struct ward {
    struct doctor_patient *all; /* owned */
    struct gather_ask *asks;    /* owned; of the first `asked` ones of `whose` */
    size_t *whose;              /* owned: which patient each question is to */
    size_t count, asked;
    struct doctor doctor;
};

static bool wants(const struct fleet_line *line, const struct campaign *c, const char *gateway)
{
    if (line->gateway != NULL)
        return str_glob(line->gateway, gateway);
    return line->all || campaign_wants_gateway(c, gateway);
}

static int ward_make(struct ward *w, const struct fleet_line *line, const struct campaign *c,
                     const struct view *v)
{
    w->all = calloc(v->gateway_count + 1, sizeof(w->all[0]));
    w->asks = calloc(v->gateway_count + 1, sizeof(w->asks[0]));
    w->whose = calloc(v->gateway_count + 1, sizeof(w->whose[0]));
    if (w->all == NULL || w->asks == NULL || w->whose == NULL)
        return -ERR_NOMEM;
    list_for_each (it, &v->gateways) {
        const struct view_gateway *g = list_entry(it, struct view_gateway, link);

        if (!wants(line, c, g->name) || (!g->known && g->device_count == 0))
            continue;
        w->all[w->count] = (struct doctor_patient){.seen = g, .asked = g->online};
        if (g->online) {
            w->asks[w->asked] = (struct gather_ask){.gateway = g->name, .method = "status"};
            w->whose[w->asked++] = w->count;
        }
        w->count++;
    }
    return 0;
}

static void ward_fini(struct ward *w)
{
    if (w->asks != NULL)
        gather_ask_fini(w->asks, w->asked);
    doctor_fini(&w->doctor);
    free(w->all);
    free(w->asks);
    free(w->whose);
}

static void ward_answers(struct ward *w)
{
    for (size_t i = 0; i < w->asked; i++) {
        struct doctor_patient *p = &w->all[w->whose[i]];

        p->reply = w->asks[i].reply;
        p->refused = w->asks[i].refused;
        p->sent_ms = w->asks[i].sent_ms;
        p->came_ms = w->asks[i].came_ms;
    }
}

static enum doctor_severity verdict_of(const struct ward *w)
{
    enum doctor_severity worst = DOCTOR_GOOD;

    for (size_t i = 0; i < w->count; i++)
        if (w->all[i].verdict > worst)
            worst = w->all[i].verdict;
    return worst;
}

/* -- for people ------------------------------------------------------------------------------- */

static const json_t *status_of(const struct doctor_patient *p)
{
    return json_object_get(p->reply, "result");
}

static const char *clock_word(const struct doctor_patient *p)
{
    const json_t *sync = json_object_get(json_object_get(status_of(p), "clock"), "synchronised");

    return json_is_true(sync) ? "synchronised" : json_is_false(sync) ? "not synchronised" : "-";
}

static size_t findings_of(const struct doctor *d, const char *gateway,
                          enum doctor_severity severity)
{
    size_t n = 0;

    for (size_t i = 0; i < d->count; i++)
        if (d->all[i].severity == severity && strcmp(d->all[i].gateway, gateway) == 0)
            n++;
    return n;
}

static void show_verdicts(const struct fleet_command *c, const struct ward *w)
{
    static const char *const titles[] = {"GATEWAY", "VERDICT", "VERSION", "CLOCK",
                                         "DEVICES", "ERRORS",  "WARNINGS"};
    struct table t;

    table_init(&t, sizeof(titles) / sizeof(titles[0]));
    table_head(&t, titles);
    for (size_t i = 0; i < w->count; i++) {
        const struct doctor_patient *p = &w->all[i];
        const char *version = json_string_value(json_object_get(p->seen->state, "version"));

        table_add(&t, TABLE_PLAIN, "%s", p->seen->name);
        table_add(&t, styles[p->verdict], "%s", doctor_severity_name(p->verdict));
        table_add(&t, TABLE_PLAIN, "%s", version == NULL ? "-" : version);
        table_add(&t, TABLE_PLAIN, "%s", clock_word(p));
        table_add(&t, TABLE_PLAIN, "%zu", p->seen->device_count);
        table_add(&t, TABLE_PLAIN, "%zu", findings_of(&w->doctor, p->seen->name, DOCTOR_ERROR));
        table_add(&t, TABLE_PLAIN, "%zu", findings_of(&w->doctor, p->seen->name, DOCTOR_WARNING));
    }
    table_print(&t, c->out.to, c->out.colour, c->out.width);
    table_fini(&t);
}

/* How many findings, this one first, are the same but for the gateway. */
static size_t alike(const struct doctor *d, size_t from)
{
    const struct doctor_finding *f = &d->all[from];
    size_t i = from + 1;

    while (i < d->count && strcmp(d->all[i].code, f->code) == 0 &&
           d->all[i].severity == f->severity && strcmp(d->all[i].text, f->text) == 0 &&
           strcmp(d->all[i].remedy, f->remedy) == 0)
        i++;
    return i - from;
}

/* "gw-1, gw-2 and 998 more". */
static void name_gateways(const struct doctor *d, size_t from, size_t n, char *out, size_t size)
{
    size_t at = 0, named = n <= NAMED_MOST ? n : NAMED_MOST - 1;

    out[0] = '\0';
    for (size_t i = 0; i < named && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%s", i == 0 ? "" : ", ",
                               d->all[from + i].gateway);
    if (n > named && at < size)
        snprintf(out + at, size - at, " and %zu more", n - named);
}

static void show_findings(const struct fleet_command *c, const struct doctor *d)
{
    struct table t;
    char who[600];

    table_init(&t, 2);
    for (size_t i = 0; i < d->count;) {
        const struct doctor_finding *f = &d->all[i];
        size_t n = alike(d, i);

        name_gateways(d, i, n, who, sizeof(who));
        table_add(&t, styles[f->severity], "%s", doctor_severity_name(f->severity));
        table_add(&t, TABLE_PLAIN, "%s: %s [%s]", who, f->text, f->code);
        table_add(&t, TABLE_PLAIN, "%s", "");
        table_add(&t, TABLE_PLAIN, "  %s", f->remedy);
        i += n;
    }
    if (d->count > 0)
        fputc('\n', c->out.to);
    table_print(&t, c->out.to, c->out.colour, c->out.width);
    table_fini(&t);
}

static void show_sum(const struct fleet_command *c, const struct ward *w)
{
    size_t by[DOCTOR_ERROR + 1] = {0};
    char line[200];

    for (size_t i = 0; i < w->count; i++)
        by[w->all[i].verdict]++;
    snprintf(line, sizeof(line), "\n%zu %s: %zu good, %zu with warnings, %zu with errors\n",
             w->count, w->count == 1 ? "gateway" : "gateways", by[DOCTOR_GOOD], by[DOCTOR_WARNING],
             by[DOCTOR_ERROR]);
    fputs(line, c->out.to);
}

/* -- JSON ------------------------------------------------------------------------------------- */

static json_t *json_findings(const struct doctor *d, const char *gateway)
{
    json_t *all = json_array();

    for (size_t i = 0; i < d->count; i++)
        if (strcmp(d->all[i].gateway, gateway) == 0)
            json_array_append_new(all,
                                  json_pack("{s:s, s:s, s:s, s:s}", "code", d->all[i].code,
                                            "severity", doctor_severity_name(d->all[i].severity),
                                            "message", d->all[i].text, "remedy", d->all[i].remedy));
    return all;
}

/* A member as it was told, or null. */
static json_t *copy_of(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);

    return value == NULL ? json_null() : json_incref(value);
}

static json_t *json_patient(const struct doctor *d, const struct doctor_patient *p)
{
    const json_t *status = status_of(p), *central = json_object_get(status, "central");

    return json_pack(
        "{s:s, s:s, s:b, s:b, s:o, s:I, s:o, s:o, s:o, s:o, s:o}", "gateway", p->seen->name,
        "verdict", doctor_severity_name(p->verdict), "online", (int)p->seen->online, "answered",
        (int)(status != NULL), "version", copy_of(p->seen->state, "version"), "devices",
        (json_int_t)p->seen->device_count, "clock", copy_of(status, "clock"), "trust",
        copy_of(p->seen->state, "trust"), "exceptions", copy_of(status, "exceptions"), "signed",
        copy_of(central, "signed"), "findings", json_findings(d, p->seen->name));
}

static void show_json(const struct fleet_command *c, const struct campaign *campaign,
                      const struct ward *w)
{
    json_t *gateways = json_array(), *all;
    char iso[32];

    for (size_t i = 0; i < w->count; i++)
        json_array_append_new(gateways, json_patient(&w->doctor, &w->all[i]));
    all = json_pack("{s:s, s:s, s:s, s:o}", "root", campaign->root, "time",
                    clock_iso(c->out.now_s, iso, sizeof(iso)), "verdict",
                    doctor_severity_name(verdict_of(w)), "gateways", gateways);
    json_dumpf(all, c->out.to, JSON_INDENT(1));
    fputc('\n', c->out.to);
    json_decref(all);
}

/* -- the command ------------------------------------------------------------------------------ */

static int examine(const struct fleet_command *c, const struct campaign *campaign, struct gather *g,
                   struct ward *w, struct err *err)
{
    unsigned timeout_s =
        c->line->timeout_s > 0 ? (unsigned)c->line->timeout_s : campaign->limits.reply_timeout_s;
    const struct doctor_rules rules = {
        .now_s = c->out.now_s,
        .signs = campaign->operator.key_file != NULL,
        .wants_device = c->line->all ? NULL : campaign_wants_device,
        .campaign = campaign,
    };
    int rc = gather_wait(g, err);

    if (rc == 0 && ward_make(w, c->line, campaign, &g->view) != 0)
        rc = err_set(err, ERR_NOMEM, "out of memory");
    if (rc == 0 && w->count == 0)
        rc =
            err_set(err, ERR_NOT_FOUND,
                    "none of the %zu gateways below %s is wanted: see gateways in %s, whether root "
                    "is right, and whether this client may read there",
                    g->view.gateway_count, campaign->root, campaign->path);
    if (rc == 0)
        rc = gather_ask(g, w->asks, w->asked, timeout_s, err);
    if (rc != 0)
        return rc;
    ward_answers(w);
    doctor_judge(&w->doctor, &rules, w->all, w->count);
    return w->doctor.failed ? err_set(err, ERR_NOMEM, "out of memory") : 0;
}

static enum fleet_status show(const struct fleet_command *c, const struct campaign *campaign,
                              const struct gather *g, const struct ward *w)
{
    if (g->bad > 0) {
        fprintf(c->err.to, "%zu %s could not be read, one of them: ", g->bad,
                g->bad == 1 ? "message" : "messages");
        table_text(c->err.to, c->err.colour, TABLE_WARN, g->bad_one);
        fputc('\n', c->err.to);
    }
    if (c->line->json) {
        show_json(c, campaign, w);
    } else {
        show_verdicts(c, w);
        show_findings(c, &w->doctor);
        show_sum(c, w);
    }
    return verdict_of(w) == DOCTOR_ERROR ? FLEET_STATUS_REFUSED : FLEET_STATUS_DONE;
}

enum fleet_status doctor_command(const struct fleet_command *c, struct err *err)
{
    struct campaign *campaign = fleet_command_campaign(c, err);
    struct ward w = {.all = NULL};
    enum fleet_status status;
    struct gather g;
    int rc;

    if (campaign == NULL)
        return FLEET_STATUS_USAGE;
    rc = gather_init(&g, campaign, c->stop, true, err);
    if (rc == 0)
        rc = examine(c, campaign, &g, &w, err);
    status = rc == 0 ? show(c, campaign, &g, &w) : fleet_status_of(rc);
    ward_fini(&w);
    gather_fini(&g);
    campaign_free(campaign);
    return status;
}
