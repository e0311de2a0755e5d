/* cli/logs.h - certflipctl logs: what the daemon has said, from the journal or from the daemon's
 * memory.
 */
#ifndef CLI_LOGS_H
#define CLI_LOGS_H

#include "cli/commands.h"

/* `cli->client` is NULL when the daemon cannot be reached, as `why` says: the journal may tell why.
 */
enum cli_status logs_command(const struct cli *cli, const struct err *why);

#endif
