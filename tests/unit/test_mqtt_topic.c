/* Topic names and filters: MQTT 5.0, 4.7 and 4.8. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mqtt/packet.h"
#include "mqtt/topic.h"

/* In memory of exactly that size. */
static bool topic_valid(const void *p, size_t n)
{
    uint8_t *copy = malloc(n + (n == 0));
    bool valid;

    assert_non_null(copy);
    memcpy(copy, p, n);
    valid = mqtt_topic_valid((struct slice){.p = copy, .n = n});
    free(copy);
    return valid;
}

/* Each byte value at each place of topics of each length around the eight bytes that are looked at
 * at once: the quick way and the careful one say the same. */
static void one_odd_byte_is_found_anywhere(void **unused)
{
    uint8_t topic[40];

    (void)unused;
    for (size_t n = 1; n <= sizeof topic; n++) {
        for (size_t at = 0; at < n; at++) {
            for (unsigned c = 0; c < 256; c++) {
                bool good = c != 0 && c != '+' && c != '#' && c < 0x80;

                memset(topic, 'a', sizeof topic);
                topic[at] = (uint8_t)c;
                assert_int_equal(topic_valid(topic, n), good);
            }
        }
    }
}

static void utf8_topics_are_valid(void **unused)
{
    static const char *const good[] = {
        "/",
        "//",
        " ",
        "a",
        "$SYS/x",
        "finance/2026 / q1",
        "\xc3\xa9",
        "abcdefg\xc3\xa9",
        "\xe2\x82\xac/abcdefgh",
        "\xf4\x8f\xbf\xbf",
        "\xef\xbb\xbf",
    };
    static const char *const bad[] = {
        "\x80", "abcdefgh\xff", "\xc3", "\xed\xbf\xbf", "\xe0\x80\xaf", "\xc3\xa9/+", "\xc3\xa9#",
    };
    uint8_t *big = malloc(65536);

    (void)unused;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(topic_valid(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(topic_valid(bad[i], strlen(bad[i])));
    assert_false(topic_valid("", 0));
    assert_non_null(big);
    memset(big, 't', 65536);
    assert_true(topic_valid(big, 65535));
    assert_false(topic_valid(big, 65536));
    free(big);
}

static void filters_have_wildcards_in_their_places(void **unused)
{
    static const char *const good[] = {
        "#",
        "+",
        "/",
        "a",
        "a/#",
        "a/+",
        "+/+",
        "/+",
        "+/#",
        "+/tennis/#",
        "sport/+/player1",
        "//#",
        "$SYS/#",
        "$share",
        "$shared/x",
        "$share/g/a",
        "$share/g/#",
        "$share/g//",
        "\xc3\xa9/+",
    };
    static const char *const bad[] = {
        "", "a#", "a/b#", "#/", "#/a", "##", "a/##", "+a", "a+", "a/+b", "++", "\xff", "\xc3\xa9+",
    };
    static const char *const bad_in_5[] = {
        "$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/#/a", "$share/a+b/c",
    };

    (void)unused;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(mqtt_filter_valid(slice_of(good[i])));
        assert_true(mqtt_filter_valid_in(slice_of(good[i]), MQTT_V311));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(mqtt_filter_valid(slice_of(bad[i])));
        assert_false(mqtt_filter_valid_in(slice_of(bad[i]), MQTT_V31));
    }
    for (size_t i = 0; i < sizeof bad_in_5 / sizeof bad_in_5[0]; i++)
        assert_false(mqtt_filter_valid(slice_of(bad_in_5[i])));
    assert_true(mqtt_filter_valid_in(slice_of("$share/g"), MQTT_V311));
    assert_false(mqtt_filter_valid((struct slice){(const uint8_t *)"a\0b", 3}));
    assert_true(mqtt_filter_is_shared(slice_of("$share/g/a")));
    assert_false(mqtt_filter_is_shared(slice_of("$share")));
    assert_false(mqtt_filter_is_shared(slice_of("a/$share/g")));
}

static void filters_match_as_the_standard_shows(void **unused)
{
    static const struct {
        const char *filter, *topic;
        bool match;
    } rows[] = {
        /* 4.7.1.2 */
        {"sport/tennis/player1/#", "sport/tennis/player1", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
        {"sport/tennis/player1/#", "sport/tennis/player12", false},
        {"sport/#", "sport", true},
        {"#", "a", true},
        {"#", "/", true},
        /* 4.7.1.3 */
        {"sport/tennis/+", "sport/tennis/player1", true},
        {"sport/tennis/+", "sport/tennis/player1/ranking", false},
        {"sport/+", "sport", false},
        {"sport/+", "sport/", true},
        {"+/+", "/finance", true},
        {"/+", "/finance", true},
        {"+", "/finance", false},
        {"+/#", "a", true},
        {"+/tennis/#", "x/tennis", true},
        /* 4.7.2 */
        {"#", "$SYS/x", false},
        {"+/monitor/Clients", "$SYS/monitor/Clients", false},
        {"$SYS/#", "$SYS/", true},
        {"$SYS/#", "$SYS", true},
        {"$SYS/monitor/+", "$SYS/monitor/Clients", true},
        {"a/#", "a/$x", true},
        /* 4.7.3 */
        {"ACCOUNTS", "Accounts", false},
        {"/finance", "finance", false},
        {"a/b", "a/b/", false},
        {"a/b/", "a/b", false},
        {"a//b", "a//b", true},
        {"a/+/b", "a//b", true},
        {"a", "ab", false},
        {"ab", "a", false},
        {"a/b/c", "a/b", false},
        /* 4.8.2 */
        {"$share/g/a/+", "a/b", true},
        {"$share/g/a/+", "$share/g/a/b", false},
        {"$share/g/#", "$SYS/x", false},
        {"$share/g//finance", "/finance", true},
        {"$share", "$share", true},
        /* nothing matches nothing */
        {"", "a", false},
        {"+", "", false},
        {"", "", false},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (mqtt_filter_matches(slice_of(rows[i].filter), slice_of(rows[i].topic)) != rows[i].match)
            fail_msg("%s and %s", rows[i].filter, rows[i].topic);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_odd_byte_is_found_anywhere),
        cmocka_unit_test(utf8_topics_are_valid),
        cmocka_unit_test(filters_have_wildcards_in_their_places),
        cmocka_unit_test(filters_match_as_the_standard_shows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
