/* session/evidence.h - what the upstream leg of an identity on trial has to show, beyond its
 * CONNACK.
 *
 * The echo: SUBSCRIBE to a topic that the device may write and read (upstreams.echo_topic), PUBLISH
 * there, the same PUBLISH comes back, UNSUBSCRIBE.  It goes on within the device's own session at
 * the broker, with packet identifiers that the device does not use, and nothing of it reaches the
 * device.  A leg that is lost in the middle takes it with it; the next one begins anew.
 *
 * The watch: an answer of the broker that refuses what the device asked for.  On the leg of an
 * identity on trial it is told to main, which rolls back; on the old leg it is remembered, and
 * told, since what the old identity may not do either is no news of the new one.
 *
 * Main is told by session_news.leg: LEG_NEWS_PROVEN, LEG_NEWS_REFUSED.  A session whose device is
 * not on trial pays one comparison for each acknowledgement, and no memory.  Worker's thread.
 */
#ifndef SESSION_EVIDENCE_H
#define SESSION_EVIDENCE_H

#include "session/session.h"

/* A leg was adopted, with all that was under way told to it; or main has decided anew.  Begins what
 * has to be proven, or clears up what is left of it. */
void evidence_leg(struct session *s);
/* The leg in use is gone, or about to be replaced. */
void evidence_leg_gone(struct session *s);
/* The device is about to leave its broker: what is ours there goes with it. */
void evidence_leave(struct session *s);
void evidence_free(struct session *s);

uint64_t evidence_due(const struct session *s); /* of the present step, env_now_ms; 0: never */
void evidence_late(struct session *s);          /* it has passed */
void evidence_ponged(struct session *s);        /* PINGRESP to a PINGREQ of ours came */

/* Is this acknowledgement of the broker for a request of ours?  Then it was dealt with.  `denied`:
 * see evidence_watch.  This and the next three are for sessions that have s->evidence. */
bool evidence_takes(struct session *s, struct leg *leg, const struct mqtt_packet *pkt,
                    uint8_t denied);
/* Must the device not see this PUBLISH on `topic`?  It is one of ours, perhaps of an earlier leg,
 * or somebody else's that our subscription alone has brought. */
bool evidence_hears(const struct session *s, const struct mqtt_publish *p, struct slice topic);
/* It was one that the device must not see, and is acknowledged. */
void evidence_heard(struct session *s, const struct leg *leg, const struct mqtt_publish *p);
/* The device asks for, or gives up, subscriptions. */
void evidence_asked(struct session *s, const struct mqtt_subscribe *sub, enum mqtt_type type);

/* A PUBLISH on this topic cannot be sent on the leg in use, for this reason code.  Returns true
 * when that is held against an identity on trial: main was told, and goes back to the old one. */
bool evidence_unsendable(struct session *s, struct slice topic, uint8_t code);

/* Look at an acknowledgement of the broker before it is passed on.  `denied`: a reason code from
 * 0x80 up that the packet has lost on its way into the device's dialect; 0: none. */
void evidence_watch(struct session *s, struct leg *leg, const struct mqtt_packet *pkt,
                    uint8_t denied);

#endif
