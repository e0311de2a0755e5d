#include "cli/find.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"

#define MARK "{device}"

enum kind { NOTHING, CONTAINER, CERTIFICATE, KEY };

struct ending {
    const char *text;
    enum kind kind;
};

/* The longer one first. */
static const struct ending endings[] = {
    {"-key.pem", KEY},     {".key.pem", KEY},      {".key", KEY},         {".p8", KEY},
    {".p12", CONTAINER},   {".pfx", CONTAINER},    {".pem", CERTIFICATE}, {".crt", CERTIFICATE},
    {".cer", CERTIFICATE}, {".cert", CERTIFICATE}, {".der", CERTIFICATE},
};

static int no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory");
}

/* -- folders ----------------------------------------------------------------------------------- */

static int is_visible(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int list(const char *path, struct dirent ***entries, struct err *err)
{
    int n = scandir(path, entries, is_visible, by_bytes);

    if (n >= 0)
        return n;
    if (errno == ENOENT || errno == ENOTDIR)
        return err_set(err, ERR_NOT_FOUND, "%s: there is no such folder: check the path", path);
    return err_errno(err, errno, "%s: cannot read the folder", path);
}

static void list_free(struct dirent **entries, int n)
{
    for (int i = 0; i < n; i++)
        free(entries[i]);
    free(entries);
}

/* What is there: a folder, a regular file, or neither. */
static mode_t what_is(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? st.st_mode & S_IFMT : 0;
}

/* -- identities -------------------------------------------------------------------------------- */

/* The one of this device and slot, made when it is not there; NULL without memory. */
static struct find_item *item_of(struct find *f, const char *device, size_t n, const char *slot)
{
    struct find_item *grown;

    for (size_t i = f->count; i-- > 0;) {
        struct find_item *it = &f->items[i];

        if (strlen(it->device) == n && memcmp(it->device, device, n) == 0 && it->slot == slot)
            return it;
    }
    grown = realloc(f->items, (f->count + 1) * sizeof(*grown));
    if (grown == NULL)
        return NULL;
    f->items = grown;
    grown = &f->items[f->count];
    *grown = (struct find_item){.device = strndup(device, n), .slot = slot};
    if (grown->device == NULL)
        return NULL;
    f->count++;
    return grown;
}

/* Takes `path`, which may be NULL. */
static int add_file(struct find_item *it, char *path, struct err *err)
{
    if (path == NULL || it == NULL) {
        free(path);
        return no_memory(err);
    }
    if (it->count == FIND_FILES_MAX) {
        it->more++;
        free(path);
        return 0;
    }
    it->files[it->count++] = path;
    return 0;
}

/* What the name says of the file; *n: how many bytes of it stand before the ending. */
static enum kind kind_of(const char *name, size_t *n)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        size_t end = strlen(endings[i].text);

        if (len > end && strcasecmp(name + len - end, endings[i].text) == 0) {
            *n = len - end;
            return endings[i].kind;
        }
    }
    return NOTHING;
}

/* -- the layouts that are known ---------------------------------------------------------------- */

/* A folder that holds one identity: the files of it that may belong to one. */
static int take_folder(struct find *f, const char *device, const char *slot, const char *path,
                       struct err *err)
{
    struct dirent **entries = NULL;
    int n = list(path, &entries, err), rc = 0;

    for (int i = 0; i < n && rc == 0; i++) {
        char *file = str_printf("%s/%s", path, entries[i]->d_name);
        size_t unused;

        if (file == NULL) {
            rc = no_memory(err);
        } else if (!S_ISREG(what_is(file))) {
            free(file);
        } else if (kind_of(entries[i]->d_name, &unused) == NOTHING) {
            f->left++;
            free(file);
        } else {
            rc = add_file(item_of(f, device, strlen(device), slot), file, err);
        }
    }
    list_free(entries, n);
    return n < 0 ? n : rc;
}

/* DEVICE/: its slots, or what lies in it. */
static int take_device(struct find *f, const char *device, const char *path, struct err *err)
{
    static const char *const slots[] = {"old", "new"};
    bool any = false;
    int rc = 0;

    for (size_t i = 0; i < 2 && rc == 0; i++) {
        char *folder = str_printf("%s/%s", path, slots[i]);

        if (folder == NULL)
            return no_memory(err);
        if (S_ISDIR(what_is(folder))) {
            any = true;
            rc = take_folder(f, device, slots[i], folder, err);
        }
        free(folder);
    }
    return rc == 0 && !any ? take_folder(f, device, NULL, path, err) : rc;
}

/* A name that has a certificate beside it: is there NAME.pem or its like among the entries? */
static bool has_certificate(struct dirent *const *entries, int n, const char *name, size_t len)
{
    for (int i = 0; i < n; i++) {
        size_t at = 0;

        if (kind_of(entries[i]->d_name, &at) == CERTIFICATE && at == len &&
            memcmp(entries[i]->d_name, name, len) == 0)
            return true;
    }
    return false;
}

static int find_known(const char *dir, struct find *f, struct err *err)
{
    struct dirent **entries = NULL;
    int n = list(dir, &entries, err), rc = 0;

    for (int i = 0; i < n && rc == 0; i++) {
        const char *name = entries[i]->d_name;
        char *path = str_printf("%s/%s", dir, name);
        size_t len = 0;
        enum kind kind = kind_of(name, &len);
        mode_t what = path == NULL ? 0 : what_is(path);

        if (path == NULL) {
            rc = no_memory(err);
        } else if (S_ISDIR(what)) {
            rc = take_device(f, name, path, err);
        } else if (!S_ISREG(what) || kind == NOTHING ||
                   (kind == KEY && !has_certificate(entries, n, name, len))) {
            f->left += S_ISREG(what);
        } else {
            rc = add_file(item_of(f, name, len, NULL), path, err);
            path = NULL;
        }
        free(path);
    }
    list_free(entries, n);
    return n < 0 ? n : rc;
}

/* -- patterns ---------------------------------------------------------------------------------- */

/* "a/{device}-x/b.pem" in its parts; borrowed from the pattern. */
struct pattern {
    const char *before; /* "a/": folders without the mark */
    size_t before_n;
    const char *head; /* of the part with the mark: "" */
    size_t head_n;
    const char *tail; /* "-x" */
    size_t tail_n;
    const char *after; /* "/b.pem" */
};

/* False with err when it is none. */
static bool parse_pattern(const char *text, struct pattern *out, struct err *err)
{
    const char *mark = strstr(text, MARK), *slash;

    if (mark == NULL || strstr(mark + strlen(MARK), MARK) != NULL) {
        (void)err_set(err, ERR_INVALID,
                      "pattern \"%s\": must hold " MARK " once, as in \"" MARK ".p12\"", text);
        return false;
    }
    slash = memrchr(text, '/', (size_t)(mark - text));
    out->before = text;
    out->before_n = slash == NULL ? 0 : (size_t)(slash + 1 - text);
    out->head = text + out->before_n;
    out->head_n = (size_t)(mark - out->head);
    out->tail = mark + strlen(MARK);
    out->tail_n = strcspn(out->tail, "/");
    out->after = out->tail + out->tail_n;
    return true;
}

/* The device that an entry's name stands for: *n bytes at the return, or NULL. */
static const char *device_in(const struct pattern *p, const char *name, size_t *n)
{
    size_t len = strlen(name);

    if (len <= p->head_n + p->tail_n || memcmp(name, p->head, p->head_n) != 0 ||
        memcmp(name + len - p->tail_n, p->tail, p->tail_n) != 0)
        return NULL;
    *n = len - p->head_n - p->tail_n;
    return name + p->head_n;
}

/* The file that the pattern names for a device.  Returns owned, or NULL. */
static char *file_of(const char *dir, const struct pattern *p, const char *device, size_t n)
{
    return str_printf("%s/%.*s%.*s%.*s%.*s%s", dir, (int)p->before_n, p->before, (int)p->head_n,
                      p->head, (int)n, device, (int)p->tail_n, p->tail, p->after);
}

static int find_pattern(const char *dir, const struct pattern *p, const struct pattern *key,
                        struct find *f, struct err *err)
{
    char *folder = str_printf("%s/%.*s", dir, (int)p->before_n, p->before);
    struct dirent **entries = NULL;
    int n, rc = 0;

    if (folder == NULL)
        return no_memory(err);
    n = list(folder, &entries, err);
    for (int i = 0; i < n && rc == 0; i++) {
        size_t len = 0;
        const char *device = device_in(p, entries[i]->d_name, &len);
        char *path = device == NULL ? NULL : file_of(dir, p, device, len);

        if (device == NULL || (path != NULL && !S_ISREG(what_is(path)))) {
            f->left += device == NULL;
            free(path);
            continue;
        }
        rc = add_file(item_of(f, device, len, NULL), path, err);
        if (rc == 0 && key != NULL)
            rc = add_file(item_of(f, device, len, NULL), file_of(dir, key, device, len), err);
    }
    list_free(entries, n);
    free(folder);
    return n < 0 ? n : rc;
}

/* -- together ---------------------------------------------------------------------------------- */

int find_identities(const char *dir, const char *pattern, const char *key_pattern, struct find *out,
                    struct err *err)
{
    struct find f = {0};
    struct pattern p, key;
    int rc;

    if (pattern == NULL)
        rc = find_known(dir, &f, err);
    else if (!parse_pattern(pattern, &p, err) ||
             (key_pattern != NULL && !parse_pattern(key_pattern, &key, err)))
        rc = -ERR_INVALID;
    else
        rc = find_pattern(dir, &p, key_pattern == NULL ? NULL : &key, &f, err);
    if (rc != 0) {
        find_fini(&f);
        return rc;
    }
    *out = f;
    return 0;
}

void find_fini(struct find *f)
{
    for (size_t i = 0; i < f->count; i++) {
        free(f->items[i].device);
        for (size_t k = 0; k < f->items[i].count; k++)
            free(f->items[i].files[k]);
    }
    free(f->items);
    *f = (struct find){0};
}
