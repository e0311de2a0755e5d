/* flip_world.h - one device, its flip and its session, with everything around them that can go
 * right or wrong, as a state that can be copied and walked from.
 *
 * What decides is the real code: control/hub*.c with flip/engine.c, and session/upstream.c with
 * session/rehome.c, diagnose.c and blame.c.  What they stand on is modelled: the store (one row
 * that is durable, or not), the two queues between main thread and worker, the legs, and a broker
 * that follows the standard to the letter, with a policy for each identity.  Time is a choice like
 * any other: what is due may happen now, or later.
 */
#ifndef FLIP_WORLD_H
#define FLIP_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "explore.h"
#include "flip/engine.h"
#include "session/rehome.h"

/* What the broker does with an identity. */
enum policy {
    ACCEPTS,
    REFUSES_IN_TLS,     /* alert unknown_ca; under TLS 1.3 after the handshake */
    REFUSES_IN_CONNACK, /* not authorized */
    CLOSES_IN_TLS,      /* without a word, once it has seen the certificate */
    CLOSES_ON_CONNECT,  /* without a word, in place of CONNACK */
    NEVER_ANSWERS,      /* CONNECT is never answered */
    FALLS_SILENT,       /* CONNACK 0, and nothing after it */
    POLICIES
};

/* What may happen in a walk. */
struct flip_world_args {
    enum policy old_policy, new_policy;
    enum policy new_policy_later; /* may become so at any time, once; ACCEPTS: never */
    bool tls13;
    bool has_will;
    bool weather;       /* dials fail at any moment, and say so */
    unsigned cuts;      /* so many legs may break without a word, at any moment */
    bool crashes;       /* the daemon is killed and started at any moment */
    bool disk_fails;    /* the store refuses to commit at any moment, and takes it later */
    bool device_leaves; /* and comes back, at any moment */
    bool exchanges;     /* QoS 1/2 exchanges begin and end */
    bool rolls_back;    /* by command, at any moment */
    bool echo;          /* is wanted as evidence */
    bool swallows;      /* the broker accepts, and no echo ever comes */
    bool confirm_central;
    bool confirms;  /* by command, where confirm_central */
    bool clears;    /* the quarantine, and flips again */
    unsigned lates; /* so many deadlines of ours may pass though the answer is on its way */
};

/* The real code is broken on purpose, to see that a broken invariant is seen. */
struct flip_world_mutant {
    const char *name;
    struct {
        bool broken;
        enum rehome_phase phase;
        enum rehome_event event;
        unsigned drop, add; /* actions that are left out, and others in their place */
        bool goes;          /* `next` is another phase than it should be */
        enum rehome_phase next;
    } rehome; /* a cell of rehome_step */
    struct {
        bool broken;
        enum flip_phase phase;
        enum flip_event event;
        int drop, add;
        bool goes;
        enum flip_phase next;
    } flip;               /* a cell of flip_step */
    bool settles_wrongly; /* diag_settle takes one answer for the other */
    bool forgets_save;    /* what is committed to the store is not there */
    bool drops;           /* a device whose uplink is lost is cut off */
    bool takes_death_for_goodbye;
};

/* Walk it all.  `mutant` NULL: the code as it is. */
struct explored flip_world_walk(const struct flip_world_args *args,
                                const struct flip_world_mutant *mutant, size_t most);

#endif
