/* fleet/plan.h - which gateways and devices a campaign is about, and which wave each device is in.
 *
 * Pure.  The pilot is what pilot_devices names; else, or where these are fewer, it is spread over
 * the gateways, one device of each in turn, those first that have a sensor connected.  A wave of a
 * percentage counts cumulatively over all devices, the pilot among them, and is spread over the
 * gateways likewise; devices of one gateway are taken by name.  The same view gives the same plan.
 */
#ifndef FLEET_PLAN_H
#define FLEET_PLAN_H

#include <stddef.h>

#include "base/err.h"
#include "cli/show.h"
#include "fleet/campaign.h"
#include "fleet/progress.h"
#include "fleet/view.h"

struct plan_device {
    const struct view_device *seen; /* borrowed from the view */
    int wave;
    char trouble[200]; /* why its turn would end badly as things are now; "" */
};

struct plan_gateway {
    const struct view_gateway *seen;
    struct plan_device *devices; /* owned, by name */
    size_t count;
    size_t by_wave[CAMPAIGN_WAVES_MAX];
    char trouble[200]; /* "offline", "..." */
};

struct plan {
    struct plan_gateway *gateways; /* owned, by name; those without devices are left out */
    size_t gateway_count, device_count;
    size_t by_wave[CAMPAIGN_WAVES_MAX];
    int waves;
};

/* Returns 0, -ERR_NOMEM, or -ERR_NOT_FOUND: nothing matches; err says what there is. */
int plan_make(const struct campaign *c, const struct view *v, struct plan *out, struct err *err);
void plan_fini(struct plan *p);

/* As rows for the ledger. */
void plan_gateway_row(const struct plan_gateway *g, int64_t now_s, struct fleet_gateway *out);
void plan_device_row(const struct plan_gateway *g, const struct plan_device *d, int64_t now_s,
                     struct fleet_device *out);

/* For people, or as JSON. */
int plan_show(const struct campaign *c, const struct plan *p, bool json, const struct show *show);

#endif
