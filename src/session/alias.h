/* session/alias.h - the topic aliases that a device has set (MQTT 5.0, 3.3.2.3.4).
 *
 * A new upstream leg knows none of them, and may allow fewer: then the topic goes instead.  One
 * thread.
 */
#ifndef SESSION_ALIAS_H
#define SESSION_ALIAS_H

#include <stdbool.h>
#include <stdint.h>

#include "mqtt/publish.h"

struct alias {
    struct alias *next;
    uint16_t alias;
    bool told; /* the present upstream leg has been told */
    uint16_t topic_bytes;
    uint8_t topic[];
};

struct aliases {
    struct alias *first; /* owned */
};

void aliases_fini(struct aliases *list);
const struct alias *alias_find(const struct aliases *list, uint16_t alias); /* NULL: never set */
/* Set, or set anew.  Returns 0 or -ERR_NOMEM. */
int alias_set(struct aliases *list, uint16_t alias, struct slice topic, bool told);
void aliases_forget(struct aliases *list);               /* a new leg: none is told */
void alias_untold(struct aliases *list, uint16_t alias); /* it did not get to the present leg */

/* Write the PUBLISH with its topic spelt out and without an alias: what can be repeated on any leg.
 * Returns 0, -ERR_NOMEM, -ERR_TOO_BIG. */
int alias_spell_out(struct buf *out, const struct mqtt_publish *p, struct slice topic);

#endif
