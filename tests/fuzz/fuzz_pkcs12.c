/* PKCS#12: what is told is told after the password and the MAC were good, and lies in the file. The
 * first octet chooses the password. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "tls/ctx.h"
#include "tls/pkcs12.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static unsigned told;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct err err = {0};

    (void)argc, (void)argv;
    return tls_init(&err);
}

static int touch(void *arg, struct der d, const char *name, struct err *err)
{
    volatile uint8_t last = 0;

    (void)arg, (void)err;
    for (; *name != '\0'; name++)
        assert((uint8_t)*name >= 0x20);
    for (; d.p < d.end; d.p++)
        last = *d.p;
    (void)last;
    told++;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const passwords[] = {NULL, "", "x", "secret"};
    const struct pkcs12_sink sink = {touch, touch, NULL};
    struct err err = {0};
    int rc;

    if (n == 0)
        return 0;
    told = 0;
    rc = pkcs12_read(der_of(data + 1, n - 1), passwords[data[0] & 3], &sink, &err);
    assert(rc == 0 || told == 0);
    assert((rc == 0) == (err.code == 0));
    return 0;
}
