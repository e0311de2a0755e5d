#include "base/log_ring.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/pile.h"

#define UNTAKEN_LINES 16384 /* that the main thread may be behind */

struct line {
    struct pile_item item; /* its link is of `lines` later */
    uint64_t seq;
    struct log_record record; /* borrows from text */
    char text[];              /* event, NUL, pairs */
};

static atomic_size_t most_bytes;
static atomic_ullong missed;
static struct pile untaken;

/* The main thread's. */
static struct list lines = {&lines, &lines};
static size_t kept_bytes;
static uint64_t next_seq = 1;

static struct line *line_of(struct list *l)
{
    return list_entry(l, struct line, item.link);
}

void log_ring_add(const struct log_record *r)
{
    size_t most = atomic_load_explicit(&most_bytes, memory_order_relaxed);
    size_t event_n = strlen(r->event) + 1;
    size_t bytes = sizeof(struct line) + event_n + r->n;
    struct line *l;

    if (most == 0)
        return;
    l = malloc(bytes);
    if (l != NULL) {
        l->item.bytes = bytes;
        l->record = *r;
        l->record.event = memcpy(l->text, r->event, event_n);
        l->record.pairs = memcpy(l->text + event_n, r->pairs, r->n);
    }
    if (l == NULL || !pile_put(&untaken, &l->item, UNTAKEN_LINES, most)) {
        atomic_fetch_add_explicit(&missed, 1, memory_order_relaxed);
        free(l);
    }
}

static void shrink(size_t most)
{
    while (kept_bytes > most && !list_empty(&lines)) {
        struct line *l = line_of(lines.next);

        kept_bytes -= l->item.bytes;
        list_del(&l->item.link);
        free(l);
    }
}

void log_ring_settle(void)
{
    size_t most = atomic_load_explicit(&most_bytes, memory_order_relaxed);
    struct list *last = lines.prev;

    pile_take(&untaken, &lines);
    for (struct list *it = last->next; it != &lines; it = it->next) {
        struct line *l = line_of(it);

        pile_done(&untaken, &l->item);
        l->seq = next_seq++;
        kept_bytes += l->item.bytes;
    }
    shrink(most);
}

void log_ring_set_bytes(size_t bytes)
{
    atomic_store_explicit(&most_bytes, bytes, memory_order_relaxed);
    log_ring_settle();
}

void log_ring_range(uint64_t *first, uint64_t *next)
{
    *first = list_empty(&lines) ? next_seq : line_of(lines.next)->seq;
    *next = next_seq;
}

uint64_t log_ring_missed(void)
{
    return atomic_load_explicit(&missed, memory_order_relaxed);
}

void log_ring_walk(uint64_t from, bool back, log_ring_fn *each, void *arg)
{
    struct list *it = back ? lines.prev : lines.next;

    while (it != &lines) {
        struct line *l = line_of(it);

        it = back ? it->prev : it->next;
        if ((back ? l->seq < from : l->seq >= from) && !each(arg, l->seq, &l->record))
            return;
    }
}
