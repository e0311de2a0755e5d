#include "tls/fail.h"

#include <stddef.h>

struct alert_row {
    int alert;
    const char *name;
    const char *from_server; /* what to do when a server sends it */
    const char *from_client; /* and when a client does */
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define OUR_CHAIN "look at the listener's certificate: the client refuses it"
#define VERSIONS  "compare the TLS versions and ciphers of both sides"
#define NOT_BY_US "look into the log of the other side"
#define TRUST_NEW \
    "add the CA that issued this identity to the CAs that the server trusts for clients"
#define TRUST_US \
    "the client must trust the CA of the listener's chain: give it the chain that it pinned (sni)"

/* clang-format off */
static const struct alert_row alerts[] = { /* RFC 8446, 6, RFC 5246, 7.2 */
    {   0, "close_notify",                    NOT_BY_US, NOT_BY_US },
    {  10, "unexpected_message",              NOT_BY_US, NOT_BY_US },
    {  20, "bad_record_mac",                  "the connection is damaged on its way: look for a broken middlebox", "the connection is damaged on its way: look for a broken middlebox" },
    {  21, "decryption_failed",               NOT_BY_US, NOT_BY_US },
    {  22, "record_overflow",                 NOT_BY_US, NOT_BY_US },
    {  30, "decompression_failure",           NOT_BY_US, NOT_BY_US },
    {  40, "handshake_failure",               "the server wants a client certificate that we did not send, or no cipher is common: " VERSIONS, VERSIONS },
    {  41, "no_certificate",                  NOT_BY_US, NOT_BY_US },
    {  42, "bad_certificate",                 "the server does not take this identity's certificate: check key size, digest and validity, and the server's clock", OUR_CHAIN },
    {  43, "unsupported_certificate",         "have the certificate issued with the extended key usage clientAuth", OUR_CHAIN },
    {  44, "certificate_revoked",             "the CA revoked this certificate: install another identity", "the CA revoked the listener's certificate: install another" },
    {  45, "certificate_expired",             "renew this identity's certificate; if it is valid, check the server's clock", "renew the listener's certificate; if it is valid, check the client's clock" },
    {  46, "certificate_unknown",             "the server does not take this identity's certificate: " NOT_BY_US, OUR_CHAIN },
    {  47, "illegal_parameter",               NOT_BY_US, NOT_BY_US },
    {  48, "unknown_ca",                      TRUST_NEW, TRUST_US },
    {  49, "access_denied",                   "the server knows this certificate and denies it: check its access rules", NOT_BY_US },
    {  50, "decode_error",                    NOT_BY_US, NOT_BY_US },
    {  51, "decrypt_error",                   "the server could not verify our signature: does the key belong to the certificate?", "the client could not verify our signature: does the listener's key belong to its certificate?" },
    {  60, "export_restriction",              VERSIONS, VERSIONS },
    {  70, "protocol_version",                "the server does not speak any TLS version of this profile: widen min_tls and max_tls, or update the server", "the client is too old for this listener: lower its min_tls, for such clients alone" },
    {  71, "insufficient_security",           VERSIONS, VERSIONS },
    {  80, "internal_error",                  NOT_BY_US, NOT_BY_US },
    {  86, "inappropriate_fallback",          NOT_BY_US, NOT_BY_US },
    {  90, "user_canceled",                   NOT_BY_US, NOT_BY_US },
    { 100, "no_renegotiation",                NOT_BY_US, NOT_BY_US },
    { 109, "missing_extension",               NOT_BY_US, NOT_BY_US },
    { 110, "unsupported_extension",           NOT_BY_US, NOT_BY_US },
    { 111, "certificate_unobtainable",        NOT_BY_US, NOT_BY_US },
    { 112, "unrecognized_name",               "the server does not know the name that we asked for: check the profile's sni", NOT_BY_US },
    { 113, "bad_certificate_status_response", NOT_BY_US, NOT_BY_US },
    { 114, "bad_certificate_hash_value",      NOT_BY_US, NOT_BY_US },
    { 115, "unknown_psk_identity",            NOT_BY_US, NOT_BY_US },
    { 116, "certificate_required",            "the server wants a client certificate: give the device an identity", NOT_BY_US },
    { 120, "no_application_protocol",         "the server does not offer the protocol that we asked for: check the profile's alpn", NOT_BY_US },
};

static const struct tls_fault_words faults[TLS_FAULTS] = {
    [TLS_FAULT_NONE]           = { NULL, "", "", "" },
    [TLS_FAULT_SELF_SIGNED]    = { "X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT", "is self-signed and no trust anchor",
                                   "have it issued by a CA of the listener's anchors, or add the certificate itself as an anchor",
                                   "add this certificate to the profile's anchors if it is the right server" },
    [TLS_FAULT_UNKNOWN_ISSUER] = { "X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "was issued by an unknown CA",
                                   "add its CA to the listener's anchors, or let the client send its intermediates",
                                   "add its CA to the profile's anchors, or let the server send its intermediates" },
    [TLS_FAULT_BAD_SIGNATURE]  = { "X509_V_ERR_CERT_SIGNATURE_FAILURE", "is not signed by the CA whose name it carries",
                                   "two CAs have the same name, or it is forged: look at where it comes from",
                                   "two CAs have the same name, or it is forged: look at which server answers" },
    [TLS_FAULT_REVOKED]        = { "X509_V_ERR_CERT_REVOKED", "was revoked by its CA",
                                   "give the client another certificate", "give the server another certificate" },
    [TLS_FAULT_NOT_YET_VALID]  = { "X509_V_ERR_CERT_NOT_YET_VALID", "is not yet valid",
                                   "check this gateway's clock; or have it issued again, backdated by 24 h",
                                   "check this gateway's clock; or have it issued again, backdated by 24 h" },
    [TLS_FAULT_EXPIRED]        = { "X509_V_ERR_CERT_HAS_EXPIRED", "has expired",
                                   "renew the client's certificate; if it is valid, check this gateway's clock",
                                   "renew the server's certificate; if it is valid, check this gateway's clock" },
    [TLS_FAULT_SMALL_KEY]      = { "X509_V_ERR_EE_KEY_TOO_SMALL", "has a key that is too small",
                                   "have it issued for a larger key, or lower the listener's min_rsa_bits",
                                   "have the server's certificate issued for a key of 2048 bits or more" },
    [TLS_FAULT_WEAK_DIGEST]    = { "X509_V_ERR_CA_MD_TOO_WEAK", "is signed with a digest that proves nothing (MD5, SHA-1)",
                                   "have it issued again with SHA-256", "have it issued again with SHA-256" },
    [TLS_FAULT_PURPOSE]        = { "X509_V_ERR_INVALID_PURPOSE", "may not be used for this (extended key usage)",
                                   "have it issued with the extended key usage clientAuth",
                                   "have it issued with the extended key usage serverAuth" },
    [TLS_FAULT_NAME]           = { "X509_V_ERR_HOSTNAME_MISMATCH", "belongs to another name",
                                   "", "check the profile's server_name, or have the certificate issued for it" },
    [TLS_FAULT_PATH_LENGTH]    = { "X509_V_ERR_PATH_LENGTH_EXCEEDED", "has more CAs above it than they allow",
                                   "have it issued by a CA whose path length allows it",
                                   "have it issued by a CA whose path length allows it" },
    [TLS_FAULT_CHAIN_LENGTH]   = { "X509_V_ERR_CERT_CHAIN_TOO_LONG", "comes with a chain that is too long",
                                   "let the client send its issuers alone", "let the server send its issuers alone" },
    [TLS_FAULT_NO_CRL]         = { "X509_V_ERR_UNABLE_TO_GET_CRL", "has a CA without a valid CRL",
                                   "load a current CRL of its CA", "load a current CRL of its CA" },
    [TLS_FAULT_CRL_EXPIRED]    = { "X509_V_ERR_CRL_HAS_EXPIRED", "has a CA whose CRL is out of date",
                                   "load a current CRL of its CA", "load a current CRL of its CA" },
    [TLS_FAULT_NO_POSSESSION]  = { NULL, "came without proof that the peer holds its key",
                                   "the client has the wrong key, or pretends to be somebody else",
                                   "the server has the wrong key, or pretends to be somebody else" },
    [TLS_FAULT_MALFORMED]      = { NULL, "cannot be read", "have it issued again", "have it issued again" },
    [TLS_FAULT_MISSING]        = { NULL, "was not sent",
                                   "give the client a certificate, or set the listener's client_cert to request",
                                   "the server must send a certificate" },
};
/* clang-format on */

static const struct alert_row *find(int alert)
{
    for (size_t i = 0; i < COUNT(alerts); i++)
        if (alerts[i].alert == alert)
            return &alerts[i];
    return NULL;
}

const char *tls_alert_name(int alert)
{
    const struct alert_row *row = find(alert);

    if (alert < 0)
        return "none";
    return row == NULL ? "unknown" : row->name;
}

const char *tls_alert_remedy(int alert, bool from_server)
{
    const struct alert_row *row = find(alert);

    if (row == NULL)
        return NOT_BY_US;
    return from_server ? row->from_server : row->from_client;
}

const struct tls_fault_words *tls_fault_words(enum tls_fault fault)
{
    return &faults[fault < TLS_FAULTS ? fault : TLS_FAULT_NONE];
}
