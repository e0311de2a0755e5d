/* fleet/engine_reply.c - what a reply says: see engine_inside.h.
 *
 * A reply may come twice, or long after what it tells of, or without its rows when it is the
 * repetition of one that was lost; so what it does not say the view has to show.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "control/rpc.h"
#include "fleet/engine_inside.h"

struct refusal {
    int code;
    const char *name, *message, *remedy; /* borrowed from the reply */
};

/* ERROR as of rpc.h: flat in rows, with "data" as a reply's error. */
static struct refusal refusal_of(const json_t *error)
{
    const json_t *data = json_object_get(error, "data");
    const json_t *at = data == NULL ? error : data;
    struct refusal r = {
        (int)json_integer_value(json_object_get(error, "code")),
        json_string_value(json_object_get(at, "name")),
        json_string_value(json_object_get(error, "message")),
        json_string_value(json_object_get(at, "remedy")),
    };

    if (r.name == NULL)
        r.name = rpc_error_name(r.code);
    if (r.message == NULL)
        r.message = "refused, without a word";
    return r;
}

/* May it work the next time, without anybody's help? */
static bool passes(int code)
{
    return code == RPC_BUSY || code == RPC_STORE || code == RPC_TOO_LATE || code == RPC_CLOCK ||
           code == RPC_EXPIRED || code == RPC_NOT_YET || code == RPC_INTERNAL;
}

/* Is it about who has signed the command, rather than about what it asks for? */
static bool is_of_operator(int code)
{
    return code <= RPC_UNSIGNED && code >= RPC_NOT_AUTHORISED;
}

static void wait_for(struct engine *e, struct edevice *d, int64_t s)
{
    d->wait_s = e->now_s + s;
}

/* -- one device ----------------------------------------------------------------------------------
 */

static void keyed(struct engine *e, struct edevice *d, const json_t *row)
{
    const char *csr = json_string_value(json_object_get(row, "csr"));

    if (d->step != FLEET_DEVICE_PLANNED)
        return;
    if (csr == NULL) {
        wait_for(e, d, ENGINE_RETRY_S);
        engine_held(e, d, "no-request", "a key was made, and no request for its certificate came",
                    NULL);
        return;
    }
    e->rc = e->out->pem(e->out->arg, d->gw->name, d->name, csr, NULL, e->err);
    d->renew = false;
    engine_set_step(e, d, FLEET_DEVICE_KEYED);
}

static void installed(struct engine *e, struct edevice *d, const json_t *result)
{
    const char *fp =
        json_string_value(json_object_get(json_object_get(result, "slot"), "fingerprint"));
    uint8_t digest[32];
    char reason[200];

    if (d->step != FLEET_DEVICE_SIGNED)
        return;
    if (fp != NULL && str_unhex(fp, digest, sizeof(digest)) == 0 &&
        memcmp(digest, d->new_fp, 32) != 0) {
        snprintf(reason, sizeof(reason),
                 "the gateway says that it has installed the certificate %.16s.., which is not the "
                 "one that was signed",
                 fp);
        engine_fail(e, d, "fingerprint", reason, NULL);
        return;
    }
    engine_set_step(e, d, FLEET_DEVICE_READY);
}

/* The view shows it soon; else it is asked for once more. */
static void rolled_back(struct engine *e, struct edevice *d)
{
    d->answered = true;
    wait_for(e, d, ENGINE_SILENT_S);
}

static void not_confirmed(struct engine *e, struct edevice *d)
{
    d->confirmed = false;
    wait_for(e, d, ENGINE_CONFIRM_S);
}

static void refused(struct engine *e, struct edevice *d, enum order order, const struct refusal *r)
{
    if (d->step == FLEET_DEVICE_SKIPPED) /* meanwhile: it is of no concern any more */
        return;
    switch (order) {
    case ORDER_FLIP:
        if (d->step != FLEET_DEVICE_FLIPPING)
            return;
        if (r->code == RPC_PHASE || r->code == RPC_QUARANTINED) {
            d->answered = true; /* a trial, or its end, of which the view will tell */
            return;
        }
        break;
    case ORDER_ROLLBACK: /* where there is nothing to roll back the view shows the old identity */
        if (r->code == RPC_PHASE || r->code == RPC_NO_IDENTITY)
            rolled_back(e, d);
        else
            wait_for(e, d, ENGINE_RETRY_S);
        if (!engine_is_back(d, engine_seen(e, d)))
            engine_held(e, d, "rollback-refused", r->message, r->remedy);
        return;
    case ORDER_RETIRE:
        wait_for(e, d, ENGINE_BACKOFF_S);
        engine_note(e, "retire-refused", d->gw, d, "%s", r->message);
        return;
    case ORDER_CONFIRM: /* its trial is over, or has to be confirmed before it ends without */
        not_confirmed(e, d);
        return;
    case ORDER_CLEAR:
        if (r->code == RPC_PHASE) {
            wait_for(e, d, 1); /* it is not in quarantine any more */
            return;
        }
        break;
    case ORDER_DISCARD:
    case ORDER_KEYGEN:
    case ORDER_INSTALL:
    case ORDER_TRUST_ADD:
    case ORDER_TRUST_REMOVE:
    case ORDERS:
        break;
    }
    if (passes(r->code)) {
        wait_for(e, d, ENGINE_RETRY_S);
        if (d->step == FLEET_DEVICE_FLIPPING)
            engine_unflip(e, d);
        engine_held(e, d, "refused", r->message, r->remedy);
        return;
    }
    engine_fail(e, d, r->name, r->message, r->remedy);
}

static void done(struct engine *e, struct edevice *d, enum order order, const json_t *row)
{
    switch (order) {
    case ORDER_KEYGEN:
        keyed(e, d, row);
        return;
    case ORDER_INSTALL:
        installed(e, d, row);
        return;
    case ORDER_FLIP:
        d->answered = true;
        return;
    case ORDER_ROLLBACK:
        rolled_back(e, d);
        return;
    case ORDER_RETIRE:
        if (d->step == FLEET_DEVICE_VALIDATED)
            engine_set_step(e, d, FLEET_DEVICE_RETIRED);
        return;
    case ORDER_DISCARD: /* a key at once might find the view behind, and be discarded, too */
        wait_for(e, d, 1);
        return;
    case ORDER_CLEAR:
    case ORDER_CONFIRM:
    case ORDER_TRUST_ADD:
    case ORDER_TRUST_REMOVE:
    case ORDERS:
        return;
    }
}

/* -- all of them ---------------------------------------------------------------------------------
 */

static struct edevice *device_of(const struct erequest *r, const char *name)
{
    for (size_t i = 0; name != NULL && i < r->count; i++)
        if (strcmp(r->devices[i]->name, name) == 0)
            return r->devices[i];
    return NULL;
}

static int by_name(const void *a, const void *b)
{
    const struct edevice *const *x = a;
    const struct edevice *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

static struct edevice *find_sorted(const struct erequest *r, const char *name)
{
    size_t low = 0, high = r->count;

    while (name != NULL && low < high) {
        size_t middle = low + (high - low) / 2;
        int c = strcmp(r->devices[middle]->name, name);

        if (c == 0)
            return r->devices[middle];
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* Rows of an OUTCOME, or of an error's results. */
static void take_rows(struct engine *e, struct erequest *r, const json_t *rows)
{
    const json_t *row;
    size_t i;

    qsort(r->devices, r->count, sizeof(struct edevice *), by_name);
    json_array_foreach((json_t *)(uintptr_t)rows, i, row)
    {
        struct edevice *d = find_sorted(r, json_string_value(json_object_get(row, "device")));

        if (d == NULL || d->request != r)
            continue;
        d->request = NULL;
        if (json_is_true(json_object_get(row, "ok"))) {
            done(e, d, r->order, row);
        } else {
            struct refusal why = refusal_of(json_object_get(row, "error"));

            refused(e, d, r->order, &why);
        }
    }
}

/* Those that no row tells of. */
static void take_rest(struct engine *e, struct erequest *r)
{
    for (size_t i = 0; i < r->count; i++) {
        struct edevice *d = r->devices[i];

        if (d->request != r)
            continue;
        switch (r->order) {
        case ORDER_FLIP:
            d->answered = true;
            break;
        case ORDER_ROLLBACK:
            rolled_back(e, d);
            break;
        case ORDER_CONFIRM:
            not_confirmed(e, d);
            break;
        case ORDER_CLEAR:
            break;
        case ORDER_DISCARD:
        case ORDER_KEYGEN: /* the same request for a certificate comes once more */
        case ORDER_INSTALL:
        case ORDER_RETIRE:
        case ORDER_TRUST_ADD:
        case ORDER_TRUST_REMOVE:
        case ORDERS:
            wait_for(e, d, 1);
            break;
        }
    }
}

/* A command for several was refused as a whole for one that is not there: each by itself, then. */
static bool take_apart(struct engine *e, struct erequest *r, const struct refusal *why)
{
    if (why->code != RPC_NO_DEVICE || r->count < 2)
        return false;
    for (size_t i = 0; i < r->count; i++) {
        r->devices[i]->alone = true;
        r->devices[i]->confirmed = false;
        if (r->order == ORDER_FLIP && r->devices[i]->step == FLEET_DEVICE_FLIPPING)
            engine_unflip(e, r->devices[i]);
    }
    return true;
}

static void tell_trouble(struct engine *e, struct egateway *g, enum order order,
                         const struct refusal *why)
{
    char text[512];

    snprintf(text, sizeof(text), "%s: %s%s%s", engine_method(order), why->message,
             why->remedy == NULL ? "" : ": ", why->remedy == NULL ? "" : why->remedy);
    engine_trouble(e, g, text);
}

/* Commands of the kind are taken again: what was said of one that was refused is not so any more.
 */
static void end_trouble(struct engine *e, struct egateway *g, enum order order)
{
    const char *method = engine_method(order);
    size_t n = strlen(method);

    if (g->trouble != NULL && strncmp(g->trouble, method, n) == 0 && g->trouble[n] == ':' &&
        !(order == ORDER_TRUST_REMOVE && g->anchor_refused > 0))
        engine_trouble(e, g, NULL);
}

/* It is about the command, not about a device: nothing was done. */
static void refused_whole(struct engine *e, struct erequest *r, const struct refusal *why)
{
    struct egateway *g = r->gw;

    if (take_apart(e, r, why))
        return;
    if (r->count == 1 && (why->code == RPC_NO_DEVICE || r->order == ORDER_INSTALL) &&
        !is_of_operator(why->code)) {
        struct edevice *d = r->devices[0];

        d->request = NULL;
        refused(e, d, r->order, why);
        return;
    }
    g->wait_s[r->order] = e->now_s + (r->order == ORDER_CONFIRM ? ENGINE_CONFIRM_S
                                      : passes(why->code)       ? ENGINE_RETRY_S
                                                                : ENGINE_BACKOFF_S);
    for (size_t i = 0; i < r->count; i++) {
        r->devices[i]->confirmed = false;
        if (r->devices[i]->step == FLEET_DEVICE_FLIPPING && r->order == ORDER_FLIP)
            engine_unflip(e, r->devices[i]);
    }
    tell_trouble(e, g, r->order, why);
    if (!passes(why->code) && e->c.phase == FLEET_PREPARE && e->c.mode == FLEET_RUNNING &&
        engine_takes_part(g))
        engine_halt(e, "gateway %s refuses %s: %s%s%s", g->name, engine_method(r->order),
                    why->message, why->remedy == NULL ? "" : ": ",
                    why->remedy == NULL ? "" : why->remedy);
}

/* -- anchors -------------------------------------------------------------------------------------
 */

static void distrusted(struct engine *e, struct erequest *r, const json_t *error)
{
    struct egateway *g = r->gw;
    struct refusal why;

    if (error == NULL) {
        g->anchor_next++;
        return;
    }
    why = refusal_of(error);
    if (why.code == RPC_ANCHOR) { /* it is not there: nothing is to be removed */
        g->anchor_next++;
    } else if (why.code == RPC_IN_USE) {
        g->anchor_next++;
        g->anchor_refused++;
        tell_trouble(e, g, r->order, &why);
    } else {
        g->wait_s[r->order] = e->now_s + ENGINE_BACKOFF_S;
        tell_trouble(e, g, r->order, &why);
    }
}

void engine_take_reply(struct engine *e, struct erequest *r)
{
    json_t *reply = json_loads(r->reply, 0, NULL);
    const json_t *result = json_object_get(reply, "result");
    const json_t *error = json_object_get(reply, "error");
    const json_t *results = json_object_get(json_object_get(error, "data"), "results");

    if (result == NULL && error == NULL) { /* not an answer: the question comes once more */
        r->sent_s = e->now_s;
        free(r->reply);
        r->reply = NULL;
        json_decref(reply);
        return;
    }
    if (error == NULL || json_array_size(results) > 0)
        end_trouble(e, r->gw, r->order);
    if (r->order == ORDER_TRUST_REMOVE) {
        distrusted(e, r, error);
    } else if (json_array_size(results) > 0) {
        take_rows(e, r, results);
        take_rest(e, r);
    } else if (error == NULL && r->order == ORDER_TRUST_ADD) {
        r->gw->trust_asked = true;
    } else if (error != NULL) {
        struct refusal why = refusal_of(error);

        refused_whole(e, r, &why);
    } else if (r->order == ORDER_INSTALL) {
        struct edevice *d = device_of(r, json_string_value(json_object_get(result, "device")));

        if (d != NULL)
            done(e, d, r->order, result);
    } else {
        take_rows(e, r, json_object_get(result, "devices"));
        take_rest(e, r);
    }
    engine_request_end(e, r);
    json_decref(reply);
}
