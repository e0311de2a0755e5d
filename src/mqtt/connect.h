/* mqtt/connect.h - CONNECT, CONNACK, DISCONNECT, AUTH: readers and writers together. */
#ifndef MQTT_CONNECT_H
#define MQTT_CONNECT_H

#include "mqtt/packet.h"
#include "mqtt/props.h"

struct mqtt_connect {
    int version; /* enum mqtt_version */
    bool bridge; /* 3.1/3.1.1: the level byte had its top bit set, as bridges do */
    bool clean;  /* Clean Session, in 5.0 Clean Start */
    bool has_will, will_retain;
    uint8_t will_qos;
    bool has_username, has_password;
    uint16_t keepalive_s; /* 0: none */
    struct mqtt_props props;
    struct slice client_id;
    struct mqtt_props will_props;
    struct slice will_topic, will_payload;
    struct slice username, password;
};

/* Returns 0 and fills *out, or -ERR_MALFORMED / -ERR_PROTOCOL with *reason: a 5.0 CONNACK code
 * (0x81, 0x82, 0x84 unsupported version, 0x85 client id not valid, 0x90 Will topic invalid), to be
 * mapped by mqtt_connack_code31 for older versions.  out->version is set as soon as it is known,
 * errors included (0 before), so that the refusal speaks the right dialect; for an unknown level of
 * a known protocol name it is that of the oldest dialect with that name, all else stays unset. */
int mqtt_connect_read(const struct mqtt_packet *pkt, struct mqtt_connect *out, uint8_t *reason,
                      struct err *err);
/* Returns 0, -ERR_NOMEM or -ERR_TOO_BIG. */
int mqtt_connect_write(struct buf *b, const struct mqtt_connect *c);

struct mqtt_connack {
    bool session_present;
    uint8_t code;            /* 3.1/3.1.1 return code, or 5.0 reason code */
    struct mqtt_props props; /* 5.0 */
};
/* A 5.0 client whose server only knows 3.x is refused in that dialect (20 02 00 01): code is then
 * 0x84. */
int mqtt_connack_read(const struct mqtt_packet *pkt, int version, struct mqtt_connack *out,
                      uint8_t *reason, struct err *err);
int mqtt_connack_write(struct buf *b, int version, const struct mqtt_connack *c);

/* The 3.1.1 return code that says best what a 5.0 CONNACK reason code says (0x84 -> 1, 0x85 -> 2,
 * 0x86 -> 4, 0x87/0x8A/0x8C -> 5, others -> 3). */
uint8_t mqtt_connack_code31(uint8_t reason5);

/* "not-authorized" for 0x87, "bad-username-or-password" for 3.1.1 code 4, ...  Never NULL. */
const char *mqtt_connack_name(int version, uint8_t code);
/* The name of any 5.0 reason code.  Never NULL. */
const char *mqtt_reason_name(uint8_t reason);

struct mqtt_disconnect {
    uint8_t reason;          /* 0 in 3.x */
    struct mqtt_props props; /* 5.0 */
};
int mqtt_disconnect_read(const struct mqtt_packet *pkt, int version, enum mqtt_dir dir,
                         struct mqtt_disconnect *out, uint8_t *reason, struct err *err);
int mqtt_disconnect_write(struct buf *b, int version, const struct mqtt_disconnect *d);

struct mqtt_auth {
    uint8_t reason; /* 0x00, 0x18 continue, 0x19 re-authenticate */
    struct mqtt_props props;
};
int mqtt_auth_read(const struct mqtt_packet *pkt, struct mqtt_auth *out, uint8_t *reason,
                   struct err *err);

#endif
