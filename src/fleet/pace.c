#include "fleet/pace.h"

#include <string.h>

#define LEAST_S 10 /* what is shorter says nothing */

void pace_progress(const struct overview *o, size_t *done, size_t *of)
{
    const struct overview_count *all = &o->all;
    size_t skipped = overview_part(all, OVERVIEW_SKIPPED);

    *of = all->devices - skipped;
    *done = 0;
    switch (o->campaign.phase) {
    case FLEET_PREPARE:
        *done = *of - overview_part(all, OVERVIEW_WAITING);
        break;
    case FLEET_MIGRATE:
        if (o->campaign.wave >= 0 && o->campaign.wave < CAMPAIGN_WAVES_MAX) {
            all = &o->wave[o->campaign.wave];
            *of = all->devices - overview_part(all, OVERVIEW_SKIPPED);
        }
        *done = overview_part(all, OVERVIEW_DONE);
        break;
    case FLEET_VALIDATE:
        *done = all->step[FLEET_DEVICE_VALIDATED] + all->step[FLEET_DEVICE_RETIRED];
        break;
    case FLEET_RETIRE:
        *done = all->step[FLEET_DEVICE_RETIRED];
        break;
    case FLEET_FINISHED:
    case FLEET_PHASE_COUNT:
        *done = *of;
        break;
    }
}

void pace_add(struct pace *p, const struct overview *o)
{
    size_t done, of, last;

    if (p->count > 0 && (p->phase != o->campaign.phase || p->wave != o->campaign.wave))
        memset(p, 0, sizeof(*p));
    p->phase = o->campaign.phase;
    p->wave = o->campaign.wave;
    last = (p->next + PACE_SAMPLES - 1) % PACE_SAMPLES;
    if (p->count > 0 && o->now_s < p->sample[last].at_s + PACE_STEP_S)
        return;
    pace_progress(o, &done, &of);
    p->sample[p->next].at_s = o->now_s;
    p->sample[p->next].done = done;
    p->next = (p->next + 1) % PACE_SAMPLES;
    if (p->count < PACE_SAMPLES)
        p->count++;
}

/* Devices in how many seconds?  Before there are samples enough, since the wave began. */
static bool rate(const struct pace *p, const struct overview *o, size_t *devices, int64_t *in_s)
{
    size_t first = p->count < PACE_SAMPLES ? 0 : p->next, done, of;
    int64_t since_s =
        o->campaign.phase == FLEET_MIGRATE ? o->campaign.wave_begun_s : o->campaign.changed_s;

    pace_progress(o, &done, &of);
    if (p->count > 0 && o->now_s - p->sample[first].at_s >= LEAST_S &&
        done > p->sample[first].done) {
        *devices = done - p->sample[first].done;
        *in_s = o->now_s - p->sample[first].at_s;
        return true;
    }
    if (since_s <= 0 || o->now_s - since_s < LEAST_S || done == 0 || p->count > PACE_SAMPLES / 2)
        return false;
    *devices = done;
    *in_s = o->now_s - since_s;
    return true;
}

int64_t pace_left_s(const struct pace *p, const struct overview *o)
{
    size_t done, of, devices;
    int64_t in_s;

    pace_progress(o, &done, &of);
    if (o->campaign.mode != FLEET_RUNNING || done >= of || !rate(p, o, &devices, &in_s))
        return -1;
    return ((int64_t)(of - done) * in_s + (int64_t)devices - 1) / (int64_t)devices;
}

int64_t pace_all_s(const struct pace *p, const struct overview *o, const struct campaign *c)
{
    const struct fleet_campaign *now = &o->campaign;
    int64_t in_s, left_s = 0;
    size_t devices, left;
    int soaks = o->waves - now->wave;

    if (now->phase != FLEET_MIGRATE || now->mode != FLEET_RUNNING || now->wave < 0)
        return -1;
    left = overview_part(&o->all, OVERVIEW_READY) + overview_part(&o->all, OVERVIEW_WAITING) +
           overview_part(&o->all, OVERVIEW_FLIPPING);
    if (left > 0) {
        if (!rate(p, o, &devices, &in_s))
            return -1;
        left_s = ((int64_t)left * in_s + (int64_t)devices - 1) / (int64_t)devices;
    }
    if (now->soak_until_s > 0) {
        soaks--;
        if (now->soak_until_s > o->now_s)
            left_s += now->soak_until_s - o->now_s;
    }
    return left_s + (soaks > 0 ? soaks : 0) * (int64_t)c->waves.soak_s;
}
