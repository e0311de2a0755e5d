#include "session/inflight.h"

#include <stdlib.h>
#include <string.h>

static struct inflight_item *item_of(struct list *link)
{
    return list_entry(link, struct inflight_item, link);
}

void inflight_init(struct inflight *f)
{
    list_init(&f->items);
    f->count = 0;
    f->bytes = 0;
    f->odd = 0;
}

void inflight_fini(struct inflight *f)
{
    list_for_each_safe (it, &f->items)
        free(item_of(it));
    inflight_init(f);
}

struct inflight_item *inflight_add(struct inflight *f, uint16_t packet_id,
                                   enum inflight_state state, uint8_t qos, const uint8_t *raw,
                                   uint32_t raw_bytes)
{
    struct inflight_item *item = malloc(sizeof *item + raw_bytes);

    if (item == NULL)
        return NULL;
    *item = (struct inflight_item){.packet_id = packet_id,
                                   .up_id = packet_id,
                                   .state = (uint8_t)state,
                                   .qos = qos,
                                   .sent_qos = qos,
                                   .raw_bytes = raw_bytes};
    if (raw_bytes > 0)
        memcpy(item->raw, raw, raw_bytes);
    list_add(&f->items, &item->link);
    f->count++;
    f->bytes += raw_bytes;
    return item;
}

struct inflight_item *inflight_find(const struct inflight *f, uint16_t packet_id, unsigned states)
{
    list_for_each (it, &f->items) {
        struct inflight_item *item = item_of(it);
        if (item->packet_id == packet_id && (states & 1u << item->state) != 0)
            return item;
    }
    return NULL;
}

struct inflight_item *inflight_find_up(const struct inflight *f, uint16_t up_id, unsigned states)
{
    list_for_each (it, &f->items) {
        struct inflight_item *item = item_of(it);
        if (item->up_id == up_id && (states & 1u << item->state) != 0)
            return item;
    }
    return NULL;
}

void inflight_name(struct inflight *f, struct inflight_item *item, uint16_t packet_id,
                   uint16_t up_id)
{
    f->odd -= item->packet_id != item->up_id;
    item->packet_id = packet_id;
    item->up_id = up_id;
    f->odd += item->packet_id != item->up_id;
}

void inflight_prepend(struct inflight *f, struct inflight *from)
{
    while (!list_empty(&from->items)) {
        struct list *last = from->items.prev;
        list_del(last);
        list_add(f->items.next, last);
    }
    f->count += from->count;
    f->bytes += from->bytes;
    f->odd += from->odd;
    inflight_init(from);
}

void inflight_del(struct inflight *f, struct inflight_item *item)
{
    list_del(&item->link);
    f->odd -= item->packet_id != item->up_id;
    f->count--;
    f->bytes -= item->raw_bytes;
    free(item);
}

uint16_t inflight_free_id(const struct inflight *f, uint16_t most)
{
    for (uint16_t id = most; id > 0; id--)
        if (inflight_find(f, id, INFLIGHT_ANY) == NULL &&
            inflight_find_up(f, id, INFLIGHT_ANY) == NULL)
            return id;
    return 0;
}
