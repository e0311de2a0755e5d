/* base/histogram.h - how long something took, as counts by bounds.
 *
 * Plain data: copy it, add them up.  It belongs to whoever holds it.
 */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BOUNDS 14

struct histogram {
    uint64_t count[HISTOGRAM_BOUNDS + 1]; /* of those at most bound i, and above bound i - 1; the
                                             last: above all bounds */
    uint64_t sum_us;
};

/* Ascending, in microseconds: 1 ms to 30 s. */
extern const uint64_t histogram_bounds_us[HISTOGRAM_BOUNDS];

void histogram_add(struct histogram *h, uint64_t us);
/* What is in `from` is in `into`, too. */
void histogram_merge(struct histogram *into, const struct histogram *from);
uint64_t histogram_total(const struct histogram *h);

#endif
