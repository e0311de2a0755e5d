#include "session/sources.h"

#include <pthread.h>
#include <string.h>

#include "base/map.h"

#define PEER_BYTES 72

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards counts */
static struct map *counts; /* address -> number of connections, as a pointer's value */

/* The address without its port. */
static const char *address_of(const char *peer, char out[PEER_BYTES])
{
    const char *port = strrchr(peer, ':');
    size_t n = port != NULL ? (size_t)(port - peer) : strlen(peer);

    if (n >= PEER_BYTES)
        n = PEER_BYTES - 1;
    memcpy(out, peer, n);
    out[n] = '\0';
    return out;
}

static uint32_t change(const char *peer, int by)
{
    char address[PEER_BYTES];
    uintptr_t count = 0;

    address_of(peer, address);
    pthread_mutex_lock(&lock);
    if (counts == NULL)
        counts = map_new();
    if (counts != NULL) {
        count = (uintptr_t)map_get(counts, address);
        count = by > 0 ? count + 1 : count > 0 ? count - 1 : 0;
        if (count == 0)
            map_del(counts, address);
        else if (map_put(counts, address, (void *)count) != 0)
            count = 0;
        if (map_count(counts) == 0) {
            map_free(counts);
            counts = NULL;
        }
    }
    pthread_mutex_unlock(&lock);
    return (uint32_t)count;
}

uint32_t sources_enter(const char *peer)
{
    return change(peer, 1);
}

void sources_leave(const char *peer)
{
    (void)change(peer, -1);
}
