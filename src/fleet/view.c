/* fleet/view.c - see view.h.
 *
 * What comes is some gateway's word: each message is read whole before anything is changed, and
 * speaks for nobody but the gateway whose topic it came on.
 */
#include "fleet/view.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/str.h"
#include "cli/show.h"

static const char *const phase_names[] = {
    [VIEW_STEADY] = "steady",
    [VIEW_STAGED] = "staged",
    [VIEW_TRIAL] = "trial",
    [VIEW_COMMITTED] = "committed",
    [VIEW_ROLLED_BACK] = "rolled-back",
    [VIEW_PHASE_UNKNOWN] = "unknown",
};

const char *view_phase_name(enum view_phase phase)
{
    return phase_names[phase];
}

static enum view_phase phase_of(const char *name)
{
    int i = 0;

    while (i < VIEW_PHASE_UNKNOWN && (name == NULL || strcmp(phase_names[i], name) != 0))
        i++;
    return (enum view_phase)i;
}

const struct view_slot *view_active(const struct view_device *d)
{
    return d->active_new ? &d->fresh : &d->old;
}

/* -- life ------------------------------------------------------------------------------------- */

int view_init(struct view *v)
{
    *v = (struct view){.by_name = map_new()};
    list_init(&v->gateways);
    return v->by_name == NULL ? -ERR_NOMEM : 0;
}

static void texts_free(struct view_device *d)
{
    free(d->reason);
    free(d->failure);
    free(d->message);
    free(d->remedy);
}

static void device_free(struct view_device *d)
{
    if (d == NULL)
        return;
    texts_free(d);
    free(d->name);
    free(d);
}

static void gateway_free(struct view_gateway *g)
{
    if (g == NULL)
        return;
    for (size_t i = 0; i < g->device_count; i++)
        device_free(g->sorted[i]);
    free(g->sorted);
    json_decref(g->state);
    free(g->name);
    free(g);
}

void view_fini(struct view *v)
{
    list_for_each_safe (it, &v->gateways)
        gateway_free(list_entry(it, struct view_gateway, link));
    map_free(v->by_name);
    *v = (struct view){.by_name = NULL};
    list_init(&v->gateways);
}

/* -- finding ---------------------------------------------------------------------------------- */

struct view_gateway *view_gateway(const struct view *v, const char *name)
{
    return map_get(v->by_name, name);
}

/* Where a device of this name stands, or would have to. */
static size_t place_of(const struct view_gateway *g, const char *name, bool *found)
{
    size_t low = 0, high = g->device_count;

    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(g->sorted[middle]->name, name);

        if (order == 0)
            *found = true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct view_device *find_device(const struct view_gateway *g, const char *name)
{
    bool found;
    size_t at = place_of(g, name, &found);

    return found ? g->sorted[at] : NULL;
}

struct view_device *view_device(const struct view *v, const char *gateway, const char *device)
{
    const struct view_gateway *g = view_gateway(v, gateway);

    return g == NULL ? NULL : find_device(g, device);
}

int64_t view_device_total(const struct view_gateway *g)
{
    const json_t *total = json_object_get(json_object_get(g->state, "devices"), "total");

    return json_is_integer(total) ? json_integer_value(total) : -1;
}

/* -- new ones --------------------------------------------------------------------------------- */

static struct view_gateway *gateway_new(const char *name)
{
    struct view_gateway *g = calloc(1, sizeof(*g));

    if (g == NULL || (g->name = strdup(name)) == NULL) {
        gateway_free(g);
        return NULL;
    }
    list_init(&g->link);
    list_init(&g->devices);
    return g;
}

/* Messages come nearly in the order of names, so the place is looked for from the end. */
static struct view_gateway *gateway_of(struct view *v, const char *name)
{
    struct view_gateway *g = view_gateway(v, name);
    struct list *at = v->gateways.prev;

    if (g != NULL)
        return g;
    g = gateway_new(name);
    if (g == NULL || map_put(v->by_name, name, g) != 0) {
        gateway_free(g);
        return NULL;
    }
    while (at != &v->gateways && strcmp(list_entry(at, struct view_gateway, link)->name, name) > 0)
        at = at->prev;
    list_add(at->next, &g->link);
    v->gateway_count++;
    return g;
}

static int make_room(struct view_gateway *g)
{
    size_t cap = g->device_cap == 0 ? 16 : g->device_cap * 2;
    struct view_device **more;

    if (g->device_count < g->device_cap)
        return 0;
    more = reallocarray(g->sorted, cap, sizeof(struct view_device *));
    if (more == NULL)
        return -ERR_NOMEM;
    g->sorted = more;
    g->device_cap = cap;
    return 0;
}

static struct view_device *device_of(struct view *v, struct view_gateway *g, const char *name)
{
    struct view_device *d;
    bool found;
    size_t at = place_of(g, name, &found);

    if (found)
        return g->sorted[at];
    d = calloc(1, sizeof(*d));
    if (d == NULL || make_room(g) != 0 || (d->name = strdup(name)) == NULL) {
        device_free(d);
        return NULL;
    }
    d->gateway = g;
    list_add(at < g->device_count ? &g->sorted[at]->link : &g->devices, &d->link);
    memmove(g->sorted + at + 1, g->sorted + at,
            (g->device_count - at) * sizeof(struct view_device *));
    g->sorted[at] = d;
    g->device_count++;
    v->device_count++;
    return d;
}

static void device_gone(struct view *v, const char *gateway, const char *name)
{
    struct view_gateway *g = view_gateway(v, gateway);
    bool found = false;
    size_t at = g == NULL ? 0 : place_of(g, name, &found);

    if (!found)
        return;
    list_del(&g->sorted[at]->link);
    device_free(g->sorted[at]);
    g->device_count--;
    memmove(g->sorted + at, g->sorted + at + 1,
            (g->device_count - at) * sizeof(struct view_device *));
    v->device_count--;
    g->version = ++v->version;
}

/* -- a topic ---------------------------------------------------------------------------------- */

enum topic_kind { TOPIC_STATE, TOPIC_DEVICE, TOPIC_EVENT, TOPIC_OTHER };

#define NAME_MAX_ 128 /* of a gateway or device: str_is_name */

struct topic {
    enum topic_kind kind;
    char gateway[NAME_MAX_ + 1], device[NAME_MAX_ + 1];
};

/* Copy up to the next '/', or the end.  False when it is no name. */
static bool take_name(const char **at, char out[NAME_MAX_ + 1])
{
    size_t n = strcspn(*at, "/");

    if (n > NAME_MAX_)
        return false;
    memcpy(out, *at, n);
    out[n] = '\0';
    *at += n;
    return str_is_name(out);
}

static int read_topic(const char *root, const char *topic, struct topic *out, struct err *err)
{
    size_t n = strlen(root);
    const char *at = topic + n + 1;

    out->kind = TOPIC_OTHER;
    if (strncmp(topic, root, n) != 0 || topic[n] != '/' || strchr(at, '/') == NULL)
        return 0;
    if (!take_name(&at, out->gateway))
        return err_set(err, ERR_INVALID, "%.200s: the gateway's name is none", topic);
    if (strcmp(at, "/state") == 0)
        out->kind = TOPIC_STATE;
    else if (strcmp(at, "/event") == 0)
        out->kind = TOPIC_EVENT;
    if (strncmp(at, "/device/", 8) != 0)
        return 0;
    at += 8;
    if (!take_name(&at, out->device) || *at != '\0')
        return err_set(err, ERR_INVALID, "%.300s: the device's name is none", topic);
    out->kind = TOPIC_DEVICE;
    return 0;
}

/* -- JSON ------------------------------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static int64_t time_of(const json_t *object, const char *key)
{
    const char *text = text_of(object, key);
    int64_t s = text == NULL ? -1 : show_parse_time(text);

    return s < 0 ? 0 : s;
}

/* *out: a copy of one line of it, NULL where there is none.  Returns 0 or -ERR_NOMEM. */
static int copy_text(const json_t *object, const char *key, char **out)
{
    const char *text = text_of(object, key);

    *out = NULL;
    if (text == NULL || text[0] == '\0')
        return 0;
    *out = strndup(text, VIEW_TEXT_MAX);
    if (*out == NULL)
        return -ERR_NOMEM;
    str_tidy(*out);
    return 0;
}

/* All zeros where none is given.  Returns 0 or -ERR_INVALID. */
static int read_fp(const json_t *object, uint8_t out[32], struct err *err)
{
    const json_t *value = json_object_get(object, "fingerprint");

    memset(out, 0, 32);
    if (value == NULL || json_is_null(value))
        return 0;
    if (!json_is_string(value) || str_unhex(json_string_value(value), out, 32) != 0)
        return err_set(err, ERR_INVALID, "fingerprint: must be 64 hex digits");
    return 0;
}

static int read_slot(const json_t *slots, const char *name, struct view_slot *out, struct err *err)
{
    const json_t *slot = json_object_get(slots, name);

    *out = (struct view_slot){.present = json_is_object(slot)};
    if (!out->present)
        return 0;
    out->usable = json_is_true(json_object_get(slot, "usable"));
    out->not_after_s = time_of(slot, "not_after");
    return read_fp(slot, out->fp, err);
}

static int read_error(const json_t *device, struct view_device *out)
{
    const json_t *error = json_object_get(device, "last_error");

    if (copy_text(device, "reason", &out->reason) != 0 ||
        copy_text(error, "class", &out->failure) != 0 ||
        copy_text(error, "message", &out->message) != 0 ||
        copy_text(error, "remedy", &out->remedy) != 0 ||
        (out->remedy == NULL && copy_text(device, "reason_remedy", &out->remedy) != 0))
        return -ERR_NOMEM;
    return 0;
}

/* Everything but what the view itself keeps.  `out` owns its texts, also after an error. */
static int read_device(const json_t *device, const char *name, struct view_device *out,
                       struct err *err)
{
    const json_t *slots = json_object_get(device, "slots");
    const json_t *leg = json_object_get(device, "upstream");
    const char *said = text_of(device, "device"), *active = text_of(device, "active");
    const char *state = text_of(leg, "state");
    int rc;

    if (said == NULL || strcmp(said, name) != 0)
        return err_set(err, ERR_INVALID, "device: names another one, or none");
    out->phase = (uint8_t)phase_of(text_of(device, "phase"));
    out->online = json_is_true(json_object_get(device, "online"));
    out->active_new = active != NULL && strcmp(active, "new") == 0;
    out->up = state != NULL && strcmp(state, "accepted") == 0;
    out->changed_s = time_of(device, "changed");
    if ((rc = read_slot(slots, "old", &out->old, err)) != 0)
        return err_wrap(err, rc, "slots.old");
    if ((rc = read_slot(slots, "new", &out->fresh, err)) != 0)
        return err_wrap(err, rc, "slots.new");
    if ((rc = read_fp(leg, out->up_fp, err)) != 0)
        return err_wrap(err, rc, "upstream");
    if (!out->up)
        memset(out->up_fp, 0, sizeof(out->up_fp));
    return read_error(device, out) == 0 ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

/* -- messages --------------------------------------------------------------------------------- */

/* Whoever may publish below the root cannot fill the memory with gateways. */
static int check_room(const struct view *v, const struct topic *t, struct err *err)
{
    return v->gateway_count < VIEW_GATEWAYS_MAX || view_gateway(v, t->gateway) != NULL
               ? 0
               : err_set(err, ERR_INVALID, "more than %d gateways", VIEW_GATEWAYS_MAX);
}

static int take_device(struct view *v, const struct topic *t, const json_t *device, struct err *err)
{
    struct view_device fresh = {.name = NULL}, *d = NULL;
    struct view_gateway *g;
    int rc = read_device(device, t->device, &fresh, err);

    if (rc == 0)
        rc = check_room(v, t, err);
    if (rc == 0 && v->device_count >= VIEW_DEVICES_MAX &&
        view_device(v, t->gateway, t->device) == NULL)
        rc = err_set(err, ERR_INVALID, "more than %d devices", VIEW_DEVICES_MAX);
    if (rc == 0) {
        g = gateway_of(v, t->gateway);
        d = g == NULL ? NULL : device_of(v, g, t->device);
    }
    if (d == NULL) {
        texts_free(&fresh);
        return rc != 0 ? rc : err_set(err, ERR_NOMEM, "out of memory");
    }
    texts_free(d);
    fresh.link = d->link;
    fresh.gateway = d->gateway;
    fresh.name = d->name;
    fresh.version = d->gateway->version = ++v->version;
    *d = fresh;
    return 0;
}

static bool same_epoch(const struct view_gateway *g, const json_t *told)
{
    const char *epoch = text_of(told, "epoch");

    return epoch == NULL || strncmp(epoch, g->epoch, sizeof(g->epoch) - 1) == 0;
}

static void begin_events(struct view_gateway *g, const json_t *told, int64_t number)
{
    const char *epoch = text_of(told, "epoch");

    snprintf(g->epoch, sizeof(g->epoch), "%s", epoch == NULL ? "" : epoch);
    g->last_event = number < 0 ? 0 : (uint64_t)number;
}

/* Takes a reference of `state`, which came as `n` bytes; NULL: it was cleared. */
static int take_state(struct view *v, const struct topic *t, json_t *state, size_t n, int64_t now_s,
                      struct err *err)
{
    const char *said = text_of(state, "gateway");
    bool online = json_is_true(json_object_get(state, "online"));
    struct view_gateway *g;

    if (state != NULL && (said == NULL || strcmp(said, t->gateway) != 0))
        return err_set(err, ERR_INVALID, "gateway: names another one, or none");
    g = view_gateway(v, t->gateway);
    if (state == NULL && g == NULL)
        return 0;
    if (check_room(v, t, err) != 0)
        return -err->code;
    if (v->state_bytes - (g == NULL ? 0 : g->state_bytes) + n > VIEW_STATES_MAX)
        return err_set(err, ERR_INVALID, "the states of all gateways take more than %llu MiB",
                       (unsigned long long)(VIEW_STATES_MAX >> 20));
    g = gateway_of(v, t->gateway);
    if (g == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    v->state_bytes = v->state_bytes - g->state_bytes + n;
    g->state_bytes = n;
    if (g->known && g->online != online)
        g->since_s = now_s;
    g->known = state != NULL;
    g->online = online;
    json_decref(g->state);
    g->state = json_incref(state);
    if (g->last_event == 0 || !same_epoch(g, state))
        begin_events(g, state, json_integer_value(json_object_get(state, "event_seq")));
    g->version = ++v->version;
    return 0;
}

static int take_event(struct view *v, const struct topic *t, const json_t *event, struct err *err)
{
    const json_t *seq = json_object_get(event, "seq");
    struct view_gateway *g = view_gateway(v, t->gateway);
    uint64_t number = (uint64_t)json_integer_value(seq);

    if (!json_is_integer(seq) || json_integer_value(seq) <= 0)
        return err_set(err, ERR_INVALID, "seq: must be a number from 1 on");
    if (g == NULL)
        return 0;
    if (g->last_event == 0 || !same_epoch(g, event)) {
        begin_events(g, event, json_integer_value(seq));
    } else if (number > g->last_event) {
        g->missed = g->missed || number != g->last_event + 1;
        g->last_event = number;
    }
    g->version = ++v->version;
    return 0;
}

static int take(struct view *v, const struct topic *t, const void *payload, size_t n, int64_t now_s,
                struct err *err)
{
    json_error_t at;
    json_t *value;
    int rc;

    if (n > VIEW_MESSAGE_MAX)
        return err_set(err, ERR_INVALID, "%zu bytes, at most %d are taken", n, VIEW_MESSAGE_MAX);
    value = json_loadb(payload, n, JSON_REJECT_DUPLICATES, &at);
    if (value == NULL)
        return err_set(err, ERR_INVALID, "not JSON: %s", at.text);
    if (!json_is_object(value))
        rc = err_set(err, ERR_INVALID, "must be an object");
    else if (t->kind == TOPIC_STATE)
        rc = take_state(v, t, value, n, now_s, err);
    else if (t->kind == TOPIC_DEVICE)
        rc = take_device(v, t, value, err);
    else
        rc = take_event(v, t, value, err);
    json_decref(value);
    return rc;
}

int view_take(struct view *v, const char *root, const char *topic, const void *payload, size_t n,
              int64_t now_s, struct err *err)
{
    struct topic t;
    int rc = read_topic(root, topic, &t, err);

    if (rc != 0)
        return rc;
    if (t.kind == TOPIC_OTHER)
        return 1;
    if (n > 0)
        rc = take(v, &t, payload, n, now_s, err);
    else if (t.kind == TOPIC_DEVICE)
        device_gone(v, t.gateway, t.device);
    else if (t.kind == TOPIC_STATE)
        rc = take_state(v, &t, NULL, 0, now_s, err);
    return rc == 0 ? 0 : err_wrap(err, rc, "%.300s", topic);
}
