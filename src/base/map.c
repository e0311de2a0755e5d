/* Open addressing with linear probing: an array of (hash, entry), a power of two long, at most
 * three quarters full.  Keys come from the network (client ids), so the hash is SipHash-1-3
 * (Aumasson and Bernstein) with a seed per process: nobody can choose names that collide. A deleted
 * slot is marked, nothing moves; that is what makes deleting while walking safe.
 */
#include "base/map.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/rand.h"

enum { MAP_LEAST = 8 };

struct entry {
    void *value; /* borrowed */
    size_t n;
    char key[]; /* NUL-terminated */
};

struct slot {
    uint64_t hash;
    struct entry *e; /* owned; NULL: empty; &gone: deleted */
};

struct map {
    struct slot *slots; /* owned; NULL while cap is 0 */
    size_t cap;
    size_t count;
    size_t used; /* count, and the slots marked as deleted */
};

static struct entry gone;
static uint64_t seed[2];

static void make_seed(void)
{
    seed[0] = rand_u64();
    seed[1] = rand_u64();
}

static inline uint64_t rotl(uint64_t v, unsigned by)
{
    return v << by | v >> (64 - by);
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

/* The words are taken in host order: the value never leaves the process. */
static uint64_t hash_of(const void *key, size_t n)
{
    const uint8_t *p = key;
    uint64_t v[4] = {seed[0] ^ UINT64_C(0x736f6d6570736575), seed[1] ^ UINT64_C(0x646f72616e646f6d),
                     seed[0] ^ UINT64_C(0x6c7967656e657261),
                     seed[1] ^ UINT64_C(0x7465646279746573)};
    uint64_t last = (uint64_t)n << 56;
    uint64_t w = 0;
    size_t left = n;

    for (; left >= 8; left -= 8, p += 8) {
        memcpy(&w, p, 8);
        v[3] ^= w;
        sip_round(v);
        v[0] ^= w;
    }
    w = 0;
    if (left > 0)
        memcpy(&w, p, left);
    last ^= w;
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static void need_seed(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, make_seed);
}

uint64_t map_hash(const void *key, size_t n)
{
    need_seed();
    return hash_of(key, n);
}

struct map *map_new(void)
{
    need_seed();
    return calloc(1, sizeof(struct map));
}

void map_free(struct map *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; i < m->cap; i++) {
        if (m->slots[i].e != &gone)
            free(m->slots[i].e);
    }
    free(m->slots);
    free(m);
}

size_t map_count(const struct map *m)
{
    return m->count;
}

/* The slot that holds the key, or NULL. */
static struct slot *find(const struct map *m, const void *key, size_t n, uint64_t hash)
{
    size_t mask = m->cap - 1;

    if (m->count == 0)
        return NULL;
    for (size_t i = (size_t)hash & mask;; i = (i + 1) & mask) {
        struct slot *s = &m->slots[i];

        if (s->e == NULL)
            return NULL;
        if (s->hash == hash && s->e != &gone && s->e->n == n && memcmp(s->e->key, key, n) == 0)
            return s;
    }
}

void *map_get_n(const struct map *m, const void *key, size_t n)
{
    const struct slot *s;

    if (m->count == 0)
        return NULL;
    if (n == 0)
        key = ""; /* an empty slice may point nowhere */
    s = find(m, key, n, hash_of(key, n));
    return s == NULL ? NULL : s->e->value;
}

void *map_get(const struct map *m, const char *key)
{
    return map_get_n(m, key, strlen(key));
}

/* A slot for a key that is not there; there is one, since the array is never full. */
static struct slot *vacant(struct slot *slots, size_t cap, uint64_t hash)
{
    size_t i = (size_t)hash & (cap - 1);

    while (slots[i].e != NULL && slots[i].e != &gone)
        i = (i + 1) & (cap - 1);
    return &slots[i];
}

/* Make the array fit for one entry more; deleted slots vanish, and so does room that is no longer
 * needed. */
static int fit(struct map *m)
{
    struct slot *slots;
    size_t cap = MAP_LEAST;

    if (m->used + 1 <= m->cap / 4 * 3)
        return 0;
    while (m->count + 1 > cap / 2)
        cap *= 2;
    slots = calloc(cap, sizeof(*slots));
    if (slots == NULL)
        return -ERR_NOMEM;
    for (size_t i = 0; i < m->cap; i++) {
        if (m->slots[i].e != NULL && m->slots[i].e != &gone)
            *vacant(slots, cap, m->slots[i].hash) = m->slots[i];
    }
    free(m->slots);
    m->slots = slots;
    m->cap = cap;
    m->used = m->count;
    return 0;
}

int map_put(struct map *m, const char *key, void *value)
{
    size_t n = strlen(key);
    uint64_t hash = hash_of(key, n);
    struct slot *s = find(m, key, n, hash);
    struct entry *e;

    if (s != NULL) {
        s->e->value = value;
        return 0;
    }
    e = malloc(sizeof(*e) + n + 1);
    if (e == NULL)
        return -ERR_NOMEM;
    if (fit(m) != 0) {
        free(e);
        return -ERR_NOMEM;
    }
    e->value = value;
    e->n = n;
    memcpy(e->key, key, n + 1);
    s = vacant(m->slots, m->cap, hash);
    m->used += s->e == NULL;
    *s = (struct slot){hash, e};
    m->count++;
    /* cppcheck-suppress memleak ; the slot owns it */
    return 0;
}

void *map_del(struct map *m, const char *key)
{
    size_t n = strlen(key);
    struct slot *s = find(m, key, n, hash_of(key, n));
    void *value;

    if (s == NULL)
        return NULL;
    value = s->e->value;
    free(s->e);
    s->e = &gone;
    m->count--;
    if (m->count == 0) { /* a crowd that has left leaves nothing behind */
        free(m->slots);
        m->slots = NULL;
        m->cap = 0;
        m->used = 0;
    }
    return value;
}

bool map_next(const struct map *m, size_t *it, const char **key, void **value)
{
    for (; *it < m->cap; (*it)++) {
        const struct entry *e = m->slots[*it].e;

        if (e == NULL || e == &gone)
            continue;
        if (key != NULL)
            *key = e->key;
        if (value != NULL)
            *value = e->value;
        (*it)++;
        return true;
    }
    return false;
}
