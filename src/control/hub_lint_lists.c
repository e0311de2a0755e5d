/* control/hub_lint_lists.c - the CAs that identities come from, and what they have revoked: as
 * configured, and as it came at run time.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "control/hub_inside.h"
#include "lint/files.h"
#include "tls/anchor.h"
#include "tls/crl.h"

/* The lists of the anchors: those that are configured, and those that came at run time.  Returns
 * owned, or NULL with err set. */
static struct crl_set *lists_read(const struct conf *conf, const struct lint_anchors *anchors,
                                  struct err *err)
{
    size_t n = lint_anchors_count(anchors);
    struct tls_anchor **issuers = calloc(n + 1, sizeof(struct tls_anchor *));
    char *stored = snapshot_crl_dir(conf);
    struct crl_args args = {.paths = (const char *const *)conf->lint.crls,
                            .path_count = conf->lint.crl_count,
                            .stored_dir = stored,
                            .anchors = issuers};
    struct crl_set *set = NULL;

    if (issuers == NULL || stored == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
    } else {
        for (size_t i = 0; i < n; i++) {
            struct slice der = lint_anchors_at(anchors, i);

            issuers[args.anchor_count] = tls_anchor_new(der.p, der.n, "", 0, NULL);
            args.anchor_count += issuers[args.anchor_count] != NULL; /* one that issues nothing */
        }
        set = crl_set_new(&args, err);
        for (size_t i = 0; i < args.anchor_count; i++)
            tls_anchor_unref(issuers[i]);
    }
    free(issuers);
    free(stored);
    return set;
}

int hub_lint_read(const struct conf *conf, struct lint_anchors **anchors, struct crl_set **crls,
                  struct err *err)
{
    struct lint_anchors *read;

    *anchors = NULL;
    *crls = NULL;
    if (conf->lint.anchor_count == 0)
        return conf->lint.crl_count == 0
                   ? 0
                   : err_set(err, ERR_INVALID,
                             "lint.crls: nobody is known to sign the lists: put the CAs of the "
                             "identities into lint.anchors");
    read = lint_anchors_read((const char *const *)conf->lint.anchors, conf->lint.anchor_count, err);
    if (read == NULL)
        return err_wrap(err, -err->code, "lint.anchors");
    *crls = lists_read(conf, read, err);
    if (*crls == NULL) {
        lint_anchors_free(read);
        return err_wrap(err, -err->code, "lint.crls");
    }
    *anchors = read;
    return 0;
}

static bool same_lists(const struct crl_set *a, const struct crl_set *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    if (crl_set_count(a) != crl_set_count(b))
        return false;
    for (size_t i = 0; i < crl_set_count(a); i++)
        if (memcmp(crl_facts(crl_set_at(a, i)).fp, crl_facts(crl_set_at(b, i)).fp,
                   CRL_HASH_BYTES) != 0)
            return false;
    return true;
}

bool hub_lint_take(struct hub *h, struct lint_anchors *anchors, struct crl_set *crls)
{
    bool others = !lint_anchors_equal(h->lint_anchors, anchors) || !same_lists(h->lint_crls, crls);

    hub_lint_drop(h->lint_anchors, h->lint_crls);
    h->lint_anchors = anchors;
    h->lint_crls = crls;
    return others;
}

void hub_lint_lists(struct hub *h)
{
    struct lint_anchors *anchors;
    struct crl_set *crls;
    struct err err = {0};

    if (hub_lint_read(h->snapshot->conf, &anchors, &crls, &err) != 0) {
        log_event(LOG_CERT, LOG_WARN_, "identity-lint", "msg=%s", LOG_Q(err.msg));
        return;
    }
    if (!hub_lint_take(h, anchors, crls))
        return;
    for (size_t i = 0; i < h->count; i++) {
        struct hub_device *d = h->sorted[i];
        struct hub_lint was[FLIP_SLOTS];

        memcpy(was, d->lint, sizeof(was));
        hub_lint_look(h, d, FLIP_OLD);
        hub_lint_look(h, d, FLIP_NEW);
        hub_lint_fault(d);
        for (int slot = 0; slot < FLIP_SLOTS; slot++)
            if (was[slot].errors != d->lint[slot].errors)
                hub_touch(h, d);
    }
}

bool hub_lint_revoked(const struct hub *h, struct slice der)
{
    return crl_set_judge(h->lint_crls, der.p, der.n, clock_date_s(), NULL, 0) == CRL_SAYS_REVOKED;
}

void hub_lint_drop(struct lint_anchors *anchors, struct crl_set *crls)
{
    lint_anchors_free(anchors);
    crl_set_unref(crls);
}
