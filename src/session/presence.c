#include "session/presence.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "session/subs.h"

#define DIALS_MAX 64 /* latest dials of one device, each of another client identifier */

struct presence {
    atomic_uint refs;
    atomic_uint sessions;
    atomic_uint parting;  /* legs */
    pthread_mutex_t lock; /* of the rest */
    enum presence_legacy legacy;
    uint64_t client;
    struct subs subs;
    struct dial {
        uint64_t number; /* of the latest one there */
        uint32_t home;
    } * dials;         /* owned: one for each home */
    size_t dial_count; /* DIALS_MAX at most */
    uint64_t dialled;  /* all together */
};

struct presence *presence_new(void)
{
    struct presence *p = calloc(1, sizeof *p);

    if (p == NULL)
        return NULL;
    if (pthread_mutex_init(&p->lock, NULL) != 0) {
        free(p);
        return NULL;
    }
    atomic_init(&p->refs, 1);
    atomic_init(&p->sessions, 0);
    atomic_init(&p->parting, 0);
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
    if (p == NULL || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    subs_fini(&p->subs);
    free(p->dials);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void presence_bequeath(struct presence *p, uint64_t client, enum presence_legacy what,
                       struct subs *subs)
{
    struct subs mine = *subs;

    *subs = (struct subs){0};
    if (p == NULL) {
        subs_fini(&mine);
        return;
    }
    pthread_mutex_lock(&p->lock);
    subs_fini(&p->subs);
    p->legacy = what;
    p->client = client;
    p->subs = mine;
    pthread_mutex_unlock(&p->lock);
}

enum presence_legacy presence_inherit(struct presence *p, uint64_t client, struct subs *subs)
{
    enum presence_legacy what;

    if (p == NULL)
        return LEGACY_UNKNOWN;
    pthread_mutex_lock(&p->lock);
    what = p->client == client ? p->legacy : LEGACY_UNKNOWN;
    if (what == LEGACY_KNOWN)
        *subs = p->subs;
    else
        subs_fini(&p->subs);
    p->subs = (struct subs){0};
    p->legacy = LEGACY_UNKNOWN;
    pthread_mutex_unlock(&p->lock);
    return what;
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

static struct dial *dial_find(struct presence *p, uint32_t home)
{
    for (size_t i = 0; i < p->dial_count; i++)
        if (p->dials[i].home == home)
            return &p->dials[i];
    return NULL;
}

/* Room for one more; NULL when there is none. */
static struct dial *dial_add(struct presence *p)
{
    struct dial *more;

    if (p->dial_count == DIALS_MAX)
        return NULL;
    more = realloc(p->dials, (p->dial_count + 1) * sizeof(*more));
    if (more == NULL)
        return NULL;
    p->dials = more;
    return &p->dials[p->dial_count++];
}

/* The one whose latest dial is longest ago makes room. */
static struct dial *dial_oldest(struct presence *p)
{
    struct dial *oldest = p->dials;

    for (size_t i = 1; i < p->dial_count; i++)
        if (p->dials[i].number < oldest->number)
            oldest = &p->dials[i];
    return oldest;
}

uint64_t presence_dial(struct presence *p, uint32_t home)
{
    struct dial *d;
    uint64_t number;

    if (p == NULL)
        return 0;
    pthread_mutex_lock(&p->lock);
    number = ++p->dialled;
    if ((d = dial_find(p, home)) == NULL && (d = dial_add(p)) == NULL)
        d = dial_oldest(p);
    if (d != NULL)
        *d = (struct dial){number, home};
    pthread_mutex_unlock(&p->lock);
    return number;
}

bool presence_dialled_since(struct presence *p, uint32_t home, uint64_t number)
{
    const struct dial *d;
    bool since;

    if (p == NULL)
        return false;
    pthread_mutex_lock(&p->lock);
    d = dial_find(p, home);
    since = d != NULL && d->number > number;
    pthread_mutex_unlock(&p->lock);
    return since;
}

void presence_part(struct presence *p)
{
    if (presence_ref(p) != NULL)
        atomic_fetch_add_explicit(&p->parting, 1, memory_order_acq_rel);
}

void presence_parted(struct presence *p)
{
    if (p != NULL)
        atomic_fetch_sub_explicit(&p->parting, 1, memory_order_acq_rel);
    presence_unref(p);
}

bool presence_parting(struct presence *p)
{
    return p != NULL && atomic_load_explicit(&p->parting, memory_order_acquire) > 0;
}
