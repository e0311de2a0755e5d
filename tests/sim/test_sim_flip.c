/* Everything that can happen to a flip, walked (flip_world.h), and the invariants seen to fail:
 * whatever is broken in the decisions on purpose, one of them notices.
 *
 *   What is shown to the broker was durable before.
 *   A device is never cut off, held for ever, connected to nobody, or left on another identity than
 *   the journal's, whatever happens, as soon as nothing more happens.
 *   A trial ends, and never well without evidence.
 *   Bad weather alone, a disk that is full, a power cut roll no good identity back.
 *   A Will does not fire while its device lives, and does when it dies.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "flip_world.h"
#include "session/rehome.h"

#define MOST 2000000u

/* The large ones take minutes with AddressSanitizer or under an emulator, and half a minute
 * without. */
#ifdef __SANITIZE_ADDRESS__
#    define LARGE_TOO false
#else
#    define LARGE_TOO true
#endif

#define REFUSES(policy) .new_policy = (policy), .new_policy_later = (policy)

/* clang-format off */
static const struct walk {
    const char *name;
    struct flip_world_args args;
    bool large; /* not with a Will and TLS 1.3 together either */
} walks[] = {
    { "a good identity",                                { .exchanges = true }, false },
    { "a good identity, answers late",                  { .exchanges = true, .lates = 2 }, false },
    { "a good identity, rolled back and tried again",   { .rolls_back = true, .clears = true }, true },
    { "a good identity, its device comes and goes",     { .device_leaves = true }, false },
    { "a good identity, bad weather",                   { .weather = true, .cuts = 2 }, true },
    { "a good identity, power cuts",                    { .crashes = true }, false },
    { "a good identity, the disk full",                 { .disk_fails = true, .rolls_back = true }, false },
    { "a good identity, confirmed by the centre",       { .confirm_central = true, .confirms = true, .weather = true }, false },
    { "a good identity, proven by echo",                { .echo = true, .weather = true, .cuts = 1 }, false },
    { "a good identity, proven by echo and the centre", { .echo = true, .confirm_central = true, .confirms = true, .cuts = 1 }, false },
    { "accepted, and nothing comes of it",              { .echo = true, .swallows = true, .weather = true }, false },
    { "a good identity, power cuts and weather",        { .crashes = true, .weather = true, .cuts = 1 }, true },
    { "refused in TLS",                                 { REFUSES(REFUSES_IN_TLS), .weather = true }, false },
    { "refused in TLS, its device comes and goes",      { REFUSES(REFUSES_IN_TLS), .device_leaves = true }, false },
    { "refused in CONNACK",                             { REFUSES(REFUSES_IN_CONNACK), .weather = true }, false },
    { "refused in CONNACK, power cuts",                 { REFUSES(REFUSES_IN_CONNACK), .crashes = true }, false },
    { "refused in CONNACK, the disk full",              { REFUSES(REFUSES_IN_CONNACK), .disk_fails = true }, false },
    { "closed in TLS without a word",                   { REFUSES(CLOSES_IN_TLS), .weather = true }, false },
    { "closed on CONNECT without a word",               { REFUSES(CLOSES_ON_CONNECT) }, false },
    { "closed on CONNECT, its device comes and goes",   { REFUSES(CLOSES_ON_CONNECT), .device_leaves = true }, false },
    { "never answered",                                 { REFUSES(NEVER_ANSWERS) }, false },
    { "accepted, and silent from then on",              { REFUSES(FALLS_SILENT) }, false },
    { "accepted first, refused in TLS later",           { .new_policy_later = REFUSES_IN_TLS, .weather = true, .cuts = 1 }, true },
    { "accepted first, refused in CONNACK later",       { .new_policy_later = REFUSES_IN_CONNACK, .cuts = 1 }, false },
    { "the old identity is refused, the new one not",   { .old_policy = REFUSES_IN_TLS, .rolls_back = true }, false },
};
/* clang-format on */

static void holds(void **state)
{
    const struct walk *walk = *state;
    const char *emulator = getenv("CERTFLIP_EMULATOR");
    bool emulated = emulator != NULL && emulator[0] != '\0';
    unsigned from = 0, to = walk->large ? 3 : 4;

    if (walk->large && (!LARGE_TOO || emulated))
        skip();
    if (emulated) { /* which is forty times slower: one kind of device for each, in turn */
        from = (unsigned)(walk - walks) % 4;
        to = from + 1;
    }
    for (unsigned i = from; i < to; i++) {
        struct flip_world_args args = walk->args;
        args.tls13 = (i & 1) != 0;
        args.has_will = (i & 2) != 0;
        struct explored e = flip_world_walk(&args, NULL, MOST);

        printf("             TLS 1.%d%s: %zu states, %zu steps\n", args.tls13 ? 3 : 2,
               args.has_will ? ", Will" : "", e.states, e.steps);
        if (e.broken != NULL) {
            fprintf(stderr, "%s", e.trace);
            fail_msg("%s", e.broken);
        }
        explored_fini(&e);
    }
}

/* clang-format off */
#define CELL(p, e, ...)      .rehome = { .broken = true, .phase = RH_##p, .event = RH_EV_##e, __VA_ARGS__ }
#define FLIP_CELL(p, e, ...) .flip = { .broken = true, .phase = FLIP_##p, .event = EV_##e, __VA_ARGS__ }
#define NOTHING_OF_IT        (RH_DO_REPORT_LOST | RH_DO_HOLD | RH_DO_CLOSE_OLD | RH_DO_WAIT)

static const struct broken {
    struct flip_world_mutant mutant;
    struct flip_world_args args;
    const char *seen; /* the invariant that notices */
} broken[] = {
    { { "nothing is saved", .forgets_save = true },
      { 0 }, "an identity is used that nothing durable allows" },
    { { "a commit is not saved", FLIP_CELL(TRIAL, HEALTHY, .drop = DO_SAVE) },
      { 0 }, "what is known is not what is durable" },
    { { "who has no uplink is cut off", .drops = true },
      { .cuts = 1 }, "a device is cut off" },
    { { "death is taken for goodbye", .takes_death_for_goodbye = true },
      { .has_will = true, .device_leaves = true }, "a device died, and its Will was not published" },
    { { "a Will is taken over", CELL(DRAINING, DRAINED_LEAVE, .drop = RH_DO_DISCONNECT, .add = RH_DO_CONNECT,
                                     .goes = true, .next = RH_SWITCHING) },
      { .has_will = true }, "a Will fires though the device lives" },
    { { "a refusal commits", FLIP_CELL(TRIAL, REJECTED, .goes = true, .next = FLIP_COMMITTED) },
      { REFUSES(REFUSES_IN_TLS) }, "a flip succeeds without evidence" },
    { { "an outage rolls back", FLIP_CELL(TRIAL, LOST, .add = DO_SAVE, .goes = true, .next = FLIP_ROLLED_BACK) },
      { .weather = true }, "a good identity is rolled back" },
    { { "both fail, so it is the identity", .settles_wrongly = true },
      { .weather = true, .cuts = 2 }, "a good identity is rolled back" },
    { { "silence is waited out", FLIP_CELL(TRIAL, UNPROVEN, .drop = ~0, .goes = true, .next = FLIP_TRIAL) },
      { .echo = true, .swallows = true }, "a trial never ends" },
    { { "silence is success", FLIP_CELL(TRIAL, UNPROVEN, .goes = true, .next = FLIP_COMMITTED) },
      { .echo = true, .swallows = true }, "a flip succeeds without evidence" },
    { { "a rollback is told to nobody", FLIP_CELL(COMMITTED, ROLLBACK, .drop = DO_USE_OLD) },
      { .rolls_back = true }, "the identity in use is not the active one" },
    { { "what was held stays held", CELL(SWITCHING_LOST, ACCEPTED, .drop = RH_DO_RELEASE) },
      { 0 }, "a device is held for ever" },
    { { "no second attempt", CELL(DIALING_LOST, CAND_FAILED, .drop = RH_DO_WAIT) },
      { .weather = true, .cuts = 1 }, "a device is held for ever" },
    { { "nobody says CONNECT", CELL(BARRIER, CLEAR, .drop = RH_DO_CONNECT) },
      { 0 }, "it never comes to a rest by itself" },
    { { "a change of mind leaves a leg", CELL(DIALING, CANCEL, .drop = RH_DO_DROP_CAND) },
      { .rolls_back = true }, "a leg is left over" },
    { { "a lost leg is not noticed", CELL(IDLE, OLD_LOST, .drop = NOTHING_OF_IT, .goes = true, .next = RH_IDLE) },
      { .cuts = 1 }, "a device is connected to nobody" },
};
/* clang-format on */

static void is_noticed(void **state)
{
    const struct broken *b = *state;
    struct explored e = flip_world_walk(&b->args, &b->mutant, MOST);

    if (e.broken == NULL)
        fail_msg("nobody has noticed: %s", b->mutant.name);
    if (strcmp(e.broken, b->seen) != 0)
        fprintf(stderr, "%s", e.trace);
    assert_string_equal(e.broken, b->seen);
    explored_fini(&e);
}

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* With an argument: those alone that it matches, as with cmocka's own pattern of * and ?. */
int main(int argc, char **argv)
{
    struct CMUnitTest tests[COUNT(walks) + COUNT(broken)] = {{0}};
    size_t n = 0;

    for (size_t i = 0; i < COUNT(walks); i++)
        tests[n++] = (struct CMUnitTest){.name = walks[i].name,
                                         .test_func = holds,
                                         .initial_state = (void *)(uintptr_t)&walks[i]};
    for (size_t i = 0; i < COUNT(broken); i++)
        tests[n++] = (struct CMUnitTest){.name = broken[i].mutant.name,
                                         .test_func = is_noticed,
                                         .initial_state = (void *)(uintptr_t)&broken[i]};
#ifdef __SANITIZE_THREAD__
    return 77; /* there is one thread, and it takes too long */
#endif
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("sim_flip", tests, NULL, NULL);
}
