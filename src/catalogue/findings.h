/* catalogue/findings.h - what can be wrong with an identity before anybody refuses it.
 *
 * The table alone: lint/lint.h makes its codes of it, and finds them; rows.c explains them.
 */
#ifndef CATALOGUE_FINDINGS_H
#define CATALOGUE_FINDINGS_H

/* One row for each finding: enumerator, stable code, what OpenSSL calls it (or NULL), severity,
 * what it means, remedy.  A severity may be another one where lint.c says why. */
/* clang-format off */
#define LINT_FINDINGS(X)                                                                                              \
    X(LINT_MALFORMED,        "lint.malformed",         NULL,                                          LINT_ERROR,      \
      "a certificate cannot be read",                                                                                 \
      "copy it again, or have it issued again")                                                                       \
    X(LINT_KEY_MISMATCH,     "lint.key-mismatch",      "X509_R_KEY_VALUES_MISMATCH",                  LINT_ERROR,      \
      "the private key is not that of the certificate",                                                               \
      "put the key that the CSR was made with beside it, or make a new key and CSR")                                  \
    X(LINT_KEY_UNREADABLE,   "lint.key-unreadable",    NULL,                                          LINT_ERROR,      \
      "the private key cannot be read, or is of a kind that is not known",                                            \
      "store it as unencrypted PEM: EC P-256, P-384, RSA or Ed25519")                                                 \
    X(LINT_NOT_YET_VALID,    "lint.not-yet-valid",     "X509_V_ERR_CERT_NOT_YET_VALID",               LINT_ERROR,      \
      "a certificate is not valid yet",                                                                               \
      "check the clock, or have it issued again, backdated by 24 h")                                                  \
    X(LINT_NOT_BACKDATED,    "lint.not-backdated",     NULL,                                          LINT_WARNING,    \
      "it became valid so recently that a peer whose clock is behind refuses it",                                     \
      "wait, or have certificates issued with notBefore 24 h back")                                                   \
    X(LINT_EXPIRED,          "lint.expired",           "X509_V_ERR_CERT_HAS_EXPIRED",                 LINT_ERROR,      \
      "a certificate is not valid any more",                                                                          \
      "check the clock, or have it issued again")                                                                     \
    X(LINT_EXPIRING,         "lint.expiring",          NULL,                                          LINT_WARNING,    \
      "a certificate ends soon",                                                                                      \
      "have its successor issued, install it in the new slot, and flip")                                              \
    X(LINT_VALIDITY,         "lint.validity-policy",   NULL,                                          LINT_ERROR,      \
      "it is valid for longer than lint.max_validity_days, or for no time at all",                                    \
      "have it issued for a shorter time, or raise lint.max_validity_days")                                           \
    X(LINT_INCOMPLETE,       "lint.chain-incomplete",  "X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY", LINT_ERROR,     \
      "the issuer of a certificate is neither in the chain nor an anchor",                                            \
      "add the intermediates behind the certificate, or the CA to the anchors")                                       \
    X(LINT_UNKNOWN_ANCHOR,   "lint.unknown-anchor",    "X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN",        LINT_ERROR,      \
      "the chain ends at a root that is no anchor",                                                                   \
      "have it issued by a CA that is known, or add the root to the anchors")                                         \
    X(LINT_SELF_SIGNED,      "lint.self-signed",       "X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT",      LINT_ERROR,      \
      "it is signed by its own key: only who has pinned it believes it",                                              \
      "have it issued by a CA, or pin it")                                                                            \
    X(LINT_SIGNATURE_BAD,    "lint.signature-bad",     "X509_V_ERR_CERT_SIGNATURE_FAILURE",           LINT_ERROR,      \
      "the signature is not that of the issuer whose name it carries",                                                \
      "put the certificate of the CA that signed it (a renewed CA may have another key), or copy it again")           \
    X(LINT_SIGNATURE_UNKNOWN, "lint.signature-unknown", NULL,                                         LINT_WARNING,    \
      "the signature is by an algorithm that cannot be checked here",                                                 \
      "have it signed with ECDSA or RSA and SHA-256 or better")                                                       \
    X(LINT_KEY_ID,           "lint.key-id",            "X509_V_ERR_AKID_SKID_MISMATCH",               LINT_ERROR,      \
      "its authority key identifier is not that of the CA that signed it: peers do not find the issuer",              \
      "put the certificate of the CA that it names, or have it issued again")                                         \
    X(LINT_PURPOSE,          "lint.extended-key-usage", "X509_V_ERR_INVALID_PURPOSE",                 LINT_ERROR,      \
      "the extended key usage does not allow it",                                                                     \
      "have it issued with extendedKeyUsage clientAuth (for a server: serverAuth)")                                   \
    X(LINT_ANY_PURPOSE,      "lint.any-purpose",       "X509_V_ERR_INVALID_PURPOSE",                  LINT_WARNING,    \
      "the extended key usage allows it by anyExtendedKeyUsage alone, which OpenSSL does not take",                   \
      "have it issued with extendedKeyUsage clientAuth (for a server: serverAuth)")                                   \
    X(LINT_KEY_USAGE,        "lint.key-usage",         "X509_V_ERR_INVALID_PURPOSE",                  LINT_ERROR,      \
      "the key usage does not allow it",                                                                              \
      "have it issued with keyUsage digitalSignature (a CA: keyCertSign)")                                            \
    X(LINT_NOT_A_CA,         "lint.basic-constraints", "X509_V_ERR_INVALID_CA",                       LINT_ERROR,      \
      "a certificate that is no CA has issued another one",                                                           \
      "have it issued by a CA, whose certificate says CA:TRUE")                                                       \
    X(LINT_CA_AS_LEAF,       "lint.ca-as-leaf",        NULL,                                          LINT_WARNING,    \
      "it is a CA's own certificate: whoever steals its key issues others",                                           \
      "have one issued for the device, with CA:FALSE")                                                                \
    X(LINT_PATH_LENGTH,      "lint.path-length",       "X509_V_ERR_PATH_LENGTH_EXCEEDED",             LINT_ERROR,      \
      "more intermediates than a CA allows below itself",                                                             \
      "have the intermediate issued by a CA that allows it")                                                          \
    X(LINT_NAME_CONSTRAINTS, "lint.name-constraints",  "X509_V_ERR_PERMITTED_VIOLATION",              LINT_ERROR,      \
      "a name that a CA above may not issue for",                                                                     \
      "have it issued for another name, or by another CA")                                                            \
    X(LINT_CRITICAL,         "lint.critical-extension", "X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION",    LINT_ERROR,      \
      "a critical extension that peers do not know",                                                                  \
      "have it issued without that extension, or with it not critical")                                               \
    X(LINT_NAME,             "lint.name",              NULL,                                          LINT_WARNING,    \
      "neither subject nor alternative names name the device",                                                        \
      "check that this is the identity of this device; lint.name_match says how much this counts")                    \
    X(LINT_WEAK_KEY,         "lint.weak-key",          "X509_V_ERR_EE_KEY_TOO_SMALL",                 LINT_ERROR,      \
      "a key that is too small, or of a kind that TLS peers do not take",                                             \
      "make a key with EC P-256, or RSA of 2048 bits, and have it certified")                                         \
    X(LINT_WEAK_DIGEST,      "lint.weak-digest",       "X509_V_ERR_CA_MD_TOO_WEAK",                   LINT_ERROR,      \
      "signed over MD5 or SHA-1, which can be forged",                                                                \
      "have it issued again with SHA-256")                                                                            \
    X(LINT_REVOKED,          "lint.revoked",           "X509_V_ERR_CERT_REVOKED",                     LINT_ERROR,      \
      "it was revoked by its issuer",                                                                                 \
      "make a new key and have it certified")                                                                         \
    X(LINT_KEY_REUSED,       "lint.key-reused",        NULL,                                          LINT_WARNING,    \
      "the same private key serves another identity: who steals one has both",                                        \
      "make a new key for each identity")                                                                             \
    X(LINT_SERIAL_REUSED,    "lint.duplicate-serial",  NULL,                                          LINT_WARNING,    \
      "another certificate of this issuer has the same serial number: to revoke one revokes both",                    \
      "have the CA give every certificate a number of its own")                                                       \
    X(LINT_STRAY,            "lint.stray-certificate", NULL,                                          LINT_WARNING,    \
      "a certificate that is no part of the path",                                                                    \
      "take it out of the file")                                                                                      \
    X(LINT_ROOT_SENT,        "lint.root-in-chain",     NULL,                                          LINT_INFO,       \
      "the root stands in the chain and is sent with every handshake, for nothing",                                   \
      "take it out of the file")                                                                                      \
    X(LINT_CLOCK,            "lint.clock",             NULL,                                          LINT_WARNING,    \
      "this machine's clock is not synchronised: what is said of dates may be wrong",                                 \
      "see timedatectl")
/* clang-format on */

#endif
