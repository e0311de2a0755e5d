/* PKCS#11 URIs: what is read is bounded and names a key, and is written so that it reads the same;
 * what is refused leaves the result alone and says why. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tls/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const struct pkcs11_uri *a, const struct pkcs11_uri *b)
{
    assert(strcmp(a->token, b->token) == 0 && strcmp(a->serial, b->serial) == 0 &&
           strcmp(a->object, b->object) == 0);
    assert(a->id_len == b->id_len && memcmp(a->id, b->id, a->id_len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pkcs11_uri u, again, before;
    struct err err = {0};
    struct buf text = {0};

    memset(&u, 0x5a, sizeof(u));
    before = u;
    if (pkcs11_uri_read((const char *)data, size, &u, &err) != 0) {
        assert(err.code != 0 && err.msg[0] != '\0');
        assert(memcmp(&u, &before, sizeof(u)) == 0);
        return 0;
    }
    assert(memchr(u.token, '\0', sizeof(u.token)) != NULL);
    assert(memchr(u.serial, '\0', sizeof(u.serial)) != NULL);
    assert(memchr(u.object, '\0', sizeof(u.object)) != NULL);
    assert(u.id_len <= sizeof(u.id) && (u.id_len > 0 || u.object[0] != '\0'));
    assert(pkcs11_uri_write(&u, &text) == 0);
    assert(pkcs11_uri_read((const char *)text.p, text.len, &again, &err) == 0);
    same(&u, &again);
    buf_fini(&text);
    return 0;
}
