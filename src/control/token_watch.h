/* control/token_watch.h - the PKCS#11 tokens of the configuration: taken over, watched, shown. Main
 * thread.
 */
#ifndef CONTROL_TOKEN_WATCH_H
#define CONTROL_TOKEN_WATCH_H

#include "base/err.h"
#include "conf/conf.h"

struct json_t;

/* Take over those of `conf`: before the identities are read that have keys in them.  Returns 0 or
 * -ERR_NOMEM, and nothing changed. */
int token_watch_conf(const struct conf *conf, struct err *err);

/* Log which of them came and went since the last time; every second or so. */
void token_watch_poll(void);

/* "tokens" of status, see rpc.h: an array.  Returns owned. */
struct json_t *token_watch_show(void);

#endif
