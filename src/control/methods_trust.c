/* control/methods_trust.c - methods about who is believed: see dispatch_inside.h and rpc.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/str.h"
#include "control/dispatch_inside.h"
#include "control/hub.h"
#include "control/show.h"
#include "control/trust.h"
#include "store/store.h"

#define CERTIFICATES_MAX 64 /* of one command */

static int set_of(struct call *c, enum trust_side *side)
{
    const char *name = call_text(c, "set");

    if (name == NULL || trust_side_parse(name, side) == 0)
        return 0;
    return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL,
                      "set: must be \"downstream\" or \"upstream\"");
}

/* As it is kept: lower-case hex. */
static int fingerprint_of(struct call *c, char out[CERT_FP_TEXT])
{
    uint8_t fp[CERT_FP_BYTES];

    if (str_unhex(call_text(c, "fingerprint"), fp, sizeof(fp)) != 0)
        return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, "see: certflipctl trust list",
                          "fingerprint: must be SHA-256, 64 hexadecimal digits");
    str_hex(out, fp, sizeof(fp));
    return 0;
}

/* For the audit log. */
static void note_anchor(struct call *c, const char *fp, const struct tls_anchor *a)
{
    size_t n = strlen(c->target);

    snprintf(c->target + n, sizeof(c->target) - n, "%s%s%s%s", n == 0 ? call_text(c, "set") : "",
             " ", fp, a == NULL ? "" : " ");
    n = strlen(c->target);
    if (a != NULL)
        snprintf(c->target + n, sizeof(c->target) - n, "%s", a->info->subject);
    str_tidy(c->target); /* it may have been cut within a character */
}

/* -- trust.list -- */

int do_trust_list(struct call *c)
{
    enum trust_side side = TRUST_SIDES;
    json_t *rows;
    size_t n = 0;
    struct trust_item *items;

    if (set_of(c, &side) != 0)
        return -1;
    items = trust_items_counted(c->d->hub, &n);
    if (items == NULL)
        return rpc_refuse(&c->fault, RPC_BUSY, "try again", "out of memory");
    rows = json_array();
    for (size_t i = 0; i < n; i++)
        if (side == TRUST_SIDES || items[i].side == side)
            json_array_append_new(rows, show_anchor(c->d->hub, &items[i]));
    free(items);
    c->result = json_pack("{s:o}", "anchors", rows);
    return 0;
}

/* -- trust.check -- */

static void collect(void *arg, const struct trust_dependent *d)
{
    if (json_array_size(arg) < RPC_ROWS_MAX)
        json_array_append_new(arg, show_dependent(d));
}

/* The item of that fingerprint, copied; is there one? */
static bool look_for(const struct call *c, enum trust_side side, const char *fp,
                     struct trust_item *out)
{
    size_t n = 0;
    struct trust_item *items = trust_items(c->d->hub, &n);
    bool found = false;

    for (size_t i = 0; items != NULL && i < n && !found; i++)
        if (items[i].side == side && strcmp(items[i].fp, fp) == 0) {
            *out = items[i];
            found = true;
        }
    free(items);
    return found;
}

/* Returns 0, or -1 with the fault. */
static int find_item(struct call *c, enum trust_side side, const char *fp, struct trust_item *out)
{
    if (look_for(c, side, fp, out))
        return 0;
    return rpc_refuse(&c->fault, RPC_ANCHOR, "see which there are: certflipctl trust list",
                      "there is no anchor %s in the set %s", fp, trust_side_name(side));
}

static json_t *subject_of(const struct trust_item *item)
{
    return item->anchor == NULL ? json_null() : rpc_text(item->anchor->info->subject);
}

int do_trust_check(struct call *c)
{
    json_t *rows = json_array();
    struct trust_item item = {0};
    enum trust_side side = TRUST_DOWNSTREAM;
    char fp[CERT_FP_TEXT];
    size_t breaks;

    if (set_of(c, &side) != 0 || fingerprint_of(c, fp) != 0 || find_item(c, side, fp, &item) != 0) {
        json_decref(rows);
        return -1;
    }
    breaks = item.in_force ? trust_dependents(c->d->hub, side, fp, collect, rows) : 0;
    c->result =
        json_pack("{s:s, s:s, s:o, s:I, s:o}", "set", trust_side_name(side), "fingerprint", fp,
                  "subject", subject_of(&item), "breaks", (json_int_t)breaks, "dependents", rows);
    return 0;
}

/* -- trust.remove -- */

static void collect_file(void *arg, const struct tls_anchor *a)
{
    json_array_append_new(arg, show_place(a));
}

static int refuse_in_use(struct call *c, const struct trust_item *item, json_t *rows, size_t n)
{
    rpc_refuse(&c->fault, RPC_IN_USE,
               "see what depends on it: certflipctl trust check; move that first, or force it",
               "%s (sha256 %.16s..) is in use: %zu %s not work without it",
               item->anchor == NULL ? "it" : item->anchor->info->subject, item->fp, n,
               n == 1 ? "thing would" : "things would");
    c->fault.list_key = "dependents";
    c->fault.list = rows;
    return -1;
}

/* The fault of a change that could not be begun. */
static int refuse_change(struct call *c, const struct err *err)
{
    if (err->code == ERR_IO || err->code == ERR_NOMEM)
        return rpc_refuse(&c->fault, RPC_STORE, "mend the state directory, then command again",
                          "nothing was changed: %s", err->msg);
    return rpc_refuse(&c->fault, RPC_ANCHOR, NULL, "nothing was changed: %s", err->msg);
}

static int remove_now(struct call *c, const struct trust_item *item, size_t broken)
{
    const char *note = call_text(c, "note");
    char *tidy = note == NULL ? NULL : strdup(note);
    struct trust_change row = {.side = item->side, .kind = TRUST_REMOVED, .time_s = clock_wall_s()};
    json_t *files = json_array(), *archived = json_null(), *subject = subject_of(item);
    char path[4500];
    struct err err = {0};
    int rc;

    if (tidy != NULL)
        str_tidy(tidy); /* it is a line of the file */
    memcpy(row.fp, item->fp, sizeof(row.fp));
    row.anchor = (struct tls_anchor *)(uintptr_t)item->anchor; /* copied with a reference */
    row.who = (char *)(uintptr_t)c->caller->who;
    row.note = tidy;
    trust_item_files(c->d->hub, item, collect_file, files);
    if (row.anchor != NULL) {
        json_decref(archived);
        snprintf(path, sizeof(path), "%s/trust/archive/%s/%s.pem", store_folder(c->d->store),
                 trust_side_name(row.side), row.fp);
        archived = rpc_text(path);
    }
    rc = trust_begin(c->d->hub, store_folder(c->d->store), &row, 1, &err);
    free(tidy);
    if (rc != 0) {
        json_decref(files);
        json_decref(archived);
        json_decref(subject);
        return refuse_change(c, &err);
    }
    c->result = json_pack("{s:s, s:s, s:o, s:b, s:o, s:o, s:I}", "set", trust_side_name(row.side),
                          "fingerprint", row.fp, "subject", subject, "changed", 1, "archived",
                          archived, "files", files, "broken", (json_int_t)broken);
    return 0;
}

int do_trust_remove(struct call *c)
{
    bool force = call_flag(c, "force");
    json_t *rows = json_array();
    struct trust_item item = {0};
    enum trust_side side = TRUST_DOWNSTREAM;
    char fp[CERT_FP_TEXT];
    size_t n = 0;

    if (set_of(c, &side) != 0 || fingerprint_of(c, fp) != 0 || find_item(c, side, fp, &item) != 0) {
        json_decref(rows);
        return -1;
    }
    note_anchor(c, fp, item.anchor);
    if (force)
        call_note(c, "(forced)");
    if (item.change != NULL && item.change->kind == TRUST_REMOVED) {
        json_decref(rows);
        c->result = json_pack("{s:s, s:s, s:o, s:b, s:n, s:[], s:i}", "set", trust_side_name(side),
                              "fingerprint", fp, "subject", subject_of(&item), "changed", 0,
                              "archived", "files", "broken", 0);
        return 0;
    }
    if (item.in_force)
        n = trust_dependents(c->d->hub, side, fp, collect, rows);
    if (n != 0 && !force)
        return refuse_in_use(c, &item, rows, n);
    json_decref(rows);
    return remove_now(c, &item, n);
}

/* -- trust.add -- */

struct adding {
    enum trust_side side;
    enum trust_kind kind;
    struct trust_list list; /* what the PEM holds, each once */
    char only[2100];
    struct trust_set whole; /* what is in force now */
};

static int take(void *arg, struct tls_anchor *a, struct err *err)
{
    struct adding *in = arg;

    if (trust_list_find(&in->list, a->fp) != NULL) {
        tls_anchor_unref(a);
        return 0;
    }
    if (in->list.count == CERTIFICATES_MAX) {
        tls_anchor_unref(a);
        return err_set(err, ERR_TOO_BIG, "more than %d certificates: add them in parts",
                       CERTIFICATES_MAX);
    }
    return trust_list_add(&in->list, a) == 0 ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

static int take_name(struct call *c, struct adding *in, const char *name)
{
    size_t n = strlen(in->only);

    if (!trust_has_part(c->d->hub, in->side, name))
        return rpc_refuse(
            &c->fault, RPC_INVALID_PARAMS, NULL, "only: there is no %s %.128s",
            in->side == TRUST_DOWNSTREAM ? "listener with client certificates" : "upstream", name);
    snprintf(in->only + n, sizeof(in->only) - n, "%s%s", n == 0 ? "" : " ", name);
    return 0;
}

static int take_names(struct call *c, struct adding *in)
{
    const json_t *only = json_object_get(c->params, "only");
    size_t i;
    json_t *name;

    if (only == NULL)
        return 0;
    if (json_is_string(only))
        return take_name(c, in, json_string_value(only));
    if (json_array_size(only) > TRUST_NAMES_MAX)
        return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL, "only: at most %d names",
                          TRUST_NAMES_MAX);
    json_array_foreach(only, i, name)
    {
        if (take_name(c, in, json_string_value(name)) != 0)
            return -1;
    }
    return 0;
}

/* An intermediate that no anchor vouches for completes nobody's chain. */
static bool is_vouched_for(const struct adding *in, const struct tls_anchor *a)
{
    const struct trust_list *lists[] = {&in->whole.anchors, &in->whole.helpers, &in->list};

    for (size_t l = 0; l < 3; l++)
        for (size_t i = 0; i < lists[l]->count; i++)
            if (lists[l]->at[i] != a && tls_anchor_issued(lists[l]->at[i], a->der, a->der_len))
                return true;
    return false;
}

/* A row takes the place of the former one: it must not take an anchor away, as an intermediate or
 * from some listeners, that trust.remove would not. */
static int takes_nothing_away(struct call *c, const struct trust_change *row,
                              const struct tls_anchor *a)
{
    const char *from = trust_takes_away(c->d->hub, row);
    json_t *rows;
    size_t n;

    if (from == NULL || call_flag(c, "force"))
        return 0;
    rows = json_array();
    n = trust_dependents(c->d->hub, row->side, row->fp, collect, rows);
    if (n == 0) {
        json_decref(rows);
        return 0;
    }
    rpc_refuse(
        &c->fault, RPC_IN_USE,
        "see what depends on it: certflipctl trust check; leave it an anchor for all, or "
        "force it",
        "nothing was added: %s %s would believe %s (sha256 %.16s..) no more, and it is in use",
        row->side == TRUST_DOWNSTREAM ? "listener" : "upstream", from, a->info->subject, row->fp);
    c->fault.list_key = "dependents";
    c->fault.list = rows;
    return -1;
}

/* It was removed, and its file would make it an anchor again. */
static int revives_no_anchor(struct call *c, const struct trust_change *row)
{
    struct trust_item item = {0};
    json_t *files;

    if (row->kind != TRUST_INTERMEDIATE || !look_for(c, row->side, row->fp, &item) ||
        item.file == NULL || item.change == NULL || item.change->kind != TRUST_REMOVED)
        return 0;
    files = json_array();
    trust_item_files(c->d->hub, &item, collect_file, files);
    rpc_refuse(
        &c->fault, RPC_ANCHOR, "take it out of that file, reload, then add it",
        "nothing was added: %s was removed, and stands in %s, which makes it an anchor again",
        item.file->info->subject, json_string_value(json_array_get(files, 0)));
    json_decref(files);
    return -1;
}

static int admit(struct call *c, struct adding *in)
{
    bool force = call_flag(c, "force");
    struct trust_change row;
    struct err err = {0};

    for (size_t i = 0; i < in->list.count; i++) {
        const struct tls_anchor *a = in->list.at[i];

        if (trust_admit(a, in->kind, clock_date_s(), force, &err) != 0)
            return rpc_refuse(&c->fault, RPC_ANCHOR, NULL, "nothing was added: certificate %u: %s",
                              a->place, err.msg);
        if (in->kind == TRUST_INTERMEDIATE && !is_vouched_for(in, a))
            return rpc_refuse(&c->fault, RPC_ANCHOR, "add the CA that issued it first",
                              "nothing was added: certificate %u: %s was issued by %s, which is "
                              "not in the set %s",
                              a->place, a->info->subject, a->info->issuer,
                              trust_side_name(in->side));
        row = (struct trust_change){.side = in->side, .kind = in->kind, .only = in->only};
        memcpy(row.fp, a->fp, sizeof(row.fp));
        if (revives_no_anchor(c, &row) != 0 || takes_nothing_away(c, &row, a) != 0)
            return -1;
    }
    return 0;
}

/* Nothing has to be done for it: it is there already. */
static bool is_there(const struct call *c, const struct trust_change *row)
{
    const struct trust_change *was =
        trust_changes_find(hub_snapshot(c->d->hub)->changes, row->side, row->fp);

    if (was != NULL && (was->kind == row->kind || was->kind == TRUST_REMOVED))
        return was->kind == row->kind && was->anchor != NULL && strcmp(was->only, row->only) == 0;
    return trust_stands_in_all(c->d->hub, row->side, row->fp, row);
}

/* The anchor as it will stand in its file.  Returns owned, or NULL. */
static struct tls_anchor *at_home(const struct call *c, enum trust_side side,
                                  const struct tls_anchor *a)
{
    char *path =
        str_printf("%s/trust/%s/%s.pem", store_folder(c->d->store), trust_side_name(side), a->fp);
    struct tls_anchor *same =
        path == NULL ? NULL : tls_anchor_new(a->der, a->der_len, path, 1, NULL);

    free(path);
    return same;
}

static int add_now(struct call *c, struct adding *in)
{
    struct trust_change rows[CERTIFICATES_MAX];
    const char *note = call_text(c, "note");
    json_t *shown = json_array();
    char *tidy = note == NULL ? NULL : strdup(note);
    struct err err = {0};
    size_t n = 0;
    int rc = 0;

    if (tidy != NULL)
        str_tidy(tidy);
    for (size_t i = 0; rc == 0 && i < in->list.count; i++) {
        const struct tls_anchor *a = in->list.at[i];
        struct trust_change row = {.side = in->side, .kind = in->kind, .time_s = clock_wall_s()};
        bool changed;

        memcpy(row.fp, a->fp, sizeof(row.fp));
        row.only = in->only;
        row.note = tidy;
        row.who = (char *)(uintptr_t)c->caller->who;
        changed = !is_there(c, &row);
        note_anchor(c, row.fp, a);
        if (changed) {
            row.anchor = at_home(c, in->side, a);
            rc = row.anchor == NULL ? err_set(&err, ERR_NOMEM, "out of memory") : 0;
            rows[n++] = row;
        }
        json_array_append_new(shown, json_pack("{s:s, s:o, s:o, s:b}", "fingerprint", a->fp,
                                               "subject", rpc_text(a->info->subject), "not_after",
                                               rpc_date(a->info->not_after_s), "changed", changed));
    }
    if (rc == 0 && n != 0)
        rc = trust_begin(c->d->hub, store_folder(c->d->store), rows, n, &err);
    for (size_t i = 0; i < n; i++)
        tls_anchor_unref(rows[i].anchor);
    free(tidy);
    if (rc != 0) {
        json_decref(shown);
        return refuse_change(c, &err);
    }
    c->result = json_pack("{s:s, s:I, s:o}", "set", trust_side_name(in->side), "changed",
                          (json_int_t)n, "anchors", shown);
    return 0;
}

int do_trust_add(struct call *c)
{
    struct adding in = {.kind = call_flag(c, "intermediate") ? TRUST_INTERMEDIATE : TRUST_ANCHOR};
    const char *pem = call_text(c, "pem");
    struct err err = {0};
    int rc = -1;

    if (set_of(c, &in.side) != 0 || take_names(c, &in) != 0)
        return -1;
    snprintf(c->target, sizeof(c->target), "%s", trust_side_name(in.side));
    if (tls_anchors_of_pem(pem, strlen(pem), "pem", take, &in, &err) < 0)
        rpc_refuse(&c->fault, RPC_ANCHOR, NULL, "nothing was added: %s", err.msg);
    else if (!trust_whole(c->d->hub, in.side, &in.whole))
        rpc_refuse(&c->fault, RPC_BUSY, "try again", "out of memory");
    else if (admit(c, &in) == 0)
        rc = add_now(c, &in);
    if (call_flag(c, "force"))
        call_note(c, "(forced)");
    trust_set_fini(&in.whole);
    trust_list_fini(&in.list);
    return rc;
}
