/* tls/token.h - PKCS#11 tokens: an HSM, a smart card, a TPM through tpm2-pkcs11, SoftHSM.
 *
 * Modules and tokens are the process's, and so is their list.  Each token has a thread, begun with
 * the first thing that is asked of it, on which alone the module is called for it: access is
 * serialised, and a token that takes its time, or never answers, holds up nobody else.
 *
 * The PIN is read from its file whenever it is needed and wiped at once.  One that was refused is
 * not tried again until that file changes: tokens lock themselves after a few.
 */
#ifndef TLS_TOKEN_H
#define TLS_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "tls/key.h"

#define TOKEN_NAME_BYTES 129
#define TOKEN_TEXT_BYTES 400

struct token_conf {
    const char *name;     /* of ours, for messages */
    const char *module;   /* path of the shared object */
    const char *label;    /* CK_TOKEN_INFO.label without padding; NULL: any */
    const char *serial;   /* CK_TOKEN_INFO.serialNumber; NULL: any.  One of the two is there */
    const char *pin_file; /* NULL: the systemd credential NAME.pin */
    unsigned timeout_ms;  /* after which it counts as silent */
};

enum token_state {
    TOKEN_UNTRIED, /* nothing was asked of it yet */
    TOKEN_READY,
    TOKEN_ABSENT,    /* not in any slot of its module */
    TOKEN_NO_MODULE, /* its module cannot be loaded */
    TOKEN_NO_LOGIN,  /* the PIN is wrong, locked, or not to be read */
    TOKEN_FAILED,    /* it answers with something else */
    TOKEN_SILENT,    /* it has not answered for longer than timeout_ms, and is being waited for */
};

struct token_status {
    char name[TOKEN_NAME_BYTES];
    char label[33], serial[33]; /* as found in the token; "" while it was not */
    char model[33];
    enum token_state state;
    char text[TOKEN_TEXT_BYTES]; /* of the last trouble, with its remedy; "" */
    uint64_t operations;         /* signatures and key generations that were asked of it */
    uint64_t failures;           /* of these */
    uint64_t us_sum, us_max;     /* what they took; microseconds */
};

/* Take this list in place of the former one.  A token that is in both stays as it is; one that is
 * gone serves those that have a key of it until they let it go.  Nothing is opened yet.  Main
 * thread.  Returns 0 or -ERR_NOMEM, and then the former list stays. */
int tokens_configure(const struct token_conf *confs, size_t n, struct err *err);

/* The end: sessions are closed.  No connection and no credential with such a key is left.  A token
 * that does not answer is left to itself. */
void tokens_fini(void);

/* The configured tokens, in their order.  Any thread.  False at the end. */
bool tokens_status(size_t index, struct token_status *out);
const char *token_state_name(enum token_state state); /* "ready" */

/* Make a key in the token `name`, which it never leaves: `uri` gets the text of key.uri, `spki` the
 * SubjectPublicKeyInfo, both appended.  The key has this label and an identifier of its own. Blocks
 * for as long as the token takes, minutes for large RSA keys in some.  Any thread but main's.
 * Returns 0, -ERR_NOT_FOUND (no such token), -ERR_CLOSED (it is in trouble) or -ERR_NOMEM. */
int token_keygen(const char *name, enum key_kind kind, const char *label, struct buf *uri,
                 struct buf *spki, struct err *err);

/* A key in a token, as struct csr_signer wants it.  Borrowed. */
struct token_signer {
    const char *uri;
    size_t uri_len;
    const uint8_t *spki;
    size_t spki_len;
};

/* As key_sign; `arg` is a struct token_signer.  Blocks; any thread but a token's. */
int token_sign(void *arg, const void *data, size_t n, struct buf *algorithm, struct buf *signature,
               struct err *err);

/* Destroy a key that token_keygen made, both halves.  Blocks, bounded by the token's timeout_ms.
 * Returns 0, -ERR_NOT_FOUND (no such key or token), -ERR_CLOSED or another negative code. */
int token_destroy(const char *uri, size_t n, struct err *err);

#endif
