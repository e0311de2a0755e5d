/* tls/csr.h - requests for a certificate: PKCS#10 (RFC 2986).  Any thread. */
#ifndef TLS_CSR_H
#define TLS_CSR_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/names.h"

/* What stands in the request.  Borrowed. */
struct csr_terms {
    const struct dn *subject; /* may be empty when there are alternative names */
    const struct san *sans;
    size_t san_count;
};

/* Whoever has the private key, in a buffer or in a token. */
struct csr_signer {
    const uint8_t *spki; /* SubjectPublicKeyInfo */
    size_t spki_len;
    /* As key_sign; both buffers are appended to. */
    int (*sign)(void *arg, const void *data, size_t n, struct buf *algorithm, struct buf *signature,
                struct err *err);
    void *arg;
};

/* Make a request, with the extensions that a client's certificate has: key usage digitalSignature,
 * extended key usage clientAuth, and the alternative names.  DER, appended to `der`. Returns 0,
 * -ERR_NOMEM, or what sign said. */
int csr_make(const struct csr_terms *terms, const struct csr_signer *signer, struct buf *der,
             struct err *err);

/* The same with a private key in PKCS#8, as PEM. */
int csr_make_pem(const struct csr_terms *terms, const uint8_t *pkcs8, size_t n, struct buf *pem,
                 struct err *err);

/* A request as PEM, appended.  Returns 0 or -ERR_NOMEM. */
int csr_pem(const uint8_t *der, size_t n, struct buf *pem);

/* The SubjectPublicKeyInfo of a request in PEM, appended.  Its signature is not looked at. Returns
 * 0, -ERR_SYNTAX, -ERR_NOMEM. */
int csr_public(const char *pem, size_t n, struct buf *spki, struct err *err);

#endif
