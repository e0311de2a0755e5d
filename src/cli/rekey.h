/* cli/rekey.h - certflipctl rekey: private keys on disk are written anew, by the rule that is now
 * in force, a few devices at a time, so that the daemon is never busy with it for long.  Blocks. */
#ifndef CLI_REKEY_H
#define CLI_REKEY_H

#include "cli/commands.h"

enum cli_status rekey_run(const struct cli *cli);

#endif
