/* worker/msg.h - the whole conversation between the main thread and a worker.
 *
 * Messages are owned by whoever holds them; msg_free releases one with all that it carries.  The
 * main thread decides (which slot is active, when to roll back); a worker carries out and tells
 * facts.  Order is kept per direction.
 */
#ifndef WORKER_MSG_H
#define WORKER_MSG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/list.h"
#include "flip/diagnose.h"
#include "flip/engine.h"
#include "session/presence.h"
#include "session/snapshot.h"
#include "session/stats.h"
#include "tls/cred.h"

enum msg_kind {
    /* main -> worker */
    MSG_CONF,        /* a new snapshot: reload */
    MSG_DEVICE,      /* a device's identities and active slot; also makes live sessions move (see
                        `flip_seq`) */
    MSG_DEVICE_GONE, /* forget it; its live session is closed */
    MSG_KICK, /* close session `session_id` of a device, 0: all of it (taken over, or by command) */
    MSG_TRIAL_OVER, /* the identity in use is committed: nothing has to be proven any more */
    MSG_POLL,       /* answer with MSG_STATS */
    MSG_STOP,       /* close listeners, end sessions gracefully, then MSG_STOPPED */
    /* worker -> main */
    MSG_UP,   /* a device's downstream session began: CONNECT was accepted by the rules */
    MSG_DOWN, /* it ended */
    MSG_LEG,  /* an upstream attempt ended: accepted (CONNACK 0) or failed with a diagnosis; or an
                 accepted leg was lost */
    MSG_REFUSED, /* a downstream connection was refused */
    MSG_STATS,
    MSG_STOPPED,
};

enum msg_leg_what {
    MSG_LEG_ACCEPTED, /* CONNACK 0 on `slot`: first connect, flip, rollback or reconnect (see
                         `rehomed`) */
    MSG_LEG_FAILED,   /* an attempt on `slot` failed: `diag` */
    MSG_LEG_PROVEN,   /* the leg on `slot` stands, and an echo of ours came back: `echo_us` */
    MSG_LEG_REFUSED,  /* the leg on `slot` stands, and something was refused there: `diag`, and
                         `refusal` when that was asked for by the device */
    MSG_LEG_LOST,     /* the accepted leg on `slot` ended: `diag`; the session is held or dropped */
};

struct msg {
    struct list link;
    enum msg_kind kind;
    unsigned worker; /* sender's index; worker -> main */
    char device[129];
    uint64_t session_id; /* unique in the process */
    union {
        struct wk_snapshot *conf; /* MSG_CONF: owned reference */
        struct {
            struct cred *cred[2];      /* owned references; NULL: none */
            struct presence *presence; /* owned reference */
            enum flip_slot active;
            uint64_t flip_seq;       /* number of the decision; echoed in MSG_LEG */
            unsigned evidence;       /* FLIP_PROOF_ bits that its leg has to show: the identity in
                                        slot `active` is on trial; 0: it is not */
            bool identities_changed; /* cred differs from before */
            bool retired; /* what was the new identity is the old one: nothing moves for that */
        } dev;            /* MSG_DEVICE */
        struct {
            char text[160]; /* why, for the log */
        } kick;
        struct {
            char listener[65];
            char peer[72];         /* "192.0.2.7:51234", "unix" */
            char client_id[129];   /* cut */
            int version;           /* MQTT level */
            uint64_t connected_us; /* CLOCK_MONOTONIC of its CONNECT */
            char tls[24];          /* "TLSv1.3"; "" for plaintext */
            char fp[65];           /* downstream certificate; "" without */
            char exception[129];   /* by which that was accepted; "" needs none */
            char anchor[65];       /* fingerprint of the one that vouches for it; "" without */
        } up;
        struct {
            char text[200]; /* who ended it and why */
        } down;
        struct {
            enum msg_leg_what what;
            enum flip_slot slot;
            uint64_t flip_seq; /* of the latest MSG_DEVICE that the session had seen */
            bool rehomed;      /* ACCEPTED: a live session moved here from another leg */
            bool session_present;
            uint64_t stood_ms; /* ACCEPTED: told once more, of a leg that has stood for so long */
            uint32_t replayed, restored, lost; /* by the re-home */
            uint32_t hold_us;                  /* how long the device's traffic was held */
            uint32_t echo_us;                  /* PROVEN: from PUBLISH to its coming back */
            uint64_t refusal; /* REFUSED: stands for what was refused, the same on every leg; 0: it
                                 was a request of ours, not of the device */
            char tls[24];
            char fp[65];      /* the identity's leaf that was presented */
            char anchor[65];  /* ACCEPTED: fingerprint of the one that vouches for the broker */
            struct diag diag; /* FAILED, LOST, REFUSED */
        } leg;
        struct {
            char listener[65], peer[72];
            char code[48];  /* stable: "unknown-device", "tls", "client-id-mismatch", "no-identity",
                               "limit" */
            char text[400]; /* a sentence with the remedy */
        } refused;
        struct worker_stats stats;
    } u;
};

struct msg *msg_new(enum msg_kind kind); /* zeroed; owned; NULL when out of memory */
void msg_free(struct msg *m);            /* NULL is fine */

#endif
