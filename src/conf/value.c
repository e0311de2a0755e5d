#include "conf/value.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "conf/source.h"
#include "conf/template.h"

enum { TEMPLATE_MOST = 1000, BACKOFF_MOST = 8 };

static void *member(const struct conf_row *row, void *base)
{
    return (char *)base + row->at;
}

static const void *member_const(const struct conf_row *row, const void *base)
{
    return (const char *)base + row->at;
}

static size_t *count_of(const struct conf_row *row, void *base)
{
    return (size_t *)(void *)((char *)base + row->count_at);
}

bool conf_row_takes_many(const struct conf_row *row)
{
    return row->kind == CONF_STRINGS || row->kind == CONF_PATHS || row->kind == CONF_NETWORKS ||
           row->kind == CONF_BACKOFF || row->kind == CONF_NUMBERS || row->kind == CONF_WORDS;
}

static bool is_secret(const struct conf_row *row)
{
    return strcmp(conf_row_name(row), "password") == 0;
}

static void show(const struct conf_row *row, const struct conf_value *v, struct buf *why)
{
    if (is_secret(row))
        buf_printf(why, "the value");
    else if (v->kind == VALUE_INT)
        buf_printf(why, "%" PRId64, v->i);
    else if (v->kind == VALUE_FLOAT)
        buf_printf(why, "%g", v->f);
    else if (v->kind == VALUE_BOOL)
        buf_printf(why, "%s", v->i != 0 ? "true" : "false");
    else if (v->kind == VALUE_OTHER)
        buf_printf(why, "a group or list");
    else
        buf_printf(why, "%s", LOG_Q(v->s));
}

/* "VALUE PROBLEM: ALLOWED" */
static int refuse(const struct conf_row *row, const struct conf_value *v, const char *problem,
                  struct buf *why)
{
    show(row, v, why);
    buf_printf(why, " %s: ", problem);
    conf_row_allowed(row, why);
    return -ERR_INVALID;
}

/* -- numbers ----------------------------------------------------------------------------------- */

struct factor {
    const char *suffix;
    int64_t millis, seconds, bytes; /* 0: has no meaning for that */
};

static const struct factor factors[] = {
    {"", 1, 1, 1},
    {"ms", 1, 0, 0},
    {"s", 1000, 1, 0},
    {"m", 60000, 60, 0},
    {"min", 60000, 60, 0},
    {"h", 3600000, 3600, 0},
    {"d", 86400000, 86400, 0},
    {"B", 0, 0, 1},
    {"kB", 0, 0, 1000},
    {"MB", 0, 0, 1000000},
    {"GB", 0, 0, 1000000000},
    {"KiB", 0, 0, 1 << 10},
    {"MiB", 0, 0, 1 << 20},
    {"GiB", 0, 0, 1 << 30},
};

static int64_t factor_for(const struct conf_row *row, const struct factor *f)
{
    switch ((int)row->kind) {
    case CONF_MILLIS:
        return f->millis;
    case CONF_SECONDS:
    case CONF_BACKOFF:
        return f->seconds;
    case CONF_BYTES:
        return f->bytes;
    default:
        return f->suffix[0] == '\0' ? 1 : 0;
    }
}

/* "30s", "1 MiB" -> the row's unit.  Returns false when it is no such text. */
static bool scaled(const struct conf_row *row, const char *s, int64_t *out)
{
    char *end;
    int64_t n;

    if (!isdigit((unsigned char)*s))
        return false;
    errno = 0;
    n = strtoll(s, &end, 10);
    if (errno != 0)
        return false;
    end += *end == ' ';
    for (size_t i = 0; i < sizeof(factors) / sizeof(factors[0]); i++) {
        int64_t factor = factor_for(row, &factors[i]);

        if (strcmp(end, factors[i].suffix) == 0 && factor != 0)
            return !__builtin_mul_overflow(n, factor, out);
    }
    return false;
}

static int number(const struct conf_row *row, const struct conf_value *v, int64_t *out,
                  struct buf *why)
{
    bool units = row->kind == CONF_MILLIS || row->kind == CONF_SECONDS || row->kind == CONF_BYTES ||
                 row->kind == CONF_BACKOFF;
    int64_t n = v->i;

    if (v->kind == VALUE_DEFAULT || (v->kind == VALUE_STRING && units)) {
        if (!scaled(row, v->s, &n))
            return refuse(row, v, "is not understood", why);
    } else if (v->kind != VALUE_INT) {
        return refuse(row, v, "is not a number", why);
    }
    if (n < row->least || n > row->most)
        return refuse(row, v, "is out of range", why);
    *out = n;
    return 0;
}

static void store_number(const struct conf_row *row, void *base, int64_t n)
{
    if (row->kind == CONF_PORT)
        *(uint16_t *)member(row, base) = (uint16_t)n;
    else if (row->kind == CONF_INT)
        *(int *)member(row, base) = (int)n;
    else
        *(uint32_t *)member(row, base) = (uint32_t)n;
}

static int set_bool(const struct conf_row *row, void *base, const struct conf_value *v,
                    struct buf *why)
{
    if (v->kind == VALUE_BOOL)
        *(bool *)member(row, base) = v->i != 0;
    else if (v->kind == VALUE_DEFAULT)
        *(bool *)member(row, base) = strcmp(v->s, "true") == 0;
    else
        return refuse(row, v, "is not a truth value", why);
    return 0;
}

static int set_percent(const struct conf_row *row, void *base, const struct conf_value *v,
                       struct buf *why)
{
    double percent = v->kind == VALUE_INT ? (double)v->i : v->f;
    char *end = NULL;
    int64_t n;

    if (v->kind == VALUE_DEFAULT)
        percent = strtod(v->s, &end);
    else if (v->kind != VALUE_INT && v->kind != VALUE_FLOAT)
        return refuse(row, v, "is not a number", why);
    if (!(percent * 1000 >= (double)row->least && percent * 1000 <= (double)row->most))
        return refuse(row, v, "is out of range", why);
    n = (int64_t)(percent * 1000 + 0.5);
    if (percent * 1000 - (double)n > 1e-6 || (double)n - percent * 1000 > 1e-6)
        return refuse(row, v, "has too many decimals", why);
    *(uint32_t *)member(row, base) = (uint32_t)n;
    return 0;
}

/* "2027-06-30" -> the moment at which that day is over, UTC. */
static int set_date(const struct conf_row *row, void *base, const struct conf_value *v,
                    struct buf *why)
{
    struct tm tm = {0}, there;
    const char *end;
    int64_t begins_s;

    if (v->kind != VALUE_STRING)
        return refuse(row, v, "is not a date in quotes", why);
    end = strlen(v->s) == 10 ? strptime(v->s, "%Y-%m-%d", &tm) : NULL;
    if (end == NULL || *end != '\0')
        return refuse(row, v, "is not a date", why);
    there = tm;
    begins_s = timegm(&there);
    if (there.tm_mday != tm.tm_mday) /* 31 June is 1 July */
        return refuse(row, v, "is not a date", why);
    *(int64_t *)member(row, base) = begins_s + 86400;
    return 0;
}

static int set_word(const struct conf_row *row, void *base, const struct conf_value *v,
                    struct buf *why)
{
    const char *nearest = NULL;
    unsigned best = 3;
    char text[32] = "";
    const char *s = v->s;

    if (v->kind == VALUE_FLOAT) { /* tls_min = 1.2 */
        snprintf(text, sizeof(text), "%.1f", v->f);
        s = text;
    } else if (v->kind != VALUE_STRING && v->kind != VALUE_DEFAULT) {
        return refuse(row, v, "is not a word in quotes", why);
    }
    for (const struct conf_word *w = row->words; w->word != NULL; w++) {
        unsigned distance = str_distance(s, w->word, best);

        if (distance == 0) {
            *(int *)member(row, base) = w->value;
            return 0;
        }
        if (distance < best) {
            best = distance;
            nearest = w->word;
        }
    }
    refuse(row, v, "is not known", why);
    if (nearest != NULL && v->kind == VALUE_STRING && strlen(s) > best)
        buf_printf(why, "; did you mean \"%s\"?", nearest);
    return -ERR_INVALID;
}

/* -- text
 * ------------------------------------------------------------------------------------------ */

static bool is_topic(const char *s)
{
    return s[0] != '$' && s[0] != '/' && strpbrk(s, "+#") == NULL && strstr(s, "//") == NULL &&
           s[strlen(s) - 1] != '/';
}

/* What a string must be beyond its length.  Returns its owned form, or NULL with `why`. */
static char *form(const struct conf_row *row, const struct conf_value *v, const char *file,
                  struct buf *why)
{
    struct err err = {0};
    uint8_t digest[32];
    char *s;

    switch ((int)row->kind) {
    case CONF_NAME:
        if (!str_is_name(v->s)) {
            refuse(row, v, "is not a name", why);
            return NULL;
        }
        break;
    case CONF_TOPIC:
        if (!is_topic(v->s)) {
            refuse(row, v, "is not a topic that can be used", why);
            return NULL;
        }
        break;
    case CONF_TEMPLATE:
        if (template_check(v->s, (unsigned)row->most, &err) != 0) {
            show(row, v, why);
            buf_printf(why, " is not a template: %s", err.msg);
            return NULL;
        }
        break;
    case CONF_FINGERPRINT:
        if (str_unhex(v->s, digest, sizeof(digest)) != 0) {
            refuse(row, v, "is not a fingerprint", why);
            return NULL;
        }
        s = malloc(2 * sizeof(digest) + 1);
        if (s != NULL)
            str_hex(s, digest, sizeof(digest));
        return s;
    case CONF_PATH:
        return v->s[0] == '\0' ? strdup("") : source_beside(file, v->s);
    default:
        break;
    }
    return strdup(v->s);
}

static int set_text(const struct conf_row *row, void *base, const struct conf_value *v,
                    const char *file, struct buf *why)
{
    int64_t most = row->kind == CONF_TEMPLATE ? TEMPLATE_MOST : row->most;
    char *s;
    int64_t n;

    if (v->kind != VALUE_STRING && v->kind != VALUE_DEFAULT)
        return refuse(row, v, "is not a string", why);
    n = (int64_t)strlen(v->s);
    if (n < row->least)
        return refuse(row, v, n == 0 ? "is empty" : "is too short", why);
    if (!str_is_utf8((const uint8_t *)v->s, (size_t)n))
        return refuse(row, v, "is not valid UTF-8", why);
    if (n <= most) {
        s = form(row, v, file, why);
        if (s == NULL)
            return -ERR_INVALID;
        if (row->kind != CONF_PATH || (int64_t)strlen(s) <= most) {
            *(char **)member(row, base) = s;
            return 0;
        }
        free(s);
    }
    return refuse(row, v, "is too long", why);
}

int conf_network_parse(const char *text, struct subnet *out, struct buf *why)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    const char *slash = strchr(text, '/');
    struct subnet net = {0};
    char addr[INET6_ADDRSTRLEN];
    size_t n = slash == NULL ? strlen(text) : (size_t)(slash - text);
    unsigned width;
    char *end = NULL;

    if (n >= sizeof(addr))
        goto bad;
    memcpy(addr, text, n);
    addr[n] = '\0';
    net.family = strchr(addr, ':') != NULL ? AF_INET6 : AF_INET;
    width = net.family == AF_INET6 ? 128 : 32;
    if (inet_pton(net.family, addr, net.addr) != 1)
        goto bad;
    net.bits = width;
    if (slash != NULL) {
        unsigned long bits = isdigit((unsigned char)slash[1]) ? strtoul(slash + 1, &end, 10) : 999;

        if (bits > width || *end != '\0')
            goto bad;
        net.bits = (unsigned)bits;
    }
    for (unsigned i = net.bits; i < width; i++) {
        if ((net.addr[i / 8] & (0x80u >> (i % 8))) == 0)
            continue;
        for (; i < width; i++)
            net.addr[i / 8] &= (uint8_t) ~(0x80u >> (i % 8));
        inet_ntop(net.family, net.addr, addr, sizeof(addr));
        buf_printf(why, "%s has bits set behind its prefix: did you mean \"%s/%u\"?", LOG_Q(text),
                   addr, net.bits);
        return -ERR_INVALID;
    }
    if (net.family == AF_INET6 && net.bits >= 96 && memcmp(net.addr, mapped, 12) == 0) {
        net.family = AF_INET;
        net.bits -= 96;
        memmove(net.addr, net.addr + 12, 4);
        memset(net.addr + 4, 0, 12);
    }
    *out = net;
    return 0;
bad:
    buf_printf(why, "%s is not a network: such as \"192.0.2.0/24\" or \"2001:db8::/32\"",
               LOG_Q(text));
    return -ERR_INVALID;
}

/* -- in and out
 * ------------------------------------------------------------------------------------- */

int conf_value_set(const struct conf_row *row, void *base, const struct conf_value *v,
                   const char *file, struct buf *why)
{
    int64_t n;
    int rc;

    switch (row->kind) {
    case CONF_BOOL:
        return set_bool(row, base, v, why);
    case CONF_ENUM:
        return set_word(row, base, v, why);
    case CONF_PERCENT:
        return set_percent(row, base, v, why);
    case CONF_DATE:
        return set_date(row, base, v, why);
    case CONF_UINT:
    case CONF_INT:
    case CONF_PORT:
    case CONF_MILLIS:
    case CONF_SECONDS:
    case CONF_BYTES:
        rc = number(row, v, &n, why);
        if (rc == 0)
            store_number(row, base, n);
        return rc;
    case CONF_STRING:
    case CONF_SECRET:
    case CONF_NAME:
    case CONF_GLOB:
    case CONF_TEMPLATE:
    case CONF_PATH:
    case CONF_FINGERPRINT:
    case CONF_TOPIC:
        return set_text(row, base, v, file, why);
    case CONF_GROUP:
    case CONF_LIST:
    case CONF_STRINGS:
    case CONF_PATHS:
    case CONF_NETWORKS:
    case CONF_BACKOFF:
    case CONF_NUMBERS:
    case CONF_WORDS:
        break;
    }
    return refuse(row, v, "does not fit", why);
}

static int set_element(const struct conf_row *row, void *at, const struct conf_value *v,
                       const char *file, struct buf *why)
{
    struct conf_row one = *row;
    int64_t n;
    int rc;

    one.at = 0;
    one.least = 1;
    one.most = row->kind == CONF_PATHS ? 4000 : 255; /* ALPN names: RFC 7301, 3.1 */
    one.kind = row->kind == CONF_PATHS ? CONF_PATH : CONF_STRING;
    switch ((int)row->kind) {
    case CONF_BACKOFF:
    case CONF_NUMBERS:
        rc = number(row, v, &n, why);
        if (rc == 0)
            *(uint32_t *)at = (uint32_t)n;
        return rc;
    case CONF_NETWORKS:
        if (v->kind != VALUE_STRING)
            return refuse(row, v, "is not a network in quotes", why);
        return conf_network_parse(v->s, at, why);
    default:
        return set_text(&one, at, v, file, why);
    }
}

/* Every word is a bit. */
static int set_words(const struct conf_row *row, void *base, const struct conf_value *v, size_t n,
                     struct buf *why)
{
    struct conf_row one = *row;
    unsigned bits = 0;
    int rc = 0;

    one.at = 0;
    for (size_t i = 0; i < n; i++) {
        size_t before = why->len;
        int word = 0;

        if (before > 0)
            buf_printf(why, "; ");
        if (set_word(&one, &word, &v[i], why) == 0) {
            why->len = before;
            bits |= (unsigned)word;
        } else {
            rc = -ERR_INVALID;
        }
    }
    *(unsigned *)member(row, base) = bits;
    return rc;
}

int conf_value_set_all(const struct conf_row *row, void *base, const struct conf_value *v, size_t n,
                       const char *file, struct buf *why)
{
    bool backoff = row->kind == CONF_BACKOFF || row->kind == CONF_NUMBERS;
    size_t size = backoff                      ? sizeof(uint32_t)
                  : row->kind == CONF_NETWORKS ? sizeof(struct subnet)
                                               : sizeof(char *);
    int64_t most = backoff ? BACKOFF_MOST : row->most;
    int64_t least = backoff ? 1 : row->least;
    size_t good = 0;
    char *p;
    int rc = 0;

    if ((int64_t)n < least || (int64_t)n > most) {
        buf_printf(why, "has %zu values: ", n);
        conf_row_allowed(row, why);
        return -ERR_INVALID;
    }
    if (n == 0)
        return 0;
    if (row->kind == CONF_WORDS)
        return set_words(row, base, v, n, why);
    p = backoff ? member(row, base) : calloc(n, size);
    if (p == NULL) {
        buf_printf(why, "out of memory");
        return -ERR_NOMEM;
    }
    for (size_t i = 0; i < n; i++) { /* all of them, for all their faults */
        size_t before = why->len;

        if (before > 0)
            buf_printf(why, "; ");
        if (set_element(row, p + good * size, &v[i], file, why) == 0) {
            why->len = before;
            good++;
        } else {
            rc = -ERR_INVALID;
        }
    }
    if (!backoff)
        *(void **)member(row, base) = p;
    *count_of(row, base) = good;
    return rc;
}

int conf_value_default(const struct conf_row *row, void *base, const char *file, struct buf *why)
{
    struct conf_value v = {.kind = VALUE_DEFAULT, .s = row->def};
    struct conf_value all[BACKOFF_MOST];
    char text[128];
    char *save = NULL;
    size_t n = 0;

    if (row->def == NULL || row->def == conf_required)
        return 0;
    if (!conf_row_takes_many(row))
        return conf_value_set(row, base, &v, file, why);
    snprintf(text, sizeof(text), "%s", row->def);
    for (char *s = strtok_r(text, "[], ", &save); s != NULL && n < BACKOFF_MOST;
         s = strtok_r(NULL, "[], ", &save))
        all[n++] = (struct conf_value){.kind = VALUE_DEFAULT, .s = s};
    return conf_value_set_all(row, base, all, n, file, why);
}

void conf_value_text(const struct conf_row *row, const void *base, struct buf *out)
{
    const void *at = member_const(row, base);

    if (is_secret(row)) {
        buf_printf(out, "%s", *(char *const *)at == NULL ? "(none)" : "***");
        return;
    }
    switch (row->kind) {
    case CONF_BOOL:
        buf_printf(out, "%s", *(const bool *)at ? "true" : "false");
        break;
    case CONF_PORT:
        buf_printf(out, "%u", *(const uint16_t *)at);
        break;
    case CONF_INT:
        buf_printf(out, "%d", *(const int *)at);
        break;
    case CONF_UINT:
    case CONF_MILLIS:
    case CONF_SECONDS:
    case CONF_BYTES:
    case CONF_PERCENT:
        buf_printf(out, "%" PRIu32, *(const uint32_t *)at);
        break;
    case CONF_ENUM:
        for (const struct conf_word *w = row->words; w->word != NULL; w++) {
            if (w->value == *(const int *)at)
                buf_printf(out, "%s", w->word);
        }
        break;
    case CONF_DATE:
        buf_printf(out, "%" PRId64, *(const int64_t *)at);
        break;
    case CONF_STRING:
    case CONF_NAME:
    case CONF_GLOB:
    case CONF_TEMPLATE:
    case CONF_PATH:
    case CONF_FINGERPRINT:
    case CONF_TOPIC:
        buf_printf(out, "%s", *(char *const *)at == NULL ? "(none)" : *(char *const *)at);
        break;
    case CONF_SECRET:
    case CONF_GROUP:
    case CONF_LIST:
    case CONF_STRINGS:
    case CONF_PATHS:
    case CONF_NETWORKS:
    case CONF_BACKOFF:
    case CONF_NUMBERS:
    case CONF_WORDS:
        break;
    }
}

void conf_value_free(const struct conf_row *row, void *base)
{
    char ***strings;
    char **s;

    switch (row->kind) {
    case CONF_SECRET:
    case CONF_STRING:
    case CONF_NAME:
    case CONF_GLOB:
    case CONF_TEMPLATE: /* an upstream's may hold a password */
    case CONF_PATH:
    case CONF_FINGERPRINT:
    case CONF_TOPIC:
        s = member(row, base);
        if (*s != NULL)
            explicit_bzero(*s, strlen(*s));
        free(*s);
        *s = NULL;
        break;
    case CONF_STRINGS:
    case CONF_PATHS:
        strings = member(row, base);
        for (size_t i = 0; i < *count_of(row, base); i++)
            free((*strings)[i]);
        free(*strings);
        *strings = NULL;
        *count_of(row, base) = 0;
        break;
    case CONF_NETWORKS:
        free(*(void **)member(row, base));
        *(void **)member(row, base) = NULL;
        *count_of(row, base) = 0;
        break;
    case CONF_GROUP:
    case CONF_LIST:
    case CONF_BOOL:
    case CONF_UINT:
    case CONF_INT:
    case CONF_PORT:
    case CONF_MILLIS:
    case CONF_SECONDS:
    case CONF_BYTES:
    case CONF_DATE:
    case CONF_ENUM:
    case CONF_BACKOFF:
    case CONF_NUMBERS:
    case CONF_PERCENT:
    case CONF_WORDS:
        break;
    }
}
