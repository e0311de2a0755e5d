#include "tls/keyring.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/durable.h"
#include "tls/keyring_inside.h"
#include "tls/pkcs8.h"
#include "tls/wolf.h"

#define PHRASES_MAX 8
#define FILE_MAX    ((size_t)PHRASES_MAX * (PBE_PASSWORD_MAX + 2))
#define SALT_BYTES  16
#define SALT_MOST   64 /* of others; longer ones are derived each time */
#define CACHE_MAX   64

/* A key that was derived: all that it depends on, but for the initialisation vector. */
struct derived {
    bool used;
    unsigned phrase;
    bool pkcs12;
    enum pbe_cipher cipher;
    int hash;
    uint32_t iterations;
    uint8_t salt[SALT_MOST];
    size_t salt_n;
    uint8_t key[PBE_KEY_MAX];
};

struct phrases {
    char text[PHRASES_MAX][PBE_PASSWORD_MAX + 1];
    size_t n[PHRASES_MAX];
    unsigned count;
};

struct ring {
    struct phrases phrases;
    struct derived cache[CACHE_MAX];
    unsigned next; /* that is overwritten */
};

static struct {
    pthread_mutex_t
        lock;          /* guards the rest; held while a key is derived, so that it is done once */
    struct ring *ring; /* owned, of secret_alloc; NULL: no passphrase */
    bool encrypt;
    struct {
        bool kept;         /* there is something to go back to */
        bool differs;      /* `ring` is not the one of now */
        struct ring *ring; /* owned likewise */
        bool encrypt;
    } former; /* by the main thread alone */
    bool has_salt;
    uint8_t salt[SALT_BYTES];
} keyring = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* -- the file ---------------------------------------------------------------------------------- */

static int check_mode(const char *path, struct err *err)
{
    struct stat st;

    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) /* durable_read says why */
        return 0;
    if ((st.st_mode & (S_IRWXO | S_IWGRP)) != 0)
        return err_set(
            err, ERR_DENIED, "a passphrase with mode %03o: others may %s it: chmod 600 %s",
            (unsigned)(st.st_mode & 0777), (st.st_mode & S_IROTH) ? "read" : "change", path);
    return 0;
}

static int take_line(struct phrases *p, const char *line, size_t n, struct err *err)
{
    if (n > 0 && line[n - 1] == '\r')
        n--;
    if (n == 0)
        return 0;
    if (n > PBE_PASSWORD_MAX)
        return err_set(err, ERR_TOO_BIG, "a line has %zu bytes, a passphrase at most %d", n,
                       PBE_PASSWORD_MAX);
    if (p->count == PHRASES_MAX)
        return err_set(err, ERR_TOO_BIG, "holds more than %d passphrases, one for each line",
                       PHRASES_MAX);
    memcpy(p->text[p->count], line, n);
    p->n[p->count++] = n;
    return 0;
}

static int take_lines(struct phrases *p, const char *text, size_t n, struct err *err)
{
    const char *end = text + n;
    int rc = 0;

    while (text < end && rc == 0) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));

        if (stop == NULL)
            stop = end;
        rc = take_line(p, text, (size_t)(stop - text), err);
        text = stop + 1;
    }
    if (rc == 0 && p->count == 0)
        rc = err_set(err, ERR_SYNTAX, "holds no passphrase: put one there, on a line of its own");
    return rc;
}

static int read_phrases(const char *path, struct phrases *out, struct err *err)
{
    struct buf text = {0};
    int rc = check_mode(path, err);

    if (rc == 0) {
        rc = durable_read(path, FILE_MAX, &text, err);
        if (rc != 0)
            return rc; /* names the file */
        rc = text.len == 0 ? err_set(err, ERR_SYNTAX, "is empty: put the passphrase there")
                           : take_lines(out, (const char *)text.p, text.len, err);
    }
    buf_fini_wipe(&text);
    return rc == 0 ? 0 : err_wrap(err, rc, "%s", path);
}

/* Returns the one before, owned. */
static struct ring *ring_swap(struct ring *ring, bool encrypt)
{
    struct ring *before;

    pthread_mutex_lock(&keyring.lock);
    before = keyring.ring;
    keyring.ring = ring;
    keyring.encrypt = encrypt;
    pthread_mutex_unlock(&keyring.lock);
    return before;
}

void keyring_settle(void)
{
    secret_free(keyring.former.ring);
    keyring.former.ring = NULL;
    keyring.former.kept = keyring.former.differs = false;
}

bool keyring_differs(void)
{
    return keyring.former.differs;
}

void keyring_undo(void)
{
    struct ring *ring = keyring.former.differs ? keyring.former.ring : keyring.ring;

    if (!keyring.former.kept)
        return;
    keyring.former.ring = ring_swap(ring, keyring.former.encrypt);
    if (!keyring.former.differs)
        keyring.former.ring = NULL;
    keyring_settle();
}

/* For good. */
static void ring_set(struct ring *ring, bool encrypt)
{
    keyring_settle();
    secret_free(ring_swap(ring, encrypt));
}

/* Until it is settled. */
static void ring_try(struct ring *ring, bool encrypt)
{
    bool before = keyring_encrypts();

    keyring_settle();
    keyring.former.ring = ring_swap(ring, encrypt);
    keyring.former.encrypt = before;
    keyring.former.kept = keyring.former.differs = true;
}

/* What was derived of the same passphrases stays. */
static bool same_phrases(const struct ring *ring)
{
    return keyring.ring != NULL &&
           memcmp(&keyring.ring->phrases, &ring->phrases, sizeof(ring->phrases)) == 0;
}

int keyring_load(const char *path, bool encrypt, struct err *err)
{
    struct ring *ring = NULL;
    int rc;

    if (path == NULL && encrypt)
        return err_set(err, ERR_NOT_FOUND,
                       "keys are to be encrypted and there is no passphrase: set "
                       "keys.passphrase_file, or give the service the credential "
                       "certflip.passphrase");
    if (path != NULL) {
        ring = secret_alloc(sizeof(*ring));
        if (ring == NULL)
            return err_set(err, ERR_NOMEM, "out of memory");
        rc = read_phrases(path, &ring->phrases, err);
        if (rc != 0) {
            secret_free(ring);
            return rc;
        }
        if (same_phrases(ring)) {
            secret_free(ring);
            ring = keyring.ring;
        }
    }
    ring_try(ring, encrypt);
    if (keyring.former.ring == ring) {
        keyring.former.ring = NULL;
        keyring.former.differs = false;
    }
    return 0;
}

void keyring_without(bool encrypt)
{
    ring_set(NULL, encrypt);
}

void keyring_clear(void)
{
    ring_set(NULL, false);
    keyring.has_salt = false;
}

bool keyring_encrypts(void)
{
    bool yes;

    pthread_mutex_lock(&keyring.lock);
    yes = keyring.encrypt;
    pthread_mutex_unlock(&keyring.lock);
    return yes;
}

/* -- keys that are derived once ---------------------------------------------------------------- */

static bool is_of(const struct derived *d, const struct pbe *pbe, unsigned phrase)
{
    return d->used && d->phrase == phrase && d->pkcs12 == pbe->pkcs12 && d->cipher == pbe->cipher &&
           d->hash == pbe->hash && d->iterations == pbe->iterations &&
           der_is(pbe->salt, d->salt, d->salt_n);
}

/* With the lock.  The key of this passphrase, in `key`. */
static int derive(struct ring *ring, const struct pbe *pbe, unsigned phrase,
                  uint8_t key[PBE_KEY_MAX], struct err *err)
{
    struct derived *d;
    int rc;

    for (unsigned i = 0; i < CACHE_MAX; i++)
        if (is_of(&ring->cache[i], pbe, phrase)) {
            memcpy(key, ring->cache[i].key, PBE_KEY_MAX);
            return 0;
        }
    rc = pbe_derive(pbe, ring->phrases.text[phrase], ring->phrases.n[phrase], key, err);
    if (rc != 0 || der_left(&pbe->salt) > SALT_MOST)
        return rc;
    d = &ring->cache[ring->next++ % CACHE_MAX];
    *d = (struct derived){.used = true,
                          .phrase = phrase,
                          .pkcs12 = pbe->pkcs12,
                          .cipher = pbe->cipher,
                          .hash = pbe->hash,
                          .iterations = pbe->iterations,
                          .salt_n = der_left(&pbe->salt)};
    memcpy(d->salt, pbe->salt.p, d->salt_n);
    memcpy(d->key, key, PBE_KEY_MAX);
    return 0;
}

/* With the lock.  A salt of ours is used on. */
static void take_salt(const struct pbe *pbe)
{
    if (keyring.has_salt || pbe->pkcs12 || pbe->hash != WC_HASH_TYPE_SHA256 ||
        pbe->cipher != PBE_AES_256 || pbe->iterations != KEYRING_ITERATIONS ||
        der_left(&pbe->salt) != SALT_BYTES)
        return;
    memcpy(keyring.salt, pbe->salt.p, SALT_BYTES);
    keyring.has_salt = true;
}

static int open_under(struct ring *ring, const struct pbe *pbe, struct der data, unsigned phrase,
                      struct secret *out, struct err *err)
{
    uint8_t key[PBE_KEY_MAX];
    int rc = derive(ring, pbe, phrase, key, err);

    if (rc == 0)
        rc = pbe_open(pbe, key, data, out, err);
    explicit_bzero(key, sizeof(key));
    if (rc == 0 && !pkcs8_is_plausible(der_of(out->p, out->len))) {
        secret_fini(out);
        rc = -ERR_DENIED;
    }
    return rc;
}

int keyring_open(struct der whole, struct secret *out, bool *is_first, struct err *err)
{
    struct secret plain = {0};
    struct err tried = {
        0}; /* what is wrong under one passphrase is nothing where another one fits */
    struct der data;
    struct pbe pbe;
    int rc = pkcs8_encrypted_parts(whole, &pbe, &data, err);

    if (rc != 0)
        return rc;
    pthread_mutex_lock(&keyring.lock);
    if (keyring.ring == NULL) {
        pthread_mutex_unlock(&keyring.lock);
        return err_set(err, ERR_INVALID,
                       "is encrypted: store it without a passphrase (openssl pkey -in FILE -out "
                       "FILE), or give the passphrase (keys.passphrase_file)");
    }
    rc = -ERR_DENIED;
    for (unsigned i = 0; rc == -ERR_DENIED && i < keyring.ring->phrases.count; i++) {
        rc = open_under(keyring.ring, &pbe, data, i, &plain, &tried);
        *is_first = i == 0;
    }
    if (rc == 0)
        take_salt(&pbe);
    pthread_mutex_unlock(&keyring.lock);
    if (rc == -ERR_DENIED)
        return err_set(
            err, ERR_DENIED,
            "is encrypted under another passphrase than that of keys.passphrase_file, or "
            "damaged: add its passphrase there on a line of its own, or store the key "
            "anew");
    if (rc != 0)
        return err_set(err, (enum err_code) - rc, "%s", tried.msg);
    secret_fini(out);
    *out = plain;
    return 0;
}

/* -- writing ----------------------------------------------------------------------------------- */

static int put_armour(struct der der, int type, struct buf *pem, struct err *err)
{
    size_t room = der_left(&der) * 2 + 128;
    int n;

    if (buf_reserve_wipe(pem, room) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    n = wc_DerToPem(der.p, (word32)der_left(&der), pem->p + pem->len, (word32)room, type);
    if (n <= 0)
        return err_set(err, ERR_TLS, "the key cannot be written as PEM (code %d)", n);
    pem->len += (size_t)n;
    return 0;
}

static int no_random(struct err *err)
{
    return err_set(err, ERR_IO, "the system gives no random numbers: is /dev/urandom there?");
}

/* The key that all is written under, and its salt. */
static int writing_key(uint8_t key[PBE_KEY_MAX], uint8_t salt[SALT_BYTES], struct err *err)
{
    static const uint8_t no_iv[16];
    struct pbe pbe = {.cipher = PBE_AES_256,
                      .hash = WC_HASH_TYPE_SHA256,
                      .iterations = KEYRING_ITERATIONS,
                      .iv = der_of(no_iv, sizeof(no_iv))};
    int rc;

    pthread_mutex_lock(&keyring.lock);
    if (keyring.ring == NULL) {
        pthread_mutex_unlock(&keyring.lock);
        return err_set(err, ERR_NOT_FOUND,
                       "the key is to be encrypted and there is no passphrase: set "
                       "keys.passphrase_file, or give the service the credential "
                       "certflip.passphrase, then reload");
    }
    if (!keyring.has_salt)
        keyring.has_salt = getrandom(keyring.salt, SALT_BYTES, 0) == SALT_BYTES;
    memcpy(salt, keyring.salt, SALT_BYTES);
    pbe.salt = der_of(salt, SALT_BYTES);
    rc = keyring.has_salt ? derive(keyring.ring, &pbe, 0, key, err) : no_random(err);
    pthread_mutex_unlock(&keyring.lock);
    return rc;
}

static int put_encrypted(struct der pkcs8, struct buf *pem, struct err *err)
{
    uint8_t key[PBE_KEY_MAX], salt[SALT_BYTES], iv[16];
    struct buf sealed = {0}, body = {0}, whole = {0};
    int rc = writing_key(key, salt, err);

    if (rc != 0)
        return rc;
    rc = getrandom(iv, sizeof(iv), 0) == (ssize_t)sizeof(iv)
             ? pbe_seal(key, iv, pkcs8, &sealed, err)
             : no_random(err);
    explicit_bzero(key, sizeof(key));
    if (rc == 0) {
        if (pbe_put_pbes2(&body, der_of(salt, SALT_BYTES), KEYRING_ITERATIONS, iv) != 0 ||
            der_put(&body, DER_OCTET_STRING, sealed.p, sealed.len) != 0 ||
            der_put(&whole, DER_SEQUENCE, body.p, body.len) != 0)
            rc = err_set(err, ERR_NOMEM, "out of memory");
        else
            rc = put_armour(der_of(whole.p, whole.len), PKCS8_ENC_PRIVATEKEY_TYPE, pem, err);
    }
    buf_fini(&sealed);
    buf_fini(&body);
    buf_fini(&whole);
    return rc;
}

int keyring_put_pem(const uint8_t *pkcs8, size_t n, struct buf *pem, struct err *err)
{
    struct der key = der_of(pkcs8, n);

    return keyring_encrypts() ? put_encrypted(key, pem, err)
                              : put_armour(key, PKCS8_PRIVATEKEY_TYPE, pem, err);
}
