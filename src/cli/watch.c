/* cli/watch.c - see watch.h.  The only file that includes curses.
 *
 *   the gateway, its devices, what is wrong            three lines
 *   DEVICE  PHASE ...                                  the table, or one device (Enter)
 *   press-12: what is wrong with it: what to do        of the chosen device
 *   the latest events
 *   keys
 *
 * Each interval one message goes to the daemon and one comes back: status, what has changed of the
 * devices since the last one, new lines of the log, and the device that is looked at.  curses
 * writes to the terminal what differs, so nothing here changes on the screen without a reason:
 * times that matter little are coarse.
 */
#include "cli/watch.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef HAVE_NCURSES

#    define NCURSES_NOMACROS 1
#    include <curses.h>
#    include <langinfo.h>
#    include <locale.h>
#    include <termcap.h>

#    include "base/clock.h"
#    include "cli/table.h"
#    include "cli/watch_model.h"
#    include "control/rpc.h"

#    define INTERVAL_S    2
#    define PATIENCE_MS   5000
#    define EVENTS        40 /* lines that are kept */
#    define HEAD_ROWS     3
#    define LEAST_COLUMNS 40
#    define LEAST_ROWS    10
#    define PAGES_AT_ONCE 20 /* of devices, at a start */

enum key_escape { KEY_ESC = 27 };

struct watch {
    const struct cli *cli;
    struct watch_model model;
    json_t *status;       /* owned; NULL: none yet */
    json_t *detail;       /* owned: DEVICE of the one that is looked at; NULL: none yet */
    char *events[EVENTS]; /* owned; the latest last */
    size_t event_count;
    json_int_t log_after, pid;
    char lost[520];      /* why the daemon cannot be asked; "": it can */
    char chosen[160];    /* name of the device under the cursor */
    char looked_at[160]; /* whose details are shown; "": the table is */
    size_t top;          /* first row of the table that is shown */
    size_t scroll;       /* first line of the details */
    bool typing;         /* a search */
    bool helping;        /* the keys are shown */
    bool ascii;          /* the terminal shows nothing else */
    int64_t next_us;     /* CLOCK_MONOTONIC of the next question */
    int64_t interval_us;
};

static volatile sig_atomic_t ended;

static void on_end(int number)
{
    (void)number;
    ended = 1;
}

static const char *text(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));

    return s == NULL ? "" : s;
}

static long long number(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

/* -- asking -- */

static void set(json_t **at, json_t *value)
{
    json_decref(*at);
    *at = json_incref(value);
}

static void add_event(struct watch *w, const json_t *line)
{
    const json_t *fields = json_object_get(line, "fields");
    const char *when = text(line, "time"), *device = text(fields, "device"),
               *msg = text(fields, "msg"), *to = text(fields, "to");
    char said[400], *copy;

    if (strcmp(text(line, "event"), "flip") == 0)
        snprintf(said, sizeof(said), "%s -> %s: %.200s%s%.100s", text(fields, "from"), to,
                 text(fields, "cause"), *msg == '\0' ? "" : ": ", msg);
    else
        snprintf(said, sizeof(said), "%s%s%.300s", text(line, "event"), *msg == '\0' ? "" : ": ",
                 msg);
    if (asprintf(&copy, "%.8s %-6s %s%s%s", strlen(when) > 19 ? when + 11 : when,
                 text(line, "level"), device, *device == '\0' ? "" : ": ", said) < 0)
        return;
    if (w->event_count == EVENTS) {
        free(w->events[0]);
        memmove(w->events, w->events + 1, (EVENTS - 1) * sizeof(w->events[0]));
        w->event_count--;
    }
    w->events[w->event_count++] = copy;
}

static void take_log(struct watch *w, const json_t *answer)
{
    const json_t *lines = json_object_get(answer, "lines");

    if (w->pid != 0 && w->pid != number(answer, "pid")) {
        w->log_after = -1; /* another daemon counts anew */
        w->pid = number(answer, "pid");
        return;
    }
    for (size_t i = 0; i < json_array_size(lines); i++)
        add_event(w, json_array_get(lines, i));
    w->log_after = number(answer, "last");
    w->pid = number(answer, "pid");
}

static json_t *log_params(const struct watch *w)
{
    json_t *p = json_pack("{s:s, s:i}", "level", "notice", "limit", EVENTS);

    if (w->log_after >= 0)
        json_object_set_new(p, "after", json_integer(w->log_after));
    return p;
}

static json_t *changes_params(const struct watch *w)
{
    json_t *p = json_object();

    if (w->model.epoch >= 0) {
        json_object_set_new(p, "epoch", json_integer(w->model.epoch));
        json_object_set_new(p, "after", json_integer(w->model.after));
    }
    return p;
}

enum { ASK_CHANGES, ASK_STATUS, ASK_LOG, ASK_DETAIL, ASKS };

/* Returns 0 and whether there is more to ask for at once, or a negative code with err. */
static int ask_once(struct watch *w, bool first, bool *more, struct err *err)
{
    struct client_question all[ASKS] = {
        [ASK_CHANGES] = {"device.changes", changes_params(w), 0, NULL},
        [ASK_STATUS] = {"status", NULL, 0, NULL},
        [ASK_LOG] = {"log.recent", NULL, 0, NULL},
        [ASK_DETAIL] = {"device.get", NULL, 0, NULL},
    };
    size_t n = !first ? 1 : w->looked_at[0] != '\0' ? ASKS : ASK_DETAIL;
    int rc;

    if (first)
        all[ASK_LOG].params = log_params(w);
    if (n == ASKS)
        all[ASK_DETAIL].params = json_pack("{s:s}", "device", w->looked_at);
    rc = client_ask(w->cli->client, all, n, err);
    if (rc != 0)
        return rc;
    if (all[ASK_CHANGES].rc > 0) {
        rc = err_set(err, ERR_INVALID, "%s", text(all[ASK_CHANGES].answer, "message"));
    } else {
        if (watch_take(&w->model, all[ASK_CHANGES].answer, clock_wall_s()))
            watch_arrange(&w->model);
        *more = json_is_true(json_object_get(all[ASK_CHANGES].answer, "more"));
        if (n > ASK_STATUS && all[ASK_STATUS].rc == 0)
            set(&w->status, all[ASK_STATUS].answer);
        if (n > ASK_LOG && all[ASK_LOG].rc == 0)
            take_log(w, all[ASK_LOG].answer);
        if (n > ASK_DETAIL)
            set(&w->detail, all[ASK_DETAIL].rc == 0 ? all[ASK_DETAIL].answer : NULL);
    }
    for (size_t i = 0; i < n; i++)
        json_decref(all[i].answer);
    return rc;
}

static void ask(struct watch *w)
{
    struct err err = {0};
    bool more = true;
    int rc = 0;

    if (w->lost[0] != '\0')
        rc = client_again(w->cli->client, 0, &err); /* one try: it is tried again */
    for (unsigned i = 0; rc == 0 && more && i < PAGES_AT_ONCE && !ended; i++)
        rc = ask_once(w, i == 0, &more, &err);
    if (rc == 0)
        w->lost[0] = '\0';
    else
        snprintf(w->lost, sizeof(w->lost), "%s", err.msg);
    w->next_us = clock_mono_us() + w->interval_us;
}

/* -- drawing -- */

enum style { PLAIN, TITLE, GOOD, WARN, BAD, CHOSEN, DIM, STYLES };

static attr_t styles[STYLES];

static void choose_styles(bool colour)
{
    styles[TITLE] = A_BOLD;
    styles[CHOSEN] = A_REVERSE;
    styles[DIM] = A_NORMAL;
    styles[GOOD] = A_NORMAL;
    styles[WARN] = A_BOLD;
    styles[BAD] = A_BOLD;
    if (!colour || !has_colors())
        return;
    start_color();
    (void)use_default_colors();
    init_pair(1, COLOR_GREEN, -1);
    init_pair(2, COLOR_YELLOW, -1);
    init_pair(3, COLOR_RED, -1);
    styles[GOOD] = (attr_t)COLOR_PAIR(1);
    styles[WARN] = (attr_t)COLOR_PAIR(2);
    styles[BAD] = (attr_t)COLOR_PAIR(3) | A_BOLD;
}

/* A text in `columns` from x on, safe for the terminal; what is left of them becomes blank. Returns
 * the column behind it. */
static int put(const struct watch *w, int y, int x, int columns, enum style style, const char *s)
{
    char safe[2048];
    size_t width;

    if (columns > COLS - x)
        columns = COLS - x;
    if (columns <= 0 || y < 0 || y >= LINES)
        return x;
    width = table_fit(safe, sizeof(safe), s, (size_t)columns, w->ascii);
    (void)attrset((int)styles[style]);
    mvaddstr(y, x, safe);
    for (; width < (size_t)columns; width++)
        addch(' ');
    (void)attrset(A_NORMAL);
    return x + columns;
}

static void put_line(const struct watch *w, int y, enum style style, const char *s)
{
    put(w, y, 0, COLS, style, s);
}

static void draw_head(const struct watch *w)
{
    const json_t *devices = json_object_get(w->status, "devices");
    const json_t *central = json_object_get(w->status, "central");
    const json_t *pace = json_object_get(w->status, "pace");
    const json_t *messages = json_object_get(w->status, "messages");
    size_t wrong = json_array_size(messages);
    char line[700], up[40];

    if (w->status == NULL) {
        put_line(w, 0, TITLE, "certflip");
        put_line(w, 1, PLAIN, "");
    } else {
        snprintf(line, sizeof(line), "%.80s  certflipd %s  up %s%s%s", text(w->status, "gateway"),
                 text(w->status, "version"),
                 show_span(number(w->status, "uptime_s") / 60 * 60, up, sizeof(up)),
                 !json_is_true(json_object_get(central, "enabled"))    ? ""
                 : json_is_true(json_object_get(central, "connected")) ? "  centre: connected"
                                                                       : "  centre: not connected",
                 json_is_true(json_object_get(json_object_get(w->status, "clock"), "flips"))
                     ? ""
                     : "  clock: flips are refused");
        put_line(w, 0, TITLE, line);
        snprintf(line, sizeof(line),
                 "%lld devices: %lld online, %lld steady, %lld staged, %lld trial, %lld committed, "
                 "%lld rolled-back%s",
                 number(devices, "total"), number(devices, "online"), number(devices, "steady"),
                 number(devices, "staged"), number(devices, "trial"), number(devices, "committed"),
                 number(devices, "rolled_back"),
                 json_is_true(json_object_get(pace, "paused")) ? ", PAUSED: no broker" : "");
        put_line(w, 1, PLAIN, line);
    }
    if (w->lost[0] != '\0') {
        snprintf(line, sizeof(line), "certflipd is not there; what it said last. %.600s", w->lost);
        put_line(w, 2, BAD, line);
    } else if (wrong > 0) {
        snprintf(line, sizeof(line), "%s%.600s", wrong > 1 ? "(1 of several) " : "",
                 json_string_value(json_array_get(messages, 0)));
        put_line(w, 2, WARN, line);
    } else {
        put_line(w, 2, GOOD, w->status == NULL ? "" : "nothing is wrong");
    }
}

static enum style rank_style(enum watch_rank rank)
{
    static const enum style of[WATCH_RANKS] = {
        [WATCH_TRIAL] = WARN,  [WATCH_BROKEN] = BAD,   [WATCH_CAME_BACK] = BAD,
        [WATCH_ENDING] = WARN, [WATCH_STAGED] = PLAIN, [WATCH_FINE] = PLAIN,
    };

    return of[rank];
}

/* Columns of the table; the name's follows from the names, what is left is for words. */
enum { PHASE_COLUMNS = 12, ON_COLUMNS = 4, ID_COLUMNS = 4, BROKER_COLUMNS = 7, ENDS_COLUMNS = 8 };

static int name_columns(const struct watch *w)
{
    int widest = (int)(w->model.widest < 1000 ? w->model.widest : 1000), most = COLS / 3;

    if (widest < 6)
        widest = 6; /* its title */
    return (widest < most ? widest : most) + 1;
}

/* "accepted" is not worth so many columns. */
static const char *broker_word(const struct watch_device *d)
{
    const char *upstream = text(d->brief, "upstream");

    if (!json_is_true(json_object_get(d->brief, "online")) || *upstream == '\0')
        return "-";
    return strcmp(upstream, "accepted") == 0 ? "up" : upstream;
}

static void draw_row(const struct watch *w, int y, const struct watch_device *d, bool chosen)
{
    bool online = json_is_true(json_object_get(d->brief, "online"));
    const char *remedy;
    enum style style = chosen ? CHOSEN : PLAIN;
    int64_t now_s = clock_wall_s();
    char said[600], old[16], new[16];
    int x;

    watch_say(d->brief, now_s, said, sizeof(said), &remedy);
    x = put(w, y, 0, name_columns(w) - 1, style, d->name);
    x = put(w, y, x, 1, style, " ");
    x = put(w, y, x, PHASE_COLUMNS, chosen ? CHOSEN : rank_style(d->rank), text(d->brief, "phase"));
    x = put(w, y, x, ON_COLUMNS, style, online ? "on" : "-");
    x = put(w, y, x, ID_COLUMNS, style, text(d->brief, "active"));
    x = put(w, y, x, BROKER_COLUMNS, style, broker_word(d));
    x = put(w, y, x, ENDS_COLUMNS, style, watch_until(d->brief, "old", now_s, old));
    x = put(w, y, x, ENDS_COLUMNS, style, watch_until(d->brief, "new", now_s, new));
    put(w, y, x, COLS - x, chosen ? CHOSEN : rank_style(d->rank), said);
}

static void draw_table(struct watch *w, int y, int rows)
{
    const struct watch_model *m = &w->model;
    size_t at = watch_place(m, w->chosen, 0), room = rows > 1 ? (size_t)rows - 1 : 0;
    int x;

    if (m->shown_count > 0)
        snprintf(w->chosen, sizeof(w->chosen), "%s", m->shown[at]->name);
    if (at < w->top)
        w->top = at;
    if (room > 0 && at >= w->top + room)
        w->top = at - room + 1;
    if (w->top + room > m->shown_count)
        w->top = m->shown_count > room ? m->shown_count - room : 0;
    x = put(w, y, 0, name_columns(w), TITLE, "DEVICE");
    x = put(w, y, x, PHASE_COLUMNS, TITLE, "PHASE");
    x = put(w, y, x, ON_COLUMNS, TITLE, "ON");
    x = put(w, y, x, ID_COLUMNS, TITLE, "ID");
    x = put(w, y, x, BROKER_COLUMNS, TITLE, "BROKER");
    x = put(w, y, x, ENDS_COLUMNS, TITLE, "OLD");
    x = put(w, y, x, ENDS_COLUMNS, TITLE, "NEW");
    put(w, y, x, COLS - x, TITLE, "");
    for (size_t i = 0; i < room; i++) {
        if (w->top + i < m->shown_count)
            draw_row(w, y + 1 + (int)i, m->shown[w->top + i], w->top + i == at);
        else
            put_line(w, y + 1 + (int)i, PLAIN,
                     i == 0 && m->count > 0         ? "no device is like that: f and / choose"
                     : i == 0 && w->lost[0] == '\0' ? "there is no device yet"
                                                    : "");
    }
}

/* The lines of certflipctl device, as many as there is room for. */
static void draw_detail(struct watch *w, int y, int rows)
{
    char *whole = NULL, *line, *rest;
    size_t n = 0, count = 0, shown = 0;
    FILE *to;

    put_line(w, y, TITLE, w->looked_at);
    if (w->detail == NULL || (to = open_memstream(&whole, &n)) == NULL) {
        for (int i = 1; i < rows; i++)
            put_line(w, y + i, PLAIN, i == 1 ? "certflipd does not know it" : "");
        return;
    }
    show_device(&(struct show){to, false, clock_wall_s(), (size_t)COLS}, w->detail);
    fclose(to);
    for (const char *p = whole; (p = strchr(p, '\n')) != NULL; p++)
        count++;
    if (w->scroll + (size_t)rows > count + 1)
        w->scroll = count + 1 > (size_t)rows ? count + 1 - (size_t)rows : 0;
    rest = whole;
    for (size_t i = 0; (line = strsep(&rest, "\n")) != NULL && shown + 1 < (size_t)rows; i++)
        if (i >= w->scroll)
            put_line(w, y + 1 + (int)shown++, PLAIN, line);
    for (; shown + 1 < (size_t)rows; shown++)
        put_line(w, y + 1 + (int)shown, PLAIN, "");
    free(whole);
}

static void draw_help(const struct watch *w, int y, int rows)
{
    static const char *const lines[] = {
        "up down j k PgUp PgDn g G   move",
        "Enter                       everything about the chosen device; Esc: back",
        "/                           search: a part of the name, or a glob; Enter ends it, Esc clears it",
        "f                           filter: all, trials, trouble, offline, staged",
        "s                           sort: by need, name, expiry, phase",
        "r                           ask now",
        "q                           end",
        "",
        "ON: its sensor is connected.  ID: the identity in use.  BROKER: the connection there.",
        "OLD NEW: until the certificate of that identity ends.",
    };

    put_line(w, y, TITLE, "Keys");
    for (int i = 1; i < rows; i++)
        put_line(w, y + i, PLAIN,
                 (size_t)i <= sizeof(lines) / sizeof(lines[0]) ? lines[i - 1] : "");
}

/* What is wrong with the chosen device, and below it what to do. */
static void draw_chosen(const struct watch *w, int y)
{
    const struct watch_model *m = &w->model;
    const struct watch_device *d =
        m->shown_count == 0 ? NULL : m->shown[watch_place(m, w->chosen, 0)];
    const char *remedy = "";
    char said[600] = "", line[900];

    if (d != NULL)
        watch_say(d->brief, clock_wall_s(), said, sizeof(said), &remedy);
    snprintf(line, sizeof(line), "%s%s%s", d == NULL ? "" : d->name, said[0] == '\0' ? "" : ": ",
             said);
    put_line(w, y, TITLE, line);
    snprintf(line, sizeof(line), "%s%s", *remedy == '\0' ? "" : "  to do: ", remedy);
    put_line(w, y + 1, PLAIN, line);
}

static void draw_events(const struct watch *w, int y, int rows)
{
    size_t n = (size_t)rows < w->event_count ? (size_t)rows : w->event_count;

    for (int i = 0; i < rows; i++) {
        const char *s = (size_t)i < n ? w->events[w->event_count - n + (size_t)i] : "";
        enum style style = strncmp(s + (*s == '\0' ? 0 : 9), "error", 5) == 0  ? BAD
                           : strncmp(s + (*s == '\0' ? 0 : 9), "warn", 4) == 0 ? WARN
                                                                               : DIM;

        put_line(w, y + i, style, s);
    }
}

static void draw(struct watch *w)
{
    int events = LINES / 6, middle;
    char line[240];

    if (COLS < LEAST_COLUMNS || LINES < LEAST_ROWS) {
        erase();
        put_line(w, 0, PLAIN, "too small");
        refresh();
        return;
    }
    if (events > 10)
        events = 10;
    middle = LINES - HEAD_ROWS - 2 - events - 1;
    draw_head(w);
    if (w->helping)
        draw_help(w, HEAD_ROWS, middle);
    else if (w->looked_at[0] != '\0')
        draw_detail(w, HEAD_ROWS, middle);
    else
        draw_table(w, HEAD_ROWS, middle);
    draw_chosen(w, HEAD_ROWS + middle);
    draw_events(w, HEAD_ROWS + middle + 2, events);
    if (w->typing)
        snprintf(line, sizeof(line), "search: %s_", w->model.search);
    else if (w->helping || w->looked_at[0] != '\0')
        snprintf(line, sizeof(line), "q end  Esc back  up down scroll");
    else
        snprintf(line, sizeof(line),
                 "%zu/%zu  q end  ? help  Enter details  f filter: %s  s sort: %s  / search%s%s",
                 w->model.shown_count, w->model.count, watch_filter_name(w->model.filter),
                 watch_sort_name(w->model.sort), w->model.search[0] == '\0' ? "" : ": ",
                 w->model.search);
    /* The last column stays free: some terminals scroll when it is written to. */
    put(w, LINES - 1, 0, COLS - 1, TITLE, line);
    move(LINES - 1, COLS - 1);
    refresh();
}

/* -- keys -- */

static void move_by(struct watch *w, long by)
{
    size_t at = watch_place(&w->model, w->chosen, 0), last;

    if (w->looked_at[0] != '\0') {
        w->scroll = by < 0 && w->scroll < (size_t)-by ? 0 : (size_t)((long)w->scroll + by);
        return;
    }
    if (w->model.shown_count == 0)
        return;
    last = w->model.shown_count - 1;
    at = by < 0 && at < (size_t)-by ? 0 : (size_t)((long)at + by);
    snprintf(w->chosen, sizeof(w->chosen), "%s", w->model.shown[at > last ? last : at]->name);
}

static void on_typing(struct watch *w, int key)
{
    size_t n = strlen(w->model.search);

    if (key == '\r' || key == '\n' || key == KEY_ENTER) {
        w->typing = false;
    } else if (key == KEY_ESC) {
        w->typing = false;
        w->model.search[0] = '\0';
    } else if (key == KEY_BACKSPACE || key == 127 || key == 8) {
        if (n > 0)
            w->model.search[n - 1] = '\0';
    } else if (key > ' ' && key < 127 && n + 1 < sizeof(w->model.search)) {
        w->model.search[n] = (char)key;
        w->model.search[n + 1] = '\0';
    }
    watch_arrange(&w->model);
}

static void look_at(struct watch *w)
{
    if (w->looked_at[0] != '\0' || w->model.shown_count == 0)
        return;
    snprintf(w->looked_at, sizeof(w->looked_at), "%s",
             w->model.shown[watch_place(&w->model, w->chosen, 0)]->name);
    w->scroll = 0;
    set(&w->detail, NULL);
    w->next_us = 0;
}

static void back(struct watch *w)
{
    if (!w->helping && w->looked_at[0] == '\0' && w->model.search[0] != '\0') {
        w->model.search[0] = '\0';
        watch_arrange(&w->model);
    }
    w->helping = false;
    w->looked_at[0] = '\0';
}

/* Returns false at the end. */
static bool on_key(struct watch *w, int key)
{
    long page = LINES > 12 ? LINES - 10 : 2;

    if (w->typing) {
        on_typing(w, key);
        return true;
    }
    switch (key) {
    case 'q':
    case 'Q':
        return false;
    case KEY_UP:
    case 'k':
        move_by(w, -1);
        break;
    case KEY_DOWN:
    case 'j':
        move_by(w, 1);
        break;
    case KEY_PPAGE:
        move_by(w, -page);
        break;
    case KEY_NPAGE:
    case ' ':
        move_by(w, page);
        break;
    case KEY_HOME:
    case 'g':
        move_by(w, -1000000);
        break;
    case KEY_END:
    case 'G':
        move_by(w, 1000000);
        break;
    case '/':
        back(w);
        w->typing = true;
        w->model.search[0] = '\0';
        watch_arrange(&w->model);
        break;
    case 'f':
        w->model.filter = (w->model.filter + 1) % WATCH_FILTERS;
        watch_arrange(&w->model);
        break;
    case 's':
        w->model.sort = (w->model.sort + 1) % WATCH_SORTS;
        watch_arrange(&w->model);
        break;
    case '?':
    case 'h':
        w->helping = !w->helping;
        break;
    case '\r':
    case '\n':
    case KEY_ENTER:
        look_at(w);
        break;
    case KEY_ESC:
    case KEY_LEFT:
    case KEY_BACKSPACE:
    case 127:
        back(w);
        break;
    case 'r':
        w->next_us = 0;
        break;
    case 12: /* ^L: somebody else has written to the terminal */
        clearok(curscr, TRUE);
        break;
    default:
        break;
    }
    return true;
}

/* -- the loop -- */

static void loop(struct watch *w)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    bool go_on = true;
    int key;

    while (go_on && !ended) {
        int64_t left_us;

        if (clock_mono_us() >= w->next_us)
            ask(w);
        draw(w);
        left_us = w->next_us - clock_mono_us();
        if (left_us > 1000000)
            left_us = 1000000; /* for what is counted down */
        if (!ended && poll(&in, 1, left_us <= 0 ? 0 : (int)(left_us / 1000) + 1) > 0 &&
            (in.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0)
            return; /* the terminal has gone */
        while (go_on && (key = getch()) != ERR)
            go_on = on_key(w, key);
    }
}

static void on_signals(void)
{
    struct sigaction end = {.sa_handler = on_end};

    sigemptyset(&end.sa_mask);
    sigaction(SIGINT, &end, NULL);
    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGHUP, &end, NULL);
    sigaction(SIGQUIT, &end, NULL);
}

static enum cli_status refuse(const struct cli *cli, const char *why)
{
    fprintf(cli->err.to, "certflipctl: watch: %s\n", why);
    return CLI_USAGE;
}

static void fini(struct watch *w)
{
    for (size_t i = 0; i < w->event_count; i++)
        free(w->events[i]);
    json_decref(w->status);
    json_decref(w->detail);
    watch_fini(&w->model);
}

enum cli_status watch_command(const struct cli *cli)
{
    struct watch w = {.cli = cli, .log_after = -1};
    const char *term = secure_getenv("TERM");
    SCREEN *screen;

    if (!cli->live || isatty(STDIN_FILENO) != 1)
        return refuse(cli,
                      "needs a terminal: certflipctl status, devices and logs write to a file");
    if (watch_init(&w.model) != 0)
        return refuse(cli, "out of memory");
    if (cli->line->arg_count > 0)
        snprintf(w.model.search, sizeof(w.model.search), "%s", cli->line->args[0]);
    w.interval_us =
        (cli->line->interval_s > 0 ? cli->line->interval_s : INTERVAL_S) * INT64_C(1000000);
    client_set_patience(cli->client, PATIENCE_MS);
    setlocale(LC_CTYPE, ""); /* NOLINT(concurrency-mt-unsafe): this program has one thread */
    w.ascii = strcmp(nl_langinfo(CODESET), "UTF-8") != 0; /* NOLINT(concurrency-mt-unsafe) */
    on_signals();
    /* Asked for first: where newterm fails it leaks. */
    screen = term != NULL && tgetent(NULL, term) == 1 ? newterm(NULL, stdout, stdin) : NULL;
    if (screen == NULL) {
        fini(&w);
        return refuse(cli, "does not know this terminal: set TERM, as in TERM=vt100");
    }
    set_escdelay(50);
    choose_styles(cli->out.colour);
    cbreak();
    noecho();
    nonl();
    (void)nodelay(stdscr, TRUE);
    (void)keypad(stdscr, TRUE);
    (void)curs_set(0);
    loop(&w);
    endwin();
    delscreen(screen);
    fini(&w);
    return CLI_DONE;
}

#else

enum cli_status watch_command(const struct cli *cli)
{
    fputs("certflipctl: watch: this certflipctl was built without ncurses\n", cli->err.to);
    return CLI_USAGE;
}

#endif
