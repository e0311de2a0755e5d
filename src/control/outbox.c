/* control/outbox.c - see outbox.h. */
#include "control/outbox.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/map.h"

struct outname {
    struct list link;
    char *name; /* owned */
};

int outbox_init(struct outbox *b)
{
    *b = (struct outbox){0};
    list_init(&b->messages);
    list_init(&b->stale);
    list_init(&b->ready);
    b->names = map_new();
    return b->names == NULL ? -ERR_NOMEM : 0;
}

static void message_free(struct outgoing *o)
{
    list_del(&o->link);
    free(o->topic);
    free(o->payload);
    free(o->correlation);
    free(o);
}

static void name_free(struct outname *n)
{
    list_del(&n->link);
    free(n->name);
    free(n);
}

void outbox_fini(struct outbox *b)
{
    list_for_each_safe (it, &b->messages)
        message_free(list_entry(it, struct outgoing, link));
    list_for_each_safe (it, &b->stale)
        name_free(list_entry(it, struct outname, link));
    list_for_each_safe (it, &b->ready)
        name_free(list_entry(it, struct outname, link));
    map_free(b->names);
    b->names = NULL;
    b->count = b->bytes = 0;
}

int outbox_put(struct outbox *b, const char *topic, char *payload, void *correlation, size_t len)
{
    struct outgoing *o = calloc(1, sizeof(*o));
    char *copy = strdup(topic);

    if (o == NULL || copy == NULL || payload == NULL) {
        free(o);
        free(copy);
        free(payload);
        free(correlation);
        return -ERR_NOMEM;
    }
    o->topic = copy;
    o->payload = payload;
    o->correlation = correlation;
    o->correlation_len = len;
    list_init(&o->link);
    o->bytes = sizeof(*o) + strlen(topic) + strlen(payload) + len;
    list_add(&b->messages, &o->link);
    b->count++;
    b->bytes += o->bytes;
    while (b->count > OUTBOX_MAX || (b->bytes > OUTBOX_BYTES_MAX && b->count > 1)) {
        outbox_pop(b);
        b->dropped++;
    }
    return 0;
}

const struct outgoing *outbox_first(const struct outbox *b)
{
    return b->count == 0 ? NULL : list_entry(b->messages.next, struct outgoing, link);
}

void outbox_pop(struct outbox *b)
{
    struct outgoing *o = list_entry(b->messages.next, struct outgoing, link);

    b->count--;
    b->bytes -= o->bytes;
    message_free(o);
}

int outbox_touch(struct outbox *b, const char *name)
{
    struct outname *n;

    if (map_get(b->names, name) != NULL)
        return 0;
    n = calloc(1, sizeof(*n));
    if (n == NULL)
        return -ERR_NOMEM;
    list_init(&n->link);
    n->name = strdup(name);
    if (n->name == NULL || map_put(b->names, name, n) != 0) {
        name_free(n);
        return -ERR_NOMEM;
    }
    list_add(&b->stale, &n->link);
    return 0;
}

void outbox_settle(struct outbox *b)
{
    list_for_each_safe (it, &b->stale) {
        list_del(it);
        list_add(&b->ready, it);
    }
}

const char *outbox_ready(const struct outbox *b)
{
    return list_empty(&b->ready) ? NULL : list_entry(b->ready.next, struct outname, link)->name;
}

void outbox_told(struct outbox *b)
{
    struct outname *n = list_entry(b->ready.next, struct outname, link);

    map_del(b->names, n->name);
    name_free(n);
}
