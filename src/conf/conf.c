#include "conf/conf.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "conf/check.h"
#include "conf/load.h"
#include "conf/parse.h"
#include "conf/value.h"

/* What conf_load returns is the first member of this. */
struct shared {
    struct conf conf;
    atomic_uint refs;
    struct source_names names; /* rules point at them */
};

static struct shared *shared_of(struct conf *c)
{
    return (struct shared *)(void *)c;
}

static void destroy(struct shared *s)
{
    parse_free_members(&conf_table, NULL, &s->conf);
    free(s->conf.path);
    source_names_fini(&s->names);
    free(s);
}

static struct conf *load(const char *path, const char *text, size_t n, bool lookups,
                         struct buf *faults, unsigned *fault_count)
{
    struct shared *s = calloc(1, sizeof(*s));
    struct parse p = {.faults = {.out = faults}, .lookups = lookups};

    if (s == NULL || (s->conf.path = strdup(path)) == NULL) {
        free(s);
        conf_fault(&p.faults, (struct conf_place){path, 0}, NULL, "out of memory");
        *fault_count = p.faults.count;
        return NULL;
    }
    atomic_init(&s->refs, 1);
    p.table = &conf_table;
    p.into = p.conf = &s->conf;
    p.names = &s->names;
    parse_all(&p, path, text, n);
    if (!p.broken && s->conf.log.levels != NULL)
        check_all(&p);
    parse_fini(&p);
    *fault_count = p.faults.count;
    if (p.faults.count > 0) {
        destroy(s);
        return NULL;
    }
    return &s->conf;
}

struct conf *conf_load(const char *path, struct buf *faults, unsigned *fault_count)
{
    return load(path, NULL, 0, true, faults, fault_count);
}

struct conf *conf_load_text(const char *name, const char *text, size_t n, struct buf *faults,
                            unsigned *fault_count)
{
    return load(name, text, n, false, faults, fault_count);
}

struct conf *conf_ref(struct conf *c)
{
    atomic_fetch_add_explicit(&shared_of(c)->refs, 1, memory_order_relaxed);
    return c;
}

void conf_unref(struct conf *c)
{
    if (c != NULL && atomic_fetch_sub_explicit(&shared_of(c)->refs, 1, memory_order_acq_rel) == 1)
        destroy(shared_of(c));
}

/* -- looking things up
 * --------------------------------------------------------------------------------- */

const struct conf_upstream *conf_upstream_find(const struct conf *c, const char *name)
{
    for (size_t i = 0; i < c->upstream_count; i++) {
        if (c->upstreams[i].name != NULL && strcmp(c->upstreams[i].name, name) == 0)
            return &c->upstreams[i];
    }
    return NULL;
}

const struct conf_token *conf_token_find(const struct conf *c, const char *name)
{
    for (size_t i = 0; i < c->token_count; i++)
        if (strcmp(c->tokens[i].name, name) == 0)
            return &c->tokens[i];
    return NULL;
}

const struct conf_listener *conf_listener_find(const struct conf *c, const char *name)
{
    for (size_t i = 0; i < c->listener_count; i++) {
        if (c->listeners[i].name != NULL && strcmp(c->listeners[i].name, name) == 0)
            return &c->listeners[i];
    }
    return NULL;
}

bool conf_exception_on(const struct conf_exception *e, const struct conf_listener *l)
{
    for (size_t i = 0; i < e->listener_count; i++)
        if (strcmp(e->listeners[i], l->name) == 0)
            return true;
    return e->listener_count == 0;
}

const struct conf_rule *conf_rule_find(const struct conf *c, const char *device)
{
    for (size_t i = 0; i < c->rule_count; i++) {
        if (c->rules[i].name != NULL && strcmp(c->rules[i].name, device) == 0)
            return &c->rules[i];
    }
    return NULL;
}

/* -- reload
 * ------------------------------------------------------------------------------------------------
 */

void conf_restart_needed(const struct conf *a, const struct conf *b, struct buf *out)
{
    for (size_t i = 0; i < conf_row_count; i++) {
        const struct conf_row *row = &conf_rows[i];
        struct buf was = {0};
        struct buf is = {0};

        if (row->reload != RELOAD_RESTART || row->kind == CONF_GROUP || row->kind == CONF_LIST)
            continue;
        conf_value_text(row, a, &was);
        conf_value_text(row, b, &is);
        if (was.len != is.len || (was.len > 0 && memcmp(was.p, is.p, was.len) != 0))
            buf_printf(out, "%s: %.*s -> %.*s\n", row->key, (int)was.len, (const char *)was.p,
                       (int)is.len, (const char *)is.p);
        buf_fini(&was);
        buf_fini(&is);
    }
}
