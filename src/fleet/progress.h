/* fleet/progress.h - what a campaign knows of itself: plain data, shared by the engine, the ledger
 * and whoever shows it.
 *
 * Everything here is in the ledger before anything is sent because of it; what gateways tell of
 * themselves is in the view (fleet/view.h) and is never saved as progress.  Pure, any thread.
 */
#ifndef FLEET_PROGRESS_H
#define FLEET_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLEET_NAME_MAX 128 /* bytes of a gateway's, a device's or a campaign's name */

/* One row each: enumerator, name in the ledger and in JSON, words for people. */
/* clang-format off */
#define FLEET_PHASES(X)                                                                              \
    X(FLEET_PREPARE,  "prepare",  "keys, certificates and trust are brought to the gateways")        \
    X(FLEET_MIGRATE,  "migrate",  "devices flip, wave by wave")                                      \
    X(FLEET_VALIDATE, "validate", "what is really in use is looked at")                              \
    X(FLEET_RETIRE,   "retire",   "old identities and anchors are archived")                         \
    X(FLEET_FINISHED, "finished", "there is nothing left to do")

#define FLEET_MODES(X)                                                                               \
    X(FLEET_RUNNING,   "running",   "goes on")                                                       \
    X(FLEET_PAUSED,    "paused",    "an operator has paused it: resume goes on")                     \
    X(FLEET_RETURNING, "returning", "a wave is being rolled back")                                   \
    X(FLEET_HALTED,    "halted",    "it halted by itself: mend the cause, then resume")              \
    X(FLEET_ABORTED,   "aborted",   "an operator has ended it")                                      \
    X(FLEET_DONE,      "done",      "all of it is done")

/* How far a device is.  In the order of a campaign in which all goes well; those from
 * FLEET_DEVICE_FAILED on lie beside it. */
#define FLEET_DEVICE_STEPS(X)                                                                        \
    X(FLEET_DEVICE_PLANNED,   "planned",   "nothing was asked for it yet")                           \
    X(FLEET_DEVICE_KEYED,     "keyed",     "its key is made, its request for a certificate is here") \
    X(FLEET_DEVICE_SIGNED,    "signed",    "its certificate is here, and not yet at the gateway")    \
    X(FLEET_DEVICE_READY,     "ready",     "the new identity is staged at the gateway")              \
    X(FLEET_DEVICE_FLIPPING,  "flipping",  "its flip is ordered, or under trial")                    \
    X(FLEET_DEVICE_MIGRATED,  "migrated",  "the flip is committed")                                  \
    X(FLEET_DEVICE_VALIDATED, "validated", "seen to use the new certificate after its soak")         \
    X(FLEET_DEVICE_RETIRED,   "retired",   "the old identity is archived")                           \
    X(FLEET_DEVICE_FAILED,    "failed",    "refused, or rolled back at the edge: says why")          \
    X(FLEET_DEVICE_RETURNED,  "returned",  "rolled back by the campaign with its wave")              \
    X(FLEET_DEVICE_SKIPPED,   "skipped",   "an operator has taken it out of the campaign")

/* How far a gateway is. */
#define FLEET_GATEWAY_STEPS(X)                                                                       \
    X(FLEET_GATEWAY_PLANNED, "planned", "nothing was asked of it yet")                               \
    X(FLEET_GATEWAY_TRUSTED, "trusted", "the new anchors are there, and were seen to be in force")   \
    X(FLEET_GATEWAY_RETIRED, "retired", "the old anchors are archived")

#define FLEET_REQUEST_STATES(X)                                                                      \
    X(FLEET_REQUEST_OPEN,   "open",   "sent, or about to be: sent again with its id until answered") \
    X(FLEET_REQUEST_DONE,   "done",   "answered")                                                    \
    X(FLEET_REQUEST_GIVEN_UP, "given-up", "no answer within its time, or not wanted any more")
/* clang-format on */

#define FLEET_ENUM(id, name, words) id,
enum fleet_phase { FLEET_PHASES(FLEET_ENUM) FLEET_PHASE_COUNT };
enum fleet_mode { FLEET_MODES(FLEET_ENUM) FLEET_MODE_COUNT };
enum fleet_device_step { FLEET_DEVICE_STEPS(FLEET_ENUM) FLEET_DEVICE_STEP_COUNT };
enum fleet_gateway_step { FLEET_GATEWAY_STEPS(FLEET_ENUM) FLEET_GATEWAY_STEP_COUNT };
enum fleet_request_state { FLEET_REQUEST_STATES(FLEET_ENUM) FLEET_REQUEST_STATE_COUNT };
#undef FLEET_ENUM

/* The campaign as a whole: one row. */
struct fleet_campaign {
    char name[FLEET_NAME_MAX + 1];
    enum fleet_phase phase;
    enum fleet_mode mode;
    int wave;             /* 0: the pilot; -1: no wave was begun */
    int waves;            /* how many there are */
    int64_t started_s;    /* wall clock, as all "_s" here */
    int64_t changed_s;    /* of phase, mode or wave */
    int64_t wave_begun_s; /* first flip of the wave; 0: not yet */
    int64_t soak_until_s; /* the wave is through and has to prove itself until then; 0: it is not */
    int64_t ended_s;      /* 0: it goes on */
    char reason[512];     /* why it is paused, halted or aborted; "" */
    char by[FLEET_NAME_MAX + 1]; /* who started it: user@host */
    char plan[65]; /* SHA-256 of the campaign file and the plan: a resume with another is refused */
    int back_from, back_to; /* FLEET_RETURNING: the first and the last wave that is rolled back */
    int64_t requests;       /* how many were made: no id is used twice */
};

struct fleet_gateway {
    char name[FLEET_NAME_MAX + 1];
    enum fleet_gateway_step step;
    int64_t changed_s;
    char trouble[512]; /* what keeps it back now: "offline since ...", the gateway's own refusal */
};

struct fleet_device {
    char gateway[FLEET_NAME_MAX + 1], name[FLEET_NAME_MAX + 1]; /* together the key */
    int wave;
    enum fleet_device_step step;
    unsigned attempts;          /* flips ordered */
    char old_fp[65];            /* of the certificate in use when it was planned; "" unknown */
    char new_fp[65];            /* of the certificate that was signed for it; "" none yet */
    int64_t new_until_s;        /* its notAfter; 0: none yet */
    int64_t old_until_s;        /* of the old one's; 0: unknown, and the ledger keeps what it has */
    int64_t flip_s, migrated_s; /* when ordered, when committed; 0: not yet */
    int64_t changed_s;
    char failure[40]; /* class of its failure ("identity", "refused", "lint", ...); "" */
    char reason[512], remedy[512];
    bool renew; /* planned: with another key than the one that may wait at the gateway */
};

/* A command on its way.  It is in the ledger with its id before it is sent, so that a resume sends
 * the same one, and the gateway answers as it did the first time. */
struct fleet_request {
    char id[129];
    char gateway[FLEET_NAME_MAX + 1];
    enum fleet_request_state state;
    int64_t sent_s; /* the first time */
    char *method;   /* owned */
    char *params;   /* owned: JSON */
    char *reply;    /* owned: JSON, or NULL; kept until it was acted upon */
};

/* "prepare"; -1 when there is none of the name. */
const char *fleet_phase_name(enum fleet_phase v);
const char *fleet_mode_name(enum fleet_mode v);
const char *fleet_device_step_name(enum fleet_device_step v);
const char *fleet_gateway_step_name(enum fleet_gateway_step v);
const char *fleet_request_state_name(enum fleet_request_state v);
const char *fleet_phase_words(enum fleet_phase v);
const char *fleet_mode_words(enum fleet_mode v);
const char *fleet_device_step_words(enum fleet_device_step v);
int fleet_phase_find(const char *name);
int fleet_mode_find(const char *name);
int fleet_device_step_find(const char *name);
int fleet_gateway_step_find(const char *name);
int fleet_request_state_find(const char *name);

#endif
