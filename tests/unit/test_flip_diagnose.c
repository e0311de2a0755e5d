/* Diagnosis: every alert and every code, and the ends without a word.  The expected classes are
 * written down here once more, from the standards and from what brokers were seen to do. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "flip/diagnose.h"

static void is(const struct diag_in *in, enum diag_class class, const char *name)
{
    struct diag d = diagnose(in);

    if (d.class != class || strcmp(d.name, name) != 0)
        fail_msg("%s %s, not %s %s", diag_class_name(d.class), d.name, diag_class_name(class),
                 name);
    assert_true(strlen(d.sentence) > 0);
    assert_null(strchr(d.sentence, '\n'));
    if (class != DIAG_OK)
        assert_true(strlen(d.remedy) > 0);
}

static struct diag_in alert(int code, bool after_cert)
{
    struct diag_in in = DIAG_IN_INIT;

    in.stage = DIAG_AT_TLS;
    in.tls_side = DIAG_TLS_PEER_ALERT;
    in.tls_alert = code;
    in.tls_after_hello = true;
    in.tls_after_cert = after_cert;
    return in;
}

static bool is_one_of(int v, const int *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i] == v)
            return true;
    }
    return false;
}

#define IN(v, ...) \
    is_one_of(v, (const int[]){__VA_ARGS__}, sizeof((int[]){__VA_ARGS__}) / sizeof(int))

static enum diag_class class_of_alert(int a, bool after_cert)
{
    if (IN(a, 41, 42, 43, 44, 45, 46, 48, 49, 51, 116)) /* a certificate that was not sent yet? */
        return after_cert ? DIAG_IDENTITY : DIAG_SUSPECT;
    if (a == 40)
        return after_cert ? DIAG_SUSPECT : DIAG_POLICY;
    if (a == 0)
        return after_cert ? DIAG_SUSPECT : DIAG_NETWORK;
    if (IN(a, 60, 70, 71, 86, 109, 110, 112, 115, 120))
        return DIAG_POLICY;
    if (IN(a, 80, 90, 111))
        return DIAG_BROKER;
    if (IN(a, 10, 20, 21, 22, 30, 47, 50, 100, 113, 114))
        return DIAG_PROTOCOL;
    return after_cert ? DIAG_SUSPECT : DIAG_PROTOCOL; /* without a name */
}

static void every_alert_has_its_class(void **unused)
{
    (void)unused;
    for (int a = 0; a < 256; a++) {
        for (int after = 0; after < 2; after++) {
            struct diag_in in = alert(a, after != 0);
            struct diag d = diagnose(&in);

            if (d.class != class_of_alert(a, after != 0))
                fail_msg("alert %d: %s", a, diag_class_name(d.class));
            assert_memory_equal(d.name, "tls.", 4);
            assert_true(strlen(d.remedy) > 0);
        }
    }
}

static void alerts_carry_their_rfc_names(void **unused)
{
    /* clang-format off */
    static const struct { int alert; const char *name; } rows[] = {
        { 40, "tls.handshake_failure" }, { 42, "tls.bad_certificate" }, { 43, "tls.unsupported_certificate" },
        { 44, "tls.certificate_revoked" }, { 45, "tls.certificate_expired" }, { 46, "tls.certificate_unknown" },
        { 48, "tls.unknown_ca" }, { 49, "tls.access_denied" }, { 51, "tls.decrypt_error" },
        { 70, "tls.protocol_version" }, { 112, "tls.unrecognized_name" }, { 116, "tls.certificate_required" },
        { 120, "tls.no_application_protocol" }, { 200, "tls.alert-200" },
    };
    /* clang-format on */

    (void)unused;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct diag_in in = alert(rows[i].alert, true);

        is(&in, class_of_alert(rows[i].alert, true), rows[i].name);
    }
}

/* Operators search by the alert and by OpenSSL's name; where a broker may mean several things by an
 * alert, none is claimed. */
static void a_failure_of_tls_carries_the_names_that_operators_know(void **unused)
{
    /* clang-format off */
    static const struct { int alert; const char *name, *x509; } rows[] = {
        { 42, "bad_certificate", NULL },
        { 43, "unsupported_certificate", "X509_V_ERR_INVALID_PURPOSE" },
        { 44, "certificate_revoked", "X509_V_ERR_CERT_REVOKED" },
        { 45, "certificate_expired", "X509_V_ERR_CERT_HAS_EXPIRED" },
        { 46, "certificate_unknown", NULL },
        { 48, "unknown_ca", "X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY" },
        { 200, "unknown", NULL },
    };
    /* clang-format on */
    struct diag_in in = DIAG_IN_INIT;
    struct diag d;

    (void)unused;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        in = alert(rows[i].alert, true);
        d = diagnose(&in);
        assert_string_equal(d.alert, rows[i].name);
        assert_int_equal(d.alert_number, rows[i].alert);
        if (rows[i].x509 == NULL)
            assert_null(d.x509);
        else
            assert_string_equal(d.x509, rows[i].x509);
        d = diag_settle(&d, true);
        assert_string_equal(d.alert, rows[i].name);
    }
    in = (struct diag_in)DIAG_IN_INIT; /* the broker's certificate, seen by us: no alert came */
    in.stage = DIAG_AT_TLS;
    in.tls_side = DIAG_TLS_PEER_CERT;
    in.tls_x509 = "X509_V_ERR_HOSTNAME_MISMATCH";
    d = diagnose(&in);
    assert_null(d.alert);
    assert_string_equal(d.x509, "X509_V_ERR_HOSTNAME_MISMATCH");
    in = (struct diag_in)DIAG_IN_INIT;
    in.stage = DIAG_AT_CONNACK;
    in.mqtt_version = 4;
    in.code = 5;
    d = diagnose(&in);
    assert_null(d.alert);
    assert_null(d.x509);
}

/* Whoever refuses a certificate that was not sent means something else by the alert. */
static void an_early_refusal_has_a_name_of_its_own(void **unused)
{
    struct diag_in in = alert(48, false);
    struct diag d = diagnose(&in);

    (void)unused;
    is(&in, DIAG_SUSPECT, "tls.refused-early");
    assert_string_equal(d.alert, "unknown_ca");
    in.tls_after_cert = true;
    is(&in, DIAG_IDENTITY, "tls.unknown_ca");
}

/* TLS 1.3 tells late: the alert counts, wherever the attempt had got to on our side. */
static void late_alerts_count(void **unused)
{
    struct diag_in in = alert(48, true);

    (void)unused;
    for (int s = DIAG_AT_TLS; s <= DIAG_AT_ESTABLISHED; s++) {
        in.stage = (enum diag_stage)s;
        in.eof = true;
        in.errnum = ECONNRESET;
        is(&in, DIAG_IDENTITY, "tls.unknown_ca");
    }
    in.tls_alert = 40; /* once accepted, it is not the certificate any more */
    is(&in, DIAG_POLICY, "tls.handshake_failure");
}

static void connack_3_1_1(void **unused)
{
    /* clang-format off */
    static const struct { enum diag_class class; const char *name; } rows[] = {
        { DIAG_OK, "connack.accepted" }, { DIAG_PROTOCOL, "connack.protocol-version" },
        { DIAG_SUSPECT, "connack.identifier-rejected" }, { DIAG_BROKER, "connack.server-unavailable" },
        { DIAG_IDENTITY, "connack.bad-user-or-password" }, { DIAG_IDENTITY, "connack.not-authorized" },
    };
    /* clang-format on */
    struct diag_in in = DIAG_IN_INIT;

    (void)unused;
    in.stage = DIAG_AT_CONNACK;
    for (uint8_t version = 3; version <= 4; version++) {
        in.mqtt_version = version;
        for (int code = 0; code < 6; code++) {
            in.code = code;
            is(&in, rows[code].class, rows[code].name);
        }
        for (int code = 6; code < 256; code++) {
            in.code = code;
            assert_int_equal(diagnose(&in).class, DIAG_PROTOCOL);
        }
        is(&in, DIAG_PROTOCOL, "connack.0xff");
    }
}

static enum diag_class class_of_reason(int c)
{
    if (c == 0)
        return DIAG_OK;
    if (IN(c, 0x86, 0x87, 0x8a))
        return DIAG_IDENTITY;
    if (IN(c, 0x80, 0x83, 0x85))
        return DIAG_SUSPECT;
    if (IN(c, 0x88, 0x89, 0x8b, 0x96, 0x97, 0x9c, 0x9d, 0x9f, 0xa0))
        return DIAG_BROKER;
    if (c == 0x8d)
        return DIAG_NETWORK;
    if (IN(c, 0x8c, 0x8e, 0x8f, 0x90, 0x95, 0x98, 0x99, 0x9a, 0x9b, 0x9e, 0xa1, 0xa2))
        return DIAG_POLICY;
    return DIAG_PROTOCOL;
}

static void reasons_of_5_0(void **unused)
{
    struct diag_in in = DIAG_IN_INIT;

    (void)unused;
    in.mqtt_version = 5;
    for (int code = 0; code < 256; code++) {
        in.code = code;
        in.stage = DIAG_AT_CONNACK;
        if (diagnose(&in).class != class_of_reason(code))
            fail_msg("CONNACK 0x%02x: %s", (unsigned)code, diag_class_name(diagnose(&in).class));
        in.stage = DIAG_AT_ESTABLISHED;
        in.eof = true; /* follows a DISCONNECT */
        if (diagnose(&in).class != (code == 0 ? DIAG_BROKER : class_of_reason(code)))
            fail_msg("DISCONNECT 0x%02x: %s", (unsigned)code, diag_class_name(diagnose(&in).class));
        in.eof = false;
    }
    in.stage = DIAG_AT_CONNACK;
    in.code = 0x87;
    is(&in, DIAG_IDENTITY, "connack.not-authorized");
    in.code = 0x85;
    is(&in, DIAG_SUSPECT, "connack.client-identifier-not-valid");
    in.code = 0xa2;
    is(&in, DIAG_POLICY, "connack.wildcard-subscriptions-not-supported");
    in.stage = DIAG_AT_ESTABLISHED;
    in.code = 0x8e;
    is(&in, DIAG_POLICY, "disconnect.session-taken-over");
    in.code = 0x8b;
    is(&in, DIAG_BROKER, "disconnect.server-shutting-down");
    in.code = 0;
    is(&in, DIAG_BROKER, "disconnect.normal");
}

/* A 3.1.1 broker has no DISCONNECT: a code that was left over from CONNACK says nothing. */
static void old_brokers_do_not_say_goodbye(void **unused)
{
    struct diag_in in = DIAG_IN_INIT;

    (void)unused;
    in.mqtt_version = 4;
    in.stage = DIAG_AT_ESTABLISHED;
    in.code = 0;
    in.eof = true;
    in.tls_after_cert = true;
    is(&in, DIAG_NETWORK, "established.closed");
}

static void refused_servers_are_a_matter_of_trust(void **unused)
{
    /* clang-format off */
    static const struct { const char *x509, *name; } rows[] = {
        { "X509_V_ERR_CERT_HAS_EXPIRED", "trust.expired" },
        { "X509_V_ERR_CERT_NOT_YET_VALID", "trust.not-yet-valid" },
        { "X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "trust.unknown-issuer" },
        { "X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT", "trust.self-signed" },
        { "X509_V_ERR_CERT_SIGNATURE_FAILURE", "trust.signature" },
        { "X509_V_ERR_CERT_REVOKED", "trust.revoked" },
        { "X509_V_ERR_UNABLE_TO_GET_CRL", "trust.crl-missing" },
        { "X509_V_ERR_CRL_HAS_EXPIRED", "trust.crl-expired" },
        { "X509_V_ERR_OCSP_VERIFY_NEEDED", "trust.ocsp-missing" },
        { "X509_V_ERR_OCSP_VERIFY_FAILED", "trust.ocsp-invalid" },
        { "X509_V_ERR_OCSP_CERT_UNKNOWN", "trust.ocsp-unknown" },
        { "X509_V_ERR_INVALID_PURPOSE", "trust.invalid-purpose" },
        { "X509_V_ERR_EE_KEY_TOO_SMALL", "trust.key-too-small" },
        { "X509_V_ERR_HOSTNAME_MISMATCH", "trust.name-mismatch" },
        { "X509_V_ERR_PATH_LENGTH_EXCEEDED", "trust.path-length" },
        { "X509_V_ERR_CERT_CHAIN_TOO_LONG", "trust.chain-too-long" },
        { "X509_V_ERR_APPLICATION_VERIFICATION", "trust.policy" },
        { "X509_V_ERR_SOMETHING_ELSE", "trust.rejected" },
        { NULL, "trust.rejected" },
    };
    /* clang-format on */
    struct diag_in in = DIAG_IN_INIT;

    (void)unused;
    in.stage = DIAG_AT_TLS;
    in.tls_side = DIAG_TLS_PEER_CERT;
    in.tls_after_hello = true;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        in.tls_x509 = rows[i].x509;
        is(&in, DIAG_TRUST, rows[i].name);
    }
}

static void the_way_there_is_network(void **unused)
{
    /* clang-format off */
    static const struct { int errnum; const char *name; } rows[] = {
        { ECONNREFUSED, "tcp.refused" }, { ETIMEDOUT, "tcp.timeout" }, { EHOSTUNREACH, "tcp.unreachable" },
        { ENETUNREACH, "tcp.unreachable" }, { ECONNRESET, "tcp.reset" }, { EACCES, "tcp.forbidden" },
        { EMFILE, "tcp.no-files" }, { EADDRNOTAVAIL, "tcp.no-port" }, { ENOMEM, "tcp.no-memory" },
        { ENOTSOCK, "tcp.errno-88" },
    };
    /* clang-format on */
    struct diag_in in = DIAG_IN_INIT;

    (void)unused;
    in.stage = DIAG_AT_TCP;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        in.errnum = rows[i].errnum;
        is(&in, DIAG_NETWORK, rows[i].name);
    }
    in.errnum = 0;
    in.timed_out = true;
    is(&in, DIAG_NETWORK, "tcp.timeout");
    in.stage = DIAG_AT_DNS;
    is(&in, DIAG_NETWORK, "dns.timeout");
    in.timed_out = false;
    in.detail = "Name or service not known";
    is(&in, DIAG_NETWORK, "dns.failed");
    assert_true(
        str_glob("*could not be resolved: Name or service not known", diagnose(&in).sentence));
}

/* The heart of it: an end without a word is suspect exactly between our certificate and CONNACK. */
static void silence_is_suspect_between_certificate_and_connack(void **unused)
{
    for (int stage = DIAG_AT_TLS; stage <= DIAG_AT_ESTABLISHED; stage++) {
        for (int after_cert = 0; after_cert < 2; after_cert++) {
            for (int how = 0; how < 4; how++) {
                struct diag_in in = DIAG_IN_INIT;
                struct diag d;
                bool suspect =
                    stage != DIAG_AT_ESTABLISHED && (after_cert || stage == DIAG_AT_CONNACK);

                in.stage = (enum diag_stage)stage;
                in.tls_after_hello = true;
                in.tls_after_cert = after_cert != 0;
                in.eof = how == 0;
                in.tls_side = how == 1 ? DIAG_TLS_EOF : DIAG_TLS_NONE;
                in.errnum = how == 2 ? ECONNRESET : how == 3 ? EPIPE : 0;
                d = diagnose(&in);
                if (d.class != (suspect ? DIAG_SUSPECT : DIAG_NETWORK))
                    fail_msg("stage %d, certificate %d, way %d: %s", stage, after_cert, how,
                             diag_class_name(d.class));
                assert_true(str_glob("*.closed", d.name));
            }
        }
    }
    (void)unused;
}

/* While exchanges under way finish, the new connection waits with its CONNECT; not every broker
 * does. */
static void a_connection_that_had_to_wait_is_not_refused(void **unused)
{
    struct diag_in in = DIAG_IN_INIT;

    (void)unused;
    in.stage = DIAG_AT_CONNECT;
    in.eof = in.tls_after_cert = in.waited = true;
    is(&in, DIAG_BROKER, "connect.idle");
    assert_false(diagnose(&in).silent);
    in.errnum = ECONNRESET;
    is(&in, DIAG_BROKER, "connect.idle");
    in.errnum = 0;
    in.tls_side = DIAG_TLS_PEER_ALERT;
    in.tls_alert = 0; /* close_notify */
    is(&in, DIAG_BROKER, "connect.idle");
    in.tls_alert = 48; /* a word is a word, though it is late */
    is(&in, DIAG_IDENTITY, "tls.unknown_ca");
    in.tls_alert = -1;
    in.tls_side = DIAG_TLS_EOF;
    in.stage = DIAG_AT_CONNACK;
    is(&in, DIAG_SUSPECT, "connack.closed");
    in.stage = DIAG_AT_CONNECT;
    in.waited = false;
    is(&in, DIAG_SUSPECT, "connect.closed");
    assert_true(diagnose(&in).silent);
}

static void silence_before_a_hello_is_network(void **unused)
{
    struct diag_in in = DIAG_IN_INIT;

    (void)unused;
    in.stage = DIAG_AT_TLS;
    in.eof = true;
    is(&in, DIAG_NETWORK, "tls.no-server");
}

static void deadlines(void **unused)
{
    struct diag_in in = DIAG_IN_INIT;

    (void)unused;
    in.timed_out = true;
    in.tls_after_cert = true;
    in.stage = DIAG_AT_TLS;
    is(&in, DIAG_NETWORK, "tls.timeout");
    in.stage = DIAG_AT_CONNECT;
    is(&in, DIAG_NETWORK, "connect.timeout");
    in.stage = DIAG_AT_CONNACK;
    is(&in, DIAG_BROKER, "connack.timeout");
    in.stage = DIAG_AT_ESTABLISHED;
    is(&in, DIAG_NETWORK, "established.timeout");
}

static void failures_of_our_own(void **unused)
{
    struct diag_in in = DIAG_IN_INIT;

    (void)unused;
    in.stage = DIAG_AT_TLS;
    in.tls_side = DIAG_TLS_LOCAL;
    in.tls_code = -326;
    is(&in, DIAG_POLICY, "tls.not-tls");
    in.tls_after_hello = true;
    is(&in, DIAG_PROTOCOL, "tls.local");
    in.tls_side = DIAG_TLS_NONE;
    in.errnum = EHOSTUNREACH;
    is(&in, DIAG_NETWORK, "tls.unreachable");
    in.errnum = 0;
    is(&in, DIAG_PROTOCOL, "tls.failed");
}

/* Trouble with the token that holds the key: neither the broker's word on the identity nor the
 * way's, however the connection ended. */
static void a_token_in_trouble_is_a_matter_of_this_machine(void **unused)
{
    static const struct {
        const char *what, *name;
        enum diag_class pace;
    } rows[] = {
        {"absent", "token.absent", DIAG_NETWORK},    {"silent", "token.silent", DIAG_NETWORK},
        {"failed", "token.failed", DIAG_NETWORK},    {"login", "token.login", DIAG_POLICY},
        {"module", "token.module", DIAG_POLICY},     {"no-key", "token.no-key", DIAG_POLICY},
        {"mismatch", "token.mismatch", DIAG_POLICY}, {"mechanism", "token.mechanism", DIAG_POLICY},
        {"something", "token.failed", DIAG_NETWORK}, {NULL, "token.failed", DIAG_NETWORK},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (int bits = 0; bits < 8; bits++) {
            struct diag_in in = DIAG_IN_INIT;
            struct diag d;

            in.stage = (bits & 1) != 0 ? DIAG_AT_TLS : DIAG_AT_DNS;
            in.eof = (bits & 2) != 0;
            in.tls_after_cert = (bits & 4) != 0;
            in.tls_side = DIAG_TLS_TOKEN;
            in.tls_word = rows[i].what;
            in.detail = "token hsm: C_Sign: CKR_DEVICE_ERROR";
            is(&in, DIAG_POLICY, rows[i].name);
            d = diagnose(&in);
            assert_int_equal(diag_pace(&d), rows[i].pace);
            assert_false(d.silent);
            assert_non_null(strstr(d.sentence, "CKR_DEVICE_ERROR"));
            assert_int_equal(diag_settle(&d, true).class, DIAG_POLICY);
        }
}

/* A broker that was kept waiting by a token may just close.  Its word is its word. */
static void a_slow_token_is_no_refusal(void **unused)
{
    struct diag_in in = DIAG_IN_INIT;

    (void)unused;
    in.token_slow = in.eof = in.tls_after_cert = in.tls_after_hello = true;
    in.stage = DIAG_AT_TLS;
    is(&in, DIAG_POLICY, "token.slow");
    in.stage = DIAG_AT_CONNACK;
    is(&in, DIAG_POLICY, "token.slow");
    assert_false(diagnose(&in).silent);
    in.stage = DIAG_AT_ESTABLISHED;
    is(&in, DIAG_NETWORK, "established.closed");
    in.stage = DIAG_AT_TLS;
    in.tls_side = DIAG_TLS_PEER_ALERT;
    in.tls_alert = 48;
    is(&in, DIAG_IDENTITY, "tls.unknown_ca");
    in = (struct diag_in)DIAG_IN_INIT;
    in.stage = DIAG_AT_TLS;
    in.token_slow = in.timed_out = true;
    is(&in, DIAG_POLICY, "token.silent");
    in.token_slow = false;
    is(&in, DIAG_NETWORK, "tls.timeout");
}

/* What a peer says cannot break a line, and what is too long is cut. */
static void details_are_tidied(void **unused)
{
    struct diag_in in = alert(48, true);
    struct diag d;
    char big[1000];

    (void)unused;
    in.detail = "CN=\"press\n12\" \xff";
    d = diagnose(&in);
    assert_string_equal(d.sentence, "the broker does not trust the issuer of the certificate: "
                                    "CN=\"press 12\" ?");
    for (size_t i = 0; i + 2 < sizeof(big); i += 2)
        memcpy(big + i, "\xc3\xa4", 3);
    in.detail = big;
    d = diagnose(&in);
    assert_true(str_is_utf8((const uint8_t *)d.sentence, strlen(d.sentence)));
    in.detail = "";
    d = diagnose(&in);
    assert_string_equal(d.sentence, "the broker does not trust the issuer of the certificate");
}

static void nothing_is_cut_that_we_say_ourselves(void **unused)
{
    (void)unused;
    for (int code = 0; code < 256; code++) {
        struct diag_in in = DIAG_IN_INIT;
        struct diag d;

        in.stage = DIAG_AT_CONNACK;
        in.mqtt_version = 5;
        in.code = code;
        d = diagnose(&in);
        assert_true(strlen(d.name) + 1 < sizeof(d.name));
        assert_true(strlen(d.remedy) + 1 < sizeof(d.remedy));
        in = alert(code, true);
        d = diagnose(&in);
        assert_true(strlen(d.name) + 1 < sizeof(d.name));
        assert_true(strlen(d.remedy) + 1 < sizeof(d.remedy));
    }
}

/* May the class be identity?  By the tables of the peer's own words alone. */
static bool may_say_identity(const struct diag_in *in)
{
    if (in->tls_side == DIAG_TLS_PEER_CERT)
        return false;
    if (in->tls_side == DIAG_TLS_PEER_ALERT && in->tls_alert >= 0)
        return class_of_alert(in->tls_alert, true) == DIAG_IDENTITY;
    if (in->stage != DIAG_AT_CONNACK && in->stage != DIAG_AT_ESTABLISHED)
        return false;
    return in->mqtt_version >= 5 ? IN(in->code, 0x86, 0x87, 0x8a) : IN(in->code, 4, 5);
}

static bool name_is_stable(const char *name)
{
    return *name != '\0' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == strlen(name) &&
           strchr(name, '.') != NULL;
}

static bool is_fact_free(const struct diag_in *in)
{
    return in->code < 0 && in->tls_alert <= 0 && in->tls_side != DIAG_TLS_PEER_CERT &&
           in->tls_side != DIAG_TLS_LOCAL && in->tls_side != DIAG_TLS_TOKEN;
}

static void check_any(const struct diag_in *in)
{
    struct diag d = diagnose(in);
    bool ok = d.class < DIAG_CLASSES && name_is_stable(d.name) && *d.sentence != '\0' &&
              strchr(d.sentence, '\n') == NULL && (*d.remedy != '\0' || d.class == DIAG_OK);

    if (d.class == DIAG_IDENTITY)
        ok = ok && may_say_identity(in) && !d.silent;
    if (d.class == DIAG_OK) /* nobody calls it a failure that the broker said yes */
        ok = ok && in->code == 0 && in->stage == DIAG_AT_CONNACK;
    if (d.silent)
        ok = ok && in->stage >= DIAG_AT_TLS && is_fact_free(in);
    for (int works = 0; works < 2; works++) {
        struct diag settled = diag_settle(&d, works != 0);
        enum diag_class class = d.class;

        if (d.class == DIAG_SUSPECT || d.class == DIAG_IDENTITY || d.silent)
            class = works ? DIAG_IDENTITY : DIAG_BROKER;
        ok = ok && settled.class == class && (*settled.remedy != '\0' || class == DIAG_OK);
    }
    bool passes =
        (d.class == DIAG_SUSPECT && d.silent) || (in->tls_side == DIAG_TLS_TOKEN && !in->tls_word);
    ok = ok && diag_pace(&d) == (passes ? DIAG_NETWORK : d.class);
    if (!ok)
        fail_msg("stage %d side %d alert %d code %d errno %d v%d %s%s%s%s: %s %s '%s' '%s'",
                 in->stage, in->tls_side, in->tls_alert, in->code, in->errnum, in->mqtt_version,
                 in->timed_out ? "late " : "", in->eof ? "eof " : "",
                 in->tls_after_hello ? "hello " : "", in->tls_after_cert ? "cert " : "",
                 diag_class_name(d.class), d.name, d.sentence, d.remedy);
}

/* Whatever the facts, even those that contradict each other: a class, a stable name, a sentence and
 * a remedy; and identity only by the broker's own word. */
static void every_combination_of_facts_is_answered(void **unused)
{
    static const int alerts[] = {-1, 0, 40, 42, 48, 70, 80, 112, 116, 200, 255};
    static const int codes[] = {-1, 0, 1, 2, 3, 4, 5, 6, 0x80, 0x87, 0x88, 0x8e, 0x9d, 0xff};
    static const int errnums[] = {0, ECONNREFUSED, ECONNRESET, EPIPE, ETIMEDOUT, 9999};
    static const char *const x509[] = {NULL, "X509_V_ERR_CERT_HAS_EXPIRED", "nonsense"};

    (void)unused;
    for (int stage = DIAG_AT_DNS; stage <= DIAG_AT_ESTABLISHED; stage++)
        for (int side = DIAG_TLS_NONE; side <= DIAG_TLS_TOKEN; side++)
            for (size_t a = 0; a < sizeof(alerts) / sizeof(alerts[0]); a++)
                for (size_t c = 0; c < sizeof(codes) / sizeof(codes[0]); c++)
                    for (size_t e = 0; e < sizeof(errnums) / sizeof(errnums[0]); e++)
                        for (unsigned bits = 0; bits < 3u << 4; bits++) {
                            struct diag_in in = {
                                .stage = (enum diag_stage)stage,
                                .errnum = errnums[e],
                                .mqtt_version = (uint8_t)(3 + bits / 16),
                                .code = codes[c],
                                .timed_out = (bits & 1) != 0,
                                .eof = (bits & 2) != 0,
                                .tls_side = (enum diag_tls_side)side,
                                .tls_alert = alerts[a],
                                .tls_x509 = x509[bits % 3],
                                .tls_after_hello = (bits & 4) != 0,
                                .tls_after_cert = (bits & 8) != 0,
                            };
                            check_any(&in);
                        }
}

/* And every alert and code there is. */
static void every_word_of_a_broker_is_answered(void **unused)
{
    (void)unused;
    for (int stage = DIAG_AT_TLS; stage <= DIAG_AT_ESTABLISHED; stage++)
        for (int word = 0; word < 256; word++)
            for (int version = 3; version <= 5; version++) {
                struct diag_in in = alert(word, true);

                in.stage = (enum diag_stage)stage;
                in.mqtt_version = (uint8_t)version;
                check_any(&in);
                in = (struct diag_in)DIAG_IN_INIT;
                in.stage = (enum diag_stage)stage;
                in.mqtt_version = (uint8_t)version;
                in.code = word;
                check_any(&in);
            }
}

/* What may be the broker's answer to who we are: only behind our certificate, or CONNECT. */
static void silence_is_marked_where_it_may_be_an_answer(void **unused)
{
    struct diag_in in = DIAG_IN_INIT;

    (void)unused;
    for (int late = 0; late < 2; late++) {
        in.timed_out = late != 0;
        in.eof = late == 0;
        for (int stage = DIAG_AT_DNS; stage <= DIAG_AT_ESTABLISHED; stage++) {
            in.stage = (enum diag_stage)stage;
            in.tls_after_cert = false;
            assert_int_equal(diagnose(&in).silent, stage >= DIAG_AT_CONNACK);
            in.tls_after_cert = true;
            assert_int_equal(diagnose(&in).silent, stage >= DIAG_AT_TLS);
        }
    }
    in.code = 5;
    in.stage = DIAG_AT_CONNACK;
    assert_false(diagnose(&in).silent);
}

static void the_other_identity_settles_it(void **unused)
{
    for (int c = 0; c < DIAG_CLASSES; c++) {
        struct diag d = {.class = (enum diag_class)c, .name = "tls.closed", .sentence = "closed"};
        struct diag works = diag_settle(&d, true);
        struct diag fails = diag_settle(&d, false);

        if (c == DIAG_SUSPECT || c == DIAG_IDENTITY) {
            assert_int_equal(works.class, DIAG_IDENTITY);
            assert_string_equal(works.sentence, "closed; the other identity was accepted");
            assert_int_equal(fails.class, DIAG_BROKER);
            assert_string_equal(fails.sentence, "closed; the other identity fails, too");
            assert_true(strlen(fails.remedy) > 0);
        } else {
            assert_int_equal(works.class, c);
            assert_int_equal(fails.class, c);
            assert_string_equal(works.sentence, "closed");
        }
        assert_string_equal(works.name, "tls.closed");
    }
    (void)unused;
}

static void settling_fits_in(void **unused)
{
    struct diag d = {.class = DIAG_SUSPECT};

    (void)unused;
    memset(d.sentence, 'x', sizeof(d.sentence) - 1);
    d = diag_settle(&d, true);
    assert_int_equal(strlen(d.sentence), sizeof(d.sentence) - 1);
}

static void names_of_classes_and_stages(void **unused)
{
    (void)unused;
    assert_string_equal(diag_class_name(DIAG_IDENTITY), "identity");
    assert_string_equal(diag_class_name(DIAG_CLASSES), "unknown");
    assert_string_equal(diag_stage_name(DIAG_AT_CONNACK), "connack");
    assert_string_equal(diag_stage_name((enum diag_stage)99), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_alert_has_its_class),
        cmocka_unit_test(alerts_carry_their_rfc_names),
        cmocka_unit_test(a_failure_of_tls_carries_the_names_that_operators_know),
        cmocka_unit_test(an_early_refusal_has_a_name_of_its_own),
        cmocka_unit_test(late_alerts_count),
        cmocka_unit_test(connack_3_1_1),
        cmocka_unit_test(reasons_of_5_0),
        cmocka_unit_test(old_brokers_do_not_say_goodbye),
        cmocka_unit_test(refused_servers_are_a_matter_of_trust),
        cmocka_unit_test(the_way_there_is_network),
        cmocka_unit_test(silence_is_suspect_between_certificate_and_connack),
        cmocka_unit_test(a_connection_that_had_to_wait_is_not_refused),
        cmocka_unit_test(silence_before_a_hello_is_network),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(failures_of_our_own),
        cmocka_unit_test(a_token_in_trouble_is_a_matter_of_this_machine),
        cmocka_unit_test(a_slow_token_is_no_refusal),
        cmocka_unit_test(details_are_tidied),
        cmocka_unit_test(nothing_is_cut_that_we_say_ourselves),
        cmocka_unit_test(every_combination_of_facts_is_answered),
        cmocka_unit_test(every_word_of_a_broker_is_answered),
        cmocka_unit_test(silence_is_marked_where_it_may_be_an_answer),
        cmocka_unit_test(the_other_identity_settles_it),
        cmocka_unit_test(settling_fits_in),
        cmocka_unit_test(names_of_classes_and_stages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
