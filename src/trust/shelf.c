#include "trust/shelf.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/durable.h"
#include "base/str.h"

#define FOLDER_MODE    0700
#define FILE_MODE      0600
#define MAX_FILE_BYTES ((size_t)1024 * 1024)
#define SUFFIX         ".pem"

/* Returns owned, or NULL when out of memory. */
static char *folder_of(const char *state_dir, bool archived, enum trust_side side)
{
    return str_printf("%s/trust/%s%s", state_dir, archived ? "archive/" : "",
                      trust_side_name(side));
}

static char *path_of(const char *state_dir, bool archived, enum trust_side side, const char *fp)
{
    return str_printf("%s/trust/%s%s/%s" SUFFIX, state_dir, archived ? "archive/" : "",
                      trust_side_name(side), fp);
}

static int failed(struct err *err, const char *what, const char *path)
{
    return err_errno(err, errno, "%s: cannot %s: check the state directory", path, what);
}

/* -- writing ------------------------------------------------------------------------------------
 */

static int text_of(const struct trust_change *row, struct buf *out)
{
    char when[32];
    char *head = str_printf("certflip trust %s\n"
                            "kind: %s\n"
                            "subject: %s\n"
                            "who: %s\n"
                            "time: %" PRId64 " (%s)\n"
                            "only: %s\n"
                            "note: %s\n",
                            trust_side_name(row->side), trust_kind_name(row->kind),
                            row->anchor->info->subject, row->who == NULL ? "" : row->who,
                            row->time_s, clock_iso(row->time_s, when, sizeof(when)),
                            row->only == NULL ? "" : row->only, row->note == NULL ? "" : row->note);
    int rc = head == NULL ? -ERR_NOMEM : tls_anchor_pem(row->anchor, head, out);

    free(head);
    return rc;
}

int trust_shelf_put(const char *state_dir, const struct trust_change *row, struct err *err)
{
    bool archived = row->kind == TRUST_REMOVED;
    char *folder = folder_of(state_dir, archived, row->side);
    char *path = path_of(state_dir, archived, row->side, row->fp);
    struct buf text = {0};
    int rc = 0;

    if (folder == NULL || path == NULL || text_of(row, &text) != 0)
        rc = err_set(err, ERR_NOMEM, "out of memory");
    if (rc == 0)
        rc = durable_mkdirs(folder, FOLDER_MODE, err);
    if (rc == 0) {
        crash_point("trust.file");
        rc = durable_write(path, text.p, text.len, FILE_MODE, err);
        crash_point("trust.file-written");
        if (rc != 0) /* the last step may have failed, with the file in place */
            (void)unlink(path);
    }
    buf_fini(&text);
    free(folder);
    free(path);
    return rc;
}

int trust_shelf_drop(const char *state_dir, enum trust_side side, const char *fp, struct err *err)
{
    char *path = path_of(state_dir, false, side, fp);
    int rc = 0;

    if (path == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    crash_point("trust.drop");
    if (unlink(path) != 0 && errno != ENOENT)
        rc = failed(err, "remove it", path);
    free(path);
    return rc;
}

int trust_shelf_archive(const char *state_dir, enum trust_side side, const char *fp,
                        struct err *err)
{
    char *folder = folder_of(state_dir, true, side);
    char *from = path_of(state_dir, false, side, fp);
    char *to = path_of(state_dir, true, side, fp);
    int rc = 0;

    if (folder == NULL || from == NULL || to == NULL)
        rc = err_set(err, ERR_NOMEM, "out of memory");
    else if (access(from, F_OK) != 0)
        rc = 0;
    else if (access(to, F_OK) == 0)
        rc = trust_shelf_drop(state_dir, side, fp, err);
    else if ((rc = durable_mkdirs(folder, FOLDER_MODE, err)) == 0 && rename(from, to) != 0)
        rc = failed(err, "move it to the archive", from);
    free(folder);
    free(from);
    free(to);
    return rc;
}

/* -- reading ------------------------------------------------------------------------------------
 */

/* The value of "key: value" among the lines before the certificate.  Returns owned; "" when it is
 * not there; NULL when out of memory. */
static char *value_of(const char *text, size_t n, const char *key)
{
    size_t len = strlen(key);

    for (size_t at = 0; at < n && memcmp(text + at, "-----", n - at < 5 ? n - at : 5) != 0;) {
        const char *line = text + at;
        const char *end = memchr(line, '\n', n - at);
        size_t size = end == NULL ? n - at : (size_t)(end - line);

        if (size >= len + 2 && memcmp(line, key, len) == 0 && memcmp(line + len, ": ", 2) == 0) {
            char *value = strndup(line + len + 2, size - len - 2);

            if (value != NULL)
                str_tidy(value);
            return value;
        }
        at += size + 1;
    }
    return strdup("");
}

static int take_first(void *arg, struct tls_anchor *a, struct err *err)
{
    struct tls_anchor **first = arg;

    if (*first != NULL) {
        tls_anchor_unref(a);
        return err_set(err, ERR_SYNTAX, "holds more than one certificate: it is none of ours");
    }
    *first = a;
    return 0;
}

int trust_shelf_parse(const char *text, size_t n, const char *from, struct trust_change *out,
                      struct err *err)
{
    struct trust_change row = {0};
    char *kind = value_of(text, n, "kind"), *time = value_of(text, n, "time");
    int rc;

    row.who = value_of(text, n, "who");
    row.only = value_of(text, n, "only");
    row.note = value_of(text, n, "note");
    if (kind == NULL || time == NULL || row.who == NULL || row.only == NULL || row.note == NULL)
        rc = err_set(err, ERR_NOMEM, "out of memory");
    else if (trust_kind_parse(kind, &row.kind) != 0)
        rc = err_set(err, ERR_SYNTAX, "%s: does not say of what kind it is: it is none of ours",
                     from);
    else
        rc = tls_anchors_of_pem(text, n, from, take_first, &row.anchor, err);
    if (rc >= 0) {
        row.time_s = strtoll(time, NULL, 10);
        memcpy(row.fp, row.anchor->fp, sizeof(row.fp));
        *out = row;
        rc = 0;
    } else {
        trust_change_fini(&row);
    }
    free(kind);
    free(time);
    return rc;
}

static int read_file(const char *path, const char *fp, struct trust_change *out, struct err *err)
{
    struct buf text = {0};
    struct trust_change row;
    int rc = durable_read(path, MAX_FILE_BYTES, &text, err);

    if (rc == 0)
        rc = trust_shelf_parse((const char *)text.p, text.len, path, &row, err);
    buf_fini(&text);
    if (rc != 0)
        return rc;
    if (strcmp(row.fp, fp) != 0) {
        trust_change_fini(&row);
        return err_set(err, ERR_INVALID, "%s: holds another certificate than its name says", path);
    }
    *out = row;
    return 0;
}

struct tls_anchor *trust_shelf_get(const char *state_dir, bool archived, enum trust_side side,
                                   const char *fp, struct err *err)
{
    char *path = path_of(state_dir, archived, side, fp);
    struct tls_anchor *found = NULL;
    struct trust_change row;

    if (path == NULL)
        err_set(err, ERR_NOMEM, "out of memory");
    else if (read_file(path, fp, &row, err) == 0) {
        found = tls_anchor_ref(row.anchor);
        trust_change_fini(&row);
    }
    free(path);
    return found;
}

static int is_ours(const struct dirent *e)
{
    size_t n = strlen(e->d_name), suffix = strlen(SUFFIX);

    return e->d_name[0] != '.' && n > suffix && strcmp(e->d_name + n - suffix, SUFFIX) == 0;
}

/* One file of a folder, to `each`. */
static int hand_out(const char *folder, enum trust_side side, const char *name,
                    int (*each)(void *arg, const struct trust_change *row), void *arg)
{
    char *path = str_printf("%s/%s", folder, name);
    struct trust_change row = {0};
    struct err err = {0};
    char fp[CERT_FP_TEXT];
    int rc;

    if (path == NULL)
        return -ERR_NOMEM;
    snprintf(fp, sizeof(fp), "%.*s", (int)(strlen(name) - strlen(SUFFIX)), name);
    if (read_file(path, fp, &row, &err) != 0) {
        memcpy(row.fp, fp, sizeof(row.fp));
        row.fault = strdup(err.msg);
    }
    row.side = side;
    rc = each(arg, &row);
    trust_change_fini(&row);
    free(path);
    return rc;
}

int trust_shelf_each(const char *state_dir, bool archived, enum trust_side side,
                     int (*each)(void *arg, const struct trust_change *row), void *arg,
                     struct err *err)
{
    char *folder = folder_of(state_dir, archived, side);
    struct dirent **names = NULL;
    int n, rc = 0;

    if (folder == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    n = scandir(folder, &names, is_ours, alphasort);
    if (n < 0 && errno != ENOENT)
        rc = failed(err, "read the folder", folder);
    for (int i = 0; i < n; i++) {
        if (rc == 0)
            rc = hand_out(folder, side, names[i]->d_name, each, arg);
        free(names[i]);
    }
    free(names);
    free(folder);
    return rc;
}
