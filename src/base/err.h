/* base/err.h - one way to say that something went wrong.
 *
 * Functions return 0 (or a count) or a negative code of enum err_code.  Where a person will read
 * why, the last parameter is a struct err: the callee states the cause, each caller on the way out
 * adds where, and whoever decides logs it, once.  Plain data, no allocation, any thread.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

enum err_code {
    ERR_NOMEM = 1, /* out of memory */
    ERR_IO,        /* the system refused: read, write, open, connect */
    ERR_SYNTAX,    /* text that cannot be parsed: config, JSON, PEM */
    ERR_MALFORMED, /* a packet that breaks the encoding of its standard */
    ERR_PROTOCOL, /* a well-formed packet at a moment, or with a value, that the standard forbids */
    ERR_TOO_BIG,  /* beyond a configured bound */
    ERR_INVALID,  /* a value outside of what is allowed */
    ERR_NOT_FOUND, /* no such device, file, method */
    ERR_EXISTS,    /* it is there already */
    ERR_DENIED,    /* not allowed for this peer */
    ERR_PHASE,     /* has no meaning in the current phase */
    ERR_TLS,       /* the TLS library refused; the sentence says what */
    ERR_TIMEOUT,   /* a deadline passed */
    ERR_BUSY,      /* at its limit; later it may work */
    ERR_CLOSED,    /* the other side is gone */
    ERR_STORE,     /* the database refused */
    ERR_EXPIRED,   /* not valid any more, if the clock is right */
};

struct err {
    int code;      /* one of enum err_code, positive; 0 while nothing was said */
    char msg[508]; /* "where: what: remedy"; one line of valid UTF-8, cut at the end when it is
                      longer */
};

/* State the cause.  Overwrites what `e` held.  `e` may be NULL.  Returns -code. */
int err_set(struct err *e, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "fmt: " before the sentence that is there already and keep its code.  `e` may be NULL.
 * Returns `rc`, so that a caller can write: return err_wrap(e, rc, "device %s", name). */
int err_wrap(struct err *e, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* As err_set with ERR_IO, and ": " and the text of `errnum` (a positive errno value) at the end. */
int err_errno(struct err *e, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The stable short name of a code, for logs and JSON: "not-found".  Takes either sign. */
const char *err_name(int code);

#endif
