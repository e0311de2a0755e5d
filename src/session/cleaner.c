/* What is left at a broker that a device leaves: because it went, or because it moved to another
 * one.
 *
 * A 3.x device that asked for a clean session was given a lasting one upstream, so that a flip
 * loses nothing.  When it leaves, one more connection with Clean Session wipes what it leaves
 * (MQTT 3.1.1, 3.1.2.4).
 *
 * Whoever says CONNECT takes over the session that is to be wiped, and the broker reads no more of
 * the leg that has it: the device's last messages would be lost.  So that leg is ended first.
 *
 * The device may be back meanwhile, on another worker, and its session with it.  So each dial is
 * counted where all workers see it (presence.h), and what is to be wiped is left alone when another
 * one came.
 *
 * Two names, or two ports, may lead to one broker, and wiping there would end the session that has
 * just moved.  So the leg that is left is asked first: PINGREQ and DISCONNECT.  Whose session was
 * taken over has been closed by the broker, and does not answer.
 */
#include "session/dialect.h"
#include "session/greet.h"

#include <stdlib.h>

#include "base/log.h"
#include "session/presence.h"

#define CLEANER_MS 10000u

struct cleaner {
    struct list link;
    struct cleaner *next; /* of the device */
    struct env *env;
    struct device *dev;
    struct wk_snapshot *snap;      /* owned reference */
    const struct conf_upstream *u; /* in snap */
    struct cred *cred;             /* owned reference */
    struct leg *leg;               /* owned: the one that is left, then the one that wipes */
    struct buf connect;            /* owned: CONNECT with Clean Session */
    uint32_t home;                 /* greet_home() */
    uint64_t dialled;              /* session.dialled */
    unsigned pongs;                /* that are still to come on the leg that is left */
    uint8_t version;
    bool with_will; /* ends without DISCONNECT, which publishes it */
    uint64_t until_ms;
};

static const struct leg_ops ops;

static void end(struct cleaner *c, const char *trouble)
{
    struct cleaner **at = &c->dev->cleaner;

    if (trouble != NULL)
        log_event(LOG_SESSION, LOG_NOTICE_, "session-left-behind", "device=%s upstream=%s msg=%s",
                  c->dev->name, c->u->name, LOG_Q(trouble));
    leg_close_gentle(&c->leg);
    buf_fini_wipe(&c->connect);
    list_del(&c->link);
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    cred_unref(c->cred);
    snapshot_unref(c->snap);
    free(c);
}

/* The device is back at that broker, by whatever worker: its session there is in use again. */
static bool is_late(const struct cleaner *c)
{
    return presence_dialled_since(c->dev->presence, c->home, c->dialled);
}

static void on_open(struct leg *leg)
{
    struct cleaner *c = leg->owner;
    bool late = is_late(c);

    if (!late) {
        leg_part(leg, c->dev->presence,
                 c->home); /* who dials now does not say CONNECT before this one is over */
        late = is_late(c);
    }
    if (late) {
        end(c, NULL);
        return;
    }
    leg_write(leg, c->connect.p, c->connect.len);
}

static void on_data(struct leg *leg, const uint8_t *p, size_t n)
{
    struct cleaner *c = leg->owner;
    struct mqtt_connack ack;
    struct mqtt_packet pkt;
    struct buf out = {0};
    uint8_t reason;
    int rc = mqtt_in_next(&leg->in, &p, &n, MQTT_LARGEST_PACKET, &pkt);

    if (rc == 0)
        return;
    if (rc < 0 || pkt.type != MQTT_CONNACK ||
        mqtt_connack_read(&pkt, c->version, &ack, &reason, NULL) != 0 || ack.code != 0) {
        end(c, "the broker refused to clear the session of a device that left");
        return;
    }
    if (!c->with_will && mqtt_disconnect_write(&out, c->version, &(struct mqtt_disconnect){0}) == 0)
        leg_write(leg, out.p, out.len);
    buf_fini(&out);
    end(c, NULL);
}

static void on_end(struct leg *leg, const struct leg_end *e)
{
    (void)e;
    end(leg->owner,
        "no connection to clear the session of a device that left; its next clean start does");
}

static void on_drain(struct leg *leg)
{
    (void)leg;
}

static const struct leg_ops ops = {
    .open = on_open, .data = on_data, .end = on_end, .drain = on_drain};

static struct cleaner *cleaner_new(struct session *s, enum flip_slot slot, struct cred *cred,
                                   bool with_will)
{
    struct cleaner *c = calloc(1, sizeof *c);
    struct dialect *dialect = NULL;
    struct greet_wish wish;
    enum greet_aim aim = s->device_expiry_s == 0 ? GREET_WIPE : GREET_WILL;

    if (c == NULL)
        return NULL;
    c->env = s->env;
    c->dev = s->dev;
    c->snap = snapshot_ref(s->snap);
    c->u = upstream_profile(s, slot, NULL);
    c->cred = cred_ref(cred);
    c->home = greet_home(s, slot, GREET_HOST_AND_PORT);
    c->dialled = s->dialled;
    c->version = dialect_version(s, c->u);
    c->with_will = with_will;
    c->until_ms = env_now_ms(s->env) + CLEANER_MS;
    list_add(&s->env->cleaners, &c->link);
    c->next = s->dev->cleaner;
    s->dev->cleaner = c;
    int rc = dialect_new(s, c->u, &dialect, NULL);
    if (rc == 0)
        rc = greet_connect(s, slot, dialect, aim, &c->connect, &wish);
    free(dialect); /* nothing but CONNECT and DISCONNECT is said on that leg */
    if (rc == 0)
        return c;
    end(c, "out of memory");
    return NULL;
}

static void wipe(struct cleaner *c)
{
    struct tls_ctx *ctx = c->snap->upstream_ctx[c->u - c->snap->conf->upstreams];

    if (is_late(c)) {
        end(c, NULL);
        return;
    }
    c->leg = leg_dial(c->env, c->u, ctx, c->cred, &ops, c, NULL);
    if (c->leg == NULL)
        end(c, "out of memory");
}

/* ---- the leg that is left ---- */

static void on_left_data(struct leg *leg, const uint8_t *p, size_t n)
{
    struct cleaner *c = leg->owner;
    struct mqtt_packet pkt;

    while (mqtt_in_next(&leg->in, &p, &n, MQTT_LARGEST_PACKET, &pkt) == 1)
        if (pkt.type == MQTT_PINGRESP && c->pongs > 0)
            c->pongs--;
}

static void on_left_end(struct leg *leg, const struct leg_end *e)
{
    struct cleaner *c = leg->owner;

    (void)e;
    leg_close_gentle(&c->leg);
    if (c->pongs == 0) {
        c->until_ms = env_now_ms(c->env) + CLEANER_MS;
        wipe(c);
    } else {
        end(c, NULL); /* it was taken over: the session is where the device is */
    }
}

static const struct leg_ops left_ops = {
    .open = on_open, .data = on_left_data, .end = on_left_end, .drain = on_drain};

static void take(struct cleaner *c, struct leg **leg)
{
    c->leg = *leg;
    *leg = NULL;
    c->leg->ops = &left_ops;
    c->leg->owner = c;
    c->leg->watch = false;
}

void cleaner_start(struct session *s, enum flip_slot slot, struct leg **last, bool with_will)
{
    struct cred *cred = s->dev->cred[slot];
    struct cleaner *c = cred == NULL ? NULL : cleaner_new(s, slot, cred, with_will);

    if (c == NULL)
        return;
    if (*last == NULL || (*last)->state != LEG_OPEN || (*last)->ended) {
        wipe(c);
        return;
    }
    take(c, last);
    leg_finish(c->leg);
}

void cleaner_take(struct session *s, struct leg **leg)
{
    struct cleaner *c = cleaner_new(s, s->have, (*leg)->cred, false);
    struct buf out = {0};

    if (c == NULL)
        return;
    take(c, leg);
    c->pongs = s->pings + 1u;
    if (mqtt_ping_write(&out, MQTT_PINGREQ) == 0)
        leg_write(c->leg, out.p, out.len);
    buf_fini(&out);
    greet_disconnect(c->leg, 0, false, 0);
    leg_read(c->leg, true);
}

/* ---- the ends of all of them ---- */

void cleaner_cancel(struct device *dev)
{
    while (dev->cleaner != NULL)
        end(dev->cleaner, NULL);
}

void cleaner_yield(struct device *dev, uint32_t home)
{
    struct cleaner *next;

    for (struct cleaner *c = dev->cleaner; c != NULL; c = next) {
        next = c->next;
        if (c->home == home)
            end(c, NULL);
    }
}

void cleaner_stop(struct env *env)
{
    list_for_each_safe (it, &env->cleaners)
        end(list_entry(it, struct cleaner, link), "certflipd stops");
}

void cleaner_sweep(struct env *env)
{
    uint64_t now = env_now_ms(env);

    list_for_each_safe (it, &env->cleaners) {
        struct cleaner *c = list_entry(it, struct cleaner, link);
        bool leaving = c->leg != NULL && c->leg->ops == &left_ops;
        if (leaving && leg_goes_out(c->leg))
            c->until_ms = now + CLEANER_MS;
        if (now >= c->until_ms)
            end(c, leaving ? "the broker did not end the connection of a device that left"
                           : "the broker took too long to clear the session of a device that left");
    }
}
