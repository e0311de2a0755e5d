/* Identities out of PEM, DER and encrypted keys: whatever a file holds, it is an identity or a
 * sentence.  The first octet says whether a password is given. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "tls/bundle.h"
#include "tls/ctx.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct err err = {0};

    (void)argc, (void)argv;
    return tls_init(&err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const passwords[] = {NULL, "", "x", "secret"};
    struct bundle *b = bundle_new();
    struct buf chain = {0};
    struct secret key = {0};
    struct err err = {0};
    int rc;

    if (b == NULL || n == 0) {
        bundle_free(b);
        return 0;
    }
    rc = bundle_add(b, "file", data + 1, n - 1, passwords[data[0] & 3], &err);
    assert((rc == 0) == (err.code == 0));
    if (rc == 0 && bundle_identity(b, &chain, &key, &err) == 0)
        assert(chain.len > 0 && key.len > 0);
    buf_fini(&chain);
    secret_fini(&key);
    bundle_free(b);
    return 0;
}
