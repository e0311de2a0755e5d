/* Whatever comes, in whatever order: brokers that accept, refuse, end, fall silent and take over,
 * devices that talk, die and come back, a main that changes its mind.  After each turn the legs are
 * what the phase says; and once the weather is fine, every session gets home.
 *
 * CERTFLIP_TEST_SEED=N plays one game, with CERTFLIP_TEST_LOG=1 it says what happens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session_world.h"

#define GAMES 120u
#define MOVES 60u

struct game {
    struct world *w;
    struct end *dev;
    struct end *live[2]; /* the connection that each broker has accepted last */
    unsigned seed, looked;
    uint64_t state;
    uint16_t id;
    int version;
    bool will, fine;
};

static unsigned roll(struct game *g, unsigned sides)
{
    g->state = g->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(g->state >> 33) % sides;
}

static struct session *the_session(const struct game *g)
{
    return world_session(g->w, "d1");
}

/* ---- what must hold after each turn ---- */

static void check(const struct game *g)
{
    static const struct {
        int up, cand, spare, holding; /* 1: yes, 0: no, -1: either */
    } is[RH_PHASES] = {
        [RH_IDLE] = {1, 0, 0, 0},      [RH_WAITING] = {0, 0, 0, -1},
        [RH_DIALING] = {1, 1, 0, 0},   [RH_DIALING_LOST] = {0, 1, 0, -1},
        [RH_SPARING] = {1, 1, 1, 0},   [RH_DRAINING] = {1, 1, -1, 1},
        [RH_BARRIER] = {1, 1, 0, 1},   [RH_LEAVING] = {1, 1, -1, 1},
        [RH_SWITCHING] = {1, 1, 0, 1}, [RH_SWITCHING_LOST] = {0, 1, -1, -1},
    };
    const struct session *s = the_session(g);

    if (s == NULL)
        return;
    bool wrong = (is[s->phase].up >= 0 && (s->up != NULL) != is[s->phase].up) ||
                 (is[s->phase].cand >= 0 && (s->cand != NULL) != is[s->phase].cand) ||
                 (is[s->phase].spare >= 0 && (s->spare != NULL) != is[s->phase].spare) ||
                 (is[s->phase].holding >= 0 && s->holding != is[s->phase].holding);
    bool unbounded = (s->phase == RH_WAITING && s->retry_ms == 0) ||
                     (s->phase != RH_WAITING && s->phase != RH_IDLE && s->due_ms == 0);
    bool unread = s->state == SESSION_RELAYING && s->phase != RH_IDLE && s->phase != RH_DIALING &&
                  s->phase != RH_SPARING && !s->holding;

    if (wrong || unbounded || unread)
        fail_msg("seed %u: in %s: up %d cand %d spare %d holding %d due %d retry %d", g->seed,
                 rehome_phase_name(s->phase), s->up != NULL, s->cand != NULL, s->spare != NULL,
                 s->holding, s->due_ms != 0, s->retry_ms != 0);
}

static void turn(struct game *g)
{
    world_turn(g->w);
    check(g);
}

/* ---- the broker ---- */

static bool is_open(const struct end *e)
{
    return e != NULL && !e->closing && !e->closed && !e->ended && e->tls != NULL &&
           tls_conn_established(e->tls);
}

static void accept_it(struct game *g, struct end *e)
{
    struct end **live = &g->live[e->of_other];

    if (*live != e && is_open(*live) && (g->fine || roll(g, 8) != 0))
        end_finish(*live); /* it is taken over */
    *live = e;
    say_connack(e, roll(g, 2), 0, NULL);
}

static void answer_connect(struct game *g, struct end *e)
{
    switch (g->fine ? 9u : roll(g, 10)) {
    case 0:
        say_connack(e, false, e->version == MQTT_V5 ? 0x87 : 5, NULL);
        end_finish(e);
        break;
    case 1:
        say_connack(e, false, e->version == MQTT_V5 ? 0x88 : 3, NULL);
        end_finish(e);
        break;
    case 2:
        end_finish(e);
        break;
    case 3:
        end_reset(e);
        break;
    case 4:
        break; /* silence */
    default:
        accept_it(g, e);
        break;
    }
}

static void answer(struct game *g, struct end *e, const struct mqtt_packet *pkt)
{
    struct mqtt_publish p;
    struct mqtt_ack a;
    uint8_t reason;
    /* Whoever leaves out one PINGRESP is a question behind for ever. */
    bool lazy = pkt->type != MQTT_PINGREQ && !g->fine && roll(g, 6) == 0;

    if (pkt->type == MQTT_CONNECT)
        answer_connect(g, e);
    else if (lazy)
        return;
    else if (pkt->type == MQTT_PINGREQ)
        say_ping(e, MQTT_PINGRESP);
    else if (pkt->type == MQTT_DISCONNECT)
        end_finish(e);
    else if (pkt->type == MQTT_PUBLISH &&
             mqtt_publish_read(pkt, e->version, MQTT_TO_SERVER, &p, &reason, NULL) == 0 &&
             p.qos > 0)
        say_ack(e, p.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, p.packet_id, 0);
    else if (pkt->type == MQTT_PUBREL && mqtt_ack_read(pkt, e->version, &a, &reason, NULL) == 0)
        say_ack(e, MQTT_PUBCOMP, a.packet_id, 0);
}

static void brokers_answer(struct game *g)
{
    for (unsigned i = 0; i < g->w->end_count; i++) {
        struct end *e = g->w->ends[i];
        e->version = g->version;
        while (e->tls != NULL && end_has_packet(e)) {
            struct mqtt_packet pkt = end_packet(e, __FILE__, __LINE__);
            if (is_open(e))
                answer(g, e, &pkt);
        }
    }
}

/* ---- the device ---- */

static void device_comes(struct game *g)
{
    struct mqtt_connect c = {
        .client_id = slice_of("d1"), .keepalive_s = 60, .clean = roll(g, 2), .has_will = g->will};

    c.will_topic = slice_of(g->will ? "w" : "");
    g->dev = device_new(g->w, g->version);
    say_connect(g->dev, &c);
}

static void device_hears(struct game *g)
{
    while (end_has_packet(g->dev))
        (void)end_packet(g->dev, __FILE__, __LINE__);
}

static bool device_is_there(const struct game *g)
{
    return !g->dev->ended && !g->dev->closing && !g->dev->closed;
}

static void device_moves(struct game *g)
{
    if (!device_is_there(g)) {
        device_comes(g);
        return;
    }
    switch (roll(g, 12)) {
    case 0:
        end_reset(g->dev);
        break;
    case 1:
        say_disconnect(g->dev, 0, NULL);
        end_finish(g->dev);
        break;
    case 2:
    case 3:
        say_ping(g->dev, MQTT_PINGREQ);
        break;
    case 4:
    case 5:
        say_publish(g->dev, 0, 0, "a", "x");
        break;
    default:
        say_publish(g->dev, (uint8_t)(1 + roll(g, 2)), ++g->id, "a", "x");
        break;
    }
}

/* ---- everything else ---- */

static void something_happens(struct game *g)
{
    struct session *s = the_session(g);
    struct end *live = g->live[roll(g, 2)];
    struct end *any = g->w->ends[roll(g, g->w->end_count)];

    switch (roll(g, 14)) {
    case 0:
    case 1:
    case 2:
        world_use(g->w, "d1", roll(g, 2) != 0 ? FLIP_NEW : FLIP_OLD);
        break;
    case 3:
    case 4:
    case 5:
        if (s != NULL)
            world_due(s);
        break;
    case 6:
        if (is_open(live) && g->version == MQTT_V5) {
            static const uint8_t reasons[] = {0x8E, 0x8B, 0x87, 0x98, 0x80};
            say_disconnect(live, reasons[roll(g, sizeof reasons)], NULL);
            end_finish(live);
        }
        break;
    case 7:
        if (is_open(live))
            (roll(g, 2) != 0 ? end_finish : end_reset)(live);
        break;
    case 8:
        if (is_open(any) && any != g->dev)
            (roll(g, 2) != 0 ? end_finish : end_reset)(any);
        break;
    case 9:
        g->w->broker_refuses_new = roll(g, 3) == 0;
        break;
    case 10:
        g->w->broker_deaf = roll(g, 3) == 0;
        break;
    default:
        device_moves(g);
        break;
    }
}

static bool is_home(struct game *g)
{
    const struct session *s = the_session(g);

    return device_is_there(g) && s != NULL && s->state == SESSION_RELAYING && s->phase == RH_IDLE &&
           s->have == s->dev->active && s->held.len == 0 && s->retry_ms == 0;
}

/* Fine weather: everybody accepts, and nobody asks for anything else. */
static void gets_home(struct game *g)
{
    g->fine = true;
    g->w->broker_refuses_new = g->w->broker_deaf = false;
    world_use(g->w, "d1", FLIP_NEW);
    for (unsigned i = 0; !is_home(g); i++) {
        const struct session *s = the_session(g);
        if (i > 3000)
            fail_msg("seed %u: stuck in %s: state %d, have %d, wanted %d, held %zu, retry %d",
                     g->seed, s != NULL ? rehome_phase_name(s->phase) : "nowhere",
                     s != NULL ? (int)s->state : -1, s != NULL ? (int)s->have : -1,
                     world_device(g->w, "d1")->active, s != NULL ? s->held.len : 0,
                     s != NULL && s->retry_ms != 0);
        if (!device_is_there(g))
            device_comes(g);
        s = the_session(g);
        if (s != NULL && s->refused_seq == s->dev->flip_seq)
            world_use(g->w, "d1", FLIP_NEW); /* a refusal of before: main decides anew */
        if (i % 20 == 19 && the_session(g) != NULL)
            world_due(the_session(g));
        brokers_answer(g);
        device_hears(g);
        turn(g);
    }
    say_ping(g->dev, MQTT_PINGREQ);
    for (unsigned i = 0; !end_has_packet(g->dev); i++) {
        if (i > 2000 || !device_is_there(g))
            fail_msg("seed %u: no answer at home", g->seed);
        brokers_answer(g);
        turn(g);
    }
}

static void play_one(unsigned seed)
{
    static const struct world_args abroad = {.other = "", .other_host = "127.0.0.2"};
    static const struct world_args next_door = {.other = ""};
    static const struct world_args *const places[] = {NULL, NULL, &abroad, &next_door};
    struct game g = {.seed = seed, .state = seed * UINT64_C(2654435761) + 1};

    for (unsigned i = 0; i < 8; i++)
        (void)roll(&g, 2);
    g.version = roll(&g, 2) != 0 ? MQTT_V5 : MQTT_V311;
    g.will = roll(&g, 3) != 0;
    g.w = world_new(places[roll(&g, 4)]);
    device_comes(&g);
    for (unsigned i = 0; i < MOVES; i++) {
        something_happens(&g);
        for (unsigned n = roll(&g, 5); n > 0; n--) {
            turn(&g);
            if (roll(&g, 3) != 0)
                brokers_answer(&g);
        }
        if (device_is_there(&g))
            device_hears(&g);
    }
    gets_home(&g);
    world_end(NULL);
}

static void every_session_gets_home(void **unused)
{
    const char *one = getenv("CERTFLIP_TEST_SEED");

    (void)unused;
    for (unsigned seed = 1; seed <= GAMES; seed++)
        if (one == NULL || strtoul(one, NULL, 10) == seed)
            play_one(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        play(every_session_gets_home),
    };

    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
