#include "fleet/watch.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "cli/table.h"
#include "fleet/overview.h"
#include "fleet/pace.h"
#include "fleet/status.h"

#define WIDTH_MIN   40
#define WIDTH_ELSE  80 /* where the terminal does not say */
#define WIDTH_MAX   200
#define HEIGHT_ELSE 24
#define HEIGHT_MAX  100
#define LINE_BYTES  (WIDTH_MAX * 8)
#define LABEL       12 /* columns in front of a bar */
#define GATEWAY     20
#define BAR_MAX     60
#define BESIDE_MIN  40 /* behind one */
#define BESIDE_MAX  56
#define NOTES       3
#define NOTE_BYTES  300
#define READ_US     1000000 /* between two looks at the ledger, at least */
#define QUIET_S     10      /* between two lines where there is no terminal */

/* -- a line of the picture --------------------------------------------------------------------- */

struct line {
    char text[LINE_BYTES];
    size_t n, columns;
};

struct picture {
    struct line *lines; /* owned */
    size_t count, height;
    size_t width;
    bool colour, unicode;
};

static const char *const colours[] = {
    [TABLE_PLAIN] = "",        [TABLE_HEAD] = "\033[1m", [TABLE_GOOD] = "\033[32m",
    [TABLE_WARN] = "\033[33m", [TABLE_BAD] = "\033[31m",
};

/* Whatever does not fit into the line is left out. */
static void put_bytes(struct line *l, const char *text, size_t n)
{
    if (l->n + n < sizeof(l->text)) {
        memcpy(l->text + l->n, text, n);
        l->n += n;
        l->text[l->n] = '\0';
    }
}

/* Text as it may come from anywhere, cut at the width. */
static void put(struct picture *p, enum table_style style, const char *text)
{
    struct line *l;
    const uint8_t *at = (const uint8_t *)text;
    size_t left = strlen(text);
    bool painted = p->colour && style != TABLE_PLAIN;

    if (p->count == 0 || p->count > p->height)
        return;
    l = &p->lines[p->count - 1];
    if (painted)
        put_bytes(l, colours[style], strlen(colours[style]));
    while (left > 0) {
        size_t step = str_utf8_step(at, left), columns;
        char one[5] = "?";

        /* Controls of either kind are nothing to a terminal of somebody else's. */
        if (step > 0 && *at >= 0x20 && *at != 0x7f && !(step == 2 && *at == 0xc2 && at[1] < 0xa0)) {
            memcpy(one, at, step);
            one[step] = '\0';
        }
        columns = table_width(one);
        if (l->columns + columns > p->width || l->n + 16 > sizeof(l->text))
            break;
        put_bytes(l, one, strlen(one));
        l->columns += columns;
        at += step == 0 ? 1 : step;
        left -= step == 0 ? 1 : step;
    }
    if (painted)
        put_bytes(l, "\033[0m", 4);
}

static void putf(struct picture *p, enum table_style style, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void putf(struct picture *p, enum table_style style, const char *fmt, ...)
{
    char text[1200];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    put(p, style, text);
}

/* A new line.  False when there is no room for more. */
static bool next_line(struct picture *p)
{
    if (p->count >= p->height)
        return false;
    memset(&p->lines[p->count], 0, sizeof(p->lines[0]));
    p->count++;
    return true;
}

/* Blanks up to this column. */
static void pad_to(struct picture *p, size_t column)
{
    while (p->count > 0 && p->lines[p->count - 1].columns < column &&
           p->lines[p->count - 1].columns < p->width)
        put(p, TABLE_PLAIN, " ");
}

static int picture_init(struct picture *p, size_t width, size_t height, bool colour, bool unicode)
{
    memset(p, 0, sizeof(*p));
    p->width = width < WIDTH_MIN ? WIDTH_MIN : width > WIDTH_MAX ? WIDTH_MAX : width;
    p->height = height < 1 ? 1 : height > HEIGHT_MAX ? HEIGHT_MAX : height;
    p->colour = colour;
    p->unicode = unicode;
    p->lines = calloc(p->height, sizeof(p->lines[0]));
    return p->lines == NULL ? -ERR_NOMEM : 0;
}

static void picture_fini(struct picture *p)
{
    free(p->lines);
    memset(p, 0, sizeof(*p));
}

/* -- bars -------------------------------------------------------------------------------------- */

/* Told apart without colours, too. */
/* clang-format off */
static const struct glyph {
    const char *ascii, *unicode;
    enum table_style style;
} glyphs[OVERVIEW_PARTS] = {
    [OVERVIEW_DONE]     = {"#", "\xe2\x96\x88", TABLE_GOOD},
    [OVERVIEW_FLIPPING] = {"=", "\xe2\x96\x93", TABLE_WARN},
    [OVERVIEW_FAILED]   = {"x", "\xc3\x97",     TABLE_BAD},
    [OVERVIEW_RETURNED] = {"<", "\xe2\x80\xb9", TABLE_BAD},
    [OVERVIEW_READY]    = {"-", "\xe2\x96\x91", TABLE_PLAIN},
    [OVERVIEW_WAITING]  = {".", "\xc2\xb7",     TABLE_PLAIN},
    [OVERVIEW_SKIPPED]  = {"/", "/",            TABLE_PLAIN},
};
/* clang-format on */

static void put_bar(struct picture *p, const struct overview_count *c, size_t cells)
{
    size_t n[OVERVIEW_PARTS];
    char text[BAR_MAX * 3 + 1];

    overview_cells(c, cells, n);
    put(p, TABLE_PLAIN, "[");
    for (int i = 0; i < OVERVIEW_PARTS; i++) {
        const char *one = p->unicode ? glyphs[i].unicode : glyphs[i].ascii;
        size_t at = 0;

        for (size_t k = 0; k < n[i] && k < BAR_MAX; k++, at += strlen(one))
            memcpy(text + at, one, strlen(one));
        text[at] = '\0';
        if (at > 0)
            put(p, glyphs[i].style, text);
    }
    put(p, TABLE_PLAIN, "]");
}

/* Half of the width for numbers, within reason. */
static size_t bar_cells(const struct picture *p, size_t label)
{
    size_t beside = p->width / 2 < BESIDE_MIN   ? BESIDE_MIN
                    : p->width / 2 > BESIDE_MAX ? BESIDE_MAX
                                                : p->width / 2;
    size_t room = p->width > label + beside + 8 ? p->width - label - beside : 8;

    return room > BAR_MAX ? BAR_MAX : room;
}

/* "340 of 1000, 12 flipping, 3 failed" */
static void put_counts(struct picture *p, const struct overview_count *c)
{
    static const enum overview_part odd[] = {OVERVIEW_FLIPPING, OVERVIEW_FAILED, OVERVIEW_RETURNED,
                                             OVERVIEW_SKIPPED};

    putf(p, TABLE_PLAIN, " %zu of %zu", overview_part(c, OVERVIEW_DONE), c->devices);
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        size_t n = overview_part(c, odd[i]);

        if (n > 0) {
            put(p, TABLE_PLAIN, ", ");
            putf(p, glyphs[odd[i]].style, "%zu %s", n, overview_part_name(odd[i]));
        }
    }
}

/* -- the picture ------------------------------------------------------------------------------- */

static enum table_style mode_style(enum fleet_mode mode)
{
    return mode == FLEET_HALTED || mode == FLEET_RETURNING || mode == FLEET_ABORTED ? TABLE_BAD
           : mode == FLEET_PAUSED                                                   ? TABLE_WARN
                                                                                    : TABLE_GOOD;
}

static void draw_head(struct picture *p, const struct overview *o, const struct pace *pace,
                      const struct campaign *c)
{
    const struct fleet_campaign *now = &o->campaign;
    int64_t left_s = pace_left_s(pace, o), all_s = pace_all_s(pace, o, c);
    char name[40], span[40];
    unsigned done = overview_done(&o->all);

    (void)next_line(p);
    put(p, TABLE_HEAD, now->name);
    putf(p, TABLE_PLAIN, "  %s, ", fleet_phase_name(now->phase));
    if (now->phase == FLEET_MIGRATE && now->wave >= 0)
        putf(p, TABLE_PLAIN, "wave %s (%d of %d), ",
             overview_wave(c, now->wave, name, sizeof(name)), now->wave + 1, o->waves);
    put(p, mode_style(now->mode), fleet_mode_name(now->mode));
    if (o->owner[0] != '\0' && strcmp(o->owner, OVERVIEW_US) != 0)
        putf(p, TABLE_PLAIN, ", run by %.*s", (int)strcspn(o->owner, ","), o->owner);
    (void)next_line(p);
    put(p, TABLE_PLAIN, "all");
    pad_to(p, LABEL);
    put_bar(p, &o->all, bar_cells(p, LABEL));
    putf(p, TABLE_HEAD, " %3u.%u %%", done / 10, done % 10);
    if (left_s >= 0)
        putf(p, TABLE_PLAIN, ", ETA %s", show_span(left_s, span, sizeof(span)));
    if (all_s >= 0)
        putf(p, TABLE_PLAIN, ", all %s", show_span(all_s, span, sizeof(span)));
}

static void draw_waves(struct picture *p, const struct overview *o, const struct campaign *c)
{
    char name[40];

    for (int i = 0; i < o->waves && i < CAMPAIGN_WAVES_MAX; i++) {
        if (!next_line(p))
            return;
        put(p, i == o->campaign.wave ? TABLE_HEAD : TABLE_PLAIN,
            i == o->campaign.wave ? "> " : "  ");
        put(p, i == o->campaign.wave ? TABLE_HEAD : TABLE_PLAIN,
            overview_wave(c, i, name, sizeof(name)));
        pad_to(p, LABEL);
        put_bar(p, &o->wave[i], bar_cells(p, LABEL));
        put_counts(p, &o->wave[i]);
    }
}

/* Where something goes wrong, then where something goes on; the rest by how far it is. */
static unsigned interest(const struct overview_gateway *g)
{
    unsigned done = overview_done(&g->count);

    if (overview_part(&g->count, OVERVIEW_FAILED) > 0)
        return 4000;
    if (g->row.trouble[0] != '\0')
        return 3000;
    if (overview_part(&g->count, OVERVIEW_FLIPPING) > 0)
        return 2000;
    return done == 1000 ? 0 : done == 0 ? 1 : 1000 + done;
}

struct ranked {
    const struct overview_gateway *is;
};

static int by_interest(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    unsigned p = interest(x->is), q = interest(y->is);

    return p < q ? 1 : p > q ? -1 : strcmp(x->is->row.name, y->is->row.name);
}

static void draw_gateway(struct picture *p, const struct overview_gateway *g)
{
    put(p, TABLE_PLAIN, "  ");
    putf(p, TABLE_PLAIN, "%.*s", GATEWAY - 3, g->row.name);
    pad_to(p, GATEWAY);
    put_bar(p, &g->count, bar_cells(p, GATEWAY + 10) / 2 + 4);
    put_counts(p, &g->count);
    if (g->row.trouble[0] != '\0') {
        put(p, TABLE_PLAIN, "  ");
        put(p, TABLE_WARN, g->row.trouble);
    }
}

/* As many as fit into `room` lines, the most interesting first. */
static void draw_gateways(struct picture *p, const struct overview *o, size_t room)
{
    struct ranked *all;
    size_t shown, done = 0;

    if (o->gateway_count == 0 || room < 2)
        return;
    all = calloc(o->gateway_count, sizeof(all[0]));
    if (all == NULL)
        return;
    for (size_t i = 0; i < o->gateway_count; i++)
        all[i].is = &o->gateways[i];
    qsort(all, o->gateway_count, sizeof(all[0]), by_interest);
    (void)next_line(p);
    putf(p, TABLE_PLAIN, "gateways: %zu, %zu trusted", o->gateway_count, o->trusted);
    if (o->troubled > 0) {
        put(p, TABLE_PLAIN, ", ");
        putf(p, TABLE_WARN, "%zu in trouble", o->troubled);
    }
    shown = o->gateway_count <= room - 1 ? o->gateway_count : room - 2;
    for (size_t i = 0; i < shown && next_line(p); i++)
        draw_gateway(p, all[i].is);
    for (size_t i = shown; i < o->gateway_count; i++)
        done += overview_done(&all[i].is->count) == 1000;
    if (shown < o->gateway_count && next_line(p))
        putf(p, TABLE_PLAIN, "  %zu more, %zu of them done", o->gateway_count - shown, done);
    free(all);
}

static void draw_wait(void *arg, const char *text)
{
    struct picture *p = arg;

    if (!next_line(p))
        return;
    put(p, TABLE_PLAIN, "waits for: ");
    put(p, TABLE_PLAIN, text);
}

struct notes {
    char text[NOTES][NOTE_BYTES];
    size_t count; /* the newest last */
    int64_t seq;
};

/* `below` lines are left for what comes after. */
static void draw(struct picture *p, const struct overview *o, const struct pace *pace,
                 const struct campaign *c, const struct notes *notes)
{
    size_t below = 3 + (notes == NULL ? 0 : notes->count), used;

    draw_head(p, o, pace, c);
    draw_waves(p, o, c);
    used = p->count + below;
    if (p->height > used + 1)
        draw_gateways(p, o, p->height - used);
    overview_waits(o, c, draw_wait, p);
    for (size_t i = 0; notes != NULL && i < notes->count && next_line(p); i++)
        put(p, TABLE_PLAIN, notes->text[i]);
}

void watch_picture(const struct overview *o, const struct pace *pace, const struct campaign *c,
                   const struct show *out, size_t height, bool unicode)
{
    struct picture p;

    if (picture_init(&p, out->width, height, out->colour, unicode) == 0) {
        draw(&p, o, pace, c, NULL);
        for (size_t i = 0; i < p.count; i++)
            fprintf(out->to, "%s\n", p.lines[i].text);
    }
    picture_fini(&p);
}

/* -- on the terminal --------------------------------------------------------------------------- */

struct watch {
    struct show out;
    bool live, unicode, json, with_notes;
    const struct campaign *c; /* borrowed */
    struct overview overview;
    bool has; /* the overview */
    struct pace pace;
    struct picture shown; /* on the terminal; no lines: nothing is */
    struct notes notes;
    struct buf pending; /* lines to be written with the next picture */
    int64_t version, said_version, due_us;
    int64_t drawn_s;       /* of the picture */
    char said[NOTE_BYTES]; /* the latest line, without a terminal */
    int64_t said_s;
};

/* By the locale that programs are told, which the C library has not been asked for. */
static bool speaks_unicode(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *v = secure_getenv(names[i]);

        if (v != NULL && v[0] != '\0')
            return strcasestr(v, "utf-8") != NULL || strcasestr(v, "utf8") != NULL;
    }
    return false;
}

struct watch *watch_new(const struct show *out, bool live, const struct campaign *c)
{
    struct watch *w = calloc(1, sizeof(*w));

    if (w == NULL)
        return NULL;
    w->out = *out;
    w->live = live;
    w->unicode = speaks_unicode();
    w->c = c;
    w->version = -1;
    return w;
}

static int draw_live(struct watch *w);

void watch_free(struct watch *w)
{
    if (w == NULL)
        return;
    if (w->pending.len > 0)
        (void)draw_live(w);
    buf_fini(&w->pending);
    overview_fini(&w->overview);
    picture_fini(&w->shown);
    fflush(w->out.to);
    free(w);
}

static void terminal_size(const struct watch *w, size_t *width, size_t *height)
{
    struct winsize size;

    *width = WIDTH_ELSE;
    *height = HEIGHT_ELSE;
    if (ioctl(fileno(w->out.to), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
        *width = size.ws_col;
        *height = size.ws_row;
    }
    /* A last column that is written makes some terminals begin a line, and a last line scroll. */
    *width -= *width > WIDTH_MIN;
    *height -= *height > 1;
}

/* The cursor stands below the picture.  Go up, and write what differs. */
static void repaint(struct watch *w, const struct picture *p)
{
    const struct picture *old = &w->shown;
    bool same_size = old->width == p->width;

    if (old->count > 0)
        fprintf(w->out.to, "\033[%zuA\r", old->count);
    if (!same_size)
        fputs("\033[J", w->out.to);
    for (size_t i = 0; i < p->count; i++) {
        if (same_size && i < old->count && strcmp(old->lines[i].text, p->lines[i].text) == 0)
            fputs("\n", w->out.to);
        else
            fprintf(w->out.to, "%s\033[K\n", p->lines[i].text);
    }
    if (p->count < old->count)
        fputs("\033[J", w->out.to);
    fflush(w->out.to);
}

static void write_lines(const struct watch *w, const char *text, size_t n);

static int draw_live(struct watch *w)
{
    struct picture p;
    size_t width, height;

    if (w->pending.len > 0) {
        if (w->shown.count > 0)
            fprintf(w->out.to, "\033[%zuA\r\033[J", w->shown.count);
        picture_fini(&w->shown);
        write_lines(w, (const char *)w->pending.p, w->pending.len);
        w->pending.len = 0;
    }
    terminal_size(w, &width, &height);
    if (picture_init(&p, width, height, w->out.colour, w->unicode) != 0)
        return -ERR_NOMEM;
    draw(&p, &w->overview, &w->pace, w->c, &w->notes);
    repaint(w, &p);
    picture_fini(&w->shown);
    w->shown = p;
    return 0;
}

/* Each line made safe for the terminal. */
static void write_lines(const struct watch *w, const char *text, size_t n)
{
    const char *end = text + n;

    while (text < end) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        char *line = strndup(text, (size_t)((stop == NULL ? end : stop) - text));

        table_text(w->out.to, false, TABLE_PLAIN, line == NULL ? "(out of memory)" : line);
        fputc('\n', w->out.to);
        free(line);
        text = stop == NULL ? end : stop + 1;
    }
}

void watch_lines(struct watch *w, const char *text, size_t n)
{
    /* The picture has to be drawn anew below them: not for each, on a slow link. */
    if (w->live && w->has && buf_append(&w->pending, text, n) == 0)
        return;
    write_lines(w, text, n);
    fflush(w->out.to);
}

/* -- elsewhere --------------------------------------------------------------------------------- */

static void summary(const struct watch *w, char *out, size_t n)
{
    const struct overview *o = &w->overview;
    const struct fleet_campaign *now = &o->campaign;
    int64_t left_s = pace_left_s(&w->pace, o);
    char name[40], span[40], wave[80] = "", eta[60] = "";
    size_t done, of;

    pace_progress(o, &done, &of);
    if (now->phase == FLEET_MIGRATE && now->wave >= 0)
        snprintf(wave, sizeof(wave), ", wave %s (%d of %d)",
                 overview_wave(w->c, now->wave, name, sizeof(name)), now->wave + 1, o->waves);
    if (left_s >= 0)
        snprintf(eta, sizeof(eta), ", ETA %s", show_span(left_s, span, sizeof(span)));
    snprintf(out, n, "%s%s, %s: %zu of %zu; all: %zu of %zu done, %zu flipping, %zu failed%s",
             fleet_phase_name(now->phase), wave, fleet_mode_name(now->mode), done, of,
             overview_part(&o->all, OVERVIEW_DONE), o->all.devices,
             overview_part(&o->all, OVERVIEW_FLIPPING), overview_part(&o->all, OVERVIEW_FAILED),
             eta);
}

/* What has changed besides numbers is said at once. */
static void say(struct watch *w, bool turned)
{
    char text[NOTE_BYTES], when[32];

    if (!turned && w->overview.now_s < w->said_s + QUIET_S)
        return;
    summary(w, text, sizeof(text));
    if (strcmp(text, w->said) == 0)
        return;
    snprintf(w->said, sizeof(w->said), "%s", text);
    w->said_s = w->overview.now_s;
    fprintf(w->out.to, "%s  ", clock_text(w->overview.now_s, when, sizeof(when)));
    table_text(w->out.to, w->out.colour, TABLE_PLAIN, text);
    fputc('\n', w->out.to);
    fflush(w->out.to);
}

/* A line each, as often. */
static int say_json(struct watch *w, bool turned)
{
    json_t *json;
    int rc = 0;

    if (!turned && (w->overview.now_s < w->said_s + QUIET_S || w->said_version == w->version))
        return 0;
    json = status_json(&w->overview, w->c);
    if (json == NULL || json_dumpf(json, w->out.to, JSON_COMPACT) != 0)
        rc = -ERR_NOMEM;
    fputc('\n', w->out.to);
    fflush(w->out.to);
    json_decref(json);
    w->said_s = w->overview.now_s;
    w->said_version = w->version;
    return rc;
}

/* -- looking ----------------------------------------------------------------------------------- */

static int take_note(void *arg, const struct ledger_note *n)
{
    struct notes *all = arg;
    char when[32];
    char *to;

    if (all->count == NOTES) {
        memmove(all->text[0], all->text[1], sizeof(all->text[0]) * (NOTES - 1));
        all->count--;
    }
    to = all->text[all->count++];
    clock_text(n->time_s, when, sizeof(when));
    snprintf(to, NOTE_BYTES, "%.8s  %s%s%s%s%s  %s", when + 11, n->what,
             n->gateway[0] == '\0' ? "" : " ", n->gateway, n->device[0] == '\0' ? "" : "/",
             n->device, n->text);
    all->seq = n->seq;
    return 0;
}

static int look(struct watch *w, struct ledger *l, int64_t now_s, struct err *err)
{
    struct overview o;
    int rc = overview_read(l, now_s, NULL, NULL, &o, err);

    if (rc != 0)
        return rc;
    overview_fini(&w->overview);
    w->overview = o;
    w->has = true;
    return !w->with_notes ? 0 : ledger_notes(l, w->notes.seq, take_note, &w->notes, err);
}

int watch_last(struct watch *w, struct ledger *l, int64_t now_s, struct err *err)
{
    w->due_us = 0;
    return watch_show(w, l, now_s, err);
}

int watch_show(struct watch *w, struct ledger *l, int64_t now_s, struct err *err)
{
    int64_t began_us = clock_mono_us(), version;
    struct fleet_campaign before = w->overview.campaign;
    bool turned = !w->has;
    int rc = 0;

    if (began_us < w->due_us)
        return 0;
    version = ledger_version(l);
    /* Who runs it may change without a word in the ledger. */
    if (!w->has || version != w->version || now_s >= w->drawn_s + QUIET_S) {
        rc = look(w, l, now_s, err);
        w->version = version;
        w->drawn_s = now_s;
    }
    if (rc == 0) {
        const struct fleet_campaign *now = &w->overview.campaign;

        w->overview.now_s = now_s;
        pace_add(&w->pace, &w->overview);
        turned = turned || before.phase != now->phase || before.mode != now->mode ||
                 before.wave != now->wave;
        if (w->json)
            rc = say_json(w, turned);
        else if (w->live)
            rc = draw_live(w);
        else
            say(w, turned);
    }
    w->due_us = began_us + READ_US;
    if (clock_mono_us() + (clock_mono_us() - began_us) * 9 > w->due_us)
        w->due_us = clock_mono_us() + (clock_mono_us() - began_us) * 9;
    return rc;
}

/* -- the command ------------------------------------------------------------------------------- */

static bool has_ended(const struct watch *w)
{
    enum fleet_mode mode = w->overview.campaign.mode;

    return mode == FLEET_DONE || mode == FLEET_ABORTED;
}

enum fleet_status watch_command(const struct fleet_command *c, struct err *err)
{
    const struct timespec moment = {.tv_nsec = 200000000};
    struct campaign *campaign;
    struct ledger *ledger;
    struct watch *w;
    int rc = overview_open(c->line->args[0], c->err.to, &campaign, &ledger, err);

    if (rc != 0)
        return overview_status(rc);
    w = watch_new(&c->out, c->live && !c->line->json, campaign);
    if (w != NULL) {
        w->json = c->line->json;
        w->with_notes = true;
    }
    if (w == NULL)
        rc = err_set(err, ERR_NOMEM, "out of memory");
    while (rc == 0 && *c->stop == 0) {
        rc = watch_show(w, ledger, clock_wall_s(), err);
        if (rc != 0 || has_ended(w))
            break;
        (void)nanosleep(&moment, NULL);
    }
    watch_free(w);
    ledger_close(ledger);
    campaign_free(campaign);
    return overview_status(rc);
}
