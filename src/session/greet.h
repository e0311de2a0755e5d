/* session/greet.h - CONNECT, CONNACK and DISCONNECT of a session.  Worker's thread. */
#ifndef SESSION_GREET_H
#define SESSION_GREET_H

#include "session/session.h"

/* What the device's CONNECT says, decoded, and the facts that fill templates.  Both borrow from the
 * session.  Returns 0 or -ERR_MALFORMED. */
int greet_facts(const struct session *s, struct mqtt_connect *c, struct match_facts *facts);

enum greet_aim {
    GREET_GO_ON, /* with the session, as the device asked for it */
    GREET_WIPE,  /* Clean Session, and nothing lasting: it clears what is at the broker */
    GREET_WILL,  /* bring a Will that is due */
};

/* What a CONNECT has asked for. */
struct greet_wish {
    bool keep;         /* the broker keeps the session for a while, whatever the device asked for */
    bool will_delayed; /* the Will got a Will Delay Interval of ours */
    uint16_t keepalive_s; /* 0: none */
};

/* CONNECT for the identity in `slot`, as the device sent it but for its profile: version and topic
 * prefix (`dialect`, NULL: as the device), templates.  Appends to out, which may hold a password
 * then.  Returns 0, -ERR_NOMEM, -ERR_TOO_BIG. */
int greet_connect(const struct session *s, enum flip_slot slot, const struct dialect *dialect,
                  enum greet_aim aim, struct buf *out, struct greet_wish *wish);

enum greet_home { GREET_HOST, GREET_HOST_AND_PORT };

/* Where the session is that CONNECT for `slot` leads to: a number that is the same where host (and
 * port) and client id are.  Two ports of one host are perhaps one broker. */
uint32_t greet_home(const struct session *s, enum flip_slot slot, enum greet_home what);

/* Send DISCONNECT on an upstream leg; in 5.0 with a Session Expiry Interval when `set_expiry`. */
void greet_disconnect(struct leg *leg, uint8_t reason, bool set_expiry, uint32_t expiry_s);

/* Send the broker's CONNACK to the device, as the device asked for it.  Returns 0 or -ERR_NOMEM. */
int greet_device(struct session *s, const struct mqtt_connack *ack);

/* Remember what the CONNACK of an upstream leg has promised. */
void greet_heard(struct session *s, struct leg *leg, const struct mqtt_connack *ack);

#endif
