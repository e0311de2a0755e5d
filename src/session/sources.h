/* session/sources.h - how many connections each source address has, in the whole process.
 *
 * For limits.connections_per_source.  Any thread; one lock, held for a look-up.
 */
#ifndef SESSION_SOURCES_H
#define SESSION_SOURCES_H

#include <stdint.h>

/* A connection from `peer` ("192.0.2.7:51234") comes.  Returns how many its address has with it; 0
 * when out of memory. */
uint32_t sources_enter(const char *peer);
void sources_leave(const char *peer);

#endif
