/* control/chains.h - the listeners' own certificates: until when sensors can take them.
 *
 * When one ends, every sensor of its listener refuses the gateway at once; so it is told of in
 * time. Main thread.
 */
#ifndef CONTROL_CHAINS_H
#define CONTROL_CHAINS_H

#include <stdint.h>

#include "session/snapshot.h"

/* Of one chain of a listener; all is borrowed for the time of the call. */
struct chains_one {
    const char *listener;
    const char *file; /* of the chain */
    const struct cert_info
        *ci;    /* the certificate of it that is not valid yet, or else ends first */
    bool early; /* it is not valid yet */
    bool over;  /* it is not valid any more */
    bool soon;  /* it ends within lint.expiring_days, or a third of its life */
};

/* Call `each` for every chain of every listener, as it is at `now_s` (clock_date_s()). */
void chains_each(const struct wk_snapshot *s, int64_t now_s,
                 void (*each)(void *arg, const struct chains_one *c), void *arg);

/* What sensors will refuse, or refuse already: a sentence, and what to do. */
void chains_worries(const struct wk_snapshot *s, int64_t now_s,
                    void (*say)(void *arg, const struct chains_one *c, const char *msg,
                                const char *todo),
                    void *arg);

/* To the log (certificate-ends): once an hour what is over, not valid yet, or ends within a day,
 * once a day what ends soon.  *said is for this function alone, 0 at first; 0 again has it said
 * anew. */
void chains_watch(const struct wk_snapshot *s, int64_t *said);

#endif
