/* Log lines, as they arrive at the other end of stderr.  write is wrapped: one call for each line.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/err.h"
#include "base/log.h"
#include "base/str.h"

ssize_t __real_write(int fd, const void *p, size_t n);
ssize_t __wrap_write(int fd, const void *p, size_t n);

static int writes;
static int interruptions;

ssize_t __wrap_write(int fd, const void *p, size_t n)
{
    if (fd == STDERR_FILENO) {
        if (interruptions > 0) {
            interruptions--;
            errno = EINTR;
            return -1;
        }
        writes++;
    }
    return __real_write(fd, p, n);
}

/* stderr leads into a pipe between start and stop. */
static int saved_stderr;
static int reader;
static char got[16384];

static void capture_start(void)
{
    int fds[2];

    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    saved_stderr = dup(STDERR_FILENO);
    dup2(fds[1], STDERR_FILENO);
    close(fds[1]);
    reader = fds[0];
    writes = 0;
}

static const char *capture_stop(void)
{
    ssize_t n = read(reader, got, sizeof(got) - 1);

    got[n < 0 ? 0 : n] = '\0';
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(reader);
    return got;
}

/* What follows the timestamp, whose shape is checked. */
static const char *behind_time(const char *line)
{
    assert_true(
        str_glob("[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]."
                 "[0-9][0-9][0-9]Z *",
                 line));
    return line + 25;
}

#define TEXT_OF(...) \
    (capture_start(), log_set_format(LOG_TEXT), log_event(__VA_ARGS__), behind_time(capture_stop()))

static json_t *json_of_line(const char *line)
{
    json_error_t error;
    json_t *j = json_loads(line, JSON_REJECT_DUPLICATES, &error);

    if (j == NULL)
        fail_msg("%s: %s", error.text, line);
    return j;
}

#define JSON_OF(...)                                                    \
    (capture_start(), log_set_format(LOG_JSON), log_event(__VA_ARGS__), \
     json_of_line(capture_stop()))

static void a_line_has_its_parts_in_order(void **unused)
{
    (void)unused;
    assert_string_equal(
        TEXT_OF(LOG_SESSION, LOG_WARN_, "session-refused", "device=%s rc=%d", "p1", 5),
        "warn session session-refused device=p1 rc=5\n");
    assert_int_equal(writes, 1);
    assert_string_equal(TEXT_OF(LOG_TLS_HANDSHAKE, LOG_ERROR_, "bare", "%s", ""),
                        "error tls.handshake bare\n");
}

static void a_line_stays_one_line(void **unused)
{
    (void)unused;
    assert_string_equal(TEXT_OF(LOG_MQTT, LOG_ERROR_, "x", "a=%s", "1\n2\r3\x1b[31m"),
                        "error mqtt x a=1 2 3 [31m\n");
    assert_string_equal(
        TEXT_OF(LOG_MQTT, LOG_ERROR_, "x", "a=%s", LOG_Q("1\n2\r3 \"q\" \\ \t\x7f")),
        "error mqtt x a=\"1\\n2\\x0d3 \\\"q\\\" \\\\ \\t\\x7f\"\n");
    assert_int_equal(writes, 1);
}

static void levels_decide_per_subsystem(void **unused)
{
    (void)unused;
    assert_int_equal(log_set_level("*", LOG_NOTICE_), 0);
    assert_int_equal(log_set_level("flip", LOG_DEBUG_), 0);
    assert_true(log_on(LOG_FLIP, LOG_DEBUG_));
    assert_false(log_on(LOG_STORE, LOG_INFO_));
    assert_true(log_on(LOG_STORE, LOG_NOTICE_));
    assert_int_equal(log_get_level(LOG_FLIP), LOG_DEBUG_);
    assert_int_equal(log_get_level(LOG_STORE), LOG_NOTICE_);
    capture_start();
    log_event(LOG_STORE, LOG_INFO_, "unseen", "a=1");
    assert_string_equal(capture_stop(), "");
    assert_int_equal(writes, 0);
    assert_int_equal(log_set_level("nonsense", LOG_DEBUG_), -ERR_NOT_FOUND);
    assert_int_equal(log_set_level("*", LOG_ERROR_), 0);
    for (int i = 0; i < LOG_SUBSYSTEM_COUNT; i++)
        assert_false(log_on((enum log_subsystem)i, LOG_WARN_));
    assert_int_equal(log_set_level("*", LOG_NOTICE_), 0);
}

/* What was set at run time stays until the configuration says something else than before. */
static void a_reload_keeps_what_was_set(void **unused)
{
    (void)unused;
    for (int i = 0; i < LOG_SUBSYSTEM_COUNT; i++)
        log_configure_level((enum log_subsystem)i, LOG_INFO_);
    assert_int_equal(log_get_level(LOG_FLIP), LOG_INFO_);
    assert_int_equal(log_set_level("flip", LOG_DEBUG_), 0);
    log_configure_level(LOG_FLIP, LOG_INFO_);
    assert_int_equal(log_get_level(LOG_FLIP), LOG_DEBUG_);
    assert_int_equal(log_configured_level(LOG_FLIP), LOG_INFO_);
    log_configure_level(LOG_FLIP, LOG_WARN_);
    assert_int_equal(log_get_level(LOG_FLIP), LOG_WARN_);
    assert_int_equal(log_set_level("*", LOG_DEBUG_), 0);
    assert_int_equal(log_reset_level("flip"), 0);
    assert_int_equal(log_get_level(LOG_FLIP), LOG_WARN_);
    assert_int_equal(log_get_level(LOG_STORE), LOG_DEBUG_);
    assert_int_equal(log_reset_level("*"), 0);
    assert_int_equal(log_get_level(LOG_STORE), LOG_INFO_);
    assert_int_equal(log_reset_level("nonsense"), -ERR_NOT_FOUND);
}

static int asked;

static int ask(void)
{
    return ++asked;
}

/* A line that is not written costs a look at the level. */
static void what_is_not_written_is_not_evaluated(void **unused)
{
    (void)unused;
    assert_int_equal(log_set_level("*", LOG_NOTICE_), 0);
    capture_start();
    log_event(LOG_STORE, LOG_INFO_, "unseen", "a=%d", ask());
    log_event(LOG_STORE, LOG_NOTICE_, "seen", "a=%d", ask());
    assert_non_null(strstr(capture_stop(), " seen a=1\n"));
    assert_int_equal(asked, 1);
}

/* The summary is a line like others; a fact is never counted. */
static void repetition_is_told_in_a_line(void **unused)
{
    const char *text;

    (void)unused;
    log_set_format(LOG_TEXT);
    capture_start();
    for (int i = 0; i < 9; i++) {
        log_event(LOG_STORE, LOG_WARN_, "again", "device=d msg=%s", LOG_Q("no \"room\""));
        log_fact(LOG_FLIP, LOG_WARN_, "fact", "device=d");
    }
    log_set_level("store", LOG_DEBUG_);
    for (int i = 0; i < 9; i++)
        log_event(LOG_STORE, LOG_DEBUG_, "debugged", "device=d");
    assert_int_equal(writes, 5 + 9 + 9);
    log_tick(true);
    text = capture_stop();
    assert_int_equal(writes, 5 + 9 + 9 + 1);
    assert_non_null(strstr(text, "warn store again device=d repeated=4 seconds=1 msg=\"repeated 4 "
                                 "times in 1 s: no \\\"room\\\"\"\n"));
    log_set_level("store", LOG_NOTICE_);
}

static void a_pinned_format_stays(void **unused)
{
    enum log_format format = LOG_TEXT;

    (void)unused;
    assert_int_equal(log_format_parse("json", &format), 0);
    assert_int_equal(format, LOG_JSON);
    assert_int_equal(log_format_parse("xml", &format), -ERR_INVALID);
    log_pin_format(LOG_JSON);
    log_set_format(LOG_TEXT);
    capture_start();
    log_event(LOG_STORE, LOG_ERROR_, "pinned", "a=1");
    assert_int_equal(capture_stop()[0], '{');
}

static void names_go_both_ways(void **unused)
{
    enum log_level level;

    (void)unused;
    for (int i = LOG_ERROR_; i <= LOG_DEBUG_; i++) {
        level = LOG_ERROR_;
        assert_int_equal(log_level_parse(log_level_name((enum log_level)i), &level), 0);
        assert_int_equal(level, i);
    }
    assert_int_equal(log_level_parse("loud", &level), -ERR_INVALID);
    assert_int_equal(level, LOG_DEBUG_);
    assert_string_equal(log_subsystem_name(LOG_CERT), "cert.validation");
}

static void errno_survives_a_line(void **unused)
{
    (void)unused;
    errno = EBADMSG;
    interruptions = 2;
    capture_start();
    log_set_format(LOG_TEXT);
    log_event(LOG_MQTT, LOG_ERROR_, "x", "a=1");
    assert_int_equal(errno, EBADMSG);
    assert_string_equal(behind_time(capture_stop()), "error mqtt x a=1\n");
    assert_int_equal(interruptions, 0);
}

static void pairs_become_json_members(void **unused)
{
    json_t *j =
        JSON_OF(LOG_SESSION, LOG_WARN_, "session-refused",
                "device=%s rc=%d big=1234567890123456 neg=-3 lead=007 id=%s  flag empty= t=a=b",
                "p1", 5, LOG_Q("42"));

    (void)unused;
    assert_int_equal(writes, 1);
    assert_true(str_glob("*T*Z", json_string_value(json_object_get(j, "ts"))));
    assert_string_equal(json_string_value(json_object_get(j, "level")), "warn");
    assert_string_equal(json_string_value(json_object_get(j, "subsystem")), "session");
    assert_string_equal(json_string_value(json_object_get(j, "event")), "session-refused");
    assert_string_equal(json_string_value(json_object_get(j, "device")), "p1");
    assert_int_equal(json_integer_value(json_object_get(j, "rc")), 5);
    assert_int_equal(json_integer_value(json_object_get(j, "neg")), -3);
    assert_string_equal(json_string_value(json_object_get(j, "big")), "1234567890123456");
    assert_string_equal(json_string_value(json_object_get(j, "lead")), "007");
    assert_string_equal(json_string_value(json_object_get(j, "id")), "42");
    assert_true(json_is_true(json_object_get(j, "flag")));
    assert_string_equal(json_string_value(json_object_get(j, "empty")), "");
    assert_string_equal(json_string_value(json_object_get(j, "t")), "a=b");
    assert_int_equal(json_object_size(j), 13);
    json_decref(j);
}

static void quoted_values_come_back_whole(void **unused)
{
    static const char *const values[] = {"",
                                         "plain",
                                         "two words",
                                         "a=b c=d",
                                         "say \"hi\"",
                                         "back\\slash",
                                         "line\nnext\ttab",
                                         "\x01\x1f\x7f",
                                         "\xe2\x82\xac \xf0\x9f\x94\x91",
                                         "ends\\",
                                         "\\n",
                                         "\\x41"};

    (void)unused;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        json_t *j = JSON_OF(LOG_MQTT, LOG_ERROR_, "x", "v=%s after=1", LOG_Q(values[i]));

        assert_string_equal(json_string_value(json_object_get(j, "v")), values[i]);
        assert_int_equal(json_integer_value(json_object_get(j, "after")), 1);
        json_decref(j);
    }
}

/* JSON has no place for bytes that are no text: they are shown. */
static void bytes_that_are_no_text_are_shown(void **unused)
{
    json_t *j = JSON_OF(LOG_MQTT, LOG_ERROR_, "x", "v=%s raw=%s",
                        LOG_Q("a\xff"
                              "b"),
                        "c\xc3");

    (void)unused;
    assert_string_equal(json_string_value(json_object_get(j, "v")), "a\\xffb");
    assert_string_equal(json_string_value(json_object_get(j, "raw")), "c\\xc3");
    json_decref(j);
}

static void a_pair_cannot_pose_as_the_event(void **unused)
{
    json_t *j = JSON_OF(LOG_MQTT, LOG_ERROR_, "real", "event=fake level=0");

    (void)unused;
    assert_string_equal(json_string_value(json_object_get(j, "event")), "real");
    assert_string_equal(json_string_value(json_object_get(j, "event_")), "fake");
    assert_int_equal(json_integer_value(json_object_get(j, "level_")), 0);
    json_decref(j);
}

static void long_lines_are_cut_and_stay_whole(void **unused)
{
    static char big[20000];
    json_t *j;
    const char *text;

    (void)unused;
    memset(big, 'x', sizeof(big) - 1);
    text = TEXT_OF(LOG_MQTT, LOG_ERROR_, "x", "a=%s", big);
    assert_true(str_glob("error mqtt x a=xxx*x...\n", text));
    assert_true(strlen(text) < 4200);
    j = JSON_OF(LOG_MQTT, LOG_ERROR_, "x", "a=1 b=%s", big);
    assert_int_equal(json_integer_value(json_object_get(j, "a")), 1);
    assert_true(str_glob("xxx*x...", json_string_value(json_object_get(j, "b"))));
    json_decref(j);

    /* Escapes make a line longer; what then does not fit goes as a whole member. */
    memset(big, '\x01', 3000);
    big[3000] = '\0';
    j = JSON_OF(LOG_MQTT, LOG_ERROR_, "x", "a=1 b=%s c=2", big);
    assert_int_equal(json_integer_value(json_object_get(j, "a")), 1);
    assert_null(json_object_get(j, "b"));
    json_decref(j);
    assert_int_equal(writes, 1);

    /* A quoted value that the cut left open. */
    memset(big, 'q', 5000);
    big[0] = '"';
    big[5000] = '\0';
    j = JSON_OF(LOG_MQTT, LOG_ERROR_, "x", "a=%s", big);
    assert_true(str_glob("qqq*", json_string_value(json_object_get(j, "a"))));
    json_decref(j);
    j = JSON_OF(LOG_MQTT, LOG_ERROR_, "x", "a=\"\\");
    assert_string_equal(json_string_value(json_object_get(j, "a")), "\\");
    json_decref(j);
}

static void quoting_is_bounded(void **unused)
{
    struct log_quoted q;
    char big[2000];

    (void)unused;
    assert_string_equal(log_quote(&q, NULL, (size_t)-1), "\"\"");
    assert_string_equal(log_quote(&q, "a\0b", 3), "\"a\\x00b\"");
    memset(big, 'x', sizeof(big));
    log_quote(&q, big, sizeof(big));
    assert_int_equal(strlen(q.s), 400 + 5);
    assert_string_equal(q.s + 400, "x...\"");
    memset(big, '\xff', sizeof(big));
    log_quote(&q, big, sizeof(big));
    assert_true(strlen(q.s) < sizeof(q.s));
    assert_string_equal(q.s + strlen(q.s) - 8, "\\xff...\"");
    for (size_t i = 0; i + 2 <= sizeof(big); i += 2)
        memcpy(big + i, "\xc3\xa4", 2);
    log_quote(&q, big + 1, 500); /* odd: a stray byte, then characters across the bound */
    assert_true(str_is_utf8((const uint8_t *)q.s, strlen(q.s)));
}

/* In a child, as the answer is remembered: the pipe is declared to be the journal's. */
static void child_logs_to_the_journal(bool truly)
{
    struct stat st;
    char stream[64];

    fstat(STDERR_FILENO, &st);
    snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino + (truly ? 0 : 1));
    setenv("JOURNAL_STREAM", stream, 1);
    for (int level = LOG_ERROR_; level <= LOG_DEBUG_; level++)
        log_event(LOG_FLIP, (enum log_level)level, "x", "n=%d", level);
    _exit(0);
}

static const char *output_of_child(bool truly)
{
    int status;
    pid_t pid;

    capture_start();
    log_set_format(LOG_TEXT);
    log_set_level("flip", LOG_DEBUG_);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        child_logs_to_the_journal(truly);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    return capture_stop();
}

static void the_journal_gets_priorities(void **unused)
{
    char expected[] = "<3>";
    const char *p;

    (void)unused;
    p = output_of_child(true);
    for (; *p != '\0'; p = strchr(p, '\n') + 1) {
        assert_memory_equal(p, expected, 3);
        behind_time(p + 3);
        expected[1]++;
    }
    assert_string_equal(expected, "<8>");
    assert_int_equal(output_of_child(false)[0], '2'); /* stderr was redirected since */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_journal_gets_priorities), /* first: before this process has looked */
        cmocka_unit_test(a_line_has_its_parts_in_order),
        cmocka_unit_test(a_line_stays_one_line),
        cmocka_unit_test(levels_decide_per_subsystem),
        cmocka_unit_test(a_reload_keeps_what_was_set),
        cmocka_unit_test(what_is_not_written_is_not_evaluated),
        cmocka_unit_test(repetition_is_told_in_a_line),
        cmocka_unit_test(names_go_both_ways),
        cmocka_unit_test(errno_survives_a_line),
        cmocka_unit_test(pairs_become_json_members),
        cmocka_unit_test(quoted_values_come_back_whole),
        cmocka_unit_test(bytes_that_are_no_text_are_shown),
        cmocka_unit_test(a_pair_cannot_pose_as_the_event),
        cmocka_unit_test(long_lines_are_cut_and_stay_whole),
        cmocka_unit_test(quoting_is_bounded),
        cmocka_unit_test(a_pinned_format_stays), /* last: it stays */
    };

    unsetenv("JOURNAL_STREAM");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
