/* session/session.h - one device's connection: its downstream leg, its upstream legs, and the MQTT
 * state between them.
 *
 * session.c   begins and ends it: handshake, CONNECT, who is it, deadlines
 * upstream.c  carries out what session/rehome.h decides, with dial.c, upleg.c, connack.c, adopt.c,
 *             verdict.c and leave.c (see session/upstream_inside.h)
 * greet.c     CONNECT, CONNACK and DISCONNECT;  blame.c  why a leg failed
 * suspect.c   was it the identity?  the other one is tried
 * relay.c, from_device.c, from_broker.c  pass packets, and keep what a re-home needs
 * restore.c   tells a new leg what was under way;  retained.c  what the device has had
 * evidence.c  what an identity on trial has to prove, and what the broker refuses it
 * limits.c, pace.c  what the broker allows, where that is less than the device was told
 * distrust.c  ends it when its certificate is believed no longer
 * cleaner.c   clears what is left at a broker of a device that asked for a clean session
 *
 * The members below are for these files; others use the functions.  Worker's thread.
 */
#ifndef SESSION_SESSION_H
#define SESSION_SESSION_H

#include "flip/backoff.h"
#include "identity/match.h"
#include "mqtt/connect.h"
#include "session/alias.h"
#include "session/env.h"
#include "session/inflight.h"
#include "session/leg.h"
#include "session/limits.h"
#include "session/rehome.h"
#include "session/retained.h"
#include "session/subs.h"

enum session_state {
    SESSION_CONNECTING, /* handshake, then CONNECT is awaited */
    SESSION_OPENING,    /* CONNECT is here; the broker's CONNACK is awaited */
    SESSION_RELAYING,   /* CONNACK went to the device */
    SESSION_OVER,       /* ended; memory goes with the timer's handle */
};

/* What is needed until CONNECT has been judged, and not later. */
struct session_opening {
    struct sockaddr_storage ss;
    struct cert_info *cert;    /* owned; NULL: none */
    struct tls_excuse *excuse; /* owned; NULL: it needs none */
};

/* Clearing what an earlier life left, before the device's clean 3.x session begins. */
enum session_clear {
    CLEAR_NONE,  /* nothing to clear, or not found out yet */
    CLEAR_WIPE,  /* session present where there must be none: a CONNECT with Clean Session wipes it
                  */
    CLEAR_AGAIN, /* wiped: connect for good */
};

struct suspicion; /* session/suspect.h */

struct session {
    struct list link;      /* env->sessions */
    struct list of_device; /* device->sessions */
    struct env *env;
    struct wk_snapshot
        *snap;          /* owned reference: as of the session's beginning, renewed by each dial */
    struct device *dev; /* NULL until recognised */
    struct session_opening *opening; /* owned; NULL once CONNECT was judged */
    struct leg *down, *up, *cand;    /* owned */
    struct leg *spare; /* owned: the way back while a session has to leave; NULL else */
    uint64_t id;
    uint64_t began_ms;
    uint64_t last_rx_ms;    /* from the device */
    uint64_t last_tx_up_ms; /* to the broker */
    uint64_t due_ms;        /* of the present step; 0: none */
    uint64_t behind_ms;     /* the candidate waits, so long at most, until the device's former leg
                               has ended; 0: it does not */
    uint64_t retry_ms;      /* next attempt; 0: none */
    uint64_t hold_since_us;
    uint32_t drain_us;      /* of that hold: until what was under way had been acknowledged */
    uint64_t up_since_ms;   /* the leg in use was accepted then */
    uint64_t dialled;       /* presence_dial() of the latest leg */
    uint32_t dial_home;     /* and where that was */
    uint64_t ping_since_ms; /* the broker owes us a sign of life since then; 0: it does not */
    uint64_t connected_us; /* CLOCK_MONOTONIC of CONNECT: which session of a device is the newest */
    uint64_t verdict_ms;   /* a message that is too large in a trial waits until then for main to go
                              back; 0: none has */
    uint64_t leave_ms;     /* the device left while held: give up then; 0: it did not */
    uv_timer_t timer;
    uint64_t timer_ms;     /* when it is armed for; 0: not */
    uint64_t dialled_ms;   /* `counted` was */
    struct list at_gate;   /* env->gate[].waiting */
    struct env_gate *gate; /* of `counted`, or the one that it waits at */
    struct leg *counted; /* `cand` as it was counted by env->gate; NULL: it was not.  For comparison
                          * alone
                          */

    char *exception;        /* owned: by which its certificate was accepted; NULL: needs none */
    char *listener;         /* owned */
    char *rule_upstream[2]; /* owned: profile names by slot; NULL: the only one */
    char *cn, *san;         /* owned, NULL: absent; for templates */
    uint8_t *connect;       /* owned: CONNECT as the device sent it */
    uint32_t connect_bytes;
    char *assigned_id;        /* owned: the client id that the broker chose; NULL: none */
    uint32_t device_expiry_s; /* Session Expiry Interval that the device asked for; in 3.x: 0 for a
                                 clean session, else for ever (MQTT 5.0, 3.1.2.11.2) */
    uint16_t keepalive_s;     /* the device's: its own, or the server's as it was told */
    uint16_t alias_told;      /* 5.0: Topic Alias Maximum that the device was told */
    uint16_t alias_most;      /* and that of the present upstream leg */
    struct leg_limits told;   /* 5.0: what the device was told that the broker allows */
    struct leg_limits limits; /* and what the present upstream leg's does */
    uint16_t pings;           /* PINGREQs without answer upstream */
    uint16_t pings_ours;      /* bit i: the i-th oldest of them is ours; at most 16 are awaited */
    enum flip_slot failed_slot; /* of the latest failure to connect */
    char failed_cause[56];      /* the name of its diagnosis */
    uint32_t failed_times;      /* so often in a row; 0: not since a leg was accepted */

    struct inflight to_broker; /* begun by the device */
    struct inflight to_device; /* begun by the broker */
    struct subs subs;
    struct aliases aliases;      /* of the device */
    struct aliases down_aliases; /* of the present broker; told: the device knows it, too */
    struct retained retained;
    struct evidence *evidence; /* owned; NULL: it never had to prove anything */
    struct refusals *refusals; /* owned; NULL: none */
    struct tls_trail *trail;   /* owned: by what its certificate was believed; NULL: it has none */
    char *topic_prefix;        /* owned: of the leg in use, or lost; NULL: none */
    uint64_t shed;             /* publishes dropped so, since the leg was lost */
    struct buf held;           /* whole packets of the device that wait for a leg */
    struct buf early;          /* what came behind CONNACK, while the old leg's end is awaited */

    struct backoff backoff;
    uint64_t refused_seq; /* flip_seq whose identity was refused: not tried again; 0: none */
    enum session_state state;
    enum rehome_phase phase;
    enum session_clear clear;
    enum flip_slot have;         /* whose leg `up` is */
    enum flip_slot probe;        /* meaningful while probing: the slot that settles a suspicion */
    struct suspicion *suspicion; /* owned, while probing: what is to be settled */
    struct session_leg_news *accepted_news; /* owned: the acceptance of a leg on trial, not told
                                               until it has answered PINGREQ; NULL: none */
    uint8_t version;                        /* of the device */
    uint8_t refusal;     /* CONNACK code (in the device's dialect) if no identity gets in */
    uint32_t home, host; /* greet_home() of the leg in use, or lost */
    uint8_t brief;       /* legs in a row that the broker accepted, and ended soon without a word */
    uint8_t spareless;   /* attempts in a row that were given up for want of a spare */
    uint8_t will_qos_off[2]; /* by slot: how far its broker's Maximum QoS is below 2, for a Will */
    bool will_unretained[2]; /* and it has refused a Will with RETAIN */
    bool clean, has_will, will_stays;
    bool accepted;      /* the upstream leg in use is accepted */
    bool heard;         /* by this step the broker has answered, yes or no */
    bool holding;       /* the device's packets wait */
    bool barrier_asked; /* with the hold: its PINGREQ is behind all that the broker has to see */
    bool barrier_met;   /* its PINGRESP came while exchanges were still under way */
    bool shedding; /* for so long that its PINGREQ has to be found behind them: QoS 0 beyond the
                      bound is dropped */
    bool probing;
    bool fallback;    /* the old identity serves while the one on trial fails for another reason */
    bool handshaking; /* counted in env->handshakes */
    bool gone;        /* the device ended its connection while its last packets were held */
    bool died;        /* the same, and it did not say DISCONNECT */
    bool leaves_will; /* 5.0: it said DISCONNECT while held, and that its Will is to be published */
    bool will_quiet;  /* DISCONNECT has taken the Will back; the next leg brings it again */
    bool proven;      /* the candidate, or the spare, waits only for ticket or time */
    bool reading_old; /* the last packets of a leg that is being replaced */
    bool leg_lost;    /* the former leg ended by itself, not by a switch */
    bool left;        /* the former leg was told DISCONNECT */
    bool took_over;   /* another session of the device was ended for it */
    bool follows;     /* another worker had one when it began, and ends it */
    bool litter;      /* 3.x: the leg in use, or lost, leaves a session that only a clean start
                         clears */
    bool taken_over;  /* ended for another one: what is left at the broker is its affair */
    bool said_goodbye; /* DISCONNECT was passed on */
    bool limited;      /* `limits` are stricter than `told` */
    bool verdict_over; /* verdict_ms has passed */
    bool restoring;    /* subscriptions were restored: what is retained comes because of us */
    bool kept_back;    /* the first such message on the present leg was logged */
    bool inherited;    /* the device took up a session of its own: it may have exchanges from an
                          earlier connection, which we know nothing of */
    enum presence_legacy legacy; /* and what we know of its subscriptions */
    uint64_t client;             /* digest of its client id */
    bool forgotten; /* a broker has forgotten exchanges that the device may still speak of */
    bool unsure;    /* 3.1: the broker has not shown yet whether it has the session; until then the
                       device's answers to what it sent before wait for its repetitions */
    char peer[ENV_PEER_BYTES];
    uint8_t fp[CERT_FP_BYTES]; /* downstream certificate; all zero: none */
    char tls[8];               /* "TLSv1.3"; "" plaintext */
};

/* Take the next connection of a listening stream. */
void session_accept(struct env *env, uv_stream_t *listening, size_t listener_index);

/* End it: the device's connection is closed.  `reason` is the 5.0 DISCONNECT code told to the
 * device (0: say nothing), `why` goes to the log and to main.  `polite`: tell the broker that the
 * device left (no Will). */
void session_end(struct session *s, uint8_t reason, bool polite, const char *why);

/* What the device said before it came anew may lie unread in its socket, DISCONNECT as the last of
 * it: pass it on.  The session may be over then. */
void session_hear_out(struct session *s);
/* End it because a newer connection of the device is there. */
void session_taken_over(struct session *s, const char *why);

/* There is a new snapshot: a session whose certificate is believed no longer is ended. */
void session_trust_changed(struct session *s);

/* Main has decided anew about s->dev (identities or active slot). */
void session_device_changed(struct session *s);

/* The identity `cred`, which was the new one, is the old one from now on, and has its profile with
 * it: what stands on it, or is being tried with it, is the old slot's.  To be called before
 * s->dev is changed and session_device_changed tells the rest. */
void session_retired(struct session *s, const struct cred *cred);

/* ---- between the files of this folder ---- */

void session_refuse(struct session *s, uint8_t reason5, const char *code, const struct err *err);
/* Count that a handshake went well without a list of revoked certificates that is in date. */
void session_count_gap(struct env *env, const struct tls_conn *tls);
/* Count, and say now and then, that a broker was believed without an OCSP response that is good. */
void session_count_ocsp(struct session *s, const struct leg *leg);
void session_tell_refused(struct session *s, const char *code, const char *text);
void session_arm(struct session *s); /* (re)arm the timer for what is due next */
void session_reading(
    struct session *s); /* read, or stop reading, each leg by what waits for the other */
void session_flush(struct session *s);
/* After whatever may have ended it: write what came of it, and wait for what is due next. */
void session_carry_on(struct session *s);
bool session_hears(const struct session *s); /* the device's connection is being read */

/* upstream.c and its like (session/upstream_inside.h) */
void upstream_gate(struct session *s);                 /* is its dialling, without a leg, over? */
void upstream_begin(struct session *s);                /* CONNECT was judged: dial */
void upstream_due(struct session *s, uint64_t now_ms); /* deadlines */
void upstream_silent(struct session *s);               /* no PINGRESP came in time */
uint64_t upstream_silent_due(const struct session *s); /* 0: never */
void upstream_lost(struct session *s, const struct diag *why); /* the accepted leg ended */
void upstream_barrier_passed(struct session *s);               /* our PINGRESP came */
void upstream_answers(struct session *s);                      /* to our first PINGREQ, too */
void upstream_drained(struct session *s);            /* an exchange finished: is that all? */
bool upstream_connect_sent(const struct session *s); /* the candidate has said CONNECT */
/* The device's connection has ended, and a leg is being changed: its last packets and its Will go
 * with the next one. */
bool upstream_outlives_device(const struct session *s);
void upstream_goodbye(struct session *s,
                      bool polite); /* the device is gone: end every upstream leg */
const struct conf_upstream *upstream_profile(const struct session *s, enum flip_slot slot,
                                             struct tls_ctx **ctx);

/* from_device.c, from_broker.c, restore.c, relay.c */
void relay_from_device(struct session *s, const uint8_t *p, size_t n);
void relay_from_broker(struct session *s, struct leg *leg, const uint8_t *p, size_t n);
void relay_release(struct session *s); /* pass on what was held */
/* A new leg was accepted: send again what is unfinished.  Counts into the three. */
void relay_restore(struct session *s, bool session_present, uint32_t *replayed, uint32_t *restored,
                   uint32_t *lost);
bool relay_drained(const struct session *s);
bool relay_ping(
    struct session *s); /* our own PINGREQ; false: too many are out, or there is no leg */
/* The leg that was asked is gone: what the device still waits for is answered here. */
void relay_answer_pings(struct session *s);

/* cleaner.c */
/* Start clearing the session that s leaves at the broker of `slot`; it owns itself.  *last: the leg
 * that has it, or NULL; it is taken, and ended first, so that the broker has read all of it.
 * `with_will`: its Will is due, and no leg is there that carries it; the clearing connection does
 * (and clears nothing, where the device has asked for a lasting session).
 */
void cleaner_start(struct session *s, enum flip_slot slot, struct leg **last, bool with_will);
/* The same of a session that has moved to another broker: takes the leg that is left, says PINGREQ
 * and DISCONNECT on it, and clears when the answer shows that it was not taken over.  *leg is NULL
 * then, unless memory is short. */
void cleaner_take(struct session *s, struct leg **leg);
void cleaner_cancel(struct device *dev);               /* all of the device's */
void cleaner_yield(struct device *dev, uint32_t home); /* those at this greet_home() */
void cleaner_sweep(struct env *env);
void cleaner_stop(struct env *env); /* end them all */

#endif
