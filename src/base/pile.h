/* base/pile.h - where any thread puts things down without waiting, and one thread takes them up.
 *
 * Lock-free: a put is one compare-and-swap, a take one exchange.  What is beyond the bounds is not
 * taken, so a receiver that stands still costs its bounds and no more.
 */
#ifndef BASE_PILE_H
#define BASE_PILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/list.h"

struct pile_item {
    struct list link;       /* the receiver's */
    struct pile_item *next; /* while it lies on the pile */
    size_t bytes;           /* what it counts */
};

struct pile {
    _Atomic(struct pile_item *) top;
    atomic_size_t count, bytes; /* on the pile, and taken but not given back by pile_done */
};

/* Takes the item.  Returns false when the bounds are reached: the item is still the caller's.  Any
 * thread. */
bool pile_put(struct pile *p, struct pile_item *item, size_t most, size_t most_bytes);

/* Add all that lies there to the list, in the order in which it was put.  The receiver's thread. */
void pile_take(struct pile *p, struct list *into);

/* An item that was taken counts no longer. */
void pile_done(struct pile *p, const struct pile_item *item);

/* Is nothing there, nor taken and not done? */
bool pile_empty(struct pile *p);

#endif
