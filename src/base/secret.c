#include "base/secret.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/err.h"

/* Room for two RSA-4096 keys of each of 50,000 devices; only addresses are reserved. */
#if SIZE_MAX > 0xffffffffu
#    define REGION_BYTES ((size_t)1 << 30)
#else
#    define REGION_BYTES ((size_t)1 << 26)
#endif
#define STEP_BYTES  ((size_t)256 * 1024) /* that the region is filled by */
#define LEAST_SHIFT 6                    /* the smallest block: 64 bytes */
#define MOST_SHIFT  24

/* Before each block.  A block that is free holds the next one of its size in its first bytes. */
struct head {
    size_t shift; /* of the block's size, this header included */
    struct head *next;
};

static struct {
    pthread_mutex_t lock; /* guards the rest */
    uint8_t *base;        /* written once; read without the lock behind an acquire */
    size_t used, ready, unlocked;
    struct head *free[MOST_SHIFT + 1];
} region = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int region_open(void)
{
    void *p;

    if (region.base != NULL)
        return 0;
    p = mmap(NULL, REGION_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return -ERR_NOMEM;
    (void)madvise(p, REGION_BYTES, MADV_DONTDUMP);
    __atomic_store_n(&region.base, p, __ATOMIC_RELEASE);
    return 0;
}

/* Let the region be usable up to `end`. */
static int region_fill(size_t end)
{
    size_t upto = (end + STEP_BYTES - 1) / STEP_BYTES * STEP_BYTES;
    uint8_t *at = region.base + region.ready;
    size_t more = upto - region.ready;

    if (end <= region.ready)
        return 0;
    if (upto > REGION_BYTES || mprotect(at, more, PROT_READ | PROT_WRITE) != 0)
        return -ERR_NOMEM;
    /* Whoever may lock little serves all the same: swap is the machine's to encrypt. */
    if (mlock(at, more) != 0)
        region.unlocked += more;
    region.ready = upto;
    return 0;
}

void *secret_alloc(size_t n)
{
    size_t shift = LEAST_SHIFT;
    struct head *h = NULL;

    while (shift <= MOST_SHIFT && ((size_t)1 << shift) - sizeof(*h) < n)
        shift++;
    if (shift > MOST_SHIFT)
        return NULL;
    pthread_mutex_lock(&region.lock);
    if (region.free[shift] != NULL) {
        h = region.free[shift];
        region.free[shift] = h->next;
    } else if (region_open() == 0 && region_fill(region.used + ((size_t)1 << shift)) == 0) {
        h = (struct head *)(void *)(region.base + region.used);
        region.used += (size_t)1 << shift;
    }
    pthread_mutex_unlock(&region.lock);
    if (h == NULL)
        return NULL;
    *h = (struct head){.shift = shift};
    return h + 1;
}

size_t secret_room(const void *p)
{
    const struct head *h = (const struct head *)p - 1;

    return ((size_t)1 << h->shift) - sizeof(*h);
}

void secret_free(void *p)
{
    struct head *h;

    if (p == NULL)
        return;
    h = (struct head *)p - 1;
    explicit_bzero(p, secret_room(p));
    pthread_mutex_lock(&region.lock);
    h->next = region.free[h->shift];
    region.free[h->shift] = h;
    pthread_mutex_unlock(&region.lock);
}

bool secret_owns(const void *p)
{
    uintptr_t base = (uintptr_t)__atomic_load_n(&region.base, __ATOMIC_ACQUIRE);

    return base != 0 && (uintptr_t)p >= base && (uintptr_t)p < base + REGION_BYTES;
}

int secret_set(struct secret *s, const void *data, size_t n)
{
    uint8_t *p = secret_alloc(n);

    if (p == NULL)
        return -ERR_NOMEM;
    if (n > 0)
        memcpy(p, data, n);
    secret_fini(s);
    *s = (struct secret){p, n};
    return 0;
}

void secret_fini(struct secret *s)
{
    secret_free(s->p);
    *s = (struct secret){0};
}

void secret_use(struct secret_use *out)
{
    pthread_mutex_lock(&region.lock);
    *out = (struct secret_use){.bytes = region.ready, .unlocked = region.unlocked};
    pthread_mutex_unlock(&region.lock);
}

void secret_free_heap(void *p)
{
    if (p != NULL)
        explicit_bzero(p, malloc_usable_size(p));
    free(p);
}
