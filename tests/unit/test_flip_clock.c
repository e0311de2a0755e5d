/* Which clocks a trial may be begun by. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "flip/clock.h"

#define NOW 1900000000

/* clang-format off */
static const struct sample {
    struct flip_clock clock;
    enum flip_clock_verdict verdict;
    bool refused_strict, refused; /* with require_sync, and without it */
} samples[] = {
    { { true,  true,  100, NOW, 0 },                             FLIP_CLOCK_GOOD,    false, false },
    { { true,  true,  100, NOW, NOW - 10 },                      FLIP_CLOCK_GOOD,    false, false },
    /* Synchronised: what was written down as later was written by a clock that was wrong. */
    { { true,  true,  100, NOW, NOW + 100000 },                  FLIP_CLOCK_GOOD,    false, false },
    { { true,  false, 0,   NOW, NOW - 10 },                      FLIP_CLOCK_DRIFTS,  true,  false },
    { { false, false, 0,   NOW, NOW - 10 },                      FLIP_CLOCK_UNKNOWN, true,  false },
    { { false, true,  0,   NOW, NOW - 10 },                      FLIP_CLOCK_UNKNOWN, true,  false },
    { { true,  false, 0,   NOW, 0 },                             FLIP_CLOCK_DRIFTS,  true,  false },
    /* A step back that a time service makes is no sign; more is. */
    { { true,  false, 0,   NOW, NOW + FLIP_CLOCK_SLACK_S },      FLIP_CLOCK_DRIFTS,  true,  false },
    { { true,  false, 0,   NOW, NOW + FLIP_CLOCK_SLACK_S + 1 },  FLIP_CLOCK_WRONG,   true,  true },
    { { false, false, 0,   NOW, NOW + FLIP_CLOCK_SLACK_S + 1 },  FLIP_CLOCK_WRONG,   true,  true },
    { { true,  false, 0,   3,   NOW },                           FLIP_CLOCK_WRONG,   true,  true },
};
/* clang-format on */

static void judges_by_the_table(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        const struct sample *s = &samples[i];
        char text[160];

        if (flip_clock_judge(&s->clock) != s->verdict)
            fail_msg("sample %zu: %d", i, (int)flip_clock_judge(&s->clock));
        assert_int_equal(flip_clock_refuses(s->verdict, true), s->refused_strict);
        assert_int_equal(flip_clock_refuses(s->verdict, false), s->refused);
        flip_clock_text(&s->clock, text, sizeof(text));
        assert_int_equal(*text == '\0', s->verdict == FLIP_CLOCK_GOOD);
    }
}

static void what_is_wrong_is_said(void **unused)
{
    char text[160];

    (void)unused;
    assert_string_equal(
        flip_clock_text(&(struct flip_clock){.known = true, .wall_s = 3, .seen_s = 1935532799},
                        text, sizeof(text)),
        "the clock is wrong: it says 1970-01-01 00:00:03 UTC, and at 2031-05-02 23:59:59 UTC it was "
        "later already");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(judges_by_the_table),
        cmocka_unit_test(what_is_wrong_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
