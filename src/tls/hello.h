/* tls/hello.h - what a ClientHello says about the client (RFC 8446, 4.1.2; RFC 5246, 7.4.1.2).
 *
 * Read before the library sees it, to choose the server's chain.  Pure, any thread; private to this
 * folder.
 */
#ifndef TLS_HELLO_H
#define TLS_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "tls/der.h"

#define HELLO_NAME_BYTES  256
#define HELLO_NAMES_MAX   512 /* of CAs; who names more has not chosen them */
#define HELLO_VERSIONS    4   /* TLS 1.0 to 1.3 */
#define HELLO_VERSION_OLD 0x0301
#define HELLO_VERSION_NEW 0x0304

/* All runs are borrowed, in network order; n is 0 where there is none. */
struct hello {
    uint8_t versions;            /* bit v - 0x0301 for each that is offered */
    struct slice suites;         /* of two octets each */
    struct slice schemes;        /* signature_algorithms */
    struct slice cert_schemes;   /* signature_algorithms_cert */
    struct slice groups;         /* supported_groups */
    struct slice authorities;    /* certificate_authorities, or the names of trusted_ca_keys when it
                                    has nothing else: names, each behind its length in two octets
                                    (and the octet of its type) */
    bool typed;                  /* that octet is there: trusted_ca_keys */
    char name[HELLO_NAME_BYTES]; /* server_name in lower case; empty: none */
};

/* Read the hello out of the first record.  False when it is not whole there, or is none; *out then
 * says nothing. */
bool hello_read(const uint8_t *record, size_t n, struct hello *out);

/* Is the number in a run of two octets each? */
bool hello_lists(struct slice run, unsigned number);
/* The newest version that is offered and is not above `most`; 0: none. */
unsigned hello_version(const struct hello *h, unsigned most);
/* The next name of a CA, an encoded Name; false at the end. */
bool hello_authority(const struct hello *h, struct slice *rest, struct der *name);

#endif
