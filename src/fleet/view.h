/* fleet/view.h - the fleet as the retained topics tell of it: which gateways there are, and how
 * each of their devices is.
 *
 * In memory only; built anew by every process from <root>/+/state and <root>/+/device/+.  Kept
 * small: 100,000 devices are to fit into some 50 MB.  No network here: whoever has a message puts
 * it in. One thread.
 */
#ifndef FLEET_VIEW_H
#define FLEET_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"

struct json_t;
struct map;

struct view_slot {
    bool present, usable;
    uint8_t fp[32];      /* SHA-256 of the certificate; all 0: none */
    int64_t not_after_s; /* 0: unknown */
};

/* As the topic <root>/<gateway>/device/<device> tells (control/rpc.h, DEVICE). */
struct view_device {
    struct list link; /* in its gateway's, sorted by name */
    struct view_gateway *gateway;
    char *name;                  /* owned */
    uint8_t phase;               /* enum view_phase */
    bool online;                 /* a sensor is connected */
    bool active_new;             /* the new slot is the active one */
    bool up;                     /* upstream accepted */
    uint8_t up_fp[32];           /* certificate that the broker accepted; all 0: none */
    struct view_slot old, fresh; /* slots old and new */
    int64_t changed_s;
    char *reason;                     /* owned, or NULL: why it was rolled back */
    char *failure, *message, *remedy; /* owned, or NULL: last_error's class, sentence, remedy */
    uint64_t version;                 /* of the view when it was told of last */
};

enum view_phase {
    VIEW_STEADY,
    VIEW_STAGED,
    VIEW_TRIAL,
    VIEW_COMMITTED,
    VIEW_ROLLED_BACK,
    VIEW_PHASE_UNKNOWN
};

struct view_gateway {
    struct list link; /* in the view's, sorted by name */
    char *name;       /* owned */
    bool known;       /* its state was seen */
    bool online;
    int64_t since_s;             /* of being online or offline, as far as is known here; 0 */
    struct json_t *state;        /* owned: the whole state message; NULL: not seen */
    size_t state_bytes;          /* that it came as */
    struct list devices;         /* struct view_device */
    struct view_device **sorted; /* owned array of these, in the same order */
    size_t device_count, device_cap;
    uint64_t last_event; /* its number; 0: none was seen */
    char epoch[16];      /* of that number: with another one it has begun anew */
    bool missed;         /* some event was: the retained topics are what counts */
    uint64_t version;
};

struct view {
    struct list gateways; /* struct view_gateway */
    struct map *by_name;
    size_t gateway_count, device_count;
    uint64_t state_bytes; /* of all gateways */
    uint64_t version;     /* rises with each message that was taken */
};

int view_init(struct view *v); /* 0 or -ERR_NOMEM */
void view_fini(struct view *v);

#define VIEW_MESSAGE_MAX  262144  /* bytes of a message; a device's takes some 2,000 */
#define VIEW_DEVICES_MAX  1000000 /* in all: nobody can fill the memory with names */
#define VIEW_GATEWAYS_MAX 50000   /* the same */
#define VIEW_STATES_MAX   (UINT64_C(512) << 20) /* bytes of the states of all gateways */
#define VIEW_TEXT_MAX     511 /* bytes that are kept of a reason, a message or a remedy */

/* A message of `topic` (below `root`) came; an empty payload takes a device, or a gateway's state,
 * away.  Returns 0; 1 when it is none of the topics that a view is made of; -ERR_INVALID, with err
 * that names the topic and what is wrong, or -ERR_NOMEM: nothing was changed. */
int view_take(struct view *v, const char *root, const char *topic, const void *payload, size_t n,
              int64_t now_s, struct err *err);

struct view_gateway *view_gateway(const struct view *v, const char *name); /* borrowed, or NULL */
struct view_device *view_device(const struct view *v, const char *gateway, const char *device);

/* The slot in use, and the other one. */
const struct view_slot *view_active(const struct view_device *d);

const char *view_phase_name(enum view_phase phase); /* "rolled-back"; "unknown" */

/* How many devices the gateway says that it has; -1: it does not say.  More than device_count: the
 * broker has not told of them all. */
int64_t view_device_total(const struct view_gateway *g);

#endif
