/* control/hub_clock.c - how far the wall clock can be believed.
 *
 * Two things are remembered.  `known_s` is a time that has passed for certain: the clock was
 * synchronised then, or the program was built, and the machine has run for so long since.  Dates of
 * certificates are never judged by an earlier one (clock_date_s), so a gateway without a battery
 * for its clock takes its sensors and its broker before a time server has been reached, and one
 * that has expired before stays expired.  It is given up where the clock is synchronised: that one
 * is right.
 *
 * `seen_s` is the newest thing that was written down, by whatever clock.  It may be wrong, too, so
 * nothing is judged by it but whether a flip has to wait for somebody's word (flip/clock.h).
 */
#include <jansson.h>

#include "base/clock.h"
#include "base/log.h"
#include "control/hub_inside.h"

#define SAVE_EVERY_S 86400
#define KNOWN        "clock-known-s"

static void seen(struct hub *h, int64_t wall_s)
{
    if (wall_s > h->clock.seen_s)
        h->clock.seen_s = wall_s;
}

static int seen_audit(void *arg, const struct store_audit *a)
{
    seen(arg, a->time_s);
    return 0;
}

int hub_clock_start(struct hub *h, struct err *err)
{
    int rc = store_value_get(h->store, KNOWN, &h->clock.known_s, err);

    if (rc == 0)
        rc = store_audit_each(h->store, -1, 1, seen_audit, h, err);
    if (rc < 0)
        return rc;
    h->clock.saved_s = h->clock.known_s;
    seen(h, clock_built_s());
    seen(h, h->clock.known_s);
    return 0;
}

/* An identity that is in use was valid for a broker.  One that is only installed may be for next
 * year, and says nothing of the time. */
void hub_clock_devices(struct hub *h)
{
    for (size_t i = 0; i < h->count; i++) {
        const struct hub_device *d = h->sorted[i];
        const struct cred *cred = d->cred[flip_active_slot(&d->flip)];

        if (cred != NULL && d->flip.phase != FLIP_TRIAL)
            seen(h, cred_leaf(cred)->not_before_s);
    }
    hub_clock_look(h);
}

void hub_clock_seen(struct hub *h)
{
    seen(h, hub_wall_s(h));
}

void hub_clock_vouched(struct hub *h)
{
    h->clock.seen_s = hub_wall_s(h);
}

static void tell(const struct hub *h, int64_t now_s)
{
    struct flip_clock c;
    char text[160], now[32];

    hub_clock(h, &c);
    if (flip_clock_judge(&c) == FLIP_CLOCK_GOOD)
        log_event(LOG_DAEMON, LOG_NOTICE_, "clock-synchronised", "now=%s max_error_ms=%lld",
                  clock_iso(now_s, now, sizeof(now)), (long long)(c.max_error_us / 1000));
    else
        log_event(LOG_DAEMON, h->snapshot->conf->clock_require_sync ? LOG_WARN_ : LOG_NOTICE_,
                  "clock-not-synchronised", "now=%s msg=%s todo=%s",
                  clock_iso(now_s, now, sizeof(now)),
                  LOG_Q(flip_clock_text(&c, text, sizeof(text))),
                  LOG_Q("see timedatectl and chronyc tracking"));
}

/* Certificates are judged by the time that has passed at least, from here on or not any more. */
static void tell_behind(struct hub *h, int64_t now_s)
{
    int64_t known_s = clock_known_s();
    bool behind = now_s + FLIP_CLOCK_SLACK_S < known_s;
    char now[32], known[32];

    if (behind && !h->clock.behind)
        log_event(LOG_DAEMON, LOG_WARN_, "clock-behind", "now=%s by=%s msg=%s todo=%s",
                  clock_iso(now_s, now, sizeof(now)), clock_iso(known_s, known, sizeof(known)),
                  LOG_Q("the clock says less than has passed since this program was built, or the "
                        "clock was last synchronised: dates of certificates are compared with that "
                        "time"),
                  LOG_Q("set the clock of this gateway: see timedatectl"));
    h->clock.behind = behind;
}

/* Once a day; a step back of a clock that had been wrong at once. */
static void save(struct hub *h)
{
    int64_t since_s = h->clock.known_s - h->clock.saved_s;

    if (since_s >= 0 && since_s < SAVE_EVERY_S)
        return;
    /* One that cannot be saved is tried again with the next look; the disk's trouble is told by
     * those who need it. */
    if (store_value_put(h->store, KNOWN, h->clock.known_s, NULL) == 0)
        h->clock.saved_s = h->clock.known_s;
}

void hub_clock_look(struct hub *h)
{
    struct clock_sync sync;
    int64_t now_s = hub_wall_s(h), built_s = clock_built_s();
    bool first = h->clock.since_s == 0;

    if (h->sink.sync == NULL)
        return;
    h->sink.sync(h->sink.arg, &sync);
    first = first || sync.known != h->clock.sync.known ||
            sync.synchronised != h->clock.sync.synchronised;
    h->clock.sync = sync;
    if (sync.synchronised) {
        h->clock.known_s = now_s;
        clock_known_set(0);
    } else {
        clock_known_set(h->clock.known_s > built_s ? h->clock.known_s : built_s);
        h->clock.known_s = clock_known_s();
    }
    save(h);
    tell_behind(h, now_s);
    if (!first)
        return;
    h->clock.since_s = now_s < 1 ? 1 : now_s;
    tell(h, now_s);
}

int64_t hub_clock(const struct hub *h, struct flip_clock *out)
{
    if (h->sink.sync == NULL) {
        *out = (struct flip_clock){.known = true, .synchronised = true, .wall_s = hub_wall_s(h)};
        return 0;
    }
    *out = (struct flip_clock){
        .known = h->clock.sync.known,
        .synchronised = h->clock.sync.synchronised,
        .max_error_us = h->clock.sync.max_error_us,
        .wall_s = hub_wall_s(h),
        .seen_s = h->clock.seen_s,
    };
    return h->clock.since_s;
}
