/* tls/uri.h - which key of which token, as RFC 7512 writes it.  Pure, any thread. */
#ifndef TLS_URI_H
#define TLS_URI_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define PKCS11_URI_TEXT 256 /* a value, and its NUL */
#define PKCS11_URI_ID   64

struct pkcs11_uri {
    char token[PKCS11_URI_TEXT];  /* CK_TOKEN_INFO.label without its padding; "": any */
    char serial[PKCS11_URI_TEXT]; /* CK_TOKEN_INFO.serialNumber; "": any */
    char object[PKCS11_URI_TEXT]; /* CKA_LABEL; "": any */
    uint8_t id[PKCS11_URI_ID];    /* CKA_ID, id_len bytes; 0: any */
    size_t id_len;
};

/* Read a URI, blanks around it allowed.  It names a key by object, by id, or by both; a PIN in it
 * is refused, since PINs do not belong there.  Returns 0, or -ERR_SYNTAX or -ERR_INVALID with err
 * and `out` as it was. */
int pkcs11_uri_read(const char *text, size_t n, struct pkcs11_uri *out, struct err *err);

/* Append "pkcs11:token=...;object=...;id=...;type=private" without newline.  Returns 0 or
 * -ERR_NOMEM. */
int pkcs11_uri_write(const struct pkcs11_uri *uri, struct buf *out);

#endif
