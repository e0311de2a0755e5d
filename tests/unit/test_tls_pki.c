#include "test_tls_pki.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/durable.h"
#include "scratch.h"
#include "tls/ctx.h"

static char dir[64];
/* What pki_trust has made: tests that fail leave nothing behind either. */
static struct tls_anchor **made;
static size_t made_count;

static int run(const char *const argv[])
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int pki_setup(void **state)
{
    struct err err = {0};

    (void)state;
    if (!scratch_make(dir, sizeof(dir)) || run((const char *const[]){TLS_PKI_SH, dir, NULL}) != 0)
        return -1;
    return tls_init(&err);
}

int pki_teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < made_count; i++)
        tls_anchor_unref(made[i]);
    free(made);
    tls_fini();
    return run((const char *const[]){"rm", "-rf", dir, NULL});
}

const char *pki(const char *file)
{
    static char paths[8][256];
    static unsigned next;
    char *path = paths[next++ % 8];

    if (snprintf(path, sizeof(paths[0]), "%s/%s", dir, file) >= (int)sizeof(paths[0]))
        fail_msg("%s/%s: too long a path", dir, file);
    return path;
}

void pki_read(const char *file, struct buf *out)
{
    struct err err = {0};

    if (durable_read(pki(file), 1 << 20, out, &err) != 0)
        fail_msg("%s", err.msg);
}

void pki_write(const char *file, const void *data, size_t n, unsigned mode)
{
    struct err err = {0};

    if (durable_write(pki(file), data, n, mode, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(chmod(pki(file), mode), 0);
}

static int first_info(void *arg, const uint8_t *der, size_t n, struct err *err)
{
    struct cert_info **ci = arg;

    if (*ci == NULL)
        *ci = cert_info_new(der, n, err);
    return *ci == NULL ? -ERR_SYNTAX : 0;
}

struct cert_info *pki_info(const char *file)
{
    struct cert_info *ci = NULL;
    struct buf pem = {0};
    struct err err = {0};

    pki_read(file, &pem);
    if (cert_pem_each((const char *)pem.p, pem.len, first_info, &ci, &err) < 1)
        fail_msg("%s: %s", file, err.msg);
    buf_fini(&pem);
    return ci;
}

static int keep_anchor(void *arg, struct tls_anchor *a, struct err *err)
{
    (void)arg;
    (void)err;
    made = realloc(made, (made_count + 1) * sizeof(struct tls_anchor *));
    assert_non_null(made);
    made[made_count++] = a;
    return 0;
}

int pki_trust(const char *const *files, size_t n, struct tls_trust *trust, struct err *err)
{
    static struct tls_anchor *lists[64][16];
    static size_t next;
    struct tls_anchor **list = lists[next++ % 64];
    size_t before = made_count;

    for (size_t i = 0; i < n; i++) {
        int rc = tls_anchors_of_file(pki(files[i]), keep_anchor, NULL, err);

        if (rc < 0)
            return rc;
    }
    assert_in_range(made_count - before, 0, 16);
    for (size_t i = before; i < made_count; i++)
        list[i - before] = made[i];
    *trust = (struct tls_trust){.anchors = list, .anchor_count = made_count - before};
    return 0;
}

struct tls_trust pki_anchors(const char *file)
{
    struct tls_trust trust = {0};
    struct err err = {0};

    if (file != NULL && pki_trust(&file, 1, &trust, &err) != 0)
        fail_msg("%s", err.msg);
    return trust;
}

struct cred *pki_cred(const char *name)
{
    char chain[64], key[64];
    struct err err = {0};
    struct cred *c;

    snprintf(chain, sizeof(chain), "%s-chain.pem", name);
    snprintf(key, sizeof(key), "%s.key", name);
    if (access(pki(chain), R_OK) != 0)
        snprintf(chain, sizeof(chain), "%s.pem", name);
    c = cred_load(pki(chain), pki(key), &err);
    if (c == NULL)
        fail_msg("%s", err.msg);
    return c;
}
