/* What lint finds, and what it does not; tests/scenario/test_lint.py has the rest of the zoo. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/durable.h"
#include "lint/files.h"
#include "test_tls_pki.h"
#include "tls/names.h"
#include "tls/verify.h"

#define NOW INT64_C(1893456000) /* 2030-01-01; most certificates hold from 2020 to 2049 */
#define DAY INT64_C(86400)

static const struct lint_policy default_policy = {
    .expiring_days = 30, .min_rsa_bits = 2048, .backdate_h = 24, .name_match = LINT_NAME_WARN};

static struct lint_anchors *anchors_of(const char *file)
{
    char *path = file == NULL ? NULL : strdup(pki(file));
    struct lint_anchors *a = NULL;
    struct err err = {0};

    if (file != NULL && (a = lint_anchors_read((const char *const *)&path, 1, &err)) == NULL)
        fail_msg("%s", err.msg);
    free(path);
    return a;
}

/* The codes of all findings with their first letter, the gravest first: "E expired, W name". */
static void told(const struct lint_report *r, char *out, size_t n)
{
    size_t at = 0;

    out[0] = '\0';
    for (size_t i = 0; i < r->count && at < n; i++)
        at += (size_t)snprintf(out + at, n - at, "%s%c %s", i > 0 ? ", " : "",
                               "IWE"[r->all[i].severity], lint_kind(r->all[i].code) -> code + 5);
}

/* Judge a file against anchors; the rest is what `in` says already. */
static void judge(const char *file, const char *key, const char *anchors, struct lint_input *in,
                  char *out, size_t n)
{
    char *path = strdup(pki(file)), *key_path = key == NULL ? NULL : strdup(pki(key));
    struct lint_anchors *a = anchors_of(anchors);
    struct lint_files files;
    struct lint_report r;
    struct err err = {0};

    if (lint_files_read(path, key_path, &files, &err) != 0)
        fail_msg("%s", err.msg);
    in->chain = files.chain;
    in->chain_count = files.count;
    in->key = (struct slice){files.key.p, files.key.len};
    in->anchors = a;
    if (in->policy == NULL)
        in->policy = &default_policy;
    if (in->now_s == 0)
        in->now_s = NOW;
    assert_int_equal(lint_run(in, &r), 0);
    told(&r, out, n);
    for (size_t i = 0; i < r.count; i++)
        assert_true(strlen(r.all[i].text) > 10);
    lint_report_fini(&r);
    lint_files_fini(&files);
    lint_anchors_free(a);
    free(path);
    free(key_path);
}

static void finds(const char *file, const char *anchors, struct lint_input in, const char *want)
{
    char found[600];

    judge(file, NULL, anchors, &in, found, sizeof(found));
    if (strcmp(found, want) != 0)
        fail_msg("%s: found \"%s\", wanted \"%s\"", file, found, want);
}

static void every_kind_is_told_from_the_others(void **state)
{
    /* clang-format off */
    static const struct { const char *file, *anchors; enum lint_purpose purpose; const char *want; } table[] = {
        { "press-07.pem",               "ca-old.pem",   LINT_CLIENT, "" },
        { "press-07.pem",               NULL,           LINT_CLIENT, "" },
        { "press-07.pem",               "ca-new.pem",   LINT_CLIENT, "E chain-incomplete" },
        { "press-07.pem",               "ca-spelt.pem", LINT_CLIENT, "" },
        { "press-07.pem",               "ca-longer.pem", LINT_CLIENT, "E chain-incomplete" },
        { "press-07.pem",               "ca-old.pem",   LINT_SERVER, "E extended-key-usage" },
        { "server-ec.pem",              "ca-old.pem",   LINT_SERVER, "" },
        { "server-ec.pem",              "ca-old.pem",   LINT_CLIENT, "E extended-key-usage" },
        { "press-plain.pem",            "ca-old.pem",   LINT_CLIENT, "" },
        { "press-any.pem",              "ca-old.pem",   LINT_CLIENT, "W any-purpose" },
        { "press-int-chain.pem",        "ca-old.pem",   LINT_CLIENT, "" },
        { "press-int-chain.pem",        NULL,           LINT_CLIENT, "" },
        { "press-int.pem",              "ca-old.pem",   LINT_CLIENT, "E chain-incomplete" },
        { "press-int.pem",              "ca-int.pem",   LINT_CLIENT, "" },
        { "press-int-expired-chain.pem", "ca-old.pem",  LINT_CLIENT, "E expired" },
        { "press-int-sha1-chain.pem",   "ca-old.pem",   LINT_CLIENT, "E weak-digest" },
        { "press-root-sha1.pem",        "ca-sha1.pem",  LINT_CLIENT, "" }, /* nobody looks at a root's */
        { "press-sha1.pem",             "ca-old.pem",   LINT_CLIENT, "E weak-digest" },
        { "press-rsa-sha1.pem",         "ca-new.pem",   LINT_CLIENT, "E weak-digest" },
        { "press-1024.pem",             "ca-old.pem",   LINT_CLIENT, "E weak-key" },
        { "press-rsa.pem",              "ca-old.pem",   LINT_CLIENT, "" },
        { "press-new.pem",              "ca-new.pem",   LINT_CLIENT, "" },
        { "press-p384.pem",             "ca-old.pem",   LINT_CLIENT, "" },
        { "press-ed.pem",               "ca-old.pem",   LINT_CLIENT, "" },
        { "press-expired.pem",          "ca-old.pem",   LINT_CLIENT, "E expired" },
        { "press-early.pem",            "ca-old.pem",   LINT_CLIENT, "E not-yet-valid" },
        { "press-everything.pem",       "ca-old.pem",   LINT_CLIENT, "E expired, E extended-key-usage, E weak-key, E weak-digest" },
        { "press-forged.pem",           "ca-old.pem",   LINT_CLIENT, "E signature-bad" },
        { "press-forged.pem",           "ca-twin.pem",  LINT_CLIENT, "" },
        { "press-self.pem",             "ca-old.pem",   LINT_CLIENT, "E self-signed" },
        { "press-self.pem",             NULL,           LINT_CLIENT, "W self-signed" },
        { "press-self.pem",             "press-self.pem", LINT_CLIENT, "" },
        { "press-minted.pem",           "press-self.pem", LINT_CLIENT, "E basic-constraints" },
        { "ca-int.pem",                 "ca-old.pem",   LINT_CLIENT, "E key-usage, W ca-as-leaf" },
        { "ca-bound.pem",               "ca-old.pem",   LINT_CLIENT, "E critical-extension, W ca-as-leaf" },
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        /* some were made today and hold for 100 days or 10 years */
        bool young =
            strstr("press-forged.pem press-self.pem press-minted.pem", table[i].file) != NULL ||
            (table[i].anchors != NULL && strcmp(table[i].anchors, "press-self.pem") == 0);
        struct lint_policy policy = default_policy;
        struct lint_input in = {.purpose = table[i].purpose, .policy = &policy};

        policy.backdate_h = 0;
        if (young)
            in.now_s = time(NULL);
        finds(table[i].file, table[i].anchors, in, table[i].want);
    }
}

static void dates_are_judged_for_the_given_moment(void **state)
{
    const int64_t begin = 1577836800, end = 1609459200; /* of press-expired: the year 2020 */
    /* clang-format off */
    const struct { int64_t now_s; unsigned max_days; const char *want; } table[] = {
        { begin - 1,        0,   "E not-yet-valid" },
        { begin,            0,   "W not-backdated" },
        { begin + DAY - 1,  0,   "W not-backdated" },
        { begin + DAY,      0,   "" },
        { end - 30 * DAY,   0,   "" },
        { end - 30 * DAY + 1, 0, "W expiring" },
        { end,              0,   "W expiring" },
        { end + 1,          0,   "E expired" },
        { begin + DAY,      366, "" },
        { begin + DAY,      365, "E validity-policy" },
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct lint_policy policy = default_policy;

        policy.max_validity_days = table[i].max_days;
        finds("press-expired.pem", NULL,
              (struct lint_input){.now_s = table[i].now_s, .policy = &policy}, table[i].want);
    }
}

static void names_are_those_of_the_device_or_the_host(void **state)
{
    /* clang-format off */
    static const struct { const char *file, *name; enum lint_purpose purpose; bool match; } table[] = {
        { "press-07.pem",  "press-07",               LINT_CLIENT, true },
        { "press-07.pem",  "PRESS-07",               LINT_CLIENT, true },
        { "press-07.pem",  "press-0",                LINT_CLIENT, false },
        { "press-07.pem",  "press-070",              LINT_CLIENT, false },
        { "rich.pem",      "press-07",               LINT_CLIENT, true },  /* first label of a DNS name */
        { "rich.pem",      "op",                     LINT_CLIENT, true },  /* mailbox */
        { "rich.pem",      "0024befffe804ff1",       LINT_CLIENT, true },  /* end of a URN */
        { "rich.pem",      "4ff1",                   LINT_CLIENT, false },
        { "rich.pem",      "192.0.2.7",              LINT_CLIENT, true },
        { "rich.pem",      "plant",                  LINT_CLIENT, false },
        { "server-ec.pem", "broker.example",         LINT_SERVER, true },
        { "server-ec.pem", "a.wild.example",         LINT_SERVER, true },
        { "server-ec.pem", "a.b.wild.example",       LINT_SERVER, false },
        { "server-ec.pem", "wild.example",           LINT_SERVER, false },
        { "server-ec.pem", "127.0.0.1",              LINT_SERVER, true },
        { "server-ec.pem", "::1",                    LINT_SERVER, true },
        { "server-ec.pem", "127.0.0.2",              LINT_SERVER, false },
        { "server-ec.pem", "server-ec",              LINT_SERVER, false }, /* its CN, beside DNS names */
        { "server-plain.pem", "plain.example",       LINT_SERVER, true },
    };
    /* clang-format on */
    struct lint_policy off = default_policy, error = default_policy, on = default_policy;

    (void)state;
    off.name_match = LINT_NAME_OFF;
    error.name_match = LINT_NAME_ERROR;
    on.backdate_h = on.expiring_days = 0;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        finds(table[i].file, NULL,
              (struct lint_input){.name = table[i].name,
                                  .purpose = table[i].purpose,
                                  .policy = &on,
                                  .now_s = time(NULL) + 60},
              table[i].match ? "" : "W name");
    finds("press-07.pem", NULL, (struct lint_input){.name = "x", .policy = &off}, "");
    finds("press-07.pem", NULL, (struct lint_input){.name = "x", .policy = &error}, "E name");
}

static void a_key_is_that_of_its_certificate(void **state)
{
    /* clang-format off */
    static const struct { const char *cert, *key, *want; } table[] = {
        { "press-07.pem",  "press-07.key",        "" },
        { "press-07.pem",  "press-07.sec1",       "" },
        { "press-07.pem",  "press-07.key.der",    "" },
        { "press-rsa.pem", "press-rsa.key",       "" },
        { "press-rsa.pem", "press-rsa.pkcs1",     "" },
        { "press-ed.pem",  "press-ed.key",        "" },
        { "press-p384.pem", "press-p384.key",     "" },
        { "press-07.pem",  "press-plain.key",     "E key-mismatch" },
        { "press-07.pem",  "press-p384.key",      "E key-mismatch" },
        { "press-07.pem",  "press-rsa.key",       "E key-mismatch" },
        { "press-rsa.pem", "press-07.key",        "E key-mismatch" },
        { "press-rsa.pem", "server-rsa.key",      "E key-mismatch" },
        { "press-ed.pem",  "press-07.key",        "E key-mismatch" },
        { "press-07.pem",  "press-07.der",        "E key-unreadable" },
    };
    /* clang-format on */
    char found[600];

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct lint_input in = {.purpose = LINT_CLIENT};

        judge(table[i].cert, table[i].key, NULL, &in, found, sizeof(found));
        if (strcmp(found, table[i].want) != 0)
            fail_msg("%s with %s: found \"%s\"", table[i].cert, table[i].key, found);
    }
}

static bool is_named(void *arg, const struct cert_info *ci, struct slice der)
{
    assert_true(der.n > 0);
    return strcmp(ci->cn, arg) == 0;
}

static const char *somebody(void *arg, const struct cert_info *leaf)
{
    (void)arg;
    assert_string_equal(leaf->cn, "press-07");
    return "device press-09, old";
}

static const char *nobody(void *arg, const struct cert_info *leaf)
{
    (void)arg;
    (void)leaf;
    return NULL;
}

static void what_others_know_is_asked(void **state)
{
    (void)state;
    finds("press-int-chain.pem", "ca-old.pem",
          (struct lint_input){.revoked = is_named, .arg = (void *)(uintptr_t) "press-int"},
          "E revoked");
    finds("press-int-chain.pem", "ca-old.pem",
          (struct lint_input){.revoked = is_named, .arg = (void *)(uintptr_t) "ca-int"},
          "E revoked");
    /* an anchor is not revoked, it is removed */
    finds("press-int-chain.pem", "ca-old.pem",
          (struct lint_input){.revoked = is_named, .arg = (void *)(uintptr_t) "ca-old"}, "");
    finds("press-07.pem", NULL, (struct lint_input){.key_user = somebody}, "W key-reused");
    finds("press-07.pem", NULL, (struct lint_input){.serial_user = somebody}, "W duplicate-serial");
    finds("press-07.pem", NULL, (struct lint_input){.key_user = nobody, .serial_user = nobody}, "");
    finds("press-07.pem", NULL, (struct lint_input){.clock = LINT_CLOCK_UNSYNCHRONISED}, "W clock");
    finds("press-07.pem", NULL, (struct lint_input){.clock = LINT_CLOCK_SYNCHRONISED}, "");
}

static void what_is_sent_for_nothing_is_told(void **state)
{
    struct buf text = {0};

    (void)state;
    pki_read("press-07.pem", &text);
    pki_read("ca-old.pem", &text);
    pki_write("with-root.pem", text.p, text.len, 0644);
    pki_read("ca-far.pem", &text);
    pki_write("with-stray.pem", text.p, text.len, 0644);
    buf_fini(&text);
    finds("with-root.pem", NULL, (struct lint_input){.clock = 0}, "I root-in-chain");
    finds("with-root.pem", "ca-old.pem", (struct lint_input){.clock = 0}, "I root-in-chain");
    finds("with-root.pem", "ca-new.pem", (struct lint_input){.clock = 0},
          "E unknown-anchor, I root-in-chain");
    finds("with-stray.pem", "ca-old.pem", (struct lint_input){.clock = 0},
          "W stray-certificate, I root-in-chain");
}

static void what_is_no_certificate_is_told(void **state)
{
    static const uint8_t junk[] = {0x30, 0x03, 0x02, 0x01, 0x05};
    struct slice chain = {junk, sizeof(junk)};
    struct lint_input in = {.chain = &chain, .chain_count = 1, .policy = &default_policy};
    struct lint_report r;
    char found[100];

    (void)state;
    assert_int_equal(lint_run(&in, &r), 0);
    told(&r, found, sizeof(found));
    assert_string_equal(found, "E malformed");
    lint_report_fini(&r);
    in.chain_count = 0;
    assert_int_equal(lint_run(&in, &r), 0);
    assert_true(lint_has(&r, LINT_MALFORMED));
    lint_report_fini(&r);
}

/* The certificate whose bytes are changed is refused for it, whichever they are. */
static void no_changed_byte_is_trusted(void **state)
{
    struct lint_anchors *anchors = anchors_of("ca-old.pem");
    struct lint_files files;
    struct err err = {0};

    (void)state;
    assert_int_equal(lint_files_read(pki("press-int-chain.pem"), NULL, &files, &err), 0);
    for (size_t i = 0; i < files.ders.len; i += 3) {
        struct lint_input in = {.chain = files.chain,
                                .chain_count = files.count,
                                .anchors = anchors,
                                .policy = &default_policy,
                                .now_s = NOW};
        struct lint_report r;

        files.ders.p[i] ^= 0x11;
        assert_int_equal(lint_run(&in, &r), 0);
        if (r.trusted || r.count == 0 || r.all[0].severity != LINT_ERROR)
            fail_msg("byte %zu was changed, and nobody minds", i);
        lint_report_fini(&r);
        files.ders.p[i] ^= 0x11;
    }
    lint_files_fini(&files);
    lint_anchors_free(anchors);
}

static void the_manual_lists_every_code(void **state)
{
    const char *srcdir = getenv("srcdir");
    char *path = str_printf("%s/src/daemon/certflipd.8", srcdir == NULL ? "." : srcdir);
    struct buf text = {0};
    struct err err = {0};

    (void)state;
    if (durable_read(path, 1 << 20, &text, &err) != 0)
        fail_msg("%s", err.msg);
    buf_append_u8(&text, '\0');
    for (int i = 0; i < LINT_CODES; i++) {
        char item[80];

        snprintf(item, sizeof(item), "\n.It Ic %s Pq %s", lint_kind((enum lint_code)i)->code,
                 lint_severity_name(lint_kind((enum lint_code)i)->severity));
        if (strstr((const char *)text.p, item) == NULL)
            fail_msg("certflipd.8 has no \"%s\"", item + 1);
    }
    buf_fini(&text);
    free(path);
}

/* Codes are for programs, the rest for people: all of it is there, and no code twice. */
static void every_finding_has_its_words(void **state)
{
    (void)state;
    for (int i = 0; i < LINT_CODES; i++) {
        const struct lint_kind *kind = lint_kind((enum lint_code)i);

        assert_memory_equal(kind->code, "lint.", 5);
        assert_true(strlen(kind->help) > 10 && strlen(kind->remedy) > 10);
        assert_true(kind->x509 == NULL || strncmp(kind->x509, "X509_", 5) == 0);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(kind->code, lint_kind((enum lint_code)k)->code);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_told_from_the_others),
        cmocka_unit_test(dates_are_judged_for_the_given_moment),
        cmocka_unit_test(names_are_those_of_the_device_or_the_host),
        cmocka_unit_test(a_key_is_that_of_its_certificate),
        cmocka_unit_test(what_others_know_is_asked),
        cmocka_unit_test(what_is_sent_for_nothing_is_told),
        cmocka_unit_test(what_is_no_certificate_is_told),
        cmocka_unit_test(no_changed_byte_is_trusted),
        cmocka_unit_test(every_finding_has_its_words),
        cmocka_unit_test(the_manual_lists_every_code),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
