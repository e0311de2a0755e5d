/* What those see who look at a campaign: status, stragglers, watch, report. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "fleet/overview.h"
#include "fleet/pace.h"
#include "fleet/report.h"
#include "fleet/status.h"
#include "fleet/stragglers.h"
#include "fleet/watch.h"
#include "scratch.h"

#define NOW_S INT64_C(1800000000) /* 2027-01-15 08:00:00 UTC */

static const char text[] = "name = \"ca-2027\"; broker = { host = \"b.example\"; };\n"
                           "gateways = [ \"gw-*\" ]; sign = { command = \"sign\"; };\n"
                           "waves = { pilot = 2; percent = [ 50, 100 ]; soak_s = 3600; };\n";

/* Twelve devices of three gateways: the pilot is through, the second wave under way, a gateway
 * offline, a device refused. */
struct world {
    char dir[64], path[96];
    struct ledger *ledger;
    struct campaign *campaign;
    struct fleet_campaign now;
    char *said; /* owned */
};

static void put_device(struct ledger *l, int gateway, int number, int wave,
                       enum fleet_device_step step)
{
    struct fleet_device d = {.wave = wave, .step = step, .attempts = step >= FLEET_DEVICE_FLIPPING};
    struct err err = {0};

    snprintf(d.gateway, sizeof(d.gateway), "gw-%d", gateway);
    snprintf(d.name, sizeof(d.name), "press-%02d", number);
    d.changed_s = NOW_S - 600;
    d.old_until_s = NOW_S + 86400 * 20;
    d.new_until_s = NOW_S + 86400 * 300;
    if (step >= FLEET_DEVICE_FLIPPING)
        d.flip_s = NOW_S - 900;
    if (step == FLEET_DEVICE_MIGRATED)
        d.migrated_s = NOW_S - 900 + number;
    if (step == FLEET_DEVICE_FAILED) {
        strcpy(d.failure, "identity");
        strcpy(d.reason, "the broker does not trust <the issuer> & says so");
        strcpy(d.remedy, "add the CA at the broker");
    }
    if (ledger_device_put(l, &d, &err) != 0)
        fail_msg("%s", err.msg);
}

static void put_gateway(struct ledger *l, const char *name, enum fleet_gateway_step step,
                        const char *trouble)
{
    struct fleet_gateway g = {.step = step, .changed_s = NOW_S - 700};

    snprintf(g.name, sizeof(g.name), "%s", name);
    snprintf(g.trouble, sizeof(g.trouble), "%s", trouble);
    assert_int_equal(ledger_gateway_put(l, &g, NULL), 0);
}

static int world_make(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct buf faults = {0};
    unsigned count = 0;
    struct err err = {0};

    assert_non_null(w);
    assert_true(scratch_make(w->dir, sizeof(w->dir)));
    snprintf(w->path, sizeof(w->path), "%s/c.db", w->dir);
    w->campaign = campaign_load_text("c.conf", text, strlen(text), &faults, &count);
    if (w->campaign == NULL)
        fail_msg("%.*s", (int)faults.len, (const char *)faults.p);
    buf_fini(&faults);
    w->ledger = ledger_open(w->path, true, &err);
    if (w->ledger == NULL || ledger_own(w->ledger, "anna@plant", &err) != 0)
        fail_msg("%s", err.msg);
    w->now = (struct fleet_campaign){.phase = FLEET_MIGRATE,
                                     .mode = FLEET_RUNNING,
                                     .wave = 1,
                                     .waves = 3,
                                     .started_s = NOW_S - 7200,
                                     .changed_s = NOW_S - 1000,
                                     .wave_begun_s = NOW_S - 1000};
    strcpy(w->now.name, "ca-2027");
    strcpy(w->now.by, "anna@plant");
    assert_int_equal(ledger_begin(w->ledger, NULL), 0);
    assert_int_equal(ledger_campaign_put(w->ledger, &w->now, NULL), 0);
    put_gateway(w->ledger, "gw-1", FLEET_GATEWAY_TRUSTED, "");
    put_gateway(w->ledger, "gw-2", FLEET_GATEWAY_TRUSTED, "");
    put_gateway(w->ledger, "gw-3", FLEET_GATEWAY_PLANNED, "offline since 07:40");
    put_device(w->ledger, 1, 1, 0, FLEET_DEVICE_MIGRATED);
    put_device(w->ledger, 2, 1, 0, FLEET_DEVICE_MIGRATED);
    put_device(w->ledger, 1, 2, 1, FLEET_DEVICE_MIGRATED);
    put_device(w->ledger, 1, 3, 1, FLEET_DEVICE_FLIPPING);
    put_device(w->ledger, 2, 2, 1, FLEET_DEVICE_FAILED);
    put_device(w->ledger, 2, 3, 1, FLEET_DEVICE_READY);
    put_device(w->ledger, 3, 1, 2, FLEET_DEVICE_PLANNED);
    put_device(w->ledger, 3, 2, 2, FLEET_DEVICE_PLANNED);
    put_device(w->ledger, 3, 3, 2, FLEET_DEVICE_PLANNED);
    put_device(w->ledger, 1, 4, 2, FLEET_DEVICE_READY);
    put_device(w->ledger, 2, 4, 2, FLEET_DEVICE_READY);
    put_device(w->ledger, 2, 5, 2, FLEET_DEVICE_SKIPPED);
    assert_int_equal(
        ledger_note_add(w->ledger, "wave-begun", "", "", "wave 1 (50 %): 4 devices", NULL), 0);
    assert_int_equal(ledger_commit(w->ledger, NULL), 0);
    *state = w;
    return 0;
}

static int world_free(void **state)
{
    struct world *w = *state;
    DIR *d;

    ledger_close(w->ledger);
    campaign_free(w->campaign);
    d = opendir(w->dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        (void)unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    assert_int_equal(rmdir(w->dir), 0);
    free(w->said);
    free(w);
    return 0;
}

static void set_mode(struct world *w, enum fleet_phase phase, enum fleet_mode mode)
{
    w->now.phase = phase;
    w->now.mode = mode;
    assert_int_equal(ledger_campaign_put(w->ledger, &w->now, NULL), 0);
}

static int pass_by(void *arg, const struct fleet_device *d)
{
    (void)arg;
    (void)d;
    return 0;
}

static struct overview see(struct world *w)
{
    struct overview o;
    struct err err = {0};

    if (overview_read(w->ledger, NOW_S, pass_by, NULL, &o, &err) != 0)
        fail_msg("%s", err.msg);
    return o;
}

/* Begin to write what is looked at afterwards; `done` with it. */
static FILE *begin_text(struct world *w, size_t *n)
{
    FILE *to;

    free(w->said);
    w->said = NULL;
    to = open_memstream(&w->said, n);
    assert_non_null(to);
    return to;
}

static void has(const struct world *w, const char *part)
{
    if (strstr(w->said, part) == NULL)
        fail_msg("not there: %s\n%s", part, w->said);
}

static void has_not(const struct world *w, const char *part)
{
    if (strstr(w->said, part) != NULL)
        fail_msg("there: %s\n%s", part, w->said);
}

/* -- counting ---------------------------------------------------------------------------------- */

static void an_overview_counts_by_wave_gateway_and_class(void **state)
{
    struct world *w = *state;
    struct overview o = see(w), light;

    assert_int_equal(o.all.devices, 12);
    assert_int_equal(overview_part(&o.all, OVERVIEW_DONE), 3);
    assert_int_equal(overview_part(&o.all, OVERVIEW_READY), 3);
    assert_int_equal(overview_part(&o.all, OVERVIEW_WAITING), 3);
    assert_int_equal(overview_done(&o.all), 272); /* of eleven: one is skipped */
    assert_int_equal(o.waves, 3);
    assert_int_equal(o.wave[1].devices, 4);
    assert_int_equal(overview_done(&o.wave[0]), 1000);
    assert_int_equal(o.gateway_count, 3);
    assert_int_equal(o.gateways[1].count.step[FLEET_DEVICE_FAILED], 1);
    assert_int_equal(o.trusted, 2);
    assert_int_equal(o.troubled, 1);
    assert_int_equal(o.failure_count, 1);
    assert_string_equal(o.failures[0].name, "identity");
    assert_string_equal(o.failures[0].device, "gw-2/press-02");

    assert_int_equal(overview_read(w->ledger, NOW_S, NULL, NULL, &light, NULL), 0);
    assert_memory_equal(&light.all, &o.all, sizeof(o.all));
    assert_memory_equal(&light.wave, &o.wave, sizeof(o.wave));
    assert_memory_equal(&light.gateways[2].count, &o.gateways[2].count, sizeof(o.all));
    overview_fini(&light);
    overview_fini(&o);
}

static void cells_add_up_and_leave_nobody_out(void **state)
{
    struct overview_count c = {.devices = 10000};
    size_t n[OVERVIEW_PARTS], sum;

    (void)state;
    c.step[FLEET_DEVICE_MIGRATED] = 9998;
    c.step[FLEET_DEVICE_FAILED] = 1;
    c.step[FLEET_DEVICE_FLIPPING] = 1;
    for (size_t cells = 7; cells < 200; cells++) {
        overview_cells(&c, cells, n);
        sum = 0;
        for (int i = 0; i < OVERVIEW_PARTS; i++)
            sum += n[i];
        assert_int_equal(sum, cells);
        assert_int_equal(n[OVERVIEW_FAILED], 1);
        assert_int_equal(n[OVERVIEW_FLIPPING], 1);
        assert_int_equal(n[OVERVIEW_WAITING], 0);
    }
    memset(&c, 0, sizeof(c));
    overview_cells(&c, 10, n);
    assert_int_equal(n[OVERVIEW_DONE], 0);
}

/* -- what it waits for ------------------------------------------------------------------------- */

static void add_text(void *arg, const char *said)
{
    fprintf(arg, "%s\n", said);
}

static void waits(struct world *w, const struct overview *o)
{
    size_t n;
    FILE *to = begin_text(w, &n);

    overview_waits(o, w->campaign, add_text, to);
    fclose(to);
}

static void it_says_what_it_waits_for(void **state)
{
    struct world *w = *state;
    struct overview o = see(w);

    assert_string_equal(o.owner, OVERVIEW_US);
    strcpy(o.owner, "anna@plant, process 1");
    waits(w, &o);
    has(w, "wave 50 %: 1 flipping or on trial, 1 have not had their turn\n");
    has(w, "gateway gw-3: offline since 07:40\n");
    has_not(w, "nobody");
    o.owner[0] = '\0';
    waits(w, &o);
    has(w, "nobody runs it: `certflip-fleet resume`");
    o.campaign.soak_until_s = NOW_S + 1800;
    waits(w, &o);
    has(w, "wave 50 % is through and has to prove itself until 2027-01-15 08:30:00 UTC, 30 min");
    o.campaign.phase = FLEET_PREPARE;
    waits(w, &o);
    has(w, "the new anchors are not seen to be in force yet: 1 of 3 gateways\n");
    has(w, "keys and requests, made at the gateways: 3 of 12 devices\n");
    o.campaign.mode = FLEET_HALTED;
    strcpy(o.campaign.reason, "3 of 4 failed");
    waits(w, &o);
    has(w, "it halted by itself: 3 of 4 failed; mend the cause");
    has_not(w, "gateways");
    o.campaign.mode = FLEET_PAUSED;
    waits(w, &o);
    has(w, "it is paused: 3 of 4 failed; `certflip-fleet resume` goes on");
    o.campaign.mode = FLEET_DONE;
    waits(w, &o);
    has(w, "nothing: all of it is done");
    overview_fini(&o);
}

/* -- status ------------------------------------------------------------------------------------ */

static void status_tells_people(void **state)
{
    struct world *w = *state;
    struct overview o = see(w);
    size_t n;
    struct show out = {.to = begin_text(w, &n), .now_s = NOW_S};

    status_show(&o, w->campaign, &out);
    fclose(out.to);
    has(w, "ca-2027: migrate, wave 50 % (2 of 3), running\n");
    has(w, "WAVE   DEVICES  DONE         FLIPPING  FAILED  RETURNED  READY  WAITING  SKIPPED\n"
           "pilot  2        2 (100.0 %)  -         -       -         -      -        -\n"
           "50 %   4        1 (25.0 %)   1         1       -         1      -        -\n"
           "100 %  6        0 (0.0 %)    -         -       -         2      3        1\n");
    has(w, "gw-3     planned  3        0 (0.0 %)   -         -       -         -      3        -");
    has(w, "offline since 07:40\n");
    has(w, "identity  1        gw-2/press-02  the broker does not trust <the issuer> & says so: "
           "add the CA at the broker\n");
    has(w, "waits for  wave 50 %: 1 flipping or on trial");
    overview_fini(&o);
}

static void status_tells_programs(void **state)
{
    struct world *w = *state;
    struct overview o = see(w);
    json_t *json = status_json(&o, w->campaign), *wave, *gateway;

    assert_non_null(json);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(json, "campaign"), "phase")), "migrate");
    assert_string_equal(json_string_value(json_object_get(json, "time")), "2027-01-15T08:00:00Z");
    assert_int_equal(json_integer_value(json_object_get(json, "devices")), 12);
    wave = json_array_get(json_object_get(json, "waves"), 1);
    assert_string_equal(json_string_value(json_object_get(wave, "name")), "50 %");
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(wave, "steps"), "flipping")), 1);
    gateway = json_array_get(json_object_get(json, "gateways"), 2);
    assert_string_equal(json_string_value(json_object_get(gateway, "trouble")),
                        "offline since 07:40");
    assert_null(json_object_get(json_array_get(json_object_get(json, "gateways"), 0), "trouble"));
    assert_int_equal(json_array_size(json_object_get(json, "failures")), 1);
    assert_true(json_array_size(json_object_get(json, "waits_for")) > 0);
    json_decref(json);
    overview_fini(&o);
}

/* -- stragglers -------------------------------------------------------------------------------- */

static const char *text_of(const json_t *row, const char *key)
{
    return json_string_value(json_object_get(row, key));
}

static void stragglers_are_those_whose_turn_it_was(void **state)
{
    struct world *w = *state;
    struct straggler_terms terms = {"c.conf", 0, NOW_S};
    json_t *all, *row;

    /* press-03 of gw-1 flips, press-02 of gw-2 failed, gw-3 is offline. */
    assert_int_equal(stragglers_json(w->ledger, &terms, &all, NULL), 0);
    assert_int_equal(json_array_size(all), 5);
    json_decref(all);
    /* Once the wave is through, press-03 of gw-2 is one as well. */
    w->now.soak_until_s = NOW_S + 100;
    set_mode(w, FLEET_MIGRATE, FLEET_RUNNING);
    assert_int_equal(stragglers_json(w->ledger, &terms, &all, NULL), 0);
    assert_int_equal(json_array_size(all), 6);
    row = json_array_get(all, 1);
    assert_string_equal(text_of(row, "device"), "press-02");
    assert_string_equal(text_of(row, "class"), "identity");
    assert_string_equal(text_of(row, "why"),
                        "[identity] the broker does not trust <the issuer> & says so");
    assert_string_equal(text_of(row, "remedy"), "add the CA at the broker");
    row = json_array_get(all, 2);
    assert_string_equal(text_of(row, "step"), "ready");
    assert_non_null(strstr(text_of(row, "remedy"), "certflip-fleet skip c.conf gw-2/press-03"));
    row = json_array_get(all, 5);
    assert_string_equal(text_of(row, "why"), "gateway gw-3: offline since 07:40");
    json_decref(all);

    set_mode(w, FLEET_PREPARE, FLEET_RUNNING);
    assert_int_equal(stragglers_json(w->ledger, &terms, &all, NULL), 0);
    assert_int_equal(json_array_size(all), 4); /* the failed one, and those of gw-3 */
    json_decref(all);
    set_mode(w, FLEET_VALIDATE, FLEET_RUNNING);
    assert_int_equal(stragglers_json(w->ledger, &terms, &all, NULL), 0);
    /* All but the skipped: who is migrated has yet to be seen on its new certificate. */
    assert_int_equal(json_array_size(all), 11);
    json_decref(all);
    /* But not before it has been there for as long as it has to. */
    terms.validate_s = 899; /* press-01 migrated 899 s ago, twice, press-02 898 s ago */
    assert_int_equal(stragglers_json(w->ledger, &terms, &all, NULL), 0);
    assert_int_equal(json_array_size(all), 10);
    row = json_array_get(all, 0);
    assert_string_equal(text_of(row, "device"), "press-01");
    assert_string_equal(text_of(row, "why"),
                        "its time is over, and it was not seen on its new certificate yet");
    assert_string_equal(text_of(row, "remedy"), "wait for it; to go on without it: certflip-fleet "
                                                "skip c.conf gw-1/press-01");
    json_decref(all);
    terms.validate_s = 3600;
    assert_int_equal(stragglers_json(w->ledger, &terms, &all, NULL), 0);
    assert_int_equal(json_array_size(all), 8);
    json_decref(all);
}

/* -- report ------------------------------------------------------------------------------------ */

static struct report *report_of(struct world *w)
{
    struct err err = {0};
    struct report *r = report_new(w->ledger, w->campaign, "c.conf", NOW_S, &err);

    if (r == NULL)
        fail_msg("%s", err.msg);
    return r;
}

static void page(struct world *w)
{
    struct report *r = report_of(w);
    size_t n;
    FILE *to = begin_text(w, &n);

    assert_int_equal(report_html(r, to, NULL), 0);
    fclose(to);
    report_free(r);
}

/* Each element is closed, in order; there is no script, and nothing that would be fetched. */
static void is_well_formed(const struct world *w)
{
    static const char *const alone[] = {"meta", "br", "!DOCTYPE"};
    char open[64][16];
    size_t depth = 0;

    for (const char *at = strchr(w->said, '<'); at != NULL; at = strchr(at + 1, '<')) {
        const char *end = strchr(at, '>');
        char name[16] = "";
        bool closes = at[1] == '/', is_alone = false;
        size_t n = strcspn(at + 1 + closes, " />");

        assert_non_null(end);
        assert_true(n > 0 && n < sizeof(name));
        assert_null(memmem(at, (size_t)(end - at), "src=", 4));
        assert_null(memmem(at, (size_t)(end - at), "href=", 5));
        assert_null(memmem(at, (size_t)(end - at), "onload=", 7));
        memcpy(name, at + 1 + closes, n);
        for (size_t i = 0; i < 3; i++)
            is_alone |= strcmp(name, alone[i]) == 0;
        if (is_alone || end[-1] == '/')
            continue;
        if (closes) {
            assert_true(depth > 0);
            assert_string_equal(name, open[--depth]);
        } else {
            assert_true(depth < 64);
            strcpy(open[depth++], name);
        }
    }
    assert_int_equal(depth, 0);
    has_not(w, "<script");
    has_not(w, "<img");
    has_not(w, "<link");
    has_not(w, "url(");
}

static void a_page_has_it_all_and_stands_alone(void **state)
{
    struct world *w = *state;

    page(w);
    is_well_formed(w);
    has(w, "<h1>ca-2027</h1><span class=\"badge running\">running</span>");
    has(w, "<b>27.2 %</b><span>3 devices done</span>");
    has(w, "does not trust &lt;the issuer&gt; &amp; says so");
    has(w, "gateway gw-3: offline since 07:40");
    has(w, "wave 1 (50 %): 4 devices");
    has(w, "certflip-fleet skip c.conf gw-1/press-03");
    has(w, "<title>1 flipping</title>");
    has(w, "before the campaign");
    has(w, "median 1 s");
    set_mode(w, FLEET_FINISHED, FLEET_DONE);
    page(w);
    is_well_formed(w);
    has_not(w, "What it waits for");
}

/* Whoever names a gateway, a device or a cause has no say in the page. */
static void nothing_that_was_said_becomes_markup(void **state)
{
    static const char evil[] = "\"'><script>alert(1)</script>&\xff\x1b[2J<img src=x>";
    struct world *w = *state;
    struct fleet_device d = {.wave = 1, .step = FLEET_DEVICE_FAILED};
    struct fleet_gateway g = {.step = FLEET_GATEWAY_PLANNED};

    snprintf(d.gateway, sizeof(d.gateway), "%s", evil);
    snprintf(d.name, sizeof(d.name), "%s", evil);
    snprintf(d.failure, sizeof(d.failure), "%.30s", evil);
    snprintf(d.reason, sizeof(d.reason), "%s", evil);
    snprintf(d.remedy, sizeof(d.remedy), "%s", evil);
    snprintf(g.name, sizeof(g.name), "%s", evil);
    snprintf(g.trouble, sizeof(g.trouble), "%s", evil);
    snprintf(w->now.name, sizeof(w->now.name), "%s", evil);
    snprintf(w->now.by, sizeof(w->now.by), "%s", evil);
    snprintf(w->now.reason, sizeof(w->now.reason), "%s", evil);
    assert_int_equal(ledger_device_put(w->ledger, &d, NULL), 0);
    assert_int_equal(ledger_gateway_put(w->ledger, &g, NULL), 0);
    assert_int_equal(ledger_note_add(w->ledger, evil, evil, "", evil, NULL), 0);
    set_mode(w, FLEET_MIGRATE, FLEET_HALTED);
    page(w);
    has(w, "&quot;&#39;&gt;&lt;script&gt;alert(1)");
    has_not(w, "<img");
    has_not(w, "\x1b");
    has_not(w, "\xff");
    is_well_formed(w);
}

static void a_report_for_programs_has_its_shape(void **state)
{
    static const char *const members[] = {"report",     "time",      "campaign", "devices",
                                          "steps",      "waits_for", "waves",    "gateways",
                                          "failures",   "progress",  "expiry",   "durations",
                                          "stragglers", "diary",     "file",     "tried_again"};
    struct world *w = *state;
    struct report *r = report_of(w);
    json_t *json = report_json(r), *last;

    assert_non_null(json);
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        if (json_object_get(json, members[i]) == NULL)
            fail_msg("no %s", members[i]);
    assert_int_equal(json_object_size(json), sizeof(members) / sizeof(members[0]));
    assert_int_equal(json_integer_value(json_object_get(json, "report")), 1);
    last = json_object_get(json, "progress");
    last = json_array_get(last, json_array_size(last) - 1);
    assert_int_equal(json_integer_value(json_object_get(last, "done")), 3);
    assert_int_equal(json_integer_value(json_object_get(last, "failed")), 1);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(json, "durations"), "max_s")), 2);
    assert_int_equal(json_array_size(json_object_get(json, "stragglers")), 5);
    json_decref(json);
    report_free(r);
}

/* A campaign of which nothing has happened yet, or that has no devices, is no trouble. */
static void an_empty_campaign_has_a_page(void **state)
{
    struct world *w = *state;
    struct ledger *mine = w->ledger;
    char path[110];
    struct fleet_campaign c = {.wave = -1, .waves = 3, .started_s = NOW_S, .changed_s = NOW_S};

    snprintf(path, sizeof(path), "%s/empty.db", w->dir);
    w->ledger = ledger_open(path, true, NULL);
    assert_non_null(w->ledger);
    assert_int_equal(ledger_own(w->ledger, "anna@plant", NULL), 0);
    assert_int_equal(ledger_campaign_put(w->ledger, &c, NULL), 0);
    page(w);
    is_well_formed(w);
    ledger_close(w->ledger);
    w->ledger = mine;
}

/* CERTFLIP_REPORT_TO=FILE writes one to look at, of a fleet that is not so small. */
static void a_large_fleet_has_a_page(void **state)
{
    struct world *w = *state;
    const char *path = getenv("CERTFLIP_REPORT_TO");
    unsigned gateways = path == NULL ? 20 : 60;
    FILE *to;

    assert_int_equal(ledger_begin(w->ledger, NULL), 0);
    w->now.started_s = NOW_S - 6 * 3600;
    w->now.wave = 2;
    set_mode(w, FLEET_MIGRATE, FLEET_RUNNING);
    for (unsigned g = 0; g < gateways; g++) {
        char name[32];

        snprintf(name, sizeof(name), "gw-hall-%02u", g);
        put_gateway(w->ledger, name, FLEET_GATEWAY_TRUSTED,
                    g == 7 ? "offline since 2027-01-15 06:12:00 UTC" : "");
        for (unsigned i = 0; i < 50; i++) {
            struct fleet_device d = {.wave = i < 1 ? 0 : i < 25 ? 1 : 2, .attempts = 1};
            unsigned mix = (g * 50 + i) * 2654435761u >> 16;

            snprintf(d.gateway, sizeof(d.gateway), "%s", name);
            snprintf(d.name, sizeof(d.name), "press-%03u", i);
            d.old_until_s = NOW_S + 86400 * (10 + mix % 60);
            d.new_until_s = NOW_S + 86400 * (300 + mix % 20);
            d.flip_s = d.wave == 0   ? NOW_S - 5 * 3600
                       : d.wave == 1 ? NOW_S - 4 * 3600 + mix % 2400
                                     : NOW_S - 1800 + mix % 2600;
            d.migrated_s = d.flip_s + 3 + mix % 7 + (mix % 31 == 0 ? 60 : 0);
            d.step = d.migrated_s > NOW_S
                         ? (d.flip_s > NOW_S ? FLEET_DEVICE_READY : FLEET_DEVICE_FLIPPING)
                         : FLEET_DEVICE_MIGRATED;
            if (g == 7 && d.wave == 2)
                d.step = FLEET_DEVICE_READY;
            if (mix % 97 == 0) {
                d.step = FLEET_DEVICE_FAILED;
                strcpy(d.failure, mix % 2 == 0 ? "identity" : "probation");
                strcpy(d.reason, mix % 2 == 0 ? "the broker refused the new certificate: unknown CA"
                                              : "no echo within 120 s");
                strcpy(d.remedy,
                       mix % 2 == 0 ? "add CA \"Plant 2031\" at the broker" : "look at the sensor");
            }
            d.changed_s = d.migrated_s < NOW_S ? d.migrated_s : NOW_S;
            if (d.step != FLEET_DEVICE_MIGRATED)
                d.migrated_s = 0;
            if (d.step == FLEET_DEVICE_READY)
                d.flip_s = 0;
            assert_int_equal(ledger_device_put(w->ledger, &d, NULL), 0);
        }
    }
    assert_int_equal(ledger_commit(w->ledger, NULL), 0);
    page(w);
    is_well_formed(w);
    to = path == NULL ? NULL : fopen(path, "w");
    if (to != NULL) {
        fputs(w->said, to);
        fclose(to);
    }
}

/* -- pace -------------------------------------------------------------------------------------- */

static void a_pace_foretells_the_end(void **state)
{
    struct world *w = *state;
    struct overview o = see(w);
    struct pace p = {0};

    memset(&o.wave[1], 0, sizeof(o.wave[1]));
    o.wave[1].devices = 1000;
    o.all = o.wave[1];
    o.campaign.wave_begun_s = NOW_S - 5;
    assert_int_equal(pace_left_s(&p, &o), -1);
    for (int i = 0; i <= 20; i++) {
        o.now_s = NOW_S + i * 5;
        o.wave[1].step[FLEET_DEVICE_MIGRATED] = (size_t)i * 10;
        o.wave[1].step[FLEET_DEVICE_READY] = (size_t)(1000 - i * 10);
        pace_add(&p, &o);
    }
    assert_int_equal(pace_left_s(&p, &o), 400); /* 800 devices, 2 a second */
    o.all = o.wave[1];
    assert_int_equal(pace_all_s(&p, &o, w->campaign), 400 + 2 * 3600);
    o.campaign.soak_until_s = o.now_s + 100;
    assert_int_equal(pace_all_s(&p, &o, w->campaign), 400 + 100 + 3600);
    o.campaign.mode = FLEET_PAUSED;
    assert_int_equal(pace_left_s(&p, &o), -1);
    o.campaign.mode = FLEET_RUNNING;
    o.campaign.wave = 2;
    o.campaign.wave_begun_s = o.now_s;
    pace_add(&p, &o);
    assert_int_equal(p.count, 1);
    overview_fini(&o);
}

/* -- watch ------------------------------------------------------------------------------------- */

static void a_picture_fits_and_says_it_without_colours(void **state)
{
    struct world *w = *state;
    struct overview o = see(w);
    struct pace p = {0};
    size_t n, lines = 0, longest = 0;
    struct show out = {.to = begin_text(w, &n), .now_s = NOW_S, .width = 79};

    strcpy(o.owner, "anna@plant, process 1, since");
    watch_picture(&o, &p, w->campaign, &out, 23, false);
    fclose(out.to);
    has(w, "ca-2027  migrate, wave 50 % (2 of 3), running, run by anna@plant\n");
    has(w, "all         [#########==xx------......//]  27.2 %, ETA 50 min, all 3 h 56 min\n");
    has(w, "  pilot     [###########################] 2 of 2\n");
    has(w, "> 50 %      [#########======xxxxxx------] 1 of 4, 1 flipping, 1 failed\n");
    has(w, "gateways: 3, 2 trusted, 1 in trouble\n");
    has(w, "  gw-3              [");
    has(w, "offline since 07");
    has(w, "waits for: wave 50 %: 1 flipping or on trial, ");
    for (const char *at = w->said; *at != '\0'; at += strcspn(at, "\n") + 1) {
        longest = strcspn(at, "\n") > longest ? strcspn(at, "\n") : longest;
        lines++;
    }
    assert_true(longest <= 79 && lines <= 23);

    for (size_t height = 1; height < 30; height++) {
        out.to = begin_text(w, &n);
        out.width = 20 + height * 7;
        watch_picture(&o, &p, w->campaign, &out, height, true);
        fclose(out.to);
        lines = 0;
        for (const char *at = w->said; *at != '\0'; at += strcspn(at, "\n") + 1)
            lines++;
        assert_true(lines <= height);
    }
    overview_fini(&o);
}

static void without_a_terminal_a_line_tells_of_each_turn(void **state)
{
    static const char lines[] = "one\ngw-1: \033[2Jflip\n";
    struct world *w = *state;
    size_t n;
    struct show out = {.to = begin_text(w, &n), .now_s = NOW_S};
    struct watch *watch = watch_new(&out, false, w->campaign);
    struct err err = {0};

    assert_non_null(watch);
    assert_int_equal(watch_show(watch, w->ledger, NOW_S, &err), 0);
    assert_int_equal(watch_show(watch, w->ledger, NOW_S, &err), 0);
    watch_lines(watch, lines, strlen(lines));
    watch_free(watch);
    fclose(out.to);
    has(w, "2027-01-15 08:00:00 UTC  migrate, wave 50 % (2 of 3), running: 1 of 4; all: 3 of 12 "
           "done, 1 flipping, 1 failed");
    has(w, "\none\ngw-1: ?[2Jflip\n");
    has_not(w, "\033");
}

/* The first picture whole, then what differs. */
static void on_a_terminal_only_what_changes_is_drawn(void **state)
{
    struct world *w = *state;
    size_t n, first;
    struct show out = {.to = begin_text(w, &n), .now_s = NOW_S};
    struct watch *watch = watch_new(&out, true, w->campaign);

    assert_non_null(watch);
    assert_int_equal(watch_show(watch, w->ledger, NOW_S, NULL), 0);
    fflush(out.to);
    first = n;
    has(w, "ca-2027  migrate");
    put_device(w->ledger, 1, 3, 1, FLEET_DEVICE_MIGRATED);
    usleep(1100000);
    assert_int_equal(watch_show(watch, w->ledger, NOW_S + 1, NULL), 0);
    fflush(out.to);
    assert_true(n > first && n - first < first);
    assert_null(strstr(w->said + first, "pilot"));
    assert_non_null(strstr(w->said + first, "2 of 4"));
    watch_free(watch);
    fclose(out.to);
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, world_make, world_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_WORLD(an_overview_counts_by_wave_gateway_and_class),
        cmocka_unit_test(cells_add_up_and_leave_nobody_out),
        IN_WORLD(it_says_what_it_waits_for),
        IN_WORLD(status_tells_people),
        IN_WORLD(status_tells_programs),
        IN_WORLD(stragglers_are_those_whose_turn_it_was),
        IN_WORLD(a_page_has_it_all_and_stands_alone),
        IN_WORLD(nothing_that_was_said_becomes_markup),
        IN_WORLD(a_report_for_programs_has_its_shape),
        IN_WORLD(an_empty_campaign_has_a_page),
        IN_WORLD(a_large_fleet_has_a_page),
        IN_WORLD(a_pace_foretells_the_end),
        IN_WORLD(a_picture_fits_and_says_it_without_colours),
        IN_WORLD(without_a_terminal_a_line_tells_of_each_turn),
        IN_WORLD(on_a_terminal_only_what_changes_is_drawn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
