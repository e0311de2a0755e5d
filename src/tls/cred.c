#include "tls/cred.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/durable.h"
#include "base/secret.h"
#include "base/str.h"
#include "tls/keyring.h"
#include "tls/keyring_inside.h"
#include "tls/pem.h"
#include "tls/pkcs8.h"
#include "tls/token_inside.h"
#include "tls/wolf.h"

#define MAX_CHAIN      9 /* what the library takes */
#define MAX_FILE_BYTES ((size_t)256 * 1024)
#define MIN_OWN_RSA    1024 /* own certificates: what the library can sign with */

struct cred {
    atomic_uint refs;
    struct cert_info *leaf; /* owned */
    struct buf chain;       /* leaf first, concatenated DER */
    size_t leaf_len;        /* of these, the leaf's */
    struct secret key;      /* PKCS#8 in DER */
    enum cred_rest rest;
    struct token_key *token_key; /* owned reference; NULL: the key is `key` */
};

struct der cred_chain_der(const struct cred *c)
{
    return der_of(c->chain.p, c->chain.len);
}

struct der cred_key_der(const struct cred *c)
{
    return der_of(c->key.p, c->key.len);
}

struct token_key *cred_token_key(const struct cred *c)
{
    return c->token_key;
}

bool cred_in_token(const struct cred *c)
{
    return c->token_key != NULL;
}

bool cred_is_usable(const struct cred *c, const char **what, struct err *err)
{
    struct token_trouble trouble;

    if (c->token_key == NULL || token_is_usable(c->token_key->token, &trouble))
        return true;
    *what = trouble.what;
    err_set(err, ERR_CLOSED, "%s: %s", trouble.text, trouble.remedy);
    return false;
}

unsigned cred_min_rsa_bits(const struct cred *c, unsigned min_bits)
{
    bool rsa = strncmp(c->leaf->key_alg, "RSA", 3) == 0;

    return rsa && c->leaf->key_bits < min_bits ? c->leaf->key_bits : min_bits;
}

int cred_use(const struct cred *c, WOLFSSL *ssl, unsigned min_rsa_bits)
{
    int rc;

    wolfSSL_SetMinRsaKey_Sz(ssl, (short)cred_min_rsa_bits(c, min_rsa_bits));
    rc = wolfSSL_use_certificate_chain_buffer_format(ssl, c->chain.p, (long)c->chain.len,
                                                     WOLFSSL_FILETYPE_ASN1);
    if (rc == WOLFSSL_SUCCESS && c->token_key != NULL)
        return token_key_use(c->token_key, ssl);
    if (rc == WOLFSSL_SUCCESS) {
        wolf_secret_begin();
        rc = wolfSSL_use_PrivateKey_buffer(ssl, c->key.p, (long)c->key.len, WOLFSSL_FILETYPE_ASN1);
        wolf_secret_end();
    }
    return rc == WOLFSSL_SUCCESS ? 0 : rc;
}

/* -- the chain --------------------------------------------------------------------------------- */

struct link {
    struct der whole, issuer, subject; /* into `all` */
    size_t at, n;                      /* the same as offsets, while `all` grows */
    bool used;
};

struct pile {
    struct link links[MAX_CHAIN];
    size_t count;
    struct buf all; /* owned */
};

static int pile_add(void *arg, const uint8_t *der, size_t n, struct err *err)
{
    struct pile *pile = arg;
    struct link *l = &pile->links[pile->count];

    if (pile->count == MAX_CHAIN)
        return err_set(err, ERR_TOO_BIG,
                       "holds more than %d certificates: keep the leaf and its issuers", MAX_CHAIN);
    if (!cert_names(der, n, &l->issuer, &l->subject))
        return err_set(err, ERR_SYNTAX, "certificate %zu cannot be read: copy it again",
                       pile->count + 1);
    *l = (struct link){.at = pile->all.len, .n = n};
    if (buf_append(&pile->all, der, n) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    pile->count++;
    return 0;
}

static void pile_settle(struct pile *pile)
{
    for (size_t i = 0; i < pile->count; i++) {
        struct link *l = &pile->links[i];

        l->whole = der_of(pile->all.p + l->at, l->n);
        cert_names(l->whole.p, l->n, &l->issuer, &l->subject);
    }
}

/* The leaf is the first that issued none of the others. */
static struct link *pile_leaf(struct pile *pile)
{
    for (size_t i = 0; i < pile->count; i++) {
        bool issuer = false;

        for (size_t j = 0; j < pile->count; j++)
            if (j != i && der_eq(pile->links[j].issuer, pile->links[i].subject))
                issuer = true;
        if (!issuer)
            return &pile->links[i];
    }
    return &pile->links[0];
}

static struct link *pile_issuer_of(struct pile *pile, const struct link *l)
{
    for (size_t i = 0; i < pile->count; i++)
        if (!pile->links[i].used && der_eq(pile->links[i].subject, l->issuer))
            return &pile->links[i];
    return NULL;
}

static int refuse_stray(struct cred *c, const struct link *l, struct err *err)
{
    struct cert_info *ci = cert_info_new(l->whole.p, l->n, err);
    int rc;

    if (ci == NULL)
        return -ERR_SYNTAX;
    rc = err_set(err, ERR_INVALID, "%s is no issuer of %s: take it out of the file", ci->subject,
                 c->leaf->subject);
    cert_info_free(ci);
    return rc;
}

static int chain_sort(struct cred *c, struct pile *pile, struct err *err)
{
    struct link *l;

    pile_settle(pile);
    if (buf_reserve(&c->chain, pile->all.len) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    l = pile_leaf(pile);
    c->leaf = cert_info_new(l->whole.p, l->n, err);
    if (c->leaf == NULL)
        return -ERR_SYNTAX;
    c->leaf_len = l->n;
    for (; l != NULL; l = pile_issuer_of(pile, l)) {
        l->used = true;
        buf_append(&c->chain, l->whole.p, l->n);
    }
    for (size_t i = 0; i < pile->count; i++)
        if (!pile->links[i].used)
            return refuse_stray(c, &pile->links[i], err);
    return 0;
}

/* What to say about a file that holds no certificate. */
static const char *instead_of_chain(const struct buf *text)
{
    const char *at = (const char *)text->p;
    struct pem_block b;

    if (text->len == 0)
        return "is empty: put the certificate there, then its issuers";
    if (text->p[0] == 0x30)
        return "is DER, not PEM: convert it (openssl x509 -inform DER)";
    while (pem_next(&at, (const char *)text->p + text->len, &b, NULL) > 0) {
        if (pem_ends_with(&b, "PRIVATE KEY"))
            return "holds a private key and no certificate: put the certificate there";
        if (pem_ends_with(&b, "CERTIFICATE REQUEST"))
            return "holds a request (CSR), not the certificate that the CA made of it: put that there";
        if (pem_is(&b, "TRUSTED CERTIFICATE"))
            return "holds OpenSSL's own kind of certificate: convert it (openssl x509)";
    }
    return "holds no certificate: put the certificate there, then its issuers, as PEM";
}

static int chain_take(struct cred *c, const struct buf *text, struct err *err)
{
    struct pile pile = {.count = 0};
    int rc =
        text->len == 0 ? 0 : cert_pem_each((const char *)text->p, text->len, pile_add, &pile, err);

    if (rc == 0)
        rc = err_set(err, ERR_SYNTAX, "%s", instead_of_chain(text));
    if (rc > 0)
        rc = chain_sort(c, &pile, err);
    buf_fini(&pile.all);
    return rc;
}

static int chain_load(struct cred *c, const char *path, struct err *err)
{
    struct buf text = {0};
    int rc = durable_read(path, MAX_FILE_BYTES, &text, err);

    if (rc != 0)
        return rc;
    rc = chain_take(c, &text, err);
    buf_fini_wipe(&text); /* a key may stand in the same file */
    return rc == 0 ? 0 : err_wrap(err, rc, "%s", path);
}

/* -- the key ----------------------------------------------------------------------------------- */

static int key_mode_check(const char *path, struct err *err)
{
    struct stat st;

    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) /* durable_read says why */
        return 0;
    if ((st.st_mode & (S_IRWXO | S_IWGRP)) != 0)
        return err_set(
            err, ERR_DENIED, "%s: a private key with mode %03o: others may %s it: chmod 600 %s",
            path, (unsigned)(st.st_mode & 0777), (st.st_mode & S_IROTH) ? "read" : "change", path);
    return 0;
}

static const char *instead_of_key(const struct buf *text, bool certificate)
{
    if (text->len == 0)
        return "is empty: put the private key there";
    if (certificate)
        return "holds a certificate and no private key: put the key there that the CSR was made with";
    if (text->p[0] == 0x30)
        return "is DER, not PEM: convert it (openssl pkey -inform DER)";
    return "holds no private key: put it there as PEM (PKCS#8, PKCS#1 or SEC1)";
}

/* What a block holds: into memory for keys. */
static int key_take(struct cred *c, const struct pem_block *b, struct err *err)
{
    struct buf der = {0};
    bool first = false;
    int rc;

    if (pem_is_encrypted(b) && !pem_is(b, "ENCRYPTED PRIVATE KEY"))
        return err_set(err, ERR_INVALID,
                       "is encrypted in a way of OpenSSL's own: store it as PKCS#8 (openssl pkcs8 "
                       "-topk8)");
    rc = pem_decode(b, &der, err);
    if (rc == 0 && pem_is_encrypted(b)) {
        rc = keyring_open(der_of(der.p, der.len), &c->key, &first, err);
        c->rest = first ? CRED_ENCRYPTED : CRED_FORMER;
    } else if (rc == 0) {
        c->rest = CRED_PLAIN;
        /* One form for all, so that a key that is written anew is the same key.  What cannot be
         * brought into it is for the library to judge. */
        if (pkcs8_wrap(der_of(der.p, der.len), &c->key, NULL) != 0 &&
            secret_set(&c->key, der.p, der.len) != 0)
            rc = err_set(err, ERR_NOMEM, "out of memory");
    }
    buf_fini_wipe(&der);
    return rc;
}

static int key_find(struct cred *c, const struct buf *text, struct err *err)
{
    const char *at = (const char *)text->p;
    const char *end = at + text->len;
    bool certificate = false;
    struct pem_block b;
    int rc = 0;

    while (text->len > 0 && (rc = pem_next(&at, end, &b, err)) > 0) {
        certificate |= pem_is(&b, "CERTIFICATE");
        if (!pem_ends_with(&b, "PRIVATE KEY"))
            continue;
        return key_take(c, &b, err);
    }
    return rc < 0 ? rc : err_set(err, ERR_SYNTAX, "%s", instead_of_key(text, certificate));
}

static bool is_uri(const struct buf *text)
{
    static const char scheme[] = "pkcs11:";
    size_t at = 0;

    while (at < text->len && strchr(" \t\r\n", text->p[at]) != NULL && text->p[at] != 0)
        at++;
    return text->len - at >= strlen(scheme) && memcmp(text->p + at, scheme, strlen(scheme)) == 0;
}

/* A token that is away may come back; a key that is not in it, or another's, does not change. */
static int key_in_token(struct cred *c, const struct buf *text, struct err *err)
{
    struct token_trouble trouble;
    struct pkcs11_uri uri;
    struct der public;
    int rc = pkcs11_uri_read((const char *)text->p, text->len, &uri, err);

    if (rc != 0)
        return rc;
    if (!cert_public_key(c->chain.p, c->leaf_len, &public))
        return err_set(err, ERR_SYNTAX, "the certificate's key cannot be read");
    c->token_key = token_key_new(&uri, public, strncmp(c->leaf->key_alg, "RSA", 3) == 0, err);
    if (c->token_key == NULL)
        return -err->code;
    c->rest = CRED_TOKEN;
    if (token_key_check(c->token_key, &trouble) || trouble_is_of_token(&trouble))
        return 0;
    return err_set(err, ERR_INVALID, "%s: %s", trouble.text, trouble.remedy);
}

static int key_load(struct cred *c, const char *path, struct err *err)
{
    struct buf text = {0};
    int rc = durable_read(path, MAX_FILE_BYTES, &text, err);

    if (rc != 0)
        return rc;
    if (!is_uri(&text) && (rc = key_mode_check(path, err)) != 0) { /* a name is no secret */
        buf_fini_wipe(&text);
        return rc;
    }
    rc = is_uri(&text) ? key_in_token(c, &text, err) : key_find(c, &text, err);
    buf_fini_wipe(&text);
    return rc == 0 ? 0 : err_wrap(err, rc, "%s", path);
}

int cred_read_key(const char *pem, size_t n, struct secret *pkcs8, struct err *err)
{
    uint8_t *bytes = (uint8_t *)(uintptr_t)pem; /* only read */
    const struct buf text = {.p = bytes, .len = n, .cap = n};
    struct cred c = {.rest = CRED_PLAIN};
    int rc = key_find(&c, &text, err);

    if (rc == 0 && secret_set(pkcs8, c.key.p, c.key.len) != 0)
        rc = err_set(err, ERR_NOMEM, "out of memory");
    secret_fini(&c.key);
    return rc;
}

/* -- together ---------------------------------------------------------------------------------- */

static const char *lib_text(int code, char *buf)
{
    wolfSSL_ERR_error_string_n((unsigned long)code, buf, 80);
    return buf;
}

/* Does the certificate's point belong to the private key? */
static bool ec_matches(struct der cert, struct der private)
{
    ecc_key key;
    byte point[MAX_ECC_BYTES * 2 + 1];
    word32 n = sizeof(point), at = 0;
    struct der public;
    bool match;

    if (!cert_public_key(cert.p, der_left(&cert), &public) || wc_ecc_init(&key) != 0)
        return false;
    match = wc_EccPrivateKeyDecode(private.p, &at, &key, (word32)der_left(&private)) == 0 &&
            wc_ecc_make_pub(&key, NULL) == 0 && wc_ecc_export_x963(&key, point, &n) == 0 &&
            der_is(public, point, n);
    wc_ecc_free(&key);
    return match;
}

/* The library leaves the number of the key in frames that it has returned from.  Those are on the
 * stack, where AddressSanitizer would not put this array. */
__attribute__((noinline, no_sanitize_address)) static void wipe_frames(void)
{
    uint8_t frames[32 * 1024];

    explicit_bzero(frames, sizeof(frames));
}

/* Does the leaf's point belong to the private key?  True for keys other than EC: the library looks
 * at those. */
static bool ec_pair_matches(const struct cred *c)
{
    return strncmp(c->leaf->key_alg, "EC", 2) != 0 ||
           ec_matches(der_of(c->chain.p, c->leaf_len), cred_key_der(c));
}

/* Is the key one for an EC curve?  The library asks no more of a pair than that both are. */
static bool is_ec_key(struct der key)
{
    ecc_key ec;
    word32 at = 0;
    bool yes;

    if (wc_ecc_init(&ec) != 0)
        return false;
    yes = wc_EccPrivateKeyDecode(key.p, &at, &ec, (word32)der_left(&key)) == 0;
    wc_ecc_free(&ec);
    return yes;
}

bool cred_pair_fits(struct der cert, struct der key)
{
    WOLFSSL_CTX *wolf = wolfSSL_CTX_new(wolfSSLv23_client_method());
    bool fits;

    if (wolf == NULL)
        return false;
    wolfSSL_CTX_SetMinRsaKey_Sz(wolf, MIN_OWN_RSA);
    wolf_secret_begin();
    fits = wolfSSL_CTX_use_certificate_buffer(wolf, cert.p, (long)der_left(&cert),
                                              WOLFSSL_FILETYPE_ASN1) == WOLFSSL_SUCCESS &&
           wolfSSL_CTX_use_PrivateKey_buffer(wolf, key.p, (long)der_left(&key),
                                             WOLFSSL_FILETYPE_ASN1) == WOLFSSL_SUCCESS &&
           wolfSSL_CTX_check_private_key(wolf) == WOLFSSL_SUCCESS &&
           (!WOLF_EC_UNCHECKED || !is_ec_key(key) || ec_matches(cert, key));
    wolf_secret_end();
    wipe_frames();
    wolfSSL_CTX_free(wolf);
    return fits;
}

/* Give the pair to the library as a connection would: a pair that passes here works there. */
static int pair_check(const struct cred *c, const char *chain_path, const char *key_path,
                      struct err *err)
{
    WOLFSSL_CTX *wolf = wolfSSL_CTX_new(wolfSSLv23_client_method());
    char fp[CERT_FP_TEXT], text[80];
    int rc;

    if (wolf == NULL)
        return err_set(err, ERR_NOMEM, "%s: out of memory", chain_path);
    str_hex(fp, c->leaf->fp, CERT_FP_BYTES);
    wolfSSL_CTX_SetMinRsaKey_Sz(wolf, MIN_OWN_RSA);
    rc = wolfSSL_CTX_use_certificate_chain_buffer_format(wolf, c->chain.p, (long)c->chain.len,
                                                         WOLFSSL_FILETYPE_ASN1);
    if (rc != WOLFSSL_SUCCESS) {
        rc = err_set(
            err, ERR_TLS,
            "%s: the TLS library does not take the certificate %s (%s key of %u bits): %s: have "
            "it issued for an EC P-256 or RSA 2048 key",
            chain_path, c->leaf->subject, c->leaf->key_alg, c->leaf->key_bits, lib_text(rc, text));
        goto out;
    }
    if (c->token_key != NULL) { /* compared already, or when its token is there */
        rc = 0;
        goto out;
    }
    wolf_secret_begin();
    rc = wolfSSL_CTX_use_PrivateKey_buffer(wolf, c->key.p, (long)c->key.len, WOLFSSL_FILETYPE_ASN1);
    wolf_secret_end();
    if (rc != WOLFSSL_SUCCESS) {
        rc = err_set(err, ERR_TLS, "%s: the TLS library does not take the key: %s: is it damaged?",
                     key_path, lib_text(rc, text));
        goto out;
    }
    wolf_secret_begin();
    rc = wolfSSL_CTX_check_private_key(wolf);
    wolf_secret_end();
    if (rc == WOLFSSL_SUCCESS && WOLF_EC_UNCHECKED && !ec_pair_matches(c))
        rc = WOLFSSL_FAILURE;
    wipe_frames();
    rc =
        rc == WOLFSSL_SUCCESS
            ? 0
            : err_set(
                  err, ERR_INVALID,
                  "%s: key does not match the certificate %s (sha256 %.16s..): put the key that the "
                  "CSR was made with beside it",
                  key_path, c->leaf->subject, fp);
out:
    wolfSSL_CTX_free(wolf);
    return rc;
}

struct cred *cred_load(const char *chain_path, const char *key_path, struct err *err)
{
    struct cred *c = calloc(1, sizeof(*c));

    if (c == NULL) {
        err_set(err, ERR_NOMEM, "%s: out of memory", chain_path);
        return NULL;
    }
    atomic_init(&c->refs, 1);
    if (chain_load(c, chain_path, err) == 0 && key_load(c, key_path, err) == 0 &&
        pair_check(c, chain_path, key_path, err) == 0)
        return c;
    cred_unref(c);
    return NULL;
}

struct cred *cred_parse(const char *chain, const char *key, struct err *err)
{
    /* Both are only looked at. */
    const struct buf chain_text = {.p = (uint8_t *)(uintptr_t)chain, .len = strlen(chain)};
    const struct buf key_text = {.p = (uint8_t *)(uintptr_t)key, .len = strlen(key)};
    struct cred *c = calloc(1, sizeof(*c));
    int rc;

    if (c == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    atomic_init(&c->refs, 1);
    rc = chain_take(c, &chain_text, err);
    if (rc != 0) {
        err_wrap(err, rc, "the chain");
    } else if ((rc = key_find(c, &key_text, err)) != 0) {
        err_wrap(err, rc, "the key");
    } else {
        rc = pair_check(c, "the chain", "the key", err);
    }
    if (rc == 0)
        return c;
    cred_unref(c);
    return NULL;
}

struct cred *cred_ref(struct cred *c)
{
    if (c != NULL)
        atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void cred_unref(struct cred *c)
{
    if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    secret_fini(&c->key);
    token_key_unref(c->token_key);
    buf_fini(&c->chain);
    cert_info_free(c->leaf);
    free(c);
}

const struct cert_info *cred_leaf(const struct cred *c)
{
    return c->leaf;
}

enum cred_rest cred_rest(const struct cred *c)
{
    return c->rest;
}

const char *cred_rest_name(enum cred_rest rest)
{
    static const char *const names[] = {[CRED_PLAIN] = "plain",
                                        [CRED_ENCRYPTED] = "encrypted",
                                        [CRED_FORMER] = "former",
                                        [CRED_TOKEN] = "token"};

    return names[rest];
}

int cred_put_key(const struct cred *c, struct buf *pem, struct err *err)
{
    struct secret pkcs8 = {0};
    int rc;

    if (c->token_key != NULL)
        return err_set(err, ERR_INVALID, "the key is in a token, and stays there");
    rc = pkcs8_wrap(cred_key_der(c), &pkcs8, err);

    if (rc == 0)
        rc = keyring_put_pem(pkcs8.p, pkcs8.len, pem, err);
    secret_fini(&pkcs8);
    return rc;
}

size_t cred_chain(const struct cred *c, struct slice *out, size_t max)
{
    struct der rest = cred_chain_der(c), body, whole;
    size_t n = 0;
    uint8_t tag;

    while (n < max && der_any(&rest, &tag, &body, &whole))
        out[n++] = (struct slice){whole.p, der_left(&whole)};
    return n;
}

bool cred_equal(const struct cred *a, const struct cred *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return der_eq(cred_chain_der(a), cred_chain_der(b)) &&
           der_eq(cred_key_der(a), cred_key_der(b)) && token_key_same(a->token_key, b->token_key);
}
