#include "base/log_repeat.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/map.h"

#define KEPT_BYTES 768
#define TRIES      200 /* to get at a shard, which is in use for less than a microsecond */

struct entry {
    uint64_t hash; /* of what the line says; 0: nobody */
    int64_t since_us;
    int64_t last_us;
    uint32_t seen;
    uint32_t suppressed;
    enum log_subsystem sub;
    enum log_level level;
};

/* Of a line that was suppressed: apart, so that what is said once touches little memory. */
struct kept {
    size_t n;
    char event[64];
    char pairs[KEPT_BYTES]; /* whole ones */
};

struct shard {
    atomic_flag busy; /* guards the rest */
    struct entry entries[REPEAT_ENTRIES];
    struct kept kept[REPEAT_ENTRIES];
};

static struct shard shards[REPEAT_SHARDS];
static _Atomic uint32_t burst_now = REPEAT_BURST;
static _Atomic int64_t window_us = REPEAT_WINDOW_S * INT64_C(1000000);

void log_repeat_set(uint32_t burst, uint32_t window_s)
{
    atomic_store_explicit(&burst_now, burst, memory_order_relaxed);
    atomic_store_explicit(&window_us, window_s * INT64_C(1000000), memory_order_relaxed);
}

static bool enter(struct shard *s)
{
    for (unsigned i = 0; i < TRIES; i++)
        if (!atomic_flag_test_and_set_explicit(&s->busy, memory_order_acquire))
            return true;
    return false;
}

static void leave(struct shard *s)
{
    atomic_flag_clear_explicit(&s->busy, memory_order_release);
}

/* Where the port of `peer` stands in the pairs, digits only, and how long it is; 0: nowhere.  It
 * stands before what is quoted, which may hold anything. */
static size_t port_of(const struct log_record *r, size_t *at)
{
    const char *quote = memchr(r->pairs, '"', r->n);
    const char *end = quote == NULL ? r->pairs + r->n : quote;
    const char *peer = memmem(r->pairs, (size_t)(end - r->pairs), "peer=", 5), *stop, *colon;

    if (peer == NULL || (peer > r->pairs && peer[-1] != ' '))
        return 0;
    stop = memchr(peer, ' ', (size_t)(end - peer));
    if (stop == NULL)
        stop = end;
    colon = memrchr(peer, ':', (size_t)(stop - peer));
    if (colon == NULL)
        return 0;
    *at = (size_t)(colon - r->pairs);
    return (size_t)(stop - colon);
}

/* What is the same in lines that say the same. */
static uint64_t identity(const struct log_record *r)
{
    char text[LOG_PAIRS_MAX + 128];
    size_t event_n = strnlen(r->event, 100), at = r->n, port_n = port_of(r, &at), n = 2;
    uint64_t hash;

    text[0] = (char)r->sub;
    text[1] = (char)r->level;
    memcpy(text + n, r->event, event_n);
    n += event_n;
    text[n++] = ' ';
    memcpy(text + n, r->pairs, at);
    n += at;
    memcpy(text + n, r->pairs + at + port_n, r->n - at - port_n);
    n += r->n - at - port_n;
    hash = map_hash(text, n);
    return hash == 0 ? 1 : hash;
}

/* All but the remedy, which stands in the lines that were written. */
static void keep(struct kept *k, const struct log_record *r)
{
    const char *p = r->pairs, *end = r->pairs + r->n;
    struct log_pair pair;

    snprintf(k->event, sizeof(k->event), "%s", r->event);
    k->n = 0;
    while (log_pair_next(&p, end, &pair)) {
        size_t bytes = (size_t)(p - pair.key);

        if (log_pair_is(&pair, "todo") || k->n + bytes + 1 > sizeof(k->pairs))
            continue;
        memcpy(k->pairs + k->n, pair.key, bytes);
        k->n += bytes;
        k->pairs[k->n++] = ' ';
    }
}

/* The entry is told of, and begins anew. */
static void summarise(struct entry *e, const struct kept *k, struct log_summary *out)
{
    const char *p = k->pairs, *end = k->pairs + k->n, *msg = "";
    long long seconds = (e->last_us - e->since_us + 999999) / 1000000;
    struct log_pair pair;
    size_t msg_n = 0, n = 0;

    if (seconds < 1)
        seconds = 1;
    while (log_pair_next(&p, end, &pair)) {
        if (log_pair_is(&pair, "msg")) {
            msg = pair.value;
            msg_n = pair.value_n;
            continue;
        }
        memcpy(out->pairs + n, pair.key, (size_t)(p - pair.key));
        n += (size_t)(p - pair.key);
        out->pairs[n++] = ' ';
    }
    n += (size_t)snprintf(out->pairs + n, sizeof(out->pairs) - n,
                          "repeated=%u seconds=%lld msg=\"repeated %u times in %lld s%s%.*s\"",
                          e->suppressed, seconds, e->suppressed, seconds, msg_n > 0 ? ": " : "",
                          (int)msg_n, msg);
    memcpy(out->event, k->event, sizeof(out->event));
    out->record = (struct log_record){
        .sub = e->sub, .level = e->level, .event = out->event, .pairs = out->pairs, .n = n};
    out->due = true;
    e->suppressed = 0;
}

/* The line's place: its own, or that of who is missed least. */
static struct entry *place(struct shard *s, uint64_t hash)
{
    struct entry *best = &s->entries[0];

    for (size_t i = 0; i < REPEAT_ENTRIES; i++) {
        struct entry *e = &s->entries[i];

        if (e->hash == hash)
            return e;
        if ((best->suppressed > 0) != (e->suppressed > 0) ? best->suppressed > 0
                                                          : e->since_us < best->since_us)
            best = e;
    }
    return best;
}

static bool count(struct shard *s, uint64_t hash, const struct log_record *r, int64_t now_us,
                  struct log_summary *summary)
{
    struct entry *e = place(s, hash);
    struct kept *k = &s->kept[e - s->entries];

    if (e->hash != hash ||
        now_us - e->since_us >= atomic_load_explicit(&window_us, memory_order_relaxed)) {
        if (e->suppressed > 0)
            summarise(e, k, summary);
        *e = (struct entry){
            .hash = hash, .since_us = now_us, .seen = 1, .sub = r->sub, .level = r->level};
        return true;
    }
    if (e->seen < atomic_load_explicit(&burst_now, memory_order_relaxed)) {
        e->seen++;
        return true;
    }
    e->suppressed++;
    e->last_us = now_us;
    keep(k, r);
    return false;
}

bool log_repeat_take(const struct log_record *r, int64_t now_us, struct log_summary *summary)
{
    uint64_t hash;
    struct shard *s;
    bool write;

    summary->due = false;
    if (atomic_load_explicit(&burst_now, memory_order_relaxed) == 0)
        return true;
    hash = identity(r);
    s = &shards[hash % REPEAT_SHARDS];
    if (!enter(s))
        return true;
    write = count(s, hash, r, now_us, summary);
    leave(s);
    return write;
}

bool log_repeat_due(int64_t now_us, bool all, struct log_summary *summary)
{
    int64_t window = atomic_load_explicit(&window_us, memory_order_relaxed);

    summary->due = false;
    for (size_t i = 0; i < REPEAT_SHARDS && !summary->due; i++) {
        struct shard *s = &shards[i];

        if (!enter(s)) /* next time */
            continue;
        for (size_t j = 0; j < REPEAT_ENTRIES && !summary->due; j++) {
            struct entry *e = &s->entries[j];

            if (e->suppressed == 0 || (!all && now_us - e->since_us < window))
                continue;
            summarise(e, &s->kept[j], summary);
            *e = (struct entry){0};
        }
        leave(s);
    }
    return summary->due;
}
