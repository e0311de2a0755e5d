/* tls/ca.h - a small certificate authority out of two files, for trials: it signs client
 * certificates for requests that were checked.
 *
 * The key lies in memory for keys (base/secret.h) from ca_new to ca_free, and in no other place.
 * One thread.
 */
#ifndef TLS_CA_H
#define TLS_CA_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "tls/csr.h"

struct ca;

/* Read the CA's certificate, with its issuers behind it if it has any, and its key: PEM, EC or RSA,
 * not encrypted, of a file that others cannot read.  Both files may be one.  It must be a CA that
 * may sign certificates, valid at `now_s` (wall clock), and the key must be its own.  Returns
 * owned, or NULL with err: the file, what is wrong, what to do. */
struct ca *ca_new(const char *cert_file, const char *key_file, int64_t now_s, struct err *err);
void ca_free(struct ca *ca); /* wipes; NULL is fine */

int64_t ca_not_after_s(const struct ca *ca);

/* Sign.  The subject, the key and the names are those of the request, the serial number is random
 * (127 bits), the purpose is that of a client.  Dates beyond the CA's own become those.  Appends
 * PEM: the certificate, then the CA's own and its issuers, self-signed ones left out.  Returns 0,
 * -ERR_TLS, -ERR_NOMEM, -ERR_EXPIRED when nothing of the time is left. */
int ca_sign(const struct ca *ca, const struct csr *csr, int64_t not_before_s, int64_t not_after_s,
            struct buf *pem, struct err *err);

#endif
