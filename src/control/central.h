/* control/central.h - the command channel: an MQTT client that is a device of the gateway like any
 * other.
 *
 * libmosquitto connects to the unix listener that one of our own workers serves for the management
 * device; the way to the broker, its TLS and its flips are that device's.  Requests come in on
 * <root>/<gateway>/cmd and go through the dispatcher; <root>/<gateway>/state and
 * .../device/<device> are retained and kept true, .../event tells every transition, and how far a
 * long command has come.  Nothing is sent faster than the broker acknowledges.  Main thread, on its
 * loop.
 */
#ifndef CONTROL_CENTRAL_H
#define CONTROL_CENTRAL_H

#include <uv.h>

#include "base/err.h"
#include "conf/conf.h"
#include "control/dispatch.h"
#include "control/hub.h"

struct central;
struct json_t;
struct operators;

/* Returns owned, or NULL with err.  `conf` is referenced; hub and dispatcher are borrowed.  The
 * first attempt to connect is made when the management device has a usable identity. */
struct central *central_start(uv_loop_t *loop, struct conf *conf, struct dispatch *d,
                              struct hub *hub, struct err *err);

/* A reload: another client id, root or version means a new connection.  Takes the operators. */
void central_conf(struct central *c, struct conf *conf, struct operators *operators);

/* Something about this device changed, or it is gone.  NULL central is fine, here and below. */
void central_device(struct central *c, const char *device);
/* The counts or the like of `state` changed. */
void central_state(struct central *c);
void central_event(struct central *c, const struct hub_event *ev);

/* For `status`: returns owned. */
struct json_t *central_status(const struct central *c);

/* Say goodbye: DISCONNECT after the retained state was set to offline; the client is gone once the
 * loop has run and `done` was called (not before central_stop has returned). */
void central_stop(struct central *c, void (*done)(void *arg), void *arg);

#endif
