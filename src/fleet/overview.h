/* fleet/overview.h - a campaign at a glance: what its ledger says at one moment, counted.
 *
 * For whoever shows it: status, watch, stragglers, report.  Reads the ledger, writes nothing. One
 * thread.
 */
#ifndef FLEET_OVERVIEW_H
#define FLEET_OVERVIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "fleet/campaign.h"
#include "fleet/command.h"
#include "fleet/ledger.h"
#include "fleet/progress.h"

/* Steps as bars show them. */
enum overview_part {
    OVERVIEW_DONE,     /* migrated, and further */
    OVERVIEW_FLIPPING, /* ordered, or under trial */
    OVERVIEW_FAILED,
    OVERVIEW_RETURNED,
    OVERVIEW_READY,   /* the new identity lies at the gateway */
    OVERVIEW_WAITING, /* before that */
    OVERVIEW_SKIPPED,
    OVERVIEW_PARTS
};

struct overview_count {
    size_t devices;
    size_t step[FLEET_DEVICE_STEP_COUNT];
};

struct overview_gateway {
    struct fleet_gateway row;
    struct overview_count count;
};

#define OVERVIEW_US "this process"

/* Of one class of failure. */
struct overview_failure {
    char name[40];
    size_t count;
    char device[2 * FLEET_NAME_MAX + 2]; /* one of them: "gw-1/press-7" */
    char reason[512], remedy[512];       /* what it says */
};

struct overview {
    struct fleet_campaign campaign;
    int64_t now_s;
    char owner[300]; /* OVERVIEW_US, or who runs it now: "anna@plant, process 4711, since ..."; ""
                        nobody */
    struct overview_count all;
    struct overview_count wave[CAMPAIGN_WAVES_MAX];
    int waves;                         /* of these */
    struct overview_gateway *gateways; /* owned, by name */
    size_t gateway_count;
    size_t trusted, retired, troubled; /* gateways */
    struct overview_failure *failures; /* owned, the most frequent first */
    size_t failure_count;
};

/* Read it.  `each`, unless NULL, gets every device in the ledger's order; without it the devices
 * are counted by the database, and failures are not told apart.  Fills `out`, which overview_fini
 * frees.  Returns 0, a negative code, or what `each` returned other than 0; `out` is empty then. */
int overview_read(struct ledger *l, int64_t now_s,
                  int (*each)(void *arg, const struct fleet_device *d), void *arg,
                  struct overview *out, struct err *err);
void overview_fini(struct overview *o);

size_t overview_part(const struct overview_count *c, enum overview_part part);
enum overview_part overview_part_of(enum fleet_device_step step);
const char *overview_part_name(enum overview_part part); /* "done" */
/* Per mille of what is to be done: without the skipped ones. */
unsigned overview_done(const struct overview_count *c);

/* Devices of `count` in `cells` columns: how many columns each part gets, in the order of enum
 * overview_part; what is there at all gets one. */
void overview_cells(const struct overview_count *count, size_t cells, size_t out[OVERVIEW_PARTS]);

/* "pilot", "25 %"; `c` may be NULL: "wave 2". */
const char *overview_wave(const struct campaign *c, int wave, char *out, size_t n);

/* What it waits for, as sentences with what to do: `take` is called for each, at least once. `c`
 * may be NULL. */
void overview_waits(const struct overview *o, const struct campaign *c,
                    void (*take)(void *arg, const char *text), void *arg);

/* Load the campaign file and open its ledger, as every reader of one does.  Either is NULL on
 * failure.  Returns 0; -ERR_SYNTAX, with the faults written to standard error's `to`; or what
 * ledger_open said. */
int overview_open(const char *file, FILE *to, struct campaign **campaign, struct ledger **ledger,
                  struct err *err);

/* How a command ends of which that was the outcome: a faulty file is usage. */
enum fleet_status overview_status(int rc);

#endif
