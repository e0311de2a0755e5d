/* tls/names.h - name constraints of RFC 5280, 4.2.1.10: may a certificate carry its names below
 * that CA?  Everything is borrowed, and DER.  Pure, any thread. */
#ifndef TLS_NAMES_H
#define TLS_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

enum names {
    NAMES_PERMITTED,
    NAMES_NOT_PERMITTED, /* permittedSubtrees of this kind, and it is in none of them */
    NAMES_EXCLUDED,
    NAMES_UNKNOWN, /* a kind of name, a syntax or a bound (minimum, maximum) that is not known here
                    */
};

/* Look at the subject, the alternative names and, where `leaf`, a CN that looks like a host name
 * beside no alternative one (as OpenSSL does), all against the constraints of `ca`.  Without
 * constraints everything is permitted.  Unless it is, the name in question is in `which`. */
enum names names_check(struct slice ca, struct slice cert, bool leaf, char *which, size_t n);

#endif
