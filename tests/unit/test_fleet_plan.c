/* Who takes part in a campaign, and in which wave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/str.h"
#include "fleet/plan.h"

#define ROOT    "certflip/v1"
#define LEAST   "name = \"t\"; broker = { host = \"b\"; }; sign = { command = \"x\"; };" SUBJECT
#define SUBJECT "identity = { subject = \"CN={device},OU={gateway}\"; };\n"

static struct view view;

static int setup(void **state)
{
    (void)state;
    return view_init(&view);
}

static int teardown(void **state)
{
    (void)state;
    view_fini(&view);
    return 0;
}

static void take(const char *topic, const char *payload)
{
    struct err err = {0};

    if (view_take(&view, ROOT, topic, payload, strlen(payload), 1000, &err) != 0)
        fail_msg("%s: %s", topic, err.msg);
}

static void gateway(const char *name, bool online, int devices)
{
    char topic[100], payload[300];

    snprintf(topic, sizeof(topic), ROOT "/%s/state", name);
    snprintf(payload, sizeof(payload), "{\"online\":%s,\"gateway\":\"%s\"}",
             online ? "true" : "false", name);
    take(topic, payload);
    for (int i = 0; i < devices; i++) {
        snprintf(topic, sizeof(topic), ROOT "/%s/device/d-%02d", name, i);
        snprintf(
            payload, sizeof(payload),
            "{\"device\":\"d-%02d\",\"phase\":\"%s\",\"active\":\"old\",\"online\":%s,\"slots\":{"
            "\"old\":{\"usable\":true,\"fingerprint\":\"%064d\"},\"new\":null}}",
            i, i == 9 ? "rolled-back" : "steady", i == 0 ? "false" : "true", i + 1);
        take(topic, payload);
    }
}

static struct campaign *campaign(const char *more)
{
    char *text = str_printf(LEAST "%s\n", more);
    struct buf faults = {0};
    unsigned count = 0;
    struct campaign *c = campaign_load_text("c", text, strlen(text), &faults, &count);

    if (c == NULL)
        fail_msg("%.*s", (int)faults.len, (const char *)faults.p);
    free(text);
    buf_fini(&faults);
    return c;
}

static struct plan plan(const struct campaign *c)
{
    struct plan p;
    struct err err = {0};

    if (plan_make(c, &view, &p, &err) != 0)
        fail_msg("%s", err.msg);
    return p;
}

static int wave_of(const struct plan *p, const char *gateway_name, const char *device)
{
    for (size_t i = 0; i < p->gateway_count; i++)
        for (size_t k = 0; k < p->gateways[i].count; k++)
            if (strcmp(p->gateways[i].seen->name, gateway_name) == 0 &&
                strcmp(p->gateways[i].devices[k].seen->name, device) == 0)
                return p->gateways[i].devices[k].wave;
    return -1;
}

/* A percentage is of all devices, those of earlier waves included; rounded up, so that the last
 * wave leaves nobody out. */
static void percentages_are_cumulative(void **state)
{
    struct campaign *c =
        campaign("gateways = [ \"*\" ]; waves = { pilot = 5; percent = [ 10, 33, 100 ]; };");
    struct plan p;
    size_t sum = 0;

    (void)state;
    gateway("gw-1", true, 40);
    gateway("gw-2", true, 37);
    p = plan(c);
    assert_int_equal(p.waves, 4);
    assert_int_equal(p.device_count, 77);
    assert_int_equal(p.by_wave[0], 5);
    assert_int_equal(p.by_wave[1], 3);  /* 8 of 77 are 10 % */
    assert_int_equal(p.by_wave[2], 18); /* 26 are 33 % */
    assert_int_equal(p.by_wave[3], 51);
    for (size_t i = 0; i < p.gateway_count; i++)
        for (size_t k = 0; k < p.gateways[i].count; k++, sum++)
            assert_true(p.gateways[i].devices[k].wave >= 0);
    assert_int_equal(sum, 77);
    plan_fini(&p);
    campaign_free(c);
}

/* One of each gateway in turn; whose sensor or gateway is away, or whose new slot is taken, is no
 * pilot while there are others. */
static void pilot_is_spread_over_those_that_are_there(void **state)
{
    struct campaign *c = campaign("gateways = [ \"*\" ]; waves = { pilot = 4; };");
    struct plan p;

    (void)state;
    gateway("gw-1", true, 10);
    gateway("gw-2", true, 10);
    gateway("gw-3", false, 10);
    p = plan(c);
    assert_int_equal(p.gateways[0].by_wave[0], 2);
    assert_int_equal(p.gateways[1].by_wave[0], 2);
    assert_int_equal(p.gateways[2].by_wave[0], 0);
    assert_int_equal(wave_of(&p, "gw-1", "d-01"), 0); /* d-00 has no sensor */
    assert_int_equal(wave_of(&p, "gw-1", "d-02"), 0);
    assert_string_equal(p.gateways[0].trouble, "");
    assert_non_null(strstr(p.gateways[2].trouble, "offline"));
    assert_non_null(strstr(p.gateways[0].devices[9].trouble, "discard it first"));
    plan_fini(&p);
    campaign_free(c);
}

static void those_that_are_named_go_first(void **state)
{
    struct campaign *c = campaign("gateways = [ \"*\" ]; waves = { pilot = 3; };\n"
                                  "pilot_devices = [ \"gw-2/d-0[56]\" ];");
    struct plan p;

    (void)state;
    gateway("gw-1", true, 10);
    gateway("gw-2", true, 10);
    p = plan(c);
    assert_int_equal(p.by_wave[0], 3);
    assert_int_equal(wave_of(&p, "gw-2", "d-05"), 0);
    assert_int_equal(wave_of(&p, "gw-2", "d-06"), 0);
    assert_true(wave_of(&p, "gw-1", "d-05") > 0);
    plan_fini(&p);
    campaign_free(c);
}

static void those_that_are_left_out_are_not_in_it(void **state)
{
    struct campaign *c = campaign("gateways = [ \"gw-*\" ]; exclude_gateways = [ \"gw-2\" ];\n"
                                  "devices = [ \"d-*\" ]; exclude_devices = [ \"d-0[0-4]\" ];");
    struct plan p;

    (void)state;
    gateway("gw-1", true, 10);
    gateway("gw-2", true, 10);
    gateway("other", true, 10);
    p = plan(c);
    assert_int_equal(p.gateway_count, 1);
    assert_int_equal(p.device_count, 5);
    assert_int_equal(wave_of(&p, "gw-1", "d-04"), -1);
    plan_fini(&p);
    campaign_free(c);
}

/* Fewer devices than pilots: they are all of it, and the other waves are empty. */
static void a_small_fleet_is_all_pilot(void **state)
{
    struct campaign *c = campaign("gateways = [ \"*\" ];");
    struct plan p;

    (void)state;
    gateway("gw-1", true, 3);
    p = plan(c);
    assert_int_equal(p.by_wave[0], 3);
    for (int w = 1; w < p.waves; w++)
        assert_int_equal(p.by_wave[w], 0);
    plan_fini(&p);
    campaign_free(c);
}

static void nobody_is_said_so(void **state)
{
    struct campaign *c = campaign("gateways = [ \"gw-*\" ]; devices = [ \"pump-*\" ];");
    struct plan p;
    struct err err = {0};

    (void)state;
    gateway("gw-1", true, 3);
    gateway("other", true, 3);
    assert_int_equal(plan_make(c, &view, &p, &err), -ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "of 2 gateways"));
    assert_non_null(strstr(err.msg, "1 match `gateways`"));
    campaign_free(c);
}

static void rows_say_what_is_in_use_before(void **state)
{
    struct campaign *c = campaign("gateways = [ \"*\" ];");
    struct fleet_gateway g;
    struct fleet_device d;
    struct plan p;

    (void)state;
    gateway("gw-1", false, 3);
    p = plan(c);
    plan_gateway_row(&p.gateways[0], 77, &g);
    plan_device_row(&p.gateways[0], &p.gateways[0].devices[1], 77, &d);
    assert_string_equal(g.name, "gw-1");
    assert_int_equal(g.step, FLEET_GATEWAY_PLANNED);
    assert_string_equal(d.gateway, "gw-1");
    assert_string_equal(d.name, "d-01");
    assert_int_equal(d.step, FLEET_DEVICE_PLANNED);
    assert_int_equal(strlen(d.old_fp), 64);
    assert_string_equal(d.old_fp + 62, "02");
    assert_string_equal(d.new_fp, "");
    plan_fini(&p);
    campaign_free(c);
}

static char *shown(const struct campaign *c, const struct plan *p, bool json)
{
    char *text = NULL;
    size_t n = 0;
    FILE *to = open_memstream(&text, &n);
    const struct show show = {.to = to};

    assert_int_equal(plan_show(c, p, json, &show), 0);
    fclose(to);
    return text;
}

static void is_shown_to_people_and_programs(void **state)
{
    struct campaign *c = campaign("gateways = [ \"*\" ]; windows = [ \"22:00-23:00\" ];");
    struct plan p;
    json_t *all;
    char *text;

    (void)state;
    gateway("gw-1", true, 12);
    gateway("gw-2", false, 12);
    p = plan(c);
    text = shown(c, &p, false);
    assert_non_null(strstr(text, "Campaign t: 24 devices at 2 gateways"));
    assert_non_null(strstr(text, "0  pilot         10 devices"));
    assert_non_null(strstr(text, "100 %          6 devices, 24 in all"));
    assert_non_null(strstr(text, "gw-1/d-09: another new identity is in the way"));
    assert_non_null(strstr(text, "within the windows"));
    free(text);
    text = shown(c, &p, true);
    all = json_loads(text, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(all, "devices")), 24);
    assert_int_equal(json_array_size(json_object_get(all, "waves")), 6);
    assert_int_equal(json_array_size(json_object_get(all, "gateways")), 2);
    json_decref(all);
    free(text);
    plan_fini(&p);
    campaign_free(c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static void expect_refused(const struct campaign *c, const char *text)
{
    struct plan p = {0};
    struct err err = {0};

    assert_int_not_equal(plan_make(c, &view, &p, &err), 0);
    if (strstr(err.msg, text) == NULL)
        fail_msg("%s", err.msg);
}

/* A gateway may name what devices it likes: with the name of somebody else's it would get a
 * certificate for that one. */
static void a_name_at_two_gateways_is_refused(void **state)
{
    static const char base[] =
        "name = \"t\"; broker = { host = \"b\"; }; sign = { command = \"x\"; };"
        "%s";
    static const struct {
        const char *more;
        bool refused;
    } cases[] = {
        {"gateways = [ \"*\" ];", true},
        {"gateways = [ \"gw-1\" ];", true}, /* the other one is no part of it, and there */
        {"gateways = [ \"gw-2\" ];", true},
        {"gateways = [ \"*\" ]; identity = { sans = [ \"DNS:{device}.{gateway}.x\" ]; };", true},
        {"gateways = [ \"gw-3\" ];", false},
        {"gateways = [ \"*\" ]; exclude_gateways = [ \"gw-2\" ];", false},
        {"gateways = [ \"*\" ]; exclude_devices = [ \"d-00\" ];", false},
        {"gateways = [ \"*\" ]; identity = { subject = \"CN={device},OU={gateway}\"; };", false},
    };

    (void)state;
    gateway("gw-1", true, 3);
    gateway("gw-2", true, 1);
    gateway("gw-3", true, 0);
    take(ROOT "/gw-3/device/x", "{\"device\":\"x\"}");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *text = str_printf(base, cases[i].more);
        struct buf faults = {0};
        unsigned count = 0;
        struct campaign *c = campaign_load_text("c", text, strlen(text), &faults, &count);

        if (c == NULL)
            fail_msg("%.*s", (int)faults.len, (const char *)faults.p);
        if (cases[i].refused) {
            expect_refused(c, "device d-00 stands at gateway gw-1 and at gateway gw-2");
        } else {
            struct plan p = plan(c);

            plan_fini(&p);
        }
        campaign_free(c);
        free(text);
        buf_fini(&faults);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_name_at_two_gateways_is_refused),
        TEST(percentages_are_cumulative),
        TEST(pilot_is_spread_over_those_that_are_there),
        TEST(those_that_are_named_go_first),
        TEST(those_that_are_left_out_are_not_in_it),
        TEST(a_small_fleet_is_all_pilot),
        TEST(nobody_is_said_so),
        TEST(rows_say_what_is_in_use_before),
        TEST(is_shown_to_people_and_programs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
