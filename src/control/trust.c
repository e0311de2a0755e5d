/* control/trust.c - see trust.h. */
#include "control/trust.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/map.h"
#include "base/str.h"
#include "trust/shelf.h"

#define KNOWN "trust-known" /* a value: the rows are what decides, not the files */

/* -- as they are saved --------------------------------------------------------------------------
 */

struct loading {
    const char *state_dir;
    struct trust_change *rows; /* owned array; the rows own what they hold */
    size_t count;
    struct err *err;
};

static int nomem(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory");
}

/* Takes what the row holds. */
static int rows_add(struct loading *l, const struct trust_change *row)
{
    struct trust_change *more = realloc(l->rows, (l->count + 1) * sizeof(*more));

    if (more == NULL) {
        struct trust_change gone = *row;

        trust_change_fini(&gone);
        return nomem(l->err);
    }
    l->rows = more;
    l->rows[l->count++] = *row;
    return 0;
}

static void rows_free(struct loading *l)
{
    for (size_t i = 0; i < l->count; i++)
        trust_change_fini(&l->rows[i]);
    free(l->rows);
    l->rows = NULL;
    l->count = 0;
}

static void log_unusable(const struct trust_change *row)
{
    log_event(LOG_CERT, LOG_ERROR_, "anchor-unusable", "set=%s fingerprint=%s msg=%s todo=%s",
              trust_side_name(row->side), row->fp, LOG_Q(row->fault),
              LOG_Q("nobody is believed for it; add it again: certflipctl trust add"));
}

/* A row whose certificate cannot be read is kept: it says so until it is added again. */
static int take_row(void *arg, const struct store_trust *t)
{
    struct loading *l = arg;
    struct trust_change row = {.time_s = t->time_s};
    struct err why = {0};

    if (trust_side_parse(t->set, &row.side) != 0 || trust_kind_parse(t->kind, &row.kind) != 0)
        return err_set(l->err, ERR_STORE,
                       "the database knows a set '%s' with a '%s', this program "
                       "does not: install the later version again",
                       t->set, t->kind);
    memcpy(row.fp, t->fp, sizeof(row.fp));
    row.anchor = trust_shelf_get(l->state_dir, row.kind == TRUST_REMOVED, row.side, row.fp, &why);
    row.only = strdup(t->only);
    row.note = strdup(t->note);
    row.who = strdup(t->who);
    if (row.anchor == NULL && row.kind != TRUST_REMOVED)
        row.fault = strdup(why.msg);
    if (row.fault != NULL)
        log_unusable(&row);
    return rows_add(l, &row);
}

static int copy_row(void *arg, const struct trust_change *from)
{
    struct loading *l = arg;
    struct trust_change row = *from;

    if (from->fault != NULL) {
        log_event(LOG_CERT, LOG_WARN_, "file-passed-over", "msg=%s", LOG_Q(from->fault));
        return 0;
    }
    row.anchor = tls_anchor_ref(from->anchor);
    row.only = strdup(from->only);
    row.note = strdup(from->note);
    row.who = strdup(from->who);
    if (row.only != NULL && row.note != NULL && row.who != NULL)
        return rows_add(l, &row);
    trust_change_fini(&row);
    return nomem(l->err);
}

static int by_time(const void *a, const void *b)
{
    const struct trust_change *x = a, *y = b;

    if (x->time_s != y->time_s)
        return x->time_s < y->time_s ? -1 : 1;
    return x->kind == y->kind ? 0 : x->kind < y->kind ? -1 : 1; /* TRUST_REMOVED last */
}

/* What the files say, the latest of each. */
static int rows_of_files(struct loading *l)
{
    int rc = 0;

    for (int side = 0; rc == 0 && side < TRUST_SIDES; side++)
        for (int archived = 0; rc == 0 && archived < 2; archived++)
            rc = trust_shelf_each(l->state_dir, archived != 0, (enum trust_side)side, copy_row, l,
                                  l->err);
    for (size_t i = 0; i < l->count; i++) /* an archived one was moved there as it was */
        if (strstr(l->rows[i].anchor->from, "/archive/") != NULL)
            l->rows[i].kind = TRUST_REMOVED;
    if (l->count > 1)
        qsort(l->rows, l->count, sizeof(*l->rows), by_time);
    return rc;
}

static void row_to_store(const struct trust_change *row, struct store_trust *out)
{
    memset(out, 0, sizeof(*out));
    snprintf(out->set, sizeof(out->set), "%s", trust_side_name(row->side));
    snprintf(out->kind, sizeof(out->kind), "%s", trust_kind_name(row->kind));
    memcpy(out->fp, row->fp, sizeof(out->fp));
    snprintf(out->only, sizeof(out->only), "%s", row->only == NULL ? "" : row->only);
    snprintf(out->note, sizeof(out->note), "%s", row->note == NULL ? "" : row->note);
    snprintf(out->who, sizeof(out->who), "%s", row->who == NULL ? "" : row->who);
    out->time_s = row->time_s;
}

static int save_rows(struct store *store, const struct trust_change *rows, size_t n,
                     struct err *err)
{
    struct store_trust t;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < n; i++) {
        row_to_store(&rows[i], &t);
        rc = store_trust_put(store, &t, err);
    }
    return rc;
}

/* A database that knows nothing yet learns it from the files. */
static int learn(struct store *store, struct loading *l)
{
    int rc = rows_of_files(l);

    if (rc != 0 || (rc = store_begin(store, l->err)) != 0)
        return rc;
    rc = save_rows(store, l->rows, l->count, l->err);
    if (rc == 0)
        rc = store_value_put(store, KNOWN, 1, l->err);
    if (rc != 0) {
        store_rollback(store);
        return rc;
    }
    rc = store_commit(store, l->err);
    if (rc == 0 && l->count != 0)
        log_event(LOG_CERT, LOG_NOTICE_, "trust-from-files", "changes=%zu msg=%s", l->count,
                  LOG_Q("the database is new: what was changed about anchors is as their files "
                        "say"));
    return rc;
}

struct tidying {
    const char *state_dir;
    const struct trust_changes *changes;
};

/* A file in force whose row is not there, or says that it was removed: the power went in the middle
 * of a change. */
static int tidy_one(void *arg, const struct trust_change *file)
{
    const struct tidying *t = arg;
    const struct trust_change *row = trust_changes_find(t->changes, file->side, file->fp);
    struct err err = {0};

    if (file->fault != NULL || (row != NULL && row->kind != TRUST_REMOVED))
        return 0;
    if (trust_shelf_archive(t->state_dir, file->side, file->fp, &err) != 0)
        log_event(LOG_CERT, LOG_WARN_, "not-archived", "msg=%s", LOG_Q(err.msg));
    return 0;
}

static void tidy(const char *state_dir, const struct trust_changes *changes)
{
    struct tidying t = {state_dir, changes};

    for (int side = 0; side < TRUST_SIDES; side++)
        (void)trust_shelf_each(state_dir, false, (enum trust_side)side, tidy_one, &t, NULL);
}

int trust_load(struct store *store, const char *state_dir, struct trust_changes **out,
               struct err *err)
{
    struct loading l = {.state_dir = state_dir, .err = err};
    struct trust_changes *changes = NULL;
    int64_t known = 0;
    int rc = store_value_get(store, KNOWN, &known, err);

    if (rc == 0)
        rc = known != 0 ? store_trust_each(store, take_row, &l, err) : learn(store, &l);
    if (rc == 0 && (changes = trust_changes_with(NULL, l.rows, l.count)) == NULL)
        rc = nomem(err);
    rows_free(&l);
    if (rc != 0)
        return rc;
    tidy(state_dir, changes);
    *out = changes;
    return 0;
}

struct trust_changes *trust_of_files(const char *state_dir)
{
    struct err err = {0};
    struct loading l = {.state_dir = state_dir, .err = &err};
    struct trust_changes *changes = NULL;

    if (rows_of_files(&l) == 0)
        changes = trust_changes_with(NULL, l.rows, l.count);
    rows_free(&l);
    return changes;
}

/* -- what there is ------------------------------------------------------------------------------
 */

/* The listeners, or the upstreams, one after the other.  NULL past the last one; *source is NULL
 * for one that has no use for anchors. */
static const char *part(const struct wk_snapshot *s, enum trust_side side, size_t i,
                        const struct snapshot_source **source)
{
    const struct conf *c = s->conf;

    *source = NULL;
    if (side == TRUST_UPSTREAM) {
        if (i >= c->upstream_count)
            return NULL;
        *source = &s->upstream_source[i];
        return c->upstreams[i].name;
    }
    if (i >= c->listener_count)
        return NULL;
    if (c->listeners[i].type == CONF_LISTEN_TLS && c->listeners[i].client_cert != CONF_CERT_NONE)
        *source = &s->listener_source[i];
    return c->listeners[i].name;
}

struct items {
    struct trust_item *at; /* owned */
    size_t count, capacity;
    bool nomem;
};

static struct trust_item *item_of(struct items *all, enum trust_side side, const char *fp)
{
    struct trust_item *more;

    for (size_t i = 0; i < all->count; i++)
        if (all->at[i].side == side && strcmp(all->at[i].fp, fp) == 0)
            return &all->at[i];
    if (all->count == all->capacity) {
        size_t capacity = 2 * all->capacity + 16;

        more = realloc(all->at, capacity * sizeof(*more));
        if (more == NULL) {
            all->nomem = true;
            return NULL;
        }
        all->at = more;
        all->capacity = capacity;
    }
    more = &all->at[all->count++];
    *more = (struct trust_item){.side = side, .fp = fp};
    return more;
}

static void items_of_files(struct items *all, enum trust_side side, const struct trust_list *files)
{
    for (size_t i = 0; i < files->count; i++) {
        struct trust_item *item = item_of(all, side, files->at[i]->fp);

        if (item != NULL)
            item->anchor = item->file = files->at[i];
    }
}

static void items_in_force(struct items *all, enum trust_side side, const struct trust_list *l,
                           bool helper)
{
    for (size_t i = 0; i < l->count; i++) {
        struct trust_item *item = item_of(all, side, l->at[i]->fp);

        if (item == NULL)
            continue;
        /* An anchor of one listener and an intermediate of another is an anchor. */
        item->helper = helper && (item->helper || !item->in_force);
        item->in_force = true;
        if (item->anchor == NULL)
            item->anchor = l->at[i];
    }
}

struct trust_item *trust_items(const struct hub *h, size_t *count)
{
    const struct wk_snapshot *s = hub_snapshot(h);
    const struct snapshot_source *source;
    struct items all = {0};

    for (int k = 0; k < TRUST_SIDES; k++) {
        enum trust_side side = (enum trust_side)k;

        for (size_t i = 0; part(s, side, i, &source) != NULL; i++) {
            if (source == NULL)
                continue;
            items_of_files(&all, side, &source->files);
            items_in_force(&all, side, &source->set.anchors, false);
            items_in_force(&all, side, &source->set.helpers, true);
        }
        for (size_t i = 0; s->changes != NULL && i < s->changes->count; i++) {
            const struct trust_change *row = &s->changes->at[i];
            struct trust_item *item = row->side == side ? item_of(&all, side, row->fp) : NULL;

            if (item == NULL)
                continue;
            item->change = row;
            item->helper = item->helper || (row->kind == TRUST_INTERMEDIATE && !item->in_force);
            if (item->anchor == NULL)
                item->anchor = row->anchor;
        }
    }
    if (all.nomem || (all.at == NULL && (all.at = calloc(1, sizeof(*all.at))) == NULL)) {
        free(all.at);
        return NULL;
    }
    *count = all.count;
    return all.at;
}

void trust_item_files(const struct hub *h, const struct trust_item *item,
                      void (*each)(void *arg, const struct tls_anchor *a), void *arg)
{
    const struct snapshot_source *source;

    for (size_t i = 0; part(hub_snapshot(h), item->side, i, &source) != NULL; i++)
        for (size_t k = 0; source != NULL && k < source->files.count; k++)
            if (strcmp(source->files.at[k]->fp, item->fp) == 0)
                each(arg, source->files.at[k]);
}

bool trust_has_part(const struct hub *h, enum trust_side side, const char *name)
{
    const struct snapshot_source *source;
    const char *have;

    for (size_t i = 0; (have = part(hub_snapshot(h), side, i, &source)) != NULL; i++)
        if (source != NULL && strcmp(have, name) == 0)
            return true;
    return false;
}

bool trust_stands_in_all(const struct hub *h, enum trust_side side, const char *fp,
                         const struct trust_change *row)
{
    const struct snapshot_source *source;
    const char *name;

    for (size_t i = 0; (name = part(hub_snapshot(h), side, i, &source)) != NULL; i++)
        if (source != NULL && trust_change_serves(row, name) &&
            trust_list_find(&source->files, fp) == NULL)
            return false;
    return true;
}

const char *trust_takes_away(const struct hub *h, const struct trust_change *row)
{
    const struct snapshot_source *source;
    const char *name;

    for (size_t i = 0; (name = part(hub_snapshot(h), row->side, i, &source)) != NULL; i++)
        if (source != NULL && trust_list_find(&source->set.anchors, row->fp) != NULL &&
            (row->kind == TRUST_REMOVED || trust_list_find(&source->files, row->fp) == NULL) &&
            (row->kind != TRUST_ANCHOR || !trust_change_serves(row, name)))
            return name;
    return NULL;
}

void trust_item_serves(const struct hub *h, const struct trust_item *item,
                       void (*each)(void *arg, const char *name), void *arg)
{
    const struct snapshot_source *source;
    const char *name;

    for (size_t i = 0; (name = part(hub_snapshot(h), item->side, i, &source)) != NULL; i++)
        if (source != NULL && (trust_list_find(&source->set.anchors, item->fp) != NULL ||
                               trust_list_find(&source->set.helpers, item->fp) != NULL))
            each(arg, name);
}

/* -- who depends on it --------------------------------------------------------------------------
 */

bool trust_whole(const struct hub *h, enum trust_side side, struct trust_set *out)
{
    const struct snapshot_source *source;
    struct trust_set s = {0};
    int rc = 0;

    for (size_t i = 0; rc == 0 && part(hub_snapshot(h), side, i, &source) != NULL; i++) {
        if (source == NULL)
            continue;
        for (size_t k = 0; rc == 0 && k < source->set.anchors.count; k++)
            if (trust_list_find(&s.anchors, source->set.anchors.at[k]->fp) == NULL)
                rc = trust_list_add(&s.anchors, tls_anchor_ref(source->set.anchors.at[k]));
        for (size_t k = 0; rc == 0 && k < source->set.helpers.count; k++)
            if (trust_list_find(&s.helpers, source->set.helpers.at[k]->fp) == NULL)
                rc = trust_list_add(&s.helpers, tls_anchor_ref(source->set.helpers.at[k]));
    }
    if (rc != 0) {
        trust_set_fini(&s);
        return false;
    }
    *out = s;
    return true;
}

/* The fingerprint of the anchor that vouches for the sensor, or for the broker; "" for none. */
static const char *vouches(const struct hub_session *s, enum trust_side side)
{
    return side == TRUST_DOWNSTREAM ? s->anchor : s->leg < 0 ? "" : s->broker;
}

/* Live sessions of the device for which this anchor vouches on that side. */
static unsigned sessions_on(const struct hub_device *d, enum trust_side side, const char *fp)
{
    unsigned n = 0;

    list_for_each (it, &d->sessions)
        n += strcmp(vouches(list_entry(it, struct hub_session, link), side), fp) == 0;
    return n;
}

static bool identity_is_of(const struct trust_set *set, const struct hub_device *d, int slot,
                           const char *fp)
{
    const struct tls_anchor *root =
        d->cred[slot] == NULL ? NULL : trust_set_root(set, d->cred[slot]);

    return root != NULL && strcmp(root->fp, fp) == 0;
}

/* One walk over the devices, which counts for all anchors. */
struct counting {
    struct trust_item *items;
    struct map *by_fp[TRUST_SIDES]; /* of items; owned */
    size_t *last;                   /* owned; by item: the device that it was counted for */
    size_t device;                  /* from 1 */
};

static void count_for(struct counting *c, enum trust_side side, const char *fp, size_t sessions)
{
    struct trust_item *item = *fp == '\0' ? NULL : map_get(c->by_fp[side], fp);
    size_t *last;

    if (item == NULL)
        return;
    last = &c->last[item - c->items];
    item->devices += *last != c->device;
    item->sessions += sessions;
    *last = c->device;
}

static void count_device(struct counting *c, const struct trust_set *sets,
                         const struct hub_device *d)
{
    count_for(c, TRUST_DOWNSTREAM, d->sensor, 0);
    list_for_each (it, &d->sessions) {
        const struct hub_session *s = list_entry(it, struct hub_session, link);

        for (int side = 0; side < TRUST_SIDES; side++)
            count_for(c, (enum trust_side)side, vouches(s, (enum trust_side)side), 1);
    }
    for (int k = 0; k < TRUST_SIDES * FLIP_SLOTS; k++) {
        const struct cred *identity = d->cred[k % FLIP_SLOTS];
        enum trust_side side = (enum trust_side)(k / FLIP_SLOTS);
        const struct tls_anchor *root =
            identity == NULL ? NULL : trust_set_root(&sets[side], identity);

        if (root != NULL)
            count_for(c, side, root->fp, 0);
    }
}

static bool counting_init(struct counting *c, struct trust_item *items, size_t n)
{
    bool good = true;

    *c = (struct counting){.items = items, .last = calloc(n + 1, sizeof(*c->last))};
    for (int side = 0; side < TRUST_SIDES; side++)
        c->by_fp[side] = map_new();
    if (c->last == NULL || c->by_fp[TRUST_DOWNSTREAM] == NULL || c->by_fp[TRUST_UPSTREAM] == NULL)
        return false;
    for (size_t i = 0; good && i < n; i++)
        good = map_put(c->by_fp[items[i].side], items[i].fp, &items[i]) == 0;
    return good;
}

static void counting_fini(struct counting *c)
{
    for (int side = 0; side < TRUST_SIDES; side++)
        map_free(c->by_fp[side]);
    free(c->last);
}

struct trust_item *trust_items_counted(const struct hub *h, size_t *count)
{
    struct trust_item *items = trust_items(h, count);
    struct trust_set sets[TRUST_SIDES] = {0};
    struct counting c = {0};
    struct hub_device *const *all;
    size_t n;
    bool good;

    if (items == NULL)
        return NULL;
    good = counting_init(&c, items, *count) &&
           trust_whole(h, TRUST_UPSTREAM, &sets[TRUST_UPSTREAM]) &&
           trust_whole(h, TRUST_DOWNSTREAM, &sets[TRUST_DOWNSTREAM]);
    all = hub_devices(h, &n);
    for (size_t i = 0; good && i < n; i++) {
        c.device = i + 1;
        count_device(&c, sets, all[i]);
    }
    counting_fini(&c);
    trust_set_fini(&sets[TRUST_UPSTREAM]);
    trust_set_fini(&sets[TRUST_DOWNSTREAM]);
    if (good)
        return items;
    free(items);
    return NULL;
}

struct asking {
    void (*each)(void *arg, const struct trust_dependent *d);
    void *arg;
    size_t count;
};

static void tell(struct asking *a, enum trust_what what, const char *name, enum flip_slot slot,
                 unsigned sessions)
{
    a->count++;
    a->each(a->arg, &(struct trust_dependent){what, name, slot, sessions});
}

static bool has_expired(const struct tls_anchor *a)
{
    return a->info->not_after_s < clock_date_s();
}

static bool has_other(const struct trust_list *l, const char *fp)
{
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->at[i]->fp, fp) != 0 && !has_expired(l->at[i]))
            return true;
    return false;
}

/* Listeners and upstreams to which nobody could connect, or that could reach nobody. */
static void ask_parts(const struct hub *h, enum trust_side side, const char *fp, struct asking *a)
{
    const struct snapshot_source *source;
    const char *name;

    for (size_t i = 0; (name = part(hub_snapshot(h), side, i, &source)) != NULL; i++)
        if (source != NULL && trust_list_find(&source->set.anchors, fp) != NULL &&
            !has_other(&source->set.anchors, fp))
            tell(a, TRUST_LAST, name, FLIP_OLD, 0);
}

static void ask_device(const struct trust_set *set, enum trust_side side, const char *fp,
                       const struct hub_device *d, struct asking *a)
{
    unsigned live = sessions_on(d, side, fp);

    if (side == TRUST_DOWNSTREAM && (live != 0 || strcmp(d->sensor, fp) == 0))
        tell(a, TRUST_SENSOR, d->name, FLIP_OLD, live);
    if (side == TRUST_UPSTREAM && live != 0)
        tell(a, TRUST_BROKER, d->name, FLIP_OLD, live);
    for (int slot = 0; slot < FLIP_SLOTS; slot++)
        if (identity_is_of(set, d, slot, fp))
            tell(a, TRUST_IDENTITY, d->name, (enum flip_slot)slot, 0);
}

size_t trust_dependents(const struct hub *h, enum trust_side side, const char *fp,
                        void (*each)(void *arg, const struct trust_dependent *d), void *arg)
{
    struct asking a = {each, arg, 0};
    struct hub_device *const *all;
    const struct tls_anchor *anchor;
    struct trust_set set;
    size_t n;

    if (!trust_whole(h, side, &set))
        return 0;
    anchor = trust_list_find(&set.anchors, fp);
    if (anchor != NULL && !has_expired(anchor)) /* else nobody is believed for it as it is */
        ask_parts(h, side, fp, &a);
    /* Of a CA that is there twice (renewed, with the same key) each does what the other does. */
    if (anchor != NULL && !has_expired(anchor) &&
        trust_list_instead(&set.anchors, fp, clock_date_s()) == NULL) {
        all = hub_devices(h, &n);
        for (size_t i = 0; i < n; i++)
            ask_device(&set, side, fp, all[i], &a);
    }
    trust_set_fini(&set);
    return a.count;
}

void trust_sum(const struct hub *h, enum trust_side side, struct trust_sum *out)
{
    int64_t now_s = clock_date_s();
    size_t n = 0;
    struct trust_item *items = trust_items(h, &n);

    *out = (struct trust_sum){0};
    for (size_t i = 0; items != NULL && i < n; i++) {
        const struct trust_item *item = &items[i];

        if (item->side != side)
            continue;
        out->removed += item->change != NULL && item->change->kind == TRUST_REMOVED;
        out->faulty += item->change != NULL && item->change->fault != NULL;
        if (!item->in_force || item->helper)
            continue;
        if (item->anchor->info->not_after_s < now_s) {
            out->expired++;
            continue;
        }
        out->in_force++;
        if (out->soonest == NULL ||
            item->anchor->info->not_after_s < out->soonest->info->not_after_s)
            out->soonest = item->anchor;
    }
    free(items);
}

/* -- changing it --------------------------------------------------------------------------------
 */

/* A change on its way. */
struct changing {
    struct hub *h;
    struct trust_change *rows; /* owned; the anchors are references of their own */
    size_t count;
    size_t written;               /* of whose rows the file is there */
    struct wk_snapshot *snapshot; /* owned reference: as it will be */
    char *state_dir;              /* owned */
};

static void changing_free(struct changing *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->count; i++)
        trust_change_fini(&c->rows[i]);
    free(c->rows);
    snapshot_unref(c->snapshot);
    free(c->state_dir);
    free(c);
}

/* The files of those that were to be added go; what was archived to be removed does no harm there,
 * as only rows decide, and may be of an earlier time. */
static void unwrite(struct changing *c)
{
    struct err err = {0};

    for (size_t i = 0; i < c->written; i++) {
        const struct trust_change *row = &c->rows[i];
        const struct trust_change *was =
            trust_changes_find(hub_snapshot(c->h)->changes, row->side, row->fp);

        if (row->kind == TRUST_REMOVED || (was != NULL && was->kind != TRUST_REMOVED))
            continue;
        if (trust_shelf_drop(c->state_dir, row->side, row->fp, &err) != 0)
            log_event(LOG_CERT, LOG_WARN_, "file-left", "msg=%s", LOG_Q(err.msg));
    }
}

static int also_save(void *arg, struct store *store, struct err *err)
{
    struct changing *c = arg;

    crash_point("trust.save");
    return save_rows(store, c->rows, c->count, err);
}

static void log_change(const struct trust_change *row)
{
    log_event(LOG_CERT, LOG_NOTICE_, row->kind == TRUST_REMOVED ? "anchor-removed" : "anchor-added",
              "set=%s kind=%s fingerprint=%s subject=%s by=%s%s%s", trust_side_name(row->side),
              trust_kind_name(row->kind), row->fp,
              LOG_Q(row->anchor == NULL ? "?" : row->anchor->info->subject), LOG_Q(row->who),
              *row->note == '\0' ? "" : " note=", *row->note == '\0' ? "" : LOG_Q(row->note));
}

static void also_done(void *arg)
{
    struct changing *c = arg;
    struct err err = {0};

    hub_swap(c->h, c->snapshot);
    for (size_t i = 0; i < c->count; i++) {
        const struct trust_change *row = &c->rows[i];

        log_change(row);
        if (row->kind != TRUST_REMOVED)
            continue;
        crash_point("trust.archive");
        if (trust_shelf_archive(c->state_dir, row->side, row->fp, &err) != 0)
            log_event(LOG_CERT, LOG_WARN_, "not-archived", "msg=%s", LOG_Q(err.msg));
    }
    changing_free(c);
}

static void also_undone(void *arg)
{
    unwrite(arg);
    changing_free(arg);
}

static int copy_rows(struct changing *c, const struct trust_change *rows, size_t n)
{
    struct trust_changes *copy = trust_changes_with(NULL, rows, n);

    if (copy == NULL)
        return -ERR_NOMEM;
    c->rows = copy->at; /* takes what is in it */
    c->count = copy->count;
    copy->at = NULL;
    copy->count = 0;
    trust_changes_unref(copy);
    return 0;
}

static int prepare(struct changing *c, struct err *err)
{
    const struct wk_snapshot *now = hub_snapshot(c->h);
    struct trust_changes *changes = trust_changes_with(now->changes, c->rows, c->count);
    int rc = 0;

    if (changes == NULL)
        return nomem(err);
    c->snapshot = snapshot_with_trust(now, changes, err);
    trust_changes_unref(changes);
    if (c->snapshot == NULL)
        return -err->code;
    while (rc == 0 && c->written < c->count) {
        const struct trust_change *row = &c->rows[c->written];

        if (row->anchor != NULL) /* else a file that cannot be used: it is moved as it is */
            rc = trust_shelf_put(c->state_dir, row, err);
        c->written += rc == 0;
    }
    if (rc != 0)
        unwrite(c);
    return rc;
}

int trust_begin(struct hub *h, const char *state_dir, const struct trust_change *rows, size_t n,
                struct err *err)
{
    struct changing *c = calloc(1, sizeof(*c));
    struct err why = {0};
    int rc = 0;

    if (c == NULL)
        return nomem(err);
    c->h = h;
    c->state_dir = strdup(state_dir);
    if (c->state_dir == NULL || copy_rows(c, rows, n) != 0)
        rc = nomem(&why);
    if (rc == 0)
        rc = prepare(c, &why);
    if (rc != 0) {
        *err = why;
        changing_free(c);
        return rc;
    }
    hub_with_flush(h, &(struct hub_also){also_save, also_done, also_undone, c});
    return 0;
}
