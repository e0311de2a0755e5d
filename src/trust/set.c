#include "trust/set.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define WEAK_RSA_BITS 2048

int trust_list_add(struct trust_list *l, struct tls_anchor *a)
{
    struct tls_anchor **more = realloc(l->at, (l->count + 1) * sizeof(struct tls_anchor *));

    if (more == NULL) {
        tls_anchor_unref(a);
        return -ERR_NOMEM;
    }
    l->at = more;
    l->at[l->count++] = a;
    return 0;
}

void trust_list_fini(struct trust_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        tls_anchor_unref(l->at[i]);
    free(l->at);
    *l = (struct trust_list){0};
}

struct tls_anchor *trust_list_find(const struct trust_list *l, const char *fp)
{
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->at[i]->fp, fp) == 0)
            return l->at[i];
    return NULL;
}

static int take(void *arg, struct tls_anchor *a, struct err *err)
{
    return trust_list_add(arg, a) == 0 ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

int trust_list_files(struct trust_list *l, const char *const *paths, size_t count, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        int rc = tls_anchors_of_file(paths[i], take, l, err);

        if (rc < 0)
            return rc;
    }
    return 0;
}

/* -- what is in force ---------------------------------------------------------------------------
 */

static int add_once(struct trust_list *l, struct tls_anchor *a)
{
    return trust_list_find(l, a->fp) != NULL ? 0 : trust_list_add(l, tls_anchor_ref(a));
}

int trust_set_make(struct trust_set *out, const struct trust_list *files,
                   const struct trust_changes *changes, enum trust_side side, const char *name)
{
    struct trust_set s = {0};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < files->count; i++) {
        const struct trust_change *row = trust_changes_find(changes, side, files->at[i]->fp);

        if (row != NULL && row->kind == TRUST_REMOVED)
            s.removed++;
        else
            rc = add_once(&s.anchors, files->at[i]);
    }
    for (size_t i = 0; rc == 0 && changes != NULL && i < changes->count; i++) {
        const struct trust_change *row = &changes->at[i];

        s.commanded = s.commanded || (row->side == side && row->kind == TRUST_REMOVED);
        if (row->side != side || row->anchor == NULL || row->kind == TRUST_REMOVED ||
            !trust_change_serves(row, name))
            continue;
        if (row->kind == TRUST_ANCHOR)
            rc = add_once(&s.anchors, row->anchor);
        else if (trust_list_find(&s.anchors, row->fp) == NULL)
            rc = add_once(&s.helpers, row->anchor);
    }
    if (rc != 0) {
        trust_set_fini(&s);
        return rc;
    }
    *out = s;
    return 0;
}

void trust_set_fini(struct trust_set *s)
{
    trust_list_fini(&s->anchors);
    trust_list_fini(&s->helpers);
    s->removed = 0;
    s->commanded = false;
}

struct tls_trust trust_set_view(const struct trust_set *s)
{
    return (struct tls_trust){
        .anchors = s->anchors.at,
        .anchor_count = s->anchors.count,
        .helpers = s->helpers.at,
        .helper_count = s->helpers.count,
        .nobody = s->commanded,
    };
}

/* -- what may be added --------------------------------------------------------------------------
 */

static int no_ca(const struct tls_anchor *a, enum trust_kind kind, bool force, struct err *err)
{
    const struct cert_info *ci = a->info;

    if (ci->is_ca || (kind == TRUST_ANCHOR && !ci->is_no_ca))
        return 0;
    if (kind == TRUST_INTERMEDIATE)
        return err_set(err, ERR_INVALID,
                       "%s is no CA, so it completes no chain: add the CA that "
                       "issues certificates",
                       ci->subject);
    if (force)
        return 0;
    return err_set(err, ERR_INVALID,
                   "%s is no CA: it would vouch for itself alone; add the CA's certificate, or "
                   "force it to pin this one",
                   ci->subject);
}

static int weak(const struct tls_anchor *a, enum trust_kind kind, struct err *err)
{
    const struct cert_info *ci = a->info;

    if (strncmp(ci->key_alg, "RSA", 3) == 0 && ci->key_bits < WEAK_RSA_BITS)
        return err_set(
            err, ERR_INVALID,
            "%s has an RSA key of %u bits, at least %d are taken: have a new CA made, or "
            "force it",
            ci->subject, ci->key_bits, WEAK_RSA_BITS);
    /* Nobody relies on the signature that a root has given itself. */
    if (ci->weak_digest && (kind == TRUST_INTERMEDIATE || !tls_anchor_self_signed(a)))
        return err_set(err, ERR_INVALID,
                       "%s is signed with a digest that can be forged (%s): have it issued again, "
                       "or force it",
                       ci->subject, ci->sig_alg);
    return 0;
}

int trust_admit(const struct tls_anchor *a, enum trust_kind kind, int64_t now_s, bool force,
                struct err *err)
{
    char when[32];
    int rc = no_ca(a, kind, force, err);

    if (rc == 0 && a->info->not_after_s < now_s)
        rc = err_set(err, ERR_EXPIRED,
                     "%s expired on %s, so nobody would be believed for it: add its successor, and "
                     "check the clock",
                     a->info->subject, clock_text(a->info->not_after_s, when, sizeof(when)));
    if (rc == 0 && !force)
        rc = weak(a, kind, err);
    return rc;
}

/* -- who depends on it --------------------------------------------------------------------------
 */

const struct tls_anchor *trust_list_instead(const struct trust_list *l, const char *fp,
                                            int64_t now_s)
{
    const struct tls_anchor *gone = trust_list_find(l, fp);

    for (size_t i = 0; gone != NULL && i < l->count; i++) {
        const struct tls_anchor *a = l->at[i];

        if (a != gone && a->info->not_before_s <= now_s && a->info->not_after_s >= now_s &&
            tls_anchor_same_ca(a, gone))
            return a;
    }
    return NULL;
}

const struct tls_anchor *trust_set_root(const struct trust_set *s, const struct cred *c)
{
    const struct tls_trust view = trust_set_view(s);

    return tls_trust_root(&view, c);
}
