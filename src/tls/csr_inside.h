/* tls/csr_inside.h - what those share who make requests, who read them, and who makes certificates
 * of them.  Private to this folder. */
#ifndef TLS_CSR_INSIDE_H
#define TLS_CSR_INSIDE_H

#include "tls/csr.h"
#include "tls/der.h"

#define OID(s) s, sizeof(s) - 1

#define OID_EXTENSION_REQUEST OID("\x2a\x86\x48\x86\xf7\x0d\x01\x09\x0e") /* RFC 2985, 5.4.2 */
#define OID_SUBJECT_ALT_NAME  OID("\x55\x1d\x11")
#define OID_KEY_USAGE         OID("\x55\x1d\x0f")
#define OID_EXT_KEY_USAGE     OID("\x55\x1d\x25")
#define OID_CONSTRAINTS       OID("\x55\x1d\x13")
#define OID_SUBJECT_KEY_ID    OID("\x55\x1d\x0e")
#define OID_AUTHORITY_KEY_ID  OID("\x55\x1d\x23")
#define OID_CLIENT_AUTH       OID("\x2b\x06\x01\x05\x05\x07\x03\x02")

#define DER_ATTRIBUTES 0xa0 /* [0] of the request */

/* Tags of GeneralName (RFC 5280, 4.2.1.6). */
enum csr_san {
    CSR_SAN_EMAIL = 0x81,
    CSR_SAN_DNS = 0x82,
    CSR_SAN_URI = 0x86,
    CSR_SAN_IP = 0x87,
};

/* All append, and return 0 or -ERR_NOMEM. */
int csr_put_name(struct buf *out, const struct dn *dn);
int csr_put_san(struct buf *out, const struct san *san);
int csr_put_usages(struct buf *out); /* the extensions that say what a client's key is for */

#endif
