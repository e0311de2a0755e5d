/* tests/bench/certs.h - what load.c and fleet.c have in common: giving up, the time, and the making
 * of certificates.
 */
#ifndef BENCH_CERTS_H
#define BENCH_CERTS_H

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void die(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static int64_t clock_ns(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static const char *path(const char *fmt, ...)
{
    static char text[4][4096];
    static unsigned turn;
    char *out = text[turn++ % 4];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(out, sizeof(text[0]), fmt, ap);
    va_end(ap);
    return out;
}

/* ---- certificates ---- */

static EVP_PKEY *make_key(bool rsa)
{
    EVP_PKEY *key = rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");

    if (key == NULL)
        die("no key");
    return key;
}

static void extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *ext;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    if (ext == NULL || !X509_add_ext(cert, ext, -1))
        die("extension %s", value);
    X509_EXTENSION_free(ext);
}

/* A certificate for `cn`; without an issuer it is an authority's own. */
static X509 *make_cert(const char *cn, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key,
                       const char *usage, const char *names)
{
    static long serial;
    X509 *cert = X509_new();
    X509_NAME *subject = X509_get_subject_name(cert);

    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), ++serial + (long)time(NULL) * 100000);
    X509_gmtime_adj(X509_getm_notBefore(cert), -86400);
    X509_gmtime_adj(X509_getm_notAfter(cert), 365L * 86400);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
    X509_set_issuer_name(cert, issuer != NULL ? X509_get_subject_name(issuer) : subject);
    X509_set_pubkey(cert, key);
    extend(cert, cert, NID_subject_key_identifier, "hash");
    if (issuer == NULL) {
        extend(cert, cert, NID_basic_constraints, "critical,CA:TRUE");
        extend(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign");
    } else {
        extend(cert, issuer, NID_authority_key_identifier, "keyid");
        extend(cert, issuer, NID_basic_constraints, "critical,CA:FALSE");
        extend(cert, issuer, NID_key_usage, "critical,digitalSignature,keyEncipherment");
        extend(cert, issuer, NID_ext_key_usage, usage);
    }
    if (names != NULL)
        extend(cert, issuer, NID_subject_alt_name, names);
    if (!X509_sign(cert, issuer_key, EVP_sha256()))
        die("cannot sign %s", cn);
    return cert;
}

static FILE *create(const char *name)
{
    int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");

    if (f == NULL)
        die("%s: %s", name, strerror(errno));
    return f;
}

static void save(const char *name, X509 *cert, EVP_PKEY *key)
{
    FILE *f = create(name);

    if (cert != NULL)
        PEM_write_X509(f, cert);
    if (key != NULL)
        PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    if (fclose(f) != 0)
        die("%s: %s", name, strerror(errno));
}

#endif
