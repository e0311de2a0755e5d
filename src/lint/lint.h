/* lint/lint.h - is this identity right?
 *
 * A leaf, its issuers and perhaps its key are judged for one purpose at one time: the path of
 * RFC 5280, 6.1, and what goes wrong in practice besides.  What is judged against is handed in:
 * time, anchors, revocation, policy, the device's name, who else has the key.  No clock, no I/O, no
 * log; any thread.
 *
 * Certificate policies (RFC 5280, 6.1.2 f) are not looked at: no TLS peer asks for one.
 */
#ifndef LINT_LINT_H
#define LINT_LINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "catalogue/findings.h"
#include "tls/cert.h"

enum lint_severity {
    LINT_INFO,    /* worth knowing */
    LINT_WARNING, /* works today, or with most peers */
    LINT_ERROR,   /* a peer that keeps to the standards refuses it */
};

#define LINT_ENUM(id, code, x509, severity, help, remedy) id,
enum lint_code { LINT_FINDINGS(LINT_ENUM) LINT_CODES };
#undef LINT_ENUM

struct lint_kind {
    const char *code;
    const char *x509; /* or NULL */
    enum lint_severity severity;
    const char *help, *remedy;
};

const struct lint_kind *lint_kind(enum lint_code code); /* static */
const char *lint_severity_name(enum lint_severity s);   /* "error" */

enum lint_purpose { LINT_CLIENT, LINT_SERVER };
enum lint_clock { LINT_CLOCK_NOT_ASKED, LINT_CLOCK_SYNCHRONISED, LINT_CLOCK_UNSYNCHRONISED };
enum lint_name_match { LINT_NAME_OFF, LINT_NAME_WARN, LINT_NAME_ERROR };

struct lint_policy {
    unsigned expiring_days;     /* before the end; at most a third of the validity */
    unsigned max_validity_days; /* 0: no bound */
    unsigned min_rsa_bits;
    unsigned backdate_h; /* 0: not looked at */
    enum lint_name_match name_match;
};

/* As in certflip.conf(5). */
#define LINT_POLICY_DEFAULT                     \
    ((struct lint_policy){.expiring_days = 30,  \
                          .min_rsa_bits = 2048, \
                          .backdate_h = 24,     \
                          .name_match = LINT_NAME_WARN})

/* Trust anchors, read once and used often. */
struct lint_anchors;

struct lint_anchors *lint_anchors_new(void); /* NULL when out of memory */
/* Takes a copy.  Returns 0 or a negative code with err. */
int lint_anchors_add(struct lint_anchors *a, const uint8_t *der, size_t n, struct err *err);
bool lint_anchors_equal(const struct lint_anchors *a,
                        const struct lint_anchors *b);                /* NULL equals NULL only */
struct slice lint_anchors_at(const struct lint_anchors *a, size_t i); /* borrows */
size_t lint_anchors_count(const struct lint_anchors *a);
void lint_anchors_free(struct lint_anchors *a); /* NULL is fine */

/* What is to be judged, and against what; all borrowed. */
struct lint_input {
    const struct slice *chain; /* DER: the leaf first, the others in any order */
    size_t chain_count;
    struct slice key; /* DER; n is 0: not given, and not judged */
    enum lint_purpose purpose;
    const struct lint_anchors *anchors; /* NULL: which are believed is not known, nor judged */
    const struct lint_policy *policy;
    int64_t now_s; /* wall clock */
    enum lint_clock clock;
    const char *name; /* the device; of a server, the name that clients ask for; NULL: not judged */

    /* Each may be NULL; with `arg`. */
    bool (*revoked)(void *arg, const struct cert_info *cert, struct slice der);
    /* Who else has the leaf's key, or its issuer and serial: a text, or NULL. */
    const char *(*key_user)(void *arg, const struct cert_info *leaf);
    const char *(*serial_user)(void *arg, const struct cert_info *leaf);
    void *arg;
};

struct lint_finding {
    enum lint_code code;
    enum lint_severity severity;
    int depth; /* in the path: 0 is the leaf; -1: of none in particular */
    char text[320];
};

struct lint_report {
    struct lint_finding *all; /* owned; the gravest first */
    size_t count;
    bool trusted;        /* a path to an anchor holds, whatever else was found */
    size_t path_len;     /* certificates of the path that was judged, the anchor included */
    unsigned signatures; /* that were checked for it */
};

/* Returns 0 or -ERR_NOMEM; `out` is empty then. */
int lint_run(const struct lint_input *in, struct lint_report *out);
void lint_report_fini(struct lint_report *r);

/* The gravest finding; NULL: there is none. */
const struct lint_finding *lint_worst(const struct lint_report *r);
bool lint_has(const struct lint_report *r, enum lint_code code);

#endif
