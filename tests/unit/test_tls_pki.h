/* test_tls_pki.h - the certificates of tls_pki.sh in a temporary folder, for the tests of src/tls.
 */
#ifndef TEST_TLS_PKI_H
#define TEST_TLS_PKI_H

#include "base/buf.h"
#include "tls/cert.h"
#include "tls/cred.h"
#include "tls/ctx.h"

int pki_setup(void **state);    /* a group's setup: makes them once */
int pki_teardown(void **state); /* removes the folder */

const char *pki(const char *file); /* a path in the folder; a few live at a time */
void pki_read(const char *file, struct buf *out);
void pki_write(const char *file, const void *data, size_t n, unsigned mode);
struct cert_info *
pki_info(const char *file); /* returns owned: the first certificate of a PEM file */
/* The anchors of these files, of pki(); `trust` points to what is freed with the group, or NULL
 * when a file is refused, with err. */
int pki_trust(const char *const *files, size_t n, struct tls_trust *trust, struct err *err);
struct tls_trust pki_anchors(const char *file); /* of one file that is good; NULL: none */
struct cred *
pki_cred(const char *name); /* returns owned: NAME-chain.pem or NAME.pem with NAME.key */

#endif
