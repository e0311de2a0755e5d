#include "cli/commands.h"

#include <jansson.h>
#include <string.h>

#include "base/clock.h"
#include "base/durable.h"
#include "base/str.h"
#include "cli/crl.h"
#include "cli/devices.h"
#include "cli/follow.h"
#include "cli/import.h"
#include "cli/pem.h"
#include "cli/rekey.h"
#include "cli/table.h"
#include "control/rpc.h"

#define KEYGEN_PATIENCE_MS (30 * 60 * 1000) /* a hundred keys of RSA 4096 on a small machine */

/* -- what is asked ---------------------------------------------------------------------------- */

/* The words that name devices: one as text, several as an array; NULL for none. */
static json_t *target_of(const struct words_line *line)
{
    json_t *target;

    if (line->arg_count == 0)
        return NULL;
    if (line->arg_count == 1)
        return json_string(line->args[0]);
    target = json_array();
    for (size_t i = 0; i < line->arg_count; i++)
        (void)json_array_append_new(target, json_string(line->args[i]));
    return target;
}

static void set_number(json_t *params, const char *key, int64_t v)
{
    if (v >= 0)
        (void)json_object_set_new(params, key, json_integer(v));
}

static void set_text(json_t *params, const char *key, const char *v)
{
    if (v != NULL)
        (void)json_object_set_new(params, key, json_string(v));
}

static void set_fingerprint(json_t *params, const char *given)
{
    uint8_t sha256[32];
    char hex[65];

    if (given == NULL || str_unhex(given, sha256, sizeof(sha256)) != 0)
        return;
    str_hex(hex, sha256, sizeof(sha256));
    set_text(params, "fingerprint", hex);
}

static void set_flag(json_t *params, const char *key, bool v)
{
    if (v)
        (void)json_object_set_new(params, key, json_true());
}

/* "tls,old" as an array. */
static json_t *names_of(const char *list)
{
    json_t *names = json_array();

    while (*list != '\0') {
        size_t n = strcspn(list, ",");

        if (n > 0)
            (void)json_array_append_new(names, json_stringn(list, n));
        list += n;
        list += strspn(list, ",");
    }
    return names;
}

/* The words of trust commands; the file of trust add is read in `ask`. */
static void set_trust(json_t *params, const struct words_line *line)
{
    if (line->arg_count > 0)
        set_text(params, "set", line->args[0]);
    if (line->command == WORDS_TRUST_CHECK || line->command == WORDS_TRUST_REMOVE)
        set_fingerprint(params, line->args[1]);
    set_text(params, "note", line->note);
    set_flag(params, "intermediate", line->intermediate);
    set_flag(params, "force", line->force);
    if (line->only != NULL)
        (void)json_object_set_new(params, "only", names_of(line->only));
}

/* An option that is not given, or has no meaning for the command, is not set: the table in words.c
 * saw to it. */
static json_t *params_of(const struct words_line *line)
{
    json_t *params = json_object(), *target = target_of(line);

    switch (line->command) {
    case WORDS_DEVICE:
        (void)json_object_set(params, "device", target);
        break;
    case WORDS_INSTALL:
        set_text(params, "device", line->args[0]);
        break;
    case WORDS_EXPORT:
        (void)json_object_set(params, "device", target);
        set_text(params, "what", line->csr ? "csr" : "cert");
        set_text(params, "slot", line->slot);
        break;
    case WORDS_LOG:
        if (line->arg_count == 2) {
            set_text(params, "subsystem", line->args[0]);
            set_text(params, "level", line->args[1]);
        }
        break;
    case WORDS_CRL_UPDATE: /* its file is read in `ask` */
        break;
    case WORDS_TRUST_LIST:
    case WORDS_TRUST_ADD:
    case WORDS_TRUST_CHECK:
    case WORDS_TRUST_REMOVE:
        set_trust(params, line);
        break;
    case WORDS_STATUS:
    case WORDS_DEVICES:
    case WORDS_SESSIONS:
    case WORDS_CRL_LIST:
    case WORDS_FLIP:
    case WORDS_ROLLBACK:
    case WORDS_CONFIRM:
    case WORDS_COMMIT:
    case WORDS_QUARANTINE_CLEAR:
    case WORDS_KEYGEN:
    case WORDS_DISCARD:
    case WORDS_RETIRE:
    case WORDS_IMPORT:
    case WORDS_REKEY:
    case WORDS_RELOAD:
    case WORDS_AUDIT:
    case WORDS_SIGN:
    case WORDS_EXPLAIN: /* without the daemon: main.c */
    case WORDS_SCHEMA:
    case WORDS_LOGS:  /* logs.c's */
    case WORDS_WATCH: /* watch.c's */
    case WORDS_LINT:  /* lint.c's */
    case WORDS_HELP:
    case WORDS_COUNT:
        if (target != NULL)
            (void)json_object_set(params, "target", target);
        break;
    }
    json_decref(target);
    set_number(params, "probation_s", line->probation_s);
    set_text(params, "confirm", line->confirm);
    set_number(params, "confirm_s", line->confirm_s);
    set_text(params, "evidence", line->evidence);
    if (line->begin_s >= 0)
        set_number(params, "not_after_s", clock_wall_s() + line->begin_s);
    set_fingerprint(params, line->fingerprint);
    if (line->force)
        (void)json_object_set_new(params, "force", json_true());
    set_text(params, "reason", line->reason);
    set_text(params, "key", line->kind);
    set_text(params, "token", line->token);
    if (line->renew)
        (void)json_object_set_new(params, "renew", json_true());
    set_number(params, "limit", line->limit);
    set_number(params, "after", line->after);
    return params;
}

/* -- what is shown ---------------------------------------------------------------------------- */

static void put_json(const struct cli *cli, const json_t *value)
{
    (void)json_dumpf(value, cli->out.to, JSON_COMPACT);
    fputc('\n', cli->out.to);
}

static const char *command_name(const struct cli *cli)
{
    return words_command(cli->line->command)->words;
}

static enum cli_status fail_lost(const struct cli *cli, const struct err *err)
{
    fprintf(cli->err.to, "certflipctl: %s: ", command_name(cli));
    table_text(cli->err.to, cli->err.colour, TABLE_BAD, err->msg);
    fputc('\n', cli->err.to);
    return err->code == ERR_TOO_BIG || err->code == ERR_INVALID ? CLI_USAGE : CLI_UNREACHABLE;
}

static enum cli_status fail_file(const struct cli *cli, const struct err *err)
{
    fail_lost(cli, err);
    return CLI_REFUSED;
}

/* The daemon said no. */
static enum cli_status fail_refused(const struct cli *cli, json_t *error)
{
    const json_t *results = json_object_get(json_object_get(error, "data"), "results");

    if (cli->line->json) {
        json_t *whole = json_pack("{s:O}", "error", error);

        put_json(cli, whole);
        json_decref(whole);
        return CLI_REFUSED;
    }
    fflush(cli->out.to);
    show_error(&cli->err, command_name(cli), error);
    if (json_array_size(results) > 1)
        show_outcome(&cli->err, results);
    return CLI_REFUSED;
}

static void show_names(const struct cli *cli, const json_t *devices)
{
    for (size_t i = 0; i < json_array_size(devices); i++) {
        const char *name = json_string_value(json_object_get(json_array_get(devices, i), "device"));

        if (name != NULL) {
            table_text(cli->out.to, false, TABLE_PLAIN, name);
            fputc('\n', cli->out.to);
        }
    }
}

static void show_answer(const struct cli *cli, const json_t *answer)
{
    const struct show *out = &cli->out;

    switch (cli->line->command) {
    case WORDS_STATUS:
        show_status(out, answer);
        break;
    case WORDS_DEVICES:
        if (cli->line->names)
            show_names(cli, json_object_get(answer, "devices"));
        else
            show_devices(out, json_object_get(answer, "devices"));
        break;
    case WORDS_DEVICE:
        show_device(out, answer);
        break;
    case WORDS_SESSIONS:
        show_sessions(out, json_object_get(answer, "sessions"),
                      json_integer_value(json_object_get(answer, "total")));
        break;
    case WORDS_CRL_LIST:
        show_crls(out, json_object_get(answer, "crls"));
        break;
    case WORDS_CRL_UPDATE:
        show_crl_update(out, answer);
        break;
    case WORDS_TRUST_LIST:
        show_anchors(out, json_object_get(answer, "anchors"));
        break;
    case WORDS_TRUST_ADD:
        show_anchors_added(out, answer);
        break;
    case WORDS_TRUST_CHECK:
        show_dependents(out, answer);
        break;
    case WORDS_TRUST_REMOVE:
        show_anchor_removed(out, answer);
        break;
    case WORDS_RELOAD:
        show_reload(out, answer);
        break;
    case WORDS_LOG:
        show_levels(out, json_object_get(answer, "levels"));
        break;
    case WORDS_AUDIT:
        show_audit(out, json_object_get(answer, "entries"));
        break;
    case WORDS_FLIP:
    case WORDS_ROLLBACK:
    case WORDS_CONFIRM:
    case WORDS_COMMIT:
    case WORDS_QUARANTINE_CLEAR:
    case WORDS_DISCARD:
    case WORDS_RETIRE:
        show_outcome(out, json_object_get(answer, "devices"));
        break;
    case WORDS_INSTALL:
        show_installed(out, answer);
        break;
    case WORDS_KEYGEN: /* pem.c */
    case WORDS_EXPORT:
    case WORDS_SIGN:
    case WORDS_EXPLAIN:
    case WORDS_SCHEMA:
    case WORDS_LINT:
    case WORDS_LOGS:
    case WORDS_WATCH:
    case WORDS_IMPORT: /* they show by themselves */
    case WORDS_REKEY:
    case WORDS_HELP:
    case WORDS_COUNT:
        break;
    }
}

/* -- carrying out ----------------------------------------------------------------------------- */

/* An OUTCOME may hold both; what was refused has its line in it. */
static enum cli_status outcome_status(const struct cli *cli, const json_t *answer)
{
    json_int_t refused = json_integer_value(json_object_get(answer, "refused"));
    json_int_t done = json_integer_value(json_object_get(answer, "done"));

    if (refused == 0)
        return CLI_DONE;
    if (!cli->line->json) {
        fflush(cli->out.to);
        fprintf(cli->err.to,
                "certflipctl: %s: %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT
                " devices refused\n",
                command_name(cli), refused, refused + done);
    }
    return CLI_REFUSED;
}

static enum cli_status followed_status(enum follow_state end, enum cli_status before)
{
    switch (end) {
    case FOLLOW_DONE:
        return before;
    case FOLLOW_ROLLED_BACK:
        return CLI_ROLLED_BACK;
    case FOLLOW_GOING:
    case FOLLOW_FAILED:
        break;
    }
    return CLI_REFUSED;
}

static enum cli_status wait_for_end(const struct cli *cli, json_t *answer, enum cli_status before)
{
    struct follow f = {
        .show = &cli->out,
        .rollback = cli->line->command == WORDS_ROLLBACK,
        .live = cli->live,
        .quiet = cli->line->json,
        .timeout_s = cli->line->timeout_s,
    };
    json_t *target = target_of(cli->line), *devices = NULL;
    enum follow_state end = FOLLOW_GOING;
    struct err err = {0};
    int rc;

    rc = follow(cli->client, &f, target, json_object_get(answer, "devices"), &end, &devices, &err);
    json_decref(target);
    if (rc != 0)
        return fail_lost(cli, &err);
    if (cli->line->json) {
        json_t *whole = json_pack("{s:O, s:O}", "outcome", answer, "devices", devices);

        put_json(cli, whole);
        json_decref(whole);
    }
    json_decref(devices);
    return followed_status(end, before);
}

static int ask(const struct cli *cli, json_t **answer, struct err *err)
{
    json_t *target;
    int rc;

    /* clang-format off */
    static const char *const methods[WORDS_COUNT] = {
        [WORDS_STATUS]   = "status",      [WORDS_DEVICE]  = "device.get", [WORDS_SESSIONS] = "sessions.list",
        [WORDS_FLIP]     = "flip",        [WORDS_CONFIRM] = "confirm",    [WORDS_COMMIT]   = "commit",
        [WORDS_ROLLBACK] = "rollback",    [WORDS_QUARANTINE_CLEAR] = "quarantine.clear",
        [WORDS_KEYGEN]   = "identity.keygen",  [WORDS_INSTALL] = "identity.install",
        [WORDS_DISCARD]  = "identity.discard", [WORDS_RETIRE]  = "retire", [WORDS_EXPORT] = "identity.export",
        [WORDS_CRL_LIST] = "crl.list",    [WORDS_CRL_UPDATE] = "crl.update",
        [WORDS_TRUST_LIST]  = "trust.list",  [WORDS_TRUST_ADD]    = "trust.add",
        [WORDS_TRUST_CHECK] = "trust.check", [WORDS_TRUST_REMOVE] = "trust.remove",
        [WORDS_RELOAD]   = "config.reload", [WORDS_LOG]   = "log.level",  [WORDS_AUDIT]    = "audit.list",
    };
    /* clang-format on */
    json_t *params;

    if (cli->line->command != WORDS_DEVICES) {
        params = params_of(cli->line);
        if (cli->line->command == WORDS_KEYGEN)
            client_set_patience(cli->client, KEYGEN_PATIENCE_MS);
        rc = 0;
        if (cli->line->command == WORDS_CRL_UPDATE)
            rc = crl_params(cli->line->args[0], params, err);
        else if (cli->line->command == WORDS_INSTALL)
            rc = pem_read(cli->line->args[1], params, "chain", err);
        else if (cli->line->command == WORDS_TRUST_ADD)
            rc = pem_read(cli->line->args[1], params, "pem", err);
        if (rc != 0) {
            json_decref(params);
            return rc;
        }
        return client_call(cli->client, methods[cli->line->command], params, answer, err);
    }
    target = target_of(cli->line);
    rc = devices_fetch(cli->client, target, answer, err);
    json_decref(target);
    return rc;
}

/* On a terminal each device gets its line anyway; what was refused is said before. */
static bool is_shown_by_waiting(const struct cli *cli, const json_t *answer)
{
    return cli->line->wait && cli->live &&
           json_integer_value(json_object_get(answer, "refused")) == 0;
}

static enum cli_status ask_and_show(const struct cli *cli)
{
    json_t *answer = NULL;
    struct err err = {0};
    enum cli_status status;
    int rc = pem_check(cli->line, &err);

    if (rc == 0)
        rc = ask(cli, &answer, &err);
    if (rc < 0)
        return fail_lost(cli, &err);
    if (rc > 0) {
        status = fail_refused(cli, answer);
    } else {
        if (!cli->line->json && !is_shown_by_waiting(cli, answer))
            show_answer(cli, answer);
        else if (!cli->line->wait)
            put_json(cli, answer);
        status = outcome_status(cli, answer);
        if (!cli->line->json && pem_write(cli, answer, &err) != 0)
            status = fail_file(cli, &err);
        if (cli->line->wait)
            status = wait_for_end(cli, answer, status);
    }
    json_decref(answer);
    return status;
}

enum cli_status commands_run(const struct cli *cli)
{
    if (cli->line->command == WORDS_IMPORT)
        return import_run(cli);
    if (cli->line->command == WORDS_REKEY)
        return rekey_run(cli);
    return ask_and_show(cli);
}
