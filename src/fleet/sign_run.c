#include "fleet/sign_run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/durable.h"
#include "base/str.h"
#include "tls/cert.h"

#define ANSWER_MAX  ((size_t)256 << 10) /* of a chain */
#define REASON_MAX  4096                /* of the end of what it says on stderr */
#define REASON_TEXT 300                 /* of that, what is passed on */
#define READ_BYTES  16384
#define READS       16 /* at once, so that one that writes without end leaves room for the others */

#define FOLDER     "certflip-sign-" /* and six characters */
#define CSR_NAME   "request.pem"
#define CERT_NAME  "certificate.pem"
#define DIR_BYTES  512
#define PATH_BYTES (DIR_BYTES + sizeof("/" CERT_NAME))
#define DEPTH_MAX  8 /* of folders that a command makes in its own */

struct sign_run {
    pid_t pid;           /* and its process group; 0: ended */
    int out, err;        /* read ends; -1: closed */
    char dir[DIR_BYTES]; /* "" : none */
    int folder;          /* locked while it is ours; -1: none */
    int64_t due_ms;
    unsigned timeout_s;
    struct buf answer, reason;
    bool flooded;
};

/* -- beginning --------------------------------------------------------------------------------- */

/* Whose the folder of a run is is told by a lock on it, which ends with the process however that
 * ends. */
static void tmp_path(char *out, size_t size, const char *name)
{
    const char *tmp = secure_getenv("TMPDIR");

    /* Room for the names in it, too. */
    if (tmp == NULL || tmp[0] != '/' || strlen(tmp) > size - sizeof(FOLDER "XXXXXX") - 2)
        tmp = "/tmp";
    snprintf(out, size, "%s/%s", tmp, name);
}

/* Everything in the folder; commands may have made folders of their own. */
static void empty(int folder, unsigned depth)
{
    int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    const struct dirent *e;

    if (copy >= 0 && d == NULL)
        close(copy);
    (void)fchmod(folder, 0700);                     /* a command may have taken that away */
    while (d != NULL && (e = readdir(d)) != NULL) { /* NOLINT(concurrency-mt-unsafe): our stream */
        int below;

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            unlinkat(folder, e->d_name, 0) == 0 || depth == 0)
            continue;
        below = openat(folder, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below < 0)
            continue;
        empty(below, depth - 1);
        close(below);
        (void)unlinkat(folder, e->d_name, AT_REMOVEDIR);
    }
    if (d != NULL)
        closedir(d);
}

static void remove_folder(struct sign_run *r)
{
    if (r->folder >= 0) {
        empty(r->folder, DEPTH_MAX);
        close(r->folder);
    }
    if (r->dir[0] != '\0')
        (void)rmdir(r->dir);
}

/* 0: somebody who sweeps was faster than the lock: once more. */
static int make_locked(struct sign_run *r, struct err *err)
{
    struct stat st;

    tmp_path(r->dir, sizeof(r->dir), FOLDER "XXXXXX");
    if (mkdtemp(r->dir) == NULL) {
        int rc = err_errno(err, errno, "%s: cannot be made", r->dir);

        r->dir[0] = '\0';
        return rc;
    }
    r->folder = open(r->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (r->folder < 0 && errno != ENOENT)
        return err_errno(err, errno, "%s: cannot be opened", r->dir);
    if (r->folder >= 0) {
        (void)flock(r->folder, LOCK_EX); /* who cannot lock here cannot sweep here either */
        if (fstat(r->folder, &st) != 0 || st.st_nlink > 0)
            return 1;
        close(r->folder);
        r->folder = -1;
    }
    r->dir[0] = '\0';
    return 0;
}

static int make_folder(struct sign_run *r, const struct buf *csr, struct err *err)
{
    char path[PATH_BYTES];
    int rc = 0;

    while (rc == 0)
        rc = make_locked(r, err);
    if (rc < 0)
        return rc;
    snprintf(path, sizeof(path), "%s/" CSR_NAME, r->dir);
    return durable_write(path, csr->p, csr->len, 0600, err);
}

void sign_run_sweep(void)
{
    char tmp[DIR_BYTES];
    struct stat st;
    DIR *d;

    tmp_path(tmp, sizeof(tmp), "");
    d = opendir(tmp);
    for (const struct dirent *e; /* NOLINTNEXTLINE(concurrency-mt-unsafe): our stream */
         d != NULL && (e = readdir(d)) != NULL;) {
        int fd;

        if (strncmp(e->d_name, FOLDER, strlen(FOLDER)) != 0)
            continue;
        fd = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
            continue;
        if (fstat(fd, &st) == 0 && st.st_uid == geteuid() && flock(fd, LOCK_EX | LOCK_NB) == 0) {
            empty(fd, DEPTH_MAX);
            (void)unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
        }
        close(fd);
    }
    if (d != NULL)
        closedir(d);
}

static const char *const ours[] = {
    "CERTFLIP_CSR=",        "CERTFLIP_CERT=",      "CERTFLIP_GATEWAY=", "CERTFLIP_DEVICE=",
    "CERTFLIP_NOT_BEFORE=", "CERTFLIP_NOT_AFTER=", "CERTFLIP_REQUEST=",
};
#define OURS (sizeof(ours) / sizeof(ours[0]))

static bool is_ours(const char *variable)
{
    for (size_t i = 0; i < OURS; i++)
        if (strncmp(variable, ours[i], strlen(ours[i])) == 0)
            return true;
    return false;
}

/* Ours behind those that are there, from *own on.  Returns owned, with each of ours; the others are
 * borrowed. */
static char **make_environment(const struct sign_run *r, const struct sign_order *o, size_t *own)
{
    char from[32], until[32], digest[2 * CERT_FP_BYTES + 1] = "";
    uint8_t hash[CERT_FP_BYTES] = {0};
    size_t n = 0, at = 0;
    char **env;

    while (environ[n] != NULL)
        n++;
    env = calloc(n + OURS + 1, sizeof(env[0]));
    if (env == NULL)
        return NULL;
    for (size_t i = 0; i < n; i++)
        if (!is_ours(environ[i]))
            env[at++] = environ[i];
    cert_sha256(o->csr->p, o->csr->len, hash);
    str_hex(digest, hash, sizeof(hash));
    *own = at;
    env[at++] = str_printf("%s%s/" CSR_NAME, ours[0], r->dir);
    env[at++] = str_printf("%s%s/" CERT_NAME, ours[1], r->dir);
    env[at++] = str_printf("%s%s", ours[2], o->gateway);
    env[at++] = str_printf("%s%s", ours[3], o->device);
    env[at++] = str_printf("%s%s", ours[4], clock_iso(o->not_before_s, from, sizeof(from)));
    env[at++] = str_printf("%s%s", ours[5], clock_iso(o->not_after_s, until, sizeof(until)));
    env[at++] = str_printf("%s%s", ours[6], digest);
    return env;
}

static void free_environment(char **env, size_t own)
{
    if (env == NULL)
        return;
    for (size_t i = 0; i < OURS; i++)
        free(env[own + i]);
    free(env);
}

/* It inherits three descriptors and nothing else, and no blocked or ignored signals. */
static int spawn(struct sign_run *r, const char *command, char **env, int to_out, int to_err)
{
    char sh[] = "sh", flag[] = "-c", path[PATH_BYTES];
    char *words = strdup(command), *argv[] = {sh, flag, words, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    sigset_t none, all;
    int rc;

    if (words == NULL)
        return ENOMEM;
    if (posix_spawn_file_actions_init(&files) != 0) {
        free(words);
        return ENOMEM;
    }
    if (posix_spawnattr_init(&how) != 0) {
        posix_spawn_file_actions_destroy(&files);
        free(words);
        return ENOMEM;
    }
    snprintf(path, sizeof(path), "%s/" CSR_NAME, r->dir);
    sigemptyset(&none);
    sigfillset(&all);
    rc = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, path, O_RDONLY, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(&files, to_out, STDOUT_FILENO);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(&files, to_err, STDERR_FILENO);
    if (rc == 0)
        rc = posix_spawn_file_actions_addclosefrom_np(&files, 3);
    if (rc == 0)
        rc = posix_spawnattr_setflags(&how, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                                POSIX_SPAWN_SETSIGDEF);
    if (rc == 0)
        rc = posix_spawnattr_setpgroup(&how, 0);
    if (rc == 0)
        rc = posix_spawnattr_setsigmask(&how, &none);
    if (rc == 0)
        rc = posix_spawnattr_setsigdefault(&how, &all);
    if (rc == 0)
        rc = posix_spawn(&r->pid, "/bin/sh", &files, &how, argv, env);
    if (rc != 0)
        r->pid = 0;
    posix_spawnattr_destroy(&how);
    posix_spawn_file_actions_destroy(&files);
    free(words);
    return rc;
}

/* The write ends are kept above the three that the child's are put on. */
static int make_pipe(int *mine, int *its)
{
    int ends[2], above;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    above = fcntl(ends[1], F_DUPFD_CLOEXEC, 3);
    close(ends[1]);
    if (above < 0 || fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) {
        close(ends[0]);
        if (above >= 0)
            close(above);
        return -1;
    }
    *mine = ends[0];
    *its = above;
    return 0;
}

static int start(struct sign_run *r, const struct sign_order *o, struct err *err)
{
    int to_out = -1, to_err = -1, rc = make_folder(r, o->csr, err);
    size_t own = 0;
    char **env = NULL;

    if (rc != 0)
        return rc;
    env = make_environment(r, o, &own);
    if (env == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; rc == 0 && i < OURS; i++)
        if (env[own + i] == NULL)
            rc = err_set(err, ERR_NOMEM, "out of memory");
    if (rc == 0 && (make_pipe(&r->out, &to_out) != 0 || make_pipe(&r->err, &to_err) != 0))
        rc = err_errno(err, errno, "a pipe for the signing command");
    if (rc == 0 && (errno = spawn(r, o->command, env, to_out, to_err)) != 0)
        rc = err_errno(err, errno, "/bin/sh for the signing command");
    if (to_out >= 0)
        close(to_out);
    if (to_err >= 0)
        close(to_err);
    free_environment(env, own);
    return rc;
}

struct sign_run *sign_run_new(const struct sign_order *o, struct err *err)
{
    struct sign_run *r = calloc(1, sizeof(*r));

    if (r == NULL) {
        (void)err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    r->out = r->err = r->folder = -1;
    r->timeout_s = o->timeout_s;
    r->due_ms = clock_boot_ms() + (int64_t)o->timeout_s * 1000;
    if (start(r, o, err) == 0)
        return r;
    sign_run_free(r);
    return NULL;
}

/* -- ending ------------------------------------------------------------------------------------ */

/* The number of a group is its own for as long as its leader is not waited for. */
static int end_group(struct sign_run *r)
{
    int status = -1;

    if (r->pid == 0)
        return status;
    (void)kill(-r->pid, SIGKILL);
    (void)kill(r->pid, SIGKILL); /* before it has made itself a group */
    while (waitpid(r->pid, &status, 0) < 0 && errno == EINTR)
        ;
    r->pid = 0;
    return status;
}

void sign_run_free(struct sign_run *r)
{
    if (r == NULL)
        return;
    (void)end_group(r);
    if (r->out >= 0)
        close(r->out);
    if (r->err >= 0)
        close(r->err);
    remove_folder(r);
    buf_fini(&r->answer);
    buf_fini(&r->reason);
    free(r);
}

/* Take what is there; close the end when nothing will come.  Of stderr the end is what counts. */
static void drain(struct sign_run *r, int *fd, struct buf *into, bool is_answer)
{
    uint8_t bytes[READ_BYTES];

    for (int i = 0; *fd >= 0 && i < READS; i++) {
        ssize_t n = read(*fd, bytes, sizeof(bytes));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            close(*fd);
            *fd = -1;
            return;
        }
        if (is_answer && into->len + (size_t)n > ANSWER_MAX)
            r->flooded = true;
        else
            (void)buf_append(into, bytes, (size_t)n);
        if (!is_answer && into->len > REASON_MAX)
            buf_drop(into, into->len - REASON_MAX);
    }
}

/* The last of what it said, in one line. */
static void reason_text(struct sign_run *r, char *out, size_t size)
{
    size_t n = r->reason.len, from;

    while (n > 0 && (r->reason.p[n - 1] == '\n' || r->reason.p[n - 1] == ' '))
        n--;
    from = n > REASON_TEXT ? n - REASON_TEXT : 0;
    /* Not in the middle of a character. */
    while (from > 0 && from < n && (r->reason.p[from] & 0xc0) == 0x80)
        from++;
    snprintf(out, size, "%s%.*s", from > 0 ? "..." : "", (int)(n - from),
             n == 0 ? "" : (const char *)r->reason.p + from);
    str_tidy(out);
}

static const char *signal_name(int number)
{
    const char *name = sigdescr_np(number);

    return name == NULL ? "?" : name;
}

static int say_status(struct sign_run *r, int status, struct err *why)
{
    char text[REASON_TEXT + 8];

    reason_text(r, text, sizeof(text));
    if (WIFSIGNALED(status))
        return err_set(why, ERR_BUSY, "the signing command was killed by signal %d (%s)%s%s",
                       WTERMSIG(status), signal_name(WTERMSIG(status)), text[0] == '\0' ? "" : ": ",
                       text);
    if (WEXITSTATUS(status) == EX_TEMPFAIL)
        return err_set(why, ERR_BUSY, "the signing command asks to try later%s%s",
                       text[0] == '\0' ? "" : ": ", text);
    if (text[0] == '\0')
        return err_set(why, ERR_DENIED,
                       "the signing command ended with status %d and said nothing: run it by hand",
                       WEXITSTATUS(status));
    return err_set(why, ERR_DENIED, "the signing command refused (status %d): %s",
                   WEXITSTATUS(status), text);
}

/* On stdout, or else in the file. */
static int take_answer(struct sign_run *r, struct buf *pem, struct err *why)
{
    char path[PATH_BYTES];
    int rc;

    if (r->answer.len > 0 && memmem(r->answer.p, r->answer.len, "-----BEGIN", 10) != NULL)
        return buf_append(pem, r->answer.p, r->answer.len) == 0
                   ? 0
                   : err_set(why, ERR_BUSY, "out of memory");
    snprintf(path, sizeof(path), "%s/" CERT_NAME, r->dir);
    rc = durable_read(path, ANSWER_MAX, pem, why);
    if (rc == -ERR_NOT_FOUND)
        return err_set(why, ERR_DENIED,
                       "the signing command ended well and gave no certificate: PEM is expected on "
                       "its stdout, or in the file $CERTFLIP_CERT");
    return rc == 0 ? 0 : -ERR_DENIED;
}

/* Its own end ends the run; what it has left behind is killed and not waited for. */
static int after_the_end(struct sign_run *r, struct buf *pem, struct err *why)
{
    int status;

    drain(r, &r->out, &r->answer, true);
    drain(r, &r->err, &r->reason, false);
    status = end_group(r);
    if (r->flooded)
        return err_set(why, ERR_DENIED,
                       "the signing command wrote more than %zu KiB: a chain has a few at most",
                       ANSWER_MAX >> 10);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return say_status(r, status, why);
    return take_answer(r, pem, why);
}

int sign_run_step(struct sign_run *r, struct buf *pem, struct err *why)
{
    siginfo_t info = {0};
    char text[REASON_TEXT + 8];

    drain(r, &r->out, &r->answer, true);
    drain(r, &r->err, &r->reason, false);
    if (waitid(P_PID, (id_t)r->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0)
        return after_the_end(r, pem, why);
    if (r->flooded) {
        (void)end_group(r);
        return err_set(why, ERR_DENIED,
                       "the signing command wrote more than %zu KiB: a chain has a few at most",
                       ANSWER_MAX >> 10);
    }
    if (clock_boot_ms() < r->due_ms)
        return 1;
    (void)end_group(r);
    reason_text(r, text, sizeof(text));
    return err_set(why, ERR_BUSY, "the signing command took longer than %u s and was killed%s%s",
                   r->timeout_s, text[0] == '\0' ? "" : ": ", text);
}
