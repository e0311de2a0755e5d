/* tls/verify.h - did this key sign that certificate, and does it belong to this one?
 *
 * Asked of single pairs: whether a path of certificates holds is lint's business, and whether a
 * peer is believed is that of conn.h.  Everything is borrowed, and DER.  Pure, any thread.
 */
#ifndef TLS_VERIFY_H
#define TLS_VERIFY_H

#include <stddef.h>

#include "base/str.h"

enum verify {
    VERIFY_GOOD,
    VERIFY_BAD,
    VERIFY_UNKNOWN, /* an algorithm, a curve or a size that the library has not */
};

/* Was `subject` signed with the key that is in `issuer`?  Both are certificates; their names are
 * not looked at. */
enum verify verify_signed(struct slice subject, struct slice issuer);

/* Is `key` (PKCS#1, SEC1 or PKCS#8) the private key of the certificate?  VERIFY_UNKNOWN also for a
 * key that cannot be read. */
enum verify verify_key(struct slice cert, struct slice key);

#endif
