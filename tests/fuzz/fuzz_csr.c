/* Requests for certificates that somebody else has made: as PEM, and as what PEM holds. */
#include <stdlib.h>

#include "tls/csr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* What was read holds together, and is judged. */
static void read_one(const char *pem, size_t n)
{
    struct dn subject = {0};
    struct san san = {.kind = SAN_DNS, .text = "press-1.example"};
    const struct csr_terms terms = {&subject, &san, 1};
    struct err err = {0};
    struct csr c;

    if (csr_read(pem, n, &c, &err) != 0)
        return;
    if (c.spki.n == 0 || c.subject.n == 0 || c.spki.p < c.der.p ||
        c.spki.p + c.spki.n > c.der.p + c.der.len)
        abort();
    (void)csr_check(&c, &terms, &err);
    (void)csr_check_cert(&c, c.der.p, c.der.len, &err);
    csr_fini(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf pem = {0}, spki = {0};

    read_one((const char *)data, n);
    (void)csr_public((const char *)data, n, &spki, NULL);
    if (csr_pem(data, n, &pem) == 0)
        read_one((const char *)pem.p, pem.len);
    buf_fini(&pem);
    buf_fini(&spki);
    return 0;
}
