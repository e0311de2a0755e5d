/* A table of sets of eight; in each the topic that was written last comes first, and the last one
 * gives way.  It doubles when a set is full, as long as it may.
 */
#include "session/retained.h"

#include <stdlib.h>
#include <string.h>

#include "base/map.h"

enum { WAYS = 8, LEAST = 16 };

void retained_fini(struct retained *r)
{
    free(r->table);
    *r = (struct retained){0};
}

static uint64_t topic_digest(struct slice topic)
{
    uint64_t digest = map_hash(topic.p, topic.n);

    return digest != 0 ? digest : 1;
}

static bool is_content(enum mqtt_prop id)
{
    return id != MQTT_PROP_MESSAGE_EXPIRY && id != MQTT_PROP_SUBSCRIPTION_ID &&
           id != MQTT_PROP_TOPIC_ALIAS;
}

static uint64_t content_digest(const struct mqtt_publish *p)
{
    uint64_t digest = map_hash(p->payload.p, p->payload.n);
    struct mqtt_prop_value v;
    uint32_t at = 0;

    while (p->props.n != 0 && mqtt_props_next(p->props, &at, &v))
        if (is_content(v.id)) /* in their order, which brokers keep */
            digest = digest * UINT64_C(0x9E3779B97F4A7C15) + map_hash(v.raw.p, v.raw.n);
    return digest;
}

/* The first of the set that the topic belongs to. */
static struct retained_entry *set_of(const struct retained *r, uint64_t topic)
{
    return r->table + ((topic >> 32) & (r->cap / WAYS - 1)) * WAYS;
}

static struct retained_entry *find(const struct retained *r, uint64_t topic)
{
    if (r->cap == 0)
        return NULL;
    struct retained_entry *set = set_of(r, topic);
    for (unsigned i = 0; i < WAYS; i++)
        if (set[i].topic == topic)
            return &set[i];
    return NULL;
}

/* Who gives way: a vacant place, the last that never came with RETAIN, or the last of all. */
static unsigned victim(const struct retained_entry *set, bool retain)
{
    unsigned last_live = WAYS;

    for (unsigned i = 0; i < WAYS; i++) {
        if (set[i].topic == 0)
            return i;
        if (!set[i].retain)
            last_live = i;
    }
    if (last_live < WAYS)
        return last_live;
    return retain ? WAYS - 1 : WAYS; /* WAYS: nobody does, for this one */
}

static void put(struct retained *r, struct retained_entry e)
{
    struct retained_entry *set = set_of(r, e.topic);
    unsigned at = victim(set, e.retain);

    if (at == WAYS)
        return;
    memmove(set + 1, set, at * sizeof *set);
    set[0] = e;
}

/* Returns false when it stays as it is. */
static bool grow(struct retained *r)
{
    struct retained more = {.cap = r->cap == 0 ? LEAST : 2 * r->cap};

    if (more.cap > RETAINED_TOPICS_MAX)
        return false;
    more.table = calloc(more.cap, sizeof *more.table);
    if (more.table == NULL)
        return false;
    for (uint32_t i = r->cap; i-- > 0;) /* the latest of each set last, so that it is the first */
        if (r->table[i].topic != 0)
            put(&more, r->table[i]);
    free(r->table);
    *r = more;
    return true;
}

static bool full(const struct retained *r, uint64_t topic)
{
    if (r->cap == 0)
        return true;
    const struct retained_entry *set = set_of(r, topic);
    for (unsigned i = 0; i < WAYS; i++)
        if (set[i].topic == 0)
            return false;
    return true;
}

void retained_note(struct retained *r, struct slice topic, const struct mqtt_publish *p)
{
    struct retained_entry e = {
        .topic = topic_digest(topic), .content = content_digest(p), .retain = p->retain};
    struct retained_entry *old = find(r, e.topic);

    if (old != NULL) {
        struct retained_entry *set = set_of(r, e.topic);
        e.retain |= old->retain;
        e.copies = old->copies;
        memmove(set + 1, set, (size_t)(old - set) * sizeof *set);
        set[0] = e;
        return;
    }
    while (full(r, e.topic))
        if (!grow(r))
            break;
    if (r->cap > 0)
        put(r, e);
}

bool retained_had(const struct retained *r, struct slice topic, const struct mqtt_publish *p)
{
    const struct retained_entry *e = find(r, topic_digest(topic));

    return e != NULL && e->content == content_digest(p);
}

unsigned retained_copies(struct retained *r, struct slice topic)
{
    struct retained_entry *e = find(r, topic_digest(topic));

    if (e == NULL)
        return 0;
    return e->copies < UINT8_MAX ? e->copies++ : e->copies;
}

void retained_restart(struct retained *r)
{
    for (uint32_t i = 0; i < r->cap; i++)
        r->table[i].copies = 0;
}

void retained_forget(struct retained *r)
{
    if (r->cap > 0)
        memset(r->table, 0, r->cap * sizeof *r->table);
}
