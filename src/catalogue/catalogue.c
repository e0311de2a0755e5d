#include "catalogue/catalogue.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- classes ---------------------------------------------------------------------------------- */

static const struct class_words {
    const char *name, *about;
} classes[DIAG_CLASSES] = {
    [DIAG_OK] = {"ok", "nothing failed"},
    [DIAG_IDENTITY] = {"identity",
                       "the broker refused this certificate or login; alone it rolls a flip back"},
    [DIAG_TRUST] = {"trust", "one side did not accept the certificate of the other"},
    [DIAG_NETWORK] = {"network", "the way there"},
    [DIAG_BROKER] = {"broker", "it is there, but busy, unavailable, or out of quota"},
    [DIAG_PROTOCOL] = {"protocol", "one side breaks a standard, or no version is common"},
    [DIAG_POLICY] = {"policy", "settings that do not fit together"},
    [DIAG_SUSPECT] = {"suspect",
                      "perhaps the identity: settled by trying the other identity as well"},
};

const char *diag_class_name(enum diag_class c)
{
    return (unsigned)c < DIAG_CLASSES ? classes[c].name : "unknown";
}

const char *diag_class_about(enum diag_class c)
{
    return (unsigned)c < DIAG_CLASSES ? classes[c].about : "";
}

/* -- looking a row up ------------------------------------------------------------------------- */

const struct catalogue_row *catalogue_by_code(enum catalogue_id id, int code)
{
    const struct catalogue_section *s = catalogue_section(id);

    for (size_t i = 0; i < s->count && code != CATALOGUE_NO_CODE; i++)
        if (s->rows[i].code == code)
            return &s->rows[i];
    return NULL;
}

const struct catalogue_row *catalogue_by_word(enum catalogue_id id, const char *word)
{
    const struct catalogue_section *s = catalogue_section(id);

    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->rows[i].word, word) == 0)
            return &s->rows[i];
    return NULL;
}

const struct catalogue_row *catalogue_by_also(enum catalogue_id id, const char *also)
{
    const struct catalogue_section *s = catalogue_section(id);

    for (size_t i = 0; i < s->count; i++)
        if (s->rows[i].also != NULL && strcmp(s->rows[i].also, also) == 0)
            return &s->rows[i];
    return NULL;
}

/* The scope that begins at `p`; its length in *n, 0 past the last one. */
static const char *next_scope(const char *p, size_t *n)
{
    p += strspn(p, " ");
    *n = strcspn(p, " ");
    return p;
}

bool catalogue_has_scope(const struct catalogue_row *row, const char *scope)
{
    const char *p = row->scopes;
    size_t n, want = strlen(scope);

    for (p = next_scope(p, &n); n > 0; p = next_scope(p + n, &n))
        if (n == want && memcmp(p, scope, n) == 0)
            return true;
    return false;
}

bool catalogue_name(const struct catalogue_row *row, size_t n, char *out, size_t bytes)
{
    size_t len;
    const char *p = next_scope(row->scopes, &len);

    for (; len > 0 && n > 0; n--)
        p = next_scope(p + len, &len);
    if (len == 0)
        return false;
    snprintf(out, bytes, "%.*s.%s", (int)len, p, row->word);
    return true;
}

/* -- searching -------------------------------------------------------------------------------- */

/* Is `typed` the pattern's word?  One that ends in '*' takes any number there. */
static bool is_word(const char *pattern, const char *typed)
{
    size_t n = strlen(pattern);

    if (n == 0 || pattern[n - 1] != '*')
        return strcasecmp(pattern, typed) == 0;
    return strcasecmp(pattern, typed) == 0 ||
           (strncasecmp(pattern, typed, n - 1) == 0 && typed[n - 1] != '\0' &&
            strspn(typed + n - 1, "0123456789abcdefABCDEF") == strlen(typed + n - 1));
}

static bool is_also(const char *also, const char *typed)
{
    static const char prefix[] = "X509_V_ERR_";
    size_t n = sizeof(prefix) - 1;

    if (also == NULL)
        return false;
    return strcasecmp(also, typed) == 0 ||
           (strncmp(also, prefix, n) == 0 && strcasecmp(also + n, typed) == 0);
}

static bool is_named(const struct catalogue_row *row, const char *typed)
{
    char name[80];
    size_t scope;

    if (strcasecmp(row->word, typed) == 0 || is_also(row->also, typed))
        return true;
    for (size_t i = 0; catalogue_name(row, i, name, sizeof(name)); i++) {
        scope = (size_t)(strchr(name, '.') - name) + 1;
        if (strncasecmp(name, typed, scope) == 0 && is_word(row->word, typed + scope))
            return true;
    }
    return false;
}

static bool number_of(const char *typed, int *code)
{
    char *end = NULL;
    long v;

    errno = 0;
    v = strtol(typed, &end, 0);
    if (end == typed || *end != '\0' || errno != 0 || v <= INT_MIN || v > INT_MAX)
        return false;
    *code = (int)v;
    return true;
}

size_t catalogue_find(const char *question,
                      void (*hit)(void *arg, enum catalogue_id id, const struct catalogue_row *row),
                      void *arg)
{
    size_t key = strcspn(question, " "), hits = 0;
    const char *behind = question + key + strspn(question + key, " ");
    int code = 0;

    for (int id = 0; id < CATALOGUE_SECTIONS; id++) {
        const struct catalogue_section *s = catalogue_section((enum catalogue_id)id);
        bool keyed = *behind != '\0';
        const char *typed = keyed ? behind : question;
        bool number;

        if (keyed &&
            (s->key == NULL || strlen(s->key) != key || strncasecmp(s->key, question, key) != 0))
            continue;
        number = s->kind != NULL && number_of(typed, &code);
        for (size_t i = 0; i < s->count; i++) {
            if (!is_named(&s->rows[i], typed) && !(number && s->rows[i].code == code))
                continue;
            hit(arg, (enum catalogue_id)id, &s->rows[i]);
            hits++;
        }
    }
    return hits;
}
