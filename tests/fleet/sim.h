/* tests/fleet/sim.h - many gateways in one process, as the centre sees them.
 *
 * Each has a connection of its own to the broker, with its Will, and speaks the contract of
 * control/rpc.h: retained state and devices, events, replies, once for each id.  What flips may do
 * is decided by the daemon's own engine (flip/engine.h), keys and requests are made by its own
 * code; there are no sensors and no connections of devices behind it, only the time that these
 * would take, and the faults that were asked for.  One thread, one loop (main.c).
 */
#ifndef FLEET_SIM_H
#define FLEET_SIM_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/heap.h"
#include "base/list.h"
#include "control/rpc.h"
#include "control/signed.h"
#include "flip/engine.h"
#include "tls/cert.h"

struct mosquitto;
struct tls_anchor;

/* Something that is due. */
struct timer {
    struct heap_item item;
    void (*fire)(struct timer *t);
};

struct slot {
    bool there;
    char fp[CERT_FP_TEXT];
    char *subject, *issuer; /* owned */
    int64_t not_before_s, not_after_s;
};

struct sim_error {
    bool there;
    int64_t time_s;
    const char *class, *name, *sentence, *remedy, *alert; /* static; alert may be NULL */
    int number;                                           /* of the alert */
};

struct sim_device {
    struct list stale; /* in its gateway's, while its topic is out of date */
    struct sim_gateway *gateway;
    char *name; /* owned */
    struct flip flip;
    struct slot slots[FLIP_SLOTS];
    char *csr; /* owned: the request that waits for its certificate, or was signed; NULL: no key */
    int64_t csr_since_s;
    struct timer timer;
    int64_t move_ms;    /* when the attempt that is under way ends; 0: none is */
    bool moving_old;    /* it is one with the old identity */
    bool online;        /* a sensor is connected */
    int64_t leg_s;      /* since when */
    enum flip_slot leg; /* on which identity it stands */
    bool leg_failed;
    bool proof; /* of the latest trial: the CONNACK */
    int64_t proof_s;
    char proof_fp[CERT_FP_TEXT], confirmed_by[140];
    char *reason; /* owned, or NULL */
    struct sim_error error;
    int64_t changed_s;
    unsigned flips, keygens, installs; /* so many of each were carried out */
    bool retired;
};

/* Who is believed: of a command, or from the beginning. */
struct sim_anchor {
    struct list link;
    bool upstream, removed;
    struct tls_anchor *anchor; /* reference */
    char *by, *note;           /* owned, or NULL */
    int64_t time_s;
};

struct sim_gateway {
    unsigned number; /* from 0 */
    char *name;      /* owned */
    struct mosquitto *mosq;
    char *cmd, *reply, *state, *event, *device; /* topics, owned; `device` without the name */
    char *offline;                              /* owned: its last words */
    int fd;                                     /* that epoll watches; -1: none */
    bool online, tried, told_all;
    bool away; /* by command: it does not come back by itself */
    struct timer retry, settle;
    unsigned unacked;
    struct list outbox;       /* struct message */
    struct list stale, ready; /* struct sim_device */
    bool state_stale, state_ready;
    uint64_t seq; /* of the latest event */
    uint64_t epoch;
    int64_t started_s;
    struct sim_device *devices; /* owned, sorted by name */
    struct map *by_name, *once;
    struct list anchors; /* struct sim_anchor */
    bool trust_added;
    unsigned trials;
};

/* What is made to go wrong; shares are 0 to 1, globs NULL for none. */
struct sim_faults {
    double refuse;                /* of devices whose new identity the broker refuses */
    char class[20], *refuse_glob; /* "gateway/device" */
    double lost, twice, late;     /* of replies */
    unsigned late_ms;
    char *liars, *deaf, *distrust; /* of gateways */
    double flap;                   /* of gateways that drop off in a second */
    unsigned flap_ms;              /* for so long */
};

struct sim_counts {
    uint64_t sent, sent_bytes, received, received_bytes, connects, repeated, reused;
    uint64_t methods[RPC_METHOD_COUNT];
    uint64_t refused_requests, lost, twice, late, lies;
    uint64_t flips, commits, rollbacks, untrusted_flips, retires;
    unsigned phases[FLIP_PHASES], migrated, trials, most_trials, most_gateway_trials;
    int least_migrated_at_retire;                     /* -1: nothing was retired */
    unsigned most_flips, most_keygens, most_installs; /* of one device */
    unsigned online;
};

struct sim {
    const char *host, *root;
    int port;
    unsigned gateway_count, device_count, first;
    unsigned connect_ms; /* what an attempt to connect takes */
    struct sim_gateway *gateways;
    struct heap timers;
    int epoll;
    struct signed_operator operators[8];
    size_t operator_count;
    struct list anchors;              /* struct sim_anchor: from the beginning, everywhere */
    char broker_anchor[CERT_FP_TEXT]; /* by which brokers are believed; "": nobody asks */
    struct sim_faults faults;
    struct sim_counts counts;
};

extern struct sim sim;

/* The same for a name whenever it is asked: 0 to 1. */
double sim_share(const char *what, const char *a, const char *b);
/* By chance. */
bool sim_chance(double share);
void timer_at(struct timer *t, int64_t boot_ms);
void timer_stop(struct timer *t);
char *sim_strdup(const char *s); /* or the program ends */
void *sim_alloc(size_t n);

/* -- device.c -- */

void device_init(struct sim_device *d, struct sim_gateway *g, const char *name);
void device_fini(struct sim_device *d);
json_t *device_show(const struct sim_device *d);
json_t *device_slot(const struct sim_device *d, enum flip_slot slot);
/* An event of the engine, with all that follows.  Returns 0 or what flip_step has said. */
int device_apply(struct sim_device *d, enum flip_event ev, const char *cause, const char *who);
void device_sensor(struct sim_device *d, bool online);
void slot_fini(struct slot *s);

/* -- gateway.c -- */

void gateway_init(struct sim_gateway *g, unsigned number);
void gateway_fini(struct sim_gateway *g);
void gateway_ready(struct sim_gateway *g, unsigned events); /* of epoll */
void gateway_misc(struct sim_gateway *g);
void gateway_drop(struct sim_gateway *g, bool away); /* without a word */
void gateway_back(struct sim_gateway *g);
void gateway_touch(struct sim_gateway *g, struct sim_device *d); /* its topic is out of date */
void gateway_state(struct sim_gateway *g);
/* Takes payload; correlation, of n bytes, is copied. */
void gateway_say(struct sim_gateway *g, const char *topic, char *payload, const void *correlation,
                 size_t n);
json_t *gateway_counts(const struct sim_gateway *g);
json_t *gateway_epoch(const struct sim_gateway *g);
struct sim_anchor *gateway_anchor(struct sim_gateway *g, bool upstream, const char *fp);
/* The anchor gets a reference of its own. */
struct sim_anchor *anchor_new(bool upstream, struct tls_anchor *anchor, const char *by,
                              const char *note);
void anchor_free(struct sim_anchor *a);

/* -- methods.c -- */

/* A command has come.  Returns owned: the reply as text, or NULL when there is none. */
char *serve(struct sim_gateway *g, const char *text, size_t n);

#endif
