/* fleet/stragglers.h - `certflip-fleet stragglers FILE`: who is not through although it was its
 * turn, why, and what to do.  Reads the ledger alone. */
#ifndef FLEET_STRAGGLERS_H
#define FLEET_STRAGGLERS_H

#include "fleet/command.h"
#include "fleet/overview.h"

/* A device that is not through.  Texts are borrowed. */
struct straggler {
    const struct fleet_device *device;
    const struct fleet_gateway *gateway; /* NULL: not in the ledger */
    char why[900], remedy[900];
};

/* By what they are told. */
struct straggler_terms {
    const char *file;   /* what the commands that are recommended name; borrowed */
    int64_t validate_s; /* how long a device has to prove itself (retire.validate_s) */
    int64_t now_s;      /* wall clock */
};

/* Is it one, as things are?  A device whose turn is still to come is none, unless it failed or its
 * gateway is in trouble; nor is one that still proves itself on its new certificate. */
bool straggler_of(const struct fleet_campaign *c, const struct fleet_gateway *g,
                  const struct fleet_device *d, const struct straggler_terms *terms,
                  struct straggler *out);

/* The array "stragglers" of status and report; all of them.  Returns 0 or a negative code. */
struct json_t;
int stragglers_json(struct ledger *l, const struct straggler_terms *terms, struct json_t **out,
                    struct err *err);

enum fleet_status stragglers_command(const struct fleet_command *c, struct err *err);

#endif
