#include "tls/ca.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/durable.h"
#include "base/secret.h"
#include "tls/cert.h"
#include "tls/csr_inside.h"
#include "tls/key.h"
#include "tls/pem.h"
#include "tls/verify.h"
#include "tls/wolf.h"

#define FILE_MAX     ((size_t)1 << 20)
#define SERIAL_BYTES 16
#define KEY_ID_BYTES 20 /* RFC 7093, 2 (1): of a SHA-256 */
#define ALGORITHM    32 /* bytes of an AlgorithmIdentifier of ours, at most */

#define DER_VERSION    0xa0 /* [0] EXPLICIT, of the certificate */
#define DER_EXTENSIONS 0xa3 /* [3] EXPLICIT */
#define DER_KEY_ID     0x80 /* [0] IMPLICIT, of authorityKeyIdentifier */
#define YEAR_2050_S    INT64_C(2524608000)

struct ca {
    struct buf der;  /* owned: its certificate */
    struct buf pems; /* owned: what goes behind each certificate that is signed */
    struct secret key;
    struct cert_info *info; /* owned */
    struct cert_parts is;   /* into der */
    uint8_t algorithm[ALGORITHM];
    size_t algorithm_n;
};

int64_t ca_not_after_s(const struct ca *ca)
{
    return ca->info->not_after_s;
}

/* -- reading ----------------------------------------------------------------------------------- */

static int check_mode(const char *path, struct err *err)
{
    struct stat st;

    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) /* durable_read says why */
        return 0;
    if ((st.st_mode & (S_IRWXO | S_IRWXG)) != 0)
        return err_set(err, ERR_DENIED,
                       "%s: the key of a CA with mode %03o: others may use it: chmod 600 %s", path,
                       (unsigned)(st.st_mode & 0777), path);
    return 0;
}

static int take_cert(void *arg, const uint8_t *der, size_t n, struct err *err)
{
    struct ca *ca = arg;
    struct cert_info *ci = cert_info_new(der, n, err);
    int rc = 0;

    if (ci == NULL)
        return err == NULL ? -ERR_SYNTAX : -err->code;
    if (ca->der.len == 0)
        rc = buf_append(&ca->der, der, n);
    if (rc == 0 && !ci->is_self_issued)
        rc = pem_encode("CERTIFICATE", der, n, &ca->pems);
    cert_info_free(ci);
    return rc == 0 ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

static int read_certs(struct ca *ca, const char *path, struct err *err)
{
    struct buf text = {0};
    int rc = durable_read(path, FILE_MAX, &text, err);

    if (rc != 0)
        return rc;
    rc = cert_pem_each((const char *)text.p, text.len, take_cert, ca, err);
    buf_fini_wipe(&text); /* a key may stand in the same file */
    if (rc < 0)
        return err_wrap(err, rc, "%s", path);
    if (rc == 0)
        return err_set(err, ERR_SYNTAX, "%s: holds no certificate: put the CA's there as PEM",
                       path);
    ca->info = cert_info_new(ca->der.p, ca->der.len, err);
    if (ca->info == NULL || !cert_parts(ca->der.p, ca->der.len, &ca->is))
        return err_wrap(err, -ERR_SYNTAX, "%s", path);
    return 0;
}

static int read_key(struct ca *ca, const char *path, struct err *err)
{
    struct buf text = {0}, der = {0};
    int rc = check_mode(path, err);

    if (rc == 0)
        rc = durable_read(path, FILE_MAX, &text, err);
    if (rc != 0)
        return rc;
    rc = cert_pem_key((const char *)text.p, text.len, &der, err);
    if (rc == -ERR_INVALID)
        rc = err_set(err, ERR_INVALID,
                     "%s: the key is encrypted: keep it in a file of its own without a passphrase "
                     "(openssl pkey -in %s -out NEW), or sign by a command",
                     path, path);
    else if (rc < 0)
        rc = err_wrap(err, rc, "%s", path);
    else if (rc == 0)
        rc = err_set(err, ERR_SYNTAX, "%s: holds no private key: put the CA's there as PEM", path);
    else if (secret_set(&ca->key, der.p, der.len) != 0)
        rc = err_set(err, ERR_NOMEM, "out of memory");
    else
        rc = 0;
    buf_fini_wipe(&text);
    buf_fini_wipe(&der);
    return rc;
}

/* May it, and can it? */
static int check_ca(struct ca *ca, int64_t now_s, struct err *err)
{
    const struct cert_info *ci = ca->info;
    char when[32];

    if (!ci->is_ca)
        return err_set(err, ERR_INVALID,
                       "\"%s\" is no CA: the certificate of one has basicConstraints CA:TRUE",
                       ci->subject);
    if (ci->has_key_usage && (ci->key_usage & CERT_KEY_CERT_SIGN) == 0)
        return err_set(err, ERR_INVALID, "\"%s\" may not sign certificates (keyUsage)",
                       ci->subject);
    if (now_s >= ci->not_after_s)
        return err_set(err, ERR_EXPIRED, "\"%s\" expired on %s: renew it, or check the clock",
                       ci->subject, clock_text(ci->not_after_s, when, sizeof(when)));
    if (now_s < ci->not_before_s)
        return err_set(err, ERR_EXPIRED, "\"%s\" is not valid before %s: check the clock",
                       ci->subject, clock_text(ci->not_before_s, when, sizeof(when)));
    return 0;
}

/* By a first signature, which tells how it signs, too. */
static int try_key(struct ca *ca, struct err *err)
{
    struct buf algorithm = {0}, signature = {0};
    int rc = 0;

    if (verify_key((struct slice){ca->der.p, ca->der.len},
                   (struct slice){ca->key.p, ca->key.len}) != VERIFY_GOOD)
        return err_set(err, ERR_INVALID, "is not the key of \"%s\"", ca->info->subject);
    wolf_secret_begin();
    rc = key_sign(ca->key.p, ca->key.len, "", 0, &algorithm, &signature, err);
    wolf_secret_end();
    if (rc == -ERR_SYNTAX)
        rc = err_set(err, ERR_INVALID, "is neither EC nor RSA: sign by a command instead");
    if (rc == 0 && algorithm.len > sizeof(ca->algorithm))
        rc = err_set(err, ERR_TLS, "signs in a way that is not known here");
    if (rc == 0) {
        memcpy(ca->algorithm, algorithm.p, algorithm.len);
        ca->algorithm_n = algorithm.len;
    }
    buf_fini(&algorithm);
    buf_fini(&signature);
    return rc;
}

struct ca *ca_new(const char *cert_file, const char *key_file, int64_t now_s, struct err *err)
{
    struct ca *ca = calloc(1, sizeof(*ca));
    int rc;

    if (ca == NULL) {
        (void)err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    rc = read_certs(ca, cert_file, err);
    if (rc == 0 && (rc = check_ca(ca, now_s, err)) != 0)
        rc = err_wrap(err, rc, "%s", cert_file);
    if (rc == 0)
        rc = read_key(ca, key_file, err);
    if (rc == 0 && (rc = try_key(ca, err)) != 0)
        rc = err_wrap(err, rc, "%s", key_file);
    if (rc == 0)
        return ca;
    ca_free(ca);
    return NULL;
}

void ca_free(struct ca *ca)
{
    if (ca == NULL)
        return;
    secret_fini(&ca->key);
    cert_info_free(ca->info);
    buf_fini(&ca->der);
    buf_fini(&ca->pems);
    free(ca);
}

/* -- signing ----------------------------------------------------------------------------------- */

/* These append, and return 0 or -ERR_NOMEM. */

/* UTCTime up to 2049, then GeneralizedTime [RFC 5280, 4.1.2.5]. */
static int put_time(struct buf *out, int64_t at_s)
{
    bool late = at_s >= YEAR_2050_S;
    time_t at = (time_t)at_s;
    char text[64];
    struct tm tm;

    if (gmtime_r(&at, &tm) == NULL)
        return -ERR_NOMEM;
    snprintf(text, sizeof(text), "%0*d%02d%02d%02d%02d%02dZ", late ? 4 : 2,
             late ? tm.tm_year + 1900 : tm.tm_year % 100, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
             tm.tm_min, tm.tm_sec);
    return der_put(out, late ? DER_GENERALIZED_TIME : DER_UTC_TIME, text, strlen(text));
}

/* Positive, and as long for every certificate. */
static int put_serial(struct buf *out)
{
    uint8_t serial[SERIAL_BYTES];

    while (getrandom(serial, sizeof(serial), 0) != (ssize_t)sizeof(serial))
        if (errno != EINTR)
            return -ERR_NOMEM;
    serial[0] = (uint8_t)((serial[0] & 0x3f) | 0x40);
    return der_put(out, DER_INTEGER, serial, sizeof(serial));
}

static int put_usages(struct buf *out)
{
    struct buf value = {0};
    int rc = der_put(&value, DER_SEQUENCE, NULL, 0);

    if (rc == 0) /* no CA */
        rc = der_put_extension(out, OID_CONSTRAINTS, true, &value);
    buf_fini(&value);
    return rc == 0 ? csr_put_usages(out) : rc;
}

/* Of the contents of the BIT STRING, which is the key itself [RFC 5280, 4.2.1.2]. */
static int put_key_ids(struct buf *out, const struct ca *ca, struct slice spki)
{
    uint8_t digest[WC_SHA256_DIGEST_SIZE];
    struct der whole = der_of(spki.p, spki.n), body, key;
    const struct cert_key_id *above = &ca->info->ski;
    struct buf value = {0}, id = {0};
    int rc;

    if (!der_take(&whole, DER_SEQUENCE, &body) || !der_skip(&body, DER_SEQUENCE) ||
        !der_take(&body, DER_BIT_STRING, &key) || der_left(&key) < 1 ||
        wc_Sha256Hash(key.p + 1, (word32)(der_left(&key) - 1), digest) != 0)
        return -ERR_NOMEM;
    rc = der_put(&value, DER_OCTET_STRING, digest, KEY_ID_BYTES);
    if (rc == 0)
        rc = der_put_extension(out, OID_SUBJECT_KEY_ID, false, &value);
    if (rc == 0 && above->n > 0) {
        rc = der_put(&id, DER_KEY_ID, above->p, above->n);
        if (rc == 0)
            rc = der_wrap(&value, DER_SEQUENCE, &id);
        if (rc == 0)
            rc = der_put_extension(out, OID_AUTHORITY_KEY_ID, false, &value);
    }
    buf_fini(&value);
    buf_fini(&id);
    return rc;
}

/* Critical where there is no subject besides [RFC 5280, 4.2.1.6]. */
static int put_sans(struct buf *out, const struct csr *csr)
{
    struct buf value = {0};
    struct der name = der_of(csr->subject.p, csr->subject.n), parts = {0};
    int rc;

    if (csr->sans.n == 0)
        return 0;
    (void)der_take(&name, DER_SEQUENCE, &parts);
    rc = der_put(&value, DER_SEQUENCE, csr->sans.p, csr->sans.n);
    if (rc == 0)
        return der_put_extension(out, OID_SUBJECT_ALT_NAME, der_left(&parts) == 0, &value);
    buf_fini(&value);
    return rc;
}

static int put_extensions(struct buf *out, const struct ca *ca, const struct csr *csr)
{
    struct buf list = {0}, all = {0};
    int rc = put_usages(&list);

    if (rc == 0)
        rc = put_key_ids(&list, ca, csr->spki);
    if (rc == 0)
        rc = put_sans(&list, csr);
    if (rc == 0)
        rc = der_wrap(&all, DER_SEQUENCE, &list);
    if (rc == 0)
        return der_wrap(out, DER_EXTENSIONS, &all);
    buf_fini(&list);
    buf_fini(&all);
    return rc;
}

/* TBSCertificate [RFC 5280, 4.1]. */
static int put_tbs(struct buf *out, const struct ca *ca, const struct csr *csr, int64_t from_s,
                   int64_t until_s)
{
    static const uint8_t v3 = 2;
    struct buf tbs = {0}, part = {0};
    int rc = der_put(&part, DER_INTEGER, &v3, 1);

    if (rc == 0)
        rc = der_wrap(&tbs, DER_VERSION, &part);
    if (rc == 0)
        rc = put_serial(&tbs);
    if (rc == 0)
        rc = buf_append(&tbs, ca->algorithm, ca->algorithm_n);
    if (rc == 0)
        rc = buf_append(&tbs, ca->is.subject.p, der_left(&ca->is.subject));
    if (rc == 0)
        rc = put_time(&part, from_s);
    if (rc == 0)
        rc = put_time(&part, until_s);
    if (rc == 0)
        rc = der_wrap(&tbs, DER_SEQUENCE, &part);
    if (rc == 0)
        rc = buf_append(&tbs, csr->subject.p, csr->subject.n);
    if (rc == 0)
        rc = buf_append(&tbs, csr->spki.p, csr->spki.n);
    if (rc == 0)
        rc = put_extensions(&tbs, ca, csr);
    if (rc == 0)
        return der_wrap(out, DER_SEQUENCE, &tbs);
    buf_fini(&tbs);
    buf_fini(&part);
    return rc;
}

static int put_signature(struct buf *out, const struct buf *signature)
{
    struct buf bits = {0};
    int rc = buf_append_u8(&bits, 0); /* no unused bits */

    if (rc == 0)
        rc = buf_append(&bits, signature->p, signature->len);
    if (rc == 0)
        return der_wrap(out, DER_BIT_STRING, &bits);
    buf_fini(&bits);
    return rc;
}

int ca_sign(const struct ca *ca, const struct csr *csr, int64_t not_before_s, int64_t not_after_s,
            struct buf *pem, struct err *err)
{
    int64_t from_s = not_before_s < ca->info->not_before_s ? ca->info->not_before_s : not_before_s;
    int64_t until_s = not_after_s > ca->info->not_after_s ? ca->info->not_after_s : not_after_s;
    struct buf cert = {0}, algorithm = {0}, signature = {0}, der = {0};
    char when[32];
    int rc;

    if (until_s <= from_s)
        return err_set(err, ERR_EXPIRED, "the CA's own certificate ends on %s: renew it",
                       clock_text(ca->info->not_after_s, when, sizeof(when)));
    rc = put_tbs(&cert, ca, csr, from_s, until_s);
    if (rc == 0) {
        wolf_secret_begin();
        rc = key_sign(ca->key.p, ca->key.len, cert.p, cert.len, &algorithm, &signature, err);
        wolf_secret_end();
        if (rc != 0)
            goto out;
    }
    if (rc == 0)
        rc = buf_append(&cert, algorithm.p, algorithm.len);
    if (rc == 0)
        rc = put_signature(&cert, &signature);
    if (rc == 0)
        rc = der_wrap(&der, DER_SEQUENCE, &cert);
    if (rc == 0)
        rc = pem_encode("CERTIFICATE", der.p, der.len, pem);
    if (rc == 0)
        rc = buf_append(pem, ca->pems.p, ca->pems.len);
    if (rc != 0)
        rc = err_set(err, ERR_NOMEM, "out of memory");
out:
    buf_fini(&cert);
    buf_fini(&algorithm);
    buf_fini(&signature);
    buf_fini(&der);
    return rc;
}
