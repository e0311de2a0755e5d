/* control/outbox.h - what waits to be published: messages in order, and names whose topic is out of
 * date.
 *
 * Messages are bounded: beyond OUTBOX_MAX, or OUTBOX_BYTES_MAX, the oldest go.  A name is there
 * once, however often it changes; it is stale until outbox_settle, ready from then on.  Main
 * thread.
 */
#ifndef CONTROL_OUTBOX_H
#define CONTROL_OUTBOX_H

#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

#define OUTBOX_MAX       40000 /* transitions of 10,000 devices that are flipped at once */
#define OUTBOX_BYTES_MAX ((size_t)16 * 1024 * 1024)

/* A message that waits. */
struct outgoing {
    struct list link;
    char *topic, *payload;  /* owned */
    void *correlation;      /* owned, or NULL */
    size_t correlation_len; /* bytes */
    size_t bytes;           /* all of it */
};

struct outbox {
    struct list messages; /* struct outgoing */
    size_t count, bytes;
    uint64_t dropped;
    struct map *names;        /* struct outname, in whichever list it is */
    struct list stale, ready; /* struct outname */
};

int outbox_init(struct outbox *b); /* 0 or -ERR_NOMEM */
void outbox_fini(struct outbox *b);

/* Takes payload and correlation, whatever happens.  Returns 0 or -ERR_NOMEM. */
int outbox_put(struct outbox *b, const char *topic, char *payload, void *correlation, size_t len);
const struct outgoing *outbox_first(const struct outbox *b); /* borrows; NULL: none waits */
void outbox_pop(struct outbox *b);                           /* the first is done with */

/* Returns 0 or -ERR_NOMEM. */
int outbox_touch(struct outbox *b, const char *name);
void outbox_settle(struct outbox *b);
const char *outbox_ready(const struct outbox *b); /* borrows the first that is ready; NULL: none */
void outbox_told(struct outbox *b);               /* the first is done with */

#endif
