#include "cli/lint.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/table.h"
#include "control/lint_json.h"
#include "lint/files.h"
#include "tls/anchor.h"
#include "tls/crl.h"

/* A path has a slash, or is there; everything else is the name of a device. */
static bool is_file(const char *word)
{
    return strchr(word, '/') != NULL || access(word, F_OK) == 0;
}

bool lint_needs_daemon(const struct words_line *line)
{
    for (size_t i = 0; i < line->arg_count; i++)
        if (!is_file(line->args[i]))
            return true;
    return false;
}

static enum cli_status fail(const struct cli *cli, const char *msg, enum cli_status status)
{
    fflush(cli->out.to);
    fputs("certflipctl: lint: ", cli->err.to);
    table_text(cli->err.to, cli->err.colour, TABLE_BAD, msg);
    fputc('\n', cli->err.to);
    return status;
}

/* -- files -- */

/* The lists that were given, as far as the anchors and the chain's own CAs have signed them.
 * Returns owned; NULL with err set, or without where none were given. */
static struct crl_set *read_crls(const struct words_files *paths, const struct lint_files *files,
                                 const struct lint_anchors *anchors, struct err *err)
{
    size_t known = anchors == NULL ? 0 : lint_anchors_count(anchors);
    struct crl_args args = {.paths = paths->all, .path_count = paths->count};
    struct tls_anchor **issuers;
    struct crl_set *set;

    if (paths->count == 0)
        return NULL;
    issuers = calloc(known + files->count + 1, sizeof(struct tls_anchor *));
    if (issuers == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    for (size_t i = 0; i < known + files->count; i++) {
        struct slice der = i < known ? lint_anchors_at(anchors, i) : files->chain[i - known];

        issuers[args.anchor_count] = tls_anchor_new(der.p, der.n, "", 0, NULL);
        args.anchor_count += issuers[args.anchor_count] != NULL; /* the leaf issues none */
    }
    args.anchors = issuers;
    set = crl_set_new(&args, err);
    for (size_t i = 0; i < args.anchor_count; i++)
        tls_anchor_unref(issuers[i]);
    free(issuers);
    return set;
}

struct lists {
    const struct crl_set *set;
    int64_t now_s;
};

static bool is_revoked(void *arg, const struct cert_info *cert, struct slice der)
{
    const struct lists *lists = arg;

    (void)cert;
    return crl_set_judge(lists->set, der.p, der.n, lists->now_s, NULL, 0) == CRL_SAYS_REVOKED;
}

static int lint_one(const struct cli *cli, const char *path, const struct lint_anchors *anchors,
                    json_t *reports, struct err *err)
{
    const struct words_line *line = cli->line;
    struct lint_policy policy = LINT_POLICY_DEFAULT;
    struct lint_report report;
    struct lists lists = {.now_s = line->at_s >= 0 ? line->at_s : cli->out.now_s};
    struct lint_files files;
    struct crl_set *crls;
    json_t *row;
    int rc = lint_files_read(path, line->key, &files, err);

    if (rc != 0)
        return rc;
    crls = read_crls(&line->crls, &files, anchors, err);
    if (crls == NULL && line->crls.count > 0) {
        lint_files_fini(&files);
        return -1;
    }
    lists.set = crls;
    struct lint_input in = {
        .chain = files.chain,
        .chain_count = files.count,
        .key = {files.key.p, files.key.len},
        .purpose = line->purpose != NULL && strcmp(line->purpose, "server") == 0 ? LINT_SERVER
                                                                                 : LINT_CLIENT,
        .anchors = anchors,
        .policy = &policy,
        .now_s = lists.now_s,
        .name = line->device,
        .revoked = crls == NULL ? NULL : is_revoked,
        .arg = &lists,
    };
    rc = lint_run(&in, &report);
    crl_set_unref(crls);
    lint_files_fini(&files);
    if (rc != 0)
        return err_set(err, ERR_NOMEM, "%s: out of memory", path);
    row = lint_json(&report, anchors != NULL);
    (void)json_object_set_new(row, "file", json_string(path));
    (void)json_array_append_new(reports, row);
    lint_report_fini(&report);
    return 0;
}

static int lint_local(const struct cli *cli, json_t *reports, struct err *err)
{
    const struct words_line *line = cli->line;
    struct lint_anchors *anchors = NULL;
    int rc = 0;

    if (line->anchors.count > 0) {
        anchors = lint_anchors_read(line->anchors.all, line->anchors.count, err);
        if (anchors == NULL)
            return -1;
    }
    for (size_t i = 0; rc == 0 && i < line->arg_count; i++)
        if (is_file(line->args[i]))
            rc = lint_one(cli, line->args[i], anchors, reports, err);
    lint_anchors_free(anchors);
    return rc;
}

/* -- devices -- */

/* Returns as client_call. */
static int lint_remote(const struct cli *cli, json_t *reports, json_t **answer, struct err *err)
{
    json_t *params = json_object(), *target = json_array();
    int rc;

    for (size_t i = 0; i < cli->line->arg_count; i++)
        if (!is_file(cli->line->args[i]))
            (void)json_array_append_new(target, json_string(cli->line->args[i]));
    (void)json_object_set_new(params, "target", target);
    if (cli->line->slot != NULL)
        (void)json_object_set_new(params, "slot", json_string(cli->line->slot));
    if (cli->line->at_s >= 0)
        (void)json_object_set_new(params, "at_s", json_integer(cli->line->at_s));
    for (;;) { /* page after page */
        const json_t *next;

        json_decref(*answer);
        *answer = NULL;
        rc = client_call(cli->client, "identity.lint", json_deep_copy(params), answer, err);
        if (rc != 0)
            break;
        (void)json_array_extend(reports, json_object_get(*answer, "reports"));
        next = json_object_get(*answer, "next");
        if (!json_is_string(next))
            break;
        (void)json_object_set_new(params, "after", json_string(json_string_value(next)));
    }
    json_decref(params);
    return rc;
}

/* -- what is shown -- */

static const char *text(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));

    return s == NULL ? "" : s;
}

static enum table_style style_of(const char *severity)
{
    return strcmp(severity, "error") == 0     ? TABLE_BAD
           : strcmp(severity, "warning") == 0 ? TABLE_WARN
                                              : TABLE_PLAIN;
}

static void add_finding(struct table *t, const json_t *f)
{
    enum table_style style = style_of(text(f, "severity"));
    const char *x509 = text(f, "x509");

    table_add(t, style, "  %s", text(f, "severity"));
    table_add(t, style, "%s", text(f, "code"));
    table_add(t, style, "%s", text(f, "message"));
    table_add(t, TABLE_PLAIN, "%s", "");
    table_add(t, TABLE_PLAIN, "%s", "");
    table_add(t, TABLE_PLAIN, "%s%s%s%s", text(f, "remedy"), *x509 == '\0' ? "" : " (", x509,
              *x509 == '\0' ? "" : ")");
}

static void show_report(const struct show *s, const json_t *report)
{
    const json_t *findings = json_object_get(report, "findings");
    const char *file = text(report, "file"), *fault = text(report, "fault");
    size_t n = json_array_size(findings);
    struct table t;

    table_text(s->to, s->colour, TABLE_HEAD, *file != '\0' ? file : text(report, "device"));
    if (*file == '\0')
        fprintf(s->to, " %s", text(report, "slot"));
    if (*fault != '\0') {
        fputs(": ", s->to);
        table_text(s->to, s->colour, TABLE_BAD, fault);
        fputc('\n', s->to);
    } else if (n == 0) {
        fputs(": nothing found\n", s->to);
    } else {
        fprintf(s->to, ": %zu finding%s\n", n, n == 1 ? "" : "s");
    }
    table_init(&t, 3);
    for (size_t i = 0; i < n; i++)
        add_finding(&t, json_array_get(findings, i));
    table_print(&t, s->to, s->colour, s->width);
    table_fini(&t);
}

static enum cli_status worst_of(const json_t *reports)
{
    enum cli_status worst = CLI_DONE;

    for (size_t i = 0; i < json_array_size(reports); i++) {
        const char *w = text(json_array_get(reports, i), "worst");

        if (strcmp(w, "error") == 0)
            return CLI_LINT_ERRORS;
        if (strcmp(w, "warning") == 0)
            worst = CLI_LINT_WARNINGS;
    }
    return worst;
}

static void show_all(const struct cli *cli, json_t *reports)
{
    if (cli->line->json) {
        json_t *whole = json_pack("{s:O}", "reports", reports);

        (void)json_dumpf(whole, cli->out.to, JSON_COMPACT);
        fputc('\n', cli->out.to);
        json_decref(whole);
        return;
    }
    for (size_t i = 0; i < json_array_size(reports); i++)
        show_report(&cli->out, json_array_get(reports, i));
}

enum cli_status lint_command(const struct cli *cli)
{
    json_t *reports = json_array(), *answer = NULL;
    enum cli_status status = CLI_DONE;
    struct err err = {0};
    int rc = lint_local(cli, reports, &err);

    if (rc != 0) {
        status = fail(cli, err.msg, CLI_REFUSED);
    } else if (lint_needs_daemon(cli->line)) {
        rc = lint_remote(cli, reports, &answer, &err);
        if (rc < 0)
            status = fail(cli, err.msg, CLI_UNREACHABLE);
        else if (rc > 0) {
            show_error(&cli->err, "lint", answer);
            status = CLI_REFUSED;
        }
    }
    show_all(cli, reports);
    if (status == CLI_DONE)
        status = worst_of(reports);
    json_decref(answer);
    json_decref(reports);
    return status;
}
