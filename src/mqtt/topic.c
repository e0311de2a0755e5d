/* mqtt/topic.c - topic names and filters (MQTT 5.0, 4.7 and 4.8). */
#include "mqtt/topic.h"

#include <stdint.h>
#include <string.h>

#include "mqtt/packet.h"

#define EACH(byte) (0x0101010101010101u * (uint64_t)(byte))

/* Does any byte of v equal `byte`?  (A zero byte alone borrows into its top bit.) */
static inline uint64_t any_is(uint64_t v, uint8_t byte)
{
    v ^= EACH(byte);
    return (v - EACH(0x01)) & ~v & EACH(0x80);
}

/* Eight bytes that need a closer look: not ASCII, or a NUL, or a wildcard. */
static inline uint64_t is_odd(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return (v & EACH(0x80)) | any_is(v, 0) | any_is(v, '+') | any_is(v, '#');
}

/* Plain ASCII without NUL and wildcards: what nearly every topic name is. */
static bool is_plain(const uint8_t *p, size_t n)
{
    size_t at = 0;
    uint64_t odd = 0;

    if (n < 8) {
        for (; at < n; at++) {
            if (p[at] == 0 || p[at] >= 0x80 || p[at] == '+' || p[at] == '#')
                return false;
        }
        return true;
    }
    for (; n - at > 8; at += 8)
        odd |= is_odd(p + at);
    odd |= is_odd(p + n - 8); /* the last eight, some of them for the second time */
    return odd == 0;
}

bool mqtt_topic_valid(struct slice topic)
{
    if (topic.n == 0 || topic.n > UINT16_MAX) /* [MQTT-4.7.3-1, -3] */
        return false;
    if (is_plain(topic.p, topic.n))
        return true;
    return memchr(topic.p, '+', topic.n) == NULL && memchr(topic.p, '#', topic.n) == NULL &&
           str_is_utf8(topic.p, topic.n); /* [MQTT-4.7.1-1], [MQTT-4.7.3-2] */
}

bool mqtt_filter_is_shared(struct slice filter)
{
    return filter.n >= 7 && memcmp(filter.p, "$share/", 7) == 0;
}

/* '#' alone in the last level, '+' alone in its level [MQTT-4.7.1-1, -2]; UTF-8 is the caller's. */
static bool wildcards_fit(struct slice filter)
{
    for (size_t i = 0; i < filter.n; i++) {
        bool starts = i == 0 || filter.p[i - 1] == '/';

        if (filter.p[i] == '#' && (!starts || i + 1 != filter.n))
            return false;
        if (filter.p[i] == '+' && (!starts || (i + 1 != filter.n && filter.p[i + 1] != '/')))
            return false;
    }
    return filter.n != 0;
}

/* Cut "$share/{name}/" off.  Returns false when the name is empty or has wildcards, or when nothing
 * follows it [MQTT-4.8.2-1, -2]. */
static bool shared_split(struct slice filter, struct slice *rest)
{
    const uint8_t *name = filter.p + 7;
    size_t left = filter.n - 7;
    const uint8_t *slash = left != 0 ? memchr(name, '/', left) : NULL;
    size_t n;

    if (slash == NULL || slash == name)
        return false;
    n = (size_t)(slash - name);
    if (memchr(name, '+', n) != NULL || memchr(name, '#', n) != NULL)
        return false;
    *rest = (struct slice){.p = slash + 1, .n = left - n - 1};
    return rest->n != 0;
}

bool mqtt_filter_valid_in(struct slice filter, int version)
{
    struct slice rest = filter;

    if (filter.n > UINT16_MAX || !str_is_utf8(filter.p, filter.n))
        return false;
    /* Before 5.0 the standard knows no shared subscriptions: "$share/x" is a filter like any other.
     */
    if (version == MQTT_V5 && mqtt_filter_is_shared(filter) && !shared_split(filter, &rest))
        return false;
    return wildcards_fit(rest);
}

bool mqtt_filter_valid(struct slice filter)
{
    return mqtt_filter_valid_in(filter, MQTT_V5);
}

/* The next level of s at *at, without its slash; false behind the last one. */
static bool next_level(struct slice s, size_t *at, struct slice *out)
{
    const uint8_t *slash;
    size_t n;

    if (*at > s.n)
        return false;
    n = s.n - *at;
    slash = n != 0 ? memchr(s.p + *at, '/', n) : NULL;
    if (slash != NULL)
        n = (size_t)(slash - (s.p + *at));
    *out = (struct slice){.p = s.p + *at, .n = n};
    *at += n + 1;
    return true;
}

bool mqtt_filter_matches(struct slice filter, struct slice topic)
{
    struct slice f, t;
    size_t at_f = 0;
    size_t at_t = 0;

    if (mqtt_filter_is_shared(filter) && !shared_split(filter, &filter))
        return false;
    if (filter.n == 0 || topic.n == 0)
        return false;
    if (topic.p[0] == '$' && (filter.p[0] == '+' || filter.p[0] == '#')) /* [MQTT-4.7.2-1] */
        return false;
    while (next_level(filter, &at_f, &f)) {
        if (slice_is(f, "#"))
            return true; /* also of the level above: "a/#" matches "a" (4.7.1.2) */
        if (!next_level(topic, &at_t, &t))
            return false;
        if (!slice_is(f, "+") && !slice_eq(f, t))
            return false;
    }
    return !next_level(topic, &at_t, &t);
}
