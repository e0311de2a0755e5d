/* The phases of a flip: every event in every state against a table of its own, stories, and an
 * explorer that visits all that can happen within a few steps of a small clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/map.h"
#include "flip/engine.h"

/* All that a struct flip holds, as text: comparing bytes would compare its padding. */
static const char *picture(const struct flip *f, char out[200])
{
    snprintf(
        out, 200,
        "%s %s ev=%u max=%u prob=%lld conf=%lld by=%lld att=%u acc=%d pr=%u due=%lld dead=%lld",
        flip_phase_name(f->phase), flip_confirm_name(f->confirm), f->evidence, f->max_attempts,
        (long long)f->probation_ms, (long long)f->confirm_ms, (long long)f->begin_by_ms,
        f->attempts, f->accepted, f->proven, (long long)f->due_ms, (long long)f->dead_ms);
    return out;
}

static void same(const struct flip *a, const struct flip *b)
{
    char one[200];
    char two[200];

    assert_string_equal(picture(a, one), picture(b, two));
}

/* --- every state and every event --- */

enum state { STEADY, STAGED, PENDING, PROVING, CONFIRMING, COMMITTED, ROLLED_BACK, STATES };

static const char *const state_names[STATES] = {
    "steady", "staged", "pending", "proving", "confirming", "committed", "rolled-back",
};

/* Get there the long way, by events. */
static struct flip reach(enum state s)
{
    struct flip f;

    flip_init(&f);
    if (s == STEADY)
        return f;
    assert_true(flip_step(&f, EV_INSTALLED, 1000) >= 0);
    if (s == STAGED)
        return f;
    if (s == CONFIRMING)
        f.confirm = FLIP_CONFIRM_CENTRAL;
    assert_true(flip_step(&f, EV_FLIP, 2000) >= 0);
    if (s == PENDING)
        return f;
    if (s == ROLLED_BACK) {
        assert_true(flip_step(&f, EV_ROLLBACK, 3000) >= 0);
        return f;
    }
    assert_true(flip_step(&f, EV_ACCEPTED, 3000) >= 0);
    if (s == COMMITTED)
        assert_true(flip_step(&f, EV_HEALTHY, 4000) >= 0);
    return f;
}

/* What is not listed is refused. */
static const struct {
    enum state from;
    enum flip_event ev;
    enum flip_phase to;
    const char *actions;
} expected[] = {
    /* clang-format off */
    { STEADY,      EV_INSTALLED,    FLIP_STAGED,      "save tell" },
    { STEADY,      EV_RESTARTED,    FLIP_STEADY,      "" },

    { STAGED,      EV_INSTALLED,    FLIP_STAGED,      "save tell" },
    { STAGED,      EV_DISCARDED,    FLIP_STEADY,      "save discard tell" },
    { STAGED,      EV_FLIP,         FLIP_TRIAL,       "save use-new arm tell" },
    { STAGED,      EV_ROLLED,       FLIP_STAGED,      "" },
    { STAGED,      EV_RESTARTED,    FLIP_STAGED,      "" },

    { PENDING,     EV_ACCEPTED,     FLIP_TRIAL,       "save arm tell" },
    { PENDING,     EV_REJECTED,     FLIP_ROLLED_BACK, "save quarantine use-old disarm tell" },
    { PENDING,     EV_SUSPECT,      FLIP_TRIAL,       "try-old" },
    { PENDING,     EV_OLD_ACCEPTED, FLIP_ROLLED_BACK, "save quarantine use-old disarm tell" },
    { PENDING,     EV_LOST,         FLIP_TRIAL,       "" },
    { PENDING,     EV_DEADLINE,     FLIP_ROLLED_BACK, "save quarantine use-old disarm tell" },
    { PENDING,     EV_LATE,         FLIP_STAGED,      "save use-old disarm tell" },
    { PENDING,     EV_EXHAUSTED,    FLIP_ROLLED_BACK, "save quarantine use-old disarm tell" },
    { PENDING,     EV_ROLLBACK,     FLIP_ROLLED_BACK, "save quarantine use-old disarm tell" },
    { PENDING,     EV_RESTARTED,    FLIP_TRIAL,       "save use-new arm" },

    { PROVING,     EV_ACCEPTED,     FLIP_TRIAL,       "" },
    { PROVING,     EV_REJECTED,     FLIP_ROLLED_BACK, "save quarantine use-old disarm tell" },
    { PROVING,     EV_SUSPECT,      FLIP_TRIAL,       "save try-old arm" },
    { PROVING,     EV_OLD_ACCEPTED, FLIP_ROLLED_BACK, "save quarantine use-old disarm tell" },
    { PROVING,     EV_LOST,         FLIP_TRIAL,       "save arm" },
    { PROVING,     EV_HEALTHY,      FLIP_COMMITTED,   "save disarm tell" },
    { PROVING,     EV_CONFIRMED,    FLIP_COMMITTED,   "save disarm tell" },
    { PROVING,     EV_ECHOED,       FLIP_TRIAL,       "save tell" },
    { PROVING,     EV_UNPROVEN,     FLIP_ROLLED_BACK, "save quarantine use-old disarm tell" },
    { PROVING,     EV_VOUCHED,      FLIP_TRIAL,       "save arm tell" },
    { PROVING,     EV_COMMIT,       FLIP_COMMITTED,   "save disarm tell" },
    { PROVING,     EV_EXHAUSTED,    FLIP_ROLLED_BACK, "save quarantine use-old disarm tell" },
    { PROVING,     EV_ROLLBACK,     FLIP_ROLLED_BACK, "save quarantine use-old disarm tell" },
    { PROVING,     EV_RESTARTED,    FLIP_TRIAL,       "save use-new arm" },

    { CONFIRMING,  EV_ACCEPTED,     FLIP_TRIAL,       "" },
    { CONFIRMING,  EV_REJECTED,     FLIP_ROLLED_BACK, "save quarantine use-old disarm tell" },
    { CONFIRMING,  EV_SUSPECT,      FLIP_TRIAL,       "save try-old arm" },
    { CONFIRMING,  EV_OLD_ACCEPTED, FLIP_ROLLED_BACK, "save quarantine use-old disarm tell" },
    { CONFIRMING,  EV_LOST,         FLIP_TRIAL,       "save arm" },
    { CONFIRMING,  EV_HEALTHY,      FLIP_TRIAL,       "save arm tell" },
    { CONFIRMING,  EV_CONFIRMED,    FLIP_COMMITTED,   "save disarm tell" },
    { CONFIRMING,  EV_DEADLINE,     FLIP_ROLLED_BACK, "save quarantine use-old disarm tell" },
    { CONFIRMING,  EV_ECHOED,       FLIP_TRIAL,       "save tell" },
    { CONFIRMING,  EV_UNPROVEN,     FLIP_ROLLED_BACK, "save quarantine use-old disarm tell" },
    { CONFIRMING,  EV_VOUCHED,      FLIP_TRIAL,       "save arm tell" },
    { CONFIRMING,  EV_COMMIT,       FLIP_COMMITTED,   "save disarm tell" },
    { CONFIRMING,  EV_EXHAUSTED,    FLIP_ROLLED_BACK, "save quarantine use-old disarm tell" },
    { CONFIRMING,  EV_ROLLBACK,     FLIP_ROLLED_BACK, "save quarantine use-old disarm tell" },
    { CONFIRMING,  EV_RESTARTED,    FLIP_TRIAL,       "save use-new arm" },

    { COMMITTED,   EV_ACCEPTED,     FLIP_COMMITTED,   "" },
    { COMMITTED,   EV_LOST,         FLIP_COMMITTED,   "" },
    { COMMITTED,   EV_REJECTED,     FLIP_COMMITTED,   "try-old" },
    { COMMITTED,   EV_SUSPECT,      FLIP_COMMITTED,   "try-old" },
    { COMMITTED,   EV_OLD_ACCEPTED, FLIP_ROLLED_BACK, "save quarantine use-old disarm tell" },
    { COMMITTED,   EV_ROLLBACK,     FLIP_ROLLED_BACK, "save quarantine use-old disarm tell" },
    { COMMITTED,   EV_RETIRED,      FLIP_STEADY,      "save retire tell" },
    { COMMITTED,   EV_RESTARTED,    FLIP_COMMITTED,   "" },

    { ROLLED_BACK, EV_INSTALLED,    FLIP_STAGED,      "save tell" },
    { ROLLED_BACK, EV_DISCARDED,    FLIP_STEADY,      "save discard tell" },
    { ROLLED_BACK, EV_ROLLED,       FLIP_ROLLED_BACK, "tell" },
    { ROLLED_BACK, EV_CLEARED,      FLIP_STAGED,      "save tell" },
    { ROLLED_BACK, EV_RESTARTED,    FLIP_ROLLED_BACK, "" },
    /* clang-format on */
};

static void every_event_in_every_state(void **unused)
{
    (void)unused;
    for (int s = 0; s < STATES; s++) {
        for (int ev = -1; ev <= FLIP_EVENTS; ev++) {
            struct flip before = reach((enum state)s);
            struct flip f = before;
            int actions = flip_step(&f, (enum flip_event)ev, 5000);
            const char *wanted = NULL;
            enum flip_phase to = FLIP_PHASES;
            char text[128];

            for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
                if ((int)expected[i].from == s && (int)expected[i].ev == ev) {
                    wanted = expected[i].actions;
                    to = expected[i].to;
                }
            }
            if (wanted == NULL) {
                if (actions != -ERR_PHASE)
                    fail_msg("%s takes %s", state_names[s], flip_event_name((enum flip_event)ev));
                same(&f, &before);
                continue;
            }
            if (actions < 0)
                fail_msg("%s refuses %s", state_names[s], flip_event_name((enum flip_event)ev));
            if (f.phase != to ||
                strcmp(flip_actions_text(actions, text, sizeof(text)), wanted) != 0)
                fail_msg("%s, %s -> %s: %s", state_names[s], flip_event_name((enum flip_event)ev),
                         flip_phase_name(f.phase), text);
            assert_null(flip_broken(&f));
        }
    }
}

static void the_active_slot_follows_from_the_phase(void **unused)
{
    /* clang-format off */
    static const enum flip_slot slots[STATES] = {
        [STEADY] = FLIP_OLD, [STAGED] = FLIP_OLD, [PENDING] = FLIP_NEW, [PROVING] = FLIP_NEW,
        [CONFIRMING] = FLIP_NEW, [COMMITTED] = FLIP_NEW, [ROLLED_BACK] = FLIP_OLD,
    };
    /* clang-format on */

    (void)unused;
    for (int s = 0; s < STATES; s++) {
        struct flip f = reach((enum state)s);

        assert_int_equal(flip_active_slot(&f), slots[s]);
        assert_int_equal(flip_pending(&f), s == PENDING);
    }
    assert_int_equal(flip_other_slot(FLIP_OLD), FLIP_NEW);
    assert_int_equal(flip_other_slot(FLIP_NEW), FLIP_OLD);
}

/* --- stories --- */

struct story {
    struct flip f;
    char told[2000];
    size_t n;
};

static struct story story_from(enum state s)
{
    struct story st = {.f = reach(s)};

    return st;
}

static void happens(struct story *s, int64_t now_ms, enum flip_event ev)
{
    const char *from = flip_phase_name(s->f.phase);
    int actions = flip_step(&s->f, ev, now_ms);
    char text[128] = "";

    if (actions >= 0)
        flip_actions_text(actions, text, sizeof(text));
    s->n += (size_t)snprintf(s->told + s->n, sizeof(s->told) - s->n, "[%6lld] %s, %s -> %s:%s%s\n",
                             (long long)now_ms, from, flip_event_name(ev),
                             actions < 0 ? "refused" : flip_phase_name(s->f.phase),
                             *text != '\0' ? " " : "", text);
    assert_true(s->n < sizeof(s->told));
}

/* Let time go by until `until_ms`, and whatever is due happen when it is due. */
static void time_passes(struct story *s, int64_t until_ms)
{
    int64_t due;

    while ((due = flip_due(&s->f)) != 0 && due <= until_ms) {
        assert_int_equal(flip_tick(&s->f, due - 1), EV_NONE);
        assert_int_not_equal(flip_tick(&s->f, due), EV_NONE);
        happens(s, due, flip_tick(&s->f, due));
    }
    assert_int_equal(flip_tick(&s->f, until_ms), EV_NONE);
}

static void healthy_trial_commits(void **unused)
{
    struct story s = story_from(STAGED);

    (void)unused;
    happens(&s, 0, EV_FLIP);
    happens(&s, 1800, EV_ACCEPTED);
    time_passes(&s, 100000);
    happens(&s, 100000, EV_RETIRED);
    assert_string_equal(s.told, "[     0] staged, flip -> trial: save use-new arm tell\n"
                                "[  1800] trial, accepted -> trial: save arm tell\n"
                                "[ 61800] trial, healthy -> committed: save disarm tell\n"
                                "[100000] committed, retired -> steady: save retire tell\n");
}

/* A broker that rejects the new certificate gets the device back on the old one. */
static void rejected_trial_rolls_back(void **unused)
{
    struct story s = story_from(STAGED);

    (void)unused;
    happens(&s, 0, EV_FLIP);
    happens(&s, 1800, EV_REJECTED);
    happens(&s, 1900, EV_HEALTHY);
    happens(&s, 2000, EV_ROLLED);
    happens(&s, 3000, EV_FLIP);
    happens(&s, 4000, EV_CLEARED);
    happens(&s, 5000, EV_FLIP);
    assert_string_equal(
        s.told, "[     0] staged, flip -> trial: save use-new arm tell\n"
                "[  1800] trial, rejected -> rolled-back: save quarantine use-old disarm tell\n"
                "[  1900] rolled-back, healthy -> refused:\n"
                "[  2000] rolled-back, rolled -> rolled-back: tell\n"
                "[  3000] rolled-back, flip -> refused:\n"
                "[  4000] rolled-back, cleared -> staged: save tell\n"
                "[  5000] staged, flip -> trial: save use-new arm tell\n");
    assert_int_equal(s.f.attempts, 1);
}

/* Probation is one connection that stands for so long, not the sum of several. */
static void lost_connection_starts_probation_anew(void **unused)
{
    struct story s = story_from(STAGED);

    (void)unused;
    happens(&s, 0, EV_FLIP);
    time_passes(&s, 500000); /* the device is offline: nothing is due */
    happens(&s, 500000, EV_ACCEPTED);
    time_passes(&s, 559999);
    happens(&s, 559999, EV_LOST);
    time_passes(&s, 600000);
    assert_true(flip_pending(&s.f));
    happens(&s, 600000, EV_ACCEPTED);
    time_passes(&s, 700000);
    assert_string_equal(s.told, "[     0] staged, flip -> trial: save use-new arm tell\n"
                                "[500000] trial, accepted -> trial: save arm tell\n"
                                "[559999] trial, lost -> trial: save arm\n"
                                "[600000] trial, accepted -> trial: save arm tell\n"
                                "[660000] trial, healthy -> committed: save disarm tell\n");
}

/* Only when the old identity is accepted where the new one fails, the identity is to blame. */
static void suspicion_is_settled_by_the_other_identity(void **unused)
{
    struct story s = story_from(STAGED);

    (void)unused;
    happens(&s, 0, EV_FLIP);
    happens(&s, 100, EV_SUSPECT);
    happens(&s, 200, EV_LOST); /* the old one failed, too */
    happens(&s, 300, EV_SUSPECT);
    happens(&s, 400, EV_OLD_ACCEPTED);
    assert_string_equal(
        s.told,
        "[     0] staged, flip -> trial: save use-new arm tell\n"
        "[   100] trial, suspect -> trial: try-old\n"
        "[   200] trial, lost -> trial:\n"
        "[   300] trial, suspect -> trial: try-old\n"
        "[   400] trial, old-accepted -> rolled-back: save quarantine use-old disarm tell\n");
}

static void unconfirmed_trial_rolls_back_at_the_deadline(void **unused)
{
    struct story s = story_from(STAGED);

    (void)unused;
    s.f.confirm = FLIP_CONFIRM_CENTRAL;
    s.f.confirm_ms = 300000;
    happens(&s, 0, EV_FLIP);
    happens(&s, 500, EV_CONFIRMED); /* nothing was seen yet */
    time_passes(&s, 100000);        /* and no deadline runs */
    happens(&s, 100000, EV_ACCEPTED);
    time_passes(&s, 200000);
    happens(&s, 200000, EV_LOST);
    happens(&s, 350000, EV_ACCEPTED); /* coming back does not prolong it */
    time_passes(&s, 500000);
    happens(&s, 500000, EV_CONFIRMED);
    assert_string_equal(
        s.told, "[     0] staged, flip -> trial: save use-new arm tell\n"
                "[   500] trial, confirmed -> refused:\n"
                "[100000] trial, accepted -> trial: save arm tell\n"
                "[160000] trial, healthy -> trial: save arm tell\n"
                "[200000] trial, lost -> trial: save arm\n"
                "[350000] trial, accepted -> trial: save arm tell\n"
                "[400000] trial, deadline -> rolled-back: save quarantine use-old disarm tell\n"
                "[500000] rolled-back, confirmed -> refused:\n");
}

static void confirmed_trial_commits(void **unused)
{
    struct story s = story_from(STAGED);

    (void)unused;
    s.f.confirm = FLIP_CONFIRM_CENTRAL;
    happens(&s, 0, EV_FLIP);
    happens(&s, 1000, EV_ACCEPTED);
    happens(&s, 2000, EV_CONFIRMED); /* the centre need not wait for probation */
    time_passes(&s, 10000000);
    assert_string_equal(s.told, "[     0] staged, flip -> trial: save use-new arm tell\n"
                                "[  1000] trial, accepted -> trial: save arm tell\n"
                                "[  2000] trial, confirmed -> committed: save disarm tell\n");
}

/* Whoever slept through both, probation and the wait, was not confirmed in time. */
static void deadline_comes_before_health(void **unused)
{
    struct flip f = reach(CONFIRMING);

    (void)unused;
    assert_int_equal(flip_tick(&f, 10000000), EV_DEADLINE);
}

static void lost_during_the_wait_still_ends_at_the_deadline(void **unused)
{
    struct story s = story_from(CONFIRMING); /* accepted at 3000 */

    (void)unused;
    happens(&s, 4000, EV_LOST);
    time_passes(&s, 700000);
    assert_string_equal(
        s.told, "[  4000] trial, lost -> trial: save arm\n"
                "[603000] trial, deadline -> rolled-back: save quarantine use-old disarm tell\n");
}

/* Like an A/B boot slot: so many attempts, then back. */
static void restarts_use_up_the_attempts(void **unused)
{
    struct story s = story_from(STAGED);

    (void)unused;
    happens(&s, 0, EV_FLIP);
    happens(&s, 1000, EV_RESTARTED);
    happens(&s, 2000, EV_ACCEPTED);
    happens(&s, 3000, EV_RESTARTED);
    assert_int_equal(s.f.attempts, 3);
    assert_true(flip_pending(&s.f));
    assert_int_equal(flip_due(&s.f), 0);
    happens(&s, 4000, EV_RESTARTED);
    happens(&s, 5000, EV_RESTARTED);
    assert_string_equal(
        s.told, "[     0] staged, flip -> trial: save use-new arm tell\n"
                "[  1000] trial, restarted -> trial: save use-new arm\n"
                "[  2000] trial, accepted -> trial: save arm tell\n"
                "[  3000] trial, restarted -> trial: save use-new arm\n"
                "[  4000] trial, restarted -> rolled-back: save quarantine use-old disarm tell\n"
                "[  5000] rolled-back, restarted -> rolled-back:\n");
}

/* A restart neither prolongs the wait for a confirmation nor loses it, even when the clock began
 * anew. */
static void deadline_survives_a_restart(void **unused)
{
    struct flip f = reach(CONFIRMING); /* accepted at 3000, 600 s to confirm */

    (void)unused;
    assert_true(flip_step(&f, EV_RESTARTED, 200000) >= 0);
    assert_int_equal(f.dead_ms, 603000);
    assert_true(flip_step(&f, EV_ACCEPTED, 300000) >= 0);
    assert_int_equal(f.dead_ms, 603000);
    f.dead_ms = 99999999; /* of a machine that had been up for a day, and was booted */
    assert_true(flip_step(&f, EV_RESTARTED, 50) >= 0);
    assert_int_equal(f.dead_ms, 600050);
}

/* After a reboot CLOCK_BOOTTIME is another one: the wall clock says how long the machine was off,
 * if it can be believed. */
static void a_reboot_neither_prolongs_the_wait_nor_cuts_it(void **unused)
{
    const int64_t saved_s = 2000000000, ten_years_s = INT64_C(3652) * 86400;
    bool believed = false;

    (void)unused;
    /* 600 s were left; off for 100 s, up for 20 s. */
    assert_int_equal(flip_dead_after_reboot(600000, saved_s, saved_s + 100, 20000, &believed),
                     520000);
    assert_true(believed);
    /* Off for longer than was left. */
    assert_int_equal(flip_dead_after_reboot(600000, saved_s, saved_s + 7200, 20000, &believed), 1);
    assert_true(believed);
    /* 1970, and ten years ahead: what was left is left, not more and not less. */
    assert_int_equal(flip_dead_after_reboot(600000, saved_s, 60, 20000, &believed), 620000);
    assert_false(believed);
    assert_int_equal(
        flip_dead_after_reboot(600000, saved_s, saved_s + ten_years_s, 20000, &believed), 620000);
    assert_false(believed);
    /* Overdue when the row was written. */
    assert_int_equal(flip_dead_after_reboot(-5, saved_s, 60, 20000, &believed), 1);
}

/* --- evidence --- */

static struct story story_of_evidence(enum flip_confirm confirm)
{
    struct story s = story_from(STAGED);

    s.f.evidence = FLIP_PROOF_ECHO;
    s.f.confirm = confirm;
    happens(&s, 0, EV_FLIP);
    happens(&s, 1000, EV_ACCEPTED);
    return s;
}

#define BEGUN                                                 \
    "[     0] staged, flip -> trial: save use-new arm tell\n" \
    "[  1000] trial, accepted -> trial: save arm tell\n"

static void probation_without_the_echo_rolls_back(void **unused)
{
    struct story s = story_of_evidence(FLIP_CONFIRM_AUTO);

    (void)unused;
    assert_int_equal(flip_wanted(&s.f), FLIP_PROOF_CONNACK | FLIP_PROOF_ECHO);
    assert_int_equal(flip_missing(&s.f), FLIP_PROOF_ECHO);
    time_passes(&s, 100000);
    assert_string_equal(
        s.told,
        BEGUN "[ 61000] trial, unproven -> rolled-back: save quarantine use-old disarm tell\n");
    assert_int_equal(flip_missing(&s.f), 0);
}

static void probation_with_the_echo_commits(void **unused)
{
    struct story s = story_of_evidence(FLIP_CONFIRM_AUTO);

    (void)unused;
    happens(&s, 1003, EV_ECHOED);
    assert_int_equal(flip_missing(&s.f), 0);
    time_passes(&s, 100000);
    assert_string_equal(s.told, BEGUN "[  1003] trial, echoed -> trial: save tell\n"
                                      "[ 61000] trial, healthy -> committed: save disarm tell\n");
}

/* What was proven of one connection says nothing of the next; time without one does not count. */
static void an_outage_asks_for_the_echo_again(void **unused)
{
    struct story s = story_of_evidence(FLIP_CONFIRM_AUTO);

    (void)unused;
    happens(&s, 1003, EV_ECHOED);
    happens(&s, 2000, EV_LOST);
    time_passes(&s, 500000);
    assert_int_equal(flip_missing(&s.f), FLIP_PROOF_CONNACK | FLIP_PROOF_ECHO);
    happens(&s, 500000, EV_ACCEPTED);
    assert_int_equal(flip_missing(&s.f), FLIP_PROOF_ECHO);
    time_passes(&s, 700000);
    assert_string_equal(
        s.told,
        BEGUN "[  1003] trial, echoed -> trial: save tell\n"
              "[  2000] trial, lost -> trial: save arm\n"
              "[500000] trial, accepted -> trial: save arm tell\n"
              "[560000] trial, unproven -> rolled-back: save quarantine use-old disarm tell\n");
}

/* The word of the centre does not replace the echo that was asked for: each is awaited. */
static void both_the_echo_and_the_centre_are_awaited(void **unused)
{
    struct story s = story_of_evidence(FLIP_CONFIRM_CENTRAL), t = s, u = s;

    (void)unused;
    happens(&s, 2000, EV_CONFIRMED);
    assert_int_equal(flip_missing(&s.f), FLIP_PROOF_ECHO);
    happens(&s, 3000, EV_ECHOED);
    assert_string_equal(s.told, BEGUN "[  2000] trial, confirmed -> trial: save arm tell\n"
                                      "[  3000] trial, echoed -> committed: save disarm tell\n");

    happens(&t, 2000, EV_ECHOED);
    happens(&t, 3000, EV_CONFIRMED);
    assert_string_equal(t.told, BEGUN "[  2000] trial, echoed -> trial: save tell\n"
                                      "[  3000] trial, confirmed -> committed: save disarm tell\n");

    happens(&u, 2000, EV_CONFIRMED); /* kept over an outage, and no deadline runs any more */
    happens(&u, 3000, EV_LOST);
    happens(&u, 9000000, EV_ACCEPTED);
    happens(&u, 9000003, EV_ECHOED);
    assert_int_equal(u.f.phase, FLIP_COMMITTED);
}

static void a_confirmed_trial_without_the_echo_rolls_back(void **unused)
{
    struct story s = story_of_evidence(FLIP_CONFIRM_CENTRAL);

    (void)unused;
    happens(&s, 2000, EV_CONFIRMED);
    time_passes(&s, 1000000);
    assert_string_equal(
        s.told,
        BEGUN "[  2000] trial, confirmed -> trial: save arm tell\n"
              "[ 61000] trial, unproven -> rolled-back: save quarantine use-old disarm tell\n");
}

/* Whoever commands a commit knows why. */
static void a_commit_by_command_needs_no_evidence(void **unused)
{
    struct story s = story_of_evidence(FLIP_CONFIRM_CENTRAL);

    (void)unused;
    happens(&s, 2000, EV_COMMIT);
    assert_string_equal(s.told, BEGUN "[  2000] trial, commit -> committed: save disarm tell\n");
}

static void a_restart_asks_for_the_echo_again(void **unused)
{
    struct story s = story_of_evidence(FLIP_CONFIRM_AUTO);

    (void)unused;
    happens(&s, 1003, EV_ECHOED);
    happens(&s, 2000, EV_RESTARTED);
    happens(&s, 3000, EV_ACCEPTED);
    assert_int_equal(flip_missing(&s.f), FLIP_PROOF_ECHO);
}

static void pending_trial_that_is_late_is_staged_again(void **unused)
{
    struct story s = story_from(STAGED);
    struct story t;

    (void)unused;
    s.f.begin_by_ms = 90000;
    t = s;
    happens(&s, 0, EV_FLIP);
    time_passes(&s, 100000);
    happens(&s, 100100, EV_ROLLED);
    assert_string_equal(s.told, "[     0] staged, flip -> trial: save use-new arm tell\n"
                                "[ 90000] trial, late -> staged: save use-old disarm tell\n"
                                "[100100] staged, rolled -> staged:\n");
    happens(&t, 0, EV_FLIP);
    happens(&t, 80000, EV_ACCEPTED); /* it did begin */
    happens(&t, 85000, EV_LOST);
    time_passes(&t, 100000);
    assert_int_equal(t.f.phase, FLIP_TRIAL);
}

static void committed_flip_goes_back_only_when_the_old_identity_works(void **unused)
{
    struct story s = story_from(COMMITTED);

    (void)unused;
    happens(&s, 100, EV_REJECTED);
    happens(&s, 200, EV_LOST);
    happens(&s, 300, EV_SUSPECT);
    happens(&s, 400, EV_OLD_ACCEPTED);
    assert_string_equal(
        s.told,
        "[   100] committed, rejected -> committed: try-old\n"
        "[   200] committed, lost -> committed:\n"
        "[   300] committed, suspect -> committed: try-old\n"
        "[   400] committed, old-accepted -> rolled-back: save quarantine use-old disarm tell\n");
}

static void terms_out_of_bounds_are_refused(void **unused)
{
    struct flip staged = reach(STAGED);
    struct flip f;

    (void)unused;
#define REFUSED(change, rc)                                 \
    do {                                                    \
        struct flip before;                                 \
        f = staged;                                         \
        change;                                             \
        before = f;                                         \
        assert_int_equal(flip_step(&f, EV_FLIP, 5000), rc); \
        same(&f, &before);                                  \
    } while (0)
    REFUSED(f.max_attempts = 0, -ERR_INVALID);
    REFUSED(f.probation_ms = -1, -ERR_INVALID);
    REFUSED(f.probation_ms = FLIP_LONGEST_MS + 1, -ERR_INVALID);
    REFUSED(f.begin_by_ms = -1, -ERR_INVALID);
    REFUSED((f.confirm = FLIP_CONFIRM_CENTRAL, f.confirm_ms = 0), -ERR_INVALID);
    REFUSED((f.confirm = FLIP_CONFIRM_CENTRAL, f.confirm_ms = FLIP_LONGEST_MS + 1), -ERR_INVALID);
    REFUSED(f.confirm = (enum flip_confirm)7, -ERR_INVALID);
    REFUSED(f.evidence = FLIP_PROOF_CENTRAL, -ERR_INVALID);
    REFUSED(f.evidence = 1U << FLIP_PROOFS, -ERR_INVALID);
    REFUSED(f.begin_by_ms = 5000, -ERR_TIMEOUT);
    f = staged;
    f.confirm_ms = 0; /* of no importance in automatic mode */
    assert_true(flip_step(&f, EV_FLIP, 5000) >= 0);
}

static void damaged_rows_are_noticed(void **unused)
{
    struct flip f;

    (void)unused;
    for (int s = 0; s < STATES; s++) {
        f = reach((enum state)s);
        assert_null(flip_broken(&f));
    }
#define BROKEN(state, change) (f = reach(state), change, assert_non_null(flip_broken(&f)))
    BROKEN(STEADY, f.phase = FLIP_PHASES);
    BROKEN(STEADY, f.phase = (enum flip_phase) - 1);
    BROKEN(STEADY, f.accepted = true);
    BROKEN(STAGED, f.attempts = 1);
    BROKEN(COMMITTED, f.due_ms = 1);
    BROKEN(ROLLED_BACK, f.dead_ms = 1);
    f = reach(PENDING); /* of a device that was away when it was flipped */
    f.attempts = 0;
    assert_null(flip_broken(&f));
    BROKEN(PROVING, f.attempts = 0);
    BROKEN(PENDING, f.proven = FLIP_PROOF_ECHO);
    BROKEN(PROVING, f.proven = FLIP_PROOF_CONNACK);
    BROKEN(COMMITTED, f.proven = FLIP_PROOF_ECHO);
    BROKEN(PROVING, f.evidence = FLIP_PROOF_CONNACK);
    BROKEN(PENDING, f.attempts = 4);
    BROKEN(PENDING, f.max_attempts = 0);
    BROKEN(PENDING, f.due_ms = 1);
    BROKEN(PROVING, f.due_ms = -1);
    BROKEN(PROVING, f.dead_ms = 1);
    BROKEN(CONFIRMING, f.dead_ms = -1);
    BROKEN(CONFIRMING, f.confirm_ms = 0);
}

/* --- the explorer --- */

/* What an onlooker remembers: enough to say what must not happen. */
struct world {
    struct flip f;
    int64_t now_ms;
    bool stands;       /* the last news of the new identity was good */
    bool echoed;       /* since it stands, a message came back */
    bool vouched;      /* the centre has seen it, in this trial */
    unsigned restarts; /* of this trial */
    enum flip_slot in_use;
};

static void step_keeps_the_promises(struct world *w, enum flip_event ev)
{
    struct flip before = w->f;
    int64_t due_before = flip_due(&w->f);
    int actions = flip_step(&w->f, ev, w->now_ms);
    enum flip_phase from = before.phase;
    enum flip_phase to = w->f.phase;

    if (actions < 0) {
        same(&before, &w->f);
        return;
    }
    assert_null(flip_broken(&w->f));

    /* One identity is used, and the session is moved whenever the active one changes. */
    assert_true((actions & (DO_USE_NEW | DO_USE_OLD)) != (DO_USE_NEW | DO_USE_OLD));
    if ((actions & DO_USE_NEW) != 0)
        w->in_use = FLIP_NEW;
    if ((actions & DO_USE_OLD) != 0)
        w->in_use = FLIP_OLD;
    if ((actions & DO_RETIRE) != 0)
        w->in_use = FLIP_OLD; /* the same identity, in the other slot */
    assert_int_equal(w->in_use, flip_active_slot(&w->f));
    assert_true(!(actions & DO_TRY_OLD) || flip_active_slot(&w->f) == FLIP_NEW);

    /* What is done is durable first, and what changed is told. */
    if ((actions & (DO_USE_NEW | DO_USE_OLD | DO_RETIRE | DO_DISCARD | DO_QUARANTINE)) != 0)
        assert_true(actions & DO_SAVE);
    if (from != to)
        assert_true((actions & DO_SAVE) && (actions & DO_TELL));
    if (flip_due(&w->f) != due_before)
        assert_true(actions & (DO_ARM | DO_DISARM));
    if ((actions & DO_DISARM) != 0)
        assert_int_equal(flip_due(&w->f), 0);
    assert_int_equal((actions & DO_QUARANTINE) != 0, from != to && to == FLIP_ROLLED_BACK);

    /* No success without evidence, and none against the word of the centre. */
    if (ev == EV_ACCEPTED)
        w->stands = true;
    if (ev == EV_ECHOED)
        w->echoed = true;
    if (ev == EV_CONFIRMED || ev == EV_VOUCHED)
        w->vouched = true;
    if (from != to && to == FLIP_COMMITTED && ev == EV_COMMIT) {
        assert_true(from == FLIP_TRIAL && w->stands);
    } else if (from != to && to == FLIP_COMMITTED) {
        assert_int_equal(from, FLIP_TRIAL);
        assert_true(w->stands);
        assert_true(w->echoed || before.evidence == 0);
        if (before.confirm == FLIP_CONFIRM_CENTRAL)
            assert_true(w->vouched);
        else
            assert_true(w->vouched || ev == EV_HEALTHY);
    }
    if (ev == EV_LOST || ev == EV_SUSPECT || ev == EV_FLIP || ev == EV_RESTARTED)
        w->stands = w->echoed = false;
    if (ev == EV_FLIP)
        w->vouched = false;
    if (to == FLIP_TRIAL) { /* the onlooker and the engine agree on what is missing */
        assert_int_equal((flip_missing(&w->f) & FLIP_PROOF_CONNACK) != 0, !w->stands);
        assert_int_equal((flip_missing(&w->f) & FLIP_PROOF_ECHO) != 0,
                         w->f.evidence != 0 && !w->echoed);
        assert_int_equal((flip_missing(&w->f) & FLIP_PROOF_CENTRAL) != 0,
                         w->f.confirm == FLIP_CONFIRM_CENTRAL && !w->vouched);
    }

    /* Attempts end. */
    if (ev == EV_FLIP)
        w->restarts = 0;
    if (ev == EV_EXHAUSTED)
        assert_int_equal(to, FLIP_ROLLED_BACK);
    if (ev == EV_RESTARTED && from == FLIP_TRIAL && ++w->restarts >= before.max_attempts)
        assert_int_equal(to, FLIP_ROLLED_BACK);

    /* Quarantine ends by acknowledgement or another identity, never by a flip. */
    if (from == FLIP_ROLLED_BACK && to != FLIP_ROLLED_BACK)
        assert_true(ev == EV_CLEARED || ev == EV_INSTALLED || ev == EV_DISCARDED);
}

static struct world small_world(enum flip_confirm confirm, unsigned evidence, int64_t begin_by_ms)
{
    struct world w = {.now_ms = 1};

    flip_init(&w.f);
    w.f.confirm = confirm;
    w.f.evidence = evidence;
    w.f.max_attempts = 2;
    w.f.probation_ms = 2;
    w.f.confirm_ms = 3;
    w.f.begin_by_ms = begin_by_ms;
    return w;
}

enum { WORLDS = 20000, LATEST = 9 };

/* Breadth first: every world that events and a clock of nine ticks can bring about. */
static size_t explore(enum flip_confirm confirm, unsigned evidence, int64_t begin_by_ms)
{
    struct world *queue = calloc(WORLDS, sizeof(*queue));
    struct map *seen = map_new();
    size_t head = 0;
    size_t tail = 0;

    assert_non_null(queue);
    assert_non_null(seen);
    queue[tail++] = small_world(confirm, evidence, begin_by_ms);
    while (head < tail) {
        for (int ev = EV_NONE; ev < FLIP_EVENTS; ev++) {
            struct world w = queue[head];
            char key[300];
            char text[200];

            if (ev == EV_NONE) { /* time passes, and what is due happens */
                if (w.now_ms == LATEST)
                    continue;
                w.now_ms++;
                if (flip_tick(&w.f, w.now_ms) != EV_NONE)
                    step_keeps_the_promises(&w, flip_tick(&w.f, w.now_ms));
            } else {
                step_keeps_the_promises(&w, (enum flip_event)ev);
            }
            snprintf(key, sizeof(key), "%s now=%lld %d %d %d %u %d", picture(&w.f, text),
                     (long long)w.now_ms, w.stands, w.echoed, w.vouched, w.restarts, (int)w.in_use);
            if (map_get(seen, key) != NULL)
                continue;
            assert_int_equal(map_put(seen, key, seen), 0);
            assert_true(tail < WORLDS);
            queue[tail++] = w;
        }
        head++;
    }
    map_free(seen);
    free(queue);
    return tail;
}

static void whatever_happens_the_promises_are_kept(void **unused)
{
    (void)unused;
    for (unsigned evidence = 0; evidence <= FLIP_PROOF_ECHO; evidence += FLIP_PROOF_ECHO) {
        assert_true(explore(FLIP_CONFIRM_AUTO, evidence, 0) > 200);
        assert_true(explore(FLIP_CONFIRM_CENTRAL, evidence, 0) > 300);
        assert_true(explore(FLIP_CONFIRM_AUTO, evidence, 4) > 200);
        assert_true(explore(FLIP_CONFIRM_CENTRAL, evidence, 4) > 300);
    }
}

static void long_random_walks_keep_the_promises(void **unused)
{
    uint32_t dice = 1;

    (void)unused;
    for (int walk = 0; walk < 50; walk++) {
        struct world w = small_world(walk % 2 == 0 ? FLIP_CONFIRM_AUTO : FLIP_CONFIRM_CENTRAL,
                                     walk % 4 < 2 ? 0 : FLIP_PROOF_ECHO, 0);

        for (int i = 0; i < 4000; i++) {
            enum flip_event due;

            dice = dice * 1664525 + 1013904223;
            w.now_ms += (dice >> 29) == 0;
            due = flip_tick(&w.f, w.now_ms);
            step_keeps_the_promises(&w, due != EV_NONE ? due : (dice >> 16) % FLIP_EVENTS);
        }
    }
}

/* --- words --- */

static void names_go_both_ways(void **unused)
{
    enum flip_phase phase = FLIP_TRIAL;
    enum flip_confirm confirm = FLIP_CONFIRM_CENTRAL;
    enum flip_slot slot = FLIP_NEW;
    enum flip_proof proof = FLIP_PROOF_CONNACK;

    (void)unused;
    for (unsigned i = 0; i < FLIP_PROOFS; i++) {
        assert_int_equal(flip_proof_parse(flip_proof_name((enum flip_proof)(1U << i)), &proof), 0);
        assert_int_equal(proof, 1U << i);
    }
    assert_int_equal(flip_proof_parse("unknown", &proof), -ERR_INVALID);
    assert_string_equal(flip_proof_name((enum flip_proof)0), "unknown");
    for (int i = 0; i < FLIP_PHASES; i++) {
        assert_int_equal(flip_phase_parse(flip_phase_name((enum flip_phase)i), &phase), 0);
        assert_int_equal(phase, i);
    }
    assert_int_equal(flip_phase_parse("pending", &phase), -ERR_INVALID);
    assert_int_equal(phase, FLIP_ROLLED_BACK);
    assert_int_equal(flip_confirm_parse("auto", &confirm), 0);
    assert_int_equal(confirm, FLIP_CONFIRM_AUTO);
    assert_int_equal(flip_confirm_parse("central", &confirm), 0);
    assert_int_equal(flip_confirm_parse("", &confirm), -ERR_INVALID);
    assert_int_equal(confirm, FLIP_CONFIRM_CENTRAL);
    assert_int_equal(flip_slot_parse("old", &slot), 0);
    assert_int_equal(slot, FLIP_OLD);
    assert_int_equal(flip_slot_parse("new", &slot), 0);
    assert_int_equal(flip_slot_parse("newer", &slot), -ERR_INVALID);
    assert_int_equal(slot, FLIP_NEW);
    assert_string_equal(flip_slot_name(FLIP_OLD), "old");
    assert_string_equal(flip_event_name(EV_OLD_ACCEPTED), "old-accepted");
    assert_string_equal(flip_event_name(FLIP_EVENTS), "unknown");
    assert_string_equal(flip_phase_name(FLIP_PHASES), "unknown");
    for (int i = 0; i < FLIP_EVENTS; i++) {
        for (int j = 0; j < i; j++)
            assert_string_not_equal(flip_event_name((enum flip_event)i),
                                    flip_event_name((enum flip_event)j));
    }
}

static void actions_are_named_in_the_order_of_doing(void **unused)
{
    char text[128];
    char tiny[9];

    (void)unused;
    assert_string_equal(flip_actions_text((1 << FLIP_ACTIONS) - 1, text, sizeof(text)),
                        "save quarantine retire discard use-new use-old try-old arm disarm tell");
    assert_string_equal(flip_actions_text(0, text, sizeof(text)), "");
    assert_string_equal(flip_actions_text(DO_SAVE | DO_QUARANTINE, tiny, sizeof(tiny)), "save qua");
}

/* A command that is refused names what to do instead; what it names is not refused in turn. */
static void refusals_name_the_next_command(void **unused)
{
    /* clang-format off */
    static const enum flip_event commands[] = {
        EV_INSTALLED, EV_DISCARDED, EV_FLIP, EV_CONFIRMED, EV_COMMIT, EV_ROLLBACK, EV_RETIRED,
        EV_CLEARED,
    };
    static const struct { const char *text; enum flip_event ev; } words[] = {
        { ": certflipctl flip press-12", EV_FLIP }, { ": certflipctl rollback press-12", EV_ROLLBACK },
        { ": certflipctl confirm press-12", EV_CONFIRMED }, { ": certflipctl retire press-12", EV_RETIRED },
        { ": certflipctl quarantine clear press-12", EV_CLEARED }, { ": certflipctl device press-12", EV_NONE },
    };
    /* clang-format on */
    char out[300];

    (void)unused;
    for (int s = 0; s < STATES; s++) {
        for (size_t c = 0; c < sizeof(commands) / sizeof(commands[0]); c++) {
            struct flip f = reach((enum state)s);
            bool found = false;

            if (flip_step(&f, commands[c], 5000) >= 0)
                continue;
            flip_explain(&f, commands[c], "press-12", out, sizeof(out));
            assert_null(strstr(out, "has no meaning"));
            for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
                const char *at = strstr(out, words[i].text);

                if (at == NULL || strlen(at) != strlen(words[i].text))
                    continue;
                found = true;
                if (words[i].ev != EV_NONE && flip_step(&f, words[i].ev, 5000) < 0)
                    fail_msg("%s: %s", state_names[s], out);
            }
            if (!found)
                fail_msg("%s: %s", state_names[s], out);
        }
    }
}

static void refusals_read_well(void **unused)
{
    struct flip f = reach(PENDING);
    char out[300];

    (void)unused;
    assert_string_equal(flip_explain(&f, EV_DISCARDED, "p1", out, sizeof(out)),
                        "the new identity is on trial: roll back first: certflipctl rollback p1");
    f = reach(ROLLED_BACK);
    assert_string_equal(flip_explain(&f, EV_FLIP, "p1", out, sizeof(out)),
                        "the new identity is in quarantine: mend the cause, then clear it: "
                        "certflipctl quarantine clear p1");
    assert_string_equal(
        flip_explain(&f, EV_HEALTHY, "p1", out, sizeof(out)),
        "healthy has no meaning for p1 in phase rolled-back: certflipctl device p1");
    assert_string_equal(flip_explain(&f, EV_NONE, "p1", out, sizeof(out)),
                        "none has no meaning for p1 in phase rolled-back: certflipctl device p1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_event_in_every_state),
        cmocka_unit_test(the_active_slot_follows_from_the_phase),
        cmocka_unit_test(healthy_trial_commits),
        cmocka_unit_test(rejected_trial_rolls_back),
        cmocka_unit_test(lost_connection_starts_probation_anew),
        cmocka_unit_test(suspicion_is_settled_by_the_other_identity),
        cmocka_unit_test(unconfirmed_trial_rolls_back_at_the_deadline),
        cmocka_unit_test(confirmed_trial_commits),
        cmocka_unit_test(deadline_comes_before_health),
        cmocka_unit_test(lost_during_the_wait_still_ends_at_the_deadline),
        cmocka_unit_test(restarts_use_up_the_attempts),
        cmocka_unit_test(deadline_survives_a_restart),
        cmocka_unit_test(a_reboot_neither_prolongs_the_wait_nor_cuts_it),
        cmocka_unit_test(probation_without_the_echo_rolls_back),
        cmocka_unit_test(probation_with_the_echo_commits),
        cmocka_unit_test(an_outage_asks_for_the_echo_again),
        cmocka_unit_test(both_the_echo_and_the_centre_are_awaited),
        cmocka_unit_test(a_confirmed_trial_without_the_echo_rolls_back),
        cmocka_unit_test(a_commit_by_command_needs_no_evidence),
        cmocka_unit_test(a_restart_asks_for_the_echo_again),
        cmocka_unit_test(pending_trial_that_is_late_is_staged_again),
        cmocka_unit_test(committed_flip_goes_back_only_when_the_old_identity_works),
        cmocka_unit_test(terms_out_of_bounds_are_refused),
        cmocka_unit_test(damaged_rows_are_noticed),
        cmocka_unit_test(whatever_happens_the_promises_are_kept),
        cmocka_unit_test(long_random_walks_keep_the_promises),
        cmocka_unit_test(names_go_both_ways),
        cmocka_unit_test(actions_are_named_in_the_order_of_doing),
        cmocka_unit_test(refusals_name_the_next_command),
        cmocka_unit_test(refusals_read_well),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
