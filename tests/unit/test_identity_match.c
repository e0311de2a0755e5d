/* Who is it?  Rules against what connections show. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "identity/match.h"
#include "test_conf.h"

#define FP  "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define FP2 "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

#define FRAME                                                                             \
    "gateway = \"gw\"\n"                                                                  \
    "listeners = ( { name = \"tls\"; type = \"plaintext\"; allow = \"::/0\" },\n"         \
    "  { name = \"plain\"; type = \"plaintext\"; port = 1884; allow = \"::/0\" },\n"      \
    "  { name = \"local\"; type = \"unix\"; address = \"/tmp/l\"; device = \"box\" } )\n" \
    "upstreams = ( { name = \"main\"; address = \"b\"; anchors = \"ca.pem\" } )\n"        \
    "devices = ( { name = \"box\" },\n"

static const char *const rules =
    FRAME "{ name = \"pinned\"; match = { fingerprint = \"" FP "\" } },\n"               /* 7 */
          "{ name = \"vip-{cn}\"; match = { cn = \"vip-*\"; issuer = \"CN=New*\" } },\n" /* 8 */
          "{ name = \"{cn}\"; match = { listener = \"tls\"; cn = \"p*\" } },\n"          /* 9 */
          "{ name = \"{san}\"; match = { san = \"*.x\" } },\n"                           /* 10 */
          "{ name = \"u-{username}\"; match = { username = \"u?\"; password = \"pw\";\n" /* 11 */
          "  networks = [ \"10.0.0.0/8\", \"2001:db8::/32\" ] } },\n"
          "{ name = \"{client_id}\"; match = { client_id = \"c[0-9]\" } },\n"            /* 13 */
          "{ name = \"own\"; match = { client_id = \"o*\" }; any_client_id = false },\n" /* 14 */
          "{ name = \"self\"; match = { username = \"self\" }; any_client_id = false },\n"
          "{ name = \"{gateway}.{client_id}\"; match = { listener = \"plain\" } } )\n";

/* What a connection shows, by words: "cn=x client_id=y"; values end at a blank, "_" is a blank. */
struct shown {
    struct match_facts facts;
    char text[512];
    const char *sans[4];
    struct sockaddr_storage peer;
};

static struct slice bytes(const char *s)
{
    return slice_of(s);
}

static void show(struct shown *s, const char *words)
{
    char *save = NULL;

    memset(s, 0, sizeof(*s));
    s->facts.listener = "tls";
    s->facts.sans = s->sans;
    snprintf(s->text, sizeof(s->text), "%s", words);
    for (char *w = strtok_r(s->text, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save)) {
        char *v = strchr(w, '=') + 1;

        v[-1] = '\0';
        for (char *p = v; (p = strchr(p, '_')) != NULL;)
            *p = ' ';
        if (strcmp(w, "cn") == 0)
            s->facts.cn = v;
        else if (strcmp(w, "san") == 0)
            s->sans[s->facts.san_count++] = v;
        else if (strcmp(w, "issuer") == 0)
            s->facts.issuer = v;
        else if (strcmp(w, "fp") == 0)
            s->facts.fingerprint = v;
        else if (strcmp(w, "id") == 0)
            s->facts.client_id = bytes(v);
        else if (strcmp(w, "listener") == 0)
            s->facts.listener = v;
        else if (strcmp(w, "user") == 0) {
            s->facts.has_username = true;
            s->facts.username = bytes(v);
        } else if (strcmp(w, "pass") == 0) {
            s->facts.has_password = true;
            s->facts.password = bytes(v);
        } else if (strcmp(w, "from") == 0) {
            struct sockaddr_in *four = (struct sockaddr_in *)&s->peer;
            struct sockaddr_in6 *six = (struct sockaddr_in6 *)&s->peer;

            s->peer.ss_family = strchr(v, ':') != NULL ? AF_INET6 : AF_INET;
            assert_int_equal(inet_pton(s->peer.ss_family, v,
                                       s->peer.ss_family == AF_INET ? (void *)&four->sin_addr
                                                                    : (void *)&six->sin6_addr),
                             1);
            s->facts.peer = (struct sockaddr *)&s->peer;
        } else {
            fail_msg("%s", w);
        }
    }
}

static void first_rule_that_holds_decides(void **unused)
{
    /* clang-format off */
    static const struct { const char *shown; int rc; const char *device; unsigned line; } rows[] = {
        { "fp=" FP " cn=p1",                               0, "pinned",     7 },
        { "fp=" FP2 " cn=p1",                              0, "p1",         9 },
        { "cn=p1 listener=plain",                          -ERR_NOT_FOUND, NULL, 0 },  /* no client id */
        { "cn=p1 listener=plain id=z",                     0, "gw.z",      16 },
        { "cn=vip-1 issuer=CN=New_CA",                     0, "vip-vip-1",  8 },
        { "cn=vip-1 issuer=CN=Old_CA",                     -ERR_NOT_FOUND, NULL, 0 },
        { "cn=vip-1",                                      -ERR_NOT_FOUND, NULL, 0 },
        { "san=a.y san=b.x san=c.x",                       0, "b.x",       10 },
        { "san=a.y",                                       -ERR_NOT_FOUND, NULL, 0 },
        { "user=u1 pass=pw from=10.1.2.3",                 0, "u-u1",      11 },
        { "user=u1 pass=pw from=::ffff:10.1.2.3",          0, "u-u1",      11 },
        { "user=u1 pass=pw from=2001:db8::5",              0, "u-u1",      11 },
        { "user=u1 pass=pw from=11.1.2.3",                 -ERR_NOT_FOUND, NULL, 0 },
        { "user=u1 pass=pw",                               -ERR_NOT_FOUND, NULL, 0 },
        { "user=u1 pass=pW from=10.1.2.3",                 -ERR_NOT_FOUND, NULL, 0 },
        { "user=u1 pass=p from=10.1.2.3",                  -ERR_NOT_FOUND, NULL, 0 },
        { "user=u1 pass=pw1 from=10.1.2.3",                -ERR_NOT_FOUND, NULL, 0 },
        { "user=u1 from=10.1.2.3",                         -ERR_NOT_FOUND, NULL, 0 },
        { "pass=pw from=10.1.2.3",                         -ERR_NOT_FOUND, NULL, 0 },
        { "user=u11 pass=pw from=10.1.2.3",                -ERR_NOT_FOUND, NULL, 0 },
        { "id=c5",                                         0, "c5",        13 },
        { "id=C5",                                         -ERR_NOT_FOUND, NULL, 0 },
        { "id=c55",                                        -ERR_NOT_FOUND, NULL, 0 },
        { "id=own",                                        0, "own",       14 },
        { "id=other",                                      0, "own",       14 }, /* client_id says what it may be */
        { "user=self id=self",                             0, "self",      15 },
        { "user=self id=selfish",                          -ERR_DENIED, NULL, 0 },
        { "user=self",                                     -ERR_DENIED, NULL, 0 },
        { "cn=pinned",                                     -ERR_DENIED, NULL, 0 }, /* by "{cn}", and it has its own rule */
        { "listener=local",                                0, "box",        6 },
        { "listener=local cn=p1 id=c5",                    0, "box",        6 },
        { "listener=plain id=a/b",                         -ERR_INVALID, NULL, 0 },
        { "cn=p/1",                                        -ERR_INVALID, NULL, 0 },
        { "cn=p_1",                                        -ERR_INVALID, NULL, 0 },
        { "",                                              -ERR_NOT_FOUND, NULL, 0 },
    };
    /* clang-format on */
    struct loaded l = load_text(rules);

    (void)unused;
    assert_string_equal(l.faults, "");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct match_result got = {.device = "untouched"};
        struct shown s;
        struct err err = {0};
        int rc;

        show(&s, rows[i].shown);
        rc = match_device(l.conf, &s.facts, &got, &err);
        if (rc != rows[i].rc)
            fail_msg("%s: %d %s %s", rows[i].shown, rc, got.device, err.msg);
        if (rc != 0) {
            assert_string_equal(got.device, "untouched");
            assert_int_equal(err.code, -rc);
            assert_int_equal(match_device(l.conf, &s.facts, &got, NULL), rc);
            continue;
        }
        if (strcmp(got.device, rows[i].device) != 0 || got.rule->line != rows[i].line)
            fail_msg("%s: %s line %u", rows[i].shown, got.device, got.rule->line);
    }
    unload(&l);
}

static void refusals_say_what_was_shown_and_missed(void **unused)
{
    /* clang-format off */
    static const struct { const char *shown, *said; } rows[] = {
        { "cn=vip-1 issuer=CN=Old_CA fp=" FP2 " id=x from=192.0.2.9",
          "no rule for cn \"vip-1\" issuer \"CN=Old CA\" fingerprint \"ff11223344556677\" client_id \"x\" "
          "from 192.0.2.9 at listener \"tls\"; nearest is \"vip-{cn}\" (t:8): issuer \"CN=Old CA\" is not "
          "\"CN=New*\": add one to devices, or mend what was shown" },
        { "user=u1 pass=secret from=10.0.0.1",
          "no rule for no certificate, client_id \"\" username \"u1\" from 10.0.0.1 at listener \"tls\"; nearest is "
          "\"u-{username}\" (t:11): the password is another, or missing: add one to devices, or mend what "
          "was shown" },
        { "user=self id=selfish",
          "device self came with client identifier \"selfish\": rule \"self\" (t:15) allows only its own "
          "name (any_client_id)" },
        { "cn=pinned",
          "rule \"{cn}\" (t:9) gives device pinned, which has a rule of its own (t:7) that does not hold: "
          "mend what was shown, or that rule" },
        { "cn=p/1",
          "rule \"{cn}\" (t:9) gives \"p/1\", which is no device's name: 1 to 128 of A-Z a-z 0-9 . _ -, "
          "not beginning with . or -" },
        { "listener=plain",
          "no rule for no certificate, client_id \"\" at listener \"plain\"; nearest is "
          "\"{gateway}.{client_id}\" (t:16): its name needs {client_id}, and none was shown: add one to "
          "devices, or mend what was shown" },
        { "listener=tls san=a.y",
          "no rule for san \"a.y\" no certificate, client_id \"\" at listener \"tls\"; nearest is \"{cn}\" "
          "(t:9): it wants cn \"p*\", and none was shown: add one to devices, or mend what was shown" },
    };
    /* clang-format on */
    struct loaded l = load_text(rules);

    (void)unused;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct match_result got;
        struct shown s;
        struct err err = {0};

        show(&s, rows[i].shown);
        assert_true(match_device(l.conf, &s.facts, &got, &err) < 0);
        assert_string_equal(err.msg, rows[i].said);
        assert_null(strstr(err.msg, "secret"));
    }
    unload(&l);
}

static void no_rules_are_said_too(void **unused)
{
    struct loaded l = load_text(
        "gateway = \"g\"\nlisteners = ( { name = \"p\"; type = \"plaintext\"; allow = \"::/0\" } )\n"
        "upstreams = ( { name = \"main\"; address = \"b\"; anchors = \"ca.pem\" } )\n");
    struct match_result got;
    struct shown s;
    struct err err = {0};

    (void)unused;
    show(&s, "id=x");
    assert_int_equal(match_device(l.conf, &s.facts, &got, &err), -ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "devices has no rules"));
    unload(&l);
}

/* A device's rule without conditions is for its own Unix listener alone. */
static void rule_without_conditions_takes_nobody_else(void **unused)
{
    struct loaded l = load_text(FRAME "{ name = \"{cn}\"; match = { cn = \"*\" } } )");
    struct match_result got;
    struct shown s;

    (void)unused;
    show(&s, "id=box user=box");
    assert_int_equal(match_device(l.conf, &s.facts, &got, NULL), -ERR_NOT_FOUND);
    show(&s, "cn=box");
    assert_int_equal(match_device(l.conf, &s.facts, &got, NULL), -ERR_DENIED);
    show(&s, "listener=local");
    assert_int_equal(match_device(l.conf, &s.facts, &got, NULL), 0);
    unload(&l);
}

static void any_takes_everybody(void **unused)
{
    struct loaded l = load_text(FRAME "{ name = \"x\"; match = { any = true } } )");
    struct match_result got;
    struct shown s;

    (void)unused;
    show(&s, "");
    assert_int_equal(match_device(l.conf, &s.facts, &got, NULL), 0);
    assert_string_equal(got.device, "x");
    unload(&l);
}

/* Bytes that text cannot hold match no pattern, and give no name. */
static void nul_bytes_match_nothing(void **unused)
{
    struct loaded l = load_text(FRAME "{ name = \"{client_id}\"; match = { client_id = \"*\" } },\n"
                                      "{ name = \"n-{client_id}\"; match = { any = true } } )");
    struct match_result got;
    struct shown s;
    struct err err = {0};

    (void)unused;
    show(&s, "");
    s.facts.client_id = (struct slice){(const uint8_t *)"ab\0cd", 5};
    assert_int_equal(match_device(l.conf, &s.facts, &got, &err), -ERR_INVALID);
    s.facts.client_id = (struct slice){(const uint8_t *)"ab", 2};
    assert_int_equal(match_device(l.conf, &s.facts, &got, &err), 0);
    assert_string_equal(got.device, "ab");
    unload(&l);
}

/* Names have at most 128 bytes, however long what they are made of may be. */
static void long_names_are_refused(void **unused)
{
    struct loaded l = load_text(FRAME "{ name = \"x{cn}\"; match = { cn = \"*\" } } )");
    struct match_result got;
    struct match_facts facts = {.listener = "tls"};
    char *cn = calloc(1, 70000);

    (void)unused;
    facts.cn = cn;
    memset(cn, 'a', 127);
    assert_int_equal(match_device(l.conf, &facts, &got, NULL), 0);
    assert_int_equal(strlen(got.device), 128);
    cn[127] = 'a';
    assert_int_equal(match_device(l.conf, &facts, &got, NULL), -ERR_INVALID);
    memset(cn, 'a', 69999);
    assert_int_equal(match_device(l.conf, &facts, &got, NULL), -ERR_INVALID);
    free(cn);
    unload(&l);
}

static void templates_are_filled(void **unused)
{
    /* clang-format off */
    static const struct { const char *template, *shown, *filled; } rows[] = {
        { "{client_id}",                      "id=abc",                  "abc" },
        { "{gateway}/{device}",               "",                        "gw/dev" },
        { "{cn}-{san}-{username}-{password}", "cn=c san=s san=t user=u pass=p", "c-s-u-p" },
        { "<{cn}{san}{username}{password}>",  "",                        "<>" },
        { "{{{cn}}",                          "cn=x",                    "{x}" },
        { "",                                 "cn=x",                    "" },
    };
    /* clang-format on */
    struct err err = {0};
    struct buf b = {0};

    (void)unused;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct shown s;

        show(&s, rows[i].shown);
        b.len = 0;
        assert_int_equal(match_template(rows[i].template, &s.facts, "dev", "gw", &b), 0);
        buf_append_u8(&b, '\0');
        assert_string_equal((char *)b.p, rows[i].filled);
    }
    assert_int_equal(match_template("{x}", &(struct match_facts){0}, "d", "g", &b), -ERR_INVALID);
    assert_int_equal(match_template_check("{cn}{password}{{", &err), 0);
    assert_int_equal(match_template_check("{x}", &err), -ERR_INVALID);
    assert_non_null(strstr(err.msg, "{x}"));
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_rule_that_holds_decides),
        cmocka_unit_test(refusals_say_what_was_shown_and_missed),
        cmocka_unit_test(no_rules_are_said_too),
        cmocka_unit_test(rule_without_conditions_takes_nobody_else),
        cmocka_unit_test(any_takes_everybody),
        cmocka_unit_test(nul_bytes_match_nothing),
        cmocka_unit_test(long_names_are_refused),
        cmocka_unit_test(templates_are_filled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
