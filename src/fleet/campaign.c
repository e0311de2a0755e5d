#include "fleet/campaign.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/durable.h"
#include "base/names.h"
#include "base/str.h"
#include "conf/parse.h"
#include "conf/template.h"
#include "conf/value.h"
#include "control/rpc.h"
#include "tls/anchor.h"
#include "tls/cert.h"

enum { PEM_BYTES = 1 << 20, PASSWORD_BYTES = 4096, CAS_MAX = 64 };

static const struct conf_word sets[] = {
    {"upstream", CAMPAIGN_UPSTREAM},
    {"downstream", CAMPAIGN_DOWNSTREAM},
    {NULL, 0},
};
static const struct conf_word confirms[] = {
    {"auto", CAMPAIGN_AUTO},
    {"central", CAMPAIGN_CENTRAL},
    {NULL, 0},
};
static const struct conf_word evidences[] = {
    {"connack", CAMPAIGN_CONNACK},
    {"echo", CAMPAIGN_ECHO},
    {NULL, 0},
};
static const struct conf_word keys[] = {
    {"ec-p256", 1}, {"ec-p384", 2}, {"rsa-2048", 3}, {"rsa-3072", 4}, {"rsa-4096", 5}, {NULL, 0},
};

#define NAMED      (TEMPLATE_BIT(TEMPLATE_DEVICE) | TEMPLATE_BIT(TEMPLATE_GATEWAY))
#define MUST       conf_required
#define IN(m)      offsetof(struct campaign, m), 0
#define MANY(m, n) offsetof(struct campaign, m), offsetof(struct campaign, n)
#define ANCHOR(m)  offsetof(struct campaign_anchor, m), 0
#define NONE       NULL, 0
#define GLOBS      1000

/* clang-format off */
static const struct conf_row rows[] = {
    /* key                        kind           into                                     least    most            default              unit        a reload    words, size */
    { "name",                     CONF_NAME,     IN(name),                                1,       128,            MUST,                "",         RELOAD_NOW, NONE,
      "name of the campaign" },
    { "root",                     CONF_TOPIC,    IN(root),                                1,       200,            "certflip/v1",       "",         RELOAD_NOW, NONE,
      "topic below which the gateways are: management.root of theirs" },
    { "ledger",                   CONF_PATH,     IN(ledger),                              1,       4000,           NULL,                "",         RELOAD_NOW, NONE,
      "database of the campaign; default: NAME.db beside this file" },

    { "broker",                   CONF_GROUP,    0, 0,                                    0,       0,              NULL,                "",         RELOAD_NOW, NONE,
      "the broker that the gateways' management clients connect to" },
    { "broker.host",              CONF_STRING,   IN(broker.host),                         1,       255,            MUST,                "",         RELOAD_NOW, NONE,
      "name or address" },
    { "broker.port",              CONF_PORT,     IN(broker.port),                         1,       65535,          "8883",              "",         RELOAD_NOW, NONE,
      "TCP port" },
    { "broker.client_id",         CONF_STRING,   IN(broker.client_id),                    1,       200,            NULL,                "",         RELOAD_NOW, NONE,
      "client identifier; default: made of this machine's name and the process" },
    { "broker.username",          CONF_STRING,   IN(broker.username),                     1,       1000,           NULL,                "",         RELOAD_NOW, NONE,
      "user name; default: none" },
    { "broker.password_file",     CONF_PATH,     IN(broker.password_file),                1,       4000,           NULL,                "",         RELOAD_NOW, NONE,
      "file whose first line is the password" },
    { "broker.ca_file",           CONF_PATH,     IN(broker.ca_file),                      1,       4000,           NULL,                "",         RELOAD_NOW, NONE,
      "CAs that the broker's certificate is believed by, PEM; default: no TLS" },
    { "broker.cert_file",         CONF_PATH,     IN(broker.cert_file),                    1,       4000,           NULL,                "",         RELOAD_NOW, NONE,
      "client certificate and its issuers, PEM" },
    { "broker.key_file",          CONF_PATH,     IN(broker.key_file),                     1,       4000,           NULL,                "",         RELOAD_NOW, NONE,
      "its private key, PEM" },
    { "broker.tls_name",          CONF_STRING,   IN(broker.tls_name),                     1,       255,            NULL,                "",         RELOAD_NOW, NONE,
      "name that the broker's certificate must have; default: host" },
    { "broker.keepalive_s",       CONF_SECONDS,  IN(broker.keepalive_s),                  5,       3600,           "30",                "s",        RELOAD_NOW, NONE,
      "keep alive" },

    { "operator",                 CONF_GROUP,    0, 0,                                    0,       0,              NULL,                "",         RELOAD_NOW, NONE,
      "who signs the commands; default: they are not signed" },
    { "operator.name",            CONF_NAME,     IN(operator.name),                       1,       128,            NULL,                "",         RELOAD_NOW, NONE,
      "name, as in the gateways' operators" },
    { "operator.key_file",        CONF_PATH,     IN(operator.key_file),                   1,       4000,           NULL,                "",         RELOAD_NOW, NONE,
      "private key, PEM: EC P-256 or Ed25519" },
    { "operator.expiry_s",        CONF_SECONDS,  IN(operator.expiry_s),                   10,      86400,          "300",               "s",        RELOAD_NOW, NONE,
      "how long a signed command is good" },

    { "gateways",                 CONF_STRINGS,  MANY(gateways, gateway_count),           1,       GLOBS,          MUST,                "",         RELOAD_NOW, NONE,
      "names and globs of the gateways" },
    { "devices",                  CONF_STRINGS,  MANY(devices, device_count),             1,       GLOBS,          "*",                 "",         RELOAD_NOW, NONE,
      "names and globs of the devices at these" },
    { "exclude_gateways",         CONF_STRINGS,  MANY(exclude_gateways, exclude_gateway_count), 0, GLOBS,          NULL,                "",         RELOAD_NOW, NONE,
      "names and globs of gateways that are left out" },
    { "exclude_devices",          CONF_STRINGS,  MANY(exclude_devices, exclude_device_count),   0, GLOBS,          NULL,                "",         RELOAD_NOW, NONE,
      "names and globs of devices that are left out" },
    { "pilot_devices",            CONF_STRINGS,  MANY(pilot_devices, pilot_count),        0,       GLOBS,          NULL,                "",         RELOAD_NOW, NONE,
      "names and globs, DEVICE or GATEWAY/DEVICE, that go first; default: some of each gateway" },

    { "identity",                 CONF_GROUP,    0, 0,                                    0,       0,              NULL,                "",         RELOAD_NOW, NONE,
      "the new identities" },
    { "identity.key",             CONF_ENUM,     IN(identity.key),                        0,       0,              NULL,                "",         RELOAD_NOW, keys, 0,
      "kind of key; default: what the gateway's configuration says" },
    { "identity.token",           CONF_STRING,   IN(identity.token),                      0,       128,            NULL,                "",         RELOAD_NOW, NONE,
      "token in which keys are made; empty: in files; default: what the gateway's configuration says" },
    { "identity.subject",         CONF_TEMPLATE, IN(identity.subject),                    1,       NAMED,          "CN={device}",       "",         RELOAD_NOW, NONE,
      "subject of the certificates" },
    { "identity.sans",            CONF_STRINGS,  MANY(identity.sans, identity.san_count), 0,       16,             NULL,                "",         RELOAD_NOW, NONE,
      "alternative names of the certificates, such as \"DNS:{device}.example.com\"" },

    { "sign",                     CONF_GROUP,    0, 0,                                    0,       0,              NULL,                "",         RELOAD_NOW, NONE,
      "who signs the requests for certificates: a command, or a CA in files" },
    { "sign.command",             CONF_STRING,   IN(sign.command),                        1,       4000,           NULL,                "",         RELOAD_NOW, NONE,
      "command that gets a request on its standard input and answers with the certificate" },
    { "sign.ca_cert_file",        CONF_PATH,     IN(sign.ca_cert_file),                   1,       4000,           NULL,                "",         RELOAD_NOW, NONE,
      "certificate of the CA in files, PEM, its issuers behind it" },
    { "sign.ca_key_file",         CONF_PATH,     IN(sign.ca_key_file),                    1,       4000,           NULL,                "",         RELOAD_NOW, NONE,
      "private key of the CA in files, PEM" },
    { "sign.anchor_file",         CONF_PATH,     IN(sign.anchor_file),                    1,       4000,           NULL,                "",         RELOAD_NOW, NONE,
      "CAs that the brokers believe, PEM: what was signed has to lead there" },
    { "sign.days",                CONF_UINT,     IN(sign.days),                           1,       36500,          "365",               "",         RELOAD_NOW, NONE,
      "how long a certificate is good, in days from now" },
    { "sign.backdate_h",          CONF_UINT,     IN(sign.backdate_h),                     0,       720,            "24",                "",         RELOAD_NOW, NONE,
      "how far back its beginning lies, in hours, for gateways whose clocks are behind" },
    { "sign.timeout_s",           CONF_SECONDS,  IN(sign.timeout_s),                      1,       3600,           "60",                "s",        RELOAD_NOW, NONE,
      "how long the command may take for one request" },
    { "sign.parallel",            CONF_UINT,     IN(sign.parallel),                       1,       64,             "4",                 "",         RELOAD_NOW, NONE,
      "requests that are signed at once" },

    { "trust",                    CONF_LIST,     MANY(trust, trust_count),                0,       32,             NULL,                "",         RELOAD_NOW, NULL, sizeof(struct campaign_anchor),
      "CAs that every gateway must believe before the first flip" },
    { "trust.set",                CONF_ENUM,     ANCHOR(set),                             0,       0,              "upstream",          "",         RELOAD_NOW, sets, 0,
      "whose certificates: those of brokers, or those of sensors" },
    { "trust.file",               CONF_PATH,     ANCHOR(file),                            1,       4000,           MUST,                "",         RELOAD_NOW, NONE,
      "the CAs, PEM" },
    { "trust.note",               CONF_STRING,   ANCHOR(note),                            1,       200,            NULL,                "",         RELOAD_NOW, NONE,
      "why, for the gateways' lists; default: the campaign's name" },

    { "waves",                    CONF_GROUP,    0, 0,                                    0,       0,              NULL,                "",         RELOAD_NOW, NONE,
      "how many devices flip when" },
    { "waves.pilot",              CONF_UINT,     IN(waves.pilot),                         0,       100000,         "10",                "",         RELOAD_NOW, NONE,
      "devices that flip first; 0: none" },
    { "waves.percent",            CONF_NUMBERS,  MANY(waves.percent, waves.percent_count), 1,      100,            "10, 25, 50, 75, 100", "",       RELOAD_NOW, NONE,
      "the waves that follow, in percent of all devices, the earlier ones included; the last is 100" },
    { "waves.soak_s",             CONF_SECONDS,  IN(waves.soak_s),                        0,       2592000,        "3600",              "s",        RELOAD_NOW, NONE,
      "how long a wave that is through has to prove itself before the next one begins" },
    { "waves.threshold",          CONF_PERCENT,  IN(waves.threshold),                     0,       100000,         "99.9",              "",         RELOAD_NOW, NONE,
      "percentage of a wave that must succeed, of those that were decided" },

    { "flip",                     CONF_GROUP,    0, 0,                                    0,       0,              NULL,                "",         RELOAD_NOW, NONE,
      "terms of each flip" },
    { "flip.probation_s",         CONF_SECONDS,  IN(flip.probation_s),                    1,       2592000,        NULL,                "s",        RELOAD_NOW, NONE,
      "how long the new identity has to prove itself; default: what the gateway's configuration says" },
    { "flip.confirm",             CONF_ENUM,     IN(flip.confirm),                        0,       0,              "auto",              "",         RELOAD_NOW, confirms, 0,
      "auto: probation is enough; central: this program confirms what it sees connected" },
    { "flip.confirm_s",           CONF_SECONDS,  IN(flip.confirm_s),                      1,       2592000,        NULL,                "s",        RELOAD_NOW, NONE,
      "how long a gateway waits for that; default: what its configuration says" },
    { "flip.evidence",            CONF_ENUM,     IN(flip.evidence),                       0,       0,              NULL,                "",         RELOAD_NOW, evidences, 0,
      "what has to be proven; default: what the gateway's configuration says" },
    { "flip.attempts",            CONF_UINT,     IN(flip.attempts),                       1,       10,             "1",                 "",         RELOAD_NOW, NONE,
      "flips of a device that fail before it has failed" },

    { "failures",                 CONF_GROUP,    0, 0,                                    0,       0,              NULL,                "",         RELOAD_NOW, NONE,
      "which failures count" },
    { "failures.ignore",          CONF_STRINGS,  MANY(ignore, ignore_count),              0,       50,             NULL,                "",         RELOAD_NOW, NONE,
      "classes of failures that do not count against the threshold" },

    { "windows",                  CONF_STRINGS,  MANY(windows, window_count),             0,       WINDOWS_MAX,    NULL,                "",         RELOAD_NOW, NONE,
      "when flips may begin; default: at any time" },
    { "timezone",                 CONF_STRING,   IN(timezone),                            1,       60,             "UTC",               "",         RELOAD_NOW, NONE,
      "time zone of the windows" },

    { "limits",                   CONF_GROUP,    0, 0,                                    0,       0,              NULL,                "",         RELOAD_NOW, NONE,
      "how much at once, and how long" },
    { "limits.per_gateway",       CONF_UINT,     IN(limits.per_gateway),                  1,       RPC_ROWS_MAX,   "20",                "",         RELOAD_NOW, NONE,
      "flips at once of one gateway" },
    { "limits.in_flight",         CONF_UINT,     IN(limits.in_flight),                    1,       1000000,        "500",               "",         RELOAD_NOW, NONE,
      "flips at once of all" },
    { "limits.keygen_per_gateway", CONF_UINT,    IN(limits.keygen_per_gateway),           1,       RPC_KEYGEN_MAX, "50",                "",         RELOAD_NOW, NONE,
      "keys that one command has a gateway make" },
    { "limits.reply_timeout_s",   CONF_SECONDS,  IN(limits.reply_timeout_s),              1,       3600,           "60",                "s",        RELOAD_NOW, NONE,
      "after which a command that was not answered is sent again" },
    { "limits.offline_wait_s",    CONF_SECONDS,  IN(limits.offline_wait_s),               1,       31536000,       "86400",             "s",        RELOAD_NOW, NONE,
      "how long a phase, or a wave, waits for those that are offline" },
    { "limits.wave_timeout_s",    CONF_SECONDS,  IN(limits.wave_timeout_s),               0,       31536000,       "0",                 "s",        RELOAD_NOW, NONE,
      "how long a wave waits at all; 0: as long as something goes on" },

    { "retire",                   CONF_GROUP,    0, 0,                                    0,       0,              NULL,                "",         RELOAD_NOW, NONE,
      "what happens to the old once all is new" },
    { "retire.identities",        CONF_BOOL,     IN(retire.identities),                   0,       0,              "true",              "",         RELOAD_NOW, NONE,
      "archive the old identities" },
    { "retire.validate_s",        CONF_SECONDS,  IN(retire.validate_s),                   0,       2592000,        "3600",              "s",        RELOAD_NOW, NONE,
      "how long a device must have been on its new certificate" },
    { "retire.anchors",           CONF_LIST,     MANY(retire.anchors, retire.anchor_count), 0,     32,             NULL,                "",         RELOAD_NOW, NULL, sizeof(struct campaign_anchor),
      "CAs that no gateway shall believe any more at the end" },
    { "retire.anchors.set",       CONF_ENUM,     ANCHOR(set),                             0,       0,              "upstream",          "",         RELOAD_NOW, sets, 0,
      "whose certificates: those of brokers, or those of sensors" },
    { "retire.anchors.file",      CONF_PATH,     ANCHOR(file),                            1,       4000,           MUST,                "",         RELOAD_NOW, NONE,
      "the CAs, PEM" },
    { "retire.anchors.note",      CONF_STRING,   ANCHOR(note),                            1,       200,            NULL,                "",         RELOAD_NOW, NONE,
      "why, for the gateways' lists; default: the campaign's name" },
};
/* clang-format on */

const struct conf_table campaign_table = {rows, sizeof(rows) / sizeof(rows[0])};

/* What libconfig does not know of: our own struct, with the names that places point at. */
struct loaded {
    struct campaign c; /* the first member */
    struct source_names names;
};

static const char *word_of(const struct conf_word *words, int value)
{
    for (const struct conf_word *w = words; w->word != NULL; w++)
        if (w->value == value)
            return w->word;
    return NULL;
}

const char *campaign_key_name(int key)
{
    return word_of(keys, key);
}

const char *campaign_set_name(int set)
{
    return word_of(sets, set);
}

/* -- checks --------------------------------------------------------------------------------------
 */

static void no_memory(struct parse *p)
{
    conf_fault(&p->faults, (struct conf_place){p->main_file, 0}, NULL, "out of memory");
}

/* One of two keys alone means nothing. */
static void both(struct parse *p, const void *base, const char *a, const char *a_text,
                 const char *b, const char *b_text)
{
    if (a_text != NULL && b_text == NULL)
        parse_fault(p, base, a, "stands alone: give %s as well", b);
    if (b_text != NULL && a_text == NULL)
        parse_fault(p, base, b, "stands alone: give %s as well", a);
}

/* A secret is its owner's alone. */
static void private_file(struct parse *p, const char *key, const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) /* durable_read says why */
        return;
    if ((st.st_mode & (S_IRWXO | S_IRWXG)) != 0)
        parse_fault(p, p->into, key, "%s: a secret with mode %03o: others may use it: chmod 600 %s",
                    path, (unsigned)(st.st_mode & 0777), path);
}

static void pem_file(struct parse *p, const char *key, const char *path, bool wants_key)
{
    struct buf text = {0};
    struct err err = {0};

    if (path == NULL)
        return;
    if (wants_key)
        private_file(p, key, path);
    if (durable_read(path, PEM_BYTES, &text, &err) != 0)
        parse_fault(p, p->into, key, "%s", err.msg);
    else if (memmem(text.p, text.len, wants_key ? "PRIVATE KEY-----" : "-----BEGIN CERTIFICATE",
                    wants_key ? 16 : 22) == NULL)
        parse_fault(p, p->into, key, "%s: holds no %s: PEM is needed", path,
                    wants_key ? "private key" : "certificate");
    buf_fini_wipe(&text);
}

static bool is_this_machine(const char *host)
{
    return strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
           strcmp(host, "::1") == 0;
}

static void check_broker(struct parse *p, const struct campaign *c)
{
    both(p, c, "broker.cert_file", c->broker.cert_file, "broker.key_file", c->broker.key_file);
    if (c->broker.password_file != NULL && c->broker.username == NULL)
        parse_fault(p, c, "broker.password_file",
                    "needs broker.username: MQTT 3.1.1 has no "
                    "password without a user name");
    if (c->broker.ca_file == NULL && c->broker.cert_file != NULL)
        parse_fault(p, c, "broker.cert_file",
                    "is of no use without broker.ca_file: without that "
                    "there is no TLS");
    if (c->broker.password_file != NULL && c->broker.username != NULL &&
        c->broker.ca_file == NULL && c->broker.host != NULL && !is_this_machine(c->broker.host))
        parse_fault(p, c, "broker.password_file",
                    "would go to %s in the clear: give broker.ca_file, so that there is TLS",
                    c->broker.host);
}

static void read_broker(struct parse *p, struct campaign *c)
{
    struct buf text = {0};
    struct err err = {0};

    pem_file(p, "broker.ca_file", c->broker.ca_file, false);
    pem_file(p, "broker.cert_file", c->broker.cert_file, false);
    pem_file(p, "broker.key_file", c->broker.key_file, true);
    pem_file(p, "operator.key_file", c->operator.key_file, true);
    if (c->broker.password_file == NULL)
        return;
    private_file(p, "broker.password_file", c->broker.password_file);
    if (durable_read(c->broker.password_file, PASSWORD_BYTES, &text, &err) != 0) {
        parse_fault(p, c, "broker.password_file", "%s", err.msg);
    } else {
        size_t n = 0;

        while (n < text.len && text.p[n] != '\n' && text.p[n] != '\r' && text.p[n] != '\0')
            n++;
        c->password = n == 0 ? NULL : strndup((const char *)text.p, n);
        if (c->password == NULL)
            parse_fault(p, c, "broker.password_file",
                        "%s: its first line is empty: the password "
                        "stands there",
                        c->broker.password_file);
    }
    buf_fini_wipe(&text);
}

static void check_globs(struct parse *p, const struct campaign *c, const char *key,
                        char *const *globs, size_t n, bool path)
{
    for (size_t i = 0; i < n; i++) {
        const char *slash = strchr(globs[i], '/');

        if (slash != NULL && !path)
            parse_fault(p, c, key, "\"%s\" holds a slash: no name of a gateway or a device does",
                        globs[i]);
        else if (slash != NULL &&
                 (slash == globs[i] || slash[1] == '\0' || strchr(slash + 1, '/') != NULL))
            parse_fault(p, c, key, "\"%s\" is neither DEVICE nor GATEWAY/DEVICE", globs[i]);
        else if (!str_has_glob(globs[i]) && slash == NULL && !str_is_name(globs[i]))
            parse_fault(p, c, key, "\"%s\" is neither a name nor a glob", globs[i]);
    }
}

/* With names filled in, the templates must make a subject and alternative names. */
static void check_identity(struct parse *p, const struct campaign *c)
{
    struct buf text = {0};
    struct err err = {0};

    if (c->identity.subject != NULL) {
        struct dn dn = {0};

        if (template_fill(c->identity.subject, "device", "gateway", &text) != 0 ||
            buf_append_u8(&text, '\0') != 0)
            no_memory(p);
        else if (dn_parse((const char *)text.p, &dn, &err) != 0)
            parse_fault(p, c, "identity.subject", "%s", err.msg);
        dn_fini(&dn);
    }
    for (size_t i = 0; i < c->identity.san_count; i++) {
        struct san san;

        text.len = 0;
        if (template_check(c->identity.sans[i], NAMED, &err) != 0)
            parse_fault(p, c, "identity.sans", "\"%s\" is not a template: %s", c->identity.sans[i],
                        err.msg);
        else if (template_fill(c->identity.sans[i], "device", "gateway", &text) != 0 ||
                 buf_append_u8(&text, '\0') != 0)
            no_memory(p);
        else if (san_parse((const char *)text.p, &san, &err) != 0)
            parse_fault(p, c, "identity.sans", "%s", err.msg);
    }
    buf_fini(&text);
}

static void check_sign(struct parse *p, const struct campaign *c)
{
    both(p, c, "sign.ca_cert_file", c->sign.ca_cert_file, "sign.ca_key_file", c->sign.ca_key_file);
    if (c->sign.command != NULL && c->sign.ca_cert_file != NULL)
        parse_fault(p, c, "sign.command", "stands beside sign.ca_cert_file: keep one of them");
    if (c->sign.command == NULL && c->sign.ca_cert_file == NULL && c->sign.ca_key_file == NULL &&
        parse_spot(p, c, "sign.command") == NULL)
        parse_fault(p, c, "sign.command",
                    "is missing: the command that signs; or sign.ca_cert_file and "
                    "sign.ca_key_file, for trials");
}

static void read_sign(struct parse *p, const struct campaign *c)
{
    pem_file(p, "sign.ca_cert_file", c->sign.ca_cert_file, false);
    pem_file(p, "sign.ca_key_file", c->sign.ca_key_file, true);
    pem_file(p, "sign.anchor_file", c->sign.anchor_file, false);
}

static int take_ca(void *arg, struct tls_anchor *a, struct err *err)
{
    struct campaign_anchor *into = arg;
    struct campaign_ca *grown, *ca;
    struct buf pem = {0};
    int rc;

    if (into->ca_count == CAS_MAX) {
        tls_anchor_unref(a);
        return err_set(err, ERR_TOO_BIG, "more than %d certificates", CAS_MAX);
    }
    grown = realloc(into->cas, (into->ca_count + 1) * sizeof(*grown));
    if (grown == NULL) {
        tls_anchor_unref(a);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    into->cas = grown;
    ca = &grown[into->ca_count];
    rc = tls_anchor_pem(a, "", &pem);
    if (rc == 0)
        rc = buf_append_u8(&pem, '\0');
    *ca = (struct campaign_ca){.pem = (char *)pem.p, .subject = strdup(a->info->subject)};
    memcpy(ca->fp, a->fp, sizeof(ca->fp));
    into->ca_count++;
    tls_anchor_unref(a);
    return rc == 0 && ca->subject != NULL ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

static void read_anchors(struct parse *p, const char *key, struct campaign_anchor *anchors,
                         size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct err err = {0};

        if (anchors[i].file != NULL &&
            tls_anchors_of_file(anchors[i].file, take_ca, &anchors[i], &err) < 0)
            parse_fault(p, &anchors[i], key, "%s", err.msg);
    }
}

/* What is brought to the gateways at the beginning must not be taken away at the end. */
static void check_same_anchor(struct parse *p, const struct campaign *c)
{
    for (size_t i = 0; i < c->retire.anchor_count; i++)
        for (size_t k = 0; k < c->trust_count; k++)
            for (size_t x = 0; x < c->retire.anchors[i].ca_count; x++)
                for (size_t y = 0; y < c->trust[k].ca_count; y++)
                    if (c->retire.anchors[i].set == c->trust[k].set &&
                        strcmp(c->retire.anchors[i].cas[x].fp, c->trust[k].cas[y].fp) == 0)
                        parse_fault(p, &c->retire.anchors[i], "retire.anchors.file",
                                    "%s is brought to the gateways by trust: it cannot be taken "
                                    "away from them as well",
                                    c->trust[k].cas[y].subject);
}

static void check_waves(struct parse *p, const struct campaign *c)
{
    for (size_t i = 1; i < c->waves.percent_count; i++)
        if (c->waves.percent[i] <= c->waves.percent[i - 1])
            parse_fault(p, c, "waves.percent",
                        "%u follows %u: each wave counts those before it, so the numbers rise",
                        c->waves.percent[i], c->waves.percent[i - 1]);
    if (c->waves.percent_count > 0 && c->waves.percent[c->waves.percent_count - 1] != 100)
        parse_fault(p, c, "waves.percent", "ends with %u: the last wave is 100",
                    c->waves.percent[c->waves.percent_count - 1]);
    if (c->flip.confirm == CAMPAIGN_AUTO && parse_spot(p, c, "flip.confirm_s") != NULL)
        parse_fault(p, c, "flip.confirm_s", "is of no use with flip.confirm = \"auto\"");
}

static void check_windows(struct parse *p, struct campaign *c)
{
    struct err err = {0};

    for (size_t i = 0; i < c->window_count; i++)
        if (windows_add(&c->hours, c->windows[i], &err) != 0)
            parse_fault(p, c, "windows", "%s", err.msg);
    if (c->timezone != NULL && windows_zone(&c->hours, c->timezone, &err) != 0)
        parse_fault(p, c, "timezone", "%s", err.msg);
}

static void fill_ledger(struct parse *p, struct campaign *c)
{
    char *name;

    if (c->ledger != NULL || c->name == NULL)
        return;
    name = str_printf("%s.db", c->name);
    c->ledger = name == NULL ? NULL : source_beside(c->path, name);
    free(name);
    if (c->ledger == NULL)
        no_memory(p);
}

/* -- what must not change ------------------------------------------------------------------------
 */

static void add(struct buf *b, const char *s)
{
    buf_append(b, s == NULL ? "" : s, s == NULL ? 1 : strlen(s) + 1);
}

static void add_all(struct buf *b, char *const *all, size_t n)
{
    buf_printf(b, "%zu", n);
    for (size_t i = 0; i < n; i++)
        add(b, all[i]);
}

static void add_anchors(struct buf *b, const struct campaign_anchor *all, size_t n)
{
    buf_printf(b, "%zu", n);
    for (size_t i = 0; i < n; i++) {
        buf_printf(b, "%d", all[i].set);
        for (size_t k = 0; k < all[i].ca_count; k++)
            add(b, all[i].cas[k].fp);
    }
}

/* Who takes part, in which waves, with which identities and anchors.  How fast it goes, how it is
 * judged, and by which way, may be changed under way. */
static void digest(struct campaign *c)
{
    struct buf b = {0};
    uint8_t hash[CERT_FP_BYTES] = {0};

    add(&b, c->name);
    add(&b, c->root);
    add_all(&b, c->gateways, c->gateway_count);
    add_all(&b, c->devices, c->device_count);
    add_all(&b, c->exclude_gateways, c->exclude_gateway_count);
    add_all(&b, c->exclude_devices, c->exclude_device_count);
    add_all(&b, c->pilot_devices, c->pilot_count);
    buf_printf(&b, "%d", c->identity.key);
    add(&b, c->identity.token);
    add(&b, c->identity.subject);
    add_all(&b, c->identity.sans, c->identity.san_count);
    add_anchors(&b, c->trust, c->trust_count);
    add_anchors(&b, c->retire.anchors, c->retire.anchor_count);
    buf_printf(&b, "%u", c->waves.pilot);
    for (size_t i = 0; i < c->waves.percent_count; i++)
        buf_printf(&b, " %u", c->waves.percent[i]);
    buf_printf(&b, " %d", c->retire.identities);
    cert_sha256(b.p, b.len, hash);
    str_hex(c->digest, hash, sizeof(hash));
    buf_fini(&b);
}

/* -- reading -------------------------------------------------------------------------------------
 */

static void check_all(struct parse *p, struct campaign *c, unsigned files)
{
    check_broker(p, c);
    both(p, c, "operator.name", c->operator.name, "operator.key_file", c->operator.key_file);
    if ((files & CAMPAIGN_BROKER) != 0)
        read_broker(p, c);
    check_globs(p, c, "gateways", c->gateways, c->gateway_count, false);
    check_globs(p, c, "devices", c->devices, c->device_count, false);
    check_globs(p, c, "exclude_gateways", c->exclude_gateways, c->exclude_gateway_count, false);
    check_globs(p, c, "exclude_devices", c->exclude_devices, c->exclude_device_count, false);
    check_globs(p, c, "pilot_devices", c->pilot_devices, c->pilot_count, true);
    check_identity(p, c);
    check_sign(p, c);
    if ((files & CAMPAIGN_SIGN) != 0)
        read_sign(p, c);
    if ((files & CAMPAIGN_ANCHORS) != 0) {
        read_anchors(p, "trust.file", c->trust, c->trust_count);
        read_anchors(p, "retire.anchors.file", c->retire.anchors, c->retire.anchor_count);
    }
    check_same_anchor(p, c);
    check_waves(p, c);
    check_windows(p, c);
    fill_ledger(p, c);
}

static struct campaign *load(const char *path, const char *text, size_t n, unsigned files,
                             struct buf *faults, unsigned *count)
{
    struct loaded *l = calloc(1, sizeof(*l));
    struct parse p = {.table = &campaign_table, .faults = {.out = faults}, .lookups = text == NULL};

    if (l == NULL || (l->c.path = strdup(path)) == NULL) {
        conf_fault(&p.faults, (struct conf_place){path, 0}, NULL, "out of memory");
        *count = p.faults.count;
        free(l);
        return NULL;
    }
    p.into = &l->c;
    p.names = &l->names;
    parse_all(&p, path, text, n);
    if (!p.broken)
        check_all(&p, &l->c, files);
    parse_fini(&p);
    *count = p.faults.count;
    if (p.faults.count > 0) {
        campaign_free(&l->c);
        return NULL;
    }
    if (text != NULL || (files & CAMPAIGN_ANCHORS) != 0)
        digest(&l->c);
    return &l->c;
}

struct campaign *campaign_load(const char *path, unsigned files, struct buf *faults,
                               unsigned *count)
{
    return load(path, NULL, 0, files, faults, count);
}

struct campaign *campaign_load_text(const char *name, const char *text, size_t n,
                                    struct buf *faults, unsigned *count)
{
    return load(name, text, n, CAMPAIGN_ALONE, faults, count);
}

static void free_cas(struct campaign_anchor *anchors, size_t n)
{
    for (size_t i = 0; anchors != NULL && i < n; i++) {
        for (size_t k = 0; k < anchors[i].ca_count; k++) {
            free(anchors[i].cas[k].pem);
            free(anchors[i].cas[k].subject);
        }
        free(anchors[i].cas);
    }
}

void campaign_free(struct campaign *c)
{
    struct loaded *l = (struct loaded *)(void *)c;

    if (c == NULL)
        return;
    free_cas(c->trust, c->trust_count);
    free_cas(c->retire.anchors, c->retire.anchor_count);
    parse_free_members(&campaign_table, NULL, c);
    if (c->password != NULL)
        explicit_bzero(c->password, strlen(c->password));
    free(c->password);
    free(c->path);
    source_names_fini(&l->names);
    free(l);
}

/* -- who takes part ------------------------------------------------------------------------------
 */

static bool matches(char *const *globs, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (str_glob(globs[i], name))
            return true;
    return false;
}

bool campaign_wants_gateway(const struct campaign *c, const char *gateway)
{
    return matches(c->gateways, c->gateway_count, gateway) &&
           !matches(c->exclude_gateways, c->exclude_gateway_count, gateway);
}

bool campaign_excludes_gateway(const struct campaign *c, const char *gateway)
{
    return matches(c->exclude_gateways, c->exclude_gateway_count, gateway);
}

bool campaign_wants_device(const struct campaign *c, const char *device)
{
    return matches(c->devices, c->device_count, device) &&
           !matches(c->exclude_devices, c->exclude_device_count, device);
}

bool campaign_wants_first(const struct campaign *c, const char *gateway, const char *device)
{
    for (size_t i = 0; i < c->pilot_count; i++) {
        const char *glob = c->pilot_devices[i], *slash = strchr(glob, '/');
        char at[256];

        if (slash == NULL) {
            if (str_glob(glob, device))
                return true;
            continue;
        }
        snprintf(at, sizeof(at), "%.*s", (int)(slash - glob), glob);
        if (str_glob(at, gateway) && str_glob(slash + 1, device))
            return true;
    }
    return false;
}

bool campaign_counts(const struct campaign *c, const char *failure)
{
    return !matches(c->ignore, c->ignore_count, failure);
}
