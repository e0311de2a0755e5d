/* conf/conf.h - the configuration as one immutable struct.
 *
 * Made by conf_load on the main thread, checked as a whole, shared by reference count (atomic) with
 * every thread; never changed afterwards.  All strings and arrays are owned by the struct.  Every
 * member has a row in conf/schema.c with its key, kind, bounds, default, unit and what a reload
 * reaches; certflip.conf(5) is their manual.
 */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/log_sink.h"
#include "base/subnet.h"

enum conf_listener_type { CONF_LISTEN_TLS, CONF_LISTEN_PLAINTEXT, CONF_LISTEN_UNIX };
enum conf_client_cert { CONF_CERT_REQUIRE, CONF_CERT_REQUEST, CONF_CERT_NONE };
enum conf_revoked { CONF_REVOKED_CUT, CONF_REVOKED_KEEP };
enum conf_crl_policy { CONF_CRL_OFF, CONF_CRL_SOFT, CONF_CRL_STRICT };
enum conf_ocsp { CONF_OCSP_OFF, CONF_OCSP_REQUEST, CONF_OCSP_REQUIRE };

struct conf_chain {
    char *chain, *key;       /* paths */
    char *sni;               /* glob or NULL: whatever the name */
    struct subnet *networks; /* of those who get it; none: everybody */
    size_t network_count;
    int tls_max; /* of those who get it, as enum tls_version */
};

struct conf_listener {
    char *name;
    enum conf_listener_type type;
    char *address; /* IP literal, "*" = both families; the socket's path for unix */
    uint16_t port;
    struct conf_chain *chains; /* TLS */
    size_t chain_count;
    char **anchors; /* TLS: PEM paths */
    size_t anchor_count;
    char **crls; /* TLS: files or folders */
    size_t crl_count;
    enum conf_crl_policy crl_policy;
    enum conf_revoked revoked_sessions;
    enum conf_client_cert client_cert;
    int tls_min, tls_max; /* 0x0301..0x0304, as enum tls_version */
    char *ciphers;        /* or NULL */
    unsigned min_rsa_bits;
    struct subnet *allow; /* plaintext: required; TLS: empty = everybody */
    size_t allow_count;
    uint32_t backlog;
    char *device; /* unix: the device that connects here (management); or NULL */
};

/* A PKCS#11 token that keys of identities may be in. */
struct conf_token {
    char *name;
    char *module;         /* path */
    char *label, *serial; /* of the token; at least one of them */
    char *pin_file;       /* NULL: the systemd credential <name>.pin */
    uint32_t timeout_ms;  /* after which it counts as silent */
};

enum conf_uplink_lost { CONF_UPLINK_HOLD, CONF_UPLINK_DROP };
enum conf_evidence { CONF_EVIDENCE_CONNACK, CONF_EVIDENCE_ECHO };
enum conf_protocol {
    CONF_PROTOCOL_DEVICE, /* what the device speaks */
    CONF_PROTOCOL_5,
};
enum conf_switch { CONF_SWITCH_AUTO, CONF_SWITCH_TAKEOVER, CONF_SWITCH_DISCONNECT };

struct conf_upstream {
    char *name;
    char *address; /* host name or IP literal */
    uint16_t port;
    char *server_name; /* what the certificate must carry; default: address */
    char *sni;         /* default: server_name unless IP; "" = none */
    char **alpn;
    size_t alpn_count;
    char **anchors;
    size_t anchor_count;
    char **crls; /* files or folders */
    size_t crl_count;
    enum conf_crl_policy crl_policy;
    enum conf_ocsp ocsp;
    int tls_min, tls_max; /* 1.2 or 1.3 */
    char *ciphers;
    char *client_id; /* templates: {client_id} {device} {cn} {username} {gateway}; default
                        "{client_id}" */
    char *username;  /* template; NULL: as the device sent it; "": none */
    char *password;  /* template with {password}; NULL: as the device sent it; "": none */
    enum conf_protocol protocol;
    char *topic_prefix; /* template; before every topic but those that begin with '$'; NULL or "":
                           none */
    uint32_t will_delay_s; /* 5.0 upstream: given to a Will without one, so that a take-over does
                              not publish it; 0: none */
    bool keepalive_as_device;
    uint32_t keepalive_s; /* when not as the device */
    bool keep_session;    /* the upstream session outlives its connection, whatever the device asked
                             for; default true */
    enum conf_uplink_lost uplink_lost;
    enum conf_switch switch_mode;
    uint32_t connect_timeout_ms; /* DNS + TCP + TLS */
    uint32_t connack_timeout_ms;
    uint32_t drain_timeout_ms;   /* in-flight exchanges, before the switch */
    uint32_t barrier_timeout_ms; /* PINGRESP, EOF */
    char *echo_topic;            /* template: what the device may write and read, for evidence */
    uint32_t echo_timeout_ms;    /* from SUBSCRIBE there to our message's coming back */
    uint32_t accept_wait_ms;     /* TLS 1.3: how long to wait for ticket or alert */
};

/* How a device is recognised; every given condition must hold.  Globs unless said. */
struct conf_rule {
    char *name; /* device name; a template ("{cn}", "{client_id}", "{username}", "{san}",
                   "{gateway}") when it covers several.  What it needs must be there, else the rule
                   does not hold. */
    char *listener;
    char *cn, *san, *issuer;
    char *fingerprint; /* 64 hex digits, exact */
    char *client_id, *username;
    char *password; /* exact */
    struct subnet *networks;
    size_t network_count;
    char *upstream;           /* profile of the old slot; default: the only one */
    char *upstream_new;       /* profile of the new slot; default: upstream */
    bool any;                 /* no condition on purpose */
    bool any_client_id;       /* false: only its own name, or what the client_id condition allows */
    uint32_t max_connections; /* of this device at once: 1 */
    const char *file;         /* where the rule stands, for messages */
    unsigned line;
};

/* What is accepted of a certificate all the same; bits, as enum tls_accept. */
enum conf_accept {
    CONF_ACCEPT_EXPIRED = 1 << 0,
    CONF_ACCEPT_SHA1 = 1 << 1,
    CONF_ACCEPT_MD5 = 1 << 2,
    CONF_ACCEPT_SMALL_KEY = 1 << 3,
};

/* A certificate of devices that cannot be mended: see tls/policy.h. */
struct conf_exception {
    char *name;
    char *device;               /* glob: who may come in by it */
    char *fingerprint, *anchor; /* 64 hex digits, at least one; the other NULL */
    unsigned accept;            /* enum conf_accept */
    int64_t until_s;            /* wall clock; from then on nothing is accepted any more */
    char *reason;
    char **listeners; /* none: all that ask for certificates */
    size_t listener_count;
};

struct conf_limits {
    uint32_t connections;            /* in all */
    uint32_t connections_per_source; /* 0: no bound */
    uint32_t handshakes;             /* at once, per worker */
    uint32_t handshake_timeout_ms;
    uint32_t connect_timeout_ms; /* from handshake's end (or accept) to CONNECT */
    uint32_t packet_bytes;
    uint32_t inflight;           /* unacknowledged QoS 1/2 per direction, remembered per session */
    uint32_t queue_bytes;        /* high watermark of what waits for a slow side */
    uint32_t idle_close_ms;      /* how long a closing connection may linger */
    uint32_t subscriptions;      /* per session */
    uint32_t wakeups_per_second; /* per worker; 0: no bound */
};

enum conf_key {
    CONF_KEY_EC_P256,
    CONF_KEY_EC_P384,
    CONF_KEY_RSA_2048,
    CONF_KEY_RSA_3072,
    CONF_KEY_RSA_4096,
};

/* Keys that are made here.  Each text with its places filled for a device is good: conf_load has
 * tried it with a device of a short name. */
struct conf_keygen {
    enum conf_key key;
    char *subject; /* template: {device} {gateway}; RFC 4514 when filled, may be empty */
    char **sans;   /* templates likewise; as base/names.h has them */
    size_t san_count;
    char *token; /* where keys are made; NULL: in files */
};

struct conf_flip {
    uint32_t probation_s;
    enum conf_evidence evidence; /* of a flip that says nothing of it */
    uint32_t attempts;
    uint32_t concurrent; /* moves under way at once, at most */
    uint32_t jitter_ms;  /* before the first of several */
    uint32_t backoff_tls_s[8];
    size_t backoff_tls_count;
    uint32_t backoff_network_s[8];
    size_t backoff_network_count;
};

enum conf_name_match { CONF_NAME_OFF, CONF_NAME_WARN, CONF_NAME_ERROR };

/* What identities have to be like; lint/lint.h. */
struct conf_lint {
    uint32_t expiring_days;
    uint32_t max_validity_days; /* 0: no bound */
    uint32_t min_rsa_bits;
    uint32_t backdate_h; /* 0: not looked at */
    enum conf_name_match name_match;
    char **anchors; /* PEM paths of the CAs that identities come from; none: not judged */
    size_t anchor_count;
    char **crls; /* paths of their lists, or of folders of these */
    size_t crl_count;
};

enum conf_signed { CONF_SIGNED_OFF, CONF_SIGNED_OPTIONAL, CONF_SIGNED_REQUIRED };

/* Somebody who signs commands. */
struct conf_operator {
    char *name;
    char *key;    /* path: PEM public key or certificate */
    char **roles; /* of "observe", "operate", "trust" */
    size_t role_count;
};

struct conf_management {
    bool enabled;
    char *device;    /* name of the device whose identities carry the channel */
    char *socket;    /* path of the Unix listener "management", which conf_load adds to listeners */
    char *client_id; /* default: "certflip-{gateway}" */
    char *root;      /* "certflip/v1" */
    uint32_t keepalive_s;
    int version;                                                   /* 4 or 5 */
    enum conf_signed signed_observe, signed_operate, signed_trust; /* by class of methods */
    uint32_t signed_max_expiry_s; /* how far ahead a signed command may expire */
    uint32_t signed_tolerance_s;  /* by which the clocks of operator and gateway may differ */
};

struct conf_keys {
    bool encrypt;          /* private keys are written under the passphrase */
    char *passphrase_file; /* NULL: the credential certflip.passphrase, where the service has it */
    bool core_dumps;       /* the process may be dumped and traced */
};

/* What is shown over HTTP: status/status.h. */
struct conf_status {
    bool enabled;
    char *address; /* IP literal */
    uint16_t port;
    bool allow_remote; /* the address need not be a loopback one */
    char **hosts;      /* names that it is asked for by, beside those that are always good */
    size_t host_count;
};

struct conf_log_level {
    char *subsystem; /* or "*" */
    enum log_level level;
};

struct conf_log {
    enum log_format format;
    enum log_target target;
    uint32_t repeat_burst; /* 0: whatever repeats is written */
    uint32_t repeat_window_s;
    uint32_t recent_bytes; /* kept in memory; 0: none */
    struct conf_log_level *levels;
    size_t level_count;
};

struct conf {
    char *path;
    char *gateway;
    unsigned workers; /* resolved: 0 in the file becomes the number of cores */
    char *identities_dir;
    char *state_dir;
    char *control_socket;
    char *control_group; /* group that may operate; NULL: only root and our own user */
    char *include_dir;   /* more files, *.conf; NULL: none */
    struct conf_token *tokens;
    size_t token_count;
    struct conf_listener *listeners;
    size_t listener_count;
    struct conf_upstream *upstreams;
    size_t upstream_count;
    struct conf_rule *rules;
    size_t rule_count;
    struct conf_exception *exceptions;
    size_t exception_count;
    struct conf_limits limits;
    struct conf_keygen keygen;
    struct conf_flip flip;
    struct conf_lint lint;
    struct conf_management management;
    struct conf_operator *operators;
    size_t operator_count;
    bool clock_require_sync; /* flips need a clock that is synchronised */
    struct conf_keys keys;
    struct conf_status status;
    struct conf_log log;
};

/* Read `path`, its @includes and *.conf of its conf.d (key include_dir), check everything.  Every
 * fault goes into `faults` as one line "file:line: key: what is wrong: what is allowed" with a
 * newline behind each; *fault_count counts them. Files that the configuration names (certificates,
 * keys) are looked at for existence and readability. Returns owned (one reference), or NULL when
 * there was at least one fault. */
struct conf *conf_load(const char *path, struct buf *faults, unsigned *fault_count);
struct conf *conf_ref(struct conf *c);
void conf_unref(struct conf *c); /* NULL is fine; any thread */

const struct conf_upstream *conf_upstream_find(const struct conf *c, const char *name);
const struct conf_token *conf_token_find(const struct conf *c, const char *name);
const struct conf_listener *conf_listener_find(const struct conf *c, const char *name);

/* Does the exception hold on this listener? */
bool conf_exception_on(const struct conf_exception *e, const struct conf_listener *l);

/* The rule that names `device` literally (no template), or NULL. */
const struct conf_rule *conf_rule_find(const struct conf *c, const char *device);

/* What a reload from `a` to `b` cannot reach without a restart: one line each into `out` ("workers:
 * 2 -> 4"). */
void conf_restart_needed(const struct conf *a, const struct conf *b, struct buf *out);

#endif
