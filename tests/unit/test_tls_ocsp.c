/* What an OCSP response says of a certificate, by whom it may be said, and for how long it counts.
 * openssl plays the responders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/durable.h"
#include "scratch.h"
#include "tls/ctx.h"
#include "tls/ocsp.h"

#define DAY_S INT64_C(86400)

static char dir[64];
static struct buf ca;

static struct buf file(const char *name)
{
    char path[128];
    struct buf b = {0};
    struct err err = {0};

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (durable_read(path, 100000, &b, &err) != 0)
        fail_msg("%s", err.msg);
    return b;
}

static int setup(void **state)
{
    char command[400];
    struct err err = {0};

    (void)state;
    if (!scratch_make(dir, sizeof(dir)))
        return -1;
    snprintf(command, sizeof(command), "'%s' '%s'", OCSP_PKI_SH, dir);
    if (system(command) != 0 || tls_init(&err) != 0) /* NOLINT(cert-env33-c) */
        return -1;
    ca = file("ca.der");
    return 0;
}

static int teardown(void **state)
{
    char command[100];

    (void)state;
    buf_fini(&ca);
    tls_fini();
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    return system(command); /* NOLINT(cert-env33-c): a folder of our own */
}

static char why[200];

static enum ocsp_verdict judge(const uint8_t *p, size_t n, const struct buf *leaf, int64_t now_s)
{
    uint8_t *exact = malloc(n == 0 ? 1 : n); /* reading behind its end shows */
    enum ocsp_verdict v;

    assert_non_null(exact);
    memcpy(exact, p, n);
    memset(why, 'x', sizeof(why));
    v = ocsp_judge(der_of(exact, n), der_of(leaf->p, leaf->len), der_of(ca.p, ca.len), now_s, why,
                   sizeof(why));
    free(exact);
    assert_non_null(memchr(why, '\0', sizeof(why)));
    return v;
}

static enum ocsp_verdict says_at(const char *response, const char *leaf, int64_t now_s)
{
    char name[64], cert[64];
    struct buf b, c;
    enum ocsp_verdict v;

    snprintf(name, sizeof(name), "%s.resp", response);
    snprintf(cert, sizeof(cert), "%s.der", leaf);
    b = file(name);
    c = file(cert);
    v = judge(b.p, b.len, &c, now_s);
    buf_fini(&b);
    buf_fini(&c);
    return v;
}

static enum ocsp_verdict says(const char *response, const char *leaf)
{
    return says_at(response, leaf, clock_wall_s());
}

static void the_ca_or_its_responder_says_what_is(void **state)
{
    static const char *const good[] = {"ca-good",   "responder-good",   "ca-sha256",
                                       "ca-by-key", "responder-by-key", "ca-open"};
    static const char *const signers[] = {"ca", "responder"};

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        if (says(good[i], "good") != OCSP_SAYS_GOOD)
            fail_msg("%s: %s", good[i], why);
        assert_string_equal(why, "");
    }
    for (size_t i = 0; i < sizeof(signers) / sizeof(signers[0]); i++) {
        char name[40];

        snprintf(name, sizeof(name), "%s-revoked", signers[i]);
        assert_int_equal(says(name, "revoked"), OCSP_SAYS_REVOKED);
        assert_string_equal(why, "OCSP: keyCompromise, 2024-02-29 12:00:00 UTC");
        snprintf(name, sizeof(name), "%s-strange", signers[i]);
        assert_int_equal(says(name, "strange"), OCSP_SAYS_UNKNOWN);
    }
}

static void nobody_else_may(void **state)
{
    static const char *const by[] = {"plain-good", "foreign-good", "weak-good", "responder-alone"};

    (void)state;
    for (size_t i = 0; i < sizeof(by) / sizeof(by[0]); i++) {
        if (says(by[i], "good") != OCSP_SAYS_NOTHING)
            fail_msg("%s is believed", by[i]);
        assert_string_equal(why, "it is not signed by the CA, or by a responder of it");
    }
}

static void it_is_about_one_certificate(void **state)
{
    (void)state;
    assert_int_equal(says("ca-good", "revoked"), OCSP_SAYS_NOTHING);
    assert_string_equal(why, "it is about another certificate");
    assert_int_equal(says("ca-revoked", "good"), OCSP_SAYS_NOTHING);
    assert_int_equal(says("later", "good"), OCSP_SAYS_NOTHING);
    assert_string_equal(why, "the responder had no answer for it");
}

/* openssl writes now as thisUpdate, and a week later as nextUpdate, or nothing. */
static void it_counts_for_a_time(void **state)
{
    int64_t now_s = clock_wall_s();

    (void)state;
    assert_int_equal(says_at("ca-good", "good", now_s + 6 * DAY_S), OCSP_SAYS_GOOD);
    assert_int_equal(says_at("ca-good", "good", now_s + 8 * DAY_S), OCSP_SAYS_STALE);
    assert_int_equal(strncmp(why, "since ", 6), 0);
    assert_int_equal(says_at("ca-good", "good", now_s - DAY_S), OCSP_SAYS_STALE);
    assert_int_equal(strncmp(why, "before ", 7), 0);
    assert_int_equal(says_at("ca-strange", "strange", now_s + 8 * DAY_S), OCSP_SAYS_STALE);
    assert_int_equal(says_at("ca-open", "good", now_s + DAY_S / 2), OCSP_SAYS_GOOD);
    assert_int_equal(says_at("ca-open", "good", now_s + 2 * DAY_S), OCSP_SAYS_STALE);
    /* Who was revoked stays so. */
    assert_int_equal(says_at("ca-revoked", "revoked", now_s + 1000 * DAY_S), OCSP_SAYS_REVOKED);
    assert_int_equal(says_at("ca-revoked", "revoked", now_s - 1000 * DAY_S), OCSP_SAYS_REVOKED);
    /* A responder whose certificate has expired says nothing. */
    assert_int_equal(says_at("responder-revoked", "revoked", now_s + 3601 * DAY_S),
                     OCSP_SAYS_NOTHING);
}

/* Cut anywhere, with something behind it, with any bit changed: it says nothing. */
static void what_is_damaged_says_nothing(void **state)
{
    struct buf b = file("ca-good.resp"), leaf = file("good.der");
    int64_t now_s = clock_wall_s();

    (void)state;
    for (size_t n = 0; n < b.len; n++) {
        assert_int_equal(judge(b.p, n, &leaf, now_s), OCSP_SAYS_NOTHING);
        assert_string_equal(why, "it cannot be read");
    }
    for (size_t bit = 0; bit < 8 * b.len; bit++) {
        b.p[bit / 8] ^= (uint8_t)(1U << bit % 8);
        if (judge(b.p, b.len, &leaf, now_s) != OCSP_SAYS_NOTHING)
            fail_msg("byte %zu, bit %zu", bit / 8, bit % 8);
        assert_string_not_equal(why, "");
        b.p[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    assert_int_equal(judge(b.p, b.len, &leaf, now_s), OCSP_SAYS_GOOD);
    assert_int_equal(buf_append_u8(&b, 0), 0);
    assert_int_equal(judge(b.p, b.len, &leaf, now_s), OCSP_SAYS_NOTHING);
    buf_fini(&b);
    buf_fini(&leaf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_ca_or_its_responder_says_what_is),
        cmocka_unit_test(nobody_else_may),
        cmocka_unit_test(it_is_about_one_certificate),
        cmocka_unit_test(it_counts_for_a_time),
        cmocka_unit_test(what_is_damaged_says_nothing),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
