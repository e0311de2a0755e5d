/* tls/heap.c - where the library's memory comes from.
 *
 * Its own copies of private keys live as long as a context or a handshake does.  They are told
 * apart from the rest by when they are made: whoever hands a key to the library says so around the
 * call.
 */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "tls/wolf.h"

static _Thread_local unsigned depth;

void wolf_secret_begin(void)
{
    depth++;
}

void wolf_secret_end(void)
{
    depth--;
}

static void *on_malloc(size_t n)
{
    void *p = depth == 0 ? NULL : secret_alloc(n);

    return p != NULL ? p : malloc(n);
}

static void on_free(void *p)
{
    if (secret_owns(p))
        secret_free(p);
    else
        free(p);
}

static void *on_realloc(void *p, size_t n)
{
    size_t had;
    void *moved;

    if (p == NULL)
        return on_malloc(n);
    if (!secret_owns(p))
        return realloc(p, n);
    had = secret_room(p);
    if (n <= had)
        return p;
    moved = secret_alloc(n);
    if (moved == NULL)
        return NULL;
    memcpy(moved, p, had);
    secret_free(p);
    return moved;
}

int wolf_heap_init(void)
{
    return wolfSSL_SetAllocators(on_malloc, on_free, on_realloc);
}
