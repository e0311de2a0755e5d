#include "base/pile.h"

bool pile_put(struct pile *p, struct pile_item *item, size_t most, size_t most_bytes)
{
    size_t before = atomic_fetch_add_explicit(&p->count, 1, memory_order_relaxed);
    size_t bytes = atomic_fetch_add_explicit(&p->bytes, item->bytes, memory_order_relaxed);

    if (before >= most || bytes + item->bytes > most_bytes) {
        pile_done(p, item);
        return false;
    }
    item->next = atomic_load_explicit(&p->top, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&p->top, &item->next, item, memory_order_release,
                                                  memory_order_relaxed))
        ;
    return true;
}

void pile_take(struct pile *p, struct list *into)
{
    struct pile_item *item = atomic_exchange_explicit(&p->top, NULL, memory_order_acquire);
    struct list *behind = into->prev;

    while (item != NULL) { /* the latest first: each goes before the one that was put after it */
        struct pile_item *next = item->next;

        item->link.prev = behind;
        item->link.next = behind->next;
        behind->next->prev = &item->link;
        behind->next = &item->link;
        item = next;
    }
}

void pile_done(struct pile *p, const struct pile_item *item)
{
    atomic_fetch_sub_explicit(&p->bytes, item->bytes, memory_order_relaxed);
    atomic_fetch_sub_explicit(&p->count, 1, memory_order_relaxed);
}

bool pile_empty(struct pile *p)
{
    return atomic_load_explicit(&p->count, memory_order_relaxed) == 0;
}
