/* What the journal gets of a line: its native protocol, read back by the rules of the protocol. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/log_line.h"

static struct log_datagram datagram;

static void fields_of(enum log_level level, const char *pairs, enum log_format format)
{
    struct log_record r = {.wall_ms = 1000,
                           .sub = LOG_TLS_HANDSHAKE,
                           .level = level,
                           .event = "uplink-failed",
                           .pairs = pairs,
                           .n = strlen(pairs)};

    log_line_journal(&datagram, &r, format);
}

/* The value of a field; NULL: it is not there.  Every byte of the datagram has to be of a field. */
static const char *value_of(const char *name, size_t *n)
{
    static char value[sizeof(datagram.s)];
    const char *p = datagram.s, *end = p + datagram.n;
    const char *found = NULL;

    while (p < end) {
        const char *line = memchr(p, '\n', (size_t)(end - p));
        const char *equals = memchr(p, '=', (size_t)(line - p));
        size_t name_n = (size_t)((equals == NULL ? line : equals) - p);
        const char *at = equals == NULL ? line + 1 + 8 : equals + 1;
        size_t value_n = (size_t)(line - at);

        assert_non_null(line);
        if (equals == NULL) {
            uint64_t length = 0;

            for (unsigned i = 0; i < 8; i++)
                length |= (uint64_t)(uint8_t)line[1 + i] << 8 * i;
            value_n = (size_t)length;
            assert_true(at + value_n < end && at[value_n] == '\n');
        }
        if (strlen(name) == name_n && memcmp(name, p, name_n) == 0) {
            assert_null(found);
            memcpy(value, at, value_n);
            value[value_n] = '\0';
            *n = value_n;
            found = value;
        }
        for (size_t i = 0; i < name_n; i++)
            assert_true((p[i] >= 'A' && p[i] <= 'Z') || (p[i] >= '0' && p[i] <= '9') ||
                        (p[i] == '_' && i > 0));
        p = at + value_n + 1;
    }
    assert_ptr_equal(p, end);
    return found;
}

static void assert_field(const char *name, const char *expected)
{
    size_t n;
    const char *value = value_of(name, &n);

    if (value == NULL)
        fail_msg("no field %s", name);
    assert_string_equal(value, expected);
    assert_int_equal(n, strlen(expected));
}

static void each_pair_is_a_field(void **unused)
{
    size_t n;

    (void)unused;
    fields_of(LOG_WARN_,
              "device=press-07 slot=new times=8 flag msg=\"TLS handshake: no\" empty=", LOG_TEXT);
    assert_field("MESSAGE", "tls.handshake uplink-failed device=press-07 slot=new times=8 flag "
                            "msg=\"TLS handshake: no\" empty=");
    assert_field("PRIORITY", "4");
    assert_field("SYSLOG_IDENTIFIER", "certflipd");
    assert_field("CERTFLIP_SUBSYSTEM", "tls.handshake");
    assert_field("CERTFLIP_EVENT", "uplink-failed");
    assert_field("CERTFLIP_DEVICE", "press-07");
    assert_field("CERTFLIP_SLOT", "new");
    assert_field("CERTFLIP_TIMES", "8");
    assert_field("CERTFLIP_FLAG", "true");
    assert_field("CERTFLIP_MSG", "TLS handshake: no");
    assert_field("CERTFLIP_EMPTY", "");
    assert_null(value_of("CERTFLIP_TODO", &n));
}

static void every_level_has_its_priority(void **unused)
{
    char expected[] = "3";

    (void)unused;
    for (int level = LOG_ERROR_; level <= LOG_DEBUG_; level++, expected[0]++) {
        fields_of((enum log_level)level, "", LOG_TEXT);
        assert_field("PRIORITY", expected);
        assert_field("MESSAGE", "tls.handshake uplink-failed");
    }
}

/* A newline in a value could begin a field of its own: such a value goes by its length. */
static void a_value_of_several_lines_stays_one_value(void **unused)
{
    struct log_quoted q;
    char pairs[2000];
    size_t n;

    (void)unused;
    snprintf(pairs, sizeof(pairs), "device=%s msg=%s last=1", "d",
             log_quote(&q, "one\nCERTFLIP_DEVICE=forged\n\x1b[31m\ttwo", (size_t)-1));
    fields_of(LOG_ERROR_, pairs, LOG_TEXT);
    assert_field("CERTFLIP_DEVICE", "d");
    assert_field("CERTFLIP_MSG", "one\nCERTFLIP_DEVICE=forged\n\x1b[31m\ttwo");
    assert_field("CERTFLIP_LAST", "1");
    assert_null(strchr(value_of("MESSAGE", &n), '\n')); /* there it is quoted */

    snprintf(pairs, sizeof(pairs), "raw=%s last=2", "a\nb");
    fields_of(LOG_ERROR_, pairs, LOG_TEXT);
    assert_field("CERTFLIP_RAW", "a\nb");
    assert_field("MESSAGE", "tls.handshake uplink-failed raw=a b last=2");
}

static void a_pair_cannot_pose_as_the_lines_own(void **unused)
{
    (void)unused;
    fields_of(LOG_INFO_, "event=fake subsystem=fake we-ird.key=1 MESSAGE=x PRIORITY=0", LOG_TEXT);
    assert_field("CERTFLIP_EVENT", "uplink-failed");
    assert_field("CERTFLIP_EVENT_", "fake");
    assert_field("CERTFLIP_SUBSYSTEM_", "fake");
    assert_field("CERTFLIP_WE_IRD_KEY", "1");
    assert_field("CERTFLIP_MESSAGE", "x");
    assert_field("CERTFLIP_PRIORITY", "0");
    assert_field("PRIORITY", "6");
}

static void as_json_the_message_is_the_object(void **unused)
{
    (void)unused;
    fields_of(LOG_INFO_, "device=d n=3", LOG_JSON);
    assert_field("MESSAGE", "{\"ts\":\"1970-01-01T00:00:01.000Z\",\"level\":\"info\","
                            "\"subsystem\":\"tls.handshake\",\"event\":\"uplink-failed\","
                            "\"device\":\"d\",\"n\":3}");
    assert_field("CERTFLIP_N", "3");
}

/* As much as a line may hold: everything is a whole field, or is left out. */
static void the_longest_lines_stay_whole(void **unused)
{
    static char pairs[LOG_PAIRS_MAX];
    size_t n;

    (void)unused;
    memset(pairs, 'x', sizeof(pairs) - 1);
    memcpy(pairs, "a=\"", 3);
    for (size_t i = 3; i + 4 < sizeof(pairs); i += 4)
        memcpy(pairs + i, "\\x01", 4);
    fields_of(LOG_INFO_, pairs, LOG_TEXT);
    assert_non_null(value_of("CERTFLIP_A", &n));
    fields_of(LOG_INFO_, pairs, LOG_JSON);
    assert_non_null(value_of("MESSAGE", &n));

    for (size_t i = 0; i + 2 < sizeof(pairs); i += 2)
        memcpy(pairs + i, "f ", 2); /* two thousand flags */
    pairs[sizeof(pairs) - 2] = '\0';
    fields_of(LOG_INFO_, pairs, LOG_TEXT);
    assert_non_null(value_of("MESSAGE", &n));
    assert_true(datagram.n <= sizeof(datagram.s));

    memset(pairs, 'K', 200);
    memcpy(pairs + 200, "=1 b=2", 7);
    fields_of(LOG_INFO_, pairs, LOG_TEXT); /* the journal takes no such name */
    assert_field("CERTFLIP_B", "2");
}

static void times_are_told_to_the_millisecond(void **unused)
{
    static const struct {
        int64_t ms;
        const char *text;
    } table[] = {{0, "1970-01-01T00:00:00.000Z"},
                 {1, "1970-01-01T00:00:00.001Z"},
                 {951782399999, "2000-02-28T23:59:59.999Z"},
                 {951782400000, "2000-02-29T00:00:00.000Z"},
                 {1935446400123, "2031-05-02T00:00:00.123Z"},
                 {253402300799999, "9999-12-31T23:59:59.999Z"},
                 {-1, "1970-01-01T00:00:00.000Z"}};
    char out[40];

    (void)unused;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        assert_string_equal(log_time(table[i].ms, out), table[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_told_to_the_millisecond),
        cmocka_unit_test(each_pair_is_a_field),
        cmocka_unit_test(every_level_has_its_priority),
        cmocka_unit_test(a_value_of_several_lines_stays_one_value),
        cmocka_unit_test(a_pair_cannot_pose_as_the_lines_own),
        cmocka_unit_test(as_json_the_message_is_the_object),
        cmocka_unit_test(the_longest_lines_stay_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
