#include "fleet/words.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cli/nearest.h"

#define ON(id)   (UINT64_C(1) << (id))
#define EVERY    (~UINT64_C(0))
#define WORD_MAX 32

/* clang-format off */
static const struct fleet_words_command commands[FLEET_WORDS_COUNT] = {
    [FLEET_WORDS_STATUS]     = { "status", FLEET_WORDS_FILE, "how far the campaign is, and what it waits for",
                                 "status ca-2027.conf" },
    [FLEET_WORDS_WATCH]      = { "watch", FLEET_WORDS_FILE, "the same, live, with bars and times",
                                 "watch ca-2027.conf" },
    [FLEET_WORDS_STRAGGLERS] = { "stragglers", FLEET_WORDS_FILE,
                                 "which devices are not through, why, and what to do",
                                 "stragglers ca-2027.conf" },
    [FLEET_WORDS_REPORT]     = { "report", FLEET_WORDS_FILE, "what became of the campaign, as a page or as JSON",
                                 "report ca-2027.conf --html ca-2027.html" },
    [FLEET_WORDS_HELP] = { "help", FLEET_WORDS_COMMAND, "this text, or more about one command",
                           "help" },
    [FLEET_WORDS_INVENTORY] = { "inventory", FLEET_WORDS_FILE,
                                "gateways and devices, what expires first before all others",
                                "inventory ca-2027.conf --expiring 90" },
    [FLEET_WORDS_DOCTOR] = { "doctor", FLEET_WORDS_FILE,
                             "what is wrong with each gateway, and what to do about it",
                             "doctor ca-2027.conf" },
    [FLEET_WORDS_PLAN] = { "plan", FLEET_WORDS_FILE, "show the waves, and what each gateway will be asked",
                           "plan ca-2027.conf" },
    [FLEET_WORDS_RUN] = { "run", FLEET_WORDS_FILE, "begin the campaign, or go on with one that was stopped",
                          "run ca-2027.conf" },
    [FLEET_WORDS_PAUSE] = { "pause", FLEET_WORDS_FILE, "order nothing more until it is resumed",
                            "pause ca-2027.conf" },
    [FLEET_WORDS_RESUME] = { "resume", FLEET_WORDS_FILE,
                             "go on; what has failed in a campaign that halted is tried again",
                             "resume ca-2027.conf" },
    [FLEET_WORDS_ABORT] = { "abort", FLEET_WORDS_FILE, "end the campaign; what was migrated stays so",
                            "abort ca-2027.conf" },
    [FLEET_WORDS_ROLLBACK] = { "rollback", FLEET_WORDS_FILE,
                               "bring the devices of a wave back to their old identities",
                               "rollback ca-2027.conf --wave 2" },
    [FLEET_WORDS_SKIP] = { "skip", FLEET_WORDS_FILE_DEVICES, "take devices out of the campaign",
                           "skip ca-2027.conf gw-3/press-12" },
};

static const struct shape {
    size_t least, most;
    const char *text;
} shapes[FLEET_WORDS_SHAPE_COUNT] = {
    [FLEET_WORDS_FILE]         = { 1, 1,        "FILE" },
    [FLEET_WORDS_FILE_DEVICES] = { 2, SIZE_MAX, "FILE GATEWAY/DEVICE..." },
    [FLEET_WORDS_COMMAND]      = { 0, 1,        "[COMMAND]" },
};

enum kind { FLAG, NUMBER, TEXT, FILE_NAME };

#define AT(field) offsetof(struct fleet_line, field)

/* A name may stand here again for other commands, with another meaning. */
static const struct option {
    const char *name, *letter, *value; /* value: how help calls it; NULL: a flag */
    enum kind kind;
    size_t at;
    int64_t least, most;
    uint64_t commands;
    const char *help;
} options[] = {
    { "--gateway", NULL, "GLOB", TEXT, AT(gateway), 0, 0, ON(FLEET_WORDS_INVENTORY) | ON(FLEET_WORDS_DOCTOR),
      "only gateways of such a name, whatever the file says" },
    { "--device", NULL, "GLOB", TEXT, AT(device), 0, 0, ON(FLEET_WORDS_INVENTORY),
      "only devices of such a name, whatever the file says" },
    { "--expiring", NULL, "DAYS", NUMBER, AT(expiring), 0, 36500, ON(FLEET_WORDS_INVENTORY),
      "only devices whose certificate in use ends within so many days" },
    { "--gateways", NULL, NULL, FLAG, AT(gateways), 0, 0, ON(FLEET_WORDS_INVENTORY),
      "a row for each gateway instead of each device" },
    { "--csv", NULL, NULL, FLAG, AT(csv), 0, 0, ON(FLEET_WORDS_INVENTORY), "for spreadsheets: RFC 4180" },
    { "--all", NULL, NULL, FLAG, AT(all), 0, 0, ON(FLEET_WORDS_INVENTORY) | ON(FLEET_WORDS_DOCTOR),
      "everything below root, whatever gateways and devices the file names" },
    { "--timeout", NULL, "SECONDS", NUMBER, AT(timeout_s), 1, 3600, ON(FLEET_WORDS_DOCTOR),
      "how long a gateway has to answer (default: limits.reply_timeout_s)" },
    { "--json", NULL, NULL, FLAG, AT(json), 0, 0, EVERY, "for programs: JSON instead of tables" },
    { "--yes", "-y", NULL, FLAG, AT(yes), 0, 0, EVERY, "do not ask before something is changed" },
    { "--wave", NULL, "N", NUMBER, AT(wave), 0, 100, ON(FLEET_WORDS_ROLLBACK),
      "this wave, 0 is the pilot; else the current one" },
    { "--all", NULL, NULL, FLAG, AT(all), 0, 0, ON(FLEET_WORDS_ROLLBACK), "every wave" },
    { "--html", NULL, "OUT", FILE_NAME, AT(html), 0, 0, ON(FLEET_WORDS_REPORT),
      "write the report as a page; - is standard output" },
    { "--json", NULL, "OUT", FILE_NAME, AT(json_out), 0, 0, ON(FLEET_WORDS_REPORT),
      "write it as JSON; - is standard output" },
    { "--renew", NULL, NULL, FLAG, AT(renew), 0, 0, ON(FLEET_WORDS_RESUME),
      "with another key and certificate for each device that has failed" },
    { "--help", "-h", NULL, FLAG, AT(help), 0, 0, EVERY, "help, of the command where one is given" },
    { "--version", "-V", NULL, FLAG, AT(version), 0, 0, EVERY, "version" },
};
/* clang-format on */
#define OPTION_COUNT (sizeof(options) / sizeof(options[0]))

const struct fleet_words_command *fleet_words_command(enum fleet_words_id id)
{
    return &commands[id];
}

/* -- finding words ---------------------------------------------------------------------------- */

static int find_command(const char *word)
{
    for (int id = 0; id < FLEET_WORDS_COUNT; id++)
        if (strcmp(commands[id].word, word) == 0)
            return id;
    return -1;
}

static bool is_named(const struct option *o, const char *word, size_t len)
{
    return (strncmp(o->name, word, len) == 0 && o->name[len] == '\0') ||
           (o->letter != NULL && strlen(o->letter) == len && strncmp(o->letter, word, len) == 0);
}

static bool has_meaning(const struct option *o, int command)
{
    return o->commands == EVERY || (command >= 0 && (o->commands & ON(command)) != 0);
}

/* As `command` (-1: not known yet) understands it; where it does not, as the others do. */
static const struct option *find_option(const char *word, size_t len, int command)
{
    const struct option *other = NULL;

    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (!is_named(&options[i], word, len))
            continue;
        if (command >= 0 && options[i].commands != EVERY && has_meaning(&options[i], command))
            return &options[i];
        if (other == NULL || options[i].commands == EVERY)
            other = &options[i];
    }
    return other;
}

static int fail_command(const char *word, struct err *err)
{
    struct nearest near = nearest_to(word);

    for (int id = 0; id < FLEET_WORDS_COUNT; id++)
        nearest_try(&near, commands[id].word);
    return nearest_fail(&near, "command", "certflip-fleet help", err);
}

static int fail_option(const char *word, size_t len, struct err *err)
{
    char typed[WORD_MAX];
    struct nearest near;

    snprintf(typed, sizeof(typed), "%.*s", (int)len, word);
    near = nearest_to(typed);
    for (size_t i = 0; i < OPTION_COUNT; i++)
        nearest_try(&near, options[i].name);
    return nearest_fail(&near, "option", "certflip-fleet help", err);
}

/* -- parsing ---------------------------------------------------------------------------------- */

static int set_number(const struct option *o, const char *value, int64_t *into, struct err *err)
{
    char *end = NULL;
    long long v;

    errno = 0;
    v = strtoll(value, &end, 10);
    if (end == value || *end != '\0' || errno != 0 || v < o->least || v > o->most)
        return err_set(err, ERR_INVALID, "%s %s: must be a whole number, %lld to %lld", o->name,
                       value, (long long)o->least, (long long)o->most);
    *into = v;
    return 0;
}

static int set_option(struct fleet_line *line, const struct option *o, const char *value,
                      struct err *err)
{
    void *into = (char *)line + o->at;

    if (o->kind == FLAG) {
        *(bool *)into = true;
        return 0;
    }
    if (o->kind == NUMBER)
        return set_number(o, value, into, err);
    if (value[0] == '\0' ||
        (o->kind == TEXT && !str_is_utf8((const uint8_t *)value, strlen(value))))
        return err_set(err, ERR_INVALID, "%s \"%s\": must be some text as %s", o->name, value,
                       o->value);
    *(const char **)into = value;
    return 0;
}

/* Words sorted into options and the rest. */
struct sorted {
    struct fleet_line *line;
    uint64_t seen; /* options that were given, by index */
};

static int command_of(const struct fleet_line *line)
{
    return line->arg_count == 0 ? -1 : find_command(line->args[0]);
}

/* Take the option at words[*i], and its value when that is the next word. */
static int take_option(struct sorted *to, const char *const *words, size_t n, size_t *i,
                       struct err *err)
{
    const char *word = words[*i];
    size_t len = strcspn(word, "=");
    const char *value = word[len] == '=' ? word + len + 1 : NULL;
    const struct option *o = find_option(word, len, command_of(to->line));

    if (o == NULL)
        return fail_option(word, len, err);
    if (o->kind == FLAG && value != NULL)
        return err_set(err, ERR_INVALID, "%s: takes no value", o->name);
    if (o->kind != FLAG && value == NULL) {
        if (*i + 1 >= n)
            return err_set(err, ERR_INVALID, "%s: needs a value: %s", o->name, o->value);
        value = words[++*i];
    }
    to->seen |= UINT64_C(1) << (o - options);
    return set_option(to->line, o, value, err);
}

static int sort_words(struct sorted *to, const char *const *words, size_t n, struct err *err)
{
    bool only_args = false;

    for (size_t i = 0; i < n; i++) {
        if (!only_args && strcmp(words[i], "--") == 0) {
            only_args = true;
        } else if (!only_args && words[i][0] == '-' && words[i][1] != '\0') {
            int rc = take_option(to, words, n, &i, err);

            if (rc != 0)
                return rc;
        } else {
            to->line->args[to->line->arg_count++] = words[i];
        }
    }
    return 0;
}

static int check_options(const struct sorted *s, struct err *err)
{
    const char *word = commands[s->line->command].word;

    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const char *name = options[i].name;
        int command = (int)s->line->command;

        if ((s->seen >> i & 1) != 0 &&
            !has_meaning(find_option(name, strlen(name), command), command))
            return err_set(err, ERR_INVALID,
                           "%s: has no meaning for \"%s\": see certflip-fleet help %s", name, word,
                           word);
    }
    if (s->line->csv && s->line->json)
        return err_set(err, ERR_INVALID, "%s: either --csv or --json", word);
    return 0;
}

static int check_args(const struct fleet_line *line, struct err *err)
{
    const struct fleet_words_command *c = &commands[line->command];
    const struct shape *shape = &shapes[c->shape];

    if (line->arg_count < shape->least)
        return err_set(err, ERR_INVALID, "%s: needs %s", c->word, shape->text);
    if (line->arg_count > shape->most)
        return err_set(err, ERR_INVALID, "%s: does not take \"%s\": usage: certflip-fleet %s %s",
                       c->word, line->args[shape->most], c->word, shape->text);
    for (size_t i = 0; i < line->arg_count; i++)
        if (line->args[i][0] == '\0')
            return err_set(err, ERR_INVALID, "%s: \"\" is no %s", c->word, shape->text);
    return 0;
}

/* Tell the command from what follows it. */
static int name_command(struct fleet_line *line, struct err *err)
{
    int id = command_of(line);

    if (line->arg_count == 0) {
        if (!line->version)
            line->help = true;
        line->command = FLEET_WORDS_HELP;
        return 0;
    }
    if (id < 0)
        return fail_command(line->args[0], err);
    if (line->help && id != FLEET_WORDS_HELP) { /* "plan --help" is "help plan" */
        line->command = FLEET_WORDS_HELP;
        line->arg_count = 1;
        return 0;
    }
    line->command = (enum fleet_words_id)id;
    line->arg_count--;
    memmove(line->args, line->args + 1, line->arg_count * sizeof(line->args[0]));
    return 0;
}

int fleet_words_parse(const char *const *words, size_t n, struct fleet_line *out, struct err *err)
{
    struct fleet_line line = {
        .args = calloc(n + 1, sizeof(line.args[0])), .wave = -1, .expiring = -1, .timeout_s = -1};
    struct sorted sorted = {.line = &line};
    int rc;

    if (line.args == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    rc = sort_words(&sorted, words, n, err);
    if (rc == 0)
        rc = name_command(&line, err);
    if (rc == 0 && !line.help && !line.version) {
        rc = check_options(&sorted, err);
        if (rc == 0)
            rc = check_args(&line, err);
    }
    if (rc != 0) {
        fleet_words_fini(&line);
        return rc;
    }
    if (line.version)
        line.command = FLEET_WORDS_HELP;
    *out = line;
    return 0;
}

void fleet_words_fini(struct fleet_line *line)
{
    free(line->args);
    line->args = NULL;
    line->arg_count = 0;
}

/* -- help ------------------------------------------------------------------------------------- */

static void help_option(const struct option *o, FILE *to)
{
    char left[64];

    snprintf(left, sizeof(left), "%s%s%s%s%s", o->letter != NULL ? o->letter : "",
             o->letter != NULL ? ", " : "", o->name, o->value != NULL ? " " : "",
             o->value != NULL ? o->value : "");
    fprintf(to, "  %-28s %s\n", left, o->help);
}

static void help_all(FILE *to)
{
    fputs("usage: certflip-fleet [OPTIONS] COMMAND [FILE] [ARGUMENTS]\n\n"
          "FILE is a campaign's: certflip-fleet.conf(5).\n\ncommands:\n",
          to);
    for (int id = 0; id < FLEET_WORDS_COUNT; id++) {
        char left[64];

        snprintf(left, sizeof(left), "%s %s", commands[id].word, shapes[commands[id].shape].text);
        fprintf(to, "  %-32s %s\n", left, commands[id].help);
    }
    fputs("\noptions of every command:\n", to);
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (options[i].commands == EVERY)
            help_option(&options[i], to);
    fputs("\nexit status:\n"
          "  0 done   1 something was refused, is wrong, or halted   2 usage\n"
          "  3 the broker or the ledger cannot be reached   4 paused or ended by an operator\n",
          to);
}

static void help_one(enum fleet_words_id id, FILE *to)
{
    const struct fleet_words_command *c = &commands[id];

    fprintf(to, "usage: certflip-fleet %s %s [OPTIONS]\n\n%s\n\noptions:\n", c->word,
            shapes[c->shape].text, c->help);
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (has_meaning(&options[i], (int)id))
            help_option(&options[i], to);
    fprintf(to, "\nexample:\n  certflip-fleet %s\n", c->example);
}

int fleet_words_help(const struct fleet_line *line, FILE *to, struct err *err)
{
    int id;

    if (line->arg_count == 0) {
        help_all(to);
        return 0;
    }
    id = find_command(line->args[0]);
    if (id < 0)
        return fail_command(line->args[0], err);
    help_one((enum fleet_words_id)id, to);
    return 0;
}

/* -- completion ------------------------------------------------------------------------------- */

struct offers {
    const char *partial;
    void (*offer)(void *arg, const char *word);
    void *arg;
};

static void offer_word(const struct offers *o, const char *word)
{
    if (strncmp(word, o->partial, strlen(o->partial)) == 0)
        o->offer(o->arg, word);
}

static void offer_commands(const struct offers *o)
{
    for (int id = 0; id < FLEET_WORDS_COUNT; id++)
        offer_word(o, commands[id].word);
}

static void offer_options(const struct offers *o, int command)
{
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (has_meaning(&options[i], command))
            offer_word(o, options[i].name);
}

/* What stands at place `at` behind the command. */
static enum fleet_words_more offer_args(const struct offers *o, int command, size_t at)
{
    switch (commands[command].shape) {
    case FLEET_WORDS_FILE:
        return at == 0 ? FLEET_WORDS_MORE_FILES : FLEET_WORDS_NO_MORE;
    case FLEET_WORDS_FILE_DEVICES:
        return at == 0 ? FLEET_WORDS_MORE_FILES : FLEET_WORDS_MORE_DEVICES;
    case FLEET_WORDS_COMMAND:
        if (at == 0)
            offer_commands(o);
        return FLEET_WORDS_NO_MORE;
    case FLEET_WORDS_SHAPE_COUNT:
        break;
    }
    return FLEET_WORDS_NO_MORE;
}

enum fleet_words_more fleet_words_complete(const char *const *words, size_t n,
                                           void (*offer)(void *arg, const char *word), void *arg,
                                           const char **file)
{
    struct offers o = {.partial = n > 0 ? words[n - 1] : "", .offer = offer, .arg = arg};
    const struct option *awaits = NULL; /* the option whose value comes next */
    size_t count = 0;                   /* words behind the command */
    int command = -1;

    *file = NULL;
    for (size_t i = 0; i + 1 < n; i++) {
        if (awaits != NULL) {
            awaits = NULL;
        } else if (words[i][0] == '-') {
            awaits = find_option(words[i], strlen(words[i]), command);
            if (awaits != NULL && awaits->kind == FLAG)
                awaits = NULL;
        } else if (command < 0) {
            command = find_command(words[i]);
        } else if (count++ == 0) {
            *file = words[i];
        }
    }
    if (awaits != NULL)
        return awaits->kind == FILE_NAME ? FLEET_WORDS_MORE_FILES : FLEET_WORDS_NO_MORE;
    if (o.partial[0] == '-')
        offer_options(&o, command);
    else if (command < 0)
        offer_commands(&o);
    else
        return offer_args(&o, command, count);
    return FLEET_WORDS_NO_MORE;
}
