/* session/inflight.h - exchanges under way in one direction of a session: what a re-home has to
 * finish or repeat.
 *
 * An exchange has a packet identifier on each side of the proxy.  They are the same until a broker
 * that has forgotten the session uses one that the device still uses for something else, or until
 * the device uses one that the proxy has taken for a request of its own.
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
    uint16_t packet_id; /* as the device knows it; 0: the device does not know of it */
    uint16_t up_id;     /* as the broker knows it; 0: the broker has forgotten it */
    uint8_t state;      /* enum inflight_state */
    uint8_t qos;        /* of a PUBLISH */
    uint8_t sent_qos;   /* with which it went to the present leg: its broker may allow less */
    /* begun by the device */
    bool ours : 1;     /* asked by the proxy: the answer is not passed on */
    bool redo : 1;     /* to a broker that does not know it; the device has had its PUBREC */
    bool released : 1; /* with `redo`: the device's PUBREL is here, and goes out after PUBREC */
    bool unsent : 1;   /* waits for its turn on the present leg */
    bool pinged : 1;   /* sent with QoS 0, and a PINGREQ behind it */
    bool local : 1;    /* the broker is through with it; the device's PUBREL is answered here */
    /* begun by the broker */
    bool answered : 1; /* with `again`: the device's answer has gone out on the present leg */
    bool acked : 1;    /* with `again`: the device is through; kept to recognise the repetition */
    /* either */
    bool again : 1; /* the broker repeats this PUBLISH, or was told PUBREL again, on the present leg
                     */
    uint32_t raw_bytes;
    uint8_t raw[]; /* the packet as it went on; nothing for what is never repeated */
};

struct inflight {
    struct list items; /* struct inflight_item.link, in the order of beginning */
    uint32_t count;
    uint32_t bytes;
    uint32_t odd; /* those whose ids differ on the two sides */
};

void inflight_init(struct inflight *f);
void inflight_fini(struct inflight *f);

/* Returns the item (owned by f), with the same id on both sides, or NULL when out of memory.  raw
 * may be NULL. */
struct inflight_item *inflight_add(struct inflight *f, uint16_t packet_id,
                                   enum inflight_state state, uint8_t qos, const uint8_t *raw,
                                   uint32_t raw_bytes);
/* The first item that the device, or the broker, knows by this id and whose state has its bit in
 * `states` (1u << INFLIGHT_...), or NULL. */
struct inflight_item *inflight_find(const struct inflight *f, uint16_t packet_id, unsigned states);
struct inflight_item *inflight_find_up(const struct inflight *f, uint16_t up_id, unsigned states);
/* Give the item other ids. */
void inflight_name(struct inflight *f, struct inflight_item *item, uint16_t packet_id,
                   uint16_t up_id);
/* Put all items of `from`, which is empty then, before those of f. */
void inflight_prepend(struct inflight *f, struct inflight *from);
void inflight_del(struct inflight *f, struct inflight_item *item);
/* The largest id up to `most` that nothing in f uses on either side; 0: none is free.  Clients
 * rarely count to the upper end.  Who needs several starts each search below the former one. */
uint16_t inflight_free_id(const struct inflight *f, uint16_t most);

#define INFLIGHT_ANY ~0u
#define INFLIGHT_ANY_PUBLISH \
    (1u << INFLIGHT_PUBLISH | 1u << INFLIGHT_RECEIVED | 1u << INFLIGHT_RELEASED)

#endif
