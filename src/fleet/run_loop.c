/* fleet/run_loop.c - the loop around engine, ledger, link and signer: see run_inside.h.
 *
 * In each turn: what the link and the signer bring goes to the engine; the engine goes on; what it
 * hands out is saved as one group; then, and not before, requests are sent.
 */
#include <inttypes.h>
#include <jansson.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "control/rpc.h"
#include "fleet/gather.h"
#include "fleet/run_inside.h"

enum {
    STEP_MS = 200,   /* for the link to bring something */
    BUSY_MS = 20,    /* the same, while certificates are being made */
    CONNECT_S = 30,  /* for the first connection; a later one is waited for as long as it takes */
    SETTLE_S = 120,  /* for what is retained */
    TELL_S = 10,     /* between two lines of progress */
    NOTED_S = 15,    /* for the one who runs the campaign to take a wish */
    SIGN_AHEAD = 32, /* requests that wait at the signer, for each that it works at */
};

/* -- texts ---------------------------------------------------------------------------------------
 */

/* One line, whoever has made the text, and wherever it was cut. */
static void tell(struct runner *r, const char *what, const char *gateway, const char *device,
                 const char *said)
{
    char when[32], *text = strdup(said);

    if (text == NULL)
        return;
    str_tidy(text);
    clock_iso(clock_wall_s(), when, sizeof(when));
    if (r->cmd->line->json) {
        json_t *row = json_pack("{s:s, s:s, s:s?, s:s?, s:s}", "time", when, "what", what,
                                "gateway", gateway[0] == '\0' ? NULL : gateway, "device",
                                device[0] == '\0' ? NULL : device, "text", text);
        char *line = row == NULL ? NULL : json_dumps(row, JSON_COMPACT);

        if (line != NULL)
            buf_printf(&r->told, "%s\n", line);
        free(line);
        json_decref(row);
        free(text);
        return;
    }
    buf_printf(&r->told, "%s  %-14s %s%s%s%s%s\n", when, what, gateway,
               device[0] == '\0' ? "" : "/", device, gateway[0] == '\0' ? "" : "  ", text);
    free(text);
}

static void print_told(struct runner *r)
{
    if (r->told.len > 0 && r->watch != NULL)
        watch_lines(r->watch, (const char *)r->told.p, r->told.len);
    else if (r->told.len > 0)
        fwrite(r->told.p, 1, r->told.len, r->cmd->out.to);
    if (r->told.len > 0)
        fflush(r->cmd->out.to);
    r->told.len = 0;
}

/* A line now and then while something goes on. */
static void tell_progress(struct runner *r, int64_t now_s)
{
    const struct fleet_campaign *c = engine_campaign(r->engine);
    struct engine_counts n;
    char text[200];
    size_t all;

    if (r->watch != NULL || now_s < r->said_s + TELL_S)
        return;
    r->said_s = now_s;
    engine_counts(r->engine, &n);
    all = n.devices - n.by_step[FLEET_DEVICE_SKIPPED];
    if (c->mode == FLEET_RETURNING)
        snprintf(text, sizeof(text), "%zu devices are back, %zu flipping or migrated",
                 n.by_step[FLEET_DEVICE_RETURNED],
                 n.by_step[FLEET_DEVICE_FLIPPING] + n.by_step[FLEET_DEVICE_MIGRATED] +
                     n.by_step[FLEET_DEVICE_VALIDATED]);
    else if (c->phase == FLEET_PREPARE)
        snprintf(text, sizeof(text), "prepare: %zu of %zu devices are ready, %zu failed",
                 n.by_step[FLEET_DEVICE_READY], all, n.by_step[FLEET_DEVICE_FAILED]);
    else if (c->phase == FLEET_MIGRATE)
        snprintf(text, sizeof(text),
                 "migrate: %zu of %zu devices migrated, %zu flipping, %zu failed; wave %d of %d",
                 n.by_step[FLEET_DEVICE_MIGRATED], all, n.by_step[FLEET_DEVICE_FLIPPING],
                 n.by_step[FLEET_DEVICE_FAILED], c->wave, c->waves - 1);
    else
        snprintf(text, sizeof(text), "%s: %zu of %zu devices validated, %zu retired, %zu failed%s",
                 fleet_phase_name(c->phase),
                 n.by_step[FLEET_DEVICE_VALIDATED] + n.by_step[FLEET_DEVICE_RETIRED], all,
                 n.by_step[FLEET_DEVICE_RETIRED], n.by_step[FLEET_DEVICE_FAILED],
                 c->phase == FLEET_VALIDATE
                     ? "; the others are waited for: certflip-fleet stragglers"
                     : "");
    if (strcmp(text, r->said) == 0)
        return;
    snprintf(r->said, sizeof(r->said), "%s", text);
    tell(r, "progress", "", "", text);
}

/* -- rows ----------------------------------------------------------------------------------------
 */

/* Writes of one step are one group, which is begun with the first of them. */
static int group(struct runner *r, struct err *err)
{
    int rc = r->grouped ? 0 : ledger_begin(r->ledger, err);

    r->grouped = r->grouped || rc == 0;
    return rc;
}

static int on_campaign(void *arg, const struct fleet_campaign *c, struct err *err)
{
    struct runner *r = arg;
    int rc = group(r, err);

    return rc != 0 ? rc : ledger_campaign_put(r->ledger, c, err);
}

static int on_gateway(void *arg, const struct fleet_gateway *g, struct err *err)
{
    struct runner *r = arg;
    int rc = group(r, err);

    return rc != 0 ? rc : ledger_gateway_put(r->ledger, g, err);
}

static int on_device(void *arg, const struct fleet_device *d, struct err *err)
{
    struct runner *r = arg;
    int rc = group(r, err);

    return rc != 0 ? rc : ledger_device_put(r->ledger, d, err);
}

static int on_pem(void *arg, const char *gateway, const char *device, const char *csr,
                  const char *chain, struct err *err)
{
    struct runner *r = arg;
    int rc = group(r, err);

    return rc != 0 ? rc : ledger_pem_put(r->ledger, gateway, device, csr, chain, err);
}

static int on_pem_get(void *arg, const char *gateway, const char *device, char **csr, char **chain,
                      struct err *err)
{
    struct runner *r = arg;

    return ledger_pem(r->ledger, gateway, device, csr, chain, err);
}

static int on_request(void *arg, const struct fleet_request *q, struct err *err)
{
    struct runner *r = arg;
    int rc = group(r, err);

    return rc != 0 ? rc : ledger_request_put(r->ledger, q, err);
}

static int on_request_del(void *arg, const char *id, struct err *err)
{
    struct runner *r = arg;
    int rc = group(r, err);

    return rc != 0 ? rc : ledger_request_del(r->ledger, id, err);
}

static int on_note(void *arg, const char *what, const char *gateway, const char *device,
                   const char *text, struct err *err)
{
    struct runner *r = arg;
    int rc = group(r, err);

    tell(r, what, gateway, device, text);
    return rc != 0 ? rc : ledger_note_add(r->ledger, what, gateway, device, text, err);
}

int runner_step(struct runner *r, bool go_on, struct err *err)
{
    const struct engine_out out = {on_campaign, on_gateway,     on_device, on_pem, on_pem_get,
                                   on_request,  on_request_del, on_note,   r};
    int64_t now_s = clock_wall_s();
    int rc =
        go_on ? engine_step(r->engine, now_s, &out, err) : engine_save(r->engine, now_s, &out, err);

    if (rc == 0 && r->grouped)
        rc = ledger_commit(r->ledger, err);
    if (rc != 0 && r->grouped)
        ledger_rollback(r->ledger);
    r->grouped = false;
    if (rc == 0)
        print_told(r);
    return rc;
}

/* -- rows in -------------------------------------------------------------------------------------
 */

static int load_gateway(void *arg, const struct fleet_gateway *g)
{
    struct runner *r = arg;

    return engine_load_gateway(r->engine, g, &r->err);
}

static int load_device(void *arg, const struct fleet_device *d)
{
    struct runner *r = arg;

    return engine_load_device(r->engine, d, &r->err);
}

static int load_request(void *arg, const struct fleet_request *q)
{
    struct runner *r = arg;

    return engine_load_request(r->engine, q, &r->err);
}

int runner_is_its(const struct runner *r, const struct fleet_campaign *c, struct err *err)
{
    return strcmp(c->name, r->conf->name) == 0
               ? 0
               : err_set(err, ERR_INVALID,
                         "%s is the ledger of campaign %s, not of %s: name another one",
                         r->conf->ledger, c->name, r->conf->name);
}

int runner_is_unchanged(const struct runner *r, const struct fleet_campaign *c, struct err *err)
{
    return strcmp(c->plan, r->conf->digest) == 0
               ? 0
               : err_set(err, ERR_INVALID,
                         "%s is not what campaign %s was begun with: who takes part, the waves, "
                         "identities, trust and what is retired cannot change under way: take that "
                         "back, or abort and begin another campaign",
                         r->conf->path, c->name);
}

int runner_load(struct runner *r, struct err *err)
{
    struct fleet_campaign c;
    int rc = ledger_campaign(r->ledger, &c, err);

    if (rc != 0 || (rc = runner_is_its(r, &c, err)) != 0)
        return rc;
    r->err = (struct err){0};
    r->engine = engine_new(r->conf, &r->view);
    if (r->engine == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    rc = engine_load_campaign(r->engine, &c, &r->err);
    if (rc == 0)
        rc = ledger_gateways(r->ledger, load_gateway, r, &r->err);
    if (rc == 0)
        rc = ledger_devices(r->ledger, load_device, r, &r->err);
    if (rc == 0)
        rc = ledger_requests(r->ledger, load_request, r, &r->err);
    if (rc != 0)
        *err = r->err;
    return rc;
}

/* -- the link ------------------------------------------------------------------------------------
 */

static void on_up(void *arg)
{
    struct runner *r = arg;

    if (r->engine != NULL)
        engine_link_lost(r->engine); /* whatever was under way may have got lost with it */
    if (r->was_down)
        tell(r, "broker", "", "", "connected again");
    r->was_up = true;
    r->was_down = false;
}

static void on_down(void *arg, const char *why)
{
    struct runner *r = arg;

    if (r->was_up || !r->was_down)
        tell(r, "broker", "", "", why);
    r->was_up = false;
    r->was_down = true;
}

/* "certflip/v1/gw-1/device/press-7": the names in it. */
static bool names_of(const struct runner *r, const char *topic, char gateway[FLEET_NAME_MAX + 1],
                     const char **device)
{
    size_t n = strlen(r->conf->root);
    const char *name, *slash;

    if (strncmp(topic, r->conf->root, n) != 0 || topic[n] != '/')
        return false;
    name = topic + n + 1;
    slash = strchr(name, '/');
    if (slash == NULL || slash - name > FLEET_NAME_MAX)
        return false;
    snprintf(gateway, FLEET_NAME_MAX + 1, "%.*s", (int)(slash - name), name);
    *device = strncmp(slash, "/device/", 8) == 0 ? slash + 8 : NULL;
    return true;
}

/* Said now and then: whoever may publish cannot fill a log with it. */
static void not_understood(struct runner *r, const struct err *err)
{
    int64_t now_ms = clock_boot_ms();
    char text[sizeof(err->msg) + 60];

    if (r->unclear_ms != 0 && now_ms - r->unclear_ms < INT64_C(1000) * TELL_S) {
        r->unclear++;
        return;
    }
    if (r->unclear == 0)
        snprintf(text, sizeof(text), "%s", err->msg);
    else
        snprintf(text, sizeof(text), "%s; and %u other messages before it", err->msg, r->unclear);
    r->unclear = 0;
    r->unclear_ms = now_ms;
    tell(r, "not-understood", "", "", text);
}

static void on_message(void *arg, const char *topic, const void *payload, size_t n, bool retained)
{
    struct runner *r = arg;
    char gateway[FLEET_NAME_MAX + 1];
    const char *device;
    struct err err = {0};
    int rc = view_take(&r->view, r->conf->root, topic, payload, n, clock_wall_s(), &err);

    (void)retained;
    if (rc == -ERR_NOMEM && r->rc == 0)
        r->rc = err_set(&r->err, ERR_NOMEM, "out of memory");
    if (rc < 0)
        not_understood(r, &err);
    if (rc != 0 || r->engine == NULL || !names_of(r, topic, gateway, &device))
        return;
    if (device != NULL)
        engine_device_news(r->engine, gateway, device);
    else
        engine_gateway_news(r->engine, gateway);
}

static void on_reply(void *arg, const char *gateway, const char *id, const char *reply, size_t n)
{
    struct runner *r = arg;

    if (r->engine != NULL && r->rc == 0)
        r->rc = engine_reply(r->engine, gateway, id, reply, n, &r->err);
}

static void on_denied(void *arg, const char *topic, const char *id, const char *why)
{
    struct runner *r = arg;
    char text[400];

    (void)id;
    snprintf(text, sizeof(text), "%s: %s", topic, why);
    if (strcmp(text, r->denied) != 0)
        tell(r, "denied", "", "", text);
    memcpy(r->denied, text, sizeof(text));
}

static int make_link(struct runner *r, struct err *err)
{
    const struct link_events events = {on_up, on_down, on_message, on_reply, on_denied, r};
    struct link_conf conf;
    int rc;

    gather_link_conf(r->conf, &conf);
    r->link = link_new(&conf, &events, err);
    if (r->link == NULL)
        return -err->code;
    rc = link_subscribe(r->link, "+/state", err);
    return rc != 0 ? rc : link_subscribe(r->link, "+/device/+", err);
}

enum fleet_status runner_connect(struct runner *r, struct err *err)
{
    int64_t until_ms = clock_boot_ms() + INT64_C(1000) * CONNECT_S;
    bool up = false;

    if (make_link(r, err) != 0)
        return FLEET_STATUS_REFUSED;
    while (!link_is_settled(r->link)) {
        if (*r->cmd->stop)
            return FLEET_STATUS_STOPPED;
        if (clock_boot_ms() >= until_ms) {
            if (link_is_up(r->link))
                err_set(err, ERR_TIMEOUT,
                        "the broker %s:%u does not come to an end with what is retained below %s: "
                        "may this client subscribe to %s/+/state and %s/+/device/+?",
                        r->conf->broker.host, r->conf->broker.port, r->conf->root, r->conf->root,
                        r->conf->root);
            else
                err_set(err, ERR_TIMEOUT, "the broker %s:%u cannot be reached: %s",
                        r->conf->broker.host, r->conf->broker.port, link_trouble(r->link));
            return FLEET_STATUS_UNREACHABLE;
        }
        if (link_step(r->link, STEP_MS, err) != 0)
            return FLEET_STATUS_REFUSED;
        if (r->rc != 0) {
            *err = r->err;
            return FLEET_STATUS_REFUSED;
        }
        if (link_is_up(r->link) && !up)
            until_ms = clock_boot_ms() + INT64_C(1000) * SETTLE_S;
        up = up || link_is_up(r->link);
    }
    print_told(r);
    return FLEET_STATUS_DONE;
}

/* -- the signer ----------------------------------------------------------------------------------
 */

static int make_signer(struct runner *r, struct err *err)
{
    const struct campaign *c = r->conf;
    const struct signer_conf conf = {
        .command = c->sign.command,
        .ca_cert_file = c->sign.ca_cert_file,
        .ca_key_file = c->sign.ca_key_file,
        .anchor_file = c->sign.anchor_file,
        .days = c->sign.days,
        .backdate_h = c->sign.backdate_h,
        .timeout_s = c->sign.timeout_s,
        .parallel = c->sign.parallel,
        .subject = c->identity.subject,
        .sans = (const char *const *)c->identity.sans,
        .san_count = c->identity.san_count,
        .key = campaign_key_name(c->identity.key),
    };

    r->signer = signer_new(&conf, err);
    return r->signer == NULL ? -err->code : 0;
}

static void on_signed(void *arg, const struct signed_cert *cert)
{
    struct runner *r = arg;

    if (r->rc == 0)
        r->rc = engine_signed(r->engine, cert, &r->err);
}

static int on_sign(void *arg, const char *gateway, const char *device, struct err *err)
{
    struct runner *r = arg;
    char *csr = NULL, *chain = NULL;
    int rc = ledger_pem(r->ledger, gateway, device, &csr, &chain, err);

    if (rc == 0 && csr == NULL)
        rc = err_set(err, ERR_DENIED, "the ledger has lost its request: resume asks for it anew");
    if (rc == 0)
        rc = signer_put(r->signer, gateway, device, csr, err);
    free(csr);
    free(chain);
    return rc;
}

static char *json_error(int code, const char *message)
{
    json_t *reply = json_pack("{s:{s:i, s:s}}", "error", "code", code, "message", message);
    char *text = reply == NULL ? NULL : json_dumps(reply, JSON_COMPACT);

    json_decref(reply);
    return text;
}

static int on_send(void *arg, const struct fleet_request *q, struct err *err)
{
    struct runner *r = arg;
    int rc = link_request(r->link, q->gateway, q->id, q->method, q->params, err);
    char *reply;

    if (rc != -ERR_TOO_BIG && rc != -ERR_INVALID)
        return rc;
    /* It will never go out: as if the gateway had refused it. */
    reply = json_error(RPC_TOO_BIG, err->msg);
    rc = reply == NULL ? err_set(err, ERR_NOMEM, "out of memory")
                       : engine_reply(r->engine, q->gateway, q->id, reply, strlen(reply), err);
    free(reply);
    return rc;
}

static int on_refresh(void *arg, const char *gateway, struct err *err)
{
    struct runner *r = arg;
    char filter[FLEET_NAME_MAX + 16];
    int rc;

    snprintf(filter, sizeof(filter), "%s/state", gateway);
    rc = link_refresh(r->link, filter, err);
    snprintf(filter, sizeof(filter), "%s/device/+", gateway);
    return rc != 0 ? rc : link_refresh(r->link, filter, err);
}

/* -- wishes --------------------------------------------------------------------------------------
 */

#define WISHES_MAX 100

struct wishes {
    struct runner *r;
    int64_t seq[WISHES_MAX];
    size_t count;
};

static int take_wish(void *arg, int64_t seq, const char *who, const char *wish)
{
    struct wishes *w = arg;
    struct runner *r = w->r;
    struct err why = {0};
    char text[600];
    int rc;

    if (w->count == WISHES_MAX)
        return 1;
    rc = engine_wish(r->engine, who, wish, clock_wall_s(), &why);
    w->seq[w->count++] = seq;
    if (rc == 0)
        return 0;
    snprintf(text, sizeof(text), "%s: %s: %s", who, wish, why.msg);
    return on_note(r, "refused", "", "", text, &r->err);
}

/* What others have left in the ledger: carried out, and deleted in the same group. */
static int take_wishes(struct runner *r, struct err *err)
{
    struct wishes w = {.r = r};
    int rc = ledger_wishes(r->ledger, take_wish, &w, err);

    if (rc < 0) {
        if (err->code == 0)
            *err = r->err;
        return rc;
    }
    for (size_t i = 0; i < w.count; i++) {
        rc = group(r, err);
        if (rc == 0)
            rc = ledger_wish_del(r->ledger, w.seq[i], err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* -- the loop ------------------------------------------------------------------------------------
 */

static bool goes_on(const struct runner *r)
{
    enum fleet_mode mode = engine_campaign(r->engine)->mode;

    return mode == FLEET_RUNNING || mode == FLEET_RETURNING;
}

/* Devices that are brought back need no certificates, and so nobody who signs any. */
static bool is_running(const struct runner *r)
{
    return engine_campaign(r->engine)->mode == FLEET_RUNNING;
}

static int turn(struct runner *r, struct err *err)
{
    int64_t now_s = clock_wall_s();
    int rc = link_step(r->link, r->signing ? BUSY_MS : STEP_MS, err);

    if (rc != 0)
        return rc;
    r->signing = r->signer != NULL && signer_step(r->signer, on_signed, r) > 0;
    if (r->rc != 0) {
        *err = r->err;
        return r->rc;
    }
    if (now_s != r->wishes_s) {
        r->wishes_s = now_s;
        if ((rc = take_wishes(r, err)) != 0)
            return rc;
    }
    tell_progress(r, now_s);
    /* Without a link nobody knows what is true, and time that goes by proves nothing. */
    rc = runner_step(r, link_is_settled(r->link), err);
    if (rc != 0 || !goes_on(r) || !link_is_up(r->link))
        return rc;
    rc = engine_send(r->engine, now_s, on_send, r, err);
    if (rc == 0 && link_is_settled(r->link))
        rc = engine_refresh(r->engine, now_s, on_refresh, r, err);
    if (rc == 0 && is_running(r) && r->signer == NULL)
        rc = make_signer(r, err);
    if (rc == 0 && r->signer != NULL)
        rc = engine_sign(r->engine, now_s, (size_t)SIGN_AHEAD * r->conf->sign.parallel, on_sign, r,
                         err);
    return rc;
}

enum fleet_status runner_go(struct runner *r, struct err *err)
{
    if (is_running(r) && r->signer == NULL && make_signer(r, err) != 0)
        return FLEET_STATUS_USAGE;
    /* Without memory for it the lines are told as elsewhere. */
    if (r->watch == NULL && r->cmd->live && !r->cmd->line->json)
        r->watch = watch_new(&r->cmd->out, true, r->conf);
    while (goes_on(r)) {
        if (*r->cmd->stop) {
            struct err later = {0};

            runner_step(r, false, &later); /* replies that came with the last turn */
            tell(r, "stopped", "", "", "certflip-fleet resume goes on from here");
            print_told(r);
            return FLEET_STATUS_STOPPED;
        }
        if (turn(r, err) != 0 ||
            (r->watch != NULL && watch_show(r->watch, r->ledger, clock_wall_s(), err) != 0))
            return err->code == ERR_STORE || err->code == ERR_IO ? FLEET_STATUS_UNREACHABLE
                                                                 : FLEET_STATUS_REFUSED;
    }
    if (r->watch != NULL)
        (void)watch_last(r->watch, r->ledger, clock_wall_s(), NULL);
    return runner_end(r);
}

enum fleet_status runner_end(struct runner *r)
{
    const struct fleet_campaign *c = engine_campaign(r->engine);
    char text[700];

    snprintf(text, sizeof(text), "%s%s%s", fleet_mode_words(c->mode),
             c->reason[0] == '\0' ? "" : ": ", c->reason);
    tell(r, fleet_mode_name(c->mode), "", "", text);
    print_told(r);
    switch (c->mode) {
    case FLEET_DONE:
        return FLEET_STATUS_DONE;
    case FLEET_PAUSED:
    case FLEET_ABORTED:
        return FLEET_STATUS_STOPPED;
    case FLEET_RUNNING:
    case FLEET_RETURNING:
    case FLEET_HALTED:
    case FLEET_MODE_COUNT:
        break;
    }
    return FLEET_STATUS_REFUSED;
}

/* -- life ----------------------------------------------------------------------------------------
 */

static void who_am_i(char *out, size_t n)
{
    struct passwd row, *pw = NULL;
    char host[200] = "", buf[4096];

    gethostname(host, sizeof(host) - 1);
    if (getpwuid_r(getuid(), &row, buf, sizeof(buf), &pw) == 0 && pw != NULL)
        snprintf(out, n, "%.90s@%s", pw->pw_name, host);
    else
        snprintf(out, n, "%u@%s", (unsigned)getuid(), host);
}

enum fleet_status runner_open(struct runner *r, const struct fleet_command *cmd, unsigned files,
                              bool create, struct err *err)
{
    *r = (struct runner){.cmd = cmd};
    if (view_init(&r->view) != 0) {
        err_set(err, ERR_NOMEM, "out of memory");
        return FLEET_STATUS_REFUSED;
    }
    who_am_i(r->who, sizeof(r->who));
    r->conf = run_campaign(cmd, files, err);
    if (r->conf == NULL)
        return FLEET_STATUS_USAGE;
    r->ledger = ledger_open(r->conf->ledger, create, err);
    if (r->ledger != NULL)
        return FLEET_STATUS_DONE;
    if (err->code == ERR_NOT_FOUND) {
        err_set(err, ERR_NOT_FOUND,
                "campaign %s was not begun: there is no %s: certflip-fleet run begins it",
                r->conf->name, r->conf->ledger);
        return FLEET_STATUS_REFUSED;
    }
    return FLEET_STATUS_UNREACHABLE;
}

void runner_fini(struct runner *r)
{
    watch_free(r->watch);
    engine_free(r->engine);
    signer_free(r->signer);
    link_free(r->link);
    ledger_close(r->ledger);
    campaign_free(r->conf);
    view_fini(&r->view);
    buf_fini(&r->told);
}

int runner_own(struct runner *r, struct err *err)
{
    return ledger_own(r->ledger, r->who, err);
}

/* -- wishes of another process -------------------------------------------------------------------
 */

struct looked {
    const char *who;
    int64_t seq;
    bool there;
    char refusal[600];
};

static int look_wish(void *arg, int64_t seq, const char *who, const char *wish)
{
    struct looked *l = arg;

    (void)seq;
    (void)wish;
    l->there = l->there || strcmp(who, l->who) == 0;
    return 0;
}

static int look_note(void *arg, const struct ledger_note *n)
{
    struct looked *l = arg;

    l->seq = n->seq;
    if (strcmp(n->what, "refused") == 0 && strncmp(n->text, l->who, strlen(l->who)) == 0)
        snprintf(l->refusal, sizeof(l->refusal), "%s", n->text);
    return 0;
}

/* Wait until the one who runs the campaign has taken it. */
static enum fleet_status await(struct runner *r, struct looked *l, struct err *err)
{
    int64_t until_ms = clock_boot_ms() + INT64_C(1000) * NOTED_S;
    struct fleet_campaign c;

    do {
        const struct timespec pause = {0, 100000000};

        nanosleep(&pause, NULL);
        l->there = false;
        if (ledger_wishes(r->ledger, look_wish, l, err) != 0)
            return FLEET_STATUS_UNREACHABLE;
    } while (l->there && clock_boot_ms() < until_ms && !*r->cmd->stop);
    if (l->there) {
        err_set(err, ERR_TIMEOUT,
                "the one who runs the campaign has not taken it yet: it lies in the ledger, and is "
                "taken as soon as that process goes on");
        return FLEET_STATUS_REFUSED;
    }
    l->refusal[0] = '\0';
    if (ledger_notes(r->ledger, l->seq, look_note, l, err) != 0 ||
        ledger_campaign(r->ledger, &c, err) != 0)
        return FLEET_STATUS_UNREACHABLE;
    if (l->refusal[0] != '\0') {
        err_set(err, ERR_PHASE, "%s", l->refusal);
        return FLEET_STATUS_REFUSED;
    }
    tell(r, fleet_mode_name(c.mode), "", "", fleet_mode_words(c.mode));
    print_told(r);
    return FLEET_STATUS_DONE;
}

enum fleet_status runner_wish(struct runner *r, const char *wish, struct err *err)
{
    char who[340];
    struct looked l = {.who = who};
    struct fleet_campaign c;
    int rc = ledger_campaign(r->ledger, &c, err);

    if (rc != 0)
        return rc == -ERR_NOT_FOUND ? FLEET_STATUS_REFUSED : FLEET_STATUS_UNREACHABLE;
    if (runner_is_its(r, &c, err) != 0 ||
        (strncmp(wish, "rollback:", 9) == 0 && runner_is_unchanged(r, &c, err) != 0))
        return FLEET_STATUS_REFUSED;
    rc = runner_own(r, err);

    snprintf(who, sizeof(who), "%s/%ld", r->who, (long)getpid());
    if (rc == -ERR_BUSY) {
        *err = (struct err){0};
        if (ledger_notes(r->ledger, 0, look_note, &l, err) != 0 ||
            ledger_wish_put(r->ledger, who, wish, err) != 0)
            return FLEET_STATUS_UNREACHABLE;
        return await(r, &l, err);
    }
    if (rc != 0)
        return FLEET_STATUS_UNREACHABLE;
    if (r->engine == NULL && runner_load(r, err) != 0)
        return FLEET_STATUS_REFUSED;
    if (engine_wish(r->engine, r->who, wish, clock_wall_s(), err) != 0)
        return FLEET_STATUS_REFUSED;
    return runner_step(r, false, err) == 0 ? FLEET_STATUS_DONE : FLEET_STATUS_UNREACHABLE;
}
