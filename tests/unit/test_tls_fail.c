/* The tables of words: complete, and fit for the lines that they end up in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "catalogue/catalogue.h"
#include "tls/fail.h"
#include "tls/wolf.h"

static void every_fault_has_words_and_remedies(void **state)
{
    struct tls_fail f;

    (void)state;
    for (int i = TLS_FAULT_NONE + 1; i < TLS_FAULTS; i++) {
        const struct tls_fault_words *w = tls_fault_words((enum tls_fault)i);

        assert_non_null(w->what);
        assert_true(w->what[0] != '\0');
        for (int server = 0; server < 2; server++) {
            enum catalogue_id table = server != 0 ? CATALOGUE_TRUST : CATALOGUE_CLIENT;
            const struct catalogue_row *row = catalogue_by_word(table, w->word);
            const char *remedy = tls_fault_remedy((enum tls_fault)i, server != 0);

            /* Clients have no name, and staple nothing. */
            if (server == 0 && (i == TLS_FAULT_NAME ||
                                (i >= TLS_FAULT_OCSP_UNKNOWN && i <= TLS_FAULT_OCSP_MISSING))) {
                assert_null(row);
                assert_string_equal(remedy, "");
                continue;
            }
            assert_non_null(row);
            assert_string_equal(remedy, row->remedy);
            assert_true(remedy[0] != '\0' && strlen(remedy) < sizeof(f.remedy));
            if (w->x509 != NULL)
                assert_string_equal(w->x509, row->also);
            else
                assert_null(row->also);
        }
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

/* The numbers of the catalogue are those of the library that is linked. */
static void codes_are_the_librarys(void **state)
{
    /* clang-format off */
#define CODE(name) { #name, name }
    static const struct { const char *name; int code; } rows[] = {
        CODE(MEMORY_E), CODE(ASN_PARSE_E), CODE(ASN_BEFORE_DATE_E), CODE(ASN_AFTER_DATE_E), CODE(ASN_SIG_CONFIRM_E),
        CODE(CRL_CERT_DATE_ERR), CODE(ASN_NO_SIGNER_E), CODE(ASN_CRL_CONFIRM_E), CODE(ASN_CRL_NO_SIGNER_E),
        CODE(BAD_PADDING_E), CODE(ASN_NAME_INVALID_E), CODE(SIG_VERIFY_E), CODE(ASN_PATHLEN_SIZE_E),
        CODE(ASN_PATHLEN_INV_E), CODE(WC_HW_E), CODE(ASN_SELF_SIGNED_E), CODE(MEMORY_ERROR), CODE(VERIFY_MAC_ERROR),
        CODE(PARSE_ERROR), CODE(UNKNOWN_HANDSHAKE_TYPE), CODE(SOCKET_ERROR_E), CODE(UNKNOWN_RECORD_TYPE),
        CODE(DECRYPT_ERROR), CODE(FATAL_ERROR), CODE(DOMAIN_NAME_MISMATCH), CODE(IPADDR_MISMATCH), CODE(VERSION_ERROR),
        CODE(BUFFER_ERROR), CODE(VERIFY_CERT_ERROR), CODE(VERIFY_SIGN_ERROR), CODE(NO_PEER_CERT),
        CODE(OCSP_CERT_REVOKED), CODE(CRL_CERT_REVOKED), CODE(CRL_MISSING), CODE(OCSP_CERT_UNKNOWN),
        CODE(OCSP_LOOKUP_FAIL), CODE(MAX_CHAIN_ERROR), CODE(OUT_OF_ORDER_E), CODE(KEYUSE_SIGNATURE_E),
        CODE(KEYUSE_ENCIPHER_E), CODE(EXTKEYUSE_AUTH_E), CODE(SOCKET_PEER_CLOSED_E), CODE(BAD_CERTIFICATE_STATUS_ERROR),
        CODE(RSA_KEY_SIZE_E), CODE(ECC_KEY_SIZE_E), CODE(UNSUPPORTED_SUITE), CODE(MATCH_SUITE_ERROR),
    };
    /* clang-format on */
    size_t n = sizeof(rows) / sizeof(rows[0]);

    (void)state;
    for (size_t i = 0; i < n; i++) {
        const struct catalogue_row *row = catalogue_by_word(CATALOGUE_LIBRARY, rows[i].name);

        if (row == NULL || row->code != rows[i].code)
            fail_msg("%s is %d", rows[i].name, rows[i].code);
    }
    assert_int_equal(catalogue_section(CATALOGUE_LIBRARY)->count, n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fault_has_words_and_remedies),
        cmocka_unit_test(alerts_have_the_names_of_the_standard),
        cmocka_unit_test(every_alert_has_a_remedy_for_both_sides),
        cmocka_unit_test(codes_are_the_librarys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
