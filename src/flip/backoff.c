#include "flip/backoff.h"

/* clang-format off */
const struct backoff_conf backoff_default = {
    .identity = { 4, { 30000, 60000, 120000, 300000 } },
    .network  = { 6, { 1000, 2000, 5000, 10000, 30000, 60000 } },
};
/* clang-format on */

/* Does it need somebody to mend it? */
static bool is_slow(enum diag_class c)
{
    return c != DIAG_NETWORK && c != DIAG_BROKER;
}

int64_t backoff_ms(const struct backoff_conf *conf, enum diag_class c, uint32_t attempt,
                   uint32_t jitter)
{
    const struct backoff_table *t = is_slow(c) ? &conf->identity : &conf->network;
    int64_t ms;
    double spread;

    if (c == DIAG_OK || t->n == 0)
        return 0;
    ms = t->ms[attempt < t->n ? attempt : t->n - 1];
    /* From 80 % to 120 %, evenly: a crowd that was cut off together does not come back together. */
    spread = (double)ms * 0.4 * ((double)jitter / (double)UINT32_MAX);
    return ms - ms / 5 + (int64_t)spread;
}

int64_t backoff_next_ms(struct backoff *b, const struct backoff_conf *conf, enum diag_class c,
                        uint32_t jitter)
{
    int64_t ms;

    if (c == DIAG_OK) {
        *b = (struct backoff){0};
        return 0;
    }
    if (b->slow != is_slow(c))
        *b = (struct backoff){.slow = is_slow(c)};
    ms = backoff_ms(conf, c, b->attempt, jitter);
    if (b->attempt < UINT32_MAX)
        b->attempt++;
    return ms;
}
