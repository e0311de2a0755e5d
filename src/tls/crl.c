#include "tls/crl_inside.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "tls/pem.h"

#define EXT_AKI         "\x55\x1d\x23"
#define EXT_NUMBER      "\x55\x1d\x14"
#define EXT_DELTA       "\x55\x1d\x1b"
#define EXT_POINT       "\x55\x1d\x1c"
#define EXT_REASON      "\x55\x1d\x15"
#define EXT_CERT_ISSUER "\x55\x1d\x1d"

static const char *const reasons[] = {
    "unspecified",   "keyCompromise",        "cACompromise",    "affiliationChanged",
    "superseded",    "cessationOfOperation", "certificateHold", "7",
    "removeFromCRL", "privilegeWithdrawn",   "aACompromise",
};

const char *crl_reason_text(unsigned reason)
{
    return reason < sizeof(reasons) / sizeof(reasons[0]) ? reasons[reason] : "unknown reason";
}

bool crl_serial_of(struct der integer, uint8_t out[CRL_SERIAL_BYTES], uint8_t *n)
{
    while (der_left(&integer) > 1 && *integer.p == 0)
        integer.p++;
    if (der_left(&integer) == 0 || der_left(&integer) > CRL_SERIAL_BYTES)
        return false;
    *n = (uint8_t)der_left(&integer);
    memset(out, 0, CRL_SERIAL_BYTES);
    memcpy(out, integer.p, *n);
    return true;
}

/* -- reading -------------------------------------------------------------------------------------
 */

/* A list in the order of RFC 5280, 5.1. */
struct fields {
    struct der issuer, revoked, extensions; /* issuer whole; the others empty when not there */
};

static int malformed(struct err *err, const char *what)
{
    return err_set(err, ERR_SYNTAX,
                   "is no CRL that can be read (%s): have it issued again, or "
                   "copy it again",
                   what);
}

/* One extension: its id, whether it is critical, and its value. */
static bool next_extension(struct der *exts, struct der *oid, bool *critical, struct der *value)
{
    struct der ext, flag;

    if (!der_take(exts, DER_SEQUENCE, &ext) || !der_take(&ext, DER_OID, oid))
        return false;
    *critical = der_take(&ext, DER_BOOLEAN, &flag) && der_left(&flag) == 1 && *flag.p != 0;
    return der_take(&ext, DER_OCTET_STRING, value) && der_left(&ext) == 0;
}

static bool is_time(const struct der *d)
{
    return der_left(d) > 0 && (*d->p == DER_UTC_TIME || *d->p == DER_GENERALIZED_TIME);
}

static int read_fields(struct crl *c, struct fields *f, struct err *err)
{
    struct der all = der_of(c->raw.p, c->raw.len), list, tbs, number, alg, body;
    unsigned version = 1;
    uint8_t tag;

    *f = (struct fields){0};
    if (!der_take(&all, DER_SEQUENCE, &list) || der_left(&all) != 0 ||
        !der_any(&list, &tag, &tbs, &c->tbs) || tag != DER_SEQUENCE ||
        !der_take(&list, DER_SEQUENCE, &c->alg) || !der_take(&list, DER_BIT_STRING, &c->sig) ||
        der_left(&list) != 0)
        return malformed(err, "its frame");
    if (der_take(&tbs, DER_INTEGER, &number)) {
        if (!der_is(number, "\x01", 1))
            return malformed(err, "its version");
        version = 2;
    }
    if (!der_take(&tbs, DER_SEQUENCE, &alg) || !der_eq(alg, c->alg))
        return malformed(err, "its algorithm");
    if (!der_any(&tbs, &tag, &body, &f->issuer) || tag != DER_SEQUENCE || der_left(&body) == 0)
        return malformed(err, "its issuer");
    if (!cert_time(&tbs, &c->own.this_update_s) ||
        (is_time(&tbs) && !cert_time(&tbs, &c->next_update_s)))
        return malformed(err, "its dates");
    if (!der_take(&tbs, DER_SEQUENCE, &f->revoked))
        f->revoked = der_of(NULL, 0);
    if (der_take(&tbs, 0xa0, &body) &&
        (version < 2 || !der_take(&body, DER_SEQUENCE, &f->extensions) || der_left(&body) != 0))
        return malformed(err, "its extensions");
    return der_left(&tbs) == 0 ? 0 : malformed(err, "what follows its entries");
}

static int read_number(struct crl *c, struct der value, struct err *err)
{
    struct der n;

    if (!der_take(&value, DER_INTEGER, &n) || der_left(&value) != 0)
        return malformed(err, "its number");
    while (der_left(&n) > 1 && *n.p == 0)
        n.p++;
    if (der_left(&n) == 0 || der_left(&n) > CRL_NUMBER_BYTES)
        return malformed(err, "its number");
    c->own.numbered = true;
    memcpy(c->own.number + CRL_NUMBER_BYTES - der_left(&n), n.p, der_left(&n));
    str_hex(c->number_text, n.p, der_left(&n));
    return 0;
}

static int unsupported(struct err *err, const char *what)
{
    return err_set(err, ERR_INVALID, "%s: have the CA issue a complete CRL of its own", what);
}

/* RFC 5280, 5.2.5.  The names of the distribution point are kept to compare with those that a
 * certificate names. */
static int read_point(struct crl *c, struct der value, struct err *err)
{
    struct der seq, part, full;
    uint8_t tag;

    if (!der_take(&value, DER_SEQUENCE, &seq) || der_left(&value) != 0)
        return malformed(err, "its distribution point");
    while (der_left(&seq) > 0) {
        bool on;

        if (!der_any(&seq, &tag, &part, NULL))
            return malformed(err, "its distribution point");
        on = der_left(&part) == 1 && *part.p != 0;
        if (tag == 0xa0) {
            if (!der_take(&part, 0xa0, &full) || der_left(&full) == 0)
                return unsupported(err, "its distribution point is named relative to its issuer");
            if (buf_append(&c->points, full.p, der_left(&full)) != 0)
                return err_set(err, ERR_NOMEM, "out of memory");
        } else if (tag == 0x81) {
            c->only_users = on;
        } else if (tag == 0x82) {
            c->only_cas = on;
        } else if (tag == 0x83) {
            return unsupported(err, "is for some reasons of revocation only");
        } else if (tag == 0x84 && on) {
            return unsupported(err, "is an indirect CRL, with certificates of other CAs");
        } else if (tag == 0x85 && on) {
            return unsupported(err, "is for attribute certificates only");
        } else if (tag != 0x84 && tag != 0x85) {
            return malformed(err, "its distribution point");
        }
    }
    return 0;
}

static int read_extensions(struct crl *c, struct der exts, struct der *key_id, struct der *point,
                           struct err *err)
{
    struct der oid, value, seq;
    bool critical;
    int rc = 0;

    while (rc == 0 && der_left(&exts) > 0) {
        if (!next_extension(&exts, &oid, &critical, &value))
            return malformed(err, "its extensions");
        if (der_is(oid, EXT_AKI, 3)) {
            if (!der_take(&value, DER_SEQUENCE, &seq))
                return malformed(err, "its authority key identifier");
            if (!der_take(&seq, 0x80, key_id))
                *key_id = der_of(NULL, 0);
        } else if (der_is(oid, EXT_NUMBER, 3)) {
            rc = read_number(c, value, err);
        } else if (der_is(oid, EXT_POINT, 3)) {
            *point = value;
            rc = read_point(c, value, err);
        } else if (der_is(oid, EXT_DELTA, 3)) {
            rc = unsupported(err, "is a delta CRL, which tells changes only");
        } else if (critical) {
            rc = unsupported(err, "has a critical extension that is not known here");
        }
    }
    return rc;
}

static int read_entry_extensions(struct crl_entry *e, struct der exts, struct err *err)
{
    struct der oid, value, reason;
    bool critical;

    while (der_left(&exts) > 0) {
        if (!next_extension(&exts, &oid, &critical, &value))
            return malformed(err, "the extensions of an entry");
        if (der_is(oid, EXT_REASON, 3)) {
            if (!der_take(&value, 0x0a, &reason) || der_left(&reason) != 1)
                return malformed(err, "the reason of an entry");
            e->reason = *reason.p;
        } else if (der_is(oid, EXT_CERT_ISSUER, 3)) {
            return unsupported(err, "is an indirect CRL, with certificates of other CAs");
        } else if (critical) {
            return unsupported(err,
                               "has an entry with a critical extension that is not known here");
        }
    }
    return 0;
}

static int read_entry(struct crl_entry *e, struct der entry, struct err *err)
{
    struct der serial, exts;

    memset(e, 0, sizeof(*e));
    if (!der_take(&entry, DER_INTEGER, &serial) ||
        !crl_serial_of(serial, e->serial, &e->serial_len) || !cert_time(&entry, &e->revoked_s))
        return malformed(err, "an entry");
    if (der_left(&entry) == 0)
        return 0;
    if (!der_take(&entry, DER_SEQUENCE, &exts) || der_left(&entry) != 0)
        return malformed(err, "an entry");
    return read_entry_extensions(e, exts, err);
}

static int serial_compare(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
    if (a_len != b_len)
        return a_len < b_len ? -1 : 1;
    return memcmp(a, b, a_len);
}

static int entry_compare(const void *left, const void *right)
{
    const struct crl_entry *a = left, *b = right;

    return serial_compare(a->serial, a->serial_len, b->serial, b->serial_len);
}

static int read_revoked(struct crl *c, struct der revoked, struct err *err)
{
    struct der at = revoked, entry;
    size_t n = 0;
    int rc = 0;

    while (der_left(&at) > 0) {
        if (!der_take(&at, DER_SEQUENCE, &entry))
            return malformed(err, "its entries");
        n++;
    }
    c->entries = n == 0 ? NULL : malloc(n * sizeof(*c->entries));
    if (n > 0 && c->entries == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    while (rc == 0 && der_take(&revoked, DER_SEQUENCE, &entry))
        rc = read_entry(&c->entries[c->count++], entry, err);
    if (rc == 0 && n > 0)
        qsort(c->entries, n, sizeof(*c->entries), entry_compare);
    return rc;
}

/* Whose statement it is, and about which certificates. */
static int scope_hash(struct crl *c, struct der issuer, struct der key_id, struct der point)
{
    struct buf all = {0};
    int rc = wc_Sha256Hash(issuer.p, (word32)der_left(&issuer), c->issuer);

    if (rc == 0)
        rc = wc_Sha256Hash(c->raw.p, (word32)c->raw.len, c->fp);
    if (rc == 0)
        rc = buf_printf(&all, "%zu %zu ", der_left(&key_id), der_left(&point));
    if (rc == 0)
        rc = buf_append(&all, c->issuer, sizeof(c->issuer));
    if (rc == 0 && der_left(&key_id) > 0)
        rc = buf_append(&all, key_id.p, der_left(&key_id));
    if (rc == 0 && der_left(&point) > 0)
        rc = buf_append(&all, point.p, der_left(&point));
    if (rc == 0)
        rc = wc_Sha256Hash(all.p, (word32)all.len, c->scope);
    buf_fini(&all);
    return rc == 0 ? 0 : -ERR_NOMEM;
}

static int fill(struct crl *c, struct err *err)
{
    struct der key_id = {0}, point = {0};
    struct fields f;
    int rc = read_fields(c, &f, err);

    if (rc != 0)
        return rc;
    if ((rc = read_extensions(c, f.extensions, &key_id, &point, err)) != 0 ||
        (rc = read_revoked(c, f.revoked, err)) != 0)
        return rc;
    c->issuer_text = cert_name_text(f.issuer);
    if (c->issuer_text == NULL)
        return malformed(err, "its issuer's name");
    c->rank = c->own;
    return scope_hash(c, f.issuer, key_id, point) == 0 ? 0
                                                       : err_set(err, ERR_NOMEM, "out of memory");
}

struct crl *crl_new(const uint8_t *der, size_t n, struct err *err)
{
    struct crl *c = calloc(1, sizeof(*c));

    if (c == NULL || n > UINT32_MAX || buf_append(&c->raw, der, n) != 0) {
        free(c);
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    atomic_init(&c->refs, 1);
    if (fill(c, err) == 0)
        return c;
    crl_unref(c);
    return NULL;
}

struct crl *crl_of_text(const uint8_t *text, size_t n, struct err *err)
{
    const char *at = (const char *)text, *end = at + n;
    struct crl *c = NULL;
    struct pem_block b;
    struct buf der = {0};
    int rc = 0;

    if (n > 0 && text[0] == DER_SEQUENCE)
        return crl_new(text, n, err);
    while (n > 0 && (rc = pem_next(&at, end, &b, err)) > 0) {
        if (!pem_is(&b, "X509 CRL"))
            continue;
        if (c != NULL) {
            rc = err_set(err, ERR_INVALID, "holds several CRLs: give them one by one");
            break;
        }
        if ((rc = pem_decode(&b, &der, err)) != 0)
            break;
        c = crl_new(der.p, der.len, err);
        if (c == NULL) {
            rc = -ERR_SYNTAX;
            break;
        }
    }
    buf_fini(&der);
    if (rc < 0) {
        crl_unref(c);
        return NULL;
    }
    if (c == NULL)
        err_set(err, ERR_SYNTAX, "holds no CRL: is it the right file?");
    return c;
}

/* -- sharing -------------------------------------------------------------------------------------
 */

void crl_trim(struct crl *c)
{
    buf_fini(&c->raw);
    c->tbs = c->alg = c->sig = (struct der){NULL, NULL};
}

struct crl *crl_ref(struct crl *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void crl_unref(struct crl *c)
{
    if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    buf_fini(&c->raw);
    buf_fini(&c->points);
    free(c->entries);
    free(c->issuer_text);
    free(c->file);
    free(c);
}

struct crl_facts crl_facts(const struct crl *c)
{
    struct crl_facts f = {
        .issuer = c->issuer_text,
        .number = c->number_text,
        .file = c->file == NULL ? "" : c->file,
        .this_update_s = c->own.this_update_s,
        .next_update_s = c->next_update_s,
        .entries = c->count,
    };

    memcpy(f.fp, c->fp, sizeof(f.fp));
    return f;
}

/* -- comparing -----------------------------------------------------------------------------------
 */

bool crl_same_scope(const struct crl *a, const struct crl *b)
{
    return memcmp(a->scope, b->scope, sizeof(a->scope)) == 0;
}

int crl_compare(const struct crl *a, const struct crl *b)
{
    int order;

    if (a->rank.numbered && b->rank.numbered) {
        order = memcmp(a->rank.number, b->rank.number, CRL_NUMBER_BYTES);
        if (order != 0)
            return order;
    }
    if (a->rank.this_update_s != b->rank.this_update_s)
        return a->rank.this_update_s < b->rank.this_update_s ? -1 : 1;
    return (int)a->forced - (int)b->forced;
}

const struct crl_entry *crl_entry_of(const struct crl *c, const uint8_t *serial, size_t n)
{
    size_t low = 0, high = c->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct crl_entry *e = &c->entries[middle];
        int order = serial_compare(serial, n, e->serial, e->serial_len);

        if (order == 0)
            return e;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
