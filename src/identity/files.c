#include "identity/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/durable.h"

#define FOLDER_MODE 0700
#define FILE_MODE   0600
#define ARCHIVE     "archive"
#define FP_SHOWN    16 /* hex digits of a fingerprint in a name */
#define ARCHIVE_TRY 100

static const char *const names[] = {
    [FILES_KEY] = "key.pem", [FILES_CHAIN] = "chain.pem", [FILES_CSR] = "csr.pem"};

#define URI_NAME "key.uri" /* of a key that is in a token */

static bool is_uri(struct slice text)
{
    static const char scheme[] = "pkcs11:";

    return text.n >= strlen(scheme) && memcmp(text.p, scheme, strlen(scheme)) == 0;
}

static int no_memory(struct err *err, const char *device)
{
    return err_set(err, ERR_NOMEM, "device %s: out of memory", device);
}

static const char *remedy(int errnum)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
        return ": free some space";
    case EACCES:
    case EPERM:
        return ": give the folder to the daemon's user: chown -R certflip";
    case EROFS:
        return ": remount it writable";
    case EINVAL:
        return ": this file system cannot exchange folders: empty the slot first (certflipctl "
               "discard)";
    case EIO:
        return ": check the disk";
    default:
        return "";
    }
}

static int refused(struct err *err, int errnum, const char *what, const char *path)
{
    char text[128];

    return err_set(err, ERR_IO, "%s: cannot %s: %s%s", path, what,
                   strerror_r(errnum, text, sizeof(text)), remedy(errnum));
}

/* -- paths -- */

static char *device_path(const char *dir, const char *device)
{
    return str_printf("%s/%s", dir, device);
}

static char *slot_path(const char *dir, const char *device, enum flip_slot slot)
{
    return str_printf("%s/%s/%s", dir, device, flip_slot_name(slot));
}

/* 1: a folder, 0: nothing, negative: something else is in its place. */
static int look(const char *path, struct err *err)
{
    struct stat st;

    if (lstat(path, &st) != 0)
        return errno == ENOENT ? 0 : refused(err, errno, "look at it", path);
    if (S_ISLNK(st.st_mode))
        return err_set(err, ERR_EXISTS,
                       "%s: is a symbolic link: put a folder there, with the files in it", path);
    if (!S_ISDIR(st.st_mode))
        return err_set(err, ERR_EXISTS, "%s: is in the way, a folder is needed there: move it",
                       path);
    return 1;
}

/* -- folders with a few files in them -- */

/* What is in the folder goes, then the folder; nothing is followed out of it. */
static void destroy(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;

    if (fd >= 0 && folder == NULL)
        close(fd);
    while (folder != NULL && (e = readdir(folder)) != NULL)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlinkat(dirfd(folder), e->d_name, 0);
    if (folder != NULL)
        closedir(folder);
    rmdir(path);
}

static int move(const char *from, const char *to, unsigned flags, struct err *err)
{
    int errnum = crash_errno("files.rename");

    if (errnum == 0 && renameat2(AT_FDCWD, from, AT_FDCWD, to, flags) != 0)
        errnum = errno;
    crash_point("files.renamed");
    return errnum == 0 ? 0 : refused(err, errnum, "move it", from);
}

/* An empty folder in the device's folder, whose name begins with a dot.  Returns owned, or NULL. */
static char *make_aside(const char *dir, const char *device, const char *what, struct err *err)
{
    char *path = str_printf("%s/%s/.%s.XXXXXX", dir, device, what);
    int errnum = crash_errno("files.mkdir");

    if (path == NULL) {
        no_memory(err, device);
        return NULL;
    }
    if (errnum == 0 && mkdtemp(path) == NULL)
        errnum = errno;
    if (errnum == 0)
        return path;
    refused(err, errnum, "make a folder", path);
    free(path);
    return NULL;
}

static int put_file(const char *folder, enum files_name name, struct slice text, struct err *err)
{
    char *path;
    int rc;

    if (text.n == 0)
        return 0;
    path = str_printf("%s/%s", folder, name == FILES_KEY && is_uri(text) ? URI_NAME : names[name]);
    if (path == NULL)
        return err_set(err, ERR_NOMEM, "%s: out of memory", folder);
    rc = durable_write(path, text.p, text.n, FILE_MODE, err);
    free(path);
    return rc;
}

/* Put the folder in the slot's place; where another one is, that is in `aside` afterwards, and 1 is
 * returned. */
static int exchange(const char *aside, const char *place, const char *folder, struct err *err)
{
    int there = look(place, err);
    int rc = there < 0 ? there : move(aside, place, there > 0 ? RENAME_EXCHANGE : 0, err);

    if (rc == 0 && (rc = durable_sync_folder(folder, err)) != 0)
        move(place, aside, there > 0 ? RENAME_EXCHANGE : 0, NULL);
    return rc == 0 ? there : rc;
}

static int fill(const char *aside, const struct files_slot *what, struct err *err)
{
    int rc = put_file(aside, FILES_KEY, what->key, err);

    if (rc == 0)
        rc = put_file(aside, FILES_CSR, what->csr, err);
    if (rc == 0)
        rc = put_file(aside, FILES_CHAIN, what->chain, err);
    return rc;
}

int files_put_slot(const char *dir, const char *device, enum flip_slot slot,
                   const struct files_slot *what, char **former, struct err *err)
{
    char *place = slot_path(dir, device, slot), *folder = device_path(dir, device);
    char *aside = NULL;
    int rc = place == NULL || folder == NULL ? no_memory(err, device) : 0;

    if (rc == 0 && (aside = make_aside(dir, device, flip_slot_name(slot), err)) == NULL)
        rc = -err->code;
    if (rc == 0)
        rc = fill(aside, what, err);
    crash_point("files.filled");
    if (rc == 0)
        rc = exchange(aside, place, folder, err);
    crash_point("files.put");
    if (rc < 0 && aside != NULL)
        destroy(aside);
    if (rc <= 0) {
        free(aside);
        aside = NULL;
    }
    free(place);
    free(folder);
    if (rc < 0)
        return rc;
    *former = aside;
    return 0;
}

int files_unput_slot(const char *dir, const char *device, enum flip_slot slot, char *former,
                     struct err *err)
{
    char *aside = NULL;
    int rc;

    if (former == NULL) {
        rc = files_take_slot(dir, device, slot, &aside, err);
    } else {
        char *place = slot_path(dir, device, slot), *folder = device_path(dir, device);

        rc = place == NULL || folder == NULL ? no_memory(err, device)
                                             : exchange(former, place, folder, err);
        if (rc >= 0)
            aside = former;
        else
            free(former);
        free(place);
        free(folder);
    }
    files_destroy(aside);
    return rc < 0 ? rc : 0;
}

/* The chain's name: cert.pem where that is there and chain.pem is not. */
static char *chain_path(const char *dir, const char *device, enum flip_slot slot)
{
    char *chain = str_printf("%s/%s/%s/chain.pem", dir, device, flip_slot_name(slot));
    char *cert = str_printf("%s/%s/%s/cert.pem", dir, device, flip_slot_name(slot));

    if (chain != NULL && cert != NULL && access(chain, F_OK) != 0 && access(cert, F_OK) == 0) {
        free(chain);
        return cert;
    }
    free(cert);
    return chain;
}

/* The key's name: key.uri where that is there and key.pem is not. */
static char *key_path(const char *dir, const char *device, enum flip_slot slot)
{
    char *key = str_printf("%s/%s/%s/key.pem", dir, device, flip_slot_name(slot));
    char *uri = str_printf("%s/%s/%s/" URI_NAME, dir, device, flip_slot_name(slot));

    if (key != NULL && uri != NULL && access(key, F_OK) != 0 && access(uri, F_OK) == 0) {
        free(key);
        return uri;
    }
    free(uri);
    return key;
}

int files_get(const char *dir, const char *device, enum flip_slot slot, enum files_name name,
              struct buf *out, struct err *err)
{
    char *path = name == FILES_CHAIN ? chain_path(dir, device, slot)
                 : name == FILES_KEY
                     ? key_path(dir, device, slot)
                     : str_printf("%s/%s/%s/%s", dir, device, flip_slot_name(slot), names[name]);
    int rc = path == NULL ? no_memory(err, device) : durable_read(path, FILES_MAX_BYTES, out, err);

    free(path);
    return rc;
}

/* -- taking a slot away -- */

int files_take_slot(const char *dir, const char *device, enum flip_slot slot, char **aside,
                    struct err *err)
{
    char *place = slot_path(dir, device, slot), *folder = device_path(dir, device);
    char *to = NULL;
    int rc = place == NULL || folder == NULL ? no_memory(err, device) : look(place, err);

    if (rc == 0)
        rc = err_set(err, ERR_NOT_FOUND, "%s: there is no such folder", place);
    if (rc > 0) {
        to = make_aside(dir, device, "gone", err);
        rc = to == NULL ? -err->code : move(place, to, 0, err); /* over the empty one */
        if (rc == 0 && (rc = durable_sync_folder(folder, err)) != 0)
            move(to, place, 0, NULL);
        if (rc != 0 && to != NULL)
            rmdir(to);
    }
    crash_point("files.taken");
    free(place);
    free(folder);
    if (rc == 0)
        *aside = to;
    else
        free(to);
    return rc;
}

int files_restore_slot(const char *dir, const char *device, enum flip_slot slot, char *aside,
                       struct err *err)
{
    char *place = slot_path(dir, device, slot), *folder = device_path(dir, device);
    int rc = place == NULL || folder == NULL ? no_memory(err, device) : move(aside, place, 0, err);

    if (rc == 0)
        rc = durable_sync_folder(folder, err);
    free(place);
    free(folder);
    free(aside);
    return rc;
}

void files_destroy(char *aside)
{
    if (aside == NULL)
        return;
    crash_point("files.destroy");
    destroy(aside);
    free(aside);
}

/* -- retiring -- */

/* The archive of a device, made when it is not there.  Returns owned, or NULL. */
static char *archive_path(const char *dir, const char *device, struct err *err)
{
    char *path = str_printf("%s/%s/" ARCHIVE, dir, device);

    if (path == NULL) {
        no_memory(err, device);
        return NULL;
    }
    if (durable_mkdirs(path, FOLDER_MODE, err) == 0)
        return path;
    free(path);
    return NULL;
}

/* Move the old slot into the archive, under a name that is not taken yet.  Returns owned, or NULL.
 */
static char *archive(const char *archive_folder, const char *old, int64_t now_s, const char *fp,
                     struct err *err)
{
    time_t when = (time_t)now_s;
    char stamp[32];
    struct tm tm;

    gmtime_r(&when, &tm);
    strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
    for (unsigned i = 0; i < ARCHIVE_TRY; i++) {
        char number[16] = "", *to;

        if (i > 0)
            snprintf(number, sizeof(number), ".%u", i);
        to = str_printf("%s/%s%s-%.*s", archive_folder, stamp, number, FP_SHOWN,
                        *fp == '\0' ? "unknown" : fp);
        if (to == NULL) {
            err_set(err, ERR_NOMEM, "%s: out of memory", archive_folder);
            return NULL;
        }
        if (access(to, F_OK) != 0) {
            if (move(old, to, 0, err) == 0)
                return to;
            free(to);
            return NULL;
        }
        free(to);
    }
    err_set(err, ERR_EXISTS, "%s: is full of identities of this second", archive_folder);
    return NULL;
}

/* All the paths of a retirement. */
struct places {
    char *device, *old, *new; /* owned */
};

static int places_init(struct places *p, const char *dir, const char *device, struct err *err)
{
    p->device = device_path(dir, device);
    p->old = slot_path(dir, device, FLIP_OLD);
    p->new = slot_path(dir, device, FLIP_NEW);
    return p->device == NULL || p->old == NULL || p->new == NULL ? no_memory(err, device) : 0;
}

static void places_fini(struct places *p)
{
    free(p->device);
    free(p->old);
    free(p->new);
}

/* What was moved goes back as far as it goes; what a failing disk keeps is found by the sweep. */
static void move_back(const struct places *p, const char *archived, bool moved)
{
    if (moved)
        move(p->old, p->new, 0, NULL);
    if (archived != NULL)
        move(archived, p->old, 0, NULL);
    durable_sync_folder(p->device, NULL);
}

int files_retire(const char *dir, const char *device, int64_t now_s, const char *old_fp,
                 char **archived, struct err *err)
{
    struct places p;
    char *archive_folder = NULL, *to = NULL;
    bool moved = false;
    int rc = places_init(&p, dir, device, err), there = 0;

    if (rc == 0 && (there = look(p.new, err)) <= 0)
        rc = there < 0 ? there : err_set(err, ERR_NOT_FOUND, "%s: there is no such folder", p.new);
    if (rc == 0 && (there = look(p.old, err)) < 0)
        rc = there;
    if (rc == 0 && there > 0) {
        archive_folder = archive_path(dir, device, err);
        to = archive_folder == NULL ? NULL : archive(archive_folder, p.old, now_s, old_fp, err);
        rc = to == NULL ? -err->code : durable_sync_folder(archive_folder, err);
        if (rc == 0)
            rc = durable_sync_folder(p.device, err);
    }
    crash_point("files.archived");
    if (rc == 0 && (rc = move(p.new, p.old, 0, err)) == 0) {
        moved = true;
        rc = durable_sync_folder(p.device, err);
    }
    crash_point("files.retired");
    if (rc != 0)
        move_back(&p, to, moved);
    places_fini(&p);
    free(archive_folder);
    if (rc == 0)
        *archived = to;
    else
        free(to);
    return rc;
}

int files_unretire(const char *dir, const char *device, char *archived, struct err *err)
{
    struct places p;
    int rc = places_init(&p, dir, device, err);

    if (rc == 0)
        rc = move(p.old, p.new, 0, err);
    if (rc == 0 && archived != NULL)
        rc = move(archived, p.old, 0, err);
    if (rc == 0)
        rc = durable_sync_folder(p.device, err);
    places_fini(&p);
    free(archived);
    return rc;
}

/* -- after a power cut -- */

/* ".key.pem.XXXXXX" and the like. */
static bool is_leftover_file(const char *name)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t n = strlen(names[i]);

        if (name[0] == '.' && strncmp(name + 1, names[i], n) == 0 && name[1 + n] == '.')
            return true;
    }
    return strncmp(name, ".cert.pem.", 10) == 0 ||
           strncmp(name, "." URI_NAME ".", strlen(URI_NAME) + 2) == 0;
}

static bool is_leftover_folder(const char *name)
{
    return strncmp(name, ".new.", 5) == 0 || strncmp(name, ".old.", 5) == 0 ||
           strncmp(name, ".gone.", 6) == 0;
}

static void sweep_slot(const char *path)
{
    DIR *folder = opendir(path);
    const struct dirent *e;

    while (folder != NULL && (e = readdir(folder)) != NULL)
        if (is_leftover_file(e->d_name))
            unlinkat(dirfd(folder), e->d_name, 0);
    if (folder != NULL)
        closedir(folder);
}

static void sweep_device(const struct places *p)
{
    DIR *folder = opendir(p->device);
    const struct dirent *e;

    while (folder != NULL && (e = readdir(folder)) != NULL) {
        char *path;

        if (!is_leftover_folder(e->d_name))
            continue;
        path = str_printf("%s/%s", p->device, e->d_name);
        if (path != NULL)
            destroy(path);
        free(path);
    }
    if (folder != NULL)
        closedir(folder);
    sweep_slot(p->old);
    sweep_slot(p->new);
}

/* The newest of the archive with this fingerprint; names begin with the time.  Returns owned. */
static char *find_archived(const char *dir, const char *device, const char *fp)
{
    char *path = str_printf("%s/%s/" ARCHIVE, dir, device), *found = NULL;
    char newest[256] = "";
    DIR *folder = path == NULL ? NULL : opendir(path);
    const struct dirent *e;

    while (folder != NULL && (e = readdir(folder)) != NULL) {
        const char *dash = strrchr(e->d_name, '-');

        if (dash != NULL && strncmp(dash + 1, fp, FP_SHOWN) == 0 && dash[1 + FP_SHOWN] == '\0' &&
            strcmp(e->d_name, newest) > 0)
            snprintf(newest, sizeof(newest), "%s", e->d_name);
    }
    if (folder != NULL)
        closedir(folder);
    if (*newest != '\0')
        found = str_printf("%s/%s", path, newest);
    free(path);
    return found;
}

int files_sweep(const char *dir, const char *device, const char *old_fp, struct err *err)
{
    struct places p;
    char *archived;
    int rc = places_init(&p, dir, device, err);

    if (rc == 0) {
        sweep_device(&p);
        if (strlen(old_fp) >= FP_SHOWN && look(p.old, NULL) == 0 && look(p.new, NULL) > 0 &&
            (archived = find_archived(dir, device, old_fp)) != NULL) {
            rc = move(archived, p.old, 0, err);
            if (rc == 0)
                rc = durable_sync_folder(p.device, err);
            free(archived);
            rc = rc == 0 ? 1 : rc;
        }
    }
    places_fini(&p);
    return rc;
}
