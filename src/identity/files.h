/* identity/files.h - the files of a device's identities, changed so that a change is whole or did
 * not happen, whatever happens to the power or the disk.
 *
 *     <identities>/<device>/old/      chain.pem (or cert.pem), key.pem, csr.pem
 *     <identities>/<device>/new/      the same; key.pem and csr.pem alone: the CA has not signed
 * yet <identities>/<device>/archive/<time>-<fingerprint>/    old identities that were retired
 *
 * In the place of key.pem there may be key.uri, which names a key in a token; which of the two a
 * key is follows from what it holds.
 *
 * Folders are 0700 and files 0600, of the daemon's user.  A slot is filled beside its place and put
 * there by one rename.  Names that begin with a dot are what a power cut has left: files_sweep.
 * Everything blocks, and is for the main thread, where the slots are read, too.
 */
#ifndef IDENTITY_FILES_H
#define IDENTITY_FILES_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "flip/slot.h"

#define FILES_MAX_BYTES ((size_t)256 * 1024) /* of a file */

/* What a slot shall hold, as PEM; empty: no such file. */
struct files_slot {
    struct slice key, chain, csr;
};

/* Make the slot hold exactly this.  What it held is kept aside: *former gets where (owned, for
 * files_unput or files_destroy; NULL: it held nothing).  The device's folder must be there. Returns
 * 0, or a negative code with the slot as it was. */
int files_put_slot(const char *identities_dir, const char *device, enum flip_slot slot,
                   const struct files_slot *what, char **former, struct err *err);
/* Undo it: what was put is destroyed.  Takes former. */
int files_unput_slot(const char *identities_dir, const char *device, enum flip_slot slot,
                     char *former, struct err *err);

enum files_name { FILES_KEY, FILES_CHAIN, FILES_CSR };

/* Append a file of the slot; the chain may be called cert.pem.  Returns 0, -ERR_NOT_FOUND, -ERR_IO,
 * -ERR_TOO_BIG or -ERR_NOMEM. */
int files_get(const char *identities_dir, const char *device, enum flip_slot slot,
              enum files_name name, struct buf *out, struct err *err);

/* Take the slot out of its place.  *aside gets where it is (owned), for one of the two that follow.
 * Returns 0, or a negative code with the slot as it was. */
int files_take_slot(const char *identities_dir, const char *device, enum flip_slot slot,
                    char **aside, struct err *err);
/* Back to its place.  Takes aside. */
int files_restore_slot(const char *identities_dir, const char *device, enum flip_slot slot,
                       char *aside, struct err *err);
/* Destroy it.  Takes aside; what cannot be removed now is removed by a later sweep. */
void files_destroy(char *aside);

/* Archive the old slot, if there is one, under the time (wall clock) and its fingerprint (64 hex
 * digits, or ""), and let the new one take its place.  *archived gets where the old one is (owned;
 * NULL: there was none).  Returns 0, or a negative code with everything as it was. */
int files_retire(const char *identities_dir, const char *device, int64_t now_s, const char *old_fp,
                 char **archived, struct err *err);
/* Undo it.  Takes archived. */
int files_unretire(const char *identities_dir, const char *device, char *archived, struct err *err);

/* At the start: remove what a power cut has left of a change that did not happen, and put back an
 * old slot (whose fingerprint was old_fp) that was archived while nothing took its place.  Returns
 * 1 when that was so, 0, or a negative code. */
int files_sweep(const char *identities_dir, const char *device, const char *old_fp,
                struct err *err);

#endif
