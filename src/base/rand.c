#include "base/rand.h"

#include <errno.h>
#include <sys/random.h>
#include <time.h>

uint64_t rand_u64(void)
{
    uint64_t v;
    struct timespec ts;

    for (;;) {
        if (getrandom(&v, sizeof(v), 0) == (ssize_t)sizeof(v))
            return v;
        if (errno != EINTR)
            break;
    }
    /* A kernel or sandbox without getrandom(2): good enough to spread retries. */
    clock_gettime(CLOCK_MONOTONIC, &ts);
    v = (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
    v = (v ^ v >> 31) * UINT64_C(0x9e3779b97f4a7c15);
    return v ^ v >> 29;
}

uint32_t rand_below(uint32_t bound)
{
    uint32_t reject;
    uint32_t v;

    if (bound == 0)
        return 0;
    reject = (0u - bound) % bound; /* as many low values as would make the others uneven */
    do
        v = (uint32_t)rand_u64();
    while (v < reject);
    return v % bound;
}
