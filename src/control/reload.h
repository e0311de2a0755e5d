/* control/reload.h - read the configuration again: build aside, check, then swap.  Main thread. */
#ifndef CONTROL_RELOAD_H
#define CONTROL_RELOAD_H

#include "base/err.h"
#include "conf/conf.h"

struct central;
struct hub;
struct json_t;

/* What is logged, and how, as configured.  Of levels only those follow that the configuration has
 * changed: what certflipctl log has set stays otherwise. */
void reload_log(const struct conf *conf);

/* Log each line of `text` (as conf_load and conf_restart_needed give them) as one event. */
void reload_log_lines(enum log_level level, const char *event, const struct buf *text);

/* Let keys be read and written under the configured passphrase.  Returns 0, or a negative code with
 * err, and the passphrases as they were.  To be followed by keyring_settle or keyring_undo. */
int reload_keys(const struct conf *conf, struct err *err);

/* Load `path`; when all of it is good, hand it to workers, hub and management client and fill
 * `result` as rpc.h says.  On a fault nothing changes, every fault is logged, and `faults` is an
 * array of them.  `started` is the configuration that the daemon was started with: what differs
 * from it needs a restart.  Returns 0, -ERR_INVALID when nothing was changed, or another negative
 * code when the new configuration is in use although something failed. */
int reload_run(const char *path, const struct conf *started, struct hub *hub,
               struct central *central, struct json_t **result, struct json_t **faults,
               struct err *err);

#endif
