/* Answers of the daemon, and the text that people get to see: to the letter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "cli/follow.h"
#include "cli/show.h"
#include "cli/table.h"

/* Where the text goes, and the time that it is. */
struct screen {
    struct show show;
    char *text; /* owned */
    size_t n;
};

static void screen_init(struct screen *s, bool colour)
{
    *s = (struct screen){.text = NULL};
    s->show.to = open_memstream(&s->text, &s->n);
    s->show.colour = colour;
    s->show.now_s = show_parse_time("2031-05-02T12:00:00Z");
    assert_non_null(s->show.to);
}

static void screen_is(struct screen *s, const char *expected)
{
    fclose(s->show.to);
    assert_string_equal(s->text, expected);
    free(s->text);
}

static json_t *json(const char *text)
{
    json_error_t fault;
    json_t *v = json_loads(text, 0, &fault);

    if (v == NULL)
        fail_msg("%s: %s", fault.text, text);
    return v;
}

#define FP "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const char trial[] =
    "{\"device\": \"press-12\", \"phase\": \"trial\", \"waiting\": \"probation\", \"active\": \"new\","
    " \"due\": \"2031-05-02T12:05:00Z\", \"deadline\": \"2031-05-02T12:10:00Z\","
    " \"begin_by\": null, \"attempts\": 1, \"online\": true,"
    " \"evidence\": {\"wanted\": [\"connack\", \"echo\", \"central\"],"
    "  \"missing\": [\"echo\", \"central\"],"
    "  \"proven\": [{\"what\": \"connack\", \"time\": \"2031-05-02T12:00:00Z\", \"tls\": \"TLSv1.3\","
    "    \"fingerprint\": \"ab12\"},"
    "   {\"what\": \"central\", \"time\": \"2031-05-02T12:00:02Z\", \"by\": \"central:op\"}]},"
    " \"slots\": {"
    "  \"old\": {\"usable\": true, \"fingerprint\": \"" FP "\", \"subject\": \"CN=press-12\","
    "   \"issuer\": \"CN=Plant\", \"not_before\": \"2021-05-01T00:00:00Z\","
    "   \"not_after\": \"2031-05-12T12:00:00Z\", \"fault\": null},"
    "  \"new\": {\"usable\": true, \"fingerprint\": \"" FP "\", \"subject\": \"CN=press-12\","
    "   \"issuer\": \"CN=Plant 2031\", \"not_before\": \"2031-05-01T00:00:00Z\","
    "   \"not_after\": \"2041-05-01T00:00:00Z\", \"fault\": null}},"
    " \"upstream\": {\"slot\": \"new\", \"state\": \"accepted\", \"since\": \"2031-05-02T12:00:00Z\","
    "  \"tls\": \"TLSv1.3\", \"fingerprint\": \"" FP "\"},"
    " \"reason\": null, \"last_error\": null, \"changed\": \"2031-05-02T11:59:58Z\","
    " \"sessions\": [{\"device\": \"press-12\", \"session\": 17, \"worker\": 0, \"listener\": \"tls\","
    "  \"peer\": \"192.0.2.7:51234\", \"client_id\": \"press\\u001b[2J12\", \"mqtt\": \"3.1.1\","
    "  \"tls\": \"TLSv1.2\", \"fingerprint\": \"" FP "\", \"since\": \"2031-05-01T08:00:00Z\"}]}";

static const char rolled_back[] =
    "{\"device\": \"drückbank-7\", \"phase\": \"rolled-back\", \"waiting\": null, \"active\": \"old\","
    " \"due\": null, \"attempts\": 0, \"online\": false,"
    " \"slots\": {"
    "  \"old\": {\"usable\": true, \"fingerprint\": \"" FP "\", \"subject\": \"CN=7\","
    "   \"issuer\": \"CN=Plant\", \"not_before\": \"2021-05-01T00:00:00Z\","
    "   \"not_after\": \"2031-05-01T00:00:00Z\", \"fault\": null},"
    "  \"new\": {\"usable\": false,"
    "   \"fault\": \"device drückbank-7: new identity: /etc/certflip/x/new/key.pem: does not match: put the right key there\"}},"
    " \"upstream\": null, \"reason\": \"tls.unknown_ca: the broker does not trust the issuer\","
    " \"last_error\": {\"time\": \"2031-05-02T11:00:00Z\", \"slot\": \"new\", \"class\": \"identity\","
    "  \"name\": \"tls.unknown_ca\", \"message\": \"the broker does not trust the issuer\","
    "  \"remedy\": \"add CA 'Plant 2031' at the broker\","
    "  \"alert\": {\"number\": 48, \"name\": \"unknown_ca\"},"
    "  \"x509\": \"X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY\"},"
    " \"changed\": \"2031-05-02T11:00:00Z\", \"sessions\": []}";

static const char bare[] = "{\"device\": \"x\", \"phase\": \"steady\", \"active\": \"old\","
                           " \"slots\": {\"old\": null, \"new\": null}}";

static json_t *three(void)
{
    json_t *all = json_array();

    json_array_append_new(all, json(trial));
    json_array_append_new(all, json(rolled_back));
    json_array_append_new(all, json(bare));
    return all;
}

static void devices_line_up(void **unused)
{
    json_t *all = three();
    struct screen s;

    (void)unused;
    screen_init(&s, false);
    show_devices(&s.show, all);
    screen_is(
        &s,
        "DEVICE       PHASE        ACTIVE  SENSOR   EXPIRES     NOTE\n"
        "press-12     trial        new     online   2041-05-01  in probation until 2031-05-02T12:05:00Z, missing: the echo, confirmation\n"
        "drückbank-7  rolled-back  old     offline  2031-05-01  tls.unknown_ca: the broker does not trust the issuer\n"
        "x            steady       old     offline  -           no identity in this slot\n"
        "3 devices\n");
    json_decref(all);
}

static void terminal_gets_colours(void **unused)
{
    json_t *all = json_array(), *device = json(trial);
    struct screen s;

    (void)unused;
    json_object_set_new(device, "active", json_string("old"));
    json_object_set_new(device, "waiting", json_null());
    json_array_append_new(all, device);
    screen_init(&s, true);
    show_devices(&s.show, all);
    screen_is(
        &s,
        "\033[1mDEVICE\033[0m    \033[1mPHASE\033[0m  \033[1mACTIVE\033[0m  \033[1mSENSOR\033[0m  "
        "\033[1mEXPIRES\033[0m     \033[1mNOTE\033[0m\n"
        "press-12  \033[33mtrial\033[0m  old     online  \033[33m2031-05-12\033[0m\n"
        "1 device\n");
    json_decref(all);
}

static void no_device_is_said(void **unused)
{
    json_t *none = json_array();
    struct screen s;

    (void)unused;
    screen_init(&s, false);
    show_devices(&s.show, none);
    screen_is(&s, "no device\n");
    json_decref(none);
}

static void one_device_is_told_whole(void **unused)
{
    json_t *device = json(trial);
    struct screen s;

    (void)unused;
    screen_init(&s, false);
    show_device(&s.show, device);
    screen_is(&s,
              "device    press-12\n"
              "phase     trial since 2031-05-02T11:59:58Z, attempt 1\n"
              "now       in probation until 2031-05-02T12:05:00Z (in 5 min)\n"
              "          confirmed by 2031-05-02T12:10:00Z (in 10 min), else rolled back\n"
              "proven    2031-05-02T12:00:00Z: accepted over TLSv1.3 with sha256 ab12\n"
              "          2031-05-02T12:00:02Z: confirmed by central:op\n"
              "missing   the echo, confirmation\n"
              "active    new\n"
              "old       CN=press-12, issued by CN=Plant\n"
              "          valid 2021-05-01T00:00:00Z to 2031-05-12T12:00:00Z (in 10 d 0 h)\n"
              "          sha256 " FP "\n"
              "new       CN=press-12, issued by CN=Plant 2031\n"
              "          valid 2031-05-01T00:00:00Z to 2041-05-01T00:00:00Z (in 3651 d)\n"
              "          sha256 " FP "\n"
              "upstream  accepted on new since 2031-05-02T12:00:00Z, TLSv1.3\n"
              "sensor    192.0.2.7:51234 on tls, client id \"press?[2J12\", MQTT 3.1.1, TLSv1.2, "
              "since 2031-05-01T08:00:00Z\n"
              "          sha256 " FP "\n");
    json_decref(device);
}

/* How long it has still, and what is to be proven: as the lines of flip --wait on a terminal. */
static void progress_is_told_in_a_line(void **unused)
{
    static const struct {
        const char *device, *text;
    } rows[] = {
        {trial, "trial, in probation, 5 min left, missing: the echo, confirmation"},
        {"{\"phase\": \"trial\", \"waiting\": \"confirm\", \"due\": \"2031-05-02T12:00:30Z\","
         " \"evidence\": {\"missing\": [\"central\"]}}",
         "trial, waits for confirmation, 30 s left"},
        {"{\"phase\": \"trial\", \"waiting\": \"device\", \"due\": null,"
         " \"begin_by\": \"2031-05-02T15:00:00Z\", \"evidence\": {\"missing\": [\"connack\"]}}",
         "trial, waits for the sensor, 3 h 0 min left"},
        {"{\"phase\": \"trial\", \"waiting\": \"queue\"}", "trial, waits for its turn"},
        {"{\"phase\": \"committed\", \"waiting\": null}", "committed"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        json_t *device = json(rows[i].device);
        char out[200];

        show_progress(device, show_parse_time("2031-05-02T12:00:00Z"), out, sizeof(out));
        assert_string_equal(out, rows[i].text);
        json_decref(device);
    }
}

static void pending_device_says_by_when_it_has_to_begin(void **unused)
{
    json_t *device = json("{\"device\": \"x\", \"phase\": \"trial\", \"waiting\": \"device\","
                          " \"active\": \"new\", \"attempts\": 0, \"online\": false,"
                          " \"begin_by\": \"2031-05-02T15:00:00Z\","
                          " \"evidence\": {\"missing\": [\"connack\"], \"text\": null},"
                          " \"slots\": {\"old\": null, \"new\": null}}");
    struct screen s;

    (void)unused;
    screen_init(&s, false);
    show_device(&s.show, device);
    screen_is(&s, "device    x\n"
                  "phase     trial, not tried yet\n"
                  "now       waits for the sensor\n"
                  "          begun by 2031-05-02T15:00:00Z (in 3 h 0 min), else given up\n"
                  "missing   acceptance by the broker\n"
                  "active    new\n"
                  "old       empty\n"
                  "new       empty\n"
                  "upstream  not connected\n"
                  "sensor    offline\n");
    json_decref(device);
}

static void failed_device_says_why_and_what_to_do(void **unused)
{
    json_t *device = json(rolled_back);
    struct screen s;

    (void)unused;
    screen_init(&s, false);
    show_device(&s.show, device);
    screen_is(
        &s, "device      drückbank-7\n"
            "phase       rolled-back since 2031-05-02T11:00:00Z\n"
            "reason      tls.unknown_ca: the broker does not trust the issuer\n"
            "active      old\n"
            "old         CN=7, issued by CN=Plant\n"
            "            valid 2021-05-01T00:00:00Z to 2031-05-01T00:00:00Z (36 h 0 min ago)\n"
            "            expired\n"
            "            sha256 " FP "\n"
            "new         unusable: /etc/certflip/x/new/key.pem: does not match: put the right key "
            "there\n"
            "upstream    not connected\n"
            "last error  2031-05-02T11:00:00Z, on new: tls.unknown_ca (identity)\n"
            "            TLS alert 48 unknown_ca, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY\n"
            "            the broker does not trust the issuer\n"
            "remedy      add CA 'Plant 2031' at the broker\n"
            "next        put a good identity into the new slot, then: certflipctl reload\n"
            "sensor      offline\n");
    json_decref(device);
}

/* An error with a remedy beside a connection that stands sends people looking for what is mended
 * already; and a rollback needs a command before it can be tried again. */
static void an_error_that_is_over_asks_for_nothing(void **unused)
{
    static const char base[] =
        "{\"device\": \"x\", \"phase\": \"rolled-back\", \"active\": \"old\","
        " \"slots\": {\"old\": null, \"new\": {\"usable\": true, \"subject\": \"CN=x\","
        "  \"issuer\": \"CN=P\", \"not_before\": \"2031-05-01T00:00:00Z\","
        "  \"not_after\": \"2041-05-01T00:00:00Z\", \"fingerprint\": \"ab\"}},"
        " \"last_error\": {\"time\": \"2031-05-02T11:00:00Z\", \"slot\": \"%s\","
        "  \"class\": \"network\", \"name\": \"tcp.refused\", \"message\": \"nobody listens\","
        "  \"remedy\": \"start it\"},"
        " \"reason\": \"no echo\", \"reason_remedy\": \"allow it\","
        " \"evidence\": {\"proven\": [{\"what\": \"connack\", \"time\": \"%s\"}]},"
        " \"upstream\": {\"slot\": \"old\", \"state\": \"accepted\", \"since\": \"%s\"}}";
    static const struct {
        const char *slot, *proven, *since;
        bool over;
    } rows[] = {
        {"old", "2031-05-02T10:00:00Z", "2031-05-02T11:00:01Z", true},
        {"old", "2031-05-02T12:00:00Z", "2031-05-02T10:00:00Z", false},
        {"new", "2031-05-02T10:00:00Z", "2031-05-02T11:30:00Z", false},
        {"new", "2031-05-02T11:10:00Z", "2031-05-02T11:30:00Z", true},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[1200];
        struct screen s;
        json_t *device;

        snprintf(text, sizeof(text), base, rows[i].slot, rows[i].proven, rows[i].since);
        device = json(text);
        screen_init(&s, false);
        show_device(&s.show, device);
        fclose(s.show.to);
        assert_non_null(strstr(s.text, "reason      no echo\nremedy      allow it\n"));
        assert_int_equal(strstr(s.text, "tcp.refused (network), accepted since\n") != NULL,
                         rows[i].over);
        assert_int_equal(strstr(s.text, "remedy      start it\n") == NULL, rows[i].over);
        assert_non_null(strstr(
            s.text, "next        when the cause is mended: certflipctl quarantine clear x\n"));
        free(s.text);
        json_decref(device);
    }
}

/* Before a flip is refused for it, and before a sensor that has no uplink gives up. */
static void notes_tell_what_stands_in_the_way(void **unused)
{
    static const struct {
        const char *device, *note;
    } rows[] = {
        {"{\"device\": \"x\", \"phase\": \"staged\", \"active\": \"old\", \"slots\": {"
         "\"old\": {\"usable\": true}, \"new\": {\"usable\": true,"
         " \"not_after\": \"2031-05-02T11:59:59Z\"}}}",
         "  new: expired\n"},
        {"{\"device\": \"x\", \"phase\": \"staged\", \"active\": \"old\", \"slots\": {"
         "\"old\": {\"usable\": true}, \"new\": {\"usable\": true,"
         " \"not_before\": \"2031-05-02T12:00:01Z\"}}}",
         "  new: not valid yet\n"},
        {"{\"device\": \"x\", \"phase\": \"steady\", \"active\": \"old\", \"online\": false,"
         " \"slots\": {\"old\": {\"usable\": true}}, \"upstream\": {\"state\": \"failed\"},"
         " \"last_error\": {\"message\": \"nobody listens there\"}}",
         "  upstream failed: nobody listens there\n"},
        {"{\"device\": \"x\", \"phase\": \"rolled-back\", \"active\": \"old\", \"online\": true,"
         " \"slots\": {\"old\": {\"usable\": true}}, \"reason\": \"by command\","
         " \"upstream\": {\"state\": \"failed\", \"slot\": \"old\"},"
         " \"last_error\": {\"message\": \"nobody listens there\"}}",
         "  upstream failed: nobody listens there\n"},
        {"{\"device\": \"x\", \"phase\": \"rolled-back\", \"active\": \"old\", \"online\": true,"
         " \"slots\": {\"old\": {\"usable\": true}}, \"reason\": \"by command\","
         " \"upstream\": {\"state\": \"failed\", \"slot\": \"new\"}}",
         "  by command\n"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        json_t *all = json_array();
        struct screen s;

        json_array_append_new(all, json(rows[i].device));
        screen_init(&s, false);
        show_devices(&s.show, all);
        fclose(s.show.to);
        assert_non_null(strstr(s.text, rows[i].note));
        free(s.text);
        json_decref(all);
    }
}

/* On a terminal long texts go on below themselves; elsewhere a row stays a line, for grep. */
static void a_terminal_is_not_wider_than_it_is(void **unused)
{
    json_t *audit = json("[{\"seq\": 7, \"time\": \"2031-05-02T11:00:00Z\", \"who\": \"certflipd\","
                         " \"what\": \"phase committed\", \"target\": \"p\","
                         " \"outcome\": \"from trial: healthy: healthy through probation\"}]");
    json_t *device = json(
        "{\"device\": \"x\", \"phase\": \"steady\", \"active\": \"old\", \"slots\": {"
        "\"new\": {\"usable\": false, \"fault\": \"id/x/new/key.pem: kl\u00fcge and key do not "
        "match\"}}}");
    struct screen s;

    (void)unused;
    screen_init(&s, false);
    s.show.width = 40;
    show_device(&s.show, device);
    s.show.width = 80;
    show_audit(&s.show, audit);
    screen_is(&s, "device    x\n"
                  "phase     steady\n"
                  "active    old\n"
                  "old       empty\n"
                  "new       unusable: id/x/new/key.pem:\n"
                  "          klüge and key do not match\n"
                  "upstream  not connected\n"
                  "sensor    offline\n"
                  "NUMBER  TIME                  WHO        WHAT             TARGET  OUTCOME\n"
                  "7       2031-05-02T11:00:00Z  certflipd  phase committed  p       from trial:\n"
                  "        healthy: healthy through probation\n");
    json_decref(audit);
    json_decref(device);
}

static void status_fits_a_screen(void **unused)
{
    json_t *status = json(
        "{\"gateway\": \"plant-7\", \"version\": \"0.1.0\", \"tls_library\": \"wolfSSL 5.7.2\","
        " \"pid\": 4711, \"now\": \"2031-05-02T12:00:00Z\", \"started\": \"2031-04-29T08:30:00Z\","
        " \"uptime_s\": 271800, \"config\": \"/etc/certflip/certflip.conf\", \"workers\": 2,"
        " \"devices\": {\"total\": 12, \"online\": 10, \"steady\": 0, \"staged\": 4, \"trial\": 1,"
        "  \"committed\": 6, \"rolled_back\": 1, \"queued\": 3, \"faulty\": 1},"
        " \"pace\": {\"waiting\": 3, \"moving\": 1, \"window\": 1, \"paused\": true},"
        " \"central\": {\"enabled\": true, \"device\": \"gw\", \"connected\": false,"
        "  \"since\": \"2031-05-02T11:00:00Z\", \"last_error\": \"connection refused\"},"
        " \"counters\": {\"sessions\": 10, \"legs_up\": 9, \"accepted\": 25, \"refused\": 4,"
        "  \"publishes_denied\": 8, \"packets_inexpressible\": 2, \"publishes_shed\": 6,"
        "  \"publishes_up\": 12345, \"publishes_down\": 67, \"rehomes\": 7, \"rehomes_failed\": 1,"
        "  \"ways_back\": 1, \"spareless\": 0, \"taken_over\": 2,"
        "  \"restored_subscriptions\": 5, \"restore_refused\": 1, \"retained_suppressed\": 3,"
        "  \"rehome_lost\": 0, \"hold_us_max\": 3210},"
        " \"tokens\": [{\"name\": \"hsm\", \"state\": \"ready\", \"label\": \"plant\", \"message\": \"\","
        "  \"operations\": 4, \"failures\": 1, \"us_sum\": 42000, \"us_max\": 30500},"
        "  {\"name\": \"spare\", \"state\": \"untried\", \"operations\": 0},"
        "  {\"name\": \"tpm\", \"state\": \"absent\", \"message\": \"token tpm: insert it\"}],"
        " \"crls\": {\"lists\": 2, \"stale\": 1, \"due\": 0,"
        "  \"next_update\": \"2031-05-01T00:00:00Z\", \"issuer\": \"CN=Plant\","
        "  \"missing\": [{\"kind\": \"listener\", \"name\": \"tls\", \"anchor\": \"CN=Old\"},"
        "   {\"kind\": \"upstream\", \"name\": \"main\", \"anchor\": \"CN=Far\"}]},"
        " \"refused\": {\"unknown-device\": 3, \"tls\": 1},"
        " \"messages\": [\"device x: no identity\", \"clock not synchronised\"]}");
    struct screen s;

    (void)unused;
    screen_init(&s, false);
    show_status(&s.show, status);
    screen_is(
        &s, "gateway      plant-7\n"
            "version      certflip 0.1.0, wolfSSL 5.7.2, process 4711, 2 workers\n"
            "up           3 d 3 h, since 2031-04-29T08:30:00Z\n"
            "config       /etc/certflip/certflip.conf\n"
            "devices      12, 10 online\n"
            "             4 staged, 1 in trial, 6 committed, 1 rolled back\n"
            "             3 wait for their turn, 1 move now, paused: no broker can be reached\n"
            "             1 with an identity that cannot be used\n"
            "central      not connected since 2031-05-02T11:00:00Z, as device gw: connection "
            "refused\n"
            "revocation   2 lists, 1 out of date, next update 2031-05-01T00:00:00Z (CN=Plant)\n"
            "             no list, which must be there, of CN=Old (listener tls), CN=Far (upstream "
            "main)\n"
            "connections  10 with sensors, 9 upstream; 25 accepted, 4 refused since the start\n"
            "messages     12345 to the broker, 67 to sensors\n"
            "             8 refused by a broker, 2 that it could not be told\n"
            "             6 dropped without an uplink (QoS 0)\n"
            "re-homes     7, 1 failed, 0 messages lost, longest hold 3.2 ms\n"
            "             1 went back by the spare connection, 0 left without one; 2 times taken "
            "over by another client\n"
            "             5 subscriptions restored where the broker had lost the session, 1 "
            "refused; 3 retained messages not repeated\n"
            "tokens       hsm ready, 4 operations, 1 failed, 10.5 ms each, longest 30.5 ms\n"
            "             spare untried\n"
            "             tpm absent: token tpm: insert it\n"
            "refused      unknown-device 3, tls 1\n"
            "attention    device x: no identity\n"
            "             clock not synchronised\n");
    json_decref(status);
}

/* A daemon of another version, or a broken one: whatever is there is shown, and nothing crashes. */
static void odd_answers_are_survived(void **unused)
{
    static const char *const odd[] = {"{}",
                                      "[]",
                                      "null",
                                      "3",
                                      "\"x\"",
                                      "{\"devices\": 3}",
                                      "{\"slots\": [1], \"sessions\": {\"a\": 1}, \"upstream\": 3}",
                                      "{\"counters\": [], \"refused\": 7, \"messages\": [1, null]}",
                                      "[1, null, [], {}, {\"error\": 3, \"ok\": 4}]"};

    (void)unused;
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        json_t *v = json_loads(odd[i], JSON_DECODE_ANY, NULL);
        struct screen s;

        assert_non_null(v);
        screen_init(&s, true);
        show_status(&s.show, v);
        show_devices(&s.show, v);
        show_device(&s.show, v);
        show_sessions(&s.show, v, 3);
        show_levels(&s.show, v);
        show_audit(&s.show, v);
        show_reload(&s.show, v);
        show_outcome(&s.show, v);
        show_error(&s.show, "flip", v);
        fclose(s.show.to);
        free(s.text);
        json_decref(v);
    }
}

static void sessions_line_up(void **unused)
{
    json_t *device = json(trial);
    struct screen s;

    (void)unused;
    screen_init(&s, false);
    show_sessions(&s.show, json_object_get(device, "sessions"), 1);
    screen_is(&s, "DEVICE    PEER             LISTENER  MQTT   TLS      CLIENT ID    SINCE\n"
                  "press-12  192.0.2.7:51234  tls       3.1.1  TLSv1.2  press?[2J12  "
                  "2031-05-01T08:00:00Z\n"
                  "1 sensor\n");
    json_decref(device);
}

static void outcome_names_remedies(void **unused)
{
    json_t *rows =
        json("[{\"device\": \"press-13\", \"ok\": false, \"phase\": \"steady\","
             "  \"error\": {\"code\": -32004, \"name\": \"no-identity\","
             "   \"message\": \"no new identity\", \"remedy\": \"install one\"}},"
             " {\"device\": \"press-1\", \"ok\": true, \"phase\": \"trial\", \"changed\": true},"
             " {\"device\": \"press-2\", \"ok\": true, \"phase\": \"trial\", \"changed\": false}]");
    struct screen s;

    (void)unused;
    screen_init(&s, false);
    show_outcome(&s.show, rows);
    screen_is(&s, "press-13  refused  no new identity\n"
                  "                   install one\n"
                  "press-1   trial\n"
                  "press-2   trial    was so already, and keeps the terms it began with\n");
    json_decref(rows);
}

static void error_names_remedy_and_faults(void **unused)
{
    json_t *error = json("{\"code\": -32007, \"message\": \"the configuration has 2 faults\","
                         " \"data\": {\"name\": \"config\", \"remedy\": \"mend them, then reload\","
                         "  \"faults\": [\"a.conf:3: workrs: unknown\", \"a.conf:9: port: 0\"]}}");
    struct screen s;

    (void)unused;
    screen_init(&s, false);
    show_error(&s.show, "reload", error);
    screen_is(&s, "certflipctl: reload: the configuration has 2 faults\n"
                  "  a.conf:3: workrs: unknown\n"
                  "  a.conf:9: port: 0\n"
                  "  mend them, then reload\n");
    json_decref(error);
}

static void rest_line_up(void **unused)
{
    json_t *levels = json("{\"daemon\": \"info\", \"tls.handshake\": \"debug\"}");
    json_t *audit =
        json("[{\"seq\": 7, \"time\": \"2031-05-02T11:00:00Z\", \"who\": \"local:root\","
             " \"what\": \"flip\", \"target\": \"press-*\", \"outcome\": \"3 done\"},"
             " {\"seq\": 8, \"time\": \"2031-05-02T11:00:01Z\", \"who\": \"central\","
             " \"what\": \"config.reload\", \"target\": \"\", \"outcome\": \"done\"}]");
    json_t *reload = json("{\"changed_devices\": 3, \"new_devices\": 1, \"gone_devices\": 0,"
                          " \"faulty_devices\": 2, \"restart_needed\": [\"workers: 2 -> 4\"]}");
    struct screen s;

    (void)unused;
    screen_init(&s, false);
    show_levels(&s.show, levels);
    show_audit(&s.show, audit);
    show_reload(&s.show, reload);
    screen_is(&s, "daemon         info\n"
                  "tls.handshake  debug\n"
                  "NUMBER  TIME                  WHO         WHAT           TARGET   OUTCOME\n"
                  "7       2031-05-02T11:00:00Z  local:root  flip           press-*  3 done\n"
                  "8       2031-05-02T11:00:01Z  central     config.reload  -        done\n"
                  "read again: 3 devices changed, 1 new, 0 gone\n"
                  "2 devices have an identity that cannot be used: certflipctl devices\n"
                  "takes effect after a restart: workers: 2 -> 4\n");
    json_decref(levels);
    json_decref(audit);
    json_decref(reload);
}

/* -- characters ------------------------------------------------------------------------------- */

static void safe(const char *in, const char *out, size_t width)
{
    struct screen s;

    assert_int_equal(table_width(in), width);
    screen_init(&s, false);
    table_text(s.show.to, false, TABLE_PLAIN, in);
    screen_is(&s, out);
}

static void terminal_is_not_commanded(void **unused)
{
    (void)unused;
    safe("plain", "plain", 5);
    safe("\033[31mred", "?[31mred", 8);
    safe("a\r\n\tb\x7f", "a???b?", 6);
    safe("c\xc2\x9b"
         "1A",
         "c?1A", 4); /* C1: one character that begins a command */
    safe("\xe2\x80\xae"
         "right to left",
         "?right to left", 14);
    safe("\xff\xfe bad", "?? bad", 6);
    safe("cut\xe2\x82", "cut??", 5);
    safe("größe", "größe", 5);
    safe("e\xcc\x81", "e\xcc\x81", 1); /* a combining accent */
    safe("温度", "温度", 4);
}

static void fits(const char *in, size_t columns, bool ascii, const char *out, size_t width)
{
    char got[64];

    assert_int_equal(table_fit(got, sizeof(got), in, columns, ascii), width);
    assert_string_equal(got, out);
}

/* As much as there is room for, whole characters, and nothing that a terminal obeys. */
static void a_text_is_cut_to_its_columns(void **unused)
{
    char small[4];

    (void)unused;
    fits("plain", 80, false, "plain", 5);
    fits("plain", 3, false, "pla", 3);
    fits("plain", 0, false, "", 0);
    fits("\033]0;x\a\xc2\x9b", 80, false, "?]0;x??", 7);
    fits("温度", 3, false, "温", 2);
    fits("e\xcc\x81!", 1, false, "e\xcc\x81", 1);
    fits("größe", 80, true, "gr??e", 5);
    assert_int_equal(table_fit(small, sizeof(small), "größe", 80, false), 2);
    assert_string_equal(small, "gr"); /* no half of a character */
}

static void spans_are_short(void **unused)
{
    static const struct {
        int64_t s;
        const char *text;
    } spans[] = {
        {-5, "0 s"},
        {0, "0 s"},
        {119, "119 s"},
        {120, "2 min"},
        {7199, "119 min"},
        {7200, "2 h 0 min"},
        {172799, "47 h 59 min"},
        {172800, "2 d 0 h"},
        {8639999, "99 d 23 h"},
        {8640000, "100 d"},
    };
    char out[40];

    (void)unused;
    for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++)
        assert_string_equal(show_span(spans[i].s, out, sizeof(out)), spans[i].text);
    assert_int_equal(show_parse_time("1970-01-02T00:00:00Z"), 86400);
    assert_int_equal(show_parse_time("1970-01-02"), -1);
    assert_int_equal(show_parse_time("soon"), -1);
}

/* -- judging how a flip stands ---------------------------------------------------------------- */

static enum follow_state judge(bool rollback, const char *text)
{
    json_t *device = json(text);
    enum follow_state state = follow_judge(device, rollback);

    json_decref(device);
    return state;
}

static void flips_are_judged(void **unused)
{
    (void)unused;
    assert_int_equal(judge(false, trial), FOLLOW_GOING);
    assert_int_equal(judge(false, rolled_back), FOLLOW_ROLLED_BACK);
    assert_int_equal(judge(false, bare), FOLLOW_FAILED);
    assert_int_equal(judge(false, "{\"phase\": \"committed\"}"), FOLLOW_DONE);
    assert_int_equal(judge(false, "{\"phase\": \"committed\", \"waiting\": \"queue\"}"),
                     FOLLOW_GOING);
    assert_int_equal(judge(false, "{\"phase\": \"staged\"}"), FOLLOW_FAILED);
}

static void rollbacks_are_judged(void **unused)
{
    (void)unused;
    assert_int_equal(judge(true, rolled_back), FOLLOW_DONE); /* offline: nothing has to move */
    assert_int_equal(judge(true, trial), FOLLOW_GOING);
    assert_int_equal(judge(true,
                           "{\"phase\": \"rolled-back\", \"active\": \"old\", \"online\": true,"
                           " \"upstream\": {\"slot\": \"new\", \"state\": \"accepted\"}}"),
                     FOLLOW_GOING);
    assert_int_equal(judge(true,
                           "{\"phase\": \"rolled-back\", \"active\": \"old\", \"online\": true,"
                           " \"upstream\": {\"slot\": \"old\", \"state\": \"accepted\"}}"),
                     FOLLOW_DONE);
    assert_int_equal(judge(true, /* the broker is away: that may take for ever */
                           "{\"phase\": \"rolled-back\", \"active\": \"old\", \"online\": true,"
                           " \"upstream\": {\"slot\": \"old\", \"state\": \"failed\"}}"),
                     FOLLOW_DONE);
    assert_int_equal(judge(true, "{\"phase\": \"committed\", \"active\": \"new\"}"), FOLLOW_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_line_up),
        cmocka_unit_test(terminal_gets_colours),
        cmocka_unit_test(no_device_is_said),
        cmocka_unit_test(one_device_is_told_whole),
        cmocka_unit_test(progress_is_told_in_a_line),
        cmocka_unit_test(pending_device_says_by_when_it_has_to_begin),
        cmocka_unit_test(failed_device_says_why_and_what_to_do),
        cmocka_unit_test(an_error_that_is_over_asks_for_nothing),
        cmocka_unit_test(notes_tell_what_stands_in_the_way),
        cmocka_unit_test(a_terminal_is_not_wider_than_it_is),
        cmocka_unit_test(status_fits_a_screen),
        cmocka_unit_test(odd_answers_are_survived),
        cmocka_unit_test(sessions_line_up),
        cmocka_unit_test(outcome_names_remedies),
        cmocka_unit_test(error_names_remedy_and_faults),
        cmocka_unit_test(rest_line_up),
        cmocka_unit_test(terminal_is_not_commanded),
        cmocka_unit_test(a_text_is_cut_to_its_columns),
        cmocka_unit_test(spans_are_short),
        cmocka_unit_test(flips_are_judged),
        cmocka_unit_test(rollbacks_are_judged),
    };

    return cmocka_run_group_tests_name("cli: show", tests, NULL, NULL);
}
