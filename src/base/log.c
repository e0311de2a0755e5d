#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log_line.h"
#include "base/log_repeat.h"
#include "base/log_ring.h"
#include "base/log_sink.h"
#include "base/str.h"

#define LOST_AGAIN_US INT64_C(60000000)

#define LOG_NAME(id, name) [id] = name,
static const char *const subsystems[LOG_SUBSYSTEM_COUNT] = {LOG_SUBSYSTEMS(LOG_NAME)};
#undef LOG_NAME

#define LOG_START(id, name) [id] = LOG_NOTICE_,
atomic_int log_levels[LOG_SUBSYSTEM_COUNT] = {LOG_SUBSYSTEMS(LOG_START)};
static atomic_int configured[LOG_SUBSYSTEM_COUNT] = {LOG_SUBSYSTEMS(LOG_START)};
#undef LOG_START

static const char *const level_names[] = {"error", "warn", "notice", "info", "debug"};
static const char *const format_names[] = {[LOG_TEXT] = "text", [LOG_JSON] = "json"};

static atomic_int format_now = LOG_TEXT;
static atomic_bool format_pinned;

void log_set_format(enum log_format format)
{
    if (!atomic_load_explicit(&format_pinned, memory_order_relaxed))
        atomic_store_explicit(&format_now, (int)format, memory_order_relaxed);
}

void log_pin_format(enum log_format format)
{
    log_set_format(format);
    atomic_store_explicit(&format_pinned, true, memory_order_relaxed);
}

int log_format_parse(const char *name, enum log_format *out)
{
    for (size_t i = 0; i < sizeof(format_names) / sizeof(format_names[0]); i++) {
        if (strcmp(name, format_names[i]) == 0) {
            *out = (enum log_format)i;
            return 0;
        }
    }
    return -ERR_INVALID;
}

/* -- levels -- */

int log_subsystem_find(const char *name)
{
    for (int i = 0; i < LOG_SUBSYSTEM_COUNT; i++)
        if (strcmp(name, subsystems[i]) == 0)
            return i;
    return -1;
}

static void level_store(atomic_int *of, enum log_level level)
{
    atomic_store_explicit(of, (int)level, memory_order_relaxed);
}

int log_set_level(const char *subsystem, enum log_level level)
{
    int sub = log_subsystem_find(subsystem);

    if (sub >= 0)
        level_store(&log_levels[sub], level);
    else if (strcmp(subsystem, "*") != 0)
        return -ERR_NOT_FOUND;
    for (int i = 0; i < LOG_SUBSYSTEM_COUNT && sub < 0; i++)
        level_store(&log_levels[i], level);
    return 0;
}

void log_configure_level(enum log_subsystem sub, enum log_level level)
{
    if (log_configured_level(sub) != level)
        level_store(&log_levels[sub], level);
    level_store(&configured[sub], level);
}

int log_reset_level(const char *subsystem)
{
    int sub = log_subsystem_find(subsystem);

    if (sub < 0 && strcmp(subsystem, "*") != 0)
        return -ERR_NOT_FOUND;
    for (int i = 0; i < LOG_SUBSYSTEM_COUNT; i++)
        if (sub < 0 || i == sub)
            level_store(&log_levels[i], log_configured_level((enum log_subsystem)i));
    return 0;
}

int log_level_parse(const char *name, enum log_level *out)
{
    for (size_t i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return 0;
        }
    }
    return -ERR_INVALID;
}

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

const char *log_subsystem_name(enum log_subsystem sub)
{
    return subsystems[sub];
}

enum log_level log_get_level(enum log_subsystem sub)
{
    return (enum log_level)atomic_load_explicit(&log_levels[sub], memory_order_relaxed);
}

enum log_level log_configured_level(enum log_subsystem sub)
{
    return (enum log_level)atomic_load_explicit(&configured[sub], memory_order_relaxed);
}

/* -- lines -- */

static void emit(const struct log_record *r)
{
    log_sink_write(r, (enum log_format)atomic_load_explicit(&format_now, memory_order_relaxed));
    log_ring_add(r);
}

/* A line that repeats is counted; but one of debug was asked for, and so is each of its kind. */
static bool may_be_counted(const struct log_record *r, enum log_kind kind)
{
    return kind == LOG_STATE && r->level < LOG_DEBUG_;
}

static void say(const struct log_record *r, enum log_kind kind)
{
    struct log_summary summary;

    if (may_be_counted(r, kind)) {
        bool write = log_repeat_take(r, clock_mono_us(), &summary);

        if (summary.due) {
            summary.record.wall_ms = r->wall_ms;
            emit(&summary.record);
        }
        if (!write)
            return;
    }
    emit(r);
}

void log_write(enum log_subsystem sub, enum log_level level, enum log_kind kind, const char *event,
               const char *fmt, ...)
{
    int saved = errno;
    char pairs[LOG_PAIRS_MAX];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(pairs, sizeof(pairs), fmt, ap);
    va_end(ap);
    if (n < 0)
        n = 0;
    if ((size_t)n >= sizeof(pairs)) {
        n = (int)sizeof(pairs) - 1;
        memcpy(pairs + n - 3, "...", 4);
    }
    say(&(struct log_record){.wall_ms = clock_wall_ms(),
                             .sub = sub,
                             .level = level,
                             .event = event,
                             .pairs = pairs,
                             .n = (size_t)n},
        kind);
    errno = saved;
}

/* Where that cannot be written either, it is tried again later. */
static void tell_lost(int64_t now_us)
{
    static int64_t again_us; /* main thread */
    uint64_t lost;

    if (now_us < again_us || (lost = log_sink_take_lost()) == 0)
        return;
    log_fact(LOG_DAEMON, LOG_WARN_, "log-lost", "count=%llu msg=%s todo=%s",
             (unsigned long long)lost,
             LOG_Q("whoever takes the log did not take it in time, and lines were lost"),
             LOG_Q("see what holds up the journal, or what stderr leads to; or have less logged"));
    if (log_sink_take_lost() > 0) {
        log_sink_put_lost(lost);
        again_us = now_us + LOST_AGAIN_US;
    }
}

void log_tick(bool all)
{
    struct log_summary summary;
    int64_t now_us = clock_mono_us();

    while (log_repeat_due(now_us, all, &summary)) {
        summary.record.wall_ms = clock_wall_ms();
        emit(&summary.record);
    }
    log_ring_settle();
    if (!log_sink_drain())
        tell_lost(now_us);
}

const char *log_quote(struct log_quoted *buf, const char *value, size_t len)
{
    enum { LONGEST = 400, TAIL = 9 }; /* room for an escape, "..." and the closing quote */
    size_t n = value == NULL ? 0 : len == (size_t)-1 ? strlen(value) : len;
    size_t o = 0;
    size_t i = 0;
    char *s = buf->s;

    s[o++] = '"';
    while (i < n && i < LONGEST && o + TAIL < sizeof(buf->s)) {
        unsigned char c = (unsigned char)value[i];
        size_t step = str_utf8_step((const uint8_t *)value + i, n - i);

        if (c == '"' || c == '\\' || c == '\n' || c == '\t') {
            s[o++] = '\\';
            s[o++] = value[i];
            if (c == '\n' || c == '\t')
                s[o - 1] = c == '\n' ? 'n' : 't';
            step = 1;
        } else if (step == 0 || c < 0x20 || c == 0x7f) {
            o += (size_t)snprintf(s + o, 5, "\\x%02x", c);
            step = 1;
        } else {
            memcpy(s + o, value + i, step);
            o += step;
        }
        i += step;
    }
    if (i < n) {
        memcpy(s + o, "...", 3);
        o += 3;
    }
    s[o++] = '"';
    s[o] = '\0';
    return s;
}
