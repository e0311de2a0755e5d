/* The one table of errors: complete, unambiguous, fit for a line; and found by whatever people
 * type. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "catalogue/catalogue.h"
#include "control/rpc.h"
#include "flip/diagnose.h"

#define EACH_ROW(id, row)                                                        \
    for (int id = 0; (id) < CATALOGUE_SECTIONS; (id)++)                          \
        for (const struct catalogue_row *                                        \
                 row = catalogue_section((enum catalogue_id)(id))->rows,         \
                *end_ = row + catalogue_section((enum catalogue_id)(id))->count; \
             (row) < end_; (row)++)

/* -- what stands there ------------------------------------------------------------------------ */

static bool is_sentence(const char *s)
{
    size_t n = strlen(s);

    return n > 0 && strchr(s, '\n') == NULL && s[n - 1] != '.' && s[n - 1] != ' ' && s[0] != ' ';
}

static void every_row_has_its_words(void **unused)
{
    struct diag d;
    char name[sizeof(d.name) + 1];

    (void)unused;
    EACH_ROW(id, row)
    {
        size_t names = 0;

        if (!is_sentence(row->sentence) || (row->class != DIAG_OK && !is_sentence(row->remedy)) ||
            row->class >= DIAG_CLASSES || strlen(row->remedy) >= 200 ||
            strlen(row->sentence) >= sizeof(d.sentence))
            fail_msg("%s.%s", row->scopes, row->word);
        for (; catalogue_name(row, names, name, sizeof(name)); names++)
            if (strlen(name) >= sizeof(d.name))
                fail_msg("%s is too long", name);
        assert_true(names > 0);
        assert_false(catalogue_name(row, names, name, sizeof(name)));
    }
}

/* Of two rows in a section with one number, or one name, the second would never be found. */
static void numbers_and_names_are_unambiguous_in_a_section(void **unused)
{
    (void)unused;
    EACH_ROW(id, row)
    {
        const struct catalogue_row *same;

        if (row->code != CATALOGUE_NO_CODE)
            assert_ptr_equal(catalogue_by_code((enum catalogue_id)id, row->code), row);
        if (row->also != NULL && id != CATALOGUE_LIBRARY && id != CATALOGUE_FINDING)
            assert_ptr_equal(catalogue_by_also((enum catalogue_id)id, row->also), row);
        same = catalogue_by_word((enum catalogue_id)id, row->word);
        if (same != row) /* several stages or causes of one word */
            assert_true(id == CATALOGUE_WAY || id == CATALOGUE_END || id == CATALOGUE_TRUST);
    }
}

static void every_end_has_its_row(void **unused)
{
    (void)unused;
    for (int end = END_DNS_FAILED; end <= END_NO_SPARE; end++)
        assert_non_null(catalogue_by_code(CATALOGUE_END, end));
    assert_null(catalogue_by_code(CATALOGUE_END, END_NO_SPARE + 1));
    assert_null(catalogue_by_code(CATALOGUE_END, CATALOGUE_NO_CODE));
}

/* A sensor and a broker may send the same alerts; certflip sends some of them. */
static void both_sides_have_the_same_alerts(void **unused)
{
    (void)unused;
    for (int alert = 0; alert < 256; alert++) {
        const struct catalogue_row *broker = catalogue_by_code(CATALOGUE_ALERT, alert);
        const struct catalogue_row *sensor = catalogue_by_code(CATALOGUE_SENSOR_ALERT, alert);
        const struct catalogue_row *sent = catalogue_by_code(CATALOGUE_SENT, alert);

        assert_int_equal(broker != NULL, sensor != NULL);
        if (broker != NULL)
            assert_string_equal(broker->word, sensor->word);
        if (sent != NULL)
            assert_string_equal(broker->word, sent->word);
    }
}

#define ROW(id, code, name) {code, name},
static const struct {
    int code;
    const char *name;
} rpc_errors[] = {RPC_ERRORS(ROW)};
#undef ROW

static void every_refusal_of_a_command_is_there(void **unused)
{
    size_t n = sizeof(rpc_errors) / sizeof(rpc_errors[0]);

    (void)unused;
    for (size_t i = 0; i < n; i++) {
        const struct catalogue_row *row = catalogue_by_code(CATALOGUE_COMMAND, rpc_errors[i].code);

        if (row == NULL)
            fail_msg("%d %s is not in the catalogue", rpc_errors[i].code, rpc_errors[i].name);
        assert_string_equal(row->word, rpc_errors[i].name);
    }
    assert_int_equal(catalogue_section(CATALOGUE_COMMAND)->count, n);
}

/* -- finding ---------------------------------------------------------------------------------- */

struct found {
    char text[4096];
};

static void note(void *arg, enum catalogue_id id, const struct catalogue_row *row)
{
    struct found *f = arg;
    size_t n = strlen(f->text);
    char name[80];

    (void)id;
    assert_true(catalogue_name(row, 0, name, sizeof(name)));
    snprintf(f->text + n, sizeof(f->text) - n, "%s%s", n > 0 ? " " : "", name);
}

static void finds(const char *question, const char *names)
{
    struct found f = {.text = ""};

    (void)catalogue_find(question, note, &f);
    if (strcmp(f.text, names) != 0)
        fail_msg("%s: %s, not %s", question, f.text, names);
}

static void a_question_finds_what_it_may_mean(void **unused)
{
    (void)unused;
    finds("tls.unknown_ca", "tls.unknown_ca");
    finds("TLS.UNKNOWN_CA", "tls.unknown_ca");
    finds("unknown_ca", "tls.unknown_ca sensor.unknown_ca sent.unknown_ca");
    finds("alert 48", "tls.unknown_ca sensor.unknown_ca sent.unknown_ca");
    finds("alert unknown_ca", "tls.unknown_ca sensor.unknown_ca sent.unknown_ca");
    finds("-188", "wolfssl.ASN_NO_SIGNER_E");
    finds("wolfssl -188", "wolfssl.ASN_NO_SIGNER_E");
    finds("ASN_NO_SIGNER_E", "wolfssl.ASN_NO_SIGNER_E");
    finds("X509_V_ERR_CERT_HAS_EXPIRED",
          "trust.expired client.expired wolfssl.ASN_AFTER_DATE_E lint.expired");
    finds("cert_has_expired", "trust.expired client.expired wolfssl.ASN_AFTER_DATE_E lint.expired");
    finds("lint.chain-incomplete", "lint.chain-incomplete");
    finds("x509 10", "trust.expired client.expired");
    finds("connack 5", "connack.not-authorized");
    finds("0x87", "connack.not-authorized");
    finds("reason 135", "connack.not-authorized");
    finds("disconnect.session-taken-over", "connack.session-taken-over");
    finds("quarantined", "rpc.quarantined");
    finds("-32005", "rpc.quarantined");
    finds("rpc -32005", "rpc.quarantined");
    finds("ECONNREFUSED", "tcp.refused");
    finds("tls.reset", "tcp.reset tcp.reset");
    finds("established.closed", "tls.closed");
    finds("tls.closed", "tls.closed tls.closed");
    finds("tcp.errno-93", "tcp.errno-*");
    finds("tls.alert-200", "tls.alert-*");
    finds("connack.0x93", "connack.0x*");
    finds("disconnect.0xff", "connack.0x*");
    finds("unknown-device", "refused.unknown-device");
    finds("111", "tls.certificate_unobtainable tcp.refused sensor.certificate_unobtainable");
}

static void what_is_nothing_finds_nothing(void **unused)
{
    static const char *const questions[] = {"",
                                            " ",
                                            "nonsense",
                                            "alert",
                                            "alert 7",
                                            "connack 6",
                                            "tls.",
                                            ".unknown_ca",
                                            "tls.alert-",
                                            "tls.alert-x",
                                            "reason 0x7f",
                                            "0x",
                                            "--",
                                            "99999999999999999999",
                                            "dns.closed"};

    (void)unused;
    for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++)
        finds(questions[i], "");
}

/* Whatever diagnosis says can be asked for, and the answer has the same class or one of them. */
static void every_name_of_a_diagnosis_can_be_explained(void **unused)
{
    static const int alerts[] = {-1, 0, 40, 42, 48, 80, 200};
    static const int codes[] = {-1, 0, 1, 5, 0x10, 0x80, 0x87, 0x91, 0xff};
    static const int errnums[] = {0, 32, 104, 110, 111, 9999};
    static char names[256][64];
    size_t known = 0;

    (void)unused;
    for (unsigned bits = 0; bits < 6u * 5 * 7 * 9 * 6 * 16 * 3; bits++) {
        unsigned b = bits;
        struct diag_in in = DIAG_IN_INIT;
        struct found f = {.text = ""};
        struct diag d;

        in.stage = (enum diag_stage)(b % 6), b /= 6;
        in.tls_side = (enum diag_tls_side)(b % 5), b /= 5;
        in.tls_alert = alerts[b % 7], b /= 7;
        in.code = codes[b % 9], b /= 9;
        in.errnum = errnums[b % 6], b /= 6;
        in.timed_out = (b & 1) != 0;
        in.eof = (b & 2) != 0;
        in.tls_after_cert = (b & 4) != 0;
        in.tls_after_hello = (b & 8) != 0;
        in.mqtt_version = (uint8_t)(3 + b / 16);
        d = diagnose(&in);
        for (b = 0; b < known && strcmp(names[b], d.name) != 0; b++)
            ;
        if (b < known)
            continue;
        if (catalogue_find(d.name, note, &f) == 0)
            fail_msg("%s is not in the catalogue", d.name);
        assert_true(known < sizeof(names) / sizeof(names[0]));
        memcpy(names[known++], d.name, sizeof(d.name));
    }
    assert_true(known > 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_has_its_words),
        cmocka_unit_test(numbers_and_names_are_unambiguous_in_a_section),
        cmocka_unit_test(every_end_has_its_row),
        cmocka_unit_test(both_sides_have_the_same_alerts),
        cmocka_unit_test(every_refusal_of_a_command_is_there),
        cmocka_unit_test(a_question_finds_what_it_may_mean),
        cmocka_unit_test(what_is_nothing_finds_nothing),
        cmocka_unit_test(every_name_of_a_diagnosis_can_be_explained),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
