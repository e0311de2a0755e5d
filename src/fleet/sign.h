/* fleet/sign.h - from a gateway's certificate request to a certificate: checked against what was
 * asked for, then signed by an external command or by the built-in file CA.
 *
 * A request is signed only when its own signature is good, its key is of the kind that was asked
 * for, and its subject and names are those that this device of this gateway must have: a gateway
 * cannot get a certificate for somebody else's device.  What comes back is checked as well: the
 * request's key, the names, the dates (notBefore at least `backdate_h` back, else a warning), and
 * the chain to an anchor.  Signing runs in the background: several at once, in any order.  What an
 * external command gets is the request as it was read and checked, encoded anew.  One thread.
 */
#ifndef FLEET_SIGN_H
#define FLEET_SIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct signer;

struct signer_conf {
    /* Run by /bin/sh -c for each request: PEM of it on stdin (and in the file $CERTFLIP_CSR), PEM
     * of the certificate and its issuers on stdout (or in the file $CERTFLIP_CERT);
     * $CERTFLIP_GATEWAY, $CERTFLIP_DEVICE, $CERTFLIP_NOT_BEFORE, $CERTFLIP_NOT_AFTER (RFC 3339)
     * tell the rest. Exit status 0: done; 75 (EX_TEMPFAIL): try again later, as when it takes
     * longer than timeout_s, or is killed; else what it wrote on stderr is why it is refused.  It
     * is a process group of its own, and ends with the run.  NULL: the built-in CA. */
    const char *command;
    const char *ca_cert_file, *ca_key_file; /* of the built-in CA: PEM */
    /* What the brokers believe, PEM: the chain has to lead there.  NULL: it only has to hold as far
     * as it goes, to the built-in CA if that signs. */
    const char *anchor_file;
    unsigned days;       /* of validity, counted from now */
    unsigned backdate_h; /* notBefore lies so far back */
    unsigned timeout_s;  /* of one run of the command */
    unsigned parallel;   /* runs at once */
    const char *subject; /* template, as in identity.keygen: what the request's subject must be */
    const char *const *sans; /* templates; what its names must be */
    size_t san_count;
    const char *key; /* "ec-p256"; NULL: any that lint accepts */
};

struct signed_cert {
    const char *gateway, *device;
    int rc;            /* 0; -ERR_BUSY: later it may work; else refused, `why` says so */
    const char *chain; /* PEM, leaf first; NULL unless rc is 0 */
    char fp[65];       /* of the leaf */
    int64_t not_after_s;
    const char *why; /* sentence and remedy, or a warning when rc is 0; NULL */
};

/* Reads the files, so that a wrong one is said at once.  Returns owned, or NULL with err. */
struct signer *signer_new(const struct signer_conf *conf, struct err *err);
void signer_free(struct signer *s); /* kills what runs; NULL is fine */

/* Check the request.  Returns 0, or -ERR_DENIED with err: what it says and what it must say;
 * -ERR_NOMEM. */
int signer_check(const struct signer *s, const char *gateway, const char *device, const char *csr,
                 struct err *err);

/* Queue it.  Returns 0, -ERR_DENIED as signer_check, or -ERR_NOMEM. */
int signer_put(struct signer *s, const char *gateway, const char *device, const char *csr,
               struct err *err);

/* Go on without waiting, and hand over what is ready; `done` may put another one.  Returns how many
 * are queued or running. */
size_t signer_step(struct signer *s, void (*done)(void *arg, const struct signed_cert *c),
                   void *arg);

#endif
