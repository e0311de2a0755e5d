/* fleet/run_inside.h - what the commands of run.h share: one that holds a campaign. */
#ifndef FLEET_RUN_INSIDE_H
#define FLEET_RUN_INSIDE_H

#include "fleet/campaign.h"
#include "fleet/engine.h"
#include "fleet/ledger.h"
#include "fleet/link.h"
#include "fleet/run.h"
#include "fleet/watch.h"

struct runner {
    const struct fleet_command *cmd; /* borrowed */
    struct campaign *conf;           /* owned, as all that follows */
    struct ledger *ledger;
    struct link *link;
    struct signer *signer;
    struct engine *engine;
    struct watch *watch; /* NULL: nobody sits before a terminal */
    struct view view;
    char who[300];            /* user@host */
    struct buf told;          /* lines that are printed once what they tell of is durable */
    bool signing;             /* certificates are being made */
    bool grouped;             /* a group of the ledger is begun */
    bool was_up, was_down;    /* was said of the link last */
    int64_t wishes_s, said_s; /* when wishes were looked for, and when progress was told last */
    char said[200];
    char denied[400];   /* what the broker does not let us do: said once */
    unsigned unclear;   /* messages that were not understood, since one was told of */
    int64_t unclear_ms; /* when that was; 0: never */
    int rc;             /* of what a callback met: the first */
    struct err err;
};

/* Read the campaign file, with these of its files (enum campaign_files), and open the ledger.
 * Returns FLEET_STATUS_DONE, or what to end with. */
enum fleet_status runner_open(struct runner *r, const struct fleet_command *cmd, unsigned files,
                              bool create, struct err *err);
void runner_fini(struct runner *r);

/* Take the campaign.  -ERR_BUSY: somebody else has it. */
int runner_own(struct runner *r, struct err *err);

/* Connect, and learn what is retained.  Returns FLEET_STATUS_DONE, or what to end with. */
enum fleet_status runner_connect(struct runner *r, struct err *err);

/* Is the ledger of the campaign of the file?  And does the file still say what it began with?  0 or
 * -ERR_INVALID. */
int runner_is_its(const struct runner *r, const struct fleet_campaign *c, struct err *err);
int runner_is_unchanged(const struct runner *r, const struct fleet_campaign *c, struct err *err);

/* Make the engine of what the ledger has. */
int runner_load(struct runner *r, struct err *err);

/* One turn of the engine, saved; with `go_on` false only what has changed is saved. */
int runner_step(struct runner *r, bool go_on, struct err *err);

/* Until the campaign comes to an end of its own, or is stopped. */
enum fleet_status runner_go(struct runner *r, struct err *err);

/* How the command ends with the campaign as it is; says so. */
enum fleet_status runner_end(struct runner *r);

/* Carry out a wish: by itself, or by the one who runs the campaign. */
enum fleet_status runner_wish(struct runner *r, const char *wish, struct err *err);

#endif
