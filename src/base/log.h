/* base/log.h - structured log lines: level, subsystem, event name, key=value pairs.
 *
 * A line is assembled on the stack of whoever says it and goes to the journal, by its native
 * protocol with a field for each pair, or to stderr (log_sink.h); its copy stays in memory for a
 * while (log_ring.h).  Nothing of that waits: a thread that serves sensors does not stand still
 * because somebody does not read the log.  What is said again and again is counted rather than
 * written (log_repeat.h).  Levels are per subsystem, atomic, and may be changed at run time from
 * any thread.  Never put a secret into a line.
 *
 * <syslog.h> has a macro LOG_DAEMON: do not include it beside this header.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The underscore keeps them apart from the macros of <syslog.h>. */
/* NOLINTNEXTLINE(readability-identifier-naming) */
enum log_level { LOG_ERROR_ = 0, LOG_WARN_, LOG_NOTICE_, LOG_INFO_, LOG_DEBUG_ };

/* One row for each subsystem: the enumerator and the name that configuration and CLI use. */
#define LOG_SUBSYSTEMS(X)                 \
    X(LOG_DAEMON, "daemon")               \
    X(LOG_CONFIG, "config")               \
    X(LOG_LISTEN, "listen")               \
    X(LOG_TLS_HANDSHAKE, "tls.handshake") \
    X(LOG_CERT, "cert.validation")        \
    X(LOG_MQTT, "mqtt")                   \
    X(LOG_SESSION, "session")             \
    X(LOG_FLIP, "flip")                   \
    X(LOG_STORE, "store")                 \
    X(LOG_CONTROL, "control")             \
    X(LOG_CENTRAL, "central")

#define LOG_ENUM(id, name) id,
enum log_subsystem { LOG_SUBSYSTEMS(LOG_ENUM) LOG_SUBSYSTEM_COUNT };
#undef LOG_ENUM

enum log_format { LOG_TEXT, LOG_JSON };

void log_set_format(enum log_format format);
/* The command line has said so: log_set_format changes nothing any more. */
void log_pin_format(enum log_format format);
/* "text" "json" -> format.  Returns 0, or -ERR_INVALID, *out unchanged. */
int log_format_parse(const char *name, enum log_format *out);

/* Set the level of a subsystem by name, or of every one with "*".  Returns 0 or -ERR_NOT_FOUND. */
int log_set_level(const char *subsystem, enum log_level level);
/* The same, as the configuration has it: takes the place of what log_set_level has said only when
 * the configuration says something else than before. */
void log_configure_level(enum log_subsystem sub, enum log_level level);
/* Back to what the configuration says.  Returns 0 or -ERR_NOT_FOUND. */
int log_reset_level(const char *subsystem);

/* "error" "warn" "notice" "info" "debug" -> level.  Returns 0, or -ERR_INVALID, *out unchanged. */
int log_level_parse(const char *name, enum log_level *out);
const char *log_level_name(enum log_level level);
const char *log_subsystem_name(enum log_subsystem sub);
/* Returns the subsystem, or -1 when there is none of this name. */
int log_subsystem_find(const char *name);
enum log_level log_get_level(enum log_subsystem sub);
enum log_level log_configured_level(enum log_subsystem sub);

extern atomic_int log_levels[LOG_SUBSYSTEM_COUNT]; /* for log_on alone */

/* True when a line of this level would be written; the check costs one relaxed atomic load. */
static inline bool log_on(enum log_subsystem sub, enum log_level level)
{
    return (int)level <= atomic_load_explicit(&log_levels[sub], memory_order_relaxed);
}

enum log_kind {
    LOG_STATE, /* how it stands: said again and again, it may be counted instead */
    LOG_FACT,  /* that something was done, or decided: always written */
};

/* Write one line.  `event` is a stable, hyphenated name ("session-refused").  The format yields the
 * pairs, ready-made: "device=%s rc=%d"; values that may hold blanks or quotes go through LOG_Q.  In
 * JSON a bare decimal integer becomes a number, everything else a string; a quoted value is always
 * a string.  Arguments of a line below the level are not evaluated. */
#define log_event(sub, level, ...) LOG_WRITE(sub, level, LOG_STATE, __VA_ARGS__)
/* The same, of what is never left out. */
#define log_fact(sub, level, ...) LOG_WRITE(sub, level, LOG_FACT, __VA_ARGS__)

#define LOG_WRITE(sub, level, kind, ...)                                         \
    __extension__({                                                              \
        enum log_subsystem log_sub_ = (sub);                                     \
        enum log_level log_level_ = (level);                                     \
        if (__builtin_expect(log_on(log_sub_, log_level_), 0))                   \
            log_write(log_sub_, log_level_, (enum log_kind)(kind), __VA_ARGS__); \
    })

void log_write(enum log_subsystem sub, enum log_level level, enum log_kind kind, const char *event,
               const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* What has its time: summaries of what was repeated.  Once a second, and with `all` at the end; the
 * main thread. */
void log_tick(bool all);

/* Quote a value for a line: "..." with \" \\ \n \t \xNN escapes; at most 400 bytes of it.  Returns
 * `buf`. */
struct log_quoted {
    char s[1024];
};
const char *log_quote(struct log_quoted *buf, const char *value, size_t len);
#define LOG_Q(str) log_quote(&(struct log_quoted){{0}}, (str), (size_t)-1) /* NUL-terminated */

#endif
