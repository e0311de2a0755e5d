#include "base/log.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/str.h"

#define LOG_NAME(id, name) [id] = name,
static const char *const subsystems[LOG_SUBSYSTEM_COUNT] = {LOG_SUBSYSTEMS(LOG_NAME)};
#undef LOG_NAME

#define LOG_START(id, name) [id] = LOG_NOTICE_,
static atomic_int levels[LOG_SUBSYSTEM_COUNT] = {LOG_SUBSYSTEMS(LOG_START)};
#undef LOG_START

static const char *const level_names[] = {"error", "warn", "notice", "info", "debug"};
static const char level_priority[] = "34567"; /* syslog(3) priorities, for the journal */

static atomic_int format_now = LOG_TEXT;

/* A line under construction.  What does not fit is left out, at the end. */
struct line {
    size_t n;
    char s[8192];
};

static void put(struct line *l, const char *s, size_t n)
{
    size_t room = sizeof(l->s) - l->n;

    if (n > room)
        n = room;
    memcpy(l->s + l->n, s, n);
    l->n += n;
}

static void put_text(struct line *l, const char *s)
{
    put(l, s, strlen(s));
}

void log_set_format(enum log_format format)
{
    atomic_store_explicit(&format_now, (int)format, memory_order_relaxed);
}

int log_set_level(const char *subsystem, enum log_level level)
{
    bool all = strcmp(subsystem, "*") == 0;
    bool found = false;

    for (size_t i = 0; i < LOG_SUBSYSTEM_COUNT; i++) {
        if (!all && strcmp(subsystem, subsystems[i]) != 0)
            continue;
        atomic_store_explicit(&levels[i], (int)level, memory_order_relaxed);
        found = true;
    }
    return found ? 0 : -ERR_NOT_FOUND;
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
    return (enum log_level)atomic_load_explicit(&levels[sub], memory_order_relaxed);
}

bool log_on(enum log_subsystem sub, enum log_level level)
{
    return (int)level <= atomic_load_explicit(&levels[sub], memory_order_relaxed);
}

/* JOURNAL_STREAM names device and inode of the socket that leads to the journal; stderr may have
 * been redirected since (systemd.exec(5)). */
static bool to_journal(void)
{
    static atomic_int known = -1;
    int answer = atomic_load_explicit(&known, memory_order_relaxed);
    const char *stream;
    char *colon;
    struct stat st;

    if (answer >= 0)
        return answer == 1;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): nothing in this program changes the environment */
    stream = getenv("JOURNAL_STREAM");
    answer = stream != NULL && fstat(STDERR_FILENO, &st) == 0 &&
             strtoull(stream, &colon, 10) == st.st_dev && *colon == ':' &&
             strtoull(colon + 1, NULL, 10) == st.st_ino;
    atomic_store_explicit(&known, answer, memory_order_relaxed);
    return answer == 1;
}

static const char *timestamp(char out[40])
{
    struct timespec ts = {0, 0};
    struct tm tm;
    size_t n;

    clock_gettime(CLOCK_REALTIME, &ts);
    if (gmtime_r(&ts.tv_sec, &tm) == NULL)
        memset(&tm, 0, sizeof(tm));
    n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, 40 - n, ".%03uZ", (unsigned)(ts.tv_nsec / 1000000) % 1000);
    return out;
}

/* --- text --- */

/* The pairs as they are; only what would break the line or a terminal becomes a blank. */
static void text_pairs(struct line *l, const char *pairs, size_t n)
{
    size_t from = l->n;

    if (n == 0)
        return;
    put(l, " ", 1);
    put(l, pairs, n);
    for (size_t i = from; i < l->n; i++) {
        if ((unsigned char)l->s[i] < 0x20 || l->s[i] == 0x7f)
            l->s[i] = ' ';
    }
}

/* --- JSON --- */

/* One byte, or one UTF-8 character, of a string.  A byte that is neither is shown as \xNN in plain
 * text. */
static size_t json_char(struct line *l, const char *p, size_t n)
{
    unsigned char c = (unsigned char)*p;
    size_t step = str_utf8_step((const uint8_t *)p, n);
    char esc[8];

    if (step == 0) {
        put(l, esc, (size_t)snprintf(esc, sizeof(esc), "\\\\x%02x", c));
        return 1;
    }
    if (c == '"' || c == '\\') {
        put(l, "\\", 1);
        put(l, p, 1);
    } else if (c < 0x20 || c == 0x7f) {
        put(l, esc, (size_t)snprintf(esc, sizeof(esc), "\\u%04x", c));
    } else {
        put(l, p, step);
    }
    return step;
}

static void json_string(struct line *l, const char *p, size_t n)
{
    put(l, "\"", 1);
    for (size_t i = 0; i < n;)
        i += json_char(l, p + i, n - i);
    put(l, "\"", 1);
}

/* The byte that two hex digits of log_quote stand for, or -1. */
static int hex_byte(const char *p)
{
    static const char digits[] = "0123456789abcdef";
    const char *high = p[0] == '\0' ? NULL : strchr(digits, p[0]);
    const char *low = p[1] == '\0' ? NULL : strchr(digits, p[1]);

    return high == NULL || low == NULL ? -1 : (int)((high - digits) * 16 + (low - digits));
}

/* Undo log_quote from behind the opening quote.  Returns what follows the closing one. */
static const char *json_unquote(struct line *l, const char *p, const char *end)
{
    put(l, "\"", 1);
    while (p < end && *p != '"') {
        uint8_t c;
        int byte;

        if (*p != '\\' || p + 1 == end) {
            p += json_char(l, p, (size_t)(end - p));
            continue;
        }
        c = (uint8_t)p[1];
        p += 2;
        if (c == 'n') {
            c = '\n';
        } else if (c == 't') {
            c = '\t';
        } else if (c == 'x' && end - p >= 2 && (byte = hex_byte(p)) >= 0) {
            c = (uint8_t)byte;
            p += 2;
        }
        json_char(l, (const char *)&c, 1);
    }
    put(l, "\"", 1);
    return p < end ? p + 1 : p;
}

/* A decimal integer as JSON writes it, that any reader keeps exact. */
static bool is_number(const char *p, size_t n)
{
    size_t i = n > 0 && p[0] == '-';

    if (i == n || n - i > 15 || (p[i] == '0' && n - i > 1))
        return false;
    for (; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
    }
    return true;
}

static void json_key(struct line *l, const char *p, size_t n)
{
    static const char *const ours[] = {"ts", "level", "subsystem", "event"};

    put(l, ",", 1);
    json_string(l, p, n);
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        if (strlen(ours[i]) == n && memcmp(p, ours[i], n) == 0) {
            l->n--; /* a member of this name is there already */
            put(l, "_\"", 2);
        }
    }
    put(l, ":", 1);
}

static size_t word(const char *p, const char *end, const char *stop)
{
    size_t n = 0;

    while (p + n < end && strchr(stop, p[n]) == NULL)
        n++;
    return n;
}

/* One pair at `p`; returns what follows it.  A word without '=' is a flag. */
static const char *json_pair(struct line *l, const char *p, const char *end)
{
    size_t n = word(p, end, "= ");

    json_key(l, p, n);
    p += n;
    if (p == end || *p != '=') {
        put_text(l, "true");
        return p;
    }
    p++;
    if (p < end && *p == '"')
        return json_unquote(l, p + 1, end);
    n = word(p, end, " ");
    if (is_number(p, n))
        put(l, p, n);
    else
        json_string(l, p, n);
    return p + n;
}

/* A member counts only when all of it fits, brace and newline included: a cut line stays valid
 * JSON. */
static void json_pairs(struct line *l, const char *pairs, size_t n)
{
    const char *end = pairs + n;

    for (const char *p = pairs; p < end;) {
        size_t before = l->n;

        if (*p == ' ') {
            p++;
            continue;
        }
        p = json_pair(l, p, end);
        if (l->n + 2 > sizeof(l->s)) {
            l->n = before;
            return;
        }
    }
}

/* --- both --- */

static void begin_text(struct line *l, const char *sub, const char *level, const char *event)
{
    char ts[40];

    put_text(l, timestamp(ts));
    put(l, " ", 1);
    put_text(l, level);
    put(l, " ", 1);
    put_text(l, sub);
    put(l, " ", 1);
    put_text(l, event);
}

static void begin_json(struct line *l, const char *sub, const char *level, const char *event)
{
    char ts[40];

    put_text(l, "{\"ts\":\"");
    put_text(l, timestamp(ts));
    put_text(l, "\",\"level\":\"");
    put_text(l, level);
    put_text(l, "\",\"subsystem\":\"");
    put_text(l, sub);
    put_text(l, "\",\"event\":");
    json_string(l, event, strlen(event));
}

static void write_line(const struct line *l)
{
    ssize_t n;

    do
        n = write(STDERR_FILENO, l->s, l->n);
    while (n < 0 && errno == EINTR);
    /* Where the log itself cannot be written there is nobody to tell. */
}

void log_event(enum log_subsystem sub, enum log_level level, const char *event, const char *fmt,
               ...)
{
    bool json = atomic_load_explicit(&format_now, memory_order_relaxed) == LOG_JSON;
    int saved = errno;
    struct line l;
    char pairs[4096];
    va_list ap;
    int n;

    if (!log_on(sub, level))
        return;
    va_start(ap, fmt);
    n = vsnprintf(pairs, sizeof(pairs), fmt, ap);
    va_end(ap);
    if (n < 0)
        n = 0;
    if ((size_t)n >= sizeof(pairs)) {
        n = (int)sizeof(pairs) - 1;
        memcpy(pairs + n - 3, "...", 4);
    }
    l.n = 0;
    if (to_journal()) {
        put(&l, "<", 1);
        put(&l, &level_priority[level], 1);
        put(&l, ">", 1);
    }
    if (json) {
        begin_json(&l, subsystems[sub], level_names[level], event);
        json_pairs(&l, pairs, (size_t)n);
        put(&l, "}\n", 2);
    } else {
        begin_text(&l, subsystems[sub], level_names[level], event);
        text_pairs(&l, pairs, (size_t)n);
        put(&l, "\n", 1);
    }
    write_line(&l);
    errno = saved;
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
