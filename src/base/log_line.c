#include "base/log_line.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/str.h"

#define IDENTIFIER "certflipd"
#define PREFIX     "CERTFLIP_"
#define FIELD_MAX  64 /* bytes of a field's name in the journal */

static const char priorities[] = "34567"; /* syslog(3) */

static void put(struct log_line *l, const char *s, size_t n)
{
    size_t room = sizeof(l->s) - l->n;

    if (n > room)
        n = room;
    memcpy(l->s + l->n, s, n);
    l->n += n;
}

static void put_text(struct log_line *l, const char *s)
{
    put(l, s, strlen(s));
}

/* strftime and snprintf take longer than all the rest of a line. */
static void digits(char *out, size_t n, int v)
{
    for (; n > 0; v /= 10)
        out[--n] = (char)('0' + v % 10);
}

const char *log_time(int64_t wall_ms, char out[40])
{
    time_t s = (time_t)(wall_ms / 1000);
    struct tm tm;

    if (wall_ms < 0 || gmtime_r(&s, &tm) == NULL || tm.tm_year > 8099)
        tm = (struct tm){.tm_year = 70, .tm_mday = 1}; /* what no four digits can tell */
    memcpy(out, "0000-00-00T00:00:00.000Z", 25);
    digits(out, 4, tm.tm_year + 1900);
    digits(out + 5, 2, tm.tm_mon + 1);
    digits(out + 8, 2, tm.tm_mday);
    digits(out + 11, 2, tm.tm_hour);
    digits(out + 14, 2, tm.tm_min);
    digits(out + 17, 2, tm.tm_sec);
    digits(out + 20, 3, wall_ms < 0 ? 0 : (int)(wall_ms % 1000));
    return out;
}

/* -- pairs -- */

/* Up to a blank, or `stop`. */
static size_t word(const char *p, const char *end, char stop)
{
    const char *from = p;

    while (p < end && *p != ' ' && *p != stop)
        p++;
    return (size_t)(p - from);
}

/* From behind the opening quote to the closing one, or the end. */
static size_t quoted(const char *p, const char *end)
{
    size_t n = 0;

    while (p + n < end && p[n] != '"')
        n += p[n] == '\\' && p + n + 1 < end ? 2 : 1;
    return n;
}

bool log_pair_next(const char **p, const char *end, struct log_pair *out)
{
    const char *at = *p;

    while (at < end && *at == ' ')
        at++;
    *p = at;
    if (at == end)
        return false;
    *out = (struct log_pair){.key = at, .key_n = word(at, end, '=')};
    at += out->key_n;
    out->value = at;
    out->flag = at == end || *at != '=';
    if (!out->flag) {
        out->quoted = ++at < end && *at == '"';
        at += out->quoted;
        out->value = at;
        out->value_n = out->quoted ? quoted(at, end) : word(at, end, ' ');
        at += out->value_n;
        at += out->quoted && at < end;
    }
    *p = at;
    return true;
}

bool log_pair_is(const struct log_pair *pair, const char *key)
{
    return strlen(key) == pair->key_n && memcmp(key, pair->key, pair->key_n) == 0;
}

/* The byte that two hex digits of log_quote stand for, or -1. */
static int hex_byte(const char *p)
{
    int high = str_hex_digit(p[0]), low = str_hex_digit(p[1]);

    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

size_t log_pair_value(const struct log_pair *pair, char *out, size_t n)
{
    const char *p = pair->value, *end = p + pair->value_n;
    size_t o = 0;

    if (pair->flag) {
        p = "true";
        end = p + 4;
    }
    for (; p < end && o < n; p++) {
        int byte;

        out[o] = *p;
        if (pair->quoted && *p == '\\' && p + 1 < end) {
            out[o] = *++p;
            if (*p == 'n') {
                out[o] = '\n';
            } else if (*p == 't') {
                out[o] = '\t';
            } else if (*p == 'x' && end - p > 2 && (byte = hex_byte(p + 1)) >= 0) {
                out[o] = (char)byte;
                p += 2;
            }
        }
        o++;
    }
    return o;
}

/* -- text -- */

/* The pairs as they are; only what would break the line or a terminal becomes a blank. */
static void text_pairs(struct log_line *l, const char *pairs, size_t n)
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

static void put_priority(struct log_line *l, const struct log_record *r)
{
    put(l, "<", 1);
    put(l, &priorities[r->level], 1);
    put(l, ">", 1);
}

void log_line_text(struct log_line *l, const struct log_record *r, bool priority)
{
    char ts[40];

    l->n = 0;
    if (priority)
        put_priority(l, r);
    put_text(l, log_time(r->wall_ms, ts));
    put(l, " ", 1);
    put_text(l, log_level_name(r->level));
    put(l, " ", 1);
    put_text(l, log_subsystem_name(r->sub));
    put(l, " ", 1);
    put_text(l, r->event);
    text_pairs(l, r->pairs, r->n);
    put(l, "\n", 1);
}

/* -- JSON -- */

/* One byte, or one UTF-8 character, of a string.  A byte that is neither is shown as \xNN in plain
 * text. */
static size_t json_char(struct log_line *l, const char *p, size_t n)
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

static void json_string(struct log_line *l, const char *p, size_t n)
{
    put(l, "\"", 1);
    for (size_t i = 0; i < n;)
        i += json_char(l, p + i, n - i);
    put(l, "\"", 1);
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

static void json_key(struct log_line *l, const struct log_pair *pair)
{
    static const char *const ours[] = {"ts", "level", "subsystem", "event"};

    put(l, ",", 1);
    json_string(l, pair->key, pair->key_n);
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        if (log_pair_is(pair, ours[i])) {
            l->n--; /* a member of this name is there already */
            put(l, "_\"", 2);
        }
    }
    put(l, ":", 1);
}

static void json_pair(struct log_line *l, const struct log_pair *pair)
{
    char value[LOG_PAIRS_MAX];

    json_key(l, pair);
    if (pair->flag)
        put_text(l, "true");
    else if (!pair->quoted && is_number(pair->value, pair->value_n))
        put(l, pair->value, pair->value_n);
    else
        json_string(l, value, log_pair_value(pair, value, sizeof(value)));
}

/* A member counts only when all of it fits, brace and newline included: a cut line stays valid
 * JSON. */
static void json_pairs(struct log_line *l, const char *pairs, size_t n)
{
    const char *p = pairs;
    struct log_pair pair;

    while (log_pair_next(&p, pairs + n, &pair)) {
        size_t before = l->n;

        json_pair(l, &pair);
        if (l->n + 2 > sizeof(l->s)) {
            l->n = before;
            return;
        }
    }
}

void log_line_json(struct log_line *l, const struct log_record *r, bool priority)
{
    char ts[40];

    l->n = 0;
    if (priority)
        put_priority(l, r);
    put_text(l, "{\"ts\":\"");
    put_text(l, log_time(r->wall_ms, ts));
    put_text(l, "\",\"level\":\"");
    put_text(l, log_level_name(r->level));
    put_text(l, "\",\"subsystem\":\"");
    put_text(l, log_subsystem_name(r->sub));
    put_text(l, "\",\"event\":");
    json_string(l, r->event, strlen(r->event));
    json_pairs(l, r->pairs, r->n);
    put(l, "}\n", 2);
}

/* -- the journal -- */

static bool is_plain(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)p[i] < 0x20 && p[i] != '\t')
            return false;
    return true;
}

static void field(struct log_datagram *d, const char *name, size_t name_n, const char *value,
                  size_t n)
{
    size_t room = sizeof(d->s) - d->n;
    char *s = d->s + d->n;

    if (name_n + n + 10 > room)
        return;
    memcpy(s, name, name_n);
    s += name_n;
    if (is_plain(value, n)) {
        *s++ = '=';
    } else { /* the length in little endian, whatever the machine's order is */
        *s++ = '\n';
        for (unsigned i = 0; i < 8; i++)
            *s++ = (char)((uint64_t)n >> 8 * i & 0xff);
    }
    memcpy(s, value, n);
    s += n;
    *s++ = '\n';
    d->n = (size_t)(s - d->s);
}

static void field_text(struct log_datagram *d, const char *name, const char *value)
{
    field(d, name, strlen(name), value, strlen(value));
}

/* "cause" -> "CERTFLIP_CAUSE".  Returns its length; 0: it has no name that the journal takes. */
static size_t field_name(const struct log_pair *pair, char out[FIELD_MAX])
{
    size_t n = sizeof(PREFIX) - 1;

    if (pair->key_n == 0 || n + pair->key_n + 1 > FIELD_MAX)
        return 0;
    memcpy(out, PREFIX, n);
    for (size_t i = 0; i < pair->key_n; i++) {
        char c = pair->key[i];

        if (c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        else if ((c < '0' || c > '9') && (c < 'A' || c > 'Z'))
            c = '_';
        out[n++] = c;
    }
    if (log_pair_is(pair, "event") || log_pair_is(pair, "subsystem"))
        out[n++] = '_'; /* these are the line's own */
    return n;
}

static void message(struct log_datagram *d, const struct log_record *r, enum log_format format)
{
    struct log_line l = {.n = 0};

    if (format == LOG_JSON) {
        log_line_json(&l, r, false);
        l.n--; /* its newline */
    } else {   /* time and level have their own fields */
        put_text(&l, log_subsystem_name(r->sub));
        put(&l, " ", 1);
        put_text(&l, r->event);
        text_pairs(&l, r->pairs, r->n);
    }
    field(d, "MESSAGE", 7, l.s, l.n);
}

void log_line_journal(struct log_datagram *d, const struct log_record *r, enum log_format format)
{
    const char *p = r->pairs;
    struct log_pair pair;
    char value[LOG_PAIRS_MAX], name[FIELD_MAX];

    d->n = 0;
    message(d, r, format);
    field(d, "PRIORITY", 8, &priorities[r->level], 1);
    field_text(d, "SYSLOG_IDENTIFIER", IDENTIFIER);
    field_text(d, PREFIX "SUBSYSTEM", log_subsystem_name(r->sub));
    field_text(d, PREFIX "EVENT", r->event);
    while (log_pair_next(&p, r->pairs + r->n, &pair)) {
        size_t n = field_name(&pair, name);

        if (n > 0)
            field(d, name, n, value, log_pair_value(&pair, value, sizeof(value)));
    }
}
