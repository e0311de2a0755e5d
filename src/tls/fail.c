#include "tls/fail.h"

#include <stddef.h>

#include "catalogue/catalogue.h"

#define NOT_BY_US "look into the log of the other side"

/* clang-format off */
static const struct tls_fault_words faults[TLS_FAULTS] = {
    [TLS_FAULT_NONE]           = { NULL, "", "" },
    [TLS_FAULT_SELF_SIGNED]    = { "X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT", "self-signed", "is self-signed and no trust anchor" },
    [TLS_FAULT_UNKNOWN_ISSUER] = { "X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "unknown-issuer", "was issued by an unknown CA" },
    [TLS_FAULT_BAD_SIGNATURE]  = { "X509_V_ERR_CERT_SIGNATURE_FAILURE", "signature", "is not signed by the CA whose name it carries" },
    [TLS_FAULT_REVOKED]        = { "X509_V_ERR_CERT_REVOKED", "revoked", "was revoked by its CA" },
    [TLS_FAULT_NOT_YET_VALID]  = { "X509_V_ERR_CERT_NOT_YET_VALID", "not-yet-valid", "is not yet valid" },
    [TLS_FAULT_EXPIRED]        = { "X509_V_ERR_CERT_HAS_EXPIRED", "expired", "has expired" },
    [TLS_FAULT_SMALL_KEY]      = { "X509_V_ERR_EE_KEY_TOO_SMALL", "key-too-small", "has a key that is too small" },
    [TLS_FAULT_WEAK_DIGEST]    = { "X509_V_ERR_CA_MD_TOO_WEAK", "weak-digest", "is signed with a digest that proves nothing (MD5, SHA-1)" },
    [TLS_FAULT_PURPOSE]        = { "X509_V_ERR_INVALID_PURPOSE", "invalid-purpose", "may not be used for this (extended key usage)" },
    [TLS_FAULT_NAME]           = { "X509_V_ERR_HOSTNAME_MISMATCH", "name-mismatch", "belongs to another name" },
    [TLS_FAULT_PATH_LENGTH]    = { "X509_V_ERR_PATH_LENGTH_EXCEEDED", "path-length", "has more CAs above it than they allow" },
    [TLS_FAULT_CHAIN_LENGTH]   = { "X509_V_ERR_CERT_CHAIN_TOO_LONG", "chain-too-long", "comes with a chain that is too long" },
    [TLS_FAULT_NO_CRL]         = { "X509_V_ERR_UNABLE_TO_GET_CRL", "crl-missing", "has a CA without a valid CRL" },
    [TLS_FAULT_CRL_EXPIRED]    = { "X509_V_ERR_CRL_HAS_EXPIRED", "crl-expired", "has a CA whose CRL is out of date" },
    [TLS_FAULT_OCSP_UNKNOWN]   = { "X509_V_ERR_OCSP_CERT_UNKNOWN", "ocsp-unknown", "is not known to its CA's OCSP responder" },
    [TLS_FAULT_OCSP_EXPIRED]   = { NULL, "ocsp-expired", "came with an OCSP response that is out of date" },
    [TLS_FAULT_OCSP_INVALID]   = { "X509_V_ERR_OCSP_VERIFY_FAILED", "ocsp-invalid", "came with an OCSP response that proves nothing" },
    [TLS_FAULT_OCSP_MISSING]   = { "X509_V_ERR_OCSP_VERIFY_NEEDED", "ocsp-missing", "came without an OCSP response" },
    [TLS_FAULT_NO_POSSESSION]  = { NULL, "no-possession", "came without proof that the peer holds its key" },
    [TLS_FAULT_MALFORMED]      = { NULL, "malformed", "cannot be read" },
    [TLS_FAULT_MISSING]        = { NULL, "missing", "was not sent" },
};
/* clang-format on */

static const struct catalogue_row *alert_row(int alert, bool from_server)
{
    return catalogue_by_code(from_server ? CATALOGUE_ALERT : CATALOGUE_SENSOR_ALERT, alert);
}

const char *tls_alert_name(int alert)
{
    const struct catalogue_row *row = alert_row(alert, true);

    if (alert < 0)
        return "none";
    return row == NULL ? "unknown" : row->word;
}

const char *tls_alert_remedy(int alert, bool from_server)
{
    const struct catalogue_row *row = alert_row(alert, from_server);

    return row == NULL ? NOT_BY_US : row->remedy;
}

const struct tls_fault_words *tls_fault_words(enum tls_fault fault)
{
    return &faults[fault < TLS_FAULTS ? fault : TLS_FAULT_NONE];
}

const char *tls_fault_remedy(enum tls_fault fault, bool of_server)
{
    const struct catalogue_row *row = catalogue_by_word(
        of_server ? CATALOGUE_TRUST : CATALOGUE_CLIENT, tls_fault_words(fault)->word);

    return row == NULL ? "" : row->remedy;
}
