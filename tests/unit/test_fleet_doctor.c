/* What is wrong with a fleet, and what to do about it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/clock.h"
#include "base/str.h"
#include "fleet/doctor.h"

#define ROOT    "certflip/v1"
#define NOW     INT64_C(1900000000)
#define DAY     INT64_C(86400)
#define FP4(c)  #c #c #c #c
#define FP16(c) FP4(c) FP4(c) FP4(c) FP4(c)
#define FP(c)   FP16(c) FP16(c) FP16(c) FP16(c)

static struct view view;
static struct doctor doctor;
static struct doctor_patient patients[4];
static json_t *replies[4];
static size_t count;
static struct doctor_rules rules;

static int setup(void **state)
{
    (void)state;
    count = 0;
    rules = (struct doctor_rules){.now_s = NOW};
    return view_init(&view);
}

static int teardown(void **state)
{
    (void)state;
    doctor_fini(&doctor);
    for (size_t i = 0; i < count; i++)
        json_decref(replies[i]);
    view_fini(&view);
    return 0;
}

static void told(const char *rest, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void told(const char *rest, const char *fmt, ...)
{
    char topic[200], text[2000];
    struct err err = {0};
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    snprintf(topic, sizeof(topic), ROOT "/%s", rest);
    if (view_take(&view, ROOT, topic, text, strlen(text), NOW, &err) != 0)
        fail_msg("%s", err.msg);
}

/* A gateway that is well, but for what its state and its reply say more. */
static void gateway(const char *name, const char *state, const char *reply)
{
    char topic[100], iso[32];

    snprintf(topic, sizeof(topic), "%s/state", name);
    told(topic, "{\"gateway\":\"%s\",\"online\":true,\"version\":\"1.0\"%s}", name, state);
    if (reply != NULL) {
        char text[1000];

        snprintf(text, sizeof(text),
                 "{\"result\":{\"now\":\"%s\",\"clock\":{\"synchronised\":true,\"flips\":true,"
                 "\"text\":null}%s}}",
                 clock_iso(NOW, iso, sizeof(iso)), reply);
        replies[count] = json_loads(text, 0, NULL);
        assert_non_null(replies[count]);
    } else {
        replies[count] = NULL;
    }
    count++;
}

static void device(const char *gateway_name, const char *name, int64_t until_s, const char *more)
{
    char topic[100], iso[32];

    snprintf(topic, sizeof(topic), "%s/device/%s", gateway_name, name);
    told(
        topic,
        "{\"device\":\"%s\",\"phase\":\"steady\",\"active\":\"old\",\"slots\":{\"old\":{\"usable\":"
        "true,\"not_after\":\"%s\"},\"new\":null}%s}",
        name, clock_iso(until_s, iso, sizeof(iso)), more);
}

static void judge(void)
{
    size_t i = 0;

    list_for_each (it, &view.gateways) {
        const struct view_gateway *g = list_entry(it, struct view_gateway, link);

        patients[i] = (struct doctor_patient){
            .seen = g,
            .reply = replies[i],
            .asked = g->online,
            .sent_ms = NOW * 1000,
            .came_ms = NOW * 1000 + 200,
        };
        i++;
    }
    doctor_judge(&doctor, &rules, patients, i);
    assert_false(doctor.failed);
}

/* "error gw-1 clock.differs\n" for each finding; each has a remedy. */
static const char *findings(void)
{
    static char out[2000];
    size_t at = 0;

    out[0] = '\0';
    for (size_t i = 0; i < doctor.count; i++) {
        const struct doctor_finding *f = &doctor.all[i];

        assert_true(f->text[0] != '\0' && f->remedy[0] != '\0');
        at += (size_t)snprintf(out + at, sizeof(out) - at, "%s %s %s\n",
                               doctor_severity_name(f->severity), f->gateway, f->code);
    }
    return out;
}

static void a_healthy_fleet_has_no_findings(void **state)
{
    (void)state;
    gateway("gw-1", "", "");
    gateway("gw-2", "", "");
    device("gw-1", "p-1", NOW + 400 * DAY,
           ",\"online\":true,\"upstream\":{\"state\":\"accepted\"}");
    judge();
    assert_string_equal(findings(), "");
    assert_int_equal(patients[0].verdict, DOCTOR_GOOD);
}

static void who_does_not_answer_is_named(void **state)
{
    (void)state;
    gateway("gw-1", "", NULL);
    gateway("gw-2", ",\"devices\":{\"total\":7}", "");
    told("gw-3/state", "{\"gateway\":\"gw-3\",\"online\":false}");
    replies[count++] = NULL;
    replies[count++] = NULL;
    device("gw-4", "p-1", NOW + 400 * DAY, "");
    judge();
    assert_string_equal(findings(), "error gw-2 gateway.devices-missing\n"
                                    "error gw-4 gateway.no-state\n"
                                    "error gw-3 gateway.offline\n"
                                    "error gw-1 gateway.silent\n");
    assert_int_equal(patients[3].verdict, DOCTOR_ERROR);
}

static void a_refusal_is_passed_on_with_its_remedy(void **state)
{
    (void)state;
    gateway("gw-1", "", NULL);
    replies[0] = json_loads("{\"error\":{\"code\":-32030,\"message\":\"sign it\",\"data\":{"
                            "\"name\":\"unsigned\",\"remedy\":\"certflipctl sign\"}}}",
                            0, NULL);
    judge();
    assert_string_equal(findings(), "error gw-1 gateway.refuses\n");
    assert_string_equal(doctor.all[0].text, "it refuses our command: sign it (unsigned)");
    assert_string_equal(doctor.all[0].remedy, "certflipctl sign");
}

static void clocks_are_compared(void **state)
{
    char iso[32], text[200];

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        static const int64_t off_s[] = {3, 10, -70, 0};
        char name[8];

        snprintf(name, sizeof(name), "gw-%zu", i);
        gateway(name, "", NULL);
        snprintf(text, sizeof(text), "{\"result\":{\"now\":\"%s\",\"clock\":{%s}}}",
                 clock_iso(NOW + off_s[i], iso, sizeof(iso)),
                 i == 3 ? "\"synchronised\":false,\"flips\":false,\"text\":\"it is 1970\""
                        : "\"synchronised\":null,\"flips\":true");
        replies[i] = json_loads(text, 0, NULL);
    }
    judge();
    assert_string_equal(findings(), "error gw-2 clock.differs\n"
                                    "error gw-3 clock.stops-flips\n"
                                    "warning gw-1 clock.differs\n");
    assert_string_equal(doctor.all[0].text, "its clock is 70 s behind ours");
    assert_string_equal(doctor.all[1].text, "flips are refused: it is 1970");
    assert_string_equal(doctor.all[2].text, "its clock is 10 s before ours");
}

static void certificates_that_end_are_counted(void **state)
{
    (void)state;
    gateway("gw-1", "", "");
    device("gw-1", "p-1", NOW - DAY, "");
    device("gw-1", "p-2", NOW + 10 * DAY, "");
    device("gw-1", "p-3", NOW + 29 * DAY, "");
    device("gw-1", "p-4", NOW + 80 * DAY, "");
    device("gw-1", "p-5", NOW + 91 * DAY, "");
    judge();
    assert_string_equal(findings(), "error gw-1 certificate.expired\n"
                                    "error gw-1 certificate.expires-soon\n"
                                    "warning gw-1 certificate.expires\n");
    assert_non_null(strstr(doctor.all[0].text, "1 devices have an expired certificate"));
    assert_non_null(strstr(doctor.all[1].text, "2 certificates expire within 30 days"));
    assert_non_null(strstr(doctor.all[2].text, "1 certificates expire within 30 to 90 days"));
}

static void devices_in_trouble_are_named(void **state)
{
    (void)state;
    gateway("gw-1", "", "");
    told("gw-1/device/p-1",
         "{\"device\":\"p-1\",\"phase\":\"rolled-back\",\"active\":\"old\",\"slots\":{\"old\":{"
         "\"usable\":true}},\"last_error\":{\"class\":\"identity\",\"message\":\"unknown CA\","
         "\"remedy\":\"add it\"}}");
    told("gw-1/device/p-2",
         "{\"device\":\"p-2\",\"phase\":\"steady\",\"active\":\"old\",\"slots\":{\"old\":null}}");
    judge();
    assert_string_equal(findings(), "error gw-1 device.no-identity\n"
                                    "error gw-1 device.quarantined\n");
    assert_string_equal(doctor.all[1].text, "device p-1 was rolled back: identity: unknown CA");
    assert_string_equal(doctor.all[1].remedy, "add it");
}

#define TRUST(up) ",\"trust\":{\"upstream\":[" up "],\"downstream\":[]}"
#define ANCHOR(c, day) \
    "{\"fingerprint\":\"" FP(c) "\",\"subject\":\"CN=" #c "\",\"not_after\":\"" day "T00:00:00Z\"}"

/* 1900000000 is 2030-03-17. */
static void anchors_are_compared_with_the_others(void **state)
{
    (void)state;
    gateway("gw-1", TRUST(ANCHOR(a, "2040-01-01") "," ANCHOR(b, "2040-01-01")), "");
    gateway("gw-2", TRUST(ANCHOR(a, "2040-01-01") "," ANCHOR(b, "2040-01-01")), "");
    gateway("gw-3", TRUST(ANCHOR(b, "2040-01-01") "," ANCHOR(c, "2030-04-01")), "");
    judge();
    assert_string_equal(findings(), "error gw-3 anchor.expires\n"
                                    "warning gw-3 anchor.alone\n"
                                    "warning gw-3 anchor.missing\n");
    assert_non_null(strstr(doctor.all[1].text, "it believes CN=c (cccccccccccccccc...), as only 1 "
                                               "of 3 gateways do"));
    assert_non_null(strstr(doctor.all[2].text, "it does not believe CN=a"));
}

static void mixed_versions_are_told(void **state)
{
    (void)state;
    gateway("gw-1", "", "");
    gateway("gw-2", "", "");
    gateway("gw-3", ",\"online_\":1", "");
    told("gw-3/state", "{\"gateway\":\"gw-3\",\"online\":true,\"version\":\"0.9\"}");
    judge();
    assert_string_equal(findings(), "warning gw-3 version.differs\n");
}

static void what_a_gateway_admits_is_passed_on(void **state)
{
    (void)state;
    gateway(
        "gw-1", "",
        ",\"exceptions\":[{\"name\":\"old\",\"in_force\":true,\"until\":\"2030-06-30\","
        "\"days_left\":100,\"devices\":3},{\"name\":\"older\",\"in_force\":false,\"until\":"
        "\"2029-06-30\"}],\"messages\":[\"the disk is full\"],\"central\":{\"events_dropped\":2,"
        "\"signed\":{\"operators\":0,\"policy\":{\"operate\":\"required\"},\"refused\":{"
        "\"signature\":3}}}");
    gateway("gw-2", "",
            ",\"central\":{\"signed\":{\"operators\":2,\"policy\":{\"operate\":\"off\"}}}");
    judge();
    assert_string_equal(findings(), "error gw-1 signed.no-key\n"
                                    "warning gw-1 exception.in-force\n"
                                    "warning gw-1 exception.over\n"
                                    "warning gw-1 gateway.events-dropped\n"
                                    "warning gw-1 gateway.says\n"
                                    "warning gw-2 signed.not-required\n"
                                    "warning gw-1 signed.refused\n");
    doctor_fini(&doctor);
    rules.signs = true;
    judge();
    assert_non_null(strstr(findings(), "warning gw-1 signed.no-operators\n"));
    assert_null(strstr(findings(), "signed.no-key"));
}

/* No gateway can bring the doctor down, or write to the terminal. */
static void nonsense_is_survived(void **state)
{
    (void)state;
    gateway("gw-1",
            ",\"devices\":7,\"trust\":{\"upstream\":[1,{},{\"fingerprint\":2}],\"downstream\":"
            "{\"a\":1}}",
            ",\"exceptions\":{\"a\":1},\"messages\":[1,null,\"a\\u001b[2J\\nb\"],\"central\":[1]");
    gateway("gw-2", "", NULL);
    replies[1] = json_loads("{\"result\":[1],\"error\":\"x\"}", 0, NULL);
    judge();
    assert_string_equal(findings(), "error gw-2 gateway.silent\n"
                                    "warning gw-1 gateway.says\n");
    assert_string_equal(doctor.all[1].text, "it says: a [2J b");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_healthy_fleet_has_no_findings),        TEST(who_does_not_answer_is_named),
        TEST(a_refusal_is_passed_on_with_its_remedy), TEST(clocks_are_compared),
        TEST(certificates_that_end_are_counted),      TEST(devices_in_trouble_are_named),
        TEST(anchors_are_compared_with_the_others),   TEST(mixed_versions_are_told),
        TEST(what_a_gateway_admits_is_passed_on),     TEST(nonsense_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
