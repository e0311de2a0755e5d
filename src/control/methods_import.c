/* control/methods_import.c - identity.import: an identity that was made elsewhere becomes a
 * device's, and rekey: keys on disk are written anew.  See dispatch_inside.h and rpc.h.
 *
 * The private key comes in a request of the local socket.  It is in the request's text, in what the
 * parser made of it, and in the files that are written; the first two are wiped when they are
 * freed.
 *
 * Into the new slot it is staged as identity.install does it.  The old slot is in use: there the
 * files are put and taken up at once, whatever lint says of them.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/durable.h"
#include "base/log.h"
#include "base/str.h"
#include "control/dispatch_inside.h"
#include "control/hub.h"
#include "control/lint_json.h"
#include "identity/files.h"
#include "identity/slots.h"
#include "lint/lint.h"
#include "tls/cred.h"
#include "tls/keyring.h"

/* What is asked for, and what it comes to. */
struct import {
    const char *device;
    struct hub_device *dev; /* NULL: there is none of this name yet */
    enum flip_slot slot;
    struct cred *cred;       /* owned */
    struct lint_report lint; /* owned */
    bool replace, dry_run;
};

static const char *const remedy_files = "see certflipctl import in certflipctl(1)";

/* The first identity of a device is the one in use; what comes after is to be flipped to. */
static enum flip_slot slot_for(const struct call *c, const struct hub_device *d)
{
    const char *name = call_text(c, "slot");

    if (name != NULL)
        return strcmp(name, "old") == 0 ? FLIP_OLD : FLIP_NEW;
    return d == NULL || !d->present[FLIP_OLD] ? FLIP_OLD : FLIP_NEW;
}

static int refuse_trial(struct call *c, const struct import *im)
{
    return rpc_refuse(&c->fault, RPC_PHASE,
                      "wait for its end, or end it: certflipctl commit, certflipctl rollback",
                      "device %s: a trial is under way: neither identity may change", im->device);
}

static int refuse_waiting(struct call *c, const struct import *im)
{
    return rpc_refuse(&c->fault, RPC_PHASE,
                      "have its request signed (certflipctl export --csr) and install it, or let "
                      "it go (certflipctl discard, or --replace)",
                      "device %s: a key waits for its certificate in the new slot", im->device);
}

static int refuse_present(struct call *c, const struct import *im)
{
    return rpc_refuse(
        &c->fault, RPC_PHASE,
        "import it into the new slot and flip (--slot new), or replace the one that is "
        "there (--replace)",
        "device %s: there is another identity in the old slot", im->device);
}

/* May the slot be filled, as the device is now? */
static int check_phase(struct call *c, const struct import *im)
{
    const struct hub_device *d = im->dev;

    if (d == NULL)
        return 0;
    if (d->flip.phase == FLIP_TRIAL)
        return refuse_trial(c, im);
    if (im->slot == FLIP_OLD)
        return d->present[FLIP_OLD] && !im->replace ? refuse_present(c, im) : 0;
    if (hub_may_put_new(c->d->hub, d, true, &c->fault) != 0)
        return -1;
    return d->csr_since_s[FLIP_NEW] != 0 && !im->replace ? refuse_waiting(c, im) : 0;
}

static json_t *findings(const struct call *c, const struct import *im)
{
    return lint_json(&im->lint, hub_lint_has_anchors(c->d->hub));
}

/* What is to be flipped to has to be in order; the old one is what it is. */
static int check_lint(struct call *c, const struct import *im)
{
    const struct lint_finding *bad = hub_lint_lasting(&im->lint);

    if (bad == NULL && lint_has(&im->lint, LINT_EXPIRED))
        bad = lint_worst(&im->lint);
    if (im->slot == FLIP_OLD || bad == NULL)
        return 0;
    rpc_refuse(&c->fault, RPC_LINT, lint_kind(bad->code)->remedy,
               "device %s: the new identity: %s [%s]", im->device, bad->text,
               lint_kind(bad->code)->code);
    c->fault.list = findings(c, im);
    c->fault.list_key = "lint";
    return -1;
}

static bool is_same(const struct import *im)
{
    return im->dev != NULL && cred_equal(im->dev->cred[im->slot], im->cred);
}

static void set_result(struct call *c, const struct import *im, bool same)
{
    const struct cert_info *leaf = cred_leaf(im->cred);
    const struct hub_device *d = hub_find(c->d->hub, im->device);
    char fp[CERT_FP_TEXT];

    str_hex(fp, leaf->fp, CERT_FP_BYTES);
    c->result =
        json_pack("{s:s, s:s, s:s, s:b, s:s?, s:s, s:o, s:o, s:o}", "device", im->device, "slot",
                  flip_slot_name(im->slot), "result", same ? "same" : "imported", "dry_run",
                  im->dry_run, "phase", d == NULL ? NULL : flip_phase_name(d->flip.phase),
                  "fingerprint", fp, "subject", rpc_text_or_null(leaf->subject), "not_after",
                  rpc_date(leaf->not_after_s), "lint", findings(c, im));
}

static int fail(struct call *c, enum rpc_code code, const struct err *err)
{
    return rpc_refuse(&c->fault, code, NULL, "%s", err->msg);
}

/* Write the files, and take them up as a reload would. */
static int put_at_once(struct call *c, const struct import *im, const struct files_slot *what)
{
    const char *dir = hub_conf(c->d->hub)->identities_dir;
    struct err err = {0};
    char *folder = str_printf("%s/%s", dir, im->device), *former = NULL;
    int rc = folder == NULL ? err_set(&err, ERR_NOMEM, "out of memory")
                            : durable_mkdirs(folder, 0700, &err);

    if (rc == 0)
        rc = files_put_slot(dir, im->device, im->slot, what, &former, &err);
    if (rc == 0) {
        rc = hub_load_device(c->d->hub, im->device, &err);
        if (rc == 0)
            files_destroy(former);
        else
            files_unput_slot(dir, im->device, im->slot, former, NULL);
    }
    free(folder);
    if (rc != 0)
        return fail(c, RPC_STORE, &err);
    c->done = true;
    return 0;
}

static int put(struct call *c, const struct import *im)
{
    struct files_slot what = {.chain = slice_of(call_text(c, "chain"))};
    struct buf key = {0};
    struct err err = {0};
    int rc = cred_put_key(im->cred, &key, &err);

    what.key = (struct slice){key.p, key.len};
    if (rc != 0)
        fail(c, RPC_STORE, &err);
    else if (im->slot == FLIP_NEW && im->dev != NULL)
        rc = hub_put_new(c->d->hub, im->dev, &what, true, c->caller->who, &c->fault);
    else
        rc = put_at_once(c, im, &what);
    buf_fini_wipe(&key);
    return rc == 0 ? 0 : -1;
}

static int check(struct call *c, struct import *im)
{
    struct err err = {0};
    const char *slot = call_text(c, "slot");

    if (!str_is_name(im->device))
        return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL,
                          "device: must be 1 to 128 of A-Z a-z 0-9 . _ -, not beginning with . or "
                          "-");
    if (slot != NULL && strcmp(slot, "old") != 0 && strcmp(slot, "new") != 0)
        return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL, "slot: must be \"old\" or \"new\"");
    im->cred = cred_parse(call_text(c, "chain"), call_text(c, "key"), &err);
    if (im->cred == NULL)
        return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, remedy_files, "device %s: %s", im->device,
                          err.msg);
    im->dev = hub_find(c->d->hub, im->device);
    im->slot = slot_for(c, im->dev);
    /* Whoever imports a folder once more does not mean to stage what is in use. */
    if (slot == NULL && im->dev != NULL && cred_equal(im->dev->cred[FLIP_OLD], im->cred))
        im->slot = FLIP_OLD;
    if (hub_lint_cred(c->d->hub, im->device, im->slot, im->cred, clock_date_s(), &im->lint) != 0)
        return rpc_refuse(&c->fault, RPC_BUSY, "try again", "device %s: out of memory", im->device);
    return 0;
}

int do_identity_import(struct call *c)
{
    struct import im = {
        .device = call_text(c, "device"),
        .replace = json_is_true(json_object_get(c->params, "replace")),
        .dry_run = json_is_true(json_object_get(c->params, "dry_run")),
    };
    bool same;
    int rc = -1;

    snprintf(c->target, sizeof(c->target), "%s", im.device);
    if (im.replace)
        call_note(c, "(replace)");
    if (!c->caller->local) {
        rc = rpc_refuse(&c->fault, RPC_DENIED,
                        "import it at the gateway: certflipctl import; or make the key there: "
                        "identity.keygen",
                        "a private key is taken through the local socket only");
    } else if (check(c, &im) == 0) {
        same = is_same(&im);
        rc = same || (check_phase(c, &im) == 0 && check_lint(c, &im) == 0) ? 0 : -1;
        if (rc == 0 && !same && !im.dry_run)
            rc = put(c, &im);
        if (rc == 0)
            set_result(c, &im, same);
    }
    cred_unref(im.cred);
    lint_report_fini(&im.lint);
    return rc;
}

/* -- keys on disk -- */

/* The key file of a slot, written by the rule that is now in force. */
static int rewrite_key(struct call *c, const struct hub_device *d, enum flip_slot slot,
                       struct err *err)
{
    char *path = str_printf("%s/%s/%s/key.pem", hub_conf(c->d->hub)->identities_dir, d->name,
                            flip_slot_name(slot));
    struct buf pem = {0};
    int rc = path == NULL ? err_set(err, ERR_NOMEM, "out of memory")
                          : cred_put_key(d->cred[slot], &pem, err);

    if (rc == 0)
        rc = durable_write(path, pem.p, pem.len, 0600, err);
    buf_fini_wipe(&pem);
    free(path);
    return rc;
}

static void rekey_device(struct call *c, struct hub_device *d, void *arg, bool *changed,
                         struct rpc_fault *f)
{
    enum cred_rest wanted = keyring_encrypts() ? CRED_ENCRYPTED : CRED_PLAIN;
    struct err err = {0};
    int rc = 0;

    (void)arg;
    *changed = false;
    for (int slot = 0; slot < FLIP_SLOTS && rc == 0; slot++) {
        if (d->cred[slot] == NULL || cred_rest(d->cred[slot]) == CRED_TOKEN ||
            cred_rest(d->cred[slot]) == wanted)
            continue;
        rc = rewrite_key(c, d, (enum flip_slot)slot, &err);
        *changed = true;
    }
    if (rc == 0 && *changed)
        rc = hub_load_device(c->d->hub, d->name, &err);
    if (rc != 0)
        rpc_refuse(f, RPC_STORE, NULL, "device %s: %s", d->name, err.msg);
}

static size_t devices_of(const struct call *c)
{
    const json_t *target = json_object_get(c->params, "target");
    size_t count = 0, n;
    struct hub_device *const *all = hub_devices(c->d->hub, &n);

    for (size_t i = 0; i < n; i++)
        count += target_has(target, all[i]->name);
    return count;
}

int do_rekey(struct call *c)
{
    size_t n = devices_of(c);

    if (n > RPC_REKEY_MAX)
        return rpc_refuse(&c->fault, RPC_TOO_BIG, "ask in parts, as certflipctl rekey does",
                          "%zu devices, at most %d are done at a time", n, RPC_REKEY_MAX);
    return on_targets(c, rekey_device, NULL);
}
