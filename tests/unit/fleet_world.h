/* fleet_world.h - an engine, a ledger in memory, and gateways that may be as bad as gateways are:
 * for tests, in one process and with a clock of its own.
 *
 * The gateways know the truth; what the engine does is held against it while it happens.  A step of
 * the engine may be cut off at any moment: the ledger has the step's group whole or not at all, and
 * the engine is made anew of that.
 */
#ifndef FLEET_WORLD_H
#define FLEET_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "control/rpc.h"
#include "fleet/engine.h"

enum { WORLD_GATEWAYS = 20, WORLD_DEVICES = 400 };

struct world_device {
    char name[32];
    int gateway;
    enum view_phase phase;
    char old_fp[65], new_fp[65]; /* "" none */
    bool key;                    /* one waits for its certificate */
    bool online;
    int64_t due_s; /* of the trial's end; 0: none, or it waits for the sensor */
    int64_t begin_by_s;
    bool refuses;         /* the broker refuses its new identity */
    bool bad_certificate; /* and will accept another one */
    unsigned confirms;
    unsigned flips; /* trials begun */
    unsigned commits, rollbacks, retires;
    bool touched; /* rolled back by command */
    unsigned installs, renewals;
    bool odd_request;      /* the signer refuses it, until it is of another key */
    bool stuck;            /* a trial goes on for ever */
    enum rpc_code refusal; /* of each command for it; 0: none */
    enum rpc_code confirm_refusal;
};

struct world_gateway {
    char name[32];
    bool online;
    bool in_force;      /* it believes the new CA */
    bool never_trusts;  /* trust.add is answered, and nothing comes of it */
    bool refuses_trust; /* trust.add is refused */
    bool unauthorised;  /* every command is refused: not-authorised */
    bool in_use;        /* trust.remove is refused */
    bool no_install;    /* identity.install is refused */
    unsigned removes;   /* trust.remove, and trust.add, that were asked of it */
    unsigned adds;
    struct list inbox; /* commands on their way, in order */
    struct list done;  /* ids that were carried out, and what was answered */
};

struct world {
    struct campaign *conf;
    struct view view;
    struct engine *engine;
    int64_t now_s;
    uint64_t seed;
    /* How bad it is: chances in 1000, of each time. */
    unsigned lose_reply, twice_reply, lose_command, lose_rows, lose_topic, kill, flap;
    bool surely;          /* topics are not lost now */
    bool slow;            /* the signer takes its time */
    const char *weak_key; /* what trust.add is refused with; NULL: a plain sentence */
    int64_t lag_s;        /* by which topics of devices come later than replies */

    struct world_gateway gateways[WORLD_GATEWAYS];
    struct world_device devices[WORLD_DEVICES];
    int gateway_count, device_count;

    /* The ledger. */
    struct fleet_campaign c;
    struct fleet_gateway *g_rows;
    struct fleet_device *d_rows;
    char *csr[WORLD_DEVICES], *chain[WORLD_DEVICES];
    struct list requests;
    struct list group; /* of the step that is under way */

    struct list wire;    /* replies and topics on their way to us, in order */
    struct list signing; /* with the signer */
    unsigned kills, notes;
    char log[65536];
    size_t log_len;
};

/* `more` is added to the campaign file. */
struct world *world_new(int gateways, int devices_each, const char *more);
void world_free(struct world *w);

/* Plan and begin, as run does. */
void world_begin(struct world *w);
/* So many seconds, or until the mode is another than running and returning. */
void world_run(struct world *w, int64_t seconds);
/* Until the campaign is in this mode; fails when that takes longer than a day. */
void world_until(struct world *w, enum fleet_mode mode);
int world_wish(struct world *w, const char *wish);
void world_kill(struct world *w);   /* the controller, and make another one */
void world_forget(struct world *w); /* the same, and it has seen nothing yet */

struct world_device *world_device(struct world *w, int gateway, int n);
enum fleet_device_step world_step_of(struct world *w, int gateway, int n);
const struct fleet_device *world_row(struct world *w, int gateway, int n);
void world_online(struct world *w, int gateway, bool online);
void world_sensor(struct world *w, int gateway, int n, bool online);
size_t world_count(struct world *w, enum fleet_device_step step);

#endif
