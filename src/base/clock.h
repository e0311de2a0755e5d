/* base/clock.h - the two clocks that matter.  Any thread. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

int64_t clock_boot_ms(void); /* CLOCK_BOOTTIME: monotonic, counts suspend; for deadlines */
int64_t clock_mono_us(void); /* CLOCK_MONOTONIC, microseconds; for measuring */
int64_t clock_wall_ms(void); /* CLOCK_REALTIME, milliseconds; to tell times of the others by it */
int64_t clock_wall_s(void);  /* CLOCK_REALTIME; for certificates and for people */

/* Which boot of the machine CLOCK_BOOTTIME belongs to: 36 characters, or "" where the kernel does
 * not say.  Returns out. */
char *clock_boot_id(char *out, size_t n);

/* "2031-05-02 00:00:00 UTC" / "2031-05-02T00:00:00Z" of a wall time.  out >= 32 bytes.  Returns
 * out. */
char *clock_text(int64_t wall_s, char *out, size_t n);
char *clock_iso(int64_t wall_s, char *out, size_t n);

#endif
