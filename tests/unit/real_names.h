/* tests/unit/real_names.h - functions of libc that the linker wraps, by their real names.
 *
 * Where off_t and time_t have to be asked for with 64 bits (build-aux/time64.sh) the headers of
 * libc quietly call another function: open64 for open.  Tests that stand in front of one wrap both
 * names, and declare __real_ and __wrap_ of it with NAME_64 of the other.
 */
#ifndef TEST_REAL_NAMES_H
#define TEST_REAL_NAMES_H

#include <time.h>

#if __TIMESIZE == 32 && defined(_TIME_BITS)
#    define NAME_64(name) __asm__(name)
#else
#    define NAME_64(name)
#endif

#endif
