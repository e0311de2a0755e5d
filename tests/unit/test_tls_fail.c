/* The tables of words: complete, and fit for the lines that they end up in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tls/fail.h"

static void every_fault_has_words_and_remedies(void **state)
{
    struct tls_fail f;

    (void)state;
    for (int i = TLS_FAULT_NONE + 1; i < TLS_FAULTS; i++) {
        const struct tls_fault_words *w = tls_fault_words((enum tls_fault)i);

        assert_non_null(w->what);
        assert_true(w->what[0] != '\0');
        assert_true(w->server_remedy[0] != '\0');
        assert_true(w->client_remedy[0] != '\0' || i == TLS_FAULT_NAME); /* clients have no name */
        assert_true(strlen(w->client_remedy) < sizeof(f.remedy));
        assert_true(strlen(w->server_remedy) < sizeof(f.remedy));
        if (w->x509 != NULL)
            assert_memory_equal(w->x509, "X509_V_ERR_", 11);
    }
    assert_ptr_equal(tls_fault_words(TLS_FAULTS), tls_fault_words(TLS_FAULT_NONE));
}

static void alerts_have_the_names_of_the_standard(void **state)
{
    (void)state;
    assert_string_equal(tls_alert_name(-1), "none");
    assert_string_equal(tls_alert_name(0), "close_notify");
    assert_string_equal(tls_alert_name(40), "handshake_failure");
    assert_string_equal(tls_alert_name(42), "bad_certificate");
    assert_string_equal(tls_alert_name(48), "unknown_ca");
    assert_string_equal(tls_alert_name(116), "certificate_required");
    assert_string_equal(tls_alert_name(120), "no_application_protocol");
    assert_string_equal(tls_alert_name(77), "unknown");
}

static void every_alert_has_a_remedy_for_both_sides(void **state)
{
    struct tls_fail f;

    (void)state;
    for (int alert = -1; alert < 256; alert++) {
        for (int server = 0; server < 2; server++) {
            const char *remedy = tls_alert_remedy(alert, server != 0);

            assert_true(remedy[0] != '\0');
            assert_true(strlen(remedy) < sizeof(f.remedy));
        }
    }
    assert_non_null(strstr(tls_alert_remedy(48, true), "trusts for clients"));
    assert_non_null(strstr(tls_alert_remedy(48, false), "listener's chain"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fault_has_words_and_remedies),
        cmocka_unit_test(alerts_have_the_names_of_the_standard),
        cmocka_unit_test(every_alert_has_a_remedy_for_both_sides),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
