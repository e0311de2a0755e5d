/* The reader of ClientHellos: whatever it takes can be asked everything, and lies in its input. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tls/hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct slice s, const uint8_t *data, size_t size)
{
    assert(s.n == 0 || (s.p >= data && s.p + s.n <= data + size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hello h;
    struct slice rest;
    struct der name;

    if (!hello_read(data, size, &h)) {
        assert(h.versions == 0 && h.suites.n == 0 && h.name[0] == '\0');
        return 0;
    }
    inside(h.suites, data, size);
    inside(h.schemes, data, size);
    inside(h.cert_schemes, data, size);
    inside(h.groups, data, size);
    inside(h.authorities, data, size);
    assert(memchr(h.name, 0, sizeof(h.name)) != NULL);
    assert(hello_version(&h, HELLO_VERSION_OLD - 1) == 0);
    assert(hello_version(&h, HELLO_VERSION_NEW) == 0 || h.versions != 0);
    hello_lists(h.suites, 0xffff);
    for (rest = h.authorities; hello_authority(&h, &rest, &name);)
        inside((struct slice){name.p, der_left(&name)}, data, size);
    return 0;
}
