/* identity/slots.h - the identities of devices on disk.
 *
 * <identities_dir>/<device>/<old|new>/chain.pem (or cert.pem) and key.pem, or key.uri, which
 * names a key in a token (RFC 7512).  A device is there when
 * its folder is.  Reads files: main thread only.
 */
#ifndef IDENTITY_SLOTS_H
#define IDENTITY_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "flip/slot.h"
#include "tls/cred.h"

struct slots {
    struct cred
        *cred[FLIP_SLOTS];        /* owned references, by enum flip_slot; NULL: empty or unusable */
    struct err fault[FLIP_SLOTS]; /* why a slot that has files is unusable; code 0: none */
    bool present[FLIP_SLOTS];     /* the slot has files, other than those of a key that waits */
    int64_t csr_since_s[FLIP_SLOTS]; /* wall clock: key.pem and csr.pem wait for the certificate
                                        since then; 0: they do not */
};

/* Load both slots of one device; what is wrong with one of them is in its `fault`.  Returns 0, or
 * -ERR_NOT_FOUND (no such folder, or not a device's name) with `out` as it was. */
int slots_load(const char *identities_dir, const char *device, struct slots *out, struct err *err);
void slots_fini(struct slots *s);

/* Call `each` for every device folder, in the order of their names.  Plain files and names that
 * begin with a dot are passed over, and so are folders whose names no device can have: then err
 * says how many and which, though nothing failed.  Returns how many calls were made; what `each`
 * returned when that was negative; -ERR_NOT_FOUND or -ERR_IO when the folder cannot be read. */
int slots_scan(const char *identities_dir, int (*each)(void *arg, const char *device), void *arg,
               struct err *err);

#endif
