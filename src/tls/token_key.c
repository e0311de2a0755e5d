/* A key in a token, and how the library signs with it: by a crypto callback of ours, registered
 * once for all tokens.  The library hands over an identifier that it was given with the key, which
 * here is the address of our struct token_key.
 *
 * Every signature is verified before it goes out.  A peer could not tell a token that errs from an
 * identity that is wrong, and would be believed.
 */
#include "tls/token_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <wolfssl/wolfcrypt/cryptocb.h>
#include <wolfssl/wolfcrypt/rsa.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/str.h"

#define DEVICE_ID 0x63666c70 /* of the callback, among those of the process */
#define MAX_POINT (2 * 66 + 1)

struct signature {
    CK_MECHANISM_TYPE mechanism; /* CKM_ECDSA, CKM_RSA_X_509 */
    CK_BYTE in[TOKEN_BLOCK];
    CK_ULONG in_len;
    CK_BYTE out[TOKEN_BLOCK]; /* ECDSA: r and s, each as long as the order */
    CK_ULONG out_len;
};

static _Thread_local struct token_trouble last; /* of this thread's last signature */

/* "the key press-07 (id 0a0b)" */
static const char *key_text(const struct token_key *k, char out[160])
{
    char id[2 * PKCS11_URI_ID + 1];

    str_hex(id, k->uri.id, k->uri.id_len);
    snprintf(out, 160, "%.60s%s%.80s%s", k->uri.object,
             k->uri.object[0] == '\0' ? "id "
             : k->uri.id_len > 0      ? " (id "
                                      : "",
             id, k->uri.object[0] != '\0' && k->uri.id_len > 0 ? ")" : "");
    return out;
}

/* -- finding it (on the token's thread) ------------------------------------------------------ */

CK_RV token_find_objects(struct token *t, CK_SESSION_HANDLE session, CK_OBJECT_CLASS class,
                         const struct pkcs11_uri *uri, CK_OBJECT_HANDLE out[2], CK_ULONG *count)
{
    struct pkcs11_uri u = *uri; /* templates are not const */
    CK_ATTRIBUTE template[3] = {{CKA_CLASS, &class, sizeof(class)}};
    CK_ULONG n = 1;
    CK_RV rv;

    if (u.id_len > 0)
        template[n++] = (CK_ATTRIBUTE){CKA_ID, u.id, u.id_len};
    if (u.object[0] != '\0')
        template[n++] = (CK_ATTRIBUTE){CKA_LABEL, u.object, strlen(u.object)};
    rv = t->f->C_FindObjectsInit(session, template, n);
    if (rv != CKR_OK)
        return rv;
    rv = t->f->C_FindObjects(session, out, 2, count);
    t->f->C_FindObjectsFinal(session);
    return rv;
}

/* Returns the attribute's length, or -1 when it is not to be had. */
static long attribute(struct token *t, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, void *out,
                      size_t cap)
{
    CK_ATTRIBUTE a = {type, out, cap};

    if (t->f->C_GetAttributeValue(t->session, object, &a, 1) != CKR_OK ||
        a.ulValueLen == CK_UNAVAILABLE || a.ulValueLen > cap)
        return -1;
    return (long)a.ulValueLen;
}

static bool is_set(struct token *t, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, bool otherwise)
{
    CK_BBOOL value = CK_FALSE_;

    if (attribute(t, object, type, &value, sizeof(value)) != (long)sizeof(value))
        return otherwise;
    return value != CK_FALSE_;
}

/* The modulus of the certificate's key: RFC 8017, A.1.1. */
static struct der modulus_of(const struct token_key *k)
{
    struct der at = der_of(k->public, k->public_len), body, n = der_of(NULL, 0);

    if (!der_take(&at, DER_SEQUENCE, &body) || !der_take(&body, DER_INTEGER, &n))
        return der_of(NULL, 0);
    while (der_left(&n) > 0 && *n.p == 0)
        n.p++;
    return n;
}

/* 1: the public key in the token is the certificate's; 0: it is not; -1: it is not to be had. */
static int compare_rsa(struct token_key *k)
{
    CK_BYTE modulus[TOKEN_BLOCK];
    long n = attribute(k->token, k->handle, CKA_MODULUS, modulus, sizeof(modulus));
    struct der have = der_of(modulus, n < 0 ? 0 : (size_t)n);

    if (n <= 0)
        return -1;
    while (der_left(&have) > 0 && *have.p == 0)
        have.p++;
    return der_eq(have, modulus_of(k));
}

static int compare_ec(struct token_key *k)
{
    CK_BYTE point[MAX_POINT + 3];
    CK_OBJECT_HANDLE public[2];
    struct pkcs11_uri uri = k->uri;
    struct der at, body;
    CK_ULONG count = 0;
    long n = attribute(k->token, k->handle, CKA_ID, uri.id, sizeof(uri.id));

    if (n > 0) { /* what belongs together has the same CKA_ID; labels may differ */
        uri.id_len = (size_t)n;
        uri.object[0] = '\0';
    }
    n = attribute(k->token, k->handle, CKA_EC_POINT, point, sizeof(point)); /* some have it there */
    if (n <= 0 &&
        token_find_objects(k->token, k->token->session, CKO_PUBLIC_KEY, &uri, public, &count) ==
            CKR_OK &&
        count == 1)
        n = attribute(k->token, public[0], CKA_EC_POINT, point, sizeof(point));
    if (n <= 0)
        return -1;
    at = der_of(point, (size_t)n);
    if (der_take(&at, DER_OCTET_STRING, &body) && der_left(&at) == 0) /* as the standard has it */
        return der_is(body, k->public, k->public_len);
    return der_is(der_of(point, (size_t)n), k->public, k->public_len);
}

static bool mechanism_check(const struct token_key *k, struct token_trouble *out)
{
    const struct token *t = k->token;

    if (k->rsa ? t->can_rsa_raw || t->can_rsa_pkcs : t->can_ecdsa)
        return true;
    return trouble_set(out, "mechanism", "use another token, or a key of the other kind",
                       "token %s: does not sign with %s", t->name,
                       k->rsa ? "RSA (CKM_RSA_X_509)" : "ECDSA (CKM_ECDSA)");
}

static bool mismatch(const struct token_key *k, struct token_trouble *out)
{
    char name[160];

    return trouble_set(out, "mismatch",
                       "name the key that the certificate's request was made with (key.uri), or "
                       "install that key's certificate",
                       "token %s: the key %s does not belong to the certificate", k->token->name,
                       key_text(k, name));
}

static bool sign_and_verify(struct token_key *k, struct signature *s, struct token_trouble *out,
                            bool *again);

/* The public half is not in the token: a signature tells. */
static bool prove(struct token_key *k, struct token_trouble *out, bool *again)
{
    struct signature s = {.mechanism = CKM_ECDSA, .in_len = 32};

    memset(s.in, 0x5c, sizeof(s.in));
    if (k->rsa) { /* RFC 8017, 9.2, around bytes without a meaning */
        s.mechanism = CKM_RSA_X_509;
        s.in_len = k->bytes;
        memset(s.in, 0xff, k->bytes);
        s.in[0] = 0;
        s.in[1] = 1;
        s.in[k->bytes - 33] = 0;
    }
    return sign_and_verify(k, &s, out, again);
}

static bool look_at(struct token_key *k, CK_OBJECT_HANDLE object, struct token_trouble *out,
                    bool *again)
{
    struct token *t = k->token;
    CK_KEY_TYPE type = CK_UNAVAILABLE;
    char name[160];
    int same;

    k->handle = object;
    if (attribute(t, object, CKA_KEY_TYPE, &type, sizeof(type)) == (long)sizeof(type) &&
        type != (k->rsa ? CKK_RSA : CKK_EC))
        return mismatch(k, out);
    if (!is_set(t, object, CKA_SIGN, true))
        return trouble_set(out, "no-key", "make one that may (CKA_SIGN)",
                           "token %s: the key %s may not sign", t->name, key_text(k, name));
    k->always_authenticate = is_set(t, object, CKA_ALWAYS_AUTHENTICATE, false);
    if (!mechanism_check(k, out))
        return false;
    same = k->rsa ? compare_rsa(k) : compare_ec(k);
    if (same == 0)
        return mismatch(k, out);
    k->epoch = t->epoch;
    return same > 0 || prove(k, out, again);
}

/* In the open session.  What is not found may be a session's fault: `again` is set then. */
static bool find(struct token_key *k, struct token_trouble *out, bool *again)
{
    CK_OBJECT_HANDLE found[2];
    CK_ULONG count = 0;
    char name[160];
    CK_RV rv;

    if (k->epoch == k->token->epoch)
        return true;
    rv = token_find_objects(k->token, k->token->session, CKO_PRIVATE_KEY, &k->uri, found, &count);
    if (rv != CKR_OK) {
        *again = true;
        return session_failed(k->token, out, "C_FindObjects", rv);
    }
    if (count == 1) {
        bool good = look_at(k, found[0], out, again);

        if (!good)
            k->epoch = 0;
        return good;
    }
    *again = count == 0;
    return trouble_set(out, "no-key",
                       count == 0
                           ? "correct key.uri (pkcs11-tool --login --list-objects lists what "
                             "there is), or make the key anew"
                           : "tell them apart by id= in key.uri",
                       "token %s: there is %s key %s", k->token->name,
                       count == 0 ? "no" : "more than one", key_text(k, name));
}

/* -- signing (on the token's thread) --------------------------------------------------------- */

/* A block of RFC 8017, 9.2 without its padding: what CKM_RSA_PKCS pads itself. */
static bool unpad(struct signature *s)
{
    size_t at = 2;

    if (s->in_len < 11 || s->in[0] != 0 || s->in[1] != 1)
        return false;
    while (at < s->in_len && s->in[at] == 0xff)
        at++;
    if (at < 10 || at + 1 >= s->in_len || s->in[at] != 0)
        return false;
    at++;
    memmove(s->in, s->in + at, s->in_len - at);
    s->in_len -= at;
    return true;
}

static bool sign_once(struct token_key *k, struct signature *s, struct token_trouble *out,
                      bool *again)
{
    struct token *t = k->token;
    struct signature mine = *s;
    CK_MECHANISM mechanism = {mine.mechanism, NULL, 0};
    CK_RV rv;

    *again = false;
    if (k->rsa && !t->can_rsa_raw) {
        if (!unpad(&mine))
            return trouble_set(out, "mechanism",
                               "use an EC key, or tls_max = \"1.2\" where the server allows it",
                               "token %s: has no CKM_RSA_X_509, which RSA-PSS needs here", t->name);
        mechanism.mechanism = CKM_RSA_PKCS_;
    }
    rv = t->f->C_SignInit(t->session, &mechanism, k->handle);
    if (rv != CKR_OK) {
        *again = true;
        return session_failed(t, out, "C_SignInit", rv);
    }
    if (k->always_authenticate && !session_authenticate(t, out))
        return false;
    s->out_len = sizeof(s->out);
    rv = t->f->C_Sign(t->session, mine.in, mine.in_len, s->out, &s->out_len);
    if (rv == CKR_OK)
        return true;
    *again = true;
    return session_failed(t, out, "C_Sign", rv);
}

static bool verify_ec(const struct token_key *k, const struct signature *s)
{
    byte der[2 * 66 + 16];
    word32 n = sizeof(der);
    int curve = k->bytes == 32 ? ECC_SECP256R1 : k->bytes == 48 ? ECC_SECP384R1 : ECC_SECP521R1;
    word32 half = (word32)s->out_len / 2;
    ecc_key key;
    int good = 0;

    if (s->out_len != 2 * k->bytes || wc_ecc_init(&key) != 0)
        return false;
    if (wc_ecc_import_x963_ex(k->public, (word32)k->public_len, &key, curve) != 0 ||
        wc_ecc_rs_raw_to_sig(s->out, half, s->out + half, half, der, &n) != 0 ||
        wc_ecc_verify_hash(der, n, s->in, (word32)s->in_len, &good, &key) != 0)
        good = 0;
    wc_ecc_free(&key);
    return good == 1;
}

/* With the certificate's key, here.  Returns 0 or the library's code. */
static int rsa_public(const struct token_key *k, int type, const byte *in, word32 n, byte *out,
                      word32 *out_len)
{
    word32 at = 0;
    RsaKey key;
    int rc = wc_InitRsaKey(&key, NULL);

    if (rc != 0)
        return rc;
    rc = wc_RsaPublicKeyDecode(k->public, &at, &key, (word32)k->public_len);
    if (rc == 0)
        rc = wc_RsaFunction(in, n, out, out_len, type, &key, NULL);
    wc_FreeRsaKey(&key);
    return rc;
}

static bool verify_rsa(const struct token_key *k, const struct signature *s)
{
    byte block[TOKEN_BLOCK];
    word32 n = (word32)k->bytes;

    return s->out_len == k->bytes && s->in_len == k->bytes &&
           rsa_public(k, RSA_PUBLIC_DECRYPT, s->out, (word32)s->out_len, block, &n) == 0 &&
           n == k->bytes && memcmp(block, s->in, n) == 0;
}

static bool sign_and_verify(struct token_key *k, struct signature *s, struct token_trouble *out,
                            bool *again)
{
    if (!sign_once(k, s, out, again))
        return false;
    return (k->rsa ? verify_rsa(k, s) : verify_ec(k, s)) || mismatch(k, out);
}

/* A token that was taken out and put back has forgotten its sessions, and says so in as many ways
 * as there are modules: so whatever fails is tried once more in a new session.  Signs only when `s`
 * is there. */
static bool use(struct token_key *k, struct signature *s, struct token_trouble *out)
{
    struct token *t = k->token;
    bool fresh = !t->open;
    bool again = false;

    for (;;) {
        again = false;
        *out = (struct token_trouble){0};
        if (!session_open(t, out))
            return false;
        if (find(k, out, &again) && (s == NULL || sign_and_verify(k, s, out, &again)))
            return true;
        if (!again || fresh)
            return false;
        session_close(t);
        fresh = true;
    }
}

static bool use_counted(struct token_key *k, struct signature *s, struct token_trouble *out)
{
    int64_t from_us = clock_mono_us();
    bool good = use(k, s, out);

    token_note(k->token, s != NULL, clock_mono_us() - from_us, out);
    return good;
}

/* -- from other threads ---------------------------------------------------------------------- */

struct key_call {
    struct token_call call;
    struct token_key *key; /* referenced */
    bool signs;
    struct signature s;
    struct token_trouble trouble;
    bool good;
};

static void key_call_run(struct token_call *call)
{
    struct key_call *c = list_entry(call, struct key_call, call);

    c->good = use_counted(c->key, c->signs ? &c->s : NULL, &c->trouble);
}

static void key_call_free(struct token_call *call)
{
    struct key_call *c = list_entry(call, struct key_call, call);

    token_key_unref(c->key);
    free(c);
}

/* Ask its thread, and wait.  With the trouble when it is known to be in some. */
static bool ask(struct token_key *k, struct signature *s, struct token_trouble *out)
{
    struct key_call *c;
    bool good;

    if (!token_is_usable(k->token, out))
        return false;
    c = calloc(1, sizeof(*c));
    if (c == NULL)
        return trouble_set(out, "failed", "find what uses the memory", "out of memory");
    c->call = (struct token_call){.run = key_call_run, .free = key_call_free};
    c->key = token_key_ref(k);
    c->signs = s != NULL;
    if (s != NULL)
        c->s = *s;
    if (!token_ask(k->token, &c->call, 0, out))
        return false;
    good = c->good;
    *out = c->trouble;
    if (good && s != NULL)
        *s = c->s;
    key_call_free(&c->call);
    return good;
}

static bool sign(struct token_key *k, struct signature *s)
{
    last = (struct token_trouble){0};
    return token_is_mine(k->token) ? use_counted(k, s, &last) : ask(k, s, &last);
}

bool token_key_trouble(struct token_trouble *out)
{
    bool was = last.what != NULL;

    if (was)
        *out = last;
    last = (struct token_trouble){0};
    return was;
}

bool token_key_check(struct token_key *k, struct token_trouble *out)
{
    return ask(k, NULL, out);
}

/* -- the library's side ---------------------------------------------------------------------- */

static struct token_key *key_of(const byte *id, int len)
{
    struct token_key *k = NULL;

    if (len == (int)sizeof(k))
        memcpy(&k, id, sizeof(k));
    return k;
}

static int sign_ec(const byte *in, word32 n, byte *out, word32 *out_len, const ecc_key *key)
{
    struct token_key *k = key_of(key->id, key->idLen);
    struct signature s = {.mechanism = CKM_ECDSA, .in_len = n};
    word32 half;

    if (k == NULL)
        return CRYPTOCB_UNAVAILABLE;
    if (n > sizeof(s.in))
        return BUFFER_E;
    memcpy(s.in, in, n);
    if (s.in_len > k->bytes) /* longer than the order: its leftmost part (X9.62, 7.3) */
        s.in_len = k->bytes;
    if (!sign(k, &s))
        return WC_HW_E;
    half = (word32)s.out_len / 2;
    return wc_ecc_rs_raw_to_sig(s.out, half, s.out + half, half, out, out_len);
}

/* The library has padded; `in` and `out` may be the same. */
static int sign_rsa(const byte *in, word32 n, byte *out, word32 *out_len, const RsaKey *key)
{
    struct token_key *k = key_of(key->id, key->idLen);
    struct signature s = {.mechanism = CKM_RSA_X_509, .in_len = n};

    if (k == NULL)
        return CRYPTOCB_UNAVAILABLE;
    if (n > sizeof(s.in) || *out_len < k->bytes)
        return BUFFER_E;
    memcpy(s.in, in, n);
    if (!sign(k, &s))
        return WC_HW_E;
    memcpy(out, s.out, s.out_len);
    *out_len = (word32)s.out_len;
    return 0;
}

/* The library verifies what it has signed, too, with a key of which it knows nothing. */
static int on_rsa(const wc_CryptoInfo *info)
{
    const RsaKey *key = info->pk.rsa.key;
    const struct token_key *k = key_of(key->id, key->idLen);

    if (k == NULL)
        return CRYPTOCB_UNAVAILABLE;
    if (info->pk.rsa.type == RSA_PRIVATE_ENCRYPT)
        return sign_rsa(info->pk.rsa.in, info->pk.rsa.inLen, info->pk.rsa.out, info->pk.rsa.outLen,
                        key);
    if (info->pk.rsa.type == RSA_PUBLIC_DECRYPT)
        return rsa_public(k, RSA_PUBLIC_DECRYPT, info->pk.rsa.in, info->pk.rsa.inLen,
                          info->pk.rsa.out, info->pk.rsa.outLen);
    return CRYPTOCB_UNAVAILABLE;
}

static int on_crypto(int device, wc_CryptoInfo *info, void *ctx)
{
    (void)device;
    (void)ctx;
    if (info->algo_type != WC_ALGO_TYPE_PK)
        return CRYPTOCB_UNAVAILABLE;
    if (info->pk.type == WC_PK_TYPE_ECDSA_SIGN)
        return sign_ec(info->pk.eccsign.in, info->pk.eccsign.inlen, info->pk.eccsign.out,
                       info->pk.eccsign.outlen, info->pk.eccsign.key);
    if (info->pk.type == WC_PK_TYPE_RSA)
        return on_rsa(info);
#if LIBWOLFSSL_VERSION_HEX >= 0x05007000
    if (info->pk.type == WC_PK_TYPE_RSA_GET_SIZE) {
        const RsaKey *key = info->pk.rsa_get_size.key;
        const struct token_key *k = key_of(key->id, key->idLen);

        if (k != NULL)
            *info->pk.rsa_get_size.keySize = (int)k->bytes;
        return k == NULL ? CRYPTOCB_UNAVAILABLE : 0;
    }
#endif
    return CRYPTOCB_UNAVAILABLE;
}

int token_keys_init(struct err *err)
{
    if (wc_CryptoCb_RegisterDevice(DEVICE_ID, on_crypto, NULL) != 0)
        return err_set(err, ERR_TLS, "the TLS library takes no crypto callback");
    return 0;
}

int token_key_use(struct token_key *k, WOLFSSL *ssl)
{
    unsigned char id[sizeof(k)];

    memcpy(id, &k, sizeof(k));
    return wolfSSL_use_PrivateKey_Id(ssl, id, sizeof(id), DEVICE_ID) == WOLFSSL_SUCCESS ? 0
                                                                                        : MEMORY_E;
}

bool token_key_sign(struct token_key *k, const uint8_t *in, size_t n, struct buf *out,
                    struct token_trouble *trouble)
{
    struct signature s = {.mechanism = k->rsa ? CKM_RSA_X_509 : CKM_ECDSA};
    word32 half, len = TOKEN_BLOCK;

    s.in_len = k->rsa ? k->bytes : n < k->bytes ? n : k->bytes;
    if (k->rsa && n + 11 > k->bytes)
        return trouble_set(trouble, "mechanism", "use a larger key", "the key is too small");
    if (k->rsa) {
        memset(s.in, 0xff, k->bytes);
        s.in[0] = 0;
        s.in[1] = 1;
        s.in[k->bytes - n - 1] = 0;
        memcpy(s.in + k->bytes - n, in, n);
    } else {
        memcpy(s.in, in, s.in_len);
    }
    if (!ask(k, &s, trouble))
        return false;
    half = (word32)s.out_len / 2;
    if (buf_reserve(out, TOKEN_BLOCK) == 0 && k->rsa) {
        return buf_append(out, s.out, s.out_len) == 0;
    } else if (out->cap - out->len >= TOKEN_BLOCK &&
               wc_ecc_rs_raw_to_sig(s.out, half, s.out + half, half, out->p + out->len, &len) ==
                   0) {
        out->len += len;
        return true;
    }
    return trouble_set(trouble, "failed", "find what uses the memory", "out of memory");
}

/* -- life ------------------------------------------------------------------------------------ */

struct token_key *token_key_new(const struct pkcs11_uri *uri, struct der public, bool rsa,
                                struct err *err)
{
    struct token *t = token_for(uri, err);
    struct token_key *k;

    if (t == NULL)
        return NULL;
    k = calloc(1, sizeof(*k));
    if (k == NULL || (k->public = malloc(der_left(&public) + 1)) == NULL) {
        free(k);
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    atomic_init(&k->refs, 1);
    k->token = t;
    k->uri = *uri;
    k->rsa = rsa;
    k->public_len = der_left(&public);
    memcpy(k->public, public.p, k->public_len);
    if (rsa) {
        struct der n = modulus_of(k);

        k->bytes = der_left(&n);
    } else {
        k->bytes = k->public_len / 2;
    }
    if (k->bytes >= (rsa ? 64u : 32u) && k->bytes <= (rsa ? TOKEN_BLOCK : 66u))
        return k;
    token_key_unref(k);
    err_set(err, ERR_INVALID,
            "keys in a token are EC P-256, P-384, P-521 or RSA: the certificate is for another");
    return NULL;
}

struct token_key *token_key_ref(struct token_key *k)
{
    if (k != NULL)
        atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
    return k;
}

void token_key_unref(struct token_key *k)
{
    if (k == NULL || atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) != 1)
        return;
    free(k->public);
    free(k);
}

bool token_key_same(const struct token_key *a, const struct token_key *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return a->token == b->token && a->uri.id_len == b->uri.id_len &&
           memcmp(a->uri.id, b->uri.id, a->uri.id_len) == 0 &&
           strcmp(a->uri.object, b->uri.object) == 0;
}
