#include "cli/watch_model.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/map.h"
#include "base/str.h"
#include "cli/show.h"
#include "cli/table.h"

static const char *const sort_names[WATCH_SORTS] = {
    [WATCH_BY_NEED] = "need",
    [WATCH_BY_NAME] = "name",
    [WATCH_BY_EXPIRY] = "expiry",
    [WATCH_BY_PHASE] = "phase",
};
static const char *const filter_names[WATCH_FILTERS] = {
    [WATCH_ALL] = "all",
    [WATCH_ONLY_TRIALS] = "trials",
    [WATCH_ONLY_TROUBLE] = "trouble",
    [WATCH_ONLY_OFFLINE] = "offline",
    [WATCH_ONLY_STAGED] = "staged",
};

const char *watch_sort_name(enum watch_sort s)
{
    return sort_names[s];
}

const char *watch_filter_name(enum watch_filter f)
{
    return filter_names[f];
}

/* -- a device -- */

static const char *text(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));

    return s == NULL ? "" : s;
}

static bool is(const json_t *object, const char *key, const char *value)
{
    return strcmp(text(object, key), value) == 0;
}

static bool is_online(const json_t *brief)
{
    return json_is_true(json_object_get(brief, "online"));
}

/* It is connected to nobody, and that is its latest news. */
static bool has_failed(const json_t *brief)
{
    return is(brief, "upstream", "failed") || is(brief, "upstream", "lost");
}

static int64_t ends_s(const json_t *brief)
{
    int64_t at = show_parse_time(text(json_object_get(brief, "until"), text(brief, "active")));

    return at < 0 ? INT64_MAX : at;
}

enum watch_rank watch_rank_of(const json_t *brief, int64_t now_s)
{
    if (is(brief, "phase", "trial") || json_is_string(json_object_get(brief, "waiting")))
        return WATCH_TRIAL;
    if (json_is_string(json_object_get(brief, "fault")) || (is_online(brief) && has_failed(brief)))
        return WATCH_BROKEN;
    if (is(brief, "phase", "rolled-back"))
        return WATCH_CAME_BACK;
    if (ends_s(brief) != INT64_MAX && ends_s(brief) - now_s < WATCH_SOON_S)
        return WATCH_ENDING;
    return is(brief, "phase", "staged") ? WATCH_STAGED : WATCH_FINE;
}

void watch_say(const json_t *brief, int64_t now_s, char *out, size_t n, const char **remedy)
{
    const json_t *error = json_object_get(brief, "last_error");
    char span[40];

    *remedy = "";
    if (is(brief, "phase", "trial") || json_is_string(json_object_get(brief, "waiting"))) {
        show_progress(brief, now_s, out, n);
        if (has_failed(brief) && json_is_object(error))
            *remedy = text(error, "remedy");
    } else if (json_is_string(json_object_get(brief, "fault"))) {
        snprintf(out, n, "%s", text(brief, "fault"));
    } else if (is_online(brief) && has_failed(brief) && json_is_object(error)) {
        snprintf(out, n, "%s", text(error, "message"));
        *remedy = text(error, "remedy");
    } else if (is(brief, "phase", "rolled-back")) {
        snprintf(out, n, "%s", text(brief, "reason"));
        *remedy = text(brief, "reason_remedy");
        if (**remedy == '\0' && json_is_object(error))
            *remedy = text(error, "remedy");
    } else if (ends_s(brief) <= now_s) {
        snprintf(out, n, "the identity in use has expired");
    } else if (ends_s(brief) - now_s < WATCH_SOON_S) {
        snprintf(out, n, "the identity in use ends in %s",
                 show_span(ends_s(brief) - now_s, span, sizeof(span)));
    } else {
        out[0] = '\0';
    }
}

const char *watch_until(const json_t *brief, const char *slot, int64_t now_s, char out[16])
{
    int64_t at = show_parse_time(text(json_object_get(brief, "until"), slot)), left = at - now_s;

    if (at < 0)
        return "-";
    if (left <= 0)
        return "over";
    if (left >= 86400)
        snprintf(out, 16, "%lld d", (long long)(left / 86400 > 99999 ? 99999 : left / 86400));
    else
        snprintf(out, 16, "%d h", (int)(left / 3600));
    return out;
}

/* -- all of them -- */

int watch_init(struct watch_model *m)
{
    *m = (struct watch_model){.by_name = map_new(), .epoch = -1};
    return m->by_name == NULL ? -ERR_NOMEM : 0;
}

static void forget_all(struct watch_model *m)
{
    for (size_t i = 0; i < m->count; i++) {
        json_decref(m->all[i]->brief);
        free(m->all[i]);
    }
    m->count = m->shown_count = 0;
}

void watch_fini(struct watch_model *m)
{
    forget_all(m);
    free(m->all);
    free(m->shown);
    map_free(m->by_name);
}

static bool grow(struct watch_model *m)
{
    size_t capacity = m->capacity == 0 ? 256 : m->capacity * 2;
    struct watch_device **all = reallocarray(m->all, capacity, sizeof(struct watch_device *));
    struct watch_device **shown;

    if (all == NULL)
        return false;
    m->all = all;
    shown = reallocarray(m->shown, capacity, sizeof(struct watch_device *));
    if (shown == NULL)
        return false;
    m->shown = shown;
    m->capacity = capacity;
    return true;
}

static void put(struct watch_model *m, json_t *brief, int64_t now_s)
{
    const char *name = text(brief, "device");
    struct watch_device *d = map_get(m->by_name, name);

    if (d == NULL) {
        if ((m->count == m->capacity && !grow(m)) || (d = calloc(1, sizeof(*d))) == NULL)
            return;
        if (map_put(m->by_name, name, d) != 0) {
            free(d);
            return;
        }
        m->all[m->count++] = d;
    }
    json_decref(d->brief);
    d->brief = json_incref(brief);
    d->name = text(brief, "device");
    d->rank = watch_rank_of(brief, now_s);
    d->ends_s = ends_s(brief);
}

bool watch_take(struct watch_model *m, json_t *changes, int64_t now_s)
{
    const json_t *devices = json_object_get(changes, "devices");
    bool anew = json_is_true(json_object_get(changes, "anew"));

    if (anew) {
        struct map *empty = map_new();

        if (empty == NULL)
            return false;
        map_free(m->by_name);
        m->by_name = empty;
        forget_all(m);
    }
    for (size_t i = 0; i < json_array_size(devices); i++)
        put(m, json_array_get(devices, i), now_s);
    m->epoch = json_integer_value(json_object_get(changes, "epoch"));
    m->after = json_integer_value(json_object_get(changes, "after"));
    return anew || json_array_size(devices) > 0;
}

static bool is_wanted(const struct watch_model *m, const struct watch_device *d)
{
    bool found =
        m->search[0] == '\0' || (str_has_glob(m->search) ? str_glob(m->search, d->name)
                                                         : strcasestr(d->name, m->search) != NULL);

    switch (m->filter) {
    case WATCH_ONLY_TRIALS:
        return found && d->rank == WATCH_TRIAL;
    case WATCH_ONLY_TROUBLE:
        return found && d->rank >= WATCH_BROKEN && d->rank <= WATCH_ENDING;
    case WATCH_ONLY_OFFLINE:
        return found && !is_online(d->brief);
    case WATCH_ONLY_STAGED:
        return found && is(d->brief, "phase", "staged");
    case WATCH_ALL:
    case WATCH_FILTERS:
        break;
    }
    return found;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct watch_device *const *)a)->name,
                  (*(struct watch_device *const *)b)->name);
}

static int by_need(const void *a, const void *b)
{
    const struct watch_device *x = *(struct watch_device *const *)a,
                              *y = *(struct watch_device *const *)b;

    return x->rank != y->rank ? (int)x->rank - (int)y->rank : strcmp(x->name, y->name);
}

static int by_expiry(const void *a, const void *b)
{
    const struct watch_device *x = *(struct watch_device *const *)a,
                              *y = *(struct watch_device *const *)b;

    return x->ends_s != y->ends_s ? (x->ends_s > y->ends_s) - (x->ends_s < y->ends_s)
                                  : strcmp(x->name, y->name);
}

static int by_phase(const void *a, const void *b)
{
    const struct watch_device *x = *(struct watch_device *const *)a,
                              *y = *(struct watch_device *const *)b;
    int order = strcmp(text(y->brief, "phase"), text(x->brief, "phase")); /* trial comes first */

    return order != 0 ? order : strcmp(x->name, y->name);
}

void watch_arrange(struct watch_model *m)
{
    static int (*const orders[WATCH_SORTS])(const void *, const void *) = {
        [WATCH_BY_NEED] = by_need,
        [WATCH_BY_NAME] = by_name,
        [WATCH_BY_EXPIRY] = by_expiry,
        [WATCH_BY_PHASE] = by_phase,
    };

    m->shown_count = m->widest = 0;
    for (size_t i = 0; i < m->count; i++) {
        size_t width = table_width(m->all[i]->name);

        if (!is_wanted(m, m->all[i]))
            continue;
        m->shown[m->shown_count++] = m->all[i];
        if (width > m->widest)
            m->widest = width;
    }
    if (m->shown_count > 1)
        qsort(m->shown, m->shown_count, sizeof(struct watch_device *), orders[m->sort]);
}

size_t watch_place(const struct watch_model *m, const char *name, size_t otherwise)
{
    for (size_t i = 0; i < m->shown_count; i++)
        if (strcmp(m->shown[i]->name, name) == 0)
            return i;
    return otherwise;
}
