/* Three tables: TLS alerts (RFC 8446, 6 and RFC 5246, 7.2), codes of CONNACK and DISCONNECT
 * (3.1.1, 3.2.2.3; 5.0, 3.2.2.2 and 3.14.2.1), and the reasons for which we refuse a server.  The
 * rest of this file is the order in which the facts are asked: what the peer said counts before
 * what we guess.
 */
#include "flip/diagnose.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct row {
    int code;
    enum diag_class class;
    const char *name;
    const char *sentence;
    const char *remedy;
};

/* Remedies that several rows share. */
#define ADD_CA \
    "add the CA that issued the new certificate at the broker (some take it only with a restart)"
#define REISSUE "have the certificate reissued, then install it"
#define FITTING \
    "compare the TLS settings of the profile (versions, ciphers, SNI, ALPN) with the broker's"
#define LOGIN "check the user, its password and what the broker derives from the certificate"
#define ALLOW "check at the broker what this certificate or user is allowed to do"
#define CLIENT_ID \
    "check the client id that the profile makes, and which one the broker ties to this certificate"
#define REPORT \
    "this is a fault in the broker or in certflip: report it with a trace of the connection"
#define WAIT       "nothing to do here: it is tried again; if it lasts, look at the broker"
#define LIMITS     "compare the device's settings with the limits of the broker"
#define BROKER_LOG "look into the broker's log for this moment"

/* clang-format off */
static const struct row alerts[] = {
    {   0, DIAG_SUSPECT,  "close_notify",           "the broker closed the TLS connection", BROKER_LOG },
    {  10, DIAG_PROTOCOL, "unexpected_message",     "the broker did not expect a TLS message of ours", REPORT },
    {  20, DIAG_PROTOCOL, "bad_record_mac",         "the broker could not verify a TLS record of ours", REPORT },
    {  21, DIAG_PROTOCOL, "decryption_failed",      "the broker could not decrypt a TLS record of ours", REPORT },
    {  22, DIAG_PROTOCOL, "record_overflow",        "a TLS record of ours was too long for the broker", REPORT },
    {  30, DIAG_PROTOCOL, "decompression_failure",  "the broker could not decompress TLS data", REPORT },
    {  40, DIAG_SUSPECT,  "handshake_failure",      "the broker found no acceptable set of TLS parameters, or no acceptable certificate", FITTING },
    {  41, DIAG_IDENTITY, "no_certificate",         "the broker wants a client certificate", "check that the identity has a certificate" },
    {  42, DIAG_IDENTITY, "bad_certificate",        "the broker does not accept the certificate (not yet valid, weak signature or key, corrupt)", "check its dates against the broker's clock, and its key size and signature; then have it reissued" },
    {  43, DIAG_IDENTITY, "unsupported_certificate","the broker does not support this kind of certificate", "have it reissued with the extended key usage clientAuth and a key type that the broker knows" },
    {  44, DIAG_IDENTITY, "certificate_revoked",    "the broker sees the certificate as revoked", REISSUE },
    {  45, DIAG_IDENTITY, "certificate_expired",    "the broker sees the certificate as expired", REISSUE },
    {  46, DIAG_IDENTITY, "certificate_unknown",    "the broker does not accept the certificate, for a reason of its own", BROKER_LOG },
    {  47, DIAG_PROTOCOL, "illegal_parameter",      "the broker found an illegal value in the TLS handshake", REPORT },
    {  48, DIAG_IDENTITY, "unknown_ca",             "the broker does not trust the issuer of the certificate", ADD_CA },
    {  49, DIAG_IDENTITY, "access_denied",          "the broker trusts the certificate, but denies access to it", ALLOW },
    {  50, DIAG_PROTOCOL, "decode_error",           "the broker could not decode a TLS message of ours", REPORT },
    {  51, DIAG_IDENTITY, "decrypt_error",          "the broker could not verify our signature: the key does not belong to the certificate", "install certificate and key of one pair" },
    {  60, DIAG_POLICY,   "export_restriction",     "the broker refused an export-grade key", FITTING },
    {  70, DIAG_POLICY,   "protocol_version",       "the broker does not speak the TLS versions of this profile", FITTING },
    {  71, DIAG_POLICY,   "insufficient_security",  "the broker demands stronger ciphers than this profile offers", FITTING },
    {  80, DIAG_BROKER,   "internal_error",         "the broker had an error of its own in the TLS handshake", WAIT },
    {  86, DIAG_POLICY,   "inappropriate_fallback", "the broker refused a lower TLS version than it could speak", FITTING },
    {  90, DIAG_BROKER,   "user_canceled",          "the broker gave up the TLS handshake", WAIT },
    { 100, DIAG_PROTOCOL, "no_renegotiation",       "the broker refused to renegotiate", REPORT },
    { 109, DIAG_POLICY,   "missing_extension",      "the broker misses a TLS extension", FITTING },
    { 110, DIAG_POLICY,   "unsupported_extension",  "the broker got a TLS extension that it did not ask for", FITTING },
    { 111, DIAG_BROKER,   "certificate_unobtainable", "the broker could not fetch a certificate", WAIT },
    { 112, DIAG_POLICY,   "unrecognized_name",      "the broker does not know the server name that we sent", "set sni in the profile to a name that the broker serves" },
    { 113, DIAG_PROTOCOL, "bad_certificate_status_response", "the broker could not use a certificate status", REPORT },
    { 114, DIAG_PROTOCOL, "bad_certificate_hash_value", "the broker saw a wrong certificate hash", REPORT },
    { 115, DIAG_POLICY,   "unknown_psk_identity",   "the broker does not know our pre-shared key", FITTING },
    { 116, DIAG_IDENTITY, "certificate_required",   "the broker wants a client certificate and got none", "check that the identity has a certificate" },
    { 120, DIAG_POLICY,   "no_application_protocol","the broker knows none of our ALPN names", "set alpn in the profile as the broker's manual says, often \"mqtt\"" },
};

/* CONNACK of MQTT 3.1 and 3.1.1. */
static const struct row returns[] = {
    { 0, DIAG_OK,       "accepted",              "the broker accepted the connection", "" },
    { 1, DIAG_PROTOCOL, "protocol-version",      "the broker does not speak this version of MQTT", "choose another protocol version in the profile" },
    { 2, DIAG_SUSPECT,  "identifier-rejected",   "the broker refused the client id", CLIENT_ID },
    { 3, DIAG_BROKER,   "server-unavailable",    "the broker says that it is unavailable", WAIT },
    { 4, DIAG_IDENTITY, "bad-user-or-password",  "the broker refused user name or password", LOGIN },
    { 5, DIAG_IDENTITY, "not-authorized",        "the broker does not authorise this client", ALLOW },
};

/* CONNACK and DISCONNECT of MQTT 5.0. */
static const struct row reasons[] = {
    { 0x00, DIAG_OK,       "success",                    "the broker accepted the connection", "" },
    { 0x80, DIAG_SUSPECT,  "unspecified-error",          "the broker does not want to say why", BROKER_LOG },
    { 0x81, DIAG_PROTOCOL, "malformed-packet",           "the broker could not parse a packet of ours", REPORT },
    { 0x82, DIAG_PROTOCOL, "protocol-error",             "the broker saw a packet that has no place there", REPORT },
    { 0x83, DIAG_SUSPECT,  "implementation-specific",    "the broker does not accept this, for a reason of its own", BROKER_LOG },
    { 0x84, DIAG_PROTOCOL, "unsupported-protocol-version", "the broker does not speak this version of MQTT", "choose another protocol version in the profile" },
    { 0x85, DIAG_SUSPECT,  "client-identifier-not-valid","the broker refused the client id", CLIENT_ID },
    { 0x86, DIAG_IDENTITY, "bad-user-or-password",       "the broker refused user name or password", LOGIN },
    { 0x87, DIAG_IDENTITY, "not-authorized",             "the broker does not authorise this client", ALLOW },
    { 0x88, DIAG_BROKER,   "server-unavailable",         "the broker says that it is unavailable", WAIT },
    { 0x89, DIAG_BROKER,   "server-busy",                "the broker is busy", WAIT },
    { 0x8a, DIAG_IDENTITY, "banned",                     "the broker has banned this client", "lift the ban at the broker" },
    { 0x8b, DIAG_BROKER,   "server-shutting-down",       "the broker is shutting down", WAIT },
    { 0x8c, DIAG_POLICY,   "bad-authentication-method",  "the broker does not know the authentication method of the device", "compare the device's authentication method with the broker's" },
    { 0x8d, DIAG_NETWORK,  "keep-alive-timeout",         "the broker heard nothing for one and a half keepalive intervals", "check the way to the broker; perhaps a longer keepalive" },
    { 0x8e, DIAG_POLICY,   "session-taken-over",         "another client connected with the same client id", "find who else uses this client id: perhaps the device also connects by itself" },
    { 0x8f, DIAG_POLICY,   "topic-filter-invalid",       "the broker does not accept a topic filter of the device", LIMITS },
    { 0x90, DIAG_POLICY,   "topic-name-invalid",         "the broker does not accept a topic of the device, perhaps of its Will", LIMITS },
    { 0x93, DIAG_PROTOCOL, "receive-maximum-exceeded",   "the broker got more packets in flight than it allows", REPORT },
    { 0x94, DIAG_PROTOCOL, "topic-alias-invalid",        "the broker got a topic alias that it does not allow", REPORT },
    { 0x95, DIAG_POLICY,   "packet-too-large",           "a packet was larger than the broker takes", LIMITS },
    { 0x96, DIAG_BROKER,   "message-rate-too-high",      "the device sends more than the broker takes", LIMITS },
    { 0x97, DIAG_BROKER,   "quota-exceeded",             "a quota at the broker is used up", "raise the quota at the broker" },
    { 0x98, DIAG_POLICY,   "administrative-action",      "an administrator of the broker ended the connection", "ask who operates the broker" },
    { 0x99, DIAG_POLICY,   "payload-format-invalid",     "the payload, perhaps of the Will, is not what its format says", LIMITS },
    { 0x9a, DIAG_POLICY,   "retain-not-supported",       "the broker does not retain messages, the device asks for it", LIMITS },
    { 0x9b, DIAG_POLICY,   "qos-not-supported",          "the broker does not support the QoS that the device asks for", LIMITS },
    { 0x9c, DIAG_BROKER,   "use-another-server",         "the broker sends us to another one for now", "set the address in the profile to the server that the broker names" },
    { 0x9d, DIAG_BROKER,   "server-moved",               "the broker has moved for good", "set the address in the profile to the server that the broker names" },
    { 0x9e, DIAG_POLICY,   "shared-subscriptions-not-supported", "the broker does not support shared subscriptions", LIMITS },
    { 0x9f, DIAG_BROKER,   "connection-rate-exceeded",   "too many connections in a short time", WAIT },
    { 0xa0, DIAG_BROKER,   "maximum-connect-time",       "the broker allows connections for a limited time only", WAIT },
    { 0xa1, DIAG_POLICY,   "subscription-identifiers-not-supported", "the broker does not support subscription identifiers", LIMITS },
    { 0xa2, DIAG_POLICY,   "wildcard-subscriptions-not-supported", "the broker does not support wildcard subscriptions", LIMITS },
};

/* Why we refused the server, by the last part of the name that operators know. */
static const struct refusal {
    const char *x509; /* behind "X509_V_ERR_" */
    const char *name, *sentence, *remedy;
} refusals[] = {
    { "CERT_HAS_EXPIRED",     "expired",        "the broker's certificate, or one above it, has expired", "have the broker's certificate renewed; check this gateway's clock" },
    { "CERT_NOT_YET_VALID",   "not-yet-valid",  "the broker's certificate, or one above it, is not valid yet", "check this gateway's clock; else have the broker's certificate reissued" },
    { "UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "unknown-issuer", "no upstream trust anchor issued the broker's certificate", "add the CA of the broker to the upstream trust anchors, or the intermediates at the broker" },
    { "UNABLE_TO_VERIFY_LEAF_SIGNATURE", "unknown-issuer", "no upstream trust anchor issued the broker's certificate", "add the CA of the broker to the upstream trust anchors, or the intermediates at the broker" },
    { "DEPTH_ZERO_SELF_SIGNED_CERT", "self-signed", "the broker's certificate is self-signed", "add it to the upstream trust anchors after comparing its fingerprint" },
    { "SELF_SIGNED_CERT_IN_CHAIN", "self-signed", "the broker's chain ends in a root that is no upstream trust anchor", "add that root to the upstream trust anchors after comparing its fingerprint" },
    { "CERT_SIGNATURE_FAILURE", "signature",    "the signature on the broker's certificate is wrong", "somebody may be in between: compare fingerprints with whoever runs the broker" },
    { "CERT_REVOKED",         "revoked",        "the broker's certificate is revoked", "have the broker's certificate replaced" },
    { "UNABLE_TO_GET_CRL",    "crl-missing",    "there is no current revocation list for the broker's issuer", "update the revocation list, or choose soft revocation" },
    { "CRL_HAS_EXPIRED",      "crl-expired",    "the revocation list of the broker's issuer is out of date", "update the revocation list, or choose soft revocation" },
    { "INVALID_PURPOSE",      "invalid-purpose","the broker's certificate is not made for servers", "have it reissued with the extended key usage serverAuth" },
    { "EE_KEY_TOO_SMALL",     "key-too-small",  "the key of the broker's certificate is too small", "have it reissued with a larger key" },
    { "HOSTNAME_MISMATCH",    "name-mismatch",  "the broker's certificate does not name the host that we dialled", "set server_name in the profile to a name in the broker's certificate" },
    { "IP_ADDRESS_MISMATCH",  "name-mismatch",  "the broker's certificate does not name the address that we dialled", "set server_name in the profile to a name in the broker's certificate" },
    { "PATH_LENGTH_EXCEEDED", "path-length",    "the broker's chain is longer than one of its CAs allows", "have the broker's chain mended" },
    { "CERT_CHAIN_TOO_LONG",  "chain-too-long", "the broker's chain is too long", "have the broker's chain mended" },
    { "APPLICATION_VERIFICATION", "policy",     "the broker's certificate is against our policy", "see the log line of the handshake for the rule" },
};

/* How TCP and the way there fail, by errno. */
static const struct { int errnum; const char *name, *sentence, *remedy; } ways[] = {
    { ECONNREFUSED, "refused",     "nobody listens there",                      "check address and port of the profile, and that the broker runs" },
    { ECONNRESET,   "reset",       "the connection was reset",                  "check the way to the broker, and its log" },
    { EPIPE,        "reset",       "the connection was reset",                  "check the way to the broker, and its log" },
    { ETIMEDOUT,    "timeout",     "no answer in time",                         "check the way to the broker: firewall, route, uplink" },
    { EHOSTUNREACH, "unreachable", "there is no way to the host",               "check route and uplink of this gateway" },
    { ENETUNREACH,  "unreachable", "there is no way to the network",            "check route and uplink of this gateway" },
    { ENETDOWN,     "unreachable", "the network is down",                       "check the uplink of this gateway" },
    { EACCES,       "forbidden",   "this machine forbids the connection",       "check the firewall of this gateway and the sandbox of the service" },
    { EPERM,        "forbidden",   "this machine forbids the connection",       "check the firewall of this gateway and the sandbox of the service" },
    { EMFILE,       "no-files",    "this process has no file descriptor left",  "raise LimitNOFILE of the service, or lower the limit of connections" },
    { ENFILE,       "no-files",    "this machine has no file descriptor left",  "raise fs.file-max" },
    { EADDRNOTAVAIL,"no-port",     "this machine has no local port left",       "widen net.ipv4.ip_local_port_range" },
    { ENOMEM,       "no-memory",   "this machine is out of memory",             "find what uses the memory" },
    { ENOBUFS,      "no-memory",   "this machine is out of buffers",            "find what uses the memory" },
};
/* clang-format on */

static const char *const class_names[DIAG_CLASSES] = {
    [DIAG_OK] = "ok",           [DIAG_IDENTITY] = "identity", [DIAG_TRUST] = "trust",
    [DIAG_NETWORK] = "network", [DIAG_BROKER] = "broker",     [DIAG_PROTOCOL] = "protocol",
    [DIAG_POLICY] = "policy",   [DIAG_SUSPECT] = "suspect",
};

static const char *const stage_names[] = {
    [DIAG_AT_DNS] = "dns",         [DIAG_AT_TCP] = "tcp",
    [DIAG_AT_TLS] = "tls",         [DIAG_AT_CONNECT] = "connect",
    [DIAG_AT_CONNACK] = "connack", [DIAG_AT_ESTABLISHED] = "established",
};

const char *diag_class_name(enum diag_class c)
{
    return (unsigned)c < COUNT(class_names) ? class_names[c] : "unknown";
}

const char *diag_stage_name(enum diag_stage s)
{
    return (unsigned)s < COUNT(stage_names) ? stage_names[s] : "unknown";
}

static const struct row *row_of(const struct row *rows, size_t n, int code)
{
    for (size_t i = 0; i < n; i++) {
        if (rows[i].code == code)
            return &rows[i];
    }
    return NULL;
}

/* `scope` and `name` make the stable name; the detail, when there is one, ends the sentence. */
static struct diag say(const struct diag_in *in, enum diag_class class, const char *scope,
                       const char *name, const char *sentence, const char *remedy)
{
    struct diag d = {.class = class};
    bool detailed = in->detail != NULL && *in->detail != '\0';

    snprintf(d.name, sizeof(d.name), "%s.%s", scope, name);
    snprintf(d.sentence, sizeof(d.sentence), "%s%s%s", sentence, detailed ? ": " : "",
             detailed ? in->detail : "");
    str_tidy(d.sentence); /* a detail comes from a peer, and may be cut within a character */
    snprintf(d.remedy, sizeof(d.remedy), "%s", remedy);
    return d;
}

/* An end without a word may be a refusal once the broker has seen who we are, until it has accepted
 * us. */
static bool may_be_refusal(const struct diag_in *in)
{
    return in->stage < DIAG_AT_ESTABLISHED && (in->tls_after_cert || in->stage == DIAG_AT_CONNACK);
}

static struct diag by_alert(const struct diag_in *in)
{
    const struct row *r = row_of(alerts, COUNT(alerts), in->tls_alert);
    char name[24];
    char sentence[80];

    if (r == NULL) {
        snprintf(name, sizeof(name), "alert-%d", in->tls_alert);
        snprintf(sentence, sizeof(sentence), "the broker sent the TLS alert %d, which has no name",
                 in->tls_alert);
        return say(in, may_be_refusal(in) ? DIAG_SUSPECT : DIAG_PROTOCOL, "tls", name, sentence,
                   BROKER_LOG);
    }
    if (r->class == DIAG_SUSPECT && !may_be_refusal(in))
        return say(in, r->code == 0 ? DIAG_NETWORK : DIAG_POLICY, "tls", r->name, r->sentence,
                   r->remedy);
    if (r->class == DIAG_IDENTITY && !may_be_refusal(in) && in->stage < DIAG_AT_ESTABLISHED)
        return say(in, DIAG_SUSPECT, "tls", r->name,
                   "something refused the certificate before it was sent, or the name (SNI)",
                   "look at what is between this gateway and the broker, and at the profile's sni");
    return say(in, r->class, "tls", r->name, r->sentence, r->remedy);
}

static struct diag by_certificate(const struct diag_in *in)
{
    static const char prefix[] = "X509_V_ERR_";
    const char *x509 = in->tls_x509 == NULL ? "" : in->tls_x509;

    if (strncmp(x509, prefix, sizeof(prefix) - 1) == 0)
        x509 += sizeof(prefix) - 1;
    for (size_t i = 0; i < COUNT(refusals); i++) {
        if (strcmp(x509, refusals[i].x509) == 0)
            return say(in, DIAG_TRUST, "trust", refusals[i].name, refusals[i].sentence,
                       refusals[i].remedy);
    }
    return say(in, DIAG_TRUST, "trust", "rejected", "we do not accept the broker's certificate",
               "compare the broker's chain with the upstream trust anchors");
}

static struct diag by_code(const struct diag_in *in)
{
    bool v5 = in->mqtt_version >= 5;
    const char *scope = in->stage == DIAG_AT_ESTABLISHED ? "disconnect" : "connack";
    const struct row *r =
        v5 ? row_of(reasons, COUNT(reasons), in->code) : row_of(returns, COUNT(returns), in->code);
    char name[24];
    char sentence[80];

    if (in->stage == DIAG_AT_ESTABLISHED && in->code == 0)
        return say(in, DIAG_BROKER, scope, "normal", "the broker ended the connection in order",
                   WAIT);
    if (r != NULL)
        return say(in, r->class, scope, r->name, r->sentence, r->remedy);
    snprintf(name, sizeof(name), "0x%02x", (unsigned)in->code);
    snprintf(sentence, sizeof(sentence),
             "the broker answered with the code 0x%02x, which has no meaning", (unsigned)in->code);
    return say(in, DIAG_PROTOCOL, scope, name, sentence, REPORT);
}

static struct diag by_errno(const struct diag_in *in, const char *scope)
{
    char name[24];

    for (size_t i = 0; i < COUNT(ways); i++) {
        if (ways[i].errnum == in->errnum)
            return say(in, DIAG_NETWORK, scope, ways[i].name, ways[i].sentence, ways[i].remedy);
    }
    snprintf(name, sizeof(name), "errno-%d", in->errnum);
    return say(in, DIAG_NETWORK, scope, name, "the connection failed",
               "check the way to the broker");
}

static struct diag on_the_way(const struct diag_in *in)
{
    if (in->stage == DIAG_AT_DNS)
        return say(in, DIAG_NETWORK, "dns", in->timed_out ? "timeout" : "failed",
                   in->timed_out ? "the name server did not answer in time"
                                 : "the name of the broker could not be resolved",
                   "check the name in the profile and the name servers of this gateway");
    if (in->timed_out)
        return say(in, DIAG_NETWORK, "tcp", "timeout", "no answer in time",
                   "check the way to the broker: firewall, route, uplink");
    return by_errno(in, "tcp");
}

/* Everything behind TCP that ended without a word, or by a failure of ours. */
static struct diag without_a_word(const struct diag_in *in)
{
    bool ended =
        in->eof || in->tls_side == DIAG_TLS_EOF || in->errnum == ECONNRESET || in->errnum == EPIPE;
    const char *scope = diag_stage_name(in->stage);

    if (in->timed_out && in->stage == DIAG_AT_CONNACK)
        return say(in, DIAG_BROKER, "connack", "timeout",
                   "the broker did not answer CONNECT in time",
                   "check that an MQTT broker listens there, and its load");
    if (in->timed_out && in->stage == DIAG_AT_ESTABLISHED)
        return say(in, DIAG_NETWORK, "established", "timeout", "the broker fell silent",
                   "check the way to the broker, and its load");
    if (in->timed_out)
        return say(in, DIAG_NETWORK, scope, "timeout", "the TLS handshake did not end in time",
                   "check the way to the broker, and that it speaks TLS on this port");
    if (ended && may_be_refusal(in))
        return say(in, DIAG_SUSPECT, scope, "closed",
                   in->stage == DIAG_AT_CONNACK
                       ? "the broker closed the connection instead of answering CONNECT"
                       : "the broker closed the connection after it had seen the certificate",
                   BROKER_LOG);
    if (ended && in->stage == DIAG_AT_TLS && !in->tls_after_hello)
        return say(in, DIAG_NETWORK, "tls", "no-server",
                   "the connection was closed before a TLS server said hello",
                   "check that the broker speaks TLS on this port, and what is in between");
    if (ended)
        return say(in, DIAG_NETWORK, scope, "closed", "the broker closed the connection",
                   "check the broker's log, and what is in between");
    if (in->tls_side == DIAG_TLS_LOCAL) {
        if (!in->tls_after_hello && in->stage == DIAG_AT_TLS)
            return say(in, DIAG_POLICY, "tls", "not-tls",
                       "what answers there does not speak our TLS", FITTING);
        return say(in, DIAG_PROTOCOL, "tls", "local",
                   "the TLS handshake or a record of it was faulty", FITTING);
    }
    if (in->errnum != 0)
        return by_errno(in, scope);
    return say(in, DIAG_PROTOCOL, scope, "failed", "the connection failed for no known reason",
               REPORT);
}

/* What an OpenSSL peer found in our certificate when it sends an alert of this number, where there
 * is one such cause: 42 stands for several. */
static const char *x509_behind(int alert)
{
    switch (alert) {
    case 43:
        return "X509_V_ERR_INVALID_PURPOSE";
    case 44:
        return "X509_V_ERR_CERT_REVOKED";
    case 45:
        return "X509_V_ERR_CERT_HAS_EXPIRED";
    case 48:
        return "X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY";
    default:
        return NULL;
    }
}

/* The names by which operators search. */
static void name_tls(const struct diag_in *in, struct diag *d)
{
    const struct row *r;

    if (in->tls_side == DIAG_TLS_PEER_CERT)
        d->x509 = in->tls_x509;
    if (in->tls_side != DIAG_TLS_PEER_ALERT || in->tls_alert < 0)
        return;
    r = row_of(alerts, COUNT(alerts), in->tls_alert);
    d->alert = r == NULL ? "unknown" : r->name;
    d->alert_number = in->tls_alert;
    d->x509 = x509_behind(in->tls_alert);
}

/* Nobody said anything, and the broker knew already who we are. */
static bool is_silence(const struct diag_in *in)
{
    bool ended = in->eof || in->timed_out || in->tls_side == DIAG_TLS_EOF ||
                 in->errnum == ECONNRESET || in->errnum == EPIPE;
    bool said = in->code >= 0 || in->tls_alert > 0 || in->tls_side == DIAG_TLS_PEER_CERT ||
                in->tls_side == DIAG_TLS_LOCAL;

    return ended && !said && (in->stage >= DIAG_AT_CONNACK || in->tls_after_cert) &&
           in->stage >= DIAG_AT_TLS;
}

/* A broker does not wait for CONNECT for ever (3.1.1, 4.8; 5.0, 4.13); whom it meant to refuse it
 * would have refused sooner. */
static bool is_impatience(const struct diag_in *in)
{
    return in->waited && in->stage == DIAG_AT_CONNECT && !in->timed_out && in->tls_alert <= 0 &&
           in->tls_side != DIAG_TLS_PEER_CERT && in->tls_side != DIAG_TLS_LOCAL;
}

static struct diag judge(const struct diag_in *in)
{
    if (is_impatience(in))
        return say(in, DIAG_BROKER, "connect", "idle",
                   "the broker closed a connection on which CONNECT had been delayed",
                   "nothing to do here: it is tried again; if it lasts, lower drain_timeout_ms");
    if (in->tls_side == DIAG_TLS_PEER_CERT)
        return by_certificate(in);
    if (in->tls_side == DIAG_TLS_PEER_ALERT && in->tls_alert >= 0)
        return by_alert(in);
    if (in->code >= 0 && (in->stage == DIAG_AT_CONNACK ||
                          (in->stage == DIAG_AT_ESTABLISHED && in->mqtt_version >= 5)))
        return by_code(in);
    if (in->stage <= DIAG_AT_TCP)
        return on_the_way(in);
    return without_a_word(in);
}

struct diag diagnose(const struct diag_in *in)
{
    struct diag d = judge(in);

    name_tls(in, &d);
    d.silent = is_silence(in) && !is_impatience(in);
    return d;
}

enum diag_class diag_pace(const struct diag *d)
{
    return d->class == DIAG_SUSPECT && d->silent ? DIAG_NETWORK : d->class;
}

struct diag diag_settle(const struct diag *d, bool other_works)
{
    struct diag out = *d;
    size_t n = strlen(d->sentence);

    if (d->class != DIAG_SUSPECT && d->class != DIAG_IDENTITY && !d->silent)
        return out;
    out.class = other_works ? DIAG_IDENTITY : DIAG_BROKER;
    snprintf(out.sentence + n, sizeof(out.sentence) - n, "%s",
             other_works ? "; the other identity was accepted" : "; the other identity fails, too");
    if (!other_works)
        snprintf(out.remedy, sizeof(out.remedy),
                 "not this identity's fault: look at the broker, its load and its log");
    return out;
}
