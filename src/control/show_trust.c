/* control/show_trust.c - anchors as the JSON of rpc.h: see show.h. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "control/jsonrpc.h"
#include "control/show.h"
#include "control/trust.h"

#define IN_FORCE_MAX 100                   /* of each set, in the retained state */
#define SOON_S       (INT64_C(30) * 86400) /* before an anchor expires it is warned of */

struct json_t *show_place(const struct tls_anchor *a)
{
    char text[4500];

    snprintf(text, sizeof(text), "%s:%u", a->from, a->place);
    return rpc_text(text);
}

static void add_place(void *arg, const struct tls_anchor *a)
{
    json_array_append_new(arg, show_place(a));
}

static void add_name(void *arg, const char *name)
{
    json_array_append_new(arg, rpc_text(name));
}

static json_t *only_of(const struct trust_change *row)
{
    json_t *names;
    const char *p = row == NULL ? NULL : row->only;

    if (p == NULL || *p == '\0')
        return json_null();
    names = json_array();
    while (*p != '\0') {
        size_t n = strcspn(p, " ");

        json_array_append_new(names, json_stringn_nocheck(p, n));
        p += n;
        p += strspn(p, " ");
    }
    return names;
}

static const char *state_of(const struct trust_item *item)
{
    int64_t now_s = clock_date_s();

    if (item->change != NULL && item->change->kind == TRUST_REMOVED)
        return "removed";
    if (item->anchor == NULL)
        return "unusable";
    if (item->anchor->info->not_after_s < now_s)
        return "expired";
    if (!item->in_force)
        return "idle";
    return item->anchor->info->not_before_s > now_s ? "not-yet-valid" : "in-force";
}

struct json_t *show_anchor(const struct hub *h, const struct trust_item *item)
{
    const struct cert_info *ci = item->anchor == NULL ? NULL : item->anchor->info;
    const struct trust_change *row = item->change;
    json_t *files = json_array(), *serves = json_array();

    trust_item_files(h, item, add_place, files);
    trust_item_serves(h, item, add_name, serves);
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I}",
        "set", trust_side_name(item->side), "fingerprint", item->fp, "kind",
        item->helper ? "intermediate" : "anchor", "state", state_of(item), "subject",
        ci == NULL ? json_null() : rpc_text(ci->subject), "issuer",
        ci == NULL ? json_null() : rpc_text(ci->issuer), "not_before",
        ci == NULL ? json_null() : rpc_date(ci->not_before_s), "not_after",
        ci == NULL ? json_null() : rpc_date(ci->not_after_s), "files", files, "serves", serves,
        "only", only_of(row), "by", rpc_text_or_null(row == NULL ? NULL : row->who), "time",
        rpc_time(row == NULL ? 0 : row->time_s), "note",
        rpc_text_or_null(row == NULL ? NULL : row->note), "fault",
        rpc_text_or_null(row == NULL ? NULL : row->fault), "devices", (json_int_t)item->devices,
        "sessions", (json_int_t)item->sessions);
}

struct json_t *show_dependent(const struct trust_dependent *d)
{
    static const char *const what[] = {
        [TRUST_SENSOR] = "sensor",
        [TRUST_BROKER] = "broker",
        [TRUST_IDENTITY] = "identity",
        [TRUST_LAST] = "last",
    };
    char text[400];

    switch (d->what) {
    case TRUST_SENSOR:
        snprintf(text, sizeof(text), "device %s: its sensor is let in by it%s", d->name,
                 d->sessions == 0 ? "" : ", and is connected");
        break;
    case TRUST_BROKER:
        snprintf(text, sizeof(text), "device %s: its broker is believed by it", d->name);
        break;
    case TRUST_IDENTITY:
        snprintf(text, sizeof(text), "device %s: its %s identity was issued by it", d->name,
                 flip_slot_name(d->slot));
        break;
    case TRUST_LAST:
        snprintf(text, sizeof(text), "%s has no other anchor: nobody would be believed there",
                 d->name);
        break;
    }
    return json_pack("{s:s, s:s, s:s?, s:i, s:s}", "what", what[d->what], "name", d->name, "slot",
                     d->what == TRUST_IDENTITY ? flip_slot_name(d->slot) : NULL, "sessions",
                     (int)d->sessions, "text", text);
}

static json_t *show_sum(const struct hub *h, enum trust_side side)
{
    struct trust_sum sum;
    json_t *soonest = json_null();

    trust_sum(h, side, &sum);
    if (sum.soonest != NULL)
        soonest = json_pack("{s:s, s:o, s:o}", "fingerprint", sum.soonest->fp, "subject",
                            rpc_text(sum.soonest->info->subject), "not_after",
                            rpc_date(sum.soonest->info->not_after_s));
    return json_pack("{s:I, s:I, s:I, s:I, s:o}", "anchors", (json_int_t)sum.in_force, "expired",
                     (json_int_t)sum.expired, "removed", (json_int_t)sum.removed, "unusable",
                     (json_int_t)sum.faulty, "soonest", soonest);
}

struct json_t *show_trust(const struct hub *h)
{
    return json_pack("{s:o, s:o}", "downstream", show_sum(h, TRUST_DOWNSTREAM), "upstream",
                     show_sum(h, TRUST_UPSTREAM));
}

struct json_t *show_in_force(const struct hub *h)
{
    json_t *sets[TRUST_SIDES] = {json_array(), json_array()};
    size_t n = 0;
    struct trust_item *items = trust_items(h, &n);

    for (size_t i = 0; items != NULL && i < n; i++) {
        json_t *to = sets[items[i].side];

        if (items[i].in_force && !items[i].helper && json_array_size(to) < IN_FORCE_MAX)
            json_array_append_new(to, json_pack("{s:s, s:o, s:o}", "fingerprint", items[i].fp,
                                                "subject", rpc_text(items[i].anchor->info->subject),
                                                "not_after",
                                                rpc_date(items[i].anchor->info->not_after_s)));
    }
    free(items);
    return json_pack("{s:o, s:o}", "downstream", sets[TRUST_DOWNSTREAM], "upstream",
                     sets[TRUST_UPSTREAM]);
}

/* -- what is wrong -- */

static void warn_of(const struct trust_item *item, int64_t now_s, json_t *list)
{
    const struct tls_anchor *a = item->anchor;
    const char *set = trust_side_name(item->side);
    char text[900], when[32];

    if (item->change != NULL && item->change->fault != NULL)
        snprintf(text, sizeof(text),
                 "the %s %s of the set %s cannot be used: %s: add it again, or remove it",
                 item->helper ? "intermediate" : "anchor", item->fp, set, item->change->fault);
    else if (!item->in_force || a->info->not_after_s > now_s + SOON_S)
        return;
    else
        snprintf(text, sizeof(text), "the %s %s (sha256 %.16s..) of the set %s %s on %s: %s",
                 item->helper ? "intermediate" : "anchor", a->info->subject, item->fp, set,
                 a->info->not_after_s < now_s ? "expired" : "expires",
                 clock_text(a->info->not_after_s, when, sizeof(when)),
                 a->info->not_after_s < now_s ? "nobody is believed for it; add its successor, and "
                                                "remove it"
                                              : "add its successor before that");
    json_array_append_new(list, rpc_text(text));
}

static void warn_of_nobody(const struct hub *h, json_t *list)
{
    const struct wk_snapshot *s = hub_snapshot(h);
    const struct conf *conf = s->conf;
    char text[400];

    for (size_t i = 0; i < conf->listener_count; i++) {
        const struct tls_ctx *ctx = s->listener_ctx[i];

        if (ctx == NULL || conf->listeners[i].client_cert == CONF_CERT_NONE ||
            tls_ctx_anchors(ctx)->loaded != 0)
            continue;
        snprintf(text, sizeof(text),
                 "listener %s has no anchor in force: no sensor comes in with a certificate: "
                 "certflipctl trust add downstream",
                 conf->listeners[i].name);
        json_array_append_new(list, rpc_text(text));
    }
    for (size_t i = 0; i < conf->upstream_count; i++) {
        if (s->upstream_ctx[i] == NULL || tls_ctx_anchors(s->upstream_ctx[i])->loaded != 0)
            continue;
        snprintf(text, sizeof(text),
                 "upstream %s has no anchor in force: no broker is believed: certflipctl trust add "
                 "upstream",
                 conf->upstreams[i].name);
        json_array_append_new(list, rpc_text(text));
    }
}

void show_trust_messages(const struct hub *h, struct json_t *list)
{
    int64_t now_s = clock_date_s();
    size_t n = 0;
    struct trust_item *items = trust_items(h, &n);

    warn_of_nobody(h, list);
    for (size_t i = 0; items != NULL && i < n; i++)
        warn_of(&items[i], now_s, list);
    free(items);
}
