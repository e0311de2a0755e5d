/* fleet/link_tls.c - TLS with the broker: see link.h, link_inside.h.
 *
 * libmosquitto's own verifies no other name than that it connects to, and does not say what went
 * wrong.
 */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/durable.h"
#include "fleet/link_inside.h"

#define PEM_MAX                    (16U << 20) /* bytes of a file of certificates */
#define ALERT_CERTIFICATE_REQUIRED 116         /* RFC 8446, 6: OpenSSL has no words for it */

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
                 (ret & 0xff) == ALERT_CERTIFICATE_REQUIRED ? "certificate required"
                                                            : SSL_alert_desc_string_long(ret));
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
        snprintf(l->said, sizeof(l->said),
                 "TLS with the broker failed (alert: %s): is this its port for TLS?",
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

/* NOLINTNEXTLINE(readability-non-const-parameter): as OpenSSL wants it */
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
    int rc = durable_read(path, PEM_MAX, &text, err);

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

int link_tls_new(struct link *l, struct err *err)
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

bool link_tls_is_greeting(const struct link *l)
{
    const SSL *ssl = mosquitto_ssl_get(l->mosq);

    return ssl != NULL && SSL_in_init(ssl);
}

bool link_tls_wants_write(const struct link *l)
{
    return SSL_want_write((const SSL *)mosquitto_ssl_get(l->mosq));
}
