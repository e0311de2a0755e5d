#include "tls/bundle.h"

#include <stdlib.h>
#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/asn.h>

#include "tls/der.h"
#include "tls/pem.h"
#include "tls/pkcs12.h"
#include "tls/pkcs8.h"
#include "tls/sig.h"
#include "tls/wolf.h"

#define CERTS_MAX 64
#define KEYS_MAX  8
#define FROM_MAX  200

struct held_cert {
    size_t at, n; /* into `all` */
};

struct held_key {
    struct secret pkcs8;
    char from[FROM_MAX]; /* the file, and the name that the key has in it */
};

struct bundle {
    struct buf all; /* certificates, as DER */
    struct held_cert certs[CERTS_MAX];
    size_t cert_count;
    struct held_key keys[KEYS_MAX];
    size_t key_count;
    const char *file; /* while one is read */
};

struct bundle *bundle_new(void)
{
    return calloc(1, sizeof(struct bundle));
}

void bundle_free(struct bundle *b)
{
    if (b == NULL)
        return;
    for (size_t i = 0; i < b->key_count; i++)
        secret_fini(&b->keys[i].pkcs8);
    buf_fini(&b->all);
    free(b);
}

size_t bundle_keys(const struct bundle *b)
{
    return b->key_count;
}

size_t bundle_certs(const struct bundle *b)
{
    return b->cert_count;
}

static struct der cert_of(const struct bundle *b, size_t i)
{
    return der_of(b->all.p + b->certs[i].at, b->certs[i].n);
}

static struct der key_of(const struct bundle *b, size_t i)
{
    return der_of(b->keys[i].pkcs8.p, b->keys[i].pkcs8.len);
}

static int no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory");
}

/* -- taking in --------------------------------------------------------------------------------- */

static int take_cert(void *arg, struct der cert, const char *name, struct err *err)
{
    struct bundle *b = arg;
    struct der issuer, subject;

    (void)name;
    if (!cert_names(cert.p, der_left(&cert), &issuer, &subject))
        return err_set(err, ERR_SYNTAX, "certificate %zu cannot be read: copy the file again",
                       b->cert_count + 1);
    for (size_t i = 0; i < b->cert_count; i++)
        if (der_eq(cert_of(b, i), cert))
            return 0;
    if (b->cert_count == CERTS_MAX)
        return err_set(err, ERR_TOO_BIG,
                       "holds more than %d certificates: keep the leaf and its issuers", CERTS_MAX);
    b->certs[b->cert_count] = (struct held_cert){b->all.len, der_left(&cert)};
    if (buf_append(&b->all, cert.p, der_left(&cert)) != 0)
        return no_memory(err);
    b->cert_count++;
    return 0;
}

static int take_key(void *arg, struct der key, const char *name, struct err *err)
{
    struct bundle *b = arg;
    struct held_key *k = &b->keys[b->key_count];
    struct secret pkcs8 = {0};
    int rc = pkcs8_wrap(key, &pkcs8, err);

    if (rc != 0)
        return rc;
    for (size_t i = 0; i < b->key_count; i++)
        if (der_is(key_of(b, i), pkcs8.p, pkcs8.len)) {
            secret_fini(&pkcs8);
            return 0;
        }
    if (b->key_count == KEYS_MAX) {
        secret_fini(&pkcs8);
        return err_set(err, ERR_TOO_BIG, "holds more than %d private keys: export one device",
                       KEYS_MAX);
    }
    k->pkcs8 = pkcs8;
    snprintf(k->from, sizeof(k->from), "%.*s%s%s%s", 120, b->file, name[0] == '\0' ? "" : " (\"",
             name, name[0] == '\0' ? "" : "\")");
    b->key_count++;
    return 0;
}

static int needs_password(const char *password, struct err *err)
{
    return password == NULL
               ? err_set(err, ERR_DENIED, "its private key is under a password: give it")
               : err_set(err, ERR_DENIED, "wrong password, or a damaged key");
}

static int add_encrypted(struct bundle *b, struct der whole, const char *password, struct err *err)
{
    struct secret key = {0};
    int rc;

    if (password == NULL)
        return needs_password(NULL, err);
    rc = pkcs8_open(whole, password, strlen(password), &key, err);
    if (rc == -ERR_DENIED)
        return needs_password(password, err);
    if (rc == 0)
        rc = take_key(b, der_of(key.p, key.len), "", err);
    secret_fini(&key);
    return rc;
}

/* OpenSSL's own encryption of PEM ("Proc-Type: 4,ENCRYPTED"). */
static int add_traditional(struct bundle *b, const struct pem_block *block, const char *password,
                           struct err *err)
{
    const char *start = block->label - strlen("-----BEGIN ");
    size_t n = (size_t)(block->body + block->body_len - start) + block->label_len + 14;
    struct secret der = {0};
    int rc;

    if (password == NULL)
        return needs_password(NULL, err);
    if (strlen(password) > PBE_PASSWORD_MAX || n > BUNDLE_FILE_MAX)
        return err_set(err, ERR_TOO_BIG, "a password or a key that is too long");
    der = (struct secret){secret_alloc(n), n};
    if (der.p == NULL)
        return no_memory(err);
    rc = wc_KeyPemToDer((const byte *)start, (int)n, der.p, (int)n, password);
    if (rc <= 0) {
        rc = needs_password(password, err);
    } else {
        der.len = (size_t)rc;
        rc = key_form_of(der_of(der.p, der.len)) == KEY_NONE
                 ? needs_password(password, err)
                 : take_key(b, der_of(der.p, der.len), "", err);
    }
    secret_fini(&der);
    return rc;
}

/* The first element of what was found, without what may stand behind it. */
static bool first_of(struct der text, struct der *out)
{
    struct der body;
    uint8_t tag;

    return der_any(&text, &tag, &body, out) && tag == DER_SEQUENCE;
}

static int add_der(struct bundle *b, struct der text, const char *password, struct err *err)
{
    const struct pkcs12_sink sink = {take_cert, take_key, b};
    struct der whole, issuer, subject;

    if (pkcs12_is(text))
        return pkcs12_read(text, password, &sink, err);
    if (!first_of(text, &whole))
        return err_set(err, ERR_SYNTAX,
                       "is neither PEM, nor DER, nor PKCS#12, or cut off: copy the file again");
    switch (key_form_of(whole)) {
    case KEY_PKCS1:
    case KEY_SEC1:
    case KEY_PKCS8:
        return take_key(b, whole, "", err);
    case KEY_ENCRYPTED:
        return add_encrypted(b, whole, password, err);
    case KEY_NONE:
        break;
    }
    if (cert_names(whole.p, der_left(&whole), &issuer, &subject))
        return take_cert(b, whole, "", err);
    return err_set(err, ERR_SYNTAX,
                   "holds neither a certificate nor a private key: is it the right file?");
}

static int add_block(struct bundle *b, const struct pem_block *block, const char *password,
                     struct err *err)
{
    bool key = pem_ends_with(block, "PRIVATE KEY");
    bool cert = pem_is(block, "CERTIFICATE") || pem_is(block, "X509 CERTIFICATE");
    struct buf der = {0};
    int rc;

    if (pem_is(block, "TRUSTED CERTIFICATE"))
        return err_set(err, ERR_SYNTAX,
                       "holds OpenSSL's own kind of certificate: convert it (openssl x509)");
    if (pem_is(block, "PKCS7") || pem_is(block, "CMS"))
        return err_set(err, ERR_SYNTAX, "holds PKCS#7: convert it (openssl pkcs7 -print_certs)");
    if (pem_is(block, "OPENSSH PRIVATE KEY"))
        return err_set(err, ERR_SYNTAX, "holds a key of SSH: it is no key of a certificate");
    if (key && pem_is_encrypted(block) && !pem_is(block, "ENCRYPTED PRIVATE KEY"))
        return add_traditional(b, block, password, err);
    if (!key && !cert) /* parameters of a curve, a request, what people keep together */
        return 0;
    rc = pem_decode(block, &der, err);
    if (rc == 0 && cert)
        rc = take_cert(b, der_of(der.p, der.len), "", err);
    else if (rc == 0)
        rc = key_form_of(der_of(der.p, der.len)) == KEY_ENCRYPTED
                 ? add_encrypted(b, der_of(der.p, der.len), password, err)
                 : take_key(b, der_of(der.p, der.len), "", err);
    buf_fini_wipe(&der);
    return rc;
}

static int add_pem(struct bundle *b, const char *text, size_t n, const char *password,
                   struct err *err)
{
    size_t had = b->cert_count + b->key_count;
    bool request = false, any = false;
    const char *at = text;
    struct pem_block block;
    int rc;

    while ((rc = pem_next(&at, text + n, &block, err)) > 0) {
        any |= pem_is(&block, "CERTIFICATE") || pem_ends_with(&block, "PRIVATE KEY");
        request |= pem_ends_with(&block, "CERTIFICATE REQUEST");
        rc = add_block(b, &block, password, err);
        if (rc != 0)
            return rc;
    }
    if (rc == 0 && b->cert_count + b->key_count == had && !any)
        rc = request ? err_set(err, ERR_SYNTAX,
                               "holds a request (CSR), not the certificate that the CA made of it")
                     : err_set(err, ERR_SYNTAX,
                               "holds neither a certificate nor a private key: is it "
                               "the right file?");
    return rc;
}

int bundle_add(struct bundle *b, const char *file, const uint8_t *p, size_t n, const char *password,
               struct err *err)
{
    bool pem = n > 0 && memmem(p, n, "-----BEGIN ", 11) != NULL;
    int rc;

    b->file = file;
    if (n == 0)
        rc = err_set(err, ERR_SYNTAX, "is empty: copy the file again");
    else if (n > BUNDLE_FILE_MAX)
        rc =
            err_set(err, ERR_TOO_BIG, "has %zu bytes, at most %zu are taken: is it the right file?",
                    n, BUNDLE_FILE_MAX);
    else
        rc = pem && p[0] != DER_SEQUENCE ? add_pem(b, (const char *)p, n, password, err)
                                         : add_der(b, der_of(p, n), password, err);
    b->file = NULL;
    return rc == 0 ? 0 : err_wrap(err, rc, "%s", file);
}

/* -- putting together -------------------------------------------------------------------------- */

static int put_pem(struct buf *out, struct der der)
{
    size_t room = der_left(&der) * 2 + 128;
    int n;

    if (buf_reserve(out, room) != 0)
        return -ERR_NOMEM;
    n = wc_DerToPem(der.p, (word32)der_left(&der), out->p + out->len, (word32)room, CERT_TYPE);
    if (n <= 0)
        return -ERR_TLS;
    out->len += (size_t)n;
    return 0;
}

static bool is_root(struct der cert)
{
    struct der issuer, subject;

    return cert_names(cert.p, der_left(&cert), &issuer, &subject) && der_eq(issuer, subject);
}

/* Do the key identifiers say that another key of the same name signed it (RFC 5280, 4.2.1.1)?  A CA
 * keeps its name when it gets a new key. */
static bool is_other_key(struct der cert, struct der issuer)
{
    DecodedCert *both = calloc(2, sizeof(*both));
    bool other = false;

    if (both == NULL)
        return false;
    wc_InitDecodedCert(&both[0], cert.p, (word32)der_left(&cert), NULL);
    wc_InitDecodedCert(&both[1], issuer.p, (word32)der_left(&issuer), NULL);
    if (wc_ParseCert(&both[0], CERT_TYPE, NO_VERIFY, NULL) == 0 &&
        wc_ParseCert(&both[1], CERT_TYPE, NO_VERIFY, NULL) == 0)
        other =
            both[0].extAuthKeyIdSet && both[1].extSubjKeyIdSet &&
            memcmp(both[0].extAuthKeyId, both[1].extSubjKeyId, sizeof(both[0].extAuthKeyId)) != 0;
    wc_FreeDecodedCert(&both[0]);
    wc_FreeDecodedCert(&both[1]);
    free(both);
    return other;
}

/* The certificate that issued `of` and is not used yet, or -1. */
static int issuer_of(const struct bundle *b, struct der of, const bool *used)
{
    struct der issuer, subject, its_issuer, its_subject;

    cert_names(of.p, der_left(&of), &issuer, &subject);
    for (size_t i = 0; i < b->cert_count; i++) {
        struct der c = cert_of(b, i);

        if (!used[i] && cert_names(c.p, der_left(&c), &its_issuer, &its_subject) &&
            der_eq(its_subject, issuer) && !is_other_key(of, c))
            return (int)i;
    }
    return -1;
}

static int put_chain(const struct bundle *b, size_t leaf, struct buf *chain, struct err *err)
{
    bool used[CERTS_MAX] = {false};
    int rc = 0;

    for (int i = (int)leaf; i >= 0 && rc == 0; i = issuer_of(b, cert_of(b, (size_t)i), used)) {
        used[i] = true;
        if ((size_t)i != leaf && is_root(cert_of(b, (size_t)i)))
            break;
        rc = put_pem(chain, cert_of(b, (size_t)i));
    }
    return rc == 0 ? 0 : no_memory(err);
}

static int put_key(struct der pkcs8, struct secret *key, struct err *err)
{
    size_t room = der_left(&pkcs8) * 2 + 128;
    struct secret pem = {secret_alloc(room), 0};
    int n;

    if (pem.p == NULL)
        return no_memory(err);
    n = wc_DerToPem(pkcs8.p, (word32)der_left(&pkcs8), pem.p, (word32)room, PKCS8_PRIVATEKEY_TYPE);
    if (n <= 0) {
        secret_fini(&pem);
        return err_set(err, ERR_TLS, "the key cannot be written as PEM (code %d)", n);
    }
    pem.len = (size_t)n;
    secret_fini(key);
    *key = pem;
    return 0;
}

static int no_pair(const struct bundle *b, struct err *err)
{
    if (b->cert_count == 0)
        return err_set(
            err, ERR_NOT_FOUND,
            "there is a private key (%s) and no certificate: name the certificate's file "
            "too",
            b->keys[0].from);
    if (b->cert_count == 1 && b->key_count == 1)
        return err_set(
            err, ERR_INVALID,
            "the key of %s does not match the certificate: name the key that the CSR was "
            "made with",
            b->keys[0].from);
    return err_set(err, ERR_INVALID,
                   "the key of %s matches none of the %zu certificates: name the certificate that "
                   "was issued for it",
                   b->keys[0].from, b->cert_count);
}

int bundle_identity(const struct bundle *b, struct buf *chain, struct secret *key, struct err *err)
{
    size_t leaf = 0, with = 0, pairs = 0;
    int rc;

    if (b->key_count == 0)
        return err_set(err, ERR_NOT_FOUND,
                       b->cert_count == 0 ? "there is nothing to import"
                                          : "there are certificates and no private key: name the "
                                            "key's file too (--key FILE)");
    for (size_t k = 0; k < b->key_count; k++)
        for (size_t c = 0; c < b->cert_count; c++)
            if (cred_pair_fits(cert_of(b, c), key_of(b, k))) {
                if (pairs++ > 0 && k != with)
                    return err_set(err, ERR_INVALID,
                                   "there are two identities, with the keys of %s and of %s: "
                                   "export one of them",
                                   b->keys[with].from, b->keys[k].from);
                if (pairs > 1)
                    return err_set(err, ERR_INVALID,
                                   "there are two certificates for the key of %s: keep the one "
                                   "that is to be used",
                                   b->keys[k].from);
                leaf = c;
                with = k;
            }
    if (pairs == 0)
        return no_pair(b, err);
    rc = put_chain(b, leaf, chain, err);
    return rc == 0 ? put_key(key_of(b, with), key, err) : rc;
}

int bundle_chain(const struct bundle *b, const uint8_t *spki, size_t n, struct buf *chain,
                 struct err *err)
{
    struct sig_key wanted;
    struct der key;

    if (!sig_read_key(der_of(spki, n), &wanted))
        return err_set(err, ERR_SYNTAX, "the public key cannot be read");
    for (size_t c = 0; c < b->cert_count; c++) {
        struct der cert = cert_of(b, c);

        if (cert_public_key(cert.p, der_left(&cert), &key) && der_eq(key, wanted.key))
            return put_chain(b, c, chain, err);
    }
    return err_set(err, ERR_INVALID, "none of the %zu certificates is for the key that is there",
                   b->cert_count);
}
