/* tests/unit/test_store.h - a store in a folder of its own, for the tests of src/store. */
#ifndef TEST_STORE_H
#define TEST_STORE_H

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/str.h"
#include "scratch.h"
#include "store/store.h"

struct folder {
    char dir[64];
    struct store *store;
};

static inline int folder_make(void **state)
{
    struct folder *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_true(scratch_make(f->dir, sizeof(f->dir)));
    *state = f;
    return 0;
}

static inline int folder_remove(void **state)
{
    struct folder *f = *state;
    DIR *d;

    store_close(f->store);
    d = opendir(f->dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        (void)unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

/* Borrowed until the next call. */
static inline const char *folder_path(const struct folder *f, const char *name)
{
    static char path[128];

    snprintf(path, sizeof(path), "%s/%s", f->dir, name);
    return path;
}

static inline void folder_close(struct folder *f)
{
    store_close(f->store);
    f->store = NULL;
}

static inline struct store *folder_open(struct folder *f)
{
    struct err err = {0};

    folder_close(f);
    f->store = store_open(f->dir, &err);
    if (f->store == NULL)
        fail_msg("%s", err.msg);
    return f->store;
}

/* Opening must fail, and say this. */
static inline void folder_refuses(struct folder *f, const char *saying)
{
    struct err err = {0};

    folder_close(f);
    f->store = store_open(f->dir, &err);
    assert_null(f->store);
    assert_int_equal(err.code, ERR_STORE);
    if (strstr(err.msg, saying) == NULL || strstr(err.msg, f->dir) == NULL)
        fail_msg("\"%s\" does not say \"%s\" and where", err.msg, saying);
}

/* The n-th device of a crowd: every column follows from n, so that a torn row shows. */
static inline struct store_device device_make(unsigned n)
{
    struct store_device d = {
        .flip = {.phase = FLIP_TRIAL,
                 .confirm = n % 2 == 0 ? FLIP_CONFIRM_AUTO : FLIP_CONFIRM_CENTRAL,
                 .max_attempts = 3 + n,
                 .probation_ms = 1000 + (int64_t)n,
                 .confirm_ms = 2000 + (int64_t)n,
                 .begin_by_ms = 3000 + (int64_t)n,
                 .attempts = 1 + n,
                 .accepted = n % 2 == 0,
                 .due_ms = INT64_C(4000000000000) + n,
                 .dead_ms = INT64_C(5000000000000) + n,
                 .evidence = n % 3 == 0 ? FLIP_PROOF_ECHO : 0,
                 .proven = n % 2 == 0 ? FLIP_PROOF_ECHO : FLIP_PROOF_CENTRAL},
        .begin_by_s = INT64_C(6000000000) + n,
        .changed_s = INT64_C(7000000000) + n,
        .saved_s = INT64_C(7100000000) + n,
        .dead_left_ms = INT64_C(7200000000) + n,
        .proof = {.what = n % 8,
                  .connack_s = INT64_C(7300000000) + n,
                  .echo_s = INT64_C(7400000000) + n,
                  .central_s = INT64_C(7500000000) + n,
                  .echo_us = 3140 + n,
                  .session_present = n % 2 == 1,
                  .tls = "TLSv1.3"},
    };

    for (unsigned i = 0; i < n % (STORE_REFUSALS + 1); i++)
        d.refused[i] = UINT64_MAX - n - i;
    snprintf(d.name, sizeof(d.name), "press-%u", n);
    memset(d.fp[FLIP_OLD], 'a' + (int)(n % 6), 64);
    memset(d.fp[FLIP_NEW], '0' + (int)(n % 10), 64);
    memset(d.proof.fp, 'a' + (int)(n % 6), 64);
    snprintf(d.proof.by, sizeof(d.proof.by), "operator %u", n);
    snprintf(d.boot, sizeof(d.boot), "00000000-0000-0000-0000-%012u", n);
    snprintf(d.reason, sizeof(d.reason), "reason %u: 'quoted' \"twice\"; ünï", n);
    return d;
}

static inline void device_is(const struct store_device *got, const struct store_device *want)
{
    const struct flip *a = &got->flip, *b = &want->flip;

    assert_string_equal(got->name, want->name);
    assert_int_equal(a->phase, b->phase);
    assert_int_equal(a->confirm, b->confirm);
    assert_int_equal(a->max_attempts, b->max_attempts);
    assert_int_equal(a->probation_ms, b->probation_ms);
    assert_int_equal(a->confirm_ms, b->confirm_ms);
    assert_int_equal(a->begin_by_ms, b->begin_by_ms);
    assert_int_equal(a->attempts, b->attempts);
    assert_int_equal(a->accepted, b->accepted);
    assert_int_equal(a->due_ms, b->due_ms);
    assert_int_equal(a->dead_ms, b->dead_ms);
    assert_int_equal(a->evidence, b->evidence);
    assert_int_equal(a->proven, b->proven);
    assert_int_equal(got->begin_by_s, want->begin_by_s);
    assert_string_equal(got->boot, want->boot);
    assert_int_equal(got->saved_s, want->saved_s);
    assert_int_equal(got->dead_left_ms, want->dead_left_ms);
    assert_int_equal(got->proof.what, want->proof.what);
    assert_int_equal(got->proof.connack_s, want->proof.connack_s);
    assert_int_equal(got->proof.echo_s, want->proof.echo_s);
    assert_int_equal(got->proof.central_s, want->proof.central_s);
    assert_int_equal(got->proof.echo_us, want->proof.echo_us);
    assert_int_equal(got->proof.session_present, want->proof.session_present);
    assert_string_equal(got->proof.tls, want->proof.tls);
    assert_string_equal(got->proof.fp, want->proof.fp);
    assert_string_equal(got->proof.by, want->proof.by);
    assert_string_equal(got->fp[FLIP_OLD], want->fp[FLIP_OLD]);
    assert_string_equal(got->fp[FLIP_NEW], want->fp[FLIP_NEW]);
    assert_string_equal(got->reason, want->reason);
    assert_int_equal(got->changed_s, want->changed_s);
    assert_memory_equal(got->refused, want->refused, sizeof(want->refused));
}

static inline int count_device(void *arg, const struct store_device *d)
{
    (void)d;
    ++*(unsigned *)arg;
    return 0;
}

static inline unsigned device_count(struct store *s)
{
    unsigned n = 0;

    assert_int_equal(store_device_each(s, count_device, &n, NULL), 0);
    return n;
}

#endif
