/* tls/cert.h - what is in a certificate, as plain data.  Any thread; no library types. */
#ifndef TLS_CERT_H
#define TLS_CERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define CERT_FP_BYTES     32
#define CERT_FP_TEXT      65 /* lower-case hex and NUL */
#define CERT_KEY_ID_BYTES 32

enum cert_san_kind { CERT_SAN_DNS, CERT_SAN_URI, CERT_SAN_EMAIL, CERT_SAN_IP };

struct cert_san {
    enum cert_san_kind kind;
    char *text; /* owned; IP addresses in their usual notation */
};

/* Bits of keyUsage, RFC 5280, 4.2.1.3. */
enum cert_usage {
    CERT_DIGITAL_SIGNATURE = 1 << 0,
    CERT_NON_REPUDIATION = 1 << 1,
    CERT_KEY_ENCIPHERMENT = 1 << 2,
    CERT_DATA_ENCIPHERMENT = 1 << 3,
    CERT_KEY_AGREEMENT = 1 << 4,
    CERT_KEY_CERT_SIGN = 1 << 5,
    CERT_CRL_SIGN = 1 << 6,
    CERT_ENCIPHER_ONLY = 1 << 7,
    CERT_DECIPHER_ONLY = 1 << 8,
};

/* A key identifier, of RFC 5280, 4.2.1.1 or 4.2.1.2.  n is 0 where there is none, or one that is
 * too long for anybody's. */
struct cert_key_id {
    uint8_t n;
    uint8_t p[CERT_KEY_ID_BYTES];
};

struct cert_info {
    uint8_t fp[CERT_FP_BYTES]; /* SHA-256 of the whole DER */
    uint8_t
        spki_fp[CERT_FP_BYTES];  /* SHA-256 of the SubjectPublicKeyInfo: the same key, the same */
    struct cert_key_id ski, aki; /* of the subject's key, and of the issuer's */
    char *subject;               /* owned: "CN=press-07,O=Plant" */
    char *issuer;                /* owned */
    char *cn;                    /* owned; NULL when there is none */
    struct cert_san *sans;       /* owned */
    size_t san_count;
    int64_t not_before_s; /* wall clock */
    int64_t not_after_s;
    char serial_hex[43];
    const char *key_alg; /* "EC P-256", "RSA", "Ed25519": static */
    unsigned key_bits;
    const char *sig_alg; /* "ecdsa-with-SHA256": static */
    bool weak_digest;    /* MD5 or SHA-1 */
    uint8_t version;     /* 1 to 3 */
    bool is_self_issued; /* subject and issuer are the same name */
    bool is_ca;          /* basicConstraints says so */
    bool is_no_ca;       /* basicConstraints says that; neither: there are none (as in old roots) */
    int path_len;        /* of basicConstraints; -1: unbounded */
    bool has_eku, eku_client, eku_server;
    bool eku_any; /* anyExtendedKeyUsage, which sets the two before it, too */
    bool has_key_usage;
    uint16_t key_usage;        /* enum cert_usage */
    bool has_name_constraints; /* for names.h */
    char *critical; /* owned; the OID of a critical extension that is not known here, or NULL */
};

/* Is the subject of `issuer` the issuer's name in `subject`?  Compared as RFC 5280, 7.1 has it:
 * case and runs of blanks do not matter.  Both are whole DER certificates. */
bool cert_is_named(const uint8_t *issuer, size_t issuer_n, const uint8_t *subject,
                   size_t subject_n);

/* Parse one DER certificate.  No signature or date check.  Returns owned, or NULL with err set. */
struct cert_info *cert_info_new(const uint8_t *der, size_t n, struct err *err);
void cert_info_free(struct cert_info *ci); /* NULL is fine */

/* SHA-256 of any bytes.  Returns 0 or -ERR_NOMEM. */
int cert_sha256(const void *data, size_t n, uint8_t out[CERT_FP_BYTES]);

/* How many bytes the first of several certificates in DER takes; all of them when it is none. */
size_t cert_der_length(const uint8_t *der, size_t n);

/* One certificate as PEM, appended.  Returns 0 or -ERR_NOMEM. */
int cert_pem(const uint8_t *der, size_t n, struct buf *out);

/* All certificates of a PEM text, in order, as DER: calls `each` for every one.  Text around the
 * blocks is ignored. Returns how many there were (0 is possible), or -ERR_SYNTAX, or what `each`
 * returned when negative. */
int cert_pem_each(const char *pem, size_t n,
                  int (*each)(void *arg, const uint8_t *der, size_t n, struct err *err), void *arg,
                  struct err *err);

/* The first private key of a PEM text, as DER, appended to `key`.  Returns 1, 0 when there is none,
 * -ERR_INVALID for one that is encrypted, or -ERR_SYNTAX. */
int cert_pem_key(const char *pem, size_t n, struct buf *key, struct err *err);

#endif
