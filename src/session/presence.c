#include "session/presence.h"

#include <stdatomic.h>
#include <stdlib.h>

struct presence {
    atomic_uint refs;
    atomic_uint sessions;
};

struct presence *presence_new(void)
{
    struct presence *p = malloc(sizeof *p);

    if (p == NULL)
        return NULL;
    atomic_init(&p->refs, 1);
    atomic_init(&p->sessions, 0);
    return p;
}

struct presence *presence_ref(struct presence *p)
{
    if (p != NULL)
        atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void presence_unref(struct presence *p)
{
    if (p != NULL && atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
        free(p);
}

unsigned presence_enter(struct presence *p)
{
    return p != NULL ? atomic_fetch_add_explicit(&p->sessions, 1, memory_order_acq_rel) : 0;
}

void presence_leave(struct presence *p)
{
    if (p != NULL)
        atomic_fetch_sub_explicit(&p->sessions, 1, memory_order_acq_rel);
}

unsigned presence_count(struct presence *p)
{
    return p != NULL ? atomic_load_explicit(&p->sessions, memory_order_acquire) : 0;
}
