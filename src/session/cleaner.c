/* A 3.x device that asked for a clean session was given a lasting one upstream, so that a flip
 * loses nothing.  When it leaves, one more connection with Clean Session wipes what it leaves
 * (MQTT 3.1.1, 3.1.2.4).
 */
#include "session/dialect.h"
#include "session/greet.h"

#include <stdlib.h>

#include "base/log.h"

#define CLEANER_MS 10000u

struct cleaner {
    struct list link;
    struct env *env;
    struct device *dev;
    struct leg *leg;    /* owned */
    struct buf connect; /* owned: CONNECT with Clean Session */
    uint8_t version;
    bool with_will; /* ends without DISCONNECT, which publishes it */
    uint64_t until_ms;
};

static const struct leg_ops ops;

static void end(struct cleaner *c, const char *trouble)
{
    if (trouble != NULL)
        log_event(LOG_SESSION, LOG_NOTICE_, "session-left-behind", "device=%s msg=%s", c->dev->name,
                  LOG_Q(trouble));
    leg_close_gentle(&c->leg);
    buf_fini_wipe(&c->connect);
    list_del(&c->link);
    c->dev->cleaner = NULL;
    free(c);
}

static void on_open(struct leg *leg)
{
    struct cleaner *c = leg->owner;

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

void cleaner_start(struct session *s, bool with_will)
{
    struct tls_ctx *ctx;
    const struct conf_upstream *u = upstream_profile(s, s->have, &ctx);
    struct cred *cred = s->dev->cred[s->have];
    struct dialect *dialect = NULL;
    struct greet_wish wish;
    enum greet_aim aim = s->device_expiry_s == 0 ? GREET_WIPE : GREET_WILL;
    struct cleaner *c;

    if (cred == NULL || s->dev->cleaner != NULL || (c = calloc(1, sizeof *c)) == NULL)
        return;
    c->env = s->env;
    c->dev = s->dev;
    c->version = dialect_version(s, u);
    c->with_will = with_will;
    c->until_ms = env_now_ms(s->env) + CLEANER_MS;
    list_add(&s->env->cleaners, &c->link);
    s->dev->cleaner = c;
    if (dialect_new(s, u, &dialect, NULL) == 0 &&
        greet_connect(s, s->have, dialect, aim, &c->connect, &wish) == 0)
        c->leg = leg_dial(s->env, u, ctx, cred, &ops, c, NULL);
    free(dialect); /* nothing but CONNECT and DISCONNECT is said on that leg */
    if (c->leg == NULL)
        end(c, "out of memory");
}

void cleaner_cancel(struct device *dev)
{
    if (dev->cleaner != NULL)
        end(dev->cleaner, NULL);
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
        if (now >= c->until_ms)
            end(c, "the broker took too long to clear the session of a device that left");
    }
}
