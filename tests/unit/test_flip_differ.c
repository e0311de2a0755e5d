/* The differential test: which ends count, how often, and what forgets them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "flip/differ.h"

static const struct diag closed = {
    .class = DIAG_SUSPECT, .silent = true, .name = "connack.closed", .sentence = "closed"};
static const struct diag said = {
    .class = DIAG_SUSPECT, .name = "connack.identifier-rejected", .sentence = "refused"};
static const struct diag late = {
    .class = DIAG_BROKER, .silent = true, .name = "connack.timeout", .sentence = "silent"};
static const struct diag gone = {
    .class = DIAG_NETWORK, .silent = true, .name = "established.closed", .sentence = "closed"};
static const struct diag route = {
    .class = DIAG_NETWORK, .name = "tcp.unreachable", .sentence = "no route"};

/* A round: the new one fails, the old one gets through.  Returns true when it is settled. */
static bool round_of(struct differ *x, const struct diag *d, enum differ_far far, uint64_t lived_ms)
{
    return differ_failed(x, d, far, lived_ms) && differ_other_works(x, d, far);
}

static void silence_takes_three_rounds(void **unused)
{
    const struct diag *ends[] = {&closed, &late};

    (void)unused;
    for (int far = DIFFER_TLS; far <= DIFFER_CONNACK; far++) {
        for (int i = 0; i < 2; i++) {
            struct differ x = {0};

            assert_false(round_of(&x, ends[i], (enum differ_far)far, 0));
            assert_false(round_of(&x, ends[i], (enum differ_far)far, 0));
            assert_true(round_of(&x, ends[i], (enum differ_far)far, 0));
        }
    }
}

static void a_word_takes_one(void **unused)
{
    struct differ x = {0};

    (void)unused;
    assert_true(round_of(&x, &said, DIFFER_CONNACK, 0));
}

static void what_is_clear_needs_no_other_identity(void **unused)
{
    (void)unused;
    for (int c = 0; c < DIAG_CLASSES; c++) {
        struct differ x = {.rounds = 2};
        struct diag d = {.class = (enum diag_class)c};

        assert_int_equal(differ_failed(&x, &d, DIFFER_TLS, 0), c == DIAG_SUSPECT);
        assert_int_equal(x.rounds, c == DIAG_SUSPECT ? 2 : 0); /* they were not in a row */
    }
}

/* Weather: whatever the order, without three rounds in a row nothing is settled. */
static void a_link_that_loses_connections_at_random_settles_nothing(void **unused)
{
    /* Each bit: does the connection get through?  The new one's and the old one's in turn. */
    for (unsigned fate = 0; fate < 1u << 12; fate++) {
        struct differ x = {0};
        unsigned in_a_row = 0;

        for (unsigned i = 0; i < 12;) {
            bool new_works = (fate >> i++ & 1) != 0;
            bool settled = false;

            if (new_works) {
                differ_accepted(&x);
                in_a_row = 0;
            } else {
                assert_true(differ_failed(&x, &closed, DIFFER_TLS, 0));
                if (i < 12 && (fate >> i++ & 1) != 0) {
                    settled = differ_other_works(&x, &closed, DIFFER_TLS);
                    in_a_row++;
                } else {
                    differ_other_fails(&x);
                    in_a_row = 0;
                }
            }
            assert_int_equal(settled, in_a_row >= DIFFER_ROUNDS);
            if (settled)
                break;
        }
    }
    (void)unused;
}

static void a_failure_of_another_kind_starts_it_afresh(void **unused)
{
    struct differ x = {0};

    (void)unused;
    assert_false(round_of(&x, &closed, DIFFER_TLS, 0));
    assert_false(round_of(&x, &closed, DIFFER_TLS, 0));
    assert_false(differ_failed(&x, &route, DIFFER_TLS, 0));
    assert_false(round_of(&x, &closed, DIFFER_TLS, 0));
    assert_false(round_of(&x, &closed, DIFFER_TLS, 0));
    assert_true(round_of(&x, &closed, DIFFER_TLS, 0));
}

/* Accepted, and ended soon, again and again. */
static void early_ends_are_compared_from_the_second_on(void **unused)
{
    struct differ x = {0};

    (void)unused;
    assert_false(differ_failed(&x, &gone, DIFFER_STANDS, 500)); /* it just connects again */
    differ_accepted(&x);
    assert_false(round_of(&x, &gone, DIFFER_STANDS, 500));
    differ_accepted(&x);
    assert_true(round_of(&x, &gone, DIFFER_STANDS, 500));
}

static void the_other_one_that_does_not_stand_forgives(void **unused)
{
    struct differ x = {0};

    (void)unused;
    for (int i = 0; i < 100; i++) {
        if (differ_failed(&x, &gone, DIFFER_STANDS, 500))
            differ_other_fails(&x);
        differ_accepted(&x);
    }
    assert_int_equal(x.rounds, 0);
}

static void what_stood_long_is_forgiven(void **unused)
{
    struct differ x = {0};

    (void)unused;
    assert_false(differ_failed(&x, &gone, DIFFER_STANDS, 500));
    assert_false(round_of(&x, &gone, DIFFER_STANDS, 500));
    assert_false(differ_failed(&x, &gone, DIFFER_STANDS, DIFFER_EARLY_MS));
    assert_int_equal(x.rounds, 0);
    assert_int_equal(x.early, 0);
}

/* A broker that is busy or restarts, a route that is gone: said, and no answer to who we are. */
static void early_ends_that_are_explained_count_not(void **unused)
{
    (void)unused;
    for (int c = 0; c < DIAG_CLASSES; c++) {
        for (int silent = 0; silent < 2; silent++) {
            struct differ x = {.early = 5};
            struct diag d = {.class = (enum diag_class)c, .silent = silent != 0};
            bool counts = c == DIAG_SUSPECT || c == DIAG_PROTOCOL || c == DIAG_POLICY ||
                          (c == DIAG_NETWORK && silent);

            assert_int_equal(differ_failed(&x, &d, DIFFER_STANDS, 1), counts);
        }
    }
}

static void the_other_one_has_to_stand_longer(void **unused)
{
    (void)unused;
    assert_int_equal(differ_stand_ms(0), 2000);
    assert_int_equal(differ_stand_ms(999), 2000);
    assert_int_equal(differ_stand_ms(1000), 2000);
    assert_int_equal(differ_stand_ms(30000), 60000);
}

static void the_verdict_names_the_identity(void **unused)
{
    const struct diag *ends[] = {&closed, &said, &late, &gone};

    (void)unused;
    for (int far = DIFFER_TLS; far <= DIFFER_STANDS; far++) {
        for (int i = 0; i < 4; i++) {
            struct diag d = differ_verdict(ends[i], (enum differ_far)far);

            assert_int_equal(d.class, DIAG_IDENTITY);
            assert_string_equal(d.name, ends[i]->name);
            assert_non_null(strstr(d.sentence, "the other identity was accepted"));
            if (far == DIFFER_STANDS)
                assert_true(strlen(d.remedy) > 0);
        }
    }
}

static void counting_does_not_wrap(void **unused)
{
    struct differ x = {.rounds = UINT8_MAX, .early = UINT8_MAX};

    (void)unused;
    assert_true(round_of(&x, &gone, DIFFER_STANDS, 1));
    assert_int_equal(x.rounds, UINT8_MAX);
    assert_int_equal(x.early, UINT8_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silence_takes_three_rounds),
        cmocka_unit_test(a_word_takes_one),
        cmocka_unit_test(what_is_clear_needs_no_other_identity),
        cmocka_unit_test(a_link_that_loses_connections_at_random_settles_nothing),
        cmocka_unit_test(a_failure_of_another_kind_starts_it_afresh),
        cmocka_unit_test(early_ends_are_compared_from_the_second_on),
        cmocka_unit_test(the_other_one_that_does_not_stand_forgives),
        cmocka_unit_test(what_stood_long_is_forgiven),
        cmocka_unit_test(early_ends_that_are_explained_count_not),
        cmocka_unit_test(the_other_one_has_to_stand_longer),
        cmocka_unit_test(the_verdict_names_the_identity),
        cmocka_unit_test(counting_does_not_wrap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
