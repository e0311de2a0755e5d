/* What certflipctl understands, what it says about the rest, and that help, completion and manual
 * know the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "cli/words.h"

#define WORDS_MAX 24

/* A command line cut at its blanks; "''" is the empty word. */
struct words {
    char text[512];
    const char *word[WORDS_MAX];
    size_t n;
};

static void cut(struct words *w, const char *text)
{
    char *save = NULL;

    snprintf(w->text, sizeof(w->text), "%s", text);
    w->n = 0;
    for (char *p = strtok_r(w->text, " ", &save); p != NULL; p = strtok_r(NULL, " ", &save)) {
        assert_true(w->n < WORDS_MAX);
        w->word[w->n++] = strcmp(p, "''") == 0 ? "" : p;
    }
}

/* The words behind a parsed line have to live as long as the line does. */
static struct words words;

static struct words_line parsed(const char *text)
{
    struct words_line line;
    struct err err = {0};

    cut(&words, text);
    if (words_parse(words.word, words.n, &line, &err) != 0)
        fail_msg("\"%s\": %s", text, err.msg);
    return line;
}

static void refused(const char *text, const char *saying)
{
    struct words_line line;
    struct err err = {0};

    cut(&words, text);
    if (words_parse(words.word, words.n, &line, &err) == 0) {
        words_fini(&line);
        fail_msg("\"%s\" was accepted", text);
    }
    assert_int_equal(err.code, ERR_INVALID);
    assert_string_equal(err.msg, saying);
}

#define SHA256 "3f0c55e93f0c55e93f0c55e93f0c55e93f0c55e93f0c55e93f0c55e93f0c55e9"

/* clang-format off */
static const struct good {
    const char *text;
    enum words_id command;
    const char *args; /* joined by commas */
} goods[] = {
    { "status",                                 WORDS_STATUS,           "" },
    { "devices",                                WORDS_DEVICES,          "" },
    { "devices press-*",                        WORDS_DEVICES,          "press-*" },
    { "device press-12",                        WORDS_DEVICE,           "press-12" },
    { "sessions",                               WORDS_SESSIONS,         "" },
    { "sessions press-12",                      WORDS_SESSIONS,         "press-12" },
    { "lint chain.pem press-12",                WORDS_LINT,             "chain.pem,press-12" },
    { "flip press-12",                          WORDS_FLIP,             "press-12" },
    { "flip press-1 press-2 lathe-*",           WORDS_FLIP,             "press-1,press-2,lathe-*" },
    { "rollback press-12",                      WORDS_ROLLBACK,         "press-12" },
    { "confirm press-12",                       WORDS_CONFIRM,          "press-12" },
    { "commit press-12 press-13",               WORDS_COMMIT,           "press-12,press-13" },
    { "quarantine clear press-12",              WORDS_QUARANTINE_CLEAR, "press-12" },
    { "keygen press-* --kind rsa-2048 --renew", WORDS_KEYGEN,           "press-*" },
    { "keygen press-12 --token hsm",            WORDS_KEYGEN,           "press-12" },
    { "install press-12 press-12.pem",          WORDS_INSTALL,          "press-12,press-12.pem" },
    { "discard press-12 press-13",              WORDS_DISCARD,          "press-12,press-13" },
    { "retire press-12",                        WORDS_RETIRE,           "press-12" },
    { "export press-12 --cert --slot old",      WORDS_EXPORT,           "press-12" },
    { "crl list",                               WORDS_CRL_LIST,         "" },
    { "crl update --force ca.crl",              WORDS_CRL_UPDATE,       "ca.crl" },
    { "trust list",                             WORDS_TRUST_LIST,       "" },
    { "trust list upstream --json",             WORDS_TRUST_LIST,       "upstream" },
    { "trust add downstream ca.pem --force",    WORDS_TRUST_ADD,        "downstream,ca.pem" },
    { "trust add upstream ca.pem --intermediate --only a,b --note x", WORDS_TRUST_ADD, "upstream,ca.pem" },
    { "trust check downstream " SHA256,         WORDS_TRUST_CHECK,      "downstream," SHA256 },
    { "trust remove upstream " SHA256 " --force", WORDS_TRUST_REMOVE,   "upstream," SHA256 },
    { "reload",                                 WORDS_RELOAD,           "" },
    { "log",                                    WORDS_LOG,              "" },
    { "log tls.handshake debug",                WORDS_LOG,              "tls.handshake,debug" },
    { "log * warn",                             WORDS_LOG,              "*,warn" },
    { "audit",                                  WORDS_AUDIT,            "" },
    { "import press-1 a.p12",                   WORDS_IMPORT,           "press-1,a.p12" },
    { "import press-1 a.pem b.key --slot new",  WORDS_IMPORT,           "press-1,a.pem,b.key" },
    { "import --dir d --dry-run",               WORDS_IMPORT,           "" },
    { "import --dir d --pattern {device}.p --key {device}.k", WORDS_IMPORT, "" },
    { "rekey",                                  WORDS_REKEY,            "" },
    { "rekey press-*",                          WORDS_REKEY,            "press-*" },
    { "sign --key a.pem --gateway g --operator a status", WORDS_SIGN,   "status" },
    { "watch",                                  WORDS_WATCH,            "" },
    { "watch press-* --interval 5",             WORDS_WATCH,            "press-*" },
    { "logs --device d --follow -f --json",     WORDS_LOGS,             "" },
    { "sign flip {} --expires 10m --json",      WORDS_SIGN,             "flip,{}" },
    { "explain",                                WORDS_EXPLAIN,          "" },
    { "explain alert 48",                       WORDS_EXPLAIN,          "alert,48" },
    { "explain -188 --json",                    WORDS_EXPLAIN,          "-188" },
    { "explain wolfssl -188",                   WORDS_EXPLAIN,          "wolfssl,-188" },
    { "schema",                                 WORDS_SCHEMA,           "" },
    { "schema message.state --json",            WORDS_SCHEMA,           "message.state" },
    { "help",                                   WORDS_HELP,             "" },
    { "help quarantine clear",                  WORDS_HELP,             "quarantine,clear" },
    { "flip --help",                            WORDS_HELP,             "flip" },
    { "flip press-12 --wait -h",                WORDS_HELP,             "flip" },
    { "-h",                                     WORDS_HELP,             "" },
    { "--version",                              WORDS_HELP,             "" },
    { "--json status -s /tmp/x",                WORDS_STATUS,           "" },
    { "device -- --odd",                        WORDS_DEVICE,           "--odd" },
    { "device -",                               WORDS_DEVICE,           "-" },
    { "quarantine --json clear a b",            WORDS_QUARANTINE_CLEAR, "a,b" },
};
/* clang-format on */

static void every_command_is_understood(void **unused)
{
    bool seen[WORDS_COUNT] = {false};

    (void)unused;
    for (size_t i = 0; i < sizeof(goods) / sizeof(goods[0]); i++) {
        struct words_line line = parsed(goods[i].text);
        char args[256] = "";

        for (size_t k = 0; k < line.arg_count; k++)
            snprintf(args + strlen(args), sizeof(args) - strlen(args), "%s%s", k > 0 ? "," : "",
                     line.args[k]);
        assert_int_equal(line.command, goods[i].command);
        assert_string_equal(args, goods[i].args);
        seen[line.command] = true;
        words_fini(&line);
    }
    for (int id = 0; id < WORDS_COUNT; id++)
        assert_true(seen[id]);
}

static void options_are_taken(void **unused)
{
    struct words_line line =
        parsed("flip press-* --probation 600 --confirm=central --confirm-deadline=1200 --wait "
               "--timeout 30 --json -s /run/x.sock");

    (void)unused;
    assert_int_equal(line.probation_s, 600);
    assert_string_equal(line.confirm, "central");
    assert_int_equal(line.confirm_s, 1200);
    assert_int_equal(line.timeout_s, 30);
    assert_true(line.wait);
    assert_true(line.json);
    assert_string_equal(line.socket, "/run/x.sock");
    words_fini(&line);
    line = parsed("audit --limit 20 --after 7");
    assert_int_equal(line.limit, 20);
    assert_int_equal(line.after, 7);
    words_fini(&line);
    line = parsed("rollback press-1 --reason because");
    assert_string_equal(line.reason, "because");
    assert_int_equal(line.probation_s, -1);
    assert_null(line.socket);
    assert_false(line.force);
    words_fini(&line);
    line = parsed("flip press-1 --force");
    assert_true(line.force);
    words_fini(&line);
    line = parsed("lint x.pem --purpose server --anchors a.pem --anchors=b.pem --key k --device d");
    assert_string_equal(line.purpose, "server");
    assert_int_equal(line.anchors.count, 2);
    assert_string_equal(line.anchors.all[0], "a.pem");
    assert_string_equal(line.anchors.all[1], "b.pem");
    assert_string_equal(line.key, "k");
    assert_string_equal(line.device, "d");
    assert_int_equal(line.at_s, -1);
    words_fini(&line);
}

static void moments_are_understood(void **unused)
{
    static const struct {
        const char *text;
        int64_t at_s;
    } table[] = {{"lint x --at 2031-05-02", 1935446400},
                 {"lint x --at 2031-05-02T01:02:03Z", 1935450123},
                 {"lint x --at 1935446400", 1935446400},
                 {"lint x --at 0", 0}};

    (void)unused;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct words_line line = parsed(table[i].text);

        assert_int_equal(line.at_s, table[i].at_s);
        words_fini(&line);
    }
    refused("lint x --at tomorrow", "--at tomorrow: must be a time: 2031-05-02, "
                                    "2031-05-02T00:00:00Z, or seconds since 1970");
    refused("lint x --at 2031-05-02T01:02:03", "--at 2031-05-02T01:02:03: must be a time: "
                                               "2031-05-02, 2031-05-02T00:00:00Z, or seconds since "
                                               "1970");
    refused("lint x --purpose both", "--purpose \"both\": must be client|server");
    refused("status --at 0", "--at: has no meaning for \"status\": see certflipctl help status");
}

static void nothing_at_all_is_help(void **unused)
{
    struct words_line line = parsed("");

    (void)unused;
    assert_int_equal(line.command, WORDS_HELP);
    assert_true(line.help);
    words_fini(&line);
}

static void wrong_words_get_the_nearest(void **unused)
{
    (void)unused;
    refused("flpi press-1", "unknown command \"flpi\": did you mean \"flip\"?");
    refused("devises", "unknown command \"devises\": did you mean \"devices\"?");
    refused("statsu", "unknown command \"statsu\": did you mean \"status\"?");
    refused("xyzzy", "unknown command \"xyzzy\": certflipctl help lists them all");
    refused("flip press-1 --probtion 5",
            "unknown option \"--probtion\": did you mean \"--probation\"?");
    refused("status --jsn", "unknown option \"--jsn\": did you mean \"--json\"?");
    refused("status -x", "unknown option \"-x\": certflipctl help lists them all");
    refused("log tls.handshak debug",
            "unknown subsystem \"tls.handshak\": did you mean \"tls.handshake\"?");
    refused("log mqtt verbose",
            "unknown level \"verbose\": must be error, warn, notice, info, debug or default");
    refused("quarantine", "quarantine: after \"quarantine\" comes \"clear\"");
    refused("quarantine clean x", "quarantine clean: after \"quarantine\" comes \"clear\"");
}

static void missing_and_superfluous_words_are_named(void **unused)
{
    (void)unused;
    refused("flip", "flip: needs DEVICE|GLOB...");
    refused("device", "device: needs DEVICE");
    refused("device a b", "device: does not take \"b\": usage: certflipctl device DEVICE");
    refused("status now", "status: does not take \"now\": usage: certflipctl status");
    refused("log mqtt", "log: needs both or none of SUBSYSTEM LEVEL");
    refused("flip ''", "flip: \"\" is no DEVICE|GLOB...");
    refused("flip a\xff", "flip: \"a?\" is no DEVICE|GLOB...");
    refused("flip a --probation", "--probation: needs a value: SECONDS");
    refused("flip a --wait=yes", "--wait: takes no value");
}

static void values_out_of_bounds_are_refused(void **unused)
{
    (void)unused;
    refused("flip a --probation 0", "--probation 0: must be a whole number, 1 to 31622400");
    refused("flip a --probation 5m", "--probation 5m: must be a whole number, 1 to 31622400");
    refused("flip a --probation 99999999999999999999",
            "--probation 99999999999999999999: must be a whole number, 1 to 31622400");
    refused("flip a --confirm perhaps", "--confirm \"perhaps\": must be auto|central");
    refused("flip a --confirm-deadline 5",
            "--confirm-deadline: has no meaning without --confirm central");
    refused("flip a --timeout 5", "--timeout: has no meaning without --wait");
    refused("confirm a --fingerprint 12:34",
            "--fingerprint 12:34: must be 64 hex digits (openssl x509 -noout -fingerprint -sha256 "
            "shows them)");
    refused("audit --limit 1001", "--limit 1001: must be a whole number, 1 to 1000");
}

static void the_words_of_trust_are_looked_at(void **unused)
{
    (void)unused;
    refused("trust", "trust: after \"trust\" comes \"list\"");
    refused("trust add downstream", "trust add: needs downstream|upstream FILE");
    refused("trust list downsteam", "unknown set \"downsteam\": did you mean \"downstream\"?");
    refused("trust add sensors ca.pem",
            "trust add: \"sensors\" must be downstream (who comes in) or "
            "upstream (which brokers are believed)");
    refused("trust check upstream 3f0c", "trust check: 3f0c: must be 64 hex digits (certflipctl "
                                         "trust list shows them)");
    refused("trust list --force",
            "--force: has no meaning for \"trust list\": see certflipctl help "
            "trust list");
}

static void options_of_other_commands_are_refused(void **unused)
{
    (void)unused;
    refused("status --wait", "--wait: has no meaning for \"status\": see certflipctl help status");
    refused("rollback a --probation 5",
            "--probation: has no meaning for \"rollback\": see certflipctl help rollback");
    refused("import", "import: needs DEVICE FILE..., or --dir DIR");
    refused("import press-1", "import: needs DEVICE FILE..., or --dir DIR");
    refused("import press-1 a.p12 --dir d", "import: either DEVICE FILE... or --dir DIR");
    refused("import press-1 a.p12 --pattern x", "--pattern: has no meaning without --dir");
    refused("import --dir d --key k", "--key: with --dir it needs --pattern, and is one");
    refused("keygen press-1 --kind ec-p521",
            "--kind \"ec-p521\": must be ec-p256|ec-p384|rsa-2048|rsa-3072|rsa-4096");
    refused("import press-1 a.p12 --slot middle", "--slot \"middle\": must be old|new");
}

/* -- help ------------------------------------------------------------------------------------- */

static char *help_of(const char *text)
{
    struct words_line line = parsed(text);
    char *out = NULL;
    size_t n = 0;
    FILE *to = open_memstream(&out, &n);

    assert_non_null(to);
    assert_int_equal(words_help(&line, to, NULL), 0);
    fclose(to);
    words_fini(&line);
    return out;
}

static void help_lists_every_command(void **unused)
{
    char *help = help_of("help");

    (void)unused;
    for (int id = 0; id < WORDS_COUNT; id++) {
        assert_non_null(strstr(help, words_command((enum words_id)id)->words));
        assert_non_null(strstr(help, words_command((enum words_id)id)->help));
    }
    assert_non_null(strstr(help, "exit status:"));
    free(help);
}

static void help_of_a_command_is_its_own(void **unused)
{
    char *help = help_of("help quarantine clear");

    (void)unused;
    assert_string_equal(
        help,
        "usage: certflipctl quarantine clear DEVICE|GLOB... [OPTIONS]\n"
        "\n"
        "the cause of a rollback is mended: allow another flip\n"
        "\n"
        "options:\n"
        "  --json                       the daemon's answer as it is, for programs\n"
        "  -s, --socket PATH            control socket (default: $CERTFLIP_SOCKET, else " CERTFLIP_RUN_DIR
        "/control.sock)\n"
        "  -h, --help                   help, of the command where one is given\n"
        "  -V, --version                version\n"
        "\n"
        "example:\n"
        "  certflipctl quarantine clear press-12\n");
    free(help);
}

static void help_of_nothing_known_is_refused(void **unused)
{
    struct words_line line = parsed("help flpi");
    struct err err = {0};

    (void)unused;
    assert_int_equal(words_help(&line, stderr, &err), -ERR_INVALID);
    assert_string_equal(err.msg, "unknown command \"flpi\": did you mean \"flip\"?");
    words_fini(&line);
}

/* Each example is a command line that is understood, as that command. */
static void examples_are_understood(void **unused)
{
    (void)unused;
    for (int id = 0; id < WORDS_COUNT; id++) {
        char text[128];
        char *elided;

        snprintf(text, sizeof(text), "%s", words_command((enum words_id)id)->example);
        elided = strstr(text, "3f0c...e9");
        if (elided != NULL)
            strcpy(elided, "3f0c55e93f0c55e93f0c55e93f0c55e93f0c55e93f0c55e93f0c55e93f0c55e9");
        struct words_line line = parsed(text);

        assert_int_equal(line.command, id);
        words_fini(&line);
    }
}

/* -- the manual ------------------------------------------------------------------------------- */

static char *manual(void)
{
    const char *top = getenv("srcdir");
    char *path = str_printf("%s/src/cli/certflipctl.1", top == NULL ? "." : top);
    char *text = calloc(1, 256 * 1024);
    FILE *f = fopen(path, "r");
    size_t to = 0;

    if (f == NULL)
        fail_msg("%s: cannot be read", path);
    for (int c; (c = fgetc(f)) != EOF && to < 256 * 1024 - 1;)
        if (c != '\\') /* "\-" is how roff writes a hyphen */
            text[to++] = (char)c;
    fclose(f);
    free(path);
    return text;
}

static void count_offer(void *arg, const char *word)
{
    const char *text = arg;

    if (strstr(text, word) == NULL)
        fail_msg("the manual does not know \"%s\"", word);
}

static void manual_knows_every_word(void **unused)
{
    char *text = manual();

    (void)unused;
    for (int id = 0; id < WORDS_COUNT; id++) {
        const struct words_command *c = words_command((enum words_id)id);
        char line[160];

        snprintf(line, sizeof(line), ".B certflipctl %s", c->words);
        if (strstr(text, line) == NULL)
            fail_msg("the manual has no example \"%s\"", line);
        snprintf(line, sizeof(line), "%s --", c->words);
        cut(&words, line);
        (void)words_complete(words.word, words.n, count_offer, text);
    }
    free(text);
}

/* -- completion ------------------------------------------------------------------------------- */

struct offered {
    char text[1024];
};

static void take_offer(void *arg, const char *word)
{
    struct offered *o = arg;
    size_t n = strlen(o->text);

    snprintf(o->text + n, sizeof(o->text) - n, "%s ", word);
}

static void completes(const char *text, const char *offers, enum words_more more)
{
    struct offered o = {""};
    struct words w;

    cut(&w, text);
    assert_int_equal(words_complete(w.word, w.n, take_offer, &o), more);
    assert_string_equal(o.text, offers);
}

static void durations_have_units(void **unused)
{
    static const struct {
        const char *text;
        int64_t s;
    } good[] = {{"sign x --expires 90", 90},
                {"sign x --expires 90s", 90},
                {"sign x --expires 10m", 600},
                {"sign x --expires 24h", 86400},
                {"sign x", -1}};
    static const char *const bad[] = {"0", "-1", "25h", "1d", "m", "10 m", "99999999999999999999"};

    (void)unused;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct words_line line = parsed(good[i].text);

        assert_int_equal(line.expires_s, good[i].s);
        words_fini(&line);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *const given[] = {"sign", "x", "--expires", bad[i]};
        struct words_line line;
        struct err err = {0};

        assert_int_equal(words_parse(given, 4, &line, &err), -ERR_INVALID);
        assert_non_null(strstr(err.msg, "such as 90s, 10m or 1h"));
    }
}

static void next_words_are_offered(void **unused)
{
    (void)unused;
    completes(
        "''",
        "status devices device sessions lint flip rollback confirm commit quarantine keygen install "
        "discard retire export crl import rekey trust reload log logs watch audit sign explain schema "
        "help ",
        WORDS_NO_MORE);
    completes("de", "devices device ", WORDS_NO_MORE);
    completes("quarantine ''", "clear ", WORDS_NO_MORE);
    completes("logs --device pr", "", WORDS_MORE_DEVICES);
    completes("watch pr", "", WORDS_MORE_DEVICES);
    completes("crl ''", "list update ", WORDS_NO_MORE);
    completes("crl update ''", "", WORDS_MORE_FILES);
    completes("explain rpc.q", "rpc.quarantined ", WORDS_NO_MORE);
    completes("explain alert ''", "", WORDS_NO_MORE);
    completes("schema message.s", "message.state ", WORDS_NO_MORE);
    completes("schema com", "commit ", WORDS_NO_MORE);
    completes("schema flip ''", "", WORDS_NO_MORE);
    completes("quarantine clear ''", "", WORDS_MORE_DEVICES);
    completes("flip pre", "", WORDS_MORE_DEVICES);
    completes("flip press-1 ''", "", WORDS_MORE_DEVICES);
    completes("device press-1 ''", "", WORDS_NO_MORE);
    completes("install pre", "", WORDS_MORE_DEVICES);
    completes("install press-1 ''", "", WORDS_MORE_FILES);
    completes("keygen a --kind ec", "ec-p256 ec-p384 ", WORDS_NO_MORE);
    completes("flip --pro", "--probation ", WORDS_NO_MORE);
    completes("flip a --c", "--confirm --confirm-deadline ", WORDS_NO_MORE);
    completes("flip a --confirm ''", "auto central ", WORDS_NO_MORE);
    completes("flip a --probation ''", "", WORDS_NO_MORE);
    completes("flip a --wait ''", "", WORDS_MORE_DEVICES);
    completes("status --w", "", WORDS_NO_MORE);
    completes("-s ''", "", WORDS_MORE_FILES);
    completes("-s /tmp/x.sock aud", "audit ", WORDS_NO_MORE);
    completes("log t", "tls.handshake ", WORDS_NO_MORE);
    completes("log mqtt ''", "error warn notice info debug default ", WORDS_NO_MORE);
    completes("help quarantine ''", "clear ", WORDS_NO_MORE);
    completes("nonsense ''", "", WORDS_NO_MORE);
}

/* A moment, or how long ago. */
static void since_is_a_moment_or_a_time_ago(void **unused)
{
    static const struct {
        const char *text;
        int64_t at_s, ago_s;
    } good[] = {{"90s", -1, 90},
                {"10m", -1, 600},
                {"2h", -1, 7200},
                {"3d", -1, 259200},
                {"0s", -1, 0},
                {"2031-05-02", 1935446400, -1},
                {"2031-05-02T00:00:01Z", 1935446401, -1},
                {"1935446400", 1935446400, -1}};
    static const char *const bad[] = {"x", "-1h", "10w", "2031-13-02", "h", "yesterday"};
    struct words_line line;

    (void)unused;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        const char *const given[] = {"logs", "--since", good[i].text};

        assert_int_equal(words_parse(given, 3, &line, NULL), 0);
        assert_int_equal(line.since.at_s, good[i].at_s);
        assert_int_equal(line.since.ago_s, good[i].ago_s);
        words_fini(&line);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *const given[] = {"logs", "--since", bad[i]};

        assert_int_equal(words_parse(given, 3, &line, NULL), -ERR_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_is_understood),
        cmocka_unit_test(options_are_taken),
        cmocka_unit_test(moments_are_understood),
        cmocka_unit_test(nothing_at_all_is_help),
        cmocka_unit_test(wrong_words_get_the_nearest),
        cmocka_unit_test(missing_and_superfluous_words_are_named),
        cmocka_unit_test(values_out_of_bounds_are_refused),
        cmocka_unit_test(the_words_of_trust_are_looked_at),
        cmocka_unit_test(options_of_other_commands_are_refused),
        cmocka_unit_test(help_lists_every_command),
        cmocka_unit_test(help_of_a_command_is_its_own),
        cmocka_unit_test(help_of_nothing_known_is_refused),
        cmocka_unit_test(examples_are_understood),
        cmocka_unit_test(manual_knows_every_word),
        cmocka_unit_test(durations_have_units),
        cmocka_unit_test(since_is_a_moment_or_a_time_ago),
        cmocka_unit_test(next_words_are_offered),
    };

    return cmocka_run_group_tests_name("cli: words", tests, NULL, NULL);
}
