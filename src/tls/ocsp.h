/* tls/ocsp.h - what a CA says of one certificate, in an OCSP response (RFC 6960).
 *
 * The response comes from the server whose certificate it is about, in the handshake (stapled: RFC
 * 6066, 8; RFC 8446, 4.4.2.1).  Nobody is asked over the network.  Pure, any thread; private to
 * this folder.
 */
#ifndef TLS_OCSP_H
#define TLS_OCSP_H

#include <stddef.h>
#include <stdint.h>

#include "tls/ctx.h"
#include "tls/der.h"

#define OCSP_TOLERANCE_S 300   /* how far the clocks of the CA and ours may differ */
#define OCSP_DAY_S       86400 /* how long a response counts that does not say it itself */

enum ocsp_verdict {
    OCSP_SAYS_GOOD,
    OCSP_SAYS_REVOKED, /* however old that word is */
    OCSP_SAYS_UNKNOWN, /* the CA does not know the certificate */
    OCSP_SAYS_STALE,   /* it is past its nextUpdate, or not yet valid */
    OCSP_SAYS_NOTHING, /* cannot be read, is about another certificate, or by somebody else */
};

/* What `response` says of the certificate `leaf`, that `issuer` has issued (all three whole DER),
 * at `now_s` (wall clock).  It counts when it is signed by the issuer, or by a certificate in it
 * that the issuer has issued for that (extended key usage OCSPSigning), with no weak digest.  `why`
 * gets the reason in words: when and why it was revoked, or what is wrong with the response; else
 * "". */
enum ocsp_verdict ocsp_judge(struct der response, struct der leaf, struct der issuer, int64_t now_s,
                             char *why, size_t why_bytes);

/* -- how the response is come by (staple.c) ------------------------------------------------------
 */

/* Called in the handshake, inside the library, with the response that the server sent.  False ends
 * the handshake. */
typedef bool (*staple_fn)(void *arg, const uint8_t *response, size_t n);

/* Around each of the library's steps of a client's handshake, on its thread: who gets the response.
 * NULL: nobody any more. */
void staple_for(staple_fn fn, void *arg);

/* Has the library come by here on this thread, ever? */
bool staple_called(void);

#endif
