#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

static void __attribute__((format(printf, 3, 0)))
state(struct err *e, enum err_code code, const char *fmt, va_list ap, const char *tail)
{
    char msg[sizeof(e->msg)]; /* an argument may be e->msg itself */
    int n = vsnprintf(msg, sizeof(msg), fmt, ap);

    if (n < 0)
        n = 0;
    if (tail != NULL && (size_t)n < sizeof(msg))
        snprintf(msg + n, sizeof(msg) - (size_t)n, ": %s", tail);
    str_tidy(msg); /* a log line and a JSON reply can carry it as it is */
    e->code = (int)code;
    memcpy(e->msg, msg, sizeof(msg));
}

int err_set(struct err *e, enum err_code code, const char *fmt, ...)
{
    va_list ap;

    if (e != NULL) {
        va_start(ap, fmt);
        state(e, code, fmt, ap, NULL);
        va_end(ap);
    }
    return -(int)code;
}

int err_wrap(struct err *e, int rc, const char *fmt, ...)
{
    char cause[sizeof(e->msg)];
    va_list ap;

    if (e == NULL)
        return rc;
    if (e->code == 0) { /* a callee that did not say why */
        e->code = rc < 0 ? -rc : ERR_INVALID;
        snprintf(e->msg, sizeof(e->msg), "%s", err_name(rc));
    }
    memcpy(cause, e->msg, sizeof(cause));
    va_start(ap, fmt);
    state(e, (enum err_code)e->code, fmt, ap, cause);
    va_end(ap);
    return rc;
}

int err_errno(struct err *e, int errnum, const char *fmt, ...)
{
    char text[128];
    va_list ap;

    if (e != NULL) {
        va_start(ap, fmt);
        state(e, ERR_IO, fmt, ap, strerror_r(errnum, text, sizeof(text)));
        va_end(ap);
    }
    return -ERR_IO;
}

const char *err_name(int code)
{
    static const char *const names[] = {
        [0] = "ok",
        [ERR_NOMEM] = "no-memory",
        [ERR_IO] = "io",
        [ERR_SYNTAX] = "syntax",
        [ERR_MALFORMED] = "malformed",
        [ERR_PROTOCOL] = "protocol",
        [ERR_TOO_BIG] = "too-big",
        [ERR_INVALID] = "invalid",
        [ERR_NOT_FOUND] = "not-found",
        [ERR_EXISTS] = "exists",
        [ERR_DENIED] = "denied",
        [ERR_PHASE] = "phase",
        [ERR_TLS] = "tls",
        [ERR_TIMEOUT] = "timeout",
        [ERR_BUSY] = "busy",
        [ERR_CLOSED] = "closed",
        [ERR_STORE] = "store",
        [ERR_EXPIRED] = "expired",
    };
    unsigned i = code < 0 ? 0u - (unsigned)code : (unsigned)code;

    return i < sizeof(names) / sizeof(names[0]) ? names[i] : "unknown";
}
