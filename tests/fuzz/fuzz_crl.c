/* The reader of revocation lists: whatever it takes can be looked through without a fault. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tls/crl_inside.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_through(const struct crl *c)
{
    struct crl_facts f = crl_facts(c);
    struct crl_args none = {0};
    struct crl_set *s = crl_set_new(&none, NULL);
    struct buf text = {0};
    struct err err = {0};

    assert(f.issuer != NULL && f.entries == c->count);
    for (size_t i = 0; i < c->count; i++) {
        const struct crl_entry *e = &c->entries[i];

        assert(crl_entry_of(c, e->serial, e->serial_len) != NULL);
        assert(crl_reason_text(e->reason) != NULL);
    }
    assert(crl_compare(c, c) == 0 && crl_same_scope(c, c));
    assert(s == NULL || crl_set_verify(s, c, &err) == -ERR_NOT_FOUND);
    assert(crl_stored_text(c, &c->raw, &text) == 0 && text.len > c->raw.len);
    buf_fini(&text);
    crl_set_unref(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    struct crl *c = crl_of_text(data, size, &err);

    if (c != NULL)
        look_through(c);
    else
        assert(err.code != 0);
    crl_unref(c);
    return 0;
}
