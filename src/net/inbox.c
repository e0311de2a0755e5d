#include "net/inbox.h"

/* One wake-up may stand for many items (uv_async_send coalesces), so all of them are taken at once;
 * the callback runs without the lock, so that it may post. */
static void deliver(struct inbox *box)
{
    struct list items;

    list_init(&items);
    pthread_mutex_lock(&box->lock);
    if (!list_empty(&box->queue)) {
        items = box->queue;
        items.next->prev = &items;
        items.prev->next = &items;
        list_init(&box->queue);
    }
    pthread_mutex_unlock(&box->lock);
    while (!list_empty(&items)) {
        struct list *item = items.next;
        list_del(item);
        box->on_mail(box, item, box->arg);
    }
}

static void on_async(uv_async_t *async)
{
    deliver(async->data);
}

int inbox_init(struct inbox *box, uv_loop_t *loop,
               void (*on_mail)(struct inbox *box, struct list *item, void *arg), void *arg)
{
    int rc = uv_async_init(loop, &box->async, on_async);

    if (rc != 0)
        return rc;
    pthread_mutex_init(&box->lock, NULL);
    list_init(&box->queue);
    box->async.data = box;
    box->on_mail = on_mail;
    box->arg = arg;
    return 0;
}

void inbox_post(struct inbox *box, struct list *item)
{
    pthread_mutex_lock(&box->lock);
    bool first = list_empty(&box->queue);
    list_add(&box->queue, item);
    /* Under the lock: a receiver that closes after it saw this item cannot overtake the wake-up. */
    if (first)
        uv_async_send(&box->async);
    pthread_mutex_unlock(&box->lock);
}

void inbox_drain(struct inbox *box)
{
    deliver(box);
}

static void on_closed(uv_handle_t *handle)
{
    struct inbox *box = handle->data;

    pthread_mutex_destroy(&box->lock);
    if (box->on_closed != NULL)
        box->on_closed(box);
}

void inbox_close(struct inbox *box, void (*done)(struct inbox *box))
{
    box->on_closed = done;
    uv_close((uv_handle_t *)&box->async, on_closed);
}
