/* tls/cert.h - what is in a certificate, as plain data.  Any thread; no library types. */
#ifndef TLS_CERT_H
#define TLS_CERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define CERT_FP_BYTES 32
#define CERT_FP_TEXT  65 /* lower-case hex and NUL */

enum cert_san_kind { CERT_SAN_DNS, CERT_SAN_URI, CERT_SAN_EMAIL, CERT_SAN_IP };

struct cert_san {
    enum cert_san_kind kind;
    char *text; /* owned; IP addresses in their usual notation */
};

struct cert_info {
    uint8_t fp[CERT_FP_BYTES]; /* SHA-256 of the whole DER */
    char *subject;             /* owned: "CN=press-07,O=Plant" */
    char *issuer;              /* owned */
    char *cn;                  /* owned; NULL when there is none */
    struct cert_san *sans;     /* owned */
    size_t san_count;
    int64_t not_before_s; /* wall clock */
    int64_t not_after_s;
    char serial_hex[43];
    const char *key_alg; /* "EC P-256", "RSA", "Ed25519": static */
    unsigned key_bits;
    const char *sig_alg; /* "ecdsa-with-SHA256": static */
    bool weak_digest;    /* MD5 or SHA-1 */
    bool is_ca;          /* basicConstraints says so */
    bool is_no_ca;       /* basicConstraints says that; neither: there are none (as in old roots) */
    bool has_eku, eku_client, eku_server;
};

/* Parse one DER certificate.  No signature or date check.  Returns owned, or NULL with err set. */
struct cert_info *cert_info_new(const uint8_t *der, size_t n, struct err *err);
void cert_info_free(struct cert_info *ci); /* NULL is fine */

/* All certificates of a PEM text, in order, as DER: calls `each` for every one.  Text around the
 * blocks is ignored. Returns how many there were (0 is possible), or -ERR_SYNTAX, or what `each`
 * returned when negative. */
int cert_pem_each(const char *pem, size_t n,
                  int (*each)(void *arg, const uint8_t *der, size_t n, struct err *err), void *arg,
                  struct err *err);

#endif
