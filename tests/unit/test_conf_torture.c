/* Out of memory at every place, once each: a fault or a whole configuration, never a crash or a
 * leak (the sanitizers look). */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/durable.h"
#include "base/str.h"
#include "scratch.h"
#include "test_conf.h"

static unsigned calls;
static unsigned fail_at; /* 0: never */

static bool fails(void)
{
    return ++calls == fail_at;
}

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
char *__wrap_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
char *__wrap_strndup(const char *s, size_t n);
int __real_vasprintf(char **out, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
int __wrap_vasprintf(char **out, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return fails() ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *s)
{
    return fails() ? NULL : __real_strdup(s);
}

char *__wrap_strndup(const char *s, size_t n)
{
    return fails() ? NULL : __real_strndup(s, n);
}

int __wrap_vasprintf(char **out, const char *fmt, va_list ap)
{
    return fails() ? -1 : __real_vasprintf(out, fmt, ap);
}

static char dir[64];

static char *put(const char *name, const char *text)
{
    char *path = str_printf("%s/%s", dir, name);

    assert_int_equal(durable_write(path, text, strlen(text), 0644, NULL), 0);
    return path;
}

/* Returns the faults without any failure; every one is tried on the way. */
static unsigned torture(const char *path)
{
    unsigned normal;
    unsigned most;

    calls = fail_at = 0;
    for (unsigned i = 0;; i++) {
        struct buf faults = {0};
        unsigned count = 0;
        struct conf *c;

        calls = 0;
        fail_at = i;
        c = conf_load(path, &faults, &count);
        fail_at = 0;
        assert_int_equal(c == NULL, count > 0);
        conf_unref(c);
        buf_fini(&faults);
        if (i == 0) {
            most = calls;
            normal = count;
        } else if (i > most && calls < i) {
            return normal; /* nothing failed any more */
        }
    }
}

static void every_allocation_may_fail(void **unused)
{
    const char *srcdir = getenv("srcdir");
    char *values = str_printf("%s/tests/data/conf/values.in", srcdir == NULL ? "." : srcdir);
    char *references =
        str_printf("%s/tests/data/conf/references.in", srcdir == NULL ? "." : srcdir);
    char *files[4];
    char *confd;

    (void)unused;
    assert_true(scratch_make(dir, sizeof(dir)));
    confd = str_printf("%s/conf.d", dir);
    mkdir(confd, 0755);
    files[0] = put("ca.pem", "-----BEGIN CERTIFICATE-----\n");
    files[1] = put("up.inc", "upstreams = ( { name = \"main\"; address = \"b\"; anchors = "
                             "\"ca.pem\"; alpn = [ \"mqtt\", \"x\" ] } )");
    files[2] = put("conf.d/a.conf", "devices = ( { name = \"{cn}\"; match = { cn = \"x*\"; "
                                    "networks = \"10.0.0.0/8\" } } )\nmanagement = { enabled = "
                                    "true }\n");
    files[3] = put("main.conf", "gateway = \"g\"\n@include \"up.inc\"\nlisteners = ( { name = "
                                "\"p\"; type = \"plaintext\"; allow = \"::/0\" } )\n");
    assert_int_equal(torture(files[3]), 0);
    assert_true(torture(values) > 20);
    assert_true(torture(references) > 10);
    for (size_t i = 0; i < 4; i++) {
        unlink(files[i]);
        free(files[i]);
    }
    rmdir(confd);
    rmdir(dir);
    free(confd);
    free(values);
    free(references);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
