/* fleet/report.c - reading what is reported, the JSON of it, and the files; the page is in
 * report_html.c. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/durable.h"
#include "base/str.h"
#include "fleet/report_inside.h"
#include "fleet/status.h"
#include "fleet/stragglers.h"

/* -- reading ----------------------------------------------------------------------------------- */

static int no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory");
}

static int times_add(struct report_times *t, int64_t v)
{
    if (t->count == t->cap) {
        size_t cap = t->cap == 0 ? 256 : t->cap * 2;
        int64_t *grown = reallocarray(t->at, cap, sizeof(*grown));

        if (grown == NULL)
            return -ERR_NOMEM;
        t->at = grown;
        t->cap = cap;
    }
    t->at[t->count++] = v;
    return 0;
}

static int smaller_first(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static void times_sort(struct report_times *t)
{
    if (t->count > 1)
        qsort(t->at, t->count, sizeof(t->at[0]), smaller_first);
}

struct reading {
    struct report *r;
    struct err *err;
};

static int take_device(void *arg, const struct fleet_device *d)
{
    struct reading *reading = arg;
    struct report *r = reading->r;
    enum overview_part part = overview_part_of(d->step);
    int rc = 0;

    if (part == OVERVIEW_DONE && d->migrated_s > 0)
        rc = times_add(&r->migrated, d->migrated_s);
    if (rc == 0 && part == OVERVIEW_DONE && d->migrated_s > 0 && d->flip_s > 0 &&
        d->migrated_s >= d->flip_s)
        rc = times_add(&r->took, d->migrated_s - d->flip_s);
    if (rc == 0 && (part == OVERVIEW_FAILED || part == OVERVIEW_RETURNED))
        rc = times_add(&r->failed, d->changed_s);
    if (rc == 0 && d->old_until_s > 0)
        rc = times_add(&r->old_until, d->old_until_s);
    /* What is in use: who has not migrated has the old one still. */
    if (rc == 0 && part == OVERVIEW_DONE && d->new_until_s > 0)
        rc = times_add(&r->in_use_until, d->new_until_s);
    else if (rc == 0 && d->old_until_s > 0)
        rc = times_add(&r->in_use_until, d->old_until_s);
    if (rc == 0 && d->attempts > 1)
        r->again++;
    return rc == 0 ? 0 : no_memory(reading->err);
}

static int take_note(void *arg, const struct ledger_note *n)
{
    struct reading *reading = arg;
    struct report *r = reading->r;
    struct report_note *grown, *note;

    r->note_count_all++;
    /* What came to pass to single devices is in their rows. */
    if (n->device[0] != '\0' || r->note_count == REPORT_NOTES)
        return 0;
    grown = reallocarray(r->notes, r->note_count + 1, sizeof(*grown));
    if (grown == NULL)
        return no_memory(reading->err);
    r->notes = grown;
    note = &r->notes[r->note_count++];
    note->time_s = n->time_s;
    snprintf(note->what, sizeof(note->what), "%s", n->what);
    snprintf(note->gateway, sizeof(note->gateway), "%s", n->gateway);
    note->text = strdup(n->text);
    if (note->text == NULL)
        return no_memory(reading->err);
    str_tidy(note->what);
    str_tidy(note->gateway);
    str_tidy(note->text);
    return 0;
}

struct report *report_new(struct ledger *l, const struct campaign *c, const char *file,
                          int64_t now_s, struct err *err)
{
    struct report *r = calloc(1, sizeof(*r));
    struct reading reading = {r, err};
    struct straggler_terms terms = {file, c->retire.validate_s, now_s};
    int rc;

    if (r == NULL) {
        (void)no_memory(err);
        return NULL;
    }
    r->campaign = c;
    r->file = file;
    rc = overview_read(l, now_s, take_device, &reading, &r->overview, err);
    if (rc == 0)
        rc = ledger_notes(l, 0, take_note, &reading, err);
    if (rc == 0)
        rc = stragglers_json(l, &terms, &r->stragglers, err);
    times_sort(&r->migrated);
    times_sort(&r->failed);
    times_sort(&r->took);
    times_sort(&r->old_until);
    times_sort(&r->in_use_until);
    if (rc == 0)
        return r;
    report_free(r);
    return NULL;
}

void report_free(struct report *r)
{
    if (r == NULL)
        return;
    overview_fini(&r->overview);
    free(r->migrated.at);
    free(r->failed.at);
    free(r->took.at);
    free(r->old_until.at);
    free(r->in_use_until.at);
    for (size_t i = 0; i < r->note_count; i++)
        free(r->notes[i].text);
    free(r->notes);
    json_decref(r->stragglers);
    free(r);
}

/* -- counting ---------------------------------------------------------------------------------- */

size_t report_up_to(const struct report_times *t, int64_t v)
{
    size_t low = 0, high = t->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (t->at[middle] <= v)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int64_t report_quantile(const struct report_times *t, unsigned percent)
{
    return t->count == 0 ? 0 : t->at[(t->count - 1) * percent / 100];
}

/* The whole of the campaign, or so far. */
void report_span(const struct report *r, int64_t *from_s, int64_t *until_s)
{
    const struct fleet_campaign *c = &r->overview.campaign;

    *from_s = c->started_s;
    *until_s = c->ended_s != 0 ? c->ended_s : r->overview.now_s;
    if (r->migrated.count > 0 && r->migrated.at[r->migrated.count - 1] > *until_s)
        *until_s = r->migrated.at[r->migrated.count - 1];
    if (*until_s <= *from_s)
        *until_s = *from_s + 1;
}

/* -- as JSON ----------------------------------------------------------------------------------- */

#define PROGRESS_POINTS 60

static json_t *progress_json(const struct report *r)
{
    json_t *all = json_array();
    int64_t from_s, until_s, last = -1;
    char when[32];

    report_span(r, &from_s, &until_s);
    for (int i = 0; i <= PROGRESS_POINTS; i++) {
        int64_t at_s = from_s + (until_s - from_s) * i / PROGRESS_POINTS;

        if (at_s == last)
            continue;
        last = at_s;
        (void)json_array_append_new(
            all, json_pack("{s:s, s:I, s:I}", "time", clock_iso(at_s, when, sizeof(when)), "done",
                           (json_int_t)report_up_to(&r->migrated, at_s), "failed",
                           (json_int_t)report_up_to(&r->failed, at_s)));
    }
    return all;
}

static json_t *durations_json(const struct report *r)
{
    const struct report_times *t = &r->took;

    return json_pack(
        "{s:I, s:I, s:I, s:I, s:I}", "flips", (json_int_t)t->count, "median_s",
        (json_int_t)report_quantile(t, 50), "p95_s", (json_int_t)report_quantile(t, 95), "p99_s",
        (json_int_t)report_quantile(t, 99), "max_s", (json_int_t)report_quantile(t, 100));
}

static json_t *expiry_json(const struct report_times *t)
{
    char first[32], median[32], last[32];

    if (t->count == 0)
        return json_pack("{s:i}", "known", 0);
    return json_pack("{s:I, s:s, s:s, s:s}", "known", (json_int_t)t->count, "first",
                     clock_iso(t->at[0], first, sizeof(first)), "median",
                     clock_iso(report_quantile(t, 50), median, sizeof(median)), "last",
                     clock_iso(t->at[t->count - 1], last, sizeof(last)));
}

static json_t *diary_json(const struct report *r)
{
    json_t *all = json_array();
    char when[32];

    for (size_t i = 0; i < r->note_count; i++) {
        const struct report_note *n = &r->notes[i];

        (void)json_array_append_new(
            all, json_pack("{s:s, s:s, s:s*, s:s}", "time",
                           clock_iso(n->time_s, when, sizeof(when)), "what", n->what, "gateway",
                           n->gateway[0] == '\0' ? NULL : n->gateway, "text", n->text));
    }
    return all;
}

json_t *report_json(const struct report *r)
{
    json_t *out = status_json(&r->overview, r->campaign);

    if (out == NULL)
        return NULL;
    (void)json_object_set_new(out, "report", json_integer(REPORT_VERSION));
    (void)json_object_set_new(out, "file", json_string(r->file));
    (void)json_object_set_new(out, "tried_again", json_integer((json_int_t)r->again));
    (void)json_object_set_new(out, "progress", progress_json(r));
    (void)json_object_set_new(out, "durations", durations_json(r));
    (void)json_object_set_new(out, "expiry",
                              json_pack("{s:o, s:o}", "before", expiry_json(&r->old_until), "now",
                                        expiry_json(&r->in_use_until)));
    (void)json_object_set(out, "stragglers", r->stragglers);
    (void)json_object_set_new(out, "diary", diary_json(r));
    return out;
}

/* -- the command ------------------------------------------------------------------------------- */

/* Whole, or as it was.  "-" is standard output. */
static int write_to(const char *path, const struct report *r, bool html, FILE *standard,
                    struct err *err)
{
    char *text = NULL;
    size_t n = 0;
    FILE *to = open_memstream(&text, &n);
    json_t *json = html ? NULL : report_json(r);
    int rc = 0;

    if (to != NULL && html)
        rc = report_html(r, to, err);
    else if (to == NULL || json == NULL || json_dumpf(json, to, JSON_INDENT(2)) != 0 ||
             fputc('\n', to) == EOF)
        rc = no_memory(err);
    json_decref(json);
    if (to != NULL && fclose(to) != 0 && rc == 0)
        rc = no_memory(err);
    if (rc == 0 && strcmp(path, "-") == 0)
        (void)fwrite(text, 1, n, standard);
    else if (rc == 0)
        rc = durable_write(path, text, n, 0644, err);
    free(text);
    return rc;
}

static int write_all(const struct fleet_command *c, const struct report *r, struct err *err)
{
    const char *html = c->line->html, *json = c->line->json_out;
    int rc = 0;

    if (html == NULL && json == NULL && !c->line->json) {
        status_show(&r->overview, r->campaign, &c->out);
        fprintf(c->out.to, "\nas a page: certflip-fleet report %s --html report.html\n", r->file);
        return 0;
    }
    if (html != NULL)
        rc = write_to(html, r, true, c->out.to, err);
    if (rc == 0 && (json != NULL || c->line->json))
        rc = write_to(json == NULL ? "-" : json, r, false, c->out.to, err);
    return rc;
}

enum fleet_status report_command(const struct fleet_command *c, struct err *err)
{
    struct campaign *campaign;
    struct ledger *ledger;
    struct report *r;
    int rc = overview_open(c->line->args[0], c->err.to, &campaign, &ledger, err);

    if (rc != 0)
        return overview_status(rc);
    r = report_new(ledger, campaign, c->line->args[0], clock_wall_s(), err);
    rc = r == NULL ? -err->code : write_all(c, r, err);
    report_free(r);
    ledger_close(ledger);
    campaign_free(campaign);
    return overview_status(rc);
}
