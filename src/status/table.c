/* status/table.c - devices as the page wants them: searched, filtered, sorted, a piece of them; and
 * when their certificates end.  See inside.h.
 *
 * All devices are looked at, and only those of the piece are made into JSON: ten thousand cost a
 * few milliseconds.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "control/jsonrpc.h"
#include "control/show.h"
#include "status/inside.h"

#define WEEK_S     (INT64_C(7) * 86400)
#define WEEKS      52
#define SOON_S     (INT64_C(30) * 86400)
#define SEARCH_MAX 128

/* -- which -- */

static bool is_all(const struct hub *h, const struct hub_device *d)
{
    (void)h;
    (void)d;
    return true;
}

static bool is_online(const struct hub *h, const struct hub_device *d)
{
    (void)h;
    return d->session_count != 0;
}

static bool is_offline(const struct hub *h, const struct hub_device *d)
{
    return !is_online(h, d);
}

static bool has_failed(const struct hub *h, const struct hub_device *d)
{
    (void)h;
    return d->error != NULL || d->flip.phase == FLIP_ROLLED_BACK;
}

/* Somebody has to do something about it: it was rolled back, cannot connect, has a new identity
 * that cannot be used, one in use with an error of lint, or one that ends soon. */
static bool wants_attention(const struct hub *h, const struct hub_device *d)
{
    enum flip_slot slot = flip_active_slot(&d->flip);

    return d->flip.phase == FLIP_ROLLED_BACK || d->cred[slot] == NULL ||
           d->fault[FLIP_OLD] != NULL || d->fault[FLIP_NEW] != NULL ||
           hub_lint_now(h, d, slot).errors != 0 ||
           cred_leaf(d->cred[slot])->not_after_s < clock_date_s() + SOON_S;
}

static const struct {
    const char *word;
    bool (*is)(const struct hub *h, const struct hub_device *d); /* NULL: the phase of that name */
} filters[] = {{"all", is_all},         {"online", is_online},
               {"offline", is_offline}, {"attention", wants_attention},
               {"failed", has_failed},  {"steady", NULL},
               {"staged", NULL},        {"trial", NULL},
               {"committed", NULL},     {"rolled-back", NULL}};

#define FILTERS (sizeof(filters) / sizeof(filters[0]))

/* Is `part`, in whatever case, somewhere in the text? */
static bool holds(const char *text, const char *part)
{
    return strcasestr(text, part) != NULL;
}

static bool is_found(const struct hub_device *d, const char *search)
{
    if (*search == '\0' || holds(d->name, search))
        return true;
    for (int slot = 0; slot < FLIP_SLOTS; slot++)
        if (d->cred[slot] != NULL && (holds(cred_leaf(d->cred[slot])->subject, search) ||
                                      holds(cred_leaf(d->cred[slot])->issuer, search)))
            return true;
    return false;
}

/* -- in which order -- */

struct row {
    int64_t key;
    size_t at; /* by name */
};

static int64_t key_of_name(const struct hub_device *d)
{
    (void)d;
    return 0;
}

static int64_t key_of_expiry(const struct hub_device *d)
{
    const struct cred *cred = d->cred[flip_active_slot(&d->flip)];

    return cred == NULL ? INT64_MIN : cred_leaf(cred)->not_after_s;
}

static int64_t key_of_changed(const struct hub_device *d)
{
    return d->changed_s;
}

static int64_t key_of_failed(const struct hub_device *d)
{
    return d->error == NULL ? 0 : d->error->time_s;
}

static int64_t key_of_phase(const struct hub_device *d)
{
    return (int64_t)d->flip.phase;
}

static const struct {
    const char *word;
    int64_t (*key)(const struct hub_device *d);
} orders[] = {{"name", key_of_name},
              {"expiry", key_of_expiry},
              {"changed", key_of_changed},
              {"failed", key_of_failed},
              {"phase", key_of_phase}};

#define ORDERS (sizeof(orders) / sizeof(orders[0]))

static int ascending(const void *pa, const void *pb)
{
    const struct row *a = pa, *b = pb;

    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return a->at < b->at ? -1 : a->at > b->at;
}

/* -- a piece of them -- */

struct terms {
    const char *search;
    size_t filter, order;
    bool down;
    size_t offset, limit;
};

static const char *text_of(const json_t *params, const char *name, const char *otherwise)
{
    const json_t *value = json_object_get(params, name);

    return json_is_string(value) ? json_string_value(value) : otherwise;
}

static int refuse_word(struct rpc_fault *f, const char *name, const char *allowed)
{
    return rpc_refuse(f, RPC_INVALID_PARAMS, NULL, "%s: must be one of %s", name, allowed);
}

static int check_names(json_t *params, struct rpc_fault *f)
{
    static const char *const known[] = {"search", "show", "sort", "order", "offset", "limit"};
    const char *key;
    json_t *value;

    json_object_foreach(params, key, value)
    {
        size_t i = 0;

        while (i < sizeof(known) / sizeof(known[0]) && strcmp(known[i], key) != 0)
            i++;
        if (i == sizeof(known) / sizeof(known[0]))
            return rpc_refuse(f, RPC_INVALID_PARAMS, NULL,
                              "%.64s: there is no such parameter; allowed: search show sort order "
                              "offset limit",
                              key);
    }
    return 0;
}

static int terms_of(json_t *params, struct terms *t, struct rpc_fault *f)
{
    const char *show = text_of(params, "show", "all"), *sort = text_of(params, "sort", "name");
    const char *order = text_of(params, "order", "asc");
    json_int_t offset = json_integer_value(json_object_get(params, "offset"));

    if (check_names(params, f) != 0)
        return -1;
    *t = (struct terms){.search = text_of(params, "search", ""),
                        .down = strcmp(order, "desc") == 0,
                        .offset = (size_t)offset,
                        .limit = (size_t)json_integer_value(json_object_get(params, "limit"))};
    while (t->filter < FILTERS && strcmp(filters[t->filter].word, show) != 0)
        t->filter++;
    while (t->order < ORDERS && strcmp(orders[t->order].word, sort) != 0)
        t->order++;
    if (t->filter == FILTERS)
        return refuse_word(f, "show",
                           "all online offline attention failed steady staged trial committed "
                           "rolled-back");
    if (t->order == ORDERS)
        return refuse_word(f, "sort", "name expiry changed failed phase");
    if (!t->down && strcmp(order, "asc") != 0)
        return refuse_word(f, "order", "asc desc");
    if (offset < 0)
        return rpc_refuse(f, RPC_INVALID_PARAMS, NULL, "offset: must not be negative");
    if (strlen(t->search) > SEARCH_MAX)
        return rpc_refuse(f, RPC_INVALID_PARAMS, NULL, "search: at most %d bytes", SEARCH_MAX);
    return 0;
}

static bool passes(const struct hub *h, const struct hub_device *d, size_t filter)
{
    if (filters[filter].is != NULL)
        return filters[filter].is(h, d);
    return strcmp(flip_phase_name(d->flip.phase), filters[filter].word) == 0;
}

json_t *status_table(const struct status_view *v, json_t *params, struct rpc_fault *f)
{
    size_t n, found = 0;
    struct hub_device *const *all = hub_devices(v->hub, &n);
    struct terms t = {0};
    struct row *rows;
    json_t *list;

    if (terms_of(params, &t, f) != 0)
        return NULL;
    rows = calloc(n + 1, sizeof(*rows));
    if (rows == NULL) {
        rpc_refuse(f, RPC_BUSY, "try again", "no memory for that");
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        if (passes(v->hub, all[i], t.filter) && is_found(all[i], t.search))
            rows[found++] = (struct row){orders[t.order].key(all[i]), i};
    if (orders[t.order].key != key_of_name)
        qsort(rows, found, sizeof(*rows), ascending);
    list = json_array();
    for (size_t i = t.offset; i < found && i - t.offset < t.limit; i++)
        json_array_append_new(list, show_device(v->hub, all[rows[t.down ? found - 1 - i : i].at]));
    free(rows);
    return json_pack("{s:o, s:I, s:I}", "devices", list, "total", (json_int_t)found, "offset",
                     (json_int_t)t.offset);
}

/* -- when certificates end -- */

json_t *status_timeline(const struct status_view *v)
{
    size_t n, weeks[WEEKS] = {0}, expired = 0, later = 0, none = 0;
    struct hub_device *const *all = hub_devices(v->hub, &n);
    int64_t now_s = clock_date_s();
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++) {
        const struct cred *cred = all[i]->cred[flip_active_slot(&all[i]->flip)];
        int64_t left_s = cred == NULL ? 0 : cred_leaf(cred)->not_after_s - now_s;

        if (cred == NULL)
            none++;
        else if (left_s < 0)
            expired++;
        else if (left_s / WEEK_S >= WEEKS)
            later++;
        else
            weeks[left_s / WEEK_S]++;
    }
    for (size_t i = 0; i < WEEKS; i++)
        json_array_append_new(list, json_integer((json_int_t)weeks[i]));
    return json_pack("{s:I, s:o, s:I, s:I}", "expired", (json_int_t)expired, "weeks", list, "later",
                     (json_int_t)later, "none", (json_int_t)none);
}
