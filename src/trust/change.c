#include "trust/change.h"

#include <stdlib.h>
#include <string.h>

static const char *const sides[TRUST_SIDES] = {
    [TRUST_DOWNSTREAM] = "downstream",
    [TRUST_UPSTREAM] = "upstream",
};

static const char *const kinds[TRUST_KINDS] = {
    [TRUST_ANCHOR] = "anchor",
    [TRUST_INTERMEDIATE] = "intermediate",
    [TRUST_REMOVED] = "removed",
};

const char *trust_side_name(enum trust_side side)
{
    return sides[side];
}

const char *trust_kind_name(enum trust_kind kind)
{
    return kinds[kind];
}

int trust_side_parse(const char *name, enum trust_side *out)
{
    for (int i = 0; i < TRUST_SIDES; i++)
        if (strcmp(name, sides[i]) == 0) {
            *out = (enum trust_side)i;
            return 0;
        }
    return -ERR_NOT_FOUND;
}

int trust_kind_parse(const char *name, enum trust_kind *out)
{
    for (int i = 0; i < TRUST_KINDS; i++)
        if (strcmp(name, kinds[i]) == 0) {
            *out = (enum trust_kind)i;
            return 0;
        }
    return -ERR_NOT_FOUND;
}

void trust_change_fini(struct trust_change *row)
{
    tls_anchor_unref(row->anchor);
    free(row->fault);
    free(row->only);
    free(row->note);
    free(row->who);
    *row = (struct trust_change){0};
}

static char *copy_of(const char *text)
{
    return strdup(text == NULL ? "" : text);
}

/* Returns 0 or -ERR_NOMEM, with what `to` was given to be freed by the caller. */
static int copy(struct trust_change *to, const struct trust_change *from)
{
    *to = *from;
    to->anchor = from->anchor == NULL ? NULL : tls_anchor_ref(from->anchor);
    to->fault = from->fault == NULL ? NULL : strdup(from->fault);
    to->only = copy_of(from->only);
    to->note = copy_of(from->note);
    to->who = copy_of(from->who);
    return to->only == NULL || to->note == NULL || to->who == NULL ||
                   (from->fault != NULL && to->fault == NULL)
               ? -ERR_NOMEM
               : 0;
}

struct trust_changes *trust_changes_new(void)
{
    return trust_changes_with(NULL, NULL, 0);
}

struct trust_changes *trust_changes_ref(struct trust_changes *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void trust_changes_unref(struct trust_changes *c)
{
    if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < c->count; i++)
        trust_change_fini(&c->at[i]);
    free(c->at);
    free(c);
}

static bool same_key(const struct trust_change *a, const struct trust_change *b)
{
    return a->side == b->side && strcmp(a->fp, b->fp) == 0;
}

static bool is_among(const struct trust_change *row, const struct trust_change *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (same_key(row, &rows[i]))
            return true;
    return false;
}

struct trust_changes *trust_changes_with(const struct trust_changes *from,
                                         const struct trust_change *rows, size_t n)
{
    size_t before = from == NULL ? 0 : from->count;
    struct trust_changes *c = calloc(1, sizeof(*c));
    int rc = 0;

    if (c == NULL)
        return NULL;
    atomic_init(&c->refs, 1);
    c->at = calloc(before + n + 1, sizeof(*c->at));
    if (c->at == NULL)
        rc = -ERR_NOMEM;
    for (size_t i = 0; rc == 0 && i < before; i++)
        if (!is_among(&from->at[i], rows, n))
            rc = copy(&c->at[c->count++], &from->at[i]);
    for (size_t i = 0; rc == 0 && i < n; i++)
        if (!is_among(&rows[i], rows + i + 1, n - i - 1)) /* of two, the later one counts */
            rc = copy(&c->at[c->count++], &rows[i]);
    if (rc == 0)
        return c;
    trust_changes_unref(c);
    return NULL;
}

const struct trust_change *trust_changes_find(const struct trust_changes *c, enum trust_side side,
                                              const char *fp)
{
    for (size_t i = 0; c != NULL && i < c->count; i++)
        if (c->at[i].side == side && strcmp(c->at[i].fp, fp) == 0)
            return &c->at[i];
    return NULL;
}

bool trust_change_serves(const struct trust_change *row, const char *name)
{
    size_t n = strlen(name);
    const char *p = row->only;

    if (p == NULL || *p == '\0')
        return true;
    while (*p != '\0') {
        size_t word = strcspn(p, " ");

        if (word == n && strncmp(p, name, n) == 0)
            return true;
        p += word;
        p += strspn(p, " ");
    }
    return false;
}
