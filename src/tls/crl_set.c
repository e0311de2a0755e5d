/* Lists and the CAs that signed them become a set: files are read, certificates of intermediate CAs
 * among them are verified up to a CA that is trusted, then lists by all of these. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/durable.h"
#include "base/str.h"
#include "tls/crl_inside.h"
#include "tls/pem.h"
#include "tls/sig.h"

#define MAX_FILES  4096
#define MARK       "certflip-crl sha256="
#define EXT_BASIC  "\x55\x1d\x13"
#define EXT_USAGE  "\x55\x1d\x0f"
#define EXT_POINTS "\x55\x1d\x1f"

/* A CA that may sign lists. */
struct issuer {
    uint8_t name[CRL_HASH_BYTES];
    uint8_t parent[CRL_HASH_BYTES]; /* name of who issued its certificate */
    struct buf spki;                /* owned */
    bool signs_crls;
    bool beside; /* its certificate stood beside a list */
};

struct crl_set {
    atomic_uint refs;
    struct crl **crls; /* owned references, by issuer */
    size_t count;
    struct issuer *issuers; /* owned */
    size_t issuer_count;
};

/* What was read and is not verified yet. */
struct reading {
    struct crl_set *set;
    struct crl **crls; /* owned */
    bool *from_folder; /* owned, beside crls */
    size_t count;
    struct buf *certs; /* owned: of intermediate CAs, as DER */
    size_t cert_count;
    size_t found; /* in the present file */
    const char *path;
    bool folder, stored;
};

static void *grown(void *array, size_t count, size_t size)
{
    return (count & (count - 1)) != 0 ? array : realloc(array, (count == 0 ? 1 : 2 * count) * size);
}

/* -- CAs ----------------------------------------------------------------------------------------
 */

static bool is_ca(const struct cert_parts *p)
{
    struct der value, seq, flag;

    if (!cert_extension(p->extensions, EXT_BASIC, 3, &value))
        return false;
    return der_take(&value, DER_SEQUENCE, &seq) && der_take(&seq, DER_BOOLEAN, &flag) &&
           der_left(&flag) == 1 && *flag.p != 0;
}

/* RFC 5280, 4.2.1.3: bit 5 keyCertSign, bit 6 cRLSign.  Without the extension everything goes. */
static bool may(const struct cert_parts *p, unsigned bit)
{
    struct der value, bits;

    if (!cert_extension(p->extensions, EXT_USAGE, 3, &value))
        return true;
    return der_take(&value, DER_BIT_STRING, &bits) && der_left(&bits) >= 2 &&
           (bits.p[1] & 0x80u >> bit) != 0;
}

static int name_hash(struct der name, uint8_t out[CRL_HASH_BYTES])
{
    return wc_Sha256Hash(name.p, (word32)der_left(&name), out) == 0 ? 0 : -ERR_NOMEM;
}

bool crl_id_of(const uint8_t *der, size_t n, struct crl_id *out)
{
    struct cert_parts p;
    struct crl_id id = {0};

    if (!cert_parts(der, n, &p) || !crl_serial_of(p.serial, id.serial, &id.serial_len) ||
        name_hash(p.issuer, id.issuer) != 0)
        return false;
    *out = id;
    return true;
}

static int issuer_add(struct crl_set *s, struct der cert, struct err *err)
{
    struct issuer in = {0}, *list;
    struct cert_parts p;

    if (!cert_parts(cert.p, der_left(&cert), &p))
        return err_set(err, ERR_SYNTAX, "a CA's certificate cannot be read");
    list = grown(s->issuers, s->issuer_count, sizeof(*list));
    if (list == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    s->issuers = list;
    in.signs_crls = may(&p, 6);
    if (name_hash(p.subject, in.name) != 0 || name_hash(p.issuer, in.parent) != 0 ||
        buf_append(&in.spki, p.spki.p, der_left(&p.spki)) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    list[s->issuer_count++] = in;
    return 0;
}

static struct der spki_of(const struct issuer *in)
{
    return der_of(in->spki.p, in->spki.len);
}

/* Does a CA that is known already vouch for this one?  Its dates do not matter: what a CA has
 * revoked it does not take back by expiring. */
static bool is_vouched_for(const struct crl_set *s, const struct buf *cert)
{
    uint8_t name[CRL_HASH_BYTES];
    struct cert_parts p;

    if (!cert_parts(cert->p, cert->len, &p) || !is_ca(&p) || !may(&p, 5) ||
        name_hash(p.issuer, name) != 0)
        return false;
    for (size_t i = 0; i < s->issuer_count; i++)
        if (memcmp(s->issuers[i].name, name, sizeof(name)) == 0 &&
            sig_verify(p.alg, p.tbs, p.sig, spki_of(&s->issuers[i]), NULL) == 0)
            return true;
    return false;
}

/* Those of a chain may stand in any order, so it is gone through until nothing is added. */
static int intermediates_add(struct reading *r, struct err *err)
{
    bool again = true;
    int rc = 0;

    while (rc == 0 && again) {
        again = false;
        for (size_t i = 0; rc == 0 && i < r->cert_count; i++) {
            if (r->certs[i].len == 0 || !is_vouched_for(r->set, &r->certs[i]))
                continue;
            rc = issuer_add(r->set, der_of(r->certs[i].p, r->certs[i].len), err);
            if (rc == 0)
                r->set->issuers[r->set->issuer_count - 1].beside = true;
            buf_fini(&r->certs[i]);
            again = true;
        }
    }
    return rc;
}

int crl_set_verify(const struct crl_set *s, const struct crl *c, struct err *err)
{
    int rc = -ERR_NOT_FOUND;

    err_set(err, ERR_NOT_FOUND,
            "the CRL of %s is by a CA that is not known here: add the CA's certificate to the "
            "anchors, or, when it is an intermediate one, to the file of the CRL",
            c->issuer_text);
    for (size_t i = 0; i < s->issuer_count; i++) {
        const struct issuer *in = &s->issuers[i];
        struct err why = {0};

        if (memcmp(in->name, c->issuer, sizeof(in->name)) != 0)
            continue;
        if (!in->signs_crls)
            rc = err_set(err, ERR_DENIED,
                         "the CRL of %s: the key usage of this CA does not allow it to sign CRLs",
                         c->issuer_text);
        else if ((rc = sig_verify(c->alg, c->tbs, c->sig, spki_of(in), &why)) == 0)
            return 0;
        else
            err_set(err, (enum err_code)why.code,
                    "the CRL of %s: %s: get it from the CA itself again", c->issuer_text, why.msg);
    }
    return rc;
}

/* -- files ---------------------------------------------------------------------------------------
 */

/* Takes `c`. */
static int crl_add(struct reading *r, struct crl *c, struct err *err)
{
    struct crl **crls;
    bool *flags;

    if ((c->file = strdup(r->path)) == NULL ||
        (crls = grown(r->crls, r->count, sizeof(struct crl *))) == NULL)
        goto nomem;
    r->crls = crls;
    if ((flags = grown(r->from_folder, r->count, sizeof(bool))) == NULL)
        goto nomem;
    r->from_folder = flags;
    flags[r->count] = r->folder;
    crls[r->count++] = c;
    r->found++;
    return 0;
nomem:
    crl_unref(c);
    return err_set(err, ERR_NOMEM, "out of memory");
}

static int cert_add(struct reading *r, struct der der, struct err *err)
{
    struct cert_parts p;
    struct buf *certs;

    if (!cert_parts(der.p, der_left(&der), &p))
        return err_set(err, ERR_SYNTAX, "a certificate in it cannot be read: copy it again");
    certs = grown(r->certs, r->cert_count, sizeof(*certs));
    if (certs == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    r->certs = certs;
    certs[r->cert_count] = (struct buf){0};
    if (buf_append(&certs[r->cert_count], der.p, der_left(&der)) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    r->cert_count++;
    r->found++;
    return 0;
}

static int block_add(struct reading *r, const struct pem_block *b, struct err *err)
{
    struct buf der = {0};
    struct crl *c;
    int rc;

    if (!pem_is(b, "X509 CRL") && !pem_is(b, "CERTIFICATE"))
        return 0;
    rc = pem_decode(b, &der, err);
    if (rc == 0 && pem_is(b, "CERTIFICATE")) {
        rc = cert_add(r, der_of(der.p, der.len), err);
    } else if (rc == 0) {
        c = crl_new(der.p, der.len, err);
        rc = c == NULL ? -ERR_SYNTAX : crl_add(r, c, err);
    }
    buf_fini(&der);
    return rc;
}

static int text_add(struct reading *r, const struct buf *text, struct err *err)
{
    const char *at = (const char *)text->p, *end = at + text->len;
    struct pem_block b;
    struct crl *c;
    int rc = 0;

    if (text->len > 0 && text->p[0] == DER_SEQUENCE) {
        c = crl_new(text->p, text->len, err);
        return c == NULL ? -ERR_SYNTAX : crl_add(r, c, err);
    }
    while (text->len > 0 && (rc = pem_next(&at, end, &b, err)) > 0)
        if ((rc = block_add(r, &b, err)) != 0)
            return rc;
    if (rc == 0 && r->found == 0)
        rc = err_set(err, ERR_SYNTAX, "holds no CRL: is it the right file?");
    return rc;
}

static int digest_of(const uint8_t *p, size_t n, char hex[2 * CRL_HASH_BYTES + 1])
{
    uint8_t hash[CRL_HASH_BYTES];

    if (wc_Sha256Hash(p, (word32)n, hash) != 0)
        return -ERR_NOMEM;
    str_hex(hex, hash, sizeof(hash));
    return 0;
}

int crl_stored_text(const struct crl *over, const struct buf *text, struct buf *out)
{
    char number[2 * CRL_NUMBER_BYTES + 1] = "-", digest[2 * CRL_HASH_BYTES + 1];
    struct buf rest = {0};
    int rc;

    if (over != NULL && over->rank.numbered)
        str_hex(number, over->rank.number, CRL_NUMBER_BYTES);
    rc = buf_printf(&rest, " over=%s,%lld\n", number,
                    over == NULL ? 0 : (long long)over->rank.this_update_s);
    if (rc == 0)
        rc = buf_append(&rest, text->p, text->len);
    if (rc == 0)
        rc = digest_of(rest.p, rest.len, digest);
    if (rc == 0)
        rc = buf_printf(out, MARK "%s", digest);
    if (rc == 0)
        rc = buf_append(out, rest.p, rest.len);
    buf_fini(&rest);
    return rc;
}

/* The line of crl_stored_text: is the file as it was written? */
static int mark_check(const struct buf *text, struct err *err)
{
    size_t head = sizeof(MARK) - 1 + 2 * CRL_HASH_BYTES;
    char digest[2 * CRL_HASH_BYTES + 1];

    if (text->len < head || memcmp(text->p, MARK, sizeof(MARK) - 1) != 0 ||
        digest_of(text->p + head, text->len - head, digest) != 0 ||
        memcmp(text->p + sizeof(MARK) - 1, digest, 2 * CRL_HASH_BYTES) != 0)
        return err_set(err, ERR_INVALID,
                       "is not as certflip wrote it: remove it, then send the CA's latest list "
                       "(certflipctl crl update)");
    return 0;
}

/* What the list was forced over; the mark was checked. */
static void forced_read(struct crl *c, const struct buf *text)
{
    size_t head = sizeof(MARK) - 1 + 2 * CRL_HASH_BYTES;
    char line[2 * CRL_NUMBER_BYTES + 40], number[2 * CRL_NUMBER_BYTES + 1];
    long long this_update_s;

    snprintf(line, sizeof(line), "%.*s",
             (int)(text->len - head < sizeof(line) - 1 ? text->len - head : sizeof(line) - 1),
             (const char *)text->p + head);
    if (sscanf(line, " over=%40[0-9a-f-],%lld", number, &this_update_s) != 2 || this_update_s == 0)
        return;
    c->forced = true;
    c->rank.this_update_s = this_update_s;
    c->rank.numbered = strlen(number) == sizeof(number) - 1 &&
                       str_unhex(number, c->rank.number, CRL_NUMBER_BYTES) == 0;
}

void crl_stored_name(const struct crl *c, char out[2 * CRL_HASH_BYTES + 5])
{
    str_hex(out, c->scope, CRL_HASH_BYTES);
    memcpy(out + 2 * CRL_HASH_BYTES, ".pem", 5);
}

/* One that was changed since may be by another CA, and would be passed over. */
static int name_check(const struct crl *c, const char *path, struct err *err)
{
    const char *slash = strrchr(path, '/');
    char name[2 * CRL_HASH_BYTES + 5];

    crl_stored_name(c, name);
    if (strcmp(slash == NULL ? path : slash + 1, name) == 0)
        return 0;
    return err_set(err, ERR_INVALID,
                   "is not the list that its name says: remove it, then send the CA's latest list");
}

static int file_add(struct reading *r, const char *path, struct err *err)
{
    struct buf text = {0};
    size_t before = r->count;
    int rc = durable_read(path, CRL_FILE_BYTES, &text, err);

    if (rc != 0)
        return rc;
    r->path = path;
    r->found = 0;
    rc = r->stored ? mark_check(&text, err) : 0;
    if (rc == 0)
        rc = text.len == 0 ? err_set(err, ERR_SYNTAX, "is empty: put a CRL there")
                           : text_add(r, &text, err);
    for (size_t i = before; rc == 0 && r->stored && i < r->count; i++) {
        forced_read(r->crls[i], &text);
        rc = name_check(r->crls[i], path, err);
    }
    buf_fini(&text);
    return rc < 0 ? err_wrap(err, rc, "%s", path) : 0;
}

static int is_visible(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

static int folder_add(struct reading *r, const char *path, struct err *err)
{
    struct dirent **names = NULL;
    int n = scandir(path, &names, is_visible, alphasort);
    int rc = 0;

    if (n < 0)
        return err_errno(err, errno, "%s: cannot be listed", path);
    if (n > MAX_FILES)
        rc = err_set(err, ERR_TOO_BIG,
                     "%s: has %d files, at most %d are taken: is it the right "
                     "folder?",
                     path, n, MAX_FILES);
    r->folder = true;
    for (int i = 0; i < n; i++) {
        char *file = rc == 0 ? str_printf("%s/%s", path, names[i]->d_name) : NULL;

        if (rc == 0)
            rc = file == NULL ? err_set(err, ERR_NOMEM, "out of memory") : file_add(r, file, err);
        free(file);
        free(names[i]);
    }
    free(names);
    return rc;
}

static int path_add(struct reading *r, const char *path, struct err *err)
{
    struct stat st;

    r->folder = false;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return folder_add(r, path, err);
    return file_add(r, path, err);
}

static int stored_add(struct reading *r, const char *dir, struct err *err)
{
    struct stat st;

    if (dir == NULL || (stat(dir, &st) != 0 && (errno == ENOENT || errno == ENOTDIR)))
        return 0;
    r->stored = true;
    return folder_add(r, dir, err);
}

/* The first list of an issuer; s->count when there is none. */
static size_t first_of(const struct crl_set *s, const uint8_t issuer[CRL_HASH_BYTES])
{
    size_t low = 0, high = s->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (memcmp(s->crls[middle]->issuer, issuer, CRL_HASH_BYTES) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_by(const struct crl_set *s, size_t i, const uint8_t issuer[CRL_HASH_BYTES])
{
    return i < s->count && memcmp(s->crls[i]->issuer, issuer, CRL_HASH_BYTES) == 0;
}

bool crl_set_has_of(const struct crl_set *s, const uint8_t *ca, size_t n)
{
    uint8_t name[CRL_HASH_BYTES];
    struct cert_parts p;

    return cert_parts(ca, n, &p) && name_hash(p.subject, name) == 0 &&
           is_by(s, first_of(s, name), name);
}

static const struct crl_entry *listed(const struct crl_set *s, const struct crl_id *id)
{
    const struct crl_entry *e = NULL;

    for (size_t i = first_of(s, id->issuer); e == NULL && is_by(s, i, id->issuer); i++)
        e = crl_entry_of(s->crls[i], id->serial, id->serial_len);
    return e;
}

/* -- the set -------------------------------------------------------------------------------------
 */

/* Takes `c`, unless a newer one of its scope is there. */
static int keep(struct crl_set *s, struct crl *c, struct err *err)
{
    struct crl **crls;

    for (size_t i = 0; i < s->count; i++) {
        if (!crl_same_scope(s->crls[i], c))
            continue;
        if (crl_compare(s->crls[i], c) < 0) {
            crl_unref(s->crls[i]);
            s->crls[i] = c;
        } else {
            crl_unref(c);
        }
        return 0;
    }
    crls = grown(s->crls, s->count, sizeof(struct crl *));
    if (crls == NULL) {
        crl_unref(c);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    s->crls = crls;
    crls[s->count++] = c;
    return 0;
}

static int verify_all(struct reading *r, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < r->count; i++) {
        struct crl *c = r->crls[i];

        rc = crl_set_verify(r->set, c, err);
        if (rc == -ERR_NOT_FOUND && r->from_folder[i]) {
            rc = 0;
            continue;
        }
        if (rc != 0)
            return err_wrap(err, rc, "%s", c->file);
        r->crls[i] = NULL;
        crl_trim(c);
        rc = keep(r->set, c, err);
    }
    return rc;
}

static int by_issuer(const void *left, const void *right)
{
    const struct crl *const *a = left, *const *b = right;

    return memcmp((*a)->issuer, (*b)->issuer, CRL_HASH_BYTES);
}

static void reading_fini(struct reading *r)
{
    for (size_t i = 0; i < r->count; i++)
        crl_unref(r->crls[i]);
    for (size_t i = 0; i < r->cert_count; i++)
        buf_fini(&r->certs[i]);
    free(r->crls);
    free(r->from_folder);
    free(r->certs);
}

static int read_all(struct reading *r, const struct crl_args *args, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < args->anchor_count; i++)
        rc = issuer_add(r->set, der_of(args->anchors[i]->der, args->anchors[i]->der_len), err);
    for (size_t i = 0; rc == 0 && i < args->helper_count; i++)
        rc = cert_add(r, der_of(args->helpers[i]->der, args->helpers[i]->der_len), err);
    for (size_t i = 0; rc == 0 && i < args->path_count; i++)
        rc = path_add(r, args->paths[i], err);
    if (rc == 0)
        rc = stored_add(r, args->stored_dir, err);
    if (rc == 0)
        rc = intermediates_add(r, err);
    if (rc == 0)
        rc = verify_all(r, err);
    return rc;
}

struct crl_set *crl_set_new(const struct crl_args *args, struct err *err)
{
    struct crl_set *s = calloc(1, sizeof(*s));
    struct reading r = {.set = s};
    int rc;

    if (s == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    atomic_init(&s->refs, 1);
    rc = read_all(&r, args, err);
    reading_fini(&r);
    if (rc == 0 && s->count > 0)
        qsort(s->crls, s->count, sizeof(struct crl *), by_issuer);
    if (rc == 0)
        return s;
    crl_set_unref(s);
    return NULL;
}

struct crl_set *crl_set_ref(struct crl_set *s)
{
    if (s != NULL)
        atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void crl_set_unref(struct crl_set *s)
{
    if (s == NULL || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < s->count; i++)
        crl_unref(s->crls[i]);
    for (size_t i = 0; i < s->issuer_count; i++)
        buf_fini(&s->issuers[i].spki);
    free(s->crls);
    free(s->issuers);
    free(s);
}

size_t crl_set_count(const struct crl_set *s)
{
    return s->count;
}

const struct crl *crl_set_at(const struct crl_set *s, size_t i)
{
    return s->crls[i];
}

const struct crl *crl_set_like(const struct crl_set *s, const struct crl *c)
{
    for (size_t i = 0; i < s->count; i++)
        if (crl_same_scope(s->crls[i], c))
            return s->crls[i];
    return NULL;
}

/* -- looking up ----------------------------------------------------------------------------------
 */

bool crl_set_lists(const struct crl_set *s, const struct crl_id *id)
{
    return listed(s, id) != NULL;
}

static const struct issuer *issuer_named(const struct crl_set *s, const uint8_t *name)
{
    for (size_t i = 0; i < s->issuer_count; i++)
        if (memcmp(s->issuers[i].name, name, CRL_HASH_BYTES) == 0)
            return &s->issuers[i];
    return NULL;
}

/* Does `s` know the CA, or who is above it?  A certificate that stood beside the list may be gone
 * with it. */
static bool is_known(const struct crl_set *s, const struct crl_set *was, const uint8_t *name)
{
    for (size_t steps = 0; steps <= was->issuer_count; steps++) {
        const struct issuer *in;

        if (issuer_named(s, name) != NULL)
            return true;
        in = issuer_named(was, name);
        if (in == NULL || !in->beside)
            return false;
        name = in->parent;
    }
    return false;
}

const struct crl *crl_set_lost(const struct crl_set *s, const struct crl_set *was, size_t *at)
{
    while (*at < was->count) {
        const struct crl *c = was->crls[(*at)++];

        if (crl_set_like(s, c) == NULL && is_known(s, was, c->issuer) && access(c->file, F_OK) == 0)
            return c;
    }
    return NULL;
}

/* Does one of the certificate's distribution points carry a name of the list's? (RFC 5280, 6.3.3)
 */
static bool point_matches(const struct crl *c, struct der extensions)
{
    struct der value, seq, point, name, full, one, whole, theirs, theirs_whole;
    uint8_t tag;

    if (!cert_extension(extensions, EXT_POINTS, 3, &value) || !der_take(&value, DER_SEQUENCE, &seq))
        return false;
    while (der_take(&seq, DER_SEQUENCE, &point)) {
        if (!der_take(&point, 0xa0, &name) || !der_take(&name, 0xa0, &full))
            continue;
        while (der_any(&full, &tag, &one, &whole)) {
            struct der names = der_of(c->points.p, c->points.len);

            while (der_any(&names, &tag, &theirs, &theirs_whole))
                if (der_eq(whole, theirs_whole))
                    return true;
        }
    }
    return false;
}

static bool covers(const struct crl *c, const struct cert_parts *p, bool ca)
{
    if ((c->only_users && ca) || (c->only_cas && !ca))
        return false;
    return c->points.len == 0 || point_matches(c, p->extensions);
}

static void say_why(const struct crl_entry *e, char *why, size_t n)
{
    char when[32];

    if (why != NULL)
        snprintf(why, n, "%s, %s", crl_reason_text(e->reason),
                 clock_text(e->revoked_s, when, sizeof(when)));
}

enum crl_verdict crl_set_judge(const struct crl_set *s, const uint8_t *der, size_t n, int64_t now_s,
                               char *why, size_t why_bytes)
{
    enum crl_verdict best = CRL_SAYS_NOTHING;
    const struct crl_entry *e;
    struct cert_parts p;
    struct crl_id id;
    bool ca;

    if (!cert_parts(der, n, &p) || !crl_id_of(der, n, &id))
        return CRL_SAYS_NOTHING;
    e = listed(s, &id);
    if (e != NULL) {
        say_why(e, why, why_bytes);
        return CRL_SAYS_REVOKED;
    }
    ca = is_ca(&p);
    for (size_t i = first_of(s, id.issuer); is_by(s, i, id.issuer); i++) {
        const struct crl *c = s->crls[i];

        if (!covers(c, &p, ca))
            continue;
        if (c->next_update_s == 0 || now_s <= c->next_update_s)
            return CRL_SAYS_GOOD;
        best = CRL_SAYS_STALE;
    }
    return best;
}
