/* control/methods_flip.c - methods that flip devices: see dispatch_inside.h and rpc.h. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "control/dispatch_inside.h"
#include "control/hub.h"

static const char *fingerprint_for(const struct call *c, const char *device)
{
    const char *one = call_text(c, "fingerprint");

    if (one != NULL)
        return one;
    return json_string_value(json_object_get(json_object_get(c->params, "fingerprints"), device));
}

/* Whoever rolls back all that match means those that are on the new identity; the others are where
 * they shall be. */
static bool was_never_flipped(const struct hub_device *d, enum flip_event ev)
{
    return ev == EV_ROLLBACK && (d->flip.phase == FLIP_STEADY || d->flip.phase == FLIP_STAGED);
}

/* What the methods here ask of each device. */
struct step {
    enum flip_event ev;
    const struct hub_terms *terms; /* EV_FLIP */
};

static void step_device(struct call *c, struct hub_device *d, void *arg, bool *changed,
                        struct rpc_fault *f)
{
    const struct step *step = arg;
    const char *fp = NULL;

    if (was_never_flipped(d, step->ev) &&
        !target_names(json_object_get(c->params, "target"), d->name))
        return;
    if (c->method == RPC_CONFIRM_METHOD && (fp = fingerprint_for(c, d->name)) == NULL)
        rpc_refuse(f, RPC_FINGERPRINT, "name the certificate that the far side saw",
                   "device %s: no fingerprint was given for it", d->name);
    else
        hub_command(c->d->hub, d, step->ev, step->terms, fp, call_text(c, "reason"), c->caller->who,
                    changed, f);
}

static int step_targets(struct call *c, enum flip_event ev, const struct hub_terms *terms)
{
    struct step step = {ev, terms};

    return on_targets(c, step_device, &step);
}

/* A clock that cannot be believed is no ground for a trial, unless somebody says that it is right.
 */
static int check_clock(struct call *c)
{
    bool require_sync = hub_conf(c->d->hub)->clock_require_sync;
    enum flip_clock_verdict v;
    struct flip_clock clock;
    char text[160];

    hub_clock_look(c->d->hub);
    hub_clock(c->d->hub, &clock);
    v = flip_clock_judge(&clock);
    if (!flip_clock_refuses(v, require_sync))
        return 0;
    flip_clock_text(&clock, text, sizeof(text));
    if (call_flag(c, "force")) {
        log_event(LOG_FLIP, LOG_WARN_, "flip-forced", "by=%s target=%s msg=%s",
                  LOG_Q(c->caller->who), LOG_Q(c->target), LOG_Q(text));
        hub_clock_vouched(c->d->hub);
        return 0;
    }
    return rpc_refuse(&c->fault, RPC_CLOCK,
                      v == FLIP_CLOCK_WRONG
                          ? "set the clock, see timedatectl; or flip with --force"
                          : "start a time service, see timedatectl; where none can be, set "
                            "clock.require_sync to false; or flip with --force",
                      "no flip is begun: %s", text);
}

int do_flip(struct call *c)
{
    struct hub_terms terms = {
        .confirm = FLIP_CONFIRM_AUTO,
        .probation_ms = call_number(c, "probation_s", 0) * 1000,
        .confirm_ms = call_number(c, "confirm_s", 0) * 1000,
        .not_after_s = call_number(c, "not_after_s", 0),
        .force = call_flag(c, "force"),
    };
    const char *confirm = call_text(c, "confirm"), *evidence = call_text(c, "evidence");
    enum flip_proof proof = FLIP_PROOF_CONNACK;

    if (confirm != NULL && flip_confirm_parse(confirm, &terms.confirm) != 0)
        return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL,
                          "confirm: must be \"auto\" or \"central\"");
    if (evidence != NULL &&
        (flip_proof_parse(evidence, &proof) != 0 || proof == FLIP_PROOF_CENTRAL))
        return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL,
                          "evidence: must be \"connack\" or \"echo\"; that of the centre is asked "
                          "for by confirm");
    terms.evidence = evidence == NULL ? 0 : (unsigned)proof;
    if (terms.force) /* the audit log says so */
        call_note(c, "(forced)");
    if (check_clock(c) != 0)
        return -1;
    return step_targets(c, EV_FLIP, &terms);
}

int do_rollback(struct call *c)
{
    return step_targets(c, EV_ROLLBACK, NULL);
}

int do_confirm(struct call *c)
{
    const char *key;
    json_t *value;

    json_object_foreach(json_object_get(c->params, "fingerprints"), key, value)
    {
        if (!json_is_string(value))
            return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL,
                              "fingerprints: of device %.128s: must be a string", key);
    }
    return step_targets(c, EV_CONFIRMED, NULL);
}

int do_commit(struct call *c)
{
    return step_targets(c, EV_COMMIT, NULL);
}

int do_quarantine_clear(struct call *c)
{
    return step_targets(c, EV_CLEARED, NULL);
}
