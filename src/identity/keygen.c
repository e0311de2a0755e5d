#include "identity/keygen.h"

#include <assert.h>
#include <stdlib.h>

#include "conf/template.h"
#include "tls/csr.h"
#include "tls/keyring.h"
#include "tls/token.h"

static_assert((int)CONF_KEY_EC_P256 == (int)KEY_EC_P256, "kinds differ");
static_assert((int)CONF_KEY_EC_P384 == (int)KEY_EC_P384, "kinds differ");
static_assert((int)CONF_KEY_RSA_2048 == (int)KEY_RSA_2048, "kinds differ");
static_assert((int)CONF_KEY_RSA_3072 == (int)KEY_RSA_3072, "kinds differ");
static_assert((int)CONF_KEY_RSA_4096 == (int)KEY_RSA_4096, "kinds differ");

#define PLACES (TEMPLATE_BIT(TEMPLATE_DEVICE) | TEMPLATE_BIT(TEMPLATE_GATEWAY))

/* The template for this device.  Returns owned, or NULL with err. */
static char *fill(const struct conf *conf, const char *device, const char *template,
                  struct err *err)
{
    struct buf text = {0};

    if (template_check(template, PLACES, err) != 0)
        return NULL;
    if (template_fill(template, device, conf->gateway, &text) == 0 && buf_append_u8(&text, 0) == 0)
        return (char *)text.p;
    buf_fini(&text);
    err_set(err, ERR_NOMEM, "out of memory");
    return NULL;
}

int keygen_terms(const struct conf *conf, const char *device, const char *subject,
                 const char *const *sans, size_t san_count, struct keygen_terms *out,
                 struct err *err)
{
    struct keygen_terms *t = calloc(1, sizeof(*t));
    struct err why = {0};
    char *text;
    int rc = 0;

    if (t == NULL)
        return err_set(err, ERR_NOMEM, "device %s: out of memory", device);
    if (sans == NULL) {
        sans = (const char *const *)conf->keygen.sans;
        san_count = conf->keygen.san_count;
    }
    if (san_count > KEYGEN_SANS_MAX)
        rc = err_set(&why, ERR_TOO_BIG, "sans: at most %d are allowed", KEYGEN_SANS_MAX);
    text =
        rc != 0 ? NULL : fill(conf, device, subject == NULL ? conf->keygen.subject : subject, &why);
    if (text == NULL || dn_parse(text, &t->subject, &why) != 0)
        rc = rc != 0 ? rc : err_wrap(&why, -why.code, "subject");
    free(text);
    for (size_t i = 0; rc == 0 && i < san_count; i++) {
        text = fill(conf, device, sans[i], &why);
        if (text == NULL || san_parse(text, &t->sans[t->san_count++], &why) != 0)
            rc = err_wrap(&why, -why.code, "sans");
        free(text);
    }
    if (rc == 0 && t->subject.count == 0 && t->san_count == 0)
        rc = err_set(&why, ERR_INVALID, "neither subject nor sans names the device");
    if (rc == 0) {
        *out = *t;
    } else {
        keygen_terms_fini(t);
        if (err != NULL)
            *err = why;
        err_wrap(err, rc, "device %s", device);
    }
    free(t);
    return rc;
}

void keygen_terms_fini(struct keygen_terms *t)
{
    dn_fini(&t->subject);
    t->san_count = 0;
}

enum key_kind keygen_kind(const struct conf *conf)
{
    return (enum key_kind)conf->keygen.key;
}

int keygen_make(enum key_kind kind, const struct keygen_terms *terms, struct buf *key,
                struct buf *csr, struct err *err)
{
    const struct csr_terms asked = {&terms->subject, terms->sans, terms->san_count};
    struct buf pkcs8 = {0};
    int rc = key_make(kind, &pkcs8, err);

    if (rc == 0)
        rc = csr_make_pem(&asked, pkcs8.p, pkcs8.len, csr, err);
    if (rc == 0)
        rc = keyring_put_pem(pkcs8.p, pkcs8.len, key, err);
    buf_fini_wipe(&pkcs8);
    return rc;
}

int keygen_make_in_token(enum key_kind kind, const char *token, const char *device,
                         const struct keygen_terms *terms, struct buf *key, struct buf *csr,
                         struct err *err)
{
    const struct csr_terms asked = {&terms->subject, terms->sans, terms->san_count};
    struct buf spki = {0}, der = {0};
    struct token_signer with;
    struct err ignored = {0};
    struct csr_signer signer = {.sign = token_sign, .arg = &with};
    int rc = token_keygen(token, kind, device, key, &spki, err);

    if (rc != 0) {
        buf_fini(&spki);
        return rc;
    }
    with = (struct token_signer){(const char *)key->p, key->len, spki.p, spki.len};
    signer.spki = spki.p;
    signer.spki_len = spki.len;
    rc = csr_make(&asked, &signer, &der, err);
    if (rc == 0)
        rc = csr_pem(der.p, der.len, csr) == 0 ? 0 : err_set(err, ERR_NOMEM, "out of memory");
    if (rc != 0)
        (void)token_destroy((const char *)key->p, key->len, &ignored);
    buf_fini(&spki);
    buf_fini(&der);
    return rc;
}

const char *keygen_csr_kind(const struct buf *csr)
{
    /* Bytes of a SubjectPublicKeyInfo: of a point of that curve, or of a modulus of that size with
     * the exponent 65537. */
    static const size_t sizes[KEY_KINDS] = {
        [KEY_EC_P256] = 91,   [KEY_EC_P384] = 120,  [KEY_RSA_2048] = 294,
        [KEY_RSA_3072] = 422, [KEY_RSA_4096] = 550,
    };
    const char *name = NULL;
    struct buf spki = {0};

    if (csr_public((const char *)csr->p, csr->len, &spki, NULL) == 0)
        for (unsigned i = 0; i < KEY_KINDS; i++)
            if (spki.len == sizes[i])
                name = key_kind_name((enum key_kind)i);
    buf_fini(&spki);
    return name;
}
