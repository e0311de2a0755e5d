/* OCSP: a response about a certificate.  The input is an octet that chooses the time, then issuer,
 * certificate and response, one behind the other.
 *
 * Hardly any signature holds of what a fuzzer makes, so each input is judged twice: as it is, and
 * with every signature taken for good, which leads behind that check.
 */
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tls/ctx.h"
#include "tls/ocsp.h"
#include "tls/sig.h"

#define MADE_S INT64_C(1795670000) /* when the seeds were made */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int __real_sig_verify(struct der alg, struct der data, struct der sig, struct der spki,
                      struct err *err);
int __wrap_sig_verify(struct der alg, struct der data, struct der sig, struct der spki,
                      struct err *err);

static bool believes;

int __wrap_sig_verify(struct der alg, struct der data, struct der sig, struct der spki,
                      struct err *err)
{
    return believes ? 0 : __real_sig_verify(alg, data, sig, spki, err);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct err err = {0};

    (void)argc, (void)argv;
    return tls_init(&err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const int64_t times[] = {MADE_S, MADE_S + INT64_C(30) * 86400, 0, INT64_MAX / 4};
    struct der all, issuer, leaf, body;
    enum ocsp_verdict verdict, believed;
    char why[120], again[120];
    int64_t now_s;
    uint8_t tag;

    if (n == 0)
        return 0;
    all = der_of(data + 1, n - 1);
    now_s = times[data[0] & 3];
    if (!der_any(&all, &tag, &body, &issuer) || !der_any(&all, &tag, &body, &leaf))
        return 0;
    believes = false;
    verdict = ocsp_judge(all, leaf, issuer, now_s, why, sizeof(why));
    assert(memchr(why, '\0', sizeof(why)) != NULL);
    assert(verdict != OCSP_SAYS_GOOD || why[0] == '\0');
    assert(verdict != OCSP_SAYS_NOTHING || why[0] != '\0');
    believes = true;
    believed = ocsp_judge(all, leaf, issuer, now_s, again, sizeof(again));
    assert(memchr(again, '\0', sizeof(again)) != NULL);
    assert(verdict == OCSP_SAYS_NOTHING || (verdict == believed && strcmp(why, again) == 0));
    return 0;
}
