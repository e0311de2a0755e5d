/* The table below is the design: what has no cell is refused.  A trial has three rows, since what
 * may happen depends on whether a connection stands and on who decides; the row follows from the
 * struct. A condition becomes an event, or a row, before the table is asked, so the table has no
 * ifs.
 */
#include "flip/engine.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

enum row {
    ROW_STEADY,
    ROW_STAGED,
    ROW_PENDING,    /* trial, no connection with the new identity stands */
    ROW_PROVING,    /* trial, it stands, and time decides */
    ROW_CONFIRMING, /* trial, it stands, and the centre decides */
    ROW_COMMITTED,
    ROW_ROLLED_BACK,
    ROWS
};

/* What becomes of the trial's own fields. */
enum mark {
    KEEP,
    BEGIN, /* the first attempt */
    AGAIN, /* one attempt more, after a restart */
    STAND, /* a connection stands: the clocks run */
    LOSE,  /* it does not any more; only the wait for a confirmation goes on */
    PROVE, /* probation is over, the confirmation is still awaited */
    ECHO,  /* the connection that stands has proven itself */
    VOUCH, /* confirmed; other proof is still awaited, within probation */
    OVER,  /* the trial has ended */
};

struct rule {
    bool allowed;
    enum flip_phase next;
    int actions;
    enum mark mark;
};

#define RULE(next, actions, mark) \
    {                             \
        true, next, actions, mark \
    }
/* clang-format off */
#define STAY(phase)               { true, phase, 0, KEEP }
#define BACK \
    RULE(FLIP_ROLLED_BACK, DO_SAVE | DO_QUARANTINE | DO_USE_OLD | DO_DISARM | DO_TELL, OVER)
#define COMMIT \
    RULE(FLIP_COMMITTED, DO_SAVE | DO_DISARM | DO_TELL, OVER)
#define RESUME \
    RULE(FLIP_TRIAL, DO_SAVE | DO_USE_NEW | DO_ARM, AGAIN)

static const struct rule rules[ROWS][FLIP_EVENTS] = {
    [ROW_STEADY] = {
        [EV_INSTALLED]    = RULE(FLIP_STAGED,    DO_SAVE | DO_TELL, KEEP),
        [EV_RESTARTED]    = STAY(FLIP_STEADY),
    },
    [ROW_STAGED] = {
        [EV_INSTALLED]    = RULE(FLIP_STAGED,    DO_SAVE | DO_TELL, KEEP), /* the later one counts */
        [EV_DISCARDED]    = RULE(FLIP_STEADY,    DO_SAVE | DO_DISCARD | DO_TELL, KEEP),
        [EV_FLIP]         = RULE(FLIP_TRIAL,     DO_SAVE | DO_USE_NEW | DO_ARM | DO_TELL, BEGIN),
        [EV_ROLLED]       = STAY(FLIP_STAGED),   /* after a trial that was given up as too late */
        [EV_RESTARTED]    = STAY(FLIP_STAGED),
    },
    [ROW_PENDING] = {
        [EV_ACCEPTED]     = RULE(FLIP_TRIAL,     DO_SAVE | DO_ARM | DO_TELL, STAND),
        [EV_REJECTED]     = BACK,
        [EV_SUSPECT]      = RULE(FLIP_TRIAL,     DO_TRY_OLD, KEEP),
        [EV_OLD_ACCEPTED] = BACK,
        [EV_LOST]         = STAY(FLIP_TRIAL),    /* not the identity's fault: try again */
        [EV_DEADLINE]     = BACK,
        [EV_LATE]         = RULE(FLIP_STAGED,    DO_SAVE | DO_USE_OLD | DO_DISARM | DO_TELL, OVER),
        [EV_EXHAUSTED]    = BACK,
        [EV_ROLLBACK]     = BACK,
        [EV_RESTARTED]    = RESUME,
    },
    [ROW_PROVING] = {
        [EV_ACCEPTED]     = STAY(FLIP_TRIAL),    /* taken over in place: probation runs on */
        [EV_REJECTED]     = BACK,
        [EV_SUSPECT]      = RULE(FLIP_TRIAL,     DO_SAVE | DO_TRY_OLD | DO_ARM, LOSE),
        [EV_OLD_ACCEPTED] = BACK,
        [EV_LOST]         = RULE(FLIP_TRIAL,     DO_SAVE | DO_ARM, LOSE),
        [EV_ECHOED]       = RULE(FLIP_TRIAL,     DO_SAVE | DO_TELL, ECHO),
        [EV_HEALTHY]      = COMMIT,
        [EV_UNPROVEN]     = BACK,
        [EV_CONFIRMED]    = COMMIT,              /* somebody knows more than the clock */
        [EV_VOUCHED]      = RULE(FLIP_TRIAL,     DO_SAVE | DO_ARM | DO_TELL, VOUCH),
        [EV_COMMIT]       = COMMIT,
        [EV_EXHAUSTED]    = BACK,
        [EV_ROLLBACK]     = BACK,
        [EV_RESTARTED]    = RESUME,
    },
    [ROW_CONFIRMING] = {
        [EV_ACCEPTED]     = STAY(FLIP_TRIAL),
        [EV_REJECTED]     = BACK,
        [EV_SUSPECT]      = RULE(FLIP_TRIAL,     DO_SAVE | DO_TRY_OLD | DO_ARM, LOSE),
        [EV_OLD_ACCEPTED] = BACK,
        [EV_LOST]         = RULE(FLIP_TRIAL,     DO_SAVE | DO_ARM, LOSE),
        [EV_ECHOED]       = RULE(FLIP_TRIAL,     DO_SAVE | DO_TELL, ECHO),
        [EV_HEALTHY]      = RULE(FLIP_TRIAL,     DO_SAVE | DO_ARM | DO_TELL, PROVE),
        [EV_UNPROVEN]     = BACK,
        [EV_CONFIRMED]    = COMMIT,
        [EV_VOUCHED]      = RULE(FLIP_TRIAL,     DO_SAVE | DO_ARM | DO_TELL, VOUCH),
        [EV_COMMIT]       = COMMIT,
        [EV_DEADLINE]     = BACK,
        [EV_EXHAUSTED]    = BACK,
        [EV_ROLLBACK]     = BACK,
        [EV_RESTARTED]    = RESUME,
    },
    [ROW_COMMITTED] = {
        [EV_ACCEPTED]     = STAY(FLIP_COMMITTED),
        [EV_LOST]         = STAY(FLIP_COMMITTED),
        [EV_REJECTED]     = RULE(FLIP_COMMITTED, DO_TRY_OLD, KEEP), /* both may be refused by now */
        [EV_SUSPECT]      = RULE(FLIP_COMMITTED, DO_TRY_OLD, KEEP),
        [EV_OLD_ACCEPTED] = BACK,
        [EV_ROLLBACK]     = BACK,
        [EV_RETIRED]      = RULE(FLIP_STEADY,    DO_SAVE | DO_RETIRE | DO_TELL, KEEP),
        [EV_RESTARTED]    = STAY(FLIP_COMMITTED),
    },
    [ROW_ROLLED_BACK] = {
        [EV_INSTALLED]    = RULE(FLIP_STAGED,    DO_SAVE | DO_TELL, KEEP),
        [EV_DISCARDED]    = RULE(FLIP_STEADY,    DO_SAVE | DO_DISCARD | DO_TELL, KEEP),
        [EV_ROLLED]       = RULE(FLIP_ROLLED_BACK, DO_TELL, KEEP),
        [EV_CLEARED]      = RULE(FLIP_STAGED,    DO_SAVE | DO_TELL, KEEP),
        [EV_RESTARTED]    = STAY(FLIP_ROLLED_BACK),
    },
};
/* clang-format on */

static enum row row_of(const struct flip *f)
{
    switch (f->phase) {
    case FLIP_STAGED:
        return ROW_STAGED;
    case FLIP_TRIAL:
        if (!f->accepted)
            return ROW_PENDING;
        return f->confirm == FLIP_CONFIRM_CENTRAL ? ROW_CONFIRMING : ROW_PROVING;
    case FLIP_COMMITTED:
        return ROW_COMMITTED;
    case FLIP_ROLLED_BACK:
        return ROW_ROLLED_BACK;
    case FLIP_STEADY:
    case FLIP_PHASES:
        break;
    }
    return ROW_STEADY;
}

void flip_init(struct flip *f)
{
    *f = (struct flip){
        .phase = FLIP_STEADY,
        .confirm = FLIP_CONFIRM_AUTO,
        .max_attempts = FLIP_DEFAULT_ATTEMPTS,
        .probation_ms = FLIP_DEFAULT_PROBATION_MS,
        .confirm_ms = FLIP_DEFAULT_CONFIRM_MS,
    };
}

static bool within(int64_t ms, int64_t least)
{
    return ms >= least && ms <= FLIP_LONGEST_MS;
}

static bool terms_are_fit(const struct flip *f)
{
    if ((f->evidence & ~(unsigned)FLIP_PROOF_ECHO) != 0)
        return false;
    if (f->max_attempts < 1 || !within(f->probation_ms, 0) || f->begin_by_ms < 0)
        return false;
    return f->confirm == FLIP_CONFIRM_AUTO ||
           (f->confirm == FLIP_CONFIRM_CENTRAL && within(f->confirm_ms, 1));
}

const char *flip_broken(const struct flip *f)
{
    if ((unsigned)f->phase >= FLIP_PHASES)
        return "there is no such phase";
    if (f->phase != FLIP_TRIAL) {
        if (f->attempts != 0 || f->accepted || f->proven != 0 || f->due_ms != 0 || f->dead_ms != 0)
            return "what belongs to a trial, without a trial";
        return NULL;
    }
    if (!terms_are_fit(f))
        return "the terms of the trial are out of bounds";
    if (f->attempts > f->max_attempts)
        return "a trial that has too many attempts";
    if (f->attempts < 1 && f->accepted)
        return "accepted without an attempt";
    if (f->due_ms < 0 || f->dead_ms < 0)
        return "a time before the start of the machine";
    if (f->due_ms != 0 && !f->accepted)
        return "probation runs without a connection";
    if (f->dead_ms != 0 && f->confirm != FLIP_CONFIRM_CENTRAL)
        return "a confirmation is awaited that nobody asked for";
    if ((f->proven & ~(unsigned)(FLIP_PROOF_ECHO | FLIP_PROOF_CENTRAL)) != 0)
        return "something is proven that there is not";
    if ((f->proven & FLIP_PROOF_ECHO) != 0 && !f->accepted)
        return "an echo without a connection";
    return NULL;
}

static void mark(struct flip *f, enum mark m, int64_t now_ms)
{
    bool central = f->confirm == FLIP_CONFIRM_CENTRAL && (f->proven & FLIP_PROOF_CENTRAL) == 0;

    switch (m) {
    case KEEP:
        break;
    case BEGIN:
        f->attempts = 1;
        f->proven = 0;
        break;
    case AGAIN:
        f->attempts++;
        f->accepted = false;
        f->proven &= FLIP_PROOF_CENTRAL;
        f->due_ms = 0;
        /* A restart does not prolong the wait, and a clock that started anew must not either. */
        if (f->dead_ms > now_ms + f->confirm_ms)
            f->dead_ms = now_ms + f->confirm_ms;
        break;
    case STAND:
        f->accepted = true;
        if (f->attempts == 0) /* what was accepted has been tried */
            f->attempts = 1;
        f->begin_by_ms = 0;
        f->due_ms = now_ms + f->probation_ms;
        if (central && f->dead_ms == 0)
            f->dead_ms = now_ms + f->confirm_ms;
        break;
    case LOSE: /* what was proven of a connection is to be proven of the next one, too */
        f->accepted = false;
        f->proven &= FLIP_PROOF_CENTRAL;
        f->due_ms = 0;
        break;
    case PROVE:
        f->due_ms = 0;
        break;
    case ECHO:
        f->proven |= FLIP_PROOF_ECHO;
        break;
    case VOUCH:
        f->proven |= FLIP_PROOF_CENTRAL;
        f->dead_ms = 0; /* nobody is waited for any more */
        break;
    case OVER:
        f->accepted = false;
        f->proven = 0;
        f->attempts = 0;
        f->due_ms = 0;
        f->dead_ms = 0;
        f->begin_by_ms = 0;
        break;
    }
}

static bool passed(int64_t when_ms, int64_t now_ms)
{
    return when_ms != 0 && now_ms >= when_ms;
}

unsigned flip_wanted(const struct flip *f)
{
    unsigned central = f->confirm == FLIP_CONFIRM_CENTRAL ? FLIP_PROOF_CENTRAL : 0;

    return FLIP_PROOF_CONNACK | f->evidence | central;
}

unsigned flip_missing(const struct flip *f)
{
    if (f->phase != FLIP_TRIAL)
        return 0;
    return flip_wanted(f) & ~(f->proven | (f->accepted ? FLIP_PROOF_CONNACK : 0U));
}

/* What an event means by what is proven already. */
static enum flip_event by_proof(const struct flip *f, enum flip_event ev)
{
    unsigned missing = flip_missing(f);

    if (!f->accepted)
        return ev;
    if (ev == EV_HEALTHY && (missing & ~(unsigned)FLIP_PROOF_CENTRAL) != 0)
        return EV_UNPROVEN;
    if (ev == EV_CONFIRMED && (missing & ~(unsigned)FLIP_PROOF_CENTRAL) != 0)
        return EV_VOUCHED;
    if (ev == EV_ECHOED && (f->proven & FLIP_PROOF_CENTRAL) != 0 &&
        (missing & ~(unsigned)FLIP_PROOF_ECHO) == 0)
        return EV_CONFIRMED; /* it was, and this was all that it waited for */
    return ev;
}

int flip_step(struct flip *f, enum flip_event ev, int64_t now_ms)
{
    const struct rule *r;

    if (ev <= EV_NONE || ev >= FLIP_EVENTS)
        return -ERR_PHASE;
    if (ev == EV_RESTARTED && f->phase == FLIP_TRIAL && f->attempts >= f->max_attempts)
        ev = EV_EXHAUSTED;
    if (ev == EV_ECHOED && by_proof(f, ev) == EV_CONFIRMED)
        f->proven |= FLIP_PROOF_ECHO;
    ev = by_proof(f, ev);
    r = &rules[row_of(f)][ev];
    if (!r->allowed)
        return -ERR_PHASE;
    if (ev == EV_FLIP && !terms_are_fit(f))
        return -ERR_INVALID;
    if (ev == EV_FLIP && passed(f->begin_by_ms, now_ms))
        return -ERR_TIMEOUT;
    f->phase = r->next;
    mark(f, r->mark, now_ms);
    assert(flip_broken(f) == NULL);
    return r->actions;
}

void flip_forget(struct flip *f)
{
    if (f->phase != FLIP_TRIAL)
        return;
    f->accepted = false;
    f->proven = 0;
    f->due_ms = 0;
    f->dead_ms = 0;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

int64_t flip_due(const struct flip *f)
{
    if (f->phase != FLIP_TRIAL)
        return 0;
    return earlier(earlier(f->due_ms, f->dead_ms), f->accepted ? 0 : f->begin_by_ms);
}

enum flip_event flip_tick(const struct flip *f, int64_t now_ms)
{
    if (f->phase != FLIP_TRIAL)
        return EV_NONE;
    if (passed(f->dead_ms, now_ms)) /* first: who slept through both has not confirmed in time */
        return EV_DEADLINE;
    if (passed(f->due_ms, now_ms))
        return by_proof(f, EV_HEALTHY);
    if (!f->accepted && passed(f->begin_by_ms, now_ms))
        return EV_LATE;
    return EV_NONE;
}

int64_t flip_dead_after_reboot(int64_t left_ms, int64_t saved_s, int64_t now_s, int64_t now_ms,
                               bool *believed)
{
    int64_t off_s = now_s - saved_s;

    *believed = off_s >= 0 && off_s <= FLIP_LONGEST_MS / 1000;
    if (*believed)
        left_ms -= off_s * 1000;
    return left_ms < 1 || now_ms + left_ms < 1 ? 1 : now_ms + left_ms;
}

enum flip_slot flip_active_slot(const struct flip *f)
{
    return f->phase == FLIP_TRIAL || f->phase == FLIP_COMMITTED ? FLIP_NEW : FLIP_OLD;
}

bool flip_pending(const struct flip *f)
{
    return f->phase == FLIP_TRIAL && !f->accepted;
}

/* --- words --- */

static const char *const slot_names[FLIP_SLOTS] = {[FLIP_OLD] = "old", [FLIP_NEW] = "new"};

static const char *const phase_names[FLIP_PHASES] = {
    [FLIP_STEADY] = "steady",       [FLIP_STAGED] = "staged",           [FLIP_TRIAL] = "trial",
    [FLIP_COMMITTED] = "committed", [FLIP_ROLLED_BACK] = "rolled-back",
};

static const char *const event_names[FLIP_EVENTS] = {
    [EV_NONE] = "none",           [EV_INSTALLED] = "installed",
    [EV_DISCARDED] = "discarded", [EV_FLIP] = "flip",
    [EV_ACCEPTED] = "accepted",   [EV_REJECTED] = "rejected",
    [EV_SUSPECT] = "suspect",     [EV_OLD_ACCEPTED] = "old-accepted",
    [EV_LOST] = "lost",           [EV_ECHOED] = "echoed",
    [EV_UNPROVEN] = "unproven",   [EV_VOUCHED] = "vouched",
    [EV_COMMIT] = "commit",       [EV_HEALTHY] = "healthy",
    [EV_CONFIRMED] = "confirmed", [EV_DEADLINE] = "deadline",
    [EV_LATE] = "late",           [EV_EXHAUSTED] = "exhausted",
    [EV_ROLLBACK] = "rollback",   [EV_ROLLED] = "rolled",
    [EV_RETIRED] = "retired",     [EV_CLEARED] = "cleared",
    [EV_RESTARTED] = "restarted",
};

static const char *const confirm_names[] = {
    [FLIP_CONFIRM_AUTO] = "auto",
    [FLIP_CONFIRM_CENTRAL] = "central",
};

static const char *const proof_names[FLIP_PROOFS] = {"connack", "echo", "central"};

static const char *const action_names[FLIP_ACTIONS] = {
    "save",    "quarantine", "retire", "discard", "use-new",
    "use-old", "try-old",    "arm",    "disarm",  "tell",
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *name_in(const char *const *names, size_t n, unsigned i)
{
    return i < n ? names[i] : "unknown";
}

/* The index of a name, or -1. */
static int index_in(const char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(names[i], name) == 0)
            return (int)i;
    }
    return -1;
}

const char *flip_slot_name(enum flip_slot slot)
{
    return name_in(slot_names, COUNT(slot_names), slot);
}

int flip_slot_parse(const char *name, enum flip_slot *out)
{
    int i = index_in(slot_names, COUNT(slot_names), name);

    if (i < 0)
        return -ERR_INVALID;
    *out = (enum flip_slot)i;
    return 0;
}

const char *flip_phase_name(enum flip_phase phase)
{
    return name_in(phase_names, COUNT(phase_names), phase);
}

int flip_phase_parse(const char *name, enum flip_phase *out)
{
    int i = index_in(phase_names, COUNT(phase_names), name);

    if (i < 0)
        return -ERR_INVALID;
    *out = (enum flip_phase)i;
    return 0;
}

const char *flip_confirm_name(enum flip_confirm confirm)
{
    return name_in(confirm_names, COUNT(confirm_names), confirm);
}

int flip_confirm_parse(const char *name, enum flip_confirm *out)
{
    int i = index_in(confirm_names, COUNT(confirm_names), name);

    if (i < 0)
        return -ERR_INVALID;
    *out = (enum flip_confirm)i;
    return 0;
}

const char *flip_proof_name(enum flip_proof proof)
{
    unsigned i = 0;

    while (i < FLIP_PROOFS && 1U << i != (unsigned)proof)
        i++;
    return name_in(proof_names, COUNT(proof_names), i);
}

int flip_proof_parse(const char *name, enum flip_proof *out)
{
    int i = index_in(proof_names, COUNT(proof_names), name);

    if (i < 0)
        return -ERR_INVALID;
    *out = (enum flip_proof)(1U << (unsigned)i);
    return 0;
}

const char *flip_event_name(enum flip_event ev)
{
    return name_in(event_names, COUNT(event_names), ev);
}

const char *flip_actions_text(int actions, char *out, size_t n)
{
    size_t at = 0;

    if (n > 0)
        out[0] = '\0';
    for (unsigned i = 0; i < FLIP_ACTIONS && at < n; i++) {
        if ((actions & 1 << i) != 0)
            at += (size_t)snprintf(out + at, n - at, "%s%s", at > 0 ? " " : "", action_names[i]);
    }
    return out;
}

/* --- refusals --- */

struct advice {
    const char *why;
    const char *command; /* of certflipctl, to be followed by the device's name; NULL: none */
};

/* What stands in the way of a command.  An empty cell: news that has come too late, or is due
 * later. */
/* clang-format off */
static const struct advice advice[ROWS][FLIP_EVENTS] = {
    [ROW_STEADY] = {
        [EV_COMMIT]    = { "no flip is under way", "device" },
        [EV_DISCARDED] = { "there is no new identity to discard", "device" },
        [EV_FLIP]      = { "there is no new identity to flip to: put one into its new slot first", "device" },
        [EV_CONFIRMED] = { "no flip waits for a confirmation", "device" },
        [EV_ROLLBACK]  = { "it is on its only identity: there is nothing to roll back", "device" },
        [EV_RETIRED]   = { "it has one identity only, which is in use", "device" },
        [EV_CLEARED]   = { "nothing is in quarantine", "device" },
    },
    [ROW_STAGED] = {
        [EV_COMMIT]    = { "it was not flipped yet", "flip" },
        [EV_FLIP]      = { "the time by which it was to begin has passed, or its terms are out of bounds", "flip" },
        [EV_CONFIRMED] = { "it was not flipped yet", "flip" },
        [EV_ROLLBACK]  = { "it was not flipped: there is nothing to roll back", "device" },
        [EV_RETIRED]   = { "the old identity is in use: flip first", "flip" },
        [EV_CLEARED]   = { "nothing is in quarantine", "device" },
    },
    [ROW_PENDING] = {
        [EV_COMMIT]    = { "the broker has not accepted the new identity yet: there is nothing to commit", "device" },
        [EV_INSTALLED] = { "the new identity is on trial: roll back first", "rollback" },
        [EV_DISCARDED] = { "the new identity is on trial: roll back first", "rollback" },
        [EV_FLIP]      = { "it was flipped already, the trial waits for a connection", "device" },
        [EV_CONFIRMED] = { "the broker has not accepted the new identity yet: nothing to confirm", "device" },
        [EV_RETIRED]   = { "the new identity is on trial: it has to prove itself first", "device" },
        [EV_CLEARED]   = { "nothing is in quarantine", "device" },
    },
    [ROW_PROVING] = {
        [EV_INSTALLED] = { "the new identity is on trial: roll back first", "rollback" },
        [EV_DISCARDED] = { "the new identity is on trial: roll back first", "rollback" },
        [EV_FLIP]      = { "it was flipped already and is in probation", "device" },
        [EV_RETIRED]   = { "the new identity is on trial: it has to prove itself first", "device" },
        [EV_CLEARED]   = { "nothing is in quarantine", "device" },
    },
    [ROW_CONFIRMING] = {
        [EV_INSTALLED] = { "the new identity is on trial: roll back first", "rollback" },
        [EV_DISCARDED] = { "the new identity is on trial: roll back first", "rollback" },
        [EV_FLIP]      = { "it was flipped already and waits for a confirmation", "confirm" },
        [EV_RETIRED]   = { "the flip was not confirmed yet", "confirm" },
        [EV_CLEARED]   = { "nothing is in quarantine", "device" },
    },
    [ROW_COMMITTED] = {
        [EV_COMMIT]    = { "it is committed already", "device" },
        [EV_INSTALLED] = { "both slots are taken, and the new one is in use: retire the old identity first", "retire" },
        [EV_DISCARDED] = { "the new identity is in use: roll back first", "rollback" },
        [EV_FLIP]      = { "it is on the new identity already: retire the old one before the next flip", "retire" },
        [EV_CONFIRMED] = { "it is committed already", "device" },
        [EV_CLEARED]   = { "nothing is in quarantine", "device" },
    },
    [ROW_ROLLED_BACK] = {
        [EV_COMMIT]    = { "the flip was rolled back", "device" },
        [EV_FLIP]      = { "the new identity is in quarantine: mend the cause, then clear it", "quarantine clear" },
        [EV_CONFIRMED] = { "the flip was rolled back", "device" },
        [EV_ROLLBACK]  = { "it was rolled back already", "device" },
        [EV_RETIRED]   = { "the old identity is in use", "device" },
    },
};
/* clang-format on */

const char *flip_explain(const struct flip *f, enum flip_event ev, const char *device, char *out,
                         size_t n)
{
    const struct advice *a = NULL;

    if (ev > EV_NONE && ev < FLIP_EVENTS)
        a = &advice[row_of(f)][ev];
    if (a == NULL || a->why == NULL)
        snprintf(out, n, "%s has no meaning for %s in phase %s: certflipctl device %s",
                 flip_event_name(ev), device, flip_phase_name(f->phase), device);
    else
        snprintf(out, n, "%s: certflipctl %s %s", a->why, a->command, device);
    return out;
}
