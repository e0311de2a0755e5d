/* test_control_schema.c - the files of conf/schema say what the table of commands says. */
#include <dirent.h>
#include <jansson.h>

#include "control/dispatch.h"
#include "control/rpc.h"
#include "test_control_world.h"

/* A file of conf/schema; returns owned, or NULL where there is none. */
static json_t *schema_of(const char *name)
{
    const char *srcdir = getenv("srcdir");
    json_error_t at;
    char path[4200];
    json_t *schema;

    snprintf(path, sizeof(path), "%s/conf/schema/%s.json", srcdir == NULL ? "." : srcdir, name);
    schema = json_load_file(path, JSON_REJECT_DUPLICATES, &at);
    if (schema == NULL && json_error_code(&at) != json_error_cannot_open_file)
        fail_msg("%s:%d: %s", path, at.line, at.text);
    return schema;
}

static json_t *member(const json_t *object, const char *a, const char *b)
{
    json_t *inner = json_object_get(object, a);

    return b == NULL ? inner : json_object_get(inner, b);
}

static bool holds(const json_t *array, const char *text)
{
    json_t *item;
    size_t i;

    json_array_foreach(array, i, item)
    {
        if (strcmp(json_string_value(item), text) == 0)
            return true;
    }
    return false;
}

static bool is_type(const json_t *schema, const char *type)
{
    const char *said = json_string_value(json_object_get(schema, "type"));

    return said != NULL && strcmp(said, type) == 0;
}

static int64_t number(const json_t *schema, const char *key)
{
    return json_integer_value(json_object_get(schema, key)); /* absent: 0 */
}

/* Of one parameter: is its schema what the row of the table says? */
static bool is_like(const json_t *schema, const char *kind, int64_t least, int64_t most)
{
    if (strcmp(kind, "number") == 0)
        return is_type(schema, "integer") && number(schema, "minimum") == least &&
               number(schema, "maximum") == most;
    if (strcmp(kind, "text") == 0)
        return is_type(schema, "string") && number(schema, "minLength") == least &&
               number(schema, "maxLength") == most;
    if (strcmp(kind, "texts") == 0)
        return is_type(schema, "array") && number(schema, "minItems") == least &&
               number(schema, "maxItems") == most;
    if (strcmp(kind, "bool") == 0)
        return is_type(schema, "boolean");
    if (strcmp(kind, "object") == 0)
        return is_type(schema, "object");
    if (strcmp(kind, "target") == 0)
        return member(schema, "$ref", NULL) != NULL || member(schema, "anyOf", NULL) != NULL;
    /* A name: one of some words, or any text but an empty one. */
    return member(schema, "$ref", NULL) != NULL || member(schema, "enum", NULL) != NULL ||
           (is_type(schema, "string") &&
            (number(schema, "minLength") == 1 || member(schema, "pattern", NULL) != NULL));
}

static void every_method_has_a_schema_that_is_true(void **unused)
{
    (void)unused;
    for (int m = 0; m < RPC_METHOD_COUNT; m++) {
        enum rpc_method method = (enum rpc_method)m;
        const char *name = rpc_method_name(method), *param, *kind;
        json_t *schema = schema_of(name), *params, *properties;
        int64_t least, most;
        bool required;
        size_t n = 0;

        if (schema == NULL)
            fail_msg("%s: has no conf/schema/%s.json", name, name);
        assert_string_equal(json_string_value(member(schema, "title", NULL)), name);
        assert_string_equal(json_string_value(member(schema, "description", NULL)),
                            rpc_method_help(method));
        assert_non_null(member(schema, "properties", "result"));
        params = member(schema, "properties", "params");
        properties = member(params, "properties", NULL);
        assert_true(json_is_false(member(params, "additionalProperties", NULL)));
        for (; (param = dispatch_param(method, n, &required)) != NULL; n++) {
            const json_t *its = json_object_get(properties, param);

            if (its == NULL)
                fail_msg("%s: the schema has no parameter %s", name, param);
            if (holds(member(params, "required", NULL), param) != required)
                fail_msg("%s: %s: required or not?", name, param);
            kind = dispatch_param_kind(method, n, &least, &most);
            if (!is_like(its, kind, least, most))
                fail_msg("%s: %s: is otherwise in its schema", name, param);
        }
        if (json_object_size(properties) != n)
            fail_msg("%s: the schema has a parameter that the method has not", name);
        json_decref(schema);
    }
}

static void every_schema_is_of_something(void **unused)
{
    static const char *const messages[] = {"request", "reply", "state", "device", "event"};
    const char *srcdir = getenv("srcdir");
    char path[4200];
    size_t count = 0;
    DIR *dir;

    (void)unused;
    snprintf(path, sizeof(path), "%s/conf/schema", srcdir == NULL ? "." : srcdir);
    dir = opendir(path);
    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        char name[300];
        bool known = strcmp(e->d_name, "common.json") == 0;
        char *dot = strrchr(e->d_name, '.');

        if (dot == NULL || strcmp(dot, ".json") != 0)
            continue;
        snprintf(name, sizeof(name), "%.*s", (int)(dot - e->d_name), e->d_name);
        known = known || rpc_method_find(name) >= 0;
        for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++)
            known =
                known || (strncmp(name, "message.", 8) == 0 && strcmp(name + 8, messages[i]) == 0);
        if (!known)
            fail_msg("%s: of what?", e->d_name);
        count++;
    }
    closedir(dir);
    assert_int_equal(count, RPC_METHOD_COUNT + 5 + 1);
}

static void the_vocabulary_is_the_same(void **unused)
{
    static const struct {
        int code;
        const char *name;
    } errors[] = {
#define ROW(id, code, name) {code, name},
        RPC_ERRORS(ROW)
#undef ROW
    };
    json_t *common = schema_of("common"), *request = schema_of("message.request");
    json_t *codes = member(member(common, "$defs", "error_code"), "enum", NULL);
    json_t *names = member(member(common, "$defs", "error_name"), "enum", NULL);
    json_t *methods =
        member(member(member(request, "$defs", "one"), "properties", "method"), "enum", NULL);

    (void)unused;
    assert_int_equal(json_array_size(codes), sizeof(errors) / sizeof(errors[0]));
    assert_int_equal(json_array_size(names), json_array_size(codes));
    for (size_t i = 0; i < json_array_size(codes); i++) {
        assert_int_equal(json_integer_value(json_array_get(codes, i)), errors[i].code);
        assert_string_equal(json_string_value(json_array_get(names, i)), errors[i].name);
    }
    assert_int_equal(json_array_size(methods), RPC_METHOD_COUNT);
    for (size_t i = 0; i < RPC_METHOD_COUNT; i++)
        assert_true(holds(methods, rpc_method_name((enum rpc_method)i)));
    json_decref(common);
    json_decref(request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_has_a_schema_that_is_true),
        cmocka_unit_test(every_schema_is_of_something),
        cmocka_unit_test(the_vocabulary_is_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
