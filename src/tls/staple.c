/* tls/staple.c - the library hands the stapled response over, and judges nothing itself.
 *
 * Its own verdict cannot be had with a policy: a response that is late or cannot be read ends the
 * handshake there, before the verify callback (TLS 1.3), and nothing shows what it was.  So the two
 * functions with which it reads a response and compares it with the certificate are replaced by
 * ours when the program is linked (-Wl,--wrap, see Makefile.am).  That takes effect in the static
 * library alone.  It is linked into whatever has the library, so it needs nothing of it itself.
 */
#include "tls/ocsp.h"
#include "tls/wolf.h"

#include <wolfssl/wolfcrypt/asn.h>

int __wrap_OcspResponseDecode(OcspResponse *resp, void *cm, void *heap, int no_verify);
int __wrap_CompareOcspReqResp(OcspRequest *req, OcspResponse *resp);

static _Thread_local struct {
    staple_fn fn; /* NULL: no handshake is under way */
    void *arg;
} taker;
static _Thread_local bool called;

bool staple_called(void)
{
    return called;
}

void staple_for(staple_fn fn, void *arg)
{
    taker.fn = fn;
    taker.arg = arg;
}

/* Success says only that the handshake may go on: whoever takes the response judges it. */
int __wrap_OcspResponseDecode(OcspResponse *resp, void *cm, void *heap, int no_verify)
{
    (void)cm;
    (void)heap;
    (void)no_verify;
    called = true;
    if (taker.fn == NULL || !taker.fn(taker.arg, resp->source, resp->maxIdx))
        return ASN_PARSE_E;
    resp->responseStatus = OCSP_SUCCESSFUL;
    resp->single->status->status = CERT_GOOD;
    return 0;
}

/* Which certificate it is about is part of that judgement. */
int __wrap_CompareOcspReqResp(OcspRequest *req, OcspResponse *resp)
{
    (void)req;
    (void)resp;
    return taker.fn != NULL ? 0 : -1;
}
