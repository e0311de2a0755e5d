#include "cli/schema.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "cli/schema_texts.h"

#define SHARED "common" /* has no schema of its own, but what the others refer to */

static bool is_asked_for(const struct schema_text *t)
{
    return strcmp(t->name, SHARED) != 0;
}

static const struct schema_text *find(const char *name)
{
    for (size_t i = 0; i < schema_text_count; i++)
        if (strcmp(schema_texts[i].name, name) == 0)
            return &schema_texts[i];
    return NULL;
}

/* Returns owned, or NULL without memory, or of NULL: the tests have read them all. */
static json_t *read_text(const struct schema_text *t)
{
    return t == NULL ? NULL : json_loadb((const char *)t->text, t->n, 0, NULL);
}

/* The schema with what it shares.  Returns owned, or NULL without memory. */
static json_t *whole_of(const struct schema_text *t)
{
    json_t *whole = read_text(t), *defs;

    if (whole == NULL)
        return NULL;
    if (json_object_get(whole, "$defs") == NULL)
        (void)json_object_set_new(whole, "$defs", json_object());
    defs = json_object_get(whole, "$defs");
    if (json_object_set_new(defs, SHARED, read_text(find(SHARED))) != 0) {
        json_decref(whole);
        return NULL;
    }
    return whole;
}

/* The name that was meant: one that holds what was typed, else one that is spelt nearly so; of
 * those that are as near, the shortest. */
static const char *nearest(const char *typed)
{
    unsigned least = (unsigned)(strlen(typed) / 3 + 1);
    const char *name = NULL;

    for (size_t i = 0; i < schema_text_count; i++) {
        const struct schema_text *t = &schema_texts[i];
        unsigned distance = strlen(typed) > 2 && strstr(t->name, typed) != NULL
                                ? 0
                                : str_distance(typed, t->name, least);

        if (is_asked_for(t) && (distance < least || (name != NULL && distance == least &&
                                                     strlen(t->name) < strlen(name)))) {
            least = distance;
            name = t->name;
        }
    }
    return name;
}

static int not_found(const char *name, struct err *err)
{
    const char *meant = nearest(name);

    if (meant == NULL)
        return err_set(err, ERR_NOT_FOUND,
                       "there is no method \"%s\": certflipctl schema lists all names", name);
    return err_set(err, ERR_NOT_FOUND, "there is no method \"%s\": did you mean %s?", name, meant);
}

/* All names with what they are. */
static int list_all(bool json, const struct show *to, struct err *err)
{
    json_t *rows = json_array();

    for (size_t i = 0; i < schema_text_count; i++) {
        const struct schema_text *t = &schema_texts[i];
        json_t *one = is_asked_for(t) ? read_text(t) : NULL;
        const char *text = json_string_value(json_object_get(one, "description"));

        if (json && one != NULL)
            (void)json_array_append_new(
                rows, json_pack("{s:s, s:s?}", "schema", t->name, "description", text));
        else if (one != NULL)
            fprintf(to->to, "%-18s %s\n", t->name, text == NULL ? "" : text);
        json_decref(one);
    }
    if (rows == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (json) {
        (void)json_dumpf(rows, to->to, JSON_COMPACT);
        fputc('\n', to->to);
    }
    json_decref(rows);
    return 0;
}

int schema(const char *name, bool json, const struct show *to, struct err *err)
{
    const struct schema_text *t;
    json_t *whole;

    if (name == NULL)
        return list_all(json, to, err);
    t = find(name);
    if (t == NULL || !is_asked_for(t))
        return not_found(name, err);
    whole = whole_of(t);
    if (whole == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    (void)json_dumpf(whole, to->to, json ? JSON_COMPACT : JSON_INDENT(2));
    fputc('\n', to->to);
    json_decref(whole);
    return 0;
}

void schema_names(const char *partial, void (*offer)(void *arg, const char *word), void *arg)
{
    for (size_t i = 0; i < schema_text_count; i++)
        if (is_asked_for(&schema_texts[i]) &&
            strncmp(schema_texts[i].name, partial, strlen(partial)) == 0)
            offer(arg, schema_texts[i].name);
}
