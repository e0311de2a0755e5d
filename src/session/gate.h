/* session/gate.h - how many sessions of a worker that have lost their leg may dial at once.
 *
 * After an outage thousands of them do, and a broker takes so many handshakes in a second.  What is
 * beyond that waits there, in front of the ones that matter more: a device whose new identity is
 * refused has to be back on the old one soon, and dials once more for it.  So a few dial, and they
 * become more so long as that does not make the others wait; the rest waits here.
 *
 * Only a retry passes the gate: who dials for another reason is counted, and does not wait.
 *
 * Pure: no clock, no I/O, no allocation.  Plain data of one worker, for one broker.
 */
#ifndef SESSION_GATE_H
#define SESSION_GATE_H

#include <stdbool.h>
#include <stdint.h>

struct gate {
    uint32_t window;    /* at once */
    uint32_t under_way; /* now */
    uint64_t best_ms;   /* the shortest time of late from dialling to the broker's answer */
    uint64_t cut_ms;    /* when the window was made smaller */
    uint64_t used_ms;   /* when the latest one ended */
};

void gate_init(struct gate *g);

static inline bool gate_is_open(const struct gate *g)
{
    return g->under_way < g->window;
}

static inline void gate_in(struct gate *g)
{
    g->under_way++;
}

/* It has ended.  `answered`: by the broker's word, `took_ms` after it had begun. */
void gate_out(struct gate *g, bool answered, uint64_t took_ms, uint64_t now_ms);

#endif
