/* net/inbox.h - a queue of messages into a loop.
 *
 * Many senders, one receiver.  Order is kept per sender; wake-ups coalesce (uv_async_send).
 */
#ifndef NET_INBOX_H
#define NET_INBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <uv.h>

#include "base/list.h"

struct inbox {
    uv_async_t async;
    pthread_mutex_t lock; /* guards queue */
    struct list queue;
    void (*on_mail)(struct inbox *box, struct list *item,
                    void *arg); /* on the loop's thread, one call per item */
    void *arg;
    void (*on_closed)(struct inbox *box);
};

/* On the receiving loop's thread (or before that loop runs).  Returns 0 or a negative uv error. */
int inbox_init(struct inbox *box, uv_loop_t *loop,
               void (*on_mail)(struct inbox *box, struct list *item, void *arg), void *arg);

/* Takes the item: it belongs to the receiver from here on.  From any thread. */
void inbox_post(struct inbox *box, struct list *item);

/* Deliver what is queued now, without waiting for the loop.  Receiver's thread only. */
void inbox_drain(struct inbox *box);

/* Stop receiving; `done` comes from the loop once the handle is closed (may be NULL).  Nothing may
 * be posted any more. */
void inbox_close(struct inbox *box, void (*done)(struct inbox *box));

#endif
