/* net/listen.h - listening sockets, bound before a loop knows them, so that what is in use is an
 * error at start. */
#ifndef NET_LISTEN_H
#define NET_LISTEN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* A bound TCP socket (not listening yet), close-on-exec, SO_REUSEPORT so that each worker has its
 * own.  `address` is an IP literal, or "*" for every address of both families.  `probe`: first make
 * sure that nobody else has the port (the first worker asks for it; SO_REUSEPORT alone would share
 * the port with a second daemon in silence). Returns the descriptor, or -ERR_IO / -ERR_INVALID with
 * err. */
int listen_tcp(const char *address, uint16_t port, bool probe, struct err *err);

/* A bound Unix socket, mode 0600; a stale one of a former run is replaced, a live one is an error.
 */
int listen_unix(const char *path, struct err *err);

#endif
