/* session/dialect.h - an upstream leg that speaks otherwise than its device: another version of
 * MQTT (upstreams.protocol), or topics with a prefix that the device does not know
 * (upstreams.topic_prefix).
 *
 * Everything that a session keeps is in the device's words: the packets on their way, those in
 * flight, the subscriptions.  So a re-home can go from any leg to any other.  Packets are converted
 * where they are written to such a leg, and where they are framed out of what came from it; on all
 * other legs they pass as they are.  Worker's thread.
 */
#ifndef SESSION_DIALECT_H
#define SESSION_DIALECT_H

#include "mqtt/convert.h"
#include "session/session.h"

struct dialect {
    struct mqtt_convert out, in; /* to the broker; from it */
    /* The leg before this one had another prefix (or none): the subscriptions have it, and so has
     * what is queued for them. */
    bool renamed;
    struct slice former; /* that prefix */
    uint8_t bytes[];     /* what the slices borrow */
};

/* The version of MQTT that is spoken to this profile. */
uint8_t dialect_version(const struct session *s, const struct conf_upstream *u);

/* What a leg to profile `u` speaks: *out, owned, or NULL where that is what the device speaks.
 * Returns 0, -ERR_NOMEM, or -ERR_INVALID when the profile's topic prefix, filled in, is none (err
 * says why and what to do). */
int dialect_new(const struct session *s, const struct conf_upstream *u, struct dialect **out,
                struct err *err);

/* Write whole packets, in the device's words, to any leg.  What cannot be said on it is answered to
 * the device as a broker would that refuses it. */
void dialect_write(struct session *s, struct leg *leg, const uint8_t *p, size_t n);

/* Append the SUBSCRIBE or UNSUBSCRIBE of the device as the former leg would have said it.  Returns
 * as mqtt_convert. */
int dialect_formerly(const struct dialect *d, const struct mqtt_packet *pkt, struct buf *out);

/* What the broker said, in the device's words.  The bytes go into `room`, which must have
 * pkt->raw_bytes to spare.  *denied: the reason code, from 0x80 up, that the device's version has
 * no place for; 0: none.  Returns 0, or an error of mqtt_convert. */
int dialect_hear(const struct dialect *d, struct buf *room, const struct mqtt_packet *pkt,
                 struct mqtt_packet *out, uint8_t *denied, struct err *err);

#endif
