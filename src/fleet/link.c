/* fleet/link.c - see link.h.
 *
 * Each attempt to connect has a client of libmosquitto of its own, so nothing of an earlier
 * connection comes along.  The library's waiting for a connection (non-blocking) is done here: it
 * tries one address only, and with TLS it would never notice that the connection stands.  TLS is
 * set up here as well, by OpenSSL: the library verifies no other name than that it connects to, and
 * does not say what went wrong.
 */
#include "fleet/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/durable.h"
#include "base/map.h"
#include "base/rand.h"
#include "base/str.h"
#include "control/rpc.h"
#include "control/signed.h"
#include "tls/jws.h"

#define UNACKED_MAX       100 /* requests that the broker has not taken yet */
#define UNACKED_BYTES_MAX (8U << 20)
#define CONNECT_MS        10000 /* for an address to answer */
#define GREETING_MS       20000 /* for TLS and CONNACK */
#define BACKOFF_LEAST_MS  1000
#define BACKOFF_MOST_MS   60000
#define STABLE_MS         30000 /* a connection that lasted so long was a good one */
#define MISC_MS           1000  /* keep alive is looked at so often */
#define MARKER_MS         1000  /* for our own message to come back, then another is sent */
#define QUIET_MS          200   /* nothing retained for so long, behind our own message */
#define SILENT_MS         2000  /* the same, where our own message does not come back */
#define READS_MAX         256   /* packets of one step */
#define ASKS_LEAST        4 /* gateways that are asked at once until it is known how much comes */
#define ASKS_MOST         64
#define ASKED_MESSAGES    600 /* that may come of those that are asked at once */
#define KEY_FILE_MAX      65536
#define EXPIRY_S          300
#define KEEPALIVE_S       30

/* A way to have the library try another kind of address: what it binds to. */
static const char *const binds[] = {NULL, "0.0.0.0", "::"};
#define BIND_COUNT (sizeof(binds) / sizeof(binds[0]))

enum phase {
    LINK_WAITING,  /* for the next attempt */
    LINK_DIALLING, /* TCP */
    LINK_GREETING, /* TLS, CONNECT */
    LINK_GRANTING, /* the first subscriptions are on their way */
    LINK_UP,
};

struct filter {
    char *topic; /* owned; whole */
    int qos;
    int mid; /* of its SUBSCRIBE; 0: it has to be sent */
    bool granted;
    bool paced; /* of many topics of many gateways, each of which is asked in its turn */
};

/* A request that may still be answered. */
struct pending {
    char *key, *id; /* owned; key: gateway, newline, id */
    unsigned sends; /* that were not answered yet */
};

/* One that the broker has not acknowledged. */
struct flight {
    int mid;
    size_t bytes;
    char *key;   /* owned */
    char *topic; /* owned */
};

struct link {
    struct link_conf conf; /* its strings are owned */
    struct link_events events;
    struct mosquitto *mosq;    /* owned; NULL: no attempt is under way */
    SSL_CTX *tls;              /* owned; NULL: plain */
    struct jws_signer *signer; /* owned; NULL: requests are not signed */
    char tag[32];              /* the level of the topic of our own replies */

    enum phase phase;
    bool v5, was_up;
    bool next_version; /* try 3.1.1 instead */
    size_t bind;       /* in binds */
    bool bind_good;    /* it has led to the broker */
    int64_t since_ms, retry_ms, misc_ms;
    uint32_t backoff_ms;
    char said[300];    /* what TLS, CONNACK or DISCONNECT have said of the end */
    char trouble[508]; /* see link_trouble */
    bool failed;       /* to be taken down at the next step */

    struct filter *filters; /* owned */
    size_t filter_count;
    /* Narrow filters, for what is retained: granted ones, those under way, those that wait. */
    char **asks; /* owned, each owned */
    size_t ask_count, asks_sent, asks_granted, ask_cap;
    size_t asks_most;      /* at once */
    int asks_mid;          /* of the SUBSCRIBE that is under way */
    uint64_t asked_from;   /* what had come when it was sent */
    uint64_t retained;     /* messages that have come */
    struct map *asked;     /* gateways that were, on this connection; the value is nothing */
    uint64_t marker;       /* number of our own latest message */
    uint64_t marker_least; /* of the first one behind what was asked for last */
    int64_t marker_ms;
    bool marker_back, settled;
    int64_t retained_ms; /* of the latest retained message */

    struct map *pending; /* values owned */
    struct flight flights[UNACKED_MAX];
    size_t flight_count, flight_bytes;
    struct link_counts counts;
};

/* -- TLS -------------------------------------------------------------------------------------- */

static const char *tls_name_of(const struct link *l)
{
    return l->conf.tls_name != NULL ? l->conf.tls_name : l->conf.host;
}

static bool is_address(const char *name)
{
    struct in6_addr unused;

    return inet_pton(AF_INET, name, &unused) == 1 || inet_pton(AF_INET6, name, &unused) == 1;
}

/* Tells what a handshake came to; and has the hello name whom we expect. */
static void on_tls(const SSL *ssl, int where, int ret)
{
    struct link *l = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    long verdict = SSL_get_verify_result(ssl);
    const char *name = tls_name_of(l);

    if ((where & SSL_CB_HANDSHAKE_START) != 0) { /* RFC 6066, 3: an address is no name */
        SSL *mine = l->mosq == NULL ? NULL : (SSL *)mosquitto_ssl_get(l->mosq);

        if (mine == ssl)
            SSL_set_tlsext_host_name(mine, is_address(name) ? NULL : (void *)(uintptr_t)name);
        return;
    }
    if ((where & SSL_CB_ALERT) == 0 || ret >> 8 != SSL3_AL_FATAL)
        return;
    if ((where & SSL_CB_READ) != 0)
        snprintf(l->said, sizeof(l->said),
                 "the broker refuses us in TLS (alert: %s): are cert_file and key_file what it "
                 "wants, and still valid?",
                 SSL_alert_desc_string_long(ret));
    else if (verdict == X509_V_ERR_HOSTNAME_MISMATCH || verdict == X509_V_ERR_IP_ADDRESS_MISMATCH)
        snprintf(l->said, sizeof(l->said),
                 "the broker's certificate is for another name than %s: connect by the name that "
                 "it has, or set tls_name",
                 name);
    else if (verdict != X509_V_OK)
        snprintf(l->said, sizeof(l->said),
                 "the broker's certificate is not believed: %s: is ca_file the CA of this broker?",
                 X509_verify_cert_error_string(verdict));
    else
        snprintf(l->said, sizeof(l->said), "TLS with the broker failed (alert: %s)",
                 SSL_alert_desc_string_long(ret));
}

/* The library's own words for what it has just refused. */
static int fail_tls(struct err *err, const char *path, const char *todo)
{
    unsigned long code = ERR_peek_last_error();
    const char *why = code == 0 ? NULL : ERR_reason_error_string(code);

    ERR_clear_error();
    return err_set(err, ERR_INVALID, "%s: %s: %s", path, why == NULL ? "cannot be used" : why,
                   todo);
}

static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
    (void)buf;
    (void)size;
    (void)rwflag;
    (void)arg;
    return -1;
}

/* That a file is there and readable is said better by us than by OpenSSL. */
static int probe(const char *path, struct err *err)
{
    struct buf text = {0};
    int rc = durable_read(path, (size_t)RPC_LINE_MAX * 16, &text, err);

    buf_fini_wipe(&text);
    return rc;
}

static int tls_own(struct link *l, struct err *err)
{
    const struct link_conf *c = &l->conf;
    const char *key = c->key_file != NULL ? c->key_file : c->cert_file;

    if (c->cert_file == NULL)
        return c->key_file == NULL
                   ? 0
                   : err_set(err, ERR_INVALID,
                             "%s: a key without a certificate: give cert_file, too", c->key_file);
    if (probe(c->cert_file, err) != 0 || probe(key, err) != 0)
        return -ERR_INVALID;
    if (SSL_CTX_use_certificate_chain_file(l->tls, c->cert_file) != 1)
        return fail_tls(err, c->cert_file, "must be a certificate in PEM, and its issuers");
    if (SSL_CTX_use_PrivateKey_file(l->tls, key, SSL_FILETYPE_PEM) != 1)
        return fail_tls(err, key, "must be the private key of cert_file, in PEM and not encrypted");
    return 0;
}

static int tls_new(struct link *l, struct err *err)
{
    X509_VERIFY_PARAM *param;
    const char *name = tls_name_of(l);

    if (l->conf.ca_file == NULL) {
        if (l->conf.cert_file != NULL || l->conf.key_file != NULL || l->conf.tls_name != NULL)
            return err_set(err, ERR_INVALID,
                           "TLS without ca_file: name the file of the CAs that the broker's "
                           "certificate is of, such as /etc/ssl/certs/ca-certificates.crt");
        return 0;
    }
    l->tls = SSL_CTX_new(TLS_client_method());
    if (l->tls == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    SSL_CTX_set_min_proto_version(l->tls, TLS1_2_VERSION);
    SSL_CTX_set_verify(l->tls, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_default_passwd_cb(l->tls, no_passphrase);
    SSL_CTX_set_app_data(l->tls, l);
    SSL_CTX_set_info_callback(l->tls, on_tls);
    param = SSL_CTX_get0_param(l->tls);
    if (is_address(name) ? X509_VERIFY_PARAM_set1_ip_asc(param, name) != 1
                         : X509_VERIFY_PARAM_set1_host(param, name, 0) != 1)
        return err_set(err, ERR_INVALID, "%s: cannot be the name in a certificate", name);
    if (probe(l->conf.ca_file, err) != 0)
        return -ERR_INVALID;
    if (SSL_CTX_load_verify_locations(l->tls, l->conf.ca_file, NULL) != 1)
        return fail_tls(err, l->conf.ca_file, "must be one or more certificates of CAs, in PEM");
    return tls_own(l, err);
}

/* -- the end of a connection ------------------------------------------------------------------ */

static void enter(struct link *l, enum phase phase)
{
    l->phase = phase;
    l->since_ms = clock_boot_ms();
}

static void flights_drop(struct link *l)
{
    for (size_t i = 0; i < l->flight_count; i++) {
        free(l->flights[i].key);
        free(l->flights[i].topic);
    }
    l->flight_count = l->flight_bytes = 0;
}

static void filter_fini(struct filter *f)
{
    free(f->topic);
}

static void asks_drop(struct link *l)
{
    for (size_t i = 0; i < l->ask_count; i++)
        free(l->asks[i]);
    l->ask_count = l->asks_sent = l->asks_granted = 0;
    l->asks_mid = 0;
}

/* The next connection begins anew. */
static void filters_reset(struct link *l)
{
    for (size_t i = 0; i < l->filter_count; i++) {
        l->filters[i].mid = 0;
        l->filters[i].granted = false;
    }
    asks_drop(l);
    map_free(l->asked);
    l->asked = NULL;
}

static void hang_up(struct link *l)
{
    if (l->mosq != NULL)
        mosquitto_destroy(l->mosq);
    l->mosq = NULL;
    flights_drop(l);
    filters_reset(l);
    l->settled = l->failed = false;
    enter(l, LINK_WAITING);
}

static void retry_later(struct link *l)
{
    uint32_t wait_ms = l->backoff_ms - l->backoff_ms / 5 + rand_below(2 * l->backoff_ms / 5 + 1);

    l->retry_ms = clock_boot_ms() + wait_ms;
    l->backoff_ms = l->backoff_ms >= BACKOFF_MOST_MS / 2 ? BACKOFF_MOST_MS : 2 * l->backoff_ms;
}

static void lost(struct link *l, const char *why)
{
    bool stable = l->phase == LINK_UP && clock_boot_ms() - l->since_ms >= STABLE_MS;

    snprintf(l->trouble, sizeof(l->trouble), "%s:%u: %s", l->conf.host, l->conf.port,
             l->said[0] != '\0' ? l->said : why);
    hang_up(l);
    if (stable)
        l->backoff_ms = BACKOFF_LEAST_MS;
    retry_later(l);
    if (l->events.down != NULL)
        l->events.down(l->events.arg, l->trouble);
}

/* No address of the kind that was tried has answered. */
static void unanswered(struct link *l, int errnum)
{
    char why[300];

    snprintf(why, sizeof(why), "%s: is the broker running, and are host and port right?",
             strerrordesc_np(errnum) == NULL ? "no connection" : strerrordesc_np(errnum));
    if (!l->bind_good && l->bind + 1 < BIND_COUNT) {
        if (l->bind == 0)
            snprintf(l->trouble, sizeof(l->trouble), "%s", why);
        l->bind++;
        hang_up(l);
        l->retry_ms = 0;
        return;
    }
    if (!l->bind_good && l->bind > 0)
        snprintf(why, sizeof(why), "%.*s", (int)sizeof(why) - 1, l->trouble);
    l->bind = l->bind_good ? l->bind : 0;
    lost(l, why);
}

/* The broker went away before it had answered CONNECT.  One that does not know MQTT 5 may do so
 * without a word. */
static void unwelcome(struct link *l, const char *why)
{
    if (l->v5 && !l->was_up && (l->next_version || l->said[0] == '\0')) {
        l->v5 = l->next_version = false;
        hang_up(l);
        l->said[0] = '\0';
        l->retry_ms = 0;
        return;
    }
    if (!l->was_up)
        l->v5 = true;
    lost(l, why);
}

/* rc: of libmosquitto; `errnum` is errno, where that has one. */
static void ended(struct link *l, int rc, int errnum)
{
    bool greeted = l->phase >= LINK_GRANTING;
    const char *why = rc == MOSQ_ERR_ERRNO && errnum != 0 ? strerrordesc_np(errnum)
                      : rc == MOSQ_ERR_KEEPALIVE          ? "the broker does not answer any more"
                      : greeted                           ? "the broker ended the connection"
                                                          : NULL;

    if (l->phase == LINK_DIALLING)
        unanswered(l, errnum == 0 ? ECONNREFUSED : errnum);
    else if (greeted)
        lost(l, why == NULL ? "the connection was lost" : why);
    else
        unwelcome(l, l->tls == NULL
                         ? "the broker ended the connection without an answer: does it want TLS "
                           "(ca_file) on this port?"
                         : "the broker ended the connection without an answer: is this port one of "
                           "TLS, and are cert_file and key_file what it wants?");
}

/* -- subscriptions ---------------------------------------------------------------------------- */

static char *topic_of(const struct link *l, const char *rest)
{
    return str_printf("%s/%s", l->conf.root, rest);
}

static int make_filter(const struct link *l, const char *rest, char **out, struct err *err)
{
    *out = topic_of(l, rest);
    if (*out == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (mosquitto_sub_topic_check(*out) == MOSQ_ERR_SUCCESS)
        return 0;
    err_set(err, ERR_INVALID, "%s: is no filter of topics", *out);
    free(*out);
    return -ERR_INVALID;
}

/* Several topics of each of all gateways. */
static bool is_paced(const char *rest)
{
    return strncmp(rest, "+/", 2) == 0 && strpbrk(rest + 2, "+#") != NULL;
}

static int add_filter(struct link *l, const char *rest, int qos, struct err *err)
{
    struct filter *more = reallocarray(l->filters, l->filter_count + 1, sizeof(*more));
    char *topic;
    int rc = more == NULL ? err_set(err, ERR_NOMEM, "out of memory") : 0;

    if (more != NULL)
        l->filters = more;
    if (rc == 0)
        rc = make_filter(l, rest, &topic, err);
    if (rc != 0)
        return rc;
    l->filters[l->filter_count++] =
        (struct filter){.topic = topic, .qos = qos, .paced = qos == 0 && is_paced(rest)};
    return 0;
}

/* Something more is to come. */
static void unsettle(struct link *l)
{
    l->settled = l->marker_back = false;
    l->marker_ms = 0;
    l->marker_least = l->marker + 1;
}

static void subscribe_all(struct link *l)
{
    for (size_t i = 0; i < l->filter_count; i++) {
        struct filter *f = &l->filters[i];
        int options = l->v5 && f->paced ? MQTT_SUB_OPT_SEND_RETAIN_NEVER : 0;

        if (f->mid == 0 && mosquitto_subscribe_v5(l->mosq, &f->mid, f->topic, f->qos, options,
                                                  NULL) != MOSQ_ERR_SUCCESS)
            l->failed = true;
    }
    unsettle(l);
}

static bool all_granted(const struct link *l)
{
    for (size_t i = 0; i < l->filter_count; i++)
        if (!l->filters[i].granted)
            return false;
    return l->asks_mid == 0;
}

/* -- what each gateway retains ---------------------------------------------------------------- */

static int add_ask(struct link *l, const char *rest, struct err *err)
{
    size_t cap = l->ask_cap == 0 ? 64 : l->ask_cap * 2;
    char **more = l->asks, *topic;
    int rc;

    if (l->ask_count == l->ask_cap)
        more = reallocarray(l->asks, cap, sizeof(*more));
    if (more == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (more != l->asks)
        l->ask_cap = cap;
    l->asks = more;
    rc = make_filter(l, rest, &topic, err);
    if (rc == 0)
        l->asks[l->ask_count++] = topic;
    return rc;
}

/* A gateway has become known: what is wanted of all is asked of it. */
static void ask_gateway(struct link *l, const char *gateway)
{
    bool failed = false;

    if (l->asked == NULL)
        l->asked = map_new();
    if (l->asked == NULL || map_get(l->asked, gateway) != NULL)
        return;
    failed = map_put(l->asked, gateway, l) != 0;
    for (size_t i = 0; i < l->filter_count && !failed; i++) {
        const char *kind = l->filters[i].topic + strlen(l->conf.root) + 2; /* behind "/+" */
        char *rest = l->filters[i].paced ? str_printf("%s%s", gateway, kind) : NULL;

        failed = l->filters[i].paced && (rest == NULL || add_ask(l, rest, NULL) != 0);
        free(rest);
    }
    l->settled = l->settled && l->asks_sent == l->ask_count;
    l->failed = l->failed || failed;
}

/* So many at once that the broker's queue holds what comes of them. */
static void pace_asks(struct link *l)
{
    uint64_t came = l->retained - l->asked_from;
    size_t n = l->asks_granted == 0 ? 0 : l->asks_most, each;

    if (n == 0) {
        l->asks_most = ASKS_LEAST;
        return;
    }
    each = (size_t)(came / n) + 1;
    l->asks_most = ASKED_MESSAGES / each;
    if (l->asks_most < 1)
        l->asks_most = 1;
    if (l->asks_most > ASKS_MOST)
        l->asks_most = ASKS_MOST;
}

static void ask_next(struct link *l)
{
    size_t n = l->ask_count - l->asks_sent;

    pace_asks(l);
    if (n < l->asks_most)
        l->asks_most = n;
    l->asked_from = l->retained;
    if (mosquitto_subscribe_multiple(l->mosq, &l->asks_mid, (int)l->asks_most,
                                     l->asks + l->asks_sent, 0, 0, NULL) != MOSQ_ERR_SUCCESS)
        l->failed = true;
    l->asks_sent += l->asks_most;
    unsettle(l);
}

/* All has come: what is new comes by the wider filters. */
static void end_asks(struct link *l)
{
    for (size_t at = 0; at < l->asks_granted; at += ASKS_MOST) {
        size_t n = l->asks_granted - at < ASKS_MOST ? l->asks_granted - at : ASKS_MOST;

        if (mosquitto_unsubscribe_multiple(l->mosq, NULL, (int)n, l->asks + at, NULL) !=
            MOSQ_ERR_SUCCESS)
            l->failed = true;
    }
    asks_drop(l);
}

/* -- has everything that is retained come? ---------------------------------------------------- */

static void send_marker(struct link *l)
{
    char *rest = str_printf("%s/reply/%s", l->tag, l->tag), *topic;
    char number[24];

    topic = rest == NULL ? NULL : topic_of(l, rest);
    snprintf(number, sizeof(number), "%llu", (unsigned long long)++l->marker);
    if (topic != NULL) /* at QoS 0, as what is retained: nothing overtakes it */
        (void)mosquitto_publish_v5(l->mosq, NULL, topic, (int)strlen(number), number, 0, false,
                                   NULL);
    l->marker_ms = clock_boot_ms();
    free(topic);
    free(rest);
}

/* A marker may be dropped by a broker that is behind; it is sent again until one comes back, or
 * nothing comes any more. */
static void look_settled(struct link *l)
{
    int64_t now_ms = clock_boot_ms(), quiet_ms;

    if (l->settled || l->failed || l->phase != LINK_UP || !all_granted(l))
        return;
    if (l->marker_ms == 0)
        l->retained_ms = now_ms;
    quiet_ms = now_ms - l->retained_ms;
    if (l->marker_back && l->asks_sent < l->ask_count) {
        ask_next(l);
    } else if (l->marker_back ? quiet_ms >= QUIET_MS : l->marker_ms != 0 && quiet_ms >= SILENT_MS) {
        if (l->asks_sent < l->ask_count) {
            ask_next(l);
            return;
        }
        l->settled = true;
        end_asks(l);
    } else if (!l->marker_back && (l->marker_ms == 0 || now_ms - l->marker_ms >= MARKER_MS)) {
        send_marker(l);
    }
}

/* -- what comes ------------------------------------------------------------------------------- */

static void on_connect(struct mosquitto *mosq, void *arg, int rc, int flags,
                       const mosquitto_property *properties)
{
    struct link *l = arg;

    (void)mosq;
    (void)flags;
    (void)properties;
    if (l->phase != LINK_GREETING && l->phase != LINK_DIALLING)
        return;
    if (rc == 0) {
        enter(l, LINK_GRANTING);
        l->was_up = l->bind_good = true;
        subscribe_all(l);
        return;
    }
    l->next_version = l->v5 && (rc == MQTT_RC_UNSUPPORTED_PROTOCOL_VERSION || rc == 1);
    snprintf(l->said, sizeof(l->said), "the broker refuses us: %s%s",
             l->v5 ? mosquitto_reason_string(rc) : mosquitto_connack_string(rc),
             rc == MQTT_RC_BAD_USERNAME_OR_PASSWORD || rc == 4 ? " check username and password_file"
             : rc == MQTT_RC_NOT_AUTHORIZED || rc == 5
                 ? " check username and password_file, and what the broker allows this client"
             : rc == MQTT_RC_CLIENTID_NOT_VALID || rc == 2 ? " set another client_id"
                                                           : "");
}

static void on_disconnect(struct mosquitto *mosq, void *arg, int rc,
                          const mosquitto_property *properties)
{
    struct link *l = arg;

    (void)mosq;
    (void)properties;
    if (rc == MQTT_RC_SESSION_TAKEN_OVER)
        snprintf(l->said, sizeof(l->said),
                 "another client came with our client identifier: give each its own client_id");
    else if (rc >= 0x80)
        snprintf(l->said, sizeof(l->said), "the broker ended the connection: %s",
                 mosquitto_reason_string(rc));
}

static void on_subscribe(struct mosquitto *mosq, void *arg, int mid, int n, const int *granted,
                         const mosquitto_property *properties)
{
    struct link *l = arg;

    (void)mosq;
    (void)properties;
    for (size_t i = 0; i < l->filter_count; i++) {
        struct filter *f = &l->filters[i];

        if (f->mid != mid)
            continue;
        f->granted = true;
        if (n > 0 && granted[0] >= 0x80 && l->events.denied != NULL)
            l->events.denied(
                l->events.arg, f->topic, NULL,
                "the broker does not let us subscribe: allow this client to read below "
                "root");
    }
    if (mid == l->asks_mid) {
        l->asks_mid = 0;
        l->asks_granted = l->asks_sent;
    }
    if (l->phase == LINK_GRANTING && all_granted(l)) {
        enter(l, LINK_UP);
        l->trouble[0] = '\0';
        l->counts.version = l->v5 ? 5 : 4;
        if (l->events.up != NULL)
            l->events.up(l->events.arg);
    }
}

static char *key_of(const char *gateway, const char *id)
{
    return str_printf("%s\n%s", gateway, id);
}

static void pending_free(struct pending *p)
{
    if (p == NULL)
        return;
    free(p->key);
    free(p->id);
    free(p);
}

/* One of its sends has come to an end. */
static void pending_done(struct link *l, struct pending *p)
{
    if (--p->sends > 0)
        return;
    map_del(l->pending, p->key);
    pending_free(p);
}

static void on_publish(struct mosquitto *mosq, void *arg, int mid, int rc,
                       const mosquitto_property *properties)
{
    struct link *l = arg;
    struct flight f = {.mid = 0};
    struct pending *p;

    (void)mosq;
    (void)properties;
    for (size_t i = 0; i < l->flight_count; i++) {
        if (l->flights[i].mid != mid)
            continue;
        f = l->flights[i];
        l->flights[i] = l->flights[--l->flight_count];
        break;
    }
    if (f.mid == 0)
        return;
    l->flight_bytes -= f.bytes;
    l->counts.acknowledged++;
    p = map_get(l->pending, f.key);
    if (rc >= 0x80 && p != NULL) {
        char why[200];

        snprintf(why, sizeof(why), "the broker refuses it: %s: allow this client to publish there",
                 mosquitto_reason_string(rc));
        if (l->events.denied != NULL)
            l->events.denied(l->events.arg, f.topic, p->id, why);
        pending_done(l, p);
    }
    free(f.key);
    free(f.topic);
}

/* The id of a reply: its own; else (a command whose signature is not good has none) that of the
 * request, which comes back as correlation.  Returns owned, or NULL. */
static char *id_of(const json_t *value, const mosquitto_property *properties)
{
    const char *id = json_string_value(json_object_get(value, "id"));
    void *data = NULL;
    uint16_t n = 0;
    char *out = id == NULL ? NULL : strdup(id);

    if (out == NULL && json_is_object(value) && properties != NULL &&
        mosquitto_property_read_binary(properties, MQTT_PROP_CORRELATION_DATA, &data, &n, false) !=
            NULL)
        out = strndup(data, n);
    free(data);
    return out;
}

/* Somebody else may have asked without a signature, in our name: what we send is signed, so this
 * cannot be what came of it. */
static bool is_of_a_forgery(const struct link *l, const json_t *value)
{
    const json_t *code = json_object_get(json_object_get(value, "error"), "code");

    return l->signer != NULL && json_integer_value(code) == RPC_UNSIGNED;
}

static void take_reply(struct link *l, const char *gateway, const struct mosquitto_message *m,
                       const mosquitto_property *properties)
{
    json_t *value = json_loadb(m->payload, (size_t)m->payloadlen, 0, NULL);
    char *id = is_of_a_forgery(l, value) ? NULL : id_of(value, properties);
    char *key = id == NULL ? NULL : key_of(gateway, id);
    struct pending *p = key == NULL ? NULL : map_get(l->pending, key);

    json_decref(value);
    free(key);
    if (p == NULL) { /* of another controller, or one too many */
        free(id);
        return;
    }
    pending_done(l, p);
    if (l->events.reply != NULL)
        l->events.reply(l->events.arg, gateway, id, m->payload, (size_t)m->payloadlen);
    free(id);
}

/* The gateway of <root>/<gateway>/reply or .../reply/<tag>.  Returns owned, or NULL: it is
 * something else. */
static char *replying(const struct link *l, const char *topic)
{
    const char *at = topic + strlen(l->conf.root) + 1;
    size_t n = strcspn(at, "/");
    const char *rest = at + n;

    if (strncmp(rest, "/reply", 6) != 0)
        return NULL;
    rest += 6;
    if (*rest != '\0' && (*rest != '/' || strcmp(rest + 1, l->tag) != 0))
        return NULL;
    return strndup(at, n);
}

/* Its state tells that there is one. */
static void look_at_gateway(struct link *l, const struct mosquitto_message *m)
{
    const char *name = m->topic + strlen(l->conf.root) + 1;
    size_t n = strcspn(name, "/");
    char *gateway;

    if (m->payloadlen == 0 || strcmp(name + n, "/state") != 0)
        return;
    gateway = strndup(name, n);
    if (gateway != NULL && str_is_name(gateway))
        ask_gateway(l, gateway);
    free(gateway);
}

static void take_marker(struct link *l, const struct mosquitto_message *m)
{
    char number[24];

    if (m->payloadlen <= 0 || (size_t)m->payloadlen >= sizeof(number))
        return;
    memcpy(number, m->payload, (size_t)m->payloadlen);
    number[m->payloadlen] = '\0';
    if (strtoull(number, NULL, 10) >= l->marker_least)
        l->marker_back = true;
}

static void on_message(struct mosquitto *mosq, void *arg, const struct mosquitto_message *m,
                       const mosquitto_property *properties)
{
    struct link *l = arg;
    size_t root = strlen(l->conf.root);
    char *gateway;

    (void)mosq;
    l->counts.received++;
    l->counts.bytes_received += (uint64_t)m->payloadlen + strlen(m->topic);
    if (m->retain) {
        l->retained++;
        l->retained_ms = clock_boot_ms();
    }
    if (strncmp(m->topic, l->conf.root, root) != 0 || m->topic[root] != '/')
        return;
    gateway = replying(l, m->topic);
    if (gateway == NULL) {
        look_at_gateway(l, m);
        if (l->events.message != NULL)
            l->events.message(l->events.arg, m->topic, m->payload, (size_t)m->payloadlen,
                              m->retain);
        return;
    }
    if (strcmp(gateway, l->tag) == 0)
        take_marker(l, m);
    else if (!m->retain)
        take_reply(l, gateway, m, properties);
    free(gateway);
}

/* -- connecting ------------------------------------------------------------------------------- */

static int client_new(struct link *l)
{
    l->mosq = mosquitto_new(l->conf.client_id, true, l);
    if (l->mosq == NULL)
        return MOSQ_ERR_NOMEM;
    mosquitto_int_option(l->mosq, MOSQ_OPT_PROTOCOL_VERSION,
                         l->v5 ? MQTT_PROTOCOL_V5 : MQTT_PROTOCOL_V311);
    mosquitto_int_option(l->mosq, MOSQ_OPT_TCP_NODELAY, 1);
    mosquitto_int_option(l->mosq, MOSQ_OPT_SEND_MAXIMUM, UNACKED_MAX);
    mosquitto_int_option(l->mosq, MOSQ_OPT_RECEIVE_MAXIMUM, UNACKED_MAX);
    mosquitto_int_option(l->mosq, MOSQ_OPT_SSL_CTX_WITH_DEFAULTS, 0);
    if (l->tls != NULL)
        mosquitto_void_option(l->mosq, MOSQ_OPT_SSL_CTX, l->tls);
    mosquitto_connect_v5_callback_set(l->mosq, on_connect);
    mosquitto_disconnect_v5_callback_set(l->mosq, on_disconnect);
    mosquitto_publish_v5_callback_set(l->mosq, on_publish);
    mosquitto_subscribe_v5_callback_set(l->mosq, on_subscribe);
    mosquitto_message_v5_callback_set(l->mosq, on_message);
    return l->conf.username == NULL
               ? MOSQ_ERR_SUCCESS
               : mosquitto_username_pw_set(l->mosq, l->conf.username, l->conf.password);
}

static void dial(struct link *l)
{
    int rc, errnum;

    l->said[0] = '\0';
    l->next_version = false;
    rc = client_new(l);
    if (rc == MOSQ_ERR_SUCCESS) {
        enter(l, LINK_DIALLING);
        errno = 0;
        rc = mosquitto_connect_bind_async(l->mosq, l->conf.host, l->conf.port,
                                          (int)l->conf.keepalive_s, binds[l->bind]);
    }
    errnum = errno;
    if (rc == MOSQ_ERR_SUCCESS)
        return;
    if (rc == MOSQ_ERR_EAI) {
        char why[300];

        snprintf(why, sizeof(why), "%s: is host right, and does the resolver work?",
                 gai_strerror(errnum));
        lost(l, why);
    } else if (rc == MOSQ_ERR_ERRNO) {
        unanswered(l, errnum);
    } else {
        lost(l, l->said[0] != '\0' ? l->said : mosquitto_strerror(rc));
    }
}

/* -- steps ------------------------------------------------------------------------------------ */

static void read_packets(struct link *l)
{
    for (int i = 0; i < READS_MAX && !l->failed; i++) {
        int rc;

        errno = 0;
        rc = mosquitto_loop_read(l->mosq, 1);
        if (rc != MOSQ_ERR_SUCCESS || mosquitto_socket(l->mosq) < 0) {
            ended(l, rc == MOSQ_ERR_SUCCESS ? MOSQ_ERR_CONN_LOST : rc, errno);
            return;
        }
        if (errno == EAGAIN || l->phase < LINK_GRANTING)
            return;
    }
}

/* The library takes an end in the middle of a handshake for something to wait for. */
static bool is_closed(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

static void write_packets(struct link *l)
{
    int rc = mosquitto_loop_write(l->mosq, 1);

    if (rc != MOSQ_ERR_SUCCESS || mosquitto_socket(l->mosq) < 0)
        ended(l, rc == MOSQ_ERR_SUCCESS ? MOSQ_ERR_CONN_LOST : rc, errno);
}

/* An address has answered, or refused. */
static void dialled(struct link *l)
{
    int errnum = 0;
    socklen_t n = sizeof(errnum);

    if (getsockopt(mosquitto_socket(l->mosq), SOL_SOCKET, SO_ERROR, &errnum, &n) != 0)
        errnum = errno;
    if (errnum != 0) {
        unanswered(l, errnum);
        return;
    }
    enter(l, LINK_GREETING);
    read_packets(l); /* begins TLS */
    if (l->mosq != NULL && mosquitto_want_write(l->mosq))
        write_packets(l);
}

/* In TLS: whatever the socket is ready for, reading goes on with it. */
static bool is_greeting(const struct link *l)
{
    const SSL *ssl = mosquitto_ssl_get(l->mosq);

    return ssl != NULL && SSL_in_init(ssl);
}

static void on_ready(struct link *l, int events)
{
    int fd = mosquitto_socket(l->mosq);

    if (l->phase == LINK_DIALLING) {
        dialled(l);
        return;
    }
    if ((events & (POLLIN | POLLERR | POLLHUP)) != 0 || is_greeting(l)) {
        read_packets(l);
        if (l->mosq != NULL && l->phase == LINK_GREETING && is_closed(fd))
            ended(l, MOSQ_ERR_CONN_LOST, 0);
    }
    if (l->mosq != NULL && !l->failed && (events & POLLOUT) != 0)
        write_packets(l);
}

static void look_at_clock(struct link *l)
{
    int64_t now_ms = clock_boot_ms();

    if (l->phase == LINK_DIALLING && now_ms - l->since_ms > CONNECT_MS) {
        unanswered(l, ETIMEDOUT);
        return;
    }
    if ((l->phase == LINK_GREETING || l->phase == LINK_GRANTING) &&
        now_ms - l->since_ms > GREETING_MS) {
        unwelcome(l, "the broker does not answer");
        return;
    }
    if (l->phase >= LINK_GREETING && now_ms - l->misc_ms >= MISC_MS) {
        int rc = mosquitto_loop_misc(l->mosq);

        l->misc_ms = now_ms;
        if (rc != MOSQ_ERR_SUCCESS)
            ended(l, rc, 0);
        else if (l->tls != NULL) /* TLS may hold what poll does not tell of */
            read_packets(l);
    }
    look_settled(l);
}

/* How long nothing has to be looked at by the clock. */
static int patience(const struct link *l, int timeout_ms)
{
    int most = l->phase == LINK_UP && !l->settled ? QUIET_MS / 4 : MISC_MS;

    return timeout_ms < 0 || timeout_ms > most ? most : timeout_ms;
}

static int wait_to_dial(const struct link *l, int timeout_ms)
{
    int64_t left_ms = l->retry_ms - clock_boot_ms();

    if (left_ms <= 0)
        return 0;
    if (timeout_ms >= 0 && timeout_ms < left_ms)
        left_ms = timeout_ms;
    poll(NULL, 0, (int)left_ms);
    return 1;
}

/* What to wait for.  In a handshake the library does not know. */
static short awaited(const struct link *l)
{
    if (l->phase == LINK_DIALLING)
        return POLLOUT;
    if (is_greeting(l))
        return SSL_want_write((const SSL *)mosquitto_ssl_get(l->mosq)) ? POLLIN | POLLOUT : POLLIN;
    return mosquitto_want_write(l->mosq) ? POLLIN | POLLOUT : POLLIN;
}

int link_step(struct link *l, int timeout_ms, struct err *err)
{
    struct pollfd p;
    int n;

    (void)err;
    if (l->phase == LINK_WAITING) {
        if (wait_to_dial(l, timeout_ms) != 0)
            return 0;
        if (l->was_up)
            l->counts.reconnects++;
        dial(l);
        if (l->mosq == NULL)
            return 0;
    }
    p = (struct pollfd){.fd = mosquitto_socket(l->mosq), .events = awaited(l)};
    n = poll(&p, 1, patience(l, timeout_ms));
    if (n > 0)
        on_ready(l, p.revents);
    if (l->mosq != NULL && l->failed)
        ended(l, MOSQ_ERR_CONN_LOST, 0);
    if (l->mosq != NULL)
        look_at_clock(l);
    return 0;
}

int link_subscribe(struct link *l, const char *filter, struct err *err)
{
    int rc = add_filter(l, filter, 0, err);

    if (rc == 0 && l->phase >= LINK_GRANTING)
        subscribe_all(l);
    return rc;
}

int link_refresh(struct link *l, const char *filter, struct err *err)
{
    int rc;

    if (l->phase != LINK_UP)
        return err_set(err, ERR_BUSY, "the broker is not connected");
    rc = add_ask(l, filter, err);
    if (rc == 0 && l->settled)
        unsettle(l);
    return rc;
}

bool link_is_up(const struct link *l)
{
    return l->phase == LINK_UP && !l->failed;
}

bool link_is_settled(const struct link *l)
{
    return link_is_up(l) && l->settled;
}

const char *link_trouble(const struct link *l)
{
    return l->trouble;
}

void link_counts(const struct link *l, struct link_counts *out)
{
    *out = l->counts;
}

/* -- requests --------------------------------------------------------------------------------- */

static int no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory");
}

/* The same for a request that comes again, whoever has started us: the gateway knows it by that. */
static int make_jti(const char *key, char out[SIGNED_JTI_MAX + 1])
{
    uint8_t digest[EVP_MAX_MD_SIZE];

    if (EVP_Digest(key, strlen(key), digest, NULL, EVP_sha256(), NULL) != 1)
        return -1;
    str_hex(out, digest, 32);
    return 0;
}

/* Takes the request. */
static int sign_request(const struct link *l, const char *gateway, const char *key, json_t *request,
                        struct buf *out, struct err *err)
{
    int64_t now_s = clock_wall_s();
    char jti[SIGNED_JTI_MAX + 1];
    json_t *payload;
    int rc;

    if (make_jti(key, jti) != 0) {
        json_decref(request);
        return no_memory(err);
    }
    payload = json_pack("{s:s, s:s, s:I, s:I, s:s, s:o}", "aud", gateway, "iss",
                        l->conf.operator_name, "iat", (json_int_t)now_s, "exp",
                        (json_int_t)(now_s + l->conf.expiry_s), "jti", jti, "request", request);
    rc = payload == NULL ? no_memory(err)
                         : signed_make(l->signer, l->conf.operator_name, payload, out, err);
    json_decref(payload);
    return rc;
}

static int make_text(const struct link *l, const char *gateway, const char *key, const char *id,
                     const char *method, const char *params, struct buf *out, struct err *err)
{
    json_t *request = json_pack("{s:s, s:s, s:s}", "jsonrpc", "2.0", "id", id, "method", method);
    json_t *value = params == NULL || params[0] == '\0'
                        ? json_object()
                        : json_loads(params, JSON_REJECT_DUPLICATES, NULL);
    char *text;
    int rc = 0;

    if (!json_is_object(value) || request == NULL) {
        rc = request == NULL
                 ? no_memory(err)
                 : err_set(err, ERR_INVALID, "%s: parameters must be a JSON object", method);
        json_decref(value);
        json_decref(request);
        return rc;
    }
    (void)json_object_set_new(request, "params", value);
    if (l->signer != NULL)
        return sign_request(l, gateway, key, request, out, err);
    text = json_dumps(request, JSON_COMPACT);
    if (text == NULL || buf_append(out, text, strlen(text)) != 0)
        rc = no_memory(err);
    free(text);
    json_decref(request);
    return rc;
}

static struct pending *pending_of(struct link *l, const char *key, const char *id)
{
    struct pending *p = map_get(l->pending, key);

    if (p != NULL)
        return p;
    p = calloc(1, sizeof(*p));
    if (p == NULL || (p->key = strdup(key)) == NULL || (p->id = strdup(id)) == NULL ||
        map_put(l->pending, key, p) != 0) {
        pending_free(p);
        return NULL;
    }
    return p;
}

/* Where the reply goes, and how it is known again.  Returns owned; NULL without memory. */
static mosquitto_property *make_properties(const struct link *l, const char *gateway,
                                           const char *id)
{
    mosquitto_property *all = NULL;
    char *topic = str_printf("%s/%s/reply/%s", l->conf.root, gateway, l->tag);

    if (topic == NULL ||
        mosquitto_property_add_string(&all, MQTT_PROP_RESPONSE_TOPIC, topic) != 0 ||
        mosquitto_property_add_binary(&all, MQTT_PROP_CORRELATION_DATA, id, (uint16_t)strlen(id)) !=
            0 ||
        mosquitto_property_add_int32(&all, MQTT_PROP_MESSAGE_EXPIRY_INTERVAL, l->conf.expiry_s) !=
            0)
        mosquitto_property_free_all(&all);
    free(topic);
    return all;
}

static int publish(struct link *l, const char *gateway, const char *id, const char *topic,
                   const struct buf *text, int *mid, struct err *err)
{
    mosquitto_property *properties = l->v5 ? make_properties(l, gateway, id) : NULL;
    int rc = l->v5 && properties == NULL ? MOSQ_ERR_NOMEM
                                         : mosquitto_publish_v5(l->mosq, mid, topic, (int)text->len,
                                                                text->p, 1, false, properties);

    mosquitto_property_free_all(&properties);
    switch (rc) {
    case MOSQ_ERR_SUCCESS:
        return 0;
    case MOSQ_ERR_NOMEM:
        return no_memory(err);
    case MOSQ_ERR_OVERSIZE_PACKET:
    case MOSQ_ERR_PAYLOAD_SIZE:
        return err_set(err, ERR_TOO_BIG, "%zu bytes are more than the broker takes", text->len);
    case MOSQ_ERR_INVAL:
    case MOSQ_ERR_MALFORMED_UTF8:
    case MOSQ_ERR_QOS_NOT_SUPPORTED:
    case MOSQ_ERR_NOT_SUPPORTED:
        return err_set(err, ERR_INVALID, "%s: %s", topic, mosquitto_strerror(rc));
    default: /* whoever asks again has another connection by then */
        l->failed = true;
        return err_set(err, ERR_BUSY, "the connection was lost: %s", mosquitto_strerror(rc));
    }
}

/* Takes key and topic. */
static int send_text(struct link *l, const char *gateway, const char *id, const struct buf *text,
                     char *key, char *topic, struct err *err)
{
    struct pending *p = pending_of(l, key, id);
    int mid = 0, rc = p == NULL ? no_memory(err) : 0;

    if (p != NULL)
        p->sends++;
    if (rc == 0 && (rc = publish(l, gateway, id, topic, text, &mid, err)) != 0)
        pending_done(l, p);
    if (rc != 0) {
        free(key);
        free(topic);
        return rc;
    }
    l->counts.sent++;
    l->counts.bytes_sent += text->len + strlen(topic);
    l->flights[l->flight_count++] = (struct flight){mid, text->len, key, topic};
    l->flight_bytes += text->len;
    return 0;
}

int link_request(struct link *l, const char *gateway, const char *id, const char *method,
                 const char *params, struct err *err)
{
    struct buf text = {0};
    char *key, *topic;
    int rc;

    if (!str_is_name(gateway) || id[0] == '\0' || strlen(id) > RPC_ID_MAX)
        return err_set(err, ERR_INVALID, "%.128s: no name of a gateway, or no id", gateway);
    if (!link_is_up(l))
        return err_set(err, ERR_BUSY, "the broker is not connected%s%s",
                       l->trouble[0] != '\0' ? ": " : "", l->trouble);
    if (l->flight_count == UNACKED_MAX || l->flight_bytes > UNACKED_BYTES_MAX)
        return err_set(err, ERR_BUSY, "the broker has not taken %zu requests yet", l->flight_count);
    key = key_of(gateway, id);
    topic = str_printf("%s/%s/cmd", l->conf.root, gateway);
    rc = key == NULL || topic == NULL ? no_memory(err)
                                      : make_text(l, gateway, key, id, method, params, &text, err);
    if (rc == 0 && text.len > RPC_LINE_MAX)
        rc = err_set(err, ERR_TOO_BIG, "%zu bytes, and a gateway takes %d: use fewer at a time",
                     text.len, RPC_LINE_MAX);
    if (rc == 0) {
        rc = send_text(l, gateway, id, &text, key, topic, err);
    } else {
        free(key);
        free(topic);
    }
    buf_fini(&text);
    return rc;
}

/* -- life ------------------------------------------------------------------------------------- */

/* The strings of the configuration, wherever they stand in it. */
/* clang-format off */
#define STRINGS(X)                                                                               \
    X(root) X(host) X(client_id) X(username) X(password) X(ca_file) X(cert_file) X(key_file)     \
    X(tls_name) X(operator_name) X(operator_key_file)
/* clang-format on */

static int copy_conf(struct link *l, const struct link_conf *from, struct err *err)
{
    bool failed = false;

    l->conf = *from;
#define COPY(name)                               \
    if (from->name != NULL) {                    \
        l->conf.name = strdup(from->name);       \
        failed = failed || l->conf.name == NULL; \
    }
    STRINGS(COPY)
#undef COPY
    if (l->conf.expiry_s == 0)
        l->conf.expiry_s = EXPIRY_S;
    if (l->conf.keepalive_s < 5) /* less is not taken by the library */
        l->conf.keepalive_s = l->conf.keepalive_s == 0 ? KEEPALIVE_S : 5;
    return failed ? no_memory(err) : 0;
}

static int name_client(struct link *l, struct err *err)
{
    char host[HOST_NAME_MAX + 1] = "";
    char *made;

    if (l->conf.client_id != NULL)
        return 0;
    if (gethostname(host, sizeof(host)) != 0)
        snprintf(host, sizeof(host), "somewhere");
    host[sizeof(host) - 1] = '\0';
    made = str_printf("certflip-fleet-%.40s-%ld-%04x", host, (long)getpid(), rand_below(0x10000));
    l->conf.client_id = made;
    return made == NULL ? no_memory(err) : 0;
}

static int read_signer(struct link *l, struct err *err)
{
    struct buf pem = {0};
    int rc;

    if (l->conf.operator_key_file == NULL)
        return 0;
    if (l->conf.operator_name == NULL)
        return err_set(err, ERR_INVALID, "%s: whose key is it? name the operator",
                       l->conf.operator_key_file);
    rc = durable_read(l->conf.operator_key_file, KEY_FILE_MAX, &pem, err);
    if (rc == 0) {
        l->signer = jws_signer_new((const char *)pem.p, pem.len, err);
        if (l->signer == NULL)
            rc = err_wrap(err, -ERR_INVALID, "%s", l->conf.operator_key_file);
    }
    buf_fini_wipe(&pem);
    return rc;
}

static int own_filters(struct link *l, struct err *err)
{
    char mine[64];
    int rc = add_filter(l, "+/reply", 1, err);

    snprintf(mine, sizeof(mine), "+/reply/%s", l->tag);
    return rc == 0 ? add_filter(l, mine, 1, err) : rc;
}

struct link *link_new(const struct link_conf *conf, const struct link_events *events,
                      struct err *err)
{
    struct link *l = calloc(1, sizeof(*l));

    if (l == NULL) {
        no_memory(err);
        return NULL;
    }
    mosquitto_lib_init();
    l->events = *events;
    l->v5 = true;
    l->backoff_ms = BACKOFF_LEAST_MS;
    snprintf(l->tag, sizeof(l->tag), "fleet-%016llx", (unsigned long long)rand_u64());
    l->pending = map_new();
    if (copy_conf(l, conf, err) != 0 || (l->pending == NULL && no_memory(err) != 0) ||
        name_client(l, err) != 0 || tls_new(l, err) != 0 || read_signer(l, err) != 0 ||
        own_filters(l, err) != 0) {
        link_free(l);
        return NULL;
    }
    return l;
}

static void free_text(const char *text)
{
    free((void *)(uintptr_t)text); /* ours: copy_conf */
}

void link_free(struct link *l)
{
    const char *key;
    void *value;
    size_t it = 0;

    if (l == NULL)
        return;
    if (l->mosq != NULL && l->phase >= LINK_GRANTING)
        mosquitto_disconnect(l->mosq);
    hang_up(l);
    for (size_t i = 0; i < l->filter_count; i++)
        filter_fini(&l->filters[i]);
    free(l->filters);
    free(l->asks);
    while (l->pending != NULL && map_next(l->pending, &it, &key, &value))
        pending_free(value);
    map_free(l->pending);
    jws_signer_free(l->signer);
    SSL_CTX_free(l->tls);
    if (l->conf.password != NULL)
        explicit_bzero((void *)(uintptr_t)l->conf.password, strlen(l->conf.password));
#define FREE(name) free_text(l->conf.name);
    STRINGS(FREE)
#undef FREE
    free(l);
    mosquitto_lib_cleanup();
}
