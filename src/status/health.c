/* status/health.c - /healthz and /readyz: see inside.h.
 *
 * Healthy: to start it anew would not help.  That is what the watchdog of the service manager
 * judges, too.  Ready: sensors are served, and what is commanded is kept.  A broker that cannot be
 * reached makes neither wrong: to outlive that is what a gateway is for.
 */
#include <inttypes.h>

#include "base/clock.h"
#include "status/inside.h"

bool status_is_healthy(const struct status_view *v, struct buf *out)
{
    int silent = hub_silent_worker(v->hub, STATUS_SILENT_MS);

    if (silent < 0)
        return true;
    buf_printf(out,
               "worker %d has not answered for %d s: its sensors are not served; the watchdog of "
               "the service starts certflipd anew, by hand: systemctl restart certflip\n",
               silent, STATUS_SILENT_MS / 1000);
    return false;
}

static bool all_have_answered(const struct status_view *v)
{
    for (unsigned i = 0; i < hub_workers(v->hub); i++) {
        struct hub_worker w;

        hub_worker(v->hub, i, &w);
        if (w.age_ms < 0)
            return false;
    }
    return true;
}

bool status_is_ready(const struct status_view *v, struct buf *out)
{
    bool ready = status_is_healthy(v, out);
    struct hub_counts counts;
    char when[32];
    int64_t when_s;
    const char *fault = hub_save_fault(v->hub, &when_s);

    if (!all_have_answered(v)) {
        buf_printf(out, "the workers are still starting\n");
        ready = false;
    }
    if (fault != NULL) {
        buf_printf(out,
                   "nothing changes its phase, as the state could not be written at %s: %s: mend "
                   "the state directory\n",
                   clock_text(when_s, when, sizeof(when)), fault);
        ready = false;
    }
    hub_count(v->hub, &counts);
    if (counts.total != 0 && counts.stuck == counts.total) {
        buf_printf(out,
                   "no device can connect, as none of them (%zu) has an identity that can be "
                   "used: see certflipctl devices\n",
                   counts.total);
        ready = false;
    }
    return ready;
}
