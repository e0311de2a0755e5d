/* Durable files.  Each system call on the way can be made to fail; the file is then as it was. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
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

#include "base/durable.h"
#include "base/str.h"
#include "real_names.h"
#include "scratch.h"

/* clang-format off */
#define CALLS(X) X(mkostemp) X(fchmod) X(write) X(fsync) X(close) X(rename) X(open) X(read) X(fstat) \
                 X(mkdir) X(chmod) X(realloc) X(strdup) X(strndup)
/* clang-format on */
#define CALL_ENUM(name) C_##name,
enum call { CALLS(CALL_ENUM) CALL_COUNT };

static int countdown[CALL_COUNT]; /* the n-th call from now fails; 0: none */
static int error[CALL_COUNT];
static size_t most_at_once; /* of a write or read; 0: no bound */
static int eintrs;
static const char *grow; /* a file that gets a byte longer with the next read */

static void fails(enum call c, int nth, int errnum)
{
    memset(countdown, 0, sizeof(countdown));
    countdown[c] = nth;
    error[c] = errnum;
}

static bool due(enum call c)
{
    if (countdown[c] == 0 || --countdown[c] > 0)
        return false;
    errno = error[c];
    return true;
}

#define WRAP(type, name, decl, args, failed)                  \
    type __real_##name decl;                                  \
    type __wrap_##name decl;                                  \
    type __wrap_##name decl                                   \
    {                                                         \
        return due(C_##name) ? (failed) : __real_##name args; \
    }

int __real_mkostemp(char *t, int f) NAME_64("__real_mkostemp64");
int __wrap_mkostemp(char *t, int f) NAME_64("__wrap_mkostemp64");
int __real_fstat(int fd, struct stat *st) NAME_64("__real___fstat64_time64");
int __wrap_fstat(int fd, struct stat *st) NAME_64("__wrap___fstat64_time64");

WRAP(int, mkostemp, (char *t, int f), (t, f), -1)
WRAP(int, fchmod, (int fd, mode_t m), (fd, m), -1)
WRAP(int, rename, (const char *a, const char *b), (a, b), -1)
WRAP(int, fsync, (int fd), (fd), -1)
WRAP(int, fstat, (int fd, struct stat *st), (fd, st), -1)
WRAP(int, mkdir, (const char *p, mode_t m), (p, m), -1)
WRAP(int, chmod, (const char *p, mode_t m), (p, m), -1)
WRAP(void *, realloc, (void *p, size_t n), (p, n), NULL)
WRAP(char *, strdup, (const char *s), (s), NULL)
WRAP(char *, strndup, (const char *s, size_t n), (s, n), NULL)

int __real_close(int fd);
int __wrap_close(int fd);
int __real_open(const char *path, int flags, ...) NAME_64("__real_open64");
int __wrap_open(const char *path, int flags, ...) NAME_64("__wrap_open64");
ssize_t __real_write(int fd, const void *p, size_t n);
ssize_t __wrap_write(int fd, const void *p, size_t n);
ssize_t __real_read(int fd, void *p, size_t n);
ssize_t __wrap_read(int fd, void *p, size_t n);

int __wrap_close(int fd)
{
    int rc = __real_close(fd); /* also a failed close closes */

    return due(C_close) ? -1 : rc;
}

int __wrap_open(const char *path, int flags, ...)
{
    return due(C_open) ? -1 : __real_open(path, flags, 0600);
}

static bool interrupted(void)
{
    if (eintrs == 0)
        return false;
    eintrs--;
    errno = EINTR;
    return true;
}

ssize_t __wrap_write(int fd, const void *p, size_t n)
{
    if (due(C_write) || interrupted())
        return -1;
    return __real_write(fd, p, most_at_once != 0 && n > most_at_once ? most_at_once : n);
}

ssize_t __wrap_read(int fd, void *p, size_t n)
{
    if (due(C_read) || interrupted())
        return -1;
    if (grow != NULL) {
        int other = __real_open(grow, O_WRONLY | O_APPEND);

        grow = NULL;
        assert_int_equal(__real_write(other, "+", 1), 1);
        __real_close(other);
    }
    return __real_read(fd, p, most_at_once != 0 && n > most_at_once ? most_at_once : n);
}

static char folder[64];
static char file[80];

static int begin(void **unused)
{
    (void)unused;
    memset(countdown, 0, sizeof(countdown));
    most_at_once = 0;
    eintrs = 0;
    if (!scratch_make(folder, sizeof(folder)))
        return -1;
    snprintf(file, sizeof(file), "%s/state", folder);
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int end(void **unused)
{
    (void)unused;
    memset(countdown, 0, sizeof(countdown));
    return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static unsigned files_in_folder(void)
{
    DIR *d = opendir(folder);
    unsigned n = 0;

    assert_non_null(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n - 2; /* . and .. */
}

static void file_holds(const char *expected)
{
    struct buf b = {0};

    assert_int_equal(durable_read(file, 1000, &b, NULL), 0);
    assert_int_equal(b.len, strlen(expected));
    assert_memory_equal(b.p, expected, b.len);
    buf_fini(&b);
}

static void what_is_written_can_be_read(void **unused)
{
    struct err err = {0};
    struct stat st;
    mode_t mask = umask(077);

    (void)unused;
    assert_int_equal(durable_write(file, "one", 3, 0644, &err), 0);
    file_holds("one");
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644); /* whatever the umask */
    assert_int_equal(durable_write(file, "two and more", 12, 0600, &err), 0);
    file_holds("two and more");
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(durable_write(file, NULL, 0, 0600, &err), 0);
    file_holds("");
    assert_int_equal(files_in_folder(), 1);
    umask(mask);
}

static void a_name_without_folder_is_in_the_current_one(void **unused)
{
    char before[PATH_MAX];

    (void)unused;
    assert_non_null(getcwd(before, sizeof(before)));
    assert_int_equal(chdir(folder), 0);
    assert_int_equal(durable_write("state", "here", 4, 0600, NULL), 0);
    file_holds("here");
    assert_int_equal(chdir(before), 0);
}

static void short_and_interrupted_calls_go_on(void **unused)
{
    (void)unused;
    most_at_once = 3;
    eintrs = 2;
    assert_int_equal(durable_write(file, "abcdefgh", 8, 0600, NULL), 0);
    assert_int_equal(eintrs, 0);
    eintrs = 2;
    file_holds("abcdefgh");
    assert_int_equal(eintrs, 0);
}

static void whatever_fails_the_file_is_as_it_was(void **unused)
{
    /* clang-format off */
    static const struct { enum call call; int nth, errnum, rc; const char *says; } rows[] = {
        { C_mkostemp, 1, EACCES, -ERR_IO,    "*/state: cannot create*: Permission denied: check owner*" },
        { C_mkostemp, 1, EROFS,  -ERR_IO,    "*Read-only file system: remount*" },
        { C_fchmod,   1, EPERM,  -ERR_IO,    "*/state: cannot write: *" },
        { C_write,    1, ENOSPC, -ERR_IO,    "*/state: cannot write: No space left on device: free*" },
        { C_write,    2, EDQUOT, -ERR_IO,    "*/state: cannot write: Disk quota exceeded: free*" },
        { C_fsync,    1, EIO,    -ERR_IO,    "*/state: cannot sync: *: check the disk" },
        { C_close,    1, EIO,    -ERR_IO,    "*/state: cannot close: *" },
        { C_rename,   1, EBUSY,  -ERR_IO,    "*/state: cannot put the new file in place: *" },
        { C_strndup,  1, ENOMEM, -ERR_NOMEM, "*/state: out of memory" },
    };
    /* clang-format on */
    struct err err;

    (void)unused;
    assert_int_equal(durable_write(file, "former", 6, 0600, NULL), 0);
    most_at_once = 4; /* so that there is a second write */
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        fails(rows[i].call, rows[i].nth, rows[i].errnum);
        err = (struct err){0};
        assert_int_equal(durable_write(file, "new content", 11, 0600, &err), rows[i].rc);
        assert_int_equal(countdown[rows[i].call], 0);
        assert_int_equal(err.code, -rows[i].rc);
        if (!str_glob(rows[i].says, err.msg))
            fail_msg("row %zu says: %s", i, err.msg);
        file_holds("former");
        assert_int_equal(files_in_folder(), 1);
    }
}

static void an_unsynced_folder_is_reported(void **unused)
{
    struct err err;

    (void)unused;
    fails(C_fsync, 2, EIO);
    assert_int_equal(durable_write(file, "new", 3, 0600, &err), -ERR_IO);
    assert_true(str_glob("*: cannot sync the folder: *", err.msg));
    fails(C_open, 1, EMFILE);
    assert_int_equal(durable_write(file, "new", 3, 0600, &err), -ERR_IO);
    assert_true(str_glob("*: cannot open the folder to sync it: *", err.msg));
    assert_int_equal(files_in_folder(), 1);
}

static void a_missing_folder_is_reported(void **unused)
{
    struct err err;

    (void)unused;
    snprintf(file, sizeof(file), "%s/none/state", folder);
    assert_int_equal(durable_write(file, "x", 1, 0600, &err), -ERR_IO);
    assert_true(str_glob("*/none/state: cannot create*: No such file or directory", err.msg));
}

static void reading_appends_and_is_bounded(void **unused)
{
    struct buf b = {0};
    struct err err;

    (void)unused;
    assert_int_equal(durable_write(file, "12345", 5, 0600, NULL), 0);
    assert_int_equal(buf_append(&b, "0", 1), 0);
    assert_int_equal(durable_read(file, 5, &b, &err), 0);
    assert_int_equal(b.len, 6);
    assert_memory_equal(b.p, "012345", 6);
    assert_int_equal(durable_read(file, 4, &b, &err), -ERR_TOO_BIG);
    assert_true(str_glob("*/state: has 5 bytes, at most 4*", err.msg));
    assert_int_equal(b.len, 6);
    buf_fini(&b);
}

static void reading_what_is_no_file(void **unused)
{
    struct buf b = {0};
    struct err err;

    (void)unused;
    assert_int_equal(durable_read(file, 10, &b, &err), -ERR_NOT_FOUND);
    assert_true(str_glob("*/state: there is no such file*", err.msg));
    assert_int_equal(durable_read(folder, 10, &b, &err), -ERR_IO);
    assert_true(str_glob("*is not a regular file*", err.msg));
    assert_int_equal(mkfifo(file, 0600), 0);
    assert_int_equal(durable_read(file, 10, &b, &err), -ERR_IO); /* and it does not hang */
    assert_null(b.p);
}

static void a_failed_read_leaves_the_buffer_as_it_was(void **unused)
{
    struct buf b = {0};
    struct err err;

    (void)unused;
    assert_int_equal(durable_write(file, "12345", 5, 0600, NULL), 0);
    assert_int_equal(buf_append(&b, "keep", 4), 0);
    most_at_once = 2;
    fails(C_read, 2, EIO);
    assert_int_equal(durable_read(file, 10, &b, &err), -ERR_IO);
    assert_true(str_glob("*/state: cannot read: *", err.msg));
    assert_int_equal(b.len, 4);
    assert_int_equal(b.p[4], 0); /* wiped */
    fails(C_open, 1, EACCES);
    assert_int_equal(durable_read(file, 10, &b, &err), -ERR_IO);
    assert_true(str_glob("*/state: cannot open: Permission denied: check owner*", err.msg));
    fails(C_fstat, 1, EIO);
    assert_int_equal(durable_read(file, 10, &b, &err), -ERR_IO);
    buf_fini(&b);
    fails(C_realloc, 1, ENOMEM);
    assert_int_equal(durable_read(file, 10, &b, &err), -ERR_NOMEM);
    grow = file;
    assert_int_equal(durable_read(file, 10, &b, &err), -ERR_IO);
    assert_true(str_glob("*/state: grew while it was read*", err.msg));
    assert_int_equal(b.len, 0);
    assert_null(b.p); /* there is nothing to free for whoever had nothing */
    buf_fini(&b);
}

static void folders_are_made_all_the_way(void **unused)
{
    char deep[96];
    struct stat st;
    mode_t mask = umask(077);

    (void)unused;
    snprintf(deep, sizeof(deep), "%s/a//b/c///", folder);
    assert_int_equal(durable_mkdirs(deep, 0750, NULL), 0);
    assert_int_equal(stat(deep, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0750);
    assert_int_equal(durable_mkdirs(deep, 0700, NULL), 0);
    assert_int_equal(stat(deep, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0750); /* it was there: left alone */
    assert_int_equal(durable_mkdirs("/", 0700, NULL), 0);
    assert_int_equal(durable_mkdirs(".", 0700, NULL), 0);
    umask(mask);
}

static void folders_that_cannot_be_made(void **unused)
{
    char path[96];
    char longest[PATH_MAX + 10];
    struct err err;

    (void)unused;
    assert_int_equal(durable_write(file, "x", 1, 0600, NULL), 0);
    assert_int_equal(durable_mkdirs(file, 0700, &err), -ERR_IO);
    assert_true(str_glob("*/state: is in the way*", err.msg));
    snprintf(path, sizeof(path), "%s/under", file);
    assert_int_equal(durable_mkdirs(path, 0700, &err), -ERR_IO);
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(durable_mkdirs(longest, 0700, &err), -ERR_TOO_BIG);
    assert_int_equal(durable_mkdirs("", 0700, &err), -ERR_TOO_BIG);
    snprintf(path, sizeof(path), "%s/d", folder);
    fails(C_mkdir, 1, ENOSPC);
    assert_int_equal(durable_mkdirs(path, 0700, &err), -ERR_IO);
    assert_true(str_glob("*/d: cannot make the folder: No space*: free some space", err.msg));
    fails(C_chmod, 1, EPERM);
    assert_int_equal(durable_mkdirs(path, 0700, &err), -ERR_IO);
    assert_int_equal(rmdir(path), 0);
    fails(C_fsync, 1, EIO);
    assert_int_equal(durable_mkdirs(path, 0700, &err), -ERR_IO);
    assert_int_equal(rmdir(path), 0);
    fails(C_strndup, 1, ENOMEM);
    assert_int_equal(durable_mkdirs(path, 0700, &err), -ERR_NOMEM);
    assert_int_equal(rmdir(path), 0);
    fails(C_mkdir, 1, EEXIST); /* somebody else was faster */
    assert_int_equal(durable_mkdirs(path, 0700, &err), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_written_can_be_read),
        TEST(a_name_without_folder_is_in_the_current_one),
        TEST(short_and_interrupted_calls_go_on),
        TEST(whatever_fails_the_file_is_as_it_was),
        TEST(an_unsynced_folder_is_reported),
        TEST(a_missing_folder_is_reported),
        TEST(reading_appends_and_is_bounded),
        TEST(reading_what_is_no_file),
        TEST(a_failed_read_leaves_the_buffer_as_it_was),
        TEST(folders_are_made_all_the_way),
        TEST(folders_that_cannot_be_made),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
