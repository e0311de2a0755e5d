#include "conf/check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/durable.h"
#include "base/map.h"
#include "base/names.h"
#include "base/str.h"
#include "conf/template.h"

enum { PEM_BYTES = 4 << 20 };

static const char management_name[] = "management";

static void no_memory(struct parse *p)
{
    conf_fault(&p->faults, (struct conf_place){p->main_file, 0}, NULL, "out of memory");
}

/* *into = copy of `s`, where it is not set. */
static void fill(struct parse *p, char **into, const char *s)
{
    if (*into != NULL || s == NULL)
        return;
    *into = strdup(s);
    if (*into == NULL)
        no_memory(p);
}

/* Which of the `count` structs of `size` bytes, whose first member is its name, is called most like
 * `name`?  NULL: none. */
static const char *nearest(const char *name, const void *array, size_t count, size_t size)
{
    const char *found = NULL;
    unsigned best = 3;

    for (size_t i = 0; i < count; i++) {
        const char *other = *(char *const *)(const void *)((const char *)array + i * size);
        unsigned distance = other == NULL ? best : str_distance(name, other, best);

        if (distance < best && distance < strlen(name)) {
            best = distance;
            found = other;
        }
    }
    return found;
}

/* A reference to something that is not there. */
static void dangling(struct parse *p, const void *base, const char *key, const char *kind,
                     const char *name, const char *near)
{
    if (near != NULL)
        parse_fault(p, base, key, "there is no %s \"%s\": did you mean \"%s\"?", kind, name, near);
    else
        parse_fault(p, base, key, "there is no %s \"%s\": add it, or name one that is there", kind,
                    name);
}

/* Report those of the array that have the name of an earlier one. */
static void twice(struct parse *p, void *array, size_t count, size_t size, const char *key)
{
    struct map *seen = map_new();

    for (size_t i = 0; seen != NULL && i < count; i++) {
        void *element = (char *)array + i * size;
        const char *name = *(char **)element;
        const struct parse_spot *first;
        void *other;

        if (name == NULL || strchr(name, '{') != NULL) /* templates may be alike */
            continue;
        other = map_get(seen, name);
        if (other == NULL) {
            if (map_put(seen, name, element) != 0)
                no_memory(p);
            continue;
        }
        first = parse_spot(p, other, key);
        parse_fault(p, element, key, "\"%s\" is taken already at %s:%u: names must differ", name,
                    first == NULL ? "?" : first->at.file, first == NULL ? 0 : first->at.line);
    }
    if (seen == NULL)
        no_memory(p);
    map_free(seen);
}

static bool is_ip(const char *s)
{
    char address[INET6_ADDRSTRLEN];
    uint8_t raw[16];
    size_t n = strcspn(s, "%"); /* fe80::1%eth0 */

    if (n >= sizeof(address))
        return false;
    memcpy(address, s, n);
    address[n] = '\0';
    return inet_pton(AF_INET6, address, raw) == 1 ||
           (s[n] == '\0' && inet_pton(AF_INET, address, raw) == 1);
}

/* -- files
 * ------------------------------------------------------------------------------------------ */

static bool holds(const struct buf *text, const char *word)
{
    return text->len > 0 && memmem(text->p, text->len, word, strlen(word)) != NULL;
}

static void pem_file(struct parse *p, const void *base, const char *key, const char *path,
                     bool wants_key)
{
    struct buf text = {0};
    struct err err = {0};
    bool cert;
    bool private;

    if (!p->lookups || path == NULL)
        return;
    if (durable_read(path, PEM_BYTES, &text, &err) != 0) {
        parse_fault(p, base, key, "%s", err.msg);
        return;
    }
    cert = holds(&text, "-----BEGIN CERTIFICATE-----") ||
           holds(&text, "-----BEGIN TRUSTED CERTIFICATE-----");
    private = holds(&text, "PRIVATE KEY-----");
    if (wants_key && holds(&text, "ENCRYPTED"))
        parse_fault(p, base, key, "%s: the key is encrypted: an unencrypted PEM key is needed",
                    path);
    else if (wants_key && !private)
        parse_fault(p, base, key, "%s: holds %s: a PEM private key is needed", path,
                    cert           ? "a certificate and no private key"
                    : text.len > 0 ? "no PEM private key"
                                   : "nothing");
    else if (!wants_key && !cert)
        parse_fault(p, base, key, "%s: holds %s: a PEM certificate is needed", path,
                    private        ? "a private key and no certificate"
                    : text.len > 0 ? "no PEM certificate"
                                   : "nothing");
    buf_fini_wipe(&text);
}

static void folder(struct parse *p, const char *key, const char *path)
{
    struct stat st;

    if (!p->lookups || path == NULL || stat(path, &st) != 0)
        return;
    if (!S_ISDIR(st.st_mode))
        parse_fault(p, p->conf, key, "%s: is not a folder: a folder is needed there", path);
}

/* The other folders are made at the start.  This one is not: a path that was mistyped would take
 * every device away. */
static void identities_folder(struct parse *p)
{
    const char *path = p->conf->identities_dir;
    struct stat st;

    folder(p, "identities", path);
    if (p->lookups && path != NULL && parse_spot(p, p->conf, "identities") != NULL &&
        stat(path, &st) != 0 && errno == ENOENT)
        parse_fault(p, p->conf, "identities",
                    "%s: there is no such folder: make it, with one folder for each device", path);
}

/* -- the top
 * ------------------------------------------------------------------------------------------ */

static void check_top(struct parse *p)
{
    struct conf *c = p->conf;
    char host[256] = "";

    if (c->gateway == NULL && parse_spot(p, c, "gateway") == NULL) {
        if (gethostname(host, sizeof(host) - 1) != 0 || !str_is_name(host))
            parse_fault(p, c, "gateway",
                        "is missing, and the host's name \"%s\" cannot take its "
                        "place: set gateway to a name of A-Z a-z 0-9 . _ -",
                        host);
        else
            fill(p, &c->gateway, host);
    }
    if (c->workers == 0) {
        cpu_set_t cpus;
        int n = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 1;

        c->workers = n < 1 ? 1 : n > 256 ? 256 : (unsigned)n;
    }
    identities_folder(p);
    folder(p, "state", c->state_dir);
    if (p->lookups && c->control_group != NULL) {
        char text[4096];
        struct group entry;
        struct group *found = NULL;
        int rc = getgrnam_r(c->control_group, &entry, text, sizeof(text), &found);

        if (found == NULL && rc != ERANGE)
            parse_fault(p, c, "control.group", "there is no group \"%s\": add it, or name another",
                        c->control_group);
    }
}

/* -- listeners
 * ------------------------------------------------------------------------------------------ */

static const char *type_name(enum conf_listener_type type)
{
    return type == CONF_LISTEN_TLS ? "tls" : type == CONF_LISTEN_UNIX ? "unix" : "plaintext";
}

/* Settings that would have no effect there mislead their reader. */
static void idle_keys(struct parse *p, const struct conf_listener *l)
{
    static const struct {
        const char *key;
        bool tls, plaintext, unix_;
    } uses[] = {
        {"listeners.anchors", true, false, false},
        {"listeners.client_cert", true, false, false},
        {"listeners.crls", true, false, false},
        {"listeners.crl_policy", true, false, false},
        {"listeners.revoked_sessions", true, false, false},
        {"listeners.tls_min", true, false, false},
        {"listeners.tls_max", true, false, false},
        {"listeners.ciphers", true, false, false},
        {"listeners.min_rsa_bits", true, false, false},
        {"listeners.port", true, true, false},
        {"listeners.allow", true, true, false},
        {"listeners.device", false, false, true},
    };

    for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++) {
        bool used = l->type == CONF_LISTEN_TLS         ? uses[i].tls
                    : l->type == CONF_LISTEN_PLAINTEXT ? uses[i].plaintext
                                                       : uses[i].unix_;

        if (!used && parse_spot(p, l, uses[i].key) != NULL)
            parse_fault(p, l, uses[i].key,
                        "has no meaning for a listener of type \"%s\": leave it out",
                        type_name(l->type));
    }
    if (l->type != CONF_LISTEN_TLS && l->chain_count > 0)
        parse_fault(p, l, "listeners.chains",
                    "has no meaning for a listener of type \"%s\": leave it out",
                    type_name(l->type));
}

#define TLS_NEWEST 0x0304

static void check_tls(struct parse *p, const struct conf_listener *l)
{
    size_t defaults = 0;

    for (size_t i = 0; i < l->chain_count; i++) {
        const struct conf_chain *c = &l->chains[i];

        pem_file(p, c, "listeners.chains.chain", c->chain, false);
        pem_file(p, c, "listeners.chains.key", c->key, true);
        if (parse_spot(p, c, "listeners.chains.sni") == NULL &&
            parse_spot(p, c, "listeners.chains.networks") == NULL && c->tls_max >= TLS_NEWEST)
            defaults++;
    }
    if (l->chain_count == 0)
        parse_fault(p, l, "listeners.chains",
                    "is missing: a TLS listener needs ( { chain = \"FILE\"; key = \"FILE\"; } )");
    else if (defaults == 0)
        parse_fault(
            p, l, "listeners.chains",
            "all have sni, networks or tls_max: one without any must serve whom no other fits");
    if (l->client_cert != CONF_CERT_NONE && l->anchor_count == 0 &&
        parse_spot(p, l, "listeners.anchors") == NULL)
        parse_fault(p, l, "listeners.anchors",
                    "is missing: name the PEM files of the devices' CAs, or set client_cert = "
                    "\"none\"");
    for (size_t i = 0; i < l->anchor_count; i++)
        pem_file(p, l, "listeners.anchors", l->anchors[i], false);
    if (l->tls_min > l->tls_max && l->tls_max != 0)
        parse_fault(p, l, "listeners.tls_min", "is above tls_max: tls_min <= tls_max");
}

static bool clash(const struct conf_listener *a, const struct conf_listener *b)
{
    if (a->address == NULL || b->address == NULL)
        return false;
    if (a->type == CONF_LISTEN_UNIX || b->type == CONF_LISTEN_UNIX)
        return a->type == b->type && strcmp(a->address, b->address) == 0;
    if (a->port != b->port || a->port == 0)
        return false;
    for (int i = 0; i < 2; i++) {
        const char *wild = i == 0 ? a->address : b->address;
        const char *other = i == 0 ? b->address : a->address;

        if (strcmp(wild, "*") == 0 || (strcmp(wild, "::") == 0 && strchr(other, ':') != NULL) ||
            (strcmp(wild, "0.0.0.0") == 0 && strchr(other, ':') == NULL))
            return true;
    }
    return strcmp(a->address, b->address) == 0;
}

static void check_listener(struct parse *p, struct conf_listener *l)
{
    const struct conf *c = p->conf;
    const struct parse_spot *type = parse_spot(p, l, "listeners.type");

    if (type != NULL && type->bad)
        return; /* nobody knows what it was meant to be */
    if (l->type == CONF_LISTEN_PLAINTEXT && parse_spot(p, l, "listeners.port") == NULL)
        l->port = 1883;
    idle_keys(p, l);
    if (l->address != NULL && l->type != CONF_LISTEN_UNIX && strcmp(l->address, "*") != 0 &&
        !is_ip(l->address))
        parse_fault(p, l, "listeners.address",
                    "\"%s\" is not an IP address: such as \"192.0.2.1\", \"::1\", or \"*\" for all",
                    l->address);
    if (l->address != NULL && l->type == CONF_LISTEN_UNIX && l->address[0] != '/')
        parse_fault(p, l, "listeners.address",
                    "\"%s\" is not the path of a socket: it must begin with /", l->address);
    if (l->type == CONF_LISTEN_TLS)
        check_tls(p, l);
    if (l->type == CONF_LISTEN_PLAINTEXT && l->allow_count == 0 &&
        parse_spot(p, l, "listeners.allow") == NULL)
        parse_fault(p, l, "listeners.allow",
                    "is missing: a plaintext listener needs the networks that may connect, such as "
                    "[ \"192.0.2.0/24\" ]; everybody is [ \"0.0.0.0/0\", \"::/0\" ]");
    for (const struct conf_listener *o = c->listeners; o < l; o++) {
        const char *name = o->name == NULL ? "?" : o->name;

        if (!clash(o, l))
            continue;
        if (l->type == CONF_LISTEN_UNIX)
            parse_fault(p, l, "listeners.address",
                        "is that of listener \"%s\" already: use another", name);
        else
            parse_fault(p, l, "listeners.port",
                        "%u is taken by listener \"%s\" on \"%s\": use another port or address",
                        l->port, name, o->address);
        break;
    }
    if (l->type == CONF_LISTEN_UNIX && l->device != NULL && conf_rule_find(c, l->device) == NULL)
        dangling(p, l, "listeners.device", "rule in devices with the name", l->device,
                 nearest(l->device, c->rules, c->rule_count, sizeof(*c->rules)));
}

/* -- tokens
 * ------------------------------------------------------------------------------------------ */

static void check_token(struct parse *p, const struct conf_token *t)
{
    struct stat st;

    if (t->label == NULL && t->serial == NULL && parse_spot(p, t, "tokens.label") == NULL &&
        parse_spot(p, t, "tokens.serial") == NULL)
        parse_fault(p, t, "tokens.label",
                    "is missing: the label of the token, or serial, tells which one it is "
                    "(pkcs11-tool -L lists them)");
    if (t->module != NULL && t->module[0] != '/')
        parse_fault(p, t, "tokens.module",
                    "\"%s\" is not a path: such as \"/usr/lib/softhsm/libsofthsm2.so\"", t->module);
    else if (t->module != NULL && p->lookups && stat(t->module, &st) != 0)
        parse_fault(p, t, "tokens.module", "%s: there is no such file: install the token's module",
                    t->module);
}

/* -- upstreams
 * -------------------------------------------------------------------------------------------- */

static bool is_host(const char *s)
{
    return is_ip(s) ||
           s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")] ==
               '\0';
}

/* What is put before topics and filters has to leave them topics and filters. */
static void check_prefix(struct parse *p, const struct conf_upstream *u)
{
    const char *t = u->topic_prefix;

    if (t == NULL || *t == '\0')
        return;
    if (t[strlen(t) - 1] != '/')
        parse_fault(p, u, "upstreams.topic_prefix",
                    "\"%s\" does not end with /: without it \"#\" could not be subscribed to", t);
    if (strpbrk(t, "+#") != NULL)
        parse_fault(p, u, "upstreams.topic_prefix",
                    "\"%s\" has a wildcard: a prefix of topics has neither + nor #", t);
    if (!str_is_utf8((const uint8_t *)t, strlen(t)))
        parse_fault(p, u, "upstreams.topic_prefix", "is not UTF-8, as topics have to be");
    if (*t == '$')
        parse_fault(p, u, "upstreams.topic_prefix",
                    "\"%s\" begins with $, as the broker's own topics do", t);
}

static void check_upstream(struct parse *p, struct conf_upstream *u)
{
    if (u->address != NULL && !is_host(u->address))
        parse_fault(p, u, "upstreams.address",
                    "\"%s\" is neither a host name nor an IP address: the port goes into port",
                    u->address);
    fill(p, &u->server_name, u->address);
    if (u->server_name != NULL)
        fill(p, &u->sni, is_ip(u->server_name) ? "" : u->server_name);
    if (u->sni != NULL && u->sni[0] != '\0' && is_ip(u->sni))
        parse_fault(
            p, u, "upstreams.sni",
            "\"%s\" is an IP address, which SNI cannot carry: a host name, or \"\" for none",
            u->sni);
    if (u->echo_topic != NULL && (strpbrk(u->echo_topic, "+#") != NULL || u->echo_topic[0] == '$'))
        parse_fault(p, u, "upstreams.echo_topic",
                    "\"%s\" is not a topic that one can publish to: leave out + and #, and let it "
                    "not begin with $",
                    u->echo_topic);
    for (size_t i = 0; i < u->anchor_count; i++)
        pem_file(p, u, "upstreams.anchors", u->anchors[i], false);
    if (u->tls_min > u->tls_max && u->tls_max != 0)
        parse_fault(p, u, "upstreams.tls_min", "is above tls_max: tls_min <= tls_max");
    check_prefix(p, u);
    if (u->will_delay_s > 0 && !u->keep_session)
        parse_fault(
            p, u, "upstreams.will_delay_s",
            "has no meaning while keep_session is false: a Will is due when its session ends");
    if (u->keepalive_as_device && parse_spot(p, u, "upstreams.keepalive_s") != NULL)
        parse_fault(p, u, "upstreams.keepalive_s",
                    "has no meaning while keepalive_as_device is true: set that to false, or leave "
                    "this out");
}

/* -- rules
 * --------------------------------------------------------------------------------------------------
 */

static bool conditional(const struct parse *p, const struct conf_rule *r)
{
    static const char *const keys[] = {
        "devices.match.listener", "devices.match.cn",          "devices.match.san",
        "devices.match.issuer",   "devices.match.fingerprint", "devices.match.client_id",
        "devices.match.username", "devices.match.password",    "devices.match.networks",
    };

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (parse_spot(p, r, keys[i]) != NULL)
            return true;
    }
    return false;
}

/* Does a Unix listener hand its connections to this rule, whatever its conditions? */
static bool bound(const struct conf *c, const struct conf_rule *r)
{
    if (c->management.enabled && c->management.device != NULL &&
        strcmp(c->management.device, r->name) == 0)
        return true;
    for (size_t i = 0; i < c->listener_count; i++) {
        if (c->listeners[i].device != NULL && strcmp(c->listeners[i].device, r->name) == 0)
            return true;
    }
    return false;
}

static void check_rule_name(struct parse *p, const struct conf_rule *r)
{
    struct template_piece piece;
    const char *at = r->name;
    bool first = true;

    if (template_fields(r->name) == 0 && !str_is_name(r->name)) {
        parse_fault(p, r, "devices.name",
                    "\"%s\" is not a device's name: 1 to 128 of A-Z a-z 0-9 . _ -, not beginning "
                    "with . or -",
                    r->name);
        return;
    }
    for (; template_next(&at, &piece) > 0; first = false) {
        char literal[256];

        if (piece.field != TEMPLATE_TEXT)
            continue;
        /* what a placeholder brings is checked when it comes; an 'x' stands for it here */
        snprintf(literal, sizeof(literal), "%s%.*s", first ? "" : "x",
                 (int)(piece.text.n < 128 ? piece.text.n : 128), (const char *)piece.text.p);
        if (piece.text.n > 127 || !str_is_name(literal)) {
            parse_fault(p, r, "devices.name",
                        "\"%s\" cannot give a device's name: 1 to 128 of A-Z a-z 0-9 . _ -, not "
                        "beginning with . or -",
                        r->name);
            return;
        }
    }
}

static void check_profile(struct parse *p, const struct conf_rule *r, const char *key,
                          const char *name)
{
    const struct conf *c = p->conf;

    if (name != NULL && conf_upstream_find(c, name) == NULL)
        dangling(p, r, key, "upstream", name,
                 nearest(name, c->upstreams, c->upstream_count, sizeof(*c->upstreams)));
}

static void check_rule(struct parse *p, struct conf_rule *r)
{
    const struct conf *c = p->conf;
    const struct parse_spot *spot = parse_spot(p, r, "devices");

    r->file = spot == NULL ? p->main_file : spot->at.file;
    r->line = spot == NULL ? 0 : spot->at.line;
    if (r->name != NULL) {
        check_rule_name(p, r);
        if (!conditional(p, r) && !r->any && !bound(c, r))
            parse_fault(p, r, "devices.match",
                        "is missing: give at least one condition, or match = { any = true; } to "
                        "take everybody");
    }
    if (conditional(p, r) && r->any)
        parse_fault(p, r, "devices.match.any",
                    "stands beside conditions: leave it out, or take them out");
    if (r->listener != NULL && conf_listener_find(c, r->listener) == NULL)
        dangling(p, r, "devices.match.listener", "listener", r->listener,
                 nearest(r->listener, c->listeners, c->listener_count, sizeof(*c->listeners)));
    check_profile(p, r, "devices.upstream", r->upstream);
    check_profile(p, r, "devices.upstream_new", r->upstream_new);
    if (r->upstream == NULL && parse_spot(p, r, "devices.upstream") == NULL) {
        if (c->upstream_count == 1)
            fill(p, &r->upstream, c->upstreams[0].name);
        else if (c->upstream_count > 1)
            parse_fault(p, r, "devices.upstream",
                        "is missing: name one, since there are several upstreams");
    }
    if (parse_spot(p, r, "devices.upstream_new") == NULL)
        fill(p, &r->upstream_new, r->upstream);
}

/* -- exceptions
 * --------------------------------------------------------------------------------------------- */

static void check_exception(struct parse *p, const struct conf_exception *e)
{
    const struct conf *c = p->conf;

    if (e->fingerprint == NULL && e->anchor == NULL &&
        parse_spot(p, e, "exceptions.fingerprint") == NULL &&
        parse_spot(p, e, "exceptions.anchor") == NULL)
        parse_fault(p, e, "exceptions.fingerprint",
                    "is missing, and so is anchor: name the certificate, or the CA that it comes "
                    "from");
    if ((e->accept & CONF_ACCEPT_MD5) != 0 && e->fingerprint == NULL &&
        parse_spot(p, e, "exceptions.fingerprint") == NULL)
        parse_fault(
            p, e, "exceptions.accept",
            "\"md5\" needs a fingerprint: anybody can forge a certificate that a CA seems to "
            "have signed by MD5");
    for (size_t i = 0; i < e->listener_count; i++) {
        const struct conf_listener *l = conf_listener_find(c, e->listeners[i]);

        if (l == NULL)
            dangling(
                p, e, "exceptions.listeners", "listener", e->listeners[i],
                nearest(e->listeners[i], c->listeners, c->listener_count, sizeof(*c->listeners)));
        else if (l->type != CONF_LISTEN_TLS || l->client_cert == CONF_CERT_NONE)
            parse_fault(p, e, "exceptions.listeners",
                        "\"%s\" asks for no certificates: leave it out", l->name);
    }
}

/* -- management
 * --------------------------------------------------------------------------------------------- */

/* The channel comes in through a Unix listener like any device.  There is room for one more of each
 * (parse.c, make_lists). */
static void add_management(struct parse *p)
{
    struct conf *c = p->conf;
    struct conf_management *m = &c->management;
    struct conf_listener *l = &c->listeners[c->listener_count];

    if (!m->enabled)
        return;
    if (parse_spot(p, c, "management.device") == NULL)
        fill(p, &m->device, c->gateway);
    if (m->device == NULL || m->socket == NULL)
        return; /* reported already */
    for (size_t i = 0; i < c->listener_count; i++) {
        if (c->listeners[i].name != NULL && strcmp(c->listeners[i].name, management_name) == 0)
            parse_fault(p, &c->listeners[i], "listeners.name",
                        "\"%s\" is that of the channel's own listener: use another name",
                        management_name);
        if (c->listeners[i].type == CONF_LISTEN_UNIX && c->listeners[i].address != NULL &&
            strcmp(c->listeners[i].address, m->socket) == 0)
            parse_fault(p, &c->listeners[i], "listeners.address",
                        "\"%s\" is that of management.socket: use another path", m->socket);
    }
    *l = (struct conf_listener){.type = CONF_LISTEN_UNIX,
                                .client_cert = CONF_CERT_NONE,
                                .tls_min = 0x0303,
                                .tls_max = 0x0304,
                                .min_rsa_bits = 2048,
                                .backlog = 16};
    c->listener_count++;
    fill(p, &l->name, management_name);
    fill(p, &l->address, m->socket);
    fill(p, &l->device, m->device);
    if (conf_rule_find(c, m->device) == NULL) {
        struct conf_rule *r = &c->rules[c->rule_count];

        if (c->upstream_count > 1) {
            parse_fault(p, c, "management.device",
                        "\"%s\" has no rule, and there are several upstreams: add { name = \"%s\"; "
                        "upstream = \"...\"; } to devices",
                        m->device, m->device);
            return;
        }
        *r = (struct conf_rule){.any_client_id = true, .max_connections = 1};
        c->rule_count++;
        fill(p, &r->name, m->device);
        fill(p, &r->listener, management_name);
    }
}

/* -- log
 * ------------------------------------------------------------------------------------------------------
 */

static bool is_subsystem(const char *name)
{
    for (int i = 0; i < LOG_SUBSYSTEM_COUNT; i++) {
        if (strcmp(name, log_subsystem_name((enum log_subsystem)i)) == 0)
            return true;
    }
    return strcmp(name, "*") == 0;
}

static void check_log(struct parse *p)
{
    struct conf_log *log = &p->conf->log;
    size_t all = log->level_count; /* where "*" is */

    twice(p, log->levels, log->level_count, sizeof(*log->levels), "log.levels.subsystem");
    for (size_t i = 0; i < log->level_count; i++) {
        const char *name = log->levels[i].subsystem;
        struct buf known = {0};

        if (name != NULL && strcmp(name, "*") == 0)
            all = i;
        if (name == NULL || is_subsystem(name))
            continue;
        for (int k = 0; k < LOG_SUBSYSTEM_COUNT; k++)
            buf_printf(&known, "%s ", log_subsystem_name((enum log_subsystem)k));
        parse_fault(p, &log->levels[i], "log.levels.subsystem",
                    "there is no subsystem \"%s\": %.*sor *", name, (int)known.len,
                    known.p == NULL ? "" : (const char *)known.p);
        buf_fini(&known);
    }
    /* The one for all goes first: later ones are set over it. */
    if (all == log->level_count) {
        log->levels[all] = (struct conf_log_level){NULL, LOG_INFO_};
        log->level_count++;
        fill(p, &log->levels[all].subsystem, "*");
    }
    if (all > 0) {
        struct conf_log_level star = log->levels[all];

        memmove(log->levels + 1, log->levels, all * sizeof(*log->levels));
        log->levels[0] = star;
    }
}

/* -- operators
 * ------------------------------------------------------------------------------------------ */

static void check_operator(struct parse *p, const struct conf_operator *o)
{
    struct buf text = {0};
    struct err err = {0};

    for (size_t i = 0; i < o->role_count; i++)
        if (strcmp(o->roles[i], "observe") != 0 && strcmp(o->roles[i], "operate") != 0 &&
            strcmp(o->roles[i], "trust") != 0)
            parse_fault(p, o, "operators.roles", "\"%s\" is no role: observe, operate or trust is",
                        o->roles[i]);
    if (!p->lookups || o->key == NULL)
        return;
    if (durable_read(o->key, PEM_BYTES, &text, &err) != 0)
        parse_fault(p, o, "operators.key", "%s", err.msg);
    buf_fini_wipe(&text);
}

static bool somebody_has(const struct conf *c, const char *role)
{
    for (size_t i = 0; i < c->operator_count; i++)
        for (size_t r = 0; r < c->operators[i].role_count; r++)
            if (strcmp(c->operators[i].roles[r], role) == 0)
                return true;
    return false;
}

/* What has to be signed, somebody has to be able to sign. */
static void check_signed(struct parse *p)
{
    const struct conf_management *m = &p->conf->management;
    const struct {
        const char *key, *role;
        enum conf_signed rule;
    } classes[] = {
        {"management.signed.observe", "observe", m->signed_observe},
        {"management.signed.operate", "operate", m->signed_operate},
        {"management.signed.trust", "trust", m->signed_trust},
    };

    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
        if (classes[i].rule == CONF_SIGNED_REQUIRED && !somebody_has(p->conf, classes[i].role))
            parse_fault(p, p->conf, classes[i].key,
                        "\"required\", and nobody in operators has the role %s: give it to "
                        "somebody",
                        classes[i].role);
}

/* A list that must not be empty. */
static void none(struct parse *p, size_t count, const char *key, const char *why)
{
    const struct parse_spot *spot = parse_spot(p, p->conf, key);

    if (count == 0 && (spot == NULL || !spot->bad))
        parse_fault(p, p->conf, key, "%s: %s", spot == NULL ? "is missing" : "has nothing in it",
                    why);
}

/* -- keys that are made here
 * ------------------------------------------------------------------------ */

/* The template as it is for some device.  Returns owned, or NULL. */
static char *filled(struct parse *p, const char *template)
{
    struct buf text = {0};

    if (template_fill(template, "a", p->conf->gateway, &text) == 0 && buf_append_u8(&text, 0) == 0)
        return (char *)text.p;
    no_memory(p);
    buf_fini(&text);
    return NULL;
}

static bool is_loopback(const char *s)
{
    struct in_addr v4;
    struct in6_addr v6;

    if (inet_pton(AF_INET, s, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, s, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* Whoever can connect there reads what all devices do: that must be somebody's decision. */
static void check_status(struct parse *p)
{
    const struct conf_status *s = &p->conf->status;

    if (s->address == NULL)
        return;
    if (!is_ip(s->address))
        parse_fault(p, p->conf, "status.address",
                    "\"%s\" is no IP address: such as \"127.0.0.1\" or \"::1\"", s->address);
    else if (!is_loopback(s->address) && !s->allow_remote)
        parse_fault(p, p->conf, "status.address",
                    "%s can be reached from other machines, and there is neither login nor TLS: "
                    "take 127.0.0.1, or set status.allow_remote to true",
                    s->address);
}

static void check_keygen(struct parse *p)
{
    const unsigned allowed = TEMPLATE_BIT(TEMPLATE_DEVICE) | TEMPLATE_BIT(TEMPLATE_GATEWAY);
    const struct conf_keygen *k = &p->conf->keygen;
    struct err err = {0};
    struct san san;
    struct dn dn;
    char *text;

    if (k->token != NULL && conf_token_find(p->conf, k->token) == NULL)
        dangling(
            p, p->conf, "keygen.token", "entry in tokens with the name", k->token,
            nearest(k->token, p->conf->tokens, p->conf->token_count, sizeof(*p->conf->tokens)));
    if (k->subject != NULL && (text = filled(p, k->subject)) != NULL) {
        if (dn_parse(text, &dn, &err) != 0)
            parse_fault(p, p->conf, "keygen.subject", "%s", err.msg);
        else if (dn.count == 0 && k->san_count == 0)
            parse_fault(p, p->conf, "keygen.subject",
                        "no subject and no keygen.sans: a certificate has to name its device");
        else
            dn_fini(&dn);
        free(text);
    }
    for (size_t i = 0; i < k->san_count; i++) {
        if (template_check(k->sans[i], allowed, &err) != 0) {
            parse_fault(p, p->conf, "keygen.sans", "%s", err.msg);
        } else if ((text = filled(p, k->sans[i])) != NULL) {
            if (san_parse(text, &san, &err) != 0)
                parse_fault(p, p->conf, "keygen.sans", "%s", err.msg);
            free(text);
        }
    }
}

void check_all(struct parse *p)
{
    struct conf *c = p->conf;

    check_top(p);
    twice(p, c->listeners, c->listener_count, sizeof(*c->listeners), "listeners.name");
    twice(p, c->tokens, c->token_count, sizeof(*c->tokens), "tokens.name");
    twice(p, c->upstreams, c->upstream_count, sizeof(*c->upstreams), "upstreams.name");
    twice(p, c->rules, c->rule_count, sizeof(*c->rules), "devices.name");
    twice(p, c->exceptions, c->exception_count, sizeof(*c->exceptions), "exceptions.name");
    for (size_t i = 0; i < c->listener_count; i++)
        check_listener(p, &c->listeners[i]);
    for (size_t i = 0; i < c->token_count; i++)
        check_token(p, &c->tokens[i]);
    for (size_t i = 0; i < c->upstream_count; i++)
        check_upstream(p, &c->upstreams[i]);
    add_management(p);
    for (size_t i = 0; i < c->rule_count; i++)
        check_rule(p, &c->rules[i]);
    for (size_t i = 0; i < c->exception_count; i++)
        check_exception(p, &c->exceptions[i]);
    none(p, c->listener_count, "listeners", "nobody could connect: add a listener");
    none(p, c->upstream_count, "upstreams", "there is no broker: add the profile of one");
    twice(p, c->operators, c->operator_count, sizeof(*c->operators), "operators.name");
    for (size_t i = 0; i < c->operator_count; i++)
        check_operator(p, &c->operators[i]);
    check_signed(p);
    check_keygen(p);
    check_status(p);
    for (size_t i = 0; i < c->lint.anchor_count; i++)
        pem_file(p, c, "lint.anchors", c->lint.anchors[i], false);
    check_log(p);
}
