/* cli/client.h - one conversation with certflipd over its control socket.  Blocks; one thread. */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct json_t; /* jansson's */
struct client;

#define CLIENT_PATIENCE_MS (60 * 1000) /* for an answer; reading a part of one counts as life */

/* Returns owned, or NULL: err names the socket, what is wrong with it, and who may use it. */
struct client *client_open(const char *path, struct err *err);
void client_close(struct client *c); /* NULL is fine */

/* Give up when the daemon is silent for so long; < 0: never. */
void client_set_patience(struct client *c, int ms);

/* The daemon has gone (-ERR_CLOSED): wait until it can be reached again, until `end_us`
 * (CLOCK_MONOTONIC).  Returns 0, or a negative code with err: it did not come back. */
int client_again(struct client *c, int64_t end_us, struct err *err);

/* Ask and wait for the answer.  Takes `params`, which may be NULL.
 * Returns 0 with *answer the result, 1 with *answer the error object that the daemon replied
 * (returned owned, both), or a negative code: the daemon could not be reached any more, err says
 * how; *answer is NULL. */
int client_call(struct client *c, const char *method, struct json_t *params, struct json_t **answer,
                struct err *err);

struct client_question {
    const char *method;
    struct json_t *params; /* taken; may be NULL */
    int rc;                /* 0 or 1, as client_call returns them */
    struct json_t *answer; /* returned owned */
};

/* Several at once, in one message each way.  Returns 0, or a negative code: no answer is there. */
int client_ask(struct client *c, struct client_question *all, size_t n, struct err *err);

#endif
