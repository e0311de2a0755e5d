/* session/leg.h - one connection of a session: socket, TLS when there is any, and the packets that
 * are cut in it.
 *
 * A leg outlives its owner: closing takes its time (alerts, FIN, the peer's end), and the memory
 * goes with the socket's last callback.  Worker's thread.
 */
#ifndef SESSION_LEG_H
#define SESSION_LEG_H

#include "mqtt/packet.h"
#include "net/dial.h"
#include "net/stream.h"
#include "session/env.h"
#include "tls/conn.h"

enum leg_state {
    LEG_DIALING, /* name, TCP */
    LEG_TLS,     /* handshake */
    LEG_OPEN,    /* plaintext flows */
    LEG_CLOSED,  /* let go of by its owner */
};

/* How a leg ended, or failed to begin. */
struct leg_end {
    enum leg_state at;           /* where it was */
    enum dial_stage dial_stage;  /* at LEG_DIALING */
    int status;                  /* negative uv error; 0: a clean end */
    const struct tls_fail *fail; /* TLS's view; NULL: none */
};

struct leg;
struct dialect; /* session/dialect.h */
struct presence;

struct leg_ops {
    void (*open)(struct leg *leg);
    /* Plaintext, valid during the call.  May close the leg. */
    void (*data)(struct leg *leg, const uint8_t *p, size_t n);
    /* No more data will come; the owner closes the leg. */
    void (*end)(struct leg *leg, const struct leg_end *end);
    /* All output went to the kernel. */
    void (*drain)(struct leg *leg);
    /* TLS took input that may have held no plaintext (a ticket), while `watch` is set.  NULL: never
     * wanted. */
    void (*progress)(struct leg *leg);
};

struct leg {
    struct stream st;
    struct list link; /* env->lingering */
    struct env *env;
    const struct leg_ops *ops;
    void *owner;             /* NULL once closed */
    struct tls_conn *tls;    /* owned; NULL in plaintext */
    struct dial *dial;       /* while LEG_DIALING */
    struct cred *cred;       /* owned reference: the identity presented upstream */
    struct dialect *dialect; /* upstream, owned: it speaks otherwise than the device; NULL: as it */
    struct mqtt_in in;
    struct presence *parting; /* upstream, owned reference: the device's next CONNECT waits for its
                                 end; NULL: none does */
    uint32_t parting_home;    /* and where that is */
    size_t unsent;            /* closing: at the latest look */
    uint64_t at_ms;           /* when TLS began, then when it came up; closing: until when it may
                                 linger */
    uint64_t away_ms;         /* upstream: since when its handshake is away */
    uint32_t token_ms;        /* upstream: how long it was away in all */
    enum leg_state state;
    enum flip_slot slot;  /* upstream: whose identity */
    uint8_t version;      /* upstream: of MQTT, as it is spoken there */
    uint16_t keepalive_s; /* upstream: what it has agreed to */
    bool downstream;
    bool away;     /* upstream: its handshake is on the thread of its identity's token */
    bool ended;    /* the end was told */
    bool alone;    /* upstream: dialled when the session had no leg: what it leads to may have
                      been away since the former one */
    bool watch;    /* upstream, until CONNACK: tell `progress`, acknowledge quickly */
    bool answered; /* upstream: CONNACK came */
    bool session_present; /* upstream: CONNACK's flag, where the session is the device's */
    bool foreign;         /* upstream: the flag of a session that is not, as far as one can know */
    uint32_t denied;      /* upstream: publishes that the broker refused with a reason code */
    bool will_delayed; /* upstream: who takes it over within upstreams.will_delay_s keeps the Will
                        * quiet
                        */
    bool keep; /* upstream: its session was asked to outlive the connection, whatever the device
                  asked for */
};

/* Take the next connection of a listening stream.  ctx NULL: plaintext.  `peer` gets the address as
 * text, *ss the address. Returns the leg, in LEG_TLS (or LEG_OPEN: `open` is not called for it),
 * not reading yet; NULL with err. */
struct leg *leg_accept(struct env *env, uv_stream_t *listener, struct tls_ctx *ctx,
                       struct sockaddr_storage *ss, char peer[ENV_PEER_BYTES], struct err *err);
/* Start dialling; `open` comes when TLS is up, `end` when that fails.  Returns NULL with err when
 * it cannot even start. */
struct leg *leg_dial(struct env *env, const struct conf_upstream *profile, struct tls_ctx *ctx,
                     struct cred *cred, const struct leg_ops *ops, void *owner, struct err *err);

void leg_begin(struct leg *leg, const struct leg_ops *ops,
               void *owner); /* after leg_accept: read on */
void leg_read(struct leg *leg, bool on);
/* Handle at once what the socket of an open leg holds (its `data` is called from inside another
 * leg's). */
void leg_read_now(struct leg *leg);
void leg_hear_out(struct leg *leg); /* the same, as long as it is read from */

/* net/inbox's on_mail for env->steps. */
void leg_step_back(struct inbox *box, struct list *item, void *env);

void leg_write(struct leg *leg, const void *p, size_t n); /* seal and collect */
void leg_flush(struct leg *leg);
size_t leg_queued(const struct leg *leg);

/* Say the end: what was written goes out, close_notify, FIN.  The peer's own end is told as ever,
 * once it has read all of it. */
void leg_finish(struct leg *leg);

/* Its session is over: the device's next CONNECT at this home (greet_home()) waits until this leg
 * has ended.  To be said before the leg is closed, or finished. */
void leg_part(struct leg *leg, struct presence *presence, uint32_t home);

/* Is it getting rid of what was written?  For those who look now and then. */
bool leg_goes_out(struct leg *leg);

/* Let go: no more callbacks.  Abrupt: the socket is closed at once.  Gentle: it is finished, and
 * the peer's end is awaited, bounded by limits.idle_close_ms without any progress.  NULL is fine.
 */
void leg_close_abrupt(struct leg **leg);
void leg_close_gentle(struct leg **leg);

/* Close those whose time is over; called by the worker's tick. */
void leg_sweep(struct env *env);
void leg_abandon(struct env *env); /* close all that linger */

#endif
