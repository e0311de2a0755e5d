/* Strings: slices, globs, distances, hex, names, UTF-8. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/str.h"

static void slices_compare_bytes(void **unused)
{
    struct slice nul = {(const uint8_t *)"a\0b", 3};

    (void)unused;
    assert_true(slice_is(slice_of("abc"), "abc"));
    assert_false(slice_is(slice_of("abc"), "ab"));
    assert_false(slice_is(slice_of("abc"), "abd"));
    assert_true(slice_is(slice_of(NULL), ""));
    assert_true(slice_eq(slice_of(NULL), slice_of("")));
    assert_false(slice_is(nul, "a"));
    assert_true(slice_eq(nul, (struct slice){(const uint8_t *)"a\0b", 3}));
    assert_false(slice_eq(nul, (struct slice){(const uint8_t *)"a\0c", 3}));
}

static void globs_match_as_documented(void **unused)
{
    /* clang-format off */
    static const struct { const char *pattern, *text; bool match; } rows[] = {
        { "",          "",          true  },
        { "",          "a",         false },
        { "a",         "",          false },
        { "abc",       "abc",       true  },
        { "abc",       "abcd",      false },
        { "*",         "",          true  },
        { "*",         "anything",  true  },
        { "**",        "x",         true  },
        { "press-*",   "press-12",  true  },
        { "press-*",   "press",     false },
        { "*-12",      "press-12",  true  },
        { "*-12",      "press-120", false },
        { "p*s*2",     "press-12",  true  },
        { "p*s*3",     "press-12",  false },
        { "*ab*ab",    "xabyab",    true  },
        { "*aab",      "aaaab",     true  },
        { "a?c",       "abc",       true  },
        { "a?c",       "ac",        false },
        { "?",         "",          false },
        { "[a-c]x",    "bx",        true  },
        { "[a-c]x",    "dx",        false },
        { "[!a-c]x",   "dx",        true  },
        { "[^a-c]x",   "ax",        false },
        { "[]]",       "]",         true  },
        { "[!]]",      "]",         false },
        { "[a-]",      "-",         true  },
        { "[-a]",      "-",         true  },
        { "[\\]]",     "]",         true  },
        { "[\\!a]",    "!",         true  },
        { "[a-\\c]",   "b",         true  },
        { "[abc",      "[abc",      true  },
        { "[abc",      "a",         false },
        { "\\*",       "*",         true  },
        { "\\*",       "x",         false },
        { "\\",        "\\",        true  },
        { "a\\",       "a\\",       true  },
        { "*[0-9]",    "dev-7",     true  },
        { "*[0-9]",    "dev-x",     false },
        { "[\xc0-\xff]", "\xe4",    true  },
    };
    /* clang-format on */

    (void)unused;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (str_glob(rows[i].pattern, rows[i].text) != rows[i].match)
            fail_msg("%s on %s", rows[i].pattern, rows[i].text);
    }
}

/* A pattern from a configuration cannot stop the daemon. */
static void glob_of_many_stars_ends_soon(void **unused)
{
    char text[2001];

    (void)unused;
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_false(str_glob("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", text));
}

static void has_glob_sees_unquoted_specials(void **unused)
{
    (void)unused;
    assert_true(str_has_glob("press-*"));
    assert_true(str_has_glob("a?"));
    assert_true(str_has_glob("[ab]"));
    assert_false(str_has_glob("[ab"));
    assert_false(str_has_glob("press-12"));
    assert_false(str_has_glob("a\\*b\\?"));
    assert_false(str_has_glob("a\\"));
    assert_false(str_has_glob(""));
}

static void distance_counts_edits_up_to_the_bound(void **unused)
{
    char a[600];
    char b[600];

    (void)unused;
    assert_int_equal(str_distance("", "", 3), 0);
    assert_int_equal(str_distance("listener", "listener", 3), 0);
    assert_int_equal(str_distance("listner", "listener", 3), 1);
    assert_int_equal(str_distance("kitten", "sitting", 5), 3);
    assert_int_equal(str_distance("sitting", "kitten", 5), 3);
    assert_int_equal(str_distance("kitten", "sitting", 2), 3);
    assert_int_equal(str_distance("kitten", "sitting", 0), 1);
    assert_int_equal(str_distance("", "abc", 5), 3);
    assert_int_equal(str_distance("abc", "", 5), 3);
    assert_int_equal(str_distance("", "abcdef", 2), 3);
    assert_int_equal(str_distance("flaw", "lawn", UINT_MAX), 2);
    memset(a, 'x', sizeof(a));
    memset(b, 'x', sizeof(b));
    a[599] = b[599] = '\0';
    b[300] = 'y';
    assert_int_equal(str_distance(a, b, 5), 1);
    b[0] = 'z';
    assert_int_equal(str_distance(a, b, 5), 6); /* the difference spans more than 255 bytes */
}

static void printf_returns_fresh_memory(void **unused)
{
    char *s = str_printf("%s-%d", "press", 12);

    (void)unused;
    assert_string_equal(s, "press-12");
    free(s);
    assert_null(str_printf("%lc", (wint_t)0x20ac)); /* cannot be said in the C locale */
}

static void hex_goes_both_ways(void **unused)
{
    const uint8_t bytes[4] = {0x00, 0x7f, 0xab, 0xff};
    uint8_t back[4];
    char text[9];

    (void)unused;
    str_hex(text, bytes, 4);
    assert_string_equal(text, "007fabff");
    assert_int_equal(str_unhex(text, back, 4), 0);
    assert_memory_equal(back, bytes, 4);
    memset(back, 0, 4);
    assert_int_equal(str_unhex("00:7F:aB:ff", back, 4), 0);
    assert_memory_equal(back, bytes, 4);
    assert_int_equal(str_unhex("", back, 0), 0);
    str_hex(text, bytes, 0);
    assert_string_equal(text, "");
}

static void bad_hex_leaves_the_output_alone(void **unused)
{
    static const char *const bad[] = {"",          "00",          "007fab",     "007fabf",
                                      "007fabff0", "007fabff:",   ":007fabff",  "00::7fabff",
                                      "0g7fabff",  "00 7f ab ff", "007fabff00", "0:07fabff"};
    uint8_t out[4] = {1, 2, 3, 4};

    (void)unused;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (str_unhex(bad[i], out, 4) != -ERR_SYNTAX)
            fail_msg("%s was taken", bad[i]);
    }
    assert_memory_equal(out, "\1\2\3\4", 4);
}

static void names_are_plain(void **unused)
{
    char longest[130];

    (void)unused;
    assert_true(str_is_name("press-12"));
    assert_true(str_is_name("A.b_C-9"));
    assert_true(str_is_name("_x"));
    assert_false(str_is_name(""));
    assert_false(str_is_name(".hidden"));
    assert_false(str_is_name("-option"));
    assert_false(str_is_name("a/b"));
    assert_false(str_is_name("a b"));
    assert_false(str_is_name("a*"));
    assert_false(str_is_name("\xc3\xa4"));
    memset(longest, 'a', sizeof(longest));
    longest[128] = '\0';
    assert_true(str_is_name(longest));
    longest[128] = 'a';
    longest[129] = '\0';
    assert_false(str_is_name(longest));
}

/* The definition, spelled out: decode, then ask whether that is the shortest form of a fit
 * character. */
static size_t reference_step(const uint8_t *p, size_t n)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t want = p[0] < 0x80   ? 1
                  : p[0] < 0xc0 ? 0
                  : p[0] < 0xe0 ? 2
                  : p[0] < 0xf0 ? 3
                  : p[0] < 0xf8 ? 4
                                : 0;
    uint32_t c;

    if (want == 0 || want > n)
        return 0;
    c = want == 1 ? p[0] : p[0] & (0xffu >> (want + 1));
    for (size_t i = 1; i < want; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3fu);
    }
    if (c < least[want] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    return want;
}

static void utf8_steps_agree_with_the_definition(void **unused)
{
    static const uint8_t tails[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90,
                                    0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xff};
    enum { T = sizeof(tails) };
    uint8_t s[4] = {0};

    (void)unused;
    assert_int_equal(str_utf8_step(s, 0), 0);
    for (unsigned first = 0; first < 256; first++) {
        for (unsigned rest = 0; rest < T * T * T; rest++) {
            s[0] = (uint8_t)first;
            s[1] = tails[rest % T];
            s[2] = tails[rest / T % T];
            s[3] = tails[rest / T / T];
            for (size_t n = 1; n <= 4; n++)
                assert_int_equal(str_utf8_step(s, n), reference_step(s, n));
        }
    }
}

static void utf8_at_every_offset(void **unused)
{
    /* clang-format off */
    static const struct { const char *s; size_t n; bool ok; } pieces[] = {
        { "\x01", 1, true },  { "\x7f", 1, true },  { "\xc2\x80", 2, true }, { "\xe2\x82\xac", 3, true },
        { "\xf0\x90\x80\x80", 4, true }, { "\xf4\x8f\xbf\xbf", 4, true }, { "\xef\xbf\xbf", 3, true },
        { "\x00", 1, false }, { "\x80", 1, false }, { "\xc0\x80", 2, false }, { "\xc1\xbf", 2, false },
        { "\xe0\x9f\xbf", 3, false }, { "\xed\xa0\x80", 3, false }, { "\xf0\x8f\xbf\xbf", 4, false },
        { "\xf4\x90\x80\x80", 4, false }, { "\xf5\x80\x80\x80", 4, false }, { "\xff", 1, false },
        { "\xe2\x82", 2, false }, { "\xc3", 1, false },
    };
    /* clang-format on */
    uint8_t text[40];

    (void)unused;
    assert_true(str_is_utf8(NULL, 0));
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        for (size_t at = 0; at <= 24; at++) {
            for (size_t after = 0; after <= 9; after++) {
                memset(text, 'a', sizeof(text));
                memcpy(text + at, pieces[i].s, pieces[i].n);
                if (str_is_utf8(text, at + pieces[i].n + after) != pieces[i].ok)
                    fail_msg("piece %zu at %zu, %zu behind it", i, at, after);
            }
        }
    }
}

static void tidying_leaves_one_line_of_text(void **unused)
{
    char s[] = "a\nb\x7f\xc3\xa4\xffz\xe2\x82";
    char c1[] = "a\xc2\x9b" /* CSI */ "2J\xc2\xa0\xc2\x80"
                "b";

    (void)unused;
    str_tidy(s);
    assert_string_equal(s, "a b \xc3\xa4?z??");
    str_tidy(c1);
    assert_string_equal(c1, "a  2J\xc2\xa0  b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_compare_bytes),
        cmocka_unit_test(globs_match_as_documented),
        cmocka_unit_test(glob_of_many_stars_ends_soon),
        cmocka_unit_test(has_glob_sees_unquoted_specials),
        cmocka_unit_test(distance_counts_edits_up_to_the_bound),
        cmocka_unit_test(printf_returns_fresh_memory),
        cmocka_unit_test(hex_goes_both_ways),
        cmocka_unit_test(bad_hex_leaves_the_output_alone),
        cmocka_unit_test(names_are_plain),
        cmocka_unit_test(utf8_steps_agree_with_the_definition),
        cmocka_unit_test(utf8_at_every_offset),
        cmocka_unit_test(tidying_leaves_one_line_of_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
