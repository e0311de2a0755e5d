/* base/rand.h - random numbers for jitter and names (not for keys).  Any thread. */
#ifndef BASE_RAND_H
#define BASE_RAND_H

#include <stdint.h>

uint32_t rand_below(uint32_t bound); /* uniform in 0..bound-1; 0 when bound is 0 */
uint64_t rand_u64(void);

#endif
