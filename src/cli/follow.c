#include "cli/follow.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/str.h"
#include "cli/devices.h"
#include "cli/table.h"

#define LOOK_EVERY_MS 300
#define GONE_MS       (INT64_C(60) * 1000) /* so long is waited for a daemon that has gone */
#define BREATHER      4 /* and at most every so many times as long as a look takes the daemon */

struct member {
    char *name; /* owned */
    char text[480];
    char waiting[32]; /* the word for what it waits for */
    size_t missing;   /* how much is to be proven yet */
    enum follow_state state;
    unsigned seen;    /* the look that saw it last */
    bool told;        /* its end was shown */
    char remedy[256]; /* of a rollback; "": none is known */
};

struct crowd {
    const struct follow *f;
    struct map *by_name;    /* struct member */
    struct member **member; /* owned, in the order of the first look */
    size_t count;
    unsigned look;
    int64_t gone_us; /* the daemon is, since then; 0: it is not */
    size_t drawn;    /* lines on the terminal that will be rewritten */
};

/* -- judging ---------------------------------------------------------------------------------- */

static const char *text(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));

    return s == NULL ? "" : s;
}

/* After a rollback the sensor's session has yet to move, when there is one.  Where the old identity
 * does not get in, as the broker is away, there is nothing more to wait for: it is decided. */
static bool is_back_on_old(const json_t *device)
{
    return !json_is_true(json_object_get(device, "online")) ||
           strcmp(text(json_object_get(device, "upstream"), "slot"), "old") == 0;
}

static bool is_cut_off(const json_t *device)
{
    return json_is_true(json_object_get(device, "online")) &&
           strcmp(text(json_object_get(device, "upstream"), "state"), "accepted") != 0;
}

enum follow_state follow_judge(const json_t *device, bool rollback)
{
    const char *phase = text(device, "phase");

    if (json_is_string(json_object_get(device, "waiting")) || strcmp(phase, "trial") == 0)
        return FOLLOW_GOING;
    if (rollback) {
        if (strcmp(text(device, "active"), "old") != 0)
            return FOLLOW_FAILED;
        return is_back_on_old(device) ? FOLLOW_DONE : FOLLOW_GOING;
    }
    if (strcmp(phase, "committed") == 0)
        return FOLLOW_DONE;
    return strcmp(phase, "rolled-back") == 0 ? FOLLOW_ROLLED_BACK : FOLLOW_FAILED;
}

/* What is said of a device: its phase, and why it came back. */
static void describe(const json_t *device, enum follow_state state, bool live, char *out, size_t n)
{
    char phase[160], missing[96];

    show_missing(device, missing, sizeof(missing));
    if (live) /* is drawn again and again: how long it has still */
        show_progress(device, clock_wall_s(), phase, sizeof(phase));
    else
        show_phase(device, phase, sizeof(phase));
    if (!live && missing[0] != '\0') {
        snprintf(out, n, "%s, missing: %s", phase, missing);
        return;
    }
    if (state == FOLLOW_ROLLED_BACK && text(device, "reason")[0] != '\0')
        snprintf(out, n, "%s: %s", phase, text(device, "reason"));
    else if (state == FOLLOW_GOING && strcmp(phase, "rolled-back") == 0)
        snprintf(out, n, "%s, connects with the old identity", phase);
    else if (state == FOLLOW_DONE && strcmp(phase, "rolled-back") == 0 && is_cut_off(device))
        snprintf(out, n, "%s here; not connected: %s", phase,
                 text(json_object_get(device, "last_error"), "message"));
    else
        snprintf(out, n, "%s", phase);
}

/* -- showing ---------------------------------------------------------------------------------- */

static enum table_style state_style(enum follow_state state)
{
    switch (state) {
    case FOLLOW_DONE:
        return TABLE_GOOD;
    case FOLLOW_ROLLED_BACK:
    case FOLLOW_FAILED:
        return TABLE_BAD;
    case FOLLOW_GOING:
        break;
    }
    return TABLE_WARN;
}

static void tell_line(const struct crowd *c, const struct member *m)
{
    table_text(c->f->show->to, false, TABLE_PLAIN, m->name);
    fputs(": ", c->f->show->to);
    table_text(c->f->show->to, c->f->show->colour, state_style(m->state), m->text);
    fputc('\n', c->f->show->to);
    if (m->state != FOLLOW_ROLLED_BACK || m->remedy[0] == '\0')
        return;
    fputs("  ", c->f->show->to);
    table_text(c->f->show->to, false, TABLE_PLAIN, m->remedy);
    fputc('\n', c->f->show->to);
}

/* What to do about a rollback, where the last error is what it was for. */
static void take_remedy(struct member *m, const json_t *device)
{
    const json_t *error = json_object_get(device, "last_error");
    const char *reason = text(device, "reason");

    snprintf(m->remedy, sizeof(m->remedy), "%s", text(device, "reason_remedy"));
    if (reason[0] != '\0' && strcmp(reason, text(error, "message")) == 0)
        snprintf(m->remedy, sizeof(m->remedy), "%s", text(error, "remedy"));
}

static size_t count_state(const struct crowd *c, enum follow_state state)
{
    size_t n = 0;

    for (size_t i = 0; i < c->count; i++)
        n += c->member[i]->state == state ? 1 : 0;
    return n;
}

/* " (3 in the queue, 2 offline)" of those that are not done yet. */
static void tell_waiting(const struct crowd *c)
{
    /* clang-format off */
    static const struct { const char *word, *text; } kinds[] = {
        { "queue", "in the queue" }, { "device", "offline" }, { "upstream", "connecting" },
        { "probation", "in probation" }, { "confirm", "to be confirmed" },
        { "store", "that cannot be saved" },
    };
    /* clang-format on */
    const char *before = " (";

    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        size_t n = 0;

        for (size_t i = 0; i < c->count; i++)
            n += c->member[i]->state == FOLLOW_GOING &&
                 strcmp(c->member[i]->waiting, kinds[k].word) == 0;
        if (n == 0)
            continue;
        fprintf(c->f->show->to, "%s%zu %s", before, n, kinds[k].text);
        before = ", ";
    }
    if (strcmp(before, ", ") == 0)
        fputc(')', c->f->show->to);
}

static void tell_sum(const struct crowd *c)
{
    FILE *to = c->f->show->to;

    fprintf(to, "%zu device%s: %zu %s", c->count, c->count == 1 ? "" : "s",
            count_state(c, FOLLOW_DONE), c->f->rollback ? "rolled back" : "committed");
    if (count_state(c, FOLLOW_ROLLED_BACK) > 0)
        fprintf(to, ", %zu rolled back", count_state(c, FOLLOW_ROLLED_BACK));
    if (count_state(c, FOLLOW_FAILED) > 0)
        fprintf(to, ", %zu failed", count_state(c, FOLLOW_FAILED));
    if (count_state(c, FOLLOW_GOING) > 0) {
        fprintf(to, ", %zu not done yet", count_state(c, FOLLOW_GOING));
        tell_waiting(c);
    }
    fputc('\n', to);
}

static size_t terminal_lines(FILE *to)
{
    struct winsize size = {.ws_row = 0};

    if (ioctl(fileno(to), TIOCGWINSZ, &size) != 0 || size.ws_row < 4)
        return 24;
    return size.ws_row;
}

/* What has ended scrolls away above; what goes on is drawn anew below it, as far as there is room.
 */
static void redraw(struct crowd *c)
{
    FILE *to = c->f->show->to;
    size_t room = terminal_lines(to) - 3, going = count_state(c, FOLLOW_GOING), hidden = 0;

    if (c->drawn > 0)
        fprintf(to, "\033[%zuA\033[J", c->drawn);
    c->drawn = 0;
    for (size_t i = 0; i < c->count; i++)
        if (c->member[i]->state != FOLLOW_GOING && !c->member[i]->told) {
            c->member[i]->told = true;
            tell_line(c, c->member[i]);
        }
    fputs("\033[?7l", to); /* what is too long is cut by the terminal: a line stays one line */
    if (going > room)
        hidden = going - room + 1; /* one line says how many */
    for (size_t i = 0; i < c->count && c->drawn < going - hidden; i++)
        if (c->member[i]->state == FOLLOW_GOING) {
            tell_line(c, c->member[i]);
            c->drawn++;
        }
    if (hidden > 0) {
        fprintf(to, "... and %zu more\n", hidden);
        c->drawn++;
    }
    if (going > 0) {
        tell_sum(c);
        c->drawn++;
    }
    fputs("\033[?7h", to);
    fflush(to);
}

/* -- looking ---------------------------------------------------------------------------------- */

static struct member *add_member(struct crowd *c, const char *name)
{
    struct member **grown = reallocarray(c->member, c->count + 1, sizeof(struct member *));
    struct member *m = calloc(1, sizeof(*m));

    if (grown != NULL)
        c->member = grown;
    if (grown == NULL || m == NULL || (m->name = strdup(name)) == NULL ||
        map_put(c->by_name, name, m) != 0) {
        if (m != NULL)
            free(m->name);
        free(m);
        return NULL;
    }
    c->member[c->count++] = m;
    return m;
}

/* What is news: a phase, or waiting for something else; not that a time came out a second later. */
static void take_text(const struct crowd *c, struct member *m, enum follow_state state,
                      const char *waiting, size_t missing, const char *said)
{
    size_t phase = strcspn(said, ",:");
    bool news = strncmp(said, m->text, phase + 1) != 0 || strcmp(waiting, m->waiting) != 0 ||
                missing != m->missing || state != m->state;

    m->state = state;
    m->missing = missing;
    snprintf(m->waiting, sizeof(m->waiting), "%s", waiting);
    snprintf(m->text, sizeof(m->text), "%s", said);
    if (news && !c->f->live && !c->f->quiet)
        tell_line(c, m);
}

/* How much of what is demanded is to be proven yet, as long as that is said. */
static size_t missing_count(const json_t *device)
{
    char missing[96];

    show_missing(device, missing, sizeof(missing));
    return missing[0] == '\0'
               ? 0
               : json_array_size(json_object_get(json_object_get(device, "evidence"), "missing"));
}

/* One DEVICE of a look.  Devices that come into being meanwhile are none of ours. */
static int take_device(struct crowd *c, const json_t *device, const struct map *refused)
{
    const char *name = text(device, "device");
    struct member *m = map_get(c->by_name, name);
    char said[480];
    enum follow_state state;

    if (m == NULL && (c->look > 1 || map_get(refused, name) != NULL))
        return 0;
    if (m == NULL && (m = add_member(c, name)) == NULL)
        return -1;
    m->seen = c->look;
    state = follow_judge(device, c->f->rollback);
    describe(device, state, c->f->live, said, sizeof(said));
    if (state == FOLLOW_FAILED && m->state == FOLLOW_GOING && c->look > 1 &&
        strcmp(text(device, "phase"), "staged") == 0)
        snprintf(said, sizeof(said), "given up: not accepted in time; staged again");
    take_remedy(m, device);
    take_text(c, m, state, text(device, "waiting"), missing_count(device), said);
    return 0;
}

static int look(struct crowd *c, const json_t *devices, const struct map *refused)
{
    c->look++;
    for (size_t i = 0; i < json_array_size(devices); i++)
        if (take_device(c, json_array_get(devices, i), refused) != 0)
            return -1;
    for (size_t i = 0; i < c->count; i++)
        if (c->member[i]->seen != c->look)
            take_text(c, c->member[i], FOLLOW_FAILED, "", 0, "no longer there");
    if (c->f->live && !c->f->quiet)
        redraw(c);
    else
        fflush(c->f->show->to); /* a file or a pipe is read while we wait */
    return 0;
}

static void pause_ms(int64_t ms)
{
    struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

    (void)nanosleep(&t, NULL);
}

/* The daemon has gone, perhaps to be started anew: the trials go on then, and so do we.  One that
 * answers nothing in between is waited for once. */
static int come_back(struct client *client, struct crowd *c, int64_t end_us, struct err *err)
{
    int64_t now_us = clock_mono_us();

    if (err->code != ERR_CLOSED || (c->gone_us != 0 && now_us >= end_us))
        return -1;
    if (c->gone_us == 0) {
        c->gone_us = now_us;
        if (!c->f->quiet) {
            fputs("certflipd has stopped; waiting for it to come back\n", c->f->show->to);
            fflush(c->f->show->to);
            c->drawn = 0; /* that line stays */
        }
    } else {
        pause_ms(LOOK_EVERY_MS);
    }
    if (end_us - c->gone_us > GONE_MS * 1000)
        end_us = c->gone_us + GONE_MS * 1000;
    return now_us > end_us ? -1 : client_again(client, end_us, err);
}

/* Look until nothing goes on any more, or the time is over. */
static int look_on(struct client *client, struct crowd *c, json_t *target,
                   const struct map *refused, json_t **devices, struct err *err)
{
    int64_t end_us = c->f->timeout_s < 0 ? INT64_MAX : clock_mono_us() + c->f->timeout_s * 1000000;

    for (;;) {
        int64_t start_us = clock_mono_us(), took_ms;
        json_t *answer = NULL;
        int rc = devices_fetch(client, target, &answer, err);

        if (rc > 0) /* none of them is there any more */
            rc = look(c, NULL, refused);
        else if (rc == 0)
            rc = look(c, json_object_get(answer, "devices"), refused);
        else if (come_back(client, c, end_us, err) == 0)
            continue;
        else
            return rc;
        c->gone_us = 0;
        json_decref(*devices);
        *devices = answer;
        if (rc != 0)
            return err_set(err, ERR_NOMEM, "out of memory");
        if (count_state(c, FOLLOW_GOING) == 0 || clock_mono_us() >= end_us)
            return 0;
        took_ms = (clock_mono_us() - start_us) / 1000 * BREATHER;
        pause_ms(took_ms > LOOK_EVERY_MS ? took_ms : LOOK_EVERY_MS);
    }
}

static enum follow_state gravest(const struct crowd *c)
{
    static const enum follow_state order[] = {FOLLOW_ROLLED_BACK, FOLLOW_FAILED, FOLLOW_GOING};

    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        if (count_state(c, order[i]) > 0)
            return order[i];
    return FOLLOW_DONE;
}

/* Keep what belongs to the crowd. */
static json_t *only_members(const struct crowd *c, const json_t *answer)
{
    const json_t *devices = json_object_get(answer, "devices");
    json_t *kept = json_array();

    for (size_t i = 0; i < json_array_size(devices); i++)
        if (map_get(c->by_name, text(json_array_get(devices, i), "device")) != NULL)
            (void)json_array_append(kept, json_array_get(devices, i));
    return kept;
}

static int fill_refused(struct map *refused, const json_t *outcome)
{
    static int yes;

    for (size_t i = 0; i < json_array_size(outcome); i++) {
        const json_t *row = json_array_get(outcome, i);

        if (!json_is_true(json_object_get(row, "ok")) &&
            map_put(refused, text(row, "device"), &yes) != 0)
            return -1;
    }
    return 0;
}

static void crowd_fini(struct crowd *c)
{
    for (size_t i = 0; i < c->count; i++) {
        free(c->member[i]->name);
        free(c->member[i]);
    }
    free(c->member);
    map_free(c->by_name);
}

int follow(struct client *client, const struct follow *f, json_t *target, const json_t *outcome,
           enum follow_state *end, json_t **devices, struct err *err)
{
    struct crowd c = {.f = f, .by_name = map_new()};
    struct map *refused = map_new();
    json_t *answer = NULL;
    int rc;

    if (c.by_name == NULL || refused == NULL || fill_refused(refused, outcome) != 0)
        rc = err_set(err, ERR_NOMEM, "out of memory");
    else
        rc = look_on(client, &c, target, refused, &answer, err);
    if (rc == 0) {
        *end = gravest(&c);
        *devices = only_members(&c, answer);
        if (!f->quiet && (c.count > 1 || *end == FOLLOW_GOING) && c.drawn == 0)
            tell_sum(&c);
    }
    json_decref(answer);
    map_free(refused);
    crowd_fini(&c);
    return rc;
}
