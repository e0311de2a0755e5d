#include "fleet/plan.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/str.h"
#include "cli/table.h"

/* -- who takes part ------------------------------------------------------------------------------
 */

/* Why its turn would end badly as things are; "" when it would not. */
static void trouble_of(const struct view_device *d, char *out, size_t n)
{
    out[0] = '\0';
    if (d->phase == VIEW_COMMITTED)
        snprintf(out, n, "committed to a new identity already: retire the old one first");
    else if (d->phase == VIEW_TRIAL)
        snprintf(out, n, "on trial with another new identity: wait for its end");
    else if (d->phase == VIEW_ROLLED_BACK || d->phase == VIEW_STAGED)
        snprintf(out, n, "another new identity is in the way: %s: discard it first",
                 view_phase_name((enum view_phase)d->phase));
    else if (!d->old.usable)
        snprintf(out, n, "has no usable identity now");
}

static int add_device(struct plan_gateway *g, const struct view_device *d, size_t *cap)
{
    if (g->count == *cap) {
        size_t more = *cap == 0 ? 16 : 2 * *cap;
        struct plan_device *grown = realloc(g->devices, more * sizeof(*grown));

        if (grown == NULL)
            return -ERR_NOMEM;
        g->devices = grown;
        *cap = more;
    }
    g->devices[g->count] = (struct plan_device){.seen = d, .wave = -1};
    trouble_of(d, g->devices[g->count].trouble, sizeof(g->devices[g->count].trouble));
    g->count++;
    return 0;
}

static int add_gateway(struct plan *p, const struct campaign *c, const struct view_gateway *v)
{
    struct plan_gateway *grown =
        realloc(p->gateways, (p->gateway_count + 1) * sizeof(*p->gateways));
    struct plan_gateway *g;
    size_t cap = 0;
    char when[32];

    if (grown == NULL)
        return -ERR_NOMEM;
    p->gateways = grown;
    g = &grown[p->gateway_count];
    *g = (struct plan_gateway){.seen = v};
    list_for_each (it, &v->devices) {
        const struct view_device *d = list_entry(it, struct view_device, link);

        if (campaign_wants_device(c, d->name) && add_device(g, d, &cap) != 0) {
            free(g->devices);
            return -ERR_NOMEM;
        }
    }
    if (g->count == 0) {
        free(g->devices);
        return 0;
    }
    if (!v->known)
        snprintf(g->trouble, sizeof(g->trouble), "its state was never seen");
    else if (!v->online && v->since_s != 0)
        snprintf(g->trouble, sizeof(g->trouble), "offline since %s",
                 clock_text(v->since_s, when, sizeof(when)));
    else if (!v->online)
        snprintf(g->trouble, sizeof(g->trouble), "offline");
    p->gateway_count++;
    p->device_count += g->count;
    return 0;
}

/* -- waves ---------------------------------------------------------------------------------------
 */

static void put(struct plan *p, struct plan_gateway *g, struct plan_device *d, int wave)
{
    d->wave = wave;
    g->by_wave[wave]++;
    p->by_wave[wave]++;
}

/* What the pilot prefers, best first. */
static bool is_named(const struct campaign *c, const struct plan_gateway *g,
                     const struct plan_device *d)
{
    return campaign_wants_first(c, g->seen->name, d->seen->name);
}

static bool is_here(const struct campaign *c, const struct plan_gateway *g,
                    const struct plan_device *d)
{
    (void)c;
    return g->seen->online && d->seen->online && d->trouble[0] == '\0';
}

static bool is_any(const struct campaign *c, const struct plan_gateway *g,
                   const struct plan_device *d)
{
    (void)c;
    (void)g;
    (void)d;
    return true;
}

/* Give `wave` devices until `upto` are in it or an earlier one: one of each gateway in turn, by
 * name.  `next` has a place of each gateway. */
static void fill(struct plan *p, const struct campaign *c, int wave, size_t *taken, size_t upto,
                 bool (*wants)(const struct campaign *c, const struct plan_gateway *g,
                               const struct plan_device *d),
                 size_t *next)
{
    bool any = true;

    memset(next, 0, p->gateway_count * sizeof(*next));
    while (*taken < upto && any) {
        any = false;
        for (size_t i = 0; *taken < upto && i < p->gateway_count; i++) {
            struct plan_gateway *g = &p->gateways[i];

            while (next[i] < g->count &&
                   (g->devices[next[i]].wave >= 0 || !wants(c, g, &g->devices[next[i]])))
                next[i]++;
            if (next[i] == g->count)
                continue;
            put(p, g, &g->devices[next[i]++], wave);
            ++*taken;
            any = true;
        }
    }
}

static int waves(struct plan *p, const struct campaign *c)
{
    size_t *next = calloc(p->gateway_count + 1, sizeof(*next));
    size_t taken = 0, upto = c->waves.pilot;
    int wave = 0;

    if (next == NULL)
        return -ERR_NOMEM;
    if (upto > 0) {
        if (upto > p->device_count)
            upto = p->device_count;
        fill(p, c, wave, &taken, upto, is_named, next);
        fill(p, c, wave, &taken, upto, is_here, next);
        fill(p, c, wave, &taken, upto, is_any, next);
        wave++;
    }
    for (size_t i = 0; i < c->waves.percent_count; i++) {
        upto = (p->device_count * c->waves.percent[i] + 99) / 100; /* up, so that 100 % are all */
        fill(p, c, wave++, &taken, upto, is_any, next);
    }
    p->waves = wave;
    free(next);
    return 0;
}

/* -- names that stand twice ----------------------------------------------------------------------
 *
 * Whatever a gateway retains is its own word.  One that names another one's device would get a
 * certificate with that device's name, where nothing in the subject tells the two apart.
 */

static bool wants(const struct campaign *c, const char *gateway, const char *device)
{
    return campaign_wants_gateway(c, gateway) && campaign_wants_device(c, device);
}

/* Gateways that the campaign is not about count, too; those that are left out by name do not. */
static int check_names(const struct campaign *c, const struct view *v, struct err *err)
{
    struct map *first = map_new();
    int rc = first == NULL ? err_set(err, ERR_NOMEM, "out of memory") : 0;

    list_for_each (it, &v->gateways) {
        const struct view_gateway *g = list_entry(it, struct view_gateway, link);

        if (campaign_excludes_gateway(c, g->name))
            continue;
        list_for_each (at, &g->devices) {
            struct view_device *d = list_entry(at, struct view_device, link);
            const struct view_device *twin = rc != 0 ? NULL : map_get(first, d->name);

            if (rc != 0)
                break;
            if (twin == NULL && map_put(first, d->name, d) != 0)
                rc = err_set(err, ERR_NOMEM, "out of memory");
            else if (twin != NULL &&
                     (wants(c, g->name, d->name) || wants(c, twin->gateway->name, d->name)))
                rc = err_set(err, ERR_DENIED,
                             "device %s stands at gateway %s and at gateway %s, and both would get "
                             "a certificate with the same subject: leave one of them out "
                             "(exclude_gateways, exclude_devices), clear the topic of the one that "
                             "is gone, or put {gateway} into identity.subject",
                             d->name, twin->gateway->name, g->name);
        }
    }
    map_free(first);
    return rc;
}

int plan_make(const struct campaign *c, const struct view *v, struct plan *out, struct err *err)
{
    struct plan p = {0};
    size_t gateways = 0;
    int rc = strstr(c->identity.subject, "{gateway}") == NULL ? check_names(c, v, err) : 0;

    if (rc != 0)
        return rc;
    list_for_each (it, &v->gateways) {
        const struct view_gateway *g = list_entry(it, struct view_gateway, link);

        if (!campaign_wants_gateway(c, g->name))
            continue;
        gateways++;
        if ((rc = add_gateway(&p, c, g)) != 0)
            break;
    }
    if (rc == 0)
        rc = waves(&p, c);
    if (rc != 0) {
        plan_fini(&p);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    if (p.device_count == 0) {
        plan_fini(&p);
        return err_set(err, ERR_NOT_FOUND,
                       "the campaign has no devices: of %zu gateways that the broker tells of "
                       "below %s, %zu match `gateways`, and none of their devices `devices`: see "
                       "certflip-fleet inventory",
                       v->gateway_count, c->root, gateways);
    }
    *out = p;
    return 0;
}

void plan_fini(struct plan *p)
{
    for (size_t i = 0; i < p->gateway_count; i++)
        free(p->gateways[i].devices);
    free(p->gateways);
    *p = (struct plan){0};
}

/* -- rows ----------------------------------------------------------------------------------------
 */

void plan_gateway_row(const struct plan_gateway *g, int64_t now_s, struct fleet_gateway *out)
{
    *out = (struct fleet_gateway){.step = FLEET_GATEWAY_PLANNED, .changed_s = now_s};
    snprintf(out->name, sizeof(out->name), "%s", g->seen->name);
    snprintf(out->trouble, sizeof(out->trouble), "%s", g->trouble);
}

void plan_device_row(const struct plan_gateway *g, const struct plan_device *d, int64_t now_s,
                     struct fleet_device *out)
{
    *out = (struct fleet_device){.wave = d->wave, .step = FLEET_DEVICE_PLANNED, .changed_s = now_s};
    snprintf(out->gateway, sizeof(out->gateway), "%s", g->seen->name);
    snprintf(out->name, sizeof(out->name), "%s", d->seen->name);
    if (d->seen->old.present) {
        str_hex(out->old_fp, d->seen->old.fp, sizeof(d->seen->old.fp));
        out->old_until_s = d->seen->old.not_after_s;
    }
}

/* -- showing -------------------------------------------------------------------------------------
 */

static json_t *by_wave(const size_t *n, int count)
{
    json_t *all = json_array();

    for (int w = 0; w < count; w++)
        json_array_append_new(all, json_integer((json_int_t)n[w]));
    return all;
}

static json_t *trouble_json(const char *text)
{
    return text[0] == '\0' ? json_null() : json_string(text);
}

static json_t *gateway_json(const struct plan *p, const struct plan_gateway *g)
{
    json_t *devices = json_array();

    for (size_t i = 0; i < g->count; i++)
        json_array_append_new(
            devices, json_pack("{s:s, s:i, s:b, s:o}", "device", g->devices[i].seen->name, "wave",
                               g->devices[i].wave, "online", g->devices[i].seen->online, "trouble",
                               trouble_json(g->devices[i].trouble)));
    return json_pack("{s:s, s:b, s:o, s:o, s:o}", "gateway", g->seen->name, "online",
                     g->seen->online, "trouble", trouble_json(g->trouble), "waves",
                     by_wave(g->by_wave, p->waves), "devices", devices);
}

static json_t *plan_json(const struct campaign *c, const struct plan *p)
{
    json_t *gateways = json_array();

    for (size_t i = 0; i < p->gateway_count; i++)
        json_array_append_new(gateways, gateway_json(p, &p->gateways[i]));
    return json_pack("{s:s, s:I, s:o, s:o}", "campaign", c->name, "devices",
                     (json_int_t)p->device_count, "waves", by_wave(p->by_wave, p->waves),
                     "gateways", gateways);
}

static void show_waves(const struct campaign *c, const struct plan *p, FILE *out)
{
    size_t so_far = 0;
    int first = c->waves.pilot > 0 ? 1 : 0;

    fprintf(out, "\nWaves (%zu devices; %.3g %% of a wave must succeed; %u s between two):\n",
            p->device_count, (double)c->waves.threshold / 1000, c->waves.soak_s);
    for (int w = 0; w < p->waves; w++) {
        so_far += p->by_wave[w];
        if (w < first)
            fprintf(out, "  %d  pilot   %8zu devices\n", w, p->by_wave[w]);
        else
            fprintf(out, "  %d  %3u %%   %8zu devices, %zu in all\n", w,
                    c->waves.percent[w - first], p->by_wave[w], so_far);
    }
}

static void show_asked(const struct campaign *c, FILE *out)
{
    fprintf(out, "\nWhat each gateway is asked:\n");
    for (size_t i = 0; i < c->trust_count; i++)
        for (size_t k = 0; k < c->trust[i].ca_count; k++)
            fprintf(out, "  trust.add         %s: %s (sha256 %.16s..)\n",
                    campaign_set_name(c->trust[i].set), c->trust[i].cas[k].subject,
                    c->trust[i].cas[k].fp);
    fprintf(out, "  identity.keygen   %s, subject %s, %u devices at a time\n",
            c->identity.key == 0 ? "the kind of key that it is configured for"
                                 : campaign_key_name(c->identity.key),
            c->identity.subject, c->limits.keygen_per_gateway);
    fprintf(out, "  identity.install  the certificates, signed by %s\n",
            c->sign.command != NULL ? c->sign.command : c->sign.ca_cert_file);
    fprintf(out, "  flip              at most %u at once, %u of all gateways; %s\n",
            c->limits.per_gateway, c->limits.in_flight,
            c->window_count == 0 ? "at any time" : "within the windows");
    if (c->retire.identities)
        fprintf(out,
                "  retire            the old identities, once all devices are on the new ones\n");
    for (size_t i = 0; i < c->retire.anchor_count; i++)
        for (size_t k = 0; k < c->retire.anchors[i].ca_count; k++)
            fprintf(out, "  trust.remove      %s: %s (sha256 %.16s..)\n",
                    campaign_set_name(c->retire.anchors[i].set),
                    c->retire.anchors[i].cas[k].subject, c->retire.anchors[i].cas[k].fp);
}

static void show_gateways(const struct plan *p, const struct show *out)
{
    static const char *const titles[] = {"GATEWAY", "DEVICES", "BY WAVE", "STATE"};
    struct table t;
    char text[200];

    table_init(&t, 4);
    table_head(&t, titles);
    for (size_t i = 0; i < p->gateway_count; i++) {
        const struct plan_gateway *g = &p->gateways[i];
        size_t n = 0;

        text[0] = '\0';
        for (int w = 0; w < p->waves && n < sizeof(text) - 24; w++)
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%zu", w == 0 ? "" : " ",
                                  g->by_wave[w]);
        table_add(&t, TABLE_PLAIN, "%s", g->seen->name);
        table_add(&t, TABLE_PLAIN, "%zu", g->count);
        table_add(&t, TABLE_PLAIN, "%s", text);
        table_add(&t, g->trouble[0] == '\0' ? TABLE_GOOD : TABLE_WARN, "%s",
                  g->trouble[0] == '\0' ? "online" : g->trouble);
    }
    table_print(&t, out->to, out->colour, out->width);
    table_fini(&t);
}

int plan_show(const struct campaign *c, const struct plan *p, bool json, const struct show *show)
{
    FILE *out = show->to;
    size_t troubled = 0;

    if (json) {
        json_t *all = plan_json(c, p);
        char *text = json_dumps(all, JSON_COMPACT);

        json_decref(all);
        if (text == NULL)
            return -ERR_NOMEM;
        fprintf(out, "%s\n", text);
        free(text);
        return 0;
    }
    fprintf(out, "Campaign %s: %zu devices at %zu gateways\n\n", c->name, p->device_count,
            p->gateway_count);
    show_gateways(p, show);
    show_waves(c, p, out);
    show_asked(c, out);
    for (size_t i = 0; i < p->gateway_count; i++)
        for (size_t k = 0; k < p->gateways[i].count; k++) {
            const struct plan_device *d = &p->gateways[i].devices[k];

            if (d->trouble[0] == '\0')
                continue;
            if (troubled++ == 0)
                fprintf(out, "\nDevices that cannot take part as things are:\n");
            if (troubled <= 50)
                fprintf(out, "  %s/%s: %s\n", p->gateways[i].seen->name, d->seen->name, d->trouble);
        }
    if (troubled > 50)
        fprintf(out, "  and %zu more: see --json\n", troubled - 50);
    return 0;
}
