/* The reader of signed commands: what comes is opened as it is; and as the payload, or the header,
 * of a command that is signed well, so that what stands behind the signature is reached. */
#include <assert.h>
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64url.h"
#include "control/signed.h"
#include "tls/jws.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The key of RFC 8037, appendix A.1. */
static const char secret[] = "-----BEGIN PRIVATE KEY-----\n"
                             "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
                             "-----END PRIVATE KEY-----\n";
static const char public[] = "-----BEGIN PUBLIC KEY-----\n"
                             "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
                             "-----END PUBLIC KEY-----\n";

static struct jws_signer *signer;
static struct signed_operator alice = {.name = "alice", .roles = 7};

static void open_it(const char *text, size_t n, bool sound)
{
    const struct signed_rules rules = {
        .operators = &alice,
        .operator_count = 1,
        .gateway = "gw-1",
        .now_s = 1900000000,
        .tolerance_s = 60,
        .max_expiry_s = 3600,
    };
    struct signed_command c;
    struct rpc_fault f = {0};

    (void)signed_looks(text, n);
    if (signed_open(&rules, text, n, &c, &f) == 0) {
        assert(c.by == &alice && c.request != NULL && c.jti[0] != '\0' && f.code == RPC_OK);
    } else {
        assert(f.code != RPC_OK && f.message[0] != '\0');
        assert(!sound || f.code != RPC_SIGNATURE);
    }
    signed_command_fini(&c);
    rpc_fault_fini(&f);
}

/* A command of these bytes, with a signature that is good. */
static void open_signed(const char *header, size_t header_n, const uint8_t *payload, size_t n,
                        bool sound)
{
    uint8_t signature[JWS_SIGNATURE_BYTES];
    struct buf text = {0};

    base64url_encode(header, header_n, &text);
    buf_append_u8(&text, '.');
    base64url_encode(payload, n, &text);
    if (jws_sign(signer, text.p, text.len, signature, NULL) != 0)
        abort();
    buf_append_u8(&text, '.');
    base64url_encode(signature, sizeof(signature), &text);
    open_it((const char *)text.p, text.len, sound);
    buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char header[] = "{\"alg\":\"EdDSA\",\"kid\":\"alice\"}";

    if (signer == NULL) {
        signer = jws_signer_new(secret, strlen(secret), NULL);
        alice.key = jws_key_new(public, strlen(public), NULL);
        if (signer == NULL || alice.key == NULL)
            abort();
    }
    open_it((const char *)data, size, false);
    open_signed(header, strlen(header), data, size, true);
    open_signed((const char *)data, size, (const uint8_t *)"{}", 2, false);
    return 0;
}
