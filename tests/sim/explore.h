/* explore.h - walk everything that can happen: breadth first, each state once.
 *
 * A state is plain bytes.  `move` takes one of a fixed set of moves where it is possible, `judge`
 * says which invariant a move has broken.  The first broken one comes with the shortest way to it.
 */
#ifndef EXPLORE_H
#define EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct explore {
    size_t bytes;   /* of a state */
    unsigned moves; /* 0 .. moves - 1 */
    size_t most;    /* states; more is a failure of the exploration itself */
    void *arg;
    /* Returns false where the move is not possible; the state is then as it was. */
    bool (*move)(void *arg, void *state, unsigned move);
    /* What is broken in `after`, or by the move that led there; NULL: nothing. */
    const char *(*judge)(void *arg, const void *before, const void *after, unsigned move);
    /* What happens when nothing goes wrong any more: the first of these moves that is possible;
     * none: the state is at rest.  From every state that leads to a rest, and the rest is a good
     * one. */
    const unsigned *fair;
    size_t fair_count;
    const char *(*bad_rest)(void *arg, const void *state); /* NULL: it is good */
    bool may_go_round; /* no rest is needed: it may be that nothing can be mended */
    /* One line about a state for the trace. */
    void (*describe)(void *arg, const void *state, char *out, size_t n);
    void (*name)(void *arg, unsigned move, char *out, size_t n);
};

struct explored {
    size_t states, steps;
    unsigned depth;
    int last;           /* the move that broke it; -1: what follows by itself did */
    const char *broken; /* NULL: every invariant holds everywhere; else static text */
    char *trace;        /* owned, the way to what is broken; NULL: nothing is */
};

/* Walk from `first`.  Out of memory, or more than `most` states: aborts. */
struct explored explore_run(const struct explore *x, const void *first);
void explored_fini(struct explored *e);

#endif
