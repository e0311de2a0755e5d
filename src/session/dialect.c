#include "session/dialect.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "mqtt/topic.h"
#include "session/greet.h"
#include "session/relay.h"

/* A bridge of 3.x says so in its protocol level, and brokers then send it nothing back that it has
 * published itself, and leave RETAIN as it is.  In 5.0 these are subscription options (3.8.3.1): No
 * Local, Retain As Published. */
#define BRIDGE_OPTIONS 0x0Cu

/* Topics follow it: a prefix of this length leaves half of what a topic may have. */
#define PREFIX_BYTES_MAX 32767u

uint8_t dialect_version(const struct session *s, const struct conf_upstream *u)
{
    return u->protocol == CONF_PROTOCOL_5 ? MQTT_V5 : s->version;
}

/* The configuration has checked the template, and not what devices fill in. */
static int fill_prefix(const struct session *s, const struct conf_upstream *u, struct buf *out,
                       struct err *err)
{
    struct mqtt_connect c;
    struct match_facts facts;

    if (u->topic_prefix == NULL)
        return 0;
    if (greet_facts(s, &c, &facts) != 0 ||
        match_template(u->topic_prefix, &facts, s->dev->name, s->snap->conf->gateway, out) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (out->len == 0)
        return 0;
    struct slice prefix = {out->p, out->len};
    if (!mqtt_topic_valid(prefix) || *prefix.p == '$' || prefix.n > PREFIX_BYTES_MAX)
        return err_set(
            err, ERR_INVALID,
            "upstream %s: topic_prefix becomes \"%.*s\", and topics can neither have wildcards in it nor begin with $",
            u->name, (int)(prefix.n < 128 ? prefix.n : 128), (const char *)prefix.p);
    return 0;
}

static struct dialect *make(const struct session *s, uint8_t version, struct slice prefix,
                            struct slice former)
{
    struct dialect *d = calloc(1, sizeof *d + prefix.n + former.n);

    if (d == NULL)
        return NULL;
    if (prefix.n > 0)
        memcpy(d->bytes, prefix.p, prefix.n);
    if (former.n > 0)
        memcpy(d->bytes + prefix.n, former.p, former.n);
    d->former = (struct slice){d->bytes + prefix.n, former.n};
    prefix.p = d->bytes;
    d->out = (struct mqtt_convert){
        .from = s->version, .to = version, .dir = MQTT_TO_SERVER, .prefix = prefix};
    d->in = (struct mqtt_convert){
        .from = version, .to = s->version, .dir = MQTT_TO_CLIENT, .prefix = prefix};
    return d;
}

static bool is_bridge(const struct session *s)
{
    struct mqtt_connect c;
    struct match_facts facts;

    return greet_facts(s, &c, &facts) == 0 && c.bridge;
}

int dialect_new(const struct session *s, const struct conf_upstream *u, struct dialect **out,
                struct err *err)
{
    struct slice former = slice_of(s->topic_prefix);
    uint8_t version = dialect_version(s, u);
    struct dialect *d = NULL;
    struct buf filled = {0};
    int rc = fill_prefix(s, u, &filled, err);
    struct slice prefix = {filled.p, filled.len};
    bool renamed = s->state == SESSION_RELAYING && !slice_eq(prefix, former);

    if (rc == 0 && (version != s->version || prefix.n > 0 || renamed)) {
        d = make(s, version, prefix, renamed ? former : (struct slice){0});
        if (d == NULL)
            rc = err_set(err, ERR_NOMEM, "out of memory");
        else
            d->renamed = renamed;
    }
    if (d != NULL && version != s->version && is_bridge(s))
        d->out.options = BRIDGE_OPTIONS;
    if (rc == 0)
        *out = d;
    buf_fini(&filled);
    return rc;
}

static void flush_to(struct leg *leg, struct buf *out)
{
    if (out->len > 0)
        leg_write(leg, out->p, out->len);
    out->len = 0;
}

/* Writes one packet behind what is in `out`.  An alias whose topic could not be said a moment ago
 * is not known to the broker, or means something else there: the topic goes instead of it. */
static int put(const struct session *s, const struct dialect *d, const struct mqtt_packet *pkt,
               struct buf *out, uint8_t *code, struct err *err)
{
    bool bare =
        pkt->type == MQTT_PUBLISH && pkt->body_bytes > 2 && pkt->body[0] == 0 && pkt->body[1] == 0;
    const struct alias *a = NULL;
    struct mqtt_publish p;
    struct mqtt_packet spelt;
    struct buf full = {0};
    uint32_t need;
    int rc;

    if (bare && mqtt_publish_read(pkt, s->version, MQTT_TO_SERVER, &p, code, err) == 0)
        a = alias_find(&s->aliases, p.topic_alias);
    if (a == NULL || a->told)
        return mqtt_convert(out, pkt, &d->out, code, err);
    rc = alias_spell_out(&full, &p, (struct slice){a->topic, a->topic_bytes});
    if (rc == 0 && mqtt_packet_peek(full.p, full.len, MQTT_LARGEST_PACKET, &spelt, &need) == 1)
        rc = mqtt_convert(out, &spelt, &d->out, code, err);
    buf_fini(&full);
    return rc;
}

void dialect_write(struct session *s, struct leg *leg, const uint8_t *p, size_t n)
{
    const struct dialect *d = leg->dialect;
    struct mqtt_packet pkt;
    struct buf out = {0};
    uint32_t need;

    if (d == NULL) {
        leg_write(leg, p, n);
        return;
    }
    while (n > 0 && mqtt_packet_peek(p, n, MQTT_LARGEST_PACKET, &pkt, &need) == 1) {
        struct err err = {0};
        uint8_t code;
        p += pkt.raw_bytes;
        n -= pkt.raw_bytes;
        int rc = put(s, d, &pkt, &out, &code, &err);
        if (rc == -ERR_NOMEM) {
            leg->st.write_dead = true; /* as when there is no room to write */
            break;
        }
        if (rc != 0) {
            flush_to(leg, &out);
            relay_unspeakable(s, leg, &pkt, code, err.msg);
        }
    }
    flush_to(leg, &out);
    buf_fini(&out);
}

int dialect_formerly(const struct dialect *d, const struct mqtt_packet *pkt, struct buf *out)
{
    struct mqtt_convert then = d->out;
    uint8_t code;

    then.prefix = d->former;
    return mqtt_convert(out, pkt, &then, &code, NULL);
}

static bool begins_with(struct slice topic, struct slice prefix)
{
    return prefix.n > 0 && topic.n > prefix.n && memcmp(topic.p, prefix.p, prefix.n) == 0;
}

/* What was queued while the former leg's subscriptions were there has its prefix. */
static bool is_former(const struct dialect *d, const struct mqtt_packet *pkt)
{
    if (d->former.n == 0 || pkt->type != MQTT_PUBLISH || pkt->body_bytes < 2)
        return false;
    size_t n = (size_t)(pkt->body[0] << 8 | pkt->body[1]);
    struct slice topic = {pkt->body + 2, n};
    return pkt->body_bytes - 2 >= n && begins_with(topic, d->former) &&
           !begins_with(topic, d->in.prefix);
}

int dialect_hear(const struct dialect *d, struct buf *room, const struct mqtt_packet *pkt,
                 struct mqtt_packet *out, uint8_t *denied, struct err *err)
{
    struct mqtt_convert how = d->in;
    size_t at = room->len;
    uint32_t need;
    uint8_t code;

    if (is_former(d, pkt))
        how.prefix = d->former;
    int rc = mqtt_convert(room, pkt, &how, &code, err);

    if (rc != 0)
        return rc;
    *denied = d->in.to != MQTT_V5 ? code : 0;
    return mqtt_packet_peek(room->p + at, room->len - at, MQTT_LARGEST_PACKET, out, &need) == 1
               ? 0
               : err_set(err, ERR_MALFORMED, "a packet that is none");
}
