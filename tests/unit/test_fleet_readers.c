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
#include "fleet/status.h"
#include "fleet/stragglers.h"
#include "fleet/watch.h"

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
    strcpy(w->dir, "/tmp/certflip-readers-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
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

    /* The test owns it, so for itself nobody else runs it. */
    assert_string_equal(o.owner, "");
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
    json_t *all, *row;

    assert_int_equal(stragglers_json(w->ledger, "c.conf", &all, NULL), 0);
    /* press-03 of gw-1 flips, press-02 of gw-2 failed, press-03 of gw-2 waits, gw-3 is offline. */
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
    assert_int_equal(stragglers_json(w->ledger, "c.conf", &all, NULL), 0);
    assert_int_equal(json_array_size(all), 4); /* the failed one, and those of gw-3 */
    json_decref(all);
    set_mode(w, FLEET_VALIDATE, FLEET_RUNNING);
    assert_int_equal(stragglers_json(w->ledger, "c.conf", &all, NULL), 0);
    assert_int_equal(json_array_size(all), 8); /* all but the migrated and the skipped */
    json_decref(all);
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
    struct world *w = *state;
    size_t n;
    struct show out = {.to = begin_text(w, &n), .now_s = NOW_S};
    struct watch *watch = watch_new(&out, false, w->campaign);
    struct err err = {0};

    assert_non_null(watch);
    assert_int_equal(watch_show(watch, w->ledger, NOW_S, &err), 0);
    assert_int_equal(watch_show(watch, w->ledger, NOW_S, &err), 0);
    watch_line(watch, "gw-1: \033[2Jflip");
    watch_free(watch);
    fclose(out.to);
    has(w, "2027-01-15 08:00:00 UTC  migrate, wave 50 % (2 of 3), running: 1 of 4; all: 3 of 12 "
           "done, 1 flipping, 1 failed");
    has(w, "\ngw-1: ?[2Jflip\n");
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
        IN_WORLD(a_pace_foretells_the_end),
        IN_WORLD(a_picture_fits_and_says_it_without_colours),
        IN_WORLD(without_a_terminal_a_line_tells_of_each_turn),
        IN_WORLD(on_a_terminal_only_what_changes_is_drawn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
