/* The table of keys: whole, without contradictions, and each bound holds. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/str.h"
#include "conf/schema.h"
#include "conf/template.h"
#include "test_conf.h"

/* Text that says nothing but `value` for `row`, with the groups and lists around it. */
static char *only(const struct conf_row *row, const char *value)
{
    struct buf b = {0};
    struct buf tail = {0};
    char part[64];
    char so_far[128] = "";
    const char *at = row->key;
    const char *dot;

    while ((dot = strchr(at, '.')) != NULL) {
        snprintf(part, sizeof(part), "%.*s", (int)(dot - at), at);
        if (so_far[0] != '\0')
            strcat(so_far, ".");
        strcat(so_far, part);
        if (conf_row_find(so_far)->kind == CONF_LIST) {
            buf_printf(&b, "%s = ( { ", part);
            buf_printf(&tail, "} )");
        } else {
            buf_printf(&b, "%s = { ", part);
            buf_printf(&tail, "}  ");
        }
        at = dot + 1;
    }
    buf_printf(&b, "%s = %s ", at, value);
    while (tail.len >= 3) { /* the innermost ends first */
        tail.len -= 3;
        buf_append(&b, tail.p + tail.len, 3);
    }
    buf_fini(&tail);
    buf_append_u8(&b, '\0');
    return (char *)b.p;
}

/* Does `row` complain about `value`, with `problem`? */
static bool complains(const struct conf_row *row, const char *value, const char *problem)
{
    char *text = only(row, value);
    struct loaded l = load_text(text);
    char *key = str_printf("%s: ", conf_row_name(row));
    bool found = false;

    for (char *line = strtok(l.faults, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        assert_null(strstr(line, "unknown key"));
        assert_null(strstr(line, "wrong shape"));
        if (strstr(line, key) != NULL && strstr(line, problem) != NULL)
            found = true;
    }
    free(key);
    free(text);
    unload(&l);
    return found;
}

static void rows_are_whole(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < conf_row_count; i++) {
        const struct conf_row *row = &conf_rows[i];
        char above[128];
        char *dot;

        assert_ptr_equal(conf_row_find(row->key), row); /* so no key stands twice */
        assert_true(strlen(row->help) > 0);
        assert_non_null(row->unit);
        assert_true(row->least <= row->most);
        assert_int_equal(row->kind == CONF_ENUM || row->kind == CONF_WORDS, row->words != NULL);
        assert_int_equal(row->kind == CONF_LIST, row->size != 0);
        snprintf(above, sizeof(above), "%s", row->key);
        dot = strrchr(above, '.');
        if (dot == NULL) {
            assert_ptr_equal(conf_row_member(NULL, row->key), row);
            continue;
        }
        *dot = '\0';
        assert_non_null(conf_row_find(above));
        assert_true(conf_row_find(above) < row);
        assert_true(conf_row_find(above)->kind == CONF_GROUP ||
                    conf_row_find(above)->kind == CONF_LIST);
        assert_ptr_equal(conf_row_member(conf_row_find(above), dot + 1), row);
    }
}

static bool has_unit(const struct conf_row *row, const char *suffix)
{
    size_t n = strlen(row->key);
    size_t m = strlen(suffix);

    return n > m && strcmp(row->key + n - m, suffix) == 0;
}

/* A key says its unit, and so does its row. */
static void units_are_in_the_names(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < conf_row_count; i++) {
        const struct conf_row *row = &conf_rows[i];

        assert_int_equal(row->kind == CONF_MILLIS, has_unit(row, "_ms"));
        assert_int_equal(row->kind == CONF_SECONDS || row->kind == CONF_BACKOFF,
                         has_unit(row, "_s"));
        assert_int_equal(row->kind == CONF_BYTES, has_unit(row, "_bytes"));
        if (row->kind == CONF_MILLIS)
            assert_string_equal(row->unit, "ms");
        if (row->kind == CONF_SECONDS)
            assert_string_equal(row->unit, "s");
    }
}

static void every_bound_of_a_number_holds(void **unused)
{
    unsigned tried = 0;

    (void)unused;
    for (size_t i = 0; i < conf_row_count; i++) {
        const struct conf_row *row = &conf_rows[i];
        char value[32];

        if (row->kind < CONF_UINT || row->kind > CONF_BYTES)
            continue;
        for (int k = 0; k < 4; k++) {
            int64_t n = k < 2 ? row->least - k : row->most + (k - 2);

            snprintf(value, sizeof(value), "%" PRId64, n);
            if (complains(row, value, "is out of range") != (k % 2 == 1))
                fail_msg("%s = %s", row->key, value);
        }
        assert_true(complains(row, "1.5", "is not a number"));
        assert_true(complains(row, "true", "is not a number"));
        tried++;
    }
    assert_true(tried > 25);
}

static void every_bound_of_a_text_holds(void **unused)
{
    unsigned tried = 0;

    (void)unused;
    for (size_t i = 0; i < conf_row_count; i++) {
        const struct conf_row *row = &conf_rows[i];
        int64_t most = row->kind == CONF_TEMPLATE ? 1000 : row->most;
        char *text;

        if (row->kind < CONF_STRING || row->kind > CONF_TOPIC || row->kind == CONF_FINGERPRINT)
            continue;
        text = calloc(1, (size_t)most + 8);
        text[0] = '"';
        text[1] = '/';
        memset(text + 1, row->kind == CONF_PATH ? '/' : 'x', (size_t)most);
        text[most + 1] = '"';
        if (complains(row, text, "is too long"))
            fail_msg("%s: %" PRId64 " bytes", row->key, most);
        memcpy(text + most + 1, row->kind == CONF_PATH ? "/\"" : "x\"", 3);
        if (!complains(row, text, "is too long"))
            fail_msg("%s: %" PRId64 " bytes", row->key, most + 1);
        assert_int_equal(complains(row, "\"\"", "is empty"), row->least > 0);
        assert_true(complains(row, "5", " is not a string"));
        assert_true(complains(row, "\"a\\xff\"", "is not valid UTF-8"));
        free(text);
        tried++;
    }
    assert_true(tried > 30);
}

static void every_word_is_known_and_no_other(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < conf_row_count; i++) {
        const struct conf_row *row = &conf_rows[i];

        if (row->kind != CONF_ENUM)
            continue;
        for (const struct conf_word *w = row->words; w->word != NULL; w++) {
            char *quoted = str_printf("\"%s\"", w->word);

            assert_false(complains(row, quoted, "is not known"));
            free(quoted);
        }
        assert_true(complains(row, "\"\"", "is not known"));
        assert_true(complains(row, "true", "is not a word"));
    }
}

static void counts_of_arrays_are_bounded(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < conf_row_count; i++) {
        const struct conf_row *row = &conf_rows[i];
        int64_t most = row->kind == CONF_BACKOFF ? 8 : row->most;
        struct buf b = {0};

        if (row->kind < CONF_STRINGS)
            continue;
        buf_printf(&b, "[ ");
        for (int64_t k = 0; k <= most; k++) {
            buf_printf(&b, "%s%s", k == 0 ? "" : ", ",
                       row->kind == CONF_BACKOFF    ? "5"
                       : row->kind == CONF_NETWORKS ? "\"::/0\""
                       : row->kind == CONF_WORDS    ? "\"sha1\""
                                                    : "\"x\"");
            if (k < most - 1)
                continue;
            buf_printf(&b, " ]");
            buf_append_u8(&b, '\0');
            assert_int_equal(complains(row, (const char *)b.p, "values: "), k == most);
            b.len -= 3;
        }
        buf_fini(&b);
        assert_int_equal(complains(row, "[ ]", "has 0 values"),
                         row->kind == CONF_BACKOFF || row->least > 0);
        assert_true(complains(row, "[ true ]", "is not"));
    }
}

static void a_date_is_a_day_that_there_is(void **unused)
{
    const struct conf_row *row = conf_row_find("exceptions.until");

    (void)unused;
    assert_false(complains(row, "\"2028-02-29\"", "is not a date"));
    assert_true(complains(row, "\"2027-02-29\"", "is not a date"));
    assert_true(complains(row, "\"2027-06-31\"", "is not a date"));
    assert_true(complains(row, "\"2027-6-3\"", "is not a date"));
    assert_true(complains(row, "\"30.06.2027\"", "is not a date"));
    assert_true(complains(row, "\"\"", "is not a date"));
    assert_true(complains(row, "20270630", "is not a date in quotes"));
}

static void words_are_known_and_no_other(void **unused)
{
    const struct conf_row *row = conf_row_find("exceptions.accept");

    (void)unused;
    for (const struct conf_word *w = row->words; w->word != NULL; w++) {
        char *quoted = str_printf("[ \"%s\" ]", w->word);

        assert_false(complains(row, quoted, "is not known"));
        free(quoted);
    }
    assert_true(complains(row, "[ \"sha1\", \"sha-1\" ]", "is not known"));
    assert_true(complains(row, "[ \"expird\" ]", "did you mean \"expired\"?"));
}

/* Defaults must obey their own rows. */
static void defaults_are_allowed(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < conf_row_count; i++) {
        const struct conf_row *row = &conf_rows[i];
        bool quoted;
        char *value;

        if (row->def == NULL || row->def == conf_required)
            continue;
        quoted = row->kind < CONF_BOOL || row->kind == CONF_ENUM ||
                 (row->kind == CONF_BYTES && strpbrk(row->def, "BKM") != NULL);
        value = str_printf(quoted ? "\"%s\"" : "%s", row->def);
        for (const char *const *p = (const char *const[]){" is ", " has ", NULL}; *p != NULL; p++) {
            if (complains(row, value, *p) && !complains(row, value, "no meaning"))
                fail_msg("%s = %s", row->key, value);
        }
        free(value);
    }
}

static void slips_get_the_nearest_key(void **unused)
{
    (void)unused;
    assert_string_equal(conf_row_nearest(NULL, "listner")->key, "listeners");
    assert_string_equal(conf_row_nearest(conf_row_find("limits"), "inflght")->key,
                        "limits.inflight");
    assert_string_equal(conf_row_nearest(conf_row_find("devices.match"), "client-id")->key,
                        "devices.match.client_id");
    assert_null(conf_row_nearest(NULL, "zzz"));
    assert_null(conf_row_nearest(conf_row_find("log"), "name"));
}

static void dump_has_a_line_for_each_row(void **unused)
{
    struct buf b = {0};
    size_t lines = 0;

    (void)unused;
    conf_schema_dump(&b);
    buf_append_u8(&b, '\0');
    for (size_t i = 0; i < b.len; i++)
        lines += b.p[i] == '\n';
    assert_int_equal(lines, conf_row_count);
    assert_non_null(strstr((char *)b.p, "limits.handshake_timeout_ms\tduration\t20000\t100\t600000"
                                        "\tms\tnext\tfor a device's TLS handshake\n"));
    assert_non_null(strstr((char *)b.p, "upstreams.address\tstring\trequired\t"));
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_whole),
        cmocka_unit_test(units_are_in_the_names),
        cmocka_unit_test(every_bound_of_a_number_holds),
        cmocka_unit_test(every_bound_of_a_text_holds),
        cmocka_unit_test(every_word_is_known_and_no_other),
        cmocka_unit_test(counts_of_arrays_are_bounded),
        cmocka_unit_test(a_date_is_a_day_that_there_is),
        cmocka_unit_test(words_are_known_and_no_other),
        cmocka_unit_test(defaults_are_allowed),
        cmocka_unit_test(slips_get_the_nearest_key),
        cmocka_unit_test(dump_has_a_line_for_each_row),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
