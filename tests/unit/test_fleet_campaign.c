/* The campaign file: what is read, and that every fault is found in one run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/durable.h"
#include "base/str.h"
#include "fleet/campaign.h"
#include "scratch.h"

#define LEAST                             \
    "name = \"ca-2027\";\n"               \
    "broker = { host = \"b.example\"; };" \
    "gateways = [ \"gw-*\" ];\n"          \
    "sign = { command = \"sign\"; };\n"

static struct campaign *good(const char *text)
{
    struct buf faults = {0};
    unsigned count = 0;
    struct campaign *c = campaign_load_text("c.conf", text, strlen(text), &faults, &count);

    if (c == NULL)
        fail_msg("%.*s", (int)faults.len, (const char *)faults.p);
    assert_int_equal(count, 0);
    buf_fini(&faults);
    return c;
}

static void expect_faults(const char *text, const char *expected)
{
    struct buf faults = {0};
    unsigned count = 0;
    struct campaign *c = campaign_load_text("c.conf", text, strlen(text), &faults, &count);

    buf_append_u8(&faults, '\0');
    assert_null(c);
    if (strcmp((const char *)faults.p, expected) != 0)
        fputs((const char *)faults.p, stderr);
    assert_string_equal((const char *)faults.p, expected);
    buf_fini(&faults);
}

static void what_is_left_out_has_its_default(void **unused)
{
    struct campaign *c = good(LEAST);

    (void)unused;
    assert_string_equal(c->name, "ca-2027");
    assert_string_equal(c->root, "certflip/v1");
    assert_string_equal(c->ledger, "ca-2027.db");
    assert_int_equal(c->broker.port, 8883);
    assert_null(c->operator.name);
    assert_int_equal(c->device_count, 1);
    assert_string_equal(c->devices[0], "*");
    assert_null(campaign_key_name(c->identity.key));
    assert_string_equal(c->identity.subject, "CN={device}");
    assert_int_equal(c->sign.backdate_h, 24);
    assert_int_equal(c->waves.pilot, 10);
    assert_int_equal(c->waves.percent_count, 5);
    assert_int_equal(c->waves.percent[4], 100);
    assert_int_equal(c->waves.threshold, 99900);
    assert_int_equal(c->flip.confirm, CAMPAIGN_AUTO);
    assert_int_equal(c->flip.probation_s, 0);
    assert_int_equal(c->hours.count, 0);
    assert_int_equal(c->limits.per_gateway, 20);
    assert_true(c->retire.identities);
    assert_int_equal(strlen(c->digest), 64);
    campaign_free(c);
}

static void everything_can_be_said(void **unused)
{
    struct campaign *c =
        good(LEAST "exclude_gateways = [ \"gw-9\" ]; exclude_devices = [ \"x*\" ];\n"
                   "devices = [ \"press-*\", \"x*\" ]; pilot_devices = [ \"a*\", \"gw-1/b?\" ];\n"
                   "identity = { key = \"rsa-2048\"; token = \"\"; subject = "
                   "\"CN={device},O={gateway}\"; sans = [ \"DNS:{device}.example\" ]; };\n"
                   "operator = { name = \"anna\"; key_file = \"/k\"; expiry_s = \"2m\"; };\n"
                   "waves = { pilot = 0; percent = [ 50, 100 ]; threshold = 99.95; soak_s = 0; };\n"
                   "flip = { probation_s = 5; confirm = \"central\"; confirm_s = 9; evidence = "
                   "\"echo\"; attempts = 3; };\n"
                   "failures = { ignore = [ \"network\" ]; };\n"
                   "windows = [ \"Mon-Fri 22:00-05:00\", \"Sat,Sun 00:00-24:00\" ]; timezone = "
                   "\"Europe/Berlin\";\n"
                   "trust = ( { file = \"/new.pem\"; }, { set = \"downstream\"; file = \"d.pem\"; "
                   "note = \"why\"; } );\n"
                   "retire = { identities = false; validate_s = 0; anchors = ( { file = "
                   "\"/old.pem\"; } ); };\n");

    (void)unused;
    assert_string_equal(campaign_key_name(c->identity.key), "rsa-2048");
    assert_string_equal(c->identity.token, "");
    assert_string_equal(c->identity.sans[0], "DNS:{device}.example");
    assert_int_equal(c->operator.expiry_s, 120);
    assert_int_equal(c->waves.threshold, 99950);
    assert_int_equal(c->waves.percent_count, 2);
    assert_int_equal(c->flip.confirm, CAMPAIGN_CENTRAL);
    assert_int_equal(c->flip.evidence, CAMPAIGN_ECHO);
    assert_int_equal(c->hours.count, 2);
    assert_int_equal(c->trust_count, 2);
    assert_string_equal(campaign_set_name(c->trust[0].set), "upstream");
    assert_string_equal(campaign_set_name(c->trust[1].set), "downstream");
    assert_int_equal(c->retire.anchor_count, 1);
    assert_false(campaign_counts(c, "network"));
    assert_true(campaign_counts(c, "identity"));
    assert_true(campaign_wants_gateway(c, "gw-1"));
    assert_false(campaign_wants_gateway(c, "gw-9"));
    assert_false(campaign_wants_gateway(c, "other"));
    assert_true(campaign_wants_device(c, "press-1"));
    assert_false(campaign_wants_device(c, "x1"));
    assert_true(campaign_wants_first(c, "gw-7", "a1"));
    assert_true(campaign_wants_first(c, "gw-1", "b1"));
    assert_false(campaign_wants_first(c, "gw-2", "b1"));
    campaign_free(c);
}

static void finds_every_fault_in_one_run(void **unused)
{
    (void)unused;
    expect_faults(
        "nam = \"x\";\n"
        "broker = { port = 0; cert_file = \"c\"; password_file = \"p\"; };\n"
        "gateways = [ \"a/b\", \"-x\" ];\n"
        "sign = { command = \"c\"; ca_cert_file = \"f\"; };\n"
        "waves = { percent = [ 25, 10, 90 ]; threshold = 99.9999; };\n"
        "windows = [ \"Mon 10-12\" ];\n"
        "timezone = \"Mars/Olympus\";\n"
        "identity = { subject = \"XY={device}\"; sans = [ \"DNS:{cn}\", \"{device}\" ]; };\n"
        "trust = ( { set = \"upstreem\"; } );\n"
        "pilot_devices = [ \"a/b/c\" ];\n"
        "flip = { confirm_s = 5; };\n"
        "operator = { name = \"anna\"; };\n",
        "c.conf:1: nam: unknown key: did you mean \"name\"?\n"
        "c.conf:2: broker.port: 0 is out of range: a number from 1 to 65535\n"
        "c.conf:5: waves.threshold: 99.9999 has too many decimals: a number from 0 to 100, with at most three decimals\n"
        "c.conf:9: trust[0].set: \"upstreem\" is not known: \"upstream\" or \"downstream\"; did you mean \"upstream\"?\n"
        "c.conf:9: trust[0].file: is missing (the CAs, PEM): a string in quotes, of 1 to 4000 bytes\n"
        "c.conf: name: is missing (name of the campaign): a name in quotes: 1 to 128 of A-Z a-z 0-9 . _ -, not beginning with . or -\n"
        "c.conf: broker.host: is missing (name or address): a string in quotes, of 1 to 255 bytes\n"
        "c.conf:2: broker.cert_file: stands alone: give broker.key_file as well\n"
        "c.conf:2: broker.password_file: needs broker.username: MQTT 3.1.1 has no password without a user name\n"
        "c.conf:2: broker.cert_file: is of no use without broker.ca_file: without that there is no TLS\n"
        "c.conf:12: operator.name: stands alone: give operator.key_file as well\n"
        "c.conf:3: gateways: \"a/b\" holds a slash: no name of a gateway or a device does\n"
        "c.conf:3: gateways: \"-x\" is neither a name nor a glob\n"
        "c.conf:10: pilot_devices: \"a/b/c\" is neither DEVICE nor GATEWAY/DEVICE\n"
        "c.conf:8: identity.subject: there is no attribute \"XY\": CN, O, OU, C, L, ST, STREET, DC, UID, serialNumber, title, GN, SN, postalCode, dnQualifier, emailAddress, or an OID such as 2.5.4.3\n"
        "c.conf:8: identity.sans: \"DNS:{cn}\" is not a template: placeholder {cn} has no meaning here: allowed are {device} {gateway}\n"
        "c.conf:8: identity.sans: \"device\": begins with none of DNS: URI: email: IP:\n"
        "c.conf:4: sign.ca_cert_file: stands alone: give sign.ca_key_file as well\n"
        "c.conf:4: sign.command: stands beside sign.ca_cert_file: keep one of them\n"
        "c.conf:5: waves.percent: 10 follows 25: each wave counts those before it, so the numbers rise\n"
        "c.conf:5: waves.percent: ends with 90: the last wave is 100\n"
        "c.conf:11: flip.confirm_s: is of no use with flip.confirm = \"auto\"\n"
        "c.conf:6: windows: \"Mon 10-12\" is no window: it is written \"Mon-Fri 22:00-05:00\", \"Sat,Sun 00:00-24:00\", or \"01:00-04:00\" for every day\n"
        "c.conf:7: timezone: \"Mars/Olympus\" is no time zone that this machine knows: \"UTC\", or a name such as \"Europe/Berlin\", with the package tzdata installed\n");
}

static void no_password_goes_over_the_network_in_the_clear(void **unused)
{
    (void)unused;
    campaign_free(good("name = \"a\"; gateways = [ \"*\" ]; sign = { command = \"x\"; };\n"
                       "broker = { host = \"127.0.0.1\"; username = \"u\"; password_file = "
                       "\"p\"; };\n"));
    campaign_free(good("name = \"a\"; gateways = [ \"*\" ]; sign = { command = \"x\"; };\n"
                       "broker = { host = \"b.example\"; username = \"u\"; password_file = "
                       "\"p\"; ca_file = \"ca.pem\"; };\n"));
    expect_faults("name = \"a\"; gateways = [ \"*\" ]; sign = { command = \"x\"; };\n"
                  "broker = { host = \"b.example\"; username = \"u\"; password_file = \"p\"; };\n",
                  "c.conf:2: broker.password_file: would go to b.example in the clear: give "
                  "broker.ca_file, so that there is TLS\n");
}

/* -- with files ----------------------------------------------------------------------------------
 */

static char folder[64], file_path[100], secret_path[100];

static void write_files(const char *more, mode_t mode)
{
    static const char pem[] = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n";
    char *text = str_printf("name = \"a\"; gateways = [ \"*\" ];\n%s", more);

    assert_true(scratch_make(folder, sizeof(folder)));
    snprintf(file_path, sizeof(file_path), "%s/c.conf", folder);
    snprintf(secret_path, sizeof(secret_path), "%s/secret", folder);
    assert_int_equal(durable_write(file_path, text, strlen(text), 0600, NULL), 0);
    assert_int_equal(durable_write(secret_path, pem, strlen(pem), mode, NULL), 0);
    free(text);
}

static void remove_files(void)
{
    unlink(file_path);
    unlink(secret_path);
    rmdir(folder);
}

/* Returns the faults; owned, "" none. */
static char *load_with(unsigned files)
{
    struct buf faults = {0};
    unsigned count = 0;

    campaign_free(campaign_load(file_path, files, &faults, &count));
    assert_int_equal(buf_append_u8(&faults, '\0'), 0);
    return (char *)faults.p;
}

static void secrets_are_their_owners_alone(void **unused)
{
    static const char *const keys[] = {
        "broker = { host = \"localhost\"; username = \"u\"; password_file = \"secret\"; };"
        "sign = { command = \"x\"; };",
        "broker = { host = \"localhost\"; }; operator = { name = \"o\"; key_file = \"secret\"; };"
        "sign = { command = \"x\"; };",
        "broker = { host = \"localhost\"; ca_file = \"no\"; cert_file = \"no\"; key_file = "
        "\"secret\"; }; sign = { command = \"x\"; };",
        "broker = { host = \"localhost\"; };"
        "sign = { ca_cert_file = \"no\"; ca_key_file = \"secret\"; };",
    };
    static const mode_t modes[] = {0640, 0604, 0600};

    (void)unused;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        for (size_t k = 0; k < sizeof(modes) / sizeof(modes[0]); k++) {
            char *faults;

            write_files(keys[i], modes[k]);
            faults = load_with(CAMPAIGN_ALL);
            if ((strstr(faults, "others may use it: chmod 600 ") != NULL) != (modes[k] != 0600))
                fail_msg("%zu %zu: %s", i, k, faults);
            free(faults);
            remove_files();
        }
}

/* Whoever stops a campaign in an emergency may have neither the CA nor the operator's key. */
static void what_a_command_has_no_use_for_need_not_be_there(void **unused)
{
    static const char gone[] =
        "broker = { host = \"b\"; ca_file = \"no-1\"; cert_file = \"no-2\"; key_file = \"no-3\"; };"
        "operator = { name = \"o\"; key_file = \"no-4\"; };"
        "sign = { ca_cert_file = \"no-5\"; ca_key_file = \"no-6\"; };"
        "trust = ( { file = \"no-7\"; } );";
    static const struct {
        unsigned files;
        const char *read;
    } cases[] = {
        {CAMPAIGN_ALONE, ""},
        {CAMPAIGN_BROKER, "1234"},
        {CAMPAIGN_BROKER | CAMPAIGN_ANCHORS, "12347"},
        {CAMPAIGN_ALL, "1234567"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *faults;

        write_files(gone, 0600);
        faults = load_with(cases[i].files);
        for (char n = '1'; n <= '7'; n++) {
            const char name[] = {'n', 'o', '-', n, '\0'};

            if ((strstr(faults, name) != NULL) != (strchr(cases[i].read, n) != NULL))
                fail_msg("%zu %c: %s", i, n, faults);
        }
        free(faults);
        remove_files();
    }
}

/* What was begun goes on as it was planned; how fast, how it is judged and by which way may change.
 */
static void digest_is_of_what_must_not_change(void **unused)
{
    struct campaign *a = good(LEAST);
    struct campaign *same =
        good(LEAST "waves = { soak_s = 5; threshold = 50; };\nlimits = { in_flight = 7; };\n"
                   "windows = [ \"10:00-11:00\" ]; flip = { probation_s = 3; };\n");
    struct campaign *wave = good(LEAST "waves = { pilot = 11; };\n");
    struct campaign *name = good(LEAST "identity = { subject = \"CN={device},O=x\"; };\n");

    (void)unused;
    assert_string_equal(a->digest, same->digest);
    assert_string_not_equal(a->digest, wave->digest);
    assert_string_not_equal(a->digest, name->digest);
    campaign_free(a);
    campaign_free(same);
    campaign_free(wave);
    campaign_free(name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_left_out_has_its_default),
        cmocka_unit_test(everything_can_be_said),
        cmocka_unit_test(finds_every_fault_in_one_run),
        cmocka_unit_test(no_password_goes_over_the_network_in_the_clear),
        cmocka_unit_test(secrets_are_their_owners_alone),
        cmocka_unit_test(what_a_command_has_no_use_for_need_not_be_there),
        cmocka_unit_test(digest_is_of_what_must_not_change),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
