/* test_trust_set.c - src/trust: which anchors are in force, what may be added, what is on disk. */
#include "test_tls_pki.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "trust/set.h"
#include "trust/shelf.h"

/* -- helpers -- */

static struct trust_list files_of(const char *const *names, size_t n)
{
    struct trust_list l = {0};
    struct err err = {0};

    for (size_t i = 0; i < n; i++) {
        const char *path = pki(names[i]);

        if (trust_list_files(&l, &path, 1, &err) != 0)
            fail_msg("%s", err.msg);
    }
    return l;
}

/* Borrowed, like all of pki_anchors. */
static struct tls_anchor *anchor(const char *file)
{
    return pki_anchors(file).anchors[0];
}

static struct trust_change row_of(enum trust_side side, enum trust_kind kind, const char *file,
                                  const char *only)
{
    struct trust_change row = {.side = side, .kind = kind, .only = (char *)(uintptr_t)only};

    row.anchor = anchor(file);
    row.who = (char *)(uintptr_t) "local:root";
    row.note = (char *)(uintptr_t) "as agreed: with the plant";
    row.time_s = 1924992000;
    memcpy(row.fp, row.anchor->fp, sizeof(row.fp));
    return row;
}

/* "ca-old ca-new | ca-int": anchors and helpers by their files' names. */
static void show_list(const struct trust_list *l, char *out, size_t n)
{
    for (size_t i = 0; i < l->count; i++) {
        const char *name = strrchr(l->at[i]->from, '/') + 1;

        snprintf(out + strlen(out), n - strlen(out), "%s%.*s", *out == '\0' ? "" : " ",
                 (int)(strlen(name) - 4), name);
    }
}

static void check_set(const struct trust_list *files, const struct trust_changes *changes,
                      enum trust_side side, const char *name, const char *anchors,
                      const char *helpers, size_t removed)
{
    char a[200] = "", h[200] = "";
    struct trust_set s;

    assert_int_equal(trust_set_make(&s, files, changes, side, name), 0);
    show_list(&s.anchors, a, sizeof(a));
    show_list(&s.helpers, h, sizeof(h));
    assert_string_equal(a, anchors);
    assert_string_equal(h, helpers);
    assert_int_equal(s.removed, removed);
    if (removed > 0) /* then it may be that nobody is left */
        assert_true(trust_set_view(&s).nobody);
    else if (changes == NULL)
        assert_false(trust_set_view(&s).nobody);
    trust_set_fini(&s);
}

/* -- sets -- */

static void what_is_in_force_is_the_files_and_the_changes(void **state)
{
    static const char *const names[] = {"ca-old.pem", "ca-new.pem", "ca-old.pem"};
    struct trust_list files = files_of(names, 3);
    struct trust_change rows[] = {
        row_of(TRUST_DOWNSTREAM, TRUST_ANCHOR, "ca-far.pem", ""),
        row_of(TRUST_DOWNSTREAM, TRUST_ANCHOR, "ca-twin.pem", "tls other"),
        row_of(TRUST_DOWNSTREAM, TRUST_INTERMEDIATE, "ca-int.pem", ""),
        row_of(TRUST_DOWNSTREAM, TRUST_REMOVED, "ca-new.pem", ""),
        row_of(TRUST_UPSTREAM, TRUST_REMOVED, "ca-old.pem", ""),
        row_of(TRUST_DOWNSTREAM, TRUST_ANCHOR, "ca-old.pem", ""), /* it stands in the files */
    };
    struct trust_changes *none = trust_changes_new(), *all = trust_changes_with(none, rows, 6);
    struct trust_change again = row_of(TRUST_DOWNSTREAM, TRUST_ANCHOR, "ca-new.pem", "");
    struct trust_changes *more = trust_changes_with(all, &again, 1);

    (void)state;
    check_set(&files, NULL, TRUST_DOWNSTREAM, "tls", "ca-old ca-new", "", 0);
    check_set(&files, none, TRUST_DOWNSTREAM, "tls", "ca-old ca-new", "", 0);
    check_set(&files, all, TRUST_DOWNSTREAM, "tls", "ca-old ca-far ca-twin", "ca-int", 1);
    check_set(&files, all, TRUST_DOWNSTREAM, "tl", "ca-old ca-far", "ca-int", 1);
    check_set(&files, all, TRUST_DOWNSTREAM, "other", "ca-old ca-far ca-twin", "ca-int", 1);
    check_set(&files, all, TRUST_UPSTREAM, "tls", "ca-new", "", 2);
    /* Added again: it is believed again. */
    check_set(&files, more, TRUST_DOWNSTREAM, "tls", "ca-old ca-new ca-far ca-twin", "ca-int", 0);
    assert_int_equal(more->count, all->count);
    trust_changes_unref(none);
    trust_changes_unref(all);
    trust_changes_unref(more);
    trust_list_fini(&files);
}

static void changes_are_values(void **state)
{
    struct trust_change rows[] = {row_of(TRUST_UPSTREAM, TRUST_ANCHOR, "ca-far.pem", "main"),
                                  row_of(TRUST_UPSTREAM, TRUST_REMOVED, "ca-far.pem", "")};
    struct trust_changes *one = trust_changes_with(NULL, rows, 1);
    struct trust_changes *two = trust_changes_with(one, rows, 2); /* of the same key: the later */
    const struct trust_change *found = trust_changes_find(one, TRUST_UPSTREAM, rows[0].fp);

    (void)state;
    assert_non_null(found);
    assert_int_equal(found->kind, TRUST_ANCHOR);
    assert_string_equal(found->only, "main");
    assert_string_equal(found->who, "local:root");
    assert_int_equal(two->count, 1);
    assert_int_equal(two->at[0].kind, TRUST_REMOVED);
    assert_null(trust_changes_find(one, TRUST_DOWNSTREAM, rows[0].fp));
    assert_null(trust_changes_find(NULL, TRUST_UPSTREAM, rows[0].fp));
    trust_changes_unref(one);
    assert_string_equal(two->at[0].anchor->fp, rows[0].fp); /* it lives on */
    trust_changes_unref(two);
}

/* -- what may be added -- */

static void each_refusal_says_why(void **state)
{
    /* clang-format off */
    static const struct { const char *file; enum trust_kind kind; bool force; int code; const char *says; } table[] = {
        { "ca-old.pem",      TRUST_ANCHOR,       false, 0,           "" },
        { "ca-int.pem",      TRUST_ANCHOR,       false, 0,           "" }, /* a partial chain */
        { "ca-int.pem",      TRUST_INTERMEDIATE, false, 0,           "" },
        { "ca-early.pem",    TRUST_ANCHOR,       false, 0,           "" },
        { "ca-sha1.pem",     TRUST_ANCHOR,       false, 0,           "" }, /* nobody relies on its own signature */
        { "ca-gone.pem",     TRUST_ANCHOR,       false, ERR_EXPIRED, "O=Plant,CN=ca-gone expired on 2021-01-01 00:00:00 UTC" },
        { "ca-gone.pem",     TRUST_ANCHOR,       true,  ERR_EXPIRED, "add its successor" },
        { "press-self.pem",  TRUST_ANCHOR,       false, ERR_INVALID, "CN=press-self is no CA: it would vouch for itself alone" },
        { "press-self.pem",  TRUST_ANCHOR,       true,  0,           "" },
        { "press-self.pem",  TRUST_INTERMEDIATE, true,  ERR_INVALID, "it completes no chain" },
        { "ca-int-sha1.pem", TRUST_INTERMEDIATE, false, ERR_INVALID, "signed with a digest that can be forged" },
        { "ca-int-sha1.pem", TRUST_INTERMEDIATE, true,  0,           "" },
        { "ca-int-sha1.pem", TRUST_ANCHOR,       false, ERR_INVALID, "signed with a digest that can be forged" },
        { "ca-1024.pem",     TRUST_ANCHOR,       false, ERR_INVALID, "an RSA key of 1024 bits, at least 2048" },
        { "ca-1024.pem",     TRUST_ANCHOR,       true,  0,           "" },
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct err err = {0};
        int rc =
            trust_admit(anchor(table[i].file), table[i].kind, clock_wall_s(), table[i].force, &err);

        if (rc != -table[i].code || (rc != 0 && strstr(err.msg, table[i].says) == NULL))
            fail_msg("%s, row %zu: %d '%s'", table[i].file, i, rc, err.msg);
    }
}

static int count_one(void *arg, struct tls_anchor *a, struct err *err)
{
    (void)err;
    (*(int *)arg)++;
    tls_anchor_unref(a);
    return 0;
}

static void a_poisoned_bundle_is_refused_with_its_place(void **state)
{
    struct buf old = {0}, leaf = {0}, text = {0};
    struct err err = {0};
    int count = 0;

    (void)state;
    pki_read("ca-old.pem", &old);
    pki_read("press-07.pem", &leaf);
    buf_append(&text, old.p, old.len);
    buf_append(&text, leaf.p, leaf.len);
    assert_int_equal(
        tls_anchors_of_pem((const char *)text.p, text.len, "ca.pem", count_one, &count, &err),
        -ERR_INVALID);
    assert_string_equal(err.msg, "ca.pem: certificate 2: O=Plant,CN=press-07 is no CA: put the "
                                 "certificate of CN=ca-old,O=Plant there, which issued it");
    assert_int_equal(count, 1);

    text.len = 0;
    buf_append(&text, old.p, old.len / 2);
    assert_int_equal(
        tls_anchors_of_pem((const char *)text.p, text.len, "ca.pem", count_one, &count, &err),
        -ERR_SYNTAX);
    assert_non_null(strstr(err.msg, "ca.pem: "));
    assert_int_equal(tls_anchors_of_pem("", 0, "ca.pem", count_one, &count, &err), -ERR_SYNTAX);
    assert_string_equal(err.msg, "ca.pem: holds no certificate: put the CA's certificate there, "
                                 "as PEM");

    /* Every octet of it, changed: refused, or what it says is what is taken. */
    for (size_t i = 0; i < old.len; i += 7) {
        text.len = 0;
        buf_append(&text, old.p, old.len);
        text.p[i] ^= 0x15;
        err = (struct err){0};
        if (tls_anchors_of_pem((const char *)text.p, text.len, "ca.pem", count_one, &count, &err) <
            0)
            assert_true(strncmp(err.msg, "ca.pem: ", 8) == 0);
    }
    buf_fini(&old);
    buf_fini(&leaf);
    buf_fini(&text);
}

/* -- who depends on it -- */

static void a_renewed_ca_does_what_the_old_one_did(void **state)
{
    static const char *const names[] = {"ca-old.pem", "ca-renewed.pem", "ca-twin.pem",
                                        "ca-new.pem"};
    struct trust_list l = files_of(names, 4), alone = files_of(names + 2, 2);
    int64_t now_s = clock_wall_s();

    (void)state;
    assert_ptr_equal(trust_list_instead(&l, l.at[0]->fp, now_s), l.at[1]);
    assert_ptr_equal(trust_list_instead(&l, l.at[1]->fp, now_s), l.at[0]);
    assert_null(trust_list_instead(&l, l.at[2]->fp, now_s)); /* its name is not all that counts */
    assert_null(trust_list_instead(&l, l.at[3]->fp, now_s));
    assert_null(trust_list_instead(&alone, l.at[0]->fp, now_s));
    /* One that has expired stands in for nobody. */
    assert_null(trust_list_instead(&l, l.at[0]->fp, l.at[1]->info->not_after_s + 1));
    trust_list_fini(&l);
    trust_list_fini(&alone);
}

static void the_chain_of_an_identity_leads_to_its_anchor(void **state)
{
    static const char *const names[] = {"ca-new.pem", "ca-twin.pem", "ca-old.pem"};
    /* clang-format off */
    static const struct { const char *cred; bool helper; const char *root; } table[] = {
        { "press-07",      false, "ca-old.pem" },
        { "press-new",     false, "ca-new.pem" },
        { "press-int",     false, "ca-old.pem" },
        { "press-bare",    false, NULL },
        { "press-bare",    true,  "ca-old.pem" },
        { "press-expired", false, "ca-old.pem" }, /* dates do not matter here */
        { "press-forged",  false, "ca-twin.pem" },
        { "press-far",     true,  NULL },
        { "press-self",    false, NULL },
    };
    /* clang-format on */
    static const char *const helper[] = {"ca-int.pem"};

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct cred *c = pki_cred(table[i].cred);
        struct trust_set s = {.anchors = files_of(names, 3)};
        const struct tls_anchor *root;

        if (table[i].helper)
            s.helpers = files_of(helper, 1);
        root = trust_set_root(&s, c);
        if (table[i].root == NULL)
            assert_null(root);
        else
            assert_string_equal(strrchr(root->from, '/') + 1, table[i].root);
        trust_set_fini(&s);
        cred_unref(c);
    }
}

/* -- on disk -- */

struct seen {
    unsigned count, faults;
    struct trust_change last;
};

static int see(void *arg, const struct trust_change *row)
{
    struct seen *s = arg;

    s->count++;
    s->faults += row->fault != NULL;
    if (row->fault == NULL) {
        assert_string_equal(row->who, "local:root");
        assert_string_equal(row->note, "as agreed: with the plant");
        assert_int_equal(row->time_s, 1924992000);
        s->last.kind = row->kind;
        s->last.side = row->side;
        memcpy(s->last.fp, row->fp, sizeof(s->last.fp));
    }
    return 0;
}

static struct seen look(const char *dir, bool archived, enum trust_side side)
{
    struct seen s = {0};
    struct err err = {0};

    if (trust_shelf_each(dir, archived, side, see, &s, &err) != 0)
        fail_msg("%s", err.msg);
    return s;
}

static void what_was_put_is_there_and_says_what_it_is(void **state)
{
    struct trust_change row = row_of(TRUST_DOWNSTREAM, TRUST_INTERMEDIATE, "ca-int.pem", "tls x");
    const char *dir = pki("shelf");
    struct tls_anchor *a;
    struct err err = {0};
    struct seen s;
    char path[400];

    (void)state;
    assert_int_equal(look(dir, false, TRUST_DOWNSTREAM).count, 0);
    assert_int_equal(trust_shelf_put(dir, &row, &err), 0);
    s = look(dir, false, TRUST_DOWNSTREAM);
    assert_int_equal(s.count, 1);
    assert_int_equal(s.last.kind, TRUST_INTERMEDIATE);
    assert_string_equal(s.last.fp, row.fp);
    assert_int_equal(look(dir, false, TRUST_UPSTREAM).count, 0);
    a = trust_shelf_get(dir, false, TRUST_DOWNSTREAM, row.fp, &err);
    assert_non_null(a);
    assert_int_equal(a->der_len, row.anchor->der_len);
    assert_memory_equal(a->der, row.anchor->der, a->der_len);
    tls_anchor_unref(a);

    /* openssl has to be able to read it, too: it is the same PEM with lines before it. */
    snprintf(path, sizeof(path), "openssl x509 -in %s/trust/downstream/%s.pem -noout", dir, row.fp);
    assert_int_equal(system(path), 0); /* NOLINT(cert-env33-c,concurrency-mt-unsafe): a test */

    assert_int_equal(trust_shelf_archive(dir, TRUST_DOWNSTREAM, row.fp, &err), 0);
    assert_int_equal(look(dir, false, TRUST_DOWNSTREAM).count, 0);
    assert_int_equal(look(dir, true, TRUST_DOWNSTREAM).count, 1);
    assert_int_equal(trust_shelf_archive(dir, TRUST_DOWNSTREAM, row.fp, &err), 0); /* again */
    row.kind = TRUST_REMOVED;
    assert_int_equal(trust_shelf_put(dir, &row, &err), 0);
    s = look(dir, true, TRUST_DOWNSTREAM);
    assert_int_equal(s.count, 1);
    assert_int_equal(s.last.kind, TRUST_REMOVED);
    assert_int_equal(trust_shelf_drop(dir, TRUST_DOWNSTREAM, row.fp, &err), 0); /* there is none */
}

static void a_file_that_is_not_ours_is_named(void **state)
{
    struct trust_change row = row_of(TRUST_UPSTREAM, TRUST_ANCHOR, "ca-old.pem", "");
    const char *dir = pki("shelf2");
    struct buf other = {0};
    struct err err = {0};
    char name[200];
    struct seen s;

    (void)state;
    assert_int_equal(trust_shelf_put(dir, &row, &err), 0);
    pki_read("ca-new.pem", &other);
    snprintf(name, sizeof(name), "shelf2/trust/upstream/%s.pem", row.fp);
    pki_write(name, other.p, other.len, 0600);
    s = look(dir, false, TRUST_UPSTREAM);
    assert_int_equal(s.count, 1);
    assert_int_equal(s.faults, 1);
    assert_null(trust_shelf_get(dir, false, TRUST_UPSTREAM, row.fp, &err));
    assert_non_null(strstr(err.msg, row.fp));

    /* Another certificate than its name says. */
    other.len = 0;
    buf_printf(&other, "kind: anchor\n");
    pki_read("ca-new.pem", &other);
    pki_write(name, other.p, other.len, 0600);
    assert_null(trust_shelf_get(dir, false, TRUST_UPSTREAM, row.fp, &err));
    assert_non_null(strstr(err.msg, "another certificate than its name says"));
    buf_fini(&other);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_in_force_is_the_files_and_the_changes),
        cmocka_unit_test(changes_are_values),
        cmocka_unit_test(each_refusal_says_why),
        cmocka_unit_test(a_poisoned_bundle_is_refused_with_its_place),
        cmocka_unit_test(a_renewed_ca_does_what_the_old_one_did),
        cmocka_unit_test(the_chain_of_an_identity_leads_to_its_anchor),
        cmocka_unit_test(what_was_put_is_there_and_says_what_it_is),
        cmocka_unit_test(a_file_that_is_not_ours_is_named),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
