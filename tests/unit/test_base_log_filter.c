/* Which lines are wanted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log_filter.h"

static bool takes(const struct log_filter *f, const char *device, const char *text)
{
    return log_filter_takes(f, 5000, LOG_WARN_, "tls.handshake", "session-refused", device, text);
}

static void nothing_asked_takes_all(void **unused)
{
    struct log_filter f = LOG_FILTER_ALL;

    (void)unused;
    assert_true(takes(&f, "", ""));
    assert_true(takes(&f, "press-12", "x"));
}

static void each_question_counts(void **unused)
{
    static const char text[] = "tls.handshake session-refused msg=\"TLS handshake: no\"";

    (void)unused;
    assert_true(takes(&(struct log_filter){.level = LOG_WARN_, .since_ms = 5000}, "", text));
    assert_false(takes(&(struct log_filter){.level = LOG_ERROR_}, "", text));
    assert_false(takes(&(struct log_filter){.level = LOG_DEBUG_, .since_ms = 5001}, "", text));
    assert_true(takes(&(struct log_filter){.level = LOG_DEBUG_, .event = "session-*"}, "", text));
    assert_false(takes(&(struct log_filter){.level = LOG_DEBUG_, .event = "session"}, "", text));
    assert_true(takes(&(struct log_filter){.level = LOG_DEBUG_, .subsystem = "tls.*"}, "", text));
    assert_false(takes(&(struct log_filter){.level = LOG_DEBUG_, .subsystem = "flip"}, "", text));
    assert_true(
        takes(&(struct log_filter){.level = LOG_DEBUG_, .grep = "tls HANDSHAKE: n"}, "", text));
    assert_false(takes(&(struct log_filter){.level = LOG_DEBUG_, .grep = "handshakes"}, "", text));
}

static void a_device_is_meant_by_its_whole_name(void **unused)
{
    struct log_filter one = {.level = LOG_DEBUG_, .device = "press-1"};
    struct log_filter many = {.level = LOG_DEBUG_, .device = "press-*"};

    (void)unused;
    assert_true(takes(&one, "press-1", "x"));
    assert_false(takes(&one, "press-12", "device=press-12 msg=\"like press-1\""));
    assert_true(takes(&many, "press-12", "x"));
    assert_true(takes(&one, "", "msg=\"CN=press-1 has expired\""));
    assert_true(takes(&one, "", "press-1"));
    assert_true(takes(&one, "", "press-12 and press-1."));
    assert_false(takes(&one, "", "msg=\"CN=press-12 has expired\""));
    assert_false(takes(&one, "", "msg=\"CN=old-press-1\""));
    assert_false(takes(&one, "", ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_asked_takes_all),
        cmocka_unit_test(each_question_counts),
        cmocka_unit_test(a_device_is_meant_by_its_whole_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
