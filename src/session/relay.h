/* session/relay.h - what both directions of the relay share; for from_device.c, from_broker.c and
 * restore.c. */
#ifndef SESSION_RELAY_H
#define SESSION_RELAY_H

#include "session/session.h"

/* Adjacent packets on their way to one leg. */
struct run {
    struct session *s;
    struct leg *to;
    const uint8_t *p;
    size_t n;
    bool sent; /* something was written */
};

void run_send(struct run *run);
/* The packet goes on as it is, together with those that lie beside it. */
void run_pass(struct run *run, struct leg *to, const struct mqtt_packet *pkt);

/* The packet goes on under another packet identifier, behind what is in the run. */
void run_pass_as(struct session *s, struct run *run, struct leg *to, const struct mqtt_packet *pkt,
                 uint16_t id);

/* What becomes of a packet. */
enum verdict {
    PASS, /* it goes on as it is */
    TAKE, /* it was dealt with */
    HOLD, /* keep it until there is a leg */
    OVER, /* the session ended */
};

/* A packet that was to go to `leg`, and cannot be said there: the device gets the answer of a
 * broker that refuses it.  `code` is the 5.0 reason code, `why` the sentence for the log. */
void relay_unspeakable(struct session *s, struct leg *leg, const struct mqtt_packet *pkt,
                       uint8_t code, const char *why);
/* PUBACK, PUBREC, PUBREL or PUBCOMP without more. */
void relay_ack(struct session *s, struct leg *leg, enum mqtt_type type, uint16_t packet_id);
/* The same to the device. */
void relay_answer(struct session *s, enum mqtt_type type, uint16_t packet_id);
void relay_answer_ping(struct session *s);           /* PINGRESP to the device */
void relay_ping_asked(struct session *s, bool ours); /* a PINGREQ went to the broker */

/* restore.c: exchanges that a broker may have forgotten */
/* It does not know of this one, which it has begun, any more: the device's part is ended without
 * it.  The item may be over afterwards. */
void relay_forgotten(struct session *s, struct inflight_item *item);
/* s->unsure ends: what had to be repeated came before the answer to our PINGREQ, and the broker
 * does not know of the rest. */
void relay_sure(struct session *s);

/* pace.c: a broker that allows less than the device was told */
/* Has the broker as many unacknowledged PUBLISHes as it allows? */
bool pace_full(const struct session *s);
/* Must a PUBLISH of the device wait for others, or for acknowledgements? */
bool pace_must_queue(const struct session *s, uint8_t qos);
/* Write a PUBLISH to the broker, with what the broker allows of it.  item: its exchange, NULL for
 * QoS 0; it may be over afterwards. */
void pace_send(struct session *s, const struct mqtt_packet *pkt, struct inflight_item *item);
void pace_send_item(struct session *s, struct inflight_item *item);
void pace_unsent(struct session *s);        /* repetitions that wait, as many as are allowed */
void pace_more(struct session *s);          /* acknowledgements came: send what waits */
uint64_t pace_due(const struct session *s); /* main's verdict (verdict_ms); 0: never */
void pace_late(struct session *s);          /* it did not come */
/* The broker has a PUBLISH that it got with less QoS than the device's: that one's acknowledgement.
 */
void pace_received(struct session *s, struct inflight_item *item);
void pace_ponged(struct session *s);     /* our PINGREQs are answered, all of them */
void pace_tell(const struct session *s); /* log it, once for each leg */

/* What mqtt_in_next's error means, as a sentence, and as the 5.0 reason code. */
const char *relay_framing_fault(int rc, uint8_t *reason);

#endif
