/* Keys that are made in a token, that sign requests there, and that end there. */
#include "tls/token_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <wolfssl/wolfcrypt/random.h>
#include <wolfssl/wolfcrypt/rsa.h>
#include <wolfssl/wolfcrypt/sha512.h>

#include "base/clock.h"
#include "tls/sig.h"

#define KEYGEN_MS 600000u /* RSA of 4096 bits in a smart card */
#define ID_BYTES  16
#define SPKI_MAX  2048
#define ENCODED   64 /* DigestInfo of SHA-256 */

static int closed(struct err *err, const struct token_trouble *trouble)
{
    return err_set(err, strcmp(trouble->what, "no-key") == 0 ? ERR_NOT_FOUND : ERR_CLOSED, "%s: %s",
                   trouble->text, trouble->remedy);
}

/* -- making ---------------------------------------------------------------------------------- */

struct keygen_call {
    struct token_call call;
    enum key_kind kind;
    char label[PKCS11_URI_TEXT];
    uint8_t id[ID_BYTES];
    CK_BYTE public[TOKEN_BLOCK]; /* CKA_EC_POINT, or CKA_MODULUS */
    size_t public_len;
    struct token_trouble trouble;
};

static void keygen_free(struct token_call *call)
{
    free(list_entry(call, struct keygen_call, call));
}

/* RFC 5480, 2.1.1.1: the curve's OID. */
static const CK_BYTE p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
static const CK_BYTE p384[] = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22};

static bool is_ec(enum key_kind kind)
{
    return kind == KEY_EC_P256 || kind == KEY_EC_P384;
}

static CK_ULONG modulus_bits(enum key_kind kind)
{
    return kind == KEY_RSA_2048 ? 2048 : kind == KEY_RSA_3072 ? 3072 : 4096;
}

static CK_RV generate(struct token *t, struct keygen_call *c, CK_SESSION_HANDLE session,
                      CK_OBJECT_HANDLE out[2])
{
    CK_BBOOL yes = CK_TRUE_, no = CK_FALSE_;
    CK_ULONG bits = modulus_bits(c->kind);
    CK_BYTE exponent[] = {1, 0, 1};
    CK_BYTE curve[sizeof(p256)];
    size_t curve_len = c->kind == KEY_EC_P256 ? sizeof(p256) : sizeof(p384);
    CK_MECHANISM how = {is_ec(c->kind) ? CKM_EC_KEY_PAIR_GEN : CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0};
    CK_ATTRIBUTE public[] = {
        {CKA_TOKEN, &yes, sizeof(yes)},          {CKA_VERIFY, &yes, sizeof(yes)},
        {CKA_LABEL, c->label, strlen(c->label)}, {CKA_ID, c->id, sizeof(c->id)},
        {CKA_EC_PARAMS, curve, curve_len},       {CKA_PUBLIC_EXPONENT, exponent, sizeof(exponent)},
    };
    CK_ATTRIBUTE private[] = {
        {CKA_TOKEN, &yes, sizeof(yes)},     {CKA_PRIVATE, &yes, sizeof(yes)},
        {CKA_SENSITIVE, &yes, sizeof(yes)}, {CKA_EXTRACTABLE, &no, sizeof(no)},
        {CKA_SIGN, &yes, sizeof(yes)},      {CKA_LABEL, c->label, strlen(c->label)},
        {CKA_ID, c->id, sizeof(c->id)},
    };

    memcpy(curve, c->kind == KEY_EC_P256 ? p256 : p384, curve_len);
    if (!is_ec(c->kind))
    public[4] = (CK_ATTRIBUTE){CKA_MODULUS_BITS, &bits, sizeof(bits)};
    return t->f->C_GenerateKeyPair(session, &how, public, is_ec(c->kind) ? 5 : 6, private,
                                   sizeof(private) / sizeof(private[0]), &out[0], &out[1]);
}

static CK_RV generate_and_read(struct token *t, struct keygen_call *c, CK_SESSION_HANDLE session)
{
    CK_OBJECT_HANDLE key[2];
    CK_ATTRIBUTE a = {is_ec(c->kind) ? CKA_EC_POINT : CKA_MODULUS, c->public, sizeof(c->public)};
    CK_RV rv = generate(t, c, session, key);

    if (rv != CKR_OK)
        return rv;
    rv = t->f->C_GetAttributeValue(session, key[0], &a, 1);
    if (rv == CKR_OK)
        c->public_len = a.ulValueLen;
    return rv;
}

/* A session of its own that may write; the login is that of the other one. */
static bool make(struct token *t, struct keygen_call *c)
{
    CK_SESSION_HANDLE session;
    CK_RV rv;

    if (!session_open(t, &c->trouble))
        return false;
    rv = t->f->C_OpenSession(t->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session);
    if (rv != CKR_OK)
        return session_failed(t, &c->trouble, "C_OpenSession", rv);
    rv = generate_and_read(t, c, session);
    t->f->C_CloseSession(session);
    return rv == CKR_OK || session_failed(t, &c->trouble, "C_GenerateKeyPair", rv);
}

static void keygen_run(struct token_call *call)
{
    struct keygen_call *c = list_entry(call, struct keygen_call, call);
    struct token *t = call->token;
    int64_t from_us = clock_mono_us();
    bool fresh = !t->open;

    if (!make(t, c) && !fresh) { /* as for signing: it may have been taken out and put back */
        c->trouble = (struct token_trouble){0};
        session_close(t);
        make(t, c);
    }
    token_note(t, true, clock_mono_us() - from_us, &c->trouble);
}

static int put_ec(const struct keygen_call *c, struct buf *spki)
{
    struct der at = der_of(c->public, c->public_len), point;
    ecc_key key;
    int n;

    if (!der_take(&at, DER_OCTET_STRING, &point)) /* some leave the wrapping out */
        point = der_of(c->public, c->public_len);
    if (wc_ecc_init(&key) != 0)
        return MEMORY_E;
    n = wc_ecc_import_x963_ex(point.p, (word32)der_left(&point), &key,
                              c->kind == KEY_EC_P256 ? ECC_SECP256R1 : ECC_SECP384R1);
    if (n == 0)
        n = wc_EccPublicKeyToDer(&key, spki->p + spki->len, SPKI_MAX, 1);
    wc_ecc_free(&key);
    return n;
}

static int put_rsa(const struct keygen_call *c, struct buf *spki)
{
    static const byte exponent[] = {1, 0, 1};
    RsaKey key;
    int n = wc_InitRsaKey(&key, NULL);

    if (n != 0)
        return n;
    n = wc_RsaPublicKeyDecodeRaw(c->public, (word32)c->public_len, exponent, sizeof(exponent),
                                 &key);
    if (n == 0)
        n = wc_RsaKeyToPublicDer(&key, spki->p + spki->len, SPKI_MAX);
    wc_FreeRsaKey(&key);
    return n;
}

static int put_public(const struct keygen_call *c, struct buf *spki, struct err *err)
{
    int n = buf_reserve(spki, SPKI_MAX) != 0 ? MEMORY_E
            : is_ec(c->kind)                 ? put_ec(c, spki)
                                             : put_rsa(c, spki);

    if (n <= 0)
        return err_set(err, ERR_TLS, "token %s: gave a public key that cannot be read (code %d)",
                       c->call.token->name, n);
    spki->len += (size_t)n;
    return 0;
}

static int put_uri(const struct keygen_call *c, struct buf *out, struct err *err)
{
    const struct token *t = c->call.token;
    struct pkcs11_uri uri = {.id_len = sizeof(c->id)};

    if (t->label != NULL)
        snprintf(uri.token, sizeof(uri.token), "%s", t->label);
    if (t->serial != NULL)
        snprintf(uri.serial, sizeof(uri.serial), "%s", t->serial);
    snprintf(uri.object, sizeof(uri.object), "%s", c->label);
    memcpy(uri.id, c->id, sizeof(c->id));
    if (pkcs11_uri_write(&uri, out) != 0 || buf_append_u8(out, '\n') != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    return 0;
}

static bool random_id(uint8_t *id)
{
    WC_RNG rng;
    bool good = wc_InitRng(&rng) == 0;

    if (good) {
        good = wc_RNG_GenerateBlock(&rng, id, ID_BYTES) == 0;
        wc_FreeRng(&rng);
    }
    return good;
}

int token_keygen(const char *name, enum key_kind kind, const char *label, struct buf *uri,
                 struct buf *spki, struct err *err)
{
    struct token *t = token_named(name, err);
    struct token_trouble trouble;
    struct keygen_call *c;
    int rc;

    if (t == NULL)
        return -err->code;
    if (!token_is_usable(t, &trouble))
        return closed(err, &trouble);
    c = calloc(1, sizeof(*c));
    if (c == NULL || !random_id(c->id)) {
        free(c);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    c->call = (struct token_call){.run = keygen_run, .free = keygen_free};
    c->kind = kind;
    snprintf(c->label, sizeof(c->label), "%s", label);
    if (!token_ask(t, &c->call, KEYGEN_MS, &trouble))
        return closed(err, &trouble);
    rc = c->trouble.what != NULL ? closed(err, &c->trouble) : put_public(c, spki, err);
    if (rc == 0)
        rc = put_uri(c, uri, err);
    keygen_free(&c->call);
    return rc;
}

/* -- signing --------------------------------------------------------------------------------- */

/* AlgorithmIdentifiers: RFC 5758, 3.2 (no parameters), and RFC 4055, 5 (NULL). */
static const uint8_t ecdsa_sha256[] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86,
                                       0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};
static const uint8_t ecdsa_sha384[] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86,
                                       0x48, 0xce, 0x3d, 0x04, 0x03, 0x03};
static const uint8_t rsa_sha256[] = {0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86,
                                     0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00};

static int sign_with(struct token_key *k, const void *data, size_t n, struct buf *algorithm,
                     struct buf *signature, struct err *err)
{
    byte digest[WC_SHA384_DIGEST_SIZE], encoded[ENCODED];
    struct token_trouble trouble;
    bool wide = !k->rsa && k->bytes > 32;
    word32 len = wide ? WC_SHA384_DIGEST_SIZE : WC_SHA256_DIGEST_SIZE;
    int rc = wide ? wc_Sha384Hash(data, (word32)n, digest) : wc_Sha256Hash(data, (word32)n, digest);

    if (rc != 0)
        return err_set(err, ERR_TLS, "the TLS library does not hash (code %d)", rc);
    if (k->rsa)
        len = wc_EncodeSignature(encoded, digest, len, SHA256h);
    if (!token_key_sign(k, k->rsa ? encoded : digest, len, signature, &trouble))
        return closed(err, &trouble);
    rc = k->rsa ? buf_append(algorithm, rsa_sha256, sizeof(rsa_sha256))
         : wide ? buf_append(algorithm, ecdsa_sha384, sizeof(ecdsa_sha384))
                : buf_append(algorithm, ecdsa_sha256, sizeof(ecdsa_sha256));
    return rc == 0 ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

/* The key that the URI names, when it is that of the public key.  Returns owned, or NULL. */
static struct token_key *key_for(const char *text, size_t n, const uint8_t *spki, size_t spki_len,
                                 struct err *err)
{
    struct pkcs11_uri uri;
    struct sig_key key;

    if (pkcs11_uri_read(text, n, &uri, err) != 0)
        return NULL;
    if (!sig_read_key(der_of(spki, spki_len), &key)) {
        err_set(err, ERR_SYNTAX, "the public key cannot be read");
        return NULL;
    }
    return token_key_new(&uri, key.key, key.family == FAMILY_RSA, err);
}

int token_sign(void *arg, const void *data, size_t n, struct buf *algorithm, struct buf *signature,
               struct err *err)
{
    const struct token_signer *signer = arg;
    struct token_key *k =
        key_for(signer->uri, signer->uri_len, signer->spki, signer->spki_len, err);
    int rc;

    if (k == NULL)
        return -err->code;
    rc = sign_with(k, data, n, algorithm, signature, err);
    token_key_unref(k);
    return rc;
}

/* -- ending ---------------------------------------------------------------------------------- */

struct destroy_call {
    struct token_call call;
    struct pkcs11_uri uri;
    struct token_trouble trouble;
};

static void destroy_free(struct token_call *call)
{
    free(list_entry(call, struct destroy_call, call));
}

/* Of the objects with this name the private and the public key; an identifier that names more than
 * one of a kind names nothing that is to be destroyed. */
static CK_RV destroy_in(struct token *t, const struct pkcs11_uri *uri, CK_SESSION_HANDLE session,
                        CK_ULONG *gone)
{
    static const CK_OBJECT_CLASS classes[] = {CKO_PRIVATE_KEY, CKO_PUBLIC_KEY};
    CK_OBJECT_HANDLE found[2];
    CK_RV rv = CKR_OK;

    for (size_t i = 0; i < 2 && rv == CKR_OK; i++) {
        CK_ULONG count = 0;

        rv = token_find_objects(t, session, classes[i], uri, found, &count);
        if (rv == CKR_OK && count == 1) {
            rv = t->f->C_DestroyObject(session, found[0]);
            *gone += rv == CKR_OK;
        }
    }
    return rv;
}

static void destroy_run(struct token_call *call)
{
    struct destroy_call *c = list_entry(call, struct destroy_call, call);
    struct token *t = call->token;
    CK_SESSION_HANDLE session;
    CK_ULONG gone = 0;
    CK_RV rv;

    if (session_open(t, &c->trouble)) {
        rv =
            t->f->C_OpenSession(t->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session);
        if (rv == CKR_OK) {
            rv = destroy_in(t, &c->uri, session, &gone);
            t->f->C_CloseSession(session);
        }
        if (rv != CKR_OK)
            session_failed(t, &c->trouble, "C_DestroyObject", rv);
        else if (gone == 0)
            trouble_set(&c->trouble, "no-key", "nothing is left to be done",
                        "token %s: there is no such key", t->name);
        t->epoch++; /* what is known of keys may be out of date */
    }
    token_note(t, false, 0, &c->trouble);
}

int token_destroy(const char *uri, size_t n, struct err *err)
{
    struct destroy_call *c = calloc(1, sizeof(*c));
    struct token_trouble trouble;
    struct token *t;
    int rc;

    if (c == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    c->call = (struct token_call){.run = destroy_run, .free = destroy_free};
    rc = pkcs11_uri_read(uri, n, &c->uri, err);
    t = rc != 0 ? NULL : token_for(&c->uri, err);
    if (t == NULL) {
        free(c);
        return rc != 0 ? rc : -err->code;
    }
    if (!token_is_usable(t, &trouble)) {
        free(c);
        return closed(err, &trouble);
    }
    if (!token_ask(t, &c->call, 0, &trouble))
        return closed(err, &trouble);
    rc = c->trouble.what == NULL ? 0 : closed(err, &c->trouble);
    destroy_free(&c->call);
    return rc;
}
