/* fleet/report_html.c - the report as one page: style, charts as SVG, tables.
 *
 * Nothing on it comes from elsewhere and nothing on it runs, so it can be kept, mailed and printed.
 * Whatever a gateway or a file has said is escaped where it is written: put_text alone writes
 * texts that are not constants of this file.
 */
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/str.h"
#include "cli/show.h"
#include "fleet/report_inside.h"

#define WIDTH  760 /* of a chart, in its own units */
#define NARROW 400 /* of one of two side by side: as large as the others' text then */
#define HEIGHT 250
#define LEFT   56 /* of the axes */
#define RIGHT  16
#define TOP    14
#define BOTTOM 34

#define STRAGGLERS_SHOWN 500

/* -- text -------------------------------------------------------------------------------------- */

/* As the contents of an element or of a quoted attribute. */
static void put_text(FILE *to, const char *text)
{
    const uint8_t *at = (const uint8_t *)text;
    size_t left = strlen(text);

    while (left > 0) {
        size_t step = str_utf8_step(at, left);

        if (step == 0 || (*at < 0x20 && *at != '\n' && *at != '\t') || *at == 0x7f)
            fputs("\xef\xbf\xbd", to);
        else if (*at == '<')
            fputs("&lt;", to);
        else if (*at == '>')
            fputs("&gt;", to);
        else if (*at == '&')
            fputs("&amp;", to);
        else if (*at == '"')
            fputs("&quot;", to);
        else if (*at == '\'')
            fputs("&#39;", to);
        else
            fwrite(at, 1, step, to);
        at += step == 0 ? 1 : step;
        left -= step == 0 ? 1 : step;
    }
}

/* "12,345" */
static const char *grouped(size_t n, char *out, size_t size)
{
    char digits[24];
    int len = snprintf(digits, sizeof(digits), "%zu", n);
    size_t at = 0;

    for (int i = 0; i < len && at + 2 < size; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

static void put_number(FILE *to, size_t n)
{
    char text[40];

    fputs(grouped(n, text, sizeof(text)), to);
}

static void put_time(FILE *to, int64_t at_s)
{
    char text[32];

    if (at_s == 0)
        fputs("&ndash;", to);
    else
        fprintf(to, "<time datetime=\"%s\">", clock_iso(at_s, text, sizeof(text)));
    if (at_s != 0)
        fprintf(to, "%s</time>", clock_text(at_s, text, sizeof(text)));
}

/* -- style ------------------------------------------------------------------------------------- */

/* clang-format off */
static const char *const style[] = {
    "<style>\n"
    ":root{color-scheme:light dark;--page:#f5f6f8;--card:#fff;--ink:#1b2430;--dim:#5c6877;--line:#dfe3e8;"
    "--done:#1f8a63;--flipping:#d99a00;--failed:#c9364b;--returned:#8b5cc4;--ready:#6f9fd0;"
    "--waiting:#c3cad3;--skipped:#98a2ae;--area:#1f8a6326;--before:#98a2ae}\n"
    "@media(prefers-color-scheme:dark){:root{--page:#12161c;--card:#1b2129;--ink:#e6eaf0;--dim:#9aa6b4;"
    "--line:#2e3743;--done:#3fb98a;--flipping:#efb73e;--failed:#f0647a;--returned:#b08be6;"
    "--ready:#6d9fd6;--waiting:#46505d;--skipped:#6c7785;--area:#3fb98a30;--before:#6c7785}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,'Segoe UI',"
    "Roboto,'Helvetica Neue',Arial,sans-serif}\n"
    "main{max-width:1080px;margin:0 auto;padding:32px 24px 64px}\n"
    "header{display:flex;flex-wrap:wrap;align-items:baseline;gap:4px 16px;margin-bottom:4px}\n"
    "h1{font-size:28px;line-height:1.2;margin:0;letter-spacing:-.01em}\n"
    "h2{font-size:17px;margin:0 0 12px}\n"
    ".sub{color:var(--dim);margin:0 0 20px}\n",
    ".badge{font-size:13px;font-weight:600;padding:3px 11px;border-radius:99px;color:var(--card);"
    "background:var(--done)}.badge.paused{background:var(--flipping)}"
    ".badge.halted,.badge.aborted,.badge.returning{background:var(--failed)}\n"
    ".card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:20px 22px;"
    "margin:0 0 18px}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;"
    "margin:0 0 18px}\n"
    ".tile{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px 16px}\n"
    ".tile b{display:block;font-size:23px;line-height:1.35;white-space:nowrap;font-variant-numeric:tabular-nums;"
    "font-weight:650}.tile span{color:var(--dim);font-size:13px}\n"
    ".tile.bad b{color:var(--failed)}.tile.good b{color:var(--done)}\n"
    ".two{display:grid;grid-template-columns:1fr 1fr;gap:18px}.two>.card{margin:0}"
    ".two{margin:0 0 18px}@media(max-width:800px){.two{grid-template-columns:1fr}}\n",
    "svg{display:block;width:100%;height:auto;overflow:visible}.two .card{min-width:0}\n"
    "svg text{fill:var(--dim);font-size:12px;font-family:inherit}svg .strong{fill:var(--ink)}\n"
    "svg .grid{stroke:var(--line);stroke-width:1}svg .axis{stroke:var(--dim);stroke-width:1}\n"
    ".done{fill:var(--done)}.flipping{fill:var(--flipping)}.failed{fill:var(--failed)}"
    ".returned{fill:var(--returned)}.ready{fill:var(--ready)}.waiting{fill:var(--waiting)}"
    ".skipped{fill:var(--skipped)}.before{fill:var(--before)}\n"
    ".curve{fill:none;stroke:var(--done);stroke-width:2.5;stroke-linejoin:round}"
    ".under{fill:var(--area)}.lost{fill:none;stroke:var(--failed);stroke-width:2;"
    "stroke-dasharray:5 3}.mark{stroke:var(--dim);stroke-width:1;stroke-dasharray:2 3}"
    ".mark.bad{stroke:var(--failed)}\n"
    ".legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin:0 0 12px;color:var(--dim);font-size:13px}"
    ".legend i{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:6px}\n",
    "table{border-collapse:collapse;width:100%;font-size:14px}\n"
    "th{text-align:left;color:var(--dim);font-weight:600;font-size:12.5px;padding:6px 12px 6px 0;"
    "border-bottom:1px solid var(--line);white-space:nowrap}\n"
    "td{padding:7px 12px 7px 0;border-bottom:1px solid var(--line);vertical-align:top;"
    "overflow-wrap:anywhere}tr:last-child td{border-bottom:0}\n"
    "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
    "td.bar{width:34%;min-width:120px;vertical-align:middle}td.bar svg{height:14px}\n"
    "td.w{white-space:nowrap}.scroll{overflow-x:auto}.todo{color:var(--dim)}.red{color:var(--failed)}\n"
    "code{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}\n"
    "ul{margin:0;padding-left:20px}details>summary{cursor:pointer;color:var(--dim);margin-bottom:8px}\n"
    "footer{color:var(--dim);font-size:13px;margin-top:24px}\n"
    "@media print{:root{color-scheme:light;--page:#fff;--card:#fff;--ink:#000;--dim:#444;--line:#bbb;"
    "--done:#1f8a63;--flipping:#d99a00;--failed:#c9364b;--returned:#8b5cc4;--ready:#6f9fd0;"
    "--waiting:#c3cad3;--skipped:#98a2ae;--area:#1f8a6326;--before:#98a2ae}"
    "body{font-size:11pt;-webkit-print-color-adjust:exact;print-color-adjust:exact}"
    "main{max-width:none;padding:0}.card,.tile{break-inside:avoid}.card.long{break-inside:auto}"
    "tr{break-inside:avoid}details>*{display:revert}}\n"
    "</style>\n",
};
/* clang-format on */

/* -- axes -------------------------------------------------------------------------------------- */

/* 1, 2 or 5 times a power of ten, so that `most` takes five steps or fewer. */
static size_t nice_step(size_t most)
{
    static const size_t of_ten[] = {1, 2, 5};

    for (size_t power = 1; power < SIZE_MAX / 100; power *= 10)
        for (size_t i = 0; i < 3; i++)
            if (of_ten[i] * power * 5 >= most)
                return of_ten[i] * power;
    return most;
}

struct axes {
    int width, inner; /* of all, and between its ends */
    size_t top;       /* value at the upper end */
};

static double y_of(const struct axes *a, size_t v)
{
    return TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - (double)v / (double)a->top);
}

/* The frame of a chart: horizontal lines with their numbers. */
static struct axes begin_chart(FILE *to, int width, size_t most, const char *title)
{
    struct axes a = {width, width - LEFT - RIGHT, 0};
    size_t step = nice_step(most == 0 ? 1 : most);

    while (a.top < most || a.top == 0)
        a.top += step;
    fprintf(to, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", width, HEIGHT);
    put_text(to, title);
    fputs("\">\n", to);
    for (size_t v = 0; v <= a.top; v += step) {
        char text[40];
        double y = y_of(&a, v);

        fprintf(to,
                "<line class=\"%s\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
                "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
                v == 0 ? "axis" : "grid", LEFT, width - RIGHT, y, y, LEFT - 8, y + 4,
                grouped(v, text, sizeof(text)));
    }
    return a;
}

/* Round times. */
static int64_t time_step(int64_t span_s, int most)
{
    static const int64_t steps[] = {
        1,    2,     5,     10,    30,    60,     120,    300,     600,     900,     1800,    3600,
        7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000, 7776000, 15552000};

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
        if (span_s / steps[i] <= most)
            return steps[i];
    return 31536000;
}

static double x_of_time(const struct axes *a, int64_t at_s, int64_t from_s, int64_t until_s)
{
    return LEFT + (double)a->inner * (double)(at_s - from_s) / (double)(until_s - from_s);
}

static void put_time_axis(FILE *to, const struct axes *a, int64_t from_s, int64_t until_s)
{
    int64_t step = time_step(until_s - from_s, a->width / 90);

    for (int64_t at_s = (from_s / step + (from_s % step != 0)) * step; at_s <= until_s;
         at_s += step) {
        double x = x_of_time(a, at_s, from_s, until_s);
        time_t at = (time_t)at_s;
        char text[40];
        struct tm tm;

        if (gmtime_r(&at, &tm) == NULL)
            return;
        /* A new day is named where hours are told. */
        if (step >= 86400)
            (void)strftime(text, sizeof(text), "%Y-%m-%d", &tm);
        else if (tm.tm_hour == 0 && tm.tm_min == 0 && tm.tm_sec == 0)
            (void)strftime(text, sizeof(text), "%m-%d", &tm);
        else if (step < 60)
            (void)strftime(text, sizeof(text), "%H:%M:%S", &tm);
        else
            (void)strftime(text, sizeof(text), "%H:%M", &tm);
        fprintf(to,
                "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>"
                "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
                x, x, HEIGHT - BOTTOM, HEIGHT - BOTTOM + 5, x, HEIGHT - BOTTOM + 20, text);
    }
}

static void put_legend(FILE *to, const char *variable, const char *words)
{
    fprintf(to, "<span><i style=\"background:var(--%s)\"></i>%s</span>", variable, words);
}

/* -- progress over time -------------------------------------------------------------------------
 */

/* A step at each place where there is one. */
static void put_curve(FILE *to, const struct axes *a, const struct report_times *t, int64_t from_s,
                      int64_t until_s)
{
    size_t last = SIZE_MAX;

    for (int x = 0; x <= a->inner; x++) {
        int64_t at_s = from_s + (until_s - from_s) * x / a->inner;
        size_t n = report_up_to(t, at_s);

        if (n != last && x > 0)
            fprintf(to, " %d,%.1f", LEFT + x, y_of(a, last));
        if (n != last || x == a->inner)
            fprintf(to, "%s%d,%.1f", x == 0 ? "" : " ", LEFT + x, y_of(a, n));
        last = n;
    }
}

static bool is_mark(const struct report_note *n, bool *bad)
{
    *bad = strcmp(n->what, "halted") == 0;
    return *bad || strcmp(n->what, "wave-begun") == 0;
}

static void put_marks(FILE *to, const struct axes *a, const struct report *r, int64_t from_s,
                      int64_t until_s)
{
    bool bad;

    for (size_t i = 0; i < r->note_count; i++) {
        const struct report_note *n = &r->notes[i];
        double x = x_of_time(a, n->time_s, from_s, until_s);

        if (!is_mark(n, &bad) || n->time_s < from_s || n->time_s > until_s)
            continue;
        fprintf(to, "<line class=\"mark%s\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"><title>",
                bad ? " bad" : "", x, x, TOP, HEIGHT - BOTTOM);
        put_text(to, n->what);
        fputs(": ", to);
        put_text(to, n->text);
        fputs("</title></line>\n", to);
    }
}

static void put_progress(FILE *to, const struct report *r)
{
    int64_t from_s, until_s;
    struct axes a;
    double bottom;

    report_span(r, &from_s, &until_s);
    fputs("<section class=\"card\"><h2>Progress</h2><p class=\"legend\">", to);
    put_legend(to, "done", "devices on their new certificate");
    if (r->failed.count > 0)
        put_legend(to, "failed", "failed or brought back, of those that still are");
    fputs("<span>dotted: a wave begins, or a halt &middot; times are UTC</span></p>", to);
    a = begin_chart(to, WIDTH, r->overview.all.devices,
                    "Devices on their new certificate over time");
    bottom = y_of(&a, 0);
    put_marks(to, &a, r, from_s, until_s);
    fprintf(to, "<polygon class=\"under\" points=\"%d,%.1f ", LEFT, bottom);
    put_curve(to, &a, &r->migrated, from_s, until_s);
    fprintf(to, " %d,%.1f\"/>\n<polyline class=\"curve\" points=\"", WIDTH - RIGHT, bottom);
    put_curve(to, &a, &r->migrated, from_s, until_s);
    fputs("\"/>\n", to);
    if (r->failed.count > 0) {
        fputs("<polyline class=\"lost\" points=\"", to);
        put_curve(to, &a, &r->failed, from_s, until_s);
        fputs("\"/>\n", to);
    }
    put_time_axis(to, &a, from_s, until_s);
    fputs("</svg></section>\n", to);
}

/* -- bars of parts ----------------------------------------------------------------------------- */

/* The parts of `c` side by side, with what they are when pointed at. */
static void put_parts(FILE *to, const struct overview_count *c, double x, double y, double width,
                      double height)
{
    size_t before = 0;

    for (int i = 0; i < OVERVIEW_PARTS && c->devices > 0; i++) {
        const char *name = overview_part_name((enum overview_part)i);
        size_t n = overview_part(c, (enum overview_part)i);
        double from = width * (double)before / (double)c->devices;
        double wide = width * (double)n / (double)c->devices;

        before += n;
        if (n == 0)
            continue;
        fprintf(to,
                "<rect class=\"%s\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\">"
                "<title>%zu %s</title></rect>",
                name, x + from, y, wide < 1 ? 1 : wide, height, n, name);
    }
}

static void put_part_legend(FILE *to, const struct overview_count *c)
{
    fputs("<p class=\"legend\">", to);
    for (int i = 0; i < OVERVIEW_PARTS; i++) {
        const char *name = overview_part_name((enum overview_part)i);
        size_t n = overview_part(c, (enum overview_part)i);
        char text[80], number[40];

        if (n == 0)
            continue;
        snprintf(text, sizeof(text), "%s %s", grouped(n, number, sizeof(number)), name);
        put_legend(to, name, text);
    }
    fputs("</p>", to);
}

static void put_waves(FILE *to, const struct report *r)
{
    const struct overview *o = &r->overview;
    int rows = o->waves < CAMPAIGN_WAVES_MAX ? o->waves : CAMPAIGN_WAVES_MAX;

    fputs("<section class=\"card\"><h2>Waves</h2>", to);
    put_part_legend(to, &o->all);
    fprintf(to, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"Devices by wave\">\n", WIDTH,
            rows * 34 + 2);
    for (int i = 0; i < rows; i++) {
        const struct overview_count *c = &o->wave[i];
        unsigned done = overview_done(c);
        char name[40], number[40];

        fprintf(to, "<text class=\"strong\" x=\"0\" y=\"%d\">%s</text>", i * 34 + 20,
                overview_wave(r->campaign, i, name, sizeof(name)));
        put_parts(to, c, 62, i * 34 + 5, WIDTH - 62 - 150, 22);
        if (c->devices > 0)
            fprintf(to, "<text x=\"%d\" y=\"%d\">%u.%u %% of %s</text>\n", WIDTH - 140, i * 34 + 20,
                    done / 10, done % 10, grouped(c->devices, number, sizeof(number)));
        else
            fprintf(to, "<text x=\"62\" y=\"%d\">no devices</text>\n", i * 34 + 20);
    }
    fputs("</svg></section>\n", to);
}

/* -- failures ---------------------------------------------------------------------------------- */

static void put_failures(FILE *to, const struct report *r)
{
    const struct overview *o = &r->overview;

    fputs("<section class=\"card\"><h2>Failures by class</h2>", to);
    if (o->failure_count == 0)
        fputs("<p class=\"sub\">None: no device is in failure.</p>", to);
    else
        fputs("<div class=\"scroll\"><table><tr><th>Class</th><th class=\"n\">Devices</th><th></th>"
              "<th>Such as</th></tr>\n",
              to);
    for (size_t i = 0; i < o->failure_count; i++) {
        const struct overview_failure *f = &o->failures[i];

        fputs("<tr><td class=\"w red\"><b>", to);
        put_text(to, f->name);
        fputs("</b></td><td class=\"n\">", to);
        put_number(to, f->count);
        fprintf(
            to,
            "</td><td class=\"bar\"><svg viewBox=\"0 0 100 14\" preserveAspectRatio=\"none\">"
            "<rect class=\"failed\" y=\"2\" height=\"10\" width=\"%.2f\"/></svg></td><td><code>",
            100.0 * (double)f->count / (double)o->failures[0].count);
        put_text(to, f->device);
        fputs("</code>: ", to);
        put_text(to, f->reason);
        if (f->remedy[0] != '\0') {
            fputs(" <span class=\"todo\">&rarr; ", to);
            put_text(to, f->remedy);
            fputs("</span>", to);
        }
        fputs("</td></tr>\n", to);
    }
    fputs(o->failure_count == 0 ? "</section>\n" : "</table></div></section>\n", to);
}

/* -- histograms -------------------------------------------------------------------------------- */

#define BINS 12

/* How many of `t` lie in (from, until]. */
static size_t between(const struct report_times *t, int64_t from, int64_t until)
{
    return report_up_to(t, until) - report_up_to(t, from);
}

static void put_durations(FILE *to, const struct report *r)
{
    const struct report_times *t = &r->took;
    int64_t longest = report_quantile(t, 100), p99 = report_quantile(t, 99), wide;
    size_t count[BINS + 1], most = 0;
    char text[40], other[40], third[40];
    struct axes a;

    fputs("<section class=\"card\"><h2>How long a flip took</h2>", to);
    if (t->count == 0) {
        fputs("<p class=\"sub\">No device has flipped yet.</p></section>\n", to);
        return;
    }
    fprintf(to,
            "<p class=\"legend\"><span>median %s &middot; 95 %% within %s &middot; longest %s"
            "</span></p>",
            show_span(report_quantile(t, 50), text, sizeof(text)),
            show_span(report_quantile(t, 95), other, sizeof(other)),
            show_span(longest, third, sizeof(third)));
    /* The last bin holds what is beyond 99 %, so that one straggler does not flatten the rest. */
    wide = p99 / BINS + 1;
    for (int i = 0; i <= BINS; i++) {
        count[i] = i < BINS ? between(t, wide * i - (i == 0), wide * (i + 1))
                            : t->count - report_up_to(t, wide * BINS);
        most = count[i] > most ? count[i] : most;
    }
    a = begin_chart(to, NARROW, most, "Flips by how long they took");
    for (int i = 0; i <= BINS; i++) {
        double w = (double)a.inner / (BINS + 1), x = LEFT + w * i, y = y_of(&a, count[i]);

        if (count[i] > 0)
            fprintf(to,
                    "<rect class=\"done\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
                    "rx=\"2\"><title>%zu</title></rect>",
                    x + 2, y, w - 4, y_of(&a, 0) - y, count[i]);
        if (i < BINS && i % 4 == 0)
            fprintf(to, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", x,
                    HEIGHT - BOTTOM + 20, show_span(wide * i, text, sizeof(text)));
        else if (i == BINS)
            fprintf(to, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">&gt; %s</text>\n",
                    x + w / 2, HEIGHT - BOTTOM + 20, show_span(wide * i, text, sizeof(text)));
    }
    fputs("</svg></section>\n", to);
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void put_expiry(FILE *to, const struct report *r)
{
    const struct report_times *old = &r->old_until, *now = &r->in_use_until;
    int64_t from_s = r->overview.now_s, until_s = 0, wide;
    size_t most = 1;
    struct axes a;

    fputs("<section class=\"card\"><h2>When the certificates in use end</h2>", to);
    if (now->count == 0) {
        fputs("<p class=\"sub\">Not known yet.</p></section>\n", to);
        return;
    }
    if (old->count > 0)
        from_s = least(from_s, old->at[0]);
    from_s = least(from_s, now->at[0]);
    until_s = now->at[now->count - 1];
    if (old->count > 0 && old->at[old->count - 1] > until_s)
        until_s = old->at[old->count - 1];
    wide = (until_s - from_s) / ((int64_t)2 * BINS) + 1;
    fputs("<p class=\"legend\">", to);
    if (old->count > 0)
        put_legend(to, "before", "before the campaign");
    put_legend(to, "done", "now");
    fputs("</p>", to);
    for (int i = 0; i < 2 * BINS; i++) {
        size_t b = between(old, from_s + wide * i - (i == 0), from_s + wide * (i + 1));
        size_t n = between(now, from_s + wide * i - (i == 0), from_s + wide * (i + 1));

        most = b > most ? b : most;
        most = n > most ? n : most;
    }
    a = begin_chart(to, NARROW, most, "Certificates in use by the day on which they end");
    for (int i = 0; i < 2 * BINS; i++) {
        size_t b = between(old, from_s + wide * i - (i == 0), from_s + wide * (i + 1));
        size_t n = between(now, from_s + wide * i - (i == 0), from_s + wide * (i + 1));
        double w = (double)a.inner / (2 * BINS), x = LEFT + w * i;

        if (b > 0)
            fprintf(to,
                    "<rect class=\"before\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\">"
                    "<title>%zu before</title></rect>",
                    x + 1, y_of(&a, b), w / 2 - 1, y_of(&a, 0) - y_of(&a, b), b);
        if (n > 0)
            fprintf(to,
                    "<rect class=\"done\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\">"
                    "<title>%zu now</title></rect>",
                    x + w / 2, y_of(&a, n), w / 2 - 1, y_of(&a, 0) - y_of(&a, n), n);
    }
    put_time_axis(to, &a, from_s, from_s + wide * 2 * BINS);
    fputs("</svg></section>\n", to);
}

/* -- gateways ---------------------------------------------------------------------------------- */

static unsigned badness(const struct overview_gateway *g)
{
    if (overview_part(&g->count, OVERVIEW_FAILED) > 0)
        return 3;
    if (g->row.trouble[0] != '\0' || overview_part(&g->count, OVERVIEW_RETURNED) > 0)
        return 2;
    return overview_done(&g->count) < 1000 ? 1 : 0;
}

struct ranked {
    const struct overview_gateway *is;
};

static int worst_first(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    unsigned p = badness(x->is), q = badness(y->is);

    return p < q ? 1 : p > q ? -1 : strcmp(x->is->row.name, y->is->row.name);
}

static void put_gateway(FILE *to, const struct overview_gateway *g)
{
    fputs("<tr><td class=\"w\">", to);
    put_text(to, g->row.name);
    fprintf(to, "</td><td class=\"w\">%s</td><td class=\"n\">",
            fleet_gateway_step_name(g->row.step));
    put_number(to, overview_part(&g->count, OVERVIEW_DONE));
    fputs(" / ", to);
    put_number(to, g->count.devices);
    fputs("</td><td class=\"bar\"><svg viewBox=\"0 0 100 14\" preserveAspectRatio=\"none\">", to);
    put_parts(to, &g->count, 0, 2, 100, 10);
    fputs("</svg></td><td>", to);
    put_text(to, g->row.trouble);
    fputs("</td></tr>\n", to);
}

static int put_gateways(FILE *to, const struct report *r)
{
    const struct overview *o = &r->overview;
    struct ranked *all = calloc(o->gateway_count + 1, sizeof(all[0]));

    if (all == NULL)
        return -ERR_NOMEM;
    for (size_t i = 0; i < o->gateway_count; i++)
        all[i].is = &o->gateways[i];
    qsort(all, o->gateway_count, sizeof(all[0]), worst_first);
    fprintf(to,
            "<section class=\"card long\"><h2>Gateways</h2><p class=\"legend\"><span>%zu "
            "gateways, the new anchors in force at %zu, old ones archived at %zu; those with "
            "trouble first</span></p><div class=\"scroll\"><table><tr><th>Gateway</th><th>Step</th>"
            "<th class=\"n\">Done</th><th></th><th>Trouble</th></tr>\n",
            o->gateway_count, o->trusted, o->retired);
    for (size_t i = 0; i < o->gateway_count; i++)
        put_gateway(to, all[i].is);
    fputs("</table></div></section>\n", to);
    free(all);
    return 0;
}

/* -- stragglers and diary -----------------------------------------------------------------------
 */

static void put_member(FILE *to, const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));

    put_text(to, text == NULL ? "" : text);
}

static void put_stragglers(FILE *to, const struct report *r)
{
    size_t n = json_array_size(r->stragglers);
    char name[40];

    fputs("<section class=\"card long\"><h2>Not through</h2>", to);
    if (n == 0) {
        fputs("<p class=\"sub\">Everybody whose turn it was is through.</p></section>\n", to);
        return;
    }
    fputs("<div class=\"scroll\"><table><tr><th>Device</th><th>Wave</th><th>Step</th><th>Why, and "
          "what to do</th></tr>\n",
          to);
    for (size_t i = 0; i < n && i < STRAGGLERS_SHOWN; i++) {
        const json_t *row = json_array_get(r->stragglers, i);
        int wave = (int)json_integer_value(json_object_get(row, "wave"));

        fputs("<tr><td class=\"w\"><code>", to);
        put_member(to, row, "gateway");
        fputs("/", to);
        put_member(to, row, "device");
        fprintf(to, "</code></td><td class=\"w\">%s</td><td class=\"w\">",
                overview_wave(r->campaign, wave, name, sizeof(name)));
        put_member(to, row, "step");
        fputs("</td><td>", to);
        put_member(to, row, "why");
        fputs(" <span class=\"todo\">&rarr; ", to);
        put_member(to, row, "remedy");
        fputs("</span></td></tr>\n", to);
    }
    fputs("</table></div>", to);
    if (n > STRAGGLERS_SHOWN)
        fprintf(to, "<p class=\"sub\">%zu more: <code>certflip-fleet stragglers</code></p>",
                n - STRAGGLERS_SHOWN);
    fputs("</section>\n", to);
}

static void put_diary(FILE *to, const struct report *r)
{
    fputs("<section class=\"card long\"><h2>Diary</h2><details open><summary>what came to pass, "
          "single devices left out</summary><div class=\"scroll\"><table>\n",
          to);
    for (size_t i = 0; i < r->note_count; i++) {
        const struct report_note *n = &r->notes[i];

        fputs("<tr><td class=\"w\">", to);
        put_time(to, n->time_s);
        fputs("</td><td class=\"w\"><b>", to);
        put_text(to, n->what);
        fputs("</b></td><td>", to);
        put_text(to, n->gateway);
        fputs("</td><td>", to);
        put_text(to, n->text);
        fputs("</td></tr>\n", to);
    }
    fputs("</table></div></details></section>\n", to);
}

/* -- the head ---------------------------------------------------------------------------------- */

static void put_head(FILE *to, const struct report *r)
{
    const struct fleet_campaign *c = &r->overview.campaign;

    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
          "'unsafe-inline'\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<title>",
          to);
    put_text(to, c->name);
    fputs(" &ndash; certificate campaign</title>\n", to);
    for (size_t i = 0; i < sizeof(style) / sizeof(style[0]); i++)
        fputs(style[i], to);
    fputs("</head><body><main>\n<header><h1>", to);
    put_text(to, c->name);
    fprintf(to, "</h1><span class=\"badge %s\">%s</span></header>\n<p class=\"sub\">",
            fleet_mode_name(c->mode), fleet_mode_name(c->mode));
    fprintf(to, "%s: %s &middot; begun ", fleet_phase_name(c->phase), fleet_phase_words(c->phase));
    put_time(to, c->started_s);
    fputs(" by ", to);
    put_text(to, c->by);
    if (c->ended_s != 0) {
        fputs(" &middot; ended ", to);
        put_time(to, c->ended_s);
    }
    if (c->reason[0] != '\0') {
        fputs("<br>", to);
        put_text(to, c->reason);
    }
    fputs("</p>\n", to);
}

static void put_tile(FILE *to, const char *kind, const char *value, const char *words)
{
    fprintf(to, "<div class=\"tile %s\"><b>%s</b><span>%s</span></div>\n", kind, value, words);
}

static void put_tiles(FILE *to, const struct report *r)
{
    const struct overview *o = &r->overview;
    size_t failed = overview_part(&o->all, OVERVIEW_FAILED);
    size_t returned = overview_part(&o->all, OVERVIEW_RETURNED);
    int64_t from_s, until_s;
    unsigned done = overview_done(&o->all);
    char text[60], words[80], other[40];

    report_span(r, &from_s, &until_s);
    fputs("<div class=\"tiles\">\n", to);
    snprintf(text, sizeof(text), "%u.%u %%", done / 10, done % 10);
    snprintf(words, sizeof(words), "%s devices done",
             grouped(overview_part(&o->all, OVERVIEW_DONE), other, sizeof(other)));
    put_tile(to, done == 1000 ? "good" : "", text, words);
    snprintf(words, sizeof(words), "devices at %s gateways",
             grouped(o->gateway_count, other, sizeof(other)));
    put_tile(to, "", grouped(o->all.devices, text, sizeof(text)), words);
    put_tile(to, failed > 0 ? "bad" : "", grouped(failed, text, sizeof(text)), "failed");
    snprintf(words, sizeof(words), "brought back, %zu skipped",
             overview_part(&o->all, OVERVIEW_SKIPPED));
    put_tile(to, returned > 0 ? "bad" : "", grouped(returned, text, sizeof(text)), words);
    put_tile(to, "", show_span(until_s - from_s, text, sizeof(text)),
             o->campaign.ended_s != 0 ? "from begin to end" : "so far");
    put_tile(to, "",
             r->took.count == 0 ? "&ndash;"
                                : show_span(report_quantile(&r->took, 50), text, sizeof(text)),
             "median flip");
    fputs("</div>\n", to);
}

static void put_item(void *arg, const char *text)
{
    FILE *to = arg;

    fputs("<li>", to);
    put_text(to, text);
    fputs("</li>\n", to);
}

int report_html(const struct report *r, FILE *to, struct err *err)
{
    const struct overview *o = &r->overview;

    put_head(to, r);
    put_tiles(to, r);
    if (o->campaign.mode != FLEET_DONE) {
        fputs("<section class=\"card\"><h2>What it waits for</h2><ul>\n", to);
        overview_waits(o, r->campaign, put_item, to);
        fputs("</ul></section>\n", to);
    }
    put_progress(to, r);
    put_waves(to, r);
    put_failures(to, r);
    fputs("<div class=\"two\">\n", to);
    put_durations(to, r);
    put_expiry(to, r);
    fputs("</div>\n", to);
    if (put_gateways(to, r) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    put_stragglers(to, r);
    put_diary(to, r);
    fputs("<footer>certflip-fleet " PACKAGE_VERSION " &middot; as of ", to);
    put_time(to, o->now_s);
    fputs(" &middot; plan <code>", to);
    put_text(to, o->campaign.plan);
    fputs("</code></footer>\n</main></body></html>\n", to);
    return ferror(to) == 0 ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}
