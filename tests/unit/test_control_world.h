/* test_control_world.h - a hub with a real store, and a world around it that is made of plain data.
 *
 * Identities are fingerprints of one byte, workers are a trace: each message, event and wake-up
 * that the hub sends out is one line in it, and a message about a device also says what the store
 * held at that moment. The clock stands still until it is moved.
 */
#ifndef TEST_CONTROL_WORLD_H
#define TEST_CONTROL_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "control/dispatch.h"
#include "control/hub.h"

#define WORLD_DEVICES 50

/* Certificates by their fingerprint; all others are valid. */
#define WORLD_FP_EXPIRED    0xe0
#define WORLD_FP_EARLY      0xe1
#define WORLD_FP_WEAK       0xe2 /* an error of lint that time does not mend */
#define WORLD_FP_HOPELESS   0xe3 /* and one that no force overrides */
#define WORLD_FP_SOON       0xe4 /* a warning */
#define WORLD_FP_TWIN       0xe5 /* two different ones with the same issuer and serial number */
#define WORLD_FP_OTHER_TWIN 0xe6
#define WORLD_WORKERS       2

/* What is on disk for a device. */
struct world_device {
    char name[32];
    uint8_t fp[FLIP_SLOTS]; /* 0: the slot is empty */
    const char *fault[FLIP_SLOTS];
    uint8_t archived; /* the old identity that was retired last; 0: none */
    bool waits;       /* a key in the new slot, for its certificate */
    bool gone;
    /* What the workers were told last. */
    uint8_t told_fp[FLIP_SLOTS];
    enum flip_slot told_active;
    unsigned told_retired; /* messages that said so */
};

struct world {
    char dir[64];
    struct store *store;
    struct conf conf;
    struct wk_snapshot snapshot;
    struct tls_ctx *ctx[8]; /* none */
    struct snapshot_source source[8];
    struct hub *hub;
    struct dispatch dispatch;
    int64_t now_ms, wake_ms;
    int64_t wall_s;  /* 0: the machine's */
    bool asks_clock; /* the kernel says of it: */
    struct clock_sync sync;
    const char *boot;     /* which boot of the machine it is */
    unsigned changes;     /* how often a device was said to be another */
    char changed[32];     /* which one that was last */
    unsigned trials_over; /* messages of that, to the first worker */
    unsigned kicks;
    struct world_device device[WORLD_DEVICES];
    size_t device_count;
    struct buf trace;
    bool trace_wakes;
    uint64_t next_session;
    int good_saves;  /* so many transactions succeed first, when some are to fail */
    int fail_saves;  /* so many transactions fail */
    int fail_gets;   /* so many looks at the commands that were carried out */
    int fail_files;  /* so many changes of files fail */
    int fail_backs;  /* so many of those fail that put back what was changed */
    int power_steps; /* the power goes after so many moves of files and commits; 0: it stays */
    bool dark;       /* it has gone: nothing that follows is on disk, until world_stop */
    struct world_device on_disk[WORLD_DEVICES]; /* when it went */
    unsigned keys_made;                         /* by whatever thread: read it when none runs */
    bool no_folder;                             /* the folder of identities is not there */
    unsigned reloads;
};

int world_make(void **state);   /* a setup: empty folder, no devices, hub not started */
int world_remove(void **state); /* a teardown */

/* Put a device on disk; 0 for an empty slot. */
struct world_device *world_device(struct world *w, const char *name, uint8_t old_fp,
                                  uint8_t new_fp);

void world_hub(struct world *w);   /* make a hub, not started */
void world_start(struct world *w); /* hub_start and the first flush; what was traced is dropped */
void world_stop(struct world *w);  /* as a power cut: the hub is gone, the store stays */

/* The trace since the last call must be this. */
void world_expect(struct world *w, const char *text);
void world_forget(struct world *w);
void world_pass(struct world *w, int64_t ms); /* time passes; hub_tick when it is due */

/* News of a worker, with a flush.  Returns the session's id. */
uint64_t world_up(struct world *w, unsigned worker, const char *device);
void world_down(struct world *w, const char *device, uint64_t session);
/* `class`: DIAG_OK for accepted; the number of the decision is that of the device's latest message.
 */
void world_leg(struct world *w, const char *device, uint64_t session, enum flip_slot slot,
               enum diag_class class);
void world_leg_seq(struct world *w, const char *device, uint64_t session, enum flip_slot slot,
                   enum diag_class class, uint64_t seq);
/* An accepted leg has ended. */
void world_lost(struct world *w, const char *device, uint64_t session, enum flip_slot slot,
                enum diag_class class);

/* Returned owned, for hub_message() without a flush; the number of the decision as above. */
struct msg *world_news_of_leg(struct world *w, const char *device, uint64_t session,
                              enum msg_leg_what what, enum flip_slot slot);

/* Something was refused on the leg that stands: `refusal` as in struct msg. */
void world_refused(struct world *w, const char *device, uint64_t session, enum flip_slot slot,
                   uint64_t refusal);
/* The echo came back on the leg that stands. */
void world_echoed(struct world *w, const char *device, uint64_t session);

/* A command for one device with default terms, flushed: "ok", "there" when it was so already, or
 * the fault's name. */
const char *world_command(struct world *w, const char *device, enum flip_event ev);
/* The same with terms, and with a fingerprint of one byte, 0: none. */
const char *world_command_with(struct world *w, const char *device, enum flip_event ev,
                               const struct hub_terms *terms, uint8_t fp);
/* Does device have this phase, in the hub and in the store? */
void world_phase(struct world *w, const char *device, enum flip_phase phase);

#endif
