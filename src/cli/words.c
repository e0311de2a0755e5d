#include "cli/words.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/str.h"
#include "cli/explain.h"
#include "cli/nearest.h"
#include "cli/schema.h"
#include "control/rpc.h"

#define ON(id)   (UINT64_C(1) << (id))
#define EVERY    (~UINT64_C(0))
#define WORD_MAX 32

/* clang-format off */
static const struct words_command commands[WORDS_COUNT] = {
    [WORDS_STATUS]   = { "status",   WORDS_NOTHING,      "the gateway at a glance",
                         "status" },
    [WORDS_DEVICES]  = { "devices",  WORDS_MAYBE_TARGET, "devices: phase, active slot, expiry, what is wrong",
                         "devices 'press-*'" },
    [WORDS_DEVICE]   = { "device",   WORDS_ONE_DEVICE,   "everything about one device",
                         "device press-12" },
    [WORDS_SESSIONS] = { "sessions", WORDS_MAYBE_TARGET, "sensors that are connected",
                         "sessions 'press-*'" },
    [WORDS_LINT]     = { "lint",     WORDS_FILES,        "what is wrong with a certificate, chain and key: in a file, or of devices",
                         "lint chain.pem --anchors ca.pem --device press-12" },
    [WORDS_FLIP]     = { "flip",     WORDS_TARGETS,      "try the new identity; it rolls back by itself when it fails",
                         "flip 'press-*' --probation 600 --wait" },
    [WORDS_ROLLBACK] = { "rollback", WORDS_TARGETS,      "go back to the old identity",
                         "rollback press-12 --wait" },
    [WORDS_CONFIRM]  = { "confirm",  WORDS_ONE_DEVICE,   "say that the far side saw the new certificate",
                         "confirm press-12 --fingerprint 3f0c...e9" },
    [WORDS_COMMIT]   = { "commit",   WORDS_TARGETS,      "end a trial now, the new identity is good",
                         "commit press-12" },
    [WORDS_QUARANTINE_CLEAR] =
                       { "quarantine clear", WORDS_TARGETS, "the cause of a rollback is mended: allow another flip",
                         "quarantine clear press-12" },
    [WORDS_KEYGEN]   = { "keygen",   WORDS_TARGETS,      "make a key in the new slot, and the request for its certificate",
                         "keygen press-12 --out press-12.csr" },
    [WORDS_INSTALL]  = { "install",  WORDS_DEVICE_FILE,  "put the certificate of the key in the new slot there: it is staged",
                         "install press-12 press-12.pem" },
    [WORDS_DISCARD]  = { "discard",  WORDS_TARGETS,      "destroy what is in the new slot",
                         "discard press-12" },
    [WORDS_RETIRE]   = { "retire",   WORDS_TARGETS,      "archive the old identity, the new one takes its place",
                         "retire press-12" },
    [WORDS_EXPORT]   = { "export",   WORDS_ONE_DEVICE,   "a request or a certificate, as PEM",
                         "export press-12 --csr --out press-12.csr" },
    [WORDS_CRL_LIST]   = { "crl list",   WORDS_NOTHING,    "lists of revoked certificates in force",
                         "crl list" },
    [WORDS_CRL_UPDATE] = { "crl update", WORDS_FILE,       "take a CA's list of revoked certificates; who is on it is cut off",
                         "crl update devices-ca.crl" },
    [WORDS_IMPORT]   = { "import",   WORDS_IMPORTS,      "take identities out of PEM or PKCS#12 files, of one device or of a folder of them",
                         "import --dir /media/usb/identities --dry-run" },
    [WORDS_REKEY]    = { "rekey",    WORDS_MAYBE_TARGET, "write private keys anew, encrypted or not as keys.encrypt says",
                         "rekey" },
    [WORDS_TRUST_LIST]   = { "trust list",   WORDS_MAYBE_SET,  "who is believed, and what depends on it",
                             "trust list downstream" },
    [WORDS_TRUST_ADD]    = { "trust add",    WORDS_SET_FILE,   "believe a CA from now on, beside the others",
                             "trust add downstream new-ca.pem --note dual-trust-until-May" },
    [WORDS_TRUST_CHECK]  = { "trust check",  WORDS_SET_ANCHOR, "what would break without an anchor",
                             "trust check downstream 3f0c...e9" },
    [WORDS_TRUST_REMOVE] = { "trust remove", WORDS_SET_ANCHOR, "do not believe a CA any more, wherever it stands",
                             "trust remove downstream 3f0c...e9" },
    [WORDS_RELOAD]   = { "reload",   WORDS_NOTHING,      "read configuration and identities again",
                         "reload" },
    [WORDS_LOG]      = { "log",      WORDS_LEVEL,        "show what is logged, or change it; \"default\": as configured",
                         "log tls.handshake debug" },
    [WORDS_LOGS]     = { "logs",     WORDS_NOTHING,      "what the daemon has said, from the journal or its memory",
                         "logs --device press-12 --grep handshake --since 2h" },
    [WORDS_WATCH]    = { "watch",    WORDS_MAYBE_TARGET, "the gateway, its devices and what happens, on the whole terminal",
                         "watch" },
    [WORDS_AUDIT]    = { "audit",    WORDS_NOTHING,      "who commanded what, and what came of it",
                         "audit --limit 20" },
    [WORDS_SIGN]     = { "sign",     WORDS_METHOD,       "sign a command for a gateway, to be published on its cmd topic; without a daemon",
                         "sign --key alice.pem --gateway gw-hall-3 flip '{\"target\":\"press-12\"}'" },
    [WORDS_EXPLAIN]  = { "explain",  WORDS_CODE,         "what a name or code of a failure means, and what to do; without a daemon",
                         "explain alert 48" },
    [WORDS_SCHEMA]   = { "schema",   WORDS_SCHEMA_NAME,  "the JSON Schema of a method, or of a message over MQTT; without a daemon",
                         "schema flip" },
    [WORDS_HELP]     = { "help",     WORDS_COMMAND,      "this text, or more about one command",
                         "help flip" },
};

static const struct shape {
    size_t least, most;
    const char *text;
} shapes[WORDS_SHAPE_COUNT] = {
    [WORDS_NOTHING]      = { 0, 0,        "" },
    [WORDS_MAYBE_TARGET] = { 0, 1,        "[DEVICE|GLOB]" },
    [WORDS_ONE_DEVICE]   = { 1, 1,        "DEVICE" },
    [WORDS_TARGETS]      = { 1, SIZE_MAX, "DEVICE|GLOB..." },
    [WORDS_DEVICE_FILE]  = { 2, 2,        "DEVICE FILE" },
    [WORDS_FILE]         = { 1, 1,        "FILE" },
    [WORDS_FILES]        = { 1, SIZE_MAX, "FILE|DEVICE|GLOB..." },
    [WORDS_IMPORTS]      = { 0, SIZE_MAX, "DEVICE FILE... | --dir DIR" },
    [WORDS_MAYBE_SET]    = { 0, 1,        "[downstream|upstream]" },
    [WORDS_SET_FILE]     = { 2, 2,        "downstream|upstream FILE" },
    [WORDS_SET_ANCHOR]   = { 2, 2,        "downstream|upstream SHA256" },
    [WORDS_LEVEL]        = { 0, 2,        "[SUBSYSTEM LEVEL]" },
    [WORDS_METHOD]       = { 1, 2,        "METHOD [PARAMS|FILE]" },
    [WORDS_CODE]         = { 0, 2,        "[CODE]" },
    [WORDS_SCHEMA_NAME]  = { 0, 1,        "[METHOD]" },
    [WORDS_COMMAND]      = { 0, 2,        "[COMMAND]" },
};

enum kind { FLAG, NUMBER, TEXT, MAYBE_TEXT, TIME, SINCE, FILE_NAME, FILE_NAMES, DURATION };

#define AT(field) offsetof(struct words_line, field)

static const struct option {
    const char *name, *letter, *value; /* value: how help calls it; NULL: a flag */
    enum kind kind;
    size_t at;
    int64_t least, most;
    const char *const *choices; /* ended by NULL */
    uint64_t commands;
    const char *help;
} options[] = {
    { "--probation", NULL, "SECONDS", NUMBER, AT(probation_s), 1, 31622400, NULL, ON(WORDS_FLIP),
      "how long the new identity must stay healthy (default: the configuration's)" },
    { "--confirm", NULL, "auto|central", TEXT, AT(confirm), 0, 0,
      (const char *const[]){ "auto", "central", NULL }, ON(WORDS_FLIP),
      "commit by itself after probation, or only when somebody confirms" },
    { "--confirm-deadline", NULL, "SECONDS", NUMBER, AT(confirm_s), 1, 31622400, NULL, ON(WORDS_FLIP),
      "with --confirm central: roll back when nobody confirmed by then" },
    { "--evidence", NULL, "connack|echo", TEXT, AT(evidence), 0, 0,
      (const char *const[]){ "connack", "echo", NULL }, ON(WORDS_FLIP),
      "what must be proven: that it is accepted, or also that a message of its own comes back" },
    { "--begin-within", NULL, "SECONDS", NUMBER, AT(begin_s), 1, 31622400, NULL, ON(WORDS_FLIP),
      "give it up when the broker has not accepted the new identity by then: the device may be away" },
    { "--force", NULL, NULL, FLAG, AT(force), 0, 0, NULL,
      ON(WORDS_FLIP) | ON(WORDS_CRL_UPDATE) | ON(WORDS_TRUST_ADD) | ON(WORDS_TRUST_REMOVE),
      "flip: whatever lint says, and by a clock that is not synchronised, or wrong; crl update: in the place of a newer list;"
      " trust: add what is weak, remove what is in use" },
    { "--wait", NULL, NULL, FLAG, AT(wait), 0, 0, NULL, ON(WORDS_FLIP) | ON(WORDS_ROLLBACK),
      "follow it to its end; the exit status tells how it ended" },
    { "--timeout", NULL, "SECONDS", NUMBER, AT(timeout_s), 1, 31536000, NULL,
      ON(WORDS_FLIP) | ON(WORDS_ROLLBACK), "with --wait: stop waiting then, which is a failure" },
    { "--reason", NULL, "TEXT", TEXT, AT(reason), 0, 0, NULL, ON(WORDS_ROLLBACK),
      "kept with the device and in the audit log" },
    { "--fingerprint", NULL, "SHA256", TEXT, AT(fingerprint), 0, 0, NULL, ON(WORDS_CONFIRM),
      "of the certificate that the far side saw; refused when it is another one" },
    { "--kind", NULL, "KIND", TEXT, AT(kind), 0, 0,
      (const char *const[]){ "ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096", NULL }, ON(WORDS_KEYGEN),
      "kind of key: ec-p256, ec-p384, rsa-2048, rsa-3072 or rsa-4096 (default: the configuration's)" },
    { "--token", NULL, "NAME", MAYBE_TEXT, AT(token), 0, 0, NULL, ON(WORDS_KEYGEN),
      "token in which the key is made; \"\": in a file (default: the configuration's)" },
    { "--renew", NULL, NULL, FLAG, AT(renew), 0, 0, NULL, ON(WORDS_KEYGEN),
      "another key, though one waits for its certificate" },
    { "--csr", NULL, NULL, FLAG, AT(csr), 0, 0, NULL, ON(WORDS_EXPORT), "the request" },
    { "--cert", NULL, NULL, FLAG, AT(cert), 0, 0, NULL, ON(WORDS_EXPORT), "the certificate and its issuers" },
    { "--out", NULL, "FILE|FOLDER", FILE_NAME, AT(out), 0, 0, NULL, ON(WORDS_KEYGEN) | ON(WORDS_EXPORT),
      "where it is written: in a folder a file DEVICE.csr or DEVICE.pem for each device" },
    { "--purpose", NULL, "client|server", TEXT, AT(purpose), 0, 0,
      (const char *const[]){ "client", "server", NULL }, ON(WORDS_LINT),
      "what the certificate in the file is for (default: client)" },
    { "--anchors", NULL, "FILE", FILE_NAMES, AT(anchors), 0, 0, NULL, ON(WORDS_LINT),
      "PEM file of CAs that are believed; may be given again; without it that is not judged" },
    { "--crl", NULL, "FILE", FILE_NAMES, AT(crls), 0, 0, NULL, ON(WORDS_LINT),
      "list of revoked certificates, of a CA above it; may be given again" },
    { "--key", NULL, "FILE", FILE_NAME, AT(key), 0, 0, NULL, ON(WORDS_LINT) | ON(WORDS_SIGN) | ON(WORDS_IMPORT),
      "private key that belongs to it, when it is not in the file; with --pattern: a pattern, too; of sign, that of the operator (default: $CERTFLIP_OPERATOR_KEY)" },
    { "--gateway", NULL, "NAME", TEXT, AT(gateway), 0, 0, NULL, ON(WORDS_SIGN),
      "for which gateway it is (default: this host's name)" },
    { "--operator", NULL, "NAME", TEXT, AT(operator_name), 0, 0, NULL, ON(WORDS_SIGN),
      "who signs, as the gateway's configuration has it (default: the key file's name up to its first dot)" },
    { "--expires", NULL, "TIME", DURATION, AT(expires_s), 1, 86400, NULL, ON(WORDS_SIGN),
      "how long it is good from now: 90s, 10m, 1h (default: 10m)" },
    { "--device", NULL, "NAME", TEXT, AT(device), 0, 0, NULL, ON(WORDS_LINT) | ON(WORDS_LOGS),
      "lint: whom the certificate in the file must name, of a server its host name; logs: only lines about it, may be a glob" },
    { "--slot", NULL, "old|new", TEXT, AT(slot), 0, 0,
      (const char *const[]){ "old", "new", NULL }, ON(WORDS_LINT) | ON(WORDS_EXPORT) | ON(WORDS_IMPORT),
      "of a device, only this identity (export: default new; import: old when that is empty)" },
    { "--at", NULL, "TIME", TIME, AT(at_s), 0, 0, NULL, ON(WORDS_LINT),
      "judge for this moment: 2031-05-02, 2031-05-02T00:00:00Z, or seconds since 1970" },
    { "--dir", NULL, "DIR", FILE_NAME, AT(dir), 0, 0, NULL, ON(WORDS_IMPORT),
      "import all devices whose files lie in this folder" },
    { "--pattern", NULL, "PATTERN", TEXT, AT(pattern), 0, 0, NULL, ON(WORDS_IMPORT),
      "with --dir: how its files are called, as in \"{device}.p12\"" },
    { "--password-file", NULL, "FILE", FILE_NAME, AT(password_file), 0, 0, NULL, ON(WORDS_IMPORT),
      "file with the password of the files on its first line (default: ask on the terminal)" },
    { "--replace", NULL, NULL, FLAG, AT(replace), 0, 0, NULL, ON(WORDS_IMPORT),
      "take the place of another identity in the old slot" },
    { "--dry-run", NULL, NULL, FLAG, AT(dry_run), 0, 0, NULL, ON(WORDS_IMPORT),
      "read and check everything, and change nothing" },
    { "--note", NULL, "TEXT", TEXT, AT(note), 0, 0, NULL, ON(WORDS_TRUST_ADD) | ON(WORDS_TRUST_REMOVE),
      "why; kept with it, and shown by trust list" },
    { "--intermediate", NULL, NULL, FLAG, AT(intermediate), 0, 0, NULL, ON(WORDS_TRUST_ADD),
      "it completes the chains of those who do not send it, and is believed as far as an anchor vouches for it" },
    { "--only", NULL, "NAME[,NAME...]", TEXT, AT(only), 0, 0, NULL, ON(WORDS_TRUST_ADD),
      "for these listeners (or upstreams) alone" },
    { "--limit", NULL, "N", NUMBER, AT(limit), 1, RPC_ROWS_MAX, NULL,
      ON(WORDS_AUDIT) | ON(WORDS_SESSIONS) | ON(WORDS_LOGS),
      "at most so many rows; of logs, the latest (default: 1000, or all with --since)" },
    { "--grep", NULL, "TEXT", TEXT, AT(grep), 0, 0, NULL, ON(WORDS_LOGS),
      "only lines in which this text occurs, whatever the case of letters" },
    { "--event", NULL, "EVENT", TEXT, AT(event), 0, 0, NULL, ON(WORDS_LOGS),
      "only lines with this name of what happened; may be a glob: 'uplink-*'" },
    { "--subsystem", NULL, "NAME", TEXT, AT(subsystem), 0, 0, NULL, ON(WORDS_LOGS),
      "only lines of this subsystem; may be a glob" },
    { "--level", NULL, "LEVEL", TEXT, AT(level), 0, 0,
      (const char *const[]){ "error", "warn", "notice", "info", "debug", NULL }, ON(WORDS_LOGS),
      "only lines that are so urgent, or more: error, warn, notice, info or debug" },
    { "--since", NULL, "TIME", SINCE, AT(since), 0, 0, NULL, ON(WORDS_LOGS),
      "only from then on: 10m, 2h or 3d ago, 2031-05-02, 2031-05-02T00:00:00Z, or seconds since 1970" },
    { "--interval", NULL, "SECONDS", NUMBER, AT(interval_s), 1, 3600, NULL, ON(WORDS_WATCH),
      "how often the daemon is asked (default: 2)" },
    { "--follow", "-f", NULL, FLAG, AT(follow), 0, 0, NULL, ON(WORDS_LOGS), "and whatever comes" },
    { "--source", NULL, "journal|memory", TEXT, AT(source), 0, 0,
      (const char *const[]){ "journal", "memory", NULL }, ON(WORDS_LOGS),
      "where they are read (default: the journal when the daemon writes there and you may read it)" },
    { "--after", NULL, "NUMBER", NUMBER, AT(after), 0, INT64_C(1) << 53, NULL, ON(WORDS_AUDIT),
      "only what follows this entry" },
    { "--names", NULL, NULL, FLAG, AT(names), 0, 0, NULL, ON(WORDS_DEVICES),
      "names only, one a line" },
    { "--json", NULL, NULL, FLAG, AT(json), 0, 0, NULL, EVERY,
      "the daemon's answer as it is, for programs" },
    { "--socket", "-s", "PATH", FILE_NAME, AT(socket), 0, 0, NULL, EVERY,
      "control socket (default: $CERTFLIP_SOCKET, else " CERTFLIP_RUN_DIR "/control.sock)" },
    { "--help", "-h", NULL, FLAG, AT(help), 0, 0, NULL, EVERY, "help, of the command where one is given" },
    { "--version", "-V", NULL, FLAG, AT(version), 0, 0, NULL, EVERY, "version" },
};
/* clang-format on */
#define OPTION_COUNT (sizeof(options) / sizeof(options[0]))

const struct words_command *words_command(enum words_id id)
{
    return &commands[id];
}

/* -- finding words ---------------------------------------------------------------------------- */

/* The n-th word of a command's words, "" when there is none. */
static void nth_word(const char *words, size_t n, char out[WORD_MAX])
{
    size_t len;

    for (; n > 0 && *words != '\0'; n--) {
        words += strcspn(words, " ");
        words += strspn(words, " ");
    }
    len = strcspn(words, " ");
    memcpy(out, words, len);
    out[len] = '\0';
}

/* How many leading words of `args` are the command's, all of which must be there; 0: it is another.
 */
static size_t match_command(const char *words, const char *const *args, size_t n)
{
    char word[WORD_MAX];

    for (size_t i = 0;; i++) {
        nth_word(words, i, word);
        if (word[0] == '\0')
            return i;
        if (i >= n || strcmp(word, args[i]) != 0)
            return 0;
    }
}

/* Returns the command that `args` begin with, and how many words it has; or -1. */
static int find_command(const char *const *args, size_t n, size_t *used)
{
    for (int id = 0; id < WORDS_COUNT; id++) {
        *used = match_command(commands[id].words, args, n);
        if (*used > 0)
            return id;
    }
    return -1;
}

static const struct option *find_option(const char *word, size_t len)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *o = &options[i];

        if ((strncmp(o->name, word, len) == 0 && o->name[len] == '\0') ||
            (o->letter != NULL && strlen(o->letter) == len && strncmp(o->letter, word, len) == 0))
            return o;
    }
    return NULL;
}

static int fail_command(const char *const *args, size_t n, struct err *err)
{
    struct nearest near = nearest_to(args[0]);
    char word[WORD_MAX];

    for (int id = 0; id < WORDS_COUNT; id++) {
        nth_word(commands[id].words, 0, word);
        if (strcmp(word, args[0]) == 0) {
            nth_word(commands[id].words, 1, word);
            return err_set(err, ERR_INVALID, "%s%s%s: after \"%s\" comes \"%s\"", args[0],
                           n > 1 ? " " : "", n > 1 ? args[1] : "", args[0], word);
        }
        nearest_try(&near, word);
    }
    return nearest_fail(&near, "command", "certflipctl help", err);
}

static int fail_option(const char *word, size_t len, struct err *err)
{
    char typed[WORD_MAX];
    struct nearest near;

    snprintf(typed, sizeof(typed), "%.*s", (int)len, word);
    near = nearest_to(typed);
    for (size_t i = 0; i < OPTION_COUNT; i++)
        nearest_try(&near, options[i].name);
    return nearest_fail(&near, "option", "certflipctl help", err);
}

/* -- parsing ---------------------------------------------------------------------------------- */

static int set_number(const struct option *o, const char *value, int64_t *into, struct err *err)
{
    char *end = NULL;
    long long v;

    errno = 0;
    v = strtoll(value, &end, 10);
    if (end == value || *end != '\0' || errno != 0 || v < o->least || v > o->most)
        return err_set(err, ERR_INVALID, "%s %s: must be a whole number, %lld to %lld", o->name,
                       value, (long long)o->least, (long long)o->most);
    *into = v;
    return 0;
}

static int set_text(const struct option *o, const char *value, const char **into, struct err *err)
{
    const char *const *choice = o->choices;
    char all[200];
    size_t n = 0;

    for (; choice != NULL && *choice != NULL && strcmp(*choice, value) != 0; choice++)
        if (n < sizeof(all))
            n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%s", n == 0 ? "" : "|", *choice);
    if (choice != NULL && *choice == NULL)
        return err_set(err, ERR_INVALID, "%s \"%s\": must be %s", o->name, value, all);
    if ((value[0] == '\0' && o->kind != MAYBE_TEXT) ||
        ((o->kind == TEXT || o->kind == MAYBE_TEXT) &&
         !str_is_utf8((const uint8_t *)value, strlen(value))))
        return err_set(err, ERR_INVALID, "%s \"%s\": must be some text as %s", o->name, value,
                       o->value);
    *into = value;
    return 0;
}

static int set_time(const struct option *o, const char *value, int64_t *into, struct err *err)
{
    static const char *const forms[] = {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d", "%s"};

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct tm tm = {.tm_isdst = 0};
        const char *end = strptime(value, forms[i], &tm);

        if (end == NULL || *end != '\0' || value[strspn(value, "0123456789T:Z-")] != '\0')
            continue;
        *into = i == 2 ? strtoll(value, NULL, 10) : (int64_t)timegm(&tm);
        if (*into >= 0)
            return 0;
    }
    return err_set(err, ERR_INVALID,
                   "%s %s: must be a time: 2031-05-02, 2031-05-02T00:00:00Z, or seconds since 1970",
                   o->name, value);
}

/* A moment, or how long ago. */
static int set_since(const struct option *o, const char *value, struct words_since *into,
                     struct err *err)
{
    static const struct {
        const char *unit;
        int64_t s;
    } units[] = {{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
    char *end = NULL;
    long long v;

    errno = 0;
    v = strtoll(value, &end, 10);
    for (size_t i = 0; end != value && errno == 0 && v >= 0 && v <= 1000000 &&
                       i < sizeof(units) / sizeof(units[0]);
         i++) {
        if (strcmp(end, units[i].unit) == 0) {
            into->ago_s = v * units[i].s;
            return 0;
        }
    }
    if (set_time(o, value, &into->at_s, NULL) == 0)
        return 0;
    return err_set(err, ERR_INVALID,
                   "%s %s: must be 10m, 2h or 3d ago, 2031-05-02, 2031-05-02T00:00:00Z, or seconds "
                   "since 1970",
                   o->name, value);
}

/* Seconds, or a number with a unit. */
static int set_duration(const struct option *o, const char *value, int64_t *into, struct err *err)
{
    char *end = NULL;
    long long v;

    errno = 0;
    v = strtoll(value, &end, 10);
    if (end != value && errno == 0 && v >= 0 && v <= o->most) {
        if (strcmp(end, "m") == 0)
            v *= 60;
        else if (strcmp(end, "h") == 0)
            v *= 3600;
        else if (*end != '\0' && strcmp(end, "s") != 0)
            v = -1;
        if (v >= o->least && v <= o->most) {
            *into = v;
            return 0;
        }
    }
    return err_set(err, ERR_INVALID, "%s %s: must be a time such as 90s, 10m or 1h, at most %lld h",
                   o->name, value, (long long)(o->most / 3600));
}

static int add_file(struct words_files *files, const char *value, struct err *err)
{
    const char **more = realloc(files->all, (files->count + 1) * sizeof(*more));

    if (more == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    files->all = more;
    files->all[files->count++] = value;
    return 0;
}

static int set_option(struct words_line *line, const struct option *o, const char *value,
                      struct err *err)
{
    void *into = (char *)line + o->at;

    switch (o->kind) {
    case FLAG:
        *(bool *)into = true;
        return 0;
    case NUMBER:
        return set_number(o, value, into, err);
    case TEXT:
    case MAYBE_TEXT:
    case FILE_NAME:
        return set_text(o, value, into, err);
    case TIME:
        return set_time(o, value, into, err);
    case SINCE:
        return set_since(o, value, into, err);
    case DURATION:
        return set_duration(o, value, into, err);
    case FILE_NAMES:
        return add_file(into, value, err);
    }
    return 0;
}

/* Words sorted into options and the rest, before it is known what the rest means. */
struct sorted {
    struct words_line *line;
    uint64_t seen; /* options that were given, by index */
};

/* Take the option at words[*i], and its value when that is the next word. */
static int take_option(struct sorted *to, const char *const *words, size_t n, size_t *i,
                       struct err *err)
{
    const char *word = words[*i];
    size_t len = strcspn(word, "=");
    const char *value = word[len] == '=' ? word + len + 1 : NULL;
    const struct option *o = find_option(word, len);

    if (o == NULL)
        return fail_option(word, len, err);
    if (o->kind == FLAG && value != NULL)
        return err_set(err, ERR_INVALID, "%s: takes no value", o->name);
    if (o->kind != FLAG && value == NULL) {
        if (*i + 1 >= n)
            return err_set(err, ERR_INVALID, "%s: needs a value: %s", o->name, o->value);
        value = words[++*i];
    }
    to->seen |= (uint64_t)1 << (o - options);
    return set_option(to->line, o, value, err);
}

/* A code below zero, as "explain -188" has it: no option begins with a digit. */
static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0' && !(word[1] >= '0' && word[1] <= '9');
}

static int sort_words(struct sorted *to, const char *const *words, size_t n, struct err *err)
{
    bool only_args = false;

    for (size_t i = 0; i < n; i++) {
        if (!only_args && strcmp(words[i], "--") == 0) {
            only_args = true;
        } else if (!only_args && is_option(words[i])) {
            int rc = take_option(to, words, n, &i, err);

            if (rc != 0)
                return rc;
        } else {
            to->line->args[to->line->arg_count++] = words[i];
        }
    }
    return 0;
}

static int check_options(const struct sorted *s, struct err *err)
{
    const struct words_line *line = s->line;
    uint8_t sha256[32];

    for (size_t i = 0; i < OPTION_COUNT; i++)
        if ((s->seen >> i & 1) != 0 && (options[i].commands & ON(line->command)) == 0)
            return err_set(
                err, ERR_INVALID, "%s: has no meaning for \"%s\": see certflipctl help %s",
                options[i].name, commands[line->command].words, commands[line->command].words);
    if (line->pattern != NULL && line->dir == NULL)
        return err_set(err, ERR_INVALID, "--pattern: has no meaning without --dir");
    if (line->dir != NULL && line->key != NULL && line->pattern == NULL)
        return err_set(err, ERR_INVALID, "--key: with --dir it needs --pattern, and is one");
    if (line->timeout_s >= 0 && !line->wait)
        return err_set(err, ERR_INVALID, "--timeout: has no meaning without --wait");
    if (line->fingerprint != NULL && str_unhex(line->fingerprint, sha256, sizeof(sha256)) != 0)
        return err_set(err, ERR_INVALID,
                       "--fingerprint %s: must be 64 hex digits (openssl x509 -noout "
                       "-fingerprint -sha256 shows them)",
                       line->fingerprint);
    if (line->command == WORDS_EXPORT && line->csr == line->cert)
        return err_set(err, ERR_INVALID, "export: needs --csr or --cert");
    if (line->confirm_s >= 0 && (line->confirm == NULL || strcmp(line->confirm, "central") != 0))
        return err_set(err, ERR_INVALID,
                       "--confirm-deadline: has no meaning without --confirm central");
    return 0;
}

static int check_level(const char *subsystem, const char *level, struct err *err)
{
    struct nearest near = nearest_to(subsystem);
    enum log_level unused;
    bool known = strcmp(subsystem, "*") == 0;

    for (int i = 0; i < LOG_SUBSYSTEM_COUNT && !known; i++) {
        known = strcmp(log_subsystem_name((enum log_subsystem)i), subsystem) == 0;
        nearest_try(&near, log_subsystem_name((enum log_subsystem)i));
    }
    if (!known)
        return nearest_fail(&near, "subsystem", "certflipctl log", err);
    if (strcmp(level, "default") != 0 && log_level_parse(level, &unused) != 0)
        return err_set(err, ERR_INVALID,
                       "unknown level \"%s\": must be error, warn, notice, info, debug or default",
                       level);
    return 0;
}

static const char *const sets[] = {"downstream", "upstream"};

static int check_set(const struct words_line *line, struct err *err)
{
    const struct words_command *c = &commands[line->command];
    struct nearest near;
    uint8_t sha256[32];

    if (line->arg_count == 0)
        return 0;
    near = nearest_to(line->args[0]);
    nearest_try(&near, sets[0]);
    nearest_try(&near, sets[1]);
    if (strcmp(line->args[0], sets[0]) != 0 && strcmp(line->args[0], sets[1]) != 0) {
        if (near.word[0] != '\0')
            return nearest_fail(&near, "set", "certflipctl help", err);
        return err_set(err, ERR_INVALID,
                       "%s: \"%s\" must be downstream (who comes in) or upstream "
                       "(which brokers are believed)",
                       c->words, line->args[0]);
    }
    if (c->shape == WORDS_SET_ANCHOR && str_unhex(line->args[1], sha256, sizeof(sha256)) != 0)
        return err_set(err, ERR_INVALID,
                       "%s: %s: must be 64 hex digits (certflipctl trust list shows them)",
                       c->words, line->args[1]);
    return 0;
}

static int check_args(const struct words_line *line, struct err *err)
{
    const struct words_command *c = &commands[line->command];
    const struct shape *shape = &shapes[c->shape];

    if (c->shape == WORDS_IMPORTS && line->dir != NULL && line->arg_count > 0)
        return err_set(err, ERR_INVALID, "import: either DEVICE FILE... or --dir DIR");
    if (c->shape == WORDS_IMPORTS && line->dir == NULL &&
        (line->arg_count == 0 || (line->arg_count == 1 && line->key == NULL)))
        return err_set(err, ERR_INVALID, "import: needs DEVICE FILE..., or --dir DIR");
    if (line->arg_count < shape->least)
        return err_set(err, ERR_INVALID, "%s: needs %s", c->words, shape->text);
    if (line->arg_count > shape->most)
        return err_set(err, ERR_INVALID, "%s: does not take \"%s\": usage: certflipctl %s%s%s",
                       c->words, line->args[shape->most], c->words,
                       shape->text[0] != '\0' ? " " : "", shape->text);
    for (size_t i = 0; i < line->arg_count; i++)
        if (line->args[i][0] == '\0' ||
            !str_is_utf8((const uint8_t *)line->args[i], strlen(line->args[i])))
            return err_set(err, ERR_INVALID, "%s: \"%s\" is no %s", c->words, line->args[i],
                           shape->text);
    if (c->shape == WORDS_MAYBE_SET || c->shape == WORDS_SET_FILE || c->shape == WORDS_SET_ANCHOR)
        return check_set(line, err);
    if (c->shape != WORDS_LEVEL || line->arg_count == 0)
        return 0;
    if (line->arg_count == 1)
        return err_set(err, ERR_INVALID, "%s: needs both or none of SUBSYSTEM LEVEL", c->words);
    return check_level(line->args[0], line->args[1], err);
}

/* Tell the command's own words from those that follow it. */
static int name_command(struct words_line *line, struct err *err)
{
    size_t used = 0;
    int id;

    if (line->arg_count == 0) {
        if (!line->version)
            line->help = true;
        line->command = WORDS_HELP;
        return 0;
    }
    id = find_command(line->args, line->arg_count, &used);
    if (id < 0)
        return fail_command(line->args, line->arg_count, err);
    if (line->help && id != WORDS_HELP) { /* "flip --help" is "help flip" */
        line->command = WORDS_HELP;
        line->arg_count = used;
        return 0;
    }
    line->command = (enum words_id)id;
    line->arg_count -= used;
    memmove(line->args, line->args + used, line->arg_count * sizeof(line->args[0]));
    return 0;
}

int words_parse(const char *const *words, size_t n, struct words_line *out, struct err *err)
{
    struct words_line line = {.probation_s = -1,
                              .confirm_s = -1,
                              .begin_s = -1,
                              .limit = -1,
                              .after = -1,
                              .timeout_s = -1,
                              .interval_s = -1,
                              .at_s = -1,
                              .since = {-1, -1},
                              .expires_s = -1};
    struct sorted sorted = {.line = &line};
    int rc;

    line.args = calloc(n + 1, sizeof(line.args[0]));
    if (line.args == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    rc = sort_words(&sorted, words, n, err);
    if (rc == 0)
        rc = name_command(&line, err);
    if (rc == 0 && !line.help && !line.version) {
        rc = check_options(&sorted, err);
        if (rc == 0)
            rc = check_args(&line, err);
    }
    if (rc != 0) {
        words_fini(&line);
        return rc;
    }
    if (line.version)
        line.command = WORDS_HELP;
    *out = line;
    return 0;
}

void words_fini(struct words_line *line)
{
    free(line->args);
    free(line->anchors.all);
    free(line->crls.all);
    line->args = NULL;
    line->arg_count = 0;
    line->anchors = line->crls = (struct words_files){0};
}

/* -- help ------------------------------------------------------------------------------------- */

static void help_option(const struct option *o, FILE *to)
{
    char left[64];

    snprintf(left, sizeof(left), "%s%s%s%s%s", o->letter != NULL ? o->letter : "",
             o->letter != NULL ? ", " : "", o->name, o->value != NULL ? " " : "",
             o->value != NULL ? o->value : "");
    fprintf(to, "  %-28s %s\n", left, o->help);
}

static void help_all(FILE *to)
{
    fputs("usage: certflipctl [OPTIONS] COMMAND [ARGUMENTS]\n\ncommands:\n", to);
    for (int id = 0; id < WORDS_COUNT; id++) {
        char left[64];

        snprintf(left, sizeof(left), "%s %s", commands[id].words, shapes[commands[id].shape].text);
        fprintf(to, "  %-32s %s\n", left, commands[id].help);
    }
    fputs("\noptions of every command:\n", to);
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (options[i].commands == EVERY)
            help_option(&options[i], to);
    fputs("\nexit status:\n"
          "  0 done   1 something was refused or failed   2 usage   3 certflipd cannot be reached\n"
          "  4 with --wait: at least one device was rolled back\n"
          "  5 lint: warnings   6 lint: errors\n",
          to);
}

static void help_one(enum words_id id, FILE *to)
{
    const struct words_command *c = &commands[id];
    const char *args = shapes[c->shape].text;

    fprintf(to, "usage: certflipctl %s%s%s [OPTIONS]\n\n%s\n\noptions:\n", c->words,
            args[0] != '\0' ? " " : "", args, c->help);
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if ((options[i].commands & ON(id)) != 0)
            help_option(&options[i], to);
    fprintf(to, "\nexample:\n  certflipctl %s\n", c->example);
}

int words_help(const struct words_line *line, FILE *to, struct err *err)
{
    size_t used = 0;
    int id;

    if (line->arg_count == 0) {
        help_all(to);
        return 0;
    }
    id = find_command(line->args, line->arg_count, &used);
    if (id < 0 || used != line->arg_count)
        return fail_command(line->args, line->arg_count, err);
    help_one((enum words_id)id, to);
    return 0;
}

/* -- completion ------------------------------------------------------------------------------- */

struct offers {
    const char *partial;
    void (*offer)(void *arg, const char *word);
    void *arg;
};

static void offer_word(const struct offers *o, const char *word)
{
    if (strncmp(word, o->partial, strlen(o->partial)) == 0)
        o->offer(o->arg, word);
}

/* The next word of each command that begins with `args`. */
/* What comes in this command behind the words that are there; "" when it has others, or no more. */
static void word_behind(int id, const char *const *args, size_t n, char word[WORD_MAX])
{
    for (size_t i = 0; i < n; i++) {
        nth_word(commands[id].words, i, word);
        if (strcmp(word, args[i]) != 0) {
            word[0] = '\0';
            return;
        }
    }
    nth_word(commands[id].words, n, word);
}

static void offer_commands(const struct offers *o, const char *const *args, size_t n)
{
    char word[WORD_MAX], earlier[WORD_MAX];

    for (int id = 0; id < WORDS_COUNT; id++) {
        bool known = false;

        word_behind(id, args, n, word);
        for (int before = 0; before < id && !known; before++) {
            word_behind(before, args, n, earlier);
            known = strcmp(word, earlier) == 0;
        }
        if (word[0] != '\0' && !known)
            offer_word(o, word);
    }
}

static void offer_options(const struct offers *o, int command)
{
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (options[i].commands == EVERY ||
            (command >= 0 && (options[i].commands & ON(command)) != 0))
            offer_word(o, options[i].name);
}

static enum words_more offer_value(const struct offers *o, const struct option *option)
{
    for (const char *const *c = option->choices; c != NULL && *c != NULL; c++)
        offer_word(o, *c);
    if (option->at == AT(device))
        return WORDS_MORE_DEVICES;
    return option->kind == FILE_NAME || option->kind == FILE_NAMES ? WORDS_MORE_FILES
                                                                   : WORDS_NO_MORE;
}

static enum words_more offer_levels(const struct offers *o, size_t at)
{
    if (at == 0) {
        for (int i = 0; i < LOG_SUBSYSTEM_COUNT; i++)
            offer_word(o, log_subsystem_name((enum log_subsystem)i));
    } else if (at == 1) {
        for (int i = LOG_ERROR_; i <= LOG_DEBUG_; i++)
            offer_word(o, log_level_name((enum log_level)i));
        offer_word(o, "default");
    }
    return WORDS_NO_MORE;
}

/* What stands at place `at` after the command's words. */
static enum words_more offer_args(const struct offers *o, int command, const char *const *args,
                                  size_t at)
{
    switch (commands[command].shape) {
    case WORDS_MAYBE_TARGET:
    case WORDS_DEVICE_FILE:
    case WORDS_IMPORTS:
        return at == 0 ? WORDS_MORE_DEVICES : WORDS_MORE_FILES;
    case WORDS_ONE_DEVICE:
    case WORDS_TARGETS:
        return at < shapes[commands[command].shape].most ? WORDS_MORE_DEVICES : WORDS_NO_MORE;
    case WORDS_FILE:
        return at == 0 ? WORDS_MORE_FILES : WORDS_NO_MORE;
    case WORDS_FILES:
        return strchr(o->partial, '/') != NULL ? WORDS_MORE_FILES : WORDS_MORE_DEVICES;
    case WORDS_MAYBE_SET:
    case WORDS_SET_FILE:
    case WORDS_SET_ANCHOR:
        for (size_t i = 0; at == 0 && i < 2; i++)
            offer_word(o, sets[i]);
        return at == 1 && commands[command].shape == WORDS_SET_FILE ? WORDS_MORE_FILES
                                                                    : WORDS_NO_MORE;
    case WORDS_LEVEL:
        return offer_levels(o, at);
    case WORDS_METHOD:
        for (int m = 0; at == 0 && m < RPC_METHOD_COUNT; m++)
            offer_word(o, rpc_method_name((enum rpc_method)m));
        return at == 1 ? WORDS_MORE_FILES : WORDS_NO_MORE;
    case WORDS_CODE:
        if (at == 0)
            explain_names(o->partial, o->offer, o->arg);
        return WORDS_NO_MORE;
    case WORDS_SCHEMA_NAME:
        if (at == 0)
            schema_names(o->partial, o->offer, o->arg);
        return WORDS_NO_MORE;
    case WORDS_COMMAND:
        offer_commands(o, args, at);
        return WORDS_NO_MORE;
    case WORDS_NOTHING:
    case WORDS_SHAPE_COUNT:
        break;
    }
    return WORDS_NO_MORE;
}

enum words_more words_complete(const char *const *words, size_t n,
                               void (*offer)(void *arg, const char *word), void *arg)
{
    struct offers o = {.partial = n > 0 ? words[n - 1] : "", .offer = offer, .arg = arg};
    const char **args = calloc(n + 1, sizeof(args[0]));
    const struct option *awaits = NULL; /* the option whose value comes next */
    enum words_more more = WORDS_NO_MORE;
    size_t count = 0, used = 0;
    int command;

    if (args == NULL)
        return WORDS_NO_MORE;
    for (size_t i = 0; i + 1 < n; i++) {
        if (awaits != NULL) {
            awaits = NULL;
        } else if (words[i][0] == '-') {
            awaits = find_option(words[i], strlen(words[i]));
            if (awaits != NULL && awaits->kind == FLAG)
                awaits = NULL;
        } else {
            args[count++] = words[i];
        }
    }
    command = find_command(args, count, &used);
    if (awaits != NULL)
        more = offer_value(&o, awaits);
    else if (o.partial[0] == '-')
        offer_options(&o, command);
    else if (command < 0)
        offer_commands(&o, args, count);
    else
        more = offer_args(&o, command, args + used, count - used);
    free(args);
    return more;
}
