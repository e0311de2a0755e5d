/* lint/files.h - what is to be linted, and against which anchors, out of files.  Reads files: main
 * thread, or a tool's. */
#ifndef LINT_FILES_H
#define LINT_FILES_H

#include "base/buf.h"
#include "base/err.h"
#include "lint/lint.h"

#define LINT_CHAIN_MAX 64

/* Certificates and a key. */
struct lint_files {
    struct slice chain[LINT_CHAIN_MAX]; /* into `ders`; the leaf first */
    size_t count;
    struct buf ders, key; /* owned */
};

/* Read `path`: PEM with certificates in any order and perhaps a key among them, or certificates
 * as DER, or a folder with chain.pem or cert.pem and perhaps key.pem.  `key_path`, unless NULL, is
 * the file of the key.  The leaf is the certificate of the key, else the first that issued none of
 * the others.  Returns 0 or a negative code with err: file, fault, remedy. */
int lint_files_read(const char *path, const char *key_path, struct lint_files *out,
                    struct err *err);
void lint_files_fini(struct lint_files *f); /* wipes the key */

/* All certificates of these PEM or DER files.  Returns owned, or NULL with err set. */
struct lint_anchors *lint_anchors_read(const char *const *paths, size_t count, struct err *err);

#endif
