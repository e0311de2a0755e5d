#include "cli/import.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/durable.h"
#include "base/secret.h"
#include "base/str.h"
#include "cli/find.h"
#include "cli/table.h"
#include "tls/bundle.h"
#include "tls/ctx.h"

#define PASSWORD_MAX 1024
#define ASK_TRIES    3

struct import {
    const struct cli *cli;
    char *password; /* owned, of secret_alloc; NULL: none is known */
    bool from_file; /* the password; then nobody is asked */
    size_t done, same, refused, at, all;
    json_t *rows; /* owned; --json */
    size_t drawn; /* columns of the progress that stands on the terminal */
};

/* -- the password ------------------------------------------------------------------------------ */

static int take_password(struct import *im, const char *text, size_t n, struct err *err)
{
    char *p;

    if (n > PASSWORD_MAX || memchr(text, '\0', n) != NULL)
        return err_set(err, ERR_TOO_BIG, "the password is no line of at most %d bytes",
                       PASSWORD_MAX);
    p = secret_alloc(n + 1);
    if (p == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    memcpy(p, text, n);
    secret_free(im->password);
    im->password = p;
    return 0;
}

/* The first line of the file, without its end. */
static int password_from_file(struct import *im, const char *path, struct err *err)
{
    struct buf text = {0};
    const uint8_t *end;
    size_t n;
    int rc = durable_read(path, PASSWORD_MAX + 2, &text, err);

    if (rc != 0)
        return rc;
    end = text.len == 0 ? NULL : memchr(text.p, '\n', text.len);
    n = end == NULL ? text.len : (size_t)(end - text.p);
    if (n > 0 && text.p[n - 1] == '\r')
        n--;
    rc = take_password(im, (const char *)text.p, n, err);
    buf_fini_wipe(&text);
    im->from_file = rc == 0;
    return rc == 0 ? 0 : err_wrap(err, rc, "%s", path);
}

static ssize_t read_line(int fd, char *out, size_t room)
{
    size_t n = 0;

    while (n < room) {
        ssize_t got = read(fd, out + n, 1);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return n == 0 ? -1 : (ssize_t)n;
        if (out[n] == '\n')
            return (ssize_t)n;
        n++;
    }
    return -1;
}

/* Ask on the terminal, without echo.  Returns 0, or -ERR_DENIED where there is no terminal. */
static int password_from_terminal(struct import *im, const char *file, struct err *err)
{
    struct termios before, silent;
    char *line = secret_alloc(PASSWORD_MAX + 1);
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY), rc = -ERR_DENIED;
    ssize_t n;

    if (fd >= 0 && line != NULL && tcgetattr(fd, &before) == 0) {
        silent = before;
        silent.c_lflag &= (tcflag_t)~ECHO;
        tcsetattr(fd, TCSAFLUSH, &silent); /* drops what was typed before it was asked for */
        dprintf(fd, "password of %s: ", file);
        n = read_line(fd, line, PASSWORD_MAX);
        tcsetattr(fd, TCSAFLUSH, &before);
        dprintf(fd, "\n");
        if (n >= 0)
            rc = take_password(im, line, (size_t)n, err);
    }
    if (fd >= 0)
        close(fd);
    secret_free(line);
    return rc;
}

/* -- reading ----------------------------------------------------------------------------------- */

/* Add one file; a password that is missing is asked for where somebody can be asked. */
static int add_file(struct import *im, struct bundle *b, const char *path, struct err *err)
{
    struct buf text = {0};
    int rc = durable_read(path, BUNDLE_FILE_MAX, &text, err);

    if (rc != 0)
        return rc;
    rc = bundle_add(b, path, text.p, text.len, im->password, err);
    for (int i = 0; rc == -ERR_DENIED && !im->from_file && i < ASK_TRIES; i++) {
        if (i > 0 || im->password != NULL)
            fprintf(im->cli->err.to, "certflipctl: %s\n", err->msg);
        if (password_from_terminal(im, path, err) != 0) {
            if (im->password == NULL)
                err_set(err, ERR_DENIED,
                        "%s: is under a password: give it with --password-file FILE", path);
            break;
        }
        rc = bundle_add(b, path, text.p, text.len, im->password, err);
    }
    buf_fini_wipe(&text);
    return rc;
}

/* -- one identity ------------------------------------------------------------------------------ */

struct result {
    const char *outcome; /* "imported", "same", "refused"; static */
    char slot[8];
    char text[1200]; /* what else is to be said */
    json_t *lint;    /* owned: a REPORT of rpc.h; NULL: none came */
};

static void refuse(struct result *r, const char *why)
{
    r->outcome = "refused";
    snprintf(r->text, sizeof(r->text), "%s", why);
}

static const char *text_in(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s == NULL ? "" : s;
}

static void take_answer(struct result *r, const json_t *answer)
{
    const char *until = text_in(answer, "not_after");

    r->outcome = strcmp(text_in(answer, "result"), "same") == 0 ? "same" : "imported";
    r->lint = json_incref(json_object_get(answer, "lint"));
    snprintf(r->slot, sizeof(r->slot), "%s", text_in(answer, "slot"));
    snprintf(r->text, sizeof(r->text), "%s, until %.10s, sha256 %.16s", text_in(answer, "subject"),
             until, text_in(answer, "fingerprint"));
}

static void take_error(struct result *r, const json_t *error)
{
    const json_t *data = json_object_get(error, "data");
    const char *remedy = text_in(data, "remedy");

    r->outcome = "refused";
    r->lint = json_incref(json_object_get(data, "lint"));
    snprintf(r->text, sizeof(r->text), "%s%s%s", text_in(error, "message"),
             *remedy == '\0' ? "" : ": ", remedy);
}

/* Returns 0 when the daemon has answered, or a negative code: it cannot be reached any more. */
static int send_identity(struct import *im, const char *device, const char *slot,
                         const struct buf *chain, const struct secret *key, struct result *r,
                         struct err *err)
{
    const struct words_line *line = im->cli->line;
    json_t *params = json_pack("{s:s, s:s%, s:s%}", "device", device, "chain", chain->p, chain->len,
                               "key", key->p, key->len);
    json_t *answer = NULL;
    int rc;

    if (params == NULL)
        return err_set(err, ERR_INVALID,
                       "the request cannot be written: a word in it is not UTF-8");
    if (slot != NULL)
        (void)json_object_set_new(params, "slot", json_string(slot));
    if (line->replace)
        (void)json_object_set_new(params, "replace", json_true());
    if (line->dry_run)
        (void)json_object_set_new(params, "dry_run", json_true());
    rc = client_call(im->cli->client, "identity.import", params, &answer, err);
    if (rc == 0)
        take_answer(r, answer);
    else if (rc > 0)
        take_error(r, answer);
    json_decref(answer);
    return rc < 0 ? rc : 0;
}

static int import_one(struct import *im, const char *device, const char *slot,
                      const char *const *files, size_t count, struct result *r, struct err *err)
{
    struct bundle *b = bundle_new();
    struct buf chain = {0};
    struct secret key = {0};
    struct err why = {0};
    int rc = b == NULL ? err_set(&why, ERR_NOMEM, "out of memory") : 0;

    *r = (struct result){.outcome = "refused"};
    if (!str_is_name(device))
        rc = err_set(&why, ERR_INVALID,
                     "\"%s\" is not a device's name: 1 to 128 of A-Z a-z 0-9 . _ -, not beginning "
                     "with . or -",
                     device);
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = add_file(im, b, files[i], &why);
    if (rc == 0)
        rc = bundle_identity(b, &chain, &key, &why);
    bundle_free(b);
    if (rc != 0) {
        refuse(r, why.msg);
        rc = 0;
    } else {
        rc = send_identity(im, device, slot, &chain, &key, r, err);
    }
    buf_fini(&chain);
    secret_fini(&key);
    return rc;
}

/* -- what is shown ----------------------------------------------------------------------------- */

static void clear_progress(struct import *im)
{
    if (im->drawn > 0)
        fprintf(im->cli->err.to, "\r%*s\r", (int)im->drawn, "");
    im->drawn = 0;
}

static void draw_progress(struct import *im, const char *device)
{
    enum { BAR = 24 };
    char bar[BAR + 1], line[200];
    size_t full = im->all == 0 ? 0 : im->at * BAR / im->all;

    if (!im->cli->live || im->all < 2 || im->cli->line->json)
        return;
    memset(bar, '.', BAR);
    memset(bar, '#', full);
    bar[BAR] = '\0';
    clear_progress(im);
    im->drawn = (size_t)snprintf(line, sizeof(line), "[%s] %zu of %zu  %.40s", bar, im->at, im->all,
                                 device);
    fputs(line, im->cli->err.to);
    fflush(im->cli->err.to);
}

static void count(struct import *im, const struct result *r)
{
    if (strcmp(r->outcome, "refused") == 0)
        im->refused++;
    else if (strcmp(r->outcome, "same") == 0)
        im->same++;
    else
        im->done++;
}

static const char *outcome_text(const struct import *im, const struct result *r)
{
    if (strcmp(r->outcome, "imported") == 0 && im->cli->line->dry_run)
        return "would import";
    return strcmp(r->outcome, "same") == 0 ? "same as before" : r->outcome;
}

/* What is worth a look in an identity, a line each.  An error that it was refused for is told
 * already, and the state of the clock is none of its business. */
static void tell_findings(const struct show *to, const struct result *r, const char *device)
{
    const json_t *finding;
    size_t i;

    json_array_foreach(json_object_get(r->lint, "findings"), i, finding)
    {
        const char *severity = text_in(finding, "severity");
        bool error = strcmp(severity, "error") == 0;

        if (strcmp(severity, "info") == 0 || strcmp(text_in(finding, "code"), "lint.clock") == 0 ||
            (error && strcmp(r->outcome, "refused") == 0))
            continue;
        fputs("  ", to->to);
        table_text(to->to, false, TABLE_PLAIN, device);
        fputs(": ", to->to);
        table_text(to->to, to->colour, error ? TABLE_BAD : TABLE_WARN, severity);
        fputs(": ", to->to);
        table_text(to->to, false, TABLE_PLAIN, text_in(finding, "message"));
        fprintf(to->to, " [%s]\n", text_in(finding, "code"));
    }
}

static void tell(struct import *im, const char *device, const char *slot, const char *const *files,
                 size_t n, const struct result *r)
{
    bool bad = strcmp(r->outcome, "refused") == 0;
    const struct show *to = bad ? &im->cli->err : &im->cli->out;
    const char *where = *r->slot != '\0' ? r->slot : slot == NULL ? "" : slot;

    count(im, r);
    if (im->rows != NULL) {
        json_t *names = json_array();

        for (size_t i = 0; i < n; i++)
            (void)json_array_append_new(names, json_string(files[i]));
        (void)json_array_append_new(im->rows,
                                    json_pack("{s:s, s:s, s:o, s:s, s:s, s:O?}", "device", device,
                                              "slot", where, "files", names, "result", r->outcome,
                                              "text", r->text, "lint", r->lint));
        return;
    }
    clear_progress(im);
    fflush(bad ? im->cli->out.to : im->cli->err.to);
    table_text(to->to, false, TABLE_PLAIN, device);
    fprintf(to->to, "%s%s: ", *where == '\0' ? "" : " ", where);
    table_text(to->to, to->colour, bad ? TABLE_BAD : TABLE_GOOD, outcome_text(im, r));
    fputs(": ", to->to);
    table_text(to->to, false, TABLE_PLAIN, r->text);
    fputc('\n', to->to);
    tell_findings(to, r, device);
}

static enum cli_status finish(struct import *im, const struct find *found)
{
    const struct cli *cli = im->cli;

    if (im->rows != NULL) {
        json_t *whole = json_pack(
            "{s:b, s:I, s:I, s:I, s:I, s:O}", "dry_run", cli->line->dry_run, "imported",
            (json_int_t)im->done, "same", (json_int_t)im->same, "refused", (json_int_t)im->refused,
            "left", (json_int_t)(found == NULL ? 0 : found->left), "results", im->rows);

        (void)json_dumpf(whole, cli->out.to, JSON_COMPACT);
        fputc('\n', cli->out.to);
        json_decref(whole);
    } else if (found != NULL) {
        fprintf(cli->out.to, "%s %zu, same as before %zu, refused %zu",
                cli->line->dry_run ? "would import" : "imported", im->done, im->same, im->refused);
        if (found->left > 0)
            fprintf(cli->out.to, "; %zu files belong to no device and were left", found->left);
        fputc('\n', cli->out.to);
    }
    return im->refused > 0 ? CLI_REFUSED : CLI_DONE;
}

static enum cli_status lost(struct import *im, const struct err *err)
{
    clear_progress(im);
    fflush(im->cli->out.to);
    fprintf(im->cli->err.to, "certflipctl: import: ");
    table_text(im->cli->err.to, im->cli->err.colour, TABLE_BAD, err->msg);
    fprintf(im->cli->err.to, "\n");
    if (im->all > 1)
        fprintf(im->cli->err.to,
                "certflipctl: import: %zu of %zu were dealt with: run it again, what is there "
                "already is the same as before\n",
                im->at, im->all);
    return CLI_UNREACHABLE;
}

/* -- the two commands -------------------------------------------------------------------------- */

static enum cli_status import_device(struct import *im)
{
    const struct words_line *line = im->cli->line;
    const char *files[FIND_FILES_MAX];
    struct err err = {0};
    struct result r;
    size_t n = 0;
    int rc;

    for (size_t i = 1; i < line->arg_count && n < FIND_FILES_MAX - 1; i++)
        files[n++] = line->args[i];
    if (line->key != NULL)
        files[n++] = line->key;
    im->all = 1;
    rc = import_one(im, line->args[0], line->slot, files, n, &r, &err);
    if (rc != 0)
        return lost(im, &err);
    tell(im, line->args[0], line->slot, files, n, &r);
    json_decref(r.lint);
    return finish(im, NULL);
}

static enum cli_status fail_usage(struct import *im, const struct err *err)
{
    fprintf(im->cli->err.to, "certflipctl: import: %s\n", err->msg);
    return CLI_REFUSED;
}

static enum cli_status import_folder(struct import *im)
{
    const struct words_line *line = im->cli->line;
    enum cli_status status;
    struct find found = {0};
    struct err err = {0};
    int rc = find_identities(line->dir, line->pattern, line->key, &found, &err);

    if (rc == 0 && found.count == 0)
        rc = err_set(&err, ERR_NOT_FOUND,
                     "%s: no file there belongs to a device: name them as certflipctl(1) says, or "
                     "give --pattern",
                     line->dir);
    if (rc != 0) {
        find_fini(&found);
        return fail_usage(im, &err);
    }
    im->all = found.count;
    for (size_t i = 0; i < found.count && rc == 0; i++) {
        const struct find_item *it = &found.items[i];
        const char *const *files = (const char *const *)it->files;
        const char *slot = it->slot != NULL ? it->slot : line->slot;
        struct result r = {0};

        draw_progress(im, it->device);
        if (it->more > 0)
            refuse(&r, "there are too many files in its folder: keep those of one identity");
        else
            rc = import_one(im, it->device, slot, files, it->count, &r, &err);
        if (rc == 0) {
            im->at++;
            tell(im, it->device, slot, files, it->count, &r);
        }
        json_decref(r.lint);
    }
    status = rc != 0 ? lost(im, &err) : finish(im, &found);
    find_fini(&found);
    return status;
}

enum cli_status import_run(const struct cli *cli)
{
    struct import im = {.cli = cli};
    struct err err = {0};
    enum cli_status status;

    prctl(PR_SET_DUMPABLE, 0); /* keys pass through */
    json_set_alloc_funcs(malloc, secret_free_heap);
    if (tls_init(&err) != 0)
        return fail_usage(&im, &err);
    if (cli->line->json)
        im.rows = json_array();
    if (cli->line->password_file != NULL &&
        password_from_file(&im, cli->line->password_file, &err) != 0)
        status = fail_usage(&im, &err);
    else
        status = cli->line->dir != NULL ? import_folder(&im) : import_device(&im);
    json_decref(im.rows);
    secret_free(im.password);
    tls_fini();
    return status;
}
