/* A window is judged by the rate of ends while it is in force.  Ends lag behind beginnings by the
 * time that a move takes, and those that began together end together; so counting starts with the
 * first end of a move that began under this window, and goes on to the first end of one that began
 * after that, which is once round, and for ROUND_MS and ROUND_ENDS.
 *
 * It is the rate that is looked at, and not how long a move takes: devices differ (what is in
 * flight has to be acknowledged first), and so do the brokers that they are with, but more of them
 * in a second is better with all of them.
 */
#include "flip/pace.h"

#include <assert.h>

#define FIRST_WINDOW 4
#define ROUND_MS                                                                                  \
    100              /* at least: so short that growing is quick, so long that a rate can be told \
                      */
#define ROUND_ENDS 8 /* likewise */
#define FORGET_MS  60000 /* with nobody moving: the broker may be another one by now */

/* Per cent of the best rate so far.  What a larger window does not bring in rate it costs in holds:
 * the last steps of a move wait at the broker behind the handshakes of the others. */
#define DOUBLING_PAYS 125
#define DOUBLINGS_MAX 2 /* that do not pay, in a row: one may have been bad luck */
#define LARGER_PAYS   112
#define SMALLER_FITS  94

#define GAP_LEAST_MS 50
#define GAP_MOST_MS  5000
#define GAP_CALM     8 /* so many answers, and the gap gets smaller by an eighth */

/* A few devices may have troubles of their own: it is the broker when it is more than a fifth of
 * the latest SHARE_OF moves, and more than one or two. */
#define SHARE_OF       64
#define SHARE_FIFTH    5
#define STRAINS_MIN    3
#define OUTAGE_STRAINS 5 /* in a row, with nothing good in between */

static const uint32_t pause_ms[] = {1000, 2000, 5000, 10000, 30000};
#define PAUSES (sizeof(pause_ms) / sizeof(pause_ms[0]))

static uint32_t at_most(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t at_least(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* From half of `ms` to one and a half. */
static int64_t spread(uint32_t ms, uint32_t random)
{
    return ms / 2 + random % (ms + 1);
}

void pace_init(struct pace *p)
{
    *p = (struct pace){.mood = PACE_GROWING,
                       .window = FIRST_WINDOW,
                       .settled = FIRST_WINDOW,
                       .ceiling = UINT32_MAX};
}

static bool is_of_window(const struct pace *p, uint32_t round)
{
    return (int32_t)(round - p->since) >= 0;
}

static void count_anew(struct pace *p)
{
    p->round_ms = 0;
    p->ended = 0;
}

static void set_window(struct pace *p, uint32_t window)
{
    p->window = at_least(window, 1);
    p->since = ++p->round;
    p->answers = p->strains = 0;
    count_anew(p);
}

static void grow_from(struct pace *p, uint32_t window)
{
    p->mood = PACE_GROWING;
    p->settled = window;
    p->best = 0;
    p->misses = 0;
    set_window(p, window);
}

static void steady_at(struct pace *p, uint32_t window)
{
    p->mood = PACE_STEADY;
    p->settled = window;
    p->best = 0;
    set_window(p, window);
}

/* Twice as many at once helped, so twice as many again, up to where it was too much once. */
static void grow(struct pace *p, const struct pace_terms *t)
{
    uint32_t next = p->window < p->ceiling ? at_most(2 * p->window, p->ceiling)
                                           : p->window + at_least(p->window / 8, 1);

    set_window(p, at_most(next, t->most));
}

static void judge_growth(struct pace *p, const struct pace_terms *t, int64_t rate)
{
    if (rate * 100 >= p->best * DOUBLING_PAYS) {
        p->best = rate;
        p->settled = p->window;
        p->misses = 0;
        if (p->window >= t->most)
            steady_at(p, t->most);
        else
            grow(p, t);
    } else if (++p->misses < DOUBLINGS_MAX) {
        count_anew(p);
    } else {
        steady_at(p, p->settled);
    }
}

static void judge_steady(struct pace *p, const struct pace_terms *t, int64_t rate)
{
    uint32_t step = at_least(p->settled / 4, 1);
    bool tried = p->window != p->settled;
    bool better = p->window > p->settled ? rate * 100 >= p->best * LARGER_PAYS
                                         : rate * 100 >= p->best * SMALLER_FITS;

    if (tried && !better) { /* back, and the other way next */
        p->up = !p->up;
        set_window(p, p->settled);
        return;
    }
    p->best = rate;
    p->settled = p->window;
    if (p->up)
        set_window(p, at_most(p->settled + step, t->most));
    else
        set_window(p, p->settled - at_most(step, p->settled - 1));
    if (p->window == p->settled) /* there is no way on in this direction */
        p->up = !p->up;
}

static void judge(struct pace *p, const struct pace_terms *t, int64_t now_ms)
{
    int64_t rate = (int64_t)p->ended * 1000000 / (now_ms - p->round_ms);

    if (p->mood == PACE_GROWING)
        judge_growth(p, t, rate);
    else
        judge_steady(p, t, rate);
}

static void ease_gap(struct pace *p)
{
    if (p->gap_ms == 0 || ++p->good < GAP_CALM)
        return;
    p->good = 0;
    p->gap_ms -= p->gap_ms / 8;
    if (p->gap_ms <= GAP_LEAST_MS / 8)
        p->gap_ms = 0;
}

/* Of the moves that began under this window: what began before says nothing about it. */
static void count_share(struct pace *p, bool strain)
{
    if (p->answers + p->strains >= SHARE_OF) {
        p->answers /= 2;
        p->strains /= 2;
    }
    if (strain)
        p->strains++;
    else
        p->answers++;
}

static void answered(struct pace *p, const struct pace_terms *t, uint32_t round, int64_t now_ms)
{
    p->strained = p->pauses = 0;
    if (p->mood == PACE_PAUSED) {
        p->next_ms = now_ms;
        grow_from(p, FIRST_WINDOW);
        return;
    }
    ease_gap(p);
    if (is_of_window(p, round))
        count_share(p, false);
    if (p->round_ms == 0) {
        if (!is_of_window(p, round))
            return;
        p->round_ms = now_ms;
        p->round++;
        return;
    }
    p->ended++;
    if (round != p->round)
        return;
    if (now_ms - p->round_ms >= ROUND_MS && p->ended >= ROUND_ENDS && p->gap_ms == 0)
        judge(p, t, now_ms);
    else
        p->round++;
}

static void wait_out(struct pace *p, int64_t now_ms, uint32_t random)
{
    p->mood = PACE_PAUSED;
    p->next_ms = now_ms + spread(pause_ms[at_most(p->pauses, PAUSES - 1)], random);
    p->pauses++;
    set_window(p, 1);
}

/* Half as many from now on; where there is one only, half as often. */
static void cut(struct pace *p, const struct pace_terms *t, int64_t now_ms, uint32_t random)
{
    uint32_t window = pace_window(p, t);

    if (window == 1) {
        p->gap_ms = at_most(at_least(2 * p->gap_ms, GAP_LEAST_MS), GAP_MOST_MS);
        p->next_ms = now_ms + spread(p->gap_ms, random);
        p->good = 0;
    }
    p->ceiling = at_least(window / 2, 1);
    steady_at(p, p->ceiling);
}

static bool is_too_much(const struct pace *p)
{
    return p->strains >= at_least(at_most(p->window, STRAINS_MIN), 2) &&
           p->strains * SHARE_FIFTH > p->answers + p->strains;
}

static void strained(struct pace *p, const struct pace_terms *t, uint32_t round, int64_t now_ms,
                     uint32_t random)
{
    p->strained++;
    if (p->mood == PACE_PAUSED) {
        if (is_of_window(p, round))
            wait_out(p, now_ms, random);
    } else if (p->strained >= OUTAGE_STRAINS) {
        p->ceiling = at_least(pace_window(p, t) / 2, 1);
        wait_out(p, now_ms, random);
    } else if (is_of_window(p, round)) {
        count_share(p, true);
        if (is_too_much(p))
            cut(p, t, now_ms, random);
    }
}

/* -- from outside -- */

void pace_queue(struct pace *p, const struct pace_terms *t, bool crowd, int64_t now_ms,
                uint32_t random)
{
    if (p->under_way == 0 && now_ms - p->busy_ms >= FORGET_MS && p->mood != PACE_PAUSED) {
        pace_init(p);
        p->busy_ms = now_ms;
    }
    if (crowd && t->jitter_ms != 0 && p->next_ms < now_ms)
        p->next_ms = now_ms + random % (t->jitter_ms + 1);
}

uint32_t pace_window(const struct pace *p, const struct pace_terms *t)
{
    return at_most(p->window, t->most);
}

bool pace_may_begin(const struct pace *p, const struct pace_terms *t, bool way_back, int64_t now_ms,
                    int64_t *at_ms)
{
    *at_ms = 0;
    if (p->under_way >= pace_window(p, t))
        return false;
    if (now_ms >= p->next_ms || (way_back && p->mood == PACE_PAUSED))
        return true;
    *at_ms = p->next_ms;
    return false;
}

uint32_t pace_begin(struct pace *p, int64_t now_ms, uint32_t random)
{
    p->under_way++;
    p->busy_ms = now_ms;
    if (p->gap_ms != 0)
        p->next_ms = now_ms + spread(p->gap_ms, random);
    return p->round;
}

bool pace_end(struct pace *p, const struct pace_terms *t, uint32_t round, enum pace_end how,
              int64_t now_ms, uint32_t random)
{
    bool paused = p->mood == PACE_PAUSED;

    assert(p->under_way > 0);
    p->under_way--;
    p->busy_ms = now_ms;
    switch (how) {
    case PACE_ANSWERED:
        answered(p, t, round, now_ms);
        break;
    case PACE_STRAINED:
        strained(p, t, round, now_ms, random);
        break;
    case PACE_VOID:
        break;
    }
    return (p->mood == PACE_PAUSED) != paused;
}

void pace_idle(struct pace *p)
{
    count_anew(p);
}

void pace_sign_of_life(struct pace *p, int64_t now_ms, uint32_t random)
{
    if (p->mood != PACE_PAUSED)
        return;
    p->pauses = 0;
    if (p->next_ms > now_ms + pause_ms[0] / 2)
        p->next_ms = now_ms + random % (pause_ms[0] / 2);
}
