#include "flip/clock.h"

#include <stdio.h>

#include "base/clock.h"

enum flip_clock_verdict flip_clock_judge(const struct flip_clock *c)
{
    /* Then what seems to have happened later was written down by a clock that was wrong. */
    if (c->known && c->synchronised)
        return FLIP_CLOCK_GOOD;
    if (c->wall_s < c->seen_s - FLIP_CLOCK_SLACK_S)
        return FLIP_CLOCK_WRONG;
    return c->known ? FLIP_CLOCK_DRIFTS : FLIP_CLOCK_UNKNOWN;
}

bool flip_clock_refuses(enum flip_clock_verdict v, bool require_sync)
{
    return v == FLIP_CLOCK_WRONG || (require_sync && v != FLIP_CLOCK_GOOD);
}

char *flip_clock_text(const struct flip_clock *c, char *out, size_t n)
{
    char wall[32], seen[32];

    switch (flip_clock_judge(c)) {
    case FLIP_CLOCK_GOOD:
        snprintf(out, n, "%s", "");
        break;
    case FLIP_CLOCK_WRONG:
        snprintf(out, n, "the clock is wrong: it says %s, and at %s it was later already",
                 clock_text(c->wall_s, wall, sizeof(wall)),
                 clock_text(c->seen_s, seen, sizeof(seen)));
        break;
    case FLIP_CLOCK_DRIFTS:
        snprintf(out, n, "the clock is not synchronised");
        break;
    case FLIP_CLOCK_UNKNOWN:
        snprintf(out, n, "the kernel does not say whether the clock is synchronised");
        break;
    }
    return out;
}
