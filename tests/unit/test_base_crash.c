/* The power is cut at the point that was named, at the time that was named, and nowhere else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/crash.h"

#ifdef CERTFLIP_CRASH_POINTS

#    include <errno.h>
#    include <signal.h>
#    include <sys/stat.h>
#    include <sys/wait.h>
#    include <unistd.h>

#    include "base/durable.h"
#    include "scratch.h"

static char folder[64], armed[96], path[96];

static int folder_make(void **state)
{
    (void)state;
    assert_true(scratch_make(folder, sizeof(folder)));
    snprintf(armed, sizeof(armed), "%s/armed", folder);
    snprintf(path, sizeof(path), "%s/file", folder);
    return 0;
}

static int folder_remove(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command); /* NOLINT: in a test */
}

static void file_write(const char *name, const char *text)
{
    FILE *f = fopen(name, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* What `body` exits with in a child where `line` is armed, or minus the signal that ends it. */
static int child(const char *line, int (*body)(void))
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        setenv("CERTFLIP_CRASH", line, 1);
        _exit(body());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* Exits with the errors that there were, as bits of the passes. */
static int five_passes(void)
{
    int errors = 0;

    for (int i = 0; i < 5; i++) {
        crash_point("test.other");
        if (crash_errno("test.disk") == ENOSPC)
            errors |= 1 << i;
        crash_point("test.point");
    }
    return errors;
}

static void the_power_is_cut_at_the_named_pass(void **unused)
{
    (void)unused;
    assert_int_equal(child("test.point", five_passes), -SIGKILL);
    assert_int_equal(child("test.point:5", five_passes), -SIGKILL);
    assert_int_equal(child("test.point:6", five_passes), 0);
    assert_int_equal(child("test.disk:2", five_passes), -SIGKILL);
    assert_int_equal(child("", five_passes), 0);
}

static void an_operation_fails_as_named(void **unused)
{
    (void)unused;
    assert_int_equal(child("test.disk:ENOSPC", five_passes), 1);
    assert_int_equal(child("test.disk:3:ENOSPC", five_passes), 4);
    assert_int_equal(child("test.disk:3+:ENOSPC", five_passes), 4 + 8 + 16);
    assert_int_equal(child("test.disk:3+:EIO", five_passes), 0);
}

static void a_slip_of_the_pen_ends_the_process(void **unused)
{
    (void)unused;
    assert_int_equal(child("test.piont", five_passes), 2);
    assert_int_equal(child("test.disk:1:EOOPS", five_passes), 2);
    assert_int_equal(child("test.point:1:EIO", five_passes), 2);
}

static int armed_on_the_way(void)
{
    int first = five_passes(), second, third;

    file_write(armed, "test.disk:4:ENOSPC\n");
    second = five_passes();
    file_write(armed, "");
    third = five_passes();
    return first == 0 && second == 8 && third == 0 ? 0 : 1;
}

static void a_process_that_runs_is_armed_by_a_file(void **unused)
{
    (void)unused;
    assert_int_equal(child(armed, armed_on_the_way), 0);
}

static void the_list_has_each_point_once(void **unused)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);

    (void)unused;
    crash_list(f);
    fclose(f);
    assert_non_null(strstr(text, "\ntest.disk fails\ntest.other\ntest.point\n"));
    assert_non_null(strstr(text, "durable.rename\n"));
    free(text);
}

static int write_new(void)
{
    return durable_write(path, "new", 3, 0600, NULL) == 0 ? 0 : 1;
}

/* A file is whole, old or new, wherever the power goes. */
static void a_durable_file_is_old_or_new(void **unused)
{
    static const struct {
        const char *point, *holds;
    } cuts[] = {
        {"durable.write", "old"},
        {"durable.sync", "old"},
        {"durable.rename", "old"},
        {"durable.sync-folder", "new"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        struct buf got = {0};

        file_write(path, "old");
        assert_int_equal(child(cuts[i].point, write_new), -SIGKILL);
        assert_int_equal(durable_read(path, 16, &got, NULL), 0);
        assert_int_equal(got.len, 3);
        assert_memory_equal(got.p, cuts[i].holds, 3);
        buf_fini(&got);
    }
    assert_int_equal(child("", write_new), 0);
}

#    define ROW(test) cmocka_unit_test_setup_teardown(test, folder_make, folder_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(the_power_is_cut_at_the_named_pass), ROW(an_operation_fails_as_named),
        ROW(a_slip_of_the_pen_ends_the_process), ROW(a_process_that_runs_is_armed_by_a_file),
        ROW(the_list_has_each_point_once),       ROW(a_durable_file_is_old_or_new),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

/* A release has none of it. */
static void a_point_is_nothing(void **unused)
{
    (void)unused;
    crash_point("test.point");
    assert_int_equal(crash_errno("test.disk"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_point_is_nothing)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
