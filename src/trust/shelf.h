/* trust/shelf.h - the files of what was changed at run time, in the state directory.
 *
 *     <state>/trust/<set>/<fingerprint>.pem           in force
 *     <state>/trust/archive/<set>/<fingerprint>.pem   was removed; kept for ever
 *
 * Each says in lines before the certificate what it is, who added or removed it, and when, so that
 * the files suffice to make the database anew.  Blocks; main thread.
 */
#ifndef TRUST_SHELF_H
#define TRUST_SHELF_H

#include "trust/change.h"

/* Write the row's file: in the archive when its kind is TRUST_REMOVED.  The row has its anchor.
 * Durable when it returns 0; else err says what to do, and nothing is there. */
int trust_shelf_put(const char *state_dir, const struct trust_change *row, struct err *err);

/* The file in force goes; that there is none is fine.  Returns 0 or -ERR_IO. */
int trust_shelf_drop(const char *state_dir, enum trust_side side, const char *fp, struct err *err);

/* Move the file in force to the archive, as it is; one that is there already stays.  That there is
 * none is fine. */
int trust_shelf_archive(const char *state_dir, enum trust_side side, const char *fp,
                        struct err *err);

/* The certificate of a file, in force or archived; it must be the one of that fingerprint.  Returns
 * owned, or NULL with err. */
struct tls_anchor *trust_shelf_get(const char *state_dir, bool archived, enum trust_side side,
                                   const char *fp, struct err *err);

/* Call `each` for every file of a set, in the order of the names, with what it says; the row is
 * borrowed during the call.  What is no such file is passed over with row->fault set and only its
 * fp (the file's name, cut) known.  Returns 0, what `each` returned when that was not 0, or -ERR_IO
 * when the folder cannot be read.  No folder is no file. */
int trust_shelf_each(const char *state_dir, bool archived, enum trust_side side,
                     int (*each)(void *arg, const struct trust_change *row), void *arg,
                     struct err *err);

/* Read such a text: what stands before the certificate, and it.  Returns 0 with the row to be freed
 * by trust_change_fini, or a negative code with err. */
int trust_shelf_parse(const char *text, size_t n, const char *from, struct trust_change *out,
                      struct err *err);

#endif
