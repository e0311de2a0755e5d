/* A pairing heap: every item is due no later than its children, who are a list.  Two heaps become
 * one by making the later root the earlier one's first child.
 */
#include "base/heap.h"

#include <stddef.h>

/* Either may be NULL. */
static struct heap_item *meld(struct heap_item *a, struct heap_item *b)
{
    if (a == NULL || b == NULL)
        return a == NULL ? b : a;
    if (b->key < a->key) {
        struct heap_item *later = a;

        a = b;
        b = later;
    }
    b->prev = a;
    b->next = a->child;
    if (b->next != NULL)
        b->next->prev = b;
    a->child = b;
    return a;
}

/* One heap of a list of siblings: in pairs first, then all pairs from the last to the first; this
 * order is what makes it logarithmic. */
static struct heap_item *meld_all(struct heap_item *first)
{
    struct heap_item *pairs = NULL, *whole = NULL;

    while (first != NULL) {
        struct heap_item *a = first, *b = a->next;

        first = b == NULL ? NULL : b->next;
        a->next = a->prev = NULL;
        if (b != NULL)
            b->next = b->prev = NULL;
        a = meld(a, b);
        a->next = pairs;
        pairs = a;
    }
    while (pairs != NULL) {
        struct heap_item *a = pairs;

        pairs = a->next;
        a->next = NULL;
        whole = meld(whole, a);
    }
    return whole;
}

void heap_del(struct heap *h, struct heap_item *it)
{
    struct heap_item *below;

    if (!it->in)
        return;
    below = meld_all(it->child);
    if (it == h->root) {
        h->root = below;
    } else {
        if (it->prev->child == it)
            it->prev->child = it->next;
        else
            it->prev->next = it->next;
        if (it->next != NULL)
            it->next->prev = it->prev;
        h->root = meld(h->root, below);
    }
    *it = (struct heap_item){0};
}

void heap_put(struct heap *h, struct heap_item *it, int64_t key)
{
    if (it->in && it->key == key)
        return;
    heap_del(h, it);
    it->key = key;
    it->in = true;
    h->root = meld(h->root, it);
}
