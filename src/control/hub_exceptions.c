/* control/hub_exceptions.c - who uses the exceptions of the configuration, and since when nobody
 * does.
 *
 * An exception that nothing has used for a while can be taken out.  So the time of the latest use
 * outlives a restart, to the hour.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/hub_inside.h"

#define SAVE_EVERY_S 3600

struct exception_use {
    char *name; /* owned */
    int64_t last_s, saved_s;
    uint64_t uses;
};

static const char *key_of(const char *name, char out[160])
{
    snprintf(out, 160, "exception-used-s.%.128s", name);
    return out;
}

/* Returns NULL without memory. */
static struct exception_use *use_of(struct hub *h, const char *name)
{
    struct exception_use *more, *u;
    char key[160];

    for (size_t i = 0; i < h->exception_count; i++)
        if (strcmp(h->exceptions[i].name, name) == 0)
            return &h->exceptions[i];
    more = realloc(h->exceptions, (h->exception_count + 1) * sizeof(*more));
    if (more == NULL)
        return NULL;
    h->exceptions = more;
    u = &more[h->exception_count];
    *u = (struct exception_use){.name = strdup(name)};
    if (u->name == NULL)
        return NULL;
    h->exception_count++;
    /* One that cannot be read was not used, as far as is known. */
    if (store_value_get(h->store, key_of(name, key), &u->last_s, NULL) == 0)
        u->saved_s = u->last_s;
    return u;
}

void hub_exception_used(struct hub *h, const char *name)
{
    struct exception_use *u = use_of(h, name);
    char key[160];

    if (u == NULL)
        return;
    u->uses++;
    u->last_s = hub_wall_s(h);
    if (u->last_s >= u->saved_s && u->last_s - u->saved_s < SAVE_EVERY_S)
        return;
    if (store_value_put(h->store, key_of(name, key), u->last_s, NULL) == 0)
        u->saved_s = u->last_s;
}

void hub_exception(struct hub *h, const char *name, struct hub_exception *out)
{
    const struct exception_use *u = use_of(h, name);

    *out = (struct hub_exception){0};
    if (u != NULL) {
        out->uses = u->uses;
        out->last_s = u->last_s;
    }
    for (size_t i = 0; i < h->count; i++) {
        size_t before = out->sessions;

        list_for_each (it, &h->sorted[i]->sessions) {
            const struct hub_session *s = list_entry(it, struct hub_session, link);

            if (s->exception != NULL && strcmp(s->exception, name) == 0)
                out->sessions++;
        }
        out->devices += out->sessions != before;
    }
}

void hub_exceptions_free(struct hub *h)
{
    for (size_t i = 0; i < h->exception_count; i++)
        free(h->exceptions[i].name);
    free(h->exceptions);
}
