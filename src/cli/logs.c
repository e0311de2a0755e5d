#include "cli/logs.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log_line.h"
#include "cli/logs_inside.h"
#include "cli/table.h"
#include "control/rpc.h"

#define LATEST         1000 /* lines, where nobody says how many */
#define LOOK_EVERY_MS  500
#define COMES_BACK_MIN (INT64_C(24) * 60) /* so long a daemon that has gone is waited for */

struct showing {
    const struct cli *cli;
    uint64_t count;
};

/* -- showing -- */

static enum table_style style_of(enum log_level level)
{
    switch (level) {
    case LOG_ERROR_:
        return TABLE_BAD;
    case LOG_WARN_:
        return TABLE_WARN;
    case LOG_NOTICE_:
        return TABLE_HEAD;
    case LOG_INFO_:
    case LOG_DEBUG_:
        break;
    }
    return TABLE_PLAIN;
}

static void show_json(const struct cli *cli, const struct logs_line *line, const char *when)
{
    json_t *row =
        json_pack("{s:s, s:s, s:s, s:s, s:O}", "time", when, "level", log_level_name(line->level),
                  "subsystem", line->subsystem, "event", line->event, "fields", line->fields);

    if (line->event[0] == '\0' && row != NULL) /* what was no line of the log: said at a start */
        json_object_set_new(row, "message", json_string(line->text));
    (void)json_dumpf(row, cli->out.to, JSON_COMPACT);
    fputc('\n', cli->out.to);
    json_decref(row);
}

static bool show_line(void *arg, const struct logs_line *line)
{
    struct showing *s = arg;
    const struct cli *cli = s->cli;
    char when[40];

    log_time(line->wall_ms, when);
    s->count++;
    if (cli->line->json) {
        show_json(cli, line, when);
    } else {
        fprintf(cli->out.to, "%s ", when);
        table_text(cli->out.to, cli->out.colour, style_of(line->level),
                   log_level_name(line->level));
        fputc(' ', cli->out.to);
        table_text(cli->out.to, false, TABLE_PLAIN, line->text);
        fputc('\n', cli->out.to);
    }
    return ferror(cli->out.to) == 0;
}

/* -- the daemon's memory -- */

static const char *text(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));

    return s == NULL ? "" : s;
}

static bool is_bare(const char *value)
{
    return *value != '\0' && value[strcspn(value, " \"=\\\n\t")] == '\0';
}

/* The line again, as it was written. */
static void line_text(const json_t *row, struct buf *out)
{
    json_t *fields = json_object_get(row, "fields"), *value;
    struct log_quoted q;
    const char *key;

    out->len = 0;
    (void)buf_printf(out, "%s %s", text(row, "subsystem"), text(row, "event"));
    json_object_foreach(fields, key, value)
    {
        const char *v = json_string_value(value);

        if (v != NULL)
            (void)buf_printf(out, " %s=%s", key, is_bare(v) ? v : log_quote(&q, v, (size_t)-1));
    }
    (void)buf_append_u8(out, '\0');
}

/* "2031-05-02T00:00:00.123Z" */
static int64_t wall_ms_of(const char *iso)
{
    struct tm tm = {.tm_isdst = 0};
    const char *end = strptime(iso, "%Y-%m-%dT%H:%M:%S", &tm);

    if (end == NULL)
        return 0;
    return (int64_t)timegm(&tm) * 1000 + (*end == '.' ? strtol(end + 1, NULL, 10) : 0);
}

static void show_rows(const json_t *rows, struct showing *s)
{
    struct buf out = {0};

    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        struct logs_line line = {.wall_ms = wall_ms_of(text(row, "time")),
                                 .level = LOG_INFO_,
                                 .subsystem = text(row, "subsystem"),
                                 .event = text(row, "event"),
                                 .fields = json_object_get(row, "fields")};

        (void)log_level_parse(text(row, "level"), &line.level);
        line_text(row, &out);
        line.text = out.p == NULL ? "" : (const char *)out.p;
        if (!show_line(s, &line))
            break;
    }
    buf_fini(&out);
    fflush(s->cli->out.to);
}

static void set_text(json_t *params, const char *key, const char *value)
{
    if (value != NULL)
        json_object_set_new(params, key, json_string(value));
}

static json_t *params_of(const struct logs_wanted *w, json_int_t after, json_int_t limit)
{
    json_t *p = json_object();

    set_text(p, "device", w->filter.device);
    set_text(p, "event", w->filter.event);
    set_text(p, "subsystem", w->filter.subsystem);
    set_text(p, "grep", w->filter.grep);
    set_text(p, "level", log_level_name(w->filter.level));
    json_object_set_new(p, "limit", json_integer(limit));
    if (w->filter.since_ms > 0)
        json_object_set_new(p, "since_s", json_integer(w->filter.since_ms / 1000));
    if (after >= 0)
        json_object_set_new(p, "after", json_integer(after));
    return p;
}

static void note(const struct cli *cli, const char *what)
{
    fflush(cli->out.to);
    fprintf(cli->err.to, "certflipctl: logs: %s\n", what);
}

static void note_gone(const struct cli *cli, json_int_t n)
{
    char line[80];

    snprintf(line, sizeof(line), "-- %" JSON_INTEGER_FORMAT " lines came too fast to be kept --",
             n);
    note(cli, line);
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* One page.  Returns as client_call does; *last is where the next one begins, *more whether it is
 * there already. */
static int page(const struct cli *cli, const struct logs_wanted *w, struct showing *s,
                json_int_t *last, json_int_t *pid, bool *more, json_t **error, struct err *err)
{
    json_int_t limit =
        *last < 0 && w->limit >= 0 && w->limit < RPC_ROWS_MAX ? w->limit : RPC_ROWS_MAX;
    json_t *answer = NULL;
    int rc = client_call(cli->client, "log.recent", params_of(w, *last, limit), &answer, err);

    if (rc > 0)
        *error = answer;
    if (rc != 0)
        return rc;
    if (*pid != json_integer_value(json_object_get(answer, "pid")) && *pid != 0) {
        note(cli, "-- certflipd was started anew --");
        *last = 0; /* its lines begin at 1 */
        *more = true;
    } else {
        json_int_t first = json_integer_value(json_object_get(answer, "first"));

        if (*last > 0 && first > *last + 1)
            note_gone(cli, first - *last - 1);
        show_rows(json_object_get(answer, "lines"), s);
        *more =
            (json_int_t)json_array_size(json_object_get(answer, "lines")) == limit && *last >= 0;
        *last = json_integer_value(json_object_get(answer, "last"));
    }
    *pid = json_integer_value(json_object_get(answer, "pid"));
    json_decref(answer);
    return 0;
}

static enum cli_status fail(const struct cli *cli, const char *message, enum cli_status status)
{
    fflush(cli->out.to);
    fputs("certflipctl: logs: ", cli->err.to);
    table_text(cli->err.to, cli->err.colour, TABLE_BAD, message);
    fputc('\n', cli->err.to);
    return status;
}

static enum cli_status show_recent(const struct cli *cli, const struct logs_wanted *w,
                                   struct showing *s)
{
    json_int_t last = w->limit < 0 ? 0 : -1, pid = 0;
    struct err err = {0};
    bool more;

    for (;;) {
        json_t *error = NULL;
        int rc = page(cli, w, s, &last, &pid, &more, &error, &err);

        if (rc > 0) {
            show_error(&cli->err, "logs", error);
            json_decref(error);
            return CLI_REFUSED;
        }
        if (rc == -ERR_CLOSED && w->follow) {
            note(cli, "-- certflipd has gone --");
            rc = client_again(cli->client, clock_mono_us() + COMES_BACK_MIN * 60000000, &err);
            more = true;
        }
        if (rc < 0)
            return fail(cli, err.msg, CLI_UNREACHABLE);
        if (ferror(cli->out.to) || (!w->follow && !more))
            return CLI_DONE;
        if (!more)
            pause_ms(LOOK_EVERY_MS);
    }
}

/* -- which of them -- */

static struct logs_wanted wanted_of(const struct words_line *line)
{
    struct logs_wanted w = {.filter = {.device = line->device,
                                       .event = line->event,
                                       .subsystem = line->subsystem,
                                       .grep = line->grep,
                                       .level = LOG_DEBUG_},
                            .limit = line->limit,
                            .follow = line->follow};

    if (line->level != NULL)
        (void)log_level_parse(line->level, &w.filter.level);
    if (line->since.ago_s >= 0)
        w.filter.since_ms = clock_wall_ms() - line->since.ago_s * 1000;
    else if (line->since.at_s >= 0)
        w.filter.since_ms = line->since.at_s * 1000;
    else if (w.limit < 0)
        w.limit = LATEST;
    return w;
}

/* Does the daemon write to the journal?  -1: it does not say. */
static int writes_journal(const struct cli *cli)
{
    struct err err = {0};
    json_t *answer = NULL;
    int is = -1;

    if (cli->client == NULL)
        return -1;
    if (client_call(cli->client, "log.recent", json_pack("{s:i}", "limit", 1), &answer, &err) == 0)
        is = strcmp(text(answer, "target"), "journal") == 0;
    json_decref(answer);
    return is;
}

/* The journal remembers more; but the lines are there only when the daemon writes there. */
static struct logs_journal *choose(const struct cli *cli, struct err *err)
{
    const char *source = cli->line->source;
    struct logs_journal *j;

    if (source != NULL && strcmp(source, "memory") == 0)
        return NULL;
    if (source == NULL && writes_journal(cli) == 0)
        return NULL;
    j = logs_journal_open(err);
    if (j == NULL && source == NULL && cli->client != NULL) {
        fflush(cli->out.to);
        fprintf(cli->err.to,
                "certflipctl: logs: %s; these are the lines that certflipd has in memory\n",
                err->msg);
    }
    return j;
}

enum cli_status logs_command(const struct cli *cli, const struct err *why)
{
    struct logs_wanted w = wanted_of(cli->line);
    struct showing s = {.cli = cli};
    struct err err = {0};
    struct logs_journal *j = choose(cli, &err);
    enum cli_status status = CLI_DONE;

    if (cli->line->follow)
        setvbuf(cli->out.to, NULL, _IOLBF, 0);
    if (j != NULL) {
        if (logs_journal_show(j, &w, show_line, &s, &err) != 0)
            status = fail(cli, err.msg, CLI_REFUSED);
        logs_journal_close(j);
    } else if (cli->line->source != NULL && strcmp(cli->line->source, "journal") == 0) {
        status = fail(cli, err.msg, CLI_REFUSED);
    } else if (cli->client == NULL) {
        status = fail(cli, why->msg, CLI_UNREACHABLE);
    } else {
        status = show_recent(cli, &w, &s);
    }
    if (status == CLI_DONE && s.count == 0 && !cli->line->json && !ferror(cli->out.to))
        note(cli, "no line is like that; certflipctl log shows what is logged");
    return status;
}
