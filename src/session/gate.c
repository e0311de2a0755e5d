/* The time that an answer takes beyond the shortest one of late is time that it has waited at the
 * broker; that is kept at WAIT_MS or so, as LEDBAT does with the queue of a link (RFC 6817).  It is
 * less than the few hundred connections that a broker's socket queues before it drops some, which
 * then come again after one second, and three.
 */
#include "session/gate.h"

#include <assert.h>

#define WINDOW_FIRST 16
#define WINDOW_LEAST 4
#define WAIT_MS      100
#define FORGET_MS    30000 /* without anybody dialling: the way may be another one */

void gate_init(struct gate *g)
{
    *g = (struct gate){.window = WINDOW_FIRST};
}

void gate_out(struct gate *g, bool answered, uint64_t took_ms, uint64_t now_ms)
{
    assert(g->under_way > 0);
    g->under_way--;
    if (!answered)
        return;
    if (g->used_ms == 0 || now_ms - g->used_ms >= FORGET_MS || took_ms < g->best_ms)
        g->best_ms = took_ms;
    g->used_ms = now_ms;
    if (took_ms <= g->best_ms + WAIT_MS) {
        if (g->window < UINT32_MAX)
            g->window++;
    } else if (now_ms - g->cut_ms >= took_ms) { /* those that began since then are fewer already */
        g->cut_ms = now_ms;
        g->window = g->window / 2 < WINDOW_LEAST ? WINDOW_LEAST : g->window / 2;
    }
}
