/* Lists of revoked certificates: what is read out of them, whose are believed, and what a set of
 * them says of a certificate. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/durable.h"
#include "test_tls_pki.h"
#include "tls/anchor.h"
#include "tls/crl.h"

/* -- helpers ----------------------------------------------------------------------------------- */

static int keep_der(void *arg, const uint8_t *der, size_t n, struct err *err)
{
    (void)err;
    return buf_append(arg, der, n);
}

/* The first and only certificate of a file. */
static struct buf cert(const char *file)
{
    struct buf pem = {0}, der = {0};
    struct err err = {0};

    pki_read(file, &pem);
    assert_int_equal(cert_pem_each((const char *)pem.p, pem.len, keep_der, &der, &err), 1);
    buf_fini(&pem);
    return der;
}

static struct crl *crl_try(const char *file, struct err *err)
{
    struct buf text = {0};
    struct crl *c;

    if (durable_read(pki(file), CRL_FILE_BYTES, &text, err) != 0)
        fail_msg("%s", err->msg);
    c = crl_of_text(text.p, text.len, err);
    buf_fini(&text);
    return c;
}

static struct crl *crl(const char *file)
{
    struct err err = {0};
    struct crl *c = crl_try(file, &err);

    if (c == NULL)
        fail_msg("%s: %s", file, err.msg);
    return c;
}

/* A set that trusts the CAs `anchors` (separated by spaces) and reads the files `paths`. */
static struct crl_set *set_try(const char *anchors, const char *paths, const char *stored,
                               struct err *err)
{
    struct tls_anchor *cas[8];
    char words[512], files[8][128];
    const char *list[8];
    struct crl_args args = {.anchors = cas, .paths = list, .stored_dir = stored};
    struct crl_set *s;

    snprintf(words, sizeof(words), "%s", anchors);
    for (char *w = strtok(words, " "); w != NULL; w = strtok(NULL, " ")) {
        char name[64];
        struct buf der;

        snprintf(name, sizeof(name), "%s.pem", w);
        der = cert(name);
        cas[args.anchor_count] = tls_anchor_new(der.p, der.len, name, 1, err);
        assert_non_null(cas[args.anchor_count++]);
        buf_fini(&der);
    }
    snprintf(words, sizeof(words), "%s", paths);
    for (char *w = strtok(words, " "); w != NULL; w = strtok(NULL, " ")) {
        snprintf(files[args.path_count], sizeof(files[0]), "%s", pki(w));
        list[args.path_count] = files[args.path_count];
        args.path_count++;
    }
    s = crl_set_new(&args, err);
    for (size_t i = 0; i < args.anchor_count; i++)
        tls_anchor_unref(cas[i]);
    return s;
}

static struct crl_set *set_of(const char *anchors, const char *paths)
{
    struct err err = {0};
    struct crl_set *s = set_try(anchors, paths, NULL, &err);

    if (s == NULL)
        fail_msg("%s", err.msg);
    return s;
}

static void refused(const char *anchors, const char *paths, const char *file, const char *why)
{
    struct err err = {0};
    struct crl_set *s = set_try(anchors, paths, NULL, &err);

    assert_null(s);
    if (strstr(err.msg, file) == NULL || strstr(err.msg, why) == NULL)
        fail_msg("\"%s\" names neither %s nor \"%s\"", err.msg, file, why);
}

static enum crl_verdict judge(const struct crl_set *s, const char *name, char *why, size_t n)
{
    char file[64];
    struct buf der;
    enum crl_verdict v;

    snprintf(file, sizeof(file), "%s.pem", name);
    der = cert(file);
    v = crl_set_judge(s, der.p, der.len, clock_wall_s(), why, n);
    buf_fini(&der);
    return v;
}

static void says(const struct crl_set *s, const char *name, enum crl_verdict want)
{
    char file[64];
    struct crl_id id;
    struct buf der;

    print_message("%s\n", name);
    assert_int_equal(judge(s, name, NULL, 0), want);
    snprintf(file, sizeof(file), "%s.pem", name);
    der = cert(file);
    assert_true(crl_id_of(der.p, der.len, &id));
    assert_int_equal(crl_set_lists(s, &id), want == CRL_SAYS_REVOKED);
    buf_fini(&der);
}

/* -- what is read ------------------------------------------------------------------------------ */

static void a_list_tells_issuer_number_and_dates(void **state)
{
    struct crl *pem = crl("root.crl"), *der = crl("root.der");
    struct crl_facts f = crl_facts(pem), g = crl_facts(der);

    (void)state;
    assert_string_equal(f.issuer, "CN=root,O=Plant");
    assert_string_equal(f.number, "02");
    assert_int_equal(f.entries, 3);
    assert_true(f.this_update_s <= clock_wall_s() && f.next_update_s > clock_wall_s());
    assert_memory_equal(f.fp, g.fp, sizeof(f.fp));
    crl_unref(pem);
    crl_unref(der);
    pem = crl("v1.crl");
    f = crl_facts(pem);
    assert_string_equal(f.number, "");
    assert_int_equal(f.entries, 3);
    crl_unref(pem);
}

static void what_is_understood_in_part_only_is_refused(void **state)
{
    static const char *const table[][2] = {
        {"delta.crl", "delta"},          {"indirect.crl", "indirect"},
        {"reasons.crl", "some reasons"}, {"unknown.crl", "critical extension"},
        {"root.pem", "holds no CRL"},
    };
    struct err err = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        assert_null(crl_try(table[i][0], &err));
        if (strstr(err.msg, table[i][1]) == NULL)
            fail_msg("%s: %s", table[i][0], err.msg);
    }
}

/* A list that is cut off anywhere is refused, and nothing is read behind its end. */
static void every_proper_prefix_of_a_list_is_refused(void **state)
{
    struct buf text = {0};
    struct err err = {0};

    (void)state;
    pki_read("root.der", &text);
    for (size_t n = 0; n < text.len; n++) {
        uint8_t *copy = malloc(n > 0 ? n : 1);

        assert_non_null(copy);
        memcpy(copy, text.p, n);
        assert_null(crl_new(copy, n, &err));
        free(copy);
    }
    buf_fini(&text);
}

/* With any of its bits changed a list is refused, or it does not verify. */
static void no_changed_bit_goes_unnoticed(void **state)
{
    struct crl_set *s = set_of("root", "root.crl");
    struct buf text = {0};
    struct err err = {0};

    (void)state;
    pki_read("root.der", &text);
    for (size_t bit = 0; bit < 8 * text.len; bit++) {
        struct crl *c;

        text.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        c = crl_new(text.p, text.len, &err);
        if (c != NULL && crl_set_verify(s, c, &err) == 0)
            fail_msg("bit %zu", bit);
        crl_unref(c);
        text.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    buf_fini(&text);
    crl_set_unref(s);
}

struct others {
    struct buf good;
    unsigned count; /* anchors that are not it */
};

static int count_others(void *arg, struct tls_anchor *a, struct err *err)
{
    struct others *o = arg;

    (void)err;
    o->count += a->der_len != o->good.len || memcmp(a->der, o->good.p, o->good.len) != 0;
    tls_anchor_unref(a);
    return 0;
}

/* With any bit of its file changed a root is refused, or is the same as before. */
static void no_changed_bit_makes_another_root(void **state)
{
    static const char *const roots[] = {"root.pem", "rsa.pem", "ed.pem"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct others o = {.good = cert(roots[i])};
        struct buf text = {0};
        struct err err = {0};

        pki_read(roots[i], &text);
        for (size_t bit = 0; bit < 8 * text.len; bit++) {
            text.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
            (void)tls_anchors_of_pem((const char *)text.p, text.len, roots[i], count_others, &o,
                                     &err);
            if (o.count > 0)
                fail_msg("%s: bit %zu", roots[i], bit);
            text.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        buf_fini(&text);
        buf_fini(&o.good);
    }
}

/* -- whose is believed ------------------------------------------------------------------------- */

static void every_usual_signature_is_verified(void **state)
{
    static const char *const names[] = {"rsa", "p384", "ed"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char file[32];

        snprintf(file, sizeof(file), "%s.crl", names[i]);
        print_message("%s\n", file);
        crl_set_unref(set_of(names[i], file));
    }
    crl_set_unref(set_of("rsa", "rsa-pss.crl"));
}

static void a_list_of_somebody_else_is_refused(void **state)
{
    (void)state;
    refused("root", "twin.crl", "twin.crl", "signature is not that of its issuer");
    refused("root", "far.crl", "far.crl", "not known here");
    refused("nosign", "nosign.crl", "nosign.crl", "key usage");
    refused("root", "sha1.crl", "sha1.crl", "proves nothing");
    refused("root", "root.crl far.crl", "far.crl", "not known here");
    refused("root", "nothing.crl", "nothing.crl", "no such file");
    refused("root", "int.crl", "int.crl", "O=Plant,CN=int");
}

/* Two CAs of one name are told apart by their keys. */
static void a_twin_is_believed_where_it_is_trusted(void **state)
{
    struct crl_set *s = set_of("root twin", "twin.crl root.crl");

    (void)state;
    assert_int_equal(crl_set_count(s), 2);
    says(s, "bad", CRL_SAYS_REVOKED);
    crl_set_unref(s);
}

static void an_intermediate_signs_when_it_stands_beside_its_list(void **state)
{
    struct crl_set *s = set_of("root", "root-and-int.crl");

    (void)state;
    assert_int_equal(crl_set_count(s), 2);
    says(s, "below", CRL_SAYS_GOOD);
    says(s, "below-bad", CRL_SAYS_REVOKED);
    crl_set_unref(s);
    refused("far", "root-and-int.crl", "root-and-int.crl", "not known here");
}

/* -- what it says ------------------------------------------------------------------------------ */

static void a_set_knows_who_is_revoked_and_why(void **state)
{
    struct crl_set *s = set_of("root", "root.crl");
    char why[96];

    (void)state;
    says(s, "good", CRL_SAYS_GOOD);
    says(s, "bad", CRL_SAYS_REVOKED);
    says(s, "old", CRL_SAYS_REVOKED);
    says(s, "int", CRL_SAYS_GOOD);
    says(s, "int2", CRL_SAYS_REVOKED);
    says(s, "below", CRL_SAYS_NOTHING); /* its CA has no list here */
    judge(s, "bad", why, sizeof(why));
    assert_non_null(strstr(why, "keyCompromise, 20"));
    crl_set_unref(s);
}

static void a_list_past_its_time_still_revokes(void **state)
{
    struct crl_set *s = set_of("root", "root-stale.crl");

    (void)state;
    says(s, "good", CRL_SAYS_STALE);
    says(s, "bad", CRL_SAYS_REVOKED);
    crl_set_unref(s);
}

/* By a clock that stands in 1970 the list would be in date for ever; by the time that has passed at
 * least it is not.  One that seems to come from the future revokes, and is no reason to refuse. */
static void a_list_is_in_date_by_the_time_that_has_passed(void **state)
{
    struct crl_set *s = set_of("root", "root.crl");
    struct buf good = cert("good.pem"), bad = cert("bad.pem");
    int64_t next_s = crl_facts(crl_set_at(s, 0)).next_update_s;

    (void)state;
    assert_int_equal(crl_set_judge(s, good.p, good.len, 0, NULL, 0), CRL_SAYS_GOOD);
    assert_int_equal(crl_set_judge(s, bad.p, bad.len, 0, NULL, 0), CRL_SAYS_REVOKED);
    assert_int_equal(crl_set_judge(s, good.p, good.len, next_s, NULL, 0), CRL_SAYS_GOOD);
    assert_int_equal(crl_set_judge(s, good.p, good.len, next_s + 1, NULL, 0), CRL_SAYS_STALE);
    clock_known_set(next_s + 1); /* the wall clock says what was years before */
    assert_true(clock_wall_s() < next_s);
    assert_int_equal(crl_set_judge(s, good.p, good.len, clock_date_s(), NULL, 0), CRL_SAYS_STALE);
    clock_known_set(0);
    assert_int_equal(crl_set_judge(s, good.p, good.len, clock_date_s(), NULL, 0), CRL_SAYS_GOOD);
    buf_fini(&good);
    buf_fini(&bad);
    crl_set_unref(s);
}

static void a_list_covers_what_it_says_it_does(void **state)
{
    struct crl_set *s = set_of("root", "users.crl");

    (void)state;
    says(s, "good", CRL_SAYS_GOOD);
    says(s, "int", CRL_SAYS_NOTHING); /* a CA */
    crl_set_unref(s);
    s = set_of("root", "part.crl");
    says(s, "good", CRL_SAYS_NOTHING); /* names no distribution point */
    says(s, "pointed", CRL_SAYS_GOOD);
    says(s, "bad", CRL_SAYS_REVOKED);
    crl_set_unref(s);
}

static void the_newest_of_a_scope_counts(void **state)
{
    struct crl_set *s = set_of("root", "root.crl root-0.crl");
    struct crl *older = crl("root-0.crl"), *newer = crl("root.crl"), *other = crl("users.crl");

    (void)state;
    assert_int_equal(crl_set_count(s), 1);
    says(s, "bad", CRL_SAYS_REVOKED);
    assert_true(crl_same_scope(older, newer));
    assert_false(crl_same_scope(other, newer));
    assert_true(crl_compare(older, newer) < 0);
    assert_true(crl_compare(newer, older) > 0);
    assert_int_equal(crl_compare(newer, newer), 0);
    assert_ptr_equal(crl_set_like(s, older), crl_set_at(s, 0));
    assert_null(crl_set_like(s, other));
    crl_unref(older);
    crl_unref(newer);
    crl_unref(other);
    crl_set_unref(s);
}

/* -- what came at run time --------------------------------------------------------------------- */

static void store(const char *file, const char *over)
{
    struct crl *c = crl(file), *former = over == NULL ? NULL : crl(over);
    char name[80], path[128];
    struct buf text = {0}, pem = {0};

    mkdir(pki("stored"), 0700);
    crl_stored_name(c, name);
    pki_read(file, &pem);
    assert_int_equal(crl_stored_text(former, &pem, &text), 0);
    buf_fini(&pem);
    snprintf(path, sizeof(path), "stored/%s", name);
    pki_write(path, text.p, text.len, 0600);
    buf_fini(&text);
    crl_unref(c);
    crl_unref(former);
}

static void a_forced_list_stays_until_a_newer_one_comes(void **state)
{
    struct err err = {0};
    struct crl_set *s;

    (void)state;
    store("root-0.crl", NULL);
    s = set_try("root", "root.crl", pki("stored"), &err);
    assert_non_null(s);
    says(s, "bad", CRL_SAYS_REVOKED); /* the older one was not forced */
    crl_set_unref(s);
    store("root-0.crl", "root.crl");
    s = set_try("root", "root.crl", pki("stored"), &err);
    assert_non_null(s);
    says(s, "bad", CRL_SAYS_GOOD);
    crl_set_unref(s);
    s = set_try("root", "root.crl root-9.crl", pki("stored"), &err);
    assert_non_null(s);
    says(s, "bad", CRL_SAYS_REVOKED);
    crl_set_unref(s);
}

/* Those of CAs that are not known here are for others. */
static void a_folder_may_hold_lists_for_others(void **state)
{
    struct err err = {0};
    struct crl_set *s;

    (void)state;
    store("far.crl", NULL);
    s = set_try("root", "root.crl", pki("stored"), &err);
    assert_non_null(s);
    assert_int_equal(crl_set_count(s), 1);
    crl_set_unref(s);
    store("twin.crl", NULL); /* of a name that is known: that is no matter of others */
    s = set_try("root", "root.crl", pki("stored"), &err);
    assert_null(s);
    assert_non_null(strstr(err.msg, "signature is not that of its issuer"));
    s = set_try("root", "root.crl", pki("nowhere"), &err);
    assert_non_null(s);
    crl_set_unref(s);
}

/* -- how fast ---------------------------------------------------------------------------------- */

static void a_hundred_thousand_entries_are_read_and_found_quickly(void **state)
{
    int64_t began_us = clock_mono_us(), took_us;
    struct crl_set *s = set_of("big", "big.crl");
    struct crl_id id;
    struct buf der = cert("big.pem");
    unsigned found = 0;

    (void)state;
    took_us = clock_mono_us() - began_us;
    print_message("read and verified in %lld ms\n", (long long)took_us / 1000);
    assert_true(took_us < 20000000);
    assert_int_equal(crl_facts(crl_set_at(s, 0)).entries, 100000);
    assert_true(crl_id_of(der.p, der.len, &id)); /* self-issued: its issuer's name is its own */
    began_us = clock_mono_us();
    for (uint32_t i = 1; i <= 100000; i++) {
        uint32_t serial = i * 7919;

        id.serial_len = 0;
        for (int shift = 24; shift >= 0; shift -= 8)
            if (serial >> shift != 0)
                id.serial[id.serial_len++] = (uint8_t)(serial >> shift);
        found += crl_set_lists(s, &id);
        id.serial[id.serial_len - 1] ^= 1;
        found += crl_set_lists(s, &id);
    }
    took_us = clock_mono_us() - began_us;
    print_message("200,000 look-ups in %lld ms\n", (long long)took_us / 1000);
    assert_int_equal(found, 100000);
    assert_true(took_us < 20000000);
    buf_fini(&der);
    crl_set_unref(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_tells_issuer_number_and_dates),
        cmocka_unit_test(what_is_understood_in_part_only_is_refused),
        cmocka_unit_test(every_proper_prefix_of_a_list_is_refused),
        cmocka_unit_test(no_changed_bit_goes_unnoticed),
        cmocka_unit_test(no_changed_bit_makes_another_root),
        cmocka_unit_test(every_usual_signature_is_verified),
        cmocka_unit_test(a_list_of_somebody_else_is_refused),
        cmocka_unit_test(a_twin_is_believed_where_it_is_trusted),
        cmocka_unit_test(an_intermediate_signs_when_it_stands_beside_its_list),
        cmocka_unit_test(a_set_knows_who_is_revoked_and_why),
        cmocka_unit_test(a_list_past_its_time_still_revokes),
        cmocka_unit_test(a_list_is_in_date_by_the_time_that_has_passed),
        cmocka_unit_test(a_list_covers_what_it_says_it_does),
        cmocka_unit_test(the_newest_of_a_scope_counts),
        cmocka_unit_test(a_forced_list_stays_until_a_newer_one_comes),
        cmocka_unit_test(a_folder_may_hold_lists_for_others),
        cmocka_unit_test(a_hundred_thousand_entries_are_read_and_found_quickly),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
