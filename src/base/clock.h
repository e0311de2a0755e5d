/* base/clock.h - the two clocks that matter, and how far the wall clock can be believed.  Any
 * thread.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int64_t clock_boot_ms(void); /* CLOCK_BOOTTIME: monotonic, counts suspend; for deadlines */
int64_t clock_mono_us(void); /* CLOCK_MONOTONIC, microseconds; for measuring */
int64_t clock_wall_ms(void); /* CLOCK_REALTIME, milliseconds; to tell times of the others by it */
int64_t clock_wall_s(void);  /* CLOCK_REALTIME; for people, and to write down when it was */

/* The time that dates of certificates and of lists of revoked ones are compared with:
 * CLOCK_REALTIME, but never earlier than the time that is known to have passed.  A gateway without
 * a clock that outlives a power cut begins in 1970; by that no certificate would be valid yet, and
 * no sensor could connect before the network and a time server are there. */
int64_t clock_date_s(void);
/* Tell what is known to have passed by now, wall clock; 0: nothing, the wall clock is believed.  It
 * goes on from there by CLOCK_BOOTTIME, or a list of revoked certificates would look fresh for as
 * long as the clock stands behind it.  To tell less than is known already changes nothing.  Main
 * thread. */
void clock_known_set(int64_t wall_s);
int64_t clock_known_s(void); /* what has passed at least; 0: nothing is known */
int64_t clock_built_s(void); /* the day before this program was built, wall clock */

/* Does somebody (chrony, timesyncd, ntpd, a PTP daemon) keep the wall clock right?  As the kernel
 * has it, which is the host's in a container, and knows nothing of the host in a virtual machine.
 */
struct clock_sync {
    bool known; /* the kernel has answered */
    bool synchronised;
    int64_t max_error_us; /* meaningful when synchronised */
};
void clock_sync(struct clock_sync *out); /* reads only; one system call */

/* Which boot of the machine CLOCK_BOOTTIME belongs to: 36 characters, or "" where the kernel does
 * not say.  Returns out. */
char *clock_boot_id(char *out, size_t n);

/* "2031-05-02 00:00:00 UTC" / "2031-05-02T00:00:00Z" of a wall time.  out >= 32 bytes.  Returns
 * out. */
char *clock_text(int64_t wall_s, char *out, size_t n);
char *clock_iso(int64_t wall_s, char *out, size_t n);

#endif
