/* fleet/link.h - the way from the centre to the gateways: one MQTT connection.
 *
 * libmosquitto is in link.c alone.  Subscribes to what the caller wants of <root>, sends requests
 * (signed, when an operator's key is given: control/signed.h) at QoS 1 on <root>/<gateway>/cmd, and
 * hands over whatever comes.  A lost connection is made anew by itself, with growing pauses and
 * jitter; requests that were not answered are for the caller to send again, with the same id: a
 * gateway does each once.  Everything happens in link_step, in the caller's thread.
 */
#ifndef FLEET_LINK_H
#define FLEET_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct link;

struct link_conf {
    const char *root; /* "certflip/v1" */
    const char *host; /* of the broker */
    uint16_t port;
    const char *client_id;           /* NULL: one is made from the host's name and the pid */
    const char *username, *password; /* NULL: none */
    const char *ca_file, *cert_file, *key_file; /* PEM; NULL ca_file: no TLS */
    const char *tls_name; /* expected in the broker's certificate; NULL: host */
    unsigned keepalive_s;
    const char *operator_name, *operator_key_file; /* NULL: requests are not signed */
    unsigned expiry_s;                             /* of a signed command */
};

struct link_events {
    /* The subscriptions are granted: retained messages follow. */
    void (*up)(void *arg);
    void (*down)(void *arg, const char *why); /* "connection refused: ...", with a remedy */
    /* A message of any topic below root, replies not among them. */
    void (*message)(void *arg, const char *topic, const void *payload, size_t n, bool retained);
    /* A reply to a request of this link, by its id; `reply` is JSON, borrowed. */
    void (*reply)(void *arg, const char *gateway, const char *id, const char *reply, size_t n);
    void *arg;
};

/* Nothing is connected yet.  The strings are copied; keys are read here, so that a wrong file is
 * said at once.  Returns owned, or NULL with err. */
struct link *link_new(const struct link_conf *conf, const struct link_events *events,
                      struct err *err);
void link_free(struct link *l); /* DISCONNECT first; NULL is fine */

/* What to subscribe to, below root: "+/state", "gw-1/device/+".  Before the first step, or later.
 */
int link_subscribe(struct link *l, const char *filter, struct err *err);

/* Wait up to `timeout_ms` for something to happen, and handle it.  Returns 0 or -ERR_NOMEM. */
int link_step(struct link *l, int timeout_ms, struct err *err);

bool link_is_up(const struct link *l);
/* Every retained message that the broker had for our subscriptions has come, as far as can be told
 * (a message of our own came back behind them). */
bool link_is_settled(const struct link *l);

/* Send one request; `params` is a JSON object as text.  -ERR_BUSY while the link is down or the
 * broker is behind: try later.  -ERR_INVALID: params are none. */
int link_request(struct link *l, const char *gateway, const char *id, const char *method,
                 const char *params, struct err *err);

struct link_counts {
    uint64_t sent, received, bytes_sent, bytes_received, reconnects;
};
void link_counts(const struct link *l, struct link_counts *out);

#endif
