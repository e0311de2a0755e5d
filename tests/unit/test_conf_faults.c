/* What is said about a faulty configuration: tests/data/conf/NAME.in gives exactly the lines of
 * NAME.ok.  CONF_FAULTS_WRITE=1 in the environment writes those anew, to be read before they are
 * kept. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/durable.h"
#include "base/str.h"
#include "test_conf.h"

static char *folder(void)
{
    const char *srcdir = getenv("srcdir");

    return str_printf("%s/tests/data/conf", srcdir == NULL ? "." : srcdir);
}

static struct buf contents(const char *path)
{
    struct buf b = {0};
    struct err err = {0};

    if (durable_read(path, 1 << 20, &b, &err) != 0)
        fail_msg("%s", err.msg);
    return b;
}

static void one_case(const char *dir, const char *name)
{
    char *in = str_printf("%s/%s.in", dir, name);
    char *ok = str_printf("%s/%s.ok", dir, name);
    char *called = str_printf("%s.in", name);
    struct buf text = contents(in);
    struct buf faults = {0};
    struct buf wanted;
    unsigned count = 0;
    unsigned lines = 0;
    struct conf *c = conf_load_text(called, (const char *)text.p, text.len, &faults, &count);

    if (getenv("CONF_FAULTS_WRITE") != NULL)
        assert_int_equal(durable_write(ok, faults.p, faults.len, 0644, NULL), 0);
    wanted = contents(ok);
    for (size_t i = 0; i < faults.len; i++)
        lines += faults.p[i] == '\n';
    if (wanted.len != faults.len || (wanted.len > 0 && memcmp(wanted.p, faults.p, wanted.len) != 0))
        fail_msg("%s gave\n%.*s", called, (int)faults.len, (const char *)faults.p);
    assert_int_equal(count, lines);
    assert_int_equal(c == NULL, count > 0);
    conf_unref(c);
    buf_fini(&text);
    buf_fini(&faults);
    buf_fini(&wanted);
    free(in);
    free(ok);
    free(called);
}

static int is_in(const struct dirent *e)
{
    return str_glob("*.in", e->d_name);
}

static void every_fault_is_reported_with_place_and_remedy(void **unused)
{
    char *dir = folder();
    struct dirent **entries;
    int n = scandir(dir, &entries, is_in, alphasort);

    (void)unused;
    assert_true(n >= 15);
    for (int i = 0; i < n; i++) {
        entries[i]->d_name[strlen(entries[i]->d_name) - 3] = '\0';
        one_case(dir, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    free(dir);
}

/* The same text with one more of its bytes each time: never a crash, and never a configuration with
 * faults. */
static void every_prefix_of_a_good_file_is_bearable(void **unused)
{
    char *dir = folder();
    char *path = str_printf("%s/good.in", dir);
    struct buf text = contents(path);

    (void)unused;
    for (size_t n = 0; n <= text.len; n++) {
        struct buf faults = {0};
        unsigned count = 0;
        struct conf *c = conf_load_text("t", (const char *)text.p, n, &faults, &count);

        assert_int_equal(c == NULL, count > 0);
        conf_unref(c);
        buf_fini(&faults);
    }
    buf_fini(&text);
    free(path);
    free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fault_is_reported_with_place_and_remedy),
        cmocka_unit_test(every_prefix_of_a_good_file_is_bearable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
