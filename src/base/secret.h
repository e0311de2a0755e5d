/* base/secret.h - memory for keys and passphrases.
 *
 * What is allocated here is zeroed when it is made and wiped when it is given back, is left out of
 * core dumps (MADV_DONTDUMP), and does not go to swap as far as RLIMIT_MEMLOCK allows.  It lies in
 * one region of addresses that is reserved at first use and filled from its beginning.  Any thread.
 */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct secret {
    uint8_t *p; /* owned, of secret_alloc; NULL while empty */
    size_t len;
};

/* Zeroed, aligned as malloc's.  NULL when there is none; n may be 0. */
void *secret_alloc(size_t n);
void secret_free(void *p);         /* wipes; NULL is fine */
bool secret_owns(const void *p);   /* does it come from here? */
size_t secret_room(const void *p); /* bytes that may be used from p, of secret_alloc */

/* Make `s` hold a copy of these bytes; what it held is wiped.  Returns 0, or -ERR_NOMEM with `s` as
 * it was. */
int secret_set(struct secret *s, const void *data, size_t n);
void secret_fini(struct secret *s); /* wipes; empty and reusable after it */

/* How much lies here, and how much of that may still go to swap. */
struct secret_use {
    size_t bytes;    /* taken from the system */
    size_t unlocked; /* of these, not locked */
};
void secret_use(struct secret_use *out);

/* Wipe what malloc gave, all of it, then free it.  NULL is fine.  For libraries that take an
 * allocator, and pass secrets through it. */
void secret_free_heap(void *p);

#endif
