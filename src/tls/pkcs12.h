/* tls/pkcs12.h - reading PKCS#12 containers (RFC 7292): .p12, .pfx.
 *
 * DER and BER, MAC or none, PBES2 and the older schemes, bags in any order and nesting.  Any
 * thread; private to this folder.
 */
#ifndef TLS_PKCS12_H
#define TLS_PKCS12_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "tls/der.h"

#define PKCS12_NAME_MAX 128

/* Who is told what a container holds.  All is borrowed for the call; `name` is the friendlyName,
 * one line of UTF-8, "" when there is none.  A negative return ends the reading with it. */
struct pkcs12_sink {
    int (*cert)(void *arg, struct der cert, const char *name, struct err *err);
    int (*key)(void *arg, struct der pkcs8, const char *name, struct err *err); /* plain */
    void *arg;
};

bool pkcs12_is(struct der file); /* by its outline */

/* Read the container with this password (UTF-8; NULL: none was given).  Where it is empty, both
 * ways to have none are tried.  Nothing is told before the password and the MAC were found good.
 * Returns 0; -ERR_DENIED when the password is wrong or missing; -ERR_SYNTAX when the file is
 * damaged (the password opens it, but its MAC is wrong; or it is cut off); or another negative
 * code. */
int pkcs12_read(struct der file, const char *password, const struct pkcs12_sink *sink,
                struct err *err);

#endif
