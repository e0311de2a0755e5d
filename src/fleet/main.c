/* certflip-fleet: brings a fleet of gateways from its old certificates to new ones, over an MQTT
 * broker.  certflip-fleet(1) says what the words mean. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/table.h"
#include "cli/terminal.h"
#include "fleet/campaign.h"
#include "fleet/command.h"
#include "fleet/doctor.h"
#include "fleet/inventory.h"
#include "fleet/ledger.h"
#include "fleet/report.h"
#include "fleet/run.h"
#include "fleet/status.h"
#include "fleet/stragglers.h"
#include "fleet/watch.h"
#include "fleet/words.h"

static enum fleet_status fail(const struct err *err, enum fleet_status status);

static enum fleet_status help_command(const struct fleet_command *c, struct err *err)
{
    return fleet_words_help(c->line, c->out.to, err) == 0 ? FLEET_STATUS_DONE : FLEET_STATUS_USAGE;
}

static fleet_command_fn *const commands[FLEET_WORDS_COUNT] = {
    [FLEET_WORDS_HELP] = help_command,
    [FLEET_WORDS_INVENTORY] = inventory_command,
    [FLEET_WORDS_DOCTOR] = doctor_command,
    [FLEET_WORDS_PLAN] = run_plan,
    [FLEET_WORDS_RUN] = run_run,
    [FLEET_WORDS_PAUSE] = run_pause,
    [FLEET_WORDS_RESUME] = run_resume,
    [FLEET_WORDS_ABORT] = run_abort,
    [FLEET_WORDS_ROLLBACK] = run_rollback,
    [FLEET_WORDS_SKIP] = run_skip,
    [FLEET_WORDS_STATUS] = status_command,
    [FLEET_WORDS_WATCH] = watch_command,
    [FLEET_WORDS_STRAGGLERS] = stragglers_command,
    [FLEET_WORDS_REPORT] = report_command,
};

static enum fleet_status fail(const struct err *err, enum fleet_status status)
{
    fflush(stdout);
    fputs("certflip-fleet: ", stderr);
    table_text(stderr, terminal_show(stderr).colour, TABLE_BAD, err->msg);
    fputc('\n', stderr);
    return status;
}

/* -- signals ---------------------------------------------------------------------------------- */

static volatile sig_atomic_t stop;

/* The second one ends the program at once: all that counts is durable at any moment. */
static void on_signal(int signal)
{
    (void)signal;
    stop = 1;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* -- completion: "certflip-fleet complete WORD..." for the shell, the last word being unfinished
 * -------- */

static void offer(void *arg, const char *word)
{
    (void)arg;
    puts(word);
}

/* Those that begin with the unfinished word. */
static int offer_device(void *arg, const struct fleet_device *d)
{
    const char *partial = arg;
    char name[2 * FLEET_NAME_MAX + 2];

    snprintf(name, sizeof(name), "%s/%s", d->gateway, d->name);
    if (strncmp(name, partial, strlen(partial)) == 0)
        puts(name);
    return 0;
}

/* Best effort, and silent: a shell is waiting.  What a campaign has not begun with is not known. */
static void offer_devices(const char *file, const char *partial)
{
    struct buf faults = {0};
    unsigned count = 0;
    struct campaign *c = file == NULL ? NULL : campaign_load(file, CAMPAIGN_ALONE, &faults, &count);
    struct ledger *l = c == NULL ? NULL : ledger_open(c->ledger, false, NULL);

    if (l != NULL)
        (void)ledger_devices(l, offer_device, (void *)(uintptr_t)partial, NULL);
    ledger_close(l);
    campaign_free(c);
    buf_fini(&faults);
}

static enum fleet_status complete(const char *const *words, size_t n)
{
    const char *file;
    enum fleet_words_more more = fleet_words_complete(words, n, offer, NULL, &file);

    if (more == FLEET_WORDS_MORE_DEVICES && n > 0)
        offer_devices(file, words[n - 1]);
    /* The shell knows files better. */
    return more == FLEET_WORDS_MORE_FILES ? FLEET_STATUS_REFUSED : FLEET_STATUS_DONE;
}

/* What was written may still fail to arrive: a full disk behind "> file". */
static enum fleet_status finish(enum fleet_status status)
{
    if (fflush(stdout) == 0 && ferror(stdout) == 0)
        return status;
    if (errno != EPIPE)
        fprintf(stderr, "certflip-fleet: cannot write the output: %s\n", strerrordesc_np(errno));
    return status == FLEET_STATUS_DONE ? FLEET_STATUS_REFUSED : status;
}

static enum fleet_status run(const struct fleet_line *line)
{
    struct fleet_command c = {
        .line = line,
        .out = terminal_show(stdout),
        .err = terminal_show(stderr),
        .live = isatty(STDOUT_FILENO) == 1,
        .stop = &stop,
    };
    struct err err = {0};
    enum fleet_status status;

    if (line->version) {
        puts("certflip-fleet " PACKAGE_VERSION);
        return FLEET_STATUS_DONE;
    }
    prctl(PR_SET_DUMPABLE, 0); /* no keys in core dumps, nor for a debugger */
    catch_signals();
    status = commands[line->command](&c, &err);
    return err.code == 0 ? status : fail(&err, status);
}

int main(int argc, char **argv)
{
    const char *const *words = (const char *const *)argv + 1;
    size_t n = argc > 1 ? (size_t)argc - 1 : 0;
    struct fleet_line line;
    struct err err = {0};
    enum fleet_status status;
    int rc;

    if (n > 0 && strcmp(words[0], "complete") == 0)
        return (int)finish(complete(words + 1, n - 1));
    rc = fleet_words_parse(words, n, &line, &err);
    if (rc != 0)
        return (int)fail(&err, rc == -ERR_INVALID ? FLEET_STATUS_USAGE : FLEET_STATUS_REFUSED);
    status = run(&line);
    fleet_words_fini(&line);
    return (int)finish(status);
}
