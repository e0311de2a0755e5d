#include "session/alias.h"

#include <stdlib.h>
#include <string.h>

void aliases_fini(struct aliases *list)
{
    while (list->first != NULL) {
        struct alias *a = list->first;
        list->first = a->next;
        free(a);
    }
}

void aliases_forget(struct aliases *list)
{
    for (struct alias *a = list->first; a != NULL; a = a->next)
        a->told = false;
}

void alias_untold(struct aliases *list, uint16_t alias)
{
    for (struct alias *a = list->first; a != NULL; a = a->next)
        if (a->alias == alias)
            a->told = false;
}

const struct alias *alias_find(const struct aliases *list, uint16_t alias)
{
    const struct alias *a = list->first;

    while (a != NULL && a->alias != alias)
        a = a->next;
    return a;
}

int alias_set(struct aliases *list, uint16_t alias, struct slice topic, bool told)
{
    struct alias **at = &list->first;
    struct alias *a;

    while (*at != NULL && (*at)->alias != alias)
        at = &(*at)->next;
    if (*at != NULL && (*at)->topic_bytes == topic.n &&
        memcmp((*at)->topic, topic.p, topic.n) == 0) {
        (*at)->told = told;
        return 0;
    }
    a = malloc(sizeof *a + topic.n);
    if (a == NULL)
        return -ERR_NOMEM;
    *a = (struct alias){.alias = alias, .told = told, .topic_bytes = (uint16_t)topic.n};
    memcpy(a->topic, topic.p, topic.n);
    if (*at != NULL) {
        struct alias *old = *at;
        *at = old->next;
        free(old);
    }
    a->next = list->first;
    list->first = a;
    return 0;
}

/* Properties without the topic alias. */
static int drop_alias(struct buf *out, struct mqtt_props in)
{
    struct mqtt_prop_value v;
    uint32_t at = 0;
    int rc = 0;

    while (rc == 0 && mqtt_props_next(in, &at, &v))
        if (v.id != MQTT_PROP_TOPIC_ALIAS)
            rc = buf_append(out, v.raw.p, v.raw.n);
    return rc;
}

int alias_spell_out(struct buf *out, const struct mqtt_publish *p, struct slice topic)
{
    struct buf props = {0};
    struct mqtt_publish full = *p;
    int rc = drop_alias(&props, p->props);

    full.topic = topic;
    full.topic_alias = 0;
    full.props = (struct mqtt_props){props.p, (uint32_t)props.len};
    if (rc == 0)
        rc = mqtt_publish_write(out, MQTT_V5, &full);
    buf_fini(&props);
    return rc;
}
