/* fleet/link.h - the way from the centre to the gateways: one MQTT connection.
 *
 * libmosquitto is in link*.c alone, and so is OpenSSL, which it is built on.  Subscribes to what
 * the caller wants of <root>, sends requests (signed, when an operator's key is given:
 * control/signed.h) at QoS 1 on <root>/<gateway>/cmd, and hands over whatever comes.  A lost
 * connection is made anew by itself, with growing pauses and jitter.  MQTT 5 where the broker has
 * it, else 3.1.1.  Everything happens in link_step, in the caller's thread; only the resolution of
 * the broker's name blocks.
 *
 * Requests that were not answered are for the caller to send again, with the same id: a gateway
 * does each once and answers as it did the first time.  A signed one that comes again has the same
 * jti, which is made from gateway and id, and a new expiry; so it must have the same operator, or
 * the gateway takes it for another one.  In MQTT 5 a request that has not reached its gateway
 * within expiry_s is dropped by the broker, signed or not.  A gateway that was away may so answer
 * "expired" (MQTT 3.1.1) or nothing, and has done nothing: send it again.  A request that only
 * observes is not remembered by a gateway, and is done again.
 *
 * A broker gives what is retained as fast as it can, and drops what its queue does not hold
 * (max_queued_messages of mosquitto, 1,000), at any QoS.  So what many gateways retain
 * ("+/device/+") is asked for in turn, some gateways at a time, as they become known by their
 * "+/state".  A later message may be dropped in the same way while we are slow: link_refresh asks
 * again for what is true.
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
    unsigned expiry_s;                             /* of a command; 0: 300 */
};

struct link_events {
    /* Requests can be sent, and replies will come; what is retained follows. */
    void (*up)(void *arg);
    /* It was lost, or an attempt failed: "connection refused: ...", with a remedy.  The next one
     * is made by itself. */
    void (*down)(void *arg, const char *why);
    /* A message of any topic below root, replies not among them. */
    void (*message)(void *arg, const char *topic, const void *payload, size_t n, bool retained);
    /* A reply to a request of this link, by its id; `reply` is JSON, borrowed.  An id that was sent
     * again may be answered again. */
    void (*reply)(void *arg, const char *gateway, const char *id, const char *reply, size_t n);
    /* The broker does not let us do something (MQTT 5): subscribe to the topic, or (id not NULL)
     * send that request to it.  NULL is fine. */
    void (*denied)(void *arg, const char *topic, const char *id, const char *why);
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
/* Ask once more for what is retained below a narrower filter than one that was subscribed to:
 * "gw-1/device/+".  The link is not settled until it has come. */
int link_refresh(struct link *l, const char *filter, struct err *err);

/* Wait up to `timeout_ms` for something to happen, and handle it.  Returns 0 or -ERR_NOMEM. */
int link_step(struct link *l, int timeout_ms, struct err *err);

bool link_is_up(const struct link *l);
/* Every retained message that the broker had for our subscriptions has come, as far as can be told
 * (a message of our own came back behind them). */
bool link_is_settled(const struct link *l);

/* Why it is not up: what the latest attempt came to; "" when it is, or none has failed yet. */
const char *link_trouble(const struct link *l);

/* Send one request; `params` is a JSON object as text, NULL or "" for none.  -ERR_BUSY while the
 * link is down or the broker is behind: try later.  -ERR_INVALID: params are none.  -ERR_TOO_BIG:
 * more than a gateway or the broker takes. */
int link_request(struct link *l, const char *gateway, const char *id, const char *method,
                 const char *params, struct err *err);

struct link_counts {
    uint64_t sent, received, bytes_sent, bytes_received; /* PUBLISH, each way */
    uint64_t acknowledged;                               /* of sent */
    uint64_t reconnects;
    unsigned version; /* of MQTT: 5 or 4 (3.1.1); 0: never up */
};
void link_counts(const struct link *l, struct link_counts *out);

#endif
