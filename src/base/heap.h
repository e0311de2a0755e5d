/* base/heap.h - an intrusive queue by time: what is due first is found at once, and everything can
 * be taken out of the middle.  No allocation; one thread.
 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stdint.h>

/* All zero: in no heap. */
struct heap_item {
    int64_t key;
    bool in;
    struct heap_item *child, *next, *prev; /* prev: the sibling before it, or the parent */
};

/* All zero: empty. */
struct heap {
    struct heap_item *root;
};

/* The item with the least key, or NULL.  Constant time. */
static inline struct heap_item *heap_first(const struct heap *h)
{
    return h->root;
}

/* Put `it` in, or move it when it is there already.  The time of heap_del. */
void heap_put(struct heap *h, struct heap_item *it, int64_t key);

/* Take `it` out; nothing happens when it is not in.  Logarithmic, amortised. */
void heap_del(struct heap *h, struct heap_item *it);

#endif
