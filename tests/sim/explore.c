#include "explore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

/* A state is known by 128 bits of hash; that two of some millions are the same by chance is less
 * likely than a broken machine. */
struct mark {
    uint64_t a, b;
    uint32_t parent;
    uint32_t move;
    uint64_t fair_a, fair_b; /* the state that follows when nothing goes wrong; 0, 0: at rest */
};

struct walk {
    const struct explore *x;
    struct mark *marks; /* owned; by number of the state */
    size_t count, capacity;
    uint32_t *table; /* owned; number + 1, 0: free */
    size_t slots;
    uint8_t *level, *next; /* owned; states of this depth and the following one */
    uint32_t *level_no, *next_no;
    size_t level_count, next_count, next_capacity, level_capacity;
};

static void *must(void *p)
{
    if (p == NULL) {
        fprintf(stderr, "explore: out of memory\n");
        abort();
    }
    return p;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * UINT64_C(0x9fb21c651e98df25);
    return h ^ h >> 32;
}

static void hash(const uint8_t *p, size_t n, uint64_t *a, uint64_t *b)
{
    uint64_t v = 0;

    *a = UINT64_C(0x2545f4914f6cdd1d);
    *b = UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; i < n; i += 8) {
        v = 0;
        memcpy(&v, p + i, n - i < 8 ? n - i : 8);
        *a = mix(*a, v);
        *b = mix(*b, v + i);
    }
}

static void grow_table(struct walk *w)
{
    size_t slots = w->slots == 0 ? 4096 : w->slots * 2;

    free(w->table);
    w->table = must(calloc(slots, sizeof *w->table));
    w->slots = slots;
    for (size_t i = 0; i < w->count; i++) {
        size_t at = (size_t)w->marks[i].a & (slots - 1);
        while (w->table[at] != 0)
            at = (at + 1) & (slots - 1);
        w->table[at] = (uint32_t)i + 1;
    }
}

static uint32_t find(const struct walk *w, uint64_t a, uint64_t b)
{
    size_t at = (size_t)a & (w->slots - 1);

    for (; w->slots > 0 && w->table[at] != 0; at = (at + 1) & (w->slots - 1))
        if (w->marks[w->table[at] - 1].a == a && w->marks[w->table[at] - 1].b == b)
            return w->table[at] - 1;
    return UINT32_MAX;
}

static void note(struct walk *w, const uint8_t *state, uint64_t a, uint64_t b, uint32_t parent,
                 unsigned move)
{
    if (find(w, a, b) != UINT32_MAX)
        return;
    if (w->count * 2 >= w->slots)
        grow_table(w);
    size_t at = (size_t)a & (w->slots - 1);
    while (w->table[at] != 0)
        at = (at + 1) & (w->slots - 1);
    if (w->count == w->capacity) {
        w->capacity = w->capacity == 0 ? 4096 : w->capacity * 2;
        w->marks = must(realloc(w->marks, w->capacity * sizeof *w->marks));
    }
    w->marks[w->count] = (struct mark){.a = a, .b = b, .parent = parent, .move = move};
    w->table[at] = (uint32_t)++w->count;
    if (w->next_count == w->next_capacity) {
        w->next_capacity = w->next_capacity == 0 ? 256 : w->next_capacity * 2;
        w->next = must(realloc(w->next, w->next_capacity * w->x->bytes));
        w->next_no = must(realloc(w->next_no, w->next_capacity * sizeof *w->next_no));
    }
    memcpy(w->next + w->next_count * w->x->bytes, state, w->x->bytes);
    w->next_no[w->next_count++] = (uint32_t)w->count - 1;
}

static void descend(struct walk *w)
{
    uint8_t *states = w->level;
    uint32_t *numbers = w->level_no;
    size_t capacity = w->level_capacity;

    w->level = w->next;
    w->level_no = w->next_no;
    w->level_count = w->next_count;
    w->level_capacity = w->next_capacity;
    w->next = states;
    w->next_no = numbers;
    w->next_capacity = capacity;
    w->next_count = 0;
}

/* `last` -1: the way ends with the state itself. */
static char *trace_of(const struct walk *w, const void *first, uint32_t number, int last)
{
    const struct explore *x = w->x;
    uint32_t way[512];
    size_t n = 0;
    struct buf out = {0};
    uint8_t *state = must(malloc(x->bytes));
    char text[400];

    for (uint32_t at = number; at != 0 && n < sizeof way / sizeof way[0]; at = w->marks[at].parent)
        way[n++] = at;
    memcpy(state, first, x->bytes);
    x->describe(x->arg, state, text, sizeof text);
    buf_printf(&out, "%24s  %s\n", "", text);
    for (size_t i = n + 1; i-- > 0;) {
        unsigned move = i > 0 ? w->marks[way[i - 1]].move : (unsigned)last;
        char name[80];
        if (i == 0 && last < 0)
            break;
        x->name(x->arg, move, name, sizeof name);
        (void)x->move(x->arg, state, move);
        x->describe(x->arg, state, text, sizeof text);
        buf_printf(&out, "%24s  %s\n", name, text);
    }
    /* Where it goes from there by itself. */
    for (int i = 0; last < 0 && i < 40; i++) {
        size_t k = 0;
        char name[80];
        while (k < x->fair_count && !x->move(x->arg, state, x->fair[k]))
            k++;
        if (k == x->fair_count)
            break;
        x->name(x->arg, x->fair[k], name, sizeof name);
        x->describe(x->arg, state, text, sizeof text);
        buf_printf(&out, "%24s  %s\n", name, text);
    }
    free(state);
    if (buf_append_u8(&out, 0) != 0)
        must(NULL);
    return (char *)out.p;
}

/* Does it come to a rest from everywhere?  Returns the number of a state from which it does not, or
 * UINT32_MAX. */
static uint32_t goes_round(const struct walk *w)
{
    uint8_t *known = must(calloc(w->count, 1)); /* 1: on the present way, 2: comes to a rest */
    uint32_t *way = must(malloc(w->count * sizeof *way));
    uint32_t found = UINT32_MAX;

    for (uint32_t i = 0; i < w->count && found == UINT32_MAX; i++) {
        size_t n = 0;
        uint32_t at = i;
        while (at != UINT32_MAX && known[at] == 0) {
            known[at] = 1;
            way[n++] = at;
            const struct mark *m = &w->marks[at];
            at = m->fair_a == 0 && m->fair_b == 0 ? UINT32_MAX : find(w, m->fair_a, m->fair_b);
        }
        if (at != UINT32_MAX && known[at] == 1)
            found = i;
        while (n > 0)
            known[way[--n]] = 2;
    }
    free(known);
    free(way);
    return found;
}

/* Make every move from one state; `ranks` says how early each comes in x->fair. */
static void expand(struct walk *w, const uint8_t *before, uint32_t number, const size_t *ranks,
                   uint8_t *state, struct explored *out)
{
    const struct explore *x = w->x;
    size_t best = SIZE_MAX;
    uint64_t a, b;

    for (unsigned move = 0; move < x->moves && out->broken == NULL; move++) {
        memcpy(state, before, x->bytes);
        if (!x->move(x->arg, state, move))
            continue;
        out->steps++;
        out->broken = x->judge(x->arg, before, state, move);
        out->last = (int)move;
        hash(state, x->bytes, &a, &b);
        if (ranks[move] < best) {
            best = ranks[move];
            w->marks[number].fair_a = a;
            w->marks[number].fair_b = b;
        }
        note(w, state, a, b, number, move);
    }
    if (out->broken == NULL && best == SIZE_MAX) {
        out->broken = x->bad_rest(x->arg, before);
        out->last = -1;
    }
}

struct explored explore_run(const struct explore *x, const void *first)
{
    struct walk w = {.x = x};
    struct explored out = {0};
    uint8_t *state = must(malloc(x->bytes));
    size_t *ranks = must(malloc(x->moves * sizeof *ranks));
    uint32_t number = 0;
    uint64_t a, b;

    for (unsigned move = 0; move < x->moves; move++)
        ranks[move] = SIZE_MAX;
    for (size_t k = 0; k < x->fair_count; k++)
        ranks[x->fair[k]] = k;
    hash(first, x->bytes, &a, &b);
    note(&w, first, a, b, 0, 0);
    for (descend(&w); w.level_count > 0 && out.broken == NULL; descend(&w), out.depth++) {
        for (size_t i = 0; i < w.level_count && out.broken == NULL; i++) {
            number = w.level_no[i];
            expand(&w, w.level + i * x->bytes, number, ranks, state, &out);
        }
        if (w.count > x->most) {
            fprintf(stderr, "explore: more than %zu states\n", x->most);
            abort();
        }
    }
    if (out.broken == NULL && !x->may_go_round && (number = goes_round(&w)) != UINT32_MAX) {
        out.broken = "it never comes to a rest by itself";
        out.last = -1;
    }
    if (out.broken != NULL)
        out.trace = trace_of(&w, first, number, out.last);
    out.states = w.count;
    free(state);
    free(ranks);
    free(w.marks);
    free(w.table);
    free(w.level);
    free(w.next);
    free(w.level_no);
    free(w.next_no);
    return out;
}

void explored_fini(struct explored *e)
{
    free(e->trace);
    *e = (struct explored){0};
}
