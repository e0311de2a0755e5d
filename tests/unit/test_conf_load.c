/* Files, includes and folders; what a loaded configuration says; sharing; comparing two. */
#include <arpa/inet.h>
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/durable.h"
#include "base/str.h"
#include "scratch.h"
#include "test_conf.h"

#define CERT "-----BEGIN CERTIFICATE-----\n"
#define KEY  "-----BEGIN PRIVATE KEY-----\n"

/* Enough for a configuration to be whole. */
#define PLAIN                                                                    \
    "listeners = ( { name = \"p\"; type = \"plaintext\"; allow = \"::/0\" } )\n" \
    "upstreams = ( { name = \"main\"; address = \"b\"; anchors = \"ca.pem\" } )\n"

static char dir[64];

static const char *in_dir(const char *name)
{
    static char path[4][256];
    static unsigned turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof(path[turn]), "%s/%s", dir, name);
    return path[turn];
}

static void put(const char *name, const char *text)
{
    assert_int_equal(durable_write(in_dir(name), text, strlen(text), 0644, NULL), 0);
}

static void erase(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *e;

    while (d != NULL && (e = readdir(d)) != NULL) {
        char *name = str_printf("%s/%s", path, e->d_name);

        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && unlink(name) != 0)
            erase(name);
        free(name);
    }
    if (d != NULL)
        closedir(d);
    rmdir(path);
}

static int setup(void **unused)
{
    (void)unused;
    if (!scratch_make(dir, sizeof(dir)))
        return -1;
    put("ca.pem", CERT);
    return 0;
}

static int teardown(void **unused)
{
    (void)unused;
    erase(dir);
    return 0;
}

/* Load DIR/main.conf; its faults, without the folder's name, must be `wanted`. */
static void faults_are(const char *wanted)
{
    struct loaded l = load_file(in_dir("main.conf"));
    char *p = l.faults;
    size_t n = strlen(dir) + 1;

    while ((p = strstr(p, dir)) != NULL)
        memmove(p, p + n, strlen(p + n) + 1);
    assert_string_equal(l.faults, wanted);
    unload(&l);
}

static void defaults_are_in_place(void **unused)
{
    struct loaded l = load_text("gateway = \"g\"\n" PLAIN
                                "devices = ( { name = \"d\"; match = { any = true } } )");
    const struct conf *c = l.conf;
    char host[256] = "";

    (void)unused;
    assert_string_equal(l.faults, "");
    assert_string_equal(c->gateway, "g");
    assert_true(c->workers >= 1);
    assert_null(c->control_group);
    assert_false(c->keys.encrypt);
    assert_null(c->keys.passphrase_file);
    assert_false(c->keys.core_dumps);
    assert_int_equal(c->listener_count, 1);
    assert_int_equal(c->listeners[0].port, 1883); /* plaintext */
    assert_string_equal(c->listeners[0].address, "*");
    assert_int_equal(c->listeners[0].backlog, 1024);
    assert_string_equal(c->upstreams[0].server_name, "b");
    assert_string_equal(c->upstreams[0].sni, "b");
    assert_string_equal(c->upstreams[0].client_id, "{client_id}");
    assert_null(c->upstreams[0].username);
    assert_true(c->upstreams[0].keepalive_as_device);
    assert_true(c->upstreams[0].keep_session);
    assert_int_equal(c->upstreams[0].tls_min, 0x0303);
    assert_int_equal(c->upstreams[0].tls_max, 0x0304);
    assert_string_equal(c->rules[0].upstream, "main");
    assert_string_equal(c->rules[0].upstream_new, "main");
    assert_true(c->rules[0].any_client_id);
    assert_int_equal(c->rules[0].max_connections, 1);
    assert_string_equal(c->rules[0].file, "t");
    assert_int_equal(c->rules[0].line, 4);
    assert_int_equal(c->limits.packet_bytes, 1 << 20);
    assert_int_equal(c->flip.backoff_tls_count, 4);
    assert_int_equal(c->flip.backoff_tls_s[3], 300);
    assert_int_equal(c->flip.backoff_network_count, 7);
    assert_false(c->management.enabled);
    assert_int_equal(c->log.level_count, 1);
    assert_string_equal(c->log.levels[0].subsystem, "*");
    assert_int_equal(c->log.levels[0].level, LOG_INFO_);
    unload(&l);

    gethostname(host, sizeof(host) - 1);
    l = load_text(PLAIN);
    if (str_is_name(host))
        assert_string_equal(l.conf->gateway, host);
    unload(&l);
}

static void values_may_carry_units(void **unused)
{
    struct loaded l =
        load_text(PLAIN "limits = { handshake_timeout_ms = \"1m\"; connect_timeout_ms = \"500ms\"; "
                        "idle_close_ms = 0x14; packet_bytes = \"64 KiB\"; queue_bytes = \"1MB\" }\n"
                        "flip = { probation_s = \"1h\"; backoff_tls_s = [ \"1m\", \"2m\" ]; "
                        "backoff_network_s = 7 }\n"
                        "management = { keepalive_s = \"2min\" }\n"
                        "log = { levels = ( { subsystem = \"flip\"; level = \"debug\" },"
                        "{ subsystem = \"*\"; level = \"warn\" } ) }\n");

    (void)unused;
    assert_string_equal(l.faults, "");
    assert_int_equal(l.conf->limits.handshake_timeout_ms, 60000);
    assert_int_equal(l.conf->limits.connect_timeout_ms, 500);
    assert_int_equal(l.conf->limits.idle_close_ms, 20);
    assert_int_equal(l.conf->limits.packet_bytes, 65536);
    assert_int_equal(l.conf->limits.queue_bytes, 1000000);
    assert_int_equal(l.conf->flip.probation_s, 3600);
    assert_int_equal(l.conf->flip.backoff_tls_count, 2);
    assert_int_equal(l.conf->flip.backoff_tls_s[1], 120);
    assert_int_equal(l.conf->flip.backoff_network_count, 1);
    assert_int_equal(l.conf->flip.backoff_network_s[0], 7);
    assert_int_equal(l.conf->management.keepalive_s, 120);
    assert_int_equal(l.conf->log.level_count, 2);
    assert_string_equal(l.conf->log.levels[0].subsystem, "*"); /* the others are set over it */
    assert_int_equal(l.conf->log.levels[0].level, LOG_WARN_);
    assert_string_equal(l.conf->log.levels[1].subsystem, "flip");
    unload(&l);
}

static void management_has_its_listener_and_rule(void **unused)
{
    struct loaded l = load_text("gateway = \"gw\"\nmanagement = { enabled = true; "
                                "socket = \"/tmp/m.sock\" }\n" PLAIN);
    const struct conf_listener *m;

    (void)unused;
    assert_string_equal(l.faults, "");
    m = conf_listener_find(l.conf, "management");
    assert_non_null(m);
    assert_int_equal(m->type, CONF_LISTEN_UNIX);
    assert_string_equal(m->address, "/tmp/m.sock");
    assert_string_equal(m->device, "gw");
    assert_int_equal(l.conf->rule_count, 1);
    assert_ptr_equal(conf_rule_find(l.conf, "gw"), &l.conf->rules[0]);
    assert_string_equal(l.conf->rules[0].listener, "management");
    assert_string_equal(l.conf->rules[0].upstream_new, "main");
    unload(&l);

    l = load_text("gateway = \"gw\"\nmanagement = { enabled = true; device = \"box\" }\n" PLAIN
                  "devices = ( { name = \"box\"; max_connections = 2 } )");
    assert_string_equal(l.faults, "");
    assert_int_equal(l.conf->rule_count, 1);
    assert_int_equal(conf_rule_find(l.conf, "box")->max_connections, 2);
    unload(&l);
}

static void includes_know_their_files(void **unused)
{
    (void)unused;
    mkdir(in_dir("sub"), 0755);
    mkdir(in_dir("sub/deep"), 0755);
    put("main.conf", "gateway = \"g\"\n" PLAIN "@include \"sub/a.inc\"\nfoo = 1\n"
                     "limits = {\n  @include \"sub/deep/b.inc\" # a comment\n  bar = 2 }\n");
    put("sub/a.inc", "\n@include \"deep/c.inc\"\nbaz = 3");
    put("sub/deep/b.inc", "# nothing\n\ninflight = 0\n");
    put("sub/deep/c.inc", "");
    faults_are(
        "sub/a.inc:3: baz: unknown key: known here are gateway workers identities state "
        "include_dir keys tokens control listeners upstreams devices exceptions management "
        "operators limits keygen flip clock lint status log\n"
        "main.conf:5: foo: unknown key: known here are gateway workers identities state "
        "include_dir keys tokens control listeners upstreams devices exceptions management "
        "operators limits keygen flip clock lint status log\n"
        "sub/deep/b.inc:3: limits.inflight: 0 is out of range: a number from 1 to 65535\n"
        "main.conf:8: limits.bar: unknown key: known here are connections "
        "connections_per_source handshakes handshake_timeout_ms connect_timeout_ms "
        "packet_bytes inflight queue_bytes idle_close_ms subscriptions wakeups_per_second\n");
}

static void bad_includes_are_faults(void **unused)
{
    (void)unused;
    put("main.conf", "@include \"none.inc\"\n@include \".\"\n@include \"main.conf\"\n"
                     "@include \"ring.inc\"\n@include none\nworkers = 2000\n");
    put("ring.inc", "workers = 1\n@include \"ring2.inc\"\n");
    put("ring2.inc", "@include \"ring.inc\"\n");
    faults_are("main.conf:1: @include: none.inc: there is no such file: check the path\n"
               "main.conf:2: @include: .: is not a regular file: check the path\n"
               "main.conf:3: @include: main.conf: includes itself: take this line out\n"
               "ring2.inc:1: @include: ring.inc: includes itself: take this line out\n"
               "main.conf:5: @include: has no file name: write @include \"FILE\"\n"
               "main.conf:6: this group has a setting of that name already, at "
               "\"workers = 2000\": keep one of them\n");
}

/* Files that include each other ever deeper come to an end. */
static void depth_and_number_of_includes_are_bounded(void **unused)
{
    struct loaded l;

    (void)unused;
    for (int i = 0; i < 30; i++) {
        char name[32];
        char text[64];

        snprintf(name, sizeof(name), "%d.inc", i);
        snprintf(text, sizeof(text), "@include \"%d.inc\"\n", i + 1);
        put(i == 0 ? "main.conf" : name, text);
    }
    l = load_file(in_dir("main.conf"));
    assert_non_null(strstr(l.faults, "16.inc:1: @include: "));
    assert_non_null(strstr(l.faults, "included too deeply: at most 16 levels\n"));
    assert_int_equal(l.count, 1);
    unload(&l);

    put("wide.inc", "");
    for (int i = 14; i >= 0; i--) {
        char name[32];
        char text[256] = "";

        snprintf(name, sizeof(name), "%d.inc", i);
        for (int k = 0; k < 4; k++)
            snprintf(text + strlen(text), sizeof(text) - strlen(text), "@include \"%s%s\"\n",
                     i == 14 ? "wide" : (snprintf(name, sizeof(name), "%d", i + 1), name), ".inc");
        snprintf(name, sizeof(name), "%d.inc", i);
        put(i == 0 ? "main.conf" : name, text);
    }
    l = load_file(in_dir("main.conf"));
    assert_non_null(strstr(l.faults, "included after too many others: at most 10000\n"));
    assert_int_equal(l.count, 1);
    unload(&l);
}

static void folder_is_read_in_order(void **unused)
{
    struct loaded l;

    (void)unused;
    put("main.conf", "gateway = \"g\"\nlimits = { inflight = 7 }\n" PLAIN
                     "devices = ( { name = \"a\"; match = { any = true } } )");
    mkdir(in_dir("conf.d"), 0755);
    put("conf.d/20-b.conf", "devices = ( { name = \"c\"; match = { any = true } } )\n"
                            "limits = { handshakes = 9 }");
    put("conf.d/10-a.conf", "devices = ( { name = \"b\"; match = { any = true } } )\n");
    put("conf.d/30-c.conf.bak", "nonsense");
    put("conf.d/.hidden.conf", "nonsense");
    l = load_file(in_dir("main.conf"));
    assert_string_equal(l.faults, "");
    assert_int_equal(l.conf->rule_count, 3);
    assert_string_equal(l.conf->rules[0].name, "a");
    assert_string_equal(l.conf->rules[1].name, "b");
    assert_string_equal(l.conf->rules[2].name, "c");
    assert_string_equal(l.conf->rules[1].file, in_dir("conf.d/10-a.conf"));
    assert_int_equal(l.conf->limits.inflight, 7);
    assert_int_equal(l.conf->limits.handshakes, 9);
    assert_string_equal(l.conf->upstreams[0].anchors[0], in_dir("ca.pem"));
    unload(&l);

    put("conf.d/20-b.conf", "limits = { inflight = 8 }\ninclude_dir = \"x\"\n"
                            "devices = ( { name = \"a\"; match = { any = true } } )");
    faults_are("conf.d/20-b.conf:1: limits.inflight: is set already at main.conf:2: keep one of "
               "them\n"
               "conf.d/20-b.conf:2: include_dir: belongs into the main file: move it to main.conf\n"
               "conf.d/20-b.conf:3: devices[0].name: \"a\" is taken already at main.conf:5: names "
               "must differ\n");

    put("conf.d/20-b.conf", "foo == 1");
    put("conf.d/30-c.conf", "limits = (");
    faults_are("conf.d/20-b.conf:1: syntax error at or before \"foo == 1\": a setting is written "
               "name = value; a string in \"quotes\", a group in { }, a list in ( )\n"
               "conf.d/30-c.conf:2: syntax error at or before the end: a setting is written "
               "name = value; a string in \"quotes\", a group in { }, a list in ( )\n"
               "conf.d/30-c.conf:1: limits: has the wrong shape: a group { ... }\n");

    put("main.conf", "gateway = \"g\"\ninclude_dir = \"\"\n" PLAIN);
    faults_are("");
    put("main.conf", "gateway = \"g\"\ninclude_dir = \"more\"\n" PLAIN);
    faults_are("main.conf:2: include_dir: more: No such file or directory: a folder that can be "
               "read, or \"\" for none\n");
    mkdir(in_dir("more"), 0755);
    faults_are("");
}

static void a_password_is_not_shown(void **unused)
{
    (void)unused;
    put("main.conf", "gateway = \"g\"\ndevices = ( { match = { password = \"hunter2\" ] } )\n");
    faults_are("main.conf:2: syntax error at or before \"devices = ( { match = { "
               "password...\": a setting is written name = value; a string in \"quotes\", a group "
               "in { }, a list in ( )\n");
    put("main.conf", "upstreams = ( { password = \"a\"; password = \"hunter2\" } )\n");
    faults_are("main.conf:1: this group has a setting of that name already, at \"upstreams = ( { "
               "password...\": keep one of them\n");
}

static void named_files_are_looked_at(void **unused)
{
    (void)unused;
    put("main.conf",
        "gateway = \"g\"\nidentities = \"ca.pem\"\ncontrol = { group = \"no-such-group\" }\n"
        "listeners = ( { name = \"t\"; anchors = [ \"empty.pem\", \"key.pem\", \"ca.pem\" ]\n"
        " chains = ( { chain = \"none.pem\"; key = \"ca.pem\" },\n"
        "   { chain = \"text.pem\"; key = \"locked.pem\"; sni = \"x\" },\n"
        "   { chain = \"ca.pem\"; key = \"key.pem\"; sni = \"y\" } ) } )\n"
        "upstreams = ( { name = \"u\"; address = \"b\"; anchors = \"sub/..\" } )\n");
    mkdir(in_dir("sub"), 0755);
    put("empty.pem", "");
    put("key.pem", KEY);
    put("text.pem", "hello");
    put("locked.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\n");
    faults_are(
        "main.conf:2: identities: ca.pem: is not a folder: a folder is needed there\n"
        "main.conf:3: control.group: there is no group \"no-such-group\": add it, or name another\n"
        "main.conf:5: listeners[0].chains[0].chain: none.pem: there is no such file: check the "
        "path\n"
        "main.conf:5: listeners[0].chains[0].key: ca.pem: holds a certificate and no private key: "
        "a PEM private key is needed\n"
        "main.conf:6: listeners[0].chains[1].chain: text.pem: holds no PEM certificate: a PEM "
        "certificate is needed\n"
        "main.conf:6: listeners[0].chains[1].key: locked.pem: the key is encrypted: an unencrypted "
        "PEM key is needed\n"
        "main.conf:4: listeners[0].anchors: empty.pem: holds nothing: a PEM certificate is "
        "needed\n"
        "main.conf:4: listeners[0].anchors: key.pem: holds a private key and no certificate: a PEM "
        "certificate is needed\n"
        "main.conf:8: upstreams[0].anchors: sub/..: is not a regular file: check the path\n");
}

static void identities_must_be_there(void **unused)
{
    (void)unused;
    put("main.conf", "gateway = \"g\"\nidentities = \"ids\"\nstate = \"later\"\n" PLAIN);
    faults_are("main.conf:2: identities: ids: there is no such folder: make it, with one folder "
               "for each device\n");
    mkdir(in_dir("ids"), 0755);
    faults_are("");
}

static void main_file_must_be_there(void **unused)
{
    (void)unused;
    faults_are("main.conf: there is no such file: check the path\n");
    assert_int_equal(durable_write(in_dir("main.conf"), "a = 1;\0b", 8, 0644, NULL), 0);
    faults_are("main.conf: holds a NUL byte: it must be a text file\n");
}

/* libconfig counts lines in 16 bits and cuts numbers to 32. */
static void large_files_keep_their_lines_and_numbers(void **unused)
{
    struct buf b = {0};
    struct loaded l;

    (void)unused;
    buf_printf(&b, "gateway = \"g\"\n" PLAIN "devices = (\n");
    for (int i = 0; i < 140000; i++)
        buf_printf(&b, "\n");
    buf_printf(&b, "{ name = \"x\"; match = { any = true; anny = 1 } } )\n"
                   "workers = 4294967297\nlimits = {\n inflight = 0x100000001 }\n");
    buf_append_u8(&b, '\0');
    l = load_text((char *)b.p);
    assert_string_equal(l.faults,
                        "t:140005: devices[0].match.anny: unknown key: did you mean \"any\"?\n"
                        "t:140006: workers: 4294967297 is out of range: a number from 0 to 256\n"
                        "t:140008: limits.inflight: 4294967297 is out of range: a number from 1 to "
                        "65535\n");
    unload(&l);
    buf_fini(&b);
}

static void thousands_of_rules_are_no_trouble(void **unused)
{
    struct buf b = {0};
    struct loaded l;

    (void)unused;
    buf_printf(&b, PLAIN "devices = (\n");
    for (int i = 0; i < 10000; i++)
        buf_printf(&b, "%s{ name = \"press-%d\"; match = { cn = \"press-%d\" } }\n",
                   i == 0 ? "" : ", ", i, i);
    buf_printf(&b, ")\n");
    buf_append_u8(&b, '\0');
    l = load_text((char *)b.p);
    assert_string_equal(l.faults, "");
    assert_int_equal(l.conf->rule_count, 10000);
    assert_int_equal(conf_rule_find(l.conf, "press-9999")->line, 10003);
    unload(&l);
    buf_fini(&b);
}

static struct sockaddr_storage address(const char *text)
{
    struct sockaddr_storage ss = {0};
    struct sockaddr_in *four = (struct sockaddr_in *)&ss;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&ss;

    if (inet_pton(AF_INET, text, &four->sin_addr) == 1)
        ss.ss_family = AF_INET;
    else if (inet_pton(AF_INET6, text, &six->sin6_addr) == 1)
        ss.ss_family = AF_INET6;
    else if (text[0] == '/')
        ss.ss_family = AF_UNIX;
    else
        fail_msg("%s", text);
    return ss;
}

static void networks_hold_their_addresses(void **unused)
{
    /* clang-format off */
    static const struct { const char *nets, *peer; bool in; } rows[] = {
        { "[ \"192.0.2.0/24\" ]",             "192.0.2.0",          true },
        { "[ \"192.0.2.0/24\" ]",             "192.0.2.255",        true },
        { "[ \"192.0.2.0/24\" ]",             "192.0.3.0",          false },
        { "[ \"192.0.2.0/24\" ]",             "::ffff:192.0.2.9",   true },
        { "[ \"192.0.2.128/25\" ]",           "192.0.2.127",        false },
        { "[ \"192.0.2.128/25\" ]",           "192.0.2.128",        true },
        { "\"192.0.2.17\"",                   "192.0.2.17",         true },
        { "\"192.0.2.17\"",                   "192.0.2.16",         false },
        { "\"0.0.0.0/0\"",                    "203.0.113.1",        true },
        { "\"0.0.0.0/0\"",                    "2001:db8::1",        false },
        { "\"::/0\"",                         "2001:db8::1",        true },
        { "\"::/0\"",                         "192.0.2.1",          false },
        { "\"2001:db8::/33\"",                "2001:db8:7fff::1",   true },
        { "\"2001:db8::/33\"",                "2001:db8:8000::1",   false },
        { "\"::ffff:192.0.2.0/120\"",         "192.0.2.77",         true },
        { "\"::ffff:192.0.2.0/120\"",         "192.0.3.77",         false },
        { "[ \"10.0.0.0/8\", \"::1\" ]",      "::1",                true },
        { "[ \"10.0.0.0/8\", \"::1\" ]",      "10.255.0.1",         true },
        { "[ \"10.0.0.0/8\", \"::1\" ]",      "11.0.0.0",           false },
        { "[ \"0.0.0.0/0\", \"::/0\" ]",      "/tmp/x",             false },
    };
    /* clang-format on */

    (void)unused;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *text = str_printf(
            "listeners = ( { name = \"p\"; type = \"plaintext\"; allow = %s } )\n"
            "upstreams = ( { name = \"main\"; address = \"b\"; anchors = \"ca.pem\" } )\n",
            rows[i].nets);
        struct loaded l = load_text(text);
        struct sockaddr_storage ss = address(rows[i].peer);

        assert_string_equal(l.faults, "");
        if (subnet_has(l.conf->listeners[0].allow, l.conf->listeners[0].allow_count,
                       (struct sockaddr *)&ss) != rows[i].in)
            fail_msg("%s %s", rows[i].nets, rows[i].peer);
        unload(&l);
        free(text);
    }
    assert_false(subnet_has(NULL, 0, NULL));
}

static void restart_is_asked_for_where_needed(void **unused)
{
    struct loaded a = load_text("gateway = \"g\"\nworkers = 2\n" PLAIN);
    struct loaded b = load_text("gateway = \"g\"\nworkers = 4\nstate = \"/x\"\n"
                                "control = { group = \"staff\" }\n"
                                "limits = { inflight = 3 }\n" PLAIN);
    struct buf out = {0};

    (void)unused;
    assert_string_equal(a.faults, "");
    assert_string_equal(b.faults, "");
    conf_restart_needed(a.conf, a.conf, &out);
    assert_int_equal(out.len, 0);
    conf_restart_needed(a.conf, b.conf, &out);
    buf_append_u8(&out, '\0');
    assert_non_null(strstr((char *)out.p, "workers: 2 -> 4\nstate: "));
    assert_non_null(strstr((char *)out.p, " -> /x\ncontrol.group: (none) -> staff\n"));
    assert_null(strstr((char *)out.p, "inflight"));
    assert_null(strstr((char *)out.p, "gateway"));
    buf_fini(&out);
    unload(&a);
    unload(&b);
}

static void the_last_reference_frees(void **unused)
{
    struct loaded l = load_text(PLAIN);
    struct conf *again = conf_ref(l.conf);

    (void)unused;
    assert_ptr_equal(again, l.conf);
    unload(&l);
    assert_non_null(conf_upstream_find(again, "main"));
    assert_null(conf_upstream_find(again, "mian"));
    assert_null(conf_listener_find(again, "x"));
    assert_null(conf_rule_find(again, "x"));
    conf_unref(again);
    conf_unref(NULL);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_in_place),
        cmocka_unit_test(values_may_carry_units),
        cmocka_unit_test(management_has_its_listener_and_rule),
        IN_FOLDER(includes_know_their_files),
        IN_FOLDER(bad_includes_are_faults),
        IN_FOLDER(depth_and_number_of_includes_are_bounded),
        IN_FOLDER(folder_is_read_in_order),
        IN_FOLDER(a_password_is_not_shown),
        IN_FOLDER(named_files_are_looked_at),
        IN_FOLDER(identities_must_be_there),
        IN_FOLDER(main_file_must_be_there),
        cmocka_unit_test(large_files_keep_their_lines_and_numbers),
        cmocka_unit_test(thousands_of_rules_are_no_trouble),
        cmocka_unit_test(networks_hold_their_addresses),
        cmocka_unit_test(restart_is_asked_for_where_needed),
        cmocka_unit_test(the_last_reference_frees),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
