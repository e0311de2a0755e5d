/* session/blame.h - why an upstream leg failed or ended.  Worker's thread. */
#ifndef SESSION_BLAME_H
#define SESSION_BLAME_H

#include "session/session.h"

struct diag blame_leg(const struct session *s, const struct leg *leg, const struct leg_end *end);
/* The answer to CONNECT is none that the standard has. */
struct diag blame_answer(const struct mqtt_packet *pkt, int version, const struct err *err);
/* The broker refused CONNECT. */
struct diag blame_connack(const struct leg *leg, const struct mqtt_connack *ack);
/* The broker said DISCONNECT (5.0). */
struct diag blame_disconnect(const struct leg *leg, const struct mqtt_disconnect *m);
/* A leg in use that stood for lived_ms ended as `why` says.  Where that has become a habit,
 * somebody else may have the client id: before 5.0, and in some brokers after it, a client that is
 * taken over is told nothing. */
struct diag blame_habit(struct session *s, const struct diag *why, uint64_t lived_ms);
/* Nobody was dialled: the token that holds the key is in trouble, as cred_is_usable says. */
struct diag blame_token(const char *what, const struct err *err);
/* A deadline of ours passed in the present phase. */
struct diag blame_timeout(const struct session *s, const struct leg *leg);

#endif
