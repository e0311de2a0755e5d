/* tls/token_inside.h - tokens and their keys, as the files of this folder see them.  Private to it.
 */
#ifndef TLS_TOKEN_INSIDE_H
#define TLS_TOKEN_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "base/list.h"
#include "tls/cryptoki.h"
#include "tls/token.h"
#include "tls/uri.h"

#define TOKEN_BLOCK 1024 /* the largest signature: RSA of 8192 bits */

/* Whose fault it is, and what has to be done about it. */
struct token_trouble {
    const char *what; /* the end of a stable name: "absent"; static; NULL: none */
    char text[320];
    char remedy[200];
};

/* Something to be done on a token's thread. */
struct token_task {
    struct list link;
    void (*run)(struct token_task *task);  /* on that thread */
    void (*done)(struct token_task *task); /* there, under the token's lock: to hand it back */
    void (*drop)(struct token_task *task); /* there, instead of `done`: nobody wants it any more */
    enum { TASK_IDLE, TASK_QUEUED, TASK_RUNNING, TASK_DONE } state; /* under the token's lock */
    bool disowned;                                                  /* under the token's lock */
};

/* Something that is asked of a token and waited for.  Lives until both sides have let it go, since
 * who asks does not wait for ever. */
struct token_call {
    struct token_task task;
    struct token *token;                   /* borrowed; token_ask sets it */
    void (*run)(struct token_call *call);  /* on the token's thread */
    void (*free)(struct token_call *call); /* of the whole, which holds all that `run` needs */
    bool over;                             /* under the token's lock */
};

struct token {
    struct list link; /* in the list of all */
    char *name, *module, *label, *serial,
        *pin_file; /* owned; label, serial, pin_file may be NULL */
    unsigned timeout_ms;
    bool listed; /* is in the configuration; main thread */
    size_t index;

    pthread_mutex_t lock; /* guards from here to `probing` */
    pthread_cond_t wake, replied;
    struct list queue;
    pthread_t thread;
    bool has_thread, ending;
    int64_t busy_since_us; /* 0: idle */
    int64_t probed_ms;
    bool probing;
    struct token_task probe, leave;
    struct token_status status;
    struct token_trouble trouble; /* of the token itself; what NULL: none */

    /* its own thread's */
    CK_FUNCTION_LIST *f; /* NULL: the module is not loaded */
    CK_SESSION_HANDLE session;
    bool open;
    unsigned epoch; /* of sessions: handles of an earlier one mean nothing */
    CK_SLOT_ID slot;
    bool can_ecdsa, can_rsa_raw, can_rsa_pkcs;
    bool pin_refused;
    struct stat pin_file_was; /* when it was refused */
};

/* A key in a token.  Reference counted (atomic); shared. */
struct token_key {
    atomic_uint refs;
    struct token *token; /* borrowed: tokens live as long as the process */
    struct pkcs11_uri uri;
    uint8_t *public; /* owned: as it stands in the certificate's BIT STRING */
    size_t public_len;
    bool rsa;
    size_t bytes; /* of the modulus, or of a coordinate */
    /* the token's thread's */
    CK_OBJECT_HANDLE handle;
    unsigned epoch; /* in which the handle was found; 0: never */
    bool always_authenticate;
};

/* token.c */
struct token *token_for(const struct pkcs11_uri *uri, struct err *err); /* borrows */
void token_post(struct token *t, struct token_task *task);
/* Have it run, and wait for `ms`, 0: the token's timeout_ms.  True: it has been, and the caller
 * frees it.  False: it takes too long, `out` says so, and it is freed. */
bool token_ask(struct token *t, struct token_call *c, unsigned ms, struct token_trouble *out);
struct token *token_named(const char *name, struct err *err); /* borrows */
/* True: the caller has the task again, and neither `done` nor `drop` will be called any more (it
 * may have been).  False: `drop` will be. */
bool token_disown(struct token *t, struct token_task *task);
/* Is it worth asking?  Not when it was in trouble a moment ago: it is looked after, and this says
 * with what trouble.  Never blocks. */
bool token_is_usable(struct token *t, struct token_trouble *out);
bool token_is_mine(const struct token *t); /* are we on its thread? */
/* One operation is over: counted, and the token's state follows from it. */
void token_note(struct token *t, bool counts, int64_t took_us, const struct token_trouble *trouble);

/* token_session.c, on the token's thread */
bool session_open(struct token *t, struct token_trouble *out);
void session_close(struct token *t);
void session_modules_fini(void); /* at the end of the process, when no token is open */
bool session_failed(const struct token *t, struct token_trouble *out, const char *call, CK_RV rv);
/* C_Login for one operation (CKA_ALWAYS_AUTHENTICATE). */
bool session_authenticate(struct token *t, struct token_trouble *out);
bool trouble_set(struct token_trouble *out, const char *what, const char *remedy, const char *fmt,
                 ...) __attribute__((format(printf, 4, 5))); /* false */
bool trouble_is_of_token(const struct token_trouble *trouble);

/* token_key.c */

/* Up to two objects of a class that have the URI's names; on the token's thread. */
CK_RV token_find_objects(struct token *t, CK_SESSION_HANDLE session, CK_OBJECT_CLASS class,
                         const struct pkcs11_uri *uri, CK_OBJECT_HANDLE out[2], CK_ULONG *count);

/* Returns owned (one reference); NULL with err.  `public` is what the certificate has. */
struct token_key *token_key_new(const struct pkcs11_uri *uri, struct der public, bool rsa,
                                struct err *err);
struct token_key *token_key_ref(struct token_key *k);
void token_key_unref(struct token_key *k); /* NULL is fine */
bool token_key_same(const struct token_key *a, const struct token_key *b);
/* Look for it in its token, and compare.  Main thread; waits, bounded by the token's timeout. */
bool token_key_check(struct token_key *k, struct token_trouble *out);
/* Give it to the library in place of a private key; the certificate was given before.  Returns 0 or
 * the library's code. */
int token_key_use(struct token_key *k, WOLFSSL *ssl);
/* Sign a digest (EC), or what was encoded and is padded here by RFC 8017, 9.2 (RSA).  Any thread;
 * waits as token_key_check.  `out` gets ECDSA-Sig-Value, or the block. */
bool token_key_sign(struct token_key *k, const uint8_t *in, size_t n, struct buf *out,
                    struct token_trouble *trouble);
/* Why the last signature on this thread failed; it is forgotten then.  False: it did not. */
bool token_key_trouble(struct token_trouble *out);

#endif
