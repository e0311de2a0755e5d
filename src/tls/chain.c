#include "tls/chain.h"

#include <stdlib.h>
#include <string.h>

#include "tls/wolf.h"

/* RFC 8446, 4.2.7 */
#define GROUP_P256   23
#define GROUP_P384   24
#define GROUP_P521   25
#define GROUP_X25519 29
#define GROUP_X448   30

/* -- what is in a chain ------------------------------------------------------------------------ */

/* RFC 8446, 4.2.3; the older ones as RFC 5246, 7.4.1.4.1 has them: hash, then signature. */
static void sig_numbers(const char *sig_alg, uint16_t out[CHAIN_SIGS])
{
    static const struct {
        const char *name;
        uint16_t numbers[CHAIN_SIGS];
    } table[] = {
        {"md5WithRSAEncryption", {0x0101, 0}},
        {"sha1WithRSAEncryption", {0x0201, 0}},
        {"sha1WithRSA", {0x0201, 0}},
        {"sha224WithRSAEncryption", {0x0301, 0}},
        {"sha256WithRSAEncryption", {0x0401, 0}},
        {"sha384WithRSAEncryption", {0x0501, 0}},
        {"sha512WithRSAEncryption", {0x0601, 0}},
        {"ecdsa-with-SHA1", {0x0203, 0}},
        {"ecdsa-with-SHA224", {0x0303, 0}},
        {"ecdsa-with-SHA256", {0x0403, 0}},
        {"ecdsa-with-SHA384", {0x0503, 0}},
        {"ecdsa-with-SHA512", {0x0603, 0}},
        {"RSASSA-PSS with SHA256", {0x0804, 0x0809}},
        {"RSASSA-PSS with SHA384", {0x0805, 0x080a}},
        {"RSASSA-PSS with SHA512", {0x0806, 0x080b}},
        {"Ed25519", {0x0807, 0}},
        {"Ed448", {0x0808, 0}},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (strcmp(table[i].name, sig_alg) == 0)
            memcpy(out, table[i].numbers, sizeof(table[i].numbers));
}

static void read_key(struct chain *c, const char *key_alg)
{
    static const struct {
        const char *name;
        enum chain_key key;
        uint16_t curve;
    } table[] = {
        {"RSA", CHAIN_KEY_RSA, 0},
        {"EC P-256", CHAIN_KEY_EC, GROUP_P256},
        {"EC P-384", CHAIN_KEY_EC, GROUP_P384},
        {"EC P-521", CHAIN_KEY_EC, GROUP_P521},
        {"Ed25519", CHAIN_KEY_ED25519, 0},
    };

    c->key = CHAIN_KEY_OTHER;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (strcmp(table[i].name, key_alg) == 0) {
            c->key = table[i].key;
            c->curve = table[i].curve;
        }
}

static int read_cert(struct chain *c, struct slice der, struct err *err)
{
    struct cert_info *ci = cert_info_new(der.p, der.n, err);
    struct der issuer, subject;

    if (ci == NULL)
        return -err->code;
    if (!ci->is_self_issued) /* nobody looks at the signature of a root */
        sig_numbers(ci->sig_alg, c->sigs[c->sig_count++]);
    cert_info_free(ci);
    if (!cert_names(der.p, der.n, &issuer, &subject))
        return err_set(err, ERR_SYNTAX, "no certificate");
    if (buf_append(&c->names, subject.p, der_left(&subject)) != 0 ||
        buf_append(&c->names, issuer.p, der_left(&issuer)) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    return 0;
}

static int take_conditions(struct chain *c, const struct tls_server_chain *from, struct err *err)
{
    c->tls_max = from->tls_max < TLS_V13 ? from->tls_max : 0; /* 1.3: no condition */
    if (from->sni_glob != NULL) {
        c->glob = strdup(from->sni_glob);
        if (c->glob == NULL)
            return err_set(err, ERR_NOMEM, "out of memory");
        for (char *p = c->glob; *p != '\0'; p++)
            if (*p >= 'A' && *p <= 'Z')
                *p = (char)(*p | 0x20);
    }
    if (from->network_count == 0)
        return 0;
    c->networks = calloc(from->network_count, sizeof(*c->networks));
    if (c->networks == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    memcpy(c->networks, from->networks, from->network_count * sizeof(*c->networks));
    c->network_count = from->network_count;
    return 0;
}

int chain_init(struct chain *out, const struct tls_server_chain *from, struct err *err)
{
    const struct cert_info *leaf = cred_leaf(from->cred);
    struct slice certs[CHAIN_CERTS];
    size_t n = cred_chain(from->cred, certs, CHAIN_CERTS);
    char fp[CERT_FP_TEXT];
    int rc;

    *out = (struct chain){0};
    rc = take_conditions(out, from, err);
    if (rc != 0)
        return rc;
    str_hex(fp, leaf->fp, CERT_FP_BYTES);
    out->text = str_printf("%s (sha256 %.16s..)", leaf->subject, fp);
    if (out->text == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    read_key(out, leaf->key_alg);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = read_cert(out, certs[i], err);
    return rc;
}

void chain_fini(struct chain *c)
{
    free(c->glob);
    free(c->networks);
    free(c->text);
    buf_fini(&c->names);
}

/* -- who gets it ------------------------------------------------------------------------------- */

bool chain_unconditional(const struct chain *c)
{
    return c->glob == NULL && c->network_count == 0 && c->tls_max == 0;
}

bool chain_from(const struct chain *c, const struct sockaddr *peer)
{
    return c->network_count == 0 || subnet_has(c->networks, c->network_count, peer);
}

bool chain_considered(const struct chain *c, const struct hello *h, bool near, bool named)
{
    if (!near || (c->glob != NULL) != named)
        return false;
    if (h == NULL)
        return !named && c->tls_max == 0;
    if (c->tls_max != 0 && hello_version(h, HELLO_VERSION_NEW) > c->tls_max)
        return false;
    return !named || (h->name[0] != '\0' && str_glob(c->glob, h->name));
}

/* One of the numbers, which end with 0. */
static bool lists_any(struct slice run, const uint16_t *numbers)
{
    for (; *numbers != 0; numbers++)
        if (hello_lists(run, *numbers))
            return true;
    return false;
}

/* Is there a signature that this key can make and the client knows?  The library makes none by
 * SHA-1 in TLS 1.2. */
static bool can_sign(const struct chain *c, const struct hello *h, unsigned version)
{
    static const uint16_t rsa[] = {0x0401, 0x0501, 0x0601, 0x0804, 0x0805, 0x0806, 0};
    static const uint16_t ec[] = {0x0403, 0x0503, 0x0603, 0};
    static const uint16_t ed25519[] = {0x0807, 0};
    static const uint16_t rsa_13[] = {0x0804, 0x0805, 0x0806, 0};
    /* From 1.3 on a number stands for a curve, too. */
    const uint16_t ec_13[] = {c->curve == GROUP_P521   ? 0x0603
                              : c->curve == GROUP_P384 ? 0x0503
                                                       : 0x0403,
                              0};

    if (h->schemes.n == 0 || version < TLS_V12) /* RFC 5246, 7.4.1.4.1; RFC 8422, 5.10 */
        return c->key != CHAIN_KEY_ED25519;
    switch (c->key) {
    case CHAIN_KEY_RSA:
        return lists_any(h->schemes, version < TLS_V13 ? rsa : rsa_13);
    case CHAIN_KEY_EC:
        return lists_any(h->schemes, version < TLS_V13 ? ec : ec_13);
    case CHAIN_KEY_ED25519:
        return lists_any(h->schemes, ed25519);
    case CHAIN_KEY_OTHER:
        break;
    }
    return true;
}

/* RFC 8422, 5.1: up to 1.2 the groups bind the key exchange, and the curve of the server's key. */
static bool groups_fit(const struct chain *c, const struct hello *h)
{
    static const uint16_t any[] = {GROUP_X25519, GROUP_P256, GROUP_P384, GROUP_P521, GROUP_X448, 0};

    if (h->groups.n == 0)
        return true;
    return c->key == CHAIN_KEY_EC ? hello_lists(h->groups, c->curve) : lists_any(h->groups, any);
}

bool chain_usable(const struct chain *c, const struct hello *h, const struct chain_side *side)
{
    unsigned version = hello_version(h, side->max);
    bool signs = can_sign(c, h, version);
    bool ecdhe = signs && groups_fit(c, h);

    if (c->key == CHAIN_KEY_OTHER || version < side->min) /* the library will say so */
        return true;
    if (version == TLS_V13)
        return signs;
    for (size_t i = 0; i < side->suite_count; i++) {
        const struct chain_suite *s = &side->suites[i];

        if ((version < TLS_V12 && !s->old) || s->ecdsa != (c->key != CHAIN_KEY_RSA) ||
            (s->ecdhe && !ecdhe))
            continue;
        if (hello_lists(h->suites, s->id))
            return true;
    }
    return false;
}

/* RFC 8446, 4.2.4: is one of the CAs named? */
static bool has_authority(const struct chain *c, const struct hello *h)
{
    struct slice rest = h->authorities;
    struct der wanted, name, body;
    size_t count = 0;
    uint8_t tag;

    if (rest.n == 0)
        return true;
    for (; hello_authority(h, &rest, &wanted); count++) {
        struct der names = der_of(c->names.p, c->names.len);

        if (count == HELLO_NAMES_MAX)
            return true;
        while (der_any(&names, &tag, &body, &name))
            if (cert_name_begins(name, wanted, true))
                return true;
    }
    return false;
}

bool chain_verifiable(const struct chain *c, const struct hello *h)
{
    /* RFC 8446, 4.2.3: without the one, the other counts for both. */
    struct slice known = h->cert_schemes.n > 0 ? h->cert_schemes : h->schemes;

    for (size_t i = 0; known.n > 0 && i < c->sig_count; i++) {
        const uint16_t numbers[CHAIN_SIGS + 1] = {c->sigs[i][0], c->sigs[i][1], 0};

        if (!lists_any(known, numbers))
            return false;
    }
    return has_authority(c, h);
}
