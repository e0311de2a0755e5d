/* tls/excuse.h - a client's certificate that was accepted by exception alone.
 *
 * Which exceptions would do is known in the handshake; which of them counts only when it is known
 * what device it is.  Then whoever holds this asks, and refuses the device when none is for it.
 */
#ifndef TLS_EXCUSE_H
#define TLS_EXCUSE_H

#include "tls/policy.h"

struct tls_excuse;

/* The exception by which this device may use the certificate, still now; borrowed for the life of
 * `e`, or NULL: there is none. */
const struct tls_exception *tls_excuse_for(const struct tls_excuse *e, const char *device);

/* What is excused: "has expired, is signed with a weak digest".  Returns out. */
char *tls_excuse_text(const struct tls_excuse *e, char *out, size_t n);

void tls_excuse_free(struct tls_excuse *e); /* NULL is fine */

#endif
