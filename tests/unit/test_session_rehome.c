/* Moving a session to another leg: every event in every phase against a table of its own, stories,
 * and an explorer that walks everything that can happen with a small model of the two legs.  The
 * explorer is itself tested: whatever action is taken out of the table, it notices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "session/rehome.h"

#define ACTIONS 16

static const char *const action_names[ACTIONS] = {
    "report-lost", "report-failed", "hold",       "drop-spare", "drop-candidate", "close-old",
    "dial",        "dial-spare",    "take-spare", "drain",      "ping",           "disconnect",
    "connect",     "adopt",         "release",    "wait"};

static void put_actions(struct buf *out, unsigned todo)
{
    for (unsigned i = 0; i < ACTIONS; i++)
        if ((todo & 1u << i) != 0)
            assert_int_equal(buf_printf(out, " %s", action_names[i]), 0);
    assert_int_equal(todo >> ACTIONS, 0);
}

static const char *text_of(struct buf *b)
{
    assert_int_equal(buf_append_u8(b, 0), 0);
    return (const char *)b->p;
}

/* ---- every event in every phase ---- */

/* What is not here has no meaning. */
static const char expected[] =
    "idle, want -> dialing: dial\n"
    "idle, old-lost -> waiting: report-lost hold close-old wait\n"
    "waiting, want -> dialing-lost: dial\n"
    "waiting, retry -> dialing-lost: dial\n"
    "dialing, want -> dialing: drop-candidate dial\n"
    "dialing, cancel -> idle: drop-candidate\n"
    "dialing, cand-up -> draining: hold drain\n"
    "dialing, cand-up-leave -> sparing: dial-spare\n"
    "dialing, cand-failed -> idle: report-failed drop-candidate\n"
    "dialing, old-lost -> dialing-lost: report-lost hold close-old\n"
    "dialing-lost, want -> dialing-lost: drop-candidate dial\n"
    "dialing-lost, cand-up -> switching-lost: connect\n"
    "dialing-lost, cand-failed -> waiting: report-failed drop-candidate wait\n"
    "sparing, want -> dialing: drop-spare drop-candidate dial\n"
    "sparing, cancel -> idle: drop-spare drop-candidate\n"
    "sparing, cand-failed -> idle: report-failed drop-spare drop-candidate\n"
    "sparing, spare-up -> draining: hold drain\n"
    "sparing, spare-none -> draining: hold drop-spare drain\n"
    "sparing, spare-failed -> idle: report-failed drop-spare drop-candidate\n"
    "sparing, old-lost -> switching-lost: report-lost hold drop-spare close-old connect\n"
    "draining, want -> dialing: drop-spare drop-candidate dial release\n"
    "draining, cancel -> idle: drop-spare drop-candidate release\n"
    "draining, cand-failed -> idle: report-failed drop-spare drop-candidate release\n"
    "draining, spare-none -> draining: drop-spare\n"
    "draining, spare-failed -> idle: report-failed drop-spare drop-candidate release\n"
    "draining, old-lost -> switching-lost: report-lost close-old connect\n"
    "draining, drained -> barrier: ping\n"
    "draining, drained-leave -> leaving: disconnect\n"
    "barrier, want -> dialing: drop-candidate dial release\n"
    "barrier, cancel -> idle: drop-candidate release\n"
    "barrier, cand-failed -> idle: report-failed drop-candidate release\n"
    "barrier, old-lost -> switching-lost: report-lost close-old connect\n"
    "barrier, clear -> switching: connect\n"
    "leaving, want -> dialing-lost: drop-spare drop-candidate close-old dial\n"
    "leaving, cancel -> leaving: drop-candidate take-spare\n"
    "leaving, cand-failed -> waiting: report-failed drop-candidate close-old wait\n"
    "leaving, cand-failed-spare -> leaving: report-failed drop-candidate take-spare\n"
    "leaving, spare-none -> leaving: drop-spare\n"
    "leaving, old-lost -> switching-lost: close-old connect\n"
    "leaving, timeout -> switching-lost: close-old connect\n"
    "switching, cand-failed -> idle: report-failed drop-candidate release\n"
    "switching, old-lost -> switching-lost: close-old\n"
    "switching, accepted -> idle: close-old adopt release\n"
    "switching-lost, cand-failed -> waiting: report-failed drop-candidate wait\n"
    "switching-lost, cand-failed-spare -> switching-lost: report-failed drop-candidate take-spare"
    " connect\n"
    "switching-lost, spare-none -> switching-lost: drop-spare\n"
    "switching-lost, accepted -> idle: drop-spare adopt release\n";

static void every_event_in_every_phase(void **unused)
{
    struct buf told = {0};

    (void)unused;
    for (int p = 0; p < RH_PHASES; p++) {
        for (int e = 0; e < RH_EVENTS; e++) {
            enum rehome_phase phase = (enum rehome_phase)p;
            unsigned todo = rehome_step(&phase, (enum rehome_event)e);
            if (todo == 0) {
                assert_int_equal(phase, p); /* without meaning: nothing changes */
                continue;
            }
            buf_printf(&told, "%s, %s -> %s:", rehome_phase_name((enum rehome_phase)p),
                       rehome_event_name((enum rehome_event)e), rehome_phase_name(phase));
            put_actions(&told, todo);
            buf_printf(&told, "\n");
        }
    }
    assert_string_equal(text_of(&told), expected);
    buf_fini(&told);
}

static void every_phase_and_event_has_its_own_name(void **unused)
{
    (void)unused;
    for (int i = 0; i < RH_PHASES; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(rehome_phase_name((enum rehome_phase)i),
                                    rehome_phase_name((enum rehome_phase)j));
    for (int i = 0; i < RH_EVENTS; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(rehome_event_name((enum rehome_event)i),
                                    rehome_event_name((enum rehome_event)j));
}

/* ---- stories ---- */

struct story {
    enum rehome_phase phase;
    struct buf told;
};

static void happens(struct story *s, enum rehome_event ev)
{
    enum rehome_phase was = s->phase;
    unsigned todo = rehome_step(&s->phase, ev);

    buf_printf(&s->told, "%s, %s -> %s:", rehome_phase_name(was), rehome_event_name(ev),
               todo != 0 ? rehome_phase_name(s->phase) : "ignored");
    put_actions(&s->told, todo);
    buf_printf(&s->told, "\n");
}

static void ends(struct story *s, const char *told)
{
    assert_string_equal(text_of(&s->told), told);
    buf_fini(&s->told);
}

/* A session begins without a leg. */
static void first_connection_goes_straight_to_connect(void **unused)
{
    struct story s = {.phase = RH_WAITING};

    (void)unused;
    happens(&s, RH_EV_WANT);
    happens(&s, RH_EV_CAND_UP);
    happens(&s, RH_EV_ACCEPTED);
    ends(&s, "waiting, want -> dialing-lost: dial\n"
             "dialing-lost, cand-up -> switching-lost: connect\n"
             "switching-lost, accepted -> idle: drop-spare adopt release\n");
}

static void flip_without_will_takes_over_behind_the_barrier(void **unused)
{
    struct story s = {.phase = RH_IDLE};

    (void)unused;
    happens(&s, RH_EV_WANT);
    happens(&s, RH_EV_CAND_UP);
    happens(&s, RH_EV_DRAINED);
    happens(&s, RH_EV_CLEAR);
    happens(&s, RH_EV_ACCEPTED);
    ends(&s, "idle, want -> dialing: dial\n"
             "dialing, cand-up -> draining: hold drain\n"
             "draining, drained -> barrier: ping\n"
             "barrier, clear -> switching: connect\n"
             "switching, accepted -> idle: close-old adopt release\n");
}

/* The broker ends the old leg before it answers on the new one. */
static void taken_over_before_connack_is_no_loss(void **unused)
{
    struct story s = {.phase = RH_BARRIER};

    (void)unused;
    happens(&s, RH_EV_CLEAR);
    happens(&s, RH_EV_OLD_LOST);
    happens(&s, RH_EV_ACCEPTED);
    ends(&s, "barrier, clear -> switching: connect\n"
             "switching, old-lost -> switching-lost: close-old\n"
             "switching-lost, accepted -> idle: drop-spare adopt release\n");
}

/* Without PINGREQ: the end of a leg that said DISCONNECT is the barrier. */
static void flip_with_will_says_goodbye_first(void **unused)
{
    struct story s = {.phase = RH_IDLE};

    (void)unused;
    happens(&s, RH_EV_WANT);
    happens(&s, RH_EV_CAND_UP_LEAVE);
    happens(&s, RH_EV_SPARE_UP);
    happens(&s, RH_EV_DRAINED_LEAVE);
    happens(&s, RH_EV_OLD_LOST);
    happens(&s, RH_EV_ACCEPTED);
    ends(&s, "idle, want -> dialing: dial\n"
             "dialing, cand-up-leave -> sparing: dial-spare\n"
             "sparing, spare-up -> draining: hold drain\n"
             "draining, drained-leave -> leaving: disconnect\n"
             "leaving, old-lost -> switching-lost: close-old connect\n"
             "switching-lost, accepted -> idle: drop-spare adopt release\n");
}

static void refused_after_goodbye_the_spare_is_the_way_back(void **unused)
{
    struct story s = {.phase = RH_DRAINING};

    (void)unused;
    happens(&s, RH_EV_DRAINED_LEAVE);
    happens(&s, RH_EV_OLD_LOST);
    happens(&s, RH_EV_CAND_FAILED_SPARE);
    happens(&s, RH_EV_ACCEPTED);
    ends(&s, "draining, drained-leave -> leaving: disconnect\n"
             "leaving, old-lost -> switching-lost: close-old connect\n"
             "switching-lost, cand-failed-spare -> switching-lost: report-failed drop-candidate"
             " take-spare connect\n"
             "switching-lost, accepted -> idle: drop-spare adopt release\n");
}

static void refused_candidate_costs_nothing(void **unused)
{
    struct story s = {.phase = RH_BARRIER};

    (void)unused;
    happens(&s, RH_EV_CLEAR);
    happens(&s, RH_EV_CAND_FAILED);
    happens(&s, RH_EV_ACCEPTED);
    ends(&s, "barrier, clear -> switching: connect\n"
             "switching, cand-failed -> idle: report-failed drop-candidate release\n"
             "idle, accepted -> ignored:\n");
}

static void lost_uplink_is_retried_until_it_is_back(void **unused)
{
    struct story s = {.phase = RH_IDLE};

    (void)unused;
    happens(&s, RH_EV_OLD_LOST);
    happens(&s, RH_EV_RETRY);
    happens(&s, RH_EV_CAND_FAILED);
    happens(&s, RH_EV_RETRY);
    happens(&s, RH_EV_CAND_UP);
    happens(&s, RH_EV_ACCEPTED);
    ends(&s, "idle, old-lost -> waiting: report-lost hold close-old wait\n"
             "waiting, retry -> dialing-lost: dial\n"
             "dialing-lost, cand-failed -> waiting: report-failed drop-candidate wait\n"
             "waiting, retry -> dialing-lost: dial\n"
             "dialing-lost, cand-up -> switching-lost: connect\n"
             "switching-lost, accepted -> idle: drop-spare adopt release\n");
}

/* ---- the explorer ---- */

struct cell {
    enum rehome_phase next;
    unsigned todo;
};

struct table {
    struct cell cell[RH_PHASES][RH_EVENTS];
};

static struct table table_in_force(void)
{
    struct table t;

    for (int p = 0; p < RH_PHASES; p++) {
        for (int e = 0; e < RH_EVENTS; e++) {
            t.cell[p][e].next = (enum rehome_phase)p;
            t.cell[p][e].todo = rehome_step(&t.cell[p][e].next, (enum rehome_event)e);
        }
    }
    return t;
}

/* What an onlooker sees of the session. */
struct model {
    enum rehome_phase phase;
    bool old_leg;   /* accepted, alive */
    bool leaving;   /* it was told DISCONNECT */
    bool candidate; /* dialled, not let go of */
    bool connected; /* CONNECT went out on it */
    bool spare;     /* dialled, not let go of */
    bool spare_up;
    bool leaves; /* before CONNECT it says DISCONNECT; decided when the candidate was up */
    bool holding;
    bool deadline; /* the present step is bounded */
    bool retry;    /* the next attempt is due some time */
};

static unsigned number_of(const struct model *m)
{
    return (unsigned)m->phase << 10 | (unsigned)m->spare << 9 | (unsigned)m->spare_up << 8 |
           (unsigned)m->leaves << 7 | (unsigned)m->old_leg << 6 | (unsigned)m->leaving << 5 |
           (unsigned)m->candidate << 4 | (unsigned)m->connected << 3 | (unsigned)m->holding << 2 |
           (unsigned)m->deadline << 1 | (unsigned)m->retry;
}

#define MODELS ((unsigned)RH_PHASES << 10)

static bool was_let_go(const struct model *m)
{
    return m->leaving || !m->old_leg;
}

/* Can it happen at all?  The phase alone decides only where the caller looks at the phase. */
static bool can_happen(const struct model *m, enum rehome_event ev)
{
    switch (ev) {
    case RH_EV_WANT:
        return true;
    case RH_EV_CANCEL:
        return m->old_leg && m->candidate && (!m->leaving || m->spare);
    case RH_EV_CAND_UP:
        return m->candidate && (m->phase == RH_DIALING || m->phase == RH_DIALING_LOST);
    case RH_EV_CAND_UP_LEAVE:
        return m->candidate && m->phase == RH_DIALING;
    case RH_EV_CAND_FAILED:
        return m->candidate && !(was_let_go(m) && m->spare);
    case RH_EV_CAND_FAILED_SPARE:
        return m->candidate && was_let_go(m) && m->spare;
    case RH_EV_SPARE_UP:
        return m->spare && m->phase == RH_SPARING;
    case RH_EV_SPARE_NONE:
        return m->spare;
    case RH_EV_SPARE_FAILED:
        return m->spare && !was_let_go(m);
    case RH_EV_OLD_LOST:
        return m->old_leg;
    case RH_EV_DRAINED:
        return m->phase == RH_DRAINING && !m->leaves;
    case RH_EV_DRAINED_LEAVE:
        return m->phase == RH_DRAINING && m->leaves;
    case RH_EV_CLEAR:
        return m->phase == RH_BARRIER;
    case RH_EV_TIMEOUT:
        return m->phase == RH_LEAVING;
    case RH_EV_RETRY:
        return m->retry && m->phase == RH_WAITING;
    case RH_EV_ACCEPTED:
        return m->connected;
    case RH_EVENTS:
    default:
        return false;
    }
}

/* Only a change of mind, once the broker is being asked: it is looked at again afterwards. */
static bool may_be_ignored(const struct model *m, enum rehome_event ev)
{
    return (ev == RH_EV_WANT || ev == RH_EV_CANCEL) && m->connected;
}

/* Carry out what the table says.  Returns what was broken, or NULL. */
static const char *carry_out(struct model *m, enum rehome_event ev, unsigned todo)
{
    bool lost_unasked = ev == RH_EV_OLD_LOST && !m->leaving && !m->connected;
    bool had_old = m->old_leg;
    bool lost = ev == RH_EV_OLD_LOST;

    if (todo == 0)
        return NULL;
    /* Each step has a bound of its own; the candidate's goes on when the old leg is lost, that of
     * the old leg's end when the candidate changes, and none has to do with a spare that waits. */
    if (ev == RH_EV_SPARE_NONE ? m->phase == RH_SPARING
                               : (!lost || (m->phase != RH_DIALING && !m->connected)) &&
                                     !(m->leaving && (todo & RH_DO_TAKE_SPARE) != 0))
        m->deadline = false;
    if (lost_unasked != ((todo & RH_DO_REPORT_LOST) != 0))
        return "an accepted leg that is lost is told, once, and nothing else is";
    bool cand_failed = ev == RH_EV_CAND_FAILED || ev == RH_EV_CAND_FAILED_SPARE;
    if ((cand_failed || ev == RH_EV_SPARE_FAILED) != ((todo & RH_DO_REPORT_FAILED) != 0))
        return "an attempt that fails is told, and nothing else is";
    if ((todo & RH_DO_HOLD) != 0)
        m->holding = true;
    if ((todo & RH_DO_DROP_SPARE) != 0)
        m->spare = m->spare_up = false;
    else if (ev == RH_EV_SPARE_NONE || ev == RH_EV_SPARE_FAILED)
        return "keeps a spare that failed";
    if ((todo & RH_DO_DROP_CAND) != 0) {
        if (!m->candidate)
            return "drops a candidate that is not there";
        m->candidate = m->connected = false;
        if (!m->leaving)
            m->deadline = false;
    } else if (cand_failed) {
        return "keeps a candidate that failed";
    }
    if ((todo & RH_DO_CLOSE_OLD) != 0) {
        if (!had_old)
            return "closes an old leg that is not there";
        if (!lost && !m->leaving && ev != RH_EV_ACCEPTED)
            return "lets go of a living leg before the candidate is accepted";
        m->old_leg = m->leaving = false;
    } else if (lost) {
        return "keeps a leg that is lost";
    }
    if ((todo & RH_DO_DIAL) != 0) {
        if (m->candidate)
            return "dials beside a candidate";
        if (m->spare)
            return "dials beside a spare";
        m->candidate = m->deadline = true;
        m->retry = m->leaves = false;
    }
    if (ev == RH_EV_CAND_UP_LEAVE)
        m->leaves = true;
    if ((todo & RH_DO_DIAL_SPARE) != 0) {
        if (m->spare || !m->old_leg || !m->candidate)
            return "a spare without need";
        m->spare = m->deadline = true;
    }
    if (ev == RH_EV_SPARE_UP)
        m->spare_up = true;
    if ((todo & RH_DO_TAKE_SPARE) != 0) {
        if (!m->spare_up || m->candidate)
            return "takes a spare that is not ready, or beside a candidate";
        m->candidate = true;
        m->spare = m->spare_up = false;
    }
    if ((todo & RH_DO_DRAIN) != 0)
        m->deadline = true;
    if ((todo & RH_DO_PING) != 0) {
        if (!m->old_leg)
            return "a barrier on no leg";
        m->deadline = true;
    }
    if ((todo & RH_DO_DISCONNECT) != 0) {
        if (!m->old_leg || ev != RH_EV_DRAINED_LEAVE)
            return "says DISCONNECT without need";
        if (m->spare && !m->spare_up)
            return "leaves before the way back is there";
        m->leaving = m->deadline = true;
    }
    if ((todo & RH_DO_CONNECT) != 0) {
        if (!m->candidate || m->connected)
            return "CONNECT without a fresh candidate";
        if (!m->holding)
            return "CONNECT while the device's packets flow on the old leg";
        m->connected = m->deadline = true;
    }
    if ((todo & RH_DO_ADOPT) != 0) {
        if (ev != RH_EV_ACCEPTED || !m->candidate)
            return "adopts what was not accepted";
        if (m->old_leg)
            return "adopts beside the old leg";
        if (m->spare)
            return "keeps a spare that nobody needs";
        m->leaves = false;
        m->old_leg = true;
        m->candidate = m->connected = m->deadline = false;
    }
    if ((todo & RH_DO_RELEASE) != 0) {
        if (!m->old_leg || m->leaving)
            return "releases the device's packets without an accepted leg";
        if (!m->holding)
            return "releases what was not held";
        m->holding = false;
    }
    if ((todo & RH_DO_WAIT) != 0)
        m->retry = true;
    if (!m->candidate)
        m->leaves = false;
    return NULL;
}

/* What each phase says about the world. */
static const char *broken(const struct model *m)
{
    static const struct {
        bool old_leg, leaving, candidate, connected, holding;
        int spare, leaves; /* 1: yes, 0: no, -1: either */
    } is[RH_PHASES] = {
        [RH_IDLE] = {.old_leg = true},
        [RH_WAITING] = {.holding = true},
        [RH_DIALING] = {.old_leg = true, .candidate = true},
        [RH_DIALING_LOST] = {.candidate = true, .holding = true},
        [RH_SPARING] = {.old_leg = true, .candidate = true, .spare = 1, .leaves = 1},
        [RH_DRAINING] =
            {.old_leg = true, .candidate = true, .holding = true, .spare = -1, .leaves = -1},
        [RH_BARRIER] = {.old_leg = true, .candidate = true, .holding = true},
        [RH_LEAVING] = {.old_leg = true,
                        .leaving = true,
                        .candidate = true,
                        .holding = true,
                        .spare = -1,
                        .leaves = 1},
        [RH_SWITCHING] = {.old_leg = true, .candidate = true, .connected = true, .holding = true},
        [RH_SWITCHING_LOST] =
            {.candidate = true, .connected = true, .holding = true, .spare = -1, .leaves = -1},
    };

    if (m->old_leg != is[m->phase].old_leg || m->leaving != is[m->phase].leaving ||
        m->candidate != is[m->phase].candidate || m->connected != is[m->phase].connected ||
        m->holding != is[m->phase].holding)
        return "the phase is not what the legs are";
    if (is[m->phase].spare >= 0 && m->spare != is[m->phase].spare)
        return "a spare where none belongs, or none";
    if (is[m->phase].leaves >= 0 && m->leaves != is[m->phase].leaves)
        return "leaves, or does not, against what was decided";
    if (m->spare_up && !m->spare)
        return "a spare that is up and not there";
    if (m->phase != RH_SPARING && m->spare && !m->spare_up)
        return "goes on before the spare is up";
    if (m->phase == RH_WAITING && !m->retry)
        return "waits for ever";
    if (m->phase != RH_WAITING && m->phase != RH_IDLE && !m->deadline)
        return "a step without a bound";
    return NULL;
}

struct walk {
    const struct table *table;
    struct model queue[MODELS];
    unsigned came_from[MODELS][MODELS / 32]; /* bit j of i: i follows from j */
    bool seen[MODELS];
    bool happened[RH_PHASES][RH_EVENTS];
    unsigned count;
    const char *fault;
};

static void visit(struct walk *w, const struct model *m)
{
    if (w->seen[number_of(m)])
        return;
    w->seen[number_of(m)] = true;
    w->queue[w->count++] = *m;
}

/* From each that was seen, IDLE can be reached: grow the set of those from which it can. */
static bool all_lead_home(const struct walk *w)
{
    static bool leads[MODELS];
    bool grows = true;

    memset(leads, 0, sizeof leads);
    while (grows) {
        grows = false;
        for (unsigned i = 0; i < w->count; i++) {
            const struct model *m = &w->queue[i];
            unsigned n = number_of(m);
            bool home = m->phase == RH_IDLE;
            for (unsigned next = 0; next < MODELS && !home; next++)
                home = leads[next] && (w->came_from[next][n / 32] >> n % 32 & 1u) != 0;
            if (home && !leads[n])
                leads[n] = grows = true;
        }
    }
    for (unsigned i = 0; i < w->count; i++)
        if (!leads[number_of(&w->queue[i])])
            return false;
    return true;
}

static struct walk the_walk;

/* Breadth first through everything.  Returns NULL, or the promise that was broken. */
static const char *explore(const struct table *t)
{
    struct walk *w = &the_walk;
    const struct model fresh = {.phase = RH_WAITING, .holding = true, .retry = true};
    const struct model living = {.phase = RH_IDLE, .old_leg = true};

    memset(w, 0, sizeof *w);
    w->table = t;
    visit(w, &fresh);
    visit(w, &living);
    for (unsigned i = 0; i < w->count; i++) {
        for (int e = 0; e < RH_EVENTS; e++) {
            struct model m = w->queue[i];
            enum rehome_event ev = (enum rehome_event)e;
            const struct cell *c = &t->cell[m.phase][e];
            const char *fault;

            if (!can_happen(&m, ev))
                continue;
            w->happened[m.phase][ev] = true;
            fault = carry_out(&m, ev, c->todo);
            if (fault == NULL && c->todo != 0)
                m.phase = c->next;
            if (fault == NULL && c->todo == 0 && !may_be_ignored(&m, ev))
                fault = "what happened is ignored";
            if (fault == NULL)
                fault = broken(&m);
            if (fault != NULL)
                return fault;
            unsigned from = number_of(&w->queue[i]);
            w->came_from[number_of(&m)][from / 32] |= 1u << from % 32;
            visit(w, &m);
        }
    }
    for (int p = 0; p < RH_PHASES; p++)
        for (int e = 0; e < RH_EVENTS; e++)
            if (t->cell[p][e].todo != 0 && !w->happened[p][e])
                return "has an answer to what cannot happen";
    return all_lead_home(w) ? NULL : "a phase from which nothing leads back";
}

static void nothing_that_can_happen_breaks_a_promise(void **unused)
{
    struct table t = table_in_force();
    const char *fault = explore(&t);

    (void)unused;
    if (fault != NULL)
        fail_msg("%s", fault);
    bool phase_seen[RH_PHASES] = {false};
    for (unsigned i = 0; i < the_walk.count; i++)
        phase_seen[the_walk.queue[i].phase] = true;
    for (int p = 0; p < RH_PHASES; p++)
        assert_true(phase_seen[p]);
}

/* Take any one action out of any one cell, or send it elsewhere: some promise breaks. */
static void explorer_notices_every_missing_action(void **unused)
{
    unsigned mutants = 0;

    (void)unused;
    for (int p = 0; p < RH_PHASES; p++) {
        for (int e = 0; e < RH_EVENTS; e++) {
            for (unsigned i = 0; i < ACTIONS; i++) {
                struct table t = table_in_force();
                if ((t.cell[p][e].todo & 1u << i) == 0)
                    continue;
                t.cell[p][e].todo &= ~(1u << i);
                mutants++;
                if (explore(&t) == NULL)
                    fail_msg("%s, %s without %s went unnoticed",
                             rehome_phase_name((enum rehome_phase)p),
                             rehome_event_name((enum rehome_event)e), action_names[i]);
            }
        }
    }
    assert_true(mutants > 60);
}

static void explorer_notices_every_wrong_way(void **unused)
{
    (void)unused;
    for (int p = 0; p < RH_PHASES; p++) {
        for (int e = 0; e < RH_EVENTS; e++) {
            for (int to = 0; to < RH_PHASES; to++) {
                struct table t = table_in_force();
                struct cell *c = &t.cell[p][e];
                if (c->todo == 0 || c->next == (enum rehome_phase)to)
                    continue;
                /* Two phases that differ in what is awaited on the old leg only. */
                if ((c->next == RH_DRAINING && to == RH_BARRIER) ||
                    (c->next == RH_BARRIER && to == RH_DRAINING))
                    continue;
                c->next = (enum rehome_phase)to;
                if (explore(&t) == NULL)
                    fail_msg("%s, %s -> %s went unnoticed", rehome_phase_name((enum rehome_phase)p),
                             rehome_event_name((enum rehome_event)e),
                             rehome_phase_name((enum rehome_phase)to));
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_event_in_every_phase),
        cmocka_unit_test(every_phase_and_event_has_its_own_name),
        cmocka_unit_test(first_connection_goes_straight_to_connect),
        cmocka_unit_test(flip_without_will_takes_over_behind_the_barrier),
        cmocka_unit_test(taken_over_before_connack_is_no_loss),
        cmocka_unit_test(flip_with_will_says_goodbye_first),
        cmocka_unit_test(refused_after_goodbye_the_spare_is_the_way_back),
        cmocka_unit_test(refused_candidate_costs_nothing),
        cmocka_unit_test(lost_uplink_is_retried_until_it_is_back),
        cmocka_unit_test(nothing_that_can_happen_breaks_a_promise),
        cmocka_unit_test(explorer_notices_every_missing_action),
        cmocka_unit_test(explorer_notices_every_wrong_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
