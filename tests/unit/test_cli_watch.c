/* What is watched: which devices, in which order, and what is said of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "cli/show.h"
#include "cli/watch_model.h"

#define NOW "2031-05-02T00:00:00Z"

static json_t *brief(const char *name, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A steady device whose certificate ends in a year, but for what is said. */
static json_t *brief(const char *name, const char *format, ...)
{
    char members[1000];
    json_error_t error;
    json_t *b =
        json_pack("{s:s, s:s, s:n, s:s, s:b, s:s, s:n, s:n, s:n, s:n, s:{s:s, s:n}, s:n, s:n, "
                  "s:n, s:n}",
                  "device", name, "phase", "steady", "waiting", "active", "old", "online", 1,
                  "upstream", "accepted", "due", "deadline", "begin_by", "evidence", "until", "old",
                  "2032-05-02T00:00:00Z", "new", "fault", "last_error", "reason", "reason_remedy");
    json_t *other;
    va_list ap;

    va_start(ap, format);
    vsnprintf(members, sizeof(members), format, ap);
    va_end(ap);
    other = json_loads(members, 0, &error);
    if (other == NULL)
        fail_msg("%s: %s", error.text, members);
    json_object_update(b, other);
    json_decref(other);
    return b;
}

#define ERROR(text, todo)                                                                      \
    "\"last_error\":{\"time\":\"" NOW "\",\"slot\":\"old\",\"name\":\"x\",\"message\":\"" text \
    "\","                                                                                      \
    "\"remedy\":\"" todo "\"}"

/* clang-format off */
static const struct {
    const char *members;
    enum watch_rank rank;
    const char *said, *remedy;
} rows[] = {
    { "{}", WATCH_FINE, "", "" },
    { "{\"phase\":\"staged\"}", WATCH_STAGED, "", "" },
    { "{\"phase\":\"committed\",\"active\":\"new\",\"until\":{\"old\":\"2031-05-03T00:00:00Z\",\"new\":\"2033-01-01T00:00:00Z\"}}",
      WATCH_FINE, "", "" },
    { "{\"until\":{\"old\":\"2031-05-12T00:00:00Z\",\"new\":null}}", WATCH_ENDING,
      "the identity in use ends in 10 d 0 h", "" },
    { "{\"until\":{\"old\":\"2031-05-01T00:00:00Z\",\"new\":null}}", WATCH_ENDING,
      "the identity in use has expired", "" },
    { "{\"phase\":\"trial\",\"waiting\":\"probation\",\"due\":\"2031-05-02T00:01:30Z\",\"evidence\":{\"missing\":[\"echo\"]}}",
      WATCH_TRIAL, "trial, in probation, 90 s left, missing: the echo", "" },
    { "{\"waiting\":\"queue\"}", WATCH_TRIAL, "steady, waits for its turn", "" },
    { "{\"upstream\":\"failed\"," ERROR("no way", "mend it") "}", WATCH_BROKEN, "no way", "mend it" },
    { "{\"upstream\":\"lost\"," ERROR("gone", "look") "}", WATCH_BROKEN, "gone", "look" },
    { "{\"upstream\":\"failed\",\"online\":false," ERROR("no way", "mend it") "}", WATCH_FINE, "", "" },
    { "{" ERROR("long ago", "nothing") "}", WATCH_FINE, "", "" },
    { "{\"fault\":\"it has expired\"}", WATCH_BROKEN, "it has expired", "" },
    { "{\"phase\":\"rolled-back\",\"reason\":\"by command\",\"reason_remedy\":\"ask who did\"}",
      WATCH_CAME_BACK, "by command", "ask who did" },
    { "{\"phase\":\"rolled-back\",\"reason\":\"refused\"," ERROR("refused", "add the CA") "}",
      WATCH_CAME_BACK, "refused", "add the CA" },
};
/* clang-format on */

static void what_is_said_of_a_device(void **unused)
{
    int64_t now_s = show_parse_time(NOW);

    (void)unused;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        json_t *b = brief("d", "%s", rows[i].members);
        const char *remedy;
        char said[600];

        watch_say(b, now_s, said, sizeof(said), &remedy);
        assert_int_equal(watch_rank_of(b, now_s), rows[i].rank);
        assert_string_equal(said, rows[i].said);
        assert_string_equal(remedy, rows[i].remedy);
        json_decref(b);
    }
}

static void how_long_a_certificate_lasts(void **unused)
{
    static const struct {
        const char *at, *text;
    } table[] = {{"\"2031-05-02T00:30:00Z\"", "0 h"},
                 {"\"2031-05-02T23:59:59Z\"", "23 h"},
                 {"\"2031-05-03T00:00:00Z\"", "1 d"},
                 {"\"2032-05-01T00:00:00Z\"", "365 d"},
                 {"\"2031-05-02T00:00:00Z\"", "over"},
                 {"null", "-"},
                 {"\"never\"", "-"}};
    char out[16];

    (void)unused;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        json_t *b = brief("d", "{\"until\":{\"old\":null,\"new\":%s}}", table[i].at);

        assert_string_equal(watch_until(b, "new", show_parse_time(NOW), out), table[i].text);
        json_decref(b);
    }
}

static void take(struct watch_model *m, bool anew, json_int_t after, json_t *devices)
{
    json_t *answer = json_pack("{s:i, s:I, s:b, s:b, s:o, s:i}", "epoch", 7, "after", after, "anew",
                               (int)anew, "more", 0, "devices", devices, "total", 0);

    watch_take(m, answer, show_parse_time(NOW));
    json_decref(answer);
    watch_arrange(m);
}

static void shows(const struct watch_model *m, const char *names)
{
    char got[300] = "";

    for (size_t i = 0; i < m->shown_count; i++)
        snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s ", m->shown[i]->name);
    assert_string_equal(got, names);
}

static void changes_are_taken_sorted_and_chosen(void **unused)
{
    struct watch_model m;

    (void)unused;
    assert_int_equal(watch_init(&m), 0);
    take(&m, true, 4,
         json_pack("[o, o, o, o]", brief("d", "{\"online\":false}"),
                   brief("c", "{\"phase\":\"staged\"}"),
                   brief("b", "{\"phase\":\"trial\",\"waiting\":\"upstream\"}"),
                   brief("a", "{\"until\":{\"old\":\"2031-05-12T00:00:00Z\",\"new\":null}}")));
    assert_int_equal(m.epoch, 7);
    assert_int_equal(m.after, 4);
    shows(&m, "b a c d ");
    m.sort = WATCH_BY_NAME;
    watch_arrange(&m);
    shows(&m, "a b c d ");
    take(&m, false, 6, json_pack("[o, o]", brief("d", "{\"phase\":\"trial\"}"), brief("e", "{}")));
    shows(&m, "a b c d e ");
    m.sort = WATCH_BY_NEED;
    watch_arrange(&m);
    shows(&m, "b d a c e ");
    m.sort = WATCH_BY_EXPIRY;
    watch_arrange(&m);
    shows(&m, "a b c d e ");
    m.sort = WATCH_BY_PHASE;
    watch_arrange(&m);
    shows(&m, "b d a e c ");
    m.filter = WATCH_ONLY_TRIALS;
    watch_arrange(&m);
    shows(&m, "b d ");
    m.filter = WATCH_ONLY_TROUBLE;
    watch_arrange(&m);
    shows(&m, "a ");
    m.filter = WATCH_ONLY_STAGED;
    watch_arrange(&m);
    shows(&m, "c ");
    m.filter = WATCH_ALL;
    m.sort = WATCH_BY_NAME;
    snprintf(m.search, sizeof(m.search), "[b-d]");
    watch_arrange(&m);
    shows(&m, "b c d ");
    snprintf(m.search, sizeof(m.search), "E");
    watch_arrange(&m);
    shows(&m, "e ");
    assert_int_equal(watch_place(&m, "e", 9), 0);
    assert_int_equal(watch_place(&m, "a", 9), 9);
    m.search[0] = '\0';
    take(&m, false, 6, json_array());
    shows(&m, "a b c d e ");
    take(&m, true, 1,
         json_pack("[o]", brief("z", "{}"))); /* another daemon, or devices have gone */
    shows(&m, "z ");
    watch_fini(&m);
}

/* Thousands of devices: once whole, then only what changes. */
static void thousands_are_watched(void **unused)
{
    struct watch_model m;
    json_t *all = json_array();
    char name[32];

    (void)unused;
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof(name), "press-%04d", (i * 7) % 3000);
        json_array_append_new(all, brief(name, "{}"));
    }
    assert_int_equal(watch_init(&m), 0);
    take(&m, true, 3000, all);
    assert_int_equal(m.shown_count, 3000);
    assert_string_equal(m.shown[2999]->name, "press-2999");
    assert_int_equal(m.widest, strlen("press-0000"));
    take(&m, false, 3001, json_pack("[o]", brief("press-1500", "{\"fault\":\"x\"}")));
    assert_string_equal(m.shown[0]->name, "press-1500");
    assert_int_equal(m.count, 3000);
    watch_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_said_of_a_device),
        cmocka_unit_test(how_long_a_certificate_lasts),
        cmocka_unit_test(changes_are_taken_sorted_and_chosen),
        cmocka_unit_test(thousands_are_watched),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
