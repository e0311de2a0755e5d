/* cli/import.h - certflipctl import: identities out of files that people have, one device or a
 * whole folder of them.  Blocks; one thread.
 *
 * The files are read, and decrypted, by whoever calls, with his rights; the daemon gets chain and
 * key over its local socket and writes them as its own user.  What was read is wiped.
 */
#ifndef CLI_IMPORT_H
#define CLI_IMPORT_H

#include "cli/commands.h"

/* Carry out the command line.  Messages have been written when it returns. */
enum cli_status import_run(const struct cli *cli);

#endif
