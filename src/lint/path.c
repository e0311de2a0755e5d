#include "lint/path.h"

#include <string.h>

/* A signature that was checked; the same pair is met on several paths. */
struct checked {
    size_t subject, issuer;
    enum verify v;
};

struct walk {
    const struct path_cert *pool;
    size_t count;
    bool (*take)(void *arg, const struct path *p);
    void *arg;
    struct path path;
    unsigned paths;
    bool done;
    struct checked checked[PATH_SIGNATURES_MAX];
    unsigned checked_n;
};

static enum verify signed_by(struct walk *w, size_t subject, size_t issuer)
{
    struct checked *c;

    for (unsigned i = 0; i < w->checked_n; i++)
        if (w->checked[i].subject == subject && w->checked[i].issuer == issuer)
            return w->checked[i].v;
    if (w->checked_n == PATH_SIGNATURES_MAX) {
        w->done = true;
        return VERIFY_BAD;
    }
    c = &w->checked[w->checked_n++];
    *c =
        (struct checked){subject, issuer, verify_signed(w->pool[subject].der, w->pool[issuer].der)};
    return c->v;
}

static bool same_id(const struct cert_key_id *a, const struct cert_key_id *b)
{
    return a->n == b->n && memcmp(a->p, b->p, a->n) == 0;
}

/* How well the key identifiers agree: 2 for both there and equal, 1 for one missing, 0 for two that
 * differ. */
static int fit(const struct cert_info *subject, const struct cert_info *issuer)
{
    if (subject->aki.n == 0 || issuer->ski.n == 0)
        return 1;
    return same_id(&subject->aki, &issuer->ski) ? 2 : 0;
}

/* The same certificate, or the same name and key, would be a loop. */
static bool is_on_path(const struct walk *w, size_t candidate)
{
    const struct cert_info *ci = w->pool[candidate].info;

    for (size_t i = 0; i < w->path.n; i++) {
        const struct cert_info *on = w->pool[w->path.at[i]].info;

        if (w->path.at[i] == candidate || (memcmp(on->spki_fp, ci->spki_fp, CERT_FP_BYTES) == 0 &&
                                           strcmp(on->subject, ci->subject) == 0))
            return true;
    }
    return false;
}

static bool is_candidate(const struct walk *w, size_t subject, size_t issuer)
{
    const struct slice s = w->pool[subject].der, i = w->pool[issuer].der;

    return issuer != subject && cert_is_named(i.p, i.n, s.p, s.n);
}

static void end(struct walk *w, enum path_end how)
{
    w->path.end = how;
    if (++w->paths == PATH_PATHS_MAX || !w->take(w->arg, &w->path))
        w->done = true;
}

static void step(struct walk *w);

/* Go on through each issuer whose key identifier fits so well.  Returns how many there were;
 * *named: so many had at least the name. */
static unsigned step_to(struct walk *w, int how_well, unsigned *named)
{
    struct path *p = &w->path;
    size_t subject = p->at[p->n - 1];
    uint32_t bit = UINT32_C(1) << (p->n - 1);
    unsigned took = 0;

    /* anchors stand behind the chain and are tried first */
    for (size_t i = w->count; !w->done && i-- > 0;) {
        enum verify v;

        if (fit(w->pool[subject].info, w->pool[i].info) != how_well ||
            !is_candidate(w, subject, i) || is_on_path(w, i))
            continue;
        ++*named;
        if ((v = signed_by(w, subject, i)) == VERIFY_BAD || w->done)
            continue;
        took++;
        p->unchecked |= v == VERIFY_UNKNOWN ? bit : 0;
        p->misnamed |= how_well == 0 ? bit : 0;
        p->at[p->n++] = i;
        step(w);
        p->n--;
        p->unchecked &= ~bit;
        p->misnamed &= ~bit;
    }
    return took;
}

static bool is_self_signed(struct walk *w, size_t at)
{
    return w->pool[at].info->is_self_issued && signed_by(w, at, at) != VERIFY_BAD;
}

static void step(struct walk *w)
{
    struct path *p = &w->path;
    size_t last = p->at[p->n - 1];
    unsigned took, named = 0;

    if (w->pool[last].anchor) {
        end(w, PATH_ANCHORED);
        return;
    }
    if (is_self_signed(w, last)) {
        end(w, PATH_ROOT);
        return;
    }
    if (w->done)
        return;
    if (p->n == PATH_DEPTH_MAX) {
        end(w, PATH_DEEP);
        return;
    }
    took = step_to(w, 2, &named);
    took += step_to(w, 1, &named);
    if (took == 0)
        took = step_to(w, 0, &named);
    if (took == 0 && !w->done)
        end(w, named > 0 || w->pool[last].info->is_self_issued ? PATH_FORGED : PATH_OPEN);
}

unsigned path_each(const struct path_cert *pool, size_t count,
                   bool (*take)(void *arg, const struct path *p), void *arg)
{
    struct walk w = {.pool = pool, .count = count, .take = take, .arg = arg};

    w.path.at[0] = 0;
    w.path.n = 1;
    step(&w);
    if (w.paths == 0) { /* the bound on signatures came before the first end */
        w.path.n = 1;
        end(&w, PATH_DEEP);
    }
    return w.checked_n;
}
