/* test_control_dispatch.c - commands as text: the table, JSON-RPC, targets, once for each id. */
#include "store/store.h"
#include "test_control_world.h"

#include <jansson.h>

#include "base/clock.h"
#include "base/log_ring.h"
#include "control/jsonrpc.h"
#include "control/show.h"

static const struct caller operator= {.who = "tester", .operate = true, .local = true};
static const struct caller observer = {.who = "guest", .operate = false, .remember = NULL};
static const struct caller central = {.who = "central", .operate = true, .remember = "central"};

/* Takes the reply of a method that answers at once. */
static void take(void *arg, char *text)
{
    char **reply = arg;

    assert_null(*reply);
    *reply = text;
}

static char *reply_to(struct world *w, const struct caller *caller, const char *text, size_t n)
{
    char *reply = NULL;

    dispatch_text(&w->dispatch, caller, text, n, take, &reply);
    return reply;
}

/* Send text as it is; returns the parsed reply (owned), or NULL when there was none. */
static json_t *say(struct world *w, const struct caller *caller, const char *text)
{
    char *reply = reply_to(w, caller, text, strlen(text));
    json_t *value;

    if (reply == NULL)
        return NULL;
    assert_null(strchr(reply, '\n'));
    value = json_loads(reply, 0, NULL);
    assert_non_null(value);
    free(reply);
    return value;
}

/* A request with these parameters (JSON, without braces); returns the reply (owned). */
static json_t *ask(struct world *w, const struct caller *caller, const char *id, const char *method,
                   const char *params)
{
    char text[1024];
    json_t *reply;

    snprintf(text, sizeof(text),
             "{\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":\"%s\",\"params\":{%s}}", id, method,
             params);
    reply = say(w, caller, text);
    assert_non_null(reply);
    assert_string_equal(json_string_value(json_object_get(reply, "jsonrpc")), "2.0");
    return reply;
}

static const char *error_name(const json_t *reply)
{
    const char *name = json_string_value(
        json_object_get(json_object_get(json_object_get(reply, "error"), "data"), "name"));

    return name == NULL ? "none" : name;
}

static json_int_t error_code(const json_t *reply)
{
    return json_integer_value(json_object_get(json_object_get(reply, "error"), "code"));
}

static void refused(struct world *w, const struct caller *caller, const char *method,
                    const char *params, const char *name)
{
    json_t *reply = ask(w, caller, "1", method, params);

    assert_string_equal(error_name(reply), name);
    assert_null(json_object_get(reply, "result"));
    json_decref(reply);
}

static json_t *result(struct world *w, const char *method, const char *params)
{
    json_t *reply = ask(w, &operator, "1", method, params);
    json_t *value = json_incref(json_object_get(reply, "result"));

    assert_non_null(value);
    json_decref(reply);
    return value;
}

static json_int_t number(const json_t *value, const char *key)
{
    assert_true(json_is_integer(json_object_get(value, key)));
    return json_integer_value(json_object_get(value, key));
}

/* -- the table -- */

/* Is `word` in the list "target [limit] ..." as one that is, or is not, optional? */
static bool help_has(const char *params, const char *word, bool required)
{
    char all[256], *save = NULL;
    bool optional = false;

    snprintf(all, sizeof(all), "%s", params);
    for (char *p = strtok_r(all, " ", &save); p != NULL; p = strtok_r(NULL, " ", &save)) {
        size_t n;

        if (*p == '[') {
            optional = true;
            p++;
        }
        n = strcspn(p, "]");
        if (n == strlen(word) && strncmp(p, word, n) == 0)
            return optional != required;
        if (p[n] == ']')
            optional = false;
    }
    return false;
}

static void every_method_has_help_and_its_parameters_in_it(void **unused)
{
    (void)unused;
    for (int m = 0; m < RPC_METHOD_COUNT; m++) {
        enum rpc_method method = (enum rpc_method)m;
        const char *name = rpc_method_name(method), *param;
        size_t n = 0, words = 0;
        bool required;

        assert_non_null(name);
        assert_int_equal(rpc_method_find(name), m);
        assert_true(strlen(rpc_method_help(method)) > 5);
        while ((param = dispatch_param(method, n, &required)) != NULL) {
            if (!help_has(rpc_method_params(method), param, required))
                fail_msg("%s: %s is not in \"%s\"", name, param, rpc_method_params(method));
            n++;
        }
        for (const char *p = rpc_method_params(method); *p != '\0'; p++)
            words += (*p != ' ' && *p != '[' && *p != ']') &&
                     (p == rpc_method_params(method) || p[-1] == ' ' || p[-1] == '[');
        assert_int_equal(words, n);
    }
    assert_int_equal(rpc_method_find("flip "), -1);
}

static void every_error_has_a_name_of_its_own(void **unused)
{
#define ROW(id, code, name) {code, name},
    static const struct {
        int code;
        const char *name;
    } rows[] = {RPC_ERRORS(ROW)};
#undef ROW

    (void)unused;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_string_equal(rpc_error_name(rows[i].code), rows[i].name);
        for (size_t k = 0; k < i; k++) {
            assert_int_not_equal(rows[i].code, rows[k].code);
            assert_string_not_equal(rows[i].name, rows[k].name);
        }
    }
    assert_string_equal(rpc_error_name(1), "unknown");
}

/* -- JSON-RPC -- */

/* A certificate may begin with the epoch; what never was has no time. */
static void a_date_of_1970_is_one(void **unused)
{
    json_t *date = rpc_date(0), *never = rpc_time(0);

    (void)unused;
    assert_string_equal(json_string_value(date), "1970-01-01T00:00:00Z");
    assert_true(json_is_null(never));
    json_decref(date);
    json_decref(never);
}

static void what_is_no_request_gets_the_error_of_the_standard(void **state)
{
    static const struct {
        const char *text;
        int code;
        const char *id; /* of the reply */
    } rows[] = {
        {"", -32700, "null"},
        {"{", -32700, "null"},
        {"nonsense", -32700, "null"},
        {"\xff", -32700, "null"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"help\"}", -32700, "null"},
        {"[]", -32600, "null"},
        {"1", -32600, "null"},
        {"\"help\"", -32600, "null"},
        {"null", -32600, "null"},
        {"{}", -32600, "null"},
        {"{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"help\"}", -32600, "1"},
        {"{\"jsonrpc\":\"2.0\",\"id\":\"a\"}", -32600, "\"a\""},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":7}", -32600, "1"},
        {"{\"jsonrpc\":\"2.0\",\"id\":[],\"method\":\"help\"}", -32600, "null"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"help\",\"more\":1}", -32600, "1"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"help\",\"params\":[1]}", -32602, "1"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"help\",\"params\":null}", -32602, "1"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"nothing\"}", -32601, "1"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"help\",\"params\":{\"a\":1}}", -32602, "1"},
    };
    struct world *w = *state;

    world_start(w);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        json_t *reply = say(w, &operator, rows[i].text);
        char *id = json_dumps(json_object_get(reply, "id"), JSON_ENCODE_ANY);

        if (error_code(reply) != rows[i].code)
            fail_msg("%s: %d", rows[i].text, (int)error_code(reply));
        assert_string_equal(id, rows[i].id);
        assert_true(strlen(json_string_value(
                        json_object_get(json_object_get(reply, "error"), "message"))) > 0);
        free(id);
        json_decref(reply);
    }
}

static void a_batch_is_answered_in_order_and_notifications_are_not(void **state)
{
    struct world *w = *state;
    json_t *reply;

    world_start(w);
    reply = say(w, &operator,
                "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"help\"},"
                "{\"jsonrpc\":\"2.0\",\"method\":\"help\"},7,"
                "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"status\",\"params\":[]}]");
    assert_int_equal(json_array_size(reply), 3);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(reply, 0), "id")), 1);
    assert_int_equal(error_code(json_array_get(reply, 1)), -32600);
    assert_non_null(json_object_get(json_array_get(reply, 2), "result"));
    json_decref(reply);
    assert_null(say(w, &operator, "{\"jsonrpc\":\"2.0\",\"method\":\"help\"}"));
    assert_null(say(w, &operator, "[{\"jsonrpc\":\"2.0\",\"method\":\"help\"}]"));
    assert_null(say(w, &operator, "{\"jsonrpc\":\"2.0\",\"method\":\"help\",\"params\":[1]}"));
}

static void a_batch_ends_where_its_replies_are_too_big(void **state)
{
    struct world *w = *state;
    struct buf text = {0};
    size_t served = 0, refused_count = 0, i;
    json_t *reply, *row;
    char fault[701];

    memset(fault, 'x', 700);
    fault[700] = '\0';
    for (i = 0; i < WORLD_DEVICES; i++) {
        char name[16];

        snprintf(name, sizeof(name), "d%zu", i);
        world_device(w, name, 1, 2)->fault[FLIP_NEW] = fault;
        w->device[i].fault[FLIP_OLD] = fault;
    }
    world_start(w);
    for (i = 0; i < RPC_BATCH_MAX; i++)
        buf_printf(&text, "%s{\"jsonrpc\":\"2.0\",\"id\":%zu,\"method\":\"device.list\"}",
                   i == 0 ? "[" : ",", i);
    buf_append(&text, "]", 2);
    reply = say(w, &operator,(const char *) text.p);
    assert_int_equal(json_array_size(reply), RPC_BATCH_MAX);
    json_array_foreach(reply, i, row)
    {
        assert_int_equal(json_integer_value(json_object_get(row, "id")), (json_int_t)i);
        if (json_object_get(row, "result") != NULL)
            served++;
        else if (strcmp(error_name(row), "too-big") == 0)
            refused_count++;
    }
    assert_int_equal(served + refused_count, RPC_BATCH_MAX);
    assert_true(served > 10 && refused_count > 10);
    json_decref(reply);
    buf_fini(&text);
}

static void what_is_too_big_is_not_even_read(void **state)
{
    struct world *w = *state;
    char *text = calloc(1, RPC_LINE_MAX + 2), *reply;

    world_start(w);
    memset(text, '[', RPC_LINE_MAX + 1);
    reply = reply_to(w, &operator, text, RPC_LINE_MAX + 1);
    assert_non_null(strstr(reply, "too-big"));
    free(reply);
    reply = reply_to(w, &operator, text, RPC_LINE_MAX); /* deep, but no matter */
    assert_non_null(strstr(reply, "\"parse\""));
    free(reply);
    free(text);
}

/* -- who may -- */

static void an_observer_may_look_and_nothing_else(void **state)
{
    struct world *w = *state;

    world_device(w, "press", 1, 2);
    world_start(w);
    for (int m = 0; m < RPC_METHOD_COUNT; m++) {
        bool look = rpc_method_access((enum rpc_method)m) == RPC_OBSERVE;
        json_t *reply = ask(w, &observer, "1", rpc_method_name((enum rpc_method)m), "");

        assert_int_equal(strcmp(error_name(reply), "denied") != 0, look);
        json_decref(reply);
    }
    refused(w, &observer, "flip", "\"target\":\"press\"", "denied");
    world_phase(w, "press", FLIP_STAGED);
}

/* What a worker tells is saved once in each turn of the loop; a command may come in between. */
static void command_meets_no_news_that_is_not_saved(void **state)
{
    struct world *w = *state;
    struct msg *m;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 0, "press");
    json_decref(result(w, "flip", "\"target\":\"press\""));
    world_phase(w, "press", FLIP_TRIAL);
    hub_message(w->hub, world_news_of_leg(w, "press", s, MSG_LEG_ACCEPTED, FLIP_NEW));
    refused(w, &operator, "identity.discard", "\"target\":\"press\"", "phase");

    /* What cannot be saved is said. */
    w->fail_saves = 100;
    m = world_news_of_leg(w, "press", s, MSG_LEG_LOST, FLIP_NEW);
    m->u.leg.diag.class = DIAG_IDENTITY;
    hub_message(w->hub, m);
    refused(w, &operator, "identity.discard", "\"target\":\"press\"", "store");
    w->fail_saves = 0;
}

/* -- parameters and targets -- */

static void parameters_are_checked_by_the_table(void **state)
{
    static const char *const rows[][2] = {
        {"flip", ""},
        {"flip", "\"target\":\"\""},
        {"flip", "\"target\":[]"},
        {"flip", "\"target\":[1]"},
        {"flip", "\"target\":{}"},
        {"flip", "\"target\":\"press\",\"probation_s\":0"},
        {"flip", "\"target\":\"press\",\"probation_s\":\"60\""},
        {"flip", "\"target\":\"press\",\"probation_s\":1e9"},
        {"flip", "\"target\":\"press\",\"probation_s\":100000000000"},
        {"flip", "\"target\":\"press\",\"confirm\":\"maybe\""},
        {"flip", "\"target\":\"press\",\"unknown\":1"},
        {"rollback", "\"target\":\"press\",\"reason\":\"\""},
        {"device.get", ""},
        {"device.list", "\"limit\":0"},
        {"device.list", "\"limit\":1001"},
        {"log.level", "\"subsystem\":\"flip\""},
        {"log.level", "\"subsystem\":\"flip\",\"level\":\"loud\""},
        {"log.level", "\"subsystem\":\"no\",\"level\":\"info\""},
        {"log.recent", "\"limit\":0"},
        {"log.recent", "\"level\":\"loud\""},
        {"log.recent", "\"after\":-1"},
        {"log.recent", "\"grep\":\"\""},
        {"confirm", "\"target\":\"press\",\"fingerprints\":{\"press\":1}"},
    };
    struct world *w = *state;

    world_device(w, "press", 1, 2);
    world_start(w);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        refused(w, &operator, rows[i][0], rows[i][1], "invalid-params");
    world_phase(w, "press", FLIP_STAGED);
}

static void every_word_of_a_target_must_match_something(void **state)
{
    struct world *w = *state;
    json_t *r;

    world_device(w, "press-1", 1, 2);
    world_device(w, "press-2", 1, 2);
    world_device(w, "saw-1", 1, 2);
    world_start(w);
    refused(w, &operator, "flip", "\"target\":\"press\"", "no-such-device");
    refused(w, &operator, "flip", "\"target\":\"x*\"", "no-such-device");
    refused(w, &operator, "flip", "\"target\":[\"press-1\",\"no\"]", "no-such-device");
    world_phase(w, "press-1", FLIP_STAGED);
    r = result(w, "flip", "\"target\":[\"press-?\",\"press-1\"]"); /* each once */
    assert_int_equal(number(r, "done"), 2);
    assert_int_equal(number(r, "refused"), 0);
    json_decref(r);
    world_phase(w, "press-2", FLIP_TRIAL);
    world_phase(w, "saw-1", FLIP_STAGED);
}

static void some_refused_is_a_result_all_refused_is_an_error(void **state)
{
    struct world *w = *state;
    json_t *r, *row, *data;

    world_device(w, "bad-1", 1, 2)->fault[FLIP_NEW] = "/identities/bad-1/new/key.pem: no key in it";
    world_device(w, "bad-2", 1, 0);
    world_device(w, "good", 1, 2);
    world_start(w);
    r = result(w, "flip", "\"target\":\"*\"");
    assert_int_equal(number(r, "done"), 1);
    assert_int_equal(number(r, "refused"), 2);
    row = json_array_get(json_object_get(r, "devices"), 0); /* the refused come first */
    assert_string_equal(json_string_value(json_object_get(row, "device")), "bad-1");
    assert_false(json_boolean_value(json_object_get(row, "ok")));
    assert_non_null(
        strstr(json_string_value(json_object_get(json_object_get(row, "error"), "message")),
               "bad-1/new/key.pem: no key in it"));
    row = json_array_get(json_object_get(r, "devices"), 2);
    assert_string_equal(json_string_value(json_object_get(row, "phase")), "trial");
    json_decref(r);

    r = ask(w, &operator, "1", "flip", "\"target\":\"bad-*\"");
    assert_string_equal(error_name(r), "no-identity");
    data = json_object_get(json_object_get(r, "error"), "data");
    assert_int_equal(json_array_size(json_object_get(data, "results")), 2);
    json_decref(r);
}

static void a_rollback_of_all_is_for_those_that_were_flipped(void **state)
{
    struct world *w = *state;
    json_t *r;

    world_device(w, "flipped", 1, 2);
    world_device(w, "staged", 1, 2);
    world_device(w, "steady", 1, 0);
    world_start(w);
    world_command(w, "flipped", EV_FLIP);
    r = result(w, "rollback", "\"target\":\"*\"");
    assert_int_equal(number(r, "done"), 3);
    assert_int_equal(number(r, "refused"), 0);
    json_decref(r);
    world_phase(w, "flipped", FLIP_ROLLED_BACK);
    world_phase(w, "staged", FLIP_STAGED);
    refused(w, &operator, "rollback", "\"target\":\"steady\"",
            "phase"); /* by name it is an error */
    r = result(w, "rollback", "\"target\":[\"*\",\"steady\"]");
    assert_int_equal(number(r, "refused"), 1);
    json_decref(r);
}

static void what_is_done_though_it_is_not_audited_is_said_to_be_done(void **state)
{
    struct world *w = *state;
    json_t *r;

    world_start(w);
    w->fail_saves = 1;
    r = ask(w, &operator, "1", "log.level", "\"subsystem\":\"flip\",\"level\":\"warn\"");
    assert_string_equal(error_name(r), "store");
    assert_non_null(strstr(
        json_string_value(json_object_get(json_object_get(r, "error"), "message")), "it was done"));
    json_decref(r);
    assert_int_equal(log_get_level(LOG_FLIP), LOG_WARN_);
}

/* Whoever watches is told everything once, and then what has changed. */
static void changes_are_told(void **state)
{
    struct world *w = *state;
    char params[120];
    json_t *r, *rows;

    world_device(w, "press-1", 1, 2);
    world_device(w, "press-2", 1, 2);
    world_device(w, "saw-1", 1, 2);
    world_start(w);
    r = result(w, "device.changes", "\"limit\":2");
    assert_true(json_is_true(json_object_get(r, "anew")));
    assert_true(json_is_true(json_object_get(r, "more")));
    assert_int_equal(json_array_size(json_object_get(r, "devices")), 2);
    snprintf(params, sizeof(params), "\"epoch\":%lld,\"after\":%lld", (long long)number(r, "epoch"),
             (long long)number(r, "after"));
    json_decref(r);
    r = result(w, "device.changes", params);
    assert_false(json_is_true(json_object_get(r, "anew")));
    assert_false(json_is_true(json_object_get(r, "more")));
    assert_int_equal(json_array_size(json_object_get(r, "devices")), 1);
    assert_int_equal(number(r, "total"), 3);
    snprintf(params, sizeof(params), "\"epoch\":%lld,\"after\":%lld", (long long)number(r, "epoch"),
             (long long)number(r, "after"));
    json_decref(r);
    w->now_ms += 5000; /* that time passes changes nobody */
    w->wall_s += 5;
    r = result(w, "device.changes", params);
    assert_int_equal(json_array_size(json_object_get(r, "devices")), 0);
    json_decref(r);

    json_decref(result(w, "flip", "\"target\":\"press-2\",\"force\":true"));
    r = result(w, "device.changes", params);
    rows = json_object_get(r, "devices");
    assert_int_equal(json_array_size(rows), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(rows, 0), "device")),
                        "press-2");
    assert_string_equal(json_string_value(json_object_get(json_array_get(rows, 0), "phase")),
                        "trial");
    snprintf(params, sizeof(params), "\"epoch\":%lld,\"after\":%lld",
             (long long)number(r, "epoch") + 1, (long long)number(r, "after"));
    json_decref(r);
    r = result(w, "device.changes", params); /* of another life */
    assert_true(json_is_true(json_object_get(r, "anew")));
    assert_int_equal(json_array_size(json_object_get(r, "devices")), 3);
    json_decref(r);
}

static const char *field(json_t *lines, size_t i, const char *name)
{
    return json_string_value(
        json_object_get(json_object_get(json_array_get(lines, i), "fields"), name));
}

/* What was logged is there to be read: the newest, what follows, and what is asked for. */
static void recent_lines_are_read(void **state)
{
    struct world *w = *state;
    json_t *r, *lines;
    json_int_t last;

    world_start(w);
    log_set_level("mqtt", LOG_INFO_);
    log_ring_set_bytes(65536);
    for (int i = 1; i <= 5; i++)
        log_event(LOG_MQTT, LOG_WARN_, "bad-packet", "device=d%d msg=%s", i,
                  LOG_Q("a \"b\"\xff\n"));
    log_event(LOG_MQTT, LOG_INFO_, "said", "device=d1 flag n=3");
    r = result(w, "log.recent", "\"subsystem\":\"mqtt\",\"limit\":2");
    lines = json_object_get(r, "lines");
    assert_int_equal(json_array_size(lines), 2);
    assert_string_equal(field(lines, 0, "device"), "d5");
    assert_string_equal(field(lines, 0, "msg"), "a \"b\"?\n");
    assert_string_equal(field(lines, 1, "flag"), "true");
    assert_string_equal(field(lines, 1, "n"), "3");
    assert_string_equal(json_string_value(json_object_get(json_array_get(lines, 1), "level")),
                        "info");
    assert_string_equal(json_string_value(json_object_get(r, "target")), "stderr");
    last = number(r, "last");
    json_decref(r);

    r = result(w, "log.recent", "\"subsystem\":\"mqtt\",\"level\":\"warn\",\"device\":\"d[13]\"");
    lines = json_object_get(r, "lines");
    assert_int_equal(json_array_size(lines), 2);
    assert_string_equal(field(lines, 0, "device"), "d1");
    assert_string_equal(field(lines, 1, "device"), "d3");
    json_decref(r);

    for (json_int_t after = 0, seen = 0; seen < 5; seen += 2) { /* in pages */
        char params[100];

        snprintf(params, sizeof(params),
                 "\"event\":\"bad-*\",\"limit\":2,\"after\":%" JSON_INTEGER_FORMAT, after);
        r = result(w, "log.recent", params);
        lines = json_object_get(r, "lines");
        assert_int_equal(json_array_size(lines), seen < 4 ? 2 : 1);
        assert_int_equal(field(lines, 0, "device")[1] - '0', seen + 1);
        after = number(r, "last");
        json_decref(r);
    }
    for (json_int_t after = last; after >= 0; after = -1) { /* nothing new, then something */
        char params[100];

        snprintf(params, sizeof(params), "\"after\":%" JSON_INTEGER_FORMAT, after);
        r = result(w, "log.recent", params);
        assert_int_equal(json_array_size(json_object_get(r, "lines")), 0);
        assert_int_equal(number(r, "last"), last);
        json_decref(r);
        log_event(LOG_MQTT, LOG_WARN_, "more", "device=d9");
        r = result(w, "log.recent", params);
        lines = json_object_get(r, "lines");
        assert_int_equal(json_array_size(lines), 1);
        assert_string_equal(field(lines, 0, "device"), "d9");
        json_decref(r);
    }
    log_ring_set_bytes(0);
    r = result(w, "log.recent", "");
    assert_int_equal(json_array_size(json_object_get(r, "lines")), 0);
    assert_int_equal(number(r, "first"), number(r, "last") + 1);
    json_decref(r);
}

static void a_long_list_comes_in_pages(void **state)
{
    struct world *w = *state;
    char name[16], params[64] = "\"limit\":3";
    json_t *r, *next;
    size_t seen = 0;

    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof(name), "d%d", i);
        world_device(w, name, 1, 0);
    }
    world_start(w);
    for (;;) {
        size_t i;
        json_t *row;

        r = result(w, "device.list", params);
        assert_int_equal(number(r, "total"), 10);
        json_array_foreach(json_object_get(r, "devices"), i, row)
        {
            snprintf(name, sizeof(name), "d%zu", seen++);
            assert_string_equal(json_string_value(json_object_get(row, "device")), name);
        }
        next = json_object_get(r, "next");
        if (json_is_null(next))
            break;
        snprintf(params, sizeof(params), "\"limit\":3,\"after\":\"%s\"", json_string_value(next));
        json_decref(r);
    }
    json_decref(r);
    assert_int_equal(seen, 10);
}

static void a_device_is_shown_as_documented(void **state)
{
    static const char *const keys[] = {
        "device",   "phase",         "waiting",    "active",  "due",     "deadline",
        "begin_by", "evidence",      "attempts",   "online",  "slots",   "upstream",
        "reason",   "reason_remedy", "last_error", "changed", "sessions"};
    struct world *w = *state;
    json_t *r, *session;
    uint64_t s;

    world_device(w, "press", 1, 2);
    world_start(w);
    s = world_up(w, 1, "press");
    world_leg(w, "press", s, FLIP_OLD, DIAG_NETWORK);
    r = result(w, "device.get", "\"device\":\"press\"");
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        assert_non_null(json_object_get(r, keys[i]));
    assert_int_equal(json_object_size(r), sizeof(keys) / sizeof(keys[0]));
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(r, "last_error"), "class")), "network");
    assert_true(json_is_null(json_object_get(json_object_get(r, "last_error"), "alert")));
    assert_true(json_is_null(json_object_get(json_object_get(r, "last_error"), "x509")));
    session = json_array_get(json_object_get(r, "sessions"), 0);
    assert_int_equal(number(session, "worker"), 1);
    json_decref(r);

    r = result(w, "sessions.list", "\"target\":\"press\"");
    assert_int_equal(number(r, "total"), 1);
    json_decref(r);
    r = result(w, "status", "");
    assert_int_equal(number(json_object_get(r, "devices"), "online"), 1);
    assert_string_equal(json_string_value(json_object_get(r, "gateway")), "gw-test");
    json_decref(r);
}

static void confirm_needs_a_fingerprint_for_each_device(void **state)
{
    struct world *w = *state;
    char params[300], fp[65];
    json_t *r;

    world_device(w, "a", 0x11, 0x22);
    world_device(w, "b", 0x11, 0x22);
    world_start(w);
    r = result(w, "flip", "\"target\":\"*\",\"confirm\":\"central\"");
    json_decref(r);
    world_leg(w, "a", world_up(w, 0, "a"), FLIP_NEW, DIAG_OK);
    world_leg(w, "b", world_up(w, 0, "b"), FLIP_NEW, DIAG_OK);
    refused(w, &operator, "confirm", "\"target\":\"a\"", "fingerprint");
    memset(fp, '2', 64);
    fp[64] = '\0';
    snprintf(params, sizeof(params), "\"target\":\"*\",\"fingerprints\":{\"a\":\"%s\"}", fp);
    r = result(w, "confirm", params);
    assert_int_equal(number(r, "done"), 1);
    assert_int_equal(number(r, "refused"), 1);
    json_decref(r);
    world_phase(w, "a", FLIP_COMMITTED);
    world_phase(w, "b", FLIP_TRIAL);
    r = result(w, "commit", "\"target\":\"b\""); /* who operates here needs none */
    json_decref(r);
    world_phase(w, "b", FLIP_COMMITTED);
}

/* -- once for each id -- */

static void a_request_that_comes_twice_acts_once_and_answers_the_same(void **state)
{
    struct world *w = *state;
    json_t *first, *again, *status;

    world_device(w, "press", 1, 2);
    world_start(w);
    first = ask(w, &central, "\"c-1\"", "flip", "\"target\":\"press\"");
    json_decref(ask(w, &central, "\"c-2\"", "rollback", "\"target\":\"press\""));
    json_decref(ask(w, &central, "\"c-3\"", "quarantine.clear", "\"target\":\"press\""));
    again = ask(w, &central, "\"c-1\"", "flip", "\"target\":\"press\"");
    assert_true(json_equal(first, again));
    json_decref(again);
    world_phase(w, "press", FLIP_STAGED);

    world_stop(w);
    world_start(w);
    again = ask(w, &central, "\"c-1\"", "flip", "\"target\":\"press\"");
    assert_true(json_equal(first, again));
    json_decref(again);
    json_decref(first);
    world_phase(w, "press", FLIP_STAGED);

    again = ask(w, &central, "\"c-1\"", "flip", "\"target\":\"*\"");
    assert_string_equal(error_name(again), "id-reused");
    json_decref(again);
    status = ask(w, &central, "\"c-1\"", "status", ""); /* looking is not remembered */
    assert_non_null(json_object_get(status, "result"));
    json_decref(status);
}

static void a_long_reply_is_kept_without_its_rows(void **state)
{
    struct world *w = *state;
    char params[6200], request[6400];
    json_t *first, *again;
    size_t n;

    for (int i = 0; i < WORLD_DEVICES - 1; i++) {
        char name[16];

        snprintf(name, sizeof(name), "d%d", i);
        world_device(w, name, 1, 2)->fault[FLIP_NEW] =
            "/identities/of/a/device/with/a/long/name/new/chain.pem: what is in it is no certificate "
            "that could be read, nor a chain of such, in the form of PEM: put one there";
    }
    world_device(w, "press", 1, 2);
    world_start(w);
    n = (size_t)snprintf(params, sizeof(params), "\"target\":[\"*\"");
    while (n < 6000) /* more than is kept as it is */
        n += (size_t)snprintf(params + n, sizeof(params) - n, ",\"press\"");
    snprintf(params + n, sizeof(params) - n, "]");
    snprintf(request, sizeof(request),
             "{\"jsonrpc\":\"2.0\",\"id\":\"c\",\"method\":\"flip\",\"params\":{%s}}", params);
    first = say(w, &central, request);
    assert_int_equal(number(json_object_get(first, "result"), "done"), 1);
    assert_int_equal(json_array_size(json_object_get(json_object_get(first, "result"), "devices")),
                     WORLD_DEVICES);
    again = say(w, &central, request);
    assert_int_equal(number(json_object_get(again, "result"), "done"), 1);
    assert_int_equal(json_array_size(json_object_get(json_object_get(again, "result"), "devices")),
                     0);
    json_decref(first);
    json_decref(again);
    again = ask(w, &central, "\"c\"", "flip", "\"target\":\"press\"");
    assert_string_equal(error_name(again), "id-reused");
    json_decref(again);
}

static void an_id_is_bounded(void **state)
{
    struct world *w = *state;
    char id[200];
    json_t *reply;

    world_start(w);
    memset(id, 'i', sizeof(id));
    id[0] = id[RPC_ID_MAX + 2] = '"';
    id[RPC_ID_MAX + 3] = '\0';
    reply = ask(w, &central, id, "help", "");
    assert_string_equal(error_name(reply), "invalid-request");
    json_decref(reply);
    id[RPC_ID_MAX + 1] = '"';
    id[RPC_ID_MAX + 2] = '\0';
    reply = ask(w, &central, id, "help", "");
    assert_non_null(json_object_get(reply, "result"));
    json_decref(reply);
}

static void what_nobody_can_tell_to_be_new_is_not_carried_out(void **state)
{
    struct world *w = *state;
    json_t *reply;

    world_device(w, "press", 1, 2);
    world_start(w);
    w->fail_gets = 1;
    reply = ask(w, &central, "1", "flip", "\"target\":\"press\"");
    assert_string_equal(error_name(reply), "store");
    json_decref(reply);
    world_phase(w, "press", FLIP_STAGED);
}

static void on_the_control_socket_ids_are_not_remembered(void **state)
{
    struct world *w = *state;

    world_device(w, "press", 1, 2);
    world_start(w);
    json_decref(ask(w, &operator, "1", "flip", "\"target\":\"press\""));
    json_decref(ask(w, &operator, "1", "rollback", "\"target\":\"press\""));
    world_phase(w, "press", FLIP_ROLLED_BACK);
}

static void what_could_not_be_saved_is_not_remembered_as_done(void **state)
{
    struct world *w = *state;
    const char *message;
    int64_t changed_s;
    json_t *r;

    world_device(w, "press", 1, 2);
    world_start(w);
    changed_s = hub_find(w->hub, "press")->changed_s = hub_find(w->hub, "press")->saved_changed_s =
        77;
    w->fail_saves = 1;
    r = ask(w, &central, "7", "flip", "\"target\":\"press\"");
    assert_string_equal(error_name(r), "store");
    json_decref(r);
    world_phase(w, "press", FLIP_STAGED);
    assert_int_equal(hub_find(w->hub, "press")->changed_s, changed_s);
    r = result(w, "status", "");
    message = json_string_value(json_array_get(json_object_get(r, "messages"), 0));
    assert_non_null(message);
    assert_non_null(strstr(message, "the state could not be written at "));
    json_decref(r);
    r = ask(w, &central, "7", "flip", "\"target\":\"press\"");
    assert_non_null(json_object_get(r, "result"));
    json_decref(r);
    world_phase(w, "press", FLIP_TRIAL);
    r = result(w, "status", "");
    assert_int_equal(json_array_size(json_object_get(r, "messages")), 0);
    json_decref(r);
}

/* -- audit -- */

/* A name of /etc/passwd may be in whatever character set. */
static void an_event_is_told_whoever_commanded_it(void **state)
{
    const struct hub_event ev = {.device = "press",
                                 .cause = "flip",
                                 .msg = "\xff",
                                 .todo = "",
                                 .proven = "",
                                 .who = "local:j\xfcrgen"};
    json_t *shown = show_event(&ev);

    (void)state;
    assert_non_null(shown);
    assert_non_null(strstr(json_string_value(json_object_get(shown, "by")), "local:j"));
    json_decref(shown);
}

static void who_commanded_what_is_written_down(void **state)
{
    struct world *w = *state;
    json_t *r, *row;
    size_t n;

    world_device(w, "press", 1, 2);
    world_start(w);
    json_decref(result(w, "flip", "\"target\":\"press\""));
    refused(w, &operator, "flip", "\"target\":\"nobody\"", "no-such-device");
    json_decref(result(w, "status", ""));
    r = result(w, "audit.list", "\"after\":0");
    n = json_array_size(json_object_get(r, "entries"));
    assert_int_equal(n, 4); /* staged, trial, flip done, flip refused */
    row = json_array_get(json_object_get(r, "entries"), n - 1);
    assert_string_equal(json_string_value(json_object_get(row, "who")), "tester");
    assert_string_equal(json_string_value(json_object_get(row, "what")), "flip");
    assert_string_equal(json_string_value(json_object_get(row, "target")), "nobody");
    assert_non_null(strstr(json_string_value(json_object_get(row, "outcome")), "no-such-device"));
    json_decref(r);
    r = result(w, "audit.list", "\"after\":1,\"limit\":2");
    assert_int_equal(number(r, "next"), 3);
    json_decref(r);
}

/* -- the clock -- */

#define SYNCHRONISED \
    ((struct clock_sync){.known = true, .synchronised = true, .max_error_us = 2500})
#define UNSYNCHRONISED ((struct clock_sync){.known = true})

static void clock_world(struct world *w, bool require_sync, struct clock_sync sync)
{
    w->asks_clock = true;
    world_stop(w);
    w->sync = sync;
    w->conf.clock_require_sync = require_sync;
    world_device(w, "press-1", 0xa1, 0xb1);
    world_device(w, "press-2", 0xa2, 0xb2);
    world_device(w, "press-3", 0xa3, 0xb3);
    world_device(w, "press-4", 0xa4, 0xb4);
    world_start(w);
}

static void flip_works(struct world *w, const char *params)
{
    json_t *r = result(w, "flip", params);

    assert_int_equal(number(r, "done"), 1);
    json_decref(r);
}

static json_t *clock_of(struct world *w)
{
    json_t *status = result(w, "status", ""),
           *clock = json_incref(json_object_get(status, "clock"));
    bool said =
        strstr(json_string_value(json_array_get(json_object_get(status, "messages"), 0)) == NULL
                   ? ""
                   : json_string_value(json_array_get(json_object_get(status, "messages"), 0)),
               "flips are refused") != NULL;

    assert_int_equal(said, !json_is_true(json_object_get(clock, "flips")));
    json_decref(status);
    return clock;
}

static void a_flip_needs_a_clock_that_is_kept_right(void **state)
{
    struct world *w = *state;
    json_t *clock;

    clock_world(w, true, UNSYNCHRONISED);
    refused(w, &operator, "flip", "\"target\":\"press-1\"", "clock");
    refused(w, &operator, "flip", "\"target\":\"press-1\",\"force\":1", "invalid-params");
    refused(w, &operator, "flip", "\"target\":\"press-1\",\"force\":false", "clock");
    world_phase(w, "press-1", FLIP_STAGED);
    clock = clock_of(w);
    assert_true(json_is_false(json_object_get(clock, "synchronised")));
    assert_true(json_is_null(json_object_get(clock, "max_error_ms")));
    assert_string_equal(json_string_value(json_object_get(clock, "text")),
                        "the clock is not synchronised");
    json_decref(clock);
    flip_works(w, "\"target\":\"press-1\",\"force\":true");
    world_phase(w, "press-1", FLIP_TRIAL);
    refused(w, &operator, "flip", "\"target\":\"press-2\"", "clock");
    json_decref(result(w, "rollback", "\"target\":\"press-1\"")); /* never refused for the clock */
    world_phase(w, "press-1", FLIP_ROLLED_BACK);

    w->sync = SYNCHRONISED; /* is heard of at once */
    flip_works(w, "\"target\":\"press-2\"");
    clock = clock_of(w);
    assert_true(json_is_true(json_object_get(clock, "synchronised")));
    assert_int_equal(number(clock, "max_error_ms"), 2);
    assert_true(json_is_string(json_object_get(clock, "since")));
    json_decref(clock);
}

static void a_kernel_that_does_not_say_is_not_synchronised(void **state)
{
    struct world *w = *state;
    json_t *clock;

    clock_world(w, true, (struct clock_sync){0});
    refused(w, &operator, "flip", "\"target\":\"press-1\"", "clock");
    clock = clock_of(w);
    assert_true(json_is_null(json_object_get(clock, "synchronised")));
    json_decref(clock);
    w->conf.clock_require_sync = false;
    flip_works(w, "\"target\":\"press-1\"");
}

/* Also where nobody keeps it right on purpose; and a word for it counts until it is wrong again. */
static void a_flip_needs_a_clock_that_is_not_before_the_past(void **state)
{
    struct world *w = *state;
    int64_t now_s = clock_wall_s();

    w->wall_s = now_s + 86400;
    clock_world(w, false, UNSYNCHRONISED);
    json_decref(
        result(w, "log.level", "\"subsystem\":\"tls.handshake\",\"level\":\"info\"")); /* audited */
    w->wall_s = now_s + 86200; /* a small step back */
    flip_works(w, "\"target\":\"press-1\"");
    w->wall_s = now_s;
    refused(w, &operator, "flip", "\"target\":\"press-2\"", "clock");
    flip_works(w, "\"target\":\"press-2\",\"force\":true");
    flip_works(w, "\"target\":\"press-3\"");
    w->wall_s = 86400; /* 1970, before certflip was built */
    refused(w, &operator, "flip", "\"target\":\"press-4\"", "clock");
}

/* The journal knows it: after a power cut a gateway without a clock is found out. */
static void what_has_happened_is_known_after_a_restart(void **state)
{
    struct world *w = *state;
    int64_t now_s = clock_wall_s();

    w->wall_s = now_s + 10 * 86400;
    clock_world(w, false, SYNCHRONISED);
    world_stop(w);
    w->sync = UNSYNCHRONISED;
    w->wall_s = now_s;
    world_start(w);
    refused(w, &operator, "flip", "\"target\":\"press-1\"", "clock");
    /* Certificates are judged by that, and by what has passed since. */
    assert_in_range(clock_date_s() - now_s - 10 * 86400, 0, 60);
    w->sync = SYNCHRONISED; /* then it is the right one, and what was remembered was not */
    flip_works(w, "\"target\":\"press-1\"");
    assert_true(clock_date_s() < now_s + 3600);
    world_stop(w);
    w->sync = UNSYNCHRONISED;
    world_start(w);
    assert_true(clock_date_s() < now_s + 3600);
    clock_known_set(0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_make, world_remove)

/* -- identity.import -- */

/* A private key is taken over the local socket alone, and what came elsewhere is not kept. */
static void a_key_that_comes_over_the_network_is_refused(void **state)
{
    struct world *w = *state;
    char *text = NULL;
    struct err err = {0};

    world_start(w);
    refused(w, &central, "identity.import",
            "\"device\":\"one\",\"chain\":\"11\",\"key\":\"secret scalar\"", "denied");
    assert_int_equal(store_command_get(w->store, "central:\"1\"", &text, &err), -ERR_NOT_FOUND);
    refused(w, &observer, "identity.import", "\"device\":\"one\",\"chain\":\"11\",\"key\":\"k\"",
            "denied");
    assert_null(hub_find(w->hub, "one"));
}

static void import(struct world *w, const char *params, const char *slot, const char *what)
{
    json_t *r = result(w, "identity.import", params);

    assert_string_equal(json_string_value(json_object_get(r, "slot")), slot);
    assert_string_equal(json_string_value(json_object_get(r, "result")), what);
    json_decref(r);
}

static void an_import_fills_old_then_stages_new(void **state)
{
    struct world *w = *state;

    world_start(w);
    import(w, "\"device\":\"one\",\"chain\":\"11\",\"key\":\"k\",\"dry_run\":true", "old",
           "imported");
    assert_null(hub_find(w->hub, "one"));
    import(w, "\"device\":\"one\",\"chain\":\"11\",\"key\":\"k\"", "old", "imported");
    import(w, "\"device\":\"one\",\"chain\":\"11\",\"key\":\"k\"", "old", "same");
    assert_int_equal(hub_find(w->hub, "one")->flip.phase, FLIP_STEADY);
    import(w, "\"device\":\"one\",\"chain\":\"22\",\"key\":\"k\"", "new", "imported");
    assert_int_equal(hub_find(w->hub, "one")->flip.phase, FLIP_STAGED);
    import(w, "\"device\":\"one\",\"chain\":\"33\",\"key\":\"k\"", "new", "imported");
    refused(w, &operator, "identity.import",
            "\"device\":\"one\",\"chain\":\"44\",\"key\":\"k\",\"slot\":\"old\"", "phase");
    import(w, "\"device\":\"one\",\"chain\":\"44\",\"key\":\"k\",\"slot\":\"old\",\"replace\":true",
           "old", "imported");
    refused(w, &operator, "identity.import",
            "\"device\":\"one\",\"chain\":\"55\",\"key\":\"damaged\"", "invalid-params");
    refused(w, &operator, "identity.import", "\"device\":\"../one\",\"chain\":\"55\",\"key\":\"k\"",
            "invalid-params");
    refused(w, &operator, "identity.import",
            "\"device\":\"one\",\"chain\":\"55\",\"key\":\"k\",\"slot\":\"middle\"",
            "invalid-params");
    json_decref(result(w, "flip", "\"target\":\"one\""));
    refused(w, &operator, "identity.import", "\"device\":\"one\",\"chain\":\"66\",\"key\":\"k\"",
            "phase");
    refused(w, &operator, "identity.import",
            "\"device\":\"one\",\"chain\":\"66\",\"key\":\"k\",\"slot\":\"old\",\"replace\":true",
            "phase");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_has_help_and_its_parameters_in_it),
        cmocka_unit_test(every_error_has_a_name_of_its_own),
        cmocka_unit_test(a_date_of_1970_is_one),
        TEST(what_is_no_request_gets_the_error_of_the_standard),
        TEST(a_batch_is_answered_in_order_and_notifications_are_not),
        TEST(a_batch_ends_where_its_replies_are_too_big),
        TEST(what_is_too_big_is_not_even_read),
        TEST(an_observer_may_look_and_nothing_else),
        TEST(command_meets_no_news_that_is_not_saved),
        TEST(parameters_are_checked_by_the_table),
        TEST(a_key_that_comes_over_the_network_is_refused),
        TEST(an_import_fills_old_then_stages_new),
        TEST(every_word_of_a_target_must_match_something),
        TEST(some_refused_is_a_result_all_refused_is_an_error),
        TEST(a_rollback_of_all_is_for_those_that_were_flipped),
        TEST(what_is_done_though_it_is_not_audited_is_said_to_be_done),
        TEST(recent_lines_are_read),
        TEST(changes_are_told),
        TEST(a_long_list_comes_in_pages),
        TEST(a_device_is_shown_as_documented),
        TEST(confirm_needs_a_fingerprint_for_each_device),
        TEST(a_request_that_comes_twice_acts_once_and_answers_the_same),
        TEST(a_long_reply_is_kept_without_its_rows),
        TEST(an_id_is_bounded),
        TEST(what_nobody_can_tell_to_be_new_is_not_carried_out),
        TEST(on_the_control_socket_ids_are_not_remembered),
        TEST(what_could_not_be_saved_is_not_remembered_as_done),
        TEST(an_event_is_told_whoever_commanded_it),
        TEST(who_commanded_what_is_written_down),
        TEST(a_flip_needs_a_clock_that_is_kept_right),
        TEST(a_kernel_that_does_not_say_is_not_synchronised),
        TEST(a_flip_needs_a_clock_that_is_not_before_the_past),
        TEST(what_has_happened_is_known_after_a_restart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
