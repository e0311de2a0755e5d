/* What there is in a fleet, and what expires first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/clock.h"
#include "fleet/campaign.h"
#include "fleet/inventory.h"
#include "fleet/view.h"

#define NOW INT64_C(1900000000) /* 2030-03-17 */
#define DAY INT64_C(86400)

static char globs[][8] = {"gw-1", "gw-2", "p-*"};
static char *gateways[] = {globs[0], globs[1]}, *devices[] = {globs[2]};
static struct campaign campaign = {
    .gateways = gateways,
    .gateway_count = 2,
    .devices = devices,
    .device_count = 1,
};
static struct view view;
static struct fleet_line line;
static char *text;

static void told(const char *topic, const char *payload)
{
    struct err err = {0};

    if (view_take(&view, "root", topic, payload, strlen(payload), NOW, &err) != 0)
        fail_msg("%s", err.msg);
}

static void device(const char *gateway, const char *name, int64_t until_s, const char *more)
{
    char topic[100], payload[600], iso[32];

    snprintf(topic, sizeof(topic), "root/%s/device/%s", gateway, name);
    snprintf(
        payload, sizeof(payload),
        "{\"device\":\"%s\",\"phase\":\"steady\",\"active\":\"old\",\"online\":true,\"slots\":{"
        "\"old\":{\"usable\":true,\"not_after\":\"%s\"},\"new\":null}%s}",
        name, clock_iso(until_s, iso, sizeof(iso)), more);
    told(topic, payload);
}

static int setup(void **state)
{
    (void)state;
    line = (struct fleet_line){.expiring = -1, .timeout_s = -1};
    text = NULL;
    campaign.root = globs[0]; /* any text */
    if (view_init(&view) != 0)
        return -1;
    told("root/gw-1/state", "{\"gateway\":\"gw-1\",\"online\":true,\"version\":\"1.0\"}");
    told("root/gw-2/state", "{\"gateway\":\"gw-2\",\"online\":false}");
    device("gw-1", "p-1", NOW + 200 * DAY, "");
    device("gw-1", "p-2", NOW + 5 * DAY, ",\"upstream\":{\"state\":\"accepted\"}");
    device("gw-2", "p-1", NOW - DAY, ",\"reason\":\"=cmd|' /C calc'!A0, \\\"x\\\"\"");
    device("gw-1", "q-1", NOW + DAY, "");
    device("gw-9", "p-9", NOW + DAY, "");
    told("root/gw-1/device/p-0", "{\"device\":\"p-0\",\"phase\":\"trial\",\"active\":\"new\"}");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    view_fini(&view);
    free(text);
    return 0;
}

static size_t later;

/* What is printed, with as many rows. */
static int64_t show(void)
{
    size_t n = 0;
    struct fleet_command c = {.line = &line, .out = {.to = NULL, .now_s = NOW}};
    int64_t rows;

    free(text);
    text = NULL;
    c.out.to = open_memstream(&text, &n);
    rows = inventory_show(&c, &campaign, &view, &later);
    fclose(c.out.to);
    return rows;
}

static void what_expires_first_stands_first(void **state)
{
    (void)state;
    assert_int_equal(show(), 6);
    assert_string_equal(
        text,
        "EXPIRES              GATEWAY  DEVICE  PHASE   SLOT  SENSOR  BROKER    TROUBLE\n"
        "2030-03-16, expired  gw-2     p-1     steady  old   online  -         =cmd|' /C calc'!A0, "
        "\"x\"\n"
        "2030-03-22, 5 d      gw-1     p-2     steady  old   online  accepted\n"
        "2030-10-03, 200 d    gw-1     p-1     steady  old   online  -\n"
        "-                    gw-1     p-0     trial   new   -       -         the new identity "
        "cannot be used\n"
        "2 gateways, 1 online; 4 devices\n");
}

static void it_is_narrowed_by_words(void **state)
{
    (void)state;
    line.expiring = 30;
    assert_int_equal(show(), 2 + 2);
    assert_int_equal(later, 2);
    assert_null(strstr(text, "200 d"));
    line.gateway = "gw-*";
    line.device = "?-[19]";
    assert_int_equal(show(), 3 + 3);
    assert_non_null(strstr(text, "gw-9"));
    line = (struct fleet_line){.expiring = -1, .all = true};
    assert_int_equal(show(), 3 + 6);
    line.gateway = "nobody";
    assert_int_equal(show(), 0);
}

/* Which is what one hopes for: it is told, and is not the same as that there are none. */
static void nothing_may_expire(void **state)
{
    (void)state;
    line.expiring = 30;
    line.device = "p-1";
    line.gateway = "gw-1";
    assert_int_equal(show(), 0);
    assert_int_equal(later, 1);
    assert_string_equal(text, "none of 1 device expires within 30 days\n");
    line.json = true;
    assert_int_equal(show(), 0);
    assert_non_null(strstr(text, "\"devices\": []"));
    line = (struct fleet_line){.expiring = 30, .csv = true, .device = "p-1", .gateway = "gw-1"};
    assert_int_equal(show(), 0);
    assert_int_equal(strncmp(text, "gateway,device,", 15), 0);
    line = (struct fleet_line){.expiring = 30, .device = "nobody"};
    assert_int_equal(show(), 0);
    assert_int_equal(later, 0);
}

static void gateways_are_summed_up(void **state)
{
    (void)state;
    line.gateways = true;
    assert_int_equal(show(), 6);
    assert_non_null(strstr(text, "gw-1     online   1.0      4        0       0          0"));
    assert_non_null(strstr(text, "gw-2     offline"));
    assert_null(strstr(text, "gw-9"));
}

/* RFC 4180; nothing that a spreadsheet would carry out. */
static void csv_is_safe(void **state)
{
    (void)state;
    line.csv = true;
    line.gateway = "gw-2";
    assert_int_equal(show(), 2);
    assert_string_equal(
        text, "gateway,device,phase,active,sensor,broker,not_after,fingerprint,new_not_after,"
              "new_fingerprint,reason,failure,message,remedy\r\n"
              "gw-2,p-1,steady,old,online,,2030-03-16T17:46:40Z,,,,"
              "\"'=cmd|' /C calc'!A0, \"\"x\"\"\",,,\r\n");
    line.gateways = true;
    assert_int_equal(show(), 2);
    assert_string_equal(text, "gateway,state,version,devices,devices_told,soonest\r\n"
                              "gw-2,offline,,1,,2030-03-16T17:46:40Z\r\n");
}

static void json_has_it_all(void **state)
{
    json_t *all, *first;

    (void)state;
    line.json = true;
    assert_int_equal(show(), 6);
    all = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_int_equal(json_array_size(json_object_get(all, "gateways")), 2);
    assert_int_equal(json_array_size(json_object_get(all, "devices")), 4);
    first = json_array_get(json_object_get(all, "devices"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "gateway")), "gw-2");
    assert_string_equal(json_string_value(json_object_get(first, "not_after")),
                        "2030-03-16T17:46:40Z");
    assert_true(json_is_null(json_object_get(first, "new")));
    json_decref(all);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_expires_first_stands_first),
        TEST(it_is_narrowed_by_words),
        TEST(nothing_may_expire),
        TEST(gateways_are_summed_up),
        TEST(csv_is_safe),
        TEST(json_has_it_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
