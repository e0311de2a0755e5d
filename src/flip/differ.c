#include "flip/differ.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

/* The first end of a connection that was accepted is answered by connecting again. */
#define EARLY_FREE 1u
/* With that one, three ends in a row. */
#define EARLY_ROUNDS 2u
/* A connection is not said to stand before so long. */
#define STAND_LEAST_MS 2000u

/* May the end of an accepted connection be the broker's answer to who it is?  What the broker says
 * about itself, and what the way there says (a route, a deadline of TCP), is no answer. */
static bool may_be_an_answer(const struct diag *d)
{
    switch (d->class) {
    case DIAG_SUSPECT:
    case DIAG_PROTOCOL:
    case DIAG_POLICY:
        return true;
    case DIAG_NETWORK:
        return d->silent;
    case DIAG_OK:
    case DIAG_IDENTITY: /* needs no settling */
    case DIAG_TRUST:
    case DIAG_BROKER:
    case DIAG_CLASSES:
    default:
        return false;
    }
}

static bool ended_early(struct differ *x, const struct diag *d, uint64_t lived_ms)
{
    if (lived_ms >= DIFFER_EARLY_MS || !may_be_an_answer(d)) {
        *x = (struct differ){0};
        return false;
    }
    if (x->early == 0) /* what came before it was accepted counts no more */
        x->rounds = 0;
    if (x->early < UINT8_MAX)
        x->early++;
    return x->early > EARLY_FREE;
}

bool differ_failed(struct differ *x, const struct diag *d, enum differ_far far, uint64_t lived_ms)
{
    if (far == DIFFER_STANDS)
        return ended_early(x, d, lived_ms);
    if (d->class == DIAG_SUSPECT || d->silent)
        return true;
    *x = (struct differ){0};
    return false;
}

bool differ_other_works(struct differ *x, const struct diag *d, enum differ_far far)
{
    unsigned enough = far == DIFFER_STANDS ? EARLY_ROUNDS : d->silent ? DIFFER_ROUNDS : 1;

    if (x->rounds < UINT8_MAX)
        x->rounds++;
    return x->rounds >= enough;
}

void differ_other_fails(struct differ *x)
{
    *x = (struct differ){0};
}

void differ_accepted(struct differ *x)
{
    if (x->early == 0)
        x->rounds = 0;
}

uint64_t differ_stand_ms(uint64_t lived_ms)
{
    return lived_ms < STAND_LEAST_MS / 2 ? STAND_LEAST_MS : 2 * lived_ms;
}

struct diag differ_verdict(const struct diag *d, enum differ_far far)
{
    struct diag suspect = *d;

    suspect.class = DIAG_SUSPECT;
    if (far == DIFFER_STANDS)
        snprintf(suspect.sentence, sizeof(suspect.sentence),
                 "the broker accepts it and does not keep it: %.220s", d->sentence);
    str_tidy(suspect.sentence);
    suspect = diag_settle(&suspect, true);
    if (far == DIFFER_STANDS)
        snprintf(suspect.remedy, sizeof(suspect.remedy),
                 "check at the broker what ends the connections of this certificate or user: "
                 "its log for this moment, its rules, its plugins");
    return suspect;
}
