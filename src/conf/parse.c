#include "conf/parse.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <libconfig.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/str.h"
#include "conf/value.h"

enum { KEY_TEXT = 320, PATH_TEXT = KEY_TEXT + 16 };

/* One file, with what it includes. */
struct document {
    struct source source;
    config_t config;
};

struct documents {
    struct document **doc; /* owned, each owned: a config_t must not move */
    size_t count;
};

/* A group while it is walked: the struct that takes it, and what was seen of it. */
struct level {
    const struct conf_row *row; /* of the group or list; NULL: the top */
    void *base;
    bool *seen;       /* by row */
    const char *path; /* "listeners[0]." */
};

/* -- places
 * ------------------------------------------------------------------------------------------ */

static void note(struct parse *p, const void *base, const struct conf_row *row,
                 struct conf_place at, const char *path, bool bad)
{
    if (p->spot_count == p->spot_cap) {
        size_t cap = p->spot_cap == 0 ? 64 : 2 * p->spot_cap;
        struct parse_spot *grown = realloc(p->spots, cap * sizeof(*grown));

        if (grown == NULL) {
            conf_fault(&p->faults, at, NULL, "out of memory");
            return;
        }
        p->spots = grown;
        p->spot_cap = cap;
    }
    p->spots[p->spot_count++] =
        (struct parse_spot){base, row, at, path == NULL ? NULL : strdup(path), bad};
}

static int by_member(const void *a, const void *b)
{
    const struct parse_spot *x = a;
    const struct parse_spot *y = b;

    if (x->base != y->base)
        return (uintptr_t)x->base < (uintptr_t)y->base ? -1 : 1;
    return x->row == y->row ? 0 : (uintptr_t)x->row < (uintptr_t)y->row ? -1 : 1;
}

static const struct parse_spot *find(const struct parse *p, const void *base,
                                     const struct conf_row *row)
{
    struct parse_spot key = {.base = base, .row = row};

    if (p->spot_count == 0)
        return NULL;
    return bsearch(&key, p->spots, p->spot_count, sizeof(*p->spots), by_member);
}

const struct parse_spot *parse_spot(const struct parse *p, const void *base, const char *key)
{
    return find(p, base, conf_table_find(p->table, key));
}

/* The list whose elements hold `key`, or NULL. */
static const struct conf_row *list_around(const struct conf_table *t, const char *key)
{
    const struct conf_row *found = NULL;

    for (size_t i = 0; i < t->count; i++) {
        size_t n = strlen(t->rows[i].key);

        if (t->rows[i].kind == CONF_LIST && strncmp(key, t->rows[i].key, n) == 0 && key[n] == '.')
            found = &t->rows[i]; /* inner ones follow outer ones */
    }
    return found;
}

void parse_fault(struct parse *p, const void *base, const char *key, const char *fmt, ...)
{
    const struct conf_row *list = list_around(p->table, key);
    const struct parse_spot *element = list == NULL ? NULL : find(p, base, list);
    const struct parse_spot *spot = find(p, base, conf_table_find(p->table, key));
    struct conf_place at = {p->main_file, 0};
    char shown[KEY_TEXT];
    char *text = NULL;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (spot != NULL)
        at = spot->at;
    else if (element != NULL)
        at = element->at;
    if (element != NULL && element->path != NULL)
        snprintf(shown, sizeof(shown), "%s%s", element->path, key + strlen(list->key));
    else
        snprintf(shown, sizeof(shown), "%s", key);
    conf_fault(&p->faults, at, shown, "%s", n < 0 ? "out of memory" : text);
    if (n >= 0)
        free(text);
}

/* -- from settings to members ---------------------------------------------------------------------
 */

/* libconfig keeps 16 bits of a line's number: give each setting its whole number, as its hook. They
 * come in the order of the text. */
static void number_lines(config_setting_t *s, unsigned *last)
{
    unsigned line = (*last & ~0xffffu) | config_setting_source_line(s);

    if (line < *last)
        line += 0x10000;
    if (config_setting_source_line(s) != 0 || *last >= 0xffff)
        *last = line;
    config_setting_set_hook(s, (void *)(uintptr_t)*last);
    if (!config_setting_is_aggregate(s))
        return;
    for (int i = 0; i < config_setting_length(s); i++)
        number_lines(config_setting_get_elem(s, (unsigned)i), last);
}

static struct conf_place place(const struct document *d, const config_setting_t *s)
{
    return source_at(&d->source, (unsigned)(uintptr_t)config_setting_get_hook(s));
}

static struct conf_value value_of(const config_setting_t *s)
{
    struct conf_value v = {.kind = VALUE_OTHER};

    switch (config_setting_type(s)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        v.kind = VALUE_INT;
        v.i = config_setting_get_int64(s);
        break;
    case CONFIG_TYPE_FLOAT:
        v.kind = VALUE_FLOAT;
        v.f = config_setting_get_float(s);
        break;
    case CONFIG_TYPE_BOOL:
        v.kind = VALUE_BOOL;
        v.i = config_setting_get_bool(s);
        break;
    case CONFIG_TYPE_STRING:
        v.kind = VALUE_STRING;
        v.s = config_setting_get_string(s);
        break;
    default:
        break;
    }
    return v;
}

static void wrong_shape(struct parse *p, struct conf_place at, const char *key,
                        const struct conf_row *row)
{
    struct buf allowed = {0};

    conf_row_allowed(row, &allowed);
    conf_fault(&p->faults, at, key, "has the wrong shape: %.*s", (int)allowed.len,
               (const char *)allowed.p);
    buf_fini(&allowed);
}

static bool one_value(struct parse *p, const struct conf_row *row, void *base,
                      const config_setting_t *s, struct conf_place at, const char *key)
{
    struct conf_value one = value_of(s);
    struct conf_value *all = &one;
    bool many = config_setting_is_aggregate(s) && !config_setting_is_group(s);
    size_t n = many ? (size_t)config_setting_length(s) : 1;
    struct buf why = {0};
    int rc;

    if (!conf_row_takes_many(row)) {
        rc = conf_value_set(row, base, &one, at.file, &why);
    } else {
        if (many && n > 0) {
            all = calloc(n, sizeof(*all));
            for (size_t i = 0; all != NULL && i < n; i++)
                all[i] = value_of(config_setting_get_elem(s, (unsigned)i));
        }
        rc = all == NULL ? -ERR_NOMEM : conf_value_set_all(row, base, all, n, at.file, &why);
        if (all != &one)
            free(all);
    }
    if (rc != 0)
        conf_fault(&p->faults, at, key, "%.*s", why.len == 0 ? 13 : (int)why.len,
                   why.len == 0 ? "out of memory" : (const char *)why.p);
    buf_fini_wipe(&why);
    return rc == 0;
}

/* Give what was not said its default. */
static void complete(struct parse *p, const struct level *l, struct conf_place at)
{
    struct buf why = {0};
    char text[KEY_TEXT];

    for (size_t i = 0; i < p->table->count; i++) {
        const struct conf_row *row = &p->table->rows[i];
        const char *name = conf_row_name(row);

        if (row->kind == CONF_LIST || !conf_row_inside(row, l->row))
            continue;
        snprintf(text, sizeof(text), "%s%s", l->path, name);
        if (row->kind == CONF_GROUP) {
            char inner[PATH_TEXT];

            snprintf(inner, sizeof(inner), "%s%s.", l->path, name);
            complete(p, &(struct level){row, l->base, l->seen, inner}, at);
        } else if (!l->seen[i] && row->def == conf_required) {
            conf_row_allowed(row, &why);
            if (!p->broken)
                conf_fault(&p->faults, at, text, "is missing (%s): %.*s", row->help, (int)why.len,
                           (const char *)why.p);
        } else if (!l->seen[i] && conf_value_default(row, l->base, p->main_file, &why) != 0) {
            conf_fault(&p->faults, at, text, "%.*s", (int)why.len, (const char *)why.p);
        }
        why.len = 0;
    }
    buf_fini(&why);
}

static void group(struct parse *p, const struct document *d, const config_setting_t *s,
                  const struct level *l);

static void list(struct parse *p, const struct document *d, const struct conf_row *row, void *base,
                 const config_setting_t *s, const char *key)
{
    char **array = (char **)(void *)((char *)base + row->at);
    size_t *count = (size_t *)(void *)((char *)base + row->count_at);
    bool *seen = calloc(p->table->count, sizeof(*seen));
    int n = config_setting_length(s);

    if (*array == NULL) /* those of the top were made for all files together */
        *array = calloc((size_t)n + 1, row->size);
    for (int i = 0; seen != NULL && *array != NULL && i < n; i++) {
        const config_setting_t *element = config_setting_get_elem(s, (unsigned)i);
        char *at = *array + *count * row->size;
        char path[PATH_TEXT];
        char dotted[PATH_TEXT + 1];

        snprintf(path, sizeof(path), "%s[%d]", key, i);
        snprintf(dotted, sizeof(dotted), "%s.", path);
        if (!config_setting_is_group(element)) {
            conf_fault(&p->faults, place(d, element), path, "is not a group: a group { ... }");
            continue;
        }
        ++*count;
        memset(seen, 0, p->table->count * sizeof(*seen));
        note(p, at, row, place(d, element), path, false);
        group(p, d, element, &(struct level){row, at, seen, dotted});
        complete(p, &(struct level){row, at, seen, dotted}, place(d, element));
    }
    if (seen == NULL || *array == NULL)
        conf_fault(&p->faults, place(d, s), key, "out of memory");
    free(seen);
}

static void unknown(struct parse *p, struct conf_place at, const struct level *l, const char *key,
                    const char *name)
{
    const struct conf_row *near = conf_table_nearest(p->table, l->row, name);
    struct buf known = {0};

    if (near != NULL) {
        conf_fault(&p->faults, at, key, "unknown key: did you mean \"%s\"?", conf_row_name(near));
        return;
    }
    for (size_t i = 0; i < p->table->count; i++) {
        const struct conf_row *row = &p->table->rows[i];

        if (conf_row_inside(row, l->row))
            buf_printf(&known, "%s%s", known.len == 0 ? "" : " ", conf_row_name(row));
    }
    conf_fault(&p->faults, at, key, "unknown key: known here are %.*s", (int)known.len,
               (const char *)known.p);
    buf_fini(&known);
}

static void member(struct parse *p, const struct document *d, const config_setting_t *s,
                   const struct level *l)
{
    const char *name = config_setting_name(s) == NULL ? "" : config_setting_name(s);
    const struct conf_row *row = conf_table_member(p->table, l->row, name);
    struct conf_place at = place(d, s);
    const struct parse_spot *before;
    char key[KEY_TEXT];

    snprintf(key, sizeof(key), "%s%s", l->path, name);
    if (config_setting_type(s) == CONFIG_TYPE_NONE)
        return; /* where libconfig gave up; it has said so */
    if (row == NULL) {
        unknown(p, at, l, key, name);
    } else if (row->kind == CONF_GROUP) {
        char path[PATH_TEXT];

        snprintf(path, sizeof(path), "%s%s.", l->path, name);
        if (config_setting_is_group(s))
            group(p, d, s, &(struct level){row, l->base, l->seen, path});
        else
            wrong_shape(p, at, key, row);
    } else if (row->kind == CONF_LIST) {
        bool good = config_setting_is_list(s) ||
                    (config_setting_is_array(s) && config_setting_length(s) == 0);

        note(p, l->base, row, at, NULL, !good);
        if (good)
            list(p, d, row, l->base, s, key);
        else
            wrong_shape(p, at, key, row);
    } else if (l->seen[row - p->table->rows]) {
        before = NULL;
        for (size_t i = 0; i < p->spot_count; i++) { /* not sorted yet */
            if (p->spots[i].base == l->base && p->spots[i].row == row)
                before = &p->spots[i];
        }
        conf_fault(&p->faults, at, key, "is set already at %s:%u: keep one of them",
                   before == NULL ? "?" : before->at.file, before == NULL ? 0 : before->at.line);
    } else if (strcmp(row->key, "include_dir") == 0 && strcmp(at.file, p->main_file) != 0) {
        conf_fault(&p->faults, at, key, "belongs into the main file: move it to %s", p->main_file);
    } else {
        l->seen[row - p->table->rows] = true;
        note(p, l->base, row, at, NULL, !one_value(p, row, l->base, s, at, key));
    }
}

static void group(struct parse *p, const struct document *d, const config_setting_t *s,
                  const struct level *l)
{
    for (int i = 0; i < config_setting_length(s); i++)
        member(p, d, config_setting_get_elem(s, (unsigned)i), l);
}

/* -- files
 * -----------------------------------------------------------------------------------------------
 */

/* What libconfig has to say, in our form. */
static void syntax_fault(struct parse *p, const struct document *d)
{
    const char *text = config_error_text(&d->config);
    unsigned line = config_error_line(&d->config) < 0 ? 0 : (unsigned)config_error_line(&d->config);
    struct conf_place at = source_at(&d->source, line);
    char near[80];

    source_line(&d->source, line, near, sizeof(near));
    if (text != NULL && strcmp(text, "duplicate setting name") == 0)
        conf_fault(&p->faults, at, NULL,
                   "this group has a setting of that name already, at %s: keep one of them",
                   LOG_Q(near));
    else
        conf_fault(&p->faults, at, NULL,
                   "%s at or before %s: a setting is written name = value; a string in \"quotes\", "
                   "a group in { }, a list in ( )",
                   text == NULL ? "not understood" : text,
                   near[0] == '\0' ? "the end" : LOG_Q(near));
    p->broken = true;
}

static bool take(struct parse *p, struct documents *docs, const char *path, const char *text,
                 size_t n)
{
    struct document **grown = realloc(docs->doc, (docs->count + 1) * sizeof(struct document *));
    struct document *d = calloc(1, sizeof(*d));
    unsigned last = 0;
    bool ok;

    if (grown != NULL)
        docs->doc = grown;
    if (grown == NULL || d == NULL) {
        conf_fault(&p->faults, (struct conf_place){p->main_file, 0}, NULL, "out of memory");
        free(d);
        return false;
    }
    grown[docs->count++] = d;
    config_init(&d->config);
    ok = text == NULL ? source_read(&d->source, path, p->names, &p->faults)
                      : source_take(&d->source, path, text, n, p->names, &p->faults);
    if (!ok) {
        p->broken = true;
        return false;
    }
    p->broken |= d->source.partial;
    if (config_read_string(&d->config, (const char *)d->source.text.p) != CONFIG_TRUE)
        syntax_fault(p, d);
    number_lines(config_root_setting(&d->config), &last);
    return true;
}

static int is_conf(const struct dirent *e)
{
    size_t n = strlen(e->d_name);

    return e->d_name[0] != '.' && n > 5 && strcmp(e->d_name + n - 5, ".conf") == 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void take_folder(struct parse *p, struct documents *docs)
{
    const struct document *main_doc = docs->doc[0];
    config_setting_t *said =
        config_setting_get_member(config_root_setting(&main_doc->config), "include_dir");
    const char *text = said == NULL ? "conf.d" : config_setting_get_string(said);
    struct dirent **entries = NULL;
    struct stat st;
    char why[128];
    char *folder;
    int n = 0;

    if (text == NULL || text[0] == '\0')
        return; /* none, or not a string: reported with the others */
    folder = source_beside(said == NULL ? p->main_file : place(main_doc, said).file, text);
    if (folder != NULL && (said != NULL || stat(folder, &st) == 0 || errno != ENOENT))
        n = scandir(folder, &entries, is_conf, by_bytes);
    if (n < 0 || folder == NULL)
        conf_fault(&p->faults,
                   said == NULL ? (struct conf_place){p->main_file, 0} : place(main_doc, said),
                   "include_dir", "%s: %s: a folder that can be read, or \"\" for none",
                   folder == NULL ? text : folder, strerror_r(errno, why, sizeof(why)));
    for (int i = 0; i < n; i++) {
        char *path = str_printf("%s/%s", folder, entries[i]->d_name);

        if (path == NULL)
            conf_fault(&p->faults, (struct conf_place){folder, 0}, NULL, "out of memory");
        else
            take(p, docs, path, NULL, 0);
        free(path);
        free(entries[i]);
    }
    free(entries);
    free(folder);
}

/* The lists of the top take elements from every file, and one each that conf_load adds; their
 * places must not move. */
static bool make_lists(struct parse *p, const struct documents *docs)
{
    for (size_t i = 0; i < p->table->count; i++) {
        const struct conf_row *row = &p->table->rows[i];
        size_t n = 1;
        char **array = (char **)(void *)((char *)p->into + row->at);

        if (row->kind != CONF_LIST || list_around(p->table, row->key) != NULL)
            continue;
        for (size_t k = 0; k < docs->count; k++) {
            config_setting_t *s = config_lookup(&docs->doc[k]->config, row->key);

            n += s == NULL || !config_setting_is_list(s) ? 0 : (size_t)config_setting_length(s);
        }
        *array = calloc(n, row->size);
        if (*array == NULL)
            return false;
    }
    return true;
}

void parse_all(struct parse *p, const char *path, const char *text, size_t n)
{
    struct documents docs = {0};

    p->main_file = source_name(p->names, path);
    p->seen = calloc(p->table->count, sizeof(*p->seen));
    if (p->main_file == NULL || p->seen == NULL) {
        conf_fault(&p->faults, (struct conf_place){path, 0}, NULL, "out of memory");
        return;
    }
    if (take(p, &docs, path, text, n) && p->lookups &&
        conf_table_find(p->table, "include_dir") != NULL)
        take_folder(p, &docs);
    if (make_lists(p, &docs)) {
        struct level top = {NULL, p->into, p->seen, ""};

        for (size_t i = 0; i < docs.count; i++)
            group(p, docs.doc[i], config_root_setting(&docs.doc[i]->config), &top);
        complete(p, &top, (struct conf_place){p->main_file, 0});
    } else {
        conf_fault(&p->faults, (struct conf_place){path, 0}, NULL, "out of memory");
    }
    if (p->spot_count > 0)
        qsort(p->spots, p->spot_count, sizeof(*p->spots), by_member);
    for (size_t i = 0; i < docs.count; i++) {
        config_destroy(&docs.doc[i]->config);
        source_fini(&docs.doc[i]->source);
        free(docs.doc[i]);
    }
    free(docs.doc);
}

void parse_fini(struct parse *p)
{
    for (size_t i = 0; i < p->spot_count; i++)
        free(p->spots[i].path);
    free(p->spots);
    free(p->seen);
    p->spots = NULL;
    p->seen = NULL;
}

void parse_free_members(const struct conf_table *t, const struct conf_row *parent, void *base)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct conf_row *row = &t->rows[i];

        if (!conf_row_inside(row, parent))
            continue;
        if (row->kind == CONF_GROUP) {
            parse_free_members(t, row, base);
        } else if (row->kind == CONF_LIST) {
            char **array = (char **)(void *)((char *)base + row->at);
            size_t n = *(size_t *)(void *)((char *)base + row->count_at);

            for (size_t k = 0; *array != NULL && k < n; k++)
                parse_free_members(t, row, *array + k * row->size);
            free(*array);
        } else {
            conf_value_free(row, base);
        }
    }
}
