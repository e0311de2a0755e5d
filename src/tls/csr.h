/* tls/csr.h - requests for a certificate: PKCS#10 (RFC 2986).  Any thread. */
#ifndef TLS_CSR_H
#define TLS_CSR_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/names.h"
#include "base/str.h"

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

/* -- reading: what somebody else has made ------------------------------------------------------ */

#define CSR_PEM_MAX 65536 /* bytes of a text with a request */

/* A request whose own signature is good: who made it has the key. */
struct csr {
    struct buf der; /* owned; this and nothing else is to be signed, whatever text it came in */
    struct slice subject, spki; /* into der: whole elements */
    struct slice sans;          /* into der: the GeneralNames; n is 0 for none */
    char key[24];               /* "ec-p256", "rsa-2048", "ed25519"; "unknown" */
    unsigned rsa_bits;          /* 0: no RSA */
};

/* Read one request in PEM; text around it counts for nothing.  It may ask for what csr_make asks
 * for, and for less: -ERR_DENIED when it wants to be a CA, to sign certificates, to be a server, or
 * for an extension that no device gets, or when its signature is not good.  -ERR_SYNTAX,
 * -ERR_NOMEM, -ERR_TOO_BIG.  `out` is written on success only. */
int csr_read(const char *pem, size_t n, struct csr *out, struct err *err);
void csr_fini(struct csr *c);

/* Is it made out for exactly this subject and these names?  Returns 0, -ERR_NOMEM, or -ERR_DENIED:
 * err has what it says and what it must say. */
int csr_check(const struct csr *c, const struct csr_terms *terms, struct err *err);

/* Is the certificate (DER) what this request was to become: for its key, with its subject (compared
 * as RFC 5280, 7.1 has it) and all of its names?  Returns 0; 1 when it carries other names besides,
 * err says which; -ERR_DENIED; -ERR_NOMEM. */
int csr_check_cert(const struct csr *c, const uint8_t *der, size_t n, struct err *err);

/* The SubjectPublicKeyInfo of a request in PEM, appended.  Its signature is not looked at. Returns
 * 0, -ERR_SYNTAX, -ERR_NOMEM. */
int csr_public(const char *pem, size_t n, struct buf *spki, struct err *err);

#endif
