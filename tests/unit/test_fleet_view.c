/* The fleet as the retained topics tell of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/str.h"
#include "fleet/view.h"

#define ROOT "certflip/v1"
#define FP_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define FP_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static struct view view;
static struct err err;

static int setup(void **state)
{
    (void)state;
    err = (struct err){0};
    return view_init(&view);
}

static int teardown(void **state)
{
    (void)state;
    view_fini(&view);
    return 0;
}

static int take(const char *topic, const char *payload)
{
    return view_take(&view, ROOT, topic, payload, strlen(payload), 1000, &err);
}

static const char full[] =
    "{\"device\":\"p-1\",\"phase\":\"rolled-back\",\"active\":\"new\",\"online\":true,"
    "\"slots\":{\"old\":{\"usable\":true,\"fingerprint\":\"" FP_A "\","
    "\"not_after\":\"2031-05-02T00:00:00Z\"},"
    "\"new\":{\"usable\":false,\"fault\":null,\"csr_since\":\"2031-05-02T00:00:00Z\"}},"
    "\"upstream\":{\"slot\":\"old\",\"state\":\"accepted\",\"fingerprint\":\"" FP_B "\"},"
    "\"reason\":\"the broker\\nrefused it\",\"reason_remedy\":null,"
    "\"last_error\":{\"class\":\"identity\",\"message\":\"unknown CA\",\"remedy\":\"add it\"},"
    "\"changed\":\"1970-01-01T00:01:00Z\"}";

static void a_device_is_read(void **state)
{
    const struct view_device *d;
    uint8_t fp[32];

    (void)state;
    assert_int_equal(take(ROOT "/gw-1/device/p-1", full), 0);
    d = view_device(&view, "gw-1", "p-1");
    assert_non_null(d);
    assert_string_equal(view_phase_name(d->phase), "rolled-back");
    assert_true(d->online && d->active_new && d->up);
    assert_true(d->old.present && d->old.usable && d->fresh.present && !d->fresh.usable);
    assert_int_equal(d->old.not_after_s, 1935446400);
    assert_int_equal(d->fresh.not_after_s, 0);
    str_unhex(FP_A, fp, 32);
    assert_memory_equal(d->old.fp, fp, 32);
    str_unhex(FP_B, fp, 32);
    assert_memory_equal(d->up_fp, fp, 32);
    assert_string_equal(d->reason, "the broker refused it");
    assert_string_equal(d->failure, "identity");
    assert_string_equal(d->message, "unknown CA");
    assert_string_equal(d->remedy, "add it");
    assert_int_equal(d->changed_s, 60);
    assert_ptr_equal(view_active(d), &d->fresh);
    assert_int_equal(view.device_count, 1);
    assert_false(view_gateway(&view, "gw-1")->known);
    /* Told anew, nothing of the former message stays. */
    assert_int_equal(take(ROOT "/gw-1/device/p-1", "{\"device\":\"p-1\",\"phase\":\"steady\"}"), 0);
    assert_true(d->reason == NULL && d->failure == NULL && !d->online && !d->old.present);
    assert_int_equal(view.device_count, 1);
    assert_int_equal(d->version, 2);
    /* A device that is gone. */
    assert_int_equal(take(ROOT "/gw-1/device/p-1", ""), 0);
    assert_null(view_device(&view, "gw-1", "p-1"));
    assert_int_equal(view.device_count, 0);
    assert_int_equal(take(ROOT "/gw-1/device/p-1", ""), 0);
    assert_int_equal(take(ROOT "/gw-9/device/p-1", ""), 0);
    assert_int_equal(view.gateway_count, 1);
}

static void a_gateway_comes_and_goes(void **state)
{
    const struct view_gateway *g;

    (void)state;
    assert_int_equal(take(ROOT "/gw-1/state",
                          "{\"gateway\":\"gw-1\",\"online\":true,\"devices\":{\"total\":3}}"),
                     0);
    g = view_gateway(&view, "gw-1");
    assert_true(g->known && g->online);
    assert_int_equal(g->since_s, 0);
    assert_int_equal(view_device_total(g), 3);
    assert_int_equal(take(ROOT "/gw-1/state", "{\"gateway\":\"gw-1\",\"online\":false}"), 0);
    assert_true(g->known && !g->online);
    assert_int_equal(g->since_s, 1000);
    assert_int_equal(view_device_total(g), -1);
    assert_int_equal(take(ROOT "/gw-1/state", ""), 0);
    assert_true(!g->known && !g->online && g->state == NULL);
}

static void a_gap_of_events_is_noticed(void **state)
{
    const struct view_gateway *g;

    (void)state;
    assert_int_equal(take(ROOT "/gw-1/event", "{\"seq\":7}"), 0);
    assert_int_equal(take(ROOT "/gw-1/state", "{\"gateway\":\"gw-1\",\"online\":true}"), 0);
    g = view_gateway(&view, "gw-1");
    assert_int_equal(take(ROOT "/gw-1/event", "{\"seq\":8}"), 0);
    assert_int_equal(take(ROOT "/gw-1/event", "{\"seq\":9}"), 0);
    assert_false(g->missed);
    assert_int_equal(take(ROOT "/gw-1/event", "{\"seq\":11}"), 0);
    assert_true(g->missed);
    assert_int_equal(g->last_event, 11);
    /* The state tells where the count is; another epoch begins anew. */
    assert_int_equal(take(ROOT "/gw-2/state", "{\"gateway\":\"gw-2\",\"online\":true,"
                                              "\"event_seq\":5,\"epoch\":\"aa\"}"),
                     0);
    g = view_gateway(&view, "gw-2");
    assert_int_equal(take(ROOT "/gw-2/event", "{\"seq\":5,\"epoch\":\"aa\"}"), 0);
    assert_int_equal(take(ROOT "/gw-2/event", "{\"seq\":6,\"epoch\":\"aa\"}"), 0);
    assert_int_equal(take(ROOT "/gw-2/event", "{\"seq\":1,\"epoch\":\"bb\"}"), 0);
    assert_false(g->missed);
    assert_int_equal(take(ROOT "/gw-2/event", "{\"seq\":3,\"epoch\":\"bb\"}"), 0);
    assert_true(g->missed);
}

/* Whatever comes that is not right changes nothing, and is named. */
static void what_is_wrong_changes_nothing(void **state)
{
    static const struct {
        const char *topic, *payload, *says;
    } bad[] = {
        {ROOT "/gw-1/device/p-1", "{", "not JSON"},
        {ROOT "/gw-1/device/p-1", "[]", "must be an object"},
        {ROOT "/gw-1/device/p-1", "{\"device\":\"p-2\"}", "names another one"},
        {ROOT "/gw-1/device/p-1", "{\"device\":\"p-1\",\"device\":\"p-1\"}", "not JSON"},
        {ROOT "/gw-1/device/p-1",
         "{\"device\":\"p-1\",\"slots\":{\"new\":{\"fingerprint\":\"12\"}}}",
         "slots.new: fingerprint"},
        {ROOT "/gw-1/device/p-1",
         "{\"device\":\"p-1\",\"reason\":\"x\",\"upstream\":{\"fingerprint\":7}}", "upstream"},
        {ROOT "/gw-1/device/../etc", "{}", "device's name"},
        {ROOT "/gw-1/device/a/b", "{}", "device's name"},
        {ROOT "/gw-1/device/", "{}", "device's name"},
        {ROOT "/gw 1/state", "{}", "gateway's name"},
        {ROOT "//state", "{}", "gateway's name"},
        {ROOT "/gw-1/state", "{\"gateway\":\"gw-2\"}", "names another one"},
        {ROOT "/gw-1/state", "{\"online\":true}", "names another one"},
        {ROOT "/gw-1/event", "{\"seq\":-1}", "seq"},
        {ROOT "/gw-1/event", "{}", "seq"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(take(bad[i].topic, bad[i].payload), -ERR_INVALID);
        assert_non_null(strstr(err.msg, bad[i].says));
        assert_int_equal(strncmp(err.msg, ROOT "/", strlen(ROOT "/")), 0);
        assert_int_equal(view.gateway_count, 0);
        assert_int_equal(view.version, 0);
    }
    assert_int_equal(take(ROOT "/gw-1/reply", "{}"), 1);
    assert_int_equal(take(ROOT "/gw-1/cmd", "{}"), 1);
    assert_int_equal(take(ROOT "/gw-1", "{}"), 1);
    assert_int_equal(take("other/v1/gw-1/state", "{}"), 1);
    assert_int_equal(take("certflip/v11/gw-1/state", "{}"), 1);
    assert_int_equal(view.gateway_count, 0);
}

/* Whatever order they come in. */
static void names_are_sorted(void **state)
{
    const char *last = "";
    size_t count = 0;

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        char topic[80], payload[80];
        unsigned n = i * 367 % 1000;

        snprintf(topic, sizeof(topic), ROOT "/gw-%u/device/p-%03u", n % 7, n);
        snprintf(payload, sizeof(payload), "{\"device\":\"p-%03u\"}", n);
        assert_int_equal(take(topic, payload), 0);
    }
    assert_int_equal(view.gateway_count, 7);
    assert_int_equal(view.device_count, 1000);
    list_for_each (it, &view.gateways) {
        const struct view_gateway *g = list_entry(it, struct view_gateway, link);
        const char *before = "";

        assert_true(strcmp(last, g->name) < 0);
        last = g->name;
        list_for_each (at, &g->devices) {
            const struct view_device *d = list_entry(at, struct view_device, link);

            assert_ptr_equal(d, view_device(&view, g->name, d->name));
            assert_ptr_equal(d->gateway, g);
            assert_true(strcmp(before, d->name) < 0);
            before = d->name;
            count++;
        }
    }
    assert_int_equal(count, 1000);
    for (unsigned n = 0; n < 1000; n += 2) {
        char topic[80];

        snprintf(topic, sizeof(topic), ROOT "/gw-%u/device/p-%03u", n % 7, n);
        assert_int_equal(take(topic, ""), 0);
    }
    assert_int_equal(view.device_count, 500);
    assert_null(view_device(&view, "gw-0", "p-000"));
    assert_non_null(view_device(&view, "gw-1", "p-001"));
}

/* Whoever may publish below the root makes up gateways as he likes. */
static void gateways_are_bounded(void **state)
{
    char topic[100], payload[100];
    struct err why = {0};

    (void)state;
    for (int i = 0; i <= VIEW_GATEWAYS_MAX; i++) {
        int rc;

        snprintf(topic, sizeof(topic), "certflip/v1/g-%06d/state", i);
        snprintf(payload, sizeof(payload), "{\"gateway\":\"g-%06d\",\"online\":true}", i);
        rc = view_take(&view, "certflip/v1", topic, payload, strlen(payload), 1000, &why);
        assert_int_equal(rc, i < VIEW_GATEWAYS_MAX ? 0 : -ERR_INVALID);
    }
    assert_non_null(strstr(why.msg, "more than 50000 gateways"));
    snprintf(payload, sizeof(payload), "{\"device\":\"x\"}");
    assert_int_equal(view_take(&view, "certflip/v1", "certflip/v1/other/device/x", payload,
                               strlen(payload), 1000, &why),
                     -ERR_INVALID);
    /* Those that are known go on. */
    assert_int_equal(view_take(&view, "certflip/v1", "certflip/v1/g-000007/device/x", payload,
                               strlen(payload), 1000, &why),
                     0);
    assert_int_equal(view.gateway_count, VIEW_GATEWAYS_MAX);
    assert_int_equal(view.state_bytes,
                     VIEW_GATEWAYS_MAX * strlen("{\"gateway\":\"g-000000\",\"online\":true}"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(gateways_are_bounded),          TEST(a_device_is_read),
        TEST(a_gateway_comes_and_goes),      TEST(a_gap_of_events_is_noticed),
        TEST(what_is_wrong_changes_nothing), TEST(names_are_sorted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
