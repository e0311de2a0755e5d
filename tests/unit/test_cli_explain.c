/* explain: what is shown for a code, what is said when there is none, and that the page of errors
 * in the manual has every entry. */
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
#include "catalogue/catalogue.h"
#include "cli/explain.h"

static char *shown(const char *question, bool json)
{
    char *text = NULL;
    size_t n = 0;
    FILE *to = open_memstream(&text, &n);
    struct show show = {.to = to};
    struct err err = {0};

    if (explain(question, json, &show, &err) != 0)
        fail_msg("%s: %s", question, err.msg);
    fclose(to);
    return text;
}

static void says(const char *question, const char *glob)
{
    char *text = shown(question, false);

    if (!str_glob(glob, text))
        fail_msg("%s:\n%s", question, text);
    free(text);
}

static void an_answer_has_meaning_and_remedy(void **unused)
{
    (void)unused;
    says("tls.unknown_ca",
         "tls.unknown_ca\n  where     *\n  known as  TLS alert 48\n  class     identity: *\n"
         "  meaning   the broker does not trust the issuer of the certificate\n"
         "  to do     add the CA*\n");
    says("alert 48", "tls.unknown_ca\n*\n\nsensor.unknown_ca\n*\n\nsent.unknown_ca\n*");
    says("-188", "wolfssl.ASN_NO_SIGNER_E\n*X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY\n*");
    says("0x87",
         "connack.not-authorized, disconnect.not-authorized, *MQTT 5.0 reason code 0x87\n*");
    says("refused.stopping", "*\n  meaning  the daemon is stopping\n");
}

static void what_is_not_known_gets_the_nearest_names(void **unused)
{
    static const struct {
        const char *question, *saying;
    } rows[] = {
        {"tls.unknwon_ca", "*: did you mean tls.unknown_ca*?"},
        {"quarantine", "*: did you mean rpc.quarantined?"},
        {"X509_V_ERR_CERT_HAS_EXPIRD", "*: did you mean X509_V_ERR_CERT_HAS_EXPIRED*?"},
        {"a-thing-of-another-world",
         "nothing is known of \"a-thing-of-another-world\": certflipctl explain lists *"},
        {"77", "nothing is known of \"77\"*"},
        {"alert 77", "nothing is known of \"alert 77\"*"},
    };
    struct show show = {.to = stdout};

    (void)unused;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int json = 0; json < 2; json++) {
            struct err err = {0};

            assert_int_equal(explain(rows[i].question, json != 0, &show, &err), -ERR_NOT_FOUND);
            if (!str_glob(rows[i].saying, err.msg))
                fail_msg("%s: %s", rows[i].question, err.msg);
        }
    }
}

static size_t rows_in_all(void)
{
    size_t n = 0;

    for (int id = 0; id < CATALOGUE_SECTIONS; id++)
        n += catalogue_section((enum catalogue_id)id)->count;
    return n;
}

static void json_has_all_of_it(void **unused)
{
    char *text = shown("x509 10", true);
    json_t *whole = json_loads(text, 0, NULL), *row, *all;

    (void)unused;
    row = json_array_get(json_object_get(whole, "errors"), 0);
    assert_int_equal(json_array_size(json_object_get(whole, "errors")), 2);
    assert_string_equal(json_string_value(json_array_get(json_object_get(row, "names"), 0)),
                        "trust.expired");
    assert_int_equal(json_integer_value(json_object_get(row, "code")), 10);
    assert_string_equal(json_string_value(json_object_get(row, "also")),
                        "X509_V_ERR_CERT_HAS_EXPIRED");
    assert_string_equal(json_string_value(json_object_get(row, "class")), "trust");
    assert_true(json_string_length(json_object_get(row, "sentence")) > 0);
    assert_true(json_string_length(json_object_get(row, "remedy")) > 0);
    json_decref(whole);
    free(text);

    text = shown(NULL, true);
    all = json_loads(text, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(all, "errors")), rows_in_all());
    json_decref(all);
    free(text);
}

static void alone_it_lists_everything(void **unused)
{
    char *text = shown(NULL, false);
    size_t lines = 0;

    (void)unused;
    for (const char *p = text; (p = strchr(p, '\n')) != NULL; p++)
        lines++;
    assert_int_equal(lines, rows_in_all() + 1);
    free(text);
}

/* -- the manual ------------------------------------------------------------------------------- */

static char *page(void)
{
    const char *top = getenv("builddir");
    char *path = str_printf("%s/src/catalogue/certflip-errors.7", top == NULL ? "." : top);
    char *text = calloc(1, 1024 * 1024);
    FILE *f = fopen(path, "r");
    size_t to = 0;

    if (f == NULL)
        fail_msg("%s: cannot be read", path);
    for (int c; (c = fgetc(f)) != EOF && to < 1024 * 1024 - 1;)
        text[to++] = (char)c;
    fclose(f);
    free(path);
    return text;
}

/* As the page has it: "\-" and "\(aq". */
static void as_troff(const char *s, char *out, size_t n)
{
    size_t len = 0;

    for (; *s != '\0' && len + 5 < n; s++) {
        if (*s == '-')
            len += (size_t)snprintf(out + len, n - len, "\\-");
        else if (*s == '\'')
            len += (size_t)snprintf(out + len, n - len, "\\(aq");
        else
            out[len++] = *s;
    }
    out[len] = '\0';
}

static void the_page_has_every_entry(void **unused)
{
    char *text = page();
    const char *at = text;

    (void)unused;
    for (int id = 0; id < CATALOGUE_SECTIONS; id++) {
        const struct catalogue_section *s = catalogue_section((enum catalogue_id)id);
        char want[1024], line[1200];

        as_troff(s->title, want, sizeof(want));
        snprintf(line, sizeof(line), ".SS %s\n", want);
        at = strstr(at, line);
        if (at == NULL)
            fail_msg("the page has no section %s", s->title);
        for (size_t i = 0; i < s->count; i++) {
            char name[80];

            assert_true(catalogue_name(&s->rows[i], 0, name, sizeof(name)));
            as_troff(name, want, sizeof(want));
            snprintf(line, sizeof(line), ".TP\n.B %s", want);
            at = strstr(at, line);
            if (at == NULL)
                fail_msg("the page does not have %s", name);
            as_troff(s->rows[i].remedy, want, sizeof(want));
            at = strstr(at, want);
            if (at == NULL)
                fail_msg("the page does not have the remedy of %s", name);
        }
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_has_meaning_and_remedy),
        cmocka_unit_test(what_is_not_known_gets_the_nearest_names),
        cmocka_unit_test(json_has_all_of_it),
        cmocka_unit_test(alone_it_lists_everything),
        cmocka_unit_test(the_page_has_every_entry),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
