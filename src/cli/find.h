/* cli/find.h - which files of a folder belong to which device.  Reads folders; one thread.
 *
 * Without a pattern the layouts that people have are known:
 *     DEVICE.p12, DEVICE.pfx
 *     DEVICE.pem (or .crt, .cer), with DEVICE.key or DEVICE-key.pem where the key is not in it
 *     DEVICE/: its files of these kinds, whatever they are called
 *     DEVICE/old/, DEVICE/new/: the same, each for its slot
 * Names that begin with a dot are passed over.
 */
#ifndef CLI_FIND_H
#define CLI_FIND_H

#include <stddef.h>

#include "base/err.h"

#define FIND_FILES_MAX 16 /* of one identity */

/* One identity that is to be imported. */
struct find_item {
    char *device;                /* owned; not checked to be a device's name */
    const char *slot;            /* "old", "new", or NULL: the folder does not say */
    char *files[FIND_FILES_MAX]; /* owned paths, in the order of their names */
    size_t count;
    size_t more; /* files beyond these */
};

struct find {
    struct find_item *items; /* owned; in the order of devices, old before new */
    size_t count;
    size_t left; /* files that belong to no device */
};

/* Look through `dir`.  `pattern` and `key_pattern` are paths below it with {device} in one of their
 * parts ("{device}/client.pem"); NULL: the layouts above, or no file for the key.  Returns 0, or a
 * negative code: the folder cannot be read, or a pattern has no {device} or two. */
int find_identities(const char *dir, const char *pattern, const char *key_pattern, struct find *out,
                    struct err *err);
void find_fini(struct find *f);

#endif
