/* fleet/run.c - see run.h. */
#include "fleet/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "cli/table.h"
#include "fleet/plan.h"
#include "fleet/run_inside.h"

struct campaign *run_campaign(const struct fleet_command *cmd, unsigned files, struct err *err)
{
    struct buf faults = {0};
    unsigned count = 0;
    struct campaign *c = campaign_load(cmd->line->args[0], files, &faults, &count);

    if (c == NULL) {
        buf_append_u8(&faults, '\0');
        table_text(cmd->err.to, cmd->err.colour, TABLE_PLAIN, (const char *)faults.p);
        err_set(err, ERR_SYNTAX, "%s: %u %s: mend them; certflip-fleet.conf(5) tells of each key",
                cmd->line->args[0], count, count == 1 ? "fault" : "faults");
    }
    buf_fini(&faults);
    return c;
}

/* -- plan ----------------------------------------------------------------------------------------
 */

enum fleet_status run_plan(const struct fleet_command *cmd, struct err *err)
{
    struct runner r = {.cmd = cmd};
    enum fleet_status status = FLEET_STATUS_REFUSED;
    struct plan plan = {0};

    if (view_init(&r.view) != 0) {
        err_set(err, ERR_NOMEM, "out of memory");
        return status;
    }
    r.conf = run_campaign(cmd, CAMPAIGN_ALL, err);
    if (r.conf == NULL)
        status = FLEET_STATUS_USAGE;
    else if ((status = runner_connect(&r, err)) == FLEET_STATUS_DONE) {
        if (plan_make(r.conf, &r.view, &plan, err) != 0)
            status = FLEET_STATUS_REFUSED;
        else
            plan_show(r.conf, &plan, cmd->line->json, &cmd->out);
    }
    plan_fini(&plan);
    runner_fini(&r);
    return status;
}

/* -- asking --------------------------------------------------------------------------------------
 */

static enum fleet_status ask(const struct fleet_command *cmd, const char *what, struct err *err)
{
    char answer[16] = "";

    if (cmd->line->yes)
        return FLEET_STATUS_DONE;
    if (isatty(STDIN_FILENO) != 1) {
        err_set(err, ERR_INVALID, "%s: nobody is there to be asked: give --yes", what);
        return FLEET_STATUS_USAGE;
    }
    fprintf(cmd->err.to, "%s? [y/N] ", what);
    fflush(cmd->err.to);
    if (fgets(answer, sizeof(answer), stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y'))
        return FLEET_STATUS_DONE;
    err_set(err, ERR_DENIED, "nothing was done");
    return FLEET_STATUS_REFUSED;
}

/* -- run, resume ---------------------------------------------------------------------------------
 */

static int put_plan(struct runner *r, const struct plan *p, const struct fleet_campaign *c,
                    struct err *err)
{
    int64_t now_s = clock_wall_s();
    int rc = ledger_campaign_put(r->ledger, c, err);

    for (size_t i = 0; rc == 0 && i < p->gateway_count; i++) {
        const struct plan_gateway *g = &p->gateways[i];
        struct fleet_gateway row;

        plan_gateway_row(g, now_s, &row);
        rc = ledger_gateway_put(r->ledger, &row, err);
        for (size_t k = 0; rc == 0 && k < g->count; k++) {
            struct fleet_device device;

            plan_device_row(g, &g->devices[k], now_s, &device);
            rc = ledger_device_put(r->ledger, &device, err);
        }
    }
    return rc;
}

static enum fleet_status begin(struct runner *r, struct err *err)
{
    struct fleet_campaign c = {
        .phase = FLEET_PREPARE, .mode = FLEET_RUNNING, .wave = -1, .back_from = -1, .back_to = -1};
    struct plan plan;
    enum fleet_status status;
    char text[200];
    int rc;

    if (plan_make(r->conf, &r->view, &plan, err) != 0)
        return FLEET_STATUS_REFUSED;
    if (!r->cmd->line->yes && !r->cmd->line->json)
        plan_show(r->conf, &plan, false, &r->cmd->out);
    snprintf(text, sizeof(text), "Begin campaign %.100s: %zu devices at %zu gateways",
             r->conf->name, plan.device_count, plan.gateway_count);
    status = ask(r->cmd, text, err);
    if (status != FLEET_STATUS_DONE) {
        plan_fini(&plan);
        return status;
    }
    snprintf(c.name, sizeof(c.name), "%s", r->conf->name);
    snprintf(c.by, sizeof(c.by), "%.128s", r->who);
    snprintf(c.plan, sizeof(c.plan), "%s", r->conf->digest);
    c.waves = plan.waves;
    c.started_s = c.changed_s = clock_wall_s();
    rc = ledger_begin(r->ledger, err);
    if (rc == 0)
        rc = put_plan(r, &plan, &c, err);
    if (rc == 0)
        rc = ledger_note_add(r->ledger, "begun", "", "", text, err);
    if (rc == 0)
        rc = ledger_commit(r->ledger, err);
    else
        ledger_rollback(r->ledger);
    plan_fini(&plan);
    return rc == 0 ? FLEET_STATUS_DONE : FLEET_STATUS_UNREACHABLE;
}

/* May this command go on with the campaign as it is in the ledger? */
static enum fleet_status check(const struct runner *r, const struct fleet_campaign *c, bool resume,
                               struct err *err)
{
    if (runner_is_its(r, c, err) != 0)
        return FLEET_STATUS_REFUSED;
    if (c->mode == FLEET_DONE || c->mode == FLEET_ABORTED) {
        err_set(err, ERR_PHASE, "campaign %s is over: %s: give the next one a name of its own",
                c->name, fleet_mode_words(c->mode));
        return FLEET_STATUS_REFUSED;
    }
    if (runner_is_unchanged(r, c, err) != 0)
        return FLEET_STATUS_REFUSED;
    if (!resume && (c->mode == FLEET_PAUSED || c->mode == FLEET_HALTED)) {
        err_set(err, ERR_PHASE, "campaign %s is %s%s%s: certflip-fleet resume goes on with it",
                c->name, fleet_mode_name(c->mode), c->reason[0] == '\0' ? "" : ": ", c->reason);
        return FLEET_STATUS_REFUSED;
    }
    return FLEET_STATUS_DONE;
}

/* A wave proves itself while somebody looks.  Nobody knows how long nobody did, so it begins anew.
 */
static int soak_anew(struct runner *r, struct fleet_campaign *c, struct err *err)
{
    char text[160], when[32];
    int rc;

    if (c->soak_until_s == 0 || r->conf->waves.soak_s == 0)
        return 0;
    c->soak_until_s = clock_wall_s() + (int64_t)r->conf->waves.soak_s;
    snprintf(text, sizeof(text), "nobody has watched the wave: it proves itself anew, until %s",
             clock_text(c->soak_until_s, when, sizeof(when)));
    rc = ledger_begin(r->ledger, err);
    if (rc == 0)
        rc = ledger_campaign_put(r->ledger, c, err);
    if (rc == 0)
        rc = ledger_note_add(r->ledger, "soak", "", "", text, err);
    if (rc == 0)
        return ledger_commit(r->ledger, err);
    ledger_rollback(r->ledger);
    return rc;
}

static enum fleet_status carry_on(struct runner *r, bool resume, struct err *err)
{
    struct fleet_campaign c;
    enum fleet_status status;
    int rc = runner_own(r, err);

    if (rc != 0)
        return rc == -ERR_BUSY ? FLEET_STATUS_REFUSED : FLEET_STATUS_UNREACHABLE;
    rc = ledger_campaign(r->ledger, &c, err);
    if (rc != 0 && rc != -ERR_NOT_FOUND)
        return FLEET_STATUS_UNREACHABLE;
    if (rc == -ERR_NOT_FOUND && resume)
        return FLEET_STATUS_REFUSED;
    if (rc == 0 && (status = check(r, &c, resume, err)) != FLEET_STATUS_DONE)
        return status;
    *err = (struct err){0};
    status = runner_connect(r, err);
    if (status == FLEET_STATUS_DONE && rc == -ERR_NOT_FOUND)
        status = begin(r, err);
    if (status != FLEET_STATUS_DONE)
        return status;
    if (rc == 0 && soak_anew(r, &c, err) != 0)
        return FLEET_STATUS_UNREACHABLE;
    if (runner_load(r, err) != 0)
        return FLEET_STATUS_REFUSED;
    if (resume && engine_campaign(r->engine)->mode != FLEET_RETURNING &&
        (status = runner_wish(r, r->cmd->line->renew ? "renew" : "resume", err)) !=
            FLEET_STATUS_DONE)
        return status;
    return runner_go(r, err);
}

static enum fleet_status run(const struct fleet_command *cmd, bool resume, struct err *err)
{
    struct runner r;
    enum fleet_status status = runner_open(&r, cmd, CAMPAIGN_ALL, !resume, err);

    if (status == FLEET_STATUS_DONE)
        status = carry_on(&r, resume, err);
    runner_fini(&r);
    return status;
}

enum fleet_status run_run(const struct fleet_command *cmd, struct err *err)
{
    return run(cmd, false, err);
}

enum fleet_status run_resume(const struct fleet_command *cmd, struct err *err)
{
    return run(cmd, true, err);
}

/* -- wishes --------------------------------------------------------------------------------------
 */

/* Until the devices are back. */
static enum fleet_status bring_back(struct runner *r, struct err *err)
{
    enum fleet_status status = runner_connect(r, err);
    bool ended;

    if (status == FLEET_STATUS_DONE)
        status = runner_go(r, err);
    ended = engine_campaign(r->engine)->mode == FLEET_ABORTED && status == FLEET_STATUS_STOPPED;
    /* Halted, or over as it was before: that is what was wanted. */
    return err->code == 0 && (status == FLEET_STATUS_REFUSED || ended) ? FLEET_STATUS_DONE : status;
}

/* What connecting takes was not read: nothing else needs it, least of all in an emergency. */
static enum fleet_status go_on_with_it(const struct fleet_command *cmd, struct err *err)
{
    struct runner r;
    enum fleet_status status = runner_open(&r, cmd, CAMPAIGN_BROKER | CAMPAIGN_ANCHORS, false, err);

    if (status == FLEET_STATUS_DONE && (runner_own(&r, err) != 0 || runner_load(&r, err) != 0))
        status = FLEET_STATUS_REFUSED;
    if (status == FLEET_STATUS_DONE)
        status = bring_back(&r, err);
    runner_fini(&r);
    return status;
}

/* By the one who runs the campaign; or, when nobody does, by ourselves.  A rollback goes on until
 * the devices are back.  `files`: of the campaign's, those that it takes. */
static enum fleet_status wish(const struct fleet_command *cmd, const char *what, unsigned files,
                              struct err *err)
{
    struct runner r;
    enum fleet_status status = runner_open(&r, cmd, files, false, err);
    bool returning;

    if (status == FLEET_STATUS_DONE)
        status = runner_wish(&r, what, err);
    returning = status == FLEET_STATUS_DONE && r.engine != NULL &&
                engine_campaign(r.engine)->mode == FLEET_RETURNING;
    if (returning && (files & CAMPAIGN_BROKER) != 0)
        status = bring_back(&r, err);
    else if (!returning && status == FLEET_STATUS_DONE && r.engine != NULL)
        runner_end(&r);
    runner_fini(&r);
    return returning && (files & CAMPAIGN_BROKER) == 0 ? go_on_with_it(cmd, err) : status;
}

enum fleet_status run_pause(const struct fleet_command *cmd, struct err *err)
{
    return wish(cmd, "pause", CAMPAIGN_ALONE, err);
}

enum fleet_status run_abort(const struct fleet_command *cmd, struct err *err)
{
    enum fleet_status status =
        ask(cmd, "Abort the campaign: what was migrated stays so, nothing more is done", err);

    return status == FLEET_STATUS_DONE ? wish(cmd, "abort", CAMPAIGN_ALONE, err) : status;
}

enum fleet_status run_rollback(const struct fleet_command *cmd, struct err *err)
{
    char what[32] = "rollback:wave", text[100];
    enum fleet_status status;

    if (cmd->line->all)
        snprintf(what, sizeof(what), "rollback:all");
    else if (cmd->line->wave >= 0)
        snprintf(what, sizeof(what), "rollback:%d", (int)cmd->line->wave);
    snprintf(text, sizeof(text), "Bring the devices of %s back to their old identities",
             cmd->line->all ? "all waves" : "the wave");
    status = ask(cmd, text, err);
    return status == FLEET_STATUS_DONE ? wish(cmd, what, CAMPAIGN_BROKER | CAMPAIGN_ANCHORS, err)
                                       : status;
}

enum fleet_status run_skip(const struct fleet_command *cmd, struct err *err)
{
    enum fleet_status status = FLEET_STATUS_DONE;

    for (size_t i = 1; status == FLEET_STATUS_DONE && i < cmd->line->arg_count; i++) {
        char *what = str_printf("skip:%s", cmd->line->args[i]);

        if (what == NULL) {
            err_set(err, ERR_NOMEM, "out of memory");
            return FLEET_STATUS_REFUSED;
        }
        status = wish(cmd, what, CAMPAIGN_ALONE, err);
        free(what);
    }
    return status;
}
