/* session/subs.h - what a device has subscribed to, as granted; for a broker that has forgotten it.
 * One thread. */
#ifndef SESSION_SUBS_H
#define SESSION_SUBS_H

#include <stdint.h>

#include "base/str.h"
#include "mqtt/subscribe.h"

struct sub {
    struct sub *next;
    uint32_t subscription_id; /* 5.0; 0: none */
    uint16_t filter_bytes;
    uint8_t options; /* the byte of SUBSCRIBE */
    bool restored;   /* the present broker was asked by us, and not by the device since */
    uint8_t filter[];
};

struct subs {
    struct sub *first; /* owned */
    uint32_t count;
};

void subs_fini(struct subs *s);
/* Put or replace [MQTT-3.8.4-3].  Returns 0 or -ERR_NOMEM. */
int subs_put(struct subs *s, struct slice filter, uint8_t options, uint32_t subscription_id);
void subs_del(struct subs *s, struct slice filter);
bool subs_has(struct subs *s, struct slice filter);

/* Apply a SUBSCRIBE or UNSUBSCRIBE (its raw bytes) with the codes of its acknowledgement: those
 * from 0x80 up were refused; no codes (UNSUBACK of 3.x) means all granted.  Returns 0 or -ERR_NOMEM
 * / -ERR_MALFORMED. */
int subs_apply(struct subs *s, int version, const uint8_t *raw, uint32_t raw_bytes,
               struct slice codes);

#endif
