/* control/methods_log.c - methods about the log: see dispatch_inside.h and rpc.h. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/log_filter.h"
#include "base/log_ring.h"
#include "base/log_sink.h"
#include "control/dispatch_inside.h"

#define RECENT_DEFAULT 100

/* -- levels -- */

int do_log_level(struct call *c)
{
    const char *subsystem = call_text(c, "subsystem"), *level = call_text(c, "level");
    bool reset = level != NULL && strcmp(level, "default") == 0;
    json_t *levels, *configured;
    enum log_level parsed = LOG_INFO_;

    if ((subsystem == NULL) != (level == NULL))
        return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL, "subsystem and level go together");
    if (level != NULL && !reset && log_level_parse(level, &parsed) != 0)
        return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL,
                          "level: must be error, warn, notice, info, debug or default");
    if (level != NULL &&
        (reset ? log_reset_level(subsystem) : log_set_level(subsystem, parsed)) != 0)
        return rpc_refuse(&c->fault, RPC_INVALID_PARAMS,
                          "see which there are: log.level without parameters",
                          "subsystem: there is no %.64s", subsystem);
    levels = json_object();
    configured = json_object();
    for (int i = 0; i < LOG_SUBSYSTEM_COUNT; i++) {
        enum log_subsystem s = (enum log_subsystem)i;

        json_object_set_new(levels, log_subsystem_name(s),
                            json_string(log_level_name(log_get_level(s))));
        json_object_set_new(configured, log_subsystem_name(s),
                            json_string(log_level_name(log_configured_level(s))));
    }
    if (subsystem != NULL)
        snprintf(c->target, sizeof(c->target), "%s=%s", subsystem, level);
    c->result = json_pack("{s:o, s:o}", "levels", levels, "configured", configured);
    return 0;
}

/* -- recent lines -- */

struct looking {
    struct log_filter filter;
    json_t *lines; /* owned */
    size_t limit;
    bool back;
    uint64_t last; /* looked at */
};

/* Values are text as rpc_text makes it: what is no UTF-8 becomes a '?'. */
static json_t *fields_of(const struct log_record *r, char *device, size_t device_n)
{
    const char *p = r->pairs, *end = r->pairs + r->n;
    char key[128], value[LOG_PAIRS_MAX + 1];
    json_t *fields = json_object();
    struct log_pair pair;

    device[0] = '\0';
    while (log_pair_next(&p, end, &pair)) {
        size_t n = log_pair_value(&pair, value, LOG_PAIRS_MAX);

        value[n] = '\0';
        snprintf(key, sizeof(key), "%.*s", (int)pair.key_n, pair.key);
        json_object_set_new(fields, key, rpc_text(value));
        if (strcmp(key, "device") == 0)
            snprintf(device, device_n, "%.*s", (int)device_n - 1, value);
    }
    return fields;
}

static bool look(void *arg, uint64_t seq, const struct log_record *r)
{
    struct looking *l = arg;
    char device[160], text[LOG_PAIRS_MAX + 200], when[40];
    json_t *fields = fields_of(r, device, sizeof(device)), *row;

    snprintf(text, sizeof(text), "%s %s %.*s", log_subsystem_name(r->sub), r->event, (int)r->n,
             r->pairs);
    l->last = seq;
    if (!log_filter_takes(&l->filter, r->wall_ms, r->level, log_subsystem_name(r->sub), r->event,
                          device, text)) {
        json_decref(fields);
        return true;
    }
    row = json_pack("{s:I, s:s, s:s, s:s, s:s, s:o}", "seq", (json_int_t)seq, "time",
                    log_time(r->wall_ms, when), "level", log_level_name(r->level), "subsystem",
                    log_subsystem_name(r->sub), "event", r->event, "fields", fields);
    if (l->back)
        json_array_insert_new(l->lines, 0, row);
    else
        json_array_append_new(l->lines, row);
    return json_array_size(l->lines) < l->limit;
}

int do_log_recent(struct call *c)
{
    json_int_t after = call_number(c, "after", -1);
    const char *level = call_text(c, "level");
    struct looking l = {.filter = {.device = call_text(c, "device"),
                                   .event = call_text(c, "event"),
                                   .subsystem = call_text(c, "subsystem"),
                                   .grep = call_text(c, "grep"),
                                   .level = LOG_DEBUG_,
                                   .since_ms = call_number(c, "since_s", 0) * 1000},
                        .limit = (size_t)call_number(c, "limit", RECENT_DEFAULT),
                        .back = after < 0};
    uint64_t first, next;

    if (level != NULL && log_level_parse(level, &l.filter.level) != 0)
        return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL,
                          "level: must be error, warn, notice, info or debug");
    log_ring_settle();
    log_ring_range(&first, &next);
    l.lines = json_array();
    l.last = next - 1;
    if (l.back) {
        log_ring_walk(next, true, look, &l);
        l.last = next - 1; /* what was looked at, and before it, is not asked for again */
    } else {
        log_ring_walk((uint64_t)after + 1, false, look, &l);
        if (json_array_size(l.lines) < l.limit)
            l.last = next - 1;
    }
    c->result = json_pack("{s:o, s:I, s:I, s:i, s:s, s:I, s:I}", "lines", l.lines, "last",
                          (json_int_t)l.last, "first", (json_int_t)first, "pid", (int)getpid(),
                          "target", log_sink_is_journal() ? "journal" : "stderr", "lost",
                          (json_int_t)log_sink_lost(), "missed", (json_int_t)log_ring_missed());
    return 0;
}
