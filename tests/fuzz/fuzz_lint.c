/* The reader of certificates, and lint over what it took: the last certificate of the input is the
 * anchor, the first octet chooses what else is asked. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "lint/lint.h"
#include "tls/der.h"
#include "tls/names.h"
#include "tls/verify.h"

#define CERTS_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t cut(const uint8_t *data, size_t size, struct slice *out)
{
    struct der rest = der_of(data, size), body, whole;
    size_t n = 0;
    uint8_t tag;

    while (n < CERTS_MAX && der_any(&rest, &tag, &body, &whole))
        out[n++] = (struct slice){whole.p, der_left(&whole)};
    if (n < CERTS_MAX && der_left(&rest) > 0) /* what is left is somebody's certificate, too */
        out[n++] = (struct slice){rest.p, der_left(&rest)};
    return n;
}

static const char *somebody(void *arg, const struct cert_info *leaf)
{
    (void)arg;
    return leaf->serial_hex;
}

static void check(const struct lint_report *r)
{
    for (size_t i = 0; i < r->count; i++) {
        const struct lint_finding *f = &r->all[i];

        assert(f->code < LINT_CODES && lint_kind(f->code)->code != NULL);
        assert(i == 0 || f->severity <= r->all[i - 1].severity);
        assert(str_is_utf8((const uint8_t *)f->text, strlen(f->text)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lint_policy policy = LINT_POLICY_DEFAULT;
    struct lint_anchors *anchors = lint_anchors_new();
    struct slice certs[CERTS_MAX];
    struct lint_report report;
    char which[256];
    size_t n;

    if (size < 1 || anchors == NULL) {
        lint_anchors_free(anchors);
        return 0;
    }
    n = cut(data + 1, size - 1, certs);
    if (n > 1)
        lint_anchors_add(anchors, certs[n - 1].p, certs[n - 1].n, NULL);
    for (size_t i = 0; i + 1 < n; i++) {
        names_check(certs[i + 1], certs[i], i == 0, which, sizeof(which));
        cert_is_named(certs[i + 1].p, certs[i + 1].n, certs[i].p, certs[i].n);
    }
    if (n > 1)
        verify_key(certs[0], certs[1]);
    policy.name_match = (enum lint_name_match)(data[0] % 3);
    struct lint_input in = {
        .chain = certs,
        .chain_count = n,
        .purpose = (data[0] & 4) != 0 ? LINT_SERVER : LINT_CLIENT,
        .anchors = (data[0] & 8) != 0 ? NULL : anchors,
        .policy = &policy,
        .now_s = INT64_C(1893456000),
        .name = (data[0] & 16) != 0 ? "press-07.inside.example" : "press-07",
        .key_user = somebody,
    };
    if (lint_run(&in, &report) == 0)
        check(&report);
    lint_report_fini(&report);
    lint_anchors_free(anchors);
    return 0;
}
