#include "session/suspect.h"

#include <stdlib.h>
#include <string.h>

/* What another broker takes says nothing of this one, but that the way out is open: so much is
 * needed where it does not keep what it has accepted. */
static bool comparable(const struct session *s, enum differ_far far)
{
    const struct conf_upstream *a = upstream_profile(s, FLIP_OLD, NULL),
                               *b = upstream_profile(s, FLIP_NEW, NULL);

    return far == DIFFER_STANDS || (a->port == b->port && strcmp(a->address, b->address) == 0);
}

bool suspect_raise(struct session *s, const struct diag *d, enum differ_far far, uint64_t lived_ms)
{
    struct device *dev = s->dev;

    if (dev->active != FLIP_NEW || dev->cred[FLIP_OLD] == NULL || s->probing ||
        !comparable(s, far) || !differ_failed(&dev->differ, d, far, lived_ms))
        return false;
    s->suspicion = malloc(sizeof *s->suspicion);
    if (s->suspicion == NULL)
        return false;
    *s->suspicion = (struct suspicion){*d, far, lived_ms};
    s->probing = true;
    s->probe = FLIP_OLD;
    return true;
}

bool suspect_works(struct session *s, struct diag *out)
{
    const struct suspicion *x = s->suspicion;
    bool settled = differ_other_works(&s->dev->differ, &x->diag, x->far);

    *out = settled ? differ_verdict(&x->diag, x->far) : x->diag;
    suspect_drop(s);
    return settled;
}

void suspect_fails(struct session *s, struct diag *out)
{
    differ_other_fails(&s->dev->differ);
    *out = diag_settle(&s->suspicion->diag, false);
    suspect_drop(s);
}

void suspect_drop(struct session *s)
{
    free(s->suspicion);
    s->suspicion = NULL;
    s->probing = false;
}
