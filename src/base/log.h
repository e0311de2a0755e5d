/* base/log.h - structured log lines: level, subsystem, event name, key=value pairs.
 *
 * A line is assembled on the stack and written with one write(2) to stderr, so that lines of
 * several threads never mix.  Levels are per subsystem, atomic, and may be changed at run time from
 * any thread.  Under systemd (JOURNAL_STREAM is set) lines carry the <N> priority prefix. Never put
 * a secret into a line.
 *
 * <syslog.h> has a macro LOG_DAEMON: do not include it beside this header.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

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

/* Set the level of a subsystem by name, or of every one with "*".  Returns 0 or -ERR_NOT_FOUND. */
int log_set_level(const char *subsystem, enum log_level level);

/* "error" "warn" "notice" "info" "debug" -> level.  Returns 0, or -ERR_INVALID, *out unchanged. */
int log_level_parse(const char *name, enum log_level *out);
const char *log_level_name(enum log_level level);
const char *log_subsystem_name(enum log_subsystem sub);
enum log_level log_get_level(enum log_subsystem sub);

/* True when a line of this level would be written; the check costs one relaxed atomic load. */
bool log_on(enum log_subsystem sub, enum log_level level);

/* Write one line.  `event` is a stable, hyphenated name ("session-refused").  `fmt` yields the
 * pairs, ready-made: "device=%s rc=%d"; values that may hold blanks or quotes go through LOG_Q.  In
 * JSON a bare decimal integer becomes a number, everything else a string; a quoted value is always
 * a string. */
void log_event(enum log_subsystem sub, enum log_level level, const char *event, const char *fmt,
               ...) __attribute__((format(printf, 4, 5)));

/* Quote a value for a line: "..." with \" \\ \n \t \xNN escapes; at most 400 bytes of it.  Returns
 * `buf`. */
struct log_quoted {
    char s[1024];
};
const char *log_quote(struct log_quoted *buf, const char *value, size_t len);
#define LOG_Q(str) log_quote(&(struct log_quoted){{0}}, (str), (size_t)-1) /* NUL-terminated */

#endif
