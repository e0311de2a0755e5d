/* certflipctl: talks to certflipd over its control socket.  certflipctl(1) says what the words
 * mean. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "cli/commands.h"
#include "cli/devices.h"
#include "cli/explain.h"
#include "cli/lint.h"
#include "cli/logs.h"
#include "cli/schema.h"
#include "cli/sign.h"
#include "cli/table.h"
#include "cli/terminal.h"
#include "cli/watch.h"

#define DEFAULT_SOCKET CERTFLIP_RUN_DIR "/control.sock"

/* The option, the environment, the default. */
static const char *socket_path(const char *given)
{
    const char *env = secure_getenv("CERTFLIP_SOCKET");

    if (given != NULL)
        return given;
    return env != NULL && env[0] != '\0' ? env : DEFAULT_SOCKET;
}

static enum cli_status fail(const struct err *err, enum cli_status status)
{
    fputs("certflipctl: ", stderr);
    table_text(stderr, terminal_show(stderr).colour, TABLE_BAD, err->msg);
    fputc('\n', stderr);
    return status;
}

/* The code may be of two words. */
static enum cli_status run_explain(const struct words_line *line, const struct show *out)
{
    struct err err = {0};
    char *question = NULL;
    int rc;

    if (line->arg_count > 0) {
        question = line->arg_count == 1 ? strdup(line->args[0])
                                        : str_printf("%s %s", line->args[0], line->args[1]);
        if (question == NULL) {
            err_set(&err, ERR_NOMEM, "out of memory");
            return fail(&err, CLI_REFUSED);
        }
    }
    rc = explain(question, line->json, out, &err);
    free(question);
    return rc == 0 ? CLI_DONE : fail(&err, CLI_REFUSED);
}

static enum cli_status run(const struct words_line *line)
{
    struct err err = {0};
    struct cli cli = {
        .line = line,
        .out = terminal_show(stdout),
        .err = terminal_show(stderr),
        .live = isatty(STDOUT_FILENO) == 1,
    };
    enum cli_status status;

    if (line->version) {
        puts("certflipctl " PACKAGE_VERSION);
        return CLI_DONE;
    }
    if (line->command == WORDS_HELP)
        return words_help(line, stdout, &err) == 0 ? CLI_DONE : fail(&err, CLI_USAGE);
    if (line->command == WORDS_EXPLAIN)
        return run_explain(line, &cli.out);
    if (line->command == WORDS_SCHEMA)
        return schema(line->arg_count == 0 ? NULL : line->args[0], line->json, &cli.out, &err) == 0
                   ? CLI_DONE
                   : fail(&err, CLI_REFUSED);
    if (line->command == WORDS_SIGN)
        return sign_command(line, &cli.out, &err) == 0 ? CLI_DONE : fail(&err, CLI_REFUSED);
    if (line->command != WORDS_LINT || lint_needs_daemon(line)) {
        cli.client = client_open(socket_path(line->socket), &err);
        if (cli.client == NULL && line->command != WORDS_LOGS)
            return fail(&err, CLI_UNREACHABLE);
    }
    status = line->command == WORDS_LINT    ? lint_command(&cli)
             : line->command == WORDS_LOGS  ? logs_command(&cli, &err)
             : line->command == WORDS_WATCH ? watch_command(&cli)
                                            : commands_run(&cli);
    client_close(cli.client);
    return status;
}

/* -- completion: "certflipctl complete WORD..." for the shell, the last word being unfinished
 * -------- */

#define COMPLETION_PATIENCE_MS 1000

static void offer(void *arg, const char *word)
{
    (void)arg;
    puts(word);
}

/* The socket that the unfinished command line names. */
static const char *socket_word(const char *const *words, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++) {
        if (strncmp(words[i], "--socket=", 9) == 0)
            return words[i] + 9;
        if (strcmp(words[i], "--socket") == 0 || strcmp(words[i], "-s") == 0)
            return words[i + 1];
    }
    return NULL;
}

static void offer_all(const json_t *devices)
{
    for (size_t i = 0; i < json_array_size(devices); i++) {
        const char *name = json_string_value(json_object_get(json_array_get(devices, i), "device"));

        if (name != NULL) {
            table_text(stdout, false, TABLE_PLAIN, name);
            putchar('\n');
        }
    }
}

/* Best effort, and silent: a shell is waiting. */
static void offer_devices(const char *const *words, size_t n)
{
    struct client *c = client_open(socket_path(socket_word(words, n)), NULL);
    char *glob = str_has_glob(words[n - 1]) ? NULL : str_printf("%s*", words[n - 1]);
    json_t *target = glob == NULL ? NULL : json_string(glob), *answer = NULL;

    if (c != NULL && target != NULL) {
        client_set_patience(c, COMPLETION_PATIENCE_MS);
        if (devices_fetch(c, target, &answer, NULL) == 0)
            offer_all(json_object_get(answer, "devices"));
    }
    json_decref(answer);
    json_decref(target);
    free(glob);
    client_close(c);
}

static enum cli_status complete(const char *const *words, size_t n)
{
    enum words_more more = words_complete(words, n, offer, NULL);

    if (more == WORDS_MORE_DEVICES && n > 0)
        offer_devices(words, n);
    return more == WORDS_MORE_FILES ? CLI_REFUSED : CLI_DONE; /* the shell knows files better */
}

/* What was written may still fail to arrive: a full disk behind "> file". */
static enum cli_status finish(enum cli_status status)
{
    if (fflush(stdout) == 0 && ferror(stdout) == 0)
        return status;
    if (errno != EPIPE)
        fprintf(stderr, "certflipctl: cannot write the output: %s\n", strerrordesc_np(errno));
    return status == CLI_DONE ? CLI_REFUSED : status;
}

int main(int argc, char **argv)
{
    const char *const *words = (const char *const *)argv + 1;
    size_t n = argc > 1 ? (size_t)argc - 1 : 0;
    struct words_line line;
    struct err err = {0};
    enum cli_status status;
    int rc;

    if (n > 0 && strcmp(words[0], "complete") == 0)
        return (int)finish(complete(words + 1, n - 1));
    rc = words_parse(words, n, &line, &err);
    if (rc != 0)
        return (int)fail(&err, rc == -ERR_INVALID ? CLI_USAGE : CLI_REFUSED);
    status = run(&line);
    words_fini(&line);
    return (int)finish(status);
}
