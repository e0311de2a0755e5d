/* What is accepted of a peer's certificate, and what an exception can change about it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tls/policy.h"

#define NOW     1000000
#define UNTIL   2000000
#define LEAF    0x11 /* the certificate that is shown */
#define ANCHOR  0x22 /* and where it comes from */
#define STRANGE 0x33 /* neither */

#define EXPIRED    FAULT_BIT(TLS_FAULT_EXPIRED)
#define NOT_YET    FAULT_BIT(TLS_FAULT_NOT_YET_VALID)
#define WEAK       FAULT_BIT(TLS_FAULT_WEAK_DIGEST)
#define SMALL      FAULT_BIT(TLS_FAULT_SMALL_KEY)
#define REVOKED    FAULT_BIT(TLS_FAULT_REVOKED)
#define NO_CRL     FAULT_BIT(TLS_FAULT_NO_CRL)
#define PURPOSE    FAULT_BIT(TLS_FAULT_PURPOSE)
#define UNKNOWN    FAULT_BIT(TLS_FAULT_UNKNOWN_ISSUER)
#define BAD_SIGNED FAULT_BIT(TLS_FAULT_BAD_SIGNATURE)
#define CHAIN      FAULT_BIT(TLS_FAULT_CHAIN_LENGTH)

/* Facts of a client's certificate that came to us, its signatures checked here. */
#define CLIENT \
    .server = true, .signed_here = true, .has_anchor = true, .fp = {LEAF}, .anchor_fp = {ANCHOR}
#define BY_FP     .has_fp = true, .fp = {LEAF}, .until_s = UNTIL
#define BY_ANCHOR .has_anchor = true, .anchor = {ANCHOR}, .until_s = UNTIL

struct sample {
    const char *what;
    struct policy_facts facts;
    struct tls_exception exception;
    enum { REFUSED, ACCEPTED, EXCUSED } verdict;
};

/* clang-format off */
static const struct sample samples[] = {
    /* Without an exception: every fault is enough, and so is the library's word. */
    { "sound",               { CLIENT, .library_ok = true },                                 { 0 }, ACCEPTED },
    { "the library refuses", { CLIENT, .library_ok = false },                                { 0 }, REFUSED },
    { "the library errs",    { CLIENT, .library_ok = true, .leaf = WEAK },                   { 0 }, REFUSED },
    { "a fault above",       { CLIENT, .library_ok = true, .above = EXPIRED },               { 0 }, REFUSED },
    { "a faulty anchor",     { CLIENT, .library_ok = true, .anchor = EXPIRED },              { 0 }, REFUSED },

    /* What can be accepted, by fingerprint and by anchor. */
    { "expired, by fp",      { CLIENT, .library = EXPIRED, .leaf = EXPIRED, .needs = TLS_ACCEPT_EXPIRED },
                             { BY_FP, .accept = TLS_ACCEPT_EXPIRED }, EXCUSED },
    { "expired, by anchor",  { CLIENT, .library = EXPIRED, .leaf = EXPIRED, .needs = TLS_ACCEPT_EXPIRED },
                             { BY_ANCHOR, .accept = TLS_ACCEPT_EXPIRED }, EXCUSED },
    { "sha1",                { CLIENT, .library_ok = true, .leaf = WEAK, .needs = TLS_ACCEPT_SHA1 },
                             { BY_FP, .accept = TLS_ACCEPT_SHA1 }, EXCUSED },
    { "md5",                 { CLIENT, .library_ok = true, .leaf = WEAK, .needs = TLS_ACCEPT_MD5 },
                             { BY_FP, .accept = TLS_ACCEPT_MD5 }, EXCUSED },
    { "sha1 is not md5",     { CLIENT, .library_ok = true, .leaf = WEAK, .needs = TLS_ACCEPT_MD5 },
                             { BY_FP, .accept = TLS_ACCEPT_SHA1 }, REFUSED },
    { "small key",           { CLIENT, .library = SMALL, .leaf = SMALL, .needs = TLS_ACCEPT_SMALL_KEY },
                             { BY_FP, .accept = TLS_ACCEPT_SMALL_KEY }, EXCUSED },
    { "all of it",           { CLIENT, .library = SMALL, .leaf = SMALL | WEAK | EXPIRED,
                               .needs = TLS_ACCEPT_SMALL_KEY | TLS_ACCEPT_SHA1 | TLS_ACCEPT_EXPIRED },
                             { BY_FP, .accept = TLS_ACCEPT_SMALL_KEY | TLS_ACCEPT_SHA1 | TLS_ACCEPT_EXPIRED }, EXCUSED },
    { "more than listed",    { CLIENT, .library = EXPIRED, .leaf = EXPIRED | WEAK,
                               .needs = TLS_ACCEPT_EXPIRED | TLS_ACCEPT_SHA1 },
                             { BY_FP, .accept = TLS_ACCEPT_EXPIRED }, REFUSED },
    { "too small for all",   { CLIENT, .library_ok = true, .leaf = SMALL, .needs = ~0u },
                             { BY_FP, .accept = TLS_ACCEPT_SMALL_KEY | TLS_ACCEPT_EXPIRED | TLS_ACCEPT_SHA1 | TLS_ACCEPT_MD5 }, REFUSED },

    /* An anchor whose own time is over: the library was not given it. */
    { "old anchor, named",   { CLIENT, .library = UNKNOWN, .anchor = EXPIRED, .needs_of_anchor = TLS_ACCEPT_EXPIRED },
                             { BY_ANCHOR, .accept = TLS_ACCEPT_EXPIRED }, EXCUSED },
    { "its name lives on",   { CLIENT, .library = BAD_SIGNED, .anchor = EXPIRED, .needs_of_anchor = TLS_ACCEPT_EXPIRED },
                             { BY_ANCHOR, .accept = TLS_ACCEPT_EXPIRED }, EXCUSED },
    { "and the leaf's",      { CLIENT, .library = UNKNOWN, .leaf = EXPIRED, .anchor = EXPIRED,
                               .needs = TLS_ACCEPT_EXPIRED, .needs_of_anchor = TLS_ACCEPT_EXPIRED },
                             { BY_ANCHOR, .accept = TLS_ACCEPT_EXPIRED }, EXCUSED },
    { "anchor not named",    { CLIENT, .library = UNKNOWN, .anchor = EXPIRED, .needs_of_anchor = TLS_ACCEPT_EXPIRED },
                             { BY_FP, .accept = TLS_ACCEPT_EXPIRED }, REFUSED },
    { "leaf and anchor",     { CLIENT, .library = UNKNOWN, .anchor = EXPIRED, .needs_of_anchor = TLS_ACCEPT_EXPIRED },
                             { BY_FP, .has_anchor = true, .anchor = {ANCHOR}, .accept = TLS_ACCEPT_EXPIRED }, EXCUSED },
    { "only one of both",    { CLIENT, .library = EXPIRED, .leaf = EXPIRED, .needs = TLS_ACCEPT_EXPIRED },
                             { BY_FP, .has_anchor = true, .anchor = {STRANGE}, .accept = TLS_ACCEPT_EXPIRED }, REFUSED },

    /* What none excuses. */
    { "and revoked",         { CLIENT, .library = EXPIRED, .leaf = EXPIRED | REVOKED, .needs = TLS_ACCEPT_EXPIRED },
                             { BY_FP, .accept = TLS_ACCEPT_EXPIRED }, REFUSED },
    { "and no list",         { CLIENT, .library = EXPIRED, .leaf = EXPIRED, .above = NO_CRL, .needs = TLS_ACCEPT_EXPIRED },
                             { BY_FP, .accept = TLS_ACCEPT_EXPIRED }, REFUSED },
    { "and a server's",      { CLIENT, .library = PURPOSE, .leaf = EXPIRED | PURPOSE, .needs = TLS_ACCEPT_EXPIRED },
                             { BY_FP, .accept = TLS_ACCEPT_EXPIRED }, REFUSED },
    { "not yet valid",       { CLIENT, .library = NOT_YET, .leaf = NOT_YET },
                             { BY_FP, .accept = TLS_ACCEPT_EXPIRED }, REFUSED },
    { "CA between, expired", { CLIENT, .library = EXPIRED, .leaf = EXPIRED, .above = EXPIRED, .needs = TLS_ACCEPT_EXPIRED },
                             { BY_FP, .accept = TLS_ACCEPT_EXPIRED }, REFUSED },
    { "the library saw more",{ CLIENT, .library = CHAIN, .leaf = EXPIRED, .needs = TLS_ACCEPT_EXPIRED },
                             { BY_FP, .accept = TLS_ACCEPT_EXPIRED }, REFUSED },
    { "or what has no name", { CLIENT, .library = 0, .leaf = EXPIRED, .needs = TLS_ACCEPT_EXPIRED },
                             { BY_FP, .accept = TLS_ACCEPT_EXPIRED }, REFUSED },
    { "unknown issuer",      { CLIENT, .library = UNKNOWN, .leaf = EXPIRED, .needs = TLS_ACCEPT_EXPIRED },
                             { BY_FP, .accept = TLS_ACCEPT_EXPIRED }, REFUSED },
    { "signed by nobody",    { .server = true, .fp = {LEAF}, .library = EXPIRED, .leaf = EXPIRED, .needs = TLS_ACCEPT_EXPIRED },
                             { BY_FP, .accept = TLS_ACCEPT_EXPIRED }, REFUSED },
    { "a broker's",          { .signed_here = true, .fp = {LEAF}, .library = EXPIRED, .leaf = EXPIRED, .needs = TLS_ACCEPT_EXPIRED },
                             { BY_FP, .accept = TLS_ACCEPT_EXPIRED }, REFUSED },

    /* Whom it names, and until when. */
    { "another certificate", { CLIENT, .library = EXPIRED, .leaf = EXPIRED, .needs = TLS_ACCEPT_EXPIRED },
                             { .has_fp = true, .fp = {STRANGE}, .until_s = UNTIL, .accept = TLS_ACCEPT_EXPIRED }, REFUSED },
    { "another anchor",      { CLIENT, .library = EXPIRED, .leaf = EXPIRED, .needs = TLS_ACCEPT_EXPIRED },
                             { .has_anchor = true, .anchor = {STRANGE}, .until_s = UNTIL, .accept = TLS_ACCEPT_EXPIRED }, REFUSED },
    { "nobody",              { CLIENT, .library = EXPIRED, .leaf = EXPIRED, .needs = TLS_ACCEPT_EXPIRED },
                             { .until_s = UNTIL, .accept = TLS_ACCEPT_EXPIRED }, REFUSED },
    { "the last second",     { CLIENT, .now_s = UNTIL - 1, .library = EXPIRED, .leaf = EXPIRED, .needs = TLS_ACCEPT_EXPIRED },
                             { BY_FP, .accept = TLS_ACCEPT_EXPIRED }, EXCUSED },
    { "and over",            { CLIENT, .now_s = UNTIL, .library = EXPIRED, .leaf = EXPIRED, .needs = TLS_ACCEPT_EXPIRED },
                             { BY_FP, .accept = TLS_ACCEPT_EXPIRED }, REFUSED },
};
/* clang-format on */

static void judges_by_the_table(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        const struct sample *s = &samples[i];
        struct policy_verdict v;

        policy_judge(&s->facts, &s->exception, 1, &v);
        if (v.ok != (s->verdict != REFUSED) || v.excused != (s->verdict == EXCUSED))
            fail_msg("%s: ok %d, excused %d", s->what, v.ok, v.excused);
        assert_int_equal(v.faults, s->facts.leaf | s->facts.above | s->facts.anchor);
        policy_judge(&s->facts, NULL, 0, &v);
        if (v.ok != (s->verdict == ACCEPTED) || v.excused)
            fail_msg("%s, without the exception: ok %d, excused %d", s->what, v.ok, v.excused);
    }
}

/* Two that each accept half of it are not one that accepts all of it. */
static void exceptions_do_not_add_up(void **unused)
{
    const struct tls_exception both[] = {{BY_FP, .accept = TLS_ACCEPT_EXPIRED},
                                         {BY_FP, .accept = TLS_ACCEPT_SHA1},
                                         {BY_FP, .accept = TLS_ACCEPT_SHA1 | TLS_ACCEPT_EXPIRED}};
    const struct policy_facts f = {CLIENT, .library = EXPIRED, .leaf = EXPIRED | WEAK,
                                   .needs = TLS_ACCEPT_EXPIRED | TLS_ACCEPT_SHA1};
    struct policy_verdict v;

    (void)unused;
    policy_judge(&f, both, 2, &v);
    assert_false(v.ok);
    policy_judge(&f, both, 3, &v);
    assert_true(v.ok && v.excused);
}

/* Every fault that there is, alone, with an exception that accepts all that it can. */
static void only_three_faults_can_be_excused(void **unused)
{
    const struct tls_exception all = {BY_FP, .has_anchor = true, .anchor = {ANCHOR}, .accept = 15};

    (void)unused;
    for (int fault = TLS_FAULT_NONE + 1; fault < TLS_FAULTS; fault++) {
        struct policy_facts f = {CLIENT, .leaf = FAULT_BIT(fault), .library = FAULT_BIT(fault)};
        bool may = fault == TLS_FAULT_EXPIRED || fault == TLS_FAULT_SMALL_KEY ||
                   fault == TLS_FAULT_WEAK_DIGEST;

        assert_int_equal(policy_excuses(&all, &f), may);
        f.leaf = EXPIRED;
        f.above = FAULT_BIT(fault);
        assert_false(policy_excuses(&all, &f));
    }
}

static void one_certificate_is_looked_at(void **unused)
{
    struct cert_info ci = {
        .not_before_s = 100, .not_after_s = 200, .key_alg = "RSA", .key_bits = 2048};
    struct cert_info at;
    unsigned needs;

    (void)unused;
    assert_int_equal(policy_faults(&ci, true, 2048, (struct policy_now){100, 200}, &needs), 0);
    assert_int_equal(needs, 0);
    assert_int_equal(policy_faults(&ci, true, 2048, (struct policy_now){99, 99}, &needs), NOT_YET);
    assert_int_equal(needs, 0);
    assert_int_equal(policy_faults(&ci, true, 2048, (struct policy_now){201, 201}, &needs),
                     EXPIRED);
    assert_int_equal(needs, TLS_ACCEPT_EXPIRED);
    assert_int_equal(policy_faults(&ci, true, 2049, (struct policy_now){150, 150}, &needs), SMALL);
    assert_int_equal(needs, TLS_ACCEPT_SMALL_KEY);
    at = ci;
    at.key_bits = 1023;
    assert_int_equal(policy_faults(&at, true, 2048, (struct policy_now){150, 150}, &needs), SMALL);
    assert_true((needs & ~15u) != 0);
    at = ci;
    at.key_alg = "EC P-256";
    at.key_bits = 256;
    assert_int_equal(policy_faults(&at, true, 2048, (struct policy_now){150, 150}, NULL), 0);
    at.weak_digest = true;
    at.sig_alg = "ecdsa-with-SHA1";
    assert_int_equal(policy_faults(&at, true, 2048, (struct policy_now){150, 150}, &needs), WEAK);
    assert_int_equal(needs, TLS_ACCEPT_SHA1);
    at.sig_alg = "md5WithRSAEncryption";
    assert_int_equal(policy_faults(&at, true, 2048, (struct policy_now){150, 150}, &needs), WEAK);
    assert_int_equal(needs, TLS_ACCEPT_MD5);
    at = ci;
    at.has_eku = at.eku_server = true;
    assert_int_equal(policy_faults(&at, true, 2048, (struct policy_now){150, 150}, NULL), PURPOSE);
    assert_int_equal(policy_faults(&at, false, 2048, (struct policy_now){150, 150}, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(judges_by_the_table),
        cmocka_unit_test(exceptions_do_not_add_up),
        cmocka_unit_test(only_three_faults_can_be_excused),
        cmocka_unit_test(one_certificate_is_looked_at),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
