/* session/inflight.h - exchanges under way in one direction of a session: what a re-home has to
 * finish or repeat.
 *
 * Kept in the order in which they began (MQTT 3.1.1 and 5.0, 4.6).  Acknowledgements mostly come in
 * that order, so a search from the front is short.  One thread.
 */
#ifndef SESSION_INFLIGHT_H
#define SESSION_INFLIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

enum inflight_state {
    INFLIGHT_PUBLISH,     /* PUBLISH went on; PUBACK or PUBREC is awaited */
    INFLIGHT_RECEIVED,    /* QoS 2: PUBREC went back; PUBREL is awaited */
    INFLIGHT_RELEASED,    /* QoS 2: PUBREL went on; PUBCOMP is awaited */
    INFLIGHT_SUBSCRIBE,   /* SUBACK is awaited */
    INFLIGHT_UNSUBSCRIBE, /* UNSUBACK is awaited */
};

struct inflight_item {
    struct list link;
    uint16_t packet_id;
    uint8_t state; /* enum inflight_state */
    uint8_t qos;   /* of a PUBLISH */
    bool ours;     /* begun by the proxy: its end is not passed on */
    bool redo;     /* to a leg that does not know it: finish it without the device */
    bool again;    /* from the broker: it will send this PUBLISH once more on the present leg */
    bool answered; /* with `again`: the device's PUBREC has gone out on the present leg */
    bool acked;    /* with `again`: the device has acknowledged; kept to recognise the repetition */
    uint32_t raw_bytes;
    uint8_t raw[]; /* the packet as it went on; nothing for what is never repeated */
};

struct inflight {
    struct list items; /* struct inflight_item.link, in the order of beginning */
    uint32_t count;
    uint32_t bytes;
};

void inflight_init(struct inflight *f);
void inflight_fini(struct inflight *f);

/* Returns the item (owned by f), or NULL when out of memory.  raw may be NULL. */
struct inflight_item *inflight_add(struct inflight *f, uint16_t packet_id,
                                   enum inflight_state state, uint8_t qos, const uint8_t *raw,
                                   uint32_t raw_bytes);
/* The item with this id whose state has its bit in `states` (1u << INFLIGHT_...), or NULL. */
struct inflight_item *inflight_find(const struct inflight *f, uint16_t packet_id, unsigned states);
void inflight_del(struct inflight *f, struct inflight_item *item);
/* The largest id up to `most` that nothing in f uses; 0: none is free.  Clients rarely count to the
 * upper end.  Who needs several starts each search below the former one. */
uint16_t inflight_free_id(const struct inflight *f, uint16_t most);

#define INFLIGHT_ANY_PUBLISH \
    (1u << INFLIGHT_PUBLISH | 1u << INFLIGHT_RECEIVED | 1u << INFLIGHT_RELEASED)

#endif
