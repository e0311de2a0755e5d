/* session/env.h - what the sessions of one worker share.  Worker's thread only. */
#ifndef SESSION_ENV_H
#define SESSION_ENV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/map.h"
#include "flip/differ.h"
#include "flip/engine.h"
#include "net/inbox.h"
#include "net/stream.h"
#include "session/gate.h"
#include "session/presence.h"
#include "session/snapshot.h"
#include "session/stats.h"
#include "tls/cred.h"

/* Room for several full TLS records, so that a read's worth of packets is handled in one go. */
#define ENV_PLAIN_BYTES 65536u
#define ENV_PEER_BYTES  72

/* A device as a worker knows it: what main told, and its sessions here. */
struct device {
    char *name;           /* owned */
    struct cred *cred[2]; /* owned references, by enum flip_slot; NULL: none */
    enum flip_slot active;
    struct presence *presence; /* owned reference; NULL: not known */
    unsigned evidence;         /* FLIP_PROOF_ bits: what the leg of the active slot, which is on
                                  trial, has to show; 0: it is not on trial */
    uint64_t flip_seq;         /* number of main's latest decision about it */
    struct differ differ;      /* what is held against its new identity since then */
    struct list sessions;      /* struct session.of_device, the newest last */
    struct cleaner *cleaner;   /* they own themselves; a chain, NULL: none */
};

struct session;

/* What a session has to tell about an upstream attempt. */
struct session_leg_news {
    enum {
        LEG_NEWS_ACCEPTED,
        LEG_NEWS_FAILED,
        LEG_NEWS_LOST,
        LEG_NEWS_PROVEN, /* the echo came back on the leg that stands */
        LEG_NEWS_REFUSED /* something was refused on the leg that stands */
    } what;
    enum flip_slot slot;
    bool rehomed, session_present;
    uint64_t stood_ms; /* ACCEPTED: told once more, of a leg that has stood for so long */
    uint32_t replayed, restored, lost, hold_us;
    const struct cred *cred; /* the identity that was presented */
    const char *tls;         /* "TLSv1.3" or "" */
    const struct diag *diag; /* FAILED, LOST, REFUSED */
    uint32_t echo_us;        /* PROVEN: how long it took */
    uint64_t refusal;        /* REFUSED: stands for what the device asked for; 0: it was ours */
};

/* News goes up by these calls; the strings are borrowed. */
struct session_news {
    void (*up)(void *arg, const struct session *s);
    void (*down)(void *arg, const struct session *s, const char *why);
    void (*leg)(void *arg, const struct session *s, const struct session_leg_news *news);
    void (*refused)(void *arg, const char *listener, const char *peer, const char *device,
                    const char *code, const char *text);
};

#define ENV_GATES 8 /* upstreams beyond that share them */

struct env_gate {
    struct gate gate;
    struct list waiting; /* struct session.at_gate: they retry when it is open */
};

struct env {
    struct net_loop nl;
    uint8_t *plain;           /* owned, ENV_PLAIN_BYTES */
    struct inbox *steps;      /* borrowed: handshakes that were away at a token come back by it, to
                                 leg_step_back; NULL: they wait in place */
    struct wk_snapshot *snap; /* owned reference: the latest; sessions keep their own */
    struct map *devices;      /* name -> struct device */
    struct list sessions;     /* struct session.link */
    struct list lingering;    /* struct leg.link: closing, with a bound */
    struct list cleaners;     /* struct cleaner.link */
    struct env_gate gate[ENV_GATES]; /* of sessions without a leg, by the upstream's place */
    struct worker_stats stats;
    uint32_t handshakes;        /* downstream, under way */
    uint32_t exceptions_untold; /* uses since the latest line about them */
    uint64_t exception_ms;      /* when that was; 0: never */
    uint32_t ocsp_untold;       /* brokers that were believed without OCSP, since the latest line */
    uint64_t ocsp_ms;           /* when that was; 0: never */
    uint64_t next_session_id;   /* counts up from a base of the worker's own */
    const struct session_news *news;
    void *news_arg;
    bool stopping;
};

static inline void env_gates_init(struct env *env)
{
    for (unsigned i = 0; i < ENV_GATES; i++) {
        gate_init(&env->gate[i].gate);
        list_init(&env->gate[i].waiting);
    }
}

static inline uint64_t env_now_ms(const struct env *env)
{
    return uv_now(env->nl.loop);
}

#endif
