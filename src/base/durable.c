#include "base/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/str.h"

/* What a person can do about `errnum`, to be put behind the system's own words. */
static const char *remedy(int errnum)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
        return ": free some space";
    case EACCES:
    case EPERM:
        return ": check owner and mode of the file and of the folders above it";
    case EROFS:
        return ": remount it writable, or name a folder that is";
    case EIO:
        return ": check the disk";
    default:
        return "";
    }
}

static int refused(struct err *err, const char *what, const char *path)
{
    int errnum = errno;
    char text[128];

    return err_set(err, ERR_IO, "%s: cannot %s: %s%s", path, what,
                   strerror_r(errnum, text, sizeof(text)), remedy(errnum));
}

static int write_all(int fd, const void *data, size_t n)
{
    const uint8_t *p = data;

    while (n > 0) {
        ssize_t put = write(fd, p, n);

        if (put < 0) {
            if (errno == EINTR)
                continue;
            return -1;
        }
        p += put;
        n -= (size_t)put;
    }
    return 0;
}

/* The folder of `path`.  Returns owned, or NULL when out of memory. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL)
        return strdup(".");
    return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

int durable_sync_folder(const char *folder, struct err *err)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = 0;

    if (fd < 0)
        return refused(err, "open the folder to sync it", folder);
    if (fsync(fd) != 0)
        rc = refused(err, "sync the folder", folder);
    close(fd);
    return rc;
}

int durable_write(const char *path, const void *data, size_t n, mode_t mode, struct err *err)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash == NULL ? path : slash + 1;
    char *folder = folder_of(path);
    char *temp = folder == NULL ? NULL : str_printf("%s/.%s.XXXXXX", folder, base);
    bool made = false; /* the temporary file is there and must not stay */
    int fd = -1;
    int rc;

    if (temp == NULL) {
        rc = err_set(err, ERR_NOMEM, "%s: out of memory", path);
        goto out;
    }
    fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0) {
        rc = refused(err, "create a temporary file beside it", path);
        goto out;
    }
    made = true;
    crash_point("durable.write");
    if (fchmod(fd, mode) != 0 || write_all(fd, data, n) != 0) {
        rc = refused(err, "write", path);
        goto out;
    }
    crash_point("durable.sync");
    /* An fsync that failed once must not be tried again: the kernel may have dropped the pages. */
    if (fsync(fd) != 0) {
        rc = refused(err, "sync", path);
        goto out;
    }
    rc = close(fd);
    fd = -1;
    if (rc != 0) {
        rc = refused(err, "close", path);
        goto out;
    }
    crash_point("durable.rename");
    if (rename(temp, path) != 0) {
        rc = refused(err, "put the new file in place", path);
        goto out;
    }
    made = false;
    crash_point("durable.sync-folder");
    rc = durable_sync_folder(folder, err);
out:
    if (fd >= 0)
        close(fd);
    if (made)
        unlink(temp);
    free(temp);
    free(folder);
    return rc;
}

/* Read what the open file holds.  `out` has grown by it on success, and is as it was otherwise. */
static int read_all(int fd, const char *path, size_t size, struct buf *out, struct err *err)
{
    size_t start = out->len;
    int rc = 0;

    /* Room for all of it at once: growing would leave a copy of a secret behind in the heap. */
    if (buf_reserve(out, size + 1) != 0)
        return err_set(err, ERR_NOMEM, "%s: out of memory", path);
    for (;;) {
        size_t room = size + 1 - (out->len - start);
        ssize_t got = room == 0 ? 0 : read(fd, out->p + out->len, room);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            rc = refused(err, "read", path);
        if (got <= 0)
            break;
        out->len += (size_t)got;
    }
    if (rc == 0 && out->len - start > size)
        rc = err_set(err, ERR_IO, "%s: grew while it was read: try again", path);
    if (rc != 0) {
        explicit_bzero(out->p + start, out->len - start);
        out->len = start;
        if (start == 0) /* nobody frees what nothing was read into */
            buf_fini(out);
    }
    return rc;
}

int durable_read(const char *path, size_t max, struct buf *out, struct err *err)
{
    struct stat st;
    int rc;
    /* O_NONBLOCK: opening a FIFO or a device by mistake must not hang. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return err_set(err, ERR_NOT_FOUND, "%s: there is no such file: check the path", path);
    if (fd < 0)
        return refused(err, "open", path);
    if (fstat(fd, &st) != 0)
        rc = refused(err, "look at it", path);
    else if (!S_ISREG(st.st_mode))
        rc = err_set(err, ERR_IO, "%s: is not a regular file: check the path", path);
    else if ((uint64_t)st.st_size > max)
        rc = err_set(err, ERR_TOO_BIG,
                     "%s: has %lld bytes, at most %zu are taken: is it the right file?", path,
                     (long long)st.st_size, max);
    else
        rc = read_all(fd, path, (size_t)st.st_size, out, err);
    close(fd);
    return rc;
}

/* Make one folder, durably, unless it is there. */
static int make_one(const char *path, mode_t mode, struct err *err)
{
    struct stat st;
    char *above;
    int rc;

    if (stat(path, &st) == 0)
        return S_ISDIR(st.st_mode)
                   ? 0
                   : err_set(err, ERR_IO, "%s: is in the way, a folder is needed there: move it",
                             path);
    if (mkdir(path, mode) != 0)
        return errno == EEXIST ? 0 : refused(err, "make the folder", path);
    if (chmod(path, mode) != 0)
        return refused(err, "set the mode of the folder", path);
    above = folder_of(path);
    if (above == NULL)
        return err_set(err, ERR_NOMEM, "%s: out of memory", path);
    rc = durable_sync_folder(above, err);
    free(above);
    return rc;
}

int durable_mkdirs(const char *path, mode_t mode, struct err *err)
{
    char part[PATH_MAX];
    size_t n = strlen(path);
    int rc = 0;

    while (n > 1 && path[n - 1] == '/')
        n--;
    if (n == 0 || n >= sizeof(part))
        return err_set(err, ERR_TOO_BIG, "the path of a folder must have 1 to %zu bytes",
                       sizeof(part) - 1);
    for (size_t i = 1; i <= n && rc == 0; i++) {
        if (i < n && path[i] != '/')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        rc = make_one(part, mode, err);
    }
    return rc;
}
