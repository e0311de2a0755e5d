/* fleet/engine_inside.h - what the engine's parts share; of nobody else.
 *
 * engine.c        life, rows in and out, wishes
 * engine_look.c   what the view shows of a device, and which step that makes
 * engine_order.c  what is asked of a gateway next
 * engine_reply.c  what a reply says
 * engine_wave.c   phases, waves, thresholds, halting
 *
 * Nothing is sent or saved from within: rows that changed are marked, notes are queued, and the end
 * of engine_step hands out all of it.
 */
#ifndef FLEET_ENGINE_INSIDE_H
#define FLEET_ENGINE_INSIDE_H

#include "base/list.h"
#include "fleet/engine.h"

struct json_t;
struct map;

#define ENGINE_INSTALLS 8   /* identity.install at once of one gateway: one device each */
#define ENGINE_BATCH    100 /* devices of one command, where nothing else bounds it */
#define ENGINE_RETRY_S  30  /* after a refusal that may pass by itself */
#define ENGINE_GRACE_S  10  /* a retained topic is true within a second: what comes may be older */
#define ENGINE_SILENT_S 120 /* or nothing comes at all: so long it may lag */
#define ENGINE_CONFIRM_S                                                                           \
    5                       /* after a confirmation that was refused: its trial does not wait long \
                             */
#define ENGINE_BACKOFF_S 60 /* after a refusal that somebody has to mend */

enum order {
    ORDER_TRUST_ADD,
    ORDER_DISCARD,
    ORDER_KEYGEN,
    ORDER_INSTALL,
    ORDER_CLEAR,
    ORDER_FLIP,
    ORDER_CONFIRM,
    ORDER_ROLLBACK,
    ORDER_RETIRE,
    ORDER_TRUST_REMOVE,
    ORDERS
};

struct edevice {
    struct list at;    /* in its gateway's list of its step and wave */
    struct list dirty; /* in the engine's list of those to be looked at */
    struct list save;  /* in the engine's list of rows to be saved */
    struct list sign;  /* KEYED: in the engine's list of those to be signed */
    struct list doubt; /* in the engine's list of those to be looked at again */
    struct egateway *gw;
    struct erequest *request;        /* the open one that it is part of, or NULL */
    char *name;                      /* owned */
    char *failure, *reason, *remedy; /* owned, or NULL */
    uint8_t old_fp[32], new_fp[32];  /* all 0: none */
    int64_t new_until_s, flip_s, migrated_s, changed_s;
    int64_t heard_s; /* when its topic came last; 0: not since the start */
    int64_t wait_s;  /* nothing is asked for it before */
    unsigned attempts;
    int16_t wave;
    uint8_t step;   /* enum fleet_device_step */
    bool signing;   /* with the signer */
    bool moving;    /* FLIPPING, and its sensor is connected: counts against the limits */
    bool on_trial;  /* FLIPPING, and the view has shown the trial */
    bool answered;  /* FLIPPING: the flip's, RETURNING: the rollback's reply was here */
    bool confirmed; /* FLIPPING: confirm was asked for */
    bool counts;    /* FAILED: against the threshold */
    bool renew;     /* PLANNED: with another key than the one that may wait */
    bool alone;     /* asked for by itself: a command for several was refused for one of them */
};

struct egateway {
    struct list dirty, save;
    struct list requests; /* open */
    struct list at[FLEET_DEVICE_STEP_COUNT][CAMPAIGN_WAVES_MAX];
    size_t count[FLEET_DEVICE_STEP_COUNT];
    char *name;    /* owned */
    char *trouble; /* owned, or NULL */
    uint8_t step;  /* enum fleet_gateway_step */
    bool online;
    bool trust_asked;   /* trust.add was answered, by this process */
    bool in_force;      /* all anchors of `trust`, by its state */
    bool anchors_done;  /* those of retire were asked for, each */
    size_t anchor_next; /* which is next */
    size_t anchor_refused;
    int64_t changed_s;
    int64_t wait_s[ORDERS]; /* nothing of the kind before */
    unsigned open[ORDERS];  /* requests */
    size_t moving;
    int64_t asked_s,
        pause_s;    /* when its topics were asked for again, and how long not to; 0: anew */
    int64_t look_s; /* look again then; 0: not needed */
};

struct erequest {
    struct list all, at_gateway, unsaved, answered;
    struct egateway *gw;
    enum order order;
    char *id, *params, *reply; /* owned */
    struct edevice **devices;  /* owned array */
    size_t count;
    int64_t first_s, sent_s; /* sent_s 0: to be sent */
};

struct enote {
    struct list link;
    char *what, *gateway, *device, *text; /* owned */
};

struct echain {
    struct list link;
    struct edevice *device;
    char *chain; /* owned */
};

struct egone {
    struct list link;
    char *id; /* owned */
};

struct engine {
    const struct campaign *conf;
    const struct view *view;
    const struct engine_out *out; /* during engine_step */
    struct err *err;              /* the same */
    int rc;                       /* of out: the first that was not 0; the step ends */
    int64_t now_s;

    struct fleet_campaign c;
    bool loaded, save_campaign;

    struct egateway **gateways; /* owned, each owned */
    size_t gateway_count, gateway_cap;
    struct map *by_name;  /* gateways */
    struct map *devices;  /* "GATEWAY/DEVICE" */
    struct map *by_id;    /* open requests */
    struct edevice **all; /* owned, each owned; in the order in which they were loaded */
    size_t device_count, device_cap;

    struct list dirty_devices, dirty_gateways, save_devices, save_gateways;
    struct list requests, unsaved, answered, gone, notes, chains;
    struct list unsigned_; /* KEYED devices */
    struct list doubts;    /* devices of which the view shows what cannot be, or lags behind */
    size_t request_count, signing;

    size_t by_wave[CAMPAIGN_WAVES_MAX][FLEET_DEVICE_STEP_COUNT];
    size_t failed[CAMPAIGN_WAVES_MAX]; /* those that count */
    size_t moving;
    size_t turn; /* gateway that has the first word in the next step */
    char last_failure[700];

    bool open;       /* a window is */
    int64_t until_s; /* that is so */
    int64_t swept_s; /* when those that are waited for were last looked through */
    bool waits;      /* what that found: the wave waits for some */
    bool warned;     /* of a certificate that was signed, and is not quite as it should be */
    bool starved;    /* the limit of all flips kept some gateway from more */
};

/* engine.c */
void engine_nomem(struct engine *e);
void engine_note(struct engine *e, const char *what, const struct egateway *g,
                 const struct edevice *d, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
void engine_set_step(struct engine *e, struct edevice *d, enum fleet_device_step step);
/* It has failed, for the time being when `attempts` are left.  Texts may be NULL. */
void engine_fail(struct engine *e, struct edevice *d, const char *failure, const char *reason,
                 const char *remedy);
/* What keeps it back, though it has not failed: said once, and forgotten with its next step. */
void engine_held(struct engine *e, struct edevice *d, const char *what, const char *reason,
                 const char *remedy);
/* Its flip was not begun, so that it is no attempt: it is ordered once more. */
void engine_unflip(struct engine *e, struct edevice *d);
void engine_set_moving(struct engine *e, struct edevice *d, bool moving);
void engine_touch_device(struct engine *e, struct edevice *d);
void engine_touch_gateway(struct engine *e, struct egateway *g);
/* What the view shows does not fit: look again when it cannot lag behind any more.  Returns whether
 * that is so already. */
bool engine_doubt(struct engine *e, struct edevice *d);
void engine_save_device(struct engine *e, struct edevice *d);
void engine_save_gateway(struct engine *e, struct egateway *g);
void engine_trouble(struct engine *e, struct egateway *g, const char *text); /* NULL: none */
/* A new request; takes params.  The devices become part of it. */
struct erequest *engine_request(struct engine *e, struct egateway *g, enum order order,
                                struct json_t *params, struct edevice *const *devices, size_t n);
void engine_request_end(struct engine *e, struct erequest *r); /* it is gone, from the ledger too */
const struct view_device *engine_seen(const struct engine *e, const struct edevice *d);
bool engine_is_set(const uint8_t fp[32]);
const char *engine_method(enum order order);
int engine_order_find(const char *method);

/* engine_look.c */
void engine_look(struct engine *e, struct edevice *d);
void engine_look_gateway(struct engine *e, struct egateway *g);
/* Does the view show the new identity of the device staged? */
bool engine_staged(const struct edevice *d, const struct view_device *v);
/* The view shows that the device is not, and is not about to be, on the new identity. */
bool engine_is_back(const struct edevice *d, const struct view_device *v);
/* The new slot holds the identity that was signed for the device, or it is in use. */
bool engine_has_new(const struct edevice *d, const struct view_device *v);

/* engine_order.c */
void engine_order(struct engine *e, struct egateway *g);

/* engine_reply.c */
void engine_take_reply(struct engine *e, struct erequest *r);

/* engine_wave.c */
void engine_wave(struct engine *e);
bool engine_takes_part(const struct egateway *g); /* some device of it was not skipped */
void engine_halt(struct engine *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void engine_mode(struct engine *e, enum fleet_mode mode, const char *reason);
size_t engine_total(const struct engine *e, int wave); /* devices of it that take part */
size_t engine_left(const struct engine *e);            /* of all: those that are not validated */
bool engine_in_return(const struct engine *e, const struct edevice *d);

#endif
