/* base/durable.h - files that are whole or not there, whatever happens to the power.  Blocks; main
 * thread. */
#ifndef BASE_DURABLE_H
#define BASE_DURABLE_H

#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

/* Write `n` bytes to a temporary file beside `path`, fsync it, rename it over `path`, fsync the
 * folder. The file has exactly `mode`, whatever the umask.  On failure the temporary file is gone
 * and `path` is as it was; only when the folder itself cannot be synced, the last step, `path`
 * already holds the new bytes. Returns 0, -ERR_IO, -ERR_NOMEM. */
int durable_write(const char *path, const void *data, size_t n, mode_t mode, struct err *err);

/* Read a whole regular file of at most `max` bytes into `out` (appended; caller wipes when secret).
 * No copy of the bytes stays elsewhere in memory; on failure `out` is as it was, the rest of it
 * wiped. Returns 0, -ERR_NOT_FOUND, -ERR_IO, -ERR_TOO_BIG, -ERR_NOMEM; err names the path and the
 * remedy. */
int durable_read(const char *path, size_t max, struct buf *out, struct err *err);

/* mkdir -p with exactly `mode` for what is missing.  Returns 0, -ERR_IO, -ERR_TOO_BIG. */
int durable_mkdirs(const char *path, mode_t mode, struct err *err);

/* fsync a folder, so that the names in it stay.  Returns 0 or -ERR_IO. */
int durable_sync_folder(const char *path, struct err *err);

#endif
