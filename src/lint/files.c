#include "lint/files.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/durable.h"
#include "tls/verify.h"

#define FILE_BYTES ((size_t)4 << 20)

/* Where a certificate ends, while the buffer of all may still move. */
struct pile {
    struct lint_files *files;
    size_t ends[LINT_CHAIN_MAX];
};

static int pile_add(void *arg, const uint8_t *der, size_t n, struct err *err)
{
    struct pile *pile = arg;
    struct lint_files *f = pile->files;

    if (f->count == LINT_CHAIN_MAX)
        return err_set(err, ERR_TOO_BIG,
                       "holds more than %d certificates: keep the leaf and its issuers",
                       LINT_CHAIN_MAX);
    if (buf_append(&f->ders, der, n) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    pile->ends[f->count++] = f->ders.len;
    return 0;
}

static bool is_der(const struct buf *text)
{
    return text->len > 0 && text->p[0] == 0x30;
}

/* One certificate or several, one behind the other.  What is cut off is one that cannot be read. */
static int der_each(const struct buf *text,
                    int (*each)(void *arg, const uint8_t *der, size_t n, struct err *err),
                    void *arg, struct err *err)
{
    size_t at = 0;
    int count = 0;

    while (at < text->len) {
        size_t n = cert_der_length(text->p + at, text->len - at);
        int rc = each(arg, text->p + at, n, err);

        if (rc < 0)
            return rc;
        at += n;
        count++;
    }
    return count;
}

/* Call `each` for the certificates of a file.  Returns how many there were, or a negative code. */
static int each_of(const char *path, const struct buf *text,
                   int (*each)(void *arg, const uint8_t *der, size_t n, struct err *err), void *arg,
                   struct err *err)
{
    int rc = is_der(text) ? der_each(text, each, arg, err)
                          : cert_pem_each((const char *)text->p, text->len, each, arg, err);

    return rc < 0 ? err_wrap(err, rc, "%s", path) : rc;
}

static int read_certs(struct pile *pile, const char *path, struct err *err)
{
    struct lint_files *f = pile->files;
    struct buf text = {0};
    int rc = durable_read(path, FILE_BYTES, &text, err);

    if (rc != 0)
        return rc;
    rc = each_of(path, &text, pile_add, pile, err);
    if (rc == 0)
        rc = err_set(err, ERR_SYNTAX,
                     "%s: holds no certificate: give a file with the certificate and its issuers, "
                     "as PEM",
                     path);
    else if (rc > 0 && !is_der(&text))
        rc = cert_pem_key((const char *)text.p, text.len, &f->key, err);
    if (rc == -ERR_INVALID) /* a key that is encrypted is not judged, the certificates are */
        rc = 0;
    buf_fini_wipe(&text);
    return rc < 0 ? rc : 0;
}

static int read_key(struct lint_files *f, const char *path, struct err *err)
{
    struct buf text = {0};
    int rc = durable_read(path, FILE_BYTES, &text, err);

    if (rc != 0)
        return rc;
    buf_fini_wipe(&f->key);
    if (is_der(&text)) {
        f->key = text;
        return 0;
    }
    rc = cert_pem_key((const char *)text.p, text.len, &f->key, err);
    if (rc < 0)
        rc = err_wrap(err, rc, "%s", path);
    else if (rc == 0)
        rc = err_set(err, ERR_SYNTAX, "%s: holds no private key: give the file of the key", path);
    buf_fini_wipe(&text);
    return rc < 0 ? rc : 0;
}

static bool is_there(const char *path)
{
    struct stat st;

    return path != NULL && stat(path, &st) == 0;
}

/* A folder as a slot of a device has it. */
static int read_folder(struct pile *pile, const char *path, bool wants_key, struct err *err)
{
    char *chain = str_printf("%s/chain.pem", path), *cert = str_printf("%s/cert.pem", path);
    char *key = str_printf("%s/key.pem", path);
    int rc;

    if (chain == NULL || cert == NULL || key == NULL)
        rc = err_set(err, ERR_NOMEM, "out of memory");
    else
        rc = read_certs(pile, is_there(cert) && !is_there(chain) ? cert : chain, err);
    if (rc == 0 && wants_key && is_there(key))
        rc = read_key(pile->files, key, err);
    free(chain);
    free(cert);
    free(key);
    return rc == -ERR_INVALID ? 0 : rc; /* an encrypted key */
}

static size_t leaf_of(const struct lint_files *f)
{
    struct slice key = {f->key.p, f->key.len};

    for (size_t i = 0; f->key.len > 0 && i < f->count; i++)
        if (verify_key(f->chain[i], key) == VERIFY_GOOD)
            return i;
    for (size_t i = 0; i < f->count; i++) {
        bool issuer = false;

        for (size_t k = 0; k < f->count; k++)
            issuer |=
                k != i && cert_is_named(f->chain[i].p, f->chain[i].n, f->chain[k].p, f->chain[k].n);
        if (!issuer)
            return i;
    }
    return 0;
}

int lint_files_read(const char *path, const char *key_path, struct lint_files *out, struct err *err)
{
    struct lint_files f = {.count = 0};
    struct pile pile = {.files = &f};
    struct stat st;
    int rc;

    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        rc = read_folder(&pile, path, key_path == NULL, err);
    else
        rc = read_certs(&pile, path, err);
    if (rc == 0 && key_path != NULL)
        rc = read_key(&f, key_path, err);
    if (rc != 0) {
        lint_files_fini(&f);
        return rc;
    }
    for (size_t i = 0; i < f.count; i++) {
        size_t from = i == 0 ? 0 : pile.ends[i - 1];

        f.chain[i] = (struct slice){f.ders.p + from, pile.ends[i] - from};
    }
    *out = f;
    if (f.count > 0) {
        size_t leaf = leaf_of(out);

        out->chain[0] = f.chain[leaf];
        out->chain[leaf] = f.chain[0];
    }
    return 0;
}

void lint_files_fini(struct lint_files *f)
{
    buf_fini(&f->ders);
    buf_fini_wipe(&f->key);
    *f = (struct lint_files){.count = 0};
}

/* -- anchors -- */

static int anchor_add(void *arg, const uint8_t *der, size_t n, struct err *err)
{
    return lint_anchors_add(arg, der, n, err);
}

struct lint_anchors *lint_anchors_read(const char *const *paths, size_t count, struct err *err)
{
    struct lint_anchors *a = lint_anchors_new();
    int rc = a == NULL ? err_set(err, ERR_NOMEM, "out of memory") : 0;

    for (size_t i = 0; rc >= 0 && i < count; i++) {
        struct buf text = {0};

        rc = durable_read(paths[i], FILE_BYTES, &text, err);
        if (rc == 0)
            rc = each_of(paths[i], &text, anchor_add, a, err);
        if (rc == 0)
            rc = err_set(err, ERR_SYNTAX, "%s: holds no certificate: give the file of a CA, as PEM",
                         paths[i]);
        buf_fini_wipe(&text);
    }
    if (rc >= 0)
        return a;
    lint_anchors_free(a);
    return NULL;
}
