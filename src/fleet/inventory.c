/* fleet/inventory.c - see inventory.h.
 *
 * Everything is from the retained topics: no gateway is asked, so it works of those that are away,
 * too, as they were when they went.
 */
#include "fleet/inventory.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/str.h"
#include "cli/table.h"
#include "fleet/campaign.h"
#include "fleet/gather.h"

#define DAY_S INT64_C(86400)

/* -- which ones ------------------------------------------------------------------------------- */

/* Gateways, and those of their devices that are wanted; borrowed from the view. */
struct rows {
    const struct view_gateway **gateways; /* owned */
    const struct view_device **devices;   /* owned */
    size_t gateway_count, device_count;
    size_t later; /* devices that are left out because they do not expire so soon */
};

static bool wants_gateway(const struct fleet_line *line, const struct campaign *c, const char *name)
{
    if (line->gateway != NULL)
        return str_glob(line->gateway, name);
    return line->all || campaign_wants_gateway(c, name);
}

static bool expires(const struct fleet_line *line, const struct view_device *d, int64_t now_s)
{
    int64_t until_s = view_active(d)->not_after_s;

    return line->expiring < 0 || (until_s != 0 && until_s <= now_s + line->expiring * DAY_S);
}

static bool wants_device(const struct fleet_line *line, const struct campaign *c,
                         const struct view_device *d)
{
    if (line->device != NULL)
        return str_glob(line->device, d->name);
    return line->all || campaign_wants_device(c, d->name);
}

static void rows_fini(struct rows *r)
{
    free(r->gateways);
    free(r->devices);
}

/* What expires first stands first; what has no certificate, last. */
static int by_expiry(const void *a, const void *b)
{
    const struct view_device *const *d = a, *const *e = b;
    int64_t x = view_active(*d)->not_after_s, y = view_active(*e)->not_after_s;
    int order;

    if (x != y)
        return x == 0 ? 1 : y == 0 ? -1 : x < y ? -1 : 1;
    order = strcmp((*d)->gateway->name, (*e)->gateway->name);
    return order != 0 ? order : strcmp((*d)->name, (*e)->name);
}

static void add_devices(struct rows *r, const struct fleet_command *c,
                        const struct campaign *campaign, const struct view_gateway *g)
{
    for (size_t i = 0; i < g->device_count; i++) {
        if (!wants_device(c->line, campaign, g->sorted[i]))
            continue;
        if (expires(c->line, g->sorted[i], c->out.now_s))
            r->devices[r->device_count++] = g->sorted[i];
        else
            r->later++;
    }
}

static int rows_make(struct rows *r, const struct fleet_command *c, const struct campaign *campaign,
                     const struct view *v)
{
    *r = (struct rows){
        .gateways = calloc(v->gateway_count + 1, sizeof(const struct view_gateway *)),
        .devices = calloc(v->device_count + 1, sizeof(const struct view_device *)),
    };
    if (r->gateways == NULL || r->devices == NULL)
        return -ERR_NOMEM;
    list_for_each (it, &v->gateways) {
        const struct view_gateway *g = list_entry(it, struct view_gateway, link);
        size_t before = r->device_count;

        if (!wants_gateway(c->line, campaign, g->name) || (!g->known && g->device_count == 0))
            continue;
        add_devices(r, c, campaign, g);
        if (r->device_count > before || (c->line->device == NULL && c->line->expiring < 0))
            r->gateways[r->gateway_count++] = g;
    }
    qsort(r->devices, r->device_count, sizeof(const struct view_device *), by_expiry);
    return 0;
}

/* -- words ------------------------------------------------------------------------------------ */

static const char *state_text(const struct view_gateway *g, const char *key)
{
    const char *text = json_string_value(json_object_get(g->state, key));

    return text == NULL ? "" : text;
}

static const char *online_word(const struct view_gateway *g)
{
    return !g->known ? "unknown" : g->online ? "online" : "offline";
}

static const char *day_text(int64_t s, char *out, size_t n)
{
    char iso[32];

    if (s == 0)
        snprintf(out, n, "-");
    else
        snprintf(out, n, "%.10s", clock_iso(s, iso, sizeof(iso)));
    return out;
}

/* "2031-05-02, 12 d" */
static void add_expiry(struct table *t, int64_t until_s, int64_t now_s)
{
    enum table_style style = TABLE_PLAIN;
    char day[16];

    if (until_s == 0) {
        table_add(t, TABLE_PLAIN, "-");
        return;
    }
    if (until_s <= now_s + 30 * DAY_S)
        style = TABLE_BAD;
    else if (until_s <= now_s + 90 * DAY_S)
        style = TABLE_WARN;
    day_text(until_s, day, sizeof(day));
    if (until_s <= now_s)
        table_add(t, style, "%s, expired", day);
    else
        table_add(t, style, "%s, %" PRId64 " d", day, (until_s - now_s) / DAY_S);
}

static const char *slot_word(const struct view_device *d)
{
    return d->active_new ? "new" : "old";
}

/* What keeps it from working, or from a flip; "" for nothing. */
static void trouble_of(const struct view_device *d, char *out, size_t n)
{
    if (d->failure != NULL || d->reason != NULL)
        snprintf(out, n, "%s%s%s", d->failure == NULL ? "" : d->failure,
                 d->failure == NULL ? "" : ": ",
                 d->reason != NULL    ? d->reason
                 : d->message != NULL ? d->message
                                      : "");
    else if (!view_active(d)->usable)
        snprintf(out, n, "the %s identity cannot be used", slot_word(d));
    else
        out[0] = '\0';
}

/* -- tables ----------------------------------------------------------------------------------- */

/* The soonest of its active certificates; 0: none is known. */
static int64_t soonest(const struct view_gateway *g)
{
    int64_t s = 0;

    for (size_t i = 0; i < g->device_count; i++) {
        int64_t until_s = view_active(g->sorted[i])->not_after_s;

        if (until_s != 0 && (s == 0 || until_s < s))
            s = until_s;
    }
    return s;
}

static void count_phases(const struct view_gateway *g, size_t by_phase[VIEW_PHASE_UNKNOWN + 1])
{
    memset(by_phase, 0, sizeof(by_phase[0]) * (VIEW_PHASE_UNKNOWN + 1));
    for (size_t i = 0; i < g->device_count; i++)
        by_phase[g->sorted[i]->phase]++;
}

static void gateway_rows(const struct fleet_command *c, const struct rows *r)
{
    static const char *const titles[] = {"GATEWAY", "STATE",     "VERSION",     "DEVICES",
                                         "STAGED",  "COMMITTED", "ROLLED BACK", "FIRST TO EXPIRE"};
    size_t by_phase[VIEW_PHASE_UNKNOWN + 1];
    struct table t;

    table_init(&t, sizeof(titles) / sizeof(titles[0]));
    table_head(&t, titles);
    for (size_t i = 0; i < r->gateway_count; i++) {
        const struct view_gateway *g = r->gateways[i];

        count_phases(g, by_phase);
        table_add(&t, TABLE_PLAIN, "%s", g->name);
        table_add(&t, g->online ? TABLE_GOOD : TABLE_BAD, "%s", online_word(g));
        table_add(&t, TABLE_PLAIN, "%s", g->state == NULL ? "-" : state_text(g, "version"));
        table_add(&t, TABLE_PLAIN, "%zu", g->device_count);
        table_add(&t, TABLE_PLAIN, "%zu", by_phase[VIEW_STAGED]);
        table_add(&t, TABLE_PLAIN, "%zu", by_phase[VIEW_COMMITTED]);
        table_add(&t, by_phase[VIEW_ROLLED_BACK] > 0 ? TABLE_BAD : TABLE_PLAIN, "%zu",
                  by_phase[VIEW_ROLLED_BACK]);
        add_expiry(&t, soonest(g), c->out.now_s);
    }
    table_print(&t, c->out.to, c->out.colour, c->out.width);
    table_fini(&t);
}

static void device_rows(const struct fleet_command *c, const struct rows *r)
{
    static const char *const titles[] = {"EXPIRES", "GATEWAY", "DEVICE", "PHASE",
                                         "SLOT",    "SENSOR",  "BROKER", "TROUBLE"};
    char trouble[600];
    struct table t;

    table_init(&t, sizeof(titles) / sizeof(titles[0]));
    table_head(&t, titles);
    for (size_t i = 0; i < r->device_count; i++) {
        const struct view_device *d = r->devices[i];

        trouble_of(d, trouble, sizeof(trouble));
        add_expiry(&t, view_active(d)->not_after_s, c->out.now_s);
        table_add(&t, TABLE_PLAIN, "%s", d->gateway->name);
        table_add(&t, TABLE_PLAIN, "%s", d->name);
        table_add(&t, d->phase == VIEW_ROLLED_BACK ? TABLE_BAD : TABLE_PLAIN, "%s",
                  view_phase_name((enum view_phase)d->phase));
        table_add(&t, TABLE_PLAIN, "%s", slot_word(d));
        table_add(&t, TABLE_PLAIN, "%s", d->online ? "online" : "-");
        table_add(&t, TABLE_PLAIN, "%s", d->up ? "accepted" : "-");
        table_add(&t, TABLE_BAD, "%s", trouble);
    }
    table_print(&t, c->out.to, c->out.colour, c->out.width);
    table_fini(&t);
}

static void show_table(const struct fleet_command *c, const struct rows *r)
{
    size_t online = 0;

    for (size_t i = 0; i < r->gateway_count; i++)
        online += r->gateways[i]->online ? 1 : 0;
    if (c->line->gateways)
        gateway_rows(c, r);
    else
        device_rows(c, r);
    fprintf(c->out.to, "%zu %s, %zu online; %zu %s\n", r->gateway_count,
            r->gateway_count == 1 ? "gateway" : "gateways", online, r->device_count,
            r->device_count == 1 ? "device" : "devices");
}

/* -- JSON ------------------------------------------------------------------------------------- */

static json_t *json_time(int64_t s)
{
    char iso[32];

    return s == 0 ? json_null() : json_string(clock_iso(s, iso, sizeof(iso)));
}

static json_t *json_fp(const uint8_t fp[32])
{
    static const uint8_t none[32];
    char hex[65];

    if (memcmp(fp, none, 32) == 0)
        return json_null();
    str_hex(hex, fp, 32);
    return json_string(hex);
}

static json_t *json_slot(const struct view_slot *s)
{
    if (!s->present)
        return json_null();
    return json_pack("{s:b, s:o, s:o}", "usable", (int)s->usable, "fingerprint", json_fp(s->fp),
                     "not_after", json_time(s->not_after_s));
}

static json_t *json_text(const char *text)
{
    return text == NULL || text[0] == '\0' ? json_null() : json_string(text);
}

static json_t *json_gateway(const struct view_gateway *g)
{
    return json_pack("{s:s, s:o, s:o, s:o, s:I, s:o, s:o}", "gateway", g->name, "online",
                     g->known ? json_boolean(g->online) : json_null(), "version",
                     json_text(state_text(g, "version")), "since", json_time(g->since_s), "devices",
                     (json_int_t)g->device_count, "devices_told",
                     view_device_total(g) < 0 ? json_null() : json_integer(view_device_total(g)),
                     "soonest", json_time(soonest(g)));
}

static json_t *json_device(const struct view_device *d)
{
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:b, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "gateway",
        d->gateway->name, "device", d->name, "phase", view_phase_name((enum view_phase)d->phase),
        "active", slot_word(d), "online", (int)d->online, "accepted", (int)d->up, "not_after",
        json_time(view_active(d)->not_after_s), "fingerprint", json_fp(view_active(d)->fp), "old",
        json_slot(&d->old), "new", json_slot(&d->fresh), "reason", json_text(d->reason), "failure",
        json_text(d->failure), "message", json_text(d->message), "remedy", json_text(d->remedy));
}

static void show_json(const struct fleet_command *c, const struct campaign *campaign,
                      const struct rows *r)
{
    json_t *gateways = json_array(), *devices = json_array(), *all;

    for (size_t i = 0; i < r->gateway_count; i++)
        json_array_append_new(gateways, json_gateway(r->gateways[i]));
    for (size_t i = 0; i < r->device_count && !c->line->gateways; i++)
        json_array_append_new(devices, json_device(r->devices[i]));
    all = json_pack("{s:s, s:o, s:o, s:o}", "root", campaign->root, "time", json_time(c->out.now_s),
                    "gateways", gateways, "devices", devices);
    json_dumpf(all, c->out.to, JSON_INDENT(1));
    fputc('\n', c->out.to);
    json_decref(all);
}

/* -- CSV (RFC 4180) --------------------------------------------------------------------------- */

/* What a spreadsheet would take for a formula is quoted: a gateway chooses these words. */
static void put_field(FILE *to, const char *text, bool last)
{
    bool formula = text[0] != '\0' && strchr("=+-@\t", text[0]) != NULL;

    if (formula || strpbrk(text, ",\"\r\n") != NULL) {
        fprintf(to, formula ? "\"'" : "\"");
        for (; *text != '\0'; text++)
            fprintf(to, *text == '"' ? "\"\"" : "%c", *text);
        fputc('"', to);
    } else {
        fputs(text, to);
    }
    fputs(last ? "\r\n" : ",", to);
}

static void put_row(FILE *to, const char *const *fields, size_t n)
{
    for (size_t i = 0; i < n; i++)
        put_field(to, fields[i] == NULL ? "" : fields[i], i + 1 == n);
}
#define PUT_ROW(to, ...)                            \
    put_row(to, (const char *const[]){__VA_ARGS__}, \
            sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

static const char *fp_text(const uint8_t fp[32], char out[65])
{
    static const uint8_t none[32];

    if (memcmp(fp, none, 32) == 0)
        out[0] = '\0';
    else
        str_hex(out, fp, 32);
    return out;
}

static const char *iso_text(int64_t s, char out[32])
{
    if (s == 0)
        out[0] = '\0';
    else
        clock_iso(s, out, 32);
    return out;
}

static void csv_gateways(const struct fleet_command *c, const struct rows *r)
{
    char count[24], told[24], until[32];

    PUT_ROW(c->out.to, "gateway", "state", "version", "devices", "devices_told", "soonest");
    for (size_t i = 0; i < r->gateway_count; i++) {
        const struct view_gateway *g = r->gateways[i];

        snprintf(count, sizeof(count), "%zu", g->device_count);
        snprintf(told, sizeof(told), "%" PRId64, view_device_total(g));
        PUT_ROW(c->out.to, g->name, online_word(g), state_text(g, "version"), count,
                view_device_total(g) < 0 ? "" : told, iso_text(soonest(g), until));
    }
}

static void csv_devices(const struct fleet_command *c, const struct rows *r)
{
    char fp[65], fresh[65], until[32], fresh_until[32];

    PUT_ROW(c->out.to, "gateway", "device", "phase", "active", "sensor", "broker", "not_after",
            "fingerprint", "new_not_after", "new_fingerprint", "reason", "failure", "message",
            "remedy");
    for (size_t i = 0; i < r->device_count; i++) {
        const struct view_device *d = r->devices[i];

        PUT_ROW(c->out.to, d->gateway->name, d->name, view_phase_name((enum view_phase)d->phase),
                slot_word(d), d->online ? "online" : "", d->up ? "accepted" : "",
                iso_text(view_active(d)->not_after_s, until), fp_text(view_active(d)->fp, fp),
                iso_text(d->fresh.not_after_s, fresh_until), fp_text(d->fresh.fp, fresh), d->reason,
                d->failure, d->message, d->remedy);
    }
}

/* -- the command ------------------------------------------------------------------------------ */

int64_t inventory_show(const struct fleet_command *c, const struct campaign *campaign,
                       const struct view *v, size_t *later)
{
    struct rows r;
    int64_t n = -ERR_NOMEM;

    if (rows_make(&r, c, campaign, v) == 0) {
        n = (int64_t)(r.gateway_count + r.device_count);
        if (c->line->json)
            show_json(c, campaign, &r);
        else if (c->line->csv && c->line->gateways)
            csv_gateways(c, &r);
        else if (c->line->csv)
            csv_devices(c, &r);
        else if (n > 0)
            show_table(c, &r);
        else if (r.later > 0)
            fprintf(c->out.to, "none of %zu %s expires within %" PRId64 " days\n", r.later,
                    r.later == 1 ? "device" : "devices", (int64_t)c->line->expiring);
        *later = r.later;
    }
    rows_fini(&r);
    return n;
}

/* What is not there because the broker has dropped it, or what could not be read. */
static void warn(const struct fleet_command *c, const struct gather *g)
{
    list_for_each (it, &g->view.gateways) {
        const struct view_gateway *seen = list_entry(it, struct view_gateway, link);

        if (seen->online && view_device_total(seen) > (int64_t)seen->device_count)
            fprintf(c->err.to,
                    "%s: %zu of its %" PRId64 " devices were told by the broker: raise its limit "
                    "of queued messages (mosquitto: max_queued_messages), and let this client read "
                    "%s/#\n",
                    seen->name, seen->device_count, view_device_total(seen), g->campaign->root);
    }
    if (g->bad > 0) {
        fprintf(c->err.to, "%zu %s could not be read, one of them: ", g->bad,
                g->bad == 1 ? "message" : "messages");
        table_text(c->err.to, c->err.colour, TABLE_WARN, g->bad_one);
        fputc('\n', c->err.to);
    }
}

static int gathered(const struct fleet_command *c, const struct campaign *campaign,
                    struct gather *g, struct err *err)
{
    size_t later = 0;
    int64_t n;
    int rc = gather_wait(g, err);

    if (rc != 0)
        return rc;
    warn(c, g);
    n = inventory_show(c, campaign, &g->view, &later);
    if (n < 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (n == 0 && g->view.gateway_count == 0)
        return err_set(
            err, ERR_NOT_FOUND,
            "nothing is retained below %s: is root right, and may this client read there?",
            campaign->root);
    if (n == 0 && later == 0)
        return err_set(err, ERR_NOT_FOUND,
                       "none of %zu gateways and %zu devices below %s is wanted: see gateways and "
                       "devices in %s, or ask with --all",
                       g->view.gateway_count, g->view.device_count, campaign->root, campaign->path);
    return 0;
}

enum fleet_status inventory_command(const struct fleet_command *c, struct err *err)
{
    struct campaign *campaign = fleet_command_campaign(c, err);
    struct gather g;
    int rc;

    if (campaign == NULL)
        return FLEET_STATUS_USAGE;
    rc = gather_init(&g, campaign, c->stop, true, err);
    if (rc == 0)
        rc = gathered(c, campaign, &g, err);
    gather_fini(&g);
    campaign_free(campaign);
    return fleet_status_of(rc);
}
