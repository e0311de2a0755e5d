/* session_world.h - one worker's sessions between scripted devices and a scripted broker, in one
 * loop and one process.
 *
 * The sessions, their legs and the configuration are the real ones.  A device is a plain socket;
 * the broker is a TLS server that says what the test tells it to, and knows by certificate whether
 * the old or the new identity is talking to it.  A test reads as a play: say_... sends, sees(...)
 * waits for the next packet and compares it, as text.
 *
 *   CONNECT 3.1.1 d1 clean ka=60 will=w/d1 | PUBLISH q1 #5 dup a/b hello | PUBACK #5 | SUBACK #3 01
 * 80
 */
#ifndef SESSION_WORLD_H
#define SESSION_WORLD_H

#include "base/buf.h"
#include "mqtt/connect.h"
#include "mqtt/publish.h"
#include "mqtt/subscribe.h"
#include "session/session.h"

int world_setup(void **state); /* a group's: certificates, once */
int world_teardown(void **state);
#define play(test) cmocka_unit_test_teardown(test, world_end)

/* Lines of configuration in addition to the defaults; NULL: none. */
struct world_args {
    const char *upstream, *limits, *rule, *flip, *listener;
    const char *other;       /* of the new slot's own profile, at a broker of its own; NULL: none */
    const char *other_host;  /* its address; NULL: the same host, another port */
    unsigned accept_wait_ms; /* for ticket or alert */
    unsigned port;           /* the configured listener's, for who opens it */
};

struct end;

struct world {
    uint16_t alias_most; /* Topic Alias Maximum of its brokers' CONNACK; 0: none */
    uv_loop_t loop;
    struct env env;
    uv_tcp_t listening; /* for devices */
    uv_tcp_t broker;
    uv_tcp_t other_broker; /* its connections are taken by broker_next, too */
    uv_timer_t tick;
    struct tls_ctx *broker_ctx;        /* owned */
    struct tls_ctx *broker_ctx_strict; /* owned: believes the old identities' CA alone */
    bool broker_refuses_new;           /* in TLS */
    bool keeps_predecessors;           /* the broker leaves who is taken over to the test */
    bool broker_deaf;                  /* accepts and says nothing, no TLS either */
    unsigned broker_port, other_port, port;
    struct buf news;   /* lines */
    size_t news_at;    /* read so far */
    char refused[320]; /* the sentence of the latest refusal that was told */
    struct end *ends[512];
    unsigned end_count, broker_taken; /* broker_next looks from here on */
};

struct world *world_new(const struct world_args *args); /* NULL: defaults; one at a time */
/* A test's teardown: ends everything, and checks that nothing is left. */
int world_end(void **state);
/* The same world, configured anew.  Returns owned. */
struct wk_snapshot *world_configure(const struct world *w, const struct world_args *args);
void world_turn(struct world *w);        /* one turn of the loop, of 5 ms at most */
void world_stop_broker(struct world *w); /* connections are refused from now on */
struct device *world_device(struct world *w, const char *name); /* made when there is none */

/* Wait until `cond`, for a few seconds at most. */
#define world_until(w, cond)                                                         \
    do {                                                                             \
        for (unsigned turns_ = 0; !(cond); turns_++) {                               \
            if (turns_ > 4000)                                                       \
                fail_msg("%s:%d: waited in vain for %s", __FILE__, __LINE__, #cond); \
            world_turn(w);                                                           \
        }                                                                            \
    } while (0)

/* Main decides: the device's active slot. */
void world_use(struct world *w, const char *device, enum flip_slot slot);
/* The same, and the new identity is on trial, with that to prove (FLIP_PROOF_ bits). */
void world_try(struct world *w, const char *device, unsigned evidence);
/* The device's newest session, or NULL. */
struct session *world_session(struct world *w, const char *device);
/* What the session waits for (a deadline, the next attempt) is over now. */
void world_due(struct session *s);

/* The next news, without waiting when it is there: "leg accepted old first present=0". */
#define tells(w, line) world_tells((w), (line), __FILE__, __LINE__)
void world_tells(struct world *w, const char *line, const char *file, int at);
bool world_has_news(const struct world *w);

/* ---- ends ---- */

struct end {
    struct stream st;
    struct world *w;
    struct tls_conn *tls; /* owned; the broker's */
    struct buf in;
    size_t in_at;
    int version;
    bool of_other; /* of the other broker */
    bool ended;    /* the other side's end was seen */
    bool closing;  /* ours */
    bool closed;
    bool glued;   /* collect what is said */
    bool greeted; /* the broker's: CONNACK 0 was said */
    bool tls_failed;
    char cn[64]; /* of the certificate that came */
    struct buf out;
};

struct end *device_new(struct world *w, int version); /* connects */
/* The next upstream connection whose TLS is up. */
struct end *broker_next(struct world *w);
bool broker_has_next(const struct world *w);

void end_finish(struct end *e); /* close_notify and FIN */
void end_reset(struct end *e);  /* RST */
void glue(struct end *e);       /* what is said from here on ... */
void unglue(struct end *e);     /* ... goes out in one write */

#define sees(e, text) end_sees((e), (text), __FILE__, __LINE__)
void end_sees(struct end *e, const char *text, const char *file, int at);
/* Returns the next packet's bytes; valid until the next look. */
struct mqtt_packet end_packet(struct end *e, const char *file, int at);
#define sees_end(e) end_sees_end((e), __FILE__, __LINE__)
void end_sees_end(struct end *e, const char *file, int at); /* and no packet before it */
bool end_has_packet(struct end *e);

const char *describe(const struct mqtt_packet *pkt, int version);

void say_bytes(struct end *e, const void *p, size_t n);
void say_connect(struct end *e, const struct mqtt_connect *c); /* the version is e's */
void say_connack(struct end *e, bool present, uint8_t code, const struct buf *props);
void say_publish(struct end *e, uint8_t qos, uint16_t id, const char *topic, const char *payload);
void say_publish_full(struct end *e, const struct mqtt_publish *p);
void say_ack(struct end *e, enum mqtt_type type, uint16_t id, uint8_t reason);
void say_subscribe(struct end *e, uint16_t id, const char *filter, uint8_t options);
void say_unsubscribe(struct end *e, uint16_t id, const char *filter);
void say_suback(struct end *e, enum mqtt_type type, uint16_t id, const char *codes, size_t n);
void say_ping(struct end *e, enum mqtt_type type);
void say_disconnect(struct end *e, uint8_t reason, const struct buf *props);

/* ---- scenes ---- */

struct pair {
    struct end *dev, *brk;
};

extern const struct mqtt_connect world_lasting; /* d1, keepalive 60 s, clean session off */
extern const struct mqtt_connect world_clean;   /* the same with clean session on */

/* A session that is under way, its first news told. */
struct pair world_open(struct world *w, int version, const struct mqtt_connect *c);
/* The same, with a broker that is spoken to in another version. */
struct pair world_open_as(struct world *w, int version, int upstream, const struct mqtt_connect *c);
/* The same, the device's side being there already. */
/* CONNACK 0 as the world's broker says it. */
void world_connack(struct world *w, struct end *brk, bool present);
struct end *world_broker_accepts(struct world *w, int version, bool present);
/* Device to broker and back: nothing else was on the way. */
#define quiet(p) world_quiet((p), __FILE__, __LINE__)
void world_quiet(const struct pair *p, const char *file, int at);

#endif
