/* test_identity_files.c - slots are filled, emptied and retired whole, or not at all. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/durable.h"
#include "identity/files.h"
#include "scratch.h"

#define FP_A "aaaaaaaaaaaaaaaa1111111111111111111111111111111111111111111111aa"

/* Only a build with crash points can be made to fail, or have its power cut. */
#ifdef CERTFLIP_CRASH_POINTS
#    define FAULTS true
#else
#    define FAULTS false
#endif

static char dir[64], armed[96];

static void shell(const char *format)
{
    char command[400];

    snprintf(command, sizeof(command), "cd %s && %s", dir, format);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): in a folder of our own */
}

static int make(void **state)
{
    (void)state;
    if (!scratch_make(dir, sizeof(dir)))
        return -1;
    snprintf(armed, sizeof(armed), "%.*s/%d.armed", (int)(strrchr(dir, '/') - dir), dir,
             (int)getpid()); /* one for all tests: it is read once */
    setenv("CERTFLIP_CRASH", armed, 1);
    shell("mkdir press");
    return 0;
}

static int drop(void **state)
{
    char command[200];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s %s", dir, armed);
    return system(command); /* NOLINT(cert-env33-c) */
}

static void arm(const char *point)
{
    FILE *f = fopen(armed, "w");

    assert_non_null(f);
    fputs(point, f);
    fclose(f);
}

/* Every file below the device's folder with its contents, sorted: "new/key.pem=K ...". */
static const char *seen(void)
{
    static char text[4000];
    char command[300];
    FILE *from;
    size_t n;

    snprintf(
        command, sizeof(command),
        "cd %s/press && find . -type f | sort | while read f; do printf '%%s=%%s ' \"${f#./}\" "
        "\"$(cat $f)\"; done",
        dir);
    from = popen(command, "r"); /* NOLINT(cert-env33-c) */
    assert_non_null(from);
    n = fread(text, 1, sizeof(text) - 1, from);
    text[n] = '\0';
    pclose(from);
    return text;
}

static unsigned mode_of(const char *path)
{
    char whole[300];
    struct stat st;

    snprintf(whole, sizeof(whole), "%s/press/%s", dir, path);
    assert_int_equal(stat(whole, &st), 0);
    return st.st_mode & 07777;
}

static int put(const char *key, const char *chain, const char *csr, struct err *err)
{
    const struct files_slot what = {slice_of(key), slice_of(chain), slice_of(csr)};
    char *former = NULL;
    int rc = files_put_slot(dir, "press", FLIP_NEW, &what, &former, err);

    files_destroy(former);
    return rc;
}

static int fill(struct err *err)
{
    return put("K2", "", "R2", err);
}

static void a_slot_is_filled_and_filled_anew(void **state)
{
    static const char *const points[] = {"files.mkdir:1:ENOSPC", "files.rename:1:EIO"};
    struct err err = {0};
    struct buf text = {0};
    mode_t mask = umask(0);

    (void)state;
    assert_int_equal(put("K1", "", "R1", &err), 0);
    umask(mask);
    assert_string_equal(seen(), "new/csr.pem=R1 new/key.pem=K1 ");
    assert_int_equal(mode_of("new"), 0700);
    assert_int_equal(mode_of("new/key.pem"), 0600);
    for (size_t i = 0; FAULTS && i < 2; i++) {
        arm(points[i]);
        assert_true(fill(&err) < 0);
        arm("");
        assert_non_null(strstr(err.msg, i == 0 ? "free some space" : "check the disk"));
        assert_string_equal(seen(), "new/csr.pem=R1 new/key.pem=K1 ");
    }
    assert_int_equal(fill(&err), 0);
    assert_string_equal(seen(), "new/csr.pem=R2 new/key.pem=K2 ");
    assert_int_equal(put("K2", "C2", "R2", &err), 0);
    assert_string_equal(seen(), "new/chain.pem=C2 new/csr.pem=R2 new/key.pem=K2 ");
    assert_int_equal(mode_of("new/chain.pem"), 0600);
    assert_int_equal(files_get(dir, "press", FLIP_NEW, FILES_CHAIN, &text, &err), 0);
    assert_int_equal(text.len, 2);
    buf_fini(&text);
    assert_int_equal(put("K3", "C3", "", &err), 0); /* all of it is another one */
    assert_string_equal(seen(), "new/chain.pem=C3 new/key.pem=K3 ");
}

static void what_was_put_is_taken_back(void **state)
{
    const struct files_slot what = {slice_of("K2"), slice_of("C2"), slice_of("R2")};
    struct err err = {0};
    char *former = dir;

    (void)state;
    assert_int_equal(files_put_slot(dir, "press", FLIP_NEW, &what, &former, &err), 0);
    assert_null(former);
    assert_int_equal(files_unput_slot(dir, "press", FLIP_NEW, former, &err), 0);
    shell("test -z \"$(ls -A press)\"");
    shell("mkdir press/new && printf K >press/new/key.pem && printf C >press/new/cert.pem");
    assert_int_equal(files_put_slot(dir, "press", FLIP_NEW, &what, &former, &err), 0);
    assert_non_null(former);
    assert_int_equal(files_unput_slot(dir, "press", FLIP_NEW, former, &err), 0);
    assert_string_equal(seen(), "new/cert.pem=C new/key.pem=K ");
    shell("test $(ls -A press) = new");
}

static void what_is_no_folder_is_left_alone(void **state)
{
    struct err err = {0};
    char *aside = NULL;

    (void)state;
    shell("mkdir elsewhere && ln -s ../elsewhere press/new");
    assert_int_equal(put("K", "", "R", &err), -ERR_EXISTS);
    assert_non_null(strstr(err.msg, "symbolic link"));
    assert_int_equal(files_take_slot(dir, "press", FLIP_NEW, &aside, &err), -ERR_EXISTS);
    assert_int_equal(files_take_slot(dir, "press", FLIP_OLD, &aside, &err), -ERR_NOT_FOUND);
    assert_int_equal(files_retire(dir, "press", 0, FP_A, &aside, &err), -ERR_EXISTS);
    assert_null(aside);
    shell("test -z \"$(ls -A elsewhere)\" && test $(ls -A press) = new");
}

static void a_slot_is_taken_and_restored_or_destroyed(void **state)
{
    struct err err = {0};
    char *aside = NULL;

    (void)state;
    assert_int_equal(put("K", "C", "R", &err), 0);
    for (int i = 0; FAULTS && i < 2; i++) {
        arm(i == 0 ? "files.mkdir:1:ENOSPC" : "files.rename:1:EIO");
        assert_true(files_take_slot(dir, "press", FLIP_NEW, &aside, &err) < 0);
        arm("");
        assert_string_equal(seen(), "new/chain.pem=C new/csr.pem=R new/key.pem=K ");
    }
    assert_int_equal(files_take_slot(dir, "press", FLIP_NEW, &aside, &err), 0);
    shell("test ! -e press/new");
    assert_int_equal(files_restore_slot(dir, "press", FLIP_NEW, aside, &err), 0);
    assert_string_equal(seen(), "new/chain.pem=C new/csr.pem=R new/key.pem=K ");
    assert_int_equal(files_take_slot(dir, "press", FLIP_NEW, &aside, &err), 0);
    files_destroy(aside);
    shell("test -z \"$(ls -A press)\"");
}

static void both_slots(void)
{
    shell("mkdir -p press/old press/new && printf A >press/old/key.pem && printf B "
          ">press/new/key.pem");
}

static void a_retired_identity_is_in_the_archive(void **state)
{
    struct err err = {0};
    char *archived = NULL;

    (void)state;
    both_slots();
    for (int i = 1; FAULTS && i <= 2; i++) { /* the first move, and the second */
        arm(i == 1 ? "files.rename:1:EIO" : "files.rename:2:ENOSPC");
        assert_true(files_retire(dir, "press", 1700000000, FP_A, &archived, &err) < 0);
        arm("");
        assert_string_equal(seen(), "new/key.pem=B old/key.pem=A ");
    }
    assert_int_equal(files_retire(dir, "press", 1700000000, FP_A, &archived, &err), 0);
    assert_string_equal(seen(),
                        "archive/20231114T221320Z-aaaaaaaaaaaaaaaa/key.pem=A old/key.pem=B ");
    assert_int_equal(mode_of("archive"), 0700);
    assert_int_equal(files_unretire(dir, "press", archived, &err), 0);
    assert_string_equal(seen(), "new/key.pem=B old/key.pem=A ");
    assert_int_equal(files_retire(dir, "press", 1700000000, FP_A, &archived, &err), 0);
    free(archived);
    shell("mkdir press/new && printf C >press/new/key.pem");
    assert_int_equal(files_retire(dir, "press", 1700000000, FP_A, &archived, &err), 0);
    free(archived); /* within the same second, of the same name: another number */
    assert_string_equal(seen(),
                        "archive/20231114T221320Z-aaaaaaaaaaaaaaaa/key.pem=A "
                        "archive/20231114T221320Z.1-aaaaaaaaaaaaaaaa/key.pem=B old/key.pem=C ");
}

static void without_an_old_one_nothing_is_archived(void **state)
{
    struct err err = {0};
    char *archived = dir;

    (void)state;
    assert_int_equal(put("K", "C", "", &err), 0);
    assert_int_equal(files_retire(dir, "press", 1700000000, "", &archived, &err), 0);
    assert_null(archived);
    assert_string_equal(seen(), "old/chain.pem=C old/key.pem=K ");
    assert_int_equal(files_unretire(dir, "press", NULL, &err), 0);
    assert_string_equal(seen(), "new/chain.pem=C new/key.pem=K ");
}

/* The power goes at a point of a change; returns what the sweep says at the next start. */
static int cut_at(const char *point, int (*change)(struct err *err))
{
    struct err err = {0};
    int status;
    pid_t child;

    arm(point);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        change(&err);
        _exit(7); /* it did not pass */
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    arm("");
    if (!WIFSIGNALED(status))
        fail_msg("%s was not passed", point);
    return files_sweep(dir, "press", FP_A, &err);
}

static int retire(struct err *err)
{
    char *archived = NULL;
    int rc = files_retire(dir, "press", 1700000000, FP_A, &archived, err);

    free(archived);
    return rc;
}

static int take(struct err *err)
{
    char *aside = NULL;
    int rc = files_take_slot(dir, "press", FLIP_NEW, &aside, err);

    if (rc == 0)
        files_destroy(aside);
    return rc;
}

static void a_power_cut_leaves_all_or_nothing(void **state)
{
    static const char *const filling[] = {
        "files.mkdir",    "durable.write",   "durable.sync",  "durable.rename",
        "durable.sync:2", "durable.write:2", "files.filled",  "files.rename",
        "files.renamed",  "files.put",       "files.destroy",
    };
    static const char *const taking[] = {"files.mkdir", "files.rename", "files.renamed",
                                         "files.taken", "files.destroy"};
    static const char old[] = "new/csr.pem=R1 new/key.pem=K1 ";
    static const char new[] = "new/csr.pem=R2 new/key.pem=K2 ";
    struct err err = {0};
    bool changed = false;

    (void)state;
    if (!FAULTS)
        skip();
    for (size_t i = 0; i < sizeof(filling) / sizeof(filling[0]); i++) {
        assert_int_equal(put("K1", "", "R1", &err), 0);
        assert_int_equal(cut_at(filling[i], fill), 0);
        changed |= strcmp(seen(), old) != 0;
        assert_string_equal(seen(), changed ? new : old);
        shell("test $(ls -A press) = new");
    }
    assert_true(changed);
    changed = false;
    for (size_t i = 0; i < sizeof(taking) / sizeof(taking[0]); i++) {
        assert_int_equal(put("K1", "", "R1", &err), 0);
        assert_int_equal(cut_at(taking[i], take), 0);
        changed |= strcmp(seen(), old) != 0;
        assert_string_equal(seen(), changed ? "" : old);
        shell("test -z \"$(ls -A press | grep -v new)\"");
    }
    assert_true(changed);
}

/* A retirement that has not ended is undone, or has come so far that the new one is in its place.
 */
static void a_power_cut_leaves_one_that_is_in_use(void **state)
{
    static const struct {
        const char *point;
        int swept;
        bool retired;
    } cuts[] = {
        {"files.rename", 0, false},   {"files.renamed", 1, false},  {"files.archived", 1, false},
        {"files.rename:2", 1, false}, {"files.renamed:2", 0, true}, {"files.retired", 0, true},
    };

    (void)state;
    if (!FAULTS)
        skip();
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        shell("rm -rf press/*");
        both_slots();
        assert_int_equal(cut_at(cuts[i].point, retire), cuts[i].swept);
        assert_string_equal(
            seen(), cuts[i].retired
                        ? "archive/20231114T221320Z-aaaaaaaaaaaaaaaa/key.pem=A old/key.pem=B "
                        : "new/key.pem=B old/key.pem=A ");
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_slot_is_filled_and_filled_anew),     TEST(what_was_put_is_taken_back),
        TEST(what_is_no_folder_is_left_alone),      TEST(a_slot_is_taken_and_restored_or_destroyed),
        TEST(a_retired_identity_is_in_the_archive), TEST(without_an_old_one_nothing_is_archived),
        TEST(a_power_cut_leaves_all_or_nothing),    TEST(a_power_cut_leaves_one_that_is_in_use),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
