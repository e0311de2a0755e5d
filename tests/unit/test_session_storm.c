/* Exchanges of both directions under a storm of flips, losses and forgotten sessions, between a
 * device and a broker that keep strictly to the standard: whatever happens, in whatever order, all
 * of it is delivered as its QoS promises, in its order, and every exchange ends.
 *
 * The scripts are random, from fixed seeds.  CERTFLIP_TEST_SEED runs one of them.
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session_world.h"

enum {
    WINDOW = 6,     /* exchanges at once, each way */
    MESSAGES = 400, /* at most, each way and QoS */
    LEGS = 24,      /* at most: the world has so many ends */
    STEPS = 260,
    QUEUE = 256,
};

/* What an end has still to answer: it takes its time. */
struct answers {
    struct {
        enum mqtt_type type;
        uint16_t id;
    } q[QUEUE];
    unsigned first, n;
};

struct exchange {
    uint16_t id; /* 0: vacant */
    uint8_t qos;
    bool received; /* QoS 2: PUBREC is here */
    unsigned tag;
};

/* How often each message of one direction and QoS arrived, and the latest. */
struct arrivals {
    uint8_t count[MESSAGES];
    unsigned sent, latest; /* tags begin with 1 */
};

struct storm {
    struct world *w;
    uint64_t random;
    unsigned seed;
    int version;
    bool may_lose;     /* legs break */
    bool may_forget;   /* and brokers lose sessions */
    bool lost, forgot; /* it has happened */
    unsigned pongs;
    /* the device */
    struct end *dev;
    struct exchange dev_out[WINDOW];
    struct answers dev_answers;
    bool dev_holds[UINT16_MAX + 1];   /* ids of the broker's exchanges that are open to it */
    uint8_t dev_qos2[UINT16_MAX + 1]; /* QoS 2: PUBREC is due or out */
    struct arrivals at_broker[3], at_device[3];
    /* the broker */
    struct end *ends[LEGS + 8];
    unsigned end_count;
    struct end *brk; /* the present connection; NULL: none */
    bool session;
    struct exchange brk_out[WINDOW];
    struct answers brk_answers;
    bool brk_qos2[UINT16_MAX + 1]; /* received and not released */
    bool brk_open[UINT16_MAX + 1]; /* begun by the device in this session, and not ended */
    uint16_t brk_next;
    unsigned subscribed;               /* bits: of the session */
    bool fresh;                        /* the present connection has begun the session */
    unsigned asked;                    /* bits: on the present connection */
    unsigned receive_most, unanswered; /* on the present connection */
    uint8_t qos_most;
};

static unsigned draw(struct storm *s, unsigned below)
{
    s->random = s->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(s->random >> 33) % below;
}

#define MUST(s, cond)                                                                       \
    do {                                                                                    \
        if (!(cond))                                                                        \
            fail_msg("seed %u, version %d: line %d: %s", (s)->seed, (s)->version, __LINE__, \
                     #cond);                                                                \
    } while (0)

static void queue(struct answers *a, enum mqtt_type type, uint16_t id)
{
    assert_true(a->n < QUEUE);
    unsigned at = (a->first + a->n++) % QUEUE;
    a->q[at].type = type;
    a->q[at].id = id;
}

static void answer(struct answers *a, struct end *e, unsigned most)
{
    for (; a->n > 0 && most > 0; most--, a->n--, a->first = (a->first + 1) % QUEUE)
        say_ack(e, a->q[a->first].type, a->q[a->first].id, 0);
}

static struct exchange *find(struct exchange *list, uint16_t id)
{
    for (unsigned i = 0; i < WINDOW; i++)
        if (list[i].id == id)
            return &list[i];
    return NULL;
}

/* A message arrived.  Those that came before may come again, out of turn; new ones are in order. */
static void arrive(struct storm *s, struct arrivals *a, const struct mqtt_publish *p)
{
    char text[16];

    MUST(s, p->payload.n < sizeof text);
    memcpy(text, p->payload.p, p->payload.n);
    text[p->payload.n] = '\0';
    unsigned tag = (unsigned)strtoul(text, NULL, 10);
    MUST(s, tag >= 1 && tag <= a->sent);
    if (a->count[tag] == 0) {
        MUST(s, tag > a->latest);
        a->latest = tag;
    }
    if (a->count[tag] < UINT8_MAX)
        a->count[tag]++;
}

static void say_numbered(struct end *e, const char *topic, const struct exchange *x, bool dup)
{
    char text[16];

    snprintf(text, sizeof text, "%u", x->tag);
    say_publish_full(e, &(struct mqtt_publish){.qos = x->qos,
                                               .packet_id = x->id,
                                               .dup = dup,
                                               .topic = slice_of(topic),
                                               .payload = slice_of(text)});
}

/* ---- the device ---- */

/* Ids from both ends: from the upper one we take ours. */
static uint16_t device_id(struct storm *s)
{
    bool high = draw(s, 3) == 0;

    for (unsigned i = 0;; i++) {
        uint16_t id = (uint16_t)(high ? UINT16_MAX - i : i + 1);
        if (find(s->dev_out, id) == NULL)
            return id;
    }
}

static void device_publishes(struct storm *s)
{
    uint8_t qos = (uint8_t)draw(s, 3);
    struct arrivals *a = &s->at_broker[qos];
    struct exchange zero = {0}, *x = qos > 0 ? find(s->dev_out, 0) : &zero;

    if (x == NULL || a->sent + 1 >= MESSAGES)
        return;
    uint16_t id = qos > 0 ? device_id(s) : 0;
    *x = (struct exchange){.id = id, .qos = qos, .tag = ++a->sent};
    say_numbered(s->dev, qos == 0 ? "a/0" : qos == 1 ? "a/1" : "a/2", x, false);
}

static void device_gets_publish(struct storm *s, const struct mqtt_publish *p)
{
    uint16_t id = p->packet_id;

    if (p->qos == 2 && s->dev_qos2[id] > 0) {
        MUST(s, p->dup); /* else it would be taken for a repetition, and be lost */
        queue(&s->dev_answers, MQTT_PUBREC, id);
        return;
    }
    MUST(s, p->qos == 0 || p->dup || !s->dev_holds[id]);
    arrive(s, &s->at_device[p->qos], p);
    if (p->qos == 0)
        return;
    s->dev_holds[id] = true;
    s->dev_qos2[id] = p->qos == 2;
    queue(&s->dev_answers, p->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, id);
}

static void device_gets(struct storm *s, const struct mqtt_packet *pkt)
{
    struct mqtt_publish p;
    uint8_t reason;
    uint16_t id = mqtt_packet_id(pkt);
    struct exchange *x = id != 0 ? find(s->dev_out, id) : NULL;

    switch ((int)pkt->type) {
    case MQTT_PUBLISH:
        assert_int_equal(mqtt_publish_read(pkt, s->version, MQTT_TO_CLIENT, &p, &reason, NULL), 0);
        device_gets_publish(s, &p);
        break;
    case MQTT_PUBACK:
        MUST(s, x != NULL && x->qos == 1);
        *x = (struct exchange){0};
        break;
    case MQTT_PUBREC:
        MUST(s, x != NULL && x->qos == 2 && !x->received);
        x->received = true;
        queue(&s->dev_answers, MQTT_PUBREL, id);
        break;
    case MQTT_PUBCOMP:
        MUST(s, x != NULL && x->qos == 2 && x->received);
        *x = (struct exchange){0};
        break;
    case MQTT_PUBREL:
        MUST(s, s->dev_holds[id] && s->dev_qos2[id] == 1);
        s->dev_qos2[id] = 2; /* PUBCOMP is due */
        queue(&s->dev_answers, MQTT_PUBCOMP, id);
        break;
    case MQTT_PINGRESP:
        s->pongs++;
        break;
    default:
        break;
    }
}

/* Answers of the device end its part of the exchange. */
static void device_answers(struct storm *s, unsigned most)
{
    for (; s->dev_answers.n > 0 && most > 0; most--) {
        enum mqtt_type type = s->dev_answers.q[s->dev_answers.first].type;
        uint16_t id = s->dev_answers.q[s->dev_answers.first].id;
        answer(&s->dev_answers, s->dev, 1);
        if (type == MQTT_PUBACK || type == MQTT_PUBCOMP) {
            s->dev_holds[id] = false;
            s->dev_qos2[id] = 0;
        }
    }
}

/* ---- the broker ---- */

static void broker_forgets(struct storm *s)
{
    memset(s->brk_out, 0, sizeof s->brk_out);
    memset(s->brk_qos2, 0, sizeof s->brk_qos2);
    memset(s->brk_open, 0, sizeof s->brk_open);
    s->brk_next = 1;
    s->subscribed = 0;
    s->session = false;
}

static void broker_connects(struct storm *s, struct end *e)
{
    struct buf props = {0};

    if (s->brk != NULL && s->brk != e)
        end_finish(s->brk); /* taken over [MQTT-3.1.4-2] */
    s->brk = e;
    s->brk_answers = (struct answers){0};
    s->unanswered = s->asked = 0;
    s->fresh = !s->session;
    s->receive_most = s->version == MQTT_V5 && draw(s, 2) == 0 ? 2 : UINT16_MAX;
    if (s->receive_most < UINT16_MAX)
        mqtt_props_put_num(&props, MQTT_PROP_RECEIVE_MAXIMUM, s->receive_most);
    /* What is sent with less QoS is promised no more than that: where legs break it may come twice.
     */
    s->qos_most = s->version == MQTT_V5 && !s->may_lose ? (uint8_t)draw(s, 3) : 2;
    if (s->qos_most < 2)
        mqtt_props_put_num(&props, MQTT_PROP_MAXIMUM_QOS, s->qos_most);
    glue(e);
    say_connack(e, s->session, 0, &props);
    buf_fini(&props);
    for (unsigned i = 0; i < WINDOW; i++) { /* [MQTT-4.4.0-1] */
        if (s->brk_out[i].id == 0)
            continue;
        if (s->brk_out[i].received)
            say_ack(e, MQTT_PUBREL, s->brk_out[i].id, 0);
        else
            say_numbered(e, s->brk_out[i].qos == 1 ? "c/1" : "c/2", &s->brk_out[i], true);
    }
    unglue(e);
    s->session = true;
}

static void broker_publishes(struct storm *s)
{
    uint8_t qos = (uint8_t)draw(s, 3);
    struct arrivals *a = &s->at_device[qos];
    struct exchange zero = {0}, *x = &zero;

    if (s->brk == NULL || a->sent + 1 >= MESSAGES)
        return;
    if (qos > 0) { /* at the end: repetitions keep their order */
        if (s->brk_out[WINDOW - 1].id != 0)
            return;
        x = find(s->brk_out, 0);
        while (find(s->brk_out, s->brk_next) != NULL || s->brk_next == 0)
            s->brk_next++;
        x->id = s->brk_next++;
    }
    x->qos = qos;
    x->tag = ++a->sent;
    x->received = false;
    say_numbered(s->brk, qos == 0 ? "c/0" : qos == 1 ? "c/1" : "c/2", x, false);
}

static void broker_ends_exchange(struct exchange *list, struct exchange *x)
{
    memmove(x, x + 1, (size_t)(list + WINDOW - 1 - x) * sizeof *x);
    list[WINDOW - 1] = (struct exchange){0};
}

static void broker_gets_publish(struct storm *s, const struct mqtt_publish *p)
{
    uint16_t id = p->packet_id;
    unsigned was = p->topic.p[p->topic.n - 1] - (unsigned)'0'; /* its QoS, as the device sent it */

    MUST(s, was <= 2 && p->qos == (was < s->qos_most ? was : s->qos_most));
    if (p->qos == 0) {
        arrive(s, &s->at_broker[was], p);
        return;
    }
    MUST(s, p->dup || !s->brk_open[id]);
    MUST(s, !p->dup || !s->fresh); /* [MQTT-3.3.1-1] */
    MUST(s, ++s->unanswered <= s->receive_most);
    s->brk_open[id] = true;
    if (p->qos == 1 || !s->brk_qos2[id])
        arrive(s, &s->at_broker[was], p);
    s->brk_qos2[id] = p->qos == 2;
    queue(&s->brk_answers, p->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, id);
}

static unsigned bit_of(struct slice filter)
{
    return slice_is(filter, "c/#") ? 1 : 2;
}

static void broker_answers(struct storm *s, unsigned most)
{
    if (s->brk == NULL)
        return;
    for (; s->brk_answers.n > 0 && most > 0; most--) {
        enum mqtt_type type = s->brk_answers.q[s->brk_answers.first].type;
        uint16_t id = s->brk_answers.q[s->brk_answers.first].id;
        if (type != MQTT_PUBREC) {
            s->brk_open[id] = false;
            s->unanswered -= s->unanswered > 0;
        }
        answer(&s->brk_answers, s->brk, 1);
    }
}

static void broker_gets(struct storm *s, struct end *e, const struct mqtt_packet *pkt)
{
    struct mqtt_publish p;
    struct mqtt_subscribe sub;
    struct mqtt_filter f = {0};
    uint32_t at = 0;
    uint8_t reason;
    uint16_t id = mqtt_packet_id(pkt);
    struct exchange *x = id != 0 ? find(s->brk_out, id) : NULL;

    if (pkt->type == MQTT_CONNECT) {
        broker_connects(s, e);
        return;
    }
    if (pkt->type == MQTT_DISCONNECT) {
        end_finish(e);
        if (s->brk == e)
            s->brk = NULL;
        return;
    }
    if (e != s->brk)
        return; /* taken over */
    switch ((int)pkt->type) {
    case MQTT_PINGREQ:
        broker_answers(s, UINT_MAX); /* in its order */
        say_ping(e, MQTT_PINGRESP);
        break;
    case MQTT_SUBSCRIBE:
        assert_int_equal(mqtt_subscribe_read(pkt, s->version, &sub, &reason, NULL), 0);
        MUST(s, !s->brk_open[id]); /* [MQTT-2.2.1-3] */
        MUST(s, mqtt_subscribe_next(&sub, MQTT_SUBSCRIBE, &at, &f));
        MUST(s, (s->asked & bit_of(f.filter)) == 0);
        s->asked |= bit_of(f.filter);
        s->subscribed |= bit_of(f.filter);
        say_suback(e, MQTT_SUBACK, id, "\x02", 1);
        break;
    case MQTT_PUBLISH:
        assert_int_equal(mqtt_publish_read(pkt, s->version, MQTT_TO_SERVER, &p, &reason, NULL), 0);
        broker_gets_publish(s, &p);
        break;
    case MQTT_PUBREL:
        MUST(s, s->brk_open[id]);
        s->brk_qos2[id] = false;
        queue(&s->brk_answers, MQTT_PUBCOMP, id);
        break;
    case MQTT_PUBACK:
        MUST(s, x != NULL && x->qos == 1);
        broker_ends_exchange(s->brk_out, x);
        break;
    case MQTT_PUBREC:
        MUST(s, x != NULL && x->qos == 2);
        x->received = true;
        say_ack(e, MQTT_PUBREL, id, 0);
        break;
    case MQTT_PUBCOMP:
        MUST(s, x != NULL && x->qos == 2 && x->received);
        broker_ends_exchange(s->brk_out, x);
        break;
    default:
        fail_msg("the broker got %s", describe(pkt, s->version));
    }
}

/* ---- the storm ---- */

/* One turn of the world, and what has come is looked at. */
static void turn(struct storm *s)
{
    struct session *session = world_session(s->w, "d1");

    MUST(s, session != NULL);
    if (session->phase == RH_WAITING && session->retry_ms > env_now_ms(&s->w->env))
        world_due(session);
    world_turn(s->w);
    while (broker_has_next(s->w)) {
        assert_true(s->end_count < LEGS + 8);
        s->ends[s->end_count] = broker_next(s->w);
        s->ends[s->end_count++]->version = s->version;
    }
    for (unsigned i = 0; i < s->end_count; i++)
        while (end_has_packet(s->ends[i])) {
            struct mqtt_packet pkt = end_packet(s->ends[i], __FILE__, __LINE__);
            broker_gets(s, s->ends[i], &pkt);
        }
    while (end_has_packet(s->dev)) {
        struct mqtt_packet pkt = end_packet(s->dev, __FILE__, __LINE__);
        device_gets(s, &pkt);
    }
    MUST(s, !s->dev->ended);
}

static void break_leg(struct storm *s)
{
    if (s->brk == NULL || s->end_count >= LEGS)
        return;
    for (unsigned i = 0; i < s->end_count; i++) /* what was read is read; the rest is lost */
        if (s->ends[i] == s->brk)
            s->lost = true;
    end_reset(s->brk);
    s->brk = NULL;
    if (s->may_forget && draw(s, 2) == 0) {
        s->forgot = true;
        broker_forgets(s);
    }
}

static void flip(struct storm *s)
{
    struct device *dev = world_device(s->w, "d1");

    if (s->end_count < LEGS)
        world_use(s->w, "d1", dev->active == FLIP_OLD ? FLIP_NEW : FLIP_OLD);
}

static bool calm(const struct storm *s)
{
    const struct session *session = world_session(s->w, "d1");

    for (unsigned i = 0; i < WINDOW; i++)
        if (s->dev_out[i].id != 0 || s->brk_out[i].id != 0)
            return false;
    return session->phase == RH_IDLE && session->held.len == 0 && s->dev_answers.n == 0 &&
           s->brk_answers.n == 0 && session->to_broker.count == 0 && session->to_device.count == 0;
}

static void tell_items(struct buf *b, const char *name, const struct inflight *f)
{
    list_for_each (it, &f->items) {
        const struct inflight_item *item = list_entry(it, struct inflight_item, link);
        buf_printf(b, "; %s #%u/%u q%u/%u state %u%s%s%s%s%s%s%s%s", name, item->packet_id,
                   item->up_id, item->qos, item->sent_qos, item->state, item->ours ? " ours" : "",
                   item->redo ? " redo" : "", item->released ? " released" : "",
                   item->unsent ? " unsent" : "", item->local ? " local" : "",
                   item->again ? " again" : "", item->answered ? " answered" : "",
                   item->acked ? " acked" : "");
    }
}

static void not_calm(const struct storm *s)
{
    const struct session *session = world_session(s->w, "d1");
    struct buf b = {0};

    tell_items(&b, "to broker", &session->to_broker);
    tell_items(&b, "to device", &session->to_device);
    for (unsigned i = 0; i < WINDOW; i++)
        buf_printf(&b, "; device #%u q%u %u, broker #%u q%u %u", s->dev_out[i].id,
                   s->dev_out[i].qos, s->dev_out[i].received, s->brk_out[i].id, s->brk_out[i].qos,
                   s->brk_out[i].received);
    buf_append_u8(&b, 0);
    fail_msg("seed %u, version %d: does not end: %s, %zu bytes held%s", s->seed, s->version,
             rehome_phase_name(session->phase), session->held.len, (const char *)b.p);
}

static void check(struct storm *s)
{
    uint64_t given_up = 0;

    MUST(s, s->subscribed == 3);
    for (int qos = 0; qos < 3; qos++) {
        const struct arrivals *up = &s->at_broker[qos], *down = &s->at_device[qos];
        for (unsigned tag = 1; tag <= up->sent; tag++) {
            if (qos == 0)
                MUST(s, up->count[tag] <= 1 && (s->lost || up->count[tag] == 1));
            else if (qos == 1)
                MUST(s, up->count[tag] >= 1 && (s->lost || up->count[tag] == 1));
            else if (s->forgot)
                given_up += up->count[tag] == 0;
            else
                MUST(s, up->count[tag] == 1);
        }
        for (unsigned tag = 1; tag <= down->sent; tag++) {
            if (qos == 0)
                MUST(s, down->count[tag] <= 1 && (s->lost || down->count[tag] == 1));
            else if (qos == 1)
                MUST(s, s->forgot || (down->count[tag] >= 1 && (s->lost || down->count[tag] == 1)));
            else
                MUST(s, down->count[tag] <= 1 && (s->forgot || down->count[tag] == 1));
        }
    }
    MUST(s, given_up <= s->w->env.stats.rehome_lost);
    MUST(s, s->forgot || s->w->env.stats.rehome_lost == 0);
}

static void storm(unsigned seed, int version, bool may_lose, bool may_forget)
{
    static struct storm the_storm;
    struct storm *s = &the_storm;

    memset(s, 0, sizeof *s);
    s->w = world_new(NULL);
    s->seed = seed;
    s->random = seed * UINT64_C(0x9E3779B97F4A7C15) + (unsigned)version;
    s->version = version;
    s->may_lose = may_lose;
    s->may_forget = may_forget;
    struct pair p = world_open(s->w, version, &world_lasting);
    s->dev = p.dev;
    s->brk = s->ends[s->end_count++] = p.brk;
    s->receive_most = UINT16_MAX;
    s->qos_most = 2;
    s->session = true;
    s->brk_next = 1;
    say_subscribe(p.dev, 1, "c/#", 2);
    say_subscribe(p.dev, 2, "d", 1);
    for (int i = 0; i < 20; i++)
        turn(s);
    for (unsigned i = 0; i < STEPS; i++) {
        switch (draw(s, 16)) {
        case 0:
            flip(s);
            break;
        case 1:
            if (s->may_lose && draw(s, 2) == 0)
                break_leg(s);
            break;
        case 2:
        case 3:
        case 4:
        case 5:
            device_publishes(s);
            break;
        case 6:
        case 7:
        case 8:
            broker_publishes(s);
            break;
        case 9:
        case 10:
            device_answers(s, 1 + draw(s, 3));
            break;
        case 11:
        case 12:
            broker_answers(s, 1 + draw(s, 3));
            break;
        default:
            turn(s);
            break;
        }
    }
    for (unsigned i = 0; !calm(s); i++) { /* every exchange ends */
        if (i >= 4000)
            not_calm(s);
        device_answers(s, UINT_MAX);
        broker_answers(s, UINT_MAX);
        turn(s);
    }
    say_ping(s->dev, MQTT_PINGREQ); /* behind the last QoS 0 of both */
    while (s->pongs == 0)
        turn(s);
    check(s);
    world_end(NULL);
}

static void storms(bool may_lose, bool may_forget)
{
    const char *one = getenv("CERTFLIP_TEST_SEED");
    unsigned first = one != NULL ? (unsigned)atoi(one) : 1, last = one != NULL ? first : 12;

    for (unsigned seed = first; seed <= last; seed++)
        for (int version = MQTT_V311; version <= MQTT_V5; version++)
            storm(seed, version, may_lose, may_forget);
}

/* Nothing else fails: not even QoS 0 is lost, and nothing comes twice. */
static void flips_alone(void **unused)
{
    (void)unused;
    storms(false, false);
}

static void flips_and_broken_legs(void **unused)
{
    (void)unused;
    storms(true, false);
}

static void flips_broken_legs_and_lost_sessions(void **unused)
{
    (void)unused;
    storms(true, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        play(flips_alone),
        play(flips_and_broken_legs),
        play(flips_broken_legs_and_lost_sessions),
    };

    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
