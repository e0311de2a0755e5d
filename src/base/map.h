/* base/map.h - a hash map: strings to pointers.  Keys are copied, values borrowed.  One thread. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map;

/* The hash of the maps (SipHash, with a seed of the process's own): good for digests, too. */
uint64_t map_hash(const void *key, size_t n);

struct map *map_new(void);    /* returns owned or NULL */
void map_free(struct map *m); /* keys only, never the values; NULL is fine */
size_t map_count(const struct map *m);
void *map_get(const struct map *m, const char *key);             /* NULL when absent */
void *map_get_n(const struct map *m, const void *key, size_t n); /* the key need not end in NUL */
/* Put, replacing a former value.  value must not be NULL.  Returns 0 or -ERR_NOMEM. */
int map_put(struct map *m, const char *key, void *value);
void *map_del(struct map *m, const char *key); /* returns the value that was there, or NULL */

/* Walk: size_t it = 0; while (map_next(m, &it, &key, &value)) ...  In no order; deleting the
 * current key while walking is allowed, putting is not. */
bool map_next(const struct map *m, size_t *it, const char **key, void **value);

#endif
