#include "session/subs.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"

static struct sub **find(struct subs *s, struct slice filter)
{
    struct sub **at = &s->first;

    while (*at != NULL && !slice_eq((struct slice){(*at)->filter, (*at)->filter_bytes}, filter))
        at = &(*at)->next;
    return at;
}

void subs_fini(struct subs *s)
{
    while (s->first != NULL) {
        struct sub *sub = s->first;
        s->first = sub->next;
        free(sub);
    }
    s->count = 0;
}

int subs_put(struct subs *s, struct slice filter, uint8_t options, uint32_t subscription_id)
{
    struct sub **at = find(s, filter);

    if (*at == NULL) {
        struct sub *sub = malloc(sizeof *sub + filter.n);
        if (sub == NULL)
            return -ERR_NOMEM;
        sub->next = NULL;
        sub->filter_bytes = (uint16_t)filter.n;
        memcpy(sub->filter, filter.p, filter.n);
        *at = sub;
        s->count++;
    }
    (*at)->options = options;
    (*at)->restored = false;
    (*at)->subscription_id = subscription_id;
    return 0;
}

bool subs_has(struct subs *s, struct slice filter)
{
    return *find(s, filter) != NULL;
}

void subs_del(struct subs *s, struct slice filter)
{
    struct sub **at = find(s, filter);
    struct sub *sub = *at;

    if (sub == NULL)
        return;
    *at = sub->next;
    free(sub);
    s->count--;
}

int subs_apply(struct subs *s, int version, const uint8_t *raw, uint32_t raw_bytes,
               struct slice codes)
{
    struct mqtt_packet pkt;
    struct mqtt_subscribe sub;
    struct mqtt_filter f;
    struct mqtt_prop_value id = {0};
    uint32_t need, at = 0;
    uint8_t reason;
    size_t i = 0;

    if (mqtt_packet_peek(raw, raw_bytes, MQTT_LARGEST_PACKET, &pkt, &need) != 1 ||
        mqtt_subscribe_read(&pkt, version, &sub, &reason, NULL) != 0)
        return -ERR_MALFORMED;
    if (version == MQTT_V5)
        (void)mqtt_props_find(sub.props, MQTT_PROP_SUBSCRIPTION_ID, &id);
    for (; mqtt_subscribe_next(&sub, pkt.type, &at, &f); i++) {
        if (codes.n > 0 && (i >= codes.n || codes.p[i] >= 0x80))
            continue;
        if (pkt.type == MQTT_UNSUBSCRIBE)
            subs_del(s, f.filter);
        else if (subs_put(s, f.filter, f.options, id.num) != 0)
            return -ERR_NOMEM;
    }
    return 0;
}
