/* fleet/ledger_rows.c - what is in a ledger: rows to structures and back. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "fleet/ledger_inside.h"

/* -- binding and reading, in the order of the columns ------------------------------------------ */

/* A failure to bind shows in the step that follows.  Texts are borrowed until then. */
struct binder {
    sqlite3_stmt *st;
    int at;
};

static struct binder bind_to(struct ledger *l, enum ledger_statement id)
{
    return (struct binder){l->statement[id], 1};
}

static void bind_text(struct binder *b, const char *text)
{
    if (text == NULL)
        sqlite3_bind_null(b->st, b->at++);
    else
        sqlite3_bind_text(b->st, b->at++, text, -1, SQLITE_STATIC);
}

static void bind_int(struct binder *b, int64_t v)
{
    sqlite3_bind_int64(b->st, b->at++, v);
}

struct reader {
    struct ledger *l;
    sqlite3_stmt *st;
    int at, rc;
    struct err *err;
};

static struct reader read_from(struct ledger *l, enum ledger_statement id, struct err *err)
{
    return (struct reader){l, l->statement[id], 0, 0, err};
}

/* As one line of UTF-8: whoever cut a text in the middle of a character did so for all readers. */
static void take_text(struct reader *r, char *out, size_t size)
{
    const char *text = (const char *)sqlite3_column_text(r->st, r->at++);
    size_t n = text == NULL ? 0 : strnlen(text, size - 1);

    if (n > 0)
        memcpy(out, text, n);
    out[n] = '\0';
    str_tidy(out);
}
#define TAKE_TEXT(r, member) take_text(r, member, sizeof(member))

static int64_t take_int(struct reader *r)
{
    return sqlite3_column_int64(r->st, r->at++);
}

/* NULL for NULL.  Returns owned. */
static char *take_copy(struct reader *r)
{
    const char *text = (const char *)sqlite3_column_text(r->st, r->at++);
    char *copy = text == NULL ? NULL : strdup(text);

    if (text != NULL && copy == NULL)
        r->rc = err_set(r->err, ERR_NOMEM, "out of memory");
    return copy;
}

/* A word of a list, by its finder. */
static int take_word(struct reader *r, int (*find)(const char *name))
{
    const char *text = (const char *)sqlite3_column_text(r->st, r->at++);
    int v = text == NULL ? -1 : find(text);

    if (v >= 0)
        return v;
    if (r->rc == 0)
        r->rc = ledger_fail_corrupt(r->l, "a word that is not known here", r->err);
    return 0;
}

/* The next row: 1, 0 at the end, or a negative code. */
static int next(struct reader *r)
{
    int rc = sqlite3_step(r->st);

    r->at = 0;
    if (rc == SQLITE_ROW)
        return 1;
    return rc == SQLITE_DONE ? 0 : ledger_fail(r->l, rc, r->err);
}

/* -- the campaign ------------------------------------------------------------------------------ */

static int read_campaign(struct reader *r, struct fleet_campaign *c)
{
    TAKE_TEXT(r, c->name);
    c->phase = (enum fleet_phase)take_word(r, fleet_phase_find);
    c->mode = (enum fleet_mode)take_word(r, fleet_mode_find);
    c->wave = (int)take_int(r);
    c->waves = (int)take_int(r);
    c->started_s = take_int(r);
    c->changed_s = take_int(r);
    c->wave_begun_s = take_int(r);
    c->soak_until_s = take_int(r);
    c->ended_s = take_int(r);
    TAKE_TEXT(r, c->reason);
    TAKE_TEXT(r, c->by);
    TAKE_TEXT(r, c->plan);
    c->back_from = (int)take_int(r);
    c->back_to = (int)take_int(r);
    c->requests = take_int(r);
    return r->rc;
}

int ledger_campaign(struct ledger *l, struct fleet_campaign *out, struct err *err)
{
    struct reader r = read_from(l, LEDGER_CAMPAIGN_GET, err);
    struct fleet_campaign c = {0};
    int rc = next(&r);

    if (rc == 0)
        rc = err_set(err, ERR_NOT_FOUND,
                     "%s: no campaign was begun in it: `certflip-fleet run` begins it", l->path);
    else if (rc > 0)
        rc = read_campaign(&r, &c);
    ledger_done(r.st);
    if (rc == 0)
        *out = c;
    return rc;
}

int ledger_campaign_put(struct ledger *l, const struct fleet_campaign *c, struct err *err)
{
    struct binder b = bind_to(l, LEDGER_CAMPAIGN_PUT);

    bind_text(&b, c->name);
    bind_text(&b, fleet_phase_name(c->phase));
    bind_text(&b, fleet_mode_name(c->mode));
    bind_int(&b, c->wave);
    bind_int(&b, c->waves);
    bind_int(&b, c->started_s);
    bind_int(&b, c->changed_s);
    bind_int(&b, c->wave_begun_s);
    bind_int(&b, c->soak_until_s);
    bind_int(&b, c->ended_s);
    bind_text(&b, c->reason);
    bind_text(&b, c->by);
    bind_text(&b, c->plan);
    bind_int(&b, c->back_from);
    bind_int(&b, c->back_to);
    bind_int(&b, c->requests);
    return ledger_write(l, b.st, err);
}

/* -- gateways ---------------------------------------------------------------------------------- */

int ledger_gateway_put(struct ledger *l, const struct fleet_gateway *g, struct err *err)
{
    struct binder b = bind_to(l, LEDGER_GATEWAY_PUT);

    bind_text(&b, g->name);
    bind_text(&b, fleet_gateway_step_name(g->step));
    bind_int(&b, g->changed_s);
    bind_text(&b, g->trouble);
    return ledger_write(l, b.st, err);
}

static int read_gateway(struct reader *r, struct fleet_gateway *g)
{
    TAKE_TEXT(r, g->name);
    g->step = (enum fleet_gateway_step)take_word(r, fleet_gateway_step_find);
    g->changed_s = take_int(r);
    TAKE_TEXT(r, g->trouble);
    return r->rc;
}

int ledger_gateway(struct ledger *l, const char *name, struct fleet_gateway *out, struct err *err)
{
    struct reader r = read_from(l, LEDGER_GATEWAY_GET, err);
    struct binder b = bind_to(l, LEDGER_GATEWAY_GET);
    struct fleet_gateway g = {0};
    int rc;

    bind_text(&b, name);
    rc = next(&r);
    if (rc == 0)
        rc = err_set(err, ERR_NOT_FOUND, "gateway %s: not of this campaign", name);
    else if (rc > 0)
        rc = read_gateway(&r, &g);
    ledger_done(r.st);
    if (rc == 0)
        *out = g;
    return rc;
}

int ledger_gateways(struct ledger *l, int (*each)(void *arg, const struct fleet_gateway *g),
                    void *arg, struct err *err)
{
    struct reader r = read_from(l, LEDGER_GATEWAY_EACH, err);
    int rc;

    while ((rc = next(&r)) > 0) {
        struct fleet_gateway g;

        rc = read_gateway(&r, &g);
        if (rc == 0)
            rc = each(arg, &g);
        if (rc != 0)
            break;
    }
    ledger_done(r.st);
    return rc;
}

/* -- devices ----------------------------------------------------------------------------------- */

int ledger_device_put(struct ledger *l, const struct fleet_device *d, struct err *err)
{
    struct binder b = bind_to(l, LEDGER_DEVICE_PUT);

    bind_text(&b, d->gateway);
    bind_text(&b, d->name);
    bind_int(&b, d->wave);
    bind_text(&b, fleet_device_step_name(d->step));
    bind_int(&b, d->attempts);
    bind_text(&b, d->old_fp);
    bind_text(&b, d->new_fp);
    bind_int(&b, d->new_until_s);
    bind_int(&b, d->old_until_s);
    bind_int(&b, d->flip_s);
    bind_int(&b, d->migrated_s);
    bind_int(&b, d->changed_s);
    bind_text(&b, d->failure);
    bind_text(&b, d->reason);
    bind_text(&b, d->remedy);
    bind_int(&b, d->renew);
    return ledger_write(l, b.st, err);
}

static int read_device(struct reader *r, struct fleet_device *d)
{
    TAKE_TEXT(r, d->gateway);
    TAKE_TEXT(r, d->name);
    d->wave = (int)take_int(r);
    d->step = (enum fleet_device_step)take_word(r, fleet_device_step_find);
    d->attempts = (unsigned)take_int(r);
    TAKE_TEXT(r, d->old_fp);
    TAKE_TEXT(r, d->new_fp);
    d->new_until_s = take_int(r);
    d->old_until_s = take_int(r);
    d->flip_s = take_int(r);
    d->migrated_s = take_int(r);
    d->changed_s = take_int(r);
    TAKE_TEXT(r, d->failure);
    TAKE_TEXT(r, d->reason);
    TAKE_TEXT(r, d->remedy);
    d->renew = take_int(r) != 0;
    return r->rc;
}

int ledger_device(struct ledger *l, const char *gateway, const char *name, struct fleet_device *out,
                  struct err *err)
{
    struct reader r = read_from(l, LEDGER_DEVICE_GET, err);
    struct binder b = bind_to(l, LEDGER_DEVICE_GET);
    struct fleet_device d = {0};
    int rc;

    bind_text(&b, gateway);
    bind_text(&b, name);
    rc = next(&r);
    if (rc == 0)
        rc = err_set(err, ERR_NOT_FOUND, "device %s/%s: not of this campaign", gateway, name);
    else if (rc > 0)
        rc = read_device(&r, &d);
    ledger_done(r.st);
    if (rc == 0)
        *out = d;
    return rc;
}

int ledger_devices(struct ledger *l, int (*each)(void *arg, const struct fleet_device *d),
                   void *arg, struct err *err)
{
    struct reader r = read_from(l, LEDGER_DEVICE_EACH, err);
    int rc;

    while ((rc = next(&r)) > 0) {
        struct fleet_device d;

        rc = read_device(&r, &d);
        if (rc == 0)
            rc = each(arg, &d);
        if (rc != 0)
            break;
    }
    ledger_done(r.st);
    return rc;
}

int ledger_tallies(struct ledger *l, int (*each)(void *arg, const struct ledger_tally *t),
                   void *arg, struct err *err)
{
    struct reader r = read_from(l, LEDGER_TALLY_EACH, err);
    int rc;

    while ((rc = next(&r)) > 0) {
        char gateway[FLEET_NAME_MAX + 1];
        struct ledger_tally t = {.gateway = gateway};

        TAKE_TEXT(&r, gateway);
        t.wave = (int)take_int(&r);
        t.step = (enum fleet_device_step)take_word(&r, fleet_device_step_find);
        t.count = (size_t)take_int(&r);
        rc = r.rc == 0 ? each(arg, &t) : r.rc;
        if (rc != 0)
            break;
    }
    ledger_done(r.st);
    return rc;
}

/* -- requests for certificates, and certificates ------------------------------------------------
 */

int ledger_pem_put(struct ledger *l, const char *gateway, const char *device, const char *csr,
                   const char *chain, struct err *err)
{
    struct binder b = bind_to(l, LEDGER_PEM_PUT);

    bind_text(&b, gateway);
    bind_text(&b, device);
    bind_text(&b, csr);
    bind_text(&b, chain);
    return ledger_write(l, b.st, err);
}

int ledger_pem(struct ledger *l, const char *gateway, const char *device, char **csr, char **chain,
               struct err *err)
{
    struct reader r = read_from(l, LEDGER_PEM_GET, err);
    struct binder b = bind_to(l, LEDGER_PEM_GET);
    char *request = NULL, *certs = NULL;
    int rc;

    bind_text(&b, gateway);
    bind_text(&b, device);
    rc = next(&r);
    if (rc > 0) {
        request = take_copy(&r);
        certs = take_copy(&r);
        rc = r.rc;
    }
    ledger_done(r.st);
    if (rc != 0) {
        free(request);
        free(certs);
        return rc;
    }
    *csr = request;
    *chain = certs;
    return 0;
}

/* -- commands ---------------------------------------------------------------------------------- */

int ledger_request_put(struct ledger *l, const struct fleet_request *q, struct err *err)
{
    struct binder b = bind_to(l, LEDGER_REQUEST_PUT);

    bind_text(&b, q->id);
    bind_text(&b, q->gateway);
    bind_text(&b, fleet_request_state_name(q->state));
    bind_int(&b, q->sent_s);
    bind_text(&b, q->method);
    bind_text(&b, q->params);
    bind_text(&b, q->reply);
    return ledger_write(l, b.st, err);
}

static int read_request(struct reader *r, struct fleet_request *q)
{
    TAKE_TEXT(r, q->id);
    TAKE_TEXT(r, q->gateway);
    q->state = (enum fleet_request_state)take_word(r, fleet_request_state_find);
    q->sent_s = take_int(r);
    q->method = take_copy(r);
    q->params = take_copy(r);
    q->reply = take_copy(r);
    return r->rc;
}

int ledger_requests(struct ledger *l, int (*each)(void *arg, const struct fleet_request *q),
                    void *arg, struct err *err)
{
    struct reader r = read_from(l, LEDGER_REQUEST_EACH, err);
    int rc;

    while ((rc = next(&r)) > 0) {
        struct fleet_request q;

        rc = read_request(&r, &q);
        if (rc == 0)
            rc = each(arg, &q);
        free(q.method);
        free(q.params);
        free(q.reply);
        if (rc != 0)
            break;
    }
    ledger_done(r.st);
    return rc;
}

int ledger_request_del(struct ledger *l, const char *id, struct err *err)
{
    struct binder b = bind_to(l, LEDGER_REQUEST_DEL);

    bind_text(&b, id);
    return ledger_write(l, b.st, err);
}

/* -- wishes ------------------------------------------------------------------------------------ */

int ledger_wish_put(struct ledger *l, const char *who, const char *wish, struct err *err)
{
    struct binder b = bind_to(l, LEDGER_WISH_PUT);

    bind_int(&b, clock_wall_s());
    bind_text(&b, who);
    bind_text(&b, wish);
    return ledger_write_any(l, b.st, err);
}

int ledger_wishes(struct ledger *l,
                  int (*each)(void *arg, int64_t seq, const char *who, const char *wish), void *arg,
                  struct err *err)
{
    struct reader r = read_from(l, LEDGER_WISH_EACH, err);
    int rc;

    while ((rc = next(&r)) > 0) {
        int64_t seq = take_int(&r);
        char *who = take_copy(&r), *wish = take_copy(&r);

        rc = r.rc == 0 ? each(arg, seq, who, wish) : r.rc;
        free(who);
        free(wish);
        if (rc != 0)
            break;
    }
    ledger_done(r.st);
    return rc;
}

int ledger_wish_del(struct ledger *l, int64_t seq, struct err *err)
{
    struct binder b = bind_to(l, LEDGER_WISH_DEL);

    bind_int(&b, seq);
    return ledger_write(l, b.st, err);
}

/* -- the diary --------------------------------------------------------------------------------- */

int ledger_note_add(struct ledger *l, const char *what, const char *gateway, const char *device,
                    const char *text, struct err *err)
{
    struct binder b = bind_to(l, LEDGER_NOTE_ADD);

    bind_int(&b, clock_wall_s());
    bind_text(&b, what);
    bind_text(&b, gateway);
    bind_text(&b, device);
    bind_text(&b, text);
    return ledger_write(l, b.st, err);
}

int ledger_notes(struct ledger *l, int64_t after,
                 int (*each)(void *arg, const struct ledger_note *n), void *arg, struct err *err)
{
    struct reader r = read_from(l, LEDGER_NOTE_EACH, err);
    struct binder b = bind_to(l, LEDGER_NOTE_EACH);
    int rc;

    bind_int(&b, after);
    while ((rc = next(&r)) > 0) {
        struct ledger_note n;

        n.seq = take_int(&r);
        n.time_s = take_int(&r);
        n.what = (const char *)sqlite3_column_text(r.st, r.at++);
        n.gateway = (const char *)sqlite3_column_text(r.st, r.at++);
        n.device = (const char *)sqlite3_column_text(r.st, r.at++);
        n.text = (const char *)sqlite3_column_text(r.st, r.at++);
        if (n.what == NULL || n.gateway == NULL || n.device == NULL || n.text == NULL)
            rc = err_set(err, ERR_NOMEM, "out of memory");
        else
            rc = each(arg, &n);
        if (rc != 0)
            break;
    }
    ledger_done(r.st);
    return rc;
}
