/* control/crls.h - lists of revoked certificates that come at run time, and what there is to say of
 * all that are in force.
 *
 * One that comes is kept in the state directory, as <state>/crls/<scope>.pem, with whatever
 * certificates came beside it; it counts as those that the configuration names.  Main thread.
 */
#ifndef CONTROL_CRLS_H
#define CONTROL_CRLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "control/hub.h"

struct json_t;

struct crls_update {
    const char *text; /* PEM, or DER in base64 */
    size_t n;
    const char *who; /* for the file */
    bool force;      /* in the place of a newer one, too */
};

/* Verify, keep and use it.  When this fails, everything is as it was.  `result` is owned by the
 * caller afterwards: the reply of crl.update.
 * Returns 0, -ERR_INVALID (it is faulty, nobody here knows its CA, or it is older than the one in
 * force), -ERR_IO and -ERR_NOMEM. */
int crls_update(struct hub *h, const struct crls_update *u, struct json_t **result,
                struct err *err);

/* The rows of crl.list.  Returns owned, or NULL. */
struct json_t *crls_rows(const struct hub *h);

/* "crls" of status.  Returns owned, or NULL. */
struct json_t *crls_summary(const struct hub *h);

/* Call `say` with a sentence for each list that is past its next update (`stale`), or will be soon,
 * and for each anchor that crl_policy lets vouch for nobody, as it has none (`stale` as well). */
void crls_worries(const struct hub *h, void (*say)(void *arg, bool stale, const char *text),
                  void *arg);

/* Write these to the log, once an hour; *said_s is kept by the caller, 0 at first. */
void crls_watch(const struct hub *h, int64_t *said_s);

#endif
