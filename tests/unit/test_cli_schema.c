/* test_cli_schema.c - certflipctl schema: what is printed stands alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <jansson.h>

#include "cli/schema.h"
#include "cli/schema_texts.h"
#include "control/rpc.h"

/* What is written for `name`; returns owned. */
static char *written(const char *name, bool json)
{
    struct err err = {0};
    char *text = NULL;
    size_t n = 0;
    struct show to = {.to = open_memstream(&text, &n)};

    assert_non_null(to.to);
    assert_int_equal(schema(name, json, &to, &err), 0);
    fclose(to.to);
    return text;
}

/* Every reference in it leads to something in it. */
static void refs_resolve(const json_t *root, const json_t *at)
{
    const char *ref = json_string_value(json_object_get(at, "$ref")), *key;
    const json_t *defs = json_object_get(root, "$defs");
    json_t *member;
    size_t i;

    if (ref != NULL && strncmp(ref, "#/$defs/", 8) == 0)
        assert_true(json_object_get(defs, ref + 8) != NULL ||
                    json_object_get(json_object_get(json_object_get(defs, "common"), "$defs"),
                                    ref + 8) != NULL);
    else if (ref != NULL) {
        assert_int_equal(strncmp(ref, "common.json#/$defs/", 19), 0);
        assert_non_null(
            json_object_get(json_object_get(json_object_get(defs, "common"), "$defs"), ref + 19));
    }
    json_object_foreach((json_t *)(uintptr_t)at, key, member)
    {
        refs_resolve(root, member);
    }
    json_array_foreach(at, i, member)
    {
        refs_resolve(root, member);
    }
}

static void each_is_printed_with_all_that_it_refers_to(void **unused)
{
    size_t methods = 0;

    (void)unused;
    for (size_t i = 0; i < schema_text_count; i++) {
        const char *name = schema_texts[i].name;
        json_t *whole;
        char *text;

        assert_true(i == 0 || strcmp(schema_texts[i - 1].name, name) < 0);
        if (strcmp(name, "common") == 0)
            continue;
        text = written(name, false);
        whole = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(whole);
        assert_string_equal(json_string_value(json_object_get(whole, "title")), name);
        refs_resolve(whole, whole);
        json_decref(whole);
        free(text);
        text = written(name, true);
        assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
        free(text);
        methods += rpc_method_find(name) >= 0;
    }
    assert_int_equal(methods, RPC_METHOD_COUNT);
}

static void without_a_name_all_are_listed(void **unused)
{
    char *text = written(NULL, false);
    json_t *rows;

    (void)unused;
    assert_non_null(
        strstr(text, "\nflip               try the new identity, roll back if it fails\n"));
    assert_non_null(strstr(text, "\nmessage.state      retained on <root>/<gateway>/state\n"));
    assert_null(strstr(text, "common"));
    free(text);
    text = written(NULL, true);
    rows = json_loads(text, 0, NULL);
    assert_int_equal(json_array_size(rows), schema_text_count - 1);
    json_decref(rows);
    free(text);
}

static void a_name_that_there_is_not_gets_the_nearest(void **unused)
{
    static const struct {
        const char *name, *said;
    } rows[] = {
        {"flipp", "there is no method \"flipp\": did you mean flip?"},
        {"device", "there is no method \"device\": did you mean device.get?"},
        {"state", "there is no method \"state\": did you mean message.state?"},
        {"common", "there is no method \"common\": did you mean commit?"},
        {"firmware", "there is no method \"firmware\": certflipctl schema lists all names"},
        {"", "there is no method \"\": certflipctl schema lists all names"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct show to = {.to = stdout};
        struct err err = {0};

        assert_int_equal(schema(rows[i].name, false, &to, &err), -ERR_NOT_FOUND);
        assert_string_equal(err.msg, rows[i].said);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_printed_with_all_that_it_refers_to),
        cmocka_unit_test(without_a_name_all_are_listed),
        cmocka_unit_test(a_name_that_there_is_not_gets_the_nearest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
