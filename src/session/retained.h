/* session/retained.h - what the device has had last on its topics, so that retained messages that
 * it has do not come again because of subscriptions that the proxy restored.
 *
 * A broker sends what is retained whenever somebody subscribes [MQTT-3.3.1-6], and the device did
 * not.  A message that it has had last on that topic is kept from it; one that has changed while
 * the session was lost is news, and goes on.  So digests of topics and contents are kept, from the
 * first retained message on: a session that never saw one pays nothing.  Bounded: what does not fit
 * any more may come again, and is never lost.  Message expiry, subscription identifiers and topic
 * aliases, which differ from one delivery to the next, are no content.  One thread.
 */
#ifndef SESSION_RETAINED_H
#define SESSION_RETAINED_H

#include <stdbool.h>
#include <stdint.h>

#include "mqtt/publish.h"

/* Topics that a session remembers at most; a power of two. */
#define RETAINED_TOPICS_MAX 1024u

struct retained_entry {
    uint64_t topic, content; /* digests; topic 0: vacant */
    bool retain;             /* came with RETAIN: gives way only to others of the kind */
    uint8_t copies;          /* with RETAIN since the subscriptions were restored */
};

struct retained {
    struct retained_entry *table; /* owned; NULL until the first retained message */
    uint32_t cap;                 /* 0, or a power of two */
};

void retained_fini(struct retained *r);

/* The last content on the topic is that of p from now on.  Out of memory: nothing is remembered. */
void retained_note(struct retained *r, struct slice topic, const struct mqtt_publish *p);
/* Is that what the device has had last on the topic? */
bool retained_had(const struct retained *r, struct slice topic, const struct mqtt_publish *p);
/* Count one more copy of the topic's retained message; returns how many there were before, 0 for a
 * topic that is not remembered. */
unsigned retained_copies(struct retained *r, struct slice topic);
/* Subscriptions are being restored: no copy has come yet. */
void retained_restart(struct retained *r);
/* Something was delivered, nobody knows on which topic: all that is remembered may be wrong. */
void retained_forget(struct retained *r);

#endif
