#include "base/names.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

/* -- attributes -- */

struct attribute {
    const char *name;
    const char *oid; /* contents octets */
    uint8_t oid_len;
    uint8_t string; /* enum dn_string */
    uint16_t most;  /* characters */
};

#define OID(s) s, sizeof(s) - 1

/* clang-format off */
static const struct attribute attributes[] = { /* RFC 4514, 3, and more; bounds of RFC 5280, A.1 */
    { "CN",           OID("\x55\x04\x03"),                             DN_UTF8,      64 },
    { "SN",           OID("\x55\x04\x04"),                             DN_UTF8,      32768 },
    { "serialNumber", OID("\x55\x04\x05"),                             DN_PRINTABLE, 64 },
    { "C",            OID("\x55\x04\x06"),                             DN_PRINTABLE, 2 },
    { "L",            OID("\x55\x04\x07"),                             DN_UTF8,      128 },
    { "ST",           OID("\x55\x04\x08"),                             DN_UTF8,      128 },
    { "STREET",       OID("\x55\x04\x09"),                             DN_UTF8,      128 },
    { "O",            OID("\x55\x04\x0a"),                             DN_UTF8,      64 },
    { "OU",           OID("\x55\x04\x0b"),                             DN_UTF8,      64 },
    { "title",        OID("\x55\x04\x0c"),                             DN_UTF8,      64 },
    { "postalCode",   OID("\x55\x04\x11"),                             DN_UTF8,      40 },
    { "GN",           OID("\x55\x04\x2a"),                             DN_UTF8,      32768 },
    { "dnQualifier",  OID("\x55\x04\x2e"),                             DN_PRINTABLE, 64 },
    { "UID",          OID("\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01"), DN_UTF8,      256 },
    { "DC",           OID("\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19"), DN_IA5,       63 },
    { "emailAddress", OID("\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01"),     DN_IA5,       255 },
};
/* clang-format on */

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct attribute *attribute_find(const char *name, size_t n)
{
    for (size_t i = 0; i < COUNT(attributes); i++)
        if (strlen(attributes[i].name) == n && strncasecmp(attributes[i].name, name, n) == 0)
            return &attributes[i];
    return NULL;
}

/* A number of the dotted form in base 128 [X.690, 8.19.2]. */
static bool put_arc(struct dn_part *p, uint64_t arc)
{
    uint8_t digits[10];
    size_t n = 0;

    do {
        digits[n++] = (uint8_t)(arc & 0x7f);
        arc >>= 7;
    } while (arc != 0);
    if (p->oid_len + n > DN_OID_MAX)
        return false;
    while (n-- > 0)
        p->oid[p->oid_len++] = (uint8_t)(digits[n] | (n > 0 ? 0x80 : 0));
    return true;
}

/* "2.5.4.3": at least two numbers, without leading zeros. */
static bool oid_parse(const char *s, size_t n, struct dn_part *p)
{
    uint64_t arc = 0, first = 0;
    size_t arcs = 0, digits = 0;

    for (size_t i = 0; i <= n; i++) {
        if (i < n && s[i] >= '0' && s[i] <= '9') {
            if (digits++ > 0 && arc == 0)
                return false;
            arc = arc * 10 + (uint64_t)(s[i] - '0');
            if (arc >> 48 != 0)
                return false;
            continue;
        }
        if ((i < n && s[i] != '.') || digits == 0)
            return false;
        if (arcs == 0)
            first = arc;
        else if (arcs == 1 && (first > 2 || (first < 2 && arc > 39)))
            return false;
        if (arcs > 0 && !put_arc(p, arcs == 1 ? first * 40 + arc : arc))
            return false;
        arcs++;
        arc = 0;
        digits = 0;
    }
    return arcs >= 2;
}

/* -- values -- */

static bool is_special(char c)
{
    return c != '\0' && strchr("\"+,;<>\\", c) != NULL;
}

static void skip_blanks(const char **at)
{
    while (**at == ' ')
        ++*at;
}

/* "#04024869": an element as it is to be encoded; whether it is one is looked at. */
static int parse_raw(const char **at, struct dn_part *p, struct err *err)
{
    const char *s = *at + 1;
    size_t n = 0, header = 2, len;
    const uint8_t *v = (const uint8_t *)p->value;

    while (str_hex_digit(s[0]) >= 0 && str_hex_digit(s[1]) >= 0) {
        p->value[n++] = (char)(str_hex_digit(s[0]) << 4 | str_hex_digit(s[1]));
        s += 2;
    }
    if (n < 2 || str_hex_digit(*s) >= 0)
        return err_set(err, ERR_SYNTAX, "behind # stand pairs of hex digits: one element in DER");
    len = v[1];
    if (len == 0x81 && n > 2 && v[2] >= 0x80) {
        len = v[2];
        header = 3;
    } else if (len == 0x82 && n > 3 && v[2] != 0) {
        len = (size_t)v[2] << 8 | v[3];
        header = 4;
    } else if (len >= 0x80) {
        len = SIZE_MAX - header;
    }
    if (len + header != n)
        return err_set(err, ERR_SYNTAX, "behind # stands something else than one element in DER");
    p->string = DN_RAW;
    p->n = n;
    *at = s;
    return 0;
}

static int parse_text(const char **at, struct dn_part *p, struct err *err)
{
    const char *s = *at;
    size_t n = 0, solid = 0; /* bytes up to the last that is no bare blank */

    if (*s == '"')
        return err_set(err, ERR_SYNTAX,
                       "quotes do not quote here: put a backslash before , + \" \\ < > ;");
    while (*s != '\0' && *s != ',' && *s != '+') {
        if (*s == '\\' && str_hex_digit(s[1]) >= 0 && str_hex_digit(s[2]) >= 0) {
            p->value[n++] = (char)(str_hex_digit(s[1]) << 4 | str_hex_digit(s[2]));
            solid = n;
            s += 3;
        } else if (*s == '\\' && (is_special(s[1]) || s[1] == ' ' || s[1] == '#' || s[1] == '=')) {
            p->value[n++] = s[1];
            solid = n;
            s += 2;
        } else if (is_special(*s)) {
            return err_set(err, ERR_SYNTAX, "a bare %c: put a backslash before it", *s);
        } else {
            p->value[n++] = *s;
            solid = *s == ' ' ? solid : n;
            s++;
        }
    }
    p->n = solid;
    *at = s;
    return 0;
}

static bool is_printable(unsigned char c) /* X.680, 41.4 */
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr(" '()+,-./:=?", c) != NULL);
}

static size_t characters(const char *s, size_t n)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++)
        count += ((unsigned char)s[i] & 0xc0) != 0x80;
    return count;
}

static int check_value(const struct dn_part *p, const struct attribute *a, struct err *err)
{
    size_t most = a == NULL ? NAME_TEXT_MAX : a->most;

    if (p->string == DN_RAW)
        return 0;
    if (p->n == 0)
        return err_set(err, ERR_INVALID, "is empty");
    if (!str_is_utf8((const uint8_t *)p->value, p->n))
        return err_set(err, ERR_INVALID, "is not UTF-8");
    for (size_t i = 0; i < p->n; i++) {
        unsigned char c = (unsigned char)p->value[i];

        if (p->string == DN_PRINTABLE && !is_printable(c))
            return err_set(err, ERR_INVALID, "allows only letters, digits, blanks and '()+,-./:=?");
        if (p->string == DN_IA5 && c >= 0x80)
            return err_set(err, ERR_INVALID, "allows only ASCII");
    }
    if (characters(p->value, p->n) > most)
        return err_set(err, ERR_TOO_BIG, "\"%.40s%s\" has %zu characters, at most %zu are allowed",
                       p->value, p->n > 40 ? "..." : "", characters(p->value, p->n), most);
    if (a != NULL && strcmp(a->name, "C") == 0 && p->n != 2)
        return err_set(err, ERR_INVALID, "is a country of two letters");
    return 0;
}

/* One "TYPE=VALUE"; *at moves behind it. */
static int parse_part(const char **at, struct dn_part *p, struct err *err)
{
    const struct attribute *a;
    const char *name;
    size_t n;
    int rc;

    skip_blanks(at);
    name = *at;
    n = strcspn(name, "=,+");
    if (name[n] != '=')
        return err_set(err, ERR_SYNTAX, "\"%.40s\": write TYPE=VALUE, separated by commas", name);
    *at = name + n + 1;
    while (n > 0 && name[n - 1] == ' ')
        n--;
    if (n > 4 && strncasecmp(name, "OID.", 4) == 0) {
        name += 4;
        n -= 4;
    }
    a = attribute_find(name, n);
    if (a != NULL) {
        memcpy(p->oid, a->oid, a->oid_len);
        p->oid_len = a->oid_len;
        p->string = (enum dn_string)a->string;
    } else if (!oid_parse(name, n, p)) {
        return err_set(err, ERR_INVALID,
                       "there is no attribute \"%.*s\": CN, O, OU, C, L, ST, STREET, DC, UID, "
                       "serialNumber, title, GN, SN, postalCode, dnQualifier, emailAddress, or an "
                       "OID such as 2.5.4.3",
                       (int)(n > 40 ? 40 : n), name);
    }
    skip_blanks(at);
    p->value = malloc(strlen(*at) + 1);
    if (p->value == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    rc = **at == '#' ? parse_raw(at, p, err) : parse_text(at, p, err);
    p->value[rc == 0 ? p->n : 0] = '\0';
    if (rc == 0)
        rc = check_value(p, a, err);
    if (rc != 0)
        return err_wrap(err, rc, "%.*s", (int)(n > 40 ? 40 : n), name);
    skip_blanks(at);
    return 0;
}

int dn_parse(const char *text, struct dn *out, struct err *err)
{
    struct dn dn = {.count = 0};
    const char *at = text;
    bool joined = false;
    int rc = 0;

    if (strlen(text) > NAME_TEXT_MAX)
        return err_set(err, ERR_TOO_BIG, "is longer than %d bytes", NAME_TEXT_MAX);
    skip_blanks(&at);
    while (*at != '\0' || dn.count > 0) {
        struct dn_part *p = &dn.parts[dn.count];

        if (dn.count == DN_PARTS_MAX) {
            rc = err_set(err, ERR_TOO_BIG, "has more than %d parts", DN_PARTS_MAX);
            break;
        }
        *p = (struct dn_part){.joined = joined};
        dn.count++;
        rc = parse_part(&at, p, err);
        if (rc != 0 || *at == '\0')
            break;
        if (*at != ',' && *at != '+') {
            rc = err_set(err, ERR_SYNTAX, "\"%.40s\": a comma is missing before it", at);
            break;
        }
        joined = *at++ == '+';
    }
    if (rc != 0) {
        dn_fini(&dn);
        return rc;
    }
    *out = dn;
    return 0;
}

void dn_fini(struct dn *dn)
{
    for (size_t i = 0; i < dn->count; i++)
        free(dn->parts[i].value);
    dn->count = 0;
}

/* -- alternative names -- */

/* A host name [RFC 1123, 2.1], with '_' as it is met in the wild, and "*." in front. */
static bool is_host(const char *s)
{
    size_t label = 0, all = strlen(s);

    if (s[0] == '*' && s[1] == '.')
        s += 2;
    if (all == 0 || all > 253)
        return false;
    for (; *s != '\0'; s++) {
        bool alnum =
            (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9');

        if (*s == '.') {
            if (label == 0 || s[-1] == '-')
                return false;
            label = 0;
            continue;
        }
        if (!alnum && *s != '_' && (*s != '-' || label == 0))
            return false;
        if (++label > 63)
            return false;
    }
    return label > 0 && s[-1] != '-';
}

static bool is_visible(const char *s)
{
    for (; *s != '\0'; s++)
        if (*s <= ' ' || *s > '~')
            return false;
    return true;
}

static bool is_uri(const char *s) /* RFC 3986, 3.1; absolute [RFC 5280, 4.2.1.6] */
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");

    return n > 0 && s[n] == ':' && s[n + 1] != '\0' && (s[0] < '0' || s[0] > '9') && s[0] != '+' &&
           s[0] != '-' && s[0] != '.' && is_visible(s) && strpbrk(s, "\"<>\\^`{|}") == NULL;
}

static bool is_email(const char *s)
{
    const char *monkey = strrchr(s, '@');

    return monkey != NULL && monkey != s && strchr(s, '@') == monkey && is_visible(s) &&
           monkey[1] != '*' && is_host(monkey + 1);
}

static bool take_ip(const char *s, struct san *san)
{
    if (inet_pton(AF_INET, s, san->ip) == 1)
        san->ip_len = 4;
    else if (inet_pton(AF_INET6, s, san->ip) == 1)
        san->ip_len = 16;
    return san->ip_len != 0;
}

int san_parse(const char *text, struct san *out, struct err *err)
{
    static const struct {
        const char *prefix, *what;
    } kinds[] = {
        [SAN_DNS] = {"DNS:", "a host name"},
        [SAN_URI] = {"URI:", "an absolute URI"},
        [SAN_EMAIL] = {"email:", "an address such as a@example.com"},
        [SAN_IP] = {"IP:", "an IP address"},
    };
    struct san san = {.ip_len = 0};
    bool good = false;

    if (strlen(text) > NAME_TEXT_MAX)
        return err_set(err, ERR_TOO_BIG, "is longer than %d bytes", NAME_TEXT_MAX);
    for (size_t i = 0; i < COUNT(kinds); i++) {
        size_t n = strlen(kinds[i].prefix);

        if (strncasecmp(text, kinds[i].prefix, n) != 0)
            continue;
        san.kind = (enum san_kind)i;
        memcpy(san.text, text + n, strlen(text + n) + 1);
        switch (san.kind) {
        case SAN_DNS:
            good = is_host(san.text);
            break;
        case SAN_URI:
            good = is_uri(san.text);
            break;
        case SAN_EMAIL:
            good = is_email(san.text);
            break;
        case SAN_IP:
            good = take_ip(san.text, &san);
            break;
        }
        if (!good)
            return err_set(err, ERR_SYNTAX, "\"%.80s\": behind %s stands %s", text, kinds[i].prefix,
                           kinds[i].what);
        *out = san;
        return 0;
    }
    return err_set(err, ERR_SYNTAX, "\"%.80s\": begins with none of DNS: URI: email: IP:", text);
}
