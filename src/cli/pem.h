/* cli/pem.h - certificates that are read from files, and requests that are written to them. */
#ifndef CLI_PEM_H
#define CLI_PEM_H

#include "cli/commands.h"

struct json_t;

/* Is it clear where --out shall put what comes?  Returns 0 or -ERR_INVALID. */
int pem_check(const struct words_line *line, struct err *err);

/* Read a file ("-": standard input) into the parameter `name`.  Returns 0, or -ERR_INVALID: there
 * is no such file, it is no text, too long, or holds a private key, which is never sent. */
int pem_read(const char *path, struct json_t *params, const char *name, struct err *err);

/* Write what `keygen` or `export` got: to --out, or to standard output.  Returns 0 or a negative
 * code; other commands have nothing to write. */
int pem_write(const struct cli *cli, const struct json_t *answer, struct err *err);

#endif
