#include "session/presence.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "session/subs.h"

#define DIALS_MAX 64 /* latest dials of one device, each of another client identifier */

struct presence {
    atomic_uint refs;
    atomic_uint sessions;
    pthread_mutex_t lock; /* of the rest */
    enum presence_legacy legacy;
    uint64_t client;
    struct subs subs;
    struct dial {
        uint64_t number; /* of the latest one there */
        uint32_t home;
        unsigned parting; /* legs there */
    } * dials;            /* owned: one for each home */
    size_t dial_count;    /* DIALS_MAX, or as many as have legs that part */
    uint64_t dialled;     /* all together */
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

/* The one whose latest dial is longest ago, and where nobody parts; NULL when there is none. */
static struct dial *dial_oldest(struct presence *p)
{
    struct dial *oldest = NULL;

    for (size_t i = 0; i < p->dial_count; i++)
        if (p->dials[i].parting == 0 && (oldest == NULL || p->dials[i].number < oldest->number))
            oldest = &p->dials[i];
    return oldest;
}

/* That of this home, made when there is none; NULL without memory. */
static struct dial *dial_of(struct presence *p, uint32_t home)
{
    struct dial *d = dial_find(p, home), *more;

    if (d != NULL)
        return d;
    if (p->dial_count >= DIALS_MAX)
        d = dial_oldest(p);
    if (d == NULL && (more = realloc(p->dials, (p->dial_count + 1) * sizeof(*more))) != NULL) {
        p->dials = more;
        d = &more[p->dial_count++];
    }
    if (d != NULL)
        *d = (struct dial){.home = home};
    return d;
}

uint64_t presence_dial(struct presence *p, uint32_t home)
{
    struct dial *d;
    uint64_t number;

    if (p == NULL)
        return 0;
    pthread_mutex_lock(&p->lock);
    number = ++p->dialled;
    if ((d = dial_of(p, home)) != NULL)
        d->number = number;
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

void presence_part(struct presence *p, uint32_t home)
{
    struct dial *d;

    if (presence_ref(p) == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    if ((d = dial_of(p, home)) != NULL)
        d->parting++;
    pthread_mutex_unlock(&p->lock);
}

void presence_parted(struct presence *p, uint32_t home)
{
    struct dial *d;

    if (p == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    if ((d = dial_find(p, home)) != NULL && d->parting > 0)
        d->parting--;
    pthread_mutex_unlock(&p->lock);
    presence_unref(p);
}

bool presence_parting(struct presence *p, uint32_t home)
{
    const struct dial *d;
    bool parting;

    if (p == NULL)
        return false;
    pthread_mutex_lock(&p->lock);
    d = dial_find(p, home);
    parting = d != NULL && d->parting > 0;
    pthread_mutex_unlock(&p->lock);
    return parting;
}
