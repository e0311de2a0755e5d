/* lint/path.h - which certificates may lead from a leaf to an anchor.
 *
 * Issuers are found by name, those whose key identifier fits first, and asked for their signature;
 * several paths are tried.  Depth, paths and signatures are bounded, so that no file of
 * certificates that all name each other costs more than a moment.  Pure; private to this folder.
 */
#ifndef LINT_PATH_H
#define LINT_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "tls/cert.h"
#include "tls/verify.h"

#define PATH_DEPTH_MAX      16
#define PATH_PATHS_MAX      64
#define PATH_SIGNATURES_MAX 128

struct path_cert {
    struct slice der;
    const struct cert_info *info; /* borrowed */
    bool anchor;
};

enum path_end {
    PATH_ANCHORED,
    PATH_ROOT,   /* at a self-signed certificate that is no anchor */
    PATH_OPEN,   /* nobody of the issuer's name is there */
    PATH_FORGED, /* somebody is, and has not signed it */
    PATH_DEEP,   /* too many certificates */
};

struct path {
    size_t at[PATH_DEPTH_MAX]; /* places in the pool, the leaf first */
    size_t n;
    enum path_end end;
    uint32_t unchecked; /* bit i: the signature on the i-th is of an algorithm that is not known */
    uint32_t misnamed;  /* bit i: its authority key identifier is not that of the next */
};

/* Call `take` for each path from pool[0], the likeliest first, until it returns false.  At least
 * one is found: the leaf alone.  Returns the number of signatures that were checked. */
unsigned path_each(const struct path_cert *pool, size_t count,
                   bool (*take)(void *arg, const struct path *p), void *arg);

#endif
