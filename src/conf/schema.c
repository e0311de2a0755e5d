#include "conf/schema.h"

#include <inttypes.h>
#include <string.h>

#include "base/str.h"
#include "conf/conf.h"
#include "conf/template.h"

#ifndef CERTFLIP_STATE_DIR
#    define CERTFLIP_STATE_DIR "/var/lib/certflip"
#endif
#ifndef CERTFLIP_RUN_DIR
#    define CERTFLIP_RUN_DIR "/run/certflip"
#endif

const char conf_required[] = "required";

static const struct conf_word listener_types[] = {
    {"tls", CONF_LISTEN_TLS},
    {"plaintext", CONF_LISTEN_PLAINTEXT},
    {"unix", CONF_LISTEN_UNIX},
    {NULL, 0},
};
static const struct conf_word client_certs[] = {
    {"require", CONF_CERT_REQUIRE},
    {"request", CONF_CERT_REQUEST},
    {"none", CONF_CERT_NONE},
    {NULL, 0},
};
static const struct conf_word crl_policies[] = {
    {"off", CONF_CRL_OFF},
    {"soft", CONF_CRL_SOFT},
    {"strict", CONF_CRL_STRICT},
    {NULL, 0},
};
static const struct conf_word ocsps[] = {
    {"off", CONF_OCSP_OFF},
    {"request", CONF_OCSP_REQUEST},
    {"require", CONF_OCSP_REQUIRE},
    {NULL, 0},
};
static const struct conf_word revoked_sessions[] = {
    {"cut", CONF_REVOKED_CUT},
    {"keep", CONF_REVOKED_KEEP},
    {NULL, 0},
};
static const struct conf_word tls_versions[] = {
    {"1.0", 0x0301}, {"1.1", 0x0302}, {"1.2", 0x0303}, {"1.3", 0x0304}, {NULL, 0},
};
static const struct conf_word tls_strict[] = {{"1.2", 0x0303}, {"1.3", 0x0304}, {NULL, 0}};
static const struct conf_word uplink_lost[] = {
    {"hold", CONF_UPLINK_HOLD},
    {"drop", CONF_UPLINK_DROP},
    {NULL, 0},
};
static const struct conf_word evidences[] = {
    {"connack", CONF_EVIDENCE_CONNACK},
    {"echo", CONF_EVIDENCE_ECHO},
    {NULL, 0},
};
static const struct conf_word protocols[] = {
    {"device", CONF_PROTOCOL_DEVICE},
    {"5", CONF_PROTOCOL_5},
    {NULL, 0},
};
static const struct conf_word switch_modes[] = {
    {"auto", CONF_SWITCH_AUTO},
    {"takeover", CONF_SWITCH_TAKEOVER},
    {"disconnect", CONF_SWITCH_DISCONNECT},
    {NULL, 0},
};
static const struct conf_word key_kinds[] = {
    {"ec-p256", CONF_KEY_EC_P256},   {"ec-p384", CONF_KEY_EC_P384},
    {"rsa-2048", CONF_KEY_RSA_2048}, {"rsa-3072", CONF_KEY_RSA_3072},
    {"rsa-4096", CONF_KEY_RSA_4096}, {NULL, 0},
};
static const struct conf_word name_matches[] = {
    {"off", CONF_NAME_OFF},
    {"warn", CONF_NAME_WARN},
    {"error", CONF_NAME_ERROR},
    {NULL, 0},
};
static const struct conf_word accepts[] = {
    {"expired", CONF_ACCEPT_EXPIRED},
    {"sha1", CONF_ACCEPT_SHA1},
    {"md5", CONF_ACCEPT_MD5},
    {"small-key", CONF_ACCEPT_SMALL_KEY},
    {NULL, 0},
};
static const struct conf_word signed_words[] = {
    {"off", CONF_SIGNED_OFF},
    {"optional", CONF_SIGNED_OPTIONAL},
    {"required", CONF_SIGNED_REQUIRED},
    {NULL, 0},
};
static const struct conf_word log_formats[] = {{"text", LOG_TEXT}, {"json", LOG_JSON}, {NULL, 0}};
static const struct conf_word log_targets[] = {
    {"auto", LOG_AUTO},
    {"journal", LOG_JOURNAL},
    {"stderr", LOG_STDERR},
    {NULL, 0},
};
static const struct conf_word log_level_words[] = {
    {"error", LOG_ERROR_}, {"warn", LOG_WARN_},   {"notice", LOG_NOTICE_},
    {"info", LOG_INFO_},   {"debug", LOG_DEBUG_}, {NULL, 0},
};

/* Placeholders that a connection to the gateway can fill, before and after its device is known. */
#define SHOWN                                                                                    \
    (TEMPLATE_BIT(TEMPLATE_CLIENT_ID) | TEMPLATE_BIT(TEMPLATE_CN) | TEMPLATE_BIT(TEMPLATE_SAN) | \
     TEMPLATE_BIT(TEMPLATE_USERNAME) | TEMPLATE_BIT(TEMPLATE_GATEWAY))
#define KNOWN         (SHOWN | TEMPLATE_BIT(TEMPLATE_DEVICE))
#define ONLY_SELF     TEMPLATE_BIT(TEMPLATE_GATEWAY)
#define NAMED         (TEMPLATE_BIT(TEMPLATE_DEVICE) | TEMPLATE_BIT(TEMPLATE_GATEWAY))
#define MUST          conf_required
#define AT(t, m)      offsetof(struct t, m), 0
#define MANY(t, m, n) offsetof(struct t, m), offsetof(struct t, n)
#define NONE          NULL, 0

/* clang-format off */
const struct conf_row conf_rows[] = {
    /* key                              kind              into                                                least   most        default                           unit     a reload reaches */
    { "gateway",                        CONF_NAME,        AT(conf, gateway),                                  1,      128,        NULL,                             "",      RELOAD_NOW,     NONE,
      "name of this gateway, in topics and templates; default: the host's name" },
    { "workers",                        CONF_UINT,        AT(conf, workers),                                  0,      256,        "0",                              "",      RELOAD_RESTART, NONE,
      "threads that carry connections; 0: one for each core" },
    { "identities",                     CONF_PATH,        AT(conf, identities_dir),                           1,      4000,       CERTFLIP_STATE_DIR "/identities", "",      RELOAD_NOW,     NONE,
      "folder with one folder for each device" },
    { "state",                          CONF_PATH,        AT(conf, state_dir),                                1,      4000,       CERTFLIP_STATE_DIR,               "",      RELOAD_RESTART, NONE,
      "folder of the database" },
    { "include_dir",                    CONF_PATH,        AT(conf, include_dir),                              0,      4000,       "conf.d",                         "",      RELOAD_NOW,     NONE,
      "folder whose *.conf are read too; empty: none" },

    { "keys",                           CONF_GROUP,       0, 0,                                               0,      0,          NULL,                             "",      RELOAD_NOW,     NONE,
      "private keys at rest and in memory" },
    { "keys.encrypt",                   CONF_BOOL,        AT(conf, keys.encrypt),                             0,      0,          "false",                          "",      RELOAD_NOW,     NONE,
      "write private keys under the passphrase" },
    { "keys.passphrase_file",           CONF_PATH,        AT(conf, keys.passphrase_file),                     1,      4000,       NULL,                             "",      RELOAD_NOW,     NONE,
      "file with the passphrase; default: the service's credential certflip.passphrase" },
    { "keys.core_dumps",                CONF_BOOL,        AT(conf, keys.core_dumps),                          0,      0,          "false",                          "",      RELOAD_RESTART, NONE,
      "let the process be dumped and traced, to look for a fault" },

    { "tokens",                         CONF_LIST,        MANY(conf, tokens, token_count),                    0,      32,         NULL,                             "",      RELOAD_NOW,     NULL, sizeof(struct conf_token),
      "PKCS#11 tokens that keys of identities may be in" },
    { "tokens.name",                    CONF_NAME,        AT(conf_token, name),                               1,      128,        MUST,                             "",      RELOAD_NOW,     NONE,
      "name, for messages and commands" },
    { "tokens.module",                  CONF_STRING,      AT(conf_token, module),                             1,      4000,       MUST,                             "",      RELOAD_NOW,     NONE,
      "path of the shared object that speaks to the token" },
    { "tokens.label",                   CONF_STRING,      AT(conf_token, label),                              1,      32,         NULL,                             "",      RELOAD_NOW,     NONE,
      "label of the token" },
    { "tokens.serial",                  CONF_STRING,      AT(conf_token, serial),                             1,      16,         NULL,                             "",      RELOAD_NOW,     NONE,
      "serial number of the token" },
    { "tokens.pin_file",                CONF_PATH,        AT(conf_token, pin_file),                           1,      4000,       NULL,                             "",      RELOAD_NOW,     NONE,
      "file of the user's PIN; default: the systemd credential <name>.pin" },
    { "tokens.timeout_ms",              CONF_MILLIS,      AT(conf_token, timeout_ms),                         100,    600000,     "10000",                          "ms",    RELOAD_NOW,     NONE,
      "a token that has not answered for so long counts as silent, and is not waited for" },

    { "control",                        CONF_GROUP,       0, 0,                                               0,      0,          NULL,                             "",      RELOAD_RESTART, NONE,
      "the local control socket" },
    { "control.socket",                 CONF_PATH,        AT(conf, control_socket),                           1,      107,        CERTFLIP_RUN_DIR "/control.sock", "",      RELOAD_RESTART, NONE,
      "path of the socket for certflipctl" },
    { "control.group",                  CONF_STRING,      AT(conf, control_group),                            1,      64,         NULL,                             "",      RELOAD_RESTART, NONE,
      "group that may operate; without it: root and the daemon's own user" },

    { "listeners",                      CONF_LIST,        MANY(conf, listeners, listener_count),              0,      1000,       NULL,                             "",      RELOAD_NOW,     NULL, sizeof(struct conf_listener),
      "where devices connect" },
    { "listeners.name",                 CONF_NAME,        AT(conf_listener, name),                            1,      128,        MUST,                             "",      RELOAD_NOW,     NONE,
      "name, for rules and messages" },
    { "listeners.type",                 CONF_ENUM,        AT(conf_listener, type),                            0,      0,          "tls",                            "",      RELOAD_NOW,     listener_types, 0,
      "what is spoken there" },
    { "listeners.address",              CONF_STRING,      AT(conf_listener, address),                         1,      107,        "*",                              "",      RELOAD_NOW,     NONE,
      "IP address, \"*\" for all of both families, or the path of a Unix socket" },
    { "listeners.port",                 CONF_PORT,        AT(conf_listener, port),                            1,      65535,      "8883",                           "",      RELOAD_NOW,     NONE,
      "TCP port; 1883 when the type is plaintext" },
    { "listeners.chains",               CONF_LIST,        MANY(conf_listener, chains, chain_count),           0,      64,         NULL,                             "",      RELOAD_NEXT,    NULL, sizeof(struct conf_chain),
      "server certificates, chosen by what the client asks for and can verify" },
    { "listeners.chains.chain",         CONF_PATH,        AT(conf_chain, chain),                              1,      4000,       MUST,                             "",      RELOAD_NEXT,    NONE,
      "PEM file of the certificate and its intermediates" },
    { "listeners.chains.key",           CONF_PATH,        AT(conf_chain, key),                                1,      4000,       MUST,                             "",      RELOAD_NEXT,    NONE,
      "PEM file of its private key" },
    { "listeners.chains.sni",           CONF_GLOB,        AT(conf_chain, sni),                                1,      255,        NULL,                             "",      RELOAD_NEXT,    NONE,
      "server names that get this chain; without it: any" },
    { "listeners.chains.networks",      CONF_NETWORKS,    MANY(conf_chain, networks, network_count),          1,      1000,       NULL,                             "",      RELOAD_NEXT,    NONE,
      "networks that get this chain; without it: all" },
    { "listeners.chains.tls_max",       CONF_ENUM,        AT(conf_chain, tls_max),                            0,      0,          "1.3",                            "",      RELOAD_NEXT,    tls_versions, 0,
      "clients that offer no newer TLS get this chain" },
    { "listeners.anchors",              CONF_PATHS,       MANY(conf_listener, anchors, anchor_count),         0,      64,         NULL,                             "",      RELOAD_NEXT,    NONE,
      "PEM files of the CAs that devices' certificates may come from" },
    { "listeners.crls",                 CONF_PATHS,       MANY(conf_listener, crls, crl_count),               0,      64,         NULL,                             "",      RELOAD_NOW,     NONE,
      "files, or folders of files, with lists of certificates that CAs have revoked" },
    { "listeners.crl_policy",           CONF_ENUM,        AT(conf_listener, crl_policy),                      0,      0,          "soft",                           "",      RELOAD_NEXT,    crl_policies, 0,
      "what becomes of a device whose CA has no list that is in date" },
    { "listeners.revoked_sessions",     CONF_ENUM,        AT(conf_listener, revoked_sessions),                0,      0,          "cut",                            "",      RELOAD_NOW,     revoked_sessions, 0,
      "what becomes of a connected device whose certificate is believed no longer" },
    { "listeners.client_cert",          CONF_ENUM,        AT(conf_listener, client_cert),                     0,      0,          "require",                        "",      RELOAD_NEXT,    client_certs, 0,
      "whether a device must show a certificate" },
    { "listeners.tls_min",              CONF_ENUM,        AT(conf_listener, tls_min),                         0,      0,          "1.2",                            "",      RELOAD_NEXT,    tls_versions, 0,
      "oldest TLS version" },
    { "listeners.tls_max",              CONF_ENUM,        AT(conf_listener, tls_max),                         0,      0,          "1.3",                            "",      RELOAD_NEXT,    tls_versions, 0,
      "newest TLS version" },
    { "listeners.ciphers",              CONF_STRING,      AT(conf_listener, ciphers),                         1,      2000,       NULL,                             "",      RELOAD_NEXT,    NONE,
      "cipher suites, separated by colons; without it: what suits the versions" },
    { "listeners.min_rsa_bits",         CONF_UINT,        AT(conf_listener, min_rsa_bits),                    512,    16384,      "2048",                           "bits",  RELOAD_NEXT,    NONE,
      "smallest RSA key of a device" },
    { "listeners.allow",                CONF_NETWORKS,    MANY(conf_listener, allow, allow_count),            1,      1000,       NULL,                             "",      RELOAD_NEXT,    NONE,
      "networks that may connect; must be given when the type is plaintext" },
    { "listeners.backlog",              CONF_UINT,        AT(conf_listener, backlog),                         1,      65535,      "1024",                           "",      RELOAD_NOW,     NONE,
      "connections that may wait to be accepted" },
    { "listeners.device",               CONF_NAME,        AT(conf_listener, device),                          1,      128,        NULL,                             "",      RELOAD_NEXT,    NONE,
      "unix: who connects there; without it: the rules decide" },

    { "upstreams",                      CONF_LIST,        MANY(conf, upstreams, upstream_count),              0,      1000,       NULL,                             "",      RELOAD_NEXT,    NULL, sizeof(struct conf_upstream),
      "profiles of brokers" },
    { "upstreams.name",                 CONF_NAME,        AT(conf_upstream, name),                            1,      128,        MUST,                             "",      RELOAD_NEXT,    NONE,
      "name, for rules and messages" },
    { "upstreams.address",              CONF_STRING,      AT(conf_upstream, address),                         1,      253,        MUST,                             "",      RELOAD_NEXT,    NONE,
      "host name or IP address of the broker" },
    { "upstreams.port",                 CONF_PORT,        AT(conf_upstream, port),                            1,      65535,      "8883",                           "",      RELOAD_NEXT,    NONE,
      "its TCP port" },
    { "upstreams.server_name",          CONF_STRING,      AT(conf_upstream, server_name),                     1,      253,        NULL,                             "",      RELOAD_NEXT,    NONE,
      "name that the broker's certificate must carry; default: the address" },
    { "upstreams.sni",                  CONF_STRING,      AT(conf_upstream, sni),                             0,      253,        NULL,                             "",      RELOAD_NEXT,    NONE,
      "server name to ask for; default: server_name unless it is an IP address; empty: none" },
    { "upstreams.alpn",                 CONF_STRINGS,     MANY(conf_upstream, alpn, alpn_count),              0,      16,         NULL,                             "",      RELOAD_NEXT,    NONE,
      "application protocols to offer" },
    { "upstreams.anchors",              CONF_PATHS,       MANY(conf_upstream, anchors, anchor_count),         1,      64,         MUST,                             "",      RELOAD_NEXT,    NONE,
      "PEM files of the CAs that the broker's certificate may come from" },
    { "upstreams.crls",                 CONF_PATHS,       MANY(conf_upstream, crls, crl_count),               0,      64,         NULL,                             "",      RELOAD_NEXT,    NONE,
      "files, or folders of files, with lists of certificates that CAs have revoked" },
    { "upstreams.crl_policy",           CONF_ENUM,        AT(conf_upstream, crl_policy),                      0,      0,          "soft",                           "",      RELOAD_NEXT,    crl_policies, 0,
      "what becomes of a broker whose CA has no list that is in date" },
    { "upstreams.ocsp",                 CONF_ENUM,        AT(conf_upstream, ocsp),                            0,      0,          "off",                            "",      RELOAD_NEXT,    ocsps, 0,
      "whether the broker is asked for its CA's word that its certificate is not revoked" },
    { "upstreams.tls_min",              CONF_ENUM,        AT(conf_upstream, tls_min),                         0,      0,          "1.2",                            "",      RELOAD_NEXT,    tls_strict, 0,
      "oldest TLS version" },
    { "upstreams.tls_max",              CONF_ENUM,        AT(conf_upstream, tls_max),                         0,      0,          "1.3",                            "",      RELOAD_NEXT,    tls_strict, 0,
      "newest TLS version" },
    { "upstreams.ciphers",              CONF_STRING,      AT(conf_upstream, ciphers),                         1,      2000,       NULL,                             "",      RELOAD_NEXT,    NONE,
      "cipher suites, separated by colons; without it: what suits the versions" },
    { "upstreams.client_id",            CONF_TEMPLATE,    AT(conf_upstream, client_id),                       1,      KNOWN,      "{client_id}",                    "",      RELOAD_NEXT,    NONE,
      "client identifier to connect with" },
    { "upstreams.username",             CONF_TEMPLATE,    AT(conf_upstream, username),                        0,      KNOWN,      NULL,                             "",      RELOAD_NEXT,    NONE,
      "user name to connect with; without it: what the device sent; empty: none" },
    { "upstreams.password",             CONF_TEMPLATE,    AT(conf_upstream, password),                        0,      TEMPLATE_ALL, NULL,                           "",      RELOAD_NEXT,    NONE,
      "password to connect with; without it: what the device sent; empty: none" },
    { "upstreams.protocol",             CONF_ENUM,        AT(conf_upstream, protocol),                        0,      0,          "device",                         "",      RELOAD_NEXT,    protocols, 0,
      "version of MQTT that is spoken to the broker" },
    { "upstreams.topic_prefix",         CONF_TEMPLATE,    AT(conf_upstream, topic_prefix),                    0,      KNOWN,      NULL,                             "",      RELOAD_NEXT,    NONE,
      "what the device's topics begin with at the broker; without it: nothing" },
    { "upstreams.will_delay_s",         CONF_SECONDS,     AT(conf_upstream, will_delay_s),                    0,      300,        "0",                              "s",     RELOAD_NEXT,    NONE,
      "MQTT 5.0: Will Delay for Wills without one, so that a flip can take over; 0: none" },
    { "upstreams.keepalive_as_device",  CONF_BOOL,        AT(conf_upstream, keepalive_as_device),             0,      0,          "true",                           "",      RELOAD_NEXT,    NONE,
      "keep alive as often as the device asked for" },
    { "upstreams.keepalive_s",          CONF_SECONDS,     AT(conf_upstream, keepalive_s),                     0,      65535,      "60",                             "s",     RELOAD_NEXT,    NONE,
      "keepalive when it is not the device's; 0: none" },
    { "upstreams.keep_session",         CONF_BOOL,        AT(conf_upstream, keep_session),                    0,      0,          "true",                           "",      RELOAD_NEXT,    NONE,
      "let the broker keep the session when a connection breaks, whatever the device asked for" },
    { "upstreams.uplink_lost",          CONF_ENUM,        AT(conf_upstream, uplink_lost),                     0,      0,          "hold",                           "",      RELOAD_NEXT,    uplink_lost, 0,
      "what a device sees while the broker cannot be reached" },
    { "upstreams.switch",               CONF_ENUM,        AT(conf_upstream, switch_mode),                     0,      0,          "auto",                           "",      RELOAD_NEXT,    switch_modes, 0,
      "how a flip leaves the old connection" },
    { "upstreams.connect_timeout_ms",   CONF_MILLIS,      AT(conf_upstream, connect_timeout_ms),              100,    600000,     "15000",                          "ms",    RELOAD_NEXT,    NONE,
      "for name lookup, TCP and TLS together" },
    { "upstreams.connack_timeout_ms",   CONF_MILLIS,      AT(conf_upstream, connack_timeout_ms),              100,    600000,     "10000",                          "ms",    RELOAD_NEXT,    NONE,
      "from CONNECT to the broker's CONNACK" },
    { "upstreams.drain_timeout_ms",     CONF_MILLIS,      AT(conf_upstream, drain_timeout_ms),                0,      600000,     "5000",                           "ms",    RELOAD_NEXT,    NONE,
      "for exchanges under way, before a flip switches" },
    { "upstreams.barrier_timeout_ms",   CONF_MILLIS,      AT(conf_upstream, barrier_timeout_ms),              100,    600000,     "5000",                           "ms",    RELOAD_NEXT,    NONE,
      "for the PINGRESP, and for the end of the old connection" },
    { "upstreams.accept_wait_ms",       CONF_MILLIS,      AT(conf_upstream, accept_wait_ms),                  0,      60000,      "1000",                           "ms",    RELOAD_NEXT,    NONE,
      "TLS 1.3: how long to wait for the broker's ticket or alert" },
    { "upstreams.echo_topic",           CONF_TEMPLATE,    AT(conf_upstream, echo_topic),                      1,      KNOWN,      "certflip/echo/{device}",         "",      RELOAD_NEXT,    NONE,
      "topic that the device may write and read there, for evidence = \"echo\"" },
    { "upstreams.echo_timeout_ms",      CONF_MILLIS,      AT(conf_upstream, echo_timeout_ms),                 100,    600000,     "10000",                          "ms",    RELOAD_NEXT,    NONE,
      "for a message to that topic to come back" },

    { "devices",                        CONF_LIST,        MANY(conf, rules, rule_count),                      0,      1000000,    NULL,                             "",      RELOAD_NEXT,    NULL, sizeof(struct conf_rule),
      "rules: who is it?  The first that holds decides" },
    { "devices.name",                   CONF_TEMPLATE,    AT(conf_rule, name),                                1,      SHOWN,      MUST,                             "",      RELOAD_NEXT,    NONE,
      "name of the device, or a template" },
    { "devices.match",                  CONF_GROUP,       0, 0,                                               0,      0,          NULL,                             "",      RELOAD_NEXT,    NONE,
      "conditions; all of them must hold" },
    { "devices.match.any",              CONF_BOOL,        AT(conf_rule, any),                                 0,      0,          "false",                          "",      RELOAD_NEXT,    NONE,
      "true: no condition, on purpose" },
    { "devices.match.listener",         CONF_NAME,        AT(conf_rule, listener),                            1,      128,        NULL,                             "",      RELOAD_NEXT,    NONE,
      "name of the listener" },
    { "devices.match.cn",               CONF_GLOB,        AT(conf_rule, cn),                                  1,      255,        NULL,                             "",      RELOAD_NEXT,    NONE,
      "common name of the certificate" },
    { "devices.match.san",              CONF_GLOB,        AT(conf_rule, san),                                 1,      1000,       NULL,                             "",      RELOAD_NEXT,    NONE,
      "a subject alternative name of the certificate" },
    { "devices.match.issuer",           CONF_GLOB,        AT(conf_rule, issuer),                              1,      1000,       NULL,                             "",      RELOAD_NEXT,    NONE,
      "distinguished name of its issuer" },
    { "devices.match.fingerprint",      CONF_FINGERPRINT, AT(conf_rule, fingerprint),                         64,     95,         NULL,                             "",      RELOAD_NEXT,    NONE,
      "SHA-256 fingerprint of the certificate" },
    { "devices.match.client_id",        CONF_GLOB,        AT(conf_rule, client_id),                           1,      1000,       NULL,                             "",      RELOAD_NEXT,    NONE,
      "client identifier of the CONNECT packet" },
    { "devices.match.username",         CONF_GLOB,        AT(conf_rule, username),                            1,      1000,       NULL,                             "",      RELOAD_NEXT,    NONE,
      "its user name" },
    { "devices.match.password",         CONF_SECRET,      AT(conf_rule, password),                            1,      1000,       NULL,                             "",      RELOAD_NEXT,    NONE,
      "its password, exactly" },
    { "devices.match.networks",         CONF_NETWORKS,    MANY(conf_rule, networks, network_count),           1,      1000,       NULL,                             "",      RELOAD_NEXT,    NONE,
      "networks that it comes from" },
    { "devices.upstream",               CONF_NAME,        AT(conf_rule, upstream),                            1,      128,        NULL,                             "",      RELOAD_NEXT,    NONE,
      "profile of the old slot; default: the only one" },
    { "devices.upstream_new",           CONF_NAME,        AT(conf_rule, upstream_new),                        1,      128,        NULL,                             "",      RELOAD_NEXT,    NONE,
      "profile of the new slot; default: that of the old one" },
    { "devices.any_client_id",          CONF_BOOL,        AT(conf_rule, any_client_id),                       0,      0,          "true",                           "",      RELOAD_NEXT,    NONE,
      "false: its client identifier must be its name, unless match.client_id is given" },
    { "devices.max_connections",        CONF_UINT,        AT(conf_rule, max_connections),                     1,      100000,     "1",                              "",      RELOAD_NEXT,    NONE,
      "connections of one device at once" },

    { "exceptions",                     CONF_LIST,        MANY(conf, exceptions, exception_count),            0,      10000,      NULL,                             "",      RELOAD_NEXT,    NULL, sizeof(struct conf_exception),
      "certificates of devices that are accepted all the same" },
    { "exceptions.name",                CONF_NAME,        AT(conf_exception, name),                           1,      128,        MUST,                             "",      RELOAD_NEXT,    NONE,
      "name, for messages and status" },
    { "exceptions.device",              CONF_GLOB,        AT(conf_exception, device),                         1,      128,        MUST,                             "",      RELOAD_NEXT,    NONE,
      "devices that may come in by it" },
    { "exceptions.fingerprint",         CONF_FINGERPRINT, AT(conf_exception, fingerprint),                    64,     95,         NULL,                             "",      RELOAD_NEXT,    NONE,
      "SHA-256 fingerprint of the device's certificate" },
    { "exceptions.anchor",              CONF_FINGERPRINT, AT(conf_exception, anchor),                         64,     95,         NULL,                             "",      RELOAD_NEXT,    NONE,
      "SHA-256 fingerprint of the anchor that it comes from" },
    { "exceptions.accept",              CONF_WORDS,       AT(conf_exception, accept),                         1,      4,          MUST,                             "",      RELOAD_NEXT,    accepts, 0,
      "what is accepted of it" },
    { "exceptions.until",               CONF_DATE,        AT(conf_exception, until_s),                        0,      0,          MUST,                             "",      RELOAD_NEXT,    NONE,
      "last day on which it is accepted" },
    { "exceptions.reason",              CONF_STRING,      AT(conf_exception, reason),                         1,      300,        MUST,                             "",      RELOAD_NEXT,    NONE,
      "why" },
    { "exceptions.listeners",           CONF_STRINGS,     MANY(conf_exception, listeners, listener_count),    1,      1000,       NULL,                             "",      RELOAD_NEXT,    NONE,
      "listeners on which it is accepted; without it: all" },

    { "management",                     CONF_GROUP,       0, 0,                                               0,      0,          NULL,                             "",      RELOAD_NOW,     NONE,
      "the command channel of the centre" },
    { "management.enabled",             CONF_BOOL,        AT(conf, management.enabled),                       0,      0,          "false",                          "",      RELOAD_NOW,     NONE,
      "take commands through the broker" },
    { "management.device",              CONF_NAME,        AT(conf, management.device),                        1,      128,        NULL,                             "",      RELOAD_NOW,     NONE,
      "device whose identities carry the channel; default: the gateway's name" },
    { "management.socket",              CONF_PATH,        AT(conf, management.socket),                        1,      107,        CERTFLIP_RUN_DIR "/mqtt.sock",    "",      RELOAD_NOW,     NONE,
      "path of the Unix listener that the channel connects to" },
    { "management.client_id",           CONF_TEMPLATE,    AT(conf, management.client_id),                     1,      ONLY_SELF,  "certflip-{gateway}",             "",      RELOAD_NOW,     NONE,
      "its client identifier" },
    { "management.root",                CONF_TOPIC,       AT(conf, management.root),                          1,      200,        "certflip/v1",                    "",      RELOAD_NOW,     NONE,
      "topics are <root>/<gateway>/..." },
    { "management.keepalive_s",         CONF_SECONDS,     AT(conf, management.keepalive_s),                   5,      65535,      "60",                             "s",     RELOAD_NOW,     NONE,
      "its keepalive" },
    { "management.version",             CONF_INT,         AT(conf, management.version),                       4,      5,          "5",                              "",      RELOAD_NOW,     NONE,
      "MQTT protocol level: 5, or 4 for MQTT 3.1.1" },
    { "management.signed",             CONF_GROUP,        0, 0,                                               0,      0,          NULL,                             "",      RELOAD_NOW,     NONE,
      "what of it has to be signed by an operator" },
    { "management.signed.observe",     CONF_ENUM,         AT(conf, management.signed_observe),                0,      0,          "optional",                       "",      RELOAD_NOW,     signed_words, 0,
      "methods that only look" },
    { "management.signed.operate",     CONF_ENUM,         AT(conf, management.signed_operate),                0,      0,          "optional",                       "",      RELOAD_NOW,     signed_words, 0,
      "methods that change something" },
    { "management.signed.trust",       CONF_ENUM,         AT(conf, management.signed_trust),                  0,      0,          "optional",                       "",      RELOAD_NOW,     signed_words, 0,
      "methods about keys, certificates and trust" },
    { "management.signed.max_expiry_s", CONF_SECONDS,      AT(conf, management.signed_max_expiry_s),           1,      86400,      "3600",                           "s",     RELOAD_NOW,     NONE,
      "how far ahead a signed command may expire" },
    { "management.signed.tolerance_s", CONF_SECONDS,      AT(conf, management.signed_tolerance_s),            0,      600,        "60",                             "s",     RELOAD_NOW,     NONE,
      "by which the clocks of operator and gateway may differ" },

    { "operators",                     CONF_LIST,        MANY(conf, operators, operator_count),              0,      256,        NULL,                             "",      RELOAD_NOW,     NULL, sizeof(struct conf_operator),
      "who may sign commands" },
    { "operators.name",                CONF_NAME,         AT(conf_operator, name),                            1,      128,        MUST,                             "",      RELOAD_NOW,     NONE,
      "name of the operator, as signed commands have it (kid)" },
    { "operators.key",                 CONF_PATH,         AT(conf_operator, key),                             1,      4000,       MUST,                             "",      RELOAD_NOW,     NONE,
      "PEM file of the public key, or of a certificate: P-256 or Ed25519" },
    { "operators.roles",               CONF_STRINGS,      MANY(conf_operator, roles, role_count),             1,      3,          MUST,                             "",      RELOAD_NOW,     NONE,
      "which classes of methods it may sign: observe, operate, trust" },

    { "limits",                         CONF_GROUP,       0, 0,                                               0,      0,          NULL,                             "",      RELOAD_NEXT,    NONE,
      "what devices may take" },
    { "limits.connections",             CONF_UINT,        AT(conf, limits.connections),                       1,      10000000,   "20000",                          "",      RELOAD_NOW,     NONE,
      "connections of devices in all" },
    { "limits.connections_per_source",  CONF_UINT,        AT(conf, limits.connections_per_source),            0,      10000000,   "0",                              "",      RELOAD_NOW,     NONE,
      "connections from one address; 0: no bound" },
    { "limits.handshakes",              CONF_UINT,        AT(conf, limits.handshakes),                        1,      1000000,    "256",                            "",      RELOAD_NOW,     NONE,
      "TLS handshakes of devices at once, for each worker" },
    { "limits.handshake_timeout_ms",    CONF_MILLIS,      AT(conf, limits.handshake_timeout_ms),              100,    600000,     "20000",                          "ms",    RELOAD_NEXT,    NONE,
      "for a device's TLS handshake" },
    { "limits.connect_timeout_ms",      CONF_MILLIS,      AT(conf, limits.connect_timeout_ms),                100,    600000,     "20000",                          "ms",    RELOAD_NEXT,    NONE,
      "from the end of the handshake to the device's CONNECT" },
    { "limits.packet_bytes",            CONF_BYTES,       AT(conf, limits.packet_bytes),                      1024,   268435460,  "1MiB",                           "bytes", RELOAD_NEXT,    NONE,
      "largest MQTT packet, both ways" },
    { "limits.inflight",                CONF_UINT,        AT(conf, limits.inflight),                          1,      65535,      "1024",                           "",      RELOAD_NEXT,    NONE,
      "unacknowledged QoS 1 and 2 messages of a session, for each direction" },
    { "limits.queue_bytes",             CONF_BYTES,       AT(conf, limits.queue_bytes),                       4096,   1073741824, "256KiB",                         "bytes", RELOAD_NEXT,    NONE,
      "what may wait for a slow side before the other one is held back" },
    { "limits.idle_close_ms",           CONF_MILLIS,      AT(conf, limits.idle_close_ms),                     10,     600000,     "5000",                           "ms",    RELOAD_NEXT,    NONE,
      "how long a closing connection may linger" },
    { "limits.subscriptions",           CONF_UINT,        AT(conf, limits.subscriptions),                     1,      1000000,    "1000",                           "",      RELOAD_NEXT,    NONE,
      "subscriptions of one session" },
    { "limits.wakeups_per_second",      CONF_UINT,        AT(conf, limits.wakeups_per_second),                0,      1000000,    "4000",                           "",      RELOAD_NOW,     NONE,
      "how often a worker looks for packets, for each second; 0: whenever one comes" },

    { "keygen",                         CONF_GROUP,       0, 0,                                               0,      0,          NULL,                             "",      RELOAD_NOW,     NONE,
      "keys that are made on the gateway, and what is asked of the CA for them" },
    { "keygen.key",                     CONF_ENUM,        AT(conf, keygen.key),                               0,      0,          "ec-p256",                        "",      RELOAD_NOW,     key_kinds, 0,
      "kind of key, when the command does not say" },
    { "keygen.subject",                 CONF_TEMPLATE,    AT(conf, keygen.subject),                           0,      NAMED,      "CN={device}",                    "",      RELOAD_NOW,     NONE,
      "subject of the request, as RFC 4514 writes it" },
    { "keygen.sans",                    CONF_STRINGS,     MANY(conf, keygen.sans, keygen.san_count),          0,      16,         NULL,                             "",      RELOAD_NOW,     NONE,
      "subject alternative names of the request, DNS: URI: email: or IP:, with {device} and {gateway}" },
    { "keygen.token",                   CONF_NAME,        AT(conf, keygen.token),                             1,      128,        NULL,                             "",      RELOAD_NOW,     NONE,
      "token in which keys are made; default: in files" },

    { "flip",                           CONF_GROUP,       0, 0,                                               0,      0,          NULL,                             "",      RELOAD_NOW,     NONE,
      "trials of new identities" },
    { "flip.probation_s",               CONF_SECONDS,     AT(conf, flip.probation_s),                         1,      31536000,   "60",                             "s",     RELOAD_NEXT,    NONE,
      "how long a new identity must stay healthy before it is kept" },
    { "flip.evidence",                  CONF_ENUM,        AT(conf, flip.evidence),                            0,      0,          "connack",                        "",      RELOAD_NEXT,    evidences, 0,
      "what a new identity must prove: that it is accepted, or also that a message of its own comes back" },
    { "flip.attempts",                  CONF_UINT,        AT(conf, flip.attempts),                            1,      100,        "3",                              "",      RELOAD_NEXT,    NONE,
      "attempts of one trial, restarts included" },
    { "flip.concurrent",                CONF_UINT,        AT(conf, flip.concurrent),                          1,      100000,     "500",                            "",      RELOAD_NOW,     NONE,
      "most sessions that move to another identity at once; how many do follows from what the broker takes" },
    { "flip.jitter_ms",                 CONF_MILLIS,      AT(conf, flip.jitter_ms),                           0,      600000,     "1000",                           "ms",    RELOAD_NOW,     NONE,
      "several devices that are flipped together begin within this time" },
    { "flip.backoff_tls_s",             CONF_BACKOFF,     MANY(conf, flip.backoff_tls_s, flip.backoff_tls_count), 1,  86400,      "[30, 60, 120, 300]",             "s",     RELOAD_NEXT,    NONE,
      "waits after failures of TLS or login; the last one repeats" },
    { "flip.backoff_network_s",         CONF_BACKOFF,     MANY(conf, flip.backoff_network_s, flip.backoff_network_count), 1, 86400, "[1, 2, 5, 10, 30, 60, 120]",  "s",     RELOAD_NEXT,    NONE,
      "waits after failures of the network; the last one repeats" },

    { "clock",                          CONF_GROUP,       0, 0,                                               0,      0,          NULL,                             "",      RELOAD_NOW,     NONE,
      "how far the clock of the gateway is believed" },
    { "clock.require_sync",             CONF_BOOL,        AT(conf, clock_require_sync),                       0,      0,          "true",                           "",      RELOAD_NOW,     NONE,
      "refuse flips, unless forced, while the kernel does not say that the clock is synchronised" },

    { "lint",                           CONF_GROUP,       0, 0,                                               0,      0,          NULL,                             "",      RELOAD_NOW,     NONE,
      "what identities have to be like" },
    { "lint.expiring_days",             CONF_UINT,        AT(conf, lint.expiring_days),                       0,      3650,       "30",                             "days",  RELOAD_NOW,     NONE,
      "how long before its end a certificate is warned of, at most a third of its validity" },
    { "lint.max_validity_days",         CONF_UINT,        AT(conf, lint.max_validity_days),                   0,      36500,      "0",                              "days",  RELOAD_NOW,     NONE,
      "longest validity of a new identity; 0: no bound" },
    { "lint.min_rsa_bits",              CONF_UINT,        AT(conf, lint.min_rsa_bits),                        1024,   16384,      "2048",                           "bits",  RELOAD_NOW,     NONE,
      "smallest RSA key of an identity or of its CAs" },
    { "lint.backdate_h",                CONF_UINT,        AT(conf, lint.backdate_h),                          0,      8760,       "24",                             "h",     RELOAD_NOW,     NONE,
      "how long a certificate should have been valid when it is used; 0: not looked at" },
    { "lint.name_match",                CONF_ENUM,        AT(conf, lint.name_match),                          0,      0,          "warn",                           "",      RELOAD_NOW,     name_matches, 0,
      "how much it counts that an identity does not name its device" },
    { "lint.anchors",                   CONF_PATHS,       MANY(conf, lint.anchors, lint.anchor_count),        0,      64,         NULL,                             "",      RELOAD_NOW,     NONE,
      "PEM files of the CAs that identities come from; without it: that is not judged" },
    { "lint.crls",                      CONF_PATHS,       MANY(conf, lint.crls, lint.crl_count),              0,      64,         NULL,                             "",      RELOAD_NOW,     NONE,
      "files, or folders of files, with lists of identities that these CAs have revoked" },

    { "status",                         CONF_GROUP,       0, 0,                                               0,      0,          NULL,                             "",      RELOAD_NOW,     NONE,
      "metrics, health and the status page, over HTTP" },
    { "status.enabled",                 CONF_BOOL,        AT(conf, status.enabled),                           0,      0,          "true",                           "",      RELOAD_NOW,     NONE,
      "show them" },
    { "status.address",                 CONF_STRING,      AT(conf, status.address),                           1,      64,         "127.0.0.1",                      "",      RELOAD_NOW,     NONE,
      "IP address to listen on" },
    { "status.port",                    CONF_PORT,        AT(conf, status.port),                              1,      65535,      "9180",                           "",      RELOAD_NOW,     NONE,
      "TCP port" },
    { "status.allow_remote",            CONF_BOOL,        AT(conf, status.allow_remote),                      0,      0,          "false",                          "",      RELOAD_NOW,     NONE,
      "the address may be one that others can reach: there is no login, and no TLS" },
    { "status.hosts",                   CONF_STRINGS,     MANY(conf, status.hosts, status.host_count),        0,      32,         NULL,                             "",      RELOAD_NOW,     NONE,
      "names by which it may be asked for, beside addresses, localhost and the gateway's own names" },

    { "log",                            CONF_GROUP,       0, 0,                                               0,      0,          NULL,                             "",      RELOAD_NOW,     NONE,
      "log lines" },
    { "log.format",                     CONF_ENUM,        AT(conf, log.format),                               0,      0,          "text",                           "",      RELOAD_NOW,     log_formats, 0,
      "how a line is written" },
    { "log.target",                     CONF_ENUM,        AT(conf, log.target),                               0,      0,          "auto",                           "",      RELOAD_RESTART, log_targets, 0,
      "where lines go" },
    { "log.repeat_burst",               CONF_UINT,        AT(conf, log.repeat_burst),                         0,      1000,       "5",                              "",      RELOAD_NOW,     NONE,
      "of lines that say the same, so many are written in a window, the others counted; 0: all are written" },
    { "log.repeat_window_s",            CONF_SECONDS,     AT(conf, log.repeat_window_s),                      1,      86400,      "60",                             "s",     RELOAD_NOW,     NONE,
      "how long that window is" },
    { "log.recent_bytes",               CONF_BYTES,       AT(conf, log.recent_bytes),                         0,      67108864,   "1MiB",                           "bytes", RELOAD_NOW,     NONE,
      "so much of the latest lines is kept in memory for certflipctl logs; 0: none" },
    { "log.levels",                     CONF_LIST,        MANY(conf, log.levels, log.level_count),            0,      64,         NULL,                             "",      RELOAD_NOW,     NULL, sizeof(struct conf_log_level),
      "what is written; \"*\" stands for every subsystem that is not named, and is \"info\" without a say" },
    { "log.levels.subsystem",           CONF_STRING,      AT(conf_log_level, subsystem),                      1,      64,         MUST,                             "",      RELOAD_NOW,     NONE,
      "name of a subsystem, or \"*\"" },
    { "log.levels.level",               CONF_ENUM,        AT(conf_log_level, level),                          0,      0,          "info",                           "",      RELOAD_NOW,     log_level_words, 0,
      "the least urgent lines that are written" },
};
/* clang-format on */

const size_t conf_row_count = sizeof(conf_rows) / sizeof(conf_rows[0]);

const struct conf_table conf_table = {conf_rows, sizeof(conf_rows) / sizeof(conf_rows[0])};

const struct conf_row *conf_table_find(const struct conf_table *t, const char *key)
{
    for (size_t i = 0; i < t->count; i++) {
        if (strcmp(t->rows[i].key, key) == 0)
            return &t->rows[i];
    }
    return NULL;
}

const struct conf_row *conf_row_find(const char *key)
{
    return conf_table_find(&conf_table, key);
}

bool conf_row_inside(const struct conf_row *row, const struct conf_row *parent)
{
    size_t n = parent == NULL ? 0 : strlen(parent->key);

    if (n > 0 && (strncmp(row->key, parent->key, n) != 0 || row->key[n++] != '.'))
        return false;
    return strchr(row->key + n, '.') == NULL;
}

const char *conf_row_name(const struct conf_row *row)
{
    const char *dot = strrchr(row->key, '.');

    return dot == NULL ? row->key : dot + 1;
}

const struct conf_row *conf_table_member(const struct conf_table *t, const struct conf_row *parent,
                                         const char *name)
{
    for (size_t i = 0; i < t->count; i++) {
        if (strcmp(conf_row_name(&t->rows[i]), name) == 0 && conf_row_inside(&t->rows[i], parent))
            return &t->rows[i];
    }
    return NULL;
}

const struct conf_row *conf_row_member(const struct conf_row *parent, const char *name)
{
    return conf_table_member(&conf_table, parent, name);
}

const struct conf_row *conf_table_nearest(const struct conf_table *t, const struct conf_row *parent,
                                          const char *name)
{
    size_t len = strlen(name);
    unsigned best = len < 4 ? 1 : len < 8 ? 2 : 3;
    const struct conf_row *nearest = NULL;

    for (size_t i = 0; i < t->count; i++) {
        unsigned distance;

        if (!conf_row_inside(&t->rows[i], parent))
            continue;
        distance = str_distance(name, conf_row_name(&t->rows[i]), best);
        if (distance < best || (distance == best && nearest == NULL)) {
            best = distance;
            nearest = &t->rows[i];
        }
    }
    return nearest;
}

const struct conf_row *conf_row_nearest(const struct conf_row *parent, const char *name)
{
    return conf_table_nearest(&conf_table, parent, name);
}

static void words_to(const struct conf_word *w, struct buf *out)
{
    for (const struct conf_word *p = w; p->word != NULL; p++)
        buf_printf(out, "%s\"%s\"", p == w ? "" : p[1].word == NULL ? " or " : ", ", p->word);
}

/* The shortest exact way to write `n` of `unit`. */
static void amount(const struct conf_row *row, int64_t n, struct buf *out)
{
    static const struct {
        const char *unit;
        int64_t factor;
        const char *suffix;
    } big[] = {
        {"ms", 3600000, " h"},      {"ms", 60000, " min"},      {"ms", 1000, " s"},
        {"s", 86400, " d"},         {"s", 3600, " h"},          {"s", 60, " min"},
        {"bytes", 1 << 30, " GiB"}, {"bytes", 1 << 20, " MiB"}, {"bytes", 1 << 10, " KiB"},
    };

    for (size_t i = 0; i < sizeof(big) / sizeof(big[0]); i++) {
        if (n != 0 && strcmp(row->unit, big[i].unit) == 0 && n % big[i].factor == 0) {
            buf_printf(out, "%" PRId64 "%s", n / big[i].factor, big[i].suffix);
            return;
        }
    }
    buf_printf(out, "%" PRId64 "%s%s", n, row->unit[0] == '\0' ? "" : " ", row->unit);
}

static void range(const struct conf_row *row, struct buf *out)
{
    amount(row, row->least, out);
    buf_printf(out, " to ");
    amount(row, row->most, out);
}

void conf_row_allowed(const struct conf_row *row, struct buf *out)
{
    switch (row->kind) {
    case CONF_GROUP:
        buf_printf(out, "a group { ... }");
        break;
    case CONF_LIST:
        buf_printf(out, "a list ( { ... }, { ... } )");
        break;
    case CONF_STRING:
    case CONF_SECRET:
    case CONF_GLOB:
    case CONF_PATH:
        buf_printf(out, "a string in quotes, of %" PRId64 " to %" PRId64 " bytes", row->least,
                   row->most);
        break;
    case CONF_NAME:
        buf_printf(out,
                   "a name in quotes: 1 to 128 of A-Z a-z 0-9 . _ -, not beginning with . or -");
        break;
    case CONF_TEMPLATE:
        buf_printf(out, "a string in quotes, with placeholders such as {gateway}, of %s1000 bytes",
                   row->least == 0 ? "0 to " : "1 to ");
        break;
    case CONF_FINGERPRINT:
        buf_printf(out, "a SHA-256 fingerprint in quotes: 64 hex digits, with or without colons");
        break;
    case CONF_TOPIC:
        buf_printf(out,
                   "a topic in quotes without wildcards and empty levels, of 1 to %" PRId64
                   " bytes, not beginning with $",
                   row->most);
        break;
    case CONF_BOOL:
        buf_printf(out, "true or false");
        break;
    case CONF_UINT:
    case CONF_INT:
    case CONF_PORT:
        buf_printf(out, "a number from ");
        range(row, out);
        break;
    case CONF_MILLIS:
    case CONF_SECONDS:
        range(row, out);
        buf_printf(out, ", as a number of %s or as text such as %s\"30s\", \"2m\", \"1h\"",
                   row->unit, row->kind == CONF_MILLIS ? "\"500ms\", " : "");
        break;
    case CONF_BYTES:
        range(row, out);
        buf_printf(out, ", as a number of bytes or as text such as \"64KiB\", \"1MiB\"");
        break;
    case CONF_DATE:
        buf_printf(out, "a date in quotes, \"YYYY-MM-DD\"");
        break;
    case CONF_ENUM:
        words_to(row->words, out);
        break;
    case CONF_WORDS:
        buf_printf(out, "one or more [ ..., ... ] of ");
        words_to(row->words, out);
        break;
    case CONF_STRINGS:
    case CONF_PATHS:
        buf_printf(out,
                   "strings in quotes, [ \"...\", \"...\" ], %" PRId64 " to %" PRId64 " of them",
                   row->least, row->most);
        break;
    case CONF_NETWORKS:
        buf_printf(out,
                   "networks such as [ \"192.0.2.0/24\", \"2001:db8::/32\" ], %" PRId64
                   " to %" PRId64 " of them",
                   row->least, row->most);
        break;
    case CONF_BACKOFF:
    case CONF_NUMBERS:
        buf_printf(out, "1 to 8 numbers [ ..., ... ], each ");
        range(row, out);
        break;
    case CONF_PERCENT:
        buf_printf(out, "a number from %g to %g, with at most three decimals",
                   (double)row->least / 1000, (double)row->most / 1000);
        break;
    }
}

void conf_schema_dump(struct buf *out)
{
    static const char *const kinds[] = {
        [CONF_GROUP] = "group",
        [CONF_LIST] = "list",
        [CONF_STRING] = "string",
        [CONF_SECRET] = "secret",
        [CONF_NAME] = "name",
        [CONF_GLOB] = "glob",
        [CONF_TEMPLATE] = "template",
        [CONF_PATH] = "path",
        [CONF_FINGERPRINT] = "fingerprint",
        [CONF_TOPIC] = "topic",
        [CONF_BOOL] = "bool",
        [CONF_UINT] = "number",
        [CONF_INT] = "number",
        [CONF_PORT] = "port",
        [CONF_MILLIS] = "duration",
        [CONF_SECONDS] = "duration",
        [CONF_BYTES] = "size",
        [CONF_ENUM] = "word",
        [CONF_STRINGS] = "strings",
        [CONF_PATHS] = "paths",
        [CONF_NETWORKS] = "networks",
        [CONF_BACKOFF] = "durations",
        [CONF_DATE] = "date",
        [CONF_WORDS] = "words",
        [CONF_NUMBERS] = "numbers",
        [CONF_PERCENT] = "percent",
    };
    static const char *const reach[] = {
        [RELOAD_NOW] = "now",
        [RELOAD_NEXT] = "next",
        [RELOAD_RESTART] = "restart",
    };

    for (size_t i = 0; i < conf_row_count; i++) {
        const struct conf_row *row = &conf_rows[i];

        buf_printf(out, "%s\t%s\t%s\t%" PRId64 "\t%" PRId64 "\t%s\t%s\t%s\n", row->key,
                   kinds[row->kind], row->def == NULL ? "-" : row->def, row->least, row->most,
                   row->unit, reach[row->reload], row->help);
    }
}
