/* The echo is one exchange after the other, so that each refusal is known for what it is:
 *
 *   SUBSCRIBING -SUBACK-> ROOM -window-> ECHOING -PUBLISH-> PROVEN, then UNSUBSCRIBE
 *
 * Too late does not mean refused: a link may have gone silent.  So at the deadline a PINGREQ asks
 * whether the broker is there (ASKED).  When it answers, and has not given the message back, that
 * is a refusal without a word; when it does not, the leg is lost, as always (upstream_silent).
 */
#include "session/evidence.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "mqtt/fault.h"
#include "mqtt/topic.h"
#include "session/dialect.h"
#include "session/greet.h"
#include "session/relay.h"

#define NONCE_BYTES   16
#define MARK          "certflip-echo "
#define MARK_BYTES    (sizeof MARK - 1)
#define PAYLOAD_BYTES (MARK_BYTES + (size_t)2 * NONCE_BYTES)
/* How often one looks for room in the broker's Receive Maximum. */
#define ROOM_MS 50u
/* How long, until the echo goes without. */
#define ROOM_WAIT_MS 500u
#define NO_ROOM      3 /* no QoS */
/* What may have been dropped under load is asked for so often again. */
#define REPEATS_MAX 2
/* 5.0: do not send retained messages [5.0, 3.8.3.1]. */
#define NO_RETAINED 0x20u
#define TOPIC_SHOWN 96

#define REFUSALS_MAX 16

enum evidence_state {
    EVIDENCE_IDLE,        /* nothing is to be proven */
    EVIDENCE_SUBSCRIBING, /* SUBACK is awaited */
    EVIDENCE_ROOM,        /* PUBLISH waits until the broker takes one more */
    EVIDENCE_ECHOING,     /* PUBLISH went out */
    EVIDENCE_ASKED,       /* the time is over: is the broker there? */
    EVIDENCE_PROVEN,
    EVIDENCE_FAILED, /* main was told */
};

struct evidence {
    enum evidence_state state;
    enum mqtt_type awaits;  /* the acknowledgement of `id` */
    uint16_t id;            /* of our latest request; 0: it is answered */
    bool subscribed;        /* the broker's session may hold our subscription */
    bool granted;           /* SUBACK said so */
    bool unsure;            /* it went at QoS 0, which a broker under load may drop */
    uint8_t repeats;        /* how often it was asked for again, as it may have been dropped */
    bool disturbed;         /* the device has given up the same subscription meanwhile */
    uint64_t due_ms;        /* of the present step; 0: none */
    uint64_t room_until_ms; /* no longer is waited for room */
    uint64_t sent_us;       /* CLOCK_MONOTONIC of PUBLISH */
    uint64_t flip_seq;      /* of the decision that it is for */
    char payload[PAYLOAD_BYTES + 1];
    uint16_t topic_bytes;
    uint8_t topic[];
};

/* What the broker has refused the device: on its old identity, or (seq) told in this trial. */
struct refusals {
    unsigned n;
    struct {
        uint64_t key, seq; /* seq 0: on the old identity */
    } item[REFUSALS_MAX];
};

static bool on_trial(const struct session *s)
{
    return s->dev->evidence != 0 && s->up != NULL && s->accepted && s->have == s->dev->active &&
           cred_equal(s->up->cred, s->dev->cred[s->have]);
}

static struct slice topic_of(const struct evidence *e)
{
    return (struct slice){e->topic, e->topic_bytes};
}

/* ---- telling main ---- */

static void tell_refused(struct session *s, const struct diag *d, uint64_t key)
{
    s->env->stats.evidence_refused += s->dev->evidence != 0;
    if (s->dev->evidence != 0)
        log_event(LOG_SESSION, LOG_WARN_, "evidence-refused",
                  "device=%s slot=%s class=%s cause=%s msg=%s todo=%s", s->dev->name,
                  flip_slot_name(s->have), diag_class_name(d->class), d->name, LOG_Q(d->sentence),
                  LOG_Q(d->remedy));
    upstream_answers(s); /* who says so much answers */
    s->env->news->leg(s->env->news_arg, s,
                      &(struct session_leg_news){.what = LEG_NEWS_REFUSED,
                                                 .slot = s->have,
                                                 .cred = s->up->cred,
                                                 .tls = tls_conn_version(s->up->tls),
                                                 .diag = d,
                                                 .refusal = key});
}

/* The topic, or filter, as far as it can be shown in a line. */
static const char *shown(struct slice topic, char out[TOPIC_SHOWN + 8])
{
    size_t n = topic.n < TOPIC_SHOWN ? topic.n : TOPIC_SHOWN;

    memcpy(out, topic.p, n);
    for (size_t i = 0; i < n; i++)
        if (out[i] == '\0' || out[i] == '"')
            out[i] = '?';
    snprintf(out + n, 8, "%s", n < topic.n ? "..." : "");
    str_tidy(out);
    return out;
}

/* `name`: a row of CATALOGUE_EVIDENCE. */
static void fail(struct session *s, const char *name, const char *what)
{
    struct evidence *e = s->evidence;
    struct diag d = diag_of(catalogue_by_word(CATALOGUE_EVIDENCE, name), NULL);
    char topic[TOPIC_SHOWN + 8];

    e->state = EVIDENCE_FAILED;
    e->due_ms = 0;
    if (!on_trial(s))
        return;
    snprintf(d.sentence, sizeof d.sentence, "%s \"%s\"", what, shown(topic_of(e), topic));
    tell_refused(s, &d, 0);
}

/* ---- requests of ours ---- */

static struct inflight_item *own_item(const struct session *s, uint16_t id)
{
    struct inflight_item *item = inflight_find_up(&s->to_broker, id, 1u << INFLIGHT_SUBSCRIBE);

    return item != NULL && item->ours && item->raw_bytes == 0 ? item : NULL;
}

static void release_id(struct session *s)
{
    struct evidence *e = s->evidence;
    struct inflight_item *item = e->id != 0 ? own_item(s, e->id) : NULL;

    if (item != NULL)
        inflight_del(&s->to_broker, item);
    e->id = 0;
}

/* An identifier that nobody uses on this leg, kept from others.  Returns 0 when there is none. */
static uint16_t reserve_id(struct session *s, enum mqtt_type awaits)
{
    struct evidence *e = s->evidence;

    release_id(s);
    uint16_t id = inflight_free_id(&s->to_broker, UINT16_MAX);
    struct inflight_item *item =
        id == 0 ? NULL : inflight_add(&s->to_broker, id, INFLIGHT_SUBSCRIBE, 0, NULL, 0);
    if (item == NULL)
        return 0;
    item->ours = true;
    inflight_name(&s->to_broker, item, 0, id);
    e->id = id;
    e->awaits = awaits;
    return id;
}

static void say(struct session *s, struct buf *out)
{
    dialect_write(s, s->up, out->p, out->len);
    leg_flush(s->up);
    s->last_tx_up_ms = env_now_ms(s->env);
}

static void request(struct session *s, enum mqtt_type type)
{
    uint8_t options = s->version == MQTT_V5 ? 1u | NO_RETAINED : 1u;
    struct mqtt_filter f = {topic_of(s->evidence), options};
    struct buf out = {0};
    uint16_t id = reserve_id(s, type == MQTT_SUBSCRIBE ? MQTT_SUBACK : MQTT_UNSUBACK);

    if (id != 0 &&
        mqtt_subscribe_write(&out, s->version, type, id, (struct mqtt_props){NULL, 0}, &f, 1) == 0)
        say(s, &out);
    buf_fini(&out);
}

/* ---- the device's own subscriptions ---- */

static bool filter_is(struct slice filter, struct slice topic, bool exactly)
{
    return exactly ? slice_eq(filter, topic) : mqtt_filter_matches(filter, topic);
}

/* Has the device, or will it have when its requests are answered, a subscription to `topic`? */
static bool device_has(const struct session *s, struct slice topic, bool exactly)
{
    for (const struct sub *sub = s->subs.first; sub != NULL; sub = sub->next)
        if (filter_is((struct slice){sub->filter, sub->filter_bytes}, topic, exactly))
            return true;
    list_for_each (it, &s->to_broker.items) {
        const struct inflight_item *item = list_entry(it, struct inflight_item, link);
        struct mqtt_packet pkt;
        struct mqtt_subscribe sub;
        struct mqtt_filter f;
        uint32_t need, at = 0;
        uint8_t reason;
        if (item->state != INFLIGHT_SUBSCRIBE || item->raw_bytes == 0 ||
            mqtt_packet_peek(item->raw, item->raw_bytes, MQTT_LARGEST_PACKET, &pkt, &need) != 1 ||
            mqtt_subscribe_read(&pkt, s->version, &sub, &reason, NULL) != 0)
            continue;
        while (mqtt_subscribe_next(&sub, MQTT_SUBSCRIBE, &at, &f))
            if (filter_is(f.filter, topic, exactly))
                return true;
    }
    return false;
}

void evidence_asked(struct session *s, const struct mqtt_subscribe *sub, enum mqtt_type type)
{
    struct mqtt_filter f;
    uint32_t at = 0;

    if (type != MQTT_UNSUBSCRIBE)
        return;
    while (mqtt_subscribe_next(sub, type, &at, &f))
        if (slice_eq(f.filter, topic_of(s->evidence)))
            s->evidence->disturbed = true;
}

/* ---- the echo ---- */

static void new_payload(struct evidence *e)
{
    uint8_t nonce[NONCE_BYTES];

    if (getrandom(nonce, sizeof nonce, GRND_NONBLOCK) != (ssize_t)sizeof nonce)
        for (size_t i = 0; i < sizeof nonce; i++)
            nonce[i] = (uint8_t)rand_u64();
    memcpy(e->payload, MARK, MARK_BYTES);
    str_hex(e->payload + MARK_BYTES, nonce, sizeof nonce);
}

/* The device was told all of the broker's Receive Maximum: of a small one nothing is taken that it
 * may want.  Where it uses that up for long, the echo goes at QoS 0, which needs none of it. */
static uint8_t qos_now(const struct session *s, uint64_t now)
{
    if (s->limits.qos_most == 0)
        return 0;
    if (s->to_broker.count * 2 < s->limits.receive_most)
        return 1;
    return now >= s->evidence->room_until_ms ? 0 : NO_ROOM;
}

static void publish(struct session *s)
{
    struct evidence *e = s->evidence;
    uint64_t now = env_now_ms(s->env);
    uint8_t qos = qos_now(s, now);
    struct mqtt_publish p = {.qos = qos, .topic = topic_of(e)};
    struct buf out = {0};

    if (s->holding || qos == NO_ROOM) { /* held: the leg is about to be replaced */
        e->state = EVIDENCE_ROOM;
        e->due_ms = now + ROOM_MS;
        return;
    }
    p.payload = (struct slice){(const uint8_t *)e->payload, PAYLOAD_BYTES};
    if (qos > 0)
        p.packet_id = reserve_id(s, MQTT_PUBACK);
    e->unsure = qos == 0;
    e->state = EVIDENCE_ECHOING;
    e->due_ms = now + upstream_profile(s, s->have, NULL)->echo_timeout_ms;
    e->sent_us = (uint64_t)clock_mono_us();
    if ((qos == 0 || p.packet_id != 0) && mqtt_publish_write(&out, s->version, &p) == 0)
        say(s, &out);
    buf_fini(&out);
}

static void begin(struct session *s)
{
    struct evidence *e = s->evidence;
    uint64_t now = env_now_ms(s->env);

    e->flip_seq = s->dev->flip_seq;
    e->disturbed = e->granted = false;
    e->due_ms = now + upstream_profile(s, s->have, NULL)->echo_timeout_ms;
    e->room_until_ms = now + ROOM_WAIT_MS;
    new_payload(e);
    if (device_has(s, topic_of(e), true)) {
        publish(s); /* its subscription is left alone */
        return;
    }
    e->state = EVIDENCE_SUBSCRIBING;
    e->subscribed = true;
    request(s, MQTT_SUBSCRIBE);
}

/* What is ours at the broker goes, unless the device wants the same by now. */
static void clear_up(struct session *s)
{
    struct evidence *e = s->evidence;

    e->due_ms = 0;
    if (!e->subscribed)
        return;
    e->subscribed = false;
    if (!device_has(s, topic_of(e), true))
        request(s, MQTT_UNSUBSCRIBE);
}

static void proven(struct session *s)
{
    struct evidence *e = s->evidence;
    uint64_t us = (uint64_t)clock_mono_us() - e->sent_us;
    bool counts = on_trial(s) && e->flip_seq == s->dev->flip_seq;

    e->state = EVIDENCE_PROVEN;
    clear_up(s);
    if (!counts)
        return;
    s->env->stats.echoes++;
    log_event(LOG_SESSION, LOG_INFO_, "evidence", "device=%s slot=%s proof=echo us=%llu",
              s->dev->name, flip_slot_name(s->have), (unsigned long long)us);
    upstream_answers(s); /* who says so much answers */
    s->env->news->leg(
        s->env->news_arg, s,
        &(struct session_leg_news){.what = LEG_NEWS_PROVEN,
                                   .slot = s->have,
                                   .cred = s->up->cred,
                                   .tls = tls_conn_version(s->up->tls),
                                   .echo_us = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us});
}

/* The topic, filled in.  Returns owned, with s->evidence set, or false. */
static bool prepare(struct session *s)
{
    struct mqtt_connect c;
    struct match_facts facts;
    struct buf topic = {0};
    int rc = greet_facts(s, &c, &facts);

    if (rc == 0)
        rc = match_template(upstream_profile(s, s->have, NULL)->echo_topic, &facts, s->dev->name,
                            s->snap->conf->gateway, &topic);
    struct slice filled = {topic.p, topic.len};
    bool fit = rc == 0 && topic.len <= UINT16_MAX && mqtt_topic_valid(filled) && *topic.p != '$';
    if (s->evidence == NULL || !slice_eq(topic_of(s->evidence), filled)) {
        if (s->evidence != NULL) { /* of another topic, after a reload */
            release_id(s);
            clear_up(s);
        }
        evidence_free(s);
        s->evidence = calloc(1, sizeof *s->evidence + topic.len);
        if (s->evidence != NULL && topic.len <= UINT16_MAX) {
            if (topic.len > 0)
                memcpy(s->evidence->topic, topic.p, topic.len);
            s->evidence->topic_bytes = (uint16_t)topic.len;
        }
    }
    buf_fini(&topic);
    if (s->evidence != NULL && !fit)
        fail(s, "bad-topic", "echo_topic of the profile becomes no topic that one can publish to:");
    return s->evidence != NULL && fit;
}

void evidence_leg(struct session *s)
{
    struct evidence *e = s->evidence;
    bool wanted = on_trial(s) && (s->dev->evidence & FLIP_PROOF_ECHO) != 0;

    if (s->state != SESSION_RELAYING || s->up == NULL || !s->accepted ||
        s->left) /* DISCONNECT was the last word on that leg [MQTT-3.14.4-2] */
        return;
    if (!wanted) {
        if (e != NULL) {
            release_id(s);
            e->state = EVIDENCE_IDLE;
            clear_up(s);
        }
        return;
    }
    if (e != NULL && e->flip_seq == s->dev->flip_seq && e->state != EVIDENCE_IDLE)
        return; /* under way, or over */
    if (!prepare(s))
        return;
    s->evidence->repeats = 0;
    begin(s);
}

void evidence_leg_gone(struct session *s)
{
    struct evidence *e = s->evidence;

    if (e == NULL)
        return;
    release_id(s);
    e->due_ms = 0;
    e->state = EVIDENCE_IDLE; /* what was proven of that leg says nothing of the next */
}

void evidence_leave(struct session *s)
{
    if (s->evidence != NULL && s->evidence->subscribed && s->up != NULL && s->accepted)
        clear_up(s);
}

void evidence_free(struct session *s)
{
    free(s->evidence);
    s->evidence = NULL;
}

uint64_t evidence_due(const struct session *s)
{
    return s->evidence == NULL ? 0 : s->evidence->due_ms;
}

void evidence_late(struct session *s)
{
    struct evidence *e = s->evidence;
    uint64_t now = env_now_ms(s->env);

    e->due_ms = 0;
    if (e->state == EVIDENCE_ROOM) {
        publish(s);
        return;
    }
    if (e->state != EVIDENCE_SUBSCRIBING && e->state != EVIDENCE_ECHOING)
        return;
    uint16_t before = s->pings;
    if (!s->holding)
        (void)relay_ping(s);
    if (s->pings == before) { /* no ping can be sent now */
        e->due_ms = now + 1000;
        return;
    }
    e->state = EVIDENCE_ASKED;
}

void evidence_ponged(struct session *s)
{
    struct evidence *e = s->evidence;

    if (e->state != EVIDENCE_ASKED || s->pings_ours != 0)
        return;
    if (e->disturbed || (e->unsure && e->repeats < REPEATS_MAX)) {
        e->repeats += !e->disturbed;
        begin(s);
        return;
    }
    fail(s, "no-echo",
         e->subscribed && !e->granted
             ? "the broker is there, and does not answer a subscription to"
             : "the broker took a message and did not give it back to the same device, on");
    clear_up(s);
}

/* ---- packets of the broker ---- */

static void take_suback(struct session *s, const struct mqtt_packet *pkt)
{
    struct mqtt_suback ack;
    uint8_t reason;

    if (mqtt_suback_read(pkt, s->version, &ack, &reason, NULL) != 0 || ack.codes.n != 1)
        return; /* the deadline says what is to be said */
    if (s->evidence->state != EVIDENCE_SUBSCRIBING && s->evidence->state != EVIDENCE_ASKED)
        return;
    if (ack.codes.p[0] >= 0x80) {
        s->evidence->subscribed = false;
        fail(s, "echo-not-subscribed", "the broker refused a subscription to");
        return;
    }
    s->evidence->granted = true;
    publish(s);
}

static void take_puback(struct session *s, const struct mqtt_packet *pkt, uint8_t denied)
{
    struct mqtt_ack a;
    uint8_t reason;

    if (mqtt_ack_read(pkt, s->version, &a, &reason, NULL) != 0)
        return;
    if ((a.reason < 0x80 && denied < 0x80) ||
        (s->evidence->state != EVIDENCE_ECHOING && s->evidence->state != EVIDENCE_ASKED))
        return;
    fail(s, "echo-not-published", "the broker refused a message to");
    clear_up(s);
}

static bool is_mark(struct slice payload)
{
    return payload.n == PAYLOAD_BYTES && memcmp(payload.p, MARK, MARK_BYTES) == 0;
}

bool evidence_hears(const struct session *s, const struct mqtt_publish *p, struct slice topic)
{
    return slice_eq(topic, topic_of(s->evidence)) &&
           (is_mark(p->payload) || !device_has(s, topic, false));
}

void evidence_heard(struct session *s, const struct leg *leg, const struct mqtt_publish *p)
{
    const struct evidence *e = s->evidence;

    if ((e->state == EVIDENCE_ECHOING || e->state == EVIDENCE_ASKED) && leg == s->up &&
        p->payload.n == PAYLOAD_BYTES && memcmp(p->payload.p, e->payload, PAYLOAD_BYTES) == 0)
        proven(s);
}

bool evidence_takes(struct session *s, struct leg *leg, const struct mqtt_packet *pkt,
                    uint8_t denied)
{
    struct evidence *e = s->evidence;
    uint16_t id = mqtt_packet_id(pkt);

    if (id == 0 || id != e->id || pkt->type != e->awaits || leg != s->up)
        return false;
    release_id(s);
    if (pkt->type == MQTT_SUBACK)
        take_suback(s, pkt);
    else if (pkt->type == MQTT_PUBACK)
        take_puback(s, pkt, denied);
    return true;
}

/* ---- the watch ---- */

/* FNV-1a, of what was asked for and its topic; never 0. */
static uint64_t key_of(enum mqtt_type type, struct slice topic)
{
    uint64_t h = (UINT64_C(0xcbf29ce484222325) ^ (uint64_t)type) * UINT64_C(0x100000001b3);

    for (size_t i = 0; i < topic.n; i++)
        h = (h ^ topic.p[i]) * UINT64_C(0x100000001b3);
    return h == 0 ? 1 : h;
}

/* Returns false when it need not be told (again). */
static bool note_refusal(struct session *s, uint64_t key, bool trial)
{
    struct refusals *r = s->refusals;

    if (r == NULL && (r = s->refusals = calloc(1, sizeof *r)) == NULL)
        return trial;
    unsigned at = r->n;
    for (unsigned i = 0; i < r->n; i++) {
        if (r->item[i].seq != 0 && r->item[i].seq != s->dev->flip_seq)
            at = i; /* of a trial that is over */
        else if (r->item[i].key == key)
            return false;
    }
    if (at == REFUSALS_MAX)
        return trial; /* so many are remembered */
    r->n += at == r->n;
    r->item[at].key = key;
    r->item[at].seq = trial ? s->dev->flip_seq : 0;
    return true;
}

/* Codes that say nothing of what the identity may do: identifiers that are in use, or unknown. */
static bool is_bookkeeping(uint8_t code)
{
    return code == 0x91 || code == 0x92;
}

/* Returns true when it was told, and the identity is on trial. */
static bool refusal(struct session *s, enum mqtt_type asked, struct slice topic, uint8_t code)
{
    bool trial = on_trial(s);
    char text[TOPIC_SHOWN + 8];
    const char *name = asked == MQTT_SUBSCRIBE     ? "suback-refused"
                       : asked == MQTT_UNSUBSCRIBE ? "unsuback-refused"
                       : code == 0x87              ? "publish-not-authorized"
                                                   : "publish-refused";
    struct diag d = diag_of(catalogue_by_word(CATALOGUE_EVIDENCE, name), NULL);

    if (is_bookkeeping(code) || (!trial && s->have == FLIP_NEW) ||
        !note_refusal(s, key_of(asked, topic), trial))
        return false;
    if (code != 0x80 && code != 0x83 && code != 0x87)
        d.class = DIAG_POLICY; /* a limit, or a form that this broker does not take */
    snprintf(d.sentence, sizeof d.sentence, "the broker refused %s \"%s\" to the device%s%s",
             asked == MQTT_SUBSCRIBE     ? "a subscription to"
             : asked == MQTT_UNSUBSCRIBE ? "to end the subscription to"
                                         : "a message to",
             shown(topic, text), s->version == MQTT_V5 || code != 0x80 ? ": " : "",
             s->version == MQTT_V5 || code != 0x80 ? mqtt_reason_name(code) : "");
    tell_refused(s, &d, key_of(asked, topic));
    return trial;
}

bool evidence_unsendable(struct session *s, struct slice topic, uint8_t code)
{
    return s->up != NULL && s->accepted && refusal(s, MQTT_PUBLISH, topic, code);
}

static void refused_filters(struct session *s, const struct mqtt_packet *pkt)
{
    struct mqtt_packet asked;
    struct mqtt_subscribe sub;
    struct mqtt_filter f;
    struct mqtt_suback ack;
    uint32_t need, at = 0;
    uint8_t reason;

    if (mqtt_suback_read(pkt, s->version, &ack, &reason, NULL) != 0)
        return;
    struct inflight_item *item = inflight_find_up(
        &s->to_broker, ack.packet_id, 1u << INFLIGHT_SUBSCRIBE | 1u << INFLIGHT_UNSUBSCRIBE);
    if (item == NULL ||
        mqtt_packet_peek(item->raw, item->raw_bytes, MQTT_LARGEST_PACKET, &asked, &need) != 1 ||
        mqtt_subscribe_read(&asked, s->version, &sub, &reason, NULL) != 0)
        return;
    for (size_t i = 0; i < ack.codes.n && mqtt_subscribe_next(&sub, asked.type, &at, &f); i++)
        if (ack.codes.p[i] >= 0x80)
            (void)refusal(s, asked.type, f.filter, ack.codes.p[i]);
}

static void refused_message(struct session *s, const struct mqtt_packet *pkt, uint8_t code)
{
    struct mqtt_packet sent;
    struct mqtt_publish p;
    uint32_t need;
    uint8_t reason;
    struct inflight_item *item =
        inflight_find_up(&s->to_broker, mqtt_packet_id(pkt), INFLIGHT_ANY_PUBLISH);

    if (item != NULL &&
        mqtt_packet_peek(item->raw, item->raw_bytes, MQTT_LARGEST_PACKET, &sent, &need) == 1 &&
        mqtt_publish_read(&sent, s->version, MQTT_TO_SERVER, &p, &reason, NULL) == 0)
        (void)refusal(s, MQTT_PUBLISH, p.topic, code);
}

void evidence_watch(struct session *s, struct leg *leg, const struct mqtt_packet *pkt,
                    uint8_t denied)
{
    if (leg != s->up || !s->accepted)
        return;
    if (pkt->type == MQTT_SUBACK || pkt->type == MQTT_UNSUBACK) {
        refused_filters(s, pkt);
        return;
    }
    if (pkt->type != MQTT_PUBACK && pkt->type != MQTT_PUBREC)
        return;
    if (denied < 0x80 && s->version == MQTT_V5 && pkt->body_bytes > 2)
        denied = pkt->body[2];
    if (denied >= 0x80)
        refused_message(s, pkt, denied);
}
