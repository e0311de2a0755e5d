/* fleet/pace.h - how fast a campaign goes, and when it will be through.  Pure, any thread. */
#ifndef FLEET_PACE_H
#define FLEET_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fleet/overview.h"

#define PACE_SAMPLES 60
#define PACE_STEP_S  5 /* between two of them: the pace of the last five minutes */

struct pace {
    struct {
        int64_t at_s;
        size_t done;
    } sample[PACE_SAMPLES];
    size_t count, next;
    enum fleet_phase phase; /* of the samples */
    int wave;
};

/* What of the phase is done, of how many: devices that are ready while it is prepared, those of the
 * wave that have migrated, that are validated, that are retired. */
void pace_progress(const struct overview *o, size_t *done, size_t *of);

void pace_add(struct pace *p, const struct overview *o); /* of o->now_s; begin with {0} */

/* Seconds until the phase, or the wave of it, is through; -1: cannot be told. */
int64_t pace_left_s(const struct pace *p, const struct overview *o);
/* Until all waves are, soaks included, as long as no window closes and nothing fails; -1. */
int64_t pace_all_s(const struct pace *p, const struct overview *o, const struct campaign *c);

#endif
